"""MUSIC duets: 16 test videos with a box for each sounding instrument, and 124 to train on.

The folders, the ids and the sources of :mod:`datamodules.music_solo`, with ``duettest.json``,
``duet_pairs_train.txt`` and ``MUSIC_duet_videos.json``. The test clips are the 10,284 frames with a
box; they hold 15,035 boxes. Each instrument is a source of its own, whose sound nobody has alone.

Lists: ``train`` (124 videos), ``val`` (17, the test videos and one without a box) and ``music``
(149 videos by pair of instruments). The two played together, so a training clip has no one class.
"""

from typing import ClassVar

from datamodules.music_clips import MusicClips


class MusicDuet(MusicClips):
    """MUSIC duets; see the module's text for the folders and the lists."""

    data_name = "music_duet"
    usual_train_lists = ("duet_pairs_train", "train")
    obtain: ClassVar[str] = (
        "--data music_duet needs a folder with video_frames/<video>/frame_<second>/<number>.jpg, "
        "audio/<video>.wav, duettest.json and duet_pairs_train.txt. The boxes and lists are in "
        "https://github.com/DTaoo/Discriminative-Sounding-Objects-Localization (music-exp), the "
        "ids of the videos in https://github.com/roudimit/MUSIC_dataset."
    )
