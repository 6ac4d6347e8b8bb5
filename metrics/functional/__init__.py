"""The formulas: pure functions of arrays, without state or files.

``consensus_iou`` works on tensors; its module :mod:`metrics.functional.ciou` is the one that
imports torch, and therefore not imported here.
"""

from metrics.functional.extended import (
    average_precision,
    max_f1,
    slavc_ap,
    slavc_max_f1,
    top_quarter_confidence,
)
from metrics.functional.interactive import interactive_hits
from metrics.functional.multi_source import (
    class_aware_ap,
    mean_ciou,
    non_sounding_area,
    permutation_invariant_ap,
)
from metrics.functional.onscreen import best_threshold, onscreen_auc, onscreen_correct
from metrics.functional.ranking import pixel_ap, pointing
from metrics.functional.rasterise import box_map
from metrics.functional.segments import segment_accuracy
from metrics.functional.success import auc, sample_auc, success_curve, success_rate

__all__ = [
    "auc",
    "average_precision",
    "best_threshold",
    "box_map",
    "class_aware_ap",
    "interactive_hits",
    "max_f1",
    "mean_ciou",
    "non_sounding_area",
    "onscreen_auc",
    "onscreen_correct",
    "permutation_invariant_ap",
    "pixel_ap",
    "pointing",
    "sample_auc",
    "segment_accuracy",
    "slavc_ap",
    "slavc_max_f1",
    "success_curve",
    "success_rate",
    "top_quarter_confidence",
]
