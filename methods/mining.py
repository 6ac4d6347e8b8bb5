"""Exact nearest neighbours of a training list, in one small interface."""

import numpy as np
from numpy.typing import NDArray

LARGE = 20_000  # above it faiss is faster than a full row of scores and a partition
TILE = 1024


def nearest(features: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """For every row the ``count`` other rows of largest inner product, best first.

    Exact; never holds n x n scores. Ties are broken by the lower row, or in the order of faiss
    where the list is longer than ``LARGE``.

    Args:
        features: ``(n, D)`` float32; l2-normalised rows make the product a cosine.
        count: neighbours K, at most n - 1.

    Returns:
        ``(n, K)`` int32; a row is never its own neighbour.

    Raises:
        ValueError: K is not in [1, n - 1].

    >>> nearest(np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32), 1).ravel().tolist()
    [1, 0, 1]
    """
    total = len(features)
    if not 1 <= count < total:
        raise ValueError(f"count must be in [1, {total - 1}], got {count}")
    if total > LARGE:
        return _by_faiss(features, count)
    return _by_partition(features, count)


def _by_partition(features: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    neighbours = np.empty((len(features), count), dtype=np.int32)
    for start in range(0, len(features), TILE):
        scores = features[start : start + TILE] @ features.T  # (tile, n)
        own = np.arange(len(scores))
        scores[own, start + own] = -np.inf
        best = _largest(scores, count)
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        neighbours[start : start + TILE] = np.take_along_axis(best, order, 1)
    return neighbours


def _largest(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    edge = np.partition(scores, -count, axis=1)[:, -count, None]
    above, tied = scores > edge, scores == edge
    room = count - above.sum(1, keepdims=True)
    chosen = above | (tied & (tied.cumsum(1, dtype=np.int32) <= room))
    return np.nonzero(chosen)[1].reshape(-1, count)  # ascending in every row


def _by_faiss(features: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    import faiss  # chatty and slow to load; only long lists need it

    index = faiss.IndexFlatIP(features.shape[1])
    index.add(features)
    neighbours = np.empty((len(features), count), dtype=np.int32)
    for start in range(0, len(features), TILE):
        _, found = index.search(features[start : start + TILE], count + 1)
        for row, others in enumerate(found, start):
            neighbours[row] = others[others != row][:count]
    return neighbours


def purity(neighbours: NDArray[np.int32], categories: NDArray[np.int64]) -> float:
    """Share of neighbours that are of the clip's own class.

    Args:
        neighbours: ``(n, K)`` rows.
        categories: ``(n,)`` class of each row.

    >>> purity(np.array([[1], [2], [0]]), np.array([7, 7, 8]))
    0.3333333333333333
    """
    return float((categories[neighbours] == categories[:, None]).mean())
