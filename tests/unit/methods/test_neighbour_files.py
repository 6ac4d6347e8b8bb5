import errno
import json
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import methods.neighbour_files
from methods.global_norm import rank, world_size
from methods.mining import nearest
from methods.neighbour_files import NeighbourFile, is_mined, mine, open_features
from metrics.errors import BenchError

ROWS, TILE, K = 30, 4, 5  # eight tiles, the last of two rows


def vectors(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(ROWS, 6)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods.neighbour_files, "TILE", TILE)


@pytest.fixture
def features(tmp_path: Path) -> Path:
    np.save(tmp_path / "features.npy", vectors())
    return tmp_path / "features.npy"


@pytest.fixture
def result(tmp_path: Path) -> Path:
    return tmp_path / "by_sound.npy"


class Killed(BaseException):
    """In place of a signal that no code can handle."""


def kill_at_tile(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Ends the mining while a tile is written, half of whose bytes are there by then."""
    write, calls = methods.neighbour_files.write_rows, []

    def killed(path: Path, start: int, rows: np.ndarray) -> None:
        calls.append(start)
        if len(calls) == number:
            write(path, start, rows[: len(rows) // 2])
            raise Killed
        write(path, start, rows)

    monkeypatch.setattr(methods.neighbour_files, "write_rows", killed)


def test_the_file_holds_the_neighbours_of_every_row(features: Path, result: Path):
    mining = mine(features, result, K)

    assert mining.made == ROWS
    assert mining.neighbours.shape == (ROWS, K)
    assert nearest(vectors(), K).tolist() == mining.neighbours[:].tolist()
    assert np.load(result).dtype == np.int32
    assert is_mined(features, result, K)


def test_only_rows_that_are_asked_for_are_read(features: Path, result: Path):
    neighbours = mine(features, result, K).neighbours
    expected = nearest(vectors(), K)

    assert expected[[3, 8]].tolist() == neighbours[np.array([3, 8])].tolist()
    assert expected[[3, 8], [4, 0]].tolist() == neighbours[np.array([3, 8]), [4, 0]].tolist()
    assert not isinstance(neighbours[np.array([3])], np.memmap)


@pytest.mark.parametrize("at", [1, 2, 8])
def test_a_mining_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    features: Path, result: Path, tmp_path: Path, at: int
):
    undisturbed = tmp_path / "undisturbed.npy"
    mine(features, undisturbed, K)
    with pytest.MonkeyPatch.context() as patch:
        kill_at_tile(patch, at)
        with pytest.raises(Killed):
            mine(features, result, K)
    assert not is_mined(features, result, K)

    goes_on = mine(features, result, K)

    assert goes_on.made == ROWS - (at - 1) * TILE
    assert result.read_bytes() == undisturbed.read_bytes()


def test_what_is_finished_is_not_made_again(features: Path, result: Path):
    mine(features, result, K)

    assert mine(features, result, K).made == 0


def test_a_damaged_tile_alone_is_made_again(
    features: Path, result: Path, caplog: pytest.LogCaptureFixture
):
    mine(features, result, K)
    whole = result.read_bytes()
    result.write_bytes(whole[:-8] + bytes(8))
    assert not is_mined(features, result, K)

    again = mine(features, result, K)

    assert (again.made, result.read_bytes()) == (ROWS % TILE, whole)
    assert [f"{result} is damaged in 1 of 8 tiles, which are made again"] == caplog.messages


@pytest.mark.parametrize("kept", [0, 50, 300])
def test_a_truncated_file_is_made_again(
    features: Path, result: Path, caplog: pytest.LogCaptureFixture, kept: int
):
    mine(features, result, K)
    whole = result.read_bytes()
    result.write_bytes(whole[:kept])
    assert not is_mined(features, result, K)

    again = mine(features, result, K)

    assert (again.made, result.read_bytes()) == (ROWS, whole)
    (message,) = caplog.messages
    assert message.endswith("is truncated, or of other features or another K, and is made again")


def test_neighbours_of_other_features_are_made_again(
    features: Path, result: Path, caplog: pytest.LogCaptureFixture
):
    mine(features, result, K)
    np.save(features, vectors(seed=1))
    assert not is_mined(features, result, K)

    again = mine(features, result, K)

    assert again.made == ROWS
    assert nearest(vectors(seed=1), K).tolist() == again.neighbours[:].tolist()
    assert len(caplog.messages) == 1


def test_another_k_is_mined_again(features: Path, result: Path):
    mine(features, result, K)
    assert not is_mined(features, result, K + 1)

    assert mine(features, result, K + 1).neighbours.shape == (ROWS, K + 1)


def test_a_damaged_note_of_what_is_finished_is_as_none(features: Path, result: Path):
    mine(features, result, K)
    (note,) = result.parent.glob("by_sound.tiles-*.json")
    note.write_text(note.read_text()[:-9])

    assert mine(features, result, K).made == ROWS


def test_a_resumed_mining_says_how_far_it_is(
    features: Path,
    result: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.INFO)
    with pytest.MonkeyPatch.context() as patch:
        kill_at_tile(patch, 3)
        with pytest.raises(Killed):
            mine(features, result, K)

    mine(features, result, K)

    assert [f"{result}: goes on, 2 of 8 tiles are there"] == caplog.messages


def test_a_foreign_file_is_not_overwritten(features: Path):
    with pytest.raises(BenchError, match=r"features\.npy exists and is no file of neighbours"):
        mine(features, features, K)

    assert np.load(features).shape == (ROWS, 6)


@pytest.mark.parametrize("count", [0, ROWS, ROWS + 1])
def test_a_count_that_the_list_cannot_fill_is_refused_in_words(
    features: Path, result: Path, count: int
):
    with pytest.raises(BenchError, match=rf"K must be in \[1, 29\] for the 30 rows .*got {count}"):
        mine(features, result, count)


@pytest.mark.parametrize("call", ["posix_fallocate", "replace"])
def test_a_full_disk_is_one_line(
    features: Path, result: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)

    with pytest.raises(BenchError, match=r"by_sound\.npy cannot be written \(No space left on dev"):
        mine(features, result, K)
    assert not result.exists()


def test_a_mining_goes_on_after_a_full_disk(
    features: Path, result: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods.neighbour_files, "write_rows", full)
        with pytest.raises(BenchError, match=r"make room and give the same command again"):
            mine(features, result, K)

    assert nearest(vectors(), K).tolist() == mine(features, result, K).neighbours[:].tolist()


def test_values_that_are_not_finite_are_named(features: Path, result: Path):
    broken = vectors()
    broken[17, 2] = np.nan
    np.save(features, broken)

    with pytest.raises(BenchError, match=r"row 17 of .*features\.npy has values that are not fin"):
        mine(features, result, K)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (vectors().astype(np.float64), r"holds float64 of shape \(30, 6\), expected float32"),
        (vectors()[0], r"holds float32 of shape \(6,\), expected float32 of shape \(n, D\)"),
        (vectors()[:1], r"holds float32 of shape \(1, 6\).*n of 2 or more"),
        (np.asfortranarray(vectors()), r"row by row; write it with numpy\.save"),
    ],
)
def test_features_of_another_kind_are_refused(features: Path, content: np.ndarray, words: str):
    np.save(features, content)

    with pytest.raises(BenchError, match=words):
        open_features(features)


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_a_file_that_is_no_npy_is_refused(features: Path, content: bytes | None):
    if content is None:
        features.unlink()
    else:
        features.write_bytes(content)

    with pytest.raises(BenchError, match=r"features\.npy cannot be read as a \.npy file") as told:
        open_features(features)

    assert "pickle" not in str(told.value), "nobody is to unpickle it"


def test_pickled_features_are_never_read(features: Path):
    np.save(features, np.array([{}, {}]), allow_pickle=True)

    with pytest.raises(BenchError, match=r"cannot be read as a \.npy file"):
        open_features(features)


@pytest.mark.parametrize("content", [b"\x93NUMPY", b"PK\x03\x04 cut off"])
def test_opening_damaged_neighbours_is_one_line(result: Path, content: bytes):
    result.write_bytes(content)

    with pytest.raises(BenchError, match=r"by_sound\.npy cannot be read .*same command again"):
        NeighbourFile(result)


def shared_folder() -> Path:
    names = [tempfile.mkdtemp() if rank() == 0 else None]
    if world_size() > 1:
        torch.distributed.broadcast_object_list(names)
    folder = Path(names[0])
    if rank() == 0:
        np.save(folder / "features.npy", vectors())
    return folder


def mined_together() -> tuple[bytes, int, str]:
    """The bytes, the rows that this process made, and the folder."""
    methods.neighbour_files.TILE = TILE
    folder = shared_folder()
    if world_size() > 1:
        torch.distributed.barrier()
    mining = mine(folder / "features.npy", folder / "by_sound.npy", K)
    return (folder / "by_sound.npy").read_bytes(), mining.made, str(folder)


def test_two_processes_share_the_tiles_and_make_the_bytes_of_one(
    on_two_processes: Callable[[Callable[[], Any]], list[Any]], features: Path, result: Path
):
    (first, made, _), (second, made_too, _) = on_two_processes(mined_together)

    mine(features, result, K)
    assert first == second == result.read_bytes()
    assert (made, made_too) == (16, 14)


def test_what_two_processes_finished_is_kept_by_one(
    on_two_processes: Callable[[Callable[[], Any]], list[Any]],
):
    (content, _, name), _ = on_two_processes(mined_together)
    folder = Path(name)
    noted = {
        path.name: sorted(map(int, json.loads(path.read_text())["tiles"]))
        for path in folder.glob("*.json")
    }
    assert noted == {"by_sound.tiles-0.json": [0, 2, 4, 6], "by_sound.tiles-1.json": [1, 3, 5, 7]}

    alone = mine(folder / "features.npy", folder / "by_sound.npy", K)

    assert (alone.made, (folder / "by_sound.npy").read_bytes()) == (0, content)
    assert [path.name for path in folder.glob("*.json")] == ["by_sound.tiles-0.json"]
