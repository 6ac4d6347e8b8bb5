import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from datamodules.clip import Batch, Clip
from methods.avfb import Avfb, AvfbConfig, mfb
from methods.base import Method, OptimConfig
from methods.lstm import LSTM
from methods.proposal import Proposal, ProposalConfig, attention_weights

STEPS = 100


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_states_are_those_of_the_lstm_of_torch():
    lstm = LSTM(3, 5)
    plain = nn.LSTM(3, 5, batch_first=True)
    plain.load_state_dict(lstm.state_dict())

    assert lstm(drawn(2, 4, 3)).equal(plain(drawn(2, 4, 3))[0])


def test_states_and_gradients_stay_in_single_precision_under_autocast():
    lstm, values = LSTM(3, 5), drawn(2, 4, 3).bfloat16().requires_grad_()
    expected = lstm(values.float())

    with torch.autocast("cpu", torch.bfloat16):
        found = lstm(values)
    found.sum().backward()

    assert found.equal(expected)
    assert lstm.weight_ih_l0.grad.dtype == torch.float32
    assert values.grad.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "function",
    [
        lambda: mfb(drawn(2, 6, 8), drawn(2, 8), drawn(8, 12), drawn(8, 12, seed=1), 3),
        lambda: attention_weights(drawn(2, 6, 8), drawn(2, 8), "channel", 1.0),
        lambda: attention_weights(drawn(2, 6, 8), drawn(2, 8), "space", 0.1),
    ],
)
def test_roots_and_softmaxes_are_not_of_half_precision(function: Callable[[], Tensor]):
    with torch.autocast("cpu", torch.bfloat16):
        found = function()

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, function(), rtol=0.1, atol=0.05)


class Given(nn.Module):
    """Streams that look up one map and one vector a segment, in half precision under autocast."""

    def __init__(self, batch: int, segments: int, channels: int, heard: int) -> None:
        super().__init__()
        self.visual = drawn(batch, segments, channels, 3, 3)
        self.sound = drawn(batch, segments, heard)
        self.layer = nn.Linear(heard, heard)

    def forward(self, clip: Clip) -> tuple[Tensor, Tensor]:
        sound = self.layer(self.sound)
        return self.visual.to(sound.dtype), sound


def avfb() -> tuple[Method, Clip]:
    config = AvfbConfig(backbone="small", image_size=64, num_segments=4, mfb_p=8,
                        mfb_q=2, temporal_hidden=16, query="pair")  # fmt: skip
    method = Avfb(config, OptimConfig(lr=2e-3), seed=0)
    method.streams = Given(4, 4, 128, 129)
    return method, clips(4, 4)


def proposal() -> tuple[Method, Clip]:
    config = ProposalConfig(backbone="small", image_size=64, embedding=16, max_proposals=8,
                            query="pair", loss="infonce")  # fmt: skip
    method = Proposal(config, OptimConfig(lr=2e-3), seed=0)
    method.streams = Given(6, 1, 128, 128)
    return method, clips(6, 1)


def clips(batch: int, segments: int) -> Clip:
    rows = torch.arange(batch)
    corners = torch.rand(batch, segments, 8, 2, 2, generator=torch.Generator().manual_seed(0))
    proposals = torch.cat([corners.amin(-2), corners.amax(-2)], -1)
    nothing = torch.empty(batch, segments, 3, 0, 0), torch.empty(batch, segments, 0)
    return Clip(rows, *nothing, torch.full((batch,), segments // 2), proposals)


@pytest.mark.parametrize("made", [avfb, proposal])
def test_a_hundred_steps_in_bf16_stay_finite_and_learn(made: Callable[[], tuple[Method, Clip]]):
    method, clip = made()
    before = copy.deepcopy(method.state_dict())
    optimizer = torch.optim.Adam(method.parameters(), lr=2e-3)
    losses = []
    for _ in range(STEPS):
        with torch.autocast("cpu", torch.bfloat16):
            loss = method.loss(Batch(clip))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert all(weights.isfinite().all() for weights in method.parameters())
    assert losses[-1] < 0.5 * losses[0]
    assert any(not before[key].equal(each) for key, each in method.state_dict().items())
