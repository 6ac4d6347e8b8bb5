"""Boxes given in pixels of a protocol's grid, as fractions of the frame."""

import numpy as np
from numpy.typing import NDArray

GRID = 224  # pixels per side, of every published protocol


def pixel_fractions(pixels: NDArray[np.float64], size: int = GRID) -> NDArray[np.float64]:
    """Coordinates in fractions of the frame that lead back to the very pixels.

    Published code truncates pixel coordinates, and so does the rasteriser after it has multiplied
    a fraction by ``size``. Division and product round, so that 61 / 224 * 224 is 60.99... and its
    pixel would be lost. Such a quotient is moved to its neighbour. One step is enough: it crosses
    the exact quotient, and rounding the product cannot cross ``pixels`` again.

    Args:
        pixels: coordinates of any shape, float64, in pixels.
        size: pixels per side of the frame.

    Returns:
        Fractions f of the same shape with ``trunc(f * size) == trunc(pixels)``, at most one float
        from ``pixels / size``.

    >>> 61 / 224 * 224, pixel_fractions(np.array([61.0])) * 224
    (60.99999999999999, array([61.]))
    """
    fractions = pixels / size
    lost = np.trunc(pixels) - np.trunc(fractions * size)  # 0, or 1 px either way
    neighbour = np.nextafter(fractions, np.where(lost > 0, np.inf, -np.inf))
    return np.where(lost == 0, fractions, neighbour)
