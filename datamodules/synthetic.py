"""Data ``synthetic``: procedural clips with exact truth, made on this machine at first use.

Clips come from :mod:`datamodules.synthetic_generator` and depend on ``data.generator_seed``, never
on the seed of a run, so all runs share them. They are written once, to ``data.root`` or else to
``<cache>/synthetic-v1/<hash of the settings>``, and read back by memory map::

    spec.json                  settings; size and sha256 of every file
    {train,val,test}/X.npy     one file per field X of ``SyntheticClip``, clips along the first axis

Settings and what they are good for: ``docs/data/synthetic.md``.

Licence: the clips are the output of this program; do with them what you like.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from datamodules.base import ClipData, DataConfig, DataReport, Fingerprints, Split
from datamodules.cache import cache_dir
from datamodules.clip import Inputs
from datamodules.clip_folder import DIGEST_LENGTH
from datamodules.id_lists import ListIdentity, first_by_hash
from datamodules.synthetic_generator import (
    CLASSES,
    GENERATOR,
    NUM_ANNOTATORS,
    SILENT,
    SPLITS,
    SyntheticClip,
    strip_tells,
)
from datamodules.synthetic_settings import (
    SyntheticConfig,
    check_settings,
    clip_share,
    fingerprint,
    knobs_of,
    made_id,
    made_row,
    num_clips,
    plain,
)
from datamodules.synthetic_store import clips_in
from metrics.truth import Source, Truth


class Synthetic(ClipData):
    """Clips of one or two sources and one or two silent distractors of other classes.

    Sizes and rates that differ from the generated ones are resampled; a sound shorter than the
    method's segment is repeated, a longer one cut around its middle. A method of one segment gets
    the middle one, a method of T segments all of as many, or a still with T pieces of its sound.
    """

    Config: ClassVar[type[DataConfig]] = SyntheticConfig
    data_name = "synthetic"
    pretraining: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            "data.segments": 1,
            "data.motion": "static",
            "data.event_share": None,
            "data.off_sounds": False,
            "data.offscreen": 0.0,
            "data.background": 0.0,
        }
    )
    """Still frames, each with a sound of its own."""

    def __init__(self, config: SyntheticConfig, inputs: Inputs, *, seed: int) -> None:
        super().__init__(config, inputs, seed=seed)
        check_settings(config, inputs)
        self.settings = config
        self.target = config.segments // 2  # the segment to be localised
        single = 1 in (config.segments, inputs.num_segments)
        self.delivered = slice(self.target, self.target + 1) if single else slice(None)

    def load(self) -> DataReport:
        """Lists of all splits, after the clips were made or found complete."""
        splits = {split: self._list(split) for split in SPLITS}
        notes = [f"{GENERATOR}, settings {fingerprint(self.settings)}"]
        if self.settings.offscreen:
            shown = self.clips["test"].on_screen[: len(splits["test"]), self.target]
            notes.append(f"{(~shown).sum()} test clips have their source off the screen")
        return DataReport(
            splits,
            n_expected=self.settings.test_clips,
            notes=tuple(notes),
            lists={
                split: ListIdentity.of(self._list_name(split), ids)
                for split, ids in self._made_ids.items()
            },
            classes=CLASSES,
        )

    def truth(self) -> tuple[Truth, ...]:
        """Truth of the target segment: boxes of its sources, their class, all objects.

        The exact boxes are one box set; with ``data.annotators`` there are three, as drawn.
        """
        test = self.report.splits["test"]
        return tuple(
            self._truth(row, sample_id, category)
            for row, (sample_id, category) in enumerate(zip(test.ids, test.categories, strict=True))
        )

    def frames(self, split: str, row: int) -> Tensor:
        """Frames ``(T, 3, H, W)`` uint8, resized with antialiasing where the size differs."""
        stored = self.clips[split].frames[self._stored(split, row), self.delivered]
        frames = torch.from_numpy(np.array(stored.transpose(0, 3, 1, 2), order="C"))
        size = self.inputs.image_size
        if size != self.settings.image_size:
            frames = torch.as_tensor(tv.resize(frames, [size, size], antialias=True))
        return frames.expand(self.inputs.num_segments, -1, -1, -1)  # a still stays as it is

    def waveform(self, split: str, row: int) -> Tensor:
        """Sound ``(T, S)`` float32 in [-1, 1]."""
        return self._windows(self.clips[split].sound[self._stored(split, row), self.delivered])

    def boxes(self, split: str, row: int) -> tuple[NDArray[np.float64], ...]:
        """The sources' boxes ``(K, 4)`` in the target segment, as three simulated people drew them.

        Empty where the clip is not labelled or its source is off the screen.
        """
        if self.ids[split][row] not in self.labelled_ids[split]:
            return ()
        drawn = self._drawn(split, self._stored(split, row))
        return drawn if all(map(len, drawn)) else ()

    def labels(self, split: str, row: int) -> NDArray[np.int64] | None:
        """Class of the source that sounds in each segment ``(T,)``; background where none does.

        A sound without a visible source is background. None where the clip is not labelled.
        """
        if self.ids[split][row] not in self.labelled_ids[split]:
            return None
        return self._events(split, self._stored(split, row))

    def num_sources(self, split: str, row: int) -> int:
        """With two sources the number of objects, since the sounds of silent ones are known too."""
        if self.clips[split].isolated is None:
            return 0
        return int(np.count_nonzero(self.clips[split].classes[self._stored(split, row)] != SILENT))

    def source_waveform(self, split: str, row: int, source: int) -> Tensor:
        """Sound ``(T, S)`` of one object on its own; those that sound come first."""
        stored, isolated = self._stored(split, row), self.clips[split].isolated
        assert isolated is not None
        place = _sounding_first(self.clips[split].sounding[stored, self.target])[source]
        return self._windows(isolated[stored, self.delivered, place])

    def _windows(self, stored: NDArray[np.int16]) -> Tensor:
        sound = stored.astype(np.float32) / np.float32(32768)  # (T, S)
        if self.inputs.sample_rate_hz != self.settings.sample_rate_hz:
            sound = resample_poly(
                sound, self.inputs.sample_rate_hz, self.settings.sample_rate_hz, axis=-1
            ).clip(-1, 1)
        samples = self.inputs.segment_samples
        pieces = self.inputs.num_segments // len(sound)  # of a still's one sound
        return torch.from_numpy(_fitted(sound, pieces * samples).reshape(-1, samples))

    def _events(self, split: str, stored: int) -> NDArray[np.int64]:
        clips = self.clips[split]
        heard = clips.labels[stored, self.delivered]
        is_event = clips.on_screen[stored, self.delivered]
        events = np.where(is_event, heard, len(CLASSES)).astype(np.int64)
        return np.repeat(events, self.inputs.num_segments // len(events))

    def _drawn(self, split: str, stored: int) -> tuple[NDArray[np.float64], ...]:
        """Boxes ``(K, 4)`` of each annotator; K is 0 where the source is off the screen."""
        drawn = self.clips[split].annotators[stored, self.target].reshape(NUM_ANNOTATORS, -1, 4)
        return tuple(one[~np.isnan(one).any(axis=1)] for one in drawn)

    def _truth(self, row: int, sample_id: str, category: str | None) -> Truth:
        clips = self.clips["test"]
        boxes, sounding = clips.boxes[row, self.target], clips.sounding[row, self.target]
        shown = ~np.isnan(boxes[:, 0])
        places = [] if clips.isolated is None else _sounding_first(sounding)
        sources = tuple(
            Source(boxes[[place]], CLASSES[clips.classes[row, place]], bool(sounding[place]))
            for place in places
        )
        return Truth(
            sample_id,
            self._drawn("test", row) if self.settings.annotators else (boxes[sounding],),
            category=category,
            objects=boxes[shown],
            on_screen=bool(clips.on_screen[row, self.target]),
            segments=self._events("test", row) if self.settings.segments > 1 else None,
            sources=sources,
            context=self._context(row),
            background=len(CLASSES) if self.settings.segments > 1 else None,
        )

    def _context(self, row: int) -> NDArray[np.float64] | None:
        """Box ``(1, 4)`` of the strip of a test clip, where its colour is that of the sound."""
        clips = self.clips["test"]
        if clips.strip is None:
            return None
        seed, heard = self.settings.generator_seed, int(clips.labels[row, self.target])
        tells = strip_tells(seed, row, heard, knobs_of(self.settings), split="test")
        return np.array(clips.strip[[row]]) if tells else None

    def fingerprints(self, split: str) -> Fingerprints:
        """The settings of the generator and the id, which clips are a function of."""
        ids = self.report.splits[split].ids
        names = tuple(f"{GENERATOR} {fingerprint(self.settings)} {each}" for each in ids)
        return Fingerprints(names, names)

    @classmethod
    def segments_of(cls, config: DataConfig) -> int:
        """As many as are made."""
        assert isinstance(config, SyntheticConfig), "the settings of this data set"
        return config.segments

    def picture_contents(self, split: str) -> tuple[tuple[str, ...], ...]:
        """Hashes of the frames as they were made; a still counts once for each of its segments."""
        stored = self.clips[split].frames[:, self.delivered]
        rows = (stored[self._stored(split, row)] for row in range(len(self.ids[split])))
        hashes = ([sha256(frame.tobytes()).hexdigest()[:DIGEST_LENGTH] for frame in frames]
                  for frames in rows)  # fmt: skip
        repeats = self.inputs.num_segments
        return tuple(tuple(found * (repeats // len(found))) for found in hashes)

    def whole_picture(self, split: str, row: int, segment: int) -> Tensor:
        """The frame of a segment as it was made, ``(3, H, W)`` uint8."""
        frames = self.clips[split].frames[self._stored(split, row), self.delivered]
        return torch.from_numpy(np.array(frames[segment % len(frames)].transpose(2, 0, 1)))

    @property
    def folder(self) -> Path:
        """Where the clips are, or will be."""
        if self.settings.root is not None:
            return Path(self.settings.root)
        return cache_dir() / GENERATOR / fingerprint(self.settings)

    @cached_property
    def clips(self) -> dict[str, SyntheticClip]:
        """All fields of each split as memory maps, with the clips along a further first axis."""
        return clips_in(self.folder, self.settings)

    @cached_property
    def ids(self) -> dict[str, tuple[str, ...]]:
        """Ids of each split; of the training clips those of ``data.labelled`` and beside them."""
        ids = {split: made[: self.settings.limit] for split, made in self._made_ids.items()}
        if self.settings.labelled is None:
            return ids
        labelled = self.labelled_ids["train"]
        others = [each for each in ids["train"] if each not in labelled]
        kept = {*labelled, *_first(others, clip_share("unlabelled", self.settings.unlabelled))}
        return ids | {"train": tuple(each for each in ids["train"] if each in kept)}

    @cached_property
    def labelled_ids(self) -> dict[str, frozenset[str]]:
        """Clips whose boxes and labels training may see, none of the test split."""
        share = clip_share("labelled", self.settings.labelled, default=1.0)
        limit = self.settings.limit
        labelled = {
            split: frozenset(_first(self._made_ids[split][:limit], share))
            for split in ("train", "val")
        }
        return labelled | {"test": frozenset()}

    @cached_property
    def _made_ids(self) -> dict[str, tuple[str, ...]]:
        counts = num_clips(self.settings)
        return {split: tuple(made_id(split, row) for row in range(counts[split]))
                for split in SPLITS}  # fmt: skip

    def _stored(self, split: str, row: int) -> int:
        """Position in the stored clips of a row of a split."""
        return made_row(self.ids[split][row])

    def _list(self, split: str) -> Split:
        ids = self.ids[split]
        name = self._list_name(split)
        if len(ids) < len(self._made_ids[split][: self.settings.limit]):
            name += f"-labelled{self.settings.labelled}"
            if self.settings.unlabelled is not None:
                name += f"-unlabelled{self.settings.unlabelled}"
        categories = (self._category(split, row) for row in range(len(ids)))
        return Split(name, ids, ids, tuple(categories))

    def _list_name(self, split: str) -> str:
        name = f"{GENERATOR}/{split}-{len(self._made_ids[split])}"
        if self.settings.generator_seed:
            name += f"-seed{self.settings.generator_seed}"
        for knob, value in knobs_of(self.settings).changed().items():
            name += f"-{knob}{plain(value)}"
        return name

    def _category(self, split: str, row: int) -> str:
        """Class heard in the target segment; of two sources both, in the order of the classes."""
        clips, stored = self.clips[split], self._stored(split, row)
        if clips.isolated is None:
            return CLASSES[int(clips.labels[stored, self.target])]
        labels = clips.classes[stored][clips.sounding[stored, self.target]]
        return "+".join(CLASSES[label] for label in sorted(labels))


def _first(ids: Sequence[str], share: float) -> tuple[str, ...]:
    return first_by_hash(ids, round(share * len(ids)))


def _sounding_first(sounding: NDArray[np.bool_]) -> list[int]:
    """Slots of the objects, those that sound before those that do not."""
    return sorted(range(len(sounding)), key=lambda place: not sounding[place])


def _fitted(sound: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Sound ``(T, samples)``: repeated where shorter, its middle where longer."""
    available = sound.shape[-1]
    if available < samples:
        return np.tile(sound, -(-samples // available))[:, :samples]
    start = (available - samples) // 2
    return np.ascontiguousarray(sound[:, start : start + samples])
