"""Tables of the pages that are generated from records and rules."""

from collections.abc import Iterable, Sequence


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False
) -> str:
    r"""A Markdown table, every line ended.

    Args:
        header: one cell per column.
        rows: as many cells each; a bar or a line break in a cell is made harmless.
        numbers: whether every column but the first is aligned to the right.

    Examples:
        >>> print(markdown_table(("", "auc"), [("a|b", "39.7")], numbers=True), end="")
        |  | auc |
        | --- | ---: |
        | a\|b | 39.7 |
    """
    rule = ["---", *["---:" if numbers else "---"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(map(_escaped, row))} |\n" for row in (header, rule, *rows))


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
