import hashlib
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from datamodules.base import ClipData, DataConfig, DataReport, Split
from datamodules.clip import Batch, Clip, Features, Inputs
from datamodules.sampling import Rows
from metrics.errors import BenchError
from metrics.truth import Truth

Built = Callable[..., ClipData]
THREE_SEGMENTS = Inputs(image_size=8, num_segments=3, sample_rate_hz=100, segment_seconds=0.5)


def passes(loader: DataLoader[Batch], epochs: int = 1) -> list[Batch]:
    batches = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        batches += list(loader)
    return batches


def tensors_of(batch: Batch) -> list[torch.Tensor]:
    clips = [clip for clip in (batch.clip, batch.extra) if clip is not None]
    return [tensor for clip in clips for tensor in clip[:4]]


def assert_same(expected: list[Batch], found: list[Batch]) -> None:
    for one, other in zip(expected, found, strict=True):
        for left, right in zip(tensors_of(one), tensors_of(other), strict=True):
            assert left.equal(right)


def next_row(rows: Rows, epoch: int, seed: int) -> tuple[Rows, Rows]:
    return (rows + 1) % 12, (rows + 2) % 12


def on_rank(data: ClipData, rank: int, world_size: int) -> ClipData:
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)
    return data


def test_batches_do_not_depend_on_the_number_of_workers(tiny_clips: Built):
    alone = tiny_clips(augmentation="crop_flip_roll", inputs=THREE_SEGMENTS)
    helped = tiny_clips(augmentation="crop_flip_roll", inputs=THREE_SEGMENTS, num_workers=2)
    alone.draw = helped.draw = next_row

    assert_same(passes(alone.train_dataloader(), 2), passes(helped.train_dataloader(), 2))


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_global_batch_does_not_depend_on_the_number_of_devices(
    tiny_clips: Built, world_size: int
):
    def built(rank: int, devices: int) -> list[Batch]:
        data = tiny_clips(augmentation="crop_flip_roll")
        data.draw = next_row
        return passes(on_rank(data, rank, devices).train_dataloader())

    shares = [built(rank, world_size) for rank in range(world_size)]

    for whole, parts in zip(built(0, 1), zip(*shares, strict=True), strict=True):
        for rank, part in enumerate(parts):
            for all_rows, own in zip(tensors_of(whole), tensors_of(part), strict=True):
                assert all_rows[rank::world_size].equal(own)


def test_a_batch_holds_the_clips_of_its_rows_as_they_are(tiny_clips: Built):
    data = tiny_clips()

    (first, *_) = passes(data.train_dataloader())

    assert [(4, 1, 3, 8, 8), (4, 1, 50)] == [first.clip.frames.shape, first.clip.waveform.shape]
    for place, row in enumerate(first.clip.index.tolist()):
        assert first.clip.frames[place].equal(data.frames("train", row))
        assert first.clip.waveform[place].equal(data.waveform("train", row))
    assert first.extra is None
    assert first.annotation is None


@pytest.mark.parametrize(("segments", "expected"), [(1, 0), (2, 1), (3, 1), (10, 5)])
def test_the_target_is_the_middle_segment(tiny_clips: Built, segments: int, expected: int):
    inputs = Inputs(image_size=8, num_segments=segments, sample_rate_hz=100, segment_seconds=0.1)

    (first, *_) = passes(tiny_clips(inputs=inputs).train_dataloader())

    assert first.clip.target.tolist() == [expected] * 4


def test_drawn_clips_come_row_by_row_as_frame_and_sound(tiny_clips: Built):
    data = tiny_clips()
    data.draw = next_row

    (first, *_) = passes(data.train_dataloader())

    assert first.extra is not None
    for place, row in enumerate(first.clip.index.tolist()):
        assert first.extra.frames[place].equal(data.frames("train", (row + 1) % 12))
        assert first.extra.waveform[place].equal(data.waveform("train", (row + 2) % 12))


def clip_of_row(batches: list[Batch], row: int) -> Clip:
    for batch in batches:
        places = (batch.clip.index == row).nonzero().flatten().tolist()
        if places:
            return Clip(*(tensor[places] for tensor in batch.clip[:4]))
    raise AssertionError(f"row {row} is in no batch")


def test_augmentation_is_a_function_of_seed_epoch_and_row(tiny_clips: Built):
    whole = tiny_clips(augmentation="crop_flip_roll", batch_size=12).train_dataloader()
    halves = tiny_clips(augmentation="crop_flip_roll", batch_size=6).train_dataloader()

    for row in range(12):
        one, other = clip_of_row(passes(whole), row), clip_of_row(passes(halves), row)
        assert one.frames.equal(other.frames)
        assert one.waveform.equal(other.waveform)


@pytest.mark.parametrize("change", [{"epoch": 1}, {"seed": 4}])
def test_another_epoch_or_seed_augments_otherwise(tiny_clips: Built, change: dict[str, int]):
    def augmented(*, epoch: int = 0, seed: int = 3) -> list[Clip]:
        data = tiny_clips(augmentation="crop_flip_roll", batch_size=12, seed=seed)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return [clip_of_row(list(loader), row) for row in range(12)]

    pairs = list(zip(augmented(), augmented(**change), strict=True))

    assert not all(one.frames.equal(other.frames) for one, other in pairs)
    assert not any(one.waveform.equal(other.waveform) for one, other in pairs)


def test_validation_repeats_the_same_batches_without_augmentation(tiny_clips: Built):
    data = tiny_clips(augmentation="crop_flip_roll", batch_size=2)
    loader = data.val_dataloader()

    first, second = passes(loader)[:3], passes(loader, 2)[3:]

    assert_same(first, second)
    for row in range(6):
        assert clip_of_row(first, row).frames[0].equal(data.frames("val", row))


def test_there_is_no_validation_without_validation_clips(tiny_clips: Built):
    assert tiny_clips(batch_size=7).val_dataloader() == []


def test_the_two_test_loaders_differ_in_the_sound_alone(tiny_clips: Built):
    data = tiny_clips(augmentation="crop_flip_roll", batch_size=2)

    own, swapped = ([batch.clip for batch in loader] for loader in data.test_dataloader())

    heard = {data.waveform("test", row).numpy().tobytes(): row for row in range(5)}
    for one, other in zip(own, swapped, strict=True):
        assert one.index.equal(other.index)
        assert one.frames.equal(other.frames)
        assert one.index.tolist() == [heard[sound.numpy().tobytes()] for sound in one.waveform]
        for row, sound in zip(other.index.tolist(), other.waveform, strict=True):
            assert heard[sound.numpy().tobytes()] % 3 != row % 3
    assert [row for clip in own for row in clip.index.tolist()] == [0, 1, 2, 3, 4]


def test_test_batches_are_shared_whole_and_a_device_may_have_none(tiny_clips: Built):
    rows = []
    for rank in range(4):
        data = on_rank(tiny_clips(sizes={"test": 9}), rank, 4)
        rows.append([batch.clip.index.tolist() for batch in data.test_dataloader()[0]])

    assert rows == [[[0, 1, 2, 3]], [[4, 5, 6, 7]], [[8]], []]


def test_a_whole_split_can_be_read_on_every_device(tiny_clips: Built):
    data = on_rank(tiny_clips(), 1, 2)

    rows = [row for batch in data.ordered_loader("train", place=(0, 1)) for row in batch.clip.index]

    assert rows == list(range(12))


def test_chosen_frames_come_in_order_with_the_sounds_of_chosen_rows(tiny_clips: Built):
    data = tiny_clips(augmentation="crop_flip_roll")
    rows, sounds = np.array([7, 2, 2, 11, 0]), np.array([1, 2, 8, 0, 3])

    batches = list(data.chosen_loader("train", rows, sounds))

    assert [batch.clip.index.tolist() for batch in batches] == [[7, 2, 2, 11], [0]]
    heard = torch.cat([batch.clip.waveform for batch in batches])
    seen = torch.cat([batch.clip.frames for batch in batches])
    for place, (row, sound) in enumerate(zip(rows, sounds, strict=True)):
        assert seen[place].equal(data.frames("train", row))
        assert heard[place].equal(data.waveform("train", sound))


def test_lists_are_loaded_once_and_at_first_use(tiny_clips: Built):
    data = tiny_clips()

    assert data._loaded is None
    assert data.report is data.report


class Recorder(pl.LightningModule):
    """Remembers the rows of every step and learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.rows: list[list[int]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.rows.append(batch.clip.index.tolist())
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_gives_every_epoch_its_own_order(tiny_clips: Built):
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    recorder = Recorder()

    trainer.fit(recorder, datamodule=tiny_clips())

    loader = tiny_clips().train_dataloader()
    assert recorder.rows == [batch.clip.index.tolist() for batch in passes(loader, 2)]
    assert recorder.rows[:3] != recorder.rows[3:]


def test_an_unknown_augmentation_is_refused_in_words(tiny_clips: Built):
    with pytest.raises(BenchError, match=r"data\.augmentation='flip' is unknown; use one of none"):
        tiny_clips(augmentation="flip")


@pytest.mark.parametrize(("split", "word"), [("train", "training"), ("test", "test")])
def test_an_empty_list_is_refused_in_words(tiny_clips: Built, split: str, word: str):
    data = tiny_clips(sizes={split: 0})

    with pytest.raises(BenchError, match=rf"the {word} list is empty .* data\.{split}_list"):
        data.setup("fit")


def test_a_test_alone_needs_no_training_list(tiny_clips: Built):
    tiny_clips(sizes={"train": 0}).setup("test")


def test_a_batch_larger_than_the_training_list_is_refused_in_words(tiny_clips: Built):
    with pytest.raises(BenchError, match=r"has 12 clips, fewer than data\.batch_size=13"):
        tiny_clips(batch_size=13).train_dataloader()


def three_clips() -> Split:
    return Split("train", ("a", "b", "c"), ("va", "vb", "vc"), ("dog", None, "cat"))


def test_the_hash_of_a_list_is_that_of_its_ids_line_by_line():
    assert three_clips().sha256 == hashlib.sha256(b"a\nb\nc").hexdigest()


class Annotated(ClipData):
    """Clips with boxes of two annotators, labels of segments and two isolated sounds."""

    def load(self) -> DataReport:
        ids = ("a", "b", "c", "d")
        splits = {name: Split(name, ids, ids, (None,) * 4) for name in ("train", "test")}
        return DataReport(splits, n_expected=4, classes=("dog", "cat"))

    def truth(self) -> tuple[Truth, ...]:
        return ()

    def frames(self, split: str, row: int) -> torch.Tensor:
        return torch.zeros(2, 3, 8, 8, dtype=torch.uint8)

    def waveform(self, split: str, row: int) -> torch.Tensor:
        return torch.full((2, 4), 0.5)

    def boxes(self, split: str, row: int) -> tuple[np.ndarray, ...]:
        if row == 3:
            return ()
        left = np.array([[0.0, 0.0, 0.5, 1.0]])
        return (left, np.array([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]))

    def labels(self, split: str, row: int) -> np.ndarray | None:
        return (None, np.array([2, 1]), np.array([0, 2]), np.array([2, 2]))[row]

    def num_sources(self, split: str, row: int) -> int:
        return (2, 1, 2, 0)[row]

    def source_waveform(self, split: str, row: int, source: int) -> torch.Tensor:
        return torch.full((2, 4), float(10 * row + source))


def annotated(**inputs: object) -> Annotated:
    asked = Inputs(image_size=8, num_segments=2, sample_rate_hz=4, segment_seconds=1.0, **inputs)
    return Annotated(DataConfig(batch_size=4), asked, seed=0)


def by_row(batch: Batch, values: torch.Tensor) -> list[object]:
    return values[batch.clip.index.argsort()].tolist()


def test_labels_of_segments_come_where_they_are_asked_for():
    (batch,) = annotated(labels="segment").train_dataloader()

    assert batch.annotation is not None
    assert batch.annotation.labels is not None
    assert by_row(batch, batch.annotation.has_labels) == [False, True, True, True]
    assert by_row(batch, batch.annotation.labels) == [[-1, -1], [2, 1], [0, 2], [2, 2]]
    assert batch.annotation.boxes is None


def test_weak_labels_say_the_event_of_the_clip_in_every_segment():
    (batch,) = annotated(labels="clip").train_dataloader()

    assert batch.annotation is not None
    assert batch.annotation.labels is not None
    assert by_row(batch, batch.annotation.labels)[1:] == [[1, 1], [0, 0], [2, 2]]


def test_boxes_of_a_clip_are_padded_with_nan_and_drawn_on_the_grid():
    (batch,) = annotated(box_map_size=4).train_dataloader()

    assert batch.annotation is not None
    assert batch.annotation.boxes is not None
    assert batch.annotation.box_map is not None
    assert by_row(batch, batch.annotation.has_boxes) == [True, True, True, False]
    present = (~batch.annotation.boxes.isnan().any(-1)).sum(1)
    shares = batch.annotation.box_map.mean((1, 2))
    assert set(zip(present.tolist(), shares.tolist(), strict=True)) <= {(0, 0), (1, 0.5), (2, 1)}
    assert by_row(batch, present)[3] == 0


def test_which_annotator_is_seen_is_a_function_of_seed_epoch_and_id():
    def seen(batch_size: int) -> list[list[object]]:
        data = annotated(box_map_size=4)
        data.config.batch_size = batch_size
        loader, epochs = data.train_dataloader(), []
        for epoch in range(6):
            loader.sampler.set_epoch(epoch)
            found: dict[int, float] = {}
            for batch in loader:
                shares = batch.annotation.box_map.mean((1, 2)).tolist()
                found |= dict(zip(batch.clip.index.tolist(), shares, strict=True))
            epochs.append([found[row] for row in range(3)])
        return epochs

    assert seen(4) == seen(2)
    assert {share for epoch in seen(4) for share in epoch} == {0.5, 1.0}


def test_isolated_sounds_come_in_loaders_of_their_own_after_the_two_mixtures():
    own, swapped, first, second = annotated().test_dataloader()

    found = [[(batch.clip.index.tolist(), batch.clip.waveform[:, 0, 0].tolist()) for batch in each]
             for each in (first, second)]  # fmt: skip

    assert found == [[([0, 1, 2], [0.0, 10.0, 20.0])], [([0, 2], [1.0, 21.0])]]
    assert [len(list(own)), len(list(swapped))] == [1, 1]


def test_no_test_clip_shows_its_annotation():
    loaders = annotated(labels="segment", box_map_size=4).test_dataloader()

    assert all(batch.annotation is None for loader in loaders for batch in loader)


class Featured(Annotated):
    """The same clips by features: row r is r in the visual ones and 10 r in the audio ones."""

    audio = True

    def features(self, split: str, row: int, source: int | None = None) -> Features:
        heard = 10 * row if source is None else 100 * row + source
        visual, audio = torch.full((2, 5, 1, 1), float(row)), torch.full((2, 6), float(heard))
        return Features(visual, audio if self.audio else None)


def featured(*, audio: bool = True) -> Featured:
    asked = Inputs(image_size=8, num_segments=2, sample_rate_hz=4, segment_seconds=1.0)
    data = Featured(DataConfig(batch_size=4), asked, seed=0)
    data.audio = audio
    return data


def of_first_cell(batch: Batch) -> tuple[list[float], list[float]]:
    features = batch.clip.features
    assert features is not None
    assert features.visual is not None
    assert features.audio is not None
    return features.visual[:, 0, 0, 0, 0].tolist(), features.audio[:, 0, 0].tolist()


def test_features_come_in_place_of_frames_and_sounds():
    (batch,) = featured().train_dataloader()

    visual, audio = of_first_cell(batch)
    assert visual == batch.clip.index.tolist()
    assert audio == [10 * row for row in visual]
    assert (batch.clip.frames.shape, batch.clip.frames.dtype) == ((4, 2, 3, 0, 0), torch.uint8)
    assert (batch.clip.waveform.shape, batch.clip.waveform.dtype) == ((4, 2, 0), torch.float32)


def test_a_swapped_clip_has_the_audio_features_of_its_sound_and_so_has_an_isolated_one():
    own, swapped, first, second = featured().test_dataloader()

    ((seen, heard),) = (of_first_cell(batch) for batch in own)
    ((_, swapped_heard),) = (of_first_cell(batch) for batch in swapped)
    isolated = [of_first_cell(batch) for loader in (first, second) for batch in loader]
    assert (seen, heard) == ([0, 1, 2, 3], [0, 10, 20, 30])
    assert sorted(swapped_heard) == heard
    assert all(one != other for one, other in zip(swapped_heard, heard, strict=True))
    assert isolated == [([0, 1, 2], [0, 100, 200]), ([0, 2], [1, 201])]


def test_drawn_clips_have_features_of_their_own():
    data = featured()
    data.draw = lambda rows, epoch, seed: ((rows + 1) % 4, (rows + 2) % 4)

    (batch,) = data.train_dataloader()

    assert batch.extra is not None
    rows = batch.clip.index.numpy()
    visual, audio = of_first_cell(batch._replace(clip=batch.extra))
    assert (visual, audio) == (((rows + 1) % 4).tolist(), (10 * ((rows + 2) % 4)).tolist())


def test_what_has_no_features_comes_as_it_is():
    (batch,) = featured(audio=False).train_dataloader()

    assert batch.clip.features is not None
    assert batch.clip.features.audio is None
    assert (batch.clip.frames.shape, batch.clip.waveform.shape) == ((4, 2, 3, 0, 0), (4, 2, 4))
