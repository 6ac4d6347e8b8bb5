"""Ground truth drawn on the square grid of a protocol."""

import numpy as np
from numpy.typing import NDArray

from metrics.protocols import TruthRule
from metrics.truth import Truth


def box_union(boxes: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    """Pixels covered by at least one box.

    Corners are clipped to the frame and truncated, ``(clip(box, 0, 1) * size).astype(int)``, and
    the far edge is open: EZ-VSL ``datasets.py:38-83``, https://github.com/stoneMo/EZ-VSL at
    95ff5bf. A box that has no area after that (the -2.88e16 of ``vggss.json``) covers nothing.

    Args:
        boxes: ``(K, 4)`` normalised xyxy; K may be 0.
        size: pixels per side of the grid.

    Returns:
        ``(size, size)`` bool.

    Raises:
        ValueError: a corner is NaN.

    Examples:
        >>> box_union(np.array([[0.5, 0.0, 1.0, 0.74]]), 4).sum(axis=1).tolist()
        [2, 2, 0, 0]
    """
    corners = boxes.tolist()
    if any(corner != corner for box in corners for corner in box):
        raise ValueError(f"box corners must be numbers, got {corners}")
    covered = np.zeros((size, size), dtype=np.bool_)
    for box in corners:  # plain numbers: most frames have one box, for which arrays cost more
        left, top, right, bottom = (int(min(max(corner, 0.0), 1.0) * size) for corner in box)
        covered[top:bottom, left:right] = True
    return covered


def nearest(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Mask resized by the value under the centre of each new pixel.

    Args:
        mask: ``(H, W)`` bool.
        size: pixels per side of the grid.

    Returns:
        ``(size, size)`` bool.

    Examples:
        >>> nearest(np.array([[True, False]]), 4).tolist()[0]
        [True, True, False, False]
    """
    rows, columns = (((np.arange(size) + 0.5) * length / size).astype(int) for length in mask.shape)
    return mask[np.ix_(rows, columns)]


def box_map(truth: Truth, size: int, rule: TruthRule) -> NDArray[np.float32]:
    """Soft ground truth of one sample.

    A mask, where there is one, and the boxes of a single annotator give 0 or 1. With more
    annotators two votes make a whole pixel, ``min(votes / 2, 1)``; the rule says who votes. Under
    ``"box"`` each box does, as in LVS ``utils.py:56-75`` at 8fe8cbb, so that two overlapping boxes
    of one annotator already agree; under ``"annotator"`` each annotator does once.

    Args:
        truth: boxes or mask of the sample.
        size: pixels per side of the grid.
        rule: ``"annotator"`` or ``"box"``.

    Returns:
        ``(size, size)`` float32 in {0, 0.5, 1}; all 0 where nothing was marked.

    Raises:
        ValueError: a box corner is NaN.

    Examples:
        >>> left, all_ = np.array([[0.0, 0.0, 0.5, 1.0]]), np.array([[0.0, 0.0, 1.0, 1.0]])
        >>> box_map(Truth("x", boxes=(left, all_)), 2, "annotator").tolist()[0]
        [1.0, 0.5]
    """
    if truth.mask is not None:
        return nearest(truth.mask, size).astype(np.float32)
    if len(truth.boxes) == 1:
        return box_union(truth.boxes[0], size).astype(np.float32)
    voters = truth.boxes
    if rule == "box":
        voters = tuple(box[None] for boxes in truth.boxes for box in boxes)
    votes = np.zeros((size, size), dtype=np.float32)
    for boxes in voters:
        votes += box_union(boxes, size)
    return np.minimum(votes / 2, np.float32(1))
