"""Written records and run folders that reports are made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from omegaconf import OmegaConf

from benchmark.predictions import write_predictions
from benchmark.records import (
    Record,
    SplitIdentity,
    figures_of,
    read_record,
    write_record,
    write_scores,
)
from benchmark.report.site import Options, write_report
from datamodules.clip import Inputs
from datamodules.synthetic import Synthetic
from datamodules.synthetic_settings import SyntheticConfig
from metrics.floors import floor_scores
from metrics.predictions import Predictions
from metrics.scoring import score

HISTORY = Path(__file__).parents[3] / "records_v1"
CLIPS = 60
SETTINGS = {"train_clips": 2, "val_clips": 2, "test_clips": CLIPS, "image_size": 32}
WriteResults = Callable[..., Path]


@pytest.fixture(scope="session")
def record() -> Record:
    return read_record(HISTORY / "complete.json")


@pytest.fixture(scope="session")
def partial() -> Record:
    return read_record(HISTORY / "partial_floor.json")


@pytest.fixture
def write_results(tmp_path: Path) -> WriteResults:
    """``write_results(record, ...)``: a folder of accepted records, each with scores of 48 clips.

    Clip k of every run has a consensus IoU of k / 48.
    """

    def write(*records: Record) -> Path:
        folder = tmp_path / "results"
        folder.mkdir(exist_ok=True)
        ids = [f"test-{place:06d}" for place in range(48)]
        ciou = np.arange(48) / 48
        for each in records:
            columns = {"ciou": ciou, "hit@0.5": (ciou >= 0.5).astype(float)}
            digest = write_scores(folder / f"{each.id}.csv", ids, columns)
            written = write_record(folder, replace(each, scores_sha256=digest))
            written.rename(folder / f"{each.id}.json")
        return folder

    return write


@pytest.fixture(scope="session")
def runs(record: Record, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two run folders on 60 synthetic clips: maps around the source, and maps of noise."""
    top = tmp_path_factory.mktemp("made")
    config = SyntheticConfig(root=str(top / "clips"), **SETTINGS)  # type: ignore[arg-type]
    data = Synthetic(config, Inputs(image_size=32), seed=0)
    rng = np.random.default_rng([0, 1])
    noise = rng.random((CLIPS, 7, 7)).astype(np.float32)
    near = np.stack([_around(sample.boxes[0]) for sample in data.truth()]) + noise / 4
    for method, maps in (("hardpos", near), ("lvs", noise)):
        _write_run(top / "runs", record, method, data, maps)
    (top / "runs" / "20250301T150000Z-lvs-synthetic-unfinished").mkdir()
    (top / "runs" / "20250301T150000Z-lvs-synthetic-unfinished" / "config.yaml").touch()
    return top / "runs"


def _around(boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    """A map ``(7, 7)`` that falls off from the middle of the first box."""
    x, y = (boxes[0, :2] + boxes[0, 2:]) / 2
    places = (np.arange(7) + 0.5) / 7
    return -np.hypot(places[None] - x, places[:, None] - y).astype(np.float32)


def _write_run(
    runs: Path, record: Record, method: str, data: Synthetic, maps: NDArray[np.float32]
) -> None:
    truth, ids = data.truth(), data.report.splits["test"].ids
    scores = score(Predictions(ids, heatmap=maps), truth, "bench-v1")
    folder = runs / f"20250301T140506Z-{method}-synthetic-00000000"
    folder.mkdir(parents=True)
    tree = {"method": {"segment_seconds": 1.0}, "data": {**SETTINGS, "root": data.config.root}}
    OmegaConf.save(OmegaConf.create(tree), folder / "config.yaml")
    write_predictions(folder / "predictions.npz", ids, maps)
    digest = write_scores(folder / "scores.csv", scores.ids, scores.values)
    test = data.report.splits["test"]
    made = replace(
        record,
        id=folder.name,
        method=method,
        n=CLIPS,
        n_expected=CLIPS,
        splits={**record.splits, "test": SplitIdentity(test.name, len(test), test.sha256)},
        config={**record.config, "data": SETTINGS},
        metrics=dict(scores.metrics),
        ci95=dict(scores.ci95),
        floors={name: figures_of(floor_scores(name, truth, "bench-v1"))
                for name in ("center", "full")},
        scores_sha256=digest,
    )  # fmt: skip
    write_record(folder, made)


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Path]:
    """``site(results, runs, **options)``: a report in a new folder."""

    def made(results: Path, runs: Sequence[Path] = (), **options: object) -> Path:
        given: Mapping[str, object] = {"out": tmp_path / "site", **options}
        return write_report(Options(results=results, runs=runs, **given)).page.parent  # type: ignore[arg-type]

    return made


@pytest.fixture(scope="session")
def gallery_site(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of the two run folders, with their gallery; read it and change nothing."""
    top = tmp_path_factory.mktemp("site")
    asked = Options(top / "deep" / "report", top / "no-results", [runs], samples=4)
    return write_report(asked).page.parent
