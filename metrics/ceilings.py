"""The best scores that a protocol allows, and where a score lies between floor and ceiling."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metrics.functional.success import auc, success_rate
from metrics.measurement import truth_map
from metrics.protocols import Protocol, protocol_named
from metrics.truth import Truth


def ceiling(truth: Sequence[Truth], protocol: Protocol | str) -> dict[str, float]:
    """Highest score per key that any map without tied pixels could reach.

    A rule that keeps half of the pixels forbids the exact shape of every truth that is not half of
    the frame. Where the threshold is free there is no ceiling below 1.

    Args:
        truth: the samples to be scored.
        protocol: rules or their name.

    Returns:
        Fractions in [0, 1] per metric key; empty where there is no sample.

    Raises:
        BenchError: unknown protocol.
    """
    if isinstance(protocol, str):
        protocol = protocol_named(protocol)
    if not truth:
        return {}
    success_keys = [f"ciou@{threshold}" for threshold in protocol.success_thresholds]
    if protocol.threshold_rule != "upper_median":
        return dict.fromkeys([*success_keys, "auc", "mean_iou", "pixel_ap", "pointing"], 1.0)
    pixels = protocol.map_size**2
    kept = pixels - pixels // 2 - (protocol.comparison == ">")
    best = np.array([best_ciou(truth_map(sample, protocol), kept) for sample in truth])
    rates = [success_rate(best, threshold) for threshold in protocol.success_thresholds]
    return {
        **dict(zip(success_keys, rates, strict=True)),
        "auc": auc(best),
        "mean_iou": float(np.nan_to_num(best).mean()),
    }


def best_ciou(gt: NDArray[np.floating], kept: int) -> float:
    """Highest consensus IoU of any prediction of exactly ``kept`` pixels.

    Marked pixels cost nothing, so the best choice takes them first, the surest first, and fills up
    with pixels outside the truth.

    Args:
        gt: ``(H, W)`` float in [0, 1].
        kept: number of predicted pixels, at most H*W.

    Returns:
        Fraction in [0, 1]; 0 where the truth is empty, NaN where ``kept`` is 0 as well.

    Examples:
        >>> best_ciou(np.array([[1.0, 0.0, 0.0, 0.0]]), kept=2)
        0.5
    """
    chosen = np.sort(gt, axis=None)[::-1][:kept]
    total = gt.sum(dtype=np.float64) + np.count_nonzero(chosen == 0)
    return float(chosen.sum(dtype=np.float64) / total) if total else float("nan")


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
