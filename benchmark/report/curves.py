"""Success curves of a board: the share of clips found, over how much a map must overlap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.figures import RECORDED_AT, THRESHOLDS, counted_success_curve
from benchmark.report.boards import Board
from benchmark.report.found import FoundRun
from benchmark.report.tables import Column, Head, Line, Table, plain_cell
from metrics.floors import best_floor

COLOURS = 6  # rows that are told apart by colour; the others are drawn pale
WIDTH, HEIGHT = 640, 390  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 50, 16, 12, 56
TOLD_AT = tuple(round(0.1 * step, 1) for step in range(1, 10))  # thresholds of the table

Curve = NDArray[np.float64]  # (101,) in [0, 1] at THRESHOLDS


class DrawnCurve(NamedTuple):
    """One line of the drawing; ``colour`` is None for a pale one, and for floors."""

    head: Head
    points: str
    kind: str  # method | floor
    colour: int | None


class Mark(NamedTuple):
    """A floor known at one threshold only."""

    x: float
    y: float
    words: str


@dataclass(frozen=True)
class Curves:
    """The drawing of a board and the same as a table.

    Attributes:
        drawn: from the back to the front.
        marks: the best floor at the thresholds that records hold.
        ceiling: height of the ceiling's line; None where it is not known.
        table: share of clips at some thresholds, for every row.
        without: rows whose scores are not on this disk.
        mapless: how many rows answer no map.
    """

    drawn: tuple[DrawnCurve, ...]
    marks: tuple[Mark, ...]
    ceiling: float | None
    table: Table
    without: tuple[Head, ...]
    mapless: int

    @property
    def listed(self) -> list[DrawnCurve]:
        """Lines with a name of their own in the legend, the best first."""
        return [one for one in reversed(self.drawn) if one.colour is not None]

    @property
    def num_pale(self) -> int:
        """Methods drawn without a colour of their own."""
        return sum(one.kind == "method" and one.colour is None for one in self.drawn)


def curves_of(board: Board, runs: Mapping[str, FoundRun]) -> Curves | None:
    """Success curves of the rows of a board; None where no sample has a place to be found.

    Args:
        board: of the runs.
        runs: those of the board by id, with their scores.

    Raises:
        BenchError: the scores of a run were changed.
    """
    lines: list[Line] = []
    drawn: list[DrawnCurve] = []
    without = []
    mapless = 0
    for row in board.section.rows:
        if not row.first.card.localises:
            mapless += 1
            continue
        found = [curve for one in row.records if (curve := _curve(runs[one.id])) is not None]
        if not found:
            without.append(board.head(row, "../"))
            continue
        place = len(lines)
        colour = place if place < COLOURS else None
        curve = np.mean(found, axis=0)
        lines.append(_line(board.head(row, "../", colour=colour), curve))
        drawn.append(DrawnCurve(lines[-1].head, points_of(curve), "method", colour))
    floors = [
        (Head(f"floor {record.method}"), curve)
        for record in board.section.records
        if record.card.floor and (curve := _curve(runs[record.id])) is not None
    ]
    if not lines and not floors:
        return None
    drawn += [DrawnCurve(head, points_of(curve), "floor", None) for head, curve in floors]
    columns = tuple(Column(f"≥ {bar}") for bar in TOLD_AT)
    caption = "Share of clips with a consensus IoU of at least so much, in percent"
    bounds = tuple(_line(head, curve) for head, curve in floors)
    table = Table("success", caption, columns, tuple(lines), bounds)
    ceiling = board.section.ceiling.get("ciou@0.5")
    height = None if ceiling is None else _y(ceiling)
    return Curves(tuple(reversed(drawn)), _marks(board), height, table, tuple(without), mapless)


def _curve(run: FoundRun) -> Curve | None:
    if run.samples is None or "mean_iou" not in run.samples.columns:
        return None
    ciou, hit = run.samples.columns["mean_iou"], run.samples.columns["ciou@0.5"]
    counted = ~np.isnan(hit)
    return counted_success_curve(ciou, counted) if counted.any() else None


def _line(head: Head, curve: Curve) -> Line:
    rows = [int(np.argmin(np.abs(THRESHOLDS - bar))) for bar in TOLD_AT]
    return Line(head, tuple(plain_cell(float(curve[row])) for row in rows))


def points_of(curve: Sequence[float] | Curve) -> str:
    """Points of a line in the drawing, as an SVG has them.

    Args:
        curve: a value in [0, 1] at each of ``THRESHOLDS``.
    """
    pairs = zip(THRESHOLDS.tolist(), curve, strict=True)
    return " ".join(f"{_x(bar):.1f},{_y(float(value)):.1f}" for bar, value in pairs)


def _x(threshold: float) -> float:
    return round(LEFT + threshold * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def axis_ticks() -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
    """Places and words of the ticks along the threshold and along the share."""
    across = [(_x(step / 5), f"{step / 5:.1f}") for step in range(6)]
    up = [(_y(step / 4), f"{25 * step}") for step in range(5)]
    return across, up


def _marks(board: Board) -> tuple[Mark, ...]:
    """The best floor at each recorded threshold."""
    marks = []
    for bar in RECORDED_AT:
        key = f"ciou@{bar}"
        floors = board.section.floors
        name = best_floor(floors, key)
        if name is not None:
            share = floors[name].metrics[key]
            words = f"best floor at {bar}: {name}, {100 * share:.1f} %"
            marks.append(Mark(_x(bar), _y(share), words))
    return tuple(marks)
