"""Boxes as a map of cells, which supervised losses compare with a response map."""

import numpy as np
from numpy.typing import NDArray


def box_map(boxes: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """Which cells of a grid have their centre in a box.

    A box reaches from its first edge up to, but not including, its last. One that covers no centre
    marks the cell that is nearest to its own middle. A box with NaN is absent, and one without
    extent inside the frame marks nothing.

    Args:
        boxes: ``(K, 4)`` xyxy in fractions of the frame; K may be 0.
        size: cells g per side.

    Returns:
        ``(g, g)`` float32 of 0 and 1; row 0 is the top.

    >>> box_map(np.array([[0.5, 0.0, 1.0, 0.6], [0.01, 0.9, 0.02, 1.0]]), 4).astype(int).tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]]
    """
    clipped = boxes.astype(np.float64).clip(0, 1)
    present = clipped[(clipped[:, 2:] - clipped[:, :2]).min(axis=1) > 0]
    first, last = present[:, :2, None], present[:, 2:, None]
    centres = (np.arange(size) + 0.5) / size
    inside = (first <= centres) & (centres < last)  # (K, 2, g)
    cells = inside[:, 1, :, None] & inside[:, 0, None, :]  # (K, g, g)
    missed = np.flatnonzero(~cells.any(axis=(1, 2)))
    column, row = ((present[missed, :2] + present[missed, 2:]) / 2 * size).astype(int).T
    cells[missed, row, column] = True
    marked: NDArray[np.float32] = cells.any(axis=0).astype(np.float32)
    return marked
