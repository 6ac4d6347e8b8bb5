from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.records import Difference, Record, read_record
from benchmark.tables import run_table

HISTORY = Path(__file__).parents[2] / "records_v1"


@pytest.fixture
def record() -> Record:
    return read_record(HISTORY / "complete.json")


def lines(record: Record, width: int = 200) -> list[str]:
    """Each printed line with single blanks."""
    console = Console(file=StringIO(), width=width)
    console.print(run_table(record))
    assert isinstance(console.file, StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(
    "line",
    [
        "ciou@0.5 auc pixel_ap pointing",
        "hardpos 52.4 48.0 61.1 72.0",
        "95 % interval 49.4-55.4 45.0-51.0 58.1-64.1 69.0-75.0",
        "floor center 13.6 20.0 25.0 21.0",
        "floor random 2.0 ± 0.4 12.0 ± 0.2 13.0 ± 0.3 11.0 ± 1.0",
        "ceiling 100.0 100.0 100.0 100.0",
        "skill 31.0 - 35.1 -",
    ],
)
def test_scores_stand_above_interval_floors_ceiling_and_skill(record: Record, line: str) -> None:
    assert line in lines(record)


def test_a_step_of_several_batches_says_how_few_its_negatives_are(record: Record) -> None:
    settings = {"trainer": {"accumulate": 4}, "data": {"batch_size": 64}}
    expected = "batch gradients of 4 batches averaged in a step; negatives of 64 clips alone"

    assert expected in lines(replace(record, config=settings))
    assert not any(line.startswith("batch ") for line in lines(record))


def test_a_terminal_of_80_columns_shows_every_metric_in_full(record: Record) -> None:
    assert "ciou@0.5 auc pixel_ap pointing" in lines(record, width=80)


def test_the_difference_to_the_best_floor_names_it_and_gives_a_verdict(record: Record) -> None:
    expected = "best floor (all_objects) ciou@0.5 +21.4 16.4 to 26.4 500 better"

    assert expected in lines(record)


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(-0.1, 0.1, "not told apart"), (-0.2, -0.1, "worse")]
)
def test_an_interval_that_is_not_above_zero_is_no_better(
    record: Record, low: float, high: float, verdict: str
) -> None:
    difference = Difference("swap", 500, (low + high) / 2, low, high)

    printed = lines(replace(record, comparisons={"swap": {"pixel_ap": difference}}))

    assert any(line.endswith(f" 500 {verdict}") for line in printed)


@pytest.mark.parametrize(
    "line",
    [
        "ezvsl ciou@0.5 ezvsl auc lvs ciou@0.5 lvs auc",
        "hardpos 4.4 21.3 4.2 21.3",
        "floor random 0.0 10.0 0.0 10.0",
        "ceiling 5.0 22.0 5.0 22.0",
    ],
)
def test_rules_of_the_field_are_printed_too(record: Record, line: str) -> None:
    assert line in lines(record)


def test_counts_and_gaps_are_printed(record: Record) -> None:
    gaps = replace(record, n=497, missing=("a", "b"), unreadable={"c": "truncated WAV"})

    assert "test clips 497 scored of 500, 2 missing, 1 unreadable" in lines(gaps)


def test_leakage_is_printed_with_clips_and_videos(record: Record) -> None:
    leakage = replace(
        record.leakage, clips=40, videos=15, removed=3, trained_on=37, trained_on_videos=12
    )

    expected = (
        "leakage 40 test clips of 15 videos in the training list, 3 removed, "
        "trained on 37 clips of 12 videos"
    )
    assert expected in lines(replace(record, leakage=leakage))


def test_notes_of_the_method_are_printed(record: Record) -> None:
    assert "mined purity by sound 0.910" in lines(record)


def test_a_partial_run_says_that_it_is_not_ranked() -> None:
    partial = read_record(HISTORY / "partial_floor.json")

    expected = "status partial; only 41 samples were scored (not ranked)"
    assert expected in lines(partial)


def test_brackets_in_a_reason_are_no_markup(record: Record) -> None:
    odd = replace(record, status="partial", reasons=("[red]--limit[/red]",))

    assert "status partial; [red]--limit[/red] (not ranked)" in lines(odd)


def test_scores_with_swapped_sounds_are_a_row_and_no_column(record: Record) -> None:
    metrics = record.metrics | {"swap_ciou@0.5": 0.194, "swap_auc": 0.2}

    printed = lines(replace(record, metrics=metrics))

    assert "ciou@0.5 auc pixel_ap pointing" in printed
    assert "swapped sounds 19.4 20.0 - -" in printed


def test_more_metrics_than_fit_go_into_further_tables(record: Record) -> None:
    many = {f"annotator{place}_ciou@0.5": 0.5 for place in range(1, 10)}

    shown = "\n".join(lines(replace(record, metrics={**record.metrics, **many}), width=120))

    assert shown.count("further metrics") == 2
    assert all(key in shown for key in many)
    assert "…" not in shown


def test_boxes_stand_in_a_table_of_their_own(record: Record) -> None:
    board = next(iter(record.protocols.values()))
    shown = lines(replace(record, protocols={**record.protocols, "boxes": board}))

    under_rules = shown.index("the same maps under rules of the field, in %")
    of_boxes = shown.index("boxes beside the maps, in %")
    assert "boxes ciou@0.5" not in " ".join(shown[under_rules:of_boxes])
    assert "boxes ciou@0.5 boxes auc" in shown[of_boxes + 1 :]
