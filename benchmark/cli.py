"""The command `bench`: its verbs, its signals, its errors and its exit codes.

Heavy modules are imported by the verb that needs them.
"""

import argparse
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

from benchmark.output_streams import need_no_reader
from benchmark.refused_files import refused_file
from benchmark.stopping import STOP_SECONDS, Stop, end_with_parent, is_further_process, leave_group
from benchmark.verbs.answers import add_predict
from benchmark.verbs.data import (
    add_doctor,
    add_features,
    add_mine,
    add_prepare,
    add_proposals,
    add_sample_data,
    add_shards,
)
from benchmark.verbs.names import add_check, add_list, add_new, add_speed
from benchmark.verbs.parsing import DONE, FAILED, USER_MUST_CHANGE
from benchmark.verbs.runs import add_eval, add_launch, add_run, add_show
from benchmark.verbs.scores import (
    add_add,
    add_compare,
    add_leaderboard,
    add_protocols,
    add_report,
    add_score,
    add_table,
)
from metrics.errors import BenchError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code.

    0 done, 1 a check says no, 2 the user must change something, 3 it failed, 75 it was stopped
    and the same command goes on.
    """
    is_own = arguments is None  # the process is this command's and ends with it
    if is_own:
        need_no_reader()
    parser = whole_parser()
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
    if is_own and is_further_process():
        threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        verb: Callable[[argparse.Namespace], int] = options.function
        code = verb(options)
        sys.stdout.flush()
        return code
    except SystemExit:
        if is_own and stop.asked:
            leave_group(stop.code)
        raise
    except Exception as error:
        if is_own and is_further_process():  # the end of the first ends it, and it seldom knows
            time.sleep(3 if isinstance(error, BenchError) else STOP_SECONDS)
        code = stop.code if stop.asked else _told(error, vars(options))
        if is_own:
            leave_group(code)
        return code
    finally:
        stop.over = True


def _told(error: Exception, options: Mapping[str, object]) -> int:
    """Says what ended the command; its exit code."""
    if isinstance(error, BenchError):
        print(f"bench: {_own_words(error)}", file=sys.stderr)
        return USER_MUST_CHANGE
    refused = refused_file(error, options)
    if refused is not None:
        print(f"bench: {refused}", file=sys.stderr)
        return USER_MUST_CHANGE
    traceback.print_exception(error)
    return FAILED


def _own_words(error: BenchError) -> str:
    """The message alone, where torch wrapped it because a process of a loader raised it."""
    return str(error).rpartition(f"{BenchError.__name__}: ")[2].strip()


def whole_parser() -> argparse.ArgumentParser:
    """The parser of all verbs, in the order of the help."""
    parser = argparse.ArgumentParser(
        prog="bench", description="Audio-visual sound source localisation, measured."
    )
    parser.add_argument("--version", action="version", version=version("avloc-bench"))
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    add_run(verbs)
    add_eval(verbs)
    add_launch(verbs)
    add_score(verbs)
    add_compare(verbs)
    add_predict(verbs)
    add_table(verbs)
    add_protocols(verbs)
    add_speed(verbs)
    add_show(verbs)
    add_list(verbs)
    add_new(verbs)
    add_check(verbs)
    add_doctor(verbs)
    add_sample_data(verbs)
    add_prepare(verbs)
    add_features(verbs)
    add_proposals(verbs)
    add_mine(verbs)
    add_shards(verbs)
    add_add(verbs)
    add_leaderboard(verbs)
    add_report(verbs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
