"""Predictions that cannot hear: what a score must beat before it means anything.

They are functions of (ids, truth, protocol) alone, so they never need a model or a frame.
"""

import hashlib
import os
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BenchError
from metrics.functional.rasterise import box_union
from metrics.measurement import (
    ScoredMap,
    figure_place,
    grid_truth,
    mask_as_map,
    measured_maps,
    num_annotators,
    row_width,
    scored_map,
    truth_map,
)
from metrics.protocols import FOLDS, Protocol, resolved
from metrics.scoring import LOWER_IS_BETTER, Scores, fold_of, summarise, truth_rows
from metrics.truth import Truth

FLOORS: Mapping[str, str] = MappingProxyType(
    {
        "full": "Mask of all pixels, whatever the rule of the protocol.",
        "center": "Minus the distance to the centre, cut by the rule of the protocol.",
        "mean_box": "Mean truth of the other four folds, cut by the rule of the protocol.",
        "random": "Uniform 14x14 noise, cut by the rule; mean and spread over seeded draws.",
        "all_objects": "Mask of the boxes of all objects, sounding or silent.",
    }
)
SEGMENT_FLOORS: Mapping[str, str] = MappingProxyType(
    {
        "background": "Background in every segment.",
        "clip_label": "The clip's own event in every segment, which no method is told.",
    }
)
"""Floors of the classes of segments, for their accuracy alone."""
NOISE_CELLS = 14
NOISE_RANGE = (0.0, 1.0)
MOST_THREADS = 4  # numpy sorts without the interpreter lock, but the rest of a sample holds it


def available_floors(truth: Sequence[Truth]) -> tuple[str, ...]:
    """Names of the floors that this test list allows.

    Args:
        truth: the whole test list.

    Returns:
        All of ``FLOORS``, without ``all_objects`` unless every sample knows its objects, and none
        of them where no sample has a place to find, as on AVE; then ``SEGMENT_FLOORS`` where every
        sample knows the classes of its segments and which of them is background.
    """
    if not truth:
        return tuple(name for name in FLOORS if name != "all_objects")
    names: tuple[str, ...] = ()
    if not all(sample.has_only_segments for sample in truth):
        knows_objects = all(sample.objects is not None for sample in truth)
        names = tuple(name for name in FLOORS if name != "all_objects" or knows_objects)
    if all(sample.segments is not None and sample.background is not None for sample in truth):
        names += tuple(SEGMENT_FLOORS)
    return names


def floor_scores(
    name: str,
    truth: Sequence[Truth],
    protocol: Protocol | str,
    *,
    seed: int = 0,
    draws: int = 100,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """Scores of one floor on a test list.

    Args:
        name: one of :func:`available_floors`.
        truth: the samples to be scored.
        protocol: rules or their name.
        seed: of the noise and of the bootstrap.
        draws: maps per sample of ``random``; its per-sample values are means over them.
        progress: called with the number of samples measured so far.

    Returns:
        Scores; masks have no ``threshold`` column, ``spread`` is filled for ``random`` alone, and
        ``random`` has a ``pixel_ap`` under ``bench-v1`` only: it costs three times the rest. Those
        of ``SEGMENT_FLOORS`` have ``segment_acc`` and nothing else.

    Raises:
        BenchError: no such floor, objects unknown, unknown protocol, or an id twice.
    """
    if name not in available_floors(truth):
        have = ", ".join(available_floors(truth)) or "none, for no sample has a place to find"
        raise BenchError(f"no floor {name!r} on this test list; there are: {have}")
    protocol = resolved(protocol)
    truth_rows(truth)
    if name in SEGMENT_FLOORS:
        return _segment_scores(name, truth, protocol, seed)
    measured = []
    for rows in _measured(name, truth, protocol, seed=seed, draws=draws):
        measured.append(rows)
        if progress is not None:
            progress(len(measured))
    width = row_width(protocol, num_annotators(truth))
    table = np.stack(measured, axis=1) if measured else np.empty((1, 0, width))
    return summarise(range(len(truth)), table, truth, protocol, seed=seed)


def _segment_scores(name: str, truth: Sequence[Truth], protocol: Protocol, seed: int) -> Scores:
    table = np.full((len(truth), row_width(protocol)), np.nan)
    for row, sample in enumerate(truth):
        assert sample.segments is not None, "available_floors asked for them"
        assert sample.background is not None, "as for this"
        events = sample.segments[sample.segments != sample.background]
        answer = sample.background if name == "background" or not len(events) else events[0]
        table[row, figure_place("segment_acc")] = np.mean(sample.segments == answer)
    known = [sample.with_segments_only() for sample in truth]
    return summarise(range(len(truth)), table, known, protocol, seed=seed)


class HasMetrics(typing.Protocol):
    """Anything with metrics by their keys, such as scores or what a record holds of them."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Fractions by key."""


def best_floor(floors: Mapping[str, HasMetrics], key: str) -> str | None:
    """Name of the floor with the best value of a metric; the first of equal ones."""
    have = [name for name in floors if key in floors[name].metrics]
    best = min if key in LOWER_IS_BETTER else max
    return best(have, key=lambda name: floors[name].metrics[key], default=None)


def best_floor_value(floors: Mapping[str, HasMetrics], key: str) -> float | None:
    """The best value of a metric among floors; None where none has it."""
    name = best_floor(floors, key)
    return None if name is None else floors[name].metrics[key]


def _measured(
    name: str, truth: Sequence[Truth], protocol: Protocol, *, seed: int, draws: int
) -> Iterator[NDArray[np.float64]]:
    """``(D, W)`` raw results of each sample; D is 1 but for ``random``."""
    fixed = _fixed_maps(name, truth, protocol)
    annotators = num_annotators(truth)
    has_negatives = not all(sample.on_screen for sample in truth)
    ranking = name != "random" or protocol.threshold_rule == "cross_fitted"

    def measured(sample: Truth) -> NDArray[np.float64]:
        maps: Iterable[ScoredMap]
        if name == "all_objects":
            assert sample.objects is not None
            maps = [mask_as_map(box_union(sample.objects, protocol.map_size))]
        elif name == "random":
            noise = _noise(sample.id, seed, draws)
            maps = (scored_map(draw, protocol, NOISE_RANGE) for draw in noise)
        else:
            maps = [fixed[fold_of(sample.id)]]
        gt = grid_truth(sample, protocol, annotators)
        rows = np.stack(
            [
                measured_maps(one, [one] * len(gt.sources) or None, gt, protocol, ranking=ranking)
                for one in maps
            ]
        )
        if has_negatives:  # what cannot hear has nothing to tell sounds apart by
            rows[:, figure_place("confidence")] = 0.0
        return rows

    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        yield from pool.map(measured, truth)


def _fixed_maps(name: str, truth: Sequence[Truth], protocol: Protocol) -> list[ScoredMap]:
    """Map of each fold, for the floors whose maps do not depend on the sample."""
    size = protocol.map_size
    if name == "full":
        return [mask_as_map(np.ones((size, size), dtype=np.bool_))] * FOLDS
    if name == "center":
        distance = _minus_distance_to_centre(size)
        reach = (float(distance.min()), float(distance.max()))
        return [scored_map(distance, protocol, reach)] * FOLDS
    if name == "mean_box":
        means = _mean_truths(truth, protocol)
        return [scored_map(mean, protocol, NOISE_RANGE) for mean in means]
    return []


def _minus_distance_to_centre(size: int) -> NDArray[np.float32]:
    """``(size, size)`` float32 map, highest in the middle, in pixels."""
    offset = np.arange(size) - (size - 1) / 2
    return np.asarray(-np.hypot(offset[:, None], offset[None]), dtype=np.float32)


def _mean_truths(truth: Sequence[Truth], protocol: Protocol) -> list[NDArray[np.float32]]:
    """Mean truth map of the samples outside each fold; zeros where there is none."""
    totals = np.zeros((FOLDS, protocol.map_size, protocol.map_size))
    sizes = np.zeros(FOLDS)
    for sample in truth:
        if sample.has_place:
            totals[fold_of(sample.id)] += truth_map(sample, protocol)
            sizes[fold_of(sample.id)] += 1
    outside = sizes.sum() - sizes
    return [
        ((totals.sum(axis=0) - totals[fold]) / max(outside[fold], 1)).astype(np.float32)
        for fold in range(FOLDS)
    ]


def _noise(sample_id: str, seed: int, draws: int) -> NDArray[np.float32]:
    """``(draws, 14, 14)`` uniform noise, a function of seed and id."""
    rng = np.random.default_rng([seed, id_number(sample_id)])
    return rng.random((draws, NOISE_CELLS, NOISE_CELLS), dtype=np.float32)


def id_number(sample_id: str) -> int:
    """What seeds the draws of a sample."""
    return int(hashlib.sha256(sample_id.encode()).hexdigest()[:16], 16)
