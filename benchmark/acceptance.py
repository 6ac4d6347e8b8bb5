"""Whether what was accepted into the results is whole: for those who review a record."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmark.records import Record, is_ranked, read_record, read_scores, verified_scores
from metrics.errors import BenchError

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

    It is ranked, lies under its own id, has the scores it was written with, and its metrics are
    their means.

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
    return _apart(record, path)


def _apart(record: Record, path: Path) -> str | None:
    """The first metric that is not the mean of its column."""
    table = read_scores(path.with_suffix(".csv"))
    for key, column in RECOMPUTED.items():
        if key in record.metrics and column in table.columns:
            mean = float(np.nanmean(table.columns[column]))
            if abs(mean - record.metrics[key]) > AGREEMENT:
                return (
                    f"{path} says {key} = {record.metrics[key]:.6f}, and {column} in its scores "
                    f"has a mean of {mean:.6f}; run it again"
                )
    return None
