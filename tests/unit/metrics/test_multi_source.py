from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from metrics.functional.multi_source import (
    class_aware_ap,
    mean_ciou,
    non_sounding_area,
    permutation_invariant_ap,
)


def best_mean_over_permutations(ap: np.ndarray) -> float:
    """Best mean of S maps given to S sources, where a NaN source takes a map and counts nothing."""
    rows = ap.tolist()
    means = []
    for maps in permutations(range(len(rows))):
        given = [rows[m][source] for source, m in enumerate(maps)]
        counted = [value for value in given if value == value]
        means.append(sum(counted) / len(counted))
    return max(means)


@pytest.mark.parametrize("silent", [(), (1,), (0, 3)])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_assignment_agrees_with_all_permutations(seed: int, silent: tuple[int, ...]):
    ap = np.random.default_rng(seed).random((4, 4))
    ap[:, list(silent)] = np.nan

    expected = best_mean_over_permutations(ap)

    assert permutation_invariant_ap(ap) == pytest.approx(expected, abs=1e-12)


def test_class_aware_ap_is_the_mean_of_the_diagonal():
    assert class_aware_ap(np.array([[0.5, 1.0], [1.0, 0.25]])) == 0.375


def test_exchanged_maps_cost_the_class_aware_score_alone():
    ap = np.array([[0.0, 1.0], [1.0, 0.0]])

    assert (class_aware_ap(ap), permutation_invariant_ap(ap)) == (0, 1)


def test_a_map_may_serve_one_source_only():
    ap = np.array([[1.0, 1.0], [0.0, 0.0]])

    assert permutation_invariant_ap(ap) == 0.5


def test_a_source_without_a_pixel_is_left_out():
    ap = np.array([[0.5, np.nan], [0.75, np.nan]])

    assert (class_aware_ap(ap), permutation_invariant_ap(ap)) == (0.5, 0.75)


@pytest.mark.parametrize("score", [class_aware_ap, permutation_invariant_ap])
def test_without_any_pixel_the_scores_are_undefined(score: Callable[[np.ndarray], float]):
    assert np.isnan(score(np.full((2, 2), np.nan)))
    assert np.isnan(score(np.empty((0, 0))))


@pytest.mark.parametrize("score", [class_aware_ap, permutation_invariant_ap])
def test_maps_and_sources_of_different_number_are_refused(score: Callable[[np.ndarray], float]):
    with pytest.raises(ValueError, match=r"one map per source, got \(3, 2\)"):
        score(np.ones((3, 2)))


@pytest.mark.parametrize("score", [class_aware_ap, permutation_invariant_ap])
def test_a_source_that_is_undefined_for_one_map_only_is_refused(
    score: Callable[[np.ndarray], float],
):
    with pytest.raises(ValueError, match="for all maps alike"):
        score(np.array([[np.nan, 1.0], [0.5, 1.0]]))


def test_the_non_sounding_area_agrees_with_a_loop_over_pixels():
    maps = np.random.default_rng(0).random((3, 5, 7), dtype=np.float32)
    shares = [sum(float(v) <= 0.2 for v in one.ravel()) / 35 for one in maps]

    assert non_sounding_area(maps) == pytest.approx(sum(shares) / 3, abs=1e-15)


def test_a_pixel_at_the_level_is_low_although_its_float32_is_above_it():
    assert float(np.float32(0.2)) > 0.2
    assert non_sounding_area(np.full((1, 2, 2), 0.2, np.float32)) == 1


def test_the_non_sounding_area_takes_another_level():
    assert non_sounding_area(np.array([[[0.1, 0.4, 0.6, 0.9]]], np.float32), level=0.5) == 0.5


def test_without_a_silent_map_the_non_sounding_area_is_undefined():
    assert np.isnan(non_sounding_area(np.empty((0, 224, 224), np.float32)))


def test_ciou_of_a_frame_is_the_mean_over_its_sources_at_each_threshold():
    ciou = np.array([[0.25, 1.0], [0.75, 0.0], [0.5, 0.5]])

    assert mean_ciou(ciou).tolist() == [0.5, 0.5]


def test_one_source_that_is_0_over_0_leaves_the_frame_undefined():
    assert np.isnan(mean_ciou(np.array([[0.9, 0.9], [np.nan, 0.9]]))).tolist() == [True, False]


def test_a_frame_without_a_sounding_source_has_no_ciou():
    assert np.isnan(mean_ciou(np.empty((0, 3)))).tolist() == [True] * 3
