"""Scores of parts of a test list: by class, and by the size of what is marked."""

from collections.abc import Iterable, Mapping, Sequence
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
    part_of = parts_of(truth, protocol, by)
    parts = [part_of.get(sample_id) for sample_id in scores.ids]
    columns = {key: scores.column(key) for key in scores.metrics if key not in SET_STATISTICS}
    groups = []
    for name in part_names(part for part in parts if part is not None):
        members = np.array([part == name for part in parts])
        ids = np.array(scores.ids)[members].tolist()
        groups.append(
            group_of(name, ids, {key: column[members] for key, column in columns.items()}, seed)
        )
    return groups


def parts_of(truth: Sequence[Truth], protocol: Protocol, by: str) -> dict[str, str | None]:
    """The part that each sample belongs to, by its id; see :func:`breakdown` for those in none.

    Args:
        truth: the whole list.
        protocol: whose marked pixels are counted.
        by: ``category`` or ``size``.

    Raises:
        BenchError: there is no such kind of part.
    """
    if by not in KINDS:
        raise BenchError(f"--by must be one of {', '.join(KINDS)}, got {by!r}")
    return {
        sample.id: sample.category if by == "category" else size_bucket(sample, protocol)
        for sample in truth
        if (sample.on_screen if by == "category" else sample.has_place)
    }


def part_names(names: Iterable[str]) -> list[str]:
    """Each name once: sizes from small to huge, classes sorted.

    >>> part_names(["large", "small", "large"]), part_names(["violin", "dog"])
    (['small', 'large'], ['dog', 'violin'])
    """
    found = set(names)
    return [name for name in SIZES if name in found] if found <= SIZES.keys() else sorted(found)


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


def group_of(
    name: str, ids: Sequence[str], columns: Mapping[str, NDArray[np.float64]], seed: int
) -> Group:
    """Means and intervals of one part, the same for any order of its samples.

    Args:
        name: of the part.
        ids: its N scored samples.
        columns: ``(N,)`` float64 per metric; NaN where one leaves a sample out.
        seed: of the bootstrap.

    Returns:
        The metrics that at least one of the samples has.
    """
    by_id = np.argsort(np.array(ids))
    known = {key: column[by_id] for key, column in columns.items() if not np.isnan(column).all()}
    if not known:
        return Group(name, len(ids), {}, {})
    bounds = bootstrap_ci(np.stack(list(known.values()), axis=1), seed).tolist()
    return Group(
        name=name,
        n=len(ids),
        metrics={key: float(np.nanmean(column)) for key, column in known.items()},
        ci95={key: (low, high) for key, (low, high) in zip(known, bounds, strict=True)},
    )
