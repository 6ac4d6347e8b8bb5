"""AVE: ten-second videos of 28 events, with the class of every second and no boxes.

Paper: Tian, Shi, Li, Duan, Xu, "Audio-Visual Event Localization in Unconstrained Videos", ECCV
2018. Annotations and order files: https://github.com/YapengTian/AVE-ECCV18 at 93f843f (``data/``,
no licence file); its README links the videos (from AudioSet, CC BY 4.0 for the labels; the videos
stay under their owners' terms) and the features.

::

    <root>/frames/<video id>/00.jpg ... 09.jpg    the middle of each second, any size
    <root>/audio/<video id>.wav                   the whole ten seconds
    <root>/Annotations.txt                        see :mod:`datamodules.ave_annotations`
    <root>/train_order.h5, val_order.h5, test_order.h5    here or in <root>/metadata

``bench prepare ave --videos DIR/AVE --root DIR`` makes the frames and sounds out of the released
folder ``AVE`` of videos. With ``data.feature_files=DIR`` the published features are read in their
place: see :mod:`datamodules.ave_features`.

An id is ``<video id>@<number of the category>``: 45 videos have two categories or three, each in a
row of its own. A method that asks for T of the 10 seconds gets the middle ones, so that
``clip.target`` is second 5; a window of sound is centred on the middle of its second.

sha256 of the published files::

    0d24a9ec5cd4ceb779ebd83d74e83ec8e55c5e468cede3f320fb57346c9dd321  Annotations.txt
    a216fcdd02782ba9d10c9ea79116120eb3be467740e58290e1b340d42a590456  train_order.h5
    5692aec0efb30e4efa49a867a902c1993b4c88a7d3ec19879349e540e7a5d9ca  val_order.h5
    f9bb79defc1f784ca5dda9cdd3ee52af6d24ccb399a1cfab6bf0d373f5681076  test_order.h5

8 videos of the training list are in the test list and 10 in the validation list, under another
category; their training clips are left out unless ``data.allow_leakage=true``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.ave_annotations import (
    BACKGROUND,
    CATEGORIES,
    SEGMENTS,
    AveRow,
    read_ave_list,
    read_rows,
    video_of,
)
from datamodules.ave_features import AveFeatures
from datamodules.base import DataConfig, DataReport, KnownList, Split
from datamodules.clip import Features, Inputs
from datamodules.folder_clips import (
    FULL,
    FolderClips,
    FolderConfig,
    PartOfList,
    late_failure,
)
from datamodules.id_lists import IdList, ListIdentity
from datamodules.layouts import FLAT
from datamodules.media import UnreadableMediaError, read_windows
from datamodules.user_paths import expanded
from metrics.errors import BenchError
from metrics.truth import Truth

VIDEO_FOLDERS = ("AVE", "AVE_Dataset/AVE")  # of the release, below what a user may take for root
NOISY = "noisy-{:05d}@{}"  # made up: nobody published which videos they are


@dataclass
class AveConfig(FolderConfig):
    """Settings ``data.*`` of ``ave``."""

    val_list: str | None = None  # as train_list; else val_order where it is found
    feature_files: str | None = None  # folder of the published features, in place of the media
    noisy: bool = False  # train on the published background-only videos too; weak labels only


class Ave(FolderClips):
    """AVE; see the module's text for the folders and the lists."""

    Config: ClassVar[type[AveConfig]] = AveConfig
    config: AveConfig
    data_name = "ave"
    layouts = (FLAT._replace(source="frames of each second"),)
    usual_train_lists = ("train_order", "train")
    usual_seconds = (9.5, 10.5)
    usual_files = "frames/<video id>/05.jpg and audio/<video id>.wav"
    obtain: ClassVar[str] = (
        "--data ave needs a folder with Annotations.txt, train_order.h5, val_order.h5 and "
        "test_order.h5 of https://github.com/YapengTian/AVE-ECCV18 (data), which also links the "
        "videos; bench prepare ave --videos DIR/AVE --root DIR cuts them."
    )

    def __init__(self, config: AveConfig, inputs: Inputs, *, seed: int) -> None:
        """Checks the settings and reads nothing.

        Raises:
            BenchError: a setting is out of range, or does not go with another or with the method.
        """
        super().__init__(config, inputs, seed=seed)
        _check(config, inputs)
        first = SEGMENTS // 2 - inputs.num_segments // 2
        self.seconds = slice(first, first + inputs.num_segments)

    video_of = staticmethod(video_of)

    def files_of(self, sample_id: str) -> Sequence[tuple[str, str]]:
        """Frame and sound of each second that is asked for; none where features are read."""
        if self.config.feature_files is not None:
            return ()
        video = video_of(sample_id)
        return [(f"{video}/{second:02d}", video) for second in range(SEGMENTS)[self.seconds]]

    def files_to_pack(self, sample_id: str) -> Sequence[tuple[str, str]]:
        """Frame and sound of each of the ten seconds."""
        video = video_of(sample_id)
        return [(f"{video}/{second:02d}", video) for second in range(SEGMENTS)]

    def ids_to_pack(self) -> tuple[str, ...]:
        """The clips to train on, to validate on and to test."""
        return (*super().ids_to_pack(), *(() if self._val_list is None else self._val_list.ids))

    def check_root(self) -> None:
        """Nothing, or a ``BenchError`` where the root is missing or has no frames and sounds."""
        root = self._root
        if root.is_dir() and self.config.feature_files is not None:
            return
        for folder in VIDEO_FOLDERS:
            if not (root / "frames").is_dir() and any((root / folder).glob("*.mp4")):
                raise BenchError(
                    f"{root / folder} holds the videos of AVE, and no frames and sounds were cut "
                    f"of them; run: bench prepare ave --videos {root / folder} --root {root}"
                )
        super().check_root()

    def load(self) -> DataReport:
        """As of any folder of clips, with classes and a validation list.

        Raises:
            BenchError: see ``FolderClips.load`` and :class:`AveFeatures`.
        """
        report = super().load()
        lists = {**report.lists}
        if self._val_list is not None:
            lists["val"] = ListIdentity.of(self._val_list.path.stem, self._val_list.ids)
        notes = (*report.notes, *self._part_notes())
        return replace(report, classes=CATEGORIES, lists=lists, notes=notes)

    def truth(self) -> tuple[Truth, ...]:
        """Classes of the seconds of each test clip that are asked for; nobody marked a place."""
        return tuple(
            truth._replace(segments=self._row_of[truth.id].labels[self.seconds])
            for truth in super().truth()
        )

    @classmethod
    def segments_of(cls, config: DataConfig) -> int:
        """All ten seconds."""
        return SEGMENTS

    def frames_shown(self, sample_id: str) -> Sequence[str]:
        """The frame of each second that is asked for."""
        return [frame_id for frame_id, _ in self.files_of(sample_id)]

    def frames(self, split: str, row: int) -> Tensor:
        """The frame of each second, ``(T, 3, H, W)`` uint8.

        Raises:
            BenchError: features stand in for the pictures, which are not here.
        """
        if not self.has_media:
            raise BenchError(
                f"{self._root} has no pictures of AVE, only features; give data.root=DIR with "
                "them, or leave out what shows pictures"
            )
        pairs = self.files_of(self.report.splits[split].ids[row])
        size, resizing = self.inputs.image_size, self.inputs.resizing
        return torch.stack([self.picture(frame_id, size, resizing) for frame_id, _ in pairs])

    def waveform(self, split: str, row: int) -> Tensor:
        """The sound around the middle of each second, ``(T, S)`` float32 in [-1, 1]."""
        path = self._folder.sound(video_of(self.report.splits[split].ids[row]))
        assert path is not None, "only clips that are here have rows"
        centres = [second + 0.5 for second in range(SEGMENTS)[self.seconds]]
        inputs = self.inputs
        try:
            media = self._folder.media(path)
            return read_windows(media, inputs.sample_rate_hz, inputs.segment_samples, centres)
        except UnreadableMediaError as error:
            raise late_failure(path, error) from error

    def features(self, split: str, row: int, source: int | None = None) -> Features | None:
        """Published features of the seconds, ``(T, 512, 7, 7)`` and ``(T, 128)`` float32."""
        if self._features is None:
            return super().features(split, row, source)
        clip_id = self.report.splits[split].ids[row]
        if clip_id in self._place_of_noisy:
            return self._features.noisy(self._place_of_noisy[clip_id], self.seconds)
        return self._features.event(self._place_of[clip_id], self.seconds)

    def labels(self, split: str, row: int) -> NDArray[np.int64] | None:
        """Class of each second that is asked for; None of test clips and of unlabelled ones."""
        clip_id = self.report.splits[split].ids[row]
        if not self._is_labelled(split, clip_id):
            return None
        return self._row_of[clip_id].labels[self.seconds]

    def clip_label(self, split: str, row: int) -> int | None:
        """The event of a clip, whether or not it is in the seconds that are asked for."""
        clip_id = self.report.splits[split].ids[row]
        if not self._is_labelled(split, clip_id):
            return None
        of_row = self._row_of.get(clip_id)
        has_event = of_row is not None and of_row.start < of_row.end
        return of_row.category if of_row is not None and has_event else BACKGROUND

    def labelled_list(self) -> IdList | None:
        """The training clips whose classes ``data.labelled`` lets a method see; None: all."""
        chosen = self.config.labelled
        return None if chosen is None else self.listed(chosen, "data.labelled")

    def listed(self, name: str, setting: str) -> IdList:
        """The list that a setting names; ``full`` is every annotated clip."""
        if name == FULL:
            return IdList(self._root / FULL, tuple(self._row_of), 0)
        return super().listed(name, setting)

    def known_lists(self) -> tuple[KnownList, ...]:
        """The lists that are found, that of validation known as such."""
        found, val = super().known_lists(), self._val_list
        if val is None:
            return found
        name = val.path.stem
        trained = name == self._train_list.path.stem
        others = (each for each in found if trained or (each.use, each.name) != ("train", name))
        return (*others, KnownList(name, "val", val.ids, val.duplicates))

    def annotation_notes(self) -> tuple[str, ...]:
        """What is to be told of the lists, of what they share, and of labels beside features."""
        notes = [*super().annotation_notes(), *self._val_notes()]
        if self._features is not None:
            notes += self._features.notes
        return tuple(notes)

    def _part_notes(self) -> tuple[str, ...]:
        """Which seconds are scored, where they are not all."""
        if self.inputs.num_segments == SEGMENTS:
            return ()
        middle = ", ".join(str(second) for second in range(SEGMENTS)[self.seconds])
        return (f"seconds {middle} of 0 to {SEGMENTS - 1} are read and scored",)

    def _is_labelled(self, split: str, clip_id: str) -> bool:
        if split == "train":
            return self._labelled_ids is None or clip_id in self._labelled_ids
        return split != "test"

    @cached_property
    def _labelled_ids(self) -> frozenset[str] | None:
        listed = self._labelled_list
        return None if listed is None else frozenset((*listed.ids, *self._place_of_noisy))

    @cached_property
    def _rows(self) -> tuple[AveRow, ...]:
        return read_rows(self._annotations)

    @cached_property
    def _row_of(self) -> dict[str, AveRow]:
        return {row.id: row for row in self._rows}

    @cached_property
    def _place_of(self) -> dict[str, int]:
        return {row.id: place for place, row in enumerate(self._rows)}

    @cached_property
    def _place_of_noisy(self) -> dict[str, int]:
        count = 0 if self._features is None else self._features.num_noisy
        return {NOISY.format(place, BACKGROUND): place for place in range(count)}

    @cached_property
    def _features(self) -> AveFeatures | None:
        if self.config.feature_files is None:
            return None
        folder = expanded(self.config.feature_files)
        return AveFeatures(folder, self._rows, noisy=self.config.noisy)

    @property
    def _annotations(self) -> Path:
        path = self._ground_truth.annotations
        assert path is not None
        return path

    def read_list(self, path: Path) -> IdList:
        """Ids of an order file, or of a list of ids."""
        return read_ave_list(path, self._annotations)

    @cached_property
    def _val_list(self) -> IdList | None:
        if self.config.val_list is not None:
            return self.listed(self.config.val_list, "data.val_list")
        found = next((path for path in self._list_files("val_order") if path.is_file()), None)
        return None if found is None else self.read_list(found)

    def _split(self, name: str, ids: tuple[str, ...], truths: Mapping[str, Truth]) -> Split:
        """Rows with their classes, which are known of all clips; no method sees them by this."""
        rows = (self._row_of.get(each) for each in ids)
        categories = (None if row is None else CATEGORIES[row.category] for row in rows)
        return Split(name, ids, tuple(map(video_of, ids)), tuple(categories))

    def parts_to_train(
        self, clip_ids: Sequence[str], leaked: frozenset[str]
    ) -> dict[str, PartOfList]:
        """Training clips without those of validation videos, and the list of validation."""
        if not self.config.allow_leakage:
            clip_ids = [each for each in clip_ids if video_of(each) not in self._val_videos]
        train = self.part(clip_ids)
        ids = (*train.ids, *self._place_of_noisy)[: self.config.limit]
        parts = {"train": train._replace(ids=ids)}
        if self._val_list is None:
            return parts
        tested = {video_of(truth.id) for truth in self._ground_truth.truth}
        val = [each for each in self._val_list.ids if video_of(each) not in tested]
        return {**parts, "val": self.part(val)}

    @cached_property
    def _val_videos(self) -> frozenset[str]:
        listed = () if self._val_list is None else self._val_list.ids
        return frozenset(map(video_of, listed))

    def _val_notes(self) -> tuple[str, ...]:
        if self._val_list is None:
            return ()
        shared = [each for each in self._train_list.ids if video_of(each) in self._val_videos]
        fate = "kept" if self.config.allow_leakage else "left out"
        videos = len(set(map(video_of, shared)))
        found = f"{len(shared)} training clips of {videos} videos of the validation list {fate}"
        return (found,) if shared else ()


def _check(config: AveConfig, inputs: Inputs) -> None:
    """Nothing, or a ``BenchError`` for settings that do not go together."""
    if not 1 <= inputs.num_segments <= SEGMENTS:
        raise BenchError(
            f"data ave has clips of {SEGMENTS} segments, the method asks for "
            f"{inputs.num_segments}; choose a method with inputs.num_segments of 1 to {SEGMENTS}"
        )
    if config.val_fraction:
        raise BenchError(
            f"data.val_fraction={config.val_fraction}: data ave has a validation list of its own; "
            "leave data.val_fraction=0, or give data.val_list=FILE"
        )
    if config.feature_files is None:
        if config.noisy:
            raise BenchError(
                "data.noisy=true: the background-only videos are published as features alone; "
                "give data.feature_files=DIR"
            )
        return
    where = f"data.feature_files={config.feature_files}"
    if not inputs.takes_features:
        raise BenchError(
            f"{where}: the method reads frames and sounds; leave data.feature_files out"
        )
    if inputs.proposals:
        raise BenchError(
            f"{where}: the method asks for proposals, which are found in frames; leave "
            "data.feature_files out"
        )
    if config.augmentation != "none":
        raise BenchError(
            f"{where}: features are of whole frames, so data.augmentation={config.augmentation} "
            "changes nothing; set data.augmentation=none"
        )
    if config.noisy and inputs.labels != "clip":
        raise BenchError(
            "data.noisy=true: the background-only videos are for a method that learns from classes "
            "of whole clips; leave data.noisy out"
        )
