"""A video of the user's own has a picture and a window of sound for each of its seconds."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datamodules import own_video
from datamodules.clip import Inputs, Resizing
from datamodules.own_video import OwnVideo, blocks, read_own_video
from datamodules.proposals import Extractor
from datamodules.video import read_clip
from datamodules.video_frames import upright_picture
from metrics.errors import BenchError

Made = Callable[..., Path]
Number = Callable[[NDArray[np.uint8]], int]
INPUTS = Inputs(image_size=16, sample_rate_hz=8000, segment_seconds=1.0)
EXACT = {"audio": "pcm_s16le", "rate_hz": 8000}  # in Matroska


def read(path: Path, inputs: Inputs = INPUTS, extractor: Extractor | None = None) -> OwnVideo:
    return read_own_video(path, inputs, small_side=48, extractor=extractor)


def counted(seconds: float) -> NDArray[np.float32]:
    """Sound ``(1, S)`` at 8 kHz whose samples tell their place, to one in 32,768."""
    places = np.arange(round(8000 * seconds))
    return (places[None] / 32768).astype(np.float32)


def places(windows: torch.Tensor) -> list[list[int]]:
    """First and last sample of each window of ``counted``."""
    ends = (windows[:, [0, -1]] * 32768).round().int()
    found: list[list[int]] = ends.tolist()
    return found


def test_the_picture_of_a_second_is_the_one_shown_in_its_middle(
    made_video: Made, frame_number: Number, tmp_path: Path
) -> None:
    video = read(made_video(tmp_path / "a.mp4", seconds=3, rate=24))

    assert [frame_number(each.small) for each in video.pictures] == [12, 36, 60]
    assert video.times == [0.5, 1.5, 2.5]
    assert {each.size for each in video.pictures} == {(32, 48)}
    assert {tuple(each.frame.shape) for each in video.pictures} == {(3, 16, 16)}


def test_of_a_method_that_crops_the_middle_square_is_seen_and_kept(
    made_video: Made, tmp_path: Path
) -> None:
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:, 12:36] = 255
    path = made_video(tmp_path / "a.mp4", seconds=1, picture=picture)

    (second,) = read(path, replace(INPUTS, resizing=Resizing(crop=True))).pictures

    assert second.size == (32, 32)
    assert second.small.shape == (48, 48, 3)
    assert second.frame[:, :, 3:-3].min() > 200


@pytest.mark.parametrize(("told", "expected"), [("30000/1001", Fraction(30000, 1001)), ("0", None)])
def test_a_rate_that_a_video_does_not_tell_is_not_made_up(
    told: str,
    expected: Fraction | None,
    made_video: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def with_rate(*arguments: Any) -> Any:
        clip = read_clip(*arguments)
        return replace(clip, picture_stream=replace(clip.picture_stream, rate=told))

    monkeypatch.setattr(own_video, "read_clip", with_rate)

    assert read(made_video(tmp_path / "a.mp4", seconds=1)).frame_rate == expected


@pytest.mark.parametrize(("seconds", "count"), [(0.6, 1), (1.4, 1), (1.6, 2), (2.0, 2)])
def test_a_second_counts_where_a_frame_is_shown_in_its_middle(
    seconds: float, count: int, made_video: Made, tmp_path: Path
) -> None:
    video = read(made_video(tmp_path / "a.mp4", seconds=seconds))

    assert (len(video.pictures), len(video.windows)) == (count, count)


def test_the_sound_of_a_second_is_the_window_around_its_middle(
    made_video: Made, tmp_path: Path
) -> None:
    path = made_video(tmp_path / "a.mkv", seconds=4, sound=counted(4), **EXACT)

    short = read(path).windows
    long = read(path, Inputs(image_size=16, sample_rate_hz=8000, segment_seconds=2.0)).windows

    assert places(short) == [[8000 * k, 8000 * k + 7999] for k in range(4)]
    inside = [0, 4000, 12000, 16000]  # the first and the last are moved inside
    assert places(long) == [[start, start + 15999] for start in inside]


def test_a_sound_shorter_than_a_window_is_repeated(made_video: Made, tmp_path: Path) -> None:
    path = made_video(tmp_path / "a.mkv", seconds=1, sound=counted(1), **EXACT)

    (window,) = read(path, Inputs(sample_rate_hz=8000, segment_seconds=2.5)).windows

    expected = np.tile(counted(1)[0], 3)[:20000]
    np.testing.assert_allclose(window.numpy(), expected, atol=1e-4)


def test_the_sound_is_silent_before_it_starts_and_after_it_ends(
    made_video: Made, tmp_path: Path
) -> None:
    loud = np.full((1, 8000), 0.5, np.float32)

    video = read(made_video(tmp_path / "a.mkv", seconds=4, sound=loud, late_seconds=1, **EXACT))

    assert len(video.sound) == pytest.approx(4 * 8000, abs=8)
    np.testing.assert_allclose(video.windows.mean(1).numpy(), [0, 0.5, 0, 0], atol=2e-3)


def test_what_sounds_after_the_pictures_is_cut_off(made_video: Made, tmp_path: Path) -> None:
    video = read(made_video(tmp_path / "a.mkv", seconds=2, sound=counted(3.5), **EXACT))

    assert places(video.windows) == [[0, 7999], [8000, 15999]]
    assert len(video.sound) == pytest.approx(2 * 8000, abs=8)


@pytest.mark.parametrize("name", ["selective_search", "grid"])
def test_what_is_kept_for_the_search_has_the_boxes_of_the_whole_picture(
    name: str, made_video: Made, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(256, size=(8, 12, 3), dtype=np.uint8)
    picture = noise.repeat(16, 0).repeat(16, 1)
    path = made_video(tmp_path / "a.mp4", seconds=1, size=(192, 128), picture=picture)
    extractor = Extractor(name, 64)

    (kept,) = read(path, extractor=extractor).pictures
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    whole = [upright_picture(frame) for frame in frames]

    find = extractor.finder()
    assert kept.searched is not None
    found = find(torch.from_numpy(kept.searched).permute(2, 0, 1), kept.content)
    expected = find(torch.from_numpy(whole[12]).permute(2, 0, 1), kept.content)
    np.testing.assert_array_equal(found, expected)
    assert len(found) > 1


def test_equal_pictures_have_one_content_and_others_have_another(
    made_video: Made, tmp_path: Path
) -> None:
    still = np.full((32, 48, 3), 90, np.uint8)

    moving = read(made_video(tmp_path / "a.mp4")).pictures
    alike = read(made_video(tmp_path / "b.mp4", picture=still)).pictures

    assert len({each.content for each in moving}) == 2
    assert len({each.content for each in alike}) == 1


def test_pictures_are_upright(made_video: Made, tmp_path: Path) -> None:
    video = read(made_video(tmp_path / "a.mp4", seconds=1, turned=(90, False, False)))

    assert video.pictures[0].size == (48, 32)
    assert video.pictures[0].small.shape == (48, 32, 3)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"audio": None}, "no sound stream; give a whole video that has pictures and sound"),
        ({"video": None}, "no video stream; give a whole video"),
        ({"seconds": 0.4}, "is 0.40 s long; the first picture that is looked at is that at 0.5 s"),
    ],
)
def test_a_video_that_lacks_something_is_refused(
    made: dict[str, object], words: str, made_video: Made, tmp_path: Path
) -> None:
    with pytest.raises(BenchError) as refused:
        read(made_video(tmp_path / "a.mp4", **made))

    assert str(tmp_path / "a.mp4") in str(refused.value)
    assert words in str(refused.value)


def test_a_video_that_breaks_off_is_refused(made_video: Made, tmp_path: Path) -> None:
    path = made_video(tmp_path / "a.mkv", seconds=4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(BenchError, match=r"a\.mkv cannot be read: truncated.*; give a whole video"):
        read(path)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")

    with pytest.raises(BenchError, match=r"a\.mp4 cannot be read: .*; give a whole video"):
        read(tmp_path / "a.mp4")
    with pytest.raises(BenchError, match=r"none\.mp4 cannot be read: No such file"):
        read(tmp_path / "none.mp4")


def test_a_video_that_is_too_long_is_refused_before_it_is_decoded(
    made_video: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_video, "LONGEST_SECONDS", 2)
    path = made_video(tmp_path / "a.mp4", seconds=3)

    with pytest.raises(BenchError, match=r"a\.mp4 is 3 s long; give a part of at most 2 s"):
        read(path)


@pytest.mark.parametrize("segments", [1, 2, 3, 10])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 11, 20])
def test_every_second_is_asked_for_once_and_in_order(count: int, segments: int) -> None:
    found = blocks(count, segments)

    assert [seconds[target] for seconds, targets in found for target in targets] == [*range(count)]
    for seconds, _ in found:
        assert len(seconds) == segments
        if count >= segments:
            assert list(seconds) == [*range(seconds[0], seconds[0] + segments)]


def test_fewer_seconds_than_segments_are_repeated() -> None:
    assert blocks(3, 7) == [((0, 1, 2, 0, 1, 2, 0), (0, 1, 2))]
