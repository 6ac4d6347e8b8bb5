"""The two bilinear interpolations of the field; they differ in where a cell's centre lies."""

import cv2
import numpy as np
from numpy.typing import NDArray


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

    ``F.interpolate(mode="bilinear", align_corners=True)`` of torch: weights in float32 and each sum
    of two products rounded once, as its fused multiply-add does. In numpy, because torch splits a
    single map over threads, which costs more than the map.

    Args:
        heatmap: ``(h, w)`` float32.
        size: pixels per side of the result, at least 2.

    Returns:
        ``(size, size)`` float32.

    Examples:
        >>> align_corners_bilinear(np.array([[0, 3]], np.float32), 4)[0].tolist()
        [0.0, 1.0, 2.0, 3.0]
    """
    across = _between_cells(heatmap.T, size).T  # (h, size)
    return _between_cells(across, size)


def _between_cells(cells: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Rows of ``(h, w)`` cells interpolated to ``(size, w)``, first and last row kept."""
    step = np.float32(len(cells) - 1) / np.float32(size - 1)
    position = step * np.arange(size, dtype=np.float32)
    lower = position.astype(np.intp)
    upper = np.minimum(lower + 1, len(cells) - 1)
    weight = (position - lower.astype(np.float32))[:, None]  # (size, 1)
    from_upper = (weight * cells[upper]).astype(np.float64)
    return (cells[lower].astype(np.float64) * (np.float32(1) - weight) + from_upper).astype(
        np.float32
    )
