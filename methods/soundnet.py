"""SoundNet: a raw waveform to scores of the 1000 objects of ImageNet (Aytar et al. 2016)."""

from collections import OrderedDict
from typing import NamedTuple

from torch import Tensor, nn

from methods.global_norm import GlobalBatchNorm, ZeroMean
from methods.weights import Published, load_weights
from metrics.errors import BenchError

OBJECTS, STRIDE = 1000, 2
SOUNDNET_HZ = 22050


class Layer(NamedTuple):
    """A convolution over time of stride 2, and the size and stride of the pooling behind it."""

    size: int
    filters: int
    padding: int
    pool: int = 1


# Sizes and filters: Senocak et al. 2018, supplement, which also says that pooling has stride 1.
# Paddings, and pooling by its own size: SoundNet itself, main_train.lua:68-101 at 3676ea1 of
# https://github.com/cvondrick/soundnet.
LAYERS = (
    Layer(64, 16, 32, pool=8),
    Layer(32, 32, 16, pool=8),
    Layer(16, 64, 8),
    Layer(8, 128, 4),
    Layer(4, 256, 2, pool=4),
    Layer(4, 512, 2),
    Layer(4, 1024, 2),
    Layer(8, OBJECTS, 0),
)


class SoundNet(nn.Module):
    """Waveforms ``(B, 1, S)`` in [-256, 256] to the time average of conv8, ``(B, 1000)``.

    Convolutions over time (Senocak et al. 2018, supplement); batch statistics and ReLU follow each
    but the last. Kernels are ``(size, 1)``, as public PyTorch ports have them. 20 s at 22.05 kHz
    give 4 places in time. Without weights the stream ends in ``ZeroMean``.
    """

    def __init__(
        self, samples: int, *, pretrained: str | None = None, setting: str = "method.pretrained"
    ) -> None:
        """Builds the network for sounds of so many samples.

        Args:
            samples: S of the shortest sound that will come.
            pretrained: the file of a PyTorch port; None draws random weights.
            setting: what ``pretrained`` comes from, for messages.

        Raises:
            BenchError: ``samples`` are too few for the stack, or ``pretrained`` cannot be read, is
                of another network or was converted without its batch statistics.
        """
        super().__init__()
        if samples < shortest_input():
            raise BenchError(
                f"SoundNet needs {shortest_input()} samples, "
                f"{shortest_input() / SOUNDNET_HZ:.1f} s at {SOUNDNET_HZ} Hz, and hears {samples}; "
                f"set method.sample_rate_hz={SOUNDNET_HZ} and raise method.segment_seconds"
            )
        self.layers = _layers()
        self.end: nn.Module = nn.Identity()
        if pretrained is None:
            self.end = ZeroMean(OBJECTS)
        else:
            load_weights(self.layers, pretrained, PORTS, setting=setting)
            _check_statistics(self.layers, pretrained, setting)

    def forward(self, waveform: Tensor) -> Tensor:
        """``(B, 1000)``, before any softmax."""
        scores = self.layers(waveform.unsqueeze(-1))  # (B, 1000, places, 1)
        objects: Tensor = self.end(scores.mean((2, 3)))
        return objects


def shortest_input() -> int:
    """Samples from which on conv8 has a place to stand.

    >>> shortest_input()
    209374
    """
    places = 1
    for layer in reversed(LAYERS):
        places = (places * layer.pool - 1) * STRIDE + layer.size - 2 * layer.padding
    return places


def _layers() -> nn.Sequential:
    """conv1, batchnorm1, relu1, maxpool1, ..., conv8, by these names."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 1
    for number, (size, filters, padding, pool) in enumerate(LAYERS, start=1):
        layers[f"conv{number}"] = nn.Conv2d(channels, filters, (size, 1), (STRIDE, 1), (padding, 0))
        if number < len(LAYERS):
            layers[f"batchnorm{number}"] = GlobalBatchNorm(filters)
            layers[f"relu{number}"] = nn.ReLU(inplace=True)
        if pool > 1:
            layers[f"maxpool{number}"] = nn.MaxPool2d((pool, 1))
        channels = filters
    return nn.Sequential(layers)


def _port_names() -> dict[str, str | None]:
    """Where public ports name layers otherwise: by block (``conv1.1``) or by number."""
    names: dict[str, str | None] = {
        "conv8_objs.": "conv8.",
        "conv8.0.": "conv8.",
        "conv8_scns.": None,  # the second head, 401 scenes
        "conv8_2.": None,
    }
    place = 0
    for number, layer in enumerate(LAYERS[:-1], start=1):
        convolution, norm = f"conv{number}.", f"batchnorm{number}."
        names |= {f"conv{number}.0.": convolution, f"conv{number}.1.": norm}
        names |= {f"features.{place}.": convolution, f"features.{place + 1}.": norm}
        place += 4 if layer.pool > 1 else 3
    return names


PORTS = Published(
    "SoundNet",
    "the path of a PyTorch port of the 8-layer SoundNet (a state dict of conv1 to conv8 with their "
    "batch statistics)",
    _port_names(),
)


def _check_statistics(layers: nn.Sequential, pretrained: str, setting: str) -> None:
    """Refuses what lua_to_pytorch.py makes (https://github.com/keunhong/pytorch-soundnet, 71d8b18).

    It copies the convolutions alone.
    """
    norms = [layer.state_dict() for layer in layers if isinstance(layer, GlobalBatchNorm)]
    if all((each["running_mean"] == 0).all() for each in norms):
        raise BenchError(
            f"{setting}={pretrained!r} was converted without SoundNet's batch statistics: all "
            f"running means are 0; give a conversion that has them, or {setting}=null to train "
            "from random weights"
        )
