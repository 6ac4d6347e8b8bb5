"""Decoding of still images and of sound files, and the reasons why one cannot be decoded."""

import re
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as tv

UNKNOWN_LENGTH = 0xFFFFFFFF  # data size of a WAV that was written to a pipe, as ffmpeg does


class UnreadableMediaError(Exception):
    """A file that cannot be decoded; the message is the reason, without the path."""


def read_frame(path: Path, size: int) -> Tensor:
    """An image as RGB, upright by its EXIF orientation, squashed to a square.

    Grayscale, palette, CMYK and 16-bit images become 8-bit RGB; transparency is dropped.

    Args:
        path: JPEG or PNG file.
        size: side of the square in pixels.

    Returns:
        ``(3, size, size)`` uint8; bicubic with antialiasing, as the peers' PIL transforms.

    Raises:
        UnreadableMediaError: the file is missing, empty, truncated or no still image.
    """
    frame = _decoded(path)
    if frame.shape[-2:] == (size, size):
        return frame
    squashed: Tensor = tv.resize(frame, [size, size], tv.InterpolationMode.BICUBIC, antialias=True)
    return squashed


def read_sound(path: Path, sample_rate_hz: int, num_samples: int) -> Tensor:
    """The middle of a sound file: mono, at the asked rate, of exactly the asked length.

    Only the window is read. A sound shorter than the window is repeated from its start (EZ-VSL
    ``datasets.py:18-36`` at 95ff5bf). Resampling is a polyphase Kaiser filter.

    Args:
        path: WAV file, any rate, any number of channels (mixed down by their mean).
        sample_rate_hz: rate of the result.
        num_samples: length S of the result.

    Returns:
        ``(S,)`` float32 in [-1, 1].

    Raises:
        UnreadableMediaError: the file is missing, empty, truncated or not finite in the window.
    """
    samples, native_hz = _middle(path, num_samples / sample_rate_hz)
    divisor = gcd(native_hz, sample_rate_hz)
    if native_hz != sample_rate_hz:
        samples = resample_poly(samples, sample_rate_hz // divisor, native_hz // divisor)
    return torch.from_numpy(samples[:num_samples].clip(-1.0, 1.0))


def frame_defect(path: Path) -> str | None:
    """Why an image cannot be used, or None; decodes all of it."""
    try:
        _decoded(path)
    except UnreadableMediaError as error:
        return str(error)
    return None


def sound_defect(path: Path) -> str | None:
    """Why a sound cannot be used, or None.

    Integer PCM is judged by its header and its size; every other coding is decoded to its end and
    must be finite throughout.
    """
    try:
        with _opened(path) as sound:
            if not sound.subtype.startswith("PCM_"):
                _finite(sound.read(dtype="float32"))
    except (UnreadableMediaError, soundfile.SoundFileError) as error:
        return _reason(error)
    return None


def _decoded(path: Path) -> Tensor:
    encoded = _bytes(path)
    try:
        frame: Tensor = decode_image(
            torch.from_numpy(encoded), ImageReadMode.RGB, apply_exif_orientation=True
        )
    except RuntimeError as error:
        raise UnreadableMediaError(_reason(error)) from error
    if frame.ndim != 3:
        raise UnreadableMediaError("an animation, not a still image")
    if frame.dtype == torch.uint16:
        frame = frame.to(torch.int32).div(257, rounding_mode="floor").to(torch.uint8)
    return frame


def _bytes(path: Path) -> NDArray[np.uint8]:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UnreadableMediaError(error.strerror or str(error)) from error
    if not len(content):
        raise UnreadableMediaError("the file is empty")
    return content


def _middle(path: Path, seconds: float) -> tuple[NDArray[np.float32], int]:
    """The window at the native rate, never shorter than ``seconds``, and that rate."""
    with _opened(path) as sound:
        length = int(np.ceil(seconds * sound.samplerate))
        try:
            sound.seek(max(0, (sound.frames - length) // 2))
            window = sound.read(length, dtype="float32", always_2d=True)  # (samples, channels)
        except soundfile.SoundFileError as error:
            raise UnreadableMediaError(_reason(error)) from error
        mono = window @ np.full(sound.channels, 1 / sound.channels, np.float32)
        _finite(mono)
        if not len(mono):
            raise UnreadableMediaError("the sound ends before its middle")
        return np.tile(mono, -(-length // len(mono)))[:length], sound.samplerate


def _opened(path: Path) -> soundfile.SoundFile:
    """The sound file, or the reason why it holds less than its header says."""
    try:
        sound = soundfile.SoundFile(path)
    except (OSError, soundfile.SoundFileError) as error:
        reason = "the file is empty" if _is_empty(path) else _reason(error)
        raise UnreadableMediaError(reason) from error
    promised, held = _data_bytes(path)
    if sound.frames and promised <= held:
        return sound
    sound.close()
    if promised > held:
        raise UnreadableMediaError(f"truncated: the header says {promised} bytes, {held} are there")
    raise UnreadableMediaError("the sound has no samples")


def _data_bytes(path: Path) -> tuple[int, int]:
    """Bytes of sound that a RIFF header promises and that the file holds; (0, 0) where unknown.

    libsndfile shortens a truncated sound to what is there without an error.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0, 0
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                held = size - file.tell()
                return (0, 0) if length == UNKNOWN_LENGTH else (length, held)
            file.seek(length + length % 2, 1)
    return 0, 0


def _finite(samples: NDArray[np.float32]) -> None:
    if not np.isfinite(samples).all():
        raise UnreadableMediaError("the sound holds NaN or infinite samples")


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def _reason(error: Exception) -> str:
    """The first line of a decoder's message, without source positions and paths."""
    if isinstance(error, soundfile.LibsndfileError):
        return str(error.error_string)
    return re.sub(r"^.*\.cpp:\d+, ", "", str(error).partition("\n")[0])
