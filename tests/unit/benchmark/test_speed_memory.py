import pytest

from benchmark.speed.harness import Setting, Timer, measured_lines
from benchmark.speed.memory import (
    FULL,
    QUICK,
    STATUS,
    Sizes,
    Step,
    claims,
    comparisons,
    in_a_process,
    step,
)


def test_both_ways_are_the_same_step() -> None:
    whole, chunked = (step(QUICK, maps) for maps in ("whole", "chunked"))

    assert all(claim.holds for claim in claims(whole, chunked))
    assert len(whole.gradients) > QUICK.clips * QUICK.width
    assert max(map(abs, whole.gradients)) > 0


def test_another_gradient_is_an_untrue_claim() -> None:
    one, other = Step(1.0, 1.0, 2.0, (1.0, -3.0)), Step(1.0, 1.0, 2.0, (1.0, -3.1))

    assert [claim.holds for claim in claims(one, one)] == [True, True]
    assert [claim.holds for claim in claims(one, other)] == [True, False]


def test_bytes_of_both_ways_come_from_processes_of_their_own() -> None:
    (line,) = measured_lines(comparisons(Setting(quick=True)), Timer(judged=False))

    assert line.peer is not None
    assert line.ours is not None
    assert (line.verdict, str(line.target)) == ("not judged", "at most 0.5x")
    assert FULL.clips == 1024


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux tells the peak of a process alone")
def test_a_large_process_that_starts_another_is_not_in_its_peak() -> None:
    held = bytearray(b"\1" * 600_000_000)
    small = Sizes(clips=8, width=256, cells=32)  # 8 MB of features

    assert in_a_process(small, "whole").bytes > 0
    assert len(held) > 0
