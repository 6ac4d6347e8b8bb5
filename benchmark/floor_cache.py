"""Floors and ceiling of a (list, annotations, protocol): computed once, kept on disk."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.settings import content_hash
from datamodules.atomic_files import write_json
from datamodules.cache import cache_dir
from datamodules.progress import progress_bar
from metrics.ceilings import ceiling
from metrics.errors import BenchError
from metrics.floors import available_floors, floor_scores
from metrics.protocols import Protocol, resolved
from metrics.scoring import Scores
from metrics.truth import Truth

log = logging.getLogger(__name__)
VERSION = 3  # part of every key; raised when a floor or a metric changes


def cached_floors(
    truth: Sequence[Truth], protocol: Protocol | str, *, without: Sequence[str] = ()
) -> dict[str, Scores]:
    """Scores of every floor that this truth allows, but for those left out."""
    names = [name for name in available_floors(truth) if name not in without]
    return {name: cached_floor(name, truth, protocol) for name in names}


def cached_ceiling(truth: Sequence[Truth], protocol: Protocol | str) -> dict[str, float]:
    """Highest score per key that the protocol allows; see ``metrics.ceilings.ceiling``."""
    protocol = resolved(protocol)
    path = _entry("ceiling", truth, protocol)
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {key: float(value) for key, value in kept.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        pass
    found = ceiling(truth, protocol)
    _keep(path, found)
    return found


def cached_floor(name: str, truth: Sequence[Truth], protocol: Protocol | str) -> Scores:
    """Scores of one floor.

    The key holds the ids and the annotations, so a changed file finds nothing old; a damaged cache
    entry is computed again.

    Raises:
        BenchError: the floor has no meaning on this truth.
    """
    protocol = resolved(protocol)
    path = _entry(name, truth, protocol)
    kept = _read(path)
    if kept is not None:
        return kept
    report = log.info if name == "random" else log.debug  # the others take seconds
    report("floor %s under %s: computed once for these %d samples", name, protocol.name, len(truth))
    with progress_bar(f"floor {name} under {protocol.name}", len(truth)) as advance:
        scores = floor_scores(name, truth, protocol, progress=lambda _: advance())
    _keep(path, _plain(scores))
    return scores


def _keep(path: Path, content: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)
    except OSError as error:
        raise BenchError(
            f"floors cannot be kept in {path.parent} ({error.strerror}); set AVLOC_CACHE to a "
            "folder that you may write to"
        ) from error


def _entry(name: str, truth: Sequence[Truth], protocol: Protocol) -> Path:
    """Cache file of a floor or ceiling; another rule or another annotation has another one."""
    rules = {
        item.name: getattr(protocol, item.name)
        for item in fields(protocol)
        if item.name not in ("summary", "source", "lists", "interpolation_on")
    }
    key = {"version": VERSION, "floor": name, "protocol": rules, "truth": truth_hash(truth)}
    return cache_dir() / "floors" / f"{name}-{protocol.name}-{content_hash(key)[:16]}.json"


def truth_hash(truth: Sequence[Truth]) -> str:
    """sha256 of everything that is scored against, in the order of the list."""
    digest = hashlib.sha256()
    for sample in truth:
        digest.update(sample.id.encode() + b"\0")
        for array in (*sample.boxes, sample.mask, sample.objects):
            _add(digest, array)
        further = (sample.on_screen, sample.frame, sample.segments is not None, sample.sources)
        if further != (True, None, False, ()):  # else the boxes say it all
            digest.update(repr((sample.on_screen, sample.frame)).encode())
            _add(digest, sample.segments)
            if sample.background is not None:
                digest.update(repr(sample.background).encode())
            for source in sample.sources:
                digest.update(repr((source.category, source.sounding)).encode())
                _add(digest, source.boxes)
                _add(digest, source.mask)
        if sample.context is not None:
            digest.update(b"context\0")
            _add(digest, sample.context)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", array: NDArray[np.generic] | None) -> None:
    if array is not None:
        digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    digest.update(b"\0")


def _plain(scores: Scores) -> dict[str, Any]:
    plain = scores._asdict()
    plain["values"] = {key: column.tolist() for key, column in scores.values.items()}
    return plain


def _read(path: Path) -> Scores | None:
    """Scores of a cache entry; None where it is absent or damaged in any way."""
    try:
        return _scores_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _scores_of(plain: dict[str, Any]) -> Scores | None:
    if set(plain) != set(Scores._fields):
        return None
    columns = {key: np.array(column, dtype=np.float64) for key, column in plain["values"].items()}
    pairs = {key: (low, high) for key, (low, high) in plain["ci95"].items()}
    names = ("ids", "missing", "excluded", "constant_maps", "undefined", "thresholds", "negatives",
             "onscreen_thresholds")  # fmt: skip
    tuples = {name: tuple(plain[name]) for name in names if plain[name] is not None}
    return Scores(**{**plain, "values": columns, "ci95": pairs, **tuples})
