"""Figures of papers: what is drawn is what the scores of the clips say."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from benchmark.config import compose
from benchmark.experiment import Experiment, OnSynthetic, Row
from benchmark.figures import counted_success_curve, draw_figure, figure_of
from benchmark.paper_table import PaperTable, paper_table
from benchmark.records import Figures, ProtocolFigures, Record, read_record, write_record
from benchmark.settings import PATHS, nested
from datamodules.synthetic_generator import CLASSES
from metrics.errors import BenchError

HISTORY = Path(__file__).parents[2] / "records_v1"
BASE = Row("base", "Base", "lvs_vanilla", "synthetic", seeds=(0, 1), x=1)
OURS = Row("ours", "Ours", "lvs", "synthetic", seeds=(0,), x=10)
FLOOR = Row("disc", "Disc", "center", "synthetic", seeds=(0,))
Columns = dict[str, Sequence[float | str]]
Accept = Callable[..., Record]


@pytest.fixture
def accept(results: Path) -> Accept:
    """``accept(row, seed, {"ciou": [0.1, 0.9]}, {"auc": 0.5})`` accepts a run of a row."""

    def accepted(
        row: Row, seed: int, columns: Columns, metrics: dict[str, float] | None = None
    ) -> Record:
        config = compose(row.method, row.data, seed=seed)
        values = {key: value for key, value in config.values.items() if not PATHS.fullmatch(key)}
        lines = [["id", *columns], *([f"test-{k:06d}", *map(str, cells)]
                 for k, cells in enumerate(zip(*columns.values(), strict=True)))]  # fmt: skip
        scores = "".join(",".join(line) + "\n" for line in lines)
        history = read_record(HISTORY / "complete.json")
        record = replace(
            history,
            id=f"20250101T00000{seed}Z-{row.method}-synthetic-0a1b2c3d",
            card=replace(history.card, floor=row is FLOOR),
            method=row.method,
            data="synthetic",
            seed=seed,
            config=nested(values),
            metrics=metrics or {"ciou@0.5": 0.5},
            floors={
                "center": Figures({"ciou@0.3": 0.3, "ciou@0.5": 0.2}),
                "full": Figures({"ciou@0.3": 0.25, "ciou@0.5": 0.22}),
            },
            ceiling={"ciou@0.3": 0.9, "ciou@0.5": 0.9},
            scores_sha256=sha256(scores.encode()).hexdigest(),
        )
        (results / f"{record.id}.csv").write_text(scores)
        write_record(results, record).rename(results / f"{record.id}.json")
        return record

    return accepted


def table(results: Path, figure: str | None, *rows: Row, **changes: Any) -> PaperTable:
    experiment = Experiment(
        name="small",
        source="A paper, page 3",
        table="Figure 9",
        protocol="lvs",
        note="A note.",
        metrics=("ciou@0.5",),
        rows=rows,
        figure=figure,
    )
    return paper_table(replace(experiment, **changes), results, results / "no-runs", on="synthetic")


def lines_of(figure: Figure, panel: int = 0) -> dict[str, np.ndarray]:
    """Points ``(2, N)`` of the lines that the legend names."""
    return {
        str(line.get_label()): np.array(line.get_data(), dtype=float)
        for line in figure.axes[panel].lines
        if not str(line.get_label()).startswith("_")
    }


def test_the_success_ratio_counts_clips_that_reach_a_threshold() -> None:
    rng = np.random.default_rng(0)
    ciou, counted = rng.random(40), rng.random(40) < 0.8
    ciou[3] = np.nan

    expected = []
    for k in range(101):
        reached = [value >= k / 100 for value, one in zip(ciou, counted, strict=True) if one]
        expected.append(sum(reached) / counted.sum())
    assert counted_success_curve(ciou, counted).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_clip_at_a_threshold_has_reached_it() -> None:
    every = np.array([0.05 * k for k in range(21)])  # 0.15000000000000002 and so on

    curve = counted_success_curve(every, np.ones(21, dtype=np.bool_))
    assert (21 * curve[::5]).round(9).tolist() == [21 - k for k in range(21)]


def test_a_success_line_is_the_mean_over_seeds_without_negatives(
    results: Path, accept: Accept
) -> None:
    accept(BASE, 0, {"ciou": [0.2, 0.8, ""], "hit@0.5": [0, 1, ""]})
    accept(BASE, 1, {"ciou": [0.8, 0.8, ""], "hit@0.5": [1, 1, ""]})
    accept(OURS, 0, {"ciou": [0.4, "", ""], "hit@0.5": [0, 0, ""]})

    lines = lines_of(figure_of(table(results, "success", BASE, OURS)))

    thresholds, base = lines["Base"]
    assert base[[0, 20, 21, 80, 81]].tolist() == [100, 100, 75, 75, 0]
    assert thresholds[[0, 50, 100]].tolist() == [0, 0.5, 1]
    # 0/0 is a miss even where nothing is asked for
    assert lines["Ours"][1][[0, 40, 41]].tolist() == [50, 50, 0]


def test_floors_are_drawn_as_lines_where_they_are_rows_and_as_marks_where_not(
    results: Path, accept: Accept
) -> None:
    accept(BASE, 0, {"ciou": [0.2, 0.8], "hit@0.5": [0, 1]})
    accept(FLOOR, 0, {"ciou": [0.1, 0.1], "hit@0.5": [0, 0]})

    lines = lines_of(figure_of(table(results, "success", BASE, FLOOR)))

    assert lines["Disc"][1][[10, 11]].tolist() == [100, 0]
    marks = lines["best floor that is no line here"]
    assert marks.round(9).tolist() == [[0.3, 0.5], [25, 22]]
    assert lines["ceiling"][1].tolist() == [90, 90]


def test_confidences_are_split_by_whose_sound_it_is(results: Path, accept: Accept) -> None:
    accept(
        BASE, 0,
        {"confidence": [0.9, 0.8, 0.1, 0.2, 0.3], "hit@0.5": [1, 0, "", "", ""]},
        {"onscreen_auc": 0.75},
    )  # fmt: skip
    accept(
        BASE, 1,
        {"confidence": [0.7, 0.6, 0.0, 0.4, 0.5], "hit@0.5": [1, 1, "", "", ""]},
        {"onscreen_auc": 0.85},
    )  # fmt: skip

    (axes,) = figure_of(table(results, "onscreen", BASE)).axes

    assert axes.get_title(loc="left") == "Base\nAUC 80.0 ± 7.1 %"
    medians = [float(line.get_data()[0][0]) for line in axes.lines]  # type: ignore[index]
    assert medians == pytest.approx([0.75, 0.25])
    legend = axes.get_legend()
    assert legend is not None
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["sound of the frame", "sound of none in it"]


def test_a_row_without_both_kinds_of_clip_has_no_distributions(
    results: Path, accept: Accept
) -> None:
    accept(BASE, 0, {"confidence": [0.9, 0.8], "hit@0.5": [1, 0]})

    with pytest.raises(BenchError, match=r"row base: all its clips are alike.*data.offscreen=0.3"):
        figure_of(table(results, "onscreen", BASE))


def test_scores_without_a_confidence_are_an_error(results: Path, accept: Accept) -> None:
    accept(BASE, 0, {"hit@0.5": [1, 0]})

    with pytest.raises(BenchError, match=r"\.csv has no column confidence to draw"):
        figure_of(table(results, "onscreen", BASE))


def test_a_curve_runs_over_the_x_of_the_rows(results: Path, accept: Accept) -> None:
    further = replace(
        BASE, id="further", overrides=("optim.lr=0.5",), x=100, on_synthetic=OnSynthetic(x=4)
    )
    accept(BASE, 0, {"hit@0.5": [1]}, {"ciou@0.5": 0.4})
    accept(BASE, 1, {"hit@0.5": [1]}, {"ciou@0.5": 0.6})
    accept(OURS, 0, {"hit@0.5": [1]}, {"ciou@0.5": 0.7})
    level = replace(OURS, id="level", label="Level", x=None)

    (axes,) = figure_of(table(results, "curve", BASE, further, level, figure_x="K")).axes

    lines = {str(line.get_label()): np.array(line.get_data()) for line in axes.lines}
    assert lines["lvs_vanilla"].tolist() == [[1], [50]]
    assert lines["Level"][1].tolist() == pytest.approx([70, 70])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("K", "ciou@0.5 (%)")


def test_a_curve_may_be_of_boxes(results: Path, accept: Accept) -> None:
    record = accept(BASE, 0, {"boxes_hit@0.5": [1]})
    boxes = ProtocolFigures({"ciou@0.5": 0.8}, {}, {}, {})
    changed = replace(record, protocols={**record.protocols, "boxes": boxes})
    write_record(results, changed).rename(results / f"{record.id}.json")

    (axes,) = figure_of(table(results, "curve", BASE, metrics=("boxes_ciou@0.5",))).axes

    assert [line.get_ydata().tolist() for line in axes.lines] == [[80], [80]]


def test_the_x_of_a_row_on_synthetic_takes_the_place_of_its_own(
    results: Path, accept: Accept
) -> None:
    moved = replace(BASE, on_synthetic=OnSynthetic(x=4))
    accept(BASE, 0, {"hit@0.5": [1]}, {"ciou@0.5": 0.4})

    (axes,) = figure_of(table(results, "curve", moved)).axes
    assert axes.get_xticks().tolist() == [4]


def bars_of(figure: Figure) -> dict[str, dict[str, float]]:
    """Lengths of the bars by row and by the words beside them, from the top."""
    (axes,) = figure.axes
    words = [text.get_text() for text in axes.get_yticklabels()]
    return {
        container.get_label(): {
            words[round(bar.get_y() + bar.get_height() / 2)]: bar.get_width() for bar in container
        }
        for container in axes.containers
        if isinstance(container, BarContainer)
    }


def test_bars_are_means_by_category_over_seeds_the_best_of_the_last_row_first(
    results: Path, accept: Accept
) -> None:
    every = [0.5] * 14  # of classes 2 to 15
    accept(BASE, 0, {"segment_acc": [0.2, 0.8, *every, 0.4, ""]})  # clips 0 and 16 are of class 0
    accept(BASE, 1, {"segment_acc": [0.4, 0.6, *every, 0.6, ""]})
    accept(OURS, 0, {"segment_acc": [0.1, 0.9, *every, 0.1, ""]})

    figure = figure_of(table(results, "categories", BASE, OURS, metrics=("segment_acc",)))

    found = bars_of(figure)
    first, second = f"{CLASSES[0]} (2)", f"{CLASSES[1]} (2)"
    base, ours = found["Base"], found["Ours"]
    assert list(base) == list(ours)
    assert [list(ours)[place] for place in (0, 1, -1)] == ["all clips", second, first]
    assert list(ours)[2:-1] == sorted(f"{name} (1)" for name in CLASSES[2:])
    assert base[first] == pytest.approx(100 * (0.2 + 0.4 + 0.4 + 0.6) / 4)
    assert base[second] == pytest.approx(70)  # the clip without a score is not counted
    assert base["all clips"] == pytest.approx(100 * ((0.2 + 0.8 + 7 + 0.4) / 17 + 8.6 / 17) / 2)
    assert ours[first] == pytest.approx(10)


def test_floors_of_the_first_metric_lie_across_all_categories(
    results: Path, accept: Accept
) -> None:
    record = accept(BASE, 0, {"segment_acc": [0.2, 0.8]})
    floors = {"clip_label": Figures({"segment_acc": 0.75}), "center": Figures({"auc": 0.3})}
    (results / f"{record.id}.json").unlink()
    write_record(results, replace(record, floors=floors)).rename(results / f"{record.id}.json")

    figure = figure_of(table(results, "categories", BASE, metrics=("segment_acc",)))

    assert lines_of(figure).keys() == {"floor clip_label, all clips"}
    assert lines_of(figure)["floor clip_label, all clips"][0].tolist() == [75, 75]


def test_a_curve_of_a_metric_that_no_run_has_is_refused(results: Path, accept: Accept) -> None:
    accept(BASE, 0, {"ciou": [0.2]}, {"auc": 0.5})

    with pytest.raises(BenchError, match=r"no run of small has ciou@0\.5, which its figure shows"):
        figure_of(table(results, "curve", BASE))


def test_a_bound_that_no_floor_has_is_left_out(results: Path, accept: Accept) -> None:
    record = accept(BASE, 0, {"ciou": [0.2, 0.8], "hit@0.5": [0, 1]})
    path = results / f"{record.id}.json"
    only = {"center": Figures({"ciou@0.5": 0.2})}
    write_record(results, replace(record, floors=only)).rename(path)

    drawn = lines_of(figure_of(table(results, "success", BASE)))

    assert drawn["best floor that is no line here"].T.tolist() == [[0.5, 20.0]]


@pytest.mark.parametrize("figure", ["success", "onscreen", "curve", "categories"])
def test_a_figure_is_a_picture_of_the_same_bytes(
    figure: str, results: Path, accept: Accept, tmp_path: Path
) -> None:
    columns: Columns = {
        "ciou": [0.2, 0.8, ""], "hit@0.5": [0, 1, ""], "confidence": [0.1, 0.2, 0.3],
        "ciou@0.5": [0, 1, ""],
    }  # fmt: skip
    accept(BASE, 0, columns, {"ciou@0.5": 0.5, "onscreen_auc": 0.5})
    accept(OURS, 0, columns, {"ciou@0.5": 0.7, "onscreen_auc": 0.5})
    paths = [tmp_path / f"{k}.png" for k in range(2)]

    for path in paths:
        draw_figure(table(results, figure, BASE, OURS), path)

    assert paths[0].read_bytes() == paths[1].read_bytes()
    picture = cv2.imread(str(paths[0]))
    assert picture is not None
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_a_table_without_a_figure_says_so(results: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="experiment small has no figure; leave --plot out"):
        draw_figure(table(results, None, BASE), tmp_path / "a.png")


def test_a_figure_without_any_run_names_the_command(results: Path, tmp_path: Path) -> None:
    words = "no row of small has a run.*bench run --experiment small --on synthetic"
    with pytest.raises(BenchError, match=words):
        draw_figure(table(results, "success", BASE), tmp_path / "a.png")


def test_a_figure_is_refused_under_another_ending_and_in_no_folder(
    results: Path, accept: Accept, tmp_path: Path
) -> None:
    accept(BASE, 0, {"ciou": [0.2], "hit@0.5": [0]})
    paper = table(results, "success", BASE)

    with pytest.raises(BenchError, match=r"--plot .*a\.pdf must be named \.png"):
        draw_figure(paper, tmp_path / "a.pdf")
    with pytest.raises(BenchError, match=r"--plot .*a\.png cannot be written .*folder that exists"):
        draw_figure(paper, tmp_path / "none" / "a.png")


def test_scores_that_were_changed_are_not_drawn(results: Path, accept: Accept) -> None:
    record = accept(BASE, 0, {"ciou": [0.2], "hit@0.5": [0]})
    (results / f"{record.id}.csv").write_text("id,ciou,hit@0.5\ntest-000000,0.9,1\n")

    with pytest.raises(BenchError, match="one of them was changed"):
        figure_of(table(results, "success", BASE))
