import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.proposal_store import ProposalStore, make_proposals, proposals_of
from datamodules.proposals import PARTS, Extractor
from metrics.errors import BenchError

SEARCH = Extractor("selective_search", None)
COMMAND = "bench proposals D"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "proposals"


def noise(seed: int, read: list[int] | None = None) -> Tensor:
    if read is not None:
        read.append(seed)
    rng = np.random.default_rng(seed)
    coarse = rng.integers(256, size=(3, 4, 4), dtype=np.uint8)
    return torch.from_numpy(coarse.repeat(8, 1).repeat(8, 2))


def pictures(count: int, read: list[int] | None = None) -> dict[str, Callable[[], Tensor]]:
    return {f"content {seed}": partial(noise, seed, read) for seed in range(count)}


def stored(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.glob("*/*") if path.name != ".lock"}


def test_two_threads_store_the_bytes_that_one_stores(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("datamodules.proposal_store.BLOCK", 5)
    make_proposals(pictures(12), SEARCH, workers=1)
    one = stored(cache)
    monkeypatch.setenv("AVLOC_CACHE", str(cache.parent.parent / "other"))
    make_proposals(pictures(12), SEARCH, workers=2)

    assert one == stored(cache.parent.parent / "other" / "proposals")
    assert 7 == len(one), "three blocks of two files, and stream.json"


def test_what_is_kept_is_what_the_extractor_found():
    make_proposals(pictures(3), SEARCH)
    store = ProposalStore(SEARCH.identity())

    for content, read in pictures(3).items():
        expected = SEARCH.finder()(read(), content)
        assert expected.tolist() == store[content].tolist()


def test_nothing_is_searched_twice():
    read: list[int] = []
    first = make_proposals(pictures(3, read), SEARCH)
    second = make_proposals(pictures(5, read), SEARCH)

    assert [0, 1, 2, 3, 4] == sorted(read)
    assert [(3, 0), (2, 3)] == [(each.made, each.kept) for each in (first, second)]
    assert second.bytes == 8 * second.boxes


def test_a_search_that_stops_keeps_what_it_found():
    def stop() -> Tensor:
        raise SystemExit(75)

    read: list[int] = []
    with pytest.raises(SystemExit):
        make_proposals({**pictures(3, read), "further": stop}, SEARCH, workers=1)
    made = make_proposals(pictures(4, read), SEARCH, workers=1)

    assert [0, 1, 2, 3] == read
    assert (1, 3) == (made.made, made.kept)


def test_boxes_of_other_settings_are_not_taken():
    make_proposals(pictures(2), SEARCH)
    other = Extractor("grid", None)

    found = proposals_of(pictures(2), other, COMMAND)

    assert 205 == len(found["content 0"])
    assert found.folder != ProposalStore(SEARCH.identity()).folder


def test_boxes_of_other_pictures_are_not_taken():
    make_proposals({"first": partial(noise, 0)}, SEARCH)

    found = proposals_of({"second": partial(noise, 1)}, SEARCH, COMMAND)

    assert SEARCH.finder()(noise(1), "second").tolist() == found["second"].tolist()


def test_a_picture_without_boxes_is_kept_as_such(monkeypatch: pytest.MonkeyPatch):
    """No extractor is known to find none in a picture but edge boxes, which need a forest."""
    monkeypatch.setattr("datamodules.proposals.selective_search", lambda _: np.empty((0, 4)))
    made = make_proposals(pictures(1), SEARCH)
    monkeypatch.undo()

    assert (1, 0, 0) == (made.made, made.boxes, made.bytes)


def test_pictures_between_those_without_boxes_keep_their_own(monkeypatch: pytest.MonkeyPatch):
    found = {0: np.empty((0, 4)), 1: np.array([[0, 0, 0.5, 1]]), 2: np.empty((0, 4))}
    order = iter(found.values())
    monkeypatch.setattr("datamodules.proposals.selective_search", lambda _: next(order))
    make_proposals(pictures(3), SEARCH, workers=1)

    store = ProposalStore(SEARCH.identity())

    assert [[], [[0, 0, 32768, PARTS]], []] == [store[each].tolist() for each in pictures(3)]


@pytest.mark.parametrize("suffix", ["npy", "json"])
@pytest.mark.parametrize("change", ["truncated", "changed", "gone"])
def test_damage_is_told_in_a_line_and_mended(cache: Path, suffix: str, change: str):
    make_proposals(pictures(3), SEARCH)
    (path,) = cache.glob(f"*/block-000000.{suffix}")
    whole = path.read_bytes()
    if change == "truncated":
        path.write_bytes(whole[:-9])
    elif change == "changed":
        path.write_bytes(whole[:-9] + b"?" + whole[-8:])
    elif suffix == "npy":
        path.unlink()
    else:
        pytest.skip("a block without its JSON was never finished, and is made again in silence")

    with pytest.raises(
        BenchError, match=r"block-000000.* is damaged.*; bench proposals D makes it"
    ):
        proposals_of(pictures(3), SEARCH, COMMAND)

    make_proposals(pictures(3), SEARCH)
    proposals_of(pictures(3), SEARCH, COMMAND)
    assert whole == path.read_bytes()


def test_a_block_that_was_never_finished_is_made_again(cache: Path):
    make_proposals(pictures(2), SEARCH)
    (path,) = cache.glob("*/block-000000.json")
    path.unlink()

    found = proposals_of(pictures(2), SEARCH, COMMAND)

    assert "content 1" in found
    assert 2 == len(json.loads(path.read_text())["fingerprints"])


def test_a_cache_that_cannot_be_written_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "file"))

    with pytest.raises(
        BenchError, match=r"proposals cannot be kept in .*; set AVLOC_CACHE to a fo"
    ):
        make_proposals(pictures(1), SEARCH)
