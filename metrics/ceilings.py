"""The best scores that a protocol allows, and where a score lies between floor and ceiling."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metrics.functional.interactive import interactive_hits
from metrics.functional.success import auc, success_rate
from metrics.measurement import GridTruth, TruthPlanes, grid_truth, has_one_box_set
from metrics.protocols import Protocol, resolved
from metrics.truth import Truth


def ceiling(truth: Sequence[Truth], protocol: Protocol | str) -> dict[str, float]:
    """Highest score per key that any map without tied pixels could reach, sample by sample.

    A rule that keeps half of the pixels forbids the exact shape of every truth that is not half of
    the frame, and a rule that keeps one pixel less than the truth has forbids every exact shape.
    Where the threshold is free there is no ceiling below 1, but for samples without a marked pixel
    that count as misses.

    Args:
        truth: the samples to be scored.
        protocol: rules or their name.

    Returns:
        Fractions in [0, 1] per metric key, which a map with equal pixels may exceed; only
        ``segment_acc`` where no sample has a place to find, and that where segments are known.

    Raises:
        BenchError: unknown protocol.
    """
    protocol = resolved(protocol)
    knows_segments = any(sample.segments is not None for sample in truth)
    of_segments = {"segment_acc": 1.0} if knows_segments else {}
    placed = [sample for sample in truth if sample.has_place]
    drawn = [grid_truth(sample, protocol) for sample in placed]
    best = np.array([_best(gt, protocol) for gt in drawn])
    marked = np.array([bool(gt.whole.masks) for gt in drawn], dtype=np.bool_)
    if protocol.empty_truth == "excluded":
        best, marked = best[marked], marked[marked]
    if not len(best):
        return of_segments
    rates = {
        f"ciou@{threshold}": success_rate(best, protocol.success_bar(threshold))
        for threshold in protocol.success_thresholds
    }
    return {
        **rates,
        "auc": auc(best),
        "mean_iou": float(best.mean()),
        **({"iou@0.5": rates["ciou@0.5"]} if has_one_box_set(truth) else {}),
        "pixel_ap": 1.0,
        "pointing": float(marked.mean()),
        **_interactive(placed, best, protocol),
        **of_segments,
    }


def _best(gt: GridTruth, protocol: Protocol) -> float:
    """Highest consensus IoU that the protocol's rule allows on one sample; 0 where it is empty."""
    if protocol.threshold_rule not in ("upper_median", "truth_size"):
        return float(bool(gt.whole.masks))
    planes = [source for source in gt.sources if source is not None] or [gt.whole]
    return float(np.mean([best_ciou(one, kept_pixels(one.marked, protocol)) for one in planes]))


def best_ciou(planes: TruthPlanes, kept: int) -> float:
    """Highest consensus IoU of any prediction of exactly ``kept`` pixels.

    Marked pixels cost nothing, so the best choice takes them first, the surest first, and fills up
    with pixels outside the truth.

    Args:
        planes: see ``metrics.measurement.truth_planes``.
        kept: number of predicted pixels.

    Returns:
        Fraction in [0, 1]; 0 where the truth is empty.

    Examples:
        >>> quarter = TruthPlanes((1.0,), (np.array([True, False, False, False]),))
        >>> best_ciou(quarter, kept=2)
        0.5
    """
    inside = total = 0.0
    left = kept
    for weight, mask in zip(planes.weights, planes.masks, strict=True):  # the surest come first
        size = int(np.count_nonzero(mask))
        inside += weight * min(left, size)
        total += weight * size
        left -= min(left, size)
    return inside / (total + left) if total else 0.0


def kept_pixels(marked: int, protocol: Protocol) -> int:
    """How many pixels a rule that counts them keeps of a map without ties.

    Args:
        marked: number of pixels with a truth above 0.
        protocol: one with the rule ``upper_median`` or ``truth_size``.

    Examples:
        >>> [kept_pixels(100, resolved(name)) for name in ("lvs", "ezvsl", "align-adaptive")]
        [25087, 25088, 99]
    """
    pixels = protocol.map_size**2
    by_size = protocol.threshold_rule == "truth_size" and marked > 0
    kept = marked if by_size else pixels - pixels // 2
    return kept - (protocol.comparison == ">")


def _interactive(
    placed: Sequence[Truth], best: NDArray[np.float64], protocol: Protocol
) -> dict[str, float]:
    """Ceiling of interactive IoU, where samples share frames."""
    members = Counter(sample.frame for sample in placed if sample.frame is not None)
    if max(members.values(), default=1) < 2 or len(best) != len(placed):
        return {}
    hits = (best >= 0.5).astype(np.float64)
    found = interactive_hits(hits, [sample.frame for sample in placed], members)
    return {"iiou@0.5": float(np.nanmean(found))}


def skill(value: float | None, best_floor: float | None, ceiling: float | None) -> float | None:
    """Share of the way from the best floor to the ceiling, ``(x - floor) / (ceiling - floor)``.

    Args:
        value: score of a method.
        best_floor: highest score of a prediction that cannot hear.
        ceiling: highest score that the protocol allows.

    Returns:
        1 at the ceiling, 0 at the floor, negative below it; None where a part is missing or NaN or
        the floor is not below the ceiling.

    Examples:
        >>> round(skill(0.42, best_floor=0.34, ceiling=0.5), 6)
        0.5
    """
    if value is None or best_floor is None or ceiling is None:
        return None
    if np.isnan([value, best_floor, ceiling]).any() or best_floor >= ceiling:
        return None
    return (value - best_floor) / (ceiling - best_floor)
