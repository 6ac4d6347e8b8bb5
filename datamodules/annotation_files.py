"""What the readers of annotation files share: JSON, XML, fields, and ids that occur once."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import parse as parsed_safely

from metrics.errors import BenchError, first_repeat
from metrics.truth import Truth

REMEDY = "set data.annotations or give --annotations FILE"


class Annotated(NamedTuple):
    """What an annotation file or folder says, in its order, and what is to be told of it."""

    truth: tuple[Truth, ...]
    notes: tuple[str, ...] = ()


def read_json(path: Path) -> object:
    """Content of a JSON file in which no object has a key twice; a byte-order mark is left out.

    Raises:
        BenchError: the file is missing, truncated or no JSON, or repeats a key, which the standard
            reader would settle in silence; the message names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once_each)
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(
            f"{path} is not readable JSON ({error}); fetch it again or {REMEDY}"
        ) from error


def read_xml(path: Path) -> Element:
    """Root of an XML file; entities are never expanded, nor is anything fetched.

    Raises:
        BenchError: the file is missing, truncated, no XML, or declares entities.
    """
    try:
        root: Element = parsed_safely(path).getroot()
    except DefusedXmlException as error:
        raise BenchError(
            f"{path} declares entities, which are not expanded; write plain text in their place"
        ) from error
    except (OSError, ParseError, ValueError, LookupError) as error:
        raise BenchError(f"{path} is not readable XML ({error}); fetch it again") from error
    return root


def text_field(entry: dict[str, object], key: str, place: str) -> str:
    """A text of an entry.

    Raises:
        BenchError: the key is missing, or holds something else or half a character; the message
            names ``place``.
    """
    value = entry.get(key)
    if not isinstance(value, str):
        came = type(value).__name__ if key in entry else "nothing"
        raise BenchError(f"{place}: '{key}' must be a text, got {came}")
    if any("\ud800" <= character <= "\udfff" for character in value):  # JSON: "\\ud800"
        raise BenchError(
            f"{place}: '{key}' holds half of a surrogate pair, which no file can be written with, "
            f"got {value!r}; correct it"
        )
    return value


def is_box(value: object) -> bool:
    """Whether a JSON value is a list of four finite numbers.

    >>> is_box([0, 0.5, 1, 1]), is_box([0, 0, 1]), is_box([0, 0, 1, float("nan")])
    (True, False, False)
    """
    return isinstance(value, list) and len(value) == 4 and all(_is_number(one) for one in value)


def check_repeats(truths: Iterable[Truth], path: Path) -> None:
    """Nothing, or a ``BenchError`` that names the file and the first id that occurs twice."""
    twice = first_repeat(truth.id for truth in truths)
    if twice is not None:
        raise BenchError(f"{path}: {twice} is annotated twice; keep one of its entries")


def _once_each(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    entry = dict(pairs)
    if len(entry) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in entry if keys.count(key) > 1)
        raise ValueError(f"{repeated!r} occurs twice")
    return entry


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # an int may be too large for isfinite
