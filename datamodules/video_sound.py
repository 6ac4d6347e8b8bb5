"""The sound of a part of a video: mono, placed by its timestamps."""

from fractions import Fraction
from math import ceil, floor

import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.error import FFmpegError
from av.packet import Packet
from numpy.typing import NDArray

from datamodules.video_frames import GROUPED, OtherWayError
from datamodules.video_streams import UnreadableVideoError, end_ticks, reason, tick

PREROLL_SECONDS = Fraction(1, 2)  # decoded before the start, for decoders overlap their blocks
MOST_PLANES = 7  # PyAV 18 reads past the end where there are more
MIXED_SAMPLES = 1 << 20  # at once
LARGEST_GAP_SECONDS = 60.0  # timestamps that jump on further are damaged
GAP_SECONDS = 0.1  # a longer hole stays as silence; shorter ones are rounding


class SoundPicker:
    """Takes the packets of an audio stream and keeps what sounds in a span of the video."""

    def __init__(
        self,
        stream: AudioStream,
        zero: Fraction,
        start: Fraction,
        end: Fraction | None,
        *,
        sought: bool,
    ) -> None:
        """Packets come later.

        Args:
            stream: of an open container.
            zero: second 0 of the video on the clock of the container.
            start: of the span, in seconds of the video.
            end: of the span, in seconds of the video; None is the end of the file.
            sought: whether the file was sought, so that the packets may start too late.
        """
        self.stream = stream
        self.tick = tick(stream)
        self.tick_seconds = float(self.tick)
        self.origin = zero + start
        self.end = None if end is None else zero + end
        self.sought = sought
        self.rate_hz: int | None = None
        self.next_seconds = 0.0  # when the next sample sounds, on the clock of the container
        self.fifo = AudioFifo()
        self.blocks: list[tuple[int, list[NDArray[np.float32]]]] = []  # place of the first sample
        self.is_done = False
        self.first_tick = self.origin / self.tick
        self.preroll_tick = floor((self.origin - PREROLL_SECONDS) / self.tick)
        self.end_tick = None if self.end is None else ceil(self.end / self.tick)

    def feed(self, packet: "Packet[AudioStream]") -> None:
        """Takes the next packet of the stream.

        Raises:
            OtherWayError: the seek went past the start.
            UnreadableVideoError: a packet of the span cannot be decoded.
        """
        if packet.pts is not None:
            ends = end_ticks(packet)
            if self.sought and ends > self.first_tick:
                raise OtherWayError(GROUPED)
            if ends < self.preroll_tick:
                return
            self.sought = False
            self.is_done = self.end_tick is not None and packet.pts >= self.end_tick
        if not self.is_done:
            self._add_all(packet)

    def finish(self) -> None:
        """Takes the end of the file; raises as ``feed``."""
        if not self.is_done:
            self._add_all(None)

    def samples(self) -> tuple[NDArray[np.float32], int]:
        """The sound, ``(S,)`` float32 mono, and its rate in Hz.

        It starts at the start of the span, with silence where the stream starts later, and ends
        with the span or with the stream.

        Raises:
            UnreadableVideoError: nothing sounds in the span, or a sample is NaN or infinite.
        """
        if self.rate_hz is None:
            raise UnreadableVideoError("the sound has no samples")
        self._drain()
        blocks = [(place, np.concatenate(parts)) for place, parts in self.blocks if parts]
        length = max((place + len(block) for place, block in blocks), default=0)
        if self.end is not None:
            length = min(length, round((self.end - self.origin) * self.rate_hz))
        if length <= 0:
            raise UnreadableVideoError("the sound has no samples")
        sound = np.zeros(length, np.float32)
        for place, block in blocks:
            low, high = max(place, 0), min(place + len(block), length)
            if low < high:
                sound[low:high] = block[low - place : high - place]
        if not np.isfinite(sound).all():
            raise UnreadableVideoError("the sound holds NaN or infinite samples")
        return sound, self.rate_hz

    def _add_all(self, packet: "Packet[AudioStream] | None") -> None:
        try:
            frames = self.stream.codec_context.decode(packet)
        except FFmpegError as error:
            if packet is not None and end_ticks(packet) <= self.first_tick:
                return  # it only warms the decoder up
            raise UnreadableVideoError(f"the sound is damaged ({reason(error)})") from error
        for frame in frames:
            self._add(frame)

    def _add(self, frame: AudioFrame) -> None:
        if self.rate_hz is None:
            self.rate_hz = frame.sample_rate
        if frame.sample_rate != self.rate_hz:
            raise UnreadableVideoError(
                f"the sampling rate changes from {self.rate_hz} to {frame.sample_rate} Hz"
            )
        starts = self.next_seconds if frame.pts is None else frame.pts * self.tick_seconds
        before = self.next_seconds if self.blocks else float(self.origin)
        if starts - before > LARGEST_GAP_SECONDS:
            raise UnreadableVideoError(f"a hole of {starts - before:.0f} s in the sound")
        if not self.blocks or starts - before > GAP_SECONDS:
            self._drain()
            place = round((starts - float(self.origin)) * self.rate_hz)
            self.blocks.append((place, []))
            self.next_seconds = starts
        self.next_seconds += frame.samples / self.rate_hz
        frame.pts = None  # a fifo insists on timestamps without rounding
        try:
            self.fifo.write(frame)
        except ValueError as error:
            raise UnreadableVideoError("the channels or the sample format change") from error
        if self.fifo.samples > MIXED_SAMPLES:
            self._drain()

    def _drain(self) -> None:
        """Mixes down what has been decoded, so that little of it is held with all its channels."""
        frame = self.fifo.read()
        if frame is not None:
            frame.pts = None
            self.blocks[-1][1].append(mixed_down(frame))


def mixed_down(frame: AudioFrame) -> NDArray[np.float32]:
    """The mean of the channels of decoded sound, ``(S,)`` float32, in [-1, 1] for integers."""
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels > MOST_PLANES:
        interleave = AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
        blocks = [*interleave.resample(frame), *interleave.resample(None)]
        return np.concatenate([_mean(block.to_ndarray().reshape(-1, channels)) for block in blocks])
    samples = frame.to_ndarray()
    return _mean(samples.T if frame.format.is_planar else samples.reshape(-1, channels))


def _mean(samples: NDArray[np.generic]) -> NDArray[np.float32]:
    """Mean of ``(S, C)`` samples of any type, in one scale."""
    mono = np.zeros(len(samples))
    for channel in samples.T:  # many times faster than a mean over the short axis
        mono += channel
    mono /= samples.shape[1]
    if samples.dtype.kind != "f":
        full = 2.0 ** (8 * samples.itemsize - 1)
        mono = (mono - (full if samples.dtype.kind == "u" else 0.0)) / full
    return mono.astype(np.float32)
