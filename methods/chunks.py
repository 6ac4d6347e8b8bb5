"""What grows with the square of the global batch, some rows at a time."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MAPS = ("auto", "whole", "chunked")
LARGEST_WHOLE = 1 << 28  # bytes; a loss of soft masks keeps and needs some six times as much
CHUNK = 1 << 25  # bytes


def in_chunks(
    values: Callable[..., Tensor], parts: Sequence[Tensor], row_bytes: int, maps: str = "auto"
) -> Tensor:
    """What a function makes of tensors row by row, of some rows at a time if of all is too much.

    A chunk keeps its inputs and its answer alone; the backward pass computes the rest of it again.
    Loss and gradient are the same up to the rounding of sums over chunks.

    Args:
        values: rows ``(n, ...)`` of parts ``(n, ...)``; draws nothing at random.
        parts: tensors of N rows.
        row_bytes: of the largest tensor that it makes on the way, for one row.
        maps: ``whole``, ``chunked``, or ``auto``: chunked where that tensor has over 256 MiB.
            This depends on sizes alone, never on the memory that is free.

    Returns:
        ``(N, ...)``.
    """
    if len(parts[0]) == 0 or not is_chunked(len(parts[0]) * row_bytes, maps):
        return values(*parts)
    rows = max(1, CHUNK // max(1, row_bytes))
    chunks = zip(*(torch.split(part, rows) for part in parts), strict=True)
    kept: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
    return torch.cat([cast("Tensor", checkpoint(values, *chunk, **kept)) for chunk in chunks])


def is_chunked(size: int, maps: str) -> bool:
    """Whether a tensor of so many bytes is made in chunks.

    >>> is_chunked(1024 * 1024 * 14 * 14 * 4, "auto"), is_chunked(128 * 128 * 14 * 14 * 4, "auto")
    (True, False)
    """
    return maps == "chunked" or (maps == "auto" and size > LARGEST_WHOLE)
