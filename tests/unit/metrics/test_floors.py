import numpy as np
import pytest

from metrics.errors import BenchError
from metrics.floors import FLOORS, available_floors, floor_scores
from metrics.protocols import PROTOCOLS
from metrics.scoring import fold_of, score_maps
from metrics.truth import Truth

LEFT = np.array([[0.0, 0.0, 0.5, 1.0]])
RIGHT = np.array([[0.5, 0.0, 1.0, 1.0]])
QUARTER = np.array([[0.0, 0.0, 0.5, 0.5]])
NAMES = tuple(PROTOCOLS)
CUT_OF_RANGE = {  # bench-v1 cuts at steps of 0.05, and this is the best of them for a half frame
    "bench-v1": 0.45, "sspl": 0.5, "senocak": 0.5, "slavc-absolute": 0.5,
    "dsol-solo": 0.1, "dsol-synthetic": 0.5, "dsol-duet": 0.2,
}  # fmt: skip


def truth_of(boxes: list[np.ndarray], objects: np.ndarray | None = None) -> list[Truth]:
    return [Truth(f"clip{k}", (b,), objects=objects) for k, b in enumerate(boxes)]


@pytest.mark.parametrize("name", NAMES)
def test_full_scores_the_area_of_the_truth_whatever_the_rule(name: str):
    scores = floor_scores("full", truth_of([LEFT, QUARTER, RIGHT]), name)

    assert scores.values["ciou"].tolist() == [0.5, 0.25, 0.5]
    assert scores.values["pixel_ap"].tolist() == [0.5, 0.25, 0.5]
    assert scores.values["pointing"].tolist() == [1, 1, 0]
    assert scores.thresholds is None


@pytest.mark.parametrize("name", NAMES)
def test_center_fits_the_disc_of_half_the_frame(name: str):
    disc_radius = np.sqrt(0.5 / np.pi)
    middle = (np.arange(224) + 0.5) / 224 - 0.5
    disc = np.hypot(middle[:, None], middle) < disc_radius
    truth = [Truth(f"clip{k}", (), mask=disc) for k in range(60)]

    scores = floor_scores("center", truth, name)

    reach = (1 - CUT_OF_RANGE.get(name, 0)) * np.sqrt(0.5)  # of the half diagonal
    cut = np.hypot(middle[:, None], middle) < (reach if name in CUT_OF_RANGE else disc_radius)
    assert scores.metrics["mean_iou"] == pytest.approx(
        (cut & disc).sum() / (cut | disc).sum(), abs=0.01
    )
    assert scores.metrics["pixel_ap"] == pytest.approx(1, abs=1e-3)


def test_mean_box_ranks_by_the_truths_of_the_other_folds_alone():
    truth = truth_of([LEFT] * 60)
    odd = next(k for k in range(60) if fold_of(f"clip{k}") == 0)
    truth[odd] = truth[odd]._replace(boxes=(RIGHT,))
    own_fold = [k for k in range(60) if fold_of(f"clip{k}") == 0]

    scores = floor_scores("mean_box", truth, "bench-v1")

    # fold 0 never saw RIGHT: its map is LEFT exactly; the others hold a little of RIGHT as well
    pixel_ap = scores.values["pixel_ap"]
    assert [pixel_ap[k] for k in own_fold if k != odd] == [1.0] * (len(own_fold) - 1)
    assert pixel_ap[odd] == 0.5
    assert scores.metrics["ciou@0.5"] == 59 / 60


def test_mean_box_of_one_sample_predicts_nothing():
    scores = floor_scores("mean_box", truth_of([LEFT]), "bench-v1")

    assert scores.metrics["ciou@0.5"] == 0
    assert scores.constant_maps == ("clip0",)


def test_all_objects_scores_the_share_of_the_source_among_the_objects():
    objects = np.concatenate([QUARTER, RIGHT])

    scores = floor_scores("all_objects", truth_of([QUARTER], objects), "bench-v1")

    assert scores.metrics["mean_iou"] == 0.25 / 0.75
    assert scores.metrics["pixel_ap"] == pytest.approx(0.25 / 0.75)


def test_all_objects_exists_only_where_all_objects_are_known():
    assert "all_objects" not in available_floors(truth_of([LEFT]))
    assert available_floors(truth_of([LEFT], LEFT)) == tuple(FLOORS)


def test_a_floor_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(
        BenchError, match=r"no floor 'all_objects' .* full, center, mean_box, random"
    ):
        floor_scores("all_objects", truth_of([LEFT]), "lvs")


@pytest.mark.parametrize("name", NAMES)
def test_random_is_the_mean_over_its_draws(name: str):
    truth = truth_of([QUARTER, LEFT])

    scores = floor_scores("random", truth, name, draws=40)

    assert scores.metrics["pointing"] == pytest.approx(0.375, abs=0.15)  # area on average
    assert 0 < scores.spread["mean_iou"] < 0.1
    assert set(scores.spread) == set(scores.metrics)


def test_random_is_ranked_under_bench_v1_alone():
    truth = truth_of([QUARTER, LEFT])

    ranked = floor_scores("random", truth, "bench-v1", draws=40)
    unranked = floor_scores("random", truth, "lvs", draws=40)

    assert ranked.metrics["pixel_ap"] == pytest.approx(0.375, abs=0.02)  # area on average
    assert "pixel_ap" not in unranked.metrics


def test_each_draw_of_random_fits_its_own_thresholds():
    truth = truth_of([QUARTER] * 60)

    one = floor_scores("random", truth, "bench-v1", draws=1)
    two = floor_scores("random", truth, "bench-v1", draws=2)

    # of a generator's stream the first draw is the same, so the second is what is left
    second = 2 * two.values["ciou"] - one.values["ciou"]
    assert one.thresholds is not None
    assert two.thresholds is None
    assert two.spread["mean_iou"] == pytest.approx(
        abs(second.mean() - one.metrics["mean_iou"]) / 2, abs=1e-12
    )


def test_random_depends_on_seed_and_id_but_not_on_the_other_samples():
    truth = truth_of([QUARTER, LEFT, RIGHT])

    together = floor_scores("random", truth, "lvs", draws=3)
    alone = floor_scores("random", truth[1:2], "lvs", draws=3)
    reseeded = floor_scores("random", truth, "lvs", draws=3, seed=1)

    assert together.values["ciou"][1] == alone.values["ciou"][0]
    assert together.values["ciou"].tolist() != reseeded.values["ciou"].tolist()


def test_floors_leave_out_what_the_protocol_excludes():
    truth = [*truth_of([LEFT]), Truth("empty", (np.empty((0, 4)),))]

    assert floor_scores("full", truth, "bench-v1").excluded == ("empty",)
    assert floor_scores("full", truth, "lvs").n == 2


def test_floors_of_an_empty_list_have_no_metric():
    assert floor_scores("center", [], "bench-v1").metrics == {}


def test_center_equals_its_map_scored_like_any_other():
    truth = truth_of([LEFT, QUARTER, RIGHT] * 20)
    offset = np.arange(224) - 111.5
    maps = np.broadcast_to(-np.hypot(offset[:, None], offset), (60, 224, 224))

    expected = score_maps([sample.id for sample in truth], maps, truth, "bench-v1")

    assert floor_scores("center", truth, "bench-v1").metrics == expected.metrics


def test_progress_counts_the_samples():
    done: list[int] = []

    floor_scores("full", truth_of([LEFT, RIGHT]), "lvs", progress=done.append)

    assert done == [1, 2]
