"""Equations 2-6 of Senocak et al. 2022 as plain loops, and small hand-made batches."""

import math
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datamodules.clip import Batch, Clip

Vector = NDArray[np.float64]  # (D,)
VectorMap = NDArray[np.float64]  # (D, h, w)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cosine_map(sound: Vector, image: VectorMap) -> list[float]:
    """Eq. 2, cell by cell in row order."""
    _, height, width = image.shape
    cells = []
    for u in range(height):
        for v in range(width):
            product = sum(float(a) * float(b) for a, b in zip(sound, image[:, u, v], strict=True))
            norms = math.hypot(*sound) * math.hypot(*image[:, u, v])
            cells.append(product / norms)
    return cells


def soft_mask(cells: Sequence[float], epsilon: float = 0.65, tau: float = 0.03) -> list[float]:
    """Eq. 3."""
    return [1 / (1 + math.exp(-(cell - epsilon) / tau)) for cell in cells]


def masked_mean(cells: Sequence[float], mask: Sequence[float]) -> float:
    """Eq. 5, first line; an area below 1e-8 counts as 1e-8."""
    return sum(m * c for m, c in zip(mask, cells, strict=True)) / max(sum(mask), 1e-8)


def positive(sound: Vector, image: VectorMap) -> float:
    """Eq. 5: P_b, P_a, P_v or P_c of one pair."""
    cells = cosine_map(sound, image)
    return masked_mean(cells, soft_mask(cells))


def plain_mean(sound: Vector, image: VectorMap) -> float:
    """Eq. 5: the exponent of one negative pair."""
    cells = cosine_map(sound, image)
    return sum(cells) / len(cells)


def row_loss(positives: Sequence[float], negatives: Sequence[float], scale: float) -> float:
    """Eq. 6 for one i, all exponents divided by ``scale``."""
    p = sum(math.exp(value / scale) for value in positives)
    n = sum(math.exp(value / scale) for value in negatives)
    return -math.log(p / (p + n))


@pytest.fixture(scope="session")
def loops() -> SimpleNamespace:
    """The paper's equations in plain Python."""
    functions = (cosine_map, soft_mask, masked_mean, positive, plain_mean, row_loss)
    return SimpleNamespace(**{function.__name__: function for function in functions})


@pytest.fixture
def features() -> Callable[..., tuple[Tensor, Tensor]]:
    """``features(n)``: n sounds (n, 5) and n images (n, 5, 3, 2) whose cosines span (-1, 1)."""

    def drawn(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([seed, count])
        sound = rng.normal(size=(count, 5))
        nearness = rng.uniform(0, 2, size=(count, 1, 3, 2))
        image = sound[:, :, None, None] * nearness + rng.normal(size=(count, 5, 3, 2))
        return torch.from_numpy(sound), torch.from_numpy(image)

    return drawn


class RowFeatures(nn.Module):
    """Streams that look up the features of the row numbers which frames and sounds carry."""

    def __init__(self, sound: Tensor, visual: Tensor) -> None:
        super().__init__()
        self.sound, self.visual = sound, visual

    def forward(self, clip: Clip) -> tuple[Tensor, Tensor]:
        seen = clip.frames[:, 0, 0, 0, 0].long()
        heard = clip.waveform[:, 0, 0].long()
        return self.visual[seen], self.sound[heard]


@pytest.fixture(scope="session")
def row_features() -> type[RowFeatures]:
    """Streams for clips of ``numbered_batch``."""
    return RowFeatures


@pytest.fixture(scope="session")
def numbered_batch() -> Callable[..., Batch]:
    """``numbered_batch(rows, frames_of_k, sounds_of_j)``: clips that carry their row numbers."""

    def clip(frames: Sequence[int], sounds: Sequence[int]) -> Clip:
        seen = torch.tensor(frames, dtype=torch.uint8).view(-1, 1, 1, 1, 1).expand(-1, 1, 3, 2, 2)
        heard = torch.tensor(sounds, dtype=torch.float32).view(-1, 1, 1).expand(-1, 1, 4)
        return Clip(torch.tensor(frames), seen, heard, torch.zeros(len(frames), dtype=torch.int64))

    def batch(
        rows: Sequence[int],
        frames_of_k: Sequence[int] | None = None,
        sounds_of_j: Sequence[int] | None = None,
    ) -> Batch:
        if frames_of_k is None or sounds_of_j is None:
            return Batch(clip(rows, rows))
        return Batch(clip(rows, rows), extra=clip(frames_of_k, sounds_of_j))

    return batch
