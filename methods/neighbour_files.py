"""Neighbours on disk: made tile by tile, by one process or several, and read as a memory map.

::

    by_sound.npy            (n, K) int32, in place from the start and filled tile by tile
    by_sound.tiles-0.json   what the first process has finished: of which features, and the crc32 of
                            each tile; written after the tile, and as a whole or not at all

A mining that was killed goes on at the tiles that no such file names, whatever the number of
processes then, and ends with the same bytes.
"""

import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from glob import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules.array_files import read_array
from datamodules.atomic_files import replace_content
from datamodules.progress import progress_bar
from methods.global_norm import rank, wait_for_all, world_size
from methods.mining import CPU, TILE, searcher
from metrics.errors import BenchError

log = logging.getLogger(__name__)
UNREADABLE = (OSError, ValueError)  # of read_array: missing, damaged or of another kind
LOOK_SECONDS = 0.2  # between two looks at what the other processes have finished


class NeighbourFile:
    """Neighbours ``(n, K)`` int32 in a file, of which only the rows that are asked for are read.

    It travels to another process as its path.
    """

    def __init__(self, path: Path) -> None:
        """Opens a finished file.

        Raises:
            BenchError: it is damaged.
        """
        self.path = path
        try:
            self._rows: NDArray[np.int32] = read_array(path, mmap_mode="r")
        except UNREADABLE as error:
            raise BenchError(f"{path} cannot be read ({error}); give the same command again, "
                             "which makes it again") from error  # fmt: skip

    def __reduce__(self) -> tuple[type["NeighbourFile"], tuple[Path]]:
        return NeighbourFile, (self.path,)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, K)``."""
        return self._rows.shape

    def __getitem__(self, rows: Any) -> NDArray[np.int32]:
        """The chosen rows, or numbers of them, in memory."""
        return np.array(self._rows[rows])


@dataclass(frozen=True)
class Asked:
    """All that the bytes of a file of neighbours depend on beside the machine."""

    features: str  # sha256
    rows: int
    count: int
    tile: int

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return -(-self.rows // self.tile)

    def span(self, tile: int) -> slice:
        """Rows of a tile."""
        return slice(tile * self.tile, min((tile + 1) * self.tile, self.rows))


class Mining(NamedTuple):
    """Neighbours that are there in full, and how many rows of them this process has made now."""

    neighbours: NeighbourFile
    made: int


def mine(features: Path, result: Path, count: int, device: torch.device = CPU) -> Mining:
    """The ``count`` nearest others of every row of a feature file, in a file.

    The processes of a group share the tiles; every one of them calls this, sees the same files and
    returns when all tiles are there. What was finished before is kept where features and K are the
    same and the bytes are those that were written.

    Args:
        features: ``.npy`` of ``(n, D)`` float32.
        result: ``.npy``.
        count: neighbours K.
        device: where long lists are searched.

    Raises:
        BenchError: the features cannot be read or are not finite, K is not in [1, n - 1], the
            result is a file that was not made here, or cannot be written.
    """
    vectors = open_features(features)
    require_others(count, len(vectors), str(features))
    asked = Asked(_fingerprint(vectors, features), len(vectors), count, TILE)
    try:
        if rank() == 0:
            _begin(result, asked)
        wait_for_all()
        made = _work(result, asked, searcher(vectors, count, device))
        while len(_finished(result, asked)) < asked.tiles:
            time.sleep(LOOK_SECONDS)
    except OSError as error:
        raise BenchError(
            f"{result} cannot be written ({error.strerror or error}); its {asked.rows} x {count} "
            f"neighbours take {asked.rows * count * 4 / 1e9:.2g} GB; make room and give the same "
            "command again, which goes on from there"
        ) from error
    return Mining(NeighbourFile(result), made)


def require_others(count: int, rows: int, of: str) -> None:
    """Raises BenchError where ``rows`` rows ``of`` something have no ``count`` others."""
    if not 1 <= count < rows:
        raise BenchError(f"K must be in [1, {rows - 1}] for the {rows} rows of {of}, got {count}")


def is_mined(features: Path, result: Path, count: int) -> bool:
    """Whether a file holds all neighbours of these features, byte for byte as they were written."""
    try:
        vectors = read_array(features, mmap_mode="r")
    except UNREADABLE:
        return False
    asked = Asked(_fingerprint(vectors, features), len(vectors), count, TILE)
    return len(_intact(result, asked)) == asked.tiles


def open_features(path: Path) -> NDArray[np.float32]:
    """A memory map of the rows of a feature file.

    Raises:
        BenchError: it is none, or not ``(n, D)`` float32 with two rows or more.
    """
    try:
        found = read_array(path, mmap_mode="r")
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or error
        raise BenchError(
            f"{path} cannot be read as a .npy file ({reason}); write it with numpy.save"
        ) from error
    fits = found.dtype == np.float32 and found.ndim == 2 and len(found) > 1
    if not fits or not found.flags.c_contiguous:
        raise BenchError(
            f"{path} holds {found.dtype} of shape {found.shape}, expected float32 of shape "
            "(n, D) with n of 2 or more, row by row; write it with numpy.save(FILE, "
            "features.astype('float32', order='C'))"
        )
    rows: NDArray[np.float32] = found
    return rows


def _fingerprint(vectors: NDArray[np.float32], path: Path) -> str:
    digest = hashlib.sha256(repr(vectors.shape).encode())
    for start in range(0, len(vectors), TILE):
        tile = np.ascontiguousarray(vectors[start : start + TILE])
        if not np.isfinite(tile).all():
            row = start + int(np.flatnonzero(~np.isfinite(tile).all(1))[0])
            raise BenchError(
                f"row {row} of {path} has values that are not finite; nothing is near it"
            )
        digest.update(tile.data)
    return digest.hexdigest()


def _begin(result: Path, asked: Asked) -> None:
    """Leaves what is finished in the one file of the first process, and makes room for the rest."""
    notes = _notes(result)
    if result.exists() and not notes:
        raise BenchError(
            f"{result} exists and is no file of neighbours that was made here; delete it or name "
            "another"
        )
    intact = _intact(result, asked)
    if result.exists():
        _tell(result, asked, intact)
    _note(result, asked, 0, intact)  # first: a result without notes counts as foreign
    for other in notes:
        if other != _note_path(result, 0):
            other.unlink()
    if not _has_shape(result, asked):
        reserve(result, (asked.rows, asked.count), np.dtype(np.int32))


def _tell(result: Path, asked: Asked, intact: dict[int, int]) -> None:
    noted = len(_finished(result, asked))
    if not _has_shape(result, asked) or (not noted and not _is_new(result, asked)):
        log.warning("%s is truncated, or of other features or another K, and is made again", result)
    elif len(intact) < noted:
        log.warning("%s is damaged in %d of %d tiles, which are made again", result,
                    noted - len(intact), asked.tiles)  # fmt: skip
    elif len(intact) < asked.tiles:
        log.info("%s: goes on, %d of %d tiles are there", result, len(intact), asked.tiles)


def _is_new(result: Path, asked: Asked) -> bool:
    """Whether some process had begun with it, though none had finished a tile."""
    return any(_read_note(path).get("asked") == asdict(asked) for path in _notes(result))


def _work(result: Path, asked: Asked, search: Callable[[int, int], NDArray[np.int32]]) -> int:
    """Makes what is left of this process's share; the number of rows that it made."""
    finished, own = _finished(result, asked), _own(result, asked)
    share = [tile for tile in range(rank(), asked.tiles, world_size()) if tile not in finished]
    made = 0
    with progress_bar(f"mining {result.name}, tiles of {asked.tile} rows", len(share)) as advance:
        for tile in share:
            span = asked.span(tile)
            rows = search(span.start, span.stop)
            write_rows(result, span.start, rows)
            own[tile] = zlib.crc32(rows.data)
            _note(result, asked, rank(), own)
            made += len(rows)
            advance()
    return made


def _intact(result: Path, asked: Asked) -> dict[int, int]:
    """Finished tiles whose bytes are those that were written, with their crc32."""
    if not _has_shape(result, asked):
        return {}
    rows = read_array(result, mmap_mode="r")
    return {
        tile: crc
        for tile, crc in sorted(_finished(result, asked).items())
        if zlib.crc32(np.ascontiguousarray(rows[asked.span(tile)]).data) == crc
    }


def _finished(result: Path, asked: Asked) -> dict[int, int]:
    """Tiles that some process has finished, with the crc32 of each."""
    found: dict[int, int] = {}
    for path in _notes(result):
        found |= _tiles_of(path, asked)
    return found


def _own(result: Path, asked: Asked) -> dict[int, int]:
    return _tiles_of(_note_path(result, rank()), asked)


def _tiles_of(path: Path, asked: Asked) -> dict[int, int]:
    note = _read_note(path)
    if note.get("asked") != asdict(asked):
        return {}
    return {int(tile): int(crc) for tile, crc in note["tiles"].items()}


def _notes(result: Path) -> list[Path]:
    return sorted(result.parent.glob(f"{escape(result.stem)}.tiles-*.json"))


def _note_path(result: Path, of_rank: int) -> Path:
    return result.with_name(f"{result.stem}.tiles-{of_rank}.json")


def _read_note(path: Path) -> dict[str, Any]:
    """What a process noted; nothing where that is damaged."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return note if isinstance(note, dict) and isinstance(note.get("tiles"), dict) else {}
    except (OSError, ValueError):
        return {}


def _note(result: Path, asked: Asked, of_rank: int, tiles: dict[int, int]) -> None:
    content = json.dumps({"asked": asdict(asked), "tiles": tiles})
    replace_content(_note_path(result, of_rank), content.encode())


def reserve(path: Path, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
    """A ``.npy`` file of that shape whose numbers are to come, with room for all of them.

    Raises:
        OSError: the disk has no room, and then there is no file.
    """
    try:
        with path.open("wb") as file:
            header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
            size = file.tell() + shape[0] * shape[1] * dtype.itemsize
            if hasattr(os, "posix_fallocate"):  # a sparse file would run out of room only later
                os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(size)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def write_rows(path: Path, start: int, rows: NDArray[Any]) -> None:
    """Writes rows into their place in a ``.npy`` file, by a call that can say that it failed.

    A write through a memory map to a full disk would end the process.
    """
    with path.open("r+b") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        file.seek(start * rows[0].nbytes, os.SEEK_CUR)
        file.write(np.ascontiguousarray(rows).data)


def _has_shape(result: Path, asked: Asked) -> bool:
    return has_shape(result, (asked.rows, asked.count), np.dtype(np.int32))


def has_shape(path: Path, shape: tuple[int, int | None], dtype: np.dtype[Any]) -> bool:
    """Whether a ``.npy`` file has that many rows of that kind, and all their bytes.

    Args:
        path: of the file.
        shape: ``(n, K)``; None for any K.
        dtype: of its numbers.
    """
    try:
        found = read_array(path, mmap_mode="r")
    except UNREADABLE:
        return False
    if found.ndim != 2 or found.dtype != dtype:
        return False
    return len(found) == shape[0] and shape[1] in (None, found.shape[1])
