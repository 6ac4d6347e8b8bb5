import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image, ImageOps
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from datamodules.clip import Resizing
from datamodules.media import (
    UnreadableMediaError,
    frame_defect,
    read_frame,
    read_picture,
    read_sound,
    read_window_from,
    read_windows,
    resampled,
    sound_defect,
    windows_of,
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


def test_a_picture_keeps_its_size_and_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: the left column becomes the upper row
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[:, 0] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)

    picture = read_picture(tmp_path / "a.png")

    assert picture.shape == (3, 32, 24)
    assert (picture[:, 0] == 255).all()
    assert (picture[:, 1:] == 0).all()


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


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (31, 17), (20, 60), (240, 320)])
def test_a_frame_is_reduced_as_pil_reduces_it(tmp_path: Path, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    picture = Image.fromarray(noise)
    picture.save(tmp_path / "a.png")

    frame = read_frame(tmp_path / "a.png", 16).permute(1, 2, 0).numpy().astype(int)

    narrow = picture.resize((16, size[1]), Image.Resampling.BICUBIC)  # today's PIL takes the
    expected = narrow.resize((16, 16), Image.Resampling.BICUBIC)  # cheaper way first, theirs this
    gap = np.abs(frame - np.asarray(expected).astype(int))
    assert gap.max() <= 1
    assert (gap > 0).mean() <= 0.02


def noise_image(path: Path, size: tuple[int, int]) -> Path:
    """A picture of smooth noise of that width and height."""
    coarse = np.random.default_rng(3).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (41, 67), (24, 24), (19, 23)])
def test_the_middle_square_is_that_of_resize_and_centre_crop_on_pil(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    path = noise_image(tmp_path / "a.png", size)
    peers = transforms.Compose(
        [transforms.Resize(24, InterpolationMode.BICUBIC), transforms.CenterCrop(24)]
    )

    frame = read_frame(path, 24, Resizing(crop=True)).permute(1, 2, 0).numpy().astype(int)

    assert abs(frame - np.array(peers(Image.open(path))).astype(int)).max() <= 1


def test_a_picture_is_reduced_without_antialiasing_as_a_tensor_is_by_torchvision(
    tmp_path: Path,
) -> None:
    path = noise_image(tmp_path / "a.png", (61, 47))
    exact = transforms.functional.resize(
        transforms.functional.to_tensor(Image.open(path)),
        [16, 16],
        InterpolationMode.BICUBIC,
        antialias=False,
    )

    frame = read_frame(path, 16, Resizing(antialias=False)).float() / 255

    assert (frame - exact.clamp(0, 1)).abs().max() <= 0.5 / 255 + 1e-6
    assert (frame - read_frame(path, 16).float() / 255).abs().max() > 0.01


def test_a_picture_is_reduced_bilinearly_as_pil_does_it(tmp_path: Path) -> None:
    path = noise_image(tmp_path / "a.png", (61, 47))
    peers = Image.open(path).resize((16, 16), Image.Resampling.BILINEAR)

    frame = read_frame(path, 16, Resizing(filter="bilinear")).permute(1, 2, 0).numpy()

    assert abs(frame.astype(int) - np.array(peers).astype(int)).max() <= 1


def test_a_frame_lies_in_memory_channel_by_channel(tmp_path: Path) -> None:
    path = written_image(tmp_path / "a.jpg")

    assert read_frame(path, 16).is_contiguous()
    assert read_frame(written_image(tmp_path / "b.jpg", size=(16, 16)), 16).is_contiguous()


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, :8] = 255  # stored left half, shown as the upper half after a turn to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)

    frame = read_frame(tmp_path / "a.jpg", 16)

    assert frame[0, :6].min() > 200
    assert frame[0, 10:].max() < 55


def coloured(size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Colours that change over the frame; no side or turn of it is like another."""
    cells = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC)


def pil_frame(path: Path) -> np.ndarray:
    """``(3, H, W)``, upright, as PIL shows it."""
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).transpose(2, 0, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_all_eight_orientations_are_shown_as_pil_shows_them(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    coloured().save(tmp_path / f"a.{suffix}", exif=exif)

    frame = read_frame(tmp_path / f"a.{suffix}", 64)

    np.testing.assert_array_equal(frame.numpy(), pil_frame(tmp_path / f"a.{suffix}"))


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("1", "png"), ("L", "png"), ("LA", "png"), ("P", "png"), ("RGBA", "png"), ("L", "jpg"),
     ("CMYK", "jpg"), ("RGB", "jpg"), ("RGB", "webp")],
)  # fmt: skip
def test_an_image_of_any_coding_has_the_pixels_that_pil_shows(
    tmp_path: Path, mode: str, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    coloured().convert(mode).save(path)

    np.testing.assert_array_equal(read_frame(path, 64).numpy(), pil_frame(path))


def test_cmyk_has_the_right_colours_with_and_without_the_marker_of_adobe(tmp_path: Path) -> None:
    """Inks are stored inverted; PIL takes them so whether or not a marker says it."""
    coloured().convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    content = (tmp_path / "a.jpg").read_bytes()
    marker = content.index(b"\xff\xee")
    (tmp_path / "plain.jpg").write_bytes(content[:marker] + content[marker + 16 :])

    adobe, plain = (read_frame(tmp_path / name, 64) for name in ("a.jpg", "plain.jpg"))

    original = np.asarray(coloured()).transpose(2, 0, 1).astype(float)
    assert np.abs(adobe.numpy() - original).mean() < 4
    assert plain.equal(adobe)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_become_8_by_their_upper_half(tmp_path: Path, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (20, 20, channels), np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values * 257)  # BGR

    frame = read_frame(tmp_path / "a.png", 20).numpy()

    expected = values[..., :3][..., ::-1] if channels > 1 else np.repeat(values, 3, 2)
    np.testing.assert_array_equal(frame, expected.transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("kept", [1, 2, 3, 10, 100, 0.3, 0.9])
def test_an_image_that_was_cut_anywhere_is_unreadable(
    tmp_path: Path, suffix: str, kept: float
) -> None:
    path = tmp_path / f"a.{suffix}"
    coloured((320, 240)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])

    assert frame_defect(path) is not None
    with pytest.raises(UnreadableMediaError):
        read_frame(path, 16)


def test_a_png_with_a_changed_byte_is_unreadable(tmp_path: Path) -> None:
    coloured().save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(content)

    assert frame_defect(tmp_path / "a.png") is not None


@pytest.mark.parametrize("suffix", ["bmp", "tiff"])
def test_other_image_formats_are_refused_in_words(tmp_path: Path, suffix: str) -> None:
    coloured().save(tmp_path / f"a.{suffix}")

    assert (frame_defect(tmp_path / f"a.{suffix}") or "").startswith("Unsupported image file")


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


def test_a_sound_that_is_a_folder_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.wav").mkdir()

    assert sound_defect(tmp_path / "a.wav") == "Is a directory"


def test_a_loop_of_links_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to(tmp_path / "b.wav")
    (tmp_path / "b.wav").symlink_to(tmp_path / "a.wav")

    assert sound_defect(tmp_path / "a.wav") == "Too many levels of symbolic links"
    assert frame_defect(tmp_path / "a.wav") == "Too many levels of symbolic links"


RATES_HZ = [8000, 11025, 16000, 22050, 32000, 44100, 48000]


def chirp(rate_hz: int, seconds: float) -> np.ndarray:
    """From 100 to 3,100 Hz, which all of the rates can hold; no two places are alike."""
    time = np.arange(int(rate_hz * seconds)) / rate_hz
    return 0.5 * np.sin(2 * np.pi * (100 + 1500 * time / seconds) * time)


@pytest.mark.parametrize("native_hz", RATES_HZ)
@pytest.mark.parametrize("rate_hz", [16000, 22050])
def test_a_resampled_sound_is_the_same_function_of_time(native_hz: int, rate_hz: int) -> None:
    native = torch.from_numpy(chirp(native_hz, 2.0).astype(np.float32))

    samples = resampled(native, native_hz, rate_hz).numpy()

    expected = chirp(rate_hz, 2.0)
    inside = slice(rate_hz // 100, -rate_hz // 100)  # beyond the ends there is silence
    np.testing.assert_allclose(samples[inside], expected[inside], rtol=0, atol=2e-4)


@pytest.mark.parametrize(("hz", "level"), [(1000, 1.0), (7000, 0.99), (8200, 0.0), (9000, 0.0)])
def test_what_the_lower_rate_can_hold_stays_and_the_rest_goes(hz: float, level: float) -> None:
    time = torch.arange(48000, dtype=torch.float64) / 48000
    tone = torch.sin(2 * torch.pi * hz * time).float()

    kept = resampled(tone, 48000, 16000)[800:-800].abs().max()

    assert kept == pytest.approx(level, abs=0.01 if level else 2e-4)


def test_a_sound_at_the_asked_rate_is_left_as_it_is() -> None:
    waveform = torch.rand(100)

    assert resampled(waveform, 16000, 16000) is waveform


def test_rates_without_a_common_divisor_displace_no_window(tmp_path: Path) -> None:
    wave = np.zeros(31 * 47999)
    wave[30 * 47999] = 0.9
    soundfile.write(tmp_path / "a.wav", wave, 47999)  # taken as 48,000: off by 10 samples at 30 s

    samples = read_windows(tmp_path / "a.wav", 16000, 8000, [30.0])[0]

    assert int(samples.abs().argmax()) == 4000


@pytest.mark.parametrize("native_hz", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("rate_hz", [16000, 22050])
def test_windows_are_cut_from_the_whole_resampled_sound(
    tmp_path: Path, native_hz: int, rate_hz: int
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * native_hz + 77)
    soundfile.write(tmp_path / "a.wav", noise, native_hz, subtype="FLOAT")
    centres = [0.0, 0.777, 1.5, 2.9, 99.0]

    windows = read_windows(tmp_path / "a.wav", rate_hz, 5000, centres)

    whole = resampled(torch.from_numpy(noise.astype(np.float32)), native_hz, rate_hz)
    latest = len(whole) - 5000
    starts = [min(max(round(c * rate_hz) - 2500, 0), latest) for c in centres]
    expected = torch.stack([whole[start : start + 5000] for start in starts])
    assert windows.shape == (5, 5000)
    torch.testing.assert_close(windows, expected.clamp(-1, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("native_hz", [8000, 16000, 44100])
@pytest.mark.parametrize("seconds", [0.1, 2.0])
def test_windows_of_a_sound_in_memory_are_those_of_its_file(
    tmp_path: Path, native_hz: int, seconds: float
) -> None:
    noise = np.random.default_rng(0).uniform(-1.2, 1.2, round(seconds * native_hz))
    noise = noise.astype(np.float32)
    soundfile.write(tmp_path / "a.wav", noise, native_hz, subtype="FLOAT")
    centres = [0.0, 0.777, 1.5, 99.0]

    windows = windows_of(torch.from_numpy(noise), native_hz, 16000, 5000, centres)

    expected = read_windows(tmp_path / "a.wav", 16000, 5000, centres)
    torch.testing.assert_close(windows, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("native_hz", [16000, 44100])
def test_a_window_has_its_middle_at_the_asked_time(tmp_path: Path, native_hz: int) -> None:
    wave = np.zeros(10 * native_hz)
    for second in (2, 5, 8):
        wave[second * native_hz] = 0.9
    soundfile.write(tmp_path / "a.wav", wave, native_hz)

    windows = read_windows(tmp_path / "a.wav", 16000, 16000, [2.0, 5.0, 8.0])

    assert windows.abs().argmax(1).tolist() == [8000, 8000, 8000]


def test_windows_may_come_in_any_order_and_twice(tmp_path: Path) -> None:
    ramp = np.arange(16000) / 16000
    soundfile.write(tmp_path / "a.wav", ramp, 16000, subtype="FLOAT")

    windows = read_windows(tmp_path / "a.wav", 16000, 1600, [0.75, 0.25, 0.75])

    assert windows[:, 800].tolist() == pytest.approx([0.75, 0.25, 0.75])


def test_the_middle_is_the_only_window_where_no_time_is_given(tmp_path: Path) -> None:
    ramp = np.arange(16000) / 16000
    soundfile.write(tmp_path / "a.wav", ramp, 16000, subtype="FLOAT")

    windows = read_windows(tmp_path / "a.wav", 16000, 4000)

    assert windows.shape == (1, 4000)
    assert windows[0].equal(read_sound(tmp_path / "a.wav", 16000, 4000))
    assert windows[0].numpy() == pytest.approx(ramp[6000:10000])


@pytest.mark.parametrize("native_hz", [16000, 48000])
def test_every_window_of_a_short_sound_repeats_it_from_its_start(
    tmp_path: Path, native_hz: int
) -> None:
    wave = chirp(native_hz, 0.5)
    soundfile.write(tmp_path / "a.wav", wave, native_hz, subtype="FLOAT")

    windows = read_windows(tmp_path / "a.wav", 16000, 20000, [0.1, 0.4])

    whole = resampled(torch.from_numpy(wave.astype(np.float32)), native_hz, 16000)
    assert windows[0].equal(windows[1])
    torch.testing.assert_close(windows[0], whole.repeat(3)[:20000], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("suffix", "subtype", "error"),
    [
        ("wav", "PCM_U8", 0.008),
        ("wav", "PCM_16", 4e-5),
        ("wav", "PCM_24", 1e-6),
        ("wav", "PCM_32", 1e-6),
        ("wav", "FLOAT", 1e-6),
        ("wav", "DOUBLE", 1e-6),
        ("wav", "ULAW", 0.02),
        ("flac", "PCM_16", 4e-5),
        ("flac", "PCM_24", 1e-6),
        ("ogg", "VORBIS", 0.08),
        ("mp3", "MPEG_LAYER_III", 0.08),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_sound_of_any_coding_is_read(
    tmp_path: Path, suffix: str, subtype: str, error: float, channels: int
) -> None:
    wave = chirp(16000, 3.0)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([wave] * channels, 1), 16000, subtype=subtype)

    samples = read_windows(path, 16000, 8000, [1.0])[0].numpy()

    assert sound_defect(path) is None
    np.testing.assert_allclose(samples, wave[12000:20000], rtol=0, atol=error)


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize(("file_format", "subtype"), [("WAV", "PCM_16"), ("WAVEX", "PCM_24")])
def test_any_number_of_channels_is_mixed_by_the_mean(
    tmp_path: Path, channels: int, file_format: str, subtype: str
) -> None:
    levels = np.tile(np.arange(channels) / 16, (8000, 1))
    soundfile.write(tmp_path / "a.wav", levels, 16000, format=file_format, subtype=subtype)

    samples = read_sound(tmp_path / "a.wav", 16000, 4000)

    assert samples.numpy() == pytest.approx(np.full(4000, (channels - 1) / 32), abs=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_16_bit_samples_are_those_of_libsndfile(tmp_path: Path, channels: int) -> None:
    wave = np.random.default_rng(0).integers(-32768, 32768, (16000, channels)).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", wave, 16000)

    samples = read_windows(tmp_path / "a.wav", 16000, 5000, [0.6])[0].numpy()

    window, _ = soundfile.read(
        tmp_path / "a.wav", 5000, start=7100, dtype="float32", always_2d=True
    )
    np.testing.assert_allclose(samples, window.mean(1), rtol=0, atol=0 if channels == 1 else 1e-7)


def test_chunks_around_the_samples_of_a_wav_are_passed_over(tmp_path: Path) -> None:
    path = written_tone(tmp_path / "a.wav", 440, 16000, seconds=1)
    plain, content = read_sound(path, 16000, 8000), path.read_bytes()
    extra = b"LIST" + struct.pack("<I", 3) + b"abc\0"  # an odd chunk is padded to an even place
    path.write_bytes(content[:36] + extra + content[36:] + extra)

    assert sound_defect(path) is None
    assert read_sound(path, 16000, 8000).equal(plain)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
def test_a_wav_of_any_width_that_was_cut_short_is_unreadable(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, chirp(16000, 1.0), 16000, subtype=subtype)
    path.write_bytes(path.read_bytes()[:-1000])

    assert (sound_defect(path) or "").startswith("truncated: the header says")
    with pytest.raises(UnreadableMediaError, match="truncated: the header says"):
        read_windows(path, 16000, 1000, [0.1])


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_a_compressed_sound_that_was_cut_short_is_unreadable(
    tmp_path: Path, suffix: str, kept: float
) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, chirp(16000, 3.0), 16000)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])

    assert sound_defect(path) is not None
    with pytest.raises(UnreadableMediaError):
        read_sound(path, 16000, 48000)


def test_a_window_of_an_mp3_is_where_it_is_in_the_whole_sound(tmp_path: Path) -> None:
    """Jumps of libsndfile into an MP3 miss their place."""
    soundfile.write(tmp_path / "a.mp3", chirp(44100, 8.0), 44100)
    whole = read_windows(tmp_path / "a.mp3", 44100, 8 * 44100)[0]

    window = read_windows(tmp_path / "a.mp3", 44100, 44100, [6.5])[0]

    assert window.equal(whole[6 * 44100 : 7 * 44100])


@pytest.mark.parametrize("file_format", ["AIFF", "W64"])
def test_containers_whose_truncation_would_go_unseen_are_refused(
    tmp_path: Path, file_format: str
) -> None:
    soundfile.write(tmp_path / "a.wav", chirp(16000, 1.0), 16000, format=file_format)

    expected = f"{file_format}, which is not WAV, FLAC, Ogg or MP3"
    assert sound_defect(tmp_path / "a.wav") == expected


@pytest.mark.parametrize("field", ["channels", "rate", "bits"])
def test_a_wav_whose_header_says_zero_is_unreadable(tmp_path: Path, field: str) -> None:
    path = written_tone(tmp_path / "a.wav", 440, 16000, seconds=1)
    content = bytearray(path.read_bytes())
    place = {"channels": 22, "rate": 24, "bits": 34}[field]
    content[place : place + 2] = b"\0\0"
    path.write_bytes(content)

    assert sound_defect(path) is not None


@pytest.mark.parametrize("length", [1, 11, 12, 20, 36, 43, 44])
def test_a_wav_that_ends_within_its_header_is_unreadable(tmp_path: Path, length: int) -> None:
    path = written_tone(tmp_path / "a.wav", 440, 16000, seconds=1)
    path.write_bytes(path.read_bytes()[:length])

    assert sound_defect(path) is not None
    with pytest.raises(UnreadableMediaError):
        read_sound(path, 16000, 8000)


def test_a_span_that_is_not_finite_is_unreadable_and_the_rest_is_read(tmp_path: Path) -> None:
    wave = np.zeros(16000)
    wave[15000] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")

    assert read_windows(tmp_path / "a.wav", 16000, 4000, [0.2]).abs().max() == 0
    with pytest.raises(UnreadableMediaError, match="NaN or infinite"):
        read_windows(tmp_path / "a.wav", 16000, 4000, [0.2, 0.9])


def test_windows_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", chirp(44100, 4.0), 44100)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = read_sound(tmp_path / "a.wav", 16000, 48000)
        torch.set_num_threads(4)
        together = read_sound(tmp_path / "a.wav", 16000, 48000)
    finally:
        torch.set_num_threads(threads)

    assert alone.equal(together)


@pytest.mark.parametrize(("first", "samples"), [(0, 80), (35, 30), (70, 30), (250, 120)])
def test_a_window_from_a_time_on_is_cut_from_the_repeated_sound(
    tmp_path: Path, first: int, samples: int
) -> None:
    sound = np.random.default_rng(0).integers(-20000, 20000, 90).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", sound, 8000, subtype="PCM_16")

    window = read_window_from(tmp_path / "a.wav", 8000, samples, first / 8000)

    expected = np.tile(sound, 9)[first : first + samples].astype(np.float32) / 32768
    assert np.array_equal(window.numpy(), expected)


def test_a_window_from_a_time_on_has_the_samples_of_the_whole_resampled_sound(
    tmp_path: Path,
) -> None:
    written_tone(tmp_path / "a.wav", 440, 22050)
    whole = read_window_from(tmp_path / "a.wav", 16000, 64000, 0.0)

    window = read_window_from(tmp_path / "a.wav", 16000, 8000, 1.25)

    assert torch.allclose(window, whole[20000:28000], atol=1e-6)
