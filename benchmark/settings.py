"""Dotted settings as plain data: trees, hashes, values out of text, and which change a score."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

NOT_IN_HASH = re.compile(
    r"trainer\.(devices|num_nodes|accelerator|strategy)|data\.(num_workers|root|annotations|shards|shard_cache_gb)|"
    r"data\.feature_cache(_gb)?|logging\..*|method\.checkpoint"
)
"""Settings that must not change a score: runs that differ in them alone are the same run.

Of ``method.checkpoint`` it is the content of the file that counts, see ``runner.run``.
"""
TRUTH_ONLY = re.compile(r"data\.annotators")
"""Settings of what is scored against: they change a score, but nothing that is trained."""
PATHS = re.compile(r"data\.(root|annotations|shards)|logging\.runs|method\.checkpoint")
"""Settings that say where a user keeps things; no record holds them."""


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A nested mapping as dotted keys and values.

    >>> dict(flat({"seed": 0, "optim": {"lr": 0.1}}))
    {'seed': 0, 'optim.lr': 0.1}
    """
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as a nested dict.

    >>> nested({"seed": 0, "optim.lr": 0.1})
    {'seed': 0, 'optim': {'lr': 0.1}}
    """
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *groups, leaf = key.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[leaf] = value
    return tree


def as_words(settings: Mapping[str, object]) -> list[str]:
    """Dotted settings as they are written on the command line.

    >>> as_words({"data.root": None, "data.limit": 4, "method.motion": True})
    ['data.root=null', 'data.limit=4', 'method.motion=true']
    """
    return [f"{key}={_as_written(value)}" for key, value in settings.items()]


def _as_written(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def of_data(config: Mapping[str, Any]) -> dict[str, object]:
    """The settings ``data.*`` of a whole configuration, by dotted key."""
    return dict(flat({"data": config.get("data", {})}))


def content_hash(content: object) -> str:
    """sha256 of plain values, the same for any order of keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def parsed(value: object, kind: Any) -> object:
    """A value as its field's type has it; text is read by the type, never guessed.

    A string field keeps the raw text (``0123_456`` stays), a bool takes true or false only,
    ``null`` is None where the field allows it.

    Raises:
        ValueError: the text is no value of that type.
    """
    options = get_args(kind) or (kind,)
    if not isinstance(value, str):
        return value
    if type(None) in options and value == "null":
        return None
    if bool in options:
        if value not in ("true", "false"):
            raise ValueError(value)
        return value == "true"
    if str in options:
        return _literal(value)
    number = float(value) if float in options else int(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _literal(text: str) -> str:
    """The text, unless OmegaConf would put something else in its place."""
    if "${" in text or text == "???":
        raise ValueError(text)
    return text


def kind_name(kind: Any) -> str:
    """A type in the words of an error message."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text",
             type(None): "null"}  # fmt: skip
    return " or ".join(words.get(option, str(option)) for option in get_args(kind) or (kind,))
