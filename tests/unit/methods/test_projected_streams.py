from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.clip import Clip
from methods.global_norm import GlobalBatchNorm, ZeroMean
from methods.projected_streams import (
    RELEASED_NAMES,
    ProjectedConfig,
    ProjectedStreams,
    dropped,
    require_share,
)
from methods.weights import Published, load_weights
from metrics.errors import BenchError

RELEASED = Published("EZ-VSL", "a checkpoint", names=dict(RELEASED_NAMES))


def small_config(**settings: object) -> ProjectedConfig:
    values = {"backbone": "small", "image_size": 64, "segment_seconds": 1.0, **settings}
    return ProjectedConfig(**values)


def noise_clip(clips: int, segments: int, image_size: int, samples: int) -> Clip:
    rng = np.random.default_rng(0)
    shape = (clips, segments, 3, image_size, image_size)
    frames = torch.from_numpy(rng.integers(256, size=shape, dtype=np.uint8))
    waveform = torch.from_numpy(rng.uniform(-1, 1, (clips, segments, samples)).astype(np.float32))
    return Clip(torch.arange(clips), frames, waveform, torch.zeros(clips, dtype=torch.int64))


def released_networks(seed: int) -> nn.ModuleDict:
    """The four modules of a released file, built of torchvision alone."""
    torch.manual_seed(seed)
    imgnet, audnet = torchvision.models.resnet18(), torchvision.models.resnet18()
    audnet.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    audnet.avgpool = nn.AdaptiveMaxPool2d(1)
    imgnet.avgpool = imgnet.fc = audnet.fc = nn.Identity()
    for module in (*imgnet.modules(), *audnet.modules()):
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return nn.ModuleDict({"imgnet": imgnet, "img_proj": nn.Conv2d(512, 512, 1),
                          "audnet": audnet, "aud_proj": nn.Linear(512, 512)})  # fmt: skip


@pytest.fixture(scope="module")
def networks() -> nn.ModuleDict:
    return released_networks(3).eval()


@pytest.fixture(scope="module")
def loaded(networks: nn.ModuleDict, tmp_path_factory: pytest.TempPathFactory) -> ProjectedStreams:
    path = tmp_path_factory.mktemp("released") / "best.pth"
    torch.save({"model": networks.state_dict()}, path)
    streams = ProjectedStreams(ProjectedConfig(), zero_mean=False)
    load_weights(streams, str(path), RELEASED, setting="method.checkpoint")
    return streams.eval()


def test_resnet18_gives_7_by_7_cells_of_512_and_a_sound_of_512(loaded: ProjectedStreams):
    with torch.no_grad():
        visual, sound = loaded(noise_clip(1, 1, 224, 48000))

    assert visual.shape == (1, 512, 7, 7)
    assert sound.shape == (1, 512)


def test_three_seconds_are_heard_as_257_bins_of_200_frames(loaded: ProjectedStreams):
    assert loaded.features.spectrogram(torch.zeros(1, 48000)).shape == (1, 1, 257, 200)


def test_a_released_file_has_244_tensors_and_each_has_its_place(
    networks: nn.ModuleDict, loaded: ProjectedStreams
):
    stored = networks.state_dict()

    assert len(stored) == 244
    assert {RELEASED.local_name(name) for name in stored} == set(loaded.state_dict())


def test_loaded_weights_compute_what_torchvision_does(
    networks: nn.ModuleDict, loaded: ProjectedStreams
):
    clip = noise_clip(2, 1, 64, 48000)
    frames = clip.frames[:, 0].float() / 255
    mean, spread = (torch.tensor(each).view(1, 3, 1, 1)
                    for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))  # fmt: skip
    with torch.no_grad():
        seen = networks["imgnet"]((frames - mean) / spread).unflatten(1, (512, 2, 2))
        heard = networks["audnet"](loaded.features.spectrogram(clip.waveform[:, 0]))
        expected = networks["img_proj"](seen), networks["aud_proj"](heard)
        found = loaded(clip)

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_small_gives_8_by_8_cells_of_128_in_every_space():
    streams = ProjectedStreams(small_config(), zero_mean=True, spaces=2)

    spaces = streams.in_spaces(noise_clip(2, 1, 64, 16000))

    assert [(v.shape, a.shape) for v, a in spaces] == [((2, 128, 8, 8), (2, 128))] * 2
    assert not spaces[0][0].equal(spaces[1][0])


def test_the_streams_see_and_hear_only_the_target_segment():
    streams = ProjectedStreams(small_config(), zero_mean=True).eval()
    clip = noise_clip(2, 3, 64, 16000)._replace(target=torch.tensor([2, 0]))
    others = clip._replace(frames=clip.frames.clone(), waveform=clip.waveform.clone())
    for row, segment in ((0, 0), (0, 1), (1, 1), (1, 2)):
        others.frames[row, segment] = 0
        others.waveform[row, segment] = 0

    expected, found = streams(clip), streams(others)

    assert expected[0].equal(found[0])
    assert expected[1].equal(found[1])


@pytest.mark.parametrize("zero_mean", [True, False])
def test_projections_end_in_zero_means_where_asked(zero_mean: bool):
    streams = ProjectedStreams(small_config(), zero_mean=zero_mean)

    visual, sound = streams(noise_clip(4, 1, 64, 16000))

    pair = streams.projections[0]
    ends = [isinstance(end, ZeroMean) for end in (pair.visual_end, pair.audio_end)]
    assert ends == [zero_mean] * 2
    assert (visual.mean((0, 2, 3)).abs().max() < 1e-5) == zero_mean
    assert (sound.mean(0).abs().max() < 1e-5) == zero_mean


@pytest.mark.parametrize("backbone", ["small", "resnet18"])
def test_every_batch_norm_of_the_streams_is_global(backbone: str):
    modules = ProjectedStreams(ProjectedConfig(backbone=backbone), zero_mean=True).modules()

    norms = [module for module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    assert norms
    assert all(isinstance(norm, GlobalBatchNorm) for norm in norms)


def test_first_weights_are_drawn_as_the_code_draws_them():
    torch.manual_seed(0)
    streams = ProjectedStreams(ProjectedConfig(), zero_mean=False)
    projection, heard = streams.projections[0], streams.features.audio

    norms = [m.weight for m in heard.modules() if isinstance(m, nn.BatchNorm2d)]

    assert projection.audio.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert projection.audio.weight.abs().max() <= 2
    assert projection.visual.weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)
    assert heard.conv1.weight.std().item() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)
    assert torch.cat(norms).std().item() == pytest.approx(0.02, rel=0.1)
    assert torch.cat(norms).mean().item() == pytest.approx(1, abs=0.002)


def test_vision_weights_come_from_the_file(tmp_path: Path):
    state = torchvision.models.resnet18().state_dict()
    torch.save(state, tmp_path / "resnet18.pth")

    config = ProjectedConfig(pretrained=str(tmp_path / "resnet18.pth"))
    streams = ProjectedStreams(config, zero_mean=False)

    found = streams.features.visual.state_dict()
    assert all(found[name].equal(state[name]) for name in state if not name.startswith("fc."))
    assert not streams.features.audio.layer4[1].conv2.weight.equal(state["layer4.1.conv2.weight"])


def test_small_takes_no_weights():
    with pytest.raises(BenchError, match="no meaning with method.backbone=small"):
        ProjectedStreams(small_config(pretrained="a.pth"), zero_mean=True)


def test_an_unknown_backbone_is_refused_in_words():
    with pytest.raises(BenchError, match="method.backbone='vgg' is unknown; use resnet18 or small"):
        ProjectedStreams(small_config(backbone="vgg"), zero_mean=True)


def drop(features: Tensor, index: Tensor, share: float = 0.9, **settings: int) -> Tensor:
    return dropped(features, index, share, **{"seed": 1, "epoch": 2, **settings})


def test_nine_tenths_of_the_features_are_dropped_and_the_mean_stays():
    found = drop(torch.ones(8, 64, 7, 7), torch.arange(8))

    assert sorted(set(found.flatten().tolist())) == [0.0, pytest.approx(10.0)]
    assert found.mean().item() == pytest.approx(1, abs=0.06)  # 3.2 standard errors of n = 25,088


def test_what_is_dropped_depends_on_the_clip_and_not_on_its_batch():
    features = torch.rand(3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    index = torch.tensor([7, 0, 41])

    together = drop(features, index)

    assert drop(features[1:], index[1:]).equal(together[1:])
    assert not (together[0] == 0).equal(together[1] == 0)


@pytest.mark.parametrize("other", [{"seed": 0}, {"epoch": 3}, {"network": 1}])
def test_what_is_dropped_depends_on_seed_epoch_and_network(other: dict[str, int]):
    ones = torch.ones(1, 4, 5, 5)

    assert not drop(ones, torch.tensor([3])).equal(drop(ones, torch.tensor([3]), **other))


def test_kept_features_alone_receive_gradients():
    features = torch.ones(2, 4, 5, 5, requires_grad=True)

    found = drop(features, torch.tensor([0, 1]))
    found.sum().backward()

    torch.testing.assert_close(features.grad, found.detach())


def test_nothing_is_dropped_at_a_share_of_0():
    features = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    assert drop(features, torch.tensor([0, 1]), share=0.0).equal(features)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_cannot_be_dropped_is_refused(share: float):
    with pytest.raises(BenchError, match="method.dropout must be at least 0 and less than 1, got"):
        require_share("dropout", share)


def test_the_drop_comes_before_the_projections():
    streams = ProjectedStreams(small_config(), zero_mean=False).eval()
    clip = noise_clip(2, 1, 64, 16000)

    with torch.no_grad():
        visual, _ = streams(clip, torch.zeros_like)

    bias = streams.projections[0].visual.bias
    torch.testing.assert_close(F.relu(visual), F.relu(bias).view(1, -1, 1, 1).expand_as(visual))
