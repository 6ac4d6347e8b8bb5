"""The epoch that held-out clips choose."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark import checkpoints
from benchmark.config import RunConfig, compose
from benchmark.runner import run

EPOCHS = 4
TINY = ("data.train_clips=32", "data.val_clips=20", "data.test_clips=8", "data.image_size=32",
        "data.batch_size=8", "method.image_size=32", "optim.schedule=constant", "optim.lr=0.02",
        "data.labelled=0.9", "data.augmentation=crop_flip_roll",
        f"trainer.max_epochs={EPOCHS}")  # fmt: skip
Trained = Callable[..., Path]


class Killed(BaseException):
    """What ends a run at once."""


def composed(*settings: str) -> RunConfig:
    """A run of `lvs` that takes a second, with some settings changed."""
    changed = {word.partition("=")[0] for word in settings}
    tiny = [word for word in TINY if word.partition("=")[0] not in changed]
    return compose("lvs", "synthetic", overrides=[*tiny, *settings])


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    """``trained(*settings)``: the folder of such a run."""
    return lambda *settings, runs="runs": (
        run(composed(f"logging.runs={tmp_path / runs}", *settings)).folder
    )


def test_a_run_that_was_stopped_after_any_checkpoint_scores_the_same_epoch(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("trainer.select=val_loss", "trainer.max_epochs=3")
    undisturbed = trained(*settings, runs="undisturbed")
    chosen = torch.load(undisturbed / "training" / "best.ckpt", weights_only=True)["epoch"]
    write = checkpoints.write_atomically
    left: list[int] = []

    def write_or_stop(path: Path, content: Any) -> None:
        write(path, content)
        if path.suffix == ".ckpt":
            left[0] -= 1
            if left[0] == 0:
                raise Killed

    for number in itertools.count(1):
        runs = f"stopped{number}"
        left[:] = [number]
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "write_atomically", write_or_stop)
            with suppress(Killed):
                trained(*settings, runs=runs)
        again = trained(*settings, runs=runs)
        assert (again / "scores.csv").read_bytes() == (undisturbed / "scores.csv").read_bytes()
        if left[0] > 0:  # there was no such write
            break

    assert chosen > 0, "else the first epoch would do"
    assert number > 3
