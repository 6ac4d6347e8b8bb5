"""Three processes that score the cases of ``test_localization``: python gloo_worker.py FOLDER.

The libraries are imported once and the process forks before it computes anything, because their
import takes longer than all cases together.
"""

import os
import pickle
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from metrics.localization import LocalizationMetrics
from metrics.predictions import Predictions
from metrics.protocols import PROTOCOLS
from metrics.scoring import Scores
from metrics.truth import Truth

WORLDS = (1, 2, 3)


class Answers(NamedTuple):
    """A test list, answers to all of it in its order, and how they are to be scored."""

    truth: tuple[Truth, ...]
    predictions: Predictions
    protocol: str
    map_size: int


def scores_of(answers: Answers, rows: list[int], batch: int) -> Scores:
    """Scores of this rank's rows, in that order, with those of all other ranks."""
    given = answers.predictions
    protocol = replace(PROTOCOLS[answers.protocol], map_size=answers.map_size)
    metric = LocalizationMetrics(answers.truth, protocol, map_range=given.map_range)
    arrays = {
        name: torch.from_numpy(value)
        for name, value in given._asdict().items()
        if isinstance(value, np.ndarray)
    }
    for start in range(0, len(rows), batch):
        index = torch.tensor(rows[start : start + batch])
        metric.update(index, **{name: values[index] for name, values in arrays.items()})
    return metric.compute()


def forked_rank(others: range) -> tuple[int, list[int]]:
    """Rank of this process, and the ids of the processes that it started."""
    started = []
    for rank in others:
        process = os.fork()
        if process == 0:
            return rank, []
        started.append(process)
    return 0, started


def main(folder: Path) -> int:
    """Exit code; ``scores<rank>.pkl`` is written on every rank."""
    work: dict[str, Any] = pickle.loads((folder / "work.pkl").read_bytes())
    rank, started = forked_rank(range(1, max(WORLDS)))
    torch.set_num_threads(1)
    results = {}
    for world in WORLDS:
        if rank >= world:
            continue
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder}/store{world}",
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=60),
        )
        for key, case in work["cases"].items():
            if key[0] == world:
                answers = Answers(*work["answers"][case["answers"]])
                results[key] = scores_of(answers, case["rows"][rank], case["batch"])
        dist.destroy_process_group()
    (folder / f"scores{rank}.pkl").write_bytes(pickle.dumps(results))
    return int(any(os.waitpid(process, 0)[1] for process in started))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
