"""Sounds of ``synthetic-v1``: four families of voices at four pitches, read from one sine table.

Bytes are the same everywhere by the rule of :mod:`datamodules.synthetic_generator`.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, reduce
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

FAMILIES = ("harmonic", "gated", "noise", "chirp")
PITCHES_HZ = (300.0, 424.26, 600.0, 848.53)  # half an octave apart
FULL_SCALE = 32767

_HEADROOM = 0.99  # of full scale, when a mixture is turned down
_SIXTEENTH_DB = 0.9928302477768374  # amplitude, 10 ** (-1 / 320)
_PITCH_JITTER = 0.16  # 0.19 would reach the pitch half way to the neighbour
_TABLE_BITS = 12

Floats = NDArray[np.float64]
Samples = NDArray[np.int64]
Numbers = TypeVar("Numbers", NDArray[np.float64], NDArray[np.int16])


class Length(NamedTuple):
    """How long a sound is, and how finely sampled."""

    samples: int
    sample_rate_hz: int


class Voice(NamedTuple):
    """One sound of a class, before it is put together."""

    tone: Floats  # (S,) in [-1, 1]
    hiss: Floats  # (S,) in [-0.1, 0.1], there whether the tone is on or off
    level: float  # of both, 0.25 to 0.75

    def track(self, loudness: Floats | float = 1.0) -> Floats:
        """The sound ``(S,)`` in units of 16 bits, not rounded, its tone at a loudness in [0, 1]."""
        return np.asarray(FULL_SCALE * self.level * (loudness * self.tone + self.hiss) / 1.1)


def voice(label: int, length: Length, rng: np.random.Generator) -> Voice:
    """A sound of a class: its family at its pitch, its level, and noise."""
    family, pitch = divmod(label, len(PITCHES_HZ))
    pitch_hz = PITCHES_HZ[pitch] * (1 + _PITCH_JITTER * (2 * rng.random() - 1))
    tone = _TONES[FAMILIES[family]](pitch_hz, length, rng)
    level, hiss = 0.25 + 0.5 * rng.random(), 0.01 + 0.09 * rng.random()
    return Voice(tone, hiss * white_noise(length, rng), level)


def noise_track(
    sound: Floats, snr_db: tuple[float, float], length: Length, rng: np.random.Generator
) -> Floats:
    """White noise ``(S,)`` in units of 16 bits, its power below that of a sound by some decibels.

    Args:
        sound: samples in units of 16 bits, those that count.
        snr_db: range of the decibels; they are drawn in sixteenths.
        length: of the noise.
        rng: draws the decibels and the noise.
    """
    lowest, highest = (round(16 * bound) for bound in snr_db)
    steps = lowest + int(rng.random() * (highest - lowest + 1))
    factor = 1.0
    for _ in range(abs(steps)):  # a power function may differ in its last bit between machines
        factor *= _SIXTEENTH_DB
    power = int((rounded(sound).astype(np.int64) ** 2).sum()) / len(sound)
    largest = math.sqrt(3 * power)  # uniform noise in [-1, 1] has a mean square of 1/3
    amplitude = largest * (factor if steps >= 0 else 1 / factor)
    return np.asarray(amplitude * white_noise(length, rng))


def added(tracks: Sequence[Numbers]) -> Numbers:
    """Sum of tracks, one after the other."""
    return reduce(np.add, tracks)


def fitting_scale(sound: Floats) -> float:
    """Factor that keeps a sound within 16 bits: 1 unless it is too loud."""
    return min(1.0, _HEADROOM * FULL_SCALE / float(np.abs(sound).max()))


def rounded(track: Floats) -> NDArray[np.int16]:
    """A track within 16 bits as whole numbers."""
    return np.rint(track).astype(np.int16)


def white_noise(length: Length, rng: np.random.Generator) -> Floats:
    """Uniform noise ``(S,)`` in [-1, 1)."""
    return np.asarray(2 * rng.random(length.samples) - 1)


def _harmonic(pitch_hz: float, length: Length, rng: np.random.Generator) -> Floats:
    """Six partials that fall off as 1/k, with tremolo."""
    tone = _wavetable(range(1, 7), rng)[_phase(pitch_hz, length, rng)]
    return np.asarray(tone * _tremolo(length, rng))


def _gated(pitch_hz: float, length: Length, rng: np.random.Generator) -> Floats:
    """Odd partials, switched on and off five to ten times a second."""
    tone = _wavetable(range(1, 8, 2), rng)[_phase(pitch_hz, length, rng)]
    gate_hz, duty = 5 + 5 * rng.random(), 0.5 + 0.2 * rng.random()
    is_open = _phase(gate_hz, length, rng) < duty * 2**_TABLE_BITS
    return np.asarray(tone * is_open)


def _noise(pitch_hz: float, length: Length, rng: np.random.Generator) -> Floats:
    """Noise smoothed over 5 ms on two carriers in quadrature: a band of 200 Hz at the pitch."""
    window = length.sample_rate_hz // 200
    white = np.floor(256 * rng.random((2, length.samples + window))) - 128
    sums = np.cumsum(white, axis=1)
    smooth = (sums[:, window:] - sums[:, :-window]) / (3 * 74 * math.sqrt(window))  # std 1/3
    phase = _phase(pitch_hz, length, rng)
    sine = _sine_table() / FULL_SCALE
    quarter = (phase + 2 ** (_TABLE_BITS - 2)) & 2**_TABLE_BITS - 1
    return np.asarray(np.clip(smooth[0] * sine[phase] + smooth[1] * sine[quarter], -1, 1))


def _chirp(pitch_hz: float, length: Length, rng: np.random.Generator) -> Floats:
    """Sweeps of three partials from 0.75 to 1.25 of the pitch, two to five a second, up or down."""
    rate_hz, falls = 2 + 3 * rng.random(), rng.random() < 0.5
    progress = _phase(rate_hz, length, rng) / 2**_TABLE_BITS
    sweep = 0.75 + 0.5 * (1 - progress if falls else progress)
    return _wavetable(range(1, 4), rng)[_phase(pitch_hz * sweep, length, rng)]


_TONES: dict[str, Callable[[float, Length, np.random.Generator], Floats]] = {
    "harmonic": _harmonic,
    "gated": _gated,
    "noise": _noise,
    "chirp": _chirp,
}


@cache
def _sine_table() -> Samples:
    angle = 2 * np.pi * np.arange(2**_TABLE_BITS) / 2**_TABLE_BITS
    table: Samples = np.rint(FULL_SCALE * np.sin(angle)).astype(np.int64)
    table.setflags(write=False)
    return table


def _wavetable(partials: range, rng: np.random.Generator) -> Floats:
    """One period ``(4096,)`` in [-1, 1] of partials 1/k in random phases."""
    step = np.arange(2**_TABLE_BITS)
    table = np.zeros(2**_TABLE_BITS)
    for partial in partials:
        shift = int(rng.random() * 2**_TABLE_BITS)
        table += _sine_table()[(partial * step + shift) % 2**_TABLE_BITS] / partial
    return np.asarray(table / np.abs(table).max())


def _phase(frequency_hz: float | Floats, length: Length, rng: np.random.Generator) -> Samples:
    """Positions ``(S,)`` in a table of 4096, from 32-bit phases that wrap around exactly."""
    start = int(rng.random() * 2**32)
    step = np.rint(np.asarray(frequency_hz) / length.sample_rate_hz * 2**32).astype(np.int64)
    phase = start + np.cumsum(np.broadcast_to(step, (length.samples,)))
    return np.asarray((phase & 2**32 - 1) >> (32 - _TABLE_BITS))


def _tremolo(length: Length, rng: np.random.Generator) -> Floats:
    rate_hz, depth = 3 + 4 * rng.random(), 0.4 * rng.random()
    swing = _sine_table()[_phase(rate_hz, length, rng)] / FULL_SCALE
    return np.asarray(1 - depth * (1 + swing) / 2)
