"""Truth by ids alone: that of the data set, which makes the clips."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.clip import Inputs
from datamodules.synthetic import Synthetic
from datamodules.synthetic_settings import SyntheticConfig
from datamodules.told_truth import told_truth
from metrics.errors import BenchError


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"generator_seed": 3, "context": 0.5},
        {"offscreen": 0.5, "annotators": True},
        {"sources": 2, "annotators": True},
        {"segments": 4, "motion": "pulse", "event_share": 0.5, "off_sounds": True},
        {"segments": 5, "motion": "onoff"},
    ],
)
def test_boxes_and_classes_of_synthetic_are_those_of_its_clips(
    knobs: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"train_clips": 1, "val_clips": 1, "test_clips": 20, "image_size": 32, **knobs}
    config = SyntheticConfig(root=str(tmp_path / "clips"), **settings)
    made = Synthetic(config, Inputs(image_size=32), seed=0).truth()

    told = told_truth("synthetic", [each.id for each in made], {**settings, "younger": 1})

    assert told is not None
    assert [one.category for one in told] == [one.category for one in made]
    assert [one.on_screen for one in told] == [one.on_screen for one in made]
    for one, other in zip(told, made, strict=True):
        assert len(one.boxes) == len(other.boxes)
        for boxes, others in zip(one.boxes, other.boxes, strict=True):
            np.testing.assert_array_equal(others, boxes)
        np.testing.assert_array_equal(other.objects, one.objects)


def test_an_id_of_ave_tells_its_class_and_no_place() -> None:
    told = told_truth("ave", ["---1_cCGK4M@0"], {})

    assert told is not None
    assert ("Church bell", False) == (told[0].category, told[0].has_place)


def test_ids_of_other_data_sets_tell_nothing() -> None:
    assert told_truth("vggss", ["abcdefghijk_000001"], {}) is None


def test_an_id_of_another_data_set_is_refused() -> None:
    with pytest.raises(BenchError, match="'dog' is no test id of synthetic"):
        told_truth("synthetic", ["dog"], {})
