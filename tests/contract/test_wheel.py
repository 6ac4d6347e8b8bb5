"""The built wheel: what is in it, and that it runs where there is no checkout."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("benchmark", "datamodules", "methods", "metrics")
SOURCES = (*PACKAGES, "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(
    python: Callable[..., CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", ".")
    done = python(*build, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (folder / "dist").glob("avloc_bench-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != ".gitkeep"
    }

    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert expected == held


def test_the_wheel_installs_the_command(installed: Path) -> None:
    (entry_points,) = installed.glob("avloc_bench-*.dist-info/entry_points.txt")

    assert entry_points.read_text() == "[console_scripts]\nbench = benchmark.cli:main\n"


def test_the_wheel_lists_methods_outside_the_checkout(
    installed: Path, python: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    listing = (
        "import benchmark.cli as cli, sys; code = cli.main(['list', 'methods']); "
        "print(cli.__file__); sys.exit(code)"
    )
    done = python("-c", listing, cwd=tmp_path, path=[installed])

    assert done.returncode == 0, done.stderr
    assert "\nhardpos " in done.stdout
    assert done.stdout.splitlines()[-1] == str(installed / "benchmark" / "cli.py")


def test_the_wheel_runs_a_floor_outside_the_checkout(
    installed: Path, python: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    words = ("run", "--method", "center", "--data", "synthetic", "--dry-run")
    sizes = ("data.train_clips=48", "data.val_clips=16", "data.test_clips=16", "data.image_size=32")
    done = python("-m", "benchmark.cli", *words, *sizes, cwd=tmp_path, path=[installed])

    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("runs/*-center-synthetic-*/record.json"))) == 1


def test_the_wheel_writes_a_report_outside_the_checkout(
    installed: Path, python: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    words = ("report", "--out", "site", "--results", ROOT / "tests" / "records_v1")
    done = python("-m", "benchmark.cli", *words, cwd=tmp_path, path=[installed])

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("index.html: runs: 2, boards: 1, galleries: 0\n")
    assert (tmp_path / "site" / "assets" / "report.css").is_file()
