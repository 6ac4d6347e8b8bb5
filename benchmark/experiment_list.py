"""Names, tables and sources of the shipped experiments, for what must not load a YAML reader."""

import re
from pathlib import Path
from typing import NamedTuple

from metrics.errors import BenchError

EXPERIMENTS = Path(__file__).parent / "experiments"
LINE = re.compile(r"^(source|table): (?:'((?:[^']|'')*)'|([^'\"|>&*#\s][^#\n]*))$", re.MULTILINE)
"""A key of an experiment with its text on the same line, plain or in single quotes."""


class Listed(NamedTuple):
    """One experiment as ``bench list`` shows it."""

    name: str  # of the file
    table: str  # as the paper calls it
    source: str  # paper and page


def experiment_names() -> list[str]:
    """Names of the tables that are shipped."""
    return sorted(path.stem for path in EXPERIMENTS.glob("*.yaml"))


def listed_experiments() -> list[Listed]:
    """All shipped tables by name; the files are not checked further.

    Raises:
        BenchError: a file cannot be read, or does not give its table and source on a line each.
    """
    return [_listed(EXPERIMENTS / f"{name}.yaml") for name in experiment_names()]


def _listed(path: Path) -> Listed:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path} cannot be read ({error}); install the package again") from error
    found = {
        key: quoted.replace("''", "'") or plain.strip() for key, quoted, plain in LINE.findall(text)
    }
    for key in Listed._fields[1:]:
        if not found.get(key):
            raise BenchError(f"{path}: write {key} and its text on one line")
    return Listed(path.stem, found["table"], found["source"])
