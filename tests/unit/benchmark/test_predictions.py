import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark.predictions import read_given, read_predictions, write_predictions
from metrics.errors import BenchError

HISTORY = Path(__file__).parents[2] / "records_v1"
IDS = ["a", "b"]
MAPS = np.arange(8, dtype=np.float32).reshape(2, 2, 2)


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of two maps, with changed or further arrays."""

    def write(**changed: object) -> Path:
        path = tmp_path / "maps.npz"
        np.savez(path, **{"id": np.array(IDS), "heatmap": MAPS, **changed})  # type: ignore[arg-type]
        return path

    return write


def content(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def test_ids_and_maps_are_read_as_they_stand(npz: Callable[..., Path]) -> None:
    found = read_predictions(npz())

    assert found.ids == ("a", "b")
    np.testing.assert_array_equal(found.heatmap, MAPS)
    assert (found.confidence, found.boxes, found.map_range) == (None, None, None)
    assert found.use_boxes is False


def test_what_a_run_writes_is_read_back(tmp_path: Path) -> None:
    write_predictions(tmp_path / "run.npz", IDS, MAPS, confidence=np.array([0.5, -1.0]))

    found = read_predictions(tmp_path / "run.npz")

    np.testing.assert_array_equal(found.heatmap, MAPS)
    np.testing.assert_array_equal(found.confidence, [0.5, -1.0])


@pytest.mark.parametrize("kind", ["float16", "float64", "int8", "uint8", "bool", ">f4"])
def test_maps_may_be_of_any_real_type(kind: str, npz: Callable[..., Path]) -> None:
    found = read_predictions(npz(heatmap=np.ones((2, 2, 2)).astype(kind)))

    np.testing.assert_array_equal(found.heatmap, np.ones((2, 2, 2)))


def test_a_compressed_file_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "maps.npz").write_bytes(content(id=np.array(IDS), heatmap=MAPS))

    np.testing.assert_array_equal(read_predictions(tmp_path / "maps.npz").heatmap, MAPS)


def test_boxes_without_maps_are_what_is_scored(tmp_path: Path) -> None:
    (tmp_path / "boxes.npz").write_bytes(content(id=np.array(IDS), boxes=np.ones((2, 1, 4))))

    assert read_predictions(tmp_path / "boxes.npz").use_boxes is True


def test_the_range_of_the_maps_is_two_numbers(npz: Callable[..., Path]) -> None:
    assert read_predictions(npz(map_range=np.array([-1, 1]))).map_range == (-1.0, 1.0)


@pytest.mark.parametrize("kind", [bool, np.uint8])
def test_the_rule_of_a_method_is_written_and_read_back(tmp_path: Path, kind: type) -> None:
    told = np.array([True, False])
    write_predictions(tmp_path / "a.npz", IDS, MAPS, on_screen=told.astype(kind))

    assert read_predictions(tmp_path / "a.npz").on_screen.tolist() == [True, False]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (np.array([0.5, 1.0]), "on_screen must be .N,. of true and false"),
        (np.array([2, 1]), "on_screen must be .N,. of true and false"),
        (np.array([True]), r"on_screen must be \(2,\), a row per id, got \(1,\)"),
    ],
)
def test_a_rule_that_is_no_row_of_yes_and_no_is_refused(
    told: np.ndarray, words: str, npz: Callable[..., Path]
) -> None:
    with pytest.raises(BenchError, match=rf"maps\.npz: {words}"):
        read_predictions(npz(on_screen=told))


def test_boxes_stand_by_falling_score(npz: Callable[..., Path]) -> None:
    boxes = np.arange(24, dtype=float).reshape(2, 3, 4)
    scores = np.array([[0.1, 0.9, 0.5], [np.nan, 0.2, 0.2]])

    found = read_predictions(npz(boxes=boxes, box_scores=scores)).boxes

    np.testing.assert_array_equal(found, [boxes[0, [1, 2, 0]], boxes[1, [1, 2, 0]]])


def test_boxes_without_scores_stay_in_their_order(npz: Callable[..., Path]) -> None:
    boxes = np.arange(24, dtype=float).reshape(2, 3, 4)

    np.testing.assert_array_equal(read_predictions(npz(boxes=boxes)).boxes, boxes)


@pytest.mark.parametrize("scores", [np.ones(2), np.ones((2, 3)), np.array([["x"], ["y"]])])
def test_scores_that_do_not_fit_the_boxes_are_refused(
    scores: np.ndarray, npz: Callable[..., Path]
) -> None:
    path = npz(boxes=np.ones((2, 1, 4)), box_scores=scores)

    with pytest.raises(BenchError, match=r"maps.npz: box_scores must be \(N, K\) real numbers"):
        read_predictions(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_cut_anywhere_is_refused_by_name(save: Callable[..., None], tmp_path: Path) -> None:
    stream, path = io.BytesIO(), tmp_path / "cut.npz"
    save(stream, id=np.array(IDS), heatmap=MAPS)
    whole = stream.getvalue()

    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BenchError, match=r"cut.npz cannot be read as .npz \("):
            read_predictions(path)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'shape': (2,",  # numpy: TokenError
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1 2), }",  # SyntaxError
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**30},), }}",  # OverflowError
        "{1: 2, 'descr': 3, 'shape': 4}",  # TypeError
    ],
)
def test_an_array_with_a_damaged_header_is_refused_in_one_line(tmp_path: Path, header: str) -> None:
    line = header.encode().ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line
    (tmp_path / "maps.npz").write_bytes(content(id=np.array(IDS)))
    with zipfile.ZipFile(tmp_path / "maps.npz", "a") as archive:
        archive.writestr("heatmap.npy", array)

    with pytest.raises(
        BenchError, match=r"maps\.npz cannot be read as \.npz \(.*\); write"
    ) as told:
        read_predictions(tmp_path / "maps.npz")
    assert "\n" not in str(told.value)


def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "damaged.npz"
    whole = content(id=np.array(IDS), heatmap=MAPS, boxes=np.ones((2, 1, 4)))
    refused: list[str] = []

    for _ in range(600):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(len(damaged), size=2)] = rng.integers(256, size=2)
        path.write_bytes(damaged.tobytes())
        try:
            read_predictions(path)
        except BenchError as error:
            refused.append(str(error))

    assert len(refused) > 300
    assert all(message.startswith(str(path)) for message in refused)
    assert not any("\n" in message for message in refused)


def member(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_an_array_that_claims_more_than_memory_is_refused(tmp_path: Path) -> None:
    shape, vast = b"(2, 2, 2), }", b"(9999999999, 9999999, 9), }"
    header = member(MAPS).replace(shape + b" " * (len(vast) - len(shape)), vast)
    with zipfile.ZipFile(tmp_path / "vast.npz", "w") as archive:
        archive.writestr("id.npy", member(np.array(IDS)))
        archive.writestr("heatmap.npy", header)

    assert vast in header
    with pytest.raises(BenchError, match=r"vast.npz cannot be read as .npz \("):
        read_predictions(tmp_path / "vast.npz")


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("id", "a\nb\n")

    with pytest.raises(BenchError, match=r"text.npz: id is no array; write plain arrays"):
        read_predictions(tmp_path / "text.npz")


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "maps.npy", MAPS)

    with pytest.raises(BenchError, match=r"maps.npy cannot be read as .npz \(it is no archive of"):
        read_predictions(tmp_path / "maps.npy")


def test_arrays_of_other_names_are_left_out_with_a_warning(
    npz: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = npz(heatmaps=MAPS, notes=np.array(["x"]))

    read_predictions(path)

    assert caplog.messages == [f"{path}: arrays left out, not known: heatmaps, notes"]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run whose record says that its maps lie in [-1, 1]."""
    folder = tmp_path / "run"
    folder.mkdir()
    record = json.loads((HISTORY / "complete.json").read_text())
    record["card"]["map_range"] = [-1.0, 1.0]
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def test_a_run_folder_gives_both_sets_of_maps_with_the_range_of_its_record(
    run_folder: Path,
) -> None:
    write_predictions(run_folder / "predictions.npz", IDS, MAPS)
    write_predictions(run_folder / "predictions_swap.npz", IDS, MAPS + 1)

    given = read_given(run_folder)

    assert given.predictions is not None
    assert given.swapped is not None
    assert given.record is not None
    assert (given.path, given.floor, given.record.method) == (run_folder, None, "hardpos")
    assert given.predictions.map_range == given.swapped.map_range == (-1.0, 1.0)
    np.testing.assert_array_equal(given.swapped.heatmap, MAPS + 1)


def test_a_run_without_swapped_sounds_has_none(run_folder: Path) -> None:
    write_predictions(run_folder / "predictions.npz", IDS, MAPS)

    assert read_given(run_folder).swapped is None


def test_a_floors_run_is_its_rule(run_folder: Path) -> None:
    (run_folder / "predictions.json").write_text('{"floor": "center"}')

    given = read_given(run_folder)

    assert (given.predictions, given.floor) == (None, "center")


@pytest.mark.parametrize("text", ['{"floor', "[]", "{}", "null"])
def test_a_damaged_rule_is_refused_by_name(text: str, run_folder: Path) -> None:
    (run_folder / "predictions.json").write_text(text)

    with pytest.raises(BenchError, match=r"predictions.json names no floor .*; run it again"):
        read_given(run_folder)


def test_a_run_without_its_maps_is_refused(run_folder: Path) -> None:
    with pytest.raises(BenchError, match=r"run/predictions.npz does not exist"):
        read_given(run_folder)


def test_an_unfinished_run_is_refused(run_folder: Path) -> None:
    write_predictions(run_folder / "predictions.npz", IDS, MAPS)
    (run_folder / "record.json").unlink()

    with pytest.raises(BenchError, match=r"run/record.json does not exist; a run without it was"):
        read_given(run_folder)


def test_a_file_is_given_without_a_record(npz: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.npz"
    shutil.copy(npz(), path)

    given = read_given(path)

    assert (given.path, given.record, given.swapped, given.floor) == (path, None, None, None)
