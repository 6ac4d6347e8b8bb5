"""What the field's repositories publish, and the lists that they train on: ``field.yaml``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.typed_yaml import read_typed
from metrics.errors import BenchError, did_you_mean
from metrics.protocols import protocol_named

FIELD = Path(__file__).with_name("field.yaml")
KEYS = ("ciou@0.5", "auc", "slavc_ap", "slavc_max_f1", "loc_acc", "segment_acc")
UNKNOWN = "?"
WORDS = ("yes", "no", UNKNOWN)


@dataclass(frozen=True)
class TrainingList:
    """A list of training clips that somebody released."""

    id: str
    label: str
    data: str  # whose clips it lists
    n: int
    source: str
    leaks: dict[str, int] = field(default_factory=dict)  # data set -> its test clips in the list
    sha256: str | None = None  # as records identify lists, where the file could be read


@dataclass(frozen=True)
class MethodProtocol:
    """The rules under which a method's own figures were made."""

    id: str  # of the method
    protocol: str
    source: str


@dataclass(frozen=True)
class Network:
    """One published network on one data set, whether or not a value is printed."""

    id: str
    method: str
    label: str
    data: str
    training: str  # in the words of its source
    source: str
    trained_on: str | None = None  # id of a list, where it is known which
    test: str | None = None  # which part of the test list, where not all of it
    guidance: str = UNKNOWN  # yes | no | ?, whether the printed map is guided by objects
    weights: str = UNKNOWN  # what it started from
    supervision: str = UNKNOWN
    ema: str = UNKNOWN  # yes | no | ?, whether averaged weights answer
    published: dict[str, float] = field(default_factory=dict)  # metric -> percent


@dataclass(frozen=True)
class Field:
    """Everything that is known of the field."""

    protocols: tuple[MethodProtocol, ...]
    lists: tuple[TrainingList, ...]
    networks: tuple[Network, ...]

    def protocol_of(self, method: str) -> str | None:
        """The protocol of a method's own figures; None where it has none."""
        return next((each.protocol for each in self.protocols if each.id == method), None)

    def list_of(self, network: Network) -> TrainingList | None:
        """The list that a network was trained on; None where nobody says which."""
        return next((each for each in self.lists if each.id == network.trained_on), None)

    def leaked(self, network: Network) -> int | None:
        """Test clips that a network was trained on; None where that is not known."""
        known = self.list_of(network)
        return None if known is None else known.leaks.get(network.data)


def read_field(path: Path = FIELD) -> Field:
    """What is published, out of a file.

    Raises:
        BenchError: the file cannot be read, or says what cannot be; the message names file, row and
            key.
    """
    found = read_typed(Field, path)
    lists = [each.id for each in found.lists]
    for kind in (found.protocols, found.lists, found.networks):
        ids = [each.id for each in kind]
        twice = next((each for each in ids if ids.count(each) > 1), None)
        if twice is not None:
            raise BenchError(f"{path}: row {twice} stands {ids.count(twice)} times; rename one")
    for known in found.protocols:
        try:
            protocol_named(known.protocol)
        except BenchError as error:
            raise BenchError(f"{path}: row {known.id}: protocol: {error}") from error
    for network in found.networks:
        _check(network, lists, f"{path}: row {network.id}")
    return found


def _check(network: Network, lists: Sequence[str], within: str) -> None:
    if network.trained_on is not None and network.trained_on not in lists:
        raise BenchError(
            f"{within}: trained_on must be a list, got {network.trained_on!r}."
            f"{did_you_mean(network.trained_on, lists)} Known are {', '.join(lists)}."
        )
    for key in ("guidance", "ema"):
        if getattr(network, key) not in WORDS:
            raise BenchError(
                f"{within}: {key} must be one of {', '.join(WORDS)}, got {getattr(network, key)!r}"
            )
    for key, value in network.published.items():
        if key not in KEYS:
            raise BenchError(
                f"{within}: published must have metrics of {', '.join(KEYS)}, got {key!r}"
            )
        if not 0 <= value <= 100:
            raise BenchError(
                f"{within}: published.{key} must be a percentage in [0, 100], got {value}"
            )
