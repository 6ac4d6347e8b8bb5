import numpy as np
import pytest

from metrics.functional.segments import segment_accuracy


def test_accuracy_agrees_with_a_loop_over_segments():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(40, 5)), rng.integers(5, size=40)
    right = [
        row.index(max(row)) == label for row, label in zip(logits.tolist(), labels, strict=True)
    ]

    assert segment_accuracy(logits, labels) == sum(right) / 40


def test_background_is_right_where_it_is_the_label_and_wrong_elsewhere():
    all_background = np.tile([0.0, 0.0, 1.0], (4, 1))

    assert segment_accuracy(all_background, np.array([2, 0, 1, 2])) == 0.5


def test_the_first_of_equal_logits_is_the_answer():
    assert segment_accuracy(np.zeros((2, 3)), np.array([0, 1])) == 0.5


def test_no_segment_has_no_accuracy():
    assert np.isnan(segment_accuracy(np.empty((0, 3)), np.empty(0, np.int64)))


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_named_in_the_error(label: int):
    with pytest.raises(ValueError, match=rf"must be in \[0, 3\), got \[0, {label}\]"):
        segment_accuracy(np.zeros((2, 3)), np.array([0, label]))


@pytest.mark.parametrize("shape", [(3, 4), (2,), (2, 1, 4)])
def test_logits_that_do_not_fit_the_labels_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"must be \(T, C\) and \(T,\)"):
        segment_accuracy(np.zeros(shape), np.zeros(2, np.int64))
