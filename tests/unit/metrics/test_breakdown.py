from dataclasses import replace

import numpy as np
import pytest

from metrics.breakdown import SIZES, breakdown, size_bucket
from metrics.errors import BenchError
from metrics.predictions import Predictions
from metrics.protocols import PROTOCOLS
from metrics.scoring import Scores, score
from metrics.truth import Truth

LVS = PROTOCOLS["lvs"]
NO_BOX = np.empty((0, 4))
HIT, MISS = [0.0, 0.0, 1.0, 0.5], [0.0, 0.5, 1.0, 1.0]


def truth_of(categories: list[str | None]) -> list[Truth]:
    return [
        Truth(f"clip{k}", (np.array([HIT]),), category=category)
        for k, category in enumerate(categories)
    ]


def scores_of(truth: list[Truth], hits: list[bool], **given: np.ndarray) -> Scores:
    boxes = np.array([[HIT if hit else MISS] for hit in hits])
    ids = [sample.id for sample in truth]
    return score(Predictions(ids, boxes=boxes, use_boxes=True, **given), truth, LVS)


def square(pixels: int) -> Truth:
    side = (pixels + 0.5) / 224
    return Truth("x", (np.array([[0.0, 0.0, side, side]]),))


@pytest.mark.parametrize(
    ("side", "bucket"),
    [
        (0, "small"), (31, "small"), (32, "medium"), (95, "medium"), (96, "large"),
        (143, "large"), (144, "huge"), (224, "huge"),
    ],
)  # fmt: skip
def test_a_size_starts_at_its_bound(side: int, bucket: str):
    assert size_bucket(square(side), LVS) == bucket


def test_a_half_marked_pixel_counts_half():
    alone = square(40)
    one_of_two = alone._replace(boxes=(*alone.boxes, NO_BOX))  # 1600 pixels, worth 800

    assert size_bucket(alone, LVS) == "medium"
    assert size_bucket(one_of_two, LVS) == "small"


def test_who_votes_decides_on_the_size():
    twice = np.concatenate([square(40).boxes[0]] * 2)
    truth = Truth("x", (twice, NO_BOX))

    assert size_bucket(truth, LVS) == "medium"  # each box votes: whole pixels
    assert size_bucket(truth, PROTOCOLS["senocak"]) == "small"  # one annotator: half pixels


def test_a_segmentation_has_a_size_too():
    mask = np.zeros((14, 14), np.bool_)
    mask[:2, :2] = True  # 32 x 32 of 224 x 224

    assert size_bucket(Truth("x", (), mask=mask), LVS) == "medium"


def test_classes_are_sorted_by_name_and_scored_alone():
    truth = truth_of(["owl", "cat", "owl", "cat", "cat"])

    groups = breakdown(scores_of(truth, [True, True, False, False, False]), truth, LVS, "category")

    assert [(group.name, group.n) for group in groups] == [("cat", 3), ("owl", 2)]
    assert [group.metrics["ciou@0.5"] for group in groups] == [1 / 3, 1 / 2]


def test_sizes_go_from_small_to_huge_and_leave_out_the_empty_ones():
    sides = [200, 10, 100, 20]
    truth = [square(side)._replace(id=f"clip{k}") for k, side in enumerate(sides)]

    groups = breakdown(scores_of(truth, [True] * 4), truth, LVS, "size")

    assert [(group.name, group.n) for group in groups] == [("small", 2), ("large", 1), ("huge", 1)]
    assert list(SIZES) == ["small", "medium", "large", "huge"]


def test_a_sample_without_a_class_belongs_to_no_part():
    truth = truth_of(["cat", None])

    (group,) = breakdown(scores_of(truth, [True, False]), truth, LVS, "category")

    assert (group.name, group.n, group.metrics["ciou@0.5"]) == ("cat", 1, 1.0)


@pytest.mark.parametrize("by", ["category", "size"])
def test_negatives_belong_to_no_part(by: str):
    truth = truth_of(["cat", "cat"])
    truth.append(Truth("clip0+x", (NO_BOX,), category="cat", on_screen=False))
    scores = scores_of(truth, [True] * 3, confidence=np.arange(3.0))

    (group,) = breakdown(scores, truth, LVS, by)

    assert group.n == 2
    assert "slavc_ap" in scores.metrics
    assert "slavc_ap" not in group.metrics


def test_samples_that_are_missing_or_excluded_are_not_counted():
    truth = [*truth_of(["cat"] * 4), Truth("empty", (NO_BOX,), category="cat")]
    boxes = np.array([[HIT], [MISS], [HIT]])
    bench = replace(PROTOCOLS["bench-v1"], threshold_rule="fixed", threshold=0.5)
    predictions = Predictions(["clip0", "clip1", "empty"], boxes=boxes, use_boxes=True)

    (group,) = breakdown(score(predictions, truth, bench), truth, bench, "category")

    assert (group.n, group.metrics["ciou@0.5"]) == (2, 0.5)


def test_parts_keep_the_thresholds_of_the_whole():
    rng = np.random.default_rng(0)
    near = rng.random((60, 2)) * 0.5
    boxes = np.concatenate([near, near + 0.4], axis=1)
    truth = [Truth(f"clip{k}", (box[None],), category="ab"[k % 2]) for k, box in enumerate(boxes)]
    small = replace(PROTOCOLS["bench-v1"], map_size=16)
    maps = rng.random((60, 5, 5), dtype=np.float32)
    scores = score(Predictions([sample.id for sample in truth], maps), truth, small)

    groups = breakdown(scores, truth, small, "category")

    for group, rows in zip(groups, (slice(0, 60, 2), slice(1, 60, 2)), strict=True):
        assert group.metrics["mean_iou"] == pytest.approx(scores.values["ciou"][rows].mean())


def test_the_intervals_of_a_part_hold_its_scores_and_depend_on_the_seed():
    rng = np.random.default_rng(1)
    truth = truth_of(["cat"] * 30)
    scores = scores_of(truth, (rng.random(30) < 0.5).tolist())

    (one,) = breakdown(scores, truth, LVS, "category", seed=0)
    (other,) = breakdown(scores, truth, LVS, "category", seed=1)

    for key, (low, high) in one.ci95.items():
        assert low <= one.metrics[key] <= high
    assert set(one.ci95) == set(one.metrics)
    assert one.ci95 != other.ci95


def test_the_part_that_is_everything_scores_like_the_whole():
    truth = truth_of(["cat"] * 12)
    scores = scores_of(truth, [k % 3 == 0 for k in range(12)])

    (group,) = breakdown(scores, truth, LVS, "category")

    assert dict(group.metrics) == dict(scores.metrics)
    assert dict(group.ci95) == dict(scores.ci95)


def test_the_order_of_the_maps_changes_no_part():
    truth = truth_of(["cat", "owl"] * 10)
    hits = [k % 3 == 0 for k in range(20)]
    backwards = scores_of(truth[::-1], hits[::-1])

    assert breakdown(backwards, truth, LVS, "category") == breakdown(
        scores_of(truth, hits), truth, LVS, "category"
    )


def test_no_class_at_all_makes_no_part():
    truth = truth_of([None, None])

    assert breakdown(scores_of(truth, [True, True]), truth, LVS, "category") == []


def test_a_kind_of_part_that_does_not_exist_is_named_with_those_that_do():
    truth = truth_of(["cat"])

    with pytest.raises(BenchError, match="must be one of category, size, got 'colour'"):
        breakdown(scores_of(truth, [True]), truth, LVS, "colour")
