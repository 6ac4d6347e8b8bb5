"""Generator ``synthetic-v1``: a frame of objects, the sound of one of them, and the exact truth.

A frame is 1/f colour noise with two or three objects that neither overlap nor leave the frame. One
of them, the source, sounds; the others are silent and of other classes. All objects are placed,
sized and painted by the same rule, and which of them is the source is drawn independently of that,
so nothing in the picture tells it apart: whoever cannot hear can only guess.

Class ``c`` looks like shape ``c // 4`` with texture ``c % 4`` and sounds like family ``c // 4`` at
pitch ``c % 4``. Classes of one family share a shape and a timbre and are the harder confusions;
their hues are a quarter of the colour circle apart.

Bytes are the same everywhere: random numbers come from ``Generator.random`` (PCG64) alone, the
background is a sum of integers with dyadic weights, which floating point adds exactly in any order,
sounds are read from a sine table rounded to integers by integer phases, and everything else is
single IEEE operations. No result passes through an FFT or a fused kernel. A change of any byte
needs a new name, ``synthetic-v2``.

Every array of a clip that can change over time leads with T, the number of segments; here T = 1.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.synthetic_pictures import (
    SHAPES,
    TEXTURES,
    Painted,
    class_hue,
    colour_noise,
    painted_frame,
    shade,
    tight_box,
)
from datamodules.synthetic_sounds import Length, voice

GENERATOR = "synthetic-v1"
SPLITS = ("train", "val", "test")  # a position in this tuple is part of every clip's seed

CLASSES = tuple(f"{shape}-{texture}" for shape in SHAPES for texture in TEXTURES)

MAX_OBJECTS = 3
NUM_ANNOTATORS = 3
RADIUS = (0.14, 0.22)  # half the side of an object, as a share of the frame
SILENT = -1  # label of a segment without sound, class of an object that is not there

_MIDDLE_SHARE = 0.85  # of the clips; chosen so that a centred disc hits one source in seven
_PLACEMENTS = 256  # tried at a time
_ANNOTATOR_JITTER = 0.1  # of the side of the box, each edge on its own
_SOUND_STREAM, _SCENE_STREAM, _BACKGROUND_STREAM = range(3)

Floats = NDArray[np.float64]
Samples = NDArray[np.int64]


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
    """One clip with all that is known of it. T segments, O = ``MAX_OBJECTS`` slots for objects."""

    frames: NDArray[np.uint8]  # (T, H, W, 3) RGB
    sound: NDArray[np.int16]  # (T, S) mono
    object_map: NDArray[np.uint8]  # (T, H, W) 0 background, o + 1 where object o is seen
    boxes: Floats  # (T, O, 4) xyxy in [0, 1], tight around each object's pixels; absent is NaN
    classes: NDArray[np.int16]  # (O,) class of each object; SILENT where there is none
    sounding: NDArray[np.bool_]  # (T, O) which objects sound in each segment
    labels: NDArray[np.int16]  # (T,) class heard in each segment, SILENT where none
    on_screen: NDArray[np.bool_]  # (T,) whether the source of the sound is in the frame
    annotators: Floats  # (T, 3, 4) the source's box as three simulated people drew it

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
    """Where the M objects of a frame are, what they are and which one sounds."""

    centre: Floats  # (M, 2) x and y in [0, 1]
    radius: Floats  # (M,)
    classes: Samples  # (M,)
    source: int
    appearance: Floats  # (M, 4) in [0, 1): shift of hue, saturation, value, phase of the texture
    edge_jitter: Floats  # (3, 4) in [-1, 1): how far each annotator misses each edge


def generate_clip(
    seed: int, index: int, spec: SyntheticSpec, *, split: str = "train"
) -> SyntheticClip:
    """The clip at a position of a split; the same arguments give the same bytes.

    The source's class is ``index % 16``, so every run of 16 clips holds each class once.

    Args:
        seed: non-negative seed of the data, not of a run.
        index: non-negative position in the split.
        spec: size of the frame, length and rate of the sound.
        split: ``train``, ``val`` or ``test``; their clips are drawn from different streams.

    Raises:
        ValueError: the split is unknown.

    >>> clip = generate_clip(0, 5, SyntheticSpec())
    >>> clip.frames.shape, clip.sound.shape, CLASSES[clip.labels[0]]
    ((1, 64, 64, 3), (1, 16000), 'square-striped')
    """
    scene = generate_scene(seed, index, split=split)
    noise = colour_noise(spec.image_size, _stream(seed, index, split, _BACKGROUND_STREAM))
    frame, object_map = painted_frame(noise, _painted(scene))
    boxes = np.full((MAX_OBJECTS, 4), np.nan)
    for position in range(len(scene.classes)):
        boxes[position] = tight_box(object_map == position + 1)
    classes = np.full(MAX_OBJECTS, SILENT, dtype=np.int16)
    classes[: len(scene.classes)] = scene.classes
    sounding = np.arange(MAX_OBJECTS) == scene.source
    source_class = int(scene.classes[scene.source])
    length = Length(spec.samples, spec.sample_rate_hz)
    heard = voice(source_class, length, _stream(seed, index, split, _SOUND_STREAM))
    return SyntheticClip(
        frame[None],
        np.rint(heard.track()).astype(np.int16)[None],
        object_map[None],
        boxes[None],
        classes,
        sounding[None],
        np.array([source_class], dtype=np.int16),
        np.array([True]),
        _annotated(boxes[scene.source], scene.edge_jitter)[None],
    )


def generate_scene(seed: int, index: int, *, split: str = "train") -> Scene:
    """Layout of a clip, at no image size; the draw of the source is independent of the layout."""
    rng = _stream(seed, index, split, _SCENE_STREAM)
    num_objects = 2 + int(rng.random() < 0.5)
    source = int(rng.random() * num_objects)
    others = np.delete(np.arange(len(CLASSES)), index % len(CLASSES))
    silent = others[np.argsort(rng.random(len(others)))[: num_objects - 1]]
    classes = np.insert(silent, source, index % len(CLASSES))
    appearance = rng.random((num_objects, 4))
    edge_jitter = 2 * rng.random((NUM_ANNOTATORS, 4)) - 1
    centre, radius = _layout(num_objects, rng)
    return Scene(centre, radius, classes, source, appearance, edge_jitter)


def _stream(seed: int, index: int, split: str, stream: int) -> np.random.Generator:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    return np.random.default_rng([seed, SPLITS.index(split), index, stream])


def _layout(num_objects: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Centres ``(M, 2)`` and radii ``(M,)`` of squares around the objects that do not overlap.

    Radii are uniform. Of many random placements those that fit are kept; in some clips the first
    of them is taken, in the others the one that has an object nearest the middle of the frame.
    """
    radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * rng.random(num_objects)
    wants_middle = rng.random() < _MIDDLE_SHARE
    first, second = np.triu_indices(num_objects, 1)
    while True:
        free = rng.random((_PLACEMENTS, num_objects, 2))
        centre = radius[:, None] + (1 - 2 * radius[:, None]) * free  # (placements, M, 2)
        distance = np.abs(centre[:, first] - centre[:, second]).max(-1)  # (placements, pairs)
        fitting = centre[(distance > radius[first] + radius[second]).all(1)]
        if len(fitting):
            from_middle = np.abs(fitting - 0.5).max(-1).min(-1)
            return fitting[from_middle.argmin() if wants_middle else 0], radius


def _painted(scene: Scene) -> list[Painted]:
    """The objects of a scene, in the shape, texture and hue of their classes."""
    objects = []
    for position, label in enumerate(scene.classes.tolist()):
        shape, texture = divmod(label, len(TEXTURES))
        shift, saturation, value, phase = scene.appearance[position].tolist()
        objects.append(
            Painted(
                scene.centre[position],
                float(scene.radius[position]),
                SHAPES[shape],
                TEXTURES[texture],
                shade(class_hue(shape, texture, shift), saturation, value),
                phase,
            )
        )
    return objects


def _annotated(box: Floats, edge_jitter: Floats) -> Floats:
    """Boxes ``(3, 4)`` of annotators who miss each edge by up to a tenth of the side."""
    width, height = box[2:] - box[:2]
    sides = np.array([width, height, width, height])
    return np.clip(box + _ANNOTATOR_JITTER * sides * edge_jitter, 0, 1)
