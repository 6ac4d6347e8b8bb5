"""What was found out about files by reading all of each: done once, and remembered.

A fact is kept in ``<cache>/<kind>/`` by path, size and time of change, also when the work is
interrupted, so the next run reads only files that are new or changed.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from datamodules.atomic_files import write_atomically
from datamodules.cache import cache_dir, file_sha256
from datamodules.progress import progress_bar
from metrics.errors import BenchError

Fact = tuple[int, int, str | None]
"""Size in bytes, time of change in ns, what was found."""
logger = logging.getLogger(__name__)


def file_facts(
    root: Path,
    names: Sequence[str],
    find: Callable[[Path], str | None],
    *,
    kind: str,
    version: int,
    title: str,
) -> dict[str, str | None]:
    """What ``find`` says of each file, read anew only where it changed. Nothing is written in root.

    Args:
        root: a folder; its hash names the file of facts.
        names: paths below the root.
        find: reads a file; called by several threads.
        kind: of the facts, a folder of the cache.
        version: facts of another version are forgotten.
        title: of the progress bar.

    Raises:
        BenchError: the cache cannot be written.
    """
    digest = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    store = cache_dir() / kind / f"{digest}.json"
    known = _stored(store, version)
    states = {name: _state(root / name) for name in names}
    new = [name for name in names if name not in known or known[name][:2] != states[name]]
    if new:
        found = _found([root / name for name in new], find, title)
        try:
            for name, fact in zip(new, found, strict=True):
                known[name] = (*states[name], fact)
        finally:
            _store(store, known, version)
    return {name: known[name][2] for name in names}


def file_hashes(root: Path, names: Sequence[str]) -> dict[str, str | None]:
    """sha256 of each file; None where it cannot be read."""
    return file_facts(root, names, _sha256, kind="hashes", version=1, title="hashing files")


def _sha256(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None


def _found(
    files: Sequence[Path], find: Callable[[Path], str | None], title: str
) -> Iterator[str | None]:
    """The facts in order, as they come, with a progress bar on a terminal."""
    with progress_bar(title, len(files)) as advance, ThreadPoolExecutor() as pool:
        try:
            for fact in pool.map(find, files):
                advance()
                yield fact
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (-1, -1)
    return status.st_size, status.st_mtime_ns


def _stored(store: Path, version: int) -> dict[str, Fact]:
    """Facts of earlier runs; none where the file is absent, damaged or of another version."""
    try:
        content = json.loads(store.read_text(encoding="utf-8"))
        if content["version"] != version:
            return {}
        return {key: (size, time, fact) for key, (size, time, fact) in content["files"].items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        logger.warning("%s is damaged and is written anew; all files are read again", store)
        return {}


def _store(store: Path, facts: dict[str, Fact], version: int) -> None:
    content = json.dumps({"version": version, "files": facts})
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(store, content.encode())
    except OSError as error:
        raise BenchError(
            f"{store} cannot be written ({error.strerror}); set AVLOC_CACHE to a writable folder"
        ) from error
