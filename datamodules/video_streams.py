"""Opening a video file, choosing among its streams, and reading its clock.

Nothing but the given file is opened: FFmpeg reads through a file object and may use no protocol,
so a playlist or script in the guise of a video is refused.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

S = TypeVar("S", bound=Stream)

READ_BYTES = 1 << 18
MP4_HEAD = b"ftyp"  # at byte 4 of the file


class UnreadableVideoError(Exception):
    """A video that gives no frame or no sound; the message is the reason, without the path."""


@dataclass(frozen=True)
class PictureStream:
    """The video stream that was chosen."""

    index: int
    codec: str
    width: int
    height: int
    rate: str  # mean frames per second, as a fraction


@dataclass(frozen=True)
class SoundStream:
    """The audio stream that was chosen."""

    index: int
    codec: str
    rate_hz: int
    channels: int


@contextmanager
def opened_video(path: Path) -> Iterator[InputContainer]:
    """The container in a file; what fails in the block with an error of FFmpeg is a reason, too.

    Raises:
        UnreadableVideoError: the file is missing, empty or no container, or the block fails.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
            if not head:
                raise UnreadableVideoError("the file is empty")
            file.seek(0)
            try:
                container = av.open(
                    file,
                    options={"protocol_whitelist": "none"},
                    metadata_errors="replace",
                    buffer_size=READ_BYTES,
                )
            except FFmpegError as error:
                raise UnreadableVideoError(_no_container(error, head)) from error
            with container:
                yield cast(InputContainer, container)
    except (FFmpegError, OSError) as error:
        raise UnreadableVideoError(reason(error)) from error


def packets(container: InputContainer) -> Iterator["Packet[Stream]"]:
    """The packets of all streams in the order of the file, without those that only flush."""
    demuxed = container.demux()
    while True:
        try:
            packet = next(demuxed)
        except (StopIteration, IndexError):  # PyAV flushes streams that appeared late by no index
            return
        if packet.size:
            yield packet


def reason(error: FFmpegError | OSError) -> str:
    """What an error of FFmpeg or of the system says, without numbers and paths."""
    return error.strerror or type(error).__name__


def best_video(container: InputContainer) -> VideoStream:
    """The video stream of the largest area, then of the highest frame rate.

    Ties go to the default stream, then to the first. Cover pictures are no video.

    Raises:
        UnreadableVideoError: there is none.
    """
    films = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not films:
        raise UnreadableVideoError("no video stream")
    return max(
        _decodable(films),
        key=lambda stream: (
            stream.width * stream.height,
            stream.average_rate or 0,
            _is_default(stream),
            -stream.index,
        ),
    )


def best_audio(container: InputContainer) -> AudioStream:
    """The audio stream of the highest sampling rate, then of most channels.

    Ties go to the default stream, then to the first.

    Raises:
        UnreadableVideoError: there is none.
    """
    if not container.streams.audio:
        raise UnreadableVideoError("no sound stream")
    return max(
        _decodable(container.streams.audio),
        key=lambda stream: (stream.rate, stream.channels, _is_default(stream), -stream.index),
    )


def picture_stream(stream: VideoStream) -> PictureStream:
    """What is told of a video stream."""
    codec = stream.codec_context.codec.canonical_name
    rate = str(stream.average_rate or 0)
    return PictureStream(stream.index, codec, stream.width, stream.height, rate)


def sound_stream(stream: AudioStream) -> SoundStream:
    """What is told of an audio stream."""
    codec = stream.codec_context.codec.canonical_name
    return SoundStream(stream.index, codec, stream.rate, stream.channels)


def tick(stream: Stream) -> Fraction:
    """Seconds of one unit of a stream's timestamps."""
    assert stream.time_base is not None  # every demuxer sets it
    return stream.time_base


def frame_rate(stream: VideoStream) -> Fraction:
    """Frames per second of a stream that has a constant rate.

    Raises:
        UnreadableVideoError: the stream does not say.
    """
    rate = stream.average_rate or stream.guessed_rate
    if not rate:
        raise UnreadableVideoError("neither timestamps nor a frame rate")
    return rate


def end_ticks(packet: "Packet[S]") -> int:
    """When what is in a packet ends, in units of its stream's timestamps."""
    start = packet.pts if packet.pts is not None else packet.dts or 0
    if packet.duration:
        return start + packet.duration
    rate = getattr(packet.stream, "average_rate", None)
    return start + (round(1 / (rate * tick(packet.stream))) if rate else 0)


def _decodable(streams: Sequence[S]) -> list[S]:
    """The streams that have a decoder here."""
    found = [stream for stream in streams if stream.codec_context is not None]
    if not found:
        raise UnreadableVideoError(f"no decoder for the {streams[0].type} stream")
    return found


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _is_default(stream: Stream) -> bool:
    return bool(stream.disposition & Disposition.default)


def _no_container(error: FFmpegError, head: bytes) -> str:
    if head[4:] == MP4_HEAD:
        return "an MP4 file without a readable index, as a broken-off download leaves it"
    return f"no video file ({reason(error)})"
