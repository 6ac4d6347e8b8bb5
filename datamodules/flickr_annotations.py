"""Reader of the XML files of Flickr-SoundNet: boxes of three annotators per frame."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from datamodules.annotation_files import REMEDY, Annotated, read_xml
from datamodules.id_lists import IdForm, check_id, first_column
from metrics.errors import BenchError
from metrics.truth import Truth

FLICKR_ID = IdForm(re.compile(r"[0-9]{1,20}"), "Flickr number")
CANVAS = 256  # the coordinates are of a frame of 256 x 256 px: LVS utils.py:56-75 at 8fe8cbb
ANNOTATORS = 3  # README of ardasnck/learning_to_localize_sound_source at 89205e9
CORNERS = ("xmin", "ymin", "xmax", "ymax")
INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


class _Box(NamedTuple):
    """One ``<bbox>``: its place in the file, that of the element around it, and its children."""

    place: int
    element: int
    first_child: str
    corners: tuple[int, ...]


Boxes = tuple[_Box, ...]


def flickr_id(line: str) -> str:
    """The number in a line of a list: alone, with further columns, or as the path of a file.

    >>> lines = ("10000130166,202", "videos/0/0/0/2615133000.mp4", "2432219254.png", "../1.mp4")
    >>> [flickr_id(line) for line in lines]
    ['10000130166', '2615133000', '2432219254', '../1']
    """
    name = first_column(line)
    return name if ".." in name else PurePosixPath(name).name


def read_flickr(folder: Path, ids: Sequence[str] | None = None) -> Annotated:
    """Boxes of each annotator, in fractions of the frame.

    A file is ``<id>.xml``: the root holds elements, these hold ``<bbox>``, and a ``<bbox>`` holds a
    first child that no published reader looks at, then xmin, ymin, xmax and ymax by their order,
    whole numbers of 256 px. An element of the root without children is text about the file.

    Published code counts boxes and need not know who drew one. Here annotators matter, and no
    specification is public. The authors write that each file has the annotations of three, so the
    element around the boxes is taken for the annotator if it can be: some file has several, none
    more than three. Otherwise the text of the ignored first child is, under the same condition; it
    comes second because the paper has each box tagged as object or ambient, which may be that text.
    Where neither tells annotators apart, each box is a vote of its own, as in the published code.
    The choice is made once for all files that are read, and a note says which it was.

    There are always three annotators at least, for one box in a file is half a vote, not the whole
    truth: those without a box are ``(0, 4)`` arrays after the others.

    Args:
        folder: with one XML file per frame.
        ids: frames to read, in this order; None reads every file, in the order of their names.

    Returns:
        One ``Truth`` per frame, boxes ``(K, 4)`` float64 as annotated, and how the annotators were
        told apart.

    Raises:
        BenchError: the folder or a file is missing, truncated or breaks the format; the message
            names the file.
    """
    files = {path.stem: _boxes(path) for path in _paths(folder, ids)}
    word, annotator_of = _annotator_rule(files.values())
    truth = tuple(_truth(frame, boxes, annotator_of) for frame, boxes in files.items())
    drew = Counter(len({annotator_of(box) for box in boxes}) for boxes in files.values())
    counts = ", ".join(f"{drew[number]} have {number}" for number in sorted(drew, reverse=True))
    note = (
        f"annotators are told apart by {word}; of {len(truth)} frames, by how many drew: {counts}"
    )
    return Annotated(truth, (note,) if truth else ())


def _paths(folder: Path, ids: Sequence[str] | None) -> list[Path]:
    if not folder.is_dir():
        raise BenchError(f"{folder} is no folder of <id>.xml files; {REMEDY}")
    if ids is None:
        paths = sorted(path for path in folder.glob("*.xml") if not path.name.startswith("."))
        if not paths:
            raise BenchError(f"{folder} holds no <id>.xml file; {REMEDY}")
        for path in paths:
            check_id(path.stem, FLICKR_ID, str(path))
        return paths
    paths = [folder / f"{frame}.xml" for frame in ids]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise BenchError(
            f"{folder} lacks {len(missing)} of {len(paths)} listed frames, the first is "
            f"{missing[0].name}; {REMEDY}, or give a shorter --list FILE"
        )
    return paths


def _boxes(path: Path) -> Boxes:
    around = enumerate(read_xml(path))
    found = ((parent, element) for parent, outer in around for element in outer)
    return tuple(
        _box(element, place, parent, path) for place, (parent, element) in enumerate(found)
    )


def _box(element: Element, place: int, parent: int, path: Path) -> _Box:
    if element.tag != "bbox":
        raise BenchError(f"{path}: expected <bbox>, got <{element.tag}>; correct the file")
    children = list(element)
    if len(children) != 1 + len(CORNERS):
        raise BenchError(
            f"{path}: a <bbox> must hold one element and then {', '.join(CORNERS)}, "
            f"got {len(children)} elements; correct the file"
        )
    first, *corners = children
    return _Box(
        place,
        parent,
        (first.text or "").strip(),
        tuple(_pixel(corner, name, path) for corner, name in zip(corners, CORNERS, strict=True)),
    )


def _pixel(corner: Element, name: str, path: Path) -> int:
    text = (corner.text or "").strip()
    if not INTEGER.fullmatch(text):
        raise BenchError(f"{path}: {name} must be a whole number of px, got {text[:80]!r}")
    return int(text)


def _annotator_rule(files: Iterable[Boxes]) -> tuple[str, Callable[[_Box], object]]:
    """What tells the annotators of all files apart, in words and as a key of a box."""
    files = tuple(files)
    rules: tuple[tuple[str, Callable[[_Box], object]], ...] = (
        ("the element around their boxes", lambda box: box.element),
        ("the first child of their boxes", lambda box: box.first_child),
    )
    for word, key in rules:
        most = max((len({key(box) for box in boxes}) for boxes in files), default=0)
        if 1 < most <= ANNOTATORS:
            return word, key
    return "nothing, so each box is one", lambda box: box.place


def _truth(frame: str, boxes: Boxes, annotator_of: Callable[[_Box], object]) -> Truth:
    drawn: dict[object, list[tuple[int, ...]]] = {}
    for box in boxes:
        drawn.setdefault(annotator_of(box), []).append(box.corners)
    voters = [np.array(corners, dtype=np.float64) / CANVAS for corners in drawn.values()]
    voters += [np.empty((0, 4))] * (ANNOTATORS - len(voters))
    return Truth(frame, tuple(voters))
