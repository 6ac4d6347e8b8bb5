"""Negatives of triplet losses: a clip of the global batch that is not the own one."""

import numpy as np
import torch
from torch import Tensor

from methods.base import Method
from methods.global_norm import gathered, own_rows
from metrics.errors import BenchError

NEGATIVES = 7301  # the stream of draws that is of negatives alone


def require_other_clips(
    batch_size: int,
    reason: str = "a contrastive loss needs at least 2 clips in the global batch",
) -> None:
    """Raises BenchError, with the reason, where a global batch holds no negative at all."""
    if batch_size < 2:
        raise BenchError(
            f"data.batch_size={batch_size}: {reason}; set data.batch_size to 2 or more"
        )


def derangement(size: int, seed: int, epoch: int, step: int) -> Tensor:
    """For each clip of a global batch another one, ``(size,)`` int64; each is taken once.

    A random cycle through all clips, a function of its arguments, hence the same on all processes.

    Args:
        size: clips of the global batch, at least 2.
        seed: of the run.
        epoch: of the training.
        step: of the training.

    >>> bool((derangement(5, seed=0, epoch=0, step=0) == torch.arange(5)).any())
    False
    """
    rng = np.random.default_rng([NEGATIVES, seed, epoch, step])
    cycle = torch.from_numpy(rng.permutation(size))
    other = torch.empty(size, dtype=torch.int64)
    other[cycle] = cycle.roll(-1)
    return other


def of_other_clips(rows: Tensor, seed: int, epoch: int, step: int) -> Tensor:
    """For each own row that of its negative in the global batch, with gradient.

    Args:
        rows: ``(B / W, ...)`` of this process, equal shapes on all W processes.
        seed: of the run.
        epoch: of the training.
        step: of the training.

    Returns:
        ``(B / W, ...)``.
    """
    everyone = gathered(rows)
    other = derangement(len(everyone), seed, epoch, step)
    return everyone[other[own_rows(len(everyone))].to(rows.device)]


def of_others_at_this_step(method: Method, rows: Tensor) -> Tensor:
    """:func:`of_other_clips` of a method's step; held-out clips have the same in every epoch."""
    epoch, step = (method.current_epoch, method.global_step) if method.training else (0, 0)
    return of_other_clips(rows, method.seed, epoch, step)
