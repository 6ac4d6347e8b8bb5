import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark import floor_cache
from benchmark.floor_cache import cached_ceiling, cached_floor, cached_floors, truth_hash
from metrics.errors import BenchError
from metrics.protocols import Protocol, protocol_named
from metrics.truth import Source, Truth

BOX = np.array([[0.0, 0.0, 1.0, 0.75]])
TRUTH = [Truth("a", (BOX,)), Truth("b", (BOX,))]
NO_BOX = np.empty((0, 4))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; its folder of floors and ceilings."""
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path))
    return tmp_path / "floors"


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the floors, and ``ceiling``, in the order in which they were computed."""
    names: list[str] = []

    def counted(function: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            names.append(name_of(*arguments))
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(
        floor_cache, "floor_scores", counted(floor_cache.floor_scores, lambda name, *_: name)
    )
    monkeypatch.setattr(floor_cache, "ceiling", counted(floor_cache.ceiling, lambda *_: "ceiling"))
    return names


def test_the_second_call_computes_nothing_and_gives_the_same(computed: list[str]) -> None:
    first = cached_floors(TRUTH, "lvs", without=["random"]), cached_ceiling(TRUTH, "lvs")
    cold = list(computed)

    second = cached_floors(TRUTH, "lvs", without=["random"]), cached_ceiling(TRUTH, "lvs")

    assert cold == computed == ["full", "center", "mean_box", "ceiling"]
    assert first[1] == second[1]
    for name, floor in first[0].items():
        again = second[0][name]
        assert floor._replace(values={}) == again._replace(values={})
        for column in floor.values:
            np.testing.assert_array_equal(floor.values[column], again.values[column])


def test_a_kept_floor_is_read_with_its_undefined_cells(computed: list[str]) -> None:
    truth = [*TRUTH, Truth("a+b", (NO_BOX,), on_screen=False)]
    cached_floor("full", truth, "bench-v1")

    kept = cached_floor("full", truth, "bench-v1")

    assert computed == ["full"]
    assert np.isnan(kept.values["ciou"]).tolist() == [False, False, True]
    assert (kept.negatives, kept.thresholds) == (("a+b",), None)


OTHERS: dict[str, list[Truth]] = {
    "id": [Truth("a", (BOX,)), Truth("c", (BOX,))],
    "box": [Truth("a", (BOX,)), Truth("b", (BOX / 2,))],
    "order": TRUTH[::-1],
    "annotator": [Truth("a", (BOX,)), Truth("b", (BOX, NO_BOX))],
    "split of boxes": [Truth("a", (BOX,)), Truth("b", (NO_BOX, BOX))],
    "mask": [Truth("a", (BOX,)), Truth("b", (BOX,), mask=np.ones((2, 2), np.bool_))],
    "negative": [Truth("a", (BOX,)), Truth("b", (BOX,), on_screen=False)],
    "frame": [Truth("a", (BOX,)), Truth("b", (BOX,), frame="f")],
    "objects": [Truth("a", (BOX,)), Truth("b", (BOX,), objects=BOX)],
    "segments": [Truth("a", (BOX,)), Truth("b", (BOX,), segments=np.array([1]))],
    "background": [Truth("a", (BOX,)), Truth("b", (BOX,), segments=np.array([1]), background=2)],
    "source": [Truth("a", (BOX,)), Truth("b", (BOX,), sources=(Source(BOX),))],
    "context": [Truth("a", (BOX,)), Truth("b", (BOX,), context=BOX)],
    "shorter": TRUTH[:1],
}


def test_every_change_of_the_truth_has_a_hash_of_its_own() -> None:
    hashes = [truth_hash(truth) for truth in (TRUTH, *OTHERS.values())]

    assert len(set(hashes)) == len(hashes)
    assert truth_hash([Truth("a", (BOX.copy(),)), Truth("b", (BOX,), category="dog")]) == hashes[0]


def test_changed_annotations_find_nothing_old(computed: list[str]) -> None:
    old = cached_floor("full", TRUTH, "lvs")

    changed = cached_floor("full", OTHERS["box"], "lvs")

    assert computed == ["full", "full"]
    assert (old.metrics["mean_iou"], changed.metrics["mean_iou"]) == (0.75, (0.75 + 0.1875) / 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"success_thresholds": (0.5, 0.3, 0.75)},
        {"interpolation": "align_corners_bilinear"},
        {"comparison": ">="},
        {"empty_truth": "excluded"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_changed_rule_finds_nothing_old(changes: dict[str, Any], computed: list[str]) -> None:
    lvs = protocol_named("lvs")
    cached_floor("full", TRUTH, lvs)

    cached_floor("full", TRUTH, replace(lvs, **changes))

    assert computed == ["full", "full"]


def test_words_about_a_protocol_are_no_rule(computed: list[str]) -> None:
    lvs: Protocol = protocol_named("lvs")
    cached_floor("full", TRUTH, lvs)

    cached_floor("full", TRUTH, replace(lvs, summary="other words", lists={}))

    assert computed == ["full"]


def damaged(text: str) -> list[str]:
    """The content of an entry, spoilt in several ways."""
    content = json.loads(text)
    lacking = {key: value for key, value in content.items() if key != next(iter(content))}
    return ["", text[: len(text) // 2], "null", "[[]]", "7", json.dumps(lacking),
            json.dumps({**content, "values": {"ciou": ["x"]}}),
            json.dumps({**content, "values": None})]  # fmt: skip


def test_a_damaged_floor_is_computed_again_and_mended(cache: Path, computed: list[str]) -> None:
    whole = cached_floor("full", TRUTH, "lvs")
    (entry,) = cache.glob("full-lvs-*.json")
    text = entry.read_text()

    for spoilt in damaged(text):
        entry.write_text(spoilt)
        computed.clear()
        assert cached_floor("full", TRUTH, "lvs").metrics == whole.metrics
        assert (computed, entry.read_text()) == (["full"], text)


def test_a_damaged_ceiling_is_computed_again_and_mended(cache: Path, computed: list[str]) -> None:
    whole = cached_ceiling(TRUTH, "lvs")
    (entry,) = cache.glob("ceiling-lvs-*.json")
    text = entry.read_text()

    for spoilt in ("", text[: len(text) // 2], "null", "[[]]", '{"auc": null}', '{"auc": "x"}'):
        entry.write_text(spoilt)
        computed.clear()
        assert cached_ceiling(TRUTH, "lvs") == whole
        assert (computed, entry.read_text()) == (["ceiling"], text)


def test_a_cache_that_cannot_be_written_is_named_with_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "file"))

    with pytest.raises(BenchError, match=r"file/floors .*set AVLOC_CACHE to a folder"):
        cached_floor("full", TRUTH, "lvs")
