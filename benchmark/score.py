"""Scores of maps made by any program, under any protocol, beside floors and ceiling."""

import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.floor_cache import cached_ceiling, cached_floor, cached_floors
from benchmark.predictions import OWN, SWAPPED, Given
from benchmark.records import Record, write_scores
from benchmark.registry import DATA_REGISTRY
from benchmark.settings import as_words, of_data
from datamodules.ground_truth import READERS, GroundTruth, ground_truth
from datamodules.id_lists import ids_sha256
from datamodules.progress import progress_bar
from metrics.breakdown import KINDS, Group, breakdown
from metrics.ceilings import skill
from metrics.errors import BenchError, did_you_mean
from metrics.floors import available_floors, best_floor
from metrics.predictions import MapRange, Predictions
from metrics.protocols import PROTOCOLS, Protocol, protocol_named
from metrics.scoring import Scores, score
from metrics.truth import Truth, measured_truth

log = logging.getLogger(__name__)
ALL = "all"
SCORES = "scores.csv"  # of a run, in its folder
UNIT_RANGE = (0.0, 1.0)
NOTABLE_SECONDS = 1.0  # reading kept floors of 5,158 samples takes less


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the ground truth of a data set is; see ``datamodules.ground_truth``."""

    data: str
    root: Path | None = None
    annotations: Path | None = None
    test_list: Path | None = None
    overrides: tuple[str, ...] = ()  # settings data.* of a data set that makes its own truth


class Expected(NamedTuple):
    """The test list that is scored.

    ``only`` says that the user chose the list, so that predictions of other ids are left out; else
    such ids are mistakes.
    """

    name: str
    truth: tuple[Truth, ...]
    notes: tuple[str, ...]
    only: bool = False


class Board(NamedTuple):
    """What one set of predictions scores under one protocol, and what that is worth."""

    data: str
    list_sha256: str
    protocol: Protocol
    scores: Scores
    swapped: Scores | None
    floors: Mapping[str, Scores]
    ceiling: Mapping[str, float]
    groups: Mapping[str, Sequence[Group]]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    assumed: tuple[str, ...] = ()  # of the range of the maps

    @property
    def best_floor(self) -> dict[str, str]:
        """Name of the best floor, per metric; the first of equal ones."""
        found = {key: best_floor(self.floors, key) for key in self.scores.metrics}
        return {key: name for key, name in found.items() if name is not None}

    @property
    def skill(self) -> dict[str, float | None]:
        """Share of the way from the best floor to the ceiling, per metric.

        None where it is undefined: a sample is missing, whereas floors and ceiling are those of the
        whole list, or the score lies above the ceiling, which holds for maps without equal pixels.
        """
        best = self.best_floor
        return {
            key: None
            if self.scores.missing or key in self.above_ceiling
            else skill(
                value,
                self.floors[best[key]].metrics[key] if key in best else None,
                self.ceiling.get(key),
            )
            for key, value in self.scores.metrics.items()
        }

    @property
    def above_ceiling(self) -> tuple[str, ...]:
        """Metrics above their ceiling: equal pixels can escape a rule that counts pixels."""
        return tuple(
            key
            for key, value in self.scores.metrics.items()
            if value > self.ceiling.get(key, value) + 1e-12
        )

    @property
    def escapes(self) -> tuple[str, ...]:
        """A line on the metrics above their ceiling; nothing where there are none."""
        if not self.above_ceiling:
            return ()
        return (
            f"{self.scores.protocol}: {', '.join(self.above_ceiling)} above the ceiling; boxes "
            "and maps with many equal pixels escape a rule that counts pixels",
        )

    @property
    def published(self) -> tuple[str, ...]:
        """Which list the source of the protocol scored, in a line; nothing where unknown."""
        of_source = self.protocol.lists.get(self.data)
        if of_source is None:
            return ()
        return (
            f"{self.protocol.name} was published on {of_source}; here {self.scores.n} of "
            f"{self.scores.n_expected} are scored",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; fractions in [0, 1]. Equal for equal input: no time is among them."""
        scores = self.scores
        metrics, ci95 = dict(scores.metrics), dict(scores.ci95)
        if self.swapped is not None:
            metrics |= {f"swap_{key}": value for key, value in self.swapped.metrics.items()}
            ci95 |= {f"swap_{key}": pair for key, pair in self.swapped.ci95.items()}
        return {
            "protocol": scores.protocol,
            "data": self.data,
            "n": scores.n,
            "n_expected": scores.n_expected,
            "missing": list(scores.missing),
            "metrics": metrics,
            "ci95": {key: list(pair) for key, pair in ci95.items()},
            "floors": {name: dict(floor.metrics) for name, floor in self.floors.items()},
            "floors_ci95": {
                name: {key: list(pair) for key, pair in floor.ci95.items()}
                for name, floor in self.floors.items()
            },
            "ceiling": dict(self.ceiling),
            "skill": self.skill,
            "groups": {
                by: [group._asdict() for group in groups] for by, groups in self.groups.items()
            },
            "excluded": list(scores.excluded),
            "negatives": len(scores.negatives),
            "undefined": list(scores.undefined),
            "constant_maps": list(scores.constant_maps),
            "thresholds": None if scores.thresholds is None else list(scores.thresholds),
            "partial": scores.partial,
            "oracle": self.protocol.oracle,
            "list_sha256": self.list_sha256,
            "notes": [*self.notes, *self.published, *self.assumed, *self.escapes],
        }


def find_truth(place: Place, record: Record | None) -> Expected:
    """Ground truth of a whole test list.

    Data sets with an annotation file are read from it, without frames or sounds; others make their
    truth themselves. The record of a run on the same data gives the test list and the settings
    that the user does not; where the data lie it does not know.

    Raises:
        BenchError: no such data set, or its annotations are missing or malformed.
    """
    known = (*READERS, *(name for name in DATA_REGISTRY.names() if name not in READERS))
    if place.data not in known:
        raise BenchError(
            f"unknown data set {place.data!r}.{did_you_mean(place.data, known)} "
            f"Ids can be scored of: {', '.join(known)}."
        )
    own = record if record is not None and record.data == place.data else None
    found = _read_truth(place, own) if place.data in READERS else _own_truth(place, own)
    if record is not None:
        _warn_of_other_list(record, found)
    only = place.test_list is not None
    return Expected(found.name, found.truth, found.notes, only)


def _read_truth(place: Place, record: Record | None) -> GroundTruth:
    known = READERS[place.data].settings
    words = [word.partition("=") for word in place.overrides]
    foreign = next(("".join(word) for word in words if word[0] not in known), None)
    if foreign is not None:
        raise BenchError(
            f"{foreign!r} is no setting of --data {place.data}, which is read from its "
            "annotations; give --root, --annotations or --list"
        )
    recorded = {} if record is None else of_data(record.config)
    test_list, its_list = place.test_list, recorded.get("data.test_list")
    if test_list is None and its_list is not None:
        test_list = Path(str(its_list))
    settings = {key: recorded[key] for key in known if key in recorded}
    return ground_truth(
        place.data,
        root=place.root,
        annotations=place.annotations,
        test_list=test_list,
        settings=settings | {key: value for key, _, value in words},
    )


def _own_truth(place: Place, record: Record | None) -> GroundTruth:
    """Truth of a data set that has no annotation file; torch is imported for it."""
    from benchmark.config import data_alone, split_overrides
    from datamodules.clip import Inputs

    for option, path in (("--annotations", place.annotations), ("--list", place.test_list)):
        if path is not None:
            raise BenchError(f"data set {place.data!r} makes its own truth; leave {option} out")
    settings = {} if record is None else of_data(record.config)
    if place.root is not None:
        settings["data.root"] = place.root
    words = as_words(settings | split_overrides(place.overrides))
    data_class, config = data_alone(place.data, words)
    made = getattr(config, "segments", 1)  # all of them, whatever a method would ask for
    data = data_class(config, replace(Inputs(), num_segments=made), seed=0)
    data.setup("test")
    return GroundTruth(data.report.splits["test"].name, data.truth(), data.report.notes)


def _warn_of_other_list(record: Record, found: GroundTruth) -> None:
    tested = record.splits["test"]
    if record.n_expected != len(found.truth):
        log.warning(
            "the run was to be tested on %d samples, %s has %d",
            record.n_expected, found.name, len(found.truth),
        )  # fmt: skip
    elif tested.n == record.n_expected and tested.sha256 != list_hash(found.truth):
        log.warning("the run was tested on another list of %d than %s", tested.n, found.name)


def list_hash(truth: Sequence[Truth]) -> str:
    """sha256 of a test list, as in a record."""
    return ids_sha256([sample.id for sample in truth])


def chosen_protocols(names: Sequence[str], data: str, given: Given) -> list[Protocol]:
    """Protocols of the given names in their order, each once.

    ``all`` stands for every one that exists for these maps: where they state no range, and leave
    [0, 1] or are those of a run, those that go by values do not, and a warning says so.

    Args:
        names: as asked.
        data: name of the data set.
        given: what they are for.

    Raises:
        BenchError: no protocol has a name.
    """
    every = list(PROTOCOLS)
    extent = _unstated_extent(given)
    if ALL in names and extent is not None and not _may_be_assumed(extent, given):
        every = [name for name in PROTOCOLS if not PROTOCOLS[name].needs_range]
        left_out = [name for name in PROTOCOLS if name not in (*every, *names)]
        log.warning("%s: left out, as the range of the maps is not stated with --map-range: %s",
                    given.path, ", ".join(left_out))  # fmt: skip
    wanted = [each for name in names for each in (every if name == ALL else [name])]
    return [protocol_named(name, data) for name in dict.fromkeys(wanted)]


def prepared(given: Given, *, map_range: MapRange | None, boxes: bool) -> Given:
    """What was given, with what the user says of it.

    Args:
        given: predictions or a floor.
        map_range: of the maps, in place of what the file or the run states; None keeps that.
        boxes: whether the best box is to be scored in place of the map.

    Raises:
        BenchError: something is said of the maps of a floor, which has none.
    """
    if given.predictions is None and (boxes or map_range is not None):
        raise BenchError(
            f"{given.path} is a run of the floor {given.floor!r}, which stores a rule and no maps; "
            "leave --boxes and --map-range out"
        )

    def told(predictions: Predictions | None) -> Predictions | None:
        if predictions is None:
            return None
        return predictions._replace(
            map_range=map_range or predictions.map_range,
            use_boxes=boxes or predictions.use_boxes,
        )

    return given._replace(predictions=told(given.predictions), swapped=told(given.swapped))


def score_boards(
    given: Given,
    expected: Expected,
    data: str,
    protocols: Sequence[Protocol],
    *,
    success: Sequence[float] = (),
    by: Sequence[str] = (),
    seed: int = 0,
    floors: bool = True,
) -> list[Board]:
    """Scores, floors and ceiling under each protocol.

    Nothing depends on the order of the predictions. Everything is scored before the first floor is
    computed, so that a mistake does not wait for it.

    Args:
        given: predictions, or the name of a floor.
        expected: the whole test list.
        data: name of the data set.
        protocols: of :func:`chosen_protocols`.
        success: further consensus IoU thresholds, a key ``ciou@`` each.
        by: ``category`` or ``size``, groups to be scored on their own.
        seed: of the bootstrap.
        floors: whether floors and ceiling are wanted.

    Raises:
        BenchError: see :func:`metrics.scoring.score`; a floor or a kind of group is unknown; an
            option is out of its range; the message names the file.
    """
    localises = given.record is None or given.record.card.localises
    answers = given.predictions
    by_source = answers is None or answers.source_heatmap is not None
    truth = measured_truth(expected.truth, localises=localises, by_source=by_source)
    expected = expected._replace(truth=truth)
    _check_options(success, by, seed, expected)
    given = _in_list_order(given, expected)
    rules = [_with_success(protocol, success) for protocol in protocols]
    _check_ranges(given, rules)
    boards = [_scored_board(given, expected, data, protocol, by, seed) for protocol in rules]
    if not floors:
        return boards
    boards = [_with_floors(board, expected.truth) for board in boards]
    took = sum(board.seconds["floors"] for board in boards)
    if took > NOTABLE_SECONDS:
        log.info("floors and ceiling took %.1f s; they are kept for the next time", took)
    return boards


def _check_options(
    success: Sequence[float], by: Sequence[str], seed: int, expected: Expected
) -> None:
    for threshold in success:
        if not 0 < threshold <= 1:
            raise BenchError(f"--success must lie in (0, 1], got {threshold}")
    if seed < 0:
        raise BenchError(f"--seed must be at least 0, got {seed}")
    for kind in by:
        if kind not in KINDS:
            raise BenchError(
                f"unknown kind --by {kind!r}.{did_you_mean(kind, KINDS)} Use {' or '.join(KINDS)}."
            )
    if "category" in by and all(sample.category is None for sample in expected.truth):
        raise BenchError(f"{expected.name} has no classes; leave --by category out")
    if "size" in by and not any(sample.has_place for sample in expected.truth):
        raise BenchError(f"{expected.name} has no boxes or masks; leave --by size out")


def _in_list_order(given: Given, expected: Expected) -> Given:
    """Predictions in the order of the list, and only those of a list that the user chose.

    Raises:
        BenchError: none is left.
    """
    if given.predictions is None:
        return given
    row_of = {sample.id: row for row, sample in enumerate(expected.truth)}
    ids = given.predictions.ids
    others = [sample_id for sample_id in ids if sample_id not in row_of]
    if expected.only and len(others) == len(ids):
        raise BenchError(f"{given.path}: none of its {len(ids)} ids is on the list {expected.name}")
    if expected.only and others:
        log.warning(
            "%s: %d of %d predictions left out, not on the list %s, the first is %s",
            given.path, len(others), len(ids), expected.name, others[0],
        )  # fmt: skip
    missing = sorted(row_of.keys() - set(ids), key=row_of.__getitem__)
    if missing:
        log.warning(
            "%s: %d of %d samples have no prediction, the first is %s",
            given.path, len(missing), len(row_of), missing[0],
        )  # fmt: skip
    swapped = None if given.swapped is None else _ordered(given.swapped, row_of, expected.only)
    return given._replace(
        predictions=_ordered(given.predictions, row_of, expected.only), swapped=swapped
    )


def _ordered(predictions: Predictions, row_of: Mapping[str, int], only: bool) -> Predictions:
    """Predictions by their rows in the list; unknown ids stay, in the end, unless left out."""
    last = len(row_of)
    rows = [row_of.get(sample_id, last) for sample_id in predictions.ids]
    order = np.argsort(rows, kind="stable")
    if only:
        order = order[: sum(row < last for row in rows)]
    if np.array_equal(order, np.arange(len(rows))):
        return predictions
    arrays: dict[str, Any] = {
        name: value[order]
        for name, value in predictions._asdict().items()
        if isinstance(value, np.ndarray)
    }
    return predictions._replace(ids=tuple(predictions.ids[row] for row in order), **arrays)


def _check_ranges(given: Given, protocols: Sequence[Protocol]) -> None:
    """A warning where maps of a file without a stated range are taken to lie in [0, 1].

    Raises:
        BenchError: a protocol needs the range, it is not stated, and the maps leave [0, 1] or are
            those of a run, whose method says by its card that they have none.
    """
    names = ", ".join(protocol.name for protocol in protocols if protocol.needs_range)
    extent = _unstated_extent(given)
    if names:
        _check_stated_range(given)
    if not names or extent is None:
        return
    if not _may_be_assumed(extent, given):
        low, high = extent
        of_run = (
            "" if given.record is None else f" without a range on the card of {given.record.method}"
        )
        raise BenchError(
            f"{given.path}: {names} goes by the values of a map, and these lie in "
            f"[{low:.4g}, {high:.4g}]{of_run}; state the lowest and the highest that the method "
            "can give with --map-range LOW HIGH"
        )
    log.warning("%s: the maps lie in [0, 1], which is taken for their range (%s)",
                given.path, names)  # fmt: skip


def _check_stated_range(given: Given) -> None:
    """Nothing, or an error where maps leave their stated range by more than rounding."""
    for predictions in (given.predictions, given.swapped):
        if predictions is None or predictions.map_range is None or predictions.use_boxes:
            continue
        low, high = predictions.map_range
        slack = 1e-3 * (high - low)
        for maps in (predictions.heatmap, predictions.source_heatmap):
            if maps is not None and (maps.min() < low - slack or maps.max() > high + slack):
                raise BenchError(
                    f"{given.path}: the maps lie in [{maps.min():.4g}, {maps.max():.4g}] and leave "
                    f"their stated range [{low:.4g}, {high:.4g}]; correct --map-range LOW HIGH"
                )


def _unstated_extent(given: Given) -> MapRange | None:
    """Lowest and highest value of maps that state no range; None where there are none such.

    None also where one is no finite number: scoring names its sample.
    """
    of_maps = [
        maps
        for predictions in (given.predictions, given.swapped)
        if predictions is not None and predictions.map_range is None and not predictions.use_boxes
        for maps in (predictions.heatmap, predictions.source_heatmap)
        if maps is not None
    ]
    if not of_maps:
        return None
    low, high = min(maps.min() for maps in of_maps), max(maps.max() for maps in of_maps)
    return (float(low), float(high)) if np.isfinite([low, high]).all() else None


def _may_be_assumed(extent: MapRange, given: Given) -> bool:
    """Whether [0, 1] may be taken for the range of maps that state none: a file in it, no run."""
    return given.record is None and UNIT_RANGE[0] <= extent[0] and extent[1] <= UNIT_RANGE[1]


def _assumed(given: Given, protocol: Protocol) -> tuple[str, ...]:
    """A line on the range that maps are taken to have; nothing where it is stated or not needed."""
    if not protocol.needs_range or _unstated_extent(given) is None:
        return ()
    return (f"{protocol.name}: the maps lie in [0, 1], which is taken for their range",)


def _with_success(protocol: Protocol, success: Sequence[float]) -> Protocol:
    return replace(
        protocol,
        success_thresholds=tuple(dict.fromkeys((*protocol.success_thresholds, *success))),
    )


def _scored_board(
    given: Given,
    expected: Expected,
    data: str,
    protocol: Protocol,
    by: Sequence[str],
    seed: int,
) -> Board:
    started = time.perf_counter()
    swapped = None
    if given.predictions is None:
        scores = _floor_scores(given, expected.truth, protocol)
    else:
        own = given.path / OWN if given.record is not None else given.path
        scores = _scored(given.predictions, expected.truth, protocol, seed, own)
        if given.swapped is not None:
            other = given.path / SWAPPED
            swapped = _scored(given.swapped, expected.truth, protocol, seed, other, scores)
    groups = {one: breakdown(scores, expected.truth, protocol, one, seed) for one in by}
    return Board(
        data=data,
        list_sha256=list_hash(expected.truth),
        protocol=protocol,
        scores=scores,
        swapped=swapped,
        floors={},
        ceiling={},
        groups=groups,
        notes=expected.notes,
        seconds={"scores": time.perf_counter() - started},
        assumed=_assumed(given, protocol),
    )


def _with_floors(board: Board, truth: Sequence[Truth]) -> Board:
    started = time.perf_counter()
    floors = cached_floors(truth, board.protocol)
    top = cached_ceiling(truth, board.protocol)
    took = time.perf_counter() - started
    return board._replace(floors=floors, ceiling=top, seconds={**board.seconds, "floors": took})


def _floor_scores(given: Given, truth: Sequence[Truth], protocol: Protocol) -> Scores:
    names = available_floors(truth)
    if given.floor not in names:
        raise BenchError(
            f"{given.path}: no floor {given.floor!r} on this list; there are: {', '.join(names)}"
        )
    return cached_floor(given.floor, truth, protocol)


def _scored(
    predictions: Predictions,
    truth: Sequence[Truth],
    protocol: Protocol,
    seed: int,
    path: Path,
    unswapped: Scores | None = None,
) -> Scores:
    if protocol.needs_range and predictions.map_range is None:
        predictions = predictions._replace(map_range=UNIT_RANGE)
    with progress_bar(f"scoring under {protocol.name}", len(predictions.ids)) as advance:
        try:
            return score(
                predictions,
                truth,
                protocol,
                seed=seed,
                thresholds=None if unswapped is None else unswapped.thresholds,
                onscreen_thresholds=None if unswapped is None else unswapped.onscreen_thresholds,
                progress=lambda _: advance(),
            )
        except BenchError as error:
            raise BenchError(f"{path}: {error}") from error


def write_samples(
    path: Path, boards: Sequence[Board], inputs: Sequence[Path | None] = ()
) -> list[Path]:
    """Per-sample tables, one file per protocol; ``FILE.<protocol>.csv`` where there are several.

    Args:
        path: of ``--per-sample``.
        boards: one per protocol.
        inputs: as in :func:`check_writable`.

    Returns:
        The files, in the order of the boards.

    Raises:
        BenchError: a file cannot be written; what was there before is left as it was.
    """
    targets = [path]
    if len(boards) > 1:
        names = [board.protocol.name for board in boards]
        targets = [path.with_name(f"{path.stem}.{name}{path.suffix}") for name in names]
    for target in targets:
        check_writable(target, inputs)
    for target, board in zip(targets, boards, strict=True):
        columns = dict(board.scores.values)
        if board.swapped is not None:
            columns |= _swap_columns(board.swapped, board.scores)
        try:
            write_scores(target, board.scores.ids, columns)
        except OSError as error:
            raise _unwritable(target, error.strerror or str(error)) from error
    return targets


def _swap_columns(swapped: Scores, scores: Scores) -> dict[str, Any]:
    row_of = {sample_id: row for row, sample_id in enumerate(swapped.ids)}
    rows = [row_of.get(sample_id) for sample_id in scores.ids]
    return {
        f"swap_{name}": np.array([np.nan if row is None else column[row] for row in rows])
        for name, column in swapped.values.items()
        if name not in ("threshold", "confidence")
    }


def check_writable(path: Path | None, inputs: Iterable[Path | None] = ()) -> None:
    """Nothing, or an error before any work is done where a table should not be written.

    Args:
        path: of the table; an older one there is replaced.
        inputs: what is read, None where there is nothing.

    Raises:
        BenchError: the folder is absent or read-only, or what is there is an input, the scores of a
            run or no table.
    """
    if path is None:
        return
    if path.exists() and not path.is_file():
        raise _unwritable(path, "it is no file")
    if not path.parent.is_dir():
        raise _unwritable(path, f"{path.parent} is no folder")
    if not os.access(path.parent, os.W_OK):
        raise _unwritable(path, f"{path.parent} may not be written to")
    if (reason := _worth_keeping(path, inputs)) is not None:
        raise BenchError(f"{path} is not written ({reason}); give --per-sample another FILE")


def _worth_keeping(path: Path, inputs: Iterable[Path | None]) -> str | None:
    """Why what is there should not be replaced by a table; None where it may be."""
    if not path.exists():
        return None
    if any(given is not None and given.exists() and path.samefile(given) for given in inputs):
        return "it is read"
    if path.name == SCORES and (path.parent / "record.json").exists():
        return "it is a result of the run"
    with path.open("rb") as stream:
        start = stream.read(3)
    return None if start in (b"", b"id,") else "it is there and is no table of scores"


def _unwritable(path: Path, reason: str) -> BenchError:
    return BenchError(
        f"{path} cannot be written ({reason}); give --per-sample FILE in a folder that exists and "
        "that you may write to"
    )


def stated_range(low_high: Sequence[float] | None) -> MapRange | None:
    """The range of the maps as stated by the user.

    Raises:
        BenchError: it is empty or no numbers.
    """
    if low_high is None:
        return None
    low, high = low_high
    if not (np.isfinite([low, high]).all() and low < high):
        raise BenchError(f"--map-range must be LOW < HIGH, got {low} {high}")
    return low, high
