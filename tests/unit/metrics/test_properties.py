"""What must hold of every score, whatever the maps and the boxes.

Maps meet truths on 16 x 16 pixels, so that hundreds of them are scored in a moment; every rule but
the size is that of the protocol. Examples are the same in every run.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from metrics.bootstrap import bootstrap_ci, paired_difference
from metrics.ceilings import best_ciou, ceiling
from metrics.floors import floor_scores
from metrics.functional.ciou import consensus_iou
from metrics.functional.multi_source import class_aware_ap, permutation_invariant_ap
from metrics.functional.ranking import pixel_ap, pointing
from metrics.functional.success import sample_auc, success_curve
from metrics.localization import LocalizationMetrics
from metrics.measurement import (
    mask_as_map,
    measure,
    planes_of,
    predicted_mask,
    scored_map,
    truth_map,
    truth_planes,
)
from metrics.predictions import Predictions
from metrics.protocols import PROTOCOLS, Protocol
from metrics.scoring import Scores, score, score_maps
from metrics.truth import Source, Truth

SIDE = 16
PIXELS = SIDE * SIDE
SMALL = {name: replace(protocol, map_size=SIDE) for name, protocol in PROTOCOLS.items()}
BLIND = [name for name in PROTOCOLS if not PROTOCOLS[name].oracle]
HALF = [name for name in PROTOCOLS if PROTOCOLS[name].threshold_rule == "upper_median"]
RANGE = (-8.0, 8.0)
NO_BOX = np.empty((0, 4))

few = settings(
    derandomize=True, deadline=None, database=None, max_examples=10,
    phases=(Phase.generate, Phase.shrink), report_multiple_bugs=False,
)  # fmt: skip
many = settings(few, max_examples=60)

masks = arrays(np.bool_, (SIDE, SIDE), elements=st.booleans(), fill=st.booleans())
soft_truths = arrays(np.float64, (SIDE, SIDE), elements=st.sampled_from([0.0, 0.5, 1.0]))
whole_numbers = st.integers(-8, 8).map(float)
maps = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=whole_numbers)
)
full_maps = arrays(np.float32, (SIDE, SIDE), elements=whole_numbers)
box_sets = st.integers(0, 3).flatmap(
    lambda count: arrays(np.float64, (count, 4), elements=st.integers(-2, 18).map(lambda k: k / 16))
)
truths = st.lists(box_sets, min_size=1, max_size=3).map(lambda boxes: Truth("x", tuple(boxes)))
seeds = st.integers(0, 2**31)


def distinct_map(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(PIXELS).reshape(SIDE, SIDE).astype(np.float32)


def mask_of(heatmap: np.ndarray, protocol: Protocol, truth: Truth) -> np.ndarray:
    threshold = 0.5 if protocol.threshold_grid else None
    return predicted_mask(heatmap, protocol, threshold, truth=truth, map_range=RANGE)


class Case(NamedTuple):
    """A test list and answers to all of it, in its order."""

    truth: list[Truth]
    predictions: Predictions


KINDS = ("annotators", "masks", "negatives", "frames", "segments", "sources")


def random_case(seed: int, count: int, kinds: frozenset[str]) -> Case:
    rng = np.random.default_rng(seed)
    truth = []
    for k in range(count):
        boxes = np.sort(rng.integers(-1, 18, size=(3, 2, 2)), axis=1).reshape(3, 4) / SIDE
        sample = Truth(
            f"clip{rng.integers(10**6)}_{k}",
            tuple(boxes[[place]] for place in range(3)) if "annotators" in kinds else (boxes[:1],),
            frame=f"frame{k // 2}" if "frames" in kinds else None,
            segments=rng.integers(3, size=4) if "segments" in kinds else None,
        )
        if "masks" in kinds and k % 3 == 0:
            sample = sample._replace(mask=rng.random((9, 11)) < 0.4)
        if "sources" in kinds:
            quiet = rng.integers(3)
            sources = tuple(Source(boxes[[s]], sounding=s != quiet) for s in range(2))
            sample = sample._replace(sources=sources)
        if "negatives" in kinds and k % 3 == 1:
            frame_id = truth[-1].id
            sample = Truth(f"{frame_id}+{sample.id}", (NO_BOX,), on_screen=False)
            if "sources" in kinds:
                sample = sample._replace(sources=(Source(NO_BOX, sounding=False),) * 2)
        truth.append(sample)
    maps_of = rng.integers(-8, 9, size=(count, 3, 4)).astype(np.float32)
    confidence = (rng.integers(5, size=count) / 4).astype(np.float32)
    return Case(
        truth,
        Predictions(
            [sample.id for sample in truth],
            maps_of,
            confidence=confidence if "negatives" in kinds else None,
            segment_logits=rng.normal(size=(count, 4, 3)).astype(np.float32)
            if "segments" in kinds
            else None,
            source_heatmap=rng.integers(-8, 9, size=(count, 2, 3, 3)).astype(np.float32)
            if "sources" in kinds
            else None,
            map_range=RANGE,
        ),
    )


cases = st.builds(
    random_case, seeds, st.integers(2, 9), st.frozensets(st.sampled_from(KINDS), max_size=3)
)


def permuted(predictions: Predictions, order: np.ndarray) -> Predictions:
    rows = {
        name: value[order]
        for name, value in predictions._asdict().items()
        if isinstance(value, np.ndarray)
    }
    return predictions._replace(ids=[predictions.ids[k] for k in order], **rows)


def assert_same(actual: Scores, expected: Scores) -> None:
    """Equal to the last bit, sample by sample."""
    assert dict(actual.metrics) == dict(expected.metrics)
    assert dict(actual.ci95) == dict(expected.ci95)
    assert actual.thresholds == expected.thresholds
    assert set(actual.undefined) == set(expected.undefined)
    assert set(actual.excluded) == set(expected.excluded)
    assert set(actual.constant_maps) == set(expected.constant_maps)
    assert set(actual.values) == set(expected.values)
    place = {sample_id: k for k, sample_id in enumerate(actual.ids)}
    order = [place[sample_id] for sample_id in expected.ids]
    for name, column in expected.values.items():
        np.testing.assert_array_equal(actual.values[name][order], column, err_msg=name)


# Bounds


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(case=cases)
def test_every_metric_its_interval_and_its_columns_lie_between_zero_and_one(name: str, case: Case):
    scores = score(case.predictions, case.truth, SMALL[name])

    bounds = [*scores.metrics.values(), *np.ravel(list(scores.ci95.values()))]
    columns = [scores.values[name] for name in scores.values if name != "confidence"]
    values = np.concatenate([bounds, *columns])
    assert np.isnan(bounds).sum() == 0
    assert ((values >= 0) & (values <= 1) | np.isnan(values)).all()


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(heatmap=maps, truth=truths)
def test_an_overlap_is_undefined_where_neither_map_has_a_pixel_and_nowhere_else(
    name: str, heatmap: np.ndarray, truth: Truth
):
    protocol = SMALL[name]
    predicted, planes = mask_of(heatmap, protocol, truth), truth_planes(truth, protocol)

    ciou = measure(mask_as_map(predicted), planes, protocol).ciou[0]

    assert np.isnan(ciou) == (not predicted.any() and not planes.marked)


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(case=cases)
def test_success_does_not_grow_with_the_threshold(name: str, case: Case):
    steps = (0.5, 0.0, 0.05, 0.3, 0.30000000000000004, 0.51, 0.75, 1.0)
    protocol = replace(SMALL[name], success_thresholds=steps)

    scores = score(case.predictions, case.truth, protocol)

    rates = [scores.metrics[f"ciou@{t}"] for t in sorted(steps) if f"ciou@{t}" in scores.metrics]
    assert rates == sorted(rates, reverse=True)
    assert (np.diff(success_curve(scores.values["ciou"])) <= 0).all() or not scores.n


# Monotone in the ground truth


@many
@given(predicted=masks, truth=soft_truths, more=masks)
def test_marking_predicted_pixels_never_lowers_the_overlap(
    predicted: np.ndarray, truth: np.ndarray, more: np.ndarray
):
    raised = np.where(predicted & more, np.minimum(truth + 0.5, 1), truth)

    before, after = (
        measure(mask_as_map(predicted), planes_of(gt), SMALL["lvs"]).ciou for gt in (truth, raised)
    )

    assert np.nan_to_num(after) >= np.nan_to_num(before)


@many
@given(predicted=masks, truth=soft_truths, more=masks)
def test_marking_pixels_that_are_not_predicted_never_raises_the_overlap(
    predicted: np.ndarray, truth: np.ndarray, more: np.ndarray
):
    raised = np.where(~predicted & more, np.minimum(truth + 0.5, 1), truth)

    before, after = (
        measure(mask_as_map(predicted), planes_of(gt), SMALL["lvs"]).ciou for gt in (truth, raised)
    )

    assert np.nan_to_num(after) <= np.nan_to_num(before)


@pytest.mark.parametrize("name", BLIND)
@few
@given(heatmap=maps, truth=soft_truths, more=masks)
def test_a_truth_that_grows_where_a_rule_predicts_never_costs_anything(
    name: str, heatmap: np.ndarray, truth: np.ndarray, more: np.ndarray
):
    protocol = SMALL[name]
    scored = scored_map(heatmap, protocol, RANGE)
    predicted = mask_of(heatmap, protocol, Truth("x", ()))
    cut = 9 if protocol.threshold_grid else 0  # 0.5
    raised = np.where(predicted & more, 1, truth)

    before, after = (measure(scored, planes_of(gt), protocol).ciou[cut] for gt in (truth, raised))

    assert np.nan_to_num(after) >= np.nan_to_num(before)


@many
@given(seed=seeds, marked=masks)
def test_moving_a_mark_to_a_higher_pixel_raises_the_average_precision(
    seed: int, marked: np.ndarray
):
    heatmap = distinct_map(seed)
    assume(marked.any() and not marked.all())
    lowest = np.argmin(np.where(marked, heatmap, np.inf))
    higher = np.flatnonzero(~marked & (heatmap > heatmap.flat[lowest]))
    assume(len(higher))
    moved = marked.copy()
    moved.flat[lowest], moved.flat[higher[seed % len(higher)]] = False, True

    assert pixel_ap(heatmap, moved.astype(float)) > pixel_ap(heatmap, marked.astype(float))


@many
@given(seed=seeds, marked=masks)
def test_marking_the_highest_unmarked_pixel_never_lowers_the_average_precision(
    seed: int, marked: np.ndarray
):
    heatmap = distinct_map(seed)
    assume(marked.any() and not marked.all())
    more = marked.copy()
    more.flat[np.argmax(np.where(marked, -np.inf, heatmap))] = True

    before = pixel_ap(heatmap, marked.astype(float))

    assert pixel_ap(heatmap, more.astype(float)) >= before - 1e-15


@many
@given(heatmap=full_maps, truth=soft_truths, more=masks)
def test_a_larger_truth_is_pointed_at_where_the_smaller_was(
    heatmap: np.ndarray, truth: np.ndarray, more: np.ndarray
):
    assert pointing(heatmap, np.maximum(truth, more)) >= pointing(heatmap, truth)


# Nothing but the samples counts


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(case=cases, seed=seeds)
def test_the_order_of_the_maps_changes_nothing(name: str, case: Case, seed: int):
    order = np.random.default_rng(seed).permutation(len(case.truth))

    shuffled = score(permuted(case.predictions, order), case.truth, SMALL[name])

    assert_same(shuffled, score(case.predictions, case.truth, SMALL[name]))


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(case=cases, seed=seeds)
def test_the_order_of_the_test_list_changes_nothing(name: str, case: Case, seed: int):
    order = np.random.default_rng(seed).permutation(len(case.truth))
    shuffled = [case.truth[k] for k in order]

    assert_same(
        score(case.predictions, shuffled, SMALL[name]),
        score(case.predictions, case.truth, SMALL[name]),
    )


@many
@given(ciou=arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1)))
def test_the_area_of_a_sample_does_not_depend_on_its_place(ciou: np.ndarray):
    alone = [sample_auc(ciou[k : k + 1])[0] for k in range(len(ciou))]

    assert sample_auc(ciou).tolist() == alone


def frames_of_two(order: list[int]) -> Scores:
    truth = [
        Truth(f"frame{k // 2}_{k % 2}", (np.array([[0.0, 0.0, 0.5, 1.0]]),), frame=f"frame{k // 2}")
        for k in range(8)
    ]
    maps_of = np.zeros((8, 2, 2), np.float32)
    maps_of[:, :, 0] = 1
    maps_of[5] = maps_of[5, :, ::-1]  # misses one sound of the third frame
    ids = [truth[k].id for k in order]
    return score(Predictions(ids, maps_of[order]), truth, SMALL["lvs"])


def test_the_sample_that_stands_for_a_frame_does_not_depend_on_the_order_of_the_maps():
    forwards, mixed = frames_of_two([*range(8)]), frames_of_two([1, 0, 2, 3, 5, 4, 7, 6])

    column = dict(zip(forwards.ids, forwards.column("iiou@0.5"), strict=True))

    expected = dict(zip(mixed.ids, mixed.column("iiou@0.5"), strict=True))
    assert {k for k, v in column.items() if v == v} == {k for k, v in expected.items() if v == v}


def test_interactive_iou_of_two_runs_is_paired_by_frame_whatever_the_order_of_their_maps():
    forwards, backwards = frames_of_two([*range(8)]), frames_of_two([*range(7, -1, -1)])

    assert paired_difference(forwards, backwards, "iiou@0.5").n == 4


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(case=cases, batch=st.integers(1, 9), seed=seeds)
def test_the_stateful_form_scores_like_the_function_for_every_kind_of_answer(
    name: str, case: Case, batch: int, seed: int
):
    order = np.random.default_rng(seed).permutation(len(case.truth))
    metric = LocalizationMetrics(case.truth, SMALL[name], map_range=RANGE)
    answers = {
        field: torch.from_numpy(value)
        for field, value in case.predictions._asdict().items()
        if isinstance(value, np.ndarray)
    }
    for start in range(0, len(order), batch):
        index = torch.from_numpy(order[start : start + batch])
        metric.update(index, **{field: rows[index] for field, rows in answers.items()})

    assert_same(metric.compute(), score(case.predictions, case.truth, SMALL[name]))


@few
@given(case=cases, ranking=st.booleans())
def test_scoring_maps_alone_is_scoring_predictions_of_maps(case: Case, ranking: bool):
    ids, heatmaps = case.predictions.ids, case.predictions.heatmap
    assert heatmaps is not None

    short = score_maps(ids, heatmaps, case.truth, SMALL["lvs"], ranking=ranking)

    expected = score(Predictions(ids, heatmaps), case.truth, SMALL["lvs"], ranking=ranking)
    assert_same(short, expected)


@many
@given(predicted=masks, truth=soft_truths)
def test_the_measured_overlap_is_consensus_iou(predicted: np.ndarray, truth: np.ndarray):
    expected = consensus_iou(torch.from_numpy(predicted)[None], torch.from_numpy(truth)[None])

    measured = measure(mask_as_map(predicted), planes_of(truth), SMALL["lvs"]).ciou

    np.testing.assert_array_equal(measured, expected.numpy())


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(heatmap=maps, truth=truths)
def test_overlaps_without_ranking_are_the_same(name: str, heatmap: np.ndarray, truth: Truth):
    scored = scored_map(heatmap, SMALL[name], RANGE)
    planes = truth_planes(truth, SMALL[name])

    np.testing.assert_array_equal(
        measure(scored, planes, SMALL[name], ranking=False).ciou,
        measure(scored, planes, SMALL[name]).ciou,
    )


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(heatmap=maps, boxes=box_sets)
def test_a_segmentation_of_the_boxes_scores_like_the_boxes(
    name: str, heatmap: np.ndarray, boxes: np.ndarray
):
    drawn = Truth("x", (boxes,))
    mask = truth_map(drawn, SMALL[name]) > 0
    predictions = Predictions(["x"], heatmap[None], map_range=RANGE)

    by_boxes = score(predictions, [drawn], SMALL[name])
    by_mask = score(predictions, [Truth("x", (), mask=mask)], SMALL[name])

    assert by_mask.values.keys() == by_boxes.values.keys()
    for column, values in by_boxes.values.items():
        np.testing.assert_array_equal(by_mask.values[column], values)


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(heatmap=maps, boxes=box_sets)
def test_a_frame_of_one_source_scores_like_its_only_object(
    name: str, heatmap: np.ndarray, boxes: np.ndarray
):
    single = Truth("x", (boxes,))
    alone = score(Predictions(["x"], heatmap[None], map_range=RANGE), [single], SMALL[name])

    scores = score(
        Predictions(["x"], source_heatmap=heatmap[None, None], map_range=RANGE),
        [single._replace(sources=(Source(boxes),))],
        SMALL[name],
    )

    for column in ("ciou", "hit@0.5", "auc"):
        np.testing.assert_array_equal(scores.values[column], alone.values[column])
    for column in ("cap", "piap"):
        expected = alone.values["pixel_ap"]
        np.testing.assert_array_equal(scores.values.get(column, expected), expected)


@many
@given(ap=arrays(np.float64, (3, 3), elements=st.floats(0, 1)))
def test_the_best_assignment_is_at_least_the_given_one(ap: np.ndarray):
    assert permutation_invariant_ap(ap) >= class_aware_ap(ap) - 1e-15


# The scale of the maps does not count


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(heatmap=full_maps, truth=truths, scale=st.integers(1, 50), offset=st.integers(-500, 500))
def test_a_positive_affine_change_of_map_and_range_changes_nothing(
    name: str, heatmap: np.ndarray, truth: Truth, scale: int, offset: int
):
    # whole numbers and a map of the protocol's own size: nothing is rounded before the quotient
    low, high = RANGE
    changed = Predictions(
        ["x"],
        (heatmap * scale + offset)[None],
        map_range=(low * scale + offset, high * scale + offset),
    )

    before = score(Predictions(["x"], heatmap[None], map_range=RANGE), [truth], SMALL[name])

    assume(SMALL[name].normalisation != "double_negation" or np.ptp(heatmap) > 0)
    assert_same(score(changed, [truth], SMALL[name]), before)


@pytest.mark.parametrize(
    "name", ["bench-v1", "ezvsl", "align", "align-adaptive", "sspl", "senocak"]
)
@few
@given(value=st.floats(-100, 100, width=32), other=st.floats(-100, 100, width=32), truth=truths)
def test_all_constant_maps_are_alike(name: str, value: float, other: float, truth: Truth):
    first, second = (np.full((3, 3), v, np.float32) for v in (value, other))

    np.testing.assert_array_equal(
        mask_of(first, SMALL[name], truth), mask_of(second, SMALL[name], truth)
    )


@pytest.mark.parametrize("name", HALF)
@few
@given(seed=seeds, truth=truths)
def test_half_of_the_pixels_go_by_the_order_of_a_map_alone(name: str, seed: int, truth: Truth):
    heatmap = distinct_map(seed)
    bent = np.sign(heatmap - 77) * (heatmap - 77) ** 2  # grows with it, and stays exact

    np.testing.assert_array_equal(
        mask_of(bent, SMALL[name], truth), mask_of(heatmap, SMALL[name], truth)
    )


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(heatmap=full_maps, boxes=box_sets)
def test_a_mirrored_map_scores_the_same_against_mirrored_boxes(
    name: str, heatmap: np.ndarray, boxes: np.ndarray
):
    mirrored = np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
    as_is = score(
        Predictions(["x"], heatmap[None], map_range=RANGE), [Truth("x", (boxes,))], SMALL[name]
    )

    turned = score(
        Predictions(["x"], np.ascontiguousarray(heatmap[None, :, ::-1]), map_range=RANGE),
        [Truth("x", (mirrored,))],
        SMALL[name],
    )

    for column in ("ciou", "pixel_ap", "hit@0.5"):
        np.testing.assert_array_equal(
            turned.values.get(column), as_is.values.get(column), err_msg=column
        )


# Floors, ceilings, intervals


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(heatmap=maps, truth=truths)
def test_no_prediction_beats_the_best_one_of_as_many_pixels(
    name: str, heatmap: np.ndarray, truth: Truth
):
    protocol = SMALL[name]
    planes, predicted = truth_planes(truth, protocol), mask_of(heatmap, protocol, truth)

    ciou = measure(mask_as_map(predicted), planes, protocol).ciou[0]

    assert np.nan_to_num(ciou) <= best_ciou(planes, int(predicted.sum()))


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(seed=seeds, seen=st.lists(truths, min_size=1, max_size=5))
def test_no_map_without_ties_beats_the_ceiling(name: str, seed: int, seen: list[Truth]):
    truth = [sample._replace(id=f"clip{k}") for k, sample in enumerate(seen)]
    maps_of = np.stack([distinct_map(seed + k) for k in range(len(truth))])
    for heatmap, sample in zip(maps_of, truth, strict=True):  # half of them know the answer
        heatmap += 2 * PIXELS * (seed % 2) * truth_map(sample, SMALL[name])
    ids = [sample.id for sample in truth]

    scores = score(Predictions(ids, maps_of, map_range=(0.0, 768.0)), truth, SMALL[name])

    best = ceiling(truth, SMALL[name])
    for key in best.keys() & scores.metrics.keys():
        assert scores.metrics[key] <= best[key] + 1e-12, key


@pytest.mark.parametrize("name", [*HALF, "align-adaptive"])
@few
@given(seed=seeds, seen=st.lists(truths, min_size=1, max_size=5))
def test_noise_cut_by_the_rule_stays_below_the_ceiling(name: str, seed: int, seen: list[Truth]):
    truth = [sample._replace(id=f"clip{k}") for k, sample in enumerate(seen)]

    floor = floor_scores("random", truth, SMALL[name], seed=seed, draws=3)

    best = ceiling(truth, SMALL[name])
    for key in best.keys() & floor.metrics.keys():
        assert floor.metrics[key] <= best[key] + 1e-12, key


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("floor", ["full", "center", "mean_box"])
def test_what_cannot_hear_tells_no_negative_from_a_positive(floor: str, name: str):
    case = random_case(0, 9, frozenset({"negatives"}))

    assert floor_scores(floor, case.truth, SMALL[name]).metrics["onscreen_auc"] == 0.5


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_single_marked_pixel_can_be_pointed_at(name: str):
    truth = [Truth("x", (np.array([[0.5, 0.5, 9 / 16, 9 / 16]]),))]

    assert ceiling(truth, SMALL[name])["pointing"] == 1


@few
@given(first=seeds, second=seeds, seen=st.lists(truths, min_size=2, max_size=6))
@pytest.mark.parametrize("name", ["lvs", "slavc"])
def test_a_paired_difference_changes_its_sign_with_the_order_of_the_pair(
    name: str, first: int, second: int, seen: list[Truth]
):
    truth = [sample._replace(id=f"clip{k}") for k, sample in enumerate(seen)]
    ids = [sample.id for sample in truth]
    a, b = (
        score(Predictions(ids, np.random.default_rng(seed).random((len(ids), 3, 3)),
                          map_range=RANGE), truth, SMALL[name])
        for seed in (first, second)
    )  # fmt: skip

    there, back = paired_difference(a, b, "mean_iou"), paired_difference(b, a, "mean_iou")

    assert (there.n, there.mean) == (back.n, -back.mean)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-12)


@many
@given(
    column=arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1)),
    seed=st.integers(0, 2**31),
)
def test_the_interval_of_a_mean_holds_the_mean(column: np.ndarray, seed: int):
    # of n draws with replacement at least one in four is on either side of what was drawn from
    ((low, high),) = bootstrap_ci(column, seed)

    assert low - 1e-12 <= column.mean() <= high + 1e-12


# Cross-fitted thresholds


def cross_fitted_case() -> Case:
    rng = np.random.default_rng(3)
    truth = [
        Truth(f"clip{k}", (box,), sources=(Source(box),))
        for k, box in enumerate(
            np.concatenate([near, near + 0.4], axis=1) for near in rng.random((60, 1, 2)) * 0.6
        )
    ]
    maps_of = rng.random((60, 1, 5, 5), dtype=np.float32)
    return Case(truth, Predictions([s.id for s in truth], source_heatmap=maps_of))


def thresholds_with(case: Case, odd: Truth) -> tuple[float, ...] | None:
    maps_of = case.predictions.source_heatmap
    assert maps_of is not None
    constant = np.full((1, *maps_of.shape[1:]), 0.5, np.float32)
    predictions = Predictions(
        [*case.predictions.ids, odd.id], source_heatmap=np.concatenate([maps_of, constant])
    )
    return score(predictions, [*case.truth, odd], SMALL["bench-v1"]).thresholds


@pytest.mark.parametrize(
    "source", [Source(np.array([[0.0, 0.0, 1.0, 1.0]]), sounding=False), Source(NO_BOX)],
    ids=["that is silent", "without a pixel"],
)  # fmt: skip
def test_a_frame_with_one_source_does_not_choose_the_thresholds(source: Source):
    case = cross_fitted_case()
    odd = Truth("odd", (np.array([[0.0, 0.0, 1.0, 1.0]]),), sources=(source,))

    found = thresholds_with(case, odd)

    assert found == score(case.predictions, case.truth, SMALL["bench-v1"]).thresholds


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_frame_whose_sources_are_all_silent_is_scored_by_every_floor(name: str):
    box = np.array([[0.0, 0.0, 0.5, 1.0]])
    truth = [
        Truth("loud", (box,), sources=(Source(box),)),
        Truth("silent", (box,), sources=(Source(box, sounding=False),)),
    ]

    scores = {
        floor: floor_scores(floor, truth, SMALL[name], draws=2)
        for floor in ("full", "center", "mean_box", "random")
    }

    assert {floor: found.undefined for floor, found in scores.items()} == dict.fromkeys(
        scores, ("silent",)
    )
