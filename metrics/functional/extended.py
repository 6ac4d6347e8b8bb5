"""Detection scores of the extended test sets, which hold sounds that are not of their frame.

SLAVC's own measures and their standard definitions differ by far on the same maps, hence the two
names for each. A sample is detected where its confidence reaches a threshold; it is a true positive
where it is on screen and hit, else a false one. SLAVC means
https://github.com/stoneMo/SLAVC at 05b429c.

``counts`` is ``(R, n)`` float64 or integers: how often each of n samples was drawn in each of R
resamples, every row summing to n. A row of ones gives the plain value. Temporary arrays take about
four times the memory of ``counts``, so whoever calls these functions chooses R.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.functional.onscreen import drawn_per_level


def slavc_ap(
    confidence: NDArray[np.floating],
    is_on_screen: NDArray[np.bool_],
    is_hit: NDArray[np.bool_],
    counts: NDArray[np.number],
) -> NDArray[np.float64]:
    """Average precision as SLAVC computes it, per resample, to the last bit.

    ``utils.py:103-337``. Thresholds are every ``max(1, n // 200)``-th confidence, from the second
    highest down. ``P = TP / (TP + FP)`` and ``R = TP / (TP + FN)``, with FN the on-screen samples
    below the threshold: one that is detected in the wrong place is missing from the recall, which
    therefore rises towards 1 wherever anything is hit. The area is the sum of
    ``max(P[i:]) * (R[i+1] - R[i])``, without the part up to the first recall, so that a perfect
    method stays below 1.

    Args:
        confidence: ``(n,)`` without NaN, higher = on screen.
        is_on_screen: ``(n,)`` bool.
        is_hit: ``(n,)`` bool, consensus IoU of at least 0.5; not read where off screen.
        counts: ``(R, n)`` draws of each sample.

    Returns:
        ``(R,)`` float64 in [0, 1); 0 where nothing is on screen or n < 3, NaN where n is 0.

    Raises:
        ValueError: lengths differ, or a row of counts does not sum to n.

    Examples:
        >>> all_on = np.ones(4, np.bool_)
        >>> slavc_ap(np.array([0.4, 0.3, 0.2, 0.1]), all_on, all_on, np.ones((1, 4)))
        array([0.5])
    """
    n = counts.shape[1]
    ranks = np.arange(n)[:-1][:: -max(1, n // 200)]
    precision, recall = _slavc_curve(_drawn(confidence, is_on_screen, is_hit, counts), ranks, n)
    if len(ranks) < 2:
        return np.full(len(counts), 0.0 if n else np.nan)
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    areas = highest[:, :-1] * np.diff(recall, axis=1)
    return np.asarray(np.cumsum(areas, axis=1)[:, -1])  # one by one, as a loop rounds


def slavc_max_f1(
    confidence: NDArray[np.floating],
    is_on_screen: NDArray[np.bool_],
    is_hit: NDArray[np.bool_],
    counts: NDArray[np.number],
) -> NDArray[np.float64]:
    """Highest F1 of the ten or so that SLAVC prints, per resample, to the last bit.

    ``utils.py:103-337``: ``2RP / (R + P)``, 0 where 0/0, at every ``max(1, n // 10)``-th confidence
    from the lowest up, with precision and recall as in :func:`slavc_ap`. SLAVC prints the list in
    percent with one decimal and leaves the maximum to the reader; here nothing is rounded.

    Args:
        confidence: ``(n,)`` without NaN, higher = on screen.
        is_on_screen: ``(n,)`` bool.
        is_hit: ``(n,)`` bool, consensus IoU of at least 0.5; not read where off screen.
        counts: ``(R, n)`` draws of each sample.

    Returns:
        ``(R,)`` float64 in [0, 1]; 0 where nothing is on screen, NaN where n is 0.

    Raises:
        ValueError: lengths differ, or a row of counts does not sum to n.

    Examples:
        >>> all_on, is_hit = np.ones(2, np.bool_), np.array([True, False])
        >>> slavc_max_f1(np.array([0.9, 0.1]), all_on, is_hit, np.ones((1, 2))).round(3)
        array([0.667])
    """
    n = counts.shape[1]
    if n == 0:
        return np.full(len(counts), np.nan)
    ranks = np.arange(n)[:: max(1, n // 10)]
    precision, recall = _slavc_curve(_drawn(confidence, is_on_screen, is_hit, counts), ranks, n)
    total = recall + precision
    f1 = 2 * recall * precision / np.where(total > 0, total, 1)  # (R, K)
    return np.asarray(f1.max(axis=1))


def average_precision(
    confidence: NDArray[np.floating],
    is_on_screen: NDArray[np.bool_],
    is_hit: NDArray[np.bool_],
    counts: NDArray[np.number],
) -> NDArray[np.float64]:
    """Average precision by its standard definition, per resample.

    Sum over distinct confidences of precision times the recall gained there, with
    ``R = TP / (samples on screen)``: an on-screen sample in the wrong place is a false detection
    and stays missed.

    Args:
        confidence: ``(n,)`` without NaN, higher = on screen.
        is_on_screen: ``(n,)`` bool.
        is_hit: ``(n,)`` bool, consensus IoU of at least 0.5; not read where off screen.
        counts: ``(R, n)`` draws of each sample.

    Returns:
        ``(R,)`` float64 in [0, 1]; NaN where nothing is on screen.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> all_on, is_hit = np.ones(2, np.bool_), np.array([True, False])
        >>> average_precision(np.array([0.9, 0.1]), all_on, is_hit, np.ones((1, 2)))
        array([0.5])
    """
    drawn = _drawn(confidence, is_on_screen, is_hit, counts)
    precision = _from_here_up(drawn.hits) / np.maximum(_from_here_up(drawn.samples), 1)
    with np.errstate(invalid="ignore"):
        return np.asarray((drawn.hits * precision).sum(axis=1) / drawn.on_screen.sum(axis=1))


def max_f1(
    confidence: NDArray[np.floating],
    is_on_screen: NDArray[np.bool_],
    is_hit: NDArray[np.bool_],
    counts: NDArray[np.number],
) -> NDArray[np.float64]:
    """Highest F1 over all thresholds, per resample.

    With precision and recall as in :func:`average_precision`, ``2PR / (P + R)`` is
    ``2TP / (detected + on screen)``.

    Args:
        confidence: ``(n,)`` without NaN, higher = on screen.
        is_on_screen: ``(n,)`` bool.
        is_hit: ``(n,)`` bool, consensus IoU of at least 0.5; not read where off screen.
        counts: ``(R, n)`` draws of each sample.

    Returns:
        ``(R,)`` float64 in [0, 1]; NaN where nothing is on screen.

    Raises:
        ValueError: lengths differ.

    Examples:
        >>> all_on, is_hit = np.ones(2, np.bool_), np.array([True, False])
        >>> max_f1(np.array([0.9, 0.1]), all_on, is_hit, np.ones((1, 2))).round(3)
        array([0.667])
    """
    drawn = _drawn(confidence, is_on_screen, is_hit, counts)
    on_screen = drawn.on_screen.sum(axis=1)
    f1 = 2 * _from_here_up(drawn.hits) / (_from_here_up(drawn.samples) + on_screen[:, None]).clip(1)
    return np.where(on_screen > 0, f1.max(axis=1, initial=0.0), np.nan)


def top_quarter_confidence(scores: NDArray[np.floating]) -> float:
    """SLAVC's confidence of a map: mean of the highest quarter of its pixels.

    ``np.sort(s)[-n // 4:].mean()`` of ``test.py:169-186``, where ``-n // 4`` is ``(-n) // 4``: the
    quarter is rounded up where n is no multiple of 4 (224 x 224 gives 12544). The mean is taken in
    the precision of the map. SLAVC's map is calibrated, ``(s + 1/tau) / (2/tau)``, not min-max.

    Args:
        scores: ``(H, W)`` float without NaN, not empty.

    Returns:
        Mean, exactly representable in the dtype of ``scores``.

    Examples:
        >>> top_quarter_confidence(np.array([[1, 2, 3], [4, 5, 6]], np.float32))  # 2 of 6
        5.5
    """
    first = scores.size + (-scores.size // 4)
    highest = np.partition(scores, first, axis=None)[first:]
    return float(np.sort(highest).mean())  # sorted, as the order of a float32 sum counts


class _Drawn(NamedTuple):
    """Draws at each of the G distinct confidences, ascending, ``(R, G)`` float64 each."""

    samples: NDArray[np.float64]
    on_screen: NDArray[np.float64]
    hits: NDArray[np.float64]


def _drawn(
    confidence: NDArray[np.floating],
    is_on_screen: NDArray[np.bool_],
    is_hit: NDArray[np.bool_],
    counts: NDArray[np.number],
) -> _Drawn:
    chosen = (np.ones_like(is_on_screen), is_on_screen, is_on_screen & is_hit)
    return _Drawn(*(drawn_per_level(confidence, which, counts) for which in chosen))


def _from_here_up(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draws at each confidence or a higher one, ``(R, G)``."""
    return np.cumsum(drawn[:, ::-1], axis=1)[:, ::-1]


def _slavc_curve(
    drawn: _Drawn, ranks: NDArray[np.intp], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall of SLAVC, each ``(R, K)``, at thresholds that are sorted confidences.

    ``ranks`` are K positions in the ascending list of a resample's n confidences. Because each
    threshold is one of them, something is always detected and precision is never 0/0.
    """
    up_to = np.cumsum(drawn.samples, axis=1)  # (R, G)
    if n and (up_to[:, -1] != n).any():
        raise ValueError(f"rows of counts must sum to n = {n}, got sums {np.unique(up_to[:, -1])}")
    level = np.array([np.searchsorted(row, ranks, side="right") for row in up_to])  # (R, K)
    detected, reached, hits = (
        np.take_along_axis(_from_here_up(part), level, axis=1) for part in drawn
    )
    missed = drawn.on_screen.sum(axis=1)[:, None] - reached
    # SLAVC calls the recall 1 where 0/0; nothing is hit then, so that no score depends on it.
    return hits / detected, hits / np.maximum(hits + missed, 1)
