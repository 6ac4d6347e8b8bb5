"""Training augmentation by name, on whole batches, drawn per clip."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

AUGMENTATIONS = ("none", "crop_flip", "crop_flip_roll")
ENLARGEMENT = 1.1  # LVS, EZ-VSL and FNAC resize to int(224 * 1.1) = 246 before a crop of 224
LARGEST_NOISE = 0.02  # of full scale; not from a paper, mild beside sounds at a tenth of it


def augmented_frames(frames: Tensor, name: str, rngs: Sequence[np.random.Generator]) -> Tensor:
    """Frames after the named augmentation; all frames of a clip move together.

    ``crop_flip`` enlarges by 1.1, crops a random window of the original size and mirrors one clip
    in two (LVS ``datasets/dataloader.py`` at 8fe8cbb, EZ-VSL ``datasets.py`` at 95ff5bf), and so
    does ``crop_flip_roll``. ``none`` returns the input.

    Args:
        frames: ``(B, T, 3, H, W)`` uint8.
        name: one of ``AUGMENTATIONS``.
        rngs: B generators, one of each (seed, epoch, clip).

    Returns:
        ``(B, T, 3, H, W)`` uint8.
    """
    if name == "none":
        return frames
    height, width = frames.shape[-2:]
    large = [int(height * ENLARGEMENT), int(width * ENLARGEMENT)]
    enlarged = tv.resize(frames, large, tv.InterpolationMode.BICUBIC, antialias=True)
    clips = []
    for clip, rng in zip(enlarged, rngs, strict=True):
        top = int(rng.integers(large[0] - height + 1))
        left = int(rng.integers(large[1] - width + 1))
        window = clip[..., top : top + height, left : left + width]
        clips.append(window.flip(-1) if rng.random() < 0.5 else window)
    return torch.stack(clips)


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
