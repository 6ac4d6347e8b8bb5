from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from methods.global_norm import ZeroMean
from methods.vgg import vgg16_map, vgg19_pool5
from metrics.errors import BenchError

# Senocak et al. 2018, supplement: size, stride, filters of convolutions; size, stride of poolings
VGG16 = [
    (3, 1, 64), (3, 1, 64), (2, 2),
    (3, 1, 128), (3, 1, 128), (2, 2),
    (3, 1, 256), (3, 1, 256), (3, 1, 256), (2, 2),
    (3, 1, 512), (3, 1, 512), (3, 1, 512), (2, 2),
    (3, 1, 512), (3, 1, 512), (3, 1, 512),
]  # fmt: skip
# Simonyan and Zisserman 2015, table 1, column E, up to its last pooling
VGG19 = [
    (3, 1, 64), (3, 1, 64), (2, 2),
    (3, 1, 128), (3, 1, 128), (2, 2),
    (3, 1, 256), (3, 1, 256), (3, 1, 256), (3, 1, 256), (2, 2),
    (3, 1, 512), (3, 1, 512), (3, 1, 512), (3, 1, 512), (2, 2),
    (3, 1, 512), (3, 1, 512), (3, 1, 512), (3, 1, 512), (2, 2),
]  # fmt: skip


def table(net: nn.Module) -> list[tuple[int, ...]]:
    """Convolutions, each followed by a ReLU, and poolings in order."""
    layers = [layer for layer in net if not isinstance(layer, ZeroMean)]
    rows: list[tuple[int, ...]] = []
    for layer, follower in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.Conv2d):
            assert isinstance(follower, nn.ReLU)
            rows.append((layer.kernel_size[0], layer.stride[0], layer.out_channels))
        elif isinstance(layer, nn.MaxPool2d):
            rows.append((layer.kernel_size, layer.stride))
    return rows


def reference(depth: int) -> nn.Sequential:
    """torchvision's convolutions with weights that keep the size of what passes them."""
    with torch.device("meta"):
        net = getattr(torchvision.models, f"vgg{depth}")(weights=None).features
    net.to_empty(device="cpu")
    draws = torch.Generator().manual_seed(depth)
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Conv2d):
                layer.weight.normal_(0, (2 / layer.weight[0].numel()) ** 0.5, generator=draws)
                layer.bias.normal_(0, 0.1, generator=draws)
    return net.eval()


@pytest.fixture(scope="module")
def vgg16() -> nn.Sequential:
    return reference(16)


@pytest.fixture
def image() -> Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


Saved = Callable[[Mapping[str, Tensor]], str]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    def path_of(state: Mapping[str, Tensor]) -> str:
        torch.save(dict(state), tmp_path / "vgg.pth")
        return str(tmp_path / "vgg.pth")

    return path_of


def prefixed(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def map_size(net: nn.Module, pixels: int) -> tuple[int, ...]:
    with torch.no_grad():
        return tuple(net.eval().to("meta")(torch.empty(1, 3, pixels, pixels, device="meta")).shape)


@pytest.mark.parametrize("stride", [8, 16])
def test_vgg16_has_the_layers_of_the_supplement(stride: int):
    rows = table(vgg16_map(stride=stride))

    without_pool4 = VGG16[:13] + VGG16[14:]
    assert rows == (VGG16 if stride == 16 else without_pool4)


def test_vgg19_has_the_layers_of_its_paper_up_to_pool5():
    assert table(vgg19_pool5()) == VGG19


def test_maps_have_the_sizes_of_the_papers():
    assert map_size(vgg16_map(), 320) == (1, 512, 20, 20)
    assert map_size(vgg16_map(stride=8), 224) == (1, 512, 28, 28)
    assert map_size(vgg19_pool5(), 224) == (1, 512, 7, 7)


def author_release(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The 34 tensors of the 2018 paper's release: 26 of VGG-16, 8 of dense layers."""
    dense = {"sound_fc1": (1000, 1000), "sound_fc2": (512, 1000),
             "vision_fc1": (512, 512), "vision_fc2": (1000, 512)}  # fmt: skip
    heads = {f"{name}.weight": torch.zeros(size) for name, size in dense.items()}
    heads |= {f"{name}.bias": torch.zeros(size[0]) for name, size in dense.items()}
    return prefixed(state, "vision_embedding_model.feature_extraction.") | heads


FORMS: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {
    "torchvision": lambda state: (
        prefixed(state, "features.") | {"classifier.0.bias": torch.ones(9)}
    ),
    "features alone": dict,
    "authors": author_release,
    "authors, in parallel": lambda state: prefixed(author_release(state), "module."),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_vgg16_gives_what_the_network_of_the_file_gives(
    form: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
    vgg16: nn.Sequential, image: Tensor, saved: Saved,
):  # fmt: skip
    net = vgg16_map(pretrained=saved(form(vgg16.state_dict()))).eval()

    with torch.no_grad():
        expected, found = vgg16[:30](image), net(image)

    assert (found > 0).any()
    assert found.equal(expected)


def test_vgg19_gives_what_the_network_of_the_file_gives(image: Tensor, saved: Saved):
    net = reference(19)

    found = vgg19_pool5(pretrained=saved(prefixed(net.state_dict(), "features.")))(image)

    assert found.shape == (1, 512, 2, 2)
    assert found.equal(net(image))


def test_vgg16_at_stride_8_dilates_conv5_by_2(vgg16: nn.Sequential, image: Tensor, saved: Saved):
    net = vgg16_map(pretrained=saved(vgg16.state_dict()), stride=8)
    expected = vgg16[:23](image)  # conv4_3 and its ReLU
    for place in (24, 26, 28):
        layer = vgg16[place]
        expected = F.conv2d(expected, layer.weight, layer.bias, padding=2, dilation=2).relu()

    assert expected.shape == (1, 512, 8, 8)
    torch.testing.assert_close(net(image), expected)


def test_a_timm_name_stands_for_its_weights(
    monkeypatch: pytest.MonkeyPatch, vgg16: nn.Sequential, image: Tensor
):
    with torch.device("meta"):
        model = timm.create_model("vgg16")
    model.to_empty(device="cpu").features.load_state_dict(vgg16.state_dict())
    asked: list[tuple[str, bool]] = []

    def create_model(name: str, *, pretrained: bool) -> nn.Module:  # what the hub would send
        asked.append((name, pretrained))
        return model

    monkeypatch.setattr(timm, "create_model", create_model)
    net = vgg16_map(pretrained="vgg16.tv_in1k")

    assert [("vgg16.tv_in1k", True)] == asked
    assert net(image).equal(vgg16[:30](image))


def test_weights_of_another_depth_are_refused_in_words(vgg16: nn.Sequential, saved: Saved):
    path = saved(prefixed(vgg16.state_dict(), "features."))

    # convolutions of vgg16: ..., 14, 17, 19, 21, 24, 26, 28
    # of vgg19: ..., 14, 16, 19, 21, 23, 25, 28, 30, 32, 34; layer 19 has 512 inputs and 256
    with pytest.raises(BenchError) as refusal:
        vgg19_pool5(pretrained=path, setting="method.pretrained_vision")

    assert str(refusal.value) == (
        f"method.pretrained_vision={path!r} is no file of VGG-19 weights (it lacks 12 of 32 "
        "tensors, the first is features.16.weight, 6 in it are of another network, the first is "
        "features.17.weight, 1 are of another shape, the first is features.19.weight "
        "(512, 512, 3, 3), not (512, 256, 3, 3)); give the path of a torchvision or timm vgg19 "
        "state dict, or method.pretrained_vision=null to train from random weights"
    )


def test_the_authors_release_is_not_vgg19(vgg16: nn.Sequential, saved: Saved):
    with pytest.raises(BenchError, match=r"no file of VGG-19 weights \(it lacks 32 of 32"):
        vgg19_pool5(pretrained=saved(author_release(vgg16.state_dict())))


@pytest.mark.parametrize("stride", [8, 16])
def test_vgg16_without_weights_ends_in_zero_means(stride: int):
    assert isinstance(vgg16_map(stride=stride)[-1], ZeroMean)


def test_vgg16_without_weights_tells_frames_apart_and_learns_down_to_its_first_layer():
    torch.manual_seed(0)
    net = vgg16_map()
    images = torch.randn(2, 3, 32, 32)

    visual = net(images)
    visual[0, 0, 0, 0].backward()

    assert (visual[0] - visual[1]).std() > 0.1
    assert 1e-6 < net[0].weight.grad.abs().max() < 1e6


def test_vgg19_without_weights_keeps_the_size_of_what_passes_it():
    torch.manual_seed(0)

    with torch.no_grad():
        visual = vgg19_pool5()(torch.randn(1, 3, 64, 64))

    assert 0.05 < visual.square().mean().sqrt() < 20


def test_another_stride_is_refused():
    with pytest.raises(ValueError, match="stride must be 8 or 16, got 32"):
        vgg16_map(stride=32)
