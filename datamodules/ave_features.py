"""The published features of AVE: VGG-19 of frames and VGGish of sounds, second by second.

https://github.com/YapengTian/AVE-ECCV18 at 93f843f links the files, all with an array
``avadataset``; N = 4,143 are the rows of ``Annotations.txt``, 178 are background-only videos::

    visual_feature.h5        (N, 10, 7, 7, 512)    pool5, mean of 16 frames of a second
    audio_feature.h5         (N, 10, 128)
    visual_feature_noisy.h5  (178, 10, 7, 7, 512)  and audio_feature_noisy.h5, labels_noisy.h5
    labels.h5                (N, 10, 29)           one-hot, the last is background
    labels_closs.h5          (N, 10)               1 = event
    mil_labels.h5            (N, 29)               events of the whole clip
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.ave_annotations import BACKGROUND, SEGMENTS, AveRow
from datamodules.clip import Features
from datamodules.hdf5_files import Hdf5Array

KEY = "avadataset"
GRID, CHANNELS, EMBEDDING = 7, 512, 128
CLASSES = BACKGROUND + 1
Values = NDArray[np.float64]
REMEDY = (
    "fetch it again by the links of https://github.com/YapengTian/AVE-ECCV18, or correct "
    "data.feature_files"
)


class _Pair(NamedTuple):
    """Visual and audio features of the same clips."""

    visual: Hdf5Array
    audio: Hdf5Array

    def row(self, place: int, seconds: slice) -> Features:
        visual, audio = (
            torch.from_numpy(array.row(place, seconds).astype(np.float32)) for array in self
        )
        return Features(visual.permute(0, 3, 1, 2).contiguous(), audio)  # (T, C, h, w), (T, D)


class AveFeatures:
    """Feature files of a folder, read by rows.

    Attributes:
        num_noisy: background-only videos; 0 where they are not wanted.
        notes: where the labels beside the features differ from ``Annotations.txt``.
    """

    def __init__(self, folder: Path, rows: Sequence[AveRow], *, noisy: bool) -> None:
        """Looks at the files; reads the labels whole and the features not at all.

        Args:
            folder: with the files.
            rows: of ``Annotations.txt``.
            noisy: whether the background-only videos are wanted.

        Raises:
            BenchError: a file is missing, truncated, no HDF5, or of another shape.
        """
        self._events = _pair(folder, "", len(rows))
        self._noisy = _pair(folder, "_noisy", None) if noisy else None
        self.num_noisy = 0 if self._noisy is None else len(self._noisy.visual)
        self.notes = (*_label_notes(folder, rows), *_noisy_notes(folder, self.num_noisy))

    def event(self, place: int, seconds: slice) -> Features:
        """Features of a row of ``Annotations.txt``: ``(T, 512, 7, 7)`` and ``(T, 128)`` float32."""
        return self._events.row(place, seconds)

    def noisy(self, place: int, seconds: slice) -> Features:
        """The same of a background-only video."""
        assert self._noisy is not None
        return self._noisy.row(place, seconds)


def _pair(folder: Path, suffix: str, count: int | None) -> _Pair:
    shape = (count, SEGMENTS, GRID, GRID, CHANNELS)
    visual = Hdf5Array(folder / f"visual_feature{suffix}.h5", KEY, shape, REMEDY)
    shape_of_sound = (len(visual), SEGMENTS, EMBEDDING)
    audio = Hdf5Array(folder / f"audio_feature{suffix}.h5", KEY, shape_of_sound, REMEDY)
    return _Pair(visual, audio)


def _label_notes(folder: Path, rows: Sequence[AveRow]) -> tuple[str, ...]:
    """What each file of labels says otherwise than the annotations; absent files are not missed."""
    classes = np.stack([row.labels for row in rows])  # (N, 10)
    is_event = classes != BACKGROUND
    events, total = np.array([row.category for row in rows]), len(rows)
    checks: dict[str, tuple[tuple[int, ...], Callable[[Values], NDArray[np.bool_]]]] = {
        "labels.h5": ((total, SEGMENTS, CLASSES), lambda found: found.argmax(axis=2) != classes),
        "labels_closs.h5": ((total, SEGMENTS), lambda found: (found > 0) != is_event),
        "mil_labels.h5": (
            (total, CLASSES),
            lambda found: (found[np.arange(total), events] <= 0) & is_event.any(axis=1),
        ),
    }
    notes = []
    for name, (shape, differs) in checks.items():
        if (folder / name).exists():
            found = Hdf5Array(folder / name, KEY, shape, REMEDY).all().astype(np.float64)
            differing = differs(found)
            if differing.any():
                unit = "seconds" if differing.ndim == 2 else "clips"
                count = f"{np.count_nonzero(differing)} of {differing.size} {unit}"
                notes.append(f"{name} differs from Annotations.txt, which is used, in {count}")
    return tuple(notes)


def _noisy_notes(folder: Path, count: int) -> tuple[str, ...]:
    path = folder / "labels_noisy.h5"
    if not count or not path.exists():
        return ()
    classes = Hdf5Array(path, KEY, (count, CLASSES), REMEDY).all().astype(np.float64).argmax(axis=1)
    events = int(np.count_nonzero(classes != BACKGROUND))
    line = f"labels_noisy.h5 has an event in {events} of {count} videos; all count as background"
    return (line,) if events else ()
