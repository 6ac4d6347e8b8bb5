"""Exact nearest neighbours of a training list by inner product, a tile of rows at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

LARGE = 20_000  # above it faiss is faster than a full row of scores and a partition
TILE = 4096  # rows whose neighbours are sought together; faiss takes as many at once
PARTITIONED = 1024  # of them at once where a full row of scores is held
DATABASE = 16_384  # rows that a GPU holds beside a tile: 4096 x 16384 scores are 268 MB

CPU = torch.device("cpu")
Search = Callable[[int, int], NDArray[np.int32]]
"""(start, stop) -> the neighbours of the rows from start to stop, ``(stop - start, K)``."""


def nearest(
    features: NDArray[np.float32], count: int, device: torch.device = CPU
) -> NDArray[np.int32]:
    """For every row the ``count`` other rows of largest inner product, best first.

    Exact: of a list as long as ``LARGE`` or shorter in float32, with ties broken by the lower row;
    of a longer one up to scores within 1e-6 of the last, as faiss and a GPU round otherwise.
    Never holds n x n scores, nor a second copy of the features but on a GPU.

    Args:
        features: ``(n, D)`` float32; l2-normalised rows make the product a cosine. They may be a
            memory map.
        count: neighbours K, at most n - 1.
        device: where long lists are searched.

    Returns:
        ``(n, K)`` int32; a row is never its own neighbour.

    Raises:
        ValueError: K is not in [1, n - 1].

    >>> nearest(np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32), 1).ravel().tolist()
    [1, 0, 1]
    """
    search = searcher(features, count, device)
    total = len(features)
    tiles = [search(start, min(start + TILE, total)) for start in range(0, total, TILE)]
    return np.concatenate(tiles)


def searcher(features: NDArray[np.float32], count: int, device: torch.device = CPU) -> Search:
    """What finds the neighbours of a tile of rows; see :func:`nearest`.

    Lists of up to ``LARGE`` rows are searched by numpy wherever the rest of the work is done.
    """
    total = len(features)
    if not 1 <= count < total:
        raise ValueError(f"count must be in [1, {total - 1}], got {count}")
    if total <= LARGE:
        return lambda start, stop: _by_partition(features, count, start, stop)
    if device.type == "cpu":
        return lambda start, stop: _by_faiss(features, count, start, stop)
    database = _on(device, features)
    return lambda start, stop: _by_torch(database, count, start, stop)


def _by_partition(
    features: NDArray[np.float32], count: int, start: int, stop: int
) -> NDArray[np.int32]:
    neighbours = np.empty((stop - start, count), dtype=np.int32)
    for first in range(start, stop, PARTITIONED):
        last = min(first + PARTITIONED, stop)
        scores = features[first:last] @ features.T  # (last - first, n)
        own = np.arange(len(scores))
        scores[own, first + own] = -np.inf
        best = _largest(scores, count)
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        neighbours[first - start : last - start] = np.take_along_axis(best, order, 1)
    return neighbours


def _largest(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    edge = np.partition(scores, -count, axis=1)[:, -count, None]
    above, tied = scores > edge, scores == edge
    room = count - above.sum(1, keepdims=True)
    chosen = above | (tied & (tied.cumsum(1, dtype=np.int32) <= room))
    return np.nonzero(chosen)[1].reshape(-1, count)  # ascending in every row


def _by_faiss(
    features: NDArray[np.float32], count: int, start: int, stop: int
) -> NDArray[np.int32]:
    import faiss  # chatty and slow to load; only long lists need it

    # what IndexFlatIP does, without the copy of the features that the index holds
    _, found = faiss.knn(
        features[start:stop], features, count + 1, metric=faiss.METRIC_INNER_PRODUCT
    )
    return _without(np.arange(start, stop), found)


def _without(rows: NDArray[np.int64], found: NDArray[np.int64]) -> NDArray[np.int32]:
    """The K best others of K + 1 found: without the row itself, or without the last."""
    others = found != rows[:, None]
    others[others.all(1), -1] = False
    best: NDArray[np.int32] = found[others].reshape(len(rows), -1).astype(np.int32)
    return best


def _on(device: torch.device, features: NDArray[np.float32]) -> torch.Tensor:
    """The features on a device, read tile by tile."""
    database = torch.empty(features.shape, dtype=torch.float32, device=device)
    for start in range(0, len(features), DATABASE):
        tile = slice(start, start + DATABASE)
        database[tile] = torch.tensor(features[tile])
    return database


def _by_torch(database: torch.Tensor, count: int, start: int, stop: int) -> NDArray[np.int32]:
    """Keeps the K best of each row over tiles of the database, all on its device."""
    queries = database[start:stop]
    best = queries.new_full((len(queries), count), -torch.inf)
    rows = torch.zeros_like(best, dtype=torch.int64)
    own = torch.arange(start, stop, device=database.device)
    with _full_float32():
        for first in range(0, len(database), DATABASE):
            others = torch.arange(first, min(first + DATABASE, len(database)), device=own.device)
            scores = queries @ database[first : first + DATABASE].T  # (rows, tile)
            scores.masked_fill_(own[:, None] == others, -torch.inf)
            best, places = torch.cat([best, scores], 1).topk(count, 1)
            kept = rows.gather(1, places.clamp(max=count - 1))
            rows = kept.where(places < count, places - count + first)
    found: NDArray[np.int32] = rows.to("cpu", torch.int32).numpy()
    return found


@contextmanager
def _full_float32() -> Iterator[None]:
    """No TF32 or bf16 inside a product: with ten bits of mantissa 0.6 % of neighbours differ."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Rows(Protocol):
    """Neighbours ``(n, K)`` int32, in memory or in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, K)``."""
        ...

    def __getitem__(self, rows: slice, /) -> NDArray[np.int32]:
        """Some rows."""
        ...


def purity(neighbours: Rows, categories: NDArray[np.int64]) -> float:
    """Share of neighbours that are of the clip's own class.

    Args:
        neighbours: ``(n, K)`` rows; a memory map is read tile by tile.
        categories: ``(n,)`` class of each row.

    >>> purity(np.array([[1], [2], [0]]), np.array([7, 7, 8]))
    0.3333333333333333
    """
    same = 0
    total, count = neighbours.shape
    for start in range(0, total, TILE):
        tile = slice(start, start + TILE)
        same += int((categories[neighbours[tile]] == categories[tile, None]).sum())
    return same / (total * count)
