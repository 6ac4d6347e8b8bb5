"""Two runs, or two groups of runs, compared clip by clip on what both of them scored."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from os.path import exists, isdir, isfile  # a Path raises where a list of ids is a too long name
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from scipy.special import bdtr

from benchmark.records import (
    Interval,
    Record,
    ScoreTable,
    is_ranked,
    read_record,
    read_scores,
    verified_scores,
)
from metrics.bootstrap import RESAMPLES, bootstrap_means
from metrics.errors import BenchError, did_you_mean, first_repeat
from metrics.scoring import LOWER_IS_BETTER

Column = NDArray[np.float64]
FIRST = ("ciou@0.5", "ciou@0.3", "auc", "mean_iou", "pixel_ap", "pointing")
NOT_BETTER = re.compile("threshold|confidence|(boxes_)?swap_.*")  # no merit; only on request
HEADER = (
    "", "A", "B", "A - B", "95 % interval", "p", "wins", "losses", "ties", "sign p",
    "verdict at 95 %",
)  # fmt: skip
LARGEST = 1e100  # of a score, so that sums of them and of their squares are finite
ROUNDING = 1e-12  # sums of fractions over seeds and clips differ by less where they are equal


@dataclass(frozen=True)
class Run:
    """Scores of one run; ``record`` is None where there is only a CSV."""

    name: str
    sha256: str  # of the scores
    record: Record | None
    ids: tuple[str, ...]
    columns: dict[str, Column]  # (n,) per metric


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a run, or the mean of several clip by clip.

    Attributes:
        letter: A or B.
        runs: at least one.
        ids: clips that every run scored, sorted.
        columns: ``(n,)`` float64 per metric that every run has; NaN where one leaves a clip out.
    """

    letter: str
    runs: tuple[Run, ...]
    ids: tuple[str, ...]
    columns: dict[str, Column]

    def to_dict(self) -> dict[str, str | int | None]:
        """Who it is; None for what no record says."""
        return {
            "id": ",".join(run.name for run in self.runs),
            "method": _recorded(self.runs, lambda record: record.method),
            "data": _recorded(self.runs, lambda record: record.data),
            "protocol": _recorded(self.runs, lambda record: record.protocol),
            "n": len(self.ids),
        }


@dataclass(frozen=True)
class PairedTest:
    """A minus B in one metric; means over the clips that the metric is defined for on both sides.

    Attributes:
        a: mean of A.
        b: mean of B.
        difference: mean of A minus B.
        ci95: its 95 % interval by a paired bootstrap over clips.
        p: two-sided, of the same resamples; see :func:`bootstrap_p`.
        wins: clips with A above B.
        losses: clips with A below B.
        ties: clips with equal values.
        sign_test_p: two-sided and exact; see :func:`sign_test_p`.
    """

    a: float
    b: float
    difference: float
    ci95: Interval
    p: float
    wins: int
    losses: int
    ties: int
    sign_test_p: float


@dataclass(frozen=True)
class Comparison:
    """What comparing A with B found."""

    a: Side
    b: Side
    n_common: int
    seed: int
    warnings: tuple[str, ...]
    metrics: dict[str, PairedTest]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "n_common": self.n_common,
            "warnings": list(self.warnings),
            "metrics": {
                key: asdict(test) | {"ci95": list(test.ci95)} for key, test in self.metrics.items()
            },
        }


def compare(
    a: str, b: str, results: Path, *, metrics: Sequence[str] = (), seed: int = 0
) -> Comparison:
    """Paired comparison of two runs on the clips that both scored.

    Args:
        a: a run folder, an id in ``results``, a path of an accepted record, or a CSV of per-sample
            scores; several with commas between them are averaged clip by clip.
        b: the same.
        results: folder of accepted records.
        metrics: keys to compare; none means every metric of both, without ``threshold``,
            ``confidence`` and ``swap_*``.
        seed: of the bootstrap, at least 0.

    Raises:
        BenchError: a run is not found, unfinished or not as it was recorded; a metric is absent; no
            clip is common.
    """
    if seed < 0:
        raise BenchError(f"--seed must be at least 0, got {seed}")
    sides = (_side("A", a, results), _side("B", b, results))
    common = sorted(set(sides[0].ids) & set(sides[1].ids))
    if not common:
        raise BenchError(
            f"A and B share no clip: A holds {len(sides[0].ids)}, such as {sides[0].ids[0]!r}, and "
            f"B {len(sides[1].ids)}, such as {sides[1].ids[0]!r}; compare runs on one test list"
        )
    of_a, of_b = (_at(side.ids, side.columns, common) for side in sides)
    keys = _chosen(of_a, of_b, metrics)
    tests = paired_tests(
        np.stack([of_a[key] for key in keys], axis=1),
        np.stack([of_b[key] for key in keys], axis=1),
        seed,
    )
    warnings = tuple(_warnings(*sides, len(common)))
    found = dict(zip(keys, tests, strict=True))
    return Comparison(*sides, len(common), seed, warnings, found)


def paired_tests(a: NDArray[np.float64], b: NDArray[np.float64], seed: int) -> list[PairedTest]:
    """One test per column, all from the same resamples of the rows.

    Args:
        a: ``(n, k)`` float64, a row per clip; where it or ``b`` is NaN, the column leaves the clip
            out. Each column is defined for at least one clip.
        b: the same of the other side.
        seed: of the bootstrap.

    Examples:
        >>> (test,) = paired_tests(np.array([[1.0], [0.5]]), np.array([[0.0], [0.5]]), seed=0)
        >>> test.difference, test.wins, test.losses, test.ties
        (0.5, 1, 0, 1)
    """
    undefined = np.isnan(a) | np.isnan(b)
    a, b = np.where(undefined, np.nan, a), np.where(undefined, np.nan, b)
    gaps = a - b
    gaps[np.abs(gaps) <= ROUNDING] = 0
    drawn = bootstrap_means(gaps, seed)  # (R, k)
    return [_paired_test(*columns) for columns in zip(a.T, b.T, gaps.T, drawn.T, strict=True)]


def _paired_test(a: Column, b: Column, gaps: Column, drawn: Column) -> PairedTest:
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    wins, losses = int((gaps > 0).sum()), int((gaps < 0).sum())
    return PairedTest(
        a=float(np.nanmean(a)),
        b=float(np.nanmean(b)),
        difference=float(np.nanmean(gaps)),
        ci95=(float(low), float(high)),
        p=bootstrap_p(drawn),
        wins=wins,
        losses=losses,
        ties=int((gaps == 0).sum()),
        sign_test_p=sign_test_p(wins, losses),
    )


def bootstrap_p(drawn: Column) -> float:
    """Two-sided p of a difference being 0, ``min(1, 2 min(s(<= 0), s(>= 0)))``.

    ``s`` is the share of resampled differences on that side of 0, with one more counted on either
    side and in all, so that no finite number of resamples gives 0.

    Args:
        drawn: ``(R,)`` float64, resampled mean differences; NaN is left out.

    Examples:
        >>> bootstrap_p(np.array([0.2, 0.1, 0.3, -0.1]))
        0.8
    """
    drawn = drawn[~np.isnan(drawn)]
    smaller = min((drawn <= ROUNDING).sum(), (drawn >= -ROUNDING).sum())
    return min(1.0, 2 * float(smaller + 1) / (len(drawn) + 1))


def sign_test_p(wins: int, losses: int) -> float:
    """Exact two-sided p of wins and losses being equally likely; 1 where there is neither.

    Ties are left out. At even odds the two tails are equal, so the p of the binomial test is twice
    the smaller one.

    Examples:
        >>> sign_test_p(0, 3)
        0.25
    """
    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def _side(letter: str, words: str, results: Path) -> Side:
    parts = [words] if exists(words) else words.split(",")
    runs = tuple(_run(part, results) for part in parts)
    for place, run in enumerate(runs):
        if any(_is_same(run, other) for other in runs[:place]):
            raise BenchError(f"{letter} holds the run {run.name} twice; name each run once")
    ids = sorted(set.intersection(*(set(run.ids) for run in runs)))
    if not ids:
        raise BenchError(f"the runs of {letter} share no scored clip; name runs on one test list")
    tables = [_at(run.ids, run.columns, ids) for run in runs]
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    columns = {key: np.mean([table[key] for table in tables], axis=0) for key in shared}
    return Side(letter, runs, tuple(ids), columns)


def _at(
    ids: Sequence[str], columns: Mapping[str, Column], chosen: Sequence[str]
) -> dict[str, Column]:
    """Columns at the chosen ids, in their order."""
    row_of = {clip_id: row for row, clip_id in enumerate(ids)}
    rows = [row_of[clip_id] for clip_id in chosen]
    return {key: column[rows] for key, column in columns.items()}


def _run(word: str, results: Path) -> Run:
    scores_path, record_path = _files(word, results)
    record = None if record_path is None else read_record(record_path)
    if record is not None:
        verified_scores(scores_path, record)
    table = read_scores(scores_path)
    _check(table, scores_path)
    sha256 = hashlib.sha256(scores_path.read_bytes()).hexdigest()
    name = word if record is None else record.id
    return Run(name, sha256, record, table.ids, metric_columns(table.columns))


def _files(word: str, results: Path) -> tuple[Path, Path | None]:
    """Scores and record that a word names; no record for a CSV that ``bench score`` wrote."""
    path = Path(word)
    if isdir(word):
        return path / "scores.csv", path / "record.json"
    if isfile(word):
        return _beside(path, results)
    for base in (path, results / word):
        if isfile(f"{base}.json"):
            return Path(f"{base}.csv"), Path(f"{base}.json")
    known = [path.stem for path in results.glob("*.json")]
    hint = did_you_mean(word, known) or " Check the path."
    raise BenchError(
        f"no run {word!r}: it is no run folder, no CSV of scores and no id in {results}.{hint}"
    )


def _beside(path: Path, results: Path) -> tuple[Path, Path | None]:
    """Scores and record of which one file is given."""
    record_path = path.with_name("record.json")
    if path == record_path or (path.name == "scores.csv" and isfile(record_path)):
        return path.with_name("scores.csv"), record_path
    is_accepted = path.suffix == ".csv" and path.resolve().parent == results.resolve()
    if path.suffix == ".json" or is_accepted:
        return path.with_suffix(".csv"), path.with_suffix(".json")
    return path, None


def _check(table: ScoreTable, path: Path) -> None:
    if not table.ids:
        raise BenchError(f"{path} holds no clip; run it again")
    twice = first_repeat(table.ids)
    if twice is not None:
        raise BenchError(f"{twice!r} occurs more than once in {path}; keep one row")
    for row, clip_id in enumerate(table.ids):
        for name, column in table.columns.items():
            if abs(column[row]) > LARGEST:
                size = "an infinite" if np.isinf(column[row]) else "too large a"
                raise BenchError(
                    f"{path} has {size} {name} for {clip_id!r}; leave the cell empty where it is "
                    "not defined"
                )


def metric_columns(columns: Mapping[str, Column]) -> dict[str, Column]:
    """Columns of a file of scores under the keys of the metrics that are their means.

    ``hit@t`` gives ``ciou@t`` and ``ciou`` gives ``mean_iou``, with what stands before them
    (``boxes_``, ``swap_``, ``annotator1_``); others keep their names. A consensus IoU of 0/0 is NaN
    in the file and counts 0 in the mean where the clip counts.

    Examples:
        >>> found = metric_columns({"ciou": np.array([np.nan]), "hit@0.5": np.array([0.0])})
        >>> {key: column.tolist() for key, column in found.items()}
        {'mean_iou': [0.0], 'ciou@0.5': [0.0]}
    """
    found = {}
    for name, column in columns.items():
        prefix, kind, threshold = _name_parts(name)
        if kind == "hit":
            found[f"{prefix}ciou@{threshold}"] = column
        elif kind == "ciou":
            found[f"{prefix}mean_iou"] = _mean_iou(column, columns, prefix)
        else:
            found[name] = column
    return found


def _name_parts(name: str) -> tuple[str, str, str]:
    """What stands before it, ``hit``, ``ciou`` or nothing, and the threshold of a hit."""
    match = re.fullmatch(
        r"((?:boxes_)?(?:swap_)?(?:annotator(?:\d+|s)_)?)(?:(ciou)|(hit)@(\S+))", name
    )
    if match is None:
        return "", "", ""
    prefix, ciou, hit, threshold = match.groups(default="")
    return prefix, ciou or hit, threshold


def _mean_iou(column: Column, columns: Mapping[str, Column], prefix: str) -> Column:
    hits = [hit for name, hit in columns.items() if _name_parts(name)[:2] == (prefix, "hit")]
    if not hits:
        return column
    return np.where(np.isnan(hits[0]), np.nan, np.nan_to_num(column))


def _chosen(
    a: Mapping[str, Column], b: Mapping[str, Column], asked: Sequence[str]
) -> tuple[str, ...]:
    """Keys to compare; those that are defined for a common clip, the best known ones first."""
    both = [key for key in a if key in b and not np.isnan(a[key] - b[key]).all()]
    both = [key for key in FIRST if key in both] + [key for key in both if key not in FIRST]
    for key in asked:
        if key not in both:
            have = ", ".join(both) or "none"
            raise BenchError(
                f"no metric {key!r} that A and B both hold per clip; there are: {have}"
            )
    keys = tuple(asked) or tuple(k for k in both if not NOT_BETTER.fullmatch(k))
    if not keys:
        raise BenchError(
            f"A and B share no metric; A holds {', '.join(a) or 'none'}, B {', '.join(b) or 'none'}"
        )
    return keys


def _warnings(a: Side, b: Side, n_common: int) -> Iterator[str]:
    """What limits the reading of a comparison."""
    runs = (*a.runs, *b.runs)
    shared = [run.name for run in a.runs if any(_is_same(run, other) for other in b.runs)]
    if len(shared) == len(a.runs) == len(b.runs):
        yield f"A and B are the same run, {', '.join(shared)}"
    elif shared:
        yield f"A and B share the run {', '.join(shared)}"
    yield from _partial_overlap(a, b, n_common)
    names = _values(runs, lambda record: record.data)
    if len(names) > 1:
        yield f"the data sets differ ({', '.join(names)})"
    lists = _values(runs, lambda record: record.splits["test"].sha256)
    if len(lists) > 1:
        yield f"the test lists differ (sha256 {', '.join(digest[:8] for digest in lists)})"
    protocols = _values(runs, lambda record: record.protocol)
    if len(protocols) > 1:
        yield f"the protocols differ ({', '.join(protocols)}): the numbers are not comparable"
    for run in {run.name: run for run in runs}.values():
        yield from _run_warnings(run)


def _partial_overlap(a: Side, b: Side, n_common: int) -> Iterator[str]:
    for side in (a, b):
        counts = [len(run.ids) for run in side.runs]
        if max(counts) > len(side.ids):
            scored = ", ".join(map(str, counts))
            yield f"the runs of {side.letter} scored {scored} clips and share {len(side.ids)}"
    if n_common < max(len(a.ids), len(b.ids)):
        yield (
            f"only {n_common} clips are common: {n_common} of {len(a.ids)} of A, "
            f"{n_common} of {len(b.ids)} of B"
        )


def _run_warnings(run: Run) -> Iterator[str]:
    if run.record is None:
        yield f"{run.name} has no record: its protocol, data and test list are not checked"
        return
    ranked, reason = is_ranked(run.record)
    if not ranked:
        yield f"{run.name} is no complete run ({reason})"
    if run.record.leakage.is_any:
        yield f"{run.name} trained on {run.record.leakage.words}"


def _is_same(run: Run, other: Run) -> bool:
    if run.record is not None and other.record is not None:
        return run.record.id == other.record.id
    return run.sha256 == other.sha256


def _values(runs: Sequence[Run], value_of: Callable[[Record], str]) -> list[str]:
    """Different values in the order of the runs."""
    return list(dict.fromkeys(value_of(run.record) for run in runs if run.record is not None))


def _recorded(runs: Sequence[Run], value_of: Callable[[Record], str]) -> str | None:
    return ", ".join(_values(runs, value_of)) or None


def comparison_table(comparison: Comparison) -> RenderableType:
    """A comparison for people, in per cent; it fits 100 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in HEADER:
        table.add_column(name, justify="left" if name in (HEADER[0], HEADER[-1]) else "right")
    for key, test in comparison.metrics.items():
        table.add_row(*_cells(key, test))
    clips = f"{comparison.n_common} common clips, in %"
    lines = (_side_line(comparison.a), _side_line(comparison.b), clips, "")
    return Group(*lines, table, "", _legend(comparison))


def _cells(key: str, test: PairedTest) -> tuple[str, ...]:
    low, high = test.ci95
    return (
        escape(key),
        f"{100 * test.a:.1f}",
        f"{100 * test.b:.1f}",
        f"{100 * test.difference:+.1f}",
        f"{100 * low:+.1f} to {100 * high:+.1f}",
        _p(test.p),
        *map(str, (test.wins, test.losses, test.ties)),
        _p(test.sign_test_p),
        verdict(key, test),
    )


def verdict(key: str, test: PairedTest) -> str:
    """What the 95 % interval of a difference says, in words."""
    low, high = test.ci95
    word = "higher" if NOT_BETTER.fullmatch(key) else "better"
    if_higher, if_lower = ("B", "A") if key in LOWER_IS_BETTER else ("A", "B")
    if low > ROUNDING:
        return f"{if_higher} is {word}"
    return f"{if_lower} is {word}" if high < -ROUNDING else "no difference shown"


def _side_line(side: Side) -> str:
    facts = side.to_dict()
    clips = f"{facts['n']} clips"
    if facts["method"] is not None:
        clips = f"{facts['method']} on {facts['data']}, {facts['protocol']}, {clips}"
    if len(side.runs) > 1:
        clips += f", mean of {len(side.runs)} runs"
    names = ", ".join(run.name for run in side.runs)
    return f"[bold]{side.letter}[/]  {escape(clips)}: {escape(names)}"


def _legend(comparison: Comparison) -> str:
    return (
        f"[dim]95 % interval and p: paired bootstrap over clips, {RESAMPLES:,} resamples, seed "
        f"{comparison.seed}; p is twice the smaller share of resampled differences <= 0 or >= 0. "
        "sign p: exact two-sided sign test of wins against losses.[/]"
    )


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"
