"""A ranking as files to go on with: CSV and JSON in fractions, LaTeX in percentages."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from benchmark.ranking import Claim, Measured, Row, Section, measured_in, percent
from benchmark.records import Record

FIELDS = (
    "data", "protocol", "list", "list_sha256", "scored_with", "kind", "name", "settings", "seeds",
    "n", "n_expected", "metric", "value", "spread", "low", "high", "skill", "minus_best_floor",
    "swap_drop", "supervision", "pretraining", "trained_on_test_clips",
    "trained_on_test_videos", "runs",
)  # fmt: skip

LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{letter: "\\" + letter for letter in "&%$#_{}"},
}  # fmt: skip


def leaderboard_csv(sections: Sequence[Section]) -> str:
    """A line for each metric of each row, floor and ceiling of each section."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for section in sections:
        writer.writerows(_lines(section))
    return text.getvalue()


def _lines(section: Section) -> Iterator[dict[str, object]]:
    place = _place(section)
    for row in section.rows:
        told = {
            "kind": "method",
            "name": row.first.method,
            "settings": " ".join(row.settings),
            "seeds": len(row.records),
            "n": row.first.n,
            "n_expected": row.first.n_expected,
            "supervision": row.first.card.supervision,
            "pretraining": row.pretraining,
            **_leaked(row),
            "runs": " ".join(record.id for record in row.records),
        }
        for key in section.keys:
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
    for name, floor in section.floors.items():
        for key in section.keys:
            yield place | {"kind": "floor", "name": name} | _figure(key, measured_in(floor, key))
    for key in section.keys:
        top = {"kind": "ceiling", "name": "ceiling"}
        yield place | top | {"metric": key, "value": section.ceiling.get(key)}


def _place(section: Section) -> dict[str, object]:
    record = section.first
    test = record.splits["test"]
    return {
        "data": record.data,
        "protocol": record.protocol,
        "list": test.name,
        "list_sha256": test.sha256,
        "scored_with": section.scored_against,
    }


def _figure(key: str, measured: Measured | None) -> dict[str, object]:
    if measured is None:
        return {"metric": key}
    low, high = measured.interval or (None, None)
    return {"metric": key, "value": measured.value, "spread": measured.spread, "low": low,
            "high": high}  # fmt: skip


def _leaked(row: Row) -> dict[str, int | None]:
    """Test clips, and videos of test clips, that a row was trained on; None where not known."""
    worst = row.leakiest.leakage
    counts = (worst.trained_on, worst.trained_on_videos) if row.knows_leakage else (None, None)
    return dict(zip(("trained_on_test_clips", "trained_on_test_videos"), counts, strict=True))


def _difference(claim: Claim | None) -> float | None:
    return None if claim is None else claim.difference


def leaderboard_json(sections: Sequence[Section], left_out: Sequence[tuple[Record, str]]) -> str:
    """All sections and the runs that are in none, as one JSON object."""
    content = {
        "boards": [
            {
                **_place(section),
                "ceiling": section.ceiling,
                "floors": {
                    name: {"metrics": floor.metrics, "ci95": floor.ci95, "spread": floor.spread}
                    for name, floor in section.floors.items()
                },
                "rows": [_row(row, section.keys) for row in section.rows],
            }
            for section in sections
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
        **_leaked(row),
    }


def leaderboard_latex(sections: Sequence[Section]) -> str:
    """A table for each section, for ``booktabs``, in percent with 95 % intervals.

    Methods come first, then floors and the ceiling below a rule.
    """
    return "\n".join(["% Written by bench leaderboard --format latex", *map(_latex, sections)])


def _latex(section: Section) -> str:
    keys, test = section.keys, section.first.splits["test"]
    leaky = [row for row in section.rows if row.leakiest.leakage.is_any]
    rows = [
        (row.label, str(len(row.records)), *(_latex_cell(row.measured(key)) for key in keys))
        for row in section.rows
    ]
    bounds = [
        (f"floor {name}", "", *(_latex_cell(measured_in(floor, key)) for key in keys))
        for name, floor in section.floors.items()
    ]
    bounds.append(("ceiling", "", *(percent(section.ceiling.get(key)) for key in keys)))
    scored = f", scored with {section.scored_against}" if section.scored_against else ""
    caption = (
        f"{section.first.data} under {section.first.protocol}{scored}: list {test.name}, "
        f"n = {section.first.n_expected}, sha256 {test.sha256[:8]}; percent, mean over seeds, "
        "95 % intervals over clips in brackets."
        + "".join(f" {row.label} was trained on {row.leakiest.leakage.words}." for row in leaky)
    )
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_escaped(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (1 + len(keys))}}}",
            r"\toprule",
            _latex_line(("", "seeds", *map(_escaped, keys))),
            r"\midrule",
            *map(_latex_line, rows),
            r"\midrule",
            *map(_latex_line, bounds),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join([_escaped(cells[0]), *cells[1:]]) + r" \\"


def _latex_cell(measured: Measured | None) -> str:
    if measured is None:
        return "--"
    spread = "" if measured.spread is None else rf" $\pm$ {percent(measured.spread)}"
    if measured.interval is None:
        return f"{percent(measured.value)}{spread}"
    low, high = map(percent, measured.interval)
    return f"{percent(measured.value)}{spread} [{low}, {high}]"


def _escaped(text: str) -> str:
    r"""Text as LaTeX prints it.

    >>> _escaped("a_b & 5 %")
    'a\\_b \\& 5 \\%'
    """
    return "".join(LATEX.get(letter, letter) for letter in text)


def json_text(content: Any) -> str:
    r"""JSON that ends no element of a page it is pasted into: ``<``, ``>`` and ``&`` are escaped.

    >>> json_text("</script>")
    '"\\u003c/script\\u003e"\n'
    """
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text + "\n"
