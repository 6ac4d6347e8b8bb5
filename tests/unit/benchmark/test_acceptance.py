"""Records of runs go into the results whole, or not at all."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark import acceptance
from benchmark.acceptance import add_record, faults_of_results
from benchmark.records import (
    Git,
    Record,
    read_record,
    read_results,
    read_scores,
    write_record,
    write_scores,
)
from metrics.errors import BenchError

RESULTS = Path(acceptance.__file__).parent / "results"
HISTORY = Path(__file__).parents[2] / "records_v1"


@pytest.fixture
def accepted(tmp_path: Path) -> Path:
    """One committed record with its scores, in a folder of its own."""
    source = min(RESULTS.glob("*-lvs-synthetic-*.json"))
    for suffix in (".json", ".csv"):
        shutil.copy(source.with_suffix(suffix), tmp_path)
    return tmp_path / source.name


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A finished run."""
    record = read_record(HISTORY / "complete.json")
    folder = tmp_path / record.id
    folder.mkdir()
    digest = write_scores(folder / "scores.csv", ["a", "b"], {"ciou": [0.25, 1.0]})
    write_record(folder, replace(record, n=2, metrics={"mean_iou": 0.625}, scores_sha256=digest))
    return folder


def fault(record: Path) -> str | None:
    ((_, found),) = faults_of_results(record.parent)
    return found


def changed(record: Path, **values: Any) -> None:
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | values))


def test_a_committed_record_is_whole(accepted: Path) -> None:
    assert fault(accepted) is None


def test_scores_that_were_changed_are_named(accepted: Path) -> None:
    table = accepted.with_suffix(".csv")
    table.write_text(table.read_text().replace(",1,", ",0,", 1))

    assert str(fault(accepted)).startswith(f"{table} has sha256 ")


def test_a_metric_that_is_no_mean_of_the_scores_is_named(accepted: Path) -> None:
    metrics = json.loads(accepted.read_text())["metrics"]
    changed(accepted, metrics=metrics | {"pointing": metrics["pointing"] + 0.002})

    words = str(fault(accepted))
    assert f"says pointing = {metrics['pointing'] + 0.002:.6f}" in words
    assert f"has a mean of {metrics['pointing']:.6f}" in words


def test_a_record_under_another_name_is_named(accepted: Path) -> None:
    moved = accepted.rename(accepted.with_name("better.json"))

    assert fault(moved) == f"{moved} holds the record {accepted.stem}; name it so"


def test_a_partial_record_is_named(accepted: Path) -> None:
    changed(accepted, status="partial", reasons=["--limit 10"])

    assert "may not be ranked: " in str(fault(accepted))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"splits": {}}, "key splits.test is missing"),
        ({"n": -5}, "says n = -5, and "),
        ({"protocol": "bench-v0"}, "unknown protocol 'bench-v0'. Did you mean bench-v1?"),
        ({"method": "lsv"}, "should end in -lsv-synthetic-"),
        ({"data": "vggss"}, "should end in -lvs-vggss-"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_a_record_that_contradicts_itself_is_named(
    values: dict[str, object], words: str, accepted: Path
) -> None:
    changed(accepted, **values)

    assert words in str(fault(accepted))
    assert str(accepted) in str(fault(accepted))


def test_a_plugin_that_is_not_installed_here_is_no_fault(accepted: Path) -> None:
    content = json.loads(accepted.read_text())
    name = accepted.stem.replace("-lvs-synthetic-", "-my_method-my_data-")
    for suffix in (".json", ".csv"):
        accepted.with_suffix(suffix).rename(accepted.with_name(name + suffix))
    moved = accepted.with_name(f"{name}.json")
    moved.write_text(json.dumps(content | {"id": name, "method": "my_method", "data": "my_data"}))

    assert fault(moved) is None


def test_a_metric_of_an_empty_column_is_named(accepted: Path) -> None:
    ids = read_scores(accepted.with_suffix(".csv")).ids
    digest = write_scores(
        accepted.with_suffix(".csv"), ids, {"pointing": [float("nan")] * len(ids)}
    )
    changed(accepted, scores_sha256=digest)

    assert "pointing in its scores has a mean of nan" in str(fault(accepted))


def test_missing_scores_and_a_broken_record_are_faults_and_hide_no_other(accepted: Path) -> None:
    accepted.with_suffix(".csv").unlink()
    (accepted.parent / "a.json").write_text("{")

    found = dict(faults_of_results(accepted.parent))

    assert len(found) == 2
    assert all(found.values())


def test_an_added_run_stands_in_the_results_with_its_scores(
    tmp_path: Path, run_folder: Path
) -> None:
    accepted = add_record(run_folder, tmp_path / "results")

    assert [read_record(run_folder / "record.json")] == read_results(tmp_path / "results")
    assert accepted.warnings == ()
    assert (run_folder / "scores.csv").read_bytes() == accepted.path.with_suffix(
        ".csv"
    ).read_bytes()


def test_adding_a_run_twice_changes_nothing(tmp_path: Path, run_folder: Path) -> None:
    path, _ = add_record(run_folder, tmp_path / "results")
    before = path.read_bytes()

    add_record(run_folder, tmp_path / "results")

    assert before == path.read_bytes()


def test_another_run_of_the_same_id_is_refused(tmp_path: Path, run_folder: Path) -> None:
    add_record(run_folder, tmp_path / "results")
    write_record(run_folder, replace(read_record(run_folder / "record.json"), seed=5))

    with pytest.raises(BenchError, match="already holds another run of that id"):
        add_record(run_folder, tmp_path / "results")


@pytest.mark.parametrize("status", ["partial", "dry-run"])
def test_a_run_that_is_not_complete_cannot_be_added(
    tmp_path: Path, run_folder: Path, status: str
) -> None:
    content = read_record(run_folder / "record.json").to_dict()
    limited = Record.from_dict(content | {"status": status, "reasons": ["--limit 60"]})
    write_record(run_folder, limited)

    with pytest.raises(BenchError, match=f"cannot be added: {status}: --limit 60"):
        add_record(run_folder, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_changed_scores_cannot_be_added(tmp_path: Path, run_folder: Path) -> None:
    write_scores(run_folder / "scores.csv", ["a", "b"], {"ciou": [1.0, 1.0]})

    with pytest.raises(BenchError, match=r"scores\.csv has sha256 .*one of them was changed"):
        add_record(run_folder, tmp_path / "results")


def test_a_run_whose_record_was_edited_cannot_be_added(tmp_path: Path, run_folder: Path) -> None:
    record = read_record(run_folder / "record.json")
    write_record(run_folder, replace(record, metrics={"mean_iou": 5.0}))

    with pytest.raises(BenchError, match=r"record\.json says mean_iou = 5\.0+, and ciou in its"):
        add_record(run_folder, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_lost_scores_cannot_be_added(tmp_path: Path, run_folder: Path) -> None:
    (run_folder / "scores.csv").unlink()

    with pytest.raises(BenchError, match=r"scores\.csv cannot be read \(No such file"):
        add_record(run_folder, tmp_path / "results")


def test_adding_warns_of_uncommitted_code_and_of_leakage(tmp_path: Path, run_folder: Path) -> None:
    record = read_record(run_folder / "record.json")
    leakage = replace(record.leakage, trained_on=7, trained_on_videos=5)
    write_record(run_folder, replace(record, git=Git("1", True, "2"), leakage=leakage))

    warnings = add_record(run_folder, tmp_path / "results").warnings

    assert (
        f"{record.id} ran from code with uncommitted changes",
        f"{record.id} trained on 7 test clips of 5 videos",
    ) == warnings
