"""The epoch that held-out clips choose."""

import csv
import itertools
import json
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from benchmark import checkpoints
from benchmark.config import RunConfig, compose
from benchmark.recorded import load_trained
from benchmark.runner import run
from benchmark.validation import ValidationCiou, mean_at_best_threshold, validation_truth
from datamodules.synthetic import Synthetic
from methods.avfb import Avfb, AvfbConfig
from methods.base import OptimConfig
from methods.global_norm import rank, world_size
from methods.lvs import Lvs
from metrics.errors import BenchError

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


def curve(folder: Path, name: str) -> list[float]:
    (path,) = (folder / "training").glob("logs/version_0/metrics.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    return [float(row[name]) for row in rows if row.get(name)]


def untrained() -> Lvs:
    config = composed()
    return Lvs(config.method, config.optim, seed=0)  # type: ignore[arg-type]


def synthetic(*settings: str) -> Synthetic:
    return Synthetic(composed(*settings).data, untrained().inputs, seed=0)


def drawn(annotators: tuple[NDArray[np.float64], ...]) -> NDArray[np.float64]:
    """Votes over two, at most 1, of boxes on 224 x 224 pixels."""
    votes = np.zeros((224, 224))
    for boxes in annotators:
        own = np.zeros((224, 224))
        for left, top, right, bottom in (np.clip(boxes, 0, 1) * 224).astype(int):
            own[top:bottom, left:right] = 1
        votes += own
    return np.minimum(votes / 2, 1)


def chosen_epoch(folder: Path) -> Any:
    return json.loads((folder / "record.json").read_text())["notes"].get("chosen_epoch")


def naive_val_ciou(folder: Path, data: Synthetic) -> float:
    """What the weights of a finished run score on the labelled validation clips, by loops."""
    method = load_trained(folder).method
    found: dict[float, list[float]] = {}
    for batch in data.ordered_loader("val"):
        with torch.no_grad():
            heatmaps = method.localize(batch.clip).heatmap
        large = F.interpolate(heatmaps.unsqueeze(1), (224, 224), mode="bilinear").squeeze(1)
        for row, value in zip(batch.clip.index.tolist(), large.double().numpy(), strict=True):
            annotators = data.boxes("val", row)
            if not annotators:
                continue
            gt = drawn(annotators)
            shares = (value - value.min()) / (value.max() - value.min())
            for step in range(1, 20):
                pred = shares >= 0.05 * step
                union = gt.sum() + (pred & (gt == 0)).sum()
                found.setdefault(step, []).append((pred * gt).sum() / union)
    return max(sum(values) / len(values) for values in found.values())


def test_the_epoch_of_the_highest_val_ciou_is_scored(trained: Trained) -> None:
    chosen = trained("trainer.select=val_ciou")
    told = curve(chosen, "val_ciou")
    after = [trained(f"trainer.max_epochs={count}") for count in range(1, EPOCHS + 1)]
    data = synthetic()

    expected = [naive_val_ciou(folder, data) for folder in after]
    best = int(np.argmax(expected))
    assert 0 < len([row for row in range(20) if data.boxes("val", row)]) < 20
    assert told == pytest.approx(expected, abs=1e-4)  # a pixel may lie on a threshold
    assert best != EPOCHS - 1, "else the last epoch would do"
    assert (chosen / "scores.csv").read_bytes() == (after[best] / "scores.csv").read_bytes()
    assert curve(chosen, "train_loss") == curve(after[-1], "train_loss")
    assert (chosen_epoch(chosen), chosen_epoch(after[-1])) == (best + 1, None)


def test_the_first_of_equal_epochs_is_kept(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.validation.mean_at_best_threshold", lambda ciou: 0.25)
    folder = trained("trainer.select=val_ciou")

    assert torch.load(folder / "training" / "best.ckpt", weights_only=True)["epoch"] == 0


def test_a_record_that_is_made_again_of_a_finished_training_tells_the_epoch(
    trained: Trained,
) -> None:
    folder = trained("trainer.select=val_loss")
    told = chosen_epoch(folder)
    (folder / "record.json").unlink()

    assert trained("trainer.select=val_loss") == folder
    assert chosen_epoch(folder) == told
    assert told in range(1, EPOCHS + 1)


@pytest.mark.parametrize("select", ["val_loss", "val_ciou"])
def test_a_run_that_was_stopped_after_any_checkpoint_scores_the_same_epoch(
    select: str, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (f"trainer.select={select}", "trainer.max_epochs=3")
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
        assert chosen_epoch(again) == chosen + 1
        if left[0] > 0:  # there was no such write
            break

    assert chosen > 0, "else the first epoch would do"
    assert number > 3


def one_val_ciou() -> tuple[float, bool]:
    """What the callback logs on this process, and whether it left the training as it was."""
    data, method = synthetic(), untrained()
    method.train()
    method.streams.eval()  # a frozen part
    modes = [part.training for part in method.modules()]
    told: dict[str, float] = {}
    method.log = lambda name, value, **_: told.update({name: value})  # type: ignore[assignment,misc]
    trainer: Any = SimpleNamespace(
        global_rank=rank(),
        world_size=world_size(),
        strategy=SimpleNamespace(batch_to_device=lambda batch: batch),
        precision_plugin=SimpleNamespace(
            convert_input=lambda batch: batch, val_step_context=nullcontext
        ),
    )
    callback = ValidationCiou(validation_truth(method, data), data)
    callback.on_train_start(trainer, method)
    state = torch.get_rng_state()
    callback.on_train_epoch_end(trainer, method)
    is_as_it_was = torch.equal(state, torch.get_rng_state()) and modes == [
        part.training for part in method.modules()
    ]
    return told["val_ciou"], is_as_it_was


@pytest.mark.parametrize("count", [2, 4])  # the last of four has no batch
def test_any_number_of_processes_tells_the_same_val_ciou(
    count: int, on_processes: Callable[..., list[Any]]
) -> None:
    alone, is_as_it_was = one_val_ciou()

    assert is_as_it_was
    assert 0 < alone < 1
    assert [(alone, True)] * count == on_processes(count, one_val_ciou)


def losses_and_val_ciou(runs: str, devices: int) -> list[list[float]]:
    """The curves of a training on so many processes; called on every rank."""
    strategy = "ddp" if devices > 1 else "auto"  # no group is left in the process of the tests
    chosen = ("trainer.select=val_ciou", f"logging.runs={runs}", f"trainer.devices={devices}")
    quiet = ("optim.lr=1e-6", "trainer.max_epochs=2")  # no rounding grows
    folder = run(
        composed(*chosen, *quiet, "trainer.accelerator=cpu", f"trainer.strategy={strategy}")
    ).folder
    return [curve(folder, name) for name in ("train_loss", "val_ciou")]


def test_a_training_on_two_processes_chooses_by_the_same_values(
    on_processes: Callable[..., list[Any]], tmp_path: Path
) -> None:
    expected = losses_and_val_ciou(str(tmp_path / "alone"), 1)
    together, _ = on_processes(2, losses_and_val_ciou, str(tmp_path / "together"), 2)

    np.testing.assert_allclose(together, expected, rtol=0.01)


def test_the_best_threshold_is_one_for_all_clips() -> None:
    ciou = np.array([[0.9, 0.1, 0.3], [0.1, 0.8, 0.6], [0.2, 0.3, 0.6]])

    assert mean_at_best_threshold(ciou) == pytest.approx((0.3 + 0.6 + 0.6) / 3)


def test_clips_without_boxes_for_training_are_refused() -> None:
    data = synthetic("data.labelled=0.02")  # of 20 clips none

    with pytest.raises(BenchError, match=r"none of the 20 of --data synthetic has any; set "):
        validation_truth(untrained(), data)


def test_a_method_without_maps_is_refused() -> None:
    config = AvfbConfig(backbone="small", modalities="audio", supervision="supervised")
    method = Avfb(config, OptimConfig(), seed=0)

    with pytest.raises(BenchError, match="measures maps, and the method has none with these"):
        validation_truth(method, synthetic())
