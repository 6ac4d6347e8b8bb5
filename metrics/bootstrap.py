"""Intervals by resampling samples, alone and in pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BenchError

if TYPE_CHECKING:
    from metrics.scoring import Scores

RESAMPLES = 2000
_CELLS_AT_ONCE = 2**18  # 2 MiB of indices, which a core's own cache holds


def bootstrap_ci(
    columns: NDArray[np.float64], seed: int, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """95 % percentile intervals of the means of columns, all from the same resamples.

    Args:
        columns: ``(n, k)`` or ``(n,)`` float64, a row per sample; NaN is left out of its column's
            mean.
        seed: of the resampling; the intervals are a function of it and of the rows in their order.
        resamples: how many.

    Returns:
        ``(k, 2)`` float64, low and high; k is 1 for ``(n,)``.

    Raises:
        ValueError: there is no row.

    Examples:
        >>> bootstrap_ci(np.ones(10), seed=0).tolist()
        [[1.0, 1.0]]
    """
    means = bootstrap_means(columns, seed, resamples)
    low, high = np.nanpercentile(means, [2.5, 97.5], axis=0)
    return np.stack([low, high], axis=1)


def bootstrap_means(
    columns: NDArray[np.float64], seed: int, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Means of columns over resampled rows, all columns from the same resamples.

    Args:
        columns: ``(n, k)`` or ``(n,)`` float64, a row per sample; NaN is left out of its column's
            mean.
        seed: of the resampling; the means are a function of it and of the rows in their order.
        resamples: how many.

    Returns:
        ``(resamples, k)`` float64; NaN where a resample drew no row that the column is defined for.

    Raises:
        ValueError: there is no row.

    Examples:
        >>> bootstrap_means(np.ones(10), seed=0, resamples=2).tolist()
        [[1.0], [1.0]]
    """
    if len(columns) == 0:
        raise ValueError(f"expected at least one row to resample, got shape {columns.shape}")
    columns = columns.reshape(len(columns), -1)
    defined = (~np.isnan(columns)).astype(np.float64)
    filled = np.nan_to_num(columns)
    rng = np.random.default_rng(seed)
    means = []
    for counts in _resample_counts(rng, len(columns), resamples):
        with np.errstate(invalid="ignore"):
            means.append(counts @ filled / (counts @ defined))
    return np.concatenate(means)


def _resample_counts(
    rng: np.random.Generator, n: int, resamples: int
) -> Iterator[NDArray[np.float64]]:
    """How often each of n rows was drawn, ``(chunk, n)`` float64 at a time."""
    chunk = max(1, _CELLS_AT_ONCE // n)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = rng.integers(n, size=(size, n)) + np.arange(size)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def statistic_intervals(
    statistics: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]],
    n: int,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of statistics that are no means over rows.

    Args:
        statistics: each takes ``(R, n)`` float64, how often every row is drawn in R resamples, and
            gives ``(R,)``; NaN where it is not defined on a resample.
        n: number of rows.
        seed: of the resampling, which is that of :func:`bootstrap_ci`.
        resamples: how many.

    Returns:
        Low and high per key; nothing for a statistic that no resample defines.
    """
    if not statistics:
        return {}
    drawn: dict[str, list[NDArray[np.float64]]] = {key: [] for key in statistics}
    for counts in _resample_counts(np.random.default_rng(seed), n, resamples):
        for key, statistic in statistics.items():
            drawn[key].append(statistic(counts))
    values = {key: np.concatenate(parts) for key, parts in drawn.items()}
    intervals = {}
    for key, found in values.items():
        if not np.isnan(found).all():
            low, high = np.nanpercentile(found, [2.5, 97.5])
            intervals[key] = (float(low), float(high))
    return intervals


@dataclass(frozen=True)
class Difference:
    """Mean of a paired difference with its 95 % interval; a claim holds where 0 is outside."""

    n: int
    mean: float
    low: float
    high: float


def paired_difference(a: Scores, b: Scores, key: str, seed: int = 0) -> Difference:
    """Mean of ``a - b`` over the samples that both scored.

    Args:
        a: scores of one set of maps.
        b: scores of another under the same protocol.
        key: a metric of both, for instance ``ciou@0.5``.
        seed: of the bootstrap.

    Returns:
        Number of common samples, mean difference and its interval. Samples that the metric leaves
        out (no positive pixel) are left out here too.

    Raises:
        BenchError: protocols differ, a metric is absent, or no sample is common.
    """
    if a.protocol != b.protocol:
        raise BenchError(f"cannot compare protocol {a.protocol} with {b.protocol}; choose one")
    of_a = dict(zip(a.ids, a.column(key), strict=True))
    of_b = dict(zip(b.ids, b.column(key), strict=True))
    common = sorted(of_a.keys() & of_b.keys())
    gaps = np.array([of_a[sample_id] - of_b[sample_id] for sample_id in common])
    gaps = gaps[~np.isnan(gaps)]
    if not len(gaps):
        raise BenchError(f"the two runs share no sample that {key} is defined for")
    ((low, high),) = bootstrap_ci(gaps, seed)
    return Difference(len(gaps), float(gaps.mean()), float(low), float(high))
