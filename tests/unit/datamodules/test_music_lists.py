import json
from itertools import combinations
from pathlib import Path

import pytest

from datamodules.ground_truth import READERS
from datamodules.id_lists import read_id_list
from datamodules.music_lists import music_entry, read_video_ids, second_of, youtube_id
from metrics.errors import BenchError

SPLITS = {  # rows of the published files; two of them do not end their last line
    "solo/solo_pairs": 489,
    "solo/solo_training_1": 217,
    "solo/solo_training_2": 223,
    "solo/solo_validation": 49,
    "solo/solo_testing": 27,
    "duet/duet_pairs_train": 124,
    "duet/duet_pairs_val": 17,
}


@pytest.mark.parametrize(
    ("clip_id", "video"),
    [
        ("4Oy5VmaacaI_0_1000/frame_013/00411", "4Oy5VmaacaI"),
        ("-_-TDDxoaAc_0_1000", "-_-TDDxoaAc"),
        ("a_12_345678", "a_12_345678"),
        ("a_12_345678_0_30", "a_12_345678"),
        ("my_video", "my_video"),
    ],
)
def test_the_part_that_was_cut_out_is_no_part_of_the_video(clip_id: str, video: str) -> None:
    assert youtube_id(clip_id) == video


@pytest.mark.parametrize(("folder", "second"), [("frame_013", 13), ("7", 7), ("frames", None)])
def test_the_folder_of_a_frame_is_its_second(folder: str, second: int | None) -> None:
    assert second_of(f"vid_0_1000/{folder}/00411") == second


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("-a_0_1000.flac -a_0_1000.mp4", "-a_0_1000"),
        ("a_0_1000.wav\ta_0_1000.mp4 ", "a_0_1000"),
        ("a_0_1000/frame_013/00411.jpg", "a_0_1000/frame_013/00411"),
        ("jW_AuF6dQYY", "jW_AuF6dQYY"),
        ("a_0_1000.flac b_0_1000.mp4", "a_0_1000.flac b_0_1000.mp4"),
    ],
)
def test_a_line_is_the_video_that_both_columns_name(line: str, entry: str) -> None:
    assert music_entry(line) == entry


def test_a_line_of_two_videos_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("a_0_1000.flac a_0_1000.mp4\na_0_1000.flac b_0_1000.mp4\n")
    reader = READERS["music_solo"]

    with pytest.raises(BenchError, match=r"mine\.txt, line 2: the id 'a_0_1000\.flac b_0_1000"):
        read_id_list(path, reader.list_form, id_of=reader.spell)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"version": 1.0, "videos": {"flute": ["a"', "is not readable JSON"),
        ('["a"]', "expected an object with 'version' and 'videos'"),
        ('{"videos": {"flute": ["a"]}}', "expected an object with 'version' and 'videos'"),
        ('{"version": 1.0, "videos": {}}', "expected an object with 'version' and 'videos'"),
        ('{"version": 1.0, "videos": {"flute": "a"}}', r"\(flute\): expected a list of video ids"),
        ('{"version": 1.0, "videos": {"flute": ["../a"]}}', "would lead out of the data root"),
        ('{"version": 1.0, "videos": {"flute": ["a"], "tuba": ["a"]}}', "a is listed twice"),
    ],
)
def test_malformed_lists_of_instruments_are_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "ids.json").write_text(content)

    with pytest.raises(BenchError, match=rf"ids\.json.*{words}"):
        read_video_ids(tmp_path / "ids.json")


@pytest.mark.parametrize(
    ("name", "videos", "categories"),
    [
        ("MUSIC_solo_videos", 536, 11),
        ("MUSIC_duet_videos", 149, 9),
        ("MUSIC21_solo_videos", 1164, 21),
    ],
)
def test_the_published_lists_of_instruments_give_the_published_counts(
    shared_data: Path, name: str, videos: int, categories: int
) -> None:
    found = read_video_ids(shared_data / "annotations" / "music" / f"{name}.json")

    assert (len(found.ids), len(found.categories)) == (videos, categories)


def published(shared_data: Path) -> dict[str, set[str]]:
    """YouTube ids of each split file and of each file of boxes."""
    folder = shared_data / "annotations" / "music"
    reader = READERS["music_solo"]
    videos = {}
    for name in SPLITS:
        listed = read_id_list(
            folder / "splits" / f"{name}.txt", reader.list_form, id_of=reader.spell
        )
        videos[name.partition("/")[2]] = {youtube_id(each) for each in listed.ids}
    for name in ("solotest", "duettest"):
        keys = json.loads((folder / f"{name}.json").read_text())
        videos[name] = {key.partition("_0_1000/")[0] for key in keys}
    return videos


def test_the_published_splits_have_the_published_sizes(shared_data: Path) -> None:
    found = published(shared_data)

    assert {name: len(found[name.partition("/")[2]]) for name in SPLITS} == SPLITS
    assert (len(found["solotest"]), len(found["duettest"])) == (27, 16)


def test_the_published_splits_share_videos(shared_data: Path) -> None:
    found = published(shared_data)

    shared = {
        pair: both
        for pair in combinations(sorted(found), 2)
        if (both := len(found[pair[0]] & found[pair[1]]))
    }

    assert {frozenset(pair): number for pair, number in shared.items()} == {
        frozenset({"solo_pairs", "solo_training_1"}): 217,
        frozenset({"solo_pairs", "solo_training_2"}): 223,
        frozenset({"solo_pairs", "solo_validation"}): 49,
        frozenset({"solo_pairs", "solo_testing"}): 27,
        frozenset({"solo_pairs", "solotest"}): 27,
        frozenset({"solo_testing", "solo_validation"}): 27,
        frozenset({"solo_testing", "solotest"}): 27,
        frozenset({"solo_validation", "solotest"}): 27,
        frozenset({"duet_pairs_val", "duettest"}): 16,
    }
