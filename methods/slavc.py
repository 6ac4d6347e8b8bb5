"""`slavc`: Simultaneous Localization and Audio-Visual Correspondence (Mo and Morgado 2022).

Two spaces: one says which sound belongs to a frame, the other where it is. Each side is compared
with a slow copy of the other. As the code has it: https://github.com/stoneMo/SLAVC, model.py
``forward`` at 05b429c.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip, Localization
from methods.base import Method, MethodCard, OptimConfig, require_known
from methods.chunks import in_chunks
from methods.global_norm import gathered, own_rows
from methods.negatives import require_other_clips
from methods.object_guidance import (
    GuidanceConfig,
    guided,
    guided_card,
    mixed_calibrated,
    object_guide,
)
from methods.projected_streams import TRAINING, ProjectedConfig, drop, require_share
from methods.released import PRETRAINING, load_released
from methods.released_streams import projected_streams
from methods.response import bytes_of_maps, paired_maps, response_maps
from methods.two_stream import SMALL
from metrics.errors import BenchError

CHOICES = {"weights": ("ema", "online"), "classified": ("sound", "each")}
CALIBRATED = (0.0, 1.0)  # what a guided map is taken to span; the guide may pass it, as in the code
ONLINE, EMA = 0, 1  # which network sees a clip, for its dropped features
Pair = tuple[Tensor, Tensor]
"""``V`` ``(B, D, h, w)`` and ``A`` ``(B, D)`` in one space."""
RELEASED_NAMES: Mapping[str, str] = {
    f"{prefix}{stored}": f"{streams}.{own}"
    for prefix, streams in (("", "streams"), ("momentum_", "ema"))
    for stored, own in (
        ("imgnet.", "features.visual."),
        ("audnet.", "features.audio."),
        ("img_proj1.", "projections.0.visual."),
        ("aud_proj1.", "projections.0.audio."),
        ("img_proj2.", "projections.1.visual."),
        ("aud_proj2.", "projections.1.audio."),
    )
}
"""Beginnings of the names in files of SLAVC, and those of ``Slavc``."""


@dataclass
class SlavcConfig(GuidanceConfig, ProjectedConfig):
    """Settings of `slavc`."""

    dropout: float = 0.9  # of single image features, in both networks; train_vggsound144k.sh
    momentum: float = 0.999  # of the slow copy; the script's, train.py's own default is 0.9
    second_softmax: bool = True  # of the logarithms of probabilities, as F.cross_entropy has it
    classified: str = "sound"  # sound given an image in both terms (the code) | each of the two
    guidance_alpha: float = 0.9  # test_*.sh; test.py's own default is 0.4
    weights: str = "ema"  # that answer: ema (the published numbers) | online


class Slavc(Method):
    """Which sound it is, by all cells, times where it is, by the cells of a second space."""

    Config = SlavcConfig
    config: SlavcConfig
    card = MethodCard(
        paper="Mo and Morgado 2022 (SLAVC)",
        supervision="none",
        pretraining="vision: ImageNet where weights are given",
        map_range=(-1.0, 1.0),
    )
    recipe: ClassVar = {"*": TRAINING}
    presets: ClassVar = {"small": {**SMALL, "method.momentum": 0.9, "method.dropout": 0.3}}

    def __init__(self, config: SlavcConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        require_known(config, CHOICES)
        require_share("dropout", config.dropout)
        if not 0 <= config.momentum <= 1:
            raise BenchError(f"method.momentum must be in [0, 1], got {config.momentum}")
        self.streams, self.own = projected_streams(config, "slavc", spaces=2)
        self.ema = deepcopy(self.streams).requires_grad_(False)
        if config.checkpoint is not None:
            self.card = replace(self.card, pretraining=PRETRAINING)
            parts = {"streams": self.streams, "ema": self.ema}
            path, names = config.checkpoint, RELEASED_NAMES
            self.released = load_released(self, parts, path, "slavc", names)
        self.guide = object_guide(config, backbone=config.backbone)
        if self.guide is not None:
            self.card = guided_card(self.card, CALIBRATED)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Of frames and of sounds, and their slow copies."""
        return *self.streams.networks, *self.ema.networks

    def check(self, data: ClipData) -> None:
        """Raises BenchError where a batch would hold no negative."""
        require_other_clips(data.config.batch_size)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropies of online images with slow sounds, and of slow images with online sounds.

        The slow copy sees the batch in training mode: its statistics are its own.
        """
        config = self.config
        online = self.streams.in_spaces(batch.clip, drop(self, batch, config.dropout, ONLINE))
        with torch.no_grad():
            slow = self.ema.in_spaces(batch.clip, drop(self, batch, config.dropout, EMA))
        images, slow_images = [v for v, _ in online], [v for v, _ in slow]
        sounds, slow_sounds = [a for _, a in online], [a for _, a in slow]
        maps = self.memory.maps
        seen = sounds_of_images(images, slow_sounds, config.temperature, maps)
        if config.classified == "sound":
            heard = sounds_of_images(slow_images, sounds, config.temperature, maps)
        else:
            heard = images_of_sounds(sounds, slow_images, config.temperature, maps)
        total = self.cross_entropy(seen) + self.cross_entropy(heard)
        return total if config.directions == "sum" else total / 2

    def cross_entropy(self, logarithms: Tensor) -> Tensor:
        """Of the own rows ``(b, B)`` of logarithms of probabilities."""
        own = own_rows(logarithms.shape[1]).to(logarithms.device)
        if self.config.second_softmax:
            return F.cross_entropy(logarithms, own)
        return F.nll_loss(logarithms, own)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The step, after which the slow copy follows.

        The code lets it follow before the next step's forward, so that the copy in a file lacks the
        last step; all losses are the same.
        """
        super().optimizer_step(*args, **kwargs)
        self.follow()

    @torch.no_grad()
    def follow(self) -> None:
        """Moves all weights of the slow copy, but not its statistics, by 1 - m."""
        for slow, weights in zip(self.ema.parameters(), self.streams.parameters(), strict=True):
            slow.lerp_(weights, 1 - self.config.momentum)

    def localize(self, clip: Clip) -> Localization:
        """Mean of the cosine maps in both spaces; confidence is its maximum."""
        streams = self.ema if self.config.weights == "ema" else self.streams
        first, second = (paired_maps(sound, visual) for visual, sound in streams.in_spaces(clip))
        heatmap = (first + second) / 2
        answer = Localization(heatmap, heatmap.flatten(1).amax(1))
        alpha = self.config.guidance_alpha
        return guided(answer, self.guide, clip, alpha, mixed_calibrated)


def sounds_of_images(
    images: list[Tensor], sounds: list[Tensor], temperature: float, maps: str = "auto"
) -> Tensor:
    """Logarithms of how well each sound of the global batch fits each own image.

    Args:
        images: ``(b, D, h, w)`` of this process in both spaces.
        sounds: ``(b, D)`` of this process in both spaces.
        temperature: tau.
        maps: see :func:`methods.chunks.in_chunks`.

    Returns:
        ``(b, B)``: the softmax over sounds, averaged by the softmax over cells in the second space.
    """
    every = [gathered(each) for each in sounds]

    def rows(first: Tensor, second: Tensor) -> Tensor:
        pair = (
            response_maps(a, v).transpose(0, 1) for a, v in zip(every, (first, second), strict=True)
        )
        return factorised(*(each.flatten(2) / temperature for each in pair))

    return in_chunks(rows, images, bytes_of_maps(images[0], len(every[0])), maps)


def images_of_sounds(
    sounds: list[Tensor], images: list[Tensor], temperature: float, maps: str = "auto"
) -> Tensor:
    """The same of each image of the global batch for each own sound, ``(b, B)``.

    The code has no such term.
    """
    every = [gathered(each) for each in images]

    def rows(first: Tensor, second: Tensor) -> Tensor:
        both = (response_maps(a, v) for a, v in zip((first, second), every, strict=True))
        return factorised(*(each.flatten(2) / temperature for each in both))

    return in_chunks(rows, sounds, bytes_of_maps(every[0], len(every[0])), maps)


def factorised(which: Tensor, where: Tensor) -> Tensor:
    """Log sum_x softmax_m(which) softmax_x(where).

    In logarithms throughout: the code's products of probabilities can be 0 in single precision.

    Args:
        which: ``(n, m, cells)`` responses over tau in the first space.
        where: ``(n, m, cells)`` in the second.

    Returns:
        ``(n, m)``, at most 0; the exponentials of a row do not sum to 1.

    >>> factorised(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
    tensor([[-0.6931, -0.6931]])
    """
    return (which.log_softmax(1) + where.log_softmax(2)).logsumexp(2)
