from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.global_norm import GlobalBatchNorm, ZeroMean
from methods.soundnet import SoundNet, shortest_input
from metrics.errors import BenchError

# Senocak et al. 2018, supplement: size, stride and filters of convolutions; size of poolings.
# The stride of poolings is their size: main_train.lua:68-101 of https://github.com/cvondrick/soundnet
TABLE = [
    (64, 2, 16), (8, 8),
    (32, 2, 32), (8, 8),
    (16, 2, 64),
    (8, 2, 128),
    (4, 2, 256), (4, 4),
    (4, 2, 512),
    (4, 2, 1024),
    (8, 2, 1000),
]  # fmt: skip
PADDINGS = (32, 16, 8, 4, 2, 2, 2, 0)
POOLS = {1: 8, 2: 8, 5: 4}
PLACES = (0, 4, 8, 11, 14, 18, 21)  # of conv1 to conv7 in the published torch7 file
SECONDS_10 = 220_500


def soundnet(**settings: object) -> SoundNet:
    return SoundNet(SECONDS_10, **settings).eval()


def port(seed: int = 0) -> dict[str, Tensor]:
    """A state dict as pytorch-soundnet names it, with weights that keep the size of a sound."""
    draws = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    channels = 1
    for number, (size, _, filters) in enumerate((row for row in TABLE if len(row) == 3), start=1):
        names = [f"conv{number}"] if number < 8 else ["conv8_objs", "conv8_scns"]
        for name, outputs in zip(names, (filters, 401), strict=False):
            deviation = (2 / (channels * size)) ** 0.5
            kernel = torch.randn(outputs, channels, size, 1, generator=draws) * deviation
            state[f"{name}.weight"] = kernel
            state[f"{name}.bias"] = torch.randn(outputs, generator=draws) * 0.1
        if number < 8:
            for part in ("weight", "running_var"):
                state[f"batchnorm{number}.{part}"] = torch.rand(filters, generator=draws) + 0.5
            for part in ("bias", "running_mean"):
                state[f"batchnorm{number}.{part}"] = torch.randn(filters, generator=draws) * 0.1
        channels = filters
    return state


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return port()


@pytest.fixture(scope="module")
def sound() -> Tensor:
    return torch.rand(1, 1, SECONDS_10, generator=torch.Generator().manual_seed(1)) * 512 - 256


def by_hand(state: Mapping[str, Tensor], sound: Tensor) -> Tensor:
    """Convolutions in one dimension, statistics of the file, averaged over time."""
    for number, padding in enumerate(PADDINGS, start=1):
        name = f"conv{number}" if number < 8 else "conv8_objs"
        kernel = state[f"{name}.weight"].squeeze(-1)
        sound = F.conv1d(sound, kernel, state[f"{name}.bias"], stride=2, padding=padding)
        if number < 8:
            norm = {part: state[f"batchnorm{number}.{part}"][:, None]
                    for part in ("weight", "bias", "running_mean", "running_var")}  # fmt: skip
            sound = (sound - norm["running_mean"]) / (norm["running_var"] + 1e-5).sqrt()
            sound = (sound * norm["weight"] + norm["bias"]).clamp(min=0)
        if number in POOLS:
            sound = F.max_pool1d(sound, POOLS[number])
    return sound.mean(-1)


def renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Each tensor under the name of its layer in another port."""
    found = {}
    for key, tensor in state.items():
        layer, _, part = key.partition(".")
        found[f"{names.get(layer, layer)}.{part}"] = tensor
    return found


BLOCKS = {f"conv{n}": f"conv{n}.0" for n in range(1, 8)}
BLOCKS |= {f"batchnorm{n}": f"conv{n}.1" for n in range(1, 8)}
BLOCKS |= {"conv8_objs": "conv8.0", "conv8_scns": "conv8_2.0"}
NUMBERS = {f"conv{n}": f"features.{place}" for n, place in enumerate(PLACES, start=1)}
NUMBERS |= {f"batchnorm{n}": f"features.{place + 1}" for n, place in enumerate(PLACES, start=1)}


def in_one_dimension(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.squeeze(-1) if tensor.ndim == 4 else tensor
            for name, tensor in state.items()}  # fmt: skip


FORMS: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {
    "keunhong/pytorch-soundnet": dict,
    "smallflyingpig/SoundNet_Pytorch": lambda state: renamed(state, BLOCKS),
    "by number": lambda state: renamed(state, NUMBERS),
    "1-D kernels": in_one_dimension,
    "objects alone": lambda state: {k: v for k, v in state.items() if "scns" not in k},
}


def saved(state: Mapping[str, Tensor], folder: Path) -> str:
    torch.save(dict(state), folder / "sound8.pth")
    return str(folder / "sound8.pth")


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_weights_of_public_ports_give_what_they_give_by_hand(
    form: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
    state: dict[str, Tensor], sound: Tensor, tmp_path: Path,
):  # fmt: skip
    net = soundnet(pretrained=saved(form(state), tmp_path))

    with torch.no_grad():
        expected, found = by_hand(state, sound), net(sound)

    assert found.shape == (1, 1000)
    assert found.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.std().item())


def test_the_layers_are_those_of_the_supplement():
    rows: list[tuple[int, ...]] = []
    paddings = []
    for layer in soundnet().layers:
        if isinstance(layer, nn.Conv2d):
            assert layer.kernel_size[1] == layer.stride[1] == 1
            rows.append((layer.kernel_size[0], layer.stride[0], layer.out_channels))
            paddings.append(layer.padding)
        elif isinstance(layer, nn.MaxPool2d):
            rows.append((layer.kernel_size[0], (layer.stride or layer.kernel_size)[0]))

    assert TABLE == rows
    assert [(padding, 0) for padding in PADDINGS] == paddings


def test_global_statistics_and_a_relu_follow_every_layer_but_the_last():
    layers = list(soundnet().layers)
    places = [place for place, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]

    followers = [[type(layer) for layer in layers[place + 1 : place + 3]] for place in places]

    assert followers == [[GlobalBatchNorm, nn.ReLU]] * 7 + [[]]


def test_a_sound_shrinks_as_in_soundnets_own_table():
    layers = soundnet().layers.to("meta")
    conv1 = layers[:3](torch.empty(1, 1, 440_098, 1, device="meta"))

    assert conv1.shape == (1, 16, 220_050, 1)
    assert layers[3](conv1).shape == (1, 16, 27_506, 1)  # Aytar et al. 2016, table 1
    # its labels are 4 for 20 s at 22.05 kHz: main_train.lua:34
    assert layers(torch.empty(1, 1, 441_000, 1, device="meta")).shape == (1, 1000, 4, 1)


def test_the_shortest_sound_that_fits_has_one_place_at_the_end():
    layers = soundnet().layers.to("meta")
    kernel, _ = layers[-1].kernel_size

    def places_before_the_last(samples: int) -> int:
        return layers[:-1](torch.empty(1, 1, samples, 1, device="meta")).shape[2]

    assert layers(torch.empty(1, 1, shortest_input(), 1, device="meta")).shape == (1, 1000, 1, 1)
    assert places_before_the_last(shortest_input()) == kernel
    assert places_before_the_last(shortest_input() - 1) < kernel


def test_a_sound_too_short_for_the_stack_is_refused_at_the_start():
    words = (
        r"^SoundNet needs 209374 samples, 9\.5 s at 22050 Hz, and hears 160000; set "
        r"method\.sample_rate_hz=22050 and raise method\.segment_seconds$"
    )

    with pytest.raises(BenchError, match=words):
        SoundNet(160_000)


def test_without_weights_it_ends_in_zero_means_and_learns_down_to_its_first_layer(sound: Tensor):
    torch.manual_seed(0)
    net = SoundNet(SECONDS_10)

    objects = net(torch.cat([sound, sound.flip(-1)]))
    objects[0, 0].backward()

    assert isinstance(net.end, ZeroMean)
    torch.testing.assert_close(objects.mean(0), torch.zeros(1000), rtol=0, atol=1e-4)
    assert net.layers.conv1.weight.grad.abs().max() > 0


def test_with_weights_it_ends_in_conv8(state: dict[str, Tensor], tmp_path: Path):
    assert not isinstance(soundnet(pretrained=saved(state, tmp_path)).end, ZeroMean)


def test_a_port_that_forgot_the_batch_statistics_is_refused(
    state: dict[str, Tensor], tmp_path: Path
):
    # what lua_to_pytorch.py of keunhong/pytorch-soundnet writes: batch norm as it was constructed
    fresh = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    forgot = {
        name: torch.full_like(tensor, fresh[name.partition(".")[2]]) if "norm" in name else tensor
        for name, tensor in state.items()
    }
    path = saved(forgot, tmp_path)

    with pytest.raises(BenchError) as refusal:
        soundnet(pretrained=path, setting="method.pretrained_audio")

    assert str(refusal.value) == (
        f"method.pretrained_audio={path!r} was converted without SoundNet's batch statistics: all "
        "running means are 0; give a conversion that has them, or method.pretrained_audio=null to "
        "train from random weights"
    )


def test_weights_of_another_network_are_refused_in_words(tmp_path: Path):
    path = saved(nn.Linear(2, 2).state_dict(), tmp_path)

    with pytest.raises(
        BenchError, match=r"no file of SoundNet weights \(it lacks 44 of 44 .*=null"
    ):
        soundnet(pretrained=path)


def test_a_name_that_is_no_file_is_refused_in_words():
    with pytest.raises(BenchError, match=r"='soundnet8' is no .* \(there is no such file\)"):
        soundnet(pretrained="soundnet8")
