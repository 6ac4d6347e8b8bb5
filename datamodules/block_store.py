"""What was made of contents on this machine, in blocks that appear whole.

::

    <cache>/<kind>/<key>/stream.json         what the key is the hash of
                         block-000000.npy    what was made of N contents, one after the other
                         block-000000.json   fingerprints of the N contents, sha256 of the .npy

A block counts once its JSON is there, which is written last. What was made is found by the
fingerprint of its content, never by a row, so any list, split, seed and method shares it.
"""

import hashlib
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, NotRequired, TypedDict

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from datamodules.atomic_files import replace_content
from datamodules.cache import cache_dir
from datamodules.file_facts import file_hashes
from metrics.errors import BenchError

OPEN_BLOCKS = 256  # a memory map holds a file descriptor, of which a process may have 1,024
logger = logging.getLogger(__name__)


class Block(TypedDict):
    """What is known of a block without opening it."""

    fingerprints: list[str]
    sha256: str
    counts: NotRequired[list[int]]  # rows of each content, where they differ


class BlockStore:
    """Blocks of one key."""

    kind: ClassVar[str]  # a folder of the cache

    def __init__(self, identity: Mapping[str, object]) -> None:
        """Finds the blocks that are there.

        Args:
            identity: plain values: all that the blocks depend on beside the contents.
        """
        self.identity = identity
        text = json.dumps(identity, sort_keys=True)
        self.folder = self.place() / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.reload()

    def reload(self) -> None:
        """Looks again, as another process may have added blocks."""
        self._blocks = {path.stem: _block(path) for path in sorted(self.folder.glob("*.json"))
                        if path.name != "stream.json"}  # fmt: skip
        self._maps: dict[str, NDArray[Any]] = {}
        self.__dict__.pop("_places", None)

    @classmethod
    def place(cls) -> Path:
        """The folder of all keys on this machine."""
        return cache_dir() / cls.kind

    @cached_property
    def _places(self) -> dict[str, tuple[str, slice]]:
        places: dict[str, tuple[str, slice]] = {}
        for name, block in self._blocks.items():
            ends = np.cumsum(block.get("counts", [1] * len(block["fingerprints"]))).tolist()
            rows = map(slice, [0, *ends], ends)
            places |= {
                each: (name, of_each)
                for each, of_each in zip(block["fingerprints"], rows, strict=False)
            }
        return places

    def __contains__(self, fingerprint: str) -> bool:
        return fingerprint in self._places

    def rows(self, fingerprint: str) -> NDArray[Any]:
        """The rows of a content, ``(n, *shape)``; KeyError where there are none of it."""
        name, rows = self._places[fingerprint]
        if name not in self._maps:
            if len(self._maps) == OPEN_BLOCKS:
                self._maps.clear()
            self._maps[name] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        found: NDArray[Any] = self._maps[name][rows]
        return found

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_maps": {}}  # a memory map would travel as its numbers

    @contextmanager
    def adding(self) -> Iterator[None]:
        """For the process that adds blocks: others wait, and no damaged block is left.

        The lock dies with the process.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            self.reload()
            for name in self.damaged():
                logger.warning("%s of %s is damaged and made again", name, self.folder)
                self.remove(name)
            yield

    def refuse_damaged(self, remedy: str) -> None:
        """Nothing, or a ``BenchError`` that names a damaged block and what mends it."""
        for name in self.damaged():
            raise BenchError(
                f"{self.folder / name}.npy is damaged, its sha256 is not that of its JSON; {remedy}"
            )

    def damaged(self) -> list[str]:
        """Names of the blocks that differ from what was written; each is read once per change."""
        names = {name: f"{name}.npy" for name in self._blocks}
        hashes = file_hashes(self.folder, list(names.values()))
        return [name for name, file in names.items()
                if hashes[file] != self._blocks[name]["sha256"]]  # fmt: skip

    def remove(self, name: str) -> None:
        """Removes a block."""
        for suffix in (".json", ".npy"):
            (self.folder / f"{name}{suffix}").unlink(missing_ok=True)
        self.reload()

    def append(
        self,
        fingerprints: Sequence[str],
        rows: NDArray[Any],
        counts: Sequence[int] | None = None,
    ) -> None:
        """Adds a block.

        Args:
            fingerprints: of N contents.
            rows: ``(R, *shape)``, of the first content first.
            counts: rows of each content, which add up to R; None for one row of each.
        """
        names = map("block-{:06d}".format, count())
        name = next(each for each in names if each not in self._blocks)
        content = io.BytesIO()
        np.save(content, rows, allow_pickle=False)
        digest = hashlib.sha256(content.getbuffer()).hexdigest()
        block = Block(fingerprints=list(fingerprints), sha256=digest)
        if counts is not None:
            block["counts"] = list(counts)
        replace_content(self.folder / "stream.json", json.dumps(self.identity, indent=1).encode())
        replace_content(self.folder / f"{name}.npy", content.getbuffer())
        replace_content(self.folder / f"{name}.json", json.dumps(block).encode())
        self._blocks[name] = block
        self.__dict__.pop("_places", None)


@contextmanager
def kept_in(what: str, folder: Path, otherwise: str = "") -> Iterator[None]:
    """What fails of the system in the block is told as ``what`` that cannot be kept in a folder.

    Args:
        what: is kept, for people.
        folder: where.
        otherwise: what the user can do beside finding room.

    Raises:
        BenchError: the block fails with an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise BenchError(
            f"{what} cannot be kept in {folder} ({error.strerror or error}); set AVLOC_CACHE to a "
            f"folder with room that you may write to{otherwise}"
        ) from error


def _block(path: Path) -> Block:
    """A block's JSON; where that is damaged, a block without contents that counts as damaged."""
    try:
        found: Block = json.loads(path.read_text(encoding="utf-8"))
        block = Block(fingerprints=list(found["fingerprints"]), sha256=str(found["sha256"]))
        if "counts" in found:
            block["counts"] = [int(each) for each in found["counts"]]
        return block
    except (OSError, ValueError, KeyError, TypeError):
        return Block(fingerprints=[], sha256="")
