"""`bench table field` out of runs of `bench run`: guided, unguided, and the floor that sees."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision

Bench = Callable[..., Any]
Tiny = Callable[..., tuple[str, ...]]


@pytest.fixture(scope="module")
def section(bench: Bench, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`synthetic` of the table, as JSON, after a guided run, the same unguided, and `saliency`."""
    folder = tmp_path_factory.mktemp("field")
    weights, runs = folder / "resnet18.pth", folder / "runs"
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), weights)
    settings = tiny("method.image_size=64", "method.segment_seconds=0.5", "data.train_clips=16",
                    "data.test_clips=60", "trainer.max_epochs=1")  # fmt: skip
    for method, word in (
        ("ezvsl", "method.object_guidance=null"),
        ("ezvsl", f"method.object_guidance={weights}"),
        ("saliency", f"method.pretrained={weights}"),
    ):
        own = ("method.backbone=resnet18",) if method == "ezvsl" else ()
        done = bench("run", "--method", method, "--data", "synthetic", *settings, *own, word,
                     f"logging.runs={runs}")  # fmt: skip
        assert done.code == 0, done.err
    table = bench("table", "field", "--on", "synthetic", "--results", folder / "none",
                  "--runs", runs, "--json")  # fmt: skip
    assert table.code == 0, table.err
    (found,) = json.loads(table.out)["sections"]
    return dict(found)


def test_a_guided_run_is_a_row_beside_the_run_without_a_guide(section: dict[str, Any]) -> None:
    assert sorted((row["method"], row["guidance"]) for row in section["rows"]) == [
        ("ezvsl", False), ("ezvsl", True),
    ]  # fmt: skip
    assert all(row["own_protocol"] == "ezvsl" and "ciou@0.5" in row["own"]
               for row in section["rows"])  # fmt: skip


def test_the_floor_that_sees_stands_with_those_that_do_not(section: dict[str, Any]) -> None:
    for protocol in ("bench-v1", "ezvsl"):
        floors = section["bounds"][protocol]["floors"]
        assert {"center", "mean_box", "full", "saliency"} <= floors.keys()


def test_runs_that_were_not_accepted_are_said_to_be(section: dict[str, Any]) -> None:
    for row in section["rows"]:
        assert row["not_accepted"] == row["records"]
        assert (row["leaked"], row["n"], row["seeds"]) == (0, 60, [0])
