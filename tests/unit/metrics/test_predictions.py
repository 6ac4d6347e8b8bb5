import numpy as np
import pytest

from metrics.errors import BenchError
from metrics.predictions import Answer, Predictions, check_answer, check_shapes
from metrics.protocols import PROTOCOLS
from metrics.scoring import score
from metrics.truth import Source, Truth

BOX = np.array([[0.0, 0.0, 0.5, 1.0]])
TRUTH = Truth("clip", (BOX,))
MAPS = np.zeros((2, 3, 4), np.float32)
IDS = ["a", "b"]
TWO_SOURCES = TRUTH._replace(sources=(Source(BOX), Source(BOX)))


def test_an_answer_is_the_row_of_every_array():
    predictions = Predictions(
        IDS,
        np.arange(24.0).reshape(2, 3, 4),
        confidence=np.array([0.25, 0.75]),
        segment_logits=np.arange(12.0).reshape(2, 3, 2),
    )

    answer = predictions.answer(1)

    np.testing.assert_array_equal(answer.heatmap, np.arange(12.0, 24.0).reshape(3, 4))
    np.testing.assert_array_equal(answer.segment_logits, [[6, 7], [8, 9], [10, 11]])
    assert answer.confidence == 0.75


def test_what_was_not_predicted_is_none_or_nan():
    answer = Predictions(IDS, MAPS).answer(0)

    assert (answer.boxes, answer.segment_logits, answer.source_heatmap) == (None, None, None)
    assert np.isnan(answer.confidence)


def test_boxes_are_answers_only_where_they_are_to_be_scored():
    boxes = np.stack([BOX, BOX])

    assert Predictions(IDS, MAPS, boxes=boxes).answer(0).boxes is None
    assert Predictions(IDS, MAPS, boxes=boxes, use_boxes=True).answer(0).boxes is not None


def test_a_sample_has_as_many_source_maps_as_its_count_says():
    maps = np.arange(2 * 3 * 4).reshape(2, 3, 2, 2).astype(np.float32)
    counts = np.array([3, 2])

    of_both = [
        Predictions(IDS, source_heatmap=maps, source_count=counts).answer(row).source_heatmap
        for row in (0, 1)
    ]

    np.testing.assert_array_equal(of_both[0], maps[0])
    np.testing.assert_array_equal(of_both[1], maps[1, :2])


def test_without_a_count_a_sample_has_all_source_maps():
    maps = np.zeros((2, 3, 2, 2), np.float32)

    assert Predictions(IDS, source_heatmap=maps).answer(0).source_heatmap.shape == (3, 2, 2)


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "float16", "float32", "float64"])
def test_maps_of_any_real_numbers_are_taken(kind: str):
    maps = np.array([[[0, 1]]]).astype(kind)

    scores = score(Predictions(["clip"], maps), [TRUTH], "sspl")

    assert scores.values["ciou"].tolist() == [0.0]  # the right half, and the truth is the left


def test_half_precision_scores_like_its_values_in_single_precision():
    maps = np.random.default_rng(0).random((1, 7, 7)).astype(np.float16)

    halves = score(Predictions(["clip"], maps), [TRUTH], "ezvsl")

    singles = score(Predictions(["clip"], maps.astype(np.float32)), [TRUTH], "ezvsl")
    assert halves.values["ciou"].tolist() == singles.values["ciou"].tolist()


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("heatmap", (2, 3), r"heatmap must be \(2, h, w\), a row per id, got \(2, 3\)"),
        ("heatmap", (3, 2, 2), r"heatmap must be \(2, h, w\), .*got \(3, 2, 2\)"),
        ("heatmap", (2, 0, 2), r"heatmap must be \(2, h, w\), .*got \(2, 0, 2\)"),
        ("confidence", (2, 1), r"confidence must be \(2,\), .*got \(2, 1\)"),
        ("confidence", (3,), r"confidence must be \(2,\), .*got \(3,\)"),
        ("boxes", (2, 4), r"boxes must be \(2, K, 4\), .*got \(2, 4\)"),
        ("boxes", (2, 1, 5), r"boxes must be \(2, K, 4\), .*got \(2, 1, 5\)"),
        ("segment_logits", (2, 3), r"segment_logits must be \(2, T, C\), .*got \(2, 3\)"),
        ("source_heatmap", (2, 3, 3), r"source_heatmap must be \(2, S, h, w\), .*got \(2, 3, 3\)"),
    ],
)
def test_an_array_of_another_shape_is_named_with_the_one_it_should_have(
    name: str, shape: tuple[int, ...], expected: str
):
    predictions = Predictions(IDS, MAPS)._replace(**{name: np.zeros(shape)})

    with pytest.raises(BenchError, match=expected):
        check_shapes(predictions)


def test_a_count_of_sources_for_another_number_of_samples_is_refused():
    predictions = Predictions(
        IDS, source_heatmap=np.zeros((2, 2, 3, 3)), source_count=np.array([2, 2, 2])
    )

    with pytest.raises(BenchError, match=r"source_count must be \(2,\), a row per id, got \(3,\)"):
        check_shapes(predictions)


@pytest.mark.parametrize("count", [0, 3, -1])
def test_a_count_of_sources_that_are_not_there_names_the_id(count: int):
    predictions = Predictions(
        IDS, source_heatmap=np.zeros((2, 2, 3, 3)), source_count=np.array([2, count])
    )

    with pytest.raises(BenchError, match=rf"source_count of 'b' must be in \[1, 2\], got {count}"):
        check_shapes(predictions)


def test_a_count_that_is_no_whole_number_is_refused():
    predictions = Predictions(
        IDS, source_heatmap=np.zeros((2, 2, 3, 3)), source_count=np.array([1.0, 2.0])
    )

    with pytest.raises(BenchError, match="source_count must hold whole numbers, got float64"):
        check_shapes(predictions)


@pytest.mark.parametrize("kind", ["complex64", "object", "<U3"])
def test_maps_that_are_no_numbers_are_refused(kind: str):
    with pytest.raises(BenchError, match="heatmap must hold real numbers, got"):
        check_shapes(Predictions(IDS, MAPS.astype(kind)))


def test_predictions_without_any_map_are_refused():
    with pytest.raises(BenchError, match="predictions hold no maps"):
        check_shapes(Predictions(IDS, confidence=np.zeros(2)))


def test_boxes_to_be_scored_must_be_there():
    with pytest.raises(BenchError, match="predictions hold no boxes"):
        check_shapes(Predictions(IDS, MAPS, use_boxes=True))


def test_a_confidence_that_is_nan_names_the_id():
    with pytest.raises(BenchError, match="confidence of 'b' is NaN"):
        check_shapes(Predictions(IDS, MAPS, confidence=np.array([0.0, np.nan])))


def test_no_sample_at_all_fits():
    check_shapes(Predictions([], np.empty((0, 7, 7)), confidence=np.empty(0)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("heatmap", (3, 4), "map of 'clip'"),
        ("source_heatmap", (2, 3, 4), "map of a source of 'clip'"),
        ("segment_logits", (3, 4), "segment_logits of 'clip'"),
    ],
)
def test_a_value_that_is_no_finite_float32_names_array_and_id(
    name: str, shape: tuple[int, ...], words: str, bad: float
):
    values = np.zeros(shape)
    values.flat[-1] = bad

    with pytest.raises(BenchError, match=f"{words} holds NaN, infinity or a range beyond float32"):
        check_answer(Answer()._replace(**{name: values}), TRUTH)


@pytest.mark.parametrize(("name", "shape"), [("heatmap", (3, 4)), ("source_heatmap", (2, 3, 4))])
def test_a_map_that_an_interpolation_would_overflow_names_the_id(name: str, shape: tuple[int, ...]):
    values = np.zeros(shape)
    values.flat[-1] = 3e38  # a float32, and bicubic weights make 1.2 times that of it

    with pytest.raises(BenchError, match="of 'clip' holds .* write numbers within 8.5e.37, higher"):
        check_answer(Answer()._replace(**{name: values}), TRUTH)


def test_logits_may_be_as_low_as_float32_goes():
    logits = np.full((3, 4), np.finfo(np.float32).min)

    check_answer(Answer(heatmap=MAPS[0], segment_logits=logits), TRUTH)


def test_an_infinite_confidence_names_the_id():
    with pytest.raises(BenchError, match="confidence of 'clip' must be finite, got inf"):
        check_answer(Answer(confidence=np.inf), TRUTH)


@pytest.mark.parametrize("box", [[-0.1, 0, 0.5, 0.5], [0, 0, 1.1, 1], [0, np.nan, 1, 1]])
def test_a_box_outside_the_frame_names_the_id(box: list[float]):
    with pytest.raises(BenchError, match="a box of 'clip' lies outside the frame"):
        check_answer(Answer(boxes=np.array([[0.0, 0.0, 1.0, 1.0], box])), TRUTH)


@pytest.mark.parametrize("box", [[0.5, 0, 0.4, 1], [0, 0.5, 1, 0.4]])
def test_a_box_turned_inside_out_names_the_id(box: list[float]):
    with pytest.raises(BenchError, match="a box of 'clip' must be xyxy with x1 <= x2"):
        check_answer(Answer(boxes=np.array([box])), TRUTH)


def test_a_box_that_is_absent_is_no_error():
    check_answer(Answer(boxes=np.array([[0, 0, 1, 1], [np.nan] * 4])), TRUTH)


def test_one_map_per_source_is_expected():
    with pytest.raises(
        BenchError, match="source_heatmap of 'clip' holds 1 rows, but its truth has 2"
    ):
        check_answer(Answer(source_heatmap=np.zeros((1, 3, 3))), TWO_SOURCES)


def test_one_row_of_logits_per_segment_is_expected():
    truth = TRUTH._replace(segments=np.zeros(3, np.int64))

    with pytest.raises(
        BenchError, match="segment_logits of 'clip' holds 2 rows, but its truth has 3"
    ):
        check_answer(Answer(segment_logits=np.zeros((2, 4))), truth)


def test_logits_of_too_few_classes_are_refused_with_the_id():
    truth = TRUTH._replace(segments=np.array([0, 3]))
    predictions = Predictions(["clip"], MAPS[:1], segment_logits=np.zeros((1, 2, 3)))

    with pytest.raises(BenchError, match="segment_logits of 'clip'"):
        score(predictions, [truth], "lvs")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_boxes_need_no_range_of_maps(name: str):
    predictions = Predictions(["clip"], boxes=BOX[None], use_boxes=True)

    assert score(predictions, [TRUTH], name).values["ciou"].tolist() == [1.0]


def test_boxes_that_are_given_but_not_to_be_scored_are_refused_where_there_is_no_map():
    with pytest.raises(BenchError, match="hold no maps"):
        score(Predictions(["clip"], boxes=BOX[None]), [TRUTH], "lvs")


def test_maps_of_sources_that_the_truth_does_not_know_are_refused():
    predictions = Predictions(["clip"], source_heatmap=np.zeros((1, 2, 3, 3)))

    with pytest.raises(BenchError, match="'clip'"):
        score(predictions, [TRUTH], "lvs")


def test_what_is_said_of_the_screen_counts_where_neither_place_nor_class_is_answered():
    seconds = Truth("clip", (), segments=np.array([0, 1]))

    check_answer(Answer(heatmap=MAPS[0], on_screen=False, confidence=0.0), seconds)
    with pytest.raises(BenchError, match="the predictions hold no classes"):
        check_answer(Answer(heatmap=MAPS[0], confidence=0.0), seconds)
