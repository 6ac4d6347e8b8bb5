"""Verbs that train and test: run, eval, launch, and show, which only composes."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.verbs.parsing import (
    DONE,
    FAILED,
    RESULTS,
    Verbs,
    add_composition,
    composed,
    declared,
    print_table,
    quiet_lightning,
    refuse_given_twice,
    require_names,
)
from metrics.errors import BenchError

if TYPE_CHECKING:
    from benchmark.config import RunConfig
    from benchmark.experiment import Given
    from benchmark.jobs import Jobs
    from benchmark.launch import Cell, Launch
    from benchmark.records import Record
    from benchmark.runner import Finished

NOT_WITH_EXPERIMENT = ("method", "data", "preset", "seed", "seeds", "fresh")


def add_run(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench run``."""
    summary = "train, test, write a record, print the table"
    parser = declared(verbs, "run", _run, summary, takes_settings=True)
    add_composition(parser)
    parser.add_argument("--seeds", type=int, metavar="N", help="run N seeds, from --seed upwards")
    parser.add_argument("--fresh", action="store_true",
                        help="start a new run; finished stages are still re-used")  # fmt: skip
    _add_experiment(parser)


def _add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", metavar="NAME", help="the rows of a paper's table that "
                        "have no record yet; see bench list experiments")  # fmt: skip
    parser.add_argument("--rows", metavar="A,B", help="only these rows of the experiment")
    parser.add_argument("--on", choices=("synthetic",), help="run the experiment on other data")


def _run(options: argparse.Namespace) -> int:
    if options.experiment is not None:
        return _run_experiment(options)
    _refuse_rows(options)
    if options.seeds is not None and any(word.startswith("seed=") for word in options.overrides):
        raise BenchError("the seed is given twice: use --seeds or seed=S, not both")
    first = composed(options, options.seed)
    if options.seeds is not None and options.seeds < 1:
        raise BenchError(f"--seeds must be at least 1, got {options.seeds}")
    if options.limit is not None:
        print(f"bench: --limit {options.limit}: this run will not be ranked", file=sys.stderr)
    from benchmark.ranks import is_first_rank
    from benchmark.runner import run

    quiet_lightning()
    for seed in range(first.seed, first.seed + (options.seeds or 1)):
        config = first if seed == first.seed else composed(options, seed)
        finished = run(config, dry_run=options.dry_run, fresh=options.fresh)
        if is_first_rank():
            _show_finished(finished, as_json=options.json)
    return DONE


def _refuse_rows(options: argparse.Namespace) -> None:
    if options.rows is not None or options.on is not None:
        raise BenchError("--rows and --on choose from an experiment; give --experiment NAME")


def _refuse_beside_experiment(options: argparse.Namespace) -> None:
    for name in NOT_WITH_EXPERIMENT:
        value = getattr(options, name, None)
        if value is not None and value is not False:  # a seed of 0 is given
            raise BenchError(f"--{name} is given by the rows of the experiment; leave it out")


def _given(options: argparse.Namespace) -> "Given":
    from benchmark.experiment import Given

    return Given(tuple(options.overrides), tuple(options.config), options.limit, options.dry_run)


def _show_finished(finished: "Finished", *, as_json: bool) -> None:
    from benchmark.records import is_ranked
    from benchmark.tables import run_table

    if as_json:
        print(json.dumps(finished.record.to_dict(), sort_keys=True))
        return
    print_table(run_table(finished.record))
    if finished.reused:
        print("This run was finished before; --fresh starts it anew.")
    print(f"Record:   {finished.folder / 'record.json'}")
    if (finished.folder / "samples.png").exists():
        print(f"Pictures: {finished.folder / 'samples.png'}")
    if is_ranked(finished.record)[0]:
        print(f"Accept it into the leaderboard: bench add {finished.folder}")


def _run_experiment(options: argparse.Namespace) -> int:
    _refuse_beside_experiment(options)
    from benchmark.experiment import run_experiment
    from benchmark.ranks import is_first_rank
    from benchmark.runner import run

    quiet_lightning()
    given = _given(options)

    def made(config: "RunConfig") -> "Record":
        finished = run(config, dry_run=options.dry_run)
        if is_first_rank():
            _show_finished(finished, as_json=options.json)
        return finished.record

    def say(line: str) -> None:
        if is_first_rank():
            print(line, file=sys.stderr)

    run_experiment(
        options.experiment, RESULTS, made, say, rows=options.rows, on=options.on, given=given
    )
    if not options.json:
        print(f"The table: bench table {options.experiment}"
              + (f" --on {options.on}" if options.on else ""))  # fmt: skip
    return DONE


def add_eval(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench eval``."""
    summary = "test weights that are there: a file that others released, or a run"
    parser = declared(verbs, "eval", _eval, summary, takes_settings=True)
    parser.epilog = """A released file is told by its tensors: LVS, SSLalignment, SSL-TIE, EZ-VSL,
    FNAC, SLAVC, Attention; nothing in it is run. See docs/released.md. Settings are those of bench
    run, such as data.root=DIR."""
    add = parser.add_argument
    add("--checkpoint", required=True, type=Path, metavar="FILE",
        help="a released file, the folder of a run, or its training/weights.pt")  # fmt: skip
    add("--data", required=True, metavar="D", help="see bench list data")
    add("--as", dest="network", metavar="NAME", help="the network, where several have such tensors")
    add("--front-end", choices=("own", "bench"), help="frames and sounds as the network's own code "
        "makes them, or as ours; own if not given")  # fmt: skip
    add(
        "--weights", choices=("ema", "online"), help="of SLAVC: its slow copies or what they follow"
    )
    add("--guide", type=Path, metavar="FILE", help="ImageNet ResNet-18, whose map is mixed in")
    add("--trained-on", metavar="LIST", help="list that the weights were trained on, to count what "
        "leaked: a name such as vggss_144k, or a file")  # fmt: skip
    add("--limit", type=int, metavar="N", help="test N clips; never ranked")
    add("--fresh", action="store_true", help="test again what was tested before")
    add("--json", action="store_true", help="print JSON on standard output")


def _eval(options: argparse.Namespace) -> int:
    from benchmark.evaluate import Asked, evaluation
    from benchmark.ranks import is_first_rank
    from benchmark.runner import run

    quiet_lightning()
    refuse_given_twice(options)
    found = evaluation(Asked(**{name: getattr(options, name) for name in Asked._fields}))
    finished = run(found.config, fresh=options.fresh, kept=found.kept)
    if is_first_rank():
        _show_finished(finished, as_json=options.json)
    return DONE


def add_launch(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench launch``."""
    summary = "make a grid of runs as jobs, here or under SLURM; goes on where it was stopped"
    parser = declared(verbs, "launch", _launch, summary, takes_settings=True)
    parser.epilog = """Methods x data x seeds, or the rows of an experiment; runs that are finished
    are skipped. Exit code 3 where one failed. A launch that is stopped leaves its jobs running."""
    add_composition(parser, several=True)
    add = parser.add_argument
    add("--seeds", type=int, metavar="N", help="N seeds, from --seed upwards")
    _add_experiment(parser)
    add("--executor", choices=("local", "slurm"), default="local", help="local if not given")
    add("--jobs", type=int, metavar="J", help="at once; local: one per GPU, or one")
    add("--slurm", action="append", default=[], metavar="KEY=VALUE",
        help="time=MINUTES, partition, mem_gb, cpus_per_task, gpus_per_node, ...")  # fmt: skip
    add("--retries", type=int, default=5, metavar="N",
        help="how often a run that was stopped from outside is submitted again; 5")  # fmt: skip
    add("--out", type=Path, metavar="DIR", help="state and logs; in the folder of the runs if not "
        "given")  # fmt: skip
    add("--cancel", action="store_true", help="end the jobs of this grid and nothing else")


def _launch(options: argparse.Namespace) -> int:
    for name, lowest in (("seeds", 1), ("jobs", 1), ("retries", 0)):
        value = getattr(options, name)
        if value is not None and value < lowest:
            raise BenchError(f"--{name} must be at least {lowest}, got {value}")
    if options.slurm and options.executor != "slurm":
        raise BenchError("--slurm is for --executor slurm; give that too, or leave it out")
    cells, unavailable = _launch_rows(options) if options.experiment else _launch_grid(options)
    for row, reason in unavailable.items():
        print(f"{row}: not available: {reason}", file=sys.stderr)
    if not cells:
        raise BenchError(f"no row of {options.experiment} can be run")
    from benchmark.launch import grid_hash, only_one, require_buildable_cells

    if not options.cancel:
        require_buildable_cells(cells)
    runs = Path(cells[0].config.logging.runs)
    out = options.out or runs / "launches" / grid_hash(cells)[:8]
    with only_one(out):
        return _launched(options, cells, out, unavailable)


def _launch_grid(options: argparse.Namespace) -> "tuple[list[Cell], dict[str, str]]":
    _refuse_rows(options)
    require_names(options)
    if any(word.startswith("seed=") for word in options.overrides):
        raise BenchError("a launch has several seeds: give --seed S and --seeds N, not seed=S")
    refuse_given_twice(options)
    from benchmark.config import compose
    from benchmark.launch import grid

    def composed(method: str, data: str, seed: int) -> "RunConfig":
        return compose(method, data, overrides=options.overrides, files=options.config,
                       preset=options.preset, seed=seed, limit=options.limit,
                       dry_run=options.dry_run)  # fmt: skip

    first = options.seed or 0
    seeds = range(first, first + (options.seeds or 1))
    return grid(options.method, options.data, seeds, composed, RESULTS, _given(options),
                options.preset), {}  # fmt: skip


def _launch_rows(options: argparse.Namespace) -> "tuple[list[Cell], dict[str, str]]":
    _refuse_beside_experiment(options)
    from benchmark.experiment import chosen_rows, experiment_named, plan
    from benchmark.launch import rows_of

    given = _given(options)
    planned = plan(experiment_named(options.experiment), RESULTS, rows=chosen_rows(options.rows),
                   on=options.on, given=given)  # fmt: skip
    return rows_of(planned, given), {
        each.row.id: each.unavailable for each in planned if each.unavailable is not None
    }


def _launched(
    options: argparse.Namespace, cells: "list[Cell]", out: Path, unavailable: dict[str, str]
) -> int:
    from benchmark.launch import FAILED as CELL_FAILED
    from benchmark.launch_table import launch_json, launch_table, progress_of

    launch = _prepared_launch(options, cells, out)
    launch.resume()
    if options.cancel:
        ended = launch.cancel()
        if options.json:
            print(json.dumps({"cancelled": [cell.name for cell in ended]}))
        else:
            print("\n".join(f"{cell.name}: cancelled" for cell in ended) or "No job is running.")
        return DONE
    try:
        with progress_of(launch) as show:
            launch.watch(show)
    except SystemExit:
        print(f"bench: {launch.parting_words()}", file=sys.stderr)
        raise
    if options.json:
        print(json.dumps(launch_json(launch, unavailable), sort_keys=True))
    else:
        print_table(launch_table(launch))
    return FAILED if launch.having(CELL_FAILED) else DONE


def _prepared_launch(options: argparse.Namespace, cells: "list[Cell]", out: Path) -> "Launch":
    from benchmark.jobs import LocalJobs, SlurmJobs, slurm_options, visible_gpus
    from benchmark.launch import Launch, local_jobs

    if options.executor == "slurm":
        jobs: Jobs = SlurmJobs(out, slurm_options(options.slurm), options.jobs, options.retries)
        return Launch(cells, jobs, out, retries=options.retries)
    gpus = visible_gpus()
    at_once = options.jobs or local_jobs(cells, gpus)
    return Launch(cells, LocalJobs(out), out, at_once=at_once, retries=options.retries, gpus=gpus)


def add_show(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench show``."""
    summary = "print the resolved settings, each with the layer it comes from"
    add_composition(declared(verbs, "show", _show, summary, takes_settings=True))


def _show(options: argparse.Namespace) -> int:
    config = composed(options, options.seed)
    if options.json:
        rows = {key: {"value": config.values[key], "layer": config.layers[key]}
                for key in config.values}  # fmt: skip
        print(json.dumps(rows, sort_keys=True))
        return DONE
    for key, value in config.values.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        print(f"{key} = {shown}  ({config.layers[key]})")
    return DONE
