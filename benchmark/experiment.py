"""Tables of papers as files: what fills each row, and making the runs that are not there yet.

A file of ``benchmark/experiments`` names the rows of one table, the settings and seeds that fill
them, the published values, and the orderings that the paper claims. Nothing here scores anything:
a row is filled by the records of runs whose settings are the row's.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import NamedTuple

from benchmark.config import OVERRIDE, RunConfig, compose, split_overrides
from benchmark.experiment_list import EXPERIMENTS, experiment_names
from benchmark.records import Record, is_ranked, read_record, read_results
from benchmark.registry import DATA_REGISTRY, METHOD_REGISTRY
from benchmark.settings import NOT_IN_HASH, flat
from benchmark.typed_yaml import Place, content_of, typed
from metrics.errors import BenchError, did_you_mean
from metrics.protocols import protocol_named

SYNTHETIC = "synthetic"
FIGURES = ("success", "onscreen", "curve", "categories")  # drawings of benchmark/figures.py


@dataclass(frozen=True)
class OnSynthetic:
    """What a row needs on ``synthetic`` beside its own settings without ``data.*``."""

    overrides: tuple[str, ...] = ()  # a setting given here replaces the row's
    x: float | None = None  # in place of the row's


@dataclass(frozen=True)
class Row:
    """One row of a table: the settings of its runs, and what the paper prints."""

    id: str
    label: str
    method: str
    data: str
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    published: dict[str, float] = field(default_factory=dict)  # metric -> percent
    published_spread: dict[str, float] = field(default_factory=dict)  # what stands behind a ±
    x: float | None = None  # place of the row in a figure `curve`
    not_built: str | None = None  # why no run can fill the row, whatever is registered
    on_synthetic: OnSynthetic = field(default_factory=OnSynthetic)


@dataclass(frozen=True)
class Claim:
    """One ordering that the paper states in words or by its bold type."""

    text: str  # in our words, with the section
    better: str  # id of a row
    worse: str  # id of a row
    metric: str


@dataclass(frozen=True)
class Experiment:
    """One table of a paper."""

    name: str  # of the file
    source: str  # paper and page
    table: str  # as the paper calls it
    protocol: str  # rules under which the paper's numbers were made
    note: str
    metrics: tuple[str, ...]  # keys of the columns
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()
    test_clips: dict[str, int] = field(default_factory=dict)  # data set -> clips the paper tested
    figure: str | None = None  # one of FIGURES
    figure_x: str = ""  # what the x of the rows counts
    weights: tuple[str, ...] = ()  # settings that name a user's files of weights

    def row(self, row_id: str) -> Row:
        """The row of that id.

        Raises:
            BenchError: there is none.
        """
        rows = {row.id: row for row in self.rows}
        if row_id not in rows:
            raise BenchError(
                f"experiment {self.name} has no row {row_id!r}.{did_you_mean(row_id, rows)} "
                f"Its rows are {', '.join(rows)}."
            )
        return rows[row_id]


def experiment_named(name: str) -> Experiment:
    """The shipped table of that name.

    Raises:
        BenchError: there is none, or its file is not valid.
    """
    names = experiment_names()
    if name not in names:
        raise BenchError(
            f"unknown experiment {name!r}.{did_you_mean(name, names)} There are: {', '.join(names)}"
        )
    return read_experiment(EXPERIMENTS / f"{name}.yaml")


def read_experiment(path: Path) -> Experiment:
    """The table of a YAML file; scalars are text until the type of their key reads them.

    Raises:
        BenchError: the file is no YAML mapping, or a key is missing, unknown, given twice or of the
            wrong type; the message names the file, the row and the key.
    """
    content = content_of(path)
    if isinstance(content, dict):
        if "name" in content:
            raise BenchError(f"{path}: unknown key 'name'; the experiment is named by its file")
        content = {"name": path.stem, **content}
    experiment = typed(Experiment, content, Place(str(path)))
    assert isinstance(experiment, Experiment)
    _check(experiment, str(path))
    return experiment


def _check(experiment: Experiment, path: str) -> None:
    """What types cannot say; raises BenchError naming file, row and key."""
    whole = Place(path)
    for key in ("rows", "metrics"):
        if not getattr(experiment, key):
            raise whole.at(key).expected("a list with at least one entry", [])
    try:
        protocol_named(experiment.protocol)
    except BenchError as error:
        raise BenchError(f"{path}: protocol: {error}") from error
    if experiment.figure is not None:
        _check_known(experiment.figure, FIGURES, whole.at("figure"), "a kind of drawing")
    for setting in experiment.weights:
        if not setting.startswith("method."):
            raise whole.at("weights").expected(
                "settings of methods such as method.pretrained", setting
            )
    ids = [row.id for row in experiment.rows]
    for row in experiment.rows:
        if ids.count(row.id) > 1:
            raise BenchError(f"{path}: row {row.id} stands {ids.count(row.id)} times; rename one")
        _check_row(row, experiment.metrics, f"{path}: row {row.id}")
    for number, claim in enumerate(experiment.claims):
        place = whole.at(f"claims[{number}]")
        _check_known(claim.better, ids, place.at("better"), "a row")
        _check_known(claim.worse, ids, place.at("worse"), "a row")
        _check_known(claim.metric, experiment.metrics, place.at("metric"), "one of metrics")
        if claim.better == claim.worse:
            raise place.at("worse").expected("another row than the better one", claim.worse)


def _check_row(row: Row, metrics: Sequence[str], within: str) -> None:
    place = Place(within)
    for key, percent in row.published.items():
        _check_known(key, metrics, place.at("published"), "given for one of metrics")
        if not 0 <= percent <= 100:
            raise place.at(f"published.{key}").expected("a percentage", percent)
    for key in row.published_spread:
        _check_known(
            key, tuple(row.published), place.at("published_spread"), "given for one of published"
        )
    if not row.seeds or len(set(row.seeds)) < len(row.seeds) or min(row.seeds) < 0:
        raise place.at("seeds").expected("different whole numbers from 0", list(row.seeds))
    given = {"overrides": row.overrides, "on_synthetic.overrides": row.on_synthetic.overrides}
    for key, words in given.items():
        for word in words:
            if not OVERRIDE.match(word) or word.startswith("seed="):
                raise place.at(key).expected("settings such as optim.lr=1e-4, no seed", word)


def _check_known(word: str, known: Sequence[str], place: Place, expected: str) -> None:
    if word not in known:
        error = place.expected(expected, word)
        raise BenchError(f"{error}.{did_you_mean(word, known)} Known are {', '.join(known)}.")


@dataclass(frozen=True)
class Given:
    """What a command line adds to every run of a table."""

    overrides: tuple[str, ...] = ()  # where and how to run only, such as data.root
    files: tuple[Path, ...] = ()
    limit: int | None = None
    dry_run: bool = False


NOTHING_GIVEN = Given()


def unavailable(row: Row, on: str | None) -> str | None:
    """Why no run can fill a row, or None where one can."""
    if row.not_built is not None:
        return row.not_built
    asked = ((METHOD_REGISTRY, row.method), (DATA_REGISTRY, on or row.data))
    missing = [
        f"{registry.kind} {name} is not registered"
        for registry, name in asked
        if name not in registry.names()
    ]
    return "; ".join(missing) or None


def row_settings(row: Row, on: str | None) -> tuple[str, tuple[str, ...]]:
    """Data set and overrides of a row.

    On ``synthetic`` the settings ``data.*`` of another data set have no meaning and are dropped;
    what the row gives under ``on_synthetic`` comes on top.
    """
    if on is None or on == row.data:
        return row.data, row.overrides
    replaced = split_overrides(row.on_synthetic.overrides)
    kept = [
        word
        for word in row.overrides
        if not word.startswith("data.") and word.partition("=")[0] not in replaced
    ]
    return on, (*kept, *row.on_synthetic.overrides)


def row_config(
    experiment: Experiment,
    row: Row,
    seed: int,
    *,
    on: str | None = None,
    given: Given = NOTHING_GIVEN,
) -> RunConfig:
    """The configuration of one run of a row.

    Raises:
        BenchError: a setting is unknown or wrong, or one of ``given`` would change what is run.
    """
    data, overrides = row_settings(row, on)

    def composed(extra: Sequence[str], files: Sequence[Path]) -> RunConfig:
        return compose(
            row.method,
            data,
            overrides=(*overrides, *extra),
            files=files,
            seed=seed,
            limit=given.limit,
            dry_run=given.dry_run,
        )

    try:
        plain = composed((), ())
        if not given.overrides and not given.files:
            return plain
        config = composed(_meant_for(plain, experiment, given.overrides), given.files)
    except BenchError as error:
        raise BenchError(f"experiment {experiment.name}, row {row.id}: {error}") from error
    own, asked = plain.identity()["values"], config.identity()["values"]
    changed = [key for key in own if own[key] != asked[key] and key not in experiment.weights]
    if changed:
        also = f", or weights: {' '.join(experiment.weights)}" if experiment.weights else ""
        raise BenchError(
            f"experiment {experiment.name}, row {row.id}: {', '.join(changed)} would make another "
            "run than the row's; with --experiment give only settings that cannot change a score, "
            f"such as data.root, data.num_workers, trainer.devices or logging.runs{also}"
        )
    return config


def _meant_for(config: RunConfig, experiment: Experiment, words: Sequence[str]) -> list[str]:
    """Settings of a command line without weights that a row's method does not take."""
    keys = [word.partition("=")[0] for word in words]
    return [
        word
        for key, word in zip(keys, words, strict=True)
        if key not in experiment.weights or key in config.values
    ]


class StoredRun(NamedTuple):
    """A finished run that was found on disk."""

    record: Record
    scores: Path  # of its samples; the file may be missing
    accepted: bool  # whether it lies among the results


def stored_runs(results: Path, runs: Path) -> list[StoredRun]:
    """Accepted records and finished run folders, in the order of their ids.

    A run that was accepted is taken from the results, not from its folder.

    Raises:
        BenchError: a record is not valid.
    """
    found = {}
    for path in runs.glob("*/record.json"):
        record = read_record(path)
        found[record.id] = StoredRun(record, path.with_name("scores.csv"), accepted=False)
    for record in read_results(results):
        found[record.id] = StoredRun(record, results / f"{record.id}.csv", accepted=True)
    return [found[record_id] for record_id in sorted(found)]


def run_of(
    config: RunConfig, stored: Iterable[StoredRun], *, free: Sequence[str] = ()
) -> StoredRun | None:
    """The latest complete run with that method, data set, seed and settings, if there is one.

    Args:
        config: of the run.
        stored: where to look.
        free: settings that may have any value, such as those that name weights.
    """
    fitting = [
        run for run in stored if is_ranked(run.record)[0] and has_settings(run, config, free=free)
    ]
    return max(fitting, key=lambda run: run.record.id, default=None)


def has_settings(run: StoredRun, config: RunConfig, *, free: Sequence[str] = ()) -> bool:
    """Whether a run was made with a configuration, apart from what cannot change a score.

    A setting that is younger than the record counts as having its default.
    """
    record = run.record
    if record.checkpoint is not None:
        return False  # it trained nothing
    names = (record.method, record.data, record.seed)
    if names != (config.method_name, config.data_name, config.seed):
        return False
    held = dict(flat(record.config))
    compared = {key for key in {*held, *config.values} if not NOT_IN_HASH.fullmatch(key)}
    if not compared <= config.values.keys():
        return False  # made by a setting that is no more
    return all(
        config.values[key] == (held[key] if key in held else _default(config, key))
        for key in compared - {"seed", *free}
    )


def _default(config: RunConfig, key: str) -> object:
    group, _, name = key.partition(".")
    (setting,) = (item for item in fields(getattr(config, group)) if item.name == name)
    if setting.default_factory is MISSING:
        return setting.default
    return setting.default_factory()


@dataclass(frozen=True)
class PlannedRun:
    """What is to be done for one row and seed.

    ``unavailable`` rows have neither seed nor configuration; a run that is ``known`` is not made.
    """

    row: Row
    seed: int | None = None
    config: RunConfig | None = None
    known: StoredRun | None = None
    unavailable: str | None = None

    @property
    def name(self) -> str:
        """Row and seed in the words of a message."""
        return self.row.id if self.seed is None else f"{self.row.id}, seed {self.seed}"


def plan(
    experiment: Experiment,
    results: Path,
    *,
    rows: Sequence[str] = (),
    on: str | None = None,
    given: Given = NOTHING_GIVEN,
) -> list[PlannedRun]:
    """What is to be run, what is known already and what cannot be run; changes nothing.

    Args:
        experiment: the table.
        results: folder of the accepted records; finished runs are looked for in ``logging.runs``.
        rows: ids of the rows; none means all.
        on: ``synthetic`` to run the rows there, or None.
        given: of the command line.

    Raises:
        BenchError: a row is unknown or its settings are wrong, before anything is run.
    """
    require_known_data(on)
    planned: list[PlannedRun] = []
    for row in [experiment.row(row_id) for row_id in rows] or experiment.rows:
        reason = unavailable(row, on)
        if reason is not None:
            planned.append(PlannedRun(row, unavailable=reason))
            continue
        configs = {
            seed: row_config(experiment, row, seed, on=on, given=given) for seed in row.seeds
        }
        planned += [PlannedRun(row, seed, config) for seed, config in configs.items()]
    folders = {run.config.logging.runs for run in planned if run.config is not None}
    stored = {folder: stored_runs(results, Path(folder)) for folder in folders}
    return [
        run
        if run.config is None
        else PlannedRun(
            run.row, run.seed, run.config, run_of(run.config, stored[run.config.logging.runs])
        )
        for run in planned
    ]


def require_known_data(on: str | None) -> None:
    """Raises BenchError unless ``on`` is None or ``synthetic``."""
    if on not in (None, SYNTHETIC):
        raise BenchError(f"--on {on}: rows can be moved to {SYNTHETIC} only")


def run_plan(
    planned: Iterable[PlannedRun],
    run: Callable[[RunConfig], Record],
    say: Callable[[str], None],
) -> None:
    """Makes the runs that are not known; what is there is skipped, so calling it again resumes.

    A run that its user must mend does not stop the others.

    Args:
        planned: of :func:`plan`.
        run: makes one run.
        say: takes a line for the user.

    Raises:
        BenchError: at the end, if runs could not be made.
    """
    failures: dict[str, list[str]] = {}
    for each in planned:
        if each.config is None:
            say(f"{each.name}: not available: {each.unavailable}")
            continue
        if each.known is not None:
            say(f"{each.name}: skipped, {each.known.record.id} has it")
            continue
        say(f"{each.name}: running")
        try:
            record = run(each.config)
        except BenchError as error:  # raised again below, when the others had their turn
            likewise = str(error) in failures
            say(f"{each.name}: failed" + (", for the same reason" if likewise else f": {error}"))
            failures.setdefault(str(error), []).append(each.name)
            continue
        ranked, reason = is_ranked(record)
        say(f"{each.name}: done, {record.id}" + ("" if ranked else f"; fills no row: {reason}"))
    if failures:
        reasons = "; ".join(f"{', '.join(names)}: {error}" for error, names in failures.items())
        count = sum(len(names) for names in failures.values())
        raise BenchError(f"{count} {'run' if count == 1 else 'runs'} could not be made: {reasons}")


def run_experiment(
    name: str,
    results: Path,
    run: Callable[[RunConfig], Record],
    say: Callable[[str], None],
    *,
    rows: str | None = None,
    on: str | None = None,
    given: Given = NOTHING_GIVEN,
) -> None:
    """Fills a table: plans its runs and makes those that are not there.

    Args:
        name: of the experiment.
        results: folder of the accepted records.
        run: makes one run.
        say: takes a line for the user.
        rows: ids separated by commas, or None for all.
        on: ``synthetic`` or None.
        given: of the command line.

    Raises:
        BenchError: an unknown name, a wrong setting, or runs that could not be made.
    """
    planned = plan(experiment_named(name), results, rows=chosen_rows(rows), on=on, given=given)
    run_plan(planned, run, say)


def chosen_rows(rows: str | None) -> list[str]:
    """Ids of ``--rows``, which commas or spaces separate; none where it is not given, for all.

    Raises:
        BenchError: it is given and names no row.
    """
    if rows is None:
        return []
    chosen = [word for word in re.split(r"[,\s]+", rows) if word]
    if not chosen:
        raise BenchError("--rows names no row; give ids of rows, or leave --rows out for all")
    return chosen
