"""What is known of a test frame: the input of every metric beside the maps."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Truth(NamedTuple):
    """Ground truth of one test sample, in coordinates of the whole frame.

    ``boxes`` holds one ``(K, 4)`` float64 array of normalised xyxy boxes per annotator, as the
    annotation file has them: values outside [0, 1], zero areas and garbage are kept, because each
    protocol has its own rule for them. An annotator who drew nothing is a ``(0, 4)`` array.
    ``mask`` is an ``(H, W)`` bool segmentation, used instead of the boxes where it is given.
    ``objects`` is an ``(M, 4)`` array of the boxes of all objects, sounding or silent, where they
    are known (``synthetic``); only the floor ``all_objects`` reads it.
    """

    id: str
    boxes: tuple[NDArray[np.float64], ...]
    mask: NDArray[np.bool_] | None = None
    category: str | None = None
    objects: NDArray[np.float64] | None = None
