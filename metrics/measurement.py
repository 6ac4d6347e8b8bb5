"""One map measured against one truth: all that the aggregates need of a sample.

Whatever the protocol's rule, it ends in cut values: a pixel is predicted where the map is at least
the cut. Consensus IoU at every cut and the average precision then follow from one sort.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.functional.ranking import average_precision, descending_order
from metrics.functional.rasterise import box_map
from metrics.functional.resize import align_corners_bilinear, half_pixel_bilinear
from metrics.protocols import Protocol
from metrics.truth import Truth

_RESIZE = {
    "half_pixel_bilinear": half_pixel_bilinear,
    "align_corners_bilinear": align_corners_bilinear,
}


class Measurement(NamedTuple):
    """Raw results of one sample."""

    ciou: NDArray[np.float64]  # (K,) one per cut, NaN where 0/0
    pixel_ap: float  # NaN where no pixel is positive
    pointing: float  # 0.0 or 1.0
    constant: bool  # the map has one value only

    def row(self) -> NDArray[np.float64]:
        """``(K + 3,)`` float64, the form that tables and processes exchange."""
        return np.array([*self.ciou, self.pixel_ap, self.pointing, self.constant])


def row_width(protocol: Protocol) -> int:
    """Length of :meth:`Measurement.row` under a protocol."""
    return max(len(protocol.threshold_grid), 1) + 3


def truth_map(truth: Truth, protocol: Protocol) -> NDArray[np.float32]:
    """``(size, size)`` soft ground truth of one sample by the protocol's own rule."""
    return box_map(truth, protocol.map_size, protocol.truth_rule)


def scored_map(heatmap: NDArray[np.float32], protocol: Protocol) -> NDArray[np.float32]:
    """Map as the protocol sees it: resized and normalised.

    Args:
        heatmap: ``(h, w)`` finite float32, higher = source.
        protocol: its interpolation and normalisation apply.

    Returns:
        ``(size, size)`` float32 in [0, 1]; for a constant map see ``Protocol.normalisation``.
    """
    size = protocol.map_size
    if is_constant(heatmap):  # an interpolation's last bit must not look like an order
        resized = np.full((size, size), heatmap.flat[0], dtype=np.float32)
    else:
        resized = _RESIZE[protocol.interpolation](heatmap, size)
    if protocol.normalisation == "min_max":
        lowest, highest = resized.min(), resized.max()
        return np.asarray((resized - lowest) / ((highest - lowest) or np.float32(1)))
    flipped = -resized
    lowest, highest = flipped.min(), flipped.max()
    if lowest != highest:
        flipped = (flipped - lowest) / (highest - lowest)
    return np.float32(1) - flipped


def is_constant(heatmap: NDArray[np.float32]) -> bool:
    """Whether all cells of a map are equal."""
    return bool(heatmap.min() == heatmap.max())


def cut_values(ranked: NDArray[np.float32], protocol: Protocol) -> NDArray[np.float32]:
    """Lowest values that a pixel may have to be predicted, one per threshold of the protocol.

    Args:
        ranked: ``(n,)`` pixels of the scored map, descending.
        protocol: its threshold rule, comparison and tie rule apply.

    Returns:
        ``(K,)`` float32; K is 1 or the length of the threshold grid.
    """
    if protocol.threshold_rule == "upper_median":
        cuts = ranked[[len(ranked) - 1 - len(ranked) // 2]]
        if protocol.comparison == ">":
            cuts = np.nextafter(cuts, np.float32(np.inf))
    else:
        cuts = _float32_at_least(protocol.threshold_grid)
    return np.minimum(cuts, np.float32(1)) if protocol.keep_ones else cuts


def _float32_at_least(thresholds: Sequence[float]) -> NDArray[np.float32]:
    """Smallest float32 not below each threshold: no float32 pixel changes sides by rounding."""
    exact = np.array(thresholds)
    rounded = exact.astype(np.float32)
    return np.where(rounded < exact, np.nextafter(rounded, np.float32(np.inf)), rounded)


class RankedMap(NamedTuple):
    """A map in descending order of its pixels, ready to be measured against any truth."""

    order: NDArray[np.intp]  # (n,) flat pixel indices
    values: NDArray[np.float32]  # (n,) in that order
    kept: NDArray[np.intp]  # (K,) how many pixels each cut predicts, descending
    peak: int  # flat index of the first maximum in row order
    constant: bool


def ranked_map(heatmap: NDArray[np.float32], protocol: Protocol) -> RankedMap:
    """Map of a method, resized, normalised and cut by the protocol.

    Args:
        heatmap: ``(h, w)`` finite float32, higher = source.
        protocol: its rules apply.

    Returns:
        Order of its ``n = map_size**2`` pixels, and how many of them each cut predicts.
    """
    pixels = scored_map(heatmap, protocol).ravel()
    order = descending_order(pixels)
    values = pixels[order]
    kept = len(values) - np.searchsorted(values[::-1], cut_values(values, protocol))
    return RankedMap(order, values, kept, int(pixels.argmax()), is_constant(heatmap))


def ranked_mask(mask: NDArray[np.bool_]) -> RankedMap:
    """Prediction that is a mask already, whatever a protocol would keep; K is 1.

    Args:
        mask: ``(size, size)`` bool.
    """
    pixels = mask.ravel()
    order = np.argsort(~pixels, kind="stable")
    kept = np.array([np.count_nonzero(pixels)])
    return RankedMap(
        order, pixels[order].astype(np.float32), kept, int(pixels.argmax()), constant=False
    )


def measure(ranked: RankedMap, gt: NDArray[np.floating]) -> Measurement:
    """Raw results of one map against one truth.

    Args:
        ranked: see :func:`ranked_map` and :func:`ranked_mask`.
        gt: ``(size, size)`` float in [0, 1]; see :func:`truth_map`.

    Returns:
        Consensus IoU at each cut; pixel AP and pointing as in ``metrics.functional.ranking``, of
        the resized and normalised map.
    """
    ranked_gt = gt.ravel()[ranked.order]
    return Measurement(
        ciou=_consensus_iou_of_first(ranked_gt, ranked.kept),
        pixel_ap=average_precision(ranked.values, ranked_gt),
        pointing=float(gt.flat[ranked.peak] > 0),
        constant=ranked.constant,
    )


def _consensus_iou_of_first(
    ranked_gt: NDArray[np.floating], kept: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Consensus IoU of predicting the first ``kept`` pixels, ``(K,)`` float64, NaN where 0/0."""
    parts = np.split(ranked_gt, kept[::-1])
    marked = np.cumsum([part.sum(dtype=np.float64) for part in parts])
    outside = np.cumsum([np.count_nonzero(part == 0) for part in parts])
    with np.errstate(invalid="ignore"):
        return np.asarray(marked[:-1] / (marked[-1] + outside[:-1]))[::-1]


def predicted_mask(
    heatmap: NDArray[np.floating], protocol: Protocol, threshold: float | None = None
) -> NDArray[np.bool_]:
    """Pixels that a map predicts under a protocol, for drawing.

    Args:
        heatmap: ``(h, w)`` finite numbers, higher = source.
        protocol: its rules apply.
        threshold: the sample's own, where the protocol cross-fits it; else None.

    Returns:
        ``(size, size)`` bool.

    Raises:
        ValueError: a threshold is missing, or given where the protocol has its own rule.
    """
    if (threshold is None) != (protocol.threshold_rule == "upper_median"):
        raise ValueError(f"threshold does not fit protocol {protocol.name}, got {threshold}")
    scored = scored_map(heatmap.astype(np.float32), protocol)
    if threshold is None:
        (cut,) = cut_values(np.sort(scored, axis=None)[::-1], protocol)
    else:
        (cut,) = _float32_at_least([threshold])
    return np.asarray(scored >= cut)
