"""What the page of one run says: all that its record holds."""

import json
from dataclasses import dataclass
from typing import NamedTuple

from benchmark.file_names import file_name
from benchmark.ranking import FIELD_KEYS, KEYS, measured_in
from benchmark.records import BOXES, Figures, Record, is_ranked
from benchmark.report.again import Again
from benchmark.report.found import FoundRun
from benchmark.report.tables import (
    Cell,
    Column,
    Head,
    Line,
    Table,
    count_cell,
    interval_text,
    number_cell,
    plain_cell,
    word_cell,
)
from benchmark.settings import flat
from metrics.floors import best_floor_value

KINDS = {
    "best_floor": "best floor",
    "swap": "swapped sounds",
    "all_objects": "all objects",
    f"{BOXES}_best_floor": "boxes: best floor of boxes",
    f"{BOXES}_swap": "boxes: swapped sounds",
    f"{BOXES}_map": "boxes: the map",
}
SHOWN_IDS = 200  # of a list of left out samples; the record has all of them


class Fact(NamedTuple):
    """A name and what is known of it; ``is_code`` for what a machine reads."""

    name: str
    words: str
    is_code: bool = False


class IdList(NamedTuple):
    """Samples that were left out, and why, with at most ``SHOWN_IDS`` of them."""

    title: str
    total: int
    ids: tuple[tuple[str, str], ...]  # id and reason


@dataclass(frozen=True)
class RunPage:
    """All that the page of a run shows."""

    run: FoundRun
    facts: tuple[Fact, ...]
    figures: Table
    comparisons: Table | None
    protocols: Table | None
    lists: Table
    left_out: tuple[IdList, ...]
    settings: Table
    environment: tuple[Fact, ...]
    notes: tuple[Fact, ...]
    again: Again

    @property
    def record(self) -> Record:
        """What it is of."""
        return self.run.record

    @property
    def record_name(self) -> str:
        """File of the record beside the page."""
        return f"{file_name(self.record.id)}.json"


def run_page(run: FoundRun, again: Again) -> RunPage:
    """The page of a run.

    Args:
        run: accepted or in a folder.
        again: what makes it again.
    """
    record = run.record
    return RunPage(
        run,
        _facts(record, is_accepted=run.is_accepted),
        _figures(record),
        _comparisons(record),
        _protocols(record),
        _lists(record),
        _left_out(record),
        _settings(record),
        tuple(Fact(name, _plain(value)) for name, value in sorted(record.environment.items())),
        tuple(Fact(name, f"{value:g}") for name, value in sorted(record.notes.items())),
        again,
    )


def _facts(record: Record, *, is_accepted: bool) -> tuple[Fact, ...]:
    ranked, reason = is_ranked(record)
    git = record.git
    commit = "not run from a checkout"
    if git is not None:
        changed = f", with changes of sha256 {git.diff_sha256}" if git.dirty else ", unchanged"
        commit = f"{git.commit}{changed}"
    return (
        Fact("status", "complete, ranked" if ranked else f"not ranked; {reason}"),
        Fact("accepted into the results", "yes" if is_accepted else "no"),
        Fact("paper", record.card.paper or "none"),
        Fact("package", f"{record.distribution.name} {record.distribution.version}"),
        Fact("supervision", record.card.supervision),
        Fact("pretraining of the method", record.card.pretraining),
        Fact("seed", str(record.seed)),
        Fact("test clips scored", f"{record.n} of {record.n_expected}"),
        Fact("data", "; ".join(record.data_notes) or record.data),
        *_tested_file(record),
        *_leaks(record),
        Fact("seconds", f"{record.seconds.train:.0f} training, {record.seconds.test:.0f} test, "
             f"{record.seconds.total:.0f} in all"),
        Fact("git commit", commit, is_code=git is not None),
        Fact("sha256 of the configuration", record.config_hash, is_code=True),
        Fact("sha256 of the scores", record.scores_sha256, is_code=True),
    )  # fmt: skip


def _tested_file(record: Record) -> tuple[Fact, ...]:
    """Whose weights were tested, where nothing was trained."""
    tested = record.checkpoint
    if tested is None:
        return ()
    return (
        Fact("tested weights", f"{tested.kind}, {tested.network}"),
        Fact("sha256 of the weights", tested.sha256, is_code=True),
        Fact("trained on", tested.trained_on or "a list that is not known"),
    )


def _leaks(record: Record) -> tuple[Fact, ...]:
    leak = record.leakage
    if "train" not in record.splits:
        return (Fact("test clips trained on", "not known"),)
    return (
        Fact("training clips that are test clips", _leakage(leak.clips, leak.videos)),
        Fact("left out of training for that", f"{leak.removed} clips"),
        Fact("test clips trained on", _leakage(leak.trained_on, leak.trained_on_videos)),
    )


def _leakage(clips: int, videos: int) -> str:
    return "none" if not clips and not videos else f"{clips} clips of {videos} videos"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _figures(record: Record) -> Table:
    """Every metric of the run beside its floors and ceiling; the usual ones first."""
    floors = record.floors
    swapped = {key for key in record.metrics if key.startswith("swap_")}
    own = [key for key in KEYS if key in record.metrics]
    own += sorted(record.metrics.keys() - set(own) - swapped)
    figures = Figures(record.metrics, record.ci95)
    columns = (
        Column("this run"),
        Column("swapped sounds"),
        Column("skill"),
        Column("ceiling"),
        *(Column("floor", name) for name in floors),
    )
    lines = tuple(
        Line(
            Head(key),
            (
                number_cell(measured_in(figures, key)),
                number_cell(measured_in(figures, f"swap_{key}")),
                plain_cell(record.skill.get(key)),
                plain_cell(record.ceiling.get(key)),
                *(number_cell(measured_in(floor, key)) for floor in floors.values()),
            ),
        )
        for key in own
    )
    caption = f"Metrics under {record.protocol}, in percent, with 95 % intervals"
    return Table("metrics", caption, columns, lines, first="metric")


def _comparisons(record: Record) -> Table | None:
    lines = [
        Line(
            Head(f"{key} minus {KINDS.get(kind, kind)}"),
            (
                Cell(f"{100 * found.difference:+.1f}", interval_text((found.low, found.high)),
                     found.difference, is_strong=found.low > 0),
                word_cell(found.against),
                count_cell(found.n),
            ),
        )
        for kind, by_key in sorted(record.comparisons.items(), key=lambda one: _place(one[0]))
        for key, found in sorted(by_key.items())
    ]  # fmt: skip
    if not lines:
        return None
    columns = (
        Column("difference", "percentage points"),
        Column("against", is_number=False),
        Column("clips"),
    )
    return Table("differences", "Paired differences", columns, tuple(lines), first="difference of")


def _place(kind: str) -> tuple[int, str]:
    known = list(KINDS)
    return (known.index(kind) if kind in known else len(known)), kind


def _protocols(record: Record) -> Table | None:
    if not record.protocols:
        return None
    lines = []
    for name, board in sorted(record.protocols.items()):
        own = [over for over in FIELD_KEYS if over in board.metrics]
        figures = Figures(board.metrics, board.ci95)
        cells = [number_cell(measured_in(figures, key)) for key in FIELD_KEYS]
        best = [best_floor_value(board.floors, key) for key in FIELD_KEYS]
        tops = [board.ceiling.get(key) for key in FIELD_KEYS]
        if own:
            lines.append(Line(Head(name), (*cells, *map(plain_cell, best), *map(plain_cell, tops))))
    columns = tuple(
        Column(title, key) for title in ("this run", "best floor", "ceiling") for key in FIELD_KEYS
    )
    caption = "The same answers under other rules, in percent"
    return Table("protocols", caption, columns, tuple(lines), first="protocol") if lines else None


def _lists(record: Record) -> Table:
    lines = [
        Line(Head(f"{name}, used"), _identity(one.name, one.n, one.sha256))
        for name, one in sorted(record.splits.items())
    ]
    lines += [
        Line(Head(f"{name}, as published"), _identity(one.name, one.n, one.sha256))
        for name, one in sorted(record.lists.items())
    ]
    columns = (
        Column("list", is_number=False),
        Column("clips"),
        Column("sha256 of the ids", is_number=False),
    )
    return Table("lists", "Lists of clips", columns, tuple(lines), first="use")


def _identity(name: str, n: int, sha256: str) -> tuple[Cell, ...]:
    return word_cell(name), count_cell(n), word_cell(sha256)


def _left_out(record: Record) -> tuple[IdList, ...]:
    kinds = (
        ("Test clips without files", dict.fromkeys(record.missing, "")),
        ("Test clips that cannot be read", record.unreadable),
        ("Test clips without a marked pixel", dict.fromkeys(record.excluded, "")),
        ("Training clips without files", dict.fromkeys(record.train.missing, "")),
        ("Training clips that cannot be read", record.train.unreadable),
    )
    return tuple(
        IdList(title, len(ids), tuple(ids.items())[:SHOWN_IDS]) for title, ids in kinds if ids
    )


def _settings(record: Record) -> Table:
    """The resolved configuration; of its layers the record tells the command line alone."""
    given = {word.partition("=")[0] for word in record.overrides}
    lines = tuple(
        Line(
            Head(key),
            (
                word_cell(_plain(value)),
                word_cell("command line" if key in given else "defaults, recipe, preset or file"),
            ),
        )
        for key, value in sorted(flat(record.config))
    )
    columns = (Column("value", is_number=False), Column("set by", is_number=False))
    return Table("settings", "Resolved configuration", columns, lines, first="setting")
