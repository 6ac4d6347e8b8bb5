"""The tutorials show the files of the examples, and commands that run."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = ("your_method", "your_data")
LINES_OF_THE_TITLE = 60


def blocks(name: str, language: str) -> list[str]:
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_shows_the_file_of_its_example(name: str) -> None:
    file = ROOT / "examples" / name / f"{name}.py"

    assert [file.read_text(encoding="utf-8")] == blocks(name, "python")


def test_the_method_has_as_few_lines_as_its_title_says() -> None:
    text = (ROOT / "examples" / "your_method" / "your_method.py").read_text(encoding="utf-8")

    assert len([line for line in text.splitlines() if line.strip()]) <= LINES_OF_THE_TITLE


def test_the_starting_file_is_written_by_the_command_that_is_shown(
    bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    (commands,) = blocks("your_method", "console")
    new, install, check, run = commands.splitlines()

    done = bench(*shlex.split(new.removeprefix("uv run bench ")))

    assert done.code == 0
    folder = Path(install.removeprefix("uv pip install -e "))
    assert (folder / f"{folder.name}.py").is_file()
    assert [] == list((tmp_path / "checkout").iterdir())
    for line, told in zip((install, check, run), done.out.splitlines()[-3:], strict=True):
        assert told.endswith(line.removeprefix("uv run "))
