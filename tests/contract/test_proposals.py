"""`bench proposals`, and every command of its page."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datamodules.proposal_store import ProposalStore
from datamodules.sample_data import write_sample

Bench = Callable[..., Any]
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "proposals.md").read_text(encoding="utf-8")
COMMANDS = [
    line.removeprefix("uv run bench ")
    for block in re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.splitlines()
]
FEW = ("data.train_clips=5", "data.val_clips=1", "data.test_clips=2", "data.image_size=32")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "proposals"


def test_every_command_of_the_page_goes_through(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer clips than the page has, and a smaller picture."""
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) >= 4
    for line in COMMANDS:
        words = shlex.split(line)
        if words[0] == "sample-data":
            words += ["--clips", "12"]
        elif words[1] == "synthetic":
            words += FEW
        elif not any(word.startswith("data.proposal") for word in words):
            words += ["data.proposal_width=32"]

        done = bench(*words)

        assert 0 == done.code, done.err


def test_the_numbers_are_those_of_the_cache(bench: Bench, cache: Path) -> None:
    first = bench("proposals", "synthetic", "--json", *FEW)
    second = bench("proposals", "synthetic", "--json", *FEW)

    found, again = json.loads(first.out), json.loads(second.out)
    assert (8, 0, 0, 8) == (found["made"], found["kept"], again["made"], again["kept"])
    (folder,) = cache.iterdir()
    assert str(folder) == found["folder"]
    (block,) = folder.glob("block-*.json")
    counts = json.loads(block.read_text())["counts"]
    assert sum(counts) == found["boxes"] == again["boxes"]
    assert sum(counts) / 8 == found["boxes_per_picture"] == found["bytes_per_picture"] / 8


def test_people_get_a_sentence(bench: Bench) -> None:
    done = bench("proposals", "synthetic", "data.proposals=grid", *FEW)

    assert 0 == done.code
    expected = "8 pictures: 8 searched, 0 kept from before; 205 boxes and 1640 bytes a picture in "
    assert done.out.startswith(expected)


def test_a_clip_that_cannot_be_searched_is_named(bench: Bench, tmp_path: Path) -> None:
    root = write_sample("vggss", tmp_path / "vggss", clips=12).root
    first, second, *_ = sorted((root / "frames").iterdir())
    first.write_bytes(first.read_bytes()[:200])
    second.unlink()
    words = ("proposals", "vggss", "--root", str(root), "data.proposals=grid")

    told, plain = bench(*words), json.loads(bench(*words, "--json").out)

    assert f"{first.stem} cannot be read and stays out: " in told.out
    assert f"clips without files, which stay out: 1, such as {second.stem}" in told.out
    assert (list(plain["unreadable"]), plain["missing"]) == ([first.stem], [second.stem])


def test_every_segment_of_a_clip_is_searched(bench: Bench) -> None:
    words = ("data.segments=3", "data.motion=onoff", "data.proposals=grid")
    done = bench("proposals", "synthetic", "--json", *FEW, *words)

    found = json.loads(done.out)
    assert 8 < found["made"] <= 24, "objects come and go, so that segments differ"


def test_a_damaged_cache_is_mended(bench: Bench, cache: Path) -> None:
    assert 0 == bench("proposals", "synthetic", *FEW).code
    (path,) = cache.glob("*/block-000000.npy")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])

    done = bench("proposals", "synthetic", *FEW)

    assert 0 == done.code
    assert whole == path.read_bytes()
    assert [] == ProposalStore(json.loads((path.parent / "stream.json").read_text())).damaged()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing",), "unknown data set 'nothing'"),
        (("synthetic", "--workers", "0"), "--workers must be at least 1, got 0"),
        (("synthetic", "data.proposals=edgeboxes"), "data.proposals=edgeboxes needs a structured"),
        (("vggss", "--root", "nowhere"), "nowhere is not a folder"),
    ],
)
def test_what_cannot_be_searched_is_told_in_a_line(
    bench: Bench, words: tuple[str, ...], message: str
) -> None:
    done = bench("proposals", *words)

    (line,) = done.err.splitlines()
    assert line.startswith(f"bench: {message}")
    assert 2 == done.code
