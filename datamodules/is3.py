"""IS3: 3,240 composed frames of two objects, each with the sound of one of them and of the other.

Paper: Senocak, Ryu, Kim, Oh, Pfister, Chung, "Sound Source Localization is All about Cross-Modal
Alignment", ICCV 2023. Boxes: ``synthetic3240_bbox.json`` of
https://github.com/kaistmm/SSLalignment at e7ae3c5 (no licence file: link, do not redistribute); the
frames and sounds come with the release that its README links.

::

    <root>/visual_frames/<id>.jpg    <root>/audio_wav/<id>.wav    as its boxes name them, or
    <root>/frames/<id>.jpg           <root>/audio/<id>.wav        flat folders
    <root>/synthetic3240_bbox.json   or IS3_annotation.json

An id is ``<objects of the frame>_<number>_<object that sounds>``. There are 6,480 samples, two for
each frame, which interactive IoU (``iiou@0.5``) takes together. No training list was published: a
list ``train.txt`` of further clips in the same folders trains, where you have one.
"""

from typing import ClassVar

from datamodules.folder_clips import FolderClips
from datamodules.is3_annotations import is3_sample
from datamodules.layouts import FLAT, IMAGES, SOUNDS, Layout, each_suffix


class Is3(FolderClips):
    """IS3; see the module's text for the folders."""

    data_name = "is3"
    layouts = (
        Layout(
            "SSLalignment (synthetic3240_bbox.json at e7ae3c5)",
            each_suffix("visual_frames/{id}", *IMAGES),
            each_suffix("audio_wav/{id}", *SOUNDS),
        ),
        FLAT,
    )
    obtain: ClassVar[str] = (
        "--data is3 needs a folder with visual_frames/<id>.jpg, audio_wav/<id>.wav and "
        "synthetic3240_bbox.json; all three are linked from "
        "https://github.com/kaistmm/SSLalignment."
    )

    @staticmethod
    def video_of(clip_id: str) -> str:
        """The composed frame: both of its samples are one video."""
        return is3_sample(clip_id).frame or clip_id
