"""Whether a confidence tells frames whose sound is on screen from frames whose sound is not.

Statistics of a set of samples take ``counts``, ``(R, n)`` float64 or integers: how often each of n
samples was drawn in each of R resamples, every row summing to n. A row of ones gives the plain
value. Their temporary arrays take about four times the memory of ``counts``, so whoever calls them
chooses R.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.protocols import FOLDS


class OnScreen(NamedTuple):
    """Decisions at cross-fitted thresholds.

    ``correct`` is ``(n,)`` float64, 1.0 or 0.0 per sample and NaN where no threshold could be
    fitted; ``thresholds`` is ``(num_folds,)`` float64, the one that each fold was decided by.
    """

    correct: NDArray[np.float64]
    thresholds: NDArray[np.float64]


def onscreen_auc(
    confidence: NDArray[np.floating],
    is_on_screen: NDArray[np.bool_],
    counts: NDArray[np.number],
) -> NDArray[np.float64]:
    """Area under the ROC curve of the confidence, per resample.

    Share of the pairs of an on-screen and an off-screen sample in which the first has the higher
    confidence; an equal confidence counts half (Mann-Whitney).

    Args:
        confidence: ``(n,)`` without NaN, higher = on screen.
        is_on_screen: ``(n,)`` bool.
        counts: ``(R, n)`` draws of each sample.

    Returns:
        ``(R,)`` float64 in [0, 1]; NaN where a resample lacks one of the two kinds.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> confidence, is_on_screen = np.array([0.9, 0.5, 0.5]), np.array([True, True, False])
        >>> onscreen_auc(confidence, is_on_screen, np.ones((1, 3)))
        array([0.75])
    """
    on = drawn_per_level(confidence, is_on_screen, counts)
    off = drawn_per_level(confidence, ~is_on_screen, counts)
    beaten = np.cumsum(off, axis=1) - off / 2  # (R, G)
    with np.errstate(invalid="ignore"):
        return np.asarray((on * beaten).sum(axis=1) / (on.sum(axis=1) * off.sum(axis=1)))


def best_threshold(confidence: NDArray[np.floating], is_on_screen: NDArray[np.bool_]) -> float:
    """Threshold at which ``confidence >= threshold`` is most often right.

    Args:
        confidence: ``(n,)`` without NaN, higher = on screen.
        is_on_screen: ``(n,)`` bool.

    Returns:
        One of the confidences, or infinity where it is best to call every sample off screen; the
        lower one of equally good thresholds.

    Raises:
        ValueError: there is no sample.

    Examples:
        >>> best_threshold(np.array([0.1, 0.4, 0.8]), np.array([False, True, True]))
        0.4
    """
    if not len(confidence):
        raise ValueError("expected at least one sample to fit a threshold, got none")
    levels, level = np.unique(confidence, return_inverse=True)
    # What a threshold gains by rising above a level: its off-screen samples less the others.
    gain = np.bincount(level, weights=np.where(is_on_screen, -1.0, 1.0))
    best = np.argmax(np.cumsum(np.append(0.0, gain)))
    return float(np.append(levels, np.inf)[best])


def onscreen_correct(
    confidence: NDArray[np.floating],
    is_on_screen: NDArray[np.bool_],
    folds: NDArray[np.intp],
    num_folds: int = FOLDS,
    thresholds: Sequence[float] | None = None,
) -> OnScreen:
    """Whether each sample is called right by the threshold that suits the other folds best.

    The rule is the same for few samples. The 0.5 that ``bench-v1`` falls back to belongs to maps in
    [0, 1]; a confidence has no scale, and a constant would make the accuracy depend on its unit.
    Leaving out single samples instead of folds would fit each on the other sample of its own frame,
    and calls all samples wrong where the confidences are equal and the kinds balanced. Whoever
    calls this marks the result as partial where there are few samples or a fold is empty.

    Args:
        confidence: ``(n,)`` without NaN, higher = on screen.
        is_on_screen: ``(n,)`` bool.
        folds: ``(n,)`` integers below ``num_folds``; samples of one frame share theirs.
        num_folds: how many folds there are.
        thresholds: ``num_folds`` of other confidences, to be used as they are; None fits them.

    Returns:
        Decisions and thresholds; NaN for a fold outside of which there is no sample.

    Raises:
        ValueError: there are more or fewer thresholds than folds.

    Examples:
        >>> confidence, folds = np.array([1.0, 2.0, 1.0, 2.0]), np.array([0, 0, 1, 1])
        >>> onscreen_correct(confidence, confidence > 1, folds, num_folds=2)
        OnScreen(correct=array([1., 1., 1., 1.]), thresholds=array([2., 2.]))
    """
    if thresholds is None:
        fitted = _fitted_thresholds(confidence, is_on_screen, folds, num_folds)
    else:
        fitted = np.array(thresholds, dtype=np.float64)
    if len(fitted) != num_folds:
        raise ValueError(f"expected {num_folds} thresholds of confidence, got {len(fitted)}")
    threshold = fitted[folds]  # (n,)
    correct = (confidence >= threshold) == is_on_screen
    return OnScreen(np.where(np.isnan(threshold), np.nan, correct), fitted)


def _fitted_thresholds(
    confidence: NDArray[np.floating],
    is_on_screen: NDArray[np.bool_],
    folds: NDArray[np.intp],
    num_folds: int,
) -> NDArray[np.float64]:
    thresholds = np.full(num_folds, np.nan)
    for fold in range(num_folds):
        others = folds != fold
        if others.any():
            thresholds[fold] = best_threshold(confidence[others], is_on_screen[others])
    return thresholds


def drawn_per_level(
    confidence: NDArray[np.floating], chosen: NDArray[np.bool_], counts: NDArray[np.number]
) -> NDArray[np.float64]:
    """How many of the chosen samples were drawn at each of the G distinct confidences, ascending.

    Args:
        confidence: ``(n,)`` without NaN.
        chosen: ``(n,)`` bool.
        counts: ``(R, n)`` draws of each sample.

    Returns:
        ``(R, G)`` float64 whole numbers.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> drawn_per_level(np.array([2.0, 1.0, 2.0]), np.ones(3, np.bool_), np.ones((1, 3)))
        array([[1., 2.]])
    """
    if not confidence.shape == chosen.shape == counts.shape[1:]:
        raise ValueError(
            "confidence, chosen and counts must be (n,), (n,) and (R, n), "
            f"got {confidence.shape}, {chosen.shape} and {counts.shape}"
        )
    order = np.argsort(confidence, kind="stable")
    first_of_level = np.unique(confidence[order], return_index=True)[1]
    # np.take, because counts[:, order] is ten times as slow and lays the result out by column.
    drawn = np.take(counts, order, axis=1) * chosen[order].astype(np.float64)
    if len(first_of_level) == len(order):
        return drawn
    return np.asarray(np.add.reduceat(drawn, first_of_level, axis=1))
