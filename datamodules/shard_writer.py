"""Packing the frames and sounds of a data root into shards; see ``datamodules.shards``.

A shard is a function of the files in it: names in list order, contents, times of change. It appears
under its name when it is whole, so whatever shards a killed run left are taken over by the next.
"""

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from datamodules.atomic_files import UNFINISHED, replace_content
from datamodules.cache import FileEntry, file_entry
from datamodules.clip_folder import CHECK_VERSION, MINIATURE_MARK, ClipFiles
from datamodules.folder_clips import FolderClips
from datamodules.progress import progress_bar
from datamodules.shards import (
    FORMAT,
    LISTS,
    MANIFEST,
    NAMES,
    PLACE,
    PLACES,
    SHARD,
    ShardManifest,
    read_manifest,
)
from datamodules.storage import GB
from metrics.errors import BenchError

LIST_FOLDERS = ("", "*/", "metadata/*/")
LIST_SUFFIXES = (".txt", ".csv", ".json", ".xml", ".h5", ".npy")
LARGEST_LIST = 64 << 20  # bytes; anything larger beside the lists is not one
TAR_BLOCK, TAR_RECORD = 512, 10240
LOCK = ".lock"


class Member(NamedTuple):
    """A file that is to be packed."""

    clip_id: str
    role: str
    path: Path
    original: str  # its name below the root
    size: int
    changed: int  # seconds

    @property
    def name(self) -> str:
        """In the shard; WebDataset takes all up to the first dot as the key of a sample."""
        return f"{self.clip_id}.{self.role}{self.path.suffix}"


@dataclass(frozen=True)
class ShardPlan:
    """What is to be packed, before anything is written."""

    shards: tuple[tuple[tuple[Member, ...], ...], ...]  # shard -> clip -> member
    lists: Mapping[str, Path]  # path below ``root/`` -> file
    unreadable: Mapping[str, str]  # file below the root that is not packed -> reason

    @property
    def clips(self) -> int:
        """Clips that have at least one file to be packed."""
        return sum(map(len, self.shards))

    @property
    def bytes(self) -> int:
        """Of all shards and of the index, to within what tar rounds up."""
        members = [member for shard in self.shards for clip in shard for member in clip]
        width = max((len(member.original) for member in members), default=0)
        index = len(members) * (width + PLACE.itemsize)
        return index + sum(_stored_bytes(clip) for shard in self.shards for clip in shard)

    @property
    def digest(self) -> str:
        """Hash of the names and sizes of all that is packed."""
        packed = [[[(each.name, each.original, each.size) for each in clip] for clip in shard]
                  for shard in self.shards]  # fmt: skip
        text = json.dumps([packed, sorted(self.unreadable.items()), sorted(self.lists)])
        return hashlib.sha256(text.encode()).hexdigest()


def plan_shards(
    root: Path, clips: Iterable[ClipFiles], unreadable: Mapping[str, str], *, shard_bytes: int
) -> ShardPlan:
    """Clips in their order, cut where a shard would grow larger than asked.

    Args:
        root: what the names of files are below.
        clips: what is to be packed.
        unreadable: files that are not, and why.
        shard_bytes: of a shard at most, unless a single clip is larger.
    """
    shards: list[list[tuple[Member, ...]]] = [[]]
    held = 0
    for clip in clips:
        files = [(role, name) for role, name in clip.names.items() if name not in unreadable]
        members = [_member(root, clip.id, role, name) for role, name in files]
        packed = tuple(sorted(members, key=lambda each: each.name))  # as WebDataset writes them
        size = _stored_bytes(packed)
        if held and held + size > shard_bytes:
            shards.append([])
            held = 0
        if packed:
            shards[-1].append(packed)
            held += size
    return ShardPlan(tuple(map(tuple, shards)), lists_of(root), unreadable)


def lists_of(root: Path) -> dict[str, Path]:
    """Annotations and lists of a data root by their names in it: small files near its top."""
    patterns = [f"{depth}*{suffix}" for depth in LIST_FOLDERS for suffix in LIST_SUFFIXES]
    found = (path for each in (*patterns, MINIATURE_MARK) for path in sorted(root.glob(each)))
    return {
        path.relative_to(root).as_posix(): path
        for path in found
        if path.is_file()
        and path.resolve().is_relative_to(root.resolve())
        and path.stat().st_size <= LARGEST_LIST
    }


def plan_of(data: FolderClips, root: Path, *, shard_bytes: int) -> ShardPlan:
    """What is to be packed of a data set: every listed clip, whether it leaks or not.

    Files that cannot be read are named in the manifest and not packed.
    """
    clips = data.packed_files()
    names = list(dict.fromkeys(name for clip in clips for name in clip.names.values()))
    return plan_shards(root, clips, data.file_reasons(names), shard_bytes=shard_bytes)


def write_shards(plan: ShardPlan, out: Path) -> ShardManifest:
    """Writes what is not there yet; the manifest comes last.

    Args:
        plan: of :func:`plan_shards`.
        out: a folder that is absent, empty, or that the same plan left unfinished.

    Raises:
        BenchError: the folder holds anything else, is in use, or has too little room.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / LOCK, timeout=0):
            _refuse_foreign(plan, out)
            _require_room(plan, out)
            return _written(plan, out)
    except Timeout as error:
        raise BenchError(f"{out} is being written by another bench shards; wait for it") from error
    except OSError as error:
        raise BenchError(
            f"{error.filename or out} cannot be read or written ({error.strerror}); what is done "
            "is kept: mend it and repeat the command"
        ) from error


def _written(plan: ShardPlan, out: Path) -> ShardManifest:
    before = _manifest_before(out)
    entries: dict[str, FileEntry] = {}
    indexed = [_without_content(plan.unreadable)]
    with progress_bar("writing shards", plan.clips) as advance, ThreadPoolExecutor() as pool:
        for number, clips in enumerate(plan.shards):
            path = out / SHARD.format(number)
            if not _holds(path, clips, before and before["shards"].get(path.name)):
                _write(path, clips, pool)
            indexed.append(_index(path, number, clips))
            entries[path.name] = file_entry(path)
            for _ in clips:
                advance()
    _write_index(out, indexed)
    for name, source in plan.lists.items():
        (out / LISTS / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, out / LISTS / name)
    others = [NAMES, PLACES, *(f"{LISTS}/{name}" for name in plan.lists)]
    manifest = ShardManifest(
        format=FORMAT,
        check=CHECK_VERSION,
        plan=plan.digest,
        clips=plan.clips,
        shards=entries,
        files={name: file_entry(out / name) for name in others},
        unreadable=dict(sorted(plan.unreadable.items())),
    )
    replace_content(out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return manifest


def _member(root: Path, clip_id: str, role: str, name: str) -> Member:
    status = (root / name).stat()
    changed = max(0, int(status.st_mtime))
    return Member(clip_id, role, root / name, name, status.st_size, changed)


def _stored_bytes(clip: Sequence[Member]) -> int:
    """Of a clip in a tar file: a header and whole blocks of each member."""
    return sum(TAR_BLOCK * (1 + -(-member.size // TAR_BLOCK)) for member in clip)


def _refuse_foreign(plan: ShardPlan, out: Path) -> None:
    shards = {SHARD.format(number) for number in range(len(plan.shards))}
    made = {MANIFEST, *shards}
    known = {LOCK, NAMES, PLACES, LISTS, *made}
    known |= {f".{MANIFEST}{UNFINISHED}", *(f"{name}{UNFINISHED}" for name in made)}
    foreign = sorted({path.name for path in out.iterdir()} - known)
    before = _manifest_before(out)
    if foreign or (before is not None and before["plan"] != plan.digest):
        what = f"holds {foreign[0]}" if foreign else "holds shards of other files or lists"
        raise BenchError(f"{out} {what}; give --out a new folder")


def _manifest_before(out: Path) -> ShardManifest | None:
    """What an earlier command finished here; None where there is none or it is damaged."""
    try:
        return read_manifest((out / MANIFEST).read_bytes())
    except (FileNotFoundError, BenchError):
        return None


def _require_room(plan: ShardPlan, out: Path) -> None:
    held = sum(path.stat().st_size for path in out.glob("*.tar"))
    free = shutil.disk_usage(out).free
    if plan.bytes - held > free:
        raise BenchError(
            f"the shards need {(plan.bytes - held) / GB:.3g} GB more and {out} has {free / GB:.3g} "
            "GB free; give --out a folder with more room"
        )


def _holds(path: Path, clips: Sequence[Sequence[Member]], before: FileEntry | None) -> bool:
    """Whether a shard is there as planned, and unchanged where its hash is known."""
    planned = [(each.name, each.size, _changed(clip)) for clip in clips for each in clip]
    stored = sum(map(_stored_bytes, clips)) + 2 * TAR_BLOCK
    if not path.exists() or path.stat().st_size != -(-stored // TAR_RECORD) * TAR_RECORD:
        return False
    try:
        with tarfile.open(path, "r:") as shard:
            found = [(each.name, each.size, int(each.mtime)) for each in shard]
    except tarfile.TarError:
        return False
    return found == planned and before in (None, file_entry(path))


def _write(path: Path, clips: Sequence[Sequence[Member]], pool: ThreadPoolExecutor) -> None:
    from webdataset import TarWriter  # only where it is needed

    unfinished = path.with_name(f"{path.name}{UNFINISHED}")
    contents = pool.map(Path.read_bytes, [each.path for clip in clips for each in clip])
    with (
        unfinished.open("wb") as file,
        TarWriter(file, user="bench", group="bench", encoder=False) as shard,
    ):
        for clip in clips:
            key = clip[0].clip_id
            shard.mtime = _changed(clip)
            fields = {each.name.removeprefix(f"{key}."): next(contents) for each in clip}
            shard.write({"__key__": key, **fields})
    os.replace(unfinished, path)


def _changed(clip: Sequence[Member]) -> int:
    """The time that a sample has in its shard: by it a changed file is seen."""
    return max(member.changed for member in clip)


def _index(
    path: Path, number: int, clips: Sequence[Sequence[Member]]
) -> tuple[NDArray[np.bytes_], NDArray[np.void]]:
    """Names in the root and places of the members of a shard, read back from it."""
    original = {each.name: each.original.encode() for clip in clips for each in clip}
    names, places = [], []
    with tarfile.open(path, "r:") as shard:
        for member in shard:
            content = shard.extractfile(member)
            assert content is not None, "shards hold files only"
            digest = hashlib.sha256(content.read()).digest()[:16]
            names.append(original[member.name])
            places.append((number, member.offset_data, member.size, digest))
    return np.array(names, "S"), np.array(places, PLACE)


def _write_index(out: Path, indexed: Sequence[tuple[NDArray[np.bytes_], NDArray[np.void]]]) -> None:
    names, places = (np.concatenate(parts) for parts in zip(*indexed, strict=True))
    order = np.argsort(names)
    for name, values in ((NAMES, names[order]), (PLACES, places[order])):
        np.save(out / name, values, allow_pickle=False)


def _without_content(names: Iterable[str]) -> tuple[NDArray[np.bytes_], NDArray[np.void]]:
    """Names that the index must know although they are not packed."""
    encoded = [name.encode() for name in names]
    return np.array(encoded, "S"), np.zeros(len(encoded), PLACE)
