import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from datamodules.clip import Inputs
from datamodules.flickr import LAYOUTS, Flickr
from datamodules.flickr_extended import FlickrExtended
from datamodules.folder_clips import FolderClips, FolderConfig
from datamodules.ground_truth import READERS
from datamodules.layouts import Layout
from metrics.errors import BenchError

TEST = ["11", "22", "33"]
TRAIN = [str(number) for number in range(100, 112)]
INPUTS = Inputs(image_size=16, sample_rate_hz=8000, segment_seconds=0.5, box_map_size=4)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for clip_id in (*TEST, *TRAIN):
        write_pair(folder, LAYOUTS[0], clip_id)
    write_xml(folder, TEST, annotators=3)
    write_list(folder / "flickr_test.csv", [f"{each},0" for each in TEST])
    write_list(folder / "flickr_10k.txt", TRAIN)
    return folder


def write_pair(root: Path, layout: Layout, clip_id: str) -> None:
    names = (layout.frames[0], layout.sounds[0])
    frame, sound = (root / each.replace("{id}", clip_id).replace("*", "3") for each in names)
    for path in (frame, sound):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24), (int(clip_id), 0, 0)).save(frame)
    kind = "MP3" if sound.suffix == ".mp3" else None
    soundfile.write(sound, np.full(16000, int(clip_id) / 200), 16000, format=kind)


def write_xml(root: Path, ids: Iterable[str], *, annotators: int) -> None:
    """Annotator n draws the left half of the frame, moved right by n eighths."""
    folder = root / "Annotations"
    folder.mkdir(exist_ok=True)
    for clip_id in ids:
        boxes = [
            f"<object><bbox><id>{n}</id><x>{32 * n}</x><y>0</y><x>{128 + 32 * n}</x><y>256</y>"
            "</bbox></object>"
            for n in range(annotators)
        ]
        (folder / f"{clip_id}.xml").write_text(f"<annotation>{''.join(boxes)}</annotation>")


def write_list(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("\n".join(lines))
    return path


def data_of(root: Path, kind: type[FolderClips] = Flickr, **settings: object) -> FolderClips:
    config = FolderConfig(root=str(root), batch_size=2)
    for name, value in settings.items():
        assert hasattr(config, name)
        setattr(config, name, value)
    return kind(config, INPUTS, seed=0)


def train_ids(data: FolderClips) -> tuple[str, ...]:
    return data.report.splits["train"].ids


def test_lists_become_splits_with_three_annotators(root: Path) -> None:
    data = data_of(root)

    assert data.report.splits["test"].ids == tuple(TEST)
    assert train_ids(data) == tuple(TRAIN)
    assert [len(truth.boxes) for truth in data.truth()] == [3, 3, 3]
    assert data.truth()[0].boxes[1].tolist() == [[0.125, 0.0, 0.625, 1.0]]


def test_the_record_knows_each_list_as_it_was_published(root: Path) -> None:
    (root / "frames" / f"{TEST[0]}.jpg").unlink()

    lists = data_of(root).report.lists

    digest = hashlib.sha256("\n".join(TEST).encode()).hexdigest()
    assert (lists["test"].name, lists["test"].n, lists["test"].sha256) == ("flickr_test", 3, digest)
    assert (lists["train"].name, lists["train"].n) == ("flickr_10k", 12)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.source)
def test_every_published_tree_is_read(root: Path, tmp_path: Path, layout: Layout) -> None:
    other = tmp_path / "other"
    for clip_id in TEST:
        write_pair(other, layout, clip_id)
    write_xml(other, TEST, annotators=3)

    data = data_of(other)

    assert data.report.splits["test"].ids == tuple(TEST)
    assert abs(int(data.frames("test", 1)[0, 0, 8, 8]) - 22) <= 3
    assert data.waveform("test", 2).mean().item() == pytest.approx(33 / 200, abs=0.01)


def test_a_missing_root_is_refused_without_assertions_too(
    tmp_path: Path, without_assertions: Callable[..., Callable[..., None]]
) -> None:
    with pytest.raises(BenchError, match=r"nowhere is not a folder; set data\.root"):
        without_assertions(FolderClips.check_root)(data_of(tmp_path / "nowhere"))


def test_lines_of_peers_lists_are_read_as_numbers(root: Path) -> None:
    lines = ["videos/0/0/0/100.mp4", "101.wav", "/hdd/Annotations/dataset/102.mp4", "# 103", "104"]
    mine = write_list(root / "mine.txt", lines)

    assert train_ids(data_of(root, train_list=str(mine))) == ("100", "101", "102", "104")


def test_an_entry_that_leaves_the_root_is_refused(root: Path) -> None:
    mine = write_list(root / "mine.txt", ["../100.mp4"])

    with pytest.raises(BenchError, match=r"mine\.txt, line 1: .* would lead out of the data root"):
        data_of(root, train_list=str(mine)).setup("fit")


def test_without_labels_only_clips_with_annotations_have_boxes(root: Path) -> None:
    write_xml(root, TRAIN[:1], annotators=3)

    data = data_of(root)

    assert [len(data.boxes("train", row)) for row in range(3)] == [3, 0, 0]
    assert data.boxes("test", 0) == ()


def test_boxes_to_train_on_lie_where_those_to_test_on_were_found(root: Path) -> None:
    write_xml(root, TRAIN[:4], annotators=3)
    (root / "release").mkdir()
    (root / "Annotations").rename(root / "release" / "Annotations")
    release = str(root / "release")

    data = data_of(root, annotations=release)
    counted = data_of(root, annotations=release, labelled="4")

    assert [len(data.boxes("train", row)) for row in range(5)] == [3, 3, 3, 3, 0]
    assert set(train_ids(counted)) == set(TRAIN[:4])


def test_listed_pairs_without_boxes_are_told(root: Path) -> None:
    write_xml(root, TRAIN[1:3], annotators=3)
    few = write_list(root / "few.txt", TRAIN[:4])

    notes = data_of(root, labelled=str(few)).report.notes

    assert notes[-1] == (
        f"data.labelled={few}: 2 of 4 pairs have no <id>.xml and train without boxes, the first is "
        f"{TRAIN[0]}"
    )


def hashed(ids: Iterable[str]) -> list[str]:
    return sorted(ids, key=lambda each: hashlib.sha256(each.encode()).hexdigest())


def test_a_number_of_labels_means_the_first_by_hash_that_all_annotators_marked(root: Path) -> None:
    write_xml(root, TRAIN[:5], annotators=3)
    write_xml(root, TRAIN[5:], annotators=2)
    tested_elsewhere = TRAIN[0]
    write_list(root / "ssl_test_list.txt", [f"{tested_elsewhere}.png"])

    data = data_of(root, labelled="3")

    assert train_ids(data) == tuple(hashed(TRAIN[1:5])[:3])
    assert data.report.lists["train"].name == "labelled_3"


def test_more_labels_than_there_are_is_an_error(root: Path) -> None:
    write_xml(root, TRAIN[:2], annotators=3)

    with pytest.raises(BenchError, match=r"data\.labelled=3: 2 pairs .* set data\.labelled=2"):
        data_of(root, labelled="3").setup("fit")


def test_a_raised_digit_is_no_number_of_labels(root: Path) -> None:
    with pytest.raises(BenchError, match=r"data\.labelled=²"):
        data_of(root, labelled="²").setup("fit")


def test_unlabelled_clips_train_beside_labelled_ones_without_boxes(root: Path) -> None:
    write_xml(root, TRAIN, annotators=3)
    write_list(root / "few.txt", TRAIN[:2])

    data = data_of(root, labelled="few", unlabelled="10k")

    assert train_ids(data) == tuple(TRAIN)
    assert [bool(data.boxes("train", row)) for row in range(4)] == [True, True, False, False]


def test_two_settings_that_name_the_unlabelled_clips_are_refused(root: Path) -> None:
    with pytest.raises(BenchError, match=r"data\.train_list=10k and data\.unlabelled=10k both"):
        data_of(root, train_list="10k", unlabelled="10k")


def test_a_full_training_list_is_what_lies_in_the_folders_without_the_test_clips(
    root: Path,
) -> None:
    data = data_of(root, train_list="full")

    assert train_ids(data) == tuple(TRAIN)
    assert (data.report.leaked_clips, data.report.removed_for_leakage) == (3, 3)


def test_a_batch_shows_the_boxes_of_one_annotator_at_a_time(root: Path) -> None:
    write_xml(root, TRAIN, annotators=3)
    data = data_of(root, labelled="12")
    loader = data.train_dataloader()

    lefts = set()
    for epoch in range(4):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            annotation = batch.annotation
            assert annotation is not None
            assert annotation.has_boxes.tolist() == [True, True]
            assert annotation.boxes is not None
            lefts |= set(annotation.boxes[:, 0, 0].tolist())

    assert lefts == {0.0, 0.125, 0.25}


def test_test_batches_carry_no_annotation(root: Path) -> None:
    data = data_of(root)

    batches = [batch for loader in data.test_dataloader() for batch in loader]

    assert [None] * 4 == [batch.annotation for batch in batches]


def with_negatives(root: Path, pairs: Sequence[tuple[str, str]]) -> Path:
    rows = [f"{frame},{sound},non-sounding" for frame, sound in pairs]
    write_list(root / "flickr_test_plus_silent.csv", ["video,audio,label", *rows])
    return root


def test_a_negative_has_the_frame_of_one_clip_and_the_sound_of_another(root: Path) -> None:
    data = data_of(with_negatives(root, [("22", "100")]), FlickrExtended)

    assert data.report.splits["test"].ids == ("22", "22+100")
    assert data.frames("test", 1).equal(data.frames("test", 0))
    assert data.waveform("test", 1).mean().item() == pytest.approx(0.5, abs=0.01)
    assert [truth.on_screen for truth in data.truth()] == [True, False]


def test_the_sound_of_a_negative_counts_as_a_test_clip(root: Path) -> None:
    data = data_of(with_negatives(root, [("22", "100")]), FlickrExtended)

    assert "100" not in train_ids(data)
    assert data.report.leaked_clips == 1


def test_the_250_frames_of_the_extended_list_are_a_test_list(root: Path) -> None:
    write_xml(root, ["100"], annotators=3)
    with_negatives(root, [("100", "22"), ("11", "33")])

    data = data_of(root, test_list="250")

    assert data.report.splits["test"].ids == ("100", "11")
    assert data.report.lists["test"].name == "flickr_test_plus_silent"


def test_segments_repeat_the_still_while_the_sound_moves(root: Path) -> None:
    inputs = Inputs(image_size=16, num_segments=4, sample_rate_hz=8000, segment_seconds=0.25)
    ramp = np.linspace(-1, 1, 16000)
    soundfile.write(root / "audio" / "11.wav", ramp, 16000, subtype="FLOAT")
    data = Flickr(FolderConfig(root=str(root), batch_size=2), inputs, seed=0)

    frames, sound = data.frames("test", 0), data.waveform("test", 0)

    assert (tuple(frames.shape), tuple(sound.shape)) == ((4, 3, 16, 16), (4, 2000))
    assert all(frame.equal(frames[0]) for frame in frames)
    assert sound.mean(1).tolist() == pytest.approx([-0.75, -0.25, 0.25, 0.75], abs=0.01)


def test_published_lists_give_the_published_counts(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "annotations" / "flickr"
    named = {"249": 249, "250": 250, "250_original": 250}
    write_pair(tmp_path, LAYOUTS[0], "11")
    data = data_of(tmp_path)
    ids = {}
    for name in named:
        path = next(folder.glob(f"{READERS['flickr'].test_lists[name]}.*"))
        ids[name] = set(data.listed(str(path), "data.test_list").ids)

    assert {name: len(found) for name, found in ids.items()} == named
    assert ids["250"] - ids["249"] == {"3908875350"}
    assert ids["250_original"] - ids["249"] == {"3908875357"}


@pytest.mark.parametrize(("name", "size", "leaked"), [("10k", 10_000, 1), ("144k", 144_000, 20)])
def test_published_training_lists_hold_published_test_clips(
    shared_data: Path, tmp_path: Path, name: str, size: int, leaked: int
) -> None:
    folder = shared_data / "annotations" / "flickr"
    write_pair(tmp_path, LAYOUTS[0], "11")
    data = data_of(tmp_path)
    tested = set(data.listed(str(folder / "flickr_test_plus_silent.csv"), "").ids)

    trained = data.listed(str(folder / f"flickr_{name}.txt"), "data.train_list").ids

    assert (len(trained), len(tested & set(trained))) == (size, leaked)
