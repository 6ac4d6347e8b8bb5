"""The four packages import one way, and importing any of their modules has no effect."""

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("metrics", "datamodules", "methods", "benchmark")  # each may import those before it
MODULES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def imported_packages(path: Path) -> Iterator[str]:
    """First names of everything that a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide the layer"
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    above = set(LAYERS[LAYERS.index(layer) + 1 :])

    assert above.isdisjoint(imported_packages(path))


def test_no_module_reads_other_packages_of_the_checkout() -> None:
    assert all("tests" not in set(imported_packages(path)) for path in MODULES)


IMPORT_ALL = """
import importlib, json, logging, os, signal, sys, warnings
import numpy, torch
from importlib.metadata import entry_points  # what Lightning reads when it is imported
import cv2, matplotlib, omegaconf, pytorch_lightning, timm, torchvision  # cv2 sets variables

def state():
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(numpy.random.get_state()),
        "environment": dict(os.environ),
        "threads": torch.get_num_threads(),
        "dtype": str(torch.get_default_dtype()),
        "folder": os.getcwd(),
        "warnings": repr(warnings.filters),
        "handlers": repr(logging.getLogger().handlers),
        "signals": [repr(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM)],
    }

before = state()
files = {os.path.join(top, name) for top, _, names in os.walk(".") for name in names}
for module in sys.argv[1:]:
    importlib.import_module(module)
after = state()
made = {os.path.join(top, name) for top, _, names in os.walk(".") for name in names} - files
print(json.dumps({"changed": [k for k in before if before[k] != after[k]], "made": sorted(made)}))
"""


def test_importing_every_module_has_no_effect(
    python: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
    ]

    done = python("-c", IMPORT_ALL, *names, cwd=tmp_path, home=tmp_path)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"changed": [], "made": []}
