import json
from pathlib import Path

import numpy as np
import pytest

from datamodules.is3_annotations import is3_sample, read_is3
from metrics.errors import BenchError
from metrics.functional.rasterise import box_union

FIRST, SECOND = "cat_alarmclock_1828_cat", "cat_alarmclock_1828_alarmclock"


def entry(sample_id: str, box: object = (61.0, 0.0, 115.0, 122.0), **further: object) -> object:
    return {"image": f"/somewhere/frames/{sample_id}.jpg", "gt_box": box, **further}


def written(path: Path, *entries: object) -> Path:
    path.write_text(json.dumps(entries))
    return path


def test_an_entry_is_named_after_its_image(tmp_path: Path) -> None:
    truths = read_is3(written(tmp_path / "a.json", entry(FIRST), entry(SECOND))).truth

    assert [(t.id, t.frame, t.category) for t in truths] == [
        (FIRST, "cat_alarmclock_1828", "cat"),
        (SECOND, "cat_alarmclock_1828", "alarmclock"),
    ]


def test_a_box_covers_its_whole_pixels(tmp_path: Path) -> None:
    (truth,) = read_is3(
        written(tmp_path / "a.json", entry(FIRST, [61.0, 115.0, 122.9, 224.0]))
    ).truth
    expected = np.zeros((224, 224), dtype=bool)
    expected[115:224, 61:122] = True

    assert np.array_equal(expected, box_union(truth.boxes[0], 224))


def test_a_label_goes_before_the_name(tmp_path: Path) -> None:
    (truth,) = read_is3(written(tmp_path / "a.json", entry(FIRST, label="kitten"))).truth

    assert truth.category == "kitten"


def test_the_id_alone_tells_frame_and_class() -> None:
    sample = is3_sample("a_b_c")

    assert (sample.frame, sample.category, sample.boxes) == ("a_b", "c", ())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[{"image": "a_b', "is not readable JSON"),
        ("[]", "expected a list of annotated sounds; .*--annotations FILE"),
        ("{}", "expected a list of annotated sounds"),
        ("[3]", "entry 0: expected an object, got int"),
        ('[{"gt_box": [0, 0, 1, 1]}]', "entry 0: 'image' must be a text, got nothing"),
        ('[{"image": "cat.jpg", "gt_box": [0, 0, 1, 1]}]', "entry 0: the id 'cat' is no <objects"),
        ('[{"image": "a_b.jpg"}]', r"entry 0 \(a_b\): 'gt_box' must be a box"),
        ('[{"image": "a_b.jpg", "gt_box": [0, 0, 1, NaN]}]', r"\(a_b\): 'gt_box' must be"),
        ('[{"image": "a_b.jpg", "gt_box": [0, 0, 1, 1], "label": 3}]', "'label' must be a text"),
    ],
)
def test_malformed_annotations_are_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "is3.json").write_text(content)

    with pytest.raises(BenchError, match=rf"is3\.json.*{words}"):
        read_is3(tmp_path / "is3.json")


def test_a_sound_that_is_annotated_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=f"{FIRST} is annotated twice"):
        read_is3(written(tmp_path / "a.json", entry(FIRST), entry(SECOND), entry(FIRST)))


def test_the_published_file_gives_the_published_pixels(shared_data: Path) -> None:
    path = shared_data / "annotations" / "is3" / "synthetic3240_bbox.json"
    published = [[int(value) for value in each["gt_box"]] for each in json.loads(path.read_text())]

    truths = read_is3(path).truth

    boxes = np.concatenate([truth.boxes[0] for truth in truths])
    assert (np.clip(boxes, 0, 1) * 224).astype(int).tolist() == published
    assert (len(truths), len({truth.frame for truth in truths})) == (6480, 3240)
    assert len({truth.category for truth in truths}) == 111
