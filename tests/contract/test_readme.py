"""Every command that the README shows is run; training commands on few clips."""

import json
import re
import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

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


@pytest.mark.parametrize(
    "line", [line for line in BENCH if line.startswith(("list", "show", "table"))]
)
def test_looking_commands_run(
    line: str, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    done = bench(*shlex.split(line))

    assert (0, True) == (done.code, bool(done.out))


@pytest.mark.parametrize(
    "line", [line for line in BENCH if line.startswith("run") and "--data synthetic" in line]
)
def test_runs_on_synthetic_go_through(
    line: str, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    assert 0 == bench(*shlex.split(line), "--dry-run", *TINY).code


def test_the_miniature_of_vggss_is_written_inspected_and_run(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    write, inspect, run = [
        line
        for line in BENCH
        if "vggss" in line and line.startswith(("sample-data", "doctor", "run"))
    ]

    assert 0 == bench(*shlex.split(write), "--clips", "48").code
    assert 0 == bench(*shlex.split(inspect)).code
    assert 0 == bench(*shlex.split(run), "--dry-run").code


def test_frames_and_sounds_are_cut_from_videos(
    bench: Bench,
    made_video: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    made_video(tmp_path / "videos" / "-bCdEfGhIjK_000001.mp4", seconds=6, rate=4)
    (line,) = [line for line in BENCH if line.startswith("prepare")]

    assert 0 == bench(*shlex.split(line)).code
    assert (tmp_path / "prepared" / "frames" / "-bCdEfGhIjK_000001.jpg").is_file()
    assert (tmp_path / "prepared" / "audio" / "-bCdEfGhIjK_000001.wav").is_file()


def test_pages_that_the_readme_names_are_there():
    pages = re.findall(r"\]\((docs/[^)]*|[A-Za-z]+\.md)\)", README)

    assert pages
    assert [] == [page for page in pages if not (ROOT / page).is_file()]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the commands about maps name: maps, annotations, two runs."""
    folder = tmp_path_factory.mktemp("readme")
    rng = np.random.default_rng(0)
    entries = [
        {"file": f"AbCdEfGh{row:03d}_000001", "class": "bell", "bbox": [[0.1, 0.2, 0.7, 0.8]]}
        for row in range(60)
    ]
    (folder / "vggss.json").write_text(json.dumps(entries))
    maps = rng.random((60, 7, 7), dtype=np.float32)
    np.savez(folder / "maps.npz", id=np.array([entry["file"] for entry in entries]), heatmap=maps)
    return folder


@pytest.mark.parametrize(
    "line", [line for line in BENCH if line.startswith("score") and "maps.npz" in line]
)
def test_scoring_a_file_of_maps_goes_through(
    line: str, scored: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(scored)

    done = bench(*shlex.split(line), "--no-floors")

    assert (0, True) == (done.code, "ciou@0.5" in done.out)


def test_runs_are_scored_again_and_compared(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    again, compare = [
        line for line in BENCH if "runs/<folder>" in line and line.startswith(("score", "compare"))
    ]
    for seed in ("0", "1"):
        words = ("run", "--method", "lvs_vanilla", "--data", "synthetic", "--seed", seed)
        assert 0 == bench(*words, "--dry-run", *TINY).code
    first, second = sorted((tmp_path / "runs").iterdir())
    names = {"runs/<folder>": str(first), "runs/<other>": str(second)}

    for line in (again, compare):
        assert 0 == bench(*(names.get(word, word) for word in shlex.split(line))).code


@pytest.mark.parametrize("line", [line for line in BENCH if line.startswith("predict")])
def test_pictures_sounds_and_videos_of_one_s_own_are_answered(
    line: str,
    bench: Bench,
    made_video: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    words = ("run", "--method", "lvs_vanilla", "--data", "synthetic", "--dry-run", *TINY)
    assert 0 == bench(*words).code
    (folder,) = (tmp_path / "runs").iterdir()
    words = shlex.split(line.replace("runs/<folder>", f"runs/{folder.name}"))
    rng = np.random.default_rng(0)
    for option, name in pairwise(words):
        if option == "--image":
            Image.fromarray(rng.integers(256, size=(48, 64, 3), dtype=np.uint8)).save(name)
        elif option == "--sound":
            soundfile.write(name, rng.normal(size=16000) / 8, 16000)
        elif name.endswith(".mp4"):
            made_video(tmp_path / name, seconds=2, rate=4)

    done = bench(*words)

    assert (0, True) == (done.code, "Picture: " in done.out)


def test_the_rows_of_an_experiment_that_have_records_are_not_run_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (line,) = [line for line in BENCH if "--experiment" in line]

    done = bench(*shlex.split(line))

    assert 0 == done.code
    assert not (tmp_path / "runs").exists()


def test_the_committed_leaderboard_is_current(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)

    assert "leaderboard --check" in BENCH
    assert 0 == bench("leaderboard", "--check").code
