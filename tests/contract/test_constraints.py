"""The pins of pyproject.toml are what is installed; every score rests on these versions.

After a change of dependencies: empty ``constraint-dependencies``, run ``uv sync --upgrade``, and
paste what this prints::

    uv run --no-sync python tests/contract/test_constraints.py
"""

import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
OWN = "avloc-bench"
NOT_EVERYWHERE = re.compile(
    r"nvidia-.*|cuda-.*|triton"  # Linux with CUDA
    r"|colorama|pywin32"  # Windows
)


def installed() -> dict[str, str]:
    """Version of every distribution but this one, without a build's own suffix such as +cpu."""
    found = {canonicalize_name(each.metadata["Name"]): each.version for each in distributions()}
    return {name: Version(version).public for name, version in sorted(found.items()) if name != OWN}


def pinned() -> dict[str, str]:
    """Version of every pin; each must be one exact version."""
    pins = {}
    for line in tomllib.loads(PYPROJECT.read_text())["tool"]["uv"]["constraint-dependencies"]:
        pin = Requirement(line)
        (specifier,) = pin.specifier
        assert specifier.operator == "==", f"{line} is not one exact version"
        pins[canonicalize_name(pin.name)] = specifier.version
    return pins


def test_every_installed_distribution_is_pinned_at_its_version() -> None:
    pins = pinned()

    differing = {
        name: (version, pins.get(name)) for name, version in installed().items()
        if pins.get(name) != version
    }  # fmt: skip

    assert differing == {}, "name: (installed, pinned)"


def test_every_pin_is_of_something_that_is_installed_here_or_elsewhere() -> None:
    unused = {name for name in pinned().keys() - installed().keys()}

    assert {name for name in unused if not NOT_EVERYWHERE.fullmatch(name)} == set()


def test_pins_are_sorted_so_that_a_change_is_one_line() -> None:
    assert list(pinned()) == sorted(pinned())


if __name__ == "__main__":
    print("constraint-dependencies = [")
    for name, version in installed().items():
        print(f'    "{name}=={version}",')
    print("]")
