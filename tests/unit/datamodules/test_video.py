"""Frames are those of decoding everything in order; sound is placed, mixed and cut as it says."""

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.frame import PictureType
from numpy.typing import NDArray

from datamodules.video import VideoClip, every_frame, read_clip, video_seconds
from datamodules.video_frames import GroupedPicker, upright_picture
from datamodules.video_streams import (
    UnreadableVideoError,
    best_audio,
    best_video,
    opened_video,
    tick,
)

Made = Callable[..., Path]
Picture = NDArray[np.uint8]
NTSC = Fraction(30000, 1001)
H264 = {"preset": "veryfast", "crf": "18"}
FORMS: dict[str, tuple[str, dict[str, object]]] = {
    "mp4": ("a.mp4", {}),
    "mp4 at 29.97": ("a.mp4", {"rate": NTSC}),
    "one group": ("a.mp4", {"options": {**H264, "x264-params": "keyint=1000:bframes=3:b-adapt=0"}}),
    "no b-frames": ("a.mp4", {"options": {**H264, "bf": "0"}}),
    "open groups": (
        "a.mp4",
        {"options": {**H264, "x264-params": "open-gop=1:keyint=12:b-adapt=0:bframes=3"}},
    ),
    "gradual refresh": (
        "a.mp4",
        {"options": {**H264, "x264-params": "intra-refresh=1:keyint=12:bframes=0"}},
    ),
    "fragments": ("a.mp4", {"muxer": {"movflags": "frag_keyframe+empty_moov"}}),
    "matroska at 30": ("a.mkv", {"rate": 30}),
    "hevc": ("a.mkv", {"video": "libx265", "options": {"x265-params": "log-level=none:keyint=20"},
                       "size": (96, 64)}),
    "vp9": ("a.webm", {"video": "libvpx-vp9", "audio": "libopus", "rate_hz": 48000,
                       "options": {"deadline": "realtime", "cpu-used": "8"}}),
    "transport stream": ("a.ts", {}),
    "program stream": ("a.mpg", {"video": "mpeg2video", "audio": "mp2", "options": {"bf": "2"}}),
    "flash": ("a.flv", {"rate_hz": 44100}),
    "avi": ("a.avi", {"video": "mpeg4", "audio": "libmp3lame", "options": {"bf": "2"}}),
    "h264 in avi": ("a.avi", {"audio": "libmp3lame"}),
    "pictures in mov": ("a.mov", {"video": "mjpeg", "audio": "pcm_s16le",
                                  "options": {"strict": "unofficial"}}),
}  # fmt: skip


def picture(path: Path, time: Fraction | int, **span: int) -> Picture:
    (frame,) = read_clip(path, [Fraction(time)], np.copy, **span).frames
    assert frame is not None
    return frame


def clip(path: Path, **span: int) -> VideoClip[None]:
    return read_clip(path, [Fraction(0)], lambda picture: None, **span)


def all_in_order(path: Path) -> list[tuple[Fraction, Picture]]:
    """Every frame of the best video stream with the time since when it is shown, by PyAV alone.

    The times are half a tick early: containers round to their ticks.
    """
    with av.open(str(path)) as container:
        stream = max(container.streams.video, key=lambda stream: stream.width * stream.height)
        frames = list(container.decode(stream))
        if container.format.name == "avi":
            assert stream.average_rate is not None
            times = [number / stream.average_rate for number in range(len(frames))]
            exactness = Fraction(0)
        else:
            times = [(frame.pts or 0) * tick(stream) for frame in frames]
            exactness = tick(stream) / 2
        pictures = [upright_picture(frame) for frame in frames]
    starts = [time - times[0] - exactness for time in times]
    return list(zip(starts, pictures, strict=True))


@pytest.mark.parametrize(
    ("rate", "number"), [(25, 125), (30, 150), (NTSC, 149), (24, 120), (Fraction(25, 2), 62)]
)
def test_the_frame_at_5_s_is_125_at_25_per_second_and_the_one_shown_then_at_any_rate(
    rate: Fraction, number: int, made_video: Made, frame_number: Callable[..., int], tmp_path: Path
) -> None:
    video = made_video(tmp_path / "a.mp4", seconds=6, rate=rate, size=(192, 32))

    assert number == frame_number(picture(video, Fraction(125, 25)))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.flv", "a.ts"])
@pytest.mark.parametrize("rate", [30, NTSC])
def test_frame_k_is_shown_from_k_divided_by_the_rate_also_where_containers_round_to_ms(
    name: str,
    rate: Fraction,
    made_video: Made,
    frame_number: Callable[..., int],
    tmp_path: Path,
) -> None:
    video = made_video(tmp_path / name, rate=rate, size=(192, 32), rate_hz=44100)
    times = [number / Fraction(rate) for number in range(60)]

    shown = read_clip(video, times, frame_number).frames

    assert list(range(60)) == list(shown)


@pytest.mark.parametrize("form", FORMS)
def test_frames_are_those_of_decoding_all_frames_in_order(
    form: str, made_video: Made, tmp_path: Path
) -> None:
    name, settings = FORMS[form]
    video = made_video(tmp_path / name, **settings)
    shown = all_in_order(video)
    times = [Fraction(step, 17) for step in range(33)]

    frames = read_clip(video, times, np.copy).frames
    for time, frame in zip(times, frames, strict=True):
        expected = [picture for since, picture in shown if since <= time][-1]
        assert frame is not None
        assert np.array_equal(expected, frame), time
        assert np.array_equal(expected, picture(video, time)), time


def test_the_h264_of_these_tests_has_b_frames_that_others_refer_to_and_that_none_does(
    made_video: Made, tmp_path: Path
) -> None:
    video = made_video(tmp_path / "a.mp4")
    with av.open(str(video)) as container:
        kinds = [PictureType(frame.pict_type).name for frame in container.decode(video=0)]
    with av.open(str(video)) as container:
        container.streams.video[0].codec_context.skip_frame = "NONREF"
        referred_to = sum(1 for _ in container.decode(video=0))

    assert kinds.count("B") > 20
    assert kinds.count("I") + kinds.count("P") < referred_to < len(kinds) - 5


@pytest.mark.parametrize(
    "name", ["nasa_13013.mp4", "av1_video.mkv", "bt709_full_range.mp4", "h265_video.mp4"]
)
def test_frames_of_real_videos_are_those_of_decoding_all_in_order(
    name: str, shared_data: Path
) -> None:
    video = shared_data / "clips" / name
    shown = all_in_order(video)
    times = [Fraction(step, 4) for step in range(0, int(shown[-1][0] * 4))]

    with opened_video(video) as container:
        stream = best_video(container)
        picker = GroupedPicker(stream, times, np.copy, sought=False)
        for packet in container.demux(stream):
            if packet.size:
                picker.feed(packet)
        picker.finish()

    for time in times:
        expected = [picture for since, picture in shown if since <= time][-1]
        assert np.array_equal(expected, picker.frames[time]), time


@pytest.mark.parametrize("form", FORMS)
def test_every_frame_comes_in_order_with_its_time(
    form: str, made_video: Made, frame_number: Callable[[Picture], int], tmp_path: Path
) -> None:
    name, settings = FORMS[form]
    rate = Fraction(settings.get("rate", 25))  # type: ignore[arg-type]
    path = made_video(tmp_path / name, **settings)

    found = [(frame_number(frame), float(time)) for time, frame in every_frame(path)]

    assert [number for number, _ in found] == [*range(round(2 * rate))]
    times = [float(number / rate) for number, _ in found]
    assert [time for _, time in found] == pytest.approx(times, abs=1e-3)


def test_a_time_after_the_end_has_no_frame(made_video: Made, tmp_path: Path) -> None:
    video = made_video(tmp_path / "a.mp4", seconds=2)

    got = read_clip(video, [Fraction(199, 100), Fraction(2), Fraction(9)], np.copy)

    assert [False, True, True] == [frame is None for frame in got.frames]
    assert (1.96, None, None) == got.shown_seconds


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_the_length_is_that_of_the_shown_frames(
    name: str, made_video: Made, tmp_path: Path
) -> None:
    audio = "libmp3lame" if name == "a.avi" else "aac"

    assert 3 == video_seconds(made_video(tmp_path / name, seconds=3, audio=audio))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_a_clip_inside_a_long_video_is_what_decoding_all_of_it_gives(
    name: str, made_video: Made, frame_number: Callable[..., int], tmp_path: Path
) -> None:
    video = made_video(tmp_path / name, seconds=20, rate=10)
    whole, part = clip(video), clip(video, start_seconds=8, seconds=10)

    assert 130 == frame_number(picture(video, 5, start_seconds=8, seconds=10))
    expected = whole.sound[8 * 16000 : 18 * 16000]
    if name == "a.mp4":
        assert np.array_equal(expected, part.sound)
    else:  # timestamps in ms, or of the encoder's delay, are rounded anew at every start
        assert len(expected) == len(part.sound)
        assert max(np.correlate(part.sound[100:-100], expected)) > 0.99 * np.dot(expected, expected)


def test_a_long_video_that_breaks_off_later_still_gives_the_clip(
    made_video: Made, tmp_path: Path
) -> None:
    video = made_video(tmp_path / "a.mkv", seconds=20, rate=10)
    torn = tmp_path / "torn.mkv"
    torn.write_bytes(video.read_bytes()[: int(video.stat().st_size * 0.7)])

    early = clip(torn, start_seconds=5, seconds=5)

    assert 80000 == len(early.sound)
    with pytest.raises(UnreadableVideoError, match=r"truncated: 20\.\d s by its header, 1"):
        clip(torn, start_seconds=12, seconds=5)


def test_the_best_streams_of_several_are_read(shared_data: Path) -> None:
    video = shared_data / "clips" / "nasa_13013.mp4"

    got = read_clip(video, [Fraction(5)], np.copy)

    assert (3, 480, 270) == (
        got.picture_stream.index, got.picture_stream.width, got.picture_stream.height
    )  # fmt: skip
    assert (4, 16000, 2) == (
        got.sound_stream.index, got.sound_stream.rate_hz, got.sound_stream.channels
    )  # fmt: skip
    assert (270, 480, 3) == got.frames[0].shape
    assert 16000 == got.rate_hz


def test_a_cover_picture_is_no_video(made_video: Made, tmp_path: Path) -> None:
    film = made_video(tmp_path / "film.mp4")
    covered = tmp_path / "covered.mp4"
    with av.open(str(film)) as source, av.open(str(covered), "w") as target:
        cover = target.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 640, 480, "rgb24"
        cover.disposition = Disposition.attached_pic
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        frame = av.VideoFrame.from_ndarray(np.zeros((480, 640, 3), np.uint8), format="rgb24")
        frame.pts = 0
        target.mux(cover.encode(frame) + cover.encode(None))
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)

    with opened_video(covered) as container:
        assert 2 == len(container.streams.video)
        assert (48, 32) == (best_video(container).width, best_video(container).height)


def test_the_default_stream_wins_a_tie(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        voices = [container.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(3)]
        for voice, is_default in zip(voices, (False, True, False), strict=True):
            voice.disposition = Disposition.default if is_default else Disposition(0)
        for voice in voices:
            block = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
            block.sample_rate, block.pts = 8000, 0
            container.mux(voice.encode(block) + voice.encode(None))

    with opened_video(path) as container:
        assert 1 == best_audio(container).index


def test_colours_follow_the_matrix_and_the_range_that_the_video_states(shared_data: Path) -> None:
    with av.open(str(shared_data / "clips" / "bt709_full_range.mp4")) as container:
        frame = next(container.decode(video=0))

    away = np.abs(upright_picture(frame) - as_rgb(frame, 0.2126, 0.0722, full=True))

    assert away.max() < 0.51


def test_colours_of_a_video_that_states_none_are_those_of_bt601_and_limited_range(
    made_video: Made, tmp_path: Path
) -> None:
    ramp = np.linspace(0, 255, 96)[None, :, None] * np.array([1, 0.4, 0.1]) * np.ones((64, 1, 1))
    video = made_video(tmp_path / "a.mp4", size=(96, 64), picture=ramp.astype(np.uint8))
    with av.open(str(video)) as container:
        frame = next(container.decode(video=0))

    away = np.abs(upright_picture(frame) - as_rgb(frame, 0.299, 0.114, full=False))

    assert away.max() < 0.51


def as_rgb(frame: av.VideoFrame, red: float, blue: float, *, full: bool) -> NDArray[np.float64]:
    """RGB of a 4:2:0 frame by the formula of ITU-R BT.601 and BT.709."""
    planes = [
        np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width].astype(float)
        for plane in frame.planes
    ]
    y, u, v = planes[0], *(enlarged(plane) - 128 for plane in planes[1:])
    if not full:
        y, u, v = (y - 16) * 255 / 219, u * 255 / 224, v * 255 / 224
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.stack([r, g, b], axis=-1).clip(0, 255)


def enlarged(chroma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chroma at twice the size, linear; a sample lies on an even column, between two rows."""
    above, below = np.vstack([chroma[:1], chroma[:-1]]), np.vstack([chroma[1:], chroma[-1:]])
    tall = np.repeat(0.75 * chroma, 2, axis=0)
    tall[::2] += above / 4
    tall[1::2] += below / 4
    wide = np.repeat(tall, 2, axis=1)
    wide[:, 1::2] = (tall + np.hstack([tall[:, 1:], tall[:, -1:]])) / 2
    return wide


@pytest.mark.parametrize(
    ("turned", "expected"),
    [
        ((0, False, False), lambda p: p),
        ((90, False, False), lambda p: np.rot90(p, 1)),
        ((180, False, False), lambda p: np.rot90(p, 2)),
        ((-90, False, False), lambda p: np.rot90(p, 3)),
        ((0, True, False), lambda p: p[:, ::-1]),
        ((0, False, True), lambda p: p[::-1]),
        ((90, True, False), lambda p: np.rot90(p, 1)[:, ::-1]),
        ((90, False, True), lambda p: np.rot90(p, 1)[::-1]),
    ],
)
def test_a_display_matrix_turns_and_mirrors_the_frame(
    turned: tuple[int, bool, bool],
    expected: Callable[[Picture], Picture],
    made_video: Made,
    tmp_path: Path,
) -> None:
    corners = np.zeros((32, 48, 3), np.uint8)
    corners[:16, :24], corners[:16, 24:], corners[16:, :24] = 255, (250, 0, 0), (0, 250, 0)

    video = made_video(tmp_path / "a.mp4", seconds=0.2, picture=corners, turned=turned)

    away = np.abs(picture(video, 0).astype(int) - expected(corners))
    assert np.quantile(away, 0.8) < 12


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "7.1"])
@pytest.mark.parametrize(
    ("name", "codec", "exactness"),
    [("a.mkv", "pcm_f32le", 1e-7), ("a.nut", "pcm_s16le_planar", 1 / 32768)],
)
def test_sound_is_the_mean_of_the_channels(
    name: str, codec: str, exactness: float, layout: str, made_video: Made, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    channels = av.AudioLayout(layout).nb_channels
    sound = rng.uniform(-1, 1, (channels, 16000)).astype(np.float32)

    video = made_video(tmp_path / name, seconds=1, audio=codec, layout=layout, sound=sound)

    away = np.abs(sound.astype(np.float64).mean(axis=0) - clip(video).sound)
    assert away.max() <= exactness


@pytest.mark.parametrize(
    ("codec", "exactness"),
    [("pcm_u8", 1 / 128), ("pcm_s16le", 1 / 32768), ("pcm_s24le", 1 / 2**23), ("pcm_s32le", 1e-7),
     ("pcm_f64le", 1e-7), ("flac", 1 / 32768), ("pcm_s16le_planar", 1 / 32768)],
)  # fmt: skip
@pytest.mark.parametrize("rate_hz", [8000, 48000])
def test_sound_of_every_depth_is_in_one_scale(
    codec: str, exactness: float, rate_hz: int, made_video: Made, tmp_path: Path
) -> None:
    name = "a.nut" if codec.endswith("planar") else "a.mkv"
    sound = np.linspace(-1, 1 - 1 / 128, rate_hz, dtype=np.float32)[None]

    video = made_video(tmp_path / name, seconds=1, audio=codec, rate_hz=rate_hz, sound=sound)

    got = clip(video)
    assert rate_hz == got.rate_hz
    assert np.abs(sound[0] - got.sound).max() <= exactness


def test_sound_that_starts_after_the_frames_is_preceded_by_silence(
    made_video: Made, tmp_path: Path
) -> None:
    loud = np.full((1, 16000), 0.5, np.float32)

    video = made_video(tmp_path / "a.mkv", audio="pcm_s16le", sound=loud, late_seconds=0.5)

    got = clip(video, seconds=1)
    assert 16000 == len(got.sound)
    assert 8000 == np.flatnonzero(got.sound)[0]


def test_a_hole_in_the_sound_stays_a_hole(tmp_path: Path, made_video: Made) -> None:
    video = made_video(tmp_path / "whole.mkv", audio="pcm_s16le", seconds=3,
                       sound=np.full((1, 48000), 0.5, np.float32))  # fmt: skip
    holed = tmp_path / "holed.mkv"
    with av.open(str(video)) as source, av.open(str(holed), "w") as target:
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            lost = packet.stream.type == "audio" and 1 <= float(packet.pts or 0) / 1000 < 2
            if packet.size and not lost:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)

    sound = clip(holed).sound

    silent = np.flatnonzero(sound == 0)
    assert 48000 == len(sound)
    assert 0.98 < silent[0] / 16000 < 1.07
    assert 1.93 < silent[-1] / 16000 < 2.07


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"not a video\n" * 50, "no video file (Invalid data found"),
        (b"\0" * 4000, "no video file (Invalid data found"),
        (b"\0\0\0\x18ftypmp42", "an MP4 file without a readable index"),
    ],
)
def test_a_file_that_is_no_video_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(content)

    with pytest.raises(UnreadableVideoError, match=re.escape(words)):
        clip(tmp_path / "a.mp4")


@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8"])
@pytest.mark.parametrize(
    "script",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{}'\n",
    ],
)
def test_a_script_that_names_another_file_is_refused(
    name: str, script: str, made_video: Made, tmp_path: Path
) -> None:
    secret = made_video(tmp_path / "secret.ts")
    (tmp_path / name).write_text(script.format(secret))

    with pytest.raises(UnreadableVideoError, match="no video file"):
        clip(tmp_path / name)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_the_reason_of_the_system(
    make: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    make(tmp_path / "a.mp4")

    with pytest.raises(UnreadableVideoError, match=words):
        clip(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("without", "words"), [("audio", "no sound stream"), ("video", "no video stream")]
)
def test_a_video_without_one_of_both_is_refused(
    without: str, words: str, made_video: Made, tmp_path: Path
) -> None:
    video = made_video(tmp_path / "a.mp4", **{without: None})

    with pytest.raises(UnreadableVideoError, match=words):
        clip(video)


def test_a_stream_without_a_decoder_is_refused(made_video: Made, tmp_path: Path) -> None:
    video = made_video(tmp_path / "a.mp4")
    video.write_bytes(video.read_bytes().replace(b"avc1", b"XXXX"))

    with pytest.raises(UnreadableVideoError, match="no decoder for the video stream"):
        clip(video)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("a.mp4", {}, "an MP4 file without a readable index"),
        ("a.mp4", {"muxer": {"movflags": "faststart"}}, "truncated"),
        ("a.mkv", {}, r"truncated: 4\.\d s by its header, 2\."),
        (
            "a.webm",
            {"video": "libvpx-vp9", "audio": "libopus", "rate_hz": 48000},
            r"truncated: 4\.\d s",
        ),
        ("a.avi", {"video": "mpeg4", "audio": "libmp3lame"}, r"truncated: 4\.\d s by its header"),
        ("a.flv", {"rate_hz": 44100}, "truncated"),
    ],
)
def test_a_truncated_video_is_refused_also_where_the_frame_is_there(
    name: str, settings: dict[str, object], words: str, made_video: Made, tmp_path: Path
) -> None:
    whole = made_video(tmp_path / name, seconds=4, **settings).read_bytes()
    torn = tmp_path / f"torn{name}"
    torn.write_bytes(whole[: int(len(whole) * 0.6)])

    with pytest.raises(UnreadableVideoError, match=words):
        clip(torn)


def test_a_frame_that_is_damaged_is_refused(made_video: Made, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    options = {"preset": "veryfast", "g": "1000"}
    video = made_video(tmp_path / "a.mkv", picture=noise, size=(96, 64), options=options)
    content = bytearray(video.read_bytes())
    at = content.find(b"\x1f\x43\xb6\x75") + 2500  # some way into the first cluster
    content[at : at + 400] = bytes(range(200)) * 2
    video.write_bytes(content)

    with pytest.raises(UnreadableVideoError, match="damaged"):
        clip(video)


def test_sound_that_is_not_finite_is_refused(made_video: Made, tmp_path: Path) -> None:
    sound = np.full((1, 16000), np.nan, np.float32)
    video = made_video(tmp_path / "a.mkv", seconds=1, audio="pcm_f32le", sound=sound)

    with pytest.raises(UnreadableVideoError, match="the sound holds NaN or infinite samples"):
        clip(video)


def test_sound_whose_timestamps_jump_far_on_is_refused(made_video: Made, tmp_path: Path) -> None:
    loud = np.full((1, 16000), 0.5, np.float32)
    video = made_video(tmp_path / "a.mkv", audio="pcm_s16le", sound=loud, late_seconds=1e6)

    with pytest.raises(UnreadableVideoError, match="a hole of 1000000 s in the sound"):
        clip(video)


def test_reading_leaves_no_file_open(made_video: Made, tmp_path: Path) -> None:
    video = made_video(tmp_path / "a.mp4")
    before = set(Path("/proc/self/fd").iterdir())

    clip(video)

    assert len(before) == len(set(Path("/proc/self/fd").iterdir()))
