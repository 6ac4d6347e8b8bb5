"""How a verb is declared, and how its line becomes a configuration."""

import argparse
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metrics.errors import BenchError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from benchmark.config import RunConfig

DONE, CHECK_SAYS_NO, USER_MUST_CHANGE, FAILED = 0, 1, 2, 3
RESULTS = Path(__file__).parents[1] / "results"
TWICE = {"seed": "seed=S", "limit": "data.limit=N"}  # options that stand for a setting
LISTED = {"method": "methods", "data": "data"}
Verbs = argparse._SubParsersAction  # the type of argparse's own making


def declared(
    verbs: "Verbs[argparse.ArgumentParser]",
    name: str,
    function: Callable[[argparse.Namespace], int],
    summary: str,
    *,
    takes_settings: bool = False,
) -> argparse.ArgumentParser:
    """The parser of one verb, which calls ``function`` and takes ``key=value`` settings or not."""
    usage = f"bench {name} [OPTION ...] [key=value ...]" if takes_settings else None
    parser = verbs.add_parser(name, help=summary, description=summary, usage=usage,
                              allow_abbrev=False)  # fmt: skip
    parser.set_defaults(function=function, takes_settings=takes_settings)
    return parser


def add_composition(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Adds the options that a configuration is composed of; ``several`` methods and data sets."""
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


def require_names(options: argparse.Namespace) -> None:
    """Raises BenchError where ``--method`` or ``--data`` is missing."""
    for name in ("method", "data"):
        if getattr(options, name) is None:
            raise BenchError(f"--{name} is missing; see bench list {LISTED[name]}")


def refuse_given_twice(options: argparse.Namespace) -> None:
    """Raises BenchError where an option and a setting say the same thing."""
    for option, setting in TWICE.items():
        start = setting[: setting.index("=") + 1]
        given = getattr(options, option, None) is not None
        if given and any(word.startswith(start) for word in options.overrides):
            raise BenchError(f"the {option} is given twice: use --{option} or {setting}, not both")


def composed(options: argparse.Namespace, seed: int | None) -> "RunConfig":
    """The configuration that a command line asks for."""
    from benchmark.config import compose

    require_names(options)
    refuse_given_twice(options)
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


def results_of(options: argparse.Namespace) -> Path:
    """The folder of ``--results``, or that of this package; see :func:`given_folder`."""
    return given_folder(options.results, "--results", "accepted records", default=RESULTS)


def given_folder(given: Path | None, option: str, holds: str, *, default: Path) -> Path:
    """The folder that an option names, or its default, which may be absent.

    Args:
        given: value of the option, None where it is left out.
        option: its name.
        holds: what lies in such a folder.
        default: taken where the option is left out.

    Raises:
        BenchError: it was given and is no folder.
    """
    if given is None:
        return default
    if not given.is_dir():
        raise BenchError(f"{option} {given} is no folder; give a folder of {holds}")
    return given


def print_table(table: "RenderableType") -> None:
    """Prints a table for people, as wide as the terminal."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(table)


def quiet_lightning() -> None:
    """Leaves warnings of Lightning only; call it after the import, which sets the level."""
    for name in ("lightning.pytorch", "pytorch_lightning", "lightning_fabric", "faiss"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=r".*LeafSpec.*|.*isinstance\(treespec.*")


def write_or_check(
    options: argparse.Namespace,
    write: Callable[[Path], None],
    is_current: Callable[[Path], bool],
) -> int:
    """Regenerates a page, or says under ``--check`` whether that is due.

    Raises:
        BenchError: ``--page`` is a folder, a device or a pipe.
    """
    if options.page.exists() and not options.page.is_file():
        raise BenchError(f"{options.page} is no file; give --page a file")
    if not options.check:
        options.page.parent.mkdir(parents=True, exist_ok=True)
        write(options.page)
        print(options.page)
        return DONE
    if is_current(options.page):
        print(f"{options.page} is current")
        return DONE
    print(f"bench: {options.page} is stale; run bench {options.verb} as here, without --check",
          file=sys.stderr)  # fmt: skip
    return CHECK_SAYS_NO


def split_settings(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Settings of the data, and all others."""
    of_data = [word for word in overrides if word.startswith("data.")]
    return of_data, [word for word in overrides if word not in of_data]


def refuse_given(given: dict[str, object], where: str) -> None:
    """Raises BenchError where an option was given that does not go with what is asked."""
    foreign = [option for option, value in given.items() if value not in (None, [])]
    if foreign:
        raise BenchError(f"{', '.join(foreign)}: not {where}; leave out")
