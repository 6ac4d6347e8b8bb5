"""`lvs`: Localizing Visual Sounds the Hard Way (Chen et al. 2021), as its code has it.

Source: https://github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way, model.py:17-79 at 8fe8cbb.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip, Localization
from methods.base import Method, MethodCard, OptimConfig
from methods.global_norm import gathered, own_rows
from methods.negatives import require_other_clips
from methods.own_frontends import front_end_of
from methods.released import PRETRAINING, load_released, require_alone
from methods.released_streams import LVS_NAMES, streams_parts
from methods.response import (
    cosine_localization,
    masked_mean,
    paired_maps,
    pooled_negatives,
    soft_mask,
)
from methods.two_stream import RECIPE, SMALL, TwoStream, TwoStreamConfig

EPSILON_NEGATIVE = 0.4  # LVS code, model.py at 8fe8cbb: below it a cell is background
LITERAL_DIAGONAL = -99.0  # the code multiplies its diagonal by 1 - 100, it does not mask it


@dataclass
class LvsConfig(TwoStreamConfig):
    """Settings of `lvs`."""

    temperature: float = 0.07  # LVS code
    paper_literal: bool = False  # true: divides by 1 and keeps the diagonal, times -99
    checkpoint: str | None = None  # a released file, which is tested as it stands
    front_end: str = "bench"  # bench | own: of frames and sounds, as the LVS code has them


class Lvs(Method):
    """Image i against all sounds of the global batch, and against its own background."""

    Config = LvsConfig
    config: LvsConfig
    card = MethodCard(
        paper="Chen et al. 2021",
        supervision="none",
        pretraining="vision: ImageNet where weights are given",
        map_range=(-1.0, 1.0),
    )
    recipe: ClassVar = RECIPE
    presets: ClassVar = {"small": SMALL}

    def __init__(self, config: LvsConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        require_alone(config, config.checkpoint, {"backbone": "resnet18", "pretrained": None})
        self.own = front_end_of(config, "lvs", config.front_end)
        sound = None if self.own is None else self.own.sound(config)
        self.streams = TwoStream(config, sound=sound, zero_mean=config.checkpoint is None)
        if config.checkpoint is not None:
            self.card = replace(self.card, pretraining=PRETRAINING)
            parts = streams_parts(self.streams)
            self.released = load_released(self, parts, config.checkpoint, "lvs", LVS_NAMES)

    def check(self, data: ClipData) -> None:
        """Raises BenchError where a batch would hold no negative."""
        require_other_clips(data.config.batch_size)

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the batch of the tri-map contrastive loss."""
        config = self.config
        visual, sound = self.streams(batch.clip)
        others = pooled_negatives(gathered(sound), visual, "masked", self.memory.maps).T
        return trimap_rows(
            paired_maps(sound, visual, self.memory.maps),
            others,  # (B / W images, B)
            own_rows(others.shape[1]).to(others.device),
            temperature=1.0 if config.paper_literal else config.temperature,
            keep_diagonal=config.paper_literal,
        ).mean()

    def localize(self, clip: Clip) -> Localization:
        """The cosine map of a clip's sound on its frame; confidence is its maximum."""
        return cosine_localization(self.streams, clip)


def trimap_rows(
    base: Tensor,
    others: Tensor,
    own: Tensor,
    *,
    temperature: float,
    keep_diagonal: bool = False,
) -> Tensor:
    """Contrastive loss of every image against all sounds and its own background.

    The code multiplies the positive's place among the negatives by -99 and so keeps it in the
    denominator; here it is masked, unless ``keep_diagonal``.

    Args:
        base: ``(N, h, w)`` cosine maps of N images under their own sounds.
        others: ``(N, M)`` masked means of their maps under M sounds.
        own: ``(N,)`` int64, each image's own sound.
        temperature: divides all exponents.
        keep_diagonal: the code's way.

    Returns:
        ``(N,)``.
    """
    positive = masked_mean(base, soft_mask(base))
    background = masked_mean(base, 1 - soft_mask(base, epsilon=EPSILON_NEGATIVE))
    is_own = F.one_hot(own, others.shape[1]).bool()
    kept = others * LITERAL_DIAGONAL if keep_diagonal else torch.full_like(others, -torch.inf)
    others = torch.where(is_own, kept, others)
    logits = torch.cat([positive[:, None], others, background[:, None]], 1) / temperature
    return logits.logsumexp(1) - logits[:, 0]
