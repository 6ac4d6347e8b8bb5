import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmark.drawing import (
    LONG_SIDE,
    PALE_COLOUR,
    PANEL,
    PEAK_COLOUR,
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    AnswerPicture,
    SheetSample,
    answer_picture,
    heatmap_picture,
    prediction_picture,
    truth_picture,
)
from benchmark.sheets import (
    MARGIN,
    StripPictures,
    answer_sheet,
    contact_sheet,
    pick_samples,
    seconds_sheet,
    strip_sheet,
)
from metrics.truth import Truth

BOX = np.array([[0.25, 0.5, 0.75, 1.0]])


def sample(
    truth: Truth | None = None, heatmap: np.ndarray | None = None, group: str = "best"
) -> SheetSample:
    prediction = np.zeros((224, 224), dtype=bool)
    prediction[:112, :112] = True
    return SheetSample(
        frame=np.full((64, 64, 3), 128, dtype=np.uint8),
        truth=truth or Truth("clip", (BOX,), category="disc-plain"),
        heatmap=np.eye(7, dtype=np.float32) if heatmap is None else heatmap,
        prediction=prediction,
        title="cIoU 0.61",
        group=group,
    )


def is_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.asarray((picture == np.array(colour)).all(axis=2))


def read_png(path: Path) -> np.ndarray:
    encoded = cv2.imread(str(path))
    assert encoded is not None
    return np.asarray(cv2.cvtColor(encoded, cv2.COLOR_BGR2RGB))


def test_best_median_and_worst_rows_are_picked() -> None:
    ciou = np.array([0.0, 0.9, 0.4, 0.8, 0.5, 0.1, 0.6, 0.2, 0.3])

    picked = pick_samples(ciou, each=2)

    assert picked == {"best": [1, 3], "median": [4, 2], "worst": [0, 5]}


@pytest.mark.parametrize("count", range(1, 15))
def test_no_sample_is_picked_twice_however_few_there_are(count: int) -> None:
    picked = [row for rows in pick_samples(np.linspace(0, 1, count)).values() for row in rows]

    assert len(picked) == len(set(picked)) > 0


def test_equal_scores_are_picked_by_row() -> None:
    assert pick_samples(np.zeros(3)) == {"best": [0], "median": [1], "worst": [2]}


def test_an_undefined_score_is_among_the_worst() -> None:
    assert pick_samples(np.array([0.5, np.nan, 0.4]))["worst"] == [1]


def test_the_outline_of_the_true_box_has_the_truth_colour() -> None:
    drawn = is_colour(truth_picture(sample()), TRUTH_COLOUR)

    left, top, right = (
        round(0.25 * (PANEL - 1)),
        round(0.5 * (PANEL - 1)),
        round(0.75 * (PANEL - 1)),
    )
    assert drawn[top, left : right + 1].all()
    assert drawn[top:PANEL, left].all()
    assert not drawn[top + 10 : -10, left + 10 : right - 10].any()
    assert not drawn[: top - 5].any()


def test_every_annotator_s_box_is_drawn() -> None:
    other = np.array([[0.1, 0.1, 0.3, 0.3]])

    drawn = is_colour(truth_picture(sample(Truth("clip", (BOX, other)))), TRUTH_COLOUR)

    assert drawn[round(0.1 * (PANEL - 1)), round(0.2 * (PANEL - 1))]


@pytest.mark.parametrize(
    "boxes",
    [
        np.empty((0, 4)),
        np.array([[-2.88e16, 0.5, -2.88e16, 0.7]]),
        np.array([[0.5, 0.5, 0.5, 0.5]]),
    ],
)
def test_truth_without_area_draws_nothing(boxes: np.ndarray) -> None:
    assert not is_colour(truth_picture(sample(Truth("clip", (boxes,)))), TRUTH_COLOUR).any()


def test_a_true_mask_is_drawn_instead_of_its_boxes() -> None:
    mask = np.zeros((10, 10), dtype=bool)
    mask[:2, :2] = True

    drawn = is_colour(truth_picture(sample(Truth("clip", (BOX,), mask=mask))), TRUTH_COLOUR)

    assert drawn[: PANEL // 4, : PANEL // 4].any()
    assert not drawn[PANEL // 2 :].any()


def test_the_highest_cell_of_the_map_is_the_brightest() -> None:
    heatmap = np.zeros((7, 7), dtype=np.float32)
    heatmap[1, 5] = -0.5
    heatmap[5, 1] = 3.0

    light = heatmap_picture(sample(heatmap=heatmap)).sum(axis=2, dtype=int)

    cell = np.unravel_index(light.argmax(), light.shape)
    assert tuple(int(place * 7 / PANEL) for place in cell) == (5, 1)


def test_a_constant_map_is_drawn_dark() -> None:
    picture = heatmap_picture(sample(heatmap=np.full((7, 7), 2.0, dtype=np.float32)))

    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 1


def test_the_prediction_is_outlined_and_the_rest_darkened() -> None:
    picture = prediction_picture(sample())

    assert is_colour(picture, PREDICTION_COLOUR)[PANEL // 2 - 1, 10:45].all()
    assert (picture[20, 20, 0], picture[20, 190, 0]) == (128, 44)


def test_a_contact_sheet_is_a_png_of_two_samples_across(tmp_path: Path) -> None:
    samples = [sample(group=group) for group in ("best", "worst") for _ in range(3)]

    contact_sheet(tmp_path / "sheet.png", samples, "a run")

    # 28 px of margin, two strips of three 208 px pictures with 6 px between them; 84 px of header,
    # two groups of a 44 px heading and two rows of 46 + 208 + 14 px, 28 px of margin
    assert read_png(tmp_path / "sheet.png").shape == (
        84 + 2 * (44 + 2 * 268) + 28,
        28 + 2 * (636 + 28),
        3,
    )


def test_the_sheet_shows_the_pictures_unchanged(tmp_path: Path) -> None:
    contact_sheet(tmp_path / "sheet.png", [sample()], "a run")

    sheet = read_png(tmp_path / "sheet.png")
    top, left = 84 + 44 + 46, 28
    np.testing.assert_array_equal(
        truth_picture(sample()), sheet[top : top + PANEL, left : left + PANEL]
    )


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        contact_sheet(tmp_path / name, [sample()], "a $run_with^odd words")

    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_sheet_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs at least one sample"):
        contact_sheet(tmp_path / "sheet.png", [], "a run")


def answer(**changes: Any) -> AnswerPicture:
    heatmap = np.zeros((4, 8), dtype=np.float32)
    heatmap[1, 6] = 1
    return AnswerPicture("x.wav", heatmap, 0.5, (6.5 / 8, 1.5 / 4))._replace(**changes)


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


def test_an_answer_rings_its_peak_on_a_frame_of_any_shape() -> None:
    ringed = is_colour(answer_picture(grey(100, 200), answer()), PEAK_COLOUR)

    rows, columns = np.nonzero(ringed)
    assert (1.5 / 4 * 100, 6.5 / 8 * 200) == pytest.approx((rows.mean(), columns.mean()), abs=1)


def test_an_answer_is_brightest_where_its_map_is_highest() -> None:
    light = answer_picture(grey(100, 200), answer(peak=(0.0, 0.99))).sum(axis=2, dtype=int)
    light[80:, :20] = 0  # the ring, away from the peak

    row, column = np.unravel_index(light.argmax(), light.shape)
    assert (1, 6) == (int(row * 4 / 100), int(column * 8 / 200))


@pytest.mark.parametrize("num_boxes", [1, 2])
def test_boxes_that_are_the_answer_are_wide_and_the_others_thin_and_pale(num_boxes: int) -> None:
    boxes = np.array([[0.1, 0.1, 0.4, 0.9], [0.6, 0.1, 0.9, 0.9], [np.nan] * 4], np.float32)

    drawn = answer_picture(grey(100, 200), answer(boxes=boxes, num_boxes=num_boxes))

    wide, pale = (is_colour(drawn[70:71], colour)[0] for colour in (PREDICTION_COLOUR, PALE_COLOUR))
    upright_edges = [wide[:100].sum() > 2, wide[100:].sum() > 2, pale.sum()]
    assert upright_edges == [True, num_boxes == 2, 2 * (2 - num_boxes)]
    assert (pale if num_boxes == 1 else wide)[round(0.6 * 199)]


def test_a_sheet_of_answers_shows_the_frame_and_every_answer_in_rows_of_one_length(
    tmp_path: Path,
) -> None:
    frame = np.random.default_rng(0).integers(256, size=(160, 320, 3), dtype=np.uint8)

    answer_sheet(tmp_path / "sheet.png", frame, [answer()] * 5, title="a run", image_name="a.jpg")

    # 112 px of header, rows of three 320 x 160 px pictures with 46 px of caption and 14 px below,
    # 14 px at the end; 28 px of margin and between pictures
    sheet = read_png(tmp_path / "sheet.png")
    assert (112 + 2 * (46 + 160 + 14) + 14, 28 + 3 * (320 + 28), 3) == sheet.shape
    np.testing.assert_array_equal(frame, sheet[158:318, 28:348])
    for top, left in ((158, 376), (158, 724), (378, 28), (378, 376), (378, 724)):
        np.testing.assert_array_equal(
            answer_picture(frame, answer()), sheet[top : top + 160, left : left + 320]
        )


def test_equal_answers_give_equal_bytes_whatever_the_names(tmp_path: Path) -> None:
    names = {"title": "강아지 \udcff\n$x^", "image_name": "long " * 40 + ".jpg"}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("one.png", "two.png"):
            answer_sheet(tmp_path / name, grey(300, 20), [answer()], **names)

    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_long_name_keeps_to_the_width_of_its_picture(tmp_path: Path) -> None:
    for name in ("short", "long " * 40):
        answer_sheet(tmp_path / f"{name[:5]}.png", grey(100, 200), [answer()], title="a run",
                     image_name=name)  # fmt: skip

    long = read_png(tmp_path / "long .png")
    gap = slice(MARGIN + LONG_SIDE + 1, 2 * MARGIN + LONG_SIDE)  # between the two captions
    assert (long[112:158, gap] == 255).all()
    assert (long[112:158, : gap.start] < 128).any()


def strip(path: Path, *rows: StripPictures, is_event: list[bool] | None = None) -> np.ndarray:
    """A strip of five grey frames of 64 px; the bars and the middle frame have truth's colour."""
    frames = np.full((5, 64, 64, 3), 128, dtype=np.uint8)
    strip_sheet(path, frames, rows, truth=Truth("clip", (BOX,)), is_event=is_event)
    return read_png(path)


def test_a_strip_has_a_row_of_frames_and_a_row_of_every_run(tmp_path: Path) -> None:
    row = StripPictures("a run", "a note", [answer()] * 5)

    sheet = strip(tmp_path / "strip.png", row, row)

    # 112 px of header, 54 px for the event, frames of 124 px, two rows of 46 + 124 + 38 px, 14 px;
    # five pictures with 6 px between them want 644 px, the header 700 px; 28 px of margin
    assert sheet.shape == (112 + 54 + 124 + 2 * (46 + 124 + 38) + 14, 2 * 28 + 700, 3)
    picture = answer_picture(grey(124, 124), answer())
    for segment in range(5):
        left = 28 + segment * (124 + 6)
        for top in (112 + 54 + 124 + 46, 112 + 54 + 124 + 46 + 208):
            np.testing.assert_array_equal(picture, sheet[top : top + 124, left : left + 124])


def test_the_bar_of_a_strip_spans_the_segments_of_the_event(tmp_path: Path) -> None:
    row = StripPictures("a run", "a note", [answer()] * 5)
    events = [True, False, True, True, False]

    sheet = strip(tmp_path / "strip.png", row, is_event=events)

    bar = is_colour(sheet[112 + 12 : 112 + 22], TRUTH_COLOUR).all(axis=0)
    expected = np.zeros_like(bar)
    expected[28 : 28 + 124] = True
    expected[28 + 2 * 130 : 28 + 3 * 130 + 124] = True  # unbroken from the third to the fourth
    np.testing.assert_array_equal(bar, expected)


def test_the_place_of_the_truth_is_drawn_in_the_middle_segment_alone(tmp_path: Path) -> None:
    sheet = strip(tmp_path / "strip.png", StripPictures("a run", "a note", [answer()] * 5))

    columns = np.flatnonzero(is_colour(sheet[166 : 166 + 124], TRUTH_COLOUR).any(axis=0))
    left = 28 + 2 * 130
    assert left + 0.25 * 123 - 2 <= columns.min() < columns.max() <= left + 0.75 * 123 + 2


def test_a_wrong_class_stands_in_another_colour(tmp_path: Path) -> None:
    titled = [answer(title="Bark")] * 5
    is_right = [True, False, True, False, True]
    row = StripPictures("a run", "a note", titled, is_right)

    sheet = strip(tmp_path / "strip.png", row)

    words = sheet[112 + 54 + 124 + 46 + 124 + 2 :][:16].astype(int)
    red = words[..., 0] - words[..., 2] > 100
    shown = [bool(red[:, 28 + k * 130 : 28 + k * 130 + 124].any()) for k in range(5)]
    assert [not right for right in is_right] == shown


def test_a_strip_without_an_answer_for_each_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one row, with an answer for each frame"):
        strip(tmp_path / "strip.png", StripPictures("a run", "a note", [answer()] * 4))


def test_a_sheet_without_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs at least one"):
        answer_sheet(tmp_path / "sheet.png", grey(2, 2), [], title="a run", image_name="a.jpg")


def test_a_strip_says_the_decision_and_explains_the_boxes(tmp_path: Path) -> None:
    plain, decided = (
        strip(tmp_path / "strip.png", StripPictures("a run", "a note", [one] * 5))
        for one in (answer(title=""), answer(title="", boxes=BOX, on_screen=True))
    )

    below = slice(112 + 54 + 124 + 46 + 124 + 18, 112 + 54 + 124 + 46 + 124 + 36)  # second line
    assert (plain[below] == 255).all()
    assert (decided[below] < 128).any()
    assert is_colour(decided[:112], PREDICTION_COLOUR).any()
    assert not is_colour(plain[:112], PREDICTION_COLOUR).any()


def test_a_sheet_of_seconds_has_a_column_for_each_in_as_many_lines_as_it_needs(
    tmp_path: Path,
) -> None:
    frames = [np.full((99, 176, 3), 100 + second, np.uint8) for second in range(9)]
    answers = [answer(on_screen=True)] * 9

    seconds_sheet(tmp_path / "sheet.png", frames, answers, "a.mp4")

    # eight columns would take 8 x 176 + 7 x 6 = 1450 of 1440 px, so there are seven in a line of
    # 22 px for the time, two pictures of 99 px with 6 px between them, and 48 px of words
    sheet, line = read_png(tmp_path / "sheet.png"), 22 + 99 + 6 + 99 + 48
    assert sheet.shape == (112 + 2 * line + 14, 2 * 28 + 7 * 176 + 6 * 6, 3)
    for second in range(9):
        left, top = 28 + second % 7 * 182, 112 + second // 7 * line + 22
        np.testing.assert_array_equal(frames[second], sheet[top : top + 99, left : left + 176])
        below = sheet[top + 105 : top + 204, left : left + 176]
        np.testing.assert_array_equal(answer_picture(frames[second], answers[second]), below)
        words = sheet[top + 204 : top + 252, left : left + 176]
        assert (words < 128).any()
    assert (sheet[112 + line :, 28 + 2 * 182 :] == 255).all()


def test_words_fit_under_the_pictures_of_an_upright_video(tmp_path: Path) -> None:
    frames = [grey(176, 20)] * 2

    seconds_sheet(tmp_path / "sheet.png", frames, [answer()] * 2, "a.mp4")

    sheet = read_png(tmp_path / "sheet.png")
    assert (sheet[112:, 28 + 124 : 28 + 130] == 255).all()  # between columns of 124 px


def test_a_sheet_without_seconds_or_answers_is_refused(tmp_path: Path) -> None:
    for frames, answers in (([], []), ([grey(9, 9)], [])):
        with pytest.raises(ValueError, match="at least one, with an answer for each frame"):
            seconds_sheet(tmp_path / "sheet.png", frames, answers, "a.mp4")
