from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.evaluator import (
    FIRST_SOURCE,
    OWN_SOUND,
    SWAPPED_SOUND,
    AnswerCollector,
    Answers,
    SourceMaps,
    one_map_for_all,
)
from datamodules.clip import Batch, Clip, Localization
from metrics.predictions import Predictions
from metrics.scoring import score
from metrics.truth import Source, Truth

NUM_ROWS = 7


def answer_for(rows: list[int]) -> tuple[Batch, Localization]:
    """A batch of these rows, and maps that are a function of the row."""
    index = torch.tensor(rows, dtype=torch.int64)
    clip = Clip(index, torch.empty(0), torch.empty(0), torch.zeros_like(index))
    steps = torch.arange(6, dtype=torch.float64).view(1, 2, 3)
    heatmap = (index + 1).view(-1, 1, 1) / 3 - steps
    return Batch(clip), Localization(heatmap, (index * 0.1).double())


def collected(own: list[list[int]], swapped: list[list[int]]) -> AnswerCollector:
    """A collector that has seen these batches of rows."""
    collector = AnswerCollector()
    module = SimpleNamespace()
    collector.on_test_start(module, module)
    for loader, batches in ((OWN_SOUND, own), (SWAPPED_SOUND, swapped)):
        for step, rows in enumerate(batches):
            batch, answer = answer_for(rows)
            collector.on_test_batch_end(module, module, answer, batch, step, loader)
    return collector


def answers_of_one_of_two_ranks() -> list[Answers]:
    """Both loaders' answers on this process; called by ``two_ranks``."""
    rank = torch.distributed.get_rank()
    if rank == 0:
        collector = collected([[0, 2], [4, 6]], [[0, 1, 2, 3], [4, 5, 6]])
    else:
        collector = collected([[1, 3], [5, 0]], [])  # a padding sampler repeats row 0
    return [collector.answers(loader, NUM_ROWS) for loader in (OWN_SOUND, SWAPPED_SOUND)]


@pytest.fixture(scope="module")
def two_ranks(on_two_processes: Callable[..., list[Any]]) -> list[list[Answers]]:
    return on_two_processes(answers_of_one_of_two_ranks)


def assert_is_complete(found: Answers) -> None:
    _, expected = answer_for(list(range(NUM_ROWS)))
    assert found.rows.tolist() == list(range(NUM_ROWS))
    assert found.heatmap.tolist() == expected.heatmap.float().tolist()
    assert found.confidence.tolist() == expected.confidence.float().tolist()


@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_know_every_row_once_although_one_was_repeated(
    two_ranks: list[list[Answers]], rank: int
):
    assert_is_complete(two_ranks[rank][OWN_SOUND])


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_without_rows_knows_those_of_the_other(two_ranks: list[list[Answers]], rank: int):
    assert_is_complete(two_ranks[rank][SWAPPED_SOUND])


def test_one_process_returns_its_rows_in_ascending_order():
    collector = collected([[5, 2, 6], [0, 1], [4, 3]], [])

    assert_is_complete(collector.answers(OWN_SOUND, NUM_ROWS))


def test_rows_that_nobody_answered_are_left_out():
    answers = collected([[5, 2]], []).answers(OWN_SOUND, NUM_ROWS)

    assert answers.rows.tolist() == [2, 5]
    assert answers.heatmap[:, 0, 0].tolist() == pytest.approx([1.0, 2.0])
    assert answers.confidence.tolist() == pytest.approx([0.2, 0.5])


def test_the_two_loaders_are_kept_apart():
    collector = collected([[0], [1]], [[6]])

    assert collector.answers(OWN_SOUND, NUM_ROWS).rows.tolist() == [0, 1]
    assert collector.answers(SWAPPED_SOUND, NUM_ROWS).rows.tolist() == [6]


def test_a_test_without_rows_has_no_answers():
    answers = collected([], []).answers(OWN_SOUND, NUM_ROWS)

    assert answers.rows.tolist() == []
    assert len(answers.heatmap) == 0


def test_answers_that_are_not_finite_are_passed_on_as_they_are():
    collector = collected([[0]], [])
    batch, answer = answer_for([1])
    broken = answer._replace(heatmap=answer.heatmap * float("nan"))
    collector.on_test_batch_end(None, None, broken, batch, 1, OWN_SOUND)

    answers = collector.answers(OWN_SOUND, NUM_ROWS)

    assert np.isnan(answers.heatmap[1]).all()
    assert np.isfinite(answers.heatmap[0]).all()


def test_a_new_test_forgets_the_old_one():
    collector = collected([[0, 1, 2]], [])
    collector.on_test_start(None, None)
    batch, answer = answer_for([4])
    collector.on_test_batch_end(None, None, answer, batch, 0, OWN_SOUND)

    assert collector.answers(OWN_SOUND, NUM_ROWS).rows.tolist() == [4]


def test_maps_are_kept_without_their_gradient_and_in_single_precision():
    collector = collected([], [])
    batch, answer = answer_for([3])
    answer = answer._replace(heatmap=answer.heatmap.half().requires_grad_())
    collector.on_test_batch_end(None, None, answer, batch, 0, OWN_SOUND)

    assert collector.answers(OWN_SOUND, NUM_ROWS).heatmap.dtype == np.float32


def with_sources() -> AnswerCollector:
    """Own sounds of seven rows, and isolated sounds of rows 1 and 4, the second source of 4."""
    collector = collected([list(range(NUM_ROWS))], [])
    for source, rows in ((0, [1, 4]), (1, [4])):
        batch, answer = answer_for(rows)
        answer = answer._replace(heatmap=answer.heatmap + 100 * (source + 1))
        collector.on_test_batch_end(None, None, answer, batch, 0, FIRST_SOURCE + source)
    return collector


def test_maps_of_isolated_sounds_stand_beside_each_other():
    maps = with_sources().source_maps(2, NUM_ROWS)

    assert maps is not None
    assert maps.counts.tolist() == [0, 1, 0, 0, 2, 0, 0]
    assert maps.heatmap.shape == (NUM_ROWS, 2, 2, 3)
    assert maps.heatmap[4, :, 0, 0].tolist() == pytest.approx([100 + 5 / 3, 200 + 5 / 3])
    assert not maps.heatmap[1, 1].any()


def test_a_method_that_does_not_hear_scores_alike_with_other_sounds():
    left, right = np.array([[0.0, 0.0, 0.5, 1.0]]), np.array([[0.5, 0.0, 1.0, 1.0]])
    sources = (Source(left), Source(right), Source(left, sounding=False))
    truth = [Truth(str(row), (np.concatenate([left, right]),), sources=sources) for row in (0, 1)]
    heard = np.random.default_rng(0).random((2, 4, 4)).astype(np.float32)
    other = Answers(np.array([0, 1]), heard, np.zeros(2, np.float32))
    own = SourceMaps(np.repeat(heard[:, None], 3, axis=1), np.array([3, 3]))

    swapped = one_map_for_all(other, own)

    scores = [
        score(Predictions(["0", "1"], heard, source_heatmap=maps.heatmap, source_count=maps.counts,
                          map_range=(0.0, 1.0)), truth, "dsol-synthetic")
        for maps in (own, swapped)
    ]  # fmt: skip
    assert {"cap", "piap", "nsa", "ciou@0.5"} <= scores[0].metrics.keys()
    assert scores[0].metrics == scores[1].metrics


def test_a_swapped_sound_stands_for_every_source_of_the_rows_that_heard_it():
    own = with_sources().source_maps(2, NUM_ROWS)
    assert own is not None
    other = Answers(np.array([1, 4]), np.ones((2, 2, 3), np.float32), np.zeros(2, np.float32))

    maps = one_map_for_all(other, own)

    assert maps.heatmap.sum((1, 2, 3)).tolist() == [0, 12, 0, 0, 12, 0, 0]
    assert maps.counts.tolist() == own.counts.tolist()


def test_data_without_isolated_sounds_have_no_maps_of_them():
    assert collected([[0]], []).source_maps(0, NUM_ROWS) is None


def further_answers_of_one_of_two_ranks() -> list[Answers]:
    """Boxes and logits of a rank with rows, and of one without any; called by the test below."""
    collector = collected([], [])
    if torch.distributed.get_rank() == 0:
        batch, answer = answer_for([2, 0])
        boxes = torch.tensor([[[0.0, 0, 1, 1], [torch.nan] * 4]]).expand(2, 2, 4)
        logits = torch.arange(12.0).view(2, 2, 3)
        answer = answer._replace(boxes=boxes, segment_logits=logits)
        collector.on_test_batch_end(None, None, answer, batch, 0, OWN_SOUND)
    return [collector.answers(OWN_SOUND, NUM_ROWS)]


def test_boxes_and_logits_reach_a_process_without_rows(
    on_two_processes: Callable[..., list[Any]],
):
    for (found,) in on_two_processes(further_answers_of_one_of_two_ranks):
        assert found.rows.tolist() == [0, 2]
        assert found.boxes[:, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
        assert np.isnan(found.boxes[:, 1]).all()
        assert found.segment_logits[:, 1, 2].tolist() == [11, 5]
        assert found.box_scores is None
