import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.base import ClipData
from datamodules.clip import Clip, Inputs
from datamodules.synthetic import Synthetic
from datamodules.synthetic_settings import SyntheticConfig
from methods.base import Method, MethodConfig, OptimConfig
from methods.streams import load_streams, small_streams
from methods.warmup import AS_A_STAGE, Warmup, WarmupConfig, pair_loss, warm
from metrics.errors import BenchError

SMALL = {"image_size": 32, "segment_seconds": 0.5}


def untrained(**settings: object) -> Warmup:
    config = WarmupConfig(**{**SMALL, **settings})
    return Warmup(config, OptimConfig(), seed=0)


def looped_loss(image: Tensor, sound: Tensor, temperature: float) -> float:
    """The cross-entropies of both directions, term by term in float64."""
    images, sounds = image.double().numpy(), sound.double().numpy()
    cosines = [[float(i @ s / np.linalg.norm(i) / np.linalg.norm(s)) for s in sounds]
               for i in images]  # fmt: skip
    total = 0.0
    for own in range(len(images)):
        row = sum(math.exp(each / temperature) for each in cosines[own])
        column = sum(math.exp(each[own] / temperature) for each in cosines)
        total += math.log(row) + math.log(column) - 2 * cosines[own][own] / temperature
    return total / (2 * len(images))


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_the_loss_is_the_cross_entropy_of_both_directions(temperature: float):
    generator = torch.Generator().manual_seed(0)
    image, sound = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)

    loss = pair_loss(image, sound, temperature)

    assert loss.item() == pytest.approx(looped_loss(image, sound, temperature), abs=1e-12)


def test_the_loss_is_not_of_half_precision_where_autocast_asks_for_it():
    image, sound = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(0))

    with torch.autocast("cpu", torch.bfloat16):
        loss = pair_loss(image, sound, 0.07)

    assert loss.dtype == torch.float32
    assert torch.equal(loss, pair_loss(image, sound, 0.07))


def test_equal_vectors_give_the_logarithm_of_the_batch():
    assert pair_loss(torch.ones(6, 3), torch.ones(6, 3), 0.07).item() == pytest.approx(math.log(6))


def loss_of_one_of_two_ranks() -> dict[str, Any]:
    """Loss and gradient of this process's rows of a batch of six."""
    rank = torch.distributed.get_rank()
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    image, sound = (each[rank::2].clone().requires_grad_() for each in both)
    loss = pair_loss(image, sound, 0.07)
    loss.backward()
    return {"loss": loss.item(), "image": image.grad, "sound": sound.grad}


def test_two_processes_have_the_loss_and_gradients_of_one(
    on_two_processes: Callable[..., list[Any]],
):
    generator = torch.Generator().manual_seed(0)
    image, sound = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64).requires_grad_()

    loss = pair_loss(image, sound, 0.07)
    grads = torch.autograd.grad(loss, (image, sound))
    ranks = on_two_processes(loss_of_one_of_two_ranks)

    assert sum(rank["loss"] for rank in ranks) / 2 == pytest.approx(loss.item(), abs=1e-12)
    for rank, found in enumerate(ranks):  # the mean over devices halves what each of them adds
        assert torch.allclose(found["image"] / 2, grads[0][rank::2], atol=1e-12)
        assert torch.allclose(found["sound"] / 2, grads[1][rank::2], atol=1e-12)


def test_the_answer_is_the_cosine_of_every_cell_and_its_largest():
    method = untrained().eval()
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(256, size=(2, 1, 3, 32, 32), dtype=np.uint8))
    waveform = torch.from_numpy(rng.uniform(-1, 1, (2, 1, 8000)).astype(np.float32))
    clip = Clip(torch.arange(2), frames, waveform, torch.zeros(2, dtype=torch.int64))

    with torch.no_grad():
        answer = method.localize(clip)
        visual, sound = method.streams.of_target(clip)

    expected = torch.cosine_similarity(visual, sound[:, :, None, None], dim=1)
    assert torch.allclose(answer.heatmap, expected, atol=1e-6)
    assert answer.confidence.equal(answer.heatmap.flatten(1).amax(1))
    assert answer.heatmap.shape == (2, 4, 4)


class OneStage:
    """Stages whose only training run fills a method with a number."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Inputs, object]] = []

    def fit(self, name: str, method: Method, settings: object = None) -> Method:
        self.asked.append((name, method.inputs, settings))
        for value in method.state_dict().values():
            value.fill_(2)
        return method


def test_other_methods_take_the_streams_of_the_shared_stage(
    tiny_clips: Callable[..., ClipData],
):
    stages, streams = OneStage(), small_streams(8000, 0.5, frozen=True)
    config = MethodConfig(image_size=48, sample_rate_hz=8000, segment_seconds=0.5)

    warm(streams, "warmup", config, stages, tiny_clips())

    inputs = Inputs(image_size=48, sample_rate_hz=8000, segment_seconds=0.5)
    assert stages.asked == [("warmup", inputs, AS_A_STAGE)]
    assert all((value == 2).all() for value in streams.state_dict().values())


def test_the_stage_trains_on_stills_whatever_happens_over_time():
    knobs = {"segments": 4, "motion": "onoff", "offscreen": 0.2, "off_sounds": True}
    data = Synthetic(SyntheticConfig(**knobs), Inputs(num_segments=4), seed=3)
    stages = OneStage()

    warm(small_streams(16000, 0.5), "warmup", MethodConfig(), stages, data)

    ((_, _, settings),) = stages.asked
    changed = {key.removeprefix("data."): value for key, value in data.pretraining.items()}
    assert isinstance(settings, dict)
    assert settings == AS_A_STAGE | {f"data.{key}": value for key, value in changed.items()}
    assert replace(data.settings, **changed) == SyntheticConfig()


def saved(path: Path) -> Warmup:
    method = untrained()
    for value in method.streams.state_dict().values():
        value.fill_(3)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(method.state_dict(), path)
    return method


@pytest.mark.parametrize("given", ["run", "run/training/weights.pt"])
def test_other_methods_take_the_streams_of_a_finished_run(
    tmp_path: Path, given: str, tiny_clips: Callable[..., ClipData]
):
    saved(tmp_path / "run" / "training" / "weights.pt")
    stages, streams = OneStage(), small_streams(16000, 0.5)

    warm(streams, str(tmp_path / given), MethodConfig(), stages, tiny_clips())

    assert stages.asked == []
    assert all((value == 3).all() for value in streams.state_dict().values())


@pytest.mark.parametrize("content", [None, b"", {"other": torch.zeros(1)}], ids=str)
def test_what_holds_no_streams_is_refused_in_one_line(tmp_path: Path, content: object):
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)

    with pytest.raises(BenchError, match="method.pretrained=.* is no file of warmup weights"):
        load_streams(small_streams(16000, 0.5), str(path), "method.pretrained")


def test_a_batch_of_one_clip_is_refused(tiny_clips: Callable[..., ClipData]):
    with pytest.raises(BenchError, match="data.batch_size=1: a contrastive loss needs at least 2"):
        untrained().check(tiny_clips(batch_size=1))


def test_a_segment_too_short_for_the_sound_stream_is_refused():
    with pytest.raises(BenchError, match="method.segment_seconds=0.1 is too short"):
        untrained(segment_seconds=0.1)
