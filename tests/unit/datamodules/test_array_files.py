import os
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from datamodules.array_files import read_array

MODES: tuple[Literal["r"] | None, ...] = (None, "r")


def headed(header: str) -> bytes:
    """A file of format 1.0 whose header is that text, without any number."""
    line = header.encode().ljust(117) + b"\n"  # the numbers start at a multiple of 64 bytes
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line


def described(shape: str) -> bytes:
    return headed(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}")


@pytest.mark.parametrize("mmap_mode", MODES)
def test_an_array_is_read(tmp_path: Path, mmap_mode: Literal["r"] | None) -> None:
    np.save(tmp_path / "a.npy", np.array([[1.0, 2.0]]))

    assert read_array(tmp_path / "a.npy", mmap_mode=mmap_mode).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("mmap_mode", MODES)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is no .npy file"),
        (b"1 2 3\n", "it is no .npy file"),
        (b"PK\x03\x04 an archive that is cut off", "it is no .npy file"),
        (b"\x93NUMPY", "it is damaged or cut off"),
        (b"\x93NUMPY\x09\x00", "it is damaged or cut off"),
        (described("(3, 5)"), "it is damaged or cut off"),
        (described("(1, 5"), "it is damaged or cut off"),  # numpy: TokenError
        (described(f"({10**30}, 5)"), "it is damaged or cut off"),  # OverflowError
        (headed("{1: 2, 'descr': 3, 'shape': 4}"), "it is damaged or cut off"),  # TypeError
        (headed("-" * 100 + "1"), "it is damaged"),
    ],
)
def test_another_file_is_refused_in_words(
    tmp_path: Path, content: bytes, words: str, mmap_mode: Literal["r"] | None
) -> None:
    (tmp_path / "a.npy").write_bytes(content)

    with pytest.raises(ValueError, match=words):
        read_array(tmp_path / "a.npy", mmap_mode=mmap_mode)


def test_numbers_beyond_the_memory_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(described("(1000000000000000, 5)"))

    with pytest.raises(ValueError, match="it is damaged, or asks for more memory than there is"):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize("mmap_mode", MODES)
def test_objects_are_not_unpickled(tmp_path: Path, mmap_mode: Literal["r"] | None) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    np.save(tmp_path / "a.npy", np.array([Trap()], dtype=object), allow_pickle=True)

    with pytest.raises(ValueError, match="it holds pickled objects"):
        read_array(tmp_path / "a.npy", mmap_mode=mmap_mode)
    assert not (tmp_path / "ran").exists()
