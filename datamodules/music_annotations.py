"""Reader of the boxes that DSOL published for frames of MUSIC, solos and duets.

DSOL is https://github.com/DTaoo/Discriminative-Sounding-Objects-Localization at 7f40207.
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.annotation_files import REMEDY, Annotated, is_box, read_json
from datamodules.id_lists import IdForm, check_id
from datamodules.pixel_boxes import GRID, pixel_fractions
from metrics.errors import BenchError
from metrics.truth import Source, Truth

MUSIC_ID = IdForm(
    re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+/[A-Za-z0-9_-]+"), "<video>/<frame folder>/<frame>"
)
FARTHEST = 1e15  # of a coordinate or a number; float64 holds every whole number up to 9e15
INSTRUMENTS = {  # music-exp/eval_duet.py
    1: "cello",
    3: "acoustic_guitar",
    8: "saxophone",
    10: "trumpet",
    11: "violin",
    12: "flute",
    13: "accordion",
}


def read_music(path: Path) -> Annotated:
    """Boxes of the sounding instruments of each frame, in the order of the file.

    The file is an object ``{"<video>/<frame folder>/<frame>.jpg": {"bbox": [{"normbox":
    [x, y, width, height], "category_id": number}, ...]}}``; the key without ``.jpg`` is the id.
    DSOL draws ``int(y):int(y + h), int(x):int(x + w)`` of ``normbox * 224``, sums taken before they
    are truncated (``music-exp/tools.py:21-26``, ``eval_duet.py``); the fractions lead back to those
    pixels. It scores no frame without a box, so these are left out and counted.

    Args:
        path: ``solotest.json`` or ``duettest.json``.

    Returns:
        One ``Truth`` per frame with a box: all boxes as one annotator, ``(K, 4)`` float64 xyxy, and
        one source per instrument in the order of their first boxes. The class is the instrument,
        or None where there are several; a number without a known name is ``instrument <number>``.

    Raises:
        BenchError: not a JSON object, a frame listed twice, an entry that breaks the format, or no
            box at all; the message names file and id.
    """
    entries = read_json(path)
    if not isinstance(entries, dict) or not entries:
        raise BenchError(f"{path}: expected an object with a key per frame; {REMEDY}")
    boxes = {
        _id(key, path): _entry_boxes(entry, f"{path} ({key})") for key, entry in entries.items()
    }
    truth = tuple(_truth(frame, found) for frame, found in boxes.items() if found)
    if len(boxes) < len(entries):
        raise BenchError(f"{path}: a frame is annotated twice, with .jpg and without; keep one")
    if not truth:
        raise BenchError(f"{path}: no frame has a box; {REMEDY}")
    empty = len(boxes) - len(truth)
    note = f"{empty} of {len(boxes)} frames have no box in {path.name} and are left out"
    return Annotated(truth, (note,) if empty else ())


def _id(key: str, path: Path) -> str:
    frame = key.removesuffix(".jpg")
    check_id(frame, MUSIC_ID, str(path))
    return frame


def _entry_boxes(entry: object, place: str) -> list[tuple[int, list[float]]]:
    """Number of the instrument and ``[x, y, w, h]`` of each box."""
    boxes = entry.get("bbox") if isinstance(entry, dict) else None
    if not isinstance(boxes, list):
        raise BenchError(f"{place}: 'bbox' must be a list of boxes; {REMEDY}")
    found = []
    for box in boxes:
        if not _is_box_of_instrument(box):
            raise BenchError(
                f"{place}: a box must have 'normbox', 4 finite numbers, and 'category_id', a whole "
                f"number, none beyond {FARTHEST:g}; {REMEDY}"
            )
        found.append((box["category_id"], box["normbox"]))
    return found


def _is_box_of_instrument(box: object) -> bool:
    if not isinstance(box, dict) or not is_box(box.get("normbox")):
        return False
    number = box.get("category_id")
    return type(number) is int and max(map(abs, [number, *box["normbox"]])) <= FARTHEST


def _truth(frame: str, found: list[tuple[int, list[float]]]) -> Truth:
    boxes = xywh_fractions(np.array([normbox for _, normbox in found], dtype=np.float64))
    numbers = np.array([number for number, _ in found])
    sources = tuple(
        Source(boxes[numbers == number], instrument(number))
        for number in dict.fromkeys(numbers.tolist())
    )
    category = sources[0].category if len(sources) == 1 else None
    return Truth(frame, (boxes,), category=category, sources=sources)


def instrument(number: int) -> str:
    """Name of an instrument that DSOL numbers.

    >>> instrument(12), instrument(5)
    ('flute', 'instrument 5')
    """
    return INSTRUMENTS.get(number, f"instrument {number}")


def xywh_fractions(normbox: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes ``(K, 4)`` xyxy in fractions of the frame, of ``(K, 4)`` x, y, width and height.

    They lead back to the pixels that DSOL draws; see :func:`read_music`.
    """
    corner, extent = np.split(normbox * GRID, 2, axis=1)
    return pixel_fractions(np.concatenate([corner, corner + extent], axis=1))
