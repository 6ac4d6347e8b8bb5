"""The three interpolations of the field; they differ in where a cell's centre lies and in order.

All of them go along the columns first and the rows second. What two of them do along one axis is a
:class:`Taps`, which ``metrics.batched`` follows too; the third is OpenCV's own.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray


class Taps(NamedTuple):
    """Weighted sum that makes ``size`` pixels of n cells along one axis.

    The sum starts with the first product, rounded; every further product is added to it and the sum
    rounded once, as a fused multiply-add does. (Rounded by way of float64, so that one sum in some
    2**29 may have another last bit.)
    """

    cells: NDArray[np.intp]  # (K, size), K products a pixel
    weights: NDArray[np.float32]  # (K, size)


def half_pixel_bilinear(heatmap: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Map resized with cells as areas: ``cv2.resize`` with ``INTER_LINEAR``.

    Args:
        heatmap: ``(h, w)`` float32.
        size: pixels per side of the result.

    Returns:
        ``(size, size)`` float32.

    Examples:
        >>> half_pixel_bilinear(np.array([[0, 4]], np.float32), 4)[0].tolist()
        [0.0, 1.0, 3.0, 4.0]
    """
    resized = cv2.resize(
        np.ascontiguousarray(heatmap), (size, size), interpolation=cv2.INTER_LINEAR
    )
    return np.asarray(resized, dtype=np.float32)


def align_corners_bilinear(heatmap: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Map resized with cells as points, the outer ones on the edge of the frame.

    ``F.interpolate(mode="bilinear", align_corners=True)`` of torch on a CPU with AVX2, bit for bit
    where the result has more than 64 pixels a side; below, torch has another loop. In numpy,
    because torch splits a single map over threads, which costs more than the map.

    Args:
        heatmap: ``(h, w)`` float32.
        size: pixels per side of the result, at least 2.

    Returns:
        ``(size, size)`` float32.

    Examples:
        >>> align_corners_bilinear(np.array([[0, 3]], np.float32), 4)[0].tolist()
        [0.0, 1.0, 2.0, 3.0]
    """
    across = _weighted_rows(heatmap.T, size, linear_taps).T  # (h, size)
    return _weighted_rows(across, size, linear_taps)


def align_corners_bicubic(heatmap: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Map resized with cells as points by cubic convolution, which may overshoot the cells.

    ``F.interpolate(mode="bicubic", align_corners=True)`` of torch on a CPU with AVX2, bit for bit.

    Args:
        heatmap: ``(h, w)`` float32.
        size: pixels per side of the result, at least 2.

    Returns:
        ``(size, size)`` float32; a constant map may differ from its value in the last bit.

    Examples:
        >>> align_corners_bicubic(np.array([[0, 0, 4, 4]], np.float32), 7)[0].tolist()
        [0.0, -0.375, 0.0, 2.0, 4.0, 4.375, 4.0]
    """
    across = _weighted_rows(heatmap.T, size, cubic_taps).T  # (h, size)
    return _weighted_rows(across, size, cubic_taps)


@lru_cache(maxsize=64)
def linear_taps(cells: int, size: int) -> Taps:
    """Two cells a pixel, the outer cells on the outer pixels.

    Args:
        cells: along the axis.
        size: pixels along the axis, at least 2.
    """
    lower, beyond = _corner_positions(cells, size)
    places = np.stack([np.minimum(lower + 1, cells - 1), lower])
    return _read_only(places, np.stack([beyond, np.float32(1) - beyond]))


@lru_cache(maxsize=64)
def cubic_taps(cells: int, size: int) -> Taps:
    """Four cells a pixel, the outer cells on the outer pixels and repeated beyond them.

    Args:
        cells: along the axis.
        size: pixels along the axis, at least 2.
    """
    lower, beyond = _corner_positions(cells, size)
    before = np.float32(1) - beyond
    # The cell before the pixel comes first: torch rounds its product, the other three are fused.
    places = np.clip(lower + np.array([[0], [-1], [1], [2]]), 0, cells - 1)
    weights = [
        _near_weight(beyond),
        _far_weight(beyond + np.float32(1)),
        _near_weight(before),
        _far_weight(before + np.float32(1)),
    ]
    return _read_only(places, np.stack(weights))


def _corner_positions(cells: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Cell at or before each pixel and how far beyond it the pixel lies, ``(size,)`` each."""
    step = np.float32(cells - 1) / np.float32(size - 1)
    position = step * np.arange(size, dtype=np.float32)
    lower = np.minimum(position.astype(np.intp), cells - 1)
    return lower, np.clip(position - lower.astype(np.float32), 0, 1)


def _read_only(cells: NDArray[np.intp], weights: NDArray[np.float32]) -> Taps:
    cells.setflags(write=False)
    weights.setflags(write=False)
    return Taps(cells, weights)


# Keys' cubic convolution with A = -0.75, UpSample.h of torch 2.13. Where its build fuses a product
# and a sum and where it does not was found by trying all combinations on the weights it gives.


def _near_weight(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weight of a cell at most one cell away: ``((A + 2) d - (A + 3)) d**2 + 1``."""
    slope = _fused(np.float32(1.25), distance, np.float32(-2.25))
    return slope * distance * distance + np.float32(1)


def _far_weight(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weight of a cell one to two cells away: ``((A d - 5 A) d + 8 A) d - 4 A``."""
    slope = _fused(np.float32(-0.75), distance, np.float32(3.75))
    return _fused(slope, distance, np.float32(-6)) * distance + np.float32(3)


def _fused(
    factor: NDArray[np.float32] | np.float32, other: NDArray[np.float32], term: np.float32
) -> NDArray[np.float32]:
    """``factor * other + term`` rounded once: in float64 the product of two float32 is exact."""
    product: NDArray[np.float64] = np.multiply(factor, other, dtype=np.float64)
    return (product + term).astype(np.float32)


def _weighted_rows(
    cells: NDArray[np.float32], size: int, taps_of: Callable[[int, int], Taps]
) -> NDArray[np.float32]:
    """Rows of ``(n, w)`` cells summed to ``(size, w)``."""
    taps = taps_of(len(cells), size)
    weights = _spread_weights(taps_of, *cells.shape, size)
    result: NDArray[np.float32] = cells.take(taps.cells[0], axis=0)
    result *= weights[0]
    total = np.empty(result.shape)
    for own_cells, own_weights in zip(taps.cells[1:], weights[1:], strict=True):
        np.copyto(total, result)
        # Adds products of two float32, which float64 holds exactly: the one rounding comes next.
        cv2.accumulateProduct(cells.take(own_cells, axis=0), own_weights, total)
        np.copyto(result, total, casting="unsafe")
    return result


@lru_cache(maxsize=16)
def _spread_weights(
    taps_of: Callable[[int, int], Taps], cells: int, width: int, size: int
) -> NDArray[np.float32]:
    """Weights as ``(K, size, width)``: OpenCV does not broadcast, and repeating costs a third."""
    weights = np.repeat(taps_of(cells, size).weights[:, :, None], width, axis=2)
    weights.setflags(write=False)
    return weights
