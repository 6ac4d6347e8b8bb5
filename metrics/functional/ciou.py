"""Consensus IoU, the overlap that every localisation score of the field starts from."""

import torch
from torch import Tensor


def consensus_iou(pred: Tensor, gt: Tensor) -> Tensor:
    """Consensus IoU of a binary map against a soft ground truth, one value per sample.

    ``sum(pred*gt) / (sum(gt) + sum(pred*(gt==0)))``: a predicted pixel that only some annotators
    marked costs nothing. Same ratio as LVS ``utils.py:22``,
    https://github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way at 8fe8cbb.

    Args:
        pred: ``(B, H, W)`` bool.
        gt: ``(B, H, W)`` float in [0, 1]; 0.5 where one of two annotators marked the pixel.

    Returns:
        ``(B,)`` float64 in [0, 1]; NaN where neither map has a pixel (0/0).

    Raises:
        ValueError: shapes differ.

    Examples:
        >>> pred = torch.tensor([[[True, True, False]]])
        >>> gt = torch.tensor([[[1.0, 0.0, 0.5]]])
        >>> consensus_iou(pred, gt)
        tensor([0.4000], dtype=torch.float64)
    """
    if pred.shape != gt.shape:
        raise ValueError(
            f"pred and gt must have one shape, got {tuple(pred.shape)} and {tuple(gt.shape)}"
        )
    gt = gt.to(torch.float64)
    intersection = (gt * pred).sum((-2, -1))
    outside = (pred & (gt == 0)).sum((-2, -1))
    return intersection / (gt.sum((-2, -1)) + outside)
