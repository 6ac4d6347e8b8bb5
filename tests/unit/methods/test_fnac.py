import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datamodules.base import ClipData
from datamodules.clip import Batch
from methods.base import OptimConfig
from methods.fnac import Fnac, FnacConfig, fnac_terms, row_gap, source_mask
from metrics.errors import BenchError

Features = Callable[..., tuple[Tensor, Tensor]]
Matrix = NDArray[np.float64]
TAU = 0.1  # at 0.03 most of the softmax is 0 or 1, and a wrong term would not show


def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / math.sqrt(sum(float(x) ** 2 for x in vector))


def softmaxes(rows: list[list[float]]) -> list[list[float]]:
    sums = [sum(math.exp(x) for x in row) for row in rows]
    return [[math.exp(x) / total for x in row] for row, total in zip(rows, sums, strict=True)]


def mean_gap(first: list[list[float]], second: list[list[float]]) -> float:
    pairs = [abs(a - b) for one, other in zip(first, second, strict=True)
             for a, b in zip(one, other, strict=True)]  # fmt: skip
    return sum(pairs) / len(pairs)


def looped_terms(
    loops: SimpleNamespace, sound: Matrix, visual: Matrix, tau: float, threshold: float
) -> tuple[float, float, float, float]:
    """FNAC model.py:50-82 at 0a0ca78, clip by clip and cell by cell."""
    size, channels, height, width = visual.shape
    cells = [(u, v) for u in range(height) for v in range(width)]
    responses = [
        [[x / tau for x in loops.cosine_map(sound[m], visual[n])] for m in range(size)]
        for n in range(size)
    ]
    pairs = [[max(response) for response in row] for row in responses]
    sounds = [unit(a) for a in sound]
    images, sources = [], []
    for n in range(size):
        own = responses[n][n]
        low, spread = min(own), max(own) - min(own) + 1e-5
        mean, source = np.zeros(channels), np.zeros(channels)
        for place, (u, v) in enumerate(cells):
            cell = unit(visual[n, :, u, v])
            mean += cell / len(cells)
            if (own[place] - low) / spread > threshold:
                source += cell / len(cells)
        images.append(mean)
        sources.append(source)

    def alike(vectors: list[NDArray[np.float64]]) -> list[list[float]]:
        return softmaxes([[float(a @ b) / tau for b in vectors] for a in vectors])

    columns = [[pairs[n][m] for n in range(size)] for m in range(size)]
    contrastive = sum(
        math.log(sum(math.exp(x - line[place]) for x in line)) / size
        for lines in (pairs, columns)
        for place, line in enumerate(lines)
    )
    of_pairs, of_sounds = softmaxes(pairs), alike(sounds)
    return (
        contrastive,
        mean_gap(of_sounds, of_pairs),
        mean_gap(of_sounds, alike(sources)),
        mean_gap(alike(images), of_pairs),
    )


class TrainedFeatures(nn.Module):
    """Streams that look up features, and say what they were asked to drop."""

    def __init__(self, streams: nn.Module) -> None:
        super().__init__()
        self.streams = streams

    def forward(self, clip: object, drop: object = None) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.streams(clip)
        return found


@pytest.mark.parametrize("threshold", [0.2, 0.6, 0.9])
def test_the_four_terms_are_those_of_the_code(
    features: Features, loops: SimpleNamespace, threshold: float
):
    sound, visual = features(5)
    config = FnacConfig(temperature=TAU, mask_threshold=threshold)

    found = fnac_terms(sound, visual, config)

    expected = looped_terms(loops, sound.numpy(), visual.numpy(), TAU, threshold)
    assert [each.item() for each in found] == pytest.approx(expected, rel=1e-9)


def test_single_precision_stays_within_1e_5(features: Features, loops: SimpleNamespace):
    sound, visual = features(5)

    found = fnac_terms(sound.float(), visual.float(), FnacConfig(temperature=TAU))

    expected = looped_terms(loops, sound.numpy(), visual.numpy(), TAU, 0.6)
    assert [each.item() for each in found] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("epoch", "training", "whole"), [(0, True, False), (1, True, False), (2, True, True),
                                     (0, False, True)],
)  # fmt: skip
def test_the_loss_is_that_of_ezvsl_in_the_warm_up_and_whole_afterwards(
    features: Features,
    loops: SimpleNamespace,
    row_features: type[nn.Module],
    numbered_batch: Callable[..., Batch],
    epoch: int,
    training: bool,
    whole: bool,
):
    sound, visual = features(4)
    config = FnacConfig(backbone="small", temperature=TAU, weight=7.0, warmup_epochs=2)
    method = Fnac(config, OptimConfig(), seed=0).train(training)
    method.streams = TrainedFeatures(row_features(sound, visual))
    method._trainer = SimpleNamespace(current_epoch=epoch)

    loss = method.loss(numbered_batch([3, 1, 0]))

    order = [3, 1, 0]
    first, *gaps = looped_terms(loops, sound[order].numpy(), visual[order].numpy(), TAU, 0.6)
    assert loss.item() == pytest.approx(first + (7.0 * sum(gaps) if whole else 0), rel=1e-9)


def test_gaps_per_row_are_those_of_the_mean_at_the_published_batch_and_the_same_at_any():
    rows = torch.rand(256, 256, generator=torch.Generator().manual_seed(0)).softmax(1)
    other = torch.rand(256, 256, generator=torch.Generator().manual_seed(1)).softmax(1)
    halves = torch.block_diag(torch.eye(2)), torch.block_diag(1 - torch.eye(2))
    wider = [torch.cat([torch.cat([each, torch.zeros(2, 6)], 1)] * 4) for each in halves]

    assert row_gap(rows, other, "mean").item() == pytest.approx(
        row_gap(rows, other, "per_row").item(), rel=1e-5
    )
    assert row_gap(*halves, "per_row").item() == row_gap(*wider, "per_row").item() == 2 / 256
    assert (row_gap(*halves, "mean").item(), row_gap(*wider, "mean").item()) == (1.0, 0.25)


def test_detached_targets_change_gradients_but_not_values(features: Features):
    found = {}
    for detach in (False, True):
        sound, visual = (each.clone().requires_grad_() for each in features(4))
        config = FnacConfig(temperature=TAU, detach_targets=detach)
        terms = fnac_terms(sound, visual, config)
        terms.sounds_and_pairs.backward(retain_graph=True)
        by_pairs = sound.grad.clone()
        (terms.sounds_and_sources + 0 * sound.sum()).backward()
        found[detach] = (torch.stack(terms).detach(), by_pairs, sound.grad - by_pairs, visual.grad)

    values, by_pairs, by_sources, _ = found[True]
    torch.testing.assert_close(values, found[False][0])
    assert not torch.allclose(by_pairs, found[False][1])
    assert by_sources.abs().max() < 1e-12  # the mask hears, but has no gradient
    assert found[False][2].abs().max() > 1e-3


def test_the_gradient_is_that_of_finite_differences(features: Features):
    sound, visual = (each.requires_grad_() for each in features(3))
    config = FnacConfig(temperature=0.5)

    assert torch.autograd.gradcheck(
        lambda a, v: torch.stack(fnac_terms(a, v, config)), (sound, visual)
    )


def test_a_constant_map_has_no_source():
    assert not source_mask(torch.full((1, 2, 2), 3.0), 0.6).any()


def test_a_source_is_what_lies_above_the_threshold_of_the_min_max_map():
    maps = torch.tensor([[[0.0, 5.9, 6.1, 10.0]]])

    assert source_mask(maps, 0.6).tolist() == [[[False, False, True, True]]]


def test_features_are_dropped_only_while_it_trains(numbered_batch: Callable[..., Batch]):
    seen = []

    class Spy(nn.Module):
        def forward(self, clip: object, drop: Callable[[Tensor], Tensor] | None = None):
            ones = torch.ones(3, 4, 8, 8)
            seen.append(ones if drop is None else drop(ones))
            return torch.eye(3, 4)[:, :, None, None].expand(3, 4, 8, 8), torch.eye(3, 4)

    method = Fnac(FnacConfig(backbone="small"), OptimConfig(), seed=0)
    method.streams = Spy()
    method.train().loss(numbered_batch([0, 1, 2]))
    method.eval().loss(numbered_batch([0, 1, 2]))

    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.9, abs=0.04)
    assert (seen[1] == 1).all()


@pytest.mark.parametrize(("epochs", "warns"), [(3, True), (5, True), (6, False)])
def test_a_run_of_warm_up_alone_is_told(caplog: pytest.LogCaptureFixture, epochs: int, warns: bool):
    method = Fnac(FnacConfig(backbone="small", warmup_epochs=5), OptimConfig(), seed=0)
    method._trainer = SimpleNamespace(max_epochs=epochs)

    method.on_train_start()

    told = f"all {epochs} epochs are warm-up, so fnac trains as ezvsl; lower method.warmup_epochs"
    assert [record.getMessage() for record in caplog.records] == ([told] if warns else [])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"l1": "sum"}, "method.l1='sum' is unknown; use mean or per_row"),
        ({"dropout": 1.0}, "method.dropout must be at least 0 and less than 1, got 1.0"),
        ({"warmup_epochs": -1}, "method.warmup_epochs must be at least 0, got -1"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: dict[str, object], words: str):
    with pytest.raises(BenchError, match=words):
        Fnac(FnacConfig(backbone="small", **settings), OptimConfig(), seed=0)


def test_batches_of_one_clip_are_refused(tiny_clips: Callable[..., ClipData]):
    method = Fnac(FnacConfig(backbone="small"), OptimConfig(), seed=0)

    with pytest.raises(BenchError, match=r"data\.batch_size=1: .* set data\.batch_size to 2"):
        method.check(tiny_clips(batch_size=1))
