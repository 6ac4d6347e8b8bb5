"""`saliency`: a floor with maps of its own, which stands among the floors and never hears."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from benchmark.leaderboard import leaderboard
from benchmark.predictions import read_predictions
from benchmark.records import Record, read_record
from datamodules.sample_data import write_sample

Bench = Callable[..., Any]
Tiny = Callable[..., tuple[str, ...]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the right names and shapes; nobody needs them to know objects here."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def run(bench: Bench, tiny: Tiny, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run on `synthetic`."""
    runs = tmp_path_factory.mktemp("runs")
    settings = tiny("method.image_size=96", "data.test_clips=60")
    done = bench("run", "--method", "saliency", "--data", "synthetic", *settings,
                 f"method.pretrained={weights}", f"logging.runs={runs}")  # fmt: skip
    assert done.code == 0, done.err
    (path,) = runs.glob("*/record.json")
    return path.parent


@pytest.fixture
def record(run: Path) -> Record:
    return read_record(run / "record.json")


def test_its_scores_with_swapped_sounds_are_its_own(run: Path, record: Record) -> None:
    for key in ("ciou@0.5", "auc", "pixel_ap", "pointing"):
        assert record.metrics[f"swap_{key}"] == record.metrics[key]
    own, other = (
        read_predictions(run / f"{name}.npz") for name in ("predictions", "predictions_swap")
    )
    assert own.heatmap is not None
    assert own.heatmap.shape == (60, 3, 3)
    np.testing.assert_array_equal(own.heatmap, other.heatmap)


def test_it_is_recorded_as_a_floor_under_every_protocol(record: Record) -> None:
    assert (record.card.floor, record.status, record.seconds.train) == (True, "complete", 0.0)
    assert (record.skill, record.comparisons) == ({}, {})
    assert {"lvs", "ezvsl"} <= record.protocols.keys()


def test_it_stands_among_the_floors_and_not_in_the_ranking(record: Record) -> None:
    page = leaderboard([record])

    shown = f"| *floor* saliency | - | - | {100 * record.metrics['ciou@0.5']:.1f} ["
    assert shown in page
    assert "**saliency**" not in page


def test_bench_score_reads_its_maps(bench: Bench, run: Path, record: Record) -> None:
    done = bench("score", "--predictions", run, "--protocol", "ezvsl", "--json")

    assert done.code == 0, done.err
    assert json.loads(done.out)["metrics"]["ciou@0.5"] == record.protocols["ezvsl"].metrics["ciou@0.5"]  # fmt: skip  # noqa: E501


def test_bench_predict_shows_it_on_a_picture(bench: Bench, run: Path, tmp_path: Path) -> None:
    write_sample("vggss", tmp_path / "vggss", clips=8)
    frame, sound = (
        min((tmp_path / "vggss" / name).iterdir()) for name in ("frames", "audio")
    )  # fmt: skip

    done = bench("predict", "--run", run, "--image", frame, "--sound", sound,
                 "--npz", tmp_path / "maps.npz")  # fmt: skip

    assert done.code == 0, done.err
    found = read_predictions(tmp_path / "maps.npz").heatmap
    assert found is not None
    assert found.std() > 0


def test_without_weights_there_is_no_run(bench: Bench, tiny: Tiny, tmp_path: Path) -> None:
    done = bench("run", "--method", "saliency", "--data", "synthetic", *tiny(),
                 f"logging.runs={tmp_path}")  # fmt: skip

    assert done.code == 2
    assert done.err.startswith("bench: saliency needs ImageNet weights")
    assert not list(tmp_path.iterdir())
