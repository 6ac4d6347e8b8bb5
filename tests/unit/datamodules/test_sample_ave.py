from pathlib import Path

import h5py
import pytest
import soundfile
from PIL import Image

from datamodules.ave import Ave, AveConfig
from datamodules.ave_annotations import read_ave_list, read_rows
from datamodules.clip import Inputs
from datamodules.sample_data import Sample, write_sample

INPUTS = Inputs(image_size=32, num_segments=10, sample_rate_hz=16000, segment_seconds=1.0)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return write_sample("ave", tmp_path_factory.mktemp("miniature") / "ave", clips=16, seed=3)


@pytest.fixture
def data(sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ave:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    return Ave(AveConfig(root=str(sample.root), batch_size=2), INPUTS, seed=0)


def test_order_files_share_the_rows_of_the_annotations_among_them(sample: Sample) -> None:
    annotations = sample.root / "Annotations.txt"
    rows = read_rows(annotations)

    parts = [
        read_ave_list(sample.root / f"{split}_order.h5", annotations).ids
        for split in ("train", "val", "test")
    ]

    assert [len(part) for part in parts] == [10, 2, 4]
    assert sorted(each for part in parts for each in part) == sorted(row.id for row in rows)
    assert (sample.num_train, sample.num_test, sample.has_places) == (10, 4, False)


def test_every_video_has_ten_frames_and_ten_seconds_of_sound(sample: Sample) -> None:
    videos = {row.video for row in read_rows(sample.root / "Annotations.txt")}

    assert len(videos) == 14
    for video in videos:
        names = sorted(path.name for path in (sample.root / "frames" / video).iterdir())
        assert names == [f"{second:02d}.jpg" for second in range(10)]
        assert Image.open(sample.root / "frames" / video / "00.jpg").size == (128, 96)
        assert soundfile.info(sample.root / "audio" / f"{video}.wav").duration == 10.0


def test_one_training_video_is_tested_and_one_validates(data: Ave) -> None:
    report = data.report

    assert (report.leaked_videos, report.removed_for_leakage) == (1, 1)
    assert {name: len(split) for name, split in report.splits.items()} == {
        "train": 8, "val": 2, "test": 4,
    }  # fmt: skip
    assert (report.missing, report.unreadable, report.is_miniature) == ((), {}, True)


def test_a_clip_sounds_in_the_seconds_of_its_event_alone(data: Ave) -> None:
    labels = [data.labels("train", row) for row in range(8)]

    heard = [(data.waveform("train", row).abs().mean(1) > 1e-3).tolist() for row in range(8)]

    assert any(not all(each) for each in heard)
    assert heard == [(one != 28).tolist() for one in labels if one is not None]


def test_frames_change_from_second_to_second(data: Ave) -> None:
    frames = data.frames("test", 0)

    assert not any(frames[second].equal(frames[second + 1]) for second in range(9))


def test_order_files_do_not_hold_the_time_of_writing(sample: Sample, tmp_path: Path) -> None:
    again = write_sample("ave", tmp_path / "again", clips=16, seed=3).root

    for name in ("test_order.h5", "Annotations.txt"):
        assert (again / name).read_bytes() == (sample.root / name).read_bytes()
    with h5py.File(again / "test_order.h5") as file:
        assert list(file) == ["order"]
