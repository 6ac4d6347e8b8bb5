"""The two streams of methods that may keep them frozen: frames to maps, sounds to vectors."""

from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from datamodules.clip import Clip
from datamodules.features import FrozenExtractor, FrozenStream
from datamodules.user_paths import expanded
from methods.frontends import LogMel, NormalizedFrames
from methods.two_stream import require_small_sound, small_audio, small_visual
from methods.weights import Published, load_weights
from metrics.errors import BenchError

WARMUP = Published(
    "warmup",
    "the folder of a finished bench run --method warmup, or its training/weights.pt",
    {"streams.": ""},
)


class PerSegment(nn.Module):
    """A network of single frames or sounds on each segment, ``(B, T, ...) -> (B, T, ...)``."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.network = nn.Sequential(*layers)

    def forward(self, values: Tensor) -> Tensor:
        """What the network makes of every segment."""
        each = values.flatten(0, 1)
        if each.dim() == 4:  # frames
            each = each.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.network(each)
        return features.reshape(*values.shape[:2], *features.shape[1:])


class Streams(nn.Module):
    """Frames to ``(B, T, C, h, w)`` and sounds to ``(B, T, D)``, each trained or frozen.

    A frozen stream is run in evaluation mode and without gradient, and its features may come with
    the clip instead.
    """

    def __init__(
        self,
        visual: nn.Module,
        audio: nn.Module,
        *,
        name: str,
        frozen_visual: bool = False,
        frozen_audio: bool = False,
    ) -> None:
        """Streams of the given networks.

        Args:
            visual: normalised frames ``(N, 3, H, W)`` to ``(N, C, h, w)``.
            audio: waveforms ``(N, S)`` to ``(N, D)``.
            name: of the backbones, for the identity of kept features.
            frozen_visual: whether the visual stream is not trained.
            frozen_audio: whether the sound stream is not trained.
        """
        super().__init__()
        self.visual = PerSegment(NormalizedFrames(), visual)
        self.audio = PerSegment(audio)
        self.name, self.frozen_visual, self.frozen_audio = name, frozen_visual, frozen_audio
        self.visual.requires_grad_(not frozen_visual)
        self.audio.requires_grad_(not frozen_audio)

    @property
    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Of frames and of sounds, without what is in front of them."""
        (_, visual), (sound,) = self.visual.network, self.audio.network
        return visual, cast("nn.Sequential", sound)[1]

    def extractor(self) -> FrozenExtractor | None:
        """The frozen streams; None where both are trained."""
        settings = {"backbone": self.name}
        visual = FrozenStream(self.visual, settings) if self.frozen_visual else None
        audio = FrozenStream(self.audio, settings) if self.frozen_audio else None
        return None if visual is None and audio is None else FrozenExtractor(visual, audio)

    def forward(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """``(B, T, C, h, w)`` and ``(B, T, D)`` of all segments."""
        frozen = self.extractor() or FrozenExtractor()
        visual, audio = frozen.features(clip)
        if audio is None:  # the sound first: then the larger visual stream is freed first
            audio = self.audio(clip.waveform)
        return self.visual(clip.frames) if visual is None else visual, audio

    def of_target(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """``(B, C, h, w)`` and ``(B, D)`` of each clip's target segment."""
        visual, audio = self(clip)
        return clip.of_target(visual), clip.of_target(audio)


class StreamWeights(Protocol):
    """Settings of a method whose streams are the small ones of `warmup`, or known networks."""

    backbone: str
    pretrained: str | None  # of the small streams
    pretrained_vision: str | None
    pretrained_sound: str | None


def require_own_weights(config: StreamWeights) -> None:
    """Raises BenchError where weights are named for streams that the backbone does not have."""
    foreign = ["pretrained"]
    if config.backbone == "small":
        foreign = ["pretrained_vision", "pretrained_sound"]
    for name in foreign:
        if getattr(config, name) is not None:
            raise BenchError(
                f"method.{name}={getattr(config, name)} has no meaning with "
                f"method.backbone={config.backbone}; set method.{name}=null"
            )


def weights_given(config: StreamWeights) -> list[str]:
    """What streams start from, in words; nothing where all of it is random."""
    started = {
        "streams of warmup": config.pretrained,
        "vision": config.pretrained_vision,
        "sound": config.pretrained_sound,
    }
    return [part for part, source in started.items() if source is not None]


def small_streams(sample_rate_hz: int, segment_seconds: float, *, frozen: bool = False) -> Streams:
    """Both streams for two CPU cores: ``(B, T, 128, H/8, W/8)`` and ``(B, T, 128)``.

    Raises:
        BenchError: a segment is too short for the sound stream.
    """
    require_small_sound(sample_rate_hz, segment_seconds)
    audio = nn.Sequential(LogMel(sample_rate_hz), small_audio())
    return Streams(small_visual(), audio, name="small", frozen_visual=frozen, frozen_audio=frozen)


def weights_file(path: str) -> Path:
    """The file of weights that a setting names: the path, or what lies in the folder of a run.

    Raises:
        BenchError: the path begins with a ``~user`` that is nobody's.
    """
    place = expanded(path)
    return place / "training" / "weights.pt" if place.is_dir() else place


def load_streams(streams: Streams, path: str, setting: str) -> None:
    """Loads the streams of a finished run of `warmup`.

    Args:
        streams: of :func:`small_streams`.
        path: the run's ``training/weights.pt``, or its folder.
        setting: the key that named it, for the error.

    Raises:
        BenchError: there is no such file, or it holds other networks.
    """
    load_weights(streams, str(weights_file(path)), WARMUP, setting=setting)
