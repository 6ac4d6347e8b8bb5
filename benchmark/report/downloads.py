"""The leaderboard as files to go on computing with; fractions, not percentages."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from benchmark.ranking import Claim, Measured, Row, of_floor
from benchmark.records import Record
from benchmark.report.boards import Board

FIELDS = (
    "data", "protocol", "list", "list_sha256", "scored_with", "kind", "name", "settings", "seeds",
    "n", "n_expected", "metric", "value", "spread", "low", "high", "skill", "minus_best_floor",
    "swap_drop", "supervision", "pretraining", "trained_on_test_clips", "runs",
)  # fmt: skip


def leaderboard_csv(boards: Sequence[Board]) -> str:
    """A line for each metric of each row, floor and ceiling of each board."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for board in boards:
        writer.writerows(_lines(board))
    return text.getvalue()


def _lines(board: Board) -> Iterator[dict[str, object]]:
    place = _place(board)
    for row in board.section.rows:
        told = {
            "kind": "method",
            "name": row.first.method,
            "settings": " ".join(row.settings),
            "seeds": len(row.records),
            "n": row.first.n,
            "n_expected": row.first.n_expected,
            "supervision": row.first.card.supervision,
            "pretraining": row.pretraining,
            "trained_on_test_clips": row.leakiest.leakage.trained_on,
            "runs": " ".join(record.id for record in row.records),
        }
        for key in board.section.keys:
            yield (
                place
                | told
                | _figure(key, row.measured(key))
                | {
                    "skill": row.skill(key),
                    "minus_best_floor": _difference(row.claim("best_floor", key)),
                    "swap_drop": _difference(row.claim("swap", key)),
                }
            )
    for name, floor in board.section.floors.items():
        for key in board.section.keys:
            yield place | {"kind": "floor", "name": name} | _figure(key, of_floor(floor, key))
    for key in board.section.keys:
        top = {"kind": "ceiling", "name": "ceiling"}
        yield place | top | {"metric": key, "value": board.section.ceiling.get(key)}


def _place(board: Board) -> dict[str, object]:
    record = board.section.first
    test = record.splits["test"]
    return {
        "data": record.data,
        "protocol": record.protocol,
        "list": test.name,
        "list_sha256": test.sha256,
        "scored_with": board.section.scored_against,
    }


def _figure(key: str, measured: Measured | None) -> dict[str, object]:
    if measured is None:
        return {"metric": key}
    low, high = measured.interval or (None, None)
    return {"metric": key, "value": measured.value, "spread": measured.spread, "low": low,
            "high": high}  # fmt: skip


def _difference(claim: Claim | None) -> float | None:
    return None if claim is None else claim.difference


def leaderboard_json(boards: Sequence[Board], left_out: Sequence[tuple[Record, str]]) -> str:
    """All boards and the runs that are in none, as one JSON object."""
    content = {
        "boards": [
            {
                **_place(board),
                "ceiling": board.section.ceiling,
                "floors": {
                    name: {"metrics": floor.metrics, "ci95": floor.ci95, "spread": floor.spread}
                    for name, floor in board.section.floors.items()
                },
                "rows": [_row(row, board.section.keys) for row in board.section.rows],
            }
            for board in boards
        ],
        "not_ranked": [{"id": record.id, "reason": reason} for record, reason in left_out],
    }
    return json_text(content)


def _row(row: Row, keys: Sequence[str]) -> dict[str, object]:
    differences = {
        kind: {key: claim._asdict() for key in keys if (claim := row.claim(kind, key)) is not None}
        for kind in ("best_floor", "swap", "all_objects")
    }
    return {
        "method": row.first.method,
        "settings": row.settings,
        "runs": [record.id for record in row.records],
        "seeds": [record.seed for record in row.records],
        "n": row.first.n,
        "n_expected": row.first.n_expected,
        "metrics": {
            key: {"value": found.value, "spread": found.spread, "ci95": found.interval}
            for key in keys
            if (found := row.measured(key)) is not None
        },
        "skill": {key: row.skill(key) for key in keys if row.skill(key) is not None},
        "differences": differences,
        "supervision": row.first.card.supervision,
        "pretraining": row.pretraining,
        "trained_on_test_clips": row.leakiest.leakage.trained_on,
    }


def json_text(content: Any) -> str:
    r"""JSON that ends no element of a page it is pasted into: ``<``, ``>`` and ``&`` are escaped.

    >>> json_text("</script>")
    '"\\u003c/script\\u003e"\n'
    """
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text + "\n"
