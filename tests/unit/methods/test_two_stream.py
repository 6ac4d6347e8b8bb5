from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from datamodules.clip import Clip
from methods.global_norm import GlobalBatchNorm, ZeroMean
from methods.two_stream import TwoStream, TwoStreamConfig, resnet18_map, small_visual
from metrics.errors import BenchError


def small_config(**settings: object) -> TwoStreamConfig:
    values = {"backbone": "small", "image_size": 64, "segment_seconds": 1.0, **settings}
    return TwoStreamConfig(**values)


def noise_clip(clips: int, segments: int, image_size: int, samples: int) -> Clip:
    rng = np.random.default_rng(0)
    shape = (clips, segments, 3, image_size, image_size)
    frames = torch.from_numpy(rng.integers(256, size=shape, dtype=np.uint8))
    waveform = torch.from_numpy(rng.uniform(-1, 1, (clips, segments, samples)).astype(np.float32))
    return Clip(torch.arange(clips), frames, waveform, torch.zeros(clips, dtype=torch.int64))


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    return path


def test_resnet18_gives_14_by_14_cells_of_512_and_a_sound_of_512():
    streams = TwoStream(TwoStreamConfig()).eval()

    with torch.no_grad():
        visual, sound = streams(noise_clip(1, 1, 224, 48000))

    assert visual.shape == (1, 512, 14, 14)
    assert sound.shape == (1, 512)


def test_small_gives_8_by_8_cells_of_128_and_a_sound_of_128():
    visual, sound = TwoStream(small_config())(noise_clip(2, 1, 64, 16000))

    assert visual.shape == (2, 128, 8, 8)
    assert sound.shape == (2, 128)


def test_the_streams_see_and_hear_only_the_target_segment():
    streams = TwoStream(small_config()).eval()
    clip = noise_clip(2, 3, 64, 16000)
    clip = clip._replace(target=torch.tensor([2, 0]))
    others = clip._replace(frames=clip.frames.clone(), waveform=clip.waveform.clone())
    for row, segment in ((0, 0), (0, 1), (1, 1), (1, 2)):
        others.frames[row, segment] = 0
        others.waveform[row, segment] = 0

    expected, found = streams(clip), streams(others)

    assert expected[0].equal(found[0])
    assert expected[1].equal(found[1])


@pytest.mark.parametrize("backbone", ["small", "resnet18"])
def test_streams_without_weights_end_in_zero_means(backbone: str):
    streams = TwoStream(TwoStreamConfig(backbone=backbone))

    assert [type(stream[-1]) for stream in (streams.visual, streams.audio)] == [ZeroMean, ZeroMean]


@pytest.mark.parametrize("backbone", ["small", "resnet18"])
def test_every_batch_norm_of_the_streams_is_global(backbone: str):
    modules = TwoStream(TwoStreamConfig(backbone=backbone)).modules()

    norms = [module for module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    assert norms
    assert all(isinstance(norm, GlobalBatchNorm) for norm in norms)


def test_resnet18_ends_at_stride_1_and_is_otherwise_torchvisions(resnet_file: Path):
    reference = torchvision.models.resnet18(weights=None)
    reference.load_state_dict(torch.load(resnet_file, weights_only=True))
    for convolution in (reference.layer4[0].conv1, reference.layer4[0].downsample[0]):
        convolution.stride = (1, 1)
    last_map: list[Tensor] = []
    reference.layer4.register_forward_hook(lambda module, inputs, output: last_map.append(output))
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    reference.eval()(image)

    visual = resnet18_map(3, pretrained=str(resnet_file)).eval()(image)

    assert visual.shape == (1, 512, 4, 4)
    torch.testing.assert_close(visual, last_map[0])


def small_eval() -> nn.Module:
    torch.manual_seed(0)
    net = small_visual()
    net(torch.randn(2, 3, 64, 64))  # fills the running statistics
    return net.eval()


def test_a_pixel_that_moves_by_8_moves_the_small_map_by_one_cell():
    net = small_eval()
    images = torch.zeros(3, 3, 128, 128)
    images[0, :, 60, 60] = 5.0
    images[1, :, 68, 60] = 5.0

    with torch.no_grad():
        here, there, nothing = net(images)

    assert (here - nothing).abs().max() > 0.005
    torch.testing.assert_close(
        (there - nothing)[:, 1:], (here - nothing)[:, :-1], rtol=0, atol=1e-6
    )


def test_a_cell_of_the_small_map_sees_the_22_pixels_around_its_centre():
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, 128, 128, generator=generator, requires_grad=True)

    small_eval()(image)[0, :, 7, 8].square().sum().backward()

    # 4 + 3 * 2 + 3 * 4 pixels wide, around pixels 8 * 7 + 3.5 and 8 * 8 + 3.5
    seen = image.grad.abs().sum((0, 1))
    rows, columns = (torch.nonzero(seen.sum(axis)).squeeze(1) for axis in (1, 0))
    assert list(range(49, 71)) == rows.tolist()
    assert list(range(57, 79)) == columns.tolist()


def test_the_small_map_of_an_even_frame_is_even_up_to_its_rim():
    with torch.no_grad():
        visual = small_eval()(torch.full((1, 3, 64, 64), 0.7))

    torch.testing.assert_close(visual, visual[:, :, 3:4, 3:4].expand_as(visual))


def test_vision_weights_come_from_the_file(resnet_file: Path):
    streams = TwoStream(TwoStreamConfig(pretrained=str(resnet_file)))

    state = torch.load(resnet_file, weights_only=True)
    assert streams.visual[0].weight.equal(state["conv1.weight"])
    assert streams.visual[7][1].conv2.weight.equal(state["layer4.1.conv2.weight"])
    assert not isinstance(streams.visual[-1], ZeroMean)


def test_weights_of_another_network_are_refused_in_words(tmp_path: Path):
    path = tmp_path / "linear.pth"
    torch.save(nn.Linear(2, 2).state_dict(), path)

    with pytest.raises(BenchError, match=r"linear.pth' is no file of ResNet-18 weights .*=null"):
        resnet18_map(3, pretrained=str(path))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_file_that_holds_no_weights_is_refused_in_words(tmp_path: Path, content: bytes):
    path = tmp_path / "broken.pth"
    path.write_bytes(content)

    with pytest.raises(BenchError, match=r"method.pretrained=.*broken.pth' is no file"):
        resnet18_map(3, pretrained=str(path))


def test_an_unknown_name_of_weights_is_refused_in_words():
    with pytest.raises(BenchError, match="method.pretrained='resnet_none' is no file"):
        resnet18_map(3, pretrained="resnet_none")


def test_small_takes_no_weights():
    with pytest.raises(BenchError, match="no meaning with method.backbone=small"):
        TwoStream(small_config(pretrained="a.pth"))


def test_an_unknown_backbone_is_refused_in_words():
    with pytest.raises(BenchError, match="method.backbone='vgg' is unknown; use resnet18 or small"):
        TwoStream(small_config(backbone="vgg"))


@pytest.mark.parametrize("laid_out", [True, False])
def test_weights_lie_as_the_setting_says_and_give_the_same_features(laid_out: bool):
    clip = noise_clip(2, 1, 64, 16000)
    torch.manual_seed(0)
    expected = TwoStream(small_config(channels_last=True))(clip)
    torch.manual_seed(0)

    streams = TwoStream(small_config(channels_last=laid_out))

    weight = streams.visual[3].weight  # (48, 24, 4, 4)
    assert weight.is_contiguous(memory_format=torch.channels_last) is laid_out
    for one, other in zip(streams(clip), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
