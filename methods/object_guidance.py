"""Object guidance: a map of a frozen classifier that never hears, mixed into the map of a method.

Published figures of the EZ-VSL family are mostly of mixed maps. The guide decides 60 % of such a
map in EZ-VSL and FNAC and 10 % in SLAVC, so a guided run says more about objects than about sounds
and stands in a row of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.clip import Clip, Localization
from methods.base import MethodCard
from methods.frontends import NormalizedFrames
from methods.two_stream import RESNET18
from methods.weights import load_weights
from metrics.errors import BenchError

PUBLISHED_SIZE = 224  # pixels that EZ-VSL takes the ranges of both maps over, test.py:103-107
GUIDED = "resnet18"  # the backbone whose maps have the cells of the guide
OBJECT_SCALE = 2.5  # SLAVC takes it for the highest value of the guide, test.py:169-186 at 05b429c

Mix = Callable[[Tensor, Tensor, float], Tensor]
"""Maps of the method ``(B, h, w)``, maps of the guide and the share of the first: mixed maps."""


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
    ``test.py:55-62,173-188`` at 95ff5bf). The network moves with what it is part of and is no
    other part of it: neither trained nor among its weights, so that the weights of a method fit
    with a guide and without.
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
        self._held = (net.requires_grad_(False).eval(),)  # in a tuple it is no submodule

    @property
    def net(self) -> torchvision.models.ResNet:
        """The frozen network."""
        return self._held[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ObjectGuide":
        self.net._apply(fn, recurse)
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Maps ``(B, H / 32, W / 32)`` float32 of frames ``(B, 3, H, W)`` uint8, squashed."""
        net = self.net
        pixels = net.maxpool(net.relu(net.bn1(net.conv1(self.normalized(frames)))))
        features: Tensor = net.layer4(net.layer3(net.layer2(net.layer1(pixels))))  # (B, 512, h, w)
        return features.abs().mean(1)


def object_guide(config: GuidanceConfig, *, backbone: str = GUIDED) -> ObjectGuide | None:
    """The guide that the settings ask for; None where they ask for none.

    Args:
        config: of the method.
        backbone: of the method's frames, which must have the guide's grid.

    Raises:
        BenchError: the share is outside [0, 1], the grids differ, or the weights cannot be had.
    """
    if not 0 <= config.guidance_alpha <= 1:
        raise BenchError(
            f"method.guidance_alpha={config.guidance_alpha} must be in [0, 1]; it is the share of "
            "the method's own map"
        )
    if config.object_guidance is None:
        return None
    if backbone != GUIDED:
        raise BenchError(
            "method.object_guidance has cells of 32 pixels and those of "
            f"method.backbone={backbone} have another size; use method.backbone={GUIDED}, or "
            "method.object_guidance=null"
        )
    return ObjectGuide(
        config.object_guidance, setting="method.object_guidance", without="for no guidance"
    )


def guided_card(card: MethodCard, map_range: tuple[float, float] | None = None) -> MethodCard:
    """The card of a guided method; maps mixed by their ranges have no range of their own."""
    return replace(card, object_guidance=True, map_range=map_range)


def guided(
    answer: Localization, guide: ObjectGuide | None, clip: Clip, alpha: float, mixed: Mix
) -> Localization:
    """An answer with its map mixed with what the guide sees in the target frames.

    The confidence stays that of the method's own map.

    Args:
        answer: of the method to the same clips.
        guide: None leaves the answer as it is.
        clip: B clips.
        alpha: share of the method's own map.
        mixed: :func:`mixed_by_range` or :func:`mixed_calibrated`.
    """
    if guide is None:
        return answer
    seen = guide(clip.of_target(clip.frames))
    return answer._replace(heatmap=mixed(answer.heatmap, seen, alpha))


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
        ValueError: the grids differ.
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


def mixed_calibrated(heard: Tensor, seen: Tensor, alpha: float) -> Tensor:
    """Both maps brought to [0, 1] by what they can be and mixed, as SLAVC does it.

    ``alpha * (h + 1/t) / (2/t) + (1 - alpha) * seen / 2.5``, h being the cosines over the
    temperature t, which cancels (SLAVC ``test.py:169-186`` at 05b429c). Nothing in it depends on
    the map, so it may be done on the grid whatever linear interpolation follows, bicubic too.

    Args:
        heard: ``(B, h, w)`` float cosines.
        seen: ``(B, h, w)`` maps of the guide; above 2.5 they are not cut.
        alpha: share of ``heard``.

    Returns:
        ``(B, h, w)``.

    Raises:
        ValueError: the grids differ.
    """
    _require_one_grid(heard, seen)
    return alpha * (heard + 1) / 2 + (1 - alpha) * seen / OBJECT_SCALE


def _require_one_grid(heard: Tensor, seen: Tensor) -> None:
    if heard.shape != seen.shape:
        raise ValueError(
            f"maps must share a grid, got {tuple(heard.shape)} and {tuple(seen.shape)}"
        )
