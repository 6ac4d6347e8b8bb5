import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark import floor_cache, score
from benchmark.predictions import Given
from benchmark.records import Record, SplitIdentity, read_record, read_scores
from benchmark.score import (
    Board,
    Expected,
    Place,
    check_writable,
    chosen_protocols,
    find_truth,
    list_hash,
    prepared,
    score_boards,
    stated_range,
    write_samples,
)
from metrics.errors import BenchError
from metrics.predictions import Predictions
from metrics.protocols import PROTOCOLS, protocol_named
from metrics.truth import Source, Truth

HISTORY = Path(__file__).parents[2] / "records_v1"
IDS = [f"testvideo_{number}_000010" for number in range(4)]
TOP, LEFT = np.array([[0.0, 0.0, 1.0, 0.5]]), np.array([[0.0, 0.0, 0.5, 1.0]])
TRUTH = tuple(
    Truth(sample_id, (box,), category=name)
    for sample_id, box, name in zip(IDS, [TOP, LEFT, TOP, LEFT], "abab", strict=True)
)
EXPECTED = Expected("four", TRUTH, ("a note",))
UPPER = np.vstack([np.ones((112, 224), np.float32), np.zeros((112, 224), np.float32)])
SSPL = [protocol_named("sspl")]


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def record() -> Record:
    """A run on four clips of `vggss`."""
    test = SplitIdentity("vggss", 4, list_hash(TRUTH))
    complete = read_record(HISTORY / "complete.json")
    return replace(
        complete, data="vggss", n=4, n_expected=4, splits={"test": test}, config={"data": {}}
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    entries = [
        {"file": truth.id, "class": truth.category, "bbox": truth.boxes[0].tolist()}
        for truth in TRUTH
    ]
    (tmp_path / "vggss.json").write_text(json.dumps(entries))
    return tmp_path


def given(maps: np.ndarray | None = None, ids: Sequence[str] = IDS, **further: Any) -> Given:
    """The upper half of every frame, unless maps are given."""
    if maps is None:
        maps = np.stack([UPPER] * len(ids))
    return Given(Path("maps.npz"), Predictions(tuple(ids), heatmap=maps), **further)


def one_board(what: Given, expected: Expected = EXPECTED, **options: Any) -> Board:
    (board,) = score_boards(what, expected, "vggss", SSPL, **{"floors": False, **options})
    return board


def test_floors_of_one_map_for_several_sources_go_by_the_whole_frame() -> None:
    """Sources that are known and have no map of their own change no floor and no ceiling."""
    halves = (Source(TOP, "a"), Source(LEFT, "b"))
    both = tuple(each._replace(sources=halves) for each in TRUTH)

    plain = one_board(given(), floors=True)
    board = one_board(given(), EXPECTED._replace(truth=both), floors=True)

    assert board.ceiling == plain.ceiling
    assert {name: floor.metrics for name, floor in board.floors.items()} == {
        name: floor.metrics for name, floor in plain.floors.items()
    }


def test_protocols_keep_their_order_and_stand_once() -> None:
    found = chosen_protocols(["lvs", "sspl", "lvs"], "vggss", given())

    assert [protocol.name for protocol in found] == ["lvs", "sspl"]


def test_all_adds_the_protocols_that_are_not_yet_there() -> None:
    found = chosen_protocols(["sspl", "all"], "vggss", given())

    assert found[0].name == "sspl"
    assert sorted(protocol.name for protocol in found) == sorted(PROTOCOLS)


def test_all_leaves_out_what_goes_by_values_of_an_unknown_range(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = chosen_protocols(["all"], "vggss", given(np.stack([UPPER] * len(IDS)) - 0.5))

    assert {protocol.name for protocol in PROTOCOLS.values() if protocol.needs_range}.isdisjoint(
        protocol.name for protocol in found
    )
    assert "left out, as the range of the maps is not stated" in caplog.text


def test_a_protocol_is_taken_as_its_source_applies_it_to_the_data() -> None:
    ((flickr,), (vggss,)) = (
        chosen_protocols(["align"], data, given()) for data in ("flickr", "vggss")
    )

    assert flickr.interpolation == "align_corners_bilinear"
    assert vggss.interpolation == "half_pixel_bilinear"


def test_what_the_user_says_of_the_maps_goes_before_what_the_file_says() -> None:
    of_file = Predictions(tuple(IDS), heatmap=np.ones((4, 2, 2)), boxes=np.ones((4, 1, 4)),
                          map_range=(0.0, 1.0))  # fmt: skip
    what = Given(Path("maps.npz"), of_file, swapped=of_file)

    told = prepared(what, map_range=(-1.0, 1.0), boxes=True)
    kept = prepared(what, map_range=None, boxes=False)

    for found in (told.predictions, told.swapped):
        assert found is not None
        assert (found.map_range, found.use_boxes) == ((-1.0, 1.0), True)
    assert kept == what


def test_no_range_is_stated_where_none_is_given() -> None:
    assert stated_range(None) is None
    assert stated_range([-1.5, 2]) == (-1.5, 2)


def test_segments_are_scored_where_the_truth_has_them() -> None:
    truth = tuple(sample._replace(segments=np.array([0, 1, 2])) for sample in TRUTH)
    right = np.eye(3)
    logits = np.stack([right, right, right[[1, 0, 2]], right[[1, 2, 0]]])
    maps = Predictions(tuple(IDS), heatmap=np.stack([UPPER] * 4), segment_logits=logits)

    board = one_board(Given(Path("maps.npz"), maps), Expected("four", truth, ()))

    assert board.scores.metrics["segment_acc"] == pytest.approx((1 + 1 + 1 / 3 + 0) / 4)


def test_without_segments_in_the_truth_their_accuracy_has_no_key() -> None:
    maps = Predictions(tuple(IDS), heatmap=np.stack([UPPER] * 4),
                       segment_logits=np.ones((4, 3, 3)))  # fmt: skip

    assert "segment_acc" not in one_board(Given(Path("maps.npz"), maps)).scores.metrics


def test_a_sample_without_a_box_of_its_own_predicts_nothing() -> None:
    boxes = np.stack([TOP, np.full((1, 4), np.nan), TOP, TOP])
    maps = Predictions(tuple(IDS), boxes=boxes, use_boxes=True)

    board = one_board(Given(Path("boxes.npz"), maps))

    assert board.scores.values["ciou"].tolist() == pytest.approx([1, 0, 1, 1 / 3])


def test_rows_stand_in_the_order_of_the_list() -> None:
    mixed = [2, 0, 3, 1]
    maps = np.stack([UPPER, UPPER.T, UPPER, 1 - UPPER])

    board = one_board(given(maps[mixed], [IDS[row] for row in mixed]))

    assert board.scores.ids == tuple(IDS)
    assert board.scores.values["ciou"].tolist() == pytest.approx([1, 1, 1, 1 / 3])


def test_an_id_beyond_the_list_is_a_mistake_unless_the_user_chose_the_list() -> None:
    what = given(ids=[*IDS, "other"])

    with pytest.raises(BenchError, match=r"maps.npz: predictions hold 'other', which is not among"):
        one_board(what)
    assert one_board(what, EXPECTED._replace(only=True)).scores.n == 4


def test_a_mistake_is_found_before_a_floor_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def computed(*arguments: object, **options: object) -> None:
        pytest.fail("a floor was computed")

    monkeypatch.setattr(score, "cached_floors", computed)
    monkeypatch.setattr(score, "cached_ceiling", computed)
    maps = np.stack([UPPER] * 4)
    maps[2, 0, 0] = np.nan

    with pytest.raises(BenchError, match=rf"maps.npz: map of '{IDS[2]}' holds NaN"):
        score_boards(given(maps), EXPECTED, "vggss", [protocol_named("lvs"), *SSPL])


@pytest.mark.parametrize("cell", [np.nan, np.inf])
def test_a_sample_without_numbers_is_named_even_where_the_range_of_the_maps_is_wanted(
    cell: float, caplog: pytest.LogCaptureFixture
) -> None:
    maps = np.stack([UPPER] * 4)
    maps[2, 0, 0] = cell

    with pytest.raises(BenchError, match=rf"map of '{IDS[2]}' holds NaN, infinity or"):
        score_boards(given(maps), EXPECTED, "vggss", [protocol_named("dsol-solo")], floors=False)
    assert caplog.messages == []


def test_the_file_with_the_swapped_sounds_is_named() -> None:
    wrong = np.full((4, 2, 2), np.inf)
    record = read_record(HISTORY / "complete.json")
    what = given(swapped=Predictions(tuple(IDS), heatmap=wrong), record=record)

    with pytest.raises(BenchError, match=r"^maps.npz/predictions_swap.npz: map of "):
        one_board(what)


def test_swapped_confidences_are_judged_by_the_thresholds_of_the_own_ones(record: Record) -> None:
    truth = tuple(each._replace(on_screen=row % 2 == 0) for row, each in enumerate(EXPECTED.truth))
    own = given().predictions
    assert own is not None
    own = own._replace(confidence=np.array([0.9, 0.1, 0.9, 0.1]))
    swapped = own._replace(confidence=np.array([0.09, 0.01, 0.09, 0.01]))

    board = one_board(Given(Path("run"), own, swapped=swapped, record=record),
                      EXPECTED._replace(truth=truth))  # fmt: skip

    assert board.to_dict()["metrics"]["swap_onscreen_acc"] == 0.5  # all are called off screen


def test_one_warning_speaks_of_all_maps_and_protocols_without_a_range(
    caplog: pytest.LogCaptureFixture,
) -> None:
    what = given(swapped=given().predictions)
    rules = [protocol_named(name) for name in ("lvs", "dsol-solo", "slavc-absolute")]

    boards = score_boards(what, EXPECTED, "vggss", rules, floors=False)

    assert caplog.messages == [
        "maps.npz: the maps lie in [0, 1], which is taken for their range "
        "(dsol-solo, slavc-absolute)"
    ]
    assert [board.assumed for board in boards] == [
        (),
        ("dsol-solo: the maps lie in [0, 1], which is taken for their range",),
        ("slavc-absolute: the maps lie in [0, 1], which is taken for their range",),
    ]
    assert set(boards[1].assumed) < set(boards[1].to_dict()["notes"])


def test_maps_of_a_run_without_a_range_have_no_protocol_that_goes_by_values(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    what = given(record=record)
    words = r"maps\.npz: slavc-absolute goes by .* without a range on the card of hardpos; state"

    with pytest.raises(BenchError, match=words):
        score_boards(what, EXPECTED, "vggss", [protocol_named("slavc-absolute")], floors=False)
    found = chosen_protocols(["all"], "vggss", what)

    assert not any(protocol.needs_range for protocol in found)
    assert "left out, as the range of the maps is not stated" in caplog.text


def test_the_range_of_the_maps_of_a_run_may_be_stated(record: Record) -> None:
    what = prepared(given(record=record), map_range=(0.0, 1.0), boxes=False)

    (board,) = score_boards(what, EXPECTED, "vggss", [protocol_named("slavc-absolute")],
                            floors=False)  # fmt: skip

    assert board.assumed == ()


def test_a_stated_range_needs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    what = prepared(given(), map_range=(-1.0, 1.0), boxes=False)

    score_boards(what, EXPECTED, "vggss", [protocol_named("dsol-solo")], floors=False)

    assert caplog.messages == []


def test_boxes_have_no_range(caplog: pytest.LogCaptureFixture) -> None:
    boxes = Predictions(tuple(IDS), heatmap=np.full((4, 2, 2), -5.0), boxes=np.stack([TOP] * 4),
                        use_boxes=True)  # fmt: skip

    (board,) = score_boards(Given(Path("boxes.npz"), boxes), EXPECTED, "vggss",
                            [protocol_named("slavc-absolute")], floors=False)  # fmt: skip

    assert board.scores.metrics["mean_iou"] == pytest.approx((1 + 1 / 3) / 2)
    assert caplog.messages == []


def test_a_floors_run_computes_that_floor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    compute = floor_cache.floor_scores

    def counted(name: str, *arguments: Any, **options: Any) -> Any:
        names.append(name)
        return compute(name, *arguments, **options)

    monkeypatch.setattr(floor_cache, "floor_scores", counted)

    board = one_board(Given(Path("run"), None, floor="full"))

    assert names == ["full"]
    assert board.scores.metrics["mean_iou"] == pytest.approx(0.5)  # half of each frame is marked


def test_a_floor_that_the_list_does_not_allow_is_refused() -> None:
    with pytest.raises(BenchError, match=r"^run: no floor 'all_objects' on this list; there are:"):
        one_board(Given(Path("run"), None, floor="all_objects"))


def test_the_best_floor_is_the_highest_and_of_equal_ones_the_first() -> None:
    board = one_board(given())
    named = {
        name: board.scores._replace(metrics={"auc": value})
        for name, value in {"center": 0.2, "full": 0.4, "mean_box": 0.4}.items()
    }
    of_all = board._replace(floors=named, ceiling={"auc": 1.0, "mean_iou": 1.0})

    found = of_all.skill["auc"]

    assert of_all.best_floor == {"auc": "full"}
    assert found == pytest.approx((board.scores.metrics["auc"] - 0.4) / 0.6)
    assert of_all.skill["mean_iou"] is None  # no floor has it


def test_a_board_is_plain_json_without_times() -> None:
    maps = np.stack([UPPER, UPPER, np.ones_like(UPPER), UPPER])
    swapped = Predictions(tuple(IDS), heatmap=np.stack([UPPER.T] * 4))
    record = read_record(HISTORY / "complete.json")

    board = one_board(given(maps, swapped=swapped, record=record), by=["category"])

    plain = json.loads(json.dumps(board.to_dict(), allow_nan=False))
    assert plain["metrics"]["mean_iou"] == pytest.approx((1 + 1 / 3 + 0 + 1 / 3) / 4)
    assert plain["metrics"]["swap_mean_iou"] == pytest.approx((1 / 3 + 1) / 2)
    assert plain["ci95"].keys() == plain["metrics"].keys()
    assert (plain["constant_maps"], plain["notes"][0]) == ([IDS[2]], "a note")
    assert [group["name"] for group in plain["groups"]["category"]] == ["a", "b"]
    assert "seconds" not in plain


def test_the_list_of_the_source_is_named_where_it_is_known() -> None:
    board = one_board(given())

    assert board.published == ("sspl was published on 4,692 clips; here 4 of 4 are scored",)
    assert board._replace(data="synthetic").published == ()


@pytest.mark.parametrize(("notable", "told"), [(0.0, True), (1e9, False)])
def test_what_took_long_is_told(
    notable: float, told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(score, "NOTABLE_SECONDS", notable)
    caplog.set_level("INFO", logger="benchmark.score")
    small = Expected("one", TRUTH[:1], ())

    one_board(given(ids=IDS[:1]), small, floors=True)

    lines = [message for message in caplog.messages if message.startswith("floors and ceiling")]
    assert bool(lines) == told
    assert all(line.endswith(" s; they are kept for the next time") for line in lines)


def test_an_unknown_data_set_is_refused_with_a_guess(root: Path) -> None:
    with pytest.raises(BenchError, match=r"unknown data set 'flikr'. Did you mean flickr\? Ids"):
        find_truth(Place(data="flikr", annotations=root), None)


def test_the_list_of_the_run_is_taken_unless_the_user_names_one(root: Path, record: Record) -> None:
    (root / "run.txt").write_text("\n".join(IDS[:3]))
    (root / "mine.txt").write_text(IDS[3])
    record = replace(record, config={"data": {"test_list": "run.txt"}})
    place = Place(data="vggss", root=root)

    found = [
        find_truth(each, record) for each in (place, replace(place, test_list=root / "mine.txt"))
    ]

    assert [[sample.id for sample in each.truth] for each in found] == [IDS[:3], IDS[3:]]
    assert [each.only for each in found] == [False, True]


def test_settings_of_a_run_on_other_data_are_not_taken(root: Path, record: Record) -> None:
    record = replace(record, data="flickr", config={"data": {"test_list": "run.txt"}})

    assert len(find_truth(Place(data="vggss", root=root), record).truth) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"n_expected": 5}, "the run was to be tested on 5 samples, vggss has 4"),
        ({"splits": {"test": SplitIdentity("vggss", 4, "0" * 64)}},
         "the run was tested on another list of 4 than vggss"),
        ({"splits": {"test": SplitIdentity("vggss", 3, "0" * 64)}}, None),  # a clip was missing
    ],
    ids=["same", "longer", "other", "incomplete"],
)  # fmt: skip
def test_a_run_that_was_tested_on_another_list_is_warned_of(
    changes: dict[str, Any], message: str | None, root: Path, record: Record,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    find_truth(Place(data="vggss", root=root), replace(record, **changes))

    assert caplog.messages == ([] if message is None else [message])


def test_swapped_columns_stand_beside_the_own_ones(tmp_path: Path) -> None:
    swapped = Predictions(tuple(IDS[1:]), heatmap=np.stack([UPPER] * 3),
                          confidence=np.arange(3.0))  # fmt: skip
    record = read_record(HISTORY / "complete.json")
    board = one_board(given(swapped=swapped, record=record))

    (path,) = write_samples(tmp_path / "scores.csv", [board])

    table = read_scores(path)
    assert table.ids == tuple(IDS)
    assert "swap_confidence" not in table.columns
    np.testing.assert_allclose(table.columns["swap_ciou"], [np.nan, 1 / 3, 1, 1 / 3])


def test_a_table_that_fails_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "scores.csv"
    path.write_text("id,old")
    board = one_board(given())
    monkeypatch.setattr("os.fsync", full)

    with pytest.raises(BenchError, match=r"scores.csv cannot be written \(No space left on device"):
        write_samples(path, [board])
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["scores.csv"]
    assert path.read_text() == "id,old"


def test_a_folder_that_may_not_be_written_to_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may: Callable[..., bool] = lambda *arguments, **options: False  # noqa: E731
    check_writable(tmp_path / "scores.csv")
    monkeypatch.setattr("os.access", may)

    with pytest.raises(BenchError, match=r"scores.csv cannot be written \(.* may not be written"):
        check_writable(tmp_path / "scores.csv")


def test_a_table_of_samples_destroys_nothing_that_is_no_older_one(tmp_path: Path) -> None:
    (tmp_path / "maps.npz").write_bytes(b"PK")
    (tmp_path / "list.csv").write_text("id,class\n")
    (tmp_path / "notes.md").write_text("# Notes\n")
    for name in ("scores.csv", "record.json", "older.csv"):
        (tmp_path / name).write_text("id,ciou\n")
    (tmp_path / "empty.csv").write_text("")
    inputs = (tmp_path / "maps.npz", None, tmp_path / "list.csv")
    cases = {
        "maps.npz": "it is read",
        "list.csv": "it is read",
        "scores.csv": "it is a result of the run",
        "notes.md": "it is there and is no table of scores",
    }

    check_writable(tmp_path / "older.csv", inputs)
    check_writable(tmp_path / "empty.csv", inputs)
    for name, reason in cases.items():
        with pytest.raises(BenchError) as refused:
            check_writable(tmp_path / name, inputs)
        assert str(refused.value) == (
            f"{tmp_path / name} is not written ({reason}); give --per-sample another FILE"
        )


def test_nothing_needs_to_be_writable_where_nothing_is_to_be_written() -> None:
    check_writable(None)


def test_maps_that_leave_their_stated_range_are_refused() -> None:
    maps = Predictions(IDS, heatmap=np.stack([UPPER] * len(IDS)) * 5, map_range=(0.0, 1.0))

    with pytest.raises(BenchError, match=r"lie in \[0, 5\] and leave their stated range \[0, 1\]"):
        score_boards(
            Given(Path("maps.npz"), maps),
            EXPECTED,
            "vggss",
            chosen_protocols(["slavc-absolute"], "vggss", given()),
            floors=False,
        )
