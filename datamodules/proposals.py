"""Boxes that may hold an object, found in a picture without its sound.

Extractors by name, setting ``data.proposals``:

- ``selective_search``: Uijlings et al., IJCV 2013, by OpenCV (``cv2.ximgproc.segmentation``), its
  fast mode. OpenCV orders the boxes by C's ``rand``, whose state is that of the process; which
  boxes they are depends on the picture alone.
- ``edgeboxes``: Zitnick and Dollar, ECCV 2014, by OpenCV (``cv2.ximgproc``), on the edges that a
  structured forest finds; its file is ``data.proposal_model``.
- ``grid``: squares of five sizes at every half side, whatever the picture shows.

A picture is scaled to ``data.proposal_width`` first. Boxes are kept in 65,535ths of the picture, in
the order of their coordinates, each once; of more than ``MOST_KEPT`` a sample that the content of
the picture seeds. A picture in which nothing is found has no box, and a box of one pixel stays.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.cache import file_sha256
from datamodules.sampling import PROPOSALS
from metrics.errors import BenchError, did_you_mean

EXTRACTORS = ("selective_search", "edgeboxes", "grid")
VERSION = 1  # raise it when the same picture and settings give other boxes
PARTS = 65535  # of width and of height: the unit of boxes that are kept
MOST_KEPT = 640  # boxes of a picture, 5,120 bytes; selective search finds 607 on average
EDGE_BOXES = 640  # not given in the paper
FOREST_PARTS = ("childs", "featureIds", "thresholds", "edgeBoundaries", "edgeBins")
GRID_DIVISIONS = (1, 2, 3, 4, 6)  # squares along a side, without those between them
TALLEST = 4  # times the width; a taller picture is squashed to it, for the time that it would take

Boxes = NDArray[np.uint16]
"""``(N, 4)`` xyxy in 65,535ths of the picture, in order, each once."""

Finder = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""Boxes ``(N, 4)`` xyxy in [0, 1] of a picture ``(H, W, 3)`` RGB, in any order."""


@dataclass(frozen=True)
class Extractor:
    """What finds boxes, and all that they depend on beside the picture.

    Attributes:
        name: one of ``EXTRACTORS``.
        width: pixels that a picture is scaled to; None where it stays as it is.
        model: structured forest of ``edgeboxes``, None for the others.
    """

    name: str
    width: int | None
    model: Path | None = None

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            BenchError: the name is unknown, the width is too small, or the model is not there or
                not of this extractor.
        """
        if self.name not in EXTRACTORS:
            raise BenchError(
                f"data.proposals={self.name!r} is unknown;{did_you_mean(self.name, EXTRACTORS)} "
                f"use one of {', '.join(EXTRACTORS)}"
            )
        if self.width is not None and self.width < 1:
            raise BenchError(f"data.proposal_width={self.width} must be at least 1, or null")
        if self.name != "edgeboxes":
            if self.model is not None:
                raise BenchError(
                    f"data.proposal_model={self.model} is for data.proposals=edgeboxes, and "
                    f"data.proposals={self.name} takes none; leave data.proposal_model out"
                )
        elif self.model is None or not self.model.is_file():
            found = "is not set" if self.model is None else f"={self.model} is not a file"
            raise BenchError(
                f"data.proposals=edgeboxes needs a structured forest, and data.proposal_model"
                f"{' ' if self.model is None else ''}{found}; give data.proposal_model=FILE, such "
                "as model.yml.gz of https://github.com/opencv/opencv_extra (testdata/cv/ximgproc), "
                "or use data.proposals=selective_search"
            )

    def identity(self) -> dict[str, object]:
        """Plain values: what boxes of the same picture depend on."""
        model = None if self.model is None else file_sha256(self.model)
        opencv = None if self.name == "grid" else cv2.__version__
        scaled = None if self.name == "grid" else self.width
        return {"version": VERSION, "extractor": self.name, "width": scaled, "model": model,
                "opencv": opencv, "most": MOST_KEPT}  # fmt: skip

    def finder(self) -> Callable[[Tensor, str], Boxes]:
        """A function of a picture and its content's hash, for any number of threads.

        The picture is ``(3, H, W)`` uint8 RGB of any size.
        """
        find: Finder
        if self.name == "edgeboxes":
            assert self.model is not None, "checked at the start"
            find = EdgeBoxes(self.model)
        else:
            find = {"selective_search": selective_search, "grid": grid}[self.name]
        return partial(self._found, find)

    def scaled(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What of a picture ``(H, W, 3)`` is searched; it has the boxes of the whole picture."""
        return picture[:1, :1] if self.name == "grid" else _scaled(picture, self.width)

    def _found(self, find: Finder, picture: Tensor, content: str) -> Boxes:
        pixels = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())  # (H, W, 3)
        return chosen(compact(find(self.scaled(pixels))), MOST_KEPT, content)


def selective_search(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Boxes ``(N, 4)`` xyxy in [0, 1] by OpenCV's fast selective search, in random order.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB.
    """
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    search.switchToSelectiveSearchFast()
    return _fractions(search.process(), picture)


class EdgeBoxes:
    """OpenCV's edge boxes; each thread reads the forest once, for it keeps buffers."""

    def __init__(self, model: Path) -> None:
        """Reads the file once.

        Raises:
            BenchError: it holds no structured forest.
        """
        if not _is_forest(model):
            raise BenchError(
                f"data.proposal_model={model} is no structured forest that OpenCV reads; fetch it "
                "again, or use data.proposals=selective_search"
            )
        self._model = model
        self._of_thread = threading.local()

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The best boxes ``(N, 4)`` xyxy in [0, 1]; none where there are no edges.

        Args:
            picture: ``(H, W, 3)`` uint8 RGB.
        """
        forest = self._forest()
        edges = forest.detectEdges(picture.astype(np.float32) / 255)
        orientations = forest.computeOrientation(edges)
        thin = forest.edgesNms(edges, orientations)
        search = cv2.ximgproc.createEdgeBoxes()
        search.setMaxBoxes(EDGE_BOXES)
        found, _ = search.getBoundingBoxes(thin, orientations)
        return _fractions(found, picture)

    def _forest(self) -> "cv2.ximgproc.StructuredEdgeDetection":
        if not hasattr(self._of_thread, "forest"):
            create = cv2.ximgproc.createStructuredEdgeDetection
            self._of_thread.forest = create(str(self._model))
        forest: cv2.ximgproc.StructuredEdgeDetection = self._of_thread.forest
        return forest


def grid(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Boxes ``(205, 4)`` xyxy in [0, 1]: n x n squares and those half-way between them.

    n is 1, 2, 3, 4 and 6; squares in fractions, so of the picture's own shape.
    """
    boxes = []
    for squares in GRID_DIVISIONS:
        starts = np.arange(2 * squares - 1) / (2 * squares)
        left, top = (each.ravel() for each in np.meshgrid(starts, starts))
        boxes.append(np.stack([left, top, left + 1 / squares, top + 1 / squares], axis=-1))
    return np.concatenate(boxes)


def compact(boxes: NDArray[np.float64]) -> Boxes:
    """Boxes as they are kept.

    Args:
        boxes: ``(N, 4)`` xyxy in [0, 1], in any order, repeated or not.
    """
    return np.unique(np.rint(boxes * PARTS).astype(np.uint16).reshape(-1, 4), axis=0)


def chosen(boxes: Boxes, most: int, content: str) -> Boxes:
    """All boxes, or a sample of the most that there may be, in the order of the boxes.

    The sample is a function of the content: the same in every run, epoch and split.

    Args:
        boxes: ``(N, 4)``.
        most: largest number.
        content: hash of the picture.
    """
    if len(boxes) <= most:
        return boxes
    digest = int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "little")
    order = np.argsort(np.random.default_rng([PROPOSALS, digest]).random(len(boxes)))
    return boxes[np.sort(order[:most])]


def as_proposals(boxes: Boxes, most: int) -> Tensor:
    """Boxes ``(P, 4)`` float32 xyxy in [0, 1], NaN rows at the end where there are fewer than P.

    Args:
        boxes: ``(N, 4)``, N at most P.
        most: P.
    """
    padded = np.full((most, 4), np.nan, dtype=np.float32)
    padded[: len(boxes)] = boxes / np.float32(PARTS)
    return torch.from_numpy(padded)


def absent_last(proposals: Tensor) -> Tensor:
    """Proposals ``(..., P, 4)`` with their NaN rows at the end, the others in order."""
    order = proposals[..., 0].isnan().to(torch.uint8).argsort(dim=-1, stable=True)
    return proposals.take_along_dim(order.unsqueeze(-1), -2)


def _is_forest(path: Path) -> bool:
    """Whether a file has the parts of a structured forest; without them OpenCV ends the process."""
    try:
        file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
        trees = int(file.getNode("options").getNode("numberOfTrees").real())
        sizes = [file.getNode(part).size() for part in FOREST_PARTS]
    except (cv2.error, SystemError):
        return False
    return trees > 0 and all(size >= trees for size in sizes)


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """One thread in each call of OpenCV, where several calls share the cores."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _scaled(picture: NDArray[np.uint8], width: int | None) -> NDArray[np.uint8]:
    """A picture ``(H, W, 3)`` of the asked width and, where it is not very tall, of its shape."""
    height, own = picture.shape[:2]
    asked = own if width is None else width
    size = (asked, min(max(1, round(height * asked / own)), TALLEST * asked))
    if size == (own, height):
        return picture
    way = cv2.INTER_AREA if asked < own else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=way), dtype=np.uint8)


def _fractions(found: Sequence[Sequence[int]], picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Boxes of OpenCV, x, y, width and height in pixels, as xyxy in [0, 1]."""
    corners = np.array(found, dtype=np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    height, width = picture.shape[:2]
    return corners / (width, height, width, height)
