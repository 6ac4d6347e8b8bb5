"""Readers of the boxes of VGG-SS: ``vggss.json``, and the XML files of SSL-TIE."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datamodules.annotation_files import (
    REMEDY,
    check_repeats,
    is_box,
    read_json,
    read_xml,
    text_field,
)
from datamodules.id_lists import IdForm, check_id, first_column
from metrics.errors import BenchError
from metrics.truth import Truth

VGGSS_ID = IdForm(
    re.compile(r"[A-Za-z0-9_-]{11}_[0-9]{6}"), "<11-character video id>_<6-digit start second>"
)


def video_of(clip_id: str) -> str:
    """The video of a VGG-Sound clip, by position: video ids hold ``_`` and ``-`` themselves.

    >>> video_of("YBd5lEnpT_8_000000")
    'YBd5lEnpT_8'
    """
    return clip_id[:11]


def start_second(clip_id: str) -> int:
    """The second of its video at which a VGG-Sound clip starts.

    >>> start_second("YBd5lEnpT_8_000030")
    30
    """
    return int(clip_id[12:])


def vggsound_id(line: str) -> str:
    """The id in a line of a list of VGG-Sound clips.

    SSLalignment (``datasets.py:64-65`` at e7ae3c5) names a clip by the milliseconds of its start
    and of its end; ids elsewhere have the second of its start.

    >>> [vggsound_id(line) for line in ("YBd5lEnpT_8_30000_40000", "YBd5lEnpT_8_000030.mp4")]
    ['YBd5lEnpT_8_000030', 'YBd5lEnpT_8_000030']
    """
    name = first_column(line)
    span = re.fullmatch(r"([A-Za-z0-9_-]{11})_([0-9]+)000_[0-9]+000", name)
    if span is None:
        span = re.fullmatch(r"([A-Za-z0-9_-]{11})_(0)_10000", name)
    return name if span is None else f"{span[1]}_{int(span[2]):06d}"


def read_vggss(path: Path) -> tuple[Truth, ...]:
    """Boxes and class of every annotated clip, in the order of the file and as published.

    The file is a list of ``{"file": id, "class": name, "bbox": [[x1, y1, x2, y2], ...]}`` with
    coordinates in fractions of the frame. Garbage coordinates are kept: see
    ``datamodules.box_defects``.

    Args:
        path: ``vggss.json``.

    Returns:
        One ``Truth`` per entry with a single annotator, ``(K, 4)`` float64.

    Raises:
        BenchError: not a JSON list, or an entry that breaks the format; the message names file
            and id.
    """
    entries = _json_list(path)
    truths = tuple(_truth(entry, f"{path}, entry {row}") for row, entry in enumerate(entries))
    check_repeats(truths, path)
    return truths


def read_vggss_xml(folder: Path, ids: Sequence[str] | None = None) -> tuple[Truth, ...]:
    """Boxes of SSL-TIE's XML files, ``<id>.xml``; no class is known.

    The root holds a ``<bbox>``, this holds an element for each box, and that holds xmin, ymin, xmax
    and ymax by their order, in fractions of the frame (``main.py:240-252`` at c49e6a9).

    Args:
        folder: with one XML file per clip.
        ids: clips to read, in this order; None reads every file, in the order of their names.

    Returns:
        One ``Truth`` per clip with a single annotator, ``(K, 4)`` float64.

    Raises:
        BenchError: a file is missing or breaks the format; the message names it.
    """
    if ids is None:
        ids = sorted(path.stem for path in folder.glob("*.xml") if not path.name.startswith("."))
        if not ids:
            raise BenchError(f"{folder} holds no <id>.xml file; {REMEDY}")
    return tuple(_truth_of_xml(folder / f"{clip_id}.xml") for clip_id in ids)


def _truth_of_xml(path: Path) -> Truth:
    check_id(path.stem, VGGSS_ID, str(path))
    drawn = [box for element in read_xml(path) if element.tag == "bbox" for box in element]
    boxes = [[_fraction(corner.text, path) for corner in box] for box in drawn]
    if not all(len(box) == 4 for box in boxes):
        raise BenchError(f"{path}: a box must hold xmin, ymin, xmax and ymax; correct the file")
    return Truth(path.stem, (np.array(boxes, dtype=np.float64).reshape(-1, 4),))


def _fraction(text: str | None, path: Path) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BenchError(f"{path}: a corner must be a finite number, got {(text or '')[:80]!r}")
    return number


def _json_list(path: Path) -> list[object]:
    entries = read_json(path)
    if not isinstance(entries, list) or not entries:
        raise BenchError(f"{path}: expected a list of annotated clips; {REMEDY}")
    return entries


def _truth(entry: object, place: str) -> Truth:
    if not isinstance(entry, dict):
        raise BenchError(f"{place}: expected an object, got {type(entry).__name__}")
    clip_id = text_field(entry, "file", place)
    check_id(clip_id, VGGSS_ID, place)
    boxes = entry.get("bbox")
    if not isinstance(boxes, list) or not all(is_box(box) for box in boxes):
        raise BenchError(f"{place} ({clip_id}): 'bbox' must be a list of boxes of 4 finite numbers")
    values = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return Truth(clip_id, (values,), category=text_field(entry, "class", f"{place} ({clip_id})"))
