"""Lists of clip ids: reading them, and the clips and videos that two lists share."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Self

from datamodules.user_paths import expanded
from metrics.errors import BenchError


class IdForm(NamedTuple):
    """What an id of a data set looks like, for programs and for people."""

    pattern: re.Pattern[str]
    words: str


class IdList(NamedTuple):
    """The ids of one file in its order, each once."""

    path: Path
    ids: tuple[str, ...]
    duplicates: int  # rows left out because their id stood above


@dataclass(frozen=True)
class ListIdentity:
    """Which list it was, as it was published: before any clip was left out."""

    name: str
    n: int
    sha256: str  # of its ids, one per line

    @classmethod
    def of(cls, name: str, ids: Sequence[str]) -> Self:
        """The identity of a list of these ids.

        >>> ListIdentity.of("train", ["a", "b"]).n
        2
        """
        return cls(name, len(ids), ids_sha256(ids))


class Leakage(NamedTuple):
    """What a training list shares with a test list."""

    clips: int  # training rows whose clip is a test clip
    videos: int  # distinct videos that both lists have
    rows: frozenset[int]  # training rows of those videos


MEDIA = (".jpg", ".png", ".mp4", ".wav", ".mp3", ".flac")  # that lists leave on their ids
LIST_ENDS = (".txt", ".csv")  # of list files, in the order in which they are sought
HEADER = "video,audio,label"  # first line of the lists of extended sets, the only one with names


def first_column(line: str) -> str:
    """The first column of a line without the suffix of a frame, video or sound.

    >>> [first_column(line) for line in ("10000130166,202", "2432219254.png ", "a/b/00411.jpg")]
    ['10000130166', '2432219254', 'a/b/00411']
    """
    first = line.partition(",")[0].strip()
    return str(PurePosixPath(first).with_suffix("")) if first.endswith(MEDIA) else first


def read_id_list(path: Path, form: IdForm, *, id_of: Callable[[str], str] = str.strip) -> IdList:
    """Ids of a text file or one-column CSV, one per line.

    Blank lines, lines that start with ``#``, the header of an extended list, either kind of line
    end, a byte-order mark and a missing last line end are all accepted. A repeated id is kept once
    and counted.

    Args:
        path: the list file.
        form: what an id must look like.
        id_of: the id in a line that is not blank, for lists with further columns.

    Raises:
        BenchError: the file cannot be read, holds no id, or a line is not an id; the message
            names file and line.
    """
    ids: list[str] = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        text = line.strip()
        if text and not text.startswith("#") and not (number == 1 and text == HEADER):
            ids.append(id_of(line))
            check_id(ids[-1], form, f"{path}, line {number}")
    if not ids:
        raise BenchError(f"{path} holds no id; expected one {form.words} per line")
    unique = tuple(dict.fromkeys(ids))
    return IdList(path, unique, len(ids) - len(unique))


def ids_sha256(ids: Sequence[str]) -> str:
    """Hash of the ids, one per line: the identity of a list in a record."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def first_by_hash(ids: Iterable[str], count: int) -> tuple[str, ...]:
    """The first ids in the order of sha256(id): a choice that no order of files can change.

    >>> first_by_hash(["1", "2", "3"], 2)
    ('3', '1')
    """
    return tuple(sorted(ids, key=lambda each: hashlib.sha256(each.encode()).hexdigest())[:count])


def check_id(clip_id: str, form: IdForm, place: str) -> None:
    """Nothing, or a ``BenchError`` that names ``place`` where ``clip_id`` is no id.

    Ids become file names, so one that would leave the data root is refused in those words.
    """
    if form.pattern.fullmatch(clip_id):
        return
    reason = "would lead out of the data root" if ".." in clip_id else f"is no {form.words}"
    raise BenchError(f"{place}: the id {clip_id[:80]!r} {reason}; correct or remove this entry")


def find_list(root: Path, name: str, setting: str, ends: Sequence[str] = LIST_ENDS) -> Path:
    """The list file that a setting names.

    A bare name means ``<root>/<name>`` with one of the ends, or the same under ``<root>/metadata``;
    anything with a suffix or a folder is a path, from the working folder, the root or its
    ``metadata``.

    Args:
        root: the data root.
        name: what the user wrote, for example ``vggss_10k`` or ``lists/mine.txt``.
        setting: the setting it was written in, for the message.
        ends: suffixes of list files.

    Raises:
        BenchError: no such file.
    """
    if Path(name).name == name and not Path(name).suffix:
        folders = (root, root / "metadata")
        candidates = [folder / f"{name}{end}" for folder in folders for end in ends]
    else:
        candidates = [expanded(name), root / name, root / "metadata" / name]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        tried = ", ".join(str(path) for path in candidates)
        raise BenchError(
            f"{setting}={name} names no list file (tried {tried}); give {setting}=FILE"
        )
    return found


def leakage(
    train_ids: Sequence[str], test_ids: Sequence[str], video_of: Callable[[str], str]
) -> Leakage:
    """What of a training list is also in a test list, by clip and by video.

    >>> leakage(["a1", "a2", "b1"], ["a1", "c1"], video_of=lambda clip_id: clip_id[0])
    Leakage(clips=1, videos=1, rows=frozenset({0, 1}))
    """
    clips, videos = set(test_ids), {video_of(clip_id) for clip_id in test_ids}
    rows = [row for row, clip_id in enumerate(train_ids) if video_of(clip_id) in videos]
    return Leakage(
        clips=sum(clip_id in clips for clip_id in train_ids),
        videos=len({video_of(train_ids[row]) for row in rows}),
        rows=frozenset(rows),
    )


def is_held_out(video: str, fraction: float) -> bool:
    """Whether a training video belongs to the validation split of the given fraction.

    A function of the video alone, so the split survives other lists, seeds and missing files.

    >>> [is_held_out("zpWuikVorYg", fraction) for fraction in (0.0, 1.0)]
    [False, True]
    """
    return int(hashlib.sha256(video.encode()).hexdigest()[:8], 16) < fraction * 2**32


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path} cannot be read as a list of ids: {error}") from error
