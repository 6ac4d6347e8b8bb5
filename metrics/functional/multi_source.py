"""Scores of a frame with several sources and one map for each.

Mix-and-localize names class-aware and permutation-invariant average precision but released no code,
so their definitions here are ours. DSOL is
https://github.com/DTaoo/Discriminative-Sounding-Objects-Localization at 7f40207.
"""

import numpy as np
from numpy.typing import NDArray

SILENCE_LEVEL = 0.2  # DSOL music-exp/eval.py and eval_duet.py, absolute, not a share of the maximum


def class_aware_ap(ap: NDArray[np.float64]) -> float:
    """Mean pixel average precision of each map against its own source (CAP).

    Args:
        ap: ``(S, S)`` float64, pixel AP of map m against source s at ``[m, s]``; the column of a
            source without a pixel is NaN.

    Returns:
        Fraction in [0, 1] over the sources that have a pixel; NaN where none has.

    Raises:
        ValueError: not one map per source, or a column is NaN in part.

    Examples:
        >>> round(class_aware_ap(np.array([[0.2, 0.8], [0.6, 0.4]])), 3)
        0.3
    """
    marked = _has_pixels(ap)
    return float(np.diagonal(ap)[marked].mean()) if marked.any() else float("nan")


def permutation_invariant_ap(ap: NDArray[np.float64]) -> float:
    """Mean pixel average precision under the best assignment of maps to sources (PIAP).

    Every source that has a pixel gets a map of its own; any map may be the one that is left over
    where a source has none.

    Args:
        ap: as in :func:`class_aware_ap`.

    Returns:
        Fraction in [0, 1], not below :func:`class_aware_ap`; NaN where no source has a pixel.

    Raises:
        ValueError: not one map per source, or a column is NaN in part.

    Examples:
        >>> round(permutation_invariant_ap(np.array([[0.2, 0.8], [0.6, 0.4]])), 3)
        0.7
    """
    from scipy.optimize import linear_sum_assignment  # half a second that few scores need

    marked = _has_pixels(ap)
    if not marked.any():
        return float("nan")
    candidates = ap[:, marked]
    maps, sources = linear_sum_assignment(candidates, maximize=True)
    return float(candidates[maps, sources].mean())


def non_sounding_area(maps: NDArray[np.floating], level: float = SILENCE_LEVEL) -> float:
    """Share of a frame in which the maps of silent objects stay low, as DSOL computes it.

    Mean over the silent maps of the share of pixels that are at most ``level``. As in DSOL's code
    the comparison is made in the precision of the maps, so a float32 pixel of 0.2 counts as low.

    Args:
        maps: ``(M, H, W)`` in [0, 1], one per silent object, resized but not normalised.
        level: highest value of a pixel that claims no sound.

    Returns:
        Fraction in [0, 1], higher is better; NaN where nothing is silent.

    Examples:
        >>> non_sounding_area(np.array([[[0.0, 0.2], [0.3, 1.0]]], np.float32))
        0.5
    """
    if not len(maps):
        return float("nan")
    is_low = maps <= maps.dtype.type(level)
    return float(is_low.mean(axis=(1, 2)).mean())


def mean_ciou(ciou: NDArray[np.float64]) -> NDArray[np.float64]:
    """Consensus IoU of a frame with several sources: the mean over those that sound.

    As in DSOL, whose success rates count frames by this mean. A 0/0 of one source makes the frame
    NaN, hence a miss, as it does there.

    Args:
        ciou: ``(S, K)`` float64, a row per sounding source and a column per threshold.

    Returns:
        ``(K,)`` float64; NaN where a source is 0/0 or nothing sounds.

    Examples:
        >>> mean_ciou(np.array([[0.2, 0.5], [0.6, np.nan]]))
        array([0.4, nan])
    """
    return ciou.mean(axis=0) if len(ciou) else np.full(ciou.shape[1:], np.nan)


def _has_pixels(ap: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which sources have a pixel, ``(S,)``."""
    if ap.ndim != 2 or ap.shape[0] != ap.shape[1]:
        raise ValueError(f"ap must be (S, S), one map per source, got {ap.shape}")
    undefined = np.isnan(ap)
    if (undefined.any(axis=0) != undefined.all(axis=0)).any():
        raise ValueError(f"a source has a pixel or not for all maps alike, got {ap.tolist()}")
    return np.asarray(~undefined.any(axis=0))
