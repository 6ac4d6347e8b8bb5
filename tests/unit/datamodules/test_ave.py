from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from datamodules.ave import Ave, AveConfig
from datamodules.ave_annotations import CATEGORIES
from datamodules.clip import Batch, Inputs
from datamodules.inspection import inspected
from metrics.errors import BenchError

RATE = 8000
ROWS = [  # category, video, first second, one past the last
    (0, "videovideo0", 2, 5),  # training
    (1, "videovideo1", 0, 10),
    (2, "videovideo2", 0, 0),
    (3, "videovideo3", 9, 10),
    (4, "videovideo4", 1, 9),  # validation
    (5, "videovideo5", 0, 10),
    (6, "videovideo6", 4, 6),  # test
    (7, "videovideo7", 0, 10),
    (8, "videovideo6", 0, 1),  # training, of a test video
    (9, "videovideo4", 3, 4),  # training, of a validation video
]
IDS = [f"{video}@{category}" for category, video, _, _ in ROWS]
ORDERS = {"train": [0, 1, 2, 3, 8, 9], "val": [4, 5], "test": [7, 6]}
SECONDS = {"image_size": 8, "sample_rate_hz": RATE, "segment_seconds": 1.0}
NOISY = 3


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Annotations and order files without any media."""
    folder = tmp_path / "root"
    folder.mkdir()
    lines = [f"{CATEGORIES[c]}&{video}&good&{start}&{end}" for c, video, start, end in ROWS]
    (folder / "Annotations.txt").write_text("\n".join(lines))
    for name, places in ORDERS.items():
        with h5py.File(folder / f"{name}_order.h5", "w") as file:
            file["order"] = places
    return folder


@pytest.fixture
def root(lists: Path) -> Path:
    """The same with media: second s of video v is a frame of value 20 s + v and a sound of s/10."""
    for number, video in enumerate(dict.fromkeys(video for _, video, _, _ in ROWS)):
        write_video(lists, video, number)
    return lists


def write_video(root: Path, video: str, number: int) -> None:
    (root / "frames" / video).mkdir(parents=True)
    (root / "audio").mkdir(exist_ok=True)
    for second in range(10):
        color = (20 * second + number,) * 3
        Image.new("RGB", (12, 9), color).save(root / "frames" / video / f"{second:02d}.png")
    steps = np.repeat(np.arange(10) / 10, RATE)
    soundfile.write(root / "audio" / f"{video}.wav", steps, RATE, subtype="FLOAT")


def data_of(root: Path, segments: int = 10, **settings: object) -> Ave:
    inputs = {
        key: settings.pop(key)
        for key in ("labels", "takes_features", "proposals")
        if key in settings
    }
    config = AveConfig(**{"root": str(root), "batch_size": 2, **settings})  # type: ignore[arg-type]
    asked = Inputs(num_segments=segments, **{**SECONDS, **inputs})  # type: ignore[arg-type]
    return Ave(config, asked, seed=0)


def rows_of(data: Ave, split: str) -> tuple[str, ...]:
    return data.report.splits[split].ids


def test_order_files_become_splits_without_shared_videos(root: Path) -> None:
    data = data_of(root)

    assert rows_of(data, "train") == tuple(IDS[:4])
    assert rows_of(data, "val") == tuple(IDS[4:6])
    assert rows_of(data, "test") == (IDS[7], IDS[6])
    assert data.report.classes == CATEGORIES


def test_what_was_left_out_for_shared_videos_is_told(root: Path) -> None:
    report = data_of(root).report

    assert (report.leaked_clips, report.leaked_videos, report.removed_for_leakage) == (0, 1, 1)
    assert report.notes == ("1 training clips of 1 videos of the validation list left out",)
    assert {use: (each.name, each.n) for use, each in report.lists.items()} == {
        "train": ("train_order", 6), "val": ("val_order", 2), "test": ("test_order", 2),
    }  # fmt: skip


def test_shared_videos_stay_where_they_are_allowed(root: Path) -> None:
    data = data_of(root, allow_leakage=True)

    assert rows_of(data, "train") == tuple(IDS[place] for place in ORDERS["train"])
    assert data.report.removed_for_leakage == 0
    assert data.report.notes[0].endswith("of the validation list kept")


def test_training_and_test_clips_know_their_class(root: Path) -> None:
    splits = data_of(root).report.splits

    assert splits["train"].categories == CATEGORIES[:4]
    assert splits["test"].categories == (CATEGORIES[7], CATEGORIES[6])
    assert splits["test"].videos == ("videovideo7", "videovideo6")


def test_a_clip_has_the_frame_and_the_sound_of_each_second(root: Path) -> None:
    data = data_of(root)

    frames, sound = data.frames("test", 1), data.waveform("test", 1)

    assert (frames.shape, frames.dtype) == ((10, 3, 8, 8), torch.uint8)
    assert frames[:, 0, 4, 4].tolist() == [20 * second + 6 for second in range(10)]
    assert sound.shape == (10, RATE)
    assert sound.mean(1).tolist() == pytest.approx(np.arange(10) / 10)


@pytest.mark.parametrize(
    ("segments", "seconds"),
    [(1, [5]), (2, [4, 5]), (3, [4, 5, 6]), (9, [1, 2, 3, 4, 5, 6, 7, 8, 9])],
)
def test_fewer_segments_are_the_middle_seconds_around_the_target(
    root: Path, segments: int, seconds: list[int]
) -> None:
    data = data_of(root, segments)

    (batch, *_) = data.ordered_loader("test")

    assert data.frames("test", 0)[:, 0, 0, 0].tolist() == [20 * second + 7 for second in seconds]
    assert data.waveform("test", 0).mean(1).tolist() == pytest.approx([s / 10 for s in seconds])
    assert {seconds[target] for target in batch.clip.target.tolist()} == {5}
    assert [len(truth.segments) for truth in data.truth() if truth.segments is not None] == [
        segments, segments,
    ]  # fmt: skip


def test_longer_windows_are_centred_on_the_middle_of_their_second(root: Path) -> None:
    config = AveConfig(root=str(root), batch_size=2)
    asked = Inputs(image_size=8, num_segments=10, sample_rate_hz=RATE, segment_seconds=3.0)

    sound = Ave(config, asked, seed=0).waveform("test", 0)

    middle = [min(max(second, 1), 8) / 10 for second in range(10)]  # moved inside at the ends
    assert sound.shape == (10, 3 * RATE)
    assert sound.mean(1).tolist() == pytest.approx(middle)


def test_the_truth_of_a_test_clip_is_the_class_of_each_second_and_no_place(root: Path) -> None:
    first, second = data_of(root).truth()

    assert (first.id, first.boxes, first.category) == (IDS[7], (), CATEGORIES[7])
    assert second.segments is not None
    assert second.segments.tolist() == [28] * 4 + [6, 6] + [28] * 4
    assert (first.has_only_segments, second.has_only_segments) == (True, True)


def labels_of(data: Ave, split: str = "train") -> list[list[int] | None]:
    found = (data.labels(split, row) for row in range(len(rows_of(data, split))))
    return [None if one is None else one.tolist() for one in found]


def test_labels_are_the_classes_of_the_seconds(root: Path) -> None:
    data = data_of(root)

    assert labels_of(data) == [
        [28, 28, 0, 0, 0, 28, 28, 28, 28, 28], [1] * 10, [28] * 10, [28] * 9 + [3],
    ]  # fmt: skip
    assert labels_of(data, "test") == [None, None]


def test_the_label_of_a_clip_is_its_event_also_where_that_is_not_heard(root: Path) -> None:
    data = data_of(root, 1)

    assert [data.clip_label("train", row) for row in range(4)] == [0, 1, 28, 3]
    assert labels_of(data) == [[28], [1], [28], [28]]


def test_only_labelled_clips_show_their_classes(root: Path) -> None:
    (root / "few.txt").write_text(f"{IDS[3]}\n")

    data = data_of(root, labels="segment", labelled="few", unlabelled="train")

    assert set(rows_of(data, "train")) == set(IDS[:4])
    labelled = {
        clip_id: data.labels("train", row) is not None
        for row, clip_id in enumerate(rows_of(data, "train"))
    }
    assert [clip_id for clip_id, yes in labelled.items() if yes] == [IDS[3]]
    assert None not in labels_of(data, "val")


def test_batches_show_labels_in_training_and_validation_alone(root: Path) -> None:
    data = data_of(root, labels="segment")

    (train, *_), (val, *_) = data.train_dataloader(), data.val_dataloader()
    (test, *_) = data.test_dataloader()[0]

    for batch in (train, val):
        assert batch.annotation is not None
        assert batch.annotation.labels is not None
        assert batch.annotation.labels.shape == (2, 10)
        assert batch.annotation.has_labels.tolist() == [True, True]
    assert test.annotation is None


def test_a_full_list_is_every_annotated_clip_of_no_other_list(root: Path) -> None:
    data = data_of(root, train_list="full")

    assert rows_of(data, "train") == tuple(IDS[:4])


def test_lists_may_be_text_in_place_of_order_files(root: Path) -> None:
    (root / "mine.txt").write_text(f"{IDS[1]}\n{IDS[2]}\n")

    data = data_of(root, train_list="mine", test_list=str(root / "val_order.h5"), val_list="test")

    assert rows_of(data, "train") == (IDS[1], IDS[2])
    assert rows_of(data, "test") == (IDS[4], IDS[5])
    assert rows_of(data, "val") == (IDS[7], IDS[6])


def test_without_a_validation_list_nothing_validates(root: Path) -> None:
    (root / "val_order.h5").unlink()

    data = data_of(root)

    assert "val" not in data.report.splits
    assert rows_of(data, "train") == (*IDS[:4], IDS[9])


def test_a_clip_that_lacks_a_second_is_missing_and_an_unreadable_one_is_named(root: Path) -> None:
    (root / "frames" / "videovideo7" / "03.png").unlink()
    (root / "frames" / "videovideo0" / "09.png").write_bytes(b"")
    (root / "audio" / "videovideo1.wav").unlink()

    report = data_of(root).report

    assert (report.missing, report.splits["test"].ids) == ((IDS[7],), (IDS[6],))
    assert report.train_missing == (IDS[1],)
    assert report.train_unreadable == {
        IDS[0]: "frames/videovideo0/09.png: the file is empty",
    }  # fmt: skip


def test_a_second_that_is_not_asked_for_is_not_missed(root: Path) -> None:
    (root / "frames" / "videovideo7" / "03.png").unlink()

    assert data_of(root, 1).report.missing == ()


def test_a_limit_cuts_every_split(root: Path) -> None:
    splits = data_of(root, limit=1).report.splits

    assert {name: len(split) for name, split in splits.items()} == {
        "train": 1, "val": 1, "test": 1,
    }  # fmt: skip


def test_the_doctor_finds_lists_leakage_and_a_missing_second(root: Path) -> None:
    (root / "frames" / "videovideo7" / "03.png").unlink()

    found = inspected("ave", data_of(root, 1))

    assert {(each.use, each.name): each.n for each in found.lists} == {
        ("test", "test_order"): 2, ("train", "train_order"): 6, ("val", "val_order"): 2,
    }  # fmt: skip
    assert [(each.train, each.test, each.videos) for each in found.leakage] == [
        ("train_order", "test_order", 1)
    ]
    assert found.media["test"].missing == (IDS[7],)
    assert not found.is_complete


def test_a_validation_list_that_trains_is_both_for_the_doctor(lists: Path) -> None:
    found = inspected("ave", data_of(lists, train_list="val_order"))

    assert {(each.use, each.name): each.n for each in found.lists} == {
        ("test", "test_order"): 2, ("train", "train_order"): 6, ("train", "val_order"): 2,
        ("val", "val_order"): 2,
    }  # fmt: skip


def test_the_doctor_needs_no_media(lists: Path) -> None:
    found = inspected("ave", data_of(lists))

    assert len(found.media["test"].missing) == 2


@pytest.mark.parametrize(
    ("segments", "settings", "words"),
    [
        (11, {}, "clips of 10 segments, the method asks for 11"),
        (10, {"val_fraction": 0.1}, r"data\.val_fraction=0\.1: data ave has a validation list"),
        (10, {"noisy": True}, "published as features alone; give data.feature_files=DIR"),
        (10, {"feature_files": "x"}, r"data\.feature_files=x: the method reads frames and sounds"),
        (
            10,
            {"feature_files": "x", "takes_features": True, "augmentation": "crop_flip"},
            "set data.augmentation=none",
        ),
        (
            10,
            {"feature_files": "x", "takes_features": True, "noisy": True, "labels": "segment"},
            "from classes of whole clips; leave data.noisy out",
        ),
        (
            10,
            {"feature_files": "x", "takes_features": True, "proposals": 3},
            "proposals, which are found in frames; leave data.feature_files out",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    segments: int, settings: dict[str, object], words: str
) -> None:
    with pytest.raises(BenchError, match=words):
        data_of(Path("nowhere"), segments, **settings)


@pytest.mark.parametrize(("segments", "first"), [(10, 0), (1, 5), (4, 3)])
def test_each_second_has_the_boxes_of_its_own_picture(
    root: Path, segments: int, first: int
) -> None:
    with Image.open(root / "frames" / "videovideo0" / "05.png") as plain:
        marked = np.array(plain.resize((60, 45)))
    marked[9:18, 15:30] = 255
    Image.fromarray(marked).save(root / "frames" / "videovideo0" / "05.png")
    data = data_of(root, segments, proposals=30, proposal_width=60)

    row = rows_of(data, "train").index("videovideo0@0")
    shown = [data.whole_picture("train", row, segment) for segment in range(segments)]
    found = data.proposals("train", row)

    values = [int(each[0, 0, 0]) for each in shown]
    assert values == [20 * second for second in range(first, first + segments)]
    for second, boxes in enumerate(found, start=first):
        there = boxes[~boxes[:, 0].isnan()]
        near = (there - torch.tensor([0.25, 0.2, 0.5, 0.4])).abs().amax(-1)
        assert (near.min() < 0.05) == (second == 5)
        assert torch.isclose(there, torch.tensor([0.0, 0.0, 1.0, 1.0])).all(-1).any()


@pytest.mark.parametrize("folder", ["AVE", "AVE_Dataset/AVE"])
def test_a_folder_of_videos_is_told_how_to_be_prepared(lists: Path, folder: str) -> None:
    (lists / folder).mkdir(parents=True)
    (lists / folder / "videovideo0.mp4").touch()

    with pytest.raises(
        BenchError, match=rf"bench prepare ave --videos {lists}/{folder} --root {lists}$"
    ):
        data_of(lists).setup("fit")


def test_a_root_without_media_is_named(lists: Path) -> None:
    with pytest.raises(BenchError, match=rf"{lists}/frames is not a folder; .*bench sample-data"):
        data_of(lists).setup("fit")


def test_no_root_says_where_the_data_are_to_be_had() -> None:
    data = Ave(AveConfig(), Inputs(num_segments=10), seed=0)

    with pytest.raises(BenchError, match=r"data\.root is not set.*AVE-ECCV18.*bench prepare ave"):
        data.setup("fit")


# the published features


def write_features(folder: Path, name: str, content: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / name, "w") as file:
        file["avadataset"] = content


def numbered(count: int, *shape: int) -> np.ndarray:
    """Row r, second s holds 100 r + s in every place."""
    values = 100.0 * np.arange(count)[:, None] + np.arange(10)
    return np.broadcast_to(values.reshape(count, 10, *[1] * len(shape)), (count, 10, *shape))


@pytest.fixture
def features(tmp_path: Path) -> Path:
    folder = tmp_path / "features"
    write_features(folder, "visual_feature.h5", numbered(len(ROWS), 7, 7, 512))
    write_features(folder, "audio_feature.h5", numbered(len(ROWS), 128) + 0.5)
    return folder


def of_features(root: Path, folder: Path, segments: int = 10, **settings: object) -> Ave:
    return data_of(root, segments, feature_files=str(folder), takes_features=True, **settings)


def seen_and_heard(batch: Batch) -> tuple[list[list[float]], list[list[float]]]:
    found = batch.clip.features
    assert found is not None
    assert found.visual is not None
    assert found.audio is not None
    return found.visual[:, :, 0, 0, 0].tolist(), found.audio[:, :, 0].tolist()


def test_features_need_no_media(lists: Path, features: Path) -> None:
    data = of_features(lists, features)

    (batch,) = data.ordered_loader("test")

    seen, heard = seen_and_heard(batch)
    assert seen == [[100 * place + second for second in range(10)] for place in (7, 6)]
    assert heard == [[100 * place + second + 0.5 for second in range(10)] for place in (7, 6)]
    assert batch.clip.features is not None
    assert batch.clip.features.visual is not None
    assert batch.clip.features.visual.shape == (2, 10, 512, 7, 7)
    assert batch.clip.features.visual.dtype == torch.float32
    assert (batch.clip.frames.shape, batch.clip.waveform.shape) == ((2, 10, 3, 0, 0), (2, 10, 0))


def test_pictures_that_are_not_beside_the_features_are_asked_for_in_words(
    lists: Path, features: Path
) -> None:
    data = of_features(lists, features)

    with pytest.raises(BenchError, match=r"has no pictures of AVE, only features; give data\.root"):
        data.frames("test", 0)


def test_a_cell_of_the_features_keeps_its_place(lists: Path, features: Path) -> None:
    content = np.zeros((len(ROWS), 10, 7, 7, 512), np.float32)
    content[7, 3, 1, 5, 200] = 4.0
    write_features(features, "visual_feature.h5", content)

    found = of_features(lists, features).features("test", 0)

    assert found is not None
    assert found.visual is not None
    assert found.visual.nonzero().tolist() == [[3, 200, 1, 5]]


def test_fewer_segments_read_the_middle_rows(lists: Path, features: Path) -> None:
    (batch,) = of_features(lists, features, 3).ordered_loader("test")

    assert seen_and_heard(batch)[0] == [[704, 705, 706], [604, 605, 606]]


def test_workers_read_the_same_features(lists: Path, features: Path) -> None:
    alone = of_features(lists, features)
    list(alone.ordered_loader("test"))  # opens the files here

    alone.config.num_workers = 2
    (batch,) = alone.ordered_loader("test")

    assert seen_and_heard(batch)[0][0][0] == 700


def test_background_only_videos_train_beside_the_events(lists: Path, features: Path) -> None:
    write_features(features, "visual_feature_noisy.h5", -numbered(NOISY, 7, 7, 512))
    write_features(features, "audio_feature_noisy.h5", -numbered(NOISY, 128))

    data = of_features(lists, features, labels="clip", noisy=True)

    ids = rows_of(data, "train")
    assert ids == (*IDS[:4], "noisy-00000@28", "noisy-00001@28", "noisy-00002@28")
    assert [data.clip_label("train", row) for row in range(7)] == [0, 1, 28, 3, 28, 28, 28]
    found = data.features("train", 5)
    assert found is not None
    assert found.audio is not None
    assert found.audio[:, 0].tolist() == [-100.0 - second for second in range(10)]
    assert data.report.lists["train"].n == 6


def one_hot(classes: Sequence[Iterable[int]]) -> np.ndarray:
    return np.eye(29)[np.array([list(each) for each in classes])]


def test_labels_beside_the_features_are_compared_with_the_annotations(
    lists: Path, features: Path
) -> None:
    classes = [[c if start <= s < end else 28 for s in range(10)] for c, _, start, end in ROWS]
    events = np.array(classes) != 28
    write_features(features, "labels.h5", one_hot(classes))
    write_features(features, "labels_closs.h5", events.astype(float))
    write_features(features, "mil_labels.h5", one_hot(classes).max(axis=1))
    agreeing = of_features(lists, features).report.notes

    classes[0][9], events[1, :3] = 0, False
    write_features(features, "labels.h5", one_hot(classes))
    write_features(features, "labels_closs.h5", events.astype(float))
    write_features(features, "mil_labels.h5", np.eye(29)[[28] * len(ROWS)])

    assert [note for note in agreeing if "differs" in note] == []
    assert [note for note in of_features(lists, features).report.notes if "differs" in note] == [
        "labels.h5 differs from Annotations.txt, which is used, in 1 of 100 seconds",
        "labels_closs.h5 differs from Annotations.txt, which is used, in 3 of 100 seconds",
        "mil_labels.h5 differs from Annotations.txt, which is used, in 9 of 10 clips",
    ]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def other_shape(path: Path) -> None:
    write_features(path.parent, path.name, np.zeros((len(ROWS), 10, 64)))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, "does not exist"),
        (cut, "cannot be read as HDF5 .truncated file"),
        (other_shape, r"'avadataset' must be \(10, 10, 128\) numbers, got \(10, 10, 64\)"),
    ],
)
def test_feature_files_that_are_of_no_use_are_named(
    lists: Path, features: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(features / "audio_feature.h5")

    with pytest.raises(BenchError, match=rf"audio_feature\.h5:? {words}.*data\.feature_files"):
        of_features(lists, features).setup("fit")


def test_published_lists_have_3339_402_and_402_clips_and_leak_19(
    shared_data: Path, tmp_path: Path
) -> None:
    for path in (shared_data / "annotations" / "ave").iterdir():
        (tmp_path / path.name).symlink_to(path)
    for name, shape in (("visual", (4143, 10, 7, 7, 512)), ("audio", (4143, 10, 128))):
        with h5py.File(tmp_path / f"{name}_feature.h5", "w") as file:
            file.create_dataset("avadataset", shape, "f4", chunks=(1, *shape[1:]))  # all zeros

    data = of_features(tmp_path, tmp_path)
    allowed = of_features(tmp_path, tmp_path, allow_leakage=True)

    report = data.report
    assert {name: len(split) for name, split in report.splits.items()} == {
        "train": 3320, "val": 402, "test": 402,
    }  # fmt: skip
    assert (report.leaked_clips, report.leaked_videos, report.removed_for_leakage) == (0, 8, 9)
    assert report.notes == ("10 training clips of 10 videos of the validation list left out",)
    assert {name: each.n for name, each in report.lists.items()} == {
        "train": 3339, "val": 402, "test": 402,
    }  # fmt: skip
    assert len(allowed.report.splits["train"]) == 3339
    test_labels = np.stack([truth.segments for truth in data.truth() if truth.segments is not None])
    assert round(float((test_labels == 28).mean()), 3) == 0.178
