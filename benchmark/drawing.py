"""Pictures of one frame: its truth, a map over it, an answer with boxes and peak."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from datamodules.atomic_files import write_atomically
from metrics.functional.rasterise import nearest
from metrics.truth import Truth

Image = NDArray[np.uint8]  # (H, W, 3) RGB
Outlines = list[NDArray[np.int32]]  # polygons in pixels

PANEL = 208  # pixels per side of one picture
LONG_SIDE = 320  # of a picture on a sheet of answers
JPEG_QUALITY = 92
SMALLEST_TEXT = 0.4  # of OpenCV's font, 9 pixels high
PIXELS_PER_TEXT = 640  # of the shorter side of a film, for each unit of that font
PIXELS_PER_LINE = 180  # of that side, for each pixel of a line

# Okabe and Ito's palette, told apart with any colour vision: https://jfly.uni-koeln.de/color/
TRUTH_COLOUR = (86, 180, 233)
PREDICTION_COLOUR = (230, 159, 0)
HALO_COLOUR = (0, 0, 0)
PEAK_COLOUR = (255, 255, 255)
PALE_COLOUR = (214, 196, 150)  # boxes that are not the answer
WRONG = "#d55e00"  # of the same palette
INK, PALE_INK = "#1b1b1f", "#6b6b76"


class SheetSample(NamedTuple):
    """One test sample on a contact sheet."""

    frame: Image  # (H, W, 3) uint8 RGB
    truth: Truth
    heatmap: NDArray[np.float32]  # (h, w), higher = source
    prediction: NDArray[np.bool_]  # (224, 224), the mask under the protocol
    title: str  # such as "cIoU 0.61"
    group: str  # samples of one group stand together, in the order given


class AnswerPicture(NamedTuple):
    """What is drawn of the answer to one sound."""

    title: str  # such as the name of the sound's file
    heatmap: NDArray[np.float32]  # (h, w), higher = source
    confidence: float
    peak: tuple[float, float]  # x and y in [0, 1]
    boxes: NDArray[np.float32] | None = None  # (K, 4) xyxy in [0, 1], best first; absent are NaN
    num_boxes: int = 1  # how many of them are the answer; the others are drawn thin and pale
    on_screen: bool | None = None  # None where nothing decides it


def write_picture(path: Path, picture: Image) -> None:
    """Writes a PNG, atomically; equal pictures give equal bytes."""
    write_atomically(path, png(picture))


def film_frame(frame: Image, answer: AnswerPicture, heat: Image | None) -> Image:
    """A frame of a film with an answer over it, and in its corner the confidence.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB.
        answer: its best boxes are drawn, where it has some.
        heat: :func:`heat_picture` of the answer, of the frame's size, to be laid over the grey
            frame with a ring at the peak; None for the frame in its own colours.
    """
    height, width = frame.shape[:2]
    picture = frame.copy()
    if heat is not None:
        grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        picture = np.asarray(cv2.addWeighted(grey, 0.35, heat, 0.65, 0), np.uint8)
        x, y = answer.peak
        picture = _ringed(picture, (int(x * width), int(y * height)))
    best, _ = _boxes_of(answer, width, height)
    wide = max(2, min(height, width) // PIXELS_PER_LINE)
    return _labelled(outlined(picture, best, PREDICTION_COLOUR, wide), answer)


def _labelled(picture: Image, answer: AnswerPicture) -> Image:
    """The picture with confidence and decision in its corner, fast enough for every frame."""
    scale = max(SMALLEST_TEXT, min(picture.shape[:2]) / PIXELS_PER_TEXT)
    thickness = max(1, round(1.5 * scale))
    font, lines = cv2.FONT_HERSHEY_SIMPLEX, [words for words, _ in judged(answer)]
    step, width = round(36 * scale), max(cv2.getTextSize(words, font, scale, thickness)[0][0]
                                         for words in lines)  # fmt: skip
    drawn = picture.copy()
    drawn[: step * len(lines) + step // 2, : width + step] //= 3  # for any picture to set it off
    for number, words in enumerate(lines, 1):
        origin = step // 2, step * number
        cv2.putText(drawn, words, origin, font, scale, PEAK_COLOUR, thickness, cv2.LINE_AA)
    return drawn


def heat_picture(heatmap: NDArray[np.float32], width: int, height: int) -> Image:
    """The map in colours from its lowest value (dark) to its highest (bright), ``(H, W, 3)``."""
    return np.asarray(_heat_colours(heatmap, width, height)).astype(np.uint8)


def answer_picture(frame: Image, answer: AnswerPicture) -> Image:
    """The map over the grey frame, with its peak and the boxes; others than the best are pale."""
    height, width = frame.shape[:2]
    picture = heat_over(frame, answer.heatmap)
    best, others = _boxes_of(answer, width, height)
    cv2.polylines(picture, others, True, PALE_COLOUR)
    picture = outlined(picture, best, PREDICTION_COLOUR)
    x, y = answer.peak
    return _ringed(picture, (int(x * width), int(y * height)))


def _boxes_of(answer: AnswerPicture, width: int, height: int) -> tuple[Outlines, Outlines]:
    """Outlines of the boxes that are the answer, and of the others."""
    if answer.boxes is None:
        return [], []
    boxes, most = answer.boxes[~np.isnan(answer.boxes).any(1)], answer.num_boxes
    return _rectangles(boxes[:most], width, height), _rectangles(boxes[most:], width, height)


def screen_words(on_screen: bool) -> str:
    """What is said of the decision whether a sound is of something in the frame."""
    return "on screen" if on_screen else "off screen"


def truth_picture(sample: SheetSample) -> Image:
    """Frame with the ground truth's outline, ``(PANEL, PANEL, 3)``."""
    return outlined(_panel(sample.frame), truth_outlines(sample.truth, PANEL), TRUTH_COLOUR)


def heatmap_picture(sample: SheetSample) -> Image:
    """Map from its lowest value (dark) to its highest (bright) over the grey frame."""
    return heat_over(_panel(sample.frame), sample.heatmap)


def map_picture(sample: SheetSample, *, over_frame: bool = True) -> Image:
    """Map with outlines of prediction and truth, over the grey frame or alone."""
    shown = heatmap_picture(sample) if over_frame else heat_picture(sample.heatmap, PANEL, PANEL)
    mask = nearest(sample.prediction, PANEL)
    shown = outlined(shown, _contours(mask), PREDICTION_COLOUR)
    return outlined(shown, truth_outlines(sample.truth, PANEL), TRUTH_COLOUR)


def jpeg(picture: Image) -> bytes:
    """The picture as JPEG, equal bytes for equal pixels."""
    content = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    encoded, found = cv2.imencode(".jpg", content, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert encoded
    return bytes(found.tobytes())


def prediction_picture(sample: SheetSample) -> Image:
    """Frame darkened where nothing is predicted, with outlines of prediction and truth."""
    mask = nearest(sample.prediction, PANEL)
    shaded = (_panel(sample.frame) * np.where(mask, 1.0, 0.35)[..., None]).astype(np.uint8)
    shaded = outlined(shaded, _contours(mask), PREDICTION_COLOUR)
    return outlined(shaded, truth_outlines(sample.truth, PANEL), TRUTH_COLOUR)


def heat_over(frame: Image, heatmap: NDArray[np.float32]) -> Image:
    """The map in colours over the grey frame, ``(H, W, 3)`` as the frame."""
    colours = _heat_colours(heatmap, frame.shape[1], frame.shape[0])
    grey = frame.mean(axis=2, keepdims=True)
    return np.asarray(0.35 * grey + 0.65 * colours).astype(np.uint8)


def _heat_colours(heatmap: NDArray[np.float32], width: int, height: int) -> NDArray[np.float64]:
    """Colours of the map at every pixel, ``(H, W, 3)`` in [0, 255]."""
    heat = cv2.resize(np.ascontiguousarray(heatmap, np.float32), (width, height))  # cells are areas
    heat = (heat - heat.min()) / ((heat.max() - heat.min()) or np.float32(1))
    return np.asarray(matplotlib.colormaps["inferno"](heat)[..., :3] * 255, np.float64)


def _panel(frame: Image) -> Image:
    return resized(frame, PANEL, PANEL)


def resized(frame: Image, width: int, height: int) -> Image:
    """The picture at another size."""
    interpolation = cv2.INTER_CUBIC if frame.shape[0] < height else cv2.INTER_AREA
    return np.asarray(cv2.resize(frame, (width, height), interpolation=interpolation), np.uint8)


def truth_outlines(truth: Truth, size: int) -> Outlines:
    """Polygons on a square: of the mask where there is one, else of every box with an area."""
    if truth.mask is not None:
        return _contours(nearest(truth.mask, size))
    return _rectangles(np.concatenate([np.empty((0, 4)), *truth.boxes]), size, size)


def _rectangles(boxes: NDArray[Any], width: int, height: int) -> Outlines:
    """Polygons of the boxes with an area, on a picture of that size."""
    extent = np.array([width, height, width, height]) - 1
    corners = np.rint(np.clip(boxes, 0, 1) * extent).astype(np.int32)
    return [
        np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int32)
        for left, top, right, bottom in corners
        if left < right and top < bottom
    ]


def _contours(mask: NDArray[np.bool_]) -> Outlines:
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return [np.asarray(contour, dtype=np.int32) for contour in found]


def outlined(
    picture: Image,
    outlines: Sequence[NDArray[np.int32]],
    colour: tuple[int, int, int],
    wide: int = 2,
) -> Image:
    """Outlines so many pixels wide, dark-edged so that they show on any ground."""
    drawn = picture.copy()
    cv2.polylines(drawn, outlines, True, HALO_COLOUR, thickness=wide + 3)
    cv2.polylines(drawn, outlines, True, colour, thickness=wide)
    return drawn


def _ringed(picture: Image, middle: tuple[int, int]) -> Image:
    drawn = picture.copy()
    cv2.circle(drawn, middle, 8, HALO_COLOUR, thickness=5, lineType=cv2.LINE_AA)
    cv2.circle(drawn, middle, 8, PEAK_COLOUR, thickness=2, lineType=cv2.LINE_AA)
    return drawn


def fitted(frame: Image) -> Image:
    """The frame with ``LONG_SIDE`` as its longer side."""
    height, width = frame.shape[:2]
    scale = LONG_SIDE / max(height, width)
    return resized(frame, max(1, round(width * scale)), max(1, round(height * scale)))


def judged(answer: AnswerPicture) -> list[tuple[str, str]]:
    """Confidence of an answer and what the method decides by it, with their colours."""
    lines = [(f"confidence {answer.confidence:.2g}", PALE_INK)]
    if answer.on_screen is not None:
        lines.append((screen_words(answer.on_screen), INK if answer.on_screen else PALE_INK))
    return lines


def png(sheet: Image) -> bytes:
    """PNG without date or version, so that bytes can be compared."""
    encoded, content = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    assert encoded
    return content.tobytes()
