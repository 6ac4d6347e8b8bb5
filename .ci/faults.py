"""Kills a small run of `hardpos` again and again and compares its results with an undisturbed one.

    .venv/bin/python .ci/faults.py --kills 50

A run is killed at a moment of each kind in turn, each time given again and killed later on, and
finished at last; then the next run begins. Moments inside a write are met by watching for the
unfinished file and holding the process (SIGSTOP) while looking whether it is still there.
With ``--signal TERM`` or ``INT`` it is asked to stop, and must do so with code 75 and no traceback.
Exit code 1 where a result differs or a run is lost. A busy machine may pass a moment by before it
is seen; such a kill counts as one beside it, and kinds that were never met are named.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, NoReturn

from benchmark import cli
from benchmark.stopping import STOPPED

RESULTS = ("scores.csv", "predictions.npz", "predictions_swap.npz")
SETTINGS = (
    "data.train_clips=96", "data.val_clips=8", "data.test_clips=16", "data.image_size=64",
    "data.batch_size=16", "method.image_size=64", "method.k=8", "trainer.max_epochs=3",
    "trainer.accelerator=cpu",
)  # fmt: skip
COMMAND = ("run", "--method", "hardpos", "--data", "synthetic", *SETTINGS)
IMPORTED = (
    "benchmark.runner", "benchmark.tables", "datamodules.synthetic", "faiss", "methods.hardpos",
)  # fmt: skip
LIMIT_SECONDS = 600.0  # of one start of the command


class Moment(NamedTuple):
    """A kind of moment, in the order of a run.

    ``begins`` and ``ends`` are patterns of paths below the folder of the runs. The process is
    killed after it has made or changed one of the first and before there is one of the second: at
    once, or where it ``lasts``, after a part of what it lasts undisturbed that is drawn.
    """

    name: str
    begins: str
    ends: str
    lasts: bool = False


MOMENTS = (
    Moment(
        "first training",
        "stages/lvs_vanilla-*/logs/*",
        "stages/lvs_vanilla-*/done.json",
        lasts=True,
    ),
    Moment("first checkpoint", "stages/lvs_vanilla-*/.last.ckpt.*", "stages/embedded-*"),
    Moment("first weights", "stages/lvs_vanilla-*/.weights.pt.*", "stages/embedded-*"),
    Moment("first done.json", "stages/lvs_vanilla-*/.done.json.*", "stages/embedded-*"),
    Moment("embedding", "stages/embedded-*/*.npy", "stages/embedded-*/done.json", lasts=True),
    Moment("mining", "stages/mined-*/*.npy", "stages/mined-*/done.json"),
    Moment("training", "*-hardpos-*/training/logs/*", "*-hardpos-*/training/done.json", lasts=True),
    Moment("checkpoint", "*-hardpos-*/training/.last.ckpt.*", "*-hardpos-*/training/done.json"),
    Moment("weights", "*-hardpos-*/training/.weights.pt.*", "*-hardpos-*/scores.csv"),
    Moment("test", "*-hardpos-*/training/done.json", "*-hardpos-*/scores.csv", lasts=True),
    Moment("scores", "*-hardpos-*/.scores.csv.*", "*-hardpos-*/record.json"),
    Moment("predictions", "*-hardpos-*/.predictions*", "*-hardpos-*/record.json"),
    Moment("record", "*-hardpos-*/.record.json.*", "*-hardpos-*/record.json"),
)


def planned(kills: int) -> list[list[Moment]]:
    """The moments of each run, in order; every kind is as frequent as any other, give or take one.

    The last run has the rest, spread over the kinds.
    """
    whole, rest = divmod(kills, len(MOMENTS))
    spread = [MOMENTS[index * len(MOMENTS) // rest] for index in range(rest)]
    return [list(MOMENTS)] * whole + ([spread] if rest else [])


def length(undisturbed: Path, moment: Moment) -> float:
    """Seconds of an undisturbed run from the begin of a moment to a safe distance of its end."""
    if not moment.lasts:
        return 0.0
    if not moment.ends.endswith("done.json"):
        seconds = json.loads((undisturbed / "record.json").read_text())["seconds"]["test"]
    else:
        (path,) = undisturbed.parent.glob(moment.ends)
        seconds = json.loads(path.read_text())["seconds"]
    return 0.6 * float(seconds)


def differing(undisturbed: Path, folder: Path) -> list[str]:
    """Names of the results that are missing in a run's folder or not those of the other."""
    return [
        name
        for name in RESULTS
        if not (folder / name).is_file()
        or (folder / name).read_bytes() != (undisturbed / name).read_bytes()
    ]


def table(met: Counter[str], missed: Counter[str]) -> str:
    """Kills of each kind, inside the moment and beside it."""
    rows = [f"{'killed in':<18}{'inside':>8}{'beside':>8}"]
    rows += [f"{each.name:<18}{met[each.name]:>8}{missed[each.name]:>8}" for each in MOMENTS]
    return "\n".join([*rows, f"{'all':<18}{met.total():>8}{missed.total():>8}"])


class Started:
    """The command in a process of its own: a copy of this one, which has imported all it needs.

    An interpreter of its own would take longer to start than the run takes.
    """

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.runs = place / "runs"
        self.log = place / "log.txt"
        self.started = time.time()
        self.code: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _become(place, self.log)

    def poll(self) -> int | None:
        """The exit code, minus the signal where one ended it; None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def finished(self) -> Path:
        """Folder of the run when it has ended well."""
        while self.poll() is None:
            time.sleep(0.05)
        if self.code:
            raise SystemExit(f"the run ended with code {self.code}:\n{self.log.read_text()}")
        (record,) = self.runs.glob("*/record.json")
        return record.parent

    def stopped_at(self, moment: Moment, delay: float, number: signal.Signals) -> bool | None:
        """Sends a signal ``delay`` seconds into a moment; whether it was inside it.

        None where the run had ended before.
        """
        seen = self._until(lambda: self._begun(moment) or self._ended(moment))
        if seen and delay:
            until = time.monotonic() + delay
            self._until(lambda: time.monotonic() > until or self._ended(moment))
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if self.poll() is not None:
            return None
        inside = self._begun(moment) and not self._ended(moment)
        os.kill(self.pid, number)
        os.kill(self.pid, signal.SIGCONT)
        while self.poll() is None:
            time.sleep(0.005)
        expected = -number if number == signal.SIGKILL else STOPPED
        if self.code != expected or "Traceback" in self.log.read_text():
            raise SystemExit(
                f"{moment.name}: code {self.code}, not {expected}:\n{self.log.read_text()}"
            )
        return inside

    def _until(self, claim: Callable[[], bool]) -> bool:
        """Waits until a claim holds; false where the process ended before."""
        limit = time.monotonic() + LIMIT_SECONDS
        while not claim():
            if self.poll() is not None or time.monotonic() > limit:
                return False
            time.sleep(0.0005)
        return True

    def _begun(self, moment: Moment) -> bool:
        """Whether this process, and none that was killed before, has come to the moment."""
        return any(changed >= self.started for changed in _changes(self.runs, moment.begins))

    def _ended(self, moment: Moment) -> bool:
        return any(_changes(self.runs, moment.ends))


def alone(place: Path) -> Path:
    """Folder of an undisturbed run, in an interpreter of its own."""
    words = [sys.executable, "-m", "benchmark.cli", *COMMAND, f"logging.runs={place / 'runs'}"]
    environment = os.environ | {"AVLOC_CACHE": str(place / "cache")}
    subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=True)
    (record,) = place.glob("runs/*/record.json")
    return record.parent


def _become(place: Path, log: Path) -> NoReturn:
    """Makes this process the command, as if it had been started by itself."""
    os.environ["AVLOC_CACHE"] = str(place / "cache")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    try:
        code = cli.main([*COMMAND, f"logging.runs={place / 'runs'}"])
    except SystemExit as stop:
        code = int(stop.code or 0)
    os._exit(code)


def _changes(folder: Path, pattern: str) -> Iterator[float]:
    """Times of change of what matches; ``Path.glob`` takes longer than an unfinished file lives."""
    first, _, rest = pattern.partition("/")
    try:
        for each in os.scandir(folder):
            if fnmatchcase(each.name, first):
                if rest:
                    yield from _changes(Path(each.path), rest)
                else:
                    yield each.stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return


def main() -> int:
    """Runs, kills, compares; 0 where nothing was lost or changed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", choices=("KILL", "TERM", "INT"), default="KILL")
    options = parser.parse_args()
    number = signal.Signals[f"SIG{options.signal}"]
    draws, met, missed = random.Random(options.seed), Counter[str](), Counter[str]()
    work = Path(tempfile.mkdtemp(prefix="faults-"))
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is there
    for module in IMPORTED:
        import_module(module)
    print(f"all is in {work} until it ends well", flush=True)
    started = time.monotonic()
    undisturbed = alone(work / "alone")
    print(f"undisturbed: {time.monotonic() - started:.0f} s", flush=True)
    faults = 0
    for run, moments in enumerate(planned(options.kills), 1):
        place = work / f"run-{run}"
        for moment in moments:
            delay = draws.uniform(0, length(undisturbed, moment))
            inside = Started(place).stopped_at(moment, delay, number)
            if inside is None:
                print(f"run {run}: had ended before {moment.name}", flush=True)
                continue
            (met if inside else missed)[moment.name] += 1
        different = differing(undisturbed, Started(place).finished())
        faults += len(different)
        words = f"differs in {', '.join(different)}" if different else "same bytes"
        print(f"run {run}: {len(moments)} kills, {words}", flush=True)
    print(table(met, missed))
    asked = {moment.name for moments in planned(options.kills) for moment in moments}
    unmet = asked - set(met)
    if unmet:
        print(f"never met: {', '.join(sorted(unmet))}")
    if not faults:
        shutil.rmtree(work)
    print(f"{met.total() + missed.total()} kills, {faults} faults, "
          f"{time.monotonic() - started:.0f} s")  # fmt: skip
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
