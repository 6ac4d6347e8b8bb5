"""The command that makes a run again, compared with the configuration that was recorded."""

import shlex
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from benchmark.config import compose
from benchmark.records import Checkpoint, Record
from benchmark.registry import DATA_REGISTRY
from benchmark.settings import as_words, flat
from datamodules.base import ClipData
from metrics.errors import BenchError

DRY_RUN, SEED = "dry-run", "seed"


class Again(NamedTuple):
    """Lines for a shell that make a run again, and what is to be known of them."""

    lines: tuple[str, ...]
    note: str


def again(record: Record) -> Again:
    """How to make a run again with what is installed here.

    The recorded command line is composed anew. Settings that this gives other values than the
    record has (a preset, a file of settings, a default that has changed) are added to it.

    A run that tested weights of a file is made again by the file, which its hash tells.

    Args:
        record: of the run.
    """
    if record.checkpoint is not None:
        return _tested_again(record, record.checkpoint)
    try:
        composed = _composed(
            record.method, record.data, record.overrides, _limit(record), record.status == DRY_RUN
        )
    except BenchError as error:
        return Again(lines_of(record), f"What is installed here cannot make this run: {error}")
    recorded = dict(flat(record.config))
    differs = {
        key: value
        for key, value in recorded.items()
        if key in composed and key != SEED and not _is_same(composed[key], value)
    }
    added = as_words(differs)
    unknown = sorted(recorded.keys() - composed.keys())
    if _has_files(record):
        added.append("data.root=DIR")
    if unknown:
        return Again(
            lines_of(record, added),
            f"Recorded settings that what is installed here does not know: {', '.join(unknown)}.",
        )
    return Again(lines_of(record, added), "This gives the recorded configuration.")


def _tested_again(record: Record, tested: Checkpoint) -> Again:
    own = tested.kind == "run"
    source = [f"runs/{tested.facts['run']}"] if own else ["FILE", "--as", tested.network]
    words = ["bench", "eval", "--checkpoint", *source, "--data", record.data]
    limit = _limit(record)
    words += [] if limit is None else ["--limit", str(limit)]
    words += record.overrides
    note = f"The weights that were tested have the sha256 {tested.sha256}."
    try:
        words += ["data.root=DIR"] if _has_files(record) else []
    except BenchError as error:
        note = f"What is installed here cannot make this run: {error}"
    return Again(_at_commit(record, shlex.join(words)), note)


def _has_files(record: Record) -> bool:
    kind: type[ClipData] = DATA_REGISTRY.load(record.data, ClipData)  # type: ignore[type-abstract]
    return kind.has_files


def lines_of(record: Record, added: list[str] | None = None) -> tuple[str, ...]:
    """The commands: the checkout of the code where it is known, and the run.

    Args:
        record: of the run.
        added: settings beside those of the recorded command line.

    Examples:
        >>> from pathlib import Path
        >>> from benchmark.records import read_record
        >>> path = Path("tests/records_v1/complete.json")
        >>> lines_of(read_record(path), ["method.k=[3, 4]"])[-1]
        "bench run --method hardpos --data synthetic --seed 0 'method.k=[3, 4]'"
    """
    words = ["bench", "run", "--method", record.method, "--data", record.data]
    words += ["--seed", str(record.seed)]
    limit = _limit(record)
    if record.status == DRY_RUN:
        words.append("--dry-run")
    elif limit is not None:
        words += ["--limit", str(limit)]
    added = added or []
    replaced = {SEED, *(word.partition("=")[0] for word in added)}
    given = [word for word in record.overrides if word.partition("=")[0] not in replaced]
    return _at_commit(record, shlex.join([*words, *given, *added]))


def _at_commit(record: Record, line: str) -> tuple[str, ...]:
    return (line,) if record.git is None else (f"git checkout {record.git.commit}", line)


@lru_cache(maxsize=1024)
def _composed(
    method: str, data: str, overrides: tuple[str, ...], limit: int | None, dry_run: bool
) -> Mapping[str, Any]:
    """The values of a command line, the same for all seeds of a row but for the seed."""
    words = [word for word in overrides if not word.startswith(f"{SEED}=")]
    return compose(method, data, overrides=words, limit=limit, dry_run=dry_run).values


def _limit(record: Record) -> int | None:
    limit = dict(flat(record.config)).get("data.limit")
    return limit if isinstance(limit, int) and record.status != DRY_RUN else None


def _is_same(composed: object, recorded: object) -> bool:
    if isinstance(composed, tuple | list):
        return isinstance(recorded, list | tuple) and list(composed) == list(recorded)
    return composed == recorded
