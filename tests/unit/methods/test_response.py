from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from methods.response import (
    contrastive_rows,
    masked_mean,
    paired_maps,
    pooled_negatives,
    response_maps,
    soft_mask,
)

Features = Callable[..., tuple[Tensor, Tensor]]


@pytest.mark.parametrize("maps", [response_maps, paired_maps])
def test_maps_are_not_of_half_precision_where_autocast_asks_for_it(
    maps: Callable[[Tensor, Tensor], Tensor],
):
    draws = torch.Generator().manual_seed(0)
    sound, visual = (torch.randn(*shape, generator=draws) for shape in ((4, 16), (4, 16, 3, 2)))

    with torch.autocast("cpu", torch.bfloat16):
        found = maps(sound, visual)

    assert torch.equal(found, maps(sound, visual))
    assert maps(sound.bfloat16(), visual.bfloat16()).dtype == torch.float32


def test_response_maps_are_the_cosines_of_equation_2(features: Features, loops: SimpleNamespace):
    sound, visual = features(4)

    alpha = response_maps(sound[:3], visual)

    assert alpha.shape == (3, 4, 3, 2)
    for i in range(3):
        for j in range(4):
            expected = loops.cosine_map(sound[i].numpy(), visual[j].numpy())
            assert alpha[i, j].flatten().tolist() == pytest.approx(expected, abs=1e-12)


def test_response_maps_in_single_precision_stay_within_1e_6(
    features: Features, loops: SimpleNamespace
):
    sound, visual = features(2)

    alpha = response_maps(sound.float(), visual.float())

    expected = loops.cosine_map(sound[0].numpy(), visual[1].numpy())
    assert alpha[0, 1].flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_paired_maps_are_the_diagonal_of_equation_2(features: Features, loops: SimpleNamespace):
    sound, visual = features(3)

    alpha = paired_maps(sound, visual)

    for i in range(3):
        expected = loops.cosine_map(sound[i].numpy(), visual[i].numpy())
        assert alpha[i].flatten().tolist() == pytest.approx(expected, abs=1e-12)


def test_cosines_do_not_depend_on_lengths(features: Features):
    sound, visual = features(3)

    scaled = response_maps(7 * sound, 0.01 * visual)

    torch.testing.assert_close(scaled, response_maps(sound, visual))


def test_features_of_length_zero_give_zero_maps_and_finite_gradients():
    sound = torch.zeros(2, 5, requires_grad=True)
    visual = torch.zeros(2, 5, 3, 2, requires_grad=True)

    alpha = response_maps(sound, visual)
    masked_mean(alpha, soft_mask(alpha)).sum().backward()

    assert alpha.abs().max() == 0
    assert torch.isfinite(sound.grad).all()
    assert torch.isfinite(visual.grad).all()


def test_the_soft_mask_is_one_half_at_epsilon():
    assert soft_mask(torch.tensor(0.65, dtype=torch.float64)).item() == pytest.approx(0.5)


@pytest.mark.parametrize(("epsilon", "tau"), [(0.65, 0.03), (0.4, 0.03), (0.1, 0.5)])
def test_the_soft_mask_is_equation_3(epsilon: float, tau: float, loops: SimpleNamespace):
    alpha = torch.linspace(-1, 1, 41, dtype=torch.float64)

    expected = loops.soft_mask(alpha.tolist(), epsilon, tau)

    assert soft_mask(alpha, epsilon, tau).tolist() == pytest.approx(expected, abs=1e-12)


def test_the_masked_mean_is_equation_5(loops: SimpleNamespace):
    rng = np.random.default_rng(0)
    alpha, mask = rng.uniform(-1, 1, (2, 3, 4, 5)), rng.uniform(0, 1, (2, 3, 4, 5))

    pooled = masked_mean(torch.from_numpy(alpha), torch.from_numpy(mask))

    assert pooled.shape == (2, 3)
    for place in np.ndindex(2, 3):
        expected = loops.masked_mean(alpha[place].ravel(), mask[place].ravel())
        assert pooled[place].item() == pytest.approx(expected, abs=1e-12)


def test_the_masked_mean_of_an_empty_mask_is_zero():
    assert masked_mean(torch.ones(1, 2, 2), torch.zeros(1, 2, 2)).item() == 0


def test_the_masked_mean_stays_finite_where_all_cosines_are_minus_one():
    alpha = torch.full((1, 14, 14), -1.0, requires_grad=True)

    pooled = masked_mean(alpha, soft_mask(alpha))
    pooled.sum().backward()

    assert pooled.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(alpha.grad).all()


def test_gradients_flow_through_the_mask():
    alpha = torch.tensor([[[0.6, 0.7]]], dtype=torch.float64, requires_grad=True)

    (through,) = torch.autograd.grad(masked_mean(alpha, soft_mask(alpha)).sum(), alpha)
    (held,) = torch.autograd.grad(masked_mean(alpha, soft_mask(alpha).detach()).sum(), alpha)

    assert not torch.allclose(through, held)


def test_the_gradient_of_the_masked_mean_is_that_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    alpha = torch.rand(2, 3, 3, dtype=torch.float64, generator=generator, requires_grad=True)

    assert torch.autograd.gradcheck(lambda a: masked_mean(a, soft_mask(a)), alpha)


def test_negatives_are_pooled_by_the_plain_or_the_masked_mean(
    features: Features, loops: SimpleNamespace
):
    sound, visual = features(3)

    plain, masked = (pooled_negatives(sound[:2], visual, pool) for pool in ("mean", "masked"))

    for i in range(2):
        for j in range(3):
            own, image = sound[i].numpy(), visual[j].numpy()
            assert plain[i, j].item() == pytest.approx(loops.plain_mean(own, image), abs=1e-12)
            assert masked[i, j].item() == pytest.approx(loops.positive(own, image), abs=1e-12)


def drawn_rows() -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(1)
    positives = torch.from_numpy(rng.normal(size=(4, 3)) * 5)
    negatives = torch.from_numpy(rng.normal(size=(4, 6)) * 5)
    is_negative = torch.from_numpy(rng.random((4, 6)) < 0.5)
    is_negative[0], is_negative[1] = False, True
    return positives, negatives, is_negative


def test_contrastive_rows_are_equation_6(loops: SimpleNamespace):
    positives, negatives, is_negative = drawn_rows()

    rows = contrastive_rows(positives, negatives, is_negative)

    expected = [
        loops.row_loss(p.tolist(), n[keep].tolist(), 1.0)
        for p, n, keep in zip(positives, negatives, is_negative, strict=True)
    ]
    assert rows.tolist() == pytest.approx(expected, abs=1e-12)


def test_the_gradient_of_contrastive_rows_is_that_of_finite_differences():
    positives, negatives, is_negative = drawn_rows()
    positives.requires_grad_()
    negatives.requires_grad_()

    assert torch.autograd.gradcheck(
        lambda p, n: contrastive_rows(p, n, is_negative), (positives, negatives)
    )


@pytest.mark.parametrize("others", [1, 7, 64, 128])
@pytest.mark.parametrize("count", [1, 4])
def test_a_row_without_negatives_gives_no_loss_and_no_gradient(count: int, others: int):
    generator = torch.Generator().manual_seed(count)
    positives = (14 * torch.randn(50, count, generator=generator)).requires_grad_()
    negatives = (14 * torch.randn(50, others, generator=generator)).requires_grad_()

    rows = contrastive_rows(positives, negatives, torch.zeros(50, others, dtype=torch.bool))
    rows.sum().backward()

    assert rows.abs().max() == 0
    assert positives.grad.abs().max() == 0
    assert negatives.grad.abs().max() == 0


def test_contrastive_rows_are_never_negative_in_single_precision():
    generator = torch.Generator().manual_seed(0)
    positives = 14 * torch.randn(4000, 4, generator=generator)
    negatives = positives.amax(1, keepdim=True) - 15 - 5 * torch.rand(4000, 64, generator=generator)

    rows = contrastive_rows(positives, negatives, torch.ones(4000, 64, dtype=torch.bool))

    assert rows.min() >= 0


def test_contrastive_rows_survive_exponents_that_overflow():
    rows = contrastive_rows(
        torch.tensor([[1000.0]]), torch.tensor([[1000.0]]), torch.ones(1, 1, dtype=torch.bool)
    )

    assert rows.item() == pytest.approx(np.log(2), abs=1e-4)
