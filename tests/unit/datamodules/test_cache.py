import hashlib
from pathlib import Path

import pytest

from datamodules.cache import build_folder, cache_dir, file_entries


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLOC_CACHE", "/somewhere/else")

    assert cache_dir() == Path("/somewhere/else")


def test_the_cache_is_in_the_home_folder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AVLOC_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")

    assert cache_dir() == Path("/home/someone/.cache/avloc-bench")


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def half_way(folder: Path) -> None:
        (folder / "a.npy").write_bytes(b"a")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_folder(tmp_path / "data", half_way)
    assert list(tmp_path.iterdir()) == []


def test_the_process_that_finishes_first_wins(tmp_path: Path) -> None:
    def overtaken(folder: Path) -> None:
        (folder / "who").write_text("second")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "who").write_text("first")

    build_folder(tmp_path / "data", overtaken)

    assert (tmp_path / "data" / "who").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_entries_hold_size_and_hash_by_relative_path(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "a.npy").write_bytes(b"abc")

    expected = {"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}
    assert file_entries(tmp_path, "*/*.npy") == {"test/a.npy": expected}
