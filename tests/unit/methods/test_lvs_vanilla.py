from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip
from methods.base import OptimConfig
from methods.lvs_vanilla import ContrastiveConfig, LvsVanilla, vanilla_rows
from methods.response import cosine_localization
from metrics.errors import BenchError

Features = Callable[..., tuple[Tensor, Tensor]]


def looped_row(
    loops: SimpleNamespace, sound: Tensor, visual: Tensor, i: int, config: ContrastiveConfig
) -> float:
    """Eq. 5-6 with P_i = exp(P_b), in float64."""
    own, images = sound[i].double().numpy(), visual.double().numpy()
    pooled = loops.plain_mean if config.negative_pool == "mean" else loops.positive
    negatives = [pooled(own, image) for other, image in enumerate(images) if other != i]
    return loops.row_loss([loops.positive(own, images[i])], negatives, config.temperature)


@pytest.mark.parametrize("negative_pool", ["mean", "masked"])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_every_row_is_equations_5_and_6_with_the_base_pair_alone(
    features: Features, loops: SimpleNamespace, negative_pool: str, temperature: float
):
    sound, visual = features(6)
    config = ContrastiveConfig(temperature=temperature, negative_pool=negative_pool)

    rows = vanilla_rows(sound, visual, config)

    expected = [looped_row(loops, sound, visual, i, config) for i in range(6)]
    assert rows.tolist() == pytest.approx(expected, abs=1e-9)


def test_rows_in_single_precision_stay_within_1e_5(features: Features, loops: SimpleNamespace):
    sound, visual = (each.float() for each in features(6))
    config = ContrastiveConfig()

    rows = vanilla_rows(sound, visual, config)

    expected = [looped_row(loops, sound, visual, i, config) for i in range(6)]
    assert rows.tolist() == pytest.approx(expected, abs=1e-5)


def test_the_gradient_of_the_rows_is_that_of_finite_differences(features: Features):
    sound, visual = (each.requires_grad_() for each in features(3))
    config = ContrastiveConfig(temperature=1.0)

    assert torch.autograd.gradcheck(lambda a, v: vanilla_rows(a, v, config), (sound, visual))


@pytest.mark.parametrize("fill", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("negative_pool", ["mean", "masked"])
def test_equal_features_everywhere_keep_loss_and_gradients_finite(fill: float, negative_pool: str):
    sound = torch.full((4, 5), abs(fill), requires_grad=True)
    visual = torch.full((4, 5, 3, 2), fill, requires_grad=True)

    rows = vanilla_rows(sound, visual, ContrastiveConfig(negative_pool=negative_pool))
    rows.sum().backward()

    assert torch.isfinite(rows).all()
    assert torch.isfinite(sound.grad).all()
    assert torch.isfinite(visual.grad).all()


def test_equal_features_everywhere_give_the_logarithm_of_the_batch():
    rows = vanilla_rows(torch.ones(4, 5), torch.ones(4, 5, 3, 2), ContrastiveConfig())

    assert rows.tolist() == pytest.approx([np.log(4)] * 4, abs=1e-5)


def test_the_loss_is_the_mean_of_the_rows(
    features: Features,
    loops: SimpleNamespace,
    row_features: type[nn.Module],
    numbered_batch: Callable[..., Batch],
):
    sound, visual = features(5)
    config = ContrastiveConfig(backbone="small")
    method = LvsVanilla(config, OptimConfig(), seed=0)
    method.streams = row_features(sound, visual)
    order = [4, 0, 2]

    loss = method.loss(numbered_batch(order))

    expected = [looped_row(loops, sound[order], visual[order], i, config) for i in range(3)]
    assert loss.item() == pytest.approx(np.mean(expected), abs=1e-9)


def test_the_answer_is_the_map_of_equation_2_and_its_maximum(
    features: Features,
    loops: SimpleNamespace,
    row_features: type[nn.Module],
    numbered_batch: Callable[..., Batch],
):
    sound, visual = features(3)

    answer = cosine_localization(row_features(sound, visual), numbered_batch([0, 2]).clip)

    for place, row in enumerate([0, 2]):
        expected = loops.cosine_map(sound[row].numpy(), visual[row].numpy())
        assert answer.heatmap[place].flatten().tolist() == pytest.approx(expected, abs=1e-12)
        assert answer.confidence[place].item() == pytest.approx(max(expected), abs=1e-12)


def test_the_answer_for_a_clip_does_not_depend_on_its_batch():
    method = LvsVanilla(ContrastiveConfig(backbone="small"), OptimConfig(), seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (3, 1, 3, 64, 64), generator=generator, dtype=torch.uint8)
    waveform = torch.rand(3, 1, 16000, generator=generator)
    clip = Clip(torch.arange(3), frames, waveform, torch.zeros(3, dtype=torch.int64))

    with torch.no_grad():
        together = method.localize(clip).heatmap[1:2]
        alone = method.localize(Clip(*(each[1:2] for each in clip[:4]))).heatmap

    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)


def test_batches_of_one_clip_hold_no_negative_and_are_refused(
    tiny_clips: Callable[..., ClipData],
):
    method = LvsVanilla(ContrastiveConfig(backbone="small"), OptimConfig(), seed=0)

    with pytest.raises(BenchError, match=r"data\.batch_size=1: .* set data\.batch_size to 2"):
        method.check(tiny_clips(batch_size=1))


def test_an_unknown_pool_of_negatives_is_refused():
    config = ContrastiveConfig(backbone="small", negative_pool="max")

    with pytest.raises(BenchError, match="method.negative_pool='max' is unknown; use mean or"):
        LvsVanilla(config, OptimConfig(), seed=0)
