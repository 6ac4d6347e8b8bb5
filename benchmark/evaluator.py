"""Collects what a method answers while it is tested; computes nothing."""

from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from datamodules.clip import Batch, Localization
from methods.global_norm import world_size

OWN_SOUND, SWAPPED_SOUND, FIRST_SOURCE = 0, 1, 2  # order of ClipData.test_dataloader
AXES = {
    "heatmap": 2, "confidence": 0, "boxes": 2, "box_scores": 1, "segment_logits": 2, "on_screen": 0,
    "proposals": 2,
}  # fmt: skip
"""What is kept of an answer and of its clip, with the number of axes that it has for one clip."""


class Answers(NamedTuple):
    """A method's answers on one test loader, by row of the test split; see ``Localization``."""

    rows: NDArray[np.int64]  # (N,) ascending
    heatmap: NDArray[np.float32]  # (N, h, w)
    confidence: NDArray[np.float32]  # (N,)
    boxes: NDArray[np.float32] | None = None  # (N, K, 4)
    box_scores: NDArray[np.float32] | None = None  # (N, K)
    segment_logits: NDArray[np.float32] | None = None  # (N, T, C)
    on_screen: NDArray[np.float32] | None = None  # (N,) 0 or 1
    proposals: NDArray[np.float32] | None = None  # (N, P, 4) of the target segment


class SourceMaps(NamedTuple):
    """The maps of each isolated sound of the clips of a test split."""

    heatmap: NDArray[np.float32]  # (N, S, h, w), zeros beyond a clip's own sources
    counts: NDArray[np.int64]  # (N,) sources of each clip


def one_map_for_all(answers: Answers, like: SourceMaps) -> SourceMaps:
    """The map of each clip in the place of the maps of all its sources.

    That is what a swapped sound answers to the sources of a frame, none of which it knows. A method
    that does not hear answers all alike, so its scores are those of its own sounds.
    """
    maps = np.zeros_like(like.heatmap)
    maps[answers.rows] = answers.heatmap[:, None]
    return SourceMaps(maps, like.counts)


class AnswerCollector(Callback):
    """Keeps what is answered on every test loader; ``answers`` joins that of all processes."""

    def __init__(self) -> None:
        self.kept: dict[int, dict[int, dict[str, Tensor]]] = {}

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forgets an earlier test; Lightning skips it on a rank without rows."""
        self.kept = {}

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps each row's answer."""
        answer: Localization = outputs
        values = {
            name: value.detach().float().cpu()
            for name in AXES
            if (value := getattr(answer, name, None)) is not None
        }
        if batch.clip.proposals is not None:
            rows = torch.arange(len(batch.clip.target))
            values["proposals"] = batch.clip.proposals.cpu()[rows, batch.clip.target.cpu()]
        kept = self.kept.setdefault(dataloader_idx, {})
        for place, row in enumerate(batch.clip.index.tolist()):
            kept[row] = {name: value[place] for name, value in values.items()}

    def answers(self, loader: int, num_rows: int) -> Answers:
        """The answers of all processes, the same on each of them; every rank must call it.

        A row that two processes answered (a padding sampler repeats rows) counts once.

        Args:
            loader: ``OWN_SOUND``, ``SWAPPED_SOUND`` or ``FIRST_SOURCE`` plus a source's number.
            num_rows: rows of the test split.
        """
        kept = self.kept.get(loader, {})
        seen = torch.zeros(num_rows)
        seen[list(kept)] = 1
        sum_over_processes(seen)
        rows = torch.nonzero(seen).squeeze(1)
        values = {
            name: _joined({row: one[name] for row, one in kept.items() if name in one},
                          axes, rows, seen)
            for name, axes in AXES.items()
        }  # fmt: skip
        if values["heatmap"] is None:  # nobody had a row
            return Answers(rows.numpy(), np.zeros((0, 0, 0), np.float32), np.zeros(0, np.float32))
        return Answers(rows.numpy(), **values)  # type: ignore[arg-type]

    def source_maps(self, num_sources: int, num_rows: int) -> SourceMaps | None:
        """The maps of the isolated sounds, for the rows of ``OWN_SOUND``; None without any.

        Every rank must call it.

        Args:
            num_sources: loaders of isolated sounds.
            num_rows: rows of the test split.
        """
        found = [self.answers(FIRST_SOURCE + each, num_rows) for each in range(num_sources)]
        if not any(len(each.rows) for each in found):
            return None
        shape = next(each.heatmap.shape[1:] for each in found if len(each.rows))
        maps = np.zeros((num_rows, num_sources, *shape), np.float32)
        counts = np.zeros(num_rows, np.int64)
        for source, each in enumerate(found):
            maps[each.rows, source] = each.heatmap
            counts[each.rows] += 1
        return SourceMaps(maps, counts)


def _joined(
    kept: dict[int, Tensor], axes: int, rows: Tensor, seen: Tensor
) -> NDArray[np.float32] | None:
    """One field of all processes for the rows that were seen; None where no process has it."""
    shape = _agreed_shape([tuple(value.shape) for value in kept.values()], axes)
    if shape is None:
        return None
    table = torch.zeros(len(seen), *shape)
    for row, value in kept.items():
        table[row] = value
    sum_over_processes(table)
    return (table[rows] / seen[rows].reshape(-1, *[1] * axes)).numpy()


def _agreed_shape(shapes: list[tuple[int, ...]], axes: int) -> tuple[int, ...] | None:
    """Shape of a field, agreed on by all processes: one without rows knows none."""
    largest = torch.tensor(max(((1, *shape) for shape in shapes), default=(0,) * (1 + axes)))
    if world_size() > 1:
        largest = largest.to(_device())
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    is_known, *shape = largest.tolist()
    return tuple(shape) if is_known else None


def sum_over_processes(table: Tensor) -> None:
    """Adds up a table of all processes in its place, on each of them; every rank must call it."""
    if world_size() == 1:
        return
    moved = table.to(_device())
    dist.all_reduce(moved)
    table.copy_(moved)


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
