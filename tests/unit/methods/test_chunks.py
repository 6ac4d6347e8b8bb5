"""Losses of all pairs, whole and in chunks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from datamodules.clip import Batch, Clip
from methods import chunks
from methods.attention import Attention, AttentionConfig
from methods.attention_relu import AttentionRelu
from methods.base import MemoryConfig, Method, OptimConfig
from methods.chunks import in_chunks, is_chunked
from methods.hardpos import HardPos, HardPosConfig
from methods.lvs import Lvs, LvsConfig
from methods.lvs_vanilla import ContrastiveConfig, LvsVanilla
from methods.proposal import Proposal, ProposalConfig

PAIRS = {"query": "pair", "loss": "infonce"}
OWN = {"query": "positive", "loss": "infonce"}
METHODS: dict[str, tuple[type[Method], Any]] = {
    "lvs_vanilla": (LvsVanilla, ContrastiveConfig(negative_pool="masked")),
    "lvs": (Lvs, LvsConfig()),
    "hardpos": (HardPos, HardPosConfig(negative_pool="masked", positives="random")),
    "attention, pairs": (Attention, AttentionConfig(**PAIRS)),
    "attention, own": (Attention, AttentionConfig(**OWN)),
    "attention_relu, pairs": (AttentionRelu, AttentionConfig(**PAIRS)),
    "proposal, pairs": (Proposal, ProposalConfig(embedding=16, max_proposals=3, **PAIRS)),
    "proposal, own": (Proposal, ProposalConfig(embedding=16, max_proposals=3, **OWN)),
}
BATCH, CHANNELS, CELLS = 7, 128, 4


class Given(torch.nn.Module):
    """Streams that give one parameter each for a batch and what was drawn beside it."""

    def __init__(self, visual: Tensor, sound: Tensor, segments: bool) -> None:
        super().__init__()
        self.visual, self.sound = torch.nn.Parameter(visual), torch.nn.Parameter(sound)
        self.segments = segments

    def forward(self, clip: Clip) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(clip.index))
        found = self.visual[rows], self.sound[rows]
        return (found[0].unsqueeze(1), found[1].unsqueeze(1)) if self.segments else found

    def of_target(self, clip: Clip) -> tuple[Tensor, Tensor]:
        return self(clip)


def loss_and_gradients(name: str, maps: str, kind: torch.dtype) -> dict[str, Tensor]:
    cls, config = METHODS[name]
    config.backbone, config.image_size, config.segment_seconds = "small", 32, 1.0
    config.sample_rate_hz = 16000
    draws = torch.Generator().manual_seed(0)
    visual = torch.randn(2 * BATCH, CHANNELS, CELLS, CELLS, generator=draws, dtype=kind)
    sound = torch.randn(2 * BATCH, CHANNELS, generator=draws, dtype=kind)
    visual += 0.4 * sound[..., None, None]  # so that some cosines lie where soft masks change
    method = cls(config, OptimConfig(), seed=0).to(kind)
    method.memory = MemoryConfig(maps)
    method.streams = Given(visual, sound, segments=cls is Proposal)
    if isinstance(method, HardPos):
        method.num_train = 100
    loss = method.loss(batch(extra=cls is HardPos))
    loss.backward()
    grads = {key: each.grad for key, each in method.named_parameters() if each.grad is not None}
    return {"loss": loss.detach(), **grads}


def batch(extra: bool) -> Batch:
    rows = torch.arange(BATCH)
    corners = torch.rand(BATCH, 1, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    proposals = torch.cat([corners.amin(-2), corners.amax(-2)], -1)
    nothing = torch.empty(BATCH, 1, 3, 0, 0), torch.empty(BATCH, 1, 0)
    clip = Clip(rows, *nothing, torch.zeros_like(rows), proposals)
    return Batch(clip, extra=clip._replace(index=rows + BATCH) if extra else None)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("kind", "apart"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_chunks_give_the_loss_and_the_gradients_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: torch.dtype, apart: float
):
    expected = loss_and_gradients(name, "whole", kind)
    monkeypatch.setattr(chunks, "CHUNK", 2 * BATCH * CELLS**2 * kind.itemsize)
    found = loss_and_gradients(name, "chunked", kind)

    assert found.keys() == expected.keys()
    scale = max(each.abs().max().item() for each in expected.values())
    for key, each in expected.items():
        assert (found[key] - each).abs().max().item() <= apart * scale, key


@pytest.mark.parametrize("name", METHODS)
def test_every_loss_of_all_pairs_is_computed_again(monkeypatch: pytest.MonkeyPatch, name: str):
    calls: list[int] = []

    def counting(values: Callable[..., Tensor], *parts: Tensor, **kept: object) -> Tensor:
        calls.append(len(parts[0]))
        return checkpoint(values, *parts, **kept)

    checkpoint = chunks.checkpoint
    monkeypatch.setattr(chunks, "checkpoint", counting)
    loss_and_gradients(name, "whole", torch.float32)
    assert not calls

    loss_and_gradients(name, "chunked", torch.float32)
    assert sum(calls) % BATCH == 0
    assert calls


def bytes_kept(maps: str) -> int:
    """Of the tensors that the backward pass of some function needs, each storage once."""
    held: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    parts = torch.randn(64, 8, requires_grad=True)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        found = in_chunks(lambda rows: (rows @ parts.T).sin().exp().mean(1), [parts], 256, maps)
        found.sum()
    return sum(each.untyped_storage().nbytes() for each in held.values())


def test_what_lies_between_is_not_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunks, "CHUNK", 8 * 256)

    assert bytes_kept("whole") >= 2 * 64 * 64 * 4
    assert bytes_kept("chunked") < 64 * 64 * 4


def test_a_row_that_is_larger_than_a_chunk_goes_alone():
    rows = torch.arange(6.0).view(3, 2)
    seen: list[int] = []

    def doubled(some: Tensor) -> Tensor:
        seen.append(len(some))
        return 2 * some

    found = in_chunks(doubled, [rows], 10 * chunks.CHUNK, "chunked")

    assert found.equal(2 * rows)
    assert seen == [1, 1, 1]


@pytest.mark.parametrize(("clips", "expected"), [(128, False), (512, False), (1024, True)])
def test_what_is_chunked_depends_on_sizes_alone(clips: int, expected: bool):
    size = int(np.prod([clips, clips, 14, 14, 4]))

    assert is_chunked(size, "auto") is expected
    assert is_chunked(size, "chunked") is True
    assert is_chunked(size, "whole") is False
