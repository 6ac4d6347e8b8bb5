"""Categories of test clips, told by their ids and the settings of a run without any data."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from datamodules.ave_annotations import AVE_ID, CATEGORIES
from datamodules.synthetic_generator import CLASSES, generate_scene
from datamodules.synthetic_settings import config_from, knobs_of, made_id, made_row
from metrics.errors import BenchError

Settings = Mapping[str, object]


def categories_of(data: str, ids: Sequence[str], settings: Settings) -> list[str]:
    """The category of each test clip, the same as ``Truth.category``.

    Args:
        data: name of the data set.
        ids: of clips of its test split.
        settings: ``data.*`` of the run by their names; those that tell no category are ignored.

    Raises:
        BenchError: the data set tells no categories by its ids, or an id is none of its own.

    >>> categories_of("ave", ["---1_cCGK4M@0"], {})
    ['Church bell']
    """
    if data not in TOLD:
        raise BenchError(
            f"the ids of data set {data!r} tell no categories; those of {', '.join(TOLD)} do"
        )
    return TOLD[data](ids, settings)


def _of_ave(ids: Sequence[str], settings: Settings) -> list[str]:
    """The category behind the ``@`` of an id."""
    for each in ids:
        if not AVE_ID.pattern.fullmatch(each):
            raise BenchError(f"{each!r} is no id of ave, which looks like {AVE_ID.words}")
    return [CATEGORIES[int(each.rpartition("@")[2])] for each in ids]


def _of_synthetic(ids: Sequence[str], settings: Settings) -> list[str]:
    """The class that sounds in the target segment, from the scene, which is not painted for it."""
    config = config_from(settings)
    knobs = knobs_of(config)
    found = []
    for each in ids:
        split, _, number = each.partition("-")
        if split != "test" or not number.isdecimal():
            raise BenchError(
                f"{each!r} is no test id of synthetic, which looks like {made_id('test', 12)}"
            )
        scene = generate_scene(config.generator_seed, made_row(each), knobs, split=split)
        labels = sorted(label for label, _ in scene.sounds)
        found.append("+".join(CLASSES[label] for label in labels))
    return found


TOLD: Mapping[str, Callable[[Sequence[str], Settings], list[str]]] = MappingProxyType(
    {"ave": _of_ave, "synthetic": _of_synthetic}
)
