import math

import numpy as np
import pytest

from datamodules.box_maps import box_map


def naive_map(boxes: np.ndarray, size: int) -> np.ndarray:
    """Cell by cell and box by box."""
    cells = np.zeros((size, size))
    for left, top, right, bottom in boxes.tolist():
        if any(math.isnan(edge) for edge in (left, top, right, bottom)):
            continue
        left, top = max(left, 0.0), max(top, 0.0)
        right, bottom = min(right, 1.0), min(bottom, 1.0)
        if right <= left or bottom <= top:
            continue
        hit = False
        for row in range(size):
            for column in range(size):
                x, y = (column + 0.5) / size, (row + 0.5) / size
                if left <= x < right and top <= y < bottom:
                    cells[row, column], hit = 1, True
        if not hit:
            middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
            distances = {
                (row, column): (
                    ((column + 0.5) / size - middle_x) ** 2 + ((row + 0.5) / size - middle_y) ** 2
                )
                for row in range(size)
                for column in range(size)
            }
            cells[min(distances, key=lambda place: distances[place])] = 1
    return cells


@pytest.mark.parametrize("size", [1, 7, 14, 20])
@pytest.mark.parametrize("largest", [1.0, 0.05])
def test_cells_are_marked_as_loops_over_cells_and_boxes_mark_them(
    size: int, largest: float
) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        corners = rng.uniform(-0.1, 1.05, (rng.integers(4), 2))
        boxes = np.concatenate([corners, corners + rng.uniform(0, largest, corners.shape)], 1)

        np.testing.assert_array_equal(box_map(boxes, size), naive_map(boxes, size))


def test_the_map_is_float32_with_the_first_row_at_the_top() -> None:
    cells = box_map(np.array([[0.0, 0.0, 1.0, 0.5]], np.float32), 2)

    assert cells.dtype == np.float32
    assert cells.tolist() == [[1, 1], [0, 0]]


def test_no_boxes_give_an_empty_map() -> None:
    assert box_map(np.empty((0, 4)), 3).tolist() == [[0] * 3] * 3


def test_absent_boxes_mark_nothing() -> None:
    boxes = np.array([[np.nan] * 4, [0.0, 0.0, 0.5, 0.5], [0.1, 0.1, np.nan, 0.9]])

    assert box_map(boxes, 2).tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize(
    "box",
    [
        [0.5, 0.2, 0.5, 0.9],
        [0.2, 0.5, 0.9, 0.5],
        [0.9, 0.1, 0.2, 0.8],
        [1.0, 0.0, 1.4, 1.0],
        [-0.5, 0.0, 0.0, 1.0],
        [0.4, 0.7, -2.8823037615171176e16, 1.0],  # vggss.json has 14 such edges
    ],
)
def test_a_box_without_extent_inside_the_frame_marks_nothing(box: list[float]) -> None:
    assert box_map(np.array([box]), 4).sum() == 0


@pytest.mark.parametrize(
    ("box", "cell"),
    [
        ([0.26, 0.01, 0.27, 0.02], (0, 1)),
        ([0.999, 0.999, 1.0, 1.0], (3, 3)),
        ([0.0, 0.0, 1e-7, 1e-7], (0, 0)),
        ([0.1, 0.40, 0.9, 0.45], (1, 2)),  # covers columns, but no row: one cell, at its middle
        ([0.9, 0.9, 9.0, 0.95], (3, 3)),
    ],
)
def test_a_box_that_covers_no_centre_marks_the_cell_nearest_to_its_middle(
    box: list[float], cell: tuple[int, int]
) -> None:
    expected = np.zeros((4, 4))
    expected[cell] = 1

    np.testing.assert_array_equal(box_map(np.array([box]), 4), expected)


def test_neighbouring_boxes_share_no_cell() -> None:
    left, right = np.array([[0.0, 0.0, 0.375, 1.0]]), np.array([[0.375, 0.0, 1.0, 1.0]])

    assert (box_map(left, 4) + box_map(right, 4)).tolist() == [[1] * 4] * 4
