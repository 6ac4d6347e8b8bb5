"""``trainer.select=val_ciou``: how well the boxes of held-out clips are found, epoch by epoch.

The clips are of the validation list and have boxes that training may see; no test clip is read.
"""

from collections.abc import Mapping

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback

from benchmark.evaluator import sum_over_processes
from datamodules.base import ClipData
from methods.base import Method, measuring
from metrics.errors import BenchError
from metrics.measurement import measured_answer, truth_planes
from metrics.predictions import Answer
from metrics.protocols import protocol_named
from metrics.truth import Truth

VAL_CIOU = "val_ciou"
PROTOCOL = "bench-v1"


def validation_truth(method: Method, data: ClipData) -> dict[int, Truth]:
    """Boxes of the validation clips by row, of those where the protocol sees any.

    Args:
        method: whose maps are to be measured on them.
        data: of its training.

    Raises:
        BenchError: the method has no maps, or no validation clip has boxes that training may see.
    """
    asked = f"trainer.select={VAL_CIOU}"
    if not method.card.localises:
        raise BenchError(
            f"{asked} measures maps, and the method has none with these settings, only classes of "
            "segments; set trainer.select=val_loss, or choose settings that localise"
        )
    ids = data.report.splits["val"].ids if "val" in data.report.splits else ()
    if not ids:
        raise BenchError(
            f"{asked} needs validation clips and there are 0; set data.val_fraction, such as 0.02"
        )
    protocol = protocol_named(PROTOCOL)
    truths = {row: Truth(each, data.boxes("val", row)) for row, each in enumerate(ids)}
    boxed = {
        row: truth
        for row, truth in truths.items()
        if truth.boxes and truth_planes(truth, protocol).masks
    }
    if not boxed:
        raise BenchError(
            f"{asked} needs validation clips with boxes that training may see, and none of the "
            f"{len(ids)} of --data {data.data_name} has any; set trainer.select=val_loss, or "
            "choose data and data.labelled with boxes for training, such as --data flickr"
        )
    return boxed


def mean_at_best_threshold(ciou: NDArray[np.float64]) -> float:
    """Mean consensus IoU at the threshold where it is highest, as ``bench-v1`` chooses one.

    Args:
        ciou: ``(N, K)`` float64 in [0, 1] of N clips at K thresholds, N at least 1.

    >>> mean_at_best_threshold(np.array([[0.5, 0.0, 0.25], [0.0, 0.25, 0.5]]))
    0.375
    """
    return float(ciou.mean(axis=0).max())


class ValidationCiou(Callback):
    """Logs ``val_ciou`` after every epoch, the same on every process and for any number of them.

    What is answered leaves the training as it is: modes, random numbers and gradients.
    """

    def __init__(self, truth: Mapping[int, Truth], data: ClipData) -> None:
        """A callback for one training.

        Args:
            truth: of :func:`validation_truth`.
            data: of the training.
        """
        self.truth, self.data, self.protocol = truth, data, protocol_named(PROTOCOL)
        self.places = {row: place for place, row in enumerate(_by_id(truth))}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Shares the batches out among the processes."""
        rows = np.array(sorted(self.truth))
        place = trainer.global_rank, trainer.world_size
        self.loader = self.data.chosen_loader("val", rows, rows, place=place)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Answers each clip once and logs what that scores."""
        assert isinstance(pl_module, Method)
        value = mean_at_best_threshold(self._measured(trainer, pl_module))
        # the highest of equal values is that value to the bit, their mean need not be
        pl_module.log(VAL_CIOU, value, prog_bar=True, sync_dist=True, reduce_fx="max")

    def _measured(self, trainer: pl.Trainer, method: Method) -> NDArray[np.float64]:
        """Consensus IoU at each threshold, ``(N, K)``, of the clips of all processes by id."""
        table = torch.zeros(len(self.truth), self.protocol.num_cuts, dtype=torch.float64)
        with measuring(method), torch.random.fork_rng(devices=[]):
            for batch in self.loader:
                moved = trainer.strategy.batch_to_device(
                    trainer.precision_plugin.convert_input(batch)
                )
                with trainer.precision_plugin.val_step_context():  # of the precision of a test
                    heatmaps = method.localize(moved.clip).heatmap.float().cpu().numpy()
                for row, heatmap in zip(batch.clip.index.tolist(), heatmaps, strict=True):
                    table[self.places[row]] = torch.from_numpy(self._ciou(row, heatmap))
        sum_over_processes(table)  # each row is that of one process and zeros of the others
        return table.numpy()

    def _ciou(self, row: int, heatmap: NDArray[np.float32]) -> NDArray[np.float64]:
        """``(K,)`` of one clip's ``(h, w)`` map."""
        answer = Answer(heatmap=heatmap)
        measured = measured_answer(answer, self.truth[row], self.protocol, ranking=False)
        return measured[: self.protocol.num_cuts]


def _by_id(truth: Mapping[int, Truth]) -> list[int]:
    """Rows in the order of their ids: one order of summation, whatever the order of the list."""
    return sorted(truth, key=lambda row: truth[row].id)
