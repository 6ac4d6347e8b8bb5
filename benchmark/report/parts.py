"""Scores of the parts of a test list, by class and by the size of what is marked."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.ranking import Measured, Row
from benchmark.report.boards import Board
from benchmark.report.found import FoundRun, Samples
from benchmark.report.tables import Column, Head, Line, Table, count_cell, number_cell
from metrics.breakdown import KINDS, Group, group_of, part_names, parts_of
from metrics.protocols import protocol_named
from metrics.truth import Truth

SHOWN = 6  # rows of a board that are broken down
TITLES = {"category": "class", "size": "size of what is marked"}


class Aligned(NamedTuple):
    """One metric of the seeds of a row; ``values`` is ``(seeds, n)``, NaN where it is undefined."""

    ids: tuple[str, ...]
    values: NDArray[np.float64]


def breakdowns(
    board: Board, runs: Mapping[str, FoundRun], truth: Sequence[Truth]
) -> tuple[Table, ...]:
    """A table for each kind of part that the truth tells: a line per part, a column per row.

    Cells hold the mean over the seeds, the standard deviation from seed to seed, and the interval
    of the mean over the seeds of each clip (bootstrap over clips).

    Args:
        board: its best rows are shown.
        runs: those of the board by id, with their scores.
        truth: of the test list.
    """
    rows = [(row, aligned(row, runs, board.leading)) for row in board.section.rows]
    shown = [(row, one) for row, one in rows if one is not None][:SHOWN]
    protocol = protocol_named(board.section.first.protocol)
    tables = []
    for kind in KINDS:
        part_of = parts_of(truth, protocol, kind)
        names = part_names(name for name in part_of.values() if name is not None)
        if shown and len(names) > 1:
            tables.append(_table(board, kind, names, part_of, shown))
    return tuple(tables)


def aligned(row: Row, runs: Mapping[str, FoundRun], key: str) -> Aligned | None:
    """A metric of the clips that every seed of a row scored; None where scores are missing."""
    found: list[Samples] = []
    for record in row.records:
        samples = runs[record.id].samples
        if samples is None or key not in samples.columns:
            return None
        found.append(samples)
    common = sorted(set.intersection(*(set(samples.ids) for samples in found)))
    if not common:
        return None
    values = []
    for samples in found:
        row_of = {clip_id: place for place, clip_id in enumerate(samples.ids)}
        values.append(samples.columns[key][[row_of[clip_id] for clip_id in common]])
    return Aligned(tuple(common), np.stack(values))


def part_group(name: str, members: NDArray[np.bool_], of_row: Aligned, key: str) -> Group:
    """The mean over the seeds of each clip of a part, and its interval."""
    ids = [clip_id for clip_id, is_member in zip(of_row.ids, members, strict=True) if is_member]
    return group_of(name, ids, {key: of_row.values[:, members].mean(axis=0)}, seed=0)


def _table(
    board: Board,
    kind: str,
    names: Sequence[str],
    part_of: Mapping[str, str | None],
    shown: Sequence[tuple[Row, Aligned]],
) -> Table:
    lines = []
    for name in names:
        cells, scored = [], 0
        for _, of_row in shown:
            is_scored = ~np.isnan(of_row.values).any(axis=0)
            members = np.array([part_of.get(each) == name for each in of_row.ids]) & is_scored
            scored = max(scored, int(members.sum()))
            cells.append(number_cell(_measured(name, members, of_row, board.leading)))
        lines.append(Line(Head(name), (count_cell(scored), *cells)))
    columns = [
        Column("clips"),
        *(Column(row.first.method, " ".join(board.own_settings(row))) for row, _ in shown),
    ]
    caption = f"{board.leading} by {TITLES[kind]}, in percent"
    return Table(f"by-{kind}", caption, tuple(columns), tuple(lines), first=TITLES[kind])


def _measured(name: str, members: NDArray[np.bool_], of_row: Aligned, key: str) -> Measured | None:
    group = part_group(name, members, of_row, key)
    if key not in group.metrics:
        return None
    means = of_row.values[:, members].mean(axis=1)
    spread = float(means.std(ddof=1)) if len(means) > 1 else None
    return Measured(group.metrics[key], spread, group.ci95[key])
