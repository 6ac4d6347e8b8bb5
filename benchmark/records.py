"""The files of a run: what was measured, on what, by what, and how to read it again later.

``record.json`` is written last and atomically, so a folder without one is an unfinished run.
Schema 1 is fixed: a key that changes its meaning gets schema 2, and readers of 1 stay.
"""

import csv
import hashlib
import io
import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from datamodules.atomic_files import write_atomically
from datamodules.id_lists import ListIdentity
from metrics.errors import BenchError, first_repeat
from metrics.scoring import Scores

SCHEMA = 1
BOXES = "boxes"  # the board of answers of boxes, beside the protocols of maps
PACKAGES = (
    "torch", "pytorch-lightning", "torchvision", "torchaudio", "torchmetrics", "numpy",
    "opencv-contrib-python-headless",
)  # fmt: skip
Interval = tuple[float, float]


@dataclass(frozen=True)
class Distribution:
    """The package that a method comes from."""

    name: str
    version: str


@dataclass(frozen=True)
class Card:
    """Facts of the method that change how its number is read; see ``methods.base.MethodCard``."""

    paper: str
    supervision: str
    pretraining: str
    map_range: Interval | None
    floor: bool
    localises: bool = True
    boxes: int = 0
    tells_on_screen: bool = False
    object_guidance: bool = False


@dataclass(frozen=True)
class SplitIdentity:
    """One list of clips by its hash."""

    name: str
    n: int
    sha256: str


@dataclass(frozen=True)
class TrainingGaps:
    """Training clips that could not be used."""

    missing: tuple[str, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)  # id -> reason


@dataclass(frozen=True)
class Leakage:
    """Test clips in the training list: found, left out, and trained on all the same."""

    clips: int
    videos: int
    removed: int
    allowed: bool
    trained_on: int  # test clips in the training list that was used
    trained_on_videos: int  # videos in it that have test clips

    @property
    def is_any(self) -> bool:
        """Whether a test clip was trained on, or another clip of the video of one."""
        return bool(self.trained_on or self.trained_on_videos)

    @property
    def words(self) -> str:
        """What of the test list was trained on.

        >>> Leakage(3, 2, 0, True, 3, 2).words, Leakage(0, 8, 0, True, 0, 8).words
        ('3 test clips of 2 videos', 'other clips of 8 videos of test clips')
        """
        if not self.trained_on:
            return f"other clips of {self.trained_on_videos} videos of test clips"
        return f"{self.trained_on} test clips of {self.trained_on_videos} videos"


@dataclass(frozen=True)
class Checkpoint:
    """The file of weights that was tested in place of a training.

    ``kind`` says whether others released it or a run of this benchmark made it, ``network`` whose
    it is and ``facts`` what the file tells beside its tensors. ``trained_on`` names the training
    list where the user knows it; where it is None, leakage is not known, which is not 0.
    """

    kind: Literal["released", "run"]
    network: str
    sha256: str
    facts: dict[str, object]
    trained_on: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Git:
    """State of the checkout that the code ran from."""

    commit: str
    dirty: bool
    diff_sha256: str | None  # of the changes, where there are any


@dataclass(frozen=True)
class Seconds:
    """Wall time."""

    train: float
    test: float
    total: float


@dataclass(frozen=True)
class Figures:
    """Metrics as fractions in [0, 1]; what has no meaning has no key."""

    metrics: dict[str, float]
    ci95: dict[str, Interval] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)  # over the draws of the floor `random`


def figures_of(scores: Scores) -> Figures:
    """Scores as a record holds them."""
    return Figures(dict(scores.metrics), dict(scores.ci95), dict(scores.spread))


def with_swapped(own: Scores, swapped: Scores | None, keys: Sequence[str]) -> Figures:
    """Figures with those of the given keys under swapped sounds beside them, as ``swap_<key>``."""
    found = figures_of(own)
    for key in keys:
        if swapped is not None and key in swapped.metrics:
            found.metrics[f"swap_{key}"] = swapped.metrics[key]
            found.ci95[f"swap_{key}"] = swapped.ci95[key]
    return found


@dataclass(frozen=True)
class Difference:
    """Paired difference of two runs over the samples that both scored, and its interval."""

    against: str
    n: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class ProtocolFigures:
    """What one further protocol makes of the same maps."""

    metrics: dict[str, float]
    ci95: dict[str, Interval]
    floors: dict[str, Figures]
    ceiling: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything that is to be known of a run; the content of ``record.json``.

    ``status`` is ``complete`` where the run may be ranked; otherwise ``reasons`` says why not.
    ``excluded`` holds the test ids with empty truth, ``config`` the resolved tree, ``notes`` the
    method's own figures, and ``comparisons`` paired differences by what they are against
    (``best_floor``, ``swap``, ``all_objects``) and metric.
    """

    schema: int = SCHEMA
    id: str
    status: Literal["complete", "partial", "dry-run"]
    reasons: tuple[str, ...]
    method: str
    distribution: Distribution
    card: Card
    data: str
    splits: dict[str, SplitIdentity]
    n: int
    n_expected: int
    missing: tuple[str, ...]
    unreadable: dict[str, str]
    excluded: tuple[str, ...]
    train: TrainingGaps
    leakage: Leakage
    protocol: str
    seed: int
    config: dict[str, object]
    config_hash: str
    overrides: tuple[str, ...]
    environment: dict[str, object]
    git: Git | None
    seconds: Seconds
    notes: dict[str, float]
    data_notes: tuple[str, ...]
    metrics: dict[str, float]
    ci95: dict[str, Interval]
    floors: dict[str, Figures]
    ceiling: dict[str, float]
    skill: dict[str, float | None]
    comparisons: dict[str, dict[str, Difference]]
    protocols: dict[str, ProtocolFigures]
    scores_sha256: str
    lists: dict[str, ListIdentity] = field(default_factory=dict)  # by use, as published
    checkpoint: Checkpoint | None = None  # of a run that tested weights and trained none

    @classmethod
    def from_dict(cls, content: Mapping[str, object]) -> "Record":
        """Record of plain JSON values, all of them checked.

        Raises:
            ValueError: a key is missing, unknown or of the wrong type; the message names it.
        """
        if content.get("schema") != SCHEMA:
            raise ValueError(f"schema must be {SCHEMA}, got {content.get('schema')!r}")
        record = _typed(cls, content, "")
        assert isinstance(record, Record)
        if not re.fullmatch(r"[\w.+-]+", record.id):
            raise ValueError(f"id must be a file name without folders, got {record.id!r}")
        if "test" not in record.splits:
            raise ValueError("key splits.test is missing")
        return record

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def _typed(kind: Any, value: object, where: str) -> object:
    """A JSON value as its type has it, or ValueError naming the key."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is object:
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        return _typed_dataclass(kind, _mapping(value, where), where)
    if origin is UnionType:
        (kind,) = (option for option in arguments if option is not NoneType)
        return None if value is None else _typed(kind, value, where)
    if origin is Literal:
        return _checked(value in arguments, value, where, f"one of {', '.join(arguments)}")
    if origin is dict:
        items = _mapping(value, where).items()
        return {key: _typed(arguments[1], item, _join(where, key)) for key, item in items}
    if origin is tuple:
        return _typed_tuple(arguments, value, where)
    return _typed_scalar(kind, value, where)


@cache
def _keys_of(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Types of the keys of a dataclass, and those that may be missing."""
    optional = frozenset(
        item.name for item in fields(kind)
        if item.default is not MISSING or item.default_factory is not MISSING
    )  # fmt: skip
    return get_type_hints(kind), optional


def _typed_dataclass(kind: Any, content: Mapping[str, object], where: str) -> object:
    hints, optional = _keys_of(kind)
    for key in hints.keys() - optional - content.keys():
        raise ValueError(f"key {_join(where, key)} is missing")
    for key in content.keys() - hints.keys():
        raise ValueError(f"key {_join(where, key)} is unknown")
    return kind(**{key: _typed(hints[key], content[key], _join(where, key)) for key in content})


def _typed_tuple(arguments: tuple[Any, ...], value: object, where: str) -> tuple[object, ...]:
    _checked(isinstance(value, list | tuple), value, where, "a list")
    assert isinstance(value, list | tuple)
    if arguments[-1] is not ...:
        _checked(len(value) == len(arguments), value, where, f"a list of {len(arguments)}")
    return tuple(_typed(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))


def _typed_scalar(kind: type, value: object, where: str) -> object:
    if kind is float:
        return float(_checked(_is_finite(value), value, where, "a finite number"))
    if kind is int:
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        return int(_checked(whole, value, where, "a whole number"))
    word = {str: "text", bool: "true or false"}[kind]
    return _checked(isinstance(value, kind), value, where, word)


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number above every float
        return False


def _mapping(value: object, where: str) -> Mapping[str, object]:
    named = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    mapping: Mapping[str, object] = _checked(named, value, where, "an object")
    return mapping


def _checked(claim: bool, value: object, where: str, expected: str) -> Any:
    if not claim:
        raise ValueError(f"key {where} must be {expected}, got {value!r}")
    return value


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def is_ranked(record: Record) -> tuple[bool, str]:
    """Whether a run may stand in a ranking, and otherwise why not.

    Only complete runs are. Training on test clips does not change that: such a run is listed with
    the count beside its name.
    """
    if record.status == "complete":
        return True, ""
    return False, f"{record.status}: {'; '.join(record.reasons) or 'no reason given'}"


def run_folder_name(utc: datetime, method: str, data: str, config_hash: str) -> str:
    """Name of a run's folder, which is also the id of its record.

    Raises:
        ValueError: the time has no zone.

    Examples:
        >>> run_folder_name(datetime(2025, 3, 1, 14, 5, tzinfo=UTC), "lvs", "flickr", "0a1b2c3d4e")
        '20250301T140500Z-lvs-flickr-0a1b2c3d'
    """
    if utc.tzinfo is None:
        raise ValueError(f"utc must have a time zone, got {utc!r}")
    return f"{utc.astimezone(UTC):%Y%m%dT%H%M%SZ}-{method}-{data}-{config_hash[:8]}"


def write_record(folder: Path, record: Record) -> Path:
    """Writes ``record.json``, which makes the run a finished one; call it last.

    Returns:
        Path of the file.

    Raises:
        ValueError: a value could not be read back, such as NaN; nothing is written.
    """
    path = folder / "record.json"
    write_atomically(path, json_bytes(record))
    return path


def json_bytes(record: Record) -> bytes:
    """Content of ``record.json``; raises ValueError where it could not be read back."""
    checked = Record.from_dict(record.to_dict())
    text = json.dumps(
        checked.to_dict(), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False
    )
    return f"{text}\n".encode()


def read_record(path: Path) -> Record:
    """Record of a JSON file.

    Raises:
        BenchError: the file is missing, no JSON, of another schema, or lacks a key; the message
            names the file and the key.
    """
    try:
        content = _parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BenchError(f"{path} does not exist; a run without it was not finished") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"{path} cannot be read as a record: {error}; run it again") from error
    if not isinstance(content, dict):
        raise BenchError(f"{path} must hold one JSON object; run it again")
    if content.get("schema") != SCHEMA:
        raise BenchError(
            f"{path} has schema {content.get('schema')!r}, but this version reads {SCHEMA}; "
            "use the version of avloc-bench that wrote it, or a newer one"
        )
    try:
        return Record.from_dict(content)
    except ValueError as error:
        raise BenchError(f"{path}: {error}; run it again") from error


def _parsed(text: str) -> object:
    """What JSON says, or ValueError where no file could hold it again."""
    content: object = json.loads(text, parse_constant=_refuse_constant)
    if "\\ud" in text.lower():  # one half of a character may stand without the other
        json.dumps(content, ensure_ascii=False).encode()
    return content


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no number")


def read_results(results_dir: Path) -> list[Record]:
    """Accepted records of a folder, in the order of their ids; none where it does not exist.

    Raises:
        BenchError: one of them is not valid, or two have one id.
    """
    records: dict[str, Record] = {}
    for path in sorted(results_dir.glob("*.json")):
        record = read_record(path)
        if record.id in records:
            raise BenchError(f"{path} holds the record {record.id} once more; move it away")
        records[record.id] = record
    return list(records.values())


class ScoreTable(NamedTuple):
    """Scores of each sample."""

    ids: tuple[str, ...]
    columns: dict[str, NDArray[np.float64]]  # (N,) each, NaN where undefined


def write_scores(
    path: Path, ids: Sequence[str], columns: Mapping[str, Sequence[float] | NDArray[Any]]
) -> str:
    """Writes a table of scores: one row per sample, equal bytes for equal scores.

    Args:
        path: of the file, ``scores.csv`` in a run folder.
        ids: N test ids.
        columns: name -> N values; NaN becomes an empty cell, booleans 1 and 0.

    Returns:
        sha256 of the file.

    Raises:
        ValueError: a column has another length.
    """
    for name, values in columns.items():
        if len(values) != len(ids):
            raise ValueError(f"column {name} must have {len(ids)} values, got {len(values)}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", *columns])
    for row, clip_id in enumerate(ids):
        writer.writerow([clip_id, *(_cell(values[row]) for values in columns.values())])
    content = text.getvalue().encode()
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def _cell(value: Any) -> str:
    """Shortest text that reads back as the same float64; whole numbers without a point."""
    number = float(value)
    if math.isnan(number):
        return ""
    return str(int(number)) if number.is_integer() else repr(number)


def read_scores(path: Path) -> ScoreTable:
    """Scores of a file written by ``write_scores``, or of another with a column ``id`` first.

    Raises:
        BenchError: the file is missing or no such table; the message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            lines = [(reader.line_num, cells) for cells in reader]
        columns = _score_columns(lines[0][1] if lines else [])
        rows = [_score_row(line, cells, columns) for line, cells in lines[1:]]
    except (OSError, ValueError, csv.Error) as error:
        raise BenchError(
            f"{path} cannot be read as scores: {error}; mend the file, or run it again"
        ) from error
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(columns) - 1)
    found = {name: values[:, place] for place, name in enumerate(columns[1:])}
    return ScoreTable(tuple(cells[0] for _, cells in lines[1:]), found)


def _score_columns(cells: Sequence[str]) -> Sequence[str]:
    """Names of the columns of a first line, or ValueError."""
    if not cells:
        raise ValueError("line 1 is blank and must name the columns, such as id,ciou")
    if cells[0] != "id":
        raise ValueError(f"the first column must be id, got {cells[0]!r}")
    twice = first_repeat(cells)
    if twice is not None:
        raise ValueError(f"line 1 names the column {twice!r} twice")
    return cells


def _score_row(line: int, cells: Sequence[str], columns: Sequence[str]) -> list[float]:
    """Scores of one line, or ValueError naming it."""
    if not cells:
        raise ValueError(f"line {line} is blank")
    if len(cells) != len(columns):
        raise ValueError(f"line {line} has {len(cells)} cells, but line 1 names {len(columns)}")
    values = []
    for name, cell in zip(columns[1:], cells[1:], strict=True):
        try:
            values.append(float(cell or "nan"))
        except ValueError:
            raise ValueError(f"line {line}: {name} must be a number, got {cell!r}") from None
    return values


def verified_scores(path: Path, record: Record) -> bytes:
    """Bytes of a table of scores that is the one a record was written with.

    Raises:
        BenchError: it cannot be read, or was changed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({error.strerror}); run it again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != record.scores_sha256:
        raise BenchError(
            f"{path} has sha256 {found[:8]}, but record.json was written with "
            f"{record.scores_sha256[:8]}; one of them was changed, run it again"
        )
    return content


def environment() -> dict[str, object]:
    """Versions and hardware that a score may depend on; no names of hosts, users or folders."""
    import torch

    found: dict[str, object] = {name: _version(name) for name in PACKAGES}
    return found | {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_state(package_root: Path) -> Git | None:
    """Commit of the checkout that is ``package_root``, and the hash of what was changed since.

    None where the packages were installed from a wheel, even if that lies inside a checkout of
    something else. Changed and new code counts; new files of other kinds do not.
    """
    root = package_root.resolve()
    top = _git(root, "rev-parse", "--show-toplevel")
    commit = _git(root, "rev-parse", "HEAD")
    if top is None or commit is None or Path(top.decode().strip()).resolve() != root:
        return None
    changes = _git(root, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv") or b""
    listed = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "*.py", "*.yaml") or b""
    for name in filter(None, listed.decode().split("\0")):
        changes += name.encode() + b"\0" + (root / name).read_bytes()
    digest = hashlib.sha256(changes).hexdigest() if changes else None
    return Git(commit.decode().strip(), dirty=bool(changes), diff_sha256=digest)


def _git(root: Path, *arguments: str) -> bytes | None:
    """Output of a git command, or None where there is no git or no checkout."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
