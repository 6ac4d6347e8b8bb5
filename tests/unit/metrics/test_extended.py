import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from metrics.functional.extended import (
    average_precision,
    max_f1,
    slavc_ap,
    slavc_max_f1,
    top_quarter_confidence,
)

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
ALL: list[Metric] = [slavc_ap, slavc_max_f1, average_precision, max_f1]
SIZES = [3, 10, 150, 409]  # 409: every second confidence under SLAVC's AP, every 40th under its F1
LEVELS = [4, 100_000]  # many tied confidences, and almost none


class Samples(NamedTuple):
    confidence: np.ndarray
    is_on_screen: np.ndarray
    is_hit: np.ndarray

    def written_out(self, counts: np.ndarray) -> "Samples":
        return Samples(*(np.repeat(column, counts) for column in self))


def samples(n: int, levels: int) -> Samples:
    rng = np.random.default_rng([n, levels])
    is_on_screen = rng.random(n) < 0.5
    confidence = rng.integers(levels, size=n) / levels + 0.2 * is_on_screen
    return Samples(confidence, is_on_screen, rng.random(n) < 0.4)


def resamples(n: int, count: int = 3) -> np.ndarray:
    drawn = np.random.default_rng(n).integers(n, size=(count, n))
    return np.stack([np.bincount(row, minlength=n) for row in drawn])


def tallies(s: Samples, threshold: float) -> tuple[int, int, int]:
    """True positives, false positives and on-screen samples below the threshold."""
    true, false, below = 0, 0, 0
    for confidence, on, hit in zip(*(column.tolist() for column in s), strict=True):
        if confidence < threshold:
            below += on
        elif on and hit:
            true += 1
        else:
            false += 1
    return true, false, below


def looped_slavc_curve(s: Samples, thresholds: list[float]) -> list[tuple[float, float]]:
    curve = []
    for threshold in thresholds:
        true, false, below = tallies(s, threshold)
        precision = true / (true + false) if true + false else 1.0
        recall = true / (true + below) if true + below else 1.0
        curve.append((precision, recall))
    return curve


def looped_slavc_ap(s: Samples) -> float:
    ascending = sorted(s.confidence.tolist())
    descending = ascending[len(ascending) - 2 :: -1]  # all but the highest
    curve = looped_slavc_curve(s, descending[:: max(1, len(ascending) // 200)])
    area = 0.0
    for k in range(len(curve) - 1):
        height = max(precision for precision, _ in curve[k:])
        area = area + height * (curve[k + 1][1] - curve[k][1])
    return area


def looped_slavc_max_f1(s: Samples) -> float:
    ascending = sorted(s.confidence.tolist())
    curve = looped_slavc_curve(s, ascending[:: max(1, len(ascending) // 10)])
    return max(2 * r * p / (r + p) if r + p > 0 else 0.0 for p, r in curve)


def looped_average_precision(s: Samples) -> float:
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(s.confidence.tolist()), reverse=True):
        true, false, _ = tallies(s, threshold)
        recall = true / int(s.is_on_screen.sum())
        area += true / (true + false) * (recall - recall_before)
        recall_before = recall
    return area


def looped_max_f1(s: Samples) -> float:
    best = 0.0
    for threshold in s.confidence.tolist():
        true, false, _ = tallies(s, threshold)
        precision, recall = true / (true + false), true / int(s.is_on_screen.sum())
        if precision + recall:
            best = max(best, 2 * precision * recall / (precision + recall))
    return best


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("n", SIZES)
def test_slavc_ap_equals_the_loop_over_thresholds_to_the_last_bit(n: int, levels: int):
    s = samples(n, levels)

    assert slavc_ap(*s, np.ones((1, n))).tolist() == [looped_slavc_ap(s)]


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("n", SIZES)
def test_slavc_max_f1_equals_the_loop_over_thresholds_to_the_last_bit(n: int, levels: int):
    s = samples(n, levels)

    assert slavc_max_f1(*s, np.ones((1, n))).tolist() == [looped_slavc_max_f1(s)]


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("n", SIZES)
def test_average_precision_agrees_with_the_loop_over_thresholds(n: int, levels: int):
    s = samples(n, levels)

    expected = looped_average_precision(s)

    assert average_precision(*s, np.ones((1, n)))[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("n", SIZES)
def test_max_f1_agrees_with_the_loop_over_thresholds(n: int, levels: int):
    s = samples(n, levels)

    assert max_f1(*s, np.ones((1, n)))[0] == pytest.approx(looped_max_f1(s), abs=1e-12)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("n", SIZES[1:])
@pytest.mark.parametrize(
    ("metric", "looped"),
    [
        (slavc_ap, looped_slavc_ap),
        (slavc_max_f1, looped_slavc_max_f1),
        (average_precision, looped_average_precision),
        (max_f1, looped_max_f1),
    ],
)
def test_a_resample_scores_like_its_samples_written_out(
    metric: Metric, looped: Callable[[Samples], float], n: int, levels: int
):
    s = samples(n, levels)
    counts = resamples(n)

    expected = [looped(s.written_out(row)) for row in counts]

    assert metric(*s, counts).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", ALL)
def test_the_order_of_the_samples_does_not_matter(metric: Metric):
    s = samples(150, 20)
    counts = resamples(150)
    shuffled = np.random.default_rng(5).permutation(150)

    of_shuffled = metric(*(column[shuffled] for column in s), counts[:, shuffled])

    assert of_shuffled.tolist() == metric(*s, counts).tolist()


def test_six_samples_score_as_worked_out_by_hand():
    # falling confidence: on and hit, on and missed, off, on and hit, off, on and hit
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    is_on_screen = np.array([True, True, False, True, False, True])
    is_hit = np.array([True, False, True, True, False, True])
    ones = np.ones((1, 6))

    values = [float(metric(confidence, is_on_screen, is_hit, ones)[0]) for metric in ALL]

    # SLAVC at 0.8 to 0.4: P = 1/2, 1/3, 1/2, 2/5, 1/2 and R = 1/3, 1/3, 2/3, 2/3, 1
    # with 4 on screen: R = 1/4, 1/4, 1/4, 2/4, 2/4, 3/4 and P = 1, 1/2, 1/3, 2/4, 2/5, 3/6
    assert values == pytest.approx([1 / 3, 2 / 3, (1 + 1 / 2 + 1 / 2) / 4, 6 / 10], abs=1e-15)


def test_a_perfect_method_falls_short_of_one_under_slavc_alone():
    is_on_screen = np.arange(1000) >= 500
    confidence = np.arange(1000) / 1000
    ones = np.ones((1, 1000))

    # the first recall, 2 of 500 at the second highest confidence, bounds no area
    assert slavc_ap(confidence, is_on_screen, is_on_screen, ones)[0] == pytest.approx(0.996)
    assert average_precision(confidence, is_on_screen, is_on_screen, ones)[0] == pytest.approx(1)
    assert max_f1(confidence, is_on_screen, is_on_screen, ones)[0] == 1


def test_samples_in_the_wrong_place_raise_the_recall_under_slavc_alone():
    confidence = np.array([0.5, 0.4, 0.3, 0.2, 0.1])
    is_on_screen = np.ones(5, np.bool_)
    is_hit = np.array([True, False, False, False, False])
    ones = np.ones((1, 5))

    values = [
        float(metric(confidence, is_on_screen, is_hit, ones)[0])
        for metric in (slavc_ap, average_precision)
    ]

    # SLAVC at 0.4 to 0.1: P = 1/2, 1/3, 1/4, 1/5 and R = 1/4, 1/3, 1/2, 1
    assert values == pytest.approx([1 / 2 / 12 + 1 / 3 / 6 + 1 / 4 / 2, 1 / 5], abs=1e-15)


@pytest.mark.parametrize("metric", ALL)
def test_a_hit_off_screen_is_not_read(metric: Metric):
    s = samples(150, 20)
    counts = resamples(150)

    claimed = metric(s.confidence, s.is_on_screen, s.is_hit | ~s.is_on_screen, counts)

    assert claimed.tolist() == metric(*s, counts).tolist()


def test_without_a_hit_every_score_is_zero():
    is_on_screen = np.array([True, True, False, True])
    confidence = np.array([0.1, 0.2, 0.3, 0.4])

    values = [
        metric(confidence, is_on_screen, np.zeros(4, np.bool_), np.ones((1, 4))) for metric in ALL
    ]

    assert np.concatenate(values).tolist() == [0.0, 0.0, 0.0, 0.0]


def test_nothing_on_screen_is_zero_under_slavc_and_undefined_by_the_standard():
    none = np.zeros(4, np.bool_)
    confidence = np.array([0.1, 0.2, 0.3, 0.4])

    values = [metric(confidence, none, none, np.ones((1, 4))) for metric in ALL]

    assert np.concatenate(values)[:2].tolist() == [0.0, 0.0]
    assert np.isnan(np.concatenate(values)[2:]).all()


def test_a_resample_that_misses_all_that_is_on_screen_is_undefined_alone():
    on = np.array([True, False])
    counts = np.array([[0.0, 2.0], [1.0, 1.0]])

    values = average_precision(np.array([0.9, 0.1]), on, on, counts)

    assert np.isnan(values).tolist() == [True, False]


@pytest.mark.parametrize("metric", ALL)
def test_no_sample_has_no_score(metric: Metric):
    nothing = np.empty(0, np.bool_)

    assert np.isnan(metric(np.empty(0), nothing, nothing, np.ones((2, 0)))).tolist() == [True] * 2


@pytest.mark.parametrize("n", [1, 2])
def test_slavc_ap_of_one_or_two_samples_is_zero(n: int):
    on = np.ones(n, np.bool_)

    assert slavc_ap(np.arange(n) / 2, on, on, np.ones((1, n))).tolist() == [0.0]


@pytest.mark.parametrize("metric", [slavc_ap, slavc_max_f1])
def test_slavc_refuses_a_resample_of_another_size(metric: Metric):
    on = np.ones(4, np.bool_)

    with pytest.raises(ValueError, match=r"must sum to n = 4, got sums \[5\.\]"):
        metric(np.arange(4) / 4, on, on, np.array([[2, 1, 1, 1]]))


@pytest.mark.parametrize("metric", ALL)
def test_lengths_that_differ_are_named_in_the_error(metric: Metric):
    on = np.ones(4, np.bool_)

    with pytest.raises(ValueError, match=r"got \(3,\), \(4,\) and \(1, 4\)"):
        metric(np.ones(3), on, on, np.ones((1, 4)))


def test_the_confidence_of_a_map_is_the_mean_of_its_highest_quarter():
    scores = np.random.default_rng(0).random((224, 224), dtype=np.float32)

    expected = math.fsum(sorted(scores.ravel().tolist())[37632:]) / 12544

    assert top_quarter_confidence(scores) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("pixels", "kept"), [(4, 1), (5, 2), (7, 2), (8, 2), (9, 3)])
def test_a_quarter_that_is_no_whole_number_is_rounded_up(pixels: int, kept: int):
    scores = np.arange(pixels, dtype=np.float32)[None]

    # mean of the kept highest of 0, 1, .. pixels - 1
    assert top_quarter_confidence(scores) == pixels - 1 - (kept - 1) / 2


def test_the_confidence_has_the_precision_of_the_map():
    scores = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.7]], np.float32)

    confidence = top_quarter_confidence(scores)

    assert confidence == np.float32(confidence)
    assert confidence != top_quarter_confidence(scores.astype(np.float64))
