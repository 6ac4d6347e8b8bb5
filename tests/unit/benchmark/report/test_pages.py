"""What pages hold: numbers of rows, curves, parts and samples, from written records and scores."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from benchmark.file_names import file_name
from benchmark.ranking import Section
from benchmark.records import Checkpoint, Record
from benchmark.report.again import again
from benchmark.report.boards import LOCAL, Board
from benchmark.report.curves import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    curves_of,
    points_of,
)
from benchmark.report.found import FoundRun, found_runs
from benchmark.report.gallery import answers_of, chosen_samples, wav
from benchmark.report.parts import breakdowns
from benchmark.report.run_page import run_page
from metrics.errors import BenchError
from metrics.truth import Truth

WriteResults = Callable[..., Path]


def board_of(*records: Record) -> Board:
    return Board(Section(records), frozenset(record.id for record in records))


def seeds(record: Record, *values: float) -> list[Record]:
    """The same run with other seeds, each with its own success rate."""
    return [
        replace(record, id=f"{record.id}-{seed}", seed=seed,
                config={**record.config, "seed": seed},
                metrics={**record.metrics, "ciou@0.5": value})
        for seed, value in enumerate(values)
    ]  # fmt: skip


def cell(board: Board, row: int, title: str) -> tuple[str, tuple[str, ...]]:
    table = board.leaderboard
    place = [column.title for column in table.columns].index(title)
    found = table.lines[row].cells[place]
    return found.text, found.details


def test_seeds_share_a_row_with_mean_spread_and_interval(record: Record) -> None:
    board = board_of(*seeds(record, 0.5, 0.54, 0.58))

    assert ("54.0", ("± 4.0", "[49.4, 55.4]")) == cell(board, 0, "ciou@0.5")
    assert ("3", ()) == cell(board, 0, "seeds")


def test_a_row_has_skill_floor_difference_and_swap_drop(record: Record) -> None:
    board = board_of(record)

    assert ("+21.4", ("[16.4, 26.4]",)) == cell(board, 0, "minus best floor")
    assert ("+33.0", ("[28.0, 38.0]",)) == cell(board, 0, "swap drop")
    assert f"{100 * (record.skill['ciou@0.5'] or 0):.1f}" == cell(board, 0, "skill")[0]


def test_floors_and_ceiling_are_bounds_and_no_rows(record: Record) -> None:
    table = board_of(record).leaderboard

    assert ["ceiling", *(f"floor {name}" for name in sorted(record.floors))] == [
        line.head.name for line in table.bounds
    ]
    assert ["hardpos"] == [line.head.name for line in table.lines]
    assert all(len(line.cells) == len(table.columns) for line in (*table.bounds, *table.lines))


def test_the_drawing_of_a_row_has_the_best_floor_and_the_ceiling(record: Record) -> None:
    standing = board_of(record).leaderboard.lines[0].cells[0].standing

    assert standing is not None
    best = max(floor.metrics["ciou@0.5"] for floor in record.floors.values())
    assert (0.524, 0.494, 0.554, best, 1.0) == standing


def test_settings_that_all_rows_share_are_told_once(record: Record) -> None:
    few, more = (
        replace(record, id=f"k{k}", overrides=("optim.lr=0.1", f"method.k={k}"),
                config={**record.config, "method": {"k": k}})
        for k in (3, 4)
    )  # fmt: skip
    board = board_of(few, more)

    assert ("optim.lr=0.1",) == board.shared_settings
    assert [("method.k=3",), ("method.k=4",)] == [
        line.head.settings for line in board.leaderboard.lines
    ]
    assert ("method.k=3", "optim.lr=0.1") == board_of(few).leaderboard.lines[0].head.settings


def test_training_on_test_clips_is_marked_in_the_row(record: Record) -> None:
    leaked = replace(record, leakage=replace(record.leakage, trained_on=3, trained_on_videos=2))
    line = board_of(leaked).leaderboard.lines[0]

    assert ("⚠ trained on 3 test clips of 2 videos",) == line.head.marks
    assert ("⚠ 3", ("of 2 videos",)) == line.cells[-1][:2]


def test_training_on_other_clips_of_test_videos_is_marked_and_sorts_above_none(
    record: Record,
) -> None:
    leaked = replace(record, leakage=replace(record.leakage, trained_on=0, trained_on_videos=8))
    line = board_of(leaked).leaderboard.lines[0]

    assert ("⚠ trained on other clips of 8 videos of test clips",) == line.head.marks
    assert ("⚠ 0", ("other clips of 8 videos",), 0.5) == line.cells[-1][:3]


def test_a_run_that_is_not_accepted_is_marked(record: Record) -> None:
    board = Board(Section((record,)), frozenset())

    assert (LOCAL,) == board.leaderboard.lines[0].head.marks


def test_protocols_stand_side_by_side_with_their_own_bounds(record: Record) -> None:
    table = board_of(record).protocols

    assert table is not None
    assert ("bench-v1", "ciou@0.5") == table.columns[0][:2]
    assert record.protocols.keys() <= {column.title for column in table.columns}
    assert "52.4" == table.lines[0].cells[0].text


def test_a_floor_that_a_protocol_lacks_is_no_0_on_the_page_of_a_run(record: Record) -> None:
    name, board = next(iter(record.protocols.items()))
    without = {floor: replace(each, metrics={}) for floor, each in board.floors.items()}
    lacking = replace(record, protocols={name: replace(board, floors=without)})

    page = run_page(FoundRun(lacking, Path("x.csv"), is_accepted=True), again(lacking))

    assert page.protocols is not None
    (line,) = page.protocols.lines
    titled = zip(page.protocols.columns, line.cells, strict=True)
    assert ["-", "-"] == [cell.text for column, cell in titled if column.title == "best floor"]


def found(results: Path, *records: Record) -> tuple[Board, Mapping[str, FoundRun]]:
    runs = found_runs(results, [], None).runs
    return board_of(*(runs[record.id].record for record in records)), runs


def test_a_curve_is_the_share_of_clips_at_each_threshold(
    record: Record, write_results: WriteResults
) -> None:
    curves = curves_of(*found(write_results(record), record))

    assert curves is not None
    shares = [float(cell.text) for cell in curves.table.lines[0].cells]
    expected = [100 * sum(k / 48 >= bar / 10 for k in range(48)) / 48 for bar in range(1, 10)]
    np.testing.assert_allclose(shares, expected, atol=0.051)  # one decimal
    assert ("method", 0) == curves.drawn[0][2:]


def test_points_run_over_the_whole_drawing() -> None:
    points = points_of([1.0] * 50 + [0.0] * 51).split()

    assert [f"{LEFT}.0,{TOP}.0", f"{WIDTH - RIGHT}.0,{HEIGHT - BOTTOM}.0"] == [
        points[0],
        points[-1],
    ]
    assert 101 == len(points)


def test_a_run_without_scores_has_no_curve_and_is_named(
    record: Record, write_results: WriteResults
) -> None:
    other = replace(record, id="other", overrides=("method.positives=random",),
                    config={**record.config, "method": {"positives": "random"}})  # fmt: skip
    results = write_results(record, other)
    (results / "other.csv").unlink()

    curves = curves_of(*found(results, record, other))

    assert curves is not None
    assert [("hardpos", ("method.positives=random",))] == [head[:2] for head in curves.without]
    assert 1 == len(curves.drawn)


def test_a_row_without_a_map_is_counted_and_not_called_missing(
    record: Record, write_results: WriteResults
) -> None:
    other = replace(record, id="other", overrides=("method.positives=random",),
                    card=replace(record.card, localises=False),
                    config={**record.config, "method": {"positives": "random"}})  # fmt: skip

    curves = curves_of(*found(write_results(record, other), record, other))

    assert curves is not None
    assert ((), 1, 1) == (curves.without, curves.mapless, len(curves.drawn))


def test_parts_are_means_over_their_own_clips(record: Record, write_results: WriteResults) -> None:
    board, runs = found(write_results(record), record)
    half = (np.array([[0.0, 0.0, 0.5, 1.0]]),)  # 25,088 pixels of 224 x 224: huge
    dot = (np.array([[0.0, 0.0, 0.1, 0.1]]),)  # 484 or so: small
    truth = [
        Truth(f"test-{k:06d}", half if k % 4 else dot, category="dog" if k < 36 else "cat")
        for k in range(48)
    ]

    by_class, by_size = breakdowns(board, runs, truth)

    shown = {line.head.name: [cell.text for cell in line.cells] for line in by_class.lines}
    assert {"cat": ["12", "100.0"], "dog": ["36", "33.3"]} == shown  # hits are 24 to 47
    assert [("small", "12"), ("huge", "36")] == [
        (line.head.name, line.cells[0].text) for line in by_size.lines
    ]
    low, high = by_class.lines[1].cells[1].details[0].strip("[]").split(", ")
    assert float(low) < 33.3 < float(high)


def test_one_class_alone_makes_no_table(record: Record, write_results: WriteResults) -> None:
    board, runs = found(write_results(record), record)
    truth = [Truth(f"test-{k:06d}", (np.array([[0.0, 0.0, 0.5, 1.0]]),)) for k in range(48)]

    assert () == breakdowns(board, runs, truth)


def test_samples_are_chosen_by_range_and_by_mean() -> None:
    ciou = np.array([[0.1, 0.9, 0.4, np.nan, 0.6, 0.5], [0.2, 0.8, 0.9, 0.0, 0.6, 0.1]])

    assert {"disagree": [2, 5], "worst": [3, 0], "best": [1, 2]} == chosen_samples(ciou, each=9)


def test_one_method_agrees_with_itself() -> None:
    assert {"worst": [0], "best": [2]} == chosen_samples(np.array([[0.1, 0.2, 0.3]]), each=1)


def test_maps_are_found_in_run_folders_alone(runs: Path, record: Record) -> None:
    at_hand = found_runs(Path("none"), [runs], None).runs
    records = [run.record for run in at_hand.values()]
    board = board_of(*records)

    answers = answers_of(board, at_hand)

    assert ["hardpos", "lvs"] == [one.head.name for one in answers]
    assert 60 == len(answers[0].ciou)
    without = {name: replace(run, folder=None) for name, run in at_hand.items()}
    assert [] == answers_of(board, without)


def test_a_sound_is_pcm_of_its_samples() -> None:
    content = wav(np.array([0.0, 1.0, -1.0], np.float32), 16000)

    assert (b"RIFF", b"WAVE") == (content[:4], content[8:12])
    assert [0, 32767, -32767] == np.frombuffer(content[44:], "<i2").tolist()
    assert 16000 == int.from_bytes(content[24:28], "little")


def test_the_command_gives_the_settings_that_were_recorded(record: Record) -> None:
    lines, note = again(replace(record, overrides=("method.positives=mined",)))

    assert lines[-1].startswith(
        "bench run --method hardpos --data synthetic --seed 0 method.positives=mined "
    )
    assert " optim.lr=0.0001" in lines[-1]  # where the small preset has another
    assert "This gives the recorded configuration." == note


@pytest.mark.parametrize(
    ("kind", "facts", "words"),
    [
        ("released", {}, "bench eval --checkpoint FILE --as lvs --data synthetic"),
        ("run", {"run": "20260101T000000Z-lvs-synthetic-1"},
         "bench eval --checkpoint runs/20260101T000000Z-lvs-synthetic-1 --data synthetic"),
    ],
)  # fmt: skip
def test_tested_weights_are_tested_again_and_never_trained(
    record: Record, kind: Literal["released", "run"], facts: dict[str, object], words: str
) -> None:
    tested = Checkpoint(kind, "lvs", "ab" * 32, facts, None)
    made = again(replace(record, checkpoint=tested, overrides=("method.image_size=64",)))

    assert made.lines[-1] == f"{words} method.image_size=64"
    assert made.note == f"The weights that were tested have the sha256 {'ab' * 32}."


def test_tested_weights_on_data_that_are_not_installed_are_not_trained_either(
    record: Record,
) -> None:
    tested = Checkpoint("released", "lvs", "ab" * 32, {}, None)

    made = again(replace(record, checkpoint=tested, data="theirs", overrides=()))

    assert made.lines[-1] == "bench eval --checkpoint FILE --as lvs --data theirs"
    assert made.note.startswith("What is installed here cannot make this run: unknown data set")


def test_a_method_that_is_not_installed_is_said_in_the_command(record: Record) -> None:
    lines, note = again(replace(record, method="theirs"))

    assert "bench run --method theirs --data synthetic --seed 0" == lines[-1]
    assert note.startswith("What is installed here cannot make this run: unknown method 'theirs'")


def test_data_with_files_ask_for_their_root(record: Record) -> None:
    lines, _ = again(replace(record, data="vggss"))

    assert lines[-1].endswith(" data.root=DIR")


def test_a_run_page_lists_what_was_left_out_with_reasons(record: Record) -> None:
    left = replace(record, missing=("a", "b"), unreadable={"c": "cut off"},
                   excluded=tuple(map(str, range(300))))  # fmt: skip
    page = run_page(FoundRun(left, Path("x.csv"), is_accepted=True), again(record))

    totals = {one.title: (one.total, len(one.ids)) for one in page.left_out}
    assert {
        "Test clips without files": (2, 2),
        "Test clips that cannot be read": (1, 1),
        "Test clips without a marked pixel": (300, 200),
    } == totals
    assert ("c", "cut off") == page.left_out[1].ids[0]


def test_a_run_page_has_paired_differences_with_intervals(record: Record) -> None:
    page = run_page(FoundRun(record, Path("x.csv"), is_accepted=True), again(record))

    assert page.comparisons is not None
    lines = {line.head.name: line.cells for line in page.comparisons.lines}
    assert ("+33.0", ("[28.0, 38.0]",)) == lines["ciou@0.5 minus swapped sounds"][0][:2]
    assert "500" == lines["ciou@0.5 minus swapped sounds"][2].text


@pytest.mark.parametrize("text", ["../../etc/passwd", "a b", "ü", '"><script>', "x" * 300, "."])
def test_names_of_files_are_plain_and_keep_ids_apart(text: str) -> None:
    name = file_name(text)

    assert name.replace(".", "").replace("-", "").replace("_", "").isalnum()
    assert name.isascii()
    assert not name.startswith(".")
    assert name != file_name(f"{text}!")
    assert len(name) < 100


def test_two_different_runs_of_one_id_are_refused(
    runs: Path, record: Record, write_results: WriteResults
) -> None:
    (folder,) = runs.glob("*-hardpos-*")
    results = write_results(replace(record, id=folder.name))

    with pytest.raises(BenchError, match="are different runs of one id; remove one of them"):
        found_runs(results, [runs], None)
