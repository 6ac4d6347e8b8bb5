"""Frames and sounds out of shards: the files of a data root in a few large tar files.

What `bench shards` writes, to be read from there or from a copy in an object store::

    manifest.json        sizes and sha256 of all other files, and which clips are unreadable
    names.npy            (N,) bytes, sorted: the files that were packed, as the root has them
    places.npy           (N,) of ``PLACE``: where each of them is
    root/...             annotations and lists, as the root has them
    clips-000000.tar     a WebDataset: <clip id>.frame.jpg and <clip id>.sound.wav, in list order

WebDataset writes the tar files, and any of its pipelines reads them. Here they are read by index
instead: a stream cannot give the same batches for any number of workers and devices. The index
stands for the root, so a data set finds its files in shards by the code that finds them in folders.
A shard of an object store is fetched whole when a clip of it is first asked for, once per machine,
checked by its sha256 and kept in ``<cache>/shards`` while there is room.
"""

import json
import logging
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property, partial
from hashlib import sha256
from io import SEEK_CUR, SEEK_END, SEEK_SET, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from datamodules.cache import FileEntry, build_folder, cache_dir
from datamodules.clip_folder import CHECK_VERSION, ClipFolder
from datamodules.file_facts import file_hashes
from datamodules.layouts import Layout, RootFiles
from datamodules.sampling import BLOCKS_TOGETHER
from datamodules.storage import AGAIN, GB, FetchedFiles, Storage, damaged
from metrics.errors import BenchError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FORMAT = 1
SETTING = "data.shards"
MANIFEST, NAMES, PLACES, LISTS = "manifest.json", "names.npy", "places.npy", "root"
SHARD = "clips-{:06d}.tar"
INSIDE = re.compile(r"(?!.*(^|/)\.\.?(/|$))[^/\\\0][^\\\0]*")  # a path that stays below its folder
PLACE = np.dtype([("shard", "<u4"), ("offset", "<u8"), ("bytes", "<u8"), ("digest", "V16")])
"""Of a file: its shard, where its content starts, its length, the first half of its sha256."""
logger = logging.getLogger(__name__)


class ShardManifest(TypedDict):
    """What ``manifest.json`` holds."""

    format: int
    check: int  # CHECK_VERSION of the rules that the files were verified by
    plan: str  # hash of what was to be packed
    clips: int
    shards: dict[str, FileEntry]
    files: dict[str, FileEntry]  # all others
    unreadable: dict[str, str]  # file that was not packed -> reason


class Packed(NamedTuple):
    """A file in a shard, which can be opened as one in a folder can."""

    shards: "Shards"
    shard: str
    offset: int
    size: int
    digest: str  # DIGEST_LENGTH of the sha256 of its content

    def open(self) -> "PartOfFile":
        """The file, once its shard is on this machine."""
        while True:
            path = self.shards.path(self.shard)
            try:
                return PartOfFile(path, self.offset, self.size)
            except FileNotFoundError:  # another process made room since it was fetched
                if not self.shards.is_remote:
                    raise


class Shards:
    """A folder of shards, on a disk or in an object store."""

    def __init__(self, location: str, cache_gb: float) -> None:
        """Reads the manifest.

        Args:
            location: a folder, or a URL of any protocol that fsspec has.
            cache_gb: how much of an object store may lie on this machine.

        Raises:
            BenchError: there is no manifest, or it is of another format or damaged.
        """
        self.location, self.cache_gb = location, cache_gb
        self._storage = Storage(location, SETTING)
        self._disk = self._storage.folder
        content = self._storage.content(MANIFEST)
        if content is None:
            raise BenchError(
                f"{SETTING} has no {MANIFEST}; give the folder or URL of what bench shards wrote"
            )
        self.manifest, self._digest = read_manifest(content), sha256(content).hexdigest()[:16]
        if self.manifest["check"] != CHECK_VERSION:
            logger.warning("the shards were verified by other rules than today's; repeat the bench "
                           "shards command to have their clips judged anew")  # fmt: skip

    def __reduce__(self) -> tuple[type["Shards"], tuple[str, float]]:
        return type(self), (self.location, self.cache_gb)  # a memory map would travel as its bytes

    @property
    def root(self) -> Path:
        """The folder of annotations and lists, on this machine."""
        return self._folder / LISTS

    @property
    def is_remote(self) -> bool:
        """Whether shards are fetched."""
        return self._disk is None

    def path(self, shard: str) -> Path:
        """Where a shard is on this machine, fetched where it was not."""
        return self._fetched.path(shard) if self.is_remote else self._folder / shard

    def __contains__(self, name: str) -> bool:
        key = name.encode()
        row = self._row(key)
        return row < len(self._names) and bool(self._names[row] == key)

    def __getitem__(self, name: str) -> Packed:
        """A file by its name in the root; KeyError where it was not there."""
        if name not in self:
            raise KeyError(name)
        shard, offset, size, digest = self._places[self._row(name.encode())].item()
        return Packed(self, self._shard_names[shard], offset, size, digest.hex())

    def below(self, folder: str) -> Iterator[str]:
        """Files below a folder at any depth, in the order of their bytes; of all where it is ''."""
        start = f"{folder}/".encode() if folder else b""
        for name in self._names[self._row(start) :]:
            if not name.startswith(start):
                return
            yield name.decode()

    def check(self, names: Iterable[str], *, verify: bool) -> None:
        """Nothing, or an error that names the first shard that is missing or damaged.

        Args:
            names: of the shards that are needed.
            verify: compare the sha256 of those on a disk, once per change; else only sizes.
        """
        entries = {name: self.manifest["shards"][name] for name in sorted(names)}
        sizes = self._storage.sizes(list(entries))
        for (name, entry), size in zip(entries.items(), sizes, strict=True):
            if size != entry["bytes"]:
                found = "is missing" if size is None else f"has {size} bytes"
                raise BenchError(
                    f"{name} in {SETTING} {found}, expected {entry['bytes']} bytes; {AGAIN}"
                )
        if verify and self._disk is not None:
            for name, found_hash in file_hashes(self._disk, list(entries)).items():
                if found_hash != entries[name]["sha256"]:
                    raise BenchError(damaged(name, SETTING))

    def require_room(self, shuffle_block: int | None) -> None:
        """Nothing, or an error where training would fetch the same shards again and again.

        Raises:
            BenchError: more is shuffled together than may lie on this machine.
        """
        held = sum(entry["bytes"] for entry in self.manifest["shards"].values()) / GB
        if not self.is_remote or held <= self.cache_gb:
            return
        clips = self.manifest["clips"]
        if shuffle_block is None:
            raise BenchError(
                f"the shards hold {held:.4g} GB, more than data.shard_cache_gb={self.cache_gb:g}, "
                "and in a fully random order each would be fetched many times; raise "
                "data.shard_cache_gb, or go from shard to shard with "
                f"data.shuffle_block={max(1, clips // len(self._shard_names))}"
            )
        needed = 2 * BLOCKS_TOGETHER * shuffle_block * held / clips  # what is read, what comes next
        if needed > self.cache_gb:
            raise BenchError(
                f"data.shuffle_block={shuffle_block} goes through {needed:.4g} GB at a time, more "
                f"than data.shard_cache_gb={self.cache_gb:g}; lower the one or raise the other"
            )

    def _row(self, key: bytes) -> int:
        """Where a name stands among the names, or would stand."""
        return bisect_left(self._names, key)

    @cached_property
    def _folder(self) -> Path:
        """The folder of the index and the lists on this machine, complete and unchanged."""
        files = self.manifest["files"]
        folder = self._disk
        if folder is None:
            folder = cache_dir() / "shards" / self._digest
            try:
                if not folder.is_dir():
                    build_folder(folder, partial(self._storage.fetch, list(files)))
            except OSError as error:
                raise BenchError(
                    f"{folder} cannot be written ({error.strerror}); set AVLOC_CACHE to a writable "
                    "folder"
                ) from error
        hashes = file_hashes(folder, list(files))
        for name, entry in files.items():
            if hashes[name] != entry["sha256"]:
                raise BenchError(damaged(str(folder / name), SETTING))
        return folder

    @cached_property
    def _fetched(self) -> FetchedFiles:
        shards = self.manifest["shards"]
        return FetchedFiles(self._storage, self._folder, shards, self.cache_gb * GB)

    @cached_property
    def _names(self) -> NDArray[np.bytes_]:
        return np.asarray(np.load(self._folder / NAMES, mmap_mode="r"))  # plain: faster to index

    @cached_property
    def _places(self) -> NDArray[np.void]:
        return np.asarray(np.load(self._folder / PLACES, mmap_mode="r"))

    @cached_property
    def _shard_names(self) -> list[str]:
        return list(self.manifest["shards"])


class ShardFiles(RootFiles):
    """The files of shards as if they lay under the root that they were packed from."""

    def __init__(self, shards: Shards) -> None:
        super().__init__(shards.root)
        self._shards = shards

    def _has(self, path: str) -> bool:
        return path in self._shards

    def _listed(self, folder: str) -> frozenset[str]:
        if folder not in self._folders:
            skip = len(folder) + 1 if folder else 0
            inside = (name[skip:].partition("/")[0] for name in self._shards.below(folder))
            self._folders[folder] = frozenset(inside)
        return self._folders[folder]

    def _expanded(self, folder: str) -> tuple[str, ...]:
        if "*" not in folder:
            return (folder,) if next(self._shards.below(folder), None) is not None else ()
        if folder not in self._any:
            above = folder.rpartition("/")[0]
            self._any[folder] = tuple(
                each
                for each in (f"{above}/{name}".lstrip("/") for name in sorted(self._listed(above)))
                if fnmatchcase(each, folder) and next(self._shards.below(each), None) is not None
            )
        return self._any[folder]


class ShardFolder(ClipFolder):
    """The frames and sounds in shards, found as they were in the root."""

    def __init__(self, shards: Shards, layouts: Sequence[Layout], command: str) -> None:
        super().__init__(shards.root, layouts, command, ShardFiles(shards))
        self.shards = shards

    def media(self, path: Path) -> Packed:
        """The part of a shard that stands for a path of the root."""
        return self.shards[path.relative_to(self.root).as_posix()]

    def file_reasons(self, names: Sequence[str], *, verify: bool) -> dict[str, str]:
        """Why files cannot be used, as it was found when they were packed.

        Raises:
            BenchError: a shard that is needed is missing or damaged.
        """
        unreadable = self.shards.manifest["unreadable"]
        shards = {self.shards[name].shard for name in names if name not in unreadable}
        self.shards.check(shards, verify=verify)
        return {name: unreadable[name] for name in names if name in unreadable}

    def digests(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Half of the sha256 of each file's content, out of the index."""
        return {path: self.media(path).digest for path in paths}


class PartOfFile(FileIO):
    """Some bytes of a file as a file of its own, for reading."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        super().__init__(path)
        self._start, self._end = start, start + size
        super().seek(start)

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """Moves to a place in the part."""
        bases = {SEEK_SET: self._start, SEEK_CUR: super().tell(), SEEK_END: self._end}
        return super().seek(bases[whence] + offset) - self._start

    def tell(self) -> int:
        """The place in the part."""
        return super().tell() - self._start

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes, or all to the end of the part."""
        left = max(0, self._end - super().tell())
        return super().read(left if size is None or size < 0 else min(size, left))

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fills the buffer as far as the part goes; how many bytes that were."""
        left = max(0, self._end - super().tell())
        return super().readinto(memoryview(buffer).cast("B")[:left])


def read_manifest(content: bytes) -> ShardManifest:
    """The manifest of shards.

    Raises:
        BenchError: it is none, of another format, or a name in it leads out of the folder.
    """
    try:
        manifest: ShardManifest = json.loads(content)
        version = manifest["format"]
        names = (*manifest["shards"], *manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{MANIFEST} in {SETTING} is damaged; {AGAIN}") from error
    place = f"{MANIFEST} in {SETTING}"
    if version != FORMAT:
        raise BenchError(f"{place} has format {version}, and this version reads {FORMAT}")
    outside = next((name for name in names if not INSIDE.fullmatch(name)), None)
    if outside is not None:
        raise BenchError(f"{place} names {outside!r}, which leads out of the folder")
    return manifest
