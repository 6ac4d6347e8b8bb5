"""`ssltie`: Exploiting Transformation Invariance and Equivariance, its released weights.

Liu et al. 2022. The network is that of `lvs`; it is tested and not trained here. Source:
https://github.com/jinxiang-liu/SSL-TIE at c49e6a9, whose files hold three layers more that no
output depends on.
"""

from datamodules.clip import Clip, Localization
from methods.base import Method, MethodCard, OptimConfig
from methods.released import PRETRAINING, load_released
from methods.released_streams import SSLTIE_NAMES, ReleasedConfig, released_streams, streams_parts
from methods.response import cosine_localization


class SslTie(Method):
    """The cosine map of two released ResNet-18, the sound as mel bands in dB."""

    Config = ReleasedConfig
    card = MethodCard(paper="Liu et al. 2022", pretraining=PRETRAINING, map_range=(-1.0, 1.0))

    def __init__(self, config: ReleasedConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        self.streams, self.own, path = released_streams(config, "ssltie")
        parts = streams_parts(self.streams)
        self.released = load_released(self, parts, path, "ssltie", SSLTIE_NAMES)

    def localize(self, clip: Clip) -> Localization:
        """The cosine map of a clip's sound on its frame; confidence is its maximum."""
        return cosine_localization(self.streams, clip)
