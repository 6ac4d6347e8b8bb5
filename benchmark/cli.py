"""The command `bench`. Heavy modules are imported by the verb that needs them."""

import argparse
import json
import logging
import os
import shlex
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.refused_files import refused_file
from benchmark.stopping import (
    STOP_SECONDS,
    Stop,
    end_with_parent,
    is_further_process,
    leave_group,
)
from metrics.errors import BenchError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from benchmark.config import RunConfig
    from benchmark.experiment import Given
    from benchmark.jobs import Jobs
    from benchmark.launch import Cell, Launch
    from benchmark.records import Record
    from benchmark.runner import Finished

DONE, CHECK_SAYS_NO, USER_MUST_CHANGE, FAILED = 0, 1, 2, 3
RESULTS = Path(__file__).parent / "results"
LISTED = {"method": "methods", "data": "data"}
SCORED = """The .npz holds id (N,) text and heatmap (N, h, w), higher = source; optional are
confidence (N,), boxes (N, K, 4) xyxy in [0, 1], segment_logits (N, T, C), all that ave needs,
source_heatmap (N, S, h, w) with source_count (N,), and map_range (2,). Annotations are read for
vggss, vggss_extended, flickr, flickr_extended, is3, ave, music_solo, music_duet and
music_synthetic, whose mixtures data.generator_seed and data.test_clips choose; synthetic makes its
own, and takes data.* settings."""
NOT_WITH_EXPERIMENT = ("method", "data", "preset", "seed", "seeds", "fresh")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code.

    0 done, 1 a check says no, 2 the user must change something, 3 it failed, 75 it was stopped
    and the same command goes on.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    unknown = [word for word in rest if word.startswith("-")]
    if unknown:
        parser.error(f"unknown option {unknown[0]}; see bench {options.verb or ''} --help")
    if options.verb is None:
        parser.print_help()
        return DONE
    if rest and not options.takes_settings:
        parser.error(f"bench {options.verb} does not understand {rest[0]!r}")
    options.overrides = rest
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    stop = Stop()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    is_own = arguments is None  # the process is this command's and ends with it
    if is_own and is_further_process():
        threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        verb: Callable[[argparse.Namespace], int] = options.function
        code = verb(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except SystemExit:
        if is_own and stop.asked:
            leave_group(stop.code)
        raise
    except Exception as error:
        if is_own and is_further_process():  # the end of the first ends it, and it seldom knows
            time.sleep(3 if isinstance(error, BenchError) else STOP_SECONDS)
        code = stop.code if stop.asked else _told(error)
        if is_own:
            leave_group(code)
        return code
    finally:
        stop.over = True


def _told(error: Exception) -> int:
    """Says what ended the command; its exit code."""
    if isinstance(error, BenchError):
        print(f"bench: {_own_words(error)}", file=sys.stderr)
        return USER_MUST_CHANGE
    refused = refused_file(error)
    if refused is not None:
        print(f"bench: {refused}", file=sys.stderr)
        return USER_MUST_CHANGE
    traceback.print_exception(error)
    return FAILED


def _own_words(error: BenchError) -> str:
    """The message alone, where torch wrapped it because a process of a loader raised it."""
    return str(error).rpartition(f"{BenchError.__name__}: ")[2].strip()


def _quiet_lightning() -> None:
    """Leaves warnings of Lightning only; call it after the import, which sets the level."""
    for name in ("lightning.pytorch", "pytorch_lightning", "lightning_fabric", "faiss"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=r".*LeafSpec.*|.*isinstance\(treespec.*")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench", description="Audio-visual sound source localisation, measured."
    )
    parser.add_argument("--version", action="version", version=version("avloc-bench"))
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    _add_run(verbs)
    _add_eval(verbs)
    _add_launch(verbs)
    _add_score(verbs)
    _add_compare(verbs)
    _add_predict(verbs)
    _add_table(verbs)
    _add_protocols(verbs)
    _add_speed(verbs)
    _add_show(verbs)
    _add_list(verbs)
    _add_new(verbs)
    _add_check(verbs)
    _add_doctor(verbs)
    _add_sample_data(verbs)
    _add_prepare(verbs)
    _add_features(verbs)
    _add_proposals(verbs)
    _add_mine(verbs)
    _add_shards(verbs)
    _add_add(verbs)
    _add_leaderboard(verbs)
    _add_report(verbs)
    return parser


Verbs = argparse._SubParsersAction  # the type of argparse's own making


def _verb(
    verbs: "Verbs[argparse.ArgumentParser]",
    name: str,
    function: Callable[[argparse.Namespace], int],
    summary: str,
    *,
    takes_settings: bool = False,
) -> argparse.ArgumentParser:
    usage = f"bench {name} [OPTION ...] [key=value ...]" if takes_settings else None
    parser = verbs.add_parser(name, help=summary, description=summary, usage=usage,
                              allow_abbrev=False)  # fmt: skip
    parser.set_defaults(function=function, takes_settings=takes_settings)
    return parser


def _add_composition(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    action, more = ("append", "; may be given several times") if several else ("store", "")
    parser.add_argument(
        "--method", action=action, metavar="M", help=f"see bench list methods{more}"
    )
    parser.add_argument("--data", action=action, metavar="D", help=f"see bench list data{more}")
    parser.add_argument("--preset", metavar="P", help="named settings; small on synthetic")
    parser.add_argument("--config", action="append", default=[], type=Path, metavar="F",
                        help="YAML file of settings; may be given several times")  # fmt: skip
    parser.add_argument("--seed", type=int, metavar="S", help="of weights, order and draws")
    parser.add_argument("--limit", type=int, metavar="N",
                        help="use N clips of each split; never ranked")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true",
                        help="one epoch on a few clips; never ranked")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")


def _require_names(options: argparse.Namespace) -> None:
    for name in ("method", "data"):
        if getattr(options, name) is None:
            raise BenchError(f"--{name} is missing; see bench list {LISTED[name]}")


def _composed(options: argparse.Namespace, seed: int | None) -> "RunConfig":
    from benchmark.config import compose

    _require_names(options)
    return compose(
        options.method,
        options.data,
        overrides=options.overrides,
        files=options.config,
        preset=options.preset,
        seed=seed,
        limit=options.limit,
        dry_run=options.dry_run,
    )


def _add_run(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "train, test, write a record, print the table"
    parser = _verb(verbs, "run", _run, summary, takes_settings=True)
    _add_composition(parser)
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
    asked_twice = any(word.startswith("seed=") for word in options.overrides)
    if asked_twice and (options.seed is not None or options.seeds is not None):
        raise BenchError("the seed is given twice: use --seed or --seeds, or seed=S, not both")
    first = _composed(options, options.seed)
    if options.seeds is not None and options.seeds < 1:
        raise BenchError(f"--seeds must be at least 1, got {options.seeds}")
    if options.limit is not None:
        print(f"bench: --limit {options.limit}: this run will not be ranked", file=sys.stderr)
    from benchmark.ranks import is_first_rank
    from benchmark.runner import run

    _quiet_lightning()
    for seed in range(first.seed, first.seed + (options.seeds or 1)):
        config = first if seed == first.seed else _composed(options, seed)
        finished = run(config, dry_run=options.dry_run, fresh=options.fresh)
        if is_first_rank():
            _show_finished(finished, as_json=options.json)
    return DONE


def _refuse_rows(options: argparse.Namespace) -> None:
    if options.rows is not None or options.on is not None:
        raise BenchError("--rows and --on choose from an experiment; give --experiment NAME")


def _refuse_beside_experiment(options: argparse.Namespace) -> None:
    for name in NOT_WITH_EXPERIMENT:
        if getattr(options, name, None) not in (None, False):
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
    _print(run_table(finished.record))
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

    _quiet_lightning()
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


def _add_eval(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "test weights that are there: a file that others released, or a run"
    parser = _verb(verbs, "eval", _eval, summary, takes_settings=True)
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

    _quiet_lightning()
    found = evaluation(Asked(**{name: getattr(options, name) for name in Asked._fields}))
    finished = run(found.config, fresh=options.fresh, kept=found.kept)
    if is_first_rank():
        _show_finished(finished, as_json=options.json)
    return DONE


def _add_launch(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "make a grid of runs as jobs, here or under SLURM; goes on where it was stopped"
    parser = _verb(verbs, "launch", _launch, summary, takes_settings=True)
    parser.epilog = """Methods x data x seeds, or the rows of an experiment; runs that are finished
    are skipped. Exit code 3 where one failed. A launch that is stopped leaves its jobs running."""
    _add_composition(parser, several=True)
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
    from benchmark.launch import grid_hash, only_one

    runs = Path(cells[0].config.logging.runs)
    out = options.out or runs / "launches" / grid_hash(cells)[:8]
    with only_one(out):
        return _launched(options, cells, out, unavailable)


def _launch_grid(options: argparse.Namespace) -> "tuple[list[Cell], dict[str, str]]":
    _refuse_rows(options)
    _require_names(options)
    if any(word.startswith("seed=") for word in options.overrides):
        raise BenchError("a launch has several seeds: give --seed S and --seeds N, not seed=S")
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
        _print(launch_table(launch))
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


def _add_table(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "print a paper's table: published, ours, difference, and its claims answered"
    parser = _verb(verbs, "table", _table, summary)
    parser.add_argument("name", nargs="?", metavar="NAME", help="see bench list experiments; or "
                        "field, all methods and released networks side by side")  # fmt: skip
    parser.add_argument("--all", action="store_true", help="what the papers claim, and whether our "
                        "runs agree")  # fmt: skip
    parser.add_argument("--data", metavar="D", help="with field: this data set alone")
    parser.add_argument("--on", choices=("synthetic",), help="our rows on other data")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the table's figure")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON on standard output")
    shape.add_argument("--markdown", action="store_true", help="print Markdown")


def _table(options: argparse.Namespace) -> int:
    if options.all != (options.name is None):
        raise BenchError("give the NAME of one table (bench list experiments), or --all, not both")
    if options.name == "field":
        return _field(options)
    if options.data is not None:
        raise BenchError("--data chooses from bench table field; a paper's table has its own data")
    if options.all:
        return _claims(options)
    from benchmark.experiment import experiment_named
    from benchmark.paper_table import paper_table, table_json, table_markdown, table_view

    table = paper_table(
        experiment_named(options.name), options.results, options.runs, on=options.on
    )
    if options.plot is not None:
        from benchmark.figures import draw_figure

        draw_figure(table, options.plot)
    if options.json:
        print(json.dumps(table_json(table), sort_keys=True))
    elif options.markdown:
        print(table_markdown(table), end="")
    else:
        _print(table_view(table))
    return DONE


def _claims(options: argparse.Namespace) -> int:
    from benchmark.claims import claimed_tables, claims_json, claims_markdown, claims_view

    if options.plot is not None:
        raise BenchError("bench table --all has no figure; leave --plot out")
    tables = claimed_tables(options.results, options.runs, on=options.on)
    if options.json:
        print(json.dumps(claims_json(tables), sort_keys=True))
    elif options.markdown:
        print(claims_markdown(tables), end="")
    else:
        _print(claims_view(tables))
    return DONE


def _field(options: argparse.Namespace) -> int:
    from benchmark.field_table import (
        field_json,
        field_markdown,
        field_table,
        field_view,
        read_field,
    )

    if options.plot is not None:
        raise BenchError("bench table field has no figure; leave --plot out")
    if options.data is not None and options.on not in (None, options.data):
        raise BenchError(f"--data {options.data} and --on {options.on} are two; leave one out")
    data = options.data or options.on
    table = field_table(read_field(), options.results, options.runs, data=data)
    if options.json:
        print(json.dumps(field_json(table), sort_keys=True))
    elif options.markdown:
        print(field_markdown(table), end="")
    else:
        _print(field_view(table))
    return DONE


def _print(table: "RenderableType") -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _add_score(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "score maps made by any program, or those of a run, under any protocol"
    parser = _verb(verbs, "score", _score, summary, takes_settings=True)
    parser.epilog = SCORED
    add = parser.add_argument
    add("--predictions", required=True, type=Path, metavar="F", help=".npz file, or a run folder")
    add("--data", metavar="D", help="data set of the ids; a run folder knows its own")
    add("--root", type=Path, metavar="DIR", help="data root with the annotations and lists")
    add("--annotations", type=Path, metavar="F", help="file or folder of boxes, or PNG masks")
    add("--list", type=Path, metavar="F", help="score the ids of this file only")
    add("--protocol", action="append", metavar="P", help="see bench list protocols; may be given "
        "several times, or all; bench-v1 if not given")  # fmt: skip
    add(
        "--map-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="of the maps' values, as plain decimals",
    )
    add("--boxes", action="store_true", help="score the best box in place of the map")
    add("--success", action="append", type=float, default=[], metavar="T",
        help="a further bar of consensus IoU, a key ciou@T")  # fmt: skip
    add("--by", action="append", default=[], metavar="KIND", help="category or size, in parts")
    add("--no-floors", action="store_true", help="leave out floors, ceiling and skill")
    add("--seed", type=int, default=0, metavar="S", help="of the bootstrap")
    add("--per-sample", type=Path, metavar="F", help="write a CSV with a row per sample")
    add("--json", action="store_true", help="print one JSON object per protocol, one per line")


def _score(options: argparse.Namespace) -> int:
    from benchmark import score
    from benchmark.predictions import read_given

    score.check_writable(options.per_sample)
    given = score.prepared(
        read_given(options.predictions),
        map_range=score.stated_range(options.map_range),
        boxes=options.boxes,
    )
    data = options.data or (given.record.data if given.record is not None else None)
    if data is None:
        raise BenchError("whose ids are these? Give --data D (see: bench list data)")
    protocols = score.chosen_protocols(options.protocol or ["bench-v1"], data, given)
    place = score.Place(data=data, root=options.root, annotations=options.annotations,
                        test_list=options.list, overrides=tuple(options.overrides))  # fmt: skip
    boards = score.score_boards(
        given,
        score.find_truth(place, given.record),
        data,
        protocols,
        success=options.success,
        by=options.by,
        seed=options.seed,
        floors=not options.no_floors,
    )
    files = score.write_samples(options.per_sample, boards) if options.per_sample else []
    if options.json:
        for board in boards:
            print(json.dumps(board.to_dict(), sort_keys=True))
        return DONE
    from benchmark.score_table import score_tables

    _print(score_tables(boards, options.predictions.stem))
    for file in files:
        print(f"Per sample: {file}")
    return DONE


def _add_compare(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    parser = _verb(verbs, "compare", _compare, "compare two runs on the clips that both scored")
    kinds = "run folder, record id or CSV of scores; with commas the mean of several"
    parser.add_argument("a", metavar="A", help=kinds)
    parser.add_argument("b", metavar="B", help=kinds)
    parser.add_argument("--metric", action="append", default=[], metavar="KEY",
                        help="compare only this; may be given several times")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the bootstrap")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")


def _compare(options: argparse.Namespace) -> int:
    from benchmark.compare import compare, comparison_table

    found = compare(
        options.a, options.b, options.results, metrics=options.metric, seed=options.seed
    )
    for warning in found.warnings:
        print(f"bench: {warning}", file=sys.stderr)
    if options.json:
        print(json.dumps(found.to_dict()))
    else:
        _print(comparison_table(found))
    return DONE


def _add_predict(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = (
        "draw where a trained run sees the source of a sound, in your video, in your picture or in "
        "a test clip"
    )
    parser = _verb(verbs, "predict", _predict, summary, takes_settings=True)
    parser.usage = "bench predict [OPTION ...] [VIDEO] [key=value ...]"
    parser.epilog = """Settings are those of the run; give method.key=value where a file of weights
    that the run started from has moved, such as method.pretrained=FILE, and with --id data.root=DIR
    where its data lie elsewhere. An id that begins with a dash is given as --id=ID, a video whose
    name looks like a setting as ./NAME."""
    add = parser.add_argument
    add("words", nargs="*", metavar="VIDEO", help="a video with sound, second by second")
    add("--run", required=True, action="append", type=Path, metavar="R",
        help="folder of a finished run; with --id several")  # fmt: skip
    add("--image", type=Path, metavar="F", help="JPEG or PNG")
    add("--sound", default=[], action="append", type=Path, metavar="F",
        help="WAV, FLAC, Ogg or MP3; may be given several times")  # fmt: skip
    add("--at", type=float, metavar="SECONDS", help="time in every sound; its middle if not given")
    add("--id", metavar="ID", help="in place of --image: a test clip, segment by segment")
    add("--sound-of", default=[], action="append", metavar="ID",
        help="hear this test clip too beside the frames of --id; may be given several times"
        )  # fmt: skip
    add("--out", type=Path, metavar="F.png", help="R/predict-<name>.png if not given; the "
        "film of a video lies beside it, as .mp4")  # fmt: skip
    add("--npz", type=Path, metavar="F.npz", help="write the maps, as bench score reads them")
    add("--json", action="store_true", help="print JSON on standard output")


def _predict(options: argparse.Namespace) -> int:
    from benchmark.predict import (
        check_outputs,
        draw,
        extractor_for,
        load_trained,
        predict,
        write_maps,
    )

    _quiet_lightning()
    videos = _videos(options)
    if videos:
        return _predict_video(options, videos)
    if options.id is not None:
        return _predict_clip(options)
    if options.image is None or not options.sound:
        raise BenchError(
            "what is to be localised? Give a video, --image F and --sound F, or --id ID"
        )
    if len(options.run) > 1 or options.sound_of:
        raise BenchError("several --run and --sound-of go with --id; give one --run without it")
    (run,) = options.run
    out = options.out or run / f"predict-{options.image.stem}.png"
    of_data, of_method = _data_settings(options.overrides)
    trained = load_trained(run, of_method)
    check_outputs(out, options.npz, [options.image, *options.sound])
    extractor = extractor_for(trained, of_data)
    found = predict(
        trained.method, options.image, options.sound, at_seconds=options.at, extractor=extractor
    )
    draw(out, found, trained.record.id, num_boxes=trained.num_boxes)
    if options.npz is not None:
        ids = [answer.id for answer in found.answers]
        write_maps(options.npz, ids, [answer.place for answer in found.answers])
    if options.json:
        print(json.dumps({"run": trained.record.id, **found.to_dict(), "picture": str(out)}))
        return DONE
    if found.cropped:
        print("bench: the run sees the middle square alone; maps and places are of it",
              file=sys.stderr)  # fmt: skip
    for answer in found.answers:
        print(f"{answer.id}: {answer.place}")
    print(f"Picture: {out}")
    if options.npz is not None:
        print(f"Maps:    {options.npz}")
    return DONE


def _data_settings(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Settings of the data, and all others."""
    of_data = [word for word in overrides if word.startswith("data.")]
    return of_data, [word for word in overrides if word not in of_data]


def _videos(options: argparse.Namespace) -> list[str]:
    """The words that are no settings; argparse gives some of either to the first positional."""
    from benchmark.config import OVERRIDE

    words = [*options.words, *options.overrides]
    options.overrides = [word for word in words if OVERRIDE.match(word)]
    return [word for word in words if not OVERRIDE.match(word)]


def _predict_video(options: argparse.Namespace, videos: list[str]) -> int:
    from benchmark.predict import check_outputs, extractor_for, load_trained, write_maps
    from benchmark.video_strips import draw_video, video_strip

    given = {"--image": options.image, "--sound": options.sound, "--at": options.at,
             "--id": options.id, "--sound-of": options.sound_of}  # fmt: skip
    _refuse(given, f"with a video ({videos[0]})")
    if len(videos) > 1 or len(options.run) > 1:
        raise BenchError(f"give one video and one --run, got {', '.join(videos)} and "
                         f"{len(options.run)} runs")  # fmt: skip
    (run,), video = options.run, Path(videos[0])
    out = options.out or run / f"predict-{video.stem}.png"
    film = out.with_suffix(".mp4")
    of_data, of_method = _data_settings(options.overrides)
    trained = load_trained(run, of_method)
    check_outputs(out, options.npz, [video], film=film)
    found = video_strip(trained, video, extractor_for(trained, of_data))
    note = draw_video(out, film, found, trained)
    if note is not None:
        print(f"bench: {note}", file=sys.stderr)
    if options.npz is not None:
        write_maps(options.npz, found.ids, found.places)
    if options.json:
        written = {"picture": str(out), "film": str(film)}
        print(json.dumps({"run": trained.record.id, **found.to_dict(), **written}))
        return DONE
    print("\n".join([*found.lines(), f"Picture: {out}", f"Film:    {film}"]))
    if options.npz is not None:
        print(f"Maps:    {options.npz}")
    return DONE


def _refuse(given: dict[str, object], where: str) -> None:
    """Raises BenchError where an option was given that does not go with what is asked."""
    foreign = [option for option, value in given.items() if value not in (None, [])]
    if foreign:
        raise BenchError(f"{', '.join(foreign)}: not {where}; leave out")


def _predict_clip(options: argparse.Namespace) -> int:
    from benchmark.predict import check_outputs, load_trained
    from benchmark.strips import draw_strip, picture_name, strip_lines, strip_of

    given = {"--image": options.image, "--sound": options.sound, "--at": options.at,
             "--npz": options.npz}  # fmt: skip
    _refuse(given, "with --id, which shows a test clip")
    out = options.out or options.run[0] / picture_name(options.id)
    of_data, of_method = _data_settings(options.overrides)
    runs = [load_trained(run, of_method) for run in options.run]
    check_outputs(out, None, [])
    found = strip_of(runs, options.id, options.sound_of, of_data)
    draw_strip(out, found)
    if options.json:
        print(json.dumps({**found.to_dict(), "picture": str(out)}))
        return DONE
    for line in strip_lines(found):
        print(line)
    print(f"Picture: {out}")
    return DONE


def _add_protocols(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "write the page that shows the same maps under every protocol"
    parser = _verb(verbs, "protocols", _protocols, summary)
    parser.add_argument("--check", action="store_true", help="exit 1 when the page is stale")
    parser.add_argument("--page", type=Path, default=Path("docs/protocols.md"), metavar="FILE")


def _protocols(options: argparse.Namespace) -> int:
    from benchmark.protocol_page import is_current, write_page

    return _write_or_check(options, write_page, is_current)


def _write_or_check(
    options: argparse.Namespace,
    write: Callable[[Path], None],
    is_current: Callable[[Path], bool],
) -> int:
    """Regenerates a page, or says under ``--check`` whether that is due."""
    if not options.check:
        write(options.page)
        print(options.page)
        return DONE
    if is_current(options.page):
        print(f"{options.page} is current")
        return DONE
    print(f"bench: {options.page} is stale; run bench {options.verb}", file=sys.stderr)
    return CHECK_SAYS_NO


def _add_speed(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    from benchmark.speed import STAGES

    listed = "; ".join(f"{name}: {summary}" for name, summary in STAGES.items())
    summary = "measure rates and ratios against the field's own ways, in one run"
    parser = _verb(verbs, "speed", _speed, summary)
    add = parser.add_argument
    add("stages", nargs="*", metavar="STAGE", help=f"all where none is named. {listed}")
    add("--check", action="store_true", help="exit 1 when a target is missed")
    add("--quick", action="store_true", help="few samples; targets are not judged")
    add("--device", choices=("cpu", "cuda"), help="of the batched path; a GPU where there is one")
    add("--annotations", type=Path, metavar="F", help="a real vggss.json in place of made-up boxes")
    add("--method", action="append", default=[], metavar="M", help="whose steps the stage step "
        "takes; may be given several times; on a CPU two that are quick if not given")  # fmt: skip
    add("--json", action="store_true", help="print JSON on standard output")


def _speed(options: argparse.Namespace) -> int:
    from benchmark.speed.harness import Setting, run_stages
    from benchmark.speed.table import speed_tables

    _quiet_lightning()
    setting = Setting(quick=options.quick, device=options.device, annotations=options.annotations,
                      methods=tuple(options.method))  # fmt: skip
    report = run_stages(options.stages, setting)
    if options.json:
        print(json.dumps(report.to_dict(), sort_keys=True))
    else:
        _print(speed_tables(report))
    complaints = report.complaints(check=options.check)
    for complaint in complaints:
        print(f"bench: {complaint}", file=sys.stderr)
    return CHECK_SAYS_NO if complaints else DONE


def _add_show(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "print the resolved settings, each with the layer it comes from"
    _add_composition(_verb(verbs, "show", _show, summary, takes_settings=True))


def _show(options: argparse.Namespace) -> int:
    config = _composed(options, options.seed)
    if options.json:
        rows = {key: {"value": config.values[key], "layer": config.layers[key]}
                for key in config.values}  # fmt: skip
        print(json.dumps(rows, sort_keys=True))
        return DONE
    for key, value in config.values.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        print(f"{key} = {shown}  ({config.layers[key]})")
    return DONE


def _add_list(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    parser = _verb(verbs, "list", _list, "print registered names")
    parser.add_argument("kind", choices=("methods", "data", "protocols", "experiments"))
    parser.add_argument("--json", action="store_true", help="print JSON")


def _list(options: argparse.Namespace) -> int:
    from benchmark.registry import DATA_REGISTRY, METHOD_REGISTRY
    from metrics.protocols import PROTOCOLS

    if options.kind == "protocols":
        rows = [(name, protocol.summary) for name, protocol in PROTOCOLS.items()]
    elif options.kind == "experiments":
        rows = _experiments()
    else:
        registry = METHOD_REGISTRY if options.kind == "methods" else DATA_REGISTRY
        rows = [(entry.name, entry.summary) for entry in registry.names().values()]
    if options.json:
        print(json.dumps([{"name": name, "summary": summary} for name, summary in rows]))
        return DONE
    width = max(len(name) for name, _ in rows)
    for name, summary in rows:
        print(f"{name:<{width}}  {summary}")
    return DONE


def _experiments() -> list[tuple[str, str]]:
    from benchmark.experiment import experiment_named, experiment_names

    found = [experiment_named(name) for name in experiment_names()]
    return [(one.name, f"{one.table} of {one.source}") for one in found]


def _add_new(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "write a starting file: a method in a package of its own, which runs as it stands"
    parser = _verb(verbs, "new", _new, summary)
    parser.add_argument("kind", choices=("method",))
    parser.add_argument("name", metavar="NAME", help="of the method, such as my_method")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to make; ./NAME")


def _new(options: argparse.Namespace) -> int:
    from benchmark.starting import write_method

    folder = options.out or Path(options.name)
    for path in write_method(options.name, folder):
        print(path)
    print(f"Install it:  uv pip install -e {shlex.quote(str(folder))}")
    print(f"Check it:    bench check --method {options.name}")
    print(f"Run it:      bench run --method {options.name} --data synthetic")
    return DONE


def _add_check(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "say whether a method keeps the contract, in seconds and without data"
    parser = _verb(verbs, "check", _check, summary, takes_settings=True)
    parser.add_argument("--method", required=True, metavar="M", help="see bench list methods")
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")


def _check(options: argparse.Namespace) -> int:
    from benchmark.check import finding_lines, subject_of, verdict

    _quiet_lightning()
    logging.getLogger().setLevel(logging.WARNING)  # its runs are nobody's
    found = []
    for finding in verdict(subject_of(options.method, options.overrides)):
        found.append(finding)
        if not options.json:
            print("\n".join(finding_lines(finding)), flush=True)
    broken = [each for each in found if each.fault is not None and not each.advice]
    if options.json:
        checks = [{**each._asdict(), "kept": each.fault is None} for each in found]
        print(json.dumps({"method": options.method, "kept": not broken, "checks": checks}))
    elif broken:
        print(f"{options.method} breaks {len(broken)} of {len(found)} rules.")
    else:
        print(f"{options.method} keeps the contract.")
    return CHECK_SAYS_NO if broken else DONE


def _add_doctor(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "say what of a data set is missing, broken, silent, repeated or leaked"
    parser = _verb(verbs, "doctor", _doctor, summary, takes_settings=True)
    parser.epilog = """Exit code 1 where the test set is not complete. Lists and annotations are
    enough; settings such as data.train_list=FILE are those of bench run."""
    parser.add_argument("name", metavar="D", help="data set; see bench list data")
    parser.add_argument("--root", type=Path, metavar="DIR", help="the same as data.root=DIR")
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")


def _doctor(options: argparse.Namespace) -> int:
    from benchmark.config import compose
    from benchmark.doctor import inspection_dict, inspection_tables
    from benchmark.registry import DATA_REGISTRY
    from datamodules.base import ClipData
    from datamodules.clip import Inputs
    from datamodules.inspection import inspected

    root = () if options.root is None else (f"data.root={options.root}",)
    config = compose("center", options.name, overrides=(*root, *options.overrides))
    data_class = DATA_REGISTRY.load(options.name, ClipData)  # type: ignore[type-abstract]
    found = inspected(options.name, data_class(config.data, Inputs(), seed=config.seed))
    if options.json:
        print(json.dumps(inspection_dict(found), sort_keys=True))
    else:
        _print(inspection_tables(found))
    return DONE if found.is_complete else CHECK_SAYS_NO


def _add_sample_data(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    parser = _verb(verbs, "sample-data", _sample_data,
                   "write a miniature of a data set in its own layout")  # fmt: skip
    parser.add_argument("name", metavar="D", help="data set, such as vggss; see bench list data")
    parser.add_argument("--root", required=True, type=Path, metavar="DIR")
    parser.add_argument("--clips", type=int, default=240, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")


def _sample_data(options: argparse.Namespace) -> int:
    from datamodules.sample_data import write_sample

    written = write_sample(options.name, options.root, clips=options.clips, seed=options.seed)
    print(f"{written.root}: {written.num_train} training and {written.num_test} test clips")
    if written.has_places:
        print(f"Try it: bench run --method hardpos --data {options.name} --preset small "
              f"data.root={written.root}")  # fmt: skip
    else:
        print(f"Look at it: bench doctor {options.name} --root {written.root}")
    return DONE


def _add_features(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "keep the features of a method's frozen streams, for all runs that could use them"
    parser = _verb(verbs, "features", _features, summary, takes_settings=True)
    _add_composition(parser)
    parser.add_argument("--root", metavar="DIR", help="the same as data.root=DIR")
    parser.add_argument("--max-gb", metavar="GB", help="the same as data.feature_cache_gb=GB")


def _features(options: argparse.Namespace) -> int:
    for option, setting in (("root", "data.root"), ("max_gb", "data.feature_cache_gb")):
        given = getattr(options, option)
        options.overrides += [] if given is None else [f"{setting}={given}"]
    config = _composed(options, options.seed)
    from benchmark.ranks import is_first_rank
    from benchmark.runner import keep_features

    _quiet_lightning()
    done = keep_features(config, lambda line: print(line, file=sys.stderr))
    if is_first_rank():
        print(done)
    return DONE


def _add_proposals(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "search the pictures of a data set for object boxes, for all runs that ask for them"
    parser = _verb(verbs, "proposals", _proposals, summary, takes_settings=True)
    add = parser.add_argument
    add("data", metavar="D", help="data set; see bench list data")
    add("--root", type=Path, metavar="DIR", help="the same as data.root=DIR")
    add("--workers", type=int, metavar="N", help="threads; one per core if not given")
    add("--json", action="store_true", help="print JSON on standard output")


def _proposals(options: argparse.Namespace) -> int:
    from benchmark.config import compose
    from benchmark.registry import DATA_REGISTRY
    from datamodules.base import ClipData
    from datamodules.clip import Inputs
    from datamodules.proposal_store import make_proposals

    if options.workers is not None and options.workers < 1:
        raise BenchError(f"--workers must be at least 1, got {options.workers}")
    root = () if options.root is None else (f"data.root={options.root}",)
    config = compose("center", options.data, overrides=(*root, *options.overrides))
    kind = DATA_REGISTRY.load(options.data, ClipData)  # type: ignore[type-abstract]
    inputs = Inputs(num_segments=kind.segments_of(config.data), proposals=1)
    data = kind(config.data, inputs, seed=config.seed)
    made = make_proposals(data.pictures(), data.extractor, workers=options.workers)
    report = data.report
    missing = [*report.missing, *report.train_missing]
    unreadable = {**report.unreadable, **report.train_unreadable}
    if options.json:
        absent = {"missing": missing, "unreadable": unreadable}
        print(json.dumps({"data": options.data, **made.to_dict(), **absent}, sort_keys=True))
        return DONE
    print(made)
    if missing:
        print(f"clips without files, which stay out: {len(missing)}, such as {missing[0]}")
    for clip_id, reason in unreadable.items():
        print(f"{clip_id} cannot be read and stays out: {reason}")
    return DONE


def _add_mine(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "find the K nearest neighbours of every training clip of a run, or of your features"
    parser = _verb(verbs, "mine", _mine, summary, takes_settings=True)
    parser.epilog = """Exact, by inner product, without the row itself: (n, K) int32, best first. A
    mining that was stopped goes on where it was. OMP_NUM_THREADS=N bounds the threads. Settings are
    those of the run, such as data.root=DIR where its data lie elsewhere."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, metavar="R", help="folder of a finished run of "
                        "lvs_vanilla, lvs or hardpos")  # fmt: skip
    source.add_argument("--features", type=Path, metavar="F.npy", help="(n, D) float32")
    add = parser.add_argument
    add("--out", type=Path, metavar="PATH", help="file, F-neighbours.npy if not given; with --run "
        "folder, R/mined if not given")  # fmt: skip
    add("--k", type=int, metavar="K", help="neighbours; 1000, or a twentieth of a short list")
    add("--pool", choices=("mean", "response"), help="of images, with --run; as the run had it")
    add("--json", action="store_true", help="print JSON on standard output")


def _mine(options: argparse.Namespace) -> int:
    from benchmark.mine import mine_features, mine_run
    from benchmark.ranks import is_first_rank, joined

    _quiet_lightning()
    with joined() as device:
        if options.features is not None:
            _refuse({"--pool": options.pool, "settings": options.overrides}, "with --features")
            mined = [mine_features(options.features, options.out, options.k, device)]
        else:
            given = (options.k, options.pool, options.overrides)
            mined = mine_run(options.run, options.out, *given, device)
    if not is_first_rank():
        return DONE
    if options.json:
        print(json.dumps([each.to_dict() for each in mined]))
    else:
        print("\n".join(map(str, mined)))
    return DONE


def _add_shards(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "pack frames, sounds and lists into shards, to train from a disk or object store"
    parser = _verb(verbs, "shards", _shards, summary, takes_settings=True)
    add = parser.add_argument
    add("data", metavar="D", help="data set of files under a root, such as vggss")
    add("--root", required=True, type=Path, metavar="DIR", help="its data root")
    add("--out", required=True, type=Path, metavar="DIR", help="a new folder, or an unfinished one")
    add("--size", type=int, default=256, metavar="MB", help="of a shard; 256 if not given")


def _shards(options: argparse.Namespace) -> int:
    from benchmark.config import compose
    from benchmark.registry import DATA_REGISTRY
    from datamodules.clip import Inputs
    from datamodules.folder_clips import FolderClips, FolderConfig
    from datamodules.shard_writer import plan_of, write_shards
    from datamodules.storage import GB

    if options.size < 1:
        raise BenchError(f"--size must be at least 1 MB, got {options.size}")
    kind = DATA_REGISTRY.load(options.data, object)
    if not issubclass(kind, FolderClips):
        raise BenchError(f"data {options.data} has no files under a root that shards could hold")
    words = (*options.overrides, f"data.root={options.root}")
    config = compose("center", options.data, overrides=words).data  # no method matters here
    assert isinstance(config, FolderConfig), "as its data set is files under a root"
    plan = plan_of(kind(config, Inputs(), seed=0), options.root, shard_bytes=options.size * 10**6)
    print(f"{plan.clips} clips: {plan.bytes / GB:.3g} GB in {len(plan.shards)} shards; "
          f"{len(plan.unreadable)} files cannot be read and stay out", file=sys.stderr)  # fmt: skip
    manifest = write_shards(plan, options.out)
    print(f"{options.out}: {manifest['clips']} clips in {len(manifest['shards'])} shards")
    print(f"Read them from there, or from a copy in an object store: --data {options.data} "
          f"data.shards={options.out}")  # fmt: skip
    return DONE


def _add_prepare(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "make a data root out of a folder of raw videos; goes on where it was stopped"
    parser = _verb(verbs, "prepare", _prepare, summary)
    add = parser.add_argument
    add("name", metavar="D", help="vggss, flickr, ave, music_solo or music_duet")
    add("--videos", required=True, type=Path, metavar="DIR", help="raw videos, in any container")
    add("--root", required=True, type=Path, metavar="DIR", help="data root that is to be made")
    add("--list", type=Path, metavar="F", help="ids of the clips to make; else those of the lists "
        "and annotations in the root, else of every video")  # fmt: skip
    add("--fast", action="store_true",
        help="store frames with a short side of 256 px and sound at 16 kHz")  # fmt: skip
    add("--rate", type=int, metavar="HZ", help="of the sound; its own if not given")
    add("--quality", type=int, default=95, metavar="Q", help="of the JPEG, 1 to 100; 95")
    add("--limit", type=int, metavar="N", help="make the first N clips that have a video")
    add("--workers", type=int, metavar="N", help="processes; one per core if not given")
    add("--dry-run", action="store_true", help="say what would be done and what it costs")
    add("--json", action="store_true", help="print JSON on standard output")


def _prepare(options: argparse.Namespace) -> int:
    from datamodules.clip_preparation import Form
    from datamodules.preparation import FAST_RATE_HZ, FAST_SIDE, prepare
    from datamodules.preparation_plan import Options

    form = Form(
        short_side=FAST_SIDE if options.fast else None,
        quality=options.quality,
        rate_hz=FAST_RATE_HZ if options.fast and options.rate is None else options.rate,
    )
    asked = Options(
        data=options.name,
        videos=options.videos,
        root=options.root,
        form=form,
        clips=options.list,
        limit=options.limit,
        workers=options.workers,
        dry_run=options.dry_run,
    )
    report = prepare(
        asked, lambda line: print(line, file=sys.stderr), reports=not sys.stderr.isatty()
    )
    from benchmark.preparation_table import preparation_json, preparation_table

    if options.json:
        print(json.dumps(preparation_json(asked, report), sort_keys=True))
    else:
        _print(preparation_table(asked, report))
    return DONE


def _add_add(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    parser = _verb(verbs, "add", _add, "accept a run's record into the results")
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")


def _add(options: argparse.Namespace) -> int:
    from benchmark.records import add_record

    accepted = add_record(options.run, options.results)
    for warning in accepted.warnings:
        print(f"bench: {warning}", file=sys.stderr)
    print(f"{accepted.path}\nNow regenerate the leaderboard: bench leaderboard")
    return DONE


def _add_leaderboard(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    parser = _verb(verbs, "leaderboard", _leaderboard, "regenerate leaderboard.md from records")
    parser.add_argument("--check", action="store_true", help="exit 1 when the page is stale")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--page", type=Path, default=Path("leaderboard.md"), metavar="FILE")


def _leaderboard(options: argparse.Namespace) -> int:
    from benchmark.leaderboard import is_current, write_leaderboard

    return _write_or_check(
        options, partial(write_leaderboard, options.results), partial(is_current, options.results)
    )


def _add_report(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    summary = "write static pages of all records, and a gallery of the runs at hand"
    parser = _verb(verbs, "report", _report, summary)
    parser.epilog = """The folder is replaced as a whole, and only if it is new, empty or a report.
    A gallery holds frames and sounds of the data set: for yourself, unless its licence allows
    more."""
    add = parser.add_argument
    add("--out", required=True, type=Path, metavar="DIR", help="folder of the pages")
    add("--runs", nargs="+", type=Path, metavar="DIR", help="folders of runs, or run folders; runs "
        "if not given")  # fmt: skip
    add("--data", metavar="A,B", help="only these data sets")
    add("--no-media", action="store_true", help="leave frames and sounds out of galleries")
    add("--samples", type=int, default=8, metavar="N", help="of each group of a gallery; 8")
    add("--results", type=Path, default=RESULTS, metavar="DIR")


def _report(options: argparse.Namespace) -> int:
    from benchmark.report.site import Options, write_report

    _quiet_lightning()
    asked = Options(options.out, options.results, options.runs, options.data,
                    media=not options.no_media, samples=options.samples)  # fmt: skip
    written = write_report(asked)
    print(f"{written.page}: runs: {written.num_runs}, boards: {written.num_boards}, "
          f"galleries: {written.num_galleries}")  # fmt: skip
    return DONE


if __name__ == "__main__":
    sys.exit(main())
