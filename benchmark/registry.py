"""Names to classes: two literal dicts and two entry-point groups, loaded when asked for."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from datamodules import DATASETS
from methods import METHODS
from metrics.errors import BenchError, did_you_mean

DISTRIBUTION = "avloc-bench"
T = TypeVar("T")


@dataclass(frozen=True)
class Name:
    """One registered name, before anything of it is imported."""

    name: str
    target: str  # "module:Class"
    summary: str
    distribution: str


@dataclass(frozen=True)
class Registry:
    """Built-in names and the plugins of one entry-point group."""

    kind: str  # "method" or "data set"
    plural: str  # word of `bench list`
    group: str
    builtin: Mapping[str, tuple[str, str]]

    def names(self) -> dict[str, Name]:
        """Every name; plugins last. Nothing is imported.

        Raises:
            BenchError: a name is given by two packages.
        """
        found = {
            name: Name(name, target, summary, DISTRIBUTION)
            for name, (target, summary) in self.builtin.items()
        }
        for point in entry_points(group=self.group):
            plugin = _plugin(point)
            known = found.setdefault(plugin.name, plugin)
            same = (known.distribution, known.target) == (plugin.distribution, plugin.target)
            if not same:  # one distribution can be listed twice, by an editable install for one
                raise BenchError(
                    f"{self.kind} {plugin.name!r} is given by both {known.distribution} "
                    f"({known.target}) and {plugin.distribution} ({plugin.target}); "
                    "uninstall one of them"
                )
        return found

    def load(self, name: str, kind: type[T]) -> type[T]:
        """The class of a name, which must be a ``kind``.

        Raises:
            BenchError: the name is unknown, its module cannot be imported, or it names another
                kind of class.
        """
        names = self.names()
        if name not in names:
            raise BenchError(
                f"unknown {self.kind} {name!r}.{did_you_mean(name, names)} "
                f"Run bench list {self.plural}."
            )
        entry = names[name]
        module, _, attribute = entry.target.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a plugin may raise anything; it breaks its own run only
            if entry.distribution == DISTRIBUTION:
                raise
            raise BenchError(
                f"{self.kind} {name!r} of {entry.distribution} cannot be imported from "
                f"{entry.target} ({type(error).__name__}: {error}); mend or uninstall that package"
            ) from error
        if not (isinstance(found, type) and issubclass(found, kind)):
            raise BenchError(
                f"{self.kind} {name!r} of {entry.distribution} must be a subclass of "
                f"{kind.__module__}.{kind.__name__}, but {entry.target} is {found!r}"
            )
        return found


def _plugin(point: EntryPoint) -> Name:
    distribution = point.dist.name if point.dist is not None else "an unnamed package"
    return Name(point.name, point.value, f"plugin of {distribution}", distribution)


METHOD_REGISTRY = Registry("method", "methods", "bench.methods", METHODS)
DATA_REGISTRY = Registry("data set", "data", "bench.datamodules", DATASETS)
