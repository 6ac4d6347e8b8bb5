"""Sounds of ``synthetic-v1``: four families of voices at four pitches, read from one sine table.

Bytes are the same everywhere by the rule of :mod:`datamodules.synthetic_generator`.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FAMILIES = ("harmonic", "gated", "noise", "chirp")
PITCHES_HZ = (300.0, 424.26, 600.0, 848.53)  # half an octave apart
FULL_SCALE = 32767

_PITCH_JITTER = 0.16  # 0.19 would reach the pitch half way to the neighbour
_TABLE_BITS = 12

Floats = NDArray[np.float64]
Samples = NDArray[np.int64]


class Length(NamedTuple):
    """How long a sound is, and how finely sampled."""

    samples: int
    sample_rate_hz: int


class Voice(NamedTuple):
    """One sound of a class, before it is put together."""

    tone: Floats  # (S,) in [-1, 1]
    hiss: Floats  # (S,) in [-0.1, 0.1]
    level: float  # of both, 0.25 to 0.75

    def track(self) -> Floats:
        """The sound ``(S,)`` in units of 16 bits, not rounded."""
        return np.asarray(FULL_SCALE * self.level * (self.tone + self.hiss) / 1.1)


def voice(label: int, length: Length, rng: np.random.Generator) -> Voice:
    """A sound of a class: its family at its pitch, its level, and noise."""
    family, pitch = divmod(label, len(PITCHES_HZ))
    pitch_hz = PITCHES_HZ[pitch] * (1 + _PITCH_JITTER * (2 * rng.random() - 1))
    tone = _TONES[FAMILIES[family]](pitch_hz, length, rng)
    level, hiss = 0.25 + 0.5 * rng.random(), 0.01 + 0.09 * rng.random()
    return Voice(tone, hiss * white_noise(length, rng), level)


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
    quarter = (phase + 2 ** (_TABLE_BITS - 2)) % 2**_TABLE_BITS
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
    return np.asarray((phase % 2**32) >> (32 - _TABLE_BITS))


def _tremolo(length: Length, rng: np.random.Generator) -> Floats:
    rate_hz, depth = 3 + 4 * rng.random(), 0.4 * rng.random()
    swing = _sine_table()[_phase(rate_hz, length, rng)] / FULL_SCALE
    return np.asarray(1 - depth * (1 + swing) / 2)
