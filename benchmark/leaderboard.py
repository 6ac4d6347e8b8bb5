"""``leaderboard.md`` as a pure function of records: any order of them gives the same bytes."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from benchmark.markdown import markdown_table
from benchmark.published import Field, read_field
from benchmark.ranking import (
    FIELD_KEYS,
    KEYS,
    NONE,
    Measured,
    Row,
    Section,
    measured_in,
    over_seeds,
    percent,
    ranking,
)
from benchmark.ranking_files import leaderboard_csv, leaderboard_json, leaderboard_latex
from benchmark.records import BOXES, Figures, Interval, ProtocolFigures, Record, read_results
from datamodules.atomic_files import write_atomically

INTRODUCTION = """\
<!-- Written by `bench leaderboard` from benchmark/results; edit nothing here. -->

# Leaderboard
"""

HOW_TO_READ = """\
**How to read this page.**
Every number is a percentage, and higher is better: `ciou@0.5` is the share of clips whose source is found with a consensus IoU of at least 0.5, `auc` the same averaged over all such bars, `pixel_ap` the average precision of a map's pixels, and `pointing` the share of clips where the highest point of the map lies on the source.
Where clips hold them, `context_pointing` is the share whose highest point lies on what only occurs with the sound (here lower is better), `onscreen_auc` how well the confidence tells sounds of the frame from others, and `onscreen_own_rule` how often a method's own rule does.
In brackets stands the 95 % interval: how far the number may be off because these test clips were drawn and not others (bootstrap).
Where a method was trained with several seeds, the number is the mean over them, ± is the standard deviation from seed to seed, and the brackets hold the mean lower and the mean upper end of their intervals.
*Floors* are rules that never hear the sound (± there is over random draws), and the *ceiling* is the most that any map without equal pixels could score once the protocol's rule has cut it: a method that does not clear the floors has shown nothing.
`full` and `all_objects` are masks that no rule cuts, so they may lie above a ceiling; `all_objects` knows the box of every object, but not which one sounds.
Under a rule that keeps half of the pixels no map can hit a small object, which is why such columns may hold zeros alone.
*Skill* is how much of the way from the best floor to the ceiling a method goes.
*Minus best floor* and *minus swapped sounds* are differences clip by clip; they are bold where the interval lies above 0 for every seed, which is what "better" means here.
A method that ignores the sound loses nothing when the sounds are swapped.
⚠ marks a method that was trained on clips of the test list, or on other clips of their videos.
"""  # noqa: E501


NO_PLACES = "There are no boxes.\n"
OF_SEGMENTS = """\
`segment_acc` is the share of segments given their class, background included; a method whose card says that it has no map is measured by it alone and stands below the others.
The floor `clip_label` gives every segment the clip's own event, which no method is told.
"""  # noqa: E501
OF_BOXES = """\
Boxes that methods answer beside their maps; no threshold cuts them.
The floors choose among the same proposals of objects without the sound, and the best proposal is chosen by the truth.
"""  # noqa: E501
REPORTED = """\
As reported by papers and repositories, in percent, each under its own rules, lists and front-end; no line was measured here, and none can be compared with the tables above.
"""  # noqa: E501
REPORTED_HEADER = (
    "reported", "value", "rules", "trained on", "test clips in that list", "object guidance",
    "source",
)  # fmt: skip
BOX_HEADER = (
    "", "boxes", *FIELD_KEYS, "minus best floor", "minus swapped sounds", "minus the map",
)  # fmt: skip


def write_leaderboard(results_dir: Path, path: Path, *, form: str = "md") -> None:
    """Writes the page of all accepted records.

    Raises:
        BenchError: a record is not valid.
    """
    write_atomically(path, page_of(results_dir, form).encode())


def is_current(results_dir: Path, path: Path, *, form: str = "md") -> bool:
    """Whether the page is there and is what ``write_leaderboard`` would write.

    Raises:
        BenchError: a record is not valid.
    """
    expected = page_of(results_dir, form).encode()
    return path.is_file() and path.read_bytes() == expected


def page_of(results_dir: Path, form: str) -> str:
    """All accepted records as a page.

    Args:
        results_dir: of the records.
        form: ``md``, ``csv``, ``json`` or ``latex``.

    Raises:
        BenchError: a record is not valid.
    """
    records = read_results(results_dir)
    if form == "md":
        return leaderboard(records)
    sections, left_out = ranking(records)
    if form == "json":
        return leaderboard_json(sections, left_out)
    return leaderboard_csv(sections) if form == "csv" else leaderboard_latex(sections)


def leaderboard(records: Iterable[Record]) -> str:
    """Page of all records in Markdown, the same for any order of them.

    There is one section as :func:`benchmark.ranking.ranking` makes them; runs that are not ranked
    are counted below with their reasons.

    Args:
        records: with different ids.

    Returns:
        The page; a valid one that says so where there are no records.

    Raises:
        ValueError: two records have the same id.
    """
    sections, left_out = ranking(records)
    blocks = [INTRODUCTION, HOW_TO_READ if sections else "No run has been accepted so far.\n"]
    published = read_field()
    blocks += [_section(section, published) for section in sections]
    blocks += [_left_out(left_out)] if left_out else []
    return "\n".join(blocks)


def _section(section: Section, published: Field) -> str:
    """Tables of the runs that share data set, protocol and test list."""
    rows, first = section.rows, section.first
    test = first.splits["test"]
    scored_against = section.scored_against
    blocks = [
        f"## {first.data}, protocol {first.protocol}\n",
        f"Test list `{test.name}` of {test.n} clips, sha256 `{test.sha256[:8]}`"
        + (f", scored with `{scored_against}`.\n" if scored_against else ".\n"),
        *([] if section.has_places else [NO_PLACES]),
        *([OF_SEGMENTS] if section.has_segments else []),
        markdown_table(("", "seeds", "n", *section.keys), _score_lines(section)),
    ]
    if rows:
        claimed = section.claimed
        blocks += [
            "What stands behind the numbers:\n",
            markdown_table(_claim_header(claimed), (_claims(row, claimed) for row in rows)),
        ]
    if section.boxed:
        blocks += [OF_BOXES, markdown_table(BOX_HEADER, _box_lines(section))]
    names = section.field_protocols
    if names and section.has_places:
        header = ("", *(f"{name} {key}" for name in names for key in FIELD_KEYS))
        blocks += ["The same maps under rules of the field:\n",
                   markdown_table(header, _field_lines(section, names))]  # fmt: skip
    reported = list(_reported_lines(published, first.data))
    if reported:
        blocks += [REPORTED, markdown_table(REPORTED_HEADER, reported)]
    return "\n".join(blocks)


def _score_lines(section: Section) -> Iterable[Sequence[str]]:
    keys = section.keys
    for row in section.rows:
        counts = sorted({f"{record.n}/{record.n_expected}" for record in row.records})
        cells = (_cell(row.measured(key)) for key in keys)
        yield _marked(row), str(len(row.records)), ", ".join(counts), *cells
    for name, figures in section.floors.items():
        yield f"*floor* {name}", NONE, NONE, *(_cell(measured_in(figures, key)) for key in keys)
    ceiling = section.ceiling
    yield "*ceiling*", NONE, NONE, *(percent(ceiling.get(key)) for key in keys)


def _marked(row: Row) -> str:
    return f"**{row.label}**" + (" ⚠" if row.leakiest.leakage.is_any else "")


def _cell(measured: Measured | None) -> str:
    """Number, spread and interval."""
    if measured is None:
        return NONE
    spread = "" if measured.spread is None else f" ± {percent(measured.spread)}"
    return f"{percent(measured.value)}{spread}{_brackets(measured.interval)}"


def _claim_header(claimed: Sequence[str]) -> Sequence[str]:
    return (
        "",
        *(f"skill {key}" for key in claimed),
        *(f"minus best floor, {key}" for key in claimed),
        *(f"minus swapped sounds, {key}" for key in claimed),
        "minus all objects, ciou@0.5",
        "supervision",
        "pretraining",
        "trained on test clips",
    )


def _claims(row: Row, claimed: Sequence[str]) -> Sequence[str]:
    return (
        _marked(row),
        *(percent(row.skill(key)) for key in claimed),
        *(_difference_cell(row, "best_floor", key) for key in claimed),
        *(_difference_cell(row, "swap", key) for key in claimed),
        _difference_cell(row, "all_objects", KEYS[0]),
        row.first.card.supervision,
        row.pretraining,
        _leakage_cell(row),
    )


def _difference_cell(row: Row, kind: str, key: str) -> str:
    """Mean difference over seeds; bold where each seed's interval lies above 0."""
    claim = row.claim(kind, key)
    if claim is None:
        return NONE
    mean = f"{100 * claim.difference:+.1f}"
    if claim.is_sure:
        mean = f"**{mean}**"
    # which floor was the best one, where the column does not say it
    opponent = f" {', '.join(claim.against)}" if kind.endswith("best_floor") else ""
    return f"{mean}{_brackets(claim.interval)}{opponent}"


def _leakage_cell(row: Row) -> str:
    if not row.knows_leakage:
        return "?"
    worst = row.leakiest.leakage
    return f"⚠ {worst.words}" if worst.is_any else "none"


def _field_lines(section: Section, names: Sequence[str]) -> Iterable[Sequence[str]]:
    places = [(name, key) for name in names for key in FIELD_KEYS]
    for row in section.rows:
        cells = (_cell(over_seeds(row.boards(name), key)) for name, key in places)
        yield _marked(row), *cells
    known = {name: section.field_board(name) for name in names}
    none = Figures({})
    floors = {name: section.field_floors(name) for name in names}
    of_places = {floor for board in floors.values() for floor, figures in board.items()
                 if figures.metrics.keys() & set(FIELD_KEYS)}  # fmt: skip
    for floor in sorted(of_places):
        figures = {name: floors[name].get(floor, none) for name in names}
        yield f"*floor* {floor}", *(_cell(measured_in(figures[name], key)) for name, key in places)
    yield "*ceiling*", *(percent(known[name].ceiling.get(key)) for name, key in places)


def _reported_lines(published: Field, data: str) -> Iterable[Sequence[str]]:
    """What repositories print for a data set, in percent as printed; nothing of it was run here."""
    for network in published.networks:
        if network.data == data and network.published:
            leaked = published.leaked(network)
            values = ", ".join(f"{key} {value:g}" for key, value in network.published.items())
            yield (
                network.label,
                values,
                published.protocol_of(network.method) or NONE,
                network.training,
                "?" if leaked is None else str(leaked),
                network.guidance,
                network.source,
            )


def _box_lines(section: Section) -> Iterable[Sequence[str]]:
    """Answers of boxes, the best first, then what chooses without the sound or by the truth."""
    found = [(row, boards) for row in section.rows if (boards := row.boards(BOXES))]
    for row, boards in sorted(found, key=lambda pair: _mean_ciou(pair[1]), reverse=True):
        yield (
            _marked(row),
            str(row.first.card.boxes),
            *(_cell(over_seeds(boards, key)) for key in FIELD_KEYS),
            *(_difference_cell(row, f"{BOXES}_{kind}", KEYS[0])
              for kind in ("best_floor", "swap", "map")),
        )  # fmt: skip
    for count, board in section.box_boards:
        beside = [NONE] * 3
        for floor, figures in sorted(board.floors.items()):
            cells = (_cell(measured_in(figures, key)) for key in FIELD_KEYS)
            yield f"*floor* {floor}", str(count), *cells, *beside
        ends = (percent(board.ceiling.get(key)) for key in FIELD_KEYS)
        yield "*best proposal*", str(count), *ends, *beside


def _mean_ciou(boards: Sequence[ProtocolFigures]) -> float:
    return fmean(board.metrics.get(KEYS[0], 0.0) for board in boards)


def _left_out(left_out: Sequence[tuple[Record, str]]) -> str:
    """Runs that are not ranked, by reason."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for record, reason in left_out:
        by_reason[reason].append(record.id)
    lines = []
    for reason, ids in sorted(by_reason.items()):
        runs = "run" if len(ids) == 1 else "runs"
        lines.append(f"- {len(ids)} {runs}, {reason}: {', '.join(f'`{name}`' for name in ids)}")
    return "\n".join(["## Not ranked\n", *lines, ""])


def _brackets(interval: Interval | None) -> str:
    return "" if interval is None else f" [{percent(interval[0])}, {percent(interval[1])}]"
