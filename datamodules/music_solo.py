"""MUSIC solos: 27 test videos with boxes of the instrument, and 440 to train on.

Videos: Zhao, Gan, Rouditchenko, Vondrick, McDermott, Torralba, "The Sound of Pixels", ECCV 2018
(https://github.com/roudimit/MUSIC_dataset; YouTube ids, under their owners' terms). Splits and
boxes: Hu et al., "Discriminative Sounding Objects Localization via Self-supervised Audiovisual
Matching", NeurIPS 2020 (https://github.com/DTaoo/Discriminative-Sounding-Objects-Localization at
7f40207, MIT), called DSOL here::

    <root>/video_frames/<video>/frame_013/00411.jpg     4 a second; the folder is the second
    <root>/audio/<video>.wav, .flac or .mp3             or <YouTube id>.wav: the whole sound
    <root>/solotest.json                                here or in <root>/metadata, as the lists
    <root>/solo_training_1.txt                          <video>.flac <video>.mp4 per line
    <root>/MUSIC_solo_videos.json                       instruments, for labels

``<video>`` is ``<YouTube id>_0_1000``. An id is ``<video>/<frame folder>/<frame>``. The test clips
are the 12,356 frames with a box; :mod:`datamodules.music_clips` says what a training clip is.

Lists: ``training_1`` (217 videos), ``training_2`` (223), ``validation`` (49), ``testing`` (27, all
of them in ``validation``), ``pairs`` (all 489), ``music`` (536 videos by instrument) and
``music21`` (1,164).
"""

from typing import ClassVar

from datamodules.music_clips import MusicClips


class MusicSolo(MusicClips):
    """MUSIC solos; see the module's text for the folders and the lists."""

    data_name = "music_solo"
    usual_train_lists = ("solo_training_1", "train")
    obtain: ClassVar[str] = (
        "--data music_solo needs a folder with video_frames/<video>/frame_<second>/<number>.jpg, "
        "audio/<video>.wav, solotest.json and solo_training_1.txt. The boxes and lists are in "
        "https://github.com/DTaoo/Discriminative-Sounding-Objects-Localization (music-exp), the "
        "ids of the videos in https://github.com/roudimit/MUSIC_dataset."
    )
