"""The film of a video has its frames and its sound at their times, and each second's answer."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark import film
from benchmark.drawing import AnswerPicture
from benchmark.film import film_size, write_film
from datamodules.clip import Inputs
from datamodules.own_video import OwnVideo, read_own_video
from metrics.errors import BenchError

Made = Callable[..., Path]
GREY = np.full((32, 48, 3), 128, np.uint8)
ORANGE = np.array([230, 159, 0])  # of boxes
PEAK = (0.9, 0.9)


class Read(NamedTuple):
    """What PyAV reads of a film."""

    codec: str
    pictures: list[NDArray[np.uint8]]  # (H, W, 3)
    times: list[float]
    seconds: dict[str, float]  # length of each stream
    sound: NDArray[np.float32]  # (S,)
    rate_hz: int


def read_film(path: Path) -> Read:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        lengths = {each.type: float(each.duration * each.time_base) for each in container.streams}
        codec = container.streams.video[0].codec_context.name
    with av.open(str(path)) as container:
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate_hz = container.streams.audio[0].rate
    pictures = [frame.to_ndarray(format="rgb24") for frame in frames]
    times = [float(frame.pts * frame.time_base) for frame in frames]
    return Read(codec, pictures, times, lengths, np.concatenate(blocks, 1)[0], rate_hz)


def read(path: Path) -> OwnVideo:
    return read_own_video(path, Inputs(image_size=16, segment_seconds=1.0), small_side=16)


def answer(**changes: Any) -> AnswerPicture:
    return AnswerPicture("0.5 s", np.eye(4, dtype=np.float32), 0.5, PEAK)._replace(**changes)


def boxed(left: float) -> AnswerPicture:
    """A box as wide as a quarter of the frame, below the words."""
    box = np.array([[left, 0.4, left + 0.25, 0.9], [np.nan] * 4], np.float32)
    return answer(boxes=box, on_screen=True)


@pytest.mark.parametrize("rate", [25, 10, Fraction(30000, 1001)])
def test_a_film_has_every_frame_at_its_time_and_lasts_as_long(
    rate: Fraction | int, made_video: Made, tmp_path: Path
) -> None:
    path = made_video(tmp_path / "a.mp4", seconds=2.4, rate=rate)
    count = round(2.4 * rate)

    note = write_film(tmp_path / "film.mp4", read(path), [answer()] * 2)

    found = read_film(tmp_path / "film.mp4")
    assert note is None
    assert found.codec == "h264"
    assert found.times == pytest.approx([float(k / rate) for k in range(count)], abs=1e-4)
    frame_seconds = float(1 / rate)
    for kind in ("video", "audio"):
        assert found.seconds[kind] == pytest.approx(float(count / rate), abs=frame_seconds)


def test_frames_keep_their_times_where_no_rate_is_told(made_video: Made, tmp_path: Path) -> None:
    video = read(made_video(tmp_path / "a.mp4", seconds=2, rate=10))

    write_film(tmp_path / "film.mp4", video._replace(frame_rate=None), [answer()] * 2)

    times = read_film(tmp_path / "film.mp4").times
    assert times == pytest.approx([k / 10 for k in range(20)], abs=1e-4)


def test_frames_keep_the_times_of_a_video_without_a_constant_rate(
    made_video: Made, tmp_path: Path
) -> None:
    path, times = tmp_path / "a.mkv", [0, 40, 500, 540, 1300, 1900]
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=25, options={"bf": "0"})
        pictures.width, pictures.height, pictures.pix_fmt = 48, 32, "yuv420p"
        pictures.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for time in times:
            frame = av.VideoFrame.from_ndarray(GREY, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), layout="mono")
        heard.sample_rate, heard.pts, heard.time_base = 8000, 0, Fraction(1, 8000)
        container.mux([*sound.encode(heard), *sound.encode(None)])

    write_film(tmp_path / "film.mp4", read(path), [answer()] * 2)

    assert read_film(tmp_path / "film.mp4").times == pytest.approx(
        [time / 1000 for time in times], abs=1e-3
    )


def test_the_box_of_each_second_is_drawn_over_its_frames(made_video: Made, tmp_path: Path) -> None:
    path = made_video(tmp_path / "a.mp4", seconds=2.4, picture=GREY)

    write_film(tmp_path / "film.mp4", read(path), [boxed(0.0), boxed(0.5)])

    for number, picture in enumerate(read_film(tmp_path / "film.mp4").pictures):
        orange = (np.abs(picture.astype(int) - ORANGE).max(2) < 60).any(0)
        columns = np.flatnonzero(orange) / picture.shape[1]
        left = 0.0 if number < 25 else 0.5  # the rest after the last middle has its answer
        assert columns.min() == pytest.approx(left, abs=0.02)
        assert columns.max() == pytest.approx(left + 0.25, abs=0.02)


def test_without_boxes_the_map_lies_over_the_grey_frame(made_video: Made, tmp_path: Path) -> None:
    heatmap = np.zeros((2, 2), np.float32)
    heatmap[1, 1] = 1
    path = made_video(tmp_path / "a.mp4", seconds=1, picture=GREY)

    write_film(tmp_path / "film.mp4", read(path), [answer(heatmap=heatmap)])

    light = read_film(tmp_path / "film.mp4").pictures[12].sum(axis=2, dtype=int)
    assert light[-20:, -20:].mean() > light[-20:, :20].mean() + 100


def test_the_words_in_the_corner_are_bright_on_dark(made_video: Made, tmp_path: Path) -> None:
    path = made_video(tmp_path / "a.mp4", seconds=1, picture=GREY)

    write_film(tmp_path / "film.mp4", read(path), [boxed(0.7)])

    corner = read_film(tmp_path / "film.mp4").pictures[12][:30, :90].max(axis=2)
    assert np.median(corner) < 64
    assert corner.max() > 200


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100, 96000, 11000])
def test_the_sound_of_a_film_is_that_of_the_video_at_its_time(
    rate_hz: int, made_video: Made, tmp_path: Path
) -> None:
    times = np.arange(3 * rate_hz) / rate_hz
    beep = 0.5 * np.sin(2 * np.pi * 500 * times) * ((times > 1) & (times < 1.5))
    path = made_video(tmp_path / "a.mkv", seconds=3, audio="pcm_s16le", rate_hz=rate_hz,
                      layout="stereo", sound=np.stack([beep, beep]).astype(np.float32))  # fmt: skip

    write_film(tmp_path / "film.mp4", read(path), [answer()] * 3)

    found = read_film(tmp_path / "film.mp4")
    loud = np.flatnonzero(np.abs(found.sound) > 0.2) / found.rate_hz
    assert (loud.min(), loud.max()) == pytest.approx((1.0, 1.5), abs=0.05)
    start = round(1.1 * found.rate_hz)
    part = found.sound[start : start + round(0.2 * found.rate_hz)]
    assert np.abs(np.fft.rfft(part)).argmax() == pytest.approx(500 * 0.2, abs=1)
    assert np.sqrt(2) * part.std() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("height", [1, 33, 48, 240, 719, 1080, 2161])
@pytest.mark.parametrize("width", [1, 47, 64, 853, 1920, 4096])
def test_sides_of_a_film_are_even_and_within_limits(height: int, width: int) -> None:
    rows, columns = film_size(height, width)

    assert (rows % 2, columns % 2) == (0, 0)
    assert 320 <= max(rows, columns) <= 1280
    assert abs(rows * max(height, width) - height * max(rows, columns)) <= 2 * max(height, width)


def test_a_video_of_odd_sides_has_a_film(made_video: Made, tmp_path: Path) -> None:
    odd = {"video": "ffv1", "audio": "pcm_s16le", "size": (36, 25), "picture": GREY[:25, :36]}
    path = made_video(tmp_path / "a.mkv", seconds=1, **odd)

    write_film(tmp_path / "film.mp4", read(path), [answer()])

    assert read_film(tmp_path / "film.mp4").pictures[0].shape == (222, 320, 3)


def test_without_an_encoder_of_h264_it_is_mpeg_4_and_that_is_said(
    made_video: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film, "H264", "libx999")

    note = write_film(
        tmp_path / "film.mp4", read(made_video(tmp_path / "a.mp4")), [answer(), answer()]
    )

    found = read_film(tmp_path / "film.mp4")
    assert (found.codec, len(found.pictures)) == ("mpeg4", 50)
    assert note is not None
    assert "film.mp4 is MPEG-4 Part 2, because this PyAV has no libx999" in note


def test_a_film_that_fails_leaves_the_older_one_and_no_other_file(
    made_video: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "films").mkdir()
    path = tmp_path / "films" / "film.mp4"
    path.write_bytes(b"older")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(film, "film_frame", full)
    with pytest.raises(BenchError, match=r"film\.mp4 cannot be written \(No space left on device"):
        write_film(path, read(made_video(tmp_path / "a.mp4")), [answer()] * 2)

    assert [path] == [*path.parent.iterdir()]
    assert path.read_bytes() == b"older"
