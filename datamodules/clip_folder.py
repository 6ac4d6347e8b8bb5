"""A data root of flat ``frames/`` and ``audio/`` folders: what is there and what can be read."""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import NamedTemporaryFile

from datamodules.cache import cache_dir
from datamodules.media import frame_defect, sound_defect
from datamodules.progress import progress_bar
from metrics.errors import BenchError

FRAME_SUFFIXES = (".png", ".jpeg", ".jpg")  # the last one wins where a clip has several
MINIATURE_MARK = "MINIATURE"  # a file of this name says that the clips are made up
CHECK_VERSION = 2  # raise it when ``media`` judges files differently
logger = logging.getLogger(__name__)

Verdict = tuple[int, int, str | None]
"""Size in bytes, time of change in ns, reason why the file cannot be used or None."""


class ClipFolder:
    """The clips under ``<root>/frames/<id>.jpg|png`` and ``<root>/audio/<id>.wav``."""

    def __init__(self, root: Path, command: str) -> None:
        """Lists both folders.

        Args:
            root: the data root, ``data.root``.
            command: the command that makes a root of this layout, for messages.

        Raises:
            BenchError: the root or one of its two folders is missing.
        """
        self.root = root
        for folder in (root, root / "frames", root / "audio"):
            if not folder.is_dir():
                raise BenchError(
                    f"{folder} is not a folder; set data.root to a folder that holds frames/ and "
                    f"audio/, or make a miniature with: {command}"
                )
        names = os.listdir(root / "frames")
        self._frames = {
            name.removesuffix(suffix): name
            for suffix in FRAME_SUFFIXES
            for name in names
            if name.endswith(suffix)
        }
        sounds = os.listdir(root / "audio")
        self._sounds = {name.removesuffix(".wav") for name in sounds if name.endswith(".wav")}

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._frames and clip_id in self._sounds

    def frame(self, clip_id: str) -> Path:
        """The frame of a clip that is here."""
        return self.root / "frames" / self._frames[clip_id]

    def sound(self, clip_id: str) -> Path:
        """The sound of a clip that is here."""
        return self.root / "audio" / f"{clip_id}.wav"

    def defects(self, clip_ids: Iterable[str]) -> dict[str, str]:
        """Reason for each of the given clips that cannot be read; both files are tried."""
        owner = {}
        for clip_id in clip_ids:
            owner[f"frames/{self._frames[clip_id]}"] = clip_id
            owner[f"audio/{clip_id}.wav"] = clip_id
        defects: dict[str, str] = {}
        for name, reason in file_defects(self.root, list(owner)).items():
            defects.setdefault(owner[name], f"{name}: {reason}")
        return defects


def file_defects(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Reason for each file that cannot be decoded.

    Each file is decoded once: verdicts are kept in ``<cache>/verified/`` by path, size and time of
    change, also when the work is interrupted. Nothing is written under the root.

    Args:
        root: the data root; its hash names the file of verdicts.
        names: paths below the root, of WAV files or of images with any other suffix.
    """
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
    return {name: reason for name, reason in reasons.items() if reason is not None}


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
    return sound_defect(path) if path.suffix == ".wav" else frame_defect(path)


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
