import itertools

import numpy as np
import pytest

from metrics.ceilings import best_ciou, ceiling, skill
from metrics.measurement import planes_of
from metrics.truth import Truth


def looped_best(gt: np.ndarray, kept: int) -> float:
    best = 0.0
    for chosen in itertools.combinations(range(gt.size), kept):
        shared = sum(gt[k] for k in chosen)
        best = max(best, shared / (gt.sum() + sum(gt[k] == 0 for k in chosen)))
    return best


@pytest.mark.parametrize("kept", range(1, 8))
@pytest.mark.parametrize("seed", range(4))
def test_no_choice_of_pixels_beats_the_best(kept: int, seed: int):
    gt = np.random.default_rng(seed).choice([0.0, 0.0, 0.5, 1.0], size=8)

    assert best_ciou(planes_of(gt), kept) == pytest.approx(
        looped_best(gt, kept) if gt.any() else 0.0
    )


@pytest.mark.parametrize(("name", "kept"), [("lvs", 25087), ("ezvsl", 25088)])
def test_half_of_the_pixels_overlap_a_quarter_frame_by_half(name: str, kept: int):
    quarter = Truth("x", (np.array([[0.0, 0.0, 0.5, 0.5]]),))

    best = ceiling([quarter], name)

    assert best["mean_iou"] == 112 * 112 / kept
    assert best["ciou@0.5"] == (112 * 112 / kept >= 0.5)
    assert best["ciou@0.3"] == 1


def test_bench_v1_has_no_ceiling_below_one():
    truth = [Truth("x", (np.array([[0.0, 0.0, 0.1, 0.1]]),))]

    best = ceiling(truth, "bench-v1")

    assert {"ciou@0.5", "auc", "mean_iou", "pixel_ap", "pointing"} <= set(best)
    assert set(best.values()) == {1.0}


def test_no_sample_has_no_ceiling():
    assert ceiling([], "lvs") == {}


def test_skill_is_zero_at_the_floor_and_one_at_the_ceiling():
    assert skill(0.34, 0.34, 0.5) == 0
    assert skill(0.5, 0.34, 0.5) == 1
    assert skill(0.3, 0.34, 0.5) < 0


@pytest.mark.parametrize(
    "parts", [(None, 0.1, 1.0), (0.5, None, 1.0), (0.5, 0.1, None), (0.5, 1.0, 1.0),
              (float("nan"), 0.1, 1.0)]
)  # fmt: skip
def test_skill_is_undefined_without_room_or_parts(parts: tuple[float | None, ...]):
    assert skill(*parts) is None
