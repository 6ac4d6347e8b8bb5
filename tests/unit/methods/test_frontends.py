import numpy as np
import pytest
import scipy.signal
import torch

from methods.frontends import LogMel, LogSpectrogram, NormalizedFrames, tukey_window


def noise(seconds: float, sample_rate_hz: int, clips: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    samples = int(seconds * sample_rate_hz)
    loud = torch.rand(clips, samples, generator=generator) * 2 - 1
    return loud * torch.logspace(0, 1 - clips, clips).unsqueeze(1)


def scipy_log_spectrogram(waveform: torch.Tensor, sample_rate_hz: int) -> np.ndarray:
    padded = np.pad(waveform.double().numpy(), ((0, 0), (256, 256)), mode="reflect")
    _, _, power = scipy.signal.spectrogram(
        padded,
        sample_rate_hz,
        window=("tukey", 0.25),
        nperseg=512,
        noverlap=352,
        detrend="constant",
        scaling="density",
    )
    return np.log(power + 1e-7) / 12


@pytest.mark.parametrize("sample_rate_hz", [16000, 22050])
def test_the_log_spectrogram_is_scipys_of_the_reflected_sound(sample_rate_hz: int):
    waveform = noise(1.0, sample_rate_hz)

    spectrogram = LogSpectrogram(sample_rate_hz, 1.0)(waveform)

    expected = scipy_log_spectrogram(waveform, sample_rate_hz)[:, :, : sample_rate_hz // 160]
    np.testing.assert_allclose(spectrogram.squeeze(1).numpy(), expected, rtol=0, atol=2e-6)


def test_three_seconds_give_257_by_300_and_leave_scipys_last_frame_out():
    waveform = noise(3.0, 16000, clips=1)

    spectrogram = LogSpectrogram(16000, 3.0)(waveform)

    assert spectrogram.shape == (1, 1, 257, 300)
    assert scipy_log_spectrogram(waveform, 16000).shape == (1, 257, 301)


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
    modules = (NormalizedFrames(), LogSpectrogram(16000, 1.0))

    assert [] == [name for module in modules for name in module.state_dict()]
    assert [] == [p for module in (*modules, LogMel(16000)) for p in module.parameters()]
