"""Files that are there in full or not at all, whatever kills the process that writes them."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metrics.errors import BenchError

UNFINISHED = ".part"  # how the name of a file ends that is being written


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Writes a file that is there in full or, whatever happens, not at all.

    Raises:
        BenchError: see :func:`unfinished`.
        OSError: it cannot be written; the error names the file, and what was there before stays.
    """
    with unfinished(path) as beside:
        beside.write_bytes(content)


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """An empty file that gets its name when the block ends, and is deleted where it fails.

    Where the path is a link, what it leads to is replaced and the link stays.

    Raises:
        BenchError: there is a folder, a device or a pipe, which is left as it is.
    """
    if path.exists() and not path.is_file():
        raise BenchError(f"{path} is no file and is not replaced by one; give another name")
    target = Path(os.path.realpath(path))
    name = None
    try:
        handle, name = tempfile.mkstemp(UNFINISHED, f".{target.name}.", target.parent)
        os.close(handle)
        yield Path(name)
        with open(name, "r+b") as stream:
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)  # mkstemp's 0o600 would shut others out of a shared folder
        os.replace(name, target)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(path)  # a write names no file, and a rename the other one
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise


def drop_unfinished(folder: Path) -> None:
    """Deletes the files that a killed process had not finished; only its lock's holder may."""
    for path in folder.glob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file as a whole or not at all."""
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    write_atomically(path, text.encode())


def replace_content(path: Path, content: bytes | memoryview) -> None:
    """The same for the one process that holds a folder, many times over.

    What a killed process leaves has a name of its own that the next write takes, so nothing is to
    be deleted, and nothing waits for the disk: of a machine that fails, the last may be empty.

    Raises:
        OSError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}{UNFINISHED}")
    beside.write_bytes(content)
    os.replace(beside, path)
