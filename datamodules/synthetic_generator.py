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

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

GENERATOR = "synthetic-v1"
SPLITS = ("train", "val", "test")  # a position in this tuple is part of every clip's seed

SHAPES = ("disc", "square", "triangle", "cross")
TEXTURES = ("plain", "striped", "checked", "ringed")
FAMILIES = ("harmonic", "gated", "noise", "chirp")
PITCHES_HZ = (300.0, 424.26, 600.0, 848.53)  # half an octave apart
CLASSES = tuple(f"{shape}-{texture}" for shape in SHAPES for texture in TEXTURES)

MAX_OBJECTS = 3
NUM_ANNOTATORS = 3
RADIUS = (0.14, 0.22)  # half the side of an object, as a share of the frame
SILENT = -1  # label of a segment without sound, class of an object that is not there

_MIDDLE_SHARE = 0.85  # of the clips; chosen so that a centred disc hits one source in seven
_PLACEMENTS = 256  # tried at a time
_OCTAVES = (2, 4, 8, 16, 32, 64)  # cells across the frame, at any image size
_BACKGROUND_CONTRAST = 0.1875  # dyadic, like all weights of the background
_ANNOTATOR_JITTER = 0.1  # of the side of the box, each edge on its own
_PITCH_JITTER = 0.16  # 0.19 would reach the pitch half way to the neighbour
_TABLE_BITS = 12
_FULL_SCALE = 32767
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
    frame, object_map = _painted(scene, _background(seed, index, split, spec.image_size))
    boxes = np.full((MAX_OBJECTS, 4), np.nan)
    for position in range(len(scene.classes)):
        boxes[position] = _tight_box(object_map == position + 1)
    classes = np.full(MAX_OBJECTS, SILENT, dtype=np.int16)
    classes[: len(scene.classes)] = scene.classes
    sounding = np.arange(MAX_OBJECTS) == scene.source
    source_class = int(scene.classes[scene.source])
    sound = _sound(source_class, spec, _stream(seed, index, split, _SOUND_STREAM))
    return SyntheticClip(
        frame[None],
        sound[None],
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


def _background(seed: int, index: int, split: str, size: int) -> Floats:
    """Colour noise ``(H, W, 3)`` around 0, of equal variance in each octave: a 1/f amplitude."""
    rng = _stream(seed, index, split, _BACKGROUND_STREAM)
    total: Floats = np.zeros((3, size, size))
    for cells in _OCTAVES:
        nodes = np.floor(256 * rng.random((3, cells + 1, cells + 1))) - 128
        weights = _bilinear(cells, size)
        total += weights @ nodes @ weights.T
    tint = np.floor(96 * rng.random(3)) - 48
    return np.asarray((_BACKGROUND_CONTRAST * total).transpose(1, 2, 0) + tint)


@cache
def _bilinear(cells: int, size: int) -> Floats:
    """Weights ``(size, cells + 1)`` from nodes to pixel centres, in multiples of 1/256."""
    steps = ((2 * np.arange(size) + 1) * cells * 256 + size) // (2 * size)
    left = np.minimum(steps // 256, cells - 1)
    share = (steps - 256 * left) / 256
    weights = np.zeros((size, cells + 1))
    weights[np.arange(size), left] = 1 - share
    weights[np.arange(size), left + 1] = share
    weights.setflags(write=False)
    return weights


def _painted(scene: Scene, noise: Floats) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The frame ``(H, W, 3)`` and the map of objects ``(H, W)``."""
    size = len(noise)
    canvas = 128 + noise
    object_map = np.zeros((size, size), dtype=np.uint8)
    pixel = (np.arange(size) + 0.5) / size
    for position, (centre, radius) in enumerate(zip(scene.centre, scene.radius, strict=True)):
        x, y = (pixel - centre[0])[None] / radius, (pixel - centre[1])[:, None] / radius
        shape, texture = divmod(int(scene.classes[position]), len(TEXTURES))
        look = scene.appearance[position]
        mask = _SHAPE_MASKS[SHAPES[shape]](x, y)
        dark = _TEXTURE_MASKS[TEXTURES[texture]](x, y, 0.4 * look[3]) & mask
        colour = _colour(shape, texture, look)
        canvas[mask] = colour + 0.25 * noise[mask]
        canvas[dark] = 0.3 * colour + 0.25 * noise[dark]
        object_map[mask] = position + 1
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), object_map


Mask = NDArray[np.bool_]
_SHAPE_MASKS: dict[str, Callable[[Floats, Floats], Mask]] = {
    "disc": lambda x, y: x * x + y * y <= 1,
    "square": lambda x, y: (np.abs(x) <= 1) & (np.abs(y) <= 1),
    "triangle": lambda x, y: (np.abs(y) <= 1) & (2 * np.abs(x) <= 1 + y),
    "cross": lambda x, y: (
        (np.maximum(np.abs(x), np.abs(y)) <= 1) & (np.minimum(np.abs(x), np.abs(y)) <= 0.36)
    ),
}
_PERIOD = 0.8  # of a texture, in radii: 7 to 11 pixels of 64


def _is_dark(along: Floats) -> Mask:
    phase = along / _PERIOD
    return phase - np.floor(phase) < 0.5


_TEXTURE_MASKS: dict[str, Callable[[Floats, Floats, float], Mask]] = {
    "plain": lambda x, y, shift: np.zeros(np.broadcast(x, y).shape, dtype=bool),
    "striped": lambda x, y, shift: np.broadcast_to(_is_dark(y + shift), np.broadcast(x, y).shape),
    "checked": lambda x, y, shift: _is_dark(x + shift) ^ _is_dark(y + shift),
    "ringed": lambda x, y, shift: _is_dark(np.sqrt(x * x + y * y) + 0.4),
}


def _colour(shape: int, texture: int, look: Floats) -> Floats:
    """RGB ``(3,)`` in [0, 255]: the hue of the class, its shade of the object."""
    hue = (len(SHAPES) * texture + shape + 0.6 * (look[0] - 0.5)) / len(CLASSES)
    saturation, value = 0.7 + 0.3 * look[1], 200 + 55 * look[2]
    ramp = np.clip(np.abs((6 * hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return np.asarray(value * (1 - saturation + saturation * ramp))


def _tight_box(mask: Mask) -> Floats:
    """Normalised xyxy ``(4,)`` of the pixels of a mask that has some."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / len(mask)


def _annotated(box: Floats, edge_jitter: Floats) -> Floats:
    """Boxes ``(3, 4)`` of annotators who miss each edge by up to a tenth of the side."""
    width, height = box[2:] - box[:2]
    sides = np.array([width, height, width, height])
    return np.clip(box + _ANNOTATOR_JITTER * sides * edge_jitter, 0, 1)


def _sound(label: int, spec: SyntheticSpec, rng: np.random.Generator) -> NDArray[np.int16]:
    """One segment ``(S,)`` of a class: its family at its pitch, its level, and noise."""
    family, pitch = divmod(label, len(PITCHES_HZ))
    pitch_hz = PITCHES_HZ[pitch] * (1 + _PITCH_JITTER * (2 * rng.random() - 1))
    voice = _VOICES[FAMILIES[family]](pitch_hz, spec, rng)  # (S,) in [-1, 1]
    level, hiss = 0.25 + 0.5 * rng.random(), 0.01 + 0.09 * rng.random()
    noise = 2 * rng.random(spec.samples) - 1
    return np.rint(_FULL_SCALE * level * (voice + hiss * noise) / 1.1).astype(np.int16)


def _harmonic(pitch_hz: float, spec: SyntheticSpec, rng: np.random.Generator) -> Floats:
    """Six partials that fall off as 1/k, with tremolo."""
    voice = _wavetable(range(1, 7), rng)[_phase(pitch_hz, spec, rng)]
    return np.asarray(voice * _tremolo(spec, rng))


def _gated(pitch_hz: float, spec: SyntheticSpec, rng: np.random.Generator) -> Floats:
    """Odd partials, switched on and off five to ten times a second."""
    voice = _wavetable(range(1, 8, 2), rng)[_phase(pitch_hz, spec, rng)]
    gate_hz, duty = 5 + 5 * rng.random(), 0.5 + 0.2 * rng.random()
    is_open = _phase(gate_hz, spec, rng) < duty * 2**_TABLE_BITS
    return np.asarray(voice * is_open)


def _noise(pitch_hz: float, spec: SyntheticSpec, rng: np.random.Generator) -> Floats:
    """Noise smoothed over 5 ms on two carriers in quadrature: a band of 200 Hz at the pitch."""
    window = spec.sample_rate_hz // 200
    white = np.floor(256 * rng.random((2, spec.samples + window))) - 128
    sums = np.cumsum(white, axis=1)
    smooth = (sums[:, window:] - sums[:, :-window]) / (3 * 74 * math.sqrt(window))  # std 1/3
    phase = _phase(pitch_hz, spec, rng)
    sine = _sine_table() / _FULL_SCALE
    quarter = (phase + 2 ** (_TABLE_BITS - 2)) % 2**_TABLE_BITS
    return np.asarray(np.clip(smooth[0] * sine[phase] + smooth[1] * sine[quarter], -1, 1))


def _chirp(pitch_hz: float, spec: SyntheticSpec, rng: np.random.Generator) -> Floats:
    """Sweeps of three partials from 0.75 to 1.25 of the pitch, two to five a second, up or down."""
    rate_hz, falls = 2 + 3 * rng.random(), rng.random() < 0.5
    progress = _phase(rate_hz, spec, rng) / 2**_TABLE_BITS
    sweep = 0.75 + 0.5 * (1 - progress if falls else progress)
    return _wavetable(range(1, 4), rng)[_phase(pitch_hz * sweep, spec, rng)]


_VOICES: dict[str, Callable[[float, SyntheticSpec, np.random.Generator], Floats]] = {
    "harmonic": _harmonic,
    "gated": _gated,
    "noise": _noise,
    "chirp": _chirp,
}


@cache
def _sine_table() -> Samples:
    angle = 2 * np.pi * np.arange(2**_TABLE_BITS) / 2**_TABLE_BITS
    table: Samples = np.rint(_FULL_SCALE * np.sin(angle)).astype(np.int64)
    table.setflags(write=False)
    return table


def _wavetable(partials: range, rng: np.random.Generator) -> Floats:
    """One period ``(4096,)`` in [-1, 1] of partials 1/k in random phases."""
    step = np.arange(2**_TABLE_BITS)
    table = np.zeros(2**_TABLE_BITS)
    for partial in partials:
        shift = int(rng.random() * 2**_TABLE_BITS)
        table += _sine_table()[(partial * step + shift) % 2**_TABLE_BITS] / partial
    return np.asarray(table / np.abs(table).max())


def _phase(frequency_hz: float | Floats, spec: SyntheticSpec, rng: np.random.Generator) -> Samples:
    """Positions ``(S,)`` in a table of 4096, from 32-bit phases that wrap around exactly."""
    start = int(rng.random() * 2**32)
    step = np.rint(np.asarray(frequency_hz) / spec.sample_rate_hz * 2**32).astype(np.int64)
    phase = start + np.cumsum(np.broadcast_to(step, (spec.samples,)))
    return np.asarray((phase % 2**32) >> (32 - _TABLE_BITS))


def _tremolo(spec: SyntheticSpec, rng: np.random.Generator) -> Floats:
    rate_hz, depth = 3 + 4 * rng.random(), 0.4 * rng.random()
    swing = _sine_table()[_phase(rate_hz, spec, rng)] / _FULL_SCALE
    return np.asarray(1 - depth * (1 + swing) / 2)
