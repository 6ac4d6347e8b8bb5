"""Every command that the README shows is run; training commands on few clips."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
]
BENCH = [line.removeprefix("uv run bench ") for line in LINES if line.startswith("uv run bench ")]
Bench = Callable[..., Any]
TINY = ["data.train_clips=64", "data.val_clips=8", "data.test_clips=32"]


def test_readme_shows_only_make_and_bench():
    assert [] == [line for line in LINES if not line.startswith(("make ", "uv run bench "))]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_make_has_the_targets_of_the_readme(line: str):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert re.search(rf"^{line.removeprefix('make ')}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("line", [line for line in BENCH if line.startswith(("list", "show"))])
def test_looking_commands_run(line: str, bench: Bench):
    done = bench(*shlex.split(line))

    assert (0, True) == (done.code, bool(done.out))


@pytest.mark.parametrize("line", [line for line in BENCH if "--data synthetic" in line])
def test_runs_on_synthetic_go_through(
    line: str, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    assert 0 == bench(*shlex.split(line), "--dry-run", *TINY).code


def test_the_miniature_of_vggss_is_written_and_run(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    write, run = [line for line in BENCH if "vggss" in line and not line.startswith("show")]

    assert 0 == bench(*shlex.split(write), "--clips", "48").code
    assert 0 == bench(*shlex.split(run), "--dry-run").code


def test_the_committed_leaderboard_is_current(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)

    assert "leaderboard --check" in BENCH
    assert 0 == bench("leaderboard", "--check").code
