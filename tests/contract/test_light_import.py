"""Listing names and reading help loads nothing heavy."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

HEAVY = {
    "torch", "pytorch_lightning", "torchvision", "torchaudio", "torchmetrics", "timm", "numpy",
    "scipy", "pandas", "rich", "omegaconf", "yaml", "cv2", "matplotlib", "wandb", "faiss",
    "submitit", "jinja2",
}  # fmt: skip
LIST_MODULES = """
import contextlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()):
    try:
        from benchmark.cli import main
        code = main(sys.argv[1:])
    except SystemExit as stop:
        code = stop.code
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


@pytest.mark.parametrize(
    "words",
    [
        ("list", "methods"),
        ("list", "data", "--json"),
        ("list", "protocols"),
        ("list", "experiments"),
        ("list",),
        ("--help",),
        ("run", "--help"),
        ("launch", "--help"),
        ("prepare", "--help"),
        ("predict", "--help"),
        ("report", "--help"),
        ("--version",),
    ],
    ids=" ".join,
)
def test_a_light_command_loads_no_heavy_package(
    words: tuple[str, ...], python: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    done = python("-c", LIST_MODULES, *words, cwd=tmp_path)

    code, loaded = json.loads(done.stdout)
    assert code == 0
    assert HEAVY.isdisjoint(loaded)


@pytest.mark.parametrize(
    "words", [("leaderboard", "--format", "md"), ("add", "--check")], ids=" ".join
)
def test_what_only_reads_records_does_without_torch(
    words: tuple[str, ...], python: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    done = python("-c", LIST_MODULES, *words, "--results", tmp_path, cwd=tmp_path)

    code, loaded = json.loads(done.stdout)
    assert code == 0
    assert "numpy" in loaded
    assert not {"torch", "pytorch_lightning", "omegaconf", "rich", "matplotlib"} & set(loaded)
