"""What is known of a test frame: the input of every metric beside the maps."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Source(NamedTuple):
    """One object of a frame with several, on its own.

    ``boxes`` is ``(K, 4)`` float64 normalised xyxy, ``mask`` an ``(H, W)`` bool segmentation used
    instead of them where it is given. ``sounding`` is False for an object that keeps silent.
    """

    boxes: NDArray[np.float64]
    category: str | None = None
    sounding: bool = True
    mask: NDArray[np.bool_] | None = None


class Truth(NamedTuple):
    """Ground truth of one test sample, in coordinates of the whole frame.

    ``boxes`` holds one ``(K, 4)`` float64 array of normalised xyxy boxes per annotator, as the
    annotation file has them: values outside [0, 1], zero areas and garbage are kept, because each
    protocol has its own rule for them. An annotator who drew nothing is a ``(0, 4)`` array.
    ``mask`` is an ``(H, W)`` bool segmentation, used instead of the boxes where it is given.
    ``objects`` is an ``(M, 4)`` array of the boxes of all objects, sounding or silent, where they
    are known (``synthetic``); only the floor ``all_objects`` reads it.
    ``on_screen`` is False for a negative of an extended set: a frame with a sound that is not of
    it. Such a sample has nothing to localise and counts in the on-screen metrics alone.
    ``frame`` names the frame where several samples share one (``is3``); interactive IoU goes by it.
    ``segments`` is ``(T,)`` int64, the class of each segment, the last class being background,
    and ``background`` its number, which no segment may have.
    A sample that has them and no boxes, mask or sources counts in the accuracy of segments alone.
    ``sources`` holds each source on its own, in the order of the maps of ``source_heatmap``.
    ``context`` is a ``(K, 4)`` array of boxes of what occurs together with the sound and is not its
    source (the rails of the train), where that is known; a map that peaks there was misled.
    """

    id: str
    boxes: tuple[NDArray[np.float64], ...]
    mask: NDArray[np.bool_] | None = None
    category: str | None = None
    objects: NDArray[np.float64] | None = None
    on_screen: bool = True
    frame: str | None = None
    segments: NDArray[np.int64] | None = None
    sources: tuple[Source, ...] = ()
    context: NDArray[np.float64] | None = None
    background: int | None = None

    @property
    def has_only_segments(self) -> bool:
        """Whether the classes of segments are all that is known: nobody marked a place (AVE)."""
        marked = bool(self.boxes or self.sources) or self.mask is not None
        return self.on_screen and self.segments is not None and not marked

    def with_segments_only(self) -> "Truth":
        """The same sample for an answer of classes without a map: nothing is known of its place."""
        return self._replace(
            boxes=(), mask=None, objects=None, on_screen=True, frame=None, sources=(), context=None
        )

    @property
    def has_place(self) -> bool:
        """Whether there is a place to find; it may be empty, which is for protocols to judge."""
        return self.on_screen and not self.has_only_segments


def measured_truth(
    truth: Sequence[Truth], *, localises: bool, by_source: bool = True
) -> tuple[Truth, ...]:
    """What answers, floors and ceiling are measured on: all that the answers say of it.

    A map of equal values would be ranked as an answer, and it is none. One map of a whole frame is
    measured on its boxes together, so that a floor must not be measured source by source there.

    Args:
        truth: of the test clips.
        localises: of the method's card; places are left out where it has no map.
        by_source: whether there is a map of each source; sources are left out where there is none.
    """
    if not localises:
        return tuple(each.with_segments_only() for each in truth)
    return tuple(truth) if by_source else tuple(each._replace(sources=()) for each in truth)
