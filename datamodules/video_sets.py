"""What each data set takes from a raw video: which clips there are, which frames, how much sound.

A clip of VGG-Sound is ten seconds of a video. A file whose name is the id of the clip holds those,
one whose name is the id of the video holds all. Flickr, AVE and MUSIC take the whole file, which
for MUSIC may have the name that DSOL gives to the first 1000 seconds. Suffixes do not matter.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import NamedTuple, Protocol

from datamodules import ave_annotations
from datamodules.annotation_files import read_json
from datamodules.ave_annotations import SEGMENTS, ave_id, read_rows
from datamodules.extended import frame_and_sound, read_negatives
from datamodules.flickr_annotations import FLICKR_ID, flickr_id
from datamodules.ground_truth import READERS
from datamodules.id_lists import IdForm, IdList, check_id, read_id_list
from datamodules.music_annotations import MUSIC_ID
from datamodules.music_lists import MUSIC_CUT, music_entry, read_video_ids
from datamodules.vggss_annotations import (
    VGGSS_ID,
    read_vggss,
    start_second,
    vggsound_id,
    video_of,
)
from metrics.errors import BenchError, did_you_mean

VGGSS_SECONDS = 10
VGGSS_FRAME = Fraction(125, 25)  # number and frames per second: VGGSS/README of ACL
AVE_VIDEO = IdForm(re.compile(r"[A-Za-z0-9_-]{11}"), "<11-character video id>")
MUSIC_CLIP = IdForm(
    re.compile(rf"[A-Za-z0-9_-]{{11}}{MUSIC_CUT}"), f"<11-character video id>{MUSIC_CUT}"
)
MUSIC_SECONDS = 1000
MUSIC_RATE = 30  # frames per second of every key of solotest.json and duettest.json
MUSIC_FRAME = 14  # of a second; DSOL keeps 0, 7, 14 and 21 (data/cut_videos.py at 7f40207)

SAME_CLIPS = {"vggss_extended": "vggss", "flickr_extended": "flickr"}
NOT_FROM_VIDEOS = {
    "synthetic": "synthetic is generated when it is used and needs no videos",
    "music_synthetic": "music_synthetic is made of the clips of music_solo; prepare music_solo",
    "is3": "is3 has generated pictures and no videos; use its release as it is",
}


class FrameRule(Protocol):
    """Which frames of a clip are kept, and under which names below the root."""

    @property
    def needs_length(self) -> bool:
        """Whether the times depend on the length of the video."""

    @property
    def needs_all(self) -> bool:
        """Whether a clip without one of the frames is refused."""

    def times(self, length: Fraction) -> dict[str, Fraction]:
        """Name and time in the clip of each frame, in seconds, for a video of a length."""


@dataclass(frozen=True)
class FramesAt:
    """Frames at fixed times."""

    fixed: tuple[tuple[str, Fraction], ...]
    needs_all: bool = True
    needs_length = False

    def times(self, length: Fraction) -> dict[str, Fraction]:
        """See ``FrameRule``."""
        return dict(self.fixed)


@dataclass(frozen=True)
class CentreFrame:
    """The frame in the middle of the video."""

    name: str
    needs_all = True
    needs_length = True

    def times(self, length: Fraction) -> dict[str, Fraction]:
        """See ``FrameRule``."""
        return {self.name: length / 2}


@dataclass(frozen=True)
class FrameOfEachSecond:
    """One frame of every whole second, in a folder per second, named by its number at 30 Hz."""

    folder: str
    needs_all = True
    needs_length = True

    def times(self, length: Fraction) -> dict[str, Fraction]:
        """See ``FrameRule``."""
        numbers = {
            second: second * MUSIC_RATE + MUSIC_FRAME
            for second in range(int(min(length, Fraction(MUSIC_SECONDS))))
        }
        return {
            f"{self.folder}/frame_{second:03d}/{number:05d}.jpg": Fraction(number, MUSIC_RATE)
            for second, number in numbers.items()
        }


class Needs(NamedTuple):
    """What is made of one clip."""

    frames: FrameRule
    sound: str  # path of the WAV below the root
    places: tuple[str, ...]  # files and folders below the root that hold nothing else
    seconds: int | None  # length of the clip; None is the whole video


class WholeVideo(NamedTuple):
    """The name, without suffix, of a video that holds a clip, and where the clip starts in it."""

    stem: str
    start_seconds: int


@dataclass(frozen=True)
class VideoSet:
    """How a data set is made from videos.

    Attributes:
        name: of the data set.
        form: of a clip, which is what is prepared at once.
        example: names of videos, for people.
        clip_of: the clip that a video of a name may be; it need not have the form.
        whole: the longer video that holds a clip, where there may be one.
        id_of: the clip in a line of a list.
        lists: stems of lists of clips, and names of lists and annotations with a suffix.
        annotated: the clips of such a file or folder with a suffix, or without any.
        needs: of a root, and then of a clip.
    """

    name: str
    form: IdForm
    example: str
    clip_of: Callable[[str], str]
    whole: Callable[[str], WholeVideo | None]
    id_of: Callable[[str], str]
    lists: tuple[str, ...]
    annotated: Mapping[str, Callable[[Path], Iterable[str]]]
    needs: Callable[[Path], Callable[[str], Needs]]


def video_set(name: str) -> VideoSet:
    """How the data set of a name is made from videos.

    Raises:
        BenchError: it is not, or it is unknown; the message says what to do.
    """
    chosen = VIDEO_SETS.get(SAME_CLIPS.get(name, name))
    if chosen is not None:
        return chosen
    if name in NOT_FROM_VIDEOS:
        raise BenchError(f"{NOT_FROM_VIDEOS[name]} (see: bench list data)")
    known = [*VIDEO_SETS, *SAME_CLIPS, *NOT_FROM_VIDEOS]
    raise BenchError(
        f"unknown data set {name!r}.{did_you_mean(name, known)} "
        f"bench prepare makes {', '.join(VIDEO_SETS)}"
    )


def listed_clips(chosen: VideoSet, root: Path) -> tuple[IdList, ...]:
    """The lists and annotations of a data set that lie in a root or in its ``metadata/``.

    Raises:
        BenchError: one of them cannot be read; the message names it.
    """
    return tuple(_found_lists(chosen, [root, root / "metadata"]))


def _found_lists(chosen: VideoSet, folders: Iterable[Path]) -> Iterator[IdList]:
    for folder in folders:
        for stem in chosen.lists:
            for path in (folder / f"{stem}.txt", folder / f"{stem}.csv"):
                if path.is_file():
                    yield read_id_list(path, chosen.form, id_of=chosen.id_of)
        for name, read in chosen.annotated.items():
            path = folder / name
            if path.exists():
                ids = tuple(dict.fromkeys(read(path)))
                for clip in ids:
                    check_id(clip, chosen.form, str(path))
                yield IdList(path, ids, 0)


def _published(data: str, *more: str) -> tuple[str, ...]:
    """Stems of the text lists that readers know of a data set, and of ours."""
    reader = READERS[data]
    stems = (*reader.lists.values(), *reader.test_lists.values(), *more)
    return tuple(dict.fromkeys(stem for stem in stems if not stem.endswith(".json")))


def _negatives(form: IdForm) -> Callable[[Path], Iterable[str]]:
    """Reader of the clips of an extended list: those of the frames and those of the sounds."""

    def clips(path: Path) -> Iterator[str]:
        for negative in read_negatives(path, form):
            yield from frame_and_sound(negative.id)

    return clips


def _flat_needs(seconds: int | None, rule: Callable[[str], FrameRule]) -> Callable[[str], Needs]:
    """A frame and a sound in the flat folders of VGG-SS and Flickr."""

    def needs(clip: str) -> Needs:
        frame, sound = f"frames/{clip}.jpg", f"audio/{clip}.wav"
        return Needs(rule(frame), sound, (frame, sound), seconds)

    return needs


def _vggss_needs(root: Path) -> Callable[[str], Needs]:
    return _flat_needs(VGGSS_SECONDS, lambda name: FramesAt(((name, VGGSS_FRAME),)))


def _flickr_needs(root: Path) -> Callable[[str], Needs]:
    return _flat_needs(None, CentreFrame)


def _ave_needs(root: Path) -> Callable[[str], Needs]:
    def needs(clip: str) -> Needs:
        folder, sound = f"frames/{clip}", f"audio/{clip}.wav"
        middles = [(f"{folder}/{t:02d}.jpg", t + Fraction(1, 2)) for t in range(SEGMENTS)]
        return Needs(FramesAt(tuple(middles)), sound, (folder, sound), SEGMENTS)

    return needs


def _music_clip(video: str) -> str:
    return video if video.endswith(MUSIC_CUT) else f"{video}{MUSIC_CUT}"


def _boxed_frames(path: Path) -> dict[str, list[str]]:
    """Frames of a boxes file, with boxes and without, by clip: ``<frame folder>/<number>``."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise BenchError(f"{path}: expected an object with a key per frame; fetch it again")
    frames: dict[str, list[str]] = {}
    for key in content:
        frame = str(key).removesuffix(".jpg")
        check_id(frame, MUSIC_ID, str(path))
        clip, folder, number = frame.split("/")
        if not number.isdecimal():
            raise BenchError(f"{path}: the frame {key!r} has no number; correct this key")
        frames.setdefault(clip, []).append(f"{folder}/{number}")
    return frames


def _music_needs(boxes_name: str) -> Callable[[Path], Callable[[str], Needs]]:
    def of_root(root: Path) -> Callable[[str], Needs]:
        places = (root / boxes_name, root / "metadata" / boxes_name)
        found = next((path for path in places if path.is_file()), None)
        boxed = {} if found is None else _boxed_frames(found)

        def needs(clip: str) -> Needs:
            folder, sound = f"video_frames/{clip}", f"audio/{clip}.wav"
            rule = _boxed_rule(folder, boxed[clip]) if clip in boxed else FrameOfEachSecond(folder)
            return Needs(rule, sound, (folder, sound), MUSIC_SECONDS)

        return needs

    return of_root


def _boxed_rule(folder: str, frames: Iterable[str]) -> FrameRule:
    """The frames with boxes, of which a shorter copy of the video may lack some."""
    numbers = {f"{folder}/{frame}.jpg": int(PurePosixPath(frame).name) for frame in frames}
    times = ((name, Fraction(number, MUSIC_RATE)) for name, number in numbers.items())
    return FramesAt(tuple(times), needs_all=False)


def _music(data: str) -> VideoSet:
    (boxes_name,) = READERS[data].names

    def videos(path: Path) -> Iterator[str]:
        return map(_music_clip, read_video_ids(path).ids)

    named = [name for name in READERS[data].lists.values() if name.endswith(".json")]
    return VideoSet(
        name=data,
        form=MUSIC_CLIP,
        example="jW_AuF6dQYY.mp4 or jW_AuF6dQYY_0_1000.mp4",
        clip_of=_music_clip,
        whole=lambda clip: None,
        id_of=lambda line: _music_clip(music_entry(line)),
        lists=_published(data),
        annotated={boxes_name: _boxed_frames, **dict.fromkeys(named, videos)},
        needs=_music_needs(boxes_name),
    )


VIDEO_SETS: Mapping[str, VideoSet] = MappingProxyType(
    {
        "vggss": VideoSet(
            name="vggss",
            form=VGGSS_ID,
            example="zpWuikVorYg_000032.mp4, or zpWuikVorYg.mp4 where a list names its clips",
            clip_of=vggsound_id,
            whole=lambda clip: WholeVideo(video_of(clip), start_second(clip)),
            id_of=vggsound_id,
            lists=_published("vggss", "train", "test"),
            annotated={
                "vggss.json": lambda path: (truth.id for truth in read_vggss(path)),
                "vggss_test_plus_silent.csv": _negatives(VGGSS_ID),
            },
            needs=_vggss_needs,
        ),
        "flickr": VideoSet(
            name="flickr",
            form=FLICKR_ID,
            example="10000130166.mp4",
            clip_of=str,
            whole=lambda clip: None,
            id_of=flickr_id,
            lists=tuple(
                stem
                for stem in _published("flickr", "flickr_sup_train", "train", "test")
                if stem != "flickr_test_plus_silent"
            ),
            annotated={
                "Annotations": lambda path: sorted(xml.stem for xml in path.glob("[!.]*.xml")),
                "flickr_test_plus_silent.csv": _negatives(FLICKR_ID),
            },
            needs=_flickr_needs,
        ),
        "ave": VideoSet(
            name="ave",
            form=AVE_VIDEO,
            example="RUhOCu3LNXM.mp4",
            clip_of=str,
            whole=lambda clip: None,
            id_of=lambda line: ave_annotations.video_of(ave_id(line)),
            lists=("train", "val", "test"),
            annotated={"Annotations.txt": lambda path: (row.video for row in read_rows(path))},
            needs=_ave_needs,
        ),
        "music_solo": _music("music_solo"),
        "music_duet": _music("music_duet"),
    }
)
