"""Exact predictions of the field's own code, worked out by hand from its text.

The sources of each rule are named in ``metrics.protocols``; SSPL is read at 397149e for its
normalisation, which divides by ``np.ptp`` without a guard.
"""

import cv2
import numpy as np
import pytest

from metrics.functional.extended import top_quarter_confidence
from metrics.functional.rasterise import box_map
from metrics.measurement import (
    mask_as_map,
    measure,
    planes_of,
    predicted_mask,
    scored_map,
    truth_map,
)
from metrics.protocols import PROTOCOLS
from metrics.truth import Truth

ALL = 224 * 224
HALF = ALL // 2
# tau, hence the range of a cosine over it, cancels out; DSOL's maps are sigmoids
RANGE_OF = {name: (0.0, 1.0) if name.startswith("dsol") else (-1.0, 1.0) for name in PROTOCOLS}
MIDDLE = {name: 0.5 if PROTOCOLS[name].threshold_grid else None for name in PROTOCOLS}


def first_pixels(count: int, value: float = 1.0) -> np.ndarray:
    heatmap = np.zeros(ALL, np.float32)
    heatmap[:count] = value
    return heatmap.reshape(224, 224)


def distinct_values() -> np.ndarray:
    """0, 1, .. 50175 in any order."""
    return np.random.default_rng(0).permutation(ALL).astype(np.float32).reshape(224, 224)


def truth_of(count: int) -> Truth:
    return Truth("x", (), mask=first_pixels(count) > 0)


def kept_pixels(
    heatmap: np.ndarray,
    name: str,
    *,
    marked: int = 5000,
    map_range: tuple[float, float] | None = None,
) -> int:
    mask = predicted_mask(
        heatmap,
        PROTOCOLS[name],
        MIDDLE[name],
        truth=truth_of(marked),
        map_range=map_range or RANGE_OF[name],
    )
    return int(mask.sum())


KEPT_OF_DISTINCT = {
    "bench-v1": 25088,  # k / 50175 >= 0.5: 25088 and above
    "lvs": 25087,  # above the 25088th, counted from 0
    "ezvsl": 25088,
    "slavc": 25088,
    "slavc-absolute": 25088,  # k / 50175 >= 0.5
    "align": 25087,
    "align-adaptive": 4999,  # one less than the 5000 marked ones
    "sspl": 25088,
    "senocak": 25088,
    "dsol-solo": 45158,  # above 0.1 * 50175 = 5017.5: 5018 and above
    "dsol-synthetic": 25088,  # above 25087.5
    "dsol-duet": 40140,  # above 10035, and 0.2 * 50175 is 10035 to the last bit
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_each_rule_keeps_its_count_of_distinct_pixels(name: str):
    map_range = (0.0, 50175.0) if name == "slavc-absolute" else None

    assert kept_pixels(distinct_values(), name, map_range=map_range) == KEPT_OF_DISTINCT[name]


@pytest.mark.parametrize("name", ["lvs", "align", "ezvsl", "slavc"])
def test_half_of_distinct_pixels_are_the_highest_ones(name: str):
    heatmap = distinct_values()

    mask = predicted_mask(heatmap, PROTOCOLS[name], map_range=RANGE_OF[name])

    assert heatmap[mask].min() > heatmap[~mask].max()


@pytest.mark.parametrize(
    ("marked", "kept"), [(0, 25087), (1, 0), (2, 1), (777, 776), (HALF, HALF - 1), (ALL, ALL - 1)]
)
def test_the_adaptive_rule_keeps_one_pixel_less_than_the_truth_has_and_half_without_one(
    marked: int, kept: int
):
    assert kept_pixels(distinct_values(), "align-adaptive", marked=marked) == kept


def test_the_adaptive_rule_counts_a_half_marked_pixel_as_one():
    one_of_three = Truth("x", (np.array([[0.0, 0.0, 0.5, 0.5]]), np.empty((0, 4))))

    mask = predicted_mask(distinct_values(), PROTOCOLS["align-adaptive"], truth=one_of_three)

    assert mask.sum() == 112 * 112 - 1


KEPT_OF_CONSTANT = {  # c > 0, c = 0, c < 0
    "bench-v1": (0, 0, 0),
    "lvs": (ALL, ALL, 0),  # pred = 1 + c; what is at least 1 survives `pred[pred < 1] = 0`
    "ezvsl": (ALL, ALL, ALL),  # c >= c
    "slavc": (ALL, ALL, ALL),
    "slavc-absolute": (ALL, ALL, 0),  # (c + 1) / 2 >= 0.5
    "align": (0, 0, 0),  # 1 + c > 1 + c
    "align-adaptive": (0, 0, 0),
    "sspl": (0, 0, 0),  # 0 / 0 is NaN, and NaN >= 0.5 is false
    "senocak": (0, 0, 0),
    "dsol-solo": (ALL, 0, 0),  # c > 0.1 * c
    "dsol-synthetic": (ALL, 0, 0),
    "dsol-duet": (ALL, 0, 0),
}


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("cells", [7, 14, 224])
def test_a_constant_map_is_everything_or_nothing_by_its_sign(name: str, cells: int):
    constants = [np.full((cells, cells), c, np.float32) for c in (0.3, 0.0, -0.3)]

    kept = tuple(kept_pixels(heatmap, name) for heatmap in constants)

    assert kept == KEPT_OF_CONSTANT[name]


def test_a_negative_constant_that_vanishes_beside_one_is_everything_under_lvs():
    tiny = np.full((14, 14), -1e-9, np.float32)

    assert np.float32(1) + tiny[0, 0] == 1
    assert kept_pixels(tiny, "lvs") == ALL


KEPT_OF_PLATEAU = {  # 30,000 pixels at the maximum, 10,000 pixels at the maximum, the rest 0
    "bench-v1": (30_000, 10_000),
    "lvs": (30_000, 10_000),  # the 30,000 equal 1, which survives
    "ezvsl": (30_000, ALL),  # of 10,000 the median is 0, and all are at least 0
    "slavc": (30_000, ALL),
    "slavc-absolute": (ALL, ALL),  # (0 + 1) / 2 >= 0.5
    "align": (0, 10_000),  # nothing is above the maximum
    "align-adaptive": (0, 0),  # 5000 marked, so the threshold is the maximum
    "sspl": (30_000, 10_000),
    "senocak": (30_000, 10_000),
    "dsol-solo": (30_000, 10_000),
    "dsol-synthetic": (30_000, 10_000),
    "dsol-duet": (30_000, 10_000),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_plateaus_are_kept_by_the_tie_rule(name: str):
    kept = tuple(kept_pixels(first_pixels(count), name) for count in (30_000, 10_000))

    assert kept == KEPT_OF_PLATEAU[name]


def test_the_adaptive_rule_keeps_a_plateau_that_is_smaller_than_the_truth():
    assert kept_pixels(first_pixels(10_000), "align-adaptive", marked=10_001) == 10_000
    assert kept_pixels(first_pixels(10_000), "align-adaptive", marked=10_000) == 0


def test_the_middle_of_the_range_is_predicted_by_the_absolute_rule():
    heatmap = first_pixels(7, value=1e-6)  # 1 + 1e-6 is above 1 in float32
    heatmap[heatmap == 0] = -1e-6

    assert kept_pixels(heatmap, "slavc-absolute") == 7


@pytest.mark.parametrize(("name", "share"), [("dsol-solo", 0.1), ("dsol-duet", 0.2)])
def test_a_pixel_at_the_share_of_the_maximum_is_left_out(name: str, share: float):
    heatmap = first_pixels(100)
    cut = np.float32(share)
    heatmap.flat[100:103] = np.nextafter(cut, np.float32(0)), cut, np.nextafter(cut, np.float32(1))

    assert kept_pixels(heatmap, name) == 101


def test_align_leaves_only_vgg_ss_to_cv2():
    assert PROTOCOLS["align"].interpolation == "half_pixel_bilinear"
    assert dict(PROTOCOLS["align"].interpolation_on) == dict.fromkeys(
        ("flickr", "flickr_extended", "is3"), "align_corners_bilinear"
    )


EMPTY = np.zeros((224, 224), np.float32)
NOTHING_PREDICTED = {name for name in PROTOCOLS if KEPT_OF_CONSTANT[name][2] == 0}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_an_empty_truth_scores_zero_and_is_undefined_where_nothing_is_predicted(name: str):
    protocol = PROTOCOLS[name]
    scored = scored_map(np.full((14, 14), -0.3, np.float32), protocol, RANGE_OF[name])

    ciou = measure(scored, planes_of(EMPTY), protocol).ciou

    assert np.isnan(ciou).all() if name in NOTHING_PREDICTED else ciou.tolist() == [0.0]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_one_annotators_box_predicted_exactly_scores_one_although_it_weighs_half(name: str):
    gt = first_pixels(5000, value=0.5)

    assert measure(mask_as_map(gt > 0), planes_of(gt), PROTOCOLS[name]).ciou.tolist() == [1.0]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_half_weight_box_and_as_much_outside_score_a_third(name: str):
    gt = first_pixels(5000, value=0.5)
    twice = mask_as_map(first_pixels(10_000) > 0)

    assert measure(twice, planes_of(gt), PROTOCOLS[name]).ciou.tolist() == [0.5 / 1.5]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_one_of_three_annotators_gives_half_a_vote(name: str):
    nobody = np.empty((0, 4))
    truth = Truth("x", (nobody, np.array([[0.0, 0.0, 0.25, 1.0]]), nobody))

    assert truth_map(truth, PROTOCOLS[name])[0].tolist() == [0.5] * 56 + [0.0] * 168


def test_two_boxes_of_one_annotator_are_two_votes_where_boxes_vote():
    whole, left = [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 1.0]
    truth = Truth("x", (np.array([whole, left]), np.empty((0, 4))))
    row = {name: truth_map(truth, protocol)[0].tolist() for name, protocol in PROTOCOLS.items()}

    for name in PROTOCOLS:
        by_annotator = name in ("bench-v1", "senocak")
        assert row[name] == ([0.5] * 224 if by_annotator else [1.0] * 112 + [0.5] * 112)


@pytest.mark.parametrize(
    ("corner", "pixel"), [(255, 223), (256, 224), (128, 112), (1, 0), (8, 7), (9, 7)]
)
def test_corners_of_256_pixel_frames_are_truncated(corner: int, pixel: int):
    box = np.array([[0, 0, corner / 256, 1]])

    assert box_map(Truth("x", (box,)), 224, "box")[0].sum() == pixel


def test_the_first_box_of_vgg_ss_covers_its_known_pixels():
    box = np.array([[0.403125, 0.253125, 0.6, 0.75]])
    expected = np.zeros((224, 224))
    expected[56:168, 90:134] = 1

    np.testing.assert_array_equal(
        box_map(Truth("zpWuikVorYg_000032", (box,)), 224, "box"), expected
    )


def test_the_confidence_is_the_mean_of_12544_calibrated_pixels():
    # of a quarter's 12544 pixels half are 1 and half are 0, in the range [-1, 1]: 1 and 0.5
    pixels = (first_pixels(6272) + 1) / 2

    assert top_quarter_confidence(pixels) == 0.75


def test_cv2_is_the_half_pixel_interpolation_that_the_sources_call():
    heatmap = np.random.default_rng(1).random((14, 14), dtype=np.float32)
    resized = cv2.resize(heatmap, (224, 224), interpolation=cv2.INTER_LINEAR)

    scored = scored_map(heatmap, PROTOCOLS["dsol-solo"], (0.0, 1.0))

    np.testing.assert_array_equal(scored.pixels, resized)
