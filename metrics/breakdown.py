"""Scores of parts of a test list: by class, and by the size of what is marked."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.bootstrap import bootstrap_ci
from metrics.errors import BenchError
from metrics.measurement import truth_map
from metrics.protocols import Protocol
from metrics.scoring import SET_STATISTICS, Scores
from metrics.truth import Truth

SIZES = {"small": 32**2, "medium": 96**2, "large": 144**2, "huge": float("inf")}
"""Upper bounds, exclusive, of the marked area in pixels of 224 x 224, a half-marked pixel counting
half: SLAVC utils.py:103-337, stoneMo/SLAVC at 05b429c."""
KINDS = ("category", "size")


class Group(NamedTuple):
    """One part of a test list; ``metrics`` and ``ci95`` as in ``Scores``."""

    name: str
    n: int
    metrics: Mapping[str, float]
    ci95: Mapping[str, tuple[float, float]]


def breakdown(
    scores: Scores, truth: Sequence[Truth], protocol: Protocol, by: str, seed: int = 0
) -> list[Group]:
    """Scores of each part on its own, under the thresholds of the whole.

    Negatives and samples without a class, or without a place where the parts are sizes, belong to
    no part.

    Args:
        scores: of the whole list.
        truth: the whole list.
        protocol: the one that scored.
        by: ``category``, sorted by name, or ``size``, from small to huge.
        seed: of the bootstrap.

    Returns:
        The parts that have a scored sample.

    Raises:
        BenchError: there is no such kind of part.
    """
    if by not in KINDS:
        raise BenchError(f"--by must be one of {', '.join(KINDS)}, got {by!r}")
    part_of = {
        sample.id: sample.category if by == "category" else size_bucket(sample, protocol)
        for sample in truth
        if (sample.on_screen if by == "category" else sample.has_place)
    }
    parts = [part_of.get(sample_id) for sample_id in scores.ids]
    names = sorted({part for part in parts if part is not None})
    if by == "size":
        names = [name for name in SIZES if name in names]
    return [
        _group(scores, name, np.array([part == name for part in parts]), seed) for name in names
    ]


def size_bucket(truth: Truth, protocol: Protocol) -> str:
    """Size of what is marked: small, medium, large or huge.

    Examples:
        >>> from metrics.protocols import protocol_named
        >>> quarter = Truth("x", (np.array([[0.0, 0.0, 0.5, 0.5]]),))
        >>> size_bucket(quarter, protocol_named("slavc"))  # 112 * 112 pixels
        'large'
    """
    area = float(truth_map(truth, protocol).sum(dtype=np.float64))
    return next(name for name, bound in SIZES.items() if area < bound)


def _group(scores: Scores, name: str, members: NDArray[np.bool_], seed: int) -> Group:
    by_id = np.argsort(np.array(scores.ids)[members])
    columns = {
        key: scores.column(key)[members][by_id]
        for key in scores.metrics
        if key not in SET_STATISTICS
    }
    columns = {key: column for key, column in columns.items() if not np.isnan(column).all()}
    bounds = bootstrap_ci(np.stack(list(columns.values()), axis=1), seed).tolist()
    return Group(
        name=name,
        n=int(members.sum()),
        metrics={key: float(np.nanmean(column)) for key, column in columns.items()},
        ci95={key: (low, high) for key, (low, high) in zip(columns, bounds, strict=True)},
    )
