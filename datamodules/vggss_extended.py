"""Extended VGG-SS: the 5,158 clips of VGG-SS, and as many frames with a sound that is not of them.

Paper: Mo and Morgado, "A Closer Look at Weakly-Supervised Audio-Visual Source Localization",
NeurIPS 2022. Negatives: https://github.com/stoneMo/SLAVC at 05b429c
(``metadata/vggss_test_plus_silent.csv``, Apache-2.0), beside ``vggss.json`` in a root of
:mod:`datamodules.vggss`; the media are those of VGG-Sound. Of the 5,158 negatives 379 have the
sound of their own clip, which is not in VGG-SS, and of the other 4,779 every fourth (1,185) has a
sound of its frame's class: SLAVC's list is taken as it is, and the record says so.

A chosen list, ``heard`` for example, is tested with those negatives whose frame it names, or as it
is where it names negatives itself.

A negative's id is ``<frame id>+<sound id>``; it has nothing to localise.
"""

from datamodules.extended import frame_and_sound
from datamodules.vggss import VggSs


class VggSsExtended(VggSs):
    """VGG-SS with SLAVC's negatives in the test list."""

    data_name = "vggss_extended"

    @staticmethod
    def parts_of(sample_id: str) -> tuple[str, str]:
        """Two clips for a negative; a positive has its own sound."""
        return frame_and_sound(sample_id)
