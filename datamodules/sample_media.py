"""Files of miniatures: frames and sounds of the generator of ``synthetic``, in usual formats."""

import hashlib
import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torchvision.io import write_jpeg
from torchvision.transforms.v2 import functional as tv

from datamodules.clip_folder import MINIATURE_MARK
from datamodules.synthetic_generator import SyntheticClip, SyntheticSpec, generate_clip

SAMPLE_RATES_HZ = (16000, 22050, 44100, 48000)
CLIP_SECONDS = 5.0  # VGG-Sound has 10: half of it keeps 240 clips near 100 MB
FRAME_SIZE = (240, 320)  # height and width: not square, as most frames are
DRAWN_SIZE = 240  # the generator draws squares; they are stretched to FRAME_SIZE


def write_clips(root: Path, ids: Sequence[str], num_test: int, seed: int) -> list[SyntheticClip]:
    """Writes ``frames/<id>.jpg`` and ``audio/<id>.wav``; the first ``num_test`` are test clips.

    Sampling rates take turns, and every third sound is stereo.

    Args:
        root: exists.
        ids: of the clips.
        num_test: how many of them are test clips.
        seed: of the generator.

    Returns:
        What was drawn, in the order of the ids.
    """
    frames, sounds = root / "frames", root / "audio"
    for folder in (frames, sounds):
        folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for row, clip_id in enumerate(ids):
        split, index = ("test", row) if row < num_test else ("train", row - num_test)
        rate_hz = SAMPLE_RATES_HZ[row % len(SAMPLE_RATES_HZ)]
        spec = SyntheticSpec(DRAWN_SIZE, rate_hz, CLIP_SECONDS)
        clip = generate_clip(seed, index, spec, split=split)
        write_frame(frames / f"{clip_id}.jpg", clip.frames[0])
        write_sound(sounds / f"{clip_id}.wav", clip.sound[0], rate_hz, stereo=row % 3 == 0)
        clips.append(clip)
    return clips


def video_id(row: int, seed: int) -> str:
    """A made-up YouTube id; every eleventh starts with a dash, every seventh has underscores.

    >>> [video_id(row, seed=0) for row in (0, 1, 3)]
    ['-02oASyhum5', '1trQylKFVA3', '4zi0_-cxGt_']
    """
    digest = hashlib.sha256(f"{seed}:{row}".encode()).digest()
    alphabet = string.ascii_letters + string.digits
    letters = "".join(alphabet[byte % len(alphabet)] for byte in digest[:11])
    if row % 11 == 0:
        return "-" + letters[1:]
    return f"{letters[:4]}_-{letters[6:10]}_" if row % 7 == 3 else letters


def write_frame(path: Path, frame: NDArray[np.uint8], size: tuple[int, int] = FRAME_SIZE) -> None:
    """Writes a square frame ``(H, W, 3)`` as a JPEG of that height and width."""
    drawn = torch.from_numpy(frame).permute(2, 0, 1)  # (3, H, W)
    wide = tv.resize(drawn, list(size), tv.InterpolationMode.BICUBIC, antialias=True)
    write_jpeg(wide, str(path), quality=92)


def write_sound(path: Path, sound: NDArray[np.int16], rate_hz: int, *, stereo: bool) -> None:
    """Writes ``(S,)`` as 16-bit WAV; the two channels of a stereo sound differ in level."""
    channels = np.stack([sound, sound // 2], axis=1) if stereo else sound
    soundfile.write(path, channels, rate_hz, subtype="PCM_16")


def write_text(path: Path, text: str) -> None:
    """Writes a text with the line ends that it has."""
    path.write_text(text, encoding="utf-8", newline="")


def mark_as_miniature(root: Path) -> None:
    """Writes the file by which a run knows that it must not be ranked."""
    write_text(root / MINIATURE_MARK, "Made by bench sample-data; no run is ranked.\n")
