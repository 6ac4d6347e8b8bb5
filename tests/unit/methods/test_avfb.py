"""Equations 1-16 of Ramaswamy and Das 2020 as plain loops, and what the variants do."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datamodules.base import ClipData
from datamodules.clip import Annotation, Batch, Clip, Features
from methods.avfb import (
    Attended,
    Avfb,
    AvfbConfig,
    Branch,
    Encoded,
    Fusion,
    Head,
    MfbBranch,
    SoundWithLevel,
    avtgml,
    class_loss,
    gram,
    gram_similarity,
    mfb,
    similarity,
    swab,
)
from methods.base import OptimConfig
from methods.negatives import derangement
from methods.warmup import Warmup, WarmupConfig
from metrics.errors import BenchError

Array = NDArray[np.float64]
CLIPS, SEGMENTS, SIZE = 5, 4, 3


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, *shape]).normal(size=shape))


def looped_gram(segments: Array) -> Array:
    """Eq. 13-14 of one clip."""
    count = len(segments)
    found = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            found[i, j] = sum(a * b for a, b in zip(segments[i], segments[j], strict=True))
    return found / max(math.sqrt(sum(value * value for value in found.ravel())), 1e-8)


def looped_similarity(first: Array, second: Array) -> float:
    """Eq. 15."""
    a, b = looped_gram(first), looped_gram(second)
    return float(sum(a[i, j] * b[i, j] for i in range(len(a)) for j in range(len(a))))


def looped_loss(seen: Array, own: Array, other: Array, margin: float, beside: Array) -> float:
    """Eq. 16."""
    rows = [
        max(looped_similarity(d, c) - looped_similarity(a, b) + margin, 0)
        for a, b, c, d in zip(seen, own, other, beside, strict=True)
    ]
    return sum(rows) / len(rows)


def test_gram_matrices_are_equations_13_and_14():
    segments = drawn(CLIPS, SEGMENTS, SIZE)

    found = gram(segments)

    expected = np.stack([looped_gram(one) for one in segments.numpy()])
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("pair", [False, True])
def test_the_loss_is_equations_15_and_16(margin: float, pair: bool):
    seen, own, other, beside = (drawn(CLIPS, SEGMENTS, SIZE, seed=k) for k in range(4))

    loss = avtgml(seen, own, other, margin, visual_with_negative=beside if pair else None)

    arrays = [each.numpy() for each in (seen, own, other, beside if pair else seen)]
    expected = looped_loss(*arrays[:3], margin, arrays[3])
    assert loss.item() == pytest.approx(expected, abs=1e-10)


def test_frames_that_go_with_their_own_sound_alone_cost_nothing():
    seen = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])
    constant = torch.ones(1, 3, 2)
    turned = seen @ torch.tensor([[0.0, -1.0], [1.0, 0.0]])  # the same inner products

    assert avtgml(seen, turned, constant, margin=0.2).item() == 0
    assert avtgml(seen, constant, turned, margin=0.2).item() > 0.2


def test_sounds_that_go_together_alike_cost_the_margin():
    seen, sound = drawn(CLIPS, SEGMENTS, SIZE), drawn(CLIPS, SEGMENTS, SIZE, seed=1)

    assert avtgml(seen, sound, sound).item() == pytest.approx(0.7, abs=1e-12)


def test_similarities_lie_between_0_and_1():
    found = gram_similarity(drawn(200, SEGMENTS, 2), drawn(200, SEGMENTS, 2, seed=1))

    assert 0 <= found.min() < 0.5 < found.max() <= 1
    own = gram_similarity(drawn(3, SEGMENTS, 2), drawn(3, SEGMENTS, 2))
    assert own.tolist() == pytest.approx([1, 1, 1], abs=1e-12)


def test_gram_matrices_are_not_of_half_precision_where_autocast_asks_for_it():
    segments = torch.randn(3, 10, 8, generator=torch.Generator().manual_seed(0))

    with torch.autocast("cpu", torch.bfloat16):
        found = gram(segments)

    assert torch.equal(found, gram(segments))
    assert gram(segments.bfloat16()).dtype == torch.float32


def test_scores_of_places_are_not_of_half_precision_where_autocast_asks_for_it():
    torch.manual_seed(0)
    branch, places, sound = MfbBranch(6, 5, 8, 2), torch.randn(3, 16, 6), torch.randn(3, 5)

    with torch.autocast("cpu", torch.bfloat16):
        pooled = mfb(places, sound, branch.u.weight.T, branch.v.weight.T, branch.q)
        found = branch.scores(places, sound)

    assert (pooled.dtype, found.dtype) == (torch.float32, torch.float32)
    assert torch.equal(found, branch.score(pooled).squeeze(-1))


@pytest.mark.parametrize("attention", ["both", "mean", "max"])
def test_swab_is_not_of_half_precision_where_autocast_asks_for_it(attention: str):
    torch.manual_seed(0)
    block, hidden = Branch(2, 8, attention).swab, torch.randn(3, 10, 8)
    assert block is not None

    with torch.autocast("cpu", torch.bfloat16):
        found = block(hidden)

    assert found.dtype == torch.float32
    assert torch.equal(found, block(hidden))


def test_logits_and_their_loss_are_not_of_half_precision_where_autocast_asks_for_it():
    torch.manual_seed(0)
    head = Head(AvfbConfig(temporal_hidden=8, head_hidden=16, num_classes=3))
    seen, heard = (Attended(torch.randn(2, 4, 8), torch.randn(2, 4, 8)) for _ in range(2))
    labels = torch.randint(4, (2, 4))
    annotation = Annotation(None, None, labels, torch.zeros(2).bool(), torch.ones(2).bool())

    with torch.autocast("cpu", torch.bfloat16):
        logits = head(Encoded(seen, heard))
        loss = class_loss(logits, annotation, "supervised")

    assert (logits.dtype, loss.dtype) == (torch.float32, torch.float32)
    assert torch.equal(logits, head(Encoded(seen, heard)))
    assert torch.equal(loss, class_loss(logits, annotation, "supervised"))


def test_the_gram_matrix_of_one_segment_is_1_and_has_no_gradient():
    segment = drawn(2, 1, SIZE).requires_grad_()

    found = gram(segment)
    found.sum().backward()

    assert found.flatten().tolist() == pytest.approx([1, 1], abs=1e-12)
    assert segment.grad.abs().max() < 1e-12


def test_a_loss_of_one_segment_is_refused():
    with pytest.raises(ValueError, match=r"at least 2 segments, got \(2, 1, 3\)"):
        avtgml(*(torch.ones(2, 1, 3),) * 3)


def test_a_loss_of_unequal_shapes_is_refused():
    with pytest.raises(ValueError, match=r"equal shapes \(B, T, D\), got .*\(2, 4, 3\)"):
        avtgml(torch.ones(2, 4, 3), torch.ones(2, 5, 3), torch.ones(2, 4, 3))


@pytest.mark.parametrize("fill", [0.0, 1.0, 1e-30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_and_equal_segments_keep_the_loss_and_its_gradients_finite(
    fill: float, dtype: torch.dtype
):
    parts = [torch.full((2, 4, 3), fill, dtype=dtype, requires_grad=True) for _ in range(3)]

    loss = avtgml(*parts)
    loss.backward()

    assert loss.item() == pytest.approx(0.7, abs=1e-6)
    assert all(part.grad.isfinite().all() for part in parts)


def looped_pooling(place: Array, sound: Array, u: Array, v: Array, q: int) -> Array:
    """Eq. 3-4 of one place."""
    size = u.shape[1]
    product = np.array([float(place @ u[:, k]) * float(sound @ v[:, k]) for k in range(size)])
    pooled = [sum(product[first : first + q]) for first in range(0, size, q)]
    rooted = np.array([math.copysign(math.sqrt(abs(z) + 1e-12), z) for z in pooled])
    return rooted / math.sqrt(sum(z * z for z in rooted))


def test_factorised_bilinear_pooling_is_equations_3_and_4():
    places, sound, u, v = drawn(CLIPS, 6, 7), drawn(CLIPS, 2), drawn(7, 12), drawn(2, 12)

    found = mfb(places, sound, u, v, q=3)

    for clip in range(CLIPS):
        for place in range(6):
            expected = looped_pooling(
                places[clip, place].numpy(), sound[clip].numpy(), u.numpy(), v.numpy(), 3
            )
            np.testing.assert_allclose(found[clip, place].numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("fill", [0.0, 1e-30, 1.0])
def test_features_that_are_zero_or_equal_keep_the_pooling_and_its_gradients_finite(fill: float):
    places = torch.full((2, 6, 7), fill, requires_grad=True)
    sound = torch.full((2, 2), fill, requires_grad=True)

    found = mfb(places, sound, torch.ones(7, 12), torch.ones(2, 12), q=3)
    found.sum().backward()

    assert found.isfinite().all()
    assert places.grad.isfinite().all()
    assert sound.grad.isfinite().all()


@pytest.fixture
def settings() -> Callable[..., AvfbConfig]:
    """``settings(...)``: a small model on features that come with the clip."""

    def built(**changes: Any) -> AvfbConfig:
        small = {"backbone": "features", "num_segments": SEGMENTS, "num_classes": 3,
                 "temporal_hidden": 6, "head_hidden": 5, "mfb_p": 4, "mfb_q": 3}  # fmt: skip
        return AvfbConfig(**{**small, **changes})

    return built


def doubled(module: nn.Module, seed: int = 0) -> nn.Module:
    """A module in float64 whose weights are large enough to matter."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    for weights in module.parameters():
        weights.data = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
    return module


def test_attended_features_are_equations_5_and_6(settings: Callable[..., AvfbConfig]):
    fusion = doubled(Fusion(settings(fusion="mfb"), 7, 2))
    visual, sound = drawn(CLIPS, SEGMENTS, 7, 2, 3), drawn(CLIPS, SEGMENTS, 2)

    found = fusion(visual, sound)

    u, v = fusion.mfb.u.weight.T.detach().numpy(), fusion.mfb.v.weight.T.detach().numpy()
    weights, bias = fusion.mfb.score.weight[0].tolist(), fusion.mfb.score.bias.item()
    for clip in range(CLIPS):
        for segment in range(SEGMENTS):
            places = visual[clip, segment].flatten(1).T.numpy()  # (M, 7)
            heard = sound[clip, segment].numpy()
            pooled = [looped_pooling(place, heard, u, v, 3) for place in places]
            scores = [float(np.dot(weights, z)) + bias for z in pooled]
            shares = [math.exp(score) / sum(map(math.exp, scores)) for score in scores]
            expected = sum(share * place for share, place in zip(shares, places, strict=True))
            actual = found[clip, segment].detach().numpy()
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10)


def looped_lstm(lstm: nn.LSTM, values: Array) -> Array:
    """One layer in one direction, gate by gate, of one clip ``(T, inputs)``."""
    w_x, w_h, b_x, b_h = (each.detach().numpy() for each in lstm.parameters())
    hidden = cell = np.zeros(lstm.hidden_size)
    steps = []
    for value in values:
        gates = (w_x @ value + b_x + w_h @ hidden + b_h).reshape(4, -1)
        enter, forget, leave = (1 / (1 + np.exp(-gates[k])) for k in (0, 1, 3))
        cell = forget * cell + enter * np.tanh(gates[2])
        hidden = leave * np.tanh(cell)
        steps.append(hidden)
    return np.stack(steps)


def test_the_fusing_lstm_is_equation_1_on_the_sum_and_the_sound(
    settings: Callable[..., AvfbConfig],
):
    fusion = doubled(Fusion(settings(fusion="lstm"), 7, 2))
    visual, sound = drawn(CLIPS, SEGMENTS, 7, 2, 3), drawn(CLIPS, SEGMENTS, 2)

    found = fusion(visual, sound).detach().numpy()

    weight, bias = (each.detach().numpy() for each in fusion.embedded[0].parameters())
    for clip in range(CLIPS):
        values = []
        for segment in range(SEGMENTS):
            seen = visual[clip, segment].numpy().reshape(7, -1).mean(1)
            heard = np.maximum(weight @ sound[clip, segment].numpy() + bias, 0)
            values.append(np.concatenate([seen + heard, heard]))
        expected = looped_lstm(fusion.lstm, np.stack(values))
        np.testing.assert_allclose(found[clip], expected, rtol=0, atol=1e-10)


def test_audio_assisted_features_are_the_sum_of_both_fusions(settings: Callable[..., AvfbConfig]):
    both = doubled(Fusion(settings(), 7, 2))
    visual, sound = drawn(CLIPS, SEGMENTS, 7, 2, 3), drawn(CLIPS, SEGMENTS, 2)
    parts = []
    for kind in ("lstm", "mfb"):
        part = Fusion(settings(fusion=kind), 7, 2).double()
        part.load_state_dict({k: v for k, v in both.state_dict().items() if k in part.state_dict()})
        parts.append(part(visual, sound))

    assert both(visual, sound).detach().numpy() == pytest.approx(
        (parts[0] + parts[1]).detach().numpy(), abs=1e-12
    )


@pytest.mark.parametrize("kind", ["multiplication", "addition", "none"])
def test_plain_fusions_join_the_means_over_places_with_the_embedded_sound(
    settings: Callable[..., AvfbConfig], kind: str
):
    fusion = doubled(Fusion(settings(fusion=kind), 7, 2))
    visual, sound = drawn(CLIPS, SEGMENTS, 7, 2, 3), drawn(CLIPS, SEGMENTS, 2)

    found = fusion(visual, sound).detach()

    seen = visual.sum((-2, -1)) / 6
    if kind != "none":
        weight, bias = fusion.embedded[0].parameters()
        heard = (sound @ weight.T + bias).clamp(min=0).detach()
        seen = seen * heard if kind == "multiplication" else seen + heard
    torch.testing.assert_close(found, seen, rtol=0, atol=1e-10)


def looped_swab(
    hidden: Array, w_g: Array, b_g: Array, w_s: Array, b_s: Array, w_a: Array, attention: str
) -> Array:
    """Eq. 9-11 of one clip."""
    mean = [sum(hidden[:, k]) / len(hidden) for k in range(hidden.shape[1])]
    most = [max(hidden[:, k]) for k in range(hidden.shape[1])]
    pools = {"mean": [mean], "max": [most], "both": [mean, most]}[attention]
    whole = sum(np.maximum(w_g @ np.array(pool) + b_g, 0) for pool in pools)
    scores = [float(w_a @ (np.maximum(w_s @ step + b_s, 0) * whole)) for step in hidden]
    shares = [math.exp(score) / sum(map(math.exp, scores)) for score in scores]
    return np.stack([share * step for share, step in zip(shares, hidden, strict=True)])


@pytest.mark.parametrize("attention", ["both", "mean", "max"])
def test_segments_are_weighted_by_equations_9_to_11(attention: str):
    branch = doubled(Branch(2, SIZE, attention))
    block = branch.swab
    hidden = drawn(CLIPS, SEGMENTS, SIZE)

    found = block(hidden).detach().numpy()

    weights = [each.detach().numpy() for each in
               (block.of_clip.weight, block.of_clip.bias, block.of_segment.weight,
                block.of_segment.bias, block.score.weight[0])]  # fmt: skip
    expected = np.stack([looped_swab(one, *weights, attention) for one in hidden.numpy()])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_a_branch_answers_its_lstm_and_what_swab_makes_of_it():
    branch = doubled(Branch(2, SIZE, "both"))
    values = drawn(CLIPS, SEGMENTS, 2)

    found = branch(values)

    expected = np.stack([looped_lstm(branch.lstm, one) for one in values.numpy()])
    np.testing.assert_allclose(found.hidden.detach().numpy(), expected, rtol=0, atol=1e-10)
    assert found.attended.equal(branch.swab(found.hidden))


def test_the_similarity_is_the_second_line_of_equation_12_too():
    h_a, h_v, s_a, s_v = (drawn(CLIPS, SEGMENTS, SIZE, seed=k) for k in range(4))

    found = similarity(h_a, h_v, s_a, s_v)

    expected = (h_a * s_a - h_v * s_a) + (h_v * s_v - h_a * s_v)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("function", ["avtgml", "mfb", "swab"])
def test_gradients_are_those_of_finite_differences(function: str):
    parts = [drawn(2, SEGMENTS, SIZE, seed=k).requires_grad_() for k in range(3)]
    if function == "avtgml":
        assert torch.autograd.gradcheck(avtgml, tuple(parts))
    elif function == "mfb":
        u, v = drawn(SIZE, 6).requires_grad_(), drawn(2, 6).requires_grad_()
        sound = drawn(2, 2).requires_grad_()
        assert torch.autograd.gradcheck(lambda *each: mfb(*each, 3), (parts[0], sound, u, v))
    else:
        branch = doubled(Branch(2, SIZE, "both")).swab
        layers = (branch.of_clip, branch.of_segment, branch.score)
        assert torch.autograd.gradcheck(lambda hidden: swab(hidden, *layers), (parts[0],))


def test_the_sound_of_small_streams_has_its_level_beside_it():
    network = SoundWithLevel(nn.Flatten())
    tone = torch.sin(torch.arange(16000.0) / 10)
    sounds = torch.stack([tone * 0.1, tone * 0.01, torch.zeros(16000)])

    levels = network(sounds)[:, -1]

    decibels = [10 * math.log10(float(np.mean(one.numpy() ** 2)) + 1e-8) for one in sounds]
    assert levels.tolist() == pytest.approx([value / 10 + 2 for value in decibels], abs=1e-5)
    assert levels[2].item() == pytest.approx(-6, abs=1e-5)


def test_the_weights_of_warm_streams_fit():
    method = Avfb(AvfbConfig(backbone="small", pretrained="warmup"), OptimConfig(), seed=0)
    warmup = Warmup(WarmupConfig(64, 16000, 1.0), OptimConfig(), seed=1)

    method.streams.load_state_dict(warmup.streams.state_dict())

    waveform = torch.rand(1, 2, 16000)
    warm, own = warmup.streams.eval(), method.streams.eval()
    assert own.audio(waveform)[..., :-1].equal(warm.audio(waveform))


def batch_of(labels: Tensor | None = None, has_labels: list[bool] | None = None) -> Batch:
    """Clips whose features are noise, with classes of their segments."""
    features = Features(
        drawn(CLIPS, SEGMENTS, 512, 2, 2).float(), drawn(CLIPS, SEGMENTS, 128).float()
    )
    clip = Clip(
        torch.arange(CLIPS),
        torch.zeros(CLIPS, SEGMENTS, 3, 0, 0, dtype=torch.uint8),
        torch.zeros(CLIPS, SEGMENTS, 0),
        torch.full((CLIPS,), SEGMENTS // 2),
        features=features,
    )
    if labels is None:
        return Batch(clip)
    seen = torch.tensor(has_labels or [True] * CLIPS)
    return Batch(clip, Annotation(None, None, labels, torch.zeros(CLIPS).bool(), seen))


def made(config: AvfbConfig, seed: int = 0) -> Avfb:
    return Avfb(config, OptimConfig(), seed=seed)


@pytest.mark.parametrize("query", ["positive", "pair"])
def test_the_unsupervised_loss_compares_with_the_sounds_of_other_clips(
    settings: Callable[..., AvfbConfig], query: str
):
    method = made(settings(query=query))
    visual, sound = drawn(CLIPS, SEGMENTS, 512, 2, 2).float(), drawn(CLIPS, SEGMENTS, 128).float()

    loss = method.loss(batch_of())

    others = derangement(CLIPS, seed=0, epoch=0, step=0)
    s_a = method.audio_branch(sound).attended
    z = method.visual_branch(method.fusion(visual, sound)).attended
    z_other = method.visual_branch(method.fusion(visual, sound[others])).attended
    arrays = [each.detach().double().numpy() for each in
              (z, s_a, s_a[others], z_other if query == "pair" else z)]  # fmt: skip
    expected = looped_loss(*arrays[:3], 0.7, arrays[3])
    assert loss.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", ["zero", "equal segments", "silent"])
@pytest.mark.parametrize("supervision", ["supervised", "weak", "unsupervised"])
def test_features_without_content_keep_loss_and_gradients_finite(
    settings: Callable[..., AvfbConfig], kind: str, supervision: str
):
    method = made(settings(supervision=supervision))
    batch = batch_of(torch.zeros(CLIPS, SEGMENTS, dtype=torch.int64))
    visual, sound = batch.clip.features
    if kind == "zero":
        visual, sound = torch.zeros_like(visual), torch.zeros_like(sound)
    elif kind == "silent":
        sound = torch.zeros_like(sound)
    else:
        visual, sound = visual[:, :1].expand_as(visual), sound[:, :1].expand_as(sound)

    loss = method.loss(batch._replace(clip=batch.clip._replace(features=Features(visual, sound))))
    loss.backward()

    assert loss.isfinite()
    trained = [each for each in method.parameters() if each.requires_grad]
    assert all(each.grad is not None and each.grad.isfinite().all() for each in trained)


def test_supervised_is_the_cross_entropy_of_every_segment_of_labelled_clips():
    logits = drawn(CLIPS, SEGMENTS, 4)
    labels = torch.randint(4, (CLIPS, SEGMENTS), generator=torch.Generator().manual_seed(0))
    seen = [True, False, True, True, False]
    labels[~torch.tensor(seen)] = -1
    annotation = batch_of(labels, seen).annotation

    loss = class_loss(logits, annotation, "supervised")

    rows = []
    for clip, segment in np.ndindex(CLIPS, SEGMENTS):
        if seen[clip]:
            one = logits[clip, segment].numpy()
            rows.append(math.log(sum(np.exp(one))) - one[labels[clip, segment]])
    assert loss.item() == pytest.approx(sum(rows) / len(rows), abs=1e-10)


def test_weak_is_the_likelihood_of_the_event_under_the_mean_of_the_segments():
    logits = drawn(CLIPS, SEGMENTS, 4)
    events = [0, 3, 2, 1, 0]
    annotation = batch_of(torch.tensor(events).unsqueeze(1).expand(-1, SEGMENTS)).annotation

    loss = class_loss(logits, annotation, "weak")

    rows = []
    for clip, event in enumerate(events):
        shares = [np.exp(one[event]) / sum(np.exp(one)) for one in logits[clip].numpy()]
        rows.append(-math.log(sum(shares) / SEGMENTS))
    assert loss.item() == pytest.approx(sum(rows) / CLIPS, abs=1e-10)


def test_a_batch_without_labels_teaches_nothing():
    logits = drawn(CLIPS, SEGMENTS, 4).requires_grad_()
    annotation = batch_of(torch.full((CLIPS, SEGMENTS), -1), [False] * CLIPS).annotation

    loss = class_loss(logits, annotation, "supervised")
    loss.backward()

    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


def test_the_map_is_the_attention_of_the_target_segment(settings: Callable[..., AvfbConfig]):
    method = made(settings()).eval()
    clip = batch_of().clip
    visual, sound = clip.features

    answer = method.localize(clip)

    scores = method.fusion.place_scores(visual[:, 2], sound[:, 2]).softmax(1)
    torch.testing.assert_close(answer.heatmap.flatten(1), scores)
    assert answer.heatmap.sum((1, 2)).tolist() == pytest.approx([1] * CLIPS, abs=1e-6)
    torch.testing.assert_close(answer.confidence, scores.amax(1) * 4)
    assert answer.segment_logits is None
    assert method.card.map_range == (0.0, 1.0)


def test_the_map_may_be_what_the_softmax_is_of(settings: Callable[..., AvfbConfig]):
    clip = batch_of().clip

    attention = made(settings()).eval().localize(clip).heatmap
    method = made(settings(map_output="logits")).eval()

    found = method.localize(clip).heatmap
    torch.testing.assert_close(found.flatten(1).softmax(1), attention.flatten(1))
    assert method.card.map_range is None


def test_with_labels_segments_have_classes_and_confidence_is_that_of_an_event(
    settings: Callable[..., AvfbConfig],
):
    method = made(settings(supervision="weak")).eval()

    answer = method.localize(batch_of().clip)

    assert answer.segment_logits.shape == (CLIPS, SEGMENTS, 4)
    background = answer.segment_logits[:, 2].exp()
    expected = 1 - background[:, 3] / background.sum(1)
    torch.testing.assert_close(answer.confidence, expected)
    assert method.card.supervision == "classes of clips"


VARIANTS = [
    {},
    {"modalities": "audio"},
    {"modalities": "visual", "fusion": "none"},
    {"modalities": "visual"},
    {"fusion": "none"},
    *({"fusion": kind} for kind in ("multiplication", "addition", "concatenation", "lstm", "mfb")),
    {"attention": "none", "aggregation": False},
    {"attention": "none"},
    *({"attention": kind, "aggregation": False} for kind in ("mean", "max", "both")),
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_part_of_every_variant_learns_from_classes(
    settings: Callable[..., AvfbConfig], changes: dict[str, Any]
):
    method = made(settings(supervision="supervised", **changes))

    method.loss(batch_of(torch.ones(CLIPS, SEGMENTS, dtype=torch.int64))).backward()

    assert all(weights.grad is not None for weights in method.parameters())


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_a_variant_without_attention_over_places_says_so_and_draws_no_map(
    settings: Callable[..., AvfbConfig], changes: dict[str, Any]
):
    method = made(settings(supervision="supervised", **changes)).eval()

    answer = method.localize(batch_of().clip)

    attends = (
        changes.get("fusion", "avfb") in ("avfb", "mfb") and changes.get("modalities") != "audio"
    )
    assert method.card.localises == attends
    assert answer.heatmap.shape == ((CLIPS, 2, 2) if attends else (CLIPS, 0, 0))
    assert answer.segment_logits.shape == (CLIPS, SEGMENTS, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"supervision": "suprvised"}, "'suprvised' is unknown; Did you mean supervised?"),
        ({"fusion": "lambda"}, "method.fusion='lambda' is unknown; use one of avfb, mfb, lstm"),
        ({"num_segments": 1}, "method.num_segments=1: without labels .* set method.num_segments"),
        ({"fusion": "lstm"}, "method.fusion=lstm gives no map, and without labels no classes"),
        ({"modalities": "audio"}, "method.modalities=audio with method.fusion=avfb gives no map"),
        ({"supervision": "weak", "modalities": "audio", "fusion": "mfb"},
         "method.fusion=mfb has no meaning with method.modalities=audio"),
        ({"pretrained": "warmup"}, "method.pretrained=warmup is for method.backbone=small"),
        ({"pretrained_vision": "a.pt"}, "are for method.backbone=vgg19_vggish, not features"),
        ({"backbone": "small", "segment_seconds": 0.1}, "method.segment_seconds=0.1 is too short"),
    ],
)  # fmt: skip
def test_settings_that_have_no_meaning_are_refused(
    settings: Callable[..., AvfbConfig], changes: dict[str, Any], message: str
):
    with pytest.raises(BenchError, match=message):
        made(settings(**changes))


@pytest.mark.parametrize(
    ("changes", "started_from"),
    [
        ({"backbone": "features"}, "vision: ImageNet, sound: VGGish"),
        ({"backbone": "small"}, "none"),
        ({"backbone": "small", "pretrained": "warmup"}, "streams: warmup on the training clips"),
        ({"backbone": "small", "pretrained": "runs/a"}, "streams: another run of warmup"),
    ],
)
def test_the_card_says_what_a_run_started_from(
    settings: Callable[..., AvfbConfig], changes: dict[str, Any], started_from: str
):
    assert made(settings(**changes)).card.pretraining == started_from


def test_one_segment_is_enough_where_there_are_labels(settings: Callable[..., AvfbConfig]):
    assert made(settings(supervision="weak", num_segments=1)).inputs.num_segments == 1


@pytest.mark.parametrize(
    ("changes", "config", "message"),
    [
        ({}, {"batch_size": 1}, "data.batch_size=1: a triplet needs .* set data.batch_size to 2"),
        ({}, {}, "method.backbone=features reads features .* give data.feature_files=DIR"),
        ({"supervision": "weak"}, {}, "these data have none; set method.supervision=unsupervised"),
    ],
)
def test_data_that_lack_what_is_learnt_from_are_refused(
    settings: Callable[..., AvfbConfig],
    tiny_clips: Callable[..., ClipData],
    changes: dict[str, Any],
    config: dict[str, Any],
    message: str,
):
    with pytest.raises(BenchError, match=message):
        made(settings(**changes)).check(tiny_clips(**config))


def test_similarities_are_measured_while_it_trains(settings: Callable[..., AvfbConfig]):
    method = made(settings())
    batch = batch_of()
    visual, sound = batch.clip.features
    method.on_train_epoch_start()

    method.on_train_batch_end(None, batch, 0)
    method.on_train_batch_end(None, batch, 1)

    others = derangement(CLIPS, seed=0, epoch=0, step=0)
    s_a = method.audio_branch(sound).attended
    z = method.visual_branch(method.fusion(visual, sound)).attended
    crossed = method.visual_branch(method.fusion(visual[others], sound)).attended
    pairs = {"similarity": (z, s_a), "similarity_wrong_sounds": (z, s_a[others]),
             "similarity_wrong_frames": (crossed, s_a)}  # fmt: skip
    expected = {
        name: np.mean([looped_similarity(a.double().numpy(), b.double().numpy())
                       for a, b in zip(*(each.detach() for each in pair), strict=True)])
        for name, pair in pairs.items()
    }  # fmt: skip
    assert method.figures() == pytest.approx(expected, abs=1e-5)
    method.on_train_epoch_start()
    assert method.figures() == {}


def test_measuring_leaves_a_training_as_it_was(settings: Callable[..., AvfbConfig]):
    small = {"backbone": "small", "image_size": 32, "sample_rate_hz": 8000, "num_segments": 2,
             "segment_seconds": 1.0}  # fmt: skip
    method = made(settings(**small)).train()
    frames = torch.randint(256, (3, 2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    clip = Clip(
        torch.arange(3), frames.to(torch.uint8), drawn(3, 2, 8000).float(), torch.ones(3).long()
    )
    before = {name: value.clone() for name, value in method.streams.state_dict().items()}

    method.on_train_batch_end(None, Batch(clip), 0)

    assert method.figures()
    for name, value in method.streams.state_dict().items():
        assert value.equal(before[name]), name
    assert all(part.training for part in method.modules())


def rank_losses() -> dict[str, Any]:
    """Losses and gradients on this rank's rows of one global batch; called by ``two_ranks``."""
    rank, world = 0, 1
    if torch.distributed.is_initialized():
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for supervision in ("unsupervised", "supervised", "weak"):
        config = AvfbConfig(backbone="features", num_segments=3, num_classes=3, temporal_hidden=6,
                            mfb_p=4, mfb_q=3, supervision=supervision, query="pair")  # fmt: skip
        method = Avfb(config, OptimConfig(), seed=0)
        visual, sound = drawn(6, 3, 512, 2, 2).float(), drawn(6, 3, 128).float()
        labels = torch.arange(18).view(6, 3) % 4
        has_labels = torch.tensor([True, False, True, False, False, True])
        clip = Clip(torch.arange(6), torch.zeros(6, 3, 3, 0, 0), torch.zeros(6, 3, 0),
                    torch.ones(6).long(), features=Features(visual, sound))  # fmt: skip
        own = slice(rank, None, world)
        part = Clip(*(each[own] for each in clip[:4]), None, Features(visual[own], sound[own]))
        annotation = Annotation(None, None, labels[own], has_labels[own], has_labels[own])
        loss = method.loss(Batch(part, annotation))
        loss.backward()
        gradient = torch.cat([each.grad.flatten() for each in method.parameters()])
        found[supervision] = (loss.item(), gradient)
    return found


@pytest.fixture(scope="module")
def two_ranks(on_two_processes: Callable[..., list[Any]]) -> list[dict[str, Any]]:
    return on_two_processes(rank_losses)


@pytest.mark.parametrize("supervision", ["unsupervised", "supervised", "weak"])
def test_two_devices_have_the_mean_loss_and_gradient_of_one(
    two_ranks: list[dict[str, Any]], supervision: str
):
    loss, gradient = rank_losses()[supervision]

    losses, gradients = zip(*(rank[supervision] for rank in two_ranks), strict=True)

    assert sum(losses) / 2 == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(sum(gradients) / 2, gradient, rtol=0, atol=1e-6)


def test_frozen_warm_streams_are_filled_by_the_shared_stage(
    tiny_clips: Callable[..., ClipData], tmp_path: Path
):
    class Fitted:
        def fit(self, name: str, method: Warmup, settings: object = None) -> Warmup:
            assert (name, type(method)) == ("warmup", Warmup)
            with torch.no_grad():
                for weights in method.parameters():
                    weights.add_(1)
            self.streams = method.streams
            return method

    method = Avfb(AvfbConfig(backbone="small", pretrained="warmup"), OptimConfig(), seed=0)
    stages = Fitted()

    method.prepare(stages, tiny_clips())

    expected = stages.streams.state_dict()
    assert all(value.equal(expected[key]) for key, value in method.streams.state_dict().items())
    assert method.extractor() is not None
    assert not any(weights.requires_grad for weights in method.streams.parameters())


def test_full_streams_are_vgg19_and_vggish_and_both_are_trained_without_weights():
    method = Avfb(AvfbConfig(num_segments=2), OptimConfig(), seed=0).eval()
    frames = torch.randint(256, (1, 2, 3, 64, 96), dtype=torch.uint8)
    clip = Clip(torch.zeros(1), frames, torch.rand(1, 2, 16000), torch.ones(1).long())

    with torch.no_grad():
        visual, sound = method.features(clip)
        answer = method.localize(clip)

    assert (visual.shape, sound.shape) == ((1, 2, 512, 2, 3), (1, 2, 128))
    assert answer.heatmap.shape == (1, 2, 3)
    assert method.extractor() is None
    assert not method.inputs.takes_features
    method.streams.frozen_visual = method.streams.frozen_audio = True
    assert method.inputs.takes_features
