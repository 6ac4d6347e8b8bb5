"""`ezvsl`: Localizing Visual Sounds the Easy Way (Mo and Morgado 2022), as its code has it.

Source: https://github.com/stoneMo/EZ-VSL, model.py:38-44 at 95ff5bf.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip, Localization
from methods.base import Method, MethodCard, OptimConfig
from methods.chunks import in_chunks
from methods.global_norm import gathered
from methods.negatives import require_other_clips
from methods.object_guidance import (
    GuidanceConfig,
    guided,
    guided_card,
    mixed_by_range,
    object_guide,
)
from methods.projected_streams import RELEASED_NAMES, TRAINING, ProjectedConfig
from methods.released import PRETRAINING, load_released
from methods.released_streams import projected_parts, projected_streams
from methods.response import bytes_of_maps, cosine_localization, response_maps
from methods.two_stream import SMALL


@dataclass
class EzvslConfig(GuidanceConfig, ProjectedConfig):
    """Settings of `ezvsl`."""


class Ezvsl(Method):
    """Each image against all sounds and each sound against all images, by its best cell alone."""

    Config = EzvslConfig
    config: EzvslConfig
    card = MethodCard(
        paper="Mo and Morgado 2022 (EZ-VSL)",
        supervision="none",
        pretraining="vision: ImageNet where weights are given",
        map_range=(-1.0, 1.0),
    )
    recipe: ClassVar = {"*": TRAINING}
    presets: ClassVar = {"small": SMALL}

    def __init__(self, config: EzvslConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        self.streams, self.own = projected_streams(config, "ezvsl")
        if config.checkpoint is not None:
            self.card = replace(self.card, pretraining=PRETRAINING)
            parts, names = projected_parts(self.streams), RELEASED_NAMES
            self.released = load_released(self, parts, config.checkpoint, "ezvsl", names)
        self.guide = object_guide(config, backbone=config.backbone)
        if self.guide is not None:
            self.card = guided_card(self.card)

    def check(self, data: ClipData) -> None:
        """Raises BenchError where a batch would hold no negative."""
        require_other_clips(data.config.batch_size)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropies of image to sound and of sound to image over the global batch."""
        config = self.config
        visual, sound = self.streams(batch.clip)
        logits = pair_logits(sound, visual, config.temperature, self.memory.maps)
        return both_directions(logits, config.directions)

    def localize(self, clip: Clip) -> Localization:
        """The cosine map of a clip's sound on its frame; confidence is its maximum.

        The code's map is divided by tau, which changes no order.
        """
        config = self.config
        answer = cosine_localization(self.streams, clip)
        return guided(answer, self.guide, clip, config.guidance_alpha, mixed_by_range)


def pair_logits(sound: Tensor, visual: Tensor, temperature: float, maps: str = "auto") -> Tensor:
    """P: the largest response of every image of the global batch to every sound, over tau.

    Args:
        sound: ``(b, D)`` of this process.
        visual: ``(b, D, h, w)`` of this process.
        temperature: tau.
        maps: of the responses, see :func:`methods.chunks.in_chunks`.

    Returns:
        ``(B, B)``, first index image, the same on all processes.
    """
    return gathered(largest_responses(gathered(sound), visual, maps) / temperature)


def largest_responses(sound: Tensor, visual: Tensor, maps: str = "auto") -> Tensor:
    """Maximum over the cells of the cosine map of every sound on every image.

    Args:
        sound: ``(M, D)``.
        visual: ``(N, D, h, w)``.
        maps: see :func:`methods.chunks.in_chunks`.

    Returns:
        ``(N, M)`` in [-1, 1].

    >>> frames = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    >>> largest_responses(torch.tensor([[3.0, 4.0]]), frames)
    tensor([[0.8000]])
    """

    def largest(images: Tensor) -> Tensor:
        return response_maps(sound, images).amax((-2, -1)).T

    return in_chunks(largest, [visual], bytes_of_maps(visual, len(sound)), maps)


def both_directions(logits: Tensor, directions: str) -> Tensor:
    """Cross-entropy of image to sound and of sound to image.

    Args:
        logits: ``(B, B)``, first index image.
        directions: their ``sum``, as the code has it (model.py:43), or their ``mean``.

    >>> both_directions(torch.zeros(4, 4), "sum"), both_directions(torch.zeros(4, 4), "mean")
    (tensor(2.7726), tensor(1.3863))
    """
    own = torch.arange(len(logits), device=logits.device)
    total = F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)
    return total if directions == "sum" else total / 2
