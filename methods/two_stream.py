"""The two streams of the LVS family: a frame to a map of vectors, a sound to one vector."""

from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn

from datamodules.clip import Clip
from methods.base import MethodConfig, require_known
from methods.frontends import LogMel, LogSpectrogram, NormalizedFrames
from methods.global_norm import ZeroMean, with_global_statistics
from methods.weights import Published, load_weights
from metrics.errors import BenchError

SMALL_CHANNELS, SMALL_STRIDE = 128, 8  # of the small streams
SHORTEST_SMALL = 2560  # samples; fewer give the small sound stream less than 4 frames
RESNET18 = Published("ResNet-18", "the path of a torchvision or timm resnet18 state dict", hub=True)

SMALL = {
    "method.backbone": "small",
    "method.image_size": 64,
    "method.segment_seconds": 1.0,
    "optim.lr": 2e-3,
    "optim.schedule": "one_cycle",
    "data.batch_size": 64,
    "data.augmentation": "crop_flip_roll",
    "trainer.max_epochs": 6,
}
"""What two CPU cores can train in a minute or two; measured on `synthetic`."""

RECIPE = {
    "*": {"trainer.max_epochs": 20},  # not given in the paper; EZ-VSL's for 144k clips
}


@dataclass
class TwoStreamConfig(MethodConfig):
    """Settings of both streams."""

    backbone: str = "resnet18"  # resnet18 | small
    pretrained: str | None = None  # vision weights: a file, a timm hub name, or null
    channels_last: bool = True  # the layout of all weights in memory; sums round otherwise


class TwoStream(nn.Module):
    """Frames to ``V`` ``(B, D, h, w)`` and sounds to ``A`` ``(B, D)`` (Senocak et al. 2022, Eq. 1).

    ``resnet18``: both ResNet-18 with the last stage at stride 1, so 224 px give 14 x 14 cells and
    D = 512; the sound is max-pooled over its spectrogram (LVS ``model.py:17-79`` at 8fe8cbb).
    ``small``: four convolutions at stride 8 on a log-mel, D = 128, for two CPU cores.
    Streams without pretrained weights end in ``ZeroMean``, where they are to be trained.
    """

    def __init__(
        self,
        config: TwoStreamConfig,
        *,
        sound: nn.Module | None = None,
        zero_mean: bool = True,
    ) -> None:
        """Both streams with random weights, or pretrained ones.

        Args:
            config: of the streams.
            sound: waveforms ``(B, S)`` to ``(B, 1, F, frames)``, in place of the usual spectrogram.
            zero_mean: whether streams that start from nothing end in ``ZeroMean``.

        Raises:
            BenchError: a setting is unknown or has no meaning with the backbone.
        """
        super().__init__()
        require_known(config, {"backbone": ("resnet18", "small")})
        self.normalized = NormalizedFrames()
        if config.backbone == "small":
            if config.pretrained is not None:
                raise BenchError("method.pretrained has no meaning with method.backbone=small")
            if sound is not None:
                raise BenchError("method.front_end=own has no meaning with method.backbone=small")
            require_small_sound(config.sample_rate_hz, config.segment_seconds)
            self.spectrogram: nn.Module = LogMel(config.sample_rate_hz)
            self.visual, self.audio = small_visual(), small_audio()
        else:
            if sound is None:
                sound = LogSpectrogram(config.sample_rate_hz, config.segment_seconds)
            self.spectrogram = sound
            self.visual = resnet18_map(3, pretrained=config.pretrained, zero_mean=zero_mean)
            end = [ZeroMean(512)] if zero_mean else []
            self.audio = nn.Sequential(resnet18_map(1), nn.AdaptiveMaxPool2d(1), nn.Flatten(), *end)
        if config.channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Of frames and of sounds, without what is in front of them."""
        return self.visual, self.audio

    def forward(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """``V`` ``(B, D, h, w)`` and ``A`` ``(B, D)`` of each clip's target segment."""
        frames = clip.of_target(clip.frames)  # (B, 3, H, W)
        waveform = clip.of_target(clip.waveform)  # (B, S)
        visual = self.normalized(frames).contiguous(memory_format=torch.channels_last)
        return self.visual(visual), self.audio(self.spectrogram(waveform))


def resnet18(channels: int, pretrained: str | None) -> torchvision.models.ResNet:
    """ResNet-18 of torchvision for ``(B, channels, H, W)``.

    Raises:
        BenchError: ``pretrained`` cannot be found, or is of another network.
    """
    net = torchvision.models.resnet18(weights=None)
    if pretrained is not None:
        load_weights(net, pretrained, RESNET18, setting="method.pretrained")
    if channels != 3:
        net.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    return net


def resnet18_map(
    channels: int, *, pretrained: str | None = None, zero_mean: bool = True
) -> nn.Module:
    """ResNet-18 up to its last map, stride 16, ``(B, channels, H, W) -> (B, 512, H/16, W/16)``.

    Where it sees frames and starts from nothing it ends in ``ZeroMean``, unless told not to.

    Raises:
        BenchError: ``pretrained`` cannot be found, or is of another network.
    """
    net = resnet18(channels, pretrained)
    net.layer4[0].conv1.stride = net.layer4[0].downsample[0].stride = (1, 1)
    stages = [net.conv1, net.bn1, net.relu, net.maxpool]
    stages += [net.layer1, net.layer2, net.layer3, net.layer4]
    if channels == 3 and pretrained is None and zero_mean:
        stages.append(ZeroMean(512))
    return with_global_statistics(nn.Sequential(*stages))


def _convolution(inputs: int, outputs: int, size: int, stride: int) -> list[nn.Module]:
    """Convolution, batch statistics and ReLU; edges are repeated, so that a frame has no rim."""
    layer = _Convolution(
        inputs, outputs, size, stride, 1 if size > 1 else 0, bias=False, padding_mode="replicate"
    )
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU()]


class _Convolution(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        """Of a contiguous input where compiled: of others torch has the strides wrong."""
        return super().forward(input.contiguous() if torch.compiler.is_compiling() else input)


def small_visual() -> nn.Module:
    """3-24-48-96-128 channels at stride 8, ``(B, 3, H, W) -> (B, 128, H/8, W/8)``.

    Size 4, stride 2, padding 1 keeps cell i centred on pixel 8i + 3.5; size 3 would shift it.
    A cell sees 22 pixels, about an object of `synthetic`: a wider view blurs the map.
    """
    layers = _convolution(3, 24, 4, 2) + _convolution(24, 48, 4, 2) + _convolution(48, 96, 4, 2)
    layers += _convolution(96, 128, 1, 1)
    return with_global_statistics(nn.Sequential(*layers, nn.Conv2d(128, 128, 1), ZeroMean(128)))


def require_small_sound(sample_rate_hz: int, segment_seconds: float) -> None:
    """Raises BenchError where a segment is too short for the small sound stream."""
    if segment_seconds * sample_rate_hz < SHORTEST_SMALL:
        raise BenchError(
            f"method.segment_seconds={segment_seconds} is too short for method.backbone=small: it "
            f"needs {SHORTEST_SMALL} samples"
        )


def small_audio() -> nn.Module:
    """Log-mel ``(B, 1, 32, frames)`` to ``(B, 128)``, averaged over time but not over pitch."""
    layers = _convolution(1, 16, 3, 1) + _convolution(16, 32, 4, 2) + _convolution(32, 64, 4, 2)
    pooled = [nn.AdaptiveAvgPool2d((8, 1)), nn.Flatten(), nn.Linear(64 * 8, 128), ZeroMean(128)]
    return with_global_statistics(nn.Sequential(*layers, *pooled))
