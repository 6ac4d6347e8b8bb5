import hashlib
from functools import partial

import numpy as np
import pytest

from metrics.errors import BenchError
from metrics.functional.success import auc, success_rate
from metrics.measurement import measure, planes_of, scored_map, truth_map
from metrics.predictions import Predictions
from metrics.protocols import PROTOCOLS
from metrics.scoring import Scores, fold_of, score, score_maps
from metrics.truth import Truth

NAMES = tuple(PROTOCOLS)
scored = partial(score_maps, map_range=(0.0, 1.0))  # for the protocols that need it


def random_truth(count: int) -> list[Truth]:
    rng = np.random.default_rng(7)
    corners = np.sort(rng.random((count, 2, 2)), axis=1)  # (N, near and far, xy)
    wide = np.clip(corners + np.array([[-0.1], [0.1]]), 0, 1)
    return [Truth(f"clip{k:03d}", (box.reshape(1, 4),)) for k, box in enumerate(wide)]


def random_maps(count: int) -> np.ndarray:
    return np.random.default_rng(8).random((count, 7, 7), dtype=np.float32)


TRUTH = random_truth(80)
IDS = [sample.id for sample in TRUTH]
MAPS = random_maps(80)
EMPTY = Truth("empty", (np.empty((0, 4)),))


def assert_same(a: Scores, b: Scores) -> None:
    assert a.metrics == b.metrics
    assert a.ci95 == b.ci95
    assert a.thresholds == b.thresholds
    for name in a.values:
        of_b = dict(zip(b.ids, b.values[name], strict=True))
        np.testing.assert_array_equal(a.values[name], [of_b[sample_id] for sample_id in a.ids])


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_maps_changes_nothing(name: str):
    shuffled = np.random.default_rng(0).permutation(80)

    backwards = scored([IDS[k] for k in shuffled], MAPS[shuffled], TRUTH, name)

    assert backwards.ids == tuple(IDS[k] for k in shuffled)
    assert_same(scored(IDS, MAPS, TRUTH, name), backwards)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_test_list_changes_nothing(name: str):
    assert_same(scored(IDS, MAPS, TRUTH, name), scored(IDS, MAPS, list(reversed(TRUTH)), name))


@pytest.mark.parametrize("name", ["lvs", "ezvsl"])
def test_a_samples_overlap_does_not_depend_on_the_others(name: str):
    together = scored(IDS, MAPS, TRUTH, name).values["ciou"]

    alone = [scored([IDS[k]], MAPS[k : k + 1], TRUTH, name).values["ciou"][0] for k in range(9)]

    assert together[:9].tolist() == alone


@pytest.mark.parametrize("name", NAMES)
def test_aggregates_are_those_of_the_per_sample_overlaps(name: str):
    scores = scored(IDS, MAPS, TRUTH, name)
    ciou = scores.values["ciou"]

    expected = {
        **{f"ciou@{t}": success_rate(ciou, t) for t in PROTOCOLS[name].success_thresholds},
        "auc": auc(ciou),
        "mean_iou": ciou.mean(),
        "iou@0.5": success_rate(ciou, 0.5),
        "pixel_ap": scores.values["pixel_ap"].mean(),
        "pointing": scores.values["pointing"].mean(),
    }

    assert dict(scores.metrics) == pytest.approx(expected, abs=1e-12)
    assert scores.n == scores.n_expected == 80


@pytest.mark.parametrize("name", NAMES)
def test_each_metric_is_the_mean_of_its_column_and_inside_its_interval(name: str):
    scores = scored(IDS, MAPS, TRUTH, name)

    for key, value in scores.metrics.items():
        assert scores.column(key).mean() == pytest.approx(value, abs=1e-12)
        low, high = scores.ci95[key]
        assert low <= value <= high


def test_thresholds_of_a_fold_maximise_the_mean_overlap_of_the_other_four():
    protocol = PROTOCOLS["bench-v1"]
    folds = [int(hashlib.sha256(i.encode()).hexdigest()[:8], 16) % 5 for i in IDS]
    table = [
        measure(scored_map(map_, protocol), planes_of(truth_map(sample, protocol)), protocol).ciou
        for map_, sample in zip(MAPS, TRUTH, strict=True)
    ]
    expected = []
    for fold in range(5):
        others = [row for row, own in zip(table, folds, strict=True) if own != fold]
        means = [sum(row[k] for row in others) / len(others) for k in range(19)]
        expected.append(0.05 * (1 + means.index(max(means))))

    scores = scored(IDS, MAPS, TRUTH, "bench-v1")

    assert scores.thresholds == tuple(expected)
    assert scores.values["threshold"].tolist() == [expected[fold] for fold in folds]
    assert not scores.partial


def test_equal_thresholds_give_way_to_the_lowest():
    squares = np.zeros((80, 224, 224), np.float32)
    for square, sample in zip(squares, TRUTH, strict=True):
        square[truth_map(sample, PROTOCOLS["bench-v1"]) > 0] = 1

    scores = scored(IDS, squares, TRUTH, "bench-v1")

    assert scores.thresholds == (0.05,) * 5
    assert scores.metrics["mean_iou"] == 1


def test_thresholds_of_another_run_are_used_as_they_are():
    given = tuple(0.05 * k for k in (1, 10, 19, 10, 10))

    scores = scored(IDS, MAPS, TRUTH, "bench-v1", thresholds=given)

    assert scores.thresholds == given
    assert scores.values["threshold"].tolist() == [given[fold_of(i)] for i in IDS]


def test_thresholds_off_the_grid_are_refused():
    with pytest.raises(ValueError, match=r"5 thresholds of the grid, got \(0.123,\)"):
        scored(IDS, MAPS, TRUTH, "bench-v1", thresholds=(0.123,))


def test_a_protocol_with_its_own_rule_takes_no_thresholds():
    with pytest.raises(ValueError, match="lvs takes no thresholds"):
        scored(IDS, MAPS, TRUTH, "lvs", thresholds=(0.5,) * 5)


def test_under_50_samples_the_threshold_is_one_half_and_the_scores_are_partial():
    scores = scored(IDS[:49], MAPS[:49], TRUTH, "bench-v1")

    assert scores.partial
    assert scores.thresholds == (0.5,) * 5


@pytest.mark.parametrize(("count", "is_partial"), [(49, True), (80, False)])
def test_too_few_samples_for_a_threshold_of_confidence_make_the_scores_partial(
    count: int, is_partial: bool
):
    truth = [sample._replace(on_screen=row % 2 == 0) for row, sample in enumerate(TRUTH)]
    given = Predictions(IDS[:count], heatmap=MAPS[:count], map_range=(0.0, 1.0),
                        confidence=np.arange(count, dtype=np.float32))  # fmt: skip

    scores = score(given, truth, "slavc")

    assert "onscreen_acc" in scores.metrics
    assert scores.partial == is_partial


def test_confidences_of_other_sounds_are_judged_by_the_thresholds_of_the_own_ones():
    truth = [sample._replace(on_screen=row % 2 == 0) for row, sample in enumerate(TRUTH)]
    confidence = np.array([0.9 if sample.on_screen else 0.1 for sample in truth], np.float32)
    own = Predictions(IDS, MAPS, confidence=confidence)
    other = own._replace(confidence=confidence / 100)  # a threshold of its own would tell all
    fixed = score(own, truth, "lvs", ranking=False).onscreen_thresholds

    swapped = score(other, truth, "lvs", onscreen_thresholds=fixed, ranking=False)

    assert fixed == pytest.approx((0.9,) * 5)
    assert swapped.onscreen_thresholds == fixed
    assert swapped.metrics["onscreen_acc"] == 0.5  # all are called off screen


def test_thresholds_of_confidence_are_one_per_fold():
    truth = [sample._replace(on_screen=row % 2 == 0) for row, sample in enumerate(TRUTH)]
    given = Predictions(IDS, MAPS, confidence=np.arange(80, dtype=np.float32))

    with pytest.raises(ValueError, match="expected 5 thresholds of confidence, got 2"):
        score(given, truth, "lvs", onscreen_thresholds=(0.5, 0.5))


def test_an_empty_fold_makes_the_scores_partial():
    chosen = [k for k in range(80) if fold_of(IDS[k]) != 2]
    assert len(chosen) >= 50

    scores = scored([IDS[k] for k in chosen], MAPS[chosen], TRUTH, "bench-v1")

    assert scores.partial
    assert scores.thresholds == (0.5,) * 5


def test_negatives_of_an_extended_set_share_the_fold_of_their_frame():
    assert fold_of("frame+sound") == fold_of("frame+other") == fold_of("frame")


def test_missing_samples_are_listed_and_not_scored():
    scores = scored(IDS[2:], MAPS[2:], TRUTH, "lvs")

    assert scores.missing == tuple(IDS[:2])
    assert (scores.n, scores.n_expected) == (78, 80)


def test_bench_v1_excludes_empty_truths_and_lists_them_given_or_not():
    truth = [*TRUTH, EMPTY, EMPTY._replace(id="empty2")]

    scores = scored([*IDS, "empty"], random_maps(81), truth, "bench-v1")

    assert scores.excluded == ("empty", "empty2")
    assert scores.missing == ()
    assert (scores.n, scores.n_expected) == (80, 82)


@pytest.mark.parametrize("name", ["lvs", "ezvsl"])
def test_the_fields_protocols_score_empty_truths_as_misses(name: str):
    scores = scored(["empty"], MAPS[:1], [EMPTY], name)

    assert scores.values["ciou"].tolist() == [0.0]
    assert scores.metrics["ciou@0.5"] == 0
    assert "pixel_ap" not in scores.metrics
    assert scores.excluded == ()


def test_an_undefined_overlap_is_listed_and_counts_as_a_miss():
    maps = np.stack([MAPS[0], np.full((7, 7), -1, np.float32)])

    scores = scored([IDS[0], "empty"], maps, [TRUTH[0], EMPTY], "lvs")

    assert scores.undefined == ("empty",)
    assert scores.constant_maps == ("empty",)
    assert np.isnan(scores.values["ciou"][1])
    assert scores.metrics["mean_iou"] == scores.values["ciou"][0] / 2
    assert scores.column("ciou@0.3")[1] == 0
    assert scores.metrics["pixel_ap"] == scores.values["pixel_ap"][0]


def test_constant_maps_are_counted_and_predict_nothing_under_bench_v1():
    maps = MAPS.copy()
    maps[3] = 0.4

    scores = scored(IDS, maps, TRUTH, "bench-v1")

    assert scores.constant_maps == (IDS[3],)
    assert scores.values["ciou"][3] == 0


def test_no_map_gives_no_metric():
    scores = scored([], np.empty((0, 7, 7)), TRUTH, "bench-v1")

    assert scores.metrics == scores.ci95 == {}
    assert scores.missing == tuple(IDS)


def test_iou_is_reported_only_where_each_truth_is_one_set_of_boxes():
    two = Truth("two", (TRUTH[0].boxes[0], TRUTH[1].boxes[0]))

    scores = scored([IDS[0]], MAPS[:1], [TRUTH[0], two], "ezvsl")

    assert "iou@0.5" not in scores.metrics


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_a_cell_that_is_no_finite_float32_names_the_id(bad: float):
    maps = MAPS[:2].astype(np.float64)
    maps[1, 3, 4] = bad

    with pytest.raises(BenchError, match="map of 'clip001' holds NaN, infinity"):
        scored(IDS[:2], maps, TRUTH, "lvs")


def test_an_unknown_id_is_named():
    with pytest.raises(BenchError, match="'nobody', which is not among the 80 ids"):
        scored(["nobody"], MAPS[:1], TRUTH, "lvs")


def test_a_repeated_id_is_named():
    with pytest.raises(BenchError, match="'clip001' occurs more than once in the predictions"):
        scored(["clip001", "clip001"], MAPS[:2], TRUTH, "lvs")


def test_an_id_twice_on_the_test_list_is_named():
    with pytest.raises(BenchError, match="'clip000' occurs more than once in the test list"):
        scored(IDS[:1], MAPS[:1], [TRUTH[0], TRUTH[0]], "lvs")


@pytest.mark.parametrize("shape", [(2, 7), (3, 7, 7), (2, 1, 7, 7), (2, 0, 7)])
def test_maps_of_the_wrong_shape_are_refused(shape: tuple[int, ...]):
    with pytest.raises(BenchError, match=r"heatmap must be \(2, h, w\), a row per id, got \("):
        scored(IDS[:2], np.zeros(shape), TRUTH, "lvs")


def test_maps_that_are_no_numbers_are_refused():
    with pytest.raises(BenchError, match="real numbers, got complex128"):
        scored(IDS[:1], np.zeros((1, 7, 7), complex), TRUTH, "lvs")


def test_an_absent_metric_is_named_with_those_there_are():
    scores = scored(IDS[:1], MAPS[:1], TRUTH, "lvs")

    with pytest.raises(
        BenchError, match=r"no metric 'nsa' under protocol lvs; there are: ciou@0.5"
    ):
        scores.column("nsa")


def test_progress_counts_the_maps():
    done: list[int] = []

    scored(IDS[:3], MAPS[:3], TRUTH, "lvs", progress=done.append)

    assert done == [1, 2, 3]
