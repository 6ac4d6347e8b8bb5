"""`bench speed`: what it prints, what it answers a check, and what it loads."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from benchmark.speed import STAGES
from benchmark.speed.harness import Amount, Claim, Comparison, Measurable, Setting, Target

Bench = Callable[..., Any]
HELP = """
import contextlib, io, json, sys
out = io.StringIO()
with contextlib.redirect_stdout(out):
    try:
        from benchmark.cli import main
        main(["speed", "--help"])
    except SystemExit:
        pass
print(json.dumps([out.getvalue(), sorted(sys.modules)]))
"""


def replace_comparisons(monkeypatch: pytest.MonkeyPatch, *comparisons: Measurable) -> None:
    def yielded(setting: Setting) -> Iterator[Measurable]:
        yield from comparisons

    for name in STAGES:
        monkeypatch.setattr(f"benchmark.speed.{name}.comparisons", yielded)


def amount(bound: float) -> Amount:
    """An amount of 2 that should be at most ``bound``."""
    return Amount(name="bytes", unit="B/map", ours=lambda: 2.0, target=Target("at most", bound))


def same(holds: bool) -> Comparison[None]:
    return Comparison(
        name="both",
        item="map",
        items=1,
        peer=lambda: None,
        ours=lambda: None,
        claims=lambda peer, ours: [Claim("masks equal", holds)],
    )


def test_a_quick_check_passes_and_tells_claims_and_machine_as_json(bench: Bench) -> None:
    done = bench("speed", "metrics", "--quick", "--check", "--json", "--device", "cpu")

    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["quick"], found["missed"], found["unequal"]) == (True, [], [])
    first = found["stages"]["metrics"][0]
    assert first["name"] == "scoring under lvs"
    assert first["target"] == {"word": "at least", "bound": 4.0, "unit": "x"}
    assert [claim["holds"] for claim in first["claims"]] == [True] * 3
    assert {"cpu", "threads", "numpy", "torch"} <= found["machine"].keys()


def test_all_stages_run_where_none_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_comparisons(monkeypatch, amount(2.0))

    done = bench("speed", "--json")

    assert set(json.loads(done.out)["stages"]) == set(STAGES)


def test_the_table_goes_to_standard_output(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_comparisons(monkeypatch, amount(2.0), same(True))

    done = bench("speed", "metrics")

    assert (done.code, done.err) == (0, "")
    for word in ("bench speed metrics", "bytes", "at most 2", "reached", "true  both: masks equal"):
        assert word in done.out, word


@pytest.mark.parametrize(
    ("words", "code", "complaints"),
    [
        ((), 0, []),
        (("--check",), 1, ["bench: bytes: 2, at most 1"]),
        (("--check", "--json"), 1, ["bench: bytes: 2, at most 1"]),
        (("--check", "--quick"), 0, []),
    ],
)
def test_a_missed_target_says_no_to_a_check_alone(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
    complaints: list[str],
) -> None:
    replace_comparisons(monkeypatch, amount(1.0))

    done = bench("speed", "metrics", *words)

    assert (done.code, done.err.splitlines()) == (code, complaints)


@pytest.mark.parametrize("words", [(), ("--quick",), ("--check",)])
def test_an_untrue_claim_fails_any_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    replace_comparisons(monkeypatch, same(False))

    done = bench("speed", "metrics", *words)

    assert (done.code, done.err) == (1, "bench: both: masks equal\n")
    assert "UNTRUE" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("metric",), "unknown stage 'metric'. Did you mean metrics?"),
        (("--annotations", "nowhere.json"), "nowhere.json"),
    ],
)
def test_a_wrong_word_is_one_line_and_exit_code_2(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    done = bench("speed", "--quick", *words)

    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("bench: ")
    assert message in line


def test_the_help_lists_the_stages_and_loads_none_of_them(
    python: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    done = python("-c", HELP, cwd=tmp_path)

    text, modules = json.loads(done.stdout)
    assert all(name in text for name in STAGES)
    assert {"torch", "numpy", "rich", "cv2", "benchmark.speed.harness"}.isdisjoint(modules)
