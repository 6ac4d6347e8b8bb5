import hashlib

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from datamodules.augment import AUGMENTATIONS, augmented_frames, augmented_sound


def rngs(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, row]) for row in range(count)]


def noise_frames(clips: int, segments: int, size: int = 20) -> Tensor:
    shape = (clips, segments, 3, size, size)
    return torch.from_numpy(np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8))


def noise_sound(clips: int, segments: int) -> Tensor:
    values = np.random.default_rng(0).uniform(-0.5, 0.5, (clips, segments, 200))
    return torch.from_numpy(values.astype(np.float32))


def windows(frame: Tensor) -> list[Tensor]:
    """All windows of 20 x 20 px of a frame enlarged to 22 x 22, and their mirror images."""
    large = tv.resize(frame, [22, 22], tv.InterpolationMode.BICUBIC, antialias=True)
    cut = [large[..., t : t + 20, left : left + 20] for t in range(3) for left in range(3)]
    return cut + [window.flip(-1) for window in cut]


def test_none_is_the_identity():
    frames, sound = noise_frames(2, 1), noise_sound(2, 1)

    assert augmented_frames(frames, "none", rngs(2))[0] is frames
    assert augmented_sound(sound, "none", rngs(2)) is sound


@pytest.mark.parametrize("name", ["crop_flip", "crop_flip_roll"])
def test_a_frame_becomes_a_window_of_the_enlarged_frame(name: str):
    frames = noise_frames(6, 1)

    augmented, _ = augmented_frames(frames, name, rngs(6))

    assert (frames.shape, torch.uint8) == (augmented.shape, augmented.dtype)
    for before, after in zip(frames[:, 0], augmented[:, 0], strict=True):
        assert sum(after.equal(window) for window in windows(before)) == 1


def test_all_18_windows_are_drawn():
    frame = noise_frames(1, 1)

    augmented, _ = augmented_frames(frame.expand(300, -1, -1, -1, -1), "crop_flip", rngs(300))

    places = windows(frame[0, 0])
    counts = [sum(after[0].equal(window) for after in augmented) for window in places]
    assert sum(counts) == 300
    assert min(counts) > 0
    assert 100 < sum(counts[:9]) < 200  # half are mirrored: 150, standard deviation 8.7


@pytest.mark.parametrize("name", ["crop_flip", "moco"])
def test_all_frames_of_a_clip_move_together(name: str):
    frames = noise_frames(5, 1).expand(-1, 4, -1, -1, -1)

    augmented, _ = augmented_frames(frames, name, rngs(5))

    for clip in augmented:
        assert all(frame.equal(clip[0]) for frame in clip)


@pytest.mark.parametrize("name", ["crop_flip", "moco"])
def test_clips_move_each_on_their_own(name: str):
    frames = noise_frames(1, 1).expand(8, -1, -1, -1, -1)

    augmented, _ = augmented_frames(frames, name, rngs(8))

    assert len({clip.numpy().tobytes() for clip in augmented}) > 1


@pytest.mark.parametrize("name", ["crop_flip", "crop_flip_roll", "moco"])
def test_a_clip_moves_alike_in_any_batch(name: str):
    frames, sound = noise_frames(4, 2), noise_sound(4, 2)

    alone, _ = augmented_frames(frames[2:], name, rngs(4)[2:])

    assert alone.equal(augmented_frames(frames, name, rngs(4))[0][2:])
    assert augmented_sound(sound[2:], name, rngs(4)[2:]).equal(
        augmented_sound(sound, name, rngs(4))[2:]
    )


@pytest.mark.parametrize("name", ["crop_flip", "moco"])
def test_frames_that_are_not_square_keep_their_shape(name: str):
    frames = noise_frames(2, 1)[..., :10, :]

    assert augmented_frames(frames, name, rngs(2))[0].shape == (2, 1, 3, 10, 20)


@pytest.mark.parametrize("name", ["crop_flip", "moco"])
def test_the_sound_is_left_alone_where_only_frames_move(name: str):
    sound = noise_sound(2, 1)

    assert augmented_sound(sound, name, rngs(2)) is sound


def best_roll(before: Tensor, after: Tensor) -> tuple[int, float]:
    """The turn in time that leaves the least difference, and that difference's spread."""
    spreads = [(after - before.roll(turn)).std().item() for turn in range(len(before))]
    return int(np.argmin(spreads)), min(spreads)


def test_crop_flip_roll_turns_the_sound_and_adds_a_little_noise():
    sound = noise_sound(40, 1)

    augmented = augmented_sound(sound, "crop_flip_roll", rngs(40))

    found = [best_roll(sound[row, 0], augmented[row, 0]) for row in range(40)]
    assert augmented.dtype == torch.float32
    assert len({turn for turn, _ in found}) > 30
    assert max(spread for _, spread in found) < 0.02 * 1.25  # 5 standard errors of 200 samples
    assert max(spread for _, spread in found) > 0.015
    assert min(spread for _, spread in found) < 0.005


def test_all_segments_of_a_clip_turn_together():
    sound = noise_sound(6, 3)

    augmented = augmented_sound(sound, "crop_flip_roll", rngs(6))

    for before, after in zip(sound, augmented, strict=True):
        assert len({best_roll(*pair)[0] for pair in zip(before, after, strict=True)}) == 1


def test_sound_stays_within_full_scale():
    augmented = augmented_sound(torch.ones(5, 1, 100), "crop_flip_roll", rngs(5))

    assert augmented.max() <= 1


@pytest.mark.parametrize("name", ["crop_flip_roll", "moco"])
def test_augmentation_leaves_its_input_as_it_was(name: str):
    frames, sound, boxes = noise_frames(2, 1), noise_sound(2, 1), torch.rand(2, 3, 4)
    copies = frames.clone(), sound.clone(), boxes.clone()
    augmented_frames(frames, name, rngs(2), boxes)
    augmented_sound(sound, name, rngs(2))

    assert frames.equal(copies[0])
    assert sound.equal(copies[1])
    assert boxes.equal(copies[2])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_only_the_given_generators_are_drawn_from(name: str):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    once, _ = augmented_frames(noise_frames(4, 1), name, rngs(4))
    after = torch.get_rng_state()
    torch.manual_seed(2)

    assert after.equal(before)
    assert augmented_frames(noise_frames(4, 1), name, rngs(4))[0].equal(once)


@pytest.mark.parametrize("name", ["crop_flip", "crop_flip_roll"])
def test_frames_keep_the_bytes_of_recorded_runs(name: str):
    """Written down at 8f6a744, before boxes moved along; records depend on it."""
    seeds = [np.random.default_rng([1, 2, 3, row]) for row in range(4)]
    noise = np.random.default_rng(5).integers(0, 256, (4, 2, 3, 20, 20), np.uint8)

    frames, _ = augmented_frames(torch.from_numpy(noise), name, seeds)

    expected = "1f4ef22727df80a7d7a94e966eacd0a2d9c5608fc24ab6dd94ffc3a3f06a6a9a"
    assert hashlib.sha256(frames.numpy().tobytes()).hexdigest() == expected


BOX = [0.3, 0.55, 0.6, 0.9]


def painted(box: list[float], clips: int, size: int = 100) -> Tensor:
    """Black frames, white inside the box."""
    left, top, right, bottom = (round(edge * size) for edge in box)
    frame = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    frame[..., top:bottom, left:right] = 255
    return frame.expand(clips, 1, 3, size, size)


def extent_of_white(frame: Tensor) -> list[float] | None:
    """Box around what is brighter than the middle; None where all is alike."""
    plane = frame[1].float()
    if plane.max() - plane.min() < 40:
        return None
    bright = plane > (plane.max() + plane.min()) / 2
    rows, columns = bright.any(1).nonzero(), bright.any(0).nonzero()
    size = len(plane)
    edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return [edge.item() / size for edge in edges]


@pytest.mark.parametrize("name", ["crop_flip", "crop_flip_roll", "moco"])
def test_a_box_is_where_its_object_is_shown(name: str):
    boxes = torch.tensor([BOX]).expand(60, 1, 4)

    frames, moved = augmented_frames(painted(BOX, 60), name, rngs(60), boxes)

    assert (moved.shape, moved.dtype) == ((60, 1, 4), torch.float32)
    assert len(moved.unique(dim=0)) > 30
    for frame, (box,) in zip(frames, moved.tolist(), strict=True):
        assert box == pytest.approx(extent_of_white(frame[0]), abs=0.016)  # 1.6 pixels


@pytest.mark.parametrize("name", ["crop_flip", "moco"])
def test_a_box_that_is_cropped_away_becomes_nan_and_its_object_is_gone(name: str):
    corner = [0.0, 0.0, 0.04, 0.04]
    boxes = torch.tensor([corner]).expand(80, 1, 4)

    frames, moved = augmented_frames(painted(corner, 80), name, rngs(80), boxes)

    gone = [bool(box.isnan().all()) for box in moved[:, 0]]
    assert 5 < sum(gone) < 75
    assert not any(box.isnan().any() for box, lost in zip(moved, gone, strict=True) if not lost)
    assert all(extent_of_white(frame[0]) is None
               for frame, lost in zip(frames, gone, strict=True) if lost)  # fmt: skip


@pytest.mark.parametrize("name", ["none", "crop_flip", "moco"])
def test_absent_boxes_stay_absent_and_do_not_change_the_others(name: str):
    present = torch.tensor([[BOX, [0.2, 0.2, 0.7, 0.7]]]).expand(4, 2, 4)
    absent = torch.full((4, 1, 4), torch.nan)
    frames = noise_frames(4, 1)

    alone, moved = augmented_frames(frames, name, rngs(4), present)
    same, padded = augmented_frames(frames, name, rngs(4), torch.cat([present, absent], 1))

    assert padded[:, 2].isnan().all()
    assert padded[:, :2].equal(moved)
    assert same.equal(alone)


def test_boxes_do_not_change_how_frames_move():
    frames, boxes = noise_frames(3, 1), torch.rand(3, 2, 4)

    assert augmented_frames(frames, "moco", rngs(3), boxes)[0].equal(
        augmented_frames(frames, "moco", rngs(3))[0]
    )


def test_no_boxes_are_moved_to_no_boxes():
    frames = noise_frames(2, 1)

    assert augmented_frames(frames, "crop_flip", rngs(2))[1] is None
    assert augmented_frames(frames, "crop_flip", rngs(2), torch.ones(2, 0, 4))[1].shape == (2, 0, 4)


def test_moco_shows_30_to_100_percent_of_the_area_in_shapes_of_3_to_4():
    centre = torch.tensor([[[0.49, 0.49, 0.51, 0.51]]]).expand(400, 1, 4)

    _, moved = augmented_frames(noise_frames(400, 1, 50), "moco", rngs(400), centre)

    left, top, right, bottom = moved.double().squeeze(1).unbind(1)
    inside = (left > 0) & (top > 0) & (right < 1) & (bottom < 1)
    width, height = (0.02 / (right - left))[inside], (0.02 / (bottom - top))[inside]
    area, ratio = width * height, width / height
    assert inside.sum() > 300
    assert area.min() == pytest.approx(0.3, abs=0.03)
    assert area.max() == pytest.approx(1.0, abs=0.08)
    assert ratio.min() == pytest.approx(0.75, abs=0.03)
    assert ratio.max() == pytest.approx(4 / 3, abs=0.05)


def test_moco_mirrors_one_clip_in_two():
    gradient = torch.arange(0, 250, 5, dtype=torch.uint8).expand(400, 1, 3, 50, 50)

    augmented, _ = augmented_frames(gradient, "moco", rngs(400))

    falls = augmented[:, 0, 0, 25, 5].int() > augmented[:, 0, 0, 25, 45].int()
    assert falls.double().mean() == pytest.approx(0.5, abs=0.075)  # 3 standard deviations


def test_moco_leaves_one_flat_frame_in_six_its_colour_and_makes_one_in_five_gray():
    flat = torch.tensor([200, 90, 40], dtype=torch.uint8).view(3, 1, 1).expand(500, 1, 3, 20, 20)

    augmented, _ = augmented_frames(flat, "moco", rngs(500))

    colours = augmented[:, 0, :, 10, 10]
    kept = (colours == flat[0, 0, :, 10, 10]).all(1)
    gray = (colours == colours[:, :1]).all(1)
    assert kept.double().mean() == pytest.approx(0.2 * 0.8, abs=0.05)  # no jitter, no loss
    assert gray.double().mean() == pytest.approx(0.2, abs=0.054)
    assert len(colours.unique(dim=0)) > 300


def test_moco_jitters_brightness_up_and_down_within_two_fifths():
    gray = torch.full((300, 1, 3, 20, 20), 100, dtype=torch.uint8)

    augmented, _ = augmented_frames(gray, "moco", rngs(300))

    levels = augmented[:, 0, 0, 10, 10]  # of a flat gray frame nothing else changes
    assert 58 <= levels.min() <= 66
    assert 134 <= levels.max() <= 142


def test_moco_blurs_one_clip_in_two_by_up_to_two_pixels():
    edge = torch.zeros(400, 1, 3, 64, 64, dtype=torch.uint8)
    edge[..., 32:] = 255

    augmented, _ = augmented_frames(edge, "moco", rngs(400))

    profile = augmented[:, 0, 0, 32].double()
    rise = profile.diff(dim=1).abs().max(1).values / (profile.amax(1) - profile.amin(1))
    rise = rise[rise.isfinite()]
    # a Gaussian of sigma has 1 / (sigma sqrt(2 pi)) of a step in its middle pixel; enlarging by up
    # to 2 leaves 1 / 2, so what is under 0.4 was blurred by more than 1 px: half of 1 / 1.9
    assert (rise < 0.4).double().mean() == pytest.approx(0.5 / 1.9, abs=0.07)
    assert rise.min() == pytest.approx(1 / (2 * np.sqrt(2 * np.pi)), abs=0.03)
