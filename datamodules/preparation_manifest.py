"""What was made of each video: ``prepare.jsonl`` of a data root, and its journal while it grows.

The manifest is a line that states how the root was made, and then one line per clip in the order
of the ids. It holds no time and no path of this machine: it is a function of the videos and the
settings. While a run goes on, lines are added to the journal; the end of the run folds them into
the manifest, and after a kill the next run reads both.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NotRequired, Self, TypedDict, cast

from datamodules.atomic_files import replace_content
from datamodules.cache import FileEntry
from metrics.errors import BenchError

MANIFEST = "prepare.jsonl"
JOURNAL = ".prepare.journal"
FORMAT = 1  # raise it when a manifest of before cannot be read any more
PREPARED, REFUSED = "prepared", "refused"


class StreamEntry(TypedDict):
    """What a manifest says of a stream; the rest depends on its kind."""

    index: int
    codec: str
    width: NotRequired[int]
    height: NotRequired[int]
    rate: NotRequired[str]
    rate_hz: NotRequired[int]
    channels: NotRequired[int]


class ClipEntry(TypedDict):
    """What a manifest says of a clip."""

    id: str
    status: str  # PREPARED or REFUSED
    plan: str  # hash of what was to be made of it
    video: str  # path below the folder of videos
    video_bytes: int
    reason: NotRequired[str]  # of a refused clip; the rest is there of a prepared one
    picture_stream: NotRequired[StreamEntry]
    sound_stream: NotRequired[StreamEntry]
    shown_seconds: NotRequired[list[float]]  # since when each frame is shown, in the clip
    sound_seconds: NotRequired[float]
    missing: NotRequired[list[str]]  # frames after the end of the video
    files: NotRequired[dict[str, FileEntry]]  # by path below the root


class Head(TypedDict):
    """How a root is made; never two ways in one root."""

    format: int
    data: str
    short_side: int | None
    quality: int
    rate_hz: int | None


class Manifest:
    """The entries of a root, on disk and in memory."""

    def __init__(self, root: Path, head: Head) -> None:
        """Reads what earlier runs wrote.

        Args:
            root: the data root.
            head: how this run makes it.

        Raises:
            BenchError: the root was made in another way, or the manifest is damaged.
        """
        self.root = root
        self.head = head
        self.entries: dict[str, ClipEntry] = {}
        self.begun: set[str] = set()  # clips that an earlier run may have left half made
        self._read(root / MANIFEST)
        self.was_interrupted = self._read(root / JOURNAL, may_be_torn=True)

    def write(self) -> None:
        """Folds everything into the manifest and removes the journal."""
        lines = [_line(self.head), *(_line(self.entries[clip]) for clip in sorted(self.entries))]
        with writing(self.root):
            replace_content(self.root / MANIFEST, "".join(lines).encode())
            (self.root / JOURNAL).unlink(missing_ok=True)

    def _read(self, path: Path, *, may_be_torn: bool = False) -> bool:
        """Takes the lines of a file; whether it is there."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            raise BenchError(f"{path} cannot be read ({error}); {_remedy(self.root)}") from error
        lines = text.splitlines(keepends=True)
        if may_be_torn and lines and not lines[-1].endswith("\n"):
            lines.pop()
        for number, line in enumerate(lines, start=1):
            try:
                content = json.loads(line)
                if number == 1 or "format" in content:
                    self._check_head(content)
                elif "begun" in content:
                    self.begun.add(content["begun"])
                else:
                    entry = checked_entry(content)
                    self.entries[entry["id"]] = entry
                    self.begun.add(entry["id"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BenchError(
                    f"{path}, line {number}, is damaged; {_remedy(self.root)}"
                ) from error
        return True

    def _check_head(self, other: Mapping[str, object]) -> None:
        if other == self.head:
            return
        if other["format"] != FORMAT:
            raise BenchError(f"{self.root} was prepared by another version; give another --root")
        if other["data"] != self.head["data"]:
            raise BenchError(
                f"{self.root} was prepared for {other['data']}, not for {self.head['data']}; "
                "give another --root"
            )
        raise BenchError(
            f"{self.root} was prepared with {described(other)}, this command asks for "
            f"{described(self.head)}; give the same options or another --root"
        )


class Journal:
    """The lines that a run adds as it goes; used as a context.

    Lines reach the system one by one, so a kill tears the last one at most.
    """

    def __init__(self, manifest: Manifest) -> None:
        """Opens nothing.

        Args:
            manifest: takes the entries, too.
        """
        self.manifest = manifest
        self.path = manifest.root / JOURNAL

    def __enter__(self) -> Self:
        """Starts the file, or cuts off the end that a kill has torn."""
        with writing(self.path):
            if self.manifest.was_interrupted:
                os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)
            else:
                replace_content(self.path, _line(self.manifest.head).encode())
            self.file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.file.close()

    def begin(self, clip: str) -> None:
        """Says that files of a clip may appear."""
        self._add({"begun": clip})

    def finish(self, entry: ClipEntry) -> None:
        """Says what was made of a clip."""
        self.manifest.entries[entry["id"]] = entry
        self._add(entry)

    def _add(self, content: Mapping[str, object]) -> None:
        with writing(self.path):
            self.file.write(_line(content))
            self.file.flush()


def checked_entry(content: object) -> ClipEntry:
    """A line of a manifest.

    Raises:
        KeyError: or TypeError or AttributeError, it is not one.
    """
    entry = cast(ClipEntry, content)
    files = entry.get("files", {}).values()
    texts = [entry["id"], entry["plan"], entry["video"], *(file["sha256"] for file in files)]
    numbers = [entry["video_bytes"], *(file["bytes"] for file in files)]
    if entry["status"] not in (PREPARED, REFUSED):
        raise TypeError(entry["status"])
    if not all(isinstance(each, str) for each in texts):
        raise TypeError(texts)
    if not all(isinstance(each, int) for each in numbers):
        raise TypeError(numbers)
    return entry


def described(head: Mapping[str, object]) -> str:
    """The settings of a root in the words of the command line.

    >>> described(Head(format=1, data="vggss", short_side=None, quality=95, rate_hz=16000))
    'frames of full size, --quality 95, --rate 16000'
    """
    side, rate = head.get("short_side"), head.get("rate_hz")
    return (
        ("frames of full size" if side is None else f"frames of {side} px (--fast)")
        + f", --quality {head.get('quality')}, "
        + ("sound at its own rate" if rate is None else f"--rate {rate}")
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Makes of an error of the system while something is written one that the user can mend."""
    try:
        yield
    except OSError as error:
        raise BenchError(
            f"{error.filename or path} cannot be written ({error.strerror or error}); mend this, "
            "or give another --root, and give the same command again"
        ) from error


def _line(content: Mapping[str, object]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"


def _remedy(root: Path) -> str:
    return f"move {root} away and prepare anew, or give another --root"
