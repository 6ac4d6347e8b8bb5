"""Whether accepted records are whole."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmark import acceptance
from benchmark.acceptance import faults_of_results

RESULTS = Path(acceptance.__file__).parent / "results"


@pytest.fixture
def accepted(tmp_path: Path) -> Path:
    """One committed record with its scores, in a folder of its own."""
    source = min(RESULTS.glob("*-lvs-synthetic-*.json"))
    for suffix in (".json", ".csv"):
        shutil.copy(source.with_suffix(suffix), tmp_path)
    return tmp_path / source.name


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


def test_missing_scores_and_a_broken_record_are_faults_and_hide_no_other(accepted: Path) -> None:
    accepted.with_suffix(".csv").unlink()
    (accepted.parent / "a.json").write_text("{")

    found = dict(faults_of_results(accepted.parent))

    assert len(found) == 2
    assert all(found.values())
