"""Networks that are compiled while they train: ``trainer.compile``."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from metrics.errors import BenchError


@contextmanager
def compiled(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Compiles networks at their first call in here; afterwards they are as before.

    Their weights keep their names, so checkpoints fit either way, and what is tested or predicted
    with trained weights is never compiled.
    """
    compile_networks(networks)
    try:
        yield
    finally:
        for network in networks:
            del network.forward


def compile_networks(networks: Sequence[nn.Module]) -> None:
    """Compiles networks at their first call, and leaves them so."""
    for network in networks:
        network.forward = torch.compile(network.forward, options={"layout_optimization": False})


def require_compiler(name: str, networks: Sequence[nn.Module]) -> None:
    """Raises BenchError where a method has nothing to compile, or nothing compiles here.

    Args:
        name: of the method.
        networks: of it.
    """
    if not networks:
        raise BenchError(
            f"trainer.compile=true compiles the streams of a method, and {name} with these "
            "settings has none; set trainer.compile=false"
        )
    compiler = cpp_compiler()
    if shutil.which(compiler) is None:
        raise BenchError(
            f"trainer.compile=true needs a C++ compiler, and there is no {compiler} here; install "
            "one, name yours by the variable CXX, or set trainer.compile=false"
        )


def cpp_compiler() -> str:
    """The command that torch.compile calls (torch/_inductor/config.py: ``cpp.cxx``)."""
    usual = "clang++" if sys.platform == "darwin" else "g++"
    return (os.environ.get("CXX", "").split() or [usual])[0]
