"""Fixtures that several packages share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
RANK_PROCESS = Path(__file__).with_name("rank_process.py")
NUMBER_BITS = 12


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real annotation files, or a skip where it is absent."""
    folder = Path(os.environ.get("AVLOC_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "annotations").is_dir():
        pytest.skip(f"real annotation files not found in {folder}; set AVLOC_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def on_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list[Any]]]:
    """``on_processes(count, function, ...)``: what a function of a test file returns on each rank.

    Further arguments are plain JSON values. The processes share a gloo group, which Lightning takes
    for its own.
    """
    started: list[subprocess.Popen[str]] = []

    def results(count: int, function: Callable[..., Any], *arguments: object) -> list[Any]:
        folder = tmp_path_factory.mktemp("ranks")
        if not started:
            started.append(rank_process())
        file, name = function.__code__.co_filename, function.__name__
        call = [count, file, name, arguments, os.environ.get("AVLOC_CACHE", ""), str(folder)]
        print(json.dumps(call), file=started[0].stdin, flush=True)
        wait_until_done(started[0])
        return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(count)]

    yield results
    for process in started:
        process.kill()
        process.communicate()


def rank_process() -> "subprocess.Popen[str]":
    """A fresh process of ``rank_process.py``."""
    return subprocess.Popen(
        [sys.executable, str(RANK_PROCESS)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until_done(process: "subprocess.Popen[str]") -> None:
    """Returns when the call has ended; fails the test with what a rank that failed printed."""
    printed = []
    assert process.stdout is not None
    for line in process.stdout:
        if line == "done\n":
            return
        if line == "failed\n":
            break
        printed.append(line)
    pytest.fail("a process failed:\n" + "".join(printed))


@pytest.fixture(scope="session")
def made_video() -> Callable[..., Path]:
    """``made_video(path, seconds=2, ...)`` encodes a small video.

    Frame k shows the number k, see ``frame_number``; the sound is a tone of its own in each
    channel. ``video`` and ``audio`` name encoders, None leaves the stream out.
    """
    return _made_video


@pytest.fixture(scope="session")
def frame_number() -> Callable[[NDArray[np.uint8]], int]:
    """``frame_number(picture)``: the number that a frame of ``made_video`` shows."""

    def number(picture: NDArray[np.uint8]) -> int:
        middle = picture[picture.shape[0] // 2].mean(axis=-1)  # (W,)
        columns = middle.reshape(NUMBER_BITS, -1)[:, 1:-1].mean(axis=1)
        return sum(1 << bit for bit, level in enumerate(columns) if level > 127)

    return number


def _made_video(
    path: Path,
    *,
    seconds: float = 2,
    rate: Fraction | int = 25,
    size: tuple[int, int] = (48, 32),
    video: str | None = "libx264",
    options: dict[str, str] | None = None,
    audio: str | None = "aac",
    rate_hz: int = 16000,
    layout: str = "mono",
    sound: NDArray[np.float32] | None = None,
    muxer: dict[str, str] | None = None,
    picture: NDArray[np.uint8] | None = None,
    turned: tuple[int, bool, bool] | None = None,
    late_seconds: float = 0,
) -> Path:
    """See the fixture.

    Args:
        path: the file; its suffix chooses the container.
        seconds: length of both streams.
        rate: frames per second.
        size: width, a multiple of 12, and height.
        video: encoder.
        options: of the video encoder; libx264 makes B-frames and keyframes every second if None.
        audio: encoder.
        rate_hz: of the sound.
        layout: of its channels.
        sound: ``(C, S)`` in place of the tones.
        muxer: options of the container.
        picture: ``(H, W, 3)`` in place of numbers, in every frame.
        turned: degrees counter-clockwise and the two mirrorings of the display matrix.
        late_seconds: when the sound starts.
    """
    rate = Fraction(rate)
    with av.open(str(path), "w", options=muxer or {}) as container:
        streams = []
        if video:
            if options is None and video == "libx264":
                options = {"preset": "veryfast", "g": str(round(rate)), "crf": "18"}
                options |= {"bf": "3", "x264-params": "b-adapt=0:b-pyramid=normal"}
            picture_stream = container.add_stream(video, rate=rate, options=options or {})
            picture_stream.width, picture_stream.height = size
            picture_stream.pix_fmt = "yuv420p"
            if turned:
                picture_stream.set_display_rotation(turned[0], hflip=turned[1], vflip=turned[2])
            streams.append(picture_stream)
        if audio:
            sound_stream = container.add_stream(audio, rate=rate_hz, layout=layout)
            streams.append(sound_stream)
            sound = _tones(seconds, rate_hz, layout) if sound is None else sound
        packets = []
        if video:
            for number in range(round(seconds * rate)):
                shown = _numbered(number, size) if picture is None else picture
                frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
                frame.pts, frame.time_base = number, 1 / rate
                packets += picture_stream.encode(frame)
            packets += picture_stream.encode(None)
        if audio:
            assert sound is not None
            for start in range(0, sound.shape[1], 1024):
                block = sound[:, start : start + 1024].T.reshape(1, -1)  # (1, S * C)
                heard = av.AudioFrame.from_ndarray(block, format="flt", layout=layout)
                heard.sample_rate, heard.time_base = rate_hz, Fraction(1, rate_hz)
                heard.pts = start + round(late_seconds * rate_hz)
                packets += sound_stream.encode(heard)
            packets += sound_stream.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def _numbered(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Columns, black or white by the bits of a number, on rows that move with it."""
    bits = [255 if number >> bit & 1 else 0 for bit in range(NUMBER_BITS)]
    columns = np.repeat(np.array(bits, np.uint8), size[0] // NUMBER_BITS)
    picture = np.repeat(columns[None, :, None], 3, axis=2).repeat(size[1], axis=0)
    picture[number % 8] = (200, 30, 90)
    return picture


def _tones(seconds: float, rate_hz: int, layout: str) -> NDArray[np.float32]:
    """A tone of 300 Hz, 400 Hz, ... in each channel, ``(C, S)``."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    channels = av.AudioLayout(layout).nb_channels
    tones = [0.25 * np.sin(2 * np.pi * (300 + 100 * c) * times) for c in range(channels)]
    return np.array(tones, np.float32)


RESNET_STAGES = ((64, 64), (64, 128), (128, 256), (256, 512))
ATTENTION_LAYERS = (("sound_fc1", 1000, 1000), ("sound_fc2", 1000, 512), ("vision_fc1", 512, 512),
                    ("vision_fc2", 512, 1000))  # fmt: skip
State = dict[str, torch.Tensor]


@pytest.fixture(scope="session")
def released_state() -> Callable[..., State]:
    """``released_state("lvs", seed=0)``: a state dict with the names and shapes of a release.

    Written from the key map of the files, not from any module of ours: ``lvs``, ``sslalign`` (the
    same without ``module.``), ``ssltie``, ``ezvsl``, ``slavc`` and ``attention_relu``.
    """
    made: dict[tuple[str, int], State] = {}

    def state(network: str, seed: int = 0) -> State:
        if (network, seed) not in made:
            made[network, seed] = _released_state(network, seed)
        return dict(made[network, seed])

    return state


def _released_state(network: str, seed: int) -> State:
    draws = torch.Generator().manual_seed(seed)
    state: State = {}
    if network in ("lvs", "sslalign", "ssltie"):
        for stream in ("imgnet", "audnet"):
            stems = {"conv1": 3, "conv1_a": 1, "conv1_flow": 6}
            state |= _resnet_state(f"{stream}.", stems, draws, classes=1000)
    if network == "ssltie":
        state |= {"vision_fc1.weight": _normal((512, 1024, 1, 1), draws),
                  "vision_fc1.bias": torch.zeros(512), "conv3.weight": torch.ones(1, 1, 1, 1),
                  "conv3.bias": torch.zeros(1), **_norm_state("norm3", 1, draws)}  # fmt: skip
    if network in ("ezvsl", "slavc"):
        spaces = ("1", "2") if network == "slavc" else ("",)
        for copy in ("", "momentum_") if network == "slavc" else ("",):
            state |= _resnet_state(f"{copy}imgnet.", {"conv1": 3}, draws)
            state |= _resnet_state(f"{copy}audnet.", {"conv1": 1}, draws)
            for space in spaces:
                for name, shape in (("img_proj", (512, 512, 1, 1)), ("aud_proj", (512, 512))):
                    state[f"{copy}{name}{space}.weight"] = _normal(shape, draws)
                    state[f"{copy}{name}{space}.bias"] = 0.1 * torch.randn(512, generator=draws)
    if network == "attention_relu":
        state |= _vgg16_state("vision_embedding_model.feature_extraction.", draws)
        for name, inputs, outputs in ATTENTION_LAYERS:
            state[f"{name}.weight"] = _normal((outputs, inputs), draws)
            state[f"{name}.bias"] = 0.1 * torch.randn(outputs, generator=draws)
    if network == "lvs":
        return {f"module.{name}": tensor for name, tensor in state.items()}
    return state


def _resnet_state(
    prefix: str, stems: dict[str, int], draws: torch.Generator, classes: int | None = None
) -> State:
    state: State = {}
    for name, channels in stems.items():
        state[f"{prefix}{name}.weight"] = _normal((64, channels, 7, 7), draws)
    state |= _norm_state(f"{prefix}bn1", 64, draws)
    for stage, (inputs, outputs) in enumerate(RESNET_STAGES, start=1):
        for block in range(2):
            place, width = f"{prefix}layer{stage}.{block}", inputs if block == 0 else outputs
            state[f"{place}.conv1.weight"] = _normal((outputs, width, 3, 3), draws)
            state |= _norm_state(f"{place}.bn1", outputs, draws)
            state[f"{place}.conv2.weight"] = _normal((outputs, outputs, 3, 3), draws)
            state |= _norm_state(f"{place}.bn2", outputs, draws)
            if block == 0 and stage > 1:
                state[f"{place}.downsample.0.weight"] = _normal((outputs, inputs, 1, 1), draws)
                state |= _norm_state(f"{place}.downsample.1", outputs, draws)
    if classes is not None:
        state[f"{prefix}fc.weight"] = _normal((classes, 512), draws)
        state[f"{prefix}fc.bias"] = torch.zeros(classes)
    return state


def _vgg16_state(prefix: str, draws: torch.Generator) -> State:
    state: State = {}
    place, inputs = 0, 3
    for widths in ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)):
        for width in widths:
            state[f"{prefix}{place}.weight"] = _normal((width, inputs, 3, 3), draws)
            state[f"{prefix}{place}.bias"] = 0.1 * torch.randn(width, generator=draws)
            place, inputs = place + 2, width
        place += 1  # the pooling
    return state


def _norm_state(name: str, channels: int, draws: torch.Generator) -> State:
    return {
        f"{name}.weight": 1 + 0.1 * torch.randn(channels, generator=draws),
        f"{name}.bias": 0.1 * torch.randn(channels, generator=draws),
        f"{name}.running_mean": 0.1 * torch.randn(channels, generator=draws),
        f"{name}.running_var": 0.5 + torch.rand(channels, generator=draws),
        f"{name}.num_batches_tracked": torch.tensor(1000),
    }


def _normal(shape: tuple[int, ...], draws: torch.Generator) -> torch.Tensor:
    fan_in = torch.Size(shape[1:]).numel()
    return torch.randn(shape, generator=draws) * (2 / fan_in) ** 0.5
