import hashlib
import os
from pathlib import Path

import pytest

from datamodules.file_facts import file_facts, file_hashes
from metrics.errors import BenchError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "root" / name).write_text(name * 3)
    return tmp_path / "root"


def lengths(root: Path, names: list[str], seen: list[str], *, version: int = 1) -> object:
    """The length of each file as text; ``seen`` gets the names that were read."""

    def length(path: Path) -> str | None:
        seen.append(path.name)
        return str(len(path.read_text()))

    return file_facts(root, names, length, kind="lengths", version=version, title="measuring")


def test_a_file_is_read_once_until_it_changes(root: Path):
    seen: list[str] = []
    assert {"a": "3", "b": "3"} == lengths(root, ["a", "b"], seen)
    (root / "b").write_text("bbbbb")
    os.utime(root / "b", ns=(1, 1))

    assert {"a": "3", "b": "5", "c": "3"} == lengths(root, ["a", "b", "c"], seen)
    assert ["a", "b", "b", "c"] == sorted(seen)


def test_facts_of_another_version_are_forgotten(root: Path):
    seen: list[str] = []
    lengths(root, ["a"], seen)
    lengths(root, ["a"], seen, version=2)

    assert ["a", "a"] == seen


def test_what_was_found_before_an_error_is_kept(root: Path):
    def fails_at_c(path: Path) -> str | None:
        if path.name == "c":
            raise RuntimeError("stopped")
        return "found"

    with pytest.raises(RuntimeError):
        file_facts(root, ["a", "b", "c"], fails_at_c, kind="lengths", version=1, title="")
    seen: list[str] = []

    assert {"a": "found", "b": "found", "c": "3"} == lengths(root, ["a", "b", "c"], seen)
    assert ["c"] == seen


def test_hashes_are_those_of_the_content_and_none_of_what_is_not_there(root: Path):
    expected = {"a": hashlib.sha256(b"aaa").hexdigest(), "nothing": None}

    assert expected == file_hashes(root, ["a", "nothing"])


def test_a_cache_that_cannot_be_written_is_an_error_in_words(root: Path, cache: Path):
    cache.mkdir()
    (cache / "hashes").write_text("a file in the place of the folder")

    with pytest.raises(BenchError, match="cannot be written .* set AVLOC_CACHE"):
        file_hashes(root, ["a"])
