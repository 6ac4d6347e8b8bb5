"""What a method or any program answers about the samples of a test list."""

from collections.abc import Sequence, Sized
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BenchError
from metrics.truth import Truth

MapRange = tuple[float, float]
LARGEST = float(np.finfo(np.float32).max)
LARGEST_OF_MAP = LARGEST / 4  # sums of bicubic weights reach 1.9, so nothing overflows
NO_MAPS = "predictions hold no maps; write heatmap (N, h, w) or boxes (N, K, 4)"


class Answer(NamedTuple):
    """Everything predicted for one sample; what was not predicted is None or NaN."""

    heatmap: NDArray[np.floating] | None = None  # (h, w), higher = source
    confidence: float = float("nan")  # higher = on screen
    boxes: NDArray[np.floating] | None = None  # (K, 4) xyxy in [0, 1], best first, NaN = absent
    segment_logits: NDArray[np.floating] | None = None  # (T, C), the last class is background
    source_heatmap: NDArray[np.floating] | None = None  # (S, h, w), one per source of the truth
    num_boxes: int = 1  # how many of the best boxes make the prediction
    on_screen: bool | None = None  # whether the method says that the source is in the frame


class Predictions(NamedTuple):
    """Answers of one program, one row per sample.

    Attributes:
        ids: N sample ids in any order.
        heatmap: ``(N, h, w)`` finite numbers, higher = source; None where boxes, maps per source or
            logits of segments are all there is.
        confidence: ``(N,)`` finite numbers, higher = on screen.
        boxes: ``(N, K, 4)`` xyxy in [0, 1], best first; a row of NaN is no box.
        segment_logits: ``(N, T, C)`` finite numbers, the last class is background.
        source_heatmap: ``(N, S, h, w)`` finite numbers, map s for source s of the truth.
        source_count: ``(N,)`` how many of the S maps a sample has; None where it has all.
        map_range: lowest and highest value that a map can take; None where only the order counts.
        use_boxes: whether the best boxes are the prediction, in place of the map.
        num_boxes: how many of them; 2 where a method answers one box for each of two sources.
        on_screen: ``(N,)`` whether a method says that the source is in the frame, by a rule of its
            own; such an answer counts where neither a place nor a class is answered.
    """

    ids: Sequence[str]
    heatmap: NDArray[np.floating] | None = None
    confidence: NDArray[np.floating] | None = None
    boxes: NDArray[np.floating] | None = None
    segment_logits: NDArray[np.floating] | None = None
    source_heatmap: NDArray[np.floating] | None = None
    source_count: NDArray[np.integer] | None = None
    map_range: MapRange | None = None
    use_boxes: bool = False
    num_boxes: int = 1
    on_screen: NDArray[np.bool_] | None = None

    @property
    def has_maps(self) -> bool:
        """Whether there is a map of either kind."""
        return self.heatmap is not None or self.source_heatmap is not None

    def answer(self, row: int) -> Answer:
        """Everything predicted for the sample of a row."""
        count = None if self.source_count is None else int(self.source_count[row])
        return Answer(
            heatmap=_row(self.heatmap, row),
            confidence=float("nan") if self.confidence is None else float(self.confidence[row]),
            boxes=_row(self.boxes, row) if self.use_boxes else None,
            segment_logits=_row(self.segment_logits, row),
            source_heatmap=None
            if self.source_heatmap is None
            else self.source_heatmap[row, :count],
            num_boxes=self.num_boxes,
            on_screen=None if self.on_screen is None else bool(self.on_screen[row]),
        )


def _row(rows: NDArray[np.floating] | None, row: int) -> NDArray[np.floating] | None:
    return None if rows is None else rows[row]


def check_shapes(predictions: Predictions) -> None:
    """Nothing, or an error where an array does not fit the ids or holds no real numbers.

    Raises:
        BenchError: names the array, the shape it should have and the one it has.
    """
    n = len(predictions.ids)
    answers_places = predictions.has_maps or predictions.use_boxes
    if not answers_places and predictions.segment_logits is None:
        raise BenchError(NO_MAPS)
    if predictions.use_boxes and predictions.boxes is None:
        raise BenchError("predictions hold no boxes; write boxes (N, K, 4) or score the maps")
    shapes = {
        "heatmap": "h, w", "confidence": "", "boxes": "K, 4", "segment_logits": "T, C",
        "source_heatmap": "S, h, w", "source_count": "", "on_screen": "",
    }  # fmt: skip
    for name, axes in shapes.items():
        rows = getattr(predictions, name)
        if rows is not None:
            _check_array(name, np.asarray(rows), n, [axis for axis in axes.split(", ") if axis])
    if predictions.confidence is not None and np.isnan(predictions.confidence).any():
        nameless = predictions.ids[int(np.flatnonzero(np.isnan(predictions.confidence))[0])]
        raise BenchError(f"confidence of {nameless!r} is NaN; write finite numbers")
    count, maps = predictions.source_count, predictions.source_heatmap
    if count is not None and maps is not None:
        for sample_id, own in zip(predictions.ids, count.tolist(), strict=True):
            if not 0 < own <= maps.shape[1]:
                raise BenchError(
                    f"source_count of {sample_id!r} must be in [1, {maps.shape[1]}], got {own}"
                )


def _check_array(name: str, rows: NDArray[np.generic], n: int, axes: list[str]) -> None:
    fits = rows.ndim == 1 + len(axes) and len(rows) == n and (n == 0 or 0 not in rows.shape)
    if not fits or (name == "boxes" and rows.shape[-1] != 4):
        expected = ", ".join([str(n), *axes]) + ("" if axes else ",")
        raise BenchError(f"{name} must be ({expected}), a row per id, got {rows.shape}")
    if rows.dtype.kind not in ("iu" if name == "source_count" else "fiub"):
        kind = "whole numbers" if name == "source_count" else "real numbers"
        raise BenchError(f"{name} must hold {kind}, got {rows.dtype}")


def check_answer(answer: Answer, truth: Truth) -> None:
    """Nothing, or an error where a value of one sample cannot be scored.

    Raises:
        BenchError: NaN, infinity or a range beyond float32 in a map, a confidence or logits, for a
            map beyond a quarter of float32, so that no interpolation overflows; a box
            outside the frame or turned inside out; too few maps or segments for the truth, or
            nothing that could be measured against it.
    """
    for name, values, largest in (
        ("map", answer.heatmap, LARGEST_OF_MAP),
        ("map of a source", answer.source_heatmap, LARGEST_OF_MAP),
        ("segment_logits", answer.segment_logits, LARGEST),
    ):
        if values is not None and not _spans_at_most(largest, values):
            raise BenchError(
                f"{name} of {truth.id!r} holds NaN, infinity or a range beyond float32; "
                f"write numbers within {largest:.2g}, higher where the source is"
            )
    if np.isinf(answer.confidence):
        raise BenchError(f"confidence of {truth.id!r} must be finite, got {answer.confidence}")
    if answer.boxes is not None:
        _check_boxes(answer.boxes, truth.id)
    _check_count("source_heatmap", answer.source_heatmap, truth.sources or None, truth.id)
    _check_count("segment_logits", answer.segment_logits, truth.segments, truth.id)
    if answer.segment_logits is not None and truth.segments is not None:
        highest, classes = int(truth.segments.max()), answer.segment_logits.shape[1]
        if highest >= classes:
            raise BenchError(
                f"segment_logits of {truth.id!r} have {classes} classes, but its truth has class "
                f"{highest}; write one column per class, background last"
            )
    _check_measurable(answer, truth)


def _check_measurable(answer: Answer, truth: Truth) -> None:
    """Whether the answer has a part of the kind that the truth knows."""
    if truth.has_only_segments:
        if answer.segment_logits is None and answer.on_screen is None:
            raise BenchError(
                f"{truth.id!r} has no box, only classes of its segments, and the predictions hold "
                "no classes; write segment_logits (N, T, C), or choose data with boxes"
            )
    elif answer.heatmap is None and answer.boxes is None:
        if answer.source_heatmap is None:
            raise BenchError(NO_MAPS)
        if not truth.sources:
            raise BenchError(
                f"{truth.id!r} has maps per source only, but its truth knows no sources; write "
                "heatmap"
            )


def _check_count(name: str, given: Sized | None, expected: Sized | None, sample_id: str) -> None:
    """One map per source and one row of logits per segment, in the order of the truth."""
    if given is not None and expected is not None and len(given) != len(expected):
        raise BenchError(
            f"{name} of {sample_id!r} holds {len(given)} rows, but its truth has {len(expected)}; "
            "write one for each, in its order"
        )


def _spans_at_most(largest: float, values: NDArray[np.floating]) -> bool:
    """Whether neither a value nor the extent of all, as float32, is larger; false for NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32, copy=False)
        low, high = single.min(), single.max()
        return bool(-low <= largest and high <= largest and high - low <= largest)


def _check_boxes(boxes: NDArray[np.floating], sample_id: str) -> None:
    present = boxes[~np.isnan(boxes).all(axis=1)]
    inside = (present >= 0) & (present <= 1)
    if not inside.all():
        bad = present[~inside.all(axis=1)][0]
        raise BenchError(
            f"a box of {sample_id!r} lies outside the frame, got {bad.tolist()}; write xyxy in "
            "fractions of the frame, in [0, 1]"
        )
    if (present[:, 2:] < present[:, :2]).any():
        bad = present[(present[:, 2:] < present[:, :2]).any(axis=1)][0]
        raise BenchError(
            f"a box of {sample_id!r} must be xyxy with x1 <= x2 and y1 <= y2, got {bad.tolist()}"
        )
