"""A data root: which frames and sounds are there, and which of them can be read."""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import NamedTemporaryFile

from datamodules.cache import cache_dir
from datamodules.layouts import IMAGES, Layout, RootFiles, leads_out
from datamodules.media import frame_defect, sound_defect
from datamodules.progress import progress_bar
from metrics.errors import BenchError

MINIATURE_MARK = "MINIATURE"  # a file of this name says that the clips are made up
CHECK_VERSION = 2  # raise it when ``media`` judges files differently
logger = logging.getLogger(__name__)

Verdict = tuple[int, int, str | None]
"""Size in bytes, time of change in ns, reason why the file cannot be used or None."""


class ClipFolder:
    """The frames and sounds of a data root, in whichever of the known layouts it has them."""

    def __init__(self, root: Path, layouts: Sequence[Layout], command: str) -> None:
        """Looks for the folders of each layout; a root may have several.

        Args:
            root: the data root, ``data.root``.
            layouts: folder trees of this data set.
            command: the command that makes a root of this layout, for messages.

        Raises:
            BenchError: the root is missing, or has the folders of no layout.
        """
        self.root, self._files = root, RootFiles(root)
        if not root.is_dir():
            raise BenchError(
                f"{root} is not a folder; set data.root to the folder of the data, or make a "
                f"miniature with: {command}"
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
        reasons: dict[int, str] = {}
        owners: dict[str, list[int]] = {}
        for place, (frame_id, sound_id) in enumerate(clips):
            for name in (self._frame(frame_id), self._sound(sound_id)):
                assert name is not None
                owners.setdefault(name, []).append(place)
        defects = file_defects if verify else links_out
        for name, reason in defects(self.root, list(owners)).items():
            for place in owners[name]:
                reasons.setdefault(place, f"{name}: {reason}")
        return reasons

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


def links_out(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Reason for each file that is a link out of the root; nothing of them is read."""
    reason = "a link that leads out of the data root"
    return {name: reason for name in names if leads_out(root, name)}


def file_defects(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Reason for each file that cannot be decoded, or that is a link out of the root.

    Each file is decoded once: verdicts are kept in ``<cache>/verified/`` by path, size and time of
    change, also when the work is interrupted. Nothing is written under the root.

    Args:
        root: the data root; its hash names the file of verdicts.
        names: paths below the root, of images by their suffix or else of sounds.
    """
    foreign = links_out(root, names)
    names = [name for name in names if name not in foreign]
    digest = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    store = cache_dir() / "verified" / f"{digest}.json"
    known = _stored(store)
    states = {name: _state(root / name) for name in names}
    new = [name for name in names if name not in known or known[name][:2] != states[name]]
    if new:
        try:
            for name, reason in zip(new, _checked([root / name for name in new]), strict=True):
                known[name] = (*states[name], reason)
        finally:
            _store(store, known)
    reasons = {name: known[name][2] for name in names}
    return foreign | {name: reason for name, reason in reasons.items() if reason is not None}


def _checked(files: Sequence[Path]) -> Iterable[str | None]:
    """The verdicts in order, as they come, with a progress bar on a terminal."""
    with progress_bar("verifying files", len(files)) as advance, ThreadPoolExecutor() as pool:
        try:
            for verdict in pool.map(_defect, files):
                advance()
                yield verdict
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _defect(path: Path) -> str | None:
    return frame_defect(path) if path.suffix in IMAGES else sound_defect(path)


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (-1, -1)
    return status.st_size, status.st_mtime_ns


def _stored(store: Path) -> dict[str, Verdict]:
    """Verdicts of earlier runs; none where the file is absent, damaged or of another version."""
    try:
        content = json.loads(store.read_text(encoding="utf-8"))
        if content["version"] != CHECK_VERSION:
            return {}
        return {key: (size, time, reason) for key, (size, time, reason) in content["files"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        logger.warning("%s is damaged and is written anew; all files are verified again", store)
        return {}


def _store(store: Path, verdicts: dict[str, Verdict]) -> None:
    content = json.dumps({"version": CHECK_VERSION, "files": verdicts})
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=store.parent, encoding="utf-8", delete=False) as file:
            file.write(content)
        os.replace(file.name, store)
    except OSError as error:
        raise BenchError(
            f"{store} cannot be written ({error.strerror}); set AVLOC_CACHE to a writable folder"
        ) from error
