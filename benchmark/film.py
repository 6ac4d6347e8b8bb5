"""A video once more, with the answer of each second drawn over its frames, as MP4."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
import torch
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from benchmark.drawing import AnswerPicture, Image, film_frame, heat_picture
from datamodules.atomic_files import unfinished
from datamodules.media import resampled
from datamodules.own_video import OwnVideo
from datamodules.progress import progress_bar
from datamodules.video import every_frame
from datamodules.video_streams import UnreadableVideoError, reason
from metrics.errors import BenchError

H264, MPEG4 = "libx264", "mpeg4"
OPTIONS = {H264: {"preset": "veryfast", "crf": "20"}, MPEG4: {"qmin": "2", "qmax": "5"}}
TICKS = 60000  # per second; a whole number of them for 24, 25, 30, 50, 60 and 30000/1001 frames
UNKNOWN_RATE = 25  # an encoder wants one to share its bits out; frames are shown by their times
SHORTEST_SIDE, LONGEST_SIDE = 320, 1280  # that the longer side of a film may have
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
BLOCK = 1024  # samples of an AAC frame


def write_film(path: Path, video: OwnVideo, answers: Sequence[AnswerPicture]) -> str | None:
    """Writes an MP4 of all frames of a video, at their times, with the sound beside them.

    Boxes are drawn over the frames where answers have some, else the map over the grey frames; the
    confidence stands in the corner. What is shown after the last second has its answer. The longer
    side has 320 to 1280 pixels, both sides are even. The sound is what the method heard, mono, as
    AAC. One frame is in memory at a time.

    Args:
        path: of the MP4; written atomically.
        video: whose file is read again.
        answers: one for each second.

    Returns:
        A line to be said where the pictures are not H.264 for want of its encoder.

    Raises:
        BenchError: a frame is damaged, or the film cannot be written.
    """
    codec = H264 if H264 in av.codecs_available else MPEG4
    try:
        with (
            unfinished(path) as beside,
            av.open(str(beside), "w", format="mp4", options={"movflags": "faststart"}) as container,
        ):
            _encode(container, codec, video, answers)
    except UnreadableVideoError as error:
        raise BenchError(f"{video.path} cannot be read: {error}; give a whole video") from error
    except (FFmpegError, OSError) as error:
        raise BenchError(
            f"{path} cannot be written ({reason(error)}); give --out another FILE.png, beside "
            "which the film is written"
        ) from error
    if codec == H264:
        return None
    return f"{path} is MPEG-4 Part 2, because this PyAV has no {H264}"


def film_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the film of a video: even, the longer side within its limits.

    >>> film_size(1080, 1920), film_size(33, 64), film_size(480, 853)
    ((720, 1280), (164, 320), (480, 852))
    """
    longer = max(height, width)
    scale = min(max(longer, SHORTEST_SIDE), LONGEST_SIDE) / longer
    rows, columns = (max(2, round(side * scale / 2) * 2) for side in (height, width))
    return rows, columns


def _encode(
    container: OutputContainer, codec: str, video: OwnVideo, answers: Sequence[AnswerPicture]
) -> None:
    height, width = film_size(*video.pictures[0].size)
    rate = video.frame_rate or UNKNOWN_RATE
    stream = container.add_stream(codec, rate=rate, options=OPTIONS[codec])
    pictures = cast(VideoStream, stream)
    pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
    pictures.codec_context.time_base = Fraction(1, TICKS)
    sound = _Sound(container, video)
    last = -1
    for time, drawn in _drawn(video, answers, height, width):
        frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
        last = max(last + 1, round(time * TICKS))  # an encoder wants them to rise
        frame.pts, frame.time_base = last, Fraction(1, TICKS)
        sound.encode_until(time)
        container.mux(pictures.encode(frame))
    sound.encode_until(None)
    container.mux(pictures.encode(None))


def _drawn(
    video: OwnVideo, answers: Sequence[AnswerPicture], height: int, width: int
) -> Iterator[tuple[Fraction, Image]]:
    """Every frame with the answer of its second, and the time from which it is shown."""
    shown, heat = -1, None
    with progress_bar("writing the film", len(answers)) as advance:
        for time, frame in every_frame(video.path):
            second = min(max(int(time), 0), len(answers) - 1)
            answer = answers[second]
            if second != shown:
                shown, heat = second, None
                advance()
                if answer.boxes is None:
                    heat = heat_picture(answer.heatmap, width, height)
            way = cv2.INTER_AREA if len(frame) > height else cv2.INTER_CUBIC
            scaled = np.asarray(cv2.resize(frame, (width, height), interpolation=way), np.uint8)
            yield time, film_frame(scaled, answer, heat)


class _Sound:
    """The sound of a video on its way into a film."""

    def __init__(self, container: OutputContainer, video: OwnVideo) -> None:
        self.container = container
        enough = (rate for rate in AAC_RATES if rate >= video.rate_hz)
        self.rate_hz = next(enough, AAC_RATES[-1])
        whole = resampled(torch.from_numpy(video.sound), video.rate_hz, self.rate_hz)
        self.samples = whole.clamp(-1, 1).numpy()
        self.stream: AudioStream = container.add_stream("aac", rate=self.rate_hz, layout="mono")
        self.done = 0

    def encode_until(self, time: Fraction | None) -> None:
        """Encodes what sounds before a time; None is the end."""
        end = len(self.samples) if time is None else int(time * self.rate_hz)
        while self.done < end and (time is None or self.done + BLOCK <= end):
            block = self.samples[None, self.done : self.done + BLOCK]
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.time_base = self.rate_hz, Fraction(1, self.rate_hz)
            frame.pts = self.done
            self.container.mux(self.stream.encode(frame))
            self.done += BLOCK
        if time is None:
            self.container.mux(self.stream.encode(None))
