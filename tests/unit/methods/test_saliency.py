from pathlib import Path

import pytest
import torch
import torchvision

from datamodules.clip import Clip
from methods.base import OptimConfig
from methods.object_guidance import ObjectGuide
from methods.saliency import Saliency, SaliencyConfig
from metrics.errors import BenchError


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def saliency(resnet_file: Path) -> Saliency:
    return Saliency(SaliencyConfig(pretrained=str(resnet_file)), OptimConfig(), seed=0)


def clip(seed: int = 0) -> Clip:
    draws = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (2, 3, 3, 96, 96), generator=draws).to(torch.uint8)
    return Clip(torch.arange(2), frames, torch.rand(2, 3, 400), torch.tensor([2, 0]))


def test_the_map_is_that_of_the_guide_on_the_target_frame(
    saliency: Saliency, resnet_file: Path
) -> None:
    frames = clip().frames
    guide = ObjectGuide(str(resnet_file), setting="method.pretrained", without=None)

    answer = saliency.localize(clip())

    expected = torch.cat([guide(frames[:1, 2]), guide(frames[1:, 0])])
    torch.testing.assert_close(answer.heatmap, expected)
    assert answer.heatmap.shape == (2, 3, 3)


def test_another_sound_changes_nothing(saliency: Saliency) -> None:
    own = saliency.localize(clip())

    other = saliency.localize(clip()._replace(waveform=-clip().waveform))

    assert torch.equal(own.heatmap, other.heatmap)
    assert torch.equal(own.confidence, other.confidence)
    assert (own.confidence == 0).all()


def test_it_is_a_floor_that_learns_nothing(saliency: Saliency) -> None:
    assert (saliency.card.floor, saliency.learns) == (True, False)
    assert not any(weight.requires_grad for weight in saliency.parameters())


def test_no_floor_is_made_of_random_weights() -> None:
    with pytest.raises(
        BenchError,
        match=r"^saliency needs ImageNet weights, since random ones are no floor; give "
        r"method\.pretrained, the path of",
    ):
        Saliency(SaliencyConfig(), OptimConfig(), seed=0)


def test_weights_of_another_network_are_refused_without_an_offer_of_random_ones(
    tmp_path: Path,
) -> None:
    path = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, path)

    with pytest.raises(BenchError, match=r"it lacks 101 of 102 tensors") as raised:
        Saliency(SaliencyConfig(pretrained=str(path)), OptimConfig(), seed=0)
    assert str(raised.value).endswith("a torchvision or timm resnet18 state dict")
