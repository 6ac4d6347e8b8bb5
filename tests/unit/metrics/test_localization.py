import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from metrics.errors import BenchError
from metrics.localization import LocalizationMetrics
from metrics.protocols import PROTOCOLS
from metrics.scoring import Scores, score_maps
from metrics.truth import Truth

COUNT = 61  # odd, so that two processes cannot share evenly
WORKER = Path(__file__).with_name("gloo_worker.py")


def case() -> tuple[list[Truth], np.ndarray]:
    rng = np.random.default_rng(5)
    near = rng.random((COUNT, 2)) * 0.5
    boxes = np.concatenate([near, near + 0.1 + 0.4 * rng.random((COUNT, 2))], axis=1)
    truth = [Truth(f"clip{k}", (box[None],)) for k, box in enumerate(boxes)]
    truth[7] = truth[7]._replace(boxes=(np.empty((0, 4)),))
    return truth, rng.random((COUNT, 7, 7), dtype=np.float32)


TRUTH, MAPS = case()
IDS = [sample.id for sample in TRUTH]


def assert_equal_scores(actual: Scores, expected: Scores) -> None:
    assert actual.ids == expected.ids
    assert actual.thresholds == expected.thresholds
    assert actual.missing == expected.missing
    assert actual.excluded == expected.excluded
    assert actual.n_expected == expected.n_expected
    assert actual.metrics == pytest.approx(expected.metrics, abs=1e-12)
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
    metric = LocalizationMetrics(TRUTH, protocol, map_range=(0.0, 1.0))
    updated(metric, list(range(COUNT)), batch)

    assert_equal_scores(
        metric.compute(), score_maps(IDS, MAPS, TRUTH, protocol, map_range=(0.0, 1.0))
    )


def test_a_sample_seen_twice_counts_once():
    metric = updated(LocalizationMetrics(TRUTH, "bench-v1"), [*range(COUNT), 0, 5], 8)

    assert_equal_scores(metric.compute(), score_maps(IDS, MAPS, TRUTH, "bench-v1"))


def test_samples_never_seen_are_missing():
    metric = updated(LocalizationMetrics(TRUTH, "lvs"), [3, 4], 2)

    assert metric.compute().ids == ("clip3", "clip4")
    assert len(metric.compute().missing) == COUNT - 2


def test_reset_forgets_what_was_seen():
    metric = updated(LocalizationMetrics(TRUTH, "lvs"), [3, 4], 2)
    metric.reset()
    updated(metric, [5], 1)

    assert metric.compute().ids == ("clip5",)


def test_thresholds_of_the_main_run_score_the_swapped_one():
    given = tuple(0.05 * k for k in (2, 4, 6, 8, 10))
    metric = LocalizationMetrics(TRUTH, "bench-v1", thresholds=given)

    scores = updated(metric, list(range(COUNT)), 16).compute()

    assert_equal_scores(scores, score_maps(IDS, MAPS, TRUTH, "bench-v1", thresholds=given))


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


def test_two_processes_score_like_one(tmp_path: Path):
    rows = {
        "padded": ([*range(0, COUNT, 2)], [*range(1, COUNT, 2), 0]),  # row 0 repeated as padding
        "one idle": ([*range(COUNT)], []),
    }
    protocols = ["lvs", "bench-v1"]
    (tmp_path / "case.pkl").write_bytes(
        pickle.dumps({"truth": TRUTH, "maps": MAPS, "rows": rows, "protocols": protocols})
    )

    workers = [
        subprocess.Popen([sys.executable, str(WORKER), str(rank), str(tmp_path)])
        for rank in range(2)
    ]
    try:
        assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()

    for rank in range(2):
        results = pickle.loads((tmp_path / f"scores{rank}.pkl").read_bytes())
        for (_, protocol), scores in results.items():
            assert_equal_scores(scores, score_maps(IDS, MAPS, TRUTH, protocol))
