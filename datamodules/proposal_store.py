"""Proposals of pictures on this machine: ``<cache>/proposals``, see ``block_store``.

They are found by the hash of the picture's content, so a picture is searched once, in however many
segments, clips, splits and data sets it is shown. A search that is stopped keeps what it has found;
one that is killed loses the block it was at.
"""

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.block_store import BlockStore, kept_in
from datamodules.progress import progress_bar
from datamodules.proposals import Boxes, Extractor, as_proposals, chosen, one_opencv_thread
from datamodules.worker_pool import usable_cores

BLOCK = 256  # pictures; a killed search loses at most so many
AHEAD = 4  # pictures that wait for each thread; a picture of a video frame has 3 MB
logger = logging.getLogger(__name__)

Pictures = Mapping[str, Callable[[], Tensor]]
"""What reads a picture ``(3, H, W)`` uint8, by the hash of its content."""


class ProposalStore(BlockStore):
    """Proposals of pictures, by one extractor."""

    kind = "proposals"

    def __getitem__(self, content: str) -> Boxes:
        """The proposals of a picture, ``(N, 4)`` uint16; KeyError where it was not searched."""
        return np.array(self.rows(content), np.uint16)

    def padded(self, contents: Sequence[str], most: int) -> Tensor:
        """The proposals of N pictures, ``(N, P, 4)`` float32 xyxy in [0, 1].

        In the order of their coordinates, with NaN rows at the end where a picture has fewer than
        P; of more, a sample that the content of the picture seeds.

        Args:
            contents: hashes of the pictures, repeated or not.
            most: P.
        """
        found = {each: as_proposals(chosen(self[each], most, each), most) for each in contents}
        return torch.stack([found[each] for each in contents])


class SearchCounts(NamedTuple):
    """What was found of some pictures, and what was there before."""

    folder: Path
    made: int
    kept: int
    boxes: int  # of all of them
    bytes: int

    def to_dict(self) -> dict[str, object]:
        """The same as plain JSON values, with what a picture has on average."""
        pictures = max(1, self.made + self.kept)
        return {
            **self._asdict(),
            "folder": str(self.folder),
            "boxes_per_picture": self.boxes / pictures,
            "bytes_per_picture": self.bytes / pictures,
        }

    def __str__(self) -> str:
        pictures = self.made + self.kept
        each = max(1, pictures)
        return (
            f"{pictures} pictures: {self.made} searched, {self.kept} kept from before; "
            f"{self.boxes / each:.0f} boxes and {self.bytes / each:.0f} bytes a picture in "
            f"{self.folder}"
        )


def make_proposals(
    pictures: Pictures, extractor: Extractor, *, workers: int | None = None
) -> SearchCounts:
    """Searches the pictures that were not searched before; damaged blocks are made again.

    What is stored does not depend on the number of threads. Another process that searches with the
    same extractor is waited for.

    Args:
        pictures: all that are needed.
        extractor: what finds the boxes.
        workers: threads; one per core that this process may use if None.

    Raises:
        BenchError: a picture cannot be read, or the cache cannot be written.
    """
    store = ProposalStore(extractor.identity())
    with kept_in("proposals", store.folder), store.adding():
        missing = {each: read for each, read in pictures.items() if each not in store}
        _search(store, missing, extractor, workers or usable_cores())
    sizes = [store[each] for each in pictures]
    return SearchCounts(
        store.folder,
        made=len(missing),
        kept=len(pictures) - len(missing),
        boxes=sum(map(len, sizes)),
        bytes=sum(each.nbytes for each in sizes),
    )


def proposals_of(pictures: Pictures, extractor: Extractor, command: str) -> ProposalStore:
    """The proposals of all pictures, those that are missing made first.

    Args:
        pictures: all that are needed.
        extractor: what finds the boxes.
        command: what makes damaged ones again, for messages.

    Raises:
        BenchError: a block is damaged; see also :func:`make_proposals`.
    """
    store = ProposalStore(extractor.identity())
    store.refuse_damaged(f"{command} makes it again")
    if any(each not in store for each in pictures):
        made = make_proposals(pictures, extractor)
        logger.info("proposals of %d pictures were made and are kept in %s", made.made, made.folder)
        store.reload()
    return store


def _search(store: ProposalStore, missing: Pictures, extractor: Extractor, workers: int) -> None:
    """Fills the store in the order of the pictures, block by block."""
    contents, found = list(missing), _found(missing, extractor, workers)
    block: list[Boxes] = []
    first = 0
    with progress_bar("searching pictures", len(missing)) as advance, one_opencv_thread():
        try:
            for boxes in found:
                block.append(boxes)
                advance()
                if len(block) == BLOCK:
                    _keep(store, contents[first : first + BLOCK], block)
                    first, block = first + BLOCK, []
        finally:
            found.close()
            if block:
                _keep(store, contents[first : first + len(block)], block)


def _keep(store: ProposalStore, contents: list[str], block: list[Boxes]) -> None:
    store.append(contents, np.concatenate(block), [len(boxes) for boxes in block])


def _found(missing: Pictures, extractor: Extractor, workers: int) -> Generator[Boxes, None, None]:
    """The boxes of each picture in turn; OpenCV lets other threads run while it searches."""
    find, waiting = extractor.finder(), iter(missing.items())

    def search(content: str, read: Callable[[], Tensor]) -> Boxes:
        return find(read(), content)

    with ThreadPoolExecutor(workers) as pool:
        try:
            ahead = [pool.submit(search, *each) for each in islice(waiting, AHEAD * workers)]
            while ahead:
                yield ahead.pop(0).result()
                ahead += [pool.submit(search, *each) for each in islice(waiting, 1)]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
