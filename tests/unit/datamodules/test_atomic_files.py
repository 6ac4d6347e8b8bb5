import os
from pathlib import Path

import pytest

from datamodules.atomic_files import drop_unfinished, replace_content, unfinished, write_atomically
from metrics.errors import BenchError


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    path.write_text("old")

    def full_disk(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, b"new")

    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"record.json": "old"}


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "page.md").symlink_to(Path("kept") / "page.md")

    for content in (b"first", b"second"):
        write_atomically(tmp_path / "page.md", content)

        assert (tmp_path / "page.md").is_symlink()
        assert (tmp_path / "kept" / "page.md").read_bytes() == content
    assert [tmp_path / "kept" / "page.md"] == list((tmp_path / "kept").iterdir())


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()

    for name in ("pipe", "folder"):
        with pytest.raises(BenchError, match=f"{name} is no file and is not replaced by one"):
            write_atomically(tmp_path / name, b"new")
    assert (tmp_path / "pipe").is_fifo()


def test_a_file_that_a_killed_process_had_not_finished_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "whole.json").write_text("{}")
    with unfinished(tmp_path / "whole.json") as beside:
        assert beside.name.startswith(".whole.json.")
        (tmp_path / f".copy{beside.name}").write_text("as a killed process leaves it")
        beside.write_text("[]")

    drop_unfinished(tmp_path)

    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"whole.json": "[]"}


def test_what_an_unfinished_replacement_left_is_overwritten_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".block.json.part").write_bytes(b"half")

    replace_content(tmp_path / "block.json", b"whole")

    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"block.json": b"whole"}
