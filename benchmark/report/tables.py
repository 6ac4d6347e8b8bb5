"""Tables as a page holds them: what is read in a cell, and what it is sorted by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmark.ranking import NONE, Claim, Measured, percent
from benchmark.records import Interval


class Standing(NamedTuple):
    """Where a number stands between what is trivial and what is possible, all in [0, 1]."""

    value: float
    low: float
    high: float
    floor: float | None
    ceiling: float | None


class Cell(NamedTuple):
    """A cell: its text, small lines below it, and what it is sorted by; None goes last."""

    text: str
    details: tuple[str, ...] = ()
    sort: float | str | None = None
    is_strong: bool = False
    standing: Standing | None = None


class Head(NamedTuple):
    """The first cell of a line: its name and what tells it from others of that name."""

    name: str
    settings: tuple[str, ...] = ()
    href: str | None = None  # from the page's own folder
    marks: tuple[str, ...] = ()
    colour: int | None = None  # of its line in a drawing


class Column(NamedTuple):
    """A column; ``note`` is a second line of its title, and lines may fall by its values."""

    title: str
    note: str = ""
    is_number: bool = True
    is_sorted: bool = False


class Line(NamedTuple):
    """A row of a table."""

    head: Head
    cells: tuple[Cell, ...]
    supervision: str = ""

    @property
    def words(self) -> str:
        """What a filter looks in."""
        return " ".join((self.head.name, *self.head.settings, *self.head.marks)).lower()


@dataclass(frozen=True)
class Table:
    """A table; ``bounds`` are floors and ceiling, which no sorting moves and no filter hides."""

    name: str  # without spaces, the only one on its page
    caption: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    bounds: tuple[Line, ...] = ()
    first: str = "method"  # title of the first column


def interval_text(interval: Interval | None) -> tuple[str, ...]:
    """The 95 % interval in brackets, in percent; nothing where there is none."""
    if interval is None:
        return ()
    return (f"[{percent(interval[0])}, {percent(interval[1])}]",)


def number_cell(measured: Measured | None) -> Cell:
    """A number in percent with its spread and its interval."""
    if measured is None:
        return Cell(NONE)
    spread = () if measured.spread is None else (f"± {percent(measured.spread)}",)
    details = (*spread, *interval_text(measured.interval))
    return Cell(percent(measured.value), details, measured.value)


def plain_cell(fraction: float | None) -> Cell:
    """A number in percent alone."""
    return Cell(percent(fraction), sort=fraction)


def claim_cell(claim: Claim | None, *, names_opponent: bool = False) -> Cell:
    """A paired difference in percent, strong where every seed's interval lies above 0."""
    if claim is None:
        return Cell(NONE)
    opponent = (", ".join(claim.against),) if names_opponent else ()
    details = (*interval_text(claim.interval), *opponent)
    return Cell(
        f"{100 * claim.difference:+.1f}", details, claim.difference, is_strong=claim.is_sure
    )


def word_cell(words: str) -> Cell:
    """Words, sorted by themselves."""
    return Cell(words, sort=words)


def count_cell(number: int) -> Cell:
    """A count."""
    return Cell(f"{number:,}", sort=number)


def blanks(count: int) -> tuple[Cell, ...]:
    """So many empty cells, where a column has no meaning for a line."""
    return (Cell(""),) * count


def padded(cells: Sequence[Cell], length: int) -> tuple[Cell, ...]:
    """The cells, and as many empty ones as are missing."""
    return (*cells, *blanks(length - len(cells)))
