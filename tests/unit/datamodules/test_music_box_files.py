from pathlib import Path

import numpy as np
import pytest

from datamodules.ground_truth import ground_truth
from datamodules.music_box_files import read_box_files
from metrics.errors import BenchError

CELLO, FLUTE, VIOLIN = 1.0, 12.0, 11.0
UPPER_LEFT, LOWER_RIGHT = [0.1, 0.1, 0.25, 0.25], [0.5, 0.5, 0.5, 0.5]


def written(folder: Path, **files: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        np.save(folder / f"{name}.npy", np.array(rows))
    return folder


def test_each_row_is_a_sounding_instrument_and_empty_quadrants_are_silent(tmp_path: Path) -> None:
    folder = written(tmp_path / "box", a=[[*LOWER_RIGHT, FLUTE], [*UPPER_LEFT, CELLO]])

    (truth,) = read_box_files(folder, None).truth

    assert truth.boxes[0] == pytest.approx(np.array([[0.5, 0.5, 1, 1], [0.1, 0.1, 0.35, 0.35]]))
    assert [(each.category, each.sounding) for each in truth.sources] == [
        ("flute", True), ("cello", True), (None, False), (None, False),
    ]  # fmt: skip
    assert [each.boxes.tolist() for each in truth.sources[2:]] == [
        [[0.5, 0.0, 1.0, 0.5]], [[0.0, 0.5, 0.5, 1.0]],
    ]  # fmt: skip


def test_boxes_of_one_instrument_are_one_source(tmp_path: Path) -> None:
    rows = [[*UPPER_LEFT, CELLO], [*LOWER_RIGHT, CELLO]]

    (truth,) = read_box_files(written(tmp_path / "box", a=rows), None).truth

    assert len(truth.sources[0].boxes) == 2
    assert truth.category == "cello"


def test_more_than_two_instruments_sound_and_that_is_told(tmp_path: Path) -> None:
    crowd = [[*UPPER_LEFT, CELLO], [*LOWER_RIGHT, FLUTE], [0.5, 0.0, 0.5, 0.5, VIOLIN]]
    folder = written(tmp_path / "box", a=crowd, b=crowd[:2])

    truth, notes = read_box_files(folder, None)

    assert [sum(each.sounding for each in one.sources) for one in truth] == [3, 2]
    assert notes[0].startswith("1 of 2 pictures have boxes of more than 2 instruments, the first")


def test_whole_numbers_and_single_floats_are_read(tmp_path: Path) -> None:
    folder = written(tmp_path / "box", a=[[0, 0, 1, 1, 3]])
    np.save(folder / "b.npy", np.array([[0, 0, 1, 1, 3]], np.float32))

    truth = read_box_files(folder, None).truth

    assert [each.category for each in truth] == ["acoustic_guitar"] * 2


def test_scoring_finds_the_published_boxes_of_a_root(tmp_path: Path) -> None:
    written(tmp_path / "box", b=[[*UPPER_LEFT, CELLO]], a=[[*LOWER_RIGHT, FLUTE]])
    (tmp_path / "mine.txt").write_text("b")

    found = ground_truth("music_synthetic", root=tmp_path)
    chosen = ground_truth("music_synthetic", root=tmp_path, test_list=tmp_path / "mine.txt")

    assert [truth.id for truth in found.truth] == ["a", "b"]
    assert [truth.id for truth in chosen.truth] == ["b"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[0.0, 0.0, 1.0, 1.0]], r"expected rows of 5 numbers, .* got float64 \(1, 4\)"),
        (np.zeros((0, 5)), r"expected .* got float64 \(0, 5\)"),
        ([0.0, 0.0, 1.0, 1.0, 1.0], r"expected .* got float64 \(5,\)"),
        ([["0", "0", "1", "1", "cello"]], r"expected rows of 5 numbers"),
        ([[0.0, 0.0, 1.0, float("nan"), 1.0]], "boxes and categories must be numbers within 1e.15"),
        ([[0.0, 0.0, 1.0, 1e307, 1.0]], "boxes and categories must be numbers within 1e.15"),
        ([[0.0, 0.0, 1.0, 1.0, 1e300]], "boxes and categories must be numbers within 1e.15"),
        ([[0.0, 0.0, 1.0, 1.0, 1.5]], "boxes and categories must be .* categories whole"),
    ],
)
def test_malformed_boxes_are_named(tmp_path: Path, rows: object, words: str) -> None:
    with pytest.raises(BenchError, match=rf"a\.npy: {words}"):
        read_box_files(written(tmp_path / "box", a=rows), None)


def test_pickled_boxes_are_refused_in_words_and_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    folder = written(tmp_path / "box")
    np.save(folder / "a.npy", np.array([Trap()], dtype=object), allow_pickle=True)

    with pytest.raises(BenchError, match=r"a\.npy holds pickled objects, which are never read"):
        read_box_files(folder, None)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"0 0 1 1 3\n", b"PK\x03\x04", b"\x80\x04."])
def test_a_file_of_another_kind_is_not_called_pickled(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path / "box") / "a.npy"
    path.write_bytes(content)

    with pytest.raises(BenchError, match=r"a\.npy is no readable array \(it is no \.npy file\)"):
        read_box_files(tmp_path / "box", None)


@pytest.mark.parametrize("length", [0, 20, 140])
def test_truncated_files_are_named(tmp_path: Path, length: int) -> None:
    path = written(tmp_path / "box", a=[[*UPPER_LEFT, CELLO]]) / "a.npy"
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(BenchError, match=r"a\.npy is no readable array .* fetch it again"):
        read_box_files(tmp_path / "box", None)


def test_a_folder_without_boxes_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"holds no <id>\.npy of boxes"):
        read_box_files(tmp_path, None)
