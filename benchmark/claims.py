"""Every ordering that the papers claim, answered by our runs."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from rich.console import Group, RenderableType

from benchmark.experiment import (
    experiment_named,
    require_known_data,
    stored_runs,
)
from benchmark.experiment_list import experiment_names
from benchmark.markdown import markdown_table
from benchmark.paper_table import (
    PaperTable,
    Verdict,
    block_view,
    claim_json,
    claims_block,
    filled_table,
)

log = logging.getLogger(__name__)


def claimed_tables(results: Path, runs: Path, *, on: str | None = None) -> list[PaperTable]:
    """The tables of all experiments that have claims, in the order of their names.

    Args:
        results: folder of the accepted records.
        runs: folder of the run folders.
        on: ``synthetic`` for the same rows on those data, or None for the papers' own.

    Raises:
        BenchError: a record or its scores are not valid, or ``on`` is another data set.
    """
    require_known_data(on)
    stored = stored_runs(results, runs)
    tables = []
    for name in experiment_names():
        experiment = experiment_named(name)
        if experiment.claims:
            log.info("%s: %d claims", name, len(experiment.claims))  # each takes seconds
            tables.append(filled_table(experiment, stored, results, on=on))
    return tables


def counts(tables: Iterable[PaperTable]) -> dict[Verdict, int]:
    """How many claims have each answer."""
    found = Counter(answer.answer for table in tables for answer in table.claims)
    return {verdict: found[verdict] for verdict in get_args(Verdict)}


def claims_json(tables: Sequence[PaperTable]) -> dict[str, object]:
    """All claims as plain JSON values, with the table that each is of."""
    claims = [
        {"experiment": table.experiment.name, **claim_json(answer)}
        for table in tables
        for answer in table.claims
    ]
    return {"counts": counts(tables), "claims": claims}


def claims_view(tables: Sequence[PaperTable]) -> RenderableType:
    """All claims for people at a terminal."""
    blocks = [claims_block(table)._replace(title=_title(table)) for table in tables]
    return Group(*map(block_view, blocks), _summary(tables))


def claims_markdown(tables: Sequence[PaperTable]) -> str:
    """All claims as Markdown, the same bytes for the same records."""
    parts = ["# What the papers claim, and what our runs say\n", f"{_summary(tables)}\n"]
    for table in tables:
        block = claims_block(table)
        parts.append(f"## {_title(table)}\n\n{markdown_table(block.header, block.lines)}")
    return "\n".join(parts)


def _title(table: PaperTable) -> str:
    experiment = table.experiment
    told = f"{experiment.name}: {_told(counts([table]))}"
    return told if table.on is None else f"{told}, on {table.on}"


def _summary(tables: Sequence[PaperTable]) -> str:
    total = sum(len(table.claims) for table in tables)
    return (
        f"{total} claims of {len(tables)} tables: {_told(counts(tables))}. A claim agrees or "
        "disagrees where the 95 % interval of the paired difference holds no 0."
    )


def _told(found: dict[Verdict, int]) -> str:
    return (
        f"{found['agrees']} agree, {found['disagrees']} disagree, "
        f"{found['cannot tell']} cannot be told"
    )
