import numpy as np

from benchmark.boxes import (
    box_columns,
    box_figures,
    box_scores,
    mean_with_interval,
    overlapping_pairs,
    own_rule_correct,
)
from benchmark.evaluator import Answers
from metrics.truth import Truth

LEFT, RIGHT, WHOLE = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]
IDS = ("a", "b")
TRUTH = tuple(Truth(name, (np.array([LEFT]),)) for name in IDS)


def answers(*boxes: list[list[float]], on_screen: list[float] | None = None) -> Answers:
    rows, n = np.arange(len(boxes)), len(boxes)
    return Answers(
        rows,
        np.zeros((n, 1, 1), np.float32),
        np.zeros(n, np.float32),
        boxes=np.array(boxes, np.float32),
        on_screen=None if on_screen is None else np.array(on_screen, np.float32),
        proposals=np.array([[WHOLE, LEFT, RIGHT]] * n, np.float32),
    )


def test_the_best_boxes_are_scored_beside_swapped_sounds_and_floors() -> None:
    own, other = answers([LEFT, RIGHT], [RIGHT, LEFT]), answers([RIGHT, LEFT], [RIGHT, LEFT])

    found = box_scores(own, other, IDS, TRUTH, "bench-v1", num_boxes=1)

    assert found is not None
    board = box_figures(found, ("ciou@0.5",))
    assert board.metrics["ciou@0.5"] == 0.5
    assert board.metrics["swap_ciou@0.5"] == 0.0
    assert set(board.floors) == {"largest_box", "center_box", "random_box"}
    assert found.floors["largest_box"].values["ciou"].tolist() == [0.5, 0.5]


def test_swapped_confidences_of_boxes_are_judged_by_the_thresholds_of_the_own_ones() -> None:
    ids = ("a", "b", "c", "d")
    truth = [Truth(name, (np.array([LEFT]),), on_screen=name in "ac") for name in ids]
    own = answers(*[[LEFT]] * 4)._replace(confidence=np.array([0.9, 0.1, 0.9, 0.1], np.float32))
    other = own._replace(confidence=own.confidence / 10)  # a threshold of its own would tell all

    found = box_scores(own, other, ids, truth, "bench-v1", num_boxes=1)

    assert found is not None
    assert found.own.metrics["onscreen_acc"] == 1.0
    assert found.swapped.metrics["onscreen_acc"] == 0.5  # all are called off screen


def test_two_boxes_are_one_prediction() -> None:
    pair = answers([LEFT, RIGHT], [LEFT, RIGHT])

    found = box_scores(pair, pair, IDS, TRUTH, "bench-v1", num_boxes=2)

    assert found is not None
    assert found.own.values["ciou"].tolist() == [0.5, 0.5]


def test_pairs_that_overlap_are_counted_and_those_that_touch_or_are_none_are_not() -> None:
    nothing = [np.nan] * 4

    pairs = [[LEFT, RIGHT], [LEFT, WHOLE], [WHOLE, nothing], [nothing, nothing]]

    assert overlapping_pairs(np.array(pairs, np.float32)) == 1


def test_a_method_of_maps_has_no_board_of_boxes() -> None:
    own = answers([LEFT], [LEFT])

    assert box_scores(own, own, IDS, TRUTH, "bench-v1", num_boxes=0) is None
    assert box_scores(own._replace(boxes=None), own, IDS, TRUTH, "bench-v1", num_boxes=1) is None


def told(*on_screen: float) -> Answers:
    return answers(*[[LEFT]] * len(on_screen), on_screen=list(on_screen))


def test_the_own_rule_is_judged_by_sounds_that_are_not_of_the_frame() -> None:
    ids = tuple("abcd")
    truth = [Truth(name, (), on_screen=name in "ab") for name in ids]

    found = own_rule_correct(told(1, 0, 0, 1), told(0, 0, 0, 0), truth, ids)

    assert found == {"a": 1.0, "b": 0.0, "c": 1.0, "d": 0.0}


def test_sounds_of_other_clips_are_the_half_off_screen_where_none_is() -> None:
    found = own_rule_correct(told(1, 1), told(0, 1), TRUTH, IDS)

    assert found == {"a": 1.0, "b": 0.5}


def test_a_clip_that_is_scored_on_background_is_left_out() -> None:
    segments = {"a": [0, 2, 0], "b": [2, 0, 2]}
    truth = [Truth(name, (), segments=np.array(each), background=2)
             for name, each in segments.items()]  # fmt: skip

    assert own_rule_correct(told(1, 1), told(0, 0), truth, IDS) == {"b": 1.0}


def test_the_sound_of_another_clip_is_not_judged_where_silent_objects_are_known() -> None:
    truth = [sample._replace(objects=np.array([LEFT, RIGHT])) for sample in TRUTH]

    assert own_rule_correct(told(1, 1), told(0, 0), truth, IDS) == {}


def test_without_a_rule_of_its_own_nothing_is_told() -> None:
    plain = answers([LEFT], [LEFT])

    assert own_rule_correct(plain, plain, TRUTH, IDS) == {}


def test_a_share_has_its_interval() -> None:
    mean, (low, high) = mean_with_interval([1.0, 0.0, 1.0, 1.0])

    assert (mean, low, high) == (0.75, 0.25, 1.0)


def test_columns_of_boxes_follow_the_ids() -> None:
    own, other = answers([LEFT, RIGHT], [RIGHT, LEFT]), answers([RIGHT, LEFT], [RIGHT, LEFT])
    found = box_scores(own, other, IDS, TRUTH, "bench-v1", num_boxes=1)
    assert found is not None

    columns = box_columns(found, ("b", "elsewhere", "a"))

    assert columns["boxes_ciou"][[0, 2]].tolist() == [0.0, 1.0]
    assert np.isnan(columns["boxes_ciou"][1])
    assert columns["boxes_swap_hit@0.5"][[0, 2]].tolist() == [0.0, 0.0]


def test_the_ceiling_of_one_box_is_the_best_proposal() -> None:
    own = answers([RIGHT], [RIGHT])

    one, two = (box_scores(own, own, IDS, TRUTH, "bench-v1", num_boxes=n) for n in (1, 2))

    assert one is not None
    assert two is not None
    assert box_figures(one, ()).ceiling["ciou@0.5"] == 1.0
    assert box_figures(two, ()).ceiling == {}
