"""What the tests of several packages build on: small clips, and two processes."""

import inspect
from collections.abc import Callable
from functools import partial
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.base import ClipData, DataConfig, DataReport, Split
from datamodules.clip import Inputs
from metrics.truth import Truth

SMALL = Inputs(image_size=8, sample_rate_hz=100, segment_seconds=0.5)


@pytest.fixture(scope="session")
def on_two_processes(on_processes: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """``on_two_processes(function)``: ``on_processes`` with two of them."""
    return partial(on_processes, 2)


@pytest.fixture(scope="session")
def without_assertions() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``without_assertions(function)``: the function as ``python -O`` compiles it."""

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        source = dedent(inspect.getsource(function))
        names = dict(function.__globals__)
        exec(compile(source, "<without assertions>", "exec", optimize=1), names)
        found: Callable[..., Any] = names[function.__name__]
        return found

    return compiled


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
