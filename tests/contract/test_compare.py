"""`bench compare` on runs that `bench run` wrote: table, JSON, warnings and refusals."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bench = Callable[..., Any]
Tiny = Callable[..., tuple[str, ...]]


@pytest.fixture(scope="module")
def floors(bench: Bench, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of finished runs of `center` and `full`, too short to be ranked."""
    runs = tmp_path_factory.mktemp("compare") / "runs"
    settings = [word for word in tiny() if not word.startswith("method.")]
    for method in ("center", "full"):
        words = ("--method", method, "--data", "synthetic", *settings, f"logging.runs={runs}")
        done = bench("run", *words)
        assert done.code == 0, done.err
    (center,), (full,) = runs.glob("*-center-*"), runs.glob("*-full-*")
    return center, full


def compared(bench: Bench, *words: object) -> dict[str, Any]:
    """The JSON of a comparison that must succeed."""
    done = bench("compare", *words, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_the_difference_is_that_of_the_recorded_metrics(
    bench: Bench, floors: tuple[Path, Path]
) -> None:
    a, b = (json.loads((folder / "record.json").read_text()) for folder in floors)

    found = compared(bench, *floors)

    assert (found["a"]["id"], found["b"]["id"]) == (a["id"], b["id"])
    assert found["n_common"] == a["n"] == b["n"]
    for key, test in found["metrics"].items():
        assert test["a"] == pytest.approx(a["metrics"][key], abs=1e-12), key
        expected = a["metrics"][key] - b["metrics"][key]
        assert test["difference"] == pytest.approx(expected, abs=1e-12), key
        assert test["ci95"][0] <= expected <= test["ci95"][1], key
        assert test["wins"] + test["losses"] + test["ties"] == a["n"], key


def test_the_table_names_both_runs_and_goes_to_standard_output(
    bench: Bench, floors: tuple[Path, Path]
) -> None:
    done = bench("compare", *floors)

    assert done.code == 0
    for word in ("center", "full", "bench-v1", floors[0].name, floors[1].name, "ciou@0.5", "A - B"):
        assert word in done.out, word


def test_warnings_go_to_standard_error_and_into_the_json(
    bench: Bench, floors: tuple[Path, Path]
) -> None:
    done = bench("compare", *floors, "--json")

    warnings = json.loads(done.out)["warnings"]
    assert any(f"{floors[0].name} is no complete run" in warning for warning in warnings)
    assert done.err.splitlines() == [f"bench: {warning}" for warning in warnings]


def test_the_same_seed_gives_the_same_bytes_and_another_other_intervals(
    bench: Bench, floors: tuple[Path, Path]
) -> None:
    first, again, other = (
        bench("compare", *floors, "--json", "--seed", seed).out for seed in (3, 3, 4)
    )

    assert first == again
    assert first != other


def test_only_the_metrics_asked_for_are_compared(bench: Bench, floors: tuple[Path, Path]) -> None:
    found = compared(bench, *floors, "--metric", "pointing", "--metric", "auc")

    assert list(found["metrics"]) == ["pointing", "auc"]


def test_the_scores_alone_compare_as_the_run_does(
    bench: Bench, floors: tuple[Path, Path], tmp_path: Path
) -> None:
    path = shutil.copy(floors[1] / "scores.csv", tmp_path / "full.csv")

    assert compared(bench, floors[0], path)["metrics"] == compared(bench, *floors)["metrics"]


def test_an_accepted_record_is_found_by_its_id(
    bench: Bench, floors: tuple[Path, Path], tmp_path: Path
) -> None:
    for name, suffix in (("record.json", "json"), ("scores.csv", "csv")):
        shutil.copy(floors[0] / name, tmp_path / f"{floors[0].name}.{suffix}")

    found = compared(bench, floors[0].name, floors[0], "--results", tmp_path)

    assert f"A and B are the same run, {floors[0].name}" in found["warnings"]
    assert {test["ties"] for test in found["metrics"].values()} == {found["n_common"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--metric", "nsa"), "no metric 'nsa'"),
        (("--seed", "-1"), "--seed must be at least 0"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(
    bench: Bench, floors: tuple[Path, Path], words: tuple[str, ...], message: str
) -> None:
    done = bench("compare", *floors, *words)

    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("bench: ")
    assert message in line


def test_changed_scores_are_one_line_and_exit_code_2(
    bench: Bench, floors: tuple[Path, Path], tmp_path: Path
) -> None:
    changed = Path(shutil.copytree(floors[0], tmp_path / "changed"))
    with (changed / "scores.csv").open("a") as scores:
        scores.write("\n")

    done = bench("compare", changed, floors[1])

    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert "scores.csv has sha256" in line
