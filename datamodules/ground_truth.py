"""Ground truth of a data set out of its annotation files alone, without frames or sounds.

This is all that scoring needs, so no data set is built and torch is not imported.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from datamodules.annotation_files import Annotated
from datamodules.ave_annotations import AVE_ID, ave_id, read_ave, read_ave_list
from datamodules.box_defects import box_notes
from datamodules.extended import JOINT, frame_and_sound, negative_notes, read_negatives
from datamodules.flickr_annotations import FLICKR_ID, flickr_id, read_flickr
from datamodules.id_lists import (
    LIST_ENDS,
    IdForm,
    IdList,
    check_id,
    find_list,
    first_column,
    read_id_list,
)
from datamodules.is3_annotations import IS3_ID, is3_sample, read_is3
from datamodules.masks import mask_files, read_mask
from datamodules.music_annotations import MUSIC_ID, read_music
from datamodules.music_box_files import read_box_files
from datamodules.music_lists import MUSIC_VIDEO, music_entry, youtube_id
from datamodules.music_mixtures import (
    COUNT,
    MIXTURE_ID,
    SEED,
    drawn_mixtures,
    read_mixtures,
)
from datamodules.user_paths import expanded
from datamodules.vggss_annotations import (
    VGGSS_ID,
    read_vggss,
    read_vggss_xml,
    vggsound_id,
)
from metrics.errors import BenchError, did_you_mean
from metrics.truth import Truth

FOLDER_FILES = (".xml", ".npy")  # of annotations that come as a folder of one file per sample


class GroundTruth(NamedTuple):
    """Truth of a whole test list, and what is to be told of it.

    ``name`` is the data set, or the list that was chosen; ``list_name`` always that of the list.
    ``annotations`` is the file or folder that was read, where there is one.
    """

    name: str
    truth: tuple[Truth, ...]
    notes: tuple[str, ...]
    list_name: str = ""
    annotations: Path | None = None


class Words(NamedTuple):
    """What a user writes to say where things are; for messages."""

    root: str
    annotations: str
    test_list: str
    list_setting: str  # without a value


OPTIONS = Words("--root DIR", "--annotations FILE", "--list FILE", "--list")
SETTINGS = Words("data.root=DIR", "data.annotations=FILE", "data.test_list=FILE", "data.test_list")


class VideoRows(NamedTuple):
    """How a line of a list names a video in place of all its samples."""

    form: IdForm
    of: Callable[[str], str]  # the video of a sample's id, or of such a line


class Reader(NamedTuple):
    """Where the annotations of a data set are by custom, and how they are read.

    Attributes:
        form: of an id.
        names: of the annotation file, or folder, under the data root or its ``metadata``.
        source: where they are published.
        read: truth at a path; of the given ids where it is a folder, else of all.
        is_folder: whether the annotations are a folder.
        folders: of annotations in place of the file, sought where it is not found.
        test_list: usual file of the test ids, taken where it is found; None where all are tested.
        negatives: file of the negatives of an extended set.
        sample: what an id alone says of a sample.
        lists: short names of published training lists, and the stems of their files.
        test_lists: the same of test lists; a name may stand in both, for two files.
        spell: the id in a line of a list, which may be a path, have a suffix or further columns.
        videos: how a list names videos; None where it names samples only.
        list_ends: suffixes of list files, which a user may leave out.
        read_list: reads a list that refers to the annotations, given beside it; None for text.
        draw: makes samples of the annotations by settings of the data set, where no list is given.
        settings: which settings these are.
        holds_training: whether the annotations hold training clips, so that a test list is needed.
    """

    form: IdForm
    names: tuple[str, ...]
    read: Callable[[Path, Sequence[str] | None], Annotated]
    source: str = "the release"
    is_folder: bool = False
    folders: tuple[str, ...] = ()
    test_list: str | None = None
    negatives: str | None = None
    sample: Callable[[str], Truth] = lambda sample_id: Truth(sample_id, ())
    lists: Mapping[str, str] = MappingProxyType({})
    test_lists: Mapping[str, str] = MappingProxyType({})
    spell: Callable[[str], str] = first_column
    videos: VideoRows | None = None
    list_ends: tuple[str, ...] = LIST_ENDS
    read_list: Callable[[Path, Path], IdList] | None = None
    draw: Callable[[Path, Mapping[str, object]], Annotated] | None = None
    settings: tuple[str, ...] = ()
    holds_training: bool = False

    @property
    def list_form(self) -> IdForm:
        """What stands in a list: an id or, where lists name them, a video."""
        if self.videos is None:
            return self.form
        pattern = f"({self.videos.form.pattern.pattern})|({self.form.pattern.pattern})"
        return IdForm(re.compile(pattern), f"{self.videos.form.words} or {self.form.words}")


_VGGSS = Reader(
    VGGSS_ID,
    ("vggss.json",),
    lambda path, ids: Annotated(read_vggss_xml(path, ids) if path.is_dir() else read_vggss(path)),
    source="https://github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way (metadata)",
    folders=("anno", "VGGSound_test/anno"),
    lists={
        "10k": "vggss_10k",
        "144k": "vggss_144k",
        "heard": "vggss_heard",
    },
    test_lists={
        "test": "vggss_test",
        "heard": "vggss_heard_test",
        "unheard": "vggss_unheard_test",
    },
    spell=vggsound_id,
)
_FLICKR = Reader(
    FLICKR_ID,
    ("Annotations", "anno"),
    read_flickr,
    source="https://github.com/ardasnck/learning_to_localize_sound_source",
    is_folder=True,
    test_list="flickr_test.csv",
    lists={"10k": "flickr_10k", "144k": "flickr_144k"},
    test_lists={
        "249": "flickr_test",
        "250": "flickr_test_plus_silent",
        "250_original": "ssl_test_list",
    },
    spell=flickr_id,
)
_MUSIC_SOLO = Reader(
    MUSIC_ID,
    ("solotest.json",),
    lambda path, ids: read_music(path),
    source="https://github.com/DTaoo/Discriminative-Sounding-Objects-Localization",
    lists={
        "training_1": "solo_training_1",
        "training_2": "solo_training_2",
        "validation": "solo_validation",
        "pairs": "solo_pairs",
        "music": "MUSIC_solo_videos.json",
        "music21": "MUSIC21_solo_videos.json",
    },
    test_lists={"testing": "solo_testing"},
    spell=music_entry,
    videos=VideoRows(MUSIC_VIDEO, youtube_id),
)
READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "vggss": _VGGSS,
        "vggss_extended": _VGGSS._replace(negatives="vggss_test_plus_silent.csv"),
        "flickr": _FLICKR,
        "flickr_extended": _FLICKR._replace(
            test_list="flickr_test_plus_silent.csv",  # its 250 frames: SLAVC datasets.py:290-303
            negatives="flickr_test_plus_silent.csv",
        ),
        "is3": Reader(
            IS3_ID,
            ("IS3_annotation.json", "synthetic3240_bbox.json"),
            lambda path, ids: read_is3(path),
            source="https://github.com/kaistmm/SSLalignment",
            sample=is3_sample,
        ),
        "ave": Reader(
            AVE_ID,
            ("Annotations.txt",),
            lambda path, ids: read_ave(path),
            source="https://github.com/YapengTian/AVE-ECCV18 (data)",
            test_list="test_order.h5",
            lists={"train": "train_order", "val": "val_order"},
            test_lists={"test": "test_order"},
            spell=ave_id,
            list_ends=(".h5", *LIST_ENDS),
            read_list=read_ave_list,
            holds_training=True,
        ),
        "music_solo": _MUSIC_SOLO,
        "music_duet": _MUSIC_SOLO._replace(
            names=("duettest.json",),
            lists={
                "train": "duet_pairs_train",
                "music": "MUSIC_duet_videos.json",
            },
            test_lists={"val": "duet_pairs_val"},
        ),
        "music_synthetic": Reader(
            MIXTURE_ID,
            _MUSIC_SOLO.names,
            lambda path, ids: (read_box_files if path.is_dir() else read_mixtures)(path, ids),
            source=_MUSIC_SOLO.source,
            folders=("box",),
            draw=drawn_mixtures,
            settings=(SEED, COUNT),
            lists=_MUSIC_SOLO.lists,
            test_lists=_MUSIC_SOLO.test_lists,
        ),
    }
)


def ground_truth(
    data: str,
    *,
    root: Path | None = None,
    annotations: Path | None = None,
    test_list: Path | None = None,
    words: Words = OPTIONS,
    settings: Mapping[str, object] = MappingProxyType({}),
) -> GroundTruth:
    """Boxes, masks or classes of segments of a test list, from the files that people have.

    Args:
        data: one of ``READERS``.
        root: data root, where the annotations and lists are sought by their usual names.
        annotations: file or folder to read instead. A folder without the usual file in it that
            holds PNG files is one of masks, whatever the data set.
        test_list: file of the ids to keep, in its order; the first column counts, and the suffix
            of a frame, video or sound is dropped. A bare name is sought in the root, and may be
            one of ``Reader.test_lists``. A line of a list of MUSIC may be a video and stands for
            all its annotated frames. A list without a negative stands for those of its frames as
            well. Without a list, all that is annotated, and for Flickr what ``flickr_test.csv``
            lists where that is found, or the frames of the negatives of the extended set.
        words: of messages.
        settings: those of ``Reader.settings`` that differ from their defaults.

    Returns:
        Truth of the list; the negatives of an extended set follow its positives.

    Raises:
        BenchError: no such data set; a file is missing or malformed; a listed id is not annotated.
            The message names file and id, and the option that mends it.
    """
    reader = _reader(data)
    root, annotations, test_list = (
        None if path is None else expanded(path) for path in (root, annotations, test_list)
    )
    place = annotations_place(data, root, annotations, words)
    masks = mask_files(place) if place == annotations and place.is_dir() else {}
    listed = _listed(reader, root, place, test_list, words, usual=not masks)
    wanted = None if listed is None else _wanted(listed, masks, reader)
    if masks:
        positives = _masked(masks, wanted, reader, root, place)
    elif place.is_dir() and not _is_read_as_folder(reader, place):
        raise BenchError(
            f"{place} holds neither {' nor '.join(reader.names)} nor <id>.png masks; "
            f"give {words.annotations}"
        )
    elif listed is None and reader.draw is not None and place.is_file():
        positives = reader.draw(place, settings)
    else:
        positives = reader.read(place, wanted)
    negatives = _negatives(reader, root, place, words)
    truth = (*positives.truth, *negatives)
    notes = _list_notes(reader, listed, masks)
    if listed is not None:
        ids, added = _with_negatives(listed, [each.id for each in negatives])
        ids, gaps = _with_members(ids, [each.id for each in truth], reader, listed.path)
        notes += (*added, *gaps)
        truth = _chosen(truth, ids, listed.path, place, words)
    notes += (*positives.notes, *_truth_notes(truth, positives))
    list_name = place.stem if listed is None else listed.path.stem
    name = data if test_list is None else test_list.stem
    return GroundTruth(name, truth, notes, list_name, place)


def find_named_list(root: Path, data: str, name: str, setting: str) -> Path:
    """The list file that a user names: a short name, a file of the root, or any path.

    Raises:
        BenchError: no such file; the message names the setting, the paths that were tried and the
            short names.
    """
    reader = READERS[data]
    lists = {**reader.lists, **reader.test_lists, **reader.lists}  # training lists first and last
    try:
        return find_list(root, lists.get(name, name), setting, reader.list_ends)
    except BenchError as error:
        known = f"; short names are {', '.join(lists)}" if lists else ""
        raise BenchError(f"{error}{known}") from error


def _reader(data: str) -> Reader:
    if data not in READERS:
        raise BenchError(
            f"no annotations can be read for data set {data!r}.{did_you_mean(data, READERS)} "
            f"Known: {', '.join(READERS)}."
        )
    return READERS[data]


def annotations_place(
    data: str, root: Path | None, given: Path | None, words: Words = SETTINGS
) -> Path:
    """The usual file or folder of annotations, or what was given.

    Raises:
        BenchError: it does not exist, or it is a file where a folder is needed.
    """
    reader = _reader(data)
    if root is not None and not root.is_dir():
        raise BenchError(f"{root} is not a folder; give {words.root}")
    if given is not None and not given.is_dir():
        if not given.is_file():
            raise BenchError(f"{given} does not exist; give {words.annotations} or DIR")
        if reader.is_folder:
            folder = words.annotations.replace("FILE", "DIR")
            raise BenchError(f"{given} is a file; --data {data} needs {folder}")
        return given
    found = _usual(reader, _folders(root, None) if given is None else [given])
    if found is not None:
        return found
    if given is not None:
        return given
    if root is not None and words is SETTINGS:
        raise BenchError(
            f"{root / reader.names[0]} is missing; put {reader.names[0]} of {reader.source} there, "
            f"or set {words.annotations}"
        )
    where = f"no {words.root} is given" if root is None else f"{root} holds none"
    raise BenchError(
        f"--data {data} is scored against {' or '.join(reader.names)}, and {where}; "
        f"give {words.annotations} or DIR"
    )


def _usual(reader: Reader, folders: Sequence[Path]) -> Path | None:
    files = (folder / name for folder in folders for name in reader.names)
    found = [path for path in files if path.exists() and path.is_dir() == reader.is_folder]
    found += [folder / name for folder in folders for name in reader.folders
              if (folder / name).is_dir()]  # fmt: skip
    return found[0] if found else None


def _is_read_as_folder(reader: Reader, place: Path) -> bool:
    """Whether a folder holds annotations of its own kind; else it may hold masks."""
    is_annotated = any(path.suffix in FOLDER_FILES for path in place.iterdir())
    return reader.is_folder or (bool(reader.folders) and is_annotated)


def _folders(root: Path | None, place: Path | None) -> list[Path]:
    """Where files are sought by their usual names: in the root, and beside the annotations."""
    folders = [] if root is None else [root, root / "metadata"]
    return folders if place is None else [*folders, place.parent, place]


def _listed(
    reader: Reader,
    root: Path | None,
    place: Path,
    given: Path | None,
    words: Words,
    *,
    usual: bool,
) -> IdList | None:
    """The ids to keep: those of the given list, else of the usual one where there is any."""
    form = reader.list_form
    if given is not None:
        if reader.negatives is not None:
            pair = re.compile(rf"({form.pattern.pattern})(\+({form.pattern.pattern}))?")
            form = IdForm(pair, f"{form.words}, or two of them joined by {JOINT}")
        name = {**reader.lists, **reader.test_lists}.get(str(given), str(given))
        path = given
        if not given.is_file():
            path = find_list(root or Path(), name, words.list_setting, reader.list_ends)
        return _read_list(reader, path, form, place)
    if not usual or reader.test_list is None:
        return None
    paths = [folder / reader.test_list for folder in _folders(root, place)]
    found = next((path for path in paths if path.is_file()), None)
    if found is None and reader.holds_training:
        raise BenchError(
            f"{place} holds training clips too, and no {reader.test_list} lies beside it or in "
            f"{words.root}; put it there, or give {words.test_list}"
        )
    return None if found is None else _read_list(reader, found, form, place)


def _read_list(reader: Reader, path: Path, form: IdForm, place: Path) -> IdList:
    if reader.read_list is not None:
        return reader.read_list(path, place)
    return read_id_list(path, form, id_of=reader.spell)


def _masked(
    masks: Mapping[str, Path],
    wanted: Sequence[str] | None,
    reader: Reader,
    root: Path | None,
    place: Path,
) -> Annotated:
    """Masks of the given ids that are there, or of all, with what else is known of them."""
    for sample_id, path in masks.items():
        check_id(sample_id, reader.form, str(path))
    usual = None if reader.is_folder else _usual(reader, _folders(root, None))
    known = {} if usual is None else {each.id: each for each in reader.read(usual, None).truth}
    ids = list(masks) if wanted is None else [each for each in wanted if each in masks]
    described = (known.get(each) or reader.sample(each) for each in ids)
    truth = tuple(
        Truth(each.id, (), mask=read_mask(masks[each.id]), category=each.category, frame=each.frame)
        for each in described
    )
    return Annotated(truth, (f"masks of {place} in place of boxes",))


def _negatives(reader: Reader, root: Path | None, place: Path, words: Words) -> tuple[Truth, ...]:
    if reader.negatives is None:
        return ()
    paths = [folder / reader.negatives for folder in _folders(root, place)]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise BenchError(
            f"the negatives are in {reader.negatives}, which is neither beside {place} nor in "
            f"{words.root}; fetch it from https://github.com/stoneMo/SLAVC (metadata)"
        )
    return read_negatives(found, reader.form)


def _with_negatives(
    listed: IdList, negatives: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Listed ids and the negatives of their frames, and what is to be told of these.

    A list that names a negative is taken as it is.
    """
    if not negatives or any(JOINT in each for each in listed.ids):
        return listed.ids, ()
    frames = set(listed.ids)
    added = [each for each in negatives if frame_and_sound(each)[0] in frames]
    note = f"{listed.path.name} is tested with {len(added)} of {len(negatives)} negatives"
    note += ", those of its frames"
    return (*listed.ids, *added), (note,)


def _wanted(listed: IdList, masks: Mapping[str, Path], reader: Reader) -> list[str] | None:
    """What has to be read for a list; None where only the annotations tell."""
    ids: Sequence[str] = listed.ids
    if reader.videos is not None:
        if not masks:
            return None
        ids, _ = _with_members(listed.ids, list(masks), reader, listed.path)
    return [each for each in ids if JOINT not in each]


def _with_members(
    ids: tuple[str, ...], annotated: Sequence[str], reader: Reader, listed: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids with every video replaced by its samples, and what is to be told of videos without."""
    videos = reader.videos
    if videos is None:
        return ids, ()
    members: dict[str, list[str]] = {}
    for each in annotated:
        members.setdefault(videos.of(each), []).append(each)
    named = [each for each in ids if videos.form.pattern.fullmatch(each)]
    empty = [each for each in named if videos.of(each) not in members]
    if empty and len(empty) == len(ids):
        raise BenchError(f"{listed}: none of its {len(ids)} videos has an annotated frame")
    whole = set(named)
    found = (members.get(videos.of(each), []) if each in whole else [each] for each in ids)
    note = f"{listed.name}: {len(empty)} of {len(named)} videos have no annotated frame"
    return tuple(dict.fromkeys(one for each in found for one in each)), (note,) if empty else ()


def _chosen(
    truth: Sequence[Truth], ids: Sequence[str], listed: Path, place: Path, words: Words
) -> tuple[Truth, ...]:
    by_id = {sample.id: sample for sample in truth}
    unknown = [each for each in ids if each not in by_id]
    if unknown:
        raise BenchError(
            f"{listed}: {len(unknown)} of {len(ids)} ids are not annotated in {place}, the first "
            f"is {unknown[0]}; correct {words.test_list} or {words.annotations}"
        )
    return tuple(by_id[each] for each in ids)


def _list_notes(
    reader: Reader, listed: IdList | None, masks: Mapping[str, Path]
) -> tuple[str, ...]:
    if listed is not None and listed.duplicates:
        return (f"{listed.path.name}: {listed.duplicates} repeated ids left out",)
    if listed is None and reader.test_list is not None and not masks:
        return (f"no {reader.test_list} was found, so every annotated frame is tested",)
    return ()


def _truth_notes(truth: Sequence[Truth], annotated: Annotated) -> tuple[str, ...]:
    """Defects of the boxes, empty masks, and what the negatives are."""
    boxed = [each for each in truth if each.has_place and each.mask is None]
    masks = {each.id: each.mask for each in truth if each.mask is not None}
    empty = [sample_id for sample_id, mask in masks.items() if not np.any(mask)]
    notes = box_notes(boxed)
    if empty:
        notes += (f"{len(empty)} of {len(masks)} masks mark nothing, the first is {empty[0]}",)
    classes = {each.id: each.category for each in annotated.truth}
    return notes + negative_notes((each for each in truth if not each.on_screen), classes)
