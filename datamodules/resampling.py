"""Sound at another rate in numpy, as ``datamodules.media`` has it in torch.

Who prepares videos must not load torch into every process, and a sound that is stored at the rate
of a method must be the one that the method would have heard.
"""

from fractions import Fraction
from functools import lru_cache
from math import ceil

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

# Not from a paper; chosen by its response, 48 to 16 kHz: 7 kHz loses 0.04 dB, what lies beyond
# 8.2 kHz folds back at -86 dB. The default of torchaudio (6 zeros, Hann): 1.8 dB and -8 dB.
ZEROS, ROLLOFF, BETA = 32, 0.94, 8.5
LARGEST_RATIO_TERM = 2000  # 640/441 is the largest of usual rates; kernels grow by its square
STEP_AT_LEAST = 64  # results of one product; fewer make wide products of many rows
PRODUCT_AT_MOST = 1 << 18  # multiplications: above it, OpenBLAS starts threads in every process


def period_and_step(rate_hz: int, wanted_hz: int) -> tuple[int, int]:
    """Native samples of a period, and samples of the result in it, with terms that stay small.

    >>> period_and_step(44100, 16000), period_and_step(8000, 16000)
    ((441, 160), (1, 2))
    """
    ratio = Fraction(min(rate_hz, wanted_hz), max(rate_hz, wanted_hz))
    less, more = ratio.limit_denominator(LARGEST_RATIO_TERM).as_integer_ratio()
    return (more, less) if rate_hz > wanted_hz else (less, more)


def resampled(sound: NDArray[np.float32], rate_hz: int, wanted_hz: int) -> NDArray[np.float32]:
    """Sound at another rate, by a sinc with a Kaiser window; silent beyond its ends.

    The filter of ``media.resampled``, equal within a 16-bit step: its sinc is rounded to float32.

    Args:
        sound: ``(S,)`` float32.
        rate_hz: its rate.
        wanted_hz: rate of the result.

    Returns:
        ``(ceil(S * wanted_hz / rate_hz),)`` float32; the input where the rates are equal.
    """
    period, step = period_and_step(rate_hz, wanted_hz)
    if period == step:
        return sound
    length = -(-len(sound) * step // period)
    several = ceil(STEP_AT_LEAST / step)
    period, step = period * several, step * several
    reach, kernel = _kernel(period, step)
    padded = np.pad(sound, (reach, reach + period))
    blocks = sliding_window_view(padded, 2 * reach + period)[::period]  # (blocks, taps)
    results = np.empty((len(blocks), step), np.float32)
    rows = max(1, PRODUCT_AT_MOST // kernel.size)
    for start in range(0, len(blocks), rows):
        part = slice(start, start + rows)
        np.matmul(blocks[part], kernel, out=results[part])
    return results.ravel()[:length]


@lru_cache(maxsize=8)
def _kernel(period: int, step: int) -> tuple[int, NDArray[np.float32]]:
    """Samples to either side, and weights ``(2 * reach + period, step)`` of a block's results.

    Result m of a block lies at m / step of it and sample n at n / period; their distance counts
    zero crossings of the sinc, whose cut-off is ``ROLLOFF`` of the lower Nyquist frequency.
    """
    cutoff = ROLLOFF * min(period, step)
    reach = ceil(ZEROS * period / cutoff)
    samples = np.arange(-reach, reach + period)[:, None] / period
    distance = (samples - np.arange(step) / step) * cutoff
    inside = np.sqrt(np.clip(1 - (distance / ZEROS) ** 2, 0, None))
    weights = np.sinc(distance) * np.i0(BETA * inside) / np.i0(BETA) * cutoff / period
    return reach, np.where(np.abs(distance) < ZEROS, weights, 0).astype(np.float32)
