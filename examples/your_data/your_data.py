"""`your_data`: frames and sounds in two folders, boxes of the test clips in a CSV file.

::

    <root>/frames/<id>.jpg
    <root>/sounds/<id>.wav
    <root>/train.txt            one id per line
    <root>/boxes.csv            id,xmin,ymin,xmax,ymax of the test clips, in shares of the frame

Several rows of one id are several boxes of one clip.
"""

import csv
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from datamodules.base import ClipData, DataReport, Split
from datamodules.media import UnreadableMediaError, read_frame, read_sound
from metrics.errors import BenchError
from metrics.truth import Truth

CORNERS = ("xmin", "ymin", "xmax", "ymax")


class YourData(ClipData):
    """One still frame and one sound per clip; see the module's text for the files."""

    data_name = "your_data"
    has_files = True

    def load(self) -> DataReport:
        """Both lists; a clip without its files is left out, counted and named."""
        test, train = list(self._boxes), self._lines("train.txt")
        leaked = set(train) & set(test)
        here = {name: [i for i in ids if not self._absent(i)]
                for name, ids in (("train", train), ("test", test))}  # fmt: skip
        if not self.config.allow_leakage:
            here["train"] = [i for i in here["train"] if i not in leaked]
        return DataReport(
            {name: _split(name, ids[: self.config.limit]) for name, ids in here.items()},
            n_expected=len(test),
            missing=tuple(i for i in test if self._absent(i)),
            train_missing=tuple(i for i in train if self._absent(i)),
            leaked_clips=len(leaked),
            leaked_videos=len(leaked),
            removed_for_leakage=0 if self.config.allow_leakage else len(leaked),
        )

    def truth(self) -> tuple[Truth, ...]:
        """The boxes of each test clip, from one annotator."""
        return tuple(Truth(i, (self._boxes[i],)) for i in self.report.splits["test"].ids)

    def frames(self, split: str, row: int) -> Tensor:
        """The frame ``(T, 3, H, W)`` uint8, the same in every segment."""
        path = self._path("frames", self.report.splits[split].ids[row], ".jpg")
        try:
            frame = read_frame(path, self.inputs.image_size)
        except UnreadableMediaError as error:
            raise BenchError(f"{path} cannot be read ({error}); mend it or remove it") from error
        return frame.expand(self.inputs.num_segments, *frame.shape)

    def waveform(self, split: str, row: int) -> Tensor:
        """The middle of the sound ``(T, S)`` float32 in [-1, 1]."""
        path = self._path("sounds", self.report.splits[split].ids[row], ".wav")
        inputs = self.inputs
        try:
            sound = read_sound(path, inputs.sample_rate_hz, inputs.segment_samples)
        except UnreadableMediaError as error:
            raise BenchError(f"{path} cannot be read ({error}); mend it or remove it") from error
        return sound.expand(inputs.num_segments, *sound.shape)

    @cached_property
    def _root(self) -> Path:
        if self.config.root is None:
            raise BenchError("--data your_data needs data.root=DIR, with frames, sounds and lists")
        return Path(self.config.root).expanduser()

    def _path(self, folder: str, clip_id: str, suffix: str) -> Path:
        return self._root / folder / f"{clip_id}{suffix}"

    def _absent(self, clip_id: str) -> bool:
        files = self._path("frames", clip_id, ".jpg"), self._path("sounds", clip_id, ".wav")
        return not all(path.is_file() for path in files)

    def _lines(self, name: str) -> list[str]:
        path = self._root / name
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise BenchError(
                f"{path} cannot be read ({error.strerror}); check data.root"
            ) from error
        except UnicodeDecodeError as error:
            raise BenchError(f"{path} is no text in UTF-8; save it as that") from error
        return [line.strip() for line in lines if line.strip()]

    @cached_property
    def _boxes(self) -> dict[str, np.ndarray]:
        found: dict[str, list[list[float]]] = {}
        for row in csv.DictReader(self._lines("boxes.csv")):
            try:
                found.setdefault(row["id"], []).append([float(row[name]) for name in CORNERS])
            except (KeyError, TypeError, ValueError) as error:
                raise BenchError(
                    f"{self._root / 'boxes.csv'}: {dict(row)} must have id, {', '.join(CORNERS)}"
                ) from error
        return {clip_id: np.array(boxes) for clip_id, boxes in found.items()}


def _split(name: str, ids: list[str]) -> Split:
    return Split(name, tuple(ids), tuple(ids), (None,) * len(ids))
