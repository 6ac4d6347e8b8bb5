"""A paper's table beside ours, and its claimed orderings answered clip by clip.

Our figures are the mean over seeds of the accepted records and the finished runs that have the
settings of a row. All of them are percentages here, as the papers print them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from benchmark.compare import compare
from benchmark.experiment import (
    Claim,
    Experiment,
    Row,
    StoredRun,
    require_known_data,
    row_config,
    run_of,
    stored_runs,
    unavailable,
)
from benchmark.markdown import markdown_table
from benchmark.ranking import over_seeds
from benchmark.records import BOXES, Figures, ProtocolFigures, Record
from benchmark.settings import flat
from metrics.scoring import LOWER_IS_BETTER

OWN_PROTOCOL = "bench-v1"  # of Record.metrics and of scores.csv
NONE = "-"
FIGURE = re.compile(r"-|[-+]?\d[\d.]*( .*)?")  # a number, perhaps with its spread and interval
V = TypeVar("V")
Verdict = Literal["agrees", "disagrees", "cannot tell"]


@dataclass(frozen=True)
class Mean:
    """One metric over the seeds of a row, in percent."""

    mean: float
    sd: float | None  # from seed to seed, or from draw to draw of a floor; None for one seed
    low: float | None  # mean ends of the seeds' 95 % intervals
    high: float | None


@dataclass(frozen=True)
class FilledRow:
    """A row of the paper with what our runs make of it; empty where nothing was run."""

    row: Row
    label: str
    runs: tuple[StoredRun, ...] = ()  # one per seed
    unavailable: str | None = None
    ours: dict[str, Mean] = field(default_factory=dict)  # under the paper's protocol
    own: dict[str, Mean] = field(default_factory=dict)  # under OWN_PROTOCOL
    difference: dict[str, float] = field(default_factory=dict)  # ours - published, in points
    weights: tuple[str, ...] = ()  # what the runs were given as weights, each different one

    @property
    def n(self) -> int | None:
        """Scored test clips of every run; the fewest, should they differ."""
        return min((run.record.n for run in self.runs), default=None)


@dataclass(frozen=True)
class AnsweredClaim:
    """What our runs say to an ordering that the paper claims.

    The difference, better minus worse, is in points: per clip the mean over seeds, over the clips
    that both rows scored, with its 95 % interval.
    """

    claim: Claim
    answer: Verdict
    reason: str = ""
    n: int | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper, filled."""

    experiment: Experiment
    on: str | None
    rows: tuple[FilledRow, ...]
    claims: tuple[AnsweredClaim, ...]
    settings: tuple[str, ...] = ()  # of all rows on these data, beside what their labels tell

    def bounds(self, protocol: str) -> dict[str, dict[str, dict[str, float]]]:
        """Floors and ceiling, in percent: data set of our runs -> name -> metric.

        Where runs of one data set scored different numbers of clips, those of the fullest count.
        """
        runs = [run.record for filled in self.rows for run in filled.runs]
        records = [one for one in runs if protocol in (one.protocol, *one.protocols)]
        found = {}
        for data in sorted({record.data for record in records}):
            fullest = max((r for r in records if r.data == data), key=lambda record: record.n)
            board = figures_under(fullest, protocol)
            named = {f"floor {name}": floor.metrics for name, floor in sorted(board.floors.items())}
            found[data] = {
                name: {key: 100 * metrics[key] for key in self.experiment.metrics if key in metrics}
                for name, metrics in {**named, "ceiling": board.ceiling}.items()
            }
        return found


def paper_table(
    experiment: Experiment, results: Path, runs: Path, *, on: str | None = None
) -> PaperTable:
    """The table of an experiment out of all records that belong to its rows.

    Args:
        experiment: the paper's table.
        results: folder of the accepted records.
        runs: folder of the run folders; a run that was not accepted counts too.
        on: ``synthetic`` for the same rows on those data, or None for the paper's.

    Raises:
        BenchError: a record or its scores are not valid, or ``on`` is another data set.
    """
    require_known_data(on)
    return filled_table(experiment, stored_runs(results, runs), results, on=on)


def filled_table(
    experiment: Experiment, stored: Sequence[StoredRun], results: Path, *, on: str | None = None
) -> PaperTable:
    """:func:`paper_table` out of runs that were read already; ``results`` names their scores."""
    settings = _of_all_rows(experiment, on)
    rows = {
        row.id: _filled(experiment, row, stored, on, _label(row, on, settings))
        for row in experiment.rows
    }
    answers = tuple(_answered(claim, rows, results) for claim in experiment.claims)
    return PaperTable(experiment, on, tuple(rows.values()), answers, settings)


def _changes(row: Row, on: str | None) -> tuple[str, ...]:
    """Settings that a row has on these data only."""
    return row.on_synthetic.overrides if on is not None and on != row.data else ()


def _of_all_rows(experiment: Experiment, on: str | None) -> tuple[str, ...]:
    """Settings that each of several rows has on these data only, in the order of the first."""
    changes = [_changes(row, on) for row in experiment.rows if row.not_built is None]
    if len(changes) < 2:
        return ()
    return tuple(word for word in changes[0] if all(word in other for other in changes))


def _label(row: Row, on: str | None, settings: Sequence[str]) -> str:
    own = [word for word in _changes(row, on) if word not in settings]
    return row.label + (f" ({', '.join(own)})" if own else "")


def _filled(
    experiment: Experiment,
    row: Row,
    stored: Sequence[StoredRun],
    on: str | None,
    label: str,
) -> FilledRow:
    reason = unavailable(row, on)
    if reason is not None:
        return FilledRow(row, label, unavailable=reason)
    config = row_config(experiment, row, row.seeds[0], on=on)  # composing takes most of the time
    found = [run_of(config.with_seed(seed), stored, free=experiment.weights) for seed in row.seeds]
    runs = tuple(run for run in found if run is not None)
    ours = means(runs, experiment.protocol, experiment.metrics)
    own = means(runs, OWN_PROTOCOL, experiment.metrics)
    expected = experiment.test_clips.get(row.data)
    comparable = on is None and all(run.record.n_expected == expected for run in runs)
    shared = [key for key in row.published if key in ours and comparable]
    difference = {key: ours[key].mean - row.published[key] for key in shared}
    return FilledRow(row, label, runs, None, ours, own, difference, _weights(experiment, runs))


def _weights(experiment: Experiment, runs: Sequence[StoredRun]) -> tuple[str, ...]:
    """Which weights the runs started from, in words: one entry per different choice."""
    chosen = []
    for run in runs:
        held = dict(flat(run.record.config))
        given = {key: held[key] for key in experiment.weights if held.get(key) is not None}
        chosen.append(" ".join(f"{key}={value}" for key, value in given.items()) or "none")
    return tuple(dict.fromkeys(chosen))


def means(runs: Sequence[StoredRun], protocol: str, keys: Sequence[str]) -> dict[str, Mean]:
    """Metrics under a protocol over runs that differ in their seed, where any of them has them."""
    boards = [figures_under(run.record, protocol) for run in runs]
    found = {}
    for key in keys:
        measured = over_seeds(boards, key)
        if measured is not None:
            low, high = measured.interval or (None, None)
            drawn = _spread_of_draws(runs, boards, key)
            found[key] = Mean(
                mean=100 * measured.value,
                sd=drawn if measured.spread is None else 100 * measured.spread,
                low=None if low is None else 100 * low,
                high=None if high is None else 100 * high,
            )
    return found


def _spread_of_draws(
    runs: Sequence[StoredRun], boards: Sequence[ProtocolFigures], key: str
) -> float | None:
    """Standard deviation over the draws of a floor that draws, in percent; else None."""
    if len(runs) != 1:
        return None
    own = boards[0].floors.get(runs[0].record.method)
    return None if own is None or key not in own.spread else 100 * own.spread[key]


def figures_under(record: Record, protocol: str) -> ProtocolFigures:
    """What a record holds under a protocol; nothing where it was not scored under it.

    Boxes are no maps, which thresholds cut, so theirs are the same under every protocol.
    """
    found = record.protocols.get(protocol, ProtocolFigures({}, {}, {}, {}))
    if record.protocol == protocol:
        found = ProtocolFigures(record.metrics, record.ci95, record.floors, record.ceiling)
    return _with_boxes(found, record.protocols.get(BOXES))


def _with_boxes(board: ProtocolFigures, boxes: ProtocolFigures | None) -> ProtocolFigures:
    """A board of maps with the metrics of boxes beside those of the maps, as ``boxes_<key>``."""
    if boxes is None:
        return board

    def named(figures: Mapping[str, V]) -> dict[str, V]:
        return {f"{BOXES}_{key}": value for key, value in figures.items()}

    floors = {name: Figures(named(one.metrics), named(one.ci95), named(one.spread))
              for name, one in boxes.floors.items()}  # fmt: skip
    return ProtocolFigures(
        metrics=board.metrics | named(boxes.metrics),
        ci95=board.ci95 | named(boxes.ci95),
        floors=board.floors | floors,
        ceiling=board.ceiling | named(boxes.ceiling),
    )


def _answered(claim: Claim, rows: Mapping[str, FilledRow], results: Path) -> AnsweredClaim:
    """Paired bootstrap over the clips that both rows scored."""
    better, worse = rows[claim.better], rows[claim.worse]
    lacking = [reason for side in (better, worse) for reason in _lacking(side, claim.metric)]
    tested_on = {run.record.splits["test"].sha256 for run in (*better.runs, *worse.runs)}
    if not lacking and len(tested_on) > 1:
        lacking = ["the rows have different test lists"]
    if lacking:
        return AnsweredClaim(claim, "cannot tell", "; ".join(lacking))
    a, b = (",".join(str(run.scores) for run in side.runs) for side in (better, worse))
    found = compare(a, b, results, metrics=[claim.metric]).metrics[claim.metric]
    low, high = found.ci95
    above, below = low > 0, high < 0
    if claim.metric in LOWER_IS_BETTER:
        above, below = below, above
    answer: Verdict = "agrees" if above else "disagrees" if below else "cannot tell"
    reasons = ["the interval holds 0"] if answer == "cannot tell" else []
    reasons += [
        f"{side.row.id} has {len(side.runs)} of {len(side.row.seeds)} seeds"
        for side in (better, worse)
        if len(side.runs) < len(side.row.seeds)
    ]
    return AnsweredClaim(
        claim=claim,
        answer=answer,
        reason="; ".join(reasons),
        n=found.wins + found.losses + found.ties,
        difference=100 * found.difference,
        low=100 * low,
        high=100 * high,
    )


def _lacking(side: FilledRow, metric: str) -> list[str]:
    """Why a row's clips cannot be compared; nothing where they can."""
    if side.unavailable is not None:
        return [f"{side.row.id} is not available"]
    if not side.runs:
        return [f"{side.row.id} has no run"]
    absent = [run.record.id for run in side.runs if not run.scores.exists()]
    if absent:
        return [f"the scores of {', '.join(absent)} are missing"]
    foreign = [run.record.id for run in side.runs if run.record.protocol != OWN_PROTOCOL]
    if foreign:
        return [f"{', '.join(foreign)} was not scored under {OWN_PROTOCOL}"]
    unknown = [
        run.record.id
        for run in side.runs
        if metric not in figures_under(run.record, OWN_PROTOCOL).metrics
    ]
    return [f"{', '.join(unknown)} has no {metric}"] if unknown else []


def table_json(table: PaperTable) -> dict[str, object]:
    """The table as plain JSON values; figures in percent, differences in points."""
    experiment = table.experiment
    return {
        "experiment": experiment.name,
        "source": experiment.source,
        "table": experiment.table,
        "protocol": experiment.protocol,
        "on": table.on,
        "unit": "percent",
        "note": experiment.note,
        "settings": list(table.settings),
        "rows": [_row_json(row) for row in table.rows],
        "bounds": {name: table.bounds(name) for name in (experiment.protocol, OWN_PROTOCOL)},
        "claims": [claim_json(answer) for answer in table.claims],
    }


def _row_json(filled: FilledRow) -> dict[str, object]:
    return {
        "id": filled.row.id,
        "label": filled.label,
        "published": filled.row.published,
        "published_spread": filled.row.published_spread,
        "ours": {key: asdict(mean) for key, mean in filled.ours.items()},
        "difference": filled.difference,
        OWN_PROTOCOL: {key: asdict(mean) for key, mean in filled.own.items()},
        "n": filled.n,
        "seeds": [run.record.seed for run in filled.runs],
        "records": [run.record.id for run in filled.runs],
        "not_accepted": [run.record.id for run in filled.runs if not run.accepted],
        "unavailable": filled.unavailable,
        "weights": list(filled.weights),
    }


def claim_json(answer: AnsweredClaim) -> dict[str, object]:
    """An answered claim as plain JSON values."""
    values = asdict(answer)
    return {**values.pop("claim"), "protocol": OWN_PROTOCOL, **values}


class Block(NamedTuple):
    """One part of the page."""

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]


def table_view(table: PaperTable) -> RenderableType:
    """The table for people at a terminal."""
    parts: list[RenderableType] = [escape(table.experiment.source), ""]
    parts += [block_view(block) for block in _blocks(table)]
    return Group(*parts, *(escape(line) for line in _notes(table)))


def block_view(block: Block) -> RenderableType:
    """One part of a page for people at a terminal."""
    view = Table(title=escape(block.title), title_justify="left", title_style="bold",
                 box=box.SIMPLE_HEAD)  # fmt: skip
    for place, name in enumerate(block.header):
        figures = all(FIGURE.fullmatch(line[place]) for line in block.lines)
        view.add_column(escape(name), justify="right" if figures else "left")
    for line in block.lines:
        view.add_row(*map(escape, line))
    return view


def table_markdown(table: PaperTable) -> str:
    """The table as Markdown, the same bytes for the same records."""
    parts = [f"# {table.experiment.table}\n\n{table.experiment.source}\n"]
    for block in _blocks(table):
        parts.append(f"{block.title}:\n\n{markdown_table(block.header, block.lines)}")
    return "\n".join([*parts, "\n".join(f"- {line}" for line in _notes(table)) + "\n"])


def _blocks(table: PaperTable) -> list[Block]:
    is_own = table.experiment.protocol == OWN_PROTOCOL  # then the other block says the same
    blocks = [_paper_block(table), *([] if is_own else [_own_block(table)])]
    if table.claims:
        blocks.append(claims_block(table))
    blocks.append(_records_block(table))
    return [block for block in blocks if block.lines]


def _paper_block(table: PaperTable) -> Block:
    """Published beside ours, under the paper's protocol; ours alone where nothing is printed."""
    keys = table.experiment.metrics
    printed = {key for filled in table.rows for key in filled.row.published}
    header = [""]
    for key in keys:
        header += [f"{key} published", "ours", "difference"] if key in printed else [key]
    lines = []
    for filled in table.rows:
        cells = [filled.label]
        for key in keys:
            cells += _published_cells(filled, key) if key in printed else [
                mean_cell(filled.ours.get(key))
            ]  # fmt: skip
        lines.append([*cells, NONE if filled.n is None else str(filled.n)])
    for name, figures in _named_bounds(table, table.experiment.protocol):
        cells = [name]
        for key in keys:
            beside = [NONE] if key in printed else []
            cells += [*beside, _figure_cell(figures.get(key)), *beside]
        lines.append([*cells, NONE])
    where = "" if table.on is None else f", ours on {table.on}"
    return Block(
        f"{table.experiment.table}, protocol {table.experiment.protocol}, in %{where}",
        (*header, "n"),
        lines,
    )


def _published_cells(filled: FilledRow, key: str) -> list[str]:
    difference = filled.difference.get(key)
    return [
        _published_cell(filled.row.published.get(key), filled.row.published_spread.get(key)),
        mean_cell(filled.ours.get(key)),
        NONE if difference is None else f"{difference:+.1f}",
    ]


def _named_bounds(table: PaperTable, protocol: str) -> Iterable[tuple[str, dict[str, float]]]:
    """Floors and ceiling by name, and by data set where there are several."""
    bounds = table.bounds(protocol)
    for data, named in bounds.items():
        for name, figures in named.items():
            yield (name if len(bounds) == 1 else f"{name}, {data}"), figures


def _own_block(table: PaperTable) -> Block:
    keys = table.experiment.metrics
    rows = [
        [
            filled.label,
            *(mean_cell(filled.own.get(key)) for key in keys),
            f"{len(filled.runs)} of {len(filled.row.seeds)}",
        ]
        for filled in table.rows
        if filled.runs
    ]
    bounds = [
        [name, *(_figure_cell(figures.get(key)) for key in keys), NONE]
        for name, figures in _named_bounds(table, OWN_PROTOCOL)
    ]
    title = f"The same runs, protocol {OWN_PROTOCOL}, in %"
    return Block(title, ("", *keys, "seeds"), [*rows, *bounds])


def claims_block(table: PaperTable) -> Block:
    """The orderings that a paper claims, and what our runs say to each."""
    return Block(
        f"Orderings that are claimed, answered under {OWN_PROTOCOL} by paired differences in "
        "points",
        ("claim", "better than", "metric", "difference", "n", "answer", "because"),
        [
            [
                answer.claim.text,
                f"{answer.claim.better} > {answer.claim.worse}",
                answer.claim.metric
                + (", lower is better" if answer.claim.metric in LOWER_IS_BETTER else ""),
                _difference_cell(answer),
                NONE if answer.n is None else str(answer.n),
                answer.answer,
                answer.reason or NONE,
            ]
            for answer in table.claims
        ],
    )


def _records_block(table: PaperTable) -> Block:
    return Block(
        "Records",
        ("row", "seed", "record"),
        [
            [
                filled.row.id,
                str(run.record.seed),
                run.record.id + ("" if run.accepted else " (not accepted yet)"),
            ]
            for filled in table.rows
            for run in filled.runs
        ],
    )


def _notes(table: PaperTable) -> Iterable[str]:
    yield table.experiment.note
    yield (
        "Ours is the mean over seeds ± their standard deviation (for random over draws), in "
        "brackets the mean ends of their 95 % intervals over clips; - where nothing was run."
    )
    if table.settings:
        yield f"On {table.on} every row has {', '.join(table.settings)}."
    if table.on is not None:
        yield f"Numbers on {table.on} cannot be compared with the published ones, so no difference."
    for filled in table.rows:
        if table.experiment.weights and filled.weights not in ((), ("none",)):
            yield f"{filled.row.id} was given these weights: {'; '.join(filled.weights)}."
        if filled.unavailable is not None:
            yield f"{filled.row.id} is not available: {filled.unavailable}"


def _figure_cell(percent: float | None) -> str:
    return NONE if percent is None else f"{percent:.1f}"


def _published_cell(percent: float | None, spread: float | None) -> str:
    """As printed, with as many decimals."""
    if percent is None:
        return NONE
    cell = _figure_cell(percent) if percent == round(percent, 1) else f"{percent:g}"
    return cell if spread is None else f"{cell} ± {spread:g}"


def mean_cell(mean: Mean | None) -> str:
    """A mean with its spread over seeds and its interval, or a dash."""
    if mean is None:
        return NONE
    spread = "" if mean.sd is None else f" ± {mean.sd:.1f}"
    interval = "" if mean.low is None else f" [{mean.low:.1f}, {mean.high:.1f}]"
    return f"{mean.mean:.1f}{spread}{interval}"


def _difference_cell(answer: AnsweredClaim) -> str:
    if answer.difference is None:
        return NONE
    return f"{answer.difference:+.1f} [{answer.low:.1f}, {answer.high:.1f}]"
