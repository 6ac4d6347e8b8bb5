from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from datamodules.flickr_annotations import read_flickr
from metrics.errors import BenchError
from metrics.functional.rasterise import box_map
from metrics.truth import Truth

A, B, C = (12, 40, 200, 256), (61, 7, 115, 122), (0, 0, 255, 255)


def bbox(box: Sequence[object], first: str = "1") -> str:
    names = ("xmin", "ymin", "xmax", "ymax")
    corners = "".join(f"<{n}>{v}</{n}>" for n, v in zip(names, box, strict=True))
    return f"<bbox><id>{first}</id>{corners}</bbox>"


def written(folder: Path, frame: str, *elements: str) -> Path:
    """An XML file whose root holds a file name and then one element per given text."""
    folder.mkdir(exist_ok=True)
    inside = "".join(f"<x>{element}</x>" for element in elements)
    (folder / f"{frame}.xml").write_text(
        f"<annotation><filename>{frame}.jpg</filename>{inside}</annotation>"
    )
    return folder


def pixels_of(truth: Truth) -> list[list[list[int]]]:
    return [(boxes * 256).astype(int).tolist() for boxes in truth.boxes]


def published_map(boxes: Sequence[Sequence[int]]) -> np.ndarray:
    """The rule of LVS, EZ-VSL and their successors, written out box by box."""
    votes = np.zeros((224, 224))
    for box in boxes:
        left, top, right, bottom = (int(224 * value / 256) for value in box)
        for row in range(top, min(bottom, 224)):
            for column in range(left, min(right, 224)):
                votes[row, column] += 0.5
    return np.minimum(votes, 1)


def test_each_element_around_boxes_is_an_annotator(tmp_path: Path) -> None:
    folder = written(tmp_path, "7", bbox(A) + bbox(B, "2"), bbox(C), bbox(A))

    (truth,), (note,) = read_flickr(folder)

    assert pixels_of(truth) == [[list(A), list(B)], [list(C)], [list(A)]]
    assert note == (
        "annotators are told apart by the element around their boxes; "
        "of 1 frames, by how many drew: 1 have 3"
    )


def test_the_first_child_tells_annotators_apart_in_a_single_element(tmp_path: Path) -> None:
    folder = written(tmp_path, "7", bbox(A, "u1") + bbox(B, "u2") + bbox(C, "u1"))

    (truth,), (note,) = read_flickr(folder)

    assert pixels_of(truth) == [[list(A), list(C)], [list(B)], []]
    assert "told apart by the first child of their boxes" in note


def test_an_element_per_box_falls_back_to_the_first_child(tmp_path: Path) -> None:
    folder = written(tmp_path, "7", bbox(A, "u1"), bbox(B, "u2"), bbox(C, "u1"), bbox(B, "u3"))

    (truth,), _ = read_flickr(folder)

    assert pixels_of(truth) == [[list(A), list(C)], [list(B)], [list(B)]]


def test_boxes_that_nothing_tells_apart_vote_each(tmp_path: Path) -> None:
    folder = written(tmp_path, "7", bbox(A, "object") + bbox(B, "object") + bbox(C, "object"))

    (truth,), (note,) = read_flickr(folder)

    assert pixels_of(truth) == [[list(A)], [list(B)], [list(C)]]
    assert "nothing, so each box is one" in note


def test_the_layout_is_one_for_all_files(tmp_path: Path) -> None:
    written(tmp_path, "1", bbox(A, "1") + bbox(B, "2"))  # one annotator with two numbered boxes
    folder = written(tmp_path, "2", bbox(A), bbox(B), bbox(C))

    (first, _), (note,) = read_flickr(folder)

    assert pixels_of(first) == [[list(A), list(B)], [], []]
    assert note.endswith("of 2 frames, by how many drew: 1 have 3, 1 have 1")


@pytest.mark.parametrize(
    ("elements", "boxes"),
    [
        ([bbox(A)], [A]),
        ([bbox(A) + bbox(B, "2")], [A, B]),
        ([bbox(A) + bbox(A, "2"), bbox(B)], [A, A, B]),
        ([bbox(A), bbox(B), bbox(C)], [A, B, C]),
        ([""], []),
    ],
    ids=["one box", "one element", "an annotator who agrees with himself", "three", "none"],
)
def test_the_map_by_boxes_is_the_published_one(
    tmp_path: Path, elements: list[str], boxes: list[tuple[int, ...]]
) -> None:
    (truth,), _ = read_flickr(written(tmp_path, "7", *elements))

    assert np.array_equal(published_map(boxes), box_map(truth, 224, "box"))


def test_one_box_is_half_a_vote(tmp_path: Path) -> None:
    (truth,), _ = read_flickr(written(tmp_path, "7", bbox((0, 0, 256, 256))))

    assert [len(boxes) for boxes in truth.boxes] == [1, 0, 0]
    assert (box_map(truth, 224, "annotator") == 0.5).all()


def test_coordinates_are_exact_fractions_that_truncate_as_published(tmp_path: Path) -> None:
    boxes = [(k, k, k + 1, k + 1) for k in range(256)]

    (truth,), _ = read_flickr(written(tmp_path, "7", "".join(bbox(box) for box in boxes)))

    values = np.concatenate([*truth.boxes])
    assert (values * 256).tolist() == [list(box) for box in boxes]
    assert [int(224 * k / 256) for k in range(257)] == [int(k / 256 * 224) for k in range(257)]


def test_listed_frames_are_read_in_the_order_of_the_list(tmp_path: Path) -> None:
    for frame in ("1", "2", "3"):
        written(tmp_path, frame, bbox(A))
    (tmp_path / "4.xml").write_text("broken, but not listed")

    truths, _ = read_flickr(tmp_path, ("3", "1"))

    assert [truth.id for truth in truths] == ["3", "1"]


def test_every_file_is_read_in_the_order_of_the_names(tmp_path: Path) -> None:
    for frame in ("30", "4", "2"):
        written(tmp_path, frame, bbox(A))
    (tmp_path / "._2.xml").write_bytes(b"\x00\x05")  # what macOS leaves beside a file

    truths, _ = read_flickr(tmp_path)

    assert [truth.id for truth in truths] == ["2", "30", "4"]


def test_the_first_frame_without_a_file_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path, "1", bbox(A))

    with pytest.raises(
        BenchError, match=r"lacks 2 of 3 listed frames, the first is 8\.xml; .*--annotations FILE"
    ):
        read_flickr(folder, ("1", "8", "9"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", r"is not readable XML \(no element found"),
        ("<annotation><x><bbox><id>1</id><xmin>1", "is not readable XML"),
        ('<?xml version="1.0" encoding="nonsense"?><a/>', "is not readable XML"),
        ("\x00\x01", "is not readable XML"),
        (f"<a><x><box>{bbox(A)}</box></x></a>", "expected <bbox>, got <box>"),
        ("<a><x><bbox><id>1</id><xmin>1</xmin></bbox></x></a>", "and then xmin, ymin, .* got 2"),
        (
            f"<a><x>{bbox((*A[:3], '1.5'))}</x></a>",
            r"ymax must be a whole number of px, got '1\.5'",
        ),
        (f"<a><x>{bbox(('', *A[1:]))}</x></a>", "xmin must be a whole number of px, got ''"),
        (f"<a><x>{bbox((1, 'nan', 2, 3))}</x></a>", "ymin must be a whole number"),
        (f"<a><x>{bbox((1, 2, '9' * 5000, 3))}</x></a>", "xmax must be a whole number"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "77.xml").write_text(content)

    with pytest.raises(BenchError, match=rf"77\.xml.*{words}") as caught:
        read_flickr(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_name_that_is_no_id_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"copy of 1\.xml: the id .* is no Flickr number"):
        read_flickr(written(tmp_path, "copy of 1", bbox(A)))


def test_a_folder_without_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"holds no <id>\.xml file; .*--annotations FILE"):
        read_flickr(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"none is no folder of <id>\.xml files"):
        read_flickr(tmp_path / "none")
