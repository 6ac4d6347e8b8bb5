"""One of two gloo processes: calls functions of test files and stores what they return.

Run as a script by the fixture ``on_two_processes``, since test files are not importable by name.
It reads one JSON line ``[file, function, folder]`` per call and answers ``done``.
"""

import importlib.util
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def function_of(file: str, name: str) -> Callable[[], Any]:
    """A function of a test file that need not be on the path."""
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def main(rendezvous: str, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{rendezvous}",
        rank=rank,
        world_size=2,
        timeout=timedelta(minutes=5),
    )
    for line in sys.stdin:
        file, function, folder = json.loads(line)
        torch.save(function_of(file, function)(), Path(folder) / f"{rank}.pt")
        print("done", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
