import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip
from methods.base import OptimConfig
from methods.slavc import (
    RELEASED_NAMES,
    Slavc,
    SlavcConfig,
    factorised,
    images_of_sounds,
    sounds_of_images,
)
from metrics.errors import BenchError

Features = Callable[..., tuple[Tensor, Tensor]]
Array = NDArray[np.float64]
TAU = 0.2
TINY = {"backbone": "small", "image_size": 16, "segment_seconds": 0.5, "sample_rate_hz": 8000}


def drawn(features: Features, count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Images and sounds in two spaces."""
    pairs = (features(count, seed=seed), features(count, seed=seed + 1))
    return [(visual, sound) for sound, visual in pairs]


def looped_sounds_of_images(
    loops: SimpleNamespace, images: list[Array], sounds: list[Array]
) -> list[list[float]]:
    """SLAVC model.py, forward at 05b429c: log sum_x softmax_m(s1)[n,m,x] softmax_x(s2)[n,m,x]."""
    size = len(images[0])
    s1, s2 = (
        [[[x / TAU for x in loops.cosine_map(sound[m], image[n])] for m in range(len(sound))]
         for n in range(size)]
        for image, sound in zip(images, sounds, strict=True)
    )  # fmt: skip
    rows = []
    for n in range(size):
        row = []
        for m in range(len(sounds[0])):
            total = 0.0
            for x in range(len(s1[n][m])):
                which = math.exp(s1[n][m][x]) / sum(math.exp(other[x]) for other in s1[n])
                where = math.exp(s2[n][m][x]) / sum(math.exp(y) for y in s2[n][m])
                total += which * where
            row.append(math.log(total))
        rows.append(row)
    return rows


def looped_images_of_sounds(
    loops: SimpleNamespace, sounds: list[Array], images: list[Array]
) -> list[list[float]]:
    """The same with the softmax over images, for each sound."""
    rows = []
    for m in range(len(sounds[0])):
        s1, s2 = (
            [[x / TAU for x in loops.cosine_map(sound[m], each)] for each in image]
            for sound, image in zip(sounds, images, strict=True)
        )
        row = []
        for n in range(len(images[0])):
            total = sum(
                math.exp(s1[n][x]) / sum(math.exp(other[x]) for other in s1)
                * math.exp(s2[n][x]) / sum(math.exp(y) for y in s2[n])
                for x in range(len(s1[n]))
            )  # fmt: skip
            row.append(math.log(total))
        rows.append(row)
    return rows


def at_the_diagonal(rows: list[list[float]], *, softmax: bool) -> float:
    """Mean of -log of the own entry, which a second softmax makes of the logarithms."""
    sums = [math.log(sum(math.exp(x) for x in row)) if softmax else 0.0 for row in rows]
    return sum(total - row[n] for n, (row, total) in enumerate(zip(rows, sums, strict=True))) / len(
        rows
    )


class Spaces(nn.Module):
    """Streams that look up features in two spaces."""

    def __init__(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.pairs = pairs

    def in_spaces(self, clip: Clip, drop: object = None) -> list[tuple[Tensor, Tensor]]:
        return [(visual[clip.index], sound[clip.index]) for visual, sound in self.pairs]


def arrays(pairs: list[tuple[Tensor, Tensor]], rows: list[int]) -> tuple[list[Array], list[Array]]:
    return [v[rows].numpy() for v, _ in pairs], [a[rows].numpy() for _, a in pairs]


def test_a_frame_fits_a_sound_by_which_sound_it_is_where_it_is(
    features: Features, loops: SimpleNamespace
):
    pairs = drawn(features, 4, 0)
    images, sounds = [v for v, _ in pairs], [a for _, a in pairs]

    found = sounds_of_images([v[:3] for v in images], sounds, TAU)

    expected = looped_sounds_of_images(
        loops, [v[:3].numpy() for v in images], [a.numpy() for a in sounds]
    )
    np.testing.assert_allclose(found.numpy(), np.array(expected), rtol=1e-9)


def test_a_sound_fits_a_frame_by_which_frame_it_is_where_it_is(
    features: Features, loops: SimpleNamespace
):
    pairs = drawn(features, 4, 0)
    images, sounds = [v for v, _ in pairs], [a for _, a in pairs]

    found = images_of_sounds([a[:3] for a in sounds], images, TAU)

    expected = looped_images_of_sounds(
        loops, [a[:3].numpy() for a in sounds], [v.numpy() for v in images]
    )
    np.testing.assert_allclose(found.numpy(), np.array(expected), rtol=1e-9)


@pytest.mark.parametrize("directions", ["sum", "mean"])
@pytest.mark.parametrize("classified", ["sound", "each"])
@pytest.mark.parametrize("second_softmax", [True, False])
def test_the_loss_is_that_of_the_code_and_each_flag_changes_what_it_says(
    features: Features,
    loops: SimpleNamespace,
    numbered_batch: Callable[..., Batch],
    second_softmax: bool,
    classified: str,
    directions: str,
):
    online, slow = drawn(features, 5, 0), drawn(features, 5, 10)
    config = SlavcConfig(**TINY, temperature=TAU, second_softmax=second_softmax,
                         classified=classified, directions=directions)  # fmt: skip
    method = Slavc(config, OptimConfig(), seed=0)
    method.streams, method.ema = Spaces(online), Spaces(slow)
    order = [4, 0, 2]

    loss = method.loss(numbered_batch(order))

    images, sounds = arrays(online, order)
    slow_images, slow_sounds = arrays(slow, order)
    seen = looped_sounds_of_images(loops, images, slow_sounds)
    if classified == "sound":
        heard = looped_sounds_of_images(loops, slow_images, sounds)
    else:
        heard = looped_images_of_sounds(loops, sounds, slow_images)
    expected = sum(at_the_diagonal(rows, softmax=second_softmax) for rows in (seen, heard))
    assert loss.item() == pytest.approx(expected / (2 if directions == "mean" else 1), rel=1e-9)


def test_products_that_single_precision_cannot_hold_stay_finite():
    which = torch.tensor([[[-60.0], [60.0]]], requires_grad=True)
    where = torch.zeros(1, 2, 1)

    found = factorised(which, where)
    found.sum().backward()

    assert math.exp(-120) < torch.finfo(torch.float32).tiny
    assert found[0, 0].item() == pytest.approx(-120)
    assert torch.isfinite(which.grad).all()


def test_chunked_maps_give_the_same_logarithms_and_gradients(features: Features):
    results = {}
    for maps in ("whole", "chunked"):
        pairs = [(v.clone().requires_grad_(), a.clone().requires_grad_())
                 for v, a in drawn(features, 4, 0)]  # fmt: skip
        images, sounds = [v for v, _ in pairs], [a for _, a in pairs]
        both = (
            sounds_of_images(images, sounds, TAU, maps),
            images_of_sounds(sounds, images, TAU, maps),
        )
        (both[0].square().sum() + both[1].square().sum()).backward()
        results[maps] = [*(each.detach() for each in both),
                         *(each.grad for each in (*images, *sounds))]  # fmt: skip

    for one, other in zip(*results.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def noise_batch(clips: int) -> Batch:
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(256, size=(clips, 1, 3, 16, 16), dtype=np.uint8))
    waveform = torch.from_numpy(rng.uniform(-1, 1, (clips, 1, 4000)).astype(np.float32))
    return Batch(Clip(torch.arange(clips), frames, waveform, torch.zeros(clips, dtype=torch.int64)))


def test_the_slow_copy_starts_equal_and_is_not_trained():
    method = Slavc(SlavcConfig(**TINY), OptimConfig(), seed=0).train()

    pairs = list(zip(method.ema.parameters(), method.streams.parameters(), strict=True))
    assert all(slow.equal(weights) for slow, weights in pairs)
    method.loss(noise_batch(4)).backward()
    assert all(weights.grad is not None for weights in method.streams.parameters())
    assert all(slow.grad is None and not slow.requires_grad for slow, _ in pairs)


def test_the_slow_copy_is_the_moving_average_of_the_weights():
    method = Slavc(SlavcConfig(**TINY, momentum=0.9), OptimConfig(), seed=0)
    first = [weights.clone() for weights in method.streams.parameters()]

    for step in (1, 2, 3):  # weights w0, then w0 + 1, w0 + 2, w0 + 3
        with torch.no_grad():
            for weights, start in zip(method.streams.parameters(), first, strict=True):
                weights.copy_(start + step)
        method.follow()

    moved = 0.1 * (0.9**2 * 1 + 0.9 * 2 + 3)
    for slow, start in zip(method.ema.parameters(), first, strict=True):
        torch.testing.assert_close(slow, start + moved, rtol=0, atol=1e-5)


def test_statistics_of_the_slow_copy_are_of_what_it_saw_itself():
    method = Slavc(SlavcConfig(**TINY, dropout=0.0, momentum=0.5), OptimConfig(), seed=0).train()
    with torch.no_grad():
        next(method.streams.features.visual.parameters()).mul_(3)

    method.loss(noise_batch(4))

    name = "features.visual.1.running_var"
    online, slow = (net.state_dict()[name] for net in (method.streams, method.ema))
    torch.testing.assert_close((online - 0.9) / (slow - 0.9), torch.full_like(slow, 9.0))


def test_both_networks_drop_features_of_their_own():
    method = Slavc(SlavcConfig(**TINY), OptimConfig(), seed=0).train()
    seen = []
    for streams in (method.streams, method.ema):
        projection = streams.projections[0].visual
        projection.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0] == 0))

    method.loss(noise_batch(4))
    method.eval().loss(noise_batch(4))

    shares = [each.float().mean().item() for each in seen]
    assert shares == [pytest.approx(0.9, abs=0.02)] * 2 + [pytest.approx(0, abs=0.02)] * 2
    assert not seen[0].equal(seen[1])


@pytest.mark.parametrize(("weights", "chosen"), [("ema", 10), ("online", 0)])
def test_the_answer_is_the_mean_map_of_the_chosen_weights(
    features: Features,
    loops: SimpleNamespace,
    numbered_batch: Callable[..., Batch],
    weights: str,
    chosen: int,
):
    method = Slavc(SlavcConfig(**TINY, weights=weights), OptimConfig(), seed=0).eval()
    method.streams, method.ema = Spaces(drawn(features, 3, 0)), Spaces(drawn(features, 3, 10))

    answer = method.localize(numbered_batch([2, 0]).clip)

    (v1, a1), (v2, a2) = drawn(features, 3, chosen)
    for place, row in enumerate([2, 0]):
        maps = [loops.cosine_map(a[row].numpy(), v[row].numpy()) for v, a in ((v1, a1), (v2, a2))]
        expected = [(one + other) / 2 for one, other in zip(*maps, strict=True)]
        assert answer.heatmap[place].flatten().tolist() == pytest.approx(expected, abs=1e-12)
        assert answer.confidence[place].item() == pytest.approx(max(expected), abs=1e-12)


def test_a_released_file_has_496_tensors_and_each_has_its_place():
    method = Slavc(SlavcConfig(), OptimConfig(), seed=0)
    places = {own: stored for stored, own in RELEASED_NAMES.items()}
    bare = [name for name in method.state_dict() if not name.split(".")[-2].endswith("_end")]

    stored = {
        places[start] + name.removeprefix(start)
        for name in bare
        for start in places
        if name.startswith(start)
    }

    assert len(stored) == len(bare) == 496
    assert {"momentum_audnet.layer4.1.bn2.running_var", "img_proj2.bias", "imgnet.conv1.weight",
            "momentum_aud_proj1.weight"} <= stored  # fmt: skip


def trained(
    data: ClipData, folder: Path, epochs: int, *, resume: Path | None = None
) -> dict[str, Tensor]:
    method = Slavc(SlavcConfig(**TINY, momentum=0.9), OptimConfig(lr=1e-2, fused=False), seed=0)
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", logger=False,
                         enable_progress_bar=False, enable_model_summary=False,
                         use_distributed_sampler=False, default_root_dir=folder,
                         limit_val_batches=0, enable_checkpointing=False)  # fmt: skip
    trainer.fit(method, datamodule=data, ckpt_path=resume, weights_only=True)
    trainer.save_checkpoint(folder / f"{epochs}.ckpt")
    return {name: value.clone() for name, value in method.state_dict().items()}


def test_a_resumed_run_has_the_slow_copy_of_an_unbroken_one(
    tiny_clips: Callable[..., ClipData], tmp_path: Path
):
    method = Slavc(SlavcConfig(**TINY), OptimConfig(), seed=0)

    def data() -> ClipData:
        return tiny_clips(inputs=method.inputs)

    unbroken = trained(data(), tmp_path, 2)
    half = trained(data(), tmp_path, 1)
    resumed = trained(data(), tmp_path, 2, resume=tmp_path / "1.ckpt")

    slow = [name for name in unbroken if name.startswith("ema.")]
    assert all(resumed[name].equal(unbroken[name]) for name in slow)
    assert not all(half[name].equal(unbroken[name]) for name in slow)
    assert not all(unbroken[name].equal(unbroken["streams." + name.removeprefix("ema.")])
                   for name in slow)  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weights": "slow"}, "method.weights='slow' is unknown; use ema or online"),
        ({"classified": "image"}, "method.classified='image' is unknown; use sound or each"),
        ({"dropout": -0.5}, "method.dropout must be at least 0 and less than 1, got -0.5"),
        ({"momentum": 1.5}, r"method.momentum must be in \[0, 1\], got 1.5"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: dict[str, object], words: str):
    with pytest.raises(BenchError, match=words):
        Slavc(SlavcConfig(**{**TINY, **settings}), OptimConfig(), seed=0)


def test_batches_of_one_clip_are_refused(tiny_clips: Callable[..., ClipData]):
    method = Slavc(SlavcConfig(**TINY), OptimConfig(), seed=0)

    with pytest.raises(BenchError, match=r"data\.batch_size=1: .* set data\.batch_size to 2"):
        method.check(tiny_clips(batch_size=1))
