import numpy as np
import pytest

from metrics.functional.rasterise import box_map, box_union
from metrics.truth import Truth

GARBAGE = -2.8823037615171176e16  # in 14 corners of the published vggss.json
WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])
LEFT = np.array([[0.0, 0.0, 0.5, 1.0]])


def extent(covered: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(covered)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_corners_outside_the_frame_are_clipped():
    assert extent(box_union(np.array([[-0.5, 0.25, 1.5, 0.5]]), 8)) == [0, 2, 8, 4]


def test_a_garbage_corner_covers_nothing():
    assert not box_union(np.array([[0.4, 0.6, GARBAGE, 0.9]]), 224).any()


def test_a_garbage_box_leaves_its_neighbour_alone():
    boxes = np.array([[0.4, 0.6, 0.7, GARBAGE], [0.0, 0.0, 0.5, 0.5]])

    assert extent(box_union(boxes, 4)) == [0, 0, 2, 2]


def test_a_nan_corner_is_refused():
    with pytest.raises(ValueError, match=r"must be numbers, got .*nan"):
        box_union(np.array([[0.0, 0.0, np.nan, 1.0]]), 4)


def test_boxes_of_one_annotator_unite_to_a_binary_map():
    truth = Truth("x", boxes=(np.concatenate([WHOLE, LEFT]),))

    for rule in ("annotator", "box"):
        assert box_map(truth, 4, rule).tolist() == np.ones((4, 4)).tolist()


def test_two_of_three_annotators_make_a_whole_pixel():
    truth = Truth("x", boxes=(WHOLE, LEFT, np.empty((0, 4))))

    assert box_map(truth, 2, "annotator").tolist() == [[1.0, 0.5], [1.0, 0.5]]


def test_two_boxes_of_one_annotator_agree_only_where_boxes_vote():
    truth = Truth("x", boxes=(np.concatenate([LEFT, LEFT]), np.empty((0, 4))))

    assert box_map(truth, 2, "box")[0].tolist() == [1.0, 0.0]
    assert box_map(truth, 2, "annotator")[0].tolist() == [0.5, 0.0]


def test_no_annotator_means_an_empty_map():
    assert not box_map(Truth("x", boxes=()), 4, "annotator").any()


def test_a_mask_replaces_the_boxes():
    mask = np.array([[False, True], [False, False]])
    truth = Truth("x", boxes=(WHOLE,), mask=mask)

    assert box_map(truth, 4, "annotator").tolist() == np.kron(mask, np.ones((2, 2))).tolist()


def test_a_mask_shrinks_to_the_values_under_the_new_centres():
    mask = np.zeros((6, 6), dtype=bool)
    mask[1, 4] = True

    assert box_map(Truth("x", (), mask=mask), 2, "box").tolist() == [[0.0, 1.0], [0.0, 0.0]]
