"""Between what answers of boxes lie: boxes chosen without hearing, and the best one to choose."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BenchError
from metrics.floors import id_number
from metrics.measurement import measured_answer, num_annotators, row_width, truth_map
from metrics.predictions import Answer
from metrics.protocols import Protocol, resolved
from metrics.scoring import Scores, summarise, truth_rows
from metrics.truth import Truth

BOX_FLOORS: Mapping[str, str] = MappingProxyType(
    {
        "largest_box": "The largest of the proposals of a frame.",
        "center_box": "The proposal whose centre is nearest to that of the frame.",
        "random_box": "Any of the proposals; mean and spread over seeded draws.",
    }
)
"""What an answer of boxes must beat; they hear nothing, but see where objects may be."""
SMALLEST_UNION = 1e-12  # of a box and a truth that cover nothing


def box_floor_scores(
    name: str,
    proposals: Mapping[str, NDArray[np.floating]],
    truth: Sequence[Truth],
    protocol: Protocol | str,
    *,
    num_boxes: int = 1,
    seed: int = 0,
    draws: int = 20,
) -> Scores:
    """Scores of boxes that are chosen from proposals without hearing.

    Args:
        name: one of ``BOX_FLOORS``.
        proposals: ``(P, 4)`` xyxy in [0, 1] by id, NaN where there is none. A sample without any
            box predicts nothing.
        truth: the whole test list.
        protocol: rules or their name.
        num_boxes: how many of the first boxes make the prediction.
        seed: of the draws and of the bootstrap.
        draws: of ``random_box``, whose per-sample values are means over them.

    Returns:
        Scores, without a ``threshold`` column.

    Raises:
        BenchError: unknown floor or protocol, or an id twice.
    """
    if name not in BOX_FLOORS:
        raise BenchError(f"no floor {name!r} of boxes; there are: {', '.join(BOX_FLOORS)}")

    def orders(sample: Truth) -> Iterator[NDArray[np.float64]]:
        return _box_orders(name, proposals[sample.id], sample.id, seed, draws)

    return _scores_of_boxes(orders, proposals, truth, protocol, num_boxes, seed)


def best_box_scores(
    proposals: Mapping[str, NDArray[np.floating]],
    truth: Sequence[Truth],
    protocol: Protocol | str,
    *,
    seed: int = 0,
) -> Scores:
    """Scores of the proposal of each frame with the highest consensus IoU, knowing the truth.

    No choice of one box can do better, so this is the ceiling of answers of one box.

    Args:
        proposals: see :func:`box_floor_scores`.
        truth: the whole test list.
        protocol: rules or their name.
        seed: of the bootstrap.

    Raises:
        BenchError: unknown protocol, or an id twice.
    """
    rules = resolved(protocol)

    def orders(sample: Truth) -> Iterator[NDArray[np.float64]]:
        boxes = _present(proposals[sample.id])
        by_ciou = np.argsort(-box_cious(boxes, truth_map(sample, rules)), kind="stable")
        yield boxes[by_ciou]

    return _scores_of_boxes(orders, proposals, truth, rules, 1, seed)


def box_cious(boxes: NDArray[np.float64], gt: NDArray[np.floating]) -> NDArray[np.float64]:
    """Consensus IoU of each box with a soft truth, by summed areas.

    Args:
        boxes: ``(P, 4)`` xyxy in [0, 1], on the grid as in ``box_union``.
        gt: ``(size, size)`` in [0, 1].

    Returns:
        ``(P,)``; 0 for a box that covers no pixel of it.

    Examples:
        >>> gt = np.zeros((4, 4)); gt[:, :2] = 1
        >>> box_cious(np.array([[0, 0, 0.5, 1], [0, 0, 1, 1], [0.5, 0, 1, 1]]), gt).tolist()
        [1.0, 0.5, 0.0]
    """
    corners = (boxes.clip(0, 1) * len(gt)).astype(np.int64)
    x0, y0, x1, y1 = corners.T

    def inside(values: NDArray[np.floating]) -> NDArray[np.float64]:
        area = np.pad(values.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        return np.asarray(area[y1, x1] - area[y0, x1] - area[y1, x0] + area[y0, x0])

    shared, beside = inside(gt), inside(gt == 0)
    return np.asarray(shared / np.maximum(gt.sum() + beside, SMALLEST_UNION))


def _scores_of_boxes(
    orders: Callable[[Truth], Iterator[NDArray[np.float64]]],
    proposals: Mapping[str, NDArray[np.floating]],
    truth: Sequence[Truth],
    protocol: Protocol | str,
    num_boxes: int,
    seed: int,
) -> Scores:
    """Scores of the first boxes of each sample that has proposals, means over its orders."""
    protocol = resolved(protocol)
    annotators = num_annotators(truth)
    rows = [row for sample, row in truth_rows(truth).items() if sample in proposals]
    measured = [
        [
            measured_answer(
                Answer(boxes=boxes, num_boxes=num_boxes, confidence=0.0),
                truth[row], protocol, annotators=annotators,
            )
            for boxes in orders(truth[row])
        ]
        for row in rows
    ]  # fmt: skip
    width = row_width(protocol, annotators)
    table = np.array(measured).swapaxes(0, 1) if rows else np.empty((1, 0, width))  # (D, N, W)
    return summarise(rows, table, truth, protocol, seed=seed)


def _present(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(boxes[~np.isnan(boxes).any(axis=1)], np.float64)


def _box_orders(
    name: str, proposals: NDArray[np.floating], sample_id: str, seed: int, draws: int
) -> Iterator[NDArray[np.float64]]:
    """The boxes ``(P, 4)`` of a sample, those first that the floor chooses, once for each draw."""
    boxes = _present(proposals)
    if name == "random_box":
        rng = np.random.default_rng([seed, id_number(sample_id)])
        for _ in range(draws):
            yield boxes[rng.permutation(len(boxes))]
        return
    if name == "largest_box":
        key = -(boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    else:
        key = np.hypot(*(boxes[:, :2] + boxes[:, 2:] - 1).T)
    yield boxes[np.argsort(key, kind="stable")]
