"""The oracle is the numpy path, which has its own tests against loops, torch and OpenCV."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from metrics.batched import batched_measure, batched_scored_maps
from metrics.errors import BenchError
from metrics.functional.resize import half_pixel_bilinear
from metrics.localization import LocalizationMetrics
from metrics.measurement import measure, planes_of, scored_map
from metrics.protocols import PROTOCOLS
from metrics.truth import Truth

MAP_RANGE = (-40.0, 33.0)
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    ),
]
RESIZED_ONLY = replace(PROTOCOLS["dsol-solo"], calibrated=False)


def cpu_fuses() -> bool:
    """Whether OpenCV rounds a product and a sum once here; on a CPU without AVX2 it does not."""
    cells = np.array([[1 / 3, 0.7]] * 2, np.float32)
    distance = (np.arange(56, 168) + 0.5) / 112 - 0.5  # of 224 pixels, those between the two cells
    first, second = cells[0]
    product = (second - first).astype(np.float64) * distance.astype(np.float32)
    once = (product + first).astype(np.float32)
    return half_pixel_bilinear(cells, 224)[100, 56:168].tolist() == once.tolist()


def random_maps(height: int, width: int, count: int) -> np.ndarray:
    """Maps of very different ranges, most with values of both signs."""
    rng = np.random.default_rng([height, width])
    spread = 10 ** rng.uniform(-3, 3, size=(count, 1, 1))
    centre = 10 * rng.normal(size=(count, 1, 1))
    return (rng.normal(size=(count, height, width)) * spread + centre).astype(np.float32)


def odd_maps() -> np.ndarray:
    """Constant maps, plateaus and many ties."""
    maps = random_maps(7, 7, 8)
    maps[0], maps[1], maps[2] = 0.3, -0.3, 0
    maps[3] = np.round(maps[3] / np.abs(maps[3]).max() * 2)
    maps[4] = maps[4] > np.median(maps[4])
    maps[5] = -maps[4]
    maps[6, 2:] = maps[6].max()
    return maps


def soft_truths(count: int) -> np.ndarray:
    """Up to three half-weight boxes each; the first is empty, the second the whole frame."""
    rng = np.random.default_rng(count)
    gt = np.zeros((count, 224, 224), np.float32)
    for own in gt:
        for _ in range(rng.integers(1, 4)):
            (top, bottom), (left, right) = np.sort(rng.integers(0, 225, size=(2, 2)), axis=1)
            own[top:bottom, left:right] += 0.5
    gt[0], gt[1] = 0, 1
    return np.minimum(gt, 1)


def assert_same_bits(found: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(found.cpu().numpy().view(np.uint32), expected.view(np.uint32))


@pytest.mark.skipif(not cpu_fuses(), reason="OpenCV rounds otherwise on this CPU")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("height", "width"),
    [(1, 1), (7, 7), (14, 14), (20, 20), (13, 17), (1, 9), (9, 1), (224, 7), (300, 250)],
)
def test_half_pixel_maps_have_the_bits_of_opencv(height: int, width: int, device: str):
    maps = random_maps(height, width, 40)
    expected = [cv2.resize(own, (224, 224), interpolation=cv2.INTER_LINEAR) for own in maps]
    if height == width == 1:  # a constant map stays as it is
        expected = [np.full((224, 224), own[0, 0]) for own in maps]

    found = batched_scored_maps(torch.from_numpy(maps).to(device), RESIZED_ONLY)

    assert_same_bits(found, np.stack(expected))


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="torch rounds otherwise without fused multiply-add",
)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 14), (20, 20), (13, 17), (1, 9)])
def test_align_corners_maps_have_the_bits_of_torch_on_a_cpu(
    mode: str, height: int, width: int, device: str
):
    maps = torch.from_numpy(random_maps(height, width, 40))
    expected = F.interpolate(maps[:, None], (224, 224), mode=mode, align_corners=True)[:, 0]
    protocol = replace(RESIZED_ONLY, interpolation=f"align_corners_{mode}")

    found = batched_scored_maps(maps.to(device), protocol)

    assert_same_bits(found, expected.numpy())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_maps_have_the_bits_that_they_have_one_by_one(name: str, device: str):
    protocol = PROTOCOLS[name]
    if protocol.interpolation == "half_pixel_bilinear" and not cpu_fuses():
        pytest.skip("OpenCV rounds otherwise on this CPU")
    maps = np.concatenate([odd_maps(), random_maps(7, 7, 16)])
    expected = np.stack([scored_map(own, protocol, MAP_RANGE).pixels for own in maps])

    found = batched_scored_maps(torch.from_numpy(maps).to(device), protocol, MAP_RANGE)

    assert_same_bits(found, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_measures_are_those_of_the_maps_one_by_one(name: str, device: str):
    protocol = PROTOCOLS[name]
    if protocol.interpolation == "half_pixel_bilinear" and not cpu_fuses():
        pytest.skip("OpenCV rounds otherwise on this CPU")
    maps = np.concatenate([odd_maps(), random_maps(7, 7, 8)])
    truths = soft_truths(len(maps))[np.random.default_rng(0).permutation(len(maps))]
    scored = [scored_map(own, protocol, MAP_RANGE) for own in maps]
    planes = [planes_of(gt) for gt in truths]
    expected = [measure(*pair, protocol) for pair in zip(scored, planes, strict=True)]

    found = batched_measure(
        torch.from_numpy(maps).to(device), torch.from_numpy(truths), protocol, MAP_RANGE
    )

    np.testing.assert_array_equal(found.ciou.cpu(), [own.ciou for own in expected])
    np.testing.assert_allclose(
        found.pixel_ap.cpu(), [own.pixel_ap for own in expected], rtol=0, atol=1e-12
    )
    assert found.constant.tolist() == [own.constant for own in scored]
    assert found.pointing.tolist() == [
        bool(gt.flat[own.peak] > 0) for gt, own in zip(truths, scored, strict=True)
    ]


def test_a_batch_is_scored_as_its_parts():
    maps, truths = torch.from_numpy(random_maps(14, 14, 6)), torch.from_numpy(soft_truths(6))
    protocol = PROTOCOLS["bench-v1"]

    whole = batched_measure(maps, truths, protocol)
    parts = [
        batched_measure(maps[rows], truths[rows], protocol) for rows in (slice(2), slice(2, 6))
    ]

    for figure, *own in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(figure, torch.cat(own))


def test_pixels_in_no_order_share_the_average_precision_of_chance():
    gt = soft_truths(4)[3:]

    found = batched_measure(torch.zeros(1, 7, 7), torch.from_numpy(gt), PROTOCOLS["bench-v1"])

    assert found.pixel_ap.item() == pytest.approx(np.count_nonzero(gt) / gt.size, abs=1e-12)


def test_without_ranking_no_average_precision_is_given_and_the_rest_is_the_same():
    maps, truths = torch.from_numpy(random_maps(7, 7, 3)), torch.from_numpy(soft_truths(3))

    ranked = batched_measure(maps, truths, PROTOCOLS["lvs"])
    found = batched_measure(maps, truths, PROTOCOLS["lvs"], ranking=False)

    assert found.pixel_ap.isnan().all()
    np.testing.assert_array_equal(found.ciou, ranked.ciou)


@pytest.mark.parametrize(
    ("heatmap", "words"),
    [
        (torch.zeros(7, 7), r"must be \(B, h, w\) float32, got \(7, 7\)"),
        (torch.zeros(1, 7, 7, dtype=torch.float64), r"got \(1, 7, 7\) torch.float64"),
    ],
)
def test_maps_of_another_rank_or_dtype_are_refused(heatmap: torch.Tensor, words: str):
    with pytest.raises(ValueError, match=words):
        batched_scored_maps(heatmap, PROTOCOLS["lvs"])


def test_truth_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"gt must be \(2, 224, 224\), got \(1, 224, 224\)"):
        batched_measure(torch.zeros(2, 7, 7), torch.zeros(1, 224, 224), PROTOCOLS["lvs"])


def test_a_protocol_that_needs_the_range_of_the_maps_says_so():
    with pytest.raises(BenchError, match="--map-range"):
        batched_scored_maps(torch.zeros(1, 7, 7), PROTOCOLS["slavc-absolute"])


@pytest.mark.skipif(not cpu_fuses(), reason="OpenCV rounds otherwise on this CPU")
@pytest.mark.parametrize("name", ["bench-v1", "lvs", "ezvsl", "align-adaptive", "dsol-solo"])
def test_the_metric_gives_the_same_scores_batch_by_batch_as_map_by_map(name: str):
    rng = np.random.default_rng(3)
    boxes = [np.array([[0.1 * k % 0.5, 0.2, 0.6, 0.9]]) for k in range(12)]
    truth = [Truth(f"clip{k}", (box,)) for k, box in enumerate(boxes)]
    truth[5] = Truth("clip5+other", (np.empty((0, 4)),), on_screen=False)
    maps = torch.from_numpy(rng.random((12, 7, 7), dtype=np.float32))
    confidence = torch.from_numpy(rng.random(12, dtype=np.float32))
    metrics = [
        LocalizationMetrics(truth, name, map_range=(0.0, 1.0), batched=batched)
        for batched in (True, False)
    ]

    for metric in metrics:
        metric.update(torch.arange(12), maps, confidence=confidence)

    batched, single = (metric.compute() for metric in metrics)
    assert single.metrics == pytest.approx(batched.metrics, abs=1e-12)
    np.testing.assert_array_equal(batched.values["ciou"], single.values["ciou"])
    np.testing.assert_array_equal(batched.values["confidence"], single.values["confidence"])


def test_a_nan_in_a_batch_names_the_id():
    truth = [Truth("clip0", (np.array([[0.1, 0.2, 0.6, 0.9]]),))]

    with pytest.raises(BenchError, match="map of 'clip0' holds NaN"):
        LocalizationMetrics(truth, "lvs", batched=True).update(
            torch.tensor([0]), torch.full((1, 2, 2), torch.nan)
        )
