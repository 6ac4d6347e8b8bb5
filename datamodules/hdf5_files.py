"""Arrays of HDF5 files, checked when they are found and read by rows."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from metrics.errors import BenchError

NUMBERS = "fiu"  # kinds of dtype that are plain numbers
DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError, OverflowError)
"""All that h5py and numpy raise for a file with wrong bytes."""


class Hdf5Array:
    """An array of an HDF5 file, of which rows are read when they are asked for.

    The file is opened anew in each process that reads, because HDF5 handles do not survive a fork.
    """

    def __init__(self, path: Path, key: str, shape: Sequence[int | None], remedy: str) -> None:
        """Looks at the file once.

        Args:
            path: of the file.
            key: name of the array in it.
            shape: what the array must have; None stands for any length.
            remedy: what the user can do where the file is of no use, for messages.

        Raises:
            BenchError: the file is missing, damaged or no HDF5; it has no such array; the array
                has another shape, holds no numbers or lies in another file.
        """
        self.path, self.key, self.remedy = path, key, remedy
        self._opened_by = -1  # the process that the handle belongs to
        self._array: h5py.Dataset | None = None
        with self._file() as file, self._readable():
            self.shape: tuple[int, ...] = self._checked(file, shape).shape

    def __len__(self) -> int:
        return self.shape[0]

    def row(self, place: int, part: slice = slice(None)) -> NDArray[np.generic]:
        """One row of an array of two axes or more, or a part of it along the second."""
        with self._readable():
            if self._array is None or self._opened_by != os.getpid():
                self._array, self._opened_by = h5py.File(self.path, "r")[self.key], os.getpid()
            row: NDArray[np.generic] = self._array[place, part]
            return row

    def all(self) -> NDArray[np.generic]:
        """The whole array."""
        with self._file() as file, self._readable():
            content: NDArray[np.generic] = file[self.key][()]
            return content

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_array": None, "_opened_by": -1}

    @contextmanager
    def _file(self) -> Iterator[h5py.File]:
        if not self.path.is_file():
            raise BenchError(f"{self.path} does not exist; {self.remedy}")
        with self._readable():
            file = h5py.File(self.path, "r")
        with file:
            yield file

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except DAMAGE as error:
            raise BenchError(
                f"{self.path} cannot be read as HDF5 ({_reason(error)}); {self.remedy}"
            ) from error

    def _checked(self, file: h5py.File, shape: Sequence[int | None]) -> h5py.Dataset:
        link = file.get(self.key, getlink=True) if self.key in file else None
        found = file[self.key] if isinstance(link, h5py.HardLink) else None
        if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
            held = ", ".join(file) or "nothing"
            raise BenchError(
                f"{self.path} holds no array {self.key!r} of its own, but {held}; {self.remedy}"
            )
        fits = found.ndim == len(shape) and all(
            wanted in (None, length) for wanted, length in zip(shape, found.shape, strict=True)
        )
        if not fits or found.dtype.kind not in NUMBERS:
            expected = ", ".join("any" if each is None else str(each) for each in shape)
            raise BenchError(
                f"{self.path}: {self.key!r} must be ({expected}) numbers, got {found.shape} of "
                f"{found.dtype}; {self.remedy}"
            )
        return found


def _reason(error: Exception) -> str:
    """What HDF5 says in brackets, on one line."""
    inside = re.search(r"\(([^)]*)\)", str(error))
    return " ".join((inside[1] if inside else str(error)).split()) or type(error).__name__
