"""One, two and three processes that share the global batch train every method alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from benchmark.check import UntrainedStages
from benchmark.config import RunConfig, compose
from benchmark.registry import DATA_REGISTRY, DISTRIBUTION, METHOD_REGISTRY
from datamodules.base import ClipData
from methods.base import Method
from methods.released import PRETRAINING

OnProcesses = Callable[..., list[Any]]
Case = tuple[str, Sequence[str]]
METHOD_CLASS: type = Method
DATA_CLASS: type = ClipData
METHODS: dict[str, type[Method]] = {
    name: METHOD_REGISTRY.load(name, METHOD_CLASS)
    for name, entry in METHOD_REGISTRY.names().items()
    if entry.distribution == DISTRIBUTION
}
AVFB = ("data.segments=3", "method.num_segments=3", "data.event_share=0.7",
        "method.temporal_hidden=16")  # fmt: skip
PROPOSAL = ("method.embedding=32", "method.max_proposals=16", "method.kept_proposals=8")
SOME_LABELLED = ("data.labelled=0.4", "data.unlabelled=1.0")
VARIANTS: Mapping[str, Sequence[Sequence[str]]] = {
    "hardpos": [(), ("method.positives=random",)],
    "attention": [
        ("method.supervision=semi", *SOME_LABELLED),
        ("method.loss=infonce", "method.query=pair"),
    ],
    "avfb": [
        AVFB,
        (*AVFB, "method.supervision=supervised", *SOME_LABELLED),
        (*AVFB, "method.supervision=weak", *SOME_LABELLED),
    ],
    "fnac": [
        ("method.dropout=0.9", "method.l1=mean"),
        ("method.warmup_epochs=0", "method.l1=per_row", "method.detach_targets=true"),
    ],
    "slavc": [
        ("method.dropout=0.9",),
        ("method.classified=each", "method.second_softmax=false", "method.directions=mean"),
    ],
    "proposal": [PROPOSAL, (*PROPOSAL, "method.loss=ratio", "method.query=positive")],
}
"""Settings beside the small ones, for methods with more than one loss."""
CASES: list[Case] = [
    (name, settings)
    for name, method in METHODS.items()
    if not method.card.floor and method.card.pretraining != PRETRAINING
    for settings in VARIANTS.get(name, [()])
]
BATCH, STEPS = 6, 10  # of the global batch; 5 steps an epoch
SMALL = ("data.train_clips=30", "data.val_clips=1", "data.test_clips=4", "data.image_size=32",
         "method.image_size=32", f"data.batch_size={BATCH}",
         "data.augmentation=crop_flip_roll")  # fmt: skip
RESTARTED = ("avfb",)
"""Methods of which each step starts from the weights that one process had there.

Its steps magnify the last bit on one process as on several: first weights that are 1e-15 of
themselves apart end with losses 7e-4 apart after ten steps in double precision.
"""


class Steps(pl.Callback):
    """Losses of all steps, and the gradients of the first and of the last."""

    def __init__(self, kept: Path | None, *, writes: bool) -> None:
        self.losses: list[Tensor] = []
        self.gradients: list[dict[str, Tensor]] = []
        self.kept, self.writes = kept, writes

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object
    ) -> None:
        if self.kept is None:
            return
        file = self.kept / f"{len(self.losses)}.pt"
        if self.writes:
            torch.save(pl_module.state_dict(), file)
        else:
            pl_module.load_state_dict(torch.load(file, weights_only=True))

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = {
            name: weights.grad.clone()
            for name, weights in pl_module.named_parameters()
            if weights.grad is not None
        }
        self.gradients = [*self.gradients[:1], found]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: object
    ) -> None:
        self.losses.append(outputs["loss"])


def composed(name: str, settings: Sequence[str]) -> RunConfig:
    """The small settings, with streams that are trained where a stage would give some."""
    has_streams = "pretrained" in {item.name for item in fields(METHODS[name].Config)}
    own = ("method.pretrained=null",) if has_streams else ()
    return compose(name, "synthetic", preset="small", overrides=[*SMALL, *own, *settings])


def trained(case: Case, folder: Path, devices: int, *, exact: bool) -> dict[str, Any]:
    """A method after its steps: ten in double precision, or one in single precision."""
    config = composed(*case)
    method = METHODS[case[0]](config.method, config.optim, seed=1)
    data = DATA_REGISTRY.load("synthetic", DATA_CLASS)(config.data, method.inputs, seed=1)
    data.setup("fit")
    method.check(data)
    method.prepare(UntrainedStages(folder / str(devices)), data)
    data.draw = method.draw
    kept = folder / "weights" if exact and case[0] in RESTARTED else None
    steps = Steps(kept, writes=devices == 1)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="auto" if devices == 1 else "ddp",
        precision="64-true" if exact else "32-true",
        max_steps=STEPS if exact else 1,
        use_distributed_sampler=False,
        callbacks=[steps],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(method, datamodule=data)
    return {
        "losses": torch.stack(steps.losses),
        "gradients": steps.gradients,
        "state": {name: value.clone() for name, value in method.state_dict().items()},
        "figures": method.figures(),
    }


def all_trained(folder: str, devices: int) -> list[dict[bool, dict[str, Any]]]:
    """Every case on this process, by whether the precision is double; called on every rank."""
    found = []
    for place, case in enumerate(CASES):
        own = Path(folder) / str(place)
        (own / "weights").mkdir(parents=True, exist_ok=True)
        (own / str(devices)).mkdir(exist_ok=True)
        found.append({exact: trained(case, own, devices, exact=exact) for exact in (False, True)})
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("equality"))


@pytest.fixture(scope="module")
def alone(folder: str) -> list[Any]:
    return all_trained(folder, 1)


@pytest.fixture(scope="module", params=[2, 3])
def together(
    alone: list[Any], folder: str, on_processes: OnProcesses, request: pytest.FixtureRequest
) -> list[list[Any]]:
    """What each of several processes found."""
    return on_processes(request.param, all_trained, folder, request.param)


def apart(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Distance of all tensors, over the norm of what is expected."""
    assert found.keys() == expected.keys()
    squares = [(found[key].double() - value.double()).square().sum()
               for key, value in expected.items()]  # fmt: skip
    norms = [value.double().square().sum() for value in expected.values()]
    return float((torch.stack(squares).sum() / torch.stack(norms).sum()).sqrt())


def same_case(results: list[Any], case: Case, *, exact: bool) -> Any:
    return results[CASES.index(case)][exact]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_ten_steps_in_double_precision_are_those_of_one_process(
    alone: list[Any], together: list[list[Any]], case: Case
) -> None:
    one = same_case(alone, case, exact=True)
    first, *others = (same_case(rank, case, exact=True) for rank in together)
    losses = torch.stack([rank["losses"] for rank in (first, *others)])

    assert losses.shape == (len(together), STEPS)
    torch.testing.assert_close(losses.mean(0), one["losses"], rtol=1e-9, atol=0)
    for found, expected in zip(first["gradients"], one["gradients"], strict=True):
        assert apart(found, expected) < 1e-9
    assert apart(first["state"], one["state"]) < 1e-9
    assert first["figures"] == pytest.approx(one["figures"], rel=1e-9)
    for rank in others:
        assert all(torch.equal(rank["state"][name], value)
                   for name, value in first["state"].items())  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_in_single_precision_is_that_of_one_process(
    alone: list[Any], together: list[list[Any]], case: Case
) -> None:
    one, exact = (same_case(alone, case, exact=each) for each in (False, True))
    ranks = [same_case(rank, case, exact=False) for rank in together]
    loss = torch.stack([rank["losses"] for rank in ranks]).mean(0)
    rounding = apart(one["gradients"][0], exact["gradients"][0])  # of one process on its own

    torch.testing.assert_close(loss, one["losses"], rtol=1e-5, atol=0)
    assert apart(ranks[0]["gradients"][0], one["gradients"][0]) < max(1e-5, 4 * rounding)
    assert rounding < 1e-3


def test_every_trained_method_is_compared() -> None:
    tested_alone = ("sslalign", "ssltie")  # no training code was released
    trained_methods = {name for name, method in METHODS.items()
                       if not method.card.floor and name not in tested_alone}  # fmt: skip

    assert trained_methods == {name for name, _ in CASES}
