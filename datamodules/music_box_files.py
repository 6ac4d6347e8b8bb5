"""Reader of the boxes of MUSIC-Synthetic as published, one array per picture.

The set is https://zenodo.org/records/4079386, read as DSOL's ``music-exp/eval.py`` reads it at
7f40207: https://github.com/DTaoo/Discriminative-Sounding-Objects-Localization.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.annotation_files import REMEDY, Annotated
from datamodules.array_files import PICKLED, read_array
from datamodules.id_lists import check_id
from datamodules.music_annotations import FARTHEST, instrument, xywh_fractions
from datamodules.music_mixtures import MIXTURE_ID, QUADRANTS, SOUNDING
from metrics.errors import BenchError
from metrics.truth import Source, Truth

COLUMNS = 5  # x, y, width and height in fractions of the picture, number of the instrument


def box_files(folder: Path) -> list[Path]:
    """The files of a folder in the order in which they belong to pictures and sounds."""
    return sorted(path for path in folder.glob("*.npy") if not path.name.startswith("."))


def read_box_files(folder: Path, ids: Sequence[str] | None) -> Annotated:
    """Boxes of the sounding instruments of each picture.

    Every row ``[x, y, width, height, category]`` is scored as a sounding instrument, as DSOL does.
    Each quadrant of the picture in which no box has its middle is a silent source without a class,
    whose box is the quadrant.

    Args:
        folder: of ``<id>.npy``.
        ids: the samples to read; None for all.

    Returns:
        One ``Truth`` per file: all boxes as one annotator, a source per instrument in the order of
        the rows, then the silent ones.

    Raises:
        BenchError: no file, one that is damaged or of another kind, holds pickled objects, or is
            not ``(K, 5)`` finite numbers; the message names it.
    """
    files = {path.stem: path for path in box_files(folder)}
    if not files:
        raise BenchError(f"{folder} holds no <id>.npy of boxes; {REMEDY}")
    wanted = list(files) if ids is None else [each for each in ids if each in files]
    truth = tuple(_truth(each, files[each]) for each in wanted)
    crowded = [each.id for each in truth if sum(s.sounding for s in each.sources) > SOUNDING]
    if not crowded:
        return Annotated(truth)
    note = (
        f"{len(crowded)} of {len(truth)} pictures have boxes of more than {SOUNDING} instruments, "
        f"the first is {crowded[0]}; each counts as sounding, as in DSOL's eval.py"
    )
    return Annotated(truth, (note,))


def _truth(sample_id: str, path: Path) -> Truth:
    check_id(sample_id, MIXTURE_ID, str(path))
    rows = _rows(path)
    boxes, numbers = xywh_fractions(rows[:, :4]), rows[:, 4].astype(np.int64)
    heard = tuple(
        Source(boxes[numbers == number], instrument(number))
        for number in dict.fromkeys(numbers.tolist())
    )
    silent = tuple(Source(quadrant[None], sounding=False) for quadrant in _empty_quadrants(boxes))
    category = heard[0].category if len(heard) == 1 else None
    return Truth(sample_id, (boxes,), category=category, sources=(*heard, *silent))


def _empty_quadrants(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quadrants ``(Q, 4)`` in which no box has its middle."""
    right, below = ((boxes[:, :2] + boxes[:, 2:]) / 2 >= 0.5).T.astype(int)
    return np.delete(QUADRANTS, np.unique(2 * below + right), axis=0)


def _rows(path: Path) -> NDArray[np.float64]:
    try:
        rows = read_array(path)
    except (OSError, ValueError) as error:
        if str(error) == PICKLED:
            raise BenchError(
                f"{path} holds pickled objects, which are never read: unpickling runs what a file "
                f"says; save its rows as one array of numbers, (K, {COLUMNS})"
            ) from error
        raise BenchError(f"{path} is no readable array ({error}); fetch it again") from error
    if rows.ndim != 2 or rows.shape[1] != COLUMNS or not len(rows) or rows.dtype.kind not in "iuf":
        raise BenchError(
            f"{path}: expected rows of {COLUMNS} numbers, x, y, width, height and category, got "
            f"{rows.dtype} {rows.shape}; fetch it again"
        )
    rows = np.asarray(rows, dtype=np.float64)
    if not (np.abs(rows) <= FARTHEST).all() or (rows[:, 4] % 1).any():
        raise BenchError(
            f"{path}: boxes and categories must be numbers within {FARTHEST:g}, and categories "
            "whole; fetch it again"
        )
    return rows
