"""Categories by ids alone: those of the truth, which needs the clips or the annotations."""

from pathlib import Path
from typing import Any

import pytest

from datamodules.ave_annotations import CATEGORIES, NUMBER_OF
from datamodules.categories import categories_of
from datamodules.clip import Inputs
from datamodules.synthetic import Synthetic
from datamodules.synthetic_settings import SyntheticConfig
from metrics.errors import BenchError


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"generator_seed": 3, "context": 0.5},
        {"offscreen": 0.5, "generator_seed": 1},
        {"sources": 2},
        {
            "segments": 4,
            "motion": "pulse",
            "event_share": 0.5,
            "off_sounds": True,
            "background": 0.5,
        },
    ],
)
def test_categories_of_synthetic_are_those_of_its_truth(
    knobs: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"train_clips": 1, "val_clips": 1, "test_clips": 20, "image_size": 32, **knobs}
    config = SyntheticConfig(root=str(tmp_path / "clips"), **settings)
    truth = Synthetic(config, Inputs(image_size=32), seed=0).truth()

    found = categories_of("synthetic", [each.id for each in truth], {**settings, "younger": 1})

    assert found == [each.category for each in truth]


def test_categories_of_ave_stand_behind_the_video(shared_data: Path) -> None:
    lines = (shared_data / "annotations" / "ave" / "Annotations.txt").read_text().splitlines()
    rows = [line.split("&") for line in lines if line.count("&") == 4]
    rows = [row for row in rows if row[0] in NUMBER_OF]
    ids = [f"{row[1]}@{CATEGORIES.index(row[0])}" for row in rows]

    assert categories_of("ave", ids, {}) == [row[0] for row in rows]


@pytest.mark.parametrize(
    ("data", "clip_id", "words"),
    [
        ("vggss", "a_000001", "the ids of data set 'vggss' tell no categories; those of ave, syn"),
        ("ave", "---1_cCGK4M@28", "'---1_cCGK4M@28' is no id of ave, which looks like <11-char"),
        ("synthetic", "train-000001", "'train-000001' is no test id of synthetic"),
        ("synthetic", "test-x", "'test-x' is no test id of synthetic, which looks like test-"),
    ],
)
def test_an_id_that_tells_nothing_is_refused(data: str, clip_id: str, words: str) -> None:
    with pytest.raises(BenchError) as refused:
        categories_of(data, [clip_id], {})

    assert words in str(refused.value)
