"""Stage ``step``: one training step of each method, and what of it is not its backbones.

Clips are random and lie on the device already, so nothing is read, decoded or moved. A step is the
loss, its gradient and the optimiser, as Lightning runs them; what is kept beside it for figures of
a training (``on_train_batch_end``) is left out. All ways of one method take turns in one run.
"""

import gc
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.compiling import compile_networks
from benchmark.registry import METHOD_REGISTRY
from benchmark.speed.harness import Absent, Claim, Failed, Line, Measurable, Setting, Target, Timer
from datamodules.base import DataConfig
from datamodules.clip import Batch, Clip
from methods.base import Method, OptimConfig
from methods.hardpos import HardPos
from methods.streams import Streams
from methods.two_stream import TwoStream
from metrics.errors import BenchError, did_you_mean

log = logging.getLogger(__name__)
MEASURED = ("lvs_vanilla", "lvs", "hardpos", "attention", "attention_relu", "avfb", "proposal")
ON_CPU = {"lvs_vanilla": 4, "hardpos": 2}  # clips of a batch, of those that are quick there
BATCH_ON_CPU = 2  # of others, where they are asked for
QUICK_BATCH = 4
CALL_SECONDS, MOST_STEPS = 0.3, 10  # of a call that is timed, on a GPU
ROUNDS = 3
MATMUL_SIDE = 8192
NEIGHBOURS, TRAINING_CLIPS = 1000, 4000  # K of the paper; of how many clips costs nothing
SAME_LOSS, SAME_LOSS_TF32 = 1e-3, 2e-2  # of the first step, relative; layouts round otherwise
TODAY, PLAIN, LAID_OUT = "as it is", "contiguous, Adam", "channels_last, fused Adam"
FUSED = "contiguous, fused Adam"  # of LAID_OUT, what is not the layout's
COMPILED = "as it is, compiled"
BF16, BF16_LAID_OUT = "bf16", "bf16, channels_last, fused Adam"
FRONT_ENDS, BACKBONES = "front-ends", "backbones"


class Way(NamedTuple):
    """How a step is taken; all None and false as the project takes it."""

    layout: torch.memory_format | None = None
    fused: bool | None = None
    bf16: bool = False
    compiled: bool = False


WAYS: Mapping[str, Way] = {
    TODAY: Way(),
    PLAIN: Way(torch.contiguous_format, fused=False),
    FUSED: Way(torch.contiguous_format, fused=True),
    LAID_OUT: Way(torch.channels_last, fused=True),
    COMPILED: Way(compiled=True),
    BF16: Way(bf16=True),
    BF16_LAID_OUT: Way(torch.channels_last, fused=True, bf16=True),
}


class Figures(NamedTuple):
    """What was found of one method; seconds are of a step, by way."""

    batch: int  # clips
    clips: int  # that pass the streams: those that were drawn beside them too
    seconds: Mapping[str, float]
    losses: Mapping[str, tuple[float, float]]  # first and last, by way
    refused: Mapping[str, str]  # ways that raised an error, and which
    flop: float  # of a step, without LSTMs and FFTs
    memory: float | None  # bytes, of a GPU


@dataclass(frozen=True)
class Found:
    """A line that is there already."""

    finding: Line

    def line(self, timer: Timer) -> Line:
        """The line; judged where its device and the timer are."""
        return replace(self.finding, judged=self.finding.judged and timer.judged)


def comparisons(setting: Setting) -> Iterator[Measurable]:
    """Everything that the stage measures, method by method."""
    device = chosen_device(setting)
    if device.type == "cuda" and not torch.cuda.is_available():
        yield Absent(name="training steps", note="no GPU here")
        return
    peaks: Mapping[str, float] = {}
    if device.type == "cuda":
        peaks = matmul_rates(device, 256 if setting.quick else MATMUL_SIDE)
        yield from (Found(_peak_line(name, rate)) for name, rate in peaks.items())
    for name in chosen_methods(setting):
        label = f"{name}: training step"
        slow = device.type == "cpu" and not setting.quick and name not in ON_CPU
        if slow and not setting.methods:
            yield Absent(name=label, note=f"takes long on a CPU; ask by --method {name}")
            continue
        try:
            figures = measured(name, setting, device)
        except Exception as error:  # one method must not take the others' time on a GPU with it
            log.warning("%s: %s", name, one_line(error))
            yield Failed(name=label, note=one_line(error))
            continue
        for line in lines_of(name, figures, peaks, device):
            yield Found(line)


def chosen_methods(setting: Setting) -> tuple[str, ...]:
    """Methods whose steps are taken.

    Raises:
        BenchError: one of them is none that has been given a batch of noise here.
    """
    for name in setting.methods:
        if name not in MEASURED:
            raise BenchError(
                f"--method {name} has no step to measure.{did_you_mean(name, MEASURED)} "
                f"Methods: {', '.join(MEASURED)}."
            )
    return setting.methods or MEASURED


def chosen_device(setting: Setting) -> torch.device:
    """The device asked for, or a GPU where there is one."""
    return torch.device(setting.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def cpu_has_bf16() -> bool:
    """Whether the processor says that it multiplies bf16 numbers."""
    facts = Path("/proc/cpuinfo")
    words = set(facts.read_text(encoding="utf-8").split()) if facts.exists() else set()
    return not words.isdisjoint(("avx512_bf16", "amx_bf16", "bf16"))


def one_line(error: BaseException) -> str:
    """Kind and first words of an error."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def method_of(name: str, *, small: bool) -> tuple[Method, int]:
    """A method with random weights that are all trained, and the batch of its recipe.

    Args:
        name: registered method.
        small: its settings for two CPU cores in place of those of its paper.
    """
    kind: type[Method] = METHOD_REGISTRY.load(name, Method)  # type: ignore[type-abstract]
    settings = {**kind.recipe.get("*", {}), **(kind.presets["small"] if small else {})}
    chosen = {key: value for key, value in settings.items() if key != "method.pretrained"}
    own, optim = (
        {key.partition(".")[2]: value for key, value in chosen.items() if key.startswith(group)}
        for group in ("method.", "optim.")
    )
    optim.pop("schedule", None)  # a step of any schedule costs the same
    method = kind(kind.Config(**cast("Any", own)), OptimConfig(**cast("Any", optim)), seed=0)
    return method, cast("int", settings.get("data.batch_size", DataConfig.batch_size))


def random_clips(method: Method, size: int, seed: int = 0) -> Clip:
    """As many clips of noise as the method's inputs ask for, each a row of its own."""
    draws, inputs = torch.Generator().manual_seed(seed), method.inputs
    shape = (size, inputs.num_segments)
    frames = torch.randint(
        256, (*shape, 3, inputs.image_size, inputs.image_size), dtype=torch.uint8, generator=draws
    )
    waveform = torch.rand(*shape, inputs.segment_samples, generator=draws) * 2 - 1
    proposals = None
    if inputs.proposals:
        corners = torch.rand(*shape, inputs.proposals, 2, 2, generator=draws)
        proposals = torch.cat([corners.amin(-2), corners.amax(-2)], -1)
    target = torch.full((size,), inputs.num_segments // 2)
    return Clip(torch.arange(size), frames, waveform, target, proposals)


def random_batch(method: Method, size: int) -> Batch:
    """A batch of noise; for `hardpos`, which also gets neighbours of noise, with further clips."""
    clip = random_clips(method, size)
    if not isinstance(method, HardPos):
        return Batch(clip)
    method.num_train = TRAINING_CLIPS  # neighbours are none of the batch, as nearly all are not
    method.by_sound, method.by_image = np.random.default_rng(0).integers(
        size, TRAINING_CLIPS, size=(2, TRAINING_CLIPS, NEIGHBOURS), dtype=np.int32
    )
    return Batch(clip, extra=random_clips(method, size, seed=1))


class Steps:
    """Trains a copy of a method on one batch, again and again."""

    def __init__(self, method: Method, batch: Batch, way: Way) -> None:
        self.method, self.batch, self.way = deepcopy(method).train(), batch, way
        self.losses: list[Tensor] = []
        if way.layout is not None:
            self.method.to(memory_format=way.layout)
        if way.layout is torch.contiguous_format:
            for network in networks(self.method):
                network.register_forward_pre_hook(_contiguous)
        if way.compiled:
            compile_networks(self.method.networks)
        trained = [each for each in self.method.parameters() if each.requires_grad]
        optim = self.method.optim
        self.optimizer = torch.optim.Adam(
            trained,
            lr=optim.lr,
            weight_decay=optim.weight_decay,
            fused=optim.fused if way.fused is None else way.fused,
        )

    def __call__(self) -> None:
        """One step."""
        kind = self.batch.clip.frames.device.type
        with torch.autocast(kind, torch.bfloat16) if self.way.bf16 else nullcontext():
            loss = self.method.loss(self.batch)
        bool(loss.isfinite())  # every training step asks, and so waits for the loss
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.losses = [*self.losses[:1], loss.detach()]


def _contiguous(network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(each.contiguous() for each in inputs)


def networks(method: Method) -> tuple[nn.Module, nn.Module]:
    """The visual and the sound backbone, without what is in front of them."""
    visual, sound = method.networks
    return visual, sound


def network_inputs(method: Method, clip: Clip) -> tuple[Tensor, Tensor]:
    """What the front-ends make of the segments of all clips, for both backbones."""
    streams = method.streams
    frames, waveform = clip.frames.flatten(0, 1), clip.waveform.flatten(0, 1)
    if isinstance(streams, TwoStream):
        seen = streams.normalized(frames).contiguous(memory_format=torch.channels_last)
        return seen, streams.spectrogram(waveform)
    assert isinstance(streams, Streams), "methods have one of two kinds of streams"
    (normalized, _), (sound,) = streams.visual.network, streams.audio.network
    seen = normalized(frames.contiguous(memory_format=torch.channels_last))
    return seen, cast("nn.Sequential", sound)[0](waveform)


def seen_clips(batch: Batch) -> Clip:
    """All clips that pass the streams in a step."""
    return batch.clip if batch.extra is None else batch.clip.cat(batch.extra)


def front_ends(method: Method, batch: Batch) -> Callable[[], None]:
    """What runs the front-ends of a step alone."""
    clip = seen_clips(batch)

    @torch.no_grad()
    def run() -> None:
        network_inputs(method, clip)

    return run


def backbones(method: Method, batch: Batch) -> Callable[[], None]:
    """What runs both backbones of a step alone, forward and backward, on ready inputs."""
    own = deepcopy(method).train()
    with torch.no_grad():
        inputs = network_inputs(own, seen_clips(batch))
    gradients: list[Tensor] = []

    def run() -> None:
        own.zero_grad()
        outputs = [network(each) for network, each in zip(networks(own), inputs, strict=True)]
        if not gradients:
            gradients.extend(torch.randn_like(each) / each.numel() for each in outputs)
        torch.autograd.backward(outputs, gradients)

    return run


def measured(name: str, setting: Setting, device: torch.device) -> Figures:
    """Figures of one method, with half of the batch as often as the GPU has no room for it."""
    method, batch = method_of(name, small=setting.quick)
    if setting.quick:
        batch = QUICK_BATCH
    elif device.type == "cpu":
        batch = ON_CPU.get(name, BATCH_ON_CPU)
    method.to(device)
    while True:
        _free(device)
        try:
            return _figures(method, batch, setting, device)
        except torch.OutOfMemoryError:
            if batch <= 2:
                raise
        batch //= 2
        log.info("%s: no room; a batch of %d", name, batch)


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _figures(method: Method, size: int, setting: Setting, device: torch.device) -> Figures:
    batch = _on_device(method, random_batch(method, size), device)
    flop, memory, seconds = _probed(Steps(method, batch, WAYS[TODAY]), device)
    _free(device)
    repeats = 1
    if device.type == "cuda" and not setting.quick:
        repeats = min(max(int(CALL_SECONDS / seconds), 1), MOST_STEPS)
    ways: dict[str, Steps] = {}
    refused: dict[str, str] = {}
    for way, how in WAYS.items():
        if how.bf16 and device.type == "cpu" and not (setting.quick or cpu_has_bf16()):
            refused[way] = "this CPU has no bf16, and would take several times as long"
            continue
        if how.compiled and device.type == "cpu":
            refused[way] = "compiling for a CPU takes minutes"
            continue
        steps = Steps(method, batch, how)
        try:
            steps()
            ways[way] = steps
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # what a precision does not have
            refused[way] = one_line(error)
    calls: dict[str, Callable[[], None]] = {
        **ways,
        FRONT_ENDS: front_ends(method, batch),
        BACKBONES: backbones(method, batch),
    }
    timings = Timer(rounds=1 if setting.quick else ROUNDS).in_turn(
        [_repeated(call, repeats, device) for call in calls.values()]
    )
    taken = {way: one.seconds / repeats for way, one in zip(calls, timings, strict=True)}
    losses = {way: (each.losses[0].item(), each.losses[-1].item()) for way, each in ways.items()}
    clips = len(seen_clips(batch).index)
    return Figures(size, clips, taken, losses, refused, flop, memory)


def _on_device(method: Method, batch: Batch, device: torch.device) -> Batch:
    moved: Batch = method.transfer_batch_to_device(batch, device, 0)
    return moved


def _probed(steps: Steps, device: torch.device) -> tuple[float, float | None, float]:
    """Operations of a step, its peak of memory, and the seconds of a step after a first one."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with FlopCounterMode(display=False) as counter:
        steps()
    start = time.perf_counter()
    steps()
    _wait(device)
    seconds = time.perf_counter() - start
    memory = float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else None
    return float(counter.get_total_flops()), memory, seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _repeated(call: Callable[[], None], repeats: int, device: torch.device) -> Callable[[], None]:
    def run() -> None:
        for _ in range(repeats):
            call()
        _wait(device)

    return run


def matmul_rates(device: torch.device, side: int) -> dict[str, float]:
    """Operations per second of products of two square matrices, by precision."""
    before = torch.backends.cuda.matmul.allow_tf32
    rates = {}
    kinds = {"fp32": torch.float32, "TF32": torch.float32, "bf16": torch.bfloat16}
    try:
        for name, kind in kinds.items():
            torch.backends.cuda.matmul.allow_tf32 = name == "TF32"
            draws = torch.Generator(device).manual_seed(0)
            factor = torch.randn(side, side, device=device, generator=draws).to(kind)
            call = _repeated(lambda one=factor: one @ one, 5, device)  # type: ignore[misc]
            rates[name] = 5 * 2 * side**3 / Timer(rounds=3).in_turn([call])[0].seconds
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return rates


def _peak_line(name: str, rate: float) -> Line:
    log.info("product of matrices, %s: %.1f TFLOP/s", name, rate / 1e12)
    return Line(name=f"product of matrices, {name}", unit="TFLOP/s", ours=rate / 1e12)


def lines_of(
    name: str, figures: Figures, peaks: Mapping[str, float], device: torch.device
) -> Iterator[Line]:
    """The lines of one method.

    Args:
        name: of the method.
        figures: of it.
        peaks: of :func:`matmul_rates`; empty on a CPU.
        device: that all of it was measured on; some targets are of a GPU, others of a CPU.
    """
    on_gpu = device.type == "cuda"
    seconds, batch = figures.seconds, figures.batch
    step = seconds[TODAY]
    beside = f", and {figures.clips - batch} drawn beside it" * (figures.clips > batch)
    yield Line(
        name=f"{name}: training step",
        unit="clip/s",
        ours=batch / step,
        claims=tuple(_finite(figures, TODAY)),
        note=f"batch of {batch}{beside}, {figures.flop / batch / 1e9:.3g} GFLOP a clip without "
        f"LSTMs; {_tf32() if on_gpu else 'one core'}",
    )
    yield Line(
        name=f"{name}: front-ends beside the step",
        unit="s/clip",
        peer=step / batch,
        ours=seconds[FRONT_ENDS] / batch,
        figure=seconds[FRONT_ENDS] / step,
        target=Target("at most", 0.05, "x"),
        judged=on_gpu,
    )
    yield _faster(
        f"{name}: step beside forward and backward of its backbones",
        figures, BACKBONES, TODAY, Target("at least", 0.4, "x"), judged=on_gpu,
    )  # fmt: skip
    yield from _layout_lines(name, figures, on_gpu=on_gpu)
    if figures.memory is not None:
        yield Line(name=f"{name}: peak of memory", unit="MiB", ours=figures.memory / 2**20)
    if peaks:
        fp32 = "TF32" if torch.backends.cudnn.allow_tf32 else "fp32"
        for way, peak in ((TODAY, fp32), (BF16, "bf16"), (BF16_LAID_OUT, "bf16")):
            if way in seconds:
                yield _share_of_peak(name, figures, way, peak, peaks[peak])


def _layout_lines(name: str, figures: Figures, *, on_gpu: bool) -> Iterator[Line]:
    targets = {LAID_OUT: Target("at least", 1.25, "x"), BF16_LAID_OUT: Target("at least", 2.4, "x")}
    for way in (FUSED, LAID_OUT, COMPILED, BF16, BF16_LAID_OUT):
        label = f"{name}: step, {way}"
        if way in figures.refused:
            yield Line(name=label, note=figures.refused[way])
        elif way in figures.seconds and PLAIN in figures.seconds:
            line = _faster(label, figures, PLAIN, way, targets.get(way), judged=not on_gpu)
            claims = [*_finite(figures, way)]
            if not WAYS[way].bf16:
                tf32 = on_gpu and torch.backends.cudnn.allow_tf32
                claims.append(_same_loss(figures, way, SAME_LOSS_TF32 if tf32 else SAME_LOSS))
            first, last = figures.losses[way]
            yield replace(
                line,
                claims=tuple(claims),
                note=f"peer: {PLAIN}; loss {first:.4f} to {last:.4f}, the peer's "
                "{:.4f} to {:.4f}".format(*figures.losses[PLAIN]),
            )


def _faster(
    label: str, figures: Figures, peer: str, ours: str, target: Target | None, *, judged: bool
) -> Line:
    """Rates of two ways, and how many times that of the peer ours is."""
    rates = [figures.batch / figures.seconds[way] for way in (peer, ours)]
    return Line(
        name=label,
        unit="clip/s",
        peer=rates[0],
        ours=rates[1],
        figure=rates[1] / rates[0],
        target=target,
        judged=judged,
    )


def _share_of_peak(name: str, figures: Figures, way: str, peak: str, rate: float) -> Line:
    reached = figures.flop / figures.seconds[way]
    return Line(
        name=f"{name}: share of the peak, {way}",
        unit="TFLOP/s",
        peer=rate / 1e12,
        ours=reached / 1e12,
        figure=reached / rate,
        note=f"peer: product of {peak} matrices of {MATMUL_SIDE} rows",
    )


def _finite(figures: Figures, way: str) -> Iterator[Claim]:
    losses: Sequence[float] = figures.losses[way]
    yield Claim(f"losses are finite, {way}", bool(np.isfinite(losses).all()))


def _same_loss(figures: Figures, way: str, most: float) -> Claim:
    peer, ours = figures.losses[PLAIN][0], figures.losses[way][0]
    gap = abs(ours - peer) / max(abs(peer), 1e-12)
    return Claim(f"same loss in the first step, {gap:.1e} apart", gap <= most)


def _tf32() -> str:
    words = {True: "on", False: "off"}
    return (
        f"TF32 {words[torch.backends.cudnn.allow_tf32]} in convolutions, "
        f"{words[torch.backends.cuda.matmul.allow_tf32]} in products of matrices"
    )
