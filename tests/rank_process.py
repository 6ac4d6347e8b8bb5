"""Calls functions of test files on several gloo processes and stores what they return.

Run as a script by the fixture ``on_processes``, since test files are not importable by name.
It reads one JSON line per call, ``[count, file, function, arguments, cache, folder]``, and answers
``done`` or ``failed``. The processes of a call are forks, so that what is slow to import is
imported once.
"""

import importlib.util
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning.utilities import rank_zero_only

MODULES: dict[str, Any] = {}


def function_of(file: str, name: str) -> Callable[..., Any]:
    """A function of a test file that need not be on the path."""
    if file not in MODULES:
        spec = importlib.util.spec_from_file_location(Path(file).stem, file)
        assert spec is not None
        assert spec.loader is not None
        MODULES[file] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(MODULES[file])
    return getattr(MODULES[file], name)


def on_rank(
    rank: int, world_size: int, function: Callable[..., Any], arguments: list[Any], folder: str
) -> None:
    """Calls the function as one process of a group, which Lightning takes for its own."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": world_size}
    os.environ.update({name: str(value) for name, value in place.items()})
    rank_zero_only.rank = rank
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=world_size,
        timeout=timedelta(minutes=5),
    )
    torch.save(function(*arguments), Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def forked(rank: int, *call: Any) -> int:
    """Process id of a fork that calls :func:`on_rank` and ends."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            on_rank(rank, *call)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return process


def all_succeed(processes: set[int]) -> bool:
    """Whether all end with 0; one that does not takes the others, who wait for it, with it."""
    succeeded = True
    while processes:
        process, status = os.wait()
        processes.discard(process)
        if status != 0 and succeeded:
            succeeded = False
            for other in processes:
                os.kill(other, signal.SIGKILL)
    return succeeded


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        count, file, name, arguments, cache, folder = json.loads(line)
        os.environ["AVLOC_CACHE"] = cache  # that of the test, which may be younger than this
        call = (count, function_of(file, name), arguments, folder)
        processes = {forked(rank, *call) for rank in range(count)}
        print("done" if all_succeed(processes) else "failed", flush=True)


if __name__ == "__main__":
    main()
