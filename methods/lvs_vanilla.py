"""`lvs_vanilla`: LVS without its tri-map, the baseline of Senocak et al. 2022 (Eq. 1-3, 5-6)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip, Localization
from methods.base import Method, MethodCard, OptimConfig, require_known
from methods.global_norm import gathered, own_rows
from methods.negatives import require_other_clips
from methods.response import (
    contrastive_rows,
    cosine_localization,
    masked_mean,
    paired_maps,
    pooled_negatives,
    soft_mask,
)
from methods.two_stream import RECIPE, SMALL, TwoStream, TwoStreamConfig


@dataclass
class ContrastiveConfig(TwoStreamConfig):
    """Settings of the contrastive objective shared by `lvs_vanilla` and `hardpos`."""

    temperature: float = 0.07  # LVS code; the paper prints none
    paper_literal: bool = False  # true: exponents as printed, whatever the temperature
    negative_pool: str = "mean"  # mean (Eq. 5 as printed) | masked (LVS code)


CONTRASTIVE_CHOICES = {"negative_pool": ("mean", "masked")}


class LvsVanilla(Method):
    """Sound i against all images of the global batch; the masked mean of its own map on top."""

    Config = ContrastiveConfig
    config: ContrastiveConfig
    card = MethodCard(
        paper="Senocak et al. 2022 (Vanilla-LVS); Chen et al. 2021",
        supervision="none",
        pretraining="vision: ImageNet where weights are given",
        map_range=(-1.0, 1.0),
    )
    recipe: ClassVar = RECIPE
    presets: ClassVar = {"small": {**SMALL, "method.negative_pool": "masked"}}

    def __init__(self, config: ContrastiveConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        require_known(config, CONTRASTIVE_CHOICES)
        self.streams = TwoStream(config)

    def check(self, data: ClipData) -> None:
        """Raises BenchError where a batch would hold no negative."""
        require_other_clips(data.config.batch_size)

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the batch of -log(P / (P + N)) (Eq. 6)."""
        config = self.config
        visual, sound = self.streams(batch.clip)
        return vanilla_rows(sound, visual, config, self.memory.maps).mean()

    def localize(self, clip: Clip) -> Localization:
        """The cosine map of a clip's sound on its frame; confidence is its maximum."""
        return cosine_localization(self.streams, clip)


def vanilla_rows(
    sound: Tensor, visual: Tensor, config: ContrastiveConfig, maps: str = "auto"
) -> Tensor:
    """Contrastive loss of every own sound against all images of the global batch (Eq. 5-6).

    Args:
        sound: ``(b, D)`` of this process.
        visual: ``(b, D, h, w)`` of this process.
        config: temperature and pooling of the negatives.
        maps: of the negatives, see :func:`methods.response.pooled_negatives`.

    Returns:
        ``(b,)``; its mean over devices is the mean over the global batch.
    """
    base = paired_maps(sound, visual, maps)  # (b, h, w)
    positive = masked_mean(base, soft_mask(base))
    negative = pooled_negatives(sound, gathered(visual), config.negative_pool, maps)  # (b, B)
    own = own_rows(negative.shape[1]).to(negative.device)
    is_negative = ~F.one_hot(own, negative.shape[1]).bool()
    scale = exponent_scale(config)
    return contrastive_rows(positive[:, None] / scale, negative / scale, is_negative)


def exponent_scale(config: ContrastiveConfig) -> float:
    """What exponents are divided by: 1 as the paper prints, or the temperature of the LVS code."""
    return 1.0 if config.paper_literal else config.temperature
