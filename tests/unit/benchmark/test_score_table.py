from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmark.predictions import Given
from benchmark.score import Board, Expected, chosen_protocols, score_boards
from benchmark.score_table import score_tables
from metrics.predictions import Predictions
from metrics.protocols import PROTOCOLS
from metrics.truth import Truth

TOP = np.array([[0.0, 0.0, 1.0, 0.5]])
NOTHING = np.empty((0, 4))
UPPER = np.vstack([np.ones((112, 224), np.float32), np.zeros((112, 224), np.float32)])
NAMES = ("full", "center", "mean_box", "random", "all_objects")


def made(
    *protocols: str, truth: tuple[Truth, ...] | None = None, swapped: bool = False, **options: Any
) -> list[Board]:
    """Boards of two samples, of which the first is hit and the second is missed."""
    truth = truth or (Truth("a", (TOP,), category="dog"), Truth("b", (1 - TOP[:, [2, 3, 0, 1]],)))
    predictions = Predictions(
        tuple(sample.id for sample in truth),
        heatmap=np.stack([UPPER] * len(truth)),
        map_range=(0.0, 1.0),
    )
    given = Given(Path("x"), predictions, swapped=predictions if swapped else None)
    rules = chosen_protocols(protocols, "vggss", given)
    return score_boards(given, Expected("two", truth, ("a note",)), "vggss", rules,
                        **{"floors": False, **options})  # fmt: skip


def with_floors(boards: list[Board], value: float = 1.0) -> list[Board]:
    """The same with made-up floors, of which ``all_objects`` is the best, and ceilings."""
    return [
        board._replace(
            floors={
                name: board.scores._replace(metrics=dict.fromkeys(board.scores.metrics, level))
                for level, name in zip(np.linspace(0, value, 5), NAMES, strict=True)
            },
            ceiling=dict.fromkeys(board.scores.metrics, 1.0),
            seconds={"scores": 1.26, "floors": 0.04},
        )
        for board in boards
    ]


def printed(boards: list[Board], name: str = "maps", width: int = 100) -> list[str]:
    console = Console(file=StringIO(), width=width)
    console.print(score_tables(boards, name))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def words(lines: list[str]) -> list[str]:
    """Each line with single blanks."""
    return [" ".join(line.split()) for line in lines]


def test_one_protocol_shows_a_row_per_metric_with_what_it_is_worth() -> None:
    lines = words(printed(with_floors(made("lvs"), value=0.4)))

    assert "maps on vggss, protocol lvs, in %" in lines
    assert "score 95 % interval best floor ceiling skill" in lines
    assert "ciou@0.5 50.0 0.0-100.0 40.0 all_objects 100.0 16.7" in lines


def test_a_number_that_only_repeats_another_has_no_row() -> None:
    (board,) = made("lvs")

    assert board.scores.metrics["iou@0.5"] == board.scores.metrics["ciou@0.5"]
    assert not any(line.split()[:1] == ["iou@0.5"] for line in printed([board]))


@pytest.mark.parametrize("protocols", [("lvs",), ("lvs", "sspl")])
def test_without_floors_there_are_no_columns_for_them(protocols: tuple[str, ...]) -> None:
    shown = "\n".join(printed(made(*protocols)))

    assert "95 % interval" in shown
    assert [word for word in ("floor", "ceiling", "skill", "kept") if word in shown] == []


def test_swapped_sounds_have_a_column_where_there_are_any() -> None:
    swapped = [board._replace(swapped=board.scores) for board in made("lvs")]

    assert "score 95 % interval swapped sounds" in words(printed(swapped))
    assert "swapped" not in "\n".join(printed(made("lvs")))


def test_twelve_protocols_with_floors_fit_into_100_columns() -> None:
    lines = printed(with_floors(made("all")))

    rows = words(lines)
    assert "n ciou@0.5 95 % interval best floor ceiling skill auc" in rows
    named = [row.split()[0].rstrip("*") for row in rows if row.count(" all_objects ") == 1]
    assert named == list(PROTOCOLS)
    assert not any("…" in line for line in lines)


def test_an_oracle_is_marked_and_the_mark_explained() -> None:
    lines = words(printed(made("align", "align-adaptive")))

    assert any(line.startswith("align-adaptive* 2 ") for line in lines)
    assert "* looks at the answer, as no method can" in lines
    assert not any("looks at the answer" in line for line in printed(made("align")))


def test_parts_have_a_table_of_their_own() -> None:
    lines = words(printed(made("lvs", by=["category", "size"])))

    assert "by category, protocol lvs, in %" in lines
    assert "by size, protocol lvs, in %" in lines
    assert any(line.startswith("dog 1 100.0 100.0-100.0 ") for line in lines)
    assert any(line.startswith("huge 2 50.0 0.0-100.0 ") for line in lines)


def test_samples_that_are_treated_apart_are_counted() -> None:
    truth = (Truth("a", (TOP,)), Truth("empty", (NOTHING,)))
    lines = words(printed(made("bench-v1", "lvs", truth=truth)))

    assert "samples 1 to 2 scored of 2" in lines
    assert any(line.startswith("bench-v1 1 excluded, nothing marked; too few") for line in lines)


def test_lists_of_the_sources_stand_once_with_their_protocols() -> None:
    lines = words(printed(made("lvs", "align", "slavc")))

    assert "published on 5,158 clips: lvs, slavc" in lines
    assert "published on 4,655 clips: align" in lines


def test_without_a_place_the_accuracy_of_segments_stands_first() -> None:
    truth = tuple(Truth(name, (), category="dog", segments=np.array([1, 0])) for name in "ab")
    logits = np.array([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    given = Given(Path("x"), Predictions(("a", "b"), segment_logits=logits))
    rules = chosen_protocols(("lvs", "bench-v1"), "ave", given)
    boards = score_boards(given, Expected("two", truth, ()), "ave", rules, by=["category"])

    lines = words(printed(boards))

    assert "n segment_acc 95 % interval auc" in lines
    assert [line[:18] for line in lines if line.startswith(("lvs", "bench-v1"))] == [
        "lvs 2 75.0 50.0-10", "bench-v1 2 75.0 50",
    ]  # fmt: skip
    assert "category n segment_acc 95 % interval auc pixel_ap" in lines


def test_the_times_of_all_protocols_are_added_up() -> None:
    line = "seconds 2.5 for scores, 0.1 for floors and ceiling, kept for the next time"

    assert line in words(printed(with_floors(made("lvs", "sspl"))))


def test_words_in_brackets_are_shown_as_they_are() -> None:
    truth = (Truth("a", (TOP,), category="[bold]dog"),)

    lines = words(printed(made("lvs", truth=truth, by=["category"]), name="[red]maps"))

    assert any(line.startswith("[red]maps on vggss") for line in lines)
    assert any(line.startswith("[bold]dog 1 ") for line in lines)
