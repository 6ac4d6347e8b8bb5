import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods.weights import Published, draw_weights, load_weights
from metrics.errors import BenchError

TINY = Published(
    "Tiny", "the path of a tiny state dict", {"": "net.", "old.": "net.", "head.": None}
)


def tiny() -> nn.Module:
    """3 filters of 5 samples, with batch statistics."""
    return nn.ModuleDict({"net": nn.Sequential(nn.Conv2d(2, 3, (5, 1)), nn.BatchNorm2d(3))})


def tiny_state() -> dict[str, Tensor]:
    """Tensors of ``tiny`` under bare names, with other values than any initialisation."""
    draws = torch.Generator().manual_seed(0)
    names = ("0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    state = {name: torch.randn(3, generator=draws) for name in names}
    state["0.weight"] = torch.randn(3, 2, 5, 1, generator=draws)
    return state


def saved(content: object, folder: Path) -> str:
    path = folder / "weights.pth"
    torch.save(content, path)
    return str(path)


def prefixed(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


CONTENTS = {
    "bare": tiny_state(),
    "renamed": prefixed(tiny_state(), "old."),
    "with a head": {**prefixed(tiny_state(), "old."), "head.weight": torch.zeros(7)},
    "counted": {**tiny_state(), "1.num_batches_tracked": torch.tensor(100.0)},
    "parallel": prefixed(tiny_state(), "module."),
    "state_dict": {"state_dict": tiny_state(), "epoch": 3},
    "model": {"model": tiny_state(), "optimizer": {"lr": 1.0}},
    "model_state_dict": {"model_state_dict": prefixed(tiny_state(), "module.old.")},
    "1-D kernels": {**tiny_state(), "0.weight": tiny_state()["0.weight"].squeeze(-1)},
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_weights_are_read_however_they_are_wrapped(content: Any, tmp_path: Path):
    net = tiny()

    load_weights(net, saved(content, tmp_path), TINY, setting="method.pretrained")

    found = net.state_dict()
    assert all(found[f"net.{name}"].equal(tensor) for name, tensor in tiny_state().items())


def without(state: Mapping[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name not in names}


WRONG: dict[str, tuple[Any, str]] = {
    "lacking": (
        without(tiny_state(), "0.bias", "1.bias"),
        r"it lacks 2 of 6 tensors, the first is net\.0\.bias\)",
    ),
    "with more": (
        {**tiny_state(), "old.2.weight": torch.zeros(3)},
        r"1 in it are of another network, the first is old\.2\.weight\)",
    ),
    "of another shape": (
        {**tiny_state(), "0.weight": torch.zeros(3, 2, 4, 1)},
        r"1 are of another shape, the first is net\.0\.weight \(3, 2, 4, 1\), not \(3, 2, 5, 1\)\)",
    ),
    "of another network": (
        {"fc.weight": torch.zeros(2, 2)},
        r"it lacks 6 of 6 tensors, the first is net\.0\.weight, 1 in it are of another network, "
        r"the first is fc\.weight\)",
    ),
    "empty": ({}, r"it holds dict, not a state dict"),
    "a list": ([torch.zeros(3)], r"it holds list, not a state dict"),
    "figures": ({"epoch": 3}, r"it holds int under 'epoch', not a tensor"),
    "a tensor": (torch.zeros(3), r"it holds Tensor, not a state dict"),
}


@pytest.mark.parametrize(("content", "words"), WRONG.values(), ids=WRONG)
def test_a_file_that_does_not_fit_is_refused_in_one_line(content: Any, words: str, tmp_path: Path):
    with pytest.raises(BenchError, match=words) as refusal:
        load_weights(tiny(), saved(content, tmp_path), TINY, setting="method.sound_weights")

    line = str(refusal.value)
    assert "\n" not in line
    assert line.startswith(f"method.sound_weights='{tmp_path}/weights.pth' is no file of Tiny")
    assert line.endswith(
        "give the path of a tiny state dict, or method.sound_weights=null to train from random "
        "weights"
    )


class Trap:
    """What runs code of its own when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize("content", [Trap(), {"0.weight": Trap()}, nn.Linear(2, 2)])
def test_nothing_but_tensors_is_unpickled(content: object, tmp_path: Path):
    with pytest.raises(BenchError, match=r"weights \(it holds other things than tensors"):
        load_weights(tiny(), saved(content, tmp_path), TINY, setting="method.pretrained")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_file_of_something_else_is_refused_in_words(tmp_path: Path, content: bytes):
    path = tmp_path / "broken.pth"
    path.write_bytes(content)

    with pytest.raises(BenchError, match=r"broken\.pth' is no file of Tiny weights \(.+\); give"):
        load_weights(tiny(), str(path), TINY, setting="method.pretrained")


def test_a_path_without_a_file_is_refused_in_words(tmp_path: Path):
    with pytest.raises(BenchError, match=r"a\.pth' is no .* \(there is no such file\); give the"):
        load_weights(tiny(), str(tmp_path / "a.pth"), TINY, setting="method.pretrained")


def test_an_unknown_name_is_refused_as_a_file_and_as_a_timm_model():
    hub = replace(TINY, hub=True)

    with pytest.raises(BenchError, match=r"weights and no timm model that can be had here \(.+\)"):
        load_weights(tiny(), "tiny_none", hub, setting="method.pretrained")


def test_a_refused_file_leaves_the_network_as_it_was(tmp_path: Path):
    net = tiny()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    with pytest.raises(BenchError):
        load_weights(
            net,
            saved(without(tiny_state(), "1.bias"), tmp_path),
            TINY,
            setting="method.pretrained",
        )

    assert all(net.state_dict()[name].equal(tensor) for name, tensor in before.items())


def test_drawn_weights_keep_the_size_of_what_passes_a_relu():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(32, 64, 3), nn.Flatten(), nn.Linear(600, 400))

    draw_weights(net)

    # He et al. 2015, Eq. 10: variance 2 / (inputs of one output)
    assert net[0].weight.std().item() == pytest.approx(math.sqrt(2 / (32 * 9)), rel=0.02)
    assert net[2].weight.std().item() == pytest.approx(math.sqrt(2 / 600), rel=0.02)
    assert not net[0].bias.any()
    assert not net[2].bias.any()
