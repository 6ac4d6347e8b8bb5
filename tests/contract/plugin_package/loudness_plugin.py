"""A method and a data set of another package: the least that either has to write."""

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.base import ClipData, DataReport, Split
from datamodules.clip import Batch, Clip, Localization
from methods.base import Method, MethodCard, MethodConfig, OptimConfig
from metrics.truth import Truth

CELLS = 7
CLIPS = {"train": 160, "test": 12}
SQUARE = 0.3  # side, as a share of the frame


class LoudnessDisc(Method):
    """A disc in the middle, as high as the sound is loud; it learns one number."""

    card = MethodCard(paper="none", supervision="none", pretraining="none", map_range=None)

    def __init__(self, config: MethodConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        self.gain = nn.Parameter(torch.ones(()))

    def loss(self, batch: Batch) -> Tensor:
        """Squared distance of the scaled loudness from 1."""
        return (self.gain * loudness(batch.clip) - 1).square().mean()

    def localize(self, clip: Clip) -> Localization:
        """The disc, and the loudness as confidence."""
        axis = torch.linspace(-1, 1, CELLS)
        disc = (2 - axis[:, None].square() - axis.square()).clamp_min(0)  # (h, w)
        level = self.gain * loudness(clip)
        return Localization(level[:, None, None] * disc, level)


def loudness(clip: Clip) -> Tensor:
    """Root mean square of each clip's target segment, ``(B,)``."""
    segment = clip.waveform[torch.arange(len(clip.target)), clip.target]  # (B, S)
    return segment.square().mean(1).sqrt()


class BrightSquares(ClipData):
    """One bright square on a black frame, with noise as its sound."""

    def load(self) -> DataReport:
        """Two lists without classes."""
        return DataReport({name: _split(name) for name in CLIPS}, n_expected=CLIPS["test"])

    def truth(self) -> tuple[Truth, ...]:
        """The square of each test clip."""
        boxes = [square("test", row) for row in range(CLIPS["test"])]
        ids = self.report.splits["test"].ids
        return tuple(Truth(i, (box[None],)) for i, box in zip(ids, boxes, strict=True))

    def frames(self, split: str, row: int) -> Tensor:
        """The frame ``(1, 3, H, W)``."""
        size = self.inputs.image_size
        left, top, right, bottom = (square(split, row) * size).astype(int)
        frame = torch.zeros(1, 3, size, size, dtype=torch.uint8)
        frame[..., top:bottom, left:right] = 255
        return frame

    def waveform(self, split: str, row: int) -> Tensor:
        """The noise ``(1, S)``."""
        noise = generator(split, row).uniform(-1, 1, (1, self.inputs.segment_samples))
        return torch.from_numpy(noise.astype(np.float32))


def square(split: str, row: int) -> np.ndarray:
    """Box ``(4,)`` xyxy in [0, 1]."""
    left, top = generator(split, row).uniform(0, 1 - SQUARE, 2)
    return np.array([left, top, left + SQUARE, top + SQUARE])


def generator(split: str, row: int) -> np.random.Generator:
    """Of one clip."""
    return np.random.default_rng([len(split), row])


def _split(name: str) -> Split:
    ids = tuple(f"{name}-{row}" for row in range(CLIPS[name]))
    return Split(name, ids, ids, (None,) * len(ids))
