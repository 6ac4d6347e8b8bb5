"""Miniatures: small data roots in a published layout, so that a reader runs without a download.

Frames and sounds come from the generator of ``synthetic``; ids, lists and annotations follow the
published format of the data set.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.extended import LABEL
from datamodules.flickr_annotations import CANVAS, CORNERS
from datamodules.id_lists import HEADER
from datamodules.pixel_boxes import GRID
from datamodules.sample_ave import write_ave
from datamodules.sample_media import (
    CLIP_SECONDS,
    DRAWN_SIZE,
    SAMPLE_RATES_HZ,
    mark_as_miniature,
    video_id,
    write_clips,
    write_frame,
    write_sound,
    write_text,
)
from datamodules.sample_music import write_duets, write_mixable_solos, write_solos
from datamodules.synthetic_generator import CLASSES, SyntheticSpec, generate_clip
from metrics.errors import BenchError, did_you_mean

TEST_SHARE = 0.25
LEAKED_CLIPS = 2  # test clips that also stand in the training list, as in the published lists


@dataclass(frozen=True)
class Sample:
    """What was written."""

    root: Path
    num_train: int  # rows of the training list, leaked ones included
    num_test: int
    has_places: bool = True  # whether maps can be scored on it


def write_sample(data: str, root: Path, *, clips: int = 240, seed: int = 0) -> Sample:
    """Writes a miniature of a data set; the same seed gives the same bytes.

    The mark of a miniature is written first, so that what a killed process left is known as one.

    Args:
        data: name of the data set, a key of ``SAMPLES``.
        root: a folder that is empty or does not exist yet.
        clips: number of clips; a quarter of them is the test set.
        seed: seed of the generator, 0 or more.

    Raises:
        BenchError: no miniature of this data set exists, the folder is not empty or cannot be
            written, too few clips are asked for, or the seed is negative.
    """
    if data == "synthetic":
        raise BenchError("synthetic needs no miniature: it is generated when it is first used")
    if data not in SAMPLES:
        raise BenchError(
            f"no miniature of {data!r} exists.{did_you_mean(data, SAMPLES)} "
            f"Use one of: {', '.join(SAMPLES)}"
        )
    if clips < 8:
        raise BenchError(f"--clips {clips} is too few; a miniature needs 8 or more")
    if seed < 0:
        raise BenchError(f"--seed {seed} must be 0 or more")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise BenchError(f"{root} is not an empty folder; give --root a new one")
    try:
        root.mkdir(parents=True, exist_ok=True)
        mark_as_miniature(root)
        return SAMPLES[data](root, clips, seed)
    except OSError as error:
        raise BenchError(
            f"{root} cannot be written ({error.strerror or error}); give --root DIR with space "
            "that you may write to"
        ) from error


def write_vggss_sample(root: Path, clips: int, seed: int) -> Sample:
    """A miniature of VGG-SS: see ``datamodules.vggss`` for the layout.

    Every eleventh id starts with a dash and every seventh holds underscores, and one clip in eight
    is a second cut of its neighbour's video. ``train.txt`` holds two test clips, so the reader's
    leakage rule has work to do.
    """
    num_test = round(clips * TEST_SHARE)
    ids = vggss_ids(clips, seed)
    test_ids, train_ids = ids[:num_test], ids[num_test:]
    drawn = write_clips(root, ids, num_test, seed)
    entries = [
        {"file": each, "class": CLASSES[clip.labels[0]], "bbox": clip.source_box.tolist()}
        for each, clip in zip(test_ids, drawn[:num_test], strict=True)
    ]
    write_text(root / "vggss.json", json.dumps(entries))
    write_text(root / "vggss_test.csv", "".join(f"{clip_id}\r\n" for clip_id in test_ids))
    return _with_training_list(root, train_ids, test_ids)


def write_vggss_extended_sample(root: Path, clips: int, seed: int) -> Sample:
    """A miniature of VGG-SS with a negative for each test clip, in SLAVC's list."""
    sample = write_vggss_sample(root, clips, seed)
    ids = vggss_ids(clips, seed)
    _write_negatives(root / "vggss_test_plus_silent.csv", ids[: sample.num_test])
    return sample


def write_flickr_sample(root: Path, clips: int, seed: int) -> Sample:
    """A miniature of Flickr-SoundNet: see ``datamodules.flickr`` for the layout.

    Three simulated annotators draw each test frame and half of the training frames, and one in four
    of those misses its third annotator.
    """
    num_test = round(clips * TEST_SHARE)
    ids = flickr_ids(clips, seed)
    test_ids, train_ids = ids[:num_test], ids[num_test:]
    drawn = write_clips(root, ids, num_test, seed)
    (root / "Annotations").mkdir()
    labelled = num_test + len(train_ids) // 2
    for row, (clip_id, clip) in enumerate(zip(ids[:labelled], drawn[:labelled], strict=True)):
        complete = row < num_test or row % 4
        boxes = clip.annotators[0].reshape(-1, 4)[: 3 if complete else 2]
        write_text(root / "Annotations" / f"{clip_id}.xml", _annotation(boxes))
    write_text(root / "flickr_test.csv", "".join(f"{each},0\n" for each in test_ids))
    return _with_training_list(root, train_ids, test_ids)


def write_flickr_extended_sample(root: Path, clips: int, seed: int) -> Sample:
    """A miniature of Flickr-SoundNet with a negative for each test pair, in SLAVC's list."""
    sample = write_flickr_sample(root, clips, seed)
    ids = flickr_ids(clips, seed)
    _write_negatives(root / "flickr_test_plus_silent.csv", ids[: sample.num_test])
    return sample


def write_is3_sample(root: Path, clips: int, seed: int) -> Sample:
    """A miniature of IS3: see ``datamodules.is3``; each frame comes once for each of two objects.

    The list ``train.txt`` holds the samples of further frames in the same folders.
    """
    frames = max(2, round(clips * TEST_SHARE / 2))
    entries, listed = [], []
    for folder in ("visual_frames", "audio_wav"):
        (root / folder).mkdir(parents=True)
    for number in range(max(2, clips // 2)):
        split, index = ("test", number) if number < frames else ("train", number - frames)
        spec = SyntheticSpec(DRAWN_SIZE, SAMPLE_RATES_HZ[0], CLIP_SECONDS)
        clip = generate_clip(seed, index, spec, split=split)
        names = [CLASSES[label] for label in clip.classes[:2]]
        for place, label in enumerate(clip.classes[:2].tolist()):
            sample_id = f"{names[0]}_{names[1]}_{seed}{number:05d}_{names[place]}"
            sound = generate_clip(seed, len(CLASSES) * number + label, spec, split=split).sound[0]
            write_frame(root / "visual_frames" / f"{sample_id}.jpg", clip.frames[0])
            write_sound(root / "audio_wav" / f"{sample_id}.wav", sound, SAMPLE_RATES_HZ[0],
                        stereo=False)  # fmt: skip
            box = (clip.boxes[0, place] * GRID).round().tolist()
            if split == "test":
                image = f"visual_frames/{sample_id}.jpg"
                entries.append({"image": image, "audio": f"audio_wav/{sample_id}.wav",
                                "gt_box": box})  # fmt: skip
            else:
                listed.append(sample_id)
    write_text(root / "synthetic3240_bbox.json", json.dumps(entries))
    write_text(root / "train.txt", "\n".join(listed))
    return Sample(root, len(listed), len(entries))


def write_ave_sample(root: Path, clips: int, seed: int) -> Sample:
    """A miniature of AVE: see ``datamodules.sample_ave``."""
    return Sample(root, *write_ave(root, clips, seed), has_places=False)


def vggss_ids(count: int, seed: int) -> list[str]:
    """Distinct made-up ids ``<11 characters>_<6 digits>``, some with dashes and underscores.

    >>> vggss_ids(2, seed=0)
    ['-02oASyhum5_000010', '1trQylKFVA3_000020']
    """
    ids: list[str] = []
    for row in range(count):
        video = ids[-1][:11] if row % 8 == 7 else video_id(row, seed)
        ids.append(f"{video}_{10 * (row + 1) % 600:06d}")
    return ids


def flickr_ids(count: int, seed: int) -> list[str]:
    """Distinct made-up numbers of 7 to 11 digits.

    >>> flickr_ids(2, seed=0)
    ['2660000', '654500001']
    """
    digests = (hashlib.sha256(f"{seed}:{row}".encode()).digest() for row in range(count))
    return [
        f"{1 + digest[0] % 9}{int.from_bytes(digest[1:4], 'big') % 10 ** (3 + row % 4)}{row:04d}"
        for row, digest in enumerate(digests)
    ]


SAMPLES: dict[str, Callable[[Path, int, int], Sample]] = {
    "vggss": write_vggss_sample,
    "vggss_extended": write_vggss_extended_sample,
    "flickr": write_flickr_sample,
    "flickr_extended": write_flickr_extended_sample,
    "is3": write_is3_sample,
    "ave": write_ave_sample,
    "music_solo": lambda root, clips, seed: Sample(root, *write_solos(root, clips, seed)),
    "music_duet": lambda root, clips, seed: Sample(root, *write_duets(root, clips, seed)),
    "music_synthetic": lambda root, clips, seed: Sample(
        root, *write_mixable_solos(root, clips, seed)
    ),
}


def _with_training_list(root: Path, train_ids: Sequence[str], test_ids: Sequence[str]) -> Sample:
    listed = [*train_ids, *test_ids[:LEAKED_CLIPS]]
    write_text(root / "train.txt", "\n".join(listed))
    return Sample(root, len(listed), len(test_ids))


def _write_negatives(path: Path, ids: Sequence[str]) -> None:
    """Each frame with the sound of the next one."""
    pairs = zip(ids, [*ids[1:], ids[0]], strict=True)
    rows = [HEADER, *(f"{frame},{sound},{LABEL}" for frame, sound in pairs)]
    write_text(path, "\n".join(rows) + "\n")


def _annotation(boxes: NDArray[np.float64]) -> str:
    """XML of Flickr-SoundNet: a box per annotator in px of 256, after a child that nobody reads."""
    drawn = []
    for number, box in enumerate((boxes * CANVAS).round().astype(int), start=1):
        edges = "".join(f"<{name}>{edge}</{name}>" for name, edge in zip(CORNERS, box, strict=True))
        drawn.append(f"<object><bbox><id>{number}</id>{edges}</bbox></object>")
    return f"<annotation>{''.join(drawn)}</annotation>\n"
