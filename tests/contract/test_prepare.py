"""`bench prepare` from the outside: what it makes, refuses and prints, and what a kill leaves."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

Bench = Callable[..., Any]
Made = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "prepare.md").read_text(encoding="utf-8")
SHOWN = [line for block in re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL)
         for line in block.splitlines()]  # fmt: skip
KILLS = 10
AVE_CLIPS = 60
SMALL_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
from benchmark.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def encoded(made_video: Made, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video of 10 s."""
    folder = tmp_path_factory.mktemp("encoded")
    return made_video(
        folder / "a.mp4", seconds=10, rate=4, size=(96, 64), rate_hz=8000
    ).read_bytes()


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob("*") if path.is_file()}  # fmt: skip


def test_clips_are_made_or_refused_by_id_and_reason(
    bench: Bench, encoded: bytes, made_video: Made, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    (videos / "näher dran").mkdir(parents=True)
    good = ["-bCdEfGhIjK_000001.mp4", "__CdEfGhIjK_000002.mov", "näher dran/AbCdEfGhIjK_000003.m4v"]
    for name in good:
        (videos / name).write_bytes(encoded)
    (videos / "AbCdEfGhIj0_000000.mp4").write_bytes(b"")
    (videos / "AbCdEfGhIj1_000000.mp4").write_text("this is a text\n" * 99)
    (videos / "AbCdEfGhIj2_000000.mp4").write_bytes(encoded[: len(encoded) // 2])
    made_video(videos / "AbCdEfGhIj3_000000.mp4", seconds=6, rate=4, video=None)
    made_video(videos / "AbCdEfGhIj4_000000.mp4", seconds=6, rate=4, audio=None)
    made_video(videos / "AbCdEfGhIj5_000000.mkv", seconds=6, rate=4, audio="flac", layout="7.1")
    (videos / "AbCdEfGhIj6_000000.mkv").symlink_to("AbCdEfGhIj6_000000.mkv")
    (videos / "holiday.mp4").write_bytes(encoded)

    done = bench("prepare", "vggss", "--videos", videos, "--root", tmp_path / "root", "--json")

    assert 0 == done.code, done.err
    told = json.loads(done.out)
    assert {
        "AbCdEfGhIj0_000000": "the file is empty",
        "AbCdEfGhIj1_000000": "no video file (Invalid data found when processing input)",
        "AbCdEfGhIj2_000000": "an MP4 file without a readable index, as a broken-off download "
                              "leaves it",
        "AbCdEfGhIj3_000000": "no video stream",
        "AbCdEfGhIj4_000000": "no sound stream",
        "AbCdEfGhIj6_000000": "Too many levels of symbolic links",
    } == told["refused_clips"]  # fmt: skip
    assert (4, 6, 10, 1) == tuple(
        told[key] for key in ("prepared", "refused", "asked_for", "videos_named_by_no_id")
    )
    assert ["holiday.mp4"] == told["unnamed_videos"]
    made = {"-bCdEfGhIjK_000001", "__CdEfGhIjK_000002", "AbCdEfGhIjK_000003", "AbCdEfGhIj5_000000"}
    assert {
        ".prepare.lock", "prepare.jsonl", *(f"frames/{clip}.jpg" for clip in made),
        *(f"audio/{clip}.wav" for clip in made),
    } == files(tmp_path / "root").keys()  # fmt: skip


def test_the_table_and_the_lines_tell_the_same(
    bench: Bench, encoded: bytes, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "1.mp4").write_bytes(encoded)
    (tmp_path / "videos" / "2.mp4").write_bytes(b"")

    done = bench("prepare", "flickr", "--videos", tmp_path / "videos", "--root", tmp_path / "root")

    assert 0 == done.code
    assert "2 clips of flickr have a video in" in done.err
    assert re.search(
        r"about \d+ s on \d+ processes and 0\.00 GB of [\d.]+ GB that are free", done.err
    )
    assert re.search(r"prepared +│ +1 ", done.out)
    assert re.search(r"refused +│ +1 ", done.out)
    assert re.search(r"2 +│ the file is empty", done.out)
    assert str(tmp_path / "root" / "prepare.jsonl") in done.out.replace("\n", "")


def test_real_videos_are_made_or_refused(bench: Bench, shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    names = {}
    for row, clip in enumerate(sorted((shared_data / "clips").iterdir())):
        names[clip.name] = f"AbCdEfGhIj{row}_000000"
        shutil.copy(clip, tmp_path / "videos" / f"{names[clip.name]}{clip.suffix}")

    done = bench("prepare", "vggss", "--videos", tmp_path / "videos", "--root", tmp_path / "root",
                 "--fast", "--json")  # fmt: skip

    told = json.loads(done.out)
    nasa = names.pop("nasa_13013.mp4")
    assert dict.fromkeys(names.values(), "no sound stream") == told["refused_clips"]
    entries = map(json.loads, (tmp_path / "root" / "prepare.jsonl").read_text().splitlines())
    (entry,) = [entry for entry in entries if entry.get("status") == "prepared"]
    assert (nasa, 3, 4) == (
        entry["id"], entry["picture_stream"]["index"], entry["sound_stream"]["index"]
    )  # fmt: skip
    frame = cv2.imread(str(tmp_path / "root" / "frames" / f"{nasa}.jpg"))
    assert (256, 455, 3) == frame.shape
    assert np.ptp(frame) > 200


BOX = {"box": [1, 1, 9, 9], "normbox": [0.1, 0.1, 0.5, 0.5], "category_id": 1}
XML = (
    "<annotation><x><bbox><id>1</id><xmin>1</xmin><ymin>4</ymin><xmax>200</xmax><ymax>256</ymax>"
    "</bbox></x></annotation>"
)


def annotate_vggss(root: Path) -> None:
    entries = [{"file": f"AbCdEfGhIj{row}_000000", "class": "bell", "bbox": [[0.1, 0.1, 0.5, 0.5]]}
               for row in range(2)]  # fmt: skip
    (root / "vggss.json").write_text(json.dumps(entries))


def annotate_flickr(root: Path) -> None:
    (root / "Annotations").mkdir()
    for row in range(2):
        (root / "Annotations" / f"{row}.xml").write_text(XML)


def annotate_ave(root: Path) -> None:
    rows = [f"Church bell&AbCdEfGhIj{row}&good&0&10\n" for row in range(3)]
    (root / "Annotations.txt").write_text("".join(rows))
    for row, name in enumerate(("train", "val", "test")):
        with h5py.File(root / f"{name}_order.h5", "w") as file:
            file["order"] = np.array([row])


def annotate_music(root: Path) -> None:
    frames = [f"frame_{number // 30:03d}/{number:05d}" for number in (0, 7, 51, 74, 291)]
    boxes = {f"AbCdEfGhIj0_0_1000/{frame}.jpg": {"bbox": [BOX], "wdith": 640, "height": 360}
             for frame in frames}  # fmt: skip
    (root / "solotest.json").write_text(json.dumps(boxes))
    (root / "solo_training_1.txt").write_text("AbCdEfGhIj1_0_1000.flac AbCdEfGhIj1_0_1000.mp4\n")


@pytest.mark.parametrize(
    ("data", "annotate", "names"),
    [
        ("vggss", annotate_vggss, ["AbCdEfGhIj0_000000", "AbCdEfGhIj1"]),
        ("flickr", annotate_flickr, ["0", "1"]),
        ("ave", annotate_ave, ["AbCdEfGhIj0", "AbCdEfGhIj1", "AbCdEfGhIj2"]),
        ("music_solo", annotate_music, ["AbCdEfGhIj0_0_1000", "AbCdEfGhIj1"]),
    ],
)
def test_what_was_prepared_is_complete_for_the_doctor(
    data: str,
    annotate: Callable[[Path], None],
    names: list[str],
    bench: Bench,
    encoded: bytes,
    tmp_path: Path,
) -> None:
    (tmp_path / "videos").mkdir()
    for name in names:
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(encoded)
    (tmp_path / "root").mkdir()
    annotate(tmp_path / "root")

    words = ("prepare", data, "--videos", tmp_path / "videos", "--root", tmp_path / "root")
    assert 0 == bench(*words, "--fast", "--workers", "1").code
    done = bench("doctor", data, "--root", tmp_path / "root")

    assert 0 == done.code, done.out
    assert "The test set is complete" in done.out


def ave(videos: Path, encoded: bytes, count: int) -> None:
    """AVE has ten frames a clip, so that a kill meets clips that are half written."""
    videos.mkdir()
    for number in range(count):
        (videos / f"AbCdEfGhI{number:02d}.mp4").write_bytes(encoded)
    (videos / "AbCdEfGhI05.mp4").write_bytes(encoded[:1000])


def started(videos: Path, root: Path) -> "subprocess.Popen[bytes]":
    """The command in a process group of its own."""
    words = ["prepare", "ave", "--videos", str(videos), "--root", str(root), "--workers", "2"]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmark.cli", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def journal_lines(root: Path) -> int:
    try:
        return (root / ".prepare.journal").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def wait_for_lines(root: Path, lines: int, process: "subprocess.Popen[bytes]") -> None:
    while journal_lines(root) < lines and process.poll() is None:
        time.sleep(0.001)


def is_gone(group: int) -> bool:
    """Whether no process of a group is left, after a while."""
    for _ in range(500):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_a_run_killed_ten_times_ends_like_one_never_killed(encoded: bytes, tmp_path: Path) -> None:
    ave(tmp_path / "videos", encoded, AVE_CLIPS)
    assert 0 == started(tmp_path / "videos", tmp_path / "whole").wait()
    rng = np.random.default_rng(7)

    for kill in range(KILLS):
        process = started(tmp_path / "videos", tmp_path / "root")
        if kill % 5 == 4:  # while it starts, too
            time.sleep(rng.uniform(0, 0.3))
        else:
            wait_for_lines(tmp_path / "root", journal_lines(tmp_path / "root") + 3, process)
            time.sleep(rng.uniform(0, 0.01))
        os.killpg(process.pid, signal.SIGKILL)
        assert -signal.SIGKILL == process.wait(), "it ended before the kill; give it more clips"
    assert not (tmp_path / "root" / "prepare.jsonl").exists()
    assert 0 == started(tmp_path / "videos", tmp_path / "root").wait()

    whole = files(tmp_path / "whole")
    assert 11 * (AVE_CLIPS - 1) + 2 == len(whole)
    assert whole == files(tmp_path / "root")


def test_a_run_that_is_asked_to_stop_leaves_no_half_files_and_exits_75(
    encoded: bytes, tmp_path: Path
) -> None:
    ave(tmp_path / "videos", encoded, AVE_CLIPS)
    process = started(tmp_path / "videos", tmp_path / "root")
    wait_for_lines(tmp_path / "root", 5, process)

    os.killpg(process.pid, signal.SIGTERM)

    assert 75 == process.wait()
    assert [] == [name for name in files(tmp_path / "root") if name.endswith(".part")]
    assert is_gone(process.pid)


def test_a_disk_that_becomes_full_is_one_line_and_leaves_no_half_files(
    encoded: bytes, python: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    for number in (1, 2):
        (tmp_path / "videos" / f"{number}.mp4").write_bytes(encoded)

    done = python("-c", SMALL_FILES, "prepare", "flickr", "--videos", "videos", "--root", "root",
                  cwd=tmp_path, path=[ROOT])  # fmt: skip

    assert 2 == done.returncode, done.stderr
    assert re.search(
        r"^bench: root/audio/\d\.wav cannot be written \(File too large\); 0 clips were made and "
        r"are kept: mend this and give the same command again$",
        done.stderr,
        flags=re.MULTILINE,
    ), done.stderr
    assert "Traceback" not in done.stderr
    assert [] == [name for name in files(tmp_path / "root") if "wav" in name]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("is3", "--videos", "videos"), "is3 has generated pictures and no videos"),
        (("synthetic", "--videos", "videos"), "synthetic is generated when it is used"),
        (("vgss", "--videos", "videos"), "unknown data set 'vgss'. Did you mean vggss?"),
        (("vggss", "--videos", "nowhere"), "nowhere is not a folder; give --videos the folder"),
        (("vggss", "--videos", "videos"), "none of the 0 files is named by an id of vggss in"),
        (("vggss", "--videos", "videos", "--list", "no.txt"), "no.txt cannot be read as a list"),
        (("vggss", "--videos", "videos", "--workers", "0"), "--workers 0 must lie in 1 to 1024"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: tuple[str, ...],
    message: str,
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()

    done = bench("prepare", *words, "--root", "root")

    assert (2, "") == (done.code, done.out)
    (line,) = done.err.splitlines()
    assert line.startswith(f"bench: {message}")
    assert not (tmp_path / "root").exists()


def test_every_command_of_the_page_goes_through(
    bench: Bench, encoded: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    for stem in ("zpWuikVorYg_000032", "zpWuikVorYg", "10000130166", "RUhOCu3LNXM", "jW_AuF6dQYY"):
        (tmp_path / "videos" / f"{stem}.mp4").write_bytes(encoded)
    (tmp_path / "mine.txt").write_text("zpWuikVorYg_000000\n")
    commands = [line.removeprefix("uv run bench ") for line in SHOWN]

    assert {"vggss", "flickr", "ave", "music_solo", "music_duet"} == {
        shlex.split(command)[1] for command in commands
    }
    for command in commands:
        words = shlex.split(command)
        done = bench(*words, *(() if "--workers" in words else ("--workers", "1")))
        assert 0 == done.code, (command, done.err)
        if "--dry-run" not in command:
            manifest = Path(words[words.index("--root") + 1], "prepare.jsonl").read_text()
            assert '"status":"prepared"' in manifest, command
