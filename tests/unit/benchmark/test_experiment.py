from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import RunConfig, compose
from benchmark.experiment import (
    Experiment,
    Given,
    OnSynthetic,
    Row,
    StoredRun,
    chosen_rows,
    experiment_named,
    plan,
    read_experiment,
    row_config,
    row_settings,
    run_of,
    run_plan,
    stored_runs,
    unavailable,
)
from benchmark.records import Checkpoint, Record, read_record, write_record
from benchmark.settings import PATHS, nested
from metrics.errors import BenchError

HISTORY = Path(__file__).parents[2] / "records_v1"
TABLE = """\
source: A paper, page 3
table: Table 1
protocol: lvs
note: what a reader must know
metrics: [ciou@0.5, auc]
rows:
  - id: base
    label: 0123_456
    method: lvs_vanilla
    data: synthetic
    overrides: [optim.lr=1e-4]
    seeds: [0, 3]
    published: {ciou@0.5: 27.8}
  - id: ours
    label: Ours
    method: hardpos
    data: synthetic
claims:
  - {text: ours is better, better: ours, worse: base, metric: auc}
"""


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """``table(old, new, ...)``: a file of two rows with pieces of its text replaced."""

    def written(*changes: tuple[str, str]) -> Path:
        text = TABLE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "small.yaml"
        path.write_text(text)
        return path

    return written


@pytest.fixture
def experiment(table: Callable[..., Path]) -> Experiment:
    return read_experiment(table())


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def recorded(config: RunConfig, *, day: int = 1, **changes: Any) -> Record:
    """The record that a complete run of a configuration would have."""
    values = {key: value for key, value in config.values.items() if not PATHS.fullmatch(key)}
    return replace(
        read_record(HISTORY / "complete.json"),
        id=f"202501{day:02}T000000Z-{config.method_name}-{config.data_name}-s{config.seed}",
        method=config.method_name,
        data=config.data_name,
        seed=config.seed,
        config=nested(values),
        **changes,
    )


def stored(record: Record) -> StoredRun:
    return StoredRun(record, Path("scores.csv"), accepted=True)


def runner(runs: Path, **changes: Any) -> Callable[[RunConfig], Record]:
    """Stands for the runner: writes the record of a run and nothing else."""

    def run(config: RunConfig) -> Record:
        record = recorded(config, **changes)
        folder = runs / record.id
        folder.mkdir()
        write_record(folder, record)
        return record

    return run


def given(runs: Path) -> Given:
    return Given(overrides=(f"logging.runs={runs}",))


def test_scalars_are_read_by_the_type_of_their_key(experiment: Experiment) -> None:
    expected = Row(
        id="base",
        label="0123_456",
        method="lvs_vanilla",
        data="synthetic",
        overrides=("optim.lr=1e-4",),
        seeds=(0, 3),
        published={"ciou@0.5": 27.8},
    )

    assert expected == experiment.rows[0]


def test_an_experiment_is_named_by_its_file(experiment: Experiment) -> None:
    assert experiment.name == "small"


def test_a_row_has_three_seeds_unless_it_says_otherwise(experiment: Experiment) -> None:
    assert experiment.rows[1].seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("published:", "publishd:", "small.yaml: row base: unknown key 'publishd'. Did you mean "
                                    "published?"),
        ("note:", "notes:", "small.yaml: unknown key 'notes'. Did you mean note?"),
        ("source:", "name: x\nsource:", "small.yaml: unknown key 'name'"),
        ("    method: hardpos\n", "", "small.yaml: row ours: key 'method' is missing"),
        ("  - id: ours\n    label", "  - label", "small.yaml: key 'rows[1].id' is missing"),
        ("[0, 3]", "[0, 1.5]", r"row base: seeds[1] must be a whole number, got '1.5'"),
        ("[0, 3]", "3", "row base: seeds must be a list, got '3'"),
        ("[0, 3]", "[3, 3]", "row base: seeds must be different whole numbers from 0"),
        ("[0, 3]", "[]", "row base: seeds must be different whole numbers from 0, got []"),
        ("[0, 3]", "[-1]", "row base: seeds must be different whole numbers from 0, got [-1]"),
        ("27.8}", "high}", "row base: published.ciou@0.5 must be a number, got 'high'"),
        ("27.8}", "127.8}", "row base: published.ciou@0.5 must be a percentage, got 127.8"),
        ("{ciou@0.5: 27.8}", "27.8", "row base: published must be a mapping, got '27.8'"),
        ("ciou@0.5: 27.8", "ciou@0.6: 1", "row base: published must be given for one of metrics, "
                                          "got 'ciou@0.6'. Did you mean ciou@0.5?"),
        ("label: Ours", "label: ''", "row ours: label must be text, got ''"),
        ("label: Ours", "label: [Ours]", "row ours: label must be text, got ['Ours']"),
        ("id: ours", "id: base", "small.yaml: row base stands 2 times"),
        ("optim.lr=1e-4", "optim.lr", "row base: overrides must be settings such as"),
        ("optim.lr=1e-4", "seed=4", "row base: overrides must be settings such as"),
        ("protocol: lvs", "protocol: lvss", "small.yaml: protocol: unknown protocol 'lvss'. Did "
                                            "you mean lvs?"),
        ("worse: base", "worse: bas", "claims[0].worse must be a row, got 'bas'. Did you mean "
                                      "base?"),
        ("worse: base", "worse: ours", "claims[0].worse must be another row"),
        ("metric: auc", "metric: auk", "claims[0].metric must be one of metrics, got 'auk'"),
        ("[ciou@0.5, auc]", "[]", "small.yaml: metrics must be a list with at least one entry"),
        ("note: what", "table: Table 2\nnote: what", "key 'table' is given twice"),
        ("note: what", "figure: sucess\nnote: what", "figure must be a kind of drawing, got "
                                                     "'sucess'. Did you mean success?"),
        ("note: what", "weights: [data.root]\nnote: what",
         "weights must be settings of methods such as method.pretrained, got 'data.root'"),
        ("{ciou@0.5: 27.8}", "{ciou@0.5: 27.8}\n    published_spread: {auc: 1}",
         "row base: published_spread must be given for one of published, got 'auc'"),
        ("note: what", "note: {what", "small.yaml cannot be read: while parsing a flow mapping"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_name_row_and_key(
    table: Callable[..., Path], old: str, new: str, message: str
) -> None:
    with pytest.raises(BenchError) as caught:
        read_experiment(table((old, new)))

    assert message in str(caught.value)
    assert "small.yaml" in str(caught.value)


def test_an_unknown_experiment_gets_a_suggestion() -> None:
    with pytest.raises(BenchError, match=r"'hardpos_tabel1'. Did you mean hardpos_table1\? There"):
        experiment_named("hardpos_tabel1")


def test_an_unknown_row_gets_a_suggestion(experiment: Experiment, runs: Path) -> None:
    with pytest.raises(BenchError, match=r"no row 'our'. Did you mean ours\? Its rows are base, o"):
        plan(experiment, runs, rows=["our"])


def test_on_synthetic_settings_of_other_data_are_dropped_and_given_ones_replace() -> None:
    row = Row("a", "A", "hardpos", "vggss",
              overrides=("data.train_list=vggss_144k", "method.k=300", "optim.lr=1e-3"),
              on_synthetic=OnSynthetic(("method.k=60",)))  # fmt: skip

    settings = row_settings(row, "synthetic")

    assert settings == ("synthetic", ("optim.lr=1e-3", "method.k=60"))


def test_a_row_of_synthetic_data_keeps_its_settings_there() -> None:
    row = Row("a", "A", "hardpos", "synthetic", overrides=("data.seconds=2.0",),
              on_synthetic=OnSynthetic(("method.k=60",)))  # fmt: skip

    assert row_settings(row, "synthetic") == ("synthetic", ("data.seconds=2.0",))


@pytest.mark.parametrize(
    ("row", "on", "reason"),
    [
        (Row("a", "A", "hardpos", "synthetic"), None, None),
        (Row("a", "A", "telepathy", "synthetic"), None, "method telepathy is not registered"),
        (Row("a", "A", "hardpos", "moon"), None, "data set moon is not registered"),
        (Row("a", "A", "hardpos", "moon"), "synthetic", None),
        (Row("a", "A", "hardpos", "moon", not_built="too far"), "synthetic", "too far"),
    ],
)
def test_a_row_is_available_where_its_names_are_registered(
    row: Row, on: str | None, reason: str | None
) -> None:
    assert unavailable(row, on) == reason


def test_settings_that_say_where_to_run_may_be_given(experiment: Experiment) -> None:
    there = Given(overrides=("data.root=/clips", "data.num_workers=3"))

    config = row_config(experiment, experiment.rows[0], 3, given=there)

    assert (config.data.root, config.data.num_workers, config.seed) == ("/clips", 3, 3)


def test_settings_that_change_a_score_may_not_be_given(experiment: Experiment) -> None:
    with pytest.raises(BenchError, match=r"row ours: method.k would make another run than"):
        row_config(experiment, experiment.rows[1], 0, given=Given(overrides=("method.k=7",)))


def with_weights(experiment: Experiment) -> Experiment:
    floor = Row("disc", "Disc", "center", "synthetic", seeds=(0,))
    return replace(
        experiment, weights=("method.pretrained",), rows=(*experiment.rows, floor), claims=()
    )


def test_weights_may_be_given_and_are_part_of_every_row_that_takes_them(
    experiment: Experiment,
) -> None:
    weights = Given(overrides=("method.pretrained=resnet18.pth",))

    taken = [
        row_config(with_weights(experiment), row, 0, given=weights).values.get("method.pretrained")
        for row in with_weights(experiment).rows
    ]
    assert taken == ["resnet18.pth", "resnet18.pth", None]
    with pytest.raises(BenchError, match=r"or logging\.runs, or weights: method\.pretrained$"):
        row_config(with_weights(experiment), experiment.rows[1], 0,
                   given=Given(overrides=("method.k=7",)))  # fmt: skip


def test_a_run_with_given_weights_fills_its_row_but_is_not_the_run_without() -> None:
    plain = compose("hardpos", "synthetic")
    given = stored(recorded(compose("hardpos", "synthetic", overrides=["method.pretrained=a.pth"])))

    assert run_of(plain, [given]) is None
    assert run_of(plain, [given], free=("method.pretrained",)) is given


def test_a_file_may_not_change_a_score_either(experiment: Experiment, tmp_path: Path) -> None:
    settings = tmp_path / "mine.yaml"
    settings.write_text("trainer: {max_epochs: 1}\n")

    with pytest.raises(BenchError, match=r"trainer.max_epochs would make another run"):
        row_config(experiment, experiment.rows[1], 0, given=Given(files=(settings,)))


def test_a_setting_that_does_not_exist_is_reported_with_its_row(table: Callable[..., Path]) -> None:
    experiment = read_experiment(table(("optim.lr=1e-4", "optim.lrr=1e-4")))

    with pytest.raises(
        BenchError, match=r"experiment small, row base: unknown setting 'optim.lrr'"
    ):
        plan(experiment, Path("nowhere"))


def test_a_record_of_the_same_settings_fills_a_row() -> None:
    config = compose("hardpos", "synthetic", seed=2)
    run = stored(recorded(config))

    assert run_of(config, [run]) is run


@pytest.mark.parametrize(
    "asked",
    [
        compose("hardpos", "synthetic", seed=1),
        compose("lvs_vanilla", "synthetic", seed=2),
        compose("hardpos", "synthetic", overrides=["method.k=7"], seed=2),
        compose("hardpos", "synthetic", seed=2, dry_run=True),
    ],
    ids=["seed", "method", "setting", "dry-run"],
)
def test_a_record_of_another_run_fills_no_row(asked: RunConfig) -> None:
    run = stored(recorded(compose("hardpos", "synthetic", seed=2)))

    assert run_of(asked, [run]) is None


def test_devices_workers_and_paths_do_not_matter() -> None:
    asked = compose("hardpos", "synthetic")
    there = (
        "trainer.devices=8",
        "data.num_workers=6",
        "data.root=/elsewhere",
        "logging.wandb=true",
    )
    run = stored(recorded(compose("hardpos", "synthetic", overrides=there)))

    assert run_of(asked, [run]) is run


@pytest.mark.parametrize(
    ("overrides", "fills"), [([], True), (["method.paper_literal=true"], False)]
)
def test_a_setting_younger_than_the_record_counts_as_its_default(
    overrides: list[str], fills: bool
) -> None:
    asked = compose("hardpos", "synthetic", overrides=overrides)
    record = recorded(asked)
    method = dict(record.config["method"])  # type: ignore[call-overload]
    del method["paper_literal"]
    old = stored(replace(record, config={**record.config, "method": method}))

    assert (run_of(asked, [old]) is old) is fills


def test_a_record_with_a_setting_that_is_no_more_fills_no_row() -> None:
    config = compose("hardpos", "synthetic")
    record = recorded(config)
    odd = stored(replace(record, config={**record.config, "forgotten": {"x": 1}}))

    assert run_of(config, [odd]) is None


def test_weights_that_were_tested_and_not_trained_fill_no_row() -> None:
    config = compose("lvs", "synthetic")
    tested = Checkpoint("released", "lvs", "ab" * 32, {}, None)

    assert run_of(config, [stored(recorded(config))]) is not None
    assert run_of(config, [stored(replace(recorded(config), checkpoint=tested))]) is None


@pytest.mark.parametrize("status", ["partial", "dry-run"])
def test_a_run_that_is_not_complete_fills_no_row(status: str) -> None:
    config = compose("hardpos", "synthetic")

    assert run_of(config, [stored(recorded(config, status=status))]) is None


def test_of_several_runs_the_latest_fills_the_row() -> None:
    config = compose("hardpos", "synthetic")
    first, last, middle = (stored(recorded(config, day=day)) for day in (2, 21, 7))

    assert run_of(config, [first, last, middle]) is last


def test_an_accepted_run_is_taken_from_the_results(runs: Path, tmp_path: Path) -> None:
    record = runner(runs)(compose("hardpos", "synthetic"))
    results = tmp_path / "results"
    results.mkdir()
    (runs / record.id / "record.json").rename(results / f"{record.id}.json")
    runner(tmp_path / "runs", day=9)(compose("hardpos", "synthetic"))
    (runs / record.id / "record.json").write_text((results / f"{record.id}.json").read_text())

    found = {run.record.id[:8]: (run.scores, run.accepted) for run in stored_runs(results, runs)}

    late = next(runs.glob("20250109*")) / "scores.csv"
    expected = {"20250101": (results / f"{record.id}.csv", True), "20250109": (late, False)}
    assert expected == found


def test_folders_without_a_record_are_no_runs(runs: Path) -> None:
    (runs / "20250101T000000Z-hardpos-synthetic-0a1b2c3d").mkdir()

    assert stored_runs(runs / "none", runs) == []


def test_a_plan_holds_every_row_and_seed_in_order(experiment: Experiment, runs: Path) -> None:
    planned = plan(experiment, runs, given=given(runs))

    names = ["base, seed 0", "base, seed 3", "ours, seed 0", "ours, seed 1", "ours, seed 2"]
    assert names == [run.name for run in planned]


def test_a_plan_of_chosen_rows_holds_no_other(experiment: Experiment, runs: Path) -> None:
    planned = plan(experiment, runs, rows=["base"], given=given(runs))

    assert [run.name for run in planned] == ["base, seed 0", "base, seed 3"]


def test_chosen_rows_stand_between_commas_or_spaces() -> None:
    assert chosen_rows("base, ours\tthird") == ["base", "ours", "third"]
    assert chosen_rows(None) == []


@pytest.mark.parametrize("rows", ["", " ", ","])
def test_rows_that_name_none_are_refused(rows: str) -> None:
    with pytest.raises(BenchError, match=r"^--rows names no row; .* leave --rows out for all$"):
        chosen_rows(rows)


def test_rows_move_to_synthetic_only(experiment: Experiment, runs: Path) -> None:
    with pytest.raises(BenchError, match=r"--on vggss: rows can be moved to synthetic only"):
        plan(experiment, runs, on="vggss")


def test_running_twice_makes_each_run_once(experiment: Experiment, runs: Path) -> None:
    lines: list[str] = []
    made: list[RunConfig] = []

    def run(config: RunConfig) -> Record:
        made.append(config)
        return runner(runs)(config)

    for _ in range(2):
        run_plan(plan(experiment, runs / "none", given=given(runs)), run, lines.append)

    expected = [("lvs_vanilla", 0), ("lvs_vanilla", 3)] + [("hardpos", seed) for seed in range(3)]
    assert expected == [(config.method_name, config.seed) for config in made]
    assert sum(": running" in line for line in lines) == 5
    assert lines[-1] == (
        "ours, seed 2: skipped, 20250101T000000Z-hardpos-synthetic-s2 has it"
    )  # fmt: skip


def test_a_plan_that_was_stopped_goes_on_where_it_stood(experiment: Experiment, runs: Path) -> None:
    def run(config: RunConfig) -> Record:
        if config.method_name == "hardpos" and config.seed == 1:
            raise SystemExit(75)
        return runner(runs)(config)

    with pytest.raises(SystemExit):
        run_plan(plan(experiment, runs / "none", given=given(runs)), run, lambda line: None)

    left = [
        each.name for each in plan(experiment, runs / "none", given=given(runs)) if not each.known
    ]
    assert left == ["ours, seed 1", "ours, seed 2"]


def test_a_run_that_fails_does_not_stop_the_others_and_fails_the_whole(
    experiment: Experiment, runs: Path
) -> None:
    def run(config: RunConfig) -> Record:
        if config.method_name == "lvs_vanilla":
            raise BenchError("data.root is not set")
        return runner(runs)(config)

    planned = plan(experiment, runs / "none", given=given(runs))
    message = r"^2 runs could not be made: base, seed 0, base, seed 3: data.root is not set$"
    lines: list[str] = []
    with pytest.raises(BenchError, match=message):
        run_plan(planned, run, lines.append)

    assert len(list(runs.iterdir())) == 3
    assert [line for line in lines if "failed" in line] == [
        "base, seed 0: failed: data.root is not set",
        "base, seed 3: failed, for the same reason",
    ]


def test_a_fault_of_ours_stops_at_once(experiment: Experiment, runs: Path) -> None:
    def run(config: RunConfig) -> Record:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_plan(plan(experiment, runs, given=given(runs)), run, lambda line: None)


def test_a_row_that_cannot_be_run_is_said_and_left_out(
    table: Callable[..., Path], runs: Path
) -> None:
    experiment = read_experiment(table(("method: hardpos", "method: telepathy")))
    lines: list[str] = []

    run_plan(plan(experiment, runs, given=given(runs)), runner(runs), lines.append)

    assert lines[-1] == "ours: not available: method telepathy is not registered"


def test_a_run_that_fills_no_row_is_said_with_the_reason(
    experiment: Experiment, runs: Path
) -> None:
    lines: list[str] = []
    planned = plan(experiment, runs, rows=["base"], given=given(runs))

    run_plan(planned, runner(runs, status="partial", reasons=("--limit 8",)), lines.append)

    assert lines[1].endswith("-s0; fills no row: partial: --limit 8")
