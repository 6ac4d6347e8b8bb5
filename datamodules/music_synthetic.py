"""MUSIC-Synthetic: four solos in one picture, two of them heard, with each of the sounds alone.

Paper: Hu et al., "Discriminative Sounding Objects Localization via Self-supervised Audiovisual
Matching", NeurIPS 2020. Two kinds of root are read.

A root of :mod:`datamodules.music_solo`: the mixtures are made while they are read, as
:mod:`datamodules.music_mixtures` says, and take no room. Test mixtures come out of the frames of
``solotest.json``; which they are does not depend on the files that are there, and one that lacks a
file is missing. Training mixtures come out of the seconds of the videos of the training list, by
default ``solo_training_2``, the half that DSOL does not train its first stage on. Where a list of
MUSIC in the root names their instruments, the four differ, else their videos do. The box of a
training solo is its quadrant.

The truth has the boxes of the two that sound, and four sources: these two, then the silent ones.
The isolated sounds are in that order; those of the silent ones are silence, for that is their part
in the mixture, and all four add up to it. So class-aware scores (``cap``, ``ciou@`` over sources)
compare the map of each sound with its own boxes, and ``nsa`` asks whether a method stays dark where
it hears nothing.

The published files (https://zenodo.org/records/4079386), whose sorted names belong together by
their position::

    <root>/video/<id>.jpg
    <root>/audio/<name>.wav, .flac or .mp3      spectrograms in pickles are never read
    <root>/box/<id>.npy                         see :mod:`datamodules.music_box_files`

They have no isolated sounds and no boxes to train on. An id is
``<split>-<seed>-<row>-<hash>``, or the name of the published boxes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from datamodules.base import SampleFiles
from datamodules.box_defects import box_notes
from datamodules.clip import Inputs
from datamodules.clip_folder import DIGEST_LENGTH
from datamodules.folder_clips import FolderConfig, PartOfList
from datamodules.ground_truth import READERS, GroundTruth, annotations_place
from datamodules.id_lists import IdList, read_id_list
from datamodules.layouts import IMAGES, SOUNDS, Layout, each_suffix
from datamodules.music_box_files import box_files
from datamodules.music_clips import LAYOUTS, MusicClips
from datamodules.music_mixtures import (
    GENERATOR,
    MIXED,
    QUADRANTS,
    SOUNDING,
    TEST_MIXTURES,
    Mixture,
    Solos,
    mixture,
    read_solos,
    remade,
)
from datamodules.user_paths import expanded
from metrics.errors import BenchError

PUBLISHED = Layout(
    "MUSIC-Synthetic (https://zenodo.org/records/4079386)",
    each_suffix("video/{id}", *IMAGES),
    each_suffix("audio/{id}", *SOUNDS),
)
SEARCHED_SIDE = 160  # pixels of each frame of a mixture in which proposals are searched


@dataclass
class MixtureConfig(FolderConfig):
    """Settings ``data.*`` of ``music_synthetic``."""

    generator_seed: int = 0  # of the data; runs of all seeds share them
    train_clips: int | None = None  # mixtures; null: as many as there are seconds to make them of
    test_clips: int = TEST_MIXTURES  # not given in the paper
    jitter_seconds: float = 0.25  # each sound is moved by up to so much; not given in the paper
    jitter_db: float = 3.0  # and louder or softer by up to so much; not given in the paper


class MusicSynthetic(MusicClips):
    """MUSIC-Synthetic; see the module's text for the folders."""

    Config: ClassVar[type[FolderConfig]] = MixtureConfig
    data_name = "music_synthetic"
    layouts = (*LAYOUTS, PUBLISHED)
    usual_train_lists = ("solo_training_2", "solo_training_1", "train")
    obtain: ClassVar[str] = (
        "--data music_synthetic needs a folder of --data music_solo, of which it makes mixtures, "
        "or one with the published video/<id>.jpg, audio/<id>.wav and box/<id>.npy "
        "(https://zenodo.org/records/4079386)."
    )

    def __init__(self, config: MixtureConfig, inputs: Inputs, *, seed: int) -> None:
        super().__init__(config, inputs, seed=seed)
        _check(config)
        self.settings = config
        self._made: dict[str, Mixture] = {}

    def read_truth(self) -> GroundTruth:
        """Truth of the test mixtures, or of the published ones."""
        place = self._annotations
        if place.is_dir():
            return super().read_truth()
        solos = read_solos(place)
        made, name = self._test_mixtures(solos)
        self._made |= {each.id: each for each in made}
        truth = tuple(solos.truth_of(each) for each in made)
        notes = (*solos.notes, *box_notes(truth))
        return GroundTruth(self.data_name, truth, notes, name)

    def pairs_of(self, sample_id: str) -> tuple[tuple[str, str], ...]:
        """Frame and sound of each solo of a mixture, in the order of the quadrants."""
        made = self._made.get(sample_id)
        if made is not None:
            return tuple(self.parts_of(clip) for clip in made.clips)
        return (self._published.get(sample_id) or self.parts_of(sample_id),)

    def further_defect(self, sample_id: str) -> str | None:
        """The first defect of a solo of a mixture."""
        if sample_id in self._published:
            return None
        made = self._made.get(sample_id)
        clips = (sample_id,) if made is None else made.clips
        found = (super(MusicSynthetic, self).further_defect(clip) for clip in clips)
        return next((reason for reason in found if reason is not None), None)

    def absence(self, missing: Sequence[str]) -> str | None:
        """What is to be told of the solos that missing mixtures lack."""
        made = [self._made[each] for each in missing if each in self._made]
        clips = dict.fromkeys(clip for each in made for clip in each.clips)
        return super().absence([clip for clip in clips if not self.is_here(clip)])

    def media(self, sample_id: str) -> SampleFiles:
        """Frames and sounds of the solos of a mixture, or of a solo or a whole video."""
        if self.has_media and (sample_id in self._made or sample_id in self._published):
            return self.files_at(self.pairs_of(sample_id))
        return super().media(sample_id)

    def read_list(self, path: Path) -> IdList:
        """Videos of solos, as :mod:`datamodules.music_solo` reads them."""
        if path.suffix == ".json":
            return super().read_list(path)
        solo = READERS["music_solo"]
        return read_id_list(path, solo.list_form, id_of=solo.spell)

    def labelled_list(self) -> None:
        """Nothing: a mixture knows its boxes because it was made."""
        if self.config.labelled is not None:
            raise BenchError(
                f"data.labelled={self.config.labelled}: music_synthetic knows the boxes of every "
                "mixture that it makes; leave data.labelled out"
            )

    def parts_to_train(
        self, clip_ids: Sequence[str], leaked: frozenset[str]
    ) -> dict[str, PartOfList]:
        """Mixtures of the seconds that are here, from training and from held-out videos."""
        parts = {}
        for split, ids in self.divided(clip_ids, leaked).items():
            here = [each for each in ids if self.is_here(each)]
            broken = {each: reason for each in here if (reason := self.further_defect(each))}
            made = self._mixtures(split, [each for each in here if each not in broken])
            part = self.part([each.id for each in made])
            gone = tuple(each for each in ids if not self.is_here(each))
            parts[split] = PartOfList(part.ids, gone, broken | part.unreadable)
        return parts

    def frames(self, split: str, row: int) -> Tensor:
        """Four frames in two rows, ``(T, 3, H, W)`` uint8, the same in every segment."""
        made, size = self._mixture(split, row), self.inputs.image_size
        if made is None:
            ((frame_id, _),) = self.pairs_of(self.report.splits[split].ids[row])
            whole = self.picture(frame_id, size, self.inputs.resizing)
        else:
            whole = self._mixed(made, -(-size // 2))
            if size % 2:
                whole = torch.as_tensor(tv.resize(whole, [size, size], antialias=True))
        return whole.expand(self.inputs.num_segments, *whole.shape)

    def picture_contents(self, split: str) -> tuple[tuple[str, ...], ...]:
        """Hashes of the image files that a picture is made of, in the order of the quadrants."""
        parts = [
            [frame_id for frame_id, _ in self.pairs_of(sample_id)]
            for sample_id in self.report.splits[split].ids
        ]
        digests = self.frame_digests(each for of_clip in parts for each in of_clip)
        contents = (" ".join(digests[each] for each in of_clip) for of_clip in parts)
        hashes = (sha256(each.encode()).hexdigest()[:DIGEST_LENGTH] for each in contents)
        return tuple((each,) * self.inputs.num_segments for each in hashes)

    def frames_shown(self, sample_id: str) -> Sequence[str]:
        """The published picture in every segment."""
        ((frame_id, _),) = self.pairs_of(sample_id)
        return [frame_id] * self.inputs.num_segments

    def whole_picture(self, split: str, row: int, segment: int) -> Tensor:
        """Four frames in two rows, ``(3, 320, 320)`` uint8, or the published picture as it is."""
        made = self._mixture(split, row)
        if made is None:
            return super().whole_picture(split, row, segment)
        return self._mixed(made, SEARCHED_SIDE)

    def _mixed(self, made: Mixture, side: int) -> Tensor:
        """The four frames of a mixture, ``(3, 2 * side, 2 * side)`` uint8."""
        upper_left, upper_right, *lower = (self.picture(clip, side) for clip in made.clips)
        rows = [torch.cat([upper_left, upper_right], dim=2), torch.cat(lower, dim=2)]
        return torch.cat(rows, dim=1)

    def waveform(self, split: str, row: int) -> Tensor:
        """The sum of the isolated sounds, ``(T, S)`` float32 in [-1, 1]."""
        made = self._mixture(split, row)
        if made is None:
            ((_, sound_id),) = self.pairs_of(self.report.splits[split].ids[row])
            return self.windows(sound_id, None)
        return torch.stack([self._isolated(made, place) for place in range(SOUNDING)]).sum(0)

    def recipe_of(self, sample_id: str) -> str:
        """The draws of a mixture and how far they reach."""
        made = self._made.get(sample_id)
        if made is None:
            return sample_id
        jitter = self.settings.jitter_seconds, self.settings.jitter_db
        return f"{GENERATOR} {made} {jitter}"

    def num_sources(self, split: str, row: int) -> int:
        """Four, the silent ones included; none of a published mixture."""
        return 0 if self._mixture(split, row) is None else MIXED

    def source_waveform(self, split: str, row: int, source: int) -> Tensor:
        """The part of a source in the mixture, ``(T, S)`` float32; zeros of a silent one."""
        made = self._mixture(split, row)
        assert made is not None, "only mixtures made here have sources"
        if source < SOUNDING:
            return self._isolated(made, source)
        return torch.zeros(self.inputs.num_segments, self.inputs.segment_samples)

    def boxes(self, split: str, row: int) -> tuple[NDArray[np.float64], ...]:
        """The quadrants of the two that sound, ``(2, 4)``, of a training mixture."""
        made = self._mixture(split, row)
        if made is None or split == "test":
            return ()
        return (QUADRANTS[list(made.order[:SOUNDING])],)

    def labels(self, split: str, row: int) -> None:
        """Nothing: two instruments sound, and a segment has one class."""

    def _mixture(self, split: str, row: int) -> Mixture | None:
        return self._made.get(self.report.splits[split].ids[row])

    def _isolated(self, made: Mixture, place: int) -> Tensor:
        """Sound of one of the two, moved and weighted; both weights add up to 1."""
        clip = made.clips[made.order[place]]
        second = self.seconds_of(clip)
        assert second is not None, "a solo without a second is left out"
        shift = made.shifts[place] * self.settings.jitter_seconds
        levels = [10 ** (level * self.settings.jitter_db / 20) for level in made.levels]
        return self.windows(self.parts_of(clip)[1], second + shift) * (levels[place] / sum(levels))

    def _test_mixtures(self, solos: Solos) -> tuple[list[Mixture], str]:
        """The mixtures to test, and the name of their list."""
        config = self.settings
        if config.test_list is None:
            made = [solos.mixture(config.generator_seed, row) for row in range(config.test_clips)]
            return made, f"{GENERATOR}-seed{config.generator_seed}"
        listed = self.listed(config.test_list, "data.test_list")
        return [remade(each, solos, self._annotations) for each in listed.ids], listed.path.stem

    def _mixtures(self, split: str, clip_ids: Sequence[str]) -> list[Mixture]:
        """Mixtures of clips; none where there are no clips at all."""
        pool: dict[str, list[str]] = {}
        for clip_id in clip_ids:
            video = self.video_of(clip_id)
            pool.setdefault(self._category_of.get(video, video), []).append(clip_id)
        if not pool or (len(pool) < MIXED and split != "train"):
            return []
        if len(pool) < MIXED:
            raise BenchError(
                f"a mixture needs {MIXED} instruments, and the training list "
                f"{self._train_list.path.name} has clips of {', '.join(sorted(pool))} here; set "
                "data.train_list to another list"
            )
        config = self.settings
        count = len(clip_ids)
        if config.train_clips is not None:
            share = 1.0 if split == "train" else config.val_fraction
            count = max(1, round(config.train_clips * share))
        made = [mixture(pool, config.generator_seed, split, row) for row in range(count)]
        self._made |= {each.id: each for each in made}
        return made

    @cached_property
    def _annotations(self) -> Path:
        given = self.config.annotations
        return annotations_place(
            self.data_name, self._root, None if given is None else expanded(given)
        )

    @cached_property
    def _published(self) -> Mapping[str, tuple[str, str]]:
        """Picture and sound of each published mixture, which belong to its boxes by position."""
        if not self._annotations.is_dir():
            return {}
        boxes = [path.stem for path in box_files(self._annotations)]
        pictures = self._stems("video", IMAGES)
        sounds = self._stems("audio", SOUNDS)
        if not len(boxes) == len(pictures) == len(sounds):
            raise BenchError(
                f"{self._root}: {len(pictures)} pictures in video, {len(sounds)} sounds in audio "
                f"and {len(boxes)} files in {self._annotations.name} belong together by their "
                "position, so none may be missing; fetch the set again"
            )
        return dict(zip(boxes, zip(pictures, sounds, strict=True), strict=True))

    def _stems(self, folder: str, suffixes: tuple[str, ...]) -> list[str]:
        """Files of a published folder in order, without their suffix."""
        paths = (Path(name) for name in self._folder.names(folder))
        return [path.stem for path in paths if path.suffix in suffixes]


def _check(config: MixtureConfig) -> None:
    for key, least in (("generator_seed", 0), ("test_clips", 1), ("train_clips", 1),
                       ("jitter_seconds", 0), ("jitter_db", 0)):  # fmt: skip
        value = getattr(config, key)
        if value is not None and not least <= value < 1e9:
            raise BenchError(f"data.{key}={value} must be {least} or more")
