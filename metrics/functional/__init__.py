"""The formulas: pure functions of arrays, without protocol, state or files.

``consensus_iou`` works on tensors; its module :mod:`metrics.functional.ciou` is the one that
imports torch, and therefore not imported here.
"""

from metrics.functional.ranking import pixel_ap, pointing
from metrics.functional.rasterise import box_map
from metrics.functional.success import auc, sample_auc, success_curve, success_rate

__all__ = [
    "auc",
    "box_map",
    "pixel_ap",
    "pointing",
    "sample_auc",
    "success_curve",
    "success_rate",
]
