"""Lists of MUSIC: rows of videos as DSOL splits them, and ids by instrument as MUSIC came.

DSOL is https://github.com/DTaoo/Discriminative-Sounding-Objects-Localization at 7f40207, MUSIC
https://github.com/roudimit/MUSIC_dataset.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from datamodules.annotation_files import read_json
from datamodules.id_lists import IdForm, check_id, first_column
from metrics.errors import BenchError, first_repeat

MUSIC_CUT = "_0_1000"  # DSOL: seconds 0 to 1000 of the video
MUSIC_VIDEO = IdForm(re.compile(r"[A-Za-z0-9_-]+"), "<video>")
_CUT = re.compile(r"([A-Za-z0-9_-]{11})_\d+_\d+")  # a YouTube id, first and last second


def youtube_id(clip_id: str) -> str:
    """The YouTube id of a frame, or of a video, whichever part of it was cut out.

    >>> youtube_id("-_-TDDxoaAc_0_1000/frame_048/01454"), youtube_id("-_-TDDxoaAc")
    ('-_-TDDxoaAc', '-_-TDDxoaAc')
    """
    video = clip_id.partition("/")[0]
    cut = _CUT.fullmatch(video)
    return cut[1] if cut else video


def second_of(clip_id: str) -> int | None:
    """The second of its video in which a frame is, by its folder; None of a whole video.

    >>> second_of("4Oy5VmaacaI_0_1000/frame_013/00411"), second_of("4Oy5VmaacaI/frames/00411")
    (13, None)
    """
    number = re.search(r"\d+$", clip_id.partition("/")[2].partition("/")[0])
    return int(number[0]) if number else None


def music_entry(line: str) -> str:
    """The video of a line ``<audio> <video>``, or the one id of a line, without their suffixes.

    A line that pairs the sound of one video with the pictures of another is no id.

    >>> music_entry("2gk-IN35s5I_0_1000.flac 2gk-IN35s5I_0_1000.mp4")
    '2gk-IN35s5I_0_1000'
    """
    columns = [first_column(column) for column in line.split()]
    return columns[0] if len(set(columns)) == 1 else line.strip()


class VideoIds(NamedTuple):
    """A list of MUSIC: the YouTube ids of each instrument, or pair of instruments."""

    categories: Mapping[str, tuple[str, ...]]

    @property
    def ids(self) -> tuple[str, ...]:
        """Every video, in the order of the file."""
        return tuple(video for videos in self.categories.values() for video in videos)


def read_video_ids(path: Path) -> VideoIds:
    """Content of ``MUSIC_solo_videos.json``, its duet counterpart or ``MUSIC21_solo_videos.json``.

    The file is ``{"version": number, "videos": {"flute": ["jW_AuF6dQYY", ...], ...}}``; the
    categories of duets are two instruments with a space between them.

    Raises:
        BenchError: not such an object, an entry that is no video, or a video listed twice, whose
            instrument would be open; the message names file and entry.
    """
    content = read_json(path)
    videos = content.get("videos") if isinstance(content, dict) else None
    version = content.get("version") if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not videos or not isinstance(version, int | float):
        raise BenchError(f"{path}: expected an object with 'version' and 'videos'; fetch it again")
    categories = {name: _videos(entries, f"{path} ({name})") for name, entries in videos.items()}
    found = VideoIds(MappingProxyType(categories))
    twice = first_repeat(found.ids)
    if twice is not None:
        raise BenchError(f"{path}: the video {twice} is listed twice; keep one of its entries")
    return found


def _videos(entries: object, place: str) -> tuple[str, ...]:
    if not isinstance(entries, list) or not all(isinstance(each, str) for each in entries):
        raise BenchError(f"{place}: expected a list of video ids; fetch the file again")
    for each in entries:
        check_id(each, MUSIC_VIDEO, place)
    return tuple(entries)
