from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.global_norm import ZeroMean
from methods.vggish import VGGish
from metrics.errors import BenchError

# Places and filters of the convolutions in torchvggish/vggish.py at 1bedc9d of
# https://github.com/harritaylor/torchvggish; a pooling follows 0, 3, 8 and 13
CONVOLUTIONS = {0: 64, 3: 128, 6: 256, 8: 256, 11: 512, 13: 512}
POOLED = (0, 3, 8, 13)
DENSE = {0: (12288, 4096), 2: (4096, 4096), 4: (4096, 128)}


def matrix(draws: torch.Generator, inputs: int, outputs: int) -> Tensor:
    """Distinct rows that overlap in memory, so that the file of 72 million weights is small."""
    line = torch.randn(inputs + outputs - 1, generator=draws) * (2 / inputs) ** 0.5
    return line.as_strided((outputs, inputs), (1, 1))


def release() -> dict[str, Tensor]:
    """A state dict by the released names."""
    draws = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}
    channels = 1
    for place, filters in CONVOLUTIONS.items():
        kernel = torch.randn(filters, channels, 3, 3, generator=draws)
        state[f"features.{place}.weight"] = kernel * (2 / (9 * channels)) ** 0.5
        state[f"features.{place}.bias"] = torch.randn(filters, generator=draws) * 0.1
        channels = filters
    for place, (inputs, outputs) in DENSE.items():
        state[f"embeddings.{place}.weight"] = matrix(draws, inputs, outputs)
        state[f"embeddings.{place}.bias"] = torch.randn(outputs, generator=draws) * 0.1
    return state


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return release()


@pytest.fixture(scope="module")
def patch() -> Tensor:
    return torch.randn(1, 1, 96, 64, generator=torch.Generator().manual_seed(1))


def saved(state: Mapping[str, Tensor], folder: Path) -> str:
    torch.save(dict(state), folder / "vggish.pth")
    return str(folder / "vggish.pth")


def by_hand(state: Mapping[str, Tensor], patch: Tensor) -> Tensor:
    """The network of the file; the first dense layer adds up cell by cell: time, mel, channel."""
    for place in CONVOLUTIONS:
        kernel, bias = state[f"features.{place}.weight"], state[f"features.{place}.bias"]
        patch = F.conv2d(patch, kernel, bias, padding=1).clamp(min=0)
        if place in POOLED:
            patch = F.max_pool2d(patch, 2)
    (cells,) = patch  # (512, 6, 4)
    hidden = state["embeddings.0.bias"].clone()
    for time in range(6):
        for mel in range(4):
            first = (time * 4 + mel) * 512
            hidden += state["embeddings.0.weight"][:, first : first + 512] @ cells[:, time, mel]
    hidden = hidden.clamp(min=0)
    hidden = (state["embeddings.2.weight"] @ hidden + state["embeddings.2.bias"]).clamp(min=0)
    return (state["embeddings.4.weight"] @ hidden + state["embeddings.4.bias"]).clamp(min=0)


@pytest.mark.parametrize("dense", ["embeddings", "fc"])
def test_released_weights_give_what_they_give_by_hand(
    dense: str, state: dict[str, Tensor], patch: Tensor, tmp_path: Path
):
    named = {name.replace("embeddings", dense): tensor for name, tensor in state.items()}
    components = {"pproc.pca_matrix": torch.eye(128), "pproc.pca_means": torch.zeros(128, 1)}
    net = VGGish(pretrained=saved(named | components, tmp_path))

    with torch.no_grad():
        expected, (found,) = by_hand(state, patch), net(patch)

    assert found.shape == (128,)
    assert 0 < (found > 0).sum() < 128
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.max().item())


def test_without_weights_it_is_the_same_network_without_zero_means():
    net = VGGish()

    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert shapes == {name: tuple(tensor.shape) for name, tensor in release().items()}
    assert not any(isinstance(module, ZeroMean) for module in net.modules())


def test_without_weights_it_tells_patches_apart_and_learns_down_to_its_first_layer():
    torch.manual_seed(0)
    net = VGGish()
    patches = torch.randn(2, 1, 96, 64, generator=torch.Generator().manual_seed(2))

    embeddings = net(patches)
    embeddings.sum().backward()

    assert (embeddings > 0).float().mean() > 0.2
    assert (embeddings[0] - embeddings[1]).abs().max() > 0.05
    assert 1e-6 < net.features[0].weight.grad.abs().max() < 1e6


def test_weights_of_another_network_are_refused_in_words(tmp_path: Path):
    path = saved(nn.Linear(2, 2).state_dict(), tmp_path)

    with pytest.raises(BenchError) as refusal:
        VGGish(pretrained=path, setting="method.pretrained_audio")

    assert str(refusal.value) == (
        f"method.pretrained_audio={path!r} is no file of VGGish weights (it lacks 18 of 18 "
        "tensors, the first is features.0.weight, 2 in it are of another network, the first is "
        "weight); give the path of the state dict that torchvggish released (features.N and "
        "embeddings.N), or method.pretrained_audio=null to train from random weights"
    )


def test_the_file_of_principal_components_is_not_the_network(tmp_path: Path):
    components = {"pca_eigen_vectors": torch.eye(128), "pca_means": torch.zeros(128)}

    with pytest.raises(BenchError, match=r"is no file of VGGish weights \(it lacks 18 of 18"):
        VGGish(pretrained=saved(components, tmp_path))
