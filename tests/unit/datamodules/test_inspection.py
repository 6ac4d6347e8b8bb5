import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from datamodules.clip import Inputs
from datamodules.flickr import Flickr
from datamodules.folder_clips import FolderConfig
from datamodules.inspection import Inspection, ListLeakage, inspected
from datamodules.vggss import VggSs
from metrics.errors import BenchError

TEST = [f"testvideo_{number}_000010" for number in range(5)]
TRAIN = [f"-rainvideo{number}_000020" for number in range(4)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for name in ("frames", "audio"):
        (folder / name).mkdir(parents=True)
    for row, clip_id in enumerate([*TEST, *TRAIN]):
        Image.new("RGB", (32, 24), (20 * row, 0, 0)).save(folder / "frames" / f"{clip_id}.jpg")
        write_sound(folder, clip_id, np.full(80000, 0.1 + row / 20))
    boxes = [[[0.2, 0.2, 0.6, 0.6], [0.4, 0.4, 0.4, 0.9]], *[[[0.2, 0.2, 0.6, 0.6]]] * 3,
             [[0.5, 0.5, -2.9e16, 1.0]]]  # fmt: skip
    entries = [{"file": i, "class": "dog", "bbox": b} for i, b in zip(TEST, boxes, strict=True)]
    (folder / "vggss.json").write_text(json.dumps(entries))
    write_list(folder / "vggss_10k.txt", [*TRAIN, TEST[0], f"{TEST[1][:11]}_000900", TRAIN[0]])
    write_list(folder / "vggss_heard_test.csv", TEST[:1])
    return folder


def write_sound(root: Path, clip_id: str, samples: np.ndarray) -> None:
    soundfile.write(root / "audio" / f"{clip_id}.wav", samples, 8000)


def write_list(path: Path, ids: Iterable[str]) -> None:
    path.write_text("\n".join(ids))


def inspection(
    root: Path, kind: type[VggSs] | type[Flickr] = VggSs, train_list: str | None = None
) -> Inspection:
    data = kind(FolderConfig(root=str(root), train_list=train_list), Inputs(), seed=0)
    return inspected(kind.data_name, data)


def test_a_whole_test_set_is_complete(root: Path) -> None:
    found = inspection(root)

    assert found.is_complete
    assert (found.media["test"].expected, found.media["test"].present) == (5, 5)
    assert found.media["train"].missing == (f"{TEST[1][:11]}_000900",)


def test_every_list_has_a_name_a_count_and_a_hash(root: Path) -> None:
    found = inspection(root)

    assert [(each.use, each.name, each.n, each.repeated) for each in found.lists] == [
        ("test", "vggss", 5, 0), ("train", "vggss_10k", 6, 1), ("test", "vggss_heard_test", 1, 0),
    ]  # fmt: skip
    assert len({each.sha256 for each in found.lists}) == 3


def test_leakage_is_counted_between_every_training_and_every_test_list(root: Path) -> None:
    assert inspection(root).leakage == (
        ListLeakage("vggss_10k", "vggss", clips=1, videos=2),
        ListLeakage("vggss_10k", "vggss_heard_test", clips=1, videos=1),
    )


def test_boxes_without_extent_are_counted_and_samples_without_any_named(root: Path) -> None:
    boxes = inspection(root).boxes

    assert (boxes.total, boxes.degenerate, boxes.without) == (6, 2, (TEST[4],))


def test_each_defect_of_a_file_is_told_by_its_kind(root: Path) -> None:
    (root / "frames" / f"{TEST[0]}.jpg").unlink()
    (root / "frames" / f"{TEST[1]}.jpg").write_bytes(b"no image")
    write_sound(root, TEST[2], np.zeros(80000))
    write_sound(root, TEST[3], np.full(24000, 0.3))
    shutil.copy(root / "frames" / f"{TRAIN[0]}.jpg", root / "frames" / f"{TRAIN[1]}.jpg")

    found = inspection(root)

    test = found.media["test"]
    assert (test.missing, test.silent, test.wrong_length) == (
        (TEST[0],),
        (TEST[2],),
        {TEST[3]: 3.0},
    )
    assert test.unreadable.keys() == {TEST[1]}
    assert test.unreadable[TEST[1]].startswith(f"frames/{TEST[1]}.jpg: ")
    assert found.media["train"].duplicates == ((TRAIN[0], TRAIN[1]),)
    assert not found.is_complete


def test_sounds_that_differ_at_their_ends_alone_are_no_duplicates(root: Path) -> None:
    samples = np.full(80000, 0.27)
    write_sound(root, TEST[0], samples)
    samples[-1] = 0
    write_sound(root, TEST[1], samples)

    assert inspection(root).media["test"].duplicates == ()


def test_a_link_out_of_the_root_is_not_read(root: Path, tmp_path: Path) -> None:
    path = root / "audio" / f"{TEST[0]}.wav"
    path.rename(tmp_path / "outside.wav")
    path.symlink_to(tmp_path / "outside.wav")

    (reason,) = inspection(root).media["test"].unreadable.values()

    assert reason == f"audio/{TEST[0]}.wav: a link that leads out of the data root"


def test_a_link_to_itself_is_unreadable(root: Path) -> None:
    path = root / "frames" / f"{TEST[0]}.jpg"
    path.unlink()
    path.symlink_to(path.name)

    assert TEST[0] in inspection(root).media["test"].unreadable


def test_lists_and_annotations_are_enough(root: Path) -> None:
    for folder in ("frames", "audio"):
        shutil.rmtree(root / folder)

    found = inspection(root)

    assert len(found.media["test"].missing) == 5
    assert found.boxes.total == 6
    assert not found.is_complete


def test_without_annotations_the_lists_are_still_compared(tmp_path: Path) -> None:
    write_list(tmp_path / "flickr_test.csv", ["1,0", "2,0"])
    write_list(tmp_path / "flickr_10k.txt", ["2", "3"])

    found = inspection(tmp_path, Flickr)

    assert found.leakage == (ListLeakage("flickr_10k", "flickr_test", clips=1, videos=1),)
    assert found.notes[0].startswith("annotations were not read: ")


def test_a_test_list_that_trains_is_both_and_leaks_whole(tmp_path: Path) -> None:
    write_list(tmp_path / "flickr_test.csv", ["1,0", "2,0"])

    found = inspection(tmp_path, Flickr, train_list="flickr_test")

    assert [(each.use, each.name) for each in found.lists] == [
        ("test", "flickr_test"), ("train", "flickr_test"),
    ]  # fmt: skip
    assert found.leakage == (ListLeakage("flickr_test", "flickr_test", clips=2, videos=2),)
    assert found.media["test"].expected == 2


def test_with_neither_annotations_nor_a_test_list_nothing_can_be_said(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"Annotations is missing; put Annotations of"):
        inspection(tmp_path, Flickr)


def test_published_lists_leak_as_published(shared_data: Path) -> None:
    found = inspection(shared_data / "annotations" / "vggss")

    leaks = {(each.train, each.test): each.clips for each in found.leakage}
    assert leaks["vggss_144k", "vggss"] == 3709
    assert leaks["vggss_144k", "vggss_heard_test"] == 1859
    assert leaks["vggss_144k", "vggss_unheard_test"] == 1840
    assert leaks["vggss_10k", "vggss"] == 238
    assert leaks["vggss_heard", "vggss"] == 0
    assert (found.boxes.total, found.boxes.degenerate) == (5941, 18)
