import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from datamodules.base import ClipData
from datamodules.clip import Inputs
from datamodules.folder_clips import FolderConfig
from datamodules.inspection import inspected
from datamodules.music_duet import MusicDuet
from datamodules.music_solo import MusicSolo
from metrics.errors import BenchError
from metrics.predictions import Predictions
from metrics.scoring import score, score_maps

CELLO, FLUTE = 1, 12
TESTED, TRAINED, OTHER = "-TestedVid-_0_1000", "trainedVid__0_1000", "other_Video_0_1000"
SECONDS = 3
LEFT, RIGHT = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 0.5, 1.0]
INPUTS = Inputs(image_size=16, sample_rate_hz=8000, segment_seconds=0.5)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for video in (TESTED, TRAINED, OTHER):
        write_frames(folder, video, range(SECONDS))
        write_sound(folder / "audio" / f"{video}.flac")
    write_boxes(folder / "solotest.json", {frame(TESTED, s): [(CELLO, LEFT)] for s in range(3)})
    write_rows(folder / "solo_training_1.txt", [TRAINED, OTHER])
    return folder


def frame(video: str, second: int, place: int = 0) -> str:
    """Id of one of the four frames of a second, numbered at 30 frames a second."""
    return f"{video}/frame_{second:03d}/{30 * second + 7 * place:05d}"


def write_frames(root: Path, video: str, seconds: Iterable[int]) -> None:
    """Frames as bright as the number of the frame."""
    for second in seconds:
        for place in range(4):
            path = root / "video_frames" / f"{frame(video, second, place)}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (32, 24), 30 * second + 7 * place).save(path)


def write_sound(path: Path, seconds: int = SECONDS) -> None:
    """Each second at a level of its own: 0.1, 0.2 and so on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.repeat(0.1 * np.arange(1, seconds + 1), 8000)
    kind = "MP3" if path.suffix == ".mp3" else None
    soundfile.write(path, levels, 8000, format=kind)


def write_boxes(path: Path, boxes: Mapping[str, Sequence[tuple[int, list[float]]]]) -> None:
    entries = {
        f"{each}.jpg": {
            "bbox": [{"box": [0, 0, 0, 0], "normbox": b, "category_id": n} for n, b in found],
            "wdith": 640,
            "height": 360,
        }
        for each, found in boxes.items()
    }
    path.write_text(json.dumps(entries))


def write_rows(path: Path, videos: Iterable[str]) -> None:
    path.write_text("\n".join(f"{each}.flac {each}.mp4" for each in videos))


def write_instruments(root: Path, name: str = "MUSIC_solo_videos") -> None:
    videos = {"tuba": ["other_Video"], "flute": ["trainedVid_", "-TestedVid-"]}
    (root / f"{name}.json").write_text(json.dumps({"version": 1.0, "videos": videos}))


def solo(
    root: Path, inputs: Inputs = INPUTS, kind: type[MusicSolo] | type[MusicDuet] = MusicSolo,
    **settings: object,
) -> MusicSolo | MusicDuet:  # fmt: skip
    config = FolderConfig(root=str(root), batch_size=2)
    for name, value in settings.items():
        assert hasattr(config, name)
        setattr(config, name, value)
    return kind(config, inputs, seed=0)


def train_ids(data: ClipData) -> tuple[str, ...]:
    return data.report.splits["train"].ids


def test_frames_with_a_box_are_tested(root: Path) -> None:
    boxes = {frame(TESTED, 0): [(CELLO, LEFT)], frame(TESTED, 1): [], frame(TESTED, 2, 3): []}
    write_boxes(root / "solotest.json", {**boxes, frame(TESTED, 2, 1): [(CELLO, RIGHT)]})

    data = solo(root)

    test = data.report.splits["test"]
    assert test.ids == (frame(TESTED, 0), frame(TESTED, 2, 1))
    assert (test.videos, test.categories) == (("-TestedVid-",) * 2, ("cello",) * 2)
    assert [truth.boxes[0].tolist() for truth in data.truth()] == [[[0, 0, 0.5, 1]],
                                                                   [[0.5, 0, 1, 1]]]  # fmt: skip
    assert "2 of 4 frames have no box in solotest.json and are left out" in data.report.notes


def test_the_middle_frame_of_each_second_of_a_listed_video_trains(root: Path) -> None:
    assert train_ids(solo(root)) == tuple(
        frame(video, second, 2) for video in (TRAINED, OTHER) for second in range(SECONDS)
    )


def test_a_frame_is_read_with_the_sound_of_its_second(root: Path) -> None:
    data = solo(root)

    pictures = [data.frames("train", row)[0, 0, 8, 8].item() for row in range(SECONDS)]
    sounds = [data.waveform("train", row).mean().item() for row in range(SECONDS)]

    assert pictures == pytest.approx([14, 44, 74], abs=2)
    assert sounds == pytest.approx([0.1, 0.2, 0.3], abs=1e-3)


def test_seconds_of_one_sound_are_told_apart(root: Path) -> None:
    of_one_video = solo(root).fingerprints("train").sounds[:SECONDS]

    assert len(set(of_one_video)) == SECONDS
    assert len({each.split()[0] for each in of_one_video}) == 1, "one file"


def test_segments_repeat_the_still_around_its_second(root: Path) -> None:
    inputs = Inputs(image_size=16, num_segments=3, sample_rate_hz=8000, segment_seconds=1.0)
    data = solo(root, inputs)

    frames, sound = data.frames("train", 1), data.waveform("train", 1)

    assert all(each.equal(frames[0]) for each in frames)
    assert sound.mean(1).tolist() == pytest.approx([0.1, 0.2, 0.3], abs=1e-3)


@pytest.mark.parametrize(
    "name", [f"{TRAINED}.wav", f"{TRAINED}.mp3", "trainedVid_.wav", "trainedVid_.flac"]
)
def test_sounds_have_either_name_and_any_kind(root: Path, name: str) -> None:
    (root / "audio" / f"{TRAINED}.flac").unlink()
    write_sound(root / "audio" / name)

    data = solo(root)

    assert train_ids(data)[1] == frame(TRAINED, 1, 2)
    assert data.waveform("train", 1).mean().item() == pytest.approx(0.2, abs=0.02)


def test_flat_folders_are_read_too(root: Path) -> None:
    (root / "video_frames").rename(root / "frames")

    data = solo(root)

    assert (len(train_ids(data)), len(data.report.splits["test"])) == (6, 3)


def test_a_training_video_without_files_is_missing_once(root: Path) -> None:
    (root / "audio" / f"{OTHER}.flac").unlink()
    write_rows(root / "solo_training_1.txt", [TRAINED, OTHER, "not_here"])

    data = solo(root)

    assert data.report.train_missing == (OTHER, "not_here")
    assert len(train_ids(data)) == SECONDS


def test_test_videos_leave_the_training_list_by_youtube_id(root: Path) -> None:
    write_rows(root / "solo_pairs.txt", [TRAINED, TESTED])
    (root / "mine.txt").write_text("-TestedVid-\ntrainedVid_\n")

    pairs, mine = solo(root, train_list="pairs").report, solo(root, train_list="mine").report

    for report in (pairs, mine):
        assert {video for video in report.splits["train"].videos} == {"trainedVid_"}
        assert (report.leaked_videos, report.removed_for_leakage) == (1, 1)
    assert pairs.leaked_clips == 1


def test_leaked_videos_train_where_that_is_allowed_but_never_validate(root: Path) -> None:
    write_rows(root / "solo_pairs.txt", [TRAINED, TESTED])

    data = solo(root, train_list="pairs", allow_leakage=True, val_fraction=0.999)

    assert set(data.report.splits["train"].videos) == {"-TestedVid-"}
    assert set(data.report.splits["val"].videos) == {"trainedVid_"}


def test_the_record_knows_the_list_of_videos_as_it_was_published(root: Path) -> None:
    report = solo(root).report

    digest = hashlib.sha256(f"{TRAINED}\n{OTHER}".encode()).hexdigest()
    train = report.lists["train"]
    assert (train.name, train.n, train.sha256) == ("solo_training_1", 2, digest)
    assert (report.lists["test"].name, report.lists["test"].n) == ("solotest", 3)


def test_a_list_by_instrument_trains_and_names_its_classes(root: Path) -> None:
    write_instruments(root)

    data = solo(root, train_list="music")

    assert train_ids(data)[0] == frame(OTHER, 0, 2)
    assert data.report.lists["train"].n == 3
    assert data.report.classes == (
        "cello", "acoustic_guitar", "saxophone", "trumpet", "violin", "flute", "accordion", "tuba",
    )  # fmt: skip


def test_every_video_of_the_folders_is_a_list(root: Path) -> None:
    assert set(train_ids(solo(root, train_list="full"))) == {
        frame(video, second, 2) for video in (TRAINED, OTHER) for second in range(SECONDS)
    }


def test_training_sees_the_instrument_where_a_list_knows_it(root: Path) -> None:
    write_instruments(root)
    inputs = Inputs(image_size=16, sample_rate_hz=8000, segment_seconds=0.5, labels="clip")

    data = solo(root, inputs)

    classes = data.report.classes
    assert classes[data.labels("train", 0)[0]] == "flute"  # type: ignore[index]
    assert classes[data.labels("train", 5)[0]] == "tuba"  # type: ignore[index]
    assert data.labels("test", 0) is None
    batch = next(iter(data.train_dataloader()))
    assert batch.annotation is not None
    assert batch.annotation.has_labels.tolist() == [True, True]


def test_labels_are_seen_of_the_labelled_videos_only(root: Path) -> None:
    write_instruments(root)
    write_rows(root / "few.txt", [TRAINED])

    data = solo(root, labelled="few", unlabelled="training_1")

    seen = {data.video_of(i): data.labels("train", row) is not None
            for row, i in enumerate(train_ids(data))}  # fmt: skip
    assert seen == {"trainedVid_": True, "other_Video": False}


def test_without_a_list_of_instruments_there_are_no_labels(root: Path) -> None:
    assert solo(root).labels("train", 0) is None


def test_a_second_beyond_the_end_of_the_sound_is_left_out(root: Path) -> None:
    write_frames(root, TRAINED, [7])
    write_boxes(
        root / "solotest.json",
        {frame(TESTED, 1): [(CELLO, LEFT)], frame(TESTED, 9): [(CELLO, LEFT)]},
    )
    write_frames(root, TESTED, [9])

    report = solo(root).report

    reason = "second 9 lies beyond the end of the sound, 3.0 s"
    assert report.unreadable == {frame(TESTED, 9): f"{frame(TESTED, 9)}: {reason}"}
    assert list(report.train_unreadable) == [frame(TRAINED, 7, 2)]
    assert report.splits["test"].ids == (frame(TESTED, 1),)


def test_a_frame_whose_folder_is_no_second_is_left_out(root: Path) -> None:
    (root / "video_frames" / OTHER / "frame_000").rename(root / "video_frames" / OTHER / "intro")

    report = solo(root).report

    (reason,) = report.train_unreadable.values()
    assert "the folder of the frame ends in no number" in reason


def test_a_truncated_flac_takes_all_its_frames_with_it(root: Path) -> None:
    path = root / "audio" / f"{TRAINED}.flac"
    path.write_bytes(path.read_bytes()[:-200])

    data = solo(root)

    assert set(data.report.train_unreadable) == {frame(TRAINED, s, 2) for s in range(SECONDS)}
    assert all(f"audio/{TRAINED}.flac: " in each for each in data.report.train_unreadable.values())
    assert {data.video_of(each) for each in train_ids(data)} == {"other_Video"}


def test_missing_test_frames_are_counted_and_the_rest_is_tested(root: Path) -> None:
    (root / "video_frames" / f"{frame(TESTED, 1)}.jpg").unlink()

    report = solo(root).report

    assert report.missing == (frame(TESTED, 1),)
    assert (report.n_expected, len(report.splits["test"])) == (3, 2)
    assert report.notes == (
        "1 of 1 missing test frames have other frames of their second here: the boxes are of "
        "frames cut as DSOL's data/cut_videos.py does, 4 a second under the number that they have "
        "in the video",
    )


def test_boxes_of_other_frames_than_those_here_are_told(root: Path) -> None:
    write_boxes(root / "solotest.json", {frame(TESTED, 1, 9): [(CELLO, LEFT)]})

    with pytest.raises(BenchError, match="none of the 1 test clips .* 1 of 1 missing test frames"):
        solo(root).setup("fit")


def test_truncated_boxes_are_named(root: Path) -> None:
    path = root / "solotest.json"
    path.write_text(path.read_text()[:-20])

    with pytest.raises(BenchError, match=r"solotest\.json is not readable JSON"):
        solo(root).setup("fit")


@pytest.mark.parametrize("folder", ["audio_frames", "wav_frames"])
def test_pickled_spectrograms_are_refused_in_words(root: Path, folder: str) -> None:
    (root / "audio").rename(root / folder)

    with pytest.raises(BenchError, match=rf"{folder} holds pickled spectrograms, which are never"):
        solo(root).setup("fit")


def test_pickles_among_the_sounds_are_refused_where_they_are_all(root: Path) -> None:
    for path in (root / "audio").iterdir():
        path.rename(path.with_suffix(".pkl"))

    with pytest.raises(BenchError, match="audio holds pickled spectrograms, which are never read"):
        solo(root).setup("fit")


def test_an_entry_that_leaves_the_root_is_refused(root: Path) -> None:
    write_rows(root / "mine.txt", ["../etc"])

    with pytest.raises(BenchError, match=r"mine\.txt, line 1: .* would lead out of the data root"):
        solo(root, train_list="mine").setup("fit")


def test_an_unknown_list_names_the_short_names(root: Path) -> None:
    with pytest.raises(BenchError, match="short names are training_1, training_2, validation"):
        solo(root, train_list="traning_1").setup("fit")


def test_the_state_of_test_frames_and_of_listed_videos_is_told(root: Path) -> None:
    write_instruments(root)
    write_rows(root / "solo_testing.txt", [TESTED])
    write_rows(root / "solo_pairs.txt", [TESTED, TRAINED, "not_here"])
    (root / "video_frames" / f"{frame(TESTED, 0)}.jpg").unlink()
    write_sound(root / "audio" / f"{TESTED}.flac", 2)

    found = inspected("music_solo", solo(root))

    assert {each.name: each.n for each in found.lists} == {
        "solotest": 3, "solo_training_1": 2, "solo_testing": 1, "solo_pairs": 3,
        "MUSIC_solo_videos": 3,
    }  # fmt: skip
    leaks = {(each.train, each.test): (each.clips, each.videos) for each in found.leakage}
    assert leaks["solo_pairs", "solotest"] == leaks["solo_pairs", "solo_testing"] == (1, 1)
    assert leaks["solo_training_1", "solotest"] == (0, 0)
    assert found.media["test"].missing == (frame(TESTED, 0),)
    assert list(found.media["test"].unreadable) == [frame(TESTED, 2)]
    assert found.media["train"].missing == ("not_here",)
    assert "the lists of MUSIC know the instruments of 2 of 2 training videos" in found.notes
    assert not found.is_complete


def test_lists_and_boxes_are_judged_without_media(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "annotations" / "music"
    for path in (folder / "solotest.json", folder / "MUSIC_solo_videos.json",
                 *(folder / "splits" / "solo").iterdir()):  # fmt: skip
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "audio_frames").mkdir()

    found = inspected("music_solo", solo(tmp_path))

    counts = {each.name: each.n for each in found.lists}
    assert (counts["solotest"], counts["MUSIC_solo_videos"]) == (12356, 536)
    assert {each.train: each.videos for each in found.leakage if each.test == "solotest"} == {
        "solo_training_1": 0, "solo_training_2": 0, "solo_validation": 27, "solo_pairs": 27,
    }  # fmt: skip
    assert len(found.media["test"].missing) == 12356
    assert any("audio_frames holds pickled spectrograms" in note for note in found.notes)
    assert any("the instruments of 217 of 217 training videos" in note for note in found.notes)


def duet_root(root: Path) -> Path:
    both = [(CELLO, LEFT), (FLUTE, RIGHT)]
    write_boxes(root / "duettest.json", {frame(TESTED, 1): both, frame(TESTED, 2): both[:1]})
    write_rows(root / "duet_pairs_train.txt", [TRAINED])
    videos = {"cello flute": ["-TestedVid-", "trainedVid_"]}
    (root / "MUSIC_duet_videos.json").write_text(json.dumps({"version": 1.0, "videos": videos}))
    return root


def test_a_duet_has_a_source_per_instrument_and_no_isolated_sound(root: Path) -> None:
    data = solo(duet_root(root), kind=MusicDuet)

    first, second = data.truth()
    assert [source.category for source in first.sources] == ["cello", "flute"]
    assert (first.category, second.category) == (None, "cello")
    assert [data.num_sources("test", row) for row in range(2)] == [0, 0]
    assert len(data.test_dataloader()) == 2


def test_a_duet_has_no_one_class_to_train_on(root: Path) -> None:
    data = solo(duet_root(root), kind=MusicDuet)

    assert len(train_ids(data)) == SECONDS
    assert data.labels("train", 0) is None


def test_one_map_or_one_per_instrument_is_scored(root: Path) -> None:
    data = solo(duet_root(root), kind=MusicDuet)
    whole = np.tile(np.array([[1.0, 0.0]]), (2, 1, 1))

    ids = [truth.id for truth in data.truth()]
    per_source = np.stack([whole[:, :, ::-1], whole], axis=1)  # each map on the other's instrument
    answers = Predictions(ids[:1], source_heatmap=per_source[:1], map_range=(0.0, 1.0))

    one = score_maps(ids, whole, data.truth(), "lvs")
    several = score(answers, data.truth(), "dsol-duet")

    assert one.values["ciou"].tolist() == pytest.approx([0.5, 1.0], abs=0.01)
    assert several.metrics["ciou@0.3"] == 0.0
    assert several.metrics["cap"] < 0.5 < 0.99 < several.metrics["piap"]


@pytest.mark.parametrize(
    ("kind", "boxes", "expected"),
    [(MusicSolo, "solotest.json", 12356), (MusicDuet, "duettest.json", 10284)],
)
def test_published_boxes_give_the_published_counts(
    shared_data: Path,
    tmp_path: Path,
    kind: type[MusicSolo] | type[MusicDuet],
    boxes: str,
    expected: int,
) -> None:
    path = shared_data / "annotations" / "music" / boxes

    report = published_root(tmp_path / "root", path, kind).report

    assert (report.n_expected, len(report.missing)) == (expected, expected - 1)
    assert len(report.splits["test"]) == 1


def test_the_published_list_of_all_solos_loses_its_test_videos(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "annotations" / "music"
    data = published_root(tmp_path / "root", folder / "solotest.json", MusicSolo)
    data.config.train_list = str(folder / "splits" / "solo" / "solo_pairs.txt")

    report = data.report

    assert (report.leaked_clips, report.leaked_videos, report.removed_for_leakage) == (27, 27, 27)
    assert (report.lists["train"].n, len(report.train_missing)) == (489, 462)


def published_root(
    root: Path, boxes: Path, kind: type[MusicSolo] | type[MusicDuet]
) -> MusicSolo | MusicDuet:
    """A root with the first published frame alone."""
    first = next(iter(json.loads(boxes.read_text()))).removesuffix(".jpg")
    path = root / "video_frames" / f"{first}.jpg"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (32, 24)).save(path)
    (root / "audio").mkdir()
    soundfile.write(root / "audio" / f"{first.partition('/')[0]}.flac", np.zeros(40000), 100)
    return solo(root, kind=kind, annotations=str(boxes))
