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

OWN_SOUND, SWAPPED_SOUND = 0, 1  # order of ClipData.test_dataloader


class Answers(NamedTuple):
    """A method's answers on one test loader, by row of the test split."""

    rows: NDArray[np.int64]  # (N,) ascending
    heatmap: NDArray[np.float32]  # (N, h, w)
    confidence: NDArray[np.float32]  # (N,)


class AnswerCollector(Callback):
    """Keeps the raw maps of both test loaders; ``answers`` joins those of all processes."""

    def __init__(self) -> None:
        self.kept: dict[int, dict[int, tuple[Tensor, Tensor]]] = {}
        self._forget()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forgets an earlier test; Lightning skips it on a rank without rows."""
        self._forget()

    def _forget(self) -> None:
        self.kept = {OWN_SOUND: {}, SWAPPED_SOUND: {}}

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps each row's map and confidence."""
        answer: Localization = outputs
        heatmaps = answer.heatmap.detach().float().cpu()
        confidences = answer.confidence.detach().float().cpu()
        kept = self.kept[dataloader_idx]
        for row, heatmap, confidence in zip(
            batch.clip.index.tolist(), heatmaps, confidences, strict=True
        ):
            kept[row] = (heatmap, confidence)

    def answers(self, loader: int, num_rows: int) -> Answers:
        """The answers of all processes, the same on each of them; every rank must call it.

        A row that two processes answered (a padding sampler repeats rows) counts once.

        Args:
            loader: ``OWN_SOUND`` or ``SWAPPED_SOUND``.
            num_rows: rows of the test split.
        """
        kept = self.kept[loader]
        height, width = _largest_shape([tuple(kept[row][0].shape) for row in kept])
        heatmap = torch.zeros(num_rows, height, width)
        confidence = torch.zeros(num_rows)
        seen = torch.zeros(num_rows)
        for row, (one_map, one_confidence) in kept.items():
            heatmap[row], confidence[row], seen[row] = one_map, one_confidence, 1
        if world_size() > 1:
            for table in (heatmap, confidence, seen):
                _sum_in_place(table)
        rows = torch.nonzero(seen).squeeze(1)
        times = seen[rows]
        return Answers(
            rows.numpy(),
            (heatmap[rows] / times[:, None, None]).numpy(),
            (confidence[rows] / times).numpy(),
        )


def _largest_shape(shapes: list[tuple[int, ...]]) -> tuple[int, int]:
    """Size of the maps, agreed on by all processes: one without rows knows none."""
    largest = torch.tensor(max(shapes, default=(0, 0)))
    if world_size() > 1:
        device = _device()
        largest = largest.to(device)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    height, width = largest.tolist()
    return height, width


def _sum_in_place(table: Tensor) -> None:
    moved = table.to(_device())
    dist.all_reduce(moved)
    table.copy_(moved)


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
