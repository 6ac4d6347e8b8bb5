import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from benchmark import records
from benchmark.predictions import write_predictions
from benchmark.records import (
    Checkpoint,
    Git,
    Record,
    environment,
    git_state,
    is_ranked,
    read_record,
    read_results,
    read_scores,
    run_folder_name,
    write_record,
    write_scores,
)
from metrics.errors import BenchError

YOUNGER = {"lists", "checkpoint"}  # keys with a default, added after schema 1 was first written
HISTORY = Path(__file__).parents[2] / "records_v1"


@pytest.fixture
def record() -> Record:
    return read_record(HISTORY / "complete.json")


def changed(path: Path, **keys: object) -> Path:
    content = json.loads((HISTORY / "complete.json").read_text())
    path.write_text(json.dumps(content | keys))
    return path


@pytest.mark.parametrize("path", sorted(HISTORY.glob("*.json")), ids=lambda path: path.stem)
def test_historic_records_of_schema_1_load_and_keep_every_value(path: Path) -> None:
    content = json.loads(path.read_text())

    found = json.loads(json.dumps(read_record(path).to_dict()))
    assert found["card"].pop("localises") is True  # younger than both
    assert found["card"].pop("boxes") == 0  # as this
    assert found["card"].pop("tells_on_screen") is False  # and this
    assert found["card"].pop("object_guidance") is False  # and this
    assert content == {key: found[key] for key in content}
    assert {key for key in found if key not in content} <= YOUNGER


def test_a_written_record_reads_back_equal(tmp_path: Path, record: Record) -> None:
    assert record == read_record(write_record(tmp_path, record))


def test_a_tested_file_of_weights_reads_back_with_all_that_it_tells(
    tmp_path: Path, record: Record
) -> None:
    facts: dict[str, object] = {"epoch": 37, "best_cIoU": 0.375, "container": None}
    tested = Checkpoint("released", "ezvsl", "ab" * 32, facts, "vggss_144k", ("a note",))
    told = replace(record, checkpoint=tested)

    assert told == read_record(write_record(tmp_path, told))


def test_numpy_numbers_become_plain_ones(record: Record) -> None:
    content = record.to_dict() | {"n": np.int64(3), "metrics": {"auc": np.float32(0.5)}}

    read_back = json.loads(json.dumps(Record.from_dict(content).to_dict()))

    assert (read_back["n"], read_back["metrics"]) == (3, {"auc": 0.5})


def test_a_record_with_nan_is_refused_with_its_key(record: Record) -> None:
    content = record.to_dict() | {"metrics": {"ciou@0.5": float("nan")}}

    with pytest.raises(
        ValueError, match=r"key metrics\.ciou@0\.5 must be a finite number, got nan"
    ):
        Record.from_dict(content)


def test_a_record_that_could_not_be_read_back_is_not_written(
    tmp_path: Path, record: Record
) -> None:
    with pytest.raises(ValueError, match=r"key skill\.auc must be a finite number, got inf"):
        write_record(tmp_path, replace(record, skill={"auc": float("inf")}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"n": "500"}, "key n must be a whole number, got '500'"),
        ({"n": True}, "key n must be a whole number, got True"),
        ({"status": "done"}, "key status must be one of complete, partial, dry-run, got 'done'"),
        ({"missing": "a"}, "key missing must be a list, got 'a'"),
        ({"git": {"commit": "1"}}, r"key git\.\w+ is missing"),
        ({"metrics": {"auc": 10**400}}, r"key metrics\.auc must be a finite number, got 10000"),
        ({"ci95": {"auc": [0.1]}}, r"key ci95\.auc must be a list of 2, got \[0\.1\]"),
        ({"colour": 1}, "key colour is unknown"),
        ({"id": "../escape"}, "id must be a file name without folders, got '../escape'"),
        ({"splits": {}}, r"key splits\.test is missing"),
        ({"schema": 2}, "has schema 2, but this version reads 1"),
    ],
)
def test_an_invalid_record_is_an_error_that_names_file_and_key(
    tmp_path: Path, keys: dict[str, object], words: str
) -> None:
    path = changed(tmp_path / "bad.json", **keys)

    with pytest.raises(BenchError, match=rf"bad\.json.*{words}"):
        read_record(path)


def test_a_missing_key_is_an_error_that_names_file_and_key(tmp_path: Path, record: Record) -> None:
    content = record.to_dict()
    del content["leakage"]["trained_on"]
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content))

    with pytest.raises(BenchError, match=r"bad\.json: key leakage\.trained_on is missing"):
        read_record(path)


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"schema": NaN}', "[1]", "\x00", "[" * 100_000, r'{"schema": 1, "id": "\ud800"}'],
    ids=["empty", "cut", "NaN", "list", "zero", "deep", "half a character"],
)
def test_a_corrupt_record_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "corrupt.json"
    path.write_text(text)

    with pytest.raises(BenchError, match=r"corrupt\.json .*run it again"):
        read_record(path)


def test_a_folder_without_a_record_is_called_unfinished(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"record\.json does not exist; .*not finished"):
        read_record(tmp_path / "record.json")


@pytest.mark.parametrize("status", ["partial", "dry-run"])
def test_only_complete_runs_are_ranked(record: Record, status: str) -> None:
    limited = Record.from_dict(record.to_dict() | {"status": status, "reasons": ["--limit 60"]})

    assert is_ranked(record) == (True, "")
    assert is_ranked(limited) == (False, f"{status}: --limit 60")


def test_the_run_folder_is_named_by_utc_method_data_and_hash() -> None:
    local = datetime(2025, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))

    assert (
        run_folder_name(local, "lvs", "vggss", "abcdef0123")
        == "20250228T233000Z-lvs-vggss-abcdef01"
    )


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="utc must have a time zone"):
        run_folder_name(datetime(2025, 3, 1), "lvs", "vggss", "abcdef0123")


def test_scores_are_written_byte_for_byte(tmp_path: Path) -> None:
    columns = {"ciou": np.array([0.1, np.nan, 1 / 3]), "constant": np.array([True, False, False])}

    digest = write_scores(tmp_path / "scores.csv", ["x", "y,z", "ü"], columns)

    expected = 'id,ciou,constant\nx,0.1,1\n"y,z",,0\nü,0.3333333333333333,0\n'.encode()
    assert expected == (tmp_path / "scores.csv").read_bytes()
    assert hashlib.sha256(expected).hexdigest() == digest


def test_scores_read_back_exactly(tmp_path: Path) -> None:
    values = np.append(np.random.default_rng(0).random(50), np.nan)
    ids = [f"clip,{row}" for row in range(51)]
    write_scores(tmp_path / "scores.csv", ids, {"ciou": values, "hit": values > 0.5})

    table = read_scores(tmp_path / "scores.csv")

    assert tuple(ids) == table.ids
    np.testing.assert_array_equal(values, table.columns["ciou"])
    np.testing.assert_array_equal(values > 0.5, table.columns["hit"])


def test_a_score_column_of_another_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="column ciou must have 2 values, got 1"):
        write_scores(tmp_path / "scores.csv", ["a", "b"], {"ciou": [0.5]})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1 is blank and must name the columns, such as id,ciou"),
        ("\n", "line 1 is blank and must name the columns"),
        ("clip,ciou\na,1\n", "the first column must be id, got 'clip'"),
        ("id,ciou,ciou\na,1,0\n", "line 1 names the column 'ciou' twice"),
        ("id,ciou\na,high\n", "line 2: ciou must be a number, got 'high'"),
        ("id,ciou\na,1\nb,1,2\n", "line 3 has 3 cells, but line 1 names 2"),
        ("id,ciou\na,1\n\n", "line 3 is blank"),
    ],
)
def test_a_corrupt_score_file_is_an_error_that_names_it_and_the_line(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)

    with pytest.raises(BenchError) as refused:
        read_scores(path)
    start = f"{path} cannot be read as scores: {words}"
    assert str(refused.value).startswith(start)
    assert str(refused.value).endswith("; mend the file, or run it again")


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("id,ciou\na,0.5\n", encoding="utf-8-sig")

    assert read_scores(path).ids == ("a",)


def test_predictions_hold_the_documented_arrays(tmp_path: Path) -> None:
    heatmaps = np.random.default_rng(0).random((2, 3, 4))

    write_predictions(tmp_path / "p.npz", ["a", "bb"], heatmaps, confidence=np.zeros(2), boxes=None)

    with np.load(tmp_path / "p.npz", allow_pickle=False) as stored:
        assert {name: stored[name].dtype.kind for name in stored} == {
            "id": "U",
            "heatmap": "f",
            "confidence": "f",
        }
        assert stored["id"].tolist() == ["a", "bb"]
        np.testing.assert_array_equal(heatmaps.astype(np.float32), stored["heatmap"])


def test_predictions_hold_no_time_of_writing(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.npz", ["a"], np.ones((1, 2, 2)))

    with zipfile.ZipFile(tmp_path / "p.npz") as archive:
        assert {(1980, 1, 1, 0, 0, 0)} == {entry.date_time for entry in archive.infolist()}


def test_prediction_arrays_of_another_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="confidence must have 1 rows, got 2"):
        write_predictions(tmp_path / "p.npz", ["a"], np.ones((1, 2, 2)), confidence=[0.1, 0.2])


def test_a_record_that_lies_there_twice_is_refused_with_its_file(
    tmp_path: Path, record: Record
) -> None:
    for name in ("a.json", "b.json"):
        shutil.copy(HISTORY / "complete.json", tmp_path / name)

    with pytest.raises(BenchError, match=rf"b\.json holds the record {record.id} once more; move"):
        read_results(tmp_path)


def test_results_of_a_folder_that_does_not_exist_are_none(tmp_path: Path) -> None:
    assert read_results(tmp_path / "nowhere") == []


def test_the_environment_names_no_host_user_or_folder() -> None:
    found = environment()

    assert found.keys() >= {"python", "torch", "numpy", "opencv-contrib-python-headless", "gpu"}
    text = json.dumps(found)
    assert os.uname().nodename not in text
    assert str(Path.home()) not in text


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout with one committed module."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "nobody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "nobody@example.org")
    (tmp_path / "module.py").write_text("x = 1\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "First"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_a_clean_checkout_has_its_commit_and_no_difference(checkout: Path) -> None:
    head = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True)

    assert Git(head.stdout.decode().strip(), dirty=False, diff_sha256=None) == git_state(checkout)


@pytest.mark.parametrize("name", ["module.py", "new.py", "new.yaml"])
def test_changed_and_new_code_makes_a_checkout_dirty(checkout: Path, name: str) -> None:
    states = []
    for text in ("x = 2\n", "x = 3\n"):
        (checkout / name).write_text(text)
        states.append(git_state(checkout))

    assert all(state is not None and state.dirty for state in states)
    assert len({state.diff_sha256 for state in states if state is not None}) == 2


def test_packages_inside_a_checkout_of_something_else_have_no_git_state(checkout: Path) -> None:
    installed = checkout / "site-packages"
    installed.mkdir()

    assert git_state(installed) is None


def test_without_git_there_is_no_git_state(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert records.git_state(checkout) is None
