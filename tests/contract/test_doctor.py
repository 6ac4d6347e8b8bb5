"""`bench doctor` on miniatures, whole and broken."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datamodules.sample_data import SAMPLES

Bench = Callable[..., Any]


@pytest.fixture(scope="module", params=SAMPLES)
def miniature(request: pytest.FixtureRequest, bench: Bench, tmp_path_factory: Any) -> Any:
    root = tmp_path_factory.mktemp("doctor") / request.param
    assert bench("sample-data", request.param, "--root", root, "--clips", 16).code == 0
    return request.param, root


def test_every_miniature_is_complete(bench: Bench, miniature: tuple[str, Path]) -> None:
    name, root = miniature

    shown, told = bench("doctor", name, "--root", root), bench("doctor", name, "--root", root,
                                                               "--json")  # fmt: skip

    assert (shown.code, told.code) == (0, 0), shown.err
    assert "The test set is complete" in shown.out
    found = json.loads(told.out)
    assert found["complete"] is True
    assert found["is_miniature"] is True
    assert found["lists"][0]["use"] == "test"


def test_a_missing_and_a_broken_file_make_the_exit_code_1(bench: Bench, tmp_path: Path) -> None:
    bench("sample-data", "vggss", "--root", tmp_path / "root", "--clips", 16)
    entries = json.loads((tmp_path / "root" / "vggss.json").read_text())
    first, second = entries[0]["file"], entries[1]["file"]
    (tmp_path / "root" / "frames" / f"{first}.jpg").unlink()
    (tmp_path / "root" / "audio" / f"{second}.wav").write_bytes(b"")

    done = bench("doctor", "vggss", "--root", tmp_path / "root")

    assert done.code == 1
    assert f"test, missing: {first}" in done.out
    assert f"audio/{second}.wav: the file is empty" in " ".join(done.out.split())
    assert "The test set is NOT complete: 2 of 4 samples" in done.out
    assert "bench prepare vggss --videos DIR --root" in done.out


def test_boxes_without_extent_are_told_once(bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "root"
    bench("sample-data", "vggss", "--root", root, "--clips", 16)
    whole = bench("doctor", "vggss", "--root", root).out
    entries = json.loads((root / "vggss.json").read_text())
    entries[0]["bbox"] = [[0.5, 0.5, 0.5, 0.9]]
    (root / "vggss.json").write_text(json.dumps(entries))

    broken = bench("doctor", "vggss", "--root", root).out

    count = sum(len(entry["bbox"]) for entry in entries)
    assert f"boxes: {count}, each with extent inside the frame" in whole
    assert f"boxes: {count}\n" in broken
    assert broken.count("extent inside the frame") == broken.count(entries[0]["file"]) == 1


def test_lists_and_annotations_alone_are_told_of(bench: Bench, tmp_path: Path) -> None:
    bench("sample-data", "vggss", "--root", tmp_path / "root", "--clips", 16)
    for folder in ("frames", "audio"):
        shutil.rmtree(tmp_path / "root" / folder)

    done = bench("doctor", "vggss", "--root", tmp_path / "root", "--json")

    found = json.loads(done.out)
    assert (done.code, len(found["media"]["test"]["missing"])) == (1, 4)
    assert found["leakage"] == [
        {"train": "train", "test": "vggss", "clips": 2, "videos": 2},
        {"train": "train", "test": "vggss_test", "clips": 2, "videos": 2},
    ]


@pytest.mark.parametrize("content", [None, "", "[]", '[{"file": "testvideo_1'])
def test_a_set_whose_annotations_cannot_be_read_is_not_complete(
    bench: Bench, tmp_path: Path, content: str | None
) -> None:
    root = tmp_path / "root"
    bench("sample-data", "vggss", "--root", root, "--clips", 16)
    (root / "vggss.json").unlink()
    if content is not None:
        (root / "vggss.json").write_text(content)

    shown, told = bench("doctor", "vggss", "--root", root), bench("doctor", "vggss", "--root", root,
                                                                  "--json")  # fmt: skip

    assert (shown.code, told.code) == (1, 1)
    words = " ".join(shown.out.split())
    assert "The test set is NOT complete: its annotations cannot be read" in words
    assert "4 of 4 samples of vggss_test can be used" in words
    found = json.loads(told.out)
    assert found["complete"] is False
    assert str(root / "vggss.json") in found["annotation_defect"]


def test_generated_clips_are_complete(bench: Bench) -> None:
    settings = ("data.train_clips=16", "data.val_clips=4", "data.test_clips=4")

    assert bench("doctor", "synthetic", *settings).code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("vggs",), "unknown data set 'vggs'. Did you mean vggss?"),
        (("vggss",), "data.root is not set"),
        (("vggss", "--root", "/nowhere"), "/nowhere is not a folder; give data.root=DIR"),
        (("vggss", "data.rot=x"), "unknown setting 'data.rot'"),
    ],
)
def test_mistakes_are_told_in_one_line(bench: Bench, words: tuple[str, ...], message: str) -> None:
    done = bench("doctor", *words)

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err
