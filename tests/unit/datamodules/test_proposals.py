from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from datamodules.proposals import (
    MOST_KEPT,
    PARTS,
    Extractor,
    absent_last,
    as_proposals,
    chosen,
    compact,
    grid,
    one_opencv_thread,
)
from metrics.errors import BenchError

NAN = float("nan")


def picture(seed: int = 0, height: int = 48, width: int = 64) -> torch.Tensor:
    """A bright rectangle on dark noise, (3, H, W)."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(40, size=(3, height, width), dtype=np.uint8)
    pixels[:, height // 4 : height // 2, width // 4 : width // 2] += 180
    return torch.from_numpy(pixels)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes by their sides."""
    sides = [min(a[2 + k], b[2 + k]) - max(a[k], b[k]) for k in (0, 1)]
    shared = max(0.0, sides[0]) * max(0.0, sides[1])
    areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (a, b)]
    return shared / (areas[0] + areas[1] - shared)


def test_selective_search_finds_the_rectangle():
    boxes = Extractor("selective_search", 96).finder()(picture(), "c") / PARTS

    assert max(iou(box, np.array([0.25, 0.25, 0.5, 0.5])) for box in boxes) > 0.9


def test_selective_search_has_the_same_boxes_whatever_was_drawn_before():
    find = Extractor("selective_search", None).finder()
    first = find(picture(), "c")
    find(picture(1), "d")  # moves the state of C's rand, which orders the boxes
    cv2.setRNGSeed(7)

    assert first.tobytes() == find(picture(), "c").tobytes()


def test_the_colours_of_a_picture_are_taken_as_red_green_blue():
    """OpenCV takes blue first; red and blue differ in brightness, so an exchange is seen."""
    pixels = picture()
    pixels[0] //= 3
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(pixels.numpy()[::-1].transpose(1, 2, 0)))
    search.switchToSelectiveSearchFast()
    expected = {(x, y, x + w, y + h) for x, y, w, h in search.process().tolist()}

    found = Extractor("selective_search", None).finder()(pixels, "c")

    sides = np.array([64, 48, 64, 48])
    assert expected == {tuple(np.rint(box / PARTS * sides).astype(int).tolist()) for box in found}


def test_boxes_are_in_shares_of_a_picture_of_any_shape():
    find = Extractor("selective_search", 64).finder()
    tall = find(picture(height=120, width=20), "c") / PARTS

    assert max(iou(box, np.array([0.25, 0.25, 0.5, 0.5])) for box in tall) > 0.8
    assert tall.max() == 1


def test_a_picture_of_one_colour_has_itself_as_its_only_box():
    find = Extractor("selective_search", 64).finder()

    assert [[0, 0, PARTS, PARTS]] == find(
        torch.full((3, 8, 8), 70, dtype=torch.uint8), "c"
    ).tolist()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (300, 1)])
def test_pictures_of_a_few_pixels_have_boxes_inside_of_them(shape: tuple[int, int]):
    boxes = Extractor("selective_search", 16).finder()(picture(0, *shape), "c")

    assert len(boxes) >= 1
    assert (boxes[:, :2] < boxes[:, 2:]).all()


def test_the_grid_has_every_square_and_those_half_way_between_them():
    boxes = grid(np.zeros((9, 9, 3), np.uint8))

    assert (205, 4) == boxes.shape
    assert [0.0, 0.0, 1.0, 1.0] == boxes[0].tolist()
    halves = [[0.0, 0.0, 0.5, 0.5], [0.25, 0.0, 0.75, 0.5], [0.5, 0.5, 1.0, 1.0]]
    assert all(half in boxes.tolist() for half in halves)
    assert boxes.min() == 0
    assert boxes.max() == pytest.approx(1)


def test_kept_boxes_are_sorted_and_none_is_there_twice():
    boxes = np.array([[0.5, 0, 1, 1], [0, 0, 0.25, 1], [0.5, 0, 1, 1], [0, 0, 0.25, 0.5]])

    expected = [[0, 0, 16384, 32768], [0, 0, 16384, 65535], [32768, 0, 65535, 65535]]
    assert expected == compact(boxes).tolist()


def test_a_box_of_one_pixel_stays():
    one = np.array([[3 / 320, 5 / 240, 4 / 320, 6 / 240]])

    (kept,) = as_proposals(compact(one), 1)

    assert kept.tolist() == pytest.approx(one[0].tolist(), abs=1 / PARTS)
    assert kept[2] > kept[0]


def test_no_boxes_are_kept_as_none():
    assert (0, 4) == compact(np.empty((0, 4))).shape


def test_of_too_many_boxes_the_content_chooses():
    boxes = np.arange(400, dtype=np.uint16).reshape(100, 4)

    first, again, other = (chosen(boxes, 10, content) for content in ("a", "a", "b"))

    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    assert first.tolist() == sorted(first.tolist())
    assert 10 == len({tuple(box) for box in first.tolist()} & {tuple(b) for b in boxes.tolist()})


def test_every_box_is_chosen_as_often_as_another():
    boxes = np.arange(40, dtype=np.uint16).reshape(10, 4)
    counts = np.zeros(10)
    for content in range(2000):
        counts[chosen(boxes, 3, str(content))[:, 0] // 4] += 1

    assert 0.3 == pytest.approx(counts.mean() / 2000)
    assert np.abs(counts / 2000 - 0.3).max() < 0.05  # five times the spread of such a share


def test_few_boxes_are_all_chosen():
    boxes = np.arange(12, dtype=np.uint16).reshape(3, 4)

    assert boxes.tobytes() == chosen(boxes, 3, "a").tobytes()


def test_no_more_than_5_kb_are_kept_of_a_picture():
    many = grid(np.zeros((1, 1, 3), np.uint8))
    shifted = np.concatenate([many, many * 0.9, many * 0.8, many * 0.7])

    assert 820 > MOST_KEPT
    assert 5120 == chosen(compact(shifted), MOST_KEPT, "c").nbytes


@pytest.mark.parametrize("count", [0, 1, 3])
def test_absent_boxes_are_nan_at_the_end(count: int):
    boxes = np.full((count, 4), PARTS, np.uint16)

    found = as_proposals(boxes, 3)

    assert torch.float32 == found.dtype
    assert [1.0] * count == found[:count, 0].tolist()
    assert found[count:].isnan().all()
    assert (3, 4) == found.shape


def test_absent_boxes_go_behind_the_others():
    boxes = torch.tensor([[[NAN] * 4, [0.1] * 4, [NAN] * 4, [0.0] * 4], [[0.5] * 4] * 4])

    found = absent_last(boxes)

    assert [0.1, 0.0] == pytest.approx(found[0, :2, 0].tolist())
    assert found[0, 2:].isnan().all()
    assert torch.equal(boxes[1], found[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("selectiv_search", 320), "'selectiv_search' is unknown; Did you mean selective_search?"),
        (("grid", 0), "data.proposal_width=0 must be at least 1, or null"),
        (("edgeboxes", 320), "data.proposal_model is not set; give data.proposal_model=FILE"),
        (("edgeboxes", 320, Path("no.gz")), "data.proposal_model=no.gz is not a file; give"),
        (("grid", 320, Path("a.gz")), "data.proposal_model=a.gz is for data.proposals=edgeboxes"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: tuple[object, ...], message: str):
    with pytest.raises(BenchError, match=message.replace("?", r"\?")):
        Extractor(*settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content",
    ["%YAML:1.0\n---\nname: 1\n", "", "neither", "%YAML:1.0\n---\noptions:\n   numberOfTrees: 4\n"],
)
def test_a_file_that_is_no_forest_is_refused(tmp_path: Path, content: str):
    (tmp_path / "model.yml").write_text(content)
    extractor = Extractor("edgeboxes", 320, tmp_path / "model.yml")

    with pytest.raises(BenchError, match=r"model.yml is no structured forest that OpenCV reads"):
        extractor.finder()


def test_extractors_of_other_settings_have_other_identities(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    all_of_them = [
        Extractor("selective_search", 320),
        Extractor("selective_search", None),
        Extractor("grid", 320),
        Extractor("edgeboxes", 320, tmp_path / "a"),
        Extractor("edgeboxes", 320, tmp_path / "b"),
    ]

    assert 5 == len({str(each.identity()) for each in all_of_them})
    assert Extractor("grid", 320).identity() == Extractor("grid", None).identity()


def test_opencv_has_its_threads_back_after_the_search():
    before = cv2.getNumThreads()

    with one_opencv_thread():
        within = cv2.getNumThreads()

    assert (1, before) == (within, cv2.getNumThreads())
