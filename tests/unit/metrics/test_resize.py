import numpy as np
import pytest
import torch
from torch.nn import functional as F

from metrics.functional.resize import align_corners_bilinear, half_pixel_bilinear


def looped_half_pixel(cells: np.ndarray, size: int) -> np.ndarray:
    result = np.empty((size, size))
    height, width = cells.shape
    for y in range(size):
        for x in range(size):
            v = min(max((y + 0.5) * height / size - 0.5, 0), height - 1)
            u = min(max((x + 0.5) * width / size - 0.5, 0), width - 1)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = cells[top, left] * (1 - u + left) + cells[top, right] * (u - left)
            lower = cells[bottom, left] * (1 - u + left) + cells[bottom, right] * (u - left)
            result[y, x] = upper * (1 - v + top) + lower * (v - top)
    return result


def random_map(height: int, width: int) -> np.ndarray:
    return np.random.default_rng([height, width]).normal(size=(height, width)).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 20), (1, 5), (40, 31)])
def test_half_pixel_agrees_with_a_loop_over_pixels(height: int, width: int):
    cells = random_map(height, width)

    np.testing.assert_allclose(
        half_pixel_bilinear(cells, 32), looped_half_pixel(cells, 32), atol=1e-5
    )


@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 20), (1, 5), (300, 250)])
def test_align_corners_agrees_with_torch(height: int, width: int):
    cells = random_map(height, width)
    batch = torch.from_numpy(cells)[None, None]
    expected = F.interpolate(batch, size=(224, 224), mode="bilinear", align_corners=True)[0, 0]

    np.testing.assert_allclose(align_corners_bilinear(cells, 224), expected.numpy(), atol=1e-6)


def test_a_map_of_the_protocol_size_is_left_alone():
    cells = random_map(32, 32)

    assert half_pixel_bilinear(cells, 32).tolist() == cells.tolist()
    assert align_corners_bilinear(cells, 32).tolist() == cells.tolist()
