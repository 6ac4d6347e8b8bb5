"""Runs as jobs: each is one ``bench run`` in a process of its own, on this machine or under SLURM.

What submitit pickles is a :class:`Command`, whose fields are text and numbers. The results that it
pickles in turn are never read: a job tells how it ended in a report of JSON, and its run in the
record that every run has.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, Protocol

from filelock import FileLock

from benchmark.stopping import STOPPED
from datamodules.atomic_files import write_json
from metrics.errors import BenchError, did_you_mean

if TYPE_CHECKING:
    from submitit import Job
    from submitit.helpers import DelayedSubmission

QUEUED, RUNNING, OVER, CANCELLED = "queued", "running", "over", "cancelled"
SUBMITIT = "submitit"  # folder of its files, within that of a launch
UNLIMITED_MINUTES = 366 * 24 * 60  # submitit would end a local job after five
SLURM_UNFINISHED = ("RUNNING", "UNKNOWN", "REQUEUED", "COMPLETING", "PREEMPTED", "SUSPENDED")
SHARED: Mapping[str, tuple[str, type]] = {
    "time": ("timeout_min", int),
    "mem_gb": ("mem_gb", float),
    "cpus_per_task": ("cpus_per_task", int),
    "gpus_per_node": ("gpus_per_node", int),
    "nodes": ("nodes", int),
    "tasks_per_node": ("tasks_per_node", int),
}
"""Options of SLURM that submitit gives names of its own, and their types."""
TEXT = ("partition", "account", "qos", "constraint", "nodelist", "exclude", "gres", "comment")


@dataclass(frozen=True)
class Command:
    """One ``bench run --json`` as a job."""

    words: tuple[str, ...]  # behind `bench run`
    directory: str  # where it is run
    log: str  # file that its standard error is added to
    report: str  # file of JSON that tells how it ended; one per attempt
    lock: str  # file that is locked meanwhile, so that the same run is never made twice at once
    nodes: int = 1
    devices: int = 1  # of each node
    accelerator: str = "auto"
    gpus: str | None = None  # CUDA_VISIBLE_DEVICES; None leaves it to the scheduler

    def __call__(self) -> None:
        """Runs it, writes log and report, and passes on when it is to stop.

        Raises:
            RuntimeError: the run failed, so that the scheduler hears of it.
        """
        from submitit import JobEnvironment

        signal.signal(signal.SIGTERM, _leave)  # submitit would pass over it
        rank = JobEnvironment().global_rank
        with nullcontext() if rank else FileLock(self.lock):
            code, out = self._run(rank)
            if rank == 0:
                record = _record_id(out) if code == 0 else None
                write_json(Path(self.report), {"code": code, "record": record})
        if code:
            raise RuntimeError(f"bench run ended with exit code {code}; see {self.log}")

    def _run(self, rank: int) -> tuple[int, str]:
        environment = dict(os.environ)
        if self.gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus
        with open(f"{self.log}.{rank}" if rank else self.log, "a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmark.cli", "run", *self.words, "--json"],
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # out of reach of a Ctrl-C at the terminal of the launch
                preexec_fn=_pass_over_warnings,
            )
            try:
                out = process.communicate()[0]
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        return process.returncode, out

    def checkpoint(self) -> "DelayedSubmission":
        """The same again, for submitit to put back into the queue when the time is up."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _leave(signal_number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(STOPPED)


def _pass_over_warnings() -> None:
    """SLURM warns every process of a job; submitit's ends the run, so the run need not know."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _record_id(out: str) -> str:
    """Id of the record that a run printed as its last line."""
    found = json.loads(out.strip().rpartition("\n")[2])["id"]
    assert isinstance(found, str), "as records are written"
    return found


class Jobs(Protocol):
    """Where commands are run."""

    name: str
    grace_seconds: float  # until what a job wrote can be read here, once it is over

    def submit(self, commands: Sequence[Command]) -> Iterator[tuple[Command, str]]:
        """Starts or queues commands; gives each with its id as soon as it has one."""
        ...

    def state(self, job: str) -> str:
        """One of QUEUED, RUNNING, OVER and CANCELLED."""
        ...

    def cancel(self, job: str) -> None:
        """Asks a job to end; it may take a moment."""
        ...

    def log(self, job: str) -> Path:
        """What a job wrote to standard error before and after its run."""
        ...


class LocalJobs:
    """Processes on this machine, by submitit's local executor; they outlive this one.

    Args:
        folder: of the launch.
    """

    name = "local"
    grace_seconds = 0.0

    def __init__(self, folder: Path) -> None:
        self.folder = (folder / SUBMITIT).absolute()
        self.own: dict[str, Job[None]] = {}

    def submit(self, commands: Sequence[Command]) -> Iterator[tuple[Command, str]]:
        """Starts all of them at once.

        Raises:
            BenchError: one needs several machines.
        """
        from submitit import LocalExecutor

        if any(command.nodes > 1 for command in commands):
            raise BenchError("trainer.num_nodes is 1 with --executor local; use --executor slurm")
        executor = LocalExecutor(self.folder)
        executor.update_parameters(timeout_min=UNLIMITED_MINUTES)
        with _out_of_reach(self.folder / "controllers.log"):
            jobs = [executor.submit(command) for command in commands]
        self.own |= {job.job_id: job for job in jobs}
        yield from zip(commands, [job.job_id for job in jobs], strict=True)

    def state(self, job: str) -> str:
        """RUNNING or OVER."""
        if job in self.own:
            return RUNNING if self.own[job].state == "RUNNING" else OVER
        words = _command_line(int(job))  # another process may have got the number since
        ours = "submitit.local._local" in words and words[-1] == str(self.folder)
        return RUNNING if ours else OVER

    def cancel(self, job: str) -> None:
        """Sends SIGTERM; the run ends with code 75."""
        if self.state(job) == RUNNING:
            os.kill(int(job), signal.SIGTERM)

    def log(self, job: str) -> Path:
        """Standard error of submitit's process."""
        return self.folder / f"{job}_0_log.err"


@contextmanager
def _out_of_reach(output: Path) -> Iterator[None]:
    """Processes started meanwhile pass over Ctrl-C and a closed terminal, and write to a file.

    With the streams of this process they would keep a pipe open that it writes to.
    """
    meant_for_this = (signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in meant_for_this}
    sys.stdout.flush()
    sys.stderr.flush()
    streams = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    try:
        with output.open("a") as file:
            for descriptor in streams:
                os.dup2(file.fileno(), descriptor)
            yield
    finally:
        for descriptor, kept in streams.items():
            os.dup2(kept, descriptor)
            os.close(kept)
        for number, handler in before.items():
            signal.signal(number, handler)


def _command_line(process_id: int) -> list[str]:
    """Words that a process was started with; ``[""]`` where there is no such process."""
    try:
        text = Path(f"/proc/{process_id}/cmdline").read_text(errors="replace")
        return text.strip("\0").split("\0")
    except OSError:
        if Path("/proc/self").exists():
            return [""]
    command = ["ps", "-o", "command=", "-p", str(process_id)]
    return subprocess.run(command, capture_output=True, text=True).stdout.split() or [""]


def visible_gpus() -> list[str]:
    """Numbers or names of the GPUs that this process may use."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [word for word in chosen.split(",") if word]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


@dataclass
class SlurmJobs:
    """Jobs of SLURM: one array for each shape of nodes and devices."""

    folder: Path  # of the launch
    options: Mapping[str, object]  # of `slurm_options`
    at_once: int | None = None  # of an array; None leaves it to the scheduler
    requeues: int = 0  # how often submitit queues a job again whose time is up
    own: "dict[str, Job[None]]" = field(default_factory=dict)
    name = "slurm"
    grace_seconds = 30.0

    def __post_init__(self) -> None:
        """Raises BenchError where there is no SLURM."""
        self.folder = (self.folder / SUBMITIT).absolute()
        missing = [name for name in ("sbatch", "srun", "sacct") if shutil.which(name) is None]
        if missing:
            raise BenchError(
                f"--executor slurm needs the command {missing[0]}, which is not on PATH; log in "
                "to a machine that submits jobs, or use --executor local"
            )

    def submit(self, commands: Sequence[Command]) -> Iterator[tuple[Command, str]]:
        """Queues them, an array for all that ask for the same of a machine.

        Raises:
            BenchError: the options contradict the settings, or sbatch refuses them.
        """
        shapes: dict[tuple[tuple[str, object], ...], list[Command]] = {}
        for command in commands:
            shape = tuple(slurm_parameters(command, self.options).items())
            shapes.setdefault(shape, []).append(command)
        for shape, alike in shapes.items():
            yield from zip(alike, self._submit_array(dict(shape), alike), strict=True)

    def _submit_array(
        self, parameters: Mapping[str, object], commands: Sequence[Command]
    ) -> list[str]:
        from submitit import AutoExecutor
        from submitit.core.utils import FailedJobError

        limit = {} if self.at_once is None else {"slurm_array_parallelism": self.at_once}
        executor = AutoExecutor(self.folder, cluster="slurm", slurm_max_num_timeout=self.requeues)
        executor.update_parameters(name="bench", **parameters, **limit)
        try:
            with executor.batch():
                jobs = [executor.submit(command) for command in commands]
        except FailedJobError as error:
            words = " ".join(str(error).split())
            raise BenchError(f"sbatch refused the jobs: {words}; see --slurm") from error
        self.own |= {job.job_id: job for job in jobs}
        return [job.job_id for job in jobs]

    def state(self, job: str) -> str:
        """What sacct says, asked once in a while for all jobs."""
        from submitit import SlurmJob

        if job not in self.own:
            self.own[job] = SlurmJob(self.folder, job)
        told = self.own[job].state.upper()
        if told.startswith("PENDING"):
            return QUEUED
        if told.startswith("CANCELLED"):
            return CANCELLED
        return RUNNING if told.startswith(SLURM_UNFINISHED) else OVER

    def cancel(self, job: str) -> None:
        """Calls scancel."""
        subprocess.run(["scancel", job], check=False)

    def log(self, job: str) -> Path:
        """Standard error of the first task."""
        return self.folder / f"{job}_0_log.err"


def _is_enough(key: str, value: float) -> bool:
    """Whether SLURM can be asked for so many of what a key names; NaN is none."""
    if key == "mem_gb":
        return 0 < value < math.inf
    return value >= (0 if key == "gpus_per_node" else 1)


def slurm_options(words: Sequence[str]) -> dict[str, object]:
    """``key=value`` of ``--slurm`` by its key.

    Raises:
        BenchError: a key is unknown or missing, or a value has another type.
    """
    known = {**{key: kind for key, (_, kind) in SHARED.items()}, **dict.fromkeys(TEXT, str)}
    options: dict[str, object] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in known:
            raise BenchError(
                f"--slurm {word}: unknown option {key!r}.{did_you_mean(key, known)} "
                f"Known are {', '.join(known)}."
            )
        try:
            options[key] = known[key](value)
        except ValueError as error:
            raise BenchError(f"--slurm {word}: expected a number, got {value!r}") from error
        if not value or (known[key] is not str and not _is_enough(key, float(value))):
            raise BenchError(f"--slurm {word}: expected more than that, such as {key}=1")
    if "time" not in options:
        raise BenchError(
            "SLURM must know how long a job may take; give --slurm time=MINUTES (a run that needs "
            "longer goes on in the next job)"
        )
    return options


def slurm_parameters(command: Command, options: Mapping[str, object]) -> dict[str, object]:
    """Parameters of submitit for a command.

    Nodes, tasks and GPUs follow ``trainer.num_nodes`` and ``trainer.devices``, since Lightning
    wants one task per device.

    Raises:
        BenchError: an option contradicts these settings.
    """
    follows = {"nodes": ("trainer.num_nodes", command.nodes),
               "tasks_per_node": ("trainer.devices", command.devices)}  # fmt: skip
    for key, (setting, value) in follows.items():
        if options.get(key, value) != value:
            raise BenchError(
                f"--slurm {key}={options[key]} contradicts {setting}={value}; leave it out, or "
                f"give {setting}={options[key]}"
            )
    gpus = 0 if command.accelerator == "cpu" else command.devices
    chosen = {
        "nodes": command.nodes,
        "tasks_per_node": command.devices,
        **({"gpus_per_node": gpus} if gpus else {}),
        **options,
    }
    if chosen.get("gpus_per_node") == 0:
        del chosen["gpus_per_node"]
    return {SHARED[key][0] if key in SHARED else f"slurm_{key}": chosen[key] for key in chosen}
