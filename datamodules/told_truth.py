"""Truth of test clips told by their ids and the settings of a run, without any data on the disk."""

from collections.abc import Sequence

import numpy as np

from datamodules.categories import TOLD, Settings, categories_of
from datamodules.synthetic_generator import generate_places
from datamodules.synthetic_settings import SyntheticConfig, config_from, knobs_of, made_row
from metrics.truth import Truth


def told_truth(data: str, ids: Sequence[str], settings: Settings) -> tuple[Truth, ...] | None:
    """What the ids tell: class and boxes of ``synthetic``, the class alone of ``ave``.

    Sources on their own, segments and context are left out.

    Args:
        data: name of the data set.
        ids: of clips of its test split.
        settings: ``data.*`` of the run by their names.

    Returns:
        None where the ids of the data set tell nothing.

    Raises:
        BenchError: an id is none of the data set.
    """
    if data not in TOLD:
        return None
    categories = dict(zip(ids, categories_of(data, ids, settings), strict=True))
    if data != "synthetic":
        unmarked = np.zeros(1, dtype=np.int64)  # segments alone say that nobody marked a place
        return tuple(
            Truth(each, (), category=category, segments=unmarked)
            for each, category in categories.items()
        )
    config = config_from(settings)
    return tuple(_of_synthetic(each, category, config) for each, category in categories.items())


def _of_synthetic(clip_id: str, category: str, config: SyntheticConfig) -> Truth:
    row = made_row(clip_id)
    found = generate_places(
        config.generator_seed, row, config.image_size, knobs_of(config), split="test"
    )
    drawn = tuple(one[~np.isnan(one).any(axis=1)] for one in found.annotators)
    return Truth(
        clip_id,
        drawn if config.annotators else (found.boxes[found.sounding],),
        category=category,
        objects=found.boxes[~np.isnan(found.boxes[:, 0])],
        on_screen=bool(found.sounding.any()),
    )
