"""Takes records of runs into the results, and says whether what was taken is whole."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.records import (
    BOXES,
    Record,
    ScoreTable,
    is_ranked,
    json_bytes,
    read_record,
    read_scores,
    verified_scores,
)
from datamodules.atomic_files import write_atomically
from metrics.errors import BenchError
from metrics.protocols import protocol_named

RECOMPUTED = {
    "ciou@0.5": "hit@0.5",
    "ciou@0.3": "hit@0.3",
    "auc": "auc",
    "mean_iou": "ciou",
    "pixel_ap": "pixel_ap",
    "pointing": "pointing",
    "segment_acc": "segment_acc",
}
"""Metrics that are means over samples, by the column of ``scores.csv`` they are the mean of."""
AGREEMENT = 1e-9


class Accepted(NamedTuple):
    """A record that was taken into the results."""

    path: Path
    warnings: tuple[str, ...]


def add_record(run_folder: Path, results_dir: Path) -> Accepted:
    """Copies a finished run's record and scores into the results, as ``<id>.json`` and ``.csv``.

    Adding the same run twice changes nothing.

    Raises:
        BenchError: the run is not complete, its scores are not those it was recorded with, its
            record contradicts them or itself, or another record has its id. Nothing is written.
    """
    source = run_folder / "record.json"
    record = read_record(source)
    ranked, reason = is_ranked(record)
    if not ranked:
        raise BenchError(f"{run_folder} cannot be added: {reason}; only complete runs are ranked")
    scores = verified_scores(run_folder / "scores.csv", record)
    fault = _contradiction(record, source, run_folder / "scores.csv")
    if fault is not None:
        raise BenchError(fault)
    path = results_dir / f"{record.id}.json"
    if path.exists() and read_record(path) != record:
        raise BenchError(f"{path} already holds another run of that id; remove it first")
    results_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(path.with_suffix(".csv"), scores)
    write_atomically(path, json_bytes(record))
    return Accepted(path, _warnings(record))


def _warnings(record: Record) -> tuple[str, ...]:
    warnings = []
    if record.git is not None and record.git.dirty:
        warnings.append(f"{record.id} ran from code with uncommitted changes")
    if record.leakage.is_any:
        warnings.append(f"{record.id} trained on {record.leakage.words}")
    return tuple(warnings)


def faults_of_results(results: Path) -> Iterator[tuple[Path, str | None]]:
    """Every accepted record with what is wrong with it, or None; in the order of their names.

    Args:
        results: folder of the accepted records.
    """
    for path in sorted(results.glob("*.json")):
        try:
            yield path, fault_of(path)
        except BenchError as error:
            yield path, str(error)


def fault_of(path: Path) -> str | None:
    """What is wrong with an accepted record; None where it is whole.

    It is ranked, lies under its own id, has the scores it was written with, and contradicts neither
    them nor itself. A method or a data set that is not installed here is no fault.

    Raises:
        BenchError: the record or its scores cannot be read, or the scores were changed.
    """
    record = read_record(path)
    if path.stem != record.id:
        return f"{path} holds the record {record.id}; name it so"
    ranked, reason = is_ranked(record)
    if not ranked:
        return f"{path} may not be ranked: {reason}"
    verified_scores(path.with_suffix(".csv"), record)
    return _contradiction(record, path, path.with_suffix(".csv"))


def _contradiction(record: Record, path: Path, scores: Path) -> str | None:
    """The first thing that a record says in two ways; None where there is none."""
    ending = f"-{record.method}-{record.data}-{record.config_hash[:8]}"
    if not record.id.endswith(ending):
        return f"{path} has the id {record.id}, which should end in {ending}; run it again"
    try:
        for name in (record.protocol, *(record.protocols.keys() - {BOXES})):
            protocol_named(name)
    except BenchError as error:
        return f"{path}: {error}"
    table = read_scores(scores)
    if record.n != len(table.ids):
        return f"{path} says n = {record.n}, and {scores} has {len(table.ids)} rows; run it again"
    return _apart(record, path, table)


def _apart(record: Record, path: Path, table: ScoreTable) -> str | None:
    """The first metric that is not the mean of its column."""
    for key, column in RECOMPUTED.items():
        if key in record.metrics and column in table.columns:
            mean = _mean(table.columns[column])
            if not abs(mean - record.metrics[key]) <= AGREEMENT:  # a mean of nothing is NaN
                return (
                    f"{path} says {key} = {record.metrics[key]:.6f}, and {column} in its scores "
                    f"has a mean of {mean:.6f}; run it again"
                )
    return None


def _mean(values: NDArray[np.float64]) -> float:
    """Mean of the values that are no NaN; NaN without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan
