"""Features of frozen networks in place of frames and sounds: made once, shared by all methods.

A method names its frozen streams (:class:`FrozenExtractor`). What a stream makes of a frame or a
sound is a function of that content, of the stream (class, settings, weights), of what the inputs
ask, and of the data set that delivers it; the hash of all but the content names a store (see
``datamodules.feature_store``). Augmented frames are never the same twice, so nothing is kept of
them.
"""

import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from datamodules.base import ClipData
from datamodules.block_store import kept_in
from datamodules.clip import SQUASHED, Clip, Features
from datamodules.feature_store import FeatureStore
from datamodules.progress import progress_bar
from metrics.errors import BenchError

VERSION = 1  # raise it when the same files reach a stream as other numbers
BLOCK_BYTES = 64 << 20
GB = 10**9
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrozenStream:
    """A network that is not trained, and what its features depend on beside its weights.

    Attributes:
        module: clip by clip ``(B, T, 3, H, W)`` uint8 to ``(B, T, C, h, w)`` float32 for frames,
            or ``(B, T, S)`` float32 to ``(B, T, D)`` float32 for sounds.
        settings: plain values that its class does not tell.
    """

    module: nn.Module
    settings: Mapping[str, object] = field(default_factory=dict)

    def __call__(self, values: Tensor) -> Tensor:
        """Features, in evaluation mode and without gradient."""
        self.module.eval()
        with torch.no_grad():
            features: Tensor = self.module(values)
        return features

    def identity(self) -> dict[str, object]:
        """Class, settings and the hash of the weights."""
        kind = type(self.module)
        return {
            "module": f"{kind.__module__}.{kind.__qualname__}",
            "settings": dict(self.settings),
            "weights": _weights_sha256(self.module),
        }


@dataclass(frozen=True)
class FrozenExtractor:
    """The frozen streams of a method, either or both."""

    visual: FrozenStream | None = None
    audio: FrozenStream | None = None

    def features(self, clip: Clip) -> Features:
        """What came with a clip, and what the streams make of it where nothing came."""
        visual, audio = clip.features or Features(None, None)
        if visual is None and self.visual is not None:
            visual = self.visual(clip.frames)
        if audio is None and self.audio is not None:
            audio = self.audio(clip.waveform)
        return Features(visual, audio)


class Content(NamedTuple):
    """A frame or a sound, and what its features are kept by."""

    fingerprint: str
    split: str
    row: int
    source: int | None = None


class StreamFeatures(NamedTuple):
    """One stream of a method on one data set: what it needs, and where its features are kept."""

    part: str  # visual | audio
    stream: FrozenStream
    store: FeatureStore
    contents: dict[tuple[str, int, int | None], str]  # (split, row, source) -> fingerprint

    def missing(self) -> list[Content]:
        """Contents without features, each once, in the order of the splits."""
        absent: dict[str, Content] = {}
        for key, fingerprint in self.contents.items():
            if fingerprint not in self.store:
                absent.setdefault(fingerprint, Content(fingerprint, *key))
        return list(absent.values())

    def read(self, split: str, row: int, source: int | None) -> Tensor:
        """The features of one content."""
        return torch.from_numpy(self.store[self.contents[split, row, source]])


class CachedFeatures:
    """The features of every clip of a data set, for ``ClipData.features``."""

    def __init__(self, streams: Sequence[StreamFeatures]) -> None:
        self._streams = {each.part: each for each in streams}

    def __call__(self, split: str, row: int, source: int | None = None) -> Features:
        """Visual features ``(T, C, h, w)`` and audio features ``(T, D)`` of a clip."""
        visual, audio = self._streams.get("visual"), self._streams.get("audio")
        return Features(
            None if visual is None else visual.read(split, row, None),
            None if audio is None else audio.read(split, row, source),
        )


def obstacle(extractor: FrozenExtractor | None, data: ClipData) -> str | None:
    """Why no features of a method can be kept on a data set; None where they can."""
    if extractor is None:
        return "the method has no frozen streams"
    if data.config.augmentation != "none":
        return (
            f"data.augmentation={data.config.augmentation} changes every clip at every epoch; set "
            "data.augmentation=none"
        )
    if data.fingerprints("test") is None:
        return f"{type(data).__name__} cannot tell which of its clips hold the same content"
    return None


def streams_of(extractor: FrozenExtractor, data: ClipData) -> list[StreamFeatures]:
    """What each frozen stream needs on a data set, where there is no obstacle."""
    inputs, kind = data.inputs, type(data)
    seen: dict[str, object] = {"image_size": inputs.image_size}
    heard: dict[str, object] = {
        "sample_rate_hz": inputs.sample_rate_hz,
        "segment_seconds": inputs.segment_seconds,
    }
    if inputs.resizing != SQUASHED:
        seen["resizing"] = asdict(inputs.resizing)
    if inputs.sound_start_seconds is not None:
        heard["sound_start_seconds"] = inputs.sound_start_seconds
    parts = (("visual", extractor.visual, seen), ("audio", extractor.audio, heard))
    streams = []
    for part, stream, asked in parts:
        if stream is not None:
            identity = {
                "version": VERSION,
                "part": part,
                "stream": stream.identity(),
                "inputs": {"num_segments": inputs.num_segments, **asked},
                "data": f"{kind.__module__}.{kind.__qualname__}",
                "dtype": data.config.feature_dtype,
            }
            contents = _contents(data, part)
            streams.append(StreamFeatures(part, stream, FeatureStore(identity), contents))
    return streams


def cached_features(
    extractor: FrozenExtractor | None, data: ClipData, device: Callable[[], torch.device]
) -> CachedFeatures | None:
    """The features that a run takes in place of frames and sounds, by ``data.feature_cache``.

    ``use`` takes them where every clip has some, ``make`` makes those that lack first, ``off``
    takes none. In float32 the choice changes no score, beyond what a network rounds differently in
    a batch of another size.

    Raises:
        BenchError: a block is damaged; there are no features, and ``make`` or float16 asks for
            them.
    """
    mode = data.config.feature_cache
    reason = "data.feature_cache=off" if mode == "off" else obstacle(extractor, data)
    if reason is None and extractor is not None:
        streams = streams_of(extractor, data)
        if mode == "make":
            make_features(streams, data, device())
        lacking = {each.part: len(each.missing()) for each in streams}
        if not any(lacking.values()):
            for each in streams:
                each.store.refuse_damaged(
                    "bench features makes it again, and data.feature_cache=off does without"
                )
            return CachedFeatures(streams)
        counts = ", ".join(f"{number} {part}" for part, number in lacking.items())
        reason = f"features are not made yet of these contents: {counts}; bench features makes them"
        logger.info("%s", reason)
    for setting, asked in (("feature_cache", mode == "make"),
                           ("feature_dtype", data.config.feature_dtype == "float16")):  # fmt: skip
        if asked:
            raise BenchError(
                f"data.{setting}={getattr(data.config, setting)} cannot be had: {reason}"
            )
    return None


def make_features(
    streams: Sequence[StreamFeatures],
    data: ClipData,
    device: torch.device,
    say: Callable[[str], None] = logger.info,
) -> None:
    """Makes what is not there, block by block; damaged blocks are made again.

    A process that is killed loses the block it was at. Another that makes the same features is
    waited for.

    Args:
        streams: of :func:`streams_of`.
        data: the data set, which says how many features may be kept (``data.feature_cache_gb``).
        device: to compute on.
        say: gets the estimate, before anything is computed.

    Raises:
        BenchError: there is too little room, or features are not finite.
    """
    otherwise = ", or data.feature_cache=off"
    with kept_in("features", FeatureStore.place(), otherwise), ExitStack() as held:
        for each in sorted(streams, key=lambda one: one.store.folder):
            held.enter_context(each.store.adding())
        sizes = {each.part: _bytes_per_content(each, data, device) for each in streams}
        _require_room(streams, sizes, data, say)
        for each in streams:
            _make(each, data, device, max(1, BLOCK_BYTES // max(1, sizes[each.part])))


def _make(one: StreamFeatures, data: ClipData, device: torch.device, per_block: int) -> None:
    missing, config = one.missing(), data.config
    with progress_bar(f"{one.part} features", len(missing)) as advance:
        for first in range(0, len(missing), per_block):
            block = missing[first : first + per_block]
            contents = _Contents(data, one.part, block)
            done = []
            for values in DataLoader(contents, config.batch_size, num_workers=config.num_workers):
                done.append(_computed(one, values, data, device))
                for _ in values:
                    advance()
            one.store.append([each.fingerprint for each in block], np.concatenate(done))


class _Contents(Dataset[Tensor]):
    """Frames ``(T, 3, H, W)`` or sounds ``(T, S)`` one by one."""

    def __init__(self, data: ClipData, part: str, contents: Sequence[Content]) -> None:
        self.data, self.part, self.contents = data, part, contents

    def __len__(self) -> int:
        return len(self.contents)

    def __getitem__(self, place: int) -> Tensor:
        _, split, row, source = self.contents[place]
        if self.part == "visual":
            return self.data.frames(split, row)
        if source is None:
            return self.data.waveform(split, row)
        return self.data.source_waveform(split, row, source)


def _contents(data: ClipData, part: str) -> dict[tuple[str, int, int | None], str]:
    """The fingerprint of every content that the loaders of a data set deliver."""
    found: dict[tuple[str, int, int | None], str] = {}
    for split in data.report.splits:
        fingerprints = data.fingerprints(split)
        assert fingerprints is not None, "there is no obstacle"
        of_part = fingerprints.frames if part == "visual" else fingerprints.sounds
        found |= {(split, row, None): each for row, each in enumerate(of_part)}
        if part == "audio" and split == "test":
            found |= {(split, row, source): f"{each}/{source}" for row, each in enumerate(of_part)
                      for source in range(data.num_sources(split, row))}  # fmt: skip
    return found


def _computed(
    one: StreamFeatures, values: Tensor, data: ClipData, device: torch.device
) -> NDArray[np.generic]:
    """The features of a batch as they are kept."""
    one.stream.module.to(device)
    dtype = data.config.feature_dtype
    features = one.stream(values.to(device)).to(getattr(torch, dtype)).cpu()
    if not torch.isfinite(features).all():
        remedy = {"float16": "set data.feature_dtype=float32", "float32": "check its weights"}
        raise BenchError(
            f"the frozen {one.part} stream gives numbers that are not finite as {dtype}; "
            f"{remedy[dtype]}"
        )
    return features.numpy()


def _bytes_per_content(one: StreamFeatures, data: ClipData, device: torch.device) -> int:
    """Computes the features of the first content that has none; 0 where all have some."""
    first = one.missing()[:1]
    if not first:
        return 0
    values = _Contents(data, one.part, first)[0]
    return int(_computed(one, values[None], data, device).nbytes)


def _require_room(
    streams: Sequence[StreamFeatures],
    sizes: Mapping[str, int],
    data: ClipData,
    say: Callable[[str], None],
) -> None:
    """Says how much there is to do; an error where it would not fit."""
    needed = 0
    for each in streams:
        missing = len(each.missing())
        needed += missing * sizes[each.part]
        say(f"{each.part}: {missing} of {len(set(each.contents.values()))} to be made, "
            f"{missing * sizes[each.part] / GB:.3g} GB in {each.store.folder}")  # fmt: skip
    folder = FeatureStore.place()
    folder.mkdir(parents=True, exist_ok=True)
    held = sum(path.stat().st_size for path in folder.glob("*/*.npy"))
    most, free = data.config.feature_cache_gb, shutil.disk_usage(folder).free / GB
    if (held + needed) / GB > most:
        raise BenchError(
            f"{needed / GB:.3g} GB of features beside the {held / GB:.3g} GB in {folder} are more "
            f"than data.feature_cache_gb={most:g}; raise it, remove folders there that you no "
            "longer need, or set data.feature_dtype=float16"
        )
    if needed / GB > free:
        raise BenchError(
            f"{needed / GB:.3g} GB of features do not fit in {folder}, which has {free:.3g} GB "
            "free; set AVLOC_CACHE to a folder with more room"
        )


def _weights_sha256(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
