"""`avfb` from the command line: as a localiser without labels, with classes, and without a map."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.sample_data import write_sample

Bench = Callable[..., Any]
TINY = ("data.train_clips=12", "data.val_clips=4", "data.test_clips=8", "data.image_size=32",
        "data.segments=3", "method.num_segments=3", "data.motion=onoff", "data.event_share=0.7",
        "data.batch_size=4", "method.image_size=32", "method.mfb_p=4", "method.pretrained=null",
        "trainer.max_epochs=1")  # fmt: skip


@pytest.fixture
def run(bench: Bench, tmp_path: Path) -> Callable[..., Any]:
    """``run(data, *settings)``: the outcome, and the record where there is one."""

    def done(data: str, *words: str) -> tuple[Any, dict[str, Any], Path]:
        outcome = bench("run", "--method", "avfb", "--data", data, "--preset", "small",
                        f"logging.runs={tmp_path}", *words)  # fmt: skip
        folders = [path.parent for path in tmp_path.glob("*/record.json")]
        folder = folders[0] if folders else tmp_path
        record = json.loads((folder / "record.json").read_text()) if folders else {}
        return outcome, record, folder

    return done


def test_without_labels_it_answers_maps_and_tells_its_similarities(run: Callable[..., Any]) -> None:
    done, record, folder = run("synthetic", *TINY)

    assert done.code == 0, done.err
    assert "segment_acc" not in record["metrics"]
    assert {"ciou@0.5", "pixel_ap", "swap_pixel_ap"} <= record["metrics"].keys()
    assert {"similarity", "similarity_wrong_sounds", "similarity_wrong_frames"} == set(
        record["notes"]
    )
    assert record["card"]["supervision"] == "none"
    with np.load(folder / "predictions.npz") as stored:
        assert stored["heatmap"].shape == (8, 4, 4)


def test_with_classes_it_is_measured_on_places_and_segments(run: Callable[..., Any]) -> None:
    done, record, _ = run("synthetic", *TINY, "method.supervision=supervised")

    assert done.code == 0, done.err
    assert {"ciou@0.5", "pixel_ap", "segment_acc"} <= record["metrics"].keys()
    assert {"center", "background", "clip_label"} <= record["floors"].keys()
    assert record["comparisons"]["best_floor"]["segment_acc"]["against"] == "clip_label"
    assert record["card"]["supervision"] == "classes of segments"
    assert "floor background" in done.out


def test_a_variant_without_a_map_is_measured_on_segments_alone(
    run: Callable[..., Any], bench: Bench
) -> None:
    done, record, folder = run(
        "synthetic", *TINY, "method.supervision=weak", "method.fusion=addition"
    )

    assert done.code == 0, done.err
    assert record["metrics"].keys() == {"segment_acc", "swap_segment_acc"}
    assert record["floors"].keys() == {"background", "clip_label"}
    assert record["card"]["localises"] is False
    with np.load(folder / "predictions.npz") as stored:
        assert set(stored.files) == {"id", "confidence", "segment_logits"}
    assert not (folder / "samples.png").exists()

    data = [word for word in TINY if word.startswith("data.") and "batch" not in word]
    again = bench("score", "--predictions", folder, "--data", "synthetic", *data, "--json")

    assert again.code == 0, again.err
    assert json.loads(again.out)["metrics"] == pytest.approx(record["metrics"])


def test_on_ave_it_learns_the_classes_of_seconds(run: Callable[..., Any], tmp_path: Path) -> None:
    root = write_sample("ave", tmp_path / "miniature", clips=16).root

    done, record, _ = run("ave", f"data.root={root}", "method.image_size=32", "data.batch_size=2",
                          "method.pretrained=null", "trainer.max_epochs=1")  # fmt: skip

    assert done.code == 0, done.err
    assert record["metrics"].keys() == {"segment_acc", "swap_segment_acc"}
    assert record["card"]["supervision"] == "classes of segments"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("method.num_segments=1",), "method.num_segments=1: without labels the loss compares"),
        (("method.num_segments=4",), "set data.segments=4"),
        (("method.supervision=weak", "method.num_classes=5"), "set method.num_classes=16"),
        (("data.segments=1", "data.seconds=3", "data.motion=static", "data.event_share=null",
          "method.supervision=weak", "method.fusion=lstm"), "these settings has no map, only"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_or_measured_is_one_line_and_exit_2(
    run: Callable[..., Any], words: tuple[str, ...], message: str
) -> None:
    changed = {word.partition("=")[0] for word in words}

    done, record, _ = run(
        "synthetic", *(word for word in TINY if word.partition("=")[0] not in changed), *words
    )

    assert (done.code, done.out, record) == (2, "", {})
    assert message in done.err
    assert done.err.count("\n") == 1
