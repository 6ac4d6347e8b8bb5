"""Where people keep frames and sounds: the folder trees of published code, as path templates."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from metrics.errors import BenchError

ID = "{id}"


class Layout(NamedTuple):
    """A folder tree of frames and sounds.

    Attributes:
        source: whose tree it is, for people.
        frames: paths below the root with ``{id}`` for an id, in a folder and its file at most; the
            first that exists is taken. A ``*`` stands for any folder before the id, and for the
            first file in order after it.
        sounds: the same of the sounds.
        key: an id as these paths spell it.
    """

    source: str
    frames: tuple[str, ...]
    sounds: tuple[str, ...]
    key: Callable[[str], str] = str


def each_suffix(stem: str, *suffixes: str) -> tuple[str, ...]:
    """The same path with each suffix.

    >>> each_suffix("frames/{id}", ".jpg", ".png")
    ('frames/{id}.jpg', 'frames/{id}.png')
    """
    return tuple(f"{stem}{suffix}" for suffix in suffixes)


IMAGES = (".jpg", ".jpeg", ".png")
SOUNDS = (".wav", ".flac", ".mp3")
FLAT = Layout("flat folders", each_suffix("frames/{id}", *IMAGES),
              each_suffix("audio/{id}", *SOUNDS))  # fmt: skip


class RootFiles:
    """What lies under a data root, each folder listed once when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, frozenset[str]] = {}  # folder -> names in it
        self._any: dict[str, tuple[str, ...]] = {}  # folder with a star -> folders

    def find(self, template: str, key: str) -> str | None:
        """Path below the root of the file that a template names, or None where there is none."""
        before, after = template.split(ID, 1)
        folder, _, start = before.rpartition("/")
        end, _, rest = after.partition("/")
        for each in self._expanded(folder):
            path = f"{each}/{start}{key}{end}".lstrip("/")
            if rest:
                path = self._inside(path, rest.replace(ID, key))
            if path and self._has(path):
                return path
        return None

    def keys(self, template: str) -> Iterator[str]:
        """Every id, as the tree spells it, for which a template may name a file, in order."""
        before, after = template.split(ID, 1)
        folder, _, start = before.rpartition("/")
        end = after.partition("/")[0]
        for each in self._expanded(folder):
            for name in sorted(self._listed(each)):
                if name.startswith(start) and name.endswith(end) and not name.startswith("."):
                    yield name[len(start) : len(name) - len(end)]

    def names(self, folder: str) -> tuple[str, ...]:
        """What lies in a folder, in order, without hidden files; nothing where it is not there."""
        return tuple(sorted(name for name in self._listed(folder) if not name.startswith(".")))

    def has_folders(self, templates: Sequence[str]) -> bool:
        """Whether the folder of at least one template is there."""
        return any(self._expanded(template.split(ID, 1)[0].rpartition("/")[0])
                   for template in templates)  # fmt: skip

    def _has(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return name in self._listed(folder)

    def _inside(self, folder: str, rest: str) -> str:
        """``rest`` below a folder, or the first file of its pattern; empty where there is none."""
        if "*" not in rest:
            return f"{folder}/{rest}"
        names = sorted(name for name in self._listed(folder) if PurePosixPath(name).match(rest))
        return f"{folder}/{names[0]}" if names else ""

    def _expanded(self, folder: str) -> tuple[str, ...]:
        """The folders that a part of a template means, those that exist."""
        if folder not in self._any:
            found = sorted(self.root.glob(folder)) if folder else [self.root]
            self._any[folder] = tuple(
                "" if path == self.root else path.relative_to(self.root).as_posix()
                for path in found
                if path.is_dir()
            )
        return self._any[folder]

    def _listed(self, folder: str) -> frozenset[str]:
        if folder not in self._folders:
            try:
                self._folders[folder] = frozenset(os.listdir(self.root / folder))
            except (FileNotFoundError, NotADirectoryError):
                self._folders[folder] = frozenset()
            except OSError as error:
                raise BenchError(
                    f"{self.root / folder} cannot be listed ({error.strerror}); mend or remove it"
                ) from error
        return self._folders[folder]


def leads_out(root: Path, name: str) -> bool:
    """Whether a file below a root is a link out of the root and out of its own folder.

    A root may hold links to whole folders; a single file must not point elsewhere.
    """
    path = root / name
    if not path.is_symlink():
        return False
    target = Path(os.path.realpath(path))
    return not any(target.is_relative_to(place.resolve()) for place in (root, path.parent))
