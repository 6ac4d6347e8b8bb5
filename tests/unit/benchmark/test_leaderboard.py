import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.leaderboard import is_current, leaderboard, write_leaderboard
from benchmark.records import Checkpoint, Difference, Figures, ProtocolFigures, Record, read_record
from datamodules.atomic_files import write_atomically
from metrics.errors import BenchError

HISTORY = Path(__file__).parents[2] / "records_v1"


@pytest.fixture
def record() -> Record:
    return read_record(HISTORY / "complete.json")


@pytest.fixture
def partial() -> Record:
    return read_record(HISTORY / "partial_floor.json")


def seeded(record: Record, seed: int, ciou: float) -> Record:
    """The same run with another seed and success rate."""
    return replace(
        record,
        id=f"{record.id}-s{seed}",
        seed=seed,
        config=record.config | {"seed": seed},
        metrics=record.metrics | {"ciou@0.5": ciou},
        ci95=record.ci95 | {"ciou@0.5": (ciou - 0.04, ciou + 0.04)},
    )


def variant(record: Record, setting: str) -> Record:
    """Another variant of the method, by one setting of the command line."""
    key, value = setting.split("=")
    group, leaf = key.split(".")
    branch = record.config[group]
    assert isinstance(branch, dict)
    config = record.config | {group: branch | {leaf: value}}
    return replace(record, id=f"{record.id}-{value}", overrides=(setting,), config=config)


def lines_with(page: str, words: str) -> list[str]:
    return [line for line in page.splitlines() if words in line]


def test_any_order_of_records_gives_the_same_bytes(record: Record, partial: Record) -> None:
    others = [variant(record, "method.positives=random"), replace(record, id="b", data="vggss")]
    records = [partial, *others, *(seeded(record, seed, 0.1 + seed / 7) for seed in range(4))]
    pages = set()
    for shuffle in range(10):
        random.Random(shuffle).shuffle(records)
        pages.add(leaderboard(records))

    assert len(pages) == 1


def test_a_run_under_a_later_protocol_does_not_displace_one_of_another(record: Record) -> None:
    page = leaderboard([record, replace(record, id="later", protocol="lvs")])

    assert len(lines_with(page, "## synthetic, protocol ")) == 2


def test_seeds_share_a_row_with_mean_spread_and_mean_interval(record: Record) -> None:
    page = leaderboard([seeded(record, 0, 0.5), seeded(record, 1, 0.54), seeded(record, 2, 0.58)])

    row = lines_with(page, "**hardpos**")[0].split(" | ")
    assert row[:4] == ["| **hardpos**", "3", "500/500", "54.0 ± 4.0 [50.0, 58.0]"]


def test_a_single_seed_has_no_spread(record: Record) -> None:
    row = lines_with(leaderboard([record]), "**hardpos**")[0]

    assert "| 52.4 [49.4, 55.4] |" in row


def test_a_variant_of_a_method_has_a_row_and_a_name_of_its_own(record: Record) -> None:
    page = leaderboard([record, variant(record, "method.positives=random")])

    names = [line.split(" | ")[0] for line in lines_with(page, " | 1 | 500/500 | ")]
    assert names == ["| **hardpos**", "| **hardpos (method.positives=random)**"]


def test_released_weights_have_a_row_and_a_name_of_their_own(record: Record) -> None:
    released = Checkpoint("released", "hardpos", "0123456789" * 6, {}, None)
    bare = {"splits": {"test": record.splits["test"]}, "lists": {}}
    tested = replace(record, id="b", checkpoint=released, **bare)
    other = replace(tested, id="c", checkpoint=replace(released, sha256="f" * 64))

    page = leaderboard([record, tested, other])

    assert any("| ? |" in line for line in lines_with(page, "released weights 01234567"))
    assert any("| ? |" in line for line in lines_with(page, "released weights ffffffff"))
    assert lines_with(page, "| **hardpos** |")


def test_settings_that_change_no_score_make_no_variant(record: Record) -> None:
    moved = variant(seeded(record, 1, 0.5), "data.root=/elsewhere")

    page = leaderboard([record, moved])

    assert len(lines_with(page, "| **hardpos** | 2 | 500/500 |")) == 1


def test_equal_names_of_different_configurations_are_told_apart(record: Record) -> None:
    longer = variant(record, "trainer.max_epochs=40")

    page = leaderboard([record, replace(longer, overrides=())])

    assert len({line.split(" | ")[0] for line in lines_with(page, "**hardpos #")}) == 2


def test_methods_stand_in_the_order_of_their_success_rate(record: Record) -> None:
    better = replace(seeded(record, 0, 0.9), method="lvs")

    page = leaderboard([record, better])

    assert page.index("**lvs**") < page.index("**hardpos**")


def test_partial_runs_are_not_ranked_but_counted_with_their_reason(
    record: Record, partial: Record
) -> None:
    limited = replace(record, id="limited", status="partial", reasons=("--limit 60",))

    page = leaderboard([limited, partial])

    assert "**hardpos**" not in page
    assert "- 1 run, partial: --limit 60: `limited`" in page
    assert f"- 1 run, partial: only 41 samples were scored: `{partial.id}`" in page


def test_what_was_trained_elsewhere_has_no_known_leakage(record: Record) -> None:
    tested = {"test": record.splits["test"]}

    page = leaderboard([replace(record, splits=tested)])

    assert [line for line in lines_with(page, "| **hardpos** |") if line.endswith("| ? |")]


def test_a_floor_that_sees_stands_among_the_floors_of_every_protocol(record: Record) -> None:
    board = replace(record.protocols["lvs"], metrics={"ciou@0.5": 0.123, "auc": 0.234}, ci95={})
    saliency = replace(
        record,
        id="saliency",
        method="saliency",
        card=replace(record.card, floor=True),
        metrics={"ciou@0.5": 0.345},
        ci95={},
        protocols={"lvs": board},
    )

    page = leaderboard([record, saliency])

    own, field = lines_with(page, "| *floor* saliency |")
    assert own.startswith("| *floor* saliency | - | - | 34.5 |")
    assert "12.3 | 23.4" in field
    assert "**saliency**" not in page


def test_a_repeated_seed_counts_once_and_the_latest_run_is_taken(record: Record) -> None:
    early = replace(seeded(record, 0, 0.1), id="20240101T000000Z-early")

    page = leaderboard([record, early])

    assert "| **hardpos** | 1 | 500/500 | 52.4 [49.4, 55.4] |" in page
    assert "- 1 run, the same run was made again later: `20240101T000000Z-early`" in page


def test_runs_on_different_test_lists_share_no_table(record: Record) -> None:
    test = replace(record.splits["test"], name="shorter", sha256="5" * 64)
    other = replace(record, id="other", splits=record.splits | {"test": test})

    page = leaderboard([record, other])

    assert len(lines_with(page, "Test list `")) == 2


def test_floors_and_ceiling_stand_below_the_methods(record: Record) -> None:
    page = leaderboard([record])

    assert "| *floor* random | - | - | 2.0 ± 0.4 [-1.0, 5.0] |" in page
    assert "| *ceiling* | - | - | 100.0 | 100.0 | 100.0 | 100.0 |" in page


def test_a_floor_that_was_run_is_a_floor_and_no_method(record: Record) -> None:
    floor = replace(record, id="f", method="saliency", card=replace(record.card, floor=True))

    page = leaderboard([floor])

    assert "| *floor* saliency | - | - | 52.4 [49.4, 55.4] |" in page
    assert "**saliency**" not in page


def test_a_claim_is_bold_where_the_interval_of_every_seed_lies_above_zero(record: Record) -> None:
    page = leaderboard([record])

    assert "| **+21.4** [16.4, 26.4] all_objects |" in page


def test_a_claim_that_one_seed_does_not_bear_out_is_not_bold(record: Record) -> None:
    weak = Difference("mean_box", 500, 0.014, low=-0.036, high=0.064)
    comparisons = record.comparisons | {"best_floor": {"ciou@0.5": weak}}
    other = replace(seeded(record, 1, 0.2), comparisons=comparisons)

    page = leaderboard([record, other])

    assert "| +11.4 [6.4, 16.4] all_objects, mean_box |" in page


def test_skill_that_is_undefined_is_a_dash(record: Record) -> None:
    page = leaderboard([replace(record, skill={"ciou@0.5": 0.31, "pixel_ap": None})])

    assert "| **hardpos** | 31.0 | - | " in page


def without_places(record: Record, accuracy: float, **changes: object) -> Record:
    """A run on data of which only the classes of segments are known."""
    drop = Difference("swapped sounds", 402, 0.2, low=0.1, high=0.3)
    return replace(
        record,
        data="ave",
        metrics={"segment_acc": accuracy},
        ci95={"segment_acc": (accuracy - 0.02, accuracy + 0.02)},
        floors={},
        ceiling={},
        skill={"segment_acc": None},
        comparisons={"best_floor": {}, "swap": {"segment_acc": drop}},
        **changes,  # type: ignore[arg-type]
    )


def test_without_places_runs_are_ranked_by_the_accuracy_of_segments(record: Record) -> None:
    worse = without_places(variant(record, "method.positives=random"), 0.6)
    better = without_places(variant(record, "method.k=2"), 0.7)

    page = leaderboard([worse, better, record])

    section = page[page.index("## ave") : page.index(f"## {record.data}")]
    assert "`segment_acc` is the share of segments" in section
    assert "|  | seeds | n | segment_acc |" in section
    rows = [line for line in section.splitlines() if "[68.0, 72.0]" in line or "[58.0" in line]
    assert ["70.0 [68.0, 72.0]" in row for row in rows] == [True, False]
    assert "| - | - | **+20.0** [10.0, 30.0] | - |" in section
    assert "rules of the field" not in section


def test_a_method_without_maps_stands_below_and_is_measured_by_segments_alone(
    record: Record,
) -> None:
    classes = {"metrics": record.metrics | {"segment_acc": 0.4}, "id": "both"}
    floors = record.floors | {"background": Figures({"segment_acc": 0.25})}
    both = replace(record, **classes, floors=floors)
    mapless = without_places(variant(record, "method.positives=random"), 0.9)
    mapless = replace(mapless, data=record.data)

    page = leaderboard([mapless, both])

    assert "|  | seeds | n | ciou@0.5 | pixel_ap | pointing | auc | segment_acc |" in page
    rows = [line for line in page.splitlines() if line.startswith("| **hardpos") and "/" in line]
    assert ["40.0 |" in rows[0], "| - | - | - | - | 90.0 [88.0, 92.0] |" in rows[1]] == [True] * 2
    assert "| *floor* background | - | - | - | - | - | - | 25.0 |" in page


def test_features_that_come_with_the_data_are_no_training_from_nothing(record: Record) -> None:
    method = {"backbone": "features", "pretrained": None, "pretrained_vision": None}
    card = replace(record.card, pretraining="vision: ImageNet, sound: VGGish")

    page = leaderboard([replace(record, card=card, config=record.config | {"method": method})])

    assert "| vision: ImageNet, sound: VGGish |" in page


def test_floors_of_segments_are_left_out_where_nothing_answers_classes(record: Record) -> None:
    floors = record.floors | {"background": Figures({"segment_acc": 0.25})}

    assert "background" not in leaderboard([replace(record, floors=floors)])


def test_runs_trained_on_test_clips_are_marked_with_the_count(record: Record) -> None:
    leakage = replace(record.leakage, trained_on=37, trained_on_videos=12)

    page = leaderboard([replace(record, leakage=leakage)])

    assert "| **hardpos** ⚠ | 1 |" in page
    assert "| ⚠ 37 test clips of 12 videos |" in page


def test_runs_trained_on_other_clips_of_test_videos_are_marked_too(record: Record) -> None:
    leakage = replace(record.leakage, trained_on=0, trained_on_videos=8)

    page = leaderboard([record, replace(record, id="b", seed=7, leakage=leakage)])

    assert "| **hardpos** ⚠ | " in page
    assert "| ⚠ other clips of 8 videos of test clips |" in page


def test_the_field_s_protocols_have_a_table(record: Record) -> None:
    page = leaderboard([record])

    header, _, row = page[page.index("|  | ezvsl ciou@0.5") :].splitlines()[:3]
    assert header == "|  | ezvsl ciou@0.5 | ezvsl auc | lvs ciou@0.5 | lvs auc |"
    assert row.startswith("| **hardpos** | 4.4 [2.6, 6.0] | 21.3 [20.5, 22.1] | 4.2 [2.6, 6.0] |")


def test_a_bar_in_a_setting_does_not_break_the_table(record: Record) -> None:
    page = leaderboard([variant(record, "method.positives=a|b")])

    assert r"**hardpos (method.positives=a\|b)**" in page


def test_no_records_make_a_page_that_says_so() -> None:
    page = leaderboard([])

    assert page.startswith("<!-- Written by `bench leaderboard`")
    assert "No run has been accepted so far." in page


def test_two_records_of_one_id_are_refused(record: Record) -> None:
    with pytest.raises(ValueError, match=f"two records have the id {record.id}"):
        leaderboard([record, replace(record, seed=4)])


def test_a_page_is_current_until_a_record_is_added(tmp_path: Path, record: Record) -> None:
    results, page = tmp_path / "results", tmp_path / "leaderboard.md"
    results.mkdir()
    before = is_current(results, page)
    write_leaderboard(results, page)
    written = is_current(results, page)
    write_atomically(results / f"{record.id}.json", json.dumps(record.to_dict()).encode())

    assert [before, written, is_current(results, page)] == [False, True, False]


def test_an_edited_page_is_not_current(tmp_path: Path) -> None:
    page = tmp_path / "leaderboard.md"
    write_leaderboard(tmp_path, page)
    page.write_text(page.read_text().replace("No run", "One run"))

    assert not is_current(tmp_path, page)


def test_a_corrupt_record_among_the_results_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")

    with pytest.raises(BenchError, match=r"broken\.json cannot be read as a record"):
        write_leaderboard(tmp_path, tmp_path / "leaderboard.md")


@pytest.mark.parametrize(("weights", "expected"), [(None, "none"), ("resnet18.pth", "vision")])
def test_a_run_without_weights_is_listed_as_not_pretrained(
    record: Record, weights: str | None, expected: str
) -> None:
    method = dict(record.config["method"]) | {"pretrained": weights}  # type: ignore[call-overload]
    card = replace(record.card, pretraining="vision")
    page = leaderboard([replace(record, card=card, config=record.config | {"method": method})])

    claims = lines_with(page, "**hardpos**")[1].split(" | ")
    assert expected == claims[-2]


def test_runs_that_are_scored_against_other_truth_have_a_section_of_their_own(
    record: Record,
) -> None:
    data = dict(record.config["data"]) | {"annotators": True}  # type: ignore[call-overload]
    other = replace(record, id=record.id + "x", config=record.config | {"data": data})

    page = leaderboard([record, other])

    assert 2 == page.count("\n## ")
    assert 1 == page.count(", scored with `data.annotators=true`.")


def test_keys_that_only_some_clips_have_are_shown_where_a_run_has_them(record: Record) -> None:
    biased = replace(record, metrics={**record.metrics, "context_pointing": 0.75})

    (header, *_) = lines_with(leaderboard([biased]), "context_pointing |")

    assert "context_pointing" in header
    assert [] == lines_with(leaderboard([record]), "context_pointing |")


def test_boxes_stand_in_a_table_of_their_own_with_their_floors(record: Record) -> None:
    figures = Figures({"ciou@0.5": 0.14, "auc": 0.2}, {"ciou@0.5": (0.1, 0.2)})
    board = ProtocolFigures(
        metrics={"ciou@0.5": 0.7, "auc": 0.6},
        ci95={"ciou@0.5": (0.65, 0.75)},
        floors={"random_box": figures},
        ceiling={"ciou@0.5": 0.97, "auc": 0.8},
    )
    above = {"ciou@0.5": Difference("random_box", 500, 0.56, 0.5, 0.6)}
    boxed = replace(
        record,
        id="boxed",
        method="proposal",
        card=replace(record.card, boxes=1),
        protocols={**record.protocols, "boxes": board},
        comparisons={**record.comparisons, "boxes_best_floor": above},
    )

    better = replace(board, metrics={"ciou@0.5": 0.8, "auc": 0.6})
    mean = variant(boxed, "method.proposal_score=mean")
    mean = replace(mean, metrics=mean.metrics | {"ciou@0.5": 0.1}, protocols={"boxes": better})

    page = leaderboard([record, boxed, mean])
    table = page[page.index("Boxes that methods answer") :].splitlines()

    ours = "70.0 [65.0, 75.0] | 60.0 | **+56.0** [50.0, 60.0] random_box | - | - |"
    assert table[5].startswith("| **proposal (method.proposal_score=mean)** | 1 | 80.0")
    assert table[6:9] == [
        f"| **proposal** | 1 | {ours}",
        "| *floor* random_box | 1 | 14.0 [10.0, 20.0] | 20.0 | - | - | - |",
        "| *best proposal* | 1 | 97.0 | 80.0 | - | - | - |",
    ]
    assert "boxes ciou@0.5" not in page
