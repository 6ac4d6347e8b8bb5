"""What processes that were started together agree on, also before there is a group of them.

``torchrun`` and SLURM start all processes of a run at once; on one node Lightning starts those
beside the first when the training begins. Only the first decides what stands on disk.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import count
from typing import TypeVar

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.utilities import rank_zero_only
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import Store

from methods.global_norm import world_size
from metrics.errors import BenchError

T = TypeVar("T", bool, str, list[str])


def is_first_rank() -> bool:
    """Whether this process writes the files; true before any other process exists."""
    other_node = int(os.environ.get("NODE_RANK", "0")) > 0  # where each node starts its own
    return getattr(rank_zero_only, "rank", 0) == 0 and not other_node


def launcher() -> TorchElasticEnvironment | SLURMEnvironment | None:
    """What started all processes of this run from outside; None where nothing did."""
    for kind in (TorchElasticEnvironment, SLURMEnvironment):
        if kind.detect():
            if kind is SLURMEnvironment:  # whose signal would save the middle of an epoch
                return SLURMEnvironment(auto_requeue=False)
            return TorchElasticEnvironment()
    return None


def require_all_processes(devices: int, num_nodes: int) -> None:
    """Raises BenchError where other than one process per device was started from outside."""
    outside = launcher()
    if outside is None or outside.world_size() == devices * num_nodes:
        return
    name = "torchrun" if isinstance(outside, TorchElasticEnvironment) else "SLURM"
    raise BenchError(
        f"{name} started {outside.world_size()} processes, but trainer.devices={devices} on "
        f"trainer.num_nodes={num_nodes} need {devices * num_nodes}; give both as they were started"
    )


def from_first(choose: Callable[[], T]) -> T:
    """What the first process chooses, on every process that takes part by now.

    Args:
        choose: called by the first process alone; its error is raised there, and told to others.

    Raises:
        BenchError: the first process failed.
    """
    outside = launcher()
    if world_size() == 1 and (outside is None or outside.world_size() == 1):
        return choose()
    tell, ask = (_broadcast, _received) if world_size() > 1 else (_put, _got)
    if not is_first_rank():
        found = json.loads(ask())
        if found is None:
            raise BenchError("the first process of the run failed; it says why")
        chosen: T = found
        return chosen
    try:
        chosen = choose()
    except BaseException:
        tell(json.dumps(None))
        raise
    tell(json.dumps(chosen))
    return chosen


@contextmanager
def joined() -> Iterator[torch.device]:
    """A group of the processes that were started from outside, for work without a trainer.

    Yields:
        The device of this process.
    """
    outside = launcher()
    local = 0 if outside is None else outside.local_rank()
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if outside is None or outside.world_size() == 1 or world_size() > 1:
        yield device
        return
    dist.init_process_group(
        "gloo", store=_store(), rank=outside.global_rank(), world_size=outside.world_size()
    )
    try:
        yield device
    finally:
        dist.destroy_process_group()


@lru_cache(maxsize=1)  # a second one of the first process would need another port
def _store() -> Store:
    """The store at the address that Lightning's group will be made at."""
    outside = launcher()
    assert outside is not None, "asked by whoever was started from outside"
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store: Store = TCPStore(
        outside.main_address,
        outside.main_port,
        world_size=outside.world_size(),
        is_master=is_first_rank() and not agent,
        wait_for_workers=False,
        multi_tenant=True,
    )
    return store


@lru_cache(maxsize=1)
def _questions() -> Iterator[int]:
    """Numbers of what was agreed on, the same on all processes."""
    return count()


def _key() -> str:
    return f"bench/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(_questions())}"


def _put(text: str) -> None:
    _store().set(_key(), text)


def _got() -> str:
    """Waits as long as it takes, for the first may wait for another run; signals are heard."""
    key = _key()
    while not _store().check([key]):
        time.sleep(0.1)
    found: bytes = _store().get(key)
    return found.decode()


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def _broadcast(text: str) -> None:
    content = torch.tensor(list(text.encode()), dtype=torch.uint8, device=_device())
    dist.broadcast(torch.tensor([len(content)], device=_device()), 0)
    dist.broadcast(content, 0)


def _received() -> str:
    size = torch.zeros(1, dtype=torch.int64, device=_device())
    dist.broadcast(size, 0)
    content = torch.zeros(int(size), dtype=torch.uint8, device=_device())
    dist.broadcast(content, 0)
    return bytes(content.tolist()).decode()
