from types import SimpleNamespace

import pytest
import torch

from methods.negatives import derangement, of_other_clips, of_others_at_this_step


@pytest.mark.parametrize("size", [2, 3, 30, 64])
def test_every_clip_is_the_negative_of_another_one_once(size: int):
    for step in range(20):
        other = derangement(size, seed=1, epoch=2, step=step)

        assert sorted(other.tolist()) == list(range(size))
        assert not (other == torch.arange(size)).any()


def test_every_other_clip_is_a_negative_equally_often():
    drawn = torch.stack([derangement(5, seed=0, epoch=0, step=step) for step in range(4000)])

    counts = torch.stack([(drawn == clip).sum(0) for clip in range(5)])

    expected = torch.full((5, 5), 1000.0).fill_diagonal_(0)
    assert counts.sub(expected).abs().max() < 5 * (4000 * 0.25 * 0.75) ** 0.5


def test_the_draw_is_a_function_of_seed_epoch_and_step():
    first = derangement(30, seed=0, epoch=1, step=2)

    assert first.equal(derangement(30, seed=0, epoch=1, step=2))
    for changed in ({"seed": 1}, {"epoch": 2}, {"step": 3}):
        assert not first.equal(derangement(30, **{"seed": 0, "epoch": 1, "step": 2, **changed}))


def test_rows_of_other_clips_keep_their_gradient():
    rows = torch.arange(4.0).unsqueeze(1).requires_grad_()

    others = of_other_clips(rows, seed=0, epoch=0, step=0)
    (others * torch.tensor([[1.0], [2.0], [3.0], [4.0]])).sum().backward()

    other = derangement(4, seed=0, epoch=0, step=0)
    assert others.squeeze(1).tolist() == other.tolist()
    expected = torch.zeros(4)
    expected[other] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert rows.grad.squeeze(1).equal(expected)


@pytest.mark.parametrize(("training", "draw"), [(True, (3, 7)), (False, (0, 0))])
def test_held_out_clips_have_the_same_negatives_in_every_epoch(
    training: bool, draw: tuple[int, int]
):
    method = SimpleNamespace(seed=1, current_epoch=3, global_step=7, training=training)
    rows = torch.arange(40)

    others = of_others_at_this_step(method, rows)

    assert others.equal(derangement(40, 1, *draw))
    assert not derangement(40, 1, 3, 7).equal(derangement(40, 1, 0, 0))
