"""`bench table field` of real runs: a released file with a guide and without, and `saliency`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from torch.nn import functional as F

from benchmark.predictions import read_predictions

Bench = Callable[..., Any]
QUICK = (
    "data.train_clips=16", "data.val_clips=16", "data.test_clips=50", "data.image_size=32",
    "data.batch_size=16", "method.image_size=64",
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(
    bench: Bench,
    released_state: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Folder of three runs on `synthetic`: `ezvsl` as released, the same guided, `saliency`."""
    folder = tmp_path_factory.mktemp("field")
    guide, released = folder / "resnet18.pth", folder / "best.pth"
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), guide)
    torch.save({"model": released_state("ezvsl")}, released)
    tested = ("eval", "--checkpoint", released, "--as", "ezvsl")
    floor = ("run", "--method", "saliency", f"method.pretrained={guide}")
    for words in (tested, (*tested, "--guide", guide), floor):
        done = bench(*words, "--data", "synthetic", *QUICK, f"logging.runs={folder / 'runs'}")
        assert done.code == 0, done.err
    return folder / "runs"


@pytest.fixture
def section(bench: Bench, runs: Path, tmp_path: Path) -> dict[str, Any]:
    """`synthetic` of the table, as JSON."""
    words = ("table", "field", "--on", "synthetic", "--results", tmp_path, "--runs", runs)
    table = bench(*words, "--json")
    assert table.code == 0, table.err
    (found,) = json.loads(table.out)["sections"]
    return dict(found)


def test_a_guided_file_is_a_row_beside_the_same_file_without_a_guide(
    section: dict[str, Any],
) -> None:
    rows = section["rows"]

    assert sorted((row["method"], row["guidance"]) for row in rows) == [
        ("ezvsl", False), ("ezvsl", True),
    ]  # fmt: skip
    for row in rows:
        assert (row["weights"], row["training"], row["leaked"]) == (
            "released checkpoint",
            "?",
            None,
        )
        assert (row["n"], row["not_accepted"]) == (50, row["records"])
        assert (row["own_protocol"], row["own_missing"]) == ("ezvsl", None)
        assert "ciou@0.5" in row["own"]


def test_the_floor_that_sees_stands_with_those_that_do_not(section: dict[str, Any]) -> None:
    for protocol in ("bench-v1", "ezvsl"):
        floors = section["bounds"][protocol]["floors"]
        assert {"center", "mean_box", "full", "saliency"} <= floors.keys()


def test_a_guided_map_is_the_published_mix_of_the_other_two_runs(
    section: dict[str, Any], runs: Path
) -> None:
    ids = {row["guidance"]: row["records"][0] for row in section["rows"]}
    (floor,) = runs.glob("*-saliency-*")

    heard, mixed, seen = (pixels(runs / name) for name in (ids[False], ids[True], floor.name))

    np.testing.assert_allclose(norm(mixed), norm(0.4 * norm(heard) + 0.6 * norm(seen)), atol=1e-4)


def pixels(run: Path) -> NDArray[np.float64]:
    """Maps of a run as EZ-VSL upsamples them, ``(N, 224, 224)``."""
    heatmap = read_predictions(run / "predictions.npz").heatmap
    assert heatmap is not None
    cells = torch.from_numpy(heatmap).double()[:, None]
    found = F.interpolate(cells, (224, 224), mode="bilinear", align_corners=True)
    return np.asarray(found[:, 0])


def norm(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = (each((1, 2), keepdims=True) for each in (maps.min, maps.max))
    return (maps - low) / (high - low)
