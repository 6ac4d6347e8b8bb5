"""Training runs and preparations that end in a folder, and are not done twice.

A folder is finished when it holds ``done.json``, which is written last. A training folder that is
not finished holds the checkpoint of the last whole epoch and is resumed from it, see
``benchmark.checkpoints``.
"""

import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback

from benchmark.checkpoints import (
    BEST,
    EpochCheckpoint,
    MadeBy,
    WholeCheckpoints,
    damage,
    resumable,
    save_weights,
)
from benchmark.compiling import compiled
from benchmark.config import BEST_OF, RunConfig
from benchmark.logs import Panel, Rates, close, loggers_of
from benchmark.named_files import named_files
from benchmark.ranks import from_first, is_first_rank, launcher
from benchmark.settings import NOT_IN_HASH, TRUTH_ONLY, content_hash
from benchmark.validation import VAL_CIOU, ValidationCiou, validation_truth
from datamodules.atomic_files import drop_unfinished, write_json
from datamodules.base import ClipData
from methods.base import Method
from methods.global_norm import wait_for_all, world_size
from metrics.errors import BenchError

log = logging.getLogger(__name__)
M = TypeVar("M", bound=Method)
WEIGHTS, DONE = "weights.pt", "done.json"
TRAINING = "training"  # title of the training that is tested


class Done(NamedTuple):
    """What ``DONE`` tells of a finished folder."""

    seconds: float  # it had taken
    epoch: int | None = None  # that held-out clips chose, the first being 1; None for the last


class StageRunner:
    """The runner's half of ``methods.base.Stages``, for one run."""

    def __init__(self, config: RunConfig, data: ClipData, lists: object) -> None:
        self.config, self.data, self.lists = config, data, lists
        self.notes: dict[str, float] = {}
        self.stage_hashes: list[str] = []
        self.seconds: dict[str, float] = {}

    def fit(self, name: str, method: M, settings: Mapping[str, object] | None = None) -> M:
        """The method after its own training run; re-used when its configuration is unchanged.

        With ``settings`` it has a configuration, an optimiser and data of its own.
        """
        if settings is not None:
            return self._apart(method, settings).fit(name, method)
        folder = self._stage_folder(name, self._settings_of(method))
        with locked(folder, wait=True):
            self.train(method, folder, title=name)
        return method.to(self.device())  # Lightning leaves it on the CPU

    def _settings_of(self, method: Method) -> dict[str, object]:
        """All settings that a training of the method depends on."""
        own = {item.name: getattr(method.config, item.name) for item in fields(type(method).Config)}
        shared = {
            key: value
            for key, value in self.config.values.items()
            if not key.startswith("method.")
            and not NOT_IN_HASH.fullmatch(key)
            and not TRUTH_ONLY.fullmatch(key)
        }
        kind = f"{type(method).__module__}.{type(method).__qualname__}"
        files = named_files({**shared, **{f"method.{key}": value for key, value in own.items()}})
        return {
            "kind": kind,
            "method": own,
            "optim": asdict(method.optim),
            "run": shared,
            **({"files": files} if files else {}),
        }

    def _apart(self, method: Method, settings: Mapping[str, object]) -> "StageRunner":
        """A runner under other settings, which tells what it does to this one."""
        config = self.config.with_settings(settings)
        method.optim = config.optim
        data = type(self.data)(config.data, method.inputs, seed=config.seed)
        data.setup("fit")
        method.check(data)
        runner = StageRunner(config, data, lists_of(data))
        runner.notes, runner.seconds = self.notes, self.seconds
        runner.stage_hashes = self.stage_hashes
        return runner

    def device(self) -> torch.device:
        """Where this process trains."""
        device: torch.device = self._lightning(
            logger=False, enable_checkpointing=False
        ).strategy.root_device
        return device

    def cached(
        self,
        name: str,
        key: Mapping[str, object],
        build: Callable[[Path], None],
        *,
        is_whole: Callable[[Path], bool] = Path.is_dir,
    ) -> Path:
        """The folder that ``build`` filled; re-used when key and former stages are unchanged.

        All processes of a group build together. Before there is a group the first builds, and the
        others wait.
        """
        folder = self._stage_folder(name, {"key": dict(key), "after": self.stage_hashes[:]})
        with locked(folder, wait=True):
            if is_first_rank():
                _drop_damaged(folder, is_whole)
            wait_for_all()
            if _done(folder) is not None:
                self._reuse(name, folder)
            elif is_first_rank() or world_size() > 1:
                self._build(name, folder, build)
        while not is_first_rank() and not ((folder / DONE).exists() and is_whole(folder)):
            time.sleep(0.2)
        return folder

    def _build(self, name: str, folder: Path, build: Callable[[Path], None]) -> None:
        started = time.monotonic()
        log.info("stage %s: building %s", name, folder)
        build(folder)
        self.seconds[name] = time.monotonic() - started
        if is_first_rank():
            write_json(folder / DONE, {"seconds": self.seconds[name]})

    def _reuse(self, name: str, folder: Path) -> None:
        """Counts what a finished stage had taken, so that a record says what a run costs."""
        log.info("stage %s: unchanged, re-used from %s", name, folder)
        done = _done(folder) or Done(0.0)
        self.seconds[name] = done.seconds
        self._note_epoch(name, done.epoch)

    def _note_epoch(self, title: str, epoch: int | None) -> None:
        if epoch is not None:
            self.note("chosen_epoch" if title == TRAINING else f"chosen_epoch_{title}", epoch)

    def note(self, name: str, value: float) -> None:
        """Writes a figure of the preparation into the record."""
        self.notes[name] = value

    def _stage_folder(self, name: str, key: Mapping[str, object]) -> Path:
        data = self.config.data_name
        digest = content_hash({"stage": name, "data": data, "lists": self.lists, **key})
        self.stage_hashes.append(digest)
        folder = Path(self.config.logging.runs) / "stages" / f"{name}-{digest[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def train(self, method: Method, folder: Path, *, title: str) -> None:
        """Trains a method into a folder, or loads what the folder already has.

        Of a method that learns nothing the folder gets the weights that it was built with.

        Raises:
            BenchError: the folder holds a checkpoint or weights of something else.
            OSError: the disk is full; what was finished is kept.
        """
        if not method.learns:
            self.keep(method, folder, title=title)
            return
        if from_first(lambda: _is_trained(folder)):
            self._reuse(title, folder)
            load_weights(method, folder / WEIGHTS)
            return
        started = time.monotonic()
        with _named(folder):
            epoch = self._fit(method, folder, title)
        method.to(self.device()).conclude(self.data)
        self.seconds[title] = time.monotonic() - started
        self._note_epoch(title, epoch)
        if is_first_rank():
            save_weights(folder / WEIGHTS, method.state_dict())
            write_json(folder / DONE, {"seconds": self.seconds[title], "epoch": epoch})

    def keep(self, method: Method, folder: Path, *, title: str) -> None:
        """Writes the weights of a method that is not trained, as those of a training are kept."""
        log.info("%s: nothing to learn, tested as it stands", title)
        if is_first_rank():
            folder.mkdir(parents=True, exist_ok=True)
            save_weights(folder / WEIGHTS, method.state_dict())
            write_json(folder / DONE, {"seconds": 0.0})

    def _fit(self, method: Method, folder: Path, title: str) -> int | None:
        """Trains from the last good checkpoint on and leaves the chosen epoch in the method.

        Returns:
            Which one ``trainer.select`` chose, the first being 1; None where it is the last.
        """
        identity = content_hash(
            {"data": self.config.data_name, "lists": self.lists, **self._settings_of(method)}
        )
        selects = self.config.trainer.select in BEST_OF
        if is_first_rank():
            drop_unfinished(folder)

        def start() -> str:
            found = resumable(folder, identity, method.state_dict())
            lost = (
                found is not None
                and selects
                and not _is_whole(folder / BEST, "this training starts again")
            )
            return "" if found is None or lost else str(found)

        resumed = from_first(start)
        if resumed:
            log.info("stage %s: resumed from %s", title, resumed)
        self.data.draw, method.memory = method.draw, self.config.memory
        with compiled(method.networks if self.config.trainer.compile else ()):
            self.trainer(method, folder, title, identity).fit(
                method,
                datamodule=self.data,
                ckpt_path=resumed or None,
                weights_only=True,
            )
        close(self.config)
        if not selects:
            return None
        state = torch.load(folder / BEST, map_location="cpu", weights_only=True)
        method.load_state_dict(state["state_dict"])
        return int(state["epoch"]) + 1

    def trainer(self, method: Method, folder: Path, title: str, identity: str) -> pl.Trainer:
        """A Lightning trainer that saves every epoch's end into the folder."""
        settings = self.config.trainer
        validates = settings.select == "val_loss" or self.config.logging.validation
        last = EpochCheckpoint(
            folder, "last", save_on_train_epoch_end=True, enable_version_counter=False
        )
        callbacks: list[Callback] = [
            *self._best(folder), last, MadeBy(identity), Rates(), EpochLines(title), StopsAtOnce()
        ]  # fmt: skip
        if shown := self.config.logging.panel:
            callbacks.append(Panel(self.data, folder, shown))
        if settings.select == VAL_CIOU:
            callbacks.append(ValidationCiou(validation_truth(method, self.data), self.data))
        return self._lightning(
            default_root_dir=folder,
            max_epochs=settings.max_epochs,
            callbacks=callbacks,
            plugins=[WholeCheckpoints()],
            logger=loggers_of(self.config, folder),
            limit_val_batches=1.0 if validates else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
            accumulate_grad_batches=settings.accumulate,
            limit_train_batches=self._whole_steps(),
        )

    def _best(self, folder: Path) -> list[Callback]:
        """Keeps the epoch that ``trainer.select`` chooses, the first of equal ones.

        Before the last epoch is kept: what is killed in between is redone from the one before, and
        finds its best epoch again.
        """
        monitor = self.config.trainer.select
        if monitor not in BEST_OF:
            return []
        mode = BEST_OF[monitor]
        return [
            EpochCheckpoint(
                folder, "best", monitor=monitor, mode=mode, enable_version_counter=False
            )
        ]

    def _whole_steps(self) -> int | float:
        """Batches of an epoch without those that fill no step of ``trainer.accumulate``."""
        together = self.config.trainer.accumulate
        if together == 1:
            return 1.0
        batches = len(self.data.report.splits["train"]) // self.config.data.batch_size
        return batches - batches % together

    def tester(self, collector: Callback) -> pl.Trainer:
        """A Lightning trainer that tests and writes nothing."""
        return self._lightning(
            callbacks=[collector, StopsAtOnce()], logger=False, enable_checkpointing=False
        )

    def _lightning(self, **options: Any) -> pl.Trainer:
        settings = self.config.trainer
        outside = launcher()
        plugins = [*options.pop("plugins", ()), *([] if outside is None else [outside])]
        try:
            return pl.Trainer(
                accelerator=settings.accelerator,
                devices=settings.devices,
                num_nodes=settings.num_nodes,
                strategy=settings.strategy,
                precision=settings.precision,  # type: ignore[arg-type]
                use_distributed_sampler=False,
                enable_progress_bar=sys.stderr.isatty(),
                enable_model_summary=False,
                plugins=plugins,
                **options,
            )
        except (MisconfigurationException, ImportError, ValueError, RuntimeError) as error:
            raise BenchError(
                "the trainer.* settings cannot be had on this machine: "
                f"{' '.join(str(error).split())}"
            ) from error


def lists_of(data: ClipData) -> dict[str, str]:
    """Hashes of the lists that stages depend on: all but that of the test clips."""
    splits = data.report.splits.items()
    return {name: split.sha256 for name, split in splits if name != "test"}


def _done(folder: Path) -> Done | None:
    """What is told of a finished folder; None where it is not finished."""
    try:
        done = json.loads((folder / DONE).read_text(encoding="utf-8"))
        return Done(float(done["seconds"]), done.get("epoch"))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _is_trained(folder: Path) -> bool:
    return _done(folder) is not None and _is_whole(folder / WEIGHTS, "it is made again")


def _is_whole(path: Path, remedy: str) -> bool:
    """Whether a file is as it was written; a missing or damaged one is told, and what follows."""
    reason = damage(path) if path.exists() else "it is missing"
    if reason is not None:
        log.warning("%s is damaged (%s); %s", path, reason, remedy)
    return reason is None


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Names the folder in errors of writing that name no file, such as those of logs."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise


def _drop_damaged(folder: Path, is_whole: Callable[[Path], bool]) -> None:
    if (folder / DONE).exists() and not is_whole(folder):
        log.warning("%s is damaged and made again", folder)
        (folder / DONE).unlink()


class StopsAtOnce(Callback):
    """Keeps the handler of SIGTERM that there was before Lightning laid its own over it.

    Lightning's lets the processes of a group meet first, where some may never come.
    """

    def __init__(self) -> None:
        self.handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the handler back, before the first step."""
        self._put_back()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the handler back, before the first step."""
        self._put_back()

    def _put_back(self) -> None:
        if self.handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handler)


class EpochLines(Callback):
    """One line per epoch with loss, rate and time left."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.started = 0.0
        self.first_epoch = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self.started, self.first_epoch = time.monotonic(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reports the epoch that ended."""
        loss = trainer.callback_metrics.get("train_loss")  # every rank asks, as the mean is of all
        if not trainer.is_global_zero:
            return
        done = trainer.current_epoch + 1 - self.first_epoch
        seconds = (time.monotonic() - self.started) / done
        left = seconds * ((trainer.max_epochs or 0) - trainer.current_epoch - 1)
        shown = "-" if loss is None else f"{float(loss):.4f}"
        log.info("%s: epoch %d of %s, loss %s, %.1f s an epoch, %.0f s left", self.title,
                 trainer.current_epoch + 1, trainer.max_epochs, shown, seconds, left)  # fmt: skip


@contextmanager
def locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """Holds a folder for this process; the lock dies with it. Only the first rank takes it.

    Args:
        folder: exists.
        wait: for whoever holds it, or raise.

    Raises:
        BenchError: another process holds it and ``wait`` is false.
    """
    if not is_first_rank():
        yield
        return
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        if not wait:
            raise BenchError(
                f"{folder} is in use by another run; wait for it, or start one elsewhere with "
                "logging.runs=DIR"
            ) from error
        log.info("%s is being made by another run; waiting for it", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def load_weights(method: Method, path: Path, *, remedy: str | None = None) -> None:
    """Loads a finished stage's weights.

    Args:
        method: gets them.
        path: of the file.
        remedy: what the user may do where that fails; to delete the stage if not given.

    Raises:
        BenchError: the file is missing, corrupt or of another network.
    """
    try:
        if (broken := damage(path)) is not None:
            raise ValueError(broken)
        method.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many types for a damaged file
        reason = str(error).partition("\n")[0] or type(error).__name__
        advice = remedy or f"delete {path.parent}"
        raise BenchError(f"{path} cannot be loaded ({reason}); {advice}") from error
