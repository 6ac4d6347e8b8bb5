"""The encoded files of one clip, and how they reach the disk."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from datamodules.clip_preparation import (
    Candidate,
    ClipJob,
    ClipOutcome,
    Form,
    NotWritten,
    encoded_picture,
    encoded_sound,
    made_clip,
    plan_hash,
    prepare_clip,
)
from datamodules.video_sets import Needs, video_set
from datamodules.video_streams import UnreadableVideoError

Made_ = Callable[..., Path]
Number = Callable[[NDArray[np.uint8]], int]
CLIP = "AbCdEfGhIjK_000007"


def needs(data: str, clip: str, root: Path = Path("nowhere")) -> Needs:
    return video_set(data).needs(root)(clip)


def picture_of(encoded: bytes) -> NDArray[np.uint8]:
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def sound_of(encoded: bytes) -> tuple[NDArray[np.int16], int, str]:
    with soundfile.SoundFile(io.BytesIO(encoded)) as file:
        return file.read(dtype="int16"), file.samplerate, file.subtype


def job(root: Path, *names: str, data: str = "flickr", clip: str = "5", **more: object) -> ClipJob:
    candidates = tuple(Candidate(name, 1, 0) for name in names)
    known = {"form": Form(), "videos": root / "videos", "root": root / "root", "writes": True}
    return ClipJob(clip, candidates, needs(data, clip), **{**known, **more})


def test_a_clip_of_vggss_is_frame_125_and_ten_seconds_of_mono_sound(
    made_video: Made_, frame_number: Number, tmp_path: Path
) -> None:
    video = made_video(tmp_path / "a.mp4", seconds=11, size=(192, 32), layout="stereo")

    got = prepare_clip(video, needs("vggss", CLIP))

    assert [f"frames/{CLIP}.jpg", f"audio/{CLIP}.wav"] == list(got.files)
    assert 125 == frame_number(picture_of(got.files[f"frames/{CLIP}.jpg"]))
    samples, rate_hz, coding = sound_of(got.files[f"audio/{CLIP}.wav"])
    assert ((160000,), 16000, "PCM_16") == (samples.shape, rate_hz, coding)


def test_a_clip_of_flickr_is_the_centre_frame_and_all_of_the_sound(
    made_video: Made_, frame_number: Number, tmp_path: Path
) -> None:
    video = made_video(tmp_path / "a.mkv", seconds=3, size=(192, 32), rate_hz=22050)

    got = prepare_clip(video, needs("flickr", "5"))

    assert 75 // 2 == frame_number(picture_of(got.files["frames/5.jpg"]))
    samples, rate_hz, _ = sound_of(got.files["audio/5.wav"])
    assert 22050 == rate_hz
    assert 3 * 22050 <= len(samples) < 3.1 * 22050


def test_a_clip_of_ave_is_the_frame_in_the_middle_of_each_second(
    made_video: Made_, frame_number: Number, tmp_path: Path
) -> None:
    video = made_video(tmp_path / "a.mp4", seconds=10, rate=10, size=(192, 32))

    got = prepare_clip(video, needs("ave", "RUhOCu3LNXM"))

    frames = [picture_of(got.files[f"frames/RUhOCu3LNXM/{t:02d}.jpg"]) for t in range(10)]
    assert [10 * t + 5 for t in range(10)] == [frame_number(frame) for frame in frames]


def test_a_clip_of_music_names_the_frames_that_its_video_is_too_short_for(
    made_video: Made_, frame_number: Number, tmp_path: Path
) -> None:
    keys = [f"AbCdEfGhIjK_0_1000/frame_{n // 30:03d}/{n:05d}.jpg" for n in (0, 7, 51, 60, 81)]
    (tmp_path / "solotest.json").write_text(json.dumps({key: {} for key in keys}))
    video = made_video(tmp_path / "a.mp4", seconds=2, rate=30, size=(192, 32))

    got = prepare_clip(video, needs("music_solo", "AbCdEfGhIjK_0_1000", tmp_path))

    names = [f"video_frames/{key}" for key in keys]
    assert tuple(names[3:]) == got.missing
    assert [0, 7, 51] == [frame_number(picture_of(got.files[name])) for name in names[:3]]
    assert "audio/AbCdEfGhIjK_0_1000.wav" in got.files


def test_a_form_bounds_the_short_side_and_sets_the_rate() -> None:
    wide = np.full((360, 640, 3), 90, np.uint8)
    form = Form(short_side=256, rate_hz=16000)

    assert (256, 455, 3) == picture_of(encoded_picture(wide, form)).shape
    assert (455, 256, 3) == picture_of(encoded_picture(wide.transpose(1, 0, 2), form)).shape
    assert (100, 200, 3) == picture_of(encoded_picture(wide[:100, :200], form)).shape
    assert (360, 640, 3) == picture_of(encoded_picture(wide, Form())).shape
    samples, rate_hz, _ = sound_of(encoded_sound(np.zeros(44100, np.float32), 44100, form))
    assert (16000, 16000) == (len(samples), rate_hz)


def test_a_lower_quality_makes_smaller_files_and_a_high_one_keeps_the_picture() -> None:
    smooth = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)

    low, high = (encoded_picture(smooth, Form(quality=quality)) for quality in (30, 95))

    assert len(low) < len(high)
    assert np.abs(picture_of(high).astype(int) - smooth).mean() < 2


def test_sound_of_16_bits_keeps_its_values_and_louder_sound_is_cut_off() -> None:
    samples = np.array([-32768, -32767, -1, 0, 1, 32767], np.int16)
    loud = np.array([-1.5, 1.0, 1.5], np.float32)

    assert np.array_equal(
        samples, sound_of(encoded_sound(samples / np.float32(32768), 8000, Form()))[0]
    )
    assert [-32768, 32767, 32767] == sound_of(encoded_sound(loud, 8000, Form()))[0].tolist()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seconds": 4.5}, r"the video ends before the frame at 5\.00 s"),
        ({"seconds": 6, "sound": np.zeros((1, 16000), np.float32)},
         r"the sound ends at 1\.\d\d s, before the frame at 5\.00 s"),
        ({"seconds": 6, "audio": None}, "no sound stream"),
    ],
)  # fmt: skip
def test_a_clip_without_its_frame_or_the_sound_there_is_refused(
    settings: dict[str, object], words: str, made_video: Made_, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableVideoError, match=words):
        prepare_clip(made_video(tmp_path / "a.mkv", **settings), needs("vggss", CLIP))


def test_files_are_written_as_the_manifest_says(made_video: Made_, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    made_video(tmp_path / "videos" / "5.mp4")

    made = made_clip(job(tmp_path, "5.mp4"))

    assert isinstance(made, ClipOutcome)
    assert "prepared" == made.entry["status"]
    written = {path.relative_to(tmp_path / "root").as_posix(): path.read_bytes()
               for path in (tmp_path / "root").rglob("*") if path.is_file()}  # fmt: skip
    assert {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in written.items()
    } == made.entry["files"]
    assert sum(map(len, written.values())) == made.bytes
    assert ("h264", 48, 32, "25") == tuple(
        made.entry["picture_stream"][key] for key in ("codec", "width", "height", "rate")
    )
    assert [1.0] == made.entry["shown_seconds"]


def test_the_next_video_of_a_clip_is_tried_where_the_first_cannot_be_read(
    made_video: Made_, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "5.avi").write_text("no video")
    made_video(tmp_path / "videos" / "5.mp4")

    made = made_clip(job(tmp_path, "5.avi", "5.mp4"))

    assert isinstance(made, ClipOutcome)
    assert ("prepared", "5.mp4") == (made.entry["status"], made.entry["video"])


def test_whatever_the_reader_makes_of_a_video_is_a_reason(
    made_video: Made_, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "videos").mkdir()
    made_video(tmp_path / "videos" / "5.mp4")
    monkeypatch.setattr("datamodules.video_frames.upright_picture", lambda frame: {}["no"])

    made = made_clip(job(tmp_path, "5.mp4"))

    assert isinstance(made, ClipOutcome)
    assert "the reader failed (KeyError: 'no')" == made.entry["reason"]


def test_a_frame_that_no_jpeg_can_hold_is_refused() -> None:
    with pytest.raises(UnreadableVideoError, match="a frame of 70000 x 1 is too large for JPEG"):
        encoded_picture(np.zeros((1, 70000, 3), np.uint8), Form())


def test_a_clip_that_can_no_longer_be_made_leaves_no_files(
    made_video: Made_, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    made_video(tmp_path / "videos" / "5.mp4")
    made_clip(job(tmp_path, "5.mp4"))
    (tmp_path / "videos" / "5.mp4").write_bytes(b"")

    made = made_clip(job(tmp_path, "5.mp4"))

    assert isinstance(made, ClipOutcome)
    assert ("refused", "the file is empty") == (made.entry["status"], made.entry["reason"])
    assert [] == [path for path in (tmp_path / "root").rglob("*") if path.is_file()]


def test_nothing_is_written_where_only_the_cost_is_asked(made_video: Made_, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    made_video(tmp_path / "videos" / "5.mp4")

    made = made_clip(job(tmp_path, "5.mp4", writes=False))

    assert isinstance(made, ClipOutcome)
    assert made.bytes > 1000
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("linked", ["frames", "audio"])
def test_nothing_is_written_or_removed_outside_the_root(
    linked: str, made_video: Made_, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    made_video(tmp_path / "videos" / "5.mp4")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "5.jpg").write_text("mine")
    (outside / "5.wav").write_text("mine")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / linked).symlink_to(outside)

    made = made_clip(job(tmp_path, "5.mp4"))

    assert isinstance(made, NotWritten)
    assert made.words.endswith("cannot be written (a link leads out of the data root)")
    assert {"5.jpg": "mine", "5.wav": "mine"} == {p.name: p.read_text() for p in outside.iterdir()}


def test_a_folder_of_frames_that_is_a_link_is_replaced_and_not_followed(
    made_video: Made_, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    made_video(tmp_path / "videos" / "RUhOCu3LNXM.mp4", seconds=10, rate=5)
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "root" / "frames").mkdir(parents=True)
    (tmp_path / "root" / "frames" / "RUhOCu3LNXM").symlink_to(outside)

    made_clip(job(tmp_path, "RUhOCu3LNXM.mp4", data="ave", clip="RUhOCu3LNXM"))

    assert [] == list(outside.iterdir())
    assert 10 == len(list((tmp_path / "root" / "frames" / "RUhOCu3LNXM").iterdir()))


def test_what_is_to_be_made_has_an_identity(tmp_path: Path) -> None:
    hashes = {
        plan_hash(needs("vggss", CLIP), Form()),
        plan_hash(needs("vggss", CLIP), Form(rate_hz=16000)),
        plan_hash(needs("vggss", "AbCdEfGhIjK_000008"), Form()),
        plan_hash(needs("ave", "AbCdEfGhIjK"), Form()),
        plan_hash(needs("music_solo", "AbCdEfGhIjK_0_1000"), Form()),
    }

    assert 5 == len(hashes)
    # as first released: another hash would make every root anew
    assert "234ea4699d18da5a" == plan_hash(needs("vggss", "AbCdEfGhI21_000021"), Form())
