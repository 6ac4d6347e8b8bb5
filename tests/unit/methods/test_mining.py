import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

import methods.mining
from methods.mining import _by_torch, nearest, purity

Nearest = Callable[[np.ndarray, int], np.ndarray]


def unit_rows(count: int, axes: int = 6) -> np.ndarray:
    rows = np.random.default_rng(count).normal(size=(count, axes))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def looped_nearest(features: np.ndarray, count: int) -> list[list[int]]:
    neighbours = []
    for i, own in enumerate(features.astype(np.float64)):
        scores = {j: float(own @ other) for j, other in enumerate(features.astype(np.float64))}
        del scores[i]
        neighbours.append(sorted(scores, key=lambda j: (-scores[j], j))[:count])
    return neighbours


def nearest_by_torch(features: np.ndarray, count: int) -> np.ndarray:
    database = torch.from_numpy(features)
    starts = range(0, len(features), 7)
    tiles = [_by_torch(database, count, at, min(at + 7, len(features))) for at in starts]
    return np.concatenate(tiles)


@pytest.fixture(params=["partition", "faiss", "torch"])
def any_nearest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Nearest:
    """Each of the three ways, in small tiles."""
    monkeypatch.setattr(methods.mining, "LARGE", 0 if request.param == "faiss" else sys.maxsize)
    for name, rows in (("TILE", 7), ("PARTITIONED", 3), ("DATABASE", 5)):
        monkeypatch.setattr(methods.mining, name, rows)
    return nearest_by_torch if request.param == "torch" else nearest


@pytest.mark.parametrize("count", [1, 5, 19])
def test_neighbours_are_those_of_a_full_sort(any_nearest: Nearest, count: int):
    features = unit_rows(20)

    neighbours = any_nearest(features, count)

    assert neighbours.dtype == np.int32
    assert looped_nearest(features, count) == neighbours.tolist()


def test_a_row_is_never_its_own_neighbour_even_among_copies(any_nearest: Nearest):
    features = np.repeat(np.eye(3, dtype=np.float32), 6, axis=0)

    neighbours = any_nearest(features, 5)

    for row, others in enumerate(neighbours.tolist()):
        first = row - row % 6
        assert sorted(set(range(first, first + 6)) - {row}) == sorted(others)


def test_ties_are_broken_by_the_lower_row():
    features = np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(4, size=60)]

    for count in (1, 3, 10, 30, 59):
        assert looped_nearest(features, count) == nearest(features, count).tolist()


def test_features_that_are_all_zero_still_have_k_different_neighbours(any_nearest: Nearest):
    neighbours = any_nearest(np.zeros((9, 4), dtype=np.float32), 4)

    for row, others in enumerate(neighbours.tolist()):
        assert len(set(others) - {row}) == 4


def test_longer_vectors_are_nearer_by_inner_product(any_nearest: Nearest):
    features = np.array([[1, 0], [0.9, 0], [5, 5]], dtype=np.float32)

    assert any_nearest(features, 1).ravel().tolist() == [2, 2, 0]


@pytest.mark.parametrize("count", [0, 4, 5])
def test_a_count_that_the_list_cannot_fill_is_refused(count: int):
    with pytest.raises(ValueError, match=rf"count must be in \[1, 3\], got {count}"):
        nearest(unit_rows(4), count)


def test_long_lists_are_exact_up_to_the_scores_of_their_last_neighbours(any_nearest: Nearest):
    features = unit_rows(300, axes=3)
    scores = features.astype(np.float64) @ features.astype(np.float64).T
    np.fill_diagonal(scores, -np.inf)

    neighbours = any_nearest(features, 40)

    found = np.sort(np.take_along_axis(scores, neighbours.astype(np.int64), 1), 1)
    np.testing.assert_allclose(found, np.sort(scores, 1)[:, -40:], atol=1e-6)
    assert all(len(set(row)) == 40 for row in neighbours.tolist())


def test_a_gpu_would_search_in_full_float32_and_leaves_the_users_setting():
    torch.set_float32_matmul_precision("medium")
    try:
        with methods.mining._full_float32():
            inside = torch.get_float32_matmul_precision()
        after = torch.get_float32_matmul_precision()
    finally:
        torch.set_float32_matmul_precision("highest")

    assert (inside, after) == ("highest", "medium")


def test_purity_is_the_same_tile_by_tile(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(methods.mining, "TILE", 7)
    rng = np.random.default_rng(0)
    neighbours, categories = rng.integers(40, size=(40, 3)), rng.integers(4, size=40)

    expected = np.mean([categories[j] == categories[i] for i in range(40) for j in neighbours[i]])
    assert purity(neighbours, categories) == expected


def test_purity_is_the_share_of_neighbours_of_the_own_class():
    neighbours = np.array([[1, 2], [0, 3], [3, 0], [2, 1]], dtype=np.int32)

    # rows 0 and 1 are class 0, rows 2 and 3 class 1: every row has one of two right
    assert purity(neighbours, np.array([0, 0, 1, 1])) == 0.5


@pytest.mark.parametrize(("categories", "expected"), [([5, 5, 5], 1.0), ([5, 6, 7], 0.0)])
def test_purity_of_one_class_and_of_all_different_classes(categories: list[int], expected: float):
    neighbours = np.array([[1, 2], [0, 2], [0, 1]], dtype=np.int32)

    assert purity(neighbours, np.array(categories)) == expected
