import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from metrics.errors import BenchError
from metrics.functional.ciou import consensus_iou
from metrics.functional.ranking import pixel_ap, pointing
from metrics.measurement import (
    FIGURES,
    check_range,
    figure_place,
    grid_truth,
    mask_as_map,
    measure,
    measured_answer,
    measured_maps,
    planes_of,
    predicted_mask,
    row_width,
    scored_map,
    truth_map,
)
from metrics.predictions import LARGEST_OF_MAP, Answer, check_answer
from metrics.protocols import PROTOCOLS, Protocol
from metrics.truth import Truth

TRUTH = Truth("x", boxes=(np.array([[0.1, 0.2, 0.7, 0.6], [0.5, 0.5, 0.9, 0.9]]),))
BENCH, LVS = PROTOCOLS["bench-v1"], PROTOCOLS["lvs"]
RANGE = (-8.0, 8.0)
PRINTED = [name for name in PROTOCOLS if name != "bench-v1"]


def noise(seed: int, cells: int = 14) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(cells, cells)).astype(np.float32)


def row_of(heatmap: np.ndarray, protocol: Protocol, annotators: int = 0) -> np.ndarray:
    scored = scored_map(heatmap, protocol, RANGE)
    return measured_maps(scored, None, grid_truth(TRUTH, protocol, annotators), protocol)


def ciou_of(mask: np.ndarray, gt: np.ndarray) -> float:
    return consensus_iou(torch.from_numpy(mask)[None], torch.from_numpy(gt)[None]).item()


def lvs_mask(heatmap: np.ndarray) -> np.ndarray:
    """Rules of LVS test.py:79-97 on the resized map, with its full sort."""
    resized = cv2.resize(heatmap, (224, 224), interpolation=cv2.INTER_LINEAR)
    flipped = -resized
    pred = 1 - (flipped - flipped.min()) / (flipped.max() - flipped.min())
    middle = np.sort(pred, axis=None)[25088]
    return (pred > middle) | (pred >= 1)


def ezvsl_mask(heatmap: np.ndarray) -> np.ndarray:
    """Rules of EZ-VSL test.py:105-129, with torch's interpolation and a full sort."""
    batch = torch.from_numpy(heatmap)[None, None]
    resized = F.interpolate(batch, size=(224, 224), mode="bilinear", align_corners=True)[0, 0]
    pred = (resized - resized.min()) / (resized.max() - resized.min())
    return (pred >= pred.flatten().sort().values[25088]).numpy()


@pytest.mark.parametrize("seed", range(3))
def test_lvs_overlap_is_that_of_its_spelled_out_rules(seed: int):
    gt = truth_map(TRUTH, PROTOCOLS["lvs"])

    actual = measure(
        scored_map(noise(seed), PROTOCOLS["lvs"]), planes_of(gt), PROTOCOLS["lvs"]
    ).ciou

    assert actual.tolist() == [ciou_of(lvs_mask(noise(seed)), gt)]


@pytest.mark.parametrize("seed", range(3))
def test_ezvsl_overlap_is_that_of_its_spelled_out_rules(seed: int):
    gt = truth_map(TRUTH, PROTOCOLS["ezvsl"])

    actual = measure(
        scored_map(noise(seed, 7), PROTOCOLS["ezvsl"]), planes_of(gt), PROTOCOLS["ezvsl"]
    ).ciou

    assert actual.tolist() == pytest.approx([ciou_of(ezvsl_mask(noise(seed, 7)), gt)], abs=1e-4)


def test_bench_overlap_at_each_threshold_is_that_of_the_thresholded_map():
    gt = truth_map(Truth("x", (*TRUTH.boxes, np.array([[0.3, 0.0, 0.5, 1.0]]))), BENCH)
    scored = scored_map(noise(0), BENCH).pixels.astype(np.float64)
    expected = [ciou_of(scored >= 0.05 * k, gt) for k in range(1, 20)]

    assert measure(scored_map(noise(0), BENCH), planes_of(gt), BENCH).ciou.tolist() == expected


def test_a_pixel_just_below_a_threshold_is_not_predicted():
    # float32(0.7) is 0.69999999 and less than 0.05 * 14; compared in float32 they would be equal
    heatmap = np.zeros((224, 224), np.float32)
    heatmap[0, :2] = 1.0, 0.7
    gt = np.zeros((224, 224), np.float32)
    gt[0, :2] = 1

    ciou = measure(scored_map(heatmap, BENCH), planes_of(gt), BENCH).ciou

    assert ciou[12:15].tolist() == [1.0, 0.5, 0.5]  # 0.65, 0.70, 0.75


@pytest.mark.parametrize("name", PROTOCOLS)
def test_rank_metrics_are_those_of_the_scored_map(name: str):
    protocol = PROTOCOLS[name]
    gt = truth_map(TRUTH, protocol)
    scored = scored_map(noise(1), protocol, RANGE).pixels

    row = row_of(noise(1), protocol)

    assert row[-len(FIGURES) :][:2].tolist() == [pixel_ap(scored, gt), pointing(scored, gt)]


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if not PROTOCOLS[name].calibrated])
@pytest.mark.parametrize(("scale", "offset"), [(4.0, 0.0), (0.5, 0.0), (2.0, 96.0)])
def test_a_positive_affine_change_of_the_map_changes_nothing(
    name: str, scale: float, offset: float
):
    # integers, and weights of 1/64 from 7 to 224 pixels, keep half-pixel values exact in float32
    heatmap = np.random.default_rng(2).integers(-32, 32, size=(7, 7)).astype(np.float32)
    protocol = PROTOCOLS[name]
    tolerance = 0 if name != "ezvsl" or offset == 0 else 1e-3  # weights of 1/223 round

    before = row_of(heatmap, protocol)
    after = row_of(heatmap * scale + offset, protocol)

    np.testing.assert_allclose(after, before, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_constant_map_stays_constant_whatever_the_interpolation_rounds(name: str):
    scored = scored_map(np.full((7, 7), 0.1, np.float32), PROTOCOLS[name], RANGE)

    assert scored.constant
    assert scored.pixels.min() == scored.pixels.max()


def test_a_constant_map_predicts_nothing_under_bench_v1():
    gt = truth_map(TRUTH, BENCH)

    measured = measure(scored_map(np.full((7, 7), 3, np.float32), BENCH), planes_of(gt), BENCH)

    assert not measured.ciou.any()
    assert measured.pixel_ap == pytest.approx(gt.mean(), abs=1e-7)


@pytest.mark.parametrize("ranking", [True, False])
def test_a_mask_is_measured_as_it_is(ranking: bool):
    gt = truth_map(TRUTH, BENCH)
    mask = noise(3, 224) > 0.8

    measured = measure(mask_as_map(mask), planes_of(gt), LVS, ranking=ranking)

    assert measured.ciou.tolist() == [ciou_of(mask, gt)]


def test_the_ranking_of_a_mask_is_that_of_its_two_values():
    gt = truth_map(TRUTH, BENCH)
    mask = noise(3, 224) > 0.8

    measured = measure(mask_as_map(mask), planes_of(gt), LVS)

    assert measured.pixel_ap == pixel_ap(mask.astype(np.float32), gt)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("annotators", [0, 3])
def test_rows_are_as_wide_as_announced(name: str, annotators: int):
    protocol = PROTOCOLS[name]

    row = row_of(noise(0), protocol, annotators)

    assert row.shape == (row_width(protocol, annotators),)


@pytest.mark.parametrize("name", PRINTED)
def test_overlap_without_ranking_is_the_same(name: str):
    protocol = PROTOCOLS[name]
    planes = planes_of(truth_map(TRUTH, protocol))
    scored = scored_map(noise(6), protocol, RANGE)

    assert (
        measure(scored, planes, protocol, ranking=False).ciou.tolist()
        == measure(scored, planes, protocol).ciou.tolist()
    )


@pytest.mark.parametrize(
    ("name", "threshold"), [*((name, None) for name in PRINTED), ("bench-v1", 0.4)]
)
def test_the_mask_that_is_drawn_is_the_one_that_was_scored(name: str, threshold: float | None):
    protocol = PROTOCOLS[name]
    gt = truth_map(TRUTH, protocol)
    ciou = measure(scored_map(noise(4), protocol, RANGE), planes_of(gt), protocol).ciou
    scored = ciou[0] if threshold is None else ciou[protocol.threshold_grid.index(threshold)]

    mask = predicted_mask(noise(4), protocol, threshold, truth=TRUTH, map_range=RANGE)

    assert ciou_of(mask, gt) == scored


@pytest.mark.parametrize("name", ["slavc-absolute", "dsol-solo"])
def test_a_rule_that_goes_by_values_needs_their_range(name: str):
    with pytest.raises(BenchError, match=f"protocol {name} goes by the values.*--map-range"):
        scored_map(noise(0), PROTOCOLS[name])


@pytest.mark.parametrize("bad", [(0, np.inf), (-np.inf, 0), (0, 1e-50), (-3e38, 3e38), (1, 1)])
def test_a_range_that_cannot_be_taken_to_0_and_1_is_refused(bad: tuple[float, float]):
    with pytest.raises(BenchError, match="the range of the maps must be low < high, got"):
        check_range(PROTOCOLS["slavc"], bad)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_largest_maps_that_are_taken_stay_numbers(name: str):
    checker = np.where(np.indices((7, 7)).sum(0) % 2, np.float32(LARGEST_OF_MAP), np.float32(0))
    check_answer(Answer(checker), Truth("clip", (np.empty((0, 4)),)))

    scored = scored_map(checker, PROTOCOLS[name], (0, LARGEST_OF_MAP))

    assert np.isfinite(scored.pixels).all()
    assert not scored.constant


def test_drawing_under_bench_v1_needs_a_threshold():
    with pytest.raises(ValueError, match="does not fit protocol bench-v1, got None"):
        predicted_mask(noise(0), BENCH)


def test_drawing_under_an_oracle_needs_the_truth():
    with pytest.raises(ValueError, match="align-adaptive needs the truth of the sample"):
        predicted_mask(noise(0), PROTOCOLS["align-adaptive"])


def test_boxes_are_not_pointed_at():
    answer = Answer(boxes=np.array([[0.1, 0.2, 0.7, 0.6]]))

    row = measured_answer(answer, TRUTH, LVS)

    assert np.isnan(row[figure_place("pointing")])
