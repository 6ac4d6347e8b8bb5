"""One process of the two that ``test_localization`` starts: python gloo_worker.py RANK FOLDER."""

import pickle
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from metrics.localization import LocalizationMetrics


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    case = pickle.loads((folder / "case.pkl").read_bytes())
    results = {}
    for name, rows_of_rank in case["rows"].items():
        for protocol in case["protocols"]:
            metric = LocalizationMetrics(case["truth"], protocol)
            rows = rows_of_rank[rank]
            for start in range(0, len(rows), 4):
                index = torch.tensor(rows[start : start + 4])
                metric.update(index, torch.from_numpy(case["maps"])[index])
            results[name, protocol] = metric.compute()
    (folder / f"scores{rank}.pkl").write_bytes(pickle.dumps(results))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
