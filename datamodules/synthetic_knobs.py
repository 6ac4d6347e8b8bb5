"""What a synthetic clip may have beyond a still of one object that sounds, and when it has it.

With every knob at its default a clip is one of ``synthetic-v1``. A knob draws from streams of its
own, so it leaves alone what the others draw.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BenchError, did_you_mean

MOTIONS = ("static", "onoff", "pulse")
FEWEST_MOVING = 3  # segments; with the middle one always on, two patterns are too few
LOWEST_SNR_DB, HIGHEST_SNR_DB = -20.0, 60.0

_QUIETEST, _SMALLEST, _DIMMEST = 0.1, 0.6, 0.4  # of a pulse: loudness, radius, colour

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class SyntheticKnobs:
    """Settings of clips that change over time, sound twice, deceive, or sound from elsewhere."""

    segments: int = 1  # T, each of the spec's seconds
    motion: str = "static"
    event_share: float = 1.0  # of the segments in which a source sounds; the middle one is on
    off_sounds: bool = False  # another class, not in the frame, is heard while no source sounds
    snr_db: tuple[float, float] | None = None  # range of the sound's power over that of noise
    sources: int = 1  # objects that sound
    offscreen: float = 0.0  # share of clips whose sound is of no object in the frame
    context: float = 0.0  # share of clips whose strip has the colour of the class that sounds
    background: float = 0.0  # share of training clips that are off the screen beside offscreen

    def changed(self) -> dict[str, object]:
        """The knobs that are not off, by name, as JSON holds them."""
        values = {knob.name: getattr(self, knob.name) for knob in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value != getattr(OFF, name)
        }


OFF = SyntheticKnobs()


def check_knobs(knobs: SyntheticKnobs) -> None:
    """Nothing, or an error where a knob has a value without meaning.

    Raises:
        BenchError: names the setting ``data.*``, its value and what it may be.
    """
    for complaint in _complaints(knobs):
        raise BenchError(complaint)


def _complaints(knobs: SyntheticKnobs) -> Iterator[str]:
    if knobs.segments < 1:
        yield f"data.segments={knobs.segments} must be at least 1"
    if knobs.motion not in MOTIONS:
        yield (
            f"data.motion={knobs.motion!r} is unknown;{did_you_mean(knobs.motion, MOTIONS)} "
            f"use one of {', '.join(MOTIONS)}"
        )
    if knobs.motion != "static" and knobs.segments < FEWEST_MOVING:
        yield (
            f"data.motion={knobs.motion} needs segments to change over, got data.segments="
            f"{knobs.segments}; set data.segments=10, or at least {FEWEST_MOVING}"
        )
    yield from _event_complaints(knobs)
    yield from _sound_complaints(knobs)
    for name in ("offscreen", "context", "background"):
        share = getattr(knobs, name)
        if not 0 <= share <= 1:
            yield f"data.{name}={share} must be a share of the clips, from 0 to 1"
    if knobs.offscreen == 1:
        yield "data.offscreen=1.0 leaves no clip with a source to localise; use less than 1"
    elif knobs.offscreen + knobs.background >= 1:
        yield (
            f"data.background={knobs.background} beside data.offscreen={knobs.offscreen} leaves no "
            "training clip with a source to learn; make their sum less than 1"
        )


def _event_complaints(knobs: SyntheticKnobs) -> Iterator[str]:
    share, segments = knobs.event_share, knobs.segments
    if not 0 < share <= 1:
        yield f"data.event_share={share} must be above 0 and at most 1"
    if share < 1 and segments == 1:
        yield f"data.event_share={share} needs segments to be off in; set data.segments=10"
    if share * segments < 1:
        yield (
            f"data.event_share={share} of {segments} segments is less than the middle one, which "
            f"is always on; use {1 / segments:.2g} or more"
        )
    if knobs.motion == "onoff" and not 1 < share * segments < segments:
        yield (
            f"data.motion=onoff with data.event_share={share} shows all objects in the same of "
            f"{segments} segments; use a share between {1 / segments:.2g} and 1, such as 0.5"
        )
    if knobs.off_sounds and share == 1:
        yield "data.off_sounds=true needs segments that are off; set data.event_share=0.75"


def _sound_complaints(knobs: SyntheticKnobs) -> Iterator[str]:
    if knobs.snr_db is not None:
        low, high = knobs.snr_db
        if not LOWEST_SNR_DB <= low <= high <= HIGHEST_SNR_DB:
            yield (
                f"data.snr_db_low={low} and data.snr_db_high={high} must be a range within "
                f"{LOWEST_SNR_DB:g} to {HIGHEST_SNR_DB:g} dB, the low end first"
            )
    if knobs.sources not in (1, 2):
        yield f"data.sources={knobs.sources} must be 1 or 2"
    for name in ("offscreen", "context", "background"):
        if knobs.sources == 2 and getattr(knobs, name):
            yield f"data.{name}={getattr(knobs, name)} is for one source; set data.sources=1"


class Timeline(NamedTuple):
    """What each of M objects does in T segments; column M is for a source that is not seen."""

    shown: Flags  # (T, M + 1)
    is_on: Flags  # (T, M + 1) whether the object sounds, if it is a source
    loudness: Floats  # (T, M + 1) in [0, 1]; 0 where it is off
    size: Floats  # (T, M + 1) factor of the radius
    light: Floats  # (T, M + 1) factor of the colour


def timeline(
    num_objects: int,
    knobs: SyntheticKnobs,
    pattern_rng: np.random.Generator,
    pulse_rng: np.random.Generator,
) -> Timeline:
    """Patterns over time, drawn for sources and silent objects by the same rule.

    Every column is on in as many segments as ``event_share`` says, up to one more where that is no
    whole number, and always in the middle one; there all objects are shown at their full size, so
    the frame of the middle segment is that of the still clip.
    """
    shape = (knobs.segments, num_objects + 1)
    is_on = _patterns(shape, knobs.event_share, pattern_rng)
    shown = is_on if knobs.motion == "onoff" else np.ones(shape, dtype=np.bool_)
    level, in_size = np.ones(shape), np.zeros(shape[1], dtype=np.bool_)
    if knobs.motion == "pulse":
        level = pulse_rng.random(shape)
        level[knobs.segments // 2] = 1
        in_size = pulse_rng.random(shape[1]) < 0.5  # the others pulse in brightness
    drop = 1 - level  # 0 in the middle, which leaves every factor at exactly 1
    loudness = np.where(is_on, 1 - (1 - _QUIETEST) * drop, 0)
    size = np.where(in_size, 1 - (1 - _SMALLEST) * drop, 1)
    light = np.where(in_size, 1, 1 - (1 - _DIMMEST) * drop)
    return Timeline(shown, is_on, loudness, size, light)


def _patterns(shape: tuple[int, int], share: float, rng: np.random.Generator) -> Flags:
    """Which of T segments are on, ``(T, columns)``: a share of them, and the middle one."""
    segments, columns = shape
    wanted = share * segments
    whole = math.floor(wanted)
    count = whole + (rng.random(columns) < wanted - whole)
    order = rng.random(shape)
    order[segments // 2] = -1
    rank = order.argsort(axis=0).argsort(axis=0)  # 0 for the middle segment
    return np.asarray(rank < count)
