"""`sslalign`: Sound Source Localization is All about Cross-Modal Alignment, its released weights.

Senocak et al. 2023. The network is that of `lvs`; training code was not released, so it is tested
and not trained. Source: https://github.com/kaistmm/SSLalignment at e7ae3c5.
"""

from datamodules.clip import Clip, Localization
from methods.base import Method, MethodCard, OptimConfig
from methods.released import PRETRAINING, load_released
from methods.released_streams import LVS_NAMES, ReleasedConfig, released_streams, streams_parts
from methods.response import cosine_localization


class SslAlign(Method):
    """The cosine map of two released ResNet-18."""

    Config = ReleasedConfig
    card = MethodCard(paper="Senocak et al. 2023", pretraining=PRETRAINING, map_range=(-1.0, 1.0))

    def __init__(self, config: ReleasedConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        self.streams, self.own, path = released_streams(config, "sslalign")
        parts = streams_parts(self.streams)
        self.released = load_released(self, parts, path, "sslalign", LVS_NAMES)

    def localize(self, clip: Clip) -> Localization:
        """The cosine map of a clip's sound on its frame; confidence is its maximum."""
        return cosine_localization(self.streams, clip)
