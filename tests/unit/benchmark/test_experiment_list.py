"""Experiments as they are listed without a YAML reader."""

from pathlib import Path

import pytest

from benchmark import experiment_list
from benchmark.experiment import experiment_named
from benchmark.experiment_list import experiment_names, listed_experiments
from metrics.errors import BenchError


def test_names_tables_and_sources_are_those_of_the_files() -> None:
    read = [experiment_named(name) for name in experiment_names()]

    assert [(one.name, one.table, one.source) for one in read] == listed_experiments()


@pytest.mark.parametrize("text", ["source: s\n", "source: s\ntable: >-\n  Table 1\n"])
def test_a_table_that_is_not_on_one_line_is_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment_list, "EXPERIMENTS", tmp_path)
    (tmp_path / "one.yaml").write_text(text)

    with pytest.raises(BenchError, match=r"one\.yaml: write table and its text on one line"):
        listed_experiments()
