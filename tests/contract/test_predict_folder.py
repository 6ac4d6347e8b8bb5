"""`bench predict` on a folder of one's own files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.predict_folder import files_of
from benchmark.predictions import read_predictions
from datamodules.sample_data import write_sample
from metrics.errors import BenchError

Bench = Callable[..., Any]


@pytest.fixture(scope="module")
def run(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that takes a second."""
    folder = tmp_path_factory.mktemp("run")
    words = ("run", "--method", "lvs", "--data", "synthetic", "--dry-run", "data.train_clips=32",
             "data.val_clips=8", "data.test_clips=8", "data.image_size=32", "data.batch_size=16",
             "method.image_size=32", f"logging.runs={folder}")  # fmt: skip
    done = bench(*words)
    assert done.code == 0, done.err
    (record,) = folder.glob("*/record.json")
    return record.parent


@pytest.fixture
def own(tmp_path: Path, made_video: Callable[..., Path]) -> Path:
    """Two pictures, one with two sounds, a video, a broken picture, and two files alone."""
    write_sample("vggss", tmp_path / "sample", clips=12)
    frames = sorted((tmp_path / "sample" / "frames").glob("*.jpg"))[:4]
    folder = tmp_path / "own"
    folder.mkdir()
    for name, frame in zip(("bay", "street", "broken", "alone"), frames, strict=True):
        shutil.copy(frame, folder / f"{name}.jpg")
    sound = tmp_path / "sample" / "audio" / f"{frames[0].stem}.wav"
    for name in ("bay", "street.dog", "street.horn", "broken", "nobody"):
        shutil.copy(sound, folder / f"{name}.wav")
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("left out")
    made_video(folder / "concert.mp4", seconds=2, rate=4)
    return folder


def test_every_file_is_answered_drawn_and_told(
    bench: Bench, run: Path, own: Path, tmp_path: Path
) -> None:
    out = tmp_path / "answers"

    done = bench("predict", "--run", run, own, "--out", out, "--json")

    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert list(told["answers"]) == ["bay.jpg", "concert.mp4", "street.jpg"]
    assert list(told["refused"]) == ["broken.jpg"]
    assert told["alone"] == ["alone.jpg", "nobody.wav"]
    assert sorted(path.name for path in out.iterdir()) == [
        "answers.json", "bay.png", "concert.mp4", "concert.png", "maps.npz", "street.png",
    ]  # fmt: skip
    maps = read_predictions(out / "maps.npz")
    assert maps.ids == ("bay.wav", "concert@0s", "concert@1s", "street.dog.wav", "street.horn.wav")
    assert json.loads((out / "answers.json").read_text())["answers"] == told["answers"]


def test_an_answer_is_that_of_the_file_alone(
    bench: Bench, run: Path, own: Path, tmp_path: Path
) -> None:
    bench("predict", "--run", run, own, "--out", tmp_path / "all")
    alone = bench("predict", "--run", run, "--image", own / "street.jpg", "--sound",
                  own / "street.dog.wav", "--npz", tmp_path / "one.npz",
                  "--out", tmp_path / "one.png")  # fmt: skip
    assert alone.code == 0, alone.err

    together, one = (
        read_predictions(tmp_path / "all" / "maps.npz"),
        read_predictions(tmp_path / "one.npz"),
    )
    assert together.heatmap is not None
    assert one.heatmap is not None
    row = together.ids.index("street.dog.wav")
    np.testing.assert_array_equal(together.heatmap[row], one.heatmap[0])


def test_without_an_out_the_answers_lie_in_the_run_and_what_was_left_out_is_said(
    bench: Bench, run: Path, own: Path
) -> None:
    done = bench("predict", "--run", run, own)

    assert done.code == 0
    assert done.out.endswith(f"3 of 4 files answered: {run / 'predict-own'}\n")
    assert "broken.jpg is left out: " in done.err
    assert "without a partner of the same name: alone.jpg, nobody.wav" in done.err


def test_a_folder_without_pairs_and_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")

    with pytest.raises(BenchError, match=r"holds no video and no picture with a sound; put street"):
        files_of(tmp_path)


def test_a_sound_goes_with_the_longest_name_that_its_own_begins_with(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.b.jpg", "a.wav", "a.b.wav", "a.b.c.wav"):
        (tmp_path / name).write_bytes(b"")

    found = files_of(tmp_path)

    names = {path.name: [sound.name for sound in own] for path, own in found.pictures.items()}
    assert names == {"a.jpg": ["a.wav"], "a.b.jpg": ["a.b.c.wav", "a.b.wav"]}


def test_answers_do_not_go_among_what_is_asked_about(bench: Bench, run: Path, own: Path) -> None:
    before = {path.name: path.read_bytes() for path in own.iterdir()}

    done = bench("predict", "--run", run, own, "--out", own)

    assert done.code == 2
    assert f"--out {own} is the folder that is asked about" in done.err
    assert before == {path.name: path.read_bytes() for path in own.iterdir()}


def test_two_answers_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.wav", "a.mp4"):
        (tmp_path / name).write_bytes(b"")

    with pytest.raises(BenchError, match=r"has several of the name a, whose answers would be one"):
        files_of(tmp_path)


def test_files_none_of_which_can_be_read_are_an_error(
    bench: Bench, run: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name in ("a.jpg", "a.wav"):
        (own / name).write_bytes(b"neither")

    done = bench("predict", "--run", run, own, "--out", tmp_path / "out")

    assert done.code == 2
    assert "none of 1 files could be answered; a.jpg: " in done.err
