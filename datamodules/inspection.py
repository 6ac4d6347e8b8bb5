"""What is wrong with a data set: its lists, its annotations, and the files under its root."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from datamodules.base import ClipData, KnownList, SampleFiles
from datamodules.box_defects import degenerate_boxes
from datamodules.cache import file_sha256
from datamodules.clip_folder import file_defects
from datamodules.folder_clips import FolderClips
from datamodules.id_lists import ids_sha256, leakage
from datamodules.media import UnreadableMediaError, sound_peak, sound_seconds
from datamodules.progress import progress_bar
from datamodules.user_paths import expanded
from metrics.errors import BenchError
from metrics.truth import Truth

SILENT_BELOW = 1e-3  # peak of full scale, -60 dB: below the noise of any recording
HEAD_BYTES = 1 << 16  # files whose size and first bytes differ are different
T = TypeVar("T")


@dataclass(frozen=True)
class FoundList:
    """A list that was found, by what it is used for; a training list may have a test list's name.

    ``repeated`` counts the rows that were left out because their id stood above.
    """

    use: str  # train | val | test | labels
    name: str
    n: int
    sha256: str
    repeated: int


@dataclass(frozen=True)
class ListLeakage:
    """What a training list shares with a test list."""

    train: str
    test: str
    clips: int
    videos: int


@dataclass(frozen=True)
class BoxDefects:
    """Defects of the annotations of the test list."""

    total: int
    degenerate: int  # without extent inside the frame
    without: tuple[str, ...]  # samples with no box left, which can never be hit


@dataclass(frozen=True)
class FileState:
    """State of the files of a list: ids by what is wrong with them."""

    expected: int
    present: int
    missing: tuple[str, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)  # id -> file and reason
    silent: tuple[str, ...] = ()  # of a mixture, where one of its sounds is
    wrong_length: dict[str, float] = field(default_factory=dict)  # id -> seconds of the first such
    duplicates: tuple[tuple[str, ...], ...] = ()  # ids whose frames or sounds are equal bytes

    @property
    def usable(self) -> int:
        """Samples that are there and can be read."""
        return self.present - len(self.unreadable)


@dataclass(frozen=True)
class Inspection:
    """All that is to be told of a data set."""

    data: str
    root: str | None
    lists: tuple[FoundList, ...]
    leakage: tuple[ListLeakage, ...]
    boxes: BoxDefects
    media: dict[str, FileState]  # by use: test, train
    notes: tuple[str, ...]
    is_miniature: bool = False
    annotation_defect: str | None = None  # why the truth of the test list cannot be read

    @property
    def is_complete(self) -> bool:
        """Whether every test sample can be used and scored."""
        test = self.media["test"]
        return self.annotation_defect is None and test.usable == test.expected


def inspected(name: str, data: ClipData) -> Inspection:
    """Everything that can be said of a data set without training on it.

    Lists and annotations are read where there are no media at all; every sample then counts as
    missing. A set with a test list and no readable annotations is told of, but not complete.

    Args:
        name: of the data set.
        data: built from the user's settings, not yet loaded.

    Raises:
        BenchError: the root or a list is missing or malformed, there are neither annotations nor a
            test list, or the files are in shards.
    """
    if isinstance(data, FolderClips) and data.config.shards is not None:
        raise BenchError(
            f"data.shards={data.config.shards}: the files in shards were judged when they were "
            "packed, and bench shards said what it left out; leave data.shards out, and set "
            "data.root=DIR to a folder with the files"
        )
    lists = data.known_lists()
    test = [each for each in lists if each.use == "test"]
    train = [each for each in lists if each.use == "train"]
    return Inspection(
        data=name,
        root=data.config.root,
        lists=tuple(map(_found, lists)),
        leakage=tuple(_leaks(one, other, data) for one in train for other in test),
        boxes=_boxes(data.annotated()),
        media={"test": _media(data, test[:1]), "train": _media(data, train)},
        notes=data.annotation_notes(),
        is_miniature=data.is_miniature,
        annotation_defect=data.annotation_defect(),
    )


def _found(one: KnownList) -> FoundList:
    return FoundList(one.use, one.name, len(one.ids), ids_sha256(one.ids), one.duplicates)


def _leaks(train: KnownList, test: KnownList, data: ClipData) -> ListLeakage:
    pairs = (pair for each in test.ids for pair in data.pairs_of(each))
    tested = list(dict.fromkeys(part for pair in pairs for part in pair))
    found = leakage(train.ids, tested, data.video_of)
    return ListLeakage(train.name, test.name, found.clips, found.videos)


def _boxes(truth: Iterable[Truth]) -> BoxDefects:
    total, degenerate, without = 0, 0, []
    for sample in truth:
        if not sample.boxes:
            continue
        defects = np.concatenate([degenerate_boxes(boxes) for boxes in sample.boxes])
        total, degenerate = total + len(defects), degenerate + int(defects.sum())
        if sample.on_screen and defects.all():
            without.append(sample.id)
    return BoxDefects(total, degenerate, tuple(without))


def _media(data: ClipData, lists: Sequence[KnownList]) -> FileState:
    """State of the files of all samples of some lists."""
    ids = list(dict.fromkeys(sample_id for each in lists for sample_id in each.ids))
    if not data.has_files:
        return FileState(expected=len(ids), present=len(ids))
    found = {sample_id: data.media(sample_id) for sample_id in ids}
    files = {sample_id: each for sample_id, each in found.items() if each.frames and each.sounds}
    unreadable = _unreadable(data, files)
    whole = {sample_id: each for sample_id, each in files.items() if sample_id not in unreadable}
    facts = _sound_facts({path for each in whole.values() for path in each.sounds})
    heard = {i: [facts[path] for path in each.sounds] for i, each in whole.items()}
    shortest, longest = data.usual_seconds
    unusual = {
        sample_id: [each.seconds for each in sounds if not shortest <= each.seconds <= longest]
        for sample_id, sounds in heard.items()
        if not data.is_miniature
    }
    return FileState(
        expected=len(ids),
        present=len(files),
        missing=tuple(sample_id for sample_id in ids if sample_id not in files),
        unreadable=unreadable,
        silent=tuple(
            i for i, sounds in heard.items() if min(each.peak for each in sounds) < SILENT_BELOW
        ),
        wrong_length={i: round(seconds[0], 3) for i, seconds in unusual.items() if seconds},
        duplicates=_duplicates(whole),
    )


def _unreadable(data: ClipData, files: dict[str, SampleFiles]) -> dict[str, str]:
    root = expanded(data.config.root or "")
    owners: dict[str, list[str]] = defaultdict(list)
    for sample_id, each in files.items():
        for path in each.paths:
            owners[path.relative_to(root).as_posix()].append(sample_id)
    defects = file_defects(root, list(owners)) if owners else {}
    reasons: dict[str, str] = {}
    for name, reason in defects.items():
        for sample_id in owners[name]:
            reasons.setdefault(sample_id, f"{name}: {reason}")
    further = {each: data.further_defect(each) for each in files if each not in reasons}
    return reasons | {each: reason for each, reason in further.items() if reason is not None}


class _Facts(NamedTuple):
    """Length and loudness of a sound."""

    seconds: float
    peak: float


def _sound_facts(paths: Iterable[Path]) -> dict[Path, _Facts]:
    listed = sorted(paths)
    return dict(zip(listed, _in_threads("listening", listed, _facts_of), strict=True))


def _facts_of(path: Path) -> _Facts:
    try:
        return _Facts(sound_seconds(path), sound_peak(path))
    except UnreadableMediaError:  # it changed since it was verified
        return _Facts(0.0, 0.0)


def _duplicates(files: dict[str, SampleFiles]) -> tuple[tuple[str, ...], ...]:
    """Groups of samples of which two files that are not one and the same have equal bytes."""
    owners: dict[Path, list[str]] = defaultdict(list)
    for sample_id, each in files.items():
        for path in each.paths:
            owners[path].append(sample_id)
    paths = sorted(owners)
    alike = _groups(paths, _in_threads("comparing heads", paths, _head))
    suspects = [path for group in alike for path in group]
    equal = _groups(suspects, _in_threads("comparing files", suspects, file_sha256))
    found = {tuple(sorted({i for path in group for i in owners[path]})) for group in equal}
    return tuple(sorted(group for group in found if len(group) > 1))


def _groups(paths: Sequence[Path], keys: Iterable[object]) -> list[list[Path]]:
    """Paths with a key that others have too, key by key."""
    groups: dict[object, list[Path]] = defaultdict(list)
    for path, key in zip(paths, keys, strict=True):
        groups[key].append(path)
    return [group for group in groups.values() if len(group) > 1]


def _head(path: Path) -> tuple[int, bytes]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.blake2b(file.read(HEAD_BYTES)).digest()


def _in_threads(title: str, paths: Sequence[Path], of: Callable[[Path], T]) -> list[T]:
    with progress_bar(title, len(paths)) as advance, ThreadPoolExecutor() as pool:
        found = []
        for value in pool.map(of, paths):
            found.append(value)
            advance()
        return found
