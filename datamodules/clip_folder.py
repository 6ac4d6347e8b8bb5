"""A data root: which frames and sounds are there, and which of them can be read."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datamodules.file_facts import file_facts, file_hashes
from datamodules.layouts import IMAGES, Layout, RootFiles, leads_out
from datamodules.media import Media, frame_defect, sound_defect
from metrics.errors import BenchError

MINIATURE_MARK = "MINIATURE"  # a file of this name says that the clips are made up
DIGEST_LENGTH = 32  # hex digits, half of a sha256: enough to tell contents apart
CHECK_VERSION = 2  # raise it when ``media`` judges files differently


class ClipFiles(NamedTuple):
    """The files of one clip below the root, by what they are: ``frame`` or ``sound``."""

    id: str
    names: Mapping[str, str]


class ClipFolder:
    """The frames and sounds of a data root, in whichever of the known layouts it has them."""

    def __init__(
        self,
        root: Path,
        layouts: Sequence[Layout],
        command: str,
        files: RootFiles | None = None,
    ) -> None:
        """Looks for the folders of each layout; a root may have several.

        Args:
            root: the data root, ``data.root``.
            layouts: folder trees of this data set.
            command: the command that makes a root of this layout, for messages.
            files: what lies under the root; by default, what is there.

        Raises:
            BenchError: the root is missing, or has the folders of no layout.
        """
        self.root, self._files = root, files or RootFiles(root)
        if not root.is_dir():
            raise BenchError(
                f"{root} is not a folder; set data.root to a folder that holds "
                f"{layouts[0].frames[0]} and {layouts[0].sounds[0]}, or make a miniature with: "
                f"{command}"
            )
        self.layouts = [
            layout
            for layout in layouts
            if self._files.has_folders(layout.frames) and self._files.has_folders(layout.sounds)
        ]
        if not self.layouts:
            raise BenchError(
                f"{self._missing_folder(layouts)} is not a folder; set data.root to a folder that "
                f"holds {layouts[0].frames[0]} and {layouts[0].sounds[0]}, or make a miniature "
                f"with: {command}"
            )

    def _missing_folder(self, layouts: Sequence[Layout]) -> Path:
        """The folder that the layout which is there in half lacks, or the first one's frames."""
        for layout in layouts:
            for there, absent in ((layout.frames, layout.sounds), (layout.sounds, layout.frames)):
                if self._files.has_folders(there):
                    return self.root / Path(absent[0]).parts[0]
        return self.root / Path(layouts[0].frames[0]).parts[0]

    def frame(self, clip_id: str) -> Path | None:
        """The frame of a clip, or None where it is not here."""
        return self._path(self._frame(clip_id))

    def sound(self, clip_id: str) -> Path | None:
        """The sound of a clip, or None where it is not here."""
        return self._path(self._sound(clip_id))

    def media(self, path: Path) -> Media:
        """What is to be read of a frame or a sound of this folder."""
        return path

    def files_of(self, pairs: Iterable[tuple[str, str]]) -> tuple[ClipFiles, ...]:
        """The files that are here of frames and sounds, each once, in the order of their ids."""
        names: dict[str, dict[str, str]] = {}
        for frame_id, sound_id in pairs:
            for role, part, name in (("frame", frame_id, self._frame(frame_id)),
                                     ("sound", sound_id, self._sound(sound_id))):  # fmt: skip
                if name is not None:
                    names.setdefault(part, {})[role] = name
        return tuple(ClipFiles(clip_id, found) for clip_id, found in names.items())

    def names(self, folder: str) -> tuple[str, ...]:
        """What lies in a folder below the root, in order, without hidden files."""
        return self._files.names(folder)

    def ids(self) -> tuple[str, ...]:
        """Every clip with a frame and a sound, in the order of the names; as the tree spells it."""
        found: dict[str, None] = {}
        for layout in self.layouts:
            for template in layout.frames:
                found |= dict.fromkeys(self._files.keys(template))
        return tuple(sorted(each for each in found if self._sound(each) is not None))

    def defects(self, clips: Iterable[tuple[str, str]], *, verify: bool = True) -> dict[int, str]:
        """Why clips cannot be used: their place in ``clips`` and the reason.

        Args:
            clips: ids of the frame and of the sound of each clip; both are here.
            verify: decode the files; without it, only links out of the root are found.
        """
        pairs = [(self._frame(frame_id), self._sound(sound_id)) for frame_id, sound_id in clips]
        names = dict.fromkeys(name for pair in pairs for name in pair if name is not None)
        return first_reasons(pairs, self.reasons(list(names), verify=verify))

    def reasons(self, names: Sequence[str], *, verify: bool = True) -> dict[str, str]:
        """Why files cannot be used, by their paths below the root; see :meth:`defects`."""
        found = self.file_reasons(names, verify=verify)
        return {name: f"{name}: {reason}" for name, reason in found.items()}

    def file_reasons(self, names: Sequence[str], *, verify: bool) -> dict[str, str]:
        """The same without the names in the reasons."""
        return (file_defects if verify else links_out)(self.root, names)

    def digests(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Half of the sha256 of each file's content, read once per change of it.

        Raises:
            BenchError: a file is not there any more.
        """
        names = {path.relative_to(self.root).as_posix(): path for path in paths}
        found = file_hashes(self.root, list(names))
        gone = next((name for name, digest in found.items() if digest is None), None)
        if gone is not None:
            raise BenchError(f"{self.root / gone} cannot be read any more; put it back")
        return {names[name]: str(digest)[:DIGEST_LENGTH] for name, digest in found.items()}

    def _frame(self, clip_id: str) -> str | None:
        return self._first((layout.frames, layout.key(clip_id)) for layout in self.layouts)

    def _sound(self, clip_id: str) -> str | None:
        return self._first((layout.sounds, layout.key(clip_id)) for layout in self.layouts)

    def _first(self, places: Iterable[tuple[tuple[str, ...], str]]) -> str | None:
        found = (
            self._files.find(template, key) for templates, key in places for template in templates
        )
        return next((name for name in found if name is not None), None)

    def _path(self, name: str | None) -> Path | None:
        return None if name is None else self.root / name


def first_reasons(
    pairs: Iterable[tuple[str | None, str | None]], reasons: Mapping[str, str]
) -> dict[int, str]:
    """Place of each pair of a frame and a sound that has a reason; the frame's goes first.

    >>> first_reasons([("a", "b"), ("c", "b")], {"b": "empty", "c": "truncated"})
    {0: 'empty', 1: 'truncated'}
    """
    found: dict[int, str] = {}
    for place, pair in enumerate(pairs):
        for name in pair:
            if name is not None and name in reasons:
                found.setdefault(place, reasons[name])
    return found


def links_out(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Reason for each file that is a link out of the root; nothing of them is read."""
    reason = "a link that leads out of the data root"
    return {name: reason for name in names if leads_out(root, name)}


def file_defects(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Reason for each file that is a link out of the root, or that cannot be decoded.

    Each is decoded once, see ``file_facts``.

    Args:
        root: the data root.
        names: paths below the root, of images by their suffix or else of sounds.
    """
    foreign = links_out(root, names)
    inside = [name for name in names if name not in foreign]
    reasons = file_facts(
        root, inside, _defect, kind="verified", version=CHECK_VERSION, title="verifying files"
    )
    return foreign | {name: reason for name, reason in reasons.items() if reason is not None}


def _defect(path: Path) -> str | None:
    return frame_defect(path) if path.suffix in IMAGES else sound_defect(path)
