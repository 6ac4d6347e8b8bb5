"""Neighbours of a run's training list, or of features of the user's own: ``bench mine``."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.recorded import load_trained, recorded_data
from datamodules.base import ClipData
from methods.hardpos import MINED, EmbedsClips, embed, neighbours_for
from methods.mining import purity
from methods.neighbour_files import Mining, mine, open_features, require_others
from methods.two_stream import TwoStream
from metrics.errors import BenchError


class Mined(NamedTuple):
    """A file of neighbours, and what it took."""

    path: Path
    rows: int
    width: int
    k: int
    made: int  # rows that were not there before
    seconds: float
    purity: float | None = None  # where all classes are known

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **self._asdict(),
            "path": str(self.path),
            "rows_per_second": self.made / self.seconds,
        }

    def __str__(self) -> str:
        words = f"{self.path}: n {self.rows}, D {self.width}, K {self.k}; "
        words += f"{self.made} rows in {self.seconds:.1f} s, {self.made / self.seconds:.0f} rows/s"
        if self.made < self.rows:
            words += f", {self.rows - self.made} kept from before"
        return words if self.purity is None else f"{words}; purity {self.purity:.3f}"


def mine_features(
    features: Path, out: Path | None, count: int | None, device: torch.device
) -> Mined:
    """Neighbours of a feature file.

    Args:
        features: ``.npy`` of ``(n, D)`` float32.
        out: ``.npy``; ``F-neighbours.npy`` beside the features if None.
        count: K; that of :func:`methods.hardpos.neighbours_for` if None.
        device: where long lists are searched.

    Raises:
        BenchError: see :func:`methods.neighbour_files.mine`.
    """
    out = out or features.with_name(f"{features.stem}-neighbours.npy")
    return _mined(features, out, count, device)


def mine_run(
    run: Path,
    out: Path | None,
    count: int | None,
    pool: str | None,
    overrides: Sequence[str],
    device: torch.device,
) -> list[Mined]:
    """Neighbours of a run's training list by sound and by image, as stage 2 of `hardpos` has them.

    Args:
        run: folder of a finished run of a method of two streams.
        out: folder, ``mined`` of the run if None; it gets the embeddings too.
        count: K; that of :func:`methods.hardpos.neighbours_for` if None.
        pool: ``mean`` or ``response``; as the run had it if None.
        overrides: settings, for files that lie elsewhere now.
        device: of this process; those of a group share the work.

    Raises:
        BenchError: the run is none, its method has no two streams, or its data cannot be read.
    """
    of_data = [word for word in overrides if word.startswith("data.")]
    trained = load_trained(run, [word for word in overrides if word not in of_data])
    method = trained.method
    if not isinstance(getattr(method, "streams", None), TwoStream):
        raise BenchError(
            f"{run} is a run of {trained.record.method}, which has no vector of a sound and of an "
            "image; give --run a run of lvs_vanilla, lvs or hardpos"
        )
    data = recorded_data(trained.record, method, of_data, stage="fit")
    if count is not None:
        require_others(count, len(data.report.splits["train"]), f"the training list of {run}")
    folder = _made(out or run / "mined")
    chosen = str(pool or getattr(method.config, "mining_pool", "mean"))
    embed(cast("EmbedsClips", method.to(device)), data, chosen, folder)
    categories = _categories(data)
    return [
        _mined(folder / features, folder / neighbours, count, device, categories)
        for features, neighbours in MINED.items()
    ]


def _mined(
    features: Path,
    out: Path,
    count: int | None,
    device: torch.device,
    categories: NDArray[np.int64] | None = None,
) -> Mined:
    rows, width = open_features(features).shape
    count = neighbours_for(rows) if count is None else count
    started = time.monotonic()
    mining: Mining = mine(features, out, count, device)
    seconds = time.monotonic() - started
    found = None if categories is None else purity(mining.neighbours, categories)
    return Mined(out, rows, width, count, mining.made, seconds, found)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(
            f"{folder} cannot be made ({error.strerror}); give --out a folder that you may write to"
        ) from error
    return folder


def _categories(data: ClipData) -> NDArray[np.int64] | None:
    names = data.report.splits["train"].categories
    if None in names:
        return None
    categories: NDArray[np.int64] = np.unique(np.array(names), return_inverse=True)[1]
    return categories
