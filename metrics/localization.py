"""Scores collected batch by batch on any number of processes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from metrics.measurement import row_width
from metrics.protocols import Protocol, protocol_named
from metrics.scoring import Scores, measured_row, summarise, truth_rows
from metrics.truth import Truth


class LocalizationMetrics(Metric):
    """Scores of the maps of a test run; the stateful form of ``metrics.scoring.score_maps``.

    The states are tables with one row per sample of the test list, so neither the order of samples,
    nor the split into batches and processes, nor a sample that a sampler repeated changes a score.
    ``compute`` is a collective: call it on every rank.

    Args:
        truth: the whole test list; ``update`` refers to its rows.
        protocol: rules or their name.
        seed: of the bootstrap.
        thresholds: ``Scores.thresholds`` of another run, to be used as they are (swap test).

    Raises:
        BenchError: unknown protocol, or an id twice in ``truth``.

    Examples:
        >>> truth = [Truth("clip", boxes=(np.array([[0.0, 0.0, 0.5, 1.0]]),))]
        >>> metric = LocalizationMetrics(truth, "lvs")
        >>> metric.update(torch.tensor([0]), torch.tensor([[[1.0, 0.0]]]))
        >>> round(metric.compute().metrics["ciou@0.5"], 3)
        1.0
    """

    full_state_update = False
    values: Tensor  # (N, width) float64, summed over the processes that saw a row
    seen: Tensor  # (N,) float64, how many did

    def __init__(
        self,
        truth: Sequence[Truth],
        protocol: Protocol | str,
        *,
        seed: int = 0,
        thresholds: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.truth = tuple(truth)
        self.protocol = protocol_named(protocol) if isinstance(protocol, str) else protocol
        self.seed = seed
        self.thresholds = thresholds
        truth_rows(self.truth)
        table = torch.zeros(len(self.truth), row_width(self.protocol), dtype=torch.float64)
        self.add_state("values", table, dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros(len(table), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, index: Tensor, heatmap: Tensor) -> None:
        """Measure a batch of maps.

        Args:
            index: ``(B,)`` int64, rows of the test list.
            heatmap: ``(B, h, w)`` finite float, higher = source.

        Raises:
            BenchError: a map holds NaN, infinity or a range beyond float32.
            ValueError: shapes do not fit, or an index is not a row of the test list.
        """
        if heatmap.ndim != 3 or index.shape != heatmap.shape[:1]:
            raise ValueError(
                "expected index (B,) and heatmap (B, h, w), "
                f"got {tuple(index.shape)} and {tuple(heatmap.shape)}"
            )
        maps = heatmap.detach().float().cpu().numpy()
        for row, map_ in zip(index.tolist(), maps, strict=True):
            if not 0 <= row < len(self.truth):
                raise ValueError(f"index must be in [0, {len(self.truth)}), got {row}")
            measured = measured_row(map_, self.truth[row], self.protocol)
            self.values[row] = torch.from_numpy(measured)
            self.seen[row] = 1

    def compute(self) -> Scores:
        """Scores of all samples seen on any process, in the order of the test list."""
        seen = self.seen.cpu().numpy()
        rows = np.flatnonzero(seen)
        measured = self.values.cpu().numpy()[rows] / seen[rows, None]
        return summarise(
            rows.tolist(),
            measured,
            self.truth,
            self.protocol,
            seed=self.seed,
            thresholds=self.thresholds,
        )
