"""Every command that the pages show is one: its options are known and its settings exist."""

import re
import shlex
from pathlib import Path

import pytest

from benchmark.cli import whole_parser
from benchmark.config import compose

DOCS = Path(__file__).parents[2] / "docs"
OF_EXAMPLES = ("my_method", "your_data")  # names that the reader's own package gives


def shown_commands() -> list[str]:
    """Lines of code blocks that call `bench`, each once."""
    found = []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for block in re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL):
            found += [line.removeprefix("uv run ") for line in block.splitlines()]
    return list(dict.fromkeys(line for line in found if line.startswith("bench ")))


@pytest.mark.parametrize("line", shown_commands())
def test_a_shown_command_is_understood(line: str) -> None:
    words = shlex.split(line.partition(" #")[0])[1:]

    options, rest = whole_parser().parse_known_args(words)

    assert options.verb is not None
    assert [] == [word for word in rest if word.startswith("-")]
    assert options.takes_settings or not rest
    methods, data = getattr(options, "method", None), getattr(options, "data", None)
    if options.verb in ("run", "show", "launch") and methods and data:
        for method in [methods] if isinstance(methods, str) else methods:
            for name in [data] if isinstance(data, str) else data:
                if method not in OF_EXAMPLES and name not in OF_EXAMPLES:
                    compose(method, name, overrides=rest, preset=options.preset)


def test_there_are_commands_to_look_at() -> None:
    assert len(shown_commands()) > 50
