import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from datamodules import clip_folder
from datamodules.box_defects import box_notes, degenerate_boxes
from datamodules.clip import Inputs, Resizing
from datamodules.folder_clips import FolderConfig
from datamodules.media import still_windows
from datamodules.vggss import VggSs
from datamodules.vggss_annotations import read_vggss
from metrics.errors import BenchError
from metrics.truth import Truth

TEST = [f"testvideo_{number}_000010" for number in range(4)]
TRAIN = [f"-rainvideo{number}_000020" for number in range(6)]
BOX = [[0.25, 0.25, 0.75, 0.5]]
INPUTS = Inputs(image_size=16, sample_rate_hz=8000, segment_seconds=0.5)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    write_clips(folder, [*TEST, *TRAIN])
    write_annotations(folder / "vggss.json", TEST)
    write_list(folder / "train.txt", TRAIN)
    return folder


def write_clips(root: Path, ids: Iterable[str]) -> None:
    for folder in ("frames", "audio"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for row, clip_id in enumerate(ids):
        Image.new("RGB", (32, 24), (20 * row, 0, 0)).save(root / "frames" / f"{clip_id}.jpg")
        soundfile.write(root / "audio" / f"{clip_id}.wav", np.full(8000, row / 20), 8000)


def write_annotations(path: Path, ids: Iterable[str]) -> None:
    path.write_text(json.dumps([{"file": i, "class": f"of {i}", "bbox": BOX} for i in ids]))


def write_list(path: Path, ids: Iterable[str]) -> Path:
    path.write_text("\n".join(ids))
    return path


def data_of(root: Path | None, **settings: object) -> VggSs:
    config = FolderConfig(root=None if root is None else str(root), batch_size=2)
    for name, value in settings.items():
        assert hasattr(config, name)
        setattr(config, name, value)
    return VggSs(config, INPUTS, seed=0)


def test_lists_become_splits_in_their_order(root: Path) -> None:
    splits = data_of(root).report.splits

    assert splits["train"].ids == tuple(TRAIN)
    assert splits["test"].ids == tuple(TEST)
    assert splits["test"].videos == tuple(f"testvideo_{number}" for number in range(4))
    assert splits["test"].categories == tuple(f"of {clip_id}" for clip_id in TEST)
    assert set(splits) == {"train", "test"}


def test_truth_follows_the_rows_of_the_test_split(root: Path) -> None:
    (root / "frames" / f"{TEST[1]}.jpg").unlink()
    truths = data_of(root).truth()

    assert [truth.id for truth in truths] == [TEST[0], TEST[2], TEST[3]]
    assert truths[0].boxes[0].tolist() == BOX


def test_frame_and_sound_belong_to_their_row(root: Path) -> None:
    data = data_of(root)

    frame, sound = data.frames("test", 2), data.waveform("test", 3)

    assert tuple(frame.shape) == (1, 3, 16, 16)
    assert abs(int(frame[0, 0, 8, 8]) - 40) <= 3
    assert tuple(sound.shape) == (1, 4000)
    assert sound.mean().item() == pytest.approx(3 / 20, abs=1e-3)


def test_missing_clips_are_listed_and_excluded(root: Path) -> None:
    (root / "frames" / f"{TEST[0]}.jpg").unlink()
    (root / "audio" / f"{TRAIN[5]}.wav").unlink()

    report = data_of(root).report

    assert (report.missing, report.train_missing) == ((TEST[0],), (TRAIN[5],))
    assert report.splits["test"].ids == tuple(TEST[1:])
    assert report.n_expected == 4


def test_unreadable_clips_are_named_with_the_reason_and_excluded(root: Path) -> None:
    (root / "frames" / f"{TEST[0]}.jpg").write_bytes(b"")
    sound = root / "audio" / f"{TRAIN[0]}.wav"
    sound.write_bytes(sound.read_bytes()[:-1000])

    report = data_of(root).report

    assert report.unreadable == {TEST[0]: f"frames/{TEST[0]}.jpg: the file is empty"}
    assert report.train_unreadable == {
        TRAIN[0]: f"audio/{TRAIN[0]}.wav: truncated: the header says 16000 bytes, 15000 are there"
    }
    assert report.splits["test"].ids == tuple(TEST[1:])
    assert report.splits["train"].ids == tuple(TRAIN[1:])


def test_png_frames_are_found(root: Path) -> None:
    path = root / "frames" / f"{TEST[0]}.jpg"
    Image.open(path).save(path.with_suffix(".png"))
    path.unlink()

    assert data_of(root).report.missing == ()


def test_files_are_verified_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_of(root).report
    seen: list[Path] = []
    monkeypatch.setattr(clip_folder, "frame_defect", seen.append)
    monkeypatch.setattr(clip_folder, "sound_defect", seen.append)
    changed = root / "frames" / f"{TRAIN[2]}.jpg"
    os.utime(changed, ns=(1, 1))

    assert data_of(root).report

    assert seen == [changed]


def test_a_damaged_cache_is_made_anew(root: Path, cache: Path) -> None:
    first = data_of(root).report
    (store,) = (cache / "verified").iterdir()
    store.write_text('{"version": 1, "files": {"frames/')

    assert data_of(root).report == first


def test_nothing_is_written_under_the_root(root: Path) -> None:
    before = sorted(root.rglob("*"))

    assert data_of(root).report
    assert sorted(root.rglob("*")) == before


def test_training_clips_of_test_videos_are_counted_and_removed(root: Path) -> None:
    same_video = f"{TEST[1][:11]}_000500"
    write_clips(root, [same_video])
    write_list(root / "train.txt", [*TRAIN, TEST[0], same_video])

    report = data_of(root).report

    assert (report.leaked_clips, report.leaked_videos, report.removed_for_leakage) == (1, 2, 2)
    assert report.splits["train"].ids == tuple(TRAIN)


def test_leaked_clips_stay_where_they_are_allowed_and_are_counted(root: Path) -> None:
    write_list(root / "train.txt", [*TRAIN, TEST[0]])

    report = data_of(root, allow_leakage=True).report

    assert (report.leaked_clips, report.leaked_videos, report.removed_for_leakage) == (1, 1, 0)
    assert report.splits["train"].ids == (*TRAIN, TEST[0])


def test_validation_videos_are_held_out_by_the_hash_of_the_video(root: Path) -> None:
    share = {i: int(hashlib.sha256(i[:11].encode()).hexdigest()[:8], 16) / 2**32 for i in TRAIN}

    splits = data_of(root, val_fraction=0.5).report.splits

    assert splits["val"].ids == tuple(i for i in TRAIN if share[i] < 0.5)
    assert splits["train"].ids == tuple(i for i in TRAIN if share[i] >= 0.5)


def test_allowed_leaked_clips_train_but_never_validate(root: Path) -> None:
    write_list(root / "train.txt", [*TRAIN, *TEST])

    splits = data_of(root, allow_leakage=True, val_fraction=0.99).report.splits

    assert set() == set(splits["val"].ids) & set(TEST)
    assert set(TEST) <= set(splits["train"].ids)


def test_a_limit_keeps_the_first_usable_clips_of_each_split(root: Path) -> None:
    for row in (0, 2):
        (root / "frames" / f"{TRAIN[row]}.jpg").write_bytes(b"")
    (root / "frames" / f"{TEST[1]}.jpg").unlink()

    report = data_of(root, limit=2).report

    assert report.splits["train"].ids == (TRAIN[1], TRAIN[3])
    assert report.splits["test"].ids == (TEST[0], TEST[2])
    assert report.n_expected == 4


def test_a_test_list_chooses_the_clips_and_their_order(root: Path) -> None:
    write_list(root / "vggss_test.csv", [TEST[2], TEST[0], TEST[2]])

    report = data_of(root, test_list="vggss_test").report

    assert report.splits["test"].ids == (TEST[2], TEST[0])
    assert report.n_expected == 2
    assert report.notes == ("vggss_test.csv: 1 repeated ids left out",)


def test_heard_names_one_list_of_training_clips_and_another_of_test_clips(root: Path) -> None:
    write_list(root / "vggss_heard.txt", TRAIN[:3])
    write_list(root / "vggss_heard_test.csv", TEST[:2])
    write_list(root / "vggss_unheard_test.csv", TEST[2:])

    heard = data_of(root, train_list="heard", test_list="heard").report
    unheard = data_of(root, test_list="unheard").report

    assert heard.splits["train"].ids == tuple(TRAIN[:3])
    assert heard.splits["test"].ids == tuple(TEST[:2])
    assert unheard.splits["test"].ids == tuple(TEST[2:])
    assert (heard.lists["train"].name, heard.lists["test"].name) == (
        "vggss_heard", "vggss_heard_test",
    )  # fmt: skip


def test_the_default_training_list_is_the_largest_published_one(root: Path) -> None:
    write_list(root / "vggss_10k.txt", TRAIN[:2])
    write_list(root / "vggss_144k.txt", TRAIN[:3])

    assert data_of(root).report.splits["train"].ids == tuple(TRAIN[:3])


def test_without_a_training_list_the_test_split_still_loads(root: Path) -> None:
    (root / "train.txt").unlink()

    report = data_of(root).report

    assert len(report.splits["test"]) == 4
    assert "no training list: none of vggss_144k, vggss_10k, train" in report.notes[0]


def test_lists_and_annotations_may_lie_in_metadata(root: Path) -> None:
    (root / "metadata").mkdir()
    for name in ("vggss.json", "train.txt"):
        (root / name).rename(root / "metadata" / name)

    splits = data_of(root).report.splits

    assert (len(splits["train"]), len(splits["test"])) == (6, 4)


def test_without_a_root_one_line_says_what_to_do() -> None:
    with pytest.raises(BenchError) as raised:
        data_of(None).setup("fit")

    message = str(raised.value)
    assert "\n" not in message
    for words in ("data.root is not set", "Localizing-Visual-Sounds-the-Hard-Way", "--root DIR"):
        assert words in message
    assert "bench sample-data vggss" in message
    assert "--data synthetic" in message


@pytest.mark.parametrize("folder", ["", "frames", "audio"])
def test_a_folder_that_is_missing_is_named_with_the_command(root: Path, folder: str) -> None:
    (root / folder).rename(root.parent / "elsewhere")

    with pytest.raises(BenchError, match=r"is not a folder; set data\.root .* bench sample-data"):
        data_of(root).setup("fit")


def test_missing_annotations_are_named_with_their_setting(root: Path) -> None:
    (root / "vggss.json").unlink()

    with pytest.raises(BenchError, match=r"vggss\.json is missing; .* set data\.annotations=FILE"):
        data_of(root).setup("fit")


def test_a_root_without_any_test_file_is_refused(root: Path) -> None:
    write_annotations(root / "vggss.json", ["othervideos_000001"])

    with pytest.raises(BenchError, match=r"none of the 1 test clips of vggss has its files"):
        data_of(root).setup("fit")


def test_a_test_id_without_boxes_is_refused(root: Path) -> None:
    write_list(root / "mine.txt", [TEST[0], TRAIN[0]])

    with pytest.raises(BenchError, match=rf"1 of 2 ids are not annotated .* {TRAIN[0]}; correct"):
        data_of(root, test_list="mine.txt").setup("fit")


def test_a_training_list_that_does_not_exist_is_refused(root: Path) -> None:
    with pytest.raises(BenchError, match=r"data\.train_list=vggss_20k names no list file"):
        data_of(root, train_list="vggss_20k").setup("fit")


def test_a_file_that_breaks_after_verification_stops_the_run(root: Path) -> None:
    data = data_of(root)
    assert data.report
    (root / "frames" / f"{TRAIN[0]}.jpg").write_bytes(b"")

    with pytest.raises(BenchError, match=rf"{TRAIN[0]}\.jpg cannot be read: .* data\.verify=true"):
        data.frames("train", 0)


def test_without_verification_broken_files_are_found_when_read(root: Path) -> None:
    (root / "audio" / f"{TRAIN[0]}.wav").write_bytes(b"")
    data = data_of(root, verify=False)

    assert data.report.train_unreadable == {}
    with pytest.raises(BenchError, match=r"wav cannot be read: the file is empty"):
        data.waveform("train", 0)


@pytest.mark.parametrize(("setting", "value"), [("limit", 0), ("val_fraction", 1.0)])
def test_settings_out_of_range_are_refused(setting: str, value: float) -> None:
    with pytest.raises(BenchError, match=f"data.{setting}={value} must"):
        data_of(None, **{setting: value})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[{"file": "aaaaaaaaaaa_0000', r"is not readable JSON"),
        ('{"a": 1}', r"expected a list of annotated clips"),
        ("[]", r"expected a list of annotated clips"),
        ("[7]", r"entry 0: expected an object, got int"),
        ('[{"class": "dog", "bbox": []}]', r"entry 0: 'file' must be a text, got nothing"),
        ('[{"file": "../../x", "class": "dog", "bbox": []}]', r"would lead out of the data root"),
        ('[{"file": "aaaaaaaaaaa_000001", "bbox": []}]', r"aaaaaaaaaaa_000001\): 'class' must be"),
        ('[{"file": "aaaaaaaaaaa_000001", "class": 3, "bbox": []}]', r"'class' .* got int"),
        ('[{"file": "aaaaaaaaaaa_000001", "class": "dog"}]', r"aaaaaaaaaaa_000001\): 'bbox' must"),
        ('[{"file": "aaaaaaaaaaa_000001", "class": "dog", "bbox": [[0, 1, 1]]}]', r"4 finite"),
        ('[{"file": "aaaaaaaaaaa_000001", "class": "d", "bbox": [[0, 0, 1, NaN]]}]', r"4 finite"),
        ('[{"file": "aaaaaaaaaaa_000001", "class": "d", "bbox": [[0, 0, 1, "1"]]}]', r"4 finite"),
    ],
)
def test_malformed_annotations_are_named(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "vggss.json"
    path.write_text(content)

    with pytest.raises(BenchError, match=rf"vggss\.json.*{words}"):
        read_vggss(path)


def test_a_clip_that_is_annotated_twice_is_named(tmp_path: Path) -> None:
    write_annotations(tmp_path / "vggss.json", [TEST[0], TEST[1], TEST[0]])

    with pytest.raises(BenchError, match=f"{TEST[0]} is annotated twice"):
        read_vggss(tmp_path / "vggss.json")


def test_a_clip_without_boxes_is_counted_and_named() -> None:
    truths = [Truth(TEST[0], (np.zeros((0, 4)),)), Truth(TEST[1], (np.array(BOX),))]

    (note,) = box_notes(truths)

    assert note == f"1 of 2 test clips have no box left inside the frame: {TEST[0]}"


def test_the_published_file_loads_and_its_defects_are_reported(shared_data: Path) -> None:
    truths = read_vggss(shared_data / "annotations" / "vggss" / "vggss.json")

    boxes = np.concatenate([truth.boxes[0] for truth in truths])
    notes = box_notes(truths)
    assert (len(truths), len(boxes)) == (5158, 5941)
    assert degenerate_boxes(boxes).sum() == 18
    assert (boxes < -1e16).sum() == 14  # kept as published
    assert notes[0].startswith("18 of 5941 boxes have no extent inside the frame")
    assert notes[1].endswith(": M1P1xla8rg0_000000, MKC9LvRivTM_000030")


def test_files_of_a_few_published_ids_run_through(shared_data: Path, tmp_path: Path) -> None:
    published = shared_data / "annotations" / "vggss"
    ids = [truth.id for truth in read_vggss(published / "vggss.json")][:5]
    train = (published / "vggss_10k.txt").read_text().split()[:4]
    write_clips(tmp_path / "root", [*ids, *train])

    data = data_of(
        tmp_path / "root",
        annotations=str(published / "vggss.json"),
        train_list=str(published / "vggss_10k.txt"),
    )

    assert data.report.splits["test"].ids == tuple(ids)
    assert (data.report.n_expected, len(data.report.missing)) == (5158, 5153)
    assert data.report.leaked_clips == 238
    assert len(data.truth()) == 5


def write_xml(folder: Path, clip_id: str, corners: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{clip_id}.xml").write_text(f"<annotation><bbox>{corners}</bbox></annotation>")


def test_the_xml_of_ssl_tie_is_read_in_place_of_the_json(root: Path) -> None:
    (root / "vggss.json").unlink()
    for clip_id in TEST[:2]:
        box = "<box><a>0.25</a><b>0.25</b><c>0.75</c><d>0.5</d></box>"
        write_xml(root / "anno", clip_id, box + box)

    truth = data_of(root).truth()

    assert [each.id for each in truth] == TEST[:2]
    assert truth[0].boxes[0].tolist() == BOX * 2


@pytest.mark.parametrize(
    ("corners", "words"),
    [
        ("<box><a>0.25</a><b>0.25</b><c>0.75</c></box>", "a box must hold xmin, ymin, xmax and"),
        (
            "<box><a>nan</a><b>0</b><c>1</c><d>1</d></box>",
            "a corner must be a finite number",
        ),
        ("<box><a/><b>0</b><c>1</c><d>1</d></box>", "a corner must be a finite number, got ''"),
    ],
)
def test_malformed_xml_boxes_are_named(root: Path, corners: str, words: str) -> None:
    (root / "vggss.json").unlink()
    write_xml(root / "anno", TEST[0], corners)

    with pytest.raises(BenchError, match=rf"{TEST[0]}\.xml: {words}"):
        data_of(root).setup("fit")


def asking(root: Path, segments: int) -> VggSs:
    config = FolderConfig(root=str(root), batch_size=2, proposal_width=64)
    inputs = Inputs(image_size=16, num_segments=segments, sample_rate_hz=8000,
                    segment_seconds=0.2, proposals=20)  # fmt: skip
    return VggSs(config, inputs, seed=0)


@pytest.mark.parametrize("segments", [1, 3])
def test_proposals_are_of_the_whole_image_whatever_size_the_frames_have(root: Path, segments: int):
    pixels = np.zeros((60, 200, 3), np.uint8)
    pixels[15:45, 100:150] = 255
    Image.fromarray(pixels).save(root / "frames" / f"{TEST[1]}.png")
    (root / "frames" / f"{TEST[1]}.jpg").unlink()

    data = asking(root, segments)
    clip = next(iter(data.test_dataloader()[0])).clip

    assert (2, segments, 20, 4) == clip.proposals.shape
    for boxes in clip.proposals[1]:
        near = (boxes - torch.tensor([0.5, 0.25, 0.75, 0.75])).abs().amax(-1)
        assert near.nan_to_num(1).min() < 0.05


def test_a_still_is_searched_once_for_all_of_its_segments(root: Path):
    assert 10 == len(asking(root, 3).pictures()), "four test and six training clips"


def test_images_under_two_names_are_searched_once(root: Path):
    first, second = (root / "frames" / f"{each}.jpg" for each in (TEST[0], TRAIN[0]))
    second.write_bytes(first.read_bytes())

    assert 9 == len(asking(root, 1).pictures())


def test_an_image_that_broke_since_it_was_listed_ends_the_search_in_a_line(root: Path):
    data = asking(root, 1)
    path = root / "frames" / f"{data.report.splits['test'].ids[2]}.jpg"
    path.write_bytes(path.read_bytes()[:40])

    with pytest.raises(BenchError, match=rf"{path.name} cannot be read: .*; replace the file"):
        data.setup("test")


def test_a_clip_has_the_middle_square_and_the_start_of_its_sound_where_a_method_asks_so(
    root: Path,
) -> None:
    pixels = np.zeros((24, 48, 3), np.uint8)
    pixels[:, 12:36] = 255  # the middle square is white
    Image.fromarray(pixels).save(root / "frames" / f"{TEST[0]}.png")
    (root / "frames" / f"{TEST[0]}.jpg").unlink()
    sound = np.arange(8000, dtype=np.int16)
    soundfile.write(root / "audio" / f"{TEST[0]}.wav", sound, 8000, subtype="PCM_16")
    inputs = replace(INPUTS, resizing=Resizing(crop=True), sound_start_seconds=0.25)
    data = VggSs(FolderConfig(root=str(root)), inputs, seed=0)

    frame, window = data.frames("test", 0), data.waveform("test", 0)

    assert frame.shape == (1, 3, 16, 16)
    assert (frame[..., 2:-2] == 255).all()
    assert torch.equal(window[0] * 32768, torch.arange(2000, 6000).float())


def test_a_window_lies_around_the_frame_where_its_time_is_given(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.arange(8000, dtype=np.int16), 8000, subtype="PCM_16")
    inputs = replace(INPUTS, sound_start_seconds=0.0)

    around = still_windows(tmp_path / "a.wav", inputs, 0.5)

    assert torch.equal(around[0] * 32768, torch.arange(2000, 6000).float())
