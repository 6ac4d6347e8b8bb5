"""`hardpos`: sound localisation with mined hard positives (Senocak et al. 2022).

Three stages in one run: train `lvs_vanilla`, mine the training list with it, train afresh with the
neighbours as further positives.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip, Localization
from datamodules.sampling import FURTHER_CLIPS, Rows
from methods.base import Method, MethodCard, OptimConfig, Stages, require_known
from methods.global_norm import (
    gathered,
    rank,
    sum_over_ranks,
    wait_for_all,
    world_size,
)
from methods.lvs_vanilla import (
    CONTRASTIVE_CHOICES,
    ContrastiveConfig,
    LvsVanilla,
    exponent_scale,
    vanilla_rows,
)
from methods.mining import purity
from methods.negatives import require_other_clips
from methods.neighbour_files import (
    NeighbourFile,
    has_shape,
    is_mined,
    mine,
    reserve,
    write_rows,
)
from methods.response import (
    contrastive_rows,
    cosine_localization,
    masked_mean,
    paired_maps,
    pooled_negatives,
    soft_mask,
)
from methods.two_stream import RECIPE, SMALL, TwoStream
from metrics.errors import BenchError

log = logging.getLogger(__name__)
CHOICES = {
    **CONTRASTIVE_CHOICES,
    "positives": ("mined", "random"),
    "mining_pool": ("mean", "response"),
}


@dataclass
class HardPosConfig(ContrastiveConfig):
    """Settings of `hardpos`."""

    k: int | None = None  # neighbours K; null is neighbours_for(n)
    positives: str = "mined"  # mined | random (the paper's control)
    mining_pool: str = "mean"  # mean (spatial mean, 2.2 as printed) | response (own soft mask)
    init_from_stage1: bool = False  # not given in the paper; false starts stage 3 afresh


class EmbedsClips(Protocol):
    """A method of two streams, such as `lvs_vanilla`."""

    streams: TwoStream

    @property
    def device(self) -> torch.device:
        """Where it is."""
        ...

    def eval(self) -> object:
        """Leaves the training mode."""
        ...


class HardPos(Method):
    """A clip's neighbours by sound and by image join its positives and leave its negatives."""

    Config = HardPosConfig
    config: HardPosConfig
    rows_without_negatives: Tensor  # () int64
    card = MethodCard(
        paper="Senocak et al. 2022",
        supervision="none",
        pretraining="vision: ImageNet where weights are given",
        map_range=(-1.0, 1.0),
    )
    recipe: ClassVar = RECIPE
    presets: ClassVar = {
        "small": {
            **SMALL,
            "method.negative_pool": "masked",
            "method.mining_pool": "response",
        }
    }

    def __init__(self, config: HardPosConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        require_known(config, CHOICES)
        if config.positives == "random" and config.init_from_stage1:
            raise BenchError(
                "method.init_from_stage1=true has no meaning with method.positives=random, which "
                "has no stage 1"
            )
        if config.k is not None and config.k < 1:
            raise BenchError(f"method.k must be at least 1, got {config.k}")
        self.streams = TwoStream(config)
        self.by_sound: NeighbourFile | None = None  # (n, K) rows, P_iA of Eq. 4
        self.by_image: NeighbourFile | None = None  # (n, K) rows, P_iV of Eq. 4
        self.num_train = 0
        self.register_buffer("rows_without_negatives", torch.zeros((), dtype=torch.int64))

    def check(self, data: ClipData) -> None:
        """Raises BenchError where a batch would hold no negative, or K leaves none in the list."""
        require_other_clips(data.config.batch_size)
        if self.config.positives == "random":
            return
        num_train = len(data.report.splits["train"])
        require_room_for_negatives(self.neighbours(num_train), num_train)

    def neighbours(self, num_train: int) -> int:
        """K for a training list of that length."""
        chosen = self.config.k
        return neighbours_for(num_train) if chosen is None else chosen

    def prepare(self, stages: Stages, data: ClipData) -> None:
        """Stages 1 and 2: the embeddings of `lvs_vanilla`, and K neighbours of every clip."""
        config = self.config
        split = data.report.splits["train"]
        self.num_train = len(split)
        self.draw = self.drawn_positives
        if config.positives == "random":
            return
        k = self.neighbours(self.num_train)
        stages.note("k", k)
        shared = {f.name: getattr(config, f.name) for f in fields(ContrastiveConfig)}
        base = LvsVanilla(ContrastiveConfig(**shared), self.optim, seed=self.seed)
        base = stages.fit("lvs_vanilla", base)
        if config.init_from_stage1:
            self.streams.load_state_dict(base.streams.state_dict())

        embedded = stages.cached(
            "embedded",
            {"mining_pool": config.mining_pool},
            lambda folder: embed(base, data, config.mining_pool, folder),
            is_whole=lambda folder: is_embedded(folder, self.num_train),
        )
        mined = stages.cached(
            "mined",
            {"k": k},
            lambda folder: mine_all(embedded, folder, k, base.device),
            is_whole=lambda folder: is_all_mined(embedded, folder, k),
        )
        self.by_sound, self.by_image = (NeighbourFile(mined / name) for name in MINED.values())
        if None not in split.categories:
            names = np.array(split.categories)
            _, categories, counts = np.unique(names, return_inverse=True, return_counts=True)
            stages.note("mined_purity_by_sound", purity(self.by_sound, categories))
            stages.note("mined_purity_by_image", purity(self.by_image, categories))
            stages.note("mined_purity_by_chance", float(((counts / len(names)) ** 2).sum()))

    def drawn_positives(self, rows: Rows, epoch: int, seed: int) -> tuple[Rows, Rows]:
        """Rows k of further frames and j of further sounds, a function of (seed, epoch, row).

        Mined: k from P_iV, j from P_iA. Random control: both uniform over the other clips.
        """
        if self.by_sound is None or self.by_image is None:
            shift = drawn_pairs(seed, epoch, self.num_train, 1, self.num_train)[rows]
            return (rows + shift[:, 0]) % self.num_train, (rows + shift[:, 1]) % self.num_train
        place = drawn_pairs(seed, epoch, self.num_train, 0, self.by_sound.shape[1])[rows]
        frames = self.by_image[rows, place[:, 0]].astype(np.int64)
        return frames, self.by_sound[rows, place[:, 1]].astype(np.int64)

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the batch of -log(P_i / (P_i + N_i)) (Eq. 5-6).

        Held-out clips have no neighbours: without ``extra`` it is the loss of `lvs_vanilla`.
        """
        config = self.config
        if batch.extra is None:
            visual, sound = self.streams(batch.clip)
            return vanilla_rows(sound, visual, config, self.memory.maps).mean()
        size = len(batch.clip.index)
        visual, sound = self.streams(batch.clip.cat(batch.extra))
        (visual_i, visual_k), (sound_i, sound_j) = visual.split(size), sound.split(size)
        maps = [
            paired_maps(sound, visual, self.memory.maps)
            for sound, visual in (
                (sound_i, visual_i),  # P_b: alpha_ii
                (sound_j, visual_i),  # P_a: alpha_ji
                (sound_i, visual_k),  # P_v: alpha_ik
                (sound_j, visual_k),  # P_c: alpha_jk
            )
        ]
        positives = torch.stack([masked_mean(each, soft_mask(each)) for each in maps], 1)
        negatives = pooled_negatives(
            sound_i, gathered(visual_i), config.negative_pool, self.memory.maps
        )  # (b, B)
        is_negative = self.negatives_of(batch.clip.index, gathered(batch.clip.index))
        self.rows_without_negatives += sum_over_ranks((~is_negative.any(1)).sum())
        scale = exponent_scale(config)
        return contrastive_rows(positives / scale, negatives / scale, is_negative).mean()

    def figures(self) -> dict[str, float]:
        """Rows that had no negative in their global batch and so taught nothing."""
        return {"rows_without_negatives": float(self.rows_without_negatives)}

    def negatives_of(self, rows: Tensor, others: Tensor) -> Tensor:
        """Which clips of the global batch are negatives N_i of each row (Eq. 4).

        Args:
            rows: ``(b,)`` int64 training rows i.
            others: ``(B,)`` int64 training rows l.

        Returns:
            ``(b, B)`` bool: l is not i and not among the neighbours of i. For the random control
            only the two drawn clips are left out.
        """
        own = rows.cpu().numpy()
        if self.by_sound is None or self.by_image is None:
            drawn = self.drawn_positives(own, self.current_epoch, self.seed)
            positives = np.stack(drawn, 1)
        else:
            positives = np.concatenate([self.by_sound[own], self.by_image[own]], 1)
        positives = np.concatenate([own[:, None], positives], 1)
        return ~occurring(others, torch.from_numpy(positives).to(rows.device))

    def localize(self, clip: Clip) -> Localization:
        """The cosine map of a clip's sound on its frame; confidence is its maximum."""
        return cosine_localization(self.streams, clip)


def occurring(values: Tensor, rows: Tensor) -> Tensor:
    """Which values occur in each row, ``(b, B)`` bool.

    Places in the sorted values are sought for the rows, which are much longer: ``isin`` would sort
    each of them, 2K + 1 numbers for every clip of every step.

    Args:
        values: ``(B,)`` int64.
        rows: ``(b, P)`` int64.

    >>> occurring(torch.tensor([7, 3, 7]), torch.tensor([[1, 7], [3, 9]])).tolist()
    [[True, False, True], [False, True, False]]
    """
    in_order = values.sort().values
    size = len(values)
    places = torch.searchsorted(in_order, rows).clamp(max=size - 1)
    places = places.where(in_order[places] == rows, size)  # what is no value has a column beyond
    found = torch.zeros(len(rows), size + 1, dtype=torch.bool, device=rows.device)
    found.scatter_(1, places, True)
    return found[:, torch.searchsorted(in_order, values)]  # the first of equal ones


def neighbours_for(num_train: int) -> int:
    """K where the user gives none: 1,000 (Senocak et al. 2022, 3.2), less on short lists.

    Not given in the paper: a twentieth of a list of under 20,000 clips, at least 1.

    >>> neighbours_for(144_000), neighbours_for(4_000)
    (1000, 200)
    """
    return max(1, min(1000, num_train // 20))


def require_room_for_negatives(k: int, num_train: int) -> None:
    """Raises BenchError where 2K >= n - 1: two full sets of neighbours would leave no negative."""
    largest = (num_train - 2) // 2
    if k > largest:
        remedy = f"set method.k={largest} or less, or " if largest > 0 else ""
        raise BenchError(
            f"method.k={k} is too large for a training list of {num_train} clips: 2K must stay "
            f"below n - 1; {remedy}use more clips"
        )


MINED = {"sound.npy": "by_sound.npy", "image.npy": "by_image.npy"}
"""Files of neighbours by the files of features that they are of."""


def mine_all(embedded: Path, folder: Path, k: int, device: torch.device) -> None:
    """K neighbours of every clip by sound and by image, shared out among the processes.

    Args:
        embedded: folder that :func:`embed` filled.
        folder: gets ``by_sound.npy`` and ``by_image.npy``; see :func:`methods.neighbour_files.mine`
        k: neighbours K.
        device: where long lists are searched.
    """
    for features, neighbours in MINED.items():
        started = time.monotonic()
        made = mine(embedded / features, folder / neighbours, k, device).made
        log.info("%s: %d rows in %.1f s", neighbours, made, time.monotonic() - started)


def is_all_mined(embedded: Path, folder: Path, k: int) -> bool:
    """Whether a folder holds what :func:`mine_all` makes of these embeddings."""
    return all(is_mined(embedded / one, folder / other, k) for one, other in MINED.items())


def embed(base: EmbedsClips, data: ClipData, pool: str, folder: Path) -> None:
    """Writes ``sound.npy`` and ``image.npy``, ``(n, D)`` float32, of the training list.

    The processes of a group share the batches, which are the same for any number of them.

    Args:
        base: the trained baseline.
        data: its training split is read once, in order, without augmentation.
        pool: see :func:`embeddings`.
        folder: gets the files.

    Raises:
        BenchError: the disk is full.
    """
    num_train = len(data.report.splits["train"])
    batches = embeddings(base, data, pool)
    first = list(islice(batches, 1))  # tells the width D; a process may have no batch
    if rank() == 0:
        for name, vectors in zip(MINED, first[0][1:], strict=True):
            with _writing(folder / name):
                reserve(folder / name, (num_train, vectors.shape[1]), vectors.dtype)
    wait_for_all()
    for start, *both in chain(first, batches):
        for name, vectors in zip(MINED, both, strict=True):
            with _writing(folder / name):
                write_rows(folder / name, start, vectors)
    wait_for_all()


@lru_cache(maxsize=1)  # every batch of an epoch asks for it
def drawn_pairs(seed: int, epoch: int, num_train: int, low: int, high: int) -> Rows:
    """Two numbers in [low, high) for each row, ``(n, 2)`` int64, a function of (seed, epoch)."""
    rng = np.random.default_rng([FURTHER_CLIPS, seed, epoch])
    return rng.integers(low, high, size=(num_train, 2))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BenchError(
            f"{path} cannot be written ({error.strerror or error}); make room, or have it made in "
            "a folder with some, such as logging.runs=DIR"
        ) from error


def is_embedded(folder: Path, num_train: int) -> bool:
    """Whether a folder holds files for vectors of that many clips; its stage says if all are in."""
    return all(has_shape(folder / name, (num_train, None), np.dtype(np.float32)) for name in MINED)


@torch.no_grad()
def embeddings(
    base: EmbedsClips, data: ClipData, pool: str
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    """l2-normalised sound and image vectors of the training list (Senocak et al. 2022, 2.2).

    Args:
        base: the trained baseline.
        data: its training split is read once, in order, without augmentation.
        pool: ``mean`` for the spatial mean of V; ``response`` for the mean inside the clip's own
            soft mask m_ii, which the paper does not have.

    Yields:
        The first row of each batch of this process, its sounds ``(B, D)`` and its images ``(B, D)``
        float32.
    """
    base.eval()
    size = data.config.batch_size
    place = rank(), world_size()
    starts = range(place[0] * size, len(data.report.splits["train"]), place[1] * size)
    for start, batch in zip(starts, data.ordered_loader("train", place=place), strict=True):
        visual, sound = base.streams(batch.clip.to(base.device))
        if pool == "mean":
            image = visual.mean((2, 3))
        else:
            weight = soft_mask(paired_maps(sound, visual)).unsqueeze(1)  # (B, 1, h, w)
            image = (weight * visual).sum((2, 3))
        sounds, images = (nn.functional.normalize(each, dim=1).cpu() for each in (sound, image))
        yield start, sounds.numpy(), images.numpy()
