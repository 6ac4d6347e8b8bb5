"""Classification of the segments of a clip."""

import numpy as np
from numpy.typing import NDArray


def segment_accuracy(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Share of segments whose highest logit is that of their label.

    Background, the last class, is a class like any other. Over clips of equally many segments the
    mean of this is the accuracy of AVE, ``supervised_main.py:69-83``,
    https://github.com/YapengTian/AVE-ECCV18 at 93f843f.

    Args:
        logits: ``(T, C)`` without NaN; the first maximum counts where several are equal.
        labels: ``(T,)`` int64 in [0, C), where C - 1 is background.

    Returns:
        Fraction in [0, 1]; NaN where there is no segment.

    Raises:
        ValueError: lengths differ, or a label is outside [0, C).

    Examples:
        >>> segment_accuracy(np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]), np.array([0, 1, 1]))
        0.6666666666666666
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"logits and labels must be (T, C) and (T,), got {logits.shape} and {labels.shape}"
        )
    if not len(labels):
        return float("nan")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels must be in [0, {logits.shape[1]}), got {labels.tolist()}")
    return float(np.mean(logits.argmax(axis=1) == labels))
