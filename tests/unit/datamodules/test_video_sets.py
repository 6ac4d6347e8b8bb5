"""What each data set takes from a video, on real lists where they are there."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from datamodules.video_sets import NOT_FROM_VIDEOS, VIDEO_SETS, FramesAt, listed_clips, video_set
from metrics.errors import BenchError


def times(data: str, root: Path, clip: str, length: Fraction | int = 0) -> dict[str, float]:
    needs = video_set(data).needs(root)(clip)
    return {name: float(time) for name, time in needs.frames.times(Fraction(length)).items()}


def listed(data: str, root: Path) -> dict[str, int]:
    return {one.path.name: len(one.ids) for one in listed_clips(video_set(data), root)}


def test_vggss_takes_frame_125_at_25_per_second_of_a_cut_or_of_the_whole_video(
    tmp_path: Path,
) -> None:
    clip = "-a_cdEfGhI__000042"

    assert {f"frames/{clip}.jpg": 5.0} == times("vggss", tmp_path, clip)
    assert ("-a_cdEfGhI_", 42) == VIDEO_SETS["vggss"].whole(clip)
    needs = VIDEO_SETS["vggss"].needs(tmp_path)(clip)
    assert (f"audio/{clip}.wav", 10) == (needs.sound, needs.seconds)


def test_flickr_takes_the_centre(tmp_path: Path) -> None:
    assert {"frames/123.jpg": 3.5} == times("flickr", tmp_path, "123", 7)


def test_ave_takes_the_middle_of_each_of_ten_seconds(tmp_path: Path) -> None:
    assert {f"frames/RUhOCu3LNXM/{t:02d}.jpg": t + 0.5 for t in range(10)} == times(
        "ave", tmp_path, "RUhOCu3LNXM"
    )


def test_music_takes_the_frames_that_have_boxes_and_else_one_of_each_whole_second(
    tmp_path: Path,
) -> None:
    boxed = {"4Oy5VmaacaI_0_1000/frame_013/00411.jpg": {"bbox": []},
             "4Oy5VmaacaI_0_1000/frame_000/00000.jpg": {"bbox": []}}  # fmt: skip
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "solotest.json").write_text(json.dumps(boxed))

    folder = "video_frames/4Oy5VmaacaI_0_1000"
    assert {
        f"{folder}/frame_013/00411.jpg": 411 / 30,
        f"{folder}/frame_000/00000.jpg": 0,
    } == times("music_solo", tmp_path, "4Oy5VmaacaI_0_1000", 99)
    other = "video_frames/1Ju4S0qeDqw_0_1000"
    assert {
        f"{other}/frame_000/00014.jpg": 14 / 30,
        f"{other}/frame_001/00044.jpg": 44 / 30,
    } == times("music_solo", tmp_path, "1Ju4S0qeDqw_0_1000", Fraction(29, 10))
    assert 1000 == len(times("music_solo", tmp_path, "1Ju4S0qeDqw_0_1000", 2000))


def test_a_music_video_may_lack_frames_at_its_end_and_no_other_may(tmp_path: Path) -> None:
    (tmp_path / "duettest.json").write_text('{"4Oy5VmaacaI_0_1000/frame_013/00411.jpg": {}}')
    rule = video_set("music_duet").needs(tmp_path)("4Oy5VmaacaI_0_1000").frames

    assert isinstance(rule, FramesAt)
    assert not rule.needs_all
    assert video_set("ave").needs(tmp_path)("RUhOCu3LNXM").frames.needs_all


def test_lists_and_annotations_of_a_root_say_which_clips_there_are(shared_data: Path) -> None:
    annotations = shared_data / "annotations"

    assert {
        "vggss_144k.txt": 144000, "vggss_10k.txt": 10000, "vggss_heard.txt": 59468,
        "vggss_test.csv": 5158, "vggss_heard_test.csv": 2564, "vggss_unheard_test.csv": 2575,
        "vggss.json": 5158, "vggss_test_plus_silent.csv": 5373,
    } == listed("vggss", annotations / "vggss")  # fmt: skip
    assert {
        "flickr_144k.txt": 144000, "flickr_10k.txt": 10000, "flickr_sup_train.txt": 4750,
        "flickr_test.csv": 249, "ssl_test_list.txt": 250, "flickr_test_plus_silent.csv": 250,
    } == listed("flickr", annotations / "flickr")  # fmt: skip
    assert {"Annotations.txt": 4097} == listed("ave", annotations / "ave")
    assert {
        "solotest.json": 27, "MUSIC_solo_videos.json": 536, "MUSIC21_solo_videos.json": 1164
    } == listed("music_solo", annotations / "music")  # fmt: skip
    assert {"duettest.json": 16, "MUSIC_duet_videos.json": 149} == listed(
        "music_duet", annotations / "music"
    )
    assert {
        "solo_pairs.txt": 489, "solo_training_1.txt": 217, "solo_training_2.txt": 223,
        "solo_validation.txt": 49, "solo_testing.txt": 27,
    } == listed("music_solo", annotations / "music" / "splits" / "solo")  # fmt: skip


def test_every_frame_of_the_real_boxes_has_a_time_of_its_second(shared_data: Path) -> None:
    root = shared_data / "annotations" / "music"
    needs = video_set("music_solo").needs(root)
    (boxes,) = [one for one in listed_clips(video_set("music_solo"), root)
                if one.path.name == "solotest.json"]  # fmt: skip

    frames = {name: time for clip in boxes.ids for name, time in
              needs(clip).frames.times(Fraction(0)).items()}  # fmt: skip

    assert 13472 == len(frames)
    assert all(int(name.split("/")[2].removeprefix("frame_")) == int(time)
               for name, time in frames.items())  # fmt: skip


@pytest.mark.parametrize(
    ("data", "line", "clip"),
    [
        ("flickr", "10000130166,202", "10000130166"),
        ("flickr", "2432219254.png", "2432219254"),
        ("ave", "Church bell&RUhOCu3LNXM&good&0&10", "RUhOCu3LNXM"),
        ("ave", "RUhOCu3LNXM", "RUhOCu3LNXM"),
        ("ave", "RUhOCu3LNXM@0", "RUhOCu3LNXM"),
        ("vggss", "zpWuikVorYg_30000_40000", "zpWuikVorYg_000030"),
        ("music_solo", "2gk-IN35s5I_0_1000.flac 2gk-IN35s5I_0_1000.mp4", "2gk-IN35s5I_0_1000"),
        ("music_solo", "2gk-IN35s5I", "2gk-IN35s5I_0_1000"),
    ],
)
def test_a_line_of_a_list_names_a_clip(data: str, line: str, clip: str) -> None:
    assert clip == video_set(data).id_of(line)


@pytest.mark.parametrize("name", ["vggss", "flickr"])
def test_an_extended_set_is_made_of_the_clips_of_its_set(name: str) -> None:
    assert VIDEO_SETS[name] is video_set(f"{name}_extended")


@pytest.mark.parametrize("name", NOT_FROM_VIDEOS)
def test_a_data_set_that_is_not_made_from_videos_is_one_line(name: str) -> None:
    with pytest.raises(BenchError, match=f"^{name} .*see: bench list data"):
        video_set(name)


def test_an_unknown_data_set_is_told_of_the_known_ones() -> None:
    with pytest.raises(BenchError, match=r"'vgss'\. Did you mean vggss\? .* makes vggss, flickr"):
        video_set("vgss")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("../../etc/passwd", "would lead out of the data root"),
        ("4Oy5VmaacaI_0_1000/frame_013/last.jpg", "has no number"),
        ("4Oy5VmaacaI/frame_013/00411.jpg", "is no <11-character video id>_0_1000"),
    ],
)
def test_a_boxes_file_with_another_key_is_refused(key: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "solotest.json").write_text(json.dumps({key: {}}))

    with pytest.raises(BenchError, match=words):
        listed_clips(video_set("music_solo"), tmp_path)
