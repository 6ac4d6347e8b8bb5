"""Miniatures of MUSIC: videos of made-up instruments in the tree that DSOL cut.

See ``datamodules.music_solo`` for the layout. Boxes are of test videos, in DSOL's format with its
misspelt key, and every eleventh frame of them has none. Sounds are FLAC under the name of the video
and every fourth is WAV under its YouTube id.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

from datamodules.music_annotations import INSTRUMENTS
from datamodules.music_lists import MUSIC_CUT
from datamodules.music_mixtures import TEST_MIXTURES
from datamodules.sample_media import (
    FRAME_SIZE,
    SAMPLE_RATES_HZ,
    video_id,
    write_frame,
    write_text,
)
from datamodules.synthetic_generator import CLASSES, SyntheticClip, SyntheticSpec, generate_clip

T = TypeVar("T")
LEAST_VIDEOS = 12  # four to test and four in each half of the training list, one per instrument
MOST_SECONDS = 4  # of a video
TEST_SHARE = 0.25
DRAWN_SIZE = 120  # half the height of a frame, for four of them make a second
FRAMES, STEP, RATE = 4, 7, 30  # of a second, as in the published boxes: every seventh of 30
WITHOUT_BOX = 11  # one frame of so many has none, as in the published boxes
NUMBERS = {name: number for number, name in INSTRUMENTS.items()}
KINDS = (*NUMBERS, "clarinet", "erhu", "tuba", "xylophone")  # of MUSIC; the first have boxes
PAIRS = (
    ("flute", "violin"), ("saxophone", "acoustic_guitar"), ("cello", "acoustic_guitar"),
    ("flute", "trumpet"), ("acoustic_guitar", "violin"),
)  # fmt: skip


class _Video(NamedTuple):
    """A video that is written: who plays in it."""

    name: str
    place: int  # among all videos
    split: str
    instruments: tuple[str, ...]

    @property
    def youtube(self) -> str:
        return self.name.removesuffix(MUSIC_CUT)


class _Drawn(NamedTuple):
    """A second of a video."""

    frame: NDArray[np.uint8]  # (H, W, 3)
    sound: NDArray[np.int16]  # (S,)
    boxes: Sequence[NDArray[np.float64]]  # (4,) xyxy of each instrument


def write_solos(root: Path, clips: int, seed: int) -> tuple[int, int]:
    """Writes solos; training clips of the usual list, and test frames with a box.

    Test videos take turns through the seven instruments with boxes, training videos through the
    eleven of MUSIC. As in the published lists, ``solo_validation`` and ``solo_pairs`` hold the test
    videos.
    """
    tested, trained, seconds = _numbers(clips)
    kinds = [*_turns(tuple(NUMBERS), tested), *_turns(KINDS, trained)]
    videos = _videos(seed, tested, [(kind,) for kind in kinds])
    boxes = _write_videos(root, videos, seconds, seed)
    test, train = videos[:tested], videos[tested:]
    held_out, half = trained // 9, (trained - trained // 9) // 2
    first, second = train[held_out : held_out + half], train[held_out + half :]
    rows = {
        "testing": test, "validation": [*test, *train[:held_out]], "training_1": first,
        "training_2": second, "pairs": [*train, *test],
    }  # fmt: skip
    for name, listed in rows.items():
        _write_rows(root / f"solo_{name}.txt", listed)
    _write_instruments(root / "MUSIC_solo_videos.json", videos)
    return len(first) * seconds, _write_boxes(root / "solotest.json", boxes)


def write_mixable_solos(root: Path, clips: int, seed: int) -> tuple[int, int]:
    """Writes the same solos; training mixtures of the other half, and test mixtures."""
    write_solos(root, clips, seed)
    _, trained, seconds = _numbers(clips)
    half = (trained - trained // 9) // 2
    return (trained - trained // 9 - half) * seconds, TEST_MIXTURES


def write_duets(root: Path, clips: int, seed: int) -> tuple[int, int]:
    """Writes duets, two players side by side; training clips, and test frames with a box."""
    tested, trained, seconds = _numbers(clips)
    videos = _videos(seed, tested, [*_turns(PAIRS, tested), *_turns(PAIRS, trained)])
    boxes = _write_videos(root, videos, seconds, seed)
    _write_rows(root / "duet_pairs_train.txt", videos[tested:])
    _write_rows(root / "duet_pairs_val.txt", videos[:tested])
    _write_instruments(root / "MUSIC_duet_videos.json", videos)
    return trained * seconds, _write_boxes(root / "duettest.json", boxes)


def _numbers(clips: int) -> tuple[int, int, int]:
    """Test videos, training videos, and seconds of each, for about so many seconds in all."""
    seconds = max(1, min(MOST_SECONDS, clips // LEAST_VIDEOS))
    videos = max(LEAST_VIDEOS, round(clips / seconds))
    tested = max(LEAST_VIDEOS // 3, round(videos * TEST_SHARE))
    return tested, videos - tested, seconds


def _turns(of: Sequence[T], count: int) -> list[T]:
    return [of[place % len(of)] for place in range(count)]


def _videos(seed: int, tested: int, instruments: Sequence[tuple[str, ...]]) -> list[_Video]:
    return [
        _Video(
            f"{video_id(place, seed)}{MUSIC_CUT}", place, "test" if place < tested else "train", who
        )
        for place, who in enumerate(instruments)
    ]


def _write_videos(
    root: Path, videos: Sequence[_Video], seconds: int, seed: int
) -> dict[str, list[tuple[str, NDArray[np.float64]]]]:
    """Writes frames and sounds; the instruments and boxes of each frame of the test videos."""
    (root / "audio").mkdir(parents=True)
    boxes: dict[str, list[tuple[str, NDArray[np.float64]]]] = {}
    for video in videos:
        rate_hz = SAMPLE_RATES_HZ[video.place % len(SAMPLE_RATES_HZ)]
        drawn = [_second(video, each, seconds, seed, rate_hz) for each in range(seconds)]
        for second, one in enumerate(drawn):
            folder = root / "video_frames" / video.name / f"frame_{second:03d}"
            folder.mkdir(parents=True)
            for place in range(FRAMES):
                number = f"{RATE * second + STEP * place:05d}"
                brighter = np.minimum(one.frame, 255 - place) + np.uint8(place)
                write_frame(folder / f"{number}.jpg", brighter)
                if video.split == "test":
                    has_box = (len(boxes) + 1) % WITHOUT_BOX
                    found = zip(video.instruments, one.boxes, strict=True) if has_box else ()
                    boxes[f"{video.name}/{folder.name}/{number}.jpg"] = list(found)
        name = f"{video.youtube}.wav" if video.place % 4 == 3 else f"{video.name}.flac"
        sound = np.concatenate([one.sound for one in drawn])
        soundfile.write(root / "audio" / name, sound, rate_hz, subtype="PCM_16")
    return boxes


def _second(video: _Video, second: int, seconds: int, seed: int, rate_hz: int) -> _Drawn:
    """A second of a solo, or of two players side by side, each in half of the picture."""
    spec = SyntheticSpec(DRAWN_SIZE, rate_hz, 1.0)
    index = len(CLASSES) * (seconds * video.place + second)
    parts = [generate_clip(seed, index + KINDS.index(kind), spec, split=video.split)
             for kind in video.instruments]  # fmt: skip
    count = len(parts)
    frame = np.concatenate([part.frames[0][:, ::count] for part in parts], axis=1)
    sound = sum(part.sound[0] // count for part in parts)
    return _Drawn(
        frame, np.asarray(sound), [_moved(part, n, count) for n, part in enumerate(parts)]
    )


def _moved(part: SyntheticClip, place: int, count: int) -> NDArray[np.float64]:
    """Box of the source where the frame is one of ``count`` beside each other."""
    x1, y1, x2, y2 = part.source_box[0].tolist()
    return np.array([(place + x1) / count, y1, (place + x2) / count, y2])


def _write_boxes(path: Path, boxes: Mapping[str, Sequence[tuple[str, NDArray[np.float64]]]]) -> int:
    """Writes DSOL's format; the number of frames with a box."""
    height, width = FRAME_SIZE
    scale = np.array([width, height, width, height])
    entries = {
        frame: {
            "bbox": [
                {
                    "box": np.rint(_xywh(box) * scale).astype(int).tolist(),
                    "normbox": _xywh(box).tolist(),
                    "category_id": NUMBERS[name],
                }
                for name, box in found
            ],
            "wdith": width,
            "height": height,
        }
        for frame, found in boxes.items()
    }
    write_text(path, json.dumps(entries))
    return sum(bool(found) for found in boxes.values())


def _xywh(box: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([box[:2], box[2:] - box[:2]])


def _write_rows(path: Path, videos: Sequence[_Video]) -> None:
    write_text(path, "".join(f"{each.name}.flac {each.name}.mp4\n" for each in videos))


def _write_instruments(path: Path, videos: Sequence[_Video]) -> None:
    ids: dict[str, list[str]] = {}
    for each in videos:
        ids.setdefault(" ".join(each.instruments), []).append(each.youtube)
    write_text(path, json.dumps({"version": 1.0, "videos": ids}))
