"""Truth of test clips told by their ids and the settings of a run, without any data on the disk."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from datamodules.categories import TOLD, Settings, categories_of
from datamodules.synthetic_generator import generate_places
from datamodules.synthetic_settings import SyntheticConfig, knobs_of
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
        unmarked = np.zeros(1, dtype=np.int64)
        return tuple(
            Truth(each, (), category=category, segments=unmarked)
            for each, category in categories.items()
        )
    config = _config(settings)
    return tuple(_of_synthetic(each, category, config) for each, category in categories.items())


def _config(settings: Mapping[str, object]) -> SyntheticConfig:
    known = {item.name for item in fields(SyntheticConfig)}
    own = {name: value for name, value in settings.items() if name in known}
    return SyntheticConfig(**own)  # type: ignore[arg-type]  # a record has them in their types


def _of_synthetic(clip_id: str, category: str, config: SyntheticConfig) -> Truth:
    place = int(clip_id.rpartition("-")[2])
    found = generate_places(
        config.generator_seed, place, config.image_size, knobs_of(config), split="test"
    )
    drawn = tuple(one[~np.isnan(one).any(axis=1)] for one in found.annotators)
    return Truth(
        clip_id,
        drawn if config.annotators else (found.boxes[found.sounding],),
        category=category,
        objects=found.boxes[~np.isnan(found.boxes[:, 0])],
        on_screen=bool(found.sounding.any()),
    )
