"""Generator ``synthetic-v1``: a frame of objects, the sound of one of them, and the exact truth.

A frame is 1/f colour noise with two or three objects that neither overlap nor leave the frame. One
of them, the source, sounds; the others are silent and of other classes. All objects are placed,
sized and painted by the same rule, and which of them is the source is drawn independently of that,
so nothing in the picture tells it apart: whoever cannot hear can only guess.

Class ``c`` looks like shape ``c // 4`` with texture ``c % 4`` and sounds like family ``c // 4`` at
pitch ``c % 4``. Classes of one family share a shape and a timbre and are the harder confusions;
their hues are a quarter of the colour circle apart.

Knobs (:mod:`datamodules.synthetic_knobs`) make clips of several segments, with two sources, with
sounds from elsewhere or with a strip of colour that gives the sound away. What a knob does not
concern stays as it is without it.

Bytes are the same everywhere: random numbers come from ``Generator.random`` (PCG64) alone, the
background is a sum of integers with dyadic weights, which floating point adds exactly in any order,
sounds are read from a sine table rounded to integers by integer phases, powers are sums of
integers, and everything else is single IEEE operations. No result passes through an FFT or a fused
kernel. A change of any byte needs a new name, ``synthetic-v2``.

Every array of a clip that can change over time leads with T, the number of segments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.synthetic_knobs import OFF, SyntheticKnobs, Timeline, timeline
from datamodules.synthetic_pictures import (
    SHAPES,
    TEXTURES,
    Painted,
    Strip,
    class_hue,
    colour_noise,
    painted_frame,
    shade,
    tight_box,
)
from datamodules.synthetic_sounds import (
    Length,
    added,
    fitting_scale,
    noise_track,
    rounded,
    voice,
)

GENERATOR = "synthetic-v1"
SPLITS = ("train", "val", "test")  # a position in this tuple is part of every clip's seed

CLASSES = tuple(f"{shape}-{texture}" for shape in SHAPES for texture in TEXTURES)

MAX_OBJECTS = 3
NUM_ANNOTATORS = 3
RADIUS = (0.14, 0.22)  # half the side of an object, as a share of the frame
STRIP = (0.24, 0.9)  # thickness and length, as shares of the frame
SILENT = -1  # label of a segment without sound, class of an object or sound that is not there

_MIDDLE_SHARE = 0.85  # of the clips; chosen so that a centred disc hits one source in seven
_PLACEMENTS = 256  # tried at a time
_ANNOTATOR_JITTER = 0.1  # of the side of the box, each edge on its own
(
    _SOUND_STREAM, _SCENE_STREAM, _BACKGROUND_STREAM, _PATTERN_STREAM, _PULSE_STREAM,
    _OFF_CLASS_STREAM, _OFF_SOUND_STREAM, _NOISE_STREAM, _OFF_SCREEN_STREAM, _CONTEXT_STREAM,
    _SECOND_STREAM, _FURTHER_SOUNDS,
) = range(12)  # fmt: skip

Floats = NDArray[np.float64]
Samples = NDArray[np.int64]
Stream = Callable[[int], np.random.Generator]


@dataclass(frozen=True)
class SyntheticSpec:
    """What a clip looks and sounds like; positions and sizes do not depend on it."""

    image_size: int = 64
    sample_rate_hz: int = 16000
    seconds: float = 1.0

    @property
    def samples(self) -> int:
        """Audio samples S of one segment."""
        return round(self.sample_rate_hz * self.seconds)


class SyntheticClip(NamedTuple):
    """One clip with all that is known of it.

    T segments, O = ``MAX_OBJECTS`` slots for objects. A box of an object that is not shown is NaN,
    as are an annotator's boxes where the source does not sound. With two sources ``annotators`` is
    ``(T, 3, 2, 4)`` and a label is the class of the first source that sounds. Isolated sounds add
    up to ``sound``, but for the sound of another class and the noise that a knob puts beside them.
    """

    frames: NDArray[np.uint8]  # (T, H, W, 3) RGB
    sound: NDArray[np.int16]  # (T, S) mono
    object_map: NDArray[np.uint8]  # (T, H, W) 0 background, o + 1 where object o is seen
    boxes: Floats  # (T, O, 4) xyxy in [0, 1], tight around each object's pixels; absent is NaN
    classes: NDArray[np.int16]  # (O,) class of each object; SILENT where there is none
    sounding: NDArray[np.bool_]  # (T, O) which objects sound in each segment
    labels: NDArray[np.int16]  # (T,) class heard in each segment, SILENT where none
    on_screen: NDArray[np.bool_]  # (T,) whether the source of the sound is in the frame
    annotators: Floats  # (T, 3, 4) the source's box as three simulated people drew it
    isolated: NDArray[np.int16] | None = None  # (T, O, S) with two sources: each object's own sound
    strip: Floats | None = None  # (4,) xyxy of the strip of colour, where clips have one

    @property
    def source_box(self) -> Floats:
        """``(..., 4)`` box of the one object that sounds, for one clip or for stacked clips."""
        return self.boxes[self.sounding].reshape(*self.sounding.shape[:-1], 4)

    @property
    def source_mask(self) -> NDArray[np.bool_]:
        """``(..., H, W)`` pixels of the one object that sounds."""
        source = self.sounding.argmax(-1)[..., None, None]
        return np.asarray(self.object_map == source + 1)


class Scene(NamedTuple):
    """Where the M objects of a frame are, what they are and which N of them sound."""

    centre: Floats  # (M, 2) x and y in [0, 1]
    radius: Floats  # (M,)
    classes: Samples  # (M,)
    sources: tuple[int, ...]  # N places of those that sound, ascending; none is off the screen
    appearance: Floats  # (M, 4) in [0, 1): shift of hue, saturation, value, phase of the texture
    edge_jitter: Floats  # (N, 3, 4) in [-1, 1): how far each annotator misses each edge
    hue: Floats  # (M,) in turns
    unseen: int = SILENT  # class of the sound that comes from off the screen
    off_sound: int = SILENT  # class heard while no source sounds
    strip: Strip | None = None

    @property
    def sounds(self) -> list[tuple[int, int]]:
        """Class and column of the timeline of each sound; the unseen one has the last column."""
        if not self.sources:
            return [(self.unseen, len(self.classes))]
        return [(int(self.classes[place]), place) for place in self.sources]


def generate_clip(
    seed: int,
    index: int,
    spec: SyntheticSpec,
    knobs: SyntheticKnobs = OFF,
    *,
    split: str = "train",
) -> SyntheticClip:
    """The clip at a position of a split; the same arguments give the same bytes.

    A source's class is ``index % 16``, so every run of 16 clips holds each class once; off the
    screen and for a second source it is drawn.

    Args:
        seed: non-negative seed of the data, not of a run.
        index: non-negative position in the split.
        spec: size of the frame, length and rate of the sound of a segment.
        knobs: values that ``check_knobs`` accepts.
        split: ``train``, ``val`` or ``test``; their clips are drawn from different streams.

    Raises:
        ValueError: the split is unknown.

    >>> clip = generate_clip(0, 5, SyntheticSpec())
    >>> clip.frames.shape, clip.sound.shape, CLASSES[clip.labels[0]]
    ((1, 64, 64, 3), (1, 16000), 'square-striped')
    """
    stream = partial(_stream, seed, index, split)
    scene = generate_scene(seed, index, knobs, split=split)
    line = timeline(len(scene.classes), knobs, stream(_PATTERN_STREAM), stream(_PULSE_STREAM))
    frames, object_map = _seen(
        scene, line, colour_noise(spec.image_size, stream(_BACKGROUND_STREAM))
    )
    sound, isolated = _heard(scene, line, spec, knobs, stream)
    boxes = _boxes(object_map)
    classes = np.full(MAX_OBJECTS, SILENT, dtype=np.int16)
    classes[: len(scene.classes)] = scene.classes
    sounding = np.zeros((knobs.segments, MAX_OBJECTS), dtype=np.bool_)
    sources = list(scene.sources)
    sounding[:, sources] = line.is_on[:, sources]
    annotators = _annotated(boxes, sounding, scene)
    return SyntheticClip(
        frames,
        sound,
        object_map,
        boxes,
        classes,
        sounding,
        _labels(scene, line),
        np.asarray(sounding.any(axis=1)),
        annotators[:, :, 0] if knobs.sources == 1 else annotators,
        isolated,
        None if scene.strip is None else scene.strip.box,
    )


class Places(NamedTuple):
    """Where the O objects of the middle segment are, and what people would mark there."""

    boxes: Floats  # (O, 4) xyxy in [0, 1], tight around each object's pixels; absent is NaN
    sounding: NDArray[np.bool_]  # (O,)
    annotators: Floats  # (3, N, 4) of the N sources; NaN where the source is off the screen


def generate_places(
    seed: int, index: int, image_size: int, knobs: SyntheticKnobs = OFF, *, split: str = "train"
) -> Places:
    """What ``generate_clip`` has of the middle segment, without background and sound.

    There all objects are shown at their full size, whatever they do in other segments.
    """
    scene = generate_scene(seed, index, knobs, split=split)
    _, seen = painted_frame(np.zeros((image_size, image_size, 3)), _painted(scene), scene.strip)
    boxes = _boxes(seen[None])  # (1, O, 4)
    sounding = np.zeros((1, MAX_OBJECTS), dtype=np.bool_)
    sounding[:, list(scene.sources)] = True
    return Places(boxes[0], sounding[0], _annotated(boxes, sounding, scene)[0])


def strip_tells(
    seed: int, index: int, label: int, knobs: SyntheticKnobs, *, split: str = "train"
) -> bool:
    """Whether the strip of a clip has the colour of its sound's class, by rule or by chance.

    Args:
        seed: as in :func:`generate_clip`, and so are ``index``, ``knobs`` and ``split``.
        index: position in the split.
        label: class that is heard.
        knobs: with a context above 0.
        split: of the clip.
    """
    rng = _stream(seed, index, split, _CONTEXT_STREAM)
    return _strip_class(label, knobs.context, rng) == label


def _strip_class(label: int, share: float, rng: np.random.Generator) -> int:
    """Class whose colour a strip has: in a share of the clips that of the sound, else any."""
    tells, any_class = rng.random() < share, int(rng.random() * len(CLASSES))
    return label if tells else any_class


def generate_scene(
    seed: int, index: int, knobs: SyntheticKnobs = OFF, *, split: str = "train"
) -> Scene:
    """Layout of a clip, at no image size; the draw of the source is independent of the layout."""
    stream = partial(_stream, seed, index, split)
    scene = _still_scene(index % len(CLASSES), knobs.sources, stream(_SCENE_STREAM))
    if knobs.sources == 2:
        scene = _with_second_source(scene, stream(_SECOND_STREAM))
    off_screen = knobs.offscreen + (knobs.background if split == "train" else 0)
    if off_screen:
        scene = _perhaps_off_screen(scene, off_screen, stream(_OFF_SCREEN_STREAM))
    if knobs.off_sounds:
        scene = scene._replace(off_sound=_absent_class(scene, stream(_OFF_CLASS_STREAM)))
    if knobs.context:
        scene = _with_strip(scene, knobs.context, stream(_CONTEXT_STREAM))
    return scene


def _stream(seed: int, index: int, split: str, purpose: int) -> np.random.Generator:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    return np.random.default_rng([seed, SPLITS.index(split), index, purpose])


def _still_scene(label: int, num_sources: int, rng: np.random.Generator) -> Scene:
    """Two or three objects, at least one of them silent; one of the class sounds."""
    num_objects = max(2 + int(rng.random() < 0.5), num_sources + 1)
    source = int(rng.random() * num_objects)
    others = np.delete(np.arange(len(CLASSES)), label)
    silent = others[np.argsort(rng.random(len(others)))[: num_objects - 1]]
    classes = np.insert(silent, source, label)
    appearance = rng.random((num_objects, 4))
    edge_jitter = _edge_jitter(rng)[None]
    centre, radius = _layout(num_objects, rng)
    hue = np.array(
        [
            class_hue(*divmod(one, len(TEXTURES)), shift)
            for one, shift in zip(classes.tolist(), appearance[:, 0].tolist(), strict=True)
        ]
    )
    return Scene(centre, radius, classes, (source,), appearance, edge_jitter, hue)


def _edge_jitter(rng: np.random.Generator) -> Floats:
    return np.asarray(2 * rng.random((NUM_ANNOTATORS, 4)) - 1)


def _with_second_source(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with another of its objects sounding too, any of them as likely."""
    silent = [place for place in range(len(scene.classes)) if place not in scene.sources]
    second = silent[int(rng.random() * len(silent))]
    jitter = np.concatenate([scene.edge_jitter, _edge_jitter(rng)[None]])
    both = (*scene.sources, second)
    order = np.argsort(both)
    return scene._replace(sources=tuple(sorted(both)), edge_jitter=jitter[order])


def _perhaps_off_screen(scene: Scene, share: float, rng: np.random.Generator) -> Scene:
    """The same frame; in a share of the clips the sound is of a class that is not in it."""
    if rng.random() >= share:
        return scene
    return scene._replace(sources=(), unseen=_absent_class(scene, rng))


def _absent_class(scene: Scene, rng: np.random.Generator) -> int:
    """A class that is neither seen nor heard from off the screen, any of them as likely."""
    absent = np.setdiff1d(np.arange(len(CLASSES)), [*scene.classes, scene.unseen])
    return int(absent[int(rng.random() * len(absent))])


def _with_strip(scene: Scene, share: float, rng: np.random.Generator) -> Scene:
    """Objects in random hues beside a strip in the hue of a class.

    In a share of the clips that is the class that sounds, in the others it may be any.
    """
    label = _strip_class(scene.sounds[0][0], share, rng)
    hue = class_hue(*divmod(label, len(TEXTURES)), rng.random())
    box, free = _strip_and_rest(rng)
    strip = Strip(box, shade(hue, rng.random(), rng.random()))
    centre, radius = _layout_in(free, len(scene.classes), rng)
    hues = rng.random(len(scene.classes))
    return scene._replace(centre=centre, radius=radius, hue=hues, strip=strip)


def _strip_and_rest(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Box of a strip along one edge of the frame, and the box of what it leaves free."""
    thickness, length = STRIP
    across = (0.0, thickness, thickness, 1.0) if rng.random() < 0.5 else (
        1 - thickness, 1.0, 0.0, 1 - thickness
    )  # fmt: skip
    start = (1 - length) * rng.random()
    strip = np.array([across[0], start, across[1], start + length])
    free = np.array([across[2], 0, across[3], 1])
    if rng.random() < 0.5:  # along the top or the bottom
        strip, free = strip[[1, 0, 3, 2]], free[[1, 0, 3, 2]]
    return strip, free


def _layout(num_objects: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Centres ``(M, 2)`` and radii ``(M,)`` of squares around the objects that do not overlap.

    Radii are uniform. Of many random placements those that fit are kept; in some clips the first
    of them is taken, in the others the one that has an object nearest the middle of the frame.
    """
    radius = _radii(num_objects, rng)
    wants_middle = rng.random() < _MIDDLE_SHARE
    while True:
        free = rng.random((_PLACEMENTS, num_objects, 2))
        centre = radius[:, None] + (1 - 2 * radius[:, None]) * free  # (placements, M, 2)
        fitting = centre[_is_apart(centre, radius)]
        if len(fitting):
            from_middle = np.abs(fitting - 0.5).max(-1).min(-1)
            return fitting[from_middle.argmin() if wants_middle else 0], radius


def _layout_in(free: Floats, num_objects: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """As :func:`_layout`, within a box; radii are drawn anew until a placement fits."""
    while True:
        radius = _radii(num_objects, rng)
        space = free[2:] - free[:2] - 2 * radius[:, None]  # (M, 2)
        places = rng.random((_PLACEMENTS, num_objects, 2))
        centre = free[:2] + radius[:, None] + space * places  # (placements, M, 2)
        fitting = centre[_is_apart(centre, radius)]
        if len(fitting):
            return fitting[0], radius


def _radii(num_objects: int, rng: np.random.Generator) -> Floats:
    return np.asarray(RADIUS[0] + (RADIUS[1] - RADIUS[0]) * rng.random(num_objects))


def _is_apart(centre: Floats, radius: Floats) -> NDArray[np.bool_]:
    """In which of the placements ``(P, M, 2)`` no two objects overlap, ``(P,)``."""
    first, second = np.triu_indices(len(radius), 1)
    distance = np.abs(centre[:, first] - centre[:, second]).max(-1)  # (P, pairs)
    return np.asarray((distance > radius[first] + radius[second]).all(1))


def _seen(
    scene: Scene, line: Timeline, noise: Floats
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Frames ``(T, H, W, 3)`` and maps of objects ``(T, H, W)``, on one background."""
    objects = _painted(scene)
    painted = []
    for segment in range(len(line.shown)):
        now = [
            one._replace(
                radius=one.radius * line.size[segment, place],
                colour=one.colour * line.light[segment, place],
            )
            if line.shown[segment, place]
            else None
            for place, one in enumerate(objects)
        ]
        painted.append(painted_frame(noise, now, scene.strip))
    frames, maps = zip(*painted, strict=True)
    return np.stack(frames), np.stack(maps)


def _painted(scene: Scene) -> list[Painted]:
    """The objects of a scene, in the shape and texture of their classes."""
    objects = []
    for place, label in enumerate(scene.classes.tolist()):
        shape, texture = divmod(label, len(TEXTURES))
        _, saturation, value, phase = scene.appearance[place].tolist()
        objects.append(
            Painted(
                scene.centre[place],
                float(scene.radius[place]),
                SHAPES[shape],
                TEXTURES[texture],
                shade(float(scene.hue[place]), saturation, value),
                phase,
            )
        )
    return objects


def _boxes(object_map: NDArray[np.uint8]) -> Floats:
    """Tight boxes ``(T, O, 4)`` of the objects, NaN where one is not shown."""
    slots = range(1, MAX_OBJECTS + 1)
    return np.array([[tight_box(seen == slot) for slot in slots] for seen in object_map])


def _annotated(boxes: Floats, sounding: NDArray[np.bool_], scene: Scene) -> Floats:
    """Boxes ``(T, 3, N, 4)`` of annotators who miss each edge by up to a tenth of the side."""
    sources = list(scene.sources) or [0]  # which then does not sound
    box = np.where(sounding[:, sources, None], boxes[:, sources], np.nan)[:, None]  # (T, 1, N, 4)
    sides = np.tile(box[..., 2:] - box[..., :2], 2)
    jitter = scene.edge_jitter.transpose(1, 0, 2)  # (3, N, 4)
    return np.asarray(np.clip(box + _ANNOTATOR_JITTER * sides * jitter, 0, 1))


def _labels(scene: Scene, line: Timeline) -> NDArray[np.int16]:
    """Class heard in each segment ``(T,)``; of two sources at once that of the first."""
    labels = np.full(len(line.is_on), scene.off_sound, dtype=np.int16)
    for label, column in reversed(scene.sounds):
        labels[line.is_on[:, column]] = label
    return labels


def _heard(
    scene: Scene, line: Timeline, spec: SyntheticSpec, knobs: SyntheticKnobs, stream: Stream
) -> tuple[NDArray[np.int16], NDArray[np.int16] | None]:
    """Sound ``(T, S)``, and with two sources the sound ``(T, O, S)`` of each object on its own."""
    length = Length(knobs.segments * spec.samples, spec.sample_rate_hz)
    tracks = _tracks(scene, line, length, stream)
    heard = [column for _, column in scene.sounds]
    together = added([tracks[column] for column in heard])
    is_on = np.repeat(line.is_on[:, heard].any(axis=1), spec.samples)
    beside = []
    if knobs.off_sounds:
        off_sound = voice(scene.off_sound, length, stream(_OFF_SOUND_STREAM))
        beside.append(np.where(is_on, 0, off_sound.track()))
    if knobs.snr_db is not None:
        beside.append(noise_track(together[is_on], knobs.snr_db, length, stream(_NOISE_STREAM)))
    scale = fitting_scale(added([together, *beside]))
    own = {column: rounded(scale * track) for column, track in tracks.items()}
    sound = added([own[column] for column in heard] + [rounded(scale * track) for track in beside])
    sound = sound.reshape(knobs.segments, -1)
    if knobs.sources == 1:
        return sound, None
    return sound, np.stack([own[place].reshape(sound.shape) for place in sorted(own)], axis=1)


def _tracks(scene: Scene, line: Timeline, length: Length, stream: Stream) -> dict[int, Floats]:
    """Sounds ``(S,)`` by column of the timeline: with two sources also those of silent objects."""
    sounds = scene.sounds
    if len(sounds) == 2:
        sounds = [(int(label), place) for place, label in enumerate(scene.classes)]
    tracks = {}
    for label, column in sounds:
        rng = stream(_SOUND_STREAM if len(sounds) == 1 else _FURTHER_SOUNDS + column)
        loudness = np.repeat(line.loudness[:, column], length.samples // len(line.loudness))
        tracks[column] = voice(label, length, rng).track(loudness)
    return tracks
