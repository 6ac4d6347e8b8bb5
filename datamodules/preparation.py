"""A data root out of a folder of raw videos, in parallel, to be resumed after a kill at any moment.

Every file appears at once and whole, and a journal says of every clip when it is begun and what was
made of it. So a run that was killed goes on where it stopped, and its end is byte for byte that of
a run that was not: files and manifest are functions of the videos and the settings alone.

A clip is done if its files have the size and the sha256 of its entry and its video has the size of
then. The video is not hashed, for that would mean to read all of a long one. Refused clips are
tried again by every run.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from filelock import FileLock, Timeout

from datamodules.atomic_files import UNFINISHED
from datamodules.cache import FileEntry, file_sha256
from datamodules.clip_preparation import (
    ClipJob,
    ClipOutcome,
    NotWritten,
    clear_places,
    made_clip,
    plan_hash,
    refused_entry,
)
from datamodules.preparation_manifest import (
    FORMAT,
    PREPARED,
    ClipEntry,
    Head,
    Journal,
    Manifest,
    writing,
)
from datamodules.preparation_plan import Options, Plan, plan_lines, planned
from datamodules.progress import progress_bar
from datamodules.video_sets import video_set
from datamodules.worker_pool import Died, WorkerPool, usable_cores
from metrics.errors import BenchError

FAST_SIDE = 256  # pixels; training enlarges to 246 = 1.1 x 224 before it crops
FAST_RATE_HZ = 16000
LOCK = ".prepare.lock"
FOLDERS = ("frames", "audio", "video_frames")  # where a run may leave unfinished files
HUNG_SECONDS = 1800.0  # for one clip; 1000 s of a large video take minutes
MEASURED_CLIPS = 8  # for the estimate
SPARE = 1.1  # clips differ from those that were measured
REPORT_SECONDS = 60.0  # between two lines where no bar shows the progress

Say = Callable[[str], None]
Pool = WorkerPool[ClipJob, ClipOutcome | NotWritten]


class Estimate(NamedTuple):
    """What is to be expected, from preparing some of the clips without writing them."""

    measured: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Report:
    """What a run did, or under ``dry_run`` what it would do."""

    plan: Plan
    prepared: tuple[str, ...]  # clips that this run made
    done_before: int
    refused: dict[str, str]  # reason by clip, of the clips of the plan
    bytes: int  # that this run wrote
    seconds: float  # that this took, without checking and measuring before
    estimate: Estimate | None  # None where nothing was to be done, or to be measured


def prepare(options: Options, say: Say, *, reports: bool = False) -> Report:
    """Makes what a data root lacks.

    Args:
        options: see there.
        say: takes lines for the user.
        reports: whether the progress is said in lines, for want of a bar.

    Raises:
        BenchError: a setting is wrong, no clip has a video, the root was made in another way or
            holds files of someone else, it cannot be written, or the disk is too small.
    """
    _check_numbers(options)
    plan = planned(options)
    for line in plan_lines(options, plan):
        say(line)
    if options.dry_run:
        return _Run(options, plan, say).report(reports=reports)
    with _only_run(options.root):
        return _Run(options, plan, say).report(reports=reports)


class _Run:
    """One call of ``prepare``."""

    def __init__(self, options: Options, plan: Plan, say: Say) -> None:
        self.options = options
        self.plan = plan
        self.say = say
        self.workers = options.workers or usable_cores()
        self.manifest = Manifest(options.root, _head(options))
        finished = self._finished()
        self.waiting = [job for job in plan.jobs if job.id not in finished]
        self.done_before = len(plan.jobs) - len(self.waiting)
        self.made: dict[str, ClipOutcome] = {}
        self.seconds = 0.0

    def report(self, *, reports: bool) -> Report:
        self._check_free_places()
        estimate = None
        with (
            _without_leftovers(self.options.root, self.manifest, dry_run=self.options.dry_run),
            WorkerPool(made_clip, self.workers, limit_seconds=HUNG_SECONDS) as pool,
        ):
            if self.waiting:
                estimate = self._estimate(pool)
            if not self.options.dry_run:
                self._clear_abandoned()
                self._make_all(pool, reports=reports)
        return Report(
            plan=self.plan,
            prepared=tuple(
                sorted(i for i, made in self.made.items() if made.entry["status"] == PREPARED)
            ),
            done_before=self.done_before,
            refused=self._refused(),
            bytes=sum(made.bytes for made in self.made.values()),
            seconds=self.seconds,
            estimate=estimate,
        )

    def _finished(self) -> set[str]:
        """The clips of the plan that need no work; their files are read."""
        claimed = {
            job.id: entry
            for job in self.plan.jobs
            if (entry := self.manifest.entries.get(job.id)) is not None and _is_of(entry, job)
        }
        finished = set()
        threads = ThreadPoolExecutor(self.workers)
        try:
            whole = threads.map(partial(_is_whole, self.options.root), claimed.values())
            with progress_bar("checking what is there", len(claimed)) as advance:
                for clip, is_whole in zip(claimed, whole, strict=True):
                    advance()
                    if is_whole:
                        finished.add(clip)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
        return finished

    def _check_free_places(self) -> None:
        """Files that no run of this command made are not replaced."""
        root = self.options.root
        listed: dict[Path, set[str]] = {}
        taken = []
        for job in self.waiting:
            if job.id in self.manifest.begun:
                continue
            for place in job.needs.places:
                path = root / place
                if path.parent not in listed:
                    listed[path.parent] = _names(path.parent)
                if path.name in listed[path.parent]:
                    taken.append(path)
        if taken:
            raise BenchError(
                f"{len(taken):,} files and folders such as {taken[0]} are there and were not made "
                "by bench prepare; give another --root, or move them away"
            )

    def _estimate(self, pool: Pool) -> Estimate | None:
        """Time and disk, said and checked against the disk; None where no clip can be measured."""
        made = self._measured(pool)
        waiting, busy = len(self.waiting), min(self.workers, len(self.waiting))
        counts = f"{self.done_before:,} clips are done, {waiting:,} are to be made"
        if not any(one.entry["status"] == PREPARED for one in made):
            self.say(
                f"{counts}: how long it takes and how much disk it needs could not be measured, "
                f"for none of the {self._sample_size} clips that were tried could be made"
            )
            return None
        each = waiting / len(made)
        estimate = Estimate(
            measured=len(made),
            seconds=sum(one.seconds for one in made) * each / busy,
            bytes=round(sum(one.bytes for one in made) * each),
        )
        free = _free_bytes(self.options.root)
        self.say(
            f"{counts}: about {in_words(estimate.seconds)} on {busy} processes and "
            f"{estimate.bytes / 1e9:.2f} GB of {free / 1e9:.2f} GB that are free "
            f"(measured on {estimate.measured})"
        )
        if estimate.bytes * SPARE > free:
            raise BenchError(
                f"{self.options.root} has {free / 1e9:.2f} GB free and needs about "
                f"{estimate.bytes * SPARE / 1e9:.2f} GB; free disk, give --root on a larger one, "
                "store less with --fast, or make fewer with --limit or --list"
            )
        return estimate

    @property
    def _sample_size(self) -> int:
        return min(MEASURED_CLIPS, len(self.waiting))

    def _measured(self, pool: Pool) -> list[ClipOutcome]:
        """What some clips across the plan cost, without writing them; a dead process gives none."""
        count = self._sample_size
        rows = [row * len(self.waiting) // count for row in range(count)]
        sample = [self.waiting[row]._replace(writes=False) for row in rows]
        made = []
        with progress_bar("measuring some clips", count) as advance:
            for _, result in pool.results(sample):
                advance()
                if isinstance(result, ClipOutcome):
                    made.append(result)
        return made

    def _clear_abandoned(self) -> None:
        """Removes what a killed run had begun and this one is not asked for."""
        chosen, root = video_set(self.options.data), self.options.root
        needs = chosen.needs(root)
        asked_for = {job.id for job in self.plan.jobs}
        for clip in sorted(self.manifest.begun - self.manifest.entries.keys() - asked_for):
            if chosen.form.pattern.fullmatch(clip):
                with writing(root):
                    clear_places(root, needs(clip).places)

    def _make_all(self, pool: Pool, *, reports: bool) -> None:
        started = said = time.monotonic()
        with (
            Journal(self.manifest) as journal,
            progress_bar(f"preparing {self.options.data}", len(self.waiting)) as advance,
        ):
            for job, result in pool.results(_begun(self.waiting, journal)):
                journal.finish(self._entry(job, result))
                advance()
                if reports and time.monotonic() - said > REPORT_SECONDS:
                    said = time.monotonic()
                    self.say(self._progress(said - started))
        self.manifest.write()
        self.seconds = time.monotonic() - started

    def _entry(self, job: ClipJob, result: ClipOutcome | NotWritten | Died) -> ClipEntry:
        if isinstance(result, NotWritten):
            raise BenchError(
                f"{result.words}; {len(self.made):,} clips were made and are kept: mend this and "
                "give the same command again"
            )
        if isinstance(result, Died):
            with writing(job.root):
                clear_places(job.root, job.needs.places)
            entry = refused_entry(job, f"the decoder failed: {result.reason}")
            result = ClipOutcome(entry, 0.0, 0)
        self.made[job.id] = result
        return result.entry

    def _progress(self, seconds: float) -> str:
        rate = len(self.made) / seconds
        left = (len(self.waiting) - len(self.made)) / rate
        return (
            f"{len(self.made):,} of {len(self.waiting):,} clips, {rate:.1f}/s, "
            f"{in_words(left)} left"
        )

    def _refused(self) -> dict[str, str]:
        entries = (self.manifest.entries.get(job.id) for job in self.plan.jobs)
        return {entry["id"]: entry["reason"] for entry in entries if entry and "reason" in entry}


def in_words(seconds: float) -> str:
    """A duration for people.

    >>> [in_words(seconds) for seconds in (4.2, 90, 7300)]
    ['4 s', '2 min', '2.0 h']
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _check_numbers(options: Options) -> None:
    quality, rate_hz = options.form.quality, options.form.rate_hz
    for name, value, low, high in (
        ("--limit", options.limit, 1, None),
        ("--workers", options.workers, 1, 1024),
        ("--quality", quality, 1, 100),
        ("--rate", rate_hz, 1000, 384000),
    ):
        if value is not None and (value < low or (high is not None and value > high)):
            limits = f"be at least {low}" if high is None else f"lie in {low} to {high}"
            raise BenchError(f"{name} {value} must {limits}")


def _head(options: Options) -> Head:
    form = options.form
    return Head(
        format=FORMAT,
        data=video_set(options.data).name,
        short_side=form.short_side,
        quality=form.quality,
        rate_hz=form.rate_hz,
    )


@contextmanager
def _only_run(root: Path) -> Iterator[None]:
    """Holds the root against other runs of this command, on machines that share its disk too."""
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise BenchError(
                f"{root} is being prepared by another run; wait for it, or give another --root"
            ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _without_leftovers(root: Path, manifest: Manifest, *, dry_run: bool) -> Iterator[None]:
    """Removes unfinished files: those of a run that was killed, and those of this one."""
    if manifest.was_interrupted and not dry_run:
        _remove_parts(root)
    try:
        yield
    except BaseException:
        if not dry_run:
            _remove_parts(root)
        raise


def _remove_parts(root: Path) -> None:
    for folder in FOLDERS:
        for top, _, names in os.walk(root / folder):
            for name in names:
                if name.startswith(".") and name.endswith(UNFINISHED):
                    Path(top, name).unlink(missing_ok=True)


def _begun(jobs: Sequence[ClipJob], journal: Journal) -> Iterator[ClipJob]:
    for job in jobs:
        journal.begin(job.id)
        yield job


def _is_of(entry: ClipEntry, job: ClipJob) -> bool:
    """Whether an entry says that what a job asks for was made of a video that is still there."""
    videos = [(candidate.name, candidate.bytes) for candidate in job.candidates]
    return (
        entry["status"] == PREPARED
        and (entry["video"], entry["video_bytes"]) in videos
        and entry["plan"] == plan_hash(job.needs, job.form)
        and all(_is_in(name, job.needs.places) for name in entry.get("files", {}))
    )


def _is_in(name: str, places: Sequence[str]) -> bool:
    path = PurePosixPath(name)
    return ".." not in path.parts and any(path.is_relative_to(place) for place in places)


def _is_whole(root: Path, entry: ClipEntry) -> bool:
    return all(_is_same(root / name, file) for name, file in entry.get("files", {}).items())


def _is_same(path: Path, entry: FileEntry) -> bool:
    try:
        return path.stat().st_size == entry["bytes"] and file_sha256(path) == entry["sha256"]
    except OSError:
        return False


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _free_bytes(root: Path) -> int:
    """Free space of the disk that holds a root, which need not exist yet."""
    there = next(folder for folder in (root.absolute(), *root.absolute().parents)
                 if folder.exists())  # fmt: skip
    return shutil.disk_usage(there).free
