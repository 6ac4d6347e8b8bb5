"""One clip: from a video to the encoded files of a data root."""

import hashlib
import io
import json
import os
import shutil
import time
import uuid
import wave
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from datamodules.atomic_files import UNFINISHED
from datamodules.cache import FileEntry
from datamodules.preparation_manifest import PREPARED, REFUSED, ClipEntry, StreamEntry
from datamodules.resampling import resampled
from datamodules.video import VideoClip, read_clip, video_seconds
from datamodules.video_frames import Picture
from datamodules.video_sets import Needs
from datamodules.video_streams import UnreadableVideoError

FULL_SCALE = 1 << 15
LARGEST_JPEG = 65535  # pixels of a side


class Form(NamedTuple):
    """How frames and sounds are stored."""

    short_side: int | None = None  # of larger frames, in pixels; None keeps the size
    quality: int = 95  # of the JPEG
    rate_hz: int | None = None  # of the sound; None keeps the rate


AS_IT_IS = Form()


class Candidate(NamedTuple):
    """A video that holds a clip."""

    name: str  # path below the folder of videos
    bytes: int
    start_seconds: int


class ClipJob(NamedTuple):
    """A clip that is to be prepared."""

    id: str
    candidates: tuple[Candidate, ...]  # tried in this order
    needs: Needs
    form: Form
    videos: Path
    root: Path
    writes: bool


class PreparedClip(NamedTuple):
    """What a root holds of a clip."""

    files: dict[str, bytes]  # by path below the root
    clip: VideoClip[bytes]
    missing: tuple[str, ...]  # frames that the video is too short for


class ClipOutcome(NamedTuple):
    """What became of a clip, and what it cost."""

    entry: ClipEntry
    seconds: float
    bytes: int


class NotWritten(NamedTuple):
    """A file could not be written, which is no fault of the clip."""

    words: str


def prepare_clip(
    video: Path, needs: Needs, form: Form = AS_IT_IS, *, start_seconds: int = 0
) -> PreparedClip:
    """The files that a data set needs of a clip, in memory: JPEG and 16-bit mono WAV.

    Args:
        video: the file.
        needs: frames, sound and length.
        form: how they are stored.
        start_seconds: where the clip starts in the video.

    Raises:
        UnreadableVideoError: see ``read_clip``; or the video or the sound ends before a frame.
    """
    length = video_seconds(video) if needs.frames.needs_length else Fraction(0)
    times = needs.frames.times(length)
    clip = read_clip(
        video,
        list(times.values()),
        lambda picture: encoded_picture(picture, form),
        start_seconds=start_seconds,
        seconds=needs.seconds,
    )
    found = dict(zip(times, clip.frames, strict=True))
    missing = tuple(name for name, frame in found.items() if frame is None)
    if missing and (needs.frames.needs_all or len(missing) == len(found)):
        raise UnreadableVideoError(f"the video ends before the frame at {_at(times[missing[0]])}")
    last = max(times.values(), default=Fraction(0))
    heard = len(clip.sound) / clip.rate_hz
    if needs.frames.needs_all and heard <= last:
        raise UnreadableVideoError(
            f"the sound ends at {heard:.2f} s, before the frame at {_at(last)}"
        )
    files = {name: frame for name, frame in found.items() if frame is not None}
    files[needs.sound] = encoded_sound(clip.sound, clip.rate_hz, form)
    return PreparedClip(files, clip, missing)


def encoded_picture(picture: Picture, form: Form) -> bytes:
    """A JPEG of an ``(H, W, 3)`` uint8 RGB picture, made smaller if its short side is too long.

    Raises:
        UnreadableVideoError: it is larger than a JPEG can be.
    """
    height, width = picture.shape[:2]
    short = min(height, width)
    if form.short_side is not None and short > form.short_side:
        size = tuple(round(side * form.short_side / short) for side in (width, height))
        picture = cast(Picture, cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    blue_first = np.ascontiguousarray(picture[..., ::-1])
    if max(blue_first.shape) > LARGEST_JPEG:
        raise UnreadableVideoError(f"a frame of {width} x {height} is too large for JPEG")
    _, encoded = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, form.quality])
    return bytes(encoded)


def encoded_sound(sound: NDArray[np.float32], rate_hz: int, form: Form) -> bytes:
    """A 16-bit mono WAV of ``(S,)`` float32 samples; louder ones than full scale are cut off."""
    if form.rate_hz is not None:
        sound, rate_hz = resampled(sound, rate_hz, form.rate_hz), form.rate_hz
    samples = np.rint(sound * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE - 1).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def plan_hash(needs: Needs, form: Form) -> str:
    """Identity of what is to be made of a clip."""
    rule = {"kind": type(needs.frames).__name__, **vars(needs.frames)}
    content = json.dumps([rule, needs.sound, needs.seconds, form], default=str, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def made_clip(job: ClipJob) -> ClipOutcome | NotWritten:
    """Prepares a clip from the first of its videos that can be read; run in a worker process.

    Where none can, or before they are made anew, its files below the root are removed.
    """
    cv2.setNumThreads(1)
    started = time.perf_counter()
    files, entry = _prepared(job)
    if job.writes:
        try:
            clear_places(job.root, job.needs.places)
            write_files(job.root, files)
        except OSError as error:
            return NotWritten(f"{error.filename or job.root} cannot be written ({error.strerror})")
    return ClipOutcome(entry, time.perf_counter() - started, sum(map(len, files.values())))


def clear_places(root: Path, places: Sequence[str]) -> None:
    """Removes the files and folders of a clip; a link is removed and not followed.

    Raises:
        OSError: that is not allowed, or a link would lead out of the root.
    """
    home = root.resolve()
    for place in places:
        path = root / place
        if not path.parent.resolve().is_relative_to(home):
            raise OSError(0, "a link leads out of the data root", str(path.parent))
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_files(root: Path, files: Mapping[str, bytes]) -> None:
    """Writes files below a root, each at once: it is not there, or it is whole.

    Raises:
        OSError: one cannot be written.
    """
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}{UNFINISHED}")
        try:
            unfinished.write_bytes(content)
        except OSError as error:  # a full disk does not say which file
            raise OSError(error.errno, error.strerror, str(path)) from error
        os.replace(unfinished, path)


def _prepared(job: ClipJob) -> tuple[dict[str, bytes], ClipEntry]:
    """The files and the entry of a clip; without files where no video can be used."""
    reasons: list[str] = []
    for candidate in job.candidates:
        try:
            prepared = prepare_clip(
                job.videos / candidate.name,
                job.needs,
                job.form,
                start_seconds=candidate.start_seconds,
            )
        except UnreadableVideoError as error:
            reasons.append(str(error))
            continue
        except Exception as error:  # whatever PyAV makes of one video, the others are prepared
            reasons.append(f"the reader failed ({type(error).__name__}: {error})")
            continue
        entry = _entry(job, candidate, PREPARED)
        entry["picture_stream"] = cast(StreamEntry, asdict(prepared.clip.picture_stream))
        entry["sound_stream"] = cast(StreamEntry, asdict(prepared.clip.sound_stream))
        entry["shown_seconds"] = [time for time in prepared.clip.shown_seconds if time is not None]
        entry["sound_seconds"] = round(len(prepared.clip.sound) / prepared.clip.rate_hz, 6)
        if prepared.missing:
            entry["missing"] = list(prepared.missing)
        entry["files"] = {
            name: FileEntry(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            for name, content in prepared.files.items()
        }
        return prepared.files, entry
    return {}, refused_entry(job, "; ".join(dict.fromkeys(reasons)))


def refused_entry(job: ClipJob, reason: str) -> ClipEntry:
    """The entry of a clip that cannot be made."""
    entry = _entry(job, job.candidates[0], REFUSED)
    entry["reason"] = reason
    return entry


def _entry(job: ClipJob, candidate: Candidate, status: str) -> ClipEntry:
    return ClipEntry(
        id=job.id,
        status=status,
        plan=plan_hash(job.needs, job.form),
        video=candidate.name,
        video_bytes=candidate.bytes,
    )


def _at(time: Fraction) -> str:
    return f"{float(time):.2f} s"
