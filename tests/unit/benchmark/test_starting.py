"""The starting files of `bench new`."""

from pathlib import Path

import pytest

from benchmark.starting import FILES, write_method
from metrics.errors import BenchError

EXAMPLE = Path(__file__).parents[3] / "examples" / "your_method"


def test_the_example_is_what_bench_new_writes(tmp_path: Path) -> None:
    written = write_method("your_method", tmp_path / "new")

    assert [path.name for path in written] == list(FILES)
    assert {path.name: path.read_text() for path in written} == {
        path.name: path.read_text() for path in EXAMPLE.iterdir() if path.is_file()
    }


def test_the_name_stands_wherever_the_example_has_its_own(tmp_path: Path) -> None:
    written = write_method("loud_spot", tmp_path / "new")

    texts = "".join(path.read_text() for path in written)
    assert [path.name for path in written] == ["pyproject.toml", "README.md", "loud_spot.py"]
    assert 'loud_spot = "loud_spot:LoudSpot"' in texts
    assert "class LoudSpot(Method):" in texts
    assert 'name = "loud-spot"' in texts
    assert not any(name in texts for name in ("your_method", "YourMethod", "your-method"))


@pytest.mark.parametrize("name", ["3x", "My_method", "a-b", "class", "", "none", "true", "m_"])
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BenchError, match="cannot be the name of a method"):
        write_method(name, tmp_path / "new")

    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hardpos", r"'hardpos' is a method of avloc-bench already \(methods\.hardpos:HardPos\)"),
        ("metrics", r"'metrics' is the name of a module that Python finds already \(.*; choose"),
        ("json", r"'json' is the name of a module that Python finds already"),
        ("sys", r"'sys' is the name of a module that Python finds already"),
    ],
)
def test_a_name_that_is_taken_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        write_method(name, tmp_path / "new")

    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"exists already and is left as it is; give --out"):
        write_method("mine", tmp_path)

    assert [] == list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(BenchError, match=r"file/new cannot be written \(Not a directory\)"):
        write_method("mine", tmp_path / "file" / "new")
