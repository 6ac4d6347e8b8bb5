"""Samples of which only the classes of segments are known: no place, so no map is measured."""

import numpy as np
import pytest
import torch

from metrics.ceilings import ceiling
from metrics.errors import BenchError
from metrics.floors import available_floors, floor_scores
from metrics.localization import LocalizationMetrics
from metrics.predictions import Answer, Predictions, check_answer
from metrics.protocols import PROTOCOLS
from metrics.scoring import Scores, score
from metrics.truth import Source, Truth, measured_truth

BOX = np.array([[0.0, 0.0, 0.5, 1.0]])
COUNT, SEGMENTS, CLASSES = 60, 10, 5
RNG = np.random.default_rng(4)
LABELS = RNG.integers(CLASSES, size=(COUNT, SEGMENTS))
LOGITS = RNG.normal(size=(COUNT, SEGMENTS, CLASSES)).astype(np.float32)
MAPS = RNG.random((COUNT, 7, 7), dtype=np.float32)
TRUTH = [
    Truth(f"clip{k:02d}", (), category="dog", segments=own) for k, own in enumerate(LABELS)
]  # fmt: skip
IDS = [sample.id for sample in TRUTH]


def right(rows: range) -> list[bool]:
    """Whether the first highest logit is that of the label, by plain loops."""
    return [
        LOGITS[row, segment].tolist().index(max(LOGITS[row, segment])) == LABELS[row, segment]
        for row in rows
        for segment in range(SEGMENTS)
    ]


def scored(*, maps: bool = False, protocol: str = "bench-v1") -> Scores:
    given = Predictions(IDS, segment_logits=LOGITS)
    if maps:
        given = given._replace(heatmap=MAPS, map_range=(0.0, 1.0))
    return score(given, TRUTH, protocol)


@pytest.mark.parametrize(
    ("truth", "only_segments", "place"),
    [
        (TRUTH[0], True, True),
        (TRUTH[0]._replace(boxes=(BOX,)), False, False),
        (TRUTH[0]._replace(boxes=(np.empty((0, 4)),)), False, False),
        (TRUTH[0]._replace(mask=np.ones((2, 2), np.bool_)), False, False),
        (TRUTH[0]._replace(sources=(Source(BOX),)), False, False),
        (TRUTH[0]._replace(on_screen=False), False, True),
        (TRUTH[0]._replace(segments=None), False, False),
    ],
)
def test_a_place_is_unknown_where_segments_are_all_there_is(
    truth: Truth, only_segments: bool, place: bool
) -> None:
    assert (truth.has_only_segments, truth.has_place) == (only_segments, not place)


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_only_the_accuracy_of_segments_is_measured(name: str, maps: bool) -> None:
    scores = scored(maps=maps, protocol=name)

    assert dict(scores.metrics) == {"segment_acc": pytest.approx(np.mean(right(range(COUNT))))}
    assert (scores.n, scores.n_expected, scores.excluded, scores.missing) == (60, 60, (), ())
    assert (scores.undefined, scores.constant_maps, scores.negatives) == ((), (), ())


def test_columns_of_places_are_nan_and_there_is_no_threshold() -> None:
    scores = scored(maps=True)

    for name in ("ciou", "hit@0.5", "auc", "pixel_ap", "pointing"):
        assert np.isnan(scores.values[name]).all(), name
    assert (scores.thresholds, scores.partial) == (None, False)
    assert "threshold" not in scores.values


def test_clips_without_an_answer_are_missing_and_the_others_keep_their_scores() -> None:
    given = Predictions(IDS[:20], segment_logits=LOGITS[:20])

    scores = score(given, TRUTH, "bench-v1")

    assert scores.missing == tuple(IDS[20:])
    assert scores.metrics["segment_acc"] == pytest.approx(np.mean(right(range(20))))
    assert not scores.partial


def test_batches_score_as_the_whole() -> None:
    metric = LocalizationMetrics(TRUTH, "bench-v1", batched=True)

    for rows in torch.arange(COUNT).split(7):
        metric.update(rows, torch.from_numpy(MAPS)[rows], segment_logits=torch.tensor(LOGITS)[rows])

    assert metric.compute().metrics == scored().metrics


def test_beside_samples_with_a_place_only_those_count_in_its_metrics() -> None:
    placed = [Truth(f"box{k:02d}", (BOX,), segments=LABELS[k]) for k in range(60)]
    both = Predictions(
        [*IDS, *(each.id for each in placed)],
        np.concatenate([MAPS, MAPS]),
        segment_logits=np.concatenate([LOGITS, LOGITS]),
    )

    scores = score(both, [*TRUTH, *placed], "bench-v1")

    alone = score(Predictions(both.ids[60:], MAPS, segment_logits=LOGITS), placed, "bench-v1")
    assert scores.n == 120
    of_boxes = {key: value for key, value in alone.metrics.items() if key != "iou@0.5"}
    assert dict(scores.metrics) == pytest.approx(of_boxes)
    assert scores.thresholds == alone.thresholds


def test_there_is_no_floor_and_no_ceiling_of_places_where_none_is_known() -> None:
    assert available_floors(TRUTH) == ()
    assert ceiling(TRUTH, "bench-v1") == {"segment_acc": 1.0}
    with pytest.raises(BenchError, match="no floor 'center' .*: none, for no sample has a place"):
        floor_scores("center", TRUTH, "bench-v1")


def test_maps_alone_are_refused_in_words() -> None:
    with pytest.raises(BenchError, match=r"'clip00' has no box, .* write segment_logits \(N, T, C"):
        score(Predictions(IDS, MAPS), TRUTH, "bench-v1")


def test_logits_alone_are_refused_where_there_is_a_place_to_find() -> None:
    truth = TRUTH[0]._replace(boxes=(BOX,))

    with pytest.raises(BenchError, match=r"hold no maps; write heatmap \(N, h, w\) or boxes"):
        check_answer(Answer(segment_logits=LOGITS[0]), truth)


def test_segments_have_floors_where_it_is_known_which_class_is_background() -> None:
    truth = [sample._replace(background=CLASSES - 1) for sample in TRUTH]

    assert available_floors(truth) == ("background", "clip_label")


@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize("protocol", ["bench-v1", "lvs"])
def test_the_floors_of_segments_are_background_and_the_clip_s_own_event(
    placed: bool, protocol: str
) -> None:
    labels = [[4, 2, 2, 4], [4, 4, 4, 4], [0, 0, 0, 0], [3, 4, 4, 4]]
    truth = [
        Truth(f"clip{k}", (BOX,) if placed else (), segments=np.array(own), background=4)
        for k, own in enumerate(labels)
    ]

    background = floor_scores("background", truth, protocol)
    clip_label = floor_scores("clip_label", truth, protocol)

    assert background.values["segment_acc"].tolist() == [0.5, 1, 0, 0.75]
    assert clip_label.values["segment_acc"].tolist() == [0.5, 1, 1, 0.25]
    assert dict(background.metrics) == {"segment_acc": 0.5625}
    assert dict(clip_label.metrics) == {"segment_acc": 0.6875}
    assert background.ids == ("clip0", "clip1", "clip2", "clip3")


def test_a_sample_without_its_place_is_one_of_segments_alone() -> None:
    source = Source(BOX)
    whole = TRUTH[0]._replace(boxes=(BOX,), objects=BOX, sources=(source,), on_screen=False)

    assert whole.with_segments_only().has_only_segments
    assert whole.with_segments_only() == TRUTH[0]


def test_the_floor_of_one_map_for_several_sources_is_that_map_scored() -> None:
    """The disc as an answer and as a floor, where sources are known and not asked for."""
    left, right = np.array([[0.1, 0.3, 0.4, 0.7]]), np.array([[0.6, 0.3, 0.9, 0.8]])
    truth = [
        Truth(f"duet{k:02d}", (np.concatenate([left, right + k / 400]),),
              sources=(Source(left, "cello"), Source(right + k / 400, "flute")))
        for k in range(40)
    ]  # fmt: skip
    offset = np.arange(224) - 111.5
    disc = -np.hypot(offset[:, None], offset[None]).astype(np.float32)
    answers = Predictions(
        [sample.id for sample in truth],
        heatmap=np.stack([disc] * len(truth)),
        map_range=(float(disc.min()), float(disc.max())),
    )

    measured = measured_truth(truth, localises=True, by_source=False)

    for protocol in ("bench-v1", "ezvsl"):
        answered = score(answers, measured, protocol).metrics
        floor = floor_scores("center", measured, protocol).metrics
        assert floor == pytest.approx({key: answered[key] for key in floor})
        assert floor["mean_iou"] != pytest.approx(
            floor_scores("center", truth, protocol).metrics["mean_iou"]
        )
