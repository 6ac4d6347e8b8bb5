"""Work in processes of which any may crash or hang; the others go on.

``concurrent.futures`` gives up all work when one process dies, and a video can crash its decoder.
"""

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

J = TypeVar("J")
R = TypeVar("R")

LOOK_SECONDS = 1.0  # between two looks at the clocks of the jobs


def usable_cores() -> int:
    """Cores that this process may use, which a scheduler may have restricted."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Died(NamedTuple):
    """In place of a result: the process died or was too slow, and why."""

    reason: str


class _Ready(NamedTuple):
    """In place of a first result: the process has started, and its clock with it."""


class _Raised(NamedTuple):
    """In place of a result: the traceback of an error in the function."""

    text: str


@dataclass
class _Worker(Generic[J]):
    process: BaseProcess
    pipe: Connection
    job: J | None = None
    started: float | None = None  # its current job


class WorkerPool(Generic[J, R]):
    """Processes that call one function; used as a context, whose end kills them.

    They start anew, without a copy of this process, so the function and the jobs must be
    importable and picklable. They ignore SIGINT and SIGTERM: who starts them stops them, and when
    this process is killed they end after their current job.
    """

    def __init__(self, function: Callable[[J], R], workers: int, *, limit_seconds: float) -> None:
        """Starts nothing.

        Args:
            function: of a module.
            workers: number of processes.
            limit_seconds: after which a job counts as hung and its process is killed.
        """
        self.function = function
        self.size = workers
        self.limit_seconds = limit_seconds
        self.workers: list[_Worker[J]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.join()
            worker.pipe.close()
        self.workers.clear()

    def results(self, jobs: Iterable[J]) -> Iterator[tuple[J, R | Died]]:
        """Each job with what the function returned of it, in the order in which they finish.

        A job is taken from ``jobs`` when a process is free for it.

        Raises:
            RuntimeError: the function raised; the message is its traceback.
        """
        waiting = iter(jobs)
        while True:
            self._hand_out(waiting)
            busy = {worker.pipe: worker for worker in self.workers if worker.job is not None}
            if not busy:
                return
            for pipe in wait(list(busy), timeout=LOOK_SECONDS):
                assert isinstance(pipe, Connection)
                yield from self._received(busy.pop(pipe))
            now = time.monotonic()
            for worker in busy.values():
                if worker.started is not None and now - worker.started > self.limit_seconds:
                    yield self._buried(worker, f"took longer than {self.limit_seconds:.0f} s")

    def _hand_out(self, waiting: Iterator[J]) -> None:
        idle = [worker for worker in self.workers if worker.job is None]
        while idle or len(self.workers) < self.size:
            try:
                job = next(waiting)
            except StopIteration:
                return
            worker = idle.pop() if idle else self._started()
            worker.job = job
            if worker.started is not None:
                worker.started = time.monotonic()
            with suppress(BrokenPipeError):  # where it died, reading its pipe will say so
                worker.pipe.send(job)

    def _started(self) -> _Worker[J]:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(self.function, theirs), daemon=True)
        process.start()
        theirs.close()
        worker: _Worker[J] = _Worker(process, ours)
        self.workers.append(worker)
        return worker

    def _received(self, worker: _Worker[J]) -> Iterator[tuple[J, R | Died]]:
        assert worker.job is not None
        try:
            result = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            yield self._buried(worker, _cause(worker.process.exitcode))
            return
        if isinstance(result, _Ready):
            worker.started = time.monotonic()
            return
        if isinstance(result, _Raised):
            raise RuntimeError(f"in a worker process:\n{result.text}")
        job, worker.job = worker.job, None
        yield job, result

    def _buried(self, worker: _Worker[J], reason: str) -> tuple[J, Died]:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        self.workers.remove(worker)
        assert worker.job is not None
        return worker.job, Died(reason)


def _serve(function: Callable[[J], R], pipe: Connection) -> None:
    """What a process does: answers jobs until nobody sends any."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        pipe.send(_Ready())
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        result: R | _Raised
        try:
            result = function(job)
        except Exception:
            result = _Raised(traceback.format_exc())
        try:
            pipe.send(result)
        except OSError:
            return


def _cause(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"its process ended with exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    return f"its process was killed by {name}" + (
        ", often for lack of memory" if name == "SIGKILL" else ""
    )
