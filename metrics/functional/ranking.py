"""Scores of a map that need its order alone and no threshold."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_CODE = 3  # lowest two bits of a key
_COMPACT_BELOW = np.float32(2)  # bits of smaller values leave two of 32 free


def ordered_bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Whole numbers in the order of float32 values, equal where those are equal.

    Args:
        values: any shape, float32 without NaN.

    Returns:
        The same shape.

    Examples:
        >>> bits = ordered_bits(np.array([-2.0, -0.0, 0.0, 0.5], np.float32))
        >>> bool(bits[0] < bits[1] == bits[2] < bits[3])
        True
    """
    bits = (values + np.float32(0)).view(np.uint32)  # -0.0 is 0.0 but differs in its bits
    sign = np.uint32(0x80000000)
    return np.asarray(np.where(bits >= sign, ~bits, bits | sign))


class RankedPixels(NamedTuple):
    """Pixels in ascending order, each with the mask that it is in.

    Order and mask share one number, four times the bits of the value plus the code of the mask,
    because numpy sorts plain numbers several times as fast as it sorts indices. Values in [0, 2),
    as nearly all maps have, fit into 32 bits that way, which halves the time again.
    """

    keys: NDArray[np.uint32] | NDArray[np.uint64]  # (n,) ascending
    compact: bool  # 32 bits, for values in [0, 2) alone


def ranked_pixels(pixels: NDArray[np.float32], masks: Sequence[NDArray[np.bool_]]) -> RankedPixels:
    """Pixels in ascending order, each with the mask that it is in.

    Args:
        pixels: ``(n,)`` float32 without NaN.
        masks: at most three ``(n,)`` masks without a common pixel; the code of the first is 1, that
            of a pixel in none of them 0.
    """
    compact = bool(pixels.min() >= 0 and pixels.max() < _COMPACT_BELOW) if len(pixels) else True
    keys = _lowest_keys(pixels, compact=compact)
    for code, mask in enumerate(masks, start=1):
        keys |= mask.view(np.uint8) * np.uint8(code)
    keys.sort()
    return RankedPixels(keys, compact)


def _lowest_keys(
    values: NDArray[np.float32], *, compact: bool
) -> NDArray[np.uint32] | NDArray[np.uint64]:
    """Lowest key that a pixel of each value can have; a copy."""
    if compact:
        return (values + np.float32(0)).view(np.uint32) << np.uint32(2)
    return ordered_bits(values).astype(np.uint64) << np.uint64(2)


def first_places(ranked: RankedPixels, values: NDArray[np.float32]) -> NDArray[np.intp]:
    """Place of the first pixel of at least each value, ``(K,)``; n where there is none.

    Args:
        ranked: n pixels.
        values: ``(K,)`` float32 without NaN.

    Examples:
        >>> ranked = ranked_pixels(np.array([0.5, 0.25, 1.0], np.float32), [])
        >>> first_places(ranked, np.array([-1.0, 0.5, 3.0], np.float32)).tolist()
        [0, 1, 3]
    """
    if not ranked.compact:
        return np.searchsorted(ranked.keys, _lowest_keys(values, compact=False))
    inside = np.clip(values, np.float32(0), _COMPACT_BELOW - np.float32(2**-23))
    places = np.searchsorted(ranked.keys, _lowest_keys(inside, compact=True))
    return np.where(values >= _COMPACT_BELOW, len(ranked.keys), places)


def marked_places(ranked: RankedPixels, code: int) -> NDArray[np.intp]:
    """Places, ascending, of the pixels with a mask's code in :func:`ranked_pixels`."""
    return np.flatnonzero((ranked.keys & ranked.keys.dtype.type(_CODE)) == code)


def average_precision(ranked: RankedPixels) -> float:
    """Average precision of ranked pixels, a code above 0 being positive.

    Mean over the positive pixels of the precision at their value.

    Args:
        ranked: of :func:`ranked_pixels`.

    Returns:
        Fraction in [0, 1]; NaN where there is no positive pixel.
    """
    keys = ranked.keys
    code = keys.dtype.type(_CODE)
    positive = np.flatnonzero((keys & code) != 0)
    if not len(positive):
        return float("nan")
    reached = len(keys) - positive  # pixels of at least the value
    hits = np.arange(len(positive), 0, -1, dtype=np.float64)  # the positive ones of them
    of_positive = keys[positive]
    tied = np.flatnonzero((of_positive ^ keys[positive - 1]) <= code)  # wraps around for place 0
    if len(tied):  # all pixels of a value are reached in one step
        values = of_positive[tied] & ~code
        starts = np.append(True, values[1:] != values[:-1])
        first, own = np.searchsorted(keys, values[starts]), np.cumsum(starts) - 1
        reached[tied] = (len(keys) - first)[own]
        hits[tied] = (len(positive) - np.searchsorted(positive, first))[own]
    hits /= reached
    return float(np.mean(hits[::-1]))


def pixel_ap(pred: NDArray[np.float32], gt: NDArray[np.floating]) -> float:
    """Average precision of one map as a ranking of its pixels.

    Sum over distinct values of precision times the recall gained there, so tied pixels count as one
    step and their order does not matter.

    Args:
        pred: ``(H, W)`` float32 without NaN, higher = source.
        gt: ``(H, W)`` float in [0, 1]; 0.5 and more is positive, 0 negative, the rest ignored.

    Returns:
        Fraction in [0, 1]; NaN where no pixel is positive.

    Raises:
        ValueError: shapes differ.

    Examples:
        >>> pred = np.array([[4, 3, 2, 1]], np.float32)
        >>> pixel_ap(pred, np.array([[1.0, 0.0, 1.0, 0.0]]))  # (1/1 + 2/3) / 2
        0.8333333333333333
    """
    if pred.shape != gt.shape:
        raise ValueError(f"pred and gt must have one shape, got {pred.shape} and {gt.shape}")
    counted = (gt >= 0.5) | (gt == 0)
    return average_precision(ranked_pixels(pred[counted], [gt[counted] >= 0.5]))


def pointing(pred: NDArray[np.float32], gt: NDArray[np.floating]) -> float:
    """Whether the highest pixel lies on the truth; the first in row order where several are equal.

    Args:
        pred: ``(H, W)`` float32 without NaN, higher = source.
        gt: ``(H, W)`` float in [0, 1].

    Returns:
        1.0 where ``gt > 0`` at that pixel, else 0.0 (always, where the truth is empty).

    Raises:
        ValueError: shapes differ.

    Examples:
        >>> pointing(np.array([[0.1, 0.9]], np.float32), np.array([[0.0, 0.5]]))
        1.0
    """
    if pred.shape != gt.shape:
        raise ValueError(f"pred and gt must have one shape, got {pred.shape} and {gt.shape}")
    return float(gt.flat[np.argmax(pred)] > 0)
