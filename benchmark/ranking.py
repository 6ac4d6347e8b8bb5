"""What a ranking is made of: which runs stand in it, in which rows, and their numbers.

Nothing here knows how a ranking is shown; :mod:`benchmark.leaderboard` writes it as Markdown and
:mod:`benchmark.report` as pages.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import fmean, stdev
from typing import NamedTuple

from benchmark.records import BOXES, Figures, Interval, ProtocolFigures, Record, is_ranked
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


class Measured(NamedTuple):
    """A number and what surrounds it, as fractions; None where there is no such thing."""

    value: float
    spread: float | None = None  # from seed to seed, or over the draws of a random floor
    interval: Interval | None = None


class Claim(NamedTuple):
    """A paired difference over the seeds of a row."""

    difference: float
    interval: Interval
    is_sure: bool  # whether the interval of every seed lies above 0
    against: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """All ranked runs of one method in one variant: they differ in their seed only."""

    records: tuple[Record, ...]  # by seed
    mark: str | None = None  # hash, where settings do not tell the row from another one

    @property
    def first(self) -> Record:
        """The run of the lowest seed, for what all of them share."""
        return self.records[0]

    @property
    def label(self) -> str:
        """Name in a table."""
        return _label(self.first) + ("" if self.mark is None else f" {self.mark}")

    @property
    def settings(self) -> tuple[str, ...]:
        """What tells it from its method, in words, and where that is not enough a hash."""
        return (*_own_words(self.first), *([] if self.mark is None else [self.mark]))

    @property
    def pretraining(self) -> str:
        """See :func:`started_from`."""
        return started_from(self.first)

    @property
    def leakiest(self) -> Record:
        """The run that was trained on most test clips, of equal ones on most of their videos."""
        return max(
            self.records,
            key=lambda record: (record.leakage.trained_on, record.leakage.trained_on_videos),
        )

    @property
    def knows_leakage(self) -> bool:
        """Whether the training list of every run is known; that of released weights is not."""
        return all("train" in record.splits for record in self.records)

    def measured(self, key: str) -> Measured | None:
        """A metric over the seeds; None where no run has it."""
        return over_seeds([Figures(record.metrics, record.ci95) for record in self.records], key)

    def skill(self, key: str) -> float | None:
        """Mean skill over the seeds; None where one of them has none."""
        values = [record.skill.get(key) for record in self.records]
        defined = [value for value in values if value is not None]
        return fmean(defined) if len(defined) == len(values) else None

    def claim(self, kind: str, key: str) -> Claim | None:
        """Mean paired difference over the seeds; None where one of them has none."""
        found = [record.comparisons.get(kind, {}).get(key) for record in self.records]
        differences = [difference for difference in found if difference is not None]
        if not differences or len(differences) < len(found):
            return None
        return Claim(
            fmean(one.difference for one in differences),
            (fmean(one.low for one in differences), fmean(one.high for one in differences)),
            all(one.low > 0 for one in differences),
            tuple(sorted({one.against for one in differences})),
        )

    def boards(self, name: str) -> list[ProtocolFigures]:
        """What a further protocol makes of the runs that have it."""
        return [record.protocols[name] for record in self.records if name in record.protocols]


@dataclass(frozen=True)
class Section:
    """Runs that share data set, protocol, test list and truth."""

    records: tuple[Record, ...]  # by id, at least one

    @property
    def first(self) -> Record:
        """A run, for what all of them share."""
        return self.records[0]

    @cached_property
    def rows(self) -> list[Row]:
        """Methods from the best mean of the first key down; floors that were run are none."""
        return _rows([record for record in self.records if not record.card.floor])

    @property
    def scored_against(self) -> str:
        """Settings that change what the runs are scored against, as words."""
        return truth_settings(self.first)

    @property
    def has_places(self) -> bool:
        """Whether somebody marked where the sources are."""
        return any(key in record.metrics for record in self.records for key in KEYS)

    @property
    def has_segments(self) -> bool:
        """Whether classes of segments are scored."""
        return any(key in record.metrics for record in self.records for key in SEGMENTS)

    @property
    def keys(self) -> tuple[str, ...]:
        """Metrics that are shown."""
        further = (key for key in FURTHER if any(key in record.metrics for record in self.records))
        return (*(KEYS if self.has_places else ()), *self._of_segments, *further)

    @property
    def claimed(self) -> tuple[str, ...]:
        """Metrics with skill and paired differences."""
        return (*(CLAIMED if self.has_places else ()), *self._of_segments)

    @property
    def _of_segments(self) -> tuple[str, ...]:
        return SEGMENTS if self.has_segments else ()

    @property
    def floors(self) -> dict[str, Figures]:
        """Floors with a metric that is shown, by name."""
        shown = set(self.keys)
        found = known_floors(self.records)
        return {name: floor for name, floor in found.items() if floor.metrics.keys() & shown}

    @property
    def ceiling(self) -> dict[str, float]:
        """The most that any map without equal pixels could score, per metric."""
        return fullest(self.records).ceiling

    @property
    def boxed(self) -> list[Record]:
        """Runs that answer boxes beside their maps."""
        return [record for record in self.records if BOXES in record.protocols]

    @property
    def box_boards(self) -> list[tuple[int, ProtocolFigures]]:
        """Floors and ceiling of boxes, by how many a method answers."""
        counts = sorted({record.card.boxes for record in self.boxed})
        alike = ([one for one in self.boxed if one.card.boxes == count] for count in counts)
        boards = (fullest(records).protocols[BOXES] for records in alike)
        return list(zip(counts, boards, strict=True))

    @property
    def field_protocols(self) -> list[str]:
        """Further protocols of maps under which any of the runs is recorded."""
        return sorted({name for record in self.records for name in record.protocols} - {BOXES})

    def field_board(self, name: str) -> ProtocolFigures:
        """Floors and ceiling under a further protocol: those of the run that scored most clips."""
        return fullest([one for one in self.records if name in one.protocols]).protocols[name]

    def field_floors(self, name: str) -> dict[str, Figures]:
        """Floors under a further protocol: rules, and of those that see a frame the fullest run."""
        seen = [
            record
            for record in self.records
            if record.card.floor and record.method not in record.floors and name in record.protocols
        ]
        return {
            record.method: Figures(record.protocols[name].metrics, record.protocols[name].ci95)
            for record in sorted(seen, key=lambda record: (record.n, record.id))
        } | self.field_board(name).floors


class Ranking(NamedTuple):
    """All runs: those that stand in a section, and the others with the reason."""

    sections: list[Section]
    left_out: list[tuple[Record, str]]


def ranking(records: Iterable[Record]) -> Ranking:
    """Ranking of all records, the same for any order of them.

    There is one section per data set, protocol, test list and truth, since numbers of different
    ones cannot be compared.

    Args:
        records: with different ids.

    Raises:
        ValueError: two records have the same id.
    """
    ordered = sorted(records, key=lambda record: record.id)
    for one, other in pairwise(ordered):
        if one.id == other.id:
            raise ValueError(f"two records have the id {one.id}")
    kept, left_out = _latest_ranked(ordered)
    return Ranking(sections_of(kept), left_out)


def sections_of(records: Iterable[Record]) -> list[Section]:
    """Sections of records in any order, whether or not they are ranked."""
    sections: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.id):
        sections[section_key(record)].append(record)
    return [Section(tuple(sections[key])) for key in sorted(sections)]


def section_key(record: Record) -> tuple[str, ...]:
    """What runs share whose numbers can be compared."""
    test = record.splits["test"]
    return record.data, record.protocol, test.name, test.sha256, truth_settings(record)


def truth_settings(record: Record) -> str:
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
        place = (*section_key(record), variant_key(record), record.seed)
        if place in latest:
            left_out.append((latest[place], "the same run was made again later"))
        latest[place] = record
    return list(latest.values()), left_out


def _rows(records: Sequence[Record]) -> list[Row]:
    """Rows from the best mean of the first key down, then by label; without a map after those."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[variant_key(record)].append(record)
    labels = {key: _label(members[0]) for key, members in groups.items()}
    repeated = {label for label in labels.values() if list(labels.values()).count(label) > 1}
    rows = [
        Row(
            tuple(sorted(members, key=lambda record: record.seed)),
            f"#{key[:6]}" if labels[key] in repeated else None,
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
    words = _own_words(record)
    return record.method + (f" ({', '.join(words)})" if words else "")


def _own_words(record: Record) -> tuple[str, ...]:
    """What its user changed, and which file of weights was tested."""
    tested = record.checkpoint
    weights = [] if tested is None else [f"{tested.kind} weights {tested.sha256[:8]}"]
    return (*changed_settings(record), *weights)


def started_from(record: Record) -> str:
    """What a run started from: its card's word, or none where it was given no weights."""
    settings = dict(flat(record.config))
    if settings.get("method.backbone") == "features":  # which come with the data
        return record.card.pretraining
    weights = [value for key, value in settings.items() if key.startswith("method.pretrained")]
    return "none" if weights and set(weights) == {None} else record.card.pretraining


def changed_settings(record: Record) -> tuple[str, ...]:
    """Settings that the user of a run gave and that may change a score, sorted."""
    given = (word for word in record.overrides if not _is_neutral(word.partition("=")[0]))
    return tuple(sorted(given))


def fullest(records: Sequence[Record]) -> Record:
    """The run that scored most clips, hence with the best known floors."""
    return min(records, key=lambda record: (-record.n, record.id))


def known_floors(records: Sequence[Record]) -> dict[str, Figures]:
    """Floors that any of the runs was compared with, and floors that were run themselves."""
    floors: dict[str, Figures] = {}
    for record in sorted(records, key=lambda record: (-record.n, record.id)):
        own = {record.method: Figures(record.metrics, record.ci95)} if record.card.floor else {}
        floors = {**own, **record.floors, **floors}
    return dict(sorted(floors.items()))


def over_seeds(runs: Sequence[Figures | ProtocolFigures], key: str) -> Measured | None:
    """Mean over runs, standard deviation over runs, mean ends of their intervals.

    Args:
        runs: of one row.
        key: of the metric.

    Returns:
        None where no run has the metric.

    Examples:
        >>> over_seeds([Figures({"auc": 0.25}), Figures({"auc": 0.75})], "auc")
        Measured(value=0.5, spread=0.3535533905932738, interval=None)
    """
    values = [run.metrics[key] for run in runs if key in run.metrics]
    if not values:
        return None
    ends = [run.ci95[key] for run in runs if key in run.ci95]
    interval = (fmean(low for low, _ in ends), fmean(high for _, high in ends)) if ends else None
    return Measured(fmean(values), stdev(values) if len(values) > 1 else None, interval)


def measured_in(figures: Figures, key: str) -> Measured | None:
    """One number with its interval and, of a random floor, its spread over the draws."""
    if key not in figures.metrics:
        return None
    return Measured(figures.metrics[key], figures.spread.get(key), figures.ci95.get(key))


def percent(fraction: float | None) -> str:
    """A fraction as a percentage with one decimal.

    >>> percent(0.341), percent(None)
    ('34.1', '-')
    """
    return NONE if fraction is None else f"{100 * fraction:.1f}"
