"""Commands that sentences mention exist, with the options that they are given."""

import argparse
import re
from pathlib import Path

import pytest

from benchmark.cli import whole_parser

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]


def mentioned() -> list[str]:
    """What stands between backticks in running text and begins with `bench` and a verb."""
    found = []
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        found += re.findall(r"`(?:uv run )?bench ([a-z][^`]*)`", text)
    return sorted(set(found))


@pytest.fixture(scope="module")
def verbs() -> dict[str, argparse.ArgumentParser]:
    (choices,) = [
        action.choices
        for action in whole_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    return dict(choices)


@pytest.mark.parametrize("mention", mentioned())
def test_a_mentioned_command_has_its_verb_and_options(
    mention: str, verbs: dict[str, argparse.ArgumentParser]
) -> None:
    verb, *words = mention.split()

    assert verb in verbs
    options = {option for action in verbs[verb]._actions for option in action.option_strings}
    assert {word for word in words if word.startswith("--")} <= options


def test_there_are_commands_to_look_at() -> None:
    assert len(mentioned()) > 60
