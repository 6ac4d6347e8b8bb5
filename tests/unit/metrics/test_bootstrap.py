import numpy as np
import pytest

from metrics.bootstrap import bootstrap_ci, paired_difference
from metrics.errors import BenchError
from metrics.scoring import Scores, score_maps
from metrics.truth import Truth

TRUTH = [Truth(f"clip{k}", (np.array([[0.1, 0.1, 0.5, 0.7]]),)) for k in range(60)]
IDS = [sample.id for sample in TRUTH]


def scores_of(seed: int, rows: range = range(60), protocol: str = "ezvsl") -> Scores:
    maps = np.random.default_rng(seed).random((60, 7, 7))
    return score_maps([IDS[k] for k in rows], maps[rows.start : rows.stop], TRUTH, protocol)


def test_the_interval_is_the_normal_one_for_many_samples():
    sample = np.random.default_rng(0).normal(3, 2, size=2000)
    half_width = 1.96 * sample.std() / np.sqrt(2000)

    ((low, high),) = bootstrap_ci(sample, seed=0, resamples=4000)

    assert low == pytest.approx(sample.mean() - half_width, abs=0.1 * half_width)
    assert high == pytest.approx(sample.mean() + half_width, abs=0.1 * half_width)


def test_columns_share_their_resamples():
    column = np.random.default_rng(0).random(100)

    first, second = bootstrap_ci(np.stack([column, 2 * column], axis=1), seed=0)

    assert (2 * first).tolist() == second.tolist()


def test_resampling_in_chunks_equals_resampling_at_once(monkeypatch: pytest.MonkeyPatch):
    column = np.random.default_rng(0).random(101)
    at_once = bootstrap_ci(column, seed=3)
    monkeypatch.setattr("metrics.bootstrap._CELLS_AT_ONCE", 700)

    np.testing.assert_allclose(bootstrap_ci(column, seed=3), at_once, rtol=1e-13)


def test_another_seed_draws_other_resamples():
    column = np.random.default_rng(0).random(100)

    assert bootstrap_ci(column, seed=0).tolist() != bootstrap_ci(column, seed=1).tolist()


def test_undefined_values_are_left_out_of_their_column():
    columns = np.ones((50, 2))
    columns[:40, 1] = np.nan

    assert bootstrap_ci(columns, seed=0).tolist() == [[1, 1], [1, 1]]


def test_no_row_is_refused():
    with pytest.raises(ValueError, match=r"at least one row to resample, got shape \(0, 2\)"):
        bootstrap_ci(np.empty((0, 2)), seed=0)


@pytest.mark.parametrize("key", ["ciou@0.5", "ciou@0.3", "auc", "mean_iou", "pixel_ap", "pointing"])
def test_the_mean_difference_is_the_difference_of_the_metrics(key: str):
    a, b = scores_of(1), scores_of(2)

    difference = paired_difference(a, b, key)

    assert difference.n == 60
    assert difference.mean == pytest.approx(a.metrics[key] - b.metrics[key], abs=1e-12)
    assert difference.low <= difference.mean <= difference.high


def test_the_pairing_narrows_the_interval_of_equal_scores_to_nothing():
    difference = paired_difference(scores_of(1), scores_of(1), "pixel_ap")

    assert (difference.low, difference.mean, difference.high) == (0, 0, 0)


def test_only_common_samples_are_compared():
    a, b = scores_of(1, range(0, 40)), scores_of(2, range(30, 60))
    expected = (
        scores_of(1, range(30, 40)).metrics["auc"] - scores_of(2, range(30, 40)).metrics["auc"]
    )

    difference = paired_difference(a, b, "auc")

    assert difference.n == 10
    assert difference.mean == pytest.approx(expected, abs=1e-12)


def test_runs_without_a_common_sample_are_refused():
    with pytest.raises(BenchError, match="share no sample"):
        paired_difference(scores_of(1, range(0, 30)), scores_of(2, range(30, 60)), "auc")


def test_different_protocols_are_refused():
    with pytest.raises(BenchError, match="cannot compare protocol ezvsl with lvs"):
        paired_difference(scores_of(1), scores_of(1, protocol="lvs"), "auc")


def test_a_metric_that_one_run_lacks_is_refused():
    with pytest.raises(BenchError, match="no metric 'nsa'"):
        paired_difference(scores_of(1), scores_of(2), "nsa")
