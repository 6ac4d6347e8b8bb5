import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datamodules.base import ClipData
from datamodules.clip import Batch
from methods.base import OptimConfig
from methods.lvs import Lvs, LvsConfig, trimap_rows
from methods.response import masked_mean, soft_mask
from metrics.errors import BenchError

Features = Callable[..., tuple[Tensor, Tensor]]


def looped_trimap_row(
    loops: SimpleNamespace,
    cosines: list[list[float]],
    own: int,
    *,
    temperature: float,
    keep_diagonal: bool,
) -> float:
    """LVS model.py:17-79 at 8fe8cbb for one image; ``cosines[k]`` is its map of sound k."""
    base = cosines[own]
    background = [1 - m for m in loops.soft_mask(base, 0.4)]
    logits = [loops.masked_mean(base, loops.soft_mask(base))]
    for sound, cells in enumerate(cosines):
        score = loops.masked_mean(cells, loops.soft_mask(cells))
        if sound != own:
            logits.append(score)
        elif keep_diagonal:
            logits.append(score * (1 - 100))
    logits.append(loops.masked_mean(base, background))
    logits = [logit / temperature for logit in logits]
    return math.log(sum(math.exp(logit) for logit in logits)) - logits[0]


def rows_of(alpha: Tensor, own: Tensor, **options: Any) -> Tensor:
    """The loss of maps ``(N, M, h, w)``."""
    base, others = alpha[torch.arange(len(own)), own], masked_mean(alpha, soft_mask(alpha))
    return trimap_rows(base, others, own, **options)


def drawn_maps(images: int, sounds: int) -> Tensor:
    rng = np.random.default_rng([images, sounds])
    return torch.from_numpy(rng.uniform(-0.4, 1, (images, sounds, 3, 2)))


@pytest.mark.parametrize("keep_diagonal", [False, True])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_every_row_is_that_of_the_lvs_code(
    loops: SimpleNamespace, temperature: float, keep_diagonal: bool
):
    alpha, own = drawn_maps(4, 4), torch.tensor([0, 1, 2, 3])

    rows = rows_of(alpha, own, temperature=temperature, keep_diagonal=keep_diagonal)

    expected = [
        looped_trimap_row(
            loops,
            alpha[n].flatten(1).tolist(),
            n,
            temperature=temperature,
            keep_diagonal=keep_diagonal,
        )
        for n in range(4)
    ]
    assert rows.tolist() == pytest.approx(expected, abs=1e-9)


def test_an_images_own_sound_may_stand_anywhere(loops: SimpleNamespace):
    alpha, own = drawn_maps(2, 5), torch.tensor([3, 1])

    rows = rows_of(alpha, own, temperature=0.07)

    expected = [
        looped_trimap_row(
            loops, alpha[n].flatten(1).tolist(), k, temperature=0.07, keep_diagonal=False
        )
        for n, k in enumerate(own.tolist())
    ]
    assert rows.tolist() == pytest.approx(expected, abs=1e-9)


def test_the_kept_diagonal_dominates_where_the_positive_is_negative():
    alpha = torch.full((2, 2, 1, 1), -0.1, dtype=torch.float64)
    own = torch.tensor([0, 1])

    kept = rows_of(alpha, own, temperature=1.0, keep_diagonal=True)
    masked = rows_of(alpha, own, temperature=1.0)

    # a single cell below 0.65 pools to -0.1 * m / 1e-8 while m < 1e-8
    pooled = -0.1 / (1 + math.exp(0.75 / 0.03)) / 1e-8
    expected = math.log(2 * math.exp(pooled) + math.exp(-99 * pooled) + math.exp(-0.1)) - pooled
    assert kept.tolist() == pytest.approx([expected] * 2, abs=1e-9)
    assert (kept > masked).all()


def test_the_gradient_of_the_rows_is_that_of_finite_differences():
    alpha, own = drawn_maps(3, 3).requires_grad_(), torch.tensor([0, 1, 2])

    assert torch.autograd.gradcheck(lambda a: rows_of(a, own, temperature=0.5), alpha)


@pytest.mark.parametrize("fill", [-1.0, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("paper_literal", [False, True])
def test_equal_maps_everywhere_keep_loss_and_gradients_finite(fill: float, paper_literal: bool):
    alpha = torch.full((4, 4, 3, 2), fill, requires_grad=True)

    rows = rows_of(alpha, torch.arange(4), temperature=0.07, keep_diagonal=paper_literal)
    rows.sum().backward()

    assert torch.isfinite(rows).all()
    assert torch.isfinite(alpha.grad).all()


@pytest.mark.parametrize("paper_literal", [False, True])
def test_the_loss_is_the_mean_over_images_against_all_sounds(
    features: Features,
    loops: SimpleNamespace,
    row_features: type[nn.Module],
    numbered_batch: Callable[..., Batch],
    paper_literal: bool,
):
    sound, visual = features(5)
    config = LvsConfig(backbone="small", paper_literal=paper_literal)
    method = Lvs(config, OptimConfig(), seed=0)
    method.streams = row_features(sound, visual)
    order = [4, 0, 2]

    loss = method.loss(numbered_batch(order))

    expected = [
        looped_trimap_row(
            loops,
            [loops.cosine_map(sound[heard].numpy(), visual[seen].numpy()) for heard in order],
            place,
            temperature=1.0 if paper_literal else 0.07,
            keep_diagonal=paper_literal,
        )
        for place, seen in enumerate(order)
    ]
    assert loss.item() == pytest.approx(np.mean(expected), abs=1e-9)


def test_batches_of_one_clip_are_refused(tiny_clips: Callable[..., ClipData]):
    method = Lvs(LvsConfig(backbone="small"), OptimConfig(), seed=0)

    with pytest.raises(BenchError, match=r"data\.batch_size=1: .* set data\.batch_size to 2"):
        method.check(tiny_clips(batch_size=1))
