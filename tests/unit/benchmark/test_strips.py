"""`bench predict --id`: what a clip's segments are asked, and what is made of the answers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.config import compose
from benchmark.recorded import Trained
from benchmark.records import read_record
from benchmark.strips import draw_strip, strip_lines, strip_of
from datamodules.clip import Clip, Features, Inputs, Localization
from datamodules.synthetic import Synthetic
from datamodules.synthetic_generator import CLASSES
from methods.base import Method, MethodConfig, OptimConfig
from metrics.errors import BenchError

HISTORY = Path(__file__).parents[2] / "records_v1"
CLIPS = ("data.train_clips=1", "data.val_clips=1", "data.test_clips=6", "data.image_size=32",
         "data.segments=3", "data.motion=onoff", "data.event_share=0.7")  # fmt: skip


class Listener(Method):
    """Keeps the clips it is asked about; the segment decides where it points."""

    def __init__(self, num_segments: int = 3, *, answers_classes: bool = True) -> None:
        super().__init__(MethodConfig(image_size=32, segment_seconds=1.0), OptimConfig(), seed=0)
        self.num_segments, self.answers_classes = num_segments, answers_classes
        self.clips: list[Clip] = []
        self.heatmaps = torch.eye(9)[:num_segments].reshape(-1, 3, 3)

    @property
    def inputs(self) -> Inputs:
        return replace(super().inputs, num_segments=self.num_segments)

    def localize(self, clip: Clip) -> Localization:
        self.clips.append(clip)
        segment = int(clip.target)
        logits = torch.eye(len(CLASSES) + 1)[[5, 6, 16]][None] if self.answers_classes else None
        confidence = torch.tensor([0.25 * segment])
        return Localization(self.heatmaps[segment][None], confidence, segment_logits=logits)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips") / "synthetic"


@pytest.fixture
def trained(tmp_path: Path, root: Path) -> Callable[..., Trained]:
    """``trained(method)``: the method as of a run on small clips."""

    def made(method: Method, **changes: Any) -> Trained:
        config = compose("lvs_vanilla", "synthetic", overrides=(*CLIPS, f"data.root={root}"))
        record = replace(
            read_record(HISTORY / "complete.json"),
            id="a-run", method="lvs_vanilla", data="synthetic", config=config.tree(), **changes,
        )  # fmt: skip
        return Trained(tmp_path, record, method.eval())

    return made


@pytest.fixture
def clips(root: Path) -> Synthetic:
    config = compose("lvs_vanilla", "synthetic", overrides=(*CLIPS, f"data.root={root}"))
    return Synthetic(config.data, Listener().inputs, seed=0)  # type: ignore[arg-type]


def test_every_segment_is_asked_for_with_the_sound_of_each_clip(
    trained: Callable[..., Trained], clips: Synthetic
) -> None:
    listener = Listener()

    found = strip_of([trained(listener)], "test-000002", ["test-000004"])

    assert [int(clip.target) for clip in listener.clips] == [0, 1, 2] * 2
    for clip, sound in zip(listener.clips, [2] * 3 + [4] * 3, strict=True):
        assert clip.frames[0].equal(clips.frames("test", 2))
        assert clip.waveform[0].equal(clips.waveform("test", sound))
    assert [row.sound_of for row in found.rows] == ["test-000002", "test-000004"]
    assert [row.sound_category for row in found.rows] == [CLASSES[2], CLASSES[4]]
    frames = clips.frames("test", 2).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(found.frames, frames)


def test_events_are_those_of_the_truth_and_classes_those_of_the_answers(
    trained: Callable[..., Trained], clips: Synthetic
) -> None:
    names = (*CLASSES, "background")

    found = strip_of([trained(Listener())], "test-000002")

    segments = clips.truth()[2].segments
    assert segments is not None
    assert found.events == tuple(names[label] for label in segments.tolist())
    assert {"background", CLASSES[2]} == set(found.events)
    (row,) = found.rows
    assert [each.category for each in row.segments] == [CLASSES[5], CLASSES[6], "background"]


def test_plain_values_and_lines_hold_every_answer(trained: Callable[..., Trained]) -> None:
    runs = [trained(Listener()), trained(Listener(answers_classes=False))]

    found = strip_of(runs, "test-000002")

    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["id"] == "test-000002"
    assert plain["category"] == CLASSES[2]
    assert plain["events"][1] == CLASSES[2]
    with_classes, without = (row["segments"] for row in plain["rows"])
    assert with_classes[1] == {
        "confidence": 0.25, "peak": [0.5, 0.5 / 3], "map_size": {"height": 3, "width": 3},
        "class": CLASSES[6],
    }  # fmt: skip
    assert "class" not in without[1]
    assert f"  1: confidence 0.25, peak at x 0.50, y 0.17, {CLASSES[6]}" in strip_lines(found)
    assert strip_lines(found)[0] == "a-run, sound of test-000002:"


def test_a_method_of_one_segment_is_asked_about_the_middle_one(
    trained: Callable[..., Trained], clips: Synthetic
) -> None:
    listener = Listener(1, answers_classes=False)

    found = strip_of([trained(listener)], "test-000002")

    assert found.events == (CLASSES[2],)
    assert listener.clips[0].frames[0, 0].equal(clips.frames("test", 2)[1])


def test_a_strip_is_drawn_with_a_row_for_each_answer(
    trained: Callable[..., Trained], tmp_path: Path
) -> None:
    heights = []
    for sounds in ([], ["test-000004"]):
        draw_strip(tmp_path / "strip.png", strip_of([trained(Listener())], "test-000002", sounds))
        heights.append(np.asarray(Image.open(tmp_path / "strip.png")).shape[0])

    assert heights[1] - heights[0] == 46 + 124 + 38  # words above, pictures, words below


@pytest.mark.parametrize(
    ("clip_id", "sounds", "words"),
    [
        ("test-00002", [], "has no clip 'test-00002'. Did you mean test-00000"),
        ("test-000002", ["train-000000"], "has no clip 'train-000000'."),
    ],
)
def test_a_clip_that_is_not_there_is_named(
    clip_id: str, sounds: list[str], words: str, trained: Callable[..., Trained]
) -> None:
    with pytest.raises(BenchError) as refused:
        strip_of([trained(Listener())], clip_id, sounds)

    assert words in str(refused.value)
    assert "Its 6 ids look like test-000000" in str(refused.value)


def test_runs_of_different_segments_or_data_are_refused(trained: Callable[..., Trained]) -> None:
    one = trained(Listener())
    elsewhere = one._replace(record=replace(one.record, data="vggss"))

    with pytest.raises(BenchError, match=r"different numbers of segments \(3, 1\); give --run"):
        strip_of([one, trained(Listener(1))], "test-000002")
    with pytest.raises(BenchError, match=r"different data sets \(synthetic, vggss\); give --run"):
        strip_of([one, elsewhere], "test-000002")


def test_clips_that_come_as_features_are_refused(
    trained: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = Features(torch.zeros(3, 2, 4, 4), None)
    monkeypatch.setattr(Synthetic, "features", lambda *_: features)

    with pytest.raises(BenchError, match=r"come as features.*data\.feature_files=null"):
        strip_of([trained(Listener())], "test-000002")


def test_an_answer_that_is_not_finite_is_refused(trained: Callable[..., Trained]) -> None:
    listener = Listener()
    listener.heatmaps = listener.heatmaps * torch.nan

    with pytest.raises(BenchError, match="not finite to the sound of test-000002; its training"):
        strip_of([trained(listener)], "test-000002")


def test_a_setting_of_the_data_may_be_given_anew(trained: Callable[..., Trained]) -> None:
    with pytest.raises(BenchError, match="unknown setting 'data.test_clip'"):
        strip_of([trained(Listener())], "test-000002", overrides=["data.test_clip=3"])
    with pytest.raises(BenchError, match="has no clip .test-000003."):
        strip_of([trained(Listener())], "test-000003", overrides=["data.limit=2"])
