"""What times two ways in one run, and judges them.

A stage is a module beside this one with ``comparisons(setting)``, which yields what it measures:
a :class:`Comparison`, a :class:`Growth`, an :class:`Amount`, a :class:`Share` or an
:class:`Absent`. Ratios are what counts: they carry over to other machines, seconds do not. Whatever
claims to be the same as the peer's is compared with it in the run that times it, and a run with an
untrue claim has failed.
"""

import importlib
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Generic, NamedTuple, Protocol, TypeVar

from benchmark.speed import STAGES
from metrics.errors import BenchError, did_you_mean

log = logging.getLogger(__name__)
ROUNDS = 5
ROUNDS_WHEN_QUICK = 1
BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the user asked of a stage.

    Attributes:
        quick: small inputs and one round, which prove the claims and time nothing; targets are
            not judged.
        device: ``cpu``, ``cuda``, or None for the accelerator where there is one.
        annotations: real annotation file in place of boxes by rule.
        methods: whose steps are taken; empty leaves it to the stage.
    """

    quick: bool = False
    device: str | None = None
    annotations: Path | None = None
    methods: tuple[str, ...] = ()


class Target(NamedTuple):
    """Bound on the figure that a line is about.

    Examples:
        >>> str(Target("at least", 4.0, "x")), Target("at most", 10.0).is_met_by(10.5)
        ('at least 4x', False)
    """

    word: str  # "at least" or "at most"
    bound: float
    unit: str = ""

    def is_met_by(self, figure: float) -> bool:
        """Whether a figure keeps the bound; NaN does not."""
        return figure >= self.bound if self.word == "at least" else figure <= self.bound

    def __str__(self) -> str:
        return f"{self.word} {self.bound:g}{self.unit}"


class Claim(NamedTuple):
    """Something that must be true for a ratio to mean anything, and whether it is."""

    text: str
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table.

    Attributes:
        name: what was measured.
        unit: of ``peer`` and ``ours``, ``s/map`` or ``B/sample``.
        peer: the field's way, per item; None where there is none.
        ours: this package, per item; None where it was not measured.
        figure: what the target bounds: a ratio, or ``ours`` itself where that is an amount.
        target: None for information.
        claims: compared in the same run.
        note: in words.
        judged: whether the figure is one that a target may be held against.
        failed: whether measuring it ended in an error, which ``note`` tells.
    """

    name: str
    unit: str = ""
    peer: float | None = None
    ours: float | None = None
    figure: float | None = None
    target: Target | None = None
    claims: tuple[Claim, ...] = ()
    note: str = ""
    judged: bool = True
    failed: bool = False

    @property
    def verdict(self) -> str:
        """``failed``, ``unequal``, ``reached``, ``missed``, ``not judged``, or empty."""
        if self.failed:
            return "failed"
        if not all(claim.holds for claim in self.claims):
            return "unequal"
        if self.target is None or self.figure is None:
            return ""
        if not self.judged:
            return "not judged"
        return "reached" if self.target.is_met_by(self.figure) else "missed"


class Timing(NamedTuple, Generic[R]):
    """Median seconds of one way over the rounds, and what it gave in the last of them."""

    seconds: float
    result: R


@dataclass(frozen=True, kw_only=True)
class Timer:
    """Times several ways in turn, so that a machine that slows down slows all of them."""

    rounds: int = ROUNDS
    judged: bool = True
    clock: Callable[[], float] = time.perf_counter

    def in_turn(
        self, ways: Sequence[Callable[[], R]], rounds: int | None = None
    ) -> list[Timing[R]]:
        """Median seconds of each way.

        Args:
            ways: called one after the other, once to warm up and once in every round.
            rounds: fewer than usual, for a way that takes long.
        """
        for way in ways:
            way()
        seconds: list[list[float]] = [[] for _ in ways]
        results: list[R] = []
        for _ in range(min(rounds or self.rounds, self.rounds)):
            results = []
            for own, way in zip(seconds, ways, strict=True):
                start = self.clock()
                results.append(way())
                own.append(self.clock() - start)
        return [Timing(median(own), result) for own, result in zip(seconds, results, strict=True)]


class Measurable(Protocol):
    """Anything that a stage can yield."""

    def line(self, timer: Timer) -> Line:
        """What was found."""
        ...


@dataclass(frozen=True, kw_only=True)
class Comparison(Generic[R]):
    """Two ways over the same inputs.

    Attributes:
        name: what is done.
        item: what is counted.
        items: how many of them a call treats.
        ours: this package.
        peer: the field's way; None where only our own rate is told.
        claims: what must be true of the results, the peer's first.
        target: of the ratio peer / ours.
        note: in words.
        rounds: fewer than usual, for what takes long.
    """

    name: str
    item: str
    items: float
    ours: Callable[[], R]
    peer: Callable[[], R] | None = None
    claims: Callable[[R, R], Iterable[Claim]] | None = None
    target: Target | None = None
    note: str = ""
    rounds: int | None = None

    def line(self, timer: Timer) -> Line:
        """Seconds per item of both, and their ratio."""
        ways = [self.ours] if self.peer is None else [self.peer, self.ours]
        timings = timer.in_turn(ways, self.rounds)
        ours, peer = timings[-1], timings[0] if self.peer is not None else None
        claims: Iterable[Claim] = ()
        if self.claims is not None and peer is not None:
            claims = self.claims(peer.result, ours.result)
        return Line(
            name=self.name,
            unit=f"s/{self.item}",
            peer=None if peer is None else peer.seconds / self.items,
            ours=ours.seconds / self.items,
            figure=None if peer is None else _ratio(peer.seconds, ours.seconds),
            target=self.target,
            claims=tuple(claims),
            note=self.note,
            judged=timer.judged,
        )


@dataclass(frozen=True, kw_only=True)
class Growth:
    """One way at a small and at a large number of items.

    Attributes:
        name: what is done.
        item: what is counted.
        small: number of items.
        large: number of items.
        run: treats so many.
        is_peer: whether it is the field's way.
        target: of the ratio large / small.
        note: in words.
        rounds: fewer than usual, for what takes long.
    """

    name: str
    item: str
    small: int
    large: int
    run: Callable[[int], object]
    is_peer: bool = False
    target: Target | None = None
    note: str = ""
    rounds: int | None = None

    def line(self, timer: Timer) -> Line:
        """Seconds per item at the large number, and how many times the small one takes."""
        small, large = timer.in_turn(
            [lambda: self.run(self.small), lambda: self.run(self.large)], self.rounds
        )
        each = large.seconds / self.large
        return Line(
            name=f"{self.name}, t({self.large})/t({self.small})",
            unit=f"s/{self.item}",
            peer=each if self.is_peer else None,
            ours=None if self.is_peer else each,
            figure=_ratio(large.seconds, small.seconds),
            target=self.target,
            note=self.note,
            judged=timer.judged,
        )


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A quantity that is no time.

    Attributes:
        name: what is counted.
        unit: for instance ``B/sample``.
        ours: counts it.
        target: of the amount.
        note: in words.
    """

    name: str
    unit: str
    ours: Callable[[], float]
    target: Target | None = None
    note: str = ""

    def line(self, timer: Timer) -> Line:
        """The amount, counted once."""
        amount = self.ours()
        return Line(
            name=self.name,
            unit=self.unit,
            ours=amount,
            figure=amount if self.target is not None else None,
            target=self.target,
            note=self.note,
            judged=timer.judged,
        )


@dataclass(frozen=True, kw_only=True)
class Share:
    """A quantity that is no time, beside the peer's.

    Attributes:
        name: what is counted.
        unit: for instance ``B/item``.
        peer: counts the field's.
        ours: counts ours.
        target: of the ratio ours / peer.
        note: in words.
    """

    name: str
    unit: str
    peer: Callable[[], float]
    ours: Callable[[], float]
    target: Target | None = None
    note: str = ""

    def line(self, timer: Timer) -> Line:
        """Both amounts, counted once, and our share of the peer's."""
        peer, ours = self.peer(), self.ours()
        return Line(
            name=self.name,
            unit=self.unit,
            peer=peer,
            ours=ours,
            figure=_ratio(ours, peer),
            target=self.target,
            note=self.note,
            judged=timer.judged,
        )


@dataclass(frozen=True, kw_only=True)
class Absent:
    """What cannot be measured here, with the reason."""

    name: str
    note: str

    def line(self, timer: Timer) -> Line:
        """A line without figures."""
        return Line(name=self.name, note=self.note)


@dataclass(frozen=True, kw_only=True)
class Failed:
    """What ended in an error, with its words; the others are measured all the same."""

    name: str
    note: str

    def line(self, timer: Timer) -> Line:
        """A line without figures that no check passes over."""
        return Line(name=self.name, note=self.note, failed=True)


@dataclass(frozen=True)
class Report:
    """What a run found.

    Attributes:
        lines: of each stage.
        machine: what the seconds depend on.
        setting: as asked.
    """

    lines: Mapping[str, tuple[Line, ...]]
    machine: Mapping[str, object]
    setting: Setting

    @property
    def unequal(self) -> tuple[str, ...]:
        """Claims that are untrue."""
        return tuple(
            f"{line.name}: {claim.text}"
            for lines in self.lines.values()
            for line in lines
            for claim in line.claims
            if not claim.holds
        )

    @property
    def failed(self) -> tuple[str, ...]:
        """What could not be measured because of an error."""
        lines = (line for lines in self.lines.values() for line in lines)
        return tuple(f"{line.name}: {line.note}" for line in lines if line.failed)

    @property
    def missed(self) -> tuple[str, ...]:
        """Targets that were not reached."""
        return tuple(
            f"{line.name}: {line.figure:.3g}, {line.target}"
            for lines in self.lines.values()
            for line in lines
            if line.verdict == "missed"
        )

    def complaints(self, *, check: bool) -> tuple[str, ...]:
        """Errors, untrue claims and, where targets are to be checked, those that were missed."""
        return self.failed + self.unequal + (self.missed if check else ())

    def to_dict(self) -> dict[str, object]:
        """For machines; seconds and bytes are per item and unrounded."""
        return {
            "machine": dict(self.machine),
            "quick": self.setting.quick,
            "stages": {
                stage: [_plain(line) for line in lines] for stage, lines in self.lines.items()
            },
            "missed": list(self.missed),
            "unequal": list(self.unequal),
            "failed": list(self.failed),
        }


def _plain(line: Line) -> dict[str, object]:
    content = asdict(line) | {"verdict": line.verdict}
    content["target"] = None if line.target is None else line.target._asdict()
    content["claims"] = [claim._asdict() for claim in line.claims]
    return content


def _ratio(one: float, other: float) -> float:
    return one / other if other else float("inf")


def chosen_stages(names: Sequence[str]) -> tuple[str, ...]:
    """Stages to run, each once; all of them where none is named.

    Raises:
        BenchError: there is no such stage.
    """
    for name in names:
        if name not in STAGES:
            raise BenchError(
                f"unknown stage {name!r}.{did_you_mean(name, STAGES)} Stages: {', '.join(STAGES)}."
            )
    return tuple(dict.fromkeys(names)) or tuple(STAGES)


def run_stages(names: Sequence[str], setting: Setting) -> Report:
    """Measures stages, one line after the other, on one thread.

    Args:
        names: some of ``STAGES``; all of them where none is named.
        setting: as asked.

    Raises:
        BenchError: there is no such stage, or its inputs cannot be read.
    """
    stages = chosen_stages(names)
    if setting.methods and "step" not in stages:
        raise BenchError("--method chooses whose steps are taken; name the stage step too")
    if setting.annotations is not None and "metrics" not in stages:
        raise BenchError("--annotations are boxes to score against; name the stage metrics too")
    timer = Timer(rounds=ROUNDS_WHEN_QUICK, judged=False) if setting.quick else Timer()
    with one_thread():
        machine = machine_facts()
        lines = {
            stage: measured_lines(_stage(stage).comparisons(setting), timer, stage)
            for stage in stages
        }
    return Report(lines, machine, setting)


def measured_lines(
    comparisons: Iterable[Measurable], timer: Timer, stage: str = ""
) -> tuple[Line, ...]:
    """Line of each comparison; a stage that yields them holds the inputs of one at a time."""
    lines = []
    for comparison in comparisons:
        lines.append(comparison.line(timer))
        log.info("%s%s: %s", f"{stage}: " * bool(stage), lines[-1].name, _outcome(lines[-1]))
    return tuple(lines)


def _outcome(line: Line) -> str:
    """What was found, for whoever waits; why nothing was where that is so."""
    ours = [] if line.ours is None else [f"{line.ours:.4g} {line.unit}".strip()]
    figure = [] if line.figure in (None, line.ours) else [f"ratio {line.figure:.3g}"]
    return ", ".join([*ours, *figure, *[line.verdict] * bool(line.verdict)]) or line.note


class Stage(Protocol):
    """What a module of a stage has."""

    def comparisons(self, setting: Setting) -> Iterable[Measurable]:
        """Everything that the stage measures."""
        ...


def _stage(name: str) -> Stage:
    module: Stage = importlib.import_module(f"benchmark.speed.{name}")
    return module


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """What is kept between runs goes to a folder of a measurement meanwhile, not to the user's."""
    before = os.environ.get("AVLOC_CACHE")
    os.environ["AVLOC_CACHE"] = str(folder)
    try:
        yield
    finally:
        del os.environ["AVLOC_CACHE"]
        if before is not None:
            os.environ["AVLOC_CACHE"] = before


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV and torch use one thread inside, and as many as before afterwards.

    A rate per core is what can be compared; data loading and scoring run one process per core.
    """
    import cv2
    import torch

    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


def machine_facts() -> dict[str, object]:
    """Hardware, threads and versions that seconds depend on; no names of hosts or users."""
    import cv2

    from benchmark.records import environment

    return environment() | {
        "cpu": _cpu_name(),
        "load": round(os.getloadavg()[0], 2),
        "opencv_threads": cv2.getNumThreads(),
        "blas_threads": {name: os.environ.get(name) for name in BLAS_THREADS},
    }


def _cpu_name() -> str:
    """Model of the processor, or its architecture where the system does not tell."""
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        facts = []
    names = [line.partition(":")[2].strip() for line in facts if line.startswith("model name")]
    return names[0] if names else platform.machine()
