"""Every method takes a training step and answers on the miniature of every data set."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmark.check import UntrainedStages
from benchmark.config import RunConfig, compose
from benchmark.registry import DATA_REGISTRY, DISTRIBUTION, METHOD_REGISTRY
from datamodules.base import ClipData
from datamodules.sample_data import write_sample
from methods.base import Method
from methods.released import PRETRAINING

METHOD_CLASS: type = Method
DATA_CLASS: type = ClipData
METHODS: dict[str, type[Method]] = {
    name: METHOD_REGISTRY.load(name, METHOD_CLASS)
    for name, entry in METHOD_REGISTRY.names().items()
    if entry.distribution == DISTRIBUTION
}
TRAINED = [name for name, method in METHODS.items()
           if not method.card.floor and method.card.pretraining != PRETRAINING]  # fmt: skip
DATASETS = [
    name for name, entry in DATA_REGISTRY.names().items() if entry.distribution == DISTRIBUTION
]
SMALL = ("method.image_size=32", "data.batch_size=4", "data.num_workers=0",
         "data.proposals=grid")  # fmt: skip  # Selective Search takes minutes on whole frames
TINY_SYNTHETIC = ("data.train_clips=24", "data.val_clips=4", "data.test_clips=6")

Settings = Callable[[str], tuple[str, ...]]


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """``small_data(name)``: settings that read a miniature of that data set, written once."""
    roots: dict[str, Path] = {}

    def settings(name: str) -> tuple[str, ...]:
        if name == "synthetic":
            return TINY_SYNTHETIC
        if name not in roots:
            roots[name] = tmp_path_factory.mktemp("miniatures") / name
            write_sample(name, roots[name], clips=24)
        return (f"data.root={roots[name]}",)

    return settings


def built(config: RunConfig) -> tuple[Method, ClipData]:
    method = METHODS[config.method_name](config.method, config.optim, seed=0)
    data_class = DATA_REGISTRY.load(config.data_name, DATA_CLASS)
    data = data_class(config.data, method.inputs, seed=0)
    data.setup("fit")
    method.check(data)
    return method, data


@pytest.mark.parametrize("data_name", DATASETS)
@pytest.mark.parametrize("method_name", TRAINED)
def test_a_step_and_the_answers_are_finite(
    small_data: Settings, tmp_path: Path, method_name: str, data_name: str
) -> None:
    settings = (*SMALL, *small_data(data_name))
    method, data = built(compose(method_name, data_name, preset="small", overrides=settings))
    method.prepare(UntrainedStages(tmp_path), data)
    data.draw = method.draw
    before = torch.cat([weights.detach().flatten() for weights in method.parameters()])

    method.train()
    loss = method.loss(next(iter(data.train_dataloader())))
    loss.backward()
    torch.optim.SGD(method.parameters(), lr=0.1).step()

    after = torch.cat([weights.detach().flatten() for weights in method.parameters()])
    assert loss.isfinite()
    assert after.isfinite().all()
    assert not after.equal(before)
    method.eval()
    for loader in data.test_dataloader():
        batch = next(iter(loader))
        with torch.no_grad():
            answer = method.localize(batch.clip)
        assert len(answer.heatmap) == len(batch.clip.index)
        assert answer.heatmap.isfinite().all()


@pytest.mark.parametrize("name", DATASETS)
def test_training_and_test_share_no_video(small_data: Settings, name: str) -> None:
    _, data = built(compose("lvs", name, preset="small", overrides=(*SMALL, *small_data(name))))

    splits = data.report.splits

    assert set(splits["train"].videos).isdisjoint(splits["test"].videos)
    assert {"train", "test"} <= data.report.lists.keys()


@pytest.mark.parametrize("name", DATASETS)
def test_no_miniature_is_taken_for_the_data_set(small_data: Settings, name: str) -> None:
    _, data = built(compose("lvs", name, preset="small", overrides=(*SMALL, *small_data(name))))

    assert data.report.is_miniature == (name != "synthetic")
