"""What a training writes down beside its weights."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmark.config import compose
from benchmark.logs import SHOWN_EPOCHS
from benchmark.recorded import load_trained
from benchmark.runner import run
from benchmark.sheets import CAPTION, EPOCH_PANEL, GAP, MARGIN
from datamodules.synthetic import Synthetic
from metrics.errors import BenchError

TINY = ("data.train_clips=32", "data.val_clips=16", "data.test_clips=8", "data.image_size=32",
        "data.batch_size=16", "method.image_size=32", "trainer.max_epochs=3")  # fmt: skip
Trained = Callable[..., Path]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """``trained(*settings)``: the folder of a run that takes a second."""
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))

    def folder(*settings: str, method: str = "lvs") -> Path:
        changed = {word.partition("=")[0] for word in settings}
        tiny = [word for word in TINY if word.partition("=")[0] not in changed]
        runs = f"logging.runs={tmp_path / 'runs'}"
        return run(
            compose(method, "synthetic", overrides=[*tiny, runs, *settings]), fresh=True
        ).folder

    return folder


def curves(folder: Path) -> dict[str, list[float]]:
    """Columns of the table of a training, without the places where they say nothing."""
    with (folder / "training" / "logs" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


def test_loss_learning_rate_and_clips_per_second_are_told_of_every_epoch(trained: Trained) -> None:
    found = curves(trained("optim.schedule=constant", "optim.lr=0.003"))

    assert found["epoch"] == [0, 1, 2]
    assert found["lr"] == pytest.approx([0.003] * 3)
    assert len(found["train_loss"]) == len(found["clips_per_second"]) == 3
    assert min(found["clips_per_second"]) > 0


def test_the_loss_of_held_out_clips_is_told_where_it_is_asked_for(trained: Trained) -> None:
    plain, validated = trained(), trained("logging.validation=true")

    assert "val_loss" not in curves(plain)
    assert len(curves(validated)["val_loss"]) == 3
    assert (plain / "scores.csv").read_bytes() == (validated / "scores.csv").read_bytes()


def test_no_held_out_clips_are_refused_where_their_loss_is_asked_for(trained: Trained) -> None:
    with pytest.raises(
        BenchError, match=r"logging\.validation=true needs at least one batch of 16"
    ):
        trained("logging.validation=true", "data.val_clips=4")


def test_a_panel_shows_the_same_clips_after_every_epoch_and_changes_no_score(
    trained: Trained,
) -> None:
    plain, shown = trained(), trained("logging.panel=3")
    picture = cv2.imread(str(shown / "training" / "panel.png"))

    kept = sorted((shown / "training" / "panel").iterdir())
    assert [path.name for path in kept] == [f"epoch_{epoch:04d}.npy" for epoch in range(3)]
    assert [np.load(path).shape for path in kept] == [(3, 4, 4)] * 3
    assert not np.array_equal(np.load(kept[0]), np.load(kept[2]))
    step = EPOCH_PANEL + GAP
    assert picture.shape[:2] == (
        CAPTION // 2 + 3 * step - GAP + MARGIN,
        2 * MARGIN + 4 * step - GAP,
    )
    assert (plain / "scores.csv").read_bytes() == (shown / "scores.csv").read_bytes()


def test_the_last_map_of_a_panel_is_that_of_the_finished_method(trained: Trained) -> None:
    folder = trained("logging.panel=2", "trainer.max_epochs=1")
    method = load_trained(folder).method
    config = compose("lvs", "synthetic", overrides=TINY)
    data = Synthetic(config.data, method.inputs, seed=0)
    (batch,) = data.chosen_loader("val", np.array([0, 15]), np.array([0, 15]))

    expected = method.localize(batch.clip).heatmap.detach().numpy()
    kept = np.load(folder / "training" / "panel" / "epoch_0000.npy")
    np.testing.assert_allclose(kept, expected, atol=1e-6)


def test_many_epochs_are_shown_as_a_few_with_the_first_and_the_last(trained: Trained) -> None:
    folder = trained("logging.panel=1", "trainer.max_epochs=14")

    width = cv2.imread(str(folder / "training" / "panel.png")).shape[1]
    assert width == 2 * MARGIN + (1 + SHOWN_EPOCHS) * (EPOCH_PANEL + GAP) - GAP


def test_tensorboard_gets_the_curves_and_the_panel(trained: Trained) -> None:
    folder = trained("logging.tensorboard=true", "logging.panel=2")

    (events,) = (folder / "training" / "tensorboard").rglob("events.*")
    found = EventAccumulator(str(events))
    found.Reload()
    losses = [each.value for each in found.Scalars("train_loss")]
    assert losses == pytest.approx(curves(folder)["train_loss"])
    assert {"lr", "clips_per_second"} <= set(found.Tags()["scalars"])
    assert [each.step for each in found.Images("panel")] == [0, 1, 2]


def test_tensorboard_that_is_not_installed_is_told(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)

    with pytest.raises(BenchError, match=r"logging\.tensorboard=true needs a package that is not"):
        trained("logging.tensorboard=true")


def test_wandb_without_a_key_stays_on_this_machine(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)

    folder = trained("logging.wandb=true", "logging.panel=1")

    (offline,) = (folder / "training" / "wandb").glob("offline-run-*")
    assert list(offline.glob("run-*.wandb"))
    assert list(offline.glob("files/media/images/panel_*.png"))


def test_a_panel_of_fewer_than_no_clips_is_refused(trained: Trained) -> None:
    with pytest.raises(BenchError, match=r"logging\.panel=-1 must be 0 or more clips"):
        trained("logging.panel=-1")


def test_a_panel_of_a_method_without_maps_is_refused_before_it_trains(trained: Trained) -> None:
    settings = ("data.segments=3", "method.num_segments=3", "data.event_share=0.7",
                "method.supervision=weak", "method.fusion=addition",
                "method.pretrained=null")  # fmt: skip

    with pytest.raises(BenchError, match=r"logging\.panel=2 shows maps, and the method has none"):
        trained("logging.panel=2", *settings, method="avfb")
