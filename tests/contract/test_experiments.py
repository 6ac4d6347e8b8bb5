"""Every shipped paper table: it can be read, composed and run, and holds what the paper prints."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark.boxes import ONSCREEN
from benchmark.experiment import (
    Given,
    experiment_named,
    plan,
    read_experiment,
    row_config,
    run_plan,
    unavailable,
)
from benchmark.experiment_list import experiment_names
from benchmark.paper_table import paper_table
from benchmark.records import Record
from benchmark.run_record import SWAPPED
from benchmark.runner import run
from metrics.floors import floor_scores
from metrics.truth import Truth

RESULTS = Path(__file__).parents[2] / "benchmark" / "results"
TABLE_1 = """
attention       0.185 0.302  0.660 0.558
avel            0.291 0.348  -     -
avobject        0.297 0.357  -     -
lvs_vanilla     0.278 0.350  0.692 0.563
lvs             0.303 0.364  0.724 0.578
hardpos_random  0.207 0.314  0.572 0.528
hardpos         0.346 0.380  0.768 0.592
"""
"""Senocak et al. 2022, Table 1: cIoU and AUC on VGG-SS, then on SoundNet-Flickr."""
TABLE_2 = """
attention         0.660 0.558
lvs_vanilla       0.704 0.581
lvs               0.672 0.562
hardpos           0.752 0.597
hardpos_vggsound  0.768 0.592
"""
"""Senocak et al. 2022, Table 2: cIoU and AUC on SoundNet-Flickr; the last line is of Table 1."""
ATTENTION_TABLES = """
unsup_10k   43.6 44.9  -    -
unsup_144k  66.0 55.8  52.4 51.2
sup_2.5k    80.4 60.3  82.0 60.7
semi_0.5k   78.0 60.5  79.2 60.3
semi_1.0k   82.4 61.1  82.4 61.1
semi_1.5k   82.0 61.3  82.8 61.8
semi_2.0k   82.0 61.5  82.4 61.4
semi_2.5k   82.8 62.0  84.0 61.9
"""
"""Senocak et al. 2018, Tables 1 and 2: cIoU and AUC of softmax, then of ReLU + softmax."""
ATTENTION_TABLE_3 = """
annotator1  58.4 52.2  70.8 55.6  74.8 57.1
annotator2  58.4 52.4  72.0 55.6  73.6 57.2
annotator3  63.6 52.6  74.8 55.6  77.2 57.3
annotators  60.1 52.4  72.5 55.6  75.2 57.2
"""
"""Senocak et al. 2018, Table 3: IoU and AUC, unsupervised, supervised, semi-supervised."""
AVFB_TABLE_1 = """
audio         60.6 57.9
visual        56.7 54.3
assisted      59.9 56.5
audio_visual  73.1 65.8
ave           72.7 66.7
avsdn         72.8 66.5
full          74.8 68.9
"""
"""Ramaswamy and Das 2020, Table 1: accuracy, supervised and weakly supervised."""
AVFB_TABLES = {
    "avfb_table2": {"multiplication": 67.7, "addition": 69.3, "concatenation": 68.8, "lstm": 71.1,
                    "mfb": 73.2, "full": 74.8},
    "avfb_table3": {"avfb": 73.4, "swab_mean": 74.0, "swab_max": 73.7, "swab": 74.4, "full": 74.8},
}  # fmt: skip
"""The same, Tables 2 and 3: accuracy, supervised."""
EZVSL_ZOO = """
flickr_10k_guided        81.93 62.58
flickr_144k_guided       83.13 63.06
vggss_144k_flickr_guided 83.94 63.60
vggss_10k_guided         37.18 38.75
vggss_144k_guided        38.85 39.54
vggss_full_guided        39.34 39.78
heard_guided             37.25 38.97
unheard_guided           39.57 39.60
"""
"""README of stoneMo/EZ-VSL at 95ff5bf: cIoU and AUC, all with object guidance."""
SLAVC_ZOO = """
extended_flickr_guided 51.63 59.10 83.60
extended_vggss_guided  32.95 40.00 37.79
"""
"""README of stoneMo/SLAVC at 05b429c: AP, max-F1 and Precision, with object guidance."""
FNAC_ZOO = """
flickr_10k  35.27 38.00
flickr_144k 33.93 37.29
vggss_10k   37.29 38.99
vggss_144k  39.50 39.66
"""
"""README of OpenNLPLab/FNAC_AVL at 0a0ca78: cIoU and AUC on VGG-SS."""
OF_BASELINE = "20261126T223140Z-lvs_vanilla-synthetic-8f8a6bc0"  # the accepted run of seed 0


def percentages(ciou: str, auc: str) -> dict[str, float]:
    return {key: round(100 * float(value), 1) for key, value in (("ciou@0.5", ciou), ("auc", auc))}


@pytest.mark.parametrize("name", experiment_names())
@pytest.mark.parametrize("on", [None, "synthetic"])
def test_every_available_row_is_composed(name: str, on: str | None) -> None:
    experiment = experiment_named(name)

    configs = [
        row_config(experiment, row, seed, on=on)
        for row in experiment.rows
        if unavailable(row, on) is None
        for seed in row.seeds
    ]

    assert len({str(config.identity()) for config in configs}) == len(configs)
    assert all(config.data_name == on for config in configs if on is not None)


@pytest.fixture(scope="module")
def recorded_keys() -> set[str]:
    """Metrics of runs on clips with annotators, a context, segments, and sounds from elsewhere."""
    box = np.array([[0.1, 0.2, 0.6, 0.7]])
    segments = np.array([0, 1])
    truth = [
        Truth("shown", (box, box, box), context=box, segments=segments, background=1),
        Truth("elsewhere", (box[:0],) * 3, on_screen=False, segments=segments, background=1),
    ]
    keys = {key for floor in ("center", "background")
            for key in floor_scores(floor, truth, "bench-v1").metrics}  # fmt: skip
    keys |= {f"swap_{key}" for key in SWAPPED}
    return keys | {f"boxes_{key}" for key in keys} | {ONSCREEN}


@pytest.mark.parametrize("name", experiment_names())
def test_every_metric_is_one_that_records_hold(name: str, recorded_keys: set[str]) -> None:
    assert set(experiment_named(name).metrics) <= recorded_keys


@pytest.mark.parametrize("name", [name for name in experiment_names() if "attention" in name])
def test_every_attention_row_is_registered_for_real_and_synthetic_data(name: str) -> None:
    experiment = experiment_named(name)

    reasons = [unavailable(row, on) for row in experiment.rows for on in (None, "synthetic")]
    assert set(reasons) == {None}


def test_tables_1_and_2_of_the_attention_paper_are_as_printed() -> None:
    printed = {}
    for line in ATTENTION_TABLES.split("\n")[1:-1]:
        row_id, softmax_ciou, softmax_auc, relu_ciou, relu_auc = line.split()
        printed[row_id] = {"ciou@0.5": float(softmax_ciou), "auc": float(softmax_auc)}
        if relu_ciou != "-":
            printed[f"relu_{row_id}"] = {"ciou@0.5": float(relu_ciou), "auc": float(relu_auc)}

    found = [experiment_named(f"attention_table{number}").rows for number in (1, 2)]
    random = next(row for row in found[0] if row.id == "random")
    published = {row.id: row.published for rows in found for row in rows if row is not random}
    assert published == printed
    assert random.published == {"ciou@0.5": 0.12, "auc": 32.3}
    assert random.published_spread == {"ciou@0.5": 0.2, "auc": 0.1}


def test_table_3_of_the_attention_paper_is_as_printed() -> None:
    lines = [line.split() for line in ATTENTION_TABLE_3.split("\n")[1:-1]]

    for place, row in enumerate(experiment_named("attention_table3").rows):
        expected = {}
        for who, *cells in lines:
            ciou, area = cells[2 * place : 2 * place + 2]
            expected |= {f"{who}_ciou@0.5": float(ciou), f"{who}_auc": float(area)}
        assert row.published == expected


def test_lists_of_the_attention_paper_shrink_together_on_synthetic() -> None:
    table_2 = experiment_named("attention_table2")

    sizes = {}
    for row in table_2.rows:
        config = row_config(table_2, row, 0, on="synthetic").data
        labelled = round(4000 * float(config.labelled or 0))
        unlabelled = round((4000 - labelled) * float(config.unlabelled or 1))
        sizes[row.id.removeprefix("relu_")] = (labelled, unlabelled)
        assert row.on_synthetic.x in (None, labelled)

    assert sizes == {
        "unsup_10k": (0, 1000), "unsup_144k": (0, 4000), "semi_0.5k": (50, 1000),
        "semi_1.0k": (100, 1000), "semi_1.5k": (150, 1000), "semi_2.0k": (200, 1000),
        "semi_2.5k": (250, 1000),
    }  # fmt: skip


def test_rows_of_the_attention_tables_share_their_runs() -> None:
    """What Table 1 ran fills Tables 2 and 3 and Figure 9."""
    for on in (None, "synthetic"):
        configs: dict[str, set[str]] = {}
        for name in ("table1", "table2", "table3", "figure9"):
            experiment = experiment_named(f"attention_{name}")
            for row in experiment.rows:
                identity = str(row_config(experiment, row, 0, on=on).identity())
                configs.setdefault(row.id, set()).add(identity)
        assert {len(found) for found in configs.values()} == {1}


def test_the_tables_of_the_avfb_paper_are_as_printed() -> None:
    expected = {}
    for line in AVFB_TABLE_1.split("\n")[1:-1]:
        row_id, supervised, weak = line.split()
        expected |= {row_id: float(supervised), f"weak_{row_id}": float(weak)}

    for name, printed in {"avfb_table1": expected, **AVFB_TABLES}.items():
        rows = experiment_named(name).rows
        assert {row.id: row.published for row in rows} == {
            row_id: {"segment_acc": value} for row_id, value in printed.items()
        }


def test_the_full_model_of_the_avfb_tables_is_one_run() -> None:
    for on in (None, "synthetic"):
        tables = [experiment_named(f"avfb_table{number}") for number in (1, 2, 3)]
        full = [row_config(table, table.row("full"), 0, on=on) for table in tables]
        assert len({str(config.identity()) for config in full}) == 1


def test_table_1_of_the_hard_positive_paper_is_as_printed() -> None:
    expected = {}
    for line in TABLE_1.split("\n")[1:-1]:
        row_id, *values = line.split()
        expected[row_id] = percentages(*values[:2])
        if values[2] != "-":
            expected[f"{row_id}_flickr"] = percentages(*values[2:])

    rows = experiment_named("hardpos_table1").rows
    assert expected == {row.id: row.published for row in rows}


def test_table_2_of_the_hard_positive_paper_is_as_printed() -> None:
    lines = [line.split() for line in TABLE_2.split("\n")[1:-1]]

    rows = experiment_named("hardpos_table2").rows
    assert {name: percentages(*values) for name, *values in lines} == {
        row.id: row.published for row in rows
    }


@pytest.mark.parametrize(
    ("name", "zoo"), [("ezvsl_table", EZVSL_ZOO), ("slavc_table", SLAVC_ZOO),
                      ("fnac_table", FNAC_ZOO)],
)  # fmt: skip
def test_model_zoos_are_as_their_readmes_print_them(name: str, zoo: str) -> None:
    experiment = experiment_named(name)
    printed = {}
    for line in zoo.split("\n")[1:-1]:
        row_id, *values = line.split()
        printed[row_id] = dict(zip(experiment.metrics, map(float, values), strict=True))

    assert printed == {row.id: row.published for row in experiment.rows if row.published}


@pytest.mark.parametrize("name", ["ezvsl_table", "slavc_table"])
def test_no_guided_figure_stands_beside_a_run_without_guidance(name: str) -> None:
    for row in experiment_named(name).rows:
        guided = row.id.endswith("_guided")
        assert bool(row.published) == (row.not_built is not None) == guided


def test_figure_2_of_the_hard_positive_paper_has_no_values_in_its_text() -> None:
    rows = experiment_named("hardpos_figure2").rows

    assert [row.published for row in rows] == [{}] * 7


def test_figure_5_of_the_avfb_paper_has_no_values_and_is_filled_by_the_runs_of_table_1() -> None:
    figure, table = experiment_named("avfb_figure5"), experiment_named("avfb_table1")

    for on in (None, "synthetic"):
        for row in figure.rows:
            of_table = row_config(table, table.row(row.id), 0, on=on).identity()
            assert of_table == row_config(figure, row, 0, on=on).identity()
    assert [(row.id, row.published) for row in figure.rows] == [
        ("audio", {}), ("visual", {}), ("full", {})
    ]  # fmt: skip


def test_neighbours_of_figure_2_span_the_same_range_on_synthetic() -> None:
    experiment = experiment_named("hardpos_figure2")

    sizes = {
        on: [
            row_config(experiment, row, 0, on=on).values["method.k"]
            for row in experiment.rows
            if row.id.startswith("k")
        ]
        for on in (None, "synthetic")
    }

    # null is the default, 1,000 of 144k clips and 200 of 4,000
    assert sizes == {None: [300, 500, None, 2000, 3000], "synthetic": [60, 100, None, 400, 600]}


@pytest.mark.parametrize("name", ["hardpos_figure2", "hardpos_table1", "hardpos_table2"])
def test_accepted_runs_fill_the_rows_on_synthetic(name: str) -> None:
    filled = {row.row.id: row for row in paper_table(experiment_named(name), RESULTS, RESULTS / "-",
                                                     on="synthetic").rows}  # fmt: skip

    baseline = filled.get("baseline") or filled["lvs_vanilla"]
    assert [run.record.seed for run in baseline.runs] == [0, 1, 2]
    assert baseline.runs[0].record.id == OF_BASELINE


def test_claims_of_figure_2_are_answered_on_synthetic() -> None:
    """Means of the accepted records, in % of the clips.

    baseline 58.4; K = 60: 40.1, 100: 44.6, 200: 42.5, 400: 49.9, 600: 53.2; random 17.0
    """
    table = paper_table(experiment_named("hardpos_figure2"), RESULTS, RESULTS / "-", on="synthetic")

    answers = {(each.claim.better, each.claim.worse): each for each in table.claims}
    told = {pair: each.answer for pair, each in answers.items() if each.answer != "cannot tell"}
    assert told == {
        **{(row, "baseline"): "disagrees" for row in ("k300", "k500", "k1000", "k2000", "k3000")},
        ("k1000", "k2000"): "disagrees",
        ("k1000", "k3000"): "disagrees",
        ("baseline", "random"): "agrees",
        ("k1000", "random"): "agrees",
    }
    assert answers["k1000", "baseline"].difference == pytest.approx(42.5 - 58.4, abs=0.1)
    assert answers["k300", "baseline"].difference == pytest.approx(40.1 - 58.4, abs=0.1)


def test_an_experiment_is_run_once_and_fills_its_table(
    tiny: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    settings = ", ".join(tiny("data.test_clips=64"))
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "{source: a paper, table: Table 1, protocol: lvs, note: tiny, metrics: [auc], rows: ["
        f"{{id: base, label: Base, method: lvs_vanilla, data: synthetic, overrides: [{settings}], "
        "seeds: [0]}, {id: disc, label: Disc, method: center, data: synthetic, overrides: "
        "[data.train_clips=48, data.val_clips=16, data.test_clips=64, data.image_size=32], "
        "seeds: [0]}], claims: [{text: learns, better: base, worse: disc, metric: auc}]}\n"
    )
    experiment, runs = read_experiment(path), tmp_path / "runs"
    given = Given(overrides=(f"logging.runs={runs}",))
    made: list[Record] = []
    lines: list[str] = []

    for _ in range(2):
        planned = plan(experiment, tmp_path / "results", given=given)
        run_plan(planned, lambda config: made.append(run(config).record) or made[-1], lines.append)

    table = paper_table(experiment, tmp_path / "results", runs)
    assert [record.method for record in made] == ["lvs_vanilla", "center"]
    assert sum("skipped" in line for line in lines) == 2
    assert [[run.record.id for run in row.runs] for row in table.rows] == [[r.id] for r in made]
    assert table.claims[0].n == 64
