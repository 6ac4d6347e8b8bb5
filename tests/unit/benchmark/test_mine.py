import json
from pathlib import Path

import numpy as np
import pytest

from benchmark.cli import main
from methods.mining import nearest
from methods.neighbour_files import is_mined


@pytest.fixture
def features(tmp_path: Path) -> Path:
    rows = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    np.save(tmp_path / "mine.npy", rows)
    return tmp_path / "mine.npy"


def test_features_of_the_users_own_are_mined_beside_them(
    features: Path, capsys: pytest.CaptureFixture[str]
):
    code = main(["mine", "--features", str(features), "--k", "7", "--json"])

    (told,) = json.loads(capsys.readouterr().out)
    found = np.load(features.with_name("mine-neighbours.npy"))
    assert code == 0
    assert nearest(np.load(features), 7).tolist() == found.tolist()
    assert (told["rows"], told["width"], told["k"], told["made"]) == (60, 5, 7, 60)
    assert told["path"] == str(features.with_name("mine-neighbours.npy"))
    assert told["rows_per_second"] == 60 / told["seconds"]
    assert told["purity"] is None


def test_a_second_call_keeps_what_is_there_and_says_so(
    features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["mine", "--features", str(features), "--out", str(tmp_path / "out.npy")]
    main(words)
    capsys.readouterr()

    main(words)

    told = capsys.readouterr().out
    assert told.startswith(f"{tmp_path / 'out.npy'}: n 60, D 5, K 3; 0 rows in ")
    assert told.endswith(", 60 kept from before\n")
    assert is_mined(features, tmp_path / "out.npy", 3)  # a twentieth of the list


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--features", "{}", "--k", "60"], "K must be in [1, 59] for the 60 rows of"),
        (["--features", "{}", "--out", "{}"], "exists and is no file of neighbours"),
        (["--features", "{}.gone"], "cannot be read as a .npy file (No such file or directory)"),
        (["--features", "{}", "--pool", "mean"], "--pool: not with --features; leave out"),
        (["--features", "{}", "data.root=x"], "settings: not with --features; leave out"),
        (["--run", "{}"], "is no folder; give --run the folder of a finished run"),
    ],
)
def test_mistakes_are_one_line(
    features: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
):
    code = main(["mine", *(word.format(features) for word in words)])

    said = capsys.readouterr().err
    assert code == 2
    assert message in said
    assert said.startswith("bench: ")
    assert said.count("\n") == 1
