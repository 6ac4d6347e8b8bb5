"""Features are kept by content: made once, whole or not at all, and never of anything else."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datamodules import features
from datamodules.base import ClipData, DataConfig, DataReport, Fingerprints, Split
from datamodules.clip import Clip, Features, Inputs, Resizing
from datamodules.features import (
    FrozenExtractor,
    FrozenStream,
    StreamFeatures,
    cached_features,
    make_features,
    obstacle,
    streams_of,
)
from metrics.errors import BenchError
from metrics.truth import Truth

INPUTS = Inputs(image_size=8, num_segments=2, sample_rate_hz=100, segment_seconds=0.5)
SIZES = {"train": 7, "test": 4}
CPU = torch.device("cpu")


class Numbered(ClipData):
    """Clip k of either split is filled with k, so training and test clips repeat each other."""

    frames_read = 0

    def load(self) -> DataReport:
        splits = {}
        for name, size in SIZES.items():
            ids = tuple(f"{name}{row}" for row in range(size))
            splits[name] = Split(name, ids, ids, tuple("abc"[row % 3] for row in range(size)))
        return DataReport(splits, n_expected=SIZES["test"])

    def truth(self) -> tuple[Truth, ...]:
        raise NotImplementedError("no test asks for the truth")

    def frames(self, split: str, row: int) -> Tensor:
        self.frames_read += 1
        size = self.inputs.image_size
        return torch.full((self.inputs.num_segments, 3, size, size), row, dtype=torch.uint8)

    def waveform(self, split: str, row: int) -> Tensor:
        return torch.full((self.inputs.num_segments, self.inputs.segment_samples), row / 10)

    def num_sources(self, split: str, row: int) -> int:
        return row % 2

    def source_waveform(self, split: str, row: int, source: int) -> Tensor:
        return -self.waveform(split, row)

    def fingerprints(self, split: str) -> Fingerprints | None:
        numbers = tuple(map(str, range(SIZES[split])))
        return Fingerprints(numbers, tuple(f"sound {each}" for each in numbers))


class Means(nn.Module):
    """The mean of every channel times a weight, on a 2 x 2 map: ``(B, T, 3, 2, 2)``."""

    def __init__(self, weight: float = 2.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, frames: Tensor) -> Tensor:
        means = self.weight * frames.float().mean((-1, -2))
        return means[..., None, None].expand(-1, -1, -1, 2, 2)


class FirstSamples(nn.Module):
    """The first five samples of every segment: ``(B, T, 5)``."""

    def forward(self, waveform: Tensor) -> Tensor:
        return waveform[..., :5]


BOTH = FrozenExtractor(FrozenStream(Means()), FrozenStream(FirstSamples()))
ONE_SIZE = 2 * 3 * 2 * 2 * 4  # bytes of the visual features of a clip in float32


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features, "BLOCK_BYTES", 2 * ONE_SIZE)
    return tmp_path / "cache"


def data_of(inputs: Inputs = INPUTS, seed: int = 0, **settings: Any) -> Numbered:
    return Numbered(DataConfig(**{"batch_size": 4, **settings}), inputs, seed=seed)


def made(data: Numbered, extractor: FrozenExtractor = BOTH) -> list[StreamFeatures]:
    streams = streams_of(extractor, data)
    make_features(streams, data, CPU)
    return streams


def use(data: Numbered, extractor: FrozenExtractor = BOTH) -> Numbered:
    data.cached_features = cached_features(extractor, data, lambda: CPU)
    return data


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != ".lock"}  # fmt: skip


def clips_of(data: Numbered) -> list[Clip]:
    return [batch.clip for loader in (data.train_dataloader(), *data.test_dataloader())
            for batch in loader]  # fmt: skip


def test_a_clip_comes_with_the_features_of_its_frames_and_sounds(cache: Path):
    made(data_of())
    data = use(data_of())

    plain = clips_of(data_of(feature_cache="off"))
    for kept, clip in zip(clips_of(data), plain, strict=True):
        assert kept.features is not None
        assert kept.features.visual is not None
        assert kept.features.audio is not None
        expected = 2.0 * clip.frames.float().mean((-1, -2))[..., None, None].expand(
            -1, -1, -1, 2, 2
        )
        assert torch.equal(expected, kept.features.visual)
        assert torch.equal(clip.waveform[..., :5], kept.features.audio)
        assert (0, 0) == kept.frames.shape[-2:]
        assert 0 == kept.waveform.shape[-1]
    assert 0 == data.frames_read


def test_the_extractor_gives_what_came_and_makes_what_did_not():
    frames = torch.full((1, 2, 3, 8, 8), 3, dtype=torch.uint8)
    clip = Clip(torch.zeros(1).long(), frames, torch.ones(1, 2, 50), torch.zeros(1).long())
    came = torch.full((1, 2, 3, 2, 2), 7.0)

    visual, audio = BOTH.features(clip)
    kept = BOTH.features(clip._replace(features=Features(came, None)))
    only = FrozenExtractor(audio=BOTH.audio).features(clip)

    assert visual is not None
    assert audio is not None
    assert (6.0, 1.0) == (visual.max().item(), audio.min().item())
    assert kept.visual is came
    assert only.visual is None


def test_a_frozen_stream_runs_without_dropout_and_without_gradient():
    stream = FrozenStream(nn.Sequential(nn.Linear(5, 5), nn.Dropout(0.5)).train())
    first, second = stream(torch.ones(1, 5)), stream(torch.ones(1, 5))

    assert torch.equal(first, second)
    assert not first.requires_grad


def test_a_content_that_several_splits_show_is_kept_once(cache: Path):
    data = data_of()
    visual, audio = made(data)

    kept = [json.loads(path.read_text())["fingerprints"]
            for path in sorted(visual.store.folder.glob("block-*.json"))]  # fmt: skip
    assert [["0", "1"], ["2", "3"], ["4", "5"], ["6"]] == kept
    assert 7 + 1 == data.frames_read, "one more to learn the size"
    assert [] == [*visual.missing(), *audio.missing()]


def test_isolated_sounds_have_features_of_their_own():
    made(data_of())
    data = use(data_of())

    *_, isolated = data.test_dataloader()

    (batch,) = isolated
    assert batch.clip.features is not None
    assert batch.clip.features.audio is not None
    assert [1, 3] == batch.clip.index.tolist()
    assert torch.equal(torch.tensor([-0.1, -0.3]), batch.clip.features.audio[:, 0, 0])


def test_any_number_of_workers_makes_and_reads_the_same(cache: Path, tmp_path: Path):
    made(data_of())
    alone = contents(cache / "features")
    expected = clips_of(use(data_of()))
    shutil.rmtree(cache / "features")
    made(data_of(num_workers=2))

    assert alone == contents(cache / "features")
    for one, other in zip(expected, clips_of(use(data_of(num_workers=2))), strict=True):
        assert one.features is not None
        assert other.features is not None
        assert all(torch.equal(a, b) for a, b in zip(one.features, other.features, strict=True)
                   if a is not None and b is not None)  # fmt: skip


CHANGES: dict[str, Callable[[], list[StreamFeatures]]] = {
    "weights": lambda: streams_of(FrozenExtractor(FrozenStream(Means(3.0))), data_of()),
    "settings": lambda: streams_of(FrozenExtractor(FrozenStream(Means(), {"a": 1})), data_of()),
    "class": lambda: streams_of(FrozenExtractor(FrozenStream(FirstSamples())), data_of()),
    "image size": lambda: streams_of(BOTH, data_of(Inputs(image_size=9, num_segments=2))),
    "segments": lambda: streams_of(BOTH, data_of(Inputs(image_size=8, num_segments=3))),
    "resizing": lambda: streams_of(BOTH, data_of(replace(INPUTS, resizing=Resizing(crop=True)))),
    "numbers": lambda: streams_of(BOTH, data_of(feature_dtype="float16")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_features_of_another_stream_or_input_are_not_taken(change: str):
    (visual, _) = made(data_of())
    other = CHANGES[change]()[0]

    assert 7 == len(other.missing())
    assert visual.store.folder != other.store.folder


def test_features_do_not_depend_on_the_seed_or_on_what_the_other_stream_hears():
    (visual, _) = made(data_of())
    louder = Inputs(image_size=8, num_segments=2, sample_rate_hz=50, segment_seconds=9.0)
    again, _ = streams_of(BOTH, data_of(louder, seed=5))

    assert visual.store.folder == again.store.folder
    assert [] == again.missing()


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def lose_its_json(path: Path) -> None:
    path.with_suffix(".json").write_text("{")


@pytest.mark.parametrize("damage", [spoil, shorten, Path.unlink, lose_its_json])
def test_a_damaged_block_is_named_and_made_again(
    cache: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
):
    visual, _ = made(data_of())
    before = contents(cache / "features")
    damage(visual.store.folder / "block-000001.npy")

    made(data_of())

    assert "block-000001" in caplog.text
    assert before == contents(cache / "features")


@pytest.mark.parametrize("damage", [spoil, shorten, Path.unlink])
def test_a_damaged_block_is_refused_by_a_run(damage: Callable[[Path], None]):
    visual, _ = made(data_of())
    damage(visual.store.folder / "block-000001.npy")

    with pytest.raises(
        BenchError, match=r"block-000001.npy is damaged, .* bench features makes it"
    ):
        use(data_of())


def test_a_run_without_all_features_reads_frames_and_says_how_many_lack(
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level("INFO")
    visual, _ = made(data_of())
    visual.store.remove("block-000003")

    data = use(data_of())

    assert data.cached_features is None
    assert "not made yet of these contents: 1 visual, 0 audio; bench features makes" in caplog.text


def test_a_run_may_make_its_features_itself():
    data = use(data_of(feature_cache="make"))

    assert data.cached_features is not None
    assert data_of(feature_cache="use").cached_features is None
    assert use(data_of()).cached_features is not None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"augmentation": "crop_flip"}, "data.augmentation=crop_flip changes every clip at every"),
        ({}, None),
    ],
)
def test_augmented_clips_have_no_features(settings: dict[str, str], words: str | None):
    made(data_of())
    found = obstacle(BOTH, data_of(**settings))

    assert (words is None) == (found is None)
    assert found is None or words is None or found.startswith(words)
    assert (words is None) == (use(data_of(**settings)).cached_features is not None)


def test_without_a_cache_no_file_is_hashed(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    monkeypatch.setattr(Numbered, "fingerprints", lambda self, split: asked.append(split))

    assert cached_features(BOTH, data_of(feature_cache="off"), lambda: CPU) is None
    assert asked == []


def test_what_cannot_be_had_is_refused_where_it_is_asked_for():
    for settings, words in (
        (
            {"feature_cache": "make", "augmentation": "crop_flip"},
            "data.feature_cache=make cannot be had",
        ),
        (
            {"feature_dtype": "float16"},
            "data.feature_dtype=float16 cannot be had: features are not",
        ),
        ({"feature_dtype": "float16", "feature_cache": "off"}, "be had: data.feature_cache=off"),
    ):
        with pytest.raises(BenchError, match=words):
            use(data_of(**settings))
    with pytest.raises(BenchError, match="the method has no frozen streams"):
        cached_features(None, data_of(feature_cache="make"), lambda: CPU)
    with pytest.raises(BenchError, match="data.feature_cache='on' is unknown; use one of off, use"):
        data_of(feature_cache="on")


def test_half_precision_takes_half_the_room_and_comes_as_float32():
    visual, _ = made(data_of(feature_dtype="float16"))
    data = use(data_of(feature_dtype="float16"))

    assert np.load(visual.store.folder / "block-000000.npy").dtype == np.float16
    assert {torch.float32} == {clip.features.visual.dtype for clip in clips_of(data)  # type: ignore[union-attr]
                               }  # fmt: skip


@pytest.mark.parametrize(
    ("weight", "dtype", "words"),
    [
        (1e6, "float16", "not finite as float16; set data.feature_dtype=float32"),
        (float("nan"), "float32", "not finite as float32; check its weights"),
    ],
)
def test_features_that_are_not_finite_are_refused(weight: float, dtype: str, words: str):
    with pytest.raises(BenchError, match=words):
        made(data_of(feature_dtype=dtype), FrozenExtractor(FrozenStream(Means(weight))))


def test_the_estimate_comes_first_and_what_does_not_fit_is_not_begun(
    cache: Path, monkeypatch: pytest.MonkeyPatch
):
    said: list[str] = []
    data = data_of(feature_cache_gb=1e-7)
    streams = streams_of(BOTH, data)
    with pytest.raises(BenchError, match="more than data.feature_cache_gb=1e-07; raise it"):
        make_features(streams, data, CPU, said.append)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 100))
    with pytest.raises(BenchError, match="do not fit in .*, which has 1e-07 GB free; set AVLOC"):
        made(data_of())

    assert said[0].startswith(f"visual: 7 of 7 to be made, {7 * ONE_SIZE / 1e9:.3g} GB in {cache}")
    assert said[1].startswith("audio: 9 of 9 to be made"), "7 mixtures and 2 isolated sounds"
    assert [] == list((cache / "features").glob("*/*.npy"))


def test_features_that_are_kept_already_count_towards_the_room(cache: Path):
    made(data_of())
    held = sum(path.stat().st_size for path in (cache / "features").glob("*/*.npy"))
    room = data_of(feature_cache_gb=(held + 6 * ONE_SIZE) / 1e9)

    with pytest.raises(BenchError, match=f"6.72e-07 GB of features beside the {held / 1e9:.3g} GB"):
        made(room, FrozenExtractor(FrozenStream(Means(3.0))))


def test_a_data_set_that_cannot_tell_contents_apart_has_no_features(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(Numbered, "fingerprints", lambda self, split: None)

    assert (
        obstacle(BOTH, data_of()) == "Numbered cannot tell which of its clips hold the same content"
    )
    assert use(data_of()).cached_features is None


def test_a_cache_that_cannot_be_written_is_an_error_in_words(cache: Path):
    cache.mkdir()
    (cache / "features").write_text("a file in the place of the folder")

    with pytest.raises(BenchError, match="features cannot be kept in .* set AVLOC_CACHE"):
        made(data_of())


class Slow(Means):
    """Long enough to be killed in between."""

    def forward(self, frames: Tensor) -> Tensor:
        import time

        time.sleep(0.005)
        return super().forward(frames)


def killed(seconds: float) -> bool:
    """Whether a process that makes features was still at it when it was killed."""
    process = get_context("fork").Process(target=made, args=(data_of(batch_size=1), SLOW))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode != 0


SLOW = FrozenExtractor(FrozenStream(Slow()), FrozenStream(FirstSamples()))


def test_work_killed_at_any_time_ends_with_the_files_of_work_never_killed(cache: Path):
    made(data_of(batch_size=1), SLOW)
    expected = contents(cache / "features")
    shutil.rmtree(cache / "features")
    rng = np.random.default_rng(0)
    kills = sum(killed(rng.uniform(0.0, 0.08)) for _ in range(8))

    made(data_of(batch_size=1), SLOW)

    left = {name: content for name, content in contents(cache / "features").items()
            if not name.endswith(".part")}  # fmt: skip
    assert expected == left
    assert kills > 0


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A forked process must not wait for threads that it does not have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_features_of_sounds_from_another_time_on_are_not_taken():
    (_, audio) = streams_of(BOTH, data_of())
    (_, later) = streams_of(BOTH, data_of(replace(INPUTS, sound_start_seconds=0.0)))

    assert audio.store.folder != later.store.folder
