"""Reader of the boxes of IS3: two sounds for each frame, one entry for each sound."""

import re
from pathlib import Path, PurePosixPath

import numpy as np

from datamodules.annotation_files import (
    REMEDY,
    Annotated,
    check_repeats,
    is_box,
    read_json,
    text_field,
)
from datamodules.id_lists import IdForm, check_id
from datamodules.pixel_boxes import pixel_fractions
from metrics.errors import BenchError
from metrics.truth import Truth

IS3_ID = IdForm(
    re.compile(r"[A-Za-z0-9 -]+(_[A-Za-z0-9 -]+)+"), "<objects of the frame>_<number>_<object>"
)


def is3_sample(sample_id: str) -> Truth:
    """What the id alone says: the frame and the object that sounds; without boxes.

    The name of a frame is all but the last part of the id: ALIGN ``utils.py:124-138``,
    https://github.com/kaistmm/SSLalignment at e7ae3c5.

    >>> sample = is3_sample("accordion_female_10438_accordion")
    >>> sample.frame, sample.category
    ('accordion_female_10438', 'accordion')
    """
    frame, _, category = sample_id.rpartition("_")
    return Truth(sample_id, (), category=category, frame=frame)


def read_is3(path: Path) -> Annotated:
    """The box of each sound, in the order of the file.

    The file is a list of ``{"image": path, "gt_box": [x1, y1, x2, y2]}``; the stem of the image is
    the id. Boxes are in px of a 224 x 224 frame and are truncated to whole px when they are drawn,
    ALIGN ``datasets.py:90-95``; the fractions lead back to those. A text under ``label`` is the
    class, else it is the last part of the id.

    Args:
        path: ``synthetic3240_bbox.json`` of SSLalignment, or ``IS3_annotation.json`` of the release
            where it has these fields.

    Returns:
        One ``Truth`` per entry with a single annotator, ``(1, 4)`` float64.

    Raises:
        BenchError: not a JSON list, or an entry that breaks the format; the message names file
            and id.
    """
    entries = read_json(path)
    if not isinstance(entries, list) or not entries:
        raise BenchError(f"{path}: expected a list of annotated sounds; {REMEDY}")
    truth = tuple(_truth(entry, f"{path}, entry {row}") for row, entry in enumerate(entries))
    check_repeats(truth, path)
    return Annotated(truth)


def _truth(entry: object, place: str) -> Truth:
    if not isinstance(entry, dict):
        raise BenchError(f"{place}: expected an object, got {type(entry).__name__}")
    sample_id = PurePosixPath(text_field(entry, "image", place)).stem
    check_id(sample_id, IS3_ID, place)
    place = f"{place} ({sample_id})"
    box = entry.get("gt_box")
    if not is_box(box):
        raise BenchError(f"{place}: 'gt_box' must be a box of 4 finite numbers, in px of 224")
    sample = is3_sample(sample_id)._replace(
        boxes=(pixel_fractions(np.array([box], dtype=np.float64)),)
    )
    return (
        sample._replace(category=text_field(entry, "label", place)) if "label" in entry else sample
    )
