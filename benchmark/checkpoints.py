"""Checkpoints that are there in full or not at all, and which one a training goes on from.

::

    last.ckpt       the last whole epoch
    previous.ckpt   the one before, in case the disk spoils the last
    best.ckpt       the epoch that trainer.select chooses, where it is not the last one
"""

import io
import logging
import os
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from datamodules.atomic_files import UNFINISHED, write_atomically
from metrics.errors import BenchError

log = logging.getLogger(__name__)
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
MADE_BY = "made_by"  # key of a checkpoint: hash of the configuration that it is of
DAMAGE = (
    EOFError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
"""All that torch and zipfile raise where bytes are missing or wrong."""


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it there; Lightning's way passes by /tmp.

    The last checkpoint that this object wrote becomes the previous one.
    """

    def __init__(self) -> None:
        self._written: set[Path] = set()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        """Saves a checkpoint; the old one stays until the new one is there.

        Raises:
            OSError: the disk is full; the file is named and the old one is as it was.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name == LAST and path in self._written:  # any other may be damaged
            _keep_as_previous(path)
        write_atomically(path, _bytes(checkpoint))
        self._written.add(path)


def _keep_as_previous(last: Path) -> None:
    """Gives the last checkpoint a second name, so that there is one under its own at all times."""
    previous, beside = last.with_name(PREVIOUS), last.with_name(f".{PREVIOUS}{UNFINISHED}")
    beside.unlink(missing_ok=True)
    try:
        os.link(last, beside)
    except OSError:  # not every file system has links
        os.replace(last, previous)
    else:
        os.replace(beside, previous)


def save_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Writes weights as a whole or not at all."""
    write_atomically(path, _bytes(dict(state)))


def _bytes(content: Mapping[str, Any]) -> memoryview:
    """What torch would write; to a full disk it would write with an error that names no file."""
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getbuffer()


class EpochCheckpoint(ModelCheckpoint):
    """Lightning's, which would forget the best epoch where the folder of a run was moved."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what was kept, with its files in the folder where they are now."""
        found = dict(state_dict, dirpath=self.dirpath)
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            found[name] = self._here(found[name])
        best = found["best_k_models"].items()
        found["best_k_models"] = {self._here(path): value for path, value in best}
        super().load_state_dict(found)

    def _here(self, path: str) -> str:
        return str(Path(self.dirpath or "") / Path(path).name) if path else ""


class MadeBy(Callback):
    """Writes into every checkpoint of which configuration it is."""

    def __init__(self, identity: str) -> None:
        self.identity = identity

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the hash of the configuration."""
        checkpoint[MADE_BY] = self.identity


def damage(path: Path) -> str | None:
    """What is wrong with a file of torch; None where every byte is as it was written.

    torch itself compares no checksums when it reads.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except DAMAGE as error:
        return str(error).partition("\n")[0] or type(error).__name__
    return None if broken is None else f"the checksum of {broken} is wrong"


def resumable(folder: Path, identity: str, network: Mapping[str, Tensor]) -> Path | None:
    """The checkpoint that a training goes on from; None where it has to begin.

    Damaged ones are passed over with a warning. Nothing is changed.

    Args:
        folder: of the training.
        identity: hash of its configuration.
        network: state of the method.

    Raises:
        BenchError: the checkpoint is of another configuration or network.
    """
    passed: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        reason = damage(path) or _misfit(path, identity, network)
        if reason is None:
            if passed:
                log.warning("%s; going on from %s, an epoch earlier", passed[0], path)
            return path
        passed.append(f"{path} is damaged ({reason})")
    if passed:
        log.warning("%s; this training starts again", " and ".join(passed))
    return None


def _misfit(path: Path, identity: str, network: Mapping[str, Tensor]) -> str | None:
    """Raises BenchError for a checkpoint of something else; a reason where it cannot be read."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        made_by = found.get(MADE_BY)
        shapes = {name: tuple(value.shape) for name, value in found["state_dict"].items()}
    except (*DAMAGE, AttributeError, TypeError) as error:
        return str(error).partition("\n")[0] or type(error).__name__
    remedy = f"put back its own, or delete {path.parent}, which starts this training again"
    if made_by != identity:
        raise BenchError(
            f"{path} is a checkpoint of another configuration ({str(made_by)[:8]}, here it is "
            f"{identity[:8]}); {remedy}"
        )
    wanted = {name: tuple(value.shape) for name, value in network.items()}
    if shapes != wanted:
        name = min(set(shapes.items()) ^ set(wanted.items()))[0]
        raise BenchError(
            f"{path} is of another network: {name} has shape {shapes.get(name)}, here it is "
            f"{wanted.get(name)}; {remedy}"
        )
    return None
