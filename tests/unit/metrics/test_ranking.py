import numpy as np
import pytest

from metrics.functional.ranking import (
    marked_places,
    ordered_bits,
    pixel_ap,
    pointing,
    ranked_pixels,
)


def looped_average_precision(values: list[float], gt: list[float]) -> float:
    positives = sum(g >= 0.5 for g in gt)
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(values), reverse=True):
        hits = sum(v >= threshold and g >= 0.5 for v, g in zip(values, gt, strict=True))
        false = sum(v >= threshold and g == 0 for v, g in zip(values, gt, strict=True))
        if hits + false:
            area += (hits / positives - recall_before) * hits / (hits + false)
        recall_before = hits / positives
    return area


@pytest.mark.parametrize("levels", [3, 10, 10_000])
@pytest.mark.parametrize("weights", [(0.0, 1.0), (0.0, 0.5, 1.0), (0.0, 0.25, 0.5, 1.0)])
def test_pixel_ap_agrees_with_a_loop_over_thresholds(levels: int, weights: tuple[float, ...]):
    rng = np.random.default_rng([levels, len(weights)])
    pred = (rng.integers(levels, size=(8, 9)) - levels // 2).astype(np.float32)
    gt = rng.choice(weights, size=(8, 9))

    expected = looped_average_precision(pred.ravel().tolist(), gt.ravel().tolist())

    assert pixel_ap(pred, gt) == pytest.approx(expected, abs=1e-12)


def test_pixel_ap_of_a_constant_map_is_the_share_of_positives():
    gt = np.array([[1.0, 0.0, 0.0, 0.0]])

    assert pixel_ap(np.zeros((1, 4), np.float32), gt) == 0.25


def test_pixel_ap_without_a_positive_pixel_is_undefined():
    assert np.isnan(pixel_ap(np.ones((1, 2), np.float32), np.array([[0.0, 0.25]])))


def test_pixel_ap_ignores_pixels_that_few_annotators_marked():
    pred = np.array([[3, 2, 1]], np.float32)

    assert pixel_ap(pred, np.array([[0.25, 1.0, 0.0]])) == 1


def test_different_shapes_are_named_in_the_error():
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2, 4\)"):
        pixel_ap(np.zeros((2, 3), np.float32), np.zeros((2, 4)))


def test_bits_are_in_the_order_of_floats_of_both_signs_and_all_sizes():
    rng = np.random.default_rng(0)
    values = (rng.normal(size=3000) * 10.0 ** rng.integers(-40, 38, 3000)).astype(np.float32)

    assert values[np.argsort(ordered_bits(values))].tolist() == sorted(values.tolist())


def test_bits_of_equal_floats_are_equal():
    zeros = ordered_bits(np.array([0.0, -0.0, 1e-45], np.float32))

    assert zeros[0] == zeros[1] < zeros[2]


def test_places_of_a_mask_are_the_ranks_of_its_pixels():
    pixels = np.array([0.3, -1.0, 2.0, 0.5], np.float32)
    first, second = np.array([1, 0, 0, 1], bool), np.array([0, 0, 1, 0], bool)

    keys = ranked_pixels(pixels, [first, second])

    assert marked_places(keys, 1).tolist() == [1, 2]
    assert marked_places(keys, 2).tolist() == [3]


def test_pointing_takes_the_first_of_equal_maxima_in_row_order():
    pred = np.array([[0, 1], [1, 0]], np.float32)

    assert pointing(pred, np.array([[0.0, 0.5], [0.0, 0.0]])) == 1
    assert pointing(pred, np.array([[0.0, 0.0], [1.0, 0.0]])) == 0


def test_pointing_at_an_empty_truth_misses():
    assert pointing(np.ones((2, 2), np.float32), np.zeros((2, 2))) == 0
