"""Negatives of the extended test sets: frames with a sound that is not of them.

Mo and Morgado, "A Closer Look at Weakly-Supervised Audio-Visual Source Localization", NeurIPS 2022;
lists: https://github.com/stoneMo/SLAVC at 05b429c (``metadata/*_test_plus_silent.csv``).
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from datamodules.annotation_files import check_repeats
from datamodules.id_lists import IdForm, check_id
from metrics.errors import BenchError
from metrics.truth import Truth

JOINT = "+"  # of an id, between the frame's and the sound's
HEADER = ["video", "audio", "label"]
LABEL = "non-sounding"  # the only one that the lists have and that SLAVC takes


def frame_and_sound(sample_id: str) -> tuple[str, str]:
    """Ids of the clips that the frame and the sound of a sample come from.

    >>> frame_and_sound("10000130166+10437048305"), frame_and_sound("10000130166")
    (('10000130166', '10437048305'), ('10000130166', '10000130166'))
    """
    frame, _, sound = sample_id.partition(JOINT)
    return frame, sound or frame


def read_negatives(path: Path, form: IdForm) -> tuple[Truth, ...]:
    """Negatives of a list, in its order: no box, no class, and an id ``<frame id>+<sound id>``.

    Args:
        path: CSV with the columns video, audio and label.
        form: what an id of the data set must look like.

    Raises:
        BenchError: the file cannot be read or holds no pair, a row breaks the format, or a pair
            occurs twice; the message names file and line or id.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, ValueError, csv.Error) as error:
        raise BenchError(f"{path} cannot be read as CSV ({error}); fetch it again") from error
    if not rows or rows[0][1] != HEADER or len(rows) == 1:
        raise BenchError(f"{path} must hold the header {','.join(HEADER)} and a row per negative")
    negatives = tuple(_negative(row, form, f"{path}, line {line}") for line, row in rows[1:])
    check_repeats(negatives, path)
    return negatives


def negative_notes(
    negatives: Iterable[Truth], categories: Mapping[str, str | None]
) -> tuple[str, ...]:
    """How many negatives there are, and how many of them may well be positives.

    Args:
        negatives: of an extended set.
        categories: class of each annotated clip, None where it is unknown.
    """
    pairs = [frame_and_sound(negative.id) for negative in negatives]
    mismatched = [pair for pair in pairs if pair[0] != pair[1]]
    note = f"{len(pairs)} negatives"
    if len(mismatched) < len(pairs):
        note += f"; {len(pairs) - len(mismatched)} have the sound of their own frame"
    classes = [(categories.get(frame), categories.get(sound)) for frame, sound in mismatched]
    same = sum(frame is not None and frame == sound for frame, sound in classes)
    if same:
        note += f"; {same} of the other {len(mismatched)} have a sound of their frame's class"
    return (note,) if pairs else ()


def _negative(row: list[str], form: IdForm, place: str) -> Truth:
    if len(row) != len(HEADER) or row[2] != LABEL:
        raise BenchError(
            f"{place}: expected <frame id>,<sound id>,{LABEL}, got {','.join(row)[:80]!r}"
        )
    frame, sound = row[:2]
    for clip_id in (frame, sound):
        check_id(clip_id, form, place)
    return Truth(f"{frame}{JOINT}{sound}", (np.empty((0, 4)),), on_screen=False)
