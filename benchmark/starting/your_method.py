"""`your_method`: a sound is found where a frame resembles it most."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip, Localization
from methods.base import Method, MethodCard, MethodConfig, OptimConfig
from methods.global_norm import gathered, own_rows
from methods.negatives import require_other_clips
from methods.response import cosine_localization, response_maps
from methods.streams import small_streams


@dataclass
class YourMethodConfig(MethodConfig):
    """Settings ``method.*`` of `your_method`."""

    image_size: int = 64
    segment_seconds: float = 1.0
    temperature: float = 0.07  # divides all cosines in the loss


class YourMethod(Method):
    """Cosines of places and sounds; each frame must find its own sound among all of the batch."""

    Config = YourMethodConfig
    config: YourMethodConfig
    card = MethodCard(paper="none", supervision="none", pretraining="none", map_range=(-1.0, 1.0))
    presets: ClassVar = {
        "small": {
            "optim.lr": 2e-3,
            "optim.schedule": "one_cycle",
            "data.batch_size": 64,
            "data.augmentation": "crop_flip_roll",
            "trainer.max_epochs": 6,
        }
    }

    def __init__(self, config: YourMethodConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)  # seeds torch: build modules below
        self.streams = small_streams(config.sample_rate_hz, config.segment_seconds)

    def check(self, data: ClipData) -> None:
        """Raises BenchError where a batch would hold no other clip."""
        require_other_clips(data.config.batch_size)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of each frame's own sound among those of the global batch."""
        visual, sound = self.streams.of_target(batch.clip)  # (b, D, h, w), (b, D)
        maps = response_maps(gathered(sound), visual)  # (B, b, h, w), of all processes' sounds
        likeness = maps.amax((2, 3)).T / self.config.temperature  # (b, B)
        return F.cross_entropy(likeness, own_rows(len(maps)).to(likeness.device))

    def localize(self, clip: Clip) -> Localization:
        """The cosine map of a clip's sound on its frame; confidence is its maximum."""
        return cosine_localization(self.streams.of_target, clip)
