"""Data ``synthetic``: procedural clips with exact truth, made on this machine at first use.

Clips come from :mod:`datamodules.synthetic_generator` and depend on ``data.generator_seed``, never
on the seed of a run, so all runs share them. They are written once, to ``data.root`` or else to
``<cache>/synthetic-v1/<hash of the settings>``, and read back by memory map::

    spec.json                  settings; size and sha256 of every file
    {train,val,test}/X.npy     one file per field X of ``SyntheticClip``, clips along the first axis

Licence: the clips are the output of this program; do with them what you like.
"""

import hashlib
import json
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from scipy.signal import resample_poly
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from datamodules.base import ClipData, DataConfig, DataReport, Split
from datamodules.cache import build_folder, cache_dir, file_entries, first_difference
from datamodules.clip import Inputs
from datamodules.progress import progress_bar
from datamodules.synthetic_generator import (
    CLASSES,
    GENERATOR,
    SPLITS,
    Floats,
    SyntheticClip,
    SyntheticSpec,
    generate_clip,
)
from metrics.errors import BenchError
from metrics.truth import Truth

MIN_IMAGE_SIZE = 32  # pixels; below, no texture is left
MIN_SECONDS = 0.5  # one period of the slowest chirp
MIN_SAMPLE_RATE_HZ = 16000


@dataclass
class SyntheticConfig(DataConfig):
    """Settings ``data.*`` of ``synthetic``."""

    batch_size: int = 64
    generator_seed: int = 0  # of the data; runs of all seeds share them
    train_clips: int = 4000
    val_clips: int = 400
    test_clips: int = 500
    image_size: int = 64  # pixels as generated; a method may ask for another size
    sample_rate_hz: int = 16000  # as generated
    seconds: float = 1.0


class Synthetic(ClipData):
    """Clips of one source and one or two silent distractors of other classes.

    Sizes and rates that differ from the generated ones are resampled; a sound shorter than the
    method's segment is repeated, a longer one cut around its middle.
    """

    Config: ClassVar[type[DataConfig]] = SyntheticConfig

    def __init__(self, config: SyntheticConfig, inputs: Inputs, *, seed: int) -> None:
        super().__init__(config, inputs, seed=seed)
        _check(config, inputs)
        self.settings = config

    def load(self) -> DataReport:
        """Lists of all splits, after the clips were made or found complete."""
        return DataReport(
            {split: self._list(split) for split in SPLITS},
            n_expected=self.settings.test_clips,
            notes=(f"{GENERATOR}, settings {_fingerprint(self.settings)}",),
        )

    def truth(self) -> tuple[Truth, ...]:
        """The source's box as one box set, its class, and the boxes of all objects."""
        test = self.report.splits["test"]
        clips = self.clips["test"]
        return tuple(
            _truth(sample_id, category, clips.source_box[row], clips.boxes[row, 0])
            for row, (sample_id, category) in enumerate(zip(test.ids, test.categories, strict=True))
        )

    def frames(self, split: str, row: int) -> Tensor:
        """Frames ``(T, 3, H, W)`` uint8, resized with antialiasing where the size differs."""
        stored = self.clips[split].frames[row].transpose(0, 3, 1, 2)  # (T, 3, H, W)
        frames = torch.from_numpy(np.array(stored, order="C"))
        size = self.inputs.image_size
        if size != self.settings.image_size:
            frames = torch.as_tensor(tv.resize(frames, [size, size], antialias=True))
        return frames

    def waveform(self, split: str, row: int) -> Tensor:
        """Sound ``(T, S)`` float32 in [-1, 1]."""
        sound = self.clips[split].sound[row].astype(np.float32) / 32768  # (T, S)
        if self.inputs.sample_rate_hz != self.settings.sample_rate_hz:
            sound = resample_poly(
                sound, self.inputs.sample_rate_hz, self.settings.sample_rate_hz, axis=-1
            ).clip(-1, 1)
        return torch.from_numpy(_fitted(sound, self.inputs.segment_samples))

    @property
    def folder(self) -> Path:
        """Where the clips are, or will be."""
        if self.settings.root is not None:
            return Path(self.settings.root)
        return cache_dir() / GENERATOR / _fingerprint(self.settings)

    @cached_property
    def clips(self) -> dict[str, SyntheticClip]:
        """All fields of each split as memory maps, with the clips along a further first axis."""
        if not _is_filled(self.folder):
            _build(self.folder, self.settings)
        _verify(self.folder, self.settings)
        return {split: _stored_clips(self.folder / split) for split in SPLITS}

    def _list(self, split: str) -> Split:
        count = _num_clips(self.settings)[split]
        kept = count if self.settings.limit is None else min(count, self.settings.limit)
        ids = tuple(f"{split}-{row:06d}" for row in range(kept))
        labels = self.clips[split].labels[:kept, 0]
        name = f"{GENERATOR}/{split}-{count}"
        if self.settings.generator_seed:
            name += f"-seed{self.settings.generator_seed}"
        return Split(name, ids, ids, tuple(CLASSES[label] for label in labels))


def _check(config: SyntheticConfig, inputs: Inputs) -> None:
    if inputs.num_segments != 1:
        raise BenchError(
            f"data synthetic has clips of 1 segment, the method asks for {inputs.num_segments}; "
            "choose a method with inputs.num_segments=1"
        )
    if inputs.proposals:
        raise BenchError("data synthetic has no proposals; choose a method that needs none")
    if config.image_size < MIN_IMAGE_SIZE:
        raise BenchError(
            f"data.image_size={config.image_size} is too small for the textures; "
            f"use {MIN_IMAGE_SIZE} or more"
        )
    for key in ("train_clips", "val_clips", "test_clips"):
        if getattr(config, key) < 1:
            raise BenchError(f"data.{key}={getattr(config, key)} must be at least 1")
    if config.generator_seed < 0:
        raise BenchError(f"data.generator_seed={config.generator_seed} must not be negative")
    if config.seconds < MIN_SECONDS:
        raise BenchError(f"data.seconds={config.seconds} must be at least {MIN_SECONDS}")
    if config.sample_rate_hz < MIN_SAMPLE_RATE_HZ:
        raise BenchError(
            f"data.sample_rate_hz={config.sample_rate_hz} cannot carry the highest partials; "
            f"use {MIN_SAMPLE_RATE_HZ} or more (a method may ask for less and gets it resampled)"
        )
    if config.val_fraction:
        raise BenchError(
            "data synthetic has validation clips of its own; set data.val_clips and leave "
            "data.val_fraction=0"
        )


def _num_clips(config: SyntheticConfig) -> dict[str, int]:
    return dict(zip(SPLITS, (config.train_clips, config.val_clips, config.test_clips), strict=True))


def _spec(config: SyntheticConfig) -> SyntheticSpec:
    return SyntheticSpec(config.image_size, config.sample_rate_hz, config.seconds)


def _identity(config: SyntheticConfig) -> dict[str, object]:
    """Everything that the bytes of the cache depend on."""
    return {
        "generator": GENERATOR,
        "seed": config.generator_seed,
        "clips": _num_clips(config),
        "spec": asdict(_spec(config)),
    }


def _fingerprint(config: SyntheticConfig) -> str:
    text = json.dumps(_identity(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _is_filled(folder: Path) -> bool:
    if folder.is_file():
        raise BenchError(f"data.root={folder} is a file; set data.root to a folder")
    return folder.is_dir() and any(folder.iterdir())


def _build(folder: Path, config: SyntheticConfig) -> None:
    try:
        build_folder(folder, partial(_write_all, config=config))
    except OSError as error:
        raise BenchError(
            f"cannot write synthetic clips to {folder} ({error.strerror or error}); "
            "set AVLOC_CACHE or data.root to a folder with space that you may write to"
        ) from error


def _write_all(folder: Path, *, config: SyntheticConfig) -> None:
    counts = _num_clips(config)
    with progress_bar(f"making {GENERATOR}, once", sum(counts.values())) as advance:
        for split, count in counts.items():
            _write_split(folder / split, config, count, advance)
    description = {**_identity(config), "files": file_entries(folder, "*/*.npy")}
    (folder / "spec.json").write_text(json.dumps(description, indent=1) + "\n")


def _write_split(
    folder: Path, config: SyntheticConfig, count: int, advance: Callable[[], None]
) -> None:
    """Makes clips one by one into arrays on disk; memory does not grow with their number."""
    folder.mkdir()
    clip_at = partial(generate_clip, config.generator_seed, spec=_spec(config), split=folder.name)
    arrays = [
        open_memmap(folder / f"{field}.npy", "w+", values.dtype, (count, *values.shape))
        for field, values in clip_at(0)._asdict().items()
    ]
    for row in range(count):
        for array, values in zip(arrays, clip_at(row), strict=True):
            array[row] = values
        advance()
    for array in arrays:
        array.flush()


def _verify(folder: Path, config: SyntheticConfig) -> None:
    """Refuses a folder of other settings, and one in which any byte differs from its record."""
    path = folder / "spec.json"
    try:
        description = json.loads(path.read_text())
        files = description.pop("files")
    except (OSError, ValueError, KeyError) as error:
        raise BenchError(
            f"{folder} is not empty and has no readable spec.json of {GENERATOR}; set data.root to "
            "an empty or absent folder"
        ) from error
    remedy = f"delete it (rm -r {shlex.quote(str(folder))}) or set data.root to another folder"
    if description != _identity(config):
        raise BenchError(f"{path} describes clips of other data.* settings; {remedy}")
    wrong = first_difference(folder, files)
    if wrong is not None:
        raise BenchError(f"the synthetic clips in {folder} are damaged: {wrong}; {remedy}")


def _stored_clips(folder: Path) -> SyntheticClip:
    """Memory maps of a split, as plain arrays: indexing those is several times faster."""
    return SyntheticClip(
        *(
            np.asarray(np.load(folder / f"{field}.npy", mmap_mode="r"))
            for field in SyntheticClip._fields
        )
    )


def _truth(sample_id: str, category: str | None, source_box: Floats, boxes: Floats) -> Truth:
    present = ~np.isnan(boxes[:, 0])
    return Truth(sample_id, (source_box,), category=category, objects=boxes[present])


def _fitted(sound: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Sound ``(T, samples)``: repeated where shorter, its middle where longer."""
    available = sound.shape[-1]
    if available < samples:
        return np.tile(sound, -(-samples // available))[:, :samples]
    start = (available - samples) // 2
    return np.ascontiguousarray(sound[:, start : start + samples])
