"""Runs that a report is made of: accepted records, and run folders with what lies in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.compare import metric_columns
from benchmark.records import Record, read_record, read_results, read_scores, verified_scores
from metrics.errors import BenchError, did_you_mean

RUNS = Path("runs")  # where bench run writes unless it is told otherwise
Column = NDArray[np.float64]


class Samples(NamedTuple):
    """Scores of each test sample of a run; ``columns`` by metric, NaN where one leaves it out."""

    ids: tuple[str, ...]
    columns: dict[str, Column]  # (N,) each


@dataclass(frozen=True)
class FoundRun:
    """A finished run on this disk.

    Attributes:
        record: what it recorded.
        scores: the table of its samples; the file may be missing.
        is_accepted: whether it lies among the results.
        folder: its run folder, where that is at hand.
    """

    record: Record
    scores: Path
    is_accepted: bool
    folder: Path | None = None

    @cached_property
    def samples(self) -> Samples | None:
        """Scores of its samples; None where the file is missing.

        Raises:
            BenchError: the file is not the one that the run was recorded with.
        """
        if not self.scores.is_file():
            return None
        verified_scores(self.scores, self.record)
        table = read_scores(self.scores)
        return Samples(table.ids, metric_columns(table.columns))


class Found(NamedTuple):
    """All that was found: runs by id, and folders of runs that were not finished."""

    runs: dict[str, FoundRun]
    unfinished: tuple[str, ...]


def found_runs(results: Path, folders: Sequence[Path] | None, data: str | None) -> Found:
    """Accepted records and finished runs, in the order of their ids.

    Args:
        results: folder of accepted records.
        folders: of runs, or single run folders; ``runs`` if None, which may be absent.
        data: names of data sets with commas between them, to keep no others; all if None.

    Raises:
        BenchError: a folder does not exist, a record is not valid, or a data set has no run.
    """
    found = {
        record.id: FoundRun(record, results / f"{record.id}.csv", is_accepted=True)
        for record in read_results(results)
    }
    unfinished = []
    for folder in _run_folders(folders):
        if not (folder / "record.json").is_file():
            unfinished.append(folder.name)
            continue
        record = read_record(folder / "record.json")
        accepted = found.get(record.id)
        if accepted is not None and accepted.record != record:
            raise BenchError(
                f"{folder} and {accepted.scores.with_suffix('.json')} are different runs of one "
                "id; remove one of them"
            )
        found[record.id] = FoundRun(record, folder / "scores.csv", accepted is not None, folder)
    return Found(_of_data(found, data), tuple(sorted(unfinished)))


def _run_folders(folders: Sequence[Path] | None) -> Iterable[Path]:
    for folder in (RUNS,) if folders is None else folders:
        if folders is not None and not folder.is_dir():
            raise BenchError(
                f"--runs {folder} is no folder; give a folder of runs, or a run folder"
            )
        if _is_run(folder):
            yield folder
            continue
        inside = folder.iterdir() if folder.is_dir() else ()
        yield from sorted(path for path in inside if _is_run(path))


def _is_run(folder: Path) -> bool:
    return (folder / "record.json").is_file() or (folder / "config.yaml").is_file()


def _of_data(found: dict[str, FoundRun], data: str | None) -> dict[str, FoundRun]:
    if data is None:
        return {key: found[key] for key in sorted(found)}
    there = sorted({run.record.data for run in found.values()})
    names = data.split(",")
    for name in names:
        if name not in there:
            raise BenchError(
                f"--data {name}: no run of that data set.{did_you_mean(name, there)} There are "
                f"runs of: {', '.join(there) or 'none'}"
            )
    return {key: found[key] for key in sorted(found) if found[key].record.data in names}
