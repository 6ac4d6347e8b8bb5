"""Frames and sound of a clip inside a video, through PyAV: any container, and no FFmpeg to install.

Second 0 of a video is when its first frame is shown, and the sound is placed by its own timestamps
against that. So the frame at 5 s is frame 125 of a video of 25 frames per second, and for any other
rate it is the frame that is being shown at that time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Generic, TypeVar, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from datamodules.video_frames import (
    COUNTED,
    GROUPED,
    EveryFrame,
    FramePicker,
    GroupedPicker,
    OtherWayError,
    Picture,
    SequentialPicker,
)
from datamodules.video_sound import SoundPicker
from datamodules.video_streams import (
    PictureStream,
    SoundStream,
    UnreadableVideoError,
    best_audio,
    best_video,
    end_ticks,
    frame_rate,
    opened_video,
    packets,
    picture_stream,
    sound_stream,
    tick,
)

T = TypeVar("T")

SOUGHT = "sought"
SEEK_MARGIN_SECONDS = 2  # sound lies in a file beside the pictures of about the same time
SHORTFALL_SECONDS = Fraction(1, 2)  # headers round, and streams do not end together
TELLS_LENGTH = ("mov", "matroska", "avi", "flv", "asf")  # others estimate it from what is there
WITHOUT_TIMES = ("avi",)  # FFmpeg guesses their timestamps, wrongly for H.264 with B-frames


@dataclass(frozen=True)
class VideoClip(Generic[T]):
    """What was read of a clip."""

    frames: tuple[T | None, ...]  # one per time; None where the video has ended before
    shown_seconds: tuple[float | None, ...]  # since when each is shown, from the clip's start
    sound: NDArray[np.float32]  # (S,) mono, about [-1, 1], from the clip's start
    rate_hz: int
    picture_stream: PictureStream
    sound_stream: SoundStream


def read_clip(
    path: Path,
    times: Sequence[Fraction],
    keep: Callable[[Picture], T],
    *,
    start_seconds: int = 0,
    seconds: int | None = None,
) -> VideoClip[T]:
    """Frames at some times and the mono sound of a clip.

    The video stream of the largest area and the audio stream of the highest rate are read. Only the
    groups of pictures that hold a frame are decoded, up to that frame and without the pictures
    before it that no other refers to; the frames are bit for bit those of decoding everything.

    Args:
        path: the video file.
        times: of the frames, in seconds from the clip's start.
        keep: what is kept of a frame, an ``(H, W, 3)`` uint8 RGB array, upright.
        start_seconds: where the clip starts in the video.
        seconds: length of the clip; None is the rest of the video.

    Raises:
        UnreadableVideoError: no video or no sound stream; the file breaks off inside the clip; a
            frame or the sound cannot be decoded, comes damaged or is not finite.
    """
    end = None if seconds is None else Fraction(start_seconds + seconds)
    way = SOUGHT if start_seconds > SEEK_MARGIN_SECONDS else GROUPED
    while True:
        try:
            with opened_video(path) as container:
                reader = _Reader(container, Fraction(start_seconds), end, way)
                return reader.clip(times, keep)
        except OtherWayError as other:
            way = other.way


def video_seconds(path: Path) -> Fraction:
    """How long frames are shown: from the first one to the end of the last. Nothing is decoded.

    Raises:
        UnreadableVideoError: the file cannot be read or has no video stream.
    """
    with opened_video(path) as container:
        stream = best_video(container)
        is_counted = _is_without_times(container)
        count, end = 0, stream.start_time or 0
        for packet in packets(container):
            if packet.stream_index == stream.index:
                count += 1
                end = max(end, end_ticks(packet))
                is_counted = is_counted or packet.pts is None
        if is_counted:
            return count / frame_rate(stream)
        return (end - (stream.start_time or 0)) * tick(stream)


def every_frame(path: Path) -> Iterator[tuple[Fraction, Picture]]:
    """Each frame, ``(H, W, 3)`` uint8 RGB and upright, with the second from which it is shown.

    One frame is in memory at a time, and those that the decoder holds.

    Raises:
        UnreadableVideoError: the file cannot be read, has no video stream, or a frame is damaged.
    """
    has_begun = False
    try:
        for frame in _every_frame(path, counted=False):
            has_begun = True
            yield frame
    except OtherWayError as other:
        if has_begun:
            raise UnreadableVideoError("frames without timestamps among others") from other
        yield from _every_frame(path, counted=True)


def _every_frame(path: Path, *, counted: bool) -> Iterator[tuple[Fraction, Picture]]:
    with opened_video(path) as container:
        stream = best_video(container)
        frames = EveryFrame(stream, counted=counted or _is_without_times(container))
        for packet in packets(container):
            if packet.stream_index == stream.index:
                frames.feed(cast("Packet[VideoStream]", packet))
                yield from frames.taken()
        frames.finish()
        yield from frames.taken()


class _Reader:
    """One open file and the way in which it is read."""

    def __init__(
        self, container: InputContainer, start: Fraction, end: Fraction | None, way: str
    ) -> None:
        self.container = container
        self.start = start
        self.end = end
        self.way = COUNTED if _is_without_times(container) else way
        self.video = best_video(container)
        self.audio = best_audio(container)
        for stream in (self.video, self.audio):
            stream.codec_context.thread_count = 1  # the cores are shared by processes
        self.zero = (self.video.start_time or 0) * tick(self.video)

    def clip(self, times: Sequence[Fraction], keep: Callable[[Picture], T]) -> VideoClip[T]:
        picker = self._picker([self.start + time for time in times], keep)
        sought = self.way == SOUGHT
        sound = SoundPicker(self.audio, self.zero, self.start, self.end, sought=sought)
        if sought:
            first = floor((self.start - SEEK_MARGIN_SECONDS) / tick(self.video))
            self.container.seek((self.video.start_time or 0) + first, stream=self.video)
        self._run(picker, sound)
        samples, rate_hz = sound.samples()
        return VideoClip(
            frames=tuple(picker.frames.get(self.start + time) for time in times),
            shown_seconds=tuple(self._shown(picker, self.start + time) for time in times),
            sound=samples,
            rate_hz=rate_hz,
            picture_stream=picture_stream(self.video),
            sound_stream=sound_stream(self.audio),
        )

    def _picker(self, times: Sequence[Fraction], keep: Callable[[Picture], T]) -> FramePicker[T]:
        if self.way in (SOUGHT, GROUPED):
            return GroupedPicker(self.video, times, keep, sought=self.way == SOUGHT)
        return SequentialPicker(self.video, times, keep, counted=self.way == COUNTED)

    def _run(self, picker: FramePicker[T], sound: SoundPicker) -> None:
        """Feeds the packets of the file until neither needs more."""
        ends: dict[int, int] = {}  # in ticks of each stream
        for packet in packets(self.container):
            index = packet.stream_index
            ends[index] = max(ends.get(index, 0), end_ticks(packet))
            if packet.is_corrupt and index in (self.video.index, self.audio.index):
                # demuxers mark where a file breaks off
                at = float(ends[index] * tick(packet.stream) - self.zero)
                raise UnreadableVideoError(f"truncated or damaged at {at:.1f} s")
            if index == self.video.index and not picker.is_done:
                picker.feed(cast("Packet[VideoStream]", packet))
            elif index == self.audio.index and not sound.is_done:
                sound.feed(cast("Packet[AudioStream]", packet))
            if picker.is_done and sound.is_done:
                return
        self._check_length({i: end * tick(self.container.streams[i]) for i, end in ends.items()})
        picker.finish()
        sound.finish()

    def _shown(self, picker: FramePicker[T], time: Fraction) -> float | None:
        shown = picker.shown.get(time)
        return None if shown is None else round(float(shown - self.start), 6)

    def _check_length(self, ends: dict[int, Fraction]) -> None:
        """Compares where the packets ended with where the header says that the streams end."""
        if not self.container.format.name.startswith(TELLS_LENGTH):
            return
        for promised, there in self._promises(ends):
            length, seen = promised - self.zero, there - self.zero
            needed = length if self.end is None else min(length, self.end)
            if needed - seen > SHORTFALL_SECONDS:
                raise UnreadableVideoError(
                    f"truncated: {float(length):.1f} s by its header, {float(seen):.1f} s are there"
                )

    def _promises(self, ends: dict[int, Fraction]) -> Iterator[tuple[Fraction, Fraction]]:
        """When streams end by the header, and when they do; on the clock of the container."""
        streams = [stream for stream in (self.video, self.audio) if stream.duration]
        for stream in streams:
            end = ((stream.start_time or 0) + (stream.duration or 0)) * tick(stream)
            yield end, ends.get(stream.index, self.zero)
        if self.way == COUNTED and self.video.frames:  # AVI shortens its durations to what is there
            yield self.video.frames / frame_rate(self.video), ends.get(self.video.index, self.zero)
        if not streams and self.container.duration:  # Matroska states the longest alone
            end = Fraction((self.container.start_time or 0) + self.container.duration, av.time_base)
            yield end, max(ends.values(), default=self.zero)


def _is_without_times(container: InputContainer) -> bool:
    return container.format.name in WITHOUT_TIMES
