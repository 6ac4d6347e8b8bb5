"""VGG-SS: 5,158 VGG-Sound clips with boxes of what sounds, and the lists that people train on.

Paper: Chen, Xie, Afouras, Nagrani, Vedaldi, Zisserman, "Localizing Visual Sounds the Hard Way",
CVPR 2021. Boxes: https://github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way at 8fe8cbb
(``metadata/vggss.json``, Apache-2.0); lists: https://github.com/stoneMo/EZ-VSL at 95ff5bf
(``metadata/``, Apache-2.0). Frames and sounds come from your own copy of VGG-Sound (CC BY 4.0,
https://www.robots.ox.ac.uk/~vgg/data/vggsound/); its videos stay under their owners' terms.

::

    <root>/frames/<id>.jpg          or .png: frame 125 of the 10-s clip at 25 fps, any size
    <root>/audio/<id>.wav           the whole clip, any rate, any number of channels
    <root>/vggss.json               here or in <root>/metadata, as the lists
    <root>/vggss_144k.txt           one id per line

An id is ``<11-character video id>_<start second as 6 digits>``. The sound of a clip is the middle
of its WAV, where the annotated frame is.

sha256 of the published files::

    ae300b4a259267e6fe839970d495862edd70bfe3da63d925bcdb34054ed3b15e  vggss.json
    971081929d45caf21a148a6ca968822d96e8316331d0cc0bafb1783acb4d2c35  vggss_test.csv
    9a19023b17aedc79001bbcb69ccd5c96f6af2f7b8ef1b12fa92a76050a0ae43e  vggss_10k.txt
    a9a02f704e8bb2d746c43860e5830e7589e9311de5bd067459484ec5bb4bd529  vggss_144k.txt

Of the test clips, 3,709 stand in ``vggss_144k.txt`` and 238 in ``vggss_10k.txt``. A clip is
excluded from a split by rule, never replaced: training clips of test videos, clips without a frame
or a sound, clips whose files cannot be read. The report counts and names them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

from torch import Tensor

from datamodules.base import ClipData, DataConfig, DataReport, Split
from datamodules.clip import Inputs
from datamodules.clip_folder import MINIATURE_MARK, ClipFolder
from datamodules.id_lists import IdList, find_list, is_held_out, leakage, read_id_list
from datamodules.media import UnreadableMediaError, read_frame, read_sound
from datamodules.vggss_annotations import VGGSS_ID, annotation_notes, read_vggss, video_of
from metrics.errors import BenchError
from metrics.truth import Truth

TRAIN_LISTS = ("vggss_144k", "vggss_10k", "train")  # the first one found is the default
SAMPLE_COMMAND = "bench sample-data vggss --root DIR"
NO_ROOT = (
    "data.root is not set: --data vggss needs a folder with frames/<id>.jpg, audio/<id>.wav and "
    "vggss.json. The boxes are in https://github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way "
    "(metadata/vggss.json); the frames and sounds are cut from your own copy of VGG-Sound, "
    "https://www.robots.ox.ac.uk/~vgg/data/vggsound/; then add data.root=DIR. Without a download, "
    f"make a miniature with: {SAMPLE_COMMAND}; or run on --data synthetic."
)


@dataclass
class VggSsConfig(DataConfig):
    """Settings ``data.*`` of VGG-SS."""

    annotations: str | None = None  # path; else vggss.json in the root or its metadata/
    train_list: str | None = None  # vggss_10k, vggss_144k or a path; else the first of TRAIN_LISTS
    test_list: str | None = None  # name or path; else every clip of vggss.json
    verify: bool = True  # decode every listed file once before it is used


class VggSs(ClipData):
    """VGG-SS in the flat layout; see the module's text for the folders and the rules."""

    Config: ClassVar[type[DataConfig]] = VggSsConfig
    config: VggSsConfig

    def __init__(self, config: VggSsConfig, inputs: Inputs, *, seed: int) -> None:
        """Checks the settings and reads nothing.

        Raises:
            BenchError: a setting is out of range, or the method asks for several segments.
        """
        super().__init__(config, inputs, seed=seed)
        if inputs.num_segments != 1:
            raise BenchError(
                f"vggss has one frame per clip, but this method needs {inputs.num_segments} "
                "segments; choose other data with --data (see: bench list data)"
            )
        if config.limit is not None and config.limit < 1:
            raise BenchError(f"data.limit={config.limit} must be 1 or more")
        if not 0 <= config.val_fraction < 1:
            raise BenchError(f"data.val_fraction={config.val_fraction} must lie in [0, 1)")

    def load(self) -> DataReport:
        """Lists, exclusions and leakage.

        Leakage is counted on the lists as they are written, before any exclusion. Its clips leave
        the training list first, then clips without files, then unreadable ones, then the rest
        after ``data.limit``. With a limit, files are verified only until it is reached.

        Raises:
            BenchError: the root, a folder, the annotations or a list is missing or malformed, or
                no test clip has its files.
        """
        test_list, train_list = self._test_list(), self._train_list()
        leaks = leakage(train_list.ids, test_list.ids, video_of)
        removed = frozenset() if self.config.allow_leakage else leaks.rows
        test = self._part(test_list.ids)
        if len(test.missing) == len(test_list.ids):
            raise BenchError(
                f"none of the {len(test_list.ids)} test clips of {test_list.path} has its files "
                f"frames/<id>.jpg|png and audio/<id>.wav in {self._root}; check data.root and "
                "data.test_list"
            )
        leaked = frozenset(train_list.ids[row] for row in leaks.rows)
        kept = [i for row, i in enumerate(train_list.ids) if row not in removed]
        train = self._train_parts(kept, leaked)
        return DataReport(
            splits={
                **{name: _split(name, part.ids, {}) for name, part in train.items()},
                "test": _split("test", test.ids, self._annotated),
            },
            n_expected=len(test_list.ids),
            missing=test.missing,
            unreadable=test.unreadable,
            train_missing=tuple(i for part in train.values() for i in part.missing),
            train_unreadable={i: r for part in train.values() for i, r in part.unreadable.items()},
            leaked_clips=leaks.clips,
            leaked_videos=leaks.videos,
            removed_for_leakage=len(removed),
            is_miniature=(self._root / MINIATURE_MARK).exists(),
            notes=(
                *annotation_notes(self._annotated[i] for i in test_list.ids),
                *_list_notes(test_list, train_list),
            ),
        )

    def truth(self) -> tuple[Truth, ...]:
        """Boxes and class of the test split, one row per clip."""
        return tuple(self._annotated[clip_id] for clip_id in self.report.splits["test"].ids)

    def frames(self, split: str, row: int) -> Tensor:
        """The frame of a clip, ``(1, 3, H, W)`` uint8."""
        path = self._folder.frame(self.report.splits[split].ids[row])
        try:
            return read_frame(path, self.inputs.image_size)[None]
        except UnreadableMediaError as error:
            raise _late_failure(path, error) from error

    def waveform(self, split: str, row: int) -> Tensor:
        """The sound around the frame of a clip, ``(1, S)`` float32 in [-1, 1]."""
        path = self._folder.sound(self.report.splits[split].ids[row])
        try:
            return read_sound(path, self.inputs.sample_rate_hz, self.inputs.segment_samples)[None]
        except UnreadableMediaError as error:
            raise _late_failure(path, error) from error

    @property
    def _root(self) -> Path:
        if self.config.root is None:
            raise BenchError(NO_ROOT)
        return Path(self.config.root).expanduser()

    @cached_property
    def _folder(self) -> ClipFolder:
        return ClipFolder(self._root, SAMPLE_COMMAND)

    @cached_property
    def _annotations(self) -> Path:
        if self.config.annotations is not None:
            candidates = [Path(self.config.annotations).expanduser()]
        else:
            candidates = [self._root / "vggss.json", self._root / "metadata" / "vggss.json"]
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            raise BenchError(
                f"{candidates[0]} is missing; put vggss.json of "
                "https://github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way there, or set "
                "data.annotations=FILE"
            )
        return found

    @cached_property
    def _annotated(self) -> dict[str, Truth]:
        return {truth.id: truth for truth in read_vggss(self._annotations)}

    def _test_list(self) -> IdList:
        folder = self._folder  # a wrong root is reported before a file missing in it
        if self.config.test_list is None:
            return IdList(self._annotations, tuple(self._annotated), 0)
        path = find_list(folder.root, self.config.test_list, "data.test_list")
        test_list = read_id_list(path, VGGSS_ID)
        unknown = [clip_id for clip_id in test_list.ids if clip_id not in self._annotated]
        if unknown:
            raise BenchError(
                f"{path}: {len(unknown)} ids have no boxes in {self._annotations}, the first is "
                f"{unknown[0]}; correct data.test_list or data.annotations"
            )
        return test_list

    def _train_list(self) -> IdList:
        """The training list; empty where the setting is unset and no usual list is there."""
        if self.config.train_list is not None:
            path = find_list(self._root, self.config.train_list, "data.train_list")
            return read_id_list(path, VGGSS_ID)
        usual = [self._root / below / f"{n}.txt" for n in TRAIN_LISTS for below in ("", "metadata")]
        found = next((path for path in usual if path.is_file()), None)
        return IdList(self._root, (), 0) if found is None else read_id_list(found, VGGSS_ID)

    def _train_parts(self, clip_ids: Sequence[str], leaked: frozenset[str]) -> dict[str, "_Part"]:
        """Training and validation clips; one of a test video never validates."""
        if not self.config.val_fraction:
            return {"train": self._part(clip_ids)}
        val = [
            clip_id
            for clip_id in clip_ids
            if clip_id not in leaked and is_held_out(video_of(clip_id), self.config.val_fraction)
        ]
        held_out = set(val)
        train = [clip_id for clip_id in clip_ids if clip_id not in held_out]
        return {"train": self._part(train), "val": self._part(val)}

    def _part(self, clip_ids: Sequence[str]) -> "_Part":
        """The clips of a list that can be used, up to the limit."""
        present = [clip_id for clip_id in clip_ids if clip_id in self._folder]
        missing = tuple(clip_id for clip_id in clip_ids if clip_id not in self._folder)
        limit = len(present) if self.config.limit is None else self.config.limit
        if not self.config.verify:
            return _Part(tuple(present[:limit]), missing, {})
        usable: list[str] = []
        unreadable: dict[str, str] = {}
        while present and len(usable) < limit:
            tried, present = present[: limit - len(usable)], present[limit - len(usable) :]
            defects = self._folder.defects(tried)
            usable += [clip_id for clip_id in tried if clip_id not in defects]
            unreadable |= defects
        return _Part(tuple(usable), missing, unreadable)


class _Part(NamedTuple):
    """What is left of a list, and what is not."""

    ids: tuple[str, ...]
    missing: tuple[str, ...]
    unreadable: dict[str, str]


def _split(name: str, ids: tuple[str, ...], annotated: Mapping[str, Truth]) -> Split:
    """Rows of a split; training clips have no class, whatever the annotations know."""
    videos = tuple(video_of(clip_id) for clip_id in ids)
    categories = tuple(annotated[i].category if i in annotated else None for i in ids)
    return Split(name, ids, videos, categories)


def _list_notes(test_list: IdList, train_list: IdList) -> tuple[str, ...]:
    notes = []
    for use, listed in (("test", test_list), ("training", train_list)):
        if not listed.ids:
            notes.append(f"no {use} list: none of {', '.join(TRAIN_LISTS)} (.txt) is in data.root")
        elif listed.duplicates:
            notes.append(
                f"{use} list {listed.path.name}: {listed.duplicates} repeated ids left out"
            )
    return tuple(notes)


def _late_failure(path: Path, error: UnreadableMediaError) -> BenchError:
    return BenchError(
        f"{path} cannot be read: {error}; replace the file, or run with data.verify=true, which "
        "excludes and reports unreadable clips"
    )
