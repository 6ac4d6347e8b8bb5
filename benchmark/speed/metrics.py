"""Stage ``metrics``: from a raw map to its score.

The peer's way is that of the field's public test scripts (LVS ``test.py:79-97`` and ``utils.py`` at
8fe8cbb, https://github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way, and those that follow it):
one map at a time, a full sort for the median, ground truth and masks as float64 images.
"""

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from benchmark.speed.harness import (
    Absent,
    Amount,
    Claim,
    Comparison,
    Growth,
    Measurable,
    Setting,
    Target,
)
from benchmark.speed.step import chosen_device, method_of, random_clips
from datamodules.vggss_annotations import read_vggss
from metrics.bootstrap import RESAMPLES, bootstrap_ci
from metrics.floors import floor_scores
from metrics.functional.success import sample_auc, success_rate
from metrics.localization import LocalizationMetrics
from metrics.measurement import (
    measure,
    num_annotators,
    predicted_mask,
    row_width,
    scored_map,
    truth_planes,
)
from metrics.predictions import Predictions
from metrics.protocols import AUC_GRID, PROTOCOLS
from metrics.scoring import Scores, score
from metrics.truth import Truth

LVS = PROTOCOLS["lvs"]
BATCH = 256
CELLS = 14  # per side of the maps of most methods at 224 pixels
BOXES_PER_FRAME = (4619, 385, 94, 37, 18, 3, 2)  # of vggss.json: frames with 1, 2, ... boxes
SIDE = (0.15, 0.95)  # of a box, uniform: mean area .30, where VGG-SS has .31
GARBAGE = -2.8823037615171176e16  # 14 corners of vggss.json
BOOTSTRAPPED = (5158, 8)  # samples of VGG-SS, and the usual number of keys
BYTES_BEYOND_ROW = 2048.0  # a map of 224 x 224 float32 is a hundred times as much


class Maps(NamedTuple):
    """A test list and one map for each of its samples."""

    truth: tuple[Truth, ...]
    heatmaps: NDArray[np.float32]  # (N, 14, 14)

    def first(self, n: int) -> "Maps":
        """The first n samples, over and over where there are fewer; ids stay different."""
        rows = [row % len(self.truth) for row in range(n)]
        truth = tuple(
            self.truth[row]._replace(id=f"made_up_{place:06d}") for place, row in enumerate(rows)
        )
        return Maps(truth, self.heatmaps[rows])

    @property
    def predictions(self) -> Predictions:
        """As a program hands them in; the range of the maps is that of the numbers in them."""
        ids = [sample.id for sample in self.truth]
        low, high = float(self.heatmaps.min()), float(self.heatmaps.max())
        return Predictions(ids, self.heatmaps, map_range=(low, high))


class Sizes(NamedTuple):
    """Numbers of samples."""

    scored: int = 2000
    per_protocol: int = 250
    linear: tuple[int, int] = (256, 2048)
    forward: tuple[int, int] = (128, 1024)
    memory: tuple[int, int] = (1000, 4000)
    bootstrapped: tuple[int, int] = BOOTSTRAPPED
    resamples: int = RESAMPLES
    floor: int = 200
    random_floor: int = 50
    random_draws: int = 100


QUICK = Sizes(
    scored=24,
    per_protocol=4,
    linear=(2, 4),
    forward=(2, 4),
    memory=(8, 32),
    bootstrapped=(50, 3),
    resamples=20,
    floor=4,
    random_floor=2,
    random_draws=3,
)


def comparisons(setting: Setting) -> Iterator[Measurable]:
    """Everything that the stage measures.

    Raises:
        BenchError: the annotation file cannot be read.
    """
    sizes = QUICK if setting.quick else Sizes()
    maps = _inputs(setting, sizes.scored)
    yield from _scoring(maps)
    yield from _linear(maps, sizes)
    yield _memory(maps, sizes)
    yield from _protocols(maps.first(sizes.per_protocol))
    yield _bootstrap(sizes)
    yield from _floors(maps, sizes)
    yield _validation(maps, setting)
    yield _accelerator(maps, setting)


def _inputs(setting: Setting, n: int) -> Maps:
    if setting.annotations is None:
        truth = made_up_truth(n)
    else:
        truth = read_vggss(setting.annotations)[: n if setting.quick else None]
    return Maps(truth, made_up_maps(len(truth)))


def made_up_truth(n: int, seed: int = 0) -> tuple[Truth, ...]:
    """Samples with as many and as large boxes as VGG-SS has, its defects among the first three.

    Args:
        n: how many.
        seed: of the boxes.
    """
    rng = np.random.default_rng(seed)
    shares = np.array(BOXES_PER_FRAME) / sum(BOXES_PER_FRAME)
    made = []
    for count in 1 + rng.choice(len(shares), size=n, p=shares):
        sides = rng.uniform(*SIDE, size=(count, 2))
        corners = rng.uniform(0, 1 - sides)
        made.append(np.concatenate([corners, corners + sides], axis=1))
    defects = [[0.2, 0.3, GARBAGE, 0.9], [-0.1, 0.4, 1.2, 1.1], [0.5, 0.5, 0.5, 0.8]]
    for place, box in enumerate(defects[:n]):
        made[place] = np.array([box])
    return tuple(Truth(f"made_up_{place:06d}", (boxes,)) for place, boxes in enumerate(made))


def made_up_maps(n: int, seed: int = 0) -> NDArray[np.float32]:
    """``(n, 14, 14)`` float32 noise in blobs; constants and plateaus are the first four.

    Those have values of few bits, which no interpolation rounds: the rules for equal pixels should
    be told apart, and not the last bits of libraries.

    Args:
        n: how many.
        seed: of the noise.
    """
    noise = np.random.default_rng(seed).standard_normal((n, CELLS, CELLS), dtype=np.float32)
    maps = np.stack([cv2.GaussianBlur(one, (0, 0), 1.5) for one in noise])
    maps[0:1], maps[1:4] = -0.5, 0.5
    maps[1:2, : CELLS - 2] = 1.0  # more than half of the pixels
    maps[2:3, :3] = 1.0
    return maps


class Scored(NamedTuple):
    """What the field reports of a test list."""

    ciou: NDArray[np.float64]  # (N,)
    success: float  # at 0.5
    auc: float


def peer_truth(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(224, 224)`` float64 union of boxes, an image for each box and one for their sum."""
    union = np.zeros((LVS.map_size, LVS.map_size))
    for box in boxes:
        left, top, right, bottom = (int(LVS.map_size * max(corner, 0)) for corner in box)
        own = np.zeros((LVS.map_size, LVS.map_size))
        own[top:bottom, left:right] = 1
        union += own
    union[union > 1] = 1
    return union


def peer_mask(heatmap: NDArray[np.float32]) -> NDArray[np.float64]:
    """``(224, 224)`` float64 mask of the half of the pixels above the median."""
    resized = cv2.resize(
        heatmap, dsize=(LVS.map_size, LVS.map_size), interpolation=cv2.INTER_LINEAR
    )
    pixels = 1 - _peer_min_max(np.negative(resized))
    median = np.sort(pixels.flatten())[pixels.size // 2]
    pixels[pixels > median] = 1
    pixels[pixels < 1] = 0
    mask = np.zeros((LVS.map_size, LVS.map_size))
    mask[pixels >= 0.5] = 1
    return mask


def _peer_min_max(pixels: NDArray[np.floating]) -> NDArray[np.floating]:
    lowest, highest = np.min(pixels), np.max(pixels)
    if highest == lowest:
        return pixels
    return np.asarray((pixels - lowest) / (highest - lowest))


def peer_scores(maps: Maps) -> Scored:
    """Scores under ``lvs`` by the peer's way."""
    found = []
    with np.errstate(invalid="ignore"):  # 0/0 where neither has a pixel
        for sample, heatmap in zip(maps.truth, maps.heatmaps, strict=True):
            mask, truth = peer_mask(heatmap), peer_truth(sample.boxes[0])
            found.append(np.sum(mask * truth) / (np.sum(truth) + np.sum(mask * (truth == 0))))
    ciou = np.array(found)
    curve = [float(np.mean(ciou >= 0.05 * step)) for step in range(len(AUC_GRID))]
    return Scored(
        ciou, float(np.mean(ciou >= 0.5)), 0.05 * (sum(curve) - (curve[0] + curve[-1]) / 2)
    )


def our_scores(maps: Maps, *, ranking: bool = False) -> Scored:
    """Scores under ``lvs`` by this package, pixel average precision included where asked for."""
    found = []
    for sample, heatmap in zip(maps.truth, maps.heatmaps, strict=True):
        planes = truth_planes(sample, LVS)
        found.append(measure(scored_map(heatmap, LVS), planes, LVS, ranking=ranking).ciou[0])
    ciou = np.array(found)
    return Scored(ciou, success_rate(ciou, 0.5), float(sample_auc(ciou).mean()))


def scoring_claims(maps: Maps, peer: Scored, ours: Scored) -> Iterator[Claim]:
    """That two ways of scoring the same maps are one."""
    n = len(maps.truth)
    differ = sum(
        not np.array_equal(predicted_mask(heatmap, LVS), peer_mask(heatmap) > 0)
        for heatmap in maps.heatmaps
    )
    yield Claim(f"masks bit-equal on all {n} maps, {differ} differ", differ == 0)
    differ = n - int(np.sum((peer.ciou == ours.ciou) | (np.isnan(peer.ciou) & np.isnan(ours.ciou))))
    yield Claim(f"consensus IoU equal on all {n} maps, {differ} differ", differ == 0)
    yield Claim(
        f"success at 0.5 equal ({peer.success:.6f}) and AUC within 1e-12 ({peer.auc:.6f})",
        peer.success == ours.success and abs(peer.auc - ours.auc) <= 1e-12,
    )


def _scoring(maps: Maps) -> Iterator[Measurable]:
    yield Comparison(
        name="scoring under lvs",
        item="map",
        items=len(maps.truth),
        peer=lambda: peer_scores(maps),
        ours=lambda: our_scores(maps),
        claims=lambda peer, ours: scoring_claims(maps, peer, ours),
        target=Target("at least", 4.0, "x"),
    )
    yield Comparison(
        name="scoring under lvs with pixel AP",
        item="map",
        items=len(maps.truth),
        ours=lambda: our_scores(maps, ranking=True),
        note="the peer has no pixel AP",
    )


class _ListedScores(Metric):
    """The peer's metric object: a list that grows, and a value out of it at every step."""

    full_state_update = True
    found: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("found", default=[], dist_reduce_fx="cat")

    def update(self, ciou: Tensor) -> None:
        self.found.append(ciou)

    def compute(self) -> Tensor:
        return (torch.cat(self.found) >= 0.5).double().mean()


def _linear(maps: Maps, sizes: Sizes) -> Iterator[Measurable]:
    def ours(n: int) -> object:
        some = maps.first(n)
        metric = LocalizationMetrics(some.truth, LVS)
        for row, heatmap in enumerate(torch.from_numpy(some.heatmaps)):
            metric.update(torch.tensor([row]), heatmap[None])
        return metric.compute()

    def peer(n: int) -> object:
        metric = _ListedScores()
        for ciou in torch.linspace(0, 1, n):
            metric(ciou[None])
        return metric.compute()

    yield Growth(
        name="metrics at batch 1",
        item="sample",
        small=sizes.linear[0],
        large=sizes.linear[1],
        run=ours,
        target=Target("at most", 10.0, "x"),
        note=f"linear is {sizes.linear[1] / sizes.linear[0]:g}x",
    )
    yield Growth(
        name="forward() on list states",
        item="sample",
        small=sizes.forward[0],
        large=sizes.forward[1],
        run=peer,
        is_peer=True,
        note=f"linear is {sizes.forward[1] / sizes.forward[0]:g}x; without any scoring of maps",
        rounds=1,
    )


def _memory(maps: Maps, sizes: Sizes) -> Measurable:
    few, many = sizes.memory
    return Amount(
        name=f"memory of score() from {few} to {many} samples, less the rows",
        unit="B/sample",
        ours=lambda: (
            (_bytes_beyond_rows(maps.first(many)) - _bytes_beyond_rows(maps.first(few)))
            / (many - few)
        ),
        target=Target("at most", BYTES_BEYOND_ROW, " B"),
        note=f"a row of raw results is {row_width(LVS) * 8} B; columns, ids and folds remain",
    )


def _bytes_beyond_rows(maps: Maps) -> float:
    """Highest memory at any moment of scoring, without the inputs and the table of raw results."""
    predictions = maps.predictions
    rows = len(maps.truth) * row_width(LVS, num_annotators(maps.truth)) * 8
    tracemalloc.start()
    try:
        score(predictions, maps.truth, LVS, ranking=False)
        return tracemalloc.get_traced_memory()[1] - rows
    finally:
        tracemalloc.stop()


def _protocols(maps: Maps) -> Iterator[Measurable]:
    predictions, n = maps.predictions, len(maps.truth)
    for name in PROTOCOLS:
        yield Comparison(
            name=f"all scores under {name}",
            item="map",
            items=n,
            ours=_scorer(predictions, maps.truth, name),
            note="with pixel AP and intervals" if name == next(iter(PROTOCOLS)) else "",
            rounds=3,
        )


def _scorer(predictions: Predictions, truth: Sequence[Truth], name: str) -> Callable[[], object]:
    return lambda: score(predictions, truth, name)


def peer_intervals(columns: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    """``(k, 2)`` percentile intervals of means, one resample at a time."""
    rng = np.random.default_rng(seed)
    means = [
        columns[rng.integers(len(columns), size=len(columns))].mean(axis=0)
        for _ in range(resamples)
    ]
    return np.asarray(np.percentile(np.array(means), [2.5, 97.5], axis=0).T)


def _bootstrap(sizes: Sizes) -> Measurable:
    columns = np.random.default_rng(0).random(sizes.bootstrapped)
    n, k = sizes.bootstrapped

    def claims(peer: NDArray[np.float64], ours: NDArray[np.float64]) -> Iterator[Claim]:
        gap = float(np.abs(peer - ours).max())
        yield Claim(f"intervals of the same resamples within 1e-12, {gap:.1e} apart", gap <= 1e-12)

    return Comparison(
        name=f"bootstrap of {n} samples x {k} columns",
        item="resample",
        items=sizes.resamples,
        peer=lambda: peer_intervals(columns, 0, sizes.resamples),
        ours=lambda: bootstrap_ci(columns, 0, sizes.resamples),
        claims=claims,
        rounds=3,
    )


def _floors(maps: Maps, sizes: Sizes) -> Iterator[Measurable]:
    for name in ("center", "mean_box", "random"):
        n = sizes.random_floor if name == "random" else sizes.floor
        yield Comparison(
            name=f"floor {name} under lvs",
            item="1,000 samples",
            items=n / 1000,
            ours=_floor(name, maps.first(n).truth, sizes.random_draws),
            note=f"{sizes.random_draws} draws; floors use threads of their own"
            if name == "random"
            else "",
            rounds=1,
        )


def _floor(name: str, truth: Sequence[Truth], draws: int) -> Callable[[], object]:
    return lambda: floor_scores(name, truth, LVS, draws=draws)


def _accelerator(maps: Maps, setting: Setting) -> Measurable:
    name = f"batches of {BATCH} on a GPU"
    if setting.device == "cpu":
        return Absent(name=name, note="not asked for")
    if not torch.cuda.is_available():
        return Absent(name=name, note="no GPU here")
    return Comparison(
        name=name,
        item="map",
        items=len(maps.truth),
        peer=lambda: collected_scores(maps, "cpu", batched=False),
        ours=lambda: collected_scores(maps, "cuda", batched=True),
        claims=batch_claims,
        note="all that is scored under lvs; in place of the peer, this package on the CPU",
    )


def _validation(maps: Maps, setting: Setting) -> Measurable:
    """Scoring beside the answers that it scores, of the batch of a validation step."""
    name, device = "scoring beside the answers of a validation step", chosen_device(setting)
    if device.type == "cuda" and not torch.cuda.is_available():
        return Absent(name=name, note="no GPU here")
    on_gpu = device.type == "cuda"
    method, size = method_of("lvs_vanilla", small=setting.quick or not on_gpu)
    size = min(size, len(maps.truth))
    some = maps.first(size)
    clip = random_clips(method.to(device).eval(), size).to(device)

    @torch.no_grad()
    def answered() -> float:
        return float(method.localize(clip).confidence.sum())  # waits for a GPU

    metric = LocalizationMetrics(some.truth, LVS, batched=on_gpu)
    rows, heatmaps = torch.arange(size), torch.from_numpy(some.heatmaps).to(device)

    def scored() -> float:
        metric.update(rows, heatmaps)
        return float(metric.seen.sum())

    return Comparison(
        name=name,
        item="clip",
        items=size,
        peer=answered,
        ours=scored,
        target=Target("at least", 20.0, "x") if on_gpu else None,
        note=f"lvs_vanilla, batch of {size}, under lvs; in place of the peer, the answers",
    )


def collected_scores(maps: Maps, device: str, *, batched: bool) -> Scores:
    """Scores under ``lvs`` out of the metric object, batch by batch."""
    metric = LocalizationMetrics(maps.truth, LVS, batched=batched)
    for start in range(0, len(maps.truth), BATCH):
        own = torch.from_numpy(maps.heatmaps[start : start + BATCH]).to(device)
        metric.update(torch.arange(start, start + len(own)), own)
    scores: Scores = metric.compute()
    return scores


def batch_claims(peer: Scores, ours: Scores) -> Iterator[Claim]:
    """That maps scored in a batch are those scored one by one."""
    for key in ("ciou", "pointing"):
        same = np.array_equal(peer.values[key], ours.values[key], equal_nan=True)
        yield Claim(f"{key} equal on all {peer.n} maps", same)
    gap = np.abs(peer.values["pixel_ap"] - ours.values["pixel_ap"])
    undefined = np.isnan(peer.values["pixel_ap"]), np.isnan(ours.values["pixel_ap"])
    holds = np.array_equal(*undefined) and not np.nanmax(gap, initial=0.0) > 1e-12
    yield Claim(f"pixel_ap within 1e-12 on all {peer.n} maps", holds)
