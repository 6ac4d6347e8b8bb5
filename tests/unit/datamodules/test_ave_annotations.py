from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from datamodules.ave_annotations import (
    BACKGROUND,
    CATEGORIES,
    HEADER,
    read_ave,
    read_ave_list,
    read_rows,
    video_of,
)
from datamodules.id_lists import leakage
from metrics.errors import BenchError
from metrics.floors import available_floors, floor_scores

BELL, RACE = "Church bell&RUhOCu3LNXM&good&2&5", "Race car, auto racing&-_-TDDxoaAc&good&0&10"
FRYING = "Frying (food)&RUhOCu3LNXM&good&0&0"


def written(path: Path, lines: Sequence[str], end: str = "\n") -> Path:
    path.write_text(end.join(lines), encoding="utf-8", newline="")
    return path


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    return written(tmp_path / "Annotations.txt", [BELL, RACE, FRYING])


def order(path: Path, places: object, key: str = "order") -> Path:
    with h5py.File(path, "w") as file:
        file[key] = places
    return path


def test_a_row_is_a_video_a_category_and_its_seconds(annotations: Path) -> None:
    first, second, third = read_rows(annotations)

    assert first == ("RUhOCu3LNXM", 0, 2, 5)
    assert (second.id, third.id) == ("-_-TDDxoaAc@4", "RUhOCu3LNXM@10")


def test_seconds_outside_the_event_are_background(annotations: Path) -> None:
    truth = read_ave(annotations).truth

    segments = [each.segments.tolist() for each in truth if each.segments is not None]
    assert segments == [[28, 28, 0, 0, 0, 28, 28, 28, 28, 28], [4] * 10, [28] * 10]
    assert [each.category for each in truth] == [
        "Church bell", "Race car, auto racing", "Frying (food)",
    ]  # fmt: skip
    assert [each.boxes for each in truth] == [()] * 3


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_header_blank_lines_and_windows_line_ends_change_nothing(
    tmp_path: Path, annotations: Path, end: str
) -> None:
    path = written(tmp_path / "b.txt", ["\ufeff" + HEADER, BELL, "", RACE, FRYING, ""], end)

    assert read_rows(path) == read_rows(annotations)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Church bell&RUhOCu3LNXM&good&2", "expected 5 fields .*, got 4"),
        (HEADER, "unknown category 'Category'"),
        ("Church bel&RUhOCu3LNXM&good&2&5", "unknown category 'Church bel'. Did you mean Church"),
        ("Bark&RUhOCu3LNXM&good&2.5&5", r"start must be a whole second in \[0, 10\], got '2.5'"),
        ("Bark&RUhOCu3LNXM&good&2&11", r"end must be a whole second in \[0, 10\], got '11'"),
        ("Bark&RUhOCu3LNXM&good&-1&5", "start must be a whole second"),
        ("Bark&RUhOCu3LNXM&good&6&5", "must not end before it starts, got 6 to 5"),
        ("Bark&../../../etc&good&1&5", "would lead out of the data root"),
        ("Bark&RUhOCu3LNX&good&1&5", "the id 'RUhOCu3LNX@2' is no <11-character video id>@"),
    ],
)
def test_a_line_that_breaks_the_format_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = written(tmp_path / "a.txt", [BELL, line])

    with pytest.raises(BenchError, match=rf"a\.txt, line 2: .*{words}"):
        read_rows(path)


def test_a_video_with_the_same_category_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", [BELL, BELL])

    with pytest.raises(BenchError, match="RUhOCu3LNXM@0 is annotated twice"):
        read_ave(path)


@pytest.mark.parametrize("content", [b"", HEADER.encode(), b"\n\n"])
def test_a_file_without_a_row_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)

    with pytest.raises(BenchError, match="holds no row; expected category&video id&"):
        read_rows(path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(BenchError, match="cannot be read as text .*; fetch it again"):
        read_rows(path)


def test_an_order_file_names_rows_of_the_annotations(tmp_path: Path, annotations: Path) -> None:
    listed = read_ave_list(order(tmp_path / "test_order.h5", [2, 0]), annotations)

    assert listed.ids == ("RUhOCu3LNXM@10", "RUhOCu3LNXM@0")


def test_a_text_list_holds_ids_or_lines_of_the_annotations(
    tmp_path: Path, annotations: Path
) -> None:
    path = written(tmp_path / "mine.txt", ["# mine", RACE, "", "RUhOCu3LNXM@0"])

    assert read_ave_list(path, annotations).ids == ("-_-TDDxoaAc@4", "RUhOCu3LNXM@0")


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([0, 3], r"must hold rows 0 to 2 of Annotations\.txt, got 3"),
        ([-1], "got -1"),
        ([2, 1, 1, 2], "holds row 2 twice"),
        ([0.0, 1.0], "must hold whole numbers, got 2 of float64"),
        (np.array([], dtype=np.int64), "must hold whole numbers, got 0 of int64"),
        ([[0, 1]], r"must be \(any\) numbers, got \(1, 2\)"),
    ],
)
def test_an_order_that_names_no_rows_is_refused(
    tmp_path: Path, annotations: Path, places: object, words: str
) -> None:
    with pytest.raises(BenchError, match=rf"test_order\.h5: 'order' .*{words}.*; fetch it again"):
        read_ave_list(order(tmp_path / "test_order.h5", places), annotations)


def test_an_order_under_another_key_is_refused(tmp_path: Path, annotations: Path) -> None:
    path = order(tmp_path / "test_order.h5", [0], key="avadataset")

    with pytest.raises(BenchError, match="holds no array 'order' of its own, but avadataset"):
        read_ave_list(path, annotations)


def test_a_listed_clip_that_is_not_annotated_is_named(tmp_path: Path, annotations: Path) -> None:
    path = written(tmp_path / "mine.txt", ["RUhOCu3LNXM@0", "RUhOCu3LNXM@1"])

    with pytest.raises(BenchError, match=r"mine\.txt: 1 of 2 ids .* the first is RUhOCu3LNXM@1"):
        read_ave_list(path, annotations)


@pytest.fixture
def published(shared_data: Path) -> Path:
    return shared_data / "annotations" / "ave"


def ids_of(published: Path, split: str) -> tuple[str, ...]:
    return read_ave_list(published / f"{split}_order.h5", published / "Annotations.txt").ids


def test_the_published_file_has_4143_rows_of_4097_videos(published: Path) -> None:
    rows = read_rows(published / "Annotations.txt")

    assert (len(rows), len({row.video for row in rows})) == (4143, 4097)
    assert list(dict.fromkeys(CATEGORIES[row.category] for row in rows)) == list(CATEGORIES)
    assert len({row.id for row in rows}) == 4143


def test_the_published_splits_have_3339_402_and_402_clips_and_share_none(published: Path) -> None:
    train, val, test = (ids_of(published, split) for split in ("train", "val", "test"))

    assert (len(train), len(val), len(test)) == (3339, 402, 402)
    assert len({*train, *val, *test}) == 4143


def test_published_lists_share_8_and_10_videos(published: Path) -> None:
    train, val, test = (ids_of(published, split) for split in ("train", "val", "test"))

    assert leakage(train, test, video_of)[:2] == (0, 8)
    assert leakage(train, val, video_of)[:2] == (0, 10)
    assert leakage(val, test, video_of)[:2] == (0, 0)


def test_background_is_17_1_percent_of_all_seconds_and_715_of_4020_of_the_test(
    published: Path,
) -> None:
    truth = read_ave(published / "Annotations.txt").truth
    tested = set(ids_of(published, "test"))

    background = [
        sum(int(label == BACKGROUND) for label in each.segments)
        for each in truth if each.segments is not None
    ]  # fmt: skip
    of_test = [n for n, each in zip(background, truth, strict=True) if each.id in tested]
    assert round(sum(background) / 41430, 3) == 0.171
    assert (sum(of_test), len(of_test)) == (715, 402)


def test_the_floors_of_the_test_seconds_are_17_8_and_82_2_percent(published: Path) -> None:
    annotations = published / "Annotations.txt"
    tested = set(read_ave_list(published / "test_order.h5", annotations).ids)
    truth = [sample for sample in read_ave(annotations).truth if sample.id in tested]

    found = {name: floor_scores(name, truth, "bench-v1") for name in available_floors(truth)}

    assert found.keys() == {"background", "clip_label"}
    assert found["background"].metrics == {"segment_acc": pytest.approx(715 / 4020)}
    assert found["clip_label"].metrics == {"segment_acc": pytest.approx(3305 / 4020)}
