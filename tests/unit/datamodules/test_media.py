import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from datamodules.media import (
    UnreadableMediaError,
    frame_defect,
    read_frame,
    read_sound,
    sound_defect,
)

RED = (200, 30, 40)


def written_image(path: Path, mode: str = "RGB", size: tuple[int, int] = (32, 24)) -> Path:
    Image.new("RGB", size, RED).convert(mode).save(path)
    return path


def written_tone(
    path: Path, hz: float, rate_hz: int, *, seconds: float = 4.0, channels: int = 1
) -> Path:
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)
    soundfile.write(path, np.stack([wave] * channels, 1), rate_hz, subtype="PCM_16")
    return path


def loudest_hz(samples: np.ndarray, rate_hz: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * rate_hz / len(samples))


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "jpg"), ("CMYK", "jpg"), ("RGB", "png"), ("P", "png")]
)
def test_a_plain_image_of_any_coding_keeps_its_colour(
    tmp_path: Path, mode: str, suffix: str
) -> None:
    path = written_image(tmp_path / f"a.{suffix}", mode)

    frame = read_frame(path, 16)

    error = frame.float().mean((1, 2)).numpy() - np.array(RED)
    assert frame.shape == (3, 16, 16)
    assert abs(error).max() < 4


@pytest.mark.parametrize(("mode", "suffix"), [("L", "jpg"), ("L", "png"), ("I;16", "png")])
def test_a_gray_image_gets_three_equal_channels(tmp_path: Path, mode: str, suffix: str) -> None:
    value = 200 * 257 if mode == "I;16" else 200
    Image.new(mode, (32, 24), value).save(tmp_path / f"a.{suffix}")

    frame = read_frame(tmp_path / f"a.{suffix}", 16)

    assert frame.float().sub(200).abs().max() <= 1


def test_the_whole_frame_is_squashed_and_not_cropped(tmp_path: Path) -> None:
    pixels = np.zeros((24, 48, 3), np.uint8)
    pixels[:, :12] = 255  # the left quarter
    Image.fromarray(pixels).save(tmp_path / "a.png")

    frame = read_frame(tmp_path / "a.png", 16)

    assert frame[0, :, :3].min() > 240
    assert frame[0, :, 5:].max() < 15


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, :8] = 255  # stored left half, shown as the upper half after a turn to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)

    frame = read_frame(tmp_path / "a.jpg", 16)

    assert frame[0, :6].min() > 200
    assert frame[0, 10:].max() < 55


def test_a_truncated_jpeg_is_unreadable(tmp_path: Path) -> None:
    path = written_image(tmp_path / "a.jpg", size=(320, 240))
    path.write_bytes(path.read_bytes()[:-100])

    assert frame_defect(path) == "Image is incomplete or truncated"


def test_an_empty_file_is_unreadable_as_a_frame(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()

    assert frame_defect(tmp_path / "a.jpg") == "the file is empty"


def test_a_text_file_is_unreadable_as_a_frame(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<html>404</html>")

    assert (frame_defect(tmp_path / "a.jpg") or "").startswith("Unsupported image file")


def test_an_animation_is_not_a_frame(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "a.jpg", format="GIF", save_all=True, append_images=pages[1:])

    assert frame_defect(tmp_path / "a.jpg") == "an animation, not a still image"


def test_a_good_frame_has_no_defect(tmp_path: Path) -> None:
    assert frame_defect(written_image(tmp_path / "a.jpg")) is None


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_tone_keeps_its_frequency_and_level_at_any_rate(
    tmp_path: Path, rate_hz: int, channels: int
) -> None:
    path = written_tone(tmp_path / "a.wav", 1000, rate_hz, channels=channels)

    samples = read_sound(path, 16000, 48000).numpy()

    assert samples.shape == (48000,)
    assert samples.dtype == np.float32
    assert loudest_hz(samples, 16000) == pytest.approx(1000, abs=0.5)
    assert np.abs(samples[1000:-1000]).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("rate_hz", [16000, 22050, 44100, 48000])
def test_the_window_is_centred_on_the_middle_of_the_sound(tmp_path: Path, rate_hz: int) -> None:
    wave = np.zeros(10 * rate_hz)
    wave[5 * rate_hz] = 0.9  # the annotated frame is at 5.0 s of 10
    soundfile.write(tmp_path / "a.wav", wave, rate_hz)

    samples = read_sound(tmp_path / "a.wav", 16000, 48000).numpy()

    assert abs(int(np.abs(samples).argmax()) - 24000) <= 1


def test_channels_are_mixed_by_their_mean(tmp_path: Path) -> None:
    channels = np.tile([0.5, -0.25], (16000, 1))
    soundfile.write(tmp_path / "a.wav", channels, 16000)

    samples = read_sound(tmp_path / "a.wav", 16000, 8000)

    assert samples.numpy() == pytest.approx(np.full(8000, 0.125), abs=1e-4)


def test_a_short_sound_is_repeated_from_its_start(tmp_path: Path) -> None:
    ramp = np.arange(1000) / 2000
    soundfile.write(tmp_path / "a.wav", ramp, 16000, subtype="FLOAT")

    samples = read_sound(tmp_path / "a.wav", 16000, 2500).numpy()

    expected = np.concatenate([ramp, ramp, ramp[:500]])
    assert samples == pytest.approx(expected, abs=1e-6)


def test_values_beyond_full_scale_are_clamped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.tile([3.0, -3.0], 8000), 16000, subtype="FLOAT")

    samples = read_sound(tmp_path / "a.wav", 16000, 8000)

    assert samples.unique().tolist() == [-1.0, 1.0]


def test_a_truncated_wav_is_unreadable(tmp_path: Path) -> None:
    path = written_tone(tmp_path / "a.wav", 440, 16000, seconds=1)
    path.write_bytes(path.read_bytes()[:20044])

    assert sound_defect(path) == "truncated: the header says 32000 bytes, 20000 are there"
    with pytest.raises(UnreadableMediaError, match="truncated"):
        read_sound(path, 16000, 8000)


def test_a_wav_written_to_a_pipe_is_readable(tmp_path: Path) -> None:
    path = written_tone(tmp_path / "a.wav", 440, 16000, seconds=1)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(content)

    assert sound_defect(path) is None
    assert loudest_hz(read_sound(path, 16000, 16000).numpy(), 16000) == pytest.approx(440, abs=1)


def test_a_wav_without_samples_is_unreadable(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)

    assert sound_defect(tmp_path / "a.wav") == "the sound has no samples"


def test_an_empty_file_is_unreadable_as_a_sound(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()

    assert sound_defect(tmp_path / "a.wav") == "the file is empty"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_float_wav_that_is_not_finite_is_unreadable(tmp_path: Path, value: float) -> None:
    wave = np.zeros(16000)
    wave[8000] = value
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")

    assert sound_defect(tmp_path / "a.wav") == "the sound holds NaN or infinite samples"


def test_a_silent_sound_has_no_defect(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)

    assert sound_defect(tmp_path / "a.wav") is None


def test_a_missing_sound_is_unreadable(tmp_path: Path) -> None:
    assert sound_defect(tmp_path / "a.wav") is not None
