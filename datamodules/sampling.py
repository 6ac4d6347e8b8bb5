"""Which clips go into which batch: pure functions of (seed, epoch, ids) and two samplers.

No sampler pads, repeats or looks at the global random state, so a batch is the same for any number
of workers, and a global batch the same for any number of devices.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from metrics.errors import BenchError

# What a generator is for, the first number of its seed: no two uses share a stream. None is 0,
# because numpy pads short seeds with zeros at the end.
ORDER, FRAMES, SOUNDS, FURTHER_CLIPS, ANNOTATORS = 1, 2, 3, 4, 5
PROPOSALS = 7  # 6 is of the mixtures of MUSIC

BLOCKS_TOGETHER = 16  # few shards to keep near, and still 16 times as many clips to draw from

Rows = NDArray[np.int64]
Draw = Callable[[Rows, int, int], tuple[Rows, Rows]]
"""(rows (B,), epoch, seed) -> (rows of further frames (B,), rows of further sounds (B,))."""


class Keys(NamedTuple):
    """The rows of one batch, before anything is read. All arrays are ``(B,)`` int64."""

    frame: Rows
    sound: Rows
    epoch: int
    extra_frame: Rows | None = None
    extra_sound: Rows | None = None
    source: int | None = None  # which isolated sound of its clip each frame has; None: the mixture


class GlobalBatchSampler(Sampler[Keys]):
    """Seeded training batches: every rank takes its stride of the same global batch.

    The order is drawn from (seed, epoch), see :func:`shuffled_rows`; the incomplete last global
    batch is left out, so all ranks hold equal shapes.
    """

    def __init__(
        self,
        num_rows: int,
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        draw: Draw | None = None,
        block: int | None = None,
    ) -> None:
        if batch_size % world_size:
            raise BenchError(
                f"data.batch_size={batch_size} is the global batch and must divide by the "
                f"{world_size} devices; set data.batch_size to a multiple of {world_size}"
            )
        if num_rows < batch_size:
            raise BenchError(
                f"the training list has {num_rows} clips, fewer than data.batch_size={batch_size}; "
                f"set data.batch_size={num_rows} or less"
            )
        self.num_rows, self.batch_size, self.seed = num_rows, batch_size, seed
        self.rank, self.world_size, self.draw, self.block = rank, world_size, draw, block
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the permutation of the next pass; Lightning calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_rows // self.batch_size

    def __iter__(self) -> Iterator[Keys]:
        rng = np.random.default_rng([ORDER, self.seed, self.epoch])
        order = shuffled_rows(rng, self.num_rows, self.block)
        for step in range(len(self)):
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            rows = rows[self.rank :: self.world_size]
            if self.draw is None:
                yield Keys(rows, rows, self.epoch)
            else:
                yield Keys(rows, rows, self.epoch, *self.draw(rows, self.epoch, self.seed))


class StrideSampler(Sampler[Keys]):
    """Batches of rows in order, shared out whole and without padding; a rank may have none.

    A batch is the same for any number of ranks, and so are the last bits of what a network answers,
    which depend on how many clips it sees at once.
    """

    def __init__(
        self,
        rows: Rows,
        sound_of: Rows,
        batch_size: int,
        *,
        source: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Takes its stride of the batches.

        Args:
            rows: ``(N,)`` rows of the split to go through.
            sound_of: ``(N,)`` row whose sound each of them has.
            batch_size: rows of a batch.
            source: the isolated sound to take in place of the mixture.
            rank: of this process.
            world_size: number of processes.
        """
        self.batch_size, self.source = batch_size, source
        self.rows, self.sound_of = rows, sound_of
        self.starts = range(rank * batch_size, len(rows), world_size * batch_size)

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Keys]:
        for start in self.starts:
            part = slice(start, start + self.batch_size)
            yield Keys(self.rows[part], self.sound_of[part], 0, source=self.source)


def shuffled_rows(rng: np.random.Generator, num_rows: int, block: int | None = None) -> Rows:
    """Every row once, in a random order.

    With ``block``, rows that lie together are read together: the list is cut into blocks, the
    blocks are shuffled, and rows are shuffled among ``BLOCKS_TOGETHER`` blocks at a time. Clips of
    a batch, and so its negatives, then come from these blocks alone.

    Args:
        rng: drawn from.
        num_rows: N rows.
        block: rows of a block; None for one permutation of all.

    Returns:
        ``(N,)`` int64 rows.
    """
    if block is None:
        return rng.permutation(num_rows)
    starts = rng.permutation(np.arange(0, num_rows, block))
    rows = np.concatenate([np.arange(start, min(start + block, num_rows)) for start in starts])
    step = block * BLOCKS_TOGETHER
    together = [rng.permutation(rows[at : at + step]) for at in range(0, num_rows, step)]
    return np.concatenate(together)


def swapped_sounds(ids: Sequence[str], categories: Sequence[str | None], seed: int) -> Rows:
    """For each frame the row of another clip's sound, of another class where classes are known.

    The ids stand in the order of sha256(seed, id), closed to a ring; each takes the next one whose
    class differs from its own.

    Args:
        ids: N sample ids.
        categories: N classes; None where unknown, which differs from everything.
        seed: seed of the run.

    Returns:
        ``(N,)`` int64 rows. A clip keeps its own sound only when no other class exists.

    >>> swapped_sounds(["a", "b", "c"], ["dog", "cat", "dog"], seed=0).tolist()[0]
    1
    """
    ring = sorted(range(len(ids)), key=lambda row: _digest(seed, ids[row]))
    place = {row: position for position, row in enumerate(ring)}
    swapped = np.arange(len(ids))
    for row, category in enumerate(categories):
        for step in range(1, len(ring)):
            other = ring[(place[row] + step) % len(ring)]
            if category is None or categories[other] != category:
                swapped[row] = other
                break
    return swapped


def _digest(seed: int, sample_id: str) -> str:
    return hashlib.sha256(f"{seed}:{sample_id}".encode()).hexdigest()
