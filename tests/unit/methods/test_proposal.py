"""Sections 3 and 4 of Xuan et al. 2022, written out in loops in float64, against the method."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import roi_align

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip, Inputs
from methods.base import OptimConfig
from methods.lstm import LSTM
from methods.negatives import derangement
from methods.proposal import (
    Head,
    Proposal,
    ProposalConfig,
    attention_weights,
    best_proposals,
    box_sums,
    covered_map,
    each_cell_over_time,
    map_extremes,
    pixel_boxes,
    proposal_confidence,
    pyramid,
    ranked,
    seen_by,
    seen_by_each,
    similarity,
    two_sources,
)
from metrics.errors import BenchError

Array = NDArray[np.float64]
SMALL = {
    "backbone": "small", "image_size": 32, "segment_seconds": 0.5, "embedding": 6,
    "max_proposals": 5, "kept_proposals": 3,
}  # fmt: skip
BATCH, CHANNELS, CELLS, PROPOSALS = 4, 128, 4, 5
ABSENT = [torch.nan] * 4


class Given(nn.Module):
    """Streams that see and hear the given features, whatever the clip."""

    def __init__(self, visual: Tensor, heard: Tensor) -> None:
        super().__init__()
        self.visual, self.heard = visual, heard

    def forward(self, clip: Clip) -> tuple[Tensor, Tensor]:
        return self.visual[clip.index], self.heard[clip.index]


def features(batch: int = BATCH, segments: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, segments, CHANNELS)
    visual = torch.randn(*shape, CELLS, CELLS, generator=generator, dtype=torch.float64)
    return visual, torch.randn(*shape, generator=generator, dtype=torch.float64)


def some_boxes(*shape: int, seed: int = 0) -> Tensor:
    """Boxes ``(*shape, 4)`` float32 in any place and of any size."""
    corners = torch.rand(*shape, 2, 2, generator=torch.Generator().manual_seed(seed))
    return torch.cat([corners.amin(-2), corners.amax(-2)], -1)


def clips(batch: int = BATCH, segments: int = 1) -> Clip:
    """Clips for ``Given``; the last frame has but two proposals."""
    rows = torch.arange(batch)
    proposals = some_boxes(batch, segments, PROPOSALS)
    proposals[-1, :, 2:] = torch.nan
    nothing = torch.empty(batch, segments, 3, 0, 0), torch.empty(batch, segments, 0)
    return Clip(rows, *nothing, torch.full((batch,), segments // 2), proposals)


def method_of(batch: int = BATCH, segments: int = 1, **settings: object) -> Proposal:
    """The heads in float64, on the features above."""
    config = ProposalConfig(**{**SMALL, "num_segments": segments, **settings})
    method = Proposal(config, OptimConfig(), seed=0).double()
    method.streams = Given(*features(batch, segments))
    return method


class Equations:
    """The network of the paper as loops over numpy arrays."""

    def __init__(self, method: Proposal) -> None:
        self.method = method
        self.weights = {key: each.detach().numpy() for key, each in method.named_parameters()}

    def lstm(self, name: str, steps: Array) -> Array:
        """An LSTM over ``(T, C)``, gate by gate in the order input, forget, cell, output."""
        w = {key.rpartition(".")[2]: each for key, each in self.weights.items() if name in key}
        hidden = cell = np.zeros(steps.shape[1])
        found = []
        for step in steps:
            gates = w["weight_ih_l0"] @ step + w["bias_ih_l0"]
            gates = gates + w["weight_hh_l0"] @ hidden + w["bias_hh_l0"]
            i, f, g, o = np.split(gates, 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            hidden = sigmoid(o) * np.tanh(cell)
            found.append(hidden)
        return np.stack(found)

    def head(self, name: str, vector: Array) -> Array:
        return self.weights[f"{name}.layer.weight"] @ vector + self.weights[f"{name}.layer.bias"]

    def map(self, visual: Array, heard: Array) -> Array:
        """w of 3.3, cell by cell."""
        found = np.empty(visual.shape[1:])
        for row, column in np.ndindex(*found.shape):
            phi_v = softmax(self.weights["u_v.weight"] @ visual[:, row, column])
            found[row, column] = phi_v @ softmax(self.weights["u_s.weight"] @ heard)
        return found

    def kept(self, location_map: Array, proposals: Array) -> list[Array]:
        """The K boxes with the largest sums of the GRM, pixel by pixel."""
        there = [box for box in proposals if not np.isnan(box).any()]
        sums = [pixel_confidence(location_map, box, 32) for box in there]
        order = sorted(range(len(there)), key=lambda place: -sums[place])
        return [there[place] for place in order[: self.method.config.kept_proposals]]

    def streams(self, row: int, segment: int = 0, sound_of: int | None = None):
        """f_s, f_att, the f_box and the boxes of a frame with the sound of a clip."""
        visual, _ = (each.numpy() for each in features(*self.shape))
        sounds = self.heard(row if sound_of is None else sound_of)
        cells = np.empty_like(visual[row])
        for y, x in np.ndindex(CELLS, CELLS):
            cells[:, :, y, x] = self.lstm("visual_lstm", visual[row, :, :, y, x])
        location_map = self.map(cells[segment], sounds[segment])
        attended = (location_map * cells[segment]).sum((1, 2))
        proposals = clips(*self.shape).proposals[row, segment].double().numpy()
        boxes = self.kept(location_map, proposals)
        f_box = [self.head("to_box", pyramid_of(visual[row, segment], box)) for box in boxes]
        return (
            self.head("to_sound", sounds[segment]), self.head("to_frame", attended), f_box, boxes,
            location_map,
        )  # fmt: skip

    def heard(self, row: int) -> Array:
        """The sound of a clip over time, ``(T, C)``."""
        _, heard = features(*self.shape)
        return self.lstm("audio_lstm", heard[row].numpy())

    def f_s(self, row: int, segment: int) -> Array:
        return self.head("to_sound", self.heard(row)[segment])

    @property
    def shape(self) -> tuple[int, int]:
        return self.method.streams.visual.shape[:2]


def sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-values))


def softmax(values: Array) -> Array:
    return np.exp(values) / np.exp(values).sum()


def cosine(first: Array, second: Array) -> float:
    return first @ second / np.linalg.norm(first) / np.linalg.norm(second)


def upsampled(grid: Array, size: int) -> Array:
    """Bilinear interpolation with half-pixel centres."""
    weights = np.array([tent((p + 0.5) * len(grid) / size - 0.5, len(grid)) for p in range(size)])
    return weights @ grid @ weights.T


def tent(place: float, cells: int) -> list[float]:
    """Weight of each cell at a place between their centres, or beyond the outermost."""
    place = min(max(place, 0), cells - 1)
    return [max(0.0, 1 - abs(place - cell)) for cell in range(cells)]


def pixel_confidence(grid: Array, box: Array, size: int) -> float:
    """Sum of the GRM over the pixels of a box."""
    pixels = upsampled(grid, size)
    x0, y0, x1, y1 = (int(np.round(each * size)) for each in box)
    g = (pixels - pixels.min()) / pixels.max()
    return sum(g[y, x] for y in range(y0, max(y1, y0 + 1)) for x in range(x0, max(x1, x0 + 1)))


def pyramid_of(visual: Array, box: Array) -> Array:
    """RoI-align of one box with 8 x 8 samples, averaged over 1, 4 and 16 parts."""
    x0, y0, x1, y1 = box * CELLS
    steps = (np.arange(8) + 0.5) / 8
    rows = np.array([tent(y0 + step * (y1 - y0) - 0.5, CELLS) for step in steps])
    columns = np.array([tent(x0 + step * (x1 - x0) - 0.5, CELLS) for step in steps])
    samples = np.einsum("ip,cpq,jq->cij", rows, visual, columns)
    levels = [samples.reshape(CHANNELS, n, 8 // n, n, 8 // n).mean((2, 4)) for n in (1, 2, 4)]
    return np.concatenate([each.ravel() for each in levels])


def f_v(f_s: Array, f_box: list[Array]) -> Array:
    """Eq. 3 and the weighted mean of 3.4."""
    d = [max(cosine(f_s, each), 0) for each in f_box]
    alpha = [each / sum(d) for each in d] if sum(d) > 0 else [1 / len(d)] * len(d)
    return sum(weight * each for weight, each in zip(alpha, f_box, strict=True))


def ratio(positive: float, negative: float) -> float:
    """The distance ratio of Senocak et al. 2018, Eq. 5, with both exponentials."""
    total = np.exp(positive) + np.exp(negative)
    return (np.exp(positive) / total) ** 2 + (1 - np.exp(negative) / total) ** 2


WEIGHTS = {"pretrained": "warmup"}  # given weights: the heads end in no batch statistics


@pytest.mark.parametrize("segments", [1, 2])
@pytest.mark.parametrize("query", ["positive", "pair"])
def test_the_loss_is_that_of_the_paper_in_loops(query: str, segments: int):
    method = method_of(segments=segments, query=query, **WEIGHTS)

    loss = method.loss(Batch(clips(segments=segments)))

    equations, expected = Equations(method), 0.0
    other = derangement(BATCH, seed=0, epoch=0, step=0).tolist()
    for row, segment in itertools.product(range(BATCH), range(segments)):
        sound, frame, f_box, *_ = equations.streams(row, segment)
        negative = equations.f_s(other[row], segment)
        own = f_v(sound, f_box)
        met = own if query == "positive" else f_v(negative, f_box)
        expected += ratio(np.linalg.norm(own - sound), np.linalg.norm(met - negative))
        expected += 0.5 * ((own - frame) ** 2).sum()
    assert loss.item() == pytest.approx(expected / BATCH / segments, abs=1e-6)


@pytest.mark.parametrize("segments", [1, 2])
@pytest.mark.parametrize("query", ["positive", "pair"])
def test_infonce_is_the_cross_entropy_of_a_frame_against_all_sounds(query: str, segments: int):
    method = method_of(segments=segments, query=query, loss="infonce", temperature=0.2, **WEIGHTS)

    loss = method.loss(Batch(clips(segments=segments)))

    equations, expected = Equations(method), 0.0
    for row, segment in itertools.product(range(BATCH), range(segments)):
        sound, frame, f_box, *_ = equations.streams(row, segment)
        sounds = [equations.f_s(each, segment) for each in range(BATCH)]
        seen = [f_v(each if query == "pair" else sound, f_box) for each in sounds]
        logits = np.array([cosine(*pair) / 0.2 for pair in zip(seen, sounds, strict=True)])
        expected += np.log(np.exp(logits).sum()) - logits[row]
        own = f_v(sound, f_box)
        apart = own / np.linalg.norm(own) - frame / np.linalg.norm(frame)
        expected += 0.5 * (apart**2).sum()
    assert loss.item() == pytest.approx(expected / BATCH / segments, abs=1e-6)


def test_an_answer_has_the_map_the_ranked_boxes_and_the_highest_similarity():
    method = method_of(segments=2, **WEIGHTS).eval()

    answer = method.localize(clips(segments=2))

    equations = Equations(method)
    for row in range(BATCH):
        sound, _, f_box, boxes, location_map = equations.streams(row, segment=1)
        d = [max(cosine(sound, each), 0) for each in f_box]
        order = sorted(range(len(d)), key=lambda place: -d[place])
        there = ~answer.boxes[row].isnan().any(-1)
        assert answer.heatmap[row].detach().numpy() == pytest.approx(location_map, abs=1e-9)
        assert answer.confidence[row].item() == pytest.approx(max(d), abs=1e-6)
        assert answer.box_scores[row][there].detach().numpy() == pytest.approx(
            [d[place] for place in order], abs=1e-6
        )
        found = answer.boxes[row][there].numpy()
        assert found == pytest.approx(np.array([boxes[place] for place in order]), abs=1e-7)
    assert answer.boxes[-1].isnan().any(-1).tolist() == [False, False, True]  # fewer than K
    assert answer.box_scores[-1, 2].item() == 0


def test_box_sums_are_those_of_a_loop_over_the_pixels_of_the_interpolated_map():
    rng = np.random.default_rng(0)
    grid = torch.from_numpy(rng.random((2, 7, 7), dtype=np.float32))
    boxes = pixel_boxes(some_boxes(2, 20), 56)

    sums = box_sums(grid, boxes, 56)

    for frame in range(2):
        pixels = upsampled(grid[frame].double().numpy(), 56)
        for place, (x0, y0, x1, y1) in enumerate(
            zip(*(each[frame] for each in boxes), strict=True)
        ):
            expected = pixels[y0:y1, x0:x1].sum()
            assert abs(sums[frame, place].item() - expected) <= 1e-5 * pixels.sum()


def test_box_sums_at_the_papers_size_stay_within_1e_5_of_the_maps_sum():
    grid = torch.rand(4, 28, 28, generator=torch.Generator().manual_seed(0))
    boxes = pixel_boxes(some_boxes(4, 600), 224)

    sums = box_sums(grid, boxes, 224)

    pixels = nn.functional.interpolate(grid.double()[:, None], (224, 224), mode="bilinear")[:, 0]
    for frame, place in itertools.product(range(4), range(0, 600, 7)):
        x0, y0, x1, y1 = (int(each[frame, place]) for each in boxes)
        expected = pixels[frame, y0:y1, x0:x1].sum()
        assert abs(sums[frame, place] - expected) <= 1e-5 * pixels[frame].sum()


@pytest.mark.parametrize(("cells", "size"), [(28, 224), (12, 96), (7, 50), (5, 5), (1, 8)])
def test_extremes_are_those_of_all_pixels(cells: int, size: int):
    grid = torch.rand(3, cells, cells, generator=torch.Generator().manual_seed(0)).double()

    lowest, highest = map_extremes(grid, size)

    pixels = nn.functional.interpolate(grid[:, None], (size, size), mode="bilinear").flatten(1)
    torch.testing.assert_close((lowest, highest), (pixels.amin(1), pixels.amax(1)))


@pytest.mark.parametrize("proposal_score", ["sum", "mean"])
def test_confidences_are_sums_or_means_of_the_grm(proposal_score: str):
    grid = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    boxes = some_boxes(1, 9)

    found = proposal_confidence(grid, boxes, 32, proposal_score=proposal_score)

    for place, box in enumerate(boxes[0].double().numpy()):
        expected = pixel_confidence(grid[0].double().numpy(), box, 32)
        if proposal_score == "mean":
            x0, y0, x1, y1 = (round(each * 32) for each in box)
            expected /= max(x1 - x0, 1) * max(y1 - y0, 1)
        assert found[0, place].item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_both_forms_of_the_grm_select_the_same_proposals():
    grid = torch.rand(6, 7, 7, generator=torch.Generator().manual_seed(0))
    boxes = some_boxes(6, 40)

    paper, minmax = (
        best_proposals(proposal_confidence(grid, boxes, 56, grm=grm), boxes, 8)
        for grm in ("paper", "minmax")
    )

    assert paper.equal(minmax)
    highest = proposal_confidence(grid, boxes, 56, grm="minmax", proposal_score="mean").amax()
    assert 0 < highest <= 1


def test_the_best_are_kept_in_order_equal_ones_as_they_stood_and_absent_ones_last():
    boxes = some_boxes(1, 6)
    boxes[0, 1] = torch.nan
    confidence = torch.tensor([[1.0, 9.0, 3.0, 1.0, 0.0, 1.0]])

    found = best_proposals(confidence, boxes, 4)
    all_of_them = best_proposals(confidence, boxes, 20)

    assert found.equal(boxes[:, [2, 0, 3, 5]])
    assert all_of_them[0, :5].equal(boxes[0, [2, 0, 3, 5, 4]])
    assert all_of_them[0, 5].isnan().all()


def test_a_box_has_at_least_a_pixel_wherever_it_lies():
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [1.0, 1.0, 1.0, 1.0], [0.26, 0.0, 0.27, 1.0]])

    found = pixel_boxes(boxes[None], 8)

    corners = torch.stack(found, -1)[0].tolist()
    assert corners == [[4, 4, 5, 5], [7, 7, 8, 8], [2, 0, 3, 8]]
    assert found.area.tolist() == [[1, 1, 8]]


@pytest.mark.parametrize("proposal_score", ["sum", "mean"])
def test_an_almost_constant_map_ranks_proposals_as_in_double_precision(proposal_score: str):
    noise = torch.rand(8, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    location_map = (1 + 1e-5 * noise).float()  # as a softmax over channels may be
    proposals = some_boxes(8, 100)

    found, exact = (
        proposal_confidence(each, proposals, 224, proposal_score=proposal_score)
        for each in (location_map, location_map.double())
    )

    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=0)


def test_a_constant_map_gives_no_proposal_an_edge():
    found = proposal_confidence(torch.full((1, 4, 4), 0.25), some_boxes(1, 3), 32, grm="minmax")

    assert found.tolist() == [[0.0, 0.0, 0.0]]


def test_the_pyramid_is_that_of_roi_align_at_each_level():
    visual = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    boxes = some_boxes(2, 5).double()

    found = pyramid(visual, boxes)

    rois = list(boxes * 8)
    levels = [roi_align(visual, rois, side, sampling_ratio=8 // side, aligned=True).flatten(1)
              for side in (1, 2, 4)]  # fmt: skip
    torch.testing.assert_close(found.flatten(0, 1), torch.cat(levels, 1))


def test_the_pyramid_of_half_precision_reads_the_places_of_boxes_in_full():
    draws = torch.Generator().manual_seed(0)
    visual = torch.rand(300, 1, 28, 28, generator=draws).bfloat16()
    boxes = some_boxes(300, 1)

    found, exact = pyramid(visual, boxes).float(), pyramid(visual.float(), boxes)

    torch.testing.assert_close(found, exact, rtol=0, atol=2**-7)  # what rounding of both leaves


def test_autocast_selects_the_same_proposals():
    location_map = torch.rand(6, CELLS, CELLS, generator=torch.Generator().manual_seed(0))
    proposals = some_boxes(6, 50)
    method = method_of()

    with torch.autocast("cpu", torch.bfloat16):
        selected = method.selected(location_map, proposals)

    assert torch.equal(selected, method.selected(location_map, proposals))


def test_autocast_ranks_boxes_by_the_same_likeness():
    method = method_of(max_proposals=20, kept_proposals=20, **WEIGHTS).float().eval()
    method.streams = Given(*(each.float() for each in features()))
    streams = method.embedded(clips()._replace(proposals=some_boxes(BATCH, 1, 20)))
    method.embedded = lambda clip: streams

    with torch.autocast("cpu", torch.bfloat16):
        found = method.localize(clips())

    expected = method.localize(clips())
    assert found.box_scores.dtype == torch.float32
    assert torch.equal(found.boxes, expected.boxes)
    assert torch.equal(found.on_screen, expected.on_screen)


def test_the_space_norm_is_a_softmax_of_cosines_over_cells():
    generator = torch.Generator().manual_seed(0)
    seen, heard = (
        torch.randn(*shape, generator=generator).double() for shape in ((2, 3, 4), (2, 4))
    )

    found = attention_weights(seen, heard, "space", 0.1)

    for n in range(2):
        cosines = np.array([cosine(each.numpy(), heard[n].numpy()) for each in seen[n]])
        assert found[n].numpy() == pytest.approx(softmax(cosines / 0.1))


def test_chunks_of_cells_are_followed_as_all_at_once(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    lstm, visual = LSTM(3, 3), torch.randn(2, 4, 3, 2, 5)
    expected = each_cell_over_time(lstm, visual)

    monkeypatch.setattr("methods.proposal.CELLS_AT_ONCE", 7)

    torch.testing.assert_close(each_cell_over_time(lstm, visual), expected)
    torch.testing.assert_close(expected[1, :, :, 1, 3], lstm(visual[1, :, :, 1, 3]))


def test_a_frame_where_nothing_is_like_the_sound_has_the_mean_of_its_proposals():
    sound = torch.tensor([[1.0, 0.0]])
    box = torch.tensor([[[-1.0, 1.0], [-1.0, 3.0], [5.0, 5.0]]])
    exists = torch.tensor([[True, True, False]])

    assert similarity(sound, box, exists).tolist() == [[0.0, 0.0, 0.0]]
    assert seen_by(sound, box, exists).tolist() == [[-1.0, 2.0]]


def test_a_frame_without_proposals_is_seen_as_zero_and_answers_no_box():
    method = method_of(**WEIGHTS).eval()
    clip = clips()
    clip.proposals[1] = torch.nan

    answer = method.localize(clip)

    assert answer.boxes[1].isnan().all()
    assert (answer.confidence[1].item(), answer.box_scores[1].tolist()) == (0.0, [0.0] * 3)
    assert answer.heatmap[1].isfinite().all()
    assert not answer.on_screen[1]


@pytest.mark.parametrize("loss", ["ratio", "infonce"])
@pytest.mark.parametrize("query", ["positive", "pair"])
@pytest.mark.parametrize("started", [WEIGHTS, {}], ids=["given weights", "from nothing"])
def test_missing_tiny_and_silent_input_keeps_loss_and_gradients_finite(
    query: str, loss: str, started: dict[str, object]
):
    method = method_of(query=query, loss=loss, **started)
    visual, heard = (torch.zeros_like(each, requires_grad=True) for each in features())
    method.streams = Given(visual, heard)
    clip = clips()
    clip.proposals[0] = torch.nan
    clip.proposals[1, :, 1:] = torch.nan
    clip.proposals[2, 0, 0] = torch.tensor([0.5, 0.5, 0.5 + 1 / 32, 0.5 + 1 / 32])

    found = method.loss(Batch(clip))
    found.backward()

    assert found.isfinite()
    assert visual.grad.isfinite().all()
    assert heard.grad.isfinite().all()
    assert all(weights.grad.isfinite().all() for weights in method.parameters())


def test_a_batch_without_any_proposal_can_be_learnt_from():
    method = method_of()  # from nothing: the statistics of boxes have no row
    clip = clips()
    clip.proposals[:] = torch.nan

    method.loss(Batch(clip)).backward()

    assert all(weights.grad.isfinite().all() for weights in method.parameters())


def test_statistics_of_boxes_count_those_alone_that_exist():
    torch.manual_seed(0)
    head = Head(3, 4, zero_mean=True).double()
    values = torch.randn(2, 5, 3).double()
    exists = torch.tensor([[True, True, True, False, False], [True, False, True, True, False]])

    found = head(values, exists)

    rows = head.layer(values)[exists]
    expected = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(found[exists], expected)
    assert found[~exists].eq(0).all()


@pytest.mark.parametrize("loss", ["ratio", "infonce"])
def test_wrong_frames_near_the_sound_that_sees_them_are_counted(loss: str):
    method = method_of(segments=2, loss=loss, **WEIGHTS).train()

    method.loss(Batch(clips(segments=2)))

    equations, near = Equations(method), 0
    other = derangement(BATCH, seed=0, epoch=0, step=0).tolist()
    for row, segment in itertools.product(range(BATCH), range(2)):
        sound, negative = (equations.f_s(each, segment) for each in (row, other[row]))
        _, _, f_box, *_ = equations.streams((row - 1) % BATCH, segment)
        seen = f_v(sound, f_box)
        if loss == "infonce":  # which knows directions alone
            seen, sound, negative = (
                each / np.linalg.norm(each) for each in (seen, sound, negative)
            )
        near += np.linalg.norm(seen - sound) < np.linalg.norm(seen - negative)
    assert method.figures() == {"wrong_frames_near_own_sound": near / BATCH / 2}
    method.on_train_epoch_start()
    assert method.figures() == {}


def test_without_selection_all_proposals_are_met_and_no_frame_is():
    method = method_of(selection="none", **WEIGHTS).eval()

    answer = method.localize(clips())
    loss = method.loss(Batch(clips()))

    names = {name.partition(".")[0] for name, _ in method.named_parameters()}
    assert names == {"audio_lstm", "to_sound", "to_box"}  # others would have no gradient
    assert answer.boxes.shape == (BATCH, PROPOSALS, 4)
    assert 0 < loss.item() < 2  # the ratio alone
    expected = covered_map(answer.boxes, answer.box_scores, CELLS)
    assert answer.heatmap.equal(expected)


def test_a_map_of_boxes_is_the_highest_score_over_the_centre_of_each_cell():
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.2, 0.5, 1.0, 1.0], ABSENT]])
    scores = torch.tensor([[0.3, 0.8, 0.0]])

    assert covered_map(boxes, scores, 2).tolist() == [
        [[pytest.approx(0.3), 0.0], [pytest.approx(0.8)] * 2]
    ]


LEFT, RIGHT = [0.0, 0.0, 0.4, 1.0], [0.5, 0.0, 1.0, 1.0]
WIDE, WHOLE = [0.0, 0.0, 0.6, 1.0], [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("boxes", "pair"),
    [
        ([LEFT, WIDE, RIGHT], (0, 2)),
        ([LEFT, RIGHT, RIGHT], (0, 1)),
        ([LEFT, WIDE, WHOLE], (0, 2)),
        ([LEFT, ABSENT, ABSENT], (0, None)),
        ([ABSENT, ABSENT, ABSENT], (None, None)),
    ],
    ids=["next best apart", "best of equal ones", "least overlap", "one box", "no box"],
)
def test_the_second_source_is_the_next_best_box_without_overlap(
    boxes: list[list[float]], pair: tuple[int | None, ...]
):
    given, scores = torch.tensor([boxes]), torch.tensor([[0.9, 0.5, 0.4]])

    found, found_scores = two_sources(given, scores)

    expected = [ABSENT if place is None else boxes[place] for place in pair]
    torch.testing.assert_close(found[0], torch.tensor(expected), equal_nan=True)
    for place, score in zip(pair, found_scores[0], strict=True):
        assert place is None or score == scores[0, place]


def test_two_sources_are_answered_where_they_are_asked_for():
    method = method_of(sources=2, **WEIGHTS).eval()

    answer = method.localize(clips())

    assert answer.boxes.shape == (BATCH, 2, 4)
    assert (answer.box_scores[:, 0] >= answer.box_scores[:, 1]).all()
    assert method.card.boxes == 2


def test_ranks_keep_what_exists_before_what_does_not():
    boxes = some_boxes(1, 3)

    found, scores = ranked(
        boxes, torch.tensor([[0.0, 0.0, 0.5]]), torch.tensor([[False, True, True]])
    )

    assert found.equal(boxes[:, [2, 1, 0]])
    assert scores.tolist() == [[0.5, 0.0, 0.0]]


def loss_of_one_of_two_ranks(**settings: object) -> dict[str, Any]:
    """Loss and gradients of the heads on this process's rows of a batch of six."""
    rank = torch.distributed.get_rank()
    method = method_of(6, **settings)  # from nothing: with batch statistics
    rows = torch.arange(6)[rank::2]
    clip = clips(6)
    found = method.loss(Batch(Clip(*(None if each is None else each[rows] for each in clip))))
    found.backward()
    grads = {name: weights.grad for name, weights in method.named_parameters()}
    return {"loss": found.item(), "grads": grads}


def printed_on_a_rank() -> dict[str, Any]:
    return loss_of_one_of_two_ranks()


def all_pairs_on_a_rank() -> dict[str, Any]:
    return loss_of_one_of_two_ranks(query="pair", loss="infonce")


@pytest.mark.parametrize(
    ("on_a_rank", "settings"),
    [(printed_on_a_rank, {}), (all_pairs_on_a_rank, {"query": "pair", "loss": "infonce"})],
)
def test_two_processes_have_the_loss_and_gradients_of_one(
    on_two_processes: Callable[..., list[Any]],
    on_a_rank: Callable[[], dict[str, Any]],
    settings: dict[str, object],
):
    method = method_of(6, **settings)
    expected = method.loss(Batch(clips(6)))
    expected.backward()

    ranks = on_two_processes(on_a_rank)

    assert sum(rank["loss"] for rank in ranks) / 2 == pytest.approx(expected.item(), abs=1e-9)
    for name, weights in method.named_parameters():
        found = sum(rank["grads"][name] for rank in ranks) / 2  # as the devices average
        assert torch.allclose(found, weights.grad, atol=1e-8), name


class Sampled:
    """What ``conclude`` asks of a data set: a training list, and pairs of frames and sounds."""

    def __init__(self, data: ClipData, clip: Clip) -> None:
        self.report, self.clip = data.report, clip
        self.asked: list[tuple[list[int], list[int]]] = []

    def chosen_loader(self, split: str, rows: Array, sounds: Array) -> list[Batch]:
        assert split == "train"
        self.asked.append((rows.tolist(), sounds.tolist()))
        parts = (None if each is None else each[rows] for each in self.clip)
        return [Batch(Clip(*parts)._replace(waveform=torch.from_numpy(sounds)))]


class Swappable(Given):
    """Streams whose sounds are named by the waveform."""

    def forward(self, clip: Clip) -> tuple[Tensor, Tensor]:
        return self.visual[clip.index], self.heard[clip.waveform.long()]


def test_the_distance_on_screen_is_the_mean_of_two_medians_over_training_clips(
    tiny_clips: Callable[..., ClipData],
):
    method = method_of(12, onscreen_clips=7, **WEIGHTS)
    method.streams = Swappable(*features(12))
    data = Sampled(tiny_clips(), clips(12))

    method.conclude(data)

    (rows, own), (same_rows, others) = data.asked
    assert (rows, len(set(rows))) == (own, 7)
    assert same_rows == rows
    assert sorted(others) == sorted(rows)
    assert all(row != other for row, other in zip(rows, others, strict=True))
    equations, medians = Equations(method), []
    for sounds in (own, others):
        apart = []
        for row, sound_of in zip(rows, sounds, strict=True):
            sound, _, f_box, *_ = equations.streams(row, sound_of=sound_of)
            apart.append(np.linalg.norm(f_v(sound, f_box) - sound))
        medians.append(np.median(apart))
    figures = method.figures()
    assert figures["m_on"] == pytest.approx(np.mean(medians), rel=1e-5)
    assert figures["distance_own_sound"] == pytest.approx(medians[0], rel=1e-5)
    kept = method_of(**WEIGHTS)
    kept.streams = method.streams
    kept.load_state_dict(method.state_dict())
    assert kept.figures() == figures


@pytest.mark.parametrize(
    ("onscreen", "expected"),
    [
        ("distance", [True, False, True, False]),
        ("activation", [True, True, False, False]),
        ("either", [True, True, True, False]),
    ],
)
def test_a_sound_is_on_screen_by_distance_by_activation_or_by_either(
    onscreen: str, expected: list[bool]
):
    method = method_of(onscreen=onscreen)
    method.median_distances.copy_(torch.tensor([1.0, 3.0]))

    found = method.on_screen(torch.tensor([1.9, 2.1, 1.9, 2.1]), torch.tensor([0.3, 0.3, 0.2, 0.2]))

    assert found.tolist() == expected


def test_before_the_distance_is_fitted_only_the_activation_tells():
    method = method_of()

    assert method.figures() == {}
    assert method.on_screen(torch.zeros(2), torch.tensor([0.1, 0.3])).tolist() == [False, True]


def test_proposals_are_asked_for():
    method = method_of(segments=2)

    expected = Inputs(32, num_segments=2, segment_seconds=0.5, proposals=5)
    assert method.inputs == expected
    assert Proposal(replace(method.config, max_proposals=7), OptimConfig(), seed=0).inputs == (
        replace(expected, proposals=7)
    )


def test_batches_of_one_clip_are_refused(tiny_clips: Callable[..., ClipData]):
    with pytest.raises(BenchError, match="data.batch_size=1: the negative is the sound of another"):
        method_of().check(tiny_clips(batch_size=1))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"grm": "papr"}, "method.grm='papr' is unknown; Did you mean paper"),
        ({"proposal_score": "max"}, "method.proposal_score='max' is unknown; use sum or mean"),
        ({"attention_norm": "cells"}, "method.attention_norm='cells' is unknown; use channel or"),
        ({"sources": 3}, "method.sources=3 must be 1 or 2"),
        ({"kept_proposals": 0}, "method.kept_proposals=0 must be at least 1"),
        ({"pretrained_vision": "a.pth"}, "method.pretrained_vision=a.pth has no meaning with"),
        ({"backbone": "vgg16_vggish", "pretrained": "warmup"}, "method.pretrained=warmup has no"),
    ],
)
def test_settings_that_mean_nothing_are_refused_in_words(settings: dict[str, object], words: str):
    with pytest.raises(BenchError, match=words):
        method_of(**settings)


def test_the_papers_streams_give_28_by_28_cells_and_a_vector_of_128():
    method = Proposal(ProposalConfig(), OptimConfig(), seed=0).eval()
    visual, audio = method.streams.visual, method.streams.audio

    with torch.no_grad():
        seen = visual(torch.zeros(1, 1, 3, 224, 224, dtype=torch.uint8))
        heard = audio(torch.zeros(1, 1, 16000))

    assert (seen.shape, heard.shape) == ((1, 1, 512, 28, 28), (1, 1, 128))
    assert (method.cells, method.visual_lstm.hidden_size) == (28, 512)
    assert (method.to_box.layer.in_features, method.to_box.layer.out_features) == (21 * 512, 512)
    assert method.streams.extractor() is None


def test_streams_of_given_weights_are_trained_unless_they_are_to_stay(tmp_path: Path):
    torch.save(torchvision.models.vgg16().features.state_dict(), tmp_path / "vgg16.pt")
    given = {"pretrained_vision": str(tmp_path / "vgg16.pt")}

    trained = Proposal(ProposalConfig(**given), OptimConfig(), seed=0)
    frozen = Proposal(ProposalConfig(**given, train_streams=False), OptimConfig(), seed=0)

    assert (trained.streams.frozen_visual, trained.streams.frozen_audio) == (False, False)
    assert (frozen.streams.frozen_visual, frozen.streams.frozen_audio) == (True, False)
    assert (frozen.card.pretraining, frozen.card.boxes) == ("vision", 1)


def test_each_frame_is_seen_by_each_sound_as_by_that_sound_alone():
    generator = torch.Generator().manual_seed(0)
    sounds = torch.randn(3, 2, 6, generator=generator).double()  # (B, T, D)
    box = torch.randn(2, 2, 4, 6, generator=generator).double()  # (b, T, K, D)
    exists = torch.rand(2, 2, 4, generator=generator) > 0.3
    exists[1, 1] = False

    found = seen_by_each(sounds, box, exists)

    for frame in range(2):
        for sound in range(3):
            torch.testing.assert_close(
                found[frame, sound], seen_by(sounds[sound], box[frame], exists[frame])
            )
