"""Sound and image front-ends: modules that run on whole batches, on the device."""

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

from metrics.errors import BenchError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FLOOR = 1e-7  # LVS adds it to a density before the logarithm
VGGISH_HZ, VGGISH_BANDS, VGGISH_BAND_HZ = 16000, 64, (125.0, 7500.0)
SOUNDNET_SCALE = 256.0  # Senocak et al. 2018, supplement


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
    """Log power spectral density, ``(B, 1, 257, frames)``, as ``scipy.signal.spectrogram`` has it.

    Window (Tukey, 0.25), detrending, scaling and log(. + 1e-7) / 12 are those of LVS
    ``datasets/dataloader.py:90-103`` (8fe8cbb). Hop and edges make the difference; at 16 kHz:

    ===================================  ====  =======  =======  =========
    who                                   hop  centred  seconds  size
    ===================================  ====  =======  =======  =========
    Senocak et al. 2022, 3.2              160  yes            3  257 x 300
    LVS                                   238  no            10  257 x 671
    EZ-VSL, SLAVC, FNAC                   238  no             3  257 x 200
    SSLalignment ``datasets_lvs.py``      159  no             3  257 x 299
    SSL-TIE (its own values are mel's)    239  yes           10  257 x 670
    ===================================  ====  =======  =======  =========

    Centred, a frame stands at each hop from the first sample on and the edges are reflected;
    otherwise frames begin at the first sample and the last one ends within the sound. Not given in
    the paper of the first row: 16 kHz and the centring.
    """

    window: Tensor
    scale: Tensor

    def __init__(
        self,
        sample_rate_hz: int,
        segment_seconds: float,
        *,
        hop: int = 160,
        centred: bool = True,
    ) -> None:
        """Raises BenchError where a segment is shorter than a window allows."""
        super().__init__()
        self.n_fft, self.hop, self.centred = 512, hop, centred
        samples = round(segment_seconds * sample_rate_hz)
        shortest = self.n_fft // 2 + 1 if centred else self.n_fft
        check_length(samples, shortest, sample_rate_hz, "windows of 512 samples")
        self.num_frames = -(-samples // hop) if centred else (samples - self.n_fft) // hop + 1
        window = tukey_window(self.n_fft, 0.25)
        self.register_buffer("window", window, persistent=False)
        one_sided = torch.full((self.n_fft // 2 + 1,), 2.0)
        one_sided[0] = one_sided[-1] = 1.0
        scale = one_sided / (sample_rate_hz * window.square().sum())
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Spectrogram of ``(B, S)`` float32 in [-1, 1]; silence gives log(1e-7) / 12 = -1.3432."""
        if self.centred:
            edge = self.n_fft // 2
            waveform = F.pad(waveform.unsqueeze(1), (edge, edge), mode="reflect").squeeze(1)
        frames = waveform.unfold(-1, self.n_fft, self.hop)[:, : self.num_frames]
        frames = (frames - frames.mean(-1, keepdim=True)).mul_(self.window)  # (B, frames, 512)
        squares = torch.view_as_real(torch.fft.rfft(frames)).square_()  # (B, frames, 257, 2)
        power = squares[..., 0] + squares[..., 1]  # abs() would take twice as long as the FFT
        level = power.mul_(self.scale).add_(FLOOR).log_().div_(12)
        return level.transpose(1, 2).unsqueeze(1)  # (B, 1, 257, frames)


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


class VggishLogMel(nn.Module):
    """Log-mel patch of VGGish, ``(B, 1, 96, 64)``: time by mel, of the first 0.975 s.

    Frames of 25 ms every 10 ms from the first sample on, periodic Hann window, magnitude of an FFT
    of 512, 64 bands between 125 and 7,500 Hz, log(. + 0.01); of the 98 frames of 1.0 s the first 96
    (Ramaswamy and Das 2020; ``research/audioset/vggish/mel_features.py`` of
    https://github.com/tensorflow/models).
    """

    window: Tensor
    bands: Tensor

    def __init__(self, sample_rate_hz: int, segment_seconds: float) -> None:
        """Raises BenchError where the sound is not at 16 kHz, or has less than 96 frames."""
        super().__init__()
        self.n_fft, self.size, self.hop, self.num_frames = 512, 400, 160, 96
        if sample_rate_hz != VGGISH_HZ:
            raise BenchError(
                f"method.sample_rate_hz={sample_rate_hz} is not what VGGish hears; set "
                f"method.sample_rate_hz={VGGISH_HZ}"
            )
        shortest = self.size + (self.num_frames - 1) * self.hop
        samples = round(segment_seconds * sample_rate_hz)
        check_length(samples, shortest, sample_rate_hz, "the 96 frames of VGGish")
        window = torch.hann_window(self.size, periodic=True, dtype=torch.float64).float()
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("bands", vggish_bands(self.n_fft), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Patch of ``(B, S)`` float32 in [-1, 1]; silence gives log(0.01) = -4.6052."""
        frames = waveform.unfold(-1, self.size, self.hop)[:, : self.num_frames] * self.window
        magnitude = torch.fft.rfft(frames, self.n_fft).abs()  # (B, 96, 257)
        with torch.autocast(waveform.device.type, enabled=False):
            level: Tensor = (magnitude @ self.bands + 0.01).log()
        return level.unsqueeze(1)  # (B, 1, 96, 64)


def vggish_bands(n_fft: int) -> Tensor:
    """Weights ``(n_fft / 2 + 1, 64)`` float32 of frequencies in the mel bands of VGGish at 16 kHz.

    Triangles in mel, not in Hz as torchaudio's, with mel = 1127 ln(1 + f / 700); the constant part
    of the sound is in no band.
    """
    lowest, highest = _mel(torch.tensor(VGGISH_BAND_HZ, dtype=torch.float64)).tolist()
    edges = torch.linspace(lowest, highest, VGGISH_BANDS + 2, dtype=torch.float64)
    places = _mel(torch.linspace(0, VGGISH_HZ / 2, n_fft // 2 + 1, dtype=torch.float64))
    rising = (places.unsqueeze(1) - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places.unsqueeze(1)) / (edges[2:] - edges[1:-1])
    weights = torch.minimum(rising, falling).clamp(min=0)  # (n_fft / 2 + 1, 64)
    weights[0] = 0
    return weights.float()


def _mel(hz: Tensor) -> Tensor:
    return 1127 * torch.log1p(hz / 700)


class SoundNetWaveform(nn.Module):
    """Waveform as SoundNet hears it, ``(B, 1, S)`` in [-256, 256], of at least so many seconds.

    A shorter sound is repeated from its start. SoundNet was trained at 22.05 kHz, and its eight
    layers need about 9.5 s (Senocak et al. 2018, supplement).
    """

    def __init__(
        self, sample_rate_hz: int, segment_seconds: float, *, at_least_seconds: float = 10.0
    ) -> None:
        """Raises BenchError where a segment has no samples."""
        super().__init__()
        samples = round(segment_seconds * sample_rate_hz)
        check_length(samples, 1, sample_rate_hz, "a waveform")
        self.shortest = round(at_least_seconds * sample_rate_hz)

    def forward(self, waveform: Tensor) -> Tensor:
        """Scaled, and repeated where it is short, from ``(B, S)`` float32 in [-1, 1]."""
        samples = waveform.shape[-1]
        if samples < self.shortest:
            waveform = waveform.repeat(1, -(-self.shortest // samples))[:, : self.shortest]
        return (waveform * SOUNDNET_SCALE).unsqueeze(1)


def check_length(samples: int, shortest: int, sample_rate_hz: int, need: str) -> None:
    """Nothing, or a ``BenchError`` in words where a segment is shorter than a front-end needs."""
    if samples < shortest:
        raise BenchError(
            f"method.segment_seconds={samples / sample_rate_hz:g} is too short for {need}: it must "
            f"be at least {shortest / sample_rate_hz:g} at {sample_rate_hz} Hz"
        )


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
        with torch.autocast(waveform.device.type, enabled=False):
            level: Tensor = (self.mel(waveform) + 1e-6).log().unsqueeze(1)  # (B, 1, 32, frames)
            mean = level.mean((1, 2, 3), keepdim=True)
            spread = level.std((1, 2, 3), keepdim=True)
            return (level - mean) / (spread + 1e-3)
