"""Defects of annotated boxes, and what is told of them; the boxes stay as they were published."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from metrics.truth import Truth

NAMED_AT_MOST = 20


def degenerate_boxes(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which boxes have no extent in x or in y after clipping to the frame.

    Args:
        boxes: ``(K, 4)`` float64 xyxy in fractions of the frame.

    Returns:
        ``(K,)`` bool.

    >>> degenerate_boxes(np.array([[0.2, 0.2, 0.6, 0.6], [0.4, 0.7, -2.9e16, 1.0]])).tolist()
    [False, True]
    """
    clipped = boxes.clip(0.0, 1.0)
    extent = clipped[:, 2:] - clipped[:, :2]
    empty: NDArray[np.bool_] = np.less_equal(extent.min(axis=1), 0.0)
    return empty


def box_notes(truths: Iterable[Truth]) -> tuple[str, ...]:
    """What a record must say of the defects of the boxes; nothing where there are none."""
    truths = tuple(truths)
    defects = [np.concatenate([degenerate_boxes(boxes) for boxes in t.boxes]) for t in truths]
    num_boxes = sum(len(defect) for defect in defects)
    num_degenerate = sum(int(defect.sum()) for defect in defects)
    boxless = [truth.id for truth, defect in zip(truths, defects, strict=True) if defect.all()]
    notes = []
    if num_degenerate:
        notes.append(
            f"{num_degenerate} of {num_boxes} boxes have no extent inside the frame; "
            "kept as published for each protocol's own rule"
        )
    if boxless:
        more = ", ..." if len(boxless) > NAMED_AT_MOST else ""
        notes.append(
            f"{len(boxless)} of {len(truths)} test clips have no box left inside the frame: "
            f"{', '.join(boxless[:NAMED_AT_MOST])}{more}"
        )
    return tuple(notes)
