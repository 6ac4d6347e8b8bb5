import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.cache import file_entries
from datamodules.clip import Inputs
from datamodules.synthetic import Synthetic, SyntheticConfig
from datamodules.synthetic_generator import CLASSES, SyntheticSpec, generate_clip
from datamodules.synthetic_store import first_difference
from metrics.errors import BenchError

INPUTS = Inputs(image_size=64, sample_rate_hz=16000, segment_seconds=1.0)


@pytest.fixture(scope="module")
def made_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "clips"
    Synthetic(small(root), INPUTS, seed=0).setup("fit")
    return root


@pytest.fixture
def root(made_root: Path, tmp_path: Path) -> Path:
    """A copy of the small data set that a test may damage."""
    return Path(shutil.copytree(made_root, tmp_path / "clips"))


def small(root: Path | None) -> SyntheticConfig:
    return SyntheticConfig(
        root=None if root is None else str(root),
        batch_size=16,
        train_clips=32,
        val_clips=16,
        test_clips=20,
    )


def test_splits_name_the_generator_and_the_full_size(made_root: Path) -> None:
    splits = Synthetic(small(made_root), INPUTS, seed=0).report.splits

    assert {key: split.name for key, split in splits.items()} == {
        "train": "synthetic-v1/train-32",
        "val": "synthetic-v1/val-16",
        "test": "synthetic-v1/test-20",
    }


def test_ids_are_split_and_number_and_categories_go_round(made_root: Path) -> None:
    test = Synthetic(small(made_root), INPUTS, seed=0).report.splits["test"]

    assert test.ids[:2] == ("test-000000", "test-000001")
    assert test.categories == (*CLASSES, *CLASSES[:4])


def test_splits_share_no_id(made_root: Path) -> None:
    splits = Synthetic(small(made_root), INPUTS, seed=0).report.splits.values()

    assert len({i for split in splits for i in split.ids}) == sum(len(split) for split in splits)


def test_data_of_another_seed_have_another_name(tmp_path: Path) -> None:
    config = replace(small(tmp_path / "clips"), generator_seed=3)

    name = Synthetic(config, INPUTS, seed=0).report.splits["test"].name
    assert name == "synthetic-v1/test-20-seed3"


def test_stored_clips_are_the_generated_ones(made_root: Path) -> None:
    data = Synthetic(small(made_root), INPUTS, seed=0)
    expected = generate_clip(0, 7, SyntheticSpec(), split="val")

    frames = data.frames("val", 7)
    assert np.array_equal(frames.permute(0, 2, 3, 1).numpy(), expected.frames)
    assert torch.equal(data.waveform("val", 7) * 32768, torch.tensor(expected.sound).float())


def test_runs_of_all_seeds_share_the_data(made_root: Path) -> None:
    first, second = (Synthetic(small(made_root), INPUTS, seed=seed) for seed in (0, 1))

    assert torch.equal(first.frames("train", 5), second.frames("train", 5))


def test_truth_is_the_source_box_with_all_objects_beside_it(made_root: Path) -> None:
    truth = Synthetic(small(made_root), INPUTS, seed=0).truth()
    expected = generate_clip(0, 4, SyntheticSpec(), split="test")

    assert len(truth) == 20
    assert (truth[4].id, truth[4].category) == ("test-000004", "square-plain")
    assert truth[4].boxes[0].tolist() == expected.source_box.tolist()
    assert truth[4].objects is not None
    assert truth[4].objects.tolist() == expected.boxes[0][expected.classes >= 0].tolist()


def test_limit_keeps_the_first_clips_of_every_split(made_root: Path) -> None:
    report = Synthetic(replace(small(made_root), limit=5), INPUTS, seed=0).report

    assert [len(report.splits[key]) for key in ("train", "val", "test")] == [5, 5, 5]
    assert report.n_expected == 20


def test_frames_are_resized_to_what_the_method_asks(made_root: Path) -> None:
    native = Synthetic(small(made_root), INPUTS, seed=0).frames("test", 0)
    data = Synthetic(small(made_root), replace(INPUTS, image_size=32), seed=0)

    halved = data.frames("test", 0)
    assert (halved.shape, halved.dtype) == ((1, 3, 32, 32), torch.uint8)
    assert abs(halved.float().mean() - native.float().mean()) < 0.5


def test_a_segment_longer_than_the_sound_repeats_it(made_root: Path) -> None:
    native = Synthetic(small(made_root), INPUTS, seed=0).waveform("test", 0)
    data = Synthetic(small(made_root), replace(INPUTS, segment_seconds=2.5), seed=0)

    expected = torch.cat([native, native, native[:, :8000]], dim=1)
    assert torch.equal(data.waveform("test", 0), expected)


def test_a_segment_shorter_than_the_sound_is_its_middle(made_root: Path) -> None:
    native = Synthetic(small(made_root), INPUTS, seed=0).waveform("test", 0)
    data = Synthetic(small(made_root), replace(INPUTS, segment_seconds=0.5), seed=0)

    assert torch.equal(data.waveform("test", 0), native[:, 4000:12000])


def test_sound_at_half_the_rate_keeps_its_strongest_frequency(made_root: Path) -> None:
    native = Synthetic(small(made_root), INPUTS, seed=0).waveform("test", 0)
    data = Synthetic(small(made_root), replace(INPUTS, sample_rate_hz=8000), seed=0)

    resampled = data.waveform("test", 0)
    assert (resampled.shape, resampled.dtype) == ((1, 8000), torch.float32)
    # One second each: the index of a bin is its frequency in hertz.
    expected = torch.fft.rfft(native[0]).abs().argmax()
    assert expected == torch.fft.rfft(resampled[0]).abs().argmax()


def test_batches_hold_what_the_method_asked_for(made_root: Path) -> None:
    data = Synthetic(small(made_root), INPUTS, seed=0)

    clip = next(iter(data.train_dataloader())).clip
    assert (clip.frames.shape, clip.frames.dtype) == ((16, 1, 3, 64, 64), torch.uint8)
    assert (clip.waveform.shape, clip.waveform.dtype) == ((16, 1, 16000), torch.float32)
    assert clip.frames.is_contiguous()


def test_clips_go_to_the_cache_when_no_root_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path))

    data = Synthetic(small(None), INPUTS, seed=0)
    data.setup("fit")
    assert data.folder.parent == tmp_path / "synthetic-v1"
    assert (data.folder / "spec.json").is_file()


def test_an_existing_folder_is_read_and_not_made_again(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.npy")}

    Synthetic(small(root), INPUTS, seed=0).setup("fit")
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*.npy")}


def test_a_truncated_file_is_named_with_the_command_that_deletes_it(root: Path) -> None:
    path = root / "test" / "sound.npy"
    path.write_bytes(path.read_bytes()[:-2])

    with pytest.raises(BenchError, match=r"test/sound\.npy has \d+ bytes.*rm -r .*clips"):
        Synthetic(small(root), INPUTS, seed=0).setup("fit")


def test_a_changed_byte_is_never_used(root: Path) -> None:
    path = root / "train" / "boxes.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(BenchError, match=r"train/boxes\.npy does not have the sha256"):
        Synthetic(small(root), INPUTS, seed=0).setup("fit")


def test_a_folder_of_other_settings_is_refused(root: Path) -> None:
    config = replace(small(root), generator_seed=1)

    with pytest.raises(BenchError, match=r"spec\.json describes clips of other data\.\* settings"):
        Synthetic(config, INPUTS, seed=0).setup("fit")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")

    with pytest.raises(BenchError, match=r"has no readable spec\.json.*an empty or absent folder"):
        Synthetic(small(tmp_path), INPUTS, seed=0).setup("fit")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"abc", None),
        (b"ab", "a has 2 bytes, expected 3"),
        (b"abd", "a does not have the sha256 in spec.json"),
        (None, "a is missing"),
    ],
)
def test_the_first_difference_is_named(
    tmp_path: Path, content: bytes | None, complaint: str | None
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    entries = file_entries(tmp_path, "*")

    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert first_difference(tmp_path, entries) == complaint


@pytest.mark.parametrize("content", ["[1]", "3", "{}", '{"files": 3}', "no json"])
def test_a_root_with_a_spec_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "spec.json").write_text(content)

    with pytest.raises(BenchError, match="is not empty and has no readable spec.json of synthetic"):
        Synthetic(small(tmp_path), INPUTS, seed=0).setup("fit")


def test_a_root_below_a_file_says_which_setting_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(BenchError, match=r"cannot write synthetic clips to .* set AVLOC_CACHE"):
        Synthetic(small(tmp_path / "file" / "clips"), INPUTS, seed=0).setup("fit")


def test_the_manifest_says_what_the_clips_are_made_of(made_root: Path) -> None:
    description = json.loads((made_root / "spec.json").read_text())

    assert description["generator"] == "synthetic-v1"
    assert description["spec"] == {"image_size": 64, "sample_rate_hz": 16000, "seconds": 1.0}
    assert len(description["files"]) == 3 * 9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_size": 8}, r"data\.image_size=8 is too small"),
        ({"test_clips": 0}, r"data\.test_clips=0 must be at least 1"),
        ({"generator_seed": -1}, r"data\.generator_seed=-1 must not be negative"),
        ({"seconds": 0.0}, r"data\.seconds=0\.0 must be at least 0\.5"),
        ({"sample_rate_hz": 8000}, r"data\.sample_rate_hz=8000 cannot carry"),
        ({"val_fraction": 0.1}, r"set data\.val_clips and leave data\.val_fraction=0"),
    ],
)
def test_a_setting_out_of_range_is_named(change: dict[str, float], words: str) -> None:
    with pytest.raises(BenchError, match=words):
        Synthetic(replace(small(None), **change), INPUTS, seed=0)


def test_a_method_of_several_segments_is_refused() -> None:
    with pytest.raises(BenchError, match="clips of 1 segment, the method asks for 10"):
        Synthetic(small(None), replace(INPUTS, num_segments=10), seed=0)
