import importlib
import json
import re
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console, RenderableType

import benchmark.speed
from benchmark.speed import STAGES, harness
from benchmark.speed import metrics as stage
from benchmark.speed.harness import (
    Absent,
    Amount,
    Claim,
    Comparison,
    Failed,
    Growth,
    Line,
    Report,
    Setting,
    Share,
    Target,
    Timer,
    chosen_stages,
    machine_facts,
    measured_lines,
    one_thread,
    run_stages,
)
from benchmark.speed.table import amount_cell, ratio_cell, speed_tables
from metrics.errors import BenchError
from metrics.protocols import PROTOCOLS

PIXELS = 224 * 224


class Clock:
    """A clock that only moves when something is said to take time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def taking(self, name: str, *seconds: float, result: float = 0.0) -> Callable[[], float]:
        """A way that takes the given seconds at its calls; the last of them ever after."""
        left = list(seconds)

        def way() -> float:
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]
            return result

        return way


@pytest.fixture
def clock() -> Clock:
    return Clock()


def compared(clock: Clock, *, rounds: int = 3, judged: bool = True, **parts: object) -> Line:
    """Line of a comparison in which the peer takes 8 s and we take 2 s for 4 items."""
    given = {
        "name": "scoring",
        "item": "map",
        "items": 4,
        "peer": clock.taking("peer", 8.0),
        "ours": clock.taking("ours", 2.0),
    }
    comparison: Comparison[float] = Comparison(**(given | parts))  # type: ignore[arg-type]
    return comparison.line(Timer(rounds=rounds, judged=judged, clock=clock))


def shown(table: RenderableType) -> str:
    console = Console(file=StringIO(), width=160)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_ways_are_timed_in_turn_after_a_call_each_that_does_not_count(clock: Clock) -> None:
    peer, ours = clock.taking("peer", 100.0, 8.0), clock.taking("ours", 50.0, 2.0)

    line = compared(clock, rounds=2, peer=peer, ours=ours)

    assert clock.calls == ["peer", "ours"] * 3
    assert (line.peer, line.ours) == (2.0, 0.5)


def test_the_median_of_the_rounds_counts(clock: Clock) -> None:
    peer = clock.taking("peer", 0.0, 3.0, 1.0, 40.0)
    ours = clock.taking("ours", 0.0, 9.0, 2.0, 1.0)

    line = compared(clock, items=1, peer=peer, ours=ours)

    assert (line.peer, line.ours, line.figure) == (3.0, 2.0, 1.5)


def test_a_comparison_tells_seconds_per_item_and_their_ratio(clock: Clock) -> None:
    line = compared(clock)

    assert (line.unit, line.peer, line.ours, line.figure) == ("s/map", 2.0, 0.5, 4.0)
    assert line.verdict == ""


def test_a_way_without_a_peer_has_no_ratio(clock: Clock) -> None:
    line = compared(clock, peer=None)

    assert (line.peer, line.ours, line.figure) == (None, 0.5, None)


@pytest.mark.parametrize(("own", "rounds"), [(1, 1), (9, 3), (None, 3)])
def test_a_comparison_can_ask_for_fewer_rounds_but_not_for_more(
    clock: Clock, own: int | None, rounds: int
) -> None:
    comparison = Comparison(
        name="floor", item="map", items=1, ours=clock.taking("ours", 1.0), rounds=own
    )

    comparison.line(Timer(rounds=3, clock=clock))

    assert len(clock.calls) == 1 + rounds


@pytest.mark.parametrize(
    ("word", "bound", "verdict"),
    [
        ("at least", 4.0, "reached"),
        ("at least", 4.1, "missed"),
        ("at most", 4.0, "reached"),
        ("at most", 3.9, "missed"),
    ],
)
def test_a_target_is_reached_on_its_side_of_the_bound(
    clock: Clock, word: str, bound: float, verdict: str
) -> None:
    assert compared(clock, target=Target(word, bound, "x")).verdict == verdict


def test_a_figure_that_is_no_number_reaches_no_target() -> None:
    assert not Target("at least", 1.0).is_met_by(float("nan"))
    assert not Target("at most", 1.0).is_met_by(float("nan"))


def test_an_untrue_claim_outweighs_a_reached_target(clock: Clock) -> None:
    def claims(peer: float, ours: float) -> Iterator[Claim]:
        yield Claim("same maps", True)
        yield Claim(f"{peer} equals {ours}", peer == ours)

    line = compared(
        clock,
        peer=clock.taking("peer", 8.0, result=1.0),
        ours=clock.taking("ours", 2.0, result=2.0),
        claims=claims,
        target=Target("at least", 4.0),
    )

    assert line.verdict == "unequal"
    assert line.claims[1] == ("1.0 equals 2.0", False)
    assert Report({"metrics": (line,)}, {}, Setting()).unequal == ("scoring: 1.0 equals 2.0",)


def test_a_quick_run_judges_claims_but_no_target(clock: Clock) -> None:
    target = Target("at least", 100.0)
    quick = compared(clock, judged=False, target=target)
    unequal = compared(
        clock, judged=False, target=target, claims=lambda peer, ours: [Claim("same", False)]
    )

    assert (quick.verdict, unequal.verdict) == ("not judged", "unequal")
    assert Report({"metrics": (quick,)}, {}, Setting(quick=True)).missed == ()


@pytest.mark.parametrize("is_peer", [True, False])
def test_growth_is_the_time_of_many_over_that_of_few(clock: Clock, is_peer: bool) -> None:
    def quadratic(n: int) -> None:
        clock.now += n**2

    growth = Growth(name="forward()", item="map", small=2, large=6, run=quadratic, is_peer=is_peer)

    line = growth.line(Timer(rounds=1, clock=clock))

    assert (line.name, line.figure) == ("forward(), t(6)/t(2)", 9.0)
    assert (line.peer, line.ours) == ((6.0, None) if is_peer else (None, 6.0))


def test_growth_is_judged_by_its_ratio(clock: Clock) -> None:
    def linear(n: int) -> None:
        clock.now += n

    growth = Growth(
        name="update()", item="map", small=1, large=8, run=linear, target=Target("at most", 7.0)
    )

    assert growth.line(Timer(rounds=1, clock=clock)).verdict == "missed"


@pytest.mark.parametrize(("amount", "verdict"), [(2048.0, "reached"), (2049.0, "missed")])
def test_an_amount_is_judged_itself(amount: float, verdict: str) -> None:
    counted = Amount(
        name="memory", unit="B/map", ours=lambda: amount, target=Target("at most", 2048.0, " B")
    )

    line = counted.line(Timer())

    assert (line.ours, line.verdict) == (amount, verdict)
    assert ratio_cell(line) == "-"


@pytest.mark.parametrize(
    ("amount", "verdict", "cell"), [(26.0, "reached", "0.26x"), (27.0, "missed", "0.27x")]
)
def test_a_share_is_judged_by_its_part_of_the_peers(amount: float, verdict: str, cell: str) -> None:
    shared = Share(name="bytes", unit="B/item", peer=lambda: 100.0, ours=lambda: amount,
                   target=Target("at most", 0.26, "x"))  # fmt: skip

    line = shared.line(Timer())

    assert (line.peer, line.ours, line.verdict) == (100.0, amount, verdict)
    assert ratio_cell(line) == cell


def test_what_cannot_be_measured_has_a_reason_and_no_verdict() -> None:
    line = Absent(name="GPU", note="no GPU here").line(Timer())

    assert (line.ours, line.figure, line.note, line.verdict) == (None, None, "no GPU here", "")


def test_an_error_is_told_whether_or_not_targets_are_checked() -> None:
    line = Failed(name="a step", note="RuntimeError: no memory").line(Timer())
    report = Report({"step": (line,)}, {}, Setting())

    assert (line.figure, line.verdict) == (None, "failed")
    assert report.complaints(check=False) == ("a step: RuntimeError: no memory",)
    assert report.complaints(check=True) == report.complaints(check=False)


def test_annotations_are_refused_where_nothing_is_scored() -> None:
    with pytest.raises(BenchError, match="name the stage metrics too"):
        run_stages(["data"], Setting(annotations=Path("vggss.json")))


def test_a_stage_makes_its_next_inputs_after_its_last_line() -> None:
    happened: list[str] = []

    def comparisons() -> Iterator[Amount]:
        for name in ("first", "second"):
            happened.append(f"inputs of {name}")
            yield Amount(name=name, unit="B", ours=lambda: happened.append("measured") or 0.0)

    lines = measured_lines(comparisons(), Timer())

    assert [line.name for line in lines] == ["first", "second"]
    assert happened == ["inputs of first", "measured", "inputs of second", "measured"]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [((), tuple(STAGES)), (("metrics",), ("metrics",)), (("metrics", "metrics"), ("metrics",))],
)
def test_stages_are_those_named_once_each_or_all(
    names: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    assert chosen_stages(names) == chosen


def test_an_unknown_stage_is_answered_with_the_closest_and_the_list() -> None:
    message = f"unknown stage 'metric'. Did you mean metrics? Stages: {', '.join(STAGES)}."
    with pytest.raises(BenchError, match=re.escape(message)):
        chosen_stages(["metric"])


def test_every_stage_is_a_module_with_comparisons() -> None:
    folder = Path(benchmark.speed.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "harness", "table"}

    assert set(STAGES) == modules
    for name in STAGES:
        assert callable(importlib.import_module(f"benchmark.speed.{name}").comparisons)


def test_only_missed_targets_and_untrue_claims_are_complained_of(clock: Clock) -> None:
    lines = (
        compared(clock, name="slow", target=Target("at least", 5.0, "x")),
        compared(clock, name="fast", target=Target("at least", 3.0, "x")),
        compared(clock, name="other", claims=lambda peer, ours: [Claim("same maps", False)]),
    )
    report = Report({"metrics": lines}, {}, Setting())

    assert report.complaints(check=False) == ("other: same maps",)
    assert report.complaints(check=True) == ("other: same maps", "slow: 4, at least 5x")


def test_the_content_for_machines_is_json_with_facts_and_verdicts(clock: Clock) -> None:
    line = compared(
        clock,
        target=Target("at least", 4.0, "x"),
        claims=lambda peer, ours: [Claim("same maps", True)],
    )
    report = Report({"metrics": (line,)}, {"cpus": 2}, Setting())

    found = json.loads(json.dumps(report.to_dict()))

    assert found["machine"] == {"cpus": 2}
    assert (found["missed"], found["unequal"], found["quick"]) == ([], [], False)
    (row,) = found["stages"]["metrics"]
    assert row["name"] == "scoring"
    assert (row["unit"], row["peer"], row["ours"], row["figure"]) == ("s/map", 2.0, 0.5, 4.0)
    assert row["target"] == {"word": "at least", "bound": 4.0, "unit": "x"}
    assert row["claims"] == [{"text": "same maps", "holds": True}]
    assert row["verdict"] == "reached"


def test_the_table_shows_both_rates_ratio_target_verdict_and_claims(clock: Clock) -> None:
    line = compared(
        clock,
        target=Target("at least", 5.0, "x"),
        claims=lambda peer, ours: [Claim("same maps", True)],
        note="of [14, 14] cells",
    )
    text = shown(speed_tables(Report({"metrics": (line,)}, {"cpu": "abacus"}, Setting())))

    (row,) = (row for row in text.splitlines() if "2 s/map" in row)
    assert " ".join(row.split()) == "scoring 2 s/map 500 ms/map 4.0x at least 5x missed"
    assert "true  scoring: same maps" in text
    assert "of [14, 14] cells" in text
    assert "abacus" in text
    assert "quick" not in text


def test_the_table_shouts_an_untrue_claim_and_warns_of_a_quick_run(clock: Clock) -> None:
    line = compared(clock, claims=lambda peer, ours: [Claim("same maps", False)])

    text = shown(speed_tables(Report({"metrics": (line,)}, {}, Setting(quick=True))))

    assert "UNTRUE  scoring: same maps" in text
    assert "unequal" in text
    assert "the times mean nothing" in text


@pytest.mark.parametrize(
    ("amount", "unit", "cell"),
    [
        (None, "s/map", "-"),
        (1.5, "s/map", "1.5 s/map"),
        (0.25, "s/map", "250 ms/map"),
        (39e-6, "s/map", "39 us/map"),
        (2e-9, "s/map", "0.002 us/map"),
        (12345.6, "B/sample", "12,346 B/sample"),
    ],
)
def test_amounts_are_shown_in_a_readable_unit(amount: float | None, unit: str, cell: str) -> None:
    assert amount_cell(amount, unit) == cell


def test_threads_are_one_inside_and_as_before_afterwards() -> None:
    before = cv2.getNumThreads(), torch.get_num_threads()
    try:
        cv2.setNumThreads(2)
        torch.set_num_threads(2)

        def failing() -> None:
            with one_thread():
                assert (cv2.getNumThreads(), torch.get_num_threads()) == (1, 1)
                raise RuntimeError("a stage failed")

        with pytest.raises(RuntimeError, match="a stage failed"):
            failing()

        assert (cv2.getNumThreads(), torch.get_num_threads()) == (2, 2)
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


def test_the_machine_is_described_without_the_name_of_a_host() -> None:
    facts = machine_facts()

    expected = {"cpu", "cpus", "gpu", "load", "threads", "opencv_threads", "blas_threads", "numpy"}
    assert expected <= set(facts)
    assert "OMP_NUM_THREADS" in json.dumps(facts)
    assert not {"host", "hostname", "user", "node"} & set(facts)


@pytest.fixture(scope="module")
def quick() -> Report:
    return run_stages(["metrics"], Setting(quick=True, device="cpu"))


def test_all_claims_of_the_metrics_stage_are_true(quick: Report) -> None:
    claims = [claim.text for line in quick.lines["metrics"] for claim in line.claims]

    assert quick.unequal == ()
    assert any(claim.startswith("masks bit-equal on all 24 maps") for claim in claims)
    assert any(claim.startswith("consensus IoU equal on all 24 maps") for claim in claims)
    assert any(claim.startswith("intervals of the same resamples") for claim in claims)


def test_the_targets_of_the_metrics_stage_are_those_that_were_set(quick: Report) -> None:
    targets = {line.name: str(line.target) for line in quick.lines["metrics"] if line.target}

    assert targets == {
        "scoring under lvs": "at least 4x",
        "metrics at batch 1, t(4)/t(2)": "at most 10x",
        "memory of score() from 8 to 32 samples, less the rows": "at most 2048 B",
    }
    assert {line.verdict for line in quick.lines["metrics"] if line.target} == {"not judged"}


def test_the_full_sizes_are_those_of_the_targets() -> None:
    sizes = stage.Sizes()

    assert (sizes.scored, sizes.linear) == (2000, (256, 2048))
    assert (sizes.bootstrapped, sizes.resamples) == ((5158, 8), 2000)
    assert sizes.random_draws == 100


def test_every_protocol_and_floor_is_timed(quick: Report) -> None:
    names = {line.name for line in quick.lines["metrics"]}

    assert {f"all scores under {name}" for name in PROTOCOLS} <= names
    assert {f"floor {name} under lvs" for name in ("center", "mean_box", "random")} <= names


def test_a_pixel_that_differs_makes_the_claim_of_equal_masks_untrue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    maps = stage.Maps(stage.made_up_truth(8), stage.made_up_maps(8))
    scores, own_mask = stage.peer_scores(maps), stage.peer_mask

    def one_pixel_off(heatmap: np.ndarray) -> np.ndarray:
        mask = own_mask(heatmap)
        if np.array_equal(heatmap, maps.heatmaps[7]):
            mask[100, 100] = 1 - mask[100, 100]
        return mask

    monkeypatch.setattr(stage, "peer_mask", one_pixel_off)
    masks, ciou, rates = stage.scoring_claims(maps, scores, scores)

    assert masks == ("masks bit-equal on all 8 maps, 1 differ", False)
    assert ciou.holds
    assert rates.holds


def test_a_consensus_iou_that_differs_in_its_last_bit_makes_the_claim_untrue() -> None:
    maps = stage.Maps(stage.made_up_truth(8), stage.made_up_maps(8))
    scores = stage.peer_scores(maps)
    off = scores.ciou.copy()
    off[7] = np.nextafter(off[7], 1)

    masks, ciou, rates = stage.scoring_claims(maps, scores, scores._replace(ciou=off))

    assert masks.holds
    assert ciou == ("consensus IoU equal on all 8 maps, 1 differ", False)
    assert rates.holds


@pytest.mark.parametrize("part", ["success", "auc"])
def test_a_rate_that_differs_makes_the_claim_untrue(part: str) -> None:
    maps = stage.Maps(stage.made_up_truth(2), stage.made_up_maps(2))
    scores = stage.peer_scores(maps)

    other = scores._replace(**{part: getattr(scores, part) + 1e-9})

    assert not list(stage.scoring_claims(maps, scores, other))[-1].holds


def test_the_first_made_up_sample_is_undefined_for_both() -> None:
    """A mask without a pixel against a truth without one: 0/0."""
    maps = stage.Maps(stage.made_up_truth(6), stage.made_up_maps(6))

    assert np.isnan(stage.peer_scores(maps).ciou).tolist() == [True] + [False] * 5
    assert np.isnan(stage.our_scores(maps).ciou).tolist() == [True] + [False] * 5


@pytest.mark.parametrize(
    ("heatmap", "kept"),
    [
        (np.random.default_rng(0).permutation(PIXELS).reshape(224, 224), 25087),
        (np.full((7, 7), 0.5), PIXELS),
        (np.full((7, 7), -0.5), 0),
        (np.repeat([1.0, 0.0], [30_000, PIXELS - 30_000]).reshape(224, 224), 30_000),
        (np.repeat([1.0, 0.0], [10_000, PIXELS - 10_000]).reshape(224, 224), 10_000),
    ],
)
def test_the_peer_keeps_as_many_pixels_as_the_code_it_stands_for(
    heatmap: np.ndarray, kept: int
) -> None:
    """Counts by hand from LVS ``test.py:82-88`` at 8fe8cbb."""
    assert stage.peer_mask(heatmap.astype(np.float32)).sum() == kept


def test_the_peer_draws_the_first_box_of_vgg_ss_where_it_is_known_to_be() -> None:
    expected = np.zeros((224, 224))
    expected[56:168, 90:134] = 1

    drawn = stage.peer_truth(np.array([[0.403125, 0.253125, 0.6, 0.75]]))

    np.testing.assert_array_equal(drawn, expected)
    assert drawn.dtype == np.float64


def test_the_peer_counts_overlapping_boxes_once() -> None:
    twice = np.array([[0.0, 0.0, 0.5, 1.0], [0.25, 0.0, 1.0, 1.0]])

    assert stage.peer_truth(twice).tolist() == np.ones((224, 224)).tolist()


def test_made_up_boxes_are_as_large_as_those_of_vgg_ss() -> None:
    """VGG-SS: union of mean .312 and median .253; 10 % of frames with several boxes."""
    truth = stage.made_up_truth(2000)
    areas = [stage.peer_truth(sample.boxes[0]).mean() for sample in truth[:400]]

    assert np.mean(areas) == pytest.approx(0.312, abs=0.05)
    assert np.median(areas) == pytest.approx(0.253, abs=0.05)
    assert np.mean([len(sample.boxes[0]) > 1 for sample in truth]) == pytest.approx(0.104, abs=0.02)


def test_made_up_inputs_are_a_function_of_their_seed() -> None:
    assert np.array_equal(stage.made_up_maps(9), stage.made_up_maps(9))
    assert not np.array_equal(stage.made_up_maps(9)[6:], stage.made_up_maps(9, seed=1)[6:])
    boxes, again = (stage.made_up_truth(9)[8].boxes[0] for _ in range(2))
    assert np.array_equal(boxes, again)


def test_samples_are_repeated_under_ids_of_their_own() -> None:
    maps = stage.Maps(stage.made_up_truth(3), stage.made_up_maps(3)).first(7)

    assert len({sample.id for sample in maps.truth}) == len(maps.heatmaps) == 7
    assert np.array_equal(maps.heatmaps[5], maps.heatmaps[2])
    assert maps.truth[5].boxes is maps.truth[2].boxes


def test_intervals_of_one_resample_at_a_time_follow_its_means() -> None:
    columns = np.array([[0.0, 1.0], [1.0, 1.0]])
    rng = np.random.default_rng(3)
    means = sorted(rng.integers(2, size=2).mean() for _ in range(3))  # of the column 0, 1

    found = stage.peer_intervals(columns, seed=3, resamples=3)

    low = means[0] + 0.05 * (means[1] - means[0])  # 2.5 % of the way over two gaps
    high = means[2] - 0.05 * (means[2] - means[1])
    np.testing.assert_allclose(found, [[low, high], [1.0, 1.0]], atol=1e-12)


def test_real_annotations_take_the_place_of_made_up_boxes(tmp_path: Path) -> None:
    path = tmp_path / "vggss.json"
    rows = [
        {"file": f"zpWuikVorYg_00003{place}", "class": "elk", "bbox": [[0.4, 0.25, 0.6, 0.75]]}
        for place in range(3)
    ]
    path.write_text(json.dumps(rows))

    first = next(iter(stage.comparisons(Setting(annotations=path))))
    line = first.line(Timer(rounds=1, judged=False))

    assert line.claims[0] == ("masks bit-equal on all 3 maps, 0 differ", True)


def test_annotations_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "vggss.json"
    path.write_text("[")

    with pytest.raises(BenchError, match=r"vggss\.json"):
        next(iter(stage.comparisons(Setting(quick=True, annotations=path))))


def accelerator_line(device: str | None) -> Line:
    *_, last = stage.comparisons(Setting(quick=True, device=device))
    return last.line(Timer(rounds=1, judged=False))


@pytest.mark.parametrize("device", [None, "cuda"])
def test_a_machine_without_a_gpu_says_so(
    monkeypatch: pytest.MonkeyPatch, device: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    line = accelerator_line(device)

    assert (line.note, line.ours, line.claims) == ("no GPU here", None, ())


def test_a_gpu_that_was_not_asked_for_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    assert accelerator_line("cpu").note == "not asked for"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_batches_on_a_gpu_score_as_one_map_after_the_other() -> None:
    assert [claim.holds for claim in accelerator_line("cuda").claims] == [True] * 3


def test_maps_in_batches_score_as_one_map_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stage, "BATCH", 3)
    maps = stage.Maps(stage.made_up_truth(8), stage.made_up_maps(8))

    alone, batched = (
        stage.collected_scores(maps, "cpu", batched=batched) for batched in (False, True)
    )

    assert [claim.holds for claim in stage.batch_claims(alone, batched)] == [True] * 3


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_sample_that_scores_otherwise_in_a_batch_makes_its_claim_untrue(place: int) -> None:
    maps = stage.Maps(stage.made_up_truth(8), stage.made_up_maps(8))
    scores = stage.collected_scores(maps, "cpu", batched=False)
    key = ("ciou", "pointing", "pixel_ap")[place]
    off = scores.values[key].copy()
    off[7] += 1e-9

    claims = list(stage.batch_claims(scores, scores._replace(values={**scores.values, key: off})))

    assert [claim.holds for claim in claims] == [other != place for other in range(3)]


def test_a_stage_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Setting] = []

    def comparisons(setting: Setting) -> Iterator[Amount]:
        asked.append(setting)
        yield Amount(name="memory", unit="B/map", ours=lambda: 1.0)

    monkeypatch.setattr(stage, "comparisons", comparisons)
    report = run_stages(["metrics"], Setting(device="cpu"))

    assert [line.name for line in report.lines["metrics"]] == ["memory"]
    assert asked == [Setting(device="cpu")]
    assert report.machine["threads"] == 1
    assert harness.ROUNDS > harness.ROUNDS_WHEN_QUICK


def test_the_selection_of_proposals_is_that_of_all_pixels_at_full_size() -> None:
    from benchmark.speed import selection

    comparison, whole = selection.comparisons(Setting())
    line = comparison.line(Timer(rounds=1))

    assert [claim.holds for claim in line.claims] == [True, True]
    assert (selection.FULL.frames, selection.FULL.boxes, selection.FULL.cells) == (128, 600, 28)
    assert whole.target == Target("at most", 20.0, " ms")


def test_a_box_that_is_not_selected_makes_its_claim_untrue() -> None:
    from benchmark.speed import selection

    location_map, proposals = selection.inputs(selection.QUICK)
    peer = selection.peer_selection(location_map, proposals)
    other = selection.Selection(peer.proposals.flip(1), peer.sums + 1)

    claims = list(selection.selection_claims(location_map, peer, other))

    assert [claim.holds for claim in claims] == [False, False]
