import numpy as np
import pytest
import torch

from benchmark.speed import mining as stage
from benchmark.speed.harness import Line, Setting, Timer, measured_lines, one_thread


@pytest.fixture(scope="module")
def lines() -> tuple[Line, ...]:
    with one_thread():
        setting = Setting(quick=True, device="cpu")
        return measured_lines(stage.comparisons(setting), Timer(rounds=1, judged=False))


def test_all_claims_of_the_mining_stage_are_true(lines: tuple[Line, ...]):
    claims = [claim for line in lines for claim in line.claims]

    assert [claim.text for claim in claims if not claim.holds] == []
    assert len(claims) == 4


def test_the_targets_of_the_mining_stage_are_those_that_were_set(lines: tuple[Line, ...]):
    targets = [str(line.target) for line in lines if line.target is not None]

    assert targets == ["at least 2.5x", "at most 0.2x", "at least 1.35x", "at least 0.75"]
    assert (stage.FULL.short, stage.FULL.held, stage.FULL.queries) == (10_000, 20_000, 2048)
    assert (stage.FULL.long, stage.FULL.width, stage.FULL.k) == (144_000, 512, 1000)


def test_other_neighbours_are_no_claim_to_be_the_same():
    vectors = stage.unit_rows(40, 5)
    right = stage.sorted_neighbours(vectors, 4)
    worse = np.roll(right, 1, axis=0)

    assert [claim.holds for claim in stage.neighbour_claims(vectors, right, right)] == [True, True]
    same, alone = stage.neighbour_claims(vectors, right, worse)
    assert not same.holds
    assert not alone.holds


def test_the_naive_way_is_a_full_sort():
    vectors = stage.unit_rows(12, 3)

    found = stage.sorted_neighbours(vectors, 3)

    for row, others in enumerate(found.tolist()):
        scores = {j: float(vectors[row] @ vectors[j]) for j in range(12) if j != row}
        assert sorted(scores, key=lambda j: -scores[j])[:3] == others


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_whole_list_by_sound_and_by_image_is_timed_on_a_gpu():
    line = stage.on_gpu(stage.QUICK, Setting()).line(Timer(rounds=1))

    assert line.verdict == "reached"


def test_without_a_gpu_the_whole_list_is_said_to_be_absent():
    line = stage.on_gpu(stage.QUICK, Setting(device="cpu")).line(Timer(rounds=1))

    assert (line.ours, line.note) == (None, "no GPU here, or not asked for")
