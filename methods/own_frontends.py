"""Frames and sounds as the test code of released networks makes them ready, one way for each.

Nobody resamples: hop and window are numbers of samples at the rate of the file. So a front-end runs
at the rate that the data have, which is ``method.sample_rate_hz``.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torchaudio
from torch import Tensor, nn

from datamodules.clip import SQUASHED, Inputs, Resizing
from methods.base import MethodConfig
from methods.frontends import LogSpectrogram, check_length
from metrics.errors import BenchError

CHOICES = ("bench", "own")
TEN_SECONDS = 10  # the codes of the LVS family repeat a shorter sound to this and cut a longer one
FULL_SCALE, LARGEST_INT16 = 32768, 32767


@dataclass(frozen=True)
class FrontEnd:
    """How one network sees and hears a clip.

    Attributes:
        source: where its code says so.
        spectrogram: builds the module of its sound from the rate and the length of the window.
        seconds: length of its window; None where the setting says it.
        start_seconds: where the window begins in the file; None for the window in its middle.
        counted_at_hz: the rate at which the code counts the samples of the window, whatever the
            rate of the file is; None for that of the file.
        image_size: side of its frames in pixels.
        resizing: how pictures become square.
    """

    source: str
    spectrogram: Callable[[int, float], nn.Module] | None
    seconds: float | None
    start_seconds: float | None = None
    counted_at_hz: int | None = None
    image_size: int = 224
    resizing: Resizing = SQUASHED

    def inputs(self, asked: Inputs) -> Inputs:
        """What the datamodule must deliver, given what the settings ask for."""
        rate = asked.sample_rate_hz
        stretch = (self.counted_at_hz or rate) / rate
        start = self.start_seconds
        return replace(
            asked,
            resizing=self.resizing,
            segment_seconds=asked.segment_seconds * stretch,
            sound_start_seconds=None if start is None else start * stretch,
        )

    def sound(self, config: MethodConfig) -> nn.Module:
        """Waveforms ``(B, S)`` in [-1, 1] to ``(B, 1, F, frames)``, S as :meth:`inputs` asks."""
        assert self.spectrogram is not None, "asked of networks that hear spectrograms"
        rate = config.sample_rate_hz
        stretch = (self.counted_at_hz or rate) / rate
        return self.spectrogram(rate, config.segment_seconds * stretch)


class Int16Waveform(nn.Module):
    """Sound as 16-bit numbers over 32,767, cut at 1 (EZ-VSL ``audio_io.py:23-77`` at 95ff5bf)."""

    def forward(self, waveform: Tensor) -> Tensor:
        """``(B, S)`` float32 of ``(B, S)`` float32 in [-1, 1]."""
        samples = (waveform * FULL_SCALE).round().clamp(-FULL_SCALE, LARGEST_INT16)
        return (samples / LARGEST_INT16).clamp(-1, 1)


class MelDecibels(nn.Module):
    """Mel bands in dB of SSL-TIE, ``(B, 1, 257, S // 239 + 1)``: 257 x 670 for 10 s at 16 kHz.

    Power of a Hann window of 512 every 239 samples, centred with reflection and divided by the
    window's energy, 257 mel bands, 10 log10 of at least 1e-10 (``datasets/dataloader.py:247-268``
    at c49e6a9). Bands so narrow that no frequency falls into one, 28 of them at 16 kHz, stay at
    -100 dB. Neither mean nor spread is taken out.
    """

    def __init__(self, sample_rate_hz: int, segment_seconds: float) -> None:
        """Raises BenchError where a segment is shorter than half a window."""
        super().__init__()
        samples = round(segment_seconds * sample_rate_hz)
        check_length(samples, 257, sample_rate_hz, "windows of 512 samples")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="At least one mel filterbank")
            self.mel = torchaudio.transforms.MelSpectrogram(
                sample_rate_hz, n_fft=512, hop_length=239, n_mels=257, normalized=True
            )
        self.decibels = torchaudio.transforms.AmplitudeToDB()

    def forward(self, waveform: Tensor) -> Tensor:
        """Spectrogram of ``(B, S)`` float32 in [-1, 1]; silence gives -100."""
        level: Tensor = self.decibels(self.mel(waveform))
        return level.unsqueeze(1)


def _density(hop: int) -> Callable[[int, float], nn.Module]:
    def built(sample_rate_hz: int, segment_seconds: float) -> nn.Module:
        return LogSpectrogram(sample_rate_hz, segment_seconds, hop=hop, centred=False)

    return built


def _density_of_int16(sample_rate_hz: int, segment_seconds: float) -> nn.Module:
    return nn.Sequential(Int16Waveform(), _density(238)(sample_rate_hz, segment_seconds))


_EZVSL = FrontEnd(
    source="EZ-VSL datasets.py:18-36, stoneMo/EZ-VSL at 95ff5bf",
    spectrogram=_density_of_int16,
    seconds=3.0,
)
FRONT_ENDS: Mapping[str, FrontEnd] = MappingProxyType(
    {
        "lvs": FrontEnd(
            source="LVS datasets/dataloader.py, "
            "hche11/Localizing-Visual-Sounds-the-Hard-Way at 8fe8cbb",
            spectrogram=_density(238),
            seconds=10.0,
            start_seconds=0.0,
            resizing=Resizing(crop=True),
        ),
        "sslalign": FrontEnd(
            source="SSLalignment datasets_lvs.py:221-288, kaistmm/SSLalignment at e7ae3c5",
            spectrogram=_density(159),
            seconds=3.0,
            start_seconds=3.5,
            counted_at_hz=16000,
            resizing=Resizing(antialias=False),
        ),
        "ssltie": FrontEnd(
            source="SSL-TIE datasets/dataloader.py:247-268, jinxiang-liu/SSL-TIE at c49e6a9",
            spectrogram=MelDecibels,
            seconds=10.0,
            start_seconds=0.0,
            resizing=Resizing(crop=True),
        ),
        "ezvsl": _EZVSL,
        "fnac": replace(_EZVSL, source="FNAC datasets.py, OpenNLPLab/FNAC_AVL at 0a0ca78"),
        "slavc": replace(_EZVSL, source="SLAVC datasets.py:140-320, stoneMo/SLAVC at 05b429c"),
        "attention_relu": FrontEnd(
            source="Sound_Localization_Dataset.py, ardasnck/learning_to_localize_sound_source at "
            "62c0559",
            spectrogram=None,  # SoundNet's objects, averaged over the clip
            seconds=None,
            image_size=320,
            resizing=Resizing(filter="bilinear"),
        ),
    }
)
"""Of each network, by the name of its method."""


def front_end_of(config: MethodConfig, network: str, choice: str) -> FrontEnd | None:
    """The network's own front-end where ``method.front_end=own``, None where it is ours.

    Args:
        config: of the method.
        network: name of the method.
        choice: its ``front_end``.

    Raises:
        BenchError: an unknown choice, or a window that is not that of the network's code.
    """
    if choice not in CHOICES:
        raise BenchError(
            f"method.front_end={choice!r} is unknown; use {CHOICES[0]} or {CHOICES[1]}"
        )
    if choice == "bench":
        return None
    own = FRONT_ENDS[network]
    if own.seconds is not None and config.segment_seconds != own.seconds:
        raise BenchError(
            f"method.front_end=own hears {own.seconds:g} s as the code of {network} does, not "
            f"method.segment_seconds={config.segment_seconds:g}; set "
            f"method.segment_seconds={own.seconds}, or method.front_end=bench"
        )
    if own.counted_at_hz is not None and own.seconds is not None:
        first = round((own.start_seconds or 0) * own.counted_at_hz)
        last = first + round(own.seconds * own.counted_at_hz)
        if last > TEN_SECONDS * config.sample_rate_hz:
            raise BenchError(
                f"method.front_end=own hears samples {first} to {last} of the first ten seconds, "
                f"whatever the rate; method.sample_rate_hz={config.sample_rate_hz} must be at "
                f"least {-(-last // TEN_SECONDS)}, or set method.front_end=bench"
            )
    return own
