"""A grid of runs as jobs: what is to be run, what became of it, and going on after a restart.

A launch has a folder with ``launch.json``, which names the job of every cell, so that the same
command given again watches those jobs in place of submitting them a second time.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmark.config import RunConfig
from benchmark.experiment import Given, PlannedRun, run_of, stored_runs
from benchmark.jobs import CANCELLED, QUEUED, RUNNING, Command, Jobs
from benchmark.records import Record, read_record
from benchmark.runner import require_buildable
from benchmark.settings import content_hash
from benchmark.stopping import STOPPED
from datamodules.atomic_files import write_json
from metrics.errors import BenchError

SCHEMA = 1
WAITING, DONE, FAILED, SKIPPED = "waiting", "done", "failed", "skipped"
POLL_SECONDS = 0.5
CANCEL_SECONDS = 60.0
LOG_TAIL_BYTES = 4096
WORDS_LEFT_OUT = re.compile(r"^\s*$|^bench: stopped;")


@dataclass(frozen=True)
class Cell:
    """One run of a grid."""

    name: str
    config: RunConfig
    words: tuple[str, ...]  # behind `bench run`
    hash: str  # of what can change its score
    known: Record | None = None  # of the finished run that was there before

    @property
    def stem(self) -> str:
        """Start of the names of its files."""
        config = self.config
        return f"{config.method_name}-{config.data_name}-seed{config.seed}-{self.hash[:8]}"


@dataclass
class Progress:
    """What became of a cell."""

    state: str = WAITING
    job: str | None = None  # that is not over, as far as is known
    attempts: int = 0  # jobs that were submitted for it, ever
    stops: int = 0  # of these, how many were stopped from outside
    slot: int = 0  # which of the runs at once
    record: str | None = None  # id of the finished run
    error: str | None = None


def grid(
    methods: Sequence[str],
    data: Sequence[str],
    seeds: Iterable[int],
    composed: Callable[[str, str, int], RunConfig],
    results: Path,
    given: Given,
    preset: str | None = None,
) -> list[Cell]:
    """Cells of every method on every data set with every seed; all are composed before any is run.

    Args:
        methods: registered names.
        data: registered names.
        seeds: of the runs.
        composed: configuration of a method, a data set and a seed.
        results: folder of the accepted records; finished runs are looked for in ``logging.runs``.
        given: of the command line.
        preset: of the command line.

    Raises:
        BenchError: a name is unknown or a setting wrong.
    """
    configs = [
        composed(method, name, seed)
        for seed in seeds
        for name in dict.fromkeys(data)
        for method in dict.fromkeys(methods)
    ]
    stored = {
        folder: stored_runs(results, Path(folder))
        for folder in {config.logging.runs for config in configs}
    }
    cells = []
    for config in configs:
        known = run_of(config, stored[config.logging.runs])
        name = f"{config.method_name} on {config.data_name}, seed {config.seed}"
        words = run_words(config, given, preset)
        cells.append(Cell(name, config, words, cell_hash(config, given), known and known.record))
    return _once(cells)


def rows_of(planned: Iterable[PlannedRun], given: Given) -> list[Cell]:
    """Cells of the rows of a paper's table that can be run, of ``benchmark.experiment.plan``."""
    return _once(
        Cell(
            each.name,
            each.config,
            run_words(each.config, given, None),
            cell_hash(each.config, given),
            each.known and each.known.record,
        )
        for each in planned
        if each.config is not None
    )


def _once(cells: Iterable[Cell]) -> list[Cell]:
    """The cells without those that would be the same run as an earlier one."""
    found: dict[str, Cell] = {}
    for cell in cells:
        found.setdefault(cell.hash, cell)
    return list(found.values())


def require_buildable_cells(cells: Iterable[Cell]) -> None:
    """Builds the method and the data of each cell that is to be run, of several seeds once.

    So a value that its type allows and the method does not costs no job.

    Raises:
        BenchError: a cell cannot be built; it is named.
    """
    seen = set()
    for cell in cells:
        key = content_hash(cell.config.with_seed(0).identity())
        if cell.known is None and key not in seen:
            seen.add(key)
            try:
                require_buildable(cell.config)
            except BenchError as error:
                raise BenchError(f"{cell.name}: {error}") from error


def cell_hash(config: RunConfig, given: Given) -> str:
    """Hash of the configuration of a cell, without what cannot change a score."""
    return content_hash({**config.identity(), "dry_run": given.dry_run})


def run_words(config: RunConfig, given: Given, preset: str | None) -> tuple[str, ...]:
    """The words behind ``bench run`` that compose that configuration."""
    words = ["--method", config.method_name, "--data", config.data_name]
    words += ["--seed", str(config.seed)]
    words += [] if preset is None else ["--preset", preset]
    for path in given.files:
        words += ["--config", str(path)]
    words += [] if given.limit is None else ["--limit", str(given.limit)]
    words += ["--dry-run"] if given.dry_run else []
    return (*words, *config.overrides)


def grid_hash(cells: Iterable[Cell]) -> str:
    """Names a grid: the same for the same cells in any order."""
    return content_hash(sorted(cell.hash for cell in cells))


class Launch:
    """The cells of a grid, their jobs and their outcomes.

    Args:
        cells: at least one.
        jobs: where they are run.
        folder: of the launch; made if it is not there.
        at_once: how many jobs may be there at a time; None means all.
        retries: how often a cell whose job was stopped is submitted again.
        gpus: that local jobs share; None leaves them to the scheduler.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        jobs: Jobs,
        folder: Path,
        *,
        at_once: int | None = None,
        retries: int = 5,
        gpus: Sequence[str] | None = None,
    ) -> None:
        self.cells, self.jobs, self.folder = tuple(cells), jobs, folder
        self.at_once, self.retries, self.gpus = at_once, retries, gpus
        self.progress: dict[str, Progress] = {cell.hash: Progress() for cell in self.cells}
        self.over_since: dict[str, float] = {}
        self.records: dict[str, Record] = {}

    def resume(self) -> None:
        """Takes up what an earlier command began; nothing is submitted.

        Raises:
            BenchError: the folder is of another grid or executor, or its state cannot be read.
        """
        kept = self._read_state()
        for cell in self.cells:
            before = kept.get(cell.hash, Progress())
            self.progress[cell.hash] = before
            if cell.known is not None:
                before.record = cell.known.id
                before.state, before.job, before.error = SKIPPED, None, None
            elif before.record is not None and self._record_file(cell, before.record).exists():
                before.state, before.job = SKIPPED, None
            elif before.job is not None:
                before.state = RUNNING
                self._settle(cell, before)
            else:
                before.state, before.stops = WAITING, 0
                before.record, before.error = None, None

    def watch(self, show: Callable[[], None]) -> None:
        """Submits what waits and returns when every cell has ended.

        Args:
            show: is called after every look at the jobs.
        """
        while True:
            self.step()
            show()
            if not self.unfinished():
                return
            time.sleep(POLL_SECONDS)

    def step(self) -> None:
        """One look at the jobs: notes what ended, submits what may start."""
        for cell in self.cells:
            if self.progress[cell.hash].job is not None:
                self._settle(cell, self.progress[cell.hash])
        try:
            self._submit(self._may_start())
        finally:  # one may be refused after others were queued
            self._write_state()

    def unfinished(self) -> list[Cell]:
        """Cells that wait or have a job."""
        return [cell for cell in self.cells if self.of(cell).state in (WAITING, QUEUED, RUNNING)]

    def having(self, *states: str) -> list[Cell]:
        """Cells in one of these states."""
        return [cell for cell in self.cells if self.of(cell).state in states]

    def of(self, cell: Cell) -> Progress:
        """What became of a cell so far."""
        return self.progress[cell.hash]

    def cancel(self) -> list[Cell]:
        """Ends all jobs and waits for them; the cells that had one.

        Raises:
            BenchError: a job does not end.
        """
        cells = [cell for cell in self.cells if self.of(cell).job is not None]
        jobs = {job for cell in cells if (job := self.of(cell).job) is not None}
        until = time.monotonic() + CANCEL_SECONDS
        while jobs:
            for job in jobs:
                self.jobs.cancel(job)
            time.sleep(POLL_SECONDS)
            jobs = {job for job in jobs if self.jobs.state(job) in (QUEUED, RUNNING)}
            if jobs and time.monotonic() > until:
                raise BenchError(f"job {min(jobs)} was asked to end and has not; end it by hand")
        for cell in cells:
            self.of(cell).job, self.of(cell).state = None, WAITING
        self._write_state()
        return cells

    def parting_words(self) -> str:
        """What becomes of the cells when nobody watches any more."""
        jobs, waiting = len(self.having(QUEUED, RUNNING)), len(self.having(WAITING))
        return (
            f"{jobs} {'job goes' if jobs == 1 else 'jobs go'} on without this command and "
            f"{waiting} {'cell waits' if waiting == 1 else 'cells wait'} for the next one; the "
            "same command watches them again, with --cancel it ends the jobs"
        )

    def log(self, cell: Cell) -> Path:
        """What the runs of a cell wrote to standard error."""
        return self.folder / "logs" / f"{cell.stem}.log"

    def last_line(self, cell: Cell) -> str:
        """The last line of a cell's log that says something; empty where there is none."""
        return _last_line(self.log(cell))

    def record(self, cell: Cell) -> Record | None:
        """The record of a cell that is finished."""
        if cell.known is not None:
            return cell.known
        record_id = self.of(cell).record
        if record_id is None:
            return None
        if record_id not in self.records:
            self.records[record_id] = read_record(self._record_file(cell, record_id))
        return self.records[record_id]

    def _record_file(self, cell: Cell, record: str) -> Path:
        return Path(cell.config.logging.runs) / record / "record.json"

    def _settle(self, cell: Cell, progress: Progress) -> None:
        """Notes how a job ended, if it has."""
        assert progress.job is not None, "as the caller looked"
        state = self.jobs.state(progress.job)  # before the report, which is written before its end
        report = self._report(cell, progress.attempts)
        if report is None and state in (QUEUED, RUNNING):
            progress.state = state
            return
        if report is None and self._may_still_come(progress.job):
            return
        job, progress.job = progress.job, None
        if report is not None and report["code"] == 0:
            progress.state, progress.record, progress.error = DONE, report["record"], None
        elif report is None and state == CANCELLED:
            self._fail(progress, f"job {job} was cancelled")
        elif report is None or report["code"] == STOPPED:
            self._stopped(cell, progress, job)
        elif report["code"] < 0:
            self._fail(progress, f"killed by signal {-report['code']}: {self.last_line(cell)}")
        else:
            self._fail(progress, self.last_line(cell) or f"exit code {report['code']}")

    def _may_still_come(self, job: str) -> bool:
        """Whether the report of a job that is over may be on its way through a file system."""
        since = self.over_since.setdefault(job, time.monotonic())
        return time.monotonic() - since < self.jobs.grace_seconds

    def _stopped(self, cell: Cell, progress: Progress, job: str) -> None:
        progress.stops += 1
        if progress.stops <= self.retries:
            progress.state = WAITING
            return
        why = self.last_line(cell) or _last_line(self.jobs.log(job)) or "no word why"
        self._fail(progress, f"stopped {progress.stops} times; {why}")

    def _fail(self, progress: Progress, error: str) -> None:
        progress.state, progress.error = FAILED, error

    def _may_start(self) -> list[Cell]:
        waiting = self.having(WAITING)
        if self.at_once is None:
            return waiting
        return waiting[: max(0, self.at_once - len(self.having(QUEUED, RUNNING)))]

    def _submit(self, cells: Sequence[Cell]) -> None:
        if not cells:
            return
        for name in ("logs", "reports"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        asked = {}
        for cell in cells:
            progress = self.of(cell)
            progress.attempts += 1
            progress.slot = self._free_slot()
            progress.state = QUEUED
            asked[self._command(cell, progress)] = progress
        try:
            for command, job in self.jobs.submit(list(asked)):
                asked[command].job = job
        finally:  # those that got no job wait as before
            for progress in asked.values():
                if progress.job is None:
                    progress.state, progress.attempts = WAITING, progress.attempts - 1

    def _free_slot(self) -> int:
        taken = {self.of(cell).slot for cell in self.having(QUEUED, RUNNING)}
        return next(slot for slot in range(len(taken) + 1) if slot not in taken)

    def _command(self, cell: Cell, progress: Progress) -> Command:
        trainer, folder = cell.config.trainer, self.folder.absolute()
        shared = None
        if self.gpus is not None:
            shared = shared_gpus(self.gpus, progress.slot, trainer.devices)
        return Command(
            cell.words,
            directory=str(Path.cwd()),
            log=str(self.log(cell).absolute()),
            report=str(self._report_file(cell, progress.attempts).absolute()),
            lock=str(folder / "reports" / f"{cell.stem}.lock"),
            nodes=trainer.num_nodes,
            devices=trainer.devices,
            accelerator=trainer.accelerator,
            gpus=shared,
        )

    def _report_file(self, cell: Cell, attempt: int) -> Path:
        return self.folder / "reports" / f"{cell.stem}.{attempt}.json"

    def _report(self, cell: Cell, attempt: int) -> dict[str, Any] | None:
        try:
            report = json.loads(self._report_file(cell, attempt).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        assert isinstance(report, dict), "as benchmark.jobs writes it"
        return report

    @property
    def _state_file(self) -> Path:
        return self.folder / "launch.json"

    def _write_state(self) -> None:
        cells = {cell.hash: {"name": cell.name, **asdict(self.of(cell))} for cell in self.cells}
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"schema": SCHEMA, "grid": grid_hash(self.cells), "executor": self.jobs.name,
                   "cells": cells}  # fmt: skip
        write_json(self._state_file, content)

    def _read_state(self) -> dict[str, Progress]:
        path = self._state_file
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            cells = {
                key: Progress(**{name: value for name, value in cell.items() if name != "name"})
                for key, cell in content["cells"].items()
            }
            grid, executor = content["grid"], content["executor"]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BenchError(
                f"{path} cannot be read as the state of a launch ({type(error).__name__}: {error});"
                " delete it when no job of it runs any more: finished runs are found without it"
            ) from error
        if grid != grid_hash(self.cells):
            first = next(iter(content["cells"].values()), {"name": "none"})["name"]
            raise BenchError(
                f"{path} is of another grid, of {len(cells)} cells such as {first}; give another "
                "--out DIR, or delete the file when no job of it runs any more"
            )
        running = [cell for cell in cells.values() if cell.job is not None]
        if running and executor != self.jobs.name:
            raise BenchError(
                f"{path}: {len(running)} jobs were submitted with --executor {executor}; give that "
                "again, with --cancel to end them first"
            )
        return cells


def local_jobs(cells: Sequence[Cell], gpus: Sequence[str]) -> int:
    """How many runs at once leave every run GPUs of its own; one where there are no GPUs."""
    on_cpu = all(cell.config.trainer.accelerator == "cpu" for cell in cells)
    devices = max(cell.config.trainer.devices for cell in cells)
    return 1 if on_cpu else max(1, len(gpus) // devices)


def shared_gpus(gpus: Sequence[str], slot: int, devices: int) -> str:
    """GPUs of one of several runs at once, dealt in turn; a value of CUDA_VISIBLE_DEVICES.

    >>> shared_gpus(["0", "1", "2"], slot=1, devices=2)
    '2,0'
    """
    if not gpus:
        return ""
    numbers = ((slot * devices + place) % len(gpus) for place in range(devices))
    return ",".join(gpus[number] for number in dict.fromkeys(numbers))


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - LOG_TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line for line in text.splitlines() if not WORDS_LEFT_OUT.match(line)]
    return lines[-1].strip() if lines else ""


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keeps a second ``bench launch`` out of the folder.

    Raises:
        BenchError: there is one already, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"--out {folder} cannot be made: {error.strerror}") from error
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BenchError(
            f"{folder} is watched by another bench launch; stop that one first (its jobs go on), "
            "or give another --out DIR"
        ) from error
    try:
        yield
    finally:
        lock.release()
