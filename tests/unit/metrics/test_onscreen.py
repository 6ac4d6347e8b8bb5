import numpy as np
import pytest

from metrics.functional.onscreen import best_threshold, onscreen_auc, onscreen_correct

LEVELS = [3, 1000]  # many tied confidences, and almost none


def samples(n: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([n, levels])
    is_on_screen = rng.random(n) < 0.4
    return rng.integers(levels, size=n) / levels + 0.3 * is_on_screen, is_on_screen


def resamples(n: int, count: int = 4) -> np.ndarray:
    drawn = np.random.default_rng(n).integers(n, size=(count, n))
    return np.stack([np.bincount(row, minlength=n) for row in drawn])


def looped_auc(confidence: list[float], is_on_screen: list[bool]) -> float:
    on = [c for c, yes in zip(confidence, is_on_screen, strict=True) if yes]
    off = [c for c, yes in zip(confidence, is_on_screen, strict=True) if not yes]
    wins = sum((a > b) + 0.5 * (a == b) for a in on for b in off)
    return wins / (len(on) * len(off))


def looped_best_threshold(confidence: np.ndarray, is_on_screen: np.ndarray) -> float:
    candidates = [*sorted(confidence.tolist()), np.inf]
    right = [
        sum((c >= t) == on for c, on in zip(confidence, is_on_screen, strict=True))
        for t in candidates
    ]
    return candidates[right.index(max(right))]


@pytest.mark.parametrize("levels", LEVELS)
def test_auc_is_the_share_of_pairs_in_the_right_order(levels: int):
    confidence, is_on_screen = samples(40, levels)

    expected = looped_auc(confidence.tolist(), is_on_screen.tolist())

    assert onscreen_auc(confidence, is_on_screen, np.ones((1, 40))).tolist() == [expected]


@pytest.mark.parametrize("levels", LEVELS)
def test_auc_of_a_resample_is_that_of_its_samples_written_out(levels: int):
    confidence, is_on_screen = samples(40, levels)
    counts = resamples(40)

    expected = [
        looped_auc(np.repeat(confidence, row).tolist(), np.repeat(is_on_screen, row).tolist())
        for row in counts
    ]

    assert onscreen_auc(confidence, is_on_screen, counts).tolist() == expected


def test_auc_does_not_depend_on_the_scale_of_the_confidence():
    confidence, is_on_screen = samples(40, 1000)
    counts = resamples(40)

    scaled = onscreen_auc(np.exp(7 * confidence) - 3, is_on_screen, counts)

    assert scaled.tolist() == onscreen_auc(confidence, is_on_screen, counts).tolist()


def test_auc_of_equal_confidences_is_one_half():
    is_on_screen = np.array([True, False, False])

    assert onscreen_auc(np.zeros(3), is_on_screen, np.ones((1, 3))).tolist() == [0.5]


def test_auc_is_undefined_in_a_resample_of_one_kind():
    is_on_screen = np.array([True, False])
    counts = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])

    auc = onscreen_auc(np.array([0.9, 0.1]), is_on_screen, counts)

    assert np.isnan(auc).tolist() == [True, True, False]


def test_auc_of_no_sample_is_undefined():
    assert np.isnan(onscreen_auc(np.empty(0), np.empty(0, np.bool_), np.ones((2, 0)))).all()


def test_lengths_that_differ_are_named_in_the_error():
    with pytest.raises(ValueError, match=r"got \(3,\), \(3,\) and \(1, 4\)"):
        onscreen_auc(np.ones(3), np.ones(3, np.bool_), np.ones((1, 4)))


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_the_best_threshold_is_the_lowest_of_the_most_accurate(n: int, levels: int):
    confidence, is_on_screen = samples(n, levels)

    expected = looped_best_threshold(confidence, is_on_screen)

    assert best_threshold(confidence, is_on_screen) == expected


def test_the_best_threshold_calls_all_off_screen_where_none_is_on():
    assert best_threshold(np.array([0.2, 0.7]), np.zeros(2, np.bool_)) == np.inf


def test_no_sample_has_no_best_threshold():
    with pytest.raises(ValueError, match="at least one sample"):
        best_threshold(np.empty(0), np.empty(0, np.bool_))


def test_a_threshold_never_sees_its_own_fold():
    confidence = np.array([0.0, 1.0, 2.0, 3.0])
    is_on_screen = np.array([False, True, False, True])
    folds = np.array([0, 0, 1, 1])

    onscreen = onscreen_correct(confidence, is_on_screen, folds, num_folds=2)

    assert onscreen.thresholds.tolist() == [3.0, 1.0]  # the best of fold 1 is used for fold 0
    assert onscreen.correct.tolist() == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("levels", LEVELS)
def test_decisions_agree_with_a_loop_over_folds(levels: int):
    confidence, is_on_screen = samples(60, levels)
    folds = np.random.default_rng(1).integers(5, size=60)
    expected = []
    for k in range(60):
        others = folds != folds[k]
        threshold = looped_best_threshold(confidence[others], is_on_screen[others])
        expected.append(float((confidence[k] >= threshold) == is_on_screen[k]))

    assert onscreen_correct(confidence, is_on_screen, folds).correct.tolist() == expected


def test_an_empty_fold_does_not_change_the_rule():
    confidence = np.array([0.1, 0.9, 0.1, 0.9])
    folds = np.array([0, 0, 3, 3])

    onscreen = onscreen_correct(confidence, confidence > 0.5, folds, num_folds=5)

    assert onscreen.correct.tolist() == [1.0, 1.0, 1.0, 1.0]


def test_without_another_fold_nothing_is_decided():
    onscreen = onscreen_correct(np.array([0.1, 0.9]), np.array([False, True]), np.array([2, 2]))

    assert np.isnan(onscreen.correct).all()
    assert np.isnan(onscreen.thresholds).tolist() == [False, False, True, False, False]


def test_a_confidence_that_says_nothing_is_right_half_of_the_time_on_balanced_frames():
    is_on_screen = np.tile([True, False], 6)
    folds = np.repeat(np.arange(3), 4)  # a frame's positive and negative share a fold

    onscreen = onscreen_correct(np.zeros(12), is_on_screen, folds, num_folds=3)

    assert onscreen.correct.mean() == 0.5
