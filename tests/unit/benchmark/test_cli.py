import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import main
from benchmark.records import Record, read_record, write_record, write_scores

HISTORY = Path(__file__).parents[2] / "records_v1"
STUBBORN = """
import signal
from benchmark import cli, leaderboard, stopping

def swallowing(*arguments, **options):
    try:
        signal.raise_signal(signal.SIGTERM)
    except SystemExit:
        pass
    while True:
        signal.raise_signal(signal.SIGINT)

stopping.STOP_SECONDS = 0.3
leaderboard.is_current = swallowing
cli.main(["leaderboard", "--check"])
"""
SHOW = ("show", "--method", "hardpos", "--data", "synthetic")


@pytest.fixture(autouse=True)
def unchanged_signal_handlers() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[[Record], Path]:
    """Writes the folder of a finished run."""

    def write(record: Record) -> Path:
        folder = tmp_path / record.id
        folder.mkdir()
        digest = write_scores(folder / "scores.csv", ["a"], {"ciou": [0.5]})
        known: dict[str, Any] = {"n": 1, "metrics": {"mean_iou": 0.5}, "scores_sha256": digest}
        write_record(folder, replace(record, **known))
        return folder

    return write


def code_of(*words: object) -> int:
    """Exit code of a command line, also where argparse ends the process."""
    try:
        return main([str(word) for word in words])
    except SystemExit as stop:
        return int(stop.code or 0)


def test_no_verb_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of() == 0
    assert capsys.readouterr().out.startswith("usage: bench")


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("--version") == 0
    assert capsys.readouterr().out == version("avloc-bench") + "\n"


def test_an_unknown_verb_is_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("rnu") == 2
    assert "invalid choice: 'rnu'" in capsys.readouterr().err


def test_an_unknown_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(*SHOW, "--sed", "1") == 2
    assert "unknown option --sed; see bench show --help" in capsys.readouterr().err


def test_options_cannot_be_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("run", "--meth", "lvs", "--data", "synthetic") == 2
    assert "unknown option --meth;" in capsys.readouterr().err


def test_a_missing_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("run", "--data", "synthetic") == 2
    assert "--method is missing; see bench list methods" in capsys.readouterr().err


def test_a_word_that_a_verb_does_not_take_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("list", "methods", "optim.lr=1") == 2
    assert "bench list does not understand 'optim.lr=1'" in capsys.readouterr().err


def test_an_unknown_method_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("run", "--method", "hardpss", "--data", "synthetic") == 2

    assert capsys.readouterr() == (
        "",
        "bench: unknown method 'hardpss'. Did you mean hardpos? Run bench list methods.\n",
    )


def test_an_unknown_setting_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(*SHOW, "optim.lrr=1") == 2

    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(
        "bench: unknown setting 'optim.lrr' (command line). Did you mean optim.lr"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("show", "optim.lr=0.5", "--method", "lvs", "--data", "synthetic"),
        ("show", "--method", "lvs", "optim.lr=0.5", "--data", "synthetic"),
        ("show", "--method", "lvs", "--data", "synthetic", "optim.lr=0.5"),
        ("show", "seed=0", "--method", "lvs", "optim.lr=0.5", "--data", "synthetic"),
    ],
)
def test_settings_may_stand_anywhere_after_the_verb(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(*words) == 0
    assert "optim.lr = 0.5  (command line)" in capsys.readouterr().out.splitlines()


def test_a_word_that_is_no_setting_is_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(*SHOW, "fast") == 2
    assert "'fast' is neither an option nor a setting" in capsys.readouterr().err


def test_show_prints_each_value_with_its_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(*SHOW, "data.root=0123_456", "--seed", "3") == 0

    lines = capsys.readouterr().out.splitlines()
    assert "seed = 3  (--seed)" in lines
    assert "data.root = 0123_456  (command line)" in lines
    assert "data.limit = null  (defaults)" in lines
    assert "method.backbone = small  (preset small)" in lines


def test_show_as_json_holds_every_value_with_its_layer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert code_of(*SHOW, "--json", "optim.lr=1e-4") == 0

    shown = json.loads(capsys.readouterr().out)
    assert shown["optim.lr"] == {"value": 1e-4, "layer": "command line"}
    assert shown["data.allow_leakage"] == {"value": False, "layer": "defaults"}


def test_show_reads_files_of_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("optim: {lr: 1e-4}")

    assert code_of(*SHOW, "--config", path) == 0
    assert f"optim.lr = 0.0001  ({path})" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "name"), [("methods", "hardpos"), ("data", "synthetic"), ("protocols", "bench-v1")]
)
def test_list_as_json_holds_names_and_summaries(
    kind: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("list", kind, "--json") == 0

    rows = json.loads(capsys.readouterr().out)
    assert name in {row["name"] for row in rows}
    assert all(row.keys() == {"name", "summary"} and row["summary"] for row in rows)


def test_list_prints_a_line_for_each_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("list", "data") == 0

    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"synthetic", "vggss"} <= set(names)


def test_list_without_a_kind_prints_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ("methods", "data", "protocols", "experiments")
    assert code_of("list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert code_of("list") == 0
    lines = capsys.readouterr().out.splitlines()

    assert kinds == tuple(rows)
    assert len(lines) == len(kinds) + sum(map(len, rows.values()))
    assert [f"{kind}:" for kind in kinds] == [line for line in lines if line.endswith(":")]


def test_list_of_an_unknown_kind_is_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("list", "metrics") == 2
    assert "invalid choice: 'metrics'" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["show", "run", "launch"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seed", "0", "seed=2"), "seed"),
        (("--limit", "4", "data.limit=5000"), "the limit is given twice: use --limit or data.lim"),
    ],
    ids=["seed", "limit"],
)
def test_what_an_option_and_a_setting_both_say_is_refused(
    words: tuple[str, ...], message: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(verb, *SHOW[1:], *words) == 2

    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


@pytest.mark.parametrize("words", [("--seed", "0"), ("--seeds", "0")])
def test_a_nought_beside_an_experiment_is_refused_like_any_number(
    words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("run", "--experiment", "hardpos_table1", *words) == 2
    assert f"{words[0]} is given by the rows of the experiment" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["doctor", "proposals"])
def test_settings_of_no_data_are_refused_where_only_data_are_asked_for(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(verb, "synthetic", "optim.lr=1") == 2
    assert capsys.readouterr().err == (
        "bench: optim.lr=1 is no setting of the data; only data.* settings may be given here\n"
    )


def test_no_seeds_at_all_is_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("run", "--method", "center", "--data", "synthetic", "--seeds", "0") == 2
    assert capsys.readouterr().err == "bench: --seeds must be at least 1, got 0\n"


def test_a_missing_leaderboard_is_stale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "leaderboard.md"

    assert code_of("leaderboard", "--check", "--results", tmp_path, "--page", page) == 1
    stale = f"bench: {page} is stale; run bench leaderboard as here, without --check\n"
    assert capsys.readouterr().err == stale


def test_a_page_in_a_new_folder_is_written_and_a_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "new" / "folder" / "leaderboard.md"

    assert code_of("leaderboard", "--results", tmp_path, "--page", page) == 0
    assert page.read_text().startswith("<!--")
    assert code_of("leaderboard", "--results", tmp_path, "--page", page.parent) == 2
    assert capsys.readouterr().err == f"bench: {page.parent} is no file; give --page a file\n"


def test_a_pipe_is_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for more in ((), ("--check",)):
        assert code_of("leaderboard", "--results", tmp_path, "--page", pipe, *more) == 2
        assert capsys.readouterr().err == f"bench: {pipe} is no file; give --page a file\n"
    assert pipe.is_fifo()


def test_a_name_that_no_disk_can_hold_and_a_file_in_the_way_are_a_line(
    tmp_path: Path, run_folder: Callable[[Record], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    run = run_folder(read_record(HISTORY / "complete.json"))
    words = ("leaderboard", "--results", tmp_path / "none", "--page")
    (tmp_path / "none").mkdir()
    cases = [
        ((*words, tmp_path / f"{'x' * 300}.md"), "the name is too long of", "--page"),
        ((*words, tmp_path / "file" / "a" / "b.md"), "a file stands in the way of", "--page"),
        (("add", run, "--results", tmp_path / "file"), "a file stands in the way of", "--results"),
        (("doctor", "vggss", "--root", "~no-such-user/a"), "~no-such-user/a: there is no folder",
         "~no-such-user/a"),
    ]  # fmt: skip

    for line, start, end in cases:
        assert code_of(*line) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"bench: {start}")
        assert err.rstrip().endswith(end)
    assert (tmp_path / "file").read_text() == ""


def test_a_written_leaderboard_is_current(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("leaderboard", "--results", tmp_path, "--page", tmp_path / "leaderboard.md")

    assert (code_of(*words), code_of(*words, "--check")) == (0, 0)
    assert capsys.readouterr().out.endswith("leaderboard.md is current\n")


def test_a_leaderboard_that_was_edited_is_stale(tmp_path: Path) -> None:
    page = tmp_path / "leaderboard.md"
    words = ("leaderboard", "--results", tmp_path, "--page", page)
    code_of(*words)
    page.write_text(page.read_text() + "one more line\n")

    assert code_of(*words, "--check") == 1


def test_a_leaderboard_is_stale_once_a_record_is_added(
    tmp_path: Path, run_folder: Callable[[Record], Path]
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    words = ("leaderboard", "--results", results, "--page", tmp_path / "leaderboard.md")
    code_of(*words)

    added = code_of("add", run_folder(read_record(HISTORY / "complete.json")), "--results", results)

    assert (added, code_of(*words, "--check")) == (0, 1)


@pytest.mark.parametrize(
    "words",
    [
        ("leaderboard", "--page", "page.md"),
        ("leaderboard", "--format", "csv"),
        ("add", "--check"),
        ("table", "hardpos_table1", "--json"),
        ("table", "field", "--json"),
        ("compare", "a", "b"),
        ("report", "--out", "site"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("name", ["absent", "file"])
def test_results_that_are_no_folder_are_refused(
    name: str,
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")

    assert code_of(*words, "--results", name) == 2
    assert capsys.readouterr() == (
        "",
        f"bench: --results {name} is no folder; give a folder of accepted records\n",
    )
    assert [Path("file")] == list(Path().iterdir())


def test_a_report_goes_into_report_unless_it_is_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert code_of("report", "--results", HISTORY) == 0
    assert [Path("report")] == list(Path().iterdir())
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'report' / 'index.html'}: runs: 2")


def test_runs_of_a_table_must_be_there_where_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("table", "hardpos_table1", "--json", "--results", tmp_path)

    assert code_of(*words) == 0
    capsys.readouterr()
    assert code_of(*words, "--runs", "runs") == 2
    message = "bench: --runs runs is no folder; give a folder of runs\n"
    assert capsys.readouterr() == ("", message)


def test_a_partial_run_is_not_added(
    tmp_path: Path,
    run_folder: Callable[[Record], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = run_folder(read_record(HISTORY / "partial_floor.json"))

    assert code_of("add", folder, "--results", tmp_path / "results") == 2
    assert "cannot be added: partial: " in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_folder_without_a_record_is_not_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("add", tmp_path) == 2
    assert "does not exist; a run without it was not finished" in capsys.readouterr().err


@pytest.fixture
def unheard(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Exit code and errors of a command whose output goes to a pipe that nobody reads."""

    def code(*words: object, closed: bool = False) -> tuple[int, str]:
        reading, writing = os.pipe()
        os.close(reading)
        script = 'exec "$@" >&-' if closed else 'exec "$@"'
        line = ["sh", "-c", script, "sh", sys.executable, "-m", "benchmark.cli", *map(str, words)]
        done = subprocess.run(line, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60,
                              cwd=tmp_path)  # fmt: skip
        os.close(writing)
        return done.returncode, done.stderr

    return code


@pytest.mark.parametrize("closed", [False, True], ids=["unread", "closed"])
def test_output_that_nobody_reads_changes_no_exit_code(
    closed: bool, unheard: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    table = tmp_path / "a.csv"
    write_scores(table, ["a", "b", "c"], {"ciou": [0.5, 0.25, 0.75]})
    (tmp_path / "broken.json").write_text("{")

    assert unheard("list", "methods", closed=closed) == (0, "")
    assert unheard("--help", closed=closed) == (0, "")
    assert unheard("compare", table, table, closed=closed)[0] == 0
    code, said = unheard("add", "--check", "--results", tmp_path, closed=closed)
    assert (code, said.count("\n")) == (1, 1)


def test_an_error_that_is_not_the_users_is_code_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("benchmark.leaderboard.is_current", fail)

    assert code_of("leaderboard", "--check") == 3
    assert "ZeroDivisionError: a fault of ours" in capsys.readouterr().err


def test_a_signal_stops_with_code_75(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("benchmark.leaderboard.is_current", interrupted)

    assert code_of("leaderboard", "--check") == 75
    assert "give the same command again" in capfd.readouterr().err


def test_a_command_that_swallows_its_stop_is_ended_all_the_same(tmp_path: Path) -> None:
    script = tmp_path / "stubborn.py"
    script.write_text(STUBBORN)

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)

    assert (done.returncode, "Traceback" in done.stderr) == (75, False)
    assert done.stderr.count("bench: stopped") == 1


def test_a_miniature_of_an_unknown_data_set_is_the_users_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("sample-data", "vggs", "--root", tmp_path) == 2
    assert "no miniature of 'vggs' exists. Did you mean vggss?" in capsys.readouterr().err
