import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from datamodules.base import ClipData
from datamodules.clip import Inputs
from datamodules.folder_clips import FolderConfig
from datamodules.inspection import inspected
from datamodules.music_annotations import INSTRUMENTS
from datamodules.music_duet import MusicDuet
from datamodules.music_solo import MusicSolo
from datamodules.music_synthetic import MixtureConfig, MusicSynthetic
from datamodules.sample_data import Sample, write_sample

CLIPS = 24  # two seconds of each of twelve videos
INPUTS = Inputs(image_size=32, sample_rate_hz=8000, segment_seconds=0.5)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def solos(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return write_sample("music_solo", tmp_path_factory.mktemp("solos") / "root", clips=CLIPS)


@pytest.fixture(scope="module")
def duets(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return write_sample("music_duet", tmp_path_factory.mktemp("duets") / "root", clips=CLIPS)


def config(sample: Sample, **settings: object) -> FolderConfig:
    return FolderConfig(root=str(sample.root), batch_size=4, **settings)  # type: ignore[arg-type]


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        write_sample("music_duet", tmp_path / name, clips=8, seed=seed)

    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    sounds = [set(digests(tmp_path / name / "audio")) for name in ("one", "other")]
    assert sounds[0].isdisjoint(sounds[1])


def test_videos_are_cut_as_published(solos: Sample) -> None:
    folders = sorted((solos.root / "video_frames").iterdir())

    assert len(folders) == 12
    assert any(folder.name.startswith("-") for folder in folders)
    for folder in folders:
        assert [second.name for second in sorted(folder.iterdir())] == ["frame_000", "frame_001"]
        names = [path.name for path in sorted((folder / "frame_001").iterdir())]
        assert names == ["00030.jpg", "00037.jpg", "00044.jpg", "00051.jpg"]
        assert Image.open(folder / "frame_001" / names[0]).size == (320, 240)


def test_sounds_have_two_kinds_and_names_and_the_length_of_their_video(solos: Sample) -> None:
    paths = sorted((solos.root / "audio").iterdir())

    assert {path.suffix for path in paths} == {".flac", ".wav"}
    assert all(path.stem.endswith("_0_1000") == (path.suffix == ".flac") for path in paths)
    assert {soundfile.info(path).duration for path in paths} == {2.0}
    assert {soundfile.info(path).samplerate for path in paths} == {16000, 22050, 44100, 48000}


def test_boxes_are_in_the_published_format_with_its_misspelt_key(solos: Sample) -> None:
    entries = json.loads((solos.root / "solotest.json").read_text())

    assert all(entry.keys() == {"bbox", "wdith", "height"} for entry in entries.values())
    boxes = [box for entry in entries.values() for box in entry["bbox"]]
    assert len(boxes) == solos.num_test == 32 - 2
    assert {box["category_id"] for box in boxes} <= INSTRUMENTS.keys()
    for box in boxes:
        x, y, width, height = box["normbox"]
        assert 0 <= x < x + width <= 1
        assert 0 <= y < y + height <= 1
        pixels = np.array([x, y, width, height]) * [320, 240, 320, 240]
        assert np.abs(pixels - box["box"]).max() <= 0.5


def test_lists_share_videos_as_the_published_ones(solos: Sample) -> None:
    found = inspected("music_solo", MusicSolo(config(solos), INPUTS, seed=0))

    assert found.is_complete
    assert found.media["train"].present == found.media["train"].expected
    assert (found.media["test"].duplicates, found.media["train"].duplicates) == ((), ())
    leaks = {each.train: each.videos for each in found.leakage if each.test == "solotest"}
    assert leaks == {
        "solo_training_1": 0, "solo_training_2": 0, "solo_validation": 4, "solo_pairs": 4,
    }  # fmt: skip
    assert {each.name: each.n for each in found.lists}["MUSIC_solo_videos"] == 12
    assert found.is_miniature


def test_solos_train_and_are_tested(solos: Sample) -> None:
    data = MusicSolo(config(solos, train_list="pairs"), INPUTS, seed=0)

    report = data.report
    assert (len(report.splits["train"]), len(report.splits["test"])) == (16, 30)
    assert (report.leaked_videos, report.unreadable, report.train_unreadable) == (4, {}, {})
    assert data.labels("train", 0) is not None
    assert solos.num_train == len(MusicSolo(config(solos), INPUTS, seed=0).report.splits["train"])


def test_a_box_is_where_the_object_is(solos: Sample) -> None:
    """The source is painted over noise of the background: it is the most colourful part."""
    data: ClipData = MusicSolo(config(solos), Inputs(image_size=64), seed=0)

    hits = []
    for row, truth in enumerate(data.truth()[::4]):
        frame = data.frames("test", 4 * row)[0].float()
        x1, y1, x2, y2 = (truth.boxes[0][0] * 64).round().astype(int)
        spread = frame.std(0)
        hits.append(spread[y1:y2, x1:x2].mean() > spread.mean())

    assert sum(hits) >= 0.8 * len(hits)


def test_duets_have_two_players_side_by_side(duets: Sample) -> None:
    data = MusicDuet(config(duets), INPUTS, seed=0)

    truth = data.truth()

    assert len(truth) == duets.num_test == 30
    assert len(data.report.splits["train"]) == duets.num_train == 16
    for each in truth:
        left, right = (source.boxes[0] for source in each.sources)
        assert left[2] <= 0.5 <= right[0]
    assert {"cello", "flute"} <= {s.category for each in truth for s in each.sources}


def test_mixtures_are_made_of_the_miniature(tmp_path: Path) -> None:
    sample = write_sample("music_synthetic", tmp_path / "root", clips=CLIPS)

    data = MusicSynthetic(MixtureConfig(root=str(sample.root), batch_size=4), INPUTS, seed=0)

    counts = {name: len(split) for name, split in data.report.splits.items()}
    assert counts == {"train": sample.num_train, "test": sample.num_test}
    assert (sample.num_train, sample.num_test) == (8, 500)
    assert data.report.is_miniature
