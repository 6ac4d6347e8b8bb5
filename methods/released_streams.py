"""The networks of LVS and of EZ-VSL, with the weights that they and their followers released."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from methods.base import MethodConfig
from methods.own_frontends import FrontEnd, front_end_of
from methods.projected_streams import ProjectedConfig, ProjectedStreams
from methods.released import require_alone
from methods.two_stream import TwoStream, TwoStreamConfig
from metrics.errors import BenchError

PARTS = {"conv1.": "0.", "bn1.": "1.", "layer1.": "4.", "layer2.": "5.", "layer3.": "6.",
         "layer4.": "7."}  # fmt: skip
"""Stages of a ResNet by torchvision's names, and their places in ``two_stream.resnet18_map``."""


def _ave_net() -> dict[str, str | None]:
    """Names of LVS's AVENet; either stream also holds the stem of the other, and a classifier."""
    names: dict[str, str | None] = {}
    for stream, own, stem in (("imgnet", "visual", "conv1."), ("audnet", "audio.0", "conv1_a.")):
        names |= {f"{stream}.{other}": None for other in ("conv1.", "conv1_a.", "conv1_flow.")}
        names |= {f"{stream}.fc.": None}
        names |= {f"{stream}.{part}": f"{own}.{place}" for part, place in PARTS.items()
                  if part != "conv1."}  # fmt: skip
        names |= {f"{stream}.{stem}": f"{own}.0."}
    return names


LVS_NAMES: Mapping[str, str | None] = _ave_net()
SSLTIE_NAMES: Mapping[str, str | None] = {
    **LVS_NAMES,
    **dict.fromkeys(("vision_fc1.", "conv3.", "norm3.")),  # no output depends on them
}
"""Beginnings of the names in released files, and those of :func:`streams_parts`."""


@dataclass
class ReleasedConfig(MethodConfig):
    """Settings of networks that are tested with released weights and not trained here."""

    checkpoint: str | None = None  # a released file; must be given
    front_end: str = "own"  # own (of the network's code) | bench
    channels_last: bool = True  # the layout of all weights in memory; sums round otherwise


def released_streams(
    config: ReleasedConfig, network: str
) -> tuple[TwoStream, FrontEnd | None, str]:
    """Streams of a network that cannot be trained here, its own front-end if asked, and its file.

    Raises:
        BenchError: no file is given, or the front-end does not fit the settings.
    """
    if config.checkpoint is None:
        raise BenchError(
            f"{network} cannot be trained here and method.checkpoint is not set; test a released "
            "file with bench eval --checkpoint FILE --data D"
        )
    own = front_end_of(config, network, config.front_end)
    streams = TwoStreamConfig(
        image_size=config.image_size,
        sample_rate_hz=config.sample_rate_hz,
        segment_seconds=config.segment_seconds,
        channels_last=config.channels_last,
    )
    sound = None if own is None else own.sound(config)
    return TwoStream(streams, sound=sound, zero_mean=False), own, config.checkpoint


def streams_parts(streams: TwoStream) -> Mapping[str, nn.Module]:
    """The parts that a released file fills."""
    return {"visual": streams.visual, "audio": streams.audio}


def projected_streams(
    config: ProjectedConfig, network: str, *, spaces: int = 1
) -> tuple[ProjectedStreams, FrontEnd | None]:
    """The network of EZ-VSL, for training or for a released file, and its front-end if asked.

    Raises:
        BenchError: a setting does not go with the file or with the front-end.
    """
    usual: dict[str, object] = {"backbone": "resnet18", "pretrained": None}
    require_alone(config, config.checkpoint, usual)
    own = front_end_of(config, network, config.front_end)
    sound = None if own is None else own.sound(config)
    from_nothing = config.pretrained is None and config.checkpoint is None
    return ProjectedStreams(config, zero_mean=from_nothing, spaces=spaces, sound=sound), own


def projected_parts(streams: ProjectedStreams) -> Mapping[str, nn.Module]:
    """The parts that a released file of EZ-VSL or FNAC fills."""
    return {"features": streams.features, "projections": streams.projections}
