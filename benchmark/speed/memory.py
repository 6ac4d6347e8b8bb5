"""Stage ``memory``: the maps of a large global batch, whole and in chunks, forward and backward.

The peer keeps the cosine maps of all sounds on all images and what its soft masks need of them, as
the field's code does. Each way runs in a process of its own, whose peak of resident memory is read.
"""

import multiprocessing
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from benchmark.speed.harness import Claim, Line, Measurable, Setting, Target, Timer
from methods.lvs_vanilla import ContrastiveConfig, vanilla_rows

STATUS = Path("/proc/self/status")
SAME_LOSS, SAME_GRADIENT = 1e-6, 1e-5  # the latter sums 200,704 cells, relative to the largest


class Sizes(NamedTuple):
    """Of one process that has the whole global batch."""

    clips: int
    width: int
    cells: int  # per side


FULL = Sizes(clips=1024, width=512, cells=14)
QUICK = Sizes(clips=24, width=16, cells=4)


class Step(NamedTuple):
    """What a loss and its gradients took and gave."""

    bytes: float  # peak, beside the features
    seconds: float
    loss: float
    gradients: tuple[float, ...]  # of the sounds, all of them; of the images, every 997th


@dataclass(frozen=True)
class Pairs:
    """The masked negatives of `lvs_vanilla`, both ways."""

    sizes: Sizes

    def line(self, timer: Timer) -> Line:
        """Bytes of both ways, each measured once."""
        whole, chunked = (in_a_process(self.sizes, maps) for maps in ("whole", "chunked"))
        clips, width, cells = self.sizes
        return Line(
            name=f"peak memory, maps of {clips} x {clips} pairs in chunks",
            unit="MiB",
            peer=whole.bytes / 2**20,
            ours=chunked.bytes / 2**20,
            figure=chunked.bytes / max(whole.bytes, 1),
            target=Target("at most", 0.5, "x"),
            claims=tuple(claims(whole, chunked)),
            note=f"{cells} x {cells} cells of {width} channels, loss and gradients; "
            f"{whole.seconds:.1f} s whole, {chunked.seconds:.1f} s in chunks",
            judged=timer.judged,
        )


def comparisons(setting: Setting) -> Iterator[Measurable]:
    """Everything that the stage measures; on the CPU, whatever the device."""
    yield Pairs(QUICK if setting.quick else FULL)


def in_a_process(sizes: Sizes, maps: str) -> Step:
    """A step in a new process on one thread."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(step, sizes, maps).result()


def step(sizes: Sizes, maps: str) -> Step:
    """Loss and gradients of features by chance, a part of which are alike."""
    torch.set_num_threads(1)
    draws = torch.Generator().manual_seed(0)
    clips, width, cells = sizes
    sound = torch.randn(clips, width, generator=draws)
    visual = torch.randn(clips, width, cells, cells, generator=draws)
    visual[..., : cells // 2] += 2 * sound[..., None, None]
    sound.requires_grad_()
    visual.requires_grad_()
    config = ContrastiveConfig(negative_pool="masked")
    before, start = _peak_bytes(), time.perf_counter()
    loss = vanilla_rows(sound, visual, config, maps).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    seconds, peak = time.perf_counter() - start, _peak_bytes()
    assert sound.grad is not None, "it was asked for"
    assert visual.grad is not None, "it was asked for"
    some = torch.cat([sound.grad.flatten(), visual.grad.flatten()[::997]])
    return Step(peak - before, seconds, loss.item(), tuple(some.tolist()))


def _peak_bytes() -> float:
    """Most memory that this process had; ru_maxrss begins with that of whoever started it."""
    if STATUS.exists():
        lines = STATUS.read_text(encoding="utf-8").splitlines()
        (peak,) = (line for line in lines if line.startswith("VmHWM:"))
        return float(peak.split()[1]) * 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # macOS counts in bytes


def claims(whole: Step, chunked: Step) -> Iterator[Claim]:
    """That both ways are the same step."""
    apart = abs(whole.loss - chunked.loss) / max(abs(whole.loss), 1e-12)
    yield Claim(f"same loss, {apart:.1e} apart", apart <= SAME_LOSS)
    one, other = (torch.tensor(each.gradients) for each in (whole, chunked))
    apart = ((one - other).abs().max() / one.abs().max()).item()
    yield Claim(f"same gradients, {apart:.1e} of the largest apart", apart <= SAME_GRADIENT)
