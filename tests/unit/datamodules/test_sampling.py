import hashlib
from collections.abc import Callable

import numpy as np
import pytest

from datamodules.sampling import (
    BLOCKS_TOGETHER,
    GlobalBatchSampler,
    Keys,
    Rows,
    StrideSampler,
    shuffled_rows,
    swapped_sounds,
)
from metrics.errors import BenchError


def epoch_of(sampler: GlobalBatchSampler, epoch: int) -> list[Keys]:
    sampler.set_epoch(epoch)
    return list(sampler)


def global_batches(num_rows: int, batch_size: int, ranks: int, epoch: int) -> list[list[int]]:
    """Global batches put together from the strides of all ranks, rank r at r, r + W, ..."""
    shares = [
        epoch_of(
            GlobalBatchSampler(num_rows, batch_size, seed=1, rank=rank, world_size=ranks), epoch
        )
        for rank in range(ranks)
    ]
    batches = []
    for step in zip(*shares, strict=True):
        batch = np.full(batch_size, -1)
        for rank, keys in enumerate(step):
            batch[rank::ranks] = keys.frame
        batches.append(batch.tolist())
    return batches


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("epoch", [0, 5])
def test_the_global_batch_is_the_same_for_any_number_of_ranks(ranks: int, epoch: int):
    assert global_batches(26, 8, 1, epoch) == global_batches(26, 8, ranks, epoch)


def test_an_epoch_holds_every_row_at_most_once_and_leaves_the_rest_of_a_batch_out():
    batches = global_batches(26, 8, 1, 0)

    rows = [row for batch in batches for row in batch]
    assert [len(batch) for batch in batches] == [8, 8, 8]
    assert len(set(rows)) == 24
    assert set(rows) <= set(range(26))


@pytest.mark.parametrize(("num_rows", "expected"), [(8, 1), (15, 1), (16, 2), (17, 2)])
def test_the_length_is_the_number_of_whole_batches(num_rows: int, expected: int):
    sampler = GlobalBatchSampler(num_rows, 8, seed=0, rank=1, world_size=2)

    assert (expected, expected) == (len(sampler), len(list(sampler)))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [
        [keys.frame.tolist() for keys in epoch_of(GlobalBatchSampler(24, 8, seed=seed), epoch)]
        for seed, epoch in ((1, 0), (1, 1), (2, 0), (2, 1))
    ]

    assert all(orders[a] != orders[b] for a in range(4) for b in range(a))


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    sampler = GlobalBatchSampler(24, 8, seed=1)
    first = [keys.frame.tolist() for keys in epoch_of(sampler, 3)]
    epoch_of(sampler, 4)
    np.random.seed(0)

    assert first == [keys.frame.tolist() for keys in epoch_of(sampler, 3)]
    assert first == [keys.frame.tolist() for keys in epoch_of(GlobalBatchSampler(24, 8, seed=1), 3)]


def test_a_training_clip_keeps_its_own_sound_and_says_its_epoch():
    for keys in epoch_of(GlobalBatchSampler(24, 8, seed=1), 3):
        assert keys.frame.tolist() == keys.sound.tolist()
        assert (3, None, None) == (keys.epoch, keys.extra_frame, keys.extra_sound)


def test_further_clips_are_drawn_for_the_rows_of_the_rank():
    def neighbours(rows: Rows, epoch: int, seed: int) -> tuple[Rows, Rows]:
        return rows + 100 * epoch, rows + 1000 * seed

    sampler = GlobalBatchSampler(24, 8, seed=7, rank=1, world_size=2, draw=neighbours)

    for keys in epoch_of(sampler, 2):
        assert len(keys.frame) == 4
        assert (keys.frame + 200).tolist() == keys.extra_frame.tolist()
        assert (keys.frame + 7000).tolist() == keys.extra_sound.tolist()


def test_a_batch_that_does_not_divide_by_the_devices_is_refused():
    with pytest.raises(BenchError, match=r"batch_size=8 .* by the 3 devices; .* multiple of 3"):
        GlobalBatchSampler(24, 8, seed=0, rank=0, world_size=3)


def test_a_list_shorter_than_a_batch_is_refused():
    with pytest.raises(BenchError, match=r"has 7 clips, fewer than data\.batch_size=8; .*=7 or"):
        GlobalBatchSampler(7, 8, seed=0)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("num_rows", [0, 1, 2, 7, 12])
@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_strides_cover_every_row_exactly_once(num_rows: int, ranks: int, batch_size: int):
    every_row, sound_of = np.arange(num_rows), np.random.default_rng(0).permutation(num_rows)

    shares = [
        list(StrideSampler(every_row, sound_of, batch_size, rank=rank, world_size=ranks))
        for rank in range(ranks)
    ]

    pairs = [
        pair
        for share in shares
        for keys in share
        for pair in zip(keys.frame.tolist(), keys.sound.tolist(), strict=True)
    ]
    assert sorted(pairs) == list(enumerate(sound_of.tolist()))


@pytest.mark.parametrize("num_rows", [0, 1, 7])
def test_the_length_of_a_stride_is_its_number_of_batches(num_rows: int):
    for rank in range(3):
        rows = np.arange(num_rows)
        sampler = StrideSampler(rows, rows, 2, rank=rank, world_size=3)

        assert len(list(sampler)) == len(sampler)


def test_ranks_take_the_batches_of_one_in_turn():
    rows = np.arange(7)
    shares = [
        [keys.frame.tolist() for keys in StrideSampler(rows, rows, 2, rank=rank, world_size=2)]
        for rank in (0, 1)
    ]

    assert shares == [[[0, 1], [4, 5]], [[2, 3], [6]]]


def looped_swap(ids: list[str], categories: list[str | None], seed: int) -> list[int]:
    """The next id of another class in the ring of sha256("seed:id")."""
    ring = sorted(ids, key=lambda each: hashlib.sha256(f"{seed}:{each}".encode()).digest())
    class_of = dict(zip(ids, categories, strict=True))
    swapped = []
    for each in ids:
        start = ring.index(each)
        turned = [*ring[start + 1 :], *ring[:start]]
        known = class_of[each]
        others = [other for other in turned if known is None or class_of[other] != known]
        swapped.append(ids.index(others[0]) if others else ids.index(each))
    return swapped


Categories = Callable[[int], str | None]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "category_of",
    [
        lambda row: ("dog", "cat", "owl")[row % 3],
        lambda row: "dog" if row < 35 else "cat",
        lambda row: None,
        lambda row: "dog" if row % 2 else None,
    ],
    ids=["three classes", "a rare class", "unknown", "half known"],
)
def test_sounds_are_swapped_along_the_ring_of_hashes(seed: int, category_of: Categories):
    ids = [f"clip{row:03d}" for row in range(40)]
    categories = [category_of(row) for row in range(40)]

    swapped = swapped_sounds(ids, categories, seed)

    assert swapped.dtype == np.int64
    assert looped_swap(ids, categories, seed) == swapped.tolist()


def test_a_swapped_sound_is_never_of_the_own_class():
    categories = [("dog", "cat", "owl", "cat")[row % 4] for row in range(50)]

    swapped = swapped_sounds([str(row) for row in range(50)], categories, 0)

    assert all(categories[row] != categories[other] for row, other in enumerate(swapped))


def test_without_classes_every_sound_goes_to_exactly_one_other_frame():
    swapped = swapped_sounds([str(row) for row in range(9)], [None] * 9, 0)

    assert sorted(swapped.tolist()) == list(range(9))
    assert all(row != other for row, other in enumerate(swapped))


@pytest.mark.parametrize("ids", [["a"], ["a", "b", "c"]])
def test_clips_of_a_single_class_keep_their_sounds(ids: list[str]):
    assert swapped_sounds(ids, ["dog"] * len(ids), 0).tolist() == list(range(len(ids)))


def test_the_swap_depends_on_ids_and_not_on_their_order():
    ids = [f"clip{row}" for row in range(12)]
    categories = [("dog", "cat")[row % 2] for row in range(12)]
    order = np.random.default_rng(0).permutation(12).tolist()

    swapped = swapped_sounds(ids, categories, 3)
    shuffled = swapped_sounds([ids[i] for i in order], [categories[i] for i in order], 3)

    expected = {ids[row]: ids[other] for row, other in enumerate(swapped)}
    assert expected == {ids[order[row]]: ids[order[other]] for row, other in enumerate(shuffled)}


@pytest.mark.parametrize("block", [None, 1, 3, 7, 100])
def test_a_shuffled_order_holds_every_row_once(block: int | None):
    rows = shuffled_rows(np.random.default_rng(0), 100, block)

    assert list(range(100)) == sorted(rows.tolist())
    assert list(range(100)) != rows.tolist()


def test_rows_are_shuffled_among_few_blocks_at_a_time():
    block = 5
    rows = shuffled_rows(np.random.default_rng(0), 4 * BLOCKS_TOGETHER * block, block)

    windows = rows.reshape(4, BLOCKS_TOGETHER * block)
    blocks = [set((window // block).tolist()) for window in windows]
    assert [BLOCKS_TOGETHER] * 4 == [len(each) for each in blocks]
    assert all(len(set(window[:block] // block)) > 1 for window in windows), "blocks are mixed"
    assert any(each != set(range(len(each))) for each in blocks), "blocks come in any order"


@pytest.mark.parametrize("ranks", [2, 4])
def test_an_order_by_blocks_gives_the_same_global_batches_for_any_number_of_ranks(ranks: int):
    def batches(world_size: int) -> list[list[int]]:
        shares = [
            epoch_of(
                GlobalBatchSampler(50, 8, seed=1, rank=rank, world_size=world_size, block=2), 3
            )
            for rank in range(world_size)
        ]
        return [sorted(np.concatenate([keys.frame for keys in step]).tolist())
                for step in zip(*shares, strict=True)]  # fmt: skip

    assert batches(1) == batches(ranks)
