from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from datamodules.clip import Batch, Clip, Inputs, Localization
from methods.base import Method, MethodCard, MethodConfig, OptimConfig
from metrics.errors import BenchError


class Line(Method):
    """A method with one trained and one frozen number."""

    card = MethodCard("-", supervision="none", pretraining="none", map_range=None)

    def __init__(self, optim: OptimConfig, *, seed: int = 0) -> None:
        super().__init__(MethodConfig(), optim, seed=seed)
        self.slope = nn.Parameter(torch.randn(1))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        self.draws: list[float] = []
        self.rates: list[float] = []
        self.wasted_draws = 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self._trainer is not None:
            self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return super().training_step(batch, batch_idx)

    def loss(self, batch: Batch) -> Tensor:
        self.draws.append(torch.rand(1).item())
        if self.current_epoch == 0:
            torch.rand(self.wasted_draws)
        return self.slope.sum() * batch.clip.waveform.mean()

    def localize(self, clip: Clip) -> Localization:
        return Localization(clip.frames[:, 0, 0].float(), clip.target.float())


def batch_of(value: float) -> Batch:
    clip = Clip(
        torch.arange(2),
        torch.zeros(2, 1, 3, 4, 4, dtype=torch.uint8),
        torch.full((2, 1, 8), value),
        torch.zeros(2, dtype=torch.int64),
    )
    return Batch(clip)


def fitted(method: Method, *, max_epochs: int, resume: Path | None = None) -> pl.Trainer:
    """The trainer after passes of three batches each."""
    trainer = pl.Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = DataLoader([batch_of(1.0)] * 3, batch_size=None)
    trainer.fit(method, batches, ckpt_path=resume, weights_only=True)
    return trainer


def test_weights_are_a_function_of_the_seed():
    torch.manual_seed(99)
    first = Line(OptimConfig(), seed=4).slope
    torch.rand(7)

    assert first.equal(Line(OptimConfig(), seed=4).slope)
    assert not first.equal(Line(OptimConfig(), seed=5).slope)


def test_inputs_repeat_the_settings():
    method = Line(OptimConfig())
    method.config = MethodConfig(image_size=96, sample_rate_hz=8000, segment_seconds=2.0)

    assert Inputs(96, 1, 8000, 2.0, 0) == method.inputs


def test_an_unknown_schedule_is_refused_in_words():
    with pytest.raises(BenchError, match=r"optim\.schedule='cosine' is unknown; use constant or"):
        Line(OptimConfig(schedule="cosine"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_run_in_words(value: float):
    method = Line(OptimConfig(lr=0.5))

    with pytest.raises(BenchError, match=r"loss became -?(nan|inf) in epoch 0; lower .*now 0\.5"):
        method.training_step(batch_of(value), 0)


def test_adam_gets_the_rate_and_decay_as_they_stand_and_no_frozen_parameter():
    method = Line(OptimConfig(lr=0.3, weight_decay=0.01))

    optimizer = method.configure_optimizers()

    (group,) = optimizer.param_groups
    assert type(optimizer) is torch.optim.Adam
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.01)
    assert [id(parameter) for parameter in group["params"]] == [id(method.slope)]


@pytest.mark.parametrize("fused", [True, False])
def test_adam_is_fused_unless_the_setting_says_otherwise(fused: bool):
    method = Line(OptimConfig(lr=0.3) if fused else OptimConfig(lr=0.3, fused=False))

    optimizer = method.configure_optimizers()
    method.slope.grad = torch.full_like(method.slope, 2.0)
    before = method.slope.detach().clone()
    optimizer.step()

    assert optimizer.defaults["fused"] is fused
    torch.testing.assert_close(method.slope.detach(), before - 0.3)  # a first step is the rate


@pytest.mark.filterwarnings("ignore")
def test_one_cycle_spans_the_whole_run():
    method = Line(OptimConfig(lr=0.25, schedule="one_cycle"))

    fitted(method, max_epochs=2)

    # torch begins a cycle at lr / 25 and ends it at lr / 25 / 1e4
    assert len(method.rates) == 6
    assert method.rates[0] == pytest.approx(0.01)
    assert method.rates[-1] == pytest.approx(1e-6)
    assert 0.2 < max(method.rates) <= 0.25


@pytest.mark.filterwarnings("ignore")
def test_a_constant_rate_stays_what_was_asked():
    method = Line(OptimConfig(lr=0.25))

    fitted(method, max_epochs=2)

    assert method.rates == [0.25] * 6


@pytest.mark.filterwarnings("ignore")
def test_an_epoch_draws_the_same_whatever_was_drawn_before():
    first, second = Line(OptimConfig()), Line(OptimConfig())
    second.wasted_draws = 5
    fitted(first, max_epochs=3)
    fitted(second, max_epochs=3)

    assert first.draws[1:3] != second.draws[1:3]
    assert first.draws[3:] == second.draws[3:]
    assert first.draws[3:6] != first.draws[6:]


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_run_draws_what_an_unbroken_one_does(tmp_path: Path):
    unbroken, killed, resumed = (Line(OptimConfig()) for _ in range(3))
    fitted(unbroken, max_epochs=3)
    fitted(killed, max_epochs=1).save_checkpoint(tmp_path / "last.ckpt")
    fitted(resumed, max_epochs=3, resume=tmp_path / "last.ckpt")

    assert unbroken.draws == killed.draws + resumed.draws


def test_a_test_step_is_the_answer_for_the_clip():
    batch = batch_of(0.0)

    answer = Line(OptimConfig()).test_step(batch, 0, 1)

    assert answer.heatmap.shape == (2, 4, 4)
