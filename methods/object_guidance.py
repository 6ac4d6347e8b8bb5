"""Object guidance: a map of a frozen classifier that never hears, mixed into the map of a method.

Published figures of the EZ-VSL family are mostly of mixed maps. The guide decides 60 % of such a
map in EZ-VSL and FNAC and 10 % in SLAVC, so a guided run says more about objects than about sounds
and stands in a row of its own.
"""

from dataclasses import dataclass, replace

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import MethodCard
from methods.frontends import NormalizedFrames
from methods.two_stream import RESNET18
from methods.weights import load_weights
from metrics.errors import BenchError

PUBLISHED_SIZE = 224  # pixels that EZ-VSL takes the ranges of both maps over, test.py:103-107
OBJECT_SCALE = 2.5  # SLAVC takes it for the highest value of the guide, test.py:169-186 at 05b429c


@dataclass
class GuidanceConfig:
    """Settings ``method.*`` of a method that takes object guidance.

    The weight is that of the method's own map. EZ-VSL and FNAC have 0.4. SLAVC has 0.4 as the
    default of its parser and 0.9 in its scripts for VGG-Sound; a method of it takes the latter.
    """

    object_guidance: str | None = None  # weights of the guide: a file, a timm hub name, or null
    guidance_alpha: float = 0.4  # share of the method's own map, in [0, 1]


class ObjectGuide(nn.Module):
    """ResNet-18 as it was trained on ImageNet, frozen: frames to a map of how much is seen there.

    The mean over channels of ``|layer4|``, which a ReLU ends, so that no value is below 0 (EZ-VSL
    ``test.py:55-62,173-188`` at 95ff5bf). It is in evaluation mode whatever it is part of.
    """

    def __init__(self, weights: str, *, setting: str, without: str | None) -> None:
        """Loads the weights.

        Args:
            weights: path of a torchvision or timm state dict, or a timm hub name.
            setting: what chose them, for messages.
            without: what leaving them out is good for, for messages; None where it is an error.

        Raises:
            BenchError: the weights cannot be had, or are of another network.
        """
        super().__init__()
        self.normalized = NormalizedFrames()
        net = torchvision.models.resnet18(weights=None)
        load_weights(net, weights, RESNET18, setting=setting, without=without)
        net.fc, net.avgpool = nn.Identity(), nn.Identity()
        self.net = net.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "ObjectGuide":
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Maps ``(B, H / 32, W / 32)`` float32 of frames ``(B, 3, H, W)`` uint8, squashed."""
        net = self.net
        pixels = net.maxpool(net.relu(net.bn1(net.conv1(self.normalized(frames)))))
        features: Tensor = net.layer4(net.layer3(net.layer2(net.layer1(pixels))))  # (B, 512, h, w)
        return features.abs().mean(1)


def object_guide(config: GuidanceConfig) -> ObjectGuide | None:
    """The guide that the settings ask for; None where they ask for none.

    Raises:
        BenchError: the share is outside [0, 1], or the weights cannot be had.
    """
    if not 0 <= config.guidance_alpha <= 1:
        raise BenchError(
            f"method.guidance_alpha={config.guidance_alpha} must be in [0, 1]; it is the share of "
            "the method's own map"
        )
    if config.object_guidance is None:
        return None
    return ObjectGuide(
        config.object_guidance, setting="method.object_guidance", without="for no guidance"
    )


def guided_card(card: MethodCard) -> MethodCard:
    """The card of a guided method, whose maps have no fixed range any more."""
    return replace(card, object_guidance=True, map_range=None)


def mixed_by_range(heard: Tensor, seen: Tensor, alpha: float) -> Tensor:
    """Both maps divided by their ranges and mixed, as EZ-VSL and FNAC do it.

    ``alpha * norm(heard) + (1 - alpha) * norm(seen)``, norm being the min-max of each map upsampled
    to 224 x 224, bilinear with aligned corners (EZ-VSL ``test.py:96-109`` at 95ff5bf, which then
    takes the min-max once more: so does every protocol but those of absolute thresholds).

    The answer is on the grid. Upsampling is linear and keeps constants, so under that same
    interpolation the answer becomes the published map to rounding. The ranges are those of the
    upsampled maps, since 223 pixels hold no whole number of the 6 steps of a grid of 7 cells: its
    inner cells lie between pixels, and the range of the cells is a little wider.

    Args:
        heard: ``(B, h, w)`` float maps of the method, on any scale.
        seen: ``(B, h, w)`` maps of the guide.
        alpha: share of ``heard``.

    Returns:
        ``(B, h, w)``. A map of one value adds nothing.

    Raises:
        BenchError: the grids differ.
    """
    _require_one_grid(heard, seen)
    return alpha * _by_range(heard) + (1 - alpha) * _by_range(seen)


def _by_range(maps: Tensor) -> Tensor:
    """Maps ``(B, h, w)`` whose upsampled pixels span [0, 1]."""
    pixels = F.interpolate(
        maps[:, None], size=(PUBLISHED_SIZE,) * 2, mode="bilinear", align_corners=True
    ).flatten(1)  # (B, n)
    low, high = pixels.amin(1)[:, None, None], pixels.amax(1)[:, None, None]
    return (maps - low) / torch.where(high > low, high - low, 1)


def mixed_calibrated(heard: Tensor, seen: Tensor, alpha: float, temperature: float) -> Tensor:
    """Both maps brought to [0, 1] by what they can be and mixed, as SLAVC does it.

    ``alpha * (heard + 1/t) / (2/t) + (1 - alpha) * seen / 2.5`` (SLAVC ``test.py:169-186`` at
    05b429c). Nothing in it depends on the map, so it may be done on the grid whatever linear
    interpolation follows, bicubic too.

    Args:
        heard: ``(B, h, w)`` float cosines divided by the temperature.
        seen: ``(B, h, w)`` maps of the guide; above 2.5 they are not cut.
        alpha: share of ``heard``.
        temperature: t.

    Returns:
        ``(B, h, w)``.

    Raises:
        BenchError: the grids differ.
    """
    _require_one_grid(heard, seen)
    scores = (heard * temperature + 1) / 2
    return alpha * scores + (1 - alpha) * seen / OBJECT_SCALE


def _require_one_grid(heard: Tensor, seen: Tensor) -> None:
    if heard.shape != seen.shape:
        (height, width), (guided_height, guided_width) = heard.shape[1:], seen.shape[1:]
        raise BenchError(
            f"the maps have {height} x {width} cells and those of method.object_guidance "
            f"{guided_height} x {guided_width}; use method.backbone=resnet18, or "
            "method.object_guidance=null"
        )
