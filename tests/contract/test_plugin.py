"""A package of somebody else: installed, listed, run, and broken without harm to the rest."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

PACKAGE = Path(__file__).parent / "plugin_package"
TINY_DATA = ("data.train_clips=48", "data.val_clips=16", "data.test_clips=16", "data.image_size=32")


@pytest.fixture(scope="module")
def installed(
    python: Callable[..., CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the plugin and its metadata, as an installer leaves it."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PACKAGE, folder / "source")
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", ".")
    done = python(*build, cwd=folder / "source")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def bench_with_plugin(
    installed: Path, python: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> Callable[..., CompletedProcess[str]]:
    """`bench` in a process that finds the plugin."""

    def run(*words: str) -> CompletedProcess[str]:
        return python("-m", "benchmark.cli", *words, cwd=tmp_path, path=[installed])

    return run


def the_record(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("runs/*/record.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_a_plugin_is_listed_with_its_package(
    bench_with_plugin: Callable[..., CompletedProcess[str]],
) -> None:
    listed = json.loads(bench_with_plugin("list", "methods", "--json").stdout)

    assert {"name": "loudness_disc", "summary": "plugin of avloc-loudness"} in listed


def test_a_plugin_method_runs_on_synthetic_beside_a_broken_one(
    bench_with_plugin: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    done = bench_with_plugin(
        "run", "--method", "loudness_disc", "--data", "synthetic", "--dry-run", *TINY_DATA
    )

    assert done.returncode == 0, done.stderr
    assert the_record(tmp_path)["distribution"] == {"name": "avloc-loudness", "version": "0.3.0"}


def test_a_plugin_data_set_runs_with_a_plugin_method(
    bench_with_plugin: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    done = bench_with_plugin(
        "run", "--method", "loudness_disc", "--data", "bright_squares", "--dry-run",
        "method.image_size=32",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert the_record(tmp_path)["n"] == 12


def test_a_broken_plugin_is_named_with_its_package(
    bench_with_plugin: Callable[..., CompletedProcess[str]],
) -> None:
    done = bench_with_plugin("run", "--method", "broken_disc", "--data", "synthetic")

    assert done.returncode == 2
    assert done.stderr == (
        "bench: method 'broken_disc' of avloc-loudness cannot be imported from "
        "module_that_is_not_there:BrokenDisc (ModuleNotFoundError: No module named "
        "'module_that_is_not_there'); mend or uninstall that package\n"
    )
