"""Named, immutable rules that turn a map into a prediction and boxes into a truth.

A change of a rule is a new name. This module needs nothing but the standard library, so that
listing the protocols stays instant.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from metrics.errors import BenchError

Interpolation = Literal["half_pixel_bilinear", "align_corners_bilinear"]
Normalisation = Literal["min_max", "double_negation"]
ThresholdRule = Literal["upper_median", "cross_fitted"]
Comparison = Literal[">", ">="]
TruthRule = Literal["annotator", "box"]
EmptyTruth = Literal["miss", "excluded"]

# Products, not quotients: LVS utils.py:29-33 at 8fe8cbb, and exact ties depend on it.
AUC_GRID = tuple(0.05 * k for k in range(21))
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything between a raw map and its scores.

    Attributes:
        name: as on the command line.
        summary: one line for ``bench list protocols``.
        source: code or page that the rules reproduce.
        map_size: pixels per side of the square on which map and truth meet.
        interpolation: how the map gets there; see ``metrics.functional.resize``.
        normalisation: ``min_max`` maps to [0, 1], a constant map to zeros; ``double_negation`` is
            ``1 - min_max(-map)`` in float32, where a constant map c becomes 1 + c.
        threshold_rule: ``upper_median`` takes the value at index n/2 of the n sorted pixels;
            ``cross_fitted`` takes from ``threshold_grid`` the best one for the other folds.
        comparison: whether a pixel equal to the threshold is predicted.
        keep_ones: whether pixels of at least 1 are predicted even where the comparison says no.
        threshold_grid: candidates of ``cross_fitted``, ascending.
        truth_rule: who votes where several annotators drew; see ``box_map``.
        success_thresholds: consensus IoU (at least) that counts as a hit, one key ``ciou@`` each.
        empty_truth: whether a sample without a marked pixel is a miss or is excluded and counted.
    """

    name: str
    summary: str
    source: str
    map_size: int = 224
    interpolation: Interpolation
    normalisation: Normalisation
    threshold_rule: ThresholdRule
    comparison: Comparison
    keep_ones: bool = False
    threshold_grid: tuple[float, ...] = ()
    truth_rule: TruthRule
    success_thresholds: tuple[float, ...] = (0.5, 0.3)
    empty_truth: EmptyTruth


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol(
                name="bench-v1",
                summary="Threshold cross-fitted over five folds: no ceiling below 1.",
                source="this benchmark",
                interpolation="half_pixel_bilinear",
                normalisation="min_max",
                threshold_rule="cross_fitted",
                comparison=">=",
                threshold_grid=AUC_GRID[1:20],
                truth_rule="annotator",
                empty_truth="excluded",
            ),
            Protocol(
                name="lvs",
                summary="Half of the pixels (strictly above the median), half-pixel bilinear.",
                source="LVS test.py:79-97, hche11/Localizing-Visual-Sounds-the-Hard-Way at 8fe8cbb",
                interpolation="half_pixel_bilinear",
                normalisation="double_negation",
                threshold_rule="upper_median",
                comparison=">",
                keep_ones=True,  # LVS test.py:84-88: what already equals 1 survives the cut
                truth_rule="box",
                empty_truth="miss",
            ),
            Protocol(
                name="ezvsl",
                summary="Half of the pixels (at least the median), bilinear with aligned corners.",
                source="EZ-VSL test.py:105-129, stoneMo/EZ-VSL at 95ff5bf",
                interpolation="align_corners_bilinear",
                normalisation="min_max",
                threshold_rule="upper_median",
                comparison=">=",
                truth_rule="box",
                empty_truth="miss",
            ),
        )
    }
)


def protocol_named(name: str) -> Protocol:
    """Protocol of that name.

    Raises:
        BenchError: no protocol has it.

    Examples:
        >>> protocol_named("lvs").comparison
        '>'
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    close = difflib.get_close_matches(name, PROTOCOLS, n=1)
    guess = f" Did you mean {close[0]}?" if close else ""
    raise BenchError(f"unknown protocol {name!r}.{guess} Run bench list protocols.")
