"""Every ordering that the papers claim, in one list."""

import json
from pathlib import Path

import pytest
import yaml

from benchmark import claims
from benchmark.claims import claimed_tables, claims_json, claims_markdown, counts
from benchmark.experiment import experiment_named
from benchmark.paper_table import paper_table, table_json

BENCHMARK = Path(claims.__file__).parent
RESULTS = BENCHMARK / "results"


def test_every_claim_of_every_experiment_file_is_listed(tmp_path: Path) -> None:
    files = [yaml.safe_load(path.read_text()) for path in BENCHMARK.glob("experiments/*.yaml")]
    written = [claim["text"] for file in files for claim in file.get("claims", [])]

    found = claims_json(claimed_tables(tmp_path, tmp_path, on="synthetic"))

    assert sorted(written) == sorted(each["text"] for each in found["claims"])  # type: ignore[attr-defined]
    assert {"agrees": 0, "disagrees": 0, "cannot tell": len(written)} == found["counts"]


@pytest.fixture
def one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "experiment_names", lambda: ["hardpos_table1", "attention_table3"])


@pytest.mark.usefixtures("one_table")
def test_the_answers_are_those_of_each_table_on_its_own(tmp_path: Path) -> None:
    own = table_json(
        paper_table(experiment_named("hardpos_table1"), RESULTS, tmp_path, on="synthetic")
    )

    tables = claimed_tables(RESULTS, tmp_path, on="synthetic")
    found = claims_json(tables)

    of_table = [each for each in found["claims"] if each.pop("experiment") == "hardpos_table1"]  # type: ignore[attr-defined]
    assert own["claims"] == of_table
    assert sum(counts(tables).values()) == sum(len(table.claims) for table in tables)
    assert counts(tables)["agrees"] > 0
    assert json.loads(json.dumps(found)) == found


@pytest.mark.usefixtures("one_table")
def test_the_page_counts_answers_in_all_and_by_table(tmp_path: Path) -> None:
    page = claims_markdown(claimed_tables(tmp_path, tmp_path, on="synthetic"))

    claims_of = experiment_named("hardpos_table1").claims
    told = f"0 agree, 0 disagree, {len(claims_of)} cannot be told"
    assert f"## hardpos_table1: {told}, on synthetic" in page
    assert "hardpos has no run" in page
