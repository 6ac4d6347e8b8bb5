"""Stage ``stall``: how long the step of `lvs_vanilla` waits for a loader of two processes.

The clips are of `synthetic` as they are made, at the size that the method asks for, so that the
loader reads, collates and moves them and resamples nothing; what decoding real files costs is in
the stage ``data``.
"""

import logging
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Sampler

from benchmark.speed.harness import Absent, Failed, Line, Measurable, Setting, Target
from benchmark.speed.step import TODAY, WAYS, Found, Steps, chosen_device, method_of, one_line
from datamodules.clip import Batch
from datamodules.sampling import GlobalBatchSampler, Keys
from methods.base import Method

log = logging.getLogger(__name__)
PROCESSES = 2
FEW = 8  # batches that a loader has ready before any is asked for, twice over
WORST_STALL = 0.05


class Sizes(NamedTuple):
    """How much is read, and how often."""

    clips: int
    batches: int
    batch: int | None = None  # None: that of the recipe


ON_GPU, ON_CPU, QUICK = Sizes(128, 96), Sizes(128, 24), Sizes(16, 12, batch=4)


class Rates(NamedTuple):
    """Clips per second."""

    loader: float
    step: float
    both: float


def comparisons(setting: Setting) -> Iterator[Measurable]:
    """The loader alone, the step alone, and both together."""
    device = chosen_device(setting)
    if device.type == "cuda" and not torch.cuda.is_available():
        yield Absent(name="loader and step", note="no GPU here")
        return
    on_gpu = device.type == "cuda"
    method, batch = method_of("lvs_vanilla", small=setting.quick or not on_gpu)
    sizes = QUICK if setting.quick else ON_GPU if on_gpu else ON_CPU
    sizes = sizes._replace(batch=sizes.batch or min(batch, sizes.clips))
    try:
        with tempfile.TemporaryDirectory() as folder:
            rates = measured(method.to(device), sizes, Path(folder))
    except Exception as error:  # the other stages may still have a GPU for a while
        yield Failed(name="loader and step", note=one_line(error))
        return
    pixels = method.config.image_size
    note = f"lvs_vanilla, clips of `synthetic` at {pixels} px, batch of {sizes.batch}"
    yield Found(Line(name=f"loader of {PROCESSES} processes alone", unit="clip/s",
                     ours=rates.loader, note=note))  # fmt: skip
    yield Found(Line(name="step alone, on one batch", unit="clip/s", ours=rates.step))
    yield Found(
        Line(
            name="loader and step together",
            unit="clip/s",
            peer=rates.step,
            ours=rates.both,
            figure=rates.both / rates.step,
            target=Target("at least", 1 - WORST_STALL, "x"),
            note=f"peer: the step alone; the step waits for {1 - rates.both / rates.step:.1%} of "
            "the time",
            judged=on_gpu,
        )
    )


def measured(method: Method, sizes: Sizes, folder: Path) -> Rates:
    """Rates over so many batches of a loader that goes through its clips again and again."""
    loader = endless_loader(method, sizes, folder / "clips")
    size = loader.sampler.batch_size  # type: ignore[attr-defined]
    alone = rate(loader, sizes.batches, size)
    log.info("loader alone: %.4g clip/s", alone)
    first: Batch = method.transfer_batch_to_device(next(iter(loader)), method.device, 0)
    steps = Steps(method, first, WAYS[TODAY])

    def stepped(batches: Iterable[Batch]) -> Iterator[None]:
        for batch in batches:
            steps.batch = method.transfer_batch_to_device(batch, method.device, 0)
            steps()
            yield

    def same() -> Iterator[None]:
        while True:
            steps()
            yield

    rate(same(), FEW, size, skipped=0)  # warms up
    step = rate(same(), sizes.batches, size)
    log.info("step alone: %.4g clip/s", step)
    both = rate(stepped(loader), sizes.batches, size)
    log.info("both together: %.4g clip/s", both)
    return Rates(alone, step, both)


def rate(given: Iterable[object], batches: int, size: int, skipped: int = FEW) -> float:
    """Clips per second of the batches after the first few; an iterable may have more of them."""
    source = iter(given)
    for _ in range(skipped):
        next(source)
    start = _now()
    for _ in range(batches - skipped):
        next(source)
    return (batches - skipped) * size / (_now() - start)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@dataclass
class Epochs(Sampler[Keys]):
    """The batches of many epochs one after the other, as if a data set were large."""

    sampler: GlobalBatchSampler

    @property
    def batch_size(self) -> int:
        """Clips of a batch."""
        return self.sampler.batch_size

    def __iter__(self) -> Iterator[Keys]:
        epoch = 0
        while True:
            self.sampler.set_epoch(epoch)
            yield from self.sampler
            epoch += 1


def endless_loader(method: Method, sizes: Sizes, folder: Path) -> DataLoader[Batch]:
    """The training loader of clips made in the folder, with processes, over endless epochs."""
    from datamodules.synthetic import Synthetic  # needs what reads sound files
    from datamodules.synthetic_settings import SyntheticConfig

    config = SyntheticConfig(
        root=str(folder),
        batch_size=sizes.batch or SyntheticConfig.batch_size,
        num_workers=PROCESSES,
        train_clips=sizes.clips,
        val_clips=1,
        test_clips=1,
        image_size=method.inputs.image_size,
        seconds=method.inputs.segment_seconds,
        sample_rate_hz=method.inputs.sample_rate_hz,
    )
    data = Synthetic(config, method.inputs, seed=0)
    data.setup("fit")
    loader = data.train_dataloader()
    assert isinstance(loader.sampler, GlobalBatchSampler)
    return DataLoader(
        loader.dataset,
        sampler=Epochs(loader.sampler),
        batch_size=None,
        num_workers=loader.num_workers,
        persistent_workers=False,  # an iterator that is left ends its processes
        pin_memory=loader.pin_memory,
    )
