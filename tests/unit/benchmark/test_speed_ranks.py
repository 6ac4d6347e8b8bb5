from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from benchmark.speed import ranks as stage
from benchmark.speed.harness import Line, Setting, Timer
from benchmark.speed.metrics import Maps, made_up_maps, made_up_truth


def some_maps() -> Maps:
    return Maps(made_up_truth(5), made_up_maps(5))


def shared_columns() -> torch.Tensor:
    return torch.from_numpy(stage.score_columns(some_maps(), dist.get_rank(), 2))


def test_every_process_has_the_scores_of_all_maps(on_two_processes: Any):
    whole = stage.score_columns(some_maps(), 0, 1)

    for part in on_two_processes(shared_columns):
        np.testing.assert_allclose(part.numpy(), whole, rtol=0, atol=1e-12)
    assert len(whole) > 5


@pytest.mark.parametrize(("place", "value", "error"), [(1, 0.25, 0.25), (-1, 1e-9, 1e-9)])
def test_a_score_that_differs_on_one_process_is_the_error(
    monkeypatch: pytest.MonkeyPatch, place: int, value: float, error: float
):
    whole = stage.score_columns(some_maps(), 0, 1)
    other = whole.copy()
    other[place] += value
    monkeypatch.setattr(stage, "in_processes", lambda *given: [whole, other])

    assert stage.error_of_two(5) == pytest.approx(error, rel=1e-6)


def test_a_score_that_one_process_lacks_keeps_no_bound(monkeypatch: pytest.MonkeyPatch):
    whole = stage.score_columns(some_maps(), 0, 1)
    lacking = whole.copy()
    lacking[1] = np.nan
    monkeypatch.setattr(stage, "in_processes", lambda *given: [lacking, whole])
    monkeypatch.setattr(stage, "QUICK", stage.Sizes(maps=5, steps=1))

    first = next(iter(stage.comparisons(Setting(quick=True, device="cpu"))))

    assert np.isnan(stage.error_of_two(5))
    assert str(first.line(Timer(rounds=1)).target) == "at most 1e-12"
    assert first.line(Timer(rounds=1)).verdict == "missed"


def test_the_rate_of_two_processes_is_told_per_process_beside_that_of_one():
    line: Line = stage.scaling("rate", 2, 1, on_gpu=False, small=True)

    assert line.peer is not None
    assert line.ours is not None
    assert min(line.peer, line.ours) > 0
    assert line.figure == pytest.approx(line.ours / line.peer)
    assert not line.judged
