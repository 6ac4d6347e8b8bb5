"""The network of EZ-VSL, SLAVC and FNAC: two ResNet-18 at stride 32 and projections of both.

Source: https://github.com/stoneMo/EZ-VSL, model.py:8-36 at 95ff5bf.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.clip import Batch, Clip
from methods.base import Method, require_known
from methods.frontends import LogMel, LogSpectrogram, NormalizedFrames
from methods.global_norm import ZeroMean, with_global_statistics
from methods.two_stream import (
    SMALL_CHANNELS,
    TwoStreamConfig,
    require_small_sound,
    resnet18,
    small_audio,
    small_visual,
)
from metrics.errors import BenchError

RESNET_CHANNELS = 512
HOP = 238  # EZ-VSL code, datasets.py:18-36 at 95ff5bf: windows of 512 that overlap by 274
DROPOUT = 7303  # the stream of draws that is of dropped features alone
CHOICES = {"backbone": ("resnet18", "small"), "directions": ("sum", "mean")}
STAGES = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
TRAINING = {
    "optim.lr": 1e-4,
    "optim.weight_decay": 0.0,
    "data.batch_size": 128,
    "data.augmentation": "crop_flip",
    "trainer.max_epochs": 20,
}
"""EZ-VSL code, train.py and scripts/ at 95ff5bf; 100 epochs where 10k clips train."""
RELEASED_NAMES: Mapping[str, str] = {
    "imgnet.": "features.visual.",
    "audnet.": "features.audio.",
    "img_proj.": "projections.0.visual.",
    "aud_proj.": "projections.0.audio.",
}
"""Beginnings of the names in files of EZ-VSL and FNAC, and those of ``ProjectedStreams``."""


@dataclass
class ProjectedConfig(TwoStreamConfig):
    """Settings of the network, and of losses of both directions."""

    temperature: float = 0.03  # tau of all three codes
    directions: str = "sum"  # sum (all three codes) | mean of the two cross-entropies
    checkpoint: str | None = None  # a released file, which is tested as it stands
    front_end: str = "bench"  # bench | own: of frames and sounds, as the code has them


class ProjectedStreams(nn.Module):
    """Frames to ``V`` ``(B, D, h, w)`` and sounds to ``A`` ``(B, D)``, in one space or in several.

    ``resnet18``: 224 px give 7 x 7 cells of D = 512; the sound is max-pooled over its spectrogram,
    257 x 200 for 3 s at 16 kHz. ``small``: the streams of `lvs` for two CPU cores, stride 8 and
    D = 128.
    """

    def __init__(
        self,
        config: ProjectedConfig,
        *,
        zero_mean: bool,
        spaces: int = 1,
        sound: nn.Module | None = None,
    ) -> None:
        """Builds it with first weights as the code draws them.

        Args:
            config: backbones, weights of the vision, and layout.
            zero_mean: whether each projection ends in ``ZeroMean``. Right where all weights are
                random, since all cosines start near 1 then; wrong for released weights.
            spaces: pairs of projections.
            sound: waveforms ``(B, S)`` to ``(B, 1, F, frames)``, in place of the usual spectrogram.

        Raises:
            BenchError: unknown backbone, or weights that are of another network.
        """
        super().__init__()
        require_known(config, CHOICES)
        small = config.backbone == "small"
        if small and sound is not None:
            raise BenchError("method.front_end=own has no meaning with method.backbone=small")
        self.features = SmallFeatures(config) if small else ResNetFeatures(config, sound)
        channels = SMALL_CHANNELS if small else RESNET_CHANNELS
        pairs = (Projections(channels, zero_mean=zero_mean) for _ in range(spaces))
        self.projections = nn.ModuleList(pairs)
        if config.channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Of frames and of sounds, without what is in front of them and behind."""
        return self.features.visual, self.features.audio

    def in_spaces(
        self, clip: Clip, drop: Callable[[Tensor], Tensor] | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """``V`` and ``A`` of each clip's target segment in each space.

        Args:
            clip: B clips.
            drop: what becomes of image features ``(B, C, h, w)`` before they are projected.
        """
        visual, sound = self.features(clip)
        if drop is not None:
            visual = drop(visual)
        return [projection(visual, sound) for projection in self.projections]

    def forward(
        self, clip: Clip, drop: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """``V`` and ``A`` in the first space."""
        return self.in_spaces(clip, drop)[0]


class _Features(nn.Module):
    """What frames and sounds are turned into before they are projected."""

    spectrogram: nn.Module
    visual: nn.Module
    audio: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.normalized = NormalizedFrames()

    def forward(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """``(B, C, h, w)`` and ``(B, C)`` of each clip's target segment."""
        frames = clip.of_target(clip.frames)  # (B, 3, H, W)
        waveform = clip.of_target(clip.waveform)  # (B, S)
        frames = self.normalized(frames).contiguous(memory_format=torch.channels_last)
        return self.visual(frames), self.audio(self.spectrogram(waveform))


class ResNetFeatures(_Features):
    """Two ResNet-18, with torchvision's names of their weights."""

    def __init__(self, config: TwoStreamConfig, sound: nn.Module | None = None) -> None:
        super().__init__()
        if sound is None:
            sound = LogSpectrogram(
                config.sample_rate_hz, config.segment_seconds, hop=HOP, centred=False
            )
        self.spectrogram = sound
        self.visual = with_global_statistics(resnet18_stages(3, pretrained=config.pretrained))
        heard = resnet18_stages(1)
        for layer in heard.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.weight, 1, 0.02)  # EZ-VSL code, model.py:34-36 at 95ff5bf
        heard.add_module("pool", nn.AdaptiveMaxPool2d(1))
        heard.add_module("flat", nn.Flatten())
        self.audio = with_global_statistics(heard)


class SmallFeatures(_Features):
    """The small streams of :mod:`methods.two_stream` on a log-mel spectrogram."""

    def __init__(self, config: TwoStreamConfig) -> None:
        super().__init__()
        if config.pretrained is not None:
            raise BenchError("method.pretrained has no meaning with method.backbone=small")
        require_small_sound(config.sample_rate_hz, config.segment_seconds)
        self.spectrogram = LogMel(config.sample_rate_hz)
        self.visual, self.audio = small_visual(), small_audio()


def resnet18_stages(channels: int, *, pretrained: str | None = None) -> nn.Sequential:
    """ResNet-18 of torchvision to its last map, ``(B, channels, H, W) -> (B, 512, H/32, W/32)``.

    Raises:
        BenchError: ``pretrained`` cannot be found, or is of another network.
    """
    net = resnet18(channels, pretrained)
    return nn.Sequential(OrderedDict((name, getattr(net, name)) for name in STAGES))


class Projections(nn.Module):
    """Features of frames and of sounds into one space, cell by cell."""

    def __init__(self, channels: int, *, zero_mean: bool) -> None:
        super().__init__()
        self.visual = nn.Conv2d(channels, channels, 1)
        self.audio = nn.Linear(channels, channels)
        # EZ-VSL code, model.py:26-33 at 95ff5bf
        nn.init.kaiming_normal_(self.visual.weight, mode="fan_out", nonlinearity="relu")
        nn.init.trunc_normal_(self.audio.weight, std=0.01)
        self.visual_end = ZeroMean(channels) if zero_mean else nn.Identity()
        self.audio_end = ZeroMean(channels) if zero_mean else nn.Identity()

    def forward(self, visual: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """``V`` ``(B, D, h, w)`` and ``A`` ``(B, D)``, not normalised."""
        return self.visual_end(self.visual(visual)), self.audio_end(self.audio(sound))


def dropped(
    features: Tensor, index: Tensor, share: float, *, seed: int, epoch: int, network: int = 0
) -> Tensor:
    """Features of which that share is 0 and the rest larger by 1 / (1 - share), cell by cell.

    As ``nn.Dropout``, but drawn for every clip by (seed, epoch, row), so that it does not depend on
    the processes that share the batch.

    Args:
        features: ``(B, C, h, w)``.
        index: ``(B,)`` int64, rows of the training list.
        share: in [0, 1).
        seed: of the run.
        epoch: of the training.
        network: of several that see the same clip, each with draws of its own.
    """
    if share == 0:
        return features
    kept = np.empty(features.shape, dtype=np.bool_)
    for place, row in enumerate(index.tolist()):
        rng = np.random.default_rng([DROPOUT, seed, epoch, network, row])
        kept[place] = rng.random(features.shape[1:], dtype=np.float32) >= share
    return features * torch.from_numpy(kept).to(features.device) / (1 - share)


def drop(
    method: Method, batch: Batch, share: float, network: int = 0
) -> Callable[[Tensor], Tensor] | None:
    """:func:`dropped` for a method's batch; None where it does not train."""
    if not method.training:
        return None
    return partial(dropped, index=batch.clip.index, share=share, seed=method.seed,
                   epoch=method.current_epoch, network=network)  # fmt: skip


def require_share(name: str, share: float) -> None:
    """Raises BenchError where the setting ``method.<name>`` is no share that can be dropped."""
    if not 0 <= share < 1:
        raise BenchError(f"method.{name} must be at least 0 and less than 1, got {share}")
