"""Predictions of any program as a file, and what a run folder holds of its own."""

import io
import json
import logging
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import ArrayLike, NDArray

from benchmark.records import Card, Record, read_record
from datamodules.array_files import DAMAGE as ARRAY_DAMAGE
from datamodules.atomic_files import write_atomically
from metrics.errors import BenchError, first_repeat
from metrics.predictions import MapRange, Predictions, check_shapes

log = logging.getLogger(__name__)
NAMES = (
    "id", "heatmap", "confidence", "boxes", "box_scores", "segment_logits", "source_heatmap",
    "source_count", "map_range", "on_screen",
)  # fmt: skip
OWN, SWAPPED = "predictions.npz", "predictions_swap.npz"  # in a run folder
DAMAGE = (*ARRAY_DAMAGE, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""All that numpy and zipfile raise where bytes are missing or wrong."""
NO_ARCHIVE = "it is no archive of arrays, or a part of it is missing"


class Given(NamedTuple):
    """What is to be scored.

    ``floor`` names a rule in place of predictions: a run of a floor stores no maps. ``swapped``
    are the predictions with the sounds of other clips, and ``record`` what the run recorded; both
    are None for a file. ``path`` is the file or folder, for messages.
    """

    path: Path
    predictions: Predictions | None
    floor: str | None = None
    swapped: Predictions | None = None
    record: Record | None = None


def read_given(path: Path) -> Given:
    """Predictions of an ``.npz`` file or of a run folder.

    Raises:
        BenchError: there is neither, or it cannot be scored; the message names the file.
    """
    if not path.is_dir():
        return Given(path, read_predictions(path))
    record = read_record(path / "record.json")
    rule = path / "predictions.json"
    if rule.is_file():
        return Given(path, None, floor=_floor(rule), record=record)
    own = read_predictions(path / OWN)
    swapped = read_predictions(path / SWAPPED) if (path / SWAPPED).is_file() else None
    return Given(
        path,
        _by_card(own, record.card),
        swapped=None if swapped is None else _by_card(swapped, record.card),
        record=record,
    )


def _by_card(predictions: Predictions, card: Card) -> Predictions:
    return predictions._replace(map_range=card.map_range, num_boxes=max(1, card.boxes))


def _floor(path: Path) -> str:
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["floor"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path} names no floor ({error!r}); run it again") from error
    return str(name)


def read_predictions(path: Path) -> Predictions:
    """Predictions of an ``.npz`` file; nothing in it is ever unpickled.

    Arrays: ``id`` (N,) unicode and any of ``heatmap`` (N, h, w), ``confidence`` (N,), ``boxes``
    (N, K, 4), best first or with ``box_scores`` (N, K), ``segment_logits`` (N, T, C),
    ``source_heatmap`` (N, S, h, w) with ``source_count`` (N,), ``map_range`` (2,), and
    ``on_screen`` (N,) bool of a method with a rule of its own for that. Arrays of other names are
    named in a warning and left out.

    Raises:
        BenchError: the file is missing, damaged or holds objects, or an array does not fit the ids.
    """
    arrays = _arrays(path)
    if "id" not in arrays:
        raise BenchError(f"{path} holds no array 'id'; write id (N,) of text, a row per sample")
    ids = arrays["id"]
    if ids.ndim != 1 or ids.dtype.kind != "U":
        raise BenchError(
            f"{path}: id must be (N,) of text, got {ids.shape} of {ids.dtype}; write "
            "numpy.array(ids, dtype=str)"
        )
    if not len(ids):
        raise BenchError(f"{path} holds no row; write a row per sample")
    try:
        predictions = Predictions(
            tuple(ids.tolist()),
            heatmap=arrays.get("heatmap"),
            confidence=arrays.get("confidence"),
            boxes=_best_first(arrays),
            segment_logits=arrays.get("segment_logits"),
            source_heatmap=arrays.get("source_heatmap"),
            source_count=arrays.get("source_count"),
            map_range=_map_range(arrays),
            on_screen=_on_screen(arrays),
        )
        predictions = predictions._replace(use_boxes=_only_boxes(predictions))
        check_shapes(predictions)
        _check_repeats(predictions.ids)
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from error
    return predictions


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of known names in a file."""
    if not path.exists():
        raise BenchError(f"{path} does not exist; give --predictions FILE.npz or a run folder")
    try:
        with path.open("rb") as stream, _archive(stream) as stored:
            unknown = [name for name in stored.files if name not in NAMES]
            arrays = {name: stored[name] for name in stored.files if name in NAMES}
    except DAMAGE as error:
        raise BenchError(
            f"{path} cannot be read as .npz ({_reason(error)}); write plain arrays with numpy.savez"
        ) from error
    if unknown:
        log.warning("%s: arrays left out, not known: %s", path, ", ".join(unknown))
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy hands out the bytes of any other member
            raise BenchError(f"{path}: {name} is no array; write plain arrays with numpy.savez")
    return arrays


def _archive(stream: BinaryIO) -> NpzFile:
    if not zipfile.is_zipfile(stream):  # numpy would take anything else for a pickle
        raise ValueError(NO_ARCHIVE)
    stream.seek(0)
    stored = np.load(stream, allow_pickle=False)
    if not isinstance(stored, NpzFile):
        raise ValueError("it is a single array without a name")
    return stored


def _reason(error: BaseException) -> str:
    """What is wrong with a file in a few words, on one line."""
    text = str(error).strip().splitlines()
    if not text or isinstance(error, MemoryError):
        return "it is damaged"
    if "Object arrays" in text[0]:
        return "it holds Python objects"
    return NO_ARCHIVE if "pickle" in text[0] else text[0]


def _map_range(arrays: dict[str, NDArray[Any]]) -> MapRange | None:
    if "map_range" not in arrays:
        return None
    given = arrays["map_range"]
    numbers = given.shape == (2,) and given.dtype.kind in "fiu"
    if not (numbers and np.isfinite(given).all() and given[0] < given[1]):
        raise BenchError(f"map_range must be (2,) finite numbers, low < high, got {given.tolist()}")
    low, high = given.tolist()
    return float(low), float(high)


def _on_screen(arrays: dict[str, NDArray[Any]]) -> NDArray[np.bool_] | None:
    given = arrays.get("on_screen")
    if given is None:
        return None
    if given.dtype.kind not in "biu" or not np.isin(given, (0, 1)).all():
        raise BenchError(f"on_screen must be (N,) of true and false, or 1 and 0, got {given.dtype}")
    return given.astype(np.bool_)


def _best_first(arrays: dict[str, NDArray[Any]]) -> NDArray[Any] | None:
    """Boxes by falling score where there are scores, equal ones and NaN as they stand."""
    boxes, scores = arrays.get("boxes"), arrays.get("box_scores")
    if boxes is None or scores is None:
        return boxes
    if boxes.ndim != 3 or scores.shape != boxes.shape[:2] or scores.dtype.kind not in "fiu":
        raise BenchError(
            f"box_scores must be (N, K) real numbers, one per box of {boxes.shape}, got "
            f"{scores.shape} of {scores.dtype}"
        )
    order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")  # (N, K)
    return np.take_along_axis(boxes, order[..., None], axis=1)


def _only_boxes(predictions: Predictions) -> bool:
    return predictions.boxes is not None and not predictions.has_maps


def _check_repeats(ids: Sequence[str]) -> None:
    twice = first_repeat(ids)
    if twice is not None:
        raise BenchError(f"{twice!r} occurs more than once; keep one row")


def write_predictions(
    path: Path, ids: Sequence[str], heatmaps: ArrayLike | None, **arrays: ArrayLike | None
) -> None:
    """Writes the predictions of a run as ``.npz``, equal bytes for equal arrays.

    Args:
        path: of the file.
        ids: N test ids.
        heatmaps: ``(N, h, w)`` at grid resolution, stored as float32; None where there are none.
        arrays: further entries with N rows, such as ``confidence=``; None is left out.

    Raises:
        ValueError: an array has another number of rows.
    """
    entries: dict[str, NDArray[Any]] = {"id": np.array(ids, dtype=np.str_)}
    if heatmaps is not None:
        entries["heatmap"] = np.asarray(heatmaps, np.float32)
    entries |= {name: np.asarray(rows) for name, rows in arrays.items() if rows is not None}
    for name, rows in entries.items():
        if len(rows) != len(ids):
            raise ValueError(f"{name} must have {len(ids)} rows, got {len(rows)}")
    stream = io.BytesIO()
    np.savez(stream, **entries)  # type: ignore[arg-type]  # numpy dates every entry 1980-01-01
    write_atomically(path, stream.getvalue())
