import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from datamodules.clip import Inputs
from datamodules.folder_clips import FolderConfig
from datamodules.ground_truth import ground_truth
from datamodules.sample_data import SAMPLES, Sample, flickr_ids, vggss_ids, write_sample
from datamodules.sample_media import write_text
from datamodules.vggss import VggSs
from datamodules.vggss_annotations import VGGSS_ID
from metrics.errors import BenchError

CLIPS = 24


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("miniature") / "vggss"
    write_sample("vggss", folder, clips=CLIPS, seed=3)
    return folder


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("data", SAMPLES)
def test_the_same_seed_writes_the_same_bytes(tmp_path: Path, data: str) -> None:
    for name in ("one", "two"):
        write_sample(data, tmp_path / name, clips=8, seed=3)

    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_another_seed_makes_other_ids() -> None:
    assert set(vggss_ids(50, seed=3)).isdisjoint(vggss_ids(50, seed=4))


def test_a_quarter_of_the_clips_is_annotated_in_the_published_format(root: Path) -> None:
    entries = json.loads((root / "vggss.json").read_text())

    boxes = np.array([entry["bbox"][0] for entry in entries])
    assert len(entries) == CLIPS // 4
    assert all(entry.keys() == {"file", "class", "bbox"} for entry in entries)
    assert ((boxes >= 0) & (boxes <= 1)).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_the_test_list_names_the_annotated_clips(root: Path) -> None:
    entries = json.loads((root / "vggss.json").read_text())
    with (root / "vggss_test.csv").open(newline="") as file:
        rows = [row for (row,) in csv.reader(file)]

    assert rows == [entry["file"] for entry in entries]


def test_every_clip_has_a_wide_jpeg(root: Path) -> None:
    sizes = {Image.open(path).size for path in (root / "frames").glob("*.jpg")}

    assert sizes == {(320, 240)}


def test_sounds_come_at_mixed_rates_some_stereo_in_16_bits(root: Path) -> None:
    infos = [soundfile.info(path) for path in (root / "audio").glob("*.wav")]

    assert len(infos) == CLIPS
    assert {info.samplerate for info in infos} == {16000, 22050, 44100, 48000}
    assert {info.channels for info in infos} == {1, 2}
    assert {info.subtype for info in infos} == {"PCM_16"}


def test_ids_are_distinct_valid_and_include_awkward_ones() -> None:
    ids = vggss_ids(240, seed=0)

    assert len(set(ids)) == 240
    assert all(VGGSS_ID.pattern.fullmatch(clip_id) for clip_id in ids)
    assert any(clip_id.startswith("-") for clip_id in ids)
    assert any("_" in clip_id[:11] for clip_id in ids)
    assert len({clip_id[:11] for clip_id in ids}) < 240


def test_the_reader_delivers_what_the_method_asks_for(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path))
    inputs = Inputs(image_size=48, sample_rate_hz=8000, segment_seconds=1.5)
    data = VggSs(FolderConfig(root=str(root), batch_size=6), inputs, seed=0)
    data.setup("fit")

    own, swapped = (next(iter(loader)).clip for loader in data.test_dataloader())
    train = next(iter(data.train_dataloader())).clip

    assert tuple(train.frames.shape) == (6, 1, 3, 48, 48)
    assert tuple(train.waveform.shape) == (6, 1, 12000)
    assert own.frames.equal(swapped.frames)
    assert not own.waveform.equal(swapped.waveform)


def test_the_reader_finds_the_leaked_clips_and_no_defect(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path))
    report = VggSs(FolderConfig(root=str(root)), Inputs(), seed=0).report

    assert (report.leaked_clips, report.n_expected) == (2, 6)
    assert len(report.splits["train"]) == 18 + 2 - report.removed_for_leakage
    assert (report.missing, report.unreadable, report.notes) == ((), {}, ())


@pytest.mark.parametrize("data", SAMPLES)
def test_every_miniature_has_a_truth_that_scoring_reads(tmp_path: Path, data: str) -> None:
    sample = write_sample(data, tmp_path / data, clips=8)

    found = ground_truth(data, root=sample.root)

    assert len(found.truth) >= sample.num_test > 0
    assert (sample.root / "MINIATURE").is_file()


def test_flickr_numbers_are_distinct() -> None:
    ids = flickr_ids(500, seed=1)

    assert len(set(ids)) == 500
    assert all(each.isdigit() for each in ids)


def test_the_negatives_of_an_extended_miniature_are_pairs_of_its_clips(tmp_path: Path) -> None:
    sample = write_sample("flickr_extended", tmp_path / "root", clips=16)

    truth = ground_truth("flickr_extended", root=sample.root).truth

    assert [each.on_screen for each in truth] == [True] * 4 + [False] * 4
    assert truth[4].id == f"{truth[0].id}+{truth[1].id}"


def test_each_frame_of_is3_comes_with_two_sounds(tmp_path: Path) -> None:
    sample = write_sample("is3", tmp_path / "root", clips=16)

    truth = ground_truth("is3", root=sample.root).truth

    assert len(truth) == 2 * len({each.frame for each in truth})
    first, second = (sample.root / "audio_wav" / f"{each.id}.wav" for each in truth[:2])
    assert first.read_bytes() != second.read_bytes()


def test_synthetic_needs_no_miniature(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="synthetic needs no miniature: it is generated"):
        write_sample("synthetic", tmp_path / "root")


def test_a_folder_that_holds_something_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()

    with pytest.raises(BenchError, match="is not an empty folder; give --root a new one"):
        write_sample("vggss", tmp_path)


def test_too_few_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="--clips 3 is too few; a miniature needs 8 or more"):
        write_sample("vggss", tmp_path, clips=3)


def test_a_negative_seed_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="--seed -1 must be 0 or more"):
        write_sample("vggss", tmp_path / "root", seed=-1)

    assert not (tmp_path / "root").exists()


def test_what_a_killed_process_left_is_known_as_a_miniature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(root: Path, clips: int, seed: int) -> Sample:
        write_text(root / "vggss.json", "[]")
        raise KeyboardInterrupt

    monkeypatch.setitem(SAMPLES, "vggss", killed)
    with pytest.raises(KeyboardInterrupt):
        write_sample("vggss", tmp_path / "root")

    assert {path.name for path in (tmp_path / "root").iterdir()} == {"MINIATURE", "vggss.json"}


def test_data_without_a_miniature_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no miniature of 'vgss' exists. Did you mean vggss?"):
        write_sample("vgss", tmp_path)


def test_a_miniature_is_known_as_one_and_other_folders_are_not(tmp_path: Path) -> None:
    write_sample("vggss", tmp_path / "vggss", clips=8)
    inputs = Inputs(image_size=32, segment_seconds=1.0)

    def is_miniature() -> bool:
        config = FolderConfig(root=str(tmp_path / "vggss"), batch_size=2, verify=False)
        return VggSs(config, inputs, seed=0).report.is_miniature

    assert is_miniature()
    (tmp_path / "vggss" / "MINIATURE").unlink()
    assert not is_miniature()
