"""Scores collected batch by batch on any number of processes."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from metrics.batched import batched_measure
from metrics.measurement import (
    check_range,
    figure_place,
    measured_answer,
    num_annotators,
    row_width,
    truth_map,
)
from metrics.predictions import Answer, MapRange, Predictions, check_answer, check_shapes
from metrics.protocols import Protocol, resolved
from metrics.scoring import Scores, summarise, truth_rows
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
        onscreen_thresholds: its ``Scores.onscreen_thresholds``, likewise.
        map_range: lowest and highest value that a map can take, where that is known.
        batched: whether plain maps are measured as a batch on their device; None does so on a GPU.
            The scores are the same; on a CPU one map after the other is faster.

    Raises:
        BenchError: unknown protocol, one that needs ``map_range``, or an id twice in ``truth``.

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
        onscreen_thresholds: Sequence[float] | None = None,
        map_range: MapRange | None = None,
        batched: bool | None = None,
    ) -> None:
        super().__init__()
        self.truth = tuple(truth)
        self.protocol = resolved(protocol)
        self.seed = seed
        self.thresholds = thresholds
        self.onscreen_thresholds = onscreen_thresholds
        self.map_range = map_range
        self.batched = batched
        truth_rows(self.truth)
        check_range(self.protocol, map_range)
        self.annotators = num_annotators(self.truth)
        self.has_context = any(sample.context is not None for sample in self.truth)
        width = row_width(self.protocol, self.annotators)
        table = torch.zeros(len(self.truth), width, dtype=torch.float64)
        self.add_state("values", table, dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros(len(table), dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        index: Tensor,
        heatmap: Tensor | None = None,
        *,
        confidence: Tensor | None = None,
        segment_logits: Tensor | None = None,
        source_heatmap: Tensor | None = None,
        source_count: Tensor | None = None,
    ) -> None:
        """Measure a batch of answers: a kind of map, or logits where classes are all that is known.

        Args:
            index: ``(B,)`` int64, rows of the test list.
            heatmap: ``(B, h, w)`` finite float, higher = source.
            confidence: ``(B,)`` finite float, higher = on screen.
            segment_logits: ``(B, T, C)`` finite float, the last class is background.
            source_heatmap: ``(B, S, h, w)`` finite float, map s for source s of the truth.
            source_count: ``(B,)`` int64, how many of the S maps each sample has.

        Raises:
            BenchError: shapes do not fit, or a value cannot be scored; see
                ``metrics.predictions``.
            ValueError: an index is not a row of the test list.
        """
        rows = index.tolist()
        for row in rows:
            if not 0 <= row < len(self.truth):
                raise ValueError(f"index must be in [0, {len(self.truth)}), got {row}")
        batch = Predictions(
            [self.truth[row].id for row in rows],
            heatmap=_array(heatmap),
            confidence=_array(confidence),
            segment_logits=_array(segment_logits),
            source_heatmap=_array(source_heatmap),
            source_count=None if source_count is None else source_count.cpu().numpy(),
            map_range=self.map_range,
        )
        check_shapes(batch)
        if rows and heatmap is not None and self._is_batched(heatmap, batch):
            measured = self._measured_batch(rows, heatmap, batch)
        else:
            measured = [self._measured(batch.answer(place), row) for place, row in enumerate(rows)]
        for row, values in zip(rows, measured, strict=True):
            self.values[row] = torch.from_numpy(values)
            self.seen[row] = 1

    def _measured(self, answer: Answer, row: int) -> NDArray[np.float64]:
        return measured_answer(
            answer,
            self.truth[row],
            self.protocol,
            annotators=self.annotators,
            map_range=self.map_range,
        )

    def _is_batched(self, heatmap: Tensor, batch: Predictions) -> bool:
        """Whether all that is wanted of this batch follows from its maps."""
        wanted = heatmap.is_cuda if self.batched is None else self.batched
        further = (batch.segment_logits, batch.source_heatmap)
        is_plain = not (self.annotators or self.has_context) and all(
            rows is None for rows in further
        )
        return wanted and is_plain and self.protocol.confidence == "given"

    def _measured_batch(
        self, rows: Sequence[int], heatmap: Tensor, batch: Predictions
    ) -> list[NDArray[np.float64]]:
        """The rows of :meth:`_measured`, measured on the device of the maps."""
        samples = [self.truth[row] for row in rows]
        for place, sample in enumerate(samples):
            check_answer(batch.answer(place), sample)
        gt = np.stack([truth_map(sample, self.protocol) for sample in samples])
        maps = heatmap.detach().float()
        found = batched_measure(
            maps, torch.from_numpy(gt).to(maps.device), self.protocol, self.map_range
        )
        table = np.full((len(rows), row_width(self.protocol)), np.nan)
        table[:, : self.protocol.num_cuts] = found.ciou.cpu().numpy()
        for name in ("pixel_ap", "pointing", "constant"):
            table[:, figure_place(name)] = getattr(found, name).cpu().numpy()
        off_screen = [place for place, sample in enumerate(samples) if not sample.on_screen]
        localised = [*range(self.protocol.num_cuts), *map(figure_place, ("pixel_ap", "pointing"))]
        table[np.ix_(off_screen, localised)] = np.nan
        if batch.confidence is not None:
            table[:, figure_place("confidence")] = batch.confidence
        return list(table)

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
            onscreen_thresholds=self.onscreen_thresholds,
        )


def _array(rows: Tensor | None) -> NDArray[np.floating] | None:
    """Rows on the CPU; half precision, which numpy lacks in part, as float32."""
    if rows is None:
        return None
    exact = rows.detach() if rows.dtype == torch.float64 else rows.detach().float()
    return exact.cpu().numpy()
