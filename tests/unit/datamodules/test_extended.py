from pathlib import Path

import numpy as np
import pytest

from datamodules.extended import negative_notes, read_negatives
from datamodules.flickr_annotations import FLICKR_ID
from datamodules.vggss_annotations import VGGSS_ID, read_vggss
from metrics.errors import BenchError

HEADER = "video,audio,label\n"


def written(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_a_negative_is_named_after_its_frame_and_its_sound(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", f"{HEADER}1,2,non-sounding\r\n3,3,non-sounding")

    first, second = read_negatives(path, FLICKR_ID)

    assert (first.id, second.id) == ("1+2", "3+3")
    assert not first.on_screen
    assert first.category is None
    assert [boxes.shape for boxes in first.boxes] == [(0, 4)]


def test_pairs_of_one_class_are_counted_where_classes_are_known(tmp_path: Path) -> None:
    rows = "".join(f"{a},{b},non-sounding\n" for a, b in ((1, 1), (1, 2), (1, 3), (4, 5)))
    negatives = read_negatives(written(tmp_path / "a.csv", HEADER + rows), FLICKR_ID)

    notes = negative_notes(negatives, {"1": "dog", "2": "dog", "3": "cat", "4": None, "5": None})

    assert notes == (
        "4 negatives; 1 have the sound of their own frame; "
        "1 of the other 3 have a sound of their frame's class",
    )


def test_nothing_is_told_of_no_negatives() -> None:
    assert negative_notes((), {}) == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "must hold the header video,audio,label and a row per negative"),
        (HEADER, "must hold the header"),
        ("1,2,non-sounding\n", "must hold the header"),
        (f"{HEADER}1,2\n", r"line 2: expected <frame id>,<sound id>,non-sounding, got '1,2'"),
        (f"{HEADER}1,2,sounding\n", "got '1,2,sounding'"),
        (f"{HEADER}1,2,non-sounding\n../3,2,non-sounding\n", "line 3: .* out of the data root"),
        (f"{HEADER}1,x,non-sounding\n", "line 2: the id 'x' is no Flickr number"),
        (f"{HEADER}1,2,non-sounding\n\n1,2,non-sounding\n", r"1\+2 is annotated twice"),
    ],
)
def test_a_malformed_list_is_named(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(BenchError, match=rf"a\.csv.*{words}"):
        read_negatives(written(tmp_path / "a.csv", content), FLICKR_ID)


def test_a_binary_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x81")

    with pytest.raises(BenchError, match=r"a\.csv cannot be read as CSV"):
        read_negatives(tmp_path / "a.csv", FLICKR_ID)


def test_the_published_list_pairs_a_quarter_of_one_class(shared_data: Path) -> None:
    folder = shared_data / "annotations" / "vggss"
    classes = {truth.id: truth.category for truth in read_vggss(folder / "vggss.json")}

    negatives = read_negatives(folder / "vggss_test_plus_silent.csv", VGGSS_ID)

    assert len(negatives) == 5158
    assert np.sum([each.id[:18] == each.id[19:] for each in negatives]) == 379
    assert negative_notes(negatives, classes) == (
        "5158 negatives; 379 have the sound of their own frame; "
        "1185 of the other 4779 have a sound of their frame's class",
    )


def test_the_published_flickr_list_loads(shared_data: Path) -> None:
    path = shared_data / "annotations" / "flickr" / "flickr_test_plus_silent.csv"

    assert negative_notes(read_negatives(path, FLICKR_ID), {}) == ("250 negatives",)
