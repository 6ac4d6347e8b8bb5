"""Pictures of a run: what it was shown, what it answered, and what that was worth."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmark.records import write_atomically
from metrics.functional.rasterise import nearest
from metrics.functional.resize import half_pixel_bilinear
from metrics.truth import Truth

Image = NDArray[np.uint8]  # (H, W, 3) RGB

PANEL = 208  # pixels per side of one picture
GAP = 6  # between the pictures of one sample
MARGIN = 28
CAPTION = 46  # above the pictures of one sample
SAMPLES_ACROSS = 2
HEADER = 84
GROUP_HEADER = 44
PICTURES = 3
DPI = 128  # a power of two: pixels / DPI * DPI is exact
POINTS_PER_INCH = 72

# Okabe and Ito's palette, told apart with any colour vision: https://jfly.uni-koeln.de/color/
TRUTH_COLOUR = (86, 180, 233)
PREDICTION_COLOUR = (230, 159, 0)
HALO_COLOUR = (0, 0, 0)
INK, PALE_INK = "#1b1b1f", "#6b6b76"


class SheetSample(NamedTuple):
    """One test sample on a contact sheet."""

    frame: Image  # (H, W, 3) uint8 RGB
    truth: Truth
    heatmap: NDArray[np.float32]  # (h, w), higher = source
    prediction: NDArray[np.bool_]  # (224, 224), the mask under the protocol
    title: str  # such as "cIoU 0.61"
    group: str  # samples of one group stand together, in the order given


def pick_samples(ciou: NDArray[np.float64], each: int = 4) -> dict[str, list[int]]:
    """Rows of the best, median and worst samples; none stands in two groups.

    Args:
        ciou: ``(N,)`` consensus IoU; NaN counts as 0, equal values go by row.
        each: rows per group, fewer where N is under three times that.

    Returns:
        ``best`` from the highest down, ``median`` likewise, ``worst`` from the lowest up.

    Examples:
        >>> pick_samples(np.array([0.1, 0.9, 0.5, 0.3, 0.7]), each=1)
        {'best': [1], 'median': [2], 'worst': [0]}
    """
    order = np.argsort(-np.nan_to_num(ciou), kind="stable").tolist()
    each = min(each, max(1, len(order) // 3))
    best, rest = order[:each], order[each:]
    split = max(len(rest) - each, 0)
    middle, worst = rest[:split], rest[split:][::-1]
    start = max(len(middle) - each, 0) // 2
    return {"best": best, "median": middle[start : start + each], "worst": worst}


def contact_sheet(path: Path, samples: Sequence[SheetSample], title: str) -> None:
    """Writes a PNG with three pictures per sample: truth, map, and prediction with truth.

    Equal samples give equal bytes.

    Args:
        path: of the PNG; written atomically.
        samples: in groups.
        title: of the whole sheet, such as the run's id.

    Raises:
        ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("a contact sheet needs at least one sample")
    groups: dict[str, list[SheetSample]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample)
    canvas, texts = _layout(groups)
    write_atomically(path, _png(_written(canvas, [*_header(title), *texts])))


def truth_picture(sample: SheetSample) -> Image:
    """Frame with the ground truth's outline, ``(PANEL, PANEL, 3)``."""
    return _outlined(_panel(sample.frame), _truth_outlines(sample.truth), TRUTH_COLOUR)


def heatmap_picture(sample: SheetSample) -> Image:
    """Map from its lowest value (dark) to its highest (bright) over the grey frame."""
    heat = half_pixel_bilinear(np.asarray(sample.heatmap, dtype=np.float32), PANEL)
    heat = (heat - heat.min()) / ((heat.max() - heat.min()) or np.float32(1))
    colours = matplotlib.colormaps["inferno"](heat)[..., :3] * 255  # (PANEL, PANEL, 3)
    grey = _panel(sample.frame).mean(axis=2, keepdims=True)
    return np.asarray(0.35 * grey + 0.65 * colours).astype(np.uint8)


def prediction_picture(sample: SheetSample) -> Image:
    """Frame darkened where nothing is predicted, with outlines of prediction and truth."""
    mask = nearest(sample.prediction, PANEL)
    shaded = (_panel(sample.frame) * np.where(mask, 1.0, 0.35)[..., None]).astype(np.uint8)
    shaded = _outlined(shaded, _contours(mask), PREDICTION_COLOUR)
    return _outlined(shaded, _truth_outlines(sample.truth), TRUTH_COLOUR)


def _panel(frame: Image) -> Image:
    enlarges = frame.shape[0] < PANEL
    interpolation = cv2.INTER_CUBIC if enlarges else cv2.INTER_AREA
    return np.asarray(cv2.resize(frame, (PANEL, PANEL), interpolation=interpolation), np.uint8)


def _truth_outlines(truth: Truth) -> list[NDArray[np.int32]]:
    """Polygons on the panel: of the mask where there is one, else of every box with an area."""
    if truth.mask is not None:
        return _contours(nearest(truth.mask, PANEL))
    boxes = np.concatenate([np.empty((0, 4)), *truth.boxes])
    corners = np.rint(np.clip(boxes, 0, 1) * (PANEL - 1)).astype(np.int32)
    return [
        np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int32)
        for left, top, right, bottom in corners
        if left < right and top < bottom
    ]


def _contours(mask: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return [np.asarray(contour, dtype=np.int32) for contour in found]


def _outlined(
    picture: Image, outlines: Sequence[NDArray[np.int32]], colour: tuple[int, int, int]
) -> Image:
    """Outlines two pixels wide, dark-edged so that they show on any ground."""
    drawn = picture.copy()
    cv2.polylines(drawn, outlines, True, HALO_COLOUR, thickness=5)
    cv2.polylines(drawn, outlines, True, colour, thickness=2)
    return drawn


class _Text(NamedTuple):
    """Words on the sheet, all lengths in pixels from its upper left."""

    left: int
    baseline: int
    words: str
    height: int  # of the font
    colour: str = INK
    weight: str = "normal"


def _layout(groups: dict[str, list[SheetSample]]) -> tuple[Image, list[_Text]]:
    """Pictures pasted on paper, and the captions to write on it."""
    strip = PICTURES * PANEL + (PICTURES - 1) * GAP
    row_height = CAPTION + PANEL + MARGIN // 2
    across = min(SAMPLES_ACROSS, max(len(members) for members in groups.values()))
    rows = {name: -(-len(members) // across) for name, members in groups.items()}
    height = HEADER + sum(GROUP_HEADER + count * row_height for count in rows.values()) + MARGIN
    canvas = np.full((height, MARGIN + across * (strip + MARGIN), 3), 255, dtype=np.uint8)
    texts = []
    top = HEADER
    for name, members in groups.items():
        texts.append(_Text(MARGIN, top + 24, name, 21, weight="bold"))
        canvas[top + 33 : top + 34, MARGIN:-MARGIN] = 210  # a rule under the group's name
        top += GROUP_HEADER
        for place, sample in enumerate(members):
            left = MARGIN + place % across * (strip + MARGIN)
            upper = top + place // across * row_height
            texts += _caption(sample, left, upper)
            _paste(canvas, sample, left, upper + CAPTION)
        top += rows[name] * row_height
    return canvas, texts


def _paste(canvas: Image, sample: SheetSample, left: int, top: int) -> None:
    for picture in (truth_picture(sample), heatmap_picture(sample), prediction_picture(sample)):
        canvas[top : top + PANEL, left : left + PANEL] = picture
        left += PANEL + GAP


def _caption(sample: SheetSample, left: int, top: int) -> list[_Text]:
    category = "" if sample.truth.category is None else f"  ·  {sample.truth.category}"
    return [
        _Text(left, top + 18, sample.title, 15, weight="bold"),
        _Text(left, top + 36, f"{sample.truth.id}{category}", 13, PALE_INK),
    ]


def _header(title: str) -> list[_Text]:
    truth, prediction = (
        "#{:02x}{:02x}{:02x}".format(*colour) for colour in (TRUTH_COLOUR, PREDICTION_COLOUR)
    )
    order = "frame  |  map, dark low to bright high  |  prediction"
    return [
        _Text(MARGIN, 40, title, 21, weight="bold"),
        _Text(MARGIN, 67, "■", 18, truth),
        _Text(MARGIN + 18, 67, "truth", 14),
        _Text(MARGIN + 74, 67, "■", 18, prediction),
        _Text(MARGIN + 92, 67, "prediction", 14),
        _Text(MARGIN + 190, 67, order, 14, PALE_INK),
    ]


def _written(canvas: Image, texts: Sequence[_Text]) -> Image:
    """Canvas with dark texts where it is white."""
    height, width = canvas.shape[:2]
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    for text in texts:
        figure.text(text.left / width, 1 - text.baseline / height, text.words, color=text.colour,
                    fontsize=text.height * POINTS_PER_INCH / DPI, fontweight=text.weight,
                    family="DejaVu Sans", parse_math=False)  # fmt: skip
    agg = FigureCanvasAgg(figure)
    agg.draw()  # type: ignore[no-untyped-call]
    words = np.asarray(agg.buffer_rgba(), dtype=np.uint8)[..., :3]  # type: ignore[no-untyped-call]
    return np.minimum(canvas, words)


def _png(sheet: Image) -> bytes:
    """PNG without date or version, so that bytes can be compared."""
    encoded, content = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    assert encoded
    return content.tobytes()
