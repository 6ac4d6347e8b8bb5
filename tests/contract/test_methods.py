"""What holds for every registered method and data set, whoever wrote it."""

from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest
import torch

from benchmark.config import compose
from benchmark.registry import DATA_REGISTRY, METHOD_REGISTRY, Registry
from datamodules.base import ClipData, DataConfig
from datamodules.clip import Clip, Inputs, Localization
from methods.base import Method, MethodConfig
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
BATCH = 3


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


@pytest.mark.parametrize("name", METHODS)
def test_a_card_is_complete(name: str) -> None:
    card = METHODS[name].card

    assert all([card.paper, card.supervision, card.pretraining])
    assert card.map_range is None or card.map_range[0] < card.map_range[1]


@pytest.mark.parametrize("name", RULES)
def test_a_floor_that_sees_nothing_is_a_rule_of_the_metrics(name: str) -> None:
    method = METHODS[name]
    assert issubclass(method, Floor)
    boxes = torch.tensor([[0.25, 0.25, 0.75, 0.75]]).double().numpy()
    truth = [Truth("a", (boxes,), objects=boxes)]

    assert (method.rule, floor_scores(method.rule, truth, "lvs").n) == (name, 1)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is(name: str) -> None:
    assert (METHODS[name].__doc__ or "").strip()


@pytest.mark.parametrize("name", METHODS)
def test_method_settings_are_a_dataclass_of_defaults(name: str) -> None:
    config = METHODS[name].Config

    assert is_dataclass(config)
    assert issubclass(config, MethodConfig)
    assert [] == without_default(config)


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


@pytest.mark.parametrize("data", DATASETS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_composes_with_every_data_set(method: str, data: str) -> None:
    for preset in (None, *METHODS[method].presets):
        config = compose(method, data, preset=preset)

        assert (config.method_name, config.data_name) == (method, data)


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_is_written_for_registered_data_sets(method: str) -> None:
    assert METHODS[method].recipe.keys() <= {"*", *DATASETS}


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_method_has_a_preset_for_two_cpu_cores(name: str) -> None:
    assert "small" in METHODS[name].presets


def made(name: str, seed: int = 0) -> Method:
    config = compose(name, "synthetic", preset="small", seed=seed)
    method = METHODS[name](config.method, config.optim, seed=seed)
    return method.eval()


def clips(inputs: Inputs) -> Clip:
    """Noise, as the datamodule of that method would deliver it."""
    draws = torch.Generator().manual_seed(0)
    segments, size = inputs.num_segments, inputs.image_size
    frames = torch.randint(0, 256, (BATCH, segments, 3, size, size), generator=draws)
    sound = torch.rand(BATCH, segments, inputs.segment_samples, generator=draws) * 2 - 1
    middle = torch.full((BATCH,), segments // 2)
    proposals = None
    if inputs.proposals:
        corners = torch.rand(BATCH, segments, inputs.proposals, 2, 2, generator=draws)
        proposals = torch.cat([corners.amin(-2), corners.amax(-2)], -1)
    return Clip(torch.arange(BATCH), frames.to(torch.uint8), sound, middle, proposals)


def located(method: Method, clip: Clip) -> Localization:
    with torch.no_grad():
        return method.localize(clip)


@pytest.mark.parametrize("name", TRAINED)
def test_an_answer_has_one_finite_map_and_confidence_per_clip(name: str) -> None:
    method = made(name)

    answer = located(method, clips(method.inputs))

    assert (answer.heatmap.ndim, len(answer.heatmap), answer.confidence.shape) == (
        3, BATCH, (BATCH,),
    )  # fmt: skip
    assert answer.heatmap.is_floating_point()
    assert answer.confidence.is_floating_point()
    assert answer.heatmap.isfinite().all()
    assert answer.confidence.isfinite().all()


@pytest.mark.parametrize("name", TRAINED)
def test_a_map_keeps_to_the_range_of_the_card(name: str) -> None:
    method = made(name)
    low, high = method.card.map_range or (-torch.inf, torch.inf)

    heatmap = located(method, clips(method.inputs)).heatmap

    assert low - 1e-5 <= heatmap.min() <= heatmap.max() <= high + 1e-5


@pytest.mark.parametrize("name", TRAINED)
def test_the_answer_to_silence_is_finite(name: str) -> None:
    method = made(name)
    clip = clips(method.inputs)

    heatmap = located(method, clip._replace(waveform=torch.zeros_like(clip.waveform))).heatmap

    assert heatmap.isfinite().all()


@pytest.mark.parametrize("name", TRAINED)
def test_an_answer_does_not_depend_on_the_other_clips_of_the_batch(name: str) -> None:
    method = made(name)
    clip = clips(method.inputs)
    alone = Clip(*(None if part is None else part[1:2] for part in clip))

    torch.testing.assert_close(
        located(method, clip).heatmap[1:2], located(method, alone).heatmap, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("name", TRAINED)
def test_weights_are_a_function_of_the_seed(name: str) -> None:
    def weights(seed: int) -> torch.Tensor:
        return torch.cat([p.flatten() for p in made(name, seed).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("name", TRAINED)
def test_answering_changes_nothing_in_the_method(name: str) -> None:
    method = made(name)
    before = {key: value.clone() for key, value in method.state_dict().items()}

    located(method, clips(method.inputs))

    assert all(torch.equal(before[key], value) for key, value in method.state_dict().items())


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
        "projected_streams", "released", "released_streams", "response", "soundnet",
        "streams", "two_stream", "vgg", "vggish", "weights",
    }  # fmt: skip

    assert {*TRAINED, *RELEASED, *SEEING} | shared == {path.stem for path in folder.glob("*.py")}
