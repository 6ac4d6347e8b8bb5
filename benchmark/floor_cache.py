"""Floors and ceiling of a (list, annotations, protocol): computed once, kept on disk."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.settings import content_hash
from benchmark.stages import write_json
from datamodules.cache import cache_dir
from datamodules.progress import progress_bar
from metrics.floors import available_floors, floor_scores
from metrics.scoring import Scores
from metrics.truth import Truth

log = logging.getLogger(__name__)
VERSION = 1  # part of every key; raised when a floor or a metric changes


def cached_floors(
    truth: Sequence[Truth], protocol: str, *, without: Sequence[str] = ()
) -> dict[str, Scores]:
    """Scores of every floor that this truth allows, but for those left out."""
    names = [name for name in available_floors(truth) if name not in without]
    return {name: cached_floor(name, truth, protocol) for name in names}


def cached_floor(name: str, truth: Sequence[Truth], protocol: str) -> Scores:
    """Scores of one floor.

    The key holds the ids and the annotations, so a changed file finds nothing old; a damaged cache
    entry is computed again.

    Raises:
        BenchError: the floor has no meaning on this truth.
    """
    key = {"version": VERSION, "floor": name, "protocol": protocol, "truth": truth_hash(truth)}
    path = cache_dir() / "floors" / f"{name}-{protocol}-{content_hash(key)[:16]}.json"
    kept = _read(path)
    if kept is not None:
        return kept
    log.info("floor %s under %s: computed once for these %d samples", name, protocol, len(truth))
    with progress_bar(f"floor {name} under {protocol}", len(truth)) as advance:
        scores = floor_scores(name, truth, protocol, progress=lambda _: advance())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, _plain(scores))
    return scores


def truth_hash(truth: Sequence[Truth]) -> str:
    """sha256 of ids, boxes, masks and objects, in the order of the list."""
    digest = hashlib.sha256()
    for sample in truth:
        digest.update(sample.id.encode() + b"\0")
        for array in (*sample.boxes, sample.mask, sample.objects):
            if array is not None:
                digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
            digest.update(b"\0")
    return digest.hexdigest()


def _plain(scores: Scores) -> dict[str, Any]:
    plain = scores._asdict()
    plain["values"] = {key: column.tolist() for key, column in scores.values.items()}
    return plain


def _read(path: Path) -> Scores | None:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if set(plain) != set(Scores._fields):
        return None
    columns = {key: np.array(column, dtype=np.float64) for key, column in plain["values"].items()}
    pairs = {key: (low, high) for key, (low, high) in plain["ci95"].items()}
    names = ("ids", "missing", "excluded", "constant_maps", "undefined", "thresholds")
    tuples = {name: tuple(plain[name]) for name in names if plain[name] is not None}
    return Scores(**{**plain, "values": columns, "ci95": pairs, **tuples})
