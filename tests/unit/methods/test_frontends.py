import math

import numpy as np
import pytest
import scipy.signal
import torch

from methods.frontends import (
    LogMel,
    LogSpectrogram,
    NormalizedFrames,
    SoundNetWaveform,
    VggishLogMel,
    tukey_window,
)
from metrics.errors import BenchError


def noise(seconds: float, sample_rate_hz: int, clips: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    samples = int(seconds * sample_rate_hz)
    loud = torch.rand(clips, samples, generator=generator) * 2 - 1
    return loud * torch.logspace(0, 1 - clips, clips).unsqueeze(1)


def scipy_log_spectrogram(
    waveform: torch.Tensor, sample_rate_hz: int, hop: int = 160, *, centred: bool = True
) -> np.ndarray:
    """In float64, with scipy's defaults, as the peers call it."""
    edge = 256 if centred else 0
    padded = np.pad(waveform.double().numpy(), ((0, 0), (edge, edge)), mode="reflect")
    _, _, power = scipy.signal.spectrogram(padded, sample_rate_hz, nperseg=512, noverlap=512 - hop)
    return np.log(power + 1e-7) / 12


@pytest.mark.parametrize("sample_rate_hz", [16000, 22050])
def test_the_log_spectrogram_is_scipys_of_the_reflected_sound(sample_rate_hz: int):
    waveform = noise(1.0, sample_rate_hz)

    spectrogram = LogSpectrogram(sample_rate_hz, 1.0)(waveform)

    expected = scipy_log_spectrogram(waveform, sample_rate_hz)
    expected = expected[:, :, : math.ceil(sample_rate_hz / 160)]
    np.testing.assert_allclose(spectrogram.squeeze(1).numpy(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("sample_rate_hz", [16000, 44100])
@pytest.mark.parametrize("hop", [238, 239, 159])
def test_the_log_spectrogram_without_reflection_is_scipys(sample_rate_hz: int, hop: int):
    waveform = noise(1.0, sample_rate_hz, clips=4)

    spectrogram = LogSpectrogram(sample_rate_hz, 1.0, hop=hop, centred=False)(waveform)

    expected = scipy_log_spectrogram(waveform, sample_rate_hz, hop, centred=False)
    assert spectrogram.dtype == torch.float32
    np.testing.assert_allclose(spectrogram.squeeze(1).numpy(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("seconds", "hop", "centred", "frames"),
    [
        (3.0, 160, True, 300),  # Senocak et al. 2022
        (10.0, 238, False, 671),  # LVS
        (3.0, 238, False, 200),  # EZ-VSL
        (3.0, 159, False, 299),  # SSLalignment
        (10.0, 239, True, 670),  # SSL-TIE
        (10.0, 239, False, 668),
    ],
)
def test_the_sizes_of_the_peers_spectrograms(seconds: float, hop: int, centred: bool, frames: int):
    waveform = noise(seconds, 16000, clips=1)

    spectrogram = LogSpectrogram(16000, seconds, hop=hop, centred=centred)(waveform)

    assert spectrogram.shape == (1, 1, 257, frames)


@pytest.mark.parametrize("loudness", [1.0, 1e-3, 1e-5])
def test_quiet_sounds_are_as_exact_as_loud_ones(loudness: float):
    waveform = loudness * noise(1.0, 16000) + 0.3  # over a constant, which is taken away

    spectrogram = LogSpectrogram(16000, 1.0, hop=238, centred=False)(waveform)

    expected = scipy_log_spectrogram(waveform, 16000, 238, centred=False)
    np.testing.assert_allclose(spectrogram.squeeze(1).numpy(), expected, rtol=0, atol=2e-6)


def test_three_seconds_leave_scipys_last_frame_out():
    waveform = noise(3.0, 16000, clips=1)

    assert scipy_log_spectrogram(waveform, 16000).shape == (1, 257, 301)


@pytest.mark.parametrize(("centred", "samples", "shortest"), [(True, 256, 257), (False, 511, 512)])
def test_a_segment_shorter_than_a_window_is_refused_at_construction(
    centred: bool, samples: int, shortest: int
):
    LogSpectrogram(16000, shortest / 16000, centred=centred)(torch.zeros(1, shortest))

    words = rf"segment_seconds={samples / 16000:g} is too short .* at least {shortest / 16000:g} at"
    with pytest.raises(BenchError, match=words):
        LogSpectrogram(16000, samples / 16000, centred=centred)


def test_silence_is_the_same_value_everywhere():
    spectrogram = LogSpectrogram(16000, 0.5)(torch.zeros(1, 8000))

    assert spectrogram.unique().tolist() == [pytest.approx(-1.34318, abs=1e-5)]


def test_a_constant_offset_does_not_show_in_the_log_spectrogram():
    waveform = noise(0.5, 16000)

    module = LogSpectrogram(16000, 0.5)

    torch.testing.assert_close(module(0.5 * waveform + 0.25), module(0.5 * waveform))


@pytest.mark.parametrize("taper", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("size", [8, 511, 512])
def test_the_tukey_window_is_scipys(size: int, taper: float):
    expected = scipy.signal.get_window(("tukey", taper), size)

    np.testing.assert_allclose(tukey_window(size, taper).numpy(), expected, rtol=0, atol=6e-8)


def test_one_second_gives_a_log_mel_of_32_by_26():
    assert LogMel(16000)(noise(1.0, 16000)).shape == (2, 1, 32, 26)


def test_loudness_of_a_broad_sound_does_not_show_in_the_log_mel():
    waveform = noise(1.0, 16000, clips=1)

    module = LogMel(16000)

    torch.testing.assert_close(module(0.01 * waveform), module(waveform), rtol=0, atol=1e-3)


def test_each_clips_log_mel_is_standardised_on_its_own():
    waveform = noise(1.0, 16000, clips=2)

    together = LogMel(16000)(waveform)

    assert together.mean((1, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(together.std((1, 2, 3)), torch.ones(2), rtol=0, atol=0.01)
    torch.testing.assert_close(together[:1], LogMel(16000)(waveform[:1]), rtol=0, atol=1e-5)


def test_the_log_mel_of_a_tone_is_brightest_in_the_band_of_its_pitch():
    time = torch.arange(16000) / 16000
    low, high = (torch.sin(2 * torch.pi * pitch_hz * time) for pitch_hz in (440.0, 3520.0))

    levels = LogMel(16000)(torch.stack([low, high])).mean(-1).squeeze(1)  # (2, 32)

    # 32 triangles equally spaced on the HTK mel scale from 0 to 8,000 Hz
    mels = [2595 * np.log10(1 + pitch_hz / 700) for pitch_hz in (440.0, 3520.0, 8000.0)]
    expected = [round(mel / mels[2] * 33) - 1 for mel in mels[:2]]
    assert levels.argmax(1).tolist() == expected


def test_silence_gives_a_log_mel_of_zeros():
    assert LogMel(16000)(torch.zeros(1, 16000)).abs().max() < 1e-3


def vggish_by_hand(waveform: np.ndarray) -> np.ndarray:
    """The patch of one second, sample by sample and band by band, in float64."""
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / 400) for n in range(400)]
    mel = [1127 * math.log(1 + 8000 * k / 256 / 700) for k in range(257)]
    low, high = (1127 * math.log(1 + hz / 700) for hz in (125, 7500))
    edges = [low + (high - low) * i / 65 for i in range(66)]
    patch = np.zeros((96, 64))
    for row in range(96):
        frame = np.zeros(512)
        frame[:400] = waveform[160 * row : 160 * row + 400] * window
        magnitude = np.abs(np.fft.fft(frame))[:257]
        for band in range(64):
            left, middle, right = edges[band : band + 3]
            energy = 0.0
            for k in range(1, 257):
                if left < mel[k] <= middle:
                    energy += magnitude[k] * (mel[k] - left) / (middle - left)
                elif middle < mel[k] < right:
                    energy += magnitude[k] * (right - mel[k]) / (right - middle)
            patch[row, band] = math.log(energy + 0.01)
    return patch


def test_vggish_hears_what_its_description_says():
    waveform = noise(1.0, 16000)

    patch = VggishLogMel(16000, 1.0)(waveform)

    assert (patch.shape, patch.dtype) == ((2, 1, 96, 64), torch.float32)
    expected = vggish_by_hand(waveform[1].double().numpy())
    np.testing.assert_allclose(patch[1, 0].numpy(), expected, rtol=0, atol=2e-5)


def test_vggish_hears_the_first_96_frames_of_any_segment():
    waveform = noise(3.0, 16000)

    patch = VggishLogMel(16000, 3.0)(waveform)

    torch.testing.assert_close(patch, VggishLogMel(16000, 0.975)(waveform[:, :15600]))


def test_vggish_hears_silence_as_the_logarithm_of_a_hundredth():
    patch = VggishLogMel(16000, 1.0)(torch.zeros(1, 16000))

    assert patch.unique().tolist() == [pytest.approx(math.log(0.01))]


@pytest.mark.parametrize("hz", [300.0, 1000.0, 5000.0])
def test_a_tone_is_brightest_in_vggishs_band_of_its_pitch(hz: float):
    tone = torch.sin(2 * torch.pi * hz * torch.arange(16000) / 16000)[None]

    brightest = int(VggishLogMel(16000, 1.0)(tone).mean((0, 1, 2)).argmax())

    low, high, own = (2595 * math.log10(1 + f / 700) for f in (125, 7500, hz))
    assert abs(brightest - ((own - low) / (high - low) * 65 - 1)) < 1


def test_vggish_refuses_other_rates_and_less_than_96_frames():
    with pytest.raises(
        BenchError, match=r"sample_rate_hz=22050 is not .* set method\.sample_rate_hz=16000"
    ):
        VggishLogMel(22050, 1.0)
    with pytest.raises(BenchError, match=r"segment_seconds=0.97 is too short .* at least 0.975"):
        VggishLogMel(16000, 0.97)


def test_soundnet_hears_the_waveform_times_256():
    waveform = noise(10.0, 22050)

    assert SoundNetWaveform(22050, 10.0)(waveform).equal(waveform.unsqueeze(1) * 256)


@pytest.mark.parametrize("seconds", [0.5, 3.0, 9.99])
def test_soundnet_hears_a_short_sound_again_and_again_for_10_seconds(seconds: float):
    waveform = noise(seconds, 22050)

    heard = SoundNetWaveform(22050, seconds)(waveform)

    expected = np.tile(waveform.numpy(), (1, 21))[:, :220500] * 256
    assert heard.shape == (2, 1, 220500)
    np.testing.assert_array_equal(heard.squeeze(1).numpy(), expected)


def test_soundnet_hears_all_of_a_long_sound():
    assert SoundNetWaveform(22050, 20.0)(noise(20.0, 22050)).shape == (2, 1, 441000)


def test_a_shorter_stack_may_ask_for_fewer_seconds():
    module = SoundNetWaveform(16000, 1.0, at_least_seconds=1.5)

    assert module(noise(1.0, 16000)).shape == (2, 1, 24000)


def test_soundnet_refuses_a_segment_without_samples():
    with pytest.raises(BenchError, match=r"segment_seconds=0 is too short for a waveform"):
        SoundNetWaveform(22050, 1e-6)


MODULES = {
    "centred": lambda: LogSpectrogram(16000, 1.0),
    "lvs": lambda: LogSpectrogram(16000, 1.0, hop=238, centred=False),
    "log-mel": lambda: LogMel(16000),
    "vggish": lambda: VggishLogMel(16000, 1.0),
    "soundnet": lambda: SoundNetWaveform(16000, 1.0, at_least_seconds=2.0),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_clip_sounds_alike_in_any_batch(name: str):
    waveform, module = noise(1.0, 16000, clips=5), MODULES[name]()

    together = module(waveform)

    for row in range(5):
        torch.testing.assert_close(together[row : row + 1], module(waveform[row : row + 1]))


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("loudness", [1.0, 0.0])
def test_gradients_reach_the_waveform_and_are_finite(name: str, loudness: float):
    waveform = (loudness * noise(1.0, 16000)).requires_grad_()

    MODULES[name]()(waveform).sum().backward()

    assert waveform.grad.isfinite().all()
    assert bool(waveform.grad.abs().max() > 0) == (loudness > 0 or name == "soundnet")


def test_the_gradient_of_the_log_spectrogram_is_that_of_differences():
    module = LogSpectrogram(16000, 0.064, hop=238, centred=False).double()
    waveform = noise(0.064, 16000, clips=1).double().requires_grad_()

    assert torch.autograd.gradcheck(module, waveform, atol=1e-4, fast_mode=True)


@pytest.mark.parametrize("name", MODULES)
def test_half_precision_around_a_front_end_does_not_reach_into_it(name: str):
    waveform, module = noise(1.0, 16000), MODULES[name]()

    with torch.autocast("cpu", torch.bfloat16):
        inside = module(waveform)

    assert inside.dtype == torch.float32
    assert inside.equal(module(waveform))


def test_normalized_frames_have_imagenets_mean_and_spread():
    frames = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 1, 1)

    normalized = NormalizedFrames()(frames)

    expected = [
        [(value - mean) / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
        for value in (0.0, 0.2, 1.0)
    ]
    assert normalized.dtype == torch.float32
    np.testing.assert_allclose(normalized.view(3, 3).numpy(), expected, rtol=0, atol=1e-6)


def test_front_ends_have_nothing_to_train_and_leave_nothing_in_a_checkpoint():
    modules = [NormalizedFrames(), *(make() for name, make in MODULES.items() if name != "log-mel")]

    assert [] == [name for module in modules for name in module.state_dict()]
    assert [] == [p for module in (*modules, LogMel(16000)) for p in module.parameters()]
