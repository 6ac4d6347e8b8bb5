"""What `bench run` records where the truth is more than one box: several annotators, a context."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Bench = Callable[..., Any]
Tiny = Callable[..., tuple[str, ...]]
Folder = Callable[..., Path]


@pytest.fixture(scope="module")
def run_folder(bench: Bench, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """``run_folder(method, *settings)`` makes a run of a second on ``synthetic``."""
    runs = tmp_path_factory.mktemp("truths")

    def made(method: str, *settings: str) -> Path:
        words = tiny("data.test_clips=8", "trainer.max_epochs=1", *settings)
        done = bench("run", "--method", method, "--data", "synthetic", *words,
                     f"logging.runs={runs}")  # fmt: skip
        assert done.code == 0, done.err
        (line,) = [line for line in done.out.splitlines() if line.startswith("Record:")]
        return Path(line.removeprefix("Record:").strip()).parent

    return made


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return record


def columns_of(folder: Path) -> dict[str, np.ndarray]:
    with (folder / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = [name for name in rows[0] if name != "id"]
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}


@pytest.fixture(scope="module")
def annotated(run_folder: Folder) -> Path:
    return run_folder("lvs_vanilla", "data.annotators=true")


def test_each_annotator_and_their_mean_have_keys_with_intervals(annotated: Path) -> None:
    record, columns = record_of(annotated), columns_of(annotated)

    for who in ("annotator1", "annotator2", "annotator3"):
        hits = columns[f"{who}_ciou"] >= 0.5
        assert record["metrics"][f"{who}_ciou@0.5"] == pytest.approx(hits.mean(), abs=1e-12)
    for key in ("ciou@0.5", "auc"):
        each = [record["metrics"][f"annotator{place}_{key}"] for place in (1, 2, 3)]
        assert record["metrics"][f"annotators_{key}"] == pytest.approx(sum(each) / 3, abs=1e-12)
        low, high = record["ci95"][f"annotators_{key}"]
        assert low <= record["metrics"][f"annotators_{key}"] <= high


def test_a_run_against_several_annotators_is_recorded_under_the_consensus_of_2018(
    annotated: Path, run_folder: Folder
) -> None:
    board = record_of(annotated)["protocols"]["senocak"]

    assert {"ciou@0.5", "auc", "annotator2_ciou@0.5", "annotators_auc"} <= set(board["metrics"])
    assert "center" in board["floors"]
    assert set(record_of(run_folder("lvs_vanilla"))["protocols"]) == {"lvs", "ezvsl"}


def test_swapped_sounds_are_not_scored_against_each_annotator(annotated: Path) -> None:
    columns = columns_of(annotated)

    assert "swap_ciou" in columns
    assert not [name for name in columns if name.startswith("swap_annotator")]


def test_the_random_floor_is_recorded_with_its_spread_under_every_protocol(
    run_folder: Folder,
) -> None:
    record = record_of(run_folder("random", "data.annotators=true"))

    for board in (record, *record["protocols"].values()):
        assert 0 < board["floors"]["random"]["spread"]["auc"] < 0.05
        assert board["floors"]["random"]["metrics"] == board["metrics"]


def test_the_best_floors_of_other_runs_leave_out_the_costly_one(annotated: Path) -> None:
    assert "random" not in record_of(annotated)["protocols"]["senocak"]["floors"]


def test_peaks_in_the_context_are_recorded_with_own_and_with_other_sounds(
    run_folder: Folder,
) -> None:
    folder = run_folder("lvs_vanilla", "data.context=1")
    record, columns = record_of(folder), columns_of(folder)

    for key in ("context_pointing", "swap_context_pointing"):
        assert record["metrics"][key] == pytest.approx(columns[key].mean(), abs=1e-12)
        assert set(columns[key]) <= {0, 1}
        assert key in record["ci95"]
    assert "context_pointing" in record["comparisons"]["swap"]
    assert "context_pointing" not in record["comparisons"]["best_floor"]
    assert "context_pointing" not in record["skill"]
