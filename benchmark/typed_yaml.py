"""YAML files as dataclasses: scalars are text until the type of their key reads them."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import yaml  # type: ignore[import-untyped]

from benchmark.settings import kind_name, parsed
from metrics.errors import BenchError, did_you_mean

T = TypeVar("T")


def read_typed(kind: type[T], path: Path) -> T:
    """A YAML file as a dataclass; scalars are text until the type of their key reads them.

    Raises:
        BenchError: the file is no YAML mapping, or a key is missing, unknown, given twice or of the
            wrong type; the message names the file, the row and the key.
    """
    found = typed(kind, content_of(path), Place(str(path)))
    assert isinstance(found, kind)
    return found


def content_of(path: Path) -> object:
    """What a YAML file holds, scalars as text; raises BenchError where it cannot be read."""
    try:
        found: object = yaml.load(path.read_text(encoding="utf-8"), Loader=_TextLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise BenchError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    return found


class _TextLoader(yaml.BaseLoader):  # type: ignore[misc]  # yaml has no types
    """Reads scalars as text and refuses a key that stands twice, of which YAML takes the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: list[object] = []  # a key may be a list, which has no hash
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is given twice", key.start_mark
                )
            seen.append(key.value)
        return super().construct_mapping(node, deep)


class Place(NamedTuple):
    """Where a value stands, in the words of a message."""

    within: str  # file, then row
    key: str = ""

    def at(self, key: str) -> "Place":
        """A key below."""
        return Place(self.within, f"{self.key}.{key}" if self.key else key)

    def item(self, number: int, value: object) -> "Place":
        """An entry of a list, by its id where it has one."""
        name = value.get("id") if isinstance(value, Mapping) else None
        if isinstance(name, str):
            return Place(f"{self.within}: row {name}")
        return Place(self.within, f"{self.key}[{number}]")

    def expected(self, what: str, value: object) -> BenchError:
        """The error of a value that should be something else."""
        where = f"{self.within}: {self.key}" if self.key else self.within
        return BenchError(f"{where} must be {what}, got {value!r}")


def typed(kind: Any, value: object, place: Place) -> object:
    """A value of the file as its type has it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return _typed_dataclass(kind, value, place)
    if origin is UnionType:
        (kind,) = (option for option in arguments if option is not NoneType)
        return typed(kind, value, place)
    if origin is dict:
        items = _mapping(value, place).items()
        return {key: typed(arguments[1], item, place.at(key)) for key, item in items}
    if origin is tuple:
        if not isinstance(value, list):
            raise place.expected("a list", value)
        return tuple(typed(arguments[0], item, place.item(i, item)) for i, item in enumerate(value))
    return _typed_scalar(kind, value, place)


def _typed_dataclass(kind: Any, value: object, place: Place) -> object:
    content = _mapping(value, place)
    hints = get_type_hints(kind)
    required = [
        item.name for item in fields(kind)
        if item.default is MISSING and item.default_factory is MISSING
    ]  # fmt: skip
    for key in content:
        if key not in hints:
            raise BenchError(
                f"{place.within}: unknown key {place.at(key).key!r}.{did_you_mean(key, hints)} "
                f"Known are {', '.join(hints)}."
            )
    for key in required:
        if key not in content:
            raise BenchError(f"{place.within}: key {place.at(key).key!r} is missing; add it")
    return kind(**{key: typed(hints[key], content[key], place.at(key)) for key in content})


def _mapping(value: object, place: Place) -> dict[str, object]:
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return value
    raise place.expected("a mapping", value)


def _typed_scalar(kind: Any, value: object, place: Place) -> object:
    if not isinstance(value, str) or not value.strip():
        raise place.expected(kind_name(kind), value)
    if kind is str:
        return value.strip()
    try:
        return parsed(value, kind)
    except ValueError as error:
        raise place.expected(kind_name(kind), value) from error
