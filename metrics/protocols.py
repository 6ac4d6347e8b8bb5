"""Named, immutable rules that turn a map into a prediction and boxes into a truth.

A change of a rule is a new name. This module needs nothing but the standard library, so that
listing the protocols stays instant.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from metrics.errors import BenchError, did_you_mean

Interpolation = Literal["half_pixel_bilinear", "align_corners_bilinear", "align_corners_bicubic"]
Normalisation = Literal["min_max", "double_negation", "none"]
ThresholdRule = Literal["upper_median", "truth_size", "fixed", "share_of_maximum", "cross_fitted"]
Comparison = Literal[">", ">="]
TruthRule = Literal["annotator", "box"]
EmptyTruth = Literal["miss", "excluded"]
Confidence = Literal["given", "top_quarter"]

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
        lists: per data set, the test list that the source scored, in words.
        map_size: pixels per side of the square on which map and truth meet.
        interpolation: how the map gets there; see ``metrics.functional.resize``.
        interpolation_on: data sets on which the source resizes otherwise.
        calibrated: whether ``(map - low) / (high - low)`` precedes the normalisation, where the
            range of the maps is known.
        normalisation: ``min_max`` maps to [0, 1], a constant map to zeros; ``double_negation`` is
            ``1 - min_max(-map)`` in float32, where a constant map c becomes 1 + c; ``none`` keeps
            the calibrated map.
        threshold_rule: ``upper_median`` takes the value at index n/2 of the n sorted pixels;
            ``truth_size`` the one at index n - k, k being the number of marked pixels (n/2 where
            there is none); ``fixed`` takes ``threshold``; ``share_of_maximum`` takes ``threshold``
            times the highest pixel; ``cross_fitted`` takes from ``threshold_grid`` the best one
            for the other folds.
        threshold: of ``fixed`` and ``share_of_maximum``.
        threshold_grid: candidates of ``cross_fitted``, ascending.
        comparison: whether a pixel equal to the threshold is predicted.
        keep_ones: whether pixels of at least 1 are predicted even where the comparison says no.
        truth_rule: who votes where several annotators drew; see ``box_map``.
        success_thresholds: consensus IoU (at least) that counts as a hit, one key ``ciou@`` each.
        success_on_grid: whether a bar is read off the grid of the AUC, whose 0.05 * 6 lies above
            the number 0.3 in the last bit.
        empty_truth: whether a sample without a marked pixel is a miss or is excluded and counted.
        confidence: ``given`` with the predictions, or the mean of the highest quarter of the map.
        silent_level: pixels up to here are silent; the metric ``nsa`` exists where it is set.
        oracle: whether the rule looks at the truth of the very sample, so that no method could.
    """

    name: str
    summary: str
    source: str
    lists: Mapping[str, str] = field(default_factory=dict)
    map_size: int = 224
    interpolation: Interpolation
    interpolation_on: Mapping[str, Interpolation] = field(default_factory=dict)
    calibrated: bool = False
    normalisation: Normalisation
    threshold_rule: ThresholdRule
    threshold: float | None = None
    threshold_grid: tuple[float, ...] = ()
    comparison: Comparison
    keep_ones: bool = False
    truth_rule: TruthRule
    success_thresholds: tuple[float, ...] = (0.5, 0.3)
    success_on_grid: bool = False
    empty_truth: EmptyTruth
    confidence: Confidence = "given"
    silent_level: float | None = None
    oracle: bool = False

    @property
    def needs_range(self) -> bool:
        """Whether the values of a map count, and not their order alone."""
        return self.calibrated and self.normalisation == "none"

    def success_bar(self, threshold: float) -> float:
        """Consensus IoU, at least, that is a hit at one of the success thresholds.

        Examples:
            >>> PROTOCOLS["lvs"].success_bar(0.3), PROTOCOLS["dsol-duet"].success_bar(0.3)
            (0.3, 0.30000000000000004)
        """
        nearest = AUC_GRID[round(20 * threshold)]
        return nearest if self.success_on_grid and abs(nearest - threshold) < 1e-9 else threshold

    @property
    def num_cuts(self) -> int:
        """Number of thresholds that a map is measured at."""
        return len(self.threshold_grid) if self.threshold_rule == "cross_fitted" else 1


_BENCH = Protocol(
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
)
_LVS = Protocol(
    name="lvs",
    summary="Half of the pixels (strictly above the median), half-pixel bilinear.",
    source="LVS test.py:79-97, hche11/Localizing-Visual-Sounds-the-Hard-Way at 8fe8cbb",
    lists={"flickr": "249 clips", "vggss": "5,158 clips"},
    interpolation="half_pixel_bilinear",
    normalisation="double_negation",
    threshold_rule="upper_median",
    comparison=">",
    keep_ones=True,  # LVS test.py:84-88: what already equals 1 survives the cut
    truth_rule="box",
    empty_truth="miss",
)
_EZVSL = Protocol(
    name="ezvsl",
    summary="Half of the pixels (at least the median), bilinear with aligned corners.",
    source="EZ-VSL test.py:105-129, stoneMo/EZ-VSL at 95ff5bf",
    lists={"flickr": "249 clips, those on disk", "vggss": "5,158 clips, those on disk"},
    interpolation="align_corners_bilinear",
    normalisation="min_max",
    threshold_rule="upper_median",
    comparison=">=",
    truth_rule="box",
    empty_truth="miss",
)
_SLAVC = replace(
    _EZVSL,
    name="slavc",
    summary="Half of the pixels (at least the median), bicubic with aligned corners.",
    source="SLAVC test.py:160-205 with --relative_prediction, stoneMo/SLAVC at 05b429c",
    lists={
        "flickr": "250 clips", "flickr_extended": "250 clips and 250 negatives",
        "vggss": "5,158 clips", "vggss_extended": "5,158 clips and 5,158 negatives",
    },
    interpolation="align_corners_bicubic",
    calibrated=True,
    success_thresholds=(0.5, 0.3, 0.75),
    confidence="top_quarter",
)  # fmt: skip
_ALIGN = Protocol(
    name="align",
    summary="Half of the pixels (strictly above the median), a plateau at the top predicts none.",
    source="ALIGN test.py:364-473, utils.py:53-78, kaistmm/SSLalignment at e7ae3c5",
    lists={"flickr": "250 clips", "vggss": "4,655 clips", "is3": "6,480 sounds"},
    interpolation="half_pixel_bilinear",
    interpolation_on=dict.fromkeys(  # only VGG-SS goes through cv2
        ("flickr", "flickr_extended", "is3"), "align_corners_bilinear"
    ),
    normalisation="double_negation",
    threshold_rule="upper_median",
    comparison=">",
    truth_rule="box",
    empty_truth="miss",
)
_SENOCAK = Protocol(
    name="senocak",
    summary="Pixels above one half of the map's range; annotators vote, two make a pixel.",
    source="Senocak et al. 2018, section 5; its text names no threshold, 0.5 is decided here",
    lists={"flickr": "250 clips"},
    interpolation="half_pixel_bilinear",
    normalisation="min_max",
    threshold_rule="fixed",
    threshold=0.5,
    comparison=">",
    truth_rule="annotator",
    empty_truth="miss",
)
_DSOL = Protocol(
    name="dsol-solo",
    summary="Pixels above a tenth of the map's highest value.",
    source="DSOL tools.py:8-43 at 7f40207, DTaoo/Discriminative-Sounding-Objects-Localization",
    lists={"music_solo": "12,356 frames"},
    interpolation="half_pixel_bilinear",
    calibrated=True,
    normalisation="none",
    threshold_rule="share_of_maximum",
    threshold=0.1,
    comparison=">",
    truth_rule="box",
    success_on_grid=True,  # prints results[6] and results[10] of its curve
    empty_truth="miss",
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            _BENCH,
            _LVS,
            _EZVSL,
            _SLAVC,
            replace(
                _SLAVC,
                name="slavc-absolute",
                summary="Pixels of at least the middle of the score's range, bicubic.",
                source="SLAVC test.py:160-205 as its scripts call it, stoneMo/SLAVC at 05b429c",
                normalisation="none",
                threshold_rule="fixed",
                threshold=0.5,
            ),
            _ALIGN,
            replace(
                _ALIGN,
                name="align-adaptive",
                summary="As many pixels as the truth has, less one: looks at the answer.",
                source="ALIGN test.py:380-384, utils.py:61-66, kaistmm/SSLalignment at e7ae3c5",
                threshold_rule="truth_size",
                oracle=True,
            ),
            Protocol(
                name="sspl",
                summary="Pixels of at least one half of the map's range.",
                source="SSPL test.py:254, 283-305, zjsong/SSPL at d1af4c7",
                lists={"flickr": "249 clips", "vggss": "4,692 clips"},
                interpolation="half_pixel_bilinear",
                normalisation="min_max",  # of a constant map it makes NaN, and no pixel passes
                threshold_rule="fixed",
                threshold=0.5,
                comparison=">=",
                truth_rule="box",
                empty_truth="miss",
            ),
            _SENOCAK,
            _DSOL,
            replace(
                _DSOL,
                name="dsol-synthetic",
                summary="A map per class, pixels above half of its highest value, mean of classes.",
                source="DSOL eval.py, DTaoo/Discriminative-Sounding-Objects-Localization",
                lists={"music_synthetic": "all mixtures"},
                threshold=0.5,
                silent_level=0.2,
            ),
            replace(
                _DSOL,
                name="dsol-duet",
                summary="A map per class, pixels above a fifth of its maximum, mean of classes.",
                source="DSOL eval_duet.py, DTaoo/Discriminative-Sounding-Objects-Localization",
                lists={"music_duet": "10,284 frames"},
                threshold=0.2,
                silent_level=0.2,
            ),
        )
    }
)


def resolved(protocol: Protocol | str) -> Protocol:
    """A protocol, or the one of that name; errors as of :func:`protocol_named`."""
    return protocol_named(protocol) if isinstance(protocol, str) else protocol


def protocol_named(name: str, data: str | None = None) -> Protocol:
    """Protocol of that name, as its source applies it to a data set.

    Args:
        name: one of ``PROTOCOLS``.
        data: data set that is scored; ``align`` resizes by it.

    Raises:
        BenchError: no protocol has it.

    Examples:
        >>> protocol_named("lvs").comparison
        '>'
        >>> protocol_named("align", "is3").interpolation
        'align_corners_bilinear'
    """
    if name not in PROTOCOLS:
        raise BenchError(
            f"unknown protocol {name!r}.{did_you_mean(name, PROTOCOLS)} Run bench list protocols."
        )
    protocol = PROTOCOLS[name]
    if data is None or data not in protocol.interpolation_on:
        return protocol
    return replace(protocol, interpolation=protocol.interpolation_on[data])
