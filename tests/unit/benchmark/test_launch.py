"""Cells of a launch, what becomes of them, and its memory, with jobs that end as they are told."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from benchmark.config import compose
from benchmark.experiment import Given
from benchmark.jobs import CANCELLED, OVER, RUNNING, Command, slurm_options, slurm_parameters
from benchmark.launch import FAILED, Cell, Launch, cell_hash, grid, grid_hash, local_jobs, run_words
from metrics.errors import BenchError

NOTHING = Given()


class ToldJobs:
    """Jobs whose states and reports a test sets."""

    name = "local"
    grace_seconds = 0.0

    def __init__(self) -> None:
        self.commands: dict[str, Command] = {}
        self.states: dict[str, str] = {}
        self.most: int | None = None  # jobs that are taken

    def submit(self, commands: Sequence[Command]) -> Iterator[tuple[Command, str]]:
        for command in commands:
            if len(self.commands) == self.most:
                raise BenchError("no more jobs are taken")
            job = str(len(self.commands))
            self.commands[job] = command
            self.states[job] = RUNNING
            yield command, job

    def state(self, job: str) -> str:
        return self.states[job]

    def cancel(self, job: str) -> None:
        self.states[job] = OVER

    def log(self, job: str) -> Path:
        return Path(f"{job}.err")

    def end(self, job: str, code: int | None, *, log: str = "", state: str = OVER) -> None:
        """A job is over, with a report unless the code is None."""
        command = self.commands[job]
        self.states[job] = state
        Path(command.log).write_text(log)
        if code is not None:
            record = "20260101T000000Z-x" if code == 0 else None
            Path(command.report).write_text(json.dumps({"code": code, "record": record}))


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    """Three floors on synthetic clips; they are never run."""

    def composed(method: str, data: str, seed: int) -> object:
        return compose(method, data, seed=seed, overrides=(f"logging.runs={tmp_path}/runs",))

    return grid(["center"], ["synthetic"], range(3), composed, tmp_path / "none", NOTHING)  # type: ignore[arg-type]


@pytest.fixture
def jobs() -> ToldJobs:
    return ToldJobs()


@pytest.fixture
def begun(cells: list[Cell], jobs: ToldJobs, tmp_path: Path) -> Callable[..., Launch]:
    """``begun(...)``: a launch of the cells that has taken its first step."""

    def launch(**options: object) -> Launch:
        found = Launch(cells, jobs, tmp_path / "out", **options)  # type: ignore[arg-type]
        found.resume()
        found.step()
        return found

    return launch


def states(launch: Launch) -> list[str]:
    return [launch.of(cell).state for cell in launch.cells]


def test_a_grid_is_methods_on_data_with_seeds_each_once(tmp_path: Path) -> None:
    found = grid(
        ["center", "full", "center"],
        ["synthetic"],
        (4, 5),
        lambda method, data, seed: compose(method, data, seed=seed),
        tmp_path,
        NOTHING,
    )

    assert [cell.name for cell in found] == [
        "center on synthetic, seed 4",
        "full on synthetic, seed 4",
        "center on synthetic, seed 5",
        "full on synthetic, seed 5",
    ]


def test_the_words_of_a_cell_compose_its_configuration(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("optim:\n  lr: 0.5\n")
    given = Given(("method.k=4",), (settings,), 16, True)
    config = compose("hardpos", "synthetic", overrides=given.overrides, files=given.files, seed=3,
                     limit=16, dry_run=True)  # fmt: skip

    assert run_words(config, given, "small") == (
        "--method", "hardpos", "--data", "synthetic", "--seed", "3", "--preset", "small",
        "--config", str(settings), "--limit", "16", "--dry-run", "method.k=4",
    )  # fmt: skip


def test_a_cell_does_not_depend_on_devices_and_folders() -> None:
    plain = compose("lvs", "synthetic")
    moved = compose("lvs", "synthetic", overrides=("trainer.devices=8", "logging.runs=x"))
    other = compose("lvs", "synthetic", overrides=("optim.lr=0.5",))

    assert cell_hash(plain, NOTHING) == cell_hash(moved, NOTHING)
    assert cell_hash(plain, NOTHING) != cell_hash(other, NOTHING)
    assert cell_hash(plain, NOTHING) != cell_hash(plain, Given(dry_run=True))


def test_a_grid_is_named_by_its_cells_in_any_order(cells: list[Cell]) -> None:
    assert grid_hash(cells) == grid_hash(cells[::-1])
    assert grid_hash(cells) != grid_hash(cells[:2])


def test_no_more_than_so_many_jobs_are_there_at_once(
    begun: Callable[..., Launch], jobs: ToldJobs
) -> None:
    launch = begun(at_once=2)
    first = states(launch)
    jobs.end("0", 0)
    launch.step()

    assert ["queued", "queued", "waiting"] == first
    assert ["done", "running", "queued"] == states(launch)
    assert 3 == len(jobs.commands)


def test_runs_at_once_share_the_gpus(begun: Callable[..., Launch], jobs: ToldJobs) -> None:
    launch = begun(at_once=2, gpus=["3", "5"])
    jobs.end("0", 0)
    launch.step()

    assert ["3", "5", "3"] == [command.gpus for command in jobs.commands.values()]


def test_there_are_as_many_local_jobs_as_gpus_allow() -> None:
    def cell(*overrides: str) -> Cell:
        config = compose("lvs", "synthetic", overrides=overrides)
        return Cell("a", config, (), "0")

    assert 4 == local_jobs([cell()], ["0", "1", "2", "3"])
    assert 2 == local_jobs([cell("trainer.devices=2")], ["0", "1", "2", "3"])
    assert 1 == local_jobs([cell()], [])
    assert 1 == local_jobs([cell("trainer.accelerator=cpu")], ["0", "1", "2", "3"])


def test_a_failed_run_is_told_with_the_last_line_of_its_log(
    begun: Callable[..., Launch], jobs: ToldJobs
) -> None:
    launch = begun()
    jobs.end("1", 2, log="epoch 1\nbench: no such folder\n\n")
    launch.step()

    (cell,) = launch.having(FAILED)
    assert launch.of(cell).error == "bench: no such folder"
    assert 3 == len(jobs.commands)


@pytest.mark.parametrize("code", [75, None], ids=["stopped by a scheduler", "gone without a word"])
def test_a_stopped_run_is_submitted_again_so_often_and_no_more(
    code: int | None, begun: Callable[..., Launch], jobs: ToldJobs
) -> None:
    launch = begun(retries=2)
    for job in ("0", "3", "4"):
        jobs.end(job, code, log="epoch 7\nbench: stopped; give the same command again\n")
        launch.step()

    assert ["failed", "running", "running"] == states(launch)
    assert launch.of(launch.cells[0]).error == "stopped 3 times; epoch 7"
    assert 5 == len(jobs.commands)


def test_a_job_that_somebody_cancelled_is_not_submitted_again(
    begun: Callable[..., Launch], jobs: ToldJobs
) -> None:
    launch = begun()
    jobs.end("0", None, state=CANCELLED)
    launch.step()

    assert launch.of(launch.cells[0]).error == "job 0 was cancelled"


def test_a_run_that_a_signal_killed_has_failed(
    begun: Callable[..., Launch], jobs: ToldJobs
) -> None:
    launch = begun()
    jobs.end("0", -9, log="epoch 3")
    launch.step()

    assert launch.of(launch.cells[0]).error == "killed by signal 9: epoch 3"


def test_a_report_may_come_later_than_the_end_of_its_job(
    begun: Callable[..., Launch], jobs: ToldJobs
) -> None:
    jobs.grace_seconds = 60.0
    launch = begun()
    jobs.states["0"] = OVER
    launch.step()
    before = states(launch)
    jobs.end("0", 0)
    launch.step()

    assert ("queued", "done") == (before[0], states(launch)[0])
    assert 3 == len(jobs.commands)


def test_a_launch_that_starts_anew_watches_the_jobs_that_there_are(
    begun: Callable[..., Launch], jobs: ToldJobs, tmp_path: Path
) -> None:
    begun()
    jobs.end("0", 0)
    record = tmp_path / "runs" / "20260101T000000Z-x" / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    jobs.end("1", 2, log="bench: broken")

    again = begun()

    assert ["done", "failed", "running"] == states(again)
    assert 3 == len(jobs.commands)


def test_what_failed_is_run_again_by_the_next_launch(
    begun: Callable[..., Launch], jobs: ToldJobs
) -> None:
    launch = begun()
    jobs.end("1", 2, log="bench: broken")
    launch.step()

    again = begun()

    assert ["running", "queued", "running"] == states(again)
    assert jobs.commands["1"].words == jobs.commands["3"].words
    assert jobs.commands["1"].report != jobs.commands["3"].report


def test_a_finished_cell_is_skipped_while_its_record_is_there(
    begun: Callable[..., Launch], jobs: ToldJobs, tmp_path: Path
) -> None:
    launch = begun()
    for job in ("0", "1"):
        jobs.end(job, 0)
    launch.step()
    missing = states(begun())
    record = tmp_path / "runs" / "20260101T000000Z-x" / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    for job in ("3", "4"):
        jobs.end(job, 0)
    begun()

    assert ["queued", "queued", "running"] == missing
    assert ["skipped", "skipped", "running"] == states(begun())


def test_jobs_that_were_taken_are_known_although_a_later_one_is_refused(
    cells: list[Cell], tmp_path: Path
) -> None:
    jobs = ToldJobs()
    jobs.most = 1
    with pytest.raises(BenchError, match="no more jobs are taken"):
        Launch(cells, jobs, tmp_path / "out").step()
    jobs.most = None

    again = Launch(cells, jobs, tmp_path / "out")
    again.resume()
    again.step()

    assert len(jobs.commands) == len(cells)
    assert {again.of(cell).job for cell in cells} == set(jobs.commands)


def test_cancelling_ends_every_job(begun: Callable[..., Launch], jobs: ToldJobs) -> None:
    launch = begun(at_once=2)

    assert list(launch.cells[:2]) == launch.cancel()
    assert {"0": OVER, "1": OVER} == jobs.states
    assert ["waiting"] * 3 == states(launch)


def test_jobs_of_another_executor_are_not_lost(
    begun: Callable[..., Launch], cells: list[Cell], tmp_path: Path
) -> None:
    begun()
    elsewhere = ToldJobs()
    elsewhere.name = "slurm"

    with pytest.raises(BenchError, match="3 jobs were submitted with --executor local; give that"):
        Launch(cells, elsewhere, tmp_path / "out").resume()


@pytest.mark.parametrize("content", ["", "[]", '{"cells": {"a": {"colour": 1}}}'])
def test_a_broken_state_is_named_with_what_to_do(
    content: str, cells: list[Cell], jobs: ToldJobs, tmp_path: Path
) -> None:
    (tmp_path / "launch.json").write_text(content)

    with pytest.raises(BenchError, match="cannot be read as the state of a launch .* delete it"):
        Launch(cells, jobs, tmp_path).resume()


def a_command(**settings: object) -> Command:
    return Command((), "", "", "", "", **settings)  # type: ignore[arg-type]


def test_nodes_tasks_and_gpus_of_slurm_follow_the_settings() -> None:
    command = a_command(nodes=2, devices=4)

    assert slurm_parameters(command, {"time": 60, "partition": "gpu"}) == {
        "nodes": 2,
        "tasks_per_node": 4,
        "gpus_per_node": 4,
        "timeout_min": 60,
        "slurm_partition": "gpu",
    }


@pytest.mark.parametrize("command", [a_command(accelerator="cpu"), a_command()])
def test_no_gpus_are_asked_for_where_none_are_wanted(command: Command) -> None:
    options = {} if command.accelerator == "cpu" else {"gpus_per_node": 0}

    assert "gpus_per_node" not in slurm_parameters(command, options)


def test_options_of_slurm_that_contradict_the_settings_are_refused() -> None:
    words = "--slurm nodes=2 contradicts trainer.num_nodes=1; leave it out, or give trainer.num_no"
    with pytest.raises(BenchError, match=words):
        slurm_parameters(a_command(), {"nodes": 2})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("time=5", "partitoin=a"), "unknown option 'partitoin'. Did you mean partition"),
        (("time=1h",), "--slurm time=1h: expected a number, got '1h'"),
        (("time=0",), "--slurm time=0: expected more than that"),
        (("time=5", "mem_gb=nan"), "--slurm mem_gb=nan: expected more than that"),
        (("time=5", "mem_gb=0"), "--slurm mem_gb=0: expected more than that"),
        (("time=5", "partition="), "--slurm partition=: expected more than that"),
        (("mem_gb=8",), "give --slurm time=MINUTES"),
    ],
)
def test_a_wrong_option_of_slurm_is_named(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        slurm_options(words)


def test_options_of_slurm_have_their_types() -> None:
    words = ("time=90", "mem_gb=0.5", "gpus_per_node=0", "account=me")

    assert slurm_options(words) == {
        "time": 90, "mem_gb": 0.5, "gpus_per_node": 0, "account": "me",
    }  # fmt: skip
