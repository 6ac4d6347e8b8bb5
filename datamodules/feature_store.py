"""Features of one frozen stream on this machine: ``<cache>/features``, see ``block_store``."""

import numpy as np
from numpy.typing import NDArray

from datamodules.block_store import BlockStore


class FeatureStore(BlockStore):
    """Features ``(*shape,)`` float32 or float16 of frames or sounds."""

    kind = "features"

    def __getitem__(self, fingerprint: str) -> NDArray[np.float32]:
        """The features of a content, ``(*shape,)``; KeyError where there are none."""
        return np.array(self.rows(fingerprint)[0], np.float32)
