"""Tables of ``bench score`` for people at a terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from benchmark.score import Board
from benchmark.tables import interval_cell, percent_cell, titled_table
from metrics.breakdown import Group
from metrics.scoring import Scores

NONE = "-"
FIRST = ("ciou@0.5", "segment_acc")  # the first that there is stands beside several protocols
SIDE_BY_SIDE = ("auc",)  # with more, twelve protocols do not fit into 100 columns
GROUP_KEYS = ("auc", "pixel_ap")
REPEATED = "iou@0.5"  # the same number as ciou@0.5
WORTH = ("best floor", "ceiling", "skill")
MARK = "*"  # of an oracle


def score_tables(boards: Sequence[Board], name: str) -> RenderableType:
    """One table of all metrics where there is one protocol, else the protocols side by side.

    Floors, ceiling and skill have columns only where they were wanted.

    Args:
        boards: one per protocol.
        name: of what was scored, for the title.
    """
    parts: list[RenderableType] = []
    parts.append(_all_metrics(boards[0], name) if len(boards) == 1 else _protocols(boards, name))
    parts += [_groups(board, by) for board in boards for by in board.groups]
    parts.append(_facts(boards))
    return Lines(*parts)


def _all_metrics(board: Board, name: str) -> Table:
    scores = board.scores
    swap = [] if board.swapped is None else ["swapped sounds"]
    table = titled_table(
        f"{escape(name)} on {board.data}, protocol {_named(board)}, in %",
        ("", "score", "95 % interval", *swap, *_worth_header(board)),
    )
    for key, value in scores.metrics.items():
        if key == REPEATED:
            continue
        swapped = [] if board.swapped is None else [percent_cell(board.swapped.metrics.get(key))]
        table.add_row(
            key,
            f"[bold]{percent_cell(value)}[/]",
            interval_cell(scores.ci95.get(key)),
            *swapped,
            *_worth(board, key),
        )
    return table


def _protocols(boards: Sequence[Board], name: str) -> Table:
    first = _first(boards[0])
    table = titled_table(
        f"{escape(name)} on {boards[0].data} under {len(boards)} protocols, in %",
        ("", "n", first, "95 % interval", *_worth_header(boards[0]), *SIDE_BY_SIDE),
    )
    for board in boards:
        metrics = board.scores.metrics
        table.add_row(
            _named(board),
            str(board.scores.n),
            f"[bold]{percent_cell(metrics.get(first))}[/]",
            interval_cell(board.scores.ci95.get(first)),
            *_worth(board, first),
            *(percent_cell(metrics.get(key)) for key in SIDE_BY_SIDE),
        )
    return table


def _first(board: Board) -> str:
    return next((key for key in FIRST if key in board.scores.metrics), FIRST[0])


def _named(board: Board) -> str:
    return board.scores.protocol + (MARK if board.protocol.oracle else "")


def _worth_header(board: Board) -> Sequence[str]:
    return WORTH if board.floors else ()


def _worth(board: Board, key: str) -> Iterable[str]:
    """Cells of best floor, ceiling and skill; none where there are no floors."""
    if not board.floors:
        return
    name = board.best_floor.get(key)
    yield NONE if name is None else f"{percent_cell(board.floors[name].metrics[key])} {name}"
    yield percent_cell(board.ceiling.get(key))
    yield percent_cell(board.skill.get(key))


def _groups(board: Board, by: str) -> Table:
    first = _first(board)
    table = titled_table(
        f"by {by}, protocol {_named(board)}, in %",
        (by, "n", first, "95 % interval", *GROUP_KEYS),
    )
    for group in board.groups[by]:
        table.add_row(escape(group.name), str(group.n), *_group_cells(group, first))
    return table


def _group_cells(group: Group, first: str) -> Iterable[str]:
    yield percent_cell(group.metrics.get(first))
    yield interval_cell(group.ci95.get(first))
    yield from (percent_cell(group.metrics.get(key)) for key in GROUP_KEYS)


def _facts(boards: Sequence[Board]) -> Table:
    """Counts, notes and times, one per line."""
    grid = Table.grid(padding=(0, 2))
    for name, fact in _fact_lines(boards):
        grid.add_row(f"[dim]{escape(name)}[/]", escape(fact))
    return grid


def _fact_lines(boards: Sequence[Board]) -> Iterable[tuple[str, str]]:
    yield "samples", _samples(boards)
    for board in boards:
        counted = _counted(board.scores)
        if counted:
            yield board.scores.protocol, counted
    if any(board.protocol.oracle for board in boards):
        yield MARK, "looks at the answer, as no method can"
    if len(boards) == 1:
        yield from (("note", line) for line in boards[0].published)
    else:
        yield from (("published on", line) for line in _published_lists(boards))
    for note in boards[0].notes:
        yield "note", note
    yield from (("note", line) for board in boards for line in (*board.assumed, *board.escapes))
    yield "seconds", _seconds(boards)


def _samples(boards: Sequence[Board]) -> str:
    first = boards[0].scores
    numbers = sorted({board.scores.n for board in boards})
    scored = " to ".join(dict.fromkeys((str(numbers[0]), str(numbers[-1]))))
    parts = {"missing": first.missing, "with the source off screen": first.negatives}
    gaps = "".join(f", {len(ids)} {word}" for word, ids in parts.items() if ids)
    return f"{scored} scored of {first.n_expected}{gaps}"


def _counted(scores: Scores) -> str:
    """Samples that a rule of the protocol treats apart."""
    parts = {
        "excluded, nothing marked": scores.excluded,
        "undefined (0/0), counted as misses": scores.undefined,
        "constant maps": scores.constant_maps,
    }
    words = [f"{len(ids)} {word}" for word, ids in parts.items() if ids]
    if scores.partial:
        words.append("too few samples to cross-fit a threshold"
                     + (", 0.5 was used" if scores.thresholds is not None else ""))  # fmt: skip
    return "; ".join(words)


def _published_lists(boards: Sequence[Board]) -> Iterable[str]:
    """What the sources of the protocols scored, one line per list."""
    names: dict[str, list[str]] = {}
    for board in boards:
        of_source = board.protocol.lists.get(board.data)
        if of_source is not None:
            names.setdefault(of_source, []).append(board.scores.protocol)
    yield from (f"{of_source}: {', '.join(found)}" for of_source, found in names.items())


def _seconds(boards: Sequence[Board]) -> str:
    words = {"scores": "for scores", "floors": "for floors and ceiling, kept for the next time"}
    return ", ".join(
        f"{sum(board.seconds[key] for board in boards):.1f} {word}"
        for key, word in words.items()
        if key in boards[0].seconds
    )
