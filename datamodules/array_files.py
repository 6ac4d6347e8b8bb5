"""The array of a ``.npy`` file, which is never unpickled, and what numpy raises for damage."""

import tokenize
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.format import MAGIC_PREFIX
from numpy.typing import NDArray

DAMAGE = (
    ValueError, EOFError, MemoryError, OverflowError, TypeError, LookupError, SyntaxError,
    RecursionError, tokenize.TokenError,
)  # fmt: skip
"""All that numpy raises for an array whose header or numbers are cut off or wrong."""
PICKLED = "it holds pickled objects"
OBJECTS = ("Object arrays", "Python objects")  # in numpy's refusals of pickled content


def read_array(path: Path, *, mmap_mode: Literal["r"] | None = None) -> NDArray[Any]:
    """The array of a ``.npy`` file.

    Args:
        path: of the file.
        mmap_mode: ``"r"`` leaves the numbers in the file until they are asked for.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is no ``.npy`` file, is damaged or holds pickled objects; the words say
            which, for a message that names the file.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC_PREFIX)) != MAGIC_PREFIX:  # numpy would take it for a pickle
            raise ValueError("it is no .npy file")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except DAMAGE as error:
        raise ValueError(_reason(error)) from error
    return array


def _reason(error: Exception) -> str:
    if any(words in str(error) for words in OBJECTS):
        return PICKLED
    if isinstance(error, MemoryError):
        return "it is damaged, or asks for more memory than there is"
    return "it is damaged or cut off"
