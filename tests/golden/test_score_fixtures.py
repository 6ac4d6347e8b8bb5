"""Exact scores of small sets, worked out by hand from the text of the field's own code."""

import numpy as np
import pytest

from metrics.predictions import Predictions
from metrics.protocols import PROTOCOLS
from metrics.scoring import Scores, score
from metrics.truth import Source, Truth

SIDE = 224
BOX = np.array([[0.0, 0.0, 1.0, 0.5]])
NO_BOX = np.empty((0, 4))
UNIT = (0.0, 1.0)
PRINTED = [name for name in PROTOCOLS if name != "bench-v1"]


def rows_of(first: int, last: int) -> np.ndarray:
    """``(224, 224)`` bool: the rows of pixels from ``first`` up to ``last``."""
    covered = np.zeros((SIDE, SIDE), np.bool_)
    covered[first:last] = True
    return covered


def scores_of_masks(predicted: list[np.ndarray], marked: list[np.ndarray], name: str) -> Scores:
    """Scores of maps of 0 and 1, under a rule that predicts the ones."""
    ids = [f"clip{k}" for k in range(len(marked))]
    truth = [Truth(clip, (), mask=mask) for clip, mask in zip(ids, marked, strict=True)]
    maps = np.stack(predicted).astype(np.float32)
    return score(Predictions(ids, maps, map_range=UNIT), truth, name)


@pytest.mark.parametrize("name", PRINTED)
def test_nothing_predicted_scores_zero_and_an_auc_of_one_fortieth(name: str):
    nothing = np.full((1, 1, 4), np.nan)

    scores = score(Predictions(["x"], boxes=nothing, use_boxes=True, map_range=UNIT),
                   [Truth("x", (BOX,))], name)  # fmt: skip

    assert scores.values["ciou"].tolist() == [0.0]
    assert scores.metrics["ciou@0.5"] == 0
    assert scores.metrics["auc"] == pytest.approx(0.025, abs=1e-15)


@pytest.mark.parametrize("name", PRINTED)
def test_the_box_itself_scores_one_and_an_auc_of_one(name: str):
    scores = score(Predictions(["x"], boxes=BOX[None], use_boxes=True, map_range=UNIT),
                   [Truth("x", (BOX,))], name)  # fmt: skip

    assert scores.values["ciou"].tolist() == [1.0]
    assert scores.metrics["ciou@0.5"] == 1
    assert scores.metrics["auc"] == pytest.approx(1, abs=1e-15)


# 0.05 * k in float64; where it is more than k / 20, an overlap of k / 20 is no hit
ABOVE_THEIR_FRACTION = (3, 6, 7, 12, 14, 17, 19)


@pytest.mark.parametrize("k", range(1, 21))
def test_an_overlap_of_a_grid_fraction_falls_short_of_the_product_where_that_is_larger(k: int):
    # k of 20 equal bands are marked, all 20 are predicted: k / 20 to the last bit
    predicted, marked = rows_of(0, 220), rows_of(0, 11 * k)
    points = k + 1 - (k in ABOVE_THEIR_FRACTION)  # of the 21; the first is 0

    scores = scores_of_masks([predicted], [marked], "sspl")

    assert scores.values["ciou"].tolist() == [k / 20]
    assert scores.metrics["auc"] == pytest.approx((points - 0.5 - 0.5 * (k == 20)) / 20, abs=1e-12)


def test_an_overlap_of_exactly_one_half_is_a_hit():
    scores = scores_of_masks([rows_of(0, 200)], [rows_of(0, 100)], "lvs")

    assert scores.metrics["ciou@0.5"] == 1


@pytest.mark.parametrize("name", ["dsol-synthetic", "dsol-duet"])
def test_dsols_success_at_0_3_is_the_seventh_of_its_grid(name: str):
    # eval.py and eval_duet.py print results[6], of `>= 0.05 * 6`, which is above 0.3
    scores = scores_of_masks([rows_of(0, 200)], [rows_of(0, 60)], name)

    assert scores.values["ciou"].tolist() == [0.3]
    assert scores.metrics["ciou@0.3"] == 0


UNDEFINED = [name for name in PRINTED if name not in ("ezvsl", "slavc")]


@pytest.mark.parametrize("name", UNDEFINED)
def test_two_empty_maps_are_undefined_listed_and_a_miss(name: str):
    truth = [Truth("box", (BOX,)), Truth("empty", (NO_BOX,))]
    maps = np.zeros((2, 7, 7), np.float32)
    maps[0, :4] = 1  # rows 0 to 3 of 7, about the box
    maps[1] = -1  # a constant that predicts nothing, at the bottom of the range

    scores = score(Predictions(["box", "empty"], maps, map_range=(-1.0, 1.0)), truth, name)

    first, second = scores.values["ciou"]
    assert scores.undefined == ("empty",)
    assert np.isnan(second)
    assert scores.metrics["mean_iou"] == first / 2
    assert scores.metrics["ciou@0.5"] == (first >= 0.5) / 2


@pytest.mark.parametrize("name", ["ezvsl", "slavc"])
def test_everything_predicted_of_nothing_is_zero_and_not_undefined(name: str):
    constant = np.full((1, 7, 7), -1, np.float32)

    scores = score(Predictions(["empty"], constant), [Truth("empty", (NO_BOX,))], name)

    assert scores.undefined == ()
    assert scores.values["ciou"].tolist() == [0.0]


def test_an_undefined_overlap_under_bench_v1_is_an_excluded_sample():
    constant = np.zeros((1, 7, 7), np.float32)

    scores = score(Predictions(["empty"], constant), [Truth("empty", (NO_BOX,))], "bench-v1")

    assert (scores.excluded, scores.undefined, scores.n) == (("empty",), (), 0)


def frame(marked: list[np.ndarray], sounding: list[bool]) -> Truth:
    sources = tuple(
        Source(NO_BOX, sounding=loud, mask=mask)
        for mask, loud in zip(marked, sounding, strict=True)
    )
    union = np.any([mask for mask, loud in zip(marked, sounding, strict=True) if loud], axis=0)
    return Truth("frame", (), mask=union, sources=sources)


def scores_of_sources(maps: list[np.ndarray], truth: Truth, name: str) -> Scores:
    stack = np.stack(maps).astype(np.float32)[None]
    return score(Predictions(["frame"], source_heatmap=stack, map_range=UNIT), [truth], name)


@pytest.mark.parametrize("name", ["dsol-synthetic", "dsol-duet"])
def test_the_overlap_of_a_duet_is_the_mean_of_its_classes(name: str):
    truth = frame([rows_of(0, 100), rows_of(100, 200)], [True, True])
    maps = [rows_of(0, 100), rows_of(50, 150)]  # 1, and 50 of 150 rows

    scores = scores_of_sources(maps, truth, name)

    assert scores.values["ciou"].tolist() == [(1 + 1 / 3) / 2]


@pytest.mark.parametrize(("name", "kept"), [("dsol-synthetic", 100), ("dsol-duet", 150)])
def test_each_class_is_cut_at_its_own_maximum(name: str, kept: int):
    loud = np.where(rows_of(0, 100), 0.8, 0.0)
    faint = np.where(rows_of(0, 100), 0.02, 0.0) + np.where(rows_of(100, 150), 0.008, 0.0)
    truth = frame([rows_of(0, 100), rows_of(0, kept)], [True, True])

    scores = scores_of_sources([loud, faint], truth, name)

    assert scores.values["ciou"].tolist() == [1.0]


@pytest.mark.parametrize("name", ["dsol-synthetic", "dsol-duet"])
def test_the_non_sounding_area_counts_pixels_of_at_most_one_fifth(name: str):
    level = np.float32(0.2)
    silent = np.zeros((SIDE, SIDE), np.float32)
    silent[:56] = level  # a quarter, still low
    silent[56:112] = np.nextafter(level, np.float32(1))  # a quarter just above
    silent[112:140] = 1  # an eighth
    truth = frame([rows_of(0, 100)] * 3, [True, False, False])

    scores = scores_of_sources([rows_of(0, 100), silent, np.zeros((SIDE, SIDE))], truth, name)

    assert scores.metrics["nsa"] == (5 / 8 + 1) / 2
    assert scores.values["ciou"].tolist() == [1.0]


@pytest.mark.parametrize("name", ["dsol-solo", "lvs"])
def test_protocols_without_a_level_have_no_non_sounding_area(name: str):
    truth = frame([rows_of(0, 100)] * 2, [True, False])

    scores = scores_of_sources([rows_of(0, 100), rows_of(0, 10)], truth, name)

    assert "nsa" not in scores.metrics


def test_slavcs_confidence_is_the_highest_quarter_of_the_calibrated_map():
    # 28 of 224 rows, an eighth, at the top of the range [-1, 1], the others in its middle
    maps = np.where(rows_of(0, 28), 1.0, 0.0).astype(np.float32)[None]

    for name in ("slavc", "slavc-absolute"):
        scores = score(Predictions(["x"], maps, map_range=(-1.0, 1.0)), [Truth("x", (BOX,))], name)
        assert scores.values["confidence"].tolist() == [(1 + 0.5) / 2]


# By falling confidence: found, in the wrong place, negative, found, negative, found.
EXTENDED = (
    ("a", True, True), ("b", True, False), ("a+x", False, False),
    ("c", True, True), ("b+x", False, False), ("d", True, True),
)  # fmt: skip
CONFIDENCE = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], np.float32)


def extended_scores() -> Scores:
    truth = [Truth(sample, (BOX if on else NO_BOX,), on_screen=on) for sample, on, _ in EXTENDED]
    right, wrong = [0.0, 0.0, 1.0, 0.5], [0.0, 0.5, 1.0, 1.0]
    boxes = np.array([[right if hit else wrong] for _, _, hit in EXTENDED])
    predictions = Predictions(
        [sample.id for sample in truth], boxes=boxes, confidence=CONFIDENCE, use_boxes=True
    )
    return score(predictions, truth, "lvs")


EXPECTED = {
    "ciou@0.5": 3 / 4,  # of the four that are on screen
    "loc_acc": 3 / 4,
    "mean_iou": 3 / 4,
    # pairs won of 4 * 2: 0.9 and 0.8 win two each, 0.6 one, 0.4 none
    "onscreen_auc": 5 / 8,
    # at 0.8 to 0.4: P = 1/2, 1/3, 1/2, 2/5, 1/2 and R = 1/3, 1/3, 2/3, 2/3, 1
    "slavc_ap": 1 / 3,
    # at all six, 0.9 too: the best is 2PR / (P + R) at 0.4, with P = 1/2 and R = 1
    "slavc_max_f1": 2 / 3,
    # R = 1/4, 1/4, 1/4, 2/4, 2/4, 3/4 of the four, P = 1, 1/2, 1/3, 2/4, 2/5, 3/6
    "ap": (1 + 1 / 2 + 1 / 2) / 4,
    "max_f1": 6 / 10,
}


@pytest.mark.parametrize("key", EXPECTED)
def test_six_samples_of_an_extended_set_score_as_worked_out_by_hand(key: str):
    assert extended_scores().metrics[key] == pytest.approx(EXPECTED[key], abs=1e-15)


def test_negatives_are_listed_and_have_no_overlap():
    scores = extended_scores()

    assert scores.negatives == ("a+x", "b+x")
    assert np.isnan(scores.values["ciou"]).tolist() == [not on for _, on, _ in EXTENDED]
    assert scores.n == 6


def test_each_sample_is_called_by_the_threshold_of_the_other_folds():
    # sha256 puts a, b, c, d in the folds 0, 1, 3, 3, and a negative in that of its frame.
    # Fold 0 sees .8 on, .6 on, .5 off, .4 on: from .4 up all is called on, 3 of 4 are right, and so
    # from .6 up; the lower is taken. Fold 1 sees .9 on, .7 off, .6 on, .4 on: .4 again. Fold 3 sees
    # .9 on, .8 on, .7 off, .5 off: .8 is always right.
    # a .9 right, b .8 right, a+x .7 wrong, c .6 wrong, b+x .5 wrong, d .4 wrong
    assert extended_scores().values["onscreen_acc"].tolist() == [1, 1, 0, 0, 0, 0]


def test_a_frame_of_two_sounds_is_found_where_both_are():
    found, missed = [0.0, 0.0, 1.0, 0.5], [0.0, 0.5, 1.0, 1.0]
    truth = [Truth(f"{frame}_{k}", (BOX,), frame=frame) for frame in "pq" for k in (1, 2)]
    boxes = np.array([[found], [found], [found], [missed]])

    scores = score(
        Predictions([sample.id for sample in truth], boxes=boxes, use_boxes=True), truth, "align"
    )

    assert scores.metrics["ciou@0.5"] == 3 / 4
    assert scores.metrics["iiou@0.5"] == 1 / 2
