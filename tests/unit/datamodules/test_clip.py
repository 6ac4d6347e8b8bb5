import pytest
import torch

from datamodules.clip import Clip, Features, Inputs


def clips(rows: list[int], *, proposals: bool = False, features: bool = False) -> Clip:
    count = len(rows)
    index = torch.tensor(rows)
    return Clip(
        index,
        index.view(-1, 1, 1, 1, 1).expand(-1, 2, 3, 4, 4).to(torch.uint8),
        index.view(-1, 1, 1).expand(-1, 2, 5).float(),
        torch.ones(count, dtype=torch.int64),
        torch.full((count, 2, 3, 4), 0.5) if proposals else None,
        Features(index.view(-1, 1, 1, 1, 1).expand(-1, 2, 6, 1, 1), None) if features else None,
    )


@pytest.mark.parametrize(
    ("sample_rate_hz", "seconds", "expected"), [(16000, 3.0, 48000), (22050, 0.96, 21168)]
)
def test_segment_samples_are_rate_times_seconds(sample_rate_hz: int, seconds: float, expected: int):
    inputs = Inputs(sample_rate_hz=sample_rate_hz, segment_seconds=seconds)

    assert expected == inputs.segment_samples


def test_cat_puts_the_other_clips_behind():
    joined = clips([3, 1], proposals=True).cat(clips([7], proposals=True))

    assert joined.index.tolist() == [3, 1, 7]
    assert joined.frames[:, 1, 2, 3, 3].tolist() == [3, 1, 7]
    assert joined.waveform[:, 1, 4].tolist() == [3, 1, 7]
    assert joined.target.tolist() == [1, 1, 1]
    assert joined.proposals.shape == (3, 2, 3, 4)


@pytest.mark.parametrize("first", [False, True])
def test_cat_has_no_proposals_where_either_has_none(first: bool):
    joined = clips([0], proposals=first).cat(clips([1], proposals=not first))

    assert joined.proposals is None


def test_cat_puts_the_other_features_behind():
    joined = clips([0, 4], features=True).cat(clips([1], features=True))

    assert joined.features is not None
    assert joined.features.visual is not None
    assert joined.features.visual[:, 1, 5, 0, 0].tolist() == [0, 4, 1]
    assert joined.features.audio is None


@pytest.mark.parametrize("first", [False, True])
def test_cat_has_no_features_where_either_has_none(first: bool):
    assert clips([0], features=first).cat(clips([1], features=not first)).features is None


def test_to_moves_every_tensor_there_is():
    moved = clips([0, 1], proposals=True, features=True).to(torch.device("meta"))

    assert {"meta"} == {tensor.device.type for tensor in (*moved[:5], moved.features.visual)}
    assert moved.features.audio is None


def test_to_keeps_what_is_absent_absent():
    moved = clips([0]).to(torch.device("meta"))

    assert moved.proposals is None
    assert moved.features is None
