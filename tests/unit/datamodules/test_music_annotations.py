import json
from pathlib import Path

import numpy as np
import pytest

from datamodules.music_annotations import read_music
from metrics.errors import BenchError
from metrics.functional.rasterise import box_union

FRAME, OTHER = "4Oy5VmaacaI_0_1000/frame_013/00411", "-_-TDDxoaAc_0_1000/frame_048/01454"
LEFT, RIGHT, LOW = [0.0, 0.0, 0.25, 1.0], [0.5, 0.0, 0.5, 0.5], [0.0, 0.75, 1.0, 0.25]


def box(normbox: object, number: object = 1) -> dict[str, object]:
    return {"box": [1, 2, 3, 4], "normbox": normbox, "category_id": number}


def written(path: Path, frames: dict[str, object]) -> Path:
    path.write_text(
        json.dumps({k: {"bbox": v, "wdith": 640, "height": 360} for k, v in frames.items()})
    )
    return path


def test_all_boxes_of_a_frame_are_one_annotator(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", {f"{FRAME}.jpg": [box(LEFT), box(RIGHT, 3)]})

    (truth,) = read_music(path).truth

    assert truth.id == FRAME
    assert [boxes.tolist() for boxes in truth.boxes] == [[[0, 0, 0.25, 1], [0.5, 0, 1, 0.5]]]


def test_each_instrument_is_a_source_in_the_order_of_the_boxes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", {FRAME: [box(LEFT, 12), box(RIGHT, 3), box(LOW, 12)]})

    (truth,) = read_music(path).truth

    assert [source.category for source in truth.sources] == ["flute", "acoustic_guitar"]
    assert truth.sources[0].boxes.tolist() == [[0, 0, 0.25, 1], [0, 0.75, 1, 1]]
    assert truth.sources[1].boxes.tolist() == [[0.5, 0, 1, 0.5]]
    assert truth.category is None


@pytest.mark.parametrize(("number", "name"), [(13, "accordion"), (5, "instrument 5")])
def test_the_class_of_a_solo_is_its_instrument(tmp_path: Path, number: int, name: str) -> None:
    (truth,) = read_music(written(tmp_path / "a.json", {FRAME: [box(LEFT, number)]})).truth

    assert truth.category == name


def test_frames_without_a_box_are_left_out_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", {OTHER: [], FRAME: [box(LEFT)]})

    truths, notes = read_music(path)

    assert [truth.id for truth in truths] == [FRAME]
    assert notes == ("1 of 2 frames have no box in a.json and are left out",)


def test_nothing_is_told_where_every_frame_has_a_box(tmp_path: Path) -> None:
    assert read_music(written(tmp_path / "a.json", {FRAME: [box(LEFT)]})).notes == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a/b/c.jpg": {"bbox": [', "is not readable JSON"),
        ('{"a/b/c": {"bbox": []}, "a/b/c": {"bbox": []}}', "'a/b/c' occurs twice"),
        ('{"a/b/c": {"bbox": []}, "a/b/c.jpg": {"bbox": []}}', "annotated twice, with .jpg and"),
        ("[]", "expected an object with a key per frame; .*--annotations FILE"),
        ("{}", "expected an object with a key per frame"),
        ('{"a/b/c": {"bbox": []}}', "no frame has a box"),
        ('{"../b/c": {"bbox": []}}', "would lead out of the data root"),
        ('{"a/b": {"bbox": []}}', "the id 'a/b' is no <video>/<frame folder>/<frame>"),
        ('{"a/b/c.jpg": []}', r"\(a/b/c\.jpg\): 'bbox' must be a list of boxes"),
        ('{"a/b/c": {"bbox": [3]}}', r"\(a/b/c\): a box must have 'normbox'"),
        ('{"a/b/c": {"bbox": [{"normbox": [0, 0, 1, 1]}]}}', "and 'category_id'"),
        ('{"a/b/c": {"bbox": [{"normbox": [0, 1, 1], "category_id": 1}]}}', "4 finite numbers"),
        ('{"a/b/c": {"bbox": [{"normbox": [0, 0, 1, 1], "category_id": 1.5}]}}', "a whole number"),
        ('{"a/b/c": {"bbox": [{"normbox": [0, 0, 1e307, 1], "category_id": 1}]}}', "beyond 1e.15"),
        (
            '{"a/b/c": {"bbox": [{"normbox": [0, 0, 1, 1], "category_id": -1' + "0" * 20 + "}]}}",
            "none beyond 1e.15",
        ),
    ],
)
def test_malformed_annotations_are_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "solotest.json").write_text(content)

    with pytest.raises(BenchError, match=rf"solotest\.json.*{words}"):
        read_music(tmp_path / "solotest.json")


def test_a_map_is_that_of_the_published_code(tmp_path: Path) -> None:
    # From duettest.json; 224 * (x + w) and 224 * (y + h) would end a pixel later.
    found = [
        [0.5828125, 0.25833333333333336, 0.1984375, 0.3611111111111111],
        [0.509375, 0.12222222222222222, 0.25, 0.7527777777777778],
    ]
    expected = np.zeros((224, 224), dtype=bool)
    for normbox in found:
        x, y, width, height = np.array(normbox) * 224
        expected[int(y) : int(y + height), int(x) : int(x + width)] = True

    (truth,) = read_music(
        written(tmp_path / "a.json", {FRAME: [box(each) for each in found]})
    ).truth

    assert np.array_equal(expected, box_union(truth.boxes[0], 224))


@pytest.mark.parametrize(
    ("name", "frames", "boxes", "empty", "lost_by_division"),
    [("solotest", 12356, 12356, 1116, 34), ("duettest", 10284, 15035, 1228, 68)],
)
def test_the_published_files_give_the_published_pixels(
    shared_data: Path, name: str, frames: int, boxes: int, empty: int, lost_by_division: int
) -> None:
    path = shared_data / "annotations" / "music" / f"{name}.json"
    published = []
    plain = []
    for entry in json.loads(path.read_text()).values():
        for each in entry["bbox"]:
            x, y, width, height = (value * 224 for value in each["normbox"])
            published.append([int(x), int(y), int(x + width), int(y + height)])
            x, y, width, height = each["normbox"]
            plain.append([int(value * 224) for value in (x, y, x + width, y + height)])

    truths, notes = read_music(path)

    values = np.concatenate([truth.boxes[0] for truth in truths])
    assert (np.clip(values, 0, 1) * 224).astype(int).tolist() == published
    assert (len(truths), len(values)) == (frames, boxes)
    assert notes[0].startswith(f"{empty} of {frames + empty} frames have no box")
    assert sum(a != b for a, b in zip(plain, published, strict=True)) == lost_by_division
