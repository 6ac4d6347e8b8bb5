"""One cache, small settings and a way to call `bench`, shared by the contract tests."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from benchmark.cli import main

TINY = (
    "data.train_clips=48",
    "data.val_clips=16",
    "data.test_clips=16",
    "data.image_size=32",
    "data.batch_size=16",
    "method.image_size=32",
    "trainer.max_epochs=2",
)
"""Settings under which a method learns nothing, on `synthetic`, in a second."""


SBATCH = """
import os, re, shutil, subprocess, sys
shutil.copy(sys.argv[1], os.environ["FAKE_SLURM"])
last = int(re.search(r"--array=0-([0-9]+)", open(sys.argv[1]).read())[1])
for task in range(last + 1):
    own = {"JOB_ID": f"{80 + task}", "ARRAY_JOB_ID": "77", "ARRAY_TASK_ID": f"{task}",
           "NODEID": "0", "PROCID": "0", "LOCALID": "0", "NTASKS": "1", "JOB_NUM_NODES": "1"}
    environment = os.environ | {f"SLURM_{name}": value for name, value in own.items()}
    subprocess.Popen(["bash", os.environ["FAKE_SLURM"]], env=environment,
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("Submitted batch job 77")
"""
SRUN = """
import os, sys
words = sys.argv[1:]
names = {"%A": os.environ["SLURM_ARRAY_JOB_ID"], "%a": os.environ["SLURM_ARRAY_TASK_ID"], "%t": "0"}
for option, descriptor in (("--output", 1), ("--error", 2)):
    path = words[words.index(option) + 1]
    for mark, name in names.items():
        path = path.replace(mark, name)
    os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND), descriptor)
command = words[words.index("--error") + 2:]
os.execvp(command[0], command)
"""
SACCT = """
print("JobID|State|NodeList")
for task in range(2):
    print(f"77_{task}|RUNNING|node")
"""


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Bench = Callable[..., Outcome]


@pytest.fixture(scope="session")
def tiny() -> Callable[..., tuple[str, ...]]:
    """``tiny(*changes)``: the settings of a run that takes a second, some of them changed."""

    def settings(*changes: str) -> tuple[str, ...]:
        changed = {word.partition("=")[0] for word in changes}
        return (*(word for word in TINY if word.partition("=")[0] not in changed), *changes)

    return settings


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def surroundings(shared_cache: Path) -> Iterator[Path]:
    """A cache of the tests' own, and one thread here and in every process started from here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVLOC_CACHE", str(shared_cache))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield shared_cache
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def bench() -> Bench:
    """Runs a command line in this process; leaves its signal handlers as they were."""

    def run(*words: object) -> Outcome:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        out, err = StringIO(), StringIO()
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = main([str(word) for word in words])
        except SystemExit as stop:  # argparse leaves this way
            code = int(stop.code or 0)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return Outcome(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python in a process of its own, with chosen folders first on its path."""

    def run(
        *arguments: object, cwd: Path, path: Sequence[Path] = (), home: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        folders = [*map(str, path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}
        if home is not None:
            environment["HOME"] = str(home)
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
        )

    return run


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """``free_port()``: a port of this machine on which nothing listens."""

    def port() -> int:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            number: int = one.getsockname()[1]
            return number

    return port


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for SLURM that starts every task at once; where it puts the batch file."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)):
        (commands / name).write_text(f"#!{sys.executable}{text}")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path / "batch.sh"))
    return tmp_path / "batch.sh"
