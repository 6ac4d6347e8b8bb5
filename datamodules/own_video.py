"""A video of the user's own, second by second: the picture in its middle and the sound around."""

import hashlib
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.clip import Inputs
from datamodules.clip_folder import DIGEST_LENGTH
from datamodules.media import middle_of, square, windows_of
from datamodules.proposals import Extractor
from datamodules.video import VideoClip, read_clip, video_seconds
from datamodules.video_frames import Picture
from datamodules.video_streams import UnreadableVideoError
from metrics.errors import BenchError

LONGEST_SECONDS = 600  # their pictures are held in memory, and drawn on one sheet
MIDDLE = Fraction(1, 2)  # of a second, where its picture is taken


class SecondPicture(NamedTuple):
    """What is kept of the picture of a second."""

    frame: Tensor  # (3, H, W) uint8, the method's square
    small: Picture  # (h, w, 3) uint8 RGB in its own shape, for drawing
    searched: Picture | None  # (h, w, 3), what of it is searched for proposals
    content: str  # hash of the whole picture
    size: tuple[int, int]  # height and width of the whole picture


class OwnVideo(NamedTuple):
    """A video as a method is asked about it, N seconds."""

    path: Path
    pictures: tuple[SecondPicture, ...]  # N
    windows: Tensor  # (N, S) float32 in [-1, 1], the sound around the middle of each second
    sound: NDArray[np.float32]  # mono, from the first to the last frame
    rate_hz: int  # of it
    frame_rate: Fraction | None  # mean frames per second; None where the file does not say

    @property
    def times(self) -> list[float]:
        """The middle of each second."""
        return [float(second + MIDDLE) for second in range(len(self.pictures))]


def read_own_video(
    path: Path, inputs: Inputs, *, small_side: int, extractor: Extractor | None = None
) -> OwnVideo:
    """A video cut into seconds, for as long as a frame is shown in the middle of one.

    The sound is that of the video, mixed to mono, with silence where it starts later or ends before
    the pictures; what goes on after them is cut off. A window that would leave it is moved inside,
    and a sound shorter than a window is repeated, as :func:`datamodules.media.read_windows` does.

    Args:
        path: in any container.
        inputs: frames, rate and length of the windows, which always lie around their seconds.
        small_side: longer side of the pictures that are kept for drawing.
        extractor: of proposals, where they are asked for.

    Raises:
        BenchError: the video cannot be read, has no pictures or no sound, is damaged or truncated,
            or is shorter than half a second or longer than ``LONGEST_SECONDS``.
    """

    def kept(picture: Picture) -> SecondPicture:
        return _kept(picture, inputs, small_side, extractor)

    try:
        length = video_seconds(path)
        if length > LONGEST_SECONDS:
            raise BenchError(
                f"{path} is {float(length):.0f} s long; give a part of at most {LONGEST_SECONDS} s"
            )
        times = [second + MIDDLE for second in range(ceil(length - MIDDLE))]
        clip = read_clip(path, times, kept)
    except UnreadableVideoError as error:
        raise BenchError(
            f"{path} cannot be read: {error}; give a whole video that has pictures and sound"
        ) from error
    pictures = tuple(each for each in clip.frames if each is not None)
    if not pictures:
        raise BenchError(
            f"{path} is {float(length):.2f} s long; the first picture that is looked at is that at "
            f"{float(MIDDLE):g} s, give a longer video"
        )
    sound = _lasting(clip.sound, round(length * clip.rate_hz))
    centres = [float(time) for time in times[: len(pictures)]]
    windows = windows_of(
        torch.from_numpy(sound),
        clip.rate_hz,
        inputs.sample_rate_hz,
        inputs.segment_samples,
        centres,
    )
    return OwnVideo(path, pictures, windows, sound, clip.rate_hz, _rate(clip))


def blocks(count: int, segments: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The seconds that a method of T segments gets together, and which of the T are asked for.

    Blocks of T seconds follow each other; the last one is moved back to where it is whole, and
    only asked for what no other was. Fewer than T seconds are repeated to fill a block.

    >>> blocks(5, 2)
    [((0, 1), (0, 1)), ((2, 3), (0, 1)), ((3, 4), (1,))]
    >>> blocks(2, 3)
    [((0, 1, 0), (0, 1))]
    """
    if count < segments:
        return [(tuple(place % count for place in range(segments)), tuple(range(count)))]
    found = []
    for first in range(0, count, segments):
        start = min(first, count - segments)
        seconds = tuple(range(start, start + segments))
        found.append((seconds, tuple(range(first - start, segments))))
    return found


def _kept(
    picture: Picture, inputs: Inputs, small_side: int, extractor: Extractor | None
) -> SecondPicture:
    frame = square(torch.from_numpy(picture), inputs.image_size, inputs.resizing)
    if inputs.resizing.crop:
        picture = middle_of(torch.from_numpy(picture)).contiguous().numpy()
    height, width = picture.shape[:2]
    digest = hashlib.sha256(f"{height}x{width}".encode())
    digest.update(picture.tobytes())
    scale = small_side / max(height, width)
    small_size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return SecondPicture(
        frame=frame,
        small=np.asarray(cv2.resize(picture, small_size, interpolation=way), np.uint8),
        searched=None if extractor is None else extractor.scaled(picture).copy(),
        content=digest.hexdigest()[:DIGEST_LENGTH],
        size=(height, width),
    )


def _lasting(sound: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """A sound of so many samples, cut off or followed by silence."""
    return np.pad(sound[:samples], (0, max(0, samples - len(sound))))


def _rate(clip: VideoClip[SecondPicture]) -> Fraction | None:
    return Fraction(clip.picture_stream.rate) or None
