"""`bench predict VIDEO`: what a method is given of each second, and what is made of its answers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from benchmark.predict import write_maps
from benchmark.predictions import read_predictions
from benchmark.recorded import Trained
from benchmark.records import read_record
from benchmark.video_strips import draw_video, video_strip
from datamodules.clip import Clip, Inputs, Localization
from datamodules.own_video import read_own_video
from datamodules.proposals import Extractor
from methods.base import Method, MethodConfig, OptimConfig
from metrics.errors import BenchError

HISTORY = Path(__file__).parents[2] / "records_v1"
GRID = Extractor("grid", None)
Made = Callable[..., Path]


class Listener(Method):
    """Keeps the clips it is asked about; its confidence counts them, its box moves with them."""

    def __init__(self, num_segments: int = 1, proposals: int = 0) -> None:
        config = MethodConfig(image_size=16, sample_rate_hz=8000, segment_seconds=1.0)
        super().__init__(config, OptimConfig(), seed=0)
        self.num_segments, self.num_proposals = num_segments, proposals
        self.clips: list[Clip] = []

    @property
    def inputs(self) -> Inputs:
        return replace(super().inputs, num_segments=self.num_segments, proposals=self.num_proposals)

    def localize(self, clip: Clip) -> Localization:
        self.clips.append(clip)
        place = len(self.clips) / 8
        answer = Localization(torch.eye(3)[None], torch.tensor([place]))
        if not self.num_proposals:
            return answer
        boxes = torch.tensor([[[place - 0.125, 0.5, place, 1.0], [torch.nan] * 4]])
        scores, on_screen = torch.tensor([[place, 0.0]]), torch.tensor([place > 0.25])
        return answer._replace(boxes=boxes, box_scores=scores, on_screen=on_screen)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))


def trained(method: Method, **changes: Any) -> Trained:
    record = replace(read_record(HISTORY / "complete.json"), id="a-run", **changes)
    return Trained(Path(), record, method.eval())


def test_a_method_of_one_segment_is_asked_about_each_second_alone(
    made_video: Made, tmp_path: Path
) -> None:
    listener, path = Listener(), made_video(tmp_path / "a.mp4", seconds=3)

    found = video_strip(trained(listener), path)

    video = read_own_video(path, listener.inputs, small_side=16)
    assert [place.confidence for place in found.places] == [0.125, 0.25, 0.375]
    assert len(listener.clips) == 3
    for clip, picture, window in zip(listener.clips, video.pictures, video.windows, strict=True):
        assert clip.frames.equal(picture.frame[None, None])
        assert clip.waveform.equal(window[None, None])
        assert clip.proposals is None


def test_a_method_of_several_segments_gets_consecutive_seconds(
    made_video: Made, tmp_path: Path
) -> None:
    listener, path = Listener(num_segments=3), made_video(tmp_path / "a.mp4", seconds=4)

    found = video_strip(trained(listener), path)

    windows = read_own_video(path, listener.inputs, small_side=16).windows
    assert len(found.places) == 4
    expected = [((0, 1, 2), 0), ((0, 1, 2), 1), ((0, 1, 2), 2), ((1, 2, 3), 2)]
    assert [int(clip.target) for clip in listener.clips] == [target for _, target in expected]
    for clip, (seconds, _) in zip(listener.clips, expected, strict=True):
        assert clip.waveform[0].equal(windows[list(seconds)])
        assert clip.frames.shape == (1, 3, 3, 16, 16)


def test_proposals_are_those_of_the_picture_of_each_second(
    made_video: Made, tmp_path: Path
) -> None:
    listener = Listener(num_segments=2, proposals=300)

    video_strip(trained(listener), made_video(tmp_path / "a.mp4", seconds=3), GRID)

    for clip in listener.clips:
        assert clip.proposals is not None
        assert clip.proposals.shape == (1, 2, 300, 4)
        assert (~clip.proposals.isnan().any(-1)).sum(-1).tolist() == [[205, 205]]


def test_plain_values_and_lines_hold_every_second(made_video: Made, tmp_path: Path) -> None:
    path = made_video(tmp_path / "a.mp4", seconds=2)

    found = video_strip(trained(Listener(proposals=5)), path, GRID)

    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["video"] == str(path)
    peak = [0.5 / 3, 0.5 / 3]
    assert plain["seconds"] == [
        {"time": 0.5, "confidence": 0.125, "peak": peak, "map_size": {"height": 3, "width": 3},
         "boxes": [[0.0, 0.5, 0.125, 1.0]], "box_scores": [0.125], "on_screen": False},
        {"time": 1.5, "confidence": 0.25, "peak": peak, "map_size": {"height": 3, "width": 3},
         "boxes": [[0.125, 0.5, 0.25, 1.0]], "box_scores": [0.25], "on_screen": False},
    ]  # fmt: skip
    assert found.lines()[1] == "1.5 s: confidence 0.25, peak at x 0.17, y 0.17, off screen"


def test_the_maps_are_written_under_the_names_of_the_seconds(
    made_video: Made, tmp_path: Path
) -> None:
    path = made_video(tmp_path / "a.mp4", seconds=2)
    found = video_strip(trained(Listener(proposals=5)), path, GRID)

    write_maps(tmp_path / "maps.npz", found.ids, found.places)

    read = read_predictions(tmp_path / "maps.npz")
    assert read.ids == ("a@0s", "a@1s")
    assert read.heatmap is not None
    assert read.confidence is not None
    np.testing.assert_array_equal(read.heatmap, np.stack([np.eye(3)] * 2))
    np.testing.assert_array_equal(read.confidence, [0.125, 0.25])


def test_a_sheet_and_a_film_are_drawn(made_video: Made, tmp_path: Path) -> None:
    run = trained(Listener(proposals=5))
    found = video_strip(run, made_video(tmp_path / "a.mp4", seconds=2), GRID)

    note = draw_video(tmp_path / "out.png", tmp_path / "out.mp4", found, run)

    assert note is None
    assert cv2.imread(str(tmp_path / "out.png")) is not None
    assert (tmp_path / "out.mp4").stat().st_size > 1000


def test_an_answer_that_is_not_finite_is_refused_with_its_second(
    made_video: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Localization(torch.eye(3)[None] * torch.nan, torch.tensor([1.0]))
    monkeypatch.setattr(Listener, "localize", lambda *_: answer)

    with pytest.raises(BenchError, match=r"not finite to .*a\.mp4, second 0; its training"):
        video_strip(trained(Listener()), made_video(tmp_path / "a.mp4"))
