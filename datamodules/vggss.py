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

The folders of SSL-TIE and SSLalignment are read as well: see ``LAYOUTS``.

An id is ``<11-character video id>_<start second as 6 digits>``. The sound of a clip is the middle
of its WAV, where the annotated frame is.

sha256 of the published files::

    ae300b4a259267e6fe839970d495862edd70bfe3da63d925bcdb34054ed3b15e  vggss.json
    971081929d45caf21a148a6ca968822d96e8316331d0cc0bafb1783acb4d2c35  vggss_test.csv
    9a19023b17aedc79001bbcb69ccd5c96f6af2f7b8ef1b12fa92a76050a0ae43e  vggss_10k.txt
    a9a02f704e8bb2d746c43860e5830e7589e9311de5bd067459484ec5bb4bd529  vggss_144k.txt

Of the test clips, 3,709 stand in ``vggss_144k.txt`` and 238 in ``vggss_10k.txt``.
"""

from typing import ClassVar

from datamodules.folder_clips import FolderClips
from datamodules.layouts import FLAT, IMAGES, SOUNDS, Layout, each_suffix
from datamodules.vggss_annotations import start_second, video_of


def milliseconds_key(clip_id: str) -> str:
    """A clip as SSLalignment names it, by the milliseconds of its start and of its end.

    >>> milliseconds_key("YBd5lEnpT_8_000030")
    'YBd5lEnpT_8_30000_40000'
    """
    start = start_second(clip_id)
    return f"{video_of(clip_id)}_{1000 * start}_{1000 * (start + 10)}"


LAYOUTS = (
    FLAT,
    Layout(
        "SSL-TIE, training (datasets/dataloader.py:223 at c49e6a9)",
        ("total_video_frames/{id}/125.jpg",),
        ("total_video_3s_audio/{id}.wav",),
    ),
    Layout(
        "SSL-TIE, test (main.py at c49e6a9)",
        each_suffix("frame/{id}", *IMAGES),
        each_suffix("audio/{id}", *SOUNDS),
    ),
    Layout(
        "SSL-TIE, test, below its own folder",
        each_suffix("VGGSound_test/frame/{id}", *IMAGES),
        each_suffix("VGGSound_test/audio/{id}", *SOUNDS),
    ),
    Layout(
        "SSLalignment (datasets.py:64-65 at e7ae3c5)",
        ("VGGSound_img/{id}/image_050.jpg",),
        ("VGGSound_aud/{id}.wav",),
        milliseconds_key,
    ),
)


class VggSs(FolderClips):
    """VGG-SS; see the module's text for the folders and the lists."""

    data_name = "vggss"
    layouts = LAYOUTS
    usual_train_lists = ("vggss_144k", "vggss_10k", "train")
    usual_seconds = (9.5, 10.5)  # clips of VGG-Sound have 10 s
    obtain: ClassVar[str] = (
        "--data vggss needs a folder with frames/<id>.jpg, audio/<id>.wav and vggss.json. "
        "The boxes are in https://github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way "
        "(metadata/vggss.json); the frames and sounds are cut from your own copy of VGG-Sound, "
        "https://www.robots.ox.ac.uk/~vgg/data/vggsound/."
    )

    @staticmethod
    def video_of(clip_id: str) -> str:
        """The first 11 characters of an id."""
        return video_of(clip_id)
