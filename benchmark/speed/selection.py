"""Stage ``selection``: the proposals that a location map selects, for all boxes of a batch.

The peer's way is that of the paper's words (Xuan et al. 2022, 3.3): interpolate the map to the
frame, normalise it, and accumulate its pixels in each box, here by an integral image, which is the
fastest way to do that pixel by pixel.
"""

from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.speed.harness import (
    ROUNDS,
    ROUNDS_WHEN_QUICK,
    Amount,
    Claim,
    Comparison,
    Measurable,
    Setting,
    Target,
    Timer,
)
from methods.proposal import best_proposals, box_sums, pixel_boxes, proposal_confidence

PIXELS, KEPT = 224, 20
MOST_MILLISECONDS = 20.0


class Sizes(NamedTuple):
    """How much a stage treats."""

    frames: int
    boxes: int
    cells: int


FULL, QUICK = Sizes(128, 600, 28), Sizes(2, 20, 7)


class Selection(NamedTuple):
    """What was selected, and the sums of the interpolated map in all boxes."""

    proposals: Tensor  # (N, K, 4)
    sums: Tensor  # (N, P)


def comparisons(setting: Setting) -> Iterator[Measurable]:
    """Everything that the stage measures."""
    sizes = QUICK if setting.quick else FULL
    location_map, proposals = inputs(sizes)
    name = f"{sizes.frames} frames x {sizes.boxes} boxes on {sizes.cells} x {sizes.cells} cells"

    def ours() -> Tensor:
        confidence = proposal_confidence(location_map, proposals, PIXELS)
        return best_proposals(confidence, proposals, KEPT)

    def milliseconds() -> float:
        timer = Timer()
        rounds = ROUNDS_WHEN_QUICK if setting.quick else 2 * ROUNDS
        return 1000 * median(timer.in_turn([ours], 1)[0].seconds for _ in range(rounds))

    yield Comparison(
        name=name,
        item="frame",
        items=sizes.frames,
        peer=lambda: peer_selection(location_map, proposals),
        ours=lambda: Selection(
            ours(), box_sums(location_map, pixel_boxes(proposals, PIXELS), PIXELS)
        ),
        claims=lambda peer, ours: selection_claims(location_map, peer, ours),
        note="ours takes the sums a second time, to compare them",
    )
    yield Amount(
        name=f"{name}, all of it",
        unit="ms",
        ours=milliseconds,
        target=Target("at most", MOST_MILLISECONDS, " ms"),
    )


def inputs(sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Location maps ``(N, h, w)`` and proposals ``(N, P, 4)`` in any place and of any size."""
    draws = torch.Generator().manual_seed(0)
    location_map = torch.rand(sizes.frames, sizes.cells, sizes.cells, generator=draws)
    corners = torch.rand(sizes.frames, sizes.boxes, 2, 2, generator=draws)
    return location_map, torch.cat([corners.amin(-2), corners.amax(-2)], -1)


def peer_selection(location_map: Tensor, proposals: Tensor) -> Selection:
    """The same selection by way of all pixels, in float64 as sums over 50,176 of them need."""
    size = (PIXELS, PIXELS)
    pixels = F.interpolate(location_map.double().unsqueeze(1), size, mode="bilinear").squeeze(1)
    integral = F.pad(pixels, (1, 0, 1, 0)).cumsum(1).cumsum(2).flatten(1)
    boxes = pixel_boxes(proposals, PIXELS)
    x0, y0, x1, y1 = (edge.long() for edge in boxes)

    def before(y: Tensor, x: Tensor) -> Tensor:
        return integral.gather(1, y * (PIXELS + 1) + x)

    sums = before(y1, x1) - before(y0, x1) - before(y1, x0) + before(y0, x0)
    lowest, highest = (each.unsqueeze(1) for each in pixels.flatten(1).aminmax(dim=1))
    confidence = (sums - lowest * boxes.area) / highest
    order = confidence.topk(min(KEPT, sums.shape[1]), 1).indices
    return Selection(proposals.gather(1, order.unsqueeze(-1).expand(-1, -1, 4)), sums)


def selection_claims(location_map: Tensor, peer: Selection, ours: Selection) -> Iterator[Claim]:
    """That sums and selection are those of the pixels."""
    size = (PIXELS, PIXELS)
    pixels = F.interpolate(location_map.double().unsqueeze(1), size, mode="bilinear")
    gap = float(((peer.sums - ours.sums).abs() / pixels.sum((1, 2, 3)).unsqueeze(1)).max())
    yield Claim(f"sums within 1e-5 of those of the maps, {gap:.1e} apart", gap <= 1e-5)
    share = float((peer.proposals == ours.proposals).all(-1).float().mean())
    yield Claim(f"the same boxes in the same order, {share:.2%} of them", share > 0.999)
