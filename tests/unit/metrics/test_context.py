"""`context_pointing`: how often a map peaks in what occurs with the sound and is not its source."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from metrics.floors import best_floor, floor_scores
from metrics.localization import LocalizationMetrics
from metrics.predictions import Predictions
from metrics.protocols import PROTOCOLS
from metrics.scoring import Scores, score, score_maps
from metrics.truth import Truth

LEFT, RIGHT = np.array([[0.0, 0.0, 0.5, 1.0]]), np.array([[0.5, 0.0, 1.0, 1.0]])
IDS = [f"clip{k}" for k in range(6)]
SIDES = np.array([0, 0, 0, 1, 1, 0])  # column of the peak
MAPS = np.stack([np.eye(2)[[side, side]] + [[0.1], [0.0]] for side in SIDES])


def truths(context: Sequence[np.ndarray | None]) -> list[Truth]:
    return [
        Truth(clip_id, (RIGHT,), context=one) for clip_id, one in zip(IDS, context, strict=True)
    ]


def scored(context: Sequence[np.ndarray | None], protocol: str = "bench-v1") -> Scores:
    return score_maps(IDS, MAPS, truths(context), protocol, map_range=(0.0, 2.0))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_share_of_peaks_in_the_context_counts_samples_that_have_one(protocol: str) -> None:
    scores = scored([LEFT, None, LEFT, LEFT, None, RIGHT], protocol)

    # of the four, the peaks are left, left, right, left
    expected = [1.0, np.nan, 1.0, 0.0, np.nan, 0.0]
    np.testing.assert_array_equal(scores.values["context_pointing"], expected)
    assert scores.metrics["context_pointing"] == 0.5
    low, high = scores.ci95["context_pointing"]
    assert 0 <= low < 0.5 < high <= 1


def test_a_context_of_several_boxes_is_their_union() -> None:
    boxes = np.array([[0.0, 0.0, 0.5, 0.2], [0.0, 0.8, 0.5, 1.0], [0.5, 0.0, 1.0, 0.1]])

    # every peak lies in the upper left or upper right cell, at the top
    assert scored([boxes] * 6).metrics["context_pointing"] == 1.0
    assert scored([boxes[1:2]] * 6).metrics["context_pointing"] == 0.0


def test_a_context_changes_no_other_score() -> None:
    plain, with_context = scored([None] * 6), scored([LEFT] * 6)

    assert "context_pointing" not in plain.metrics
    assert "context_pointing" not in plain.values
    others = {key for key in with_context.metrics if key != "context_pointing"}
    assert others == set(plain.metrics)
    assert {key: with_context.metrics[key] for key in others} == dict(plain.metrics)
    assert {key: with_context.ci95[key] for key in others} == dict(plain.ci95)
    for name, column in plain.values.items():
        np.testing.assert_array_equal(with_context.values[name], column)


def test_a_sample_from_off_the_screen_has_nothing_to_be_misled_from() -> None:
    truth = [
        one._replace(on_screen=place > 0, boxes=(RIGHT if place else RIGHT[:0],))
        for place, one in enumerate(truths([LEFT] * 6))
    ]

    found = score_maps(IDS, MAPS, truth, "bench-v1").values["context_pointing"]
    assert np.isnan(found).tolist() == [True, False, False, False, False, False]


def test_boxes_point_at_no_context() -> None:
    boxes = np.tile(LEFT, (6, 1, 1))

    predictions = Predictions(IDS, boxes=boxes, use_boxes=True)
    assert "context_pointing" not in score(predictions, truths([LEFT] * 6), "bench-v1").metrics


@pytest.mark.parametrize("batched", [True, False])
def test_scores_collected_by_batch_have_it_too(batched: bool) -> None:
    context = [LEFT, None, LEFT, LEFT, None, RIGHT]
    metric = LocalizationMetrics(truths(context), "bench-v1", batched=batched)
    for rows in ([4, 1], [0, 2, 3, 5]):
        metric.update(torch.tensor(rows), torch.from_numpy(MAPS[rows]))

    assert metric.compute().metrics == scored(context).metrics


def test_the_best_floor_is_misled_least() -> None:
    truth = truths([LEFT] * 6)
    floors = {name: floor_scores(name, truth, "bench-v1") for name in ("full", "mean_box")}

    # a mask of all pixels has its first maximum at the upper left
    assert floors["full"].metrics["context_pointing"] == 1.0
    assert best_floor(floors, "context_pointing") == "mean_box"
