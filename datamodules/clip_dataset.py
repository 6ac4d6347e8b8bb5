"""Whole batches of a data set, key by key: what the workers of a loader read and augment."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.augment import augmented_frames, augmented_sound
from datamodules.box_maps import box_map
from datamodules.clip import Annotation, Batch, Clip, Features
from datamodules.proposals import absent_last
from datamodules.sampling import ANNOTATORS, FRAMES, SOUNDS, Keys, Rows

if TYPE_CHECKING:
    from datamodules.base import ClipData


class ClipDataset(Dataset[Batch]):
    """Reads one whole batch per key."""

    def __init__(self, data: "ClipData", split: str, *, augment: bool) -> None:
        self.data, self.split = data, split
        self.augmentation = data.config.augmentation if augment else "none"
        asked = data.inputs.box_map_size > 0 or data.inputs.labels != "none"
        self.annotated = asked and split != "test"  # no method sees the truth of a test clip

    def __getitem__(self, keys: Keys) -> Batch:
        boxes = None
        if self.annotated and self.data.inputs.box_map_size:
            boxes = [self._drawn_boxes(int(row), keys.epoch) for row in keys.frame]
        clip, moved = self._clip(keys.frame, keys.sound, keys.epoch, boxes, source=keys.source)
        annotation = self._annotation(keys.frame, moved) if self.annotated else None
        if keys.extra_frame is None or keys.extra_sound is None:
            return Batch(clip, annotation)
        extra, _ = self._clip(keys.extra_frame, keys.extra_sound, keys.epoch)
        return Batch(clip, annotation, extra)

    def _clip(
        self,
        frame_rows: Rows,
        sound_rows: Rows,
        epoch: int,
        boxes: Sequence[NDArray[np.float64]] | None = None,
        *,
        source: int | None = None,
    ) -> tuple[Clip, Tensor | None]:
        features = self._features(frame_rows, sound_rows, source)
        frames = self._frames(frame_rows, features)
        waveform = self._waveform(sound_rows, source, features)
        index = torch.from_numpy(np.array(frame_rows, dtype=np.int64))
        middle = torch.full_like(index, self.data.inputs.num_segments // 2)
        padded = None if boxes is None else _padded(boxes)
        proposals = self._proposals(frame_rows)
        if self.augmentation == "none":
            return Clip(index, frames, waveform, middle, proposals, features), padded
        seen, heard = self._rngs(FRAMES, frame_rows, epoch), self._rngs(SOUNDS, sound_rows, epoch)
        frames, padded, proposals = _augmented(frames, self.augmentation, seen, padded, proposals)
        waveform = augmented_sound(waveform, self.augmentation, heard)
        return Clip(index, frames, waveform, middle, proposals), padded

    def _features(self, frame_rows: Rows, sound_rows: Rows, source: int | None) -> Features | None:
        """Visual features of the frames and audio features of the sounds; None without any."""
        seen = [self.data.features(self.split, int(row)) for row in frame_rows]
        heard = seen
        if source is not None or not np.array_equal(frame_rows, sound_rows):
            heard = [self.data.features(self.split, int(row), source) for row in sound_rows]
        visual = _stacked([None if one is None else one.visual for one in seen])
        audio = _stacked([None if one is None else one.audio for one in heard])
        return None if visual is None and audio is None else Features(visual, audio)

    def _proposals(self, rows: Rows) -> Tensor | None:
        """``(B, T, P, 4)``; None where the method asks for none."""
        if not self.data.inputs.proposals:
            return None
        return torch.stack([self.data.proposals(self.split, int(row)) for row in rows])

    def _frames(self, rows: Rows, features: Features | None) -> Tensor:
        if features is not None and features.visual is not None:
            shape = (len(rows), self.data.inputs.num_segments, 3, 0, 0)
            return torch.zeros(shape, dtype=torch.uint8)
        return torch.stack([self.data.frames(self.split, int(row)) for row in rows])

    def _waveform(self, rows: Rows, source: int | None, features: Features | None) -> Tensor:
        if features is not None and features.audio is not None:
            return torch.zeros(len(rows), self.data.inputs.num_segments, 0)
        return torch.stack([self._sound(int(row), source) for row in rows])

    def _sound(self, row: int, source: int | None) -> Tensor:
        if source is None:
            return self.data.waveform(self.split, row)
        return self.data.source_waveform(self.split, row, source)

    def _drawn_boxes(self, row: int, epoch: int) -> NDArray[np.float64]:
        """Boxes ``(K, 4)`` of one annotator, drawn by (seed, epoch, id); none where unlabelled."""
        annotators = self.data.boxes(self.split, row)
        if not annotators:
            return np.empty((0, 4))
        clip_id = self.data.report.splits[self.split].ids[row]
        digest = int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "little")
        rng = np.random.default_rng([ANNOTATORS, self.data.seed, epoch, digest])
        return annotators[int(rng.integers(len(annotators)))]

    def _annotation(self, rows: Rows, boxes: Tensor | None) -> Annotation:
        """What training may see of these clips; ``boxes`` are as the augmented frames show them."""
        size, kind = self.data.inputs.box_map_size, self.data.inputs.labels
        has_boxes = [bool(size and self.data.boxes(self.split, int(row))) for row in rows]
        labels = [self._labels(int(row), kind) for row in rows]
        shown = [np.full(self.data.inputs.num_segments, -1) if one is None else one
                 for one in labels]  # fmt: skip
        maps = None if boxes is None else torch.stack(
            [torch.from_numpy(box_map(one.numpy(), size)) for one in boxes]
        )  # fmt: skip
        return Annotation(
            boxes,
            maps,
            None if kind == "none" else torch.from_numpy(np.stack(shown)),
            torch.tensor(has_boxes),
            torch.tensor([one is not None for one in labels]),
        )

    def _labels(self, row: int, kind: str) -> NDArray[np.int64] | None:
        if kind == "segment":
            return self.data.labels(self.split, row)
        label = self.data.clip_label(self.split, row) if kind == "clip" else None
        return None if label is None else np.full(self.data.inputs.num_segments, label)

    def _rngs(self, purpose: int, rows: Rows, epoch: int) -> list[np.random.Generator]:
        seeds = ([purpose, self.data.seed, epoch, int(row)] for row in rows)
        return [np.random.default_rng(seed) for seed in seeds]


def _stacked(values: Sequence[Tensor | None]) -> Tensor | None:
    """The values of all clips along a first axis; None where they are absent."""
    there = [value for value in values if value is not None]
    return torch.stack(there) if there else None


def _augmented(
    frames: Tensor,
    name: str,
    rngs: Sequence[np.random.Generator],
    boxes: Tensor | None,
    proposals: Tensor | None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Frames, annotated boxes ``(B, K, 4)`` and proposals ``(B, T, P, 4)`` that moved with them."""
    if proposals is None:
        return *augmented_frames(frames, name, rngs, boxes), None
    flat = proposals.flatten(1, 2)  # (B, T * P, 4)
    together = flat if boxes is None else torch.cat([boxes, flat], 1)
    frames, moved = augmented_frames(frames, name, rngs, together)
    assert moved is not None, "boxes were given"
    first = moved.shape[1] - flat.shape[1]
    of_proposals = absent_last(moved[:, first:].reshape(proposals.shape))
    return frames, None if boxes is None else moved[:, :first], of_proposals


def _padded(boxes: Sequence[NDArray[np.float64]]) -> Tensor:
    """Boxes of B clips as ``(B, K, 4)`` float32, NaN where a clip has fewer than K."""
    most = max((len(one) for one in boxes), default=0)
    padded = np.full((len(boxes), most, 4), np.nan, dtype=np.float32)
    for row, one in enumerate(boxes):
        padded[row, : len(one)] = one
    return torch.from_numpy(padded)
