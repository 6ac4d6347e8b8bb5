"""The batches of a data root are a function of the seed alone."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from datamodules.augment import AUGMENTATIONS
from datamodules.clip import Batch, Inputs
from datamodules.flickr import Flickr
from datamodules.folder_clips import FolderConfig
from datamodules.sample_data import write_sample

INPUTS = Inputs(
    image_size=32, num_segments=2, sample_rate_hz=8000, segment_seconds=0.5, box_map_size=4
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample("flickr", tmp_path_factory.mktemp("batches") / "root", clips=24).root


def flickr(root: Path, **settings: object) -> Flickr:
    config = FolderConfig(root=str(root), batch_size=8, augmentation="moco", **settings)  # type: ignore[arg-type]
    return Flickr(config, INPUTS, seed=5)


def tensors(batch: Batch) -> Iterator[Tensor]:
    assert batch.annotation is not None
    for part in (batch.clip, batch.annotation):
        yield from (each for each in part if isinstance(each, Tensor))


def epoch(data: Flickr, number: int) -> list[list[Tensor]]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)  # type: ignore[union-attr]
    return [list(tensors(batch)) for batch in loader]


def assert_equal(expected: list[list[Tensor]], found: list[list[Tensor]]) -> None:
    for one, other in zip(expected, found, strict=True):
        for left, right in zip(one, other, strict=True):
            torch.testing.assert_close(left, right, rtol=0, atol=0, equal_nan=True)


def test_they_do_not_depend_on_the_number_of_workers(root: Path) -> None:
    for number in (0, 1):
        assert_equal(epoch(flickr(root), number), epoch(flickr(root, num_workers=2), number))


def test_devices_share_the_batch_of_one(root: Path) -> None:
    def share(rank: int) -> list[list[Tensor]]:
        data = flickr(root)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)  # type: ignore[assignment]
        return epoch(data, 1)

    for whole, *parts in zip(epoch(flickr(root), 1), share(0), share(1), strict=True):
        for rank, part in enumerate(parts):
            for all_rows, own in zip(whole, part, strict=True):
                most = own.shape[1] if own.ndim > 1 else None  # boxes are padded to the share's own
                expected = all_rows[rank::2, :most] if own.ndim == 3 else all_rows[rank::2]
                torch.testing.assert_close(own, expected, rtol=0, atol=0, equal_nan=True)


def test_epochs_and_seeds_differ(root: Path) -> None:
    first = epoch(flickr(root), 0)[0]

    assert not torch.equal(first[1], epoch(flickr(root), 1)[0][1])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_keeps_sizes_and_types(root: Path, name: str) -> None:
    data = flickr(root)
    data.config.augmentation = name

    batch = next(iter(data.train_dataloader()))

    assert batch.annotation is not None
    assert batch.annotation.box_map is not None
    assert (batch.clip.frames.shape, batch.clip.frames.dtype) == ((8, 2, 3, 32, 32), torch.uint8)
    assert (batch.clip.waveform.shape, batch.clip.waveform.dtype) == ((8, 2, 4000), torch.float32)
    assert batch.clip.waveform.abs().max() <= 1
    assert batch.annotation.box_map.shape == (8, 4, 4)
