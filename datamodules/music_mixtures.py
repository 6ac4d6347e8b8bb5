"""Mixtures ``music-synthetic-v1``: four solos of MUSIC in one picture, two of which are heard.

The recipe is that of MUSIC-Synthetic (Hu et al., NeurIPS 2020; Xuan et al., CVPR 2022, section 4.1,
repeat it): four solos of different instruments at random, their frames side by side in two rows,
the sounds of a random two of them mixed with jitter. Neither says how much jitter, how the four are
drawn or how many mixtures there are. Decided here: the instruments are drawn without preference, so
that all occur alike often, then a clip of each; each of the two sounds is moved in time and made
louder or softer by an amount that is uniform in a range (``data.jitter_seconds``,
``data.jitter_db``); 500 mixtures are tested.

A mixture is a function of (seed, split, row) and of the solos to choose from. Its id ends with a
hash of what it is made of, so the same id is the same mixture. Random numbers come from
``Generator.random`` (PCG64) alone, the same with every numpy. A change of what is drawn needs a new
name, ``music-synthetic-v2``.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.annotation_files import Annotated
from datamodules.id_lists import IdForm
from datamodules.music_annotations import read_music
from metrics.errors import BenchError
from metrics.truth import Source, Truth

GENERATOR = "music-synthetic-v1"
SPLITS = ("train", "val", "test")  # a position in this tuple is part of every mixture's seed
TEST_MIXTURES = 500  # not given in the paper
MIXED = 4  # solos in a picture
SOUNDING = 2  # of them that are heard
MIXTURE_ID = IdForm(re.compile(r"[A-Za-z0-9_-]+"), "<mixture>")
CORNERS = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5))  # x, y of each quadrant, row by row
QUADRANTS = np.array([(x, y, x + 0.5, y + 0.5) for x, y in CORNERS])

SEED, COUNT = "data.generator_seed", "data.test_clips"  # settings that choose the test mixtures

_MADE = re.compile(r"(train|val|test)-(\d{1,9})-(\d{6,9})-[0-9a-f]{8}")
_STREAM = 6  # first number of every mixture's seed

Pool = Mapping[str, Sequence[str]]
"""Ids of the clips of each instrument."""


class Mixture(NamedTuple):
    """What a mixture is made of. Jitter is in [-1, 1), in shares of the largest."""

    id: str
    clips: tuple[str, ...]  # upper left, upper right, lower left, lower right
    order: tuple[int, ...]  # the quadrants: the two that sound, then the silent ones
    shifts: tuple[float, ...]  # in time, of the sounds of the two
    levels: tuple[float, ...]  # in level, of the same


class Solos(NamedTuple):
    """Frames with the box of one instrument, to make test mixtures of."""

    truth: Mapping[str, Truth]
    pool: Pool
    notes: tuple[str, ...]

    def mixture(self, seed: int, row: int) -> Mixture:
        """The test mixture of a row."""
        return mixture(self.pool, seed, "test", row)

    def truth_of(self, made: Mixture) -> Truth:
        """Boxes and sources of a mixture of these solos."""
        return mixture_truth(made, [self.truth[clip].sources[0] for clip in made.clips])


def mixture(pool: Pool, seed: int, split: str, row: int) -> Mixture:
    """The mixture at a position of a split.

    Args:
        pool: clips of four instruments or more.
        seed: non-negative seed of the data, not of a run.
        split: ``train``, ``val`` or ``test``; their mixtures are drawn from different streams.
        row: non-negative position in the split.

    Raises:
        ValueError: fewer than four instruments.
    """
    if len(pool) < MIXED:
        raise ValueError(f"a mixture needs {MIXED} instruments, got {sorted(pool)}")
    rng = np.random.default_rng([_STREAM, seed, SPLITS.index(split), row])
    names = sorted(pool)
    chosen = [names[place] for place in np.argsort(rng.random(len(names)))[:MIXED]]
    places = rng.random(MIXED)
    clips = tuple(
        pool[name][int(place * len(pool[name]))] for name, place in zip(chosen, places, strict=True)
    )
    drawn = np.argsort(rng.random(MIXED)).tolist()
    order = (*sorted(drawn[:SOUNDING]), *sorted(drawn[SOUNDING:]))
    shifts, levels = (2 * rng.random((2, SOUNDING)) - 1).tolist()
    parts = "\n".join([*clips, *map(str, order)])
    digest = hashlib.sha256(parts.encode()).hexdigest()[:8]
    return Mixture(f"{split}-{seed}-{row:06d}-{digest}", clips, order, tuple(shifts), tuple(levels))


def mixture_truth(made: Mixture, solos: Sequence[Source]) -> Truth:
    """Boxes of the sounding instruments, and each of the four as a source.

    Args:
        made: the mixture.
        solos: source of each of its clips in the frame of that clip, in the order of the quadrants.

    Returns:
        All boxes of the two that sound as one annotator; the sources in the order of
        ``Mixture.order``, the silent ones marked as such; the boxes of all four as objects. The
        class is None, for there are two.
    """
    sources = tuple(
        Source(_in_quadrant(solos[quadrant].boxes, quadrant), solos[quadrant].category,
               sounding=place < SOUNDING)
        for place, quadrant in enumerate(made.order)
    )  # fmt: skip
    heard = np.concatenate([source.boxes for source in sources[:SOUNDING]])
    objects = np.concatenate([source.boxes for source in sources])
    return Truth(made.id, (heard,), objects=objects, sources=sources)


def read_solos(path: Path) -> Solos:
    """Frames of ``solotest.json`` with the boxes of exactly one instrument.

    Raises:
        BenchError: see :func:`datamodules.music_annotations.read_music`; or fewer than four
            instruments have boxes.
    """
    annotated = read_music(path)
    truth = {each.id: each for each in annotated.truth if len(each.sources) == 1}
    pool: dict[str, list[str]] = {}
    for clip_id in sorted(truth):
        pool.setdefault(str(truth[clip_id].category), []).append(clip_id)
    if len(pool) < MIXED:
        raise BenchError(
            f"{path}: a mixture needs solos of {MIXED} instruments, boxes are of {len(pool)} "
            f"({', '.join(sorted(pool))}); fetch solotest.json again"
        )
    return Solos(truth, pool, annotated.notes)


def read_mixtures(path: Path, ids: Sequence[str] | None) -> Annotated:
    """Truth of test mixtures out of the boxes of solos alone.

    Args:
        path: ``solotest.json``.
        ids: of mixtures; None for those of :func:`drawn_mixtures` without settings.

    Raises:
        BenchError: see :func:`read_solos`; or an id is no test mixture of these solos.
    """
    if ids is None:
        return drawn_mixtures(path, {})
    solos = read_solos(path)
    found = (remade(each, solos, path) for each in ids)
    return Annotated(tuple(solos.truth_of(made) for made in found), solos.notes)


def drawn_mixtures(path: Path, settings: Mapping[str, object]) -> Annotated:
    """Truth of the test mixtures that settings of ``music_synthetic`` make of the boxes of solos.

    Args:
        path: ``solotest.json``.
        settings: :data:`SEED` and :data:`COUNT`, each with its default where it is not given.

    Raises:
        BenchError: see :func:`read_solos`; or a setting is no whole number of its range.
    """
    seed, count = _whole(settings, SEED, 0, 0), _whole(settings, COUNT, TEST_MIXTURES, 1)
    solos = read_solos(path)
    found = (solos.mixture(seed, row) for row in range(count))
    return Annotated(tuple(solos.truth_of(made) for made in found), solos.notes)


def remade(mixture_id: str, solos: Solos, path: Path) -> Mixture:
    """The test mixture of an id.

    Raises:
        BenchError: it is no id of one, or it was made of other solos.
    """
    parts = _MADE.fullmatch(mixture_id)
    if parts is None or parts[1] != "test":
        raise BenchError(
            f"{mixture_id!r} is no test mixture of {GENERATOR}, test-<seed>-<row>-<hash>; correct "
            "the list"
        )
    made = solos.mixture(int(parts[2]), int(parts[3]))
    if made.id != mixture_id:
        raise BenchError(
            f"{mixture_id!r} was made of other solos than those of {path}, which give {made.id}; "
            "use the boxes that it was made with"
        )
    return made


def _whole(settings: Mapping[str, object], key: str, default: int, least: int) -> int:
    given = str(settings.get(key, default))
    if not given.isdecimal() or int(given) < least:
        raise BenchError(f"{key}={given} must be a whole number, {least} or more")
    return int(given)


def _in_quadrant(boxes: NDArray[np.float64], quadrant: int) -> NDArray[np.float64]:
    """Boxes of a solo's frame in the picture, cut off at the edge of the frame."""
    corner = np.array([*CORNERS[quadrant], *CORNERS[quadrant]])
    return np.asarray(np.clip(boxes, 0, 1) / 2 + corner)
