"""Segment by segment, where trained runs see the source in a clip of their test data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.predict import Place, answer_of, place_of
from benchmark.recorded import Trained, recorded_data
from benchmark.sheets import StripPictures, strip_sheet
from datamodules.base import ClipData, Split
from datamodules.clip import Clip
from datamodules.clip_dataset import ClipDataset
from datamodules.sampling import Keys
from metrics.errors import BenchError, did_you_mean
from metrics.truth import Truth

BACKGROUND = "background"


class SegmentAnswer(NamedTuple):
    """What a method answered for one segment."""

    place: Place
    category: str | None  # the likeliest class; None where the method answers none


class StripRow(NamedTuple):
    """What one run answered to the frames of a clip with one sound."""

    run: str
    supervision: str
    sound_of: str  # id of the clip that the sound is of
    sound_category: str | None
    num_boxes: int  # how many of its best boxes are the run's answer
    segments: tuple[SegmentAnswer, ...]


class Strip(NamedTuple):
    """A clip and what runs answered for each of its T segments."""

    truth: Truth
    frames: NDArray[np.uint8]  # (T, H, W, 3)
    events: tuple[str, ...] | None  # true class of each segment, None where nobody told
    rows: tuple[StripRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; classes only where they are known or answered."""
        plain: dict[str, Any] = {"id": self.truth.id, "category": self.truth.category}
        if self.events is not None:
            plain["events"] = list(self.events)
        plain["rows"] = [
            {
                "run": row.run,
                "sound_of": row.sound_of,
                "segments": [_plain(segment) for segment in row.segments],
            }
            for row in self.rows
        ]
        return plain


def _plain(segment: SegmentAnswer) -> dict[str, Any]:
    plain = segment.place.to_dict()
    return plain if segment.category is None else {**plain, "class": segment.category}


def strip_of(
    runs: Sequence[Trained],
    clip_id: str,
    sounds_of: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> Strip:
    """The answers of runs to a clip, a row for each run and sound; every segment is asked for.

    The clip is that of the first run's test data; the others are asked about the same one.

    Args:
        runs: at least one, of one data set and of methods with equally many segments.
        clip_id: of a test clip.
        sounds_of: ids of test clips whose sounds are heard after its own, beside its frames.
        overrides: ``data.key=value``, such as where the data lie.

    Raises:
        BenchError: runs differ in their data set or segments, the data are not there or come as
            features, there is no such clip, or an answer is not finite.
    """
    _check_alike(runs)
    datas = [recorded_data(runs[0].record, trained.method, overrides) for trained in runs]
    rows = [
        _answered(trained, data, clip_id, sound_id)
        for trained, data in zip(runs, datas, strict=True)
        for sound_id in (clip_id, *sounds_of)
    ]
    data = datas[0]
    row = _row(data.report.splits["test"], clip_id)
    truth, frames = data.truth()[row], data.frames("test", row)
    events = None
    if truth.segments is not None:
        events = tuple(_names(data)[label] for label in truth.segments.tolist())
    pictures = frames.permute(0, 2, 3, 1).contiguous().numpy()  # (T, H, W, 3)
    return Strip(truth, pictures, events, tuple(rows))


def _answered(trained: Trained, data: ClipData, clip_id: str, sound_id: str) -> StripRow:
    clip, names = _clip(data, clip_id, sound_id), _names(data)
    answers = []
    for segment in range(data.inputs.num_segments):
        with torch.no_grad():
            found = trained.method.localize(clip._replace(target=torch.tensor([segment])))
        likeliest = None
        if found.segment_logits is not None:
            likeliest = names[int(found.segment_logits[0, segment].argmax())]
        answers.append(SegmentAnswer(place_of(found, f"the sound of {sound_id}"), likeliest))
    record, split = trained.record, data.report.splits["test"]
    category = split.categories[_row(split, sound_id)]
    return StripRow(
        record.id,
        record.card.supervision,
        sound_id,
        category,
        trained.num_boxes,
        tuple(answers),
    )


def _check_alike(runs: Sequence[Trained]) -> None:
    for name, values in (
        ("data sets", [run.record.data for run in runs]),
        ("numbers of segments", [run.method.inputs.num_segments for run in runs]),
    ):
        if len(set(values)) > 1:
            raise BenchError(
                f"the runs have different {name} ({', '.join(map(str, values))}); give --run runs "
                "that agree in it"
            )


def _names(data: ClipData) -> tuple[str, ...]:
    return (*data.report.classes, BACKGROUND)


def _row(split: Split, clip_id: str) -> int:
    if clip_id not in split.ids:
        raise BenchError(
            f"{split.name} has no clip {clip_id!r}.{did_you_mean(clip_id, split.ids)} Its "
            f"{len(split)} ids look like {split.ids[0]}"
        )
    return split.ids.index(clip_id)


def _clip(data: ClipData, frame_id: str, sound_id: str) -> Clip:
    split = data.report.splits["test"]
    frame, sound = (np.array([_row(split, each)]) for each in (frame_id, sound_id))
    if data.features("test", int(frame[0])) is not None:
        raise BenchError(
            "the clips come as features, of which no frame can be drawn; give "
            "data.feature_files=null and data.root=DIR with frames and sounds"
        )
    return ClipDataset(data, "test", augment=False)[Keys(frame, sound, epoch=0)].clip


def draw_strip(path: Path, strip: Strip) -> None:
    """Writes a PNG: the clip's frames under the span of its event, and a row for each answer.

    Args:
        path: of the PNG; written atomically.
        strip: of :func:`strip_of`.
    """
    rows = [_pictures(row, strip) for row in strip.rows]
    is_event = None
    if strip.events is not None:
        is_event = [event != BACKGROUND for event in strip.events]
    strip_sheet(path, strip.frames, rows, truth=strip.truth, is_event=is_event)


def _pictures(row: StripRow, strip: Strip) -> StripPictures:
    """Classes are judged where the sound is the clip's own."""
    own = row.sound_of == strip.truth.id
    is_right = None
    if own and strip.events is not None:
        pairs = zip(row.segments, strip.events, strict=True)
        is_right = [segment.category == event for segment, event in pairs]
    answers = [answer_of(one.place, one.category or "", row.num_boxes) for one in row.segments]
    of_other = f"sound of {row.sound_of}, {row.sound_category or 'of no category'}"
    note = f"{'its own sound' if own else of_other}  ·  trained on {_taught(row.supervision)}"
    return StripPictures(row.run, note, answers, is_right)


def _taught(supervision: str) -> str:
    return "no labels" if supervision == "none" else supervision


def strip_lines(strip: Strip) -> list[str]:
    """What is said of a strip on a terminal: a line for each answer."""
    lines = []
    for row in strip.rows:
        lines.append(f"{row.run}, sound of {row.sound_of}:")
        for number, segment in enumerate(row.segments):
            category = "" if segment.category is None else f", {segment.category}"
            lines.append(f"  {number}: {segment.place}{category}")
    return lines
