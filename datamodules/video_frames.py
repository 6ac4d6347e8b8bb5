"""Frames of a video stream at given times: the packets go in, the frames that are asked for stay.

The frame at a time is the one that is being shown: the last whose timestamp is not after it. A
timestamp counts as exact to half a tick, for containers round to their ticks (Matroska to 1 ms).
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from fractions import Fraction
from math import floor
from typing import Generic, TypeVar, cast

import numpy as np
from av.buffer import Buffer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from datamodules.video_streams import UnreadableVideoError, end_ticks, frame_rate, reason, tick

Picture = NDArray[np.uint8]
T = TypeVar("T")

FIRST_FRAME_SECONDS = Fraction(1, 2)  # a stream may start to show this late after its start
EXACT_COLOURS = (  # within half a level; by its default, libswscale is 1.1 levels too dark
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.BITEXACT
)
GROUPED, SEQUENTIAL, COUNTED = "grouped", "sequential", "counted"


class OtherWayError(Exception):
    """The file must be read anew, in another way."""

    def __init__(self, way: str) -> None:
        super().__init__(way)
        self.way = way


class FramePicker(Generic[T]):
    """Takes the packets of a stream in the order of the file and keeps the frames at given times.

    ``frames`` and ``shown`` hold, by time, what is kept and since when the frame is shown, in
    seconds from the stream's start. A time after the end of the video has no entry.
    """

    def __init__(
        self, stream: VideoStream, times: Sequence[Fraction], keep: Callable[[Picture], T]
    ) -> None:
        """Packets come later.

        Args:
            stream: of an open container.
            times: seconds from the stream's start.
            keep: what is kept of an ``(H, W, 3)`` uint8 RGB frame.
        """
        self.stream = stream
        self.keep = keep
        self.frames: dict[Fraction, T] = {}
        self.shown: dict[Fraction, Fraction] = {}
        self.start, self.tick, exactness = self._clock()
        self.waiting = [  # the latest timestamp of a frame that is shown then, and the time
            (self.start + floor(time / self.tick + exactness), time) for time in sorted(set(times))
        ]

    @property
    def is_done(self) -> bool:
        """Whether no packet is needed any more."""
        return not self.waiting

    def feed(self, packet: "Packet[VideoStream]") -> None:
        """Takes the next packet.

        Raises:
            OtherWayError: the file must be read in the way that the error names.
            UnreadableVideoError: a frame that is needed cannot be decoded or is damaged.
        """
        raise NotImplementedError

    def finish(self) -> None:
        """Takes the end of the file; raises as ``feed``."""
        raise NotImplementedError

    def _clock(self) -> tuple[int, Fraction, Fraction]:
        """The first timestamp, seconds of a tick, and to how many ticks a timestamp is exact."""
        return self.stream.start_time or 0, tick(self.stream), Fraction(1, 2)

    def _check_started(self, first: int, limit: int, time: Fraction) -> None:
        """Whether the frame of the first timestamp may stand for one that is shown before it."""
        if (first - limit) * self.tick > FIRST_FRAME_SECONDS:
            raise UnreadableVideoError(f"no frame is shown yet at {float(time):.2f} s")

    def _found(self, time: Fraction, shown: Fraction, kept: T) -> None:
        self.frames[time] = kept
        self.shown[time] = shown


class GroupedPicker(FramePicker[T]):
    """Decodes only groups of pictures that hold a wanted frame, from their keyframe to that frame.

    Before it, pictures that no other refers to are skipped. One group is in memory at a time.
    """

    def __init__(
        self,
        stream: VideoStream,
        times: Sequence[Fraction],
        keep: Callable[[Picture], T],
        *,
        sought: bool,
    ) -> None:
        """As ``FramePicker``.

        Args:
            stream: as there.
            times: as there.
            keep: as there.
            sought: whether the file was sought, so that the packets may start too late.
        """
        super().__init__(stream, times, keep)
        self.sought = sought
        self.group: list[tuple[int, Packet[VideoStream]]] = []  # with timestamps, from a keyframe
        self.following: int | None = None  # place in the group of the next keyframe
        self.end = self.start

    def feed(self, packet: "Packet[VideoStream]") -> None:
        """See ``FramePicker``.

        A group is whole when a picture comes that is shown after the next keyframe: pictures that
        are stored after that keyframe and shown before it refer to both.
        """
        pts = packet.pts
        if pts is None:
            raise OtherWayError(COUNTED)
        if self.following is not None:
            border = self.group[self.following][0]
            if packet.is_keyframe or pts > border:
                self._resolve(border)
                self.group = self.group[self.following :]
                self.following = None
        if packet.is_keyframe:
            if self.group:
                self.following = len(self.group)
            elif self.sought and self.waiting and pts > self.waiting[0][0]:
                raise OtherWayError(GROUPED)
        if packet.is_keyframe or self.group:
            self.group.append((pts, packet))
        self.end = max(self.end, end_ticks(packet))
        if self.waiting and packet.dts is not None:
            last = self.waiting[-1][0]
            if packet.dts > last:  # no later packet is shown before its dts
                self._resolve(last + 1)

    def finish(self) -> None:
        """See ``FramePicker``."""
        self._resolve(self.end)

    def _resolve(self, border: int) -> None:
        """Keeps the frames at all times before a timestamp; the group holds them."""
        if not self.waiting or self.waiting[0][0] >= border:
            return
        wanted: dict[int, list[Fraction]] = {}
        shown = sorted(pts for pts, packet in self.group if not packet.is_discard)
        if not shown:
            raise OtherWayError(GROUPED if self.sought else SEQUENTIAL)  # no keyframe was seen
        while self.waiting and self.waiting[0][0] < border:
            limit, time = self.waiting.pop(0)
            self._check_started(shown[0], limit, time)
            place = bisect_right(shown, limit) - 1
            wanted.setdefault(shown[max(place, 0)], []).append(time)
        kept = self._decoded(wanted, skip=True)
        if len(kept) < len(wanted):
            kept = self._decoded(wanted, skip=False)
        if len(kept) < len(wanted):  # such as a group that starts with a gradual refresh
            raise OtherWayError(SEQUENTIAL)
        for pts, times in wanted.items():
            for time in times:
                self._found(time, (pts - self.start) * self.tick, kept[pts])

    def _decoded(self, wanted: Collection[int], *, skip: bool) -> dict[int, T]:
        """What is kept of the frames with the given timestamps, where they come undamaged."""
        last = max(place for place, (pts, _) in enumerate(self.group) if pts in wanted)
        context = self.stream.codec_context
        kept: dict[int, T] = {}
        context.flush_buffers()
        try:
            for pts, packet in self.group[: last + 1]:
                context.skip_frame = "NONREF" if skip and pts not in wanted else "DEFAULT"
                self._collect(context.decode(packet), wanted, kept)
            self._collect(context.decode(None), wanted, kept)
        except FFmpegError:
            return {}  # decoded in order, the error is a reason
        finally:
            context.flush_buffers()
        return kept

    def _collect(
        self, frames: Sequence[VideoFrame], wanted: Collection[int], kept: dict[int, T]
    ) -> None:
        for frame in frames:
            pts = frame.pts
            if pts is not None and pts in wanted and not frame.is_corrupt:
                kept[pts] = self.keep(upright_picture(frame))


class SequentialPicker(FramePicker[T]):
    """Decodes every frame, up to the last that is needed.

    For streams whose decoder cannot start at a group of pictures, and, with ``counted``, for those
    without timestamps to be trusted: there frame k is shown from k / rate.
    """

    def __init__(
        self,
        stream: VideoStream,
        times: Sequence[Fraction],
        keep: Callable[[Picture], T],
        *,
        counted: bool,
    ) -> None:
        """As ``FramePicker``.

        Args:
            stream: as there.
            times: as there.
            keep: as there.
            counted: whether frames are told apart by their number.
        """
        self.counted = counted
        super().__init__(stream, times, keep)
        self.count = 0
        self.last: tuple[int, VideoFrame] | None = None

    def feed(self, packet: "Packet[VideoStream]") -> None:
        """See ``FramePicker``."""
        try:
            frames = self.stream.codec_context.decode(packet)
        except FFmpegError as error:
            raise UnreadableVideoError(f"the video is damaged ({reason(error)})") from error
        for frame in frames:
            self._next(frame)

    def finish(self) -> None:
        """See ``FramePicker``."""
        for frame in self.stream.codec_context.decode(None):
            self._next(frame)
        if self.last is not None:
            length = 1 if self.counted else round(1 / (frame_rate(self.stream) * self.tick))
            self._show_until(self.last[0] + length)

    def _clock(self) -> tuple[int, Fraction, Fraction]:
        return (0, 1 / frame_rate(self.stream), Fraction(0)) if self.counted else super()._clock()

    def _next(self, frame: VideoFrame) -> None:
        pts = self.count if self.counted else frame.pts
        self.count += 1
        if pts is None:
            raise OtherWayError(COUNTED)
        if self.last is not None:
            self._show_until(pts)
        self.last = pts, frame

    def _show_until(self, border: int) -> None:
        """Keeps the last frame for all times before a timestamp."""
        assert self.last is not None
        pts, frame = self.last
        while self.waiting and self.waiting[0][0] < border:
            limit, time = self.waiting.pop(0)
            self._check_started(pts, limit, time)
            if frame.is_corrupt:
                raise UnreadableVideoError(f"the frame at {float(time):.2f} s is damaged")
            self._found(time, (pts - self.start) * self.tick, self.keep(upright_picture(frame)))


class EveryFrame(SequentialPicker[Picture]):
    """Hands out every frame, in turn, with the time from which it is shown."""

    def __init__(self, stream: VideoStream, *, counted: bool) -> None:
        """As ``SequentialPicker``, without times that are waited for."""
        super().__init__(stream, [], lambda picture: picture, counted=counted)
        self.ready: list[tuple[Fraction, Picture]] = []

    def taken(self) -> list[tuple[Fraction, Picture]]:
        """The frames that came since the last call."""
        ready, self.ready = self.ready, []
        return ready

    def _next(self, frame: VideoFrame) -> None:
        pts = self.count if self.counted else frame.pts
        self.count += 1
        if pts is None:
            raise OtherWayError(COUNTED)
        time = (pts - self.start) * self.tick
        if frame.is_corrupt:
            raise UnreadableVideoError(f"the frame at {float(time):.2f} s is damaged")
        self.ready.append((time, upright_picture(frame)))


def upright_picture(frame: VideoFrame) -> Picture:
    """A decoded frame as it is to be seen, ``(H, W, 3)`` uint8 RGB.

    The colour matrix and the range are those of the frame; where it says none, BT.601 and limited
    range, as FFmpeg takes them. Chroma is interpolated linearly between its samples. Quarter turns
    and mirrorings of the display matrix are applied. Pixels that are not square stay so: boxes are
    fractions of the frame.
    """
    shown = frame.reformat(format="rgb24", interpolation=EXACT_COLOURS, threads=1)
    picture = cast(Picture, shown.to_ndarray())
    matrix = cast(Mapping[str, Buffer], frame.side_data).get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    # the point (x, y) is shown at (a x + c y, b x + d y): libavutil/display.h
    a, b, _, c, d = np.sign(np.frombuffer(bytes(matrix), np.int32)[:5]).tolist()
    if a == d == 0:
        picture, (a, d) = picture.transpose(1, 0, 2), (c, b)  # (W, H, 3)
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
