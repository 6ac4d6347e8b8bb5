"""The contract of a method, and nothing that two methods could disagree on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip, Inputs, Localization
from datamodules.features import FrozenExtractor
from datamodules.sampling import Draw
from methods.released import ReleasedFile
from metrics.errors import BenchError, did_you_mean

M = TypeVar("M", bound="Method")
Overrides = Mapping[str, object]
"""Dotted configuration keys and their values."""
FEW_CHOICES = 3  # that a message joins by "or"


@dataclass
class MethodConfig:
    """Settings ``method.*`` that every method has."""

    image_size: int = 224
    sample_rate_hz: int = 16000
    segment_seconds: float = 3.0


def require_known(config: MethodConfig, choices: Mapping[str, Sequence[str]]) -> None:
    """Raises BenchError where a setting ``method.*`` is none of its choices."""
    for name, known in choices.items():
        value = getattr(config, name)
        if value not in known:
            few = len(known) <= FEW_CHOICES
            words = " or ".join(known) if few else f"one of {', '.join(known)}"
            raise BenchError(
                f"method.{name}={value!r} is unknown;{did_you_mean(value, known)} use {words}"
            )


@dataclass
class OptimConfig:
    """Settings ``optim.*``. What stands here is what the optimiser receives."""

    lr: float = 1e-4
    weight_decay: float = 0.0
    schedule: str = "constant"  # constant | one_cycle
    fused: bool = True  # one kernel for all weights; sums round otherwise


@dataclass
class MemoryConfig:
    """Settings ``memory.*``: what is computed twice and not kept; sums round otherwise."""

    maps: str = "auto"  # auto | whole | chunked: what has B x B maps, or vectors, of a batch of B


@dataclass(frozen=True)
class MethodCard:
    """Facts that change how a method's number is read."""

    paper: str = "-"
    supervision: str = "none"
    pretraining: str = "none"
    map_range: tuple[float, float] | None = None  # None where values have no fixed range
    floor: bool = False
    localises: bool = True  # false: no map, and measured on the classes of segments alone
    boxes: int = 0  # how many of its best boxes are its answer beside the map
    tells_on_screen: bool = False  # whether it has a rule of its own for sounds off screen
    object_guidance: bool = False  # whether a network that never hears is mixed into its map


@contextmanager
def measuring(module: nn.Module) -> Iterator[None]:
    """Evaluation without gradients while a training goes on; every part is back in its mode after.

    Batch statistics and what is drawn for dropout stay those of a training that was not measured.
    """
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training


class Stages(Protocol):
    """What the runner offers a method that needs more than one training run."""

    def fit(self, name: str, method: M, settings: Overrides | None = None) -> M:
        """The method after its own training run; re-used when its configuration is unchanged.

        With ``settings``, dotted keys of ``data``, ``optim`` and ``trainer`` laid over those of the
        run, the stage has data of its own, as ``method.inputs`` asks for them, and the method gets
        the optimiser of these settings in place of its own. Runs that agree in all else then share
        it, whatever theirs are.
        """

    def cached(
        self,
        name: str,
        key: Overrides,
        build: Callable[[Path], None],
        *,
        is_whole: Callable[[Path], bool] = Path.is_dir,
    ) -> Path:
        """The folder that ``build`` filled; re-used when key and former stages are unchanged.

        Every process of a group calls ``build``, which shares the work out. It may find what it did
        not finish before. A folder of which ``is_whole`` is false is built again.
        """

    def note(self, name: str, value: float) -> None:
        """Writes a figure of the preparation into the record."""


class OwnFrontEnd(Protocol):
    """What the code of a method's authors asks of a clip; see ``methods.own_frontends``."""

    def inputs(self, asked: Inputs) -> Inputs:
        """What the datamodule must deliver, given what the settings ask for."""


class Method(pl.LightningModule, ABC):
    """A sound-source localiser: ``training_step`` to learn, ``localize`` to answer.

    A method never sees ground truth, thresholds, upsampling or normalisation.
    A subclass builds its modules after ``super().__init__``, which seeds torch.
    ``recipe`` maps a data set (or ``*``) to the settings of the method's paper;
    ``presets`` maps a preset to its settings.
    """

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    card: MethodCard  # of the class; settings may change it
    recipe: ClassVar[Mapping[str, Overrides]] = {}
    presets: ClassVar[Mapping[str, Overrides]] = {}
    draw: Draw | None = None  # rows -> rows of further frames and sounds, for Batch.extra
    memory: MemoryConfig  # that of the run, while it trains
    released: ReleasedFile | None = None  # the file of others that it got its weights from
    own: OwnFrontEnd | None = None  # that of the code of its authors, where it is asked for

    def __init__(self, config: MethodConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__()
        if optim.schedule not in ("constant", "one_cycle"):
            raise BenchError(
                f"optim.schedule={optim.schedule!r} is unknown; use constant or one_cycle"
            )
        self.config, self.optim, self.seed = config, optim, seed
        self.memory = MemoryConfig()
        torch.manual_seed(seed)  # subclasses build next: weights are a function of the seed

    @property
    def learns(self) -> bool:
        """Whether a run trains the method; where not, it is tested as it was built."""
        return self.released is None

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The costly parts, which ``trainer.compile`` compiles: the networks of its ``streams``."""
        streams = getattr(self, "streams", None)
        found: tuple[nn.Module, ...] = getattr(streams, "networks", ())
        return found

    @property
    def inputs(self) -> Inputs:
        """What the datamodule must deliver: one segment, as settings or the own front-end say."""
        asked = Inputs(
            image_size=self.config.image_size,
            sample_rate_hz=self.config.sample_rate_hz,
            segment_seconds=self.config.segment_seconds,
        )
        return asked if self.own is None else self.own.inputs(asked)

    def check(self, data: ClipData) -> None:
        """Raises BenchError where the settings cannot train on these data; called first of all."""

    def prepare(self, stages: Stages, data: ClipData) -> None:
        """Work before the training proper, such as a first stage; nothing by default."""

    def conclude(self, data: ClipData) -> None:
        """Work after the training, such as fitting a threshold on training clips; none by default.

        Called once, on the training device, with the weights that are about to be kept; what it
        finds belongs into a buffer. Every process does the same.
        """

    def extractor(self) -> FrozenExtractor | None:
        """The frozen streams, whose features may be kept; asked after ``prepare``, none by default.

        A method that has some takes their features as ``self.extractor().features(clip)``.
        """
        return None

    def figures(self) -> dict[str, float]:
        """Figures of the training for the record's notes; none by default."""
        return {}

    @abstractmethod
    def localize(self, clip: Clip) -> Localization:
        """Raw map and confidence of each clip's target segment."""

    def loss(self, batch: Batch) -> Tensor:
        """Loss of a batch, scaled so that the mean over devices is that of the global batch.

        A method writes this, or its own ``training_step``.
        """
        raise NotImplementedError(f"{type(self).__name__} must define loss or training_step")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one step; a loss that is not finite ends the run in words."""
        loss = self.loss(batch)
        if not torch.isfinite(loss):
            raise BenchError(
                f"the training loss became {loss.item()} in epoch {self.current_epoch}; "
                f"lower optim.lr (now {self.optim.lr})"
            )
        self.log("train_loss", loss.detach(), prog_bar=True, on_step=False, on_epoch=True,
                 sync_dist=True, batch_size=len(batch.clip.index))  # fmt: skip
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs the loss of held-out training clips."""
        self.log("val_loss", self.loss(batch), prog_bar=True, sync_dist=True,
                 batch_size=len(batch.clip.index))  # fmt: skip

    def test_step(  # type: ignore[override]
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> Localization:
        """The answer; the evaluator collects it."""
        return self.localize(batch.clip)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seeds dropout by (seed, epoch), so that a resumed run draws what an unbroken one does.

        At an epoch's first batch, not at its start: loaders draw in between, and not equally often.
        """
        if batch_idx == 0:
            torch.manual_seed(self.seed * 1_000_003 + self.current_epoch)

    def configure_optimizers(self) -> Any:
        """Adam, with a constant rate or one cycle over the whole run."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(
            trained,
            lr=self.optim.lr,
            weight_decay=self.optim.weight_decay,
            fused=self.optim.fused,
        )
        if self.optim.schedule == "constant":
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.optim.lr, total_steps=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": cycle, "interval": "step"},
        }
