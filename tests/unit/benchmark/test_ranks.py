from pathlib import Path

import pytest
import pytorch_lightning as pl
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

from benchmark.config import compose
from benchmark.ranks import launcher
from benchmark.run_folder import run_folder
from benchmark.stages import StageRunner
from datamodules.clip import Inputs
from datamodules.synthetic import Synthetic
from metrics.errors import BenchError


def test_without_torchrun_or_slurm_nothing_started_the_processes(monkeypatch: pytest.MonkeyPatch):
    for name in ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)

    assert launcher() is None


def test_under_slurm_no_signal_saves_the_middle_of_an_epoch(monkeypatch: pytest.MonkeyPatch):
    told = {"NTASKS": "1", "NTASKS_PER_NODE": "1", "NNODES": "1", "PROCID": "0", "LOCALID": "0",
            "NODEID": "0", "JOB_ID": "7", "JOB_NAME": "avloc", "NODELIST": "here"}  # fmt: skip
    for name, value in told.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    config = compose("lvs_vanilla", "synthetic", overrides=["trainer.accelerator=cpu"])
    runner = StageRunner(config, Synthetic(config.data, Inputs(), seed=0), lists={})

    environment = runner.tester(pl.Callback())._accelerator_connector.cluster_environment

    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue


def test_a_new_folder_is_refused_where_nodes_could_not_tell_it_from_an_older_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("NODE_RANK", "0")
    words = ["trainer.num_nodes=2", f"logging.runs={tmp_path}"]
    config = compose("lvs_vanilla", "synthetic", overrides=words)

    with pytest.raises(BenchError, match=r"--fresh: nodes .* start all processes by torchrun"):
        run_folder(config, "0" * 64, fresh=True)

    assert not [*tmp_path.iterdir()]
