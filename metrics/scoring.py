"""Answers of any method or program to scores, one row per sample and one aggregate per key."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.bootstrap import bootstrap_ci, statistic_intervals
from metrics.errors import BenchError, first_repeat
from metrics.functional.extended import average_precision, max_f1, slavc_ap, slavc_max_f1
from metrics.functional.interactive import interactive_hits
from metrics.functional.onscreen import onscreen_auc, onscreen_correct
from metrics.functional.success import sample_auc
from metrics.measurement import (
    FIGURES,
    check_range,
    figure_place,
    has_one_box_set,
    measured_answer,
    num_annotators,
    row_width,
    truth_planes,
)
from metrics.predictions import MapRange, Predictions, check_shapes
from metrics.protocols import FOLDS, Protocol, resolved
from metrics.truth import Truth

FALLBACK_THRESHOLD = 0.5
FEWEST_SAMPLES = 50  # below this a cross-fitted threshold says more about the sample than the map
KEPT_BLOCK_BYTES = 2**23
"""Once a block of this size was freed, glibc keeps smaller ones and no longer hands every map's
pages back to the system (1.6 s of 5 for 5,158 maps)."""
HIT = "hit@0.5"
LOWER_IS_BETTER = ("context_pointing",)
Column = NDArray[np.float64]


class Scores(NamedTuple):
    """What one set of answers scores under one protocol.

    A named tuple rather than a dataclass, because torchmetrics rebuilds what ``compute`` returns
    and cannot rebuild a frozen dataclass.

    Attributes:
        protocol: name of the protocol.
        ids: the scored samples, in the order in which they were given.
        values: ``(n,)`` float64 per column: ``ciou``, ``hit@0.5``, ``hit@0.3``, ``auc``,
            ``pixel_ap``, ``pointing``, and where they have a meaning ``threshold`` (cross-fitted),
            ``confidence``, ``iiou@0.5``, ``annotator1_ciou`` and so on, ``annotators_hit@0.5``
            and so on (means over those who drew), ``context_pointing`` (1 where the peak of
            the map lies in the context, NaN where a sample has none), ``segment_acc``, ``cap``,
            ``piap``, ``nsa``, ``onscreen_acc``.
        n_expected: samples on the test list.
        missing: expected, not given.
        excluded: without a marked pixel, where the protocol excludes them (given or not); a sample
            whose place nobody knows (``Truth.has_only_segments``) is scored on its segments.
        negatives: scored, but their source is not on the screen.
        constant_maps: scored, but the map has one value only.
        undefined: scored, but the consensus IoU is 0/0; counts as a miss.
        thresholds: one per fold, None where the protocol has its own rule or no place is known.
        partial: too few samples to cross-fit a threshold, of maps or of confidence.
        metrics: fractions in [0, 1]; a key is absent where it has no meaning.
        ci95: 95 % bootstrap interval per key, thresholds held fixed.
        spread: standard deviation per key over the draws of a random floor, else empty.
        onscreen_thresholds: of the confidence, one per fold, NaN where none could be fitted; None
            where ``onscreen_acc`` has no meaning.
    """

    protocol: str
    ids: tuple[str, ...]
    values: Mapping[str, Column]
    n_expected: int
    missing: tuple[str, ...]
    excluded: tuple[str, ...]
    negatives: tuple[str, ...]
    constant_maps: tuple[str, ...]
    undefined: tuple[str, ...]
    thresholds: tuple[float, ...] | None
    partial: bool
    metrics: Mapping[str, float]
    ci95: Mapping[str, tuple[float, float]]
    spread: Mapping[str, float]
    onscreen_thresholds: tuple[float, ...] | None = None

    @property
    def n(self) -> int:
        """Number of scored samples."""
        return len(self.ids)

    def column(self, key: str) -> Column:
        """Per-sample values whose mean is the metric ``key``.

        Args:
            key: one of ``metrics``.

        Returns:
            ``(n,)`` float64 in the order of ``ids``; NaN where the metric leaves a sample out.

        Raises:
            BenchError: these scores have no such metric, or it is no mean over samples.
        """
        if key not in self.metrics:
            have = ", ".join(self.metrics) or "none"
            raise BenchError(f"no metric {key!r} under protocol {self.protocol}; there are: {have}")
        if key in SET_STATISTICS:
            raise BenchError(f"{key} belongs to the whole set of samples and has no value for one")
        return _column(self.values, key)


def score_maps(
    ids: Sequence[str],
    heatmaps: NDArray[np.floating],
    truth: Sequence[Truth],
    protocol: Protocol | str,
    *,
    seed: int = 0,
    thresholds: Sequence[float] | None = None,
    map_range: MapRange | None = None,
    ranking: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """Scores of one map per sample; see :func:`score`.

    Args:
        ids: ids of the maps; a subset of those of ``truth``, in any order.
        heatmaps: ``(N, h, w)`` finite numbers, higher = source; rows belong to ``ids``.
        truth: the whole test list, hence what is expected.
        protocol: rules or their name.
        seed: of the bootstrap.
        thresholds: as in :func:`score`.
        map_range: lowest and highest value that a map can take, where that is known.
        ranking: as in :func:`score`.
        progress: called with the number of maps measured so far.

    Examples:
        >>> truth = [Truth("clip", boxes=(np.array([[0.0, 0.0, 0.5, 1.0]]),))]
        >>> scores = score_maps(["clip"], np.array([[[1.0, 0.0]]]), truth, "lvs")
        >>> round(scores.metrics["ciou@0.5"], 3), scores.n
        (1.0, 1)
    """
    predictions = Predictions(ids, np.asarray(heatmaps), map_range=map_range)
    return score(
        predictions,
        truth,
        protocol,
        seed=seed,
        thresholds=thresholds,
        ranking=ranking,
        progress=progress,
    )


def score(
    predictions: Predictions,
    truth: Sequence[Truth],
    protocol: Protocol | str,
    *,
    seed: int = 0,
    thresholds: Sequence[float] | None = None,
    onscreen_thresholds: Sequence[float] | None = None,
    ranking: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """Scores of one set of answers.

    Aggregates do not depend on the order of the ids: they are taken in the order of the sorted ids.

    Args:
        predictions: for a subset of the ids of ``truth``, in any order.
        truth: the whole test list, hence what is expected.
        protocol: rules or their name.
        seed: of the bootstrap.
        thresholds: ``Scores.thresholds`` of another set of maps, to be used as they are (swap
            test); None lets the protocol choose.
        onscreen_thresholds: the same of the confidence; None fits them.
        ranking: whether average precisions are wanted; without them a map costs a third.
        progress: called with the number of samples measured so far.

    Returns:
        Scores; without any metric where no sample could be scored.

    Raises:
        BenchError: unknown protocol; an id is unknown or repeated; an array does not fit or holds
            NaN, infinity or a range beyond float32; a box leaves the frame; the protocol needs the
            range of the maps.
        ValueError: thresholds do not fit the protocol.
    """
    protocol = resolved(protocol)
    row_of = truth_rows(truth)
    rows = [_known_row(sample_id, row_of) for sample_id in predictions.ids]
    _refuse_repeats(predictions.ids, "the predictions")
    check_shapes(predictions)
    if predictions.has_maps and not predictions.use_boxes:
        check_range(protocol, predictions.map_range)
    annotators = num_annotators(truth)
    np.empty(KEPT_BLOCK_BYTES, dtype=np.uint8)  # freed at once; see there
    width = row_width(protocol, annotators, is_mask=predictions.use_boxes)
    measured = np.empty((len(rows), width))
    for position, row in enumerate(rows):
        measured[position] = measured_answer(
            predictions.answer(position),
            truth[row],
            protocol,
            annotators=annotators,
            map_range=predictions.map_range,
            ranking=ranking,
        )
        if progress is not None:
            progress(position + 1)
    return summarise(
        rows,
        measured,
        truth,
        protocol,
        seed=seed,
        thresholds=thresholds,
        onscreen_thresholds=onscreen_thresholds,
    )


def truth_rows(truth: Sequence[Truth]) -> dict[str, int]:
    """Row of each id of a test list.

    Raises:
        BenchError: an id occurs twice.
    """
    _refuse_repeats([sample.id for sample in truth], "the test list")
    return {sample.id: row for row, sample in enumerate(truth)}


def summarise(
    rows: Sequence[int],
    measured: NDArray[np.float64],
    truth: Sequence[Truth],
    protocol: Protocol,
    *,
    seed: int = 0,
    thresholds: Sequence[float] | None = None,
    onscreen_thresholds: Sequence[float] | None = None,
) -> Scores:
    """Scores out of raw results.

    Args:
        rows: ``(N,)`` rows of ``truth``, each at most once.
        measured: ``(N, W)`` raw results or, for several draws of a random map, ``(D, N, W)``; W is
            ``row_width(protocol, num_annotators(truth))``, or with a single cut where the
            prediction is a mask. Draws are scored one by one and averaged per sample.
        truth: the whole test list.
        protocol: the one that measured.
        seed: of the bootstrap.
        thresholds: as in :func:`score`.
        onscreen_thresholds: as in :func:`score`.

    Returns:
        Scores with samples in the order of ``rows``.
    """
    empty = _excluded_rows(truth, protocol)
    scored = [position for position, row in enumerate(rows) if row not in empty]
    samples = [truth[rows[position]] for position in scored]
    ids = tuple(sample.id for sample in samples)
    draws = measured if measured.ndim == 3 else measured[None]
    table = _Table(samples, truth, protocol)
    given = _Given(thresholds, onscreen_thresholds)
    per_draw = [table.columns(draw, given) for draw in draws[:, scored]]  # (n, W) each
    values = _mean_columns([columns for columns, _ in per_draw])
    fit = per_draw[0][1]
    by_id = np.argsort(ids)  # one order of summation, whatever the order of the maps
    means = {key: _column(values, key)[by_id] for key in table.mean_keys(values)}
    sets = _set_statistics(values, by_id) if len(draws) == 1 else {}
    known = empty.union(rows)
    return Scores(
        protocol=protocol.name,
        ids=ids,
        values=values,
        n_expected=len(truth),
        missing=tuple(sample.id for row, sample in enumerate(truth) if row not in known),
        excluded=tuple(truth[row].id for row in sorted(empty)),
        negatives=tuple(sample.id for sample in samples if not sample.on_screen),
        constant_maps=_ids_where(ids, draws[:, scored, figure_place("constant")].min(axis=0) == 1),
        undefined=_ids_where(ids, np.isnan(values["ciou"]) & table.placed),
        thresholds=fit.thresholds if len(draws) == 1 else None,
        partial=fit.partial or ("onscreen_acc" in values and _are_too_few(table.folds)),
        metrics={key: float(np.nanmean(column)) for key, column in means.items()}
        | {key: float(statistic(np.ones((1, len(ids))))[0]) for key, statistic in sets.items()},
        ci95=_intervals(means, seed) | statistic_intervals(sets, len(ids), seed),
        spread=_spread([columns for columns, _ in per_draw], list(means)),
        onscreen_thresholds=fit.onscreen if len(draws) == 1 else None,
    )


class _Given(NamedTuple):
    """Thresholds of the five folds of other answers, of maps and of confidence; None fits them."""

    thresholds: Sequence[float] | None
    onscreen: Sequence[float] | None


class _Fit(NamedTuple):
    """Thresholds of the five folds, or None where the protocol has its own rule.

    ``onscreen`` are those of the confidence, None where it decides nothing.
    """

    thresholds: tuple[float, ...] | None
    partial: bool
    onscreen: tuple[float, ...] | None = None


class _Table:
    """Per-sample columns out of raw results, for one set of samples under one protocol."""

    def __init__(
        self, samples: Sequence[Truth], truth: Sequence[Truth], protocol: Protocol
    ) -> None:
        self.samples, self.protocol = samples, protocol
        self.ids = [sample.id for sample in samples]
        self.on_screen = np.array([sample.on_screen for sample in samples], dtype=np.bool_)
        self.placed = np.array([sample.has_place for sample in samples], dtype=np.bool_)
        self.only_segments = all(sample.has_only_segments for sample in truth)
        self.folds = np.array([fold_of(sample_id) for sample_id in self.ids], dtype=int)
        self.annotators = num_annotators(truth)
        self.members = Counter(sample.frame for sample in truth if sample.frame is not None)
        self.one_box_set = has_one_box_set(truth)

    def columns(
        self, measured: NDArray[np.float64], given: _Given
    ) -> tuple[dict[str, Column], _Fit]:
        """All columns of ``(n, W)`` raw results that have a meaning, and the thresholds used."""
        cuts = (measured.shape[1] - len(FIGURES)) // (1 + self.annotators)
        at_cuts = measured[:, : -len(FIGURES)].reshape(-1, 1 + self.annotators, cuts)
        fit = _Fit(None, partial=False)
        if not self.only_segments:
            fit = _fit(self.ids, self.placed, at_cuts[:, 0], self.protocol, given.thresholds)
        chosen = np.zeros(len(self.ids), dtype=int)
        if fit.thresholds is not None:
            places = [self.protocol.threshold_grid.index(value) for value in fit.thresholds]
            chosen = np.array(places)[self.folds]
        ciou = at_cuts[np.arange(len(self.ids)), :, chosen]  # (n, 1 + annotators)
        columns = {"ciou": ciou[:, 0], **self._hits("", ciou[:, 0], self.placed)}
        columns |= {name: measured[:, figure_place(name)] for name in ("pixel_ap", "pointing")}
        if fit.thresholds is not None:
            columns["threshold"] = np.array(fit.thresholds)[self.folds]
        columns |= self._further(measured, columns, ciou)
        if "confidence" in columns and not self.on_screen.all() and self.on_screen.any():
            columns["onscreen_acc"], onscreen = onscreen_correct(
                columns["confidence"], self.on_screen, self.folds, FOLDS, given.onscreen
            )
            fit = fit._replace(onscreen=tuple(onscreen.tolist()))
        return columns, fit

    def _hits(self, prefix: str, ciou: Column, counted: NDArray[np.bool_]) -> dict[str, Column]:
        """Columns of success at each threshold and its area; NaN for what is not counted."""
        hits = {
            f"{prefix}hit@{threshold}": (ciou >= self.protocol.success_bar(threshold)).astype(
                np.float64
            )
            for threshold in self.protocol.success_thresholds
        }
        hits[f"{prefix}auc"] = sample_auc(ciou)
        return {name: np.where(counted, column, np.nan) for name, column in hits.items()}

    def _further(
        self,
        measured: NDArray[np.float64],
        columns: Mapping[str, Column],
        ciou: NDArray[np.float64],
    ) -> dict[str, Column]:
        """Columns that only some data or some predictions have."""
        further = {
            name: measured[:, figure_place(name)]
            for name in ("confidence", "context_pointing", "segment_acc", "cap", "piap", "nsa")
            if not np.isnan(measured[:, figure_place(name)]).all()
        }
        if max(self.members.values(), default=1) > 1:
            by_id = np.argsort(self.ids)  # one sample stands for a frame, whatever their order
            frames = [self.samples[place].frame for place in by_id]
            found = interactive_hits(columns[HIT][by_id], frames, self.members)
            further["iiou@0.5"] = found[np.argsort(by_id)]
        return further | self._against_annotators(ciou)

    def _against_annotators(self, ciou: NDArray[np.float64]) -> dict[str, Column]:
        """Columns against each annotator, and their means over those who drew anything."""
        columns: dict[str, Column] = {}
        each: list[dict[str, Column]] = []
        for place in range(1, self.annotators + 1):
            drew = np.array([_drew(sample, place) for sample in self.samples], dtype=np.bool_)
            each.append(self._hits("", ciou[:, place], drew & self.placed))
            columns[f"annotator{place}_ciou"] = ciou[:, place]
            columns |= {f"annotator{place}_{name}": column for name, column in each[-1].items()}
        for name in each[0] if each else ():
            columns[f"annotators_{name}"] = _mean_of_known([own[name] for own in each])
        return columns

    def _annotator_names(self) -> list[str]:
        """Each annotator by number, then all of them; none where there is only one."""
        names = [f"annotator{place}" for place in range(1, self.annotators + 1)]
        return [*names, "annotators"] if names else []

    def mean_keys(self, values: Mapping[str, Column]) -> list[str]:
        """Keys that are means of columns, in the order of the tables."""
        if not self.on_screen.any():
            return []
        success = self.protocol.success_thresholds
        keys = [f"ciou@{threshold}" for threshold in success] + ["auc", "mean_iou"]
        if self.one_box_set:
            keys.append("iou@0.5")
        keys += ["pixel_ap", "pointing", "context_pointing", "iiou@0.5"]
        for who in self._annotator_names():
            keys += [f"{who}_ciou@{threshold}" for threshold in success] + [f"{who}_auc"]
        keys += ["segment_acc", "cap", "piap", "nsa"]
        if "onscreen_acc" in values:
            keys += ["loc_acc", "onscreen_acc"]
        return [
            key
            for key in keys
            if _column_name(key) in values and not np.isnan(_column(values, key)).all()
        ]


def _drew(sample: Truth, place: int) -> bool:
    """Whether the annotator of that number, from 1, marked anything."""
    has_boxes = sample.mask is None and len(sample.boxes) >= place
    return has_boxes and len(sample.boxes[place - 1]) > 0


def _are_too_few(folds: NDArray[np.intp]) -> bool:
    """Whether samples are too few for thresholds that other folds choose, or leave a fold empty."""
    return len(folds) < FEWEST_SAMPLES or not np.bincount(folds, minlength=FOLDS).all()


def _mean_of_known(columns: Sequence[Column]) -> Column:
    """Mean of several columns row by row, without NaN; NaN where all are."""
    stacked = np.stack(columns)
    known = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, stacked, 0).sum(axis=0) / known.sum(axis=0))


def _mean_columns(per_draw: Sequence[Mapping[str, Column]]) -> dict[str, Column]:
    return {name: np.mean([columns[name] for columns in per_draw], axis=0) for name in per_draw[0]}


def _fit(
    ids: Sequence[str],
    placed: NDArray[np.bool_],
    ciou: NDArray[np.float64],
    protocol: Protocol,
    thresholds: Sequence[float] | None,
) -> _Fit:
    """Threshold of each fold out of ``(n, K)`` consensus IoU, unless they are given."""
    if ciou.shape[1] == 1:
        if thresholds is not None:
            raise ValueError(f"protocol {protocol.name} takes no thresholds, got {thresholds}")
        return _Fit(None, partial=False)
    chosen = placed & ~np.isnan(ciou).any(axis=1)  # no threshold is better on the others
    ids = [sample_id for sample_id, one in zip(ids, chosen, strict=True) if one]
    ciou = ciou[chosen]
    folds = np.array([fold_of(sample_id) for sample_id in ids], dtype=int)
    partial = _are_too_few(folds)
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


def _column_name(key: str) -> str:
    """Column whose mean is the metric ``key``."""
    if key == "loc_acc":  # SLAVC's word for the success of what is on the screen
        return HIT
    if key == "mean_iou":
        return "ciou"
    if key.startswith("iiou@"):
        return key
    return key.replace("ciou@", "hit@").replace("iou@", "hit@")


def _column(values: Mapping[str, Column], key: str) -> Column:
    """Per-sample values whose mean is the metric ``key``; NaN for what it leaves out."""
    column = values[_column_name(key)]
    if key != "mean_iou":
        return column
    return np.where(np.isnan(values["auc"]), np.nan, np.nan_to_num(column))


def _intervals(means: Mapping[str, Column], seed: int) -> dict[str, tuple[float, float]]:
    if not means:
        return {}
    bounds = bootstrap_ci(np.stack(list(means.values()), axis=1), seed).tolist()
    return {key: (low, high) for key, (low, high) in zip(means, bounds, strict=True)}


SET_STATISTICS: tuple[str, ...] = ("onscreen_auc", "slavc_ap", "slavc_max_f1", "ap", "max_f1")
"""Metrics of samples that are on the screen and samples that are not; no means over samples."""


def _set_statistics(
    values: Mapping[str, Column], by_id: NDArray[np.intp]
) -> dict[str, Callable[[NDArray[np.float64]], Column]]:
    """Each such metric as a function of how often each sample is drawn."""
    if "onscreen_acc" not in values:
        return {}
    confidence = values["confidence"][by_id]
    on_screen = ~np.isnan(values[HIT][by_id])
    hit = values[HIT][by_id] == 1
    return {
        "onscreen_auc": lambda counts: onscreen_auc(confidence, on_screen, counts),
        "slavc_ap": lambda counts: slavc_ap(confidence, on_screen, hit, counts),
        "slavc_max_f1": lambda counts: slavc_max_f1(confidence, on_screen, hit, counts),
        "ap": lambda counts: average_precision(confidence, on_screen, hit, counts),
        "max_f1": lambda counts: max_f1(confidence, on_screen, hit, counts),
    }


def _spread(per_draw: Sequence[Mapping[str, Column]], keys: Sequence[str]) -> dict[str, float]:
    """Standard deviation of each metric over draws; nothing where there is one draw."""
    if len(per_draw) == 1:
        return {}
    return {
        key: float(np.std([np.nanmean(_column(values, key)) for values in per_draw]))
        for key in keys
    }


def _excluded_rows(truth: Sequence[Truth], protocol: Protocol) -> set[int]:
    if protocol.empty_truth != "excluded":
        return set()
    return {
        row
        for row, sample in enumerate(truth)
        if sample.has_place and not truth_planes(sample, protocol).masks
    }


def _ids_where(ids: Sequence[str], chosen: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(sample_id for sample_id, yes in zip(ids, chosen, strict=True) if yes)


def _known_row(sample_id: str, row_of: Mapping[str, int]) -> int:
    if sample_id not in row_of:
        raise BenchError(
            f"predictions hold {sample_id!r}, which is not among the {len(row_of)} ids of the "
            "test list; check the ids, and the data set (--data)"
        )
    return row_of[sample_id]


def _refuse_repeats(ids: Sequence[str], where: str) -> None:
    twice = first_repeat(ids)
    if twice is not None:
        raise BenchError(f"{twice!r} occurs more than once in {where}; keep one row")
