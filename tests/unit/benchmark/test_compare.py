import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmark.compare import (
    Comparison,
    PairedTest,
    bootstrap_p,
    compare,
    comparison_table,
    metric_columns,
    paired_tests,
    sign_test_p,
    verdict,
)
from benchmark.records import SplitIdentity, read_record, write_record, write_scores
from metrics.errors import BenchError

HISTORY = Path(__file__).parents[2] / "records_v1"
NAN = float("nan")
Columns = dict[str, list[float]]
MakeRun = Callable[..., str]
MakeCsv = Callable[[str, list[str], Columns], str]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """``make_run(id, ids, columns, **changes)``: a finished run's folder, as text."""

    def make(name: str, ids: list[str], columns: Columns, **changes: object) -> str:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        digest = write_scores(folder / "scores.csv", ids, columns)
        record = read_record(HISTORY / "complete.json")
        changed = replace(record, id=name, scores_sha256=digest, **changes)  # type: ignore[arg-type]
        write_record(folder, changed)
        return str(folder)

    return make


@pytest.fixture
def make_csv(tmp_path: Path) -> MakeCsv:
    """``make_csv(name, ids, columns)``: scores without a record, as text."""

    def make(name: str, ids: list[str], columns: Columns) -> str:
        path = tmp_path / f"{name}.csv"
        write_scores(path, ids, columns)
        return str(path)

    return make


def accept(folder: str, results: Path) -> None:
    """Copies a run's files to where accepted ones are."""
    for name, suffix in (("record.json", "json"), ("scores.csv", "csv")):
        target = results / f"{Path(folder).name}.{suffix}"
        target.write_bytes((Path(folder) / name).read_bytes())


def one_test(a: list[float], b: list[float], seed: int = 0) -> PairedTest:
    (test,) = paired_tests(np.array(a)[:, None], np.array(b)[:, None], seed)
    return test


def test_equal_differences_leave_an_interval_without_width() -> None:
    b = (np.arange(40) / 64).tolist()
    a = [value + 0.25 for value in b]

    test = one_test(a, b)

    assert (test.difference, test.ci95) == (0.25, (0.25, 0.25))
    assert (test.wins, test.losses, test.ties) == (40, 0, 0)
    assert test.p == pytest.approx(2 / 2001)
    assert test.sign_test_p == pytest.approx(2 / 2**40)


def test_equal_scores_show_nothing() -> None:
    test = one_test([0.1, 0.7, 0.4], [0.1, 0.7, 0.4])

    assert (test.difference, test.ci95, test.p) == (0, (0, 0), 1)
    assert (test.wins, test.losses, test.ties, test.sign_test_p) == (0, 0, 3, 1)


def test_exchanging_the_sides_negates_the_difference_and_keeps_p() -> None:
    a, b = np.random.default_rng(1).random((2, 90)).tolist()

    forth, back = one_test(a, b), one_test(b, a)

    assert (forth.a, forth.b, forth.difference) == (back.b, back.a, -back.difference)
    assert forth.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]), abs=1e-12)
    assert (forth.wins, forth.losses) == (back.losses, back.wins)
    assert (forth.p, forth.sign_test_p) == (back.p, back.sign_test_p)


def test_interval_and_p_are_those_of_a_bootstrap_in_loops() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.random((2, 30))
    a += 0.05
    a[3] = b[17] = NAN
    drawn = np.random.default_rng(11).integers(30, size=(2000, 30))
    means = []
    for rows in drawn:
        gaps = [a[row] - b[row] for row in rows if row not in (3, 17)]
        means.append(sum(gaps) / len(gaps))
    below = sum(mean <= 0 for mean in means)
    above = sum(mean >= 0 for mean in means)

    test = one_test(a.tolist(), b.tolist(), seed=11)

    assert test.ci95 == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=1e-12)
    assert test.p == pytest.approx(2 * (min(below, above) + 1) / 2001)
    assert 0.05 < test.p < 1  # both tails hold resamples


def test_another_seed_gives_another_interval() -> None:
    a, b = np.random.default_rng(1).random((2, 50)).tolist()

    assert one_test(a, b, seed=0).ci95 != one_test(a, b, seed=1).ci95


def test_a_clip_that_one_side_leaves_out_counts_on_neither() -> None:
    test = one_test([0.5, NAN, 1.0, 0.0], [0.25, 1.0, NAN, 0.25])

    assert (test.a, test.b) == (0.25, 0.25)
    assert (test.wins, test.losses, test.ties) == (1, 1, 0)


def test_columns_are_tested_apart_on_the_same_resamples() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random((60, 2)), rng.random((60, 2))

    first, second = paired_tests(a, b, seed=4)

    assert first.ci95 == pytest.approx(one_test(a[:, 0], b[:, 0], seed=4).ci95, abs=1e-12)
    assert second.ci95 == pytest.approx(one_test(a[:, 1], b[:, 1], seed=4).ci95, abs=1e-12)


@pytest.mark.parametrize(
    ("drawn", "p"),
    [
        ([1.0] * 99, 2 / 100),
        ([-1.0] * 99, 2 / 100),
        ([1.0] * 90 + [-1.0] * 9, 2 * 10 / 100),
        ([1.0] * 9 + [0.0] * 90, 1),
        ([1.0] * 9 + [NAN] * 50, 2 / 10),
        ([0.0] * 99, 1),
    ],
)
def test_the_bootstrap_p_counts_the_smaller_side_of_zero_and_one_more(
    drawn: list[float], p: float
) -> None:
    assert bootstrap_p(np.array(drawn)) == pytest.approx(p)


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (5, 5), (8, 7), (3, 12), (140, 101), (0, 600)])
def test_the_sign_test_is_the_exact_binomial_sum(counts: tuple[int, int]) -> None:
    n, most = sum(counts), max(counts)
    as_uneven = [k for k in range(n + 1) if max(k, n - k) >= most]
    expected = sum(math.comb(n, k) for k in as_uneven) / 2**n

    assert sign_test_p(*counts) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("key", "low", "high", "words"),
    [
        ("auc", 0.01, 0.2, "A is better"),
        ("auc", -0.2, -0.01, "B is better"),
        ("auc", -0.1, 0.1, "no difference shown"),
        ("auc", 0.0, 0.1, "no difference shown"),
        ("swap_auc", 0.01, 0.2, "A is higher"),
        ("threshold", -0.2, -0.01, "B is higher"),
        ("context_pointing", 0.01, 0.2, "B is better"),
        ("context_pointing", -0.2, -0.01, "A is better"),
    ],
)
def test_the_verdict_is_whether_the_interval_holds_zero(
    key: str, low: float, high: float, words: str
) -> None:
    test = PairedTest(0.5, 0.4, 0.1, (low, high), 0.01, 3, 1, 0, 0.5)

    assert verdict(key, test) == words


def test_columns_get_the_keys_of_the_metrics_that_they_average_to() -> None:
    names = ["ciou", "hit@0.5", "auc", "annotator2_hit@0.3", "swap_hit@0.5", "swap_annotator1_ciou"]

    found = metric_columns({name: np.zeros(1) for name in (*names, "cap", "annotators_hit@0.5")})

    assert list(found) == [
        "mean_iou", "ciou@0.5", "auc", "annotator2_ciou@0.3", "swap_ciou@0.5",
        "swap_annotator1_mean_iou", "cap", "annotators_ciou@0.5",
    ]  # fmt: skip


def test_an_undefined_consensus_iou_counts_zero_only_where_the_clip_counts() -> None:
    columns = {"ciou": np.array([0.5, NAN, NAN]), "hit@0.5": np.array([1.0, 0.0, NAN])}

    found = metric_columns(columns)

    np.testing.assert_array_equal(found["mean_iou"], [0.5, 0.0, NAN])


def test_the_best_known_metrics_come_first_and_unknown_ones_last(
    make_csv: MakeCsv, results: Path
) -> None:
    names = ["novel", "pointing", "pixel_ap", "auc", "hit@0.3", "hit@0.5", "ciou"]
    path = make_csv("a", ["x", "y"], {name: [0.0, 1.0] for name in names})

    found = compare(path, path, results)

    assert list(found.metrics) == [
        "ciou@0.5", "ciou@0.3", "auc", "mean_iou", "pixel_ap", "pointing", "novel",
    ]  # fmt: skip


def test_what_is_no_merit_is_compared_only_on_request(make_csv: MakeCsv, results: Path) -> None:
    names = ["auc", "threshold", "confidence", "swap_auc", "swap_hit@0.5"]
    path = make_csv("a", ["x", "y"], {name: [0.0, 1.0] for name in names})

    assert list(compare(path, path, results).metrics) == ["auc"]
    asked = compare(path, path, results, metrics=["swap_ciou@0.5", "threshold", "threshold"])
    assert list(asked.metrics) == ["swap_ciou@0.5", "threshold"]


def test_a_metric_of_one_side_only_is_left_out(make_csv: MakeCsv, results: Path) -> None:
    a = make_csv("a", ["x"], {"auc": [0.5], "cap": [0.5]})
    b = make_csv("b", ["x"], {"auc": [0.25], "piap": [0.5]})

    assert list(compare(a, b, results).metrics) == ["auc"]


def test_a_metric_that_no_common_clip_defines_is_left_out(make_csv: MakeCsv, results: Path) -> None:
    a = make_csv("a", ["x", "y"], {"auc": [0.5, 0.5], "cap": [NAN, 1.0]})
    b = make_csv("b", ["x", "y"], {"auc": [0.5, 0.5], "cap": [1.0, NAN]})

    assert list(compare(a, b, results).metrics) == ["auc"]


def test_clips_are_paired_by_id_whatever_their_order(make_csv: MakeCsv, results: Path) -> None:
    a = make_csv("a", ["x", "y", "z"], {"auc": [0.75, 0.5, 0.25]})
    b = make_csv("b", ["z", "x", "w"], {"auc": [0.0, 0.5, 1.0]})

    found = compare(a, b, results)

    assert found.n_common == 2
    assert found.metrics["auc"].ci95 == (0.25, 0.25)


def test_clips_are_resampled_in_the_order_of_their_ids(make_csv: MakeCsv, results: Path) -> None:
    gaps = np.random.default_rng(3).random(30).tolist()
    ids = [f"clip{k:02}" for k in range(30)]
    a = make_csv("a", ids[::-1], {"auc": gaps[::-1]})
    b = make_csv("b", ids, {"auc": [0.0] * 30})

    assert compare(a, b, results).metrics["auc"].ci95 == one_test(gaps, [0.0] * 30).ci95


def test_every_way_to_name_a_run_finds_the_same_record(make_run: MakeRun, results: Path) -> None:
    folder = make_run("run-1", ["x"], {"auc": [0.5]})
    accept(folder, results)

    for word in (
        folder, f"{folder}/record.json", f"{folder}/scores.csv", "run-1",
        f"{results}/run-1", f"{results}/run-1.json", f"{results}/run-1.csv",
    ):  # fmt: skip
        side = compare(word, folder, results).a.to_dict()

        assert (side["id"], side["protocol"]) == ("run-1", "bench-v1"), word


def test_a_csv_elsewhere_is_read_without_the_json_beside_it(
    make_csv: MakeCsv, results: Path
) -> None:
    path = make_csv("a", ["x"], {"auc": [0.5]})
    Path(path).with_suffix(".json").write_text("[]")

    assert compare(path, path, results).a.to_dict() == {
        "id": path, "method": None, "data": None, "protocol": None, "n": 1,
    }  # fmt: skip


def test_several_runs_of_a_side_are_averaged_on_the_clips_that_all_scored(
    make_csv: MakeCsv, results: Path
) -> None:
    first = make_csv("1", ["x", "y", "z"], {"auc": [0.5, 0.25, 1.0], "cap": [1.0, 1.0, 1.0]})
    second = make_csv("2", ["y", "x"], {"auc": [0.75, 1.0]})
    b = make_csv("b", ["x", "y", "z"], {"auc": [0.25, 0.0, 0.0], "cap": [1.0, 1.0, 1.0]})

    found = compare(f"{first},{second}", b, results)

    assert found.a.ids == ("x", "y")
    assert list(found.metrics) == ["auc"]
    assert (found.metrics["auc"].a, found.metrics["auc"].ci95) == (0.625, (0.5, 0.5))


def test_means_that_differ_by_rounding_only_are_ties(make_csv: MakeCsv, results: Path) -> None:
    a, b = [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]
    assert a[0] + a[1] + a[2] != b[0] + b[1] + b[2]  # sum() rounds once since Python 3.12
    sides = [
        ",".join(make_csv(f"{side}{k}", ["x"], {"auc": [value]}) for k, value in enumerate(values))
        for side, values in (("a", a), ("b", b))
    ]

    test = compare(*sides, results).metrics["auc"]

    assert (test.ties, test.difference, test.p, test.sign_test_p) == (1, 0, 1, 1)


def test_a_file_whose_name_has_a_comma_is_one_run(make_csv: MakeCsv, results: Path) -> None:
    path = make_csv("a,b", ["x"], {"auc": [0.5]})

    assert compare(path, path, results).a.to_dict()["id"] == path


def test_many_ids_make_no_file_name_that_is_too_long(make_run: MakeRun, results: Path) -> None:
    ids = [f"20250301T140500Z-hardpos-synthetic-0000000{k}" for k in range(8)]
    for k, name in enumerate(ids):
        accept(make_run(name, ["x"], {"auc": [k / 8]}), results)

    assert compare(",".join(ids), ids[0], results).metrics["auc"].a == 3.5 / 8


def test_two_complete_runs_of_one_kind_give_no_warning(make_run: MakeRun, results: Path) -> None:
    a = make_run("a", ["x"], {"auc": [0.5]})
    b = make_run("b", ["x"], {"auc": [0.5]})

    assert compare(a, b, results).warnings == ()


OTHER_LIST = {"test": SplitIdentity("other", 500, "abcdef12" * 8)}


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"splits": OTHER_LIST}, r"the test lists differ \(sha256 \w{8}, abcdef12\)"),
        (
            {"protocol": "lvs"},
            r"the protocols differ \(bench-v1, lvs\): the numbers are not comparable",
        ),
        ({"data": "vggss"}, r"the data sets differ \(synthetic, vggss\)"),
        (
            {"status": "partial", "reasons": ("--limit 9",)},
            r"b is no complete run \(partial: --limit 9\)",
        ),
    ],
)
def test_what_limits_the_comparison_is_said(
    make_run: MakeRun, results: Path, changes: dict[str, object], warning: str
) -> None:
    a = make_run("a", ["x"], {"auc": [0.5]})
    b = make_run("b", ["x"], {"auc": [0.25]}, **changes)

    (found,) = compare(a, b, results).warnings

    assert re.fullmatch(warning, found)


@pytest.mark.parametrize(
    ("counts", "words"),
    [((12, 5), "12 test clips of 5 videos"), ((0, 8), "other clips of 8 videos of test clips")],
    ids=["clips", "videos"],
)
@pytest.mark.parametrize("trained", ["a", "b"])
def test_training_on_the_test_list_is_said_of_either_side(
    make_run: MakeRun, results: Path, trained: str, counts: tuple[int, int], words: str
) -> None:
    clips, videos = counts
    plain = read_record(HISTORY / "complete.json").leakage
    leakage = replace(plain, trained_on=clips, trained_on_videos=videos)
    sides = [
        make_run(name, ["x"], {"auc": [0.5]}, **({"leakage": leakage} if name == trained else {}))
        for name in ("a", "b")
    ]

    assert compare(*sides, results).warnings == (f"{trained} trained on {words}",)


def test_clips_of_one_side_only_are_counted(make_run: MakeRun, results: Path) -> None:
    a = make_run("a", ["x", "y", "z"], {"auc": [0.5, 0.5, 0.5]})
    b = make_run("b", ["y", "x", "v", "w"], {"auc": [0.5, 0.5, 0.5, 0.5]})

    assert compare(a, b, results).warnings == ("only 2 clips are common: 2 of 3 of A, 2 of 4 of B",)


def test_a_side_that_scored_less_is_counted(make_run: MakeRun, results: Path) -> None:
    a = make_run("a", ["x", "y", "z"], {"auc": [0.5, 0.5, 0.5]})
    b = make_run("b", ["y", "x"], {"auc": [0.5, 0.5]})

    assert compare(a, b, results).warnings == ("only 2 clips are common: 2 of 3 of A, 2 of 2 of B",)


def test_runs_of_a_side_that_scored_different_clips_are_counted(
    make_run: MakeRun, results: Path
) -> None:
    first = make_run("1", ["x", "y"], {"auc": [0.5, 0.5]})
    second = make_run("2", ["x"], {"auc": [0.5]})
    b = make_run("b", ["x"], {"auc": [0.5]})

    found = compare(f"{first},{second}", b, results)

    assert found.warnings == ("the runs of A scored 2, 1 clips and share 1",)


def test_a_run_compared_with_itself_is_named(make_run: MakeRun, results: Path) -> None:
    folder = make_run("a", ["x"], {"auc": [0.5]})
    accept(folder, results)

    assert compare(folder, "a", results).warnings == ("A and B are the same run, a",)


def test_a_copy_of_the_scores_of_a_run_is_the_same_run(
    make_run: MakeRun, make_csv: MakeCsv, results: Path
) -> None:
    a, b = make_run("a", ["x"], {"auc": [0.5]}), make_csv("b", ["x"], {"auc": [0.5]})

    assert compare(a, b, results).warnings[0] == "A and B are the same run, a"


def test_a_run_that_is_one_of_several_on_both_sides_is_named(
    make_run: MakeRun, results: Path
) -> None:
    a, b, c = (make_run(name, ["x"], {"auc": [0.5]}) for name in "abc")

    assert compare(f"{a},{b}", f"{c},{b}", results).warnings == ("A and B share the run b",)


def test_scores_without_a_record_are_said_to_be_unchecked(
    make_run: MakeRun, make_csv: MakeCsv, results: Path
) -> None:
    a, b = make_run("a", ["x"], {"auc": [0.5]}), make_csv("b", ["x"], {"auc": [0.25]})

    assert compare(a, b, results).warnings == (
        f"{b} has no record: its protocol, data and test list are not checked",
    )


def test_runs_without_a_common_clip_are_refused(make_csv: MakeCsv, results: Path) -> None:
    a, b = make_csv("a", ["x", "y"], {"auc": [0, 1]}), make_csv("b", ["z"], {"auc": [0]})

    with pytest.raises(BenchError, match="share no clip: A holds 2, such as 'x', and B 1, such as"):
        compare(a, b, results)


def test_runs_of_a_side_without_a_common_clip_are_refused(make_csv: MakeCsv, results: Path) -> None:
    a, b = make_csv("a", ["x"], {"auc": [0]}), make_csv("b", ["z"], {"auc": [0]})

    with pytest.raises(BenchError, match="the runs of B share no scored clip"):
        compare(a, f"{a},{b}", results)


def test_an_absent_metric_is_refused_with_those_there_are(make_csv: MakeCsv, results: Path) -> None:
    path = make_csv("a", ["x"], {"hit@0.5": [1], "auc": [0.5], "threshold": [0.5]})

    with pytest.raises(BenchError, match="'pixel_ap'.*; there are: ciou@0.5, auc, threshold$"):
        compare(path, path, results, metrics=["auc", "pixel_ap"])


def test_runs_without_a_common_metric_are_refused(make_csv: MakeCsv, results: Path) -> None:
    a, b = make_csv("a", ["x"], {"auc": [0]}), make_csv("b", ["x"], {"cap": [0]})

    with pytest.raises(BenchError, match="share no metric; A holds auc, B cap"):
        compare(a, b, results)


def test_an_unknown_run_is_refused_with_the_nearest_id(make_run: MakeRun, results: Path) -> None:
    accept(make_run("20250301-hardpos", ["x"], {"auc": [0.5]}), results)

    with pytest.raises(BenchError, match=r"no run '20250301-hardpo':.*Did you mean 20250301-hard"):
        compare("20250301-hardpo", "20250301-hardpos", results)


@pytest.mark.parametrize("words", ["", "nothing", "nothing,", "nothing/scores.csv"])
def test_an_unknown_run_without_a_near_one_is_refused(results: Path, words: str) -> None:
    with pytest.raises(BenchError, match="no run .*Check the path"):
        compare(words, words, results)


def test_an_unfinished_run_is_refused(make_run: MakeRun, results: Path) -> None:
    folder = make_run("a", ["x"], {"auc": [0.5]})
    (Path(folder) / "record.json").unlink()

    with pytest.raises(BenchError, match="record.json does not exist; .* not finished"):
        compare(folder, folder, results)


def test_scores_that_were_changed_after_the_run_are_refused(
    make_run: MakeRun, results: Path
) -> None:
    folder = make_run("a", ["x"], {"auc": [0.5]})
    (Path(folder) / "scores.csv").write_text("id,auc\nx,0.75\n")

    with pytest.raises(BenchError, match=r"scores\.csv has sha256 .* one of them was changed"):
        compare(folder, folder, results)


def test_a_run_named_twice_on_one_side_is_refused(make_run: MakeRun, results: Path) -> None:
    folder = make_run("a", ["x"], {"auc": [0.5]})

    with pytest.raises(BenchError, match="A holds the run a twice"):
        compare(f"{folder},{folder}/record.json", folder, results)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,auc\nx,0.5\nx,0.5\n", r"'x' occurs more than once in .*a\.csv"),
        ("id,auc\nx,inf\n", r"a\.csv has an infinite auc for 'x'"),
        ("id,auc\nx,-1e308\n", r"a\.csv has too large a auc for 'x'; leave the cell empty"),
        ("id,auc\n", r"a\.csv holds no clip"),
        ("id,auc\nx,good\n", r"a\.csv cannot be read as scores: .*'good'"),
        ("auc\n0.5\n", r"a\.csv cannot be read as scores: the first column must be id"),
    ],
)
def test_a_file_that_holds_no_scores_is_refused(
    tmp_path: Path, results: Path, content: str, words: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)

    with pytest.raises(BenchError, match=words):
        compare(str(path), str(path), results)


def test_a_negative_seed_is_refused(make_csv: MakeCsv, results: Path) -> None:
    path = make_csv("a", ["x"], {"auc": [0.5]})

    with pytest.raises(BenchError, match="--seed must be at least 0, got -1"):
        compare(path, path, results, seed=-1)


def test_the_json_holds_every_figure_as_a_plain_fraction(make_run: MakeRun, results: Path) -> None:
    a = make_run("a", ["x", "y"], {"auc": [0.75, 0.5]})
    b = make_run("b", ["y", "x"], {"auc": [0.25, 0.5]}, method="lvs", protocol="lvs")

    found = compare(a, b, results).to_dict()

    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "a": {"id": "a", "method": "hardpos", "data": "synthetic", "protocol": "bench-v1", "n": 2},
        "b": {"id": "b", "method": "lvs", "data": "synthetic", "protocol": "lvs", "n": 2},
        "n_common": 2,
        "warnings": ["the protocols differ (bench-v1, lvs): the numbers are not comparable"],
        "metrics": {
            "auc": {
                "a": 0.625, "b": 0.375, "difference": 0.25, "ci95": [0.25, 0.25], "p": 2 / 2001,
                "wins": 2, "losses": 0, "ties": 0, "sign_test_p": 0.5,
            }
        },
    }  # fmt: skip


def printed(comparison: Comparison, width: int = 100) -> list[str]:
    """Each printed line."""
    console = Console(file=StringIO(), width=width)
    console.print(comparison_table(comparison))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_the_table_is_in_per_cent_with_verdicts(make_run: MakeRun, results: Path) -> None:
    columns = {"auc": [0.75] * 20, "pixel_ap": [0.5] * 20}
    a = make_run("a", [f"clip{k}" for k in range(20)], columns)
    b = make_run("b", [f"clip{k}" for k in range(20)], {**columns, "auc": [0.5] * 20})

    lines = [" ".join(line.split()) for line in printed(compare(a, b, results))]

    assert "A hardpos on synthetic, bench-v1, 20 clips: a" in lines
    assert "auc 75.0 50.0 +25.0 +25.0 to +25.0 <0.001 20 0 0 <0.001 A is better" in lines
    assert "pixel_ap 50.0 50.0 +0.0 +0.0 to +0.0 1.000 0 0 20 1.000 no difference shown" in lines


def test_the_widest_common_row_fits_100_columns(make_csv: MakeCsv, results: Path) -> None:
    path = make_csv("a", ["x"], {"hit@0.5": [1]})
    wide = PairedTest(0.999, 0.999, -0.111, (-0.444, -0.333), 0.5, 2222, 2222, 2222, 0.5)
    no_verdict = replace(wide, ci95=(-0.444, 0.333))
    comparison = replace(
        compare(path, path, results), metrics={"ciou@0.5": wide, "pixel_ap": no_verdict}
    )

    lines = printed(comparison)

    assert any(line.endswith("no difference shown") for line in lines)
    assert "-44.4 to +33.3" in "".join(lines)


def test_brackets_in_a_name_are_printed_as_they_are(make_csv: MakeCsv, results: Path) -> None:
    path = make_csv("[red]a", ["x"], {"[b]auc": [0.5]})

    lines = printed(compare(path, path, results), width=300)

    assert any("[red]a.csv" in line for line in lines)
    assert any(line.startswith("[b]auc") for line in lines)
