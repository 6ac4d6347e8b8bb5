"""The pictures of a gallery, on a data set whose ids and classes are as bad as can be."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.ranking import Section
from benchmark.records import Record
from benchmark.report.boards import Board
from benchmark.report.gallery import Answers, Gallery, make_gallery
from benchmark.report.site import page_environment
from benchmark.report.tables import Head
from datamodules.base import ClipData, DataConfig, DataReport, Split
from datamodules.clip import Inputs
from metrics.errors import BenchError
from metrics.truth import Truth

IDS = ("<script>alert(1)</script>", "\"'><img src=x onerror=alert(2)>", "../../up", "plain")
CLASS = "</h3><script>alert(3)</script>"


class Evil(ClipData):
    """Frames of one grey value each, with a tone."""

    data_name = "evil"
    has_files = True

    def load(self) -> DataReport:
        split = Split("evil/test", IDS, IDS, (CLASS,) * len(IDS))
        return DataReport({"train": Split("evil/train", (), (), ()), "test": split}, len(IDS))

    def truth(self) -> tuple[Truth, ...]:
        box = (np.array([[0.0, 0.0, 0.5, 0.5]]),)
        return tuple(Truth(each, box, category=CLASS) for each in IDS)

    def frames(self, split: str, row: int) -> Tensor:
        return torch.full((1, 3, 32, 32), 60 * row, dtype=torch.uint8)

    def waveform(self, split: str, row: int) -> Tensor:
        return torch.sin(torch.arange(1600)[None] / 5)


@pytest.fixture
def board(record: Record) -> Board:
    return Board(Section((record,)), frozenset())


def answers(name: str, *ciou: float) -> Answers:
    maps = {each: np.eye(4, dtype=np.float32) for each in IDS}
    return Answers(Head(name), "run", maps, dict(zip(IDS, ciou, strict=True)),
                   dict.fromkeys(IDS, 0.5))  # fmt: skip


def made(board: Board, top: Path, *, media: bool = True) -> Gallery:
    data = Evil(DataConfig(), Inputs(image_size=32), seed=0)
    both = [answers("one", 0.1, 0.9, 0.6, 0.2), answers("<b>two</b>", 0.1, 0.8, 0.1, 0.3)]
    return make_gallery(board, both, data, top, each=4, media=media)


def test_ids_and_classes_are_text_and_name_plain_files(board: Board, tmp_path: Path) -> None:
    gallery = made(board, tmp_path)
    html = page_environment().get_template("gallery.html").render(
        up="../", address="gallery/x.html", board=board, gallery=gallery, media=True
    )  # fmt: skip

    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "<b>two" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(tmp_path / "media" / board.slug) for path in files)
    assert {sample.sound for group in gallery.groups for sample in group.samples} == {
        path.relative_to(tmp_path).as_posix() for path in files if path.suffix == ".wav"
    }


def test_groups_hold_the_samples_of_their_rule(board: Board, tmp_path: Path) -> None:
    gallery = made(board, tmp_path)

    first = {group.title: group.samples[0].id for group in gallery.groups}
    assert {
        "Where methods disagree most": "../../up",
        "Worst": "<script>alert(1)</script>",
        "Best": IDS[1],
    } == first
    assert [0.6, 0.1] == [one.ciou for one in gallery.groups[0].samples[0].maps]
    assert [True, False] == [one.is_hit for one in gallery.groups[0].samples[0].maps]


def test_a_frame_is_the_frame_and_the_truth_is_outlined_on_it(board: Board, tmp_path: Path) -> None:
    gallery = made(board, tmp_path)
    sample = next(one for group in gallery.groups for one in group.samples if one.id == IDS[1])
    assert sample.frame is not None
    assert sample.truth is not None

    frame, outlined = (cv2.imread(str(tmp_path / name)) for name in (sample.frame, sample.truth))

    assert frame is not None
    assert outlined is not None
    assert (208, 208, 3) == frame.shape
    assert 60 == pytest.approx(frame.mean(), abs=1)
    changed = np.abs(outlined.astype(int) - frame).max(axis=2) > 40
    assert changed[:112, :112].sum() > 500  # the box and what lies beside it
    assert 0 == changed[120:, 120:].sum()


def test_frames_of_the_user_carry_the_note_on_licences(board: Board, tmp_path: Path) -> None:
    html = page_environment().get_template("gallery.html").render(
        up="../", address="gallery/x.html", board=board, gallery=made(board, tmp_path), media=True
    )  # fmt: skip

    assert "stay under their own licences" in html


def test_runs_without_a_common_clip_are_refused(board: Board, tmp_path: Path) -> None:
    data = Evil(DataConfig(), Inputs(image_size=32), seed=0)
    other = answers("two", 0.1, 0.1, 0.1, 0.1)._replace(ciou={"other": 0.5})

    with pytest.raises(BenchError, match="scored no clip in common"):
        make_gallery(board, [answers("one", 0.1, 0.9, 0.6, 0.2), other], data, tmp_path,
                     each=4, media=True)  # fmt: skip
