"""Where made data are kept between runs, how a folder appears there, and what tells its files."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict


class FileEntry(TypedDict):
    """What a manifest says of one file."""

    bytes: int
    sha256: str


def cache_dir() -> Path:
    """The folder ``$AVLOC_CACHE``, or ``~/.cache/avloc-bench``; it need not exist yet."""
    chosen = os.environ.get("AVLOC_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "avloc-bench"


def build_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Fills a new folder beside its final place and renames it there when it is complete.

    Whoever looks at ``folder`` sees nothing or all of it. Where another process finishes first, its
    folder stays and this one's work is dropped.

    Args:
        folder: final place; absent, or an empty folder.
        write: puts all files into the folder it is given.

    Raises:
        OSError: the parent cannot be written, or the disk is full.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.parent / f".{folder.name}-{uuid.uuid4().hex[:8]}"
    unfinished.mkdir()
    try:
        write(unfinished)
        _rename_unless_taken(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _rename_unless_taken(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        if not (folder.is_dir() and any(folder.iterdir())):
            raise


def file_entry(path: Path) -> FileEntry:
    """Size and hash of a file."""
    return FileEntry(bytes=path.stat().st_size, sha256=file_sha256(path))


def file_entries(folder: Path, pattern: str) -> dict[str, FileEntry]:
    """Size and hash of every file that matches, by its path inside the folder."""
    return {
        path.relative_to(folder).as_posix(): file_entry(path)
        for path in sorted(folder.glob(pattern))
    }


def file_sha256(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
