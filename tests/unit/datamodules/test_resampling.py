"""Resampling keeps tones and their place, and is what methods hear of an unprepared sound."""

import numpy as np
import pytest
import torch

from datamodules import media
from datamodules.resampling import resampled

RATES = [(44100, 16000), (48000, 16000), (22050, 16000), (8000, 16000), (16000, 44100),
         (44100, 48000), (11025, 16000), (44099, 16000)]  # fmt: skip


@pytest.mark.parametrize(("rate_hz", "wanted_hz"), RATES)
@pytest.mark.parametrize("seconds", [0.003, 1.7])
def test_it_is_what_a_method_hears_of_a_sound_at_its_own_rate(
    rate_hz: int, wanted_hz: int, seconds: float
) -> None:
    rng = np.random.default_rng(rate_hz)
    sound = rng.uniform(-1, 1, round(seconds * rate_hz)).astype(np.float32)

    expected = media.resampled(torch.from_numpy(sound), rate_hz, wanted_hz).numpy()

    got = resampled(sound, rate_hz, wanted_hz)
    assert np.float32 == got.dtype
    assert len(expected) == len(got)
    assert np.abs(expected - got).max() < 2**-15  # a 16-bit step: its sinc is of float32


@pytest.mark.parametrize(("rate_hz", "wanted_hz"), [(44100, 16000), (48000, 16000), (8000, 16000)])
def test_it_keeps_a_tone_and_its_place(rate_hz: int, wanted_hz: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz).astype(np.float32)

    got = resampled(tone, rate_hz, wanted_hz)

    expected = np.sin(2 * np.pi * 440 * np.arange(wanted_hz) / wanted_hz)
    assert wanted_hz == len(got)
    assert np.abs(got - expected)[500:-500].max() < 1e-3


def test_it_removes_what_the_lower_rate_cannot_hold() -> None:
    tone = np.sin(2 * np.pi * 9000 * np.arange(48000) / 48000).astype(np.float32)

    assert np.abs(resampled(tone, 48000, 16000)[500:-500]).max() < 1e-4


@pytest.mark.parametrize(("rate_hz", "wanted_hz"), [(44100, 16000), (384000, 1000), (1000, 384000)])
@pytest.mark.parametrize("length", [1, 159, 1000, 300000])
def test_it_gives_the_length_of_the_sound(rate_hz: int, wanted_hz: int, length: int) -> None:
    if length * wanted_hz / rate_hz > 1e6:
        length = 5000

    got = resampled(np.ones(length, np.float32), rate_hz, wanted_hz)

    assert -(-length * wanted_hz // rate_hz) == len(got)


def test_an_equal_rate_is_the_sound_itself() -> None:
    sound = np.ones(10, np.float32)

    assert sound is resampled(sound, 16000, 16000)
