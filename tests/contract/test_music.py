"""Mixtures of MUSIC from a miniature to scores of each instrument, and the same scored again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bench = Callable[..., Any]
SMALL = (
    "method.image_size=32", "data.batch_size=8", "data.test_clips=12", "data.generator_seed=3",
    "data.num_workers=0", "trainer.max_epochs=1",
)  # fmt: skip
OF_SOURCES = {"cap", "piap", "ciou@0.5", "swap_cap", "swap_ciou@0.5"}


@pytest.fixture(scope="module")
def root(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music") / "root"
    assert bench("sample-data", "music_synthetic", "--root", folder, "--clips", 24).code == 0
    return folder


@pytest.fixture(scope="module")
def run_folder(bench: Bench, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    done = bench("run", "--method", "lvs_vanilla", "--data", "music_synthetic", "--preset", "small",
                 *SMALL, f"data.root={root}", f"logging.runs={runs}")  # fmt: skip
    assert done.code == 0, done.err
    return next(runs.glob("*-lvs_vanilla-music_synthetic-*"))


def boards(bench: Bench, run_folder: Path, root: Path, *words: str) -> dict[str, Any]:
    done = bench("score", "--predictions", run_folder, "--data", "music_synthetic", "--root", root,
                 "--no-floors", "--json", *words)  # fmt: skip
    assert done.code == 0, done.err
    return {board["protocol"]: board for board in map(json.loads, done.out.splitlines())}


def test_a_run_is_scored_by_instrument(run_folder: Path) -> None:
    record = json.loads((run_folder / "record.json").read_text())

    assert (record["n"], record["n_expected"]) == (12, 12)
    assert record["metrics"].keys() >= OF_SOURCES - {"swap_cap"}
    assert record["metrics"]["piap"] >= record["metrics"]["cap"] > 0
    assert record["lists"]["test"]["name"] == "music-synthetic-v1-seed3"
    assert "a miniature made by bench sample-data" in record["reasons"]


def test_a_run_scored_again_finds_its_mixtures_and_its_figures(
    bench: Bench, run_folder: Path, root: Path
) -> None:
    record = json.loads((run_folder / "record.json").read_text())

    found = boards(bench, run_folder, root, "--protocol", "bench-v1")["bench-v1"]

    assert (found["n"], found["n_expected"]) == (12, 12)
    assert record["metrics"].items() <= found["metrics"].items()


def test_the_rules_of_the_field_see_sounding_and_silent_instruments(
    bench: Bench, run_folder: Path, root: Path
) -> None:
    found = boards(bench, run_folder, root, "--protocol", "dsol-synthetic")["dsol-synthetic"]

    assert found["metrics"].keys() >= OF_SOURCES | {"nsa", "swap_nsa"}
    assert 0 <= found["metrics"]["nsa"] <= 1


def test_other_settings_than_those_of_the_mixtures_are_refused(
    bench: Bench, run_folder: Path, root: Path
) -> None:
    done = bench("score", "--predictions", run_folder, "--data", "music_synthetic", "--root", root,
                 "data.jitter_db=1")  # fmt: skip

    assert done.code == 2
    assert "'data.jitter_db=1' is no setting of --data music_synthetic" in done.err
