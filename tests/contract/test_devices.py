"""One run on several processes: the same scores, one record, one table."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch.distributed as dist

from benchmark.cli import main

Bench = Callable[..., Any]
Tiny = Callable[..., tuple[str, ...]]
OnProcesses = Callable[..., list[Any]]
RESULTS = ("scores.csv", "predictions.npz", "predictions_swap.npz")
CPU = ("trainer.accelerator=cpu", "trainer.strategy=ddp")


class Trained(NamedTuple):
    """A command without the folder of its runs, and what it left on one process."""

    words: tuple[str, ...]
    folder: Path


def outcome(words: list[str], launched: dict[str, str]) -> tuple[int, str, str]:
    """Code and output of a command line on this process; called on every rank.

    Args:
        words: of the command.
        launched: variables of the environment that a launcher sets; with any, there is no group
            before the command makes one.
    """
    if launched:
        dist.destroy_process_group()
        rank = os.environ["RANK"]
        for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE"):
            del os.environ[name]
        os.environ.update({name: value.replace("{rank}", rank) for name, value in launched.items()})
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(words)
    if launched:
        if dist.is_initialized():
            dist.destroy_process_group()
        dist.init_process_group(  # the one that the test started with
            "gloo", init_method=f"file://{launched['AFTER']}", rank=int(rank), world_size=2
        )
    return code, out.getvalue(), err.getvalue()


def on_all(found: list[tuple[int, str, str]]) -> list[str]:
    """What each process printed, where all of them succeeded."""
    assert {0} == {code for code, _, _ in found}, found
    return [out for _, out, _ in found]


@pytest.fixture
def torchrun(tmp_path: Path, free_port: Callable[[], int]) -> dict[str, str]:
    """What torchrun tells each of two processes; the first of them keeps the store."""
    return {"RANK": "{rank}", "LOCAL_RANK": "{rank}", "GROUP_RANK": "0", "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
            "TORCHELASTIC_RUN_ID": "none", "AFTER": str(tmp_path / "after")}  # fmt: skip


@pytest.fixture
def slurm(tmp_path: Path, free_port: Callable[[], int]) -> dict[str, str]:
    """What srun tells each of two tasks on a node."""
    return {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1",
            "SLURM_PROCID": "{rank}", "SLURM_LOCALID": "{rank}", "SLURM_NODEID": "0",
            "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "avloc", "SLURM_NODELIST": "127.0.0.1",
            "MASTER_PORT": str(free_port()), "AFTER": str(tmp_path / "after")}  # fmt: skip


def results_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


def folder_of(runs: Path) -> Path:
    (record,) = runs.glob("*/record.json")
    return record.parent


@pytest.fixture(scope="module", params=["16", "3", "1"])
def boxes(
    request: pytest.FixtureRequest, bench: Bench, tiny: Tiny,
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:  # fmt: skip
    """Boxes, isolated sounds and a decision on each of some test clips."""
    settings = tiny(f"data.test_clips={request.param}", "data.sources=2", "data.batch_size=12",
                    "method.pretrained=null", "method.embedding=32", "method.max_proposals=16",
                    "trainer.max_epochs=1")  # fmt: skip
    words = ("run", "--method", "proposal", "--data", "synthetic", *settings)
    runs = tmp_path_factory.mktemp("boxes")
    done = bench(*words, f"logging.runs={runs}")
    assert done.code == 0, done.err
    return Trained(words, folder_of(runs))


@pytest.mark.parametrize("devices", [2, 3])
def test_scores_of_the_same_weights_are_the_same_bytes(
    devices: int, boxes: Trained, on_processes: OnProcesses, tmp_path: Path
) -> None:
    again = tmp_path / boxes.folder.name
    shutil.copytree(boxes.folder, again)
    for name in ("record.json", *RESULTS):
        (again / name).unlink()

    command = [*boxes.words, f"logging.runs={tmp_path}", f"trainer.devices={devices}", *CPU]
    printed = on_all(on_processes(devices, outcome, command, {}))

    assert ["Record:" in text for text in printed] == [True, *[False] * (devices - 1)]
    assert results_of(boxes.folder) == results_of(again)


@pytest.fixture(scope="module")
def hardpos(bench: Bench, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    words = ("run", "--method", "hardpos", "--data", "synthetic", *tiny("trainer.max_epochs=1"))
    runs = tmp_path_factory.mktemp("hardpos")
    done = bench(*words, f"logging.runs={runs}")
    assert done.code == 0, done.err
    return Trained(words, folder_of(runs))


@pytest.mark.parametrize("launcher", ["torchrun", "slurm"])
def test_processes_started_from_outside_make_one_new_run(
    launcher: str, hardpos: Trained, on_processes: OnProcesses, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    launched = request.getfixturevalue(launcher)
    shutil.copytree(hardpos.folder, tmp_path / "runs" / hardpos.folder.name)
    command = [*hardpos.words, f"logging.runs={tmp_path / 'runs'}", "--fresh", "trainer.devices=2",
               *CPU]  # fmt: skip
    printed = on_all(on_processes(2, outcome, command, launched))

    old, new = sorted(path.parent.name for path in (tmp_path / "runs").glob("*/record.json"))
    assert (old, printed[1]) == (hardpos.folder.name, "")
    assert f"{new}/record.json" in printed[0].replace("\n", "")
    folders = {path.name for path in (tmp_path / "runs").glob("*-hardpos-*")}
    assert {old, new} == folders


def test_torchrun_prints_one_table_and_writes_one_record(tiny: Tiny, tmp_path: Path) -> None:
    words = ["run", "--method", "lvs", "--data", "synthetic", *tiny("trainer.max_epochs=1"),
             f"logging.runs={tmp_path}", "trainer.devices=2", *CPU]  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
               "-m", "benchmark.cli"]  # fmt: skip
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=600)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Record:") == 1
    assert str(folder_of(tmp_path)) in done.stdout.replace("\n", "")
    record = json.loads((folder_of(tmp_path) / "record.json").read_text())
    assert (record["n"], record["environment"]["processes"]) == (16, 2)


def test_neighbours_are_mined_together(
    on_processes: OnProcesses, torchrun: dict[str, str], tmp_path: Path
) -> None:
    features = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    np.save(tmp_path / "f.npy", features)
    command = ["mine", "--features", str(tmp_path / "f.npy"), "--k", "5", "--json"]
    printed = on_all(on_processes(2, outcome, command, torchrun))

    scores = features.astype(np.float64) @ features.T
    np.fill_diagonal(scores, -np.inf)
    found = np.load(tmp_path / "f-neighbours.npy")
    assert printed[1] == ""
    assert json.loads(printed[0])[0]["made"] == 200
    assert found.tolist() == np.argsort(-scores, 1)[:, :5].tolist()


def test_another_number_of_processes_than_devices_is_refused(
    hardpos: Trained, on_processes: OnProcesses, torchrun: dict[str, str], tmp_path: Path
) -> None:
    command = [*hardpos.words, f"logging.runs={tmp_path / 'runs'}"]
    found = on_processes(2, outcome, command, torchrun)

    assert [2, 2] == [code for code, _, _ in found]
    assert not (tmp_path / "runs").exists()
    for _, _, told in found:
        assert "bench: torchrun started 2 processes, but trainer.devices=1 on" in told
