"""A method that learns nothing is tested as it was built, and is a run like any other."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.predictions import read_predictions
from datamodules.clip import Batch, Clip, Localization
from datamodules.sample_data import write_sample
from methods import METHODS
from methods.base import Method, MethodCard, MethodConfig, OptimConfig
from metrics.errors import BenchError

Bench = Callable[..., Any]
Tiny = Callable[..., tuple[str, ...]]
CELLS = 4


class Ramp(Method):
    """A slope to the right as steep as its one weight, and the loudness as confidence."""

    card = MethodCard(supervision="none")

    def __init__(self, config: MethodConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        self.steepness = torch.nn.Parameter(torch.full((), 0.25))

    def loss(self, batch: Batch) -> Tensor:
        return self.steepness.square()

    def localize(self, clip: Clip) -> Localization:
        row = self.steepness * torch.arange(CELLS, device=clip.target.device)
        loudness = clip.waveform.abs().mean((1, 2))
        return Localization(row.expand(len(clip.target), CELLS, CELLS), loudness)


class FixedRamp(Ramp):
    """The same, which is not trained."""

    @property
    def learns(self) -> bool:
        return False

    def loss(self, batch: Batch) -> Tensor:
        raise BenchError("a method that learns nothing was trained")

    def conclude(self, data: object) -> None:
        raise BenchError("a method that learns nothing has no end of a training")


@pytest.fixture(autouse=True)
def methods(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("ramps")
    module.__dict__.update(Ramp=Ramp, FixedRamp=FixedRamp)
    monkeypatch.setitem(sys.modules, "ramps", module)
    monkeypatch.setitem(METHODS, "ramp", ("ramps:Ramp", "of a test"))
    monkeypatch.setitem(METHODS, "fixed_ramp", ("ramps:FixedRamp", "of a test"))


@pytest.fixture
def command(tiny: Tiny, tmp_path: Path) -> tuple[str, ...]:
    words = ("run", "--method", "fixed_ramp", "--data", "synthetic", *tiny())
    return (*words, f"logging.runs={tmp_path / 'runs'}")


def only_run(folder: Path) -> Path:
    (path,) = (folder / "runs").glob("*/record.json")
    return path.parent


def record_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "record.json").read_text())
    return content


def test_a_method_that_learns_nothing_is_scored_as_it_was_built(
    bench: Bench, command: tuple[str, ...], tmp_path: Path
) -> None:
    done = bench(*command)

    run = only_run(tmp_path)
    record, found = record_of(run), read_predictions(run / "predictions.npz")
    assert done.code == 0, done.err
    assert (record["n"], record["seconds"]["train"]) == (16, 0.0)
    assert found.heatmap is not None
    expected = np.tile(np.array([0, 0.25, 0.5, 0.75], np.float32), (16, CELLS, 1))
    np.testing.assert_array_equal(found.heatmap, expected)


def test_its_record_names_no_training_list(
    bench: Bench, command: tuple[str, ...], tmp_path: Path
) -> None:
    done = bench(*command)

    record = record_of(only_run(tmp_path))
    assert ["test"] == list(record["splits"]) == list(record["lists"])
    assert record["leakage"]["trained_on"] == 0
    assert "training clips" not in done.out
    assert "0 train," in done.out


def test_it_is_killed_and_resumed_like_any_run(
    bench: Bench, command: tuple[str, ...], tmp_path: Path
) -> None:
    bench(*command)
    run = only_run(tmp_path)
    before = (run / "predictions.npz").read_bytes()
    (run / "record.json").unlink()
    (run / "training" / "weights.pt").write_bytes(b"half")

    done = bench(*command)

    assert done.code == 0, done.err
    assert only_run(tmp_path) == run
    assert (run / "predictions.npz").read_bytes() == before


def test_predict_takes_the_weights_that_its_run_kept(
    bench: Bench, command: tuple[str, ...], tmp_path: Path
) -> None:
    bench(*command)
    run, root = only_run(tmp_path), tmp_path / "vggss"
    state = torch.load(run / "training" / "weights.pt", weights_only=True)
    torch.save({name: 2 * tensor for name, tensor in state.items()},
               run / "training" / "weights.pt")  # fmt: skip
    write_sample("vggss", root, clips=8)
    (frame, *_), (sound, *_) = (sorted((root / name).iterdir()) for name in ("frames", "audio"))

    done = bench("predict", "--run", run, "--image", frame, "--sound", sound,
                 "--npz", tmp_path / "maps.npz")  # fmt: skip

    assert done.code == 0, done.err
    found = read_predictions(tmp_path / "maps.npz").heatmap
    assert found is not None
    np.testing.assert_array_equal(found[0, 0], [0, 0.5, 1, 1.5])


@pytest.mark.parametrize(("method", "code"), [("fixed_ramp", 0), ("ramp", 2)])
def test_only_a_method_that_learns_needs_a_training_list(
    method: str, code: int, bench: Bench, tmp_path: Path
) -> None:
    root = tmp_path / "vggss"
    write_sample("vggss", root, clips=24)
    (root / "train.txt").unlink()

    done = bench("run", "--method", method, "--data", "vggss", f"data.root={root}",
                 "method.image_size=32", f"logging.runs={tmp_path / 'runs'}")  # fmt: skip

    assert done.code == code, done.err
    assert ("the training list is empty" in done.err) == (method == "ramp")


def test_settings_of_a_training_that_never_happens_are_not_measured_against_the_list(
    bench: Bench, command: tuple[str, ...], tmp_path: Path
) -> None:
    done = bench(*command, "trainer.accumulate=64")

    assert done.code == 0, done.err
    assert record_of(only_run(tmp_path))["notes"] == {}


def test_a_word_that_is_no_setting_is_refused_all_the_same(
    bench: Bench, command: tuple[str, ...]
) -> None:
    done = bench(*command, "trainer.select=best")

    assert (done.code, "trainer.select='best' is unknown" in done.err) == (2, True)


def test_a_stage_of_a_method_that_learns_nothing_is_not_trained_either(
    bench: Bench, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(method: Ramp, stages: Any, data: object) -> None:
        stage = stages.fit("first", FixedRamp(method.config, method.optim, seed=0))
        method.steepness.data = stage.steepness.data * 2

    monkeypatch.setattr(Ramp, "prepare", prepare)
    monkeypatch.setattr(FixedRamp, "prepare", Method.prepare)
    monkeypatch.setattr(Ramp, "loss", lambda method, batch: 0 * method.steepness)

    done = bench("run", "--method", "ramp", "--data", "synthetic", *tiny(),
                 f"logging.runs={tmp_path / 'runs'}")  # fmt: skip

    assert done.code == 0, done.err
    run = only_run(tmp_path)
    found = read_predictions(run / "predictions.npz").heatmap
    assert found is not None
    np.testing.assert_array_equal(found[0, 0], [0, 0.5, 1, 1.5])
