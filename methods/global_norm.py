"""Batch statistics and negatives of the global batch, with gradient, on any backend.

``torch.nn.SyncBatchNorm`` needs CUDA; these work on gloo too, and are the ordinary operations when
there is one process.
"""

from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """Processes that share the global batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Place of this process among them."""
    return dist.get_rank() if world_size() > 1 else 0


def wait_for_all() -> None:
    """Returns when every process is here."""
    if world_size() > 1:
        dist.barrier()


class _SumOverRanks(torch.autograd.Function):
    """All-reduce whose gradient is the sum of the gradients of all ranks."""

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum of a tensor over all processes; the gradient reaches every one of them."""
    if world_size() == 1:
        return value
    return cast("Tensor", _SumOverRanks.apply(value))  # type: ignore[no-untyped-call]


class _Gathered(torch.autograd.Function):
    """Rows of all ranks, interleaved; the gradient is summed over ranks and sent home."""

    @staticmethod
    def forward(ctx: object, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts, 1).flatten(0, 1)  # (B / W, W, ...) -> (B, ...)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total[dist.get_rank() :: dist.get_world_size()]


def gathered(rows: Tensor) -> Tensor:
    """Rows of the global batch in its original order, with gradient.

    The sampler gives rank r the rows r, r + W, r + 2W, ... of the global batch; this undoes it.

    Args:
        rows: ``(B / W, ...)``, equal shapes on all W processes.

    Returns:
        ``(B, ...)``, the same on all processes.
    """
    if world_size() == 1:
        return rows
    return cast("Tensor", _Gathered.apply(rows))  # type: ignore[no-untyped-call]


def own_rows(batch_size: int) -> Tensor:
    """Places of this process's rows in the gathered batch, ``(B / W,)`` int64."""
    return torch.arange(rank(), batch_size, world_size())


class GlobalBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the global batch and all cells, ``(B, C, H, W)`` or ``(B, C)``.

    One process computes exactly ``nn.BatchNorm2d``. Running statistics use the unbiased variance of
    the global batch, as ``nn.BatchNorm2d`` does.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 4):
            raise ValueError(f"expected 2 or 4 axes, got {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalised input, same shape."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        axes = [0, *range(2, input.dim())]
        shape = [1, -1, *[1] * (input.dim() - 2)]
        exact = input if input.dtype == torch.float64 else input.float()
        count = sum_over_ranks(exact.new_tensor(input.numel() // input.shape[1]))
        mean = sum_over_ranks(exact.sum(axes)) / count
        centred = exact - mean.view(shape)
        variance = sum_over_ranks(centred.square().sum(axes)) / count
        self._update_running(mean.detach(), variance.detach() * count / (count - 1))
        normalised = centred * torch.rsqrt(variance.view(shape) + self.eps)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(input.dtype)

    def _update_running(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None, "norms here track their statistics"
        assert self.running_var is not None, "as above"
        assert self.num_batches_tracked is not None, "as above"
        assert self.momentum is not None, "and forget at a fixed rate"
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


class ZeroMean(GlobalBatchNorm):
    """Per-channel standardisation without affine, the end of a stream trained from nothing.

    Without it all cosines start near 1 and a contrastive loss stays at log(B).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False)


def with_global_statistics(module: nn.Module) -> nn.Module:
    """The module with each ``nn.BatchNorm2d`` replaced by a ``GlobalBatchNorm`` of equal state."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            norm = GlobalBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, norm)
        else:
            with_global_statistics(child)
    return module
