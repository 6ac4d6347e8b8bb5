"""Figures of the published VGG-SS boxes, computed before and apart from this package."""

import json
from pathlib import Path

import numpy as np
import pytest

from metrics.ceilings import ceiling
from metrics.floors import floor_scores
from metrics.truth import Truth


@pytest.fixture(scope="module")
def vggss(shared_data: Path) -> list[Truth]:
    rows = json.loads((shared_data / "annotations/vggss/vggss.json").read_text())
    return [
        Truth(row["file"], (np.array(row["bbox"], dtype=np.float64).reshape(-1, 4),))
        for row in rows
    ]


def test_no_half_of_the_pixels_passes_50_54_percent(vggss: list[Truth]):
    best = ceiling(vggss, "ezvsl")

    assert len(vggss) == 5158
    assert round(100 * best["ciou@0.5"], 2) == 50.54
    assert round(100 * best["auc"], 2) == 49.47


@pytest.mark.parametrize("name", ["lvs", "ezvsl"])
def test_a_centred_disc_scores_34_percent(vggss: list[Truth], name: str):
    scores = floor_scores("center", vggss, name)

    assert scores.metrics["ciou@0.5"] == pytest.approx(0.340, abs=1e-3)
    assert scores.metrics["auc"] == pytest.approx(0.374, abs=1e-3)


def test_the_full_image_scores_21_9_percent(vggss: list[Truth]):
    scores = floor_scores("full", vggss, "lvs")

    assert scores.metrics["ciou@0.5"] == pytest.approx(0.219, abs=1e-3)
    assert scores.metrics["auc"] == pytest.approx(0.313, abs=1e-3)


def test_two_clips_have_no_box_left_and_are_excluded_by_name(vggss: list[Truth]):
    scores = floor_scores("full", vggss[-1:] + vggss[:-1], "bench-v1")

    assert set(scores.excluded) == {"M1P1xla8rg0_000000", "MKC9LvRivTM_000030"}
    assert scores.n == 5156
