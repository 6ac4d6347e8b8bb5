"""`bench run --data ave`: what is measured where only classes of seconds are known."""

import csv
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

from datamodules.clip import Batch, Clip, Inputs, Localization
from datamodules.ground_truth import ground_truth
from datamodules.sample_data import write_sample
from methods import METHODS
from methods.base import Method, MethodCard, MethodConfig, OptimConfig

Bench = Callable[..., Any]
CLASSES = 29


class SecondLabels(Method):
    """Classifies each second by the mean colour of its frame and the level of its sound."""

    card = MethodCard(paper="-", supervision="classes of seconds")

    def __init__(self, config: MethodConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        self.classify = torch.nn.Linear(4, CLASSES)

    @property
    def inputs(self) -> Inputs:
        return Inputs(image_size=16, num_segments=10, segment_seconds=1.0, labels="segment")

    def logits(self, clip: Clip) -> Tensor:
        level = clip.waveform.square().mean(2, keepdim=True).sqrt()  # (B, T, 1)
        seen = clip.frames.float().mean((3, 4)) / 255  # (B, T, 3)
        scores: Tensor = self.classify(torch.cat([seen, 10 * level], 2))
        return scores

    def loss(self, batch: Batch) -> Tensor:
        assert batch.annotation is not None
        assert batch.annotation.labels is not None
        logits = self.logits(batch.clip).flatten(0, 1)
        return torch.nn.functional.cross_entropy(logits, batch.annotation.labels.flatten())

    def localize(self, clip: Clip) -> Localization:
        size = len(clip.index)
        return Localization(
            torch.zeros(size, 2, 2), torch.zeros(size), segment_logits=self.logits(clip)
        )


class Silent(SecondLabels):
    """The same, which keeps its classes to itself."""

    def localize(self, clip: Clip) -> Localization:
        return super().localize(clip)._replace(segment_logits=None)


@pytest.fixture(autouse=True)
def methods(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("second_labels")
    module.__dict__.update(SecondLabels=SecondLabels, Silent=Silent)
    monkeypatch.setitem(sys.modules, "second_labels", module)
    monkeypatch.setitem(METHODS, "second_labels", ("second_labels:SecondLabels", "of a test"))
    monkeypatch.setitem(METHODS, "silent", ("second_labels:Silent", "of a test"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample("ave", tmp_path_factory.mktemp("miniature") / "ave", clips=16).root


@pytest.fixture
def run(bench: Bench, root: Path, tmp_path: Path) -> Callable[..., Any]:
    def done(method: str, *words: str) -> Any:
        return bench("run", "--method", method, "--data", "ave", f"data.root={root}",
                     "data.batch_size=2", "trainer.max_epochs=2", f"logging.runs={tmp_path}",
                     *words)  # fmt: skip

    return done


def test_a_run_is_measured_by_the_accuracy_of_its_seconds_alone(
    run: Callable[..., Any], bench: Bench, root: Path, tmp_path: Path
) -> None:
    done = run("second_labels", "trainer.select=val_loss", "optim.lr=0.1")

    assert done.code == 0, done.err
    (folder,) = tmp_path.glob("*-second_labels-ave-*")
    record = json.loads((folder / "record.json").read_text())
    with np.load(folder / "predictions.npz") as stored:
        logits = dict(zip(stored["id"].tolist(), stored["segment_logits"], strict=True))
    right = [
        int(scores.argmax()) == label
        for truth in ground_truth("ave", root=root).truth
        for scores, label in zip(logits[truth.id], truth.segments, strict=True)
    ]
    assert len(right) == 40
    assert record["metrics"].keys() == {"segment_acc", "swap_segment_acc"}
    assert record["metrics"]["segment_acc"] == pytest.approx(sum(right) / 40, abs=1e-12)
    assert (record["n"], record["n_expected"], record["excluded"]) == (4, 4, [])
    assert record["floors"].keys() == {"background", "clip_label"}
    assert record["ceiling"] == {"segment_acc": 1.0}
    assert record["reasons"] == ["a miniature made by bench sample-data"]
    assert record["lists"].keys() == {"train", "val", "test"}
    assert not (folder / "samples.png").exists()
    with (folder / "scores.csv").open() as file:
        assert {row["ciou"] for row in csv.DictReader(file)} == {""}
    assert "segment_acc" in done.out
    assert "rules of the field" not in done.out

    again = bench("score", "--predictions", folder, "--root", root, "--json")
    compared = bench("compare", folder, folder, "--json")

    assert json.loads(again.out)["metrics"] == pytest.approx(record["metrics"])
    assert set(json.loads(compared.out)["metrics"]) == {"segment_acc"}


@pytest.mark.parametrize("method", ["hardpos", "center"])
def test_a_method_without_classes_is_refused_before_it_trains(
    run: Callable[..., Any], tmp_path: Path, method: str
) -> None:
    done = run(method)

    assert (done.code, done.out) == (2, "")
    assert f"--data ave has no boxes, only classes of segments, and {method} answers no" in done.err
    assert list(tmp_path.glob("*-ave-*")) == []


def test_a_method_that_keeps_its_classes_to_itself_is_refused_after_the_test(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    done = run("silent")

    assert (done.code, done.out) == (2, "")
    assert "has no box, only classes of its segments, and the predictions hold no" in done.err
    assert list(tmp_path.glob("*/record.json")) == []


def test_a_method_that_tells_what_is_off_screen_is_measured_by_that(
    run: Callable[..., Any], root: Path, tmp_path: Path
) -> None:
    done = run("proposal", "--preset", "small", "method.image_size=32", "data.proposals=grid")

    assert done.code == 0, done.err
    (folder,) = tmp_path.glob("*-proposal-ave-*")
    record = json.loads((folder / "record.json").read_text())
    with (folder / "scores.csv").open() as file:
        told = {row["id"]: row["onscreen_own_rule"] for row in csv.DictReader(file)}
    middles = {each.id: int(each.segments[5]) for each in ground_truth("ave", root=root).truth}
    shown = [each for each, label in middles.items() if label != CLASSES - 1]
    assert [each for each, share in told.items() if share] == shown
    assert {told[each] for each in shown} <= {"0", "0.5", "1"}
    assert record["metrics"] == {
        "onscreen_own_rule": np.mean([float(told[each]) for each in shown])
    }
    assert (record["n"], record["n_expected"]) == (4, 4)
    own, other = (np.load(folder / f"predictions{end}.npz") for end in ("", "_swap"))
    again = (own["on_screen"] + 1.0 - other["on_screen"]) / 2  # out of what is kept
    kept = dict(zip(own["id"].tolist(), again, strict=True))
    assert [kept[each] for each in shown] == [float(told[each]) for each in shown]
