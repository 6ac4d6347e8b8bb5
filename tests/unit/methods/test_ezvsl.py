import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from datamodules.base import ClipData
from datamodules.clip import Batch
from methods.base import OptimConfig
from methods.ezvsl import Ezvsl, EzvslConfig, both_directions, largest_responses, pair_logits
from methods.global_norm import ZeroMean
from methods.projected_streams import ProjectedConfig
from metrics.errors import BenchError

Features = Callable[..., tuple[Tensor, Tensor]]


def looped_logits(
    loops: SimpleNamespace, sound: Tensor, visual: Tensor, temperature: float
) -> list[list[float]]:
    """P[n, m] = max over cells of <v_n, a_m> / tau; model.py:40-41 at 95ff5bf."""
    return [
        [max(loops.cosine_map(a.numpy(), v.numpy())) / temperature for a in sound] for v in visual
    ]


def looped_cross_entropies(logits: list[list[float]]) -> tuple[float, float]:
    """Means over rows, and over columns, of -log softmax at the diagonal."""
    size = len(logits)

    def mean_of(lines: list[list[float]]) -> float:
        losses = [
            math.log(sum(math.exp(x - line[place]) for x in line))
            for place, line in enumerate(lines)
        ]
        return sum(losses) / size

    return mean_of(logits), mean_of([[row[m] for row in logits] for m in range(size)])


def test_the_score_of_a_pair_is_the_largest_cell_of_its_map(
    features: Features, loops: SimpleNamespace
):
    sound, visual = features(5)

    found = pair_logits(sound, visual, 0.03)

    expected = np.array(looped_logits(loops, sound, visual, 0.03))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_sounds_and_images_may_differ_in_number(features: Features, loops: SimpleNamespace):
    sound, visual = features(4)

    found = largest_responses(sound, visual[:3])

    assert found.shape == (3, 4)
    assert found[2, 3].item() == pytest.approx(
        max(loops.cosine_map(sound[3].numpy(), visual[2].numpy())), abs=1e-12
    )


@pytest.mark.parametrize(("directions", "share"), [("sum", 1.0), ("mean", 0.5)])
def test_the_loss_is_both_cross_entropies_over_the_batch(
    features: Features,
    loops: SimpleNamespace,
    row_features: type[nn.Module],
    numbered_batch: Callable[..., Batch],
    directions: str,
    share: float,
):
    sound, visual = features(5)
    config = EzvslConfig(backbone="small", temperature=0.2, directions=directions)
    method = Ezvsl(config, OptimConfig(), seed=0)
    method.streams = row_features(sound, visual)
    order = [4, 0, 2]

    loss = method.loss(numbered_batch(order))

    logits = looped_logits(loops, sound[order], visual[order], 0.2)
    assert loss.item() == pytest.approx(share * sum(looped_cross_entropies(logits)), rel=1e-9)


def test_the_two_directions_are_not_the_same(features: Features, loops: SimpleNamespace):
    sound, visual = features(5)
    logits = looped_logits(loops, sound, visual, 0.03)

    by_image, by_sound = looped_cross_entropies(logits)

    assert abs(by_image - by_sound) > 0.05
    found = both_directions(torch.tensor(logits, dtype=torch.float64), "sum")
    assert found.item() == pytest.approx(by_image + by_sound, rel=1e-9)


def test_unrelated_pairs_give_twice_the_logarithm_of_the_batch():
    sound, visual = torch.ones(4, 5), torch.ones(4, 5, 3, 2)

    assert both_directions(pair_logits(sound, visual, 0.03), "sum").item() == pytest.approx(
        2 * math.log(4), rel=1e-6
    )


def test_the_gradient_is_that_of_finite_differences(features: Features):
    sound, visual = (each.requires_grad_() for each in features(3))

    assert torch.autograd.gradcheck(
        lambda a, v: both_directions(pair_logits(a, v, 0.5), "sum"), (sound, visual)
    )


def test_chunked_maps_give_the_same_scores_and_gradients(features: Features):
    results = {}
    for maps in ("whole", "chunked"):
        sound, visual = (each.clone().requires_grad_() for each in features(4))
        loss = both_directions(pair_logits(sound, visual, 0.1, maps), "sum")
        loss.backward()
        results[maps] = (loss.detach(), sound.grad, visual.grad)

    for one, other in zip(*results.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("fill", [0.0, 1.0, -1.0])
def test_equal_features_everywhere_keep_loss_and_gradients_finite(fill: float):
    sound = torch.full((4, 5), abs(fill), requires_grad=True)
    visual = torch.full((4, 5, 3, 2), fill, requires_grad=True)

    loss = both_directions(pair_logits(sound, visual, 0.03), "sum")
    loss.backward()

    assert torch.isfinite(loss)
    assert torch.isfinite(sound.grad).all()
    assert torch.isfinite(visual.grad).all()


def test_only_streams_without_given_weights_end_in_zero_means(tmp_path: Path):
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)

    ends = [
        type(Ezvsl(config, OptimConfig(), seed=0).streams.projections[0].visual_end)
        for config in (EzvslConfig(backbone="small"), EzvslConfig(pretrained=str(path)))
    ]

    assert ends == [ZeroMean, nn.Identity]


def test_batches_of_one_clip_are_refused(tiny_clips: Callable[..., ClipData]):
    method = Ezvsl(EzvslConfig(backbone="small"), OptimConfig(), seed=0)

    with pytest.raises(BenchError, match=r"data\.batch_size=1: .* set data\.batch_size to 2"):
        method.check(tiny_clips(batch_size=1))


def test_unknown_directions_are_refused():
    config = EzvslConfig(backbone="small", directions="both")

    with pytest.raises(BenchError, match="method.directions='both' is unknown; use sum or mean"):
        Ezvsl(config, OptimConfig(), seed=0)


def test_tau_is_that_of_the_codes():
    assert ProjectedConfig().temperature == 0.03
