"""The one error type that a user's mistake raises anywhere in the suite, and its suggestions."""

import difflib
from collections.abc import Iterable, Sequence

FEW_CHOICES = 3  # that a message joins by "or"


class BenchError(Exception):
    """Something the user must change; the message names it and the remedy.

    ``benchmark.cli`` prints the message as one line and exits with code 2.
    Every other exception is a fault of ours and keeps its traceback.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion with a leading blank, or nothing.

    Examples:
        >>> did_you_mean("hardpss", ["hardpos", "lvs"])
        ' Did you mean hardpos?'
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def require_choice(setting: str, value: str, known: Sequence[str]) -> None:
    """Raises BenchError where the value of a setting is none of its choices.

    Args:
        setting: dotted name, such as ``method.loss``.
        value: that was given.
        known: all choices.
    """
    if value in known:
        return
    few = len(known) <= FEW_CHOICES
    words = f"{', '.join(known[:-1])} or {known[-1]}" if few else f"one of {', '.join(known)}"
    raise BenchError(f"{setting}={value!r} is unknown;{did_you_mean(value, known)} use {words}")


def first_repeat(names: Iterable[str]) -> str | None:
    """The first name that occurred before, or None.

    Examples:
        >>> first_repeat(["a", "b", "a", "b"])
        'a'
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
