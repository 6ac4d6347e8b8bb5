"""The floors as names of `bench run`: rules that do not hear, scored like any method."""

from typing import ClassVar

from datamodules.clip import Clip, Localization
from methods.base import Method, MethodCard


class Floor(Method):
    """A rule of ``metrics.floors``; it learns nothing, and its maps are made by the metrics."""

    rule: ClassVar[str]
    card = MethodCard(floor=True)

    @property
    def learns(self) -> bool:
        """Never."""
        return False

    def localize(self, clip: Clip) -> Localization:
        """A floor may need the truth of other folds, which no method sees."""
        raise NotImplementedError(f"the floor {self.rule!r} is made by metrics.floors")


class Center(Floor):
    """Minus the distance to the centre."""

    rule = "center"


class Full(Floor):
    """The mask of all pixels."""

    rule = "full"


class Random(Floor):
    """Uniform 14 x 14 noise, 100 seeded draws."""

    rule = "random"


class MeanBox(Floor):
    """Mean truth of the other four folds."""

    rule = "mean_box"


class AllObjects(Floor):
    """Boxes of all objects, where the data know them."""

    rule = "all_objects"
