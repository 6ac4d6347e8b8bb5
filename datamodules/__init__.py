"""Data sets by name; importing this package imports none of them."""

DATASETS: dict[str, tuple[str, str]] = {
    "synthetic": (
        "datamodules.synthetic:Synthetic",
        "procedural clips with exact truth, generated on this machine",
    ),
    "vggss": ("datamodules.vggss:VggSs", "VGG-SS: 5,158 annotated VGG-Sound clips"),
    "vggss_extended": (
        "datamodules.vggss_extended:VggSsExtended",
        "VGG-SS and 5,158 frames with a sound that is not of them",
    ),
    "flickr": (
        "datamodules.flickr:Flickr",
        "Flickr-SoundNet: 249 or 250 test pairs, three annotators",
    ),
    "flickr_extended": (
        "datamodules.flickr_extended:FlickrExtended",
        "Flickr-SoundNet and 250 frames with a sound that is not of them",
    ),
    "ave": ("datamodules.ave:Ave", "AVE: 28 events in 4,143 clips, a class for every second"),
    "music_solo": (
        "datamodules.music_solo:MusicSolo",
        "MUSIC solos: 12,356 frames of 27 videos with DSOL's boxes",
    ),
    "music_duet": (
        "datamodules.music_duet:MusicDuet",
        "MUSIC duets: 10,284 frames of 16 videos, a box per instrument",
    ),
    "music_synthetic": (
        "datamodules.music_synthetic:MusicSynthetic",
        "MUSIC-Synthetic: four solos in a picture, two heard, with each sound alone",
    ),
    "is3": ("datamodules.is3:Is3", "IS3: two sounds on each of 3,240 composed frames"),
}
