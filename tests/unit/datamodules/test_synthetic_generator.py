import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from datamodules.synthetic_generator import (
    CLASSES,
    SPLITS,
    SyntheticClip,
    SyntheticSpec,
    generate_clip,
)
from datamodules.synthetic_sounds import FAMILIES, PITCHES_HZ
from metrics.floors import floor_scores
from metrics.scoring import score_maps
from metrics.truth import Truth

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "synthetic_v1.json").read_text())
SPEC = SyntheticSpec()


@pytest.fixture(scope="module")
def held_out() -> list[SyntheticClip]:
    return [generate_clip(0, index, SPEC, split="test") for index in range(500)]


@pytest.fixture(scope="module")
def truth(held_out: list[SyntheticClip]) -> list[Truth]:
    """Truth of the first 192 test clips: twelve of each class."""
    return [
        Truth(
            f"test-{row:06d}",
            (clip.source_box,),
            category=CLASSES[clip.labels[0]],
            objects=clip.boxes[0][clip.classes >= 0],
        )
        for row, clip in enumerate(held_out[:192])
    ]


def digest(arrays: list[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("field", ["frames", "sound"])
def test_first_clips_of_a_split_have_their_frozen_bytes(split: str, field: str) -> None:
    clips = [generate_clip(0, index, SPEC, split=split) for index in range(8)]

    assert GOLDEN["first_8_clips"][split][field] == digest([getattr(c, field) for c in clips])


@pytest.mark.parametrize("field", ["object_map", "boxes", "classes", "sounding", "annotators"])
def test_truth_of_the_test_split_has_its_frozen_bytes(
    held_out: list[SyntheticClip], field: str
) -> None:
    assert GOLDEN["test_500"][field] == digest([getattr(clip, field) for clip in held_out])


def test_a_clip_depends_on_its_seed_its_split_and_its_index() -> None:
    clips = [
        generate_clip(0, 16, SPEC, split="test"),
        generate_clip(1, 16, SPEC, split="test"),
        generate_clip(0, 16, SPEC, split="val"),
        generate_clip(0, 0, SPEC, split="test"),
    ]

    assert len({digest([clip.frames]) for clip in clips}) == 4
    assert len({digest([clip.sound]) for clip in clips}) == 4


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\('train', 'val', 'test'\), got 'dev'"):
        generate_clip(0, 0, SPEC, split="dev")


def test_sixteen_clips_in_a_row_hold_every_class_once(held_out: list[SyntheticClip]) -> None:
    labels = [int(clip.labels[0]) for clip in held_out[32:48]]

    assert sorted(labels) == list(range(16))


def test_distractors_are_of_other_classes_than_each_other_and_the_source(
    held_out: list[SyntheticClip],
) -> None:
    for clip in held_out:
        present = clip.classes[clip.classes >= 0].tolist()

        assert len(present) in (2, 3)
        assert len(set(present)) == len(present)


def test_the_label_is_the_class_of_the_sounding_object(held_out: list[SyntheticClip]) -> None:
    for clip in held_out:
        assert clip.classes[clip.sounding[0]].tolist() == clip.labels.tolist()


def test_boxes_are_the_extremes_of_the_pixels_of_each_object(
    held_out: list[SyntheticClip],
) -> None:
    for clip in held_out[:50]:
        for position in np.flatnonzero(clip.classes >= 0):
            rows, columns = np.nonzero(clip.object_map[0] == position + 1)

            expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert (64 * clip.boxes[0, position]).tolist() == expected


def test_boxes_of_a_frame_do_not_overlap_by_more_than_rounding(
    held_out: list[SyntheticClip],
) -> None:
    for clip in held_out:
        boxes = clip.boxes[0][clip.classes >= 0]
        for a in range(len(boxes)):
            for b in range(a):
                x0, y0 = np.maximum(boxes[a, :2], boxes[b, :2])
                x1, y1 = np.minimum(boxes[a, 2:], boxes[b, 2:])
                assert min(x1 - x0, y1 - y0) <= 0


def test_objects_are_whole_and_of_the_specified_size(held_out: list[SyntheticClip]) -> None:
    pixel = 1 / 64
    for clip in held_out:
        width, height = (clip.boxes[0, :, 2:] - clip.boxes[0, :, :2])[clip.classes >= 0].T

        assert height.min() >= 2 * 0.14 - pixel
        assert height.max() <= 2 * 0.22 + pixel
        assert np.abs(width - height).max() <= 2 * pixel


def test_source_mask_is_the_part_of_the_object_map_inside_the_source_box(
    held_out: list[SyntheticClip],
) -> None:
    clip = held_out[0]
    x0, y0, x1, y1 = (64 * clip.source_box[0]).astype(int)

    cut = clip.object_map[0, y0:y1, x0:x1] > 0
    assert np.array_equal(clip.source_mask[0, y0:y1, x0:x1], cut)
    assert clip.source_mask.sum() == cut.sum()


def test_annotators_disagree_but_stay_near_the_box(held_out: list[SyntheticClip]) -> None:
    for clip in held_out:
        miss = np.abs(clip.annotators[0] - clip.source_box[0])

        assert 0 < miss.max() <= 0.1 * (2 * 0.22 + 2 / 64)
        assert len(np.unique(clip.annotators[0], axis=0)) == 3


@pytest.mark.parametrize("image_size", [96, 224])
def test_the_scene_is_the_same_at_every_image_size(image_size: int) -> None:
    small = generate_clip(0, 3, SPEC)
    large = generate_clip(0, 3, SyntheticSpec(image_size=image_size))

    assert large.frames.shape == (1, image_size, image_size, 3)
    assert np.array_equal(small.sound, large.sound)
    assert np.allclose(small.boxes, large.boxes, atol=1 / 64, equal_nan=True)


@pytest.mark.parametrize("statistic", ["size", "distance from the middle", "slot"])
def test_the_picture_does_not_tell_which_object_sounds(
    held_out: list[SyntheticClip], statistic: str
) -> None:
    differences = []
    for clip in held_out:
        boxes = clip.boxes[0][clip.classes >= 0]
        value = {
            "size": boxes[:, 3] - boxes[:, 1],
            "distance from the middle": np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5).max(1),
            "slot": np.arange(len(boxes)),
        }[statistic]
        is_source = clip.sounding[0, : len(boxes)]
        differences.append(value[is_source][0] - value[~is_source].mean())

    standard_error = np.std(differences) / np.sqrt(len(differences))
    assert abs(np.mean(differences)) < 3 * standard_error


def test_no_two_sounds_are_alike(held_out: list[SyntheticClip]) -> None:
    assert len({digest([clip.sound]) for clip in held_out}) == 500


def test_sounds_are_loud_enough_and_never_clip(held_out: list[SyntheticClip]) -> None:
    for clip in held_out:
        assert np.abs(clip.sound.astype(int)).max() < 32767
        assert np.sqrt(np.mean(clip.sound.astype(float) ** 2)) > 0.02 * 32768


@pytest.mark.parametrize("label", range(16))
def test_a_sound_has_its_energy_around_the_pitch_of_its_class(label: int) -> None:
    seconds = 1.0
    clip = generate_clip(0, label, SyntheticSpec(seconds=seconds))
    power = np.abs(np.fft.rfft(clip.sound[0])) ** 2
    frequency = np.fft.rfftfreq(16000, 1 / 16000)

    pitch_hz = PITCHES_HZ[label % len(PITCHES_HZ)]
    strongest_hz = frequency[power.argmax()]
    assert 0.6 * pitch_hz < strongest_hz < 1.5 * pitch_hz


def test_classes_are_easy_to_tell_by_ear_and_families_easier(
    held_out: list[SyntheticClip],
) -> None:
    labels = np.array([clip.labels[0] for clip in held_out])
    features = log_band_statistics(np.array([clip.sound[0] for clip in held_out]))
    fold = np.arange(500) // 100

    heard = np.empty(500, dtype=int)
    for asked in range(5):
        known = fold != asked
        means = np.array([features[known & (labels == c)].mean(0) for c in range(16)])
        heard[~known] = ((features[~known, None] - means) ** 2).sum(-1).argmin(1)
    class_accuracy = (heard == labels).mean()
    family_accuracy = (heard // 4 == labels // 4).mean()
    assert 0.9 < class_accuracy < family_accuracy


def log_band_statistics(sounds: np.ndarray) -> np.ndarray:
    """Mean and spread over time of 32 log-spaced band energies, ``(N, 64)``."""
    windows = np.lib.stride_tricks.sliding_window_view(sounds, 1024, axis=1)[:, ::1000]
    power = np.abs(np.fft.rfft(windows * np.hanning(1024), axis=-1)) ** 2
    edges = np.geomspace(10, 480, 33).astype(int)
    bands = np.log(np.add.reduceat(power, edges, axis=-1)[..., :-1] / 32768**2 + 1e-3)
    return np.concatenate([bands.mean(1), bands.std(1)], axis=1)


def test_class_names_pair_a_shape_with_a_family() -> None:
    assert len(CLASSES) == 16 == len(FAMILIES) * len(PITCHES_HZ)
    assert len(set(CLASSES)) == 16


@pytest.mark.parametrize(
    ("floor", "low", "high"),
    [("center", 0.05, 0.2), ("all_objects", 0.15, 0.35), ("full", 0.0, 0.01)],
)
def test_deaf_floors_stay_in_the_range_the_generator_was_made_for(
    truth: list[Truth], floor: str, low: float, high: float
) -> None:
    scores = floor_scores(floor, truth, "bench-v1")

    assert low <= scores.metrics["ciou@0.5"] < high


def test_the_true_box_is_always_a_hit(truth: list[Truth]) -> None:
    centre = (np.arange(64) + 0.5) / 64
    inside = [
        [(b[0, low] < centre) & (centre < b[0, low + 2]) for low in (1, 0)]
        for (b,) in (sample.boxes for sample in truth)
    ]
    heatmaps = np.array([rows[:, None] & columns[None] for rows, columns in inside], np.float32)

    scores = score_maps([sample.id for sample in truth], heatmaps, truth, "bench-v1")
    assert scores.metrics["ciou@0.5"] == 1.0


def test_the_source_mask_is_always_a_hit(held_out: list[SyntheticClip], truth: list[Truth]) -> None:
    heatmaps = np.array([clip.source_mask[0] for clip in held_out[:192]], np.float32)

    scores = score_maps([sample.id for sample in truth], heatmaps, truth, "bench-v1")
    assert scores.metrics["ciou@0.5"] == 1.0
