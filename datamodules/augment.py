"""Training augmentation by name, on whole batches, drawn per clip."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

AUGMENTATIONS = ("none", "crop_flip", "crop_flip_roll")
ENLARGEMENT = 1.1  # LVS, EZ-VSL and FNAC resize to int(224 * 1.1) = 246 before a crop of 224
LARGEST_NOISE = 0.02  # of full scale; not from a paper, mild beside sounds at a tenth of it


def augmented_frames(
    frames: Tensor,
    name: str,
    rngs: Sequence[np.random.Generator],
    boxes: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Frames after the named augmentation, and their boxes; all frames of a clip move together.

    ``crop_flip`` enlarges by 1.1, crops a random window of the original size and mirrors one clip
    in two (LVS ``datasets/dataloader.py`` at 8fe8cbb, EZ-VSL ``datasets.py`` at 95ff5bf), and so
    does ``crop_flip_roll``. ``none`` returns the input.

    Args:
        frames: ``(B, T, 3, H, W)`` uint8.
        name: one of ``AUGMENTATIONS``.
        rngs: B generators, one of each (seed, epoch, clip).
        boxes: ``(B, K, 4)`` float32 xyxy in [0, 1] of the whole frame, NaN where absent.

    Returns:
        ``(B, T, 3, H, W)`` uint8; boxes as the new frames show them, NaN where nothing is left.
    """
    if name == "none":
        return frames, boxes
    height, width = frames.shape[-2:]
    large = [int(height * ENLARGEMENT), int(width * ENLARGEMENT)]
    enlarged = tv.resize(frames, large, tv.InterpolationMode.BICUBIC, antialias=True)
    clips = []
    moved = None if boxes is None else boxes.clone()
    for row, (clip, rng) in enumerate(zip(enlarged, rngs, strict=True)):
        top = int(rng.integers(large[0] - height + 1))
        left = int(rng.integers(large[1] - width + 1))
        window = clip[..., top : top + height, left : left + width]
        mirrored = rng.random() < 0.5
        clips.append(window.flip(-1) if mirrored else window)
        if moved is not None:
            scale = torch.tensor([large[1] / width, large[0] / height]).repeat(2)
            shift = torch.tensor([left / width, top / height]).repeat(2)
            moved[row] = _shown(moved[row] * scale - shift, mirrored=mirrored)
    return torch.stack(clips), moved


def _shown(boxes: Tensor, *, mirrored: bool) -> Tensor:
    """Boxes ``(K, 4)`` cut to the frame; NaN for those outside it."""
    cut = boxes.clamp(0, 1)
    if mirrored:
        cut = torch.stack([1 - cut[:, 2], cut[:, 1], 1 - cut[:, 0], cut[:, 3]], 1)
    gone = (cut[:, 2:] - cut[:, :2]).amin(1) <= 0
    return cut.masked_fill(gone[:, None], torch.nan)


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
