"""Proposals on their way from pictures to clips."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.base import Batch, ClipData, DataConfig, DataReport, Split
from datamodules.clip import Inputs
from datamodules.proposals import PARTS, Extractor
from datamodules.sampling import Keys
from datamodules.synthetic import Synthetic
from datamodules.synthetic_settings import SyntheticConfig
from metrics.errors import BenchError
from metrics.truth import Truth

SIZE = 40
INPUTS = Inputs(
    image_size=SIZE, num_segments=2, sample_rate_hz=100, segment_seconds=0.5, proposals=6
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "proposals"


class Rectangles(ClipData):
    """A white rectangle on black, of another place in each clip and segment."""

    data_name = "rectangles"

    def load(self) -> DataReport:
        splits = {}
        for name, size in {"train": 6, "test": 3}.items():
            ids = tuple(f"{name}{row}" for row in range(size))
            splits[name] = Split(name, ids, ids, ("dog", "cat", "owl") * (size // 3))
        return DataReport(splits, n_expected=3)

    def truth(self) -> tuple[Truth, ...]:
        raise NotImplementedError

    def place(self, split: str, row: int, segment: int) -> tuple[int, int, int, int]:
        """Pixels of the rectangle, xyxy; the same in both segments of row 0."""
        rng = np.random.default_rng([len(split), row, segment if row else 0])
        left, top = rng.integers(4, 14, 2).tolist()
        return left, top, left + 20, top + 12

    def whole_picture(self, split: str, row: int, segment: int) -> Tensor:
        left, top, right, bottom = self.place(split, row, segment)
        picture = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
        picture[:, top:bottom, left:right] = 255
        return picture

    def picture_contents(self, split: str) -> tuple[tuple[str, ...], ...]:
        return tuple(
            tuple(str(self.place(split, row, segment)) for segment in (0, 1))
            for row in range(len(self.report.splits[split]))
        )

    def frames(self, split: str, row: int) -> Tensor:
        return torch.stack([self.whole_picture(split, row, segment) for segment in (0, 1)])

    def waveform(self, split: str, row: int) -> Tensor:
        return torch.zeros(2, self.inputs.segment_samples)


def rectangles(inputs: Inputs = INPUTS, **settings: Any) -> Rectangles:
    config = {"batch_size": 6, "proposal_width": None, **settings}
    return Rectangles(DataConfig(**config), inputs, seed=1)


def first_of(data: ClipData) -> Batch:
    return next(iter(data.train_dataloader()))


def test_pictures_are_searched_before_any_loader_without_assertions_too(
    cache: Path, without_assertions: Callable[..., Callable[..., None]]
):
    without_assertions(ClipData.setup)(rectangles(proposals="grid"), "fit")

    assert len(list(cache.glob("*/block-*.json"))) == 1


def best(box: Tensor, boxes: Tensor) -> float:
    """Largest intersection over union of a box with others, by areas of pixels."""
    there = boxes[~boxes[:, 0].isnan()]

    def mask(one: Tensor) -> Tensor:
        grid = (torch.arange(400) + 0.5) / 400
        across = (grid > one[0]) & (grid < one[2])
        return across & ((grid > one[1]) & (grid < one[3]))[:, None]

    ratios = [(mask(box) & mask(o)).sum() / (mask(box) | mask(o)).sum() for o in there]
    return float(max(ratios))


def white_box(frame: Tensor) -> Tensor:
    """The box of what is white in a frame ``(3, H, W)``, in shares of it."""
    rows, columns = torch.nonzero(frame[0] > 127).unbind(1)
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return torch.stack(edges) / frame.shape[-1]


def test_every_segment_of_every_clip_has_the_boxes_of_its_own_picture():
    clip = first_of(rectangles()).clip

    assert (6, 2, 6, 4) == clip.proposals.shape
    assert torch.float32 == clip.proposals.dtype
    for frames, proposals in zip(clip.frames, clip.proposals, strict=True):
        for frame, boxes in zip(frames, proposals, strict=True):
            assert best(white_box(frame), boxes) > 0.7


def test_the_test_loaders_have_the_boxes_of_the_frame_whatever_its_sound():
    data = rectangles()
    own, swapped = (next(iter(loader)).clip for loader in data.test_dataloader())

    assert (3, 2, 6, 4) == own.proposals.shape
    assert torch.equal(own.proposals.nan_to_num(-1), swapped.proposals.nan_to_num(-1))


def test_further_clips_have_the_boxes_of_their_own_frames():
    data = rectangles()
    data.draw = lambda rows, epoch, seed: ((rows + 1) % 6, (rows + 2) % 6)

    batch = first_of(data)

    assert batch.extra is not None
    for frame, boxes in zip(batch.extra.frames[:, 0], batch.extra.proposals[:, 0], strict=True):
        assert best(white_box(frame), boxes) > 0.7


@pytest.mark.parametrize("augmentation", ["crop_flip", "moco"])
def test_boxes_move_with_the_frame(augmentation: str, monkeypatch: pytest.MonkeyPatch):
    """Colours would turn the frames gray, so that of ``moco`` only the crop is taken."""
    monkeypatch.setattr("datamodules.augment._recoloured", lambda clip, rng: clip)
    clip = first_of(rectangles(augmentation=augmentation)).clip
    plain = first_of(rectangles()).clip

    assert not torch.equal(clip.frames, plain.frames)
    for frames, proposals in zip(clip.frames, clip.proposals, strict=True):
        for frame, boxes in zip(frames, proposals, strict=True):
            if (frame > 127).any():
                assert best(white_box(frame), boxes) > 0.7


def test_boxes_that_leave_the_frame_are_absent_and_at_the_end():
    inputs = Inputs(SIZE, 2, 100, 0.5, proposals=205)
    data = rectangles(inputs, augmentation="moco", proposals="grid")

    absent = first_of(data).clip.proposals.isnan()

    assert torch.equal(absent.any(-1), absent.all(-1))
    counts = absent[..., 0].sum(-1)
    assert counts.max() > 0
    for row, count in zip(absent.flatten(0, 1)[..., 0], counts.flatten(), strict=True):
        assert row[205 - int(count) :].all()


def test_annotated_boxes_and_proposals_move_alike(monkeypatch: pytest.MonkeyPatch):
    whole = np.array([[0.2, 0.1, 0.7, 0.9]])
    monkeypatch.setattr(Rectangles, "boxes", lambda self, split, row: (whole,))
    monkeypatch.setattr(
        Rectangles, "proposals", lambda self, split, row: torch.tensor(whole)[None].float()
    )
    inputs = Inputs(SIZE, 1, 100, 0.5, proposals=1, box_map_size=4)

    batch = first_of(rectangles(inputs, augmentation="crop_flip"))

    assert torch.equal(batch.annotation.boxes[:, 0], batch.clip.proposals[:, 0, 0])


def test_a_method_that_asks_for_none_gets_none_and_no_picture_is_searched(cache: Path):
    data = rectangles(Inputs(SIZE, 2, 100, 0.5))
    data.setup("fit")

    assert first_of(data).clip.proposals is None
    assert not cache.exists()


def test_the_pictures_are_searched_once_at_the_start(monkeypatch: pytest.MonkeyPatch):
    data = rectangles()
    data.setup("fit")
    monkeypatch.setattr(Rectangles, "whole_picture", lambda *_: pytest.fail("searched again"))
    monkeypatch.setattr(Rectangles, "frames", lambda self, *_: torch.zeros(2, 3, 8, 8))
    again = rectangles()
    again.setup("test")

    assert first_of(data).clip.proposals is not None
    assert torch.equal(*(first_of(each).clip.proposals.nan_to_num() for each in (data, again)))


def test_equal_pictures_are_searched_once():
    data = rectangles()
    shown = [
        data.whole_picture(split, row, segment).numpy().tobytes()
        for split, count in (("train", 6), ("test", 3))
        for row in range(count)
        for segment in (0, 1)
    ]

    assert len(set(shown)) == len(data.pictures()) < len(shown)


def test_boxes_do_not_depend_on_the_workers_of_the_loader():
    alone, helped = (first_of(rectangles(num_workers=workers)).clip for workers in (0, 2))

    assert torch.equal(alone.proposals.nan_to_num(-1), helped.proposals.nan_to_num(-1))


def test_a_data_set_with_its_boxes_travels_to_a_process_that_starts_anew():
    data = rectangles()
    data.setup("fit")

    copy = pickle.loads(pickle.dumps(data.found_proposals))

    content = data.picture_contents("train")[0][0]
    assert copy[content].tolist() == data.found_proposals[content].tolist()


def test_of_more_boxes_the_same_are_taken_in_every_epoch():
    inputs = Inputs(SIZE, 2, 100, 0.5, proposals=20)
    data = rectangles(inputs, proposals="grid")
    dataset = data.train_dataloader().dataset
    rows = np.arange(6)

    first, second = (dataset[Keys(rows, rows, epoch)].clip.proposals for epoch in (0, 1))

    assert not first.isnan().any()
    assert torch.equal(first, second)
    assert not torch.equal(first[1], first[2]), "another picture, another sample"


def test_damage_names_the_command_that_mends_it(cache: Path):
    rectangles().setup("fit")
    (path,) = cache.glob("*/*.npy")
    path.write_bytes(path.read_bytes()[:-4])

    with pytest.raises(BenchError, match=r"damaged.*; bench proposals rectangles with the same da"):
        rectangles().setup("fit")


def test_a_data_set_without_pictures_says_so(tiny_clips: Callable[..., ClipData]):
    with pytest.raises(BenchError, match=r"data D has no proposals, because it has no pictures"):
        tiny_clips(inputs=INPUTS).setup("test")


def test_an_unknown_extractor_is_refused_before_anything_is_read():
    with pytest.raises(BenchError, match=r"data.proposals='girds' is unknown; Did you mean grid\?"):
        rectangles(proposals="girds")


@pytest.mark.parametrize(("made", "asked"), [(1, 1), (3, 3), (3, 1), (1, 2)])
def test_synthetic_has_boxes_of_each_segment_as_it_was_made(made: int, asked: int):
    config = SyntheticConfig(train_clips=3, val_clips=1, test_clips=2, image_size=32, seconds=2.0)
    config.segments, config.batch_size = made, 3
    config.motion = "onoff" if made > 1 else "static"
    inputs = Inputs(64, asked, 16000, 1.0, proposals=640)
    data = Synthetic(config, inputs, seed=0)
    data.setup("fit")
    first = data.target if asked == 1 else 0

    found = data.proposals("test", 1)

    assert (asked, 640, 4) == found.shape
    for segment in range(asked):
        stored = data.clips["test"].frames[1, 0 if made == 1 else first + segment]
        picture = torch.from_numpy(stored.transpose(2, 0, 1).copy())
        expected = Extractor("selective_search", None).finder()(picture, "c") / PARTS
        there = found[segment][~found[segment, :, 0].isnan()]
        assert np.allclose(expected, there.numpy(), atol=1e-6)


def test_most_sources_of_synthetic_have_a_box():
    """Of 60 clips of 64 px .97 had one, with an intersection over union above a half."""
    config = SyntheticConfig(train_clips=1, val_clips=1, test_clips=12)
    data = Synthetic(config, Inputs(64, proposals=640), seed=0)

    truth = data.truth()

    hits = [
        best(torch.from_numpy(each.boxes[0][0]), data.proposals("test", row)[0]) > 0.5
        for row, each in enumerate(truth)
    ]
    assert np.mean(hits) >= 0.8
