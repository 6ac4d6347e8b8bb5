"""The contract of a data set: lists and readers below, seeded loaders above."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.augment import AUGMENTATIONS, augmented_frames, augmented_sound
from datamodules.clip import Batch, Clip, Inputs
from datamodules.id_lists import ids_sha256
from datamodules.sampling import (
    FRAMES,
    SOUNDS,
    Draw,
    GlobalBatchSampler,
    Keys,
    Rows,
    StrideSampler,
    swapped_sounds,
)
from metrics.errors import BenchError
from metrics.truth import Truth


@dataclass
class DataConfig:
    """Settings ``data.*`` that every data set has."""

    root: str | None = None
    batch_size: int = 128  # of the whole run, shared by its devices
    num_workers: int = 0
    augmentation: str = "none"  # none | crop_flip | crop_flip_roll
    allow_leakage: bool = False
    val_fraction: float = 0.0  # of the training videos, held out for `trainer.select=val_loss`
    limit: int | None = None  # clips of each split; a limited run is never ranked


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

    def rows(self, keep: Sequence[int]) -> "Split":
        """The same list with only the given rows, in the given order."""
        return Split(
            self.name,
            tuple(self.ids[i] for i in keep),
            tuple(self.videos[i] for i in keep),
            tuple(self.categories[i] for i in keep),
        )


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


class ClipData(pl.LightningDataModule, ABC):
    """A data set that delivers exactly the ``Inputs`` of a method.

    A data set writes three things: ``load`` (lists, truth, report), ``frames`` and ``waveform``.
    Everything drawn at random is a function of (seed, epoch, row).
    """

    Config: ClassVar[type[DataConfig]] = DataConfig
    truth_kind: ClassVar[str] = "boxes"

    def __init__(self, config: DataConfig, inputs: Inputs, *, seed: int) -> None:
        super().__init__()
        if config.augmentation not in AUGMENTATIONS:
            known = ", ".join(AUGMENTATIONS)
            raise BenchError(
                f"data.augmentation={config.augmentation!r} is unknown; use one of {known}"
            )
        self.config, self.inputs, self.seed = config, inputs, seed
        self.allow_zero_length_dataloader_with_multiple_devices = True  # more ranks than clips
        self.draw: Draw | None = None
        self._loaded: DataReport | None = None

    @abstractmethod
    def load(self) -> DataReport:
        """Lists, exclusions and leakage of this data set; called once, before any reading."""

    @abstractmethod
    def truth(self) -> tuple[Truth, ...]:
        """Ground truth of the test split, one per row."""

    @abstractmethod
    def frames(self, split: str, row: int) -> Tensor:
        """Frames ``(T, 3, H, W)`` uint8 of one clip, squashed to ``inputs.image_size``."""

    @abstractmethod
    def waveform(self, split: str, row: int) -> Tensor:
        """Sound ``(T, S)`` float32 in [-1, 1], mono, at ``inputs.sample_rate_hz``."""

    @property
    def report(self) -> DataReport:
        """Lists and counts; loads them at first use."""
        if self._loaded is None:
            self._loaded = self.load()
        return self._loaded

    def setup(self, stage: str) -> None:
        """Loads the lists, so that every process fails early and in the same words."""
        if stage == "fit" and not len(self.report.splits["train"]):
            raise BenchError(
                "the training list is empty after exclusions; check data.root and data.train_list"
            )
        if not len(self.report.splits["test"]):
            raise BenchError(
                "the test list is empty after exclusions; check data.root and data.test_list"
            )

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
        )
        return self._loader("train", sampler, augment=True)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """The same seeded batches of validation ids at every epoch; none where there are none."""
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
        """Two loaders: each frame with its own sound, and with the sound of another class."""
        test = self.report.splits["test"]
        own = np.arange(len(test))
        swapped = swapped_sounds(test.ids, test.categories, self.seed)
        return [self.ordered_loader("test", own), self.ordered_loader("test", swapped)]

    def ordered_loader(
        self, split: str, sound_of: Rows | None = None, *, whole: bool = False
    ) -> DataLoader[Batch]:
        """Every clip of a split once, in order; row ``i`` with the sound of ``sound_of[i]``.

        Each process reads its stride of the rows, or all of them with ``whole``.
        """
        if sound_of is None:
            sound_of = np.arange(len(self.report.splits[split]))
        rank, world_size = (0, 1) if whole else self._place()
        sampler = StrideSampler(sound_of, self.config.batch_size, rank=rank, world_size=world_size)
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


class ClipDataset(Dataset[Batch]):
    """Reads one whole batch per key."""

    def __init__(self, data: ClipData, split: str, *, augment: bool) -> None:
        self.data, self.split = data, split
        self.augmentation = data.config.augmentation if augment else "none"

    def __getitem__(self, keys: Keys) -> Batch:
        clip = self._clip(keys.frame, keys.sound, keys.epoch)
        if keys.extra_frame is None or keys.extra_sound is None:
            return Batch(clip)
        return Batch(clip, extra=self._clip(keys.extra_frame, keys.extra_sound, keys.epoch))

    def _clip(self, frame_rows: Rows, sound_rows: Rows, epoch: int) -> Clip:
        frames = torch.stack([self.data.frames(self.split, int(row)) for row in frame_rows])
        waveform = torch.stack([self.data.waveform(self.split, int(row)) for row in sound_rows])
        index = torch.from_numpy(np.array(frame_rows, dtype=np.int64))
        middle = torch.full_like(index, self.data.inputs.num_segments // 2)
        if self.augmentation == "none":
            return Clip(index, frames, waveform, middle)
        seen, heard = self._rngs(FRAMES, frame_rows, epoch), self._rngs(SOUNDS, sound_rows, epoch)
        frames = augmented_frames(frames, self.augmentation, seen)
        return Clip(index, frames, augmented_sound(waveform, self.augmentation, heard), middle)

    def _rngs(self, purpose: int, rows: Rows, epoch: int) -> list[np.random.Generator]:
        seeds = ([purpose, self.data.seed, epoch, int(row)] for row in rows)
        return [np.random.default_rng(seed) for seed in seeds]
