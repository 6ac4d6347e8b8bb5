"""Pictures of ``synthetic-v1``: colour noise, and on it objects of a shape, a texture and a colour.

Bytes are the same everywhere by the rule of :mod:`datamodules.synthetic_generator`.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SHAPES = ("disc", "square", "triangle", "cross")
TEXTURES = ("plain", "striped", "checked", "ringed")

_OCTAVES = (2, 4, 8, 16, 32, 64)  # cells across the frame, at any image size
_BACKGROUND_CONTRAST = 0.1875  # dyadic, like all weights of the background
_NOISE_ON_PAINT = 0.25  # share of the background's noise that shows on an object
_DARK = 0.3  # of an object's colour, where its texture is dark
_PERIOD = 0.8  # of a texture, in radii: 7 to 11 pixels of 64

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Painted(NamedTuple):
    """One object as it is painted."""

    centre: Floats  # (2,) x and y in [0, 1]
    radius: float  # half the side, as a share of the frame
    shape: str
    texture: str
    colour: Floats  # (3,) RGB in [0, 255]
    phase: float  # of the texture, in [0, 1)


class Strip(NamedTuple):
    """A plain rectangle behind the objects."""

    box: Floats  # (4,) xyxy in [0, 1]
    colour: Floats  # (3,) RGB in [0, 255]


def colour_noise(size: int, rng: np.random.Generator) -> Floats:
    """Background ``(H, W, 3)`` around 0, of equal variance in each octave: a 1/f amplitude."""
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


def painted_frame(
    noise: Floats, objects: Sequence[Painted | None], strip: Strip | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The frame and where each object is seen in it.

    Args:
        noise: ``(H, W, 3)`` from :func:`colour_noise`.
        objects: in the order in which they are painted; None keeps the place of one not shown.
        strip: painted before them.

    Returns:
        ``(H, W, 3)`` uint8 RGB and ``(H, W)`` uint8, 0 for the background and o + 1 for object o.
    """
    canvas = 128 + noise
    object_map = np.zeros(noise.shape[:2], dtype=np.uint8)
    pixel = (np.arange(len(noise)) + 0.5) / len(noise)
    if strip is not None:
        x0, y0, x1, y1 = strip.box
        inside = ((x0 <= pixel) & (pixel < x1))[None] & ((y0 <= pixel) & (pixel < y1))[:, None]
        canvas[inside] = strip.colour + _NOISE_ON_PAINT * noise[inside]
    for position, one in enumerate(objects):
        if one is None:
            continue
        x = (pixel - one.centre[0])[None] / one.radius
        y = (pixel - one.centre[1])[:, None] / one.radius
        mask = _SHAPE_MASKS[one.shape](x, y)
        dark = _TEXTURE_MASKS[one.texture](x, y, 0.4 * one.phase) & mask
        canvas[mask] = one.colour + _NOISE_ON_PAINT * noise[mask]
        canvas[dark] = _DARK * one.colour + _NOISE_ON_PAINT * noise[dark]
        object_map[mask] = position + 1
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), object_map


_SHAPE_MASKS: dict[str, Callable[[Floats, Floats], Mask]] = {
    "disc": lambda x, y: x * x + y * y <= 1,
    "square": lambda x, y: (np.abs(x) <= 1) & (np.abs(y) <= 1),
    "triangle": lambda x, y: (np.abs(y) <= 1) & (2 * np.abs(x) <= 1 + y),
    "cross": lambda x, y: (
        (np.maximum(np.abs(x), np.abs(y)) <= 1) & (np.minimum(np.abs(x), np.abs(y)) <= 0.36)
    ),
}


def _is_dark(along: Floats) -> Mask:
    phase = along / _PERIOD
    return phase - np.floor(phase) < 0.5


_TEXTURE_MASKS: dict[str, Callable[[Floats, Floats, float], Mask]] = {
    "plain": lambda x, y, shift: np.zeros(np.broadcast(x, y).shape, dtype=bool),
    "striped": lambda x, y, shift: np.broadcast_to(_is_dark(y + shift), np.broadcast(x, y).shape),
    "checked": lambda x, y, shift: _is_dark(x + shift) ^ _is_dark(y + shift),
    "ringed": lambda x, y, shift: _is_dark(np.sqrt(x * x + y * y) + 0.4),
}


def class_hue(shape: int, texture: int, shift: float) -> float:
    """Hue in turns; those of one shape are a quarter apart, and ``shift`` in [0, 1) strays."""
    return (len(SHAPES) * texture + shape + 0.6 * (shift - 0.5)) / (len(SHAPES) * len(TEXTURES))


def shade(hue: float, saturation: float, value: float) -> Floats:
    """RGB ``(3,)`` in [0, 255] of a hue in turns; the other two, in [0, 1), choose among shades."""
    saturation, value = 0.7 + 0.3 * saturation, 200 + 55 * value
    ramp = np.clip(np.abs((6 * hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return np.asarray(value * (1 - saturation + saturation * ramp))


def tight_box(mask: Mask) -> Floats:
    """Normalised xyxy ``(4,)`` of the pixels of a square mask; NaN where it has none."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.full(4, np.nan)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / len(mask)
