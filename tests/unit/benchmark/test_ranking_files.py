"""A ranking as CSV, JSON and LaTeX."""

import csv
import io
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.leaderboard import leaderboard, page_of
from benchmark.ranking import ranking
from benchmark.ranking_files import leaderboard_csv, leaderboard_json, leaderboard_latex
from benchmark.records import (
    Checkpoint,
    Record,
    read_record,
)

HISTORY = Path(__file__).parents[2] / "records_v1"


@pytest.fixture
def record() -> Record:
    return read_record(HISTORY / "complete.json")


@pytest.fixture
def records(record: Record) -> list[Record]:
    """Two seeds of one row, a row of released weights, and a run that is not ranked."""
    released = Checkpoint("released", "lvs", "ab" * 32, {}, None)
    tested = replace(
        record, id="c", method="lvs", checkpoint=released, lists={},
        splits={"test": record.splits["test"]},
    )  # fmt: skip
    other = replace(record, id="b", seed=7, config=record.config | {"seed": 7})
    return [record, other, tested, read_record(HISTORY / "partial_floor.json")]


def test_csv_has_a_line_for_each_metric_of_rows_floors_and_ceiling(records: list[Record]) -> None:
    sections, _ = ranking(records)

    lines = list(csv.DictReader(io.StringIO(leaderboard_csv(sections))))

    (section,) = sections
    assert len(lines) == len(section.keys) * (2 + len(section.floors) + 1)
    of_row = next(
        each for each in lines if (each["name"], each["metric"]) == ("hardpos", "ciou@0.5")
    )
    assert (of_row["seeds"], of_row["value"]) == ("2", str(records[0].metrics["ciou@0.5"]))
    leaks = {
        each["name"]: (each["trained_on_test_clips"], each["trained_on_test_videos"])
        for each in lines
        if each["kind"] == "method"
    }
    assert leaks == {"hardpos": ("0", "0"), "lvs": ("", "")}  # not known is not 0


def test_json_holds_rows_bounds_and_what_is_not_ranked(records: list[Record]) -> None:
    sections, left_out = ranking(records)

    content = json.loads(leaderboard_json(sections, left_out))

    (board,) = content["boards"]
    rows = {row["method"]: row for row in board["rows"]}
    assert rows["hardpos"]["metrics"]["auc"]["value"] == records[0].metrics["auc"]
    assert rows["hardpos"]["seeds"] == [records[0].seed, 7]
    assert rows["lvs"]["trained_on_test_clips"] is None
    assert rows["lvs"]["trained_on_test_videos"] is None
    assert board["ceiling"] == records[0].ceiling
    assert [each["id"] for each in content["not_ranked"]] == [records[3].id]
    assert "released weights abababab" in rows["lvs"]["settings"]


def test_latex_has_a_line_for_each_row_and_bound_and_no_bare_underscore(
    records: list[Record],
) -> None:
    sections, _ = ranking(records)

    text = leaderboard_latex(sections)

    cells = [line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if " & " in line]
    names = [line[0] for line in cells]
    assert names[:3] == ["", "hardpos", r"lvs (released weights abababab)"]
    assert names[-1] == "ceiling"
    assert {len(line) for line in cells} == {2 + len(sections[0].keys)}
    assert "_" not in text.replace(r"\_", "")
    value, (low, high) = records[0].metrics["ciou@0.5"], records[0].ci95["ciou@0.5"]
    assert cells[1][2] == rf"{100 * value:.1f} $\pm$ 0.0 [{100 * low:.1f}, {100 * high:.1f}]"


def test_videos_of_test_clips_in_the_training_list_are_in_every_form(record: Record) -> None:
    leakage = replace(record.leakage, trained_on=0, trained_on_videos=8)
    sections, left_out = ranking([replace(record, leakage=leakage)])

    first, *_ = csv.DictReader(io.StringIO(leaderboard_csv(sections)))
    (board,) = json.loads(leaderboard_json(sections, left_out))["boards"]
    counts = (board["rows"][0]["trained_on_test_clips"], board["rows"][0]["trained_on_test_videos"])
    assert ("0", "8") == (first["trained_on_test_clips"], first["trained_on_test_videos"])
    assert (0, 8) == counts
    assert "hardpos was trained on other clips of 8 videos of test clips.}" in (
        leaderboard_latex(sections)
    )


def test_any_order_of_records_gives_the_same_bytes(records: list[Record]) -> None:
    pages = set()
    for shuffle in range(5):
        random.Random(shuffle).shuffle(records)
        sections, left_out = ranking(records)
        pages.add((leaderboard_csv(sections), leaderboard_json(sections, left_out),
                   leaderboard_latex(sections)))  # fmt: skip

    assert len(pages) == 1


@pytest.mark.parametrize("form", ["md", "csv", "json", "latex"])
def test_every_form_is_made_of_the_accepted_records(
    tmp_path: Path, form: str, record: Record
) -> None:
    empty = page_of(tmp_path, form)
    (tmp_path / f"{record.id}.json").write_text(json.dumps(record.to_dict()))

    assert "hardpos" not in empty.replace("Written by", "")
    assert "hardpos" in page_of(tmp_path, form)


def test_reported_values_stand_in_a_table_of_their_own_with_their_source(record: Record) -> None:
    page = leaderboard([replace(record, data="vggss")])

    (line,) = [each for each in page.splitlines() if "38.85" in each]
    assert "EZ-VSL" in line
    assert "| 3709 |" in line
    assert "stoneMo/EZ-VSL@95ff5bf" in line
    assert "As reported by papers" in page[: page.index(line)]
    assert "As reported by papers" not in leaderboard([record])
