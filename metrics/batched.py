"""Maps of a batch scored on their device, in the numbers of ``metrics.measurement``.

For a GPU: on a CPU the loop over maps of ``metrics.measurement`` is faster, because a map fits into
the cache and a batch does not. A pixel must not change sides between the two, so every step here
rounds where its counterpart does. A fused multiply-add is a float64 sum rounded to float32, its
product being exact in float64; devices without float64 are therefore not served.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metrics.functional.resize import Taps, cubic_taps, half_pixel_bilinear, linear_taps
from metrics.measurement import check_range
from metrics.predictions import MapRange
from metrics.protocols import Protocol


class BatchedOverlap(NamedTuple):
    """Raw results of a batch of maps against their truths."""

    ciou: Tensor  # (B, K) float64, one per cut, NaN where 0/0
    pixel_ap: Tensor  # (B,) float64, NaN where no pixel is positive or no ranking was asked for
    pointing: Tensor  # (B,) bool, whether the first of the highest pixels is marked
    constant: Tensor  # (B,) bool, whether a map has one value only


def batched_scored_maps(
    heatmap: Tensor, protocol: Protocol, map_range: MapRange | None = None
) -> Tensor:
    """Maps as a protocol sees them, bit for bit those of ``metrics.measurement.scored_map``.

    The half-pixel interpolation is that of OpenCV 5.0 on a CPU with AVX2.

    Args:
        heatmap: ``(B, h, w)`` finite float32, higher = source.
        protocol: its rules apply.
        map_range: lowest and highest value that a map can take.

    Returns:
        ``(B, size, size)`` float32 on the device of ``heatmap``.

    Raises:
        BenchError: the protocol needs the range of the maps, and it is not known.
        ValueError: ``heatmap`` has another rank or dtype.

    Examples:
        >>> from metrics.protocols import PROTOCOLS
        >>> ramp = torch.tensor([[[1.0, 3.0]]])
        >>> batched_scored_maps(ramp, PROTOCOLS["ezvsl"])[0, 0, [0, -1]].tolist()
        [0.0, 1.0]
    """
    if heatmap.ndim != 3 or heatmap.dtype != torch.float32:
        raise ValueError(
            f"heatmap must be (B, h, w) float32, got {tuple(heatmap.shape)} {heatmap.dtype}"
        )
    check_range(protocol, map_range)
    pixels = _resized(heatmap, protocol)
    if protocol.calibrated and map_range is not None:
        pixels = _calibrated(pixels, map_range)
    return _normalised(pixels, protocol)


def batched_measure(
    heatmap: Tensor,
    gt: Tensor,
    protocol: Protocol,
    map_range: MapRange | None = None,
    *,
    ranking: bool = True,
) -> BatchedOverlap:
    """Raw results of a batch of maps, those of ``metrics.measurement.measure`` one by one.

    Consensus IoU is equal to the last bit, average precision to 1e-12: its terms are summed in
    another order.

    Args:
        heatmap: ``(B, h, w)`` finite float32, higher = source.
        gt: ``(B, size, size)`` float in [0, 1], the truth by the protocol's rule.
        protocol: its rules apply.
        map_range: lowest and highest value that a map can take.
        ranking: whether the average precision is wanted too.

    Raises:
        BenchError: the protocol needs the range of the maps, and it is not known.
        ValueError: shapes do not fit, or ``heatmap`` is not float32.

    Examples:
        >>> from metrics.protocols import PROTOCOLS
        >>> gt = torch.zeros(1, 224, 224)
        >>> gt[:, :, 112:] = 1
        >>> batched_measure(torch.tensor([[[0.0, 1.0]]]), gt, PROTOCOLS["ezvsl"]).ciou.tolist()
        [[1.0]]
    """
    if gt.shape != (len(heatmap), protocol.map_size, protocol.map_size):
        raise ValueError(
            f"gt must be {(len(heatmap), protocol.map_size, protocol.map_size)}, "
            f"got {tuple(gt.shape)}"
        )
    pixels = batched_scored_maps(heatmap, protocol, map_range).flatten(1)  # (B, n)
    weight = gt.to(pixels.device, torch.float64).flatten(1)
    values, order = pixels.sort(dim=1, stable=True)
    marked = (weight > 0).gather(1, order)
    cuts = _cuts(values, marked.sum(1), protocol)
    peak = pixels.argmax(1, keepdim=True)
    return BatchedOverlap(
        _ciou_of_cuts(values, cuts, weight.gather(1, order), marked),
        _average_precision(values, marked) if ranking else weight.new_full((len(gt),), np.nan),
        weight.gather(1, peak)[:, 0] > 0,
        _is_constant(heatmap),
    )


def _is_constant(heatmap: Tensor) -> Tensor:
    return heatmap.amin((1, 2)) == heatmap.amax((1, 2))


def _resized(heatmap: Tensor, protocol: Protocol) -> Tensor:
    resized = _RESIZE[protocol.interpolation](heatmap, protocol.map_size)
    constant = _is_constant(heatmap)[:, None, None]
    return torch.where(constant, heatmap[:, :1, :1], resized)  # as it is, to the last bit


def _align_corners_bilinear(heatmap: Tensor, size: int) -> Tensor:
    height, width = heatmap.shape[1:]
    across = _weighted_rows(heatmap.mT, linear_taps(width, size)).mT  # (B, h, size)
    return _weighted_rows(across, linear_taps(height, size))


def _align_corners_bicubic(heatmap: Tensor, size: int) -> Tensor:
    height, width = heatmap.shape[1:]
    across = _weighted_rows(heatmap.mT, cubic_taps(width, size)).mT  # (B, h, size)
    return _weighted_rows(across, cubic_taps(height, size))


def _weighted_rows(cells: Tensor, taps: Taps) -> Tensor:
    """Rows of ``(B, n, w)`` cells summed to ``(B, size, w)``."""
    places = torch.tensor(taps.cells, device=cells.device)
    weights = torch.tensor(taps.weights, device=cells.device)[:, :, None]
    result = cells[:, places[0]] * weights[0]
    for own_places, own_weights in zip(places[1:], weights[1:], strict=True):
        result = _fused(cells[:, own_places], own_weights, result)
    return result


def _fused(factor: Tensor, other: Tensor, term: Tensor) -> Tensor:
    return (factor.double() * other.double() + term.double()).float()


def _half_pixel_bilinear(heatmap: Tensor, size: int) -> Tensor:
    if 1 in heatmap.shape[1:]:  # OpenCV takes another path, and no method makes such maps
        resized = [half_pixel_bilinear(own, size) for own in heatmap.cpu().numpy()]
        return torch.from_numpy(np.stack(resized)).to(heatmap.device)
    across = _between_areas(heatmap.mT, size).mT  # (B, h, size)
    return _between_areas(across, size)


def _between_areas(cells: Tensor, size: int) -> Tensor:
    """Rows of ``(B, n, w)`` cells interpolated to ``(B, size, w)``, cells as areas."""
    n = cells.shape[1]
    position = np.clip((np.arange(size) + 0.5) * (n / size) - 0.5, 0, n - 1)
    lower = position.astype(np.intp)
    beyond = torch.tensor(position - lower, dtype=torch.float32, device=cells.device)[:, None]
    before = cells[:, torch.tensor(lower, device=cells.device)]
    after = cells[:, torch.tensor(np.minimum(lower + 1, n - 1), device=cells.device)]
    return _fused(after - before, beyond, before)


_RESIZE = {
    "half_pixel_bilinear": _half_pixel_bilinear,
    "align_corners_bilinear": _align_corners_bilinear,
    "align_corners_bicubic": _align_corners_bicubic,
}


def _calibrated(pixels: Tensor, map_range: MapRange) -> Tensor:
    low, high = map_range
    # Tensors on the device: a GPU divides by a plain number as a product with its inverse.
    bounds = torch.tensor([low, high - low], dtype=torch.float32, device=pixels.device)
    return (pixels - bounds[:1]) / bounds[1:]


def _normalised(pixels: Tensor, protocol: Protocol) -> Tensor:
    if protocol.normalisation == "none":
        return pixels
    if protocol.normalisation == "double_negation":
        return 1 - _min_max(-pixels, constant_stays=True)
    return _min_max(pixels, constant_stays=False)


def _min_max(pixels: Tensor, *, constant_stays: bool) -> Tensor:
    lowest, highest = pixels.amin((1, 2), keepdim=True), pixels.amax((1, 2), keepdim=True)
    spread = (pixels - lowest) / (highest - lowest)
    constant = pixels if constant_stays else torch.zeros_like(pixels)
    return torch.where(lowest == highest, constant, spread)


def _cuts(values: Tensor, marked: Tensor, protocol: Protocol) -> Tensor:
    """Lowest values that a pixel may have to be predicted.

    Args:
        values: ``(B, n)`` float32, ascending.
        marked: ``(B,)`` int64, number of marked pixels.
        protocol: its threshold rule, comparison and tie rule apply.

    Returns:
        ``(B, K)`` float32.
    """
    exact = _thresholds(values, marked, protocol)
    cuts = exact.float()
    short = cuts <= exact if protocol.comparison == ">" else cuts < exact
    cuts = torch.where(short, cuts.nextafter(torch.full_like(cuts, torch.inf)), cuts)
    return cuts.clamp(max=1) if protocol.keep_ones else cuts


def _thresholds(values: Tensor, marked: Tensor, protocol: Protocol) -> Tensor:
    """``(B, K)`` float64 of ``(B, n)`` float32, ascending."""
    batch, n = values.shape
    if protocol.threshold_rule == "cross_fitted":
        return values.new_tensor(protocol.threshold_grid, dtype=torch.float64).expand(batch, -1)
    if protocol.threshold_rule in ("upper_median", "truth_size"):
        place = torch.full_like(marked, n // 2)
        if protocol.threshold_rule == "truth_size":
            place = torch.where(marked > 0, n - marked, place)
        return values.gather(1, place[:, None]).double()
    assert protocol.threshold is not None
    if protocol.threshold_rule == "fixed":
        return torch.full_like(values[:, :1], protocol.threshold, dtype=torch.float64)
    return (protocol.threshold * values[:, -1:].double()).float().double()


def _ciou_of_cuts(values: Tensor, cuts: Tensor, weight: Tensor, marked: Tensor) -> Tensor:
    """Consensus IoU at each cut, ``(B, K)`` float64.

    Sums of weights are exact in float64, so their order does not matter.

    Args:
        values: ``(B, n)`` float32, ascending.
        cuts: ``(B, K)`` float32.
        weight: ``(B, n)`` float64, of the pixels in the order of ``values``.
        marked: ``(B, n)`` bool, whether a weight is above 0.
    """
    first = torch.searchsorted(values, cuts)  # (B, K)
    inside = weight.sum(1, keepdim=True) - _sum_before(weight, first)
    not_marked = ~marked
    outside = not_marked.sum(1, keepdim=True) - _sum_before(not_marked.long(), first)
    return inside / (weight.sum(1, keepdim=True) + outside)


def _sum_before(terms: Tensor, places: Tensor) -> Tensor:
    """Sum of the terms before each place, ``(B, K)`` of ``(B, n)`` terms."""
    sums = torch.nn.functional.pad(terms.cumsum(1), (1, 0))  # (B, n + 1)
    return sums.gather(1, places)


def _average_precision(values: Tensor, positive: Tensor) -> Tensor:
    """Average precision of ranked pixels, ``(B,)`` float64; pixels of one value are one step.

    Args:
        values: ``(B, n)`` float32, ascending.
        positive: ``(B, n)`` bool.
    """
    n = values.shape[1]
    place = torch.arange(n, device=values.device).expand_as(values)
    starts = torch.ones_like(positive)
    starts[:, 1:] = values[:, 1:] != values[:, :-1]
    lowest = torch.where(starts, place, 0).cummax(1).values  # first place of an equal value
    count = positive.sum(1, keepdim=True)
    reached = count - _sum_before(positive.long(), lowest)
    precision = reached.double() / (n - lowest)
    return (precision * positive).sum(1) / count[:, 0]
