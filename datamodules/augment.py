"""Training augmentation by name, on whole batches, drawn per clip."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

AUGMENTATIONS = ("none", "crop_flip", "crop_flip_roll", "moco")
ENLARGEMENT = 1.1  # LVS, EZ-VSL and FNAC resize to int(224 * 1.1) = 246 before a crop of 224
LARGEST_NOISE = 0.02  # of full scale; not from a paper, mild beside sounds at a tenth of it
# SSL-TIE datasets/dataloader.py at c49e6a9, moco_v2
CROP_AREA = (0.3, 1.0)  # share of the frame
CROP_RATIO = (3 / 4, 4 / 3)  # width / height; this and the tries are torchvision's defaults
CROP_TRIES = 10
JITTER_SHARE, JITTER, HUE_JITTER = 0.8, 0.4, 0.1
GRAY_SHARE = 0.2
BLUR_SHARE, BLUR_PX = 0.5, (0.1, 2.0)


def augmented_frames(
    frames: Tensor, name: str, rngs: Sequence[np.random.Generator], boxes: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Frames after the named augmentation, and boxes where it moved them.

    All frames of a clip are treated alike.

    - ``crop_flip`` enlarges by 1.1, crops a random window of the original size and mirrors one clip
      in two (LVS ``datasets/dataloader.py`` at 8fe8cbb, EZ-VSL ``datasets.py`` at 95ff5bf), and so
      does ``crop_flip_roll``.
    - ``moco`` enlarges a random window of 30 to 100 % of the area to the original size, jitters
      brightness, contrast, saturation and hue, drops the colours of some clips, blurs some and
      mirrors one in two (``moco_v2`` of SSL-TIE ``datasets/dataloader.py`` at c49e6a9; its blur is
      PIL's approximation of a Gaussian, this is the Gaussian to three times its width).
    - ``none`` returns the input.

    Args:
        frames: ``(B, T, 3, H, W)`` uint8.
        name: one of ``AUGMENTATIONS``.
        rngs: B generators, one of each (seed, epoch, clip).
        boxes: ``(B, K, 4)`` float32 xyxy in fractions of the frame, NaN where there are fewer.

    Returns:
        ``(B, T, 3, H, W)`` uint8 and, where boxes were given, ``(B, K, 4)`` float32 in [0, 1]: the
        part of each box inside the window. A box that lies outside of it becomes NaN.
    """
    if name == "none":
        return frames, boxes
    cropped = _resized_crops(frames, rngs) if name == "moco" else _enlarged_crops(frames, rngs)
    clips, places = zip(*cropped, strict=True)
    if boxes is None:
        return torch.stack(clips), None
    moved = [_moved(own, place) for own, place in zip(boxes, places, strict=True)]
    return torch.stack(clips), torch.stack(moved)


def augmented_sound(waveform: Tensor, name: str, rngs: Sequence[np.random.Generator]) -> Tensor:
    """Sound after the named augmentation; all segments of a clip are treated alike.

    ``crop_flip_roll`` turns the sound in time by a random amount and adds white noise of a random
    level up to ``LARGEST_NOISE``. The other names return the input.

    Args:
        waveform: ``(B, T, S)`` float32 in [-1, 1].
        name: one of ``AUGMENTATIONS``.
        rngs: B generators, one of each (seed, epoch, clip).

    Returns:
        ``(B, T, S)`` float32 in [-1, 1].
    """
    if name != "crop_flip_roll":
        return waveform
    clips = []
    for clip, rng in zip(waveform, rngs, strict=True):
        rolled = clip.roll(int(rng.integers(clip.shape[-1])), -1)
        noise = torch.from_numpy(rng.standard_normal(tuple(clip.shape), dtype=np.float32))
        clips.append(rolled + LARGEST_NOISE * rng.random() * noise)
    return torch.stack(clips).clamp(-1, 1)


class _Window(NamedTuple):
    """The part of a frame that is shown, in fractions of it, and whether it is mirrored."""

    left: float
    top: float
    width: float
    height: float
    mirrored: bool


def _enlarged_crops(
    frames: Tensor, rngs: Sequence[np.random.Generator]
) -> Iterator[tuple[Tensor, _Window]]:
    """Clips ``(T, 3, H, W)`` cut from their enlargement."""
    height, width = frames.shape[-2:]
    large = [int(height * ENLARGEMENT), int(width * ENLARGEMENT)]
    enlarged = tv.resize(frames, large, tv.InterpolationMode.BICUBIC, antialias=True)
    for clip, rng in zip(enlarged, rngs, strict=True):
        top = int(rng.integers(large[0] - height + 1))
        left = int(rng.integers(large[1] - width + 1))
        cut = clip[..., top : top + height, left : left + width]
        mirrored = bool(rng.random() < 0.5)
        place = _Window(
            left / large[1], top / large[0], width / large[1], height / large[0], mirrored
        )
        yield cut.flip(-1) if mirrored else cut, place


def _resized_crops(
    frames: Tensor, rngs: Sequence[np.random.Generator]
) -> Iterator[tuple[Tensor, _Window]]:
    """Clips ``(T, 3, H, W)`` enlarged from a part of them, in other colours."""
    height, width = frames.shape[-2:]
    for clip, rng in zip(frames, rngs, strict=True):
        top, left, rows, columns = _drawn_crop(height, width, rng)
        cut = clip[..., top : top + rows, left : left + columns]
        shown = tv.resize(cut, [height, width], tv.InterpolationMode.BILINEAR, antialias=True)
        shown = _recoloured(shown, rng)
        mirrored = bool(rng.random() < 0.5)
        place = _Window(left / width, top / height, columns / width, rows / height, mirrored)
        yield shown.flip(-1) if mirrored else shown, place


def _drawn_crop(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a window of random area and shape; at worst the frame."""
    for _ in range(CROP_TRIES):
        area = height * width * rng.uniform(*CROP_AREA)
        ratio = math.exp(rng.uniform(math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])))
        columns, rows = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < columns <= width and 0 < rows <= height:
            top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
            return int(top), int(left), rows, columns
    return 0, 0, height, width


def _recoloured(clip: Tensor, rng: np.random.Generator) -> Tensor:
    """A clip ``(T, 3, H, W)`` uint8 after jitter of its colours, loss of them, and blur."""
    if rng.random() < JITTER_SHARE:
        clip = _jittered(clip, rng)
    if rng.random() < GRAY_SHARE:
        clip = tv.rgb_to_grayscale(clip, num_output_channels=3)
    if rng.random() < BLUR_SHARE:
        sigma = float(rng.uniform(*BLUR_PX))
        size = 2 * math.ceil(3 * sigma) + 1
        clip = tv.gaussian_blur(clip, [size, size], [sigma, sigma])
    return clip


def _jittered(clip: Tensor, rng: np.random.Generator) -> Tensor:
    """The four changes of colour in random order."""
    changes = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
    amounts = [*rng.uniform(1 - JITTER, 1 + JITTER, 3), rng.uniform(-HUE_JITTER, HUE_JITTER)]
    for change in rng.permutation(len(changes)):
        clip = changes[change](clip, float(amounts[change]))
    return clip


def _moved(boxes: Tensor, window: _Window) -> Tensor:
    """Boxes ``(K, 4)`` in fractions of the window; NaN where it shows nothing of a box."""
    origin = torch.tensor([window.left, window.top] * 2, dtype=torch.float64)
    extent = torch.tensor([window.width, window.height] * 2, dtype=torch.float64)
    left, top, right, bottom = ((boxes - origin) / extent).clamp(0, 1).unbind(-1)
    shown = (right > left) & (bottom > top)
    if window.mirrored:
        left, right = 1 - right, 1 - left
    moved = torch.stack([left, top, right, bottom], -1).float()
    return moved.where(shown.unsqueeze(-1), torch.nan)
