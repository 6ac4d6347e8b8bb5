"""A board as its pages show it: the ranked runs of one data set, protocol, test list and truth."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from benchmark.file_names import file_name
from benchmark.ranking import (
    FIELD_KEYS,
    KEYS,
    Measured,
    Row,
    Section,
    measured_in,
    over_seeds,
    section_key,
)
from benchmark.records import BOXES, Figures, ProtocolFigures, Record
from benchmark.report.tables import (
    Cell,
    Column,
    Head,
    Line,
    Standing,
    Table,
    blanks,
    claim_cell,
    count_cell,
    number_cell,
    padded,
    plain_cell,
    word_cell,
)
from metrics.floors import best_floor
from metrics.scoring import LOWER_IS_BETTER

LOCAL = "not accepted"  # mark of a row with a run that is in a run folder alone


@dataclass(frozen=True)
class Board:
    """A section of the ranking, named for pages.

    Attributes:
        section: the ranked runs.
        accepted: ids of the runs that lie among the results.
        is_ranked: whether its runs are; else it has a gallery and no page of its own.
    """

    section: Section
    accepted: frozenset[str]
    is_ranked: bool = True

    @cached_property
    def slug(self) -> str:
        """Its name in addresses."""
        name = file_name("|".join(section_key(self.section.first)))
        return name if self.is_ranked else f"{name}-unranked"

    @property
    def title(self) -> str:
        """The test list, which says what was tested, and what it was scored with."""
        record = self.section.first
        name = record.splits["test"].name
        title = name if name.startswith(record.data) else f"{record.data}, {name}"
        return title + (f", {self.section.scored_against}" if self.section.scored_against else "")

    @property
    def leading(self) -> str:
        """The metric that rows are ordered by."""
        return self.section.keys[0] if self.section.keys else KEYS[0]

    @property
    def num_runs(self) -> int:
        """How many ranked runs it holds, floors that were run among them."""
        return len(self.section.records)

    @property
    def best_floor(self) -> tuple[str, float] | None:
        """Name and value of the best floor in the leading metric, the first of equal ones."""
        floors = self.section.floors
        name = best_floor(floors, self.leading)
        return None if name is None else (name, floors[name].metrics[self.leading])

    @cached_property
    def shared_settings(self) -> tuple[str, ...]:
        """What the users of all methods changed alike, where there are several."""
        rows = self.section.rows
        if len(rows) < 2:
            return ()
        return tuple(sorted(set.intersection(*(set(row.settings) for row in rows))))

    def own_settings(self, row: Row) -> tuple[str, ...]:
        """What was changed in a row and not in all others."""
        return tuple(word for word in row.settings if word not in self.shared_settings)

    def head(self, row: Row, up: str, *, colour: int | None = None) -> Head:
        """The first cell of a row; ``up`` leads from the page to the top of the site."""
        marks = []
        if row.leakiest.leakage.is_any:
            marks.append(f"⚠ trained on {row.leakiest.leakage.words}")
        if any(record.id not in self.accepted for record in row.records):
            marks.append(LOCAL)
        return Head(
            row.first.method,
            self.own_settings(row),
            f"{up}{run_address(row.first)}",
            tuple(marks),
            colour,
        )

    @cached_property
    def leaderboard(self) -> Table:
        """All that a ranking needs in one table, for the first page."""
        keys, claimed = self.section.keys, self.section.claimed[:1]
        columns = (
            Column("from 0 to 100", self.leading),
            *(Column(key, _note(key), is_sorted=key == self.leading) for key in keys),
            *(Column("skill", key) for key in claimed),
            *(Column("minus best floor", key) for key in claimed),
            *(Column("swap drop", key) for key in claimed),
            Column("seeds"),
            Column("n"),
            Column("supervision", is_number=False),
            Column("pretraining", is_number=False),
            Column("test clips in training"),
        )
        lines = tuple(
            Line(
                self.head(row, ""),
                (
                    self._standing(row),
                    *(number_cell(row.measured(key)) for key in keys),
                    *(plain_cell(row.skill(key)) for key in claimed),
                    *(claim_cell(row.claim("best_floor", key)) for key in claimed),
                    *(claim_cell(row.claim("swap", key)) for key in claimed),
                    count_cell(len(row.records)),
                    _scored(row),
                    word_cell(row.first.card.supervision),
                    word_cell(row.pretraining),
                    _leakage(row),
                ),
                row.first.card.supervision,
            )
            for row in self.section.rows
        )
        caption = f"Methods on {self.title} under {self.section.first.protocol}, in percent"
        bounds = self._bounds(keys, len(columns), lead=1)
        return Table(f"ranking-{self.slug}", caption, columns, lines, bounds)

    def _standing(self, row: Row) -> Cell:
        measured = row.measured(self.leading)
        if measured is None:
            return Cell("")
        low, high = measured.interval or (measured.value, measured.value)
        floor = None if self.best_floor is None else self.best_floor[1]
        ceiling = self.section.ceiling.get(self.leading)
        standing = Standing(measured.value, low, high, floor, ceiling)
        return Cell("", sort=measured.value, standing=standing)

    def _bounds(self, keys: Sequence[str], length: int, *, lead: int = 0) -> tuple[Line, ...]:
        """Ceiling and floors in the columns of the keys, which stand after ``lead`` others."""
        ceiling = self.section.ceiling
        tops = (*blanks(lead), *(plain_cell(ceiling.get(key)) for key in keys))
        lines = [Line(Head("ceiling"), padded(tops, length))]
        for name, figures in self.section.floors.items():
            cells = (*blanks(lead), *(number_cell(measured_in(figures, key)) for key in keys))
            lines.append(Line(Head(f"floor {name}"), padded(cells, length)))
        return tuple(lines)

    @cached_property
    def claims(self) -> Table:
        """Skill and paired differences of every claimed metric."""
        claimed = self.section.claimed
        columns = (
            *(Column("skill", key) for key in claimed),
            *(Column("minus best floor", key) for key in claimed),
            *(Column("minus swapped sounds", key) for key in claimed),
            Column("minus all objects", KEYS[0]),
        )
        lines = tuple(
            Line(
                self.head(row, "../"),
                (
                    *(plain_cell(row.skill(key)) for key in claimed),
                    *(claim_cell(row.claim("best_floor", key), names_opponent=True)
                      for key in claimed),
                    *(claim_cell(row.claim("swap", key)) for key in claimed),
                    claim_cell(row.claim("all_objects", KEYS[0])),
                ),
                row.first.card.supervision,
            )
            for row in self.section.rows
        )  # fmt: skip
        caption = "Skill, and differences clip by clip, in percentage points"
        return Table("claims", caption, columns, lines)

    @cached_property
    def protocols(self) -> Table | None:
        """The same maps under every recorded protocol; None where no other one is recorded."""
        names = self.section.field_protocols
        if not names or not self.section.has_places:
            return None
        own = self.section.first.protocol
        places = [(name, key) for key in FIELD_KEYS for name in (own, *names)]
        lines = tuple(
            Line(
                self.head(row, "../"),
                tuple(number_cell(self._under(row, name, key)) for name, key in places),
            )
            for row in self.section.rows
        )
        caption = "The same maps under each protocol, in percent"
        columns = tuple(Column(name, key) for name, key in places)
        return Table("protocols", caption, columns, lines, self._field_bounds(places))

    def _under(self, row: Row, protocol: str, key: str) -> Measured | None:
        if protocol == self.section.first.protocol:
            return row.measured(key)
        return over_seeds(row.boards(protocol), key)

    def _field_bounds(self, places: Sequence[tuple[str, str]]) -> tuple[Line, ...]:
        own = self.section.first.protocol
        floors = {own: self.section.floors}
        ceilings = {own: self.section.ceiling}
        for name in self.section.field_protocols:
            board = self.section.field_board(name)
            floors[name], ceilings[name] = board.floors, board.ceiling
        tops = tuple(plain_cell(ceilings[name].get(key)) for name, key in places)
        names = sorted({floor for known in floors.values() for floor in known})
        none = Figures({})
        return (
            Line(Head("ceiling"), tops),
            *(
                Line(
                    Head(f"floor {floor}"),
                    tuple(
                        number_cell(measured_in(floors[name].get(floor, none), key))
                        for name, key in places
                    ),
                )
                for floor in names
            ),
        )

    @cached_property
    def boxes(self) -> Table | None:
        """Boxes that methods answer beside their maps; None where none does."""
        if not self.section.boxed:
            return None
        kinds = ("best_floor", "swap", "map")
        columns = (
            Column("boxes"),
            *(Column(key) for key in FIELD_KEYS),
            *(Column(title, KEYS[0])
              for title in ("minus best floor", "minus swapped sounds", "minus the map")),
        )  # fmt: skip
        found = [(row, boards) for row in self.section.rows if (boards := row.boards(BOXES))]
        found.sort(key=lambda pair: -_mean(pair[1]))
        lines = tuple(
            Line(
                self.head(row, "../"),
                (
                    count_cell(row.first.card.boxes),
                    *(number_cell(over_seeds(boards, key)) for key in FIELD_KEYS),
                    *(claim_cell(row.claim(f"{BOXES}_{kind}", KEYS[0]),
                                 names_opponent=kind == "best_floor") for kind in kinds),
                ),
            )
            for row, boards in found
        )  # fmt: skip
        caption = "Boxes answered beside the maps, in percent"
        return Table("boxes", caption, columns, lines, self._box_bounds(len(columns)))

    def _box_bounds(self, length: int) -> tuple[Line, ...]:
        lines = []
        for count, board in self.section.box_boards:
            ends = (count_cell(count), *(plain_cell(board.ceiling.get(key)) for key in FIELD_KEYS))
            lines.append(Line(Head("best proposal"), padded(ends, length)))
            for floor, figures in sorted(board.floors.items()):
                cells = (number_cell(measured_in(figures, key)) for key in FIELD_KEYS)
                lines.append(
                    Line(Head(f"floor {floor}"), padded((count_cell(count), *cells), length))
                )
        return tuple(lines)

    @property
    def runs(self) -> list[tuple[Head, list[Record]]]:
        """Each row with its runs, then floors that were run."""
        rows = [(self.head(row, "../"), list(row.records)) for row in self.section.rows]
        floors = [record for record in self.section.records if record.card.floor]
        return rows + [(Head(f"floor {one.method}"), [one]) for one in floors]


def run_address(record: Record) -> str:
    """Page of a run, from the top of the site."""
    return f"runs/{file_name(record.id)}.html"


def supervisions(boards: Collection[Board]) -> list[str]:
    """Every kind of supervision on the boards, for a filter."""
    return sorted({line.supervision for board in boards for line in board.leaderboard.lines})


def _note(key: str) -> str:
    return "lower is better" if key in LOWER_IS_BETTER else ""


def _scored(row: Row) -> Cell:
    """Scored test clips, and of how many where some are missing."""
    counts = sorted({(record.n, record.n_expected) for record in row.records})
    words = [str(n) if n == expected else f"{n} of {expected}" for n, expected in counts]
    return Cell(", ".join(words), sort=counts[0][0])


def _leakage(row: Row) -> Cell:
    if not row.knows_leakage:
        return Cell("?", ("training list not known",))
    worst = row.leakiest.leakage
    if not worst.is_any:
        return Cell("none", sort=0)
    which = "of" if worst.trained_on else "other clips of"
    return Cell(f"⚠ {worst.trained_on}", (f"{which} {worst.trained_on_videos} videos",),
                worst.trained_on or 0.5, is_strong=True)  # fmt: skip


def _mean(boards: Sequence[ProtocolFigures]) -> float:
    return fmean(board.metrics.get(KEYS[0], 0.0) for board in boards)
