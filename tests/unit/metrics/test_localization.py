import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metrics.errors import BenchError
from metrics.localization import LocalizationMetrics
from metrics.predictions import Predictions
from metrics.protocols import PROTOCOLS
from metrics.scoring import Scores, score, score_maps
from metrics.truth import Source, Truth

ROOT = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name("gloo_worker.py")
COUNT = 61  # odd, so that two processes cannot share evenly
UNIT = (0.0, 1.0)
NO_BOX = np.empty((0, 4))
SIDE = 32
SMALL = {name: replace(protocol, map_size=SIDE) for name, protocol in PROTOCOLS.items()}


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    near = rng.random((count, 2)) * 0.5
    return np.concatenate([near, near + 0.1 + 0.4 * rng.random((count, 2))], axis=1)


def random_maps(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.random(shape, dtype=np.float32)


def plain_list(count: int) -> tuple[tuple[Truth, ...], Predictions]:
    """One box per clip; the eighth clip has none."""
    rng = np.random.default_rng(5)
    truth = [Truth(f"clip{k}", (box[None],)) for k, box in enumerate(random_boxes(rng, count))]
    if count > 7:
        truth[7] = truth[7]._replace(boxes=(NO_BOX,))
    maps = random_maps(rng, count, 7, 7)
    return tuple(truth), Predictions([s.id for s in truth], maps, map_range=UNIT)


def extended_list(count: int) -> tuple[tuple[Truth, ...], Predictions]:
    """Two annotators, pairs on one frame, segments, and every third sample a negative."""
    rng = np.random.default_rng(6)
    truth = []
    for k, (one, other) in enumerate(random_boxes(rng, 2 * count).reshape(count, 2, 1, 4)):
        sample = Truth(f"clip{k}", (one, other), frame=f"frame{k // 2}")
        if k % 3 == 2:
            sample = Truth(f"clip{k - 1}+clip{k}", (NO_BOX,), on_screen=False)
        truth.append(sample._replace(segments=rng.integers(3, size=4)))
    return tuple(truth), Predictions(
        [sample.id for sample in truth],
        random_maps(rng, count, 3, 3),
        confidence=rng.normal(size=count).astype(np.float32),
        segment_logits=rng.normal(size=(count, 4, 3)).astype(np.float32),
        map_range=UNIT,
    )


def mixture_list(count: int) -> tuple[tuple[Truth, ...], Predictions]:
    """Two or three objects with a map each, of which every other frame has a silent one."""
    rng = np.random.default_rng(7)
    counts = np.array([2 + k % 2 for k in range(count)])
    truth = []
    for k, boxes in enumerate(random_boxes(rng, 3 * count).reshape(count, 3, 1, 4)):
        sources = [Source(box, sounding=s > 0 or k % 2 == 0) for s, box in enumerate(boxes)]
        truth.append(Truth(f"frame{k}", (boxes[1],), sources=tuple(sources[: counts[k]])))
    return tuple(truth), Predictions(
        [sample.id for sample in truth],
        source_heatmap=random_maps(rng, count, 3, 5, 4),
        source_count=counts,
        map_range=UNIT,
    )


LISTS: dict[str, tuple[Callable[[int], Any], str]] = {
    "one box": (plain_list, "bench-v1"),
    "negatives": (extended_list, "slavc"),
    "mixtures": (mixture_list, "dsol-duet"),
}
COUNTS = (1, 3, 251)
TRUTH, (IDS, MAPS, *_) = plain_list(COUNT)


@cache
def single_pass(name: str, count: int) -> Scores:
    truth, predictions = LISTS[name][0](count)
    return score(predictions, truth, SMALL[LISTS[name][1]])


def assert_equal_scores(actual: Scores, expected: Scores) -> None:
    assert actual.ids == expected.ids
    assert actual.thresholds == expected.thresholds
    assert actual.missing == expected.missing
    assert actual.excluded == expected.excluded
    assert actual.undefined == expected.undefined
    assert actual.constant_maps == expected.constant_maps
    assert actual.n_expected == expected.n_expected
    assert dict(actual.metrics) == pytest.approx(dict(expected.metrics), abs=1e-12)
    assert set(actual.ci95) == set(expected.ci95)
    for key, bounds in expected.ci95.items():
        assert actual.ci95[key] == pytest.approx(bounds, abs=1e-12)
    assert set(actual.values) == set(expected.values)
    for name, column in expected.values.items():
        np.testing.assert_allclose(actual.values[name], column, rtol=0, atol=1e-12)


def updated(metric: LocalizationMetrics, rows: list[int], batch: int) -> LocalizationMetrics:
    for start in range(0, len(rows), batch):
        index = torch.tensor(rows[start : start + batch])
        metric.update(index, torch.from_numpy(MAPS)[index])
    return metric


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("batch", [1, 7, COUNT])
def test_scores_are_those_of_the_function_whatever_the_batches(protocol: str, batch: int):
    metric = LocalizationMetrics(TRUTH, SMALL[protocol], map_range=UNIT)
    updated(metric, list(range(COUNT)), batch)

    expected = score_maps(IDS, MAPS, TRUTH, SMALL[protocol], map_range=UNIT)
    assert_equal_scores(metric.compute(), expected)


def test_a_protocol_is_found_by_its_name():
    metric = updated(LocalizationMetrics(TRUTH, "lvs"), [3, 4, 5], 2)

    assert metric.compute().values["ciou"].tolist() == (
        score_maps(IDS[3:6], MAPS[3:6], TRUTH, "lvs").values["ciou"].tolist()
    )


def test_a_sample_seen_twice_counts_once():
    metric = updated(LocalizationMetrics(TRUTH, SMALL["bench-v1"]), [*range(COUNT), 0, 5], 8)

    assert_equal_scores(metric.compute(), score_maps(IDS, MAPS, TRUTH, SMALL["bench-v1"]))


def test_samples_never_seen_are_missing():
    metric = updated(LocalizationMetrics(TRUTH, "lvs"), [3, 4], 2)

    assert metric.compute().ids == ("clip3", "clip4")
    assert len(metric.compute().missing) == COUNT - 2


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_nothing_seen_has_no_metric():
    scores = LocalizationMetrics(TRUTH, "lvs").compute()

    assert (scores.n, dict(scores.metrics)) == (0, {})
    assert scores.missing == tuple(IDS)


@pytest.mark.parametrize("batched", [False, True])
def test_a_batch_of_no_samples_changes_nothing(batched: bool):
    truth, _ = plain_list(3)
    metric = LocalizationMetrics(truth, "lvs", batched=batched)

    metric.update(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 7, 7))

    assert metric.compute().ids == ()


def test_reset_forgets_what_was_seen():
    metric = updated(LocalizationMetrics(TRUTH, "lvs"), [3, 4], 2)
    metric.reset()
    updated(metric, [5], 1)

    assert metric.compute().ids == ("clip5",)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_copy_holds_what_was_seen_and_goes_its_own_way(protocol: str):
    metric = updated(LocalizationMetrics(TRUTH, SMALL[protocol], map_range=UNIT), [3, 4], 2)

    copied = updated(metric.clone(), [5], 1)

    assert metric.compute().ids == ("clip3", "clip4")
    assert copied.compute().ids == ("clip3", "clip4", "clip5")


def test_the_last_of_two_answers_to_a_sample_counts():
    metric = LocalizationMetrics(TRUTH, "lvs")
    metric.update(torch.tensor([3]), torch.from_numpy(MAPS[4:5]))
    updated(metric, [3], 1)

    expected = score_maps(IDS[3:4], MAPS[3:4], TRUTH, "lvs")
    assert metric.compute().values["ciou"].tolist() == expected.values["ciou"].tolist()


def test_thresholds_of_the_main_run_score_the_swapped_one():
    given = tuple(0.05 * k for k in (2, 4, 6, 8, 10))
    metric = LocalizationMetrics(TRUTH, SMALL["bench-v1"], thresholds=given)

    scores = updated(metric, list(range(COUNT)), 16).compute()

    expected = score_maps(IDS, MAPS, TRUTH, SMALL["bench-v1"], thresholds=given)
    assert_equal_scores(scores, expected)


def test_an_update_without_any_map_is_refused():
    with pytest.raises(BenchError, match="predictions hold no maps"):
        LocalizationMetrics(TRUTH, "lvs").update(torch.tensor([2]), confidence=torch.zeros(1))


def test_a_protocol_that_needs_a_range_is_refused_before_the_first_map():
    with pytest.raises(BenchError, match="slavc-absolute goes by the values of a map"):
        LocalizationMetrics(TRUTH, "slavc-absolute")


def test_a_nan_names_the_id():
    maps = torch.zeros(1, 7, 7)
    maps[0, 0, 0] = torch.nan

    with pytest.raises(BenchError, match="map of 'clip2' holds NaN"):
        LocalizationMetrics(TRUTH, "lvs").update(torch.tensor([2]), maps)


def test_an_index_off_the_list_is_refused():
    with pytest.raises(ValueError, match=r"index must be in \[0, 61\), got 61"):
        LocalizationMetrics(TRUTH, "lvs").update(torch.tensor([61]), torch.zeros(1, 7, 7))


def test_maps_that_do_not_match_the_index_are_refused():
    with pytest.raises(BenchError, match=r"heatmap must be \(2, h, w\).*got \(1, 7, 7\)"):
        LocalizationMetrics(TRUTH, "lvs").update(torch.tensor([0, 1]), torch.zeros(1, 7, 7))


def strided(count: int, world: int) -> list[list[int]]:
    return [list(range(rank, count, world)) for rank in range(world)]


def padded(count: int, world: int) -> list[list[int]]:
    """As torch's DistributedSampler: the first samples again, until all ranks have as many."""
    each = -(-count // world)
    rows = [k % count for k in range(each * world)]
    return [rows[rank::world] for rank in range(world)]


def shuffled(count: int, world: int) -> list[list[int]]:
    order = np.random.default_rng(count).permutation(count).tolist()
    return [order[rank::world] for rank in range(world)]


def uneven(count: int, world: int) -> list[list[int]]:
    """One sample on the first rank, the rest on the last, in falling order."""
    rows = list(range(count))
    return [rows[:1], *[[] for _ in range(world - 2)], rows[:0:-1]] if world > 1 else [rows[::-1]]


def idle(count: int, world: int) -> list[list[int]]:
    return [[] for _ in range(world - 1)] + [list(range(count))]


def repeated(count: int, world: int) -> list[list[int]]:
    """Every sample on every rank, and twice on each."""
    return [[*range(count), *range(count - 1, -1, -1)] for _ in range(world)]


WORLDS = (1, 2, 3)
SHARINGS = {  # and the list that is long enough to take a while
    strided: "one box", padded: "mixtures", shuffled: "negatives", uneven: "mixtures",
    idle: "one box", repeated: "one box",
}  # fmt: skip
CASES = [
    (world, count, sharing.__name__, name)
    for world in WORLDS
    for count in COUNTS
    for sharing, long_list in SHARINGS.items()
    for name in LISTS
    if count < max(COUNTS) or name == long_list
]


@pytest.fixture(scope="module")
def scores_of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Scores]]:
    """Scores of each case on each of three ranks; a rank lacks the cases of smaller worlds."""
    folder = tmp_path_factory.mktemp("gloo")
    answers = {
        (name, count): (*make(count), protocol, SIDE)
        for name, (make, protocol) in LISTS.items()
        for count in COUNTS
    }
    by_name = {sharing.__name__: sharing for sharing in SHARINGS}
    cases = {
        (world, count, sharing, name): {
            "answers": (name, count),
            "rows": by_name[sharing](count, world),
            "batch": (1, 4, 64)[(world + len(sharing)) % 3],
        }
        for world, count, sharing, name in CASES
    }
    (folder / "work.pkl").write_bytes(pickle.dumps({"answers": answers, "cases": cases}))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    worker = subprocess.run(
        [sys.executable, str(WORKER), str(folder)],
        env=environment, timeout=600, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert worker.returncode == 0, worker.stderr
    return [pickle.loads((folder / f"scores{rank}.pkl").read_bytes()) for rank in range(3)]


@pytest.mark.parametrize(("world", "count", "sharing", "name"), CASES)
def test_any_number_of_processes_scores_like_a_single_pass(
    scores_of_ranks: list[dict[Any, Scores]], world: int, count: int, sharing: str, name: str
):
    for rank in range(world):
        actual = scores_of_ranks[rank][world, count, sharing, name]

        assert_equal_scores(actual, single_pass(name, count))


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("one box", {"threshold", "pixel_ap"}),
        ("negatives", {"confidence", "segment_acc", "onscreen_acc", "iiou@0.5", "annotator2_ciou"}),
        ("mixtures", {"cap", "piap", "nsa"}),
    ],
)
def test_the_lists_that_processes_share_have_columns_of_every_kind(name: str, columns: set[str]):
    assert columns <= set(single_pass(name, 251).values)
