"""What holds for every registered method and data set, whoever wrote it."""

from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest
import torch

from benchmark.check import (
    ADVICE,
    OF_ANSWERS,
    OF_EVERY_METHOD,
    Check,
    Subject,
    learns_with_all_its_weights,
)
from benchmark.config import compose
from benchmark.registry import DATA_REGISTRY, METHOD_REGISTRY, Registry
from datamodules.base import ClipData, DataConfig
from methods.base import Method
from methods.floors import Floor
from methods.released import PRETRAINING
from metrics.errors import BenchError
from metrics.floors import floor_scores
from metrics.truth import Truth

METHOD_CLASS: type = Method
DATA_CLASS: type = ClipData
METHODS: dict[str, type[Method]] = {
    name: METHOD_REGISTRY.load(name, METHOD_CLASS) for name in METHOD_REGISTRY.names()
}
DATASETS: dict[str, type[ClipData]] = {
    name: DATA_REGISTRY.load(name, DATA_CLASS) for name in DATA_REGISTRY.names()
}
RELEASED = [name for name, method in METHODS.items() if method.card.pretraining == PRETRAINING]
TRAINED = [name for name, method in METHODS.items()
           if not method.card.floor and name not in RELEASED]  # fmt: skip
RULES = [name for name, method in METHODS.items() if issubclass(method, Floor)]
SEEING = [name for name, method in METHODS.items() if method.card.floor and name not in RULES]


@pytest.mark.parametrize("registry", [METHOD_REGISTRY, DATA_REGISTRY], ids=lambda each: each.kind)
def test_every_summary_is_one_line(registry: Registry) -> None:
    for entry in registry.names().values():
        assert entry.summary.strip()
        assert entry.summary.isprintable()


@pytest.mark.parametrize("name", [*TRAINED, *RELEASED, *SEEING])
def test_a_method_lives_in_the_module_of_its_name(name: str) -> None:
    assert METHODS[name].__module__ == f"methods.{name}"


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_lives_in_the_module_of_its_name(name: str) -> None:
    assert DATASETS[name].__module__ == f"datamodules.{name}"


@pytest.mark.parametrize("name", RULES)
def test_a_floor_that_sees_nothing_is_a_rule_of_the_metrics(name: str) -> None:
    method = METHODS[name]
    assert issubclass(method, Floor)
    boxes = torch.tensor([[0.25, 0.25, 0.75, 0.75]]).double().numpy()
    truth = [Truth("a", (boxes,), objects=boxes)]

    assert (method.rule, floor_scores(method.rule, truth, "lvs").n) == (name, 1)


@pytest.mark.parametrize("name", DATASETS)
def test_data_settings_are_a_dataclass_of_defaults(name: str) -> None:
    config = DATASETS[name].Config

    assert is_dataclass(config)
    assert issubclass(config, DataConfig)
    assert [] == without_default(config)


def without_default(config: type) -> list[str]:
    """Fields that a user would have to give."""
    return [
        item.name
        for item in fields(config)
        if item.default is MISSING and item.default_factory is MISSING
    ]


CHECKED = [(name, check) for name in METHODS for check in OF_EVERY_METHOD] + [
    (name, check)
    for name in TRAINED
    for check in (*OF_ANSWERS, *ADVICE, learns_with_all_its_weights)
]
"""All of `bench check` but whole runs, of which other tests make enough."""


@pytest.mark.parametrize(
    ("name", "check"), CHECKED, ids=lambda each: getattr(each, "__name__", each)
)
def test_a_method_keeps_the_contract(name: str, check: Check) -> None:
    assert check(Subject(name, METHODS[name])) is None


@pytest.mark.parametrize("name", TRAINED)
def test_another_seed_draws_other_weights(name: str) -> None:
    first, second = (
        torch.cat(
            [weights.flatten() for weights in Subject(name, METHODS[name]).made(seed).parameters()]
        )
        for seed in (1, 2)
    )

    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", TRAINED)
def test_an_unknown_schedule_is_refused_by_every_method(name: str) -> None:
    config = compose(name, "synthetic", overrides=["optim.schedule=cosine"])

    with pytest.raises(BenchError, match=r"optim\.schedule='cosine' is unknown"):
        METHODS[name](config.method, config.optim, seed=0)


def test_no_method_file_is_left_unregistered() -> None:
    folder = Path(__file__).parents[2] / "methods"
    shared = {
        "__init__", "base", "chunks", "floors", "frontends", "global_norm", "lstm",
        "mining", "negatives", "neighbour_files", "object_guidance", "own_frontends",
        "precision", "projected_streams", "released", "released_streams", "response", "soundnet",
        "streams", "two_stream", "vgg", "vggish", "weights",
    }  # fmt: skip

    assert {*TRAINED, *RELEASED, *SEEING} | shared == {path.stem for path in folder.glob("*.py")}
