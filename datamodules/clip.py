"""What travels from a datamodule to a method and back: the types of the contract."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor


@dataclass(frozen=True)
class Resizing:
    """How a picture of any shape becomes a square.

    Attributes:
        crop: the middle square is kept, once the short side has the asked length; otherwise the
            whole picture is squashed.
        filter: bicubic | bilinear.
        antialias: whether pixels are averaged where a picture shrinks, as PIL does.
    """

    crop: bool = False
    filter: str = "bicubic"
    antialias: bool = True


SQUASHED = Resizing()


@dataclass(frozen=True)
class Inputs:
    """What a method asks of every clip; the datamodule delivers exactly this.

    ``sound_start_seconds`` is where in the file of a clip's sound the window begins. It holds where
    the frame stands for the middle of its sound; where data know another time of the frame, as
    those of MUSIC and AVE do, the window lies around it all the same.
    """

    image_size: int = 224
    num_segments: int = 1
    sample_rate_hz: int = 16000
    segment_seconds: float = 3.0
    proposals: int = 0
    box_map_size: int = 0  # cells per side of the box maps that training sees; 0: it sees no boxes
    labels: str = "none"  # none | clip | segment: the classes that training sees
    takes_features: bool = False  # whether features may come in place of frames and sounds
    resizing: Resizing = SQUASHED  # of pictures that are files; made ones are square
    sound_start_seconds: float | None = None  # None: the window lies around the frame

    @property
    def segment_samples(self) -> int:
        """Audio samples S of one segment."""
        return round(self.sample_rate_hz * self.segment_seconds)


class Features(NamedTuple):
    """Frozen-backbone features that stand in for frames and waveform where a clip has them.

    ``frames`` are then ``(B, T, 3, 0, 0)`` and ``waveform`` ``(B, T, 0)``, each for its own part.
    """

    visual: Tensor | None  # (B, T, C, h, w) float32
    audio: Tensor | None  # (B, T, D) float32


class Clip(NamedTuple):
    """All that a method may see at test time; never ground truth."""

    index: Tensor  # type: ignore[assignment]  # (B,) int64, row of the split
    frames: Tensor  # (B, T, 3, H, W) uint8
    waveform: Tensor  # (B, T, S) float32, mono, [-1, 1]; the window centred on each frame
    target: Tensor  # (B,) int64, which of the T segments is to be localised
    proposals: Tensor | None = None  # (B, T, P, 4) float32 xyxy in [0, 1]; absent boxes are NaN
    features: Features | None = None

    def to(self, device: torch.device) -> "Clip":
        """The same clips on a device."""
        moved: Clip = apply_to_collection(self, Tensor, lambda value: value.to(device))
        return moved

    def of_target(self, values: Tensor) -> Tensor:
        """The target segment of ``(B, T, ...)`` values of these clips, ``(B, ...)``."""
        return values[torch.arange(len(self.target), device=self.target.device), self.target]

    def cat(self, other: "Clip") -> "Clip":
        """These clips followed by others of the same inputs; what either lacks is None."""
        tensors = (_joined(a, b) for a, b in zip(self[:5], other[:5], strict=True))
        features = None
        if self.features is not None and other.features is not None:
            pairs = zip(self.features, other.features, strict=True)
            features = Features(*(_joined(a, b) for a, b in pairs))
        return Clip(*tensors)._replace(features=features)  # type: ignore[arg-type]


def _joined(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return None if first is None or second is None else torch.cat([first, second])


class Annotation(NamedTuple):
    """What the declared supervision allows a method to see while it trains.

    Boxes are those of one annotator, drawn by (seed, epoch, id), and move with an augmented frame.
    """

    boxes: Tensor | None  # (B, K, 4) float32 xyxy in [0, 1]; absent boxes are NaN
    box_map: Tensor | None  # (B, g, g) float32, 1 where the centre of a cell lies in a box
    labels: Tensor | None  # (B, T) int64 class of each segment; the last class is background
    has_boxes: Tensor  # (B,) bool
    has_labels: Tensor  # (B,) bool


class Batch(NamedTuple):
    """One step's worth of clips."""

    clip: Clip
    annotation: Annotation | None = None
    extra: Clip | None = None  # row by row, the further frames and sounds that the method drew


class Localization(NamedTuple):
    """All that a method may answer, for ``clip.target``."""

    heatmap: Tensor  # (B, h, w) float at grid resolution, higher = source; (B, 0, 0): no map
    confidence: Tensor  # (B,) float, higher = on screen
    boxes: Tensor | None = None  # (B, K, 4) xyxy in [0, 1], best first
    box_scores: Tensor | None = None  # (B, K)
    segment_logits: Tensor | None = None  # (B, T, N_c + 1)
    on_screen: Tensor | None = None  # (B,) bool, where the method has a rule of its own
