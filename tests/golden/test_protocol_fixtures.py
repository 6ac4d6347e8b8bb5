"""Exact values of the field's own code, worked out by hand from its text.

LVS is hche11/Localizing-Visual-Sounds-the-Hard-Way at 8fe8cbb, EZ-VSL is stoneMo/EZ-VSL at 95ff5bf.
"""

import numpy as np
import pytest

from metrics.functional.rasterise import box_map
from metrics.functional.success import auc
from metrics.measurement import measure, predicted_mask, ranked_map, ranked_mask
from metrics.protocols import PROTOCOLS
from metrics.truth import Truth

PIXELS = 224 * 224


def first_pixels(count: int, value: float = 1.0) -> np.ndarray:
    heatmap = np.zeros(PIXELS, np.float32)
    heatmap[:count] = value
    return heatmap.reshape(224, 224)


def kept_pixels(heatmap: np.ndarray, name: str) -> int:
    return int(predicted_mask(heatmap, PROTOCOLS[name]).sum())


@pytest.mark.parametrize(("name", "kept"), [("lvs", 25087), ("ezvsl", 25088)])
def test_half_of_distinct_pixels_is_kept_but_for_the_median_itself(name: str, kept: int):
    heatmap = np.random.default_rng(0).permutation(PIXELS).astype(np.float32).reshape(224, 224)

    assert kept_pixels(heatmap, name) == kept


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("lvs", 0.5, PIXELS),
        ("lvs", 0.0, PIXELS),
        ("lvs", -0.5, 0),
        ("ezvsl", 0.5, PIXELS),
        ("ezvsl", -0.5, PIXELS),
    ],
)
def test_a_constant_map_is_everything_or_nothing(name: str, value: float, kept: int):
    assert kept_pixels(np.full((7, 7), value, np.float32), name) == kept


@pytest.mark.parametrize(
    ("name", "at_maximum", "kept"),
    [
        ("lvs", 30_000, 30_000),
        ("ezvsl", 30_000, 30_000),
        ("lvs", 10_000, 10_000),
        ("ezvsl", 10_000, PIXELS),
    ],
)
def test_plateaus_are_kept_by_the_tie_rule(name: str, at_maximum: int, kept: int):
    assert kept_pixels(first_pixels(at_maximum), name) == kept


def test_one_annotators_box_predicted_exactly_scores_one_although_it_weighs_half():
    gt = first_pixels(5000, value=0.5)

    assert measure(ranked_mask(gt > 0), gt).ciou.tolist() == [1.0]


def test_a_half_weight_box_and_as_much_outside_score_a_third():
    gt = first_pixels(5000, value=0.5)

    assert measure(ranked_mask(first_pixels(10_000) > 0), gt).ciou.tolist() == [0.5 / 1.5]


def test_no_pixel_against_a_box_scores_zero_and_an_auc_of_one_fortieth():
    measured = measure(ranked_mask(np.zeros((224, 224), bool)), first_pixels(5000))

    assert measured.ciou.tolist() == [0.0]
    assert auc(measured.ciou) == pytest.approx(0.025, abs=1e-15)


def test_a_constant_negative_map_and_an_empty_truth_are_undefined_under_lvs():
    ranked = ranked_map(np.full((14, 14), -1, np.float32), PROTOCOLS["lvs"])

    assert np.isnan(measure(ranked, np.zeros((224, 224))).ciou).all()


@pytest.mark.parametrize(("corner", "pixel"), [(255, 223), (256, 224), (128, 112), (1, 0)])
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
