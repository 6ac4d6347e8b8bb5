"""Stage ``proposals``: boxes of pictures by one thread and by two.

The pictures are of blurred noise, 320 px wide, which selective search finds about as many boxes in
as in frames of videos.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmark.speed.harness import Claim, Comparison, Measurable, Setting, Target, own_cache
from datamodules.proposal_store import Pictures, make_proposals
from datamodules.proposals import Extractor

HEIGHT, WIDTH = 240, 320
BLUR_PX = 4.0


def comparisons(setting: Setting) -> Iterator[Measurable]:
    """The rate of two threads beside that of one."""
    height, width, pictures = (48, 64, 4) if setting.quick else (HEIGHT, WIDTH, 16)
    with tempfile.TemporaryDirectory() as place:
        fresh = (Path(place) / str(number) for number in count())
        shown = {str(row): partial(_picture, row, height, width) for row in range(pictures)}
        yield Comparison(
            name=f"selective search at {width} px, two threads beside one",
            item="picture",
            items=pictures,
            peer=lambda: _stored(next(fresh), shown, 1),
            ours=lambda: _stored(next(fresh), shown, 2),
            claims=lambda one, two: [Claim("stored bytes equal", one == two)],
            target=Target("at least", 1.8, "x"),
            note=f"{pictures} pictures of blurred noise",
        )


def _stored(cache: Path, shown: Pictures, workers: int) -> dict[str, bytes]:
    """The files of a new cache, by their names."""
    with own_cache(cache):
        folder = make_proposals(shown, Extractor("selective_search", None), workers=workers).folder
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _picture(seed: int, height: int, width: int) -> Tensor:
    noise = np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), BLUR_PX)
    pixels = cv2.normalize(smooth, smooth, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
