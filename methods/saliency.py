"""`saliency`: where an ImageNet classifier sees something, a floor that never hears the sound.

It is what object guidance adds to a map, alone. The other floors are rules of the truth; this one
looks at the frames, so it is a run like that of a method, with maps of its own.
"""

from dataclasses import dataclass

from torch import Tensor

from datamodules.clip import Clip, Localization
from methods.base import Method, MethodCard, MethodConfig, OptimConfig
from methods.object_guidance import ObjectGuide
from metrics.errors import BenchError


@dataclass
class SaliencyConfig(MethodConfig):
    """Settings of the classifier."""

    pretrained: str | None = None  # ImageNet weights: a file or a timm hub name; there must be some


class Saliency(Method):
    """Mean of ``|layer4|`` of a frozen ResNet-18, 7 x 7 (EZ-VSL ``test.py:55-62`` at 95ff5bf)."""

    Config = SaliencyConfig
    config: SaliencyConfig
    card = MethodCard(pretraining="ImageNet", floor=True)

    def __init__(self, config: SaliencyConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        if config.pretrained is None:
            raise BenchError(
                "saliency needs ImageNet weights, since random ones are no floor; give "
                "method.pretrained, the path of a torchvision or timm resnet18 state dict, or "
                "method.pretrained=resnet18.tv_in1k where timm may fetch it"
            )
        self.guide = ObjectGuide(config.pretrained, setting="method.pretrained", without=None)

    @property
    def learns(self) -> bool:
        """Never."""
        return False

    def localize(self, clip: Clip) -> Localization:
        """The map of the target frame; the confidence is 0, as of all floors."""
        heatmap: Tensor = self.guide(clip.of_target(clip.frames))
        return Localization(heatmap, heatmap.new_zeros(len(heatmap)))
