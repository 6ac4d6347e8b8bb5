"""A root is made, made whole again, or refused; never in part and never over files of others."""

import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from datamodules import preparation
from datamodules.clip_preparation import Form
from datamodules.preparation import Report, prepare
from datamodules.preparation_plan import Options
from metrics.errors import BenchError

SPOILED = """
import os, signal
from datamodules.clip_preparation import made_clip, write_files

def crashing(job):
    if job.id == "2" and job.writes:
        os.kill(os.getpid(), signal.SIGSEGV)
    return made_clip(job)

def failing(job):
    if job.id == "2" and job.writes:
        write_files(job.root, {"frames/2.jpg": b"half a clip"})
        raise LookupError("a fault of ours")
    return made_clip(job)
"""


@pytest.fixture(scope="module")
def encoded(made_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return made_video(tmp_path_factory.mktemp("encoded") / "a.mp4", seconds=1, rate=10).read_bytes()


@pytest.fixture
def videos(encoded: bytes, tmp_path: Path) -> Path:
    """Videos 1 to 4; 3 is empty."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in (1, 2, 3, 4):
        (folder / f"{number}.mp4").write_bytes(b"" if number == 3 else encoded)
    return folder


def made(videos: Path, /, *, said: list[str] | None = None, **more: object) -> Report:
    known = {"data": "flickr", "videos": videos, "root": videos.parent / "root", "workers": 1}
    return prepare(Options(**{**known, **more}), [].append if said is None else said.append)


def entries(videos: Path) -> dict[str, Any]:
    """What the manifest says of each clip, in the order of its lines."""
    _, *lines = (videos.parent / "root" / "prepare.jsonl").read_text().splitlines()
    return {entry["id"]: entry for entry in map(json.loads, lines)}


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob("*") if path.is_file()}  # fmt: skip


def test_a_root_is_made_and_every_clip_is_written_down(videos: Path) -> None:
    said: list[str] = []

    report = made(videos, said=said)

    assert ("1", "2", "4") == report.prepared
    assert {"3": "the file is empty"} == report.refused
    root = videos.parent / "root"
    assert {".prepare.lock", "prepare.jsonl",
            *(f"frames/{clip}.jpg" for clip in "124"), *(f"audio/{clip}.wav" for clip in "124")
            } == files(root).keys()  # fmt: skip
    lines = [json.loads(line) for line in (root / "prepare.jsonl").read_text().splitlines()]
    assert {"data": "flickr", "format": 1, "quality": 95, "rate_hz": None, "short_side": None
            } == lines[0]  # fmt: skip
    assert ["1", "2", "3", "4"] == [line["id"] for line in lines[1:]]
    assert "0 clips are done, 4 are to be made: about " in said[-1]
    assert said[-1].endswith("(measured on 4)")


def test_the_number_of_processes_changes_no_byte(videos: Path) -> None:
    made(videos, root=videos.parent / "one", workers=1)
    made(videos, root=videos.parent / "two", workers=2)

    assert files(videos.parent / "one") == files(videos.parent / "two")


def test_what_is_done_is_not_done_again_and_what_differs_is(videos: Path, encoded: bytes) -> None:
    made(videos)
    root = videos.parent / "root"
    whole = files(root)
    (root / "frames" / "2.jpg").write_bytes(whole["frames/2.jpg"][:-1] + b"!")
    (root / "audio" / "4.wav").unlink()
    before = (root / "frames" / "1.jpg").stat()

    report = made(videos)

    assert ({"2", "4"}, 1) == (set(report.prepared), report.done_before)
    assert whole == files(root)
    assert before == (root / "frames" / "1.jpg").stat()


def test_a_video_that_was_replaced_is_prepared_and_a_refused_one_is_tried_again(
    videos: Path, encoded: bytes
) -> None:
    made(videos)
    (videos / "1.mp4").write_bytes(encoded + b"\0" * 8)
    (videos / "2.mp4").write_bytes(b"no video")
    (videos / "3.mp4").write_bytes(encoded)

    report = made(videos)

    assert {"1", "3"} == set(report.prepared)
    assert ["2"] == list(report.refused)
    assert "frames/2.jpg" not in files(videos.parent / "root")
    assert (videos / "1.mp4").stat().st_size == (entries(videos)["1"]["video_bytes"])


def test_further_videos_join_the_root(videos: Path, encoded: bytes, tmp_path: Path) -> None:
    made(videos)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "7.mp4").write_bytes(encoded)

    made(videos, videos=tmp_path / "more")

    assert ["1", "2", "3", "4", "7"] == list(entries(videos))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"form": Form(short_side=256, rate_hz=16000)},
         r"was prepared with frames of full size, --quality 95, sound at its own rate, this "
         r"command asks for frames of 256 px \(--fast\), --quality 95, --rate 16000; give the "),
        ({"form": Form(quality=80)}, "--quality 80"),
        ({"data": "ave"}, "was prepared for flickr, not for ave; give another --root"),
    ],
)  # fmt: skip
def test_a_root_is_made_in_one_way_only(
    change: dict[str, object], words: str, videos: Path, encoded: bytes
) -> None:
    (videos / "RUhOCu3LNXM.mp4").write_bytes(encoded)
    made(videos)
    before = files(videos.parent / "root")

    with pytest.raises(BenchError, match=words):
        made(videos, **change)
    assert before == files(videos.parent / "root")


def test_files_of_someone_else_are_not_replaced(videos: Path) -> None:
    (videos.parent / "root" / "frames").mkdir(parents=True)
    (videos.parent / "root" / "frames" / "4.jpg").write_text("mine")

    with pytest.raises(BenchError, match=r"1 files and folders such as .*frames/4\.jpg are there"):
        made(videos)
    assert "mine" == (videos.parent / "root" / "frames" / "4.jpg").read_text()


def test_a_dry_run_measures_and_writes_nothing(videos: Path) -> None:
    report = made(videos, dry_run=True)

    assert not (videos.parent / "root").exists()
    assert ((), 4) == (report.prepared, len(report.plan.jobs))
    assert report.estimate is not None
    assert 4 == report.estimate.measured
    made(videos)
    sizes = [len(content) for name, content in files(videos.parent / "root").items()
             if name.endswith((".jpg", ".wav"))]  # fmt: skip
    assert sum(sizes) == report.estimate.bytes


def test_what_cannot_be_measured_is_not_given_in_numbers(videos: Path) -> None:
    for number in (1, 2, 4):
        (videos / f"{number}.mp4").write_bytes(b"")
    said: list[str] = []

    report = made(videos, said=said, dry_run=True)

    assert report.estimate is None
    assert said[-1] == (
        "0 clips are done, 4 are to be made: how long it takes and how much disk it needs could "
        "not be measured, for none of the 4 clips that were tried could be made"
    )


def test_a_disk_that_is_too_small_is_told_before_the_start(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "_free_bytes", lambda root: 2000)

    with pytest.raises(BenchError, match=r"has 0\.00 GB free and needs about .* store less with"):
        made(videos)
    assert {".prepare.lock"} == files(videos.parent / "root").keys()


@pytest.fixture
def spoiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """``spoiled("crashing")``: clips are made by that function of ``SPOILED``."""
    (tmp_path / "spoiled_clips.py").write_text(SPOILED)
    monkeypatch.syspath_prepend(tmp_path)

    def replace(name: str) -> None:
        function = getattr(importlib.import_module("spoiled_clips"), name)
        monkeypatch.setattr(preparation, "made_clip", function)

    return replace


def test_a_video_that_crashes_the_decoder_is_refused_and_the_others_are_made(
    spoiled: Callable[[str], None], videos: Path
) -> None:
    made(videos)
    (videos / "2.mp4").write_bytes((videos / "2.mp4").read_bytes() + b"\0" * 8)
    spoiled("crashing")

    report = made(videos)

    assert (2, ()) == (report.done_before, report.prepared)
    assert "the decoder failed: its process was killed by SIGSEGV" == report.refused["2"]
    assert "refused" == entries(videos)["2"]["status"]
    assert "frames/2.jpg" not in files(videos.parent / "root")


def test_a_run_that_failed_within_a_clip_is_taken_up(
    spoiled: Callable[[str], None], videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(videos, root=videos.parent / "whole")
    spoiled("failing")
    with pytest.raises(RuntimeError, match="a fault of ours"):
        made(videos)
    monkeypatch.undo()

    made(videos)

    assert files(videos.parent / "whole") == files(videos.parent / "root")


def test_two_runs_do_not_make_one_root(videos: Path) -> None:
    (videos.parent / "root").mkdir()

    with (
        FileLock(videos.parent / "root" / ".prepare.lock"),
        pytest.raises(BenchError, match="is being prepared by another run; wait for it"),
    ):
        made(videos)


def test_a_journal_with_a_torn_line_and_unfinished_files_are_taken_up(
    videos: Path, spoiled: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(videos)
    root = videos.parent / "root"
    whole = files(root)
    lines = (root / "prepare.jsonl").read_text().splitlines(keepends=True)
    (root / "prepare.jsonl").unlink()
    (root / ".prepare.journal").write_text(
        lines[0] + lines[1] + '{"begun":"2"}\n{"begun":"4"}\n' + lines[4][:50]
    )
    (root / "audio" / "2.wav").unlink()  # it had begun, and its frame is there
    (root / "frames" / ".4.jpg.0123.part").write_text("half a fra")
    spoiled("failing")
    with pytest.raises(RuntimeError):  # and once more
        made(videos)
    monkeypatch.undo()

    report = made(videos)

    assert (("2", "4"), 1) == (report.prepared, report.done_before)
    assert whole == files(root)


def test_a_clip_that_a_killed_run_had_begun_and_nobody_asks_for_any_more_leaves_nothing(
    videos: Path,
) -> None:
    made(videos)
    root = videos.parent / "root"
    head, *lines = (root / "prepare.jsonl").read_text().splitlines(keepends=True)
    (root / "prepare.jsonl").write_text("".join([head, *lines[1:]]))  # without clip 1
    (root / ".prepare.journal").write_text(head + '{"begun":"1"}\n{"begun":"../videos/1"}\n')
    (videos.parent / "list.txt").write_text("2\n4\n")

    made(videos, clips=videos.parent / "list.txt")

    assert {"frames/2.jpg", "frames/4.jpg", "audio/2.wav", "audio/4.wav"} == {
        name for name in files(root) if "/" in name
    }
    assert 4 == len(list(videos.iterdir()))
    assert {"1", "2", "4"} == {*made(videos).prepared, "2", "4"}


def test_a_manifest_that_names_files_outside_the_root_is_not_believed(videos: Path) -> None:
    made(videos)
    path = videos.parent / "root" / "prepare.jsonl"
    path.write_text(path.read_text().replace("audio/1.wav", "../videos/1.mp4"))

    assert ("1",) == made(videos).prepared


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        "{}",
        '{"id":"1","status":"prepared","plan":"x","video":"1.mp4"}',
        '{"id":"1","status":"good","plan":"x","video":"1.mp4","video_bytes":3}',
        '{"id":"1","status":"prepared","plan":"x","video":"1.mp4","video_bytes":3,"files":[]}',
    ],
)
def test_a_damaged_manifest_is_one_line(line: str, videos: Path) -> None:
    head = '{"data":"flickr","format":1,"quality":95,"rate_hz":null,"short_side":null}'
    (videos.parent / "root").mkdir()
    (videos.parent / "root" / "prepare.jsonl").write_text(f"{head}\n{line}\n")

    with pytest.raises(BenchError, match=r"prepare\.jsonl, line 2, is damaged; move .* away and"):
        made(videos)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limit": 0}, "--limit 0 must be at least 1"),
        ({"workers": 0}, "--workers 0 must lie in 1 to 1024"),
        ({"form": Form(quality=0)}, "--quality 0 must lie in 1 to 100"),
        ({"form": Form(rate_hz=10)}, "--rate 10 must lie in 1000 to 384000"),
    ],
)
def test_a_number_out_of_range_is_one_line(
    change: dict[str, object], words: str, videos: Path
) -> None:
    with pytest.raises(BenchError, match=words):
        made(videos, **change)


@pytest.mark.parametrize("place", ["root", "root/frames"])
def test_a_root_that_cannot_be_written_is_one_line(place: str, videos: Path) -> None:
    blocked = videos.parent / place
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("a file where a folder belongs")

    with pytest.raises(BenchError, match=r"root.*(File exists|Not a directory)") as error:
        made(videos)
    assert "\n" not in str(error.value)


def test_progress_is_said_in_lines_where_there_is_no_bar(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "REPORT_SECONDS", 0)
    said: list[str] = []

    prepare(Options("flickr", videos, videos.parent / "root", workers=1), said.append, reports=True)

    assert [f"{number} of 4 clips, " for number in (1, 2, 3, 4)] == [
        line[:14] for line in said if " left" in line
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_without_permission_is_one_line(videos: Path) -> None:
    (videos.parent / "root").mkdir(mode=0o500)

    with pytest.raises(BenchError, match="cannot be written .*Permission denied"):
        made(videos)
