"""Stage ``mining``: the neighbours of a training list, beside what holds scores of whole rows.

The peer at 10,000 and 20,000 clips scores all pairs and sorts them, as the field's own code would.
At 144,000, where that takes 332 GB, it scores 2,048 rows against all others and takes ``topk``.
"""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.speed.harness import (
    Absent,
    Amount,
    Claim,
    Comparison,
    Measurable,
    Setting,
    Share,
    Target,
)
from methods.mining import LARGE, nearest, searcher

Vectors = NDArray[np.float32]
Neighbours = NDArray[np.int32]
EXACT = 1e-6  # scores may be so far from those of a full sort


class Sizes(NamedTuple):
    """How much the stage treats."""

    short: int  # clips
    held: int  # clips whose memory is measured
    long: int  # clips
    queries: int  # of the long list
    width: int
    k: int  # neighbours of the long list


FULL = Sizes(short=10_000, held=LARGE, long=144_000, queries=2048, width=512, k=1000)
QUICK = Sizes(short=300, held=1200, long=LARGE + 100, queries=64, width=8, k=20)


def comparisons(setting: Setting) -> Iterator[Measurable]:
    """Everything that the stage measures."""
    sizes = QUICK if setting.quick else FULL
    yield short_list(sizes)
    yield memory(sizes)
    yield on_gpu(sizes, setting)
    with one_faiss_thread():
        vectors = unit_rows(2 * sizes.long, sizes.width)
        once, twice = vectors[: sizes.long], vectors
        ours = queries_of(once, sizes)
        yield Comparison(
            name=f"neighbours of {sizes.queries} of {sizes.long} clips, K {sizes.k}",
            item="clip",
            items=sizes.queries,
            peer=lambda: topk_neighbours(once, sizes),
            ours=ours,
            claims=lambda peer, found: neighbour_claims(once, peer, found),
            target=Target("at least", 1.35, "x"),
            note="peer: the product with all of them, and topk",
            rounds=2,
        )
        yield Comparison(
            name=f"the bare product of {sizes.queries} x {sizes.long}, as a share of ours",
            item="clip",
            items=sizes.queries,
            peer=lambda: product(once, sizes),
            ours=ours,
            target=Target("at least", 0.75),
            note="peer: numpy's product alone, tile by tile; nothing exact is faster",
            rounds=2,
        )
        yield Comparison(
            name=f"a clip among {2 * sizes.long}, as a multiple of one among {sizes.long}",
            item="clip",
            items=sizes.queries,
            peer=queries_of(twice, sizes),
            ours=ours,
            note="the list is twice as long and so is the time of a clip; peer: ours at twice",
            rounds=1,
        )


def on_gpu(sizes: Sizes, setting: Setting) -> Measurable:
    """A whole long list by sound and by image, as stage 2 of `hardpos` needs them."""
    name = f"all neighbours of {sizes.long} clips by sound and by image on a GPU, K {sizes.k}"
    if setting.device == "cpu" or not torch.cuda.is_available():
        return Absent(name=name, note="no GPU here, or not asked for")
    both = [unit_rows(sizes.long, sizes.width, seed) for seed in (0, 1)]

    def seconds() -> float:
        started = time.perf_counter()
        for vectors in both:
            nearest(vectors, sizes.k, torch.device("cuda"))
        return time.perf_counter() - started

    return Amount(name=name, unit="s/list", ours=seconds, target=Target("at most", 60.0, " s"))


def short_list(sizes: Sizes) -> Comparison[Neighbours]:
    """All neighbours of a list that n x n scores can be had of."""
    vectors, count = unit_rows(sizes.short, sizes.width), sizes.short // 20
    return Comparison(
        name=f"neighbours of {sizes.short} clips, K {count}",
        item="clip",
        items=sizes.short,
        peer=lambda: sorted_neighbours(vectors, count),
        ours=lambda: nearest(vectors, count),
        claims=lambda peer, ours: neighbour_claims(vectors, peer, ours),
        target=Target("at least", 2.5, "x"),
        note="peer: n x n scores and argsort",
        rounds=1,
    )


def memory(sizes: Sizes) -> Share:
    """Peak memory beside the features."""
    vectors, count = unit_rows(sizes.held, sizes.width), sizes.held // 20
    return Share(
        name=f"peak memory, neighbours of {sizes.held} clips, K {count}",
        unit="B/clip",
        peer=lambda: peak_bytes(lambda: sorted_neighbours(vectors, count)) / sizes.held,
        ours=lambda: peak_bytes(lambda: nearest(vectors, count)) / sizes.held,
        target=Target("at most", 0.2, "x"),
        note="peer: n x n scores and argsort; features are not counted",
    )


def unit_rows(count: int, width: int, seed: int = 0) -> Vectors:
    """Rows ``(count, width)`` of length one."""
    rows = np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def queries_of(vectors: Vectors, sizes: Sizes) -> Callable[[], Neighbours]:
    """What finds the neighbours of the first rows as mining does."""
    search = searcher(vectors, sizes.k)
    return lambda: search(0, sizes.queries)


def sorted_neighbours(vectors: Vectors, count: int) -> Neighbours:
    """The naive way: all scores at once, and all of them sorted."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1)[:, :count].astype(np.int32)


def topk_neighbours(vectors: Vectors, sizes: Sizes) -> Neighbours:
    """The careful way: a chunk of rows against all others."""
    database = torch.from_numpy(vectors)
    scores = database[: sizes.queries] @ database.T
    scores.fill_diagonal_(-torch.inf)
    found: Neighbours = scores.topk(sizes.k, 1).indices.to(torch.int32).numpy()
    return found


def product(vectors: Vectors, sizes: Sizes) -> Neighbours:
    """The scores alone, each tile of them forgotten."""
    for start in range(0, len(vectors), sizes.queries):
        vectors[: sizes.queries] @ vectors[start : start + sizes.queries].T
    return np.empty((0, 0), np.int32)


def neighbour_claims(vectors: Vectors, peer: Neighbours, ours: Neighbours) -> Iterator[Claim]:
    """That the neighbours are those of the peer, but for scores that are equal up to rounding."""
    apart = max(
        float(np.abs(_scores(vectors, row, one) - _scores(vectors, row, other)).max())
        for row, (one, other) in enumerate(zip(peer, ours, strict=True))
    )
    yield Claim(f"scores of the same neighbours, {apart:.1e} apart", apart <= EXACT)
    alone = all(len(set(found)) == len(found) and row not in found
                for row, found in enumerate(ours.tolist()))  # fmt: skip
    yield Claim("different from each other and from the clip", alone)


def _scores(vectors: Vectors, row: int, others: NDArray[np.int32]) -> NDArray[np.float64]:
    products: NDArray[np.float64] = vectors[others].astype(np.float64) @ vectors[row]
    return np.sort(products)


def peak_bytes(work: Callable[[], object]) -> float:
    """Most bytes that numpy holds while it works, beside what it held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@contextmanager
def one_faiss_thread() -> Iterator[None]:
    """Faiss uses one thread inside, as torch and OpenCV do in every stage."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
