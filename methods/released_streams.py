"""The two streams of LVS, with the weights that its authors and their followers released."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from methods.base import MethodConfig
from methods.own_frontends import FrontEnd, front_end_of
from methods.two_stream import TwoStream, TwoStreamConfig
from metrics.errors import BenchError


@dataclass
class ReleasedConfig(MethodConfig):
    """Settings of networks that are tested with released weights and not trained here."""

    checkpoint: str | None = None  # a released file; must be given
    front_end: str = "own"  # own (of the network's code) | bench
    channels_last: bool = True  # the layout of all weights in memory; sums round otherwise


def released_streams(config: ReleasedConfig, network: str) -> tuple[TwoStream, FrontEnd | None]:
    """Both streams of a network that cannot be trained here, and its own front-end if it is asked.

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
    return TwoStream(streams, sound=sound, zero_mean=False), own


def streams_parts(streams: TwoStream) -> Mapping[str, nn.Module]:
    """The parts that a released file fills."""
    return {"visual": streams.visual, "audio": streams.audio}
