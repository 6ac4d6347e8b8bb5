"""Tables for people at a terminal; imported only when one is printed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from benchmark.records import (
    BOXES,
    Checkpoint,
    Difference,
    Figures,
    Interval,
    ProtocolFigures,
    Record,
)
from benchmark.settings import flat

NONE = "-"
SHOWN_FIRST = ("ciou@0.5", "ciou@0.3", "auc", "pixel_ap", "pointing")
NOT_SHOWN = ("iou@0.5", "mean_iou")  # they repeat ciou@0.5 and, nearly, auc
FIELD_KEYS = ("ciou@0.5", "auc")
ROOM, CELL = 98, 11  # characters beside the names of the rows on a terminal of 120, of an interval
SWAP = "swap_"  # before the key of a metric: its value with the sounds of other clips
COMPARED = ("ciou@0.5", "pixel_ap", "segment_acc")


class _Column(NamedTuple):
    """One metric under one protocol."""

    header: str
    board: ProtocolFigures
    key: str


def run_table(record: Record) -> RenderableType:
    """What a run found, for its user: scores beside floors and ceiling, differences, counts."""
    parts: list[RenderableType] = list(_scores(record))
    if any(record.comparisons.values()):
        parts.append(_differences(record))
    of_maps = {name: board for name, board in record.protocols.items() if name != BOXES}
    if any(key in board.metrics for board in of_maps.values() for key in FIELD_KEYS):
        title = "the same maps under rules of the field, in %"
        parts.append(_boards_table(title, record.method, of_maps))
    if BOXES in record.protocols:
        of_boxes = {BOXES: record.protocols[BOXES]}
        parts.append(_boards_table("boxes beside the maps, in %", record.method, of_boxes))
    parts.append(_facts(record))
    return Group(*parts)


def _scores(record: Record) -> Iterator[Table]:
    """All metrics, in as many tables as it takes for the columns to stay readable."""
    board = ProtocolFigures(record.metrics, record.ci95, record.floors, record.ceiling)
    title = f"{record.method} on {record.data}, protocol {record.protocol}, in %"
    for place, keys in enumerate(_fitting(_shown(record.metrics))):
        columns = [_Column(key, board, key) for key in keys]
        further = ", further metrics" if place else ""
        table = _figures_table(title + further, record.method, columns)
        if any(key in record.skill for key in keys):
            table.add_row("skill", *(percent_cell(record.skill.get(key)) for key in keys))
        yield table


def _fitting(keys: Sequence[str]) -> list[list[str]]:
    """Keys in groups whose columns fit beside each other."""
    groups: list[list[str]] = [[]]
    room = ROOM
    for key in keys:
        width = max(len(key), CELL) + 2
        if groups[-1] and width > room:
            groups.append([])
            room = ROOM
        groups[-1].append(key)
        room -= width
    return groups


def _boards_table(title: str, method: str, boards: Mapping[str, ProtocolFigures]) -> Table:
    columns = [
        _Column(f"{name} {key}", board, key) for name, board in boards.items() for key in FIELD_KEYS
    ]
    return _figures_table(title, method, columns)


def _figures_table(title: str, method: str, columns: Sequence[_Column]) -> Table:
    """Method with its intervals, floors and ceiling, one column per metric."""
    table = titled_table(title, ("", *(column.header for column in columns)))
    scores = (percent_cell(column.board.metrics.get(column.key)) for column in columns)
    table.add_row(method, *scores, style="bold")
    intervals = (interval_cell(column.board.ci95.get(column.key)) for column in columns)
    table.add_row("95 % interval", *intervals)
    swapped = [column.board.metrics.get(f"{SWAP}{column.key}") for column in columns]
    if any(value is not None for value in swapped):
        table.add_row("swapped sounds", *map(percent_cell, swapped))
    measured = (
        name
        for column in columns
        for name, floor in column.board.floors.items()
        if column.key in floor.metrics
    )
    for name in dict.fromkeys(measured):
        cells = (_floor_cell(column.board.floors.get(name), column.key) for column in columns)
        table.add_row(f"floor {name}", *cells)
    table.add_row(
        "ceiling", *(percent_cell(column.board.ceiling.get(column.key)) for column in columns)
    )
    return table


def _differences(record: Record) -> Table:
    table = titled_table(
        f"{record.method} minus ..., paired by clip, in points",
        ("", "metric", "mean", "95 % interval", "clips", "verdict"),
    )
    for kind, differences in record.comparisons.items():
        for key in (key for key in COMPARED if key in differences):
            difference = differences[key]
            table.add_row(
                _opponent(kind, difference),
                key,
                f"{100 * difference.difference:+.1f}",
                f"{100 * difference.low:.1f} to {100 * difference.high:.1f}",
                str(difference.n),
                _verdict(difference),
            )
    return table


def _opponent(kind: str, difference: Difference) -> str:
    name = {"best_floor": "best floor", "swap": "swapped sounds"}.get(kind, kind.replace("_", " "))
    return f"{name} ({difference.against})" if kind == "best_floor" else name


def _verdict(difference: Difference) -> str:
    if difference.low > 0:
        return "[green]better[/]"
    return "[red]worse[/]" if difference.high < 0 else "[yellow]not told apart[/]"


def _facts(record: Record) -> Table:
    """Counts and notes, one per line."""
    table = Table.grid(padding=(0, 2))
    for name, fact in _fact_lines(record):
        table.add_row(f"[dim]{escape(name)}[/]", escape(fact))
    return table


def _fact_lines(record: Record) -> Iterable[tuple[str, str]]:
    status = "; ".join((record.status, *record.reasons))
    yield "status", status if record.status == "complete" else f"{status} (not ranked)"
    yield "test clips", f"{record.n} scored of {record.n_expected}{_gaps(record)}"
    if record.checkpoint is not None:
        yield from _checkpoint_lines(record.checkpoint, record)
    elif "train" in record.splits:
        train = record.train
        gaps = f", {len(train.missing)} missing, {len(train.unreadable)} unreadable"
        yield "training clips", f"{record.splits['train'].n} used{gaps}"
        yield "leakage", _leakage(record)
    yield from _accumulated(record)
    for name, value in sorted(record.notes.items()):
        yield name.replace("_", " "), f"{value:.3f}"
    for note in record.data_notes:
        yield "data", note
    took = record.seconds
    yield "seconds", f"{took.train:.0f} train, {took.test:.0f} test, {took.total:.0f} in all"


def _checkpoint_lines(checkpoint: Checkpoint, record: Record) -> Iterator[tuple[str, str]]:
    """The file that was tested, what it tells and what is known of its training."""
    told = ", ".join(f"{name} {value}" for name, value in checkpoint.facts.items())
    yield "weights", f"{checkpoint.kind}, {checkpoint.network}, sha256 {checkpoint.sha256[:12]}"
    yield "file", told
    if checkpoint.trained_on is None:
        yield "leakage", "not known: the training list is not; name it with --trained-on LIST"
    else:
        listed = record.lists["train"]
        yield "leakage", f"{_leakage(record)} ({listed.name}, {listed.n} clips)"
    for note in checkpoint.notes:
        yield "weights", note


def _accumulated(record: Record) -> Iterable[tuple[str, str]]:
    """What a step is where it is more than a batch."""
    settings = dict(flat(record.config))
    together, size = settings.get("trainer.accumulate", 1), settings.get("data.batch_size")
    if together != 1:
        yield (
            "batch",
            f"gradients of {together} batches averaged in a step; negatives of {size} clips alone",
        )


def _gaps(record: Record) -> str:
    counts = {
        "missing": record.missing,
        "unreadable": record.unreadable,
        "excluded, nothing marked": record.excluded,
    }
    return "".join(f", {len(ids)} {word}" for word, ids in counts.items() if ids)


def _leakage(record: Record) -> str:
    leakage = record.leakage
    if not leakage.clips and not leakage.videos:
        return "no test clip in the training list"
    found = f"{leakage.clips} test clips of {leakage.videos} videos in the training list"
    used = f"trained on {leakage.trained_on} clips of {leakage.trained_on_videos} videos"
    return f"{found}, {leakage.removed} removed, {used}"


def titled_table(title: str, header: Sequence[str]) -> Table:
    """An empty table; every column but the first is aligned to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left")
    return table


def _shown(metrics: Mapping[str, float]) -> list[str]:
    """Keys in the order of interest; unknown ones last, by name."""
    others = sorted(metrics.keys() - {*SHOWN_FIRST, *NOT_SHOWN})
    own = [key for key in others if not key.startswith(SWAP)]
    return [key for key in SHOWN_FIRST if key in metrics] + own


def _floor_cell(figures: Figures | None, key: str) -> str:
    if figures is None:
        return NONE
    spread = f" ± {percent_cell(figures.spread[key])}" if key in figures.spread else ""
    return f"{percent_cell(figures.metrics.get(key))}{spread}"


def interval_cell(interval: Interval | None) -> str:
    """An interval of fractions in percent, or a dash."""
    return NONE if interval is None else f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f}"


def percent_cell(fraction: float | None) -> str:
    """A fraction in percent with one decimal, or a dash."""
    return NONE if fraction is None else f"{100 * fraction:.1f}"
