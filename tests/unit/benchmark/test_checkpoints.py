import errno
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmark.checkpoints import (
    LAST,
    MADE_BY,
    PREVIOUS,
    WholeCheckpoints,
    damage,
    resumable,
    save_weights,
)
from metrics.errors import BenchError

NETWORK = {"layer.weight": torch.zeros(3, 4)}


def checkpoint(epoch: int, *, made_by: str = "mine") -> dict[str, object]:
    return {"epoch": epoch, "state_dict": NETWORK, MADE_BY: made_by}


def epoch_of(path: Path) -> int:
    epoch: int = torch.load(path, weights_only=True)["epoch"]
    return epoch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A training of which the epochs 4 and 5 are on disk."""
    writer = WholeCheckpoints()
    for epoch in (3, 4, 5):
        writer.save_checkpoint(checkpoint(epoch), tmp_path / LAST)
    return tmp_path


def spoil(path: Path, *, size: int | None = None) -> None:
    """Turns one bit of the numbers inside a file, or cuts it."""
    content = bytearray(path.read_bytes()[:size])
    if size is None:
        content[content.index(NETWORK["layer.weight"].numpy().tobytes())] ^= 1
    path.unlink()  # its other name keeps what it had
    path.write_bytes(content)


def test_the_last_two_checkpoints_are_kept(folder: Path) -> None:
    assert (epoch_of(folder / LAST), epoch_of(folder / PREVIOUS)) == (5, 4)
    assert {LAST, PREVIOUS} == {path.name for path in folder.iterdir()}


def test_the_last_checkpoint_is_resumed(folder: Path) -> None:
    assert resumable(folder, "mine", NETWORK) == folder / LAST


def test_a_training_without_checkpoints_begins(tmp_path: Path) -> None:
    assert resumable(tmp_path, "mine", NETWORK) is None


@pytest.mark.parametrize("size", [0, 100, None], ids=["empty", "cut", "one bit"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    size: int | None, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(folder / LAST, size=size)

    found = resumable(folder, "mine", NETWORK)

    assert found == folder / PREVIOUS
    assert epoch_of(found) == 4
    (warning,) = caplog.messages
    assert warning.startswith(f"{folder / LAST} is damaged (")
    assert warning.endswith(f"going on from {folder / PREVIOUS}, an epoch earlier")


def test_a_training_whose_checkpoints_are_all_damaged_starts_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(folder / LAST, size=10)
    spoil(folder / PREVIOUS, size=10)

    assert resumable(folder, "mine", NETWORK) is None
    (warning,) = caplog.messages
    assert warning.endswith("; this training starts again")


def test_a_damaged_checkpoint_never_becomes_the_previous_one(folder: Path) -> None:
    spoil(folder / LAST, size=10)

    WholeCheckpoints().save_checkpoint(checkpoint(5), folder / LAST)

    assert (epoch_of(folder / LAST), epoch_of(folder / PREVIOUS)) == (5, 4)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_last_checkpoint(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WholeCheckpoints().save_checkpoint(checkpoint(1), tmp_path / LAST)

    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / LAST}'"):
        WholeCheckpoints().save_checkpoint(checkpoint(2), tmp_path / LAST)

    assert {LAST: 1} == {path.name: epoch_of(path) for path in tmp_path.iterdir()}


def test_where_there_are_no_links_the_last_checkpoint_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    writer = WholeCheckpoints()
    for epoch in (1, 2):
        writer.save_checkpoint(checkpoint(epoch), tmp_path / LAST)

    assert {LAST: 2, PREVIOUS: 1} == {path.name: epoch_of(path) for path in tmp_path.iterdir()}


@pytest.mark.parametrize("made_by", ["theirs", None], ids=["another", "none"])
def test_a_checkpoint_of_another_configuration_is_refused(
    made_by: str | None, tmp_path: Path
) -> None:
    content = checkpoint(1) | {MADE_BY: made_by}
    WholeCheckpoints().save_checkpoint(content, tmp_path / LAST)

    with pytest.raises(BenchError) as caught:
        resumable(tmp_path, "mine", NETWORK)

    assert str(caught.value) == (
        f"{tmp_path / LAST} is a checkpoint of another configuration ({made_by}, here it is mine); "
        f"put back its own, or delete {tmp_path}, which starts this training again"
    )


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"layer.weight": torch.zeros(3, 5)}, r"layer\.weight has shape \((3, 4|3, 5)\), here"),
        ({}, r"layer\.weight has shape \(3, 4\), here it is None"),
    ],
    ids=["shape", "name"],
)
def test_a_checkpoint_of_another_network_is_refused(
    network: dict[str, Tensor], words: str, folder: Path
) -> None:
    with pytest.raises(BenchError, match=f"is of another network: {words}"):
        resumable(folder, "mine", network)


def test_every_bit_of_saved_weights_is_watched(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    save_weights(path, NETWORK)
    whole = damage(path)
    spoil(path)

    assert whole is None
    assert damage(path) is not None
    torch.load(path, weights_only=True)  # torch itself would have taken them
