"""Sheets of pictures: samples of a run, answers to sounds, segments, seconds and epochs."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import TextToPath
from numpy.typing import NDArray

from benchmark.drawing import (
    INK,
    PALE_COLOUR,
    PALE_INK,
    PANEL,
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    WRONG,
    AnswerPicture,
    Image,
    SheetSample,
    answer_picture,
    fitted,
    heat_over,
    heatmap_picture,
    judged,
    outlined,
    png,
    prediction_picture,
    resized,
    truth_outlines,
    truth_picture,
)
from datamodules.atomic_files import write_atomically
from metrics.truth import Truth

GAP = 6  # between the pictures of one sample
MARGIN = 28
CAPTION = 46  # above the pictures of one sample
SAMPLES_ACROSS = 2
HEADER = 84
GROUP_HEADER = 44
PICTURES = 3
DPI = 128  # a power of two: pixels / DPI * DPI is exact
POINTS_PER_INCH = 72

NARROWEST = 200  # room for a caption, however narrow the picture
ANSWERS_ACROSS = 4  # pictures in a row of it, the frame itself among them
ANSWER_HEADER = 112
FONT = "DejaVu Sans"

STRIP_PANEL = 124  # pixels per side of one segment on a strip
STRIP_HEADER = 112
STRIP_TIME = 54  # above the frames: the bar of the event and the numbers of the segments
STRIP_NOTES = 38  # below the answers of one row
NARROWEST_STRIP = 700  # room for the header, however few the segments

SECOND_SIDE = 176  # longer side of the picture of a second
SECONDS_LINE = 1440  # pixels that a line of seconds may take
SECOND_TIME = 22  # above each picture of a second
SECOND_NOTES = 48  # below it

EPOCH_PANEL = 96  # pixels per side of the map of one epoch


class StripPictures(NamedTuple):
    """One row of a strip: what was answered for each segment; a title may be a class."""

    title: str
    note: str
    answers: Sequence[AnswerPicture]
    is_right: Sequence[bool] | None = None  # whether each title is the true class; None: unknown


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
    write_atomically(path, png(_written(canvas, [*_header(title), *texts])))


def answer_sheet(
    path: Path, frame: Image, answers: Sequence[AnswerPicture], *, title: str, image_name: str
) -> None:
    """Writes a PNG with a frame and, beside it, the answer to each sound over that frame.

    Equal answers give equal bytes.

    Args:
        path: of the PNG; written atomically.
        frame: ``(H, W, 3)`` uint8 RGB, of any size; it keeps its shape.
        answers: one for each sound, in order.
        title: of the whole sheet, such as the run's id.
        image_name: above the frame.

    Raises:
        ValueError: there are no answers.
    """
    if not answers:
        raise ValueError("a sheet of answers needs at least one")
    shown = fitted(frame)
    has_boxes = any(answer.boxes is not None for answer in answers)
    tiles = [(shown, image_name, f"{frame.shape[1]} x {frame.shape[0]} px")]
    tiles += [(answer_picture(shown, one), one.title, f"confidence {one.confidence:.3g}")
              for one in answers]  # fmt: skip
    canvas, texts = _tiled(tiles)
    header = _answer_header(title, canvas.shape[1] - 2 * MARGIN, has_boxes=has_boxes)
    write_atomically(path, png(_written(canvas, [*header, *texts])))


def strip_sheet(
    path: Path,
    frames: Image,
    rows: Sequence[StripPictures],
    *,
    truth: Truth,
    is_event: Sequence[bool] | None,
) -> None:
    """Writes a PNG with the frames of a clip in a row, and a row of answers below for each of rows.

    Above the frames a bar spans the segments of the event; the frame of the middle segment, which
    truth is of, has its outline. Equal input gives equal bytes.

    Args:
        path: of the PNG; written atomically.
        frames: ``(T, H, W, 3)`` uint8 RGB.
        rows: T answers each.
        truth: of the clip.
        is_event: whether the event is in each segment; None where nobody told.

    Raises:
        ValueError: there are no rows, or one has not T answers.
    """
    if not rows or any(len(row.answers) != len(frames) for row in rows):
        raise ValueError("a strip needs at least one row, with an answer for each frame")
    length = len(frames) * (STRIP_PANEL + GAP) - GAP
    row_height = CAPTION + STRIP_PANEL + STRIP_NOTES
    height = STRIP_HEADER + STRIP_TIME + STRIP_PANEL + len(rows) * row_height + MARGIN // 2
    canvas = np.full((height, 2 * MARGIN + max(length, NARROWEST_STRIP), 3), 255, dtype=np.uint8)
    texts = _strip_header(truth, canvas.shape[1] - 2 * MARGIN, is_event, rows)
    texts += _paste_event(canvas, is_event, len(frames))
    top = STRIP_HEADER + STRIP_TIME
    shown = [resized(frame, STRIP_PANEL, STRIP_PANEL) for frame in frames]
    middle = len(frames) // 2
    target = outlined(shown[middle], truth_outlines(truth, STRIP_PANEL), TRUTH_COLOUR)
    _paste_strip(canvas, [*shown[:middle], target, *shown[middle + 1 :]], top)
    for place, row in enumerate(rows):
        upper = top + STRIP_PANEL + place * row_height
        pictures = [answer_picture(*pair) for pair in zip(shown, row.answers, strict=True)]
        _paste_strip(canvas, pictures, upper + CAPTION)
        texts += _strip_texts(row, upper, canvas.shape[1] - 2 * MARGIN)
    write_atomically(path, png(_written(canvas, texts)))


def seconds_sheet(
    path: Path, frames: Sequence[Image], answers: Sequence[AnswerPicture], title: str
) -> None:
    """Writes a PNG with a column for each second of a video: its frame, and the answer below.

    Columns stand side by side in as many lines as they need. Equal input gives equal bytes.

    Args:
        path: of the PNG; written atomically.
        frames: one for each second, with ``SECOND_SIDE`` as their longer side.
        answers: one for each second; their titles stand above them.
        title: of the whole sheet, such as the run's id and the name of the video.

    Raises:
        ValueError: there are no seconds, or not as many frames as answers.
    """
    if not frames or len(frames) != len(answers):
        raise ValueError("a sheet of seconds needs at least one, with an answer for each frame")
    height, width = frames[0].shape[:2]
    column = max(width, STRIP_PANEL)
    across = min(len(frames), (SECONDS_LINE + GAP) // (column + GAP))
    line = SECOND_TIME + 2 * height + GAP + SECOND_NOTES
    room = max(across * (column + GAP) - GAP, NARROWEST_STRIP)
    paper = ANSWER_HEADER + -(-len(frames) // across) * line + MARGIN // 2
    canvas = np.full((paper, 2 * MARGIN + room, 3), 255, dtype=np.uint8)
    texts = _answer_header(title, room, has_boxes=any(one.boxes is not None for one in answers))
    for place, (frame, answer) in enumerate(zip(frames, answers, strict=True)):
        left = MARGIN + place % across * (column + GAP)
        top = ANSWER_HEADER + place // across * line + SECOND_TIME
        shown = resized(frame, width, height)
        below = top + height + GAP
        canvas[top : top + height, left : left + width] = shown
        canvas[below : below + height, left : left + width] = answer_picture(shown, answer)
        texts.append(_Text(left, top - 7, answer.title, 13, PALE_INK))
        texts += [
            _shortened(_Text(left, below + height + 16 + 15 * number, words, 12, colour), column)
            for number, (words, colour) in enumerate(judged(answer))
        ]
    write_atomically(path, png(_written(canvas, texts)))


def epochs_picture(frames: Sequence[Image], maps: Mapping[str, NDArray[np.float32]]) -> Image:
    """A row for each clip: its frame, then its map after one epoch beside that after another.

    Args:
        frames: ``(H, W, 3)`` uint8 RGB of N clips.
        maps: ``(N, h, w)`` by the words that stand above them.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    shown = [resized(frame, EPOCH_PANEL, EPOCH_PANEL) for frame in frames]
    columns = {"frame": shown} | {
        words: [heat_over(*pair) for pair in zip(shown, of_epoch, strict=True)]
        for words, of_epoch in maps.items()
    }
    step, top = EPOCH_PANEL + GAP, CAPTION // 2
    size = (top + len(frames) * step - GAP + MARGIN, 2 * MARGIN + len(columns) * step - GAP, 3)
    canvas = np.full(size, 255, dtype=np.uint8)
    texts = []
    for column, (words, pictures) in enumerate(columns.items()):
        left = MARGIN + column * step
        texts.append(_Text(left, top - 6, words, 13, PALE_INK))
        for row, picture in enumerate(pictures):
            upper = top + row * step
            canvas[upper : upper + EPOCH_PANEL, left : left + EPOCH_PANEL] = picture
    return _written(canvas, texts)


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


def _tiled(tiles: Sequence[tuple[Image, str, str]]) -> tuple[Image, list[_Text]]:
    """Pictures of one size in rows on paper, and the two lines that go above each."""
    height, width = tiles[0][0].shape[:2]
    room = max(width, NARROWEST)
    rows = -(-len(tiles) // ANSWERS_ACROSS)
    across = -(-len(tiles) // rows)  # rows of about one length
    row_height = CAPTION + height + MARGIN // 2
    paper = ANSWER_HEADER + rows * row_height + MARGIN // 2
    canvas = np.full((paper, MARGIN + across * (room + MARGIN), 3), 255, dtype=np.uint8)
    texts = []
    for place, (picture, name, note) in enumerate(tiles):
        left = MARGIN + place % across * (room + MARGIN)
        top = ANSWER_HEADER + place // across * row_height
        canvas[top + CAPTION : top + CAPTION + height, left : left + width] = picture
        texts.append(_shortened(_Text(left, top + 18, name, 15, weight="bold"), room))
        texts.append(_Text(left, top + 36, note, 13, PALE_INK))
    return canvas, texts


def _strip_left(segment: int) -> int:
    return MARGIN + segment * (STRIP_PANEL + GAP)


def _paste_strip(canvas: Image, pictures: Sequence[Image], top: int) -> None:
    for segment, picture in enumerate(pictures):
        left = _strip_left(segment)
        canvas[top : top + STRIP_PANEL, left : left + STRIP_PANEL] = picture


def _paste_event(canvas: Image, is_event: Sequence[bool] | None, count: int) -> list[_Text]:
    """A bar over the segments of the event, unbroken between two of them; their numbers below."""
    top = STRIP_HEADER + 12
    for segment, is_shown in enumerate(is_event or ()):
        goes_on = is_event is not None and segment + 1 < count and is_event[segment + 1]
        left = _strip_left(segment)
        right = left + STRIP_PANEL + (GAP if goes_on else 0)
        if is_shown:
            canvas[top : top + 10, left:right] = TRUTH_COLOUR
    baseline = STRIP_HEADER + STRIP_TIME - 8
    return [_Text(_strip_left(segment), baseline, str(segment), 13, PALE_INK)
            for segment in range(count)]  # fmt: skip


def _strip_texts(row: StripPictures, top: int, room: int) -> list[_Text]:
    """What is said above a row, and below each of its pictures."""
    texts = [
        _shortened(_Text(MARGIN, top + 24, row.title, 15, weight="bold"), room),
        _shortened(_Text(MARGIN, top + 40, row.note, 13, PALE_INK), room),
    ]
    baseline = top + CAPTION + STRIP_PANEL + 15
    for segment, answer in enumerate(row.answers):
        is_wrong = row.is_right is not None and not row.is_right[segment]
        lines = [(answer.title, WRONG if is_wrong else INK), *judged(answer)]
        shown = [line for line in lines if line[0]][:2]
        for place, (words, colour) in enumerate(shown):
            text = _Text(_strip_left(segment), baseline + 15 * place, words, 12, colour)
            texts.append(_shortened(text, STRIP_PANEL))
    return texts


def _strip_header(
    truth: Truth, room: int, is_event: Sequence[bool] | None, rows: Sequence[StripPictures]
) -> list[_Text]:
    category = "" if truth.category is None else f"  ·  {truth.category}"
    scale = "segments in order  |  map: dark low to bright high, each on its own scale"
    texts = [
        _shortened(_Text(MARGIN, 40, f"{truth.id}{category}", 21, weight="bold"), room),
        _Text(MARGIN, 67, scale, 14, PALE_INK),
        _Text(MARGIN, 90, "○", 18),
        _Text(MARGIN + 20, 90, "highest cell", 14),
    ]
    if is_event is not None or len(truth.boxes) or truth.mask is not None:
        texts += [
            _Text(MARGIN + 124, 90, "■", 18, _hex(TRUTH_COLOUR)),
            _Text(MARGIN + 146, 90, "truth", 14),
        ]
    has_classes = any(row.is_right is not None for row in rows)
    if any(answer.boxes is not None for row in rows for answer in row.answers):
        texts += _box_legend(MARGIN + (392 if has_classes else 206))
    if has_classes:
        texts += [
            _Text(MARGIN + 206, 90, "class", 14),
            _Text(MARGIN + 250, 90, "wrong class", 14, WRONG),
        ]
    return texts


def _answer_header(title: str, room: int, *, has_boxes: bool) -> list[_Text]:
    texts = [
        _shortened(_Text(MARGIN, 40, title, 21, weight="bold"), room),
        _Text(MARGIN, 67, "map: dark low to bright high, each on its own scale", 14, PALE_INK),
        _Text(MARGIN, 90, "○", 18),
        _Text(MARGIN + 20, 90, "highest cell", 14),
    ]
    return [*texts, *_box_legend(MARGIN + 124)] if has_boxes else texts


def _box_legend(left: int) -> list[_Text]:
    return [
        _Text(left, 90, "■", 18, _hex(PREDICTION_COLOUR)),
        _Text(left + 22, 90, "box", 14),
        _Text(left + 62, 90, "■", 18, _hex(PALE_COLOUR)),
        _Text(left + 84, 90, "others", 14),
    ]


def _shortened(text: _Text, room: int) -> _Text:
    """The text with as much of its middle left out as must be for it to be that wide."""
    font = FontProperties(family=FONT, weight=text.weight, size=text.height)
    known = get_font(findfont(font))
    words = "".join(
        letter if letter.isprintable() and known.get_char_index(ord(letter)) else "�"
        for letter in text.words
    )

    def shown(kept: int) -> str:
        if kept == len(words):
            return words
        return f"{words[: kept - kept // 2]}…{words[len(words) - kept // 2 :]}"

    def width(kept: int) -> int:
        return ceil(TextToPath().get_text_width_height_descent(shown(kept), font, False)[0])

    kept = bisect_right(range(1, len(words) + 1), room, key=width)
    return text._replace(words=shown(kept))


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _header(title: str) -> list[_Text]:
    truth, prediction = _hex(TRUTH_COLOUR), _hex(PREDICTION_COLOUR)
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
                    family=FONT, parse_math=False)  # fmt: skip
    agg = FigureCanvasAgg(figure)
    agg.draw()  # type: ignore[no-untyped-call]
    words = np.asarray(agg.buffer_rgba(), dtype=np.uint8)[..., :3]  # type: ignore[no-untyped-call]
    return np.minimum(canvas, words)
