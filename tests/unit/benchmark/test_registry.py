import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from benchmark import registry
from benchmark.registry import DATA_REGISTRY, METHOD_REGISTRY, Name
from methods.base import Method
from methods.lvs import Lvs
from metrics.errors import BenchError, did_you_mean

METHOD_CLASS: type = Method


def point(name: str, target: str, distribution: str | None) -> EntryPoint:
    """An entry point as an installed package has it."""
    made = EntryPoint(name, target, "bench.methods")
    vars(made)["dist"] = None if distribution is None else SimpleNamespace(name=distribution)
    return made


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points that the registry finds; append to it."""
    points: list[EntryPoint] = []

    def entry_points(group: str) -> Iterable[EntryPoint]:
        return [each for each in points if each.group == group]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    return points


def test_a_built_in_name_loads_its_class() -> None:
    assert Lvs is METHOD_REGISTRY.load("lvs", METHOD_CLASS)


def test_an_unknown_method_gets_a_suggestion_and_the_list_command() -> None:
    with pytest.raises(
        BenchError,
        match=r"^unknown method 'hardpss'\. Did you mean hardpos\? Run bench list methods\.$",
    ):
        METHOD_REGISTRY.load("hardpss", METHOD_CLASS)


def test_an_unknown_data_set_like_no_other_gets_the_list_command_alone() -> None:
    with pytest.raises(BenchError, match=r"^unknown data set 'qqq'\. Run bench list data\.$"):
        DATA_REGISTRY.load("qqq", object)


def test_nothing_is_suggested_for_a_word_like_no_other() -> None:
    assert did_you_mean("qqq", ["hardpos"]) == ""


def test_a_plugin_is_named_with_its_package_and_not_imported(
    installed: list[EntryPoint],
) -> None:
    installed.append(point("disc", "package_that_is_absent:Disc", "their-package"))

    found = METHOD_REGISTRY.names()["disc"]

    assert found == Name(
        "disc", "package_that_is_absent:Disc", "plugin of their-package", "their-package"
    )


def test_a_plugin_that_cannot_be_imported_is_named_with_its_package(
    installed: list[EntryPoint],
) -> None:
    installed.append(point("disc", "package_that_is_absent:Disc", "their-package"))

    with pytest.raises(
        BenchError,
        match=r"method 'disc' of their-package cannot be imported from "
        r"package_that_is_absent:Disc \(ModuleNotFoundError: .*mend or uninstall that package",
    ):
        METHOD_REGISTRY.load("disc", METHOD_CLASS)


def test_a_plugin_without_the_named_class_is_named_with_its_package(
    installed: list[EntryPoint],
) -> None:
    installed.append(point("disc", "string:Disc", "their-package"))

    with pytest.raises(BenchError, match=r"of their-package cannot be imported .*AttributeError"):
        METHOD_REGISTRY.load("disc", METHOD_CLASS)


def test_a_broken_plugin_leaves_other_names_alone(installed: list[EntryPoint]) -> None:
    installed.append(point("disc", "package_that_is_absent:Disc", "their-package"))

    assert Lvs is METHOD_REGISTRY.load("lvs", METHOD_CLASS)


def test_a_plugin_that_is_no_method_is_refused(installed: list[EntryPoint]) -> None:
    installed.append(point("disc", "string:Template", "their-package"))

    with pytest.raises(
        BenchError,
        match=r"method 'disc' of their-package must be a subclass of methods\.base\.Method, "
        r"but string:Template is <class 'string\.Template'>",
    ):
        METHOD_REGISTRY.load("disc", METHOD_CLASS)


def test_a_plugin_with_a_built_in_name_is_an_error_that_names_both_packages(
    installed: list[EntryPoint],
) -> None:
    installed.append(point("lvs", "theirs:Lvs", "their-package"))

    with pytest.raises(
        BenchError,
        match=r"method 'lvs' is given by both avloc-bench \(methods\.lvs:Lvs\) and "
        r"their-package \(theirs:Lvs\); uninstall one of them",
    ):
        METHOD_REGISTRY.names()


def test_two_plugins_of_one_name_are_an_error_that_names_both_packages(
    installed: list[EntryPoint],
) -> None:
    installed += [point("disc", "one:Disc", "first"), point("disc", "one:Disc", "second")]

    with pytest.raises(BenchError, match=r"both first \(one:Disc\) and second \(one:Disc\)"):
        METHOD_REGISTRY.names()


def test_one_package_listed_twice_is_no_clash(installed: list[EntryPoint]) -> None:
    installed += 2 * [point("disc", "one:Disc", "first")]

    assert METHOD_REGISTRY.names()["disc"].distribution == "first"


def test_a_plugin_of_no_known_package_is_listed(installed: list[EntryPoint]) -> None:
    installed.append(point("disc", "one:Disc", None))

    assert METHOD_REGISTRY.names()["disc"].summary == "plugin of an unnamed package"


def test_listing_names_imports_no_method(
    installed: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "methods.hardpos", raising=False)

    METHOD_REGISTRY.names()

    assert "methods.hardpos" not in sys.modules
