"""Flickr-SoundNet: pairs of a frame and a sound, of which 5,000 have boxes by three people each.

Paper: Senocak, Oh, Kim, Yang, Kweon, "Learning to Localize Sound Source in Visual Scenes", CVPR
2018. Annotated pairs: the SSL data set, https://github.com/ardasnck/learning_to_localize_sound_source
(terms of its README: research). Lists: https://github.com/stoneMo/EZ-VSL at 95ff5bf and
https://github.com/stoneMo/SLAVC at 05b429c (``metadata/``, Apache-2.0). The media are Flickr videos
under their owners' terms; HTF could fetch 178 of the 250 test videos in 2023.

::

    <root>/frames/<id>.jpg          <root>/audio/<id>.wav       EZ-VSL, LVS, SLAVC
    <root>/Data/<digit>/<id>.jpg    <root>/Data/<digit>/<id>.wav    the archive of the SSL data set
    <root>/Annotations/<id>.xml     see :mod:`datamodules.flickr_annotations`
    <root>/flickr_test.csv          the 249 test ids of most papers; without it all XML is tested
    <root>/flickr_144k.txt          one id per line

The folders of FNAC, SSL-TIE and SSLalignment are read as well: see ``LAYOUTS``. The sound features
in MATLAB files of the authors' own code are no sound: put ``<id>.wav`` beside them.

Test lists differ by a clip and have names of their own: ``249``; ``250``, with 3908875350 (SLAVC,
SSLalignment, out of ``flickr_test_plus_silent.csv``); ``250_original``, with 3908875357 instead
(``ssl_test_list.txt`` of the authors). ``flickr_144k.txt`` holds 20 of them, ``flickr_10k.txt`` 1.

Supervision: ``data.labelled`` is a list of annotated pairs, or a number N, which stands for the
first N by sha256(id) of the pairs that all three annotators marked and that are in no test list:
2,500 in the paper. ``data.unlabelled`` adds pairs without boxes; both are mixed as they come.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from datamodules.flickr_annotations import ANNOTATORS, read_flickr
from datamodules.folder_clips import FolderClips
from datamodules.ground_truth import READERS
from datamodules.id_lists import IdList, first_by_hash, read_id_list
from datamodules.layouts import FLAT, IMAGES, SOUNDS, Layout, each_suffix
from metrics.errors import BenchError
from metrics.truth import Truth

LAYOUTS = (
    FLAT,
    Layout(
        "the SSL data set",
        each_suffix("Data/*/{id}", *IMAGES),
        each_suffix("Data/*/{id}", *SOUNDS),
    ),
    Layout(
        "SSL-TIE (datasets/dataloader.py:111-140 at c49e6a9)",
        ("frame/{id}.jpg",),
        each_suffix("mp3/{id}", ".mp3", ".wav"),
    ),
    Layout(
        "SSLalignment (datasets.py at e7ae3c5)",
        ("frames_250/{id}.jpg",),
        ("audio_250/{id}.wav",),
    ),
    Layout(
        "the authors' code and SSLalignment (datasets_lvs.py:111-116 at e7ae3c5)",
        ("{id}.mp4/*.jpg",),
        ("{id}.wav", "{id}.mp4/{id}.wav"),
    ),
    Layout("FNAC (datasets.py:390-393 at 0a0ca78)", each_suffix("{id}", *IMAGES),
           each_suffix("{id}", *SOUNDS)),
)  # fmt: skip


class Flickr(FolderClips):
    """Flickr-SoundNet; see the module's text for the folders and the lists."""

    data_name = "flickr"
    layouts = LAYOUTS
    usual_train_lists = ("flickr_144k", "flickr_10k", "train")
    usual_seconds = (3.0, float("inf"))  # a shorter sound is repeated to fill a window
    obtain: ClassVar[str] = (
        "--data flickr needs a folder with frames/<id>.jpg, audio/<id>.wav, Annotations/<id>.xml "
        "and flickr_test.csv. The annotated pairs are linked from "
        "https://github.com/ardasnck/learning_to_localize_sound_source, the lists are in "
        "https://github.com/stoneMo/EZ-VSL (metadata)."
    )

    @staticmethod
    def video_of(clip_id: str) -> str:
        """The number itself: one pair per video."""
        return clip_id

    def labelled_list(self) -> IdList | None:
        """The annotated pairs that ``data.labelled`` names, or the first N of the 2.5k rule."""
        chosen = self.config.labelled
        if chosen is None:
            return None
        if not chosen.isdecimal():
            return self.listed(chosen, "data.labelled")
        eligible = self._eligible()
        if len(eligible) < int(chosen):
            raise BenchError(
                f"data.labelled={chosen}: {len(eligible)} pairs are marked by all three annotators "
                f"and in no test list; set data.labelled={len(eligible)} or less"
            )
        return IdList(Path(f"labelled_{chosen}"), first_by_hash(eligible, int(chosen)), 0)

    def labelled_boxes(self, clip_ids: Sequence[str]) -> Mapping[str, Truth]:
        """Boxes of three annotators of the given pairs that have an XML file."""
        named = self._annotated(clip_ids)
        return {truth.id: truth for truth in read_flickr(self._annotations, named).truth}

    def annotation_notes(self) -> tuple[str, ...]:
        """What is to be told of the lists and annotations, listed pairs without boxes included."""
        return (*super().annotation_notes(), *self._labelled_notes())

    def _labelled_notes(self) -> tuple[str, ...]:
        listed = self._labelled_list
        if listed is None or not self.annotated():
            return ()
        boxless = set(listed.ids).difference(self._annotated(listed.ids))
        if not boxless:
            return ()
        first = next(each for each in listed.ids if each in boxless)
        return (
            f"data.labelled={self.config.labelled}: {len(boxless)} of {len(listed.ids)} pairs have "
            f"no <id>.xml and train without boxes, the first is {first}",
        )

    def _annotated(self, clip_ids: Sequence[str]) -> list[str]:
        """Those that have an XML file."""
        return [each for each in clip_ids if (self._annotations / f"{each}.xml").is_file()]

    @property
    def _annotations(self) -> Path:
        """The folder of XML files that the test list was read from."""
        path = self._ground_truth.annotations
        assert path is not None, "Flickr-SoundNet is never without a folder"
        return path

    def _eligible(self) -> list[str]:
        """Pairs that all annotators marked, without those of any test list."""
        tested = {part for truth in self._ground_truth.truth for part in self.parts_of(truth.id)}
        for path in self._test_list_files():
            reader = READERS[self.data_name]
            tested |= set(read_id_list(path, reader.form, id_of=reader.spell).ids)
        return [
            truth.id
            for truth in read_flickr(self._annotations).truth
            if truth.id not in tested and marked_by_all(truth)
        ]

    def _test_list_files(self) -> list[Path]:
        """Every published test list that is in the root."""
        stems = READERS[self.data_name].test_lists.values()
        places = (path for stem in stems for path in self._list_files(stem))
        return [place for place in places if place.is_file()]


def marked_by_all(truth: Truth) -> bool:
    """Whether each of the three annotators drew a box."""
    return sum(len(boxes) > 0 for boxes in truth.boxes) >= ANNOTATORS
