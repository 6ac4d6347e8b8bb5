"""`hardpos`: sound localisation with mined hard positives (Senocak et al. 2022).

Three stages in one run: train `lvs_vanilla`, mine the training list with it, train afresh with the
neighbours as further positives.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip, Localization
from datamodules.sampling import FURTHER_CLIPS, Rows
from methods.base import Method, MethodCard, OptimConfig, Stages
from methods.global_norm import gathered, own_rows, sum_over_ranks
from methods.lvs_vanilla import (
    RECIPE,
    SMALL,
    ContrastiveConfig,
    LvsVanilla,
    exponent_scale,
    require_known_pool,
    vanilla_rows,
)
from methods.mining import nearest, purity
from methods.negatives import require_other_clips
from methods.response import (
    contrastive_rows,
    cosine_localization,
    masked_mean,
    paired_maps,
    pooled_negatives,
    response_maps,
    soft_mask,
)
from methods.two_stream import TwoStream
from metrics.errors import BenchError


@dataclass
class HardPosConfig(ContrastiveConfig):
    """Settings of `hardpos`."""

    k: int | None = None  # neighbours K; null is neighbours_for(n)
    positives: str = "mined"  # mined | random (the paper's control)
    mining_pool: str = "mean"  # mean (spatial mean, 2.2 as printed) | response (own soft mask)
    init_from_stage1: bool = False  # not given in the paper; false starts stage 3 afresh


class HardPos(Method):
    """A clip's neighbours by sound and by image join its positives and leave its negatives."""

    Config = HardPosConfig
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
        require_known_pool(config.negative_pool)
        if config.positives not in ("mined", "random"):
            raise BenchError(f"method.positives={config.positives!r} is unknown; mined or random")
        if config.mining_pool not in ("mean", "response"):
            raise BenchError(
                f"method.mining_pool={config.mining_pool!r} is unknown; use mean or response"
            )
        if config.positives == "random" and config.init_from_stage1:
            raise BenchError(
                "method.init_from_stage1=true has no meaning with method.positives=random, which "
                "has no stage 1"
            )
        if config.k is not None and config.k < 1:
            raise BenchError(f"method.k must be at least 1, got {config.k}")
        self.streams = TwoStream(config)
        self.by_sound: NDArray[np.int32] | None = None  # (n, K) rows, P_iA of Eq. 4
        self.by_image: NDArray[np.int32] | None = None  # (n, K) rows, P_iV of Eq. 4
        self.num_train = 0
        self.register_buffer("rows_without_negatives", torch.zeros((), dtype=torch.int64))

    def check(self, data: ClipData) -> None:
        """Raises BenchError where a batch would hold no negative, or K leaves none in the list."""
        require_other_clips(data.config.batch_size)
        if cast("HardPosConfig", self.config).positives == "random":
            return
        num_train = len(data.report.splits["train"])
        require_room_for_negatives(self.neighbours(num_train), num_train)

    def neighbours(self, num_train: int) -> int:
        """K for a training list of that length."""
        chosen = cast("HardPosConfig", self.config).k
        return neighbours_for(num_train) if chosen is None else chosen

    def prepare(self, stages: Stages, data: ClipData) -> None:
        """Stages 1 and 2: the embeddings of `lvs_vanilla`, and K neighbours of every clip."""
        config = cast("HardPosConfig", self.config)
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

        def build(folder: Path) -> None:
            sound, image = embeddings(base, data, config.mining_pool)
            np.save(folder / "by_sound.npy", nearest(sound, k))
            np.save(folder / "by_image.npy", nearest(image, k))

        mined = stages.cached("mined", {"k": k, "mining_pool": config.mining_pool}, build)
        self.by_sound = np.load(mined / "by_sound.npy", mmap_mode="r")
        self.by_image = np.load(mined / "by_image.npy", mmap_mode="r")
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
        rng = np.random.default_rng([FURTHER_CLIPS, seed, epoch])
        if self.by_sound is None or self.by_image is None:
            shift = rng.integers(1, self.num_train, size=(self.num_train, 2))[rows]
            return (rows + shift[:, 0]) % self.num_train, (rows + shift[:, 1]) % self.num_train
        place = rng.integers(self.by_sound.shape[1], size=(self.num_train, 2))[rows]
        frames = self.by_image[rows, place[:, 0]].astype(np.int64)
        return frames, self.by_sound[rows, place[:, 1]].astype(np.int64)

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the batch of -log(P_i / (P_i + N_i)) (Eq. 5-6).

        Held-out clips have no neighbours: without ``extra`` it is the loss of `lvs_vanilla`.
        """
        config = cast("HardPosConfig", self.config)
        if batch.extra is None:
            visual, sound = self.streams(batch.clip)
            return vanilla_rows(sound, visual, config).mean()
        size = len(batch.clip.index)
        visual, sound = self.streams(batch.clip.cat(batch.extra))
        (visual_i, visual_k), (sound_i, sound_j) = visual.split(size), sound.split(size)
        alpha = response_maps(sound_i, gathered(visual_i))  # (b, B, h, w)
        maps = [
            alpha[torch.arange(size), own_rows(alpha.shape[1])],  # P_b: alpha_ii
            paired_maps(sound_j, visual_i),  # P_a: alpha_ji
            paired_maps(sound_i, visual_k),  # P_v: alpha_ik
            paired_maps(sound_j, visual_k),  # P_c: alpha_jk
        ]
        positives = torch.stack([masked_mean(each, soft_mask(each)) for each in maps], 1)
        negatives = pooled_negatives(alpha, config.negative_pool)
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


@torch.no_grad()
def embeddings(
    base: LvsVanilla, data: ClipData, pool: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """l2-normalised sound and image vectors of the training list (Senocak et al. 2022, 2.2).

    Args:
        base: the trained baseline.
        data: its training split is read once, in order, without augmentation.
        pool: ``mean`` for the spatial mean of V; ``response`` for the mean inside the clip's own
            soft mask m_ii, which the paper does not have.

    Returns:
        Sound ``(n, D)`` and image ``(n, D)`` float32.
    """
    base.eval()
    sounds, images = [], []
    for batch in data.ordered_loader("train", whole=True):
        visual, sound = base.streams(batch.clip.to(base.device))
        if pool == "mean":
            image = visual.mean((2, 3))
        else:
            weight = soft_mask(paired_maps(sound, visual)).unsqueeze(1)  # (B, 1, h, w)
            image = (weight * visual).sum((2, 3))
        sounds.append(torch.nn.functional.normalize(sound, dim=1).cpu())
        images.append(torch.nn.functional.normalize(image, dim=1).cpu())
    return torch.cat(sounds).numpy(), torch.cat(images).numpy()
