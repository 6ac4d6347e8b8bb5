"""Which clips have a video, by the names of files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from datamodules.preparation_plan import Options, Plan, found_videos, plan_lines, planned
from metrics.errors import BenchError

Touch = Callable[..., Path]


@pytest.fixture
def videos(tmp_path: Path) -> Callable[..., Path]:
    """``videos("a.mp4", ...)``: a folder of files of those names that hold their name."""

    def folder(*names: str) -> Path:
        for name in names:
            path = tmp_path / "videos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        return tmp_path / "videos"

    return folder


def plan(data: str, videos: Path, *ids: str, **more: object) -> Plan:
    if ids:
        more["clips"] = videos.parent / "list.txt"
        (videos.parent / "list.txt").write_text("\n".join(ids))
    return planned(Options(data, videos, videos.parent / "root", **more))


def sources(found: Plan) -> dict[str, list[tuple[str, int]]]:
    return {job.id: [(c.name, c.start_seconds) for c in job.candidates] for job in found.jobs}


def test_without_a_list_every_video_with_an_id_as_its_name_is_a_clip(videos: Touch) -> None:
    folder = videos(
        "-a_cdEfGhI__000042.mp4", "sub/_bcdEfGhIjK_000001.webm", "AbCdEfGhIjK.mp4", "höhe.mkv",
        "AbCdEfGhIjK_000001.f137.mp4", "AbCdEfGhIjK_000001.jpg", "AbCdEfGhIjK_000001.mp4.part",
        "ZbCdEfGhIjK_30000_40000.mp4",
        ".AbCdEfGhIjK_000001.mp4", "AbCdEfGhIjK_00001.mp4",
    )  # fmt: skip

    found = plan("vggss", folder)

    assert {
        "-a_cdEfGhI__000042": [("-a_cdEfGhI__000042.mp4", 0)],
        "_bcdEfGhIjK_000001": [("sub/_bcdEfGhIjK_000001.webm", 0)],
        "ZbCdEfGhIjK_000030": [("ZbCdEfGhIjK_30000_40000.mp4", 0)],
    } == sources(found)
    assert {
        "AbCdEfGhIjK.mp4", "höhe.mkv", "AbCdEfGhIjK_000001.f137.mp4", "AbCdEfGhIjK_00001.mp4"
    } == set(found.unnamed)  # fmt: skip


def test_a_listed_clip_is_cut_out_of_the_whole_video_where_there_is_no_cut(videos: Touch) -> None:
    folder = videos(
        "AbCdEfGhIjK.mp4", "AbCdEfGhIjK_000030.mkv", "ZbCdEfGhIjK.mp4", "12345678901.mp4"
    )

    found = plan("vggss", folder, "AbCdEfGhIjK_000007", "AbCdEfGhIjK_000030", "QbCdEfGhIjK_000007")

    assert {
        "AbCdEfGhIjK_000007": [("AbCdEfGhIjK.mp4", 7)],
        "AbCdEfGhIjK_000030": [("AbCdEfGhIjK_000030.mkv", 0), ("AbCdEfGhIjK.mp4", 30)],
    } == sources(found)
    assert ("QbCdEfGhIjK_000007",) == found.missing


def test_videos_that_no_list_asks_for_are_counted(videos: Touch) -> None:
    found = plan("flickr", videos("1.mp4", "2.mp4", "3.mp4", "x.mp4"), "2", "4")

    assert (["2"], ("4",), 2, ("x.mp4",)) == (
        [job.id for job in found.jobs], found.missing, found.unlisted, found.unnamed
    )  # fmt: skip


def test_the_limit_takes_the_first_listed_clips_that_have_a_video(videos: Touch) -> None:
    found = plan("flickr", videos("1.mp4", "2.mp4", "3.mp4"), "9", "3", "1", "2", limit=2)

    assert (["3", "1"], 3) == ([job.id for job in found.jobs], found.found)


def test_lists_in_the_root_are_taken_where_none_is_given(videos: Touch) -> None:
    folder = videos("1.mp4", "2.mp4")
    (folder.parent / "root").mkdir()
    (folder.parent / "root" / "flickr_test.csv").write_text("2,17\r\n5,0\r\n")

    found = plan("flickr", folder)

    assert (["2"], ("5",)) == ([job.id for job in found.jobs], found.missing)


def test_links_are_followed_and_loops_end(videos: Touch, tmp_path: Path) -> None:
    folder = videos("deep/1.mp4")
    (folder / "deep" / "loop").symlink_to(folder)
    (folder / "2.mp4").symlink_to(folder / "2.mp4")
    (folder / "3.mp4").symlink_to(folder / "deep" / "1.mp4")

    assert {"1": [("deep/1.mp4", 10)], "2": [("2.mp4", 0)], "3": [("3.mp4", 10)]} == found_videos(
        folder
    )


def test_pipes_are_no_videos(videos: Touch) -> None:
    folder = videos("1.mp4")
    os.mkfifo(folder / "2.mp4")

    assert ["1"] == list(found_videos(folder))


@pytest.mark.parametrize(
    ("data", "names", "ids", "words"),
    [
        ("vggss", ["AbCdEfGhIjK.mp4"], [], "none of the 1 files is named by an id of vggss"),
        ("vggss", ["a.mp4"], ["AbCdEfGhIjK_000007"], "none of the 1 listed clips has a video"),
        ("ave", ["a.mp4"], [], r"expected names such as RUhOCu3LNXM\.mp4"),
        ("vggss", ["a.mp4"], ["../x"], "would lead out of the data root"),
        ("vggss", ["a.mp4"], ["x"], "line 1: the id 'x' is no <11-character video id>_<6-digit"),
    ],
)
def test_what_leads_to_no_clip_is_one_line(
    data: str, names: list[str], ids: list[str], words: str, videos: Touch
) -> None:
    with pytest.raises(BenchError, match=words):
        plan(data, videos(*names), *ids)


def test_a_missing_folder_of_videos_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="nowhere is not a folder; give --videos"):
        plan("ave", tmp_path / "nowhere")


def test_the_user_is_told_what_was_found(videos: Touch) -> None:
    folder = videos("1.mp4", "2.mp4", "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    options = Options("flickr", folder, folder.parent / "root", limit=1)

    lines = list(plan_lines(options, planned(options)))

    assert lines[0].startswith("2 clips of flickr have a video in ")
    assert "--limit 1: the first 1 of them" == lines[1]
    assert "4 files have a name that is no id of flickr: a.mp4, b.mp4, c.mp4, ..." == lines[2]
