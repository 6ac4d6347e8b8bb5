import numpy as np
import pytest

from metrics.box_bounds import best_box_scores, box_cious, box_floor_scores
from metrics.errors import BenchError
from metrics.measurement import truth_map
from metrics.predictions import Predictions
from metrics.protocols import protocol_named
from metrics.scoring import score
from metrics.truth import Truth

AT_LEFT, AT_RIGHT, INSIDE = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0], [0.4, 0.4, 0.6, 0.6]
PROPOSED = {
    "a": np.array([INSIDE, AT_RIGHT, AT_LEFT]),
    "b": np.array([AT_LEFT, INSIDE, [np.nan] * 4]),
    "c": np.full((3, 4), np.nan),
}
SOURCES = [Truth(name, (np.array([AT_LEFT]),)) for name in PROPOSED]


def test_boxes_are_chosen_by_size_by_place_or_at_random():
    largest, nearest, any_of_them = (
        box_floor_scores(name, PROPOSED, SOURCES, "bench-v1", draws=200).values["ciou"]
        for name in ("largest_box", "center_box", "random_box")
    )

    middle = 0.1 * 0.2 / (0.5 + 0.1 * 0.2)  # IoU of the middle box and the left half
    assert largest.tolist() == [0.0, 1.0, 0.0]  # the first of equal ones; no box, no hit
    assert nearest == pytest.approx([middle, middle, 0.0], abs=0.01)
    assert any_of_them == pytest.approx([(1 + middle) / 3, (1 + middle) / 2, 0.0], abs=0.1)


def test_two_boxes_cover_what_both_cover():
    whole = [Truth(name, (np.array([[0.0, 0.0, 1.0, 1.0]]),)) for name in PROPOSED]

    found = box_floor_scores("largest_box", PROPOSED, whole, "bench-v1", num_boxes=2)

    assert found.values["ciou"] == pytest.approx([1.0, 0.52, 0.0], abs=0.01)


def test_draws_of_boxes_are_a_function_of_seed_and_id():
    def drawn(seed: int) -> list[float]:
        found = box_floor_scores("random_box", PROPOSED, SOURCES, "bench-v1", seed=seed, draws=3)
        return found.values["ciou"].tolist()

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_an_unknown_floor_of_boxes_is_named():
    with pytest.raises(BenchError, match="no floor 'smallest' of boxes; there are: largest_box"):
        box_floor_scores("smallest", PROPOSED, SOURCES, "bench-v1")


def scattered_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = np.sort(rng.random((count, 2, 2)), axis=1)  # (count, low and high, x and y)
    return corners.reshape(count, 4)


def test_the_best_box_is_that_of_the_best_score():
    rng = np.random.default_rng(0)
    annotators = {name: [scattered_boxes(rng, 1) for _ in range(3)] for name in ("a", "b")}
    truth = [Truth(name, tuple(boxes)) for name, boxes in annotators.items()]
    proposals = {name: scattered_boxes(rng, 12) for name in annotators}

    each = [
        score(
            Predictions(
                list(proposals),
                boxes=np.stack([boxes[place : place + 1] for boxes in proposals.values()]),
                use_boxes=True,
            ),
            truth,
            "bench-v1",
        ).values["ciou"]
        for place in range(12)
    ]

    assert best_box_scores(proposals, truth, "bench-v1").values["ciou"].tolist() == (
        np.max(each, axis=0).tolist()
    )


def test_where_nothing_is_proposed_the_best_box_is_none():
    found = best_box_scores(PROPOSED, SOURCES, "bench-v1")

    assert found.values["ciou"].tolist() == [1.0, 1.0, 0.0]


def test_a_box_without_area_finds_nothing():
    gt = truth_map(SOURCES[0], protocol_named("bench-v1"))

    assert box_cious(np.array([[0.2, 0.2, 0.2, 0.9]]), gt).tolist() == [0.0]
