"""VGG-16 and VGG-19 (Simonyan and Zisserman 2015) up to a map, without batch statistics."""

import torch
import torchvision
from torch import nn

from methods.global_norm import ZeroMean
from methods.weights import Published, draw_weights, load_weights

POOL4, CONV5_1, CONV5_3_RELU, POOL5 = 23, 24, 29, 30  # places in torchvision's vgg16().features


def vgg16_map(
    *, pretrained: str | None = None, setting: str = "method.pretrained", stride: int = 16
) -> nn.Sequential:
    """VGG-16 up to conv5_3 and its ReLU, ``(B, 3, H, W) -> (B, 512, H / stride, W / stride)``.

    Frames are normalised by ImageNet's mean and spread. The layers are those of Senocak et al. 2018
    (supplement), where a convolution includes its ReLU; the authors' re-implementation leaves the
    last one out (``network.py:56`` at 62c0559 of
    https://github.com/ardasnck/learning_to_localize_sound_source). Without weights the stream ends
    in ``ZeroMean``.

    Args:
        pretrained: the file of a torchvision vgg16, of its features alone or of the authors'
            model, or a timm name; None draws random weights.
        setting: what ``pretrained`` comes from, for messages.
        stride: 16, or 8: then pool4 is left out and conv5 dilated by 2 (Xuan et al. 2022, 4.1).

    Raises:
        BenchError: ``pretrained`` cannot be found, or is of another network.
    """
    if stride not in (8, 16):
        raise ValueError(f"stride must be 8 or 16, got {stride}")
    layers = list(_features(16, pretrained, setting))[:POOL5]
    if stride == 8:
        layers[POOL4] = nn.Identity()
        for layer in layers[CONV5_1:]:
            if isinstance(layer, nn.Conv2d):
                layer.padding = layer.dilation = (2, 2)
    if pretrained is None:
        layers.append(ZeroMean(512))
    return nn.Sequential(*layers)


def vgg16_map_of_release() -> nn.Sequential:
    """VGG-16 up to conv5_3 without its ReLU, as the authors' release of 2018 has it.

    Source: ``network.py:56`` at 62c0559 of
    https://github.com/ardasnck/learning_to_localize_sound_source. Its weights are random until the
    file of that release fills them.
    """
    return nn.Sequential(*list(_features(16, None, ""))[:CONV5_3_RELU])


def vgg19_pool5(
    *, pretrained: str | None = None, setting: str = "method.pretrained"
) -> nn.Sequential:
    """VGG-19 up to pool5, ``(B, 3, H, W) -> (B, 512, H // 32, W // 32)``: 7 x 7 cells for 224 px.

    Frames are normalised by ImageNet's mean and spread (Ramaswamy and Das 2020). No ``ZeroMean``
    ends it, with or without weights: what is trained on it has layers of its own.

    Args:
        pretrained: the file of a torchvision vgg19 or of its features alone, or a timm name; None
            draws random weights.
        setting: what ``pretrained`` comes from, for messages.

    Raises:
        BenchError: ``pretrained`` cannot be found, or is of another network.
    """
    return _features(19, pretrained, setting)


def _features(depth: int, pretrained: str | None, setting: str) -> nn.Sequential:
    with torch.device("meta"):  # the classifier, not needed, would take 500 MB
        layers: nn.Sequential = getattr(torchvision.models, f"vgg{depth}")(weights=None).features
    layers.to_empty(device="cpu")
    if pretrained is None:
        draw_weights(layers)
    else:
        load_weights(
            nn.ModuleDict({"features": layers}), pretrained, _published(depth), setting=setting
        )
    return layers


def _published(depth: int) -> Published:
    names: dict[str, str | None] = {
        "": "features.",  # features alone
        "features.": "features.",
        "classifier.": None,
        "pre_logits.": None,  # timm's classifier
        "head.": None,
    }
    files = f"the path of a torchvision or timm vgg{depth} state dict"
    if depth == 16:
        # the authors' release of 2018 has two dense layers for each modality beside VGG-16
        names |= {"vision_embedding_model.feature_extraction.": "features."}
        names |= {"sound_fc": None, "vision_fc": None}
        files += " or of the authors' release of the 2018 paper"
    return Published(f"VGG-{depth}", files, names, hub=True)
