"""Extended Flickr-SoundNet: the 250 test pairs, and 250 frames with a sound that is not of them.

Paper: Mo and Morgado, "A Closer Look at Weakly-Supervised Audio-Visual Source Localization",
NeurIPS 2022. Negatives: https://github.com/stoneMo/SLAVC at 05b429c
(``metadata/flickr_test_plus_silent.csv``, Apache-2.0), in a root of :mod:`datamodules.flickr`. The
sounds of the negatives are those of further annotated pairs, which the root must hold as well.

The test list is that file alone: its 250 frames, 3908875350 included, and its 250 negatives. A
chosen list, ``249`` for example, is tested with those negatives whose frame it names, or as it is
where it names negatives itself.

A negative's id is ``<frame id>+<sound id>``; it has nothing to localise.
"""

from datamodules.extended import frame_and_sound
from datamodules.flickr import Flickr


class FlickrExtended(Flickr):
    """Flickr-SoundNet with SLAVC's negatives in the test list."""

    data_name = "flickr_extended"

    @staticmethod
    def parts_of(sample_id: str) -> tuple[str, str]:
        """Two clips for a negative; a positive has its own sound."""
        return frame_and_sound(sample_id)
