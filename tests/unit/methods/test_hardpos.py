import errno
import os
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import methods.mining
import methods.neighbour_files
from datamodules.base import ClipData
from datamodules.clip import Batch, Clip, Inputs
from methods.base import Method, OptimConfig, Overrides
from methods.global_norm import rank, world_size
from methods.hardpos import (
    HardPos,
    HardPosConfig,
    embed,
    embeddings,
    mine_all,
    neighbours_for,
    occurring,
)
from methods.lvs_vanilla import ContrastiveConfig, LvsVanilla, vanilla_rows
from methods.neighbour_files import NeighbourFile
from metrics.errors import BenchError

Features = Callable[..., tuple[Tensor, Tensor]]
BY_SOUND = np.array([[1, 2], [0, 3], [0, 4], [1, 5], [2, 6], [3, 7], [4, 0], [5, 1]], np.int32)
BY_IMAGE = np.array([[3, 1], [4, 0], [5, 0], [6, 1], [7, 2], [0, 3], [1, 4], [2, 5]], np.int32)


def untrained(seed: int = 0, **settings: object) -> HardPos:
    config = HardPosConfig(**{"backbone": "small", "image_size": 64, **settings})
    return HardPos(replace(config, segment_seconds=1.0), OptimConfig(), seed=seed)


def mined(**settings: object) -> HardPos:
    """A method for a training list of 8 clips with the two neighbours of the tables above."""
    method = untrained(**settings)
    method.num_train, method.by_sound, method.by_image = 8, BY_SOUND, BY_IMAGE
    return method


def randomly_paired(num_train: int = 8, seed: int = 0) -> HardPos:
    method = untrained(seed, positives="random")
    method.num_train = num_train
    return method


def looped_loss(
    loops: SimpleNamespace,
    sound: Tensor,
    visual: Tensor,
    drawn: list[tuple[int, int, int]],
    config: HardPosConfig,
) -> float:
    """Eq. 4-6 for the batch of triples (i, k, j), in float64."""
    sounds, images = sound.numpy(), visual.numpy()
    pooled = loops.plain_mean if config.negative_pool == "mean" else loops.positive
    rows = []
    for i, k, j in drawn:
        p_b, p_a = loops.positive(sounds[i], images[i]), loops.positive(sounds[j], images[i])
        p_v, p_c = loops.positive(sounds[i], images[k]), loops.positive(sounds[j], images[k])
        not_negative = {i} | set(BY_SOUND[i].tolist()) | set(BY_IMAGE[i].tolist())
        negatives = [
            pooled(sounds[i], images[other]) for other, _, _ in drawn if other not in not_negative
        ]
        rows.append(loops.row_loss([p_b, p_a, p_v, p_c], negatives, config.temperature))
    return sum(rows) / len(rows)


@pytest.mark.parametrize("negative_pool", ["mean", "masked"])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_the_loss_is_equations_4_to_6(
    features: Features,
    loops: SimpleNamespace,
    row_features: type[nn.Module],
    numbered_batch: Callable[..., Batch],
    negative_pool: str,
    temperature: float,
):
    sound, visual = features(8)
    method = mined(negative_pool=negative_pool, temperature=temperature)
    method.streams = row_features(sound, visual)
    drawn = [(6, 1, 0), (0, 3, 2), (3, 6, 5), (5, 0, 3), (1, 4, 0)]

    loss = method.loss(numbered_batch(*zip(*drawn, strict=True)))

    expected = looped_loss(loops, sound, visual, drawn, method.config)
    assert loss.item() == pytest.approx(expected, abs=1e-9)


def test_a_row_without_negatives_adds_nothing_and_is_counted(
    features: Features,
    loops: SimpleNamespace,
    row_features: type[nn.Module],
    numbered_batch: Callable[..., Batch],
):
    sound, visual = features(8)
    method = mined()
    method.streams = row_features(sound, visual)
    drawn = [(0, 3, 1), (1, 4, 0), (4, 7, 2)]  # 0 and 1 are neighbours of each other, 4 of 1

    loss = method.loss(numbered_batch(*zip(*drawn, strict=True)))
    method.loss(numbered_batch([0, 1], [3, 4], [1, 0]))

    expected = looped_loss(loops, sound, visual, drawn, method.config)
    assert loss.item() == pytest.approx(expected, abs=1e-9)
    assert method.figures() == {"rows_without_negatives": 3.0}


def test_a_batch_without_any_negative_has_zero_loss_and_zero_gradient(
    features: Features, row_features: type[nn.Module], numbered_batch: Callable[..., Batch]
):
    sound, visual = (each.float().requires_grad_() for each in features(8))
    method = mined()
    method.streams = row_features(sound, visual)

    loss = method.loss(numbered_batch([0, 1], [3, 4], [1, 0]))
    loss.backward()

    assert loss.item() == 0
    assert sound.grad.abs().max() == 0
    assert visual.grad.abs().max() == 0


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_equal_features_everywhere_keep_loss_and_gradients_finite(
    row_features: type[nn.Module], numbered_batch: Callable[..., Batch], fill: float
):
    sound = torch.full((8, 5), fill, requires_grad=True)
    visual = torch.full((8, 5, 3, 2), fill, requires_grad=True)
    method = mined()
    method.streams = row_features(sound, visual)

    loss = method.loss(numbered_batch([0, 6, 7], [1, 4, 2], [2, 0, 1]))
    loss.backward()

    assert torch.isfinite(loss)
    assert torch.isfinite(sound.grad).all()
    assert torch.isfinite(visual.grad).all()


def test_held_out_clips_have_the_loss_of_the_baseline(
    features: Features, row_features: type[nn.Module], numbered_batch: Callable[..., Batch]
):
    sound, visual = features(5)
    method = mined()
    method.streams = row_features(sound, visual)

    loss = method.loss(numbered_batch([0, 1, 2, 3, 4]))

    assert loss.item() == vanilla_rows(sound, visual, ContrastiveConfig()).mean().item()


def test_negatives_are_neither_the_clip_nor_any_neighbour():
    rows, others = [2, 7, 0], [0, 1, 2, 3, 4, 5, 6, 7]

    is_negative = mined().negatives_of(torch.tensor(rows), torch.tensor(others))

    for i, found in zip(rows, is_negative.tolist(), strict=True):
        positives = {i} | set(BY_SOUND[i].tolist()) | set(BY_IMAGE[i].tolist())
        assert [other not in positives for other in others] == found


@pytest.mark.parametrize(("values", "neighbours"), [(1, 1), (7, 3), (40, 300)])
def test_what_occurs_in_long_rows_is_what_isin_finds(values: int, neighbours: int):
    rng = np.random.default_rng(values)
    given = rng.integers(60, size=values)  # some of them more than once
    rows = rng.integers(90, size=(5, neighbours))

    found = occurring(torch.from_numpy(given), torch.from_numpy(rows))

    assert found.tolist() == [np.isin(given, row).tolist() for row in rows]


@pytest.mark.parametrize("epoch", [0, 3])
def test_random_positives_leave_only_the_drawn_clips_out(epoch: int):
    method = randomly_paired(9, seed=5)
    method._trainer = SimpleNamespace(current_epoch=epoch)
    rows = np.arange(9)
    frames, sounds = method.drawn_positives(rows, epoch, 5)

    is_negative = method.negatives_of(torch.from_numpy(rows), torch.from_numpy(rows))

    for i, found in enumerate(is_negative.tolist()):
        assert [other not in {i, frames[i], sounds[i]} for other in range(9)] == found


@pytest.mark.parametrize("built", [mined, randomly_paired])
def test_what_a_row_draws_does_not_depend_on_its_batch(built: Callable[[], HardPos]):
    method = built()
    frames, sounds = method.drawn_positives(np.arange(8), 2, 7)

    some_frames, some_sounds = method.drawn_positives(np.array([5, 1, 6]), 2, 7)

    assert frames[[5, 1, 6]].tolist() == some_frames.tolist()
    assert sounds[[5, 1, 6]].tolist() == some_sounds.tolist()


@pytest.mark.parametrize("built", [mined, randomly_paired])
@pytest.mark.parametrize("other", [(3, 7), (2, 8)])
def test_another_epoch_or_seed_draws_otherwise(
    built: Callable[[], HardPos], other: tuple[int, int]
):
    method, rows = built(), np.arange(8)

    first = np.stack(method.drawn_positives(rows, 2, 7))

    assert first.tolist() != np.stack(method.drawn_positives(rows, *other)).tolist()


def test_frames_are_drawn_by_image_and_sounds_by_sound_evenly():
    method, rows = mined(), np.arange(8)

    drawn = np.array([method.drawn_positives(rows, epoch, 0) for epoch in range(400)])

    for i in range(8):
        for sense, table in enumerate((BY_IMAGE, BY_SOUND)):
            values, counts = np.unique(drawn[:, sense, i], return_counts=True)
            assert sorted(table[i].tolist()) == values.tolist()
            assert counts.min() > 140  # of 200 expected, 6 standard deviations of 10


@pytest.mark.parametrize(("built", "pairs"), [(mined, 4), (randomly_paired, 49)])
def test_frame_and_sound_are_drawn_independently(built: Callable[[], HardPos], pairs: int):
    method, rows = built(), np.arange(8)

    drawn = np.array([method.drawn_positives(rows, epoch, 0) for epoch in range(600)])

    for i in range(8):
        assert len({tuple(pair) for pair in drawn[:, :, i].tolist()}) == pairs


def test_random_positives_are_any_clip_but_the_own_evenly():
    method, rows = randomly_paired(5), np.arange(5)

    drawn = np.array([method.drawn_positives(rows, epoch, 0) for epoch in range(400)])

    for i in range(5):
        for sense in range(2):
            values, counts = np.unique(drawn[:, sense, i], return_counts=True)
            assert sorted(set(range(5)) - {i}) == values.tolist()
            assert counts.min() > 48  # of 100 expected, 6 standard deviations of 8.7


class PlainStreams(nn.Module):
    """Pixels as the map, and the first three samples as the sound."""

    def forward(self, clip: Clip) -> tuple[Tensor, Tensor]:
        return clip.frames[:, 0].float() - 128, clip.waveform[:, 0, :3]


class MemoryStages:
    """Stages that train nothing and remember what was asked of them."""

    def __init__(self, folder: Path, change: Callable[[Method], None]) -> None:
        self.folder, self.change = folder, change
        self.fitted: list[str] = []
        self.keys: dict[str, dict[str, object]] = {}
        self.notes: dict[str, float] = {}

    def fit(self, name: str, method: Method) -> Method:
        self.fitted.append(name)
        self.change(method)
        return method

    def cached(
        self,
        name: str,
        key: Overrides,
        build: Callable[[Path], None],
        *,
        is_whole: Callable[[Path], bool],
    ) -> Path:
        self.keys[name] = dict(key)
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        assert not is_whole(folder)
        build(folder)
        assert is_whole(folder)
        return folder

    def note(self, name: str, value: float) -> None:
        self.notes[name] = value


def with_plain_streams(method: Method) -> None:
    method.streams = PlainStreams()


def looped_neighbours(vectors: list[np.ndarray], count: int) -> list[list[int]]:
    units = [vector / np.linalg.norm(vector) for vector in vectors]
    return [
        sorted((j for j in range(len(units)) if j != i), key=lambda j: -float(units[i] @ units[j]))[
            :count
        ]
        for i in range(len(units))
    ]


def test_preparation_mines_the_training_list_by_sound_and_by_image(
    tmp_path: Path, tiny_clips: Callable[..., ClipData]
):
    data, stages = tiny_clips(), MemoryStages(tmp_path, with_plain_streams)
    method = untrained(k=3)

    method.prepare(stages, data)

    sounds = [data.waveform("train", row)[0, :3].double().numpy() for row in range(12)]
    frames = [data.frames("train", row)[0].double().numpy() - 128 for row in range(12)]
    by_sound = looped_neighbours(sounds, 3)
    by_image = looped_neighbours([frame.mean((1, 2)) for frame in frames], 3)
    assert by_sound == method.by_sound[:].tolist()
    assert by_image == method.by_image[:].tolist()
    assert stages.fitted == ["lvs_vanilla"]
    same = np.mean([[j % 3 == i % 3 for j in by_sound[i]] for i in range(12)])
    assert stages.notes["mined_purity_by_sound"] == pytest.approx(same)
    assert stages.notes["mined_purity_by_chance"] == pytest.approx(1 / 3)


def test_what_is_mined_is_kept_under_k_and_the_pool(
    tmp_path: Path, tiny_clips: Callable[..., ClipData]
):
    stages = MemoryStages(tmp_path, with_plain_streams)

    untrained(k=2, mining_pool="response").prepare(stages, tiny_clips())

    assert stages.keys == {"embedded": {"mining_pool": "response"}, "mined": {"k": 2}}


def test_the_drawn_neighbours_are_offered_to_the_sampler(
    tmp_path: Path, tiny_clips: Callable[..., ClipData]
):
    method = untrained(k=3)
    method.prepare(MemoryStages(tmp_path, with_plain_streams), tiny_clips())

    frames, sounds = method.draw(np.array([4]), 0, 0)

    assert frames[0] in method.by_image[4]
    assert sounds[0] in method.by_sound[4]


def test_random_positives_need_no_first_stage(tmp_path: Path, tiny_clips: Callable[..., ClipData]):
    stages = MemoryStages(tmp_path, with_plain_streams)
    method = untrained(positives="random", k=3)

    method.prepare(stages, tiny_clips())

    assert stages.fitted == []
    assert method.num_train == 12
    assert method.draw is not None


@pytest.mark.parametrize("init_from_stage1", [False, True])
def test_the_last_stage_starts_afresh_unless_told_otherwise(
    tmp_path: Path, tiny_clips: Callable[..., ClipData], init_from_stage1: bool
):
    inputs = Inputs(image_size=64, sample_rate_hz=16000, segment_seconds=1.0)
    method = untrained(k=3, init_from_stage1=init_from_stage1)
    afresh = method.streams.visual[0].weight.detach().clone()

    def trained(base: Method) -> None:
        base.streams.visual[0].weight.data += 1

    method.prepare(MemoryStages(tmp_path, trained), tiny_clips(inputs=inputs))

    expected = afresh + 1 if init_from_stage1 else afresh
    assert expected.equal(method.streams.visual[0].weight)


@pytest.mark.parametrize("pool", ["mean", "response"])
def test_embeddings_are_unit_vectors_of_sound_and_pooled_image(
    tiny_clips: Callable[..., ClipData], loops: SimpleNamespace, pool: str
):
    data = tiny_clips(batch_size=5)
    base = LvsVanilla(ContrastiveConfig(backbone="small"), OptimConfig(), seed=0)
    base.streams = PlainStreams()

    starts, *both = zip(*embeddings(base, data, pool), strict=True)
    sound, image = (np.concatenate(each) for each in both)

    assert starts == (0, 5, 10)
    for row in range(12):
        heard = data.waveform("train", row)[0, :3].double().numpy()
        seen = data.frames("train", row)[0].double().numpy() - 128
        cells = np.ones(64)
        if pool == "response":
            cells = np.array(loops.soft_mask(loops.cosine_map(heard, seen)))
        pooled = (seen.reshape(3, 64) * cells).sum(1)
        np.testing.assert_allclose(sound[row], heard / np.linalg.norm(heard), atol=1e-5)
        np.testing.assert_allclose(image[row], pooled / np.linalg.norm(pooled), atol=1e-4)


class NumberedClips:
    """Training clips that are their row, in batches of five."""

    config = SimpleNamespace(batch_size=5)
    report = SimpleNamespace(splits={"train": range(22)})

    def ordered_loader(self, split: str, *, place: tuple[int, int]) -> list[object]:
        assert split == "train"
        batches = torch.arange(22).split(5)[place[0] :: place[1]]
        return [SimpleNamespace(clip=batch) for batch in batches]


class NumberedStreams:
    """A map and a sound that the rows of a clip seed."""

    streams, device = None, torch.device("cpu")

    def __init__(self) -> None:
        draws = torch.Generator().manual_seed(0)
        maps = torch.randn(22, 6, 3, 2, generator=draws)
        sounds = torch.randn(22, 6, generator=draws)
        self.streams = lambda rows: (maps[rows], sounds[rows])

    def eval(self) -> None:
        """It has no other mode."""


def embedded_and_mined() -> dict[str, bytes]:
    """What lies in a folder that the processes which call this fill together."""
    names = [tempfile.mkdtemp() if rank() == 0 else None]
    if world_size() > 1:
        torch.distributed.broadcast_object_list(names)
    folder = Path(names[0])
    methods.neighbour_files.TILE = 4
    try:
        embed(NumberedStreams(), NumberedClips(), "response", folder)
        mine_all(folder, folder, 3, torch.device("cpu"))
    finally:
        methods.neighbour_files.TILE = methods.mining.TILE
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.npy"))}


def test_two_processes_embed_and_mine_the_same_bytes_as_one(
    on_two_processes: Callable[[Callable[[], Any]], list[Any]],
):
    first, second = on_two_processes(embedded_and_mined)

    assert list(first) == ["by_image.npy", "by_sound.npy", "image.npy", "sound.npy"]
    assert first == second == embedded_and_mined()


def test_workers_are_not_sent_the_neighbours(tmp_path: Path, tiny_clips: Callable[..., ClipData]):
    method = untrained(k=3)
    method.prepare(MemoryStages(tmp_path, with_plain_streams), tiny_clips())
    big = np.lib.format.open_memmap(
        tmp_path / "mined/by_sound.npy", mode="w+", dtype=np.int32, shape=(5000, 1000)
    )
    big[4999] = 7

    method.by_sound = NeighbourFile(tmp_path / "mined/by_sound.npy")
    sent = pickle.dumps((method.by_sound, method.by_image))

    assert len(sent) < 1000
    assert (pickle.loads(sent)[0][np.array([4999])] == 7).all()


def test_a_full_disk_under_the_embeddings_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)

    with pytest.raises(
        BenchError, match=r"sound\.npy cannot be written \(No space left on device\); make room"
    ):
        embed(NumberedStreams(), NumberedClips(), "mean", tmp_path)


@pytest.mark.parametrize(
    ("num_train", "expected"),
    [(1, 1), (39, 1), (40, 2), (19_999, 999), (20_000, 1000), (144_000, 1000)],
)
def test_k_is_the_papers_or_a_twentieth_of_a_short_list(num_train: int, expected: int):
    assert neighbours_for(num_train) == expected


@pytest.mark.parametrize("k", [6, 7, 1000])
def test_a_k_that_leaves_no_negatives_is_refused(k: int, tiny_clips: Callable[..., ClipData]):
    with pytest.raises(BenchError, match=rf"method\.k={k} is too large .* 12 clips.*k=5 or less"):
        untrained(k=k).check(tiny_clips())


def test_the_largest_k_that_leaves_negatives_is_accepted(tiny_clips: Callable[..., ClipData]):
    untrained(k=5).check(tiny_clips())


def test_batches_of_one_clip_are_refused(tiny_clips: Callable[..., ClipData]):
    with pytest.raises(BenchError, match=r"set data\.batch_size to 2 or more"):
        untrained(k=3).check(tiny_clips(batch_size=1))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"positives": "true"}, r"method\.positives='true' is unknown; use mined or random"),
        ({"mining_pool": "max"}, r"method\.mining_pool='max' is unknown; use mean or response"),
        ({"negative_pool": "max"}, r"method\.negative_pool='max' is unknown; use mean or masked"),
        ({"k": 0}, r"method\.k must be at least 1, got 0"),
    ],
)
def test_unknown_settings_are_refused_in_words(settings: dict[str, object], words: str):
    with pytest.raises(BenchError, match=words):
        untrained(**settings)
