"""A folder on a disk or in an object store, read through fsspec; its large files are fetched once.

No connection and no file is kept open between two calls, so a process may be forked at any time.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import fsspec
from filelock import FileLock
from fsspec.implementations.local import LocalFileSystem

from datamodules.cache import FileEntry, file_sha256
from metrics.errors import BenchError

REQUESTS_AT_ONCE = 16
CONTAINER_AT_ACCOUNT = ("abfs", "abfss", "az")  # container@account.dfs.core.windows.net of adlfs
GB = 10**9
AGAIN = "copy it again, or repeat the command that made it"
T = TypeVar("T")


class Storage:
    """Files below a location: a folder, or a URL such as ``s3://bucket/folder``."""

    def __init__(self, location: str, setting: str) -> None:
        """Connects to nothing.

        Args:
            location: what the user wrote.
            setting: where it was written, for messages.

        Raises:
            BenchError: the location holds a password, or is a URL that cannot be read.
        """
        self.location, self.setting = location, setting
        try:
            names_user = "://" in location and _names_user(location)
        except ValueError as error:  # its words may hold what stands before the @
            raise BenchError(f"{setting} is no URL: correct what follows ://") from error
        if names_user:
            raise BenchError(
                f"{setting} holds a user name or password; leave it out and give it to the library "
                "of the store by its own variables, such as AWS_ACCESS_KEY_ID"
            )

    @property
    def folder(self) -> Path | None:
        """The folder on a disk; None where it is elsewhere."""
        files, path = self._opened()
        return Path(path) if isinstance(files, LocalFileSystem) else None

    def content(self, name: str) -> bytes | None:
        """A whole small file, or None where there is none."""
        found: bytes | None = self._asked(name, lambda files, path: files.cat_file(path))
        return found

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Bytes of each file, None where there is no such file, by several requests at once."""
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            return list(pool.map(self._size, names))

    def fetch(self, names: Sequence[str], folder: Path) -> None:
        """Copies files into a folder under their own names, by several requests at once.

        Raises:
            BenchError: one is not there or cannot be had.
        """
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            found = pool.map(lambda name: self._asked(name, partial(_copied, folder / name)), names)
            for name, copied in zip(names, found, strict=True):
                if copied is None:
                    raise BenchError(f"{name} is missing in {self.setting}; {AGAIN}")

    def _size(self, name: str) -> int | None:
        size: int | None = self._asked(name, lambda files, path: files.info(path)["size"])
        return size

    def _opened(self) -> tuple[fsspec.AbstractFileSystem, str]:
        try:
            files, path = fsspec.url_to_fs(self.location)
        except (ImportError, ValueError) as error:
            raise self._failure("cannot be opened", error) from error
        return files, path

    def _asked(self, name: str, ask: Callable[[fsspec.AbstractFileSystem, str], T]) -> T | None:
        """An answer of the store on a file, or None where there is no such file."""
        files, path = self._opened()
        try:
            return ask(files, f"{path.rstrip('/')}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # each protocol raises errors of its own library
            raise self._failure(f"cannot be read at {name}", error) from error

    def _failure(self, what: str, error: Exception) -> BenchError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return BenchError(f"{self.setting} {what}: {reason}")


def _names_user(url: str) -> bool:
    """Whether something stands before an @ that is no container of Azure."""
    parts = urlsplit(url)
    is_container = parts.scheme in CONTAINER_AT_ACCOUNT and parts.password is None
    return "@" in parts.netloc and not is_container


def _copied(target: Path, files: fsspec.AbstractFileSystem, path: str) -> bool:
    files.get_file(path, str(target))
    return True


class FetchedFiles:
    """Large files of a storage on this machine, fetched when they are asked for, up to a size.

    Processes may share the folder: one fetches a file, the others wait for it.
    """

    def __init__(
        self, storage: Storage, folder: Path, entries: dict[str, FileEntry], most_bytes: float
    ) -> None:
        """Fetches nothing.

        Args:
            storage: where the files come from.
            folder: of this machine, which holds nothing else of that suffix; exists.
            entries: size and sha256 of each file.
            most_bytes: of all fetched files together; the first fetched are removed first.
        """
        self.storage, self.folder = storage, folder
        self.entries, self.most_bytes = entries, most_bytes

    def path(self, name: str) -> Path:
        """Where a file is, once it is here and whole.

        Raises:
            BenchError: it cannot be fetched, or differs from its entry.
        """
        path, unfinished = self.folder / name, self.folder / "unfinished"
        if path.exists():
            return path
        with FileLock(self.folder / f".{name}.lock"):
            if not path.exists():
                try:
                    self._make_room(self.entries[name]["bytes"])
                    self.storage.fetch([name], unfinished)
                    self._check(name, unfinished / name)
                    os.replace(unfinished / name, path)
                except OSError as error:
                    raise BenchError(
                        f"{path} cannot be written ({error.strerror}); free some space, or set "
                        "AVLOC_CACHE to a folder with more"
                    ) from error
        return path

    def _check(self, name: str, path: Path) -> None:
        if file_sha256(path) != self.entries[name]["sha256"]:
            raise BenchError(damaged(name, self.storage.setting))

    def _make_room(self, size: int) -> None:
        """Removes files until another fits; a process that has one open reads on."""
        with FileLock(self.folder / ".room.lock"):
            kept = [path for path in self.folder.iterdir() if path.name in self.entries]
            states = sorted((path.stat().st_mtime_ns, path.stat().st_size, path) for path in kept)
            held = sum(length for _, length, _ in states)
            for _, length, path in states:
                if held + size <= self.most_bytes:
                    return
                held -= length
                path.unlink()


def damaged(name: str, setting: str) -> str:
    """What to say of a file whose content is not what was written."""
    return f"{name} in {setting} is damaged: its sha256 is not that of the manifest; {AGAIN}"
