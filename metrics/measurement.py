"""One answer measured against one truth: all that the aggregates need of a sample.

Whatever the protocol's rule, it ends in cut values: a pixel is predicted where the map is at least
the cut. Consensus IoU at every cut and the average precision then follow from one sort.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BenchError
from metrics.functional.extended import top_quarter_confidence
from metrics.functional.multi_source import (
    class_aware_ap,
    mean_ciou,
    non_sounding_area,
    permutation_invariant_ap,
)
from metrics.functional.ranking import (
    RankedPixels,
    average_precision,
    first_places,
    marked_places,
    ranked_pixels,
)
from metrics.functional.rasterise import box_map, box_union, nearest
from metrics.functional.resize import (
    align_corners_bicubic,
    align_corners_bilinear,
    half_pixel_bilinear,
)
from metrics.functional.segments import segment_accuracy
from metrics.predictions import LARGEST_OF_MAP, Answer, MapRange, check_answer
from metrics.protocols import Comparison, Protocol
from metrics.truth import Truth

_RESIZE = {
    "half_pixel_bilinear": half_pixel_bilinear,
    "align_corners_bilinear": align_corners_bilinear,
    "align_corners_bicubic": align_corners_bicubic,
}
NAN = float("nan")
SMALLEST = float(np.finfo(np.float32).tiny)  # below it float32 loses digits, and then becomes 0
NO_BOX = np.empty((0, 4))
FIGURES = (
    "pixel_ap",
    "pointing",
    "context_pointing",
    "constant",
    "confidence",
    "segment_acc",
    "cap",
    "piap",
    "nsa",
)
"""Last columns of a row of raw results, in this order."""


class TruthPlanes(NamedTuple):
    """Soft ground truth as one mask per weight; pixels in no mask have weight 0."""

    weights: tuple[float, ...]
    masks: tuple[NDArray[np.bool_], ...]  # (n,) each, n = size**2

    @property
    def marked(self) -> int:
        """Number of pixels with a weight above 0."""
        return sum(int(np.count_nonzero(mask)) for mask in self.masks)


def truth_map(truth: Truth, protocol: Protocol) -> NDArray[np.float32]:
    """``(size, size)`` soft ground truth of one sample by the protocol's own rule."""
    return box_map(truth, protocol.map_size, protocol.truth_rule)


def truth_planes(truth: Truth, protocol: Protocol) -> TruthPlanes:
    """:func:`truth_map` as masks; none where nothing was marked."""
    if truth.mask is None and len(truth.boxes) != 1:
        return planes_of(truth_map(truth, protocol))
    return _mask_planes(truth.mask, *truth.boxes[:1], size=protocol.map_size)


def planes_of(gt: NDArray[np.floating]) -> TruthPlanes:
    """Soft ground truth as one mask per weight, the highest weight first.

    Args:
        gt: ``(size, size)`` float in [0, 1] with at most three distinct values above 0.
    """
    flat = gt.ravel()
    weights = np.unique(flat[flat > 0])[::-1].tolist()
    return _planes([(weight, flat == weight) for weight in weights])


def _mask_planes(
    mask: NDArray[np.bool_] | None, boxes: NDArray[np.float64] = NO_BOX, *, size: int
) -> TruthPlanes:
    """Truth of a single source or of a single annotator."""
    marked = box_union(boxes, size) if mask is None else nearest(mask, size)
    return _planes([(1.0, marked.ravel())])


def _planes(weighted: Sequence[tuple[float, NDArray[np.bool_]]]) -> TruthPlanes:
    kept = [(weight, mask) for weight, mask in weighted if mask.any()]
    return TruthPlanes(tuple(weight for weight, _ in kept), tuple(mask for _, mask in kept))


class GridTruth(NamedTuple):
    """Truth of one sample on a protocol's grid, drawn once for however many maps."""

    has_place: bool
    whole: TruthPlanes
    annotators: tuple[TruthPlanes | None, ...]  # one per annotator of the list; None: none here
    sources: tuple[TruthPlanes | None, ...]  # one per source; None: it keeps silent
    context: NDArray[np.bool_] | None = None  # (n,) pixels of what occurs with the sound


def grid_truth(truth: Truth, protocol: Protocol, annotators: int = 0) -> GridTruth:
    """Everything of a sample that its maps are measured against.

    Args:
        truth: of the sample.
        protocol: its rule of annotators applies to the whole.
        annotators: see :func:`num_annotators`.
    """
    size = protocol.map_size
    drawn = truth.boxes if truth.mask is None else ()
    own = [_mask_planes(None, boxes, size=size) for boxes in drawn[:annotators]]
    return GridTruth(
        truth.has_place,
        truth_planes(truth, protocol),
        (*own, *[None] * (annotators - len(own))),
        tuple(
            _mask_planes(source.mask, source.boxes, size=size) if source.sounding else None
            for source in truth.sources
        ),
        None if truth.context is None else box_union(truth.context, size).ravel(),
    )


class ScoredMap(NamedTuple):
    """A map as a protocol sees it, or a mask that is a prediction already."""

    pixels: NDArray[np.float32]  # (size, size)
    constant: bool  # one value only
    is_mask: bool = False
    confidence: float = NAN  # of the map, where the protocol takes it from there

    @property
    def peak(self) -> int:
        """Flat index of the first maximum in row order."""
        return int(self.pixels.argmax())


def scored_map(
    heatmap: NDArray[np.floating], protocol: Protocol, map_range: MapRange | None = None
) -> ScoredMap:
    """Map as the protocol sees it: resized, calibrated and normalised.

    Args:
        heatmap: ``(h, w)`` finite numbers, higher = source.
        protocol: its rules apply.
        map_range: lowest and highest value that a map can take.

    Returns:
        ``(size, size)`` float32; in [0, 1], but for what ``Protocol.normalisation`` says of a
        constant map and for what a bicubic interpolation overshoots where it is ``none``.

    Raises:
        BenchError: the protocol needs the range of the maps, and it is not known.
    """
    check_range(protocol, map_range)
    single = heatmap.astype(np.float32, copy=False)
    constant = is_constant(single)
    resized = _resized(single, protocol, constant=constant)
    if protocol.calibrated:
        resized = _calibrated(resized, map_range)
    from_map = protocol.confidence == "top_quarter"
    confidence = top_quarter_confidence(resized) if from_map else NAN
    return ScoredMap(
        _normalised(resized, protocol),
        constant=constant,
        confidence=confidence,
    )


def _calibrated(pixels: NDArray[np.float32], map_range: MapRange | None) -> NDArray[np.float32]:
    """Map with its range taken to [0, 1], as SLAVC does: float32, the extent rounded once."""
    if map_range is None:
        return pixels
    low, high = map_range
    return (pixels - np.float32(low)) / np.float32(high - low)


def check_range(protocol: Protocol, map_range: MapRange | None) -> None:
    """Nothing, or an error where the protocol needs the range of the maps.

    Raises:
        BenchError: it does, and the range is not known; or a range is empty, or so wide or narrow
            that maps cannot be taken to [0, 1] in float32.
    """
    if map_range is not None and not _is_wide_enough(*map_range):
        raise BenchError(
            f"the range of the maps must be low < high, got {map_range}; as float32 neither may "
            f"lie beyond {LARGEST_OF_MAP:.2g}, nor high - low below {SMALLEST:.2g}"
        )
    if protocol.needs_range and map_range is None:
        raise BenchError(
            f"protocol {protocol.name} goes by the values of a map, so it needs the lowest and the "
            "highest that the method can give; state them as map_range (--map-range LOW HIGH)"
        )


def _is_wide_enough(low: float, high: float) -> bool:
    return -LARGEST_OF_MAP <= low < high <= LARGEST_OF_MAP and high - low >= SMALLEST


def _resized(
    heatmap: NDArray[np.float32], protocol: Protocol, *, constant: bool
) -> NDArray[np.float32]:
    if constant:  # an interpolation's last bit must not look like an order
        return np.full((protocol.map_size,) * 2, heatmap.flat[0], dtype=np.float32)
    return _RESIZE[protocol.interpolation](heatmap, protocol.map_size)


def _normalised(pixels: NDArray[np.float32], protocol: Protocol) -> NDArray[np.float32]:
    if protocol.normalisation == "none":
        return pixels
    lowest, highest = pixels.min(), pixels.max()
    negated = protocol.normalisation == "double_negation"
    if lowest == highest:
        return np.float32(1) + pixels if negated else np.zeros_like(pixels)
    # min-max of -pixels without a copy of them: -p - min(-p) is max(p) - p, sign for sign
    first, second = (highest, pixels) if negated else (pixels, lowest)
    shares: NDArray[np.float32] = np.subtract(first, second, out=pixels)  # it is nobody else's
    shares /= highest - lowest
    if negated:
        np.subtract(np.float32(1), shares, out=shares)
    return shares


def is_constant(heatmap: NDArray[np.floating]) -> bool:
    """Whether all cells of a map are equal."""
    return bool(heatmap.min() == heatmap.max())


def mask_as_map(mask: NDArray[np.bool_]) -> ScoredMap:
    """Prediction that is a mask already, whatever a protocol would keep of it.

    Args:
        mask: ``(size, size)`` bool.
    """
    return ScoredMap(mask.astype(np.float32), constant=False, is_mask=True)


def cut_values(scored: ScoredMap, marked: int, protocol: Protocol) -> NDArray[np.float32]:
    """Lowest values that a pixel may have to be predicted, one per threshold of the protocol.

    Args:
        scored: the map.
        marked: number of pixels that the truth marks, for a rule that goes by it.
        protocol: its threshold rule, comparison and tie rule apply.

    Returns:
        ``(K,)`` float32; K is 1 or the length of the threshold grid.
    """
    if scored.is_mask:
        return np.ones(1, dtype=np.float32)
    cuts = _float32_reaching(_thresholds(scored.pixels, marked, protocol), protocol.comparison)
    return np.minimum(cuts, np.float32(1)) if protocol.keep_ones else cuts


def _thresholds(pixels: NDArray[np.float32], marked: int, protocol: Protocol) -> Sequence[float]:
    if protocol.threshold_rule == "cross_fitted":
        return protocol.threshold_grid
    if protocol.threshold_rule in ("upper_median", "truth_size"):
        place = pixels.size // 2
        if protocol.threshold_rule == "truth_size" and marked:
            place = pixels.size - marked
        return [_value_at(pixels, place)]
    assert protocol.threshold is not None
    if protocol.threshold_rule == "fixed":
        return [protocol.threshold]
    share = protocol.threshold * float(pixels.max())  # float64, then float32, as numpy 1 had it
    return [float(np.float32(share))]


def _value_at(pixels: NDArray[np.float32], place: int) -> float:
    """Value at a place of the sorted pixels."""
    if pixels.min() < 0:
        return float(np.partition(pixels, place, axis=None)[place])
    # bits of floats without a sign are in their order, and whole numbers need no look for NaN
    return float(np.partition(pixels.view(np.int32), place, axis=None)[place].view(np.float32))


def _float32_reaching(thresholds: Sequence[float], comparison: Comparison) -> NDArray[np.float32]:
    """Smallest float32 beyond each threshold, so that no pixel changes sides by rounding."""
    reaching = []
    for threshold in thresholds:  # plain numbers: most rules have one, which costs less than arrays
        single = np.float32(threshold)
        gap = float(single) - threshold  # as float64, in which both are exact
        beyond = gap > 0 or (gap == 0 and comparison == ">=")
        reaching.append(single if beyond else np.nextafter(single, np.float32(np.inf)))
    return np.array(reaching, dtype=np.float32)


class Overlap(NamedTuple):
    """Raw results of one map against one truth."""

    ciou: NDArray[np.float64]  # (K,) one per cut, NaN where 0/0
    pixel_ap: float  # NaN where no pixel is positive, or where ranking was not asked for


def measure(
    scored: ScoredMap, planes: TruthPlanes, protocol: Protocol, *, ranking: bool = True
) -> Overlap:
    """Consensus IoU at every cut of the protocol, and average precision, of one map.

    Args:
        scored: see :func:`scored_map` and :func:`mask_as_map`.
        planes: see :func:`truth_planes`.
        protocol: its threshold rule applies.
        ranking: whether the average precision is wanted too; it costs most of the time.
    """
    marked = planes.marked if protocol.threshold_rule == "truth_size" else 0
    cuts = cut_values(scored, marked, protocol)
    flat = scored.pixels.ravel()
    if len(cuts) == 1:
        ciou = _ciou_of_mask(flat >= cuts[0], planes)
        return Overlap(ciou, _ap(scored, planes) if ranking else NAN)
    ranked = ranked_pixels(flat, planes.masks)
    ciou = _ciou_of_cuts(ranked, cuts, planes)
    return Overlap(ciou, average_precision(ranked) if ranking else NAN)


def _ciou_of_mask(predicted: NDArray[np.bool_], planes: TruthPlanes) -> NDArray[np.float64]:
    """Consensus IoU of a ``(n,)`` mask, ``(1,)`` float64."""
    inside = [int(np.count_nonzero(predicted & mask)) for mask in planes.masks]
    outside = int(np.count_nonzero(predicted)) - sum(inside)
    marked = sum(weight * count for weight, count in zip(planes.weights, inside, strict=True))
    union = _total(planes) + outside
    return np.array([marked / union if union else NAN])


def _ciou_of_cuts(
    ranked: RankedPixels, cuts: NDArray[np.float32], planes: TruthPlanes
) -> NDArray[np.float64]:
    """Consensus IoU at each cut, ``(K,)`` float64, of a ranked map."""
    first = first_places(ranked, cuts)
    marked, outside = np.zeros(len(cuts)), (len(ranked.keys) - first).astype(np.float64)
    for code, weight in enumerate(planes.weights, start=1):
        places = marked_places(ranked, code)
        inside = len(places) - np.searchsorted(places, first)
        marked += weight * inside
        outside -= inside
    return _ratio(marked, _total(planes) + outside)


def _total(planes: TruthPlanes) -> float:
    counts = [int(np.count_nonzero(mask)) for mask in planes.masks]
    return sum(weight * count for weight, count in zip(planes.weights, counts, strict=True))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return np.asarray(part / whole, dtype=np.float64)


def num_annotators(truth: Sequence[Truth]) -> int:
    """How many annotators a list has, each scored on their own; 0 where there is only one."""
    most = max((len(sample.boxes) for sample in truth if sample.mask is None), default=0)
    return most if most > 1 else 0


def has_one_box_set(truth: Sequence[Truth]) -> bool:
    """Whether each truth is a single set of boxes, where consensus IoU is plain IoU."""
    return all(
        sample.mask is None and len(sample.boxes) == 1 and len(sample.sources) < 2
        for sample in truth
    )


def row_width(protocol: Protocol, annotators: int = 0, *, is_mask: bool = False) -> int:
    """Length of the row of raw results of a sample; a mask is measured at a single cut."""
    return (1 if is_mask else protocol.num_cuts) * (1 + annotators) + len(FIGURES)


def measured_answer(
    answer: Answer,
    truth: Truth,
    protocol: Protocol,
    *,
    annotators: int = 0,
    map_range: MapRange | None = None,
    ranking: bool = True,
) -> NDArray[np.float64]:
    """Raw results of one sample in the form that tables and processes exchange.

    Args:
        answer: of a method or program.
        truth: of the same sample.
        protocol: its rules apply.
        annotators: see :func:`num_annotators`.
        map_range: lowest and highest value that a map can take.
        ranking: whether average precisions are wanted too.

    Returns:
        ``(row_width(protocol, annotators),)`` float64: consensus IoU at each cut, the same against
        each annotator, then ``FIGURES``; NaN where a part has no meaning for the sample.

    Raises:
        BenchError: see :func:`metrics.predictions.check_answer`.
    """
    check_answer(answer, truth)
    if truth.has_only_segments:
        width = row_width(protocol, annotators, is_mask=answer.boxes is not None)
        row = np.full(width, NAN)
        row[figure_place("confidence")] = answer.confidence
    else:
        row = _localised(answer, truth, protocol, annotators, map_range, ranking=ranking)
    if answer.segment_logits is not None and truth.segments is not None:
        row[figure_place("segment_acc")] = segment_accuracy(answer.segment_logits, truth.segments)
    return row


def _localised(
    answer: Answer,
    truth: Truth,
    protocol: Protocol,
    annotators: int,
    map_range: MapRange | None,
    *,
    ranking: bool,
) -> NDArray[np.float64]:
    """The part of :func:`measured_answer` that follows from maps or boxes."""
    if answer.boxes is not None:
        whole: ScoredMap | None = mask_as_map(_best_boxes(answer, protocol.map_size))
    elif answer.heatmap is not None:
        whole = scored_map(answer.heatmap, protocol, map_range)
    else:
        whole = None
    sources = None
    if answer.source_heatmap is not None and truth.sources and answer.boxes is None:
        sources = [scored_map(one, protocol, map_range) for one in answer.source_heatmap]
    gt = grid_truth(truth, protocol, annotators)
    row = measured_maps(whole, sources, gt, protocol, ranking=ranking)
    from_map = NAN if whole is None else whole.confidence
    row[figure_place("confidence")] = answer.confidence if np.isnan(from_map) else from_map
    if answer.boxes is not None:
        for name in ("pointing", "context_pointing"):
            row[figure_place(name)] = NAN  # all pixels of a box are equal, so none is pointed at
    return row


def figure_place(name: str) -> int:
    """Index of one of ``FIGURES`` in a row of raw results, from its end.

    Examples:
        >>> figure_place("nsa")
        -1
    """
    return FIGURES.index(name) - len(FIGURES)


def _best_boxes(answer: Answer, size: int) -> NDArray[np.bool_]:
    """``(size, size)`` mask of the first boxes that are there, as many as are answered."""
    assert answer.boxes is not None
    present = answer.boxes[~np.isnan(answer.boxes).any(axis=1)]
    return box_union(present[: answer.num_boxes].astype(np.float64), size)


def measured_maps(
    whole: ScoredMap | None,
    sources: Sequence[ScoredMap] | None,
    gt: GridTruth,
    protocol: Protocol,
    *,
    ranking: bool = True,
) -> NDArray[np.float64]:
    """Raw results of the maps of one sample, as in :func:`measured_answer`.

    Args:
        whole: the map of the frame, or None.
        sources: one map per source of the truth, or None; then the consensus IoU is that of each
            sounding source with its own map, averaged. One of the two must be given.
        gt: of the sample; see :func:`grid_truth`.
        protocol: the one that scored the maps.
        ranking: whether average precisions are wanted too.
    """
    maps = [*([] if whole is None else [whole]), *(sources or ())]
    figures = dict.fromkeys(FIGURES, NAN)
    figures["constant"] = float(maps[0].constant)
    ciou = np.full((1 + len(gt.annotators), 1 if maps[0].is_mask else protocol.num_cuts), NAN)
    if gt.has_place and whole is not None:
        ciou[0], figures["pixel_ap"] = measure(whole, gt.whole, protocol, ranking=ranking)
        figures["pointing"] = float(any(mask[whole.peak] for mask in gt.whole.masks))
        if gt.context is not None:
            figures["context_pointing"] = float(gt.context[whole.peak])
        for place, own in enumerate(gt.annotators, start=1):
            if own is not None:
                ciou[place] = measure(whole, own, protocol, ranking=False).ciou
    if gt.has_place and sources is not None:
        ciou[0], found = _measured_sources(sources, gt, protocol, ranking=ranking)
        figures |= found
    return np.concatenate([ciou.ravel(), list(figures.values())])


def _measured_sources(
    sources: Sequence[ScoredMap], gt: GridTruth, protocol: Protocol, *, ranking: bool
) -> tuple[NDArray[np.float64] | float, dict[str, float]]:
    """Mean consensus IoU of the sounding sources, and what is said of all of them."""
    pairs = list(zip(sources, gt.sources, strict=True))
    sounding = [(scored, planes) for scored, planes in pairs if planes is not None]
    silent = [scored.pixels for scored, planes in pairs if planes is None]
    figures = {}
    if protocol.silent_level is not None and silent:
        figures["nsa"] = non_sounding_area(np.stack(silent), protocol.silent_level)
    if not sounding:
        return NAN, figures
    if ranking:
        matrix = np.array(
            [[_ap(scored, planes) for _, planes in sounding] for scored, _ in sounding]
        )
        figures["cap"] = class_aware_ap(matrix)
        figures["piap"] = permutation_invariant_ap(matrix)
    own = [measure(scored, planes, protocol, ranking=False).ciou for scored, planes in sounding]
    return mean_ciou(np.stack(own)), figures


def _ap(scored: ScoredMap, planes: TruthPlanes) -> float:
    return average_precision(ranked_pixels(scored.pixels.ravel(), planes.masks))


def predicted_mask(
    heatmap: NDArray[np.floating],
    protocol: Protocol,
    threshold: float | None = None,
    *,
    truth: Truth | None = None,
    map_range: MapRange | None = None,
) -> NDArray[np.bool_]:
    """Pixels that a map predicts under a protocol, for drawing.

    Args:
        heatmap: ``(h, w)`` finite numbers, higher = source.
        protocol: its rules apply.
        threshold: the sample's own, where the protocol cross-fits it; else None.
        truth: of the sample, where the protocol is an oracle.
        map_range: lowest and highest value that a map can take.

    Returns:
        ``(size, size)`` bool.

    Raises:
        ValueError: a threshold or the oracle's truth is missing, or a threshold is given where the
            protocol has its own rule.
        BenchError: the protocol needs the range of the maps.
    """
    if (threshold is None) == (protocol.threshold_rule == "cross_fitted"):
        raise ValueError(f"threshold does not fit protocol {protocol.name}, got {threshold}")
    if protocol.oracle and truth is None:
        raise ValueError(f"protocol {protocol.name} needs the truth of the sample, got None")
    scored = scored_map(heatmap, protocol, map_range)
    if threshold is None:
        marked = 0 if truth is None else truth_planes(truth, protocol).marked
        (cut,) = cut_values(scored, marked, protocol)
    else:
        (cut,) = _float32_reaching([threshold], protocol.comparison)
    return np.asarray(scored.pixels >= cut)
