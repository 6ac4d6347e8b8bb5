from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from datamodules.clip import Clip
from methods.base import MethodCard, OptimConfig
from methods.ezvsl import Ezvsl
from methods.fnac import Fnac
from methods.object_guidance import (
    GuidanceConfig,
    Mix,
    ObjectGuide,
    guided_card,
    mixed_by_range,
    mixed_calibrated,
    object_guide,
)
from methods.slavc import Slavc
from metrics.errors import BenchError

Map = NDArray[np.float64]
SIZE = 224


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    net = torchvision.models.resnet18(weights=None)
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    torch.save(net.state_dict(), path)
    return path


def upsampled(cells: Map) -> Map:
    """Bilinear with aligned corners, pixel by pixel."""
    last = len(cells) - 1
    pixels = np.empty((SIZE, SIZE))
    for y in range(SIZE):
        for x in range(SIZE):
            row, column = y * last / (SIZE - 1), x * last / (SIZE - 1)
            top, left = min(int(row), last - 1), min(int(column), last - 1)
            down, right = row - top, column - left
            pixels[y, x] = (
                cells[top, left] * (1 - down) * (1 - right)
                + cells[top, left + 1] * (1 - down) * right
                + cells[top + 1, left] * down * (1 - right)
                + cells[top + 1, left + 1] * down * right
            )
    return pixels


def norm(pixels: Map) -> Map:
    low, high = pixels.min(), pixels.max()
    return (pixels - low) / (high - low)


def maps(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits of both signs and a map of the guide, ``(2, 7, 7)`` float64 each."""
    rng = np.random.default_rng([1023, seed])
    heard, seen = rng.normal(0, 9, (2, 7, 7)), rng.gamma(2, 0.3, (2, 7, 7))
    return torch.from_numpy(heard), torch.from_numpy(seen)


def test_a_mix_by_range_upsamples_to_the_published_mix() -> None:
    heard, seen = maps()

    mixed = mixed_by_range(heard, seen, 0.4).numpy()

    for row in range(2):
        own, guide = (norm(upsampled(each[row].numpy())) for each in (heard, seen))
        expected = norm(0.4 * own + 0.6 * guide)
        np.testing.assert_allclose(norm(upsampled(mixed[row])), expected, rtol=0, atol=1e-12)


def test_ranges_of_the_cells_are_not_those_of_the_pixels() -> None:
    heard, seen = (each[0].numpy() for each in maps())

    on_cells = norm(upsampled(0.4 * norm(heard) + 0.6 * norm(seen)))

    published = norm(0.4 * norm(upsampled(heard)) + 0.6 * norm(upsampled(seen)))
    assert 1e-4 < np.abs(on_cells - published).max() < 0.02
    assert upsampled(heard).max() < heard.max()


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("corners", [True, False])
def test_a_calibrated_mix_upsamples_to_the_published_mix_however_it_is_upsampled(
    mode: str, corners: bool
) -> None:
    heard, seen = maps()
    cosines = torch.tanh(heard)

    def pixels(cells: Tensor) -> Tensor:
        return F.interpolate(cells[:, None], (SIZE, SIZE), mode=mode, align_corners=corners)

    mixed = pixels(mixed_calibrated(cosines, seen, 0.9))

    low, high = -1 / 0.03, 1 / 0.03
    own = (pixels(cosines / 0.03) - low) / (high - low)
    expected = 0.9 * own + 0.1 * (pixels(seen) - 0) / (2.5 - 0)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-12)


def test_cosines_of_either_end_and_the_scale_of_the_guide_become_0_and_1() -> None:
    heard, seen = torch.tensor([[[-1.0, 1.0]]]), torch.tensor([[[0.0, 2.5]]])

    for alpha in (0.0, 0.9, 1.0):
        torch.testing.assert_close(
            mixed_calibrated(heard, seen, alpha), torch.tensor([[[0.0, 1.0]]])
        )


def test_a_map_of_one_value_adds_nothing() -> None:
    heard, seen = maps()

    mixed = mixed_by_range(torch.full_like(heard, 3.0), seen, 0.4)

    np.testing.assert_allclose(
        norm(upsampled(mixed[0].numpy())), norm(upsampled(seen[0].numpy())), rtol=0, atol=1e-12
    )


def test_each_clip_is_mixed_alone() -> None:
    heard, seen = maps()

    together, alone = mixed_by_range(heard, seen, 0.4), mixed_by_range(heard[1:], seen[1:], 0.4)

    assert torch.equal(together[1:], alone)


@pytest.mark.parametrize("mixed", [mixed_by_range, mixed_calibrated])
def test_grids_that_differ_are_refused(mixed: Mix) -> None:
    with pytest.raises(ValueError, match=r"must share a grid, got \(1, 28, 28\) and \(1, 7, 7\)"):
        mixed(torch.zeros(1, 28, 28), torch.zeros(1, 7, 7), 0.4)


def test_streams_of_other_cells_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(
        BenchError,
        match=r"^method\.object_guidance has cells of 32 pixels and those of "
        r"method\.backbone=small have another size; use method\.backbone=resnet18, or "
        r"method\.object_guidance=null$",
    ):
        object_guide(GuidanceConfig("resnet18.pth"), backbone="small")


def test_the_guide_is_the_channel_mean_of_torchvisions_last_stage(resnet_file: Path) -> None:
    reference = torchvision.models.resnet18(weights=None)
    reference.load_state_dict(torch.load(resnet_file, weights_only=True))
    features: list[Tensor] = []
    reference.layer4.register_forward_hook(lambda module, inputs, output: features.append(output))
    frames = torch.randint(0, 256, (2, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    scaled = frames / 255
    for channel, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        scaled[:, channel] = (scaled[:, channel] - mean) / std
    with torch.no_grad():
        reference.eval()(scaled)

    guide = ObjectGuide(str(resnet_file), setting="method.x", without=None)
    seen = guide(frames.to(torch.uint8))

    assert seen.shape == (2, 7, 7)
    expected = sum(features[0][:, channel].abs() for channel in range(512)) / 512
    torch.testing.assert_close(seen, expected)


def test_the_guide_is_frozen_whatever_it_is_part_of(resnet_file: Path) -> None:
    guide = ObjectGuide(str(resnet_file), setting="method.x", without=None)
    before = {name: value.clone() for name, value in guide.net.state_dict().items()}

    whole = torch.nn.Sequential(guide).train()
    whole(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))

    assert not any(weight.requires_grad for weight in guide.net.parameters())
    assert all(torch.equal(before[name], value) for name, value in guide.net.state_dict().items())
    assert not any(each.training for each in guide.net.modules())


def test_the_guide_moves_with_what_it_is_part_of(resnet_file: Path) -> None:
    guide = ObjectGuide(str(resnet_file), setting="method.x", without=None)

    torch.nn.Sequential(guide).to("meta")

    assert {weight.device.type for weight in guide.net.parameters()} == {"meta"}


def test_no_weights_ask_for_no_guidance() -> None:
    assert object_guide(GuidanceConfig()) is None


def test_weights_ask_for_guidance(resnet_file: Path) -> None:
    assert isinstance(object_guide(GuidanceConfig(str(resnet_file))), ObjectGuide)


def test_weights_that_are_not_there_are_refused_with_a_way_out(tmp_path: Path) -> None:
    missing = tmp_path / "resnet18.pth"

    with pytest.raises(
        BenchError,
        match=r"^method\.object_guidance='.*resnet18\.pth' is no file of ResNet-18 weights.*give "
        r"the path of .*, or method\.object_guidance=null for no guidance$",
    ):
        object_guide(GuidanceConfig(str(missing)))


@pytest.mark.parametrize("alpha", [-0.1, 1.5])
def test_a_share_that_is_none_is_refused(alpha: float) -> None:
    with pytest.raises(BenchError, match=rf"method\.guidance_alpha={alpha} must be in \[0, 1\]"):
        object_guide(GuidanceConfig(guidance_alpha=alpha))


def test_the_card_of_a_guided_method_says_so() -> None:
    card = guided_card(MethodCard(paper="a paper", map_range=(-1.0, 1.0)))

    assert card == MethodCard(paper="a paper", map_range=None, object_guidance=True)


MIXES = {"ezvsl": (Ezvsl, 0.4), "fnac": (Fnac, 0.4), "slavc": (Slavc, 0.9)}


@pytest.fixture
def clip() -> Clip:
    draws = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 2, 3, 96, 96), generator=draws).to(torch.uint8)
    waveform = torch.rand(2, 2, 16000, generator=draws) - 0.5
    return Clip(torch.arange(2), frames, waveform, torch.tensor([1, 0]))


@pytest.mark.parametrize("name", MIXES)
def test_a_guided_method_mixes_its_own_map_with_what_is_seen_in_the_target_frame(
    name: str, clip: Clip, resnet_file: Path
) -> None:
    kind, alpha = MIXES[name]
    settings = {"image_size": 96, "segment_seconds": 1.0}
    plain = kind(kind.Config(**settings), OptimConfig(), seed=3).eval()
    path = str(resnet_file)
    method = kind(kind.Config(**settings, object_guidance=path), OptimConfig(), seed=3).eval()
    with torch.no_grad():
        own, answer = plain.localize(clip), method.localize(clip)
        seen = ObjectGuide(path, setting="x", without=None)(clip.frames[[0, 1], clip.target])

    for row in range(2):
        heard, guide = own.heatmap[row].double().numpy(), seen[row].double().numpy()
        if name == "slavc":
            expected = alpha * (heard + 1) / 2 + (1 - alpha) * guide / 2.5
            found = answer.heatmap[row].numpy()
        else:
            expected = alpha * norm(upsampled(heard)) + (1 - alpha) * norm(upsampled(guide))
            found = upsampled(answer.heatmap[row].double().numpy())
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)
    assert torch.equal(own.confidence, answer.confidence)
    assert (plain.card.object_guidance, method.card.object_guidance) == (False, True)
    assert kind.card.object_guidance is False


@pytest.mark.parametrize("name", MIXES)
def test_weights_of_a_method_fit_with_a_guide_and_without(name: str, resnet_file: Path) -> None:
    kind, _ = MIXES[name]
    plain = kind(kind.Config(), OptimConfig(), seed=0)
    method = kind(kind.Config(object_guidance=str(resnet_file)), OptimConfig(), seed=1)

    method.load_state_dict(plain.state_dict())
    plain.load_state_dict(method.state_dict())

    assert method.guide is not None
    assert len(list(method.parameters())) == len(list(plain.parameters()))
