"""`fnac`: False Negative Aware Contrastive learning (Sun et al. 2023), as its code has it.

Source: https://github.com/OpenNLPLab/FNAC_AVL, model.py:50-102 at 0a0ca78.
"""

import logging
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip, Localization
from methods.base import Method, MethodCard, OptimConfig, require_known
from methods.ezvsl import both_directions, pair_logits
from methods.global_norm import gathered
from methods.negatives import require_other_clips
from methods.object_guidance import (
    GuidanceConfig,
    guided,
    guided_card,
    mixed_by_range,
    object_guide,
)
from methods.precision import exact
from methods.projected_streams import RELEASED_NAMES, TRAINING, ProjectedConfig, drop, require_share
from methods.released import PRETRAINING, load_released
from methods.released_streams import projected_parts, projected_streams
from methods.response import cosine_localization, paired_maps
from methods.two_stream import SMALL
from metrics.errors import BenchError

log = logging.getLogger(__name__)
PUBLISHED_BATCH = 256  # FNAC code, train_vggss.sh at 0a0ca78
SMALLEST_SPREAD = 1e-5  # the same, model.py:62-63: added to the range of a map over tau
L1 = ("mean", "per_row")


@dataclass
class FnacConfig(GuidanceConfig, ProjectedConfig):
    """Settings of `fnac`."""

    dropout: float = 0.9  # of single image features before their projection; train_*.sh
    weight: float = 100.0  # lambda of all three L1 terms; train_*.sh
    l1: str = "mean"  # mean over B * B (model.py:80-82) | per_row, the same at B = 256 and any B
    detach_targets: bool = False  # false: gradients to both sides of each L1 term, as the code
    mask_threshold: float = 0.6  # of the min-max map; model.py:28
    warmup_epochs: int = 5  # of the EZ-VSL loss alone; train_*.sh 5, train.py's own default 3


class Fnac(Method):
    """EZ-VSL, its pair scores drawn to how alike the sounds, the images and the sources are."""

    Config = FnacConfig
    config: FnacConfig
    card = MethodCard(
        paper="Sun et al. 2023 (FNAC)",
        supervision="none",
        pretraining="vision: ImageNet where weights are given",
        map_range=(-1.0, 1.0),
    )
    recipe: ClassVar = {
        "*": {
            **TRAINING,
            "optim.weight_decay": 1e-4,
            "data.batch_size": PUBLISHED_BATCH,
            "trainer.max_epochs": 30,
        }
    }
    presets: ClassVar = {
        "small": {
            **SMALL,
            "method.warmup_epochs": 1,
            "method.dropout": 0.3,
            "method.l1": "per_row",
        }
    }

    def __init__(self, config: FnacConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        require_known(config, {"l1": L1})
        require_share("dropout", config.dropout)
        if config.warmup_epochs < 0:
            raise BenchError(f"method.warmup_epochs must be at least 0, got {config.warmup_epochs}")
        self.streams, self.own = projected_streams(config, "fnac")
        if config.checkpoint is not None:
            self.card = replace(self.card, pretraining=PRETRAINING)
            parts, names = projected_parts(self.streams), RELEASED_NAMES
            self.released = load_released(self, parts, config.checkpoint, "fnac", names)
        self.guide = object_guide(config, backbone=config.backbone)
        if self.guide is not None:
            self.card = guided_card(self.card)

    def check(self, data: ClipData) -> None:
        """Raises BenchError where a batch would hold no negative."""
        require_other_clips(data.config.batch_size)

    def on_train_start(self) -> None:
        """Warns where no epoch is left after the warm-up."""
        epochs = self.trainer.max_epochs or 0
        if 0 < epochs <= self.config.warmup_epochs:
            log.warning(
                "all %d epochs are warm-up, so fnac trains as ezvsl; lower method.warmup_epochs",
                epochs,
            )

    def loss(self, batch: Batch) -> Tensor:
        """The loss of EZ-VSL, and after the warm-up lambda times three L1 terms.

        Held-out clips have the whole loss in every epoch, so that epochs can be compared.
        """
        terms = self.terms(batch)
        if self.training and self.current_epoch < self.config.warmup_epochs:
            return terms.contrastive
        gaps = terms.sounds_and_pairs + terms.sounds_and_sources + terms.images_and_pairs
        return terms.contrastive + self.config.weight * gaps

    def terms(self, batch: Batch) -> "FnacTerms":
        """The four terms of the global batch."""
        visual, sound = self.streams(batch.clip, drop(self, batch, self.config.dropout))
        return fnac_terms(sound, visual, self.config, self.memory.maps)

    def localize(self, clip: Clip) -> Localization:
        """The cosine map of a clip's sound on its frame; confidence is its maximum."""
        answer = cosine_localization(self.streams, clip)
        return guided(answer, self.guide, clip, self.config.guidance_alpha, mixed_by_range)


class FnacTerms(NamedTuple):
    """Scalars of the global batch, the L1 terms without their weight."""

    contrastive: Tensor  # the loss of EZ-VSL
    sounds_and_pairs: Tensor  # FNS-1: sm(AA) against sm(P)
    sounds_and_sources: Tensor  # TNS: sm(AA) against sm(FG)
    images_and_pairs: Tensor  # FNS-2: sm(VV) against sm(P)


def fnac_terms(sound: Tensor, visual: Tensor, config: FnacConfig, maps: str = "auto") -> FnacTerms:
    """What FNAC adds up, the same on all processes.

    Args:
        sound: ``(b, D)`` of this process.
        visual: ``(b, D, h, w)`` of this process.
        config: of `fnac`.
        maps: see :func:`methods.chunks.in_chunks`.
    """
    logits = pair_logits(sound, visual, config.temperature, maps)
    mask = source_mask(paired_maps(sound, visual, maps) / config.temperature, config.mask_threshold)
    with torch.autocast(sound.device.type, enabled=False):
        cells = F.normalize(exact(visual), dim=1)
        sounds = gathered(F.normalize(exact(sound), dim=1))  # (B, D)
        images = gathered(cells.mean((2, 3)))
        sources = gathered((cells * mask.unsqueeze(1)).mean((2, 3)))  # zeros count in the mean
        of_sounds, of_images, of_sources = (
            (each @ each.T / config.temperature).softmax(1) for each in (sounds, images, sources)
        )
        of_pairs = logits.softmax(1)
    if config.detach_targets:
        of_sounds, of_images = of_sounds.detach(), of_images.detach()
    return FnacTerms(
        both_directions(logits, config.directions),
        row_gap(of_sounds, of_pairs, config.l1),
        row_gap(of_sounds, of_sources, config.l1),
        row_gap(of_images, of_pairs, config.l1),
    )


def source_mask(maps: Tensor, threshold: float) -> Tensor:
    """Where a map over tau, put to [0, 1], is above a threshold; ``(B, h, w)`` bool.

    A constant map is above it nowhere.
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low + SMALLEST_SPREAD) > threshold


def row_gap(first: Tensor, second: Tensor, l1: str) -> Tensor:
    """L1 distance of two matrices whose rows sum to 1.

    Args:
        first: ``(B, B)``.
        second: ``(B, B)``.
        l1: ``mean`` over all entries, at most 2 / B, so lambda means less in a larger batch; or
            ``per_row``: the mean over rows of their sums, over 256, which is the same at B = 256.

    >>> one, other = torch.eye(2), 1 - torch.eye(2)
    >>> row_gap(one, other, "mean"), row_gap(one, other, "per_row")
    (tensor(1.), tensor(0.0078))
    """
    gap = (first - second).abs()
    return gap.mean() if l1 == "mean" else gap.sum(1).mean() / PUBLISHED_BATCH
