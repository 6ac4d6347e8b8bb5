"""``leaderboard.md`` as a pure function of records: any order of them gives the same bytes."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev

from benchmark.markdown import markdown_table
from benchmark.records import (
    BOXES,
    Difference,
    Figures,
    Interval,
    ProtocolFigures,
    Record,
    is_ranked,
    read_results,
    write_atomically,
)
from benchmark.settings import NOT_IN_HASH, TRUTH_ONLY, content_hash, flat

KEYS = ("ciou@0.5", "pixel_ap", "pointing", "auc")
CLAIMED = ("ciou@0.5", "pixel_ap")
SEGMENTS = ("segment_acc",)  # beside both, or alone where nobody marked a place
FURTHER = (
    "context_pointing",
    "onscreen_auc",
    "onscreen_own_rule",
)  # where any run of a section has them
FIELD_KEYS = ("ciou@0.5", "auc")
NONE = "-"

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
*Floors* are rules that never hear the sound (± there is over random draws), and the *ceiling* is the most that any map could score once the protocol's rule has cut it: a method that does not clear the floors has shown nothing.
`full` and `all_objects` are masks that no rule cuts, so they may lie above a ceiling; `all_objects` knows the box of every object, but not which one sounds.
Under a rule that keeps half of the pixels no map can hit a small object, which is why such columns may hold zeros alone.
*Skill* is how much of the way from the best floor to the ceiling a method goes.
*Minus best floor* and *minus swapped sounds* are differences clip by clip; they are bold where the interval lies above 0 for every seed, which is what "better" means here.
A method that ignores the sound loses nothing when the sounds are swapped.
⚠ marks a method that was trained on clips of the test list.
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
BOX_HEADER = (
    "", "boxes", *FIELD_KEYS, "minus best floor", "minus swapped sounds", "minus the map",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """All ranked runs of one method in one variant: they differ in their seed only."""

    label: str
    records: tuple[Record, ...]  # by seed

    @property
    def first(self) -> Record:
        """The run of the lowest seed, for what all of them share."""
        return self.records[0]


def write_leaderboard(results_dir: Path, path: Path) -> None:
    """Writes the page of all accepted records.

    Raises:
        BenchError: a record is not valid.
    """
    write_atomically(path, leaderboard(read_results(results_dir)).encode())


def is_current(results_dir: Path, path: Path) -> bool:
    """Whether the page is there and is what ``write_leaderboard`` would write.

    Raises:
        BenchError: a record is not valid.
    """
    expected = leaderboard(read_results(results_dir)).encode()
    return path.is_file() and path.read_bytes() == expected


def leaderboard(records: Iterable[Record]) -> str:
    """Page of all records in Markdown, the same for any order of them.

    There is one section per data set, protocol, test list and truth, since numbers of different
    ones cannot be compared. Runs that are not ranked are counted below with their reasons.

    Args:
        records: with different ids.

    Returns:
        The page; a valid one that says so where there are no records.

    Raises:
        ValueError: two records have the same id.
    """
    ordered = sorted(records, key=lambda record: record.id)
    for one, other in pairwise(ordered):
        if one.id == other.id:
            raise ValueError(f"two records have the id {one.id}")
    kept, left_out = _latest_ranked(ordered)
    sections: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in kept:
        test = record.splits["test"]
        place = (record.data, record.protocol, test.name, test.sha256, _truth_settings(record))
        sections[place].append(record)
    blocks = [INTRODUCTION, HOW_TO_READ if kept else "No run has been accepted so far.\n"]
    blocks += [_section(sections[key]) for key in sorted(sections)]
    blocks += [_left_out(left_out)] if left_out else []
    return "\n".join(blocks)


def _truth_settings(record: Record) -> str:
    """Settings of a run that change what it is scored against, as words; none where all are off."""
    settings = dict(flat(record.config))
    chosen = {key: settings[key] for key in sorted(settings) if TRUTH_ONLY.fullmatch(key)}
    return " ".join(f"{key}={json.dumps(value)}" for key, value in chosen.items() if value)


def variant_key(record: Record) -> str:
    """Hash of what a run is apart from its seed: method, version, settings and training list."""
    settings = {key: value for key, value in flat(record.config) if not _is_neutral(key)}
    distribution = [record.distribution.name, record.distribution.version]
    trained_on = record.splits["train"].sha256 if "train" in record.splits else None
    tested = [] if record.checkpoint is None else [record.checkpoint.sha256]
    return content_hash([record.method, distribution, settings, trained_on, *tested])


def _is_neutral(key: str) -> bool:
    """Whether a dotted setting may differ between the runs of one row."""
    return key == "seed" or NOT_IN_HASH.fullmatch(key) is not None


def _latest_ranked(ordered: Sequence[Record]) -> tuple[list[Record], list[tuple[Record, str]]]:
    """Ranked runs, the latest of each seed, and the others with the reason."""
    latest: dict[tuple[object, ...], Record] = {}
    left_out = []
    for record in ordered:
        ranked, reason = is_ranked(record)
        if not ranked:
            left_out.append((record, reason))
            continue
        place = (record.data, record.splits["test"].sha256, variant_key(record), record.seed)
        if place in latest:
            left_out.append((latest[place], "the same run was made again later"))
        latest[place] = record
    return list(latest.values()), left_out


def _section(records: Sequence[Record]) -> str:
    """Tables of the runs that share data set, protocol and test list."""
    rows = _rows([record for record in records if not record.card.floor])
    first = records[0]
    test = first.splits["test"]
    floors, ceiling = _floors(records), _fullest(records).ceiling
    scored_against = _truth_settings(first)
    has_places = any(key in record.metrics for record in records for key in KEYS)
    has_segments = any(key in record.metrics for record in records for key in SEGMENTS)
    of_segments = SEGMENTS if has_segments else ()
    further = (key for key in FURTHER if any(key in record.metrics for record in records))
    keys: tuple[str, ...] = (*(KEYS if has_places else ()), *of_segments, *further)
    claimed: tuple[str, ...] = (*(CLAIMED if has_places else ()), *of_segments)
    floors = {name: floor for name, floor in floors.items() if floor.metrics.keys() & set(keys)}
    blocks = [
        f"## {first.data}, protocol {first.protocol}\n",
        f"Test list `{test.name}` of {test.n} clips, sha256 `{test.sha256[:8]}`"
        + (f", scored with `{scored_against}`.\n" if scored_against else ".\n"),
        *([] if has_places else [NO_PLACES]),
        *([OF_SEGMENTS] if has_segments else []),
        markdown_table(("", "seeds", "n", *keys), _score_lines(rows, floors, ceiling, keys)),
    ]
    if rows:
        blocks += [
            "What stands behind the numbers:\n",
            markdown_table(_claim_header(claimed), (_claims(row, claimed) for row in rows)),
        ]
    boxed = [record for record in records if BOXES in record.protocols]
    if boxed:
        blocks += [OF_BOXES, markdown_table(BOX_HEADER, _box_lines(rows, boxed))]
    names = sorted({name for record in records for name in record.protocols} - {BOXES})
    if names and has_places:
        header = ("", *(f"{name} {key}" for name in names for key in FIELD_KEYS))
        blocks += ["The same maps under rules of the field:\n",
                   markdown_table(header, _field_lines(rows, records, names))]  # fmt: skip
    return "\n".join(blocks)


def _rows(records: Sequence[Record]) -> list[Row]:
    """Rows from the best mean of the first key down, then by label; without a map after those."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[variant_key(record)].append(record)
    labels = {key: _label(members[0]) for key, members in groups.items()}
    repeated = {label for label in labels.values() if list(labels.values()).count(label) > 1}
    rows = [
        Row(
            labels[key] + (f" #{key[:6]}" if labels[key] in repeated else ""),
            tuple(sorted(members, key=lambda record: record.seed)),
        )
        for key, members in groups.items()
    ]
    return sorted(rows, key=lambda row: (_rank(row), row.label))


def _rank(row: Row) -> tuple[bool, float]:
    has_map = KEYS[0] in row.first.metrics
    first = KEYS[0] if has_map else SEGMENTS[0]
    return not has_map, -fmean(record.metrics.get(first, 0.0) for record in row.records)


def _label(record: Record) -> str:
    """Method with what its user changed, so that a variant is not taken for the method."""
    changed = [word for word in record.overrides if not _is_neutral(word.partition("=")[0])]
    if record.checkpoint is not None:
        changed.append(f"{record.checkpoint.kind} weights {record.checkpoint.sha256[:8]}")
    return record.method + (f" ({', '.join(sorted(changed))})" if changed else "")


def _fullest(records: Sequence[Record]) -> Record:
    """The run that scored most clips, hence with the best known floors."""
    return min(records, key=lambda record: (-record.n, record.id))


def _floors(records: Sequence[Record]) -> dict[str, Figures]:
    """Floors that any of the runs was compared with, and floors that were run themselves."""
    floors: dict[str, Figures] = {}
    for record in sorted(records, key=lambda record: (-record.n, record.id)):
        own = {record.method: Figures(record.metrics, record.ci95)} if record.card.floor else {}
        floors = {**own, **record.floors, **floors}
    return dict(sorted(floors.items()))


def _score_lines(
    rows: Sequence[Row],
    floors: Mapping[str, Figures],
    ceiling: Mapping[str, float],
    keys: Sequence[str],
) -> Iterable[Sequence[str]]:
    for row in rows:
        counts = sorted({f"{record.n}/{record.n_expected}" for record in row.records})
        cells = (_score_cell(row.records, key) for key in keys)
        yield _marked(row), str(len(row.records)), ", ".join(counts), *cells
    for name, figures in floors.items():
        yield f"*floor* {name}", NONE, NONE, *(_figure_cell(figures, key) for key in keys)
    yield "*ceiling*", NONE, NONE, *(_percent(ceiling.get(key)) for key in keys)


def _marked(row: Row) -> str:
    leaks = any(record.leakage.trained_on for record in row.records)
    return f"**{row.label}**" + (" ⚠" if leaks else "")


def _score_cell(records: Sequence[Record], key: str) -> str:
    return _seeds_cell([Figures(record.metrics, record.ci95) for record in records], key)


def _seeds_cell(runs: Sequence[Figures | ProtocolFigures], key: str) -> str:
    """Mean over runs, spread over runs, mean ends of the intervals."""
    values = [run.metrics[key] for run in runs if key in run.metrics]
    if not values:
        return NONE
    spread = f" ± {_percent(stdev(values))}" if len(values) > 1 else ""
    ends = [run.ci95[key] for run in runs if key in run.ci95]
    return f"{_percent(fmean(values))}{spread}{_brackets(_mean_interval(ends))}"


def _figure_cell(figures: Figures, key: str) -> str:
    """A floor's number with its interval and, for a random one, its spread over the draws."""
    if key not in figures.metrics:
        return NONE
    spread = f" ± {_percent(figures.spread[key])}" if key in figures.spread else ""
    return f"{_percent(figures.metrics[key])}{spread}{_brackets(figures.ci95.get(key))}"


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


def _pretraining(record: Record) -> str:
    """What a run started from: its card's word, or none where it was given no weights."""
    settings = dict(flat(record.config))
    if settings.get("method.backbone") == "features":  # which come with the data
        return record.card.pretraining
    weights = [value for key, value in settings.items() if key.startswith("method.pretrained")]
    return "none" if weights and set(weights) == {None} else record.card.pretraining


def _claims(row: Row, claimed: Sequence[str]) -> Sequence[str]:
    card = row.first.card
    return (
        _marked(row),
        *(_skill_cell(row.records, key) for key in claimed),
        *(_difference_cell(row.records, "best_floor", key) for key in claimed),
        *(_difference_cell(row.records, "swap", key) for key in claimed),
        _difference_cell(row.records, "all_objects", KEYS[0]),
        card.supervision,
        _pretraining(row.first),
        _leakage_cell(row.records),
    )


def _skill_cell(records: Sequence[Record], key: str) -> str:
    values = [record.skill.get(key) for record in records]
    defined = [value for value in values if value is not None]
    return _percent(fmean(defined)) if len(defined) == len(values) else NONE


def _difference_cell(records: Sequence[Record], kind: str, key: str) -> str:
    """Mean difference over seeds; bold where each seed's interval lies above 0."""
    found = [record.comparisons.get(kind, {}).get(key) for record in records]
    differences = [difference for difference in found if difference is not None]
    if not differences or len(differences) < len(found):
        return NONE
    mean = f"{100 * fmean(d.difference for d in differences):+.1f}"
    if all(difference.low > 0 for difference in differences):
        mean = f"**{mean}**"
    ends = _mean_interval([(d.low, d.high) for d in differences])
    return f"{mean}{_brackets(ends)}{_opponent(differences, kind)}"


def _opponent(differences: Sequence[Difference], kind: str) -> str:
    """Which floor was the best one, where the column does not say it."""
    names = ", ".join(sorted({difference.against for difference in differences}))
    return f" {names}" if kind.endswith("best_floor") else ""


def _leakage_cell(records: Sequence[Record]) -> str:
    if any("train" not in record.splits for record in records):  # trained elsewhere
        return "?"
    worst = max(records, key=lambda record: record.leakage.trained_on).leakage
    if not worst.trained_on:
        return "none"
    return f"⚠ {worst.trained_on} clips of {worst.trained_on_videos} videos"


def _field_lines(
    rows: Sequence[Row], records: Sequence[Record], names: Sequence[str]
) -> Iterable[Sequence[str]]:
    places = [(name, key) for name in names for key in FIELD_KEYS]
    for row in rows:
        yield _marked(row), *(_seeds_cell(_boards(row.records, name), key) for name, key in places)
    known = {
        name: _fullest([record for record in records if name in record.protocols]).protocols[name]
        for name in names
    }
    none = Figures({})
    floors = {name: _seen_floors(records, name) | known[name].floors for name in names}
    of_places = {floor for board in floors.values() for floor, figures in board.items()
                 if figures.metrics.keys() & set(FIELD_KEYS)}  # fmt: skip
    for floor in sorted(of_places):
        figures = {name: floors[name].get(floor, none) for name in names}
        yield f"*floor* {floor}", *(_figure_cell(figures[name], key) for name, key in places)
    yield "*ceiling*", *(_percent(known[name].ceiling.get(key)) for name, key in places)


def _seen_floors(records: Sequence[Record], name: str) -> dict[str, Figures]:
    """Floors that are no rules, under a further protocol; of several runs the fullest."""
    own = [
        record
        for record in records
        if record.card.floor and record.method not in record.floors and name in record.protocols
    ]
    return {
        record.method: Figures(record.protocols[name].metrics, record.protocols[name].ci95)
        for record in sorted(own, key=lambda record: (record.n, record.id))
    }


def _box_lines(rows: Sequence[Row], boxed: Sequence[Record]) -> Iterable[Sequence[str]]:
    """Answers of boxes, the best first, then what chooses without the sound or by the truth."""
    found = [(row, boards) for row in rows if (boards := _boards(row.records, BOXES))]
    for row, boards in sorted(found, key=lambda pair: _mean_ciou(pair[1]), reverse=True):
        yield (
            _marked(row),
            str(row.first.card.boxes),
            *(_seeds_cell(boards, key) for key in FIELD_KEYS),
            *(_difference_cell(row.records, f"{BOXES}_{kind}", KEYS[0])
              for kind in ("best_floor", "swap", "map")),
        )  # fmt: skip
    for count in sorted({record.card.boxes for record in boxed}):
        board = _fullest([r for r in boxed if r.card.boxes == count]).protocols[BOXES]
        beside = [NONE] * 3
        for floor, figures in sorted(board.floors.items()):
            cells = (_figure_cell(figures, key) for key in FIELD_KEYS)
            yield f"*floor* {floor}", str(count), *cells, *beside
        ends = (_percent(board.ceiling.get(key)) for key in FIELD_KEYS)
        yield "*best proposal*", str(count), *ends, *beside


def _mean_ciou(boards: Sequence[ProtocolFigures]) -> float:
    return fmean(board.metrics.get(KEYS[0], 0.0) for board in boards)


def _boards(records: Sequence[Record], name: str) -> list[ProtocolFigures]:
    return [record.protocols[name] for record in records if name in record.protocols]


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


def _percent(fraction: float | None) -> str:
    """A fraction as a percentage with one decimal.

    >>> _percent(0.341), _percent(None)
    ('34.1', '-')
    """
    return NONE if fraction is None else f"{100 * fraction:.1f}"


def _mean_interval(intervals: Sequence[Interval]) -> Interval | None:
    if not intervals:
        return None
    return fmean(low for low, _ in intervals), fmean(high for _, high in intervals)


def _brackets(interval: Interval | None) -> str:
    return "" if interval is None else f" [{_percent(interval[0])}, {_percent(interval[1])}]"
