"""VGGish: a log-mel patch to an embedding of 128 (Hershey et al. 2017)."""

import torch
from torch import Tensor, nn

from methods.weights import Published, draw_weights, load_weights

FILTERS = ((64,), (128,), (256, 256), (512, 512))  # of 3 x 3; each group ends in 2 x 2 pooling
CELLS, HIDDEN, EMBEDDING = 6 * 4, 4096, 128
RELEASED = Published(
    "VGGish",
    "the path of the state dict that torchvggish released (features.N and embeddings.N)",
    {
        "fc.": "embeddings.",  # audioset-vggish-tensorflow-to-pytorch
        "pproc.": None,  # principal components; embeddings are taken before them
    },
)


class VGGish(nn.Module):
    """Patches of ``VggishLogMel`` ``(B, 1, 96, 64)``, time by mel, to embeddings ``(B, 128)``.

    As released for PyTorch (``torchvggish/vggish.py`` of https://github.com/harritaylor/torchvggish
    at 1bedc9d): the map is flattened time by mel by channel, and a ReLU ends it, so embeddings are
    at least 0; later versions of the TensorFlow release leave that ReLU out. There are no principal
    components and no quantisation. With random weights it is the same network: it ends in no
    ``ZeroMean``, since what is trained on it has layers of its own.
    """

    def __init__(
        self, *, pretrained: str | None = None, setting: str = "method.pretrained"
    ) -> None:
        """Builds the network.

        Args:
            pretrained: the file of the released weights; None draws random weights.
            setting: what ``pretrained`` comes from, for messages.

        Raises:
            BenchError: ``pretrained`` cannot be read, or is of another network.
        """
        super().__init__()
        with torch.device("meta"):  # 72 million weights are filled once
            self.features = _convolutions()
            self.embeddings = nn.Sequential(
                nn.Linear(FILTERS[-1][-1] * CELLS, HIDDEN), nn.ReLU(inplace=True),
                nn.Linear(HIDDEN, HIDDEN), nn.ReLU(inplace=True),
                nn.Linear(HIDDEN, EMBEDDING), nn.ReLU(inplace=True),
            )  # fmt: skip
        self.to_empty(device="cpu")
        if pretrained is None:
            draw_weights(self)
        else:
            load_weights(self, pretrained, RELEASED, setting=setting)

    def forward(self, patch: Tensor) -> Tensor:
        """``(B, 128)`` float32, at least 0."""
        cells = self.features(patch).permute(0, 2, 3, 1)  # (B, 6, 4, 512)
        embedding: Tensor = self.embeddings(cells.flatten(1))
        return embedding


def _convolutions() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 1
    for group in FILTERS:
        for filters in group:
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(inplace=True)]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
