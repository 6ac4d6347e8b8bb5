"""`bench launch` from a grid to records: the same scores, skipped, interrupted, cancelled."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.stages import locked

Bench = Callable[..., Any]
Tiny = Callable[..., tuple[str, ...]]
GRID = ("--data", "synthetic", "--seeds", "2", "--json")
FLOOR = ("data.train_clips=1", "data.val_clips=1", "data.test_clips=60", "data.image_size=32")
EPOCHS_TO_INTERRUPT = 40


def launched(bench: Bench, *words: object, code: int = 0) -> dict[str, Any]:
    """What a launch says at its end."""
    done = bench("launch", *words)
    assert done.code == code, done.err
    said: dict[str, Any] = json.loads(done.out)
    return said


@pytest.fixture(scope="module")
def words(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A grid of two cells, with its folder of runs as the last word."""
    runs = tmp_path_factory.mktemp("launched") / "runs"
    settings = tiny("trainer.max_epochs=1", "data.test_clips=60")
    return (*GRID, "--method", "lvs_vanilla", *settings, f"logging.runs={runs}")


@pytest.fixture(scope="module")
def ended(bench: Bench, words: tuple[str, ...]) -> dict[str, Any]:
    return launched(bench, *words, "--jobs", 2)


def runs_of(words: tuple[str, ...]) -> Path:
    return Path(words[-1].partition("=")[2])


def test_every_cell_of_a_grid_is_run(ended: dict[str, Any], words: tuple[str, ...]) -> None:
    cells = ended["cells"]

    assert [("lvs_vanilla", 0, "done"), ("lvs_vanilla", 1, "done")] == [
        (cell["method"], cell["seed"], cell["state"]) for cell in cells
    ]
    for cell in cells:
        record = json.loads((runs_of(words) / cell["record"] / "record.json").read_text())
        assert (record["seed"], record["metrics"]) == (cell["seed"], cell["metrics"])


def test_a_launched_run_has_the_bytes_of_bench_run(
    ended: dict[str, Any], words: tuple[str, ...], bench: Bench, tmp_path: Path
) -> None:
    settings = words[words.index("--method") : -1]
    alone = bench("run", *settings, "--data", "synthetic", "--seed", 1, "--json",
                  f"logging.runs={tmp_path}")  # fmt: skip

    record = json.loads(alone.out)
    launched_record = ended["cells"][1]["record"]
    for name in ("scores.csv", "predictions.npz", "predictions_swap.npz"):
        expected = (tmp_path / record["id"] / name).read_bytes()
        assert expected == (runs_of(words) / launched_record / name).read_bytes()
    folder = runs_of(words) / launched_record
    there = json.loads((folder / "record.json").read_text())
    assert (record["config_hash"], record["overrides"]) == (
        there["config_hash"],
        there["overrides"],
    )


def test_the_same_launch_again_submits_nothing(
    ended: dict[str, Any], words: tuple[str, ...], bench: Bench
) -> None:
    jobs = sorted((Path(ended["out"]) / "submitit").iterdir())

    again = launched(bench, *words)

    assert ["skipped", "skipped"] == [cell["state"] for cell in again["cells"]]
    assert [cell["record"] for cell in ended["cells"]] == [
        cell["record"] for cell in again["cells"]
    ]
    assert jobs == sorted((Path(ended["out"]) / "submitit").iterdir())


def test_a_larger_grid_skips_the_cells_of_the_smaller(
    ended: dict[str, Any], words: tuple[str, ...], bench: Bench, tmp_path: Path
) -> None:
    more = launched(bench, *words, "--method", "lvs_vanilla", "--out", tmp_path, "--seed", 1,
                    "--seeds", 1)  # fmt: skip

    assert [(1, "skipped")] == [(cell["seed"], cell["state"]) for cell in more["cells"]]


def test_the_folder_of_another_grid_is_refused(
    ended: dict[str, Any], words: tuple[str, ...], bench: Bench
) -> None:
    done = bench("launch", *words, "--seeds", 3, "--out", ended["out"])

    assert (2, 1) == (done.code, done.err.count("\n"))
    assert "launch.json is of another grid, of 2 cells such as lvs_vanilla on synthetic, seed" in (
        done.err
    )


def test_a_run_that_fails_is_told_with_its_error_and_log(
    bench: Bench, tmp_path: Path, tiny: Tiny
) -> None:
    said = launched(bench, *GRID, "--method", "lvs", *tiny("data.batch_size=1"), "--seeds", 1,
                    f"logging.runs={tmp_path}", code=3)  # fmt: skip

    (cell,) = said["cells"]
    assert ("failed", 1) == (cell["state"], cell["attempts"])
    assert cell["error"].startswith("bench: ")
    assert "at least 2 clips in the global batch" in cell["error"]
    assert cell["error"] in Path(cell["log"]).read_text()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            ["trainer.select=best"],
            "trainer.select='best' is unknown; use last, val_loss or val_ciou",
        ),
        (["method.backbone=vgg"], "lvs on synthetic, seed 0: method.backbone='vgg' is unknown"),
        (["data.augmentation=mixup"], "lvs on synthetic, seed 0: data.augmentation='mixup' is"),
        (
            ["method.backbone=resnet18", "method.pretrained=w.pt"],
            "lvs on synthetic, seed 0: method.pretrained='w.pt' is no file",
        ),
    ],
)
def test_a_value_that_no_run_could_take_costs_no_job(
    settings: list[str], words: str, bench: Bench, tmp_path: Path, tiny: Tiny
) -> None:
    done = bench("launch", *GRID, "--method", "lvs", *tiny(*settings), f"logging.runs={tmp_path}")

    assert (2, 1) == (done.code, done.err.count("\n"))
    assert words in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def long(tiny: Tiny, tmp_path: Path, bench: Bench) -> Iterator[Callable[[int], tuple[str, ...]]]:
    """``long(epochs)``: a launch of one run that is interrupted; no job of it is left behind."""
    made: list[tuple[str, ...]] = []

    def launch(epochs: int) -> tuple[str, ...]:
        settings = tiny(f"trainer.max_epochs={epochs}")
        made.append(("launch", "--method", "lvs_vanilla", "--data", "synthetic", "--json",
                     *settings, "--out", str(tmp_path / "out"),
                     f"logging.runs={tmp_path / 'runs'}"))  # fmt: skip
        return made[-1]

    yield launch
    for words in made:
        bench(*words, "--cancel")


def interrupted(words: tuple[str, ...], number: signal.Signals) -> "subprocess.Popen[str]":
    """A launch in a process of its own that gets a signal when its run has trained an epoch."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmark.cli", *words], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while not list(runs_of(words).glob("*/training/last.ckpt")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does, to all that it has started
    else:
        process.send_signal(number)
    return process


def job_of(words: tuple[str, ...]) -> dict[str, Any]:
    out = Path(words[words.index("--out") + 1])
    (cell,) = json.loads((out / "launch.json").read_text())["cells"].values()
    assert isinstance(cell, dict)
    return cell


def test_a_launch_that_is_interrupted_leaves_its_job_and_watches_it_again(
    long: Callable[[int], tuple[str, ...]], bench: Bench
) -> None:
    words = long(EPOCHS_TO_INTERRUPT)
    process = interrupted(words, signal.SIGINT)
    said_last = process.communicate(timeout=600)[1]  # its job keeps no stream of it open
    before = job_of(words)

    said = launched(bench, *words[1:])

    assert (75, "running") == (process.returncode, before["state"])
    assert "1 job goes on without this command and 0 cells wait for the next one" in said_last
    (cell,) = said["cells"]
    assert ("done", 1) == (cell["state"], cell["attempts"])


def test_a_cancelled_job_ends_and_leaves_a_run_that_can_be_resumed(
    long: Callable[[int], tuple[str, ...]], bench: Bench
) -> None:
    words = long(100_000)
    process = interrupted(words, signal.SIGKILL)
    process.communicate(timeout=600)

    cancelled = bench(*words, "--cancel")

    assert (0, '{"cancelled": ["lvs_vanilla on synthetic, seed 0"]}\n') == cancelled[:2]
    (folder,) = runs_of(words).glob("*-lvs_vanilla-*")
    with locked(folder, wait=False):  # nobody is in it any more
        assert (folder / "training" / "last.ckpt").exists()
    assert not (folder / "record.json").exists()
    assert ("waiting", None) == (job_of(words)["state"], job_of(words)["job"])


def test_a_grid_is_one_job_array_of_slurm(bench: Bench, slurm: Path, tmp_path: Path) -> None:
    said = launched(
        bench, *GRID, "--method", "center", *FLOOR, f"logging.runs={tmp_path / 'runs'}",
        "--executor", "slurm", "--slurm", "time=90", "--slurm", "partition=gpu", "--jobs", 1,
        "trainer.accelerator=cpu",
    )  # fmt: skip

    assert ["done", "done"] == [cell["state"] for cell in said["cells"]]
    options = {line.removeprefix("#SBATCH --") for line in slurm.read_text().splitlines()}
    assert {"array=0-1%1", "time=90", "partition=gpu", "nodes=1", "ntasks-per-node=1"} <= options
    assert not any("gpus" in option for option in options)


def test_slurm_that_is_not_there_is_said_before_anything_is_made(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    done = bench("launch", *GRID, "--method", "center", f"logging.runs={tmp_path / 'runs'}",
                 "--executor", "slurm", "--slurm", "time=90")  # fmt: skip

    assert (2, "") == done[:2]
    assert (
        "bench: --executor slurm needs the command sbatch, which is not on PATH; log in to a "
        "machine that submits jobs, or use --executor local\n"
    ) == done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "lvs", "--method", "hardpss"), "unknown method 'hardpss'. Did you mean"),
        (("--method", "lvs", "--data", "vgss"), "unknown data set 'vgss'. Did you mean vggss"),
        (("--method", "lvs", "--method", "center", "method.k=3"), "unknown setting 'method.k'"),
        ((), "--method is missing; see bench list methods"),
        (("--method", "lvs", "seed=3"), "give --seed S and --seeds N, not seed=S"),
        (("--method", "lvs", "--rows", "a"), "choose from an experiment; give --experiment NAME"),
        (("--method", "lvs", "--slurm", "time=3"), "--slurm is for --executor slurm"),
        (("--method", "lvs", "--jobs", "0"), "--jobs must be at least 1, got 0"),
        (("--experiment", "hardpos_table1"), "--data is given by the rows of the experiment"),
    ],
)
def test_a_mistake_is_told_before_anything_is_submitted(
    words: tuple[str, ...], message: str, bench: Bench, tmp_path: Path
) -> None:
    done = bench("launch", "--data", "synthetic", *words, f"logging.runs={tmp_path / 'runs'}")

    assert (2, "", 1) == (done.code, done.out, done.err.count("\n"))
    assert message in done.err
    assert [] == list(tmp_path.iterdir())


def test_the_rows_of_an_experiment_that_have_records_are_skipped(
    bench: Bench, tmp_path: Path
) -> None:
    said = launched(bench, "--experiment", "hardpos_table1", "--on", "synthetic", "--json",
                    f"logging.runs={tmp_path}")  # fmt: skip

    assert {"skipped"} == {cell["state"] for cell in said["cells"]}
    assert all("ciou@0.5" in cell["metrics"] for cell in said["cells"])
    assert "hardpos, seed 2" in [cell["cell"] for cell in said["cells"]]


def test_where_no_job_runs_nothing_is_cancelled(bench: Bench, slurm: Path, tmp_path: Path) -> None:
    words = ("launch", "--method", "lvs", "--data", "synthetic", "--executor", "slurm",
             "--slurm", "time=90", f"logging.runs={tmp_path}")  # fmt: skip

    assert (0, "No job is running.\n") == bench(*words, "--cancel")[:2]
    assert (0, '{"cancelled": []}\n') == bench(*words, "--cancel", "--json")[:2]
    assert not slurm.exists()
