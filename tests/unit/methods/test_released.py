"""Released files: told by their tensors, loaded in full or refused in a line, and computed alike.

The oracle of a map is a forward pass in float64 written from the description of each network, over
the stored tensors by their stored names; spectrograms are scipy's, pictures are PIL's.
"""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from datamodules.clip import Clip, Resizing
from datamodules.media import read_frame, still_windows
from methods.attention import Attention, AttentionConfig
from methods.attention_relu import AttentionRelu
from methods.base import Method, OptimConfig
from methods.ezvsl import Ezvsl
from methods.fnac import Fnac
from methods.lvs import Lvs
from methods.own_frontends import FRONT_ENDS, MelDecibels
from methods.released import read_released, release_of
from methods.released_streams import ReleasedConfig
from methods.slavc import Slavc
from methods.soundnet import LAYERS
from methods.sslalign import SslAlign
from methods.ssltie import SslTie
from metrics.errors import BenchError

State = dict[str, Tensor]
StateOf = Callable[..., State]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CONTAINERS: dict[str, Callable[[State], dict[str, Any]]] = {
    "lvs": lambda state: {"model_state_dict": state},
    "sslalign": lambda state: {"model_state_dict": state},
    "ssltie": lambda state: {"epoch": 37, "state_dict": state, "best_miou": 0.38,
                             "optimizer": {"param_groups": [{"weight_decay": 1e-4}]},
                             "iteration": 9000},
    "ezvsl": lambda state: container_of_ezvsl(state, weight_decay=0),
    "fnac": lambda state: container_of_ezvsl(state, weight_decay=1e-4),
    "slavc": lambda state: container_of_ezvsl(state, weight_decay=0),
    "attention_relu": lambda state: state,
}  # fmt: skip
NUM_TENSORS = {"lvs": 248, "sslalign": 248, "ssltie": 257, "ezvsl": 244, "fnac": 244, "slavc": 496,
               "attention_relu": 34}  # fmt: skip
# torchaudio makes mel bands in float32, and many are narrower than the distance of frequencies
TOLERANCE = {"ssltie": 5e-4}
SECONDS = {"lvs": 10.0, "sslalign": 3.0, "ssltie": 10.0}
KINDS: dict[str, type[Method]] = {"lvs": Lvs, "sslalign": SslAlign, "ssltie": SslTie,
                                  "ezvsl": Ezvsl, "fnac": Fnac, "slavc": Slavc}  # fmt: skip


def container_of_ezvsl(state: State, weight_decay: float) -> dict[str, Any]:
    """With the scores that numpy averaged, as ``train.py`` saves them."""
    return {
        "model": state,
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4, "weight_decay": weight_decay}]},
        "epoch": 20,
        "best_cIoU": np.mean(np.array([0.25, 0.5])),
        "best_Auc": np.float64(0.4),
    }


@pytest.fixture(scope="module")
def files(
    released_state: StateOf, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """``files("lvs")``: a file as it was released, written once."""
    folder = tmp_path_factory.mktemp("released")

    def file(network: str) -> Path:
        path = folder / f"{network}.pth"
        if not path.exists():
            names = {"fnac": "ezvsl"}.get(network, network)
            torch.save(CONTAINERS[network](released_state(names)), path)
        return path

    return file


def loaded(network: str, path: Path, **settings: Any) -> Method:
    settings = {"checkpoint": str(path), "front_end": "own", **settings}
    if network in SECONDS:
        settings = {"segment_seconds": SECONDS[network], **settings}
    kind = KINDS[network]
    return kind(kind.Config(**settings), OptimConfig(), seed=5).eval()


# --- forward passes, written from the descriptions ----------------------------------------------


def convolved(state: Mapping[str, Tensor], name: str, value: Tensor, stride: int, pad: int):
    weight = state[f"{name}.weight"].double()
    bias = state.get(f"{name}.bias")
    return F.conv2d(value, weight, None if bias is None else bias.double(), stride, pad)


def normed(state: Mapping[str, Tensor], name: str, value: Tensor) -> Tensor:
    mean, var, scale, shift = (
        state[f"{name}.{part}"].double().view(1, -1, 1, 1)
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (value - mean) / (var + 1e-5).sqrt() * scale + shift


def resnet18(state: Mapping[str, Tensor], stream: str, stem: str, value: Tensor, last_stride: int):
    """Of float64 ``(B, C, H, W)``: a stem, then four stages of two blocks."""
    value = normed(state, f"{stream}.bn1", convolved(state, f"{stream}.{stem}", value, 2, 3))
    value = F.max_pool2d(value.relu(), 3, 2, 1)
    for stage, stride in ((1, 1), (2, 2), (3, 2), (4, last_stride)):
        for block in (0, 1):
            place, step = f"{stream}.layer{stage}.{block}", stride if block == 0 else 1
            inner = convolved(state, f"{place}.conv1", value, step, 1)
            inner = normed(state, f"{place}.bn1", inner).relu()
            inner = normed(state, f"{place}.bn2", convolved(state, f"{place}.conv2", inner, 1, 1))
            if f"{place}.downsample.0.weight" in state:
                value = convolved(state, f"{place}.downsample.0", value, step, 0)
                value = normed(state, f"{place}.downsample.1", value)
            value = (value + inner).relu()
    return value


def cosines(visual: Tensor, sound: Tensor) -> Tensor:
    """``(h, w)`` of ``(1, D, h, w)`` and ``(D,)``, cell by cell."""
    _, _, height, width = visual.shape
    cells = [
        torch.dot(visual[0, :, row, column], sound)
        / (visual[0, :, row, column].norm() * sound.norm())
        for row in range(height)
        for column in range(width)
    ]
    return torch.stack(cells).view(height, width)


def normalised(frame: Tensor) -> Tensor:
    """Float64 ``(1, 3, H, W)`` of uint8 ``(3, H, W)``."""
    mean, std = torch.tensor(MEAN).double(), torch.tensor(STD).double()
    return ((frame.double() / 255 - mean[:, None, None]) / std[:, None, None])[None]


def density(sound: np.ndarray, rate_hz: int, overlap: int) -> Tensor:
    """``(1, 1, 257, frames)`` of scipy, in logarithms over 12."""
    _, _, power = scipy.signal.spectrogram(sound, rate_hz, nperseg=512, noverlap=overlap)
    return torch.from_numpy(np.log(power + 1e-7) / 12)[None, None]


def mel_decibels(sound: np.ndarray, rate_hz: int) -> Tensor:
    """By torchaudio's definitions of a power spectrogram, of HTK mel bands and of decibels."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    padded = np.pad(sound, 256, mode="reflect")
    starts = range(0, len(padded) - 511, 239)
    frames = np.stack([padded[start : start + 512] * hann for start in starts])
    power = np.abs(np.fft.rfft(frames)) ** 2 / np.sum(hann**2)  # (frames, 257)
    top = 2595 * np.log10(1 + rate_hz / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, 259) / 2595) - 1)
    hertz = np.linspace(0, rate_hz // 2, 257)
    bands = np.zeros((257, 257))
    for band in range(257):
        low, middle, high = edges[band : band + 3]
        rising, falling = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
        bands[:, band] = np.maximum(0, np.minimum(rising, falling))
    return torch.from_numpy(10 * np.log10(np.maximum(power @ bands, 1e-10)).T.copy())[None, None]


def spectrogram_of(network: str, sound: np.ndarray, rate_hz: int) -> Tensor:
    """What a network hears of a whole file ``(N,)`` float64, from the description of its code."""
    ten_seconds = np.tile(sound, -(-10 * rate_hz // len(sound)))[: 10 * rate_hz]
    if network == "lvs":
        return density(ten_seconds, rate_hz, 274)
    if network == "sslalign":
        return density(ten_seconds[56000:104000], rate_hz, 353)
    return mel_decibels(ten_seconds, rate_hz)


def middle_of_int16(sound: np.ndarray, rate_hz: int) -> np.ndarray:
    """Three seconds in the middle of a file of 16 bits, repeated where it is shorter."""
    samples = 3 * rate_hz
    if len(sound) < samples:
        sound = np.tile(sound, 9)[:samples]
    first = (len(sound) - samples) // 2
    return np.clip(np.round(sound[first : first + samples] * 32768) / 32767, -1, 1)


def projected_map(state: State, seen: Tensor, heard: Tensor, copy: str, space: str) -> Tensor:
    """Cosines of image features ``(1, 512, h, w)`` and sound features ``(512,)`` in one space."""
    visual = convolved(state, f"{copy}img_proj{space}", seen, 1, 0)
    weight, bias = (state[f"{copy}aud_proj{space}.{part}"].double() for part in ("weight", "bias"))
    return cosines(visual, weight @ heard + bias)


def map_of_ezvsl(
    state: State, frame: Tensor, sound: np.ndarray, rate_hz: int, copy: str, spaces: tuple[str, ...]
) -> Tensor:
    spectrogram = density(middle_of_int16(sound, rate_hz), rate_hz, 274)
    seen = resnet18(state, f"{copy}imgnet", "conv1", normalised(frame), 2)
    heard = resnet18(state, f"{copy}audnet", "conv1", spectrogram, 2).amax((2, 3))[0]
    return torch.stack([projected_map(state, seen, heard, copy, each) for each in spaces]).mean(0)


def map_of(network: str, state: State, frame: Tensor, sound: np.ndarray, rate_hz: int) -> Tensor:
    if network in ("ezvsl", "fnac"):
        return map_of_ezvsl(state, frame, sound, rate_hz, "", ("",))
    if network == "slavc":
        return map_of_ezvsl(state, frame, sound, rate_hz, "momentum_", ("1", "2"))
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    seen = resnet18(state, "imgnet", "conv1", normalised(frame), 1)
    heard = resnet18(state, "audnet", "conv1_a", spectrogram_of(network, sound, rate_hz), 1)
    return cosines(seen, heard.amax((2, 3))[0])


# --- agreement ------------------------------------------------------------------------------------


def written_clip(folder: Path, size: tuple[int, int], samples: int, rate_hz: int) -> np.ndarray:
    """A picture of smooth noise and a sound of noise bursts; returns the sound as it is read."""
    draws = np.random.default_rng(4)
    coarse = draws.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    picture.save(folder / "frame.png")
    loud = np.repeat(draws.uniform(0.05, 0.9, -(-samples // 1000)), 1000)[:samples]
    noise = np.clip(loud * draws.normal(0, 0.3, samples), -1, 1)
    soundfile.write(folder / "sound.wav", noise, rate_hz, subtype="PCM_16")
    return soundfile.read(folder / "sound.wav")[0]


def clip_of(method: Method, folder: Path) -> Clip:
    inputs = method.inputs
    frame = read_frame(folder / "frame.png", inputs.image_size, inputs.resizing)
    waveform = still_windows(folder / "sound.wav", inputs, None)
    zero = torch.zeros(1, dtype=torch.int64)
    return Clip(zero, frame[None, None], waveform[None], zero)


@pytest.mark.parametrize("network", KINDS)
@pytest.mark.parametrize(
    ("image_size", "rate_hz", "seconds"), [(64, 10500, 4.5), (224, 16000, 10.1)]
)
def test_the_map_of_a_released_file_is_that_of_its_description(
    network: str,
    image_size: int,
    rate_hz: int,
    seconds: float,
    released_state: StateOf,
    files: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    sound = written_clip(tmp_path, (90, 70), round(rate_hz * seconds), rate_hz)
    method = loaded(network, files(network), image_size=image_size, sample_rate_hz=rate_hz)
    clip = clip_of(method, tmp_path)

    with torch.no_grad():
        found = method.localize(clip)

    state = released_state({"fnac": "ezvsl"}.get(network, network))
    expected = map_of(network, state, clip.frames[0, 0], sound, rate_hz)
    assert found.heatmap.shape == (1, *expected.shape)
    assert (found.heatmap[0].double() - expected).abs().max() < TOLERANCE.get(network, 2e-5)
    assert expected.max() - expected.min() > 1e-3
    assert not method.learns


def test_the_online_weights_of_slavc_make_the_other_map_of_its_file(
    released_state: StateOf, files: Callable[[str], Path], tmp_path: Path
) -> None:
    sound = written_clip(tmp_path, (90, 70), 26000, 8000)
    method = loaded("slavc", files("slavc"), image_size=64, sample_rate_hz=8000, weights="online")
    clip = clip_of(method, tmp_path)

    with torch.no_grad():
        found = method.localize(clip)

    state = released_state("slavc")
    expected = map_of_ezvsl(state, clip.frames[0, 0], sound, 8000, "", ("1", "2"))
    assert (found.heatmap[0].double() - expected).abs().max() < 2e-5


def peer_frame(network: str, path: Path, size: int) -> Tensor:
    """Float64 ``(1, 3, size, size)`` as the transforms of the code make it out of the file.

    Of a picture as a tensor bicubic weights leave the range, and the code lets them.
    """
    steps: dict[str, list[Any]] = {
        "squashed": [transforms.ToTensor(),
                     transforms.Resize((size, size), InterpolationMode.BICUBIC, antialias=False),
                     transforms.Lambda(lambda frame: frame.clamp(0, 1))],
        "cropped": [transforms.Resize(size, InterpolationMode.BICUBIC),
                    transforms.CenterCrop(size), transforms.ToTensor()],
    }  # fmt: skip
    kind = "squashed" if network == "sslalign" else "cropped"
    normalise = transforms.Normalize(MEAN, STD)
    return transforms.Compose([*steps[kind], normalise])(Image.open(path))[None].double()


@pytest.mark.parametrize("network", ["lvs", "sslalign", "ssltie"])
def test_the_picture_is_made_ready_as_the_code_does_it_up_to_a_step_of_8_bits(
    network: str, files: Callable[[str], Path], tmp_path: Path
) -> None:
    written_clip(tmp_path, (90, 70), 16000, 16000)
    method = loaded(network, files(network), image_size=48)

    frame = normalised(clip_of(method, tmp_path).frames[0, 0])

    apart = (frame - peer_frame(network, tmp_path / "frame.png", 48)).abs().max()
    assert apart < 1.01 / 255 / min(STD)


def test_the_window_of_sslalign_is_counted_in_samples_of_16_khz_at_any_rate(
    files: Callable[[str], Path], tmp_path: Path
) -> None:
    sound = np.arange(220500) % 30000
    soundfile.write(tmp_path / "sound.wav", sound.astype(np.int16), 22050, subtype="PCM_16")
    method = loaded("sslalign", files("sslalign"), sample_rate_hz=22050)

    window = still_windows(tmp_path / "sound.wav", method.inputs, None)

    assert (window[0] * 32768).tolist() == sound[56000:104000].tolist()


def test_mel_bands_that_no_frequency_falls_into_are_silent() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (1, 160000))).float()

    bands = MelDecibels(16000, 10.0)(noise)

    assert bands.shape == (1, 1, 257, 670)
    assert 28 == int((bands == -100).all(-1).sum())


def soundnet_state(seed: int = 1) -> State:
    draws = torch.Generator().manual_seed(seed)
    state: State = {}
    channels = 1
    for number, layer in enumerate(LAYERS, start=1):
        fan_in = channels * layer.size
        shape = (layer.filters, channels, layer.size, 1)
        state[f"conv{number}.weight"] = torch.randn(shape, generator=draws) * (2 / fan_in) ** 0.5
        state[f"conv{number}.bias"] = 0.1 * torch.randn(layer.filters, generator=draws)
        if number < len(LAYERS):
            for part in ("weight", "running_var"):
                state[f"batchnorm{number}.{part}"] = 0.5 + torch.rand(
                    layer.filters, generator=draws
                )
            for part in ("bias", "running_mean"):
                state[f"batchnorm{number}.{part}"] = 0.1 * torch.randn(
                    layer.filters, generator=draws
                )
        channels = layer.filters
    return state


def soundnet_objects(state: State, sound: np.ndarray) -> Tensor:
    """Average over time of conv8, ``(1000,)`` float64."""
    value = torch.from_numpy(256 * sound)[None, None, :, None]
    for number, layer in enumerate(LAYERS, start=1):
        weight, bias = (state[f"conv{number}.{part}"].double() for part in ("weight", "bias"))
        value = F.conv2d(value, weight, bias, (2, 1), (layer.padding, 0))
        if number < len(LAYERS):
            value = normed(state, f"batchnorm{number}", value).relu()
        value = F.max_pool2d(value, (layer.pool, 1))
    return value.mean((2, 3))[0]


def attention_map(state: State, objects: Tensor, frame: Tensor) -> Tensor:
    """Softmax over the cells of relu(cosine), as the released code saves it."""
    value, prefix = normalised(frame), "vision_embedding_model.feature_extraction"
    for place in range(29):
        if f"{prefix}.{place}.weight" in state:
            value = convolved(state, f"{prefix}.{place}", value, 1, 1)
        elif place in (4, 9, 16, 23):
            value = F.max_pool2d(value, 2)
        else:
            value = value.relu()
    query = objects.relu()
    for name in ("sound_fc1", "sound_fc2"):
        query = state[f"{name}.weight"].double() @ query + state[f"{name}.bias"].double()
        query = query.relu() if name == "sound_fc1" else query
    cells = cosines(value, query).relu()
    return cells.flatten().softmax(0).view(cells.shape)


def test_the_attention_of_the_released_file_is_that_of_its_description(
    released_state: StateOf, files: Callable[[str], Path], tmp_path: Path
) -> None:
    sound = written_clip(tmp_path, (90, 70), 220500, 22050)
    torch.save(soundnet_state(), tmp_path / "soundnet.pth")
    config = AttentionConfig(
        checkpoint=str(files("attention_relu")), front_end="own", image_size=96, answer="attention",
        segment_seconds=10.0, pretrained_sound=str(tmp_path / "soundnet.pth"),
    )  # fmt: skip
    method = AttentionRelu(config, OptimConfig(), seed=3).eval()
    clip = clip_of(method, tmp_path)

    with torch.no_grad():
        found = method.localize(clip)

    objects = soundnet_objects(soundnet_state(), sound)
    expected = attention_map(released_state("attention_relu"), objects, clip.frames[0, 0])
    assert found.heatmap.shape == (1, 6, 6)
    assert (found.heatmap[0].double() / expected - 1).abs().max() < 1e-4
    assert expected.max() / expected.min() > 1.0001
    assert method.inputs.resizing == Resizing(filter="bilinear")
    assert (method.card.pretraining, method.learns) == ("released checkpoint", False)


def test_attention_needs_the_weights_of_soundnet_beside_its_file(
    files: Callable[[str], Path],
) -> None:
    config = AttentionConfig(checkpoint=str(files("attention_relu")))

    with pytest.raises(BenchError, match=r"hears SoundNet.*method\.pretrained_sound=FILE"):
        AttentionRelu(config, OptimConfig(), seed=0)
    with pytest.raises(BenchError, match="use --method attention_relu"):
        Attention(config, OptimConfig(), seed=0)


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", CONTAINERS)
def test_a_file_is_told_by_its_tensors(network: str, files: Callable[[str], Path]) -> None:
    file = read_released(files(network))

    assert release_of(file).network == network
    assert len(file.tensors) == NUM_TENSORS[network]
    assert file.to_dict()["tensors"] == NUM_TENSORS[network]


def test_what_a_container_tells_goes_with_it(files: Callable[[str], Path]) -> None:
    told = read_released(files("ssltie")).to_dict()

    assert told == {"container": "state_dict", "tensors": 257, "data_parallel": False,
                    "optimizer_weight_decay": 1e-4, "epoch": 37, "best_miou": 0.38,
                    "iteration": 9000}  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before torch 1.6"])
def test_scores_that_numpy_averaged_are_read_without_unpickling_anything(
    legacy: bool, tmp_path: Path
) -> None:
    content = container_of_ezvsl({"module.img_proj.weight": torch.ones(2)}, weight_decay=0)
    path = tmp_path / "best.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)

    told = read_released(path)

    assert told.facts == {"epoch": 20, "best_cIoU": 0.375, "best_Auc": 0.4}
    assert (told.container, told.parallel, told.weight_decay) == ("model", True, 0.0)


def test_a_tensor_that_a_space_of_slavc_lacks_is_named(
    released_state: StateOf, tmp_path: Path
) -> None:
    state = released_state("slavc")
    del state["momentum_aud_proj2.bias"]
    torch.save({"model": state}, tmp_path / "a.pth")

    with pytest.raises(BenchError, match=r"lacks 1 of \d+ tensors.*momentum_aud_proj2\.bias"):
        loaded("slavc", tmp_path / "a.pth")


def test_scores_of_numpy_1_are_read_as_those_of_numpy_2(tmp_path: Path) -> None:
    content = container_of_ezvsl({"img_proj.weight": torch.ones(2)}, weight_decay=0)
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    written = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "old.pth").write_bytes(written.replace(b"cnumpy._core.", b"cnumpy.core."))

    assert b"cnumpy._core." in written
    assert read_released(tmp_path / "old.pth").facts["best_cIoU"] == 0.375


def test_other_things_of_numpy_are_not_read(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(1)}, "b": np.zeros(3)}, tmp_path / "a.pth")

    with pytest.raises(BenchError, match=r"asks for numpy\.\w+\.multiarray\._reconstruct"):
        read_released(tmp_path / "a.pth")


def test_a_lvs_file_may_be_read_as_one_of_sslalign_and_no_other(
    files: Callable[[str], Path],
) -> None:
    file = read_released(files("lvs"))

    assert release_of(file, "sslalign").network == "sslalign"
    with pytest.raises(BenchError, match=r"a file of LVS or SSLalignment and cannot be read as ss"):
        release_of(file, "ssltie")
    with pytest.raises(BenchError, match=r"no released network is called 'lsv'"):
        release_of(file, "lsv")


@pytest.mark.parametrize("decay", [None, 5e-4])
def test_ezvsl_and_fnac_have_to_be_named_where_nothing_tells_them_apart(
    decay: float | None, released_state: StateOf, tmp_path: Path
) -> None:
    content = container_of_ezvsl(released_state("ezvsl"), weight_decay=decay or 0)
    if decay is None:
        del content["optimizer"]
    torch.save(content, tmp_path / "best.pth")
    file = read_released(tmp_path / "best.pth")

    with pytest.raises(BenchError, match=r"EZ-VSL and FNAC.*add --as ezvsl or --as fnac"):
        release_of(file)
    assert release_of(file, "fnac").network == "fnac"


FAULTS: dict[str, tuple[Callable[[State], object], str]] = {
    "missing": (lambda state: state.pop("imgnet.layer3.1.conv2.weight"),
                r"it lacks 1 of \d+ tensors, the first is imgnet\.layer3\.1\.conv2\.weight"),
    "a stem missing": (lambda state: state.pop("audnet.conv1_a.weight"),
                       r"the first is audnet\.conv1_a\.weight"),
    "one more": (lambda state: state.update({"imgnet.layer5.weight": torch.ones(1)}),
                 r"1 in it are of another network, the first is imgnet\.layer5\.weight"),
    "misshapen": (lambda state: state.update({"audnet.bn1.bias": torch.ones(63)}),
                  r"the first is audnet\.bn1\.bias \(63,\), not \(64,\)"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_tensor_that_does_not_fit_is_named_with_its_file(
    fault: str, released_state: StateOf, tmp_path: Path
) -> None:
    change, words = FAULTS[fault]
    state = released_state("sslalign")
    change(state)
    path = tmp_path / "ours.pth.tar"
    torch.save({"model_state_dict": state}, path)

    with pytest.raises(BenchError, match=rf"ours\.pth\.tar: it is not LVS as released: .*{words}"):
        loaded("lvs", path)


class Evil:
    """Would make a folder where it were unpickled."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.mkdir, (self.place,)


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    torch.save({"model": Evil(str(tmp_path / "ran"))}, tmp_path / "evil.pth")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Evil(str(tmp_path / "ran"))))

    for name in ("evil.pth", "plain.pkl"):
        with pytest.raises(BenchError, match="run code out of the file|no file of weights"):
            read_released(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_whole_module_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = type("att_Net", (torch.nn.Module,), {"__module__": "models"})
    monkeypatch.setitem(__import__("sys").modules, "models", type("M", (), {"att_Net": module}))
    torch.save(module(), tmp_path / "AV_att.pt")

    with pytest.raises(BenchError, match=r"whole module of models\.att_Net, as AVE-ECCV18"):
        read_released(tmp_path / "AV_att.pt")


def test_hear_the_flow_is_known_and_needs_optical_flow(tmp_path: Path) -> None:
    tensors = {f"{net}.conv1.weight": torch.ones(1) for net in ("imgnet", "flownet", "audnet")}
    torch.save({"model": tensors}, tmp_path / "a.pth")
    lightning = {f"model.{name}": tensor for name, tensor in tensors.items()}
    torch.save({"state_dict": lightning}, tmp_path / "b.ckpt")

    for name in ("a.pth", "b.ckpt"):
        with pytest.raises(BenchError, match="Hear-the-Flow, which needs optical flow"):
            release_of(read_released(tmp_path / name))


def cut(path: Path) -> bytes:
    content = path.read_bytes()
    return content[: len(content) // 2]


BROKEN: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "half": (cut, "half a download"),
    "empty": (lambda path: b"", "the file is empty"),
    "pointer": (lambda path: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
                "pointer of Git LFS"),
    "page": (lambda path: b"<!DOCTYPE html><html><head><title>Google Drive</title>", "a web page"),
    "text": (lambda path: b"Quota exceeded", "it"),
    "one byte": (lambda path: spoilt(path.read_bytes()), "checksum"),
}  # fmt: skip


def spoilt(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("fault", BROKEN)
def test_a_file_that_is_not_whole_is_refused_in_one_line(fault: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole.pth"
    torch.save({"model_state_dict": {"a": torch.arange(4096.0)}}, whole)
    change, words = BROKEN[fault]
    (tmp_path / "a.pth").write_bytes(change(whole))

    with pytest.raises(BenchError, match=words) as raised:
        read_released(tmp_path / "a.pth")
    assert "\n" not in str(raised.value)
    assert str(tmp_path / "a.pth") in str(raised.value)


def test_half_of_an_old_file_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pth"
    torch.save({"model_state_dict": {"a": torch.arange(4096.0)}}, whole,
               _use_new_zipfile_serialization=False)  # fmt: skip
    (tmp_path / "a.pth").write_bytes(cut(whole))

    with pytest.raises(BenchError, match="half a download, or damaged"):
        read_released(tmp_path / "a.pth")


STRANGE: dict[str, tuple[object, str]] = {
    "a tensor": (torch.ones(3), "it holds Tensor, not the tensors of a network"),
    "a list of words": ({"model": {"a": "b"}}, "it holds str under 'a', not a tensor"),
    "nothing": ({}, "it holds dict, not the tensors"),
}


@pytest.mark.parametrize("content", STRANGE)
def test_a_file_without_a_network_is_refused(content: str, tmp_path: Path) -> None:
    torch.save(STRANGE[content][0], tmp_path / "a.pth")

    with pytest.raises(BenchError, match=STRANGE[content][1]):
        read_released(tmp_path / "a.pth")


def test_tensors_of_an_unknown_network_and_of_a_run_are_told_apart(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.ones(1)}, tmp_path / "a.pth")
    torch.save({"streams.visual.0.weight": torch.ones(1)}, tmp_path / "b.pth")

    with pytest.raises(BenchError, match=r"no network that is known here, the first is fc\.weight"):
        release_of(read_released(tmp_path / "a.pth"))
    with pytest.raises(BenchError, match="give the folder of the run"):
        release_of(read_released(tmp_path / "b.pth"))


# --- settings -------------------------------------------------------------------------------------


def test_the_own_front_end_hears_as_long_as_the_code_does(files: Callable[[str], Path]) -> None:
    with pytest.raises(BenchError, match=r"own hears 10 s.*set method\.segment_seconds=10\.0"):
        loaded("lvs", files("lvs"), segment_seconds=3.0)
    with pytest.raises(BenchError, match=r"method\.front_end='mine' is unknown"):
        loaded("lvs", files("lvs"), front_end="mine")


@pytest.mark.parametrize("kind", [SslAlign, SslTie])
def test_networks_that_cannot_be_trained_ask_for_a_file(kind: type[Method]) -> None:
    with pytest.raises(BenchError, match=r"cannot be trained here.*bench eval --checkpoint FILE"):
        kind(ReleasedConfig(segment_seconds=10.0), OptimConfig(), seed=0)


def test_a_setting_that_contradicts_the_file_is_refused(files: Callable[[str], Path]) -> None:
    with pytest.raises(BenchError, match=r"set method\.backbone=resnet18"):
        loaded("lvs", files("lvs"), backbone="small")
    with pytest.raises(BenchError, match=r"set method\.pretrained=null"):
        loaded("lvs", files("lvs"), pretrained="resnet18.pth")


def test_our_front_end_makes_other_maps_of_the_same_weights(
    files: Callable[[str], Path], tmp_path: Path
) -> None:
    written_clip(tmp_path, (90, 70), 160000, 16000)
    own = loaded("lvs", files("lvs"), image_size=32)
    ours = loaded("lvs", files("lvs"), image_size=32, front_end="bench", segment_seconds=3.0)

    with torch.no_grad():
        maps = [method.localize(clip_of(method, tmp_path)).heatmap for method in (own, ours)]

    assert ours.inputs.resizing == Resizing()
    assert ours.inputs.sound_start_seconds is None
    assert maps[0].shape == maps[1].shape
    assert (maps[0] - maps[1]).abs().max() > 1e-4


def test_the_weights_that_a_run_kept_load_again(
    files: Callable[[str], Path], tmp_path: Path
) -> None:
    first = loaded("ssltie", files("ssltie"), image_size=32)
    torch.save(first.state_dict(), tmp_path / "weights.pt")

    again = loaded("ssltie", tmp_path / "weights.pt", image_size=32)

    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_weights_of_a_training_from_nothing_are_refused_and_not_loaded_in_part(
    tmp_path: Path,
) -> None:
    """They go with running means of their inputs, which a network of a released file has not."""
    trained = Ezvsl(Ezvsl.Config(image_size=32), OptimConfig(), seed=0)
    torch.save(trained.state_dict(), tmp_path / "weights.pt")

    with pytest.raises(BenchError, match=r"the weights of a run .*give the folder of the run"):
        loaded("ezvsl", tmp_path / "weights.pt", image_size=32)


def test_a_window_that_lies_beyond_ten_seconds_is_refused(files: Callable[[str], Path]) -> None:
    with pytest.raises(BenchError, match=r"samples 56000 to 104000.*at least 10400"):
        loaded("sslalign", files("sslalign"), sample_rate_hz=8000)


def test_every_front_end_says_where_it_is_from() -> None:
    assert all(" at " in each.source for each in FRONT_ENDS.values())
