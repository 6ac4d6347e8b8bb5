"""The plan and the comparison of the script that kills runs; the runs themselves are CI's."""

import json
import os
import time
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "faults.py"


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    spec = spec_from_file_location("faults", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_fifty_kills_meet_every_kind_of_moment_as_often(faults: ModuleType) -> None:
    kinds = [moment.name for moment in faults.MOMENTS]
    plan = [[moment.name for moment in run] for run in faults.planned(50)]

    counted = Counter(name for run in plan for name in run)
    assert counted.total() == 50
    assert set(counted) == set(kinds)
    assert max(counted.values()) - min(counted.values()) <= 1
    assert all(run == sorted(run, key=kinds.index) for run in plan)


def test_five_kills_are_spread_over_one_run(faults: ModuleType) -> None:
    (run,) = faults.planned(5)

    assert len({moment.name for moment in run}) == 5
    assert run[0].name == "first training"
    assert run[-1].name == "scores"


def test_results_that_are_missing_or_other_are_named(faults: ModuleType, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        for name in faults.RESULTS:
            (folder / name).write_bytes(b"same")
    equal = faults.differing(one, other)
    (other / "scores.csv").write_bytes(b"other")
    (other / "predictions.npz").unlink()

    assert equal == []
    assert faults.differing(one, other) == ["scores.csv", "predictions.npz"]


def test_a_delay_stays_within_what_a_moment_lasted_undisturbed(
    faults: ModuleType, tmp_path: Path
) -> None:
    folder, stage = tmp_path / "1-hardpos-synthetic-0a", tmp_path / "stages" / "lvs_vanilla-0b"
    for each in (folder, stage):
        each.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps({"seconds": {"test": 0.5}}))
    (stage / "done.json").write_text(json.dumps({"seconds": 10.0}))
    lengths = {
        moment.name: faults.length(folder, moment)
        for moment in faults.MOMENTS
        if moment.name in ("first training", "test", "scores")
    }

    assert lengths == pytest.approx({"first training": 6.0, "test": 0.3, "scores": 0.0})


def test_what_was_left_by_a_process_before_counts_as_old(
    faults: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "stages" / "mined-0a" / ".last.ckpt.k3j2.part"
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (1000, 1000))
    (tmp_path / "stages" / "file").touch()

    found = list(faults._changes(tmp_path, "stages/*/.last.ckpt.*"))

    assert found == [1000.0]
    assert found[0] < time.time()
    assert [] == list(faults._changes(tmp_path, "stages/*/.record.json.*"))
    assert [] == list(faults._changes(tmp_path, "nothing/*"))
