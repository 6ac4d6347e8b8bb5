import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark.speed import stall
from benchmark.speed import step as stage
from benchmark.speed.harness import Line, Setting, Timer, measured_lines, run_stages
from benchmark.speed.step import (
    BACKBONES,
    BF16,
    FRONT_ENDS,
    LAID_OUT,
    MEASURED,
    PLAIN,
    TODAY,
    WAYS,
    Figures,
    Steps,
    lines_of,
    matmul_rates,
    measured,
    method_of,
    network_inputs,
    networks,
    random_batch,
    seen_clips,
)
from methods.base import Method
from metrics.errors import BenchError

CPU = torch.device("cpu")
QUICK = Setting(quick=True, device="cpu")
IN_SECONDS = {TODAY: 0.5, PLAIN: 1.0, LAID_OUT: 0.4, FRONT_ENDS: 0.05, BACKBONES: 0.25}


def small(name: str) -> Method:
    return method_of(name, small=True)[0]


def lines_by_name(device: str, **changes: object) -> dict[str, Line]:
    """Lines of a method whose step of 4 clips takes half a second."""
    figures = Figures(
        batch=4,
        clips=8,
        seconds=IN_SECONDS,
        losses=dict.fromkeys(IN_SECONDS, (2.0, 1.0)),
        refused={BF16: "RuntimeError: no such kernel"},
        flop=8e12,
        memory=3 * 2.0**20,
    )._replace(**changes)
    peaks = {"fp32": 20e12, "TF32": 64e12, "bf16": 100e12}
    return {line.name: line for line in lines_of("lvs", figures, peaks, torch.device(device))}


@pytest.mark.parametrize("name", MEASURED)
def test_a_step_of_every_method_trains_on_noise(name: str) -> None:
    method = small(name)
    before = [parameter.detach().clone() for parameter in method.parameters()]
    steps = Steps(method, random_batch(method, 2), WAYS[TODAY])

    steps()
    steps()

    after = list(steps.method.parameters())
    assert all(parameter.requires_grad for parameter in after)
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(torch.equal(one, own) for one, own in zip(before, method.parameters(), strict=True))
    assert steps.losses[0] != steps.losses[1]


@pytest.mark.parametrize("name", MEASURED)
def test_front_ends_and_backbones_are_the_parts_of_the_streams(name: str) -> None:
    method = small(name).eval()
    batch = random_batch(method, 2)

    inputs = network_inputs(method, batch.clip)
    seen, heard = (net(each) for net, each in zip(networks(method), inputs, strict=True))

    visual, sound = method.streams(batch.clip)
    torch.testing.assert_close(seen, visual.reshape(seen.shape))
    heard = torch.cat([heard, sound.flatten(0, -2)[:, heard.shape[1] :]], 1)  # level, of avfb
    torch.testing.assert_close(heard, sound.reshape(heard.shape))


def test_hardpos_sees_as_many_further_clips_and_others_none() -> None:
    assert len(seen_clips(random_batch(small("hardpos"), 3)).index) == 6
    assert len(seen_clips(random_batch(small("lvs"), 3)).index) == 3


def test_papers_sizes_are_those_of_the_recipes() -> None:
    batches = {name: method_of(name, small=False)[1] for name in ("attention", "proposal")}
    method, batch = method_of("lvs", small=False)

    assert batches == {"attention": 30, "proposal": 128}
    assert (batch, method.config.image_size) == (128, 224)


def test_the_plain_way_lays_nothing_out_and_ours_does() -> None:
    method = small("lvs_vanilla")
    layouts: dict[str, tuple[bool, bool]] = {}
    for way in (PLAIN, LAID_OUT):
        steps = Steps(method, random_batch(method, 2), WAYS[way])
        (visual, _) = networks(steps.method)
        convolution = next(each for each in visual.modules() if isinstance(each, nn.Conv2d))

        def note(module: nn.Module, inputs: tuple[torch.Tensor], way: str = way) -> None:
            laid_out = torch.channels_last
            layouts[way] = tuple(
                each.is_contiguous(memory_format=laid_out) for each in (inputs[0], module.weight)
            )

        convolution.register_forward_pre_hook(note)
        steps()

    assert layouts == {PLAIN: (False, False), LAID_OUT: (True, True)}


def test_rates_shares_and_claims_follow_from_the_seconds() -> None:
    lines = lines_by_name("cuda")
    step = lines["lvs: training step"]
    front = lines["lvs: front-ends beside the step"]
    backbone = lines["lvs: step beside forward and backward of its backbones"]
    layout = lines[f"lvs: step, {LAID_OUT}"]

    assert (step.ours, step.unit) == (8.0, "clip/s")
    assert step.note.startswith("batch of 4, and 4 drawn beside it, 2e+03 GFLOP a clip")
    assert (front.figure, front.verdict) == (pytest.approx(0.1), "missed")
    assert (backbone.peer, backbone.figure, backbone.verdict) == (16.0, 0.5, "reached")
    assert (layout.peer, layout.ours, layout.figure) == (4.0, 10.0, 2.5)
    assert layout.verdict == "not judged"
    assert lines["lvs: step, bf16"].note == "RuntimeError: no such kernel"
    assert lines["lvs: peak of memory"].ours == 3.0
    share = lines[f"lvs: share of the peak, {TODAY}"]
    assert (share.ours, share.peer, share.figure) == (16.0, 64.0, 0.25)


def test_targets_of_a_gpu_are_not_judged_on_a_cpu_and_the_other_way_round() -> None:
    lines = lines_by_name("cpu")

    verdicts = {name.removeprefix("lvs: "): line.verdict for name, line in lines.items()}

    assert verdicts["front-ends beside the step"] == "not judged"
    assert verdicts["step beside forward and backward of its backbones"] == "not judged"
    assert verdicts[f"step, {LAID_OUT}"] == "reached"


@pytest.mark.parametrize(
    ("losses", "untrue"),
    [((2.0, 1.0), []), ((2.1, 1.0), ["same loss"]), ((2.0, float("nan")), ["losses are finite"])],
)
def test_another_loss_is_an_untrue_claim(losses: tuple[float, float], untrue: list[str]) -> None:
    given = {**dict.fromkeys(IN_SECONDS, (2.0, 1.0)), LAID_OUT: losses}

    line = lines_by_name("cpu", losses=given)[f"lvs: step, {LAID_OUT}"]

    broken = [claim.text for claim in line.claims if not claim.holds]
    assert len(broken) == len(untrue)
    assert all(text.startswith(start) for text, start in zip(broken, untrue, strict=True))


def test_operations_of_a_step_are_counted() -> None:
    figures = measured("lvs_vanilla", QUICK, CPU)

    convolutions = [
        (32, 24, 3 * 16),
        (16, 48, 24 * 16),
        (8, 96, 48 * 16),
        (8, 128, 96),
        (8, 128, 128),
    ]
    forward = sum(2 * side**2 * outputs * weights for side, outputs, weights in convolutions)
    assert figures.flop / figures.batch > 2 * forward  # forward, and for weights at least
    assert figures.flop / figures.batch < 12 * forward  # the sound stream is smaller than thrice it
    assert figures.memory is None
    assert set(figures.seconds) | set(figures.refused) == {*WAYS, FRONT_ENDS, BACKBONES}


def test_a_batch_without_room_is_halved_until_it_has_some(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def figures(method: Method, size: int, *rest: object) -> int:
        asked.append(size)
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return size

    monkeypatch.setattr(stage, "_figures", figures)
    monkeypatch.setattr(stage, "QUICK_BATCH", 8)

    assert measured("lvs", QUICK, CPU) == 2
    assert asked == [8, 4, 2]


def test_a_method_that_fails_leaves_a_reason_and_the_others_their_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = measured("lvs", QUICK, CPU)

    def failing(name: str, *rest: object) -> Figures:
        if name == "hardpos":
            raise RuntimeError("expected all tensors\non the same device")
        return taken

    monkeypatch.setattr(stage, "measured", failing)

    lines = measured_lines(stage.comparisons(QUICK), Timer(judged=False))

    steps = {line.name: line for line in lines if line.name.endswith(": training step")}
    assert steps["hardpos: training step"].note == (
        "RuntimeError: expected all tensors on the same device"
    )
    assert {name for name, line in steps.items() if line.ours} == {
        f"{name}: training step" for name in MEASURED if name != "hardpos"
    }
    assert steps.pop("hardpos: training step").verdict == "failed"
    assert all(line.verdict in ("", "not judged") for line in steps.values())


def test_products_of_matrices_are_timed_in_each_precision() -> None:
    before = torch.backends.cuda.matmul.allow_tf32

    rates = matmul_rates(CPU, 32)

    assert set(rates) == {"fp32", "TF32", "bf16"}
    assert all(rate > 0 for rate in rates.values())
    assert torch.backends.cuda.matmul.allow_tf32 == before


def test_the_loader_goes_round_its_clips_in_an_order_of_each_epoch(tmp_path: Path) -> None:
    method = small("lvs_vanilla")
    loader = stall.endless_loader(method, stall.Sizes(8, 6, batch=4), tmp_path / "clips")

    source = iter(loader.sampler)
    epochs = [[next(source).frame for _ in range(2)] for _ in range(2)]

    rows = [[int(row) for batch in epoch for row in batch] for epoch in epochs]
    assert sorted(rows[0]) == sorted(rows[1]) == list(range(8))
    assert rows[0] != rows[1]
    assert (loader.num_workers, loader.batch_size) == (2, None)


def test_loader_and_step_are_measured_apart_and_together() -> None:
    lines = measured_lines(stall.comparisons(QUICK), Timer(judged=False))

    assert [line.unit for line in lines] == ["clip/s"] * 3
    assert all(line.ours and line.ours > 0 for line in lines)
    assert lines[2].peer == lines[1].ours
    assert str(lines[2].target) == "at least 0.95x"
    assert "4" in json.dumps(lines[0].note)


def test_only_the_methods_that_are_asked_for_take_steps() -> None:
    lines = measured_lines(
        stage.comparisons(replace(QUICK, methods=("lvs",))), Timer(rounds=1, judged=False)
    )

    assert {line.name.partition(":")[0] for line in lines} == {"lvs"}
    (compiled,) = (line for line in lines if line.name == "lvs: step, as it is, compiled")
    assert (compiled.ours, compiled.note) == (None, "compiling for a CPU takes minutes")


def test_a_method_without_a_step_is_answered_with_the_closest() -> None:
    with pytest.raises(BenchError, match=r"--method lv has no step to measure\. Did you mean lvs"):
        list(stage.comparisons(replace(QUICK, methods=("lv",))))


def test_a_method_for_other_stages_alone_is_refused() -> None:
    with pytest.raises(BenchError, match="name the stage step too"):
        run_stages(["metrics"], replace(QUICK, methods=("lvs",)))
