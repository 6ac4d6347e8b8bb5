from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods.global_norm import (
    GlobalBatchNorm,
    ZeroMean,
    gathered,
    own_rows,
    sum_over_ranks,
    with_global_statistics,
)

Case = tuple[torch.dtype, tuple[int, ...], int]  # precision, shape, rows of rank 0
CASES: list[Case] = [
    (dtype, shape, first)
    for dtype in (torch.float32, torch.float64)
    for shape in ((8, 3, 4, 5), (8, 3))
    for first in (4, 3)
]


def drawn(dtype: torch.dtype, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Inputs, and the weights that turn outputs into a scalar."""
    generator = torch.Generator().manual_seed(len(shape))
    values = 3 * torch.randn(shape, generator=generator, dtype=torch.float64) + 1
    weights = torch.randn(shape, generator=generator, dtype=torch.float64)
    return values.to(dtype), weights.to(dtype)


def norm_with_affine(norm: nn.BatchNorm2d, dtype: torch.dtype) -> nn.BatchNorm2d:
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.0, -1.0, 3.0]))
    return norm.to(dtype)


def after_two_steps(norm: nn.BatchNorm2d, values: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Everything that one training step leaves behind, after another one."""
    norm(values)
    values = values.clone().requires_grad_()
    output = norm(values)
    (output * weights).sum().backward()
    state = {name: value.clone() for name, value in norm.state_dict().items()}
    assert values.grad is not None
    found = {"output": output.detach(), "gradient": values.grad, **state}
    if norm.affine:
        found |= {"weight_gradient": norm.weight.grad, "bias_gradient": norm.bias.grad}
    return found


def on_one_of_two_ranks() -> dict[str, Any]:
    """What each of two processes finds; called by ``two_ranks``."""
    rank = torch.distributed.get_rank()
    found: dict[str, Any] = {"norm": [], "own": own_rows(6).tolist()}
    for dtype, shape, first in CASES:
        rows = slice(0, first) if rank == 0 else slice(first, None)
        values, weights = drawn(dtype, shape)
        norm = norm_with_affine(GlobalBatchNorm(3), dtype)
        found["norm"].append(after_two_steps(norm, values[rows], weights[rows]))
    values, weights = drawn(torch.float64, (6, 2))
    own = values[rank::2].clone().requires_grad_()
    everything = gathered(own)
    (everything * (weights if rank == 0 else weights.flip(0))).sum().backward()
    found |= {"gathered": everything.detach(), "gathered_gradient": own.grad}
    found["gathered_rows"] = gathered(torch.arange(6)[rank::2])
    part = torch.tensor([1.0 + rank], requires_grad=True)
    total = sum_over_ranks(part)
    (total * (10.0 if rank == 0 else 1.0)).sum().backward()
    found |= {"total": total.item(), "total_gradient": part.grad.item()}
    return found


@pytest.fixture(scope="module")
def two_ranks(on_two_processes: Callable[..., list[Any]]) -> list[dict[str, Any]]:
    return on_two_processes(on_one_of_two_ranks)


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("name", ["output", "gradient"])
def test_two_processes_normalise_like_one_on_the_whole_batch(
    two_ranks: list[dict[str, Any]], case: int, name: str
):
    dtype, shape, _ = CASES[case]
    values, weights = drawn(dtype, shape)
    reference: nn.Module = nn.BatchNorm2d(3) if len(shape) == 4 else nn.BatchNorm1d(3)
    expected = after_two_steps(norm_with_affine(reference, dtype), values, weights)

    found = torch.cat([rank["norm"][case][name] for rank in two_ranks])

    tolerance = 1e-6 if dtype == torch.float32 else 1e-10
    scale = expected[name].abs().max().item()
    torch.testing.assert_close(found, expected[name], rtol=0, atol=tolerance * max(1.0, scale))


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("name", ["running_mean", "running_var", "num_batches_tracked"])
def test_two_processes_keep_the_running_statistics_of_one(
    two_ranks: list[dict[str, Any]], case: int, name: str
):
    dtype, shape, _ = CASES[case]
    values, weights = drawn(dtype, shape)
    reference: nn.Module = nn.BatchNorm2d(3) if len(shape) == 4 else nn.BatchNorm1d(3)
    expected = after_two_steps(norm_with_affine(reference, dtype), values, weights)[name]

    tolerance = 1e-6 if dtype == torch.float32 else 1e-10
    for rank in two_ranks:
        torch.testing.assert_close(rank["norm"][case][name], expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("name", ["weight_gradient", "bias_gradient"])
def test_parameter_gradients_of_two_processes_add_up_to_those_of_one(
    two_ranks: list[dict[str, Any]], case: int, name: str
):
    dtype, shape, _ = CASES[case]
    values, weights = drawn(dtype, shape)
    reference: nn.Module = nn.BatchNorm2d(3) if len(shape) == 4 else nn.BatchNorm1d(3)
    expected = after_two_steps(norm_with_affine(reference, dtype), values, weights)[name]

    found = two_ranks[0]["norm"][case][name] + two_ranks[1]["norm"][case][name]

    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_gathered_rows_stand_in_the_order_of_the_global_batch(two_ranks: list[dict[str, Any]]):
    values, _ = drawn(torch.float64, (6, 2))

    for rank in two_ranks:
        assert rank["gathered"].equal(values)
        assert rank["gathered_rows"].tolist() == [0, 1, 2, 3, 4, 5]


def test_the_gradient_of_gathered_rows_comes_from_all_processes(two_ranks: list[dict[str, Any]]):
    _, weights = drawn(torch.float64, (6, 2))
    expected = weights + weights.flip(0)

    for number, rank in enumerate(two_ranks):
        assert rank["gathered_gradient"].equal(expected[number::2])


def test_own_rows_are_a_ranks_places_in_the_gathered_batch(two_ranks: list[dict[str, Any]]):
    assert [[0, 2, 4], [1, 3, 5]] == [rank["own"] for rank in two_ranks]


def test_a_sum_over_ranks_sends_the_gradients_of_all_home(two_ranks: list[dict[str, Any]]):
    assert [(3.0, 11.0), (3.0, 11.0)] == [
        (rank["total"], rank["total_gradient"]) for rank in two_ranks
    ]


def test_one_process_gathers_and_sums_nothing():
    rows = torch.arange(3.0)

    assert gathered(rows) is rows
    assert sum_over_ranks(rows) is rows
    assert own_rows(3).tolist() == [0, 1, 2]


def test_one_process_is_exactly_the_ordinary_batch_norm():
    values, weights = drawn(torch.float32, (8, 3, 4, 5))
    expected = after_two_steps(norm_with_affine(nn.BatchNorm2d(3), torch.float32), values, weights)

    found = after_two_steps(norm_with_affine(GlobalBatchNorm(3), torch.float32), values, weights)

    assert expected.keys() == found.keys()
    assert all(expected[name].equal(found[name]) for name in expected)


def test_in_evaluation_it_is_exactly_the_ordinary_batch_norm():
    values, _ = drawn(torch.float32, (8, 3, 4, 5))
    ordinary = norm_with_affine(nn.BatchNorm2d(3), torch.float32)
    norm = norm_with_affine(GlobalBatchNorm(3), torch.float32)
    ordinary(values), norm(values)

    assert norm.eval()(2 * values).equal(ordinary.eval()(2 * values))


def test_batch_norm_of_three_axes_is_refused():
    with pytest.raises(ValueError, match="expected 2 or 4 axes, got 3"):
        GlobalBatchNorm(3)(torch.zeros(2, 3, 4))


def test_zero_mean_standardises_every_channel_and_learns_nothing():
    values, _ = drawn(torch.float64, (8, 3, 4, 5))

    standardised = ZeroMean(3).double()(values)

    expected = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(standardised.mean((0, 2, 3)), expected)
    torch.testing.assert_close(
        standardised.var((0, 2, 3), unbiased=False), expected + 1, rtol=0, atol=1e-5
    )
    assert list(ZeroMean(3).parameters()) == []


def test_with_global_statistics_changes_no_value_and_no_key():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.BatchNorm2d(3, eps=1e-3), nn.ReLU()))
    norm_with_affine(net[1][0], torch.float32)
    values, _ = drawn(torch.float32, (8, 3, 4, 5))
    net(values)
    keys, expected = list(net.state_dict()), net.eval()(values)

    changed = with_global_statistics(net).eval()

    assert type(changed[1][0]) is GlobalBatchNorm
    assert keys == list(changed.state_dict())
    assert expected.equal(changed(values))
