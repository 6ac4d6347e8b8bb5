"""A process that crashes or hangs costs its own job alone. The function is ``eval`` throughout."""

import multiprocessing
import time
from collections.abc import Iterator

import pytest

from datamodules.worker_pool import Died, WorkerPool

ME = "__import__('os').kill(__import__('os').getpid(), {})"
SLEEP = "__import__('time').sleep({})"


def pool(workers: int = 2, *, limit_seconds: float = 60) -> WorkerPool[str, object]:
    return WorkerPool(eval, workers, limit_seconds=limit_seconds)


def test_every_job_comes_back_with_its_result() -> None:
    jobs = [f"{number}**2" for number in range(20)]

    with pool() as processes:
        results = dict(processes.results(jobs))

    assert {f"{number}**2": number**2 for number in range(20)} == results


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (ME.format(11), "its process was killed by SIGSEGV"),
        (ME.format(9), "its process was killed by SIGKILL, often for lack of memory"),
        ("__import__('os')._exit(4)", "its process ended with exit code 4"),
        (SLEEP.format(100), "took longer than 2 s"),
    ],
)
def test_a_process_that_dies_or_hangs_costs_its_own_job_alone(job: str, reason: str) -> None:
    jobs = ["1", job, "2", job, "3", "4"]

    with pool(limit_seconds=2) as processes:
        results = list(processes.results(jobs))

    assert [(job, Died(reason))] * 2 == [each for each in results if each[0] == job]
    assert {1, 2, 3, 4} == {result for done, result in results if done != job}


def test_a_job_is_taken_when_a_process_is_free_for_it() -> None:
    taken = []

    def jobs() -> Iterator[str]:
        for number in range(6):
            taken.append(number)
            yield str(number)

    with pool() as processes:
        for done, _ in enumerate(processes.results(jobs()), start=1):
            assert len(taken) <= done + 1


def test_an_error_in_the_function_is_ours_and_comes_with_its_traceback() -> None:
    with pool(1) as processes, pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(processes.results(["1 / 0"]))


def test_the_end_of_the_pool_kills_what_still_runs() -> None:
    before = len(multiprocessing.active_children())
    started = time.monotonic()

    with pool() as processes:
        next(processes.results(["1", SLEEP.format(100), SLEEP.format(100)]))

    assert before == len(multiprocessing.active_children())
    assert time.monotonic() - started < 50


def test_signals_to_the_whole_group_are_left_to_who_started_the_processes() -> None:
    jobs = [f"{ME.format(number)} or {number}" for number in (2, 15)]

    with pool(1) as processes:
        results = [result for _, result in processes.results(jobs)]

    assert [2, 15] == results
