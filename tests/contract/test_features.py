"""`bench features` and the runs that take what it kept, with a method whose streams are frozen."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.clip import Batch, Clip, Localization
from datamodules.features import FrozenExtractor, FrozenStream
from methods import METHODS
from methods.base import Method, MethodCard, MethodConfig, OptimConfig

Bench = Callable[..., Any]
Tiny = Callable[..., tuple[str, ...]]


class Frames(nn.Module):
    """``(B, T, 3, H, W)`` to ``(B, T, 8, H/8, W/8)``."""

    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 8, stride=8)

    def forward(self, frames: Tensor) -> Tensor:
        type(self).calls += 1
        features = self.layer(frames.flatten(0, 1).float() / 255)
        return features.unflatten(0, frames.shape[:2])


class Sounds(nn.Module):
    """``(B, T, S)`` to ``(B, T, 8)``: the loudness of eighths."""

    def forward(self, waveform: Tensor) -> Tensor:
        whole = waveform.shape[-1] // 8 * 8
        return waveform[..., :whole].unflatten(-1, (8, -1)).square().mean(-1).sqrt()


class FrozenPair(Method):
    """Frozen streams, and one trained layer on the sound's."""

    card = MethodCard(paper="none", map_range=None)

    def __init__(self, config: MethodConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        self.frames = Frames().requires_grad_(False)
        self.sounds = Sounds()
        self.head = nn.Linear(8, 8)

    def extractor(self) -> FrozenExtractor:
        return FrozenExtractor(FrozenStream(self.frames, {"stride": 8}), FrozenStream(self.sounds))

    def maps(self, clip: Clip) -> Tensor:
        """Cosine of each cell and the sound, ``(B, h, w)``."""
        visual, audio = self.extractor().features(clip)
        assert visual is not None
        assert audio is not None
        rows = torch.arange(len(clip.target), device=clip.target.device)
        heard = self.head(audio[rows, clip.target])  # (B, 8)
        return F.cosine_similarity(visual[rows, clip.target], heard[..., None, None])

    def loss(self, batch: Batch) -> Tensor:
        return -self.maps(batch.clip).flatten(1).amax(1).mean()

    def localize(self, clip: Clip) -> Localization:
        maps = self.maps(clip)
        return Localization(maps, maps.flatten(1).amax(1))


@pytest.fixture(autouse=True)
def frozen_pair(surroundings: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The method by its name; the folder of features, which is not there yet."""
    monkeypatch.setitem(METHODS, "frozen_pair", (f"{__name__}:FrozenPair", "of a test"))
    shutil.rmtree(surroundings / "features", ignore_errors=True)
    return surroundings / "features"


@pytest.fixture
def words(tiny: Tiny) -> tuple[str, ...]:
    return ("--method", "frozen_pair", "--data", "synthetic", *tiny())


def scores_of(bench: Bench, runs: Path, *words: object) -> tuple[bytes, dict[str, Any]]:
    done = bench("run", *words, f"logging.runs={runs}")
    assert done.code == 0, done.err
    (record,) = runs.glob("*/record.json")
    return record.with_name("scores.csv").read_bytes(), json.loads(record.read_text())


def test_a_run_on_kept_features_scores_as_one_that_extracts_them_at_every_step(
    bench: Bench, words: tuple[str, ...], tmp_path: Path
) -> None:
    extracted, first = scores_of(bench, tmp_path / "a", *words, "data.feature_cache=off")
    done = bench("features", *words)
    Frames.calls = 0
    kept, second = scores_of(bench, tmp_path / "b", *words)

    assert done.code == 0
    assert "160 features are kept" in done.out, "80 frames and 80 sounds"
    assert 0 == Frames.calls
    assert extracted == kept
    assert first["config_hash"] == second["config_hash"]


def test_a_run_without_kept_features_extracts_them_and_says_how_to_keep_them(
    bench: Bench, words: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    Frames.calls = 0
    scores_of(bench, tmp_path, *words)

    assert Frames.calls > 0
    assert "80 visual, 80 audio; bench features makes them" in caplog.text


def test_the_estimate_is_shown_and_nothing_is_made_twice(
    bench: Bench, words: tuple[str, ...]
) -> None:
    first, second = bench("features", *words), bench("features", *words)

    assert "visual: 80 of 80 to be made, 4.1e-05 GB in" in first.err
    assert "visual: 0 of 80 to be made" in second.err
    assert (0, 0) == (first.code, second.code)


def test_a_method_without_frozen_streams_is_told_in_a_line(bench: Bench, tiny: Tiny) -> None:
    done = bench("features", "--method", "lvs", "--data", "synthetic", *tiny())

    assert (0, "lvs has no frozen streams, so there is nothing to keep.\n") == (done.code, done.out)


def test_what_is_kept_is_json_where_it_is_asked_for(bench: Bench, tiny: Tiny) -> None:
    done = bench("features", "--method", "lvs", "--data", "synthetic", *tiny(), "--json")

    assert json.loads(done.out) == {"method": "lvs", "data": "synthetic", "features": 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("data.augmentation=crop_flip",), "no features can be kept: data.augmentation=crop_flip"),
        (("--max-gb", "1e-9"), "4.35e-05 GB of features beside the 0 GB in"),
        (("data.feature_cache=on",), "data.feature_cache='on' is unknown; use one of off, use, ma"),
        (("--max-gb", "much"), "data.feature_cache_gb=much (command line): expected a number"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_a_line(
    bench: Bench, words: tuple[str, ...], change: tuple[str, ...], message: str
) -> None:
    done = bench("features", *words, *change)

    (line,) = [line for line in done.err.splitlines() if line.startswith("bench: ")]
    assert line.startswith(f"bench: {message}")
    assert 2 == done.code


def test_half_precision_is_another_run_and_must_have_been_made(
    bench: Bench, words: tuple[str, ...], tmp_path: Path
) -> None:
    half = "data.feature_dtype=float16"
    refused = bench("run", *words, half, f"logging.runs={tmp_path / 'a'}")
    assert 0 == bench("features", *words, half).code
    _, record = scores_of(bench, tmp_path / "b", *words, half)
    _, other = scores_of(bench, tmp_path / "c", *words)

    assert 2 == refused.code
    assert "data.feature_dtype=float16 cannot be had: features are not made yet" in refused.err
    assert record["config_hash"] != other["config_hash"]


def test_a_damaged_block_ends_a_run_and_is_made_again(
    bench: Bench, words: tuple[str, ...], tmp_path: Path, frozen_pair: Path
) -> None:
    assert 0 == bench("features", *words).code
    (block, *_) = sorted(frozen_pair.glob("*/block-000000.npy"))
    whole = block.read_bytes()
    block.write_bytes(whole[:-8])

    refused = bench("run", *words, f"logging.runs={tmp_path / 'runs'}")
    mended = bench("features", *words)

    assert (2, 0) == (refused.code, mended.code)
    assert f"{block} is damaged" in refused.err
    assert whole == block.read_bytes()


def test_streams_of_a_stage_are_trained_before_their_features_are_kept(
    bench: Bench, tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    words = ("--method", "attention", "--data", "synthetic", *tiny(), f"logging.runs={tmp_path}")
    kept = bench("features", *words)
    caplog.clear()

    done = bench("run", *words)

    assert (0, 0) == (kept.code, done.code)
    assert "stage warmup: unchanged, re-used" in caplog.text
    assert "features are not made yet" not in caplog.text
