import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from io import StringIO
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmark.config import compose
from benchmark.experiment import Claim, Experiment, OnSynthetic, Row
from benchmark.paper_table import (
    AnsweredClaim,
    Mean,
    PaperTable,
    paper_table,
    table_json,
    table_markdown,
    table_view,
)
from benchmark.records import (
    Figures,
    ProtocolFigures,
    Record,
    SplitIdentity,
    read_record,
    write_record,
)
from benchmark.settings import PATHS, nested
from metrics.errors import BenchError

HISTORY = Path(__file__).parents[2] / "records_v1"
BASE = Row("base", "Base", "lvs_vanilla", "vggss", seeds=(0, 1), published={"ciou@0.5": 30.0})
OURS = Row("ours", "Ours", "lvs", "vggss", seeds=(0, 1), published={"ciou@0.5": 34.6, "auc": 38.0})
CLAIM = Claim("2.1: ours is better", "ours", "base", "ciou@0.5")
Hits = Mapping[str, float]


def experiment(**changes: Any) -> Experiment:
    plain = Experiment(
        name="small",
        source="A paper, page 3",
        table="Table 1",
        protocol="lvs",
        note="A note.",
        metrics=("ciou@0.5", "auc"),
        rows=(BASE, OURS),
        claims=(CLAIM,),
        test_clips={"vggss": 5158},
    )
    return replace(plain, **changes)


@pytest.fixture
def accept(results: Path) -> Callable[..., Record]:
    """``accept(row, seed, lvs=.3, hits={"clip": 1})``: accepts a run of a row."""

    def accepted(
        row: Row,
        seed: int,
        *,
        lvs: float = 0.3,
        own: float = 0.5,
        hits: Hits | None = None,
        data: str = "vggss",
        column: str = "hit@0.5",
        **changes: Any,
    ) -> Record:
        config = compose(row.method, data, seed=seed)
        values = {key: value for key, value in config.values.items() if not PATHS.fullmatch(key)}
        cells = {clip: "" if isnan(hit) else hit for clip, hit in (hits or {"clip": 1}).items()}
        scores = "".join(f"{clip},{hit}\n" for clip, hit in {"id": column, **cells}.items())
        floors = {"center": Figures({"ciou@0.5": 0.34, "auc": 0.374})}
        record = replace(
            read_record(HISTORY / "complete.json"),
            **{
                "id": f"20250101T00000{seed}Z-{row.method}-{data}-0a1b2c3d",
                "method": row.method,
                "data": data,
                "seed": seed,
                "config": nested(values),
                "n": 5156,
                "n_expected": 5158,
                "metrics": {"ciou@0.5": own, "auc": own},
                "ci95": {"ciou@0.5": (own - 0.1, own + 0.1)},
                "floors": floors,
                "ceiling": {"ciou@0.5": 1.0, "auc": 1.0},
                "protocols": {
                    "lvs": ProtocolFigures(
                        {"ciou@0.5": lvs, "auc": lvs + 0.05},
                        {"ciou@0.5": (lvs - 0.02, lvs + 0.01)},
                        floors,
                        {"ciou@0.5": 0.5054, "auc": 0.4947},
                    )
                },
                "scores_sha256": sha256(scores.encode()).hexdigest(),
                **changes,
            },
        )
        (results / f"{record.id}.csv").write_text(scores)
        write_record(results, record).rename(results / f"{record.id}.json")
        return record

    return accepted


def table(results: Path, on: str | None = None, **changes: Any) -> PaperTable:
    return paper_table(experiment(**changes), results, results / "no-runs", on=on)


def answer(results: Path, **changes: Any) -> AnsweredClaim:
    (answered,) = table(results, **changes).claims
    return answered


def shown(paper: PaperTable) -> str:
    console = Console(file=StringIO(), width=200)
    console.print(table_view(paper))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_ours_is_the_mean_over_seeds_under_the_protocol_of_the_paper(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept(OURS, 0, lvs=0.30)
    accept(OURS, 1, lvs=0.34)

    mean = table(results).rows[1].ours["ciou@0.5"]

    assert (32.0, 8**0.5) == (pytest.approx(mean.mean), pytest.approx(mean.sd))
    assert (mean.low, mean.high) == (pytest.approx(30.0), pytest.approx(33.0))


def test_one_seed_has_no_spread_and_a_key_without_interval_none(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept(OURS, 0, lvs=0.25)

    assert table(results).rows[1].ours["auc"] == Mean(pytest.approx(30.0), None, None, None)


def test_the_own_protocol_stands_beside_it(results: Path, accept: Callable[..., Record]) -> None:
    accept(OURS, 0, own=0.5)

    assert table(results).rows[1].own["ciou@0.5"].mean == pytest.approx(50.0)


def test_a_record_that_was_not_scored_under_the_protocol_leaves_the_cell_empty(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept(OURS, 0, protocols={})

    assert table(results).rows[1].ours == {}


def test_the_difference_is_ours_minus_published(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept(OURS, 0, lvs=0.356)

    assert table(results).rows[1].difference == {
        "ciou@0.5": pytest.approx(1.0),
        "auc": pytest.approx(2.6),
    }


@pytest.mark.parametrize("test_clips", [{"vggss": 4911}, {"flickr": 5158}, {}])
def test_on_another_test_list_than_the_papers_there_is_no_difference(
    results: Path, accept: Callable[..., Record], test_clips: dict[str, int]
) -> None:
    accept(OURS, 0)

    filled = table(results, test_clips=test_clips).rows[1]

    assert (filled.ours != {}, filled.difference) == (True, {})


def test_on_synthetic_there_is_no_difference(results: Path, accept: Callable[..., Record]) -> None:
    accept(OURS, 0, data="synthetic")

    filled = table(results, on="synthetic").rows[1]

    assert (filled.ours != {}, filled.difference) == (True, {})


def test_runs_on_synthetic_do_not_fill_the_papers_own_rows(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept(OURS, 0, data="synthetic")

    assert table(results).rows[1].runs == ()


def test_a_row_that_was_not_run_is_empty(results: Path) -> None:
    filled = table(results).rows[0]

    assert (filled.runs, filled.ours, filled.own, filled.difference, filled.n) == (
        (), {}, {}, {}, None,
    )  # fmt: skip


def test_a_run_that_was_not_accepted_counts_and_is_marked(
    results: Path, accept: Callable[..., Record], tmp_path: Path
) -> None:
    record = accept(OURS, 0)
    folder = tmp_path / "runs" / record.id
    folder.mkdir(parents=True)
    (results / f"{record.id}.json").rename(folder / "record.json")
    (results / f"{record.id}.csv").rename(folder / "scores.csv")

    page = table_markdown(paper_table(experiment(), results, tmp_path / "runs"))

    assert f"| ours | 0 | {record.id} (not accepted yet) |" in page


def test_a_claim_is_agreed_to_where_the_interval_lies_above_zero(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept(OURS, 0, hits={"a": 1, "b": 1, "c": 1})
    accept(BASE, 0, hits={"a": 0, "b": 0, "c": 0})

    found = answer(results, rows=(replace(BASE, seeds=(0,)), replace(OURS, seeds=(0,))))

    assert found == AnsweredClaim(CLAIM, "agrees", "", 3, 100.0, 100.0, 100.0)


def test_a_claim_is_denied_where_the_interval_lies_below_zero(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept(OURS, 0, hits={"a": 0, "b": 0})
    accept(BASE, 0, hits={"a": 1, "b": 1})

    found = answer(results)

    assert (found.answer, found.difference, found.n) == ("disagrees", -100.0, 2)


def test_less_pointing_at_the_context_is_better(
    results: Path, accept: Callable[..., Record]
) -> None:
    key = "context_pointing"
    found = {"column": key, "metrics": {key: 0.5}}
    accept(BASE, 0, hits={"a": 1, "b": 1}, **found)
    accept(OURS, 0, hits={"a": 0, "b": 0}, **found)
    claim = Claim("4: labels repair the bias", "ours", "base", key)

    agreed = answer(results, metrics=(key,), claims=(claim,))
    denied = answer(results, metrics=(key,), claims=(replace(claim, better="base", worse="ours"),))

    assert (agreed.answer, agreed.difference) == ("agrees", -100.0)
    assert (denied.answer, denied.difference) == ("disagrees", 100.0)
    page = table_markdown(table(results, metrics=(key,), claims=(claim,)))
    assert "| context_pointing, lower is better |" in page


def test_the_spread_of_a_floor_is_that_of_its_draws(
    results: Path, accept: Callable[..., Record]
) -> None:
    row = replace(BASE, seeds=(0,), published={"auc": 32.3, "ciou@0.5": 0.12},
                  published_spread={"auc": 0.1, "ciou@0.5": 0.2})  # fmt: skip
    drawn = Figures({"ciou@0.5": 0.3, "auc": 0.35}, spread={"auc": 0.004})
    board = ProtocolFigures(dict(drawn.metrics), {}, {"lvs_vanilla": drawn}, {})
    accept(row, 0, protocols={"lvs": board})

    filled = table(results, rows=(row,), claims=())

    assert filled.rows[0].ours["auc"].sd == pytest.approx(0.4)
    assert filled.rows[0].ours["ciou@0.5"].sd is None
    assert "| Base | 0.12 ± 0.2 | 30.0 | +29.9 | 32.3 ± 0.1 | 35.0 ± 0.4 |" in table_markdown(
        filled
    )


def test_weights_that_runs_were_given_are_named(
    results: Path, accept: Callable[..., Record]
) -> None:
    config = compose("lvs", "vggss", seed=0, overrides=["method.pretrained=resnet18.pth"])
    values = {key: value for key, value in config.values.items() if not PATHS.fullmatch(key)}
    accept(BASE, 0)
    accept(OURS, 0, config=nested(values))
    accept(OURS, 1)

    filled = table(results, weights=("method.pretrained",))

    assert [row.weights for row in filled.rows] == [
        ("none",), ("method.pretrained=resnet18.pth", "none"),
    ]  # fmt: skip
    page = table_markdown(filled)
    assert "ours was given these weights: method.pretrained=resnet18.pth; none." in page
    assert "base was given" not in page


def test_an_interval_that_holds_zero_cannot_tell(
    results: Path, accept: Callable[..., Record]
) -> None:
    clips = [f"clip{i}" for i in range(40)]
    accept(OURS, 0, hits={clip: i % 2 for i, clip in enumerate(clips)})
    accept(BASE, 0, hits={clip: (i + 1) % 2 for i, clip in enumerate(clips)})

    found = answer(results, rows=(replace(BASE, seeds=(0,)), replace(OURS, seeds=(0,))))

    assert (found.answer, found.reason, found.difference) == (
        "cannot tell", "the interval holds 0", 0.0,
    )  # fmt: skip


def test_clips_are_averaged_over_seeds_and_paired_by_id(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept(OURS, 0, hits={"b": 1, "a": 1, "only in one seed": 1})
    accept(OURS, 1, hits={"a": 0, "b": 1, "only in ours": 1})
    accept(BASE, 0, hits={"a": 0, "b": 1, "only in one seed": 0, "only in base": 0})
    accept(BASE, 1, hits={"a": 0, "b": 0, "only in one seed": 0})

    found = answer(results)

    assert (found.n, found.difference) == (2, 50.0)  # a: 1/2 - 0, b: 1 - 1/2


def test_clips_without_a_value_are_left_out(results: Path, accept: Callable[..., Record]) -> None:
    accept(OURS, 0, hits={"a": 1, "b": nan})
    accept(BASE, 0, hits={"a": 0, "b": 1})

    assert (answer(results).n, answer(results).difference) == (1, 100.0)


def test_missing_seeds_are_named_beside_the_answer(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept(OURS, 0, hits={"a": 1})
    accept(OURS, 1, hits={"a": 1})
    accept(BASE, 1, hits={"a": 0})

    assert answer(results).reason == "base has 1 of 2 seeds"


def test_a_row_without_a_run_cannot_tell(results: Path, accept: Callable[..., Record]) -> None:
    accept(OURS, 0)

    assert answer(results) == AnsweredClaim(CLAIM, "cannot tell", "base has no run")


def test_a_row_that_is_not_available_cannot_tell(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept(OURS, 0)

    found = answer(results, rows=(replace(BASE, not_built="takes video"), OURS))

    assert found == AnsweredClaim(CLAIM, "cannot tell", "base is not available")


def test_rows_of_different_test_lists_cannot_tell(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept(OURS, 0)
    accept(BASE, 0, splits={"test": SplitIdentity("vggss-4911", 4911, "0" * 64)})

    expected = AnsweredClaim(CLAIM, "cannot tell", "the rows have different test lists")
    assert expected == answer(results)


def test_scores_that_are_missing_cannot_tell(results: Path, accept: Callable[..., Record]) -> None:
    record = accept(OURS, 0)
    accept(BASE, 0)
    (results / f"{record.id}.csv").unlink()

    assert answer(results).reason == f"the scores of {record.id} are missing"


def test_a_metric_that_a_record_lacks_cannot_tell(
    results: Path, accept: Callable[..., Record]
) -> None:
    record = accept(OURS, 0, metrics={"auc": 0.4}, ci95={})
    accept(BASE, 0)

    assert answer(results).reason == f"{record.id} has no ciou@0.5"


def test_scores_that_were_changed_are_an_error(
    results: Path, accept: Callable[..., Record]
) -> None:
    record = accept(OURS, 0)
    accept(BASE, 0)
    (results / f"{record.id}.csv").write_text("id,hit@0.5\nclip,0\n")

    with pytest.raises(BenchError, match=rf"{record.id}.csv has sha256"):
        table(results)


def test_json_holds_one_object_per_row_and_claim(
    results: Path, accept: Callable[..., Record]
) -> None:
    record = accept(OURS, 0, lvs=0.356)

    content = json.loads(json.dumps(table_json(table(results)), allow_nan=False))

    assert [content[key] for key in ("experiment", "source", "table", "protocol", "on")] == [
        "small", "A paper, page 3", "Table 1", "lvs", None,
    ]  # fmt: skip
    row = content["rows"][1]
    assert (row["id"], row["label"], row["published"], row["n"], row["records"]) == (
        "ours", "Ours", {"ciou@0.5": 34.6, "auc": 38.0}, 5156, [record.id],
    )  # fmt: skip
    assert row["difference"]["ciou@0.5"] == pytest.approx(1.0)
    assert content["claims"] == [
        {
            "text": "2.1: ours is better", "better": "ours", "worse": "base", "metric": "ciou@0.5",
            "protocol": "bench-v1", "answer": "cannot tell", "reason": "base has no run",
            "n": None, "difference": None, "low": None, "high": None,
        }
    ]  # fmt: skip


def test_markdown_prints_published_ours_difference_floor_and_ceiling(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept(OURS, 0, lvs=0.30)
    accept(OURS, 1, lvs=0.34)

    lines = table_markdown(table(results)).splitlines()

    assert [line for line in lines if line.startswith(("| Base", "| Ours", "| floor", "| ceil"))][
        :4
    ] == [
        "| Base | 30.0 | - | - | - | - | - | - |",
        "| Ours | 34.6 | 32.0 ± 2.8 [30.0, 33.0] | -2.6 | 38.0 | 37.0 ± 2.8 | -1.0 | 5156 |",
        "| floor center | - | 34.0 | - | - | 37.4 | - | - |",
        "| ceiling | - | 50.5 | - | - | 49.5 | - | - |",
    ]


def test_a_metric_without_a_published_value_is_one_column(
    results: Path, accept: Callable[..., Record]
) -> None:
    rows = (replace(BASE, published={}), replace(OURS, published={"auc": 38.0}))
    accept(OURS, 0, lvs=0.25)

    page = table_markdown(table(results, rows=rows))

    assert "|  | ciou@0.5 | auc published | ours | difference | n |" in page
    assert "| Ours | 25.0 [23.0, 26.0] | 38.0 | 30.0 | -8.0 | 5156 |" in page
    assert "| floor center | 34.0 | - | 37.4 | - | - |" in page


def test_a_table_under_the_own_protocol_is_printed_once(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept(OURS, 0, own=0.5)

    page = table_markdown(table(results, protocol="bench-v1"))

    assert page.count("50.0") == 2  # ciou@0.5 and auc
    assert "The same runs" not in page


def test_the_terminal_shows_intervals_in_brackets(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept(OURS, 0, lvs=0.30, hits={"a": 1})
    accept(BASE, 0, hits={"a": 0})

    page = " ".join(shown(table(results)).split())

    assert "Ours 34.6 30.0 [28.0, 31.0] -4.6 38.0 35.0 -3.0 5156" in page
    assert "ours > base ciou@0.5 +100.0 [100.0, 100.0] 1 agrees" in page


def test_a_table_without_any_run_is_printed_with_its_published_values(results: Path) -> None:
    page = shown(table(results))

    assert "Base" in page
    assert "34.6" in page
    assert "Records" not in page


def test_the_reason_why_a_row_is_not_available_is_printed(results: Path) -> None:
    page = shown(table(results, rows=(replace(BASE, not_built="takes video"), OURS)))

    assert "base is not available: takes video" in page


def test_settings_that_a_row_has_on_synthetic_only_stand_in_its_label(results: Path) -> None:
    row = replace(OURS, on_synthetic=OnSynthetic(("optim.lr=1e-3",)))

    moved = table(results, on="synthetic", rows=(BASE, row)).rows[1]

    assert moved.label == "Ours (optim.lr=1e-3)"


def test_settings_that_all_rows_have_on_synthetic_are_said_once(results: Path) -> None:
    both = ("data.segments=10", "optim.lr=1e-3")
    rows = (
        replace(BASE, on_synthetic=OnSynthetic(both)),
        replace(OURS, on_synthetic=OnSynthetic((*both, "data.context=1"))),
        replace(OURS, id="absent", not_built="takes video"),
    )

    filled = table(results, on="synthetic", rows=rows)

    assert [row.label for row in filled.rows] == ["Base", "Ours (data.context=1)", "Ours"]
    assert filled.settings == both
    assert "On synthetic every row has data.segments=10, optim.lr=1e-3." in shown(filled)


def test_brackets_in_a_label_are_printed_as_they_stand(results: Path) -> None:
    page = shown(table(results, rows=(BASE, replace(OURS, label="Ours [b]"))))

    assert "Ours [b]" in page


def test_markdown_keeps_a_bar_in_a_label_inside_its_cell(results: Path) -> None:
    page = table_markdown(table(results, rows=(BASE, replace(OURS, label="Ours | K"))))

    assert "| Ours \\| K | 34.6 |" in page


def test_boxes_are_columns_beside_maps_under_any_protocol(
    results: Path, accept: Callable[..., Record]
) -> None:
    board = ProtocolFigures(
        metrics={"ciou@0.5": 0.7},
        ci95={"ciou@0.5": (0.6, 0.8)},
        floors={"random_box": Figures({"ciou@0.5": 0.1})},
        ceiling={"ciou@0.5": 0.9},
    )
    others = read_record(HISTORY / "complete.json").protocols
    for row in (BASE, OURS):
        better = {"ciou@0.5": 0.7 if row is OURS else 0.2}
        boxes = replace(board, metrics=better)
        for seed in row.seeds:
            accept(
                row, seed, hits={"a": float(row is OURS), "b": 0, "c": float(row is OURS)},
                column="boxes_hit@0.5", protocols={**others, "boxes": boxes},
            )  # fmt: skip
    claim = replace(CLAIM, metric="boxes_ciou@0.5")

    paper = table(results, metrics=("boxes_ciou@0.5", "ciou@0.5"), claims=(claim,))

    ours = next(filled for filled in paper.rows if filled.row is OURS)
    assert ours.ours["boxes_ciou@0.5"].mean == 70.0
    assert paper.bounds("lvs")["vggss"]["floor random_box"] == {"boxes_ciou@0.5": 10.0}
    assert paper.bounds("lvs")["vggss"]["ceiling"]["boxes_ciou@0.5"] == 90.0
    assert paper.claims[0].difference == pytest.approx(200 / 3)
