"""Data sets of still frames and their sounds, as files under a root that lists of ids choose from.

What holds for all of them: the test list and its truth come from the annotation files; leakage is
counted on the lists as they are written, before any exclusion; a clip is excluded from a split by
rule, never replaced: training clips of test videos, clips without a frame or a sound, clips whose
files cannot be read. The report counts and names them.

A sample is a row of a list. What it is made of is asked by eight methods, each with a meaning of
its own; a data set overrides those in which it differs::

    method            of             says                                   overridden by
    clips_of          listed entry   clips to train on that it stands for   music
    parts_of          sample         its frame's clip, its sound's clip     music, extended sets
    pairs_of          sample         parts_of of each clip in it            music_synthetic
    files_of          sample         frame and sound of each segment read   ave
    files_to_pack     sample         the same of all that may be read       ave
    frames_shown      sample         the frame of each of T segments        ave, music_synthetic
    media             sample, entry  its files, whatever is read of them    music
    picture_contents  split          hash of the picture of each segment    music_synthetic
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from datamodules.base import (
    ClipData,
    DataConfig,
    DataReport,
    Fingerprints,
    KnownList,
    SampleFiles,
    Split,
)
from datamodules.clip import SQUASHED, Inputs, Resizing
from datamodules.clip_folder import MINIATURE_MARK, ClipFiles, ClipFolder
from datamodules.ground_truth import READERS, SETTINGS, GroundTruth, find_named_list, ground_truth
from datamodules.id_lists import (
    IdList,
    ListIdentity,
    is_held_out,
    leakage,
    read_id_list,
)
from datamodules.layouts import Layout
from datamodules.media import (
    UnreadableMediaError,
    read_frame,
    read_picture,
    still_windows,
)
from datamodules.shards import ShardFolder, Shards
from datamodules.user_paths import expanded
from metrics.errors import BenchError
from metrics.truth import Truth

FULL = "full"  # as data.train_list: every clip that has a frame and a sound


@dataclass
class FolderConfig(DataConfig):
    """Settings ``data.*`` of data sets that are files under a root."""

    annotations: str | None = None  # path; else the usual file in the root or its metadata/
    train_list: str | None = None  # a short name, a file of the root, a path, or full
    test_list: str | None = None  # the same; else every annotated clip
    verify: bool = True  # decode every listed file once before it is used
    shards: str | None = None  # folder or URL of `bench shards`: frames, sounds, and lists as well
    shard_cache_gb: float = 100.0  # of fetched shards that may lie on this machine


class FolderClips(ClipData):
    """One frame and one sound per clip.

    A data set says by class attributes where its files are, and may say which clips the frame and
    the sound of a sample come from. A method that asks for T segments gets the still T times, with
    T windows of sound side by side around the frame, which is in the middle of its sound unless
    ``seconds_of`` says otherwise.
    """

    Config: ClassVar[type[FolderConfig]] = FolderConfig
    config: FolderConfig
    has_files = True
    data_name: ClassVar[str]  # a key of ``READERS``
    layouts: ClassVar[tuple[Layout, ...]]
    usual_train_lists: ClassVar[tuple[str, ...]] = ("train",)  # the first one found is the default
    obtain: ClassVar[str]  # a sentence: where the files are to be had

    def __init__(self, config: FolderConfig, inputs: Inputs, *, seed: int) -> None:
        """Checks the settings and reads nothing.

        Raises:
            BenchError: a setting is out of range, or two settings name the training clips.
        """
        super().__init__(config, inputs, seed=seed)
        if config.limit is not None and config.limit < 1:
            raise BenchError(f"data.limit={config.limit} must be 1 or more")
        if not 0 <= config.val_fraction < 1:
            raise BenchError(f"data.val_fraction={config.val_fraction} must lie in [0, 1)")
        if config.train_list is not None and config.unlabelled is not None:
            raise BenchError(
                f"data.train_list={config.train_list} and data.unlabelled={config.unlabelled} both "
                "name clips to train on; leave one of them out"
            )

    @staticmethod
    @abstractmethod
    def video_of(clip_id: str) -> str:
        """The video that a clip was cut from."""

    def files_of(self, sample_id: str) -> Sequence[tuple[str, str]]:
        """Ids of a frame and of a sound, as the folders have them, for each frame of a sample."""
        return self.pairs_of(sample_id)

    def check_root(self) -> None:
        """Nothing, or a ``BenchError`` where the root has the folders of no layout."""
        _ = self._folder  # looks for the folders

    def clips_of(self, listed_id: str) -> Sequence[str]:
        """The clips that an entry of a training list stands for, where it is not one itself."""
        return (listed_id,)

    def seconds_of(self, sample_id: str) -> float | None:
        """Time in its sound at which the frame of a sample is shown; None for the middle."""
        return None

    def absence(self, missing: Sequence[str]) -> str | None:
        """What is to be told of test clips without files, beside their number."""
        return None

    def event_classes(self) -> tuple[str, ...]:
        """Classes of events in the order of their numbers: those of the test clips."""
        truth = self._ground_truth.truth
        return tuple(sorted({each.category for each in truth if each.category is not None}))

    def labelled_boxes(self, clip_ids: Sequence[str]) -> Mapping[str, Truth]:
        """Boxes of the training clips that have some."""
        return {}

    def labelled_list(self) -> IdList | None:
        """The training clips that ``data.labelled`` names; None where it is not set.

        Raises:
            BenchError: there is no such list, or the data set has no boxes for training.
        """
        if self.config.labelled is None:
            return None
        raise BenchError(
            f"data.labelled={self.config.labelled}: {self.data_name} has boxes of test clips only; "
            "leave data.labelled out, or use --data flickr"
        )

    def load(self) -> DataReport:
        """Lists, exclusions and leakage.

        Clips of test videos leave the training list first, then clips without files, then
        unreadable ones, then the rest after ``data.limit``. With a limit, files are verified only
        until it is reached.

        Raises:
            BenchError: the root, a folder, the annotations or a list is missing or malformed, or
                no test clip has its files.
        """
        self.check_root()  # a wrong root goes before a file missing in it
        test_ids = [truth.id for truth in self._ground_truth.truth]
        pairs = [pair for each in test_ids for pair in self.pairs_of(each)]
        sources = list(dict.fromkeys(part for pair in pairs for part in pair))
        train_list = self._train_list
        leaks = leakage(train_list.ids, sources, self.video_of)
        removed = frozenset() if self.config.allow_leakage else leaks.rows
        test = self.part(test_ids)
        told = self.absence(test.missing) if test.missing else None
        if len(test.missing) == len(test_ids):
            raise BenchError(
                f"none of the {len(test_ids)} test clips of {self._ground_truth.list_name} has its "
                f"files in {self._root}, such as {self.usual_files}; "
                f"{'' if told is None else f'{told}; '}check data.root and data.test_list"
            )
        leaked = frozenset(self.video_of(train_list.ids[row]) for row in leaks.rows)
        kept = [i for row, i in enumerate(train_list.ids) if row not in removed]
        clips = list(dict.fromkeys(clip for each in kept for clip in self.clips_of(each)))
        train = self.parts_to_train(clips, leaked) if self.trains else {}
        return DataReport(
            splits={
                **{name: self._split(name, part.ids, {}) for name, part in train.items()},
                "test": self._split("test", test.ids, self._truth_of),
            },
            n_expected=len(test_ids),
            missing=test.missing,
            unreadable=test.unreadable,
            train_missing=tuple(i for part in train.values() for i in part.missing),
            train_unreadable={i: r for part in train.values() for i, r in part.unreadable.items()},
            leaked_clips=leaks.clips,
            leaked_videos=leaks.videos,
            removed_for_leakage=len(removed),
            is_miniature=self.is_miniature,
            notes=(*self.annotation_notes(), *([] if told is None else [told])),
            lists={
                "train": ListIdentity.of(train_list.path.stem, train_list.ids),
                "test": ListIdentity.of(self._ground_truth.list_name, test_ids),
            },
            classes=self.event_classes(),
        )

    def setup(self, stage: str) -> None:
        """Loads the lists; refuses to train where shards would be fetched over and over."""
        super().setup(stage)
        if stage == "fit" and isinstance(self._folder, ShardFolder):
            self._folder.shards.require_room(self.config.shuffle_block)

    def files_to_pack(self, sample_id: str) -> Sequence[tuple[str, str]]:
        """As ``files_of``, for whatever a method may ask of the sample."""
        return self.files_of(sample_id)

    def ids_to_pack(self) -> tuple[str, ...]:
        """The clips of the lists, whether they leak or not: those to train on, then the test."""
        train = (clip for each in self._train_list.ids for clip in self.clips_of(each))
        return (*train, *self._truth_of)

    def packed_files(self) -> tuple[ClipFiles, ...]:
        """The files that are here of every clip of the lists, in list order."""
        pairs = (pair for each in self.ids_to_pack() for pair in self.files_to_pack(each))
        return self._folder.files_of(pairs)

    def file_reasons(self, names: Sequence[str]) -> dict[str, str]:
        """Why files below the root cannot be used."""
        return self._folder.file_reasons(names, verify=True)

    def truth(self) -> tuple[Truth, ...]:
        """Truth of the test split, one row per clip."""
        return tuple(self._truth_of[sample_id] for sample_id in self.report.splits["test"].ids)

    def frames(self, split: str, row: int) -> Tensor:
        """The frame of a clip, ``(T, 3, H, W)`` uint8, the same in every segment."""
        frame_id, _ = self.parts_of(self.report.splits[split].ids[row])
        frame = self.picture(frame_id, self.inputs.image_size, self.inputs.resizing)
        return frame.expand(self.inputs.num_segments, *frame.shape)

    def waveform(self, split: str, row: int) -> Tensor:
        """The sound around the frame of a clip, ``(T, S)`` float32 in [-1, 1]."""
        sample_id = self.report.splits[split].ids[row]
        _, sound_id = self.parts_of(sample_id)
        return self.windows(sound_id, self.seconds_of(sample_id))

    def picture(self, frame_id: str, size: int, resizing: Resizing = SQUASHED) -> Tensor:
        """A frame by its id, ``(3, size, size)`` uint8."""
        path = _there(self._folder.frame(frame_id))
        try:
            return read_frame(self._folder.media(path), size, resizing)
        except UnreadableMediaError as error:
            raise late_failure(path, error) from error

    def windows(self, sound_id: str, seconds: float | None) -> Tensor:
        """Sound around a time in it, or around its middle: ``(T, S)`` float32 in [-1, 1]."""
        path = _there(self._folder.sound(sound_id))
        try:
            return still_windows(self._folder.media(path), self.inputs, seconds)
        except UnreadableMediaError as error:
            raise late_failure(path, error) from error

    def fingerprints(self, split: str) -> Fingerprints | None:
        """Hashes of the files of each clip, the same from a root and from shards.

        None where clips do not come as files.
        """
        ids, folder = self.report.splits[split].ids, self._folder
        if not all(map(self.files_of, ids)):
            return None
        frames = {i: [_there(folder.frame(name)) for name, _ in self.files_of(i)] for i in ids}
        sounds = {i: [_there(folder.sound(name)) for _, name in self.files_of(i)] for i in ids}
        digests = folder.digests(
            {path for paths in (*frames.values(), *sounds.values()) for path in paths}
        )

        def told(files: Mapping[str, Sequence[Path]]) -> tuple[str, ...]:
            hashes = (" ".join(digests[path] for path in files[each]) for each in ids)
            return tuple(f"{found} {self.recipe_of(each)}"
                         for each, found in zip(ids, hashes, strict=True))  # fmt: skip

        return Fingerprints(told(frames), told(sounds))

    def frames_shown(self, sample_id: str) -> Sequence[str]:
        """Ids of the frames of the T segments of a sample."""
        frame_id, _ = self.parts_of(sample_id)
        return [frame_id] * self.inputs.num_segments

    def picture_contents(self, split: str) -> tuple[tuple[str, ...], ...]:
        """Hashes of the image file of each segment, the same from a root and from shards."""
        shown = [self.frames_shown(each) for each in self.report.splits[split].ids]
        digests = self.frame_digests(each for of_clip in shown for each in of_clip)
        return tuple(tuple(digests[each] for each in of_clip) for of_clip in shown)

    def frame_digests(self, frame_ids: Iterable[str]) -> dict[str, str]:
        """Hash of the file of each frame."""
        paths = {each: _there(self._folder.frame(each)) for each in frame_ids}
        digests = self._folder.digests(paths.values())
        return {each: digests[path] for each, path in paths.items()}

    def whole_picture(self, split: str, row: int, segment: int) -> Tensor:
        """The image of a segment at its own size, ``(3, H, W)`` uint8."""
        path = _there(
            self._folder.frame(self.frames_shown(self.report.splits[split].ids[row])[segment])
        )
        try:
            return read_picture(self._folder.media(path))
        except UnreadableMediaError as error:
            raise late_failure(path, error) from error

    def recipe_of(self, sample_id: str) -> str:
        """What a sample is made by, out of its files: here the time of its frame in its sound."""
        return str(self.seconds_of(sample_id))

    def boxes(self, split: str, row: int) -> tuple[NDArray[np.float64], ...]:
        """Boxes of each annotator of a training clip; empty where it is not labelled."""
        if split == "test":
            return ()
        labelled = self._labelled.get(self.report.splits[split].ids[row])
        return () if labelled is None else labelled.boxes

    def known_lists(self) -> tuple[KnownList, ...]:
        """The list that is tested, and every list of a published name in the root.

        Where there are no annotations, the first test list that is found stands for the tested one.

        Raises:
            BenchError: there are neither annotations nor a test list, or a list is malformed.
        """
        chosen = (self._tested_list, *self._chosen_lists())
        found = {(each.use, each.name): each for each in chosen}
        reader = READERS[self.data_name]
        named = dict.fromkeys((*reader.lists.values(), *self.usual_train_lists), "train")
        named |= dict.fromkeys(reader.test_lists.values(), "test")
        for stem, use in named.items():
            path = next((path for path in self._list_files(stem) if path.is_file()), None)
            if path is not None and (use, stem) not in found:
                listed = self.read_list(path)
                found[use, stem] = KnownList(stem, use, listed.ids, listed.duplicates)
        return tuple(found.values())

    @cached_property
    def _tested_list(self) -> KnownList:
        try:
            truth = self._ground_truth
        except BenchError:
            reader = READERS[self.data_name]
            usual = () if reader.test_list is None else (Path(reader.test_list).stem,)
            stems = dict.fromkeys((*usual, *reader.test_lists.values()))
            paths = (path for stem in stems for path in self._list_files(stem))
            path = next((path for path in paths if path.is_file()), None)
            if path is None:
                raise
            return KnownList(path.stem, "test", self.read_list(path).ids)
        return KnownList(truth.list_name, "test", tuple(each.id for each in truth.truth))

    def _chosen_lists(self) -> Sequence[KnownList]:
        chosen = self._train_list
        if not chosen.ids:
            return ()
        return (KnownList(chosen.path.stem, "train", chosen.ids, chosen.duplicates),)

    def annotated(self) -> tuple[Truth, ...]:
        """Truth of the whole test list; nothing where there are no annotations."""
        return () if self.annotation_defect() else self._ground_truth.truth

    def annotation_defect(self) -> str | None:
        """What a run would be refused with for its annotations or its test list."""
        try:
            _ = self._ground_truth  # reads them
        except BenchError as error:
            return str(error)
        return None

    def annotation_notes(self) -> tuple[str, ...]:
        """What is to be told of the lists and annotations."""
        defect = self.annotation_defect()
        notes = (
            self._ground_truth.notes
            if defect is None
            else (f"annotations were not read: {defect}",)
        )
        return (*notes, *self._list_notes())

    def media(self, sample_id: str) -> SampleFiles:
        """All files of a sample; nothing where the root holds no media at all."""
        return self.files_at(self.files_to_pack(sample_id)) if self.has_media else SampleFiles()

    def files_at(self, pairs: Sequence[tuple[str, str]]) -> SampleFiles:
        """The files of frames and sounds, each once; none where one is not here."""
        frames = [self._folder.frame(each) for each in dict.fromkeys(frame for frame, _ in pairs)]
        sounds = [self._folder.sound(each) for each in dict.fromkeys(sound for _, sound in pairs)]
        there = [[path for path in paths if path is not None] for paths in (frames, sounds)]
        if len(there[0]) < len(frames) or len(there[1]) < len(sounds):
            return SampleFiles()
        return SampleFiles(tuple(there[0]), tuple(there[1]))

    @cached_property
    def has_media(self) -> bool:
        """Whether the root has the folders of some layout."""
        try:
            return bool(self._folder.layouts)
        except BenchError:
            return False

    @property
    def is_miniature(self) -> bool:
        """Whether the root was made by ``bench sample-data``."""
        return (self._root / MINIATURE_MARK).exists()

    def _list_files(self, stem: str) -> list[Path]:
        """Where a list of that name may be."""
        folders, ends = (self._root, self._root / "metadata"), READERS[self.data_name].list_ends
        return [folder / f"{stem}{end}" for folder in folders for end in ends]

    @property
    def usual_files(self) -> str:
        """Frame and sound of a clip as the first layout has them, for messages."""
        first = self.layouts[0]
        return f"{first.frames[0]} and {first.sounds[0]}"

    @property
    def _root(self) -> Path:
        """Where annotations and lists are: the data root, or the copies beside the shards."""
        if self.config.root is None and self._shards is not None:
            return self._shards.root
        if self.config.root is None:
            raise BenchError(
                f"data.root is not set: {self.obtain} Then add data.root=DIR. Without a download, "
                f"make a miniature with: {self.sample_command}; or run on --data synthetic."
            )
        return expanded(self.config.root)

    @property
    def sample_command(self) -> str:
        """The command that makes a miniature."""
        return f"bench sample-data {self.data_name} --root DIR"

    @cached_property
    def _shards(self) -> Shards | None:
        if self.config.shards is None:
            return None
        return Shards(self.config.shards, self.config.shard_cache_gb)

    @cached_property
    def _folder(self) -> ClipFolder:
        return self.folder()

    def folder(self) -> ClipFolder:
        """Where frames and sounds are; looks for them anew."""
        if self._shards is not None:
            return ShardFolder(self._shards, self.layouts, self.sample_command)
        return ClipFolder(self._root, self.layouts, self.sample_command)

    @cached_property
    def _ground_truth(self) -> GroundTruth:
        return self.read_truth()

    def read_truth(self) -> GroundTruth:
        """Truth of the test list, as the annotations have it."""
        config = self.config
        return ground_truth(
            self.data_name,
            root=self._root,
            annotations=None if config.annotations is None else Path(config.annotations),
            test_list=None if config.test_list is None else Path(config.test_list),
            words=SETTINGS,
        )

    @cached_property
    def _truth_of(self) -> dict[str, Truth]:
        return {truth.id: truth for truth in self._ground_truth.truth}

    @cached_property
    def _train_list(self) -> IdList:
        """The clips to train on, with boxes and without; empty where no list is set or found."""
        labelled, unlabelled = self._labelled_list, self._unlabelled_list
        if labelled is None:
            return unlabelled
        if self.config.unlabelled is None:
            return labelled
        ids = tuple(dict.fromkeys((*labelled.ids, *unlabelled.ids)))
        name = labelled.path.with_name(f"{labelled.path.stem}+{unlabelled.path.stem}")
        return IdList(name, ids, labelled.duplicates + unlabelled.duplicates)

    @cached_property
    def _labelled_list(self) -> IdList | None:
        return self.labelled_list()

    @cached_property
    def _unlabelled_list(self) -> IdList:
        config = self.config
        if config.unlabelled is not None:
            return self.listed(config.unlabelled, "data.unlabelled")
        if config.train_list is not None:
            return self.listed(config.train_list, "data.train_list")
        usual = (path for name in self.usual_train_lists for path in self._list_files(name))
        found = next((path for path in usual if path.is_file()), None)
        return IdList(Path("none"), (), 0) if found is None else self.read_list(found)

    def listed(self, name: str, setting: str) -> IdList:
        """The list of clips that a setting names.

        Raises:
            BenchError: no such list, or a line in it is no id.
        """
        if name != FULL:
            return self.read_list(find_named_list(self._root, self.data_name, name, setting))
        reader = READERS[self.data_name]
        ids = dict.fromkeys(reader.spell(key) for key in self._folder.ids())
        found = tuple(each for each in ids if reader.form.pattern.fullmatch(each))
        return IdList(self._root / FULL, found, 0)

    def read_list(self, path: Path) -> IdList:
        """The clips, or what stands for several, that a file lists."""
        reader = READERS[self.data_name]
        return read_id_list(path, reader.list_form, id_of=reader.spell)

    @cached_property
    def _labelled(self) -> Mapping[str, Truth]:
        """Training clips whose boxes may be seen."""
        listed = self._train_list if self._labelled_list is None else self._labelled_list
        return self.labelled_boxes(listed.ids)

    def _split(self, name: str, ids: tuple[str, ...], truths: Mapping[str, Truth]) -> Split:
        """Rows of a split; training clips have no class, whatever the annotations know."""
        videos = tuple(self.video_of(self.pairs_of(sample_id)[0][0]) for sample_id in ids)
        categories = tuple(truths[i].category if i in truths else None for i in ids)
        return Split(name, ids, videos, categories)

    def parts_to_train(
        self, clip_ids: Sequence[str], leaked: frozenset[str]
    ) -> dict[str, "PartOfList"]:
        """Training and validation clips; a video that is tested, too, never validates."""
        divided = self.divided(clip_ids, leaked)
        return {split: self.part(ids) for split, ids in divided.items()}

    def divided(self, clip_ids: Sequence[str], leaked: frozenset[str]) -> dict[str, list[str]]:
        """Clips that train and clips that validate, by video; ``leaked`` videos only train."""
        fraction = self.config.val_fraction
        if not fraction:
            return {"train": list(clip_ids)}
        videos = [self.video_of(clip_id) for clip_id in clip_ids]
        held_out = [each not in leaked and is_held_out(each, fraction) for each in videos]
        train = [each for each, out in zip(clip_ids, held_out, strict=True) if not out]
        return {
            "train": train,
            "val": [i for i, out in zip(clip_ids, held_out, strict=True) if out],
        }

    def part(self, sample_ids: Sequence[str]) -> "PartOfList":
        """The samples of a list that can be used, up to the limit."""
        present: list[str] = []
        missing: list[str] = []
        for sample_id in sample_ids:
            (present if self.is_here(sample_id) else missing).append(sample_id)
        limit = len(present) if self.config.limit is None else self.config.limit
        usable: list[str] = []
        unreadable: dict[str, str] = {}
        while present and len(usable) < limit:
            tried, present = present[: limit - len(usable)], present[limit - len(usable) :]
            defects = self._defects(tried)
            usable += [each for place, each in enumerate(tried) if place not in defects]
            unreadable |= {tried[place]: reason for place, reason in defects.items()}
        return PartOfList(tuple(usable), tuple(missing), unreadable)

    def _defects(self, sample_ids: Sequence[str]) -> dict[int, str]:
        """Why samples cannot be used: their place in the list and the first reason."""
        pairs = [(place, pair) for place, each in enumerate(sample_ids)
                 for pair in self.files_of(each)]  # fmt: skip
        files = [pair for _, pair in pairs]
        found = self._folder.defects(files, verify=self.config.verify) if files else {}
        reasons: dict[int, str] = {}
        for number, reason in sorted(found.items()):
            reasons.setdefault(pairs[number][0], reason)
        for place, sample_id in enumerate(sample_ids):
            further = None if place in reasons else self.further_defect(sample_id)
            if further is not None:
                reasons[place] = further
        return reasons

    def is_here(self, sample_id: str) -> bool:
        """Whether each frame and each sound of a sample has a file."""
        return all(
            self._folder.frame(frame_id) is not None and self._folder.sound(sound_id) is not None
            for frame_id, sound_id in self.files_of(sample_id)
        )

    def _list_notes(self) -> tuple[str, ...]:
        train_list = self._train_list
        if not train_list.ids:
            usual, ends = ", ".join(self.usual_train_lists), READERS[self.data_name].list_ends
            return (f"no training list: none of {usual} ({', '.join(ends)}) is in data.root",)
        if train_list.duplicates:
            repeated = f"{train_list.duplicates} repeated ids left out"
            return (f"training list {train_list.path.name}: {repeated}",)
        return ()


class PartOfList(NamedTuple):
    """What is left of a list, and what is not."""

    ids: tuple[str, ...]
    missing: tuple[str, ...]
    unreadable: dict[str, str]


def late_failure(path: Path, error: UnreadableMediaError) -> BenchError:
    """What to say where a file cannot be read that was there when the lists were made."""
    return BenchError(
        f"{path} cannot be read: {error}; replace the file, or run with data.verify=true, which "
        "excludes and reports unreadable clips"
    )


def _there(path: Path | None) -> Path:
    assert path is not None, "only clips that are here have rows"
    return path
