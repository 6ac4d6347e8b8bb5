"""Every protocol against a slow scorer of its own, written from the formulas of its source.

The scorers here share nothing with the package but the raw maps and the boxes: full sorts, loops
over samples and thresholds, float64 masks, torch's own interpolation.
"""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from metrics.breakdown import breakdown
from metrics.measurement import predicted_mask
from metrics.predictions import Predictions
from metrics.protocols import PROTOCOLS, protocol_named
from metrics.scoring import Scores, score
from metrics.truth import Source, Truth

SIDE = 224
PIXELS = SIDE * SIDE
LOW, HIGH = -3.0, 5.0
GRID = [0.05 * k for k in range(21)]
NO_BOX = np.empty((0, 4))
PRINTED = [name for name in PROTOCOLS if name != "bench-v1"]


def of_cv2(raw: np.ndarray) -> np.ndarray:
    return cv2.resize(raw, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def of_torch(raw: np.ndarray, mode: str) -> np.ndarray:
    batch = torch.from_numpy(raw)[None, None]
    return F.interpolate(batch, size=(SIDE, SIDE), mode=mode, align_corners=True)[0, 0].numpy()


def normalised(value: np.ndarray) -> np.ndarray:
    low, high = value.min(), value.max()
    return value if high - low == 0 else (value - low) / (high - low)


def calibrated(value: np.ndarray) -> np.ndarray:
    return (value - np.float32(LOW)) / np.float32(HIGH - LOW)


def filled(where: np.ndarray) -> np.ndarray:
    infer = np.zeros((SIDE, SIDE))
    infer[where] = 1
    return infer


def lvs_mask(raw: np.ndarray, gt: np.ndarray) -> np.ndarray:
    pred = 1 - normalised(-of_cv2(raw))
    threshold = np.sort(pred.flatten())[int(PIXELS / 2)]
    pred[pred > threshold] = 1
    pred[pred < 1] = 0
    return filled(pred >= 0.5)


def ezvsl_mask(raw: np.ndarray, gt: np.ndarray) -> np.ndarray:
    pred = normalised(of_torch(raw, "bilinear"))
    return filled(pred >= np.sort(pred.flatten())[int(PIXELS * 0.5)])


def slavc_mask(raw: np.ndarray, gt: np.ndarray) -> np.ndarray:
    pred = normalised(calibrated(of_torch(raw, "bicubic")))
    return filled(pred >= np.sort(pred.flatten())[int(PIXELS * 0.5)])


def slavc_absolute_mask(raw: np.ndarray, gt: np.ndarray) -> np.ndarray:
    return filled(calibrated(of_torch(raw, "bicubic")) >= 0.5)


def align_mask(raw: np.ndarray, gt: np.ndarray) -> np.ndarray:
    pred = 1 - normalised(-of_cv2(raw))
    return filled(pred > np.sort(pred.flatten())[int(PIXELS / 2)])


def align_adaptive_mask(raw: np.ndarray, gt: np.ndarray) -> np.ndarray:
    pred = 1 - normalised(-of_cv2(raw))
    marked = int((gt != 0).sum()) or PIXELS // 2
    return filled(pred > np.sort(pred.flatten())[PIXELS - marked])


def sspl_mask(raw: np.ndarray, gt: np.ndarray) -> np.ndarray:
    resized = of_cv2(raw)
    return filled((resized - np.min(resized)) / np.ptp(resized) >= 0.5)


def senocak_mask(raw: np.ndarray, gt: np.ndarray) -> np.ndarray:
    return filled(normalised(of_cv2(raw)) > 0.5)


def bench_mask(raw: np.ndarray, gt: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    return filled(normalised(of_cv2(raw)).astype(np.float64) >= threshold)


def dsol_mask(share: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def mask(raw: np.ndarray, gt: np.ndarray) -> np.ndarray:
        pred = calibrated(of_cv2(raw))
        return filled(pred > np.float32(share * float(pred.max())))

    return mask


MASKS = {
    "bench-v1": bench_mask,
    "lvs": lvs_mask,
    "ezvsl": ezvsl_mask,
    "slavc": slavc_mask,
    "slavc-absolute": slavc_absolute_mask,
    "align": align_mask,
    "align-adaptive": align_adaptive_mask,
    "sspl": sspl_mask,
    "senocak": senocak_mask,
    "dsol-solo": dsol_mask(0.1),
    "dsol-synthetic": dsol_mask(0.5),
    "dsol-duet": dsol_mask(0.2),
}


def drawn_box(gt: np.ndarray, box: np.ndarray) -> None:
    x1, y1, x2, y2 = (int(min(max(corner, 0.0), 1.0) * SIDE) for corner in box.tolist())
    gt[y1:y2, x1:x2] += 1


def votes_of_boxes(annotators: Sequence[np.ndarray]) -> np.ndarray:
    """Every box of every annotator votes: LVS utils.py:56-75."""
    gt = np.zeros((SIDE, SIDE))
    for box in itertools.chain(*annotators):
        drawn_box(gt, box)
    return gt


def votes_of_annotators(annotators: Sequence[np.ndarray]) -> np.ndarray:
    """Every annotator votes once for what any of his boxes covers: Senocak et al., section 5."""
    gt = np.zeros((SIDE, SIDE))
    for boxes in annotators:
        own = np.zeros((SIDE, SIDE))
        for box in boxes:
            drawn_box(own, box)
        gt += own > 0
    return gt


def truth_of(sample: Truth, name: str) -> np.ndarray:
    if sample.mask is not None:
        height, width = sample.mask.shape
        gt = np.zeros((SIDE, SIDE))
        for y, x in np.ndindex(SIDE, SIDE):
            gt[y, x] = sample.mask[int((y + 0.5) * height / SIDE), int((x + 0.5) * width / SIDE)]
        return gt
    votes = votes_of_annotators if name in ("bench-v1", "senocak") else votes_of_boxes
    gt = votes(sample.boxes)
    if len(sample.boxes) == 1:
        return (gt > 0).astype(np.float64)
    gt = gt / 2
    gt[gt > 1] = 1
    return gt


def overlap(infer: np.ndarray, gt: np.ndarray) -> float:
    denominator = float(np.sum(gt) + np.sum(infer * (gt == 0)))
    return float(np.sum(infer * gt)) / denominator if denominator else float("nan")


def looped_auc(ciou: Sequence[float]) -> float:
    heights = [sum(value >= threshold for value in ciou) / len(ciou) for threshold in GRID]
    return sum((heights[k] + heights[k + 1]) / 2 * 0.05 for k in range(20))


def looped_ap(values: np.ndarray, gt: np.ndarray) -> float:
    """Precision down to each distinct value times the recall gained there."""
    order = np.argsort(-values.ravel(), kind="stable")
    ranked, positive = values.ravel()[order], gt.ravel()[order] > 0
    found = np.cumsum(positive)
    if not found[-1]:
        return float("nan")
    area, before = 0.0, 0
    for end in np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)).tolist():
        if found[end] > before:
            area += (found[end] - before) / found[-1] * found[end] / (end + 1)
            before = found[end]
    return float(area)


def random_box(rng: np.random.Generator) -> np.ndarray:
    corners = np.sort(rng.uniform(-0.1, 1.1, size=(2, 2)), axis=0)  # near and far, xy
    return corners.ravel()


def inner_box(rng: np.random.Generator) -> np.ndarray:
    """A box of which something is left, whatever is cut and truncated."""
    near, extent = rng.uniform(0, 0.6, size=2), rng.uniform(0.05, 0.4, size=2)
    return np.concatenate([near, near + extent])


def random_truth(k: int) -> Truth:
    """Boxes of one to three annotators, none to three each, a garbage box, or a mask."""
    rng = np.random.default_rng([3, k])
    if k % 7 == 6:
        return Truth(f"clip{k:02d}", (NO_BOX,), mask=rng.random((31, 45)) < 0.3)
    annotators = [
        np.array([random_box(rng) for _ in range(count)]).reshape(-1, 4)
        for count in rng.integers(0, 4, size=1 + k % 3)
    ]
    annotators[0] = np.concatenate([annotators[0], random_box(rng)[None]])
    if k % 5 == 0:
        garbage = np.array([[0.4, 0.6, -2.8823037615171176e16, 0.9]])
        annotators[-1] = np.concatenate([annotators[-1], garbage])
    return Truth(f"clip{k:02d}", tuple(annotators))


def random_map(k: int) -> np.ndarray:
    cells = (7, 14, 20)[k % 3]
    rng = np.random.default_rng([4, k])
    values = rng.uniform(LOW, HIGH, size=(cells, cells))
    return values.astype(np.float32) if k % 4 else np.round(values).astype(np.float32)  # with ties


COUNT = 20
TRUTH = [random_truth(k) for k in range(COUNT)]
MAPS = [random_map(k) for k in range(COUNT)]
IDS = [sample.id for sample in TRUTH]


def scores_of_each(name: str, truth: Sequence[Truth], maps: Sequence[np.ndarray]) -> list[Scores]:
    """One set of scores per map, because arrays hold maps of one size only."""
    return [
        score(Predictions([sample.id], raw[None], map_range=(LOW, HIGH)), [sample], name)
        for sample, raw in zip(truth, maps, strict=True)
    ]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_masks_are_those_of_the_spelled_out_rules_pixel_by_pixel(name: str):
    threshold = 0.5 if name == "bench-v1" else None
    for sample, raw in zip(TRUTH, MAPS, strict=True):
        expected = MASKS[name](raw, truth_of(sample, name))

        mask = predicted_mask(raw, PROTOCOLS[name], threshold, truth=sample, map_range=(LOW, HIGH))

        np.testing.assert_array_equal(mask, expected > 0)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_overlaps_are_those_of_the_spelled_out_rules_to_the_last_bit(name: str):
    truths = [truth_of(sample, name) for sample in TRUTH]
    expected = [overlap(MASKS[name](m, gt), gt) for m, gt in zip(MAPS, truths, strict=True)]

    scores = scores_of_each(name, TRUTH, MAPS)

    assert [one.values["ciou"][0] for one in scores] == expected


@pytest.mark.parametrize("name", ["lvs", "ezvsl", "slavc", "slavc-absolute", "bench-v1"])
def test_pixel_average_precision_and_pointing_are_those_of_loops(name: str):
    seen_by: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "lvs": lambda raw: 1 - normalised(-of_cv2(raw)),
        "ezvsl": lambda raw: normalised(of_torch(raw, "bilinear")),
        "slavc": lambda raw: normalised(calibrated(of_torch(raw, "bicubic"))),
        "slavc-absolute": lambda raw: calibrated(of_torch(raw, "bicubic")),  # some are below 0
        "bench-v1": lambda raw: normalised(of_cv2(raw)),
    }
    seen = [seen_by[name](raw) for raw in MAPS]
    truths = [truth_of(sample, name) for sample in TRUTH]

    scores = scores_of_each(name, TRUTH, MAPS)

    for one, values, gt in zip(scores, seen, truths, strict=True):
        first = values.ravel().tolist().index(values.max())
        assert one.values["pixel_ap"][0] == pytest.approx(looped_ap(values, gt), abs=1e-12)
        assert one.values["pointing"][0] == (gt.ravel()[first] > 0)


def same_size_maps() -> np.ndarray:
    rng = np.random.default_rng(11)
    return rng.uniform(LOW, HIGH, size=(COUNT, 14, 14)).astype(np.float32)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_aggregates_are_those_of_the_looped_overlaps(name: str):
    maps, truths = same_size_maps(), [truth_of(sample, name) for sample in TRUTH]
    ciou = [overlap(MASKS[name](m, gt), gt) for m, gt in zip(maps, truths, strict=True)]

    scores = score(Predictions(IDS, maps, map_range=(LOW, HIGH)), TRUTH, name)

    assert scores.metrics["mean_iou"] == pytest.approx(sum(ciou) / COUNT, abs=1e-12)
    assert scores.metrics["auc"] == pytest.approx(looped_auc(ciou), abs=1e-12)
    for threshold in PROTOCOLS[name].success_thresholds:
        hits = sum(value >= threshold for value in ciou)
        assert scores.metrics[f"ciou@{threshold}"] == pytest.approx(hits / COUNT, abs=1e-12)


def fold(sample_id: str) -> int:
    return int(hashlib.sha256(sample_id.encode()).hexdigest()[:8], 16) % 5


def test_bench_v1_scores_each_fold_at_the_threshold_that_suits_the_others():
    rng = np.random.default_rng(12)
    truth = [Truth(f"clip{k:02d}", (inner_box(rng)[None],)) for k in range(60)]
    truths = [truth_of(sample, "bench-v1") for sample in truth]
    pooled = [F.adaptive_avg_pool2d(torch.from_numpy(gt)[None], 7)[0].numpy() for gt in truths]
    maps = rng.random((60, 7, 7), dtype=np.float32) + np.stack(pooled).astype(np.float32)
    table = [
        [overlap(bench_mask(raw, gt, t), gt) for t in GRID[1:20]]
        for raw, gt in zip(maps, truths, strict=True)
    ]
    folds = [fold(sample.id) for sample in truth]
    expected = []
    for row, own in zip(table, folds, strict=True):
        others = [other for other, there in zip(table, folds, strict=True) if there != own]
        means = [sum(column) / len(others) for column in zip(*others, strict=True)]
        expected.append(row[means.index(max(means))])
    negatives = [Truth(f"{sample.id}+x", (NO_BOX,), on_screen=False) for sample in truth[:9]]
    ids = [sample.id for sample in (*negatives, *truth)]

    scores = score(
        Predictions(ids, np.concatenate([maps[::-1][:9], maps])), [*truth, *negatives], "bench-v1"
    )

    assert not scores.partial
    assert len(set(scores.thresholds or ())) > 1
    assert scores.values["ciou"][9:].tolist() == expected
    assert scores.metrics["auc"] == pytest.approx(looped_auc(expected), abs=1e-12)


@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_each_annotator_is_scored_alone_over_the_samples_he_marked(name: str, place: int):
    rows = [k for k, sample in enumerate(TRUTH) if sample.mask is None]
    maps, own = same_size_maps()[rows], []
    for raw, row in zip(maps, rows, strict=True):
        if len(TRUTH[row].boxes) >= place and len(TRUTH[row].boxes[place - 1]):
            gt = (votes_of_boxes([TRUTH[row].boxes[place - 1]]) > 0).astype(np.float64)
            own.append(overlap(MASKS[name](raw, gt), gt))

    scores = score(
        Predictions([IDS[k] for k in rows], maps, map_range=(LOW, HIGH)),
        [TRUTH[k] for k in rows],
        name,
    )

    hits = sum(value >= 0.5 for value in own) / len(own)
    assert scores.metrics[f"annotator{place}_ciou@0.5"] == pytest.approx(hits, abs=1e-12)
    assert scores.metrics[f"annotator{place}_auc"] == pytest.approx(looped_auc(own), abs=1e-12)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_all_annotators_are_the_mean_over_those_who_marked_a_sample(name: str):
    rows = [k for k, sample in enumerate(TRUTH) if sample.mask is None]
    maps, hits, areas = same_size_maps()[rows], [], []
    for raw, row in zip(maps, rows, strict=True):
        own = []
        for boxes in TRUTH[row].boxes:
            if len(boxes):
                gt = (votes_of_boxes([boxes]) > 0).astype(np.float64)
                own.append(overlap(MASKS[name](raw, gt), gt))
        if own:
            hits.append(sum(value >= 0.5 for value in own) / len(own))
            areas.append(sum(looped_auc([value]) for value in own) / len(own))

    scores = score(
        Predictions([IDS[k] for k in rows], maps, map_range=(LOW, HIGH)),
        [TRUTH[k] for k in rows],
        name,
    )

    found = [scores.metrics[f"annotators_{key}"] for key in ("ciou@0.5", "auc")]
    expected = [sum(values) / len(values) for values in (hits, areas)]
    assert found == pytest.approx(expected, abs=1e-12)
    assert "annotators_auc" in scores.ci95


def test_a_segmentation_has_no_annotator():
    box = np.array([[0.0, 0.0, 1.0, 0.5]])
    truth = [
        Truth("boxes", (box, box)),
        Truth("mask", (box,), mask=np.ones((4, 4), np.bool_)),
    ]
    boxes = np.stack([box, box])

    scores = score(Predictions(["boxes", "mask"], boxes=boxes, use_boxes=True), truth, "lvs")

    assert scores.metrics["annotator1_ciou@0.5"] == 1
    assert np.isnan(scores.values["annotator1_auc"][1])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_box_is_scored_by_its_pixels_under_every_rule(name: str):
    rng = np.random.default_rng(5)
    boxes = np.clip([[random_box(rng) for _ in range(3)] for _ in range(COUNT)], 0, 1)
    boxes[3, 0] = np.nan  # the best that is there comes second
    boxes[4] = np.nan
    truths = [truth_of(sample, name) for sample in TRUTH]
    expected = []
    for own, gt in zip(boxes, truths, strict=True):
        infer = np.zeros((SIDE, SIDE))
        for box in own[~np.isnan(own[:, 0])][:1]:
            drawn_box(infer, box)
        expected.append(overlap(infer, gt))

    scores = score(
        Predictions(IDS, boxes=boxes, map_range=(LOW, HIGH), use_boxes=True), TRUTH, name
    )

    assert scores.values["ciou"].tolist() == expected
    assert scores.metrics["auc"] == pytest.approx(looped_auc(expected), abs=1e-12)


def test_a_frame_counts_for_interactive_iou_where_all_its_sounds_are_found():
    rng = np.random.default_rng(6)
    boxes = np.array([[0.0, 0.0, 0.6, 0.9], [0.3, 0.1, 1.0, 1.0], [0.2, 0.2, 0.9, 0.9]])
    frames = [f"frame{k}" for k in range(12) for _ in range(1 + k % 3)]
    truth = [
        Truth(f"{frame}_{k}", (boxes[[k % 3]],), frame=frame) for k, frame in enumerate(frames)
    ]
    maps = rng.random((len(truth), 3, 3), dtype=np.float32)
    for k, raw in enumerate(maps):
        left, top, right, bottom = (3 * boxes[k % 3]).round().astype(int)
        raw[top:bottom, left:right] += 0.7
    groups: dict[str, list[bool]] = {}
    for sample, raw in zip(truth, maps, strict=True):
        gt = truth_of(sample, "align")
        pred = 1 - normalised(-of_torch(raw, "bilinear"))
        hit = overlap(filled(pred > np.sort(pred.flatten())[PIXELS // 2]), gt) >= 0.5
        groups.setdefault(str(sample.frame), []).append(hit)
    expected = sum(min(hits) for hits in groups.values()) / len(groups)

    scores = score(
        Predictions([sample.id for sample in truth], maps), truth, protocol_named("align", "is3")
    )

    assert 0 < expected < 1
    assert scores.metrics["iiou@0.5"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("by", ["size", "category"])
def test_a_part_of_the_list_scores_like_its_samples_alone(by: str):
    count = 40
    rng = np.random.default_rng(7)
    sides = rng.choice([0.1, 0.3, 0.5, 0.8], size=count)
    truth = [
        Truth(f"clip{k:02d}", (np.array([[0.1, 0.1, 0.1 + side, 0.1 + side]]), NO_BOX),
              category="cat" if k % 3 else None)
        for k, side in enumerate(sides)
    ]  # fmt: skip
    maps = rng.uniform(LOW, HIGH, size=(count, 7, 7)).astype(np.float32)
    parts: dict[str, list[float]] = {}
    for sample, raw in zip(truth, maps, strict=True):
        gt = truth_of(sample, "slavc")
        area = gt.sum()  # a half-marked pixel counts half
        bounds = {"small": 32**2, "medium": 96**2, "large": 144**2, "huge": 1e8}
        size = next(name for name, bound in bounds.items() if area < bound)
        part = size if by == "size" else sample.category
        if part is not None:
            parts.setdefault(part, []).append(overlap(slavc_mask(raw, gt), gt))
    scores = score(
        Predictions([sample.id for sample in truth], maps, map_range=(LOW, HIGH)), truth, "slavc"
    )

    groups = {group.name: group for group in breakdown(scores, truth, PROTOCOLS["slavc"], by)}

    assert set(groups) == set(parts)
    for name, ciou in parts.items():
        assert groups[name].n == len(ciou)
        assert groups[name].metrics["mean_iou"] == pytest.approx(sum(ciou) / len(ciou), abs=1e-12)
        assert groups[name].metrics["auc"] == pytest.approx(looped_auc(ciou), abs=1e-12)


EXTENDED = 29


@cache
def extended_case(name: str) -> tuple[Scores, list[float], list[bool], list[bool]]:
    """Scores of a set with negatives, and confidence, on screen and hit of each sample."""
    rng = np.random.default_rng(8)
    truth, maps = [], rng.uniform(LOW, HIGH, size=(EXTENDED, 7, 7)).astype(np.float32)
    for k in range(EXTENDED):
        if k % 3 == 2:
            truth.append(Truth(f"clip{k - 1:02d}+x{k:02d}", (NO_BOX,), on_screen=False))
        else:
            truth.append(Truth(f"clip{k:02d}", (np.array([[0.0, 0.0, 0.8, 0.4 + 0.02 * k]]),)))
            maps[k, : 3 + k // 6] += 3
            maps[k] = np.minimum(maps[k], HIGH)
    given = rng.normal(size=EXTENDED).astype(np.float32)
    given = given.round()  # many are equal
    predictions = Predictions(
        [sample.id for sample in truth], maps, confidence=given, map_range=(LOW, HIGH)
    )
    confidence = given.tolist()
    if name == "slavc":
        seen = [calibrated(of_torch(raw, "bicubic")) for raw in maps]
        confidence = [float(np.sort(one.flatten())[-PIXELS // 4 :].mean()) for one in seen]
    on_screen = [sample.on_screen for sample in truth]
    hit = []
    for sample, raw in zip(truth, maps, strict=True):
        gt = truth_of(sample, name)
        hit.append(sample.on_screen and overlap(MASKS[name](raw, gt), gt) >= 0.5)
    return score(predictions, truth, name), confidence, on_screen, hit


def tallies(
    confidence: Sequence[float], on_screen: Sequence[bool], hit: Sequence[bool], threshold: float
) -> tuple[int, int, int]:
    """True and false detections, and what is on the screen but below the threshold."""
    found = [
        (on, good) for c, on, good in zip(confidence, on_screen, hit, strict=True) if c >= threshold
    ]
    true = sum(on and good for on, good in found)
    below = sum(on for c, on in zip(confidence, on_screen, strict=True) if c < threshold)
    return true, len(found) - true, below


def slavc_point(true: int, false: int, below: int) -> tuple[float, float]:
    precision = true / (true + false) if true + false else 1.0
    return precision, true / (true + below) if true + below else 1.0


def looped_slavc_ap(confidence: Sequence[float], on: Sequence[bool], hit: Sequence[bool]) -> float:
    thresholds = sorted(confidence)[:-1][:: -max(1, len(confidence) // 200)]
    curve = [slavc_point(*tallies(confidence, on, hit, t)) for t in thresholds]
    return sum(
        max(p for p, _ in curve[k:]) * (curve[k + 1][1] - curve[k][1])
        for k in range(len(curve) - 1)
    )


def f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def looped_slavc_f1(confidence: Sequence[float], on: Sequence[bool], hit: Sequence[bool]) -> float:
    thresholds = sorted(confidence)[:: max(1, len(confidence) // 10)]
    return max(f1(*slavc_point(*tallies(confidence, on, hit, t))) for t in thresholds)


def looped_standard(
    confidence: Sequence[float], on: Sequence[bool], hit: Sequence[bool]
) -> tuple[float, float]:
    """Average precision and the highest F1, recall being the share of all that is on screen."""
    area, before, best = 0.0, 0.0, 0.0
    for threshold in sorted(set(confidence), reverse=True):
        true, false, _ = tallies(confidence, on, hit, threshold)
        precision, recall = true / (true + false), true / sum(on)
        area += precision * (recall - before)
        before, best = recall, max(best, f1(precision, recall))
    return area, best


def looped_roc(confidence: Sequence[float], on: Sequence[bool]) -> float:
    pairs = [
        (a > b) + (a == b) / 2
        for a, here in zip(confidence, on, strict=True) if here
        for b, there in zip(confidence, on, strict=True) if not there
    ]  # fmt: skip
    return sum(pairs) / len(pairs)


def looped_calls(ids: Sequence[str], confidence: Sequence[float], on: Sequence[bool]) -> list[bool]:
    """Whether each sample is called right by the best threshold of the other folds, the lowest."""
    folds = [fold(sample_id.partition("+")[0]) for sample_id in ids]
    right = []
    for k, own in enumerate(folds):
        others = [(c, o) for c, o, f in zip(confidence, on, folds, strict=True) if f != own]
        candidates = [*sorted({c for c, _ in others}), float("inf")]
        counts = [sum((c >= t) == o for c, o in others) for t in candidates]
        right.append((confidence[k] >= candidates[counts.index(max(counts))]) == on[k])
    return right


@pytest.mark.parametrize("name", ["slavc", "lvs", "bench-v1"])
def test_a_set_with_negatives_scores_like_loops_over_its_thresholds(name: str):
    scores, confidence, on_screen, hit = extended_case(name)
    ap, best_f1 = looped_standard(confidence, on_screen, hit)
    calls = looped_calls(scores.ids, confidence, on_screen)

    assert scores.values["confidence"].tolist() == confidence
    assert 0 < sum(hit) < sum(on_screen)
    for key, expected in {
        "ciou@0.5": sum(hit) / sum(on_screen),
        "loc_acc": sum(hit) / sum(on_screen),
        "onscreen_acc": sum(calls) / EXTENDED,
        "onscreen_auc": looped_roc(confidence, on_screen),
        "slavc_ap": looped_slavc_ap(confidence, on_screen, hit),
        "slavc_max_f1": looped_slavc_f1(confidence, on_screen, hit),
        "ap": ap,
        "max_f1": best_f1,
    }.items():
        assert scores.metrics[key] == pytest.approx(expected, abs=1e-12), key


@cache
def duet_case(name: str, count: int = 6) -> tuple[Scores, dict[str, list[float]]]:
    """Scores of frames with two or three sources, some silent, and what loops say of each frame."""
    rng = np.random.default_rng(9)
    maps = rng.uniform(LOW, HIGH, size=(count, 3, 14, 14)).astype(np.float32)
    counts = np.array([2 + k % 2 for k in range(count)])
    truth = []
    for k in range(count):
        sources = tuple(
            Source(inner_box(rng)[None], sounding=place != k % 4) for place in range(counts[k])
        )
        if k == 3:  # of three sounding sources one has no pixel
            sources = (*sources[:2], sources[2]._replace(boxes=NO_BOX))
        union = np.concatenate([source.boxes for source in sources if source.sounding])
        truth.append(Truth(f"frame{k}", (union,), sources=sources))
    found = score(
        Predictions([sample.id for sample in truth], source_heatmap=maps, source_count=counts,
                    map_range=(LOW, HIGH)),
        truth, name,
    )  # fmt: skip
    looped: dict[str, list[float]] = {"ciou": [], "cap": [], "piap": [], "nsa": []}
    for sample, raw in zip(truth, maps, strict=True):
        sounding = [k for k, source in enumerate(sample.sources) if source.sounding]
        gts = [(votes_of_boxes([sample.sources[k].boxes]) > 0).astype(float) for k in sounding]
        ciou = [overlap(MASKS[name](raw[k], gt), gt) for k, gt in zip(sounding, gts, strict=True)]
        ap = np.array([[looped_ap(calibrated(of_cv2(raw[k])), gt) for gt in gts] for k in sounding])
        places = range(len(sounding))
        silent = [k for k in range(len(sample.sources)) if k not in sounding]
        areas = [np.sum(calibrated(of_cv2(raw[k])) <= np.float32(0.2)) / PIXELS for k in silent]
        looped["ciou"].append(sum(ciou) / len(ciou))
        looped["cap"].append(np.nanmean([ap[k, k] for k in places]))
        looped["piap"].append(
            max(np.nanmean([ap[m, s] for s, m in enumerate(maps_of)])
                for maps_of in itertools.permutations(places))
        )  # fmt: skip
        looped["nsa"].append(sum(areas) / len(areas) if areas else float("nan"))
    return found, looped


@pytest.mark.parametrize("name", ["dsol-synthetic", "dsol-duet"])
@pytest.mark.parametrize("column", ["ciou", "cap", "piap", "nsa"])
def test_frames_with_several_sources_score_like_loops_over_them(name: str, column: str):
    scores, looped = duet_case(name)

    np.testing.assert_allclose(scores.values[column], looped[column], rtol=0, atol=1e-12)


def test_aggregates_of_several_sources_go_by_the_mean_of_each_frame():
    scores, looped = duet_case("dsol-duet")

    assert scores.metrics["auc"] == pytest.approx(looped_auc(looped["ciou"]), abs=1e-12)
    assert scores.metrics["nsa"] == pytest.approx(np.nanmean(looped["nsa"]), abs=1e-12)
    assert scores.metrics["cap"] == pytest.approx(np.mean(looped["cap"]), abs=1e-12)


def test_the_accuracy_of_segments_is_the_mean_over_clips():
    rng = np.random.default_rng(10)
    labels, logits = rng.integers(4, size=(8, 10)), rng.normal(size=(8, 10, 4)).astype(np.float32)
    truth = [
        Truth(f"clip{k}", (random_box(rng)[None],), segments=own) for k, own in enumerate(labels)
    ]
    maps = rng.random((8, 7, 7), dtype=np.float32)
    right = [
        row.tolist().index(max(row)) == label
        for clip, own in zip(logits, labels, strict=True)
        for row, label in zip(clip, own, strict=True)
    ]

    scores = score(
        Predictions([sample.id for sample in truth], maps, segment_logits=logits), truth, "lvs"
    )

    assert scores.metrics["segment_acc"] == pytest.approx(sum(right) / 80, abs=1e-12)


def looped_interval(
    statistic: Callable[[np.ndarray], float], n: int, seed: int
) -> tuple[float, float]:
    """2.5th and 97.5th percentile over 2,000 samples of n rows each, drawn one after the other."""
    rng = np.random.default_rng(seed)
    values = sorted(v for v in (statistic(rng.integers(n, size=n)) for _ in range(2000)) if v == v)
    bounds = []
    for share in (0.025, 0.975):
        place = share * (len(values) - 1)
        below = int(place)
        above = min(below + 1, len(values) - 1)
        bounds.append(values[below] + (place - below) * (values[above] - values[below]))
    return bounds[0], bounds[1]


@pytest.mark.parametrize("seed", [0, 4])
def test_intervals_of_means_are_those_of_a_loop_over_resamples(seed: int):
    rng = np.random.default_rng(13)
    ids = rng.permutation([f"clip{k:02d}" for k in range(15)]).tolist()
    truth = [Truth(clip, (random_box(rng)[None],)) for clip in ids]
    maps = rng.random((15, 7, 7), dtype=np.float32)
    scores = score(Predictions(ids, maps), truth, "ezvsl", seed=seed)
    order = [ids.index(clip) for clip in sorted(ids)]  # resampled in the order of the ids

    for key in ("ciou@0.3", "auc", "mean_iou", "pixel_ap"):
        column = scores.column(key)[order]
        expected = looped_interval(lambda rows, c=column: float(np.nanmean(c[rows])), 15, seed)
        assert scores.ci95[key] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("key", "statistic"),
    [
        ("onscreen_auc", lambda c, on, hit: looped_roc(c, on)),
        ("slavc_ap", looped_slavc_ap),
        ("ap", lambda c, on, hit: looped_standard(c, on, hit)[0]),
    ],
)
def test_intervals_of_sets_are_those_of_a_loop_over_resamples(
    key: str, statistic: Callable[..., float]
):
    rng = np.random.default_rng(14)
    on_screen, hit = [True] * 4 + [False] * 3, [True, False, True, True] + [False] * 3
    confidence = [0.9, 0.7, 0.5, 0.5, 0.8, 0.4, 0.1]
    names = ["a", "b", "c", "d", "a+x", "b+x", "c+x"]
    box, elsewhere = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]
    truth = [
        Truth(name, (np.array([box]) if on else NO_BOX,), on_screen=on)
        for name, on in zip(names, on_screen, strict=True)
    ]
    boxes = np.array([[box if good else elsewhere] for good in hit])
    shuffled = rng.permutation(7)
    order = sorted(range(7), key=lambda k: names[k])

    def of_rows(rows: np.ndarray) -> float:
        chosen = [order[row] for row in rows]
        drawn_on = [on_screen[k] for k in chosen]
        if not any(drawn_on) or (all(drawn_on) and key == "onscreen_auc"):
            return 0.0 if key == "slavc_ap" else float("nan")
        return statistic([confidence[k] for k in chosen], drawn_on, [hit[k] for k in chosen])

    scores = score(
        Predictions([names[k] for k in shuffled], boxes=boxes[shuffled], use_boxes=True,
                    confidence=np.array(confidence)[shuffled]),
        truth, "lvs", seed=2,
    )  # fmt: skip

    assert scores.ci95[key] == pytest.approx(looped_interval(of_rows, 7, 2), abs=1e-12)
