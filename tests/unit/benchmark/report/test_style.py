"""Colours of the stylesheet: text stands out from every ground, lines from the paper."""

import re
from itertools import product
from pathlib import Path

import pytest

import benchmark.report

CSS = (Path(benchmark.report.__file__).parent / "static" / "report.css").read_text()
SCHEMES = {"light": 0, "dark": 1}
GROUNDS = ("paper", "card")
TEXTS = ("ink", "pale", "link", "warn", "good")
LINES = (*(f"curve-{place}" for place in range(6)), "floor")


def colours(scheme: str) -> dict[str, str]:
    """Variables of a scheme, the light one first in the file."""
    blocks = re.findall(r":root \{([^}]*)\}", CSS)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[SCHEMES[scheme]]))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_known_pairs() -> None:
    assert 21 == pytest.approx(contrast("#000000", "#ffffff"))
    assert 4.54 == pytest.approx(contrast("#767676", "#ffffff"), abs=0.01)  # WCAG's own example


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("text", "ground"), [*product(TEXTS, GROUNDS)])
def test_text_can_be_read_on_every_ground(scheme: str, text: str, ground: str) -> None:
    found = colours(scheme)

    assert contrast(found[text], found[ground]) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("line", LINES)
def test_lines_stand_out_from_the_paper(scheme: str, line: str) -> None:
    found = colours(scheme)

    assert contrast(found[line], found["paper"]) >= 3


def test_both_schemes_set_the_same_variables_but_those_of_pictures() -> None:
    assert colours("light").keys() - colours("dark").keys() == {"truth", "answer"}


def test_no_rule_has_a_colour_of_its_own() -> None:
    rules = re.sub(r":root \{[^}]*\}", "", CSS)

    assert [] == re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|hsl", rules)


def test_text_takes_its_colour_from_the_tested_variables() -> None:
    used = set(re.findall(r"(?<![\w-])color: var\(--([\w-]+)\)", CSS))

    assert used <= set(TEXTS)
