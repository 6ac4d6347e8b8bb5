"""All methods and released networks side by side, under one protocol and under each one's own.

Our figures are means over the seeds of the accepted records and the finished runs. What a
repository publishes stands beside them as printed, from ``benchmark/field.yaml``. All of them are
percentages.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from benchmark.experiment import StoredRun, stored_runs
from benchmark.markdown import markdown_table
from benchmark.paper_table import (
    NONE,
    OWN_PROTOCOL,
    Mean,
    figures_under,
    mean_cell,
    means,
)
from benchmark.published import KEYS, UNKNOWN, Field, Network
from benchmark.ranking import changed_settings, started_from, truth_settings, variant_key
from benchmark.records import is_ranked
from benchmark.registry import DATA_REGISTRY
from benchmark.settings import flat
from metrics.errors import BenchError, did_you_mean

BOUNDED = ("ciou@0.5", "slavc_ap", "segment_acc")  # the floors of the first that a section has
WIDEST_LABEL = 28  # columns of a terminal in which a method's settings may break


@dataclass(frozen=True)
class Bounds:
    """What a map can score under a protocol without hearing, and at most."""

    floors: dict[str, dict[str, float]]  # name -> metric -> percent
    ceiling: dict[str, float]


@dataclass(frozen=True)
class FieldRow:
    """Runs of one method in one variant, or a published network, or both."""

    label: str
    method: str
    protocol: str | None  # the method's own
    guidance: str
    weights: str
    training: str
    leaked: int | None  # test clips in the training list; None where that is not known
    leaked_videos: int | None = None  # videos in it that have test clips
    runs: tuple[StoredRun, ...] = ()  # one per seed
    network: Network | None = None
    bench: dict[str, Mean] = field(default_factory=dict)
    own: dict[str, Mean] = field(default_factory=dict)

    @property
    def n(self) -> int | None:
        """Scored test clips of every run; the fewest, should they differ."""
        return min((run.record.n for run in self.runs), default=None)

    @property
    def published(self) -> Mapping[str, float]:
        """What the network's source prints."""
        return {} if self.network is None else self.network.published

    @property
    def command(self) -> str | None:
        """What scores a run under its own protocol; None where its record has that, or none."""
        if not self.runs or self.protocol is None or self.own:
            return None
        run = self.runs[0]
        place = f"runs/{run.record.id}" if run.accepted else run.scores.parent
        return f"bench score --predictions {place} --protocol {self.protocol}"


@dataclass(frozen=True)
class FieldSection:
    """All that may be compared: one data set, test list and truth."""

    data: str
    test: str  # name, count and hash of the list, in words
    rows: tuple[FieldRow, ...]
    bounds: dict[str, Bounds]  # protocol -> floors and ceiling

    @property
    def keys(self) -> tuple[str, ...]:
        """Metrics that any row has."""
        return tuple(
            key
            for key in KEYS
            if any(key in {**row.bench, **row.own, **row.published} for row in self.rows)
        )


@dataclass(frozen=True)
class FieldTable:
    """The field, filled."""

    field: Field
    sections: tuple[FieldSection, ...]


def field_table(known: Field, results: Path, runs: Path, *, data: str | None = None) -> FieldTable:
    """The field out of all ranked records and all that is published.

    Args:
        known: of :func:`read_field`.
        results: folder of the accepted records.
        runs: folder of the run folders; a run that was not accepted counts too.
        data: this data set alone; all if None.

    Raises:
        BenchError: a record is not valid, or no data set has that name.
    """
    if data is not None and data not in DATA_REGISTRY.names():
        names = DATA_REGISTRY.names()
        raise BenchError(
            f"unknown data set {data!r}.{did_you_mean(data, names)} Run bench list data."
        )
    groups: dict[tuple[str, ...], list[StoredRun]] = defaultdict(list)
    for run in _latest(stored_runs(results, runs)):
        if data in (None, run.record.data):
            groups[_place(run)].append(run)
    sections = []
    told: set[str] = set()  # data sets whose published networks stand in a section
    for place in sorted(groups, key=lambda each: (each[0], -_clips(groups[each]), each)):
        name = place[0]
        networks = [] if name in told else [each for each in known.networks if each.data == name]
        sections.append(_section(known, groups[place], networks))
        told.add(name)
    for name in dict.fromkeys(each.data for each in known.networks):
        if name not in told and data in (None, name):
            networks = [each for each in known.networks if each.data == name]
            rows = sorted((_published_row(known, network) for network in networks), key=_rank)
            sections.append(FieldSection(name, "no run so far", tuple(rows), {}))
    return FieldTable(known, tuple(sorted(sections, key=lambda section: section.data)))


def _latest(stored: Iterable[StoredRun]) -> list[StoredRun]:
    """Ranked runs, the latest of each variant and seed."""
    latest = {}
    for run in stored:
        if is_ranked(run.record)[0]:
            latest[(*_place(run), variant_key(run.record), run.record.seed)] = run
    return list(latest.values())


def _place(run: StoredRun) -> tuple[str, ...]:
    """What runs share whose figures can be compared."""
    record = run.record
    test = record.splits["test"]
    return record.data, test.name, test.sha256, truth_settings(record)


def _clips(runs: Sequence[StoredRun]) -> int:
    return runs[0].record.splits["test"].n


def _section(known: Field, runs: Sequence[StoredRun], networks: Sequence[Network]) -> FieldSection:
    data, name, sha256, truth = _place(runs[0])
    variants: dict[str, list[StoredRun]] = defaultdict(list)
    for run in runs:
        if not run.record.card.floor:
            variants[variant_key(run.record)].append(run)
    left = list(networks)
    rows = []
    for members in variants.values():
        network = _network_of(members[0], left, known)
        if network is not None:
            left.remove(network)
        rows.append(_row(known, members, network))
    rows += [_published_row(known, network) for network in left]
    words = f"{name}, {_clips(runs)} clips, sha256 {sha256[:8]}{', ' * bool(truth)}{truth}"
    return FieldSection(data, words, tuple(sorted(rows, key=_rank)), _bounds(known, runs))


def _rank(row: FieldRow) -> tuple[bool, float, str, str]:
    """Best run first; what is only published after the runs, by what it prints."""
    value = next((row.bench[key].mean for key in KEYS if key in row.bench), 0.0)
    printed = next((row.published[key] for key in KEYS if key in row.published), 0.0)
    return not row.runs, -(value if row.runs else printed), row.label, row.training


def _row(known: Field, runs: Sequence[StoredRun], network: Network | None) -> FieldRow:
    record = runs[0].record
    ordered = tuple(sorted(runs, key=lambda run: run.record.seed))
    protocol = known.protocol_of(record.method)
    trained = "train" in record.splits
    leaked, leaked_videos = max(
        (run.record.leakage.trained_on, run.record.leakage.trained_on_videos) for run in runs
    ) if trained else (None, None)  # fmt: skip
    training = UNKNOWN
    if trained:
        split, listed = record.splits["train"], record.lists.get("train")
        training = f"{split.name if listed is None else listed.name}, {split.n} clips"
    elif network is not None:
        training, leaked = network.training, known.leaked(network)
    return FieldRow(
        label=_label(ordered[0]),
        method=record.method,
        protocol=protocol,
        guidance="yes" if record.card.object_guidance else "no",
        weights=_weights(ordered[0]),
        training=training,
        leaked=leaked,
        leaked_videos=leaked_videos,
        runs=ordered,
        network=network,
        bench=means(ordered, OWN_PROTOCOL, KEYS),
        own={} if protocol is None else means(ordered, protocol, KEYS),
    )


def _published_row(known: Field, network: Network) -> FieldRow:
    return FieldRow(
        label=network.label + ("" if network.test is None else f" ({network.test})"),
        method=network.method,
        protocol=known.protocol_of(network.method),
        guidance=network.guidance,
        weights=network.weights,
        training=network.training,
        leaked=known.leaked(network),
        network=network,
    )


def _label(run: StoredRun) -> str:
    """Method with the file that was tested and what its user changed."""
    changed = [*_tested_file(run), *changed_settings(run.record)]
    return run.record.method + (f" ({', '.join(changed)})" if changed else "")


def _tested_file(run: StoredRun) -> list[str]:
    """What tells one tested file of weights from another, and how it sees and hears."""
    checkpoint, settings = run.record.checkpoint, dict(flat(run.record.config))
    if checkpoint is None:
        return []
    front_end = settings.get("method.front_end")
    return [f"file {checkpoint.sha256[:8]}", *([f"{front_end} front-end"] if front_end else [])]


def _weights(run: StoredRun) -> str:
    """What a run started from, or whose weights it tested."""
    checkpoint = run.record.checkpoint
    if checkpoint is not None:
        return "released checkpoint" if checkpoint.kind == "released" else "weights of a run"
    return started_from(run.record)


def _network_of(run: StoredRun, networks: Sequence[Network], known: Field) -> Network | None:
    """The published network that a run repeats: the same method, guidance and training list.

    A released checkpoint does not say what it was trained on, so it is one only where there is no
    other that it could be.
    """
    record = run.record
    guided = "yes" if record.card.object_guidance else "no"
    alike = [
        each
        for each in networks
        if each.method == record.method and each.test is None and each.guidance in (guided, UNKNOWN)
    ]
    if "train" not in record.splits:
        return alike[0] if len(alike) == 1 else None
    trained_on = record.lists["train"].sha256 if "train" in record.lists else None
    lists = {each.id for each in known.lists if each.sha256 is not None and
             each.sha256 == trained_on}  # fmt: skip
    return next((each for each in alike if each.trained_on in lists), None)


def _bounds(known: Field, runs: Sequence[StoredRun]) -> dict[str, Bounds]:
    """Floors and ceiling under every protocol that the runs of a section need."""
    needed = [known.protocol_of(run.record.method) for run in runs]
    names = sorted({name for name in needed if name is not None} - {OWN_PROTOCOL})
    found = {}
    for protocol in (OWN_PROTOCOL, *names):
        boards = [(run, figures_under(run.record, protocol)) for run in runs]
        boards = [(run, board) for run, board in boards if board.metrics]
        if not boards:
            continue
        _, fullest = min(boards, key=lambda pair: (-pair[0].record.n, pair[0].record.id))
        floors = {name: _percent(floor.metrics) for name, floor in fullest.floors.items()}
        own = {run.record.method: _percent(board.metrics) for run, board in boards
               if run.record.card.floor}  # fmt: skip
        found[protocol] = Bounds(dict(sorted({**own, **floors}.items())), _percent(fullest.ceiling))
    return found


def _percent(metrics: Mapping[str, float]) -> dict[str, float]:
    return {key: 100 * metrics[key] for key in KEYS if key in metrics}


def field_json(table: FieldTable) -> dict[str, object]:
    """The table as plain JSON values; figures in percent, null where something is not known."""
    return {
        "unit": "percent",
        "protocol": OWN_PROTOCOL,
        "sections": [_section_json(section) for section in table.sections],
        "training_lists": [asdict(each) for each in table.field.lists],
    }


def _section_json(section: FieldSection) -> dict[str, object]:
    return {
        "data": section.data,
        "test": section.test,
        "bounds": {name: asdict(bounds) for name, bounds in section.bounds.items()},
        "rows": [_row_json(row) for row in section.rows],
    }


def _row_json(row: FieldRow) -> dict[str, object]:
    return {
        "label": row.label,
        "method": row.method,
        OWN_PROTOCOL: {key: asdict(mean) for key, mean in row.bench.items()},
        "own_protocol": row.protocol,
        "own": {key: asdict(mean) for key, mean in row.own.items()},
        "own_missing": row.command,
        "guidance": {"yes": True, "no": False}.get(row.guidance),
        "weights": row.weights,
        "training": row.training,
        "leaked": row.leaked,
        "leaked_videos": row.leaked_videos,
        "n": row.n,
        "seeds": [run.record.seed for run in row.runs],
        "records": [run.record.id for run in row.runs],
        "not_accepted": [run.record.id for run in row.runs if not run.accepted],
        "published": None if row.network is None else asdict(row.network),
    }


class _Block(NamedTuple):
    """One part of the page."""

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]


def field_view(table: FieldTable) -> RenderableType:
    """The table for people at a terminal."""
    parts: list[RenderableType] = []
    for section in table.sections:
        parts.append(f"[bold]{escape(_title(section))}[/]\n")
        for block in _blocks(section):
            view = Table(title=escape(block.title), title_justify="left", title_style="bold",
                         box=box.SIMPLE_HEAD)  # fmt: skip
            for place, name in enumerate(block.header):
                wide = 0 if place else WIDEST_LABEL
                view.add_column(escape(name), overflow="fold", min_width=wide)
            for line in block.lines:
                view.add_row(*map(escape, line))
            parts.append(view)
        parts += [escape(line) for line in _commands(section)]
    return Group(*parts, *map(escape, NOTES))


def field_markdown(table: FieldTable) -> str:
    """The table as Markdown, the same bytes for the same records."""
    parts = ["# The field\n"]
    for section in table.sections:
        parts.append(f"## {_title(section)}\n")
        parts += [f"{block.title}:\n\n{markdown_table(block.header, block.lines)}"
                  for block in _blocks(section)]  # fmt: skip
        commands = [f"- {line}\n" for line in _commands(section)]
        parts += ["".join(commands)] if commands else []
    return "\n".join([*parts, "".join(f"- {line}\n" for line in NOTES)])


NOTES = (
    "Ours is the mean over seeds ± their standard deviation, in brackets the mean ends of their "
    "95 % intervals over clips; published values stand as printed, without an interval.",
    "Test clips in the training list: ? is not known, which is not none.",
    "Guided maps are mixed with those of a network that never hears; ? where the source does not "
    "say which of its maps it prints.",
    "A published value and ours can be compared only where list, front-end and protocol agree.",
)


def _title(section: FieldSection) -> str:
    return f"{section.data}: {section.test}"


def _blocks(section: FieldSection) -> list[_Block]:
    blocks = [_bench_block(section), _own_block(section), _published_block(section)]
    return [block for block in blocks if block.lines]


def _bench_block(section: FieldSection) -> _Block:
    keys = section.keys
    lines = [
        [
            row.label,
            *(mean_cell(row.bench.get(key)) for key in keys),
            row.guidance,
            row.weights,
            row.training,
            _leaked_cell(row),
            str(len(row.runs)),
            str(row.n),
        ]
        for row in section.rows
        if row.runs
    ]
    beside = [NONE] * 6
    for name, figures in _named(section.bounds.get(OWN_PROTOCOL)):
        lines.append([name, *(_bound_cell(figures, key) for key in keys), *beside])
    header = ("", *keys, "guided", "weights", "trained on", "test clips in it", "seeds", "n")
    return _Block(f"protocol {OWN_PROTOCOL}, in %", header, lines)


def _own_block(section: FieldSection) -> _Block:
    """Every row under its own protocol, with what is published and what bounds it there."""
    rows = [row for row in section.rows if row.protocol is not None]
    keys = [key for key in section.keys if any(key in {**row.own, **row.published} for row in rows)]
    printed = {key for row in rows for key in row.published}
    bounded = next((key for key in BOUNDED if key in keys), None)
    floors = dict.fromkeys(
        name
        for protocol, bounds in section.bounds.items()
        if protocol != OWN_PROTOCOL
        for name, figures in bounds.floors.items()
        if bounded in figures
    )
    header = ["", "trained on", "protocol"]
    for key in keys:
        header += [f"{key}, ours", f"{key}, published"] if key in printed else [f"{key}, ours"]
    header += [f"floor {name}" for name in floors] + ["ceiling"] * bool(floors)
    lines = []
    for row in rows:
        cells = [row.label, row.training, str(row.protocol)]
        for key in keys:
            beside = [_printed_cell(row, key)] if key in printed else []
            cells += [mean_cell(row.own.get(key)), *beside]
        bounds = section.bounds.get(str(row.protocol), Bounds({}, {}))
        shown = [bounds.floors.get(name, {}) for name in floors] + [bounds.ceiling] * bool(floors)
        lines.append([*cells, *(_bound_cell(each, bounded) for each in shown)])
    of = f"; floors and ceiling of {bounded}" if floors else ""
    return _Block(f"each one's own protocol, in %{of}", header, lines)


def _published_block(section: FieldSection) -> _Block:
    lines = []
    for row in section.rows:
        if row.network is None:
            continue
        known = row.network
        lines.append([
            known.label + ("" if known.test is None else f" ({known.test})"),
            *(_printed_cell(row, key) for key in section.keys),
            known.training,
            _leaked_cell(row),
            known.guidance,
            known.weights,
            known.supervision,
            known.ema,
            known.source,
        ])  # fmt: skip
    header = ("", *(f"{key}, published" for key in section.keys), "trained on", "test clips in it",
              "guided", "weights", "supervision", "averaged weights", "source")  # fmt: skip
    return _Block("published, by its source's own code, in %", header, lines)


def _named(bounds: Bounds | None) -> Iterable[tuple[str, Mapping[str, float]]]:
    if bounds is not None:
        yield from ((f"floor {name}", figures) for name, figures in bounds.floors.items())
        yield "ceiling", bounds.ceiling


def _commands(section: FieldSection) -> list[str]:
    """What would fill the dashes of the own protocols, once for each method."""
    found = {row.method: row for row in reversed(section.rows) if row.command is not None}
    return [
        f"{row.method} is not recorded under its own protocol {row.protocol}: {row.command}"
        for _, row in sorted(found.items())
    ]


def _leaked_cell(row: FieldRow) -> str:
    if row.leaked is None:
        return UNKNOWN
    return f"{row.leaked} ({row.leaked_videos} videos)" if row.leaked_videos else str(row.leaked)


def _bound_cell(figures: Mapping[str, float], key: str | None) -> str:
    percent = None if key is None else figures.get(key)
    return NONE if percent is None else f"{percent:.1f}"


def _printed_cell(row: FieldRow, key: str) -> str:
    """As the sources print it, with two decimals."""
    return f"{row.published[key]:.2f}" if key in row.published else NONE
