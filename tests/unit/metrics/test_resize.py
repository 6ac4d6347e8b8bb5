from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from metrics.functional.resize import (
    align_corners_bicubic,
    align_corners_bilinear,
    cubic_taps,
    half_pixel_bilinear,
    linear_taps,
)

CORNERS = {"bilinear": align_corners_bilinear, "bicubic": align_corners_bicubic}
SHAPES = [(1, 1), (2, 3), (1, 5), (5, 1), (7, 7), (14, 14), (20, 20), (13, 17), (300, 250)]

with_avx2 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="torch rounds otherwise without fused multiply-add",
)


def looped(cells: np.ndarray, size: int, position: Callable[[int, int], float]) -> np.ndarray:
    """Bilinear in float64; ``position`` is that of a pixel among n cells."""
    result = np.empty((size, size))
    height, width = cells.shape
    for y in range(size):
        for x in range(size):
            v = min(max(position(y, height), 0), height - 1)
            u = min(max(position(x, width), 0), width - 1)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = cells[top, left] * (1 - u + left) + cells[top, right] * (u - left)
            lower = cells[bottom, left] * (1 - u + left) + cells[bottom, right] * (u - left)
            result[y, x] = upper * (1 - v + top) + lower * (v - top)
    return result


def looped_bicubic(cells: np.ndarray, size: int) -> np.ndarray:
    """Keys' convolution with A = -0.75 in float64, cells repeated beyond the edge."""
    height, width = cells.shape
    result = np.zeros((size, size))
    for y in range(size):
        for x in range(size):
            v, u = y * (height - 1) / (size - 1), x * (width - 1) / (size - 1)
            for row in range(int(v) - 1, int(v) + 3):
                for column in range(int(u) - 1, int(u) + 3):
                    cell = cells[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
                    result[y, x] += keys_weight(v - row) * keys_weight(u - column) * cell
    return result


def keys_weight(distance: float) -> float:
    d = abs(distance)
    if d <= 1:
        return 1.25 * d**3 - 2.25 * d**2 + 1
    return -0.75 * d**3 + 3.75 * d**2 - 6 * d + 3 if d < 2 else 0.0


def random_map(height: int, width: int, spread: float = 1, centre: float = 0) -> np.ndarray:
    rng = np.random.default_rng([height, width])
    return rng.normal(centre, spread, size=(height, width)).astype(np.float32)


def of_torch(cells: np.ndarray, mode: str, size: int = 224) -> np.ndarray:
    batch = torch.from_numpy(cells)[None, None]
    return F.interpolate(batch, size=(size, size), mode=mode, align_corners=True)[0, 0].numpy()


@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 20), (1, 5), (40, 31)])
def test_half_pixel_agrees_with_a_loop_over_pixels(height: int, width: int):
    cells = random_map(height, width)

    np.testing.assert_allclose(
        half_pixel_bilinear(cells, 32),
        looped(cells, 32, lambda pixel, n: (pixel + 0.5) * n / 32 - 0.5),
        atol=1e-5,
    )


@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 20), (1, 5), (40, 31)])
def test_align_corners_agrees_with_a_loop_over_pixels(height: int, width: int):
    cells = random_map(height, width)

    np.testing.assert_allclose(
        align_corners_bilinear(cells, 32),
        looped(cells, 32, lambda pixel, n: pixel * (n - 1) / 31),
        atol=1e-5,
    )


@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 20), (1, 5), (40, 31)])
def test_bicubic_agrees_with_a_loop_over_pixels_and_cells(height: int, width: int):
    cells = random_map(height, width)

    np.testing.assert_allclose(
        align_corners_bicubic(cells, 32), looped_bicubic(cells, 32), atol=1e-5
    )


@with_avx2
@pytest.mark.parametrize("mode", CORNERS)
@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize(("spread", "centre"), [(1, 0), (1e-3, 5), (1e4, -3e4)])
def test_align_corners_has_the_bits_of_torch(
    mode: str, height: int, width: int, spread: float, centre: float
):
    cells = random_map(height, width, spread, centre)

    np.testing.assert_array_equal(CORNERS[mode](cells, 224), of_torch(cells, mode))


@with_avx2
@pytest.mark.parametrize("mode", CORNERS)
@pytest.mark.parametrize("size", [65, 100, 223, 256])
def test_align_corners_has_the_bits_of_torch_at_other_sizes(mode: str, size: int):
    cells = random_map(7, 9)

    np.testing.assert_array_equal(CORNERS[mode](cells, size), of_torch(cells, mode, size))


@pytest.mark.parametrize("resize", [half_pixel_bilinear, *CORNERS.values()])
def test_a_map_of_the_protocol_size_is_left_alone(resize: Callable[..., np.ndarray]):
    cells = random_map(32, 32)

    assert resize(cells, 32).tolist() == cells.tolist()


@pytest.mark.parametrize("resize", [half_pixel_bilinear, *CORNERS.values()])
def test_a_map_is_not_changed_by_resizing_it(resize: Callable[..., np.ndarray]):
    cells = random_map(7, 9)
    before = cells.copy()

    resize(cells, 32)

    assert cells.tolist() == before.tolist()


@pytest.mark.parametrize("resize", [half_pixel_bilinear, *CORNERS.values()])
def test_a_transposed_view_gives_the_map_of_its_copy(resize: Callable[..., np.ndarray]):
    cells = random_map(7, 9).T

    assert resize(cells, 32).tolist() == resize(cells.copy(), 32).tolist()


def test_bicubic_overshoots_a_step_and_bilinear_does_not():
    step = np.array([[0, 0, 4, 4]], np.float32)

    assert align_corners_bicubic(step, 224).max() > 4.3
    assert align_corners_bilinear(step, 224).max() == 4


@pytest.mark.parametrize("taps_of", [linear_taps, cubic_taps])
def test_shared_weights_cannot_be_written_to(taps_of: Callable[..., object]):
    taps = taps_of(7, 32)

    with pytest.raises(ValueError, match="read-only"):
        taps.weights[0] = 0
