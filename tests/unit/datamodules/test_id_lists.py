from collections.abc import Sequence
from pathlib import Path

import pytest

from datamodules.id_lists import find_list, is_held_out, leakage, read_id_list
from datamodules.vggss_annotations import VGGSS_ID, video_of
from metrics.errors import BenchError

FIRST, SECOND = "-aB_cdefghi_000030", "zpWuikVorYg_000032"


def listed(path: Path, content: str) -> Path:
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        f"{FIRST}\n{SECOND}",
        f"{FIRST}\r\n{SECOND}\r\n",
        f"\n{FIRST}\n\n  {SECOND}\n\n",
        f"\ufeff{FIRST}\n{SECOND}\n",
    ],
    ids=["no last line end", "windows", "blank lines", "byte-order mark"],
)
def test_every_way_to_end_lines_gives_the_same_ids(tmp_path: Path, content: str) -> None:
    read = read_id_list(listed(tmp_path / "a.txt", content), VGGSS_ID)

    assert read.ids == (FIRST, SECOND)


def test_a_repeated_id_is_kept_once_and_counted(tmp_path: Path) -> None:
    path = listed(tmp_path / "a.txt", "\n".join([SECOND, FIRST, SECOND, SECOND]))

    read = read_id_list(path, VGGSS_ID)

    assert (read.ids, read.duplicates) == ((SECOND, FIRST), 2)


@pytest.mark.parametrize(
    "row",
    [
        "zpWuikVorYg_32",
        "zpWuikVorYg_000032.mp4",
        "video",
        f"{FIRST},{SECOND}",
        "zpWuikVorYö_000032",
    ],
)
def test_a_row_that_is_no_id_is_named_with_its_file_and_line(tmp_path: Path, row: str) -> None:
    path = listed(tmp_path / "a.txt", f"{FIRST}\n\n{row}\n")

    with pytest.raises(
        BenchError, match=r"a\.txt, line 3: the id .* is no <11-character video id>"
    ):
        read_id_list(path, VGGSS_ID)


@pytest.mark.parametrize("row", ["../../etc/passwd", "..\\secret", "frames/../../x"])
def test_an_id_that_leaves_the_root_is_refused(tmp_path: Path, row: str) -> None:
    path = listed(tmp_path / "a.txt", row)

    with pytest.raises(BenchError, match="would lead out of the data root"):
        read_id_list(path, VGGSS_ID)


@pytest.mark.parametrize("content", ["", "\n\r\n  \n"])
def test_a_list_without_ids_is_named(tmp_path: Path, content: str) -> None:
    path = listed(tmp_path / "a.txt", content)

    with pytest.raises(BenchError, match=r"a\.txt holds no id; expected one <11-character"):
        read_id_list(path, VGGSS_ID)


def test_a_binary_file_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00\x81")

    with pytest.raises(BenchError, match=r"a\.txt cannot be read as a list of ids"):
        read_id_list(tmp_path / "a.txt", VGGSS_ID)


def test_a_bare_name_means_a_file_of_the_root(tmp_path: Path) -> None:
    path = listed(tmp_path / "vggss_10k.txt", FIRST)

    assert find_list(tmp_path, "vggss_10k", "data.train_list") == path


def test_a_bare_name_is_also_sought_in_metadata(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    path = listed(tmp_path / "metadata" / "vggss_test.csv", FIRST)

    assert find_list(tmp_path, "vggss_test", "data.test_list") == path


def test_a_path_outside_the_root_is_taken_as_it_is(tmp_path: Path) -> None:
    path = listed(tmp_path / "mine.lst", FIRST)

    assert find_list(tmp_path / "root", str(path), "data.train_list") == path


def test_a_list_that_is_nowhere_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"data\.train_list=vggss_1k names no list file .*1k\.txt"):
        find_list(tmp_path, "vggss_1k", "data.train_list")


def test_leakage_counts_clips_and_videos_and_finds_every_row_of_the_videos() -> None:
    train = ["aaaaaaaaaaa_000010", "aaaaaaaaaaa_000050", "bbbbbbbbbbb_000010", FIRST]
    test = ["aaaaaaaaaaa_000010", "bbbbbbbbbbb_000099", SECOND]

    leaks = leakage(train, test, video_of)

    assert (leaks.clips, leaks.videos, leaks.rows) == (1, 2, {0, 1, 2})


def test_videos_whose_ids_hold_underscores_are_not_confused() -> None:
    leaks = leakage(["ab_cdefghij_000010"], ["ab_xdefghij_000010"], video_of)

    assert leaks.videos == 0


def naive_shared(train: Sequence[str], test: Sequence[str]) -> int:
    return len(set(train) & set(test))


@pytest.mark.parametrize(("name", "clips"), [("vggss_144k", 3709), ("vggss_10k", 238)])
def test_published_lists_contain_published_test_clips(
    shared_data: Path, name: str, clips: int
) -> None:
    folder = shared_data / "annotations" / "vggss"
    train = read_id_list(folder / f"{name}.txt", VGGSS_ID).ids
    test = read_id_list(folder / "vggss_test.csv", VGGSS_ID).ids

    leaks = leakage(train, test, video_of)

    assert (len(test), leaks.clips) == (5158, clips)
    assert leaks.videos == naive_shared([i[:11] for i in train], [i[:11] for i in test])


def test_a_tenth_of_the_videos_is_held_out() -> None:
    share = sum(is_held_out(f"video{number}", 0.1) for number in range(5000)) / 5000

    assert share == pytest.approx(0.1, abs=0.02)


def test_a_larger_fraction_holds_out_the_same_videos_and_more() -> None:
    videos = [f"video{number}" for number in range(200)]
    small, large = (
        {video for video in videos if is_held_out(video, fraction)} for fraction in (0.1, 0.3)
    )

    assert small < large


def test_the_id_may_stand_in_the_first_of_several_columns(tmp_path: Path) -> None:
    path = listed(tmp_path / "a.csv", f"{FIRST},202\n\n{SECOND},0\n")

    read = read_id_list(path, VGGSS_ID, id_of=lambda line: line.partition(",")[0])

    assert read.ids == (FIRST, SECOND)
