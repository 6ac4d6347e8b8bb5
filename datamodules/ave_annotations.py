"""Reader of ``Annotations.txt`` of AVE, and of the lists that refer to its rows.

AVE is https://github.com/YapengTian/AVE-ECCV18 at 93f843f (``data/``).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.annotation_files import REMEDY, Annotated, check_repeats
from datamodules.hdf5_files import Hdf5Array
from datamodules.id_lists import IdForm, IdList, check_id, read_id_list
from metrics.errors import BenchError, did_you_mean
from metrics.truth import Truth

AVE_ID = IdForm(
    re.compile(r"[A-Za-z0-9_-]{11}@([0-9]|1[0-9]|2[0-7])"),
    "<11-character video id>@<number of the category, 0 to 27>",
)
CATEGORIES = (  # the order of their numbers in labels.h5 and of their rows in Annotations.txt
    "Church bell",
    "Male speech, man speaking",
    "Bark",
    "Fixed-wing aircraft, airplane",
    "Race car, auto racing",
    "Female speech, woman speaking",
    "Helicopter",
    "Violin, fiddle",
    "Flute",
    "Ukulele",
    "Frying (food)",
    "Truck",
    "Shofar",
    "Motorcycle",
    "Acoustic guitar",
    "Train horn",
    "Clock",
    "Banjo",
    "Goat",
    "Baby cry, infant cry",
    "Bus",
    "Chainsaw",
    "Cat",
    "Horse",
    "Toilet flush",
    "Rodents, rats, mice",
    "Accordion",
    "Mandolin",
)
NUMBER_OF = {name: number for number, name in enumerate(CATEGORIES)}
BACKGROUND = len(CATEGORIES)
SEGMENTS = 10  # of one second each
FIELDS = ("category", "video id", "quality", "start", "end")
HEADER = "Category&VideoID&Quality&StartTime&EndTime"  # first line of some copies
ORDER_SUFFIX = ".h5"
ORDER_KEY = "order"
FETCH = "fetch it again from https://github.com/YapengTian/AVE-ECCV18 (data)"


class AveRow(NamedTuple):
    """One row of ``Annotations.txt``: a category sounds and is seen from second to second."""

    video: str
    category: int
    start: int  # first second
    end: int  # one past the last second; equal to ``start`` where it never happens

    @property
    def id(self) -> str:
        """Video and category: a video that has two categories has two rows."""
        return f"{self.video}@{self.category}"

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each second, ``(10,)`` int64: the category, or else ``BACKGROUND``."""
        labels = np.full(SEGMENTS, BACKGROUND, dtype=np.int64)
        labels[self.start : self.end] = self.category
        return labels


def video_of(clip_id: str) -> str:
    """The video of an AVE clip.

    >>> video_of("RUhOCu3LNXM@0")
    'RUhOCu3LNXM'
    """
    return clip_id.partition("@")[0]


def ave_id(line: str) -> str:
    """The id in a line of a text list: an id, or a line as in ``Annotations.txt``.

    >>> [ave_id(line) for line in ("RUhOCu3LNXM@0 ", "Violin, fiddle&SQNSYdaMsr8&good&0&10")]
    ['RUhOCu3LNXM@0', 'SQNSYdaMsr8@7']
    """
    fields = line.strip().split("&")
    if len(fields) != len(FIELDS) or fields[0] not in NUMBER_OF:
        return line.strip()
    return f"{fields[1]}@{NUMBER_OF[fields[0]]}"


def read_rows(path: Path) -> tuple[AveRow, ...]:
    """Every annotated event, in the order of the file, which order files count by.

    A line is ``category&video id&quality&start&end`` with whole seconds in [0, 10]; the event lies
    in [start, end). A first line of names, blank lines and either kind of line end are accepted.
    The quality is not read: it is ``good`` in all published rows.

    Args:
        path: ``Annotations.txt``.

    Raises:
        BenchError: the file cannot be read, or a line breaks the format; the message names file
            and line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(
            f"{path} cannot be read as text ({error}); fetch it again or {REMEDY}"
        ) from error
    rows = tuple(
        _row(line.strip(), f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not (number == 1 and line.strip().casefold() == HEADER.casefold())
    )
    if not rows:
        raise BenchError(f"{path} holds no row; expected {'&'.join(FIELDS)} on each line; {REMEDY}")
    return rows


def read_ave(path: Path) -> Annotated:
    """Class of every second of each annotated clip, in the order of the file.

    Args:
        path: ``Annotations.txt``.

    Returns:
        One ``Truth`` per row: nobody drew where the event is, so there are no boxes; ``segments``
        is ``(10,)`` int64 with ``BACKGROUND`` outside the event.

    Raises:
        BenchError: see :func:`read_rows`; or a video has a category twice.
    """
    truth = tuple(
        Truth(
            row.id,
            (),
            category=CATEGORIES[row.category],
            segments=row.labels,
            background=BACKGROUND,
        )
        for row in read_rows(path)
    )
    check_repeats(truth, path)
    return Annotated(truth)


def read_ave_list(path: Path, annotations: Path) -> IdList:
    """Ids of a list: an order file, or text with one id or one line of ``Annotations.txt`` each.

    An order file is HDF5 with an array ``order`` of rows of ``Annotations.txt``, counted from 0.

    Args:
        path: of the list; ``.h5`` is an order file.
        annotations: ``Annotations.txt``.

    Raises:
        BenchError: the list cannot be read, or an entry is no id or no row of the annotations; the
            message names file and entry.
    """
    ids = [row.id for row in read_rows(annotations)]
    if path.suffix == ORDER_SUFFIX:
        return IdList(path, tuple(ids[place] for place in _order(path, len(ids))), 0)
    listed = read_id_list(path, AVE_ID, id_of=ave_id)
    known = set(ids)
    unknown = [each for each in listed.ids if each not in known]
    if unknown:
        raise BenchError(
            f"{path}: {len(unknown)} of {len(listed.ids)} ids are not annotated in {annotations}, "
            f"the first is {unknown[0]}; correct the list"
        )
    return listed


def _row(line: str, place: str) -> AveRow:
    fields = line.split("&")
    if len(fields) != len(FIELDS):
        raise BenchError(
            f"{place}: expected {len(FIELDS)} fields {'&'.join(FIELDS)}, got {len(fields)}; "
            "correct the line"
        )
    name, video, _, start, end = (field.strip() for field in fields)
    if name not in NUMBER_OF:
        raise BenchError(
            f"{place}: unknown category {name[:80]!r}.{did_you_mean(name, CATEGORIES)} "
            "Correct the line"
        )
    row = AveRow(video, NUMBER_OF[name], _second(start, "start", place), _second(end, "end", place))
    check_id(row.id, AVE_ID, place)
    if row.start > row.end:
        raise BenchError(
            f"{place}: the event must not end before it starts, got {row.start} to {row.end}; "
            "correct the line"
        )
    return row


def _second(text: str, name: str, place: str) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", text) or int(text) > SEGMENTS:
        raise BenchError(
            f"{place}: {name} must be a whole second in [0, {SEGMENTS}], got {text[:80]!r}; "
            "correct the line"
        )
    return int(text)


def _order(path: Path, num_rows: int) -> Sequence[int]:
    """Places of an order file, each a row of the annotations that occurs once."""
    stored = Hdf5Array(path, ORDER_KEY, (None,), FETCH).all()
    if stored.dtype.kind not in "iu" or not len(stored):
        raise BenchError(
            f"{path}: {ORDER_KEY!r} must hold whole numbers, got {len(stored)} of {stored.dtype}; "
            f"{FETCH}"
        )
    places = stored.astype(np.int64)
    outside = places[(places < 0) | (places >= num_rows)]
    if len(outside):
        raise BenchError(
            f"{path}: {ORDER_KEY!r} must hold rows 0 to {num_rows - 1} of Annotations.txt, got "
            f"{outside[0]}; {FETCH}"
        )
    found, first, counts = np.unique(places, return_index=True, return_counts=True)
    if (counts > 1).any():
        twice = found[counts > 1][first[counts > 1].argmin()]
        raise BenchError(f"{path}: {ORDER_KEY!r} holds row {twice} twice; {FETCH}")
    listed: list[int] = places.tolist()
    return listed
