import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from datamodules.augment import augmented_frames, augmented_sound


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

    augmented = augmented_frames(frames, name, rngs(6))[0]

    assert (frames.shape, torch.uint8) == (augmented.shape, augmented.dtype)
    for before, after in zip(frames[:, 0], augmented[:, 0], strict=True):
        assert sum(after.equal(window) for window in windows(before)) == 1


def test_all_18_windows_are_drawn():
    frame = noise_frames(1, 1)

    augmented = augmented_frames(frame.expand(300, -1, -1, -1, -1), "crop_flip", rngs(300))[0]

    places = windows(frame[0, 0])
    counts = [sum(after[0].equal(window) for after in augmented) for window in places]
    assert sum(counts) == 300
    assert min(counts) > 0
    assert 100 < sum(counts[:9]) < 200  # half are mirrored: 150, standard deviation 8.7


def test_all_frames_of_a_clip_move_together():
    frames = noise_frames(5, 1).expand(-1, 4, -1, -1, -1)

    augmented = augmented_frames(frames, "crop_flip", rngs(5))[0]

    for clip in augmented:
        assert all(frame.equal(clip[0]) for frame in clip)


def test_clips_move_each_on_their_own():
    frames = noise_frames(1, 1).expand(8, -1, -1, -1, -1)

    augmented = augmented_frames(frames, "crop_flip", rngs(8))[0]

    assert len({clip.numpy().tobytes() for clip in augmented}) > 1


@pytest.mark.parametrize("name", ["crop_flip", "crop_flip_roll"])
def test_a_clip_moves_alike_in_any_batch(name: str):
    frames, sound = noise_frames(4, 2), noise_sound(4, 2)

    assert augmented_frames(frames[2:], name, rngs(4)[2:])[0].equal(
        augmented_frames(frames, name, rngs(4))[0][2:]
    )
    assert augmented_sound(sound[2:], name, rngs(4)[2:]).equal(
        augmented_sound(sound, name, rngs(4))[2:]
    )


def test_frames_that_are_not_square_keep_their_shape():
    frames = noise_frames(2, 1)[..., :10, :]

    assert augmented_frames(frames, "crop_flip", rngs(2))[0].shape == (2, 1, 3, 10, 20)


def test_crop_flip_leaves_the_sound_alone():
    sound = noise_sound(2, 1)

    assert augmented_sound(sound, "crop_flip", rngs(2)) is sound


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


def test_augmentation_leaves_its_input_as_it_was():
    frames, sound = noise_frames(2, 1), noise_sound(2, 1)
    copies = frames.clone(), sound.clone()
    augmented_frames(frames, "crop_flip_roll", rngs(2))[0]
    augmented_sound(sound, "crop_flip_roll", rngs(2))

    assert frames.equal(copies[0])
    assert sound.equal(copies[1])


def test_boxes_move_with_the_picture():
    frames = torch.zeros(60, 1, 3, 40, 40, dtype=torch.uint8)
    frames[..., 10:30, 4:20] = 255
    boxes = torch.tensor([[[0.1, 0.25, 0.5, 0.75], [torch.nan] * 4]]).expand(60, 2, 4)

    augmented, moved = augmented_frames(frames, "crop_flip", rngs(60), boxes)

    assert moved is not None
    assert moved[:, 1].isnan().all()
    for frame, box in zip(augmented[:, 0, 0], moved[:, 0], strict=True):
        rows, columns = (frame > 127).nonzero(as_tuple=True)
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert (torch.stack(edges) / 40 - box).abs().max() <= 0.5 / 40 + 1e-6


def test_a_box_that_was_cropped_away_is_absent():
    corner = torch.tensor([[[0.0, 0.0, 0.01, 0.01]]]).expand(40, 1, 4)
    frames = torch.zeros(40, 1, 3, 40, 40, dtype=torch.uint8)

    _, moved = augmented_frames(frames, "crop_flip", rngs(40), corner)

    assert moved is not None
    absent = moved.isnan().all(-1)
    assert 0 < absent.sum() < 40
