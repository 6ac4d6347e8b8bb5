"""What a training writes down beside its weights: curves, rates and pictures.

None of it changes a score, and a record depends on none of it.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from benchmark.config import RunConfig
from benchmark.drawing import write_picture
from benchmark.settings import PATHS
from benchmark.sheets import epochs_picture
from datamodules.atomic_files import unfinished
from datamodules.base import ClipData
from methods.base import Method, measuring
from metrics.errors import BenchError

PANEL = "panel"  # folder of the maps, and name of the picture
SHOWN_EPOCHS = 10


def loggers_of(config: RunConfig, folder: Path) -> list[Logger]:
    """CSV always; W&B (offline without ``WANDB_API_KEY``) and TensorBoard where they are asked for.

    Args:
        config: of the run.
        folder: of the training.

    Raises:
        BenchError: TensorBoard is asked for and not installed.
    """
    found: list[Logger] = [CSVLogger(folder, name="logs")]
    if config.logging.tensorboard:
        try:
            import torch.utils.tensorboard  # noqa: F401  # Lightning would find out while it trains
        except ModuleNotFoundError as error:
            raise BenchError(
                "logging.tensorboard=true needs a package that is not installed; "
                "pip install tensorboard, or leave the setting out"
            ) from error
        found.append(TensorBoardLogger(folder, name="tensorboard"))
    if config.logging.wandb:
        settings = {key: value for key, value in config.values.items() if not PATHS.fullmatch(key)}
        offline = "WANDB_API_KEY" not in os.environ
        found.append(
            WandbLogger(project="avloc-bench", save_dir=folder, offline=offline, config=settings)
        )
    return found


def close(config: RunConfig) -> None:
    """Ends what the loggers of a training left open: the next stage is a run of its own."""
    if config.logging.wandb:
        import wandb  # slow to import, and only asked for here

        wandb.finish()


class Rates(Callback):
    """Learning rate at the end of each epoch, and clips per second over all of it."""

    def __init__(self) -> None:
        self.started = 0.0
        self.clips = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self.started, self.clips = time.monotonic(), 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Counts the clips of all processes."""
        self.clips += len(batch.clip.index) * trainer.world_size

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes both into the curves."""
        seconds = time.monotonic() - self.started
        pl_module.log_dict(
            {
                "lr": trainer.optimizers[0].param_groups[0]["lr"],
                "clips_per_second": self.clips / seconds,
            },
            rank_zero_only=True,
        )


class Panel(Callback):
    """The maps of the same few clips after every epoch, as arrays, as one picture, and for loggers.

    The clips are not of the test list: held-out ones where there are any, else training clips,
    evenly spread over their list, without augmentation.
    """

    def __init__(self, data: ClipData, folder: Path, count: int) -> None:
        """A panel of ``count`` clips; a training that is resumed adds to what is there.

        Raises:
            BenchError: ``count`` is negative.
        """
        if count < 0:
            raise BenchError(f"logging.panel={count} must be 0 or more clips")
        self.split = "val" if len(data.report.splits.get("val", ())) else "train"
        size = len(data.report.splits[self.split])
        rows = np.unique(np.linspace(0, size - 1, min(count, size)).round().astype(int))
        self.data, self.folder, self.rows = data, folder, rows
        self.frames: list[NDArray[np.uint8]] = []  # (H, W, 3) of each clip's target segment

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reads the frames; raises BenchError before the first step where nothing can be shown."""
        assert isinstance(pl_module, Method)
        if not pl_module.card.localises:
            raise BenchError(
                f"logging.panel={len(self.rows)} shows maps, and the method has none with these "
                "settings, only classes of segments; leave logging.panel out"
            )
        segment = self.data.inputs.num_segments // 2
        for row in self.rows:
            frame = self.data.frames(self.split, int(row))[segment]
            self.frames.append(frame.permute(1, 2, 0).contiguous().numpy())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Asks for the maps of the epoch that ended."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Method)
        (self.folder / PANEL).mkdir(exist_ok=True)
        kept = self.folder / PANEL / f"epoch_{trainer.current_epoch:04d}.npy"
        with unfinished(kept) as beside, beside.open("wb") as file:
            np.save(file, self._maps(pl_module))
        picture = epochs_picture(self.frames, self._epochs())
        write_picture(self.folder / f"{PANEL}.png", picture)
        for logger in trainer.loggers:
            _show(logger, picture, trainer.current_epoch)

    def _maps(self, method: Method) -> NDArray[np.float32]:
        """``(N, h, w)``, while the training goes on as if nobody had looked."""
        found = []
        with measuring(method), torch.random.fork_rng(devices=[]):
            for batch in self.data.chosen_loader(self.split, self.rows, self.rows):
                answer = method.localize(batch.clip.to(method.device))
                found.append(answer.heatmap.float().cpu().numpy())
        return np.concatenate(found)

    def _epochs(self) -> Mapping[str, NDArray[np.float32]]:
        """Maps of the epochs that are shown, evenly spread, the last one among them."""
        files = sorted((self.folder / PANEL).glob("epoch_*.npy"))
        places = np.unique(np.linspace(0, len(files) - 1, min(SHOWN_EPOCHS, len(files))).round())
        chosen = [files[int(place)] for place in places]
        return {f"epoch {int(file.stem[6:]) + 1}": np.load(file) for file in chosen}


def _show(logger: Logger, picture: NDArray[np.uint8], epoch: int) -> None:
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(PANEL, picture, epoch, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(PANEL, [picture])
