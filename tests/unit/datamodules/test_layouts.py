import os
from pathlib import Path

import pytest

from datamodules.layouts import Layout, RootFiles, leads_out
from datamodules.vggss import LAYOUTS, milliseconds_key
from metrics.errors import BenchError

CLIP = "-a_bcdefghi_000030"


def written(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_the_first_suffix_that_exists_is_taken(tmp_path: Path) -> None:
    files = RootFiles(written(tmp_path, "frames/a.png", "frames/b.jpg", "frames/b.png"))

    found = [[files.find(f"frames/{{id}}{end}", key) for end in (".jpg", ".png")] for key in "abc"]

    assert found == [[None, "frames/a.png"], ["frames/b.jpg", "frames/b.png"], [None, None]]


def test_a_star_before_the_id_stands_for_any_folder(tmp_path: Path) -> None:
    files = RootFiles(written(tmp_path, "Data/0/12.jpg", "Data/7/34.jpg", "Data/readme"))

    assert files.find("Data/*/{id}.jpg", "34") == "Data/7/34.jpg"
    assert list(files.keys("Data/*/{id}.jpg")) == ["12", "34"]


def test_a_star_after_the_id_stands_for_the_first_file_in_order(tmp_path: Path) -> None:
    files = RootFiles(written(tmp_path, "1.mp4/00002.jpg", "1.mp4/00001.jpg", "1.mp4/00000.txt"))

    assert files.find("{id}.mp4/*.jpg", "1") == "1.mp4/00001.jpg"
    assert files.find("{id}.mp4/*.jpg", "2") is None


def test_a_file_inside_the_folder_of_a_clip_must_be_there(tmp_path: Path) -> None:
    files = RootFiles(written(tmp_path, "f/a/125.jpg", "f/b/1.jpg"))

    assert files.find("f/{id}/125.jpg", "a") == "f/a/125.jpg"
    assert files.find("f/{id}/125.jpg", "b") is None


def test_an_id_may_stand_twice_in_a_path(tmp_path: Path) -> None:
    files = RootFiles(written(tmp_path, "1.mp4/1.wav", "2.mp4/1.wav"))

    assert files.find("{id}.mp4/{id}.wav", "1") == "1.mp4/1.wav"
    assert files.find("{id}.mp4/{id}.wav", "2") is None


def test_ids_that_start_with_dashes_are_found_as_they_are(tmp_path: Path) -> None:
    files = RootFiles(written(tmp_path, f"frames/{CLIP}.jpg", "frames/.hidden.jpg"))

    assert list(files.keys("frames/{id}.jpg")) == [CLIP]


def test_a_link_out_of_the_root_is_told_from_one_inside(tmp_path: Path) -> None:
    root = written(tmp_path / "root", "frames/a.jpg")
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (root / "frames" / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "frames" / "in.jpg").symlink_to(root / "frames" / "a.jpg")

    found = {name: leads_out(root, f"frames/{name}.jpg") for name in ("a", "in", "out")}

    assert found == {"a": False, "in": False, "out": True}


def test_a_folder_that_is_a_link_is_the_users_own_choice(tmp_path: Path) -> None:
    written(tmp_path / "elsewhere", "a.jpg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "frames").symlink_to(tmp_path / "elsewhere")
    files = RootFiles(tmp_path / "root")

    assert files.find("frames/{id}.jpg", "a") == "frames/a.jpg"
    assert not leads_out(tmp_path / "root", "frames/a.jpg")


def test_a_folder_that_links_to_itself_is_no_folder(tmp_path: Path) -> None:
    os.symlink("frames", tmp_path / "frames")

    assert not RootFiles(tmp_path).has_folders(["frames/{id}.jpg"])


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    written(tmp_path, "frames/a.jpg")
    monkeypatch.setattr(os, "listdir", refuse)

    with pytest.raises(BenchError, match=r"frames cannot be listed \(Permission denied\)"):
        RootFiles(tmp_path).find("frames/{id}.jpg", "a")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.frames[0])
def test_every_published_tree_of_vggss_is_found(tmp_path: Path, layout: Layout) -> None:
    key = layout.key(CLIP)
    frame, sound = (names[0].replace("{id}", key) for names in (layout.frames, layout.sounds))
    files = RootFiles(written(tmp_path, frame, sound))

    assert files.find(layout.frames[0], key) == frame
    assert files.find(layout.sounds[0], key) == sound


def test_sslalignment_names_a_clip_by_its_milliseconds() -> None:
    assert milliseconds_key("abcdefghijk_000000") == "abcdefghijk_0_10000"
    assert milliseconds_key(CLIP) == "-a_bcdefghi_30000_40000"
