"""Decoding of still images and of sound files, and the reasons why one cannot be decoded."""

import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from io import BytesIO, FileIO
from math import ceil, floor
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchaudio.transforms import Resample
from torchvision.io import ImageReadMode, decode_image

from datamodules.clip import SQUASHED, Inputs, Resizing
from datamodules.resampling import BETA, ROLLOFF, ZEROS, period_and_step

FORM = struct.Struct("<HHIIHH")  # the chunk "fmt " of a WAV file
PLAIN_INTEGERS = 1  # its coding where samples are held as they are
COMPRESSED = ("FLAC", "OGG", "MP3")
LARGEST_OGG_PAGE = 65307  # bytes
USUAL_HEADER = 256  # bytes that hold the header of most WAV files
UNKNOWN_LENGTH = 0xFFFFFFFF  # data size of a WAV that was written to a pipe, as ffmpeg does
CHECKED_AT_ONCE = 1 << 20  # samples


class UnreadableMediaError(Exception):
    """A file that cannot be decoded; the message is the reason, without the path."""


class Part(Protocol):
    """A part of a larger file that stands for a file of its own."""

    def open(self) -> FileIO:
        """The part, from its first byte to its last; OSError where it cannot be had."""


Media = Path | Part


def read_frame(path: Media, size: int, resizing: Resizing = SQUASHED) -> Tensor:
    """An image as RGB, upright by its EXIF orientation, as a square.

    Grayscale, palette, CMYK and 16-bit images become 8-bit RGB; transparency is dropped.

    Args:
        path: JPEG or PNG file.
        size: side of the square in pixels.
        resizing: what becomes of other shapes.

    Returns:
        ``(3, size, size)`` uint8; if not said otherwise squashed, bicubic with antialiasing, as the
        peers' PIL transforms.

    Raises:
        UnreadableMediaError: the file is missing, empty, truncated or no still image.
    """
    return square(_decoded(path).permute(1, 2, 0), size, resizing)  # (H, W, 3) as decoders write


def read_picture(path: Media) -> Tensor:
    """An image as :func:`read_frame` has it, at its own size: ``(3, H, W)`` uint8.

    Raises:
        UnreadableMediaError: the file is missing, empty, truncated or no still image.
    """
    return _decoded(path)


def square(pixels: Tensor, size: int, resizing: Resizing = SQUASHED) -> Tensor:
    """A picture as a square, as :func:`read_frame` has it.

    Args:
        pixels: ``(H, W, 3)`` uint8.
        size: side of the square.
        resizing: what becomes of other shapes.

    Returns:
        ``(3, size, size)`` uint8.
    """
    if pixels.shape[:2] != (size, size):
        height, width = pixels.shape[:2]
        sides = covering(height, width, size) if resizing.crop else (size, size)
        top, left = middle_square(*sides, size)
        resized = _resized(pixels, sides, resizing)
        pixels = resized[top : top + size, left : left + size]
    planes = np.empty((3, size, size), np.uint8)
    cv2.split(
        pixels.contiguous().numpy(), list(planes)
    )  # a quarter of the time that contiguous() takes
    return torch.from_numpy(planes)


def covering(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width of a picture whose short side becomes ``size``; the other is cut to pixels.

    As ``torchvision.transforms.Resize(size)`` has them.

    >>> covering(480, 641, 224)
    (224, 299)
    """
    short = min(height, width)
    return size * height // short, size * width // short


def middle_square(height: int, width: int, size: int) -> tuple[int, int]:
    """First row and first column of the middle square, as ``torchvision`` rounds them: to even.

    >>> middle_square(224, 299, 224), middle_square(225, 227, 224)
    ((0, 38), (0, 2))
    """
    return round((height - size) / 2), round((width - size) / 2)


def middle_of(picture: Tensor) -> Tensor:
    """The middle square of a picture ``(H, W, ...)``, as large as its short side."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = middle_square(height, width, side)
    return picture[top : top + side, left : left + side]


def _resized(pixels: Tensor, sides: tuple[int, int], resizing: Resizing) -> Tensor:
    """``(*sides, 3)`` uint8 as torchvision's resize has it, without its 0.1 ms of checks."""
    batch = pixels.contiguous().unsqueeze(0).permute(0, 3, 1, 2)  # (1, 3, H, W)
    if resizing.antialias:
        resized = F.interpolate(batch, sides, mode=resizing.filter, antialias=True)
    else:  # of bytes torch would sum in whole numbers
        exact = F.interpolate(batch.float(), sides, mode=resizing.filter, align_corners=False)
        resized = exact.round().clamp(0, 255).to(torch.uint8)
    return resized.permute(0, 2, 3, 1)[0]


def read_windows(
    path: Media,
    sample_rate_hz: int,
    num_samples: int,
    centres_seconds: Sequence[float] | None = None,
) -> Tensor:
    """Windows of a sound file: mono, at the asked rate, each of exactly the asked length.

    A window that would leave the sound is moved inside. A sound shorter than a window is repeated
    from its start (EZ-VSL ``datasets.py:18-36`` at 95ff5bf). Only the span of the windows is read,
    with as much on either side as the filter sees, so a window has the samples that it has in the
    whole sound (see :func:`resampled`).

    Args:
        path: WAV, FLAC, Ogg or MP3 file, any rate, any number of channels (mixed by their mean).
        sample_rate_hz: rate of the result.
        num_samples: length S of a window.
        centres_seconds: T times, where the windows have their middle; None for one window in the
            middle of the sound.

    Returns:
        ``(T, S)`` float32 in [-1, 1].

    Raises:
        UnreadableMediaError: the file is missing, empty, truncated, no sound, or not finite in the
            span.
    """
    with _opened(path) as sound:
        rates = _rates(sound.rate_hz, sample_rate_hz)
        available = rates.converted(sound.frames)
        starts = _window_starts(available, num_samples, rates.exact_hz, centres_seconds)
        first, last = min(starts), min(available, max(starts) + num_samples)
        samples = _span(sound, rates, first, last)
    if available < num_samples:
        samples = np.tile(samples, ceil(num_samples / available))
    windows = [samples[start - first :][:num_samples] for start in starts]
    return torch.from_numpy(np.stack(windows) if len(windows) > 1 else windows[0][None])


def read_window_from(
    path: Media, sample_rate_hz: int, num_samples: int, start_seconds: float
) -> Tensor:
    """The window of a sound file from a time on: mono, at the asked rate, of the asked length.

    The sound counts as repeated from its start as often as it takes, so a window may leave it, as
    those of LVS and SSLalignment do. Otherwise as :func:`read_windows`.

    Args:
        path: WAV, FLAC, Ogg or MP3 file.
        sample_rate_hz: rate of the result.
        num_samples: length S of the window.
        start_seconds: where it begins.

    Returns:
        ``(S,)`` float32 in [-1, 1].

    Raises:
        UnreadableMediaError: as :func:`read_windows`.
    """
    with _opened(path) as sound:
        rates = _rates(sound.rate_hz, sample_rate_hz)
        available = rates.converted(sound.frames)
        first = round(start_seconds * rates.exact_hz)
        if first + num_samples <= available:
            samples = _span(sound, rates, first, first + num_samples)
        else:
            places = np.arange(first, first + num_samples) % available
            samples = _span(sound, rates, 0, available)[places]
    return torch.from_numpy(samples)


def segment_centres(inputs: Inputs, middle_seconds: float) -> list[float]:
    """Times of the T windows of a still frame: side by side, around the time of the frame.

    >>> segment_centres(Inputs(num_segments=4, segment_seconds=1.0), 5.0)
    [3.5, 4.5, 5.5, 6.5]
    """
    first = middle_seconds - (inputs.num_segments - 1) * inputs.segment_seconds / 2
    return [first + each * inputs.segment_seconds for each in range(inputs.num_segments)]


def still_windows(media: Media, inputs: Inputs, middle_seconds: float | None) -> Tensor:
    """Sound of the T segments of a still frame, around a time in the sound or around its middle.

    Args:
        media: sound file.
        inputs: T, rate and length of the windows, and where they begin if not around the frame.
        middle_seconds: time of the frame, around which the windows then lie whatever ``inputs``
            say; None for the middle of the sound.

    Returns:
        ``(T, S)`` float32 in [-1, 1]; see :func:`read_windows` for windows that
        leave the sound and for sounds that are shorter than one.

    Raises:
        UnreadableMediaError: the sound cannot be read.
    """
    start = inputs.sound_start_seconds
    if middle_seconds is None and start is not None:
        window = read_window_from(media, inputs.sample_rate_hz, inputs.segment_samples, start)
        return window.expand(inputs.num_segments, -1)
    if middle_seconds is None and inputs.num_segments > 1:
        middle_seconds = sound_seconds(media) / 2
    centres = None if middle_seconds is None else segment_centres(inputs, middle_seconds)
    return read_windows(media, inputs.sample_rate_hz, inputs.segment_samples, centres)


def windows_of(
    waveform: Tensor,
    native_hz: int,
    sample_rate_hz: int,
    num_samples: int,
    centres_seconds: Sequence[float],
) -> Tensor:
    """Windows of a sound in memory, as :func:`read_windows` has those of a file.

    Args:
        waveform: ``(N,)`` float32, of at least one sample.
        native_hz: its rate.
        sample_rate_hz: rate of the result.
        num_samples: length S of a window.
        centres_seconds: T times, where the windows have their middle.

    Returns:
        ``(T, S)`` float32 in [-1, 1].
    """
    samples = resampled(waveform, native_hz, sample_rate_hz).clamp(-1, 1)
    rate_hz = _rates(native_hz, sample_rate_hz).exact_hz
    starts = _window_starts(len(samples), num_samples, rate_hz, centres_seconds)
    samples = samples.repeat(ceil(num_samples / len(samples)))
    return torch.stack([samples[start:][:num_samples] for start in starts])


def read_sound(path: Media, sample_rate_hz: int, num_samples: int) -> Tensor:
    """The middle of a sound file, ``(S,)`` float32 in [-1, 1]; see :func:`read_windows`."""
    return read_windows(path, sample_rate_hz, num_samples)[0]


def sound_seconds(path: Media) -> float:
    """Length of a sound file by its header; raises UnreadableMediaError as :func:`read_windows`."""
    with _opened(path) as sound:
        return sound.frames / sound.rate_hz


def sound_peak(path: Path) -> float:
    """Largest magnitude of a sound file, full scale being 1; raises UnreadableMediaError."""
    with _opened(path) as sound:
        starts = range(0, sound.frames, CHECKED_AT_ONCE)
        parts = (sound.mono(start, min(sound.frames, start + CHECKED_AT_ONCE)) for start in starts)
        return max(float(np.abs(part).max()) for part in parts)


def resampled(waveform: Tensor, native_hz: int, sample_rate_hz: int) -> Tensor:
    """Sound at another rate, by torchaudio's windowed sinc with a Kaiser window.

    ``ZEROS`` zero crossings on either side, cut off at ``ROLLOFF`` of the lower of
    the two Nyquist frequencies. Beyond its ends the sound counts as silent. A ratio of rates that
    needs terms above ``LARGEST_RATIO_TERM`` is taken as the nearest one that does not; the pitch
    is then off by one part in 4,000 at most.

    Args:
        waveform: ``(..., S)`` float32.
        native_hz: its rate.
        sample_rate_hz: rate of the result.

    Returns:
        ``(..., ceil(S * sample_rate_hz / native_hz))`` float32; the input where the rates agree.
    """
    rates = _rates(native_hz, sample_rate_hz)
    if rates.are_equal:
        return waveform
    converted: Tensor = _resampler(rates.period, rates.step)(waveform)
    return converted


def frame_defect(path: Media) -> str | None:
    """Why an image cannot be used, or None; decodes all of it."""
    try:
        _decoded(path)
    except UnreadableMediaError as error:
        return str(error)
    return None


def sound_defect(path: Media) -> str | None:
    """Why a sound cannot be used, or None.

    Integer PCM is judged by its header and its size; every other coding is decoded to its end and
    must be finite throughout.
    """
    try:
        with _opened(path) as sound:
            if not sound.is_sized:
                for first in range(0, sound.frames, CHECKED_AT_ONCE):
                    sound.mono(first, min(sound.frames, first + CHECKED_AT_ONCE))
    except UnreadableMediaError as error:
        return str(error)
    return None


def _decoded(path: Media) -> Tensor:
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


def _bytes(path: Media) -> NDArray[np.uint8]:
    try:
        with _file(path) as file:
            content = np.empty(file.seek(0, os.SEEK_END), np.uint8)
            file.seek(0)
            file.readinto(content)  # type: ignore[arg-type]
    except OSError as error:
        raise UnreadableMediaError(_reason(error)) from error
    if not len(content):
        raise UnreadableMediaError("the file is empty")
    return content


def _file(path: Media) -> FileIO:
    return FileIO(path) if isinstance(path, Path) else path.open()


class _Rates(NamedTuple):
    """Two rates by their ratio: ``period`` native samples last as long as ``step`` others."""

    period: int
    step: int
    exact_hz: float  # of the result; not the asked rate where the ratio is rounded

    @property
    def are_equal(self) -> bool:
        return self.period == self.step

    def converted(self, frames: int) -> int:
        """Samples of the result for so many native ones."""
        return -(-frames * self.step // self.period)


@lru_cache(maxsize=32)
def _rates(native_hz: int, sample_rate_hz: int) -> _Rates:
    period, step = period_and_step(native_hz, sample_rate_hz)
    return _Rates(period, step, native_hz * step / period)


@lru_cache(maxsize=32)
def _resampler(period: int, step: int) -> Resample:
    return Resample(
        period,
        step,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=ZEROS,
        rolloff=ROLLOFF,
        beta=BETA,
    )


def _window_starts(
    available: int, num_samples: int, rate_hz: float, centres_seconds: Sequence[float] | None
) -> list[int]:
    """First samples of windows inside a sound of so many samples; 0 where it is too short."""
    latest = max(0, available - num_samples)
    if centres_seconds is None:
        return [latest // 2]
    starts = (floor(centre * rate_hz - num_samples / 2 + 0.5) for centre in centres_seconds)
    return [min(max(start, 0), latest) for start in starts]


def _span(sound: "_Sound", rates: _Rates, first: int, last: int) -> NDArray[np.float32]:
    """Samples ``first`` to ``last`` of the resampled sound, from the native samples they need.

    The part that is read begins at a whole number of periods, where a native sample and one of the
    result coincide: the filter then has the phases that it has in the whole sound.
    """
    if rates.are_equal:
        samples = sound.mono(first, last)
        return samples if sound.is_sized else samples.clip(-1, 1)
    period, step = rates.period, rates.step
    margin = ceil(ZEROS * max(1.0, period / step) / ROLLOFF)
    begin = max(0, (first // step) - ceil(margin / period))
    end = min(sound.frames, ceil(last / step) * period + margin + 1)
    native = torch.from_numpy(sound.mono(begin * period, end))
    needed = _resampler(period, step)(native)[first - begin * step : last - begin * step]
    converted: NDArray[np.float32] = needed.clamp_(-1, 1).numpy()
    return converted


class _Sound(NamedTuple):
    """An open sound file."""

    rate_hz: int
    frames: int
    is_sized: bool  # plain integers, within full scale, as many as the header says
    read: Callable[[int, int], NDArray[np.float32]]  # first, last -> (samples, channels)

    def mono(self, first: int, last: int) -> NDArray[np.float32]:
        """Samples ``first`` to ``last`` at the native rate, channels mixed by their mean."""
        try:
            window = self.read(first, last)  # (samples, channels)
        except (OSError, soundfile.SoundFileError) as error:
            raise UnreadableMediaError(_reason(error)) from error
        if len(window) < last - first:
            there = first + len(window)
            raise UnreadableMediaError(
                f"truncated: the header says {self.frames} samples, {there} are there"
            )
        channels = window.shape[1]
        return window[:, 0] if channels == 1 else window @ np.full(channels, 1 / channels, "f4")


class _WavForm(NamedTuple):
    """The chunk ``fmt `` of a WAV file."""

    coding: int
    channels: int
    rate_hz: int
    bytes_per_second: int
    bytes_per_frame: int
    bits: int

    @property
    def is_int16(self) -> bool:
        plain = self.coding == PLAIN_INTEGERS and self.bits == 16
        return plain and self.bytes_per_frame == 2 * self.channels > 0 < self.rate_hz


class _Wav(NamedTuple):
    """What the header of a WAV file says, and how many bytes of sound the file holds."""

    form: _WavForm
    data_start: int  # position in the file
    promised: int  # bytes of sound; as many as are there where the header leaves it open
    held: int


@contextmanager
def _opened(path: Media) -> Iterator[_Sound]:
    """The sound file, or the reason why it holds less than its header says."""
    try:
        file = _file(path)
    except OSError as error:
        raise UnreadableMediaError(_reason(error)) from error
    with file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if not size:
            raise UnreadableMediaError("the file is empty")
        wav = _wav(file, size)
        if wav is not None and wav.promised > wav.held:
            raise UnreadableMediaError(
                f"truncated: the header says {wav.promised} bytes, {wav.held} are there"
            )
        if wav is not None and wav.form.is_int16:
            yield _with_samples(_int16_sound(file, wav))
            return
        file.seek(0)
        if file.read(4) == b"OggS" and not _is_whole_ogg(file, size):
            raise UnreadableMediaError("truncated: its last page is not there")
    try:
        sound = soundfile.SoundFile(path if isinstance(path, Path) else BytesIO(_bytes(path).data))
    except (OSError, soundfile.SoundFileError) as error:
        raise UnreadableMediaError(_reason(error)) from error
    with sound:
        if wav is None and sound.format not in COMPRESSED:
            raise UnreadableMediaError(f"{sound.format}, which is not WAV, FLAC, Ogg or MP3")
        yield _with_samples(_decoded_sound(sound, is_wav=wav is not None))


def _with_samples(sound: _Sound) -> _Sound:
    if not sound.frames:
        raise UnreadableMediaError("the sound has no samples")
    return sound


def _int16_sound(file: FileIO, wav: _Wav) -> _Sound:
    """Reads plain 16-bit samples without libsndfile, which takes several times as long."""
    frames = wav.promised // wav.form.bytes_per_frame
    return _Sound(wav.form.rate_hz, frames, True, partial(_int16_samples, file, wav))


def _int16_samples(file: FileIO, wav: _Wav, first: int, last: int) -> NDArray[np.float32]:
    bytes_per_frame = wav.form.bytes_per_frame
    file.seek(wav.data_start + first * bytes_per_frame)
    content = file.read((last - first) * bytes_per_frame)
    samples = np.frombuffer(content, "<i2").reshape(-1, wav.form.channels).astype(np.float32)
    samples *= np.float32(2**-15)
    return samples


def _decoded_sound(file: soundfile.SoundFile, *, is_wav: bool) -> _Sound:
    is_sized = is_wav and file.subtype.startswith("PCM_")
    return _Sound(file.samplerate, file.frames, is_sized, partial(_decoded_samples, file))


def _decoded_samples(file: soundfile.SoundFile, first: int, last: int) -> NDArray[np.float32]:
    begin = 0 if file.format == "MP3" else first  # a jump into an MP3 misses by thousands
    file.seek(begin)
    samples: NDArray[np.float32] = file.read(last - begin, dtype="float32", always_2d=True)
    window = samples[first - begin :]
    if not np.isfinite(window).all():
        raise UnreadableMediaError("the sound holds NaN or infinite samples")
    return window


def _is_whole_ogg(file: FileIO, size: int) -> bool:
    """Whether the last page of an Ogg file is all there and says that it is the last."""
    file.seek(max(0, size - LARGEST_OGG_PAGE))
    tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    return bool(lengths) and bool(page[5] & 4) and len(page) >= 27 + len(lengths) + sum(lengths)


def _wav(file: FileIO, size: int) -> _Wav | None:
    """The header of a WAV file, or None where it is another file or has no such header.

    libsndfile shortens a truncated sound to what is there without an error.
    """
    head, place = file.read(USUAL_HEADER), 12
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    form: _WavForm | None = None
    while True:
        chunk = head[place : place + 8 + FORM.size]
        if len(chunk) < 8 + FORM.size:
            file.seek(place)
            chunk = file.read(8 + FORM.size)
        if len(chunk) < 8:
            return None
        length, place = int.from_bytes(chunk[4:8], "little"), place + 8
        if chunk[:4] == b"data" and form is not None:
            promised = size - place if length == UNKNOWN_LENGTH else length
            return _Wav(form, place, promised, held=size - place)
        if chunk[:4] == b"fmt " and len(chunk) == 8 + FORM.size <= 8 + length:
            form = _WavForm._make(FORM.unpack_from(chunk, 8))
        place += length + length % 2


def _reason(error: Exception) -> str:
    """The first line of a decoder's message, without source positions and paths."""
    if isinstance(error, soundfile.LibsndfileError):
        return str(error.error_string)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return re.sub(r"^.*\.cpp:\d+, ", "", str(error).partition("\n")[0])
