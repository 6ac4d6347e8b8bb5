"""Settings ``data.*`` of ``synthetic``: what they may be, and what of them the clips depend on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from datamodules.base import DataConfig
from datamodules.clip import Inputs
from datamodules.synthetic_generator import GENERATOR, SPLITS, SyntheticSpec
from datamodules.synthetic_knobs import SyntheticKnobs, check_knobs
from metrics.errors import BenchError

MIN_IMAGE_SIZE = 32  # pixels; below, no texture is left
MIN_SECONDS = 0.5  # one period of the slowest chirp
MIN_SAMPLE_RATE_HZ = 16000


@dataclass
class SyntheticConfig(DataConfig):
    """Settings ``data.*`` of ``synthetic``."""

    batch_size: int = 64
    generator_seed: int = 0  # of the data; runs of all seeds share them
    train_clips: int = 4000
    val_clips: int = 400
    test_clips: int = 500
    image_size: int = 64  # pixels as generated; a method may ask for another size
    sample_rate_hz: int = 16000  # as generated
    seconds: float = 1.0  # of a segment
    segments: int = 1
    motion: str = "static"  # static | onoff (objects come and go) | pulse (in size or brightness)
    event_share: float | None = None  # of the segments with sound; null: all, with onoff half
    off_sounds: bool = False  # another class, not in the frame, is heard in the other segments
    snr_db_low: float | None = None  # dB of sound over added white noise; null adds none
    snr_db_high: float | None = None
    sources: int = 1  # 1 | 2 objects that sound at once
    offscreen: float = 0.0  # share of clips whose sound is of a class that is not in the frame
    background: float = 0.0  # share of the training clips that is so beside offscreen; no others
    context: float = 0.0  # share of clips with a strip in the colour of the class that sounds
    proposal_width: int | None = None  # the frames are small; enlarging them costs much
    annotators: bool = False  # tested against what three people drew, in place of the exact boxes


def config_from(settings: Mapping[str, object]) -> SyntheticConfig:
    """The settings of ``synthetic`` among those of a run, which a record has in their types."""
    known = {item.name for item in fields(SyntheticConfig)}
    own = {name: value for name, value in settings.items() if name in known}
    return SyntheticConfig(**own)  # type: ignore[arg-type]  # they are as the record has them


def made_id(split: str, row: int) -> str:
    """The id of a clip that is made.

    >>> made_id("test", 12)
    'test-000012'
    """
    return f"{split}-{row:06d}"


def made_row(clip_id: str) -> int:
    """Which clip of its split an id names.

    >>> made_row("test-000012")
    12
    """
    return int(clip_id.partition("-")[2])


def check_settings(config: SyntheticConfig, inputs: Inputs) -> None:
    """Nothing, or an error where a setting has no meaning or a method asks for what is not made.

    Raises:
        BenchError: names the setting, its value and what it may be.
    """
    check_knobs(knobs_of(config))
    _check_labelled(config)
    _check_segments(config, inputs)
    if config.sources == 2 and inputs.labels != "none":
        raise BenchError(
            "data.sources=2 has two classes in a segment, and the method learns from one label; "
            "set data.sources=1"
        )
    if config.image_size < MIN_IMAGE_SIZE:
        raise BenchError(
            f"data.image_size={config.image_size} is too small for the textures; "
            f"use {MIN_IMAGE_SIZE} or more"
        )
    for key in ("train_clips", "val_clips", "test_clips"):
        if getattr(config, key) < 1:
            raise BenchError(f"data.{key}={getattr(config, key)} must be at least 1")
    if config.generator_seed < 0:
        raise BenchError(f"data.generator_seed={config.generator_seed} must not be negative")
    if config.seconds < MIN_SECONDS:
        raise BenchError(f"data.seconds={config.seconds} must be at least {MIN_SECONDS}")
    if config.sample_rate_hz < MIN_SAMPLE_RATE_HZ:
        raise BenchError(
            f"data.sample_rate_hz={config.sample_rate_hz} cannot carry the highest partials; "
            f"use {MIN_SAMPLE_RATE_HZ} or more (a method may ask for less and gets it resampled)"
        )
    if config.val_fraction:
        raise BenchError(
            "data synthetic has validation clips of its own; set data.val_clips and leave "
            "data.val_fraction=0"
        )


def _check_segments(config: SyntheticConfig, inputs: Inputs) -> None:
    made, asked = config.segments, inputs.num_segments
    if asked in (1, made):
        return
    seconds = asked * inputs.segment_seconds
    if made == 1 and config.seconds >= seconds:
        return
    remedy = f"set data.segments={asked}"
    if made == 1:
        remedy += f", or data.seconds={seconds:g} for stills whose sound goes on"
    raise BenchError(
        f"data synthetic has clips of {made} segment{'' if made == 1 else 's'}, the method asks "
        f"for {asked}; {remedy}"
    )


def _check_labelled(config: SyntheticConfig) -> None:
    labelled = clip_share("labelled", config.labelled, default=1.0)
    unlabelled = clip_share("unlabelled", config.unlabelled)
    if config.labelled is None and config.unlabelled is not None:
        raise BenchError(
            f"data.unlabelled={config.unlabelled} has no clips to choose from, since all are "
            "labelled; set data.labelled to a share such as 0.1"
        )
    clips = min(config.train_clips, config.limit or config.train_clips)
    seen = round(labelled * clips)
    if not seen and not round(unlabelled * (clips - seen)):
        raise BenchError(
            f"data.labelled={config.labelled} leaves none of {clips} training clips; set "
            "data.unlabelled=1 to train on clips without labels"
        )


def clip_share(name: str, text: str | None, default: float = 0.0) -> float:
    """A share of the training clips, or the default where nothing is said.

    Raises:
        BenchError: the text is no number from 0 to 1.
    """
    try:
        share = default if text is None else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise BenchError(
            f"data.{name}={text} must be a share of the training clips from 0 to 1, such as 0.1"
        )
    return share


def knobs_of(config: SyntheticConfig) -> SyntheticKnobs:
    """The knobs of a configuration, with what it leaves open filled in.

    Raises:
        BenchError: one end of a range is missing.
    """
    low, high = config.snr_db_low, config.snr_db_high
    if (low is None) != (high is None):
        raise BenchError(
            f"data.snr_db_low={plain(low)} and data.snr_db_high={plain(high)} are the ends of "
            "one range; set both, or leave both null"
        )
    share = config.event_share
    if share is None:
        share = 0.5 if config.motion == "onoff" else 1.0
    return SyntheticKnobs(
        segments=config.segments,
        motion=config.motion,
        event_share=share,
        off_sounds=config.off_sounds,
        snr_db=None if low is None or high is None else (low, high),
        sources=config.sources,
        offscreen=config.offscreen,
        context=config.context,
        background=config.background,
    )


def plain(value: object) -> str:
    """A setting as a user writes it, a range with a dash.

    >>> plain(True), plain(None), plain([0.0, 10.0]), plain(0.75)
    ('true', 'null', '0-10', '0.75')
    """
    if isinstance(value, list):
        return "-".join(plain(end) for end in value)
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def spec_of(config: SyntheticConfig) -> SyntheticSpec:
    """Size of the frames, rate and length of the sound."""
    return SyntheticSpec(config.image_size, config.sample_rate_hz, config.seconds)


def num_clips(config: SyntheticConfig) -> dict[str, int]:
    """Clips that are made of each split."""
    return dict(zip(SPLITS, (config.train_clips, config.val_clips, config.test_clips), strict=True))


def identity(config: SyntheticConfig) -> dict[str, object]:
    """Everything that the bytes of the cache depend on."""
    changed = knobs_of(config).changed()
    return {
        "generator": GENERATOR,
        "seed": config.generator_seed,
        "clips": num_clips(config),
        "spec": asdict(spec_of(config)),
        **({"knobs": changed} if changed else {}),
    }


def fingerprint(config: SyntheticConfig) -> str:
    """Short hash of everything that the bytes of the cache depend on."""
    text = json.dumps(identity(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
