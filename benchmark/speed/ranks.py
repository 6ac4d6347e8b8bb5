"""Stage ``ranks``: whether several processes score as one does, and how their rate grows.

A step of W devices has W times the clips of one, and all of them as negatives, so what they
exchange is in its time: gathered embeddings, global statistics and gradients.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from benchmark.speed.harness import Absent, Amount, Line, Measurable, Setting, Target
from benchmark.speed.metrics import BATCH, Maps, made_up_maps, made_up_truth
from benchmark.speed.step import Found, chosen_device, method_of, random_batch
from datamodules.clip import Batch
from methods.base import Method
from metrics.localization import LocalizationMetrics

WAIT = timedelta(minutes=5)
WARM_UP = 2
Worker = Callable[[int, Any], object]


class Sizes(NamedTuple):
    """How much is scored and trained."""

    maps: int  # odd, so that two processes have not equally many
    steps: int


ON_GPU, ON_CPU, QUICK = Sizes(501, 20), Sizes(501, 3), Sizes(7, 1)


def comparisons(setting: Setting) -> Iterator[Measurable]:
    """Scores of two processes beside those of one, and the rate of all GPUs beside that of one."""
    device = chosen_device(setting)
    on_gpu = device.type == "cuda"
    sizes = QUICK if setting.quick else ON_GPU if on_gpu else ON_CPU
    yield Amount(
        name=f"scores of {sizes.maps} maps by two processes, farthest from those of one",
        unit="",
        ours=lambda: error_of_two(sizes.maps),
        target=Target("at most", 1e-12),
    )
    name = "training step per device, as a share of one device's"
    world = torch.cuda.device_count() if on_gpu else 2
    if world < 2:
        yield Absent(name=name, note=f"{world} GPU here")
        return
    yield Found(scaling(name, world, sizes.steps, on_gpu=on_gpu, small=setting.quick))


def error_of_two(n: int) -> float:
    """Largest difference between the scores of two processes and of one, NaN where one has NaN."""
    maps = Maps(made_up_truth(n), made_up_maps(n))
    whole = score_columns(maps, 0, 1)
    parts = in_processes(2, _scored_share, maps)
    gaps = [np.where(np.isnan(whole) & np.isnan(part), 0.0, part - whole) for part in parts]
    return float(np.abs(gaps).max())


def score_columns(maps: Maps, rank: int, world: int) -> NDArray[np.float64]:
    """Per-sample scores ``(k, N)`` and metrics ``(m,)``, one after the other, of every W-th map."""
    metric = LocalizationMetrics(maps.truth, "lvs")
    rows = torch.arange(rank, len(maps.truth), world)
    for start in range(0, len(rows), BATCH):
        own = rows[start : start + BATCH]
        metric.update(own, torch.from_numpy(maps.heatmaps[own.numpy()]))
    scores = metric.compute()
    figures = np.array([scores.metrics[name] for name in sorted(scores.metrics)])
    return np.concatenate([*(scores.values[name] for name in sorted(scores.values)), figures])


def _scored_share(rank: int, maps: Maps) -> Tensor:
    return torch.from_numpy(score_columns(maps, rank, dist.get_world_size()))


class Trained(NamedTuple):
    """What a process of a group is to train."""

    on_gpu: bool
    small: bool  # the settings for two CPU cores in place of those of the paper
    steps: int


def scaling(name: str, world: int, steps: int, *, on_gpu: bool, small: bool) -> Line:
    """Clips per second and device of W devices, beside one."""
    asked = Trained(on_gpu, small or not on_gpu, steps)
    alone, together = (
        float(np.median([rate.item() for rate in in_processes(count, _step_rate, asked)]))
        for count in (1, world)
    )
    kind = "GPUs" if on_gpu else "processes of one thread"
    return Line(
        name=name,
        unit="clip/s",
        peer=alone,
        ours=together,
        figure=together / alone,
        target=Target("at least", 0.9, "x"),
        note=f"lvs_vanilla, {world} {kind} that share negatives and statistics; peer: one of them",
        judged=on_gpu,
    )


class _Loss(nn.Module):
    """The loss as a forward pass, which is what DDP waits for."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch) -> Tensor:
        return self.method.loss(batch)


def _step_rate(rank: int, asked: Trained) -> Tensor:
    device = torch.device("cuda", rank) if asked.on_gpu else torch.device("cpu")
    method, size = method_of("lvs_vanilla", small=asked.small)
    batch = method.to(device).transfer_batch_to_device(random_batch(method, size), device, 0)
    network = DistributedDataParallel(_Loss(method.train()))
    optimizer = cast("torch.optim.Optimizer", method.configure_optimizers())
    for step in range(WARM_UP + asked.steps):
        if step == WARM_UP:
            started = _now(device)
        optimizer.zero_grad()
        network(batch).backward()
        optimizer.step()
    return torch.tensor(size * asked.steps / (_now(device) - started))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def in_processes(world: int, work: Worker, given: object) -> list[Any]:
    """What a function returns in each of W processes that form a group, by rank.

    Args:
        world: how many.
        work: a function of a module, of the rank and of what is given.
        given: its second argument.
    """
    with tempfile.TemporaryDirectory() as folder:
        spawn(_ranked, (world, work, given, Path(folder)), nprocs=world)  # type: ignore[no-untyped-call]
        return [
            torch.as_tensor(torch.load(_result(Path(folder), rank), weights_only=True)).numpy()
            for rank in range(world)
        ]


def _ranked(rank: int, world: int, work: Worker, given: object, folder: Path) -> None:
    torch.set_num_threads(1)
    on_gpu = isinstance(given, Trained) and given.on_gpu
    if on_gpu:
        torch.cuda.set_device(rank)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=f"file://{folder / 'rendezvous'}",
        rank=rank,
        world_size=world,
        timeout=WAIT,
    )
    torch.save(work(rank, given), _result(folder, rank))
    dist.destroy_process_group()


def _result(folder: Path, rank: int) -> Path:
    return folder / f"{rank}.pt"
