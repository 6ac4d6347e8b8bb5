"""Packages of somebody else: installed, listed, checked, run, and broken without harm to others."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import cv2
import numpy as np
import pytest
import soundfile

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY_DATA = ("data.train_clips=48", "data.val_clips=16", "data.test_clips=16", "data.image_size=32",
             "data.batch_size=16", "method.image_size=32")  # fmt: skip
BROKEN = "[bench.methods]\nbroken_disc = module_that_is_not_there:BrokenDisc\n"
BenchWithPlugins = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(
    python: Callable[..., CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with both examples and a broken package, as an installer leaves them."""
    folder = tmp_path_factory.mktemp("plugins")
    for example in ("your_method", "your_data"):
        shutil.copytree(EXAMPLES / example, folder / example)
        build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", ".")
        done = python(*build, cwd=folder / example)
        assert done.returncode == 0, done.stdout + done.stderr
    for wheel in (folder / "dist").glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder / "site")
    broken = folder / "site" / "avloc_broken-0.3.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: avloc-broken\nVersion: 0.3.0\n")
    (broken / "entry_points.txt").write_text(BROKEN)
    return folder / "site"


@pytest.fixture
def bench_with_plugins(
    installed: Path, python: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> BenchWithPlugins:
    """`bench` in a process that finds the plugins."""

    def run(*words: str) -> CompletedProcess[str]:
        return python("-m", "benchmark.cli", *words, cwd=tmp_path, path=[installed])

    return run


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    """A root of the data set of the example: bright squares on black, and noise."""
    root, draws = tmp_path / "own", np.random.default_rng(0)
    for folder in ("frames", "sounds"):
        (root / folder).mkdir(parents=True)
    boxes = []
    ids = [f"clip_{number:02d}" for number in range(30)]
    for clip_id in ids:
        left, top = draws.integers(0, 40, size=2)
        frame = np.zeros((64, 64, 3), np.uint8)
        frame[top : top + 20, left : left + 20] = 255
        cv2.imwrite(str(root / "frames" / f"{clip_id}.jpg"), frame)
        soundfile.write(root / "sounds" / f"{clip_id}.wav", draws.uniform(-1, 1, 16000), 16000)
        boxes.append([clip_id, *(np.array([left, top, left + 20, top + 20]) / 64)])
    rows = [",".join(map(str, row)) for row in boxes[20:]]
    (root / "boxes.csv").write_text("\n".join(["id,xmin,ymin,xmax,ymax", *rows]))
    (root / "train.txt").write_text("\n".join(ids[:21]))  # the last of them is a test clip
    (root / "sounds" / "clip_29.wav").unlink()
    return root


def the_record(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("runs/*/record.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_a_plugin_is_listed_with_its_package(bench_with_plugins: BenchWithPlugins) -> None:
    listed = json.loads(bench_with_plugins("list", "methods", "--json").stdout)

    assert {"name": "your_method", "summary": "plugin of your-method"} in listed


def test_the_method_of_the_tutorial_keeps_the_contract(
    bench_with_plugins: BenchWithPlugins,
) -> None:
    done = bench_with_plugins("check", "--method", "your_method", "--json")

    assert done.returncode == 0, done.stdout
    assert {each["kept"] for each in json.loads(done.stdout)["checks"]} == {True}


def test_a_plugin_method_runs_on_synthetic_beside_a_broken_one(
    bench_with_plugins: BenchWithPlugins, tmp_path: Path
) -> None:
    done = bench_with_plugins(
        "run", "--method", "your_method", "--data", "synthetic", "--dry-run", *TINY_DATA
    )

    assert done.returncode == 0, done.stderr
    assert the_record(tmp_path)["distribution"] == {"name": "your-method", "version": "0.1.0"}


def test_a_plugin_data_set_runs_with_a_plugin_method(
    bench_with_plugins: BenchWithPlugins, tmp_path: Path, own_data: Path
) -> None:
    done = bench_with_plugins(
        "run", "--method", "your_method", "--data", "your_data", "--preset", "small",
        "data.batch_size=8", "method.image_size=32", "trainer.max_epochs=1",
        f"data.root={own_data}",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    record = the_record(tmp_path)
    assert (record["n"], record["n_expected"], record["missing"]) == (9, 10, ["clip_29"])
    assert record["leakage"]["clips"] == 1


def test_a_broken_plugin_is_named_with_its_package(bench_with_plugins: BenchWithPlugins) -> None:
    done = bench_with_plugins("check", "--method", "broken_disc")

    assert done.returncode == 2
    assert done.stderr == (
        "bench: method 'broken_disc' of avloc-broken cannot be imported from "
        "module_that_is_not_there:BrokenDisc (ModuleNotFoundError: No module named "
        "'module_that_is_not_there'); mend or uninstall that package\n"
    )
