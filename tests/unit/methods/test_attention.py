"""Equations 1-7 of Senocak et al. 2018, written out in float64, against the method."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

from datamodules.base import ClipData
from datamodules.clip import Annotation, Batch, Clip
from methods.attention import (
    Attention,
    AttentionConfig,
    attention_map,
    box_map_loss,
    distance,
    distance_ratio_loss,
)
from methods.attention_relu import AttentionRelu
from methods.base import OptimConfig
from methods.negatives import derangement
from metrics.errors import BenchError

Array = NDArray[np.float64]
SMALL = {"backbone": "small", "image_size": 32, "sample_rate_hz": 16000, "segment_seconds": 0.5}
BATCH, CHANNELS, CELLS = 5, 128, 3


class Given(nn.Module):
    """Streams that see and hear the given features, whatever the clip."""

    def __init__(self, visual: Tensor, heard: Tensor) -> None:
        super().__init__()
        self.visual, self.heard = visual, heard

    def of_target(self, clip: Clip) -> tuple[Tensor, Tensor]:
        return self.visual[clip.index], self.heard[clip.index]


def features(batch: int = BATCH) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    visual = torch.randn(batch, CHANNELS, CELLS, CELLS, generator=generator, dtype=torch.float64)
    heard = torch.randn(batch, CHANNELS, generator=generator, dtype=torch.float64)
    return visual, heard


def method_of(kind: type[Attention] = Attention, **settings: object) -> Attention:
    """The heads in float64, on the features above."""
    config = AttentionConfig(**{**SMALL, **settings})
    method = kind(config, OptimConfig(), seed=0).double()
    method.streams = Given(*features())
    return method


def clips(batch: int = BATCH) -> Clip:
    rows = torch.arange(batch)
    return Clip(rows, torch.empty(batch, 1, 3, 0, 0), torch.empty(batch, 1, 0), rows * 0)


def batches(box_map: Tensor | None = None, has_boxes: Tensor | None = None) -> Batch:
    if box_map is None or has_boxes is None:
        return Batch(clips())
    return Batch(clips(), Annotation(None, box_map, None, has_boxes, has_boxes))


class Equations:
    """The network of the paper as loops over numpy arrays."""

    def __init__(self, method: Attention) -> None:
        self.relu = method.rectified
        self.query = [(layer.weight.detach().numpy(), layer.bias.detach().numpy())
                      for layer in method.to_query if isinstance(layer, nn.Linear)]  # fmt: skip
        self.sound = [(layer.weight.detach().numpy(), layer.bias.detach().numpy())
                      for layer in method.to_sound if isinstance(layer, nn.Linear)]  # fmt: skip

    @staticmethod
    def layers(vector: Array, layers: list[tuple[Array, Array]]) -> Array:
        for weight, bias in layers:
            vector = weight @ np.maximum(vector, 0) + bias
        return vector

    def response(self, image: Array, heard: Array) -> Array:
        """Eq. 2-3, cell by cell."""
        query = self.layers(heard, self.query)
        found = np.empty(image.shape[1:])
        for row, column in np.ndindex(*found.shape):
            cell = image[:, row, column]
            cosine = cell @ query / np.linalg.norm(cell) / np.linalg.norm(query)
            found[row, column] = max(cosine, 0) if self.relu else cosine
        return found

    def alpha(self, image: Array, heard: Array, temperature: float = 1.0) -> Array:
        """Eq. 1."""
        exponents = np.exp(self.response(image, heard) / temperature)
        return exponents / exponents.sum()

    def seen(self, image: Array, heard: Array, temperature: float = 1.0) -> Array:
        """Eq. 4 and the two blocks behind it."""
        alpha, z = self.alpha(image, heard, temperature), np.zeros(len(image))
        for row, column in np.ndindex(*alpha.shape):
            z += alpha[row, column] * image[:, row, column]
        return self.layers(z, self.sound)


def ratio_loss(positive: float, negative: float) -> float:
    """Eq. 5 as printed, with both exponentials."""
    total = np.exp(positive) + np.exp(negative)
    return (np.exp(positive) / total) ** 2 + (1 - np.exp(negative) / total) ** 2


KINDS = pytest.mark.parametrize("kind", [Attention, AttentionRelu])


@KINDS
@pytest.mark.parametrize("query", ["positive", "pair"])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_the_unsupervised_loss_is_equations_1_to_5(
    kind: type[Attention], query: str, temperature: float
):
    method = method_of(kind, pretrained="warmup", query=query, attention_temperature=temperature)

    loss = method.loss(batches())

    equations, (visual, heard) = Equations(method), (each.numpy() for each in features())
    expected = 0.0
    for i, j in enumerate(derangement(BATCH, seed=0, epoch=0, step=0).tolist()):
        own = equations.seen(visual[i], heard[i], temperature)
        other = own if query == "positive" else equations.seen(visual[i], heard[j], temperature)
        expected += ratio_loss(np.linalg.norm(own - heard[i]), np.linalg.norm(other - heard[j]))
    assert loss.item() == pytest.approx(expected / BATCH, abs=1e-9)


@KINDS
@pytest.mark.parametrize("query", ["positive", "pair"])
def test_infonce_is_the_cross_entropy_of_a_frame_against_all_sounds(
    kind: type[Attention], query: str
):
    method = method_of(kind, pretrained="warmup", loss="infonce", query=query, temperature=0.2)

    loss = method.loss(batches())

    equations, (visual, heard) = Equations(method), (each.numpy() for each in features())
    expected = 0.0
    for i in range(BATCH):
        cosines = []
        for j in range(BATCH):
            seen = equations.seen(visual[i], heard[i if query == "positive" else j])
            cosines.append(seen @ heard[j] / np.linalg.norm(seen) / np.linalg.norm(heard[j]))
        expected += np.log(np.exp(np.array(cosines) / 0.2).sum()) - cosines[i] / 0.2
    assert loss.item() == pytest.approx(expected / BATCH, abs=1e-9)


@pytest.mark.parametrize("query", ["positive", "pair"])
def test_logits_of_infonce_are_not_of_half_precision(query: str):
    method = method_of(Attention, pretrained="warmup", loss="infonce", query=query).float()
    visual, heard = (each.float() for each in features())
    seen = torch.randn(BATCH, 1 if query == "positive" else BATCH, heard.shape[1],
                       generator=torch.Generator().manual_seed(0)).bfloat16()  # fmt: skip
    method.seen_by = lambda *_: seen.squeeze(1)
    method.pooled = lambda *_: seen
    method.to_sound = torch.nn.Identity()

    with torch.autocast("cpu", torch.bfloat16):
        loss = method.all_pairs_loss(visual, heard, heard)

    cosines = torch.cosine_similarity(seen.float(), heard.unsqueeze(0), dim=-1)
    expected = torch.nn.functional.cross_entropy(
        cosines / method.config.temperature, torch.arange(BATCH)
    )
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)


@KINDS
def test_boxes_add_the_cross_entropy_of_equation_7_where_there_are_some(kind: type[Attention]):
    weight = 0.3
    method = method_of(kind, pretrained="warmup", supervision="semi", supervision_weight=weight)
    rng = np.random.default_rng(0)
    box_map = torch.from_numpy((rng.random((BATCH, CELLS, CELLS)) < 0.4).astype(np.float32))
    has_boxes = torch.tensor([True, False, True, False, False])

    supervised = method.loss(batches(box_map, has_boxes)) - method.loss(batches())

    equations, (visual, heard) = Equations(method), (each.numpy() for each in features())
    expected = sum(
        -(box_map[i].numpy() * np.log(equations.alpha(visual[i], heard[i]))).sum() for i in (0, 2)
    )
    assert supervised.item() == pytest.approx(weight * expected / BATCH, abs=1e-6)


@KINDS
def test_the_response_answers_and_its_largest_cosine_is_the_confidence(kind: type[Attention]):
    method = method_of(kind, pretrained="warmup")

    answer = method.localize(clips())

    equations, (visual, heard) = Equations(method), (each.numpy() for each in features())
    signed = Equations(method)
    signed.relu = False
    for i in range(BATCH):
        assert answer.heatmap[i].detach().numpy() == pytest.approx(
            equations.response(visual[i], heard[i]), abs=1e-12
        )
        assert answer.confidence[i].item() == pytest.approx(
            signed.response(visual[i], heard[i]).max(), abs=1e-12
        )


def test_the_attention_may_answer_in_place_of_the_response():
    method = method_of(pretrained="warmup", answer="attention", attention_temperature=0.1)

    answer = method.localize(clips())

    equations, (visual, heard) = Equations(method), (each.numpy() for each in features())
    expected = equations.alpha(visual[1], heard[1], temperature=0.1)
    assert answer.heatmap[1].detach().numpy() == pytest.approx(expected, abs=1e-12)
    assert method.card.map_range == (0.0, 1.0)


def test_distances_of_vectors_in_half_precision_are_those_of_the_same_numbers():
    first, second = torch.randn(2, 5, 1000, generator=torch.Generator().manual_seed(0)).bfloat16()

    assert torch.equal(distance(first, second), distance(first.float(), second.float()))


def test_the_distance_of_frame_and_sound_may_be_the_confidence():
    method = method_of(pretrained="warmup", confidence="distance")

    answer = method.localize(clips())

    equations, (visual, heard) = Equations(method), (each.numpy() for each in features())
    expected = -np.linalg.norm(equations.seen(visual[2], heard[2]) - heard[2])
    assert answer.confidence[2].item() == pytest.approx(expected, abs=1e-9)


def test_the_response_in_single_precision_stays_within_1e_6():
    visual, heard = features()

    found = attention_map(visual.float(), heard.float(), relu=False)

    expected = torch.cosine_similarity(visual, heard[:, :, None, None], dim=1)
    assert torch.allclose(found.double(), expected, atol=1e-6, rtol=0)


def test_the_ratio_loss_in_single_precision_stays_within_1e_6():
    generator = torch.Generator().manual_seed(0)
    triplet = torch.randn(3, 8, 20, generator=generator, dtype=torch.float64)

    found = distance_ratio_loss(*triplet.float())

    query, positive, negative = triplet.numpy()
    rows = [ratio_loss(np.linalg.norm(q - p), np.linalg.norm(q - n))
            for q, p, n in zip(query, positive, negative, strict=True)]  # fmt: skip
    assert found.item() == pytest.approx(np.mean(rows), abs=1e-6)


def test_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    triplet = [torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
               for _ in range(3)]  # fmt: skip
    visual = torch.randn(2, 4, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]).double()

    def supervised(visual: Tensor, sound: Tensor) -> Tensor:
        return box_map_loss(attention_map(visual, sound, relu=False), boxes)

    assert torch.autograd.gradcheck(distance_ratio_loss, triplet)
    assert torch.autograd.gradcheck(supervised, (visual, triplet[0][:2]))


@pytest.mark.parametrize("loss", ["ratio", "infonce"])
@pytest.mark.parametrize("query", ["positive", "pair"])
@KINDS
def test_silent_and_equal_features_keep_loss_and_gradients_finite(
    kind: type[Attention], query: str, loss: str
):
    method = method_of(kind, pretrained="warmup", query=query, loss=loss)
    visual, heard = (torch.zeros_like(each, requires_grad=True) for each in features())
    method.streams = Given(visual, heard)

    found = method.loss(batches())
    found.backward()

    assert found.isfinite()
    assert visual.grad.isfinite().all()
    assert heard.grad.isfinite().all()
    assert all(weights.grad.isfinite().all() for weights in method.parameters())


def test_held_out_batches_have_the_same_negatives_in_every_epoch():
    method = method_of(pretrained="warmup").eval()
    expected = method.loss(batches()).item()

    method.fit_loop_epoch = 7

    assert method.loss(batches()).item() == expected


def loss_of_one_of_two_ranks(query: str, loss: str) -> dict[str, Any]:
    """Loss and gradients of the heads on this process's rows of a batch of six."""
    rank = torch.distributed.get_rank()
    method = method_of(query=query, loss=loss)  # from nothing: with batch statistics
    method.streams = Given(*features(6))
    rows = torch.arange(6)[rank::2]
    found = method.loss(Batch(clips(6)._replace(index=rows)))
    found.backward()
    grads = {name: weights.grad for name, weights in method.named_parameters()}
    return {"loss": found.item(), "grads": grads}


def printed_on_a_rank() -> dict[str, Any]:
    return loss_of_one_of_two_ranks("positive", "ratio")


def all_pairs_on_a_rank() -> dict[str, Any]:
    return loss_of_one_of_two_ranks("pair", "infonce")


@pytest.mark.parametrize(
    ("on_a_rank", "query", "loss"),
    [(printed_on_a_rank, "positive", "ratio"), (all_pairs_on_a_rank, "pair", "infonce")],
)
def test_two_processes_have_the_loss_and_gradients_of_one(
    on_two_processes: Callable[..., list[Any]],
    on_a_rank: Callable[[], dict[str, Any]],
    query: str,
    loss: str,
):
    method = method_of(query=query, loss=loss)
    method.streams = Given(*features(6))
    expected = method.loss(Batch(clips(6)))
    expected.backward()

    ranks = on_two_processes(on_a_rank)

    assert sum(rank["loss"] for rank in ranks) / 2 == pytest.approx(expected.item(), abs=1e-12)
    for name, weights in method.named_parameters():
        found = sum(rank["grads"][name] for rank in ranks) / 2  # as the devices average
        assert torch.allclose(found, weights.grad, atol=1e-10), name


class SomeBoxes:
    """What a data set must offer for the check: a list, and which of its clips have boxes."""

    def __init__(self, data: ClipData, boxed: set[int]) -> None:
        self.report, self.config, self.boxed = data.report, data.config, boxed

    def boxes(self, split: str, row: int) -> tuple[Array, ...]:
        return (np.array([[0.0, 0.0, 1.0, 1.0]]),) if row in self.boxed else ()


@pytest.mark.parametrize(
    ("supervision", "boxed", "words"),
    [
        ("supervised", {0, 1}, "10 of 12 training clips have no boxes, such as train2; name"),
        ("supervised", set(), "none of the 12 training clips has boxes; check data.labelled=None"),
        ("semi", set(), "none of the 12 training clips has boxes; check data.labelled=None"),
    ],
)
def test_boxes_that_are_missing_are_named(
    tiny_clips: Callable[..., ClipData], supervision: str, boxed: set[int], words: str
):
    method = method_of(pretrained="warmup", supervision=supervision)

    with pytest.raises(BenchError, match=words):
        method.check(SomeBoxes(tiny_clips(), boxed))


@pytest.mark.parametrize(
    ("supervision", "boxed"),
    [("supervised", set(range(12))), ("semi", {3}), ("unsupervised", set())],
)
def test_boxes_that_suffice_are_accepted(
    tiny_clips: Callable[..., ClipData], supervision: str, boxed: set[int]
):
    method = method_of(pretrained="warmup", supervision=supervision)

    method.check(SomeBoxes(tiny_clips(), boxed))


def test_batches_of_one_clip_are_refused(tiny_clips: Callable[..., ClipData]):
    with pytest.raises(BenchError, match="data.batch_size=1: the negative is another clip"):
        method_of(pretrained="warmup").check(tiny_clips(batch_size=1))


def test_boxes_are_asked_for_on_the_grid_where_they_are_learned_from():
    assert method_of(supervision="unsupervised").inputs.box_map_size == 0
    assert method_of(supervision="semi").inputs.box_map_size == 4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"supervision": "weak"}, "method.supervision='weak' is unknown; use unsupervised or semi"),
        ({"query": "both"}, "method.query='both' is unknown; use positive or pair"),
        ({"loss": "triplet"}, "method.loss='triplet' is unknown; use ratio or infonce"),
        ({"pretrained_vision": "a.pth"}, "method.pretrained_vision=a.pth has no meaning with"),
    ],
)
def test_unknown_settings_are_refused_in_words(settings: dict[str, object], words: str):
    with pytest.raises(BenchError, match=words):
        method_of(**settings)


def test_the_papers_streams_give_20_by_20_cells_and_a_vector_of_1000():
    method = Attention(AttentionConfig(supervision="semi"), OptimConfig(), seed=0)

    assert method.inputs.box_map_size == 20
    assert method.inputs.segment_samples == 441_000
    layers = [each for each in (*method.to_query, *method.to_sound) if isinstance(each, nn.Linear)]
    sizes = [(each.in_features, each.out_features) for each in layers]
    assert sizes == [(1000, 1000), (1000, 512), (512, 512), (512, 1000)]  # 3.1, 3.2
    assert method.streams.extractor() is None


def test_streams_of_given_weights_are_frozen_unless_they_are_to_be_trained(tmp_path: Path):
    torch.save(torchvision.models.vgg16().features.state_dict(), tmp_path / "vgg16.pt")
    given = {"pretrained_vision": str(tmp_path / "vgg16.pt")}

    frozen = Attention(AttentionConfig(**given), OptimConfig(), seed=0)
    trained = Attention(AttentionConfig(**given, train_streams=True), OptimConfig(), seed=0)

    assert (frozen.streams.frozen_visual, frozen.streams.frozen_audio) == (True, False)
    assert (trained.streams.frozen_visual, trained.streams.frozen_audio) == (False, False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pretrained": "warmup"}, "method.pretrained=warmup has no meaning with method.backbone"),
        ({"pretrained_vision": "{other}"}, "method.pretrained_vision='.*' is no file of VGG-16"),
        ({"pretrained_sound": "{other}"}, "method.pretrained_sound='.*' is no file of SoundNet"),
        ({"sample_rate_hz": 8000, "segment_seconds": 5.0}, "SoundNet needs 209374 samples"),
    ],
)
def test_what_the_papers_streams_cannot_take_is_refused(
    tmp_path: Path, settings: dict[str, object], words: str
):
    other = tmp_path / "other.pt"
    torch.save({"features.0.weight": torch.zeros(1)}, other)
    given = {key: str(other) if value == "{other}" else value for key, value in settings.items()}

    with pytest.raises(BenchError, match=words):
        Attention(AttentionConfig(**given), OptimConfig(), seed=0)


@pytest.mark.parametrize(
    ("settings", "supervision", "pretraining"),
    [
        ({}, "none", "none"),
        ({"pretrained": "warmup", "supervision": "semi"}, "boxes of some clips",
         "streams of warmup"),
        ({"supervision": "supervised"}, "boxes of all", "none"),
    ],
)  # fmt: skip
def test_the_card_says_what_a_run_was_taught_and_started_from(
    settings: dict[str, object], supervision: str, pretraining: str
):
    card = method_of(**settings).card

    assert (card.supervision, card.pretraining) == (supervision, pretraining)


def test_wrong_frames_near_the_sound_that_sees_them_are_counted():
    method = method_of(pretrained="warmup").train()

    method.loss(batches())

    equations, (visual, heard) = Equations(method), (each.numpy() for each in features())
    near = 0
    for i, j in enumerate(derangement(BATCH, seed=0, epoch=0, step=0).tolist()):
        seen = equations.seen(visual[i - 1], heard[i])
        near += np.linalg.norm(seen - heard[i]) < np.linalg.norm(seen - heard[j])
    assert method.figures() == {"wrong_frames_near_own_sound": near / BATCH}
    method.on_train_epoch_start()
    assert method.wrong_frames.tolist() == [0, 0]
    assert method.figures() == {}


def test_counting_wrong_frames_leaves_the_statistics_of_the_batch_alone():
    method = method_of().train()  # from nothing: the heads end in batch statistics
    visual, heard = features()
    query = method.sound_of(heard)
    before = {name: value.clone() for name, value in method.to_sound.state_dict().items()}

    method.count_wrong_frames(visual, heard, query)

    after = method.to_sound.state_dict()
    assert all(value.equal(after[name]) for name, value in before.items())
    assert method.to_sound.training
