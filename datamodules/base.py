"""The contract of a data set: lists and readers below, seeded loaders above."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.augment import AUGMENTATIONS
from datamodules.clip import Batch, Features, Inputs
from datamodules.clip_dataset import ClipDataset
from datamodules.id_lists import ListIdentity, ids_sha256
from datamodules.proposal_store import Pictures, ProposalStore, proposals_of
from datamodules.proposals import Extractor
from datamodules.sampling import (
    Draw,
    GlobalBatchSampler,
    Rows,
    StrideSampler,
    swapped_sounds,
)
from datamodules.user_paths import expanded
from metrics.errors import BenchError
from metrics.truth import Truth

LABELS = ("none", "clip", "segment")
FEATURE_SETTINGS = {
    "feature_cache": ("off", "use", "make"),
    "feature_dtype": ("float32", "float16"),
}


@dataclass
class DataConfig:
    """Settings ``data.*`` that every data set has."""

    root: str | None = None
    batch_size: int = 128  # of the whole run, shared by its devices
    num_workers: int = 0
    augmentation: str = "none"  # none | crop_flip | crop_flip_roll | moco
    labelled: str | None = None  # training clips whose boxes and labels are seen; null: all
    unlabelled: str | None = None  # training clips beside them whose boxes and labels are not
    allow_leakage: bool = False
    val_fraction: float = 0.0  # of the training videos, held out for `trainer.select`
    limit: int | None = None  # clips of each split; a limited run is never ranked
    shuffle_block: int | None = None  # clips that are read together; null: any order of them all
    feature_cache: str = "use"  # off | use | make: features of frozen streams
    feature_dtype: str = "float32"  # float32 | float16, as they are kept
    feature_cache_gb: float = 100.0  # of all features on this machine
    proposals: str = "selective_search"  # | edgeboxes | grid: where boxes come from
    proposal_width: int | None = 320  # pixels of a picture that is searched; null: its own
    proposal_model: str | None = None  # file of the structured forest of edgeboxes


def extractor_of(config: DataConfig) -> Extractor:
    """What finds boxes under these settings; raises BenchError as ``Extractor`` does."""
    model = config.proposal_model
    return Extractor(
        config.proposals, config.proposal_width, None if model is None else expanded(model)
    )


@dataclass(frozen=True)
class Split:
    """One list of clips: what row ``i`` is."""

    name: str
    ids: tuple[str, ...]
    videos: tuple[str, ...]
    categories: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sha256(self) -> str:
        """Hash of the ids, one per line: the identity of the list in a record."""
        return ids_sha256(self.ids)


class KnownList(NamedTuple):
    """A list of ids that was found, as it was published."""

    name: str
    use: str  # train | val | test | labels
    ids: tuple[str, ...]
    duplicates: int = 0  # rows left out because their id stood above


class SampleFiles(NamedTuple):
    """The files of a sample; both are empty where one of them is not here."""

    frames: tuple[Path, ...] = ()
    sounds: tuple[Path, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return (*self.frames, *self.sounds)


class Fingerprints(NamedTuple):
    """What tells the contents of a split apart, row by row: equal where they are equal."""

    frames: tuple[str, ...]
    sounds: tuple[str, ...]


@dataclass(frozen=True)
class DataReport:
    """What a record must say about the data it was made on."""

    splits: dict[str, Split]
    n_expected: int  # test clips of the list as published
    missing: tuple[str, ...] = ()  # test clips without files
    unreadable: dict[str, str] = field(default_factory=dict)  # test id -> reason
    train_missing: tuple[str, ...] = ()
    train_unreadable: dict[str, str] = field(default_factory=dict)
    leaked_clips: int = 0  # training clips that are test clips, before any removal
    leaked_videos: int = 0  # videos of the training list that have test clips
    removed_for_leakage: int = 0  # training clips left out by video
    notes: tuple[str, ...] = ()
    is_miniature: bool = False  # made by `bench sample-data`; no run on it is ranked
    lists: dict[str, ListIdentity] = field(default_factory=dict)  # by use, as they were published
    classes: tuple[str, ...] = ()  # of events in the order of their numbers, without background


class ClipData(pl.LightningDataModule, ABC):
    """A data set that delivers exactly the ``Inputs`` of a method.

    A data set writes ``load`` (lists, exclusions, leakage), ``truth``, ``frames`` and ``waveform``,
    and where it has them ``boxes``, ``labels`` and the isolated sounds of its clips.
    Everything drawn at random is a function of (seed, epoch, row or id).
    """

    Config: ClassVar[type[DataConfig]] = DataConfig
    data_name: ClassVar[str] = "D"  # under which the data set is registered, for messages
    has_files: ClassVar[bool] = False  # whether clips are files of the user's, which may be missing
    usual_seconds: ClassVar[tuple[float, float]] = (0.0, float("inf"))  # shortest, longest sound
    pretraining: ClassVar[Mapping[str, object]] = MappingProxyType({})
    """Settings under which these data stand for what streams are pretrained on."""

    def __init__(self, config: DataConfig, inputs: Inputs, *, seed: int) -> None:
        super().__init__()
        if config.augmentation not in AUGMENTATIONS:
            known = ", ".join(AUGMENTATIONS)
            raise BenchError(
                f"data.augmentation={config.augmentation!r} is unknown; use one of {known}"
            )
        if inputs.labels not in LABELS:
            raise ValueError(f"inputs.labels must be one of {LABELS}, got {inputs.labels!r}")
        for setting, known_values in FEATURE_SETTINGS.items():
            value = getattr(config, setting)
            if value not in known_values:
                raise BenchError(
                    f"data.{setting}={value!r} is unknown; use one of {', '.join(known_values)}"
                )
        self.extractor = extractor_of(config)
        self.config, self.inputs, self.seed = config, inputs, seed
        self.cached_features: Callable[[str, int, int | None], Features] | None = None
        self.allow_zero_length_dataloader_with_multiple_devices = True  # more ranks than clips
        self.draw: Draw | None = None
        self.trains = True  # false: no training clip is read; their list counts for leakage alone
        self._loaded: DataReport | None = None

    @abstractmethod
    def load(self) -> DataReport:
        """Lists, exclusions and leakage of this data set; called once, before any reading."""

    @abstractmethod
    def truth(self) -> tuple[Truth, ...]:
        """Ground truth of the test split, one per row."""

    @abstractmethod
    def frames(self, split: str, row: int) -> Tensor:
        """Frames ``(T, 3, H, W)`` uint8 of one clip, as ``inputs`` asks for them."""

    @abstractmethod
    def waveform(self, split: str, row: int) -> Tensor:
        """Sound ``(T, S)`` float32 in [-1, 1], mono, at ``inputs.sample_rate_hz``."""

    def boxes(self, split: str, row: int) -> tuple[NDArray[np.float64], ...]:
        """Boxes of a clip that training may see: ``(K, 4)`` xyxy in [0, 1] of each annotator.

        Empty where the clip is not labelled.
        """
        return ()

    def labels(self, split: str, row: int) -> NDArray[np.int64] | None:
        """Class of each segment of a clip, ``(T,)``; ``len(report.classes)`` is background.

        None where the clip is not labelled.
        """
        return None

    def clip_label(self, split: str, row: int) -> int | None:
        """The one class of a clip, for weak supervision: that of its segments with an event.

        A clip of background alone is background. None where the clip is not labelled.
        """
        labels = self.labels(split, row)
        if labels is None:
            return None
        events = labels[labels < len(self.report.classes)]
        return int(events[0]) if len(events) else len(self.report.classes)

    def features(self, split: str, row: int, source: int | None = None) -> Features | None:
        """Features of one clip in place of its frames and its sound, without the axis of clips.

        ``visual`` is ``(T, C, h, w)`` and ``audio`` ``(T, D)`` float32, of the isolated sound where
        a source is named. None where clips come as frames and sounds; then all clips do. Features
        are of whole frames, so a data set that delivers them refuses augmentation.
        """
        return None if self.cached_features is None else self.cached_features(split, row, source)

    def fingerprints(self, split: str) -> Fingerprints | None:
        """What tells the contents of a split apart, such as hashes of files and times in them.

        Features of frozen streams are kept by it, whatever list or split a clip is in. None where
        the data set cannot say; then none are kept.
        """
        return None

    @classmethod
    def segments_of(cls, config: DataConfig) -> int:
        """Segments with a picture of their own that a clip has; a still has one."""
        return 1

    def picture_contents(self, split: str) -> tuple[tuple[str, ...], ...]:
        """Hash of the picture of each segment, row by row: equal where the pictures are equal.

        Raises:
            BenchError: the data set has no pictures to search for proposals.
        """
        raise BenchError(
            f"data {self.data_name} has no proposals, because it has no pictures to search; choose "
            "a method that needs none"
        )

    def whole_picture(self, split: str, row: int, segment: int) -> Tensor:
        """The whole picture of a segment, ``(3, H, W)`` uint8, as large as the data have it."""
        raise NotImplementedError(f"{type(self).__name__} has no pictures")

    def proposals(self, split: str, row: int) -> Tensor:
        """Object boxes of a clip, ``(T, P, 4)`` float32 xyxy in [0, 1] of the whole picture.

        In the order of their coordinates, with NaN rows at the end where a picture has fewer than
        ``inputs.proposals`` boxes; of more, a sample that is the same in every epoch and run.
        """
        contents = self._picture_contents[split][row]
        return self.found_proposals.padded(contents, self.inputs.proposals)

    @cached_property
    def found_proposals(self) -> ProposalStore:
        """The boxes of all pictures; those that were never searched are searched first.

        Raises:
            BenchError: what was kept is damaged, or a picture cannot be read.
        """
        command = f"bench proposals {self.data_name} with the same data settings"
        return proposals_of(self.pictures(), self.extractor, command)

    def pictures(self) -> Pictures:
        """What reads each picture of all splits, by its content."""
        found: dict[str, Callable[[], Tensor]] = {}
        for split, contents in self._picture_contents.items():
            for row, of_clip in enumerate(contents):
                for segment, content in enumerate(of_clip):
                    found.setdefault(content, partial(self.whole_picture, split, row, segment))
        return found

    @cached_property
    def _picture_contents(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        return {split: self.picture_contents(split) for split in self.report.splits}

    def num_sources(self, split: str, row: int) -> int:
        """How many isolated sounds are known of a clip; they stand in the order of its sources."""
        return 0

    def source_waveform(self, split: str, row: int, source: int) -> Tensor:
        """One isolated sound of a clip, ``(T, S)`` float32 in [-1, 1]."""
        raise NotImplementedError(f"{type(self).__name__} has no isolated sounds")

    def known_lists(self) -> tuple[KnownList, ...]:
        """Every list of ids that is there, for inspection; the first test list is what is tested.

        Raises:
            BenchError: a list or the annotations are missing or malformed.
        """
        return tuple(
            KnownList(split.name, name, split.ids) for name, split in self.report.splits.items()
        )

    def annotated(self) -> tuple[Truth, ...]:
        """Truth of the whole test list, whether or not its files are there."""
        return self.truth()

    def annotation_defect(self) -> str | None:
        """Why the truth of the test list cannot be read; None where it can."""
        return None

    def annotation_notes(self) -> tuple[str, ...]:
        """What is to be told of the lists and annotations."""
        return self.report.notes

    def media(self, sample_id: str) -> SampleFiles:
        """The files of a sample; none where its frames and sounds do not come as files."""
        return SampleFiles()

    @staticmethod
    def video_of(clip_id: str) -> str:
        """The video that a clip was cut from."""
        return clip_id

    @staticmethod
    def parts_of(sample_id: str) -> tuple[str, str]:
        """Ids of the clips that the frame and the sound of a sample come from."""
        return sample_id, sample_id

    def pairs_of(self, sample_id: str) -> tuple[tuple[str, str], ...]:
        """Frame and sound of each clip that a sample is made of: one pair, but for mixtures."""
        return (self.parts_of(sample_id),)

    def further_defect(self, sample_id: str) -> str | None:
        """Why a sample is left out although each of its files can be read."""
        return None

    @property
    def is_miniature(self) -> bool:
        """Whether the data were made by ``bench sample-data``."""
        return self.report.is_miniature

    @property
    def report(self) -> DataReport:
        """Lists and counts; loads them at first use. Splits without a list are their own."""
        if self._loaded is None:
            loaded = self.load()
            own = {
                name: ListIdentity.of(split.name, split.ids)
                for name, split in loaded.splits.items()
            }
            self._loaded = loaded if loaded.lists else replace(loaded, lists=own)
        return self._loaded

    def setup(self, stage: str) -> None:
        """Loads the lists, so that every process fails early and in the same words."""
        if stage == "fit" and not len(self.report.splits["train"]):
            chosen = "data.train_list"
            if self.config.labelled is not None:
                chosen = f"data.labelled={self.config.labelled}"
            raise BenchError(
                f"the training list is empty after exclusions; check data.root and {chosen}"
            )
        if not len(self.report.splits["test"]):
            raise BenchError(
                "the test list is empty after exclusions; check data.root and data.test_list"
            )
        if self.inputs.proposals:
            _ = self.found_proposals  # searched before any process of a loader starts

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled, augmented global batches with the clips that the method draws."""
        rank, world_size = self._place()
        sampler = GlobalBatchSampler(
            len(self.report.splits["train"]),
            self.config.batch_size,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            draw=self.draw,
            block=self.config.shuffle_block,
        )
        return self._loader("train", sampler, augment=True)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """The same seeded batches of validation ids at every epoch.

        None where there are fewer ids than a batch has, for batches are always whole.
        """
        split = self.report.splits.get("val")
        if split is None or len(split) < self.config.batch_size:
            return []
        rank, world_size = self._place()
        sampler = _FixedEpochSampler(
            len(split),
            self.config.batch_size,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
        )
        return self._loader("val", sampler)

    def test_dataloader(self) -> list[DataLoader[Batch]]:
        """Each frame with its own sound; with that of another class; with each isolated sound.

        Loader ``2 + s`` holds the clips that have a source s, with the sound of that source alone.
        """
        test = self.report.splits["test"]
        swapped = swapped_sounds(test.ids, test.categories, self.seed)
        sources = [self.num_sources("test", row) for row in range(len(test))]
        isolated = [
            self._source_loader(np.flatnonzero(np.array(sources) > source), source)
            for source in range(max(sources, default=0))
        ]
        return [self.ordered_loader("test"), self.ordered_loader("test", swapped), *isolated]

    def _source_loader(self, rows: Rows, source: int) -> DataLoader[Batch]:
        rank, world_size = self._place()
        return self._loader(
            "test",
            StrideSampler(rows, rows, self.config.batch_size, source=source, rank=rank,
                          world_size=world_size),
        )  # fmt: skip

    def ordered_loader(
        self, split: str, sound_of: Rows | None = None, *, place: tuple[int, int] | None = None
    ) -> DataLoader[Batch]:
        """Every clip of a split once, in order; row ``i`` with the sound of ``sound_of[i]``.

        Process r of W reads its stride of the batches, ``place`` being ``(r, W)``; that of the
        trainer if None.
        """
        rows = np.arange(len(self.report.splits[split]))
        rank, world_size = place or self._place()
        sampler = StrideSampler(
            rows,
            rows if sound_of is None else sound_of,
            self.config.batch_size,
            rank=rank,
            world_size=world_size,
        )
        return self._loader(split, sampler)

    def chosen_loader(
        self, split: str, rows: Rows, sound_of: Rows, *, place: tuple[int, int] = (0, 1)
    ) -> DataLoader[Batch]:
        """The frames of the given rows, each with the sound of the row beside it, in order.

        Nothing is augmented. Process r of W reads its stride of the batches, ``place`` being
        ``(r, W)``; all of them if not given.
        """
        rank, world_size = place
        sampler = StrideSampler(
            rows, sound_of, self.config.batch_size, rank=rank, world_size=world_size
        )
        return self._loader(split, sampler)

    def _loader(
        self, split: str, sampler: GlobalBatchSampler | StrideSampler, *, augment: bool = False
    ) -> DataLoader[Batch]:
        workers = self.config.num_workers
        return DataLoader(
            ClipDataset(self, split, augment=augment),
            sampler=sampler,
            batch_size=None,  # a key is a whole batch already
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _place(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size


class _FixedEpochSampler(GlobalBatchSampler):
    """Validation batches: the order of epoch 0 at every epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Ignored."""
