import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from metrics.functional.interactive import align_frame_of, interactive_hits


def looped_interactive_iou(hit: list[float], frames: list[str]) -> float:
    groups: dict[str, list[float]] = {}
    for value, frame in zip(hit, frames, strict=True):
        groups.setdefault(frame, []).append(value)
    return sum(all(values) for values in groups.values()) / len(groups)


def test_the_mean_of_the_column_is_the_share_of_frames_whose_sounds_are_all_found():
    rng = np.random.default_rng(0)
    frames = [f"frame{k}" for k in rng.integers(30, size=80)]
    hit = (rng.random(80) < 0.7).astype(np.float64)

    column = interactive_hits(hit, frames, Counter(frames))

    expected = looped_interactive_iou(hit.tolist(), frames)
    assert np.nanmean(column) == pytest.approx(expected, abs=1e-15)


def test_a_frame_is_worth_one_row_wherever_its_samples_lie():
    hit = np.array([1.0, 0.0, 1.0, 1.0])

    column = interactive_hits(hit, ["a", "b", "a", "b"], {"a": 2, "b": 2})

    np.testing.assert_array_equal(column, [1.0, 0.0, np.nan, np.nan])


def test_a_frame_of_one_sound_is_found_where_its_sample_is():
    column = interactive_hits(np.array([1.0, 0.0]), ["a", "b"], {"a": 1, "b": 1})

    assert column.tolist() == [1.0, 0.0]


def test_a_frame_with_a_sound_that_was_not_scored_is_left_out():
    hit = np.array([1.0, np.nan, 0.0])

    column = interactive_hits(hit, ["a", "a", "b"], {"a": 2, "b": 2})

    assert np.isnan(column).all()


def test_the_row_of_a_frame_is_its_first_scored_one():
    hit = np.array([np.nan, 1.0, 1.0])

    column = interactive_hits(hit, ["a", "a", "a"], {"a": 2})

    np.testing.assert_array_equal(column, [np.nan, 1.0, np.nan])


def test_a_sample_without_a_frame_takes_no_part():
    column = interactive_hits(np.array([1.0, 1.0]), [None, "a"], {"a": 1})

    np.testing.assert_array_equal(column, [np.nan, 1.0])


@pytest.mark.parametrize("members", [{"a": 1}, {}])
def test_more_samples_than_the_test_list_has_are_refused(members: dict[str, int]):
    with pytest.raises(ValueError, match=f"'a' must have at most {len(members)} samples, got 2"):
        interactive_hits(np.array([1.0, 1.0]), ["a", "a"], members)


def test_hits_and_frames_of_different_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        interactive_hits(np.array([1.0]), ["a", "a"], {"a": 2})


@pytest.mark.parametrize(
    ("sample_id", "frame"),
    [
        ("accordion_female_10438_accordion", "accordion_female_10438"),
        ("zpWuikVorYg_000032", "zpWuikVorYg"),
        ("3908875350", ""),
        ("a__b", "a_"),
    ],
)
def test_aligns_frame_is_the_id_without_its_last_part(sample_id: str, frame: str):
    assert align_frame_of(sample_id) == frame


def test_the_6480_samples_of_is3_are_pairs_on_3240_frames(shared_data: Path):
    entries = json.loads((shared_data / "annotations/is3/synthetic3240_bbox.json").read_text())
    frames = Counter(align_frame_of(Path(entry["image"]).stem) for entry in entries)

    assert len(entries) == 6480
    assert len(frames) == 3240
    assert set(frames.values()) == {2}
