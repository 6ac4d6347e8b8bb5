"""Sound and image front-ends: modules that run on whole batches, on the device."""

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class NormalizedFrames(nn.Module):
    """Frames ``(B, 3, H, W)`` uint8 as float32 with ImageNet's mean and spread."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """``(B, 3, H, W)`` float32."""
        return (frames.float() / 255 - self.mean) / self.std


class LogSpectrogram(nn.Module):
    """Log power spectral density, ``(B, 1, 257, seconds * 100)``: 257 x 300 for 3 s.

    The size is the paper's (Senocak et al. 2022, 3.2); window, detrending, scaling and
    log(. + 1e-7) / 12 are ``scipy.signal.spectrogram`` as LVS ``datasets/dataloader.py:90-103``
    (8fe8cbb) calls it, with a hop of 160 instead of 238. Not given in the paper: 16 kHz, centring
    by reflection, and that the frame after the last whole hop is dropped.
    """

    window: Tensor
    scale: Tensor

    def __init__(self, sample_rate_hz: int, segment_seconds: float) -> None:
        super().__init__()
        self.n_fft, self.hop = 512, 160
        self.num_frames = round(segment_seconds * sample_rate_hz) // self.hop
        window = tukey_window(self.n_fft, 0.25)
        self.register_buffer("window", window, persistent=False)
        one_sided = torch.full((self.n_fft // 2 + 1,), 2.0)
        one_sided[0] = one_sided[-1] = 1.0
        scale = one_sided / (sample_rate_hz * window.square().sum())
        self.register_buffer("scale", scale.view(1, -1, 1), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Spectrogram of ``(B, S)`` float32 in [-1, 1]; silence gives log(1e-7) / 12 = -1.3432."""
        padded = F.pad(waveform.unsqueeze(1), (self.n_fft // 2,) * 2, mode="reflect").squeeze(1)
        frames = padded.unfold(-1, self.n_fft, self.hop)[:, : self.num_frames]  # (B, frames, 512)
        frames = (frames - frames.mean(-1, keepdim=True)) * self.window
        power = torch.fft.rfft(frames).abs().square().transpose(1, 2) * self.scale
        level: Tensor = (power + 1e-7).log() / 12
        return level.unsqueeze(1)  # (B, 1, 257, frames)


def tukey_window(size: int, taper: float) -> Tensor:
    """Periodic Tukey window, ``(size,)`` float32, as ``scipy.signal.get_window`` makes it.

    Args:
        size: samples.
        taper: share of the window inside the cosine tapers, in (0, 1].

    >>> tukey_window(8, 0.5)[:3]
    tensor([0.0000, 0.5000, 1.0000])
    """
    place = torch.arange(size, dtype=torch.float64)
    edge = torch.minimum(place, size - place) / (taper * size / 2)
    return (0.5 * (1 - torch.cos(torch.pi * edge.clamp(max=1)))).float()


class LogMel(nn.Module):
    """Log-mel spectrogram for small networks, ``(B, 1, 32, S // 640 + 1)``: 32 x 26 for 1 s.

    Standardised per clip, so that loudness carries little.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate_hz, n_fft=1024, hop_length=640, n_mels=32
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """Spectrogram of ``(B, S)`` float32 in [-1, 1]; silence gives zeros."""
        level: Tensor = (self.mel(waveform) + 1e-6).log().unsqueeze(1)  # (B, 1, 32, frames)
        mean = level.mean((1, 2, 3), keepdim=True)
        spread = level.std((1, 2, 3), keepdim=True)
        return (level - mean) / (spread + 1e-3)
