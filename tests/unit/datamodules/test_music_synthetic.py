import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from datamodules.clip import Inputs
from datamodules.ground_truth import ground_truth
from datamodules.inspection import inspected
from datamodules.music_synthetic import MixtureConfig, MusicSynthetic
from metrics.errors import BenchError
from metrics.functional.rasterise import box_union
from metrics.predictions import Predictions
from metrics.scoring import score

INSTRUMENTS = {"cello": 1, "acoustic_guitar": 3, "saxophone": 8, "trumpet": 10, "violin": 11}
SECONDS = 3
RATE_HZ = 8000
INPUTS = Inputs(image_size=16, sample_rate_hz=RATE_HZ, segment_seconds=0.5, box_map_size=4)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A test and a training video of each of five instruments; no two are alike."""
    folder = tmp_path / "root"
    entries, videos = {}, {}
    for place, (name, number) in enumerate(INSTRUMENTS.items()):
        for split in range(2):
            write_video(folder, video_of(name, split), shade=20 * (5 * split + place + 1))
        boxes = [{"normbox": [0.0, 0.0, 1.0, 0.5], "category_id": number}]
        entries |= {f"{frame(video_of(name, 0), s)}.jpg": {"bbox": boxes} for s in range(SECONDS)}
        videos[name] = [video_of(name, split)[:11] for split in range(2)]
    (folder / "solotest.json").write_text(json.dumps(entries))
    (folder / "MUSIC_solo_videos.json").write_text(json.dumps({"version": 1, "videos": videos}))
    rows = [video_of(name, 1) for name in INSTRUMENTS]
    (folder / "solo_training_2.txt").write_text("\n".join(f"{i}.flac {i}.mp4" for i in rows))
    return folder


def video_of(name: str, split: int) -> str:
    return f"{f'{name}__________'[:10]}{split}_0_1000"


def frame(video: str, second: int) -> str:
    return f"{video}/frame_{second:03d}/{30 * second:05d}"


def write_video(root: Path, video: str, shade: int) -> None:
    """Frames of one shade of grey, with a constant sound of that level, out of 256."""
    for second in range(SECONDS):
        path = root / "video_frames" / f"{frame(video, second)}.jpg"
        path.parent.mkdir(parents=True)
        Image.new("L", (32, 24), shade).save(path)
    (root / "audio").mkdir(exist_ok=True)
    level = np.full(SECONDS * RATE_HZ, shade / 256)
    soundfile.write(root / "audio" / f"{video}.wav", level, RATE_HZ, subtype="PCM_16")


def mixed(root: Path, inputs: Inputs = INPUTS, **settings: object) -> MusicSynthetic:
    config = MixtureConfig(root=str(root), batch_size=2, test_clips=12)
    for name, value in settings.items():
        assert hasattr(config, name)
        setattr(config, name, value)
    return MusicSynthetic(config, inputs, seed=0)


def shades(data: MusicSynthetic, split: str, row: int) -> list[float]:
    """Mean of each quadrant of a frame, row by row."""
    picture = data.frames(split, row)[0].float().mean(0)  # (16, 16)
    return picture.reshape(2, 8, 2, 8).mean((1, 3)).flatten().tolist()


def shade_of(name: str | None, split: int) -> float:
    assert name is not None
    return 20.0 * (5 * split + list(INSTRUMENTS).index(name) + 1)


def quadrant_of(box: list[float]) -> int:
    return int(box[0] >= 0.5) + 2 * int(box[1] >= 0.5)


def test_each_source_is_seen_in_its_box(root: Path) -> None:
    data = mixed(root)

    for row, truth in enumerate(data.truth()):
        seen = shades(data, "test", row)
        for source in truth.sources:
            (box,) = source.boxes.tolist()
            assert seen[quadrant_of(box)] == pytest.approx(shade_of(source.category, 0), abs=2)
            assert (box[2] - box[0], box[3] - box[1]) == (0.5, 0.25)
    assert len(data.truth()) == 12


def test_isolated_sounds_follow_the_sources_and_add_up_to_the_mixture(root: Path) -> None:
    data = mixed(root, jitter_db=0.0)

    for row, truth in enumerate(data.truth()):
        sounds = [
            data.source_waveform("test", row, s) for s in range(data.num_sources("test", row))
        ]
        levels = [sound.mean().item() for sound in sounds]
        heard = [shade_of(source.category, 0) / 256 / 2 for source in truth.sources[:2]]
        assert levels == pytest.approx([*heard, 0.0, 0.0], abs=1e-3)
        assert torch.equal(torch.stack(sounds).sum(0), data.waveform("test", row))


def test_mixtures_are_told_apart_by_their_draws_and_by_how_far_these_reach(root: Path) -> None:
    same = mixed(root).fingerprints("test"), mixed(root).fingerprints("test")
    louder = mixed(root, jitter_db=1.5).fingerprints("test")

    assert same[0] == same[1]
    assert len(set(same[0].sounds)) == 12
    assert not set(same[0].sounds) & set(louder.sounds)


def test_louder_and_softer_sounds_stay_within_range(root: Path) -> None:
    data = mixed(root, jitter_db=6.0)

    ratios = []
    for row, truth in enumerate(data.truth()):
        one, two = (data.source_waveform("test", row, s).mean().item() for s in range(2))
        native = [shade_of(source.category, 0) / 256 for source in truth.sources[:2]]
        weights = one / native[0], two / native[1]
        assert sum(weights) == pytest.approx(1.0, abs=1e-3)
        ratios.append(20 * np.log10(weights[0] / weights[1]))

    assert -12.1 < min(ratios) < 0 < max(ratios) < 12.1


def test_sounds_move_in_time_by_less_than_the_jitter(root: Path) -> None:
    ramp = np.linspace(0, 0.9, SECONDS * RATE_HZ)
    for path in (root / "audio").iterdir():
        soundfile.write(path, ramp, RATE_HZ, subtype="PCM_16")

    still, moved = mixed(root, jitter_seconds=0.0, jitter_db=0.0), mixed(root, jitter_db=0.0)

    middles = {round(each, 3) for row in range(12)
               for each in [2 * still.source_waveform("test", row, 0).mean().item()]}  # fmt: skip
    assert middles <= {round(0.9 * (second + 0.5) / SECONDS, 3) for second in range(SECONDS)}
    shifts = [
        2 * (moved.source_waveform("test", row, s) - still.source_waveform("test", row, s)).mean()
        for row in range(12)
        for s in range(2)
    ]
    seconds = np.array([shift.item() for shift in shifts]) * SECONDS / 0.9
    assert 0.1 < np.abs(seconds).max() <= 0.251


def test_test_mixtures_do_not_depend_on_the_files_that_are_here(root: Path) -> None:
    whole = mixed(root).report.splits["test"].ids
    (root / "video_frames" / f"{frame(video_of('cello', 0), 1)}.jpg").unlink()

    report = mixed(root).report

    assert (report.n_expected, len(report.missing)) == (12, 12 - len(report.splits["test"]))
    assert 0 < len(report.missing) < 12
    assert tuple(i for i in whole if i not in report.missing) == report.splits["test"].ids


def test_a_mixture_with_a_broken_solo_is_left_out_with_its_reason(root: Path) -> None:
    name = f"{video_of('violin', 0)}.wav"
    path = root / "audio" / name
    path.write_bytes(path.read_bytes()[:-100])

    data = mixed(root)

    with_violin = {truth.id for truth in ground_truth("music_synthetic", root=root).truth[:12]
                   if "violin" in {source.category for source in truth.sources}}  # fmt: skip
    assert set(data.report.unreadable) == with_violin != set()
    assert all(f"audio/{name}: truncated" in why for why in data.report.unreadable.values())


def test_scoring_finds_the_mixtures_of_a_run_in_the_boxes_alone(root: Path) -> None:
    data = mixed(root)

    truth = {each.id: each for each in ground_truth("music_synthetic", root=root).truth}

    for each in data.truth():
        assert truth[each.id].boxes[0].tolist() == each.boxes[0].tolist()


def test_training_mixtures_take_four_instruments_of_the_listed_videos(root: Path) -> None:
    data = mixed(root)

    train = data.report.splits["train"]
    assert len(train) == len(INSTRUMENTS) * SECONDS
    assert (data.report.lists["train"].name, data.report.lists["train"].n) == ("solo_training_2", 5)
    known = {shade_of(name, 1) for name in INSTRUMENTS}
    for row in range(len(train)):
        seen = {round(shade / 20) * 20.0 for shade in shades(data, "train", row)}
        assert len(seen) == 4
        assert seen <= known


def test_training_sees_the_quadrants_of_what_sounds(root: Path) -> None:
    data = mixed(root, jitter_db=0.0)

    for row in range(5):
        (boxes,) = data.boxes("train", row)
        seen = shades(data, "train", row)
        heard = sum(seen[quadrant_of(box)] for box in boxes.tolist()) / 2
        assert data.waveform("train", row).mean().item() * 256 == pytest.approx(heard, abs=1.5)
    assert data.boxes("test", 0) == ()
    batch = next(iter(data.train_dataloader()))
    assert batch.annotation is not None
    assert batch.annotation.box_map is not None
    assert batch.annotation.box_map.mean((1, 2)).tolist() == [0.5, 0.5]


def test_no_test_video_is_mixed_into_training(root: Path) -> None:
    rows = [video_of(name, split) for name in INSTRUMENTS for split in range(2)]
    (root / "solo_pairs.txt").write_text("\n".join(rows))

    data = mixed(root, train_list="pairs")

    assert (data.report.leaked_videos, data.report.removed_for_leakage) == (5, 5)
    tested = {shade_of(name, 0) for name in INSTRUMENTS}
    for row in range(len(data.report.splits["train"])):
        assert not tested & {round(shade / 20) * 20.0 for shade in shades(data, "train", row)}


def test_another_seed_of_the_data_makes_other_mixtures_and_that_of_a_run_does_not(
    root: Path,
) -> None:
    config = MixtureConfig(root=str(root), test_clips=12)

    runs = [MusicSynthetic(config, INPUTS, seed=seed).report.splits for seed in (0, 1)]
    other = mixed(root, generator_seed=1).report

    assert runs[0]["train"].ids == runs[1]["train"].ids
    assert set(other.splits["train"].ids).isdisjoint(runs[0]["train"].ids)
    assert other.lists["test"].name == "music-synthetic-v1-seed1"


def test_the_numbers_of_mixtures_are_settings(root: Path) -> None:
    data = mixed(root, train_clips=40, test_clips=3, limit=7)

    assert (len(data.report.splits["train"]), len(data.report.splits["test"])) == (7, 3)
    assert len(mixed(root, train_clips=40).report.splits["train"]) == 40


def test_held_out_videos_make_mixtures_of_their_own(root: Path) -> None:
    (root / "MUSIC_solo_videos.json").unlink()
    for place in range(20):
        write_video(root, f"further{place:04d}_0_1000", shade=5 * place)
    rows = [f"further{place:04d}_0_1000" for place in range(20)]
    (root / "solo_training_2.txt").write_text("\n".join(rows))

    data = mixed(root, val_fraction=0.5)

    seen = {
        split: {round(shade) for row in range(len(data.report.splits[split]))
                for shade in shades(data, split, row)}
        for split in ("train", "val")
    }  # fmt: skip
    assert min(len(each) for each in seen.values()) >= 4
    assert not seen["train"] & seen["val"]


def test_training_videos_of_too_few_instruments_are_named(root: Path) -> None:
    rows = [video_of(name, 1) for name in list(INSTRUMENTS)[:3]]
    (root / "few.txt").write_text("\n".join(rows))

    with pytest.raises(
        BenchError, match=r"few\.txt has clips of acoustic_guitar, cello, saxophone"
    ):
        mixed(root, train_list="few").setup("fit")


def test_missing_training_videos_are_named_once(root: Path) -> None:
    (root / "audio" / f"{video_of('violin', 1)}.wav").unlink()

    report = mixed(root).report

    assert report.train_missing == (video_of("violin", 1),)
    assert len(report.splits["train"]) == 4 * SECONDS


def test_training_seconds_beyond_the_sound_are_not_mixed(root: Path) -> None:
    late = root / "video_frames" / f"{frame(video_of('cello', 1), 8)}.jpg"
    late.parent.mkdir()
    Image.new("L", (32, 24)).save(late)

    report = mixed(root).report

    assert list(report.train_unreadable) == [frame(video_of("cello", 1), 8)]
    assert len(report.splits["train"]) == 5 * SECONDS


@pytest.mark.parametrize("size", [16, 15])
def test_batches_have_the_sizes_that_a_method_asks_for(root: Path, size: int) -> None:
    inputs = Inputs(image_size=size, num_segments=3, sample_rate_hz=4000, segment_seconds=1.0)
    data = mixed(root, inputs)

    loaders = data.test_dataloader()

    assert len(loaders) == 2 + 4
    for loader in loaders:
        clip = next(iter(loader)).clip
        assert tuple(clip.frames.shape) == (2, 3, 3, size, size)
        assert tuple(clip.waveform.shape) == (2, 3, 4000)


def test_perfect_maps_of_isolated_sounds_score_perfectly(root: Path) -> None:
    data = mixed(root)
    truth = data.truth()
    maps = np.stack([
        [box_union(source.boxes, 224) * float(source.sounding) for source in each.sources]
        for each in truth
    ]).astype(np.float32)  # fmt: skip

    found = score(
        Predictions([each.id for each in truth], maps.max(1), source_heatmap=maps,
                    map_range=(0.0, 1.0)),
        truth,
        "dsol-synthetic",
    ).metrics  # fmt: skip

    assert {key: found[key] for key in ("ciou@0.5", "cap", "piap", "nsa", "pixel_ap")} == {
        "ciou@0.5": 1.0, "cap": 1.0, "piap": 1.0, "nsa": 1.0, "pixel_ap": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"generator_seed": -1}, r"data\.generator_seed=-1 must be 0 or more"),
        ({"test_clips": 0}, r"data\.test_clips=0 must be 1 or more"),
        ({"train_clips": 0}, r"data\.train_clips=0 must be 1 or more"),
        ({"jitter_db": -1.0}, r"data\.jitter_db=-1\.0 must be 0 or more"),
        ({"jitter_seconds": float("nan")}, r"data\.jitter_seconds=nan must be 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(
    root: Path, settings: dict[str, object], words: str
) -> None:
    config = MixtureConfig(root=str(root), **settings)  # type: ignore[arg-type]

    with pytest.raises(BenchError, match=words):
        MusicSynthetic(config, INPUTS, seed=0)


def test_labelled_mixtures_are_no_choice(root: Path) -> None:
    with pytest.raises(BenchError, match=r"data\.labelled=few: music_synthetic knows the boxes"):
        mixed(root, labelled="few").setup("fit")


def test_the_files_of_mixtures_and_the_leaks_of_lists_are_told(root: Path) -> None:
    rows = [video_of(name, split) for name in INSTRUMENTS for split in range(2)]
    (root / "solo_pairs.txt").write_text("\n".join(rows))
    path = root / "audio" / f"{video_of('violin', 0)}.wav"
    path.write_bytes(path.read_bytes()[:-100])

    found = inspected("music_synthetic", mixed(root))

    assert {each.train: (each.clips, each.videos) for each in found.leakage} == {
        "solo_training_2": (0, 0), "solo_pairs": (5, 5),
    }  # fmt: skip
    assert found.media["test"].expected == 12
    assert found.media["test"].unreadable == mixed(root).report.unreadable
    assert found.media["train"].expected == 10


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_a_mixture_with_one_silent_solo_is_told_as_silent(root: Path, name: str) -> None:
    path = root / "audio" / f"{video_of(name, 0)}.wav"
    soundfile.write(path, np.zeros(SECONDS * RATE_HZ), RATE_HZ, subtype="PCM_16")
    data = mixed(root)
    holds = [each.id for each in data.truth() if name in {one.category for one in each.sources}]

    found = inspected("music_synthetic", mixed(root))

    assert 0 < len(holds) < 12
    assert found.media["test"].silent == tuple(holds)


ASKING = Inputs(
    image_size=16, num_segments=2, sample_rate_hz=RATE_HZ, segment_seconds=0.5, proposals=40
)


def test_proposals_are_of_the_picture_that_the_four_frames_make(root: Path) -> None:
    data = mixed(root, ASKING, proposal_width=80)

    assert (12, 2) == np.array(data.picture_contents("test")).shape
    for row, truth in enumerate(data.truth()[:2]):
        whole, found = data.whole_picture("test", row, 1), data.proposals("test", row)
        quadrants = whole.float().mean(0).reshape(2, 160, 2, 160).mean((1, 3)).flatten().tolist()
        assert quadrants == pytest.approx(shades(data, "test", row), abs=2)
        assert (2, 40, 4) == found.shape
        assert torch.equal(found[0].nan_to_num(-1), found[1].nan_to_num(-1))
        for source in truth.sources:
            x, y = (0.5 * (edge >= 0.5) for edge in source.boxes[0, :2])
            near = (found[0] - torch.tensor([x, y, x + 0.5, y + 0.5])).abs().amax(-1)
            assert near.nan_to_num(1).min() < 0.05, "the quadrants are plain, so each is a box"


def test_equal_frames_in_other_quadrants_are_another_picture(root: Path) -> None:
    data = mixed(root, ASKING)
    contents = [each for of_clip in data.picture_contents("train") for each in of_clip[:1]]
    ids = data.report.splits["train"].ids
    videos = {tuple(sound for _, sound in data.pairs_of(each)) for each in ids}

    assert len(set(contents)) == len(videos), "all frames of a video are alike here"
    assert len({tuple(sorted(each)) for each in videos}) < len(videos)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Three published pictures; the names of the sounds differ, their order does not."""
    folder = tmp_path / "published"
    for name in ("video", "audio", "box"):
        (folder / name).mkdir(parents=True)
    for place in range(3):
        Image.new("L", (32, 32), 60 * (place + 1)).save(folder / "video" / f"pic_{place}.jpg")
        level = np.full(RATE_HZ, (place + 1) / 10)
        soundfile.write(folder / "audio" / f"sound_{place}.wav", level, RATE_HZ)
        rows = [[0.0, 0.0, 0.5, 0.5, 1.0], [0.5, 0.5, 0.5, 0.5, 12.0]]
        np.save(folder / "box" / f"pic_{place}.npy", np.array(rows))
    return folder


def test_published_files_belong_together_by_position(published: Path) -> None:
    data = mixed(published)

    assert data.report.splits["test"].ids == ("pic_0", "pic_1", "pic_2")
    assert [data.frames("test", row).float().mean().item() for row in range(3)] == pytest.approx(
        [60, 120, 180], abs=2
    )
    assert [data.waveform("test", row).mean().item() for row in range(3)] == pytest.approx(
        [0.1, 0.2, 0.3], abs=1e-3
    )


def test_proposals_of_published_mixtures_are_of_their_pictures(published: Path) -> None:
    data = mixed(published, ASKING, proposals="grid")
    data.setup("test")

    assert (3, 32, 32) == data.whole_picture("test", 1, 0).shape
    assert data.whole_picture("test", 1, 0).float().mean().item() == pytest.approx(120, abs=2)
    assert not next(iter(data.test_dataloader()[0])).clip.proposals.isnan().any()


def test_published_mixtures_have_sources_but_no_isolated_sounds(published: Path) -> None:
    data = mixed(published)

    assert [source.sounding for source in data.truth()[0].sources] == [True, True, False, False]
    assert data.num_sources("test", 0) == 0
    assert len(data.test_dataloader()) == 2


def test_the_files_of_published_mixtures_are_judged(published: Path) -> None:
    (published / "video" / "pic_1.jpg").write_bytes(b"")

    found = inspected("music_synthetic", mixed(published))

    assert found.media["test"].unreadable == {"pic_1": "video/pic_1.jpg: the file is empty"}
    assert mixed(published).report.splits["test"].ids == ("pic_0", "pic_2")


def test_a_published_file_that_is_missing_would_shift_the_others(published: Path) -> None:
    (published / "audio" / "sound_1.wav").unlink()

    with pytest.raises(
        BenchError, match="3 pictures in video, 2 sounds in audio and 3 files in box"
    ):
        mixed(published).setup("test")


def test_published_spectrograms_in_pickles_are_refused_in_words(published: Path) -> None:
    for path in (published / "audio").iterdir():
        path.rename(path.with_suffix(".pkl"))

    with pytest.raises(BenchError, match="audio holds pickled spectrograms, which are never read"):
        mixed(published).setup("test")
