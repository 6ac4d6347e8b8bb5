"""What the tests of several packages build on: small clips, and two processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.base import ClipData, DataConfig, DataReport, Split
from datamodules.clip import Inputs
from metrics.truth import Truth

ROOT = Path(__file__).resolve().parents[2]
RANK_PROCESS = Path(__file__).with_name("rank_process.py")
SMALL = Inputs(image_size=8, sample_rate_hz=100, segment_seconds=0.5)


@pytest.fixture(scope="session")
def on_two_processes(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Callable[[], Any]], list[Any]]]:
    """``on_two_processes(function)``: what a function of a test file returns on each of two ranks.

    The processes share a gloo group, start at the first call and stay for the session.
    """
    processes: list[subprocess.Popen[str]] = []

    def results(function: Callable[[], Any]) -> list[Any]:
        folder = tmp_path_factory.mktemp("ranks")
        if not processes:
            processes.extend(rank_process(folder / "rendezvous", rank) for rank in (0, 1))
        call = [function.__code__.co_filename, function.__name__, str(folder)]
        for process in processes:
            print(json.dumps(call), file=process.stdin, flush=True)
        for process in processes:
            wait_until_done(process)
        return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]

    yield results
    for process in processes:
        process.kill()
        process.communicate()


def rank_process(rendezvous: Path, rank: int) -> "subprocess.Popen[str]":
    """A fresh process of ``rank_process.py``."""
    return subprocess.Popen(
        [sys.executable, str(RANK_PROCESS), str(rendezvous), str(rank)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until_done(process: "subprocess.Popen[str]") -> None:
    """Returns when the call has ended; fails the test with the output of a process that died."""
    printed = []
    assert process.stdout is not None
    for line in process.stdout:
        if line == "done\n":
            return
        printed.append(line)
    pytest.fail("a process ended before it was done:\n" + "".join(printed))


class TinyClips(ClipData):
    """Noise frames and noise sounds, a function of (split, row)."""

    def __init__(
        self, config: DataConfig, inputs: Inputs, *, seed: int, sizes: dict[str, int]
    ) -> None:
        super().__init__(config, inputs, seed=seed)
        self.sizes = sizes

    def load(self) -> DataReport:
        splits = {}
        for name, size in self.sizes.items():
            ids = tuple(f"{name}{row}" for row in range(size))
            categories = tuple(("dog", "cat", "owl")[row % 3] for row in range(size))
            splits[name] = Split(name, ids, ids, categories)
        return DataReport(splits, n_expected=self.sizes["test"])

    def truth(self) -> tuple[Truth, ...]:
        raise NotImplementedError("no test asks for the truth of noise")

    def frames(self, split: str, row: int) -> Tensor:
        size = self.inputs.image_size
        shape = (self.inputs.num_segments, 3, size, size)
        rng = np.random.default_rng([len(split), row, 0])
        return torch.from_numpy(rng.integers(256, size=shape, dtype=np.uint8))

    def waveform(self, split: str, row: int) -> Tensor:
        shape = (self.inputs.num_segments, self.inputs.segment_samples)
        rng = np.random.default_rng([len(split), row, 1])
        return torch.from_numpy(rng.uniform(-1, 1, size=shape).astype(np.float32))


@pytest.fixture
def tiny_clips() -> Callable[..., TinyClips]:
    """``tiny_clips(batch_size=4, ...)``: 12 training, 6 validation and 5 test clips of noise."""

    def built(
        *, seed: int = 3, sizes: dict[str, int] | None = None, inputs: Inputs = SMALL, **config: Any
    ) -> TinyClips:
        all_sizes = {"train": 12, "val": 6, "test": 5, **(sizes or {})}
        settings = DataConfig(**{"batch_size": 4, **config})
        return TinyClips(settings, inputs, seed=seed, sizes=all_sizes)

    return built
