"""Boxes that a method answers beside its map, scored and set beside boxes that hear nothing.

They stand in a record as the board ``boxes``: the rules of ``bench-v1`` with the best boxes as the
prediction, which no threshold cuts.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.evaluator import Answers
from benchmark.records import BOXES, Interval, ProtocolFigures, figures_of, with_swapped
from metrics.bootstrap import bootstrap_ci
from metrics.box_bounds import BOX_FLOORS, best_box_scores, box_floor_scores
from metrics.predictions import Predictions
from metrics.scoring import Scores, score
from metrics.truth import Truth

ONSCREEN = "onscreen_own_rule"


class BoxScores(NamedTuple):
    """Scores of the best boxes with own and with other sounds, and of boxes that hear nothing."""

    own: Scores
    swapped: Scores
    floors: Mapping[str, Scores]
    best: Scores | None = None  # of the best proposal; None for answers of two boxes


def box_scores(
    own: Answers,
    other: Answers,
    test_ids: Sequence[str],
    truth: Sequence[Truth],
    protocol: str,
    num_boxes: int,
) -> BoxScores | None:
    """Scores of the boxes of a run; None where there is none, or no place to find.

    Args:
        own: answers with the own sounds.
        other: answers with swapped sounds.
        test_ids: ids of the test split.
        truth: of the test split.
        protocol: name of the rules.
        num_boxes: how many of the best boxes are the answer.
    """
    places = any(sample.has_place for sample in truth)
    if not num_boxes or own.boxes is None or other.boxes is None or not places:
        return None
    with_own = _scored(own, test_ids, truth, protocol, num_boxes)
    with_other = _scored(other, test_ids, truth, protocol, num_boxes, with_own.onscreen_thresholds)
    if own.proposals is None:
        return BoxScores(with_own, with_other, {})
    rows = zip(own.rows.tolist(), own.proposals, strict=True)
    proposals = {test_ids[row]: boxes for row, boxes in rows}
    floors = {
        name: box_floor_scores(name, proposals, truth, protocol, num_boxes=num_boxes)
        for name in BOX_FLOORS
    }
    best = best_box_scores(proposals, truth, protocol) if num_boxes == 1 else None
    return BoxScores(with_own, with_other, floors, best)


def _scored(
    answers: Answers,
    test_ids: Sequence[str],
    truth: Sequence[Truth],
    protocol: str,
    num: int,
    onscreen_thresholds: Sequence[float] | None = None,
) -> Scores:
    predictions = Predictions(
        [test_ids[row] for row in answers.rows],
        confidence=answers.confidence,
        boxes=answers.boxes,
        use_boxes=True,
        num_boxes=num,
    )
    return score(predictions, truth, protocol, onscreen_thresholds=onscreen_thresholds)


def box_figures(found: BoxScores, keys: Sequence[str]) -> ProtocolFigures:
    """The board of a record, with the given metrics of swapped sounds beside the own ones."""
    figures = with_swapped(found.own, found.swapped, keys)
    return ProtocolFigures(
        metrics=figures.metrics,
        ci95=figures.ci95,
        floors={name: figures_of(one) for name, one in found.floors.items()},
        ceiling={} if found.best is None else dict(found.best.metrics),
    )


def box_columns(found: BoxScores, ids: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Columns of the scores of each sample, in the order of the ids; NaN where there is none.

    Those of the boxes begin with ``boxes_``, with other sounds with ``boxes_swap_``.
    """
    columns = {}
    for prefix, scores in ((f"{BOXES}_", found.own), (f"{BOXES}_swap_", found.swapped)):
        row_of = {sample_id: row for row, sample_id in enumerate(scores.ids)}
        rows = [row_of.get(sample_id, len(row_of)) for sample_id in ids]
        for name, column in scores.values.items():
            if name not in ("threshold", "confidence"):
                columns[prefix + name] = np.append(column, np.nan)[rows]
    return columns


def overlapping_pairs(boxes: NDArray[np.float32]) -> int:
    """In how many clips both boxes of ``(N, 2, 4)`` overlap, NaN being none."""
    best, second = boxes[:, 0], boxes[:, 1]
    sides = np.minimum(best[:, 2:], second[:, 2:]) - np.maximum(best[:, :2], second[:, :2])
    return int((sides > 0).all(1).sum())


def own_rule_correct(
    own: Answers, other: Answers, truth: Sequence[Truth], test_ids: Sequence[str]
) -> dict[str, float]:
    """How often a method's own rule tells sounds of the frame from others, by test id.

    Where the test list has sounds that are not of the frame, each clip is answered once, 0 or 1.
    Where it has none, each clip is answered twice: its own sound, and that of another clip, which
    counts as off screen; so both halves are equally large. A clip whose scored segment is
    background is left out then, and so is a list that knows of silent objects, for the sound of
    another clip may be theirs.

    Returns:
        A share for each clip that counts; nothing where the method has no rule.
    """
    if own.on_screen is None or other.on_screen is None:
        return {}
    by_id = {sample.id: sample for sample in truth}
    told = zip(own.rows.tolist(), own.on_screen > 0, other.on_screen > 0, strict=True)
    answers = [(by_id[test_ids[row]], own_told, other_told) for row, own_told, other_told in told]
    if not all(sample.on_screen for sample in truth):
        return {sample.id: float(own_told == sample.on_screen) for sample, own_told, _ in answers}
    if any(sample.objects is not None for sample in truth):
        return {}
    return {
        sample.id: (float(own_told) + float(not other_told)) / 2
        for sample, own_told, other_told in answers
        if not _is_background(sample)
    }


def _is_background(sample: Truth) -> bool:
    """Whether the segment that is scored is background."""
    if sample.segments is None:
        return False
    return bool(sample.segments[len(sample.segments) // 2] == sample.background)


def mean_with_interval(values: Iterable[float]) -> tuple[float, Interval]:
    """Mean of at least one value, and its 95 % interval by bootstrap."""
    column = np.array(list(values))
    ((low, high),) = bootstrap_ci(column[:, None], 0)
    return float(column.mean()), (float(low), float(high))
