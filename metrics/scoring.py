"""Maps of any method or program to scores, one row per sample and one aggregate per key."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.bootstrap import bootstrap_ci
from metrics.errors import BenchError
from metrics.functional.success import sample_auc
from metrics.measurement import measure, ranked_map, row_width, truth_map
from metrics.protocols import FOLDS, Protocol, protocol_named
from metrics.truth import Truth

FALLBACK_THRESHOLD = 0.5
FEWEST_SAMPLES = 50  # below this a cross-fitted threshold says more about the sample than the map


class Scores(NamedTuple):
    """What one set of maps scores under one protocol.

    A named tuple rather than a dataclass, because torchmetrics rebuilds what ``compute`` returns
    and cannot rebuild a frozen dataclass.

    Attributes:
        protocol: name of the protocol.
        ids: the scored samples, in the order in which they were given.
        values: ``(n,)`` float64 per column: ``ciou``, ``hit@0.5``, ``hit@0.3``, ``auc``,
            ``pixel_ap``, ``pointing``, and ``threshold`` where it is cross-fitted.
        n_expected: samples on the test list.
        missing: expected, not given.
        excluded: without a marked pixel, where the protocol excludes them (given or not).
        constant_maps: scored, but the map has one value only.
        undefined: scored, but the consensus IoU is 0/0; counts as a miss.
        thresholds: one per fold, None where the protocol has its own rule.
        partial: too few samples to cross-fit thresholds.
        metrics: fractions in [0, 1]; a key is absent where it has no meaning.
        ci95: 95 % bootstrap interval per key, thresholds held fixed.
        spread: standard deviation per key over the draws of a random floor, else empty.
    """

    protocol: str
    ids: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]
    n_expected: int
    missing: tuple[str, ...]
    excluded: tuple[str, ...]
    constant_maps: tuple[str, ...]
    undefined: tuple[str, ...]
    thresholds: tuple[float, ...] | None
    partial: bool
    metrics: Mapping[str, float]
    ci95: Mapping[str, tuple[float, float]]
    spread: Mapping[str, float]

    @property
    def n(self) -> int:
        """Number of scored samples."""
        return len(self.ids)

    def column(self, key: str) -> NDArray[np.float64]:
        """Per-sample values whose mean is the metric ``key``.

        Args:
            key: one of ``metrics``.

        Returns:
            ``(n,)`` float64 in the order of ``ids``; NaN where the metric leaves a sample out.

        Raises:
            BenchError: these scores have no such metric.
        """
        if key not in self.metrics:
            have = ", ".join(self.metrics) or "none"
            raise BenchError(f"no metric {key!r} under protocol {self.protocol}; there are: {have}")
        return _column(self.values, key)


def score_maps(
    ids: Sequence[str],
    heatmaps: NDArray[np.floating],
    truth: Sequence[Truth],
    protocol: Protocol | str,
    *,
    seed: int = 0,
    thresholds: Sequence[float] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """Scores of one map per sample.

    Aggregates do not depend on the order of ``ids``: they are taken in the order of the sorted ids.

    Args:
        ids: ids of the maps; a subset of those of ``truth``, in any order.
        heatmaps: ``(N, h, w)`` finite numbers, higher = source; rows belong to ``ids``.
        truth: the whole test list, hence what is expected.
        protocol: rules or their name.
        seed: of the bootstrap.
        thresholds: ``Scores.thresholds`` of another set of maps, to be used as they are (swap
            test); None lets the protocol choose.
        progress: called with the number of maps measured so far.

    Returns:
        Scores; without any metric where no sample could be scored.

    Raises:
        BenchError: unknown protocol; an id is unknown or repeated; a map is not (h, w), or holds
            NaN, infinity or a range beyond float32.
        ValueError: thresholds do not fit the protocol.

    Examples:
        >>> truth = [Truth("clip", boxes=(np.array([[0.0, 0.0, 0.5, 1.0]]),))]
        >>> scores = score_maps(["clip"], np.array([[[1.0, 0.0]]]), truth, "lvs")
        >>> round(scores.metrics["ciou@0.5"], 3), scores.n
        (1.0, 1)
    """
    protocol = _resolved(protocol)
    row_of = truth_rows(truth)
    rows = [_known_row(sample_id, row_of) for sample_id in ids]
    _refuse_repeats(ids, "the predictions")
    maps = _stack_of_maps(heatmaps, len(ids))
    measured = np.empty((len(ids), row_width(protocol)))
    for position, row in enumerate(rows):
        measured[position] = measured_row(maps[position], truth[row], protocol)
        if progress is not None:
            progress(position + 1)
    return summarise(rows, measured, truth, protocol, seed=seed, thresholds=thresholds)


def truth_rows(truth: Sequence[Truth]) -> dict[str, int]:
    """Row of each id of a test list.

    Raises:
        BenchError: an id occurs twice.
    """
    _refuse_repeats([sample.id for sample in truth], "the test list")
    return {sample.id: row for row, sample in enumerate(truth)}


def measured_row(
    heatmap: NDArray[np.floating], truth: Truth, protocol: Protocol
) -> NDArray[np.float64]:
    """Raw results of one sample in the form that processes exchange.

    Args:
        heatmap: ``(h, w)`` finite numbers, higher = source.
        truth: of the same sample.
        protocol: its rules apply.

    Returns:
        ``(row_width(protocol),)`` float64: consensus IoU at each cut, pixel AP, pointing, constant.

    Raises:
        BenchError: NaN or infinite cells, or a range beyond float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        heatmap = heatmap.astype(np.float32, copy=False)
        finite = np.isfinite(heatmap.max() - heatmap.min())
    if not finite:
        raise BenchError(
            f"map of {truth.id!r} holds NaN, infinity or a range beyond float32; "
            "write finite numbers, higher where the source is"
        )
    return measure(ranked_map(heatmap, protocol), truth_map(truth, protocol)).row()


def summarise(
    rows: Sequence[int],
    measured: NDArray[np.float64],
    truth: Sequence[Truth],
    protocol: Protocol,
    *,
    seed: int = 0,
    thresholds: Sequence[float] | None = None,
) -> Scores:
    """Scores out of raw results.

    Args:
        rows: ``(N,)`` rows of ``truth``, each at most once.
        measured: ``(N, row_width(protocol))`` or, for several draws of a random map,
            ``(D, N, row_width(protocol))``; see :func:`measured_row`. Draws are scored one by one
            and averaged per sample.
        truth: the whole test list.
        protocol: the one that measured.
        seed: of the bootstrap.
        thresholds: as in :func:`score_maps`.

    Returns:
        Scores with samples in the order of ``rows``.
    """
    empty = _excluded_rows(truth, protocol)
    scored = [position for position, row in enumerate(rows) if row not in empty]
    ids = tuple(truth[rows[position]].id for position in scored)
    draws = measured if measured.ndim == 3 else measured[None]
    draws = draws[:, scored]  # (D, n, width)
    fits = [_fit(ids, draw[:, :-3], protocol, thresholds) for draw in draws]
    per_draw = [_columns(ids, draw, fit, protocol) for draw, fit in zip(draws, fits, strict=True)]
    values = {name: np.mean([columns[name] for columns in per_draw], 0) for name in per_draw[0]}
    keys = _metric_keys(values, truth, protocol)
    by_id = np.argsort(ids)  # one order of summation, whatever the order of the maps
    given = empty.union(rows)
    return Scores(
        protocol=protocol.name,
        ids=ids,
        values=values,
        n_expected=len(truth),
        missing=tuple(sample.id for row, sample in enumerate(truth) if row not in given),
        excluded=tuple(truth[row].id for row in sorted(empty)),
        constant_maps=_ids_where(ids, draws[..., -1].min(axis=0) == 1),
        undefined=_ids_where(ids, np.isnan(values["ciou"])),
        thresholds=fits[0].thresholds if len(draws) == 1 else None,
        partial=fits[0].partial,
        metrics={key: float(np.nanmean(_column(values, key)[by_id])) for key in keys},
        ci95=_intervals([_column(values, key)[by_id] for key in keys], keys, seed),
        spread=_spread(per_draw, keys) if len(draws) > 1 else {},
    )


class _Fit(NamedTuple):
    """Thresholds of the five folds, or None where the protocol has its own rule."""

    thresholds: tuple[float, ...] | None
    partial: bool


def _fit(
    ids: Sequence[str],
    ciou: NDArray[np.float64],
    protocol: Protocol,
    thresholds: Sequence[float] | None,
) -> _Fit:
    """Threshold of each fold out of ``(n, K)`` consensus IoU, unless they are given."""
    if ciou.shape[1] == 1:
        if thresholds is not None:
            raise ValueError(f"protocol {protocol.name} takes no thresholds, got {thresholds}")
        return _Fit(None, partial=False)
    folds = np.array([fold_of(sample_id) for sample_id in ids], dtype=int)
    sizes = np.bincount(folds, minlength=FOLDS)
    partial = len(ids) < FEWEST_SAMPLES or not sizes.all()
    if thresholds is not None:
        if len(thresholds) != FOLDS or not set(thresholds) <= set(protocol.threshold_grid):
            raise ValueError(f"expected {FOLDS} thresholds of the grid, got {tuple(thresholds)}")
        return _Fit(tuple(thresholds), partial)
    if partial:
        return _Fit((FALLBACK_THRESHOLD,) * FOLDS, partial)
    by_id = np.argsort(ids)
    ciou, folds = ciou[by_id], folds[by_id]
    best = [int(ciou[folds != fold].mean(axis=0).argmax()) for fold in range(FOLDS)]
    return _Fit(tuple(protocol.threshold_grid[k] for k in best), partial)


def fold_of(sample_id: str) -> int:
    """Fold of a sample, 0 to 4, by the hash of its frame's id.

    The negatives ``<frame>+<sound>`` of an extended set are in the fold of their frame.

    Examples:
        >>> fold_of("zpWuikVorYg_000032") == fold_of("zpWuikVorYg_000032+gEvCUcZ6w88_000030")
        True
    """
    frame_id = sample_id.partition("+")[0]
    return int(hashlib.sha256(frame_id.encode()).hexdigest()[:8], 16) % FOLDS


def _columns(
    ids: Sequence[str], measured: NDArray[np.float64], fit: _Fit, protocol: Protocol
) -> dict[str, NDArray[np.float64]]:
    """Per-sample columns of ``(n, width)`` raw results under given thresholds."""
    ciou = measured[:, 0]
    columns: dict[str, NDArray[np.float64]] = {}
    if fit.thresholds is not None:
        grid = protocol.threshold_grid
        threshold = [fit.thresholds[fold_of(sample_id)] for sample_id in ids]
        chosen = np.array([grid.index(value) for value in threshold], dtype=int)
        ciou = measured[np.arange(len(ids)), chosen]
        columns["threshold"] = np.array(threshold)
    hits = {f"hit@{t}": (ciou >= t).astype(np.float64) for t in protocol.success_thresholds}
    ranks = {"pixel_ap": measured[:, -3], "pointing": measured[:, -2]}
    return {"ciou": ciou, **hits, "auc": sample_auc(ciou), **ranks, **columns}


def _metric_keys(
    values: Mapping[str, NDArray[np.float64]], truth: Sequence[Truth], protocol: Protocol
) -> list[str]:
    """Keys that have a meaning for these samples, in the order of the tables."""
    if not len(values["ciou"]):
        return []
    keys = [f"ciou@{t}" for t in protocol.success_thresholds] + ["auc", "mean_iou"]
    if all(sample.mask is None and len(sample.boxes) == 1 for sample in truth):
        keys.append("iou@0.5")
    if not np.isnan(values["pixel_ap"]).all():
        keys.append("pixel_ap")
    return [*keys, "pointing"]


def _column(values: Mapping[str, NDArray[np.float64]], key: str) -> NDArray[np.float64]:
    """Per-sample values whose mean is the metric ``key``."""
    if key == "mean_iou":
        return np.nan_to_num(values["ciou"])
    return values[key.replace("ciou@", "hit@").replace("iou@", "hit@")]


def _intervals(
    columns: Sequence[NDArray[np.float64]], keys: Sequence[str], seed: int
) -> dict[str, tuple[float, float]]:
    if not keys:
        return {}
    bounds = bootstrap_ci(np.stack(columns, axis=1), seed).tolist()
    return {key: (low, high) for key, (low, high) in zip(keys, bounds, strict=True)}


def _spread(
    per_draw: Sequence[Mapping[str, NDArray[np.float64]]], keys: Sequence[str]
) -> dict[str, float]:
    """Standard deviation of each metric over draws."""
    return {
        key: float(np.std([np.nanmean(_column(values, key)) for values in per_draw]))
        for key in keys
    }


def _excluded_rows(truth: Sequence[Truth], protocol: Protocol) -> set[int]:
    if protocol.empty_truth != "excluded":
        return set()
    return {row for row, sample in enumerate(truth) if not truth_map(sample, protocol).any()}


def _ids_where(ids: Sequence[str], chosen: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(sample_id for sample_id, yes in zip(ids, chosen, strict=True) if yes)


def _resolved(protocol: Protocol | str) -> Protocol:
    return protocol_named(protocol) if isinstance(protocol, str) else protocol


def _known_row(sample_id: str, row_of: Mapping[str, int]) -> int:
    if sample_id not in row_of:
        raise BenchError(
            f"predictions hold {sample_id!r}, which is not among the {len(row_of)} ids of the "
            "test list; check --data and the ids"
        )
    return row_of[sample_id]


def _refuse_repeats(ids: Sequence[str], where: str) -> None:
    seen: set[str] = set()
    for sample_id in ids:
        if sample_id in seen:
            raise BenchError(f"{sample_id!r} occurs more than once in {where}; keep one row")
        seen.add(sample_id)


def _stack_of_maps(heatmaps: NDArray[np.floating], count: int) -> NDArray[np.floating]:
    maps = np.asarray(heatmaps)
    if maps.ndim != 3 or len(maps) != count or 0 in maps.shape[1:]:
        raise BenchError(f"heatmap must be ({count}, h, w), one map per id, got {maps.shape}")
    if maps.dtype.kind not in "fiub":
        raise BenchError(f"heatmap must hold real numbers, got {maps.dtype}")
    return maps
