import numpy as np
import pytest

from datamodules.pixel_boxes import pixel_fractions

LOST_BY_DIVISION = (61, 115, 122)  # measured: int((k / 224) * 224) is k - 1


def test_every_whole_pixel_comes_back() -> None:
    pixels = np.arange(225.0)

    back = [int(fraction * 224) for fraction in pixel_fractions(pixels)]

    assert list(range(225)) == back


def test_only_the_quotients_that_lose_a_pixel_are_moved() -> None:
    pixels = np.arange(225.0)

    moved = np.flatnonzero(pixel_fractions(pixels) != pixels / 224)

    assert moved.tolist() == list(LOST_BY_DIVISION)
    assert (pixel_fractions(pixels)[moved] == np.nextafter(moved / 224, 1)).all()


def test_a_coordinate_just_below_a_pixel_stays_below_it() -> None:
    below = np.nextafter(np.arange(1.0, 225.0), 0)
    assert (np.trunc(below / 224 * 224) == np.arange(1.0, 225.0)).any()  # plain division fails

    back = [int(fraction * 224) for fraction in pixel_fractions(below)]

    assert list(range(224)) == back


def test_parts_of_a_pixel_are_kept() -> None:
    assert pixel_fractions(np.array([[47.6]])).tolist() == [[47.6 / 224]]


@pytest.mark.parametrize("size", [7, 100, 224, 256, 1000])
def test_every_pixel_of_another_grid_comes_back(size: int) -> None:
    pixels = np.arange(size + 1.0)

    assert (pixel_fractions(pixels, size) * size).astype(int).tolist() == list(range(size + 1))


def test_random_coordinates_lead_back_to_their_pixels() -> None:
    pixels = np.random.default_rng(0).uniform(0, 300, size=20000)

    back = (pixel_fractions(pixels) * 224).astype(int)

    assert back.tolist() == [int(pixel) for pixel in pixels.tolist()]
