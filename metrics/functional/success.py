"""Shares of samples whose overlap reaches a threshold."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from metrics.protocols import AUC_GRID

_AREA_OF_REACHED = np.array(
    [0.0, *(sum(high - low for low, high in pairwise(AUC_GRID[:k])) + 0.025 for k in range(1, 21)),
     1.0]
)  # fmt: skip
"""Area under the success curve of one sample that reaches the first k thresholds."""


def success_rate(ciou: NDArray[np.float64], threshold: float) -> float:
    """Share of samples whose consensus IoU is at least ``threshold``.

    Args:
        ciou: ``(N,)`` float64 in [0, 1]; NaN (0/0) counts as a miss.
        threshold: smallest overlap that counts as a hit.

    Returns:
        Fraction in [0, 1]; NaN where there is no sample.

    Examples:
        >>> success_rate(np.array([0.5, 0.2, np.nan, 0.9]), 0.5)
        0.5
    """
    return float(np.mean(ciou >= threshold)) if len(ciou) else float("nan")


def success_curve(ciou: NDArray[np.float64]) -> NDArray[np.float64]:
    """Success rate at each of the 21 thresholds 0.05*k.

    The thresholds are products, as in LVS ``utils.py:29-33`` at 8fe8cbb, so that an exact tie falls
    to the same side (0.05*3 is 0.15000000000000002).

    Args:
        ciou: ``(N,)`` float64 in [0, 1]; NaN (0/0) counts as a miss at every threshold.

    Returns:
        ``(21,)`` float64 in [0, 1]; NaN where there is no sample.

    Examples:
        >>> success_curve(np.array([0.0, 0.5]))[[0, 1, 10, 11]]
        array([1. , 0.5, 0.5, 0. ])
    """
    return np.array([success_rate(ciou, threshold) for threshold in AUC_GRID])


def sample_auc(ciou: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area under each sample's own success curve; their mean is :func:`auc`.

    Args:
        ciou: ``(N,)`` float64 in [0, 1]; NaN (0/0) gives 0.

    Returns:
        ``(N,)`` float64 in {0} or [0.025, 1].

    Examples:
        >>> sample_auc(np.array([0.0, 1.0, np.nan])).round(3)
        array([0.025, 1.   , 0.   ])
    """
    reached = np.searchsorted(AUC_GRID, np.nan_to_num(ciou, nan=-1.0), side="right")
    return _AREA_OF_REACHED[reached]


def auc(ciou: NDArray[np.float64]) -> float:
    """Area under the success curve, by the trapezoid rule over :func:`success_curve`.

    Not an area under a ROC curve; it equals the mean consensus IoU to about 0.001 and is 0.025, not
    0, for a map that never overlaps.

    Args:
        ciou: ``(N,)`` float64 in [0, 1]; NaN (0/0) counts as a miss.

    Returns:
        Fraction in [0, 1]; NaN where there is no sample.

    Examples:
        >>> round(auc(np.array([0.0, 1.0])), 4)
        0.5125
    """
    return float(_trapezoid(success_curve(ciou)))


def _trapezoid(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integral over the grid of curves given in the last axis, ``(..., 21)`` to ``(...)``."""
    return np.asarray((curve[..., 1:] + curve[..., :-1]) / 2 @ np.diff(AUC_GRID))
