"""The one error type that a user's mistake raises anywhere in the suite, and its suggestions."""

import difflib
from collections.abc import Iterable


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
