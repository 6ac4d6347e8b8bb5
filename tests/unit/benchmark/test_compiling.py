import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark.compiling import compiled, cpp_compiler, require_compiler
from benchmark.config import compose
from benchmark.speed.step import method_of
from benchmark.stages import StageRunner, lists_of
from datamodules.synthetic import Synthetic
from methods.lvs import Lvs
from metrics.errors import BenchError

needs_compiler = pytest.mark.skipif(
    shutil.which(cpp_compiler()) is None, reason="no C++ compiler here"
)


class Doubling(nn.Module):
    """A network whose layers are few, so that compiling it takes little."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.traced: list[bool] = []

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        self.traced.append(torch.compiler.is_compiling())
        return 2 * self.layer(values).relu()


@needs_compiler
def test_a_compiled_network_answers_alike_and_is_itself_afterwards() -> None:
    network, values = Doubling(), torch.randn(4, 3)
    names, expected = list(network.state_dict()), network(values)

    with compiled([network]):
        found = network(values)
        assert list(network.state_dict()) == names

    torch.testing.assert_close(found, expected)
    assert "forward" not in vars(network)
    assert network(values).equal(expected)


def test_a_network_is_itself_again_after_an_error() -> None:
    network = nn.Linear(2, 2)

    with pytest.raises(ValueError, match="stop"), compiled([network]):
        raise ValueError("stop")

    assert "forward" not in vars(network)


def test_what_is_compiled_are_both_networks_of_a_method() -> None:
    method = method_of("attention", small=True)[0]

    assert [type(each).__name__ for each in method.networks] == ["Sequential", "Sequential"]
    assert all(next(each.parameters()).requires_grad for each in method.networks)


def test_without_a_compiler_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -std=c++17")

    with pytest.raises(
        BenchError,
        match=r"trainer\.compile=true needs a C\+\+ compiler, and there is no no-such-compiler "
        r"here; install one, name yours by the variable CXX, or set trainer\.compile=false",
    ):
        require_compiler("lvs", [nn.Linear(1, 1)])


def test_a_method_without_streams_has_nothing_to_compile() -> None:
    with pytest.raises(BenchError, match=r"and center with these settings has none; set trainer"):
        require_compiler("center", ())


def test_a_compiled_training_ends_near_an_uncompiled_one_and_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced, compile_network = [], torch.compile

    def quickly(forward: object, **_: object) -> object:
        traced.append(forward)
        return compile_network(forward, backend="eager")  # type: ignore[call-overload]

    monkeypatch.setattr(torch, "compile", quickly)

    def train(folder: str, *, compiles: bool) -> dict[str, torch.Tensor]:
        words = [f"logging.runs={tmp_path}", "data.train_clips=8", "data.test_clips=4",
                 "data.batch_size=4", "method.image_size=32", "trainer.accelerator=cpu",
                 "optim.schedule=constant", "trainer.max_epochs=1",
                 f"trainer.compile={str(compiles).lower()}"]  # fmt: skip
        config = compose("lvs", "synthetic", overrides=words)
        method = Lvs(config.method, config.optim, seed=0)  # type: ignore[arg-type]
        data = Synthetic(config.data, method.inputs, seed=0)
        data.setup("fit")
        StageRunner(config, data, lists_of(data)).train(method, tmp_path / folder, title=folder)
        return method.state_dict()

    plain, compiled_once = train("plain", compiles=False), train("compiled", compiles=True)
    (tmp_path / "compiled" / "done.json").unlink()
    resumed = train("compiled", compiles=True)

    assert len(traced) == 4, "two networks, twice"
    assert plain.keys() == compiled_once.keys() == resumed.keys()
    for key, weights in plain.items():
        torch.testing.assert_close(compiled_once[key], weights, rtol=1e-3, atol=5e-3)
        assert torch.equal(resumed[key], compiled_once[key])
