"""Tables of ``bench speed`` for people at a terminal."""

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from benchmark.speed.harness import Line, Report
from benchmark.tables import NONE, titled_table

SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
HEADER = ("", "peer per item", "ours per item", "ratio", "target", "verdict")
STYLES = {"reached": "green", "missed": "red", "unequal": "bold red", "failed": "bold red",
          "not judged": "yellow"}  # fmt: skip


def speed_tables(report: Report) -> RenderableType:
    """One table per stage, then claims, notes and the machine."""
    parts: list[RenderableType] = []
    for stage, lines in report.lines.items():
        table = titled_table(f"bench speed {stage}{_quick(report)}", HEADER)
        for line in lines:
            table.add_row(*_cells(line))
        parts += [table, _words(lines)]
    return Group(*parts, _machine(report))


def _quick(report: Report) -> str:
    return ", quick: small inputs, so the times mean nothing" if report.setting.quick else ""


def _cells(line: Line) -> tuple[str, ...]:
    verdict = line.verdict
    return (
        escape(line.name),
        amount_cell(line.peer, line.unit),
        amount_cell(line.ours, line.unit),
        ratio_cell(line),
        NONE if line.target is None else str(line.target),
        f"[{STYLES[verdict]}]{verdict}[/]" if verdict else NONE,
    )


def ratio_cell(line: Line) -> str:
    """Ratio with the sign of multiplication; nothing where the figure is the amount itself."""
    if line.figure is None or not (line.unit.startswith("s/") or line.peer is not None):
        return NONE
    return f"{line.figure:.1f}x" if line.figure >= 1 else f"{line.figure:.2f}x"


def amount_cell(amount: float | None, unit: str) -> str:
    """Amount in a unit that leaves a few digits before the point.

    Examples:
        >>> amount_cell(0.00039, "s/map"), amount_cell(812.0, "B/sample")
        ('390 us/map', '812 B/sample')
    """
    if amount is None:
        return NONE
    kind, _, item = unit.partition("/")
    if kind != "s":
        return f"{amount:,.0f} {unit}" if amount >= 100 else f"{amount:.3g} {unit}"
    size, name = next((scale for scale in SCALES if amount >= scale[0]), SCALES[-1])
    return f"{amount / size:.3g} {name}/{item}"


def _words(lines: tuple[Line, ...]) -> Table:
    """Claims and notes, one per row."""
    grid = Table.grid(padding=(0, 2))
    for line in lines:
        for claim in line.claims:
            sign = "[green]true[/]" if claim.holds else "[bold red]UNTRUE[/]"
            grid.add_row(sign, escape(f"{line.name}: {claim.text}"))
    for line in lines:
        if line.note:
            grid.add_row("[dim]note[/]", escape(f"{line.name}: {line.note}"))
    return grid


def _machine(report: Report) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, value in report.machine.items():
        grid.add_row(f"[dim]{name}[/]", escape(_listed(value)))
    return grid


def _listed(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_listed(one)}" for key, one in value.items())
    return "none" if value is None else str(value)
