"""A miniature of AVE: annotations, order files, and the frames and sounds of ten seconds."""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from datamodules.ave_annotations import CATEGORIES, ORDER_KEY, SEGMENTS, AveRow
from datamodules.sample_media import video_id, write_frame, write_sound, write_text
from datamodules.synthetic_generator import SyntheticSpec, generate_clip
from datamodules.synthetic_knobs import SyntheticKnobs

TEST_SHARE, VAL_SHARE = 0.25, 0.125  # AVE has 0.1 each, of which a miniature would have too few
DRAWN_SIZE, FRAME_SIZE = 96, (96, 128)  # small, for there are ten frames of each clip
RATES_HZ = (16000, 22050)
WHOLE_SHARE = 0.66  # of the clips, whose event fills all ten seconds: 2,750 of 4,143 in AVE
EVENTS = 11  # purpose of the random numbers, the first of their seed
KNOBS = SyntheticKnobs(segments=SEGMENTS, motion="pulse")


def write_ave(root: Path, clips: int, seed: int) -> tuple[int, int]:
    """Writes a miniature: see ``datamodules.ave`` for the layout.

    The class that sounds is that of its number among the categories. Outside its seconds a clip is
    silent; its objects change in size or brightness all the time. The last two training clips are
    a second event of the first test video and of the first validation video, so the rules of
    leakage have work to do.

    Args:
        root: exists or not.
        clips: rows of the annotations, 8 or more.
        seed: of the generator.

    Returns:
        Numbers of training rows, shared ones included, and of test rows.
    """
    num_test, num_val = round(clips * TEST_SHARE), max(1, round(clips * VAL_SHARE))
    parts = {"test": num_test, "val": num_val, "train": clips - num_test - num_val - 2}
    rows: list[AveRow] = []
    listed: dict[str, list[AveRow]] = {}
    for split, count in parts.items():
        listed[split] = [
            _write_clip(root, split, index, len(rows) + index, seed) for index in range(count)
        ]
        rows += listed[split]
    for split in ("test", "val"):
        first = listed[split][0]
        other = (first.category + 1) % len(CATEGORIES)
        listed["train"].append(first._replace(category=other, start=0, end=3))
    _write_lists(root, listed)
    return len(listed["train"]), num_test


def _write_clip(root: Path, split: str, index: int, number: int, seed: int) -> AveRow:
    """Frames and sound of a video, and the row that annotates them."""
    rate_hz = RATES_HZ[number % len(RATES_HZ)]
    clip = generate_clip(seed, index, SyntheticSpec(DRAWN_SIZE, rate_hz), KNOBS, split=split)
    start, end = _event(seed, number)
    row = AveRow(video_id(number, seed), int(clip.labels[0]), start, end)
    folder = root / "frames" / row.video
    folder.mkdir(parents=True)
    (root / "audio").mkdir(exist_ok=True)
    for second, frame in enumerate(clip.frames):
        write_frame(folder / f"{second:02d}.jpg", frame, FRAME_SIZE)
    heard = np.zeros_like(clip.sound)
    heard[start:end] = clip.sound[start:end]
    write_sound(root / "audio" / f"{row.video}.wav", heard.ravel(), rate_hz, stereo=number % 3 == 0)
    return row


def _event(seed: int, number: int) -> tuple[int, int]:
    """First second of an event and one past its last."""
    rng = np.random.default_rng([EVENTS, seed, number])
    if rng.random() < WHOLE_SHARE:
        return 0, SEGMENTS
    start, end = sorted(rng.choice(SEGMENTS + 1, 2, replace=False).tolist())
    return start, end


def _write_lists(root: Path, listed: dict[str, list[AveRow]]) -> None:
    """Annotations sorted by category, as those of AVE, and the places of each split in them."""
    rows = sorted((row for part in listed.values() for row in part), key=lambda row: row.category)
    lines = (f"{CATEGORIES[row.category]}&{row.video}&good&{row.start}&{row.end}\n" for row in rows)
    write_text(root / "Annotations.txt", "".join(lines))
    place_of = {row.id: place for place, row in enumerate(rows)}
    for split, part in listed.items():
        _write_order(root / f"{split}_order.h5", np.array([place_of[row.id] for row in part]))


def _write_order(path: Path, places: NDArray[np.int64]) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(ORDER_KEY, data=places)
