"""`warmup`: two small streams that know which sounds and frames belong together, and no more.

A stand-in for ImageNet and SoundNet where no pretrained weights are to be had: methods take its
streams as their own and keep them frozen. Not of any paper. It has rows of its own, so that a
reader sees what a method adds to the streams that it starts from.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip, Localization
from methods.base import Method, MethodCard, MethodConfig, OptimConfig, Stages
from methods.global_norm import gathered, own_rows
from methods.negatives import require_other_clips
from methods.precision import exact
from methods.response import cosine_localization
from methods.streams import Streams, load_streams, small_streams

TRAINING = {
    "optim.lr": 2e-3,
    "optim.weight_decay": 0.0,
    "optim.schedule": "one_cycle",
    "data.augmentation": "crop_flip_roll",
    "trainer.max_epochs": 12,
}
"""What one CPU core trains in about three minutes; measured on `synthetic`, 4,000 clips."""

AS_A_STAGE = {
    **TRAINING,
    "data.labelled": None,
    "data.unlabelled": None,
    "data.feature_dtype": "float32",
    "optim.fused": True,
    "trainer.select": "last",
    "trainer.accumulate": 1,
    "trainer.precision": "32-true",
    "trainer.compile": False,
    "memory.maps": "auto",
}
"""The same for every method that asks, whatever clips and labels its own training sees."""


@dataclass
class WarmupConfig(MethodConfig):
    """Settings of `warmup`."""

    temperature: float = 0.07


class Warmup(Method):
    """Sounds against mean image vectors of the global batch; no labels, no map in the loss."""

    Config = WarmupConfig
    config: WarmupConfig
    card = MethodCard(paper="-", map_range=(-1.0, 1.0))
    recipe: ClassVar = {"*": TRAINING}
    presets: ClassVar = {
        "small": {
            **TRAINING,
            "method.image_size": 64,
            "method.segment_seconds": 1.0,
            "data.batch_size": 64,
        }
    }

    def __init__(self, config: WarmupConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        self.streams = small_streams(config.sample_rate_hz, config.segment_seconds)

    def check(self, data: ClipData) -> None:
        """Raises BenchError where a batch would hold no negative."""
        require_other_clips(data.config.batch_size)

    def loss(self, batch: Batch) -> Tensor:
        """Mean of the cross-entropies of image to sound and of sound to image."""
        visual, sound = self.streams.of_target(batch.clip)
        temperature = self.config.temperature
        return pair_loss(visual.mean((2, 3)), sound, temperature)

    def localize(self, clip: Clip) -> Localization:
        """The cosine map of a clip's sound on its frame; confidence is its maximum."""
        return cosine_localization(self.streams.of_target, clip)


def pair_loss(image: Tensor, sound: Tensor, temperature: float) -> Tensor:
    """InfoNCE in both directions over the global batch.

    Args:
        image: ``(b, D)`` of this process.
        sound: ``(b, D)`` of this process.
        temperature: of the cosines.

    Returns:
        Scalar; its mean over devices is that of the global batch. Unrelated vectors give log(B).
    """
    with torch.autocast(image.device.type, enabled=False):  # cosines of half precision are steps
        image, sound = F.normalize(exact(image), dim=1), F.normalize(exact(sound), dim=1)
        sounds, images = gathered(sound), gathered(image)
        own = own_rows(len(sounds)).to(image.device)
        seen = F.cross_entropy(image @ sounds.T / temperature, own)
        heard = F.cross_entropy(sound @ images.T / temperature, own)
    return (seen + heard) / 2


def warm(
    streams: Streams,
    pretrained: str,
    config: MethodConfig,
    stages: Stages,
    data: ClipData,
) -> None:
    """Loads small streams: of the shared stage where ``pretrained`` is ``warmup``, else by path.

    Args:
        streams: of :func:`methods.streams.small_streams`; filled in place.
        pretrained: ``warmup``, or the path of a finished run of `warmup`.
        config: of the method, whose frames and sounds the streams must fit.
        stages: of the runner.
        data: of the run, which says what of it stands for data to pretrain on.

    Raises:
        BenchError: the path holds no such streams.
    """
    if pretrained == "warmup":
        own = WarmupConfig(config.image_size, config.sample_rate_hz, config.segment_seconds)
        method = Warmup(own, OptimConfig(), seed=data.seed)
        stage = stages.fit("warmup", method, {**AS_A_STAGE, **data.pretraining})
        streams.load_state_dict(stage.streams.state_dict())
    else:
        load_streams(streams, pretrained, "method.pretrained")
