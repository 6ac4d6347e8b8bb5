"""Verdict on a method: whether it keeps the contract, in seconds and without any data set.

Each check is a function whose first docstring line is what must hold; it returns a fault in words,
or None. What a check needs is made anew for it, so that one fault does not hide another.
"""

import random
import shutil
import tempfile
import textwrap
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from benchmark.config import RunConfig, compose
from benchmark.registry import DATA_REGISTRY, METHOD_REGISTRY
from benchmark.runner import run
from datamodules.base import ClipData
from datamodules.clip import Clip, Inputs, Localization
from methods.base import Method, MethodConfig, Overrides
from methods.global_norm import wait_for_all
from metrics.errors import BenchError

M = TypeVar("M", bound=Method)
BATCH = 3
TINY = (
    "data.train_clips=48",
    "data.val_clips=16",
    "data.test_clips=16",
    "data.image_size=32",
    "data.batch_size=16",
    "trainer.max_epochs=2",
    "trainer.devices=1",
)
"""Settings of `synthetic` under which nothing is learned, in a second."""
AGREEMENT = 1e-5  # of float32 sums over other shapes
MOST_NAMED = 3


class UntrainedStages:
    """Stages that train nothing and keep what they build in a folder: what follows them runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fit(self, name: str, method: M, settings: Overrides | None = None) -> M:
        """The method as it is."""
        return method

    def cached(
        self,
        name: str,
        key: Overrides,
        build: Callable[[Path], None],
        *,
        is_whole: Callable[[Path], bool] = Path.is_dir,
    ) -> Path:
        """The folder that ``build`` filled just now, on every process of a group."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        build(folder)
        wait_for_all()
        assert is_whole(folder), "it was built just now"
        return folder

    def note(self, name: str, value: float) -> None:
        """Forgotten."""


@dataclass(frozen=True)
class Subject:
    """A method under its small settings, where it has some, on the smallest `synthetic`."""

    name: str
    kind: type[Method]
    overrides: Sequence[str] = ()

    def config(self, *, seed: int = 0, more: Sequence[str] = ()) -> RunConfig:
        """Of a run on `synthetic`; what the user gave counts more than ``TINY``."""
        given = {word.partition("=")[0] for word in self.overrides}
        tiny = [word for word in TINY if word.partition("=")[0] not in given]
        return compose(self.name, "synthetic", overrides=[*tiny, *self.overrides, *more], seed=seed)

    def made(self, seed: int = 0) -> Method:
        """The method with random weights, ready to answer."""
        config = self.config(seed=seed)
        return self.kind(config.method, config.optim, seed=seed).eval()


Check = Callable[[Subject], str | None]


class Finding(NamedTuple):
    """What one check came to."""

    check: str  # name of the function
    holds: str  # what must hold
    fault: str | None
    advice: bool = False  # a fault of it breaks no run


def finding_lines(finding: Finding) -> list[str]:
    """A finding as a person reads it: what must hold, and below it what does not."""
    mark = "ok  " if finding.fault is None else "note" if finding.advice else "NO  "
    lines = [f"{mark}  {finding.holds}"]
    if finding.fault is not None:
        lines += textwrap.wrap(finding.fault, 94, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return lines


def subject_of(name: str, overrides: Sequence[str] = ()) -> Subject:
    """A registered method, to be checked.

    Args:
        name: registered method.
        overrides: settings ``key=value``, such as files that it must start from.

    Raises:
        BenchError: no such method, it cannot be imported, it is a floor, or a setting is wrong.
    """
    kind: type[Method] = METHOD_REGISTRY.load(name, Method)  # type: ignore[type-abstract]
    card = getattr(kind, "card", None)
    if card is not None and card.floor:
        raise BenchError(f"{name} is a floor, a rule of the metrics; there is nothing to check")
    subject = Subject(name, kind, tuple(overrides))
    if overrides and _composes(Subject(name, kind)):
        subject.config()
    return subject


def _composes(subject: Subject) -> bool:
    """Whether a method has settings at all; where it has none, that is a fault of its own."""
    try:
        subject.config()
    except Exception:  # it runs somebody else's code
        return False
    return True


def verdict(subject: Subject) -> Iterator[Finding]:
    """What each check finds, one after the other; what a method raises is a fault of its own."""
    for check in CHECKS:
        try:
            fault = check(subject)
        except Exception as error:  # it runs somebody else's code
            fault = raised(error)
        yield Finding(
            check.__name__, (check.__doc__ or "").splitlines()[0], fault, advice=check in ADVICE
        )


def raised(error: Exception) -> str:
    """An exception in one line, with the place where it was raised."""
    if isinstance(error, BenchError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    reason = (str(error) or "no message").splitlines()[0]
    return f"{type(error).__name__}: {reason} ({place.filename}:{place.lineno})"


def describes_itself(subject: Subject) -> str | None:
    """The class has a docstring and its name a summary of one line."""
    if not (subject.kind.__doc__ or "").strip():
        return f"write a docstring for {subject.kind.__qualname__}: what the method does"
    if not METHOD_REGISTRY.names()[subject.name].summary.isprintable():
        return "the summary of its name has more than one line"
    return None


def has_complete_card(subject: Subject) -> str | None:
    """The card names paper, supervision and pretraining, and its map range is low to high."""
    card = getattr(subject.kind, "card", None)
    if card is None:
        return f"set card = MethodCard(...) in {subject.kind.__qualname__}"
    empty = [name for name in ("paper", "supervision", "pretraining") if not getattr(card, name)]
    if empty:
        return f'the card has no {" and no ".join(empty)}; where there is none, write "none"'
    if card.map_range is not None and not card.map_range[0] < card.map_range[1]:
        return f"map_range must be (low, high) with low < high, or None; it is {card.map_range}"
    return None


def has_default_settings(subject: Subject) -> str | None:
    """Config is a dataclass below MethodConfig in which every setting has a default."""
    config = subject.kind.Config
    if not (is_dataclass(config) and issubclass(config, MethodConfig)):
        return f"{config.__qualname__} must be a @dataclass that inherits methods.base.MethodConfig"
    bare = [
        item.name
        for item in fields(config)
        if item.default is MISSING and item.default_factory is MISSING
    ]
    return f"give {_named(bare)} of {config.__qualname__} a default" if bare else None


def composes_with_every_data_set(subject: Subject) -> str | None:
    """Recipe and presets name registered data sets and settings that exist."""
    strange = subject.kind.recipe.keys() - {"*", *DATA_REGISTRY.names()}
    if strange:
        return (
            f"the recipe is for {_named(sorted(strange))}, which is no registered data set; use "
            '"*" for all'
        )
    for data in DATA_REGISTRY.names():
        for preset in (None, *subject.kind.presets):
            try:
                compose(subject.name, data, preset=preset)
            except BenchError as error:
                chosen = "" if preset is None else f" --preset {preset}"
                return f"with --data {data}{chosen}: {error}"
    return None


def has_weights_of_its_seed(subject: Subject) -> str | None:
    """Built twice with one seed it has the same weights, whatever was drawn before."""
    first = subject.made(1).state_dict()
    with torch.random.fork_rng():
        torch.rand(7)
        second = subject.made(1).state_dict()
    other = [name for name, value in first.items() if not _equal(value, second[name])]
    if other:
        return (
            f"{_named(other)} differ; build the modules after super().__init__(), which seeds "
            "torch, and draw from nothing else"
        )
    return None


def leaves_global_generators_alone(subject: Subject) -> str | None:
    """Building and answering draw nothing from the generators of `random` and of numpy."""
    before = random.getstate(), _numpy_state()
    method = subject.made()
    _located(method, noise(method.inputs))
    if (random.getstate(), _numpy_state()) != before:
        return (
            "it drew from the global generator of random or numpy; use a generator of its own, "
            "seeded by self.seed"
        )
    return None


def answers_in_shape(subject: Subject) -> str | None:
    """An answer has a finite float map (B, h, w) and a finite float confidence (B,)."""
    method = subject.made()
    answer = _located(method, noise(method.inputs))
    parts = {"heatmap": (answer.heatmap, 3), "confidence": (answer.confidence, 1)}
    for name, (value, axes) in parts.items():
        if value.ndim != axes or len(value) != BATCH:
            shape = "(B, h, w)" if axes == 3 else "(B,)"
            return f"{name} must be {shape}, here with B = {BATCH}; it is {tuple(value.shape)}"
        if not value.is_floating_point():
            return f"{name} must be of a float type; it is {value.dtype}"
        if not value.isfinite().all():
            return f"{name} has values that are not finite"
    return None


def keeps_to_its_map_range(subject: Subject) -> str | None:
    """Values of the map lie within map_range of the card, where it has one."""
    method = subject.made()
    if method.card.map_range is None:
        return None
    low, high = sorted(method.card.map_range)
    heatmap = _located(method, noise(method.inputs)).heatmap
    found = float(heatmap.min()), float(heatmap.max())
    if found[0] < low - AGREEMENT or found[1] > high + AGREEMENT:
        return (
            f"map_range is ({low:g}, {high:g}), and a map of noise goes from {found[0]:.4g} to "
            f"{found[1]:.4g}; correct it, or set None: rules with an absolute threshold go by it"
        )
    return None


def answers_silence(subject: Subject) -> str | None:
    """The map of a silent clip is finite."""
    method = subject.made()
    clip = noise(method.inputs)
    silent = clip._replace(waveform=torch.zeros_like(clip.waveform))
    if _located(method, silent).heatmap.isfinite().all():
        return None
    return "the map of silence is not finite; look for a division or a logarithm of zero"


def answers_each_clip_alone(subject: Subject) -> str | None:
    """The answer to a clip does not depend on the others of its batch."""
    method = subject.made()
    clip = noise(method.inputs)
    alone = Clip(*(None if part is None else part[1:2] for part in clip))  # type: ignore[arg-type]
    apart = _difference(_located(method, clip).heatmap[1:2], _located(method, alone).heatmap)
    if apart > AGREEMENT:
        return (
            f"its map changes by {apart:.2g} when it is alone; statistics over a batch belong into "
            "training"
        )
    return None


def does_not_look_at_the_row(subject: Subject) -> str | None:
    """The answer does not depend on clip.index, the place of a clip in its list."""
    method = subject.made()
    clip = noise(method.inputs)
    moved = clip._replace(index=clip.index + 1000)
    if _difference(_located(method, clip).heatmap, _located(method, moved).heatmap) > 0:
        return "its map changes with clip.index, which says nothing about a clip; leave it out"
    return None


def answering_changes_nothing(subject: Subject) -> str | None:
    """Answering leaves weights and buffers as they are."""
    method = subject.made()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    _located(method, noise(method.inputs))
    changed = [n for n, value in method.state_dict().items() if not _equal(before[n], value)]
    return f"localize changed {_named(changed)}" if changed else None


def learns_with_all_its_weights(subject: Subject) -> str | None:
    """A training step has a finite loss, and a gradient for each weight that is to be trained."""
    config = subject.config()
    method = subject.made().train()
    if not method.learns:
        return None
    data = _data(config, method)
    step = _Step()
    with _folder() as folder:
        method.prepare(UntrainedStages(folder), data)
        data.draw = method.draw
        trainer = pl.Trainer(
            accelerator="cpu", devices=1, max_steps=1, callbacks=[step], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False, default_root_dir=folder, limit_val_batches=0,
        )  # fmt: skip
        trainer.fit(method, datamodule=data)
    if step.without:
        return (
            f"no gradient reaches {_named(step.without)}; use them in the loss, or set "
            "requires_grad_(False): several processes would wait for them for ever"
        )
    return step.fault


def repeats_its_scores(subject: Subject) -> str | None:
    """Two runs with one seed have the same scores, byte for byte."""
    scores = []
    for _ in range(2):
        with _folder() as folder:
            finished = run(subject.config(more=[f"logging.runs={folder}"]))
            scores.append((finished.folder / "scores.csv").read_bytes())
    if scores[0] != scores[1]:
        return (
            "they differ; draw only from generators that are functions of (seed, epoch, id), and "
            "keep what a run learned in parameters and buffers"
        )
    return None


def hears(subject: Subject) -> str | None:
    """Another sound gives another answer."""
    method = subject.made()
    clip = noise(method.inputs)
    own = _located(method, clip)
    other = _located(method, clip._replace(waveform=clip.waveform.flip(0)))
    same = _equal(own.heatmap, other.heatmap) and _equal(own.confidence, other.confidence)
    return "the answers stay as they are with other sounds: it cannot hear" if same else None


def has_small_settings(subject: Subject) -> str | None:
    """There is a preset small, for two CPU cores."""
    if "small" in subject.kind.presets:
        return None
    return "without presets['small'] its settings on synthetic are those of its paper"


OF_EVERY_METHOD: tuple[Check, ...] = (
    describes_itself,
    has_complete_card,
    has_default_settings,
    composes_with_every_data_set,
)
"""What holds of floors too."""
OF_ANSWERS: tuple[Check, ...] = (
    has_weights_of_its_seed,
    leaves_global_generators_alone,
    answers_in_shape,
    keeps_to_its_map_range,
    answers_silence,
    answers_each_clip_alone,
    does_not_look_at_the_row,
    answering_changes_nothing,
)
ADVICE: tuple[Check, ...] = (hears, has_small_settings)
"""What a method had better do, and need not."""
OF_TRAINING: tuple[Check, ...] = (learns_with_all_its_weights, repeats_its_scores)
CHECKS = (*OF_EVERY_METHOD, *OF_ANSWERS, *ADVICE, *OF_TRAINING)


def noise(inputs: Inputs, seed: int = 0) -> Clip:
    """``BATCH`` clips of noise as a data set would deliver them.

    Args:
        inputs: of the method.
        seed: of the noise.
    """
    draws = torch.Generator().manual_seed(seed)
    segments, size = inputs.num_segments, inputs.image_size
    frames = torch.randint(0, 256, (BATCH, segments, 3, size, size), generator=draws)
    sound = torch.rand(BATCH, segments, inputs.segment_samples, generator=draws) * 2 - 1
    middle = torch.full((BATCH,), segments // 2)
    proposals = None
    if inputs.proposals:
        corners = torch.rand(BATCH, segments, inputs.proposals, 2, 2, generator=draws)
        proposals = torch.cat([corners.amin(-2), corners.amax(-2)], -1)
    return Clip(torch.arange(BATCH), frames.to(torch.uint8), sound, middle, proposals)


class _Step(pl.Callback):
    """What one step of training came to."""

    def __init__(self) -> None:
        self.without: list[str] = []
        self.fault: str | None = "no step was taken"

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        gradients = {
            name: weights.grad
            for name, weights in pl_module.named_parameters()
            if weights.requires_grad
        }
        self.without = [name for name, gradient in gradients.items() if gradient is None]
        strange = [n for n, each in gradients.items() if each is not None and not _finite(each)]
        self.fault = f"the gradient of {_named(strange)} is not finite" if strange else None


def _data(config: RunConfig, method: Method) -> ClipData:
    kind: type[ClipData] = DATA_REGISTRY.load(config.data_name, ClipData)  # type: ignore[type-abstract]
    data = kind(config.data, method.inputs, seed=config.seed)
    data.setup("fit")
    method.check(data)
    return data


def _located(method: Method, clip: Clip) -> Localization:
    with torch.no_grad():
        answer = method.localize(clip)
    if not isinstance(answer, Localization):
        raise BenchError(
            f"localize must return a datamodules.clip.Localization; it gave {type(answer).__name__}"
        )
    return answer


def _difference(first: Tensor, second: Tensor) -> float:
    if first.shape != second.shape:
        return float("inf")
    return float((first - second).abs().max())


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(torch.equal(first, second))


def _finite(value: Tensor) -> bool:
    return bool(value.isfinite().all())


def _numpy_state() -> bytes:
    state = np.random.get_state(legacy=False)["state"]
    return bytes(state["key"].tobytes()) + str(state["pos"]).encode()


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bench-check-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
