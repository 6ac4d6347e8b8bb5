"""What a launch shows while it goes on and when it has ended."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape

from benchmark.jobs import QUEUED, RUNNING
from benchmark.launch import DONE, FAILED, SKIPPED, WAITING, Cell, Launch, grid_hash
from benchmark.tables import COMPARED, NONE, titled_table

ORDER = (RUNNING, QUEUED, FAILED, WAITING, DONE, SKIPPED)
LINES_BESIDE = 8  # of the terminal, that are not cells: title, header, borders, counts


@contextmanager
def progress_of(launch: Launch) -> Iterator[Callable[[], None]]:
    """Shows a launch on standard error: a table on a terminal, else a line for each change.

    Yields:
        A function to be called after each look at the jobs.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _changes(launch)
        return
    with Live(console=console, transient=True, auto_refresh=False) as live:
        yield lambda: live.update(_view(launch, console.height - LINES_BESIDE), refresh=True)


def _changes(launch: Launch) -> Callable[[], None]:
    told: dict[str, tuple[str, int]] = {}
    console = Console(stderr=True, width=1000)  # a line stays one line

    def tell() -> None:
        for cell in launch.cells:
            progress = launch.of(cell)
            state = (progress.state, progress.attempts)
            if told.get(cell.hash) == state or progress.state == WAITING:
                continue
            told[cell.hash] = state
            console.print(f"{cell.name}: {state_words(launch, cell)}", markup=False,
                          highlight=False, soft_wrap=True)  # fmt: skip

    return tell


def state_words(launch: Launch, cell: Cell) -> str:
    """The state of a cell in a line."""
    progress = launch.of(cell)
    if progress.state == SKIPPED:
        return f"skipped, {progress.record} has it"
    if progress.state == DONE:
        return f"done, {progress.record}, {_score(launch, cell)}"
    if progress.state == FAILED:
        return f"failed: {progress.error}; its log: {launch.log(cell)}"
    if progress.job is None:
        return progress.state
    again = f", stopped {progress.stops} times before" if progress.stops else ""
    return f"{progress.state}, job {progress.job}{again}"


def _view(launch: Launch, most: int) -> RenderableType:
    """The cells that something happens to, as many as fit, and how many there are of each."""
    table = titled_table(f"launch {launch.folder}", ("cell", "state", "last word"))
    cells = sorted(launch.cells, key=lambda cell: ORDER.index(launch.of(cell).state))
    for cell in cells[: max(1, most)]:
        state = launch.of(cell).state
        table.add_row(escape(cell.name), state, escape(_newest(launch, cell)))
    return Group(table, counted(launch))


def _newest(launch: Launch, cell: Cell) -> str:
    progress = launch.of(cell)
    if progress.state in (DONE, SKIPPED):
        return _score(launch, cell)
    return progress.error or launch.last_line(cell)


def launch_table(launch: Launch) -> RenderableType:
    """Every cell with its outcome."""
    table = titled_table("launched runs", ("cell", "state", "score in %", "record or error"))
    for cell in launch.cells:
        progress = launch.of(cell)
        words = progress.record or progress.error or ""
        table.add_row(escape(cell.name), progress.state, _score(launch, cell), escape(words))
    return Group(table, *_failures(launch), counted(launch))


def _failures(launch: Launch) -> Iterator[str]:
    for cell in launch.having(FAILED):
        yield escape(f"{cell.name}: see {launch.log(cell)}")


def counted(launch: Launch) -> str:
    """How many cells there are in each state."""
    counts = Counter(launch.of(cell).state for cell in launch.cells)
    return ", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state])


def _score(launch: Launch, cell: Cell) -> str:
    """The first metric that records are compared by."""
    record = launch.record(cell)
    if record is None:
        return NONE
    key = next((key for key in COMPARED if key in record.metrics), None)
    return NONE if key is None else f"{key} {100 * record.metrics[key]:.1f}"


def launch_json(launch: Launch, unavailable: dict[str, str]) -> dict[str, Any]:
    """A launch for other programs.

    Args:
        launch: that has ended.
        unavailable: why rows of an experiment cannot be run, by their ids.
    """
    cells = []
    for cell in launch.cells:
        progress, record = launch.of(cell), launch.record(cell)
        cells.append(
            {
                "cell": cell.name,
                "method": cell.config.method_name,
                "data": cell.config.data_name,
                "seed": cell.config.seed,
                "hash": cell.hash,
                "state": progress.state,
                "attempts": progress.attempts,
                "record": progress.record,
                "metrics": None if record is None else dict(record.metrics),
                "error": progress.error,
                "log": str(launch.log(cell)) if launch.log(cell).exists() else None,
            }
        )
    return {"grid": grid_hash(launch.cells), "out": str(launch.folder),
            "executor": launch.jobs.name, "cells": cells, "unavailable": unavailable}  # fmt: skip
