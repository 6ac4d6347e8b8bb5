"""Figures of papers, drawn from the scores of each clip that fill the rows of a table."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from benchmark.drawing import INK, PALE_INK
from benchmark.experiment import SYNTHETIC, StoredRun
from benchmark.paper_table import OWN_PROTOCOL, FilledRow, PaperTable, figures_under
from benchmark.records import Record, ScoreTable, read_scores, verified_scores
from datamodules.atomic_files import write_atomically
from datamodules.categories import categories_of
from metrics.errors import BenchError
from metrics.floors import best_floor_value

Column = NDArray[np.float64]

# Okabe and Ito's palette without its yellow, which is too pale for lines; see drawing.py
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("-", "--", ":")  # further rows take the colours again
GREYS = ("#4d4d55", "#85858f", "#b0b0b8")
DPI = 144
THRESHOLDS = np.linspace(0, 1, 101)
RECORDED_AT = (0.3, 0.5)  # thresholds at which records hold floors and ceiling
BINS = 40
PANELS_ACROSS = 2
ALL_CLIPS = "all clips"
WIDE = 8  # times that a curve's axis grows from end to end before it is logarithmic


def draw_figure(table: PaperTable, path: Path) -> None:
    """Writes the figure that a table's experiment declares; equal scores give equal bytes.

    Args:
        table: filled.
        path: of the PNG; written atomically.

    Raises:
        BenchError: the name is no PNG's or cannot be written, or see :func:`figure_of`.
    """
    if path.suffix.lower() != ".png":
        raise BenchError(f"--plot {path} must be named .png, which is what is drawn")
    content = io.BytesIO()
    FigureCanvasAgg(figure_of(table)).print_png(  # type: ignore[no-untyped-call]
        content, metadata={"Software": None}
    )
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise BenchError(
            f"--plot {path} cannot be written ({error.strerror}); name a folder that exists"
        ) from error


def figure_of(table: PaperTable) -> Figure:
    """The figure that a table's experiment declares, out of the rows that have runs.

    Raises:
        BenchError: the experiment declares no figure, nothing was run, or the scores of a run are
            missing, were changed or lack what is drawn.
    """
    experiment = table.experiment
    kinds: Mapping[str, Callable[[PaperTable, Sequence[FilledRow]], Figure]] = {
        "success": _success,
        "onscreen": _onscreen,
        "curve": _curve,
        "categories": _categories,
    }
    if experiment.figure is None:
        raise BenchError(
            f"experiment {experiment.name} has no figure; leave --plot out, or choose one whose "
            "file declares a figure, such as attention_figure9"
        )
    filled = [row for row in table.rows if row.runs]
    if not filled:
        on = "" if table.on is None else f" --on {table.on}"
        raise BenchError(
            f"no row of {experiment.name} has a run to draw; make them with "
            f"bench run --experiment {experiment.name}{on}"
        )
    return kinds[experiment.figure](table, filled)


def counted_success_curve(ciou: Column, counted: NDArray[np.bool_]) -> Column:
    """Share of clips whose consensus IoU reaches each of ``THRESHOLDS``, ``(101,)`` float64.

    Args:
        ciou: ``(N,)`` consensus IoU; NaN (0/0) is a miss at every threshold.
        counted: ``(N,)`` which clips have a place to find.

    Examples:
        >>> is_counted = np.array([True, True, False])
        >>> curve = counted_success_curve(np.array([0.25, 1.0, np.nan]), is_counted)
        >>> curve[[0, 25, 26, 100]].tolist()
        [1.0, 1.0, 0.5, 0.5]
    """
    found = np.where(np.isnan(ciou), -1, ciou)[counted]
    return np.asarray((found[:, None] >= THRESHOLDS - 1e-12).mean(axis=0))


def _scores(run: StoredRun, *names: str) -> ScoreTable:
    """A run's scores, proved to be those of its record, that have the columns to be drawn."""
    verified_scores(run.scores, run.record)
    table = read_scores(run.scores)
    absent = [name for name in names if name not in table.columns]
    if absent:
        raise BenchError(f"{run.scores} has no column {', '.join(absent)} to draw")
    return table


def _columns(run: StoredRun, *names: str) -> list[Column]:
    columns = _scores(run, *names).columns
    return [columns[name] for name in names]


def _success(table: PaperTable, filled: Sequence[FilledRow]) -> Figure:
    """Success ratio over the threshold of consensus IoU, one line per row."""
    figure, ((axes,),) = _panels(table, 1, 1)
    learned = [row for row in filled if not _is_floor(row)]
    floors = [row for row in filled if _is_floor(row)]
    for place, row in enumerate(learned):
        _draw_success(axes, row, _line(place), zorder=3)
    for place, row in enumerate(floors):
        colour = GREYS[place % len(GREYS)]
        _draw_success(axes, row, {"color": colour, "linestyle": (0, (4, 2))}, zorder=2)
    _draw_bounds(axes, filled, drawn={row.row.method for row in floors})
    axes.axvline(0.5, color="#d9d9df", linewidth=1, zorder=1)
    axes.set(xlim=(0, 1), ylim=(0, 102), xlabel="cIoU threshold", ylabel="success ratio (%)")
    _legend(figure)
    _say(figure, filled, "bands reach from the lowest to the highest seed")
    return figure


def _draw_success(axes: Axes, row: FilledRow, style: dict[str, object], zorder: float) -> None:
    """Mean over the seeds, and where they lie."""
    curves = []
    for run in row.runs:
        ciou, hit = _columns(run, "ciou", "hit@0.5")
        curves.append(100 * counted_success_curve(ciou, ~np.isnan(hit)))
    stacked = np.stack(curves)
    axes.plot(THRESHOLDS, stacked.mean(axis=0), label=_label(row), linewidth=2, zorder=zorder,
              **style)  # type: ignore[arg-type]  # fmt: skip
    if len(stacked) > 1:
        axes.fill_between(THRESHOLDS, stacked.min(axis=0), stacked.max(axis=0), alpha=0.18,
                          linewidth=0, color=str(style["color"]), zorder=zorder - 0.5)  # fmt: skip


def _draw_bounds(axes: Axes, filled: Sequence[FilledRow], drawn: set[str]) -> None:
    """Best floor and ceiling at the thresholds that records hold."""
    record = filled[0].runs[0].record
    keys = [f"ciou@{threshold}" for threshold in RECORDED_AT]
    others = {name: floor for name, floor in record.floors.items() if name not in drawn}
    best = [(threshold, 100 * value) for threshold, key in zip(RECORDED_AT, keys, strict=True)
            if (value := best_floor_value(others, key)) is not None]  # fmt: skip
    if best:
        axes.plot(*zip(*best, strict=True), linestyle="none", marker="_",
                  markersize=15, markeredgewidth=2, color=INK, zorder=4,
                  label="best floor that is no line here")  # fmt: skip
    top = [record.ceiling[key] for key in keys if key in record.ceiling]
    if top:
        axes.axhline(100 * max(top), color=PALE_INK, linewidth=1, linestyle=":", zorder=1,
                     label="ceiling")  # fmt: skip


def _onscreen(table: PaperTable, filled: Sequence[FilledRow]) -> Figure:
    """Confidence where the sound is of the frame and where it is not, a panel per row."""
    down = math.ceil(len(filled) / PANELS_ACROSS)
    figure, grid = _panels(table, down, min(len(filled), PANELS_ACROSS))
    panels = [axes for line in grid for axes in line]
    for axes, row in zip(panels, filled, strict=False):
        _draw_confidence(axes, row)
    for axes in panels[len(filled) :]:
        axes.remove()
    panels[0].legend(frameon=False, fontsize=9, labelcolor=INK)
    _say(figure, filled, "dashed lines are medians")
    return figure


def _draw_confidence(axes: Axes, row: FilledRow) -> None:
    parts = [_columns(run, "confidence", "hit@0.5") for run in row.runs]
    confidence = np.concatenate([part[0] for part in parts])
    shown = ~np.isnan(np.concatenate([part[1] for part in parts]))
    if shown.all() or not shown.any():
        raise BenchError(
            f"row {row.row.id}: all its clips are alike, on the screen or off it; its data must "
            "hold both, such as synthetic with data.offscreen=0.3"
        )
    edges = np.histogram_bin_edges(confidence, BINS).tolist()
    kinds = (("sound of the frame", shown, COLOURS[0]), ("sound of none in it", ~shown, COLOURS[1]))
    for words, chosen, colour in kinds:
        share = np.full(chosen.sum(), 100 / chosen.sum())
        axes.hist(confidence[chosen], edges, weights=share, histtype="stepfilled", alpha=0.35,
                  color=colour, label=words)  # fmt: skip
        axes.hist(confidence[chosen], edges, weights=share, histtype="step", color=colour,
                  linewidth=1.5)  # fmt: skip
        axes.axvline(float(np.median(confidence[chosen])), color=colour, linewidth=1.2,
                     linestyle=(0, (3, 2)))  # fmt: skip
    areas = [100 * run.record.metrics["onscreen_auc"] for run in row.runs]
    spread = f" ± {stdev(areas):.1f}" if len(areas) > 1 else ""
    axes.set_title(f"{_label(row)}\nAUC {fmean(areas):.1f}{spread} %", fontsize=10, color=INK,
                   loc="left")  # fmt: skip
    axes.set(xlabel="confidence", ylabel="share of clips (%)")


def _curve(table: PaperTable, filled: Sequence[FilledRow]) -> Figure:
    """The first metric over the x of the rows, a line per method; rows without x across it."""
    key = table.experiment.metrics[0]
    figure, ((axes,),) = _panels(table, 1, 1)
    rows = [row for row in filled if key in row.own]
    if not rows:
        raise BenchError(f"no run of {table.experiment.name} has {key}, which its figure shows")
    placed = [(x, row) for row in rows if (x := _x(table, row)) is not None]
    for place, method in enumerate(dict.fromkeys(row.row.method for _, row in placed)):
        own = [(x, row) for x, row in placed if row.row.method == method]
        own.sort(key=lambda point: point[0])
        _draw_curve(axes, own, key, {**_line(place), "label": method})
    for place, row in enumerate(row for row in rows if _x(table, row) is None):
        axes.axhline(row.own[key].mean, label=_label(row), color=GREYS[place % len(GREYS)],
                     linestyle=(0, (4, 2)), zorder=1)  # fmt: skip
    places = sorted({x for x, _ in placed})
    if len(places) > 1 and min(places) > 0 and max(places) / min(places) > WIDE:
        axes.set_xscale("log")
    axes.set_xticks(places, [f"{x:g}" for x in places])
    axes.minorticks_off()
    axes.set(xlabel=table.experiment.figure_x, ylabel=f"{key} (%)")
    _legend(figure)
    _say(figure, filled, "small dots are seeds")
    return figure


def _draw_curve(
    axes: Axes, own: Sequence[tuple[float, FilledRow]], key: str, style: dict[str, object]
) -> None:
    """Means over seeds, joined, and each seed as a dot."""
    axes.plot([x for x, _ in own], [row.own[key].mean for _, row in own], marker="o", linewidth=2,
              **style)  # type: ignore[arg-type]  # fmt: skip
    found = [(x, figures_under(run.record, OWN_PROTOCOL).metrics) for x, row in own
             for run in row.runs]  # fmt: skip
    dots = [(x, 100 * metrics[key]) for x, metrics in found if key in metrics]
    axes.plot(*zip(*dots, strict=True), linestyle="none", marker="o", markersize=3, alpha=0.5,
              color=str(style["color"]))  # fmt: skip


def _categories(table: PaperTable, filled: Sequence[FilledRow]) -> Figure:
    """The first metric of each category, a bar per row; the best of the last row come first."""
    key = table.experiment.metrics[0]
    values = [[_by_category(run, key) for run in row.runs] for row in filled]
    rows = [(row, _means(runs)) for row, runs in zip(filled, values, strict=True)]
    sizes, last = _sizes([run for runs in values for run in runs]), rows[-1][1]
    order = sorted(sizes, key=lambda name: (-fmean(last.get(name, [-1])), name))
    names = [ALL_CLIPS, *order]
    figure, ((axes,),) = _panels(table, 1, 1, size=(9.0, 1.6 + 0.32 * len(names)))
    thickness = 0.8 / len(rows)
    for place, (row, means) in enumerate(rows):
        shift = (place - (len(rows) - 1) / 2) * thickness
        _draw_bars(axes, [(at + shift, means[name]) for at, name in enumerate(names)
                          if name in means], thickness, _label(row), place)  # fmt: skip
    _draw_segment_floors(axes, filled[-1].runs[0].record, key)
    axes.set_yticks(range(len(names)), [f"{name} ({sizes[name]})" if name in sizes else name
                                        for name in names])  # fmt: skip
    axes.axhline(0.5, color=PALE_INK, linewidth=0.8)  # below what is of all clips
    axes.set(ylim=(len(names) - 0.5, -0.5), xlim=(0, 100), xlabel=f"{key} (%)")
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color="#ececf0", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    floors = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    _legend(figure, [*axes.containers, *floors])
    _say(figure, filled, "small dots are seeds, numbers of clips in brackets")
    return figure


def _draw_bars(
    axes: Axes, bars: Sequence[tuple[float, list[float]]], thickness: float, label: str, place: int
) -> None:
    """A bar as long as the mean over the seeds, and each seed as a dot."""
    colour = COLOURS[place % len(COLOURS)]
    axes.barh([at for at, _ in bars], [fmean(values) for _, values in bars], height=thickness,
              color=colour, label=label, zorder=2)  # fmt: skip
    dots = [(value, at) for at, values in bars if len(values) > 1 for value in values]
    if dots:
        axes.plot(*zip(*dots, strict=True), linestyle="none", marker="o", markersize=2.2,
                  color=INK, alpha=0.6, zorder=4)  # fmt: skip


def _draw_segment_floors(axes: Axes, record: Record, key: str) -> None:
    """What rules that hear and see nothing score on all clips."""
    known = {name: floor.metrics[key] for name, floor in record.floors.items()
             if key in floor.metrics}  # fmt: skip
    for place, (name, value) in enumerate(sorted(known.items())):
        axes.axvline(100 * value, label=f"floor {name}, all clips", color=INK, linewidth=1.2,
                     linestyle=((0, (4, 2)), (0, (1, 1.5)))[place % 2], zorder=3)  # fmt: skip


def _by_category(run: StoredRun, key: str) -> dict[str, Column]:
    """Values of a metric of the clips of each category, and of all clips."""
    table = _scores(run, key)
    settings = cast("Mapping[str, object]", run.record.config.get("data", {}))
    categories = np.array(categories_of(run.record.data, table.ids, settings))
    values = table.columns[key]
    return {ALL_CLIPS: values} | {
        name: values[categories == name] for name in sorted(set(categories.tolist()))
    }


def _means(runs: Sequence[Mapping[str, Column]]) -> dict[str, list[float]]:
    """Means in percent over the scored clips of each category: one for each run that has some."""
    means: dict[str, list[float]] = {}
    for run in runs:
        for name, values in run.items():
            scored = values[~np.isnan(values)]
            if len(scored):
                means.setdefault(name, []).append(100 * float(scored.mean()))
    return means


def _sizes(runs: Sequence[Mapping[str, Column]]) -> dict[str, int]:
    """Clips of each category; the most, should runs have scored different numbers."""
    names = {name for run in runs for name in run if name != ALL_CLIPS}
    return {name: max(len(run.get(name, ())) for run in runs) for name in names}


def _x(table: PaperTable, row: FilledRow) -> float | None:
    moved = table.on == SYNTHETIC and row.row.on_synthetic.x is not None
    return row.row.on_synthetic.x if moved else row.row.x


def _panels(
    table: PaperTable, down: int, across: int, size: tuple[float, float] | None = None
) -> tuple[Figure, list[list[Axes]]]:
    """An empty figure under its title; panels in rows, of a size in inches or of the usual one."""
    usual = (9.0, 5.0) if down * across == 1 else (4.4 * across, 3.3 * down + 0.9)
    figure = Figure(figsize=size or usual, dpi=DPI, facecolor="white", layout="constrained")
    figure.suptitle(
        f"{table.experiment.table}: {table.experiment.source}".partition(", page")[0],
        fontsize=10, color=INK, x=0.02, ha="left", wrap=True, parse_math=False,
    )  # fmt: skip
    grid: list[list[Axes]] = figure.subplots(down, across, squeeze=False).tolist()
    for axes in (axes for line in grid for axes in line):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#ececf0", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=INK, labelsize=9)
    return figure, grid


def _say(figure: Figure, filled: Sequence[FilledRow], words: str) -> None:
    """What was drawn, below it."""
    records = [run.record for row in filled for run in row.runs]
    data = ", ".join(sorted({record.data for record in records}))
    clips = " or ".join(map(str, sorted({record.n for record in records})))
    seeds = ", ".join(map(str, sorted({record.seed for record in records})))
    figure.supxlabel(
        f"{data}, {clips} clips, seeds {seeds}, protocol {OWN_PROTOCOL}; {words}",
        fontsize=8, color=PALE_INK, x=0.98, ha="right", parse_math=False,
    )  # fmt: skip


def _line(place: int) -> dict[str, object]:
    turn, colour = divmod(place, len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": DASHES[turn % len(DASHES)]}


def _legend(figure: Figure, handles: Sequence[Container | Line2D] | None = None) -> None:
    """Beside the one panel, where it hides nothing; all that has a label, or these in order."""
    figure.legend(
        handles=handles, loc="outside right center", frameon=False, fontsize=9, labelcolor=INK
    )


def _label(row: FilledRow) -> str:
    return row.row.label


def _is_floor(row: FilledRow) -> bool:
    return row.runs[0].record.card.floor
