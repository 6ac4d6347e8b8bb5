"""Miniatures: small data roots in a published layout, so that a reader runs without a download.

Frames and sounds come from the generator of ``synthetic``; ids, lists and annotations follow the
published format of the data set.
"""

import hashlib
import json
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torchvision.io import write_jpeg
from torchvision.transforms.v2 import functional as tv

from datamodules.clip_folder import MINIATURE_MARK
from datamodules.synthetic_generator import CLASSES, SyntheticClip, SyntheticSpec, generate_clip
from metrics.errors import BenchError

SAMPLE_RATES_HZ = (16000, 22050, 44100, 48000)
CLIP_SECONDS = 5.0  # VGG-Sound has 10: half of it keeps 240 clips near 100 MB
FRAME_SIZE = (240, 320)  # height and width: not square, as most frames are
DRAWN_SIZE = 240  # the generator draws squares; they are stretched to FRAME_SIZE
TEST_SHARE = 0.25
LEAKED_CLIPS = 2  # test clips that also stand in the training list, as in the published lists


@dataclass(frozen=True)
class Sample:
    """What was written."""

    root: Path
    num_train: int  # rows of the training list, leaked ones included
    num_test: int


def write_sample(data: str, root: Path, *, clips: int = 240, seed: int = 0) -> Sample:
    """Writes a miniature of a data set; the same seed gives the same bytes.

    Args:
        data: name of the data set, a key of ``SAMPLES``.
        root: a folder that is empty or does not exist yet.
        clips: number of clips; a quarter of them is the test set.
        seed: seed of the generator.

    Raises:
        BenchError: no miniature of this data set exists, the folder is not empty, or too few
            clips are asked for.
    """
    if data not in SAMPLES:
        raise BenchError(f"no miniature of {data!r} exists; use one of: {', '.join(SAMPLES)}")
    if clips < 8:
        raise BenchError(f"--clips {clips} is too few; a miniature needs 8 or more")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise BenchError(f"{root} is not an empty folder; give --root a new one")
    return SAMPLES[data](root, clips, seed)


def write_vggss_sample(root: Path, clips: int, seed: int) -> Sample:
    """A miniature of VGG-SS: see ``datamodules.vggss`` for the layout.

    Every eleventh id starts with a dash and every seventh holds underscores. Sampling rates take
    turns, every third sound is stereo, and one clip in eight is a second cut of its neighbour's
    video. ``train.txt`` holds two test clips, so the reader's leakage rule has work to do.
    """
    num_test = round(clips * TEST_SHARE)
    ids = vggss_ids(clips, seed)
    test_ids, train_ids = ids[:num_test], ids[num_test:]
    for folder in ("frames", "audio"):
        (root / folder).mkdir(parents=True)
    entries = []
    for row, clip_id in enumerate(ids):
        split, index = ("test", row) if row < num_test else ("train", row - num_test)
        rate_hz = SAMPLE_RATES_HZ[row % len(SAMPLE_RATES_HZ)]
        spec = SyntheticSpec(DRAWN_SIZE, rate_hz, CLIP_SECONDS)
        clip = generate_clip(seed, index, spec, split=split)
        _write_frame(root / "frames" / f"{clip_id}.jpg", clip)
        _write_sound(root / "audio" / f"{clip_id}.wav", clip.sound[0], rate_hz, stereo=row % 3 == 0)
        if split == "test":
            entries.append(_entry(clip_id, clip))
    _write(root / "vggss.json", json.dumps(entries))
    _write(root / MINIATURE_MARK, "Made by bench sample-data; no run is ranked.\n")
    _write(root / "vggss_test.csv", "".join(f"{clip_id}\r\n" for clip_id in test_ids))
    _write(root / "train.txt", "\n".join([*train_ids, *test_ids[:LEAKED_CLIPS]]))
    return Sample(root, len(train_ids) + LEAKED_CLIPS, num_test)


def vggss_ids(count: int, seed: int) -> list[str]:
    """Distinct made-up ids ``<11 characters>_<6 digits>``, some with dashes and underscores.

    >>> vggss_ids(2, seed=0)
    ['-02oASyhum5_000010', '1trQylKFVA3_000020']
    """
    ids: list[str] = []
    for row in range(count):
        video = ids[-1][:11] if row % 8 == 7 else _video(row, seed)
        ids.append(f"{video}_{10 * (row + 1) % 600:06d}")
    return ids


SAMPLES: dict[str, Callable[[Path, int, int], Sample]] = {"vggss": write_vggss_sample}


def _video(row: int, seed: int) -> str:
    digest = hashlib.sha256(f"{seed}:{row}".encode()).digest()
    alphabet = string.ascii_letters + string.digits
    letters = "".join(alphabet[byte % len(alphabet)] for byte in digest[:11])
    if row % 11 == 0:
        return "-" + letters[1:]
    return f"{letters[:4]}_-{letters[6:10]}_" if row % 7 == 3 else letters


def _write_frame(path: Path, clip: SyntheticClip) -> None:
    frame = torch.from_numpy(clip.frames[0]).permute(2, 0, 1)  # (3, H, W)
    frame = tv.resize(frame, list(FRAME_SIZE), tv.InterpolationMode.BICUBIC, antialias=True)
    write_jpeg(frame, str(path), quality=92)


def _write_sound(path: Path, sound: NDArray[np.int16], rate_hz: int, *, stereo: bool) -> None:
    """16-bit WAV; the two channels of a stereo sound differ in level."""
    channels = np.stack([sound, sound // 2], axis=1) if stereo else sound
    soundfile.write(path, channels, rate_hz, subtype="PCM_16")


def _entry(clip_id: str, clip: SyntheticClip) -> dict[str, object]:
    """One entry of ``vggss.json``: the box of the object that sounds."""
    return {"file": clip_id, "class": CLASSES[clip.labels[0]], "bbox": clip.source_box.tolist()}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")
