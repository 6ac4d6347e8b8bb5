"""What the data sets of MUSIC have in common: seconds of videos, as DSOL cut them.

DSOL is https://github.com/DTaoo/Discriminative-Sounding-Objects-Localization at 7f40207. Its lists
name videos. A training clip is a second of one, with the middle one of the frames of that second
(DSOL draws one of the four anew each time); a test clip is a frame with a box. The sound of either
is the window around the middle of its second.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from datamodules.base import KnownList, SampleFiles
from datamodules.clip_folder import ClipFolder
from datamodules.folder_clips import FULL, FolderClips
from datamodules.ground_truth import READERS
from datamodules.id_lists import IdList
from datamodules.layouts import IMAGES, SOUNDS, Layout, each_suffix
from datamodules.media import UnreadableMediaError, sound_seconds
from datamodules.music_annotations import INSTRUMENTS, MUSIC_ID
from datamodules.music_lists import MUSIC_VIDEO, read_video_ids, second_of, youtube_id
from metrics.errors import BenchError

FRAME_FOLDERS = ("video_frames", "frames")
SOUND_FOLDER = "audio"
PICKLES = ("audio_frames", "wav_frames")  # DSOL's folders of pickled spectrograms


def by_youtube_id(clip_id: str) -> str:
    """A frame or a video under its YouTube id alone.

    >>> by_youtube_id("4Oy5VmaacaI_0_1000/frame_013/00411"), by_youtube_id("4Oy5VmaacaI_0_1000")
    ('4Oy5VmaacaI/frame_013/00411', '4Oy5VmaacaI')
    """
    _, slash, frame = clip_id.partition("/")
    return f"{youtube_id(clip_id)}{slash}{frame}"


LAYOUTS = tuple(
    Layout(
        f"{source}, {names}",
        each_suffix(f"{folder}/{{id}}", *IMAGES),
        each_suffix(f"{SOUND_FOLDER}/{{id}}", *SOUNDS),
        key,
    )
    for folder, source in zip(
        FRAME_FOLDERS, ("DSOL (music-exp/data/MUSIC_dataset.py)", "flat folders"), strict=True
    )
    for names, key in (("names of its lists", str), ("YouTube ids", by_youtube_id))
)


class MusicClips(FolderClips):
    """Seconds of the videos of MUSIC; see the module's text."""

    layouts = LAYOUTS

    @staticmethod
    def video_of(clip_id: str) -> str:
        """The YouTube id, whichever part of the video was cut out."""
        return youtube_id(clip_id)

    @staticmethod
    def parts_of(sample_id: str) -> tuple[str, str]:
        """The frame itself, and the whole sound of its video."""
        return sample_id, sample_id.partition("/")[0]

    def seconds_of(self, sample_id: str) -> float | None:
        """The middle of the second of the frame: the file does not say more."""
        second = second_of(sample_id)
        return None if second is None else second + 0.5

    def clips_of(self, listed_id: str) -> Sequence[str]:
        """The middle frame of each second of a video, in order; the video where it is not here."""
        place = self._places.get(listed_id) or self._places.get(youtube_id(listed_id))
        if "/" in listed_id or place is None or self._sound(place.name) is None:
            return (listed_id,)
        frames = (self._middle_frame(place / second) for second in self._seconds(place))
        return tuple(each for each in frames if each is not None) or (listed_id,)

    def further_defect(self, sample_id: str) -> str | None:
        """A frame without a second, or whose second lies beyond the end of its sound.

        Of a whole video, nothing: its seconds are judged one by one.
        """
        frame_id, sound_id = self.parts_of(sample_id)
        if frame_id == sound_id:
            return None
        second = second_of(frame_id)
        if second is None:
            return f"{frame_id}: the folder of the frame ends in no number, so its second is open"
        try:
            length = self._length(sound_id)
        except UnreadableMediaError as error:
            return f"{self._sound(sound_id)}: {error}"
        if second < length:
            return None
        return f"{frame_id}: second {second} lies beyond the end of the sound, {length:.1f} s"

    def absence(self, missing: Sequence[str]) -> str | None:
        """How many missing frames have others of their second here, where the cut differs."""
        others = sum(self._has_others(each) for each in missing)
        if not others:
            return None
        return (
            f"{others} of {len(missing)} missing test frames have other frames of their second "
            "here: the boxes are of frames cut as DSOL's data/cut_videos.py does, 4 a second under "
            "the number that they have in the video"
        )

    def media(self, sample_id: str) -> SampleFiles:
        """Frame and sound of a frame, or the middle frames and the sound of a whole video."""
        if "/" in sample_id or not self.has_media:
            return super().media(sample_id)
        clips = [clip for clip in self.clips_of(sample_id) if clip != sample_id]
        return self.files_at([self.parts_of(clip) for clip in clips])

    def known_lists(self) -> tuple[KnownList, ...]:
        """The lists that train and test, and those of MUSIC, which give labels."""
        found = super().known_lists()
        names = {each.name for each in found}
        labels = (
            KnownList(path.stem, "labels", read_video_ids(path).ids)
            for path in self._lists_by_instrument()
            if path.stem not in names
        )
        return (*found, *labels)

    def annotation_notes(self) -> tuple[str, ...]:
        """What is to be told of the lists and annotations, labels and pickles included."""
        videos = {self.video_of(each) for each in self._train_list.ids}
        labelled = len(videos & self._category_of.keys())
        notes = super().annotation_notes()
        if videos and self._category_of:
            notes += (f"the lists of MUSIC know the instruments of {labelled} of {len(videos)} "
                      "training videos",)  # fmt: skip
        pickled = self._pickles()
        return notes if pickled is None else (*notes, pickled)

    def listed(self, name: str, setting: str) -> IdList:
        """The list that a setting names; ``full`` is every video with frames and a sound."""
        if name != FULL:
            return super().listed(name, setting)
        found = dict.fromkeys(place.name for place in self._places.values())
        here = (each for each in found if self._sound(each) is not None)
        return IdList(self._root / FULL, tuple(sorted(here)), 0)

    def read_list(self, path: Path) -> IdList:
        """Videos of a split file, or of a list of MUSIC by instrument."""
        if path.suffix != ".json":
            return super().read_list(path)
        return IdList(path, read_video_ids(path).ids, 0)

    def labelled_list(self) -> IdList | None:
        """The training videos whose instrument may be seen; None where all are."""
        labelled = self.config.labelled
        return None if labelled is None else self.listed(labelled, "data.labelled")

    def event_classes(self) -> tuple[str, ...]:
        """The instruments that have boxes, then those that only the lists of MUSIC know."""
        known = tuple(INSTRUMENTS.values())
        listed = {each for name in self._category_of.values() for each in name.split()}
        return known + tuple(sorted(listed.difference(known)))

    def labels(self, split: str, row: int) -> NDArray[np.int64] | None:
        """The instrument of a training clip in every segment, ``(T,)``.

        None where no list of MUSIC in the root knows the video, where two instruments play, and
        where ``data.labelled`` leaves it out.
        """
        video = self.video_of(self.report.splits[split].ids[row])
        category = self._category_of.get(video)
        unseen = self._labelled_videos is not None and video not in self._labelled_videos
        if split == "test" or unseen or category not in self.report.classes:
            return None
        number = self.report.classes.index(category)
        return np.full(self.inputs.num_segments, number, dtype=np.int64)

    @cached_property
    def _folder(self) -> ClipFolder:
        pickled = self._pickles() if self.config.shards is None else None
        if pickled is not None:
            raise BenchError(pickled)
        return self.folder()

    def _pickles(self) -> str | None:
        """What is to be told where pickled spectrograms stand in the place of sounds."""
        sounds = self._root / SOUND_FOLDER
        if any(path.suffix in SOUNDS for path in sounds.glob("*")):
            return None
        folders = (self._root / name for name in PICKLES)
        pickled = next((each for each in folders if each.is_dir()), None)
        if pickled is None and not any(sounds.glob("*.pkl")):
            return None
        return (
            f"{pickled or sounds} holds pickled spectrograms, which are never read: unpickling "
            f"runs what a file says, and no waveform is in them; put the sounds into {sounds} as "
            "<video>.wav, .flac or .mp3"
        )

    @cached_property
    def _places(self) -> Mapping[str, PurePosixPath]:
        """Where the frames of each video are that has some, by its name and by its YouTube id."""
        places: dict[str, PurePosixPath] = {}
        for folder in FRAME_FOLDERS:
            for name in self._folder.names(folder):
                if MUSIC_VIDEO.pattern.fullmatch(name):
                    places.setdefault(name, PurePosixPath(folder, name))
                    places.setdefault(youtube_id(name), PurePosixPath(folder, name))
        return places

    def _seconds(self, place: PurePosixPath) -> list[str]:
        """Folders of the seconds of a video, in order of time."""
        names = [name for name in self._folder.names(str(place)) if "." not in name]
        return sorted(names, key=lambda name: (second_of(f"{place.name}/{name}") or 0, name))

    def _frames(self, place: PurePosixPath) -> list[str]:
        """Names of the images of a second without their suffix, in order of their numbers."""
        names = (PurePosixPath(name) for name in self._folder.names(str(place)))
        stems = {name.stem for name in names if name.suffix in IMAGES}
        return sorted(stems, key=lambda stem: (len(stem), stem))

    def _middle_frame(self, place: PurePosixPath) -> str | None:
        """Id of the frame in the middle of a second: of four, the one half a second in."""
        ids = [f"{place.parent.name}/{place.name}/{stem}" for stem in self._frames(place)]
        valid = [each for each in ids if MUSIC_ID.pattern.fullmatch(each)]
        return valid[len(valid) // 2] if valid else None

    def _has_others(self, frame_id: str) -> bool:
        video, second, frame = frame_id.split("/")
        place = self._places.get(video)
        found = [] if place is None else self._frames(place / second)
        return bool(found) and frame not in found

    def _sound(self, sound_id: str) -> Path | None:
        return self._folder.sound(sound_id)

    def _length(self, sound_id: str) -> float:
        if sound_id not in self._lengths:
            path = self._sound(sound_id)
            assert path is not None, "only clips that are here are judged"
            self._lengths[sound_id] = sound_seconds(self._folder.media(path))
        return self._lengths[sound_id]

    @cached_property
    def _lengths(self) -> dict[str, float]:
        """Seconds of the sounds that were looked at."""
        return {}

    @cached_property
    def _labelled_videos(self) -> frozenset[str] | None:
        labelled = self._labelled_list
        return None if labelled is None else frozenset(self.video_of(i) for i in labelled.ids)

    @cached_property
    def _category_of(self) -> Mapping[str, str]:
        """Instrument of each video, or both, by the lists of MUSIC that are in the root."""
        chosen = [self._train_list.path] if self._train_list.path.suffix == ".json" else []
        found: dict[str, str] = {}
        for path in (*chosen, *self._lists_by_instrument()):
            for category, videos in read_video_ids(path).categories.items():
                for video in videos:
                    found.setdefault(video, category)
        return found

    def _lists_by_instrument(self) -> list[Path]:
        """The lists of MUSIC that are in the root."""
        names = (name for name in READERS[self.data_name].lists.values() if name.endswith(".json"))
        places = (self._root / below / name for name in names for below in ("", "metadata"))
        return [path for path in places if path.is_file()]
