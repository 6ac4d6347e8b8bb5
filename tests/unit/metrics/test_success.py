import numpy as np
import pytest

from metrics.functional.success import auc, sample_auc, success_curve, success_rate


def test_nan_counts_as_a_miss():
    assert success_rate(np.array([np.nan, 1.0]), 0.5) == 0.5


def test_an_overlap_equal_to_the_threshold_is_a_hit():
    assert success_rate(np.array([0.5]), 0.5) == 1


def test_the_curve_has_21_points_that_are_products_of_one_step():
    # 0.05 * 3 is 0.15000000000000002, so an overlap of 0.15 misses the fourth point
    assert success_curve(np.array([0.15])).tolist() == [1, 1, 1] + [0] * 18


def test_a_map_that_never_overlaps_has_an_auc_of_one_fortieth():
    assert auc(np.zeros(3)) == pytest.approx(0.025, abs=1e-15)


def test_a_perfect_map_has_an_auc_of_one():
    assert auc(np.ones(3)) == pytest.approx(1, abs=1e-15)


def test_auc_is_the_trapezoid_sum_of_the_curve():
    ciou = np.random.default_rng(0).random(50)
    heights = [sum(c >= 0.05 * k for c in ciou) / 50 for k in range(21)]
    expected = 0.05 * (heights[0] / 2 + sum(heights[1:20]) + heights[20] / 2)

    assert auc(ciou) == pytest.approx(expected, abs=1e-14)


def test_auc_is_the_mean_of_the_samples_own_areas():
    ciou = np.append(np.random.default_rng(1).random(50), np.nan)

    assert sample_auc(ciou).mean() == pytest.approx(auc(ciou), abs=1e-14)


def test_no_sample_has_no_success_rate():
    assert np.isnan(success_rate(np.array([]), 0.5))
