import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.clip import Inputs
from datamodules.synthetic import Synthetic
from datamodules.synthetic_generator import CLASSES, SyntheticClip, generate_clip, strip_tells
from datamodules.synthetic_settings import SyntheticConfig, fingerprint, knobs_of, spec_of
from metrics.errors import BenchError
from metrics.floors import floor_scores
from metrics.predictions import Predictions
from metrics.scoring import score

INPUTS = Inputs(image_size=32, sample_rate_hz=16000, segment_seconds=0.5)
SETTINGS: dict[str, dict[str, object]] = {
    "events": {"segments": 4, "event_share": 0.5, "off_sounds": True},
    "onoff": {"segments": 4, "motion": "onoff"},
    "two": {"sources": 2},
    "two over time": {"segments": 4, "motion": "pulse", "event_share": 0.5, "sources": 2},
    "offscreen": {"offscreen": 0.5},
    "context": {"context": 1.0},
    "some context": {"context": 0.5},
    "noisy": {"snr_db_low": 0.0, "snr_db_high": 10.0},
}


def small(**settings: object) -> SyntheticConfig:
    config = SyntheticConfig(
        batch_size=8, train_clips=40, val_clips=16, test_clips=12, image_size=32, seconds=0.5
    )
    return replace(config, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the clips of each variant are, made by the first test that reads them."""
    folder = tmp_path_factory.mktemp("variants")
    return {name: str(folder / name) for name in [*SETTINGS, "still"]}


class Opener:
    """Data of a variant, as a method with some inputs gets them."""

    def __init__(self, roots: dict[str, str]) -> None:
        self.roots = roots

    def __call__(self, name: str, settings: object = None, **inputs: object) -> Synthetic:
        further = settings if isinstance(settings, dict) else {}
        config = small(root=self.roots[name], **SETTINGS.get(name, {}), **further)
        return Synthetic(config, replace(INPUTS, **inputs), seed=0)  # type: ignore[arg-type]


@pytest.fixture
def opened(roots: dict[str, str]) -> Opener:
    return Opener(roots)


def generated(data: Synthetic, index: int, split: str = "test") -> SyntheticClip:
    config = data.settings
    return generate_clip(0, index, spec_of(config), knobs_of(config), split=split)


def test_the_fingerprint_of_the_defaults_has_not_changed() -> None:
    # As computed by the commit before the first knob, for clips that lie in users' caches.
    assert fingerprint(SyntheticConfig()) == "2cc418bf304a"


def test_a_knob_at_its_default_leaves_name_and_folder_alone() -> None:
    config = small(motion="static", event_share=1.0, offscreen=0.0)

    assert fingerprint(config) == fingerprint(small())


def test_every_variant_has_a_folder_and_a_name_of_its_own(opened: Opener) -> None:
    names = {opened(name).report.splits["test"].name for name in [*SETTINGS, "still"]}

    assert len({fingerprint(small(**settings)) for settings in SETTINGS.values()}) == len(SETTINGS)
    assert len(names) == len(SETTINGS) + 1
    assert "synthetic-v1/test-12" in names
    assert "synthetic-v1/test-12-segments4-event_share0.5-off_soundstrue" in names
    assert "synthetic-v1/test-12-segments4-motiononoff-event_share0.5" in names
    assert "synthetic-v1/test-12-snr_db0-10" in names


def test_onoff_shows_objects_half_of_the_time_unless_a_share_is_set() -> None:
    config = small(segments=4, motion="onoff")

    assert knobs_of(config).event_share == 0.5
    assert knobs_of(replace(config, event_share=0.75)).event_share == 0.75


def test_clips_of_other_knobs_are_refused(opened: Opener) -> None:
    opened("two").setup("fit")

    with pytest.raises(BenchError, match=r"spec\.json describes clips of other data\.\* settings"):
        opened("two", {"snr_db_low": 0.0, "snr_db_high": 0.0}).setup("fit")


def test_a_method_of_all_segments_gets_all(opened: Opener) -> None:
    data = opened("events", num_segments=4)
    expected = generated(data, 3)

    assert np.array_equal(data.frames("test", 3).permute(0, 2, 3, 1).numpy(), expected.frames)
    assert torch.equal(data.waveform("test", 3) * 32768, torch.tensor(expected.sound).float())


def test_a_method_of_one_segment_gets_the_middle_one(opened: Opener) -> None:
    data = opened("events")
    expected = generated(data, 3)

    assert np.array_equal(data.frames("test", 3)[0].permute(1, 2, 0).numpy(), expected.frames[2])
    assert torch.equal(data.waveform("test", 3)[0] * 32768, torch.tensor(expected.sound[2]).float())


def test_each_segment_is_fitted_to_the_window_of_the_method(opened: Opener) -> None:
    native = opened("events", num_segments=4).waveform("test", 0)

    longer = opened("events", num_segments=4, segment_seconds=0.75).waveform("test", 0)
    shorter = opened("events", num_segments=4, segment_seconds=0.25).waveform("test", 0)
    assert torch.equal(longer, torch.cat([native, native[:, :4000]], dim=1))
    assert torch.equal(shorter, native[:, 2000:6000])


def test_a_still_with_a_long_sound_fills_several_segments(tmp_path: Path) -> None:
    config = small(root=str(tmp_path / "clips"), seconds=2.5, train_clips=1, val_clips=1)
    still = Synthetic(config, replace(INPUTS, segment_seconds=2.5), seed=0)
    data = Synthetic(config, replace(INPUTS, num_segments=4, labels="segment"), seed=0)

    assert torch.equal(data.frames("test", 1), still.frames("test", 1).expand(4, -1, -1, -1))
    middle = still.waveform("test", 1)[0, 4000:36000]  # 2 of the 2.5 s
    assert torch.equal(data.waveform("test", 1), middle.reshape(4, 8000))
    assert data.labels("train", 0) is not None
    assert data.labels("train", 0).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "asked", "words"),
    [
        ({}, 4, r"of 1 segment, the method asks for 4; set data\.segments=4, or data\.seconds=2 "),
        ({"segments": 3}, 4, r"of 3 segments, the method asks for 4; set data\.segments=4$"),
    ],
)
def test_segments_that_were_not_made_are_refused(
    settings: dict[str, object], asked: int, words: str
) -> None:
    with pytest.raises(BenchError, match=words):
        Synthetic(small(**settings), replace(INPUTS, num_segments=asked), seed=0)


def test_labels_are_background_where_no_seen_object_sounds(opened: Opener) -> None:
    data = opened("events", num_segments=4)

    assert data.report.classes == CLASSES
    for row in range(12):
        clip = generated(data, row, "train")
        labels = data.labels("train", row)
        assert labels is not None
        assert (labels.dtype, labels.shape) == (np.int64, (4,))
        sounding = clip.sounding.any(axis=1)
        assert (labels == 16).tolist() == (~sounding).tolist()
        assert set(labels[sounding]) == {row % 16}


def test_the_truth_holds_the_label_of_every_delivered_segment(opened: Opener) -> None:
    all_four = opened("events", num_segments=4).truth()
    middle = opened("events").truth()

    for row, (whole, one) in enumerate(zip(all_four, middle, strict=True)):
        assert whole.segments is not None
        assert one.segments is not None
        assert whole.segments[2] == one.segments[0] == row % 16
        assert (whole.segments == 16).sum() == 2
    assert opened("still").truth()[0].segments is None


def test_truth_is_of_the_middle_segment(opened: Opener) -> None:
    data = opened("two over time", num_segments=4)

    for row, truth in enumerate(data.truth()):
        clip = generated(data, row)
        assert truth.boxes[0].tolist() == clip.boxes[2, clip.sounding[2]].tolist()
        assert truth.objects is not None
        assert truth.objects.tolist() == clip.boxes[2].tolist()


def test_a_clip_from_off_the_screen_has_no_box_and_the_class_that_is_heard(
    opened: Opener,
) -> None:
    data = opened("offscreen", labels="segment")
    rows = [row for row, truth in enumerate(data.truth()) if not truth.on_screen]

    assert 0 < len(rows) < 12
    for row in rows:
        truth, clip = data.truth()[row], generated(data, row)
        assert truth.boxes[0].shape == (0, 4)
        assert truth.objects is not None
        assert len(truth.objects) == (clip.classes >= 0).sum()
        assert truth.category == data.report.splits["test"].categories[row]
        assert truth.category == CLASSES[clip.labels[0]]
    assert data.report.notes[1] == f"{len(rows)} test clips have their source off the screen"


def test_training_sees_no_box_and_no_event_of_a_clip_from_off_the_screen(opened: Opener) -> None:
    data = opened("offscreen", labels="segment")

    on_screen = [bool(generated(data, row, "train").on_screen[0]) for row in range(40)]
    assert [len(data.boxes("train", row)) == 3 for row in range(40)] == on_screen
    labels = [data.labels("train", row) for row in range(40)]
    assert [one is not None and one.tolist() != [16] for one in labels] == on_screen
    assert 0 < sum(on_screen) < 40


def test_truth_of_two_sources_tells_those_that_sound_from_those_that_do_not(
    opened: Opener,
) -> None:
    data = opened("two")

    for row, truth in enumerate(data.truth()):
        clip = generated(data, row)
        assert [source.sounding for source in truth.sources] == [True, True, False]
        sounding = [source.category for source in truth.sources if source.sounding]
        expected = [CLASSES[label] for label in clip.classes[clip.sounding[0]]]
        assert sounding == expected
        assert truth.category is not None
        assert set(truth.category.split("+")) == set(expected)
        boxes = np.concatenate([source.boxes for source in truth.sources[:2]])
        assert truth.boxes[0].tolist() == boxes.tolist()


def test_the_sounds_of_the_sources_add_up_to_the_mixture(opened: Opener) -> None:
    for name, segments in (("two", 1), ("two over time", 4)):
        data = opened(name, num_segments=segments)
        for row in range(12):
            assert data.num_sources("test", row) == 3
            parts = [data.source_waveform("test", row, source) for source in range(2)]
            assert torch.equal(parts[0] + parts[1], data.waveform("test", row))
            silent = data.source_waveform("test", row, 2)
            assert not torch.equal(silent, parts[0])
            assert silent.abs().max() > 0.1


def test_each_source_is_heard_alone_in_a_test_loader_of_its_own(opened: Opener) -> None:
    data = opened("two")

    loaders = data.test_dataloader()
    assert len(loaders) == 2 + 3
    for source in range(3):
        clip = next(iter(loaders[2 + source])).clip
        for place, row in enumerate(clip.index.tolist()):
            expected = data.source_waveform("test", row, source)
            assert torch.equal(clip.waveform[place], expected)


def test_clips_of_one_source_have_no_isolated_sounds(opened: Opener) -> None:
    assert opened("still").num_sources("test", 0) == 0
    assert opened("still").truth()[0].sources == ()
    assert len(opened("still").test_dataloader()) == 2


def test_maps_of_the_true_boxes_are_perfect_under_every_kind_of_metric(opened: Opener) -> None:
    data = opened("two")
    truth = data.truth()
    maps = np.stack([[painted(source.boxes) for source in each.sources] for each in truth])

    predictions = Predictions(
        [each.id for each in truth], maps[:, :2].max(axis=1), source_heatmap=maps
    )
    scores = score(predictions, truth, "bench-v1")
    assert scores.metrics["cap"] == scores.metrics["piap"] == 1.0
    assert scores.metrics["ciou@0.5"] == 1.0


def painted(boxes: np.ndarray) -> np.ndarray:
    """``(224, 224)`` map of boxes whose edges lie on its pixels."""
    heatmap = np.zeros((224, 224), np.float32)
    for x0, y0, x1, y1 in (224 * boxes).astype(int):
        heatmap[y0:y1, x0:x1] = 1
    return heatmap


@pytest.mark.parametrize("name", ["events", "onoff"])
def test_floors_over_time_are_those_of_the_still(opened: Opener, name: str) -> None:
    for floor in ("center", "all_objects"):
        still = floor_scores(floor, opened("still").truth(), "bench-v1")
        moving = floor_scores(floor, opened(name).truth(), "bench-v1")
        assert still.values["ciou"].tolist() == moving.values["ciou"].tolist()


def first_by_sha256(split: str, count: int, kept: int) -> set[str]:
    ids = [f"{split}-{row:06d}" for row in range(count)]
    return set(sorted(ids, key=lambda each: hashlib.sha256(each.encode()).hexdigest())[:kept])


def test_all_training_clips_are_labelled_by_default(opened: Opener) -> None:
    data = opened("still", labels="segment")

    assert len(data.report.splits["train"]) == 40
    for row in range(40):
        boxes = data.boxes("train", row)
        clip = generated(data, row, "train")
        assert np.stack(boxes)[:, 0].tolist() == clip.annotators[0].tolist()
        assert [one.shape for one in boxes] == [(1, 4)] * 3
        assert data.labels("train", row) == [row % 16]


def test_labels_of_a_share_are_those_of_the_first_clips_by_hash(opened: Opener) -> None:
    data = opened("still", {"labelled": "0.25", "unlabelled": "1"})
    train = data.report.splits["train"]

    assert train.name == "synthetic-v1/train-40"
    seen = {train.ids[row] for row in range(40) if data.boxes("train", row)}
    assert seen == first_by_sha256("train", 40, 10)
    assert seen == {train.ids[row] for row in range(40) if data.labels("train", row) is not None}


def test_only_labelled_clips_are_trained_on_unless_others_are_asked_for(opened: Opener) -> None:
    data = opened("still", {"labelled": "0.25"})
    train = data.report.splits["train"]

    assert set(train.ids) == first_by_sha256("train", 40, 10)
    assert train.name == "synthetic-v1/train-40-labelled0.25"
    assert list(train.ids) == sorted(train.ids)
    for row, clip_id in enumerate(train.ids):
        expected = generated(data, int(clip_id[-6:]), "train")
        assert data.frames("train", row)[0].permute(1, 2, 0).numpy().tolist() == (
            expected.frames[0].tolist()
        )
        assert train.categories[row] == CLASSES[expected.labels[0]]


def test_some_clips_without_labels_are_kept_beside_those_with(opened: Opener) -> None:
    data = opened("still", {"labelled": "0.25", "unlabelled": "0.5"})
    train = data.report.splits["train"]

    assert (len(train), train.name) == (25, "synthetic-v1/train-40-labelled0.25-unlabelled0.5")
    assert sum(bool(data.boxes("train", row)) for row in range(25)) == 10
    assert set(train.ids) == first_by_sha256("train", 40, 25)


def test_the_lists_are_recorded_as_they_were_made(opened: Opener) -> None:
    lists = opened("still", {"labelled": "0.25", "limit": 20}).report.lists

    text = "\n".join(f"train-{row:06d}" for row in range(40))
    assert (lists["train"].name, lists["train"].n) == ("synthetic-v1/train-40", 40)
    assert lists["train"].sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert (lists["val"].n, lists["test"].n) == (16, 12)


def test_a_limit_comes_before_the_choice_of_labels(opened: Opener) -> None:
    data = opened("still", {"labelled": "0.5", "limit": 10})

    assert set(data.report.splits["train"].ids) == first_by_sha256("train", 10, 5)


def test_validation_clips_are_labelled_in_the_same_share_and_test_clips_never(
    opened: Opener,
) -> None:
    data = opened("still", {"labelled": "0.25"})

    seen = {f"val-{row:06d}" for row in range(16) if data.boxes("val", row)}
    assert seen == first_by_sha256("val", 16, 4)
    assert not any(data.boxes("test", row) for row in range(12))
    assert all(data.labels("test", row) is None for row in range(12))


def test_batches_carry_the_boxes_and_labels_that_may_be_seen(opened: Opener) -> None:
    settings = {"labelled": "0.5", "unlabelled": "1"}
    data = opened("events", settings, num_segments=4, box_map_size=16, labels="segment")

    for batch in data.train_dataloader():
        assert batch.annotation is not None
        assert batch.clip.frames.shape == (8, 4, 3, 32, 32)
        assert batch.annotation.boxes is not None
        assert batch.annotation.labels is not None
        assert batch.clip.target.tolist() == [2] * 8
        for place, row in enumerate(batch.clip.index.tolist()):
            drawn = batch.annotation.boxes[place].numpy()
            is_labelled = bool(batch.annotation.has_boxes[place])
            assert is_labelled == bool(batch.annotation.has_labels[place])
            assert is_labelled == (f"train-{row:06d}" in first_by_sha256("train", 40, 20))
            if is_labelled:
                clip = generated(data, row, "train")
                known = clip.annotators[2].astype(np.float32).tolist()
                assert drawn[0].tolist() in known
                expected = np.where(clip.on_screen, clip.labels, 16).tolist()
                assert batch.annotation.labels[place].tolist() == expected


def test_weak_labels_are_the_event_of_the_clip(opened: Opener) -> None:
    data = opened("events", num_segments=4, labels="clip")

    batch = next(iter(data.train_dataloader()))
    assert batch.annotation is not None
    assert batch.annotation.labels is not None
    for row, labels in zip(batch.clip.index.tolist(), batch.annotation.labels, strict=True):
        assert labels.tolist() == [row % 16] * 4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"motion": "pulsing"}, r"data\.motion='pulsing' is unknown; Did you mean pulse\?"),
        ({"snr_db_low": 3.0}, r"snr_db_low=3 and data\.snr_db_high=null are the ends of one range"),
        ({"labelled": "few"}, r"data\.labelled=few must be a share of the training clips from 0"),
        ({"labelled": "nan"}, r"data\.labelled=nan must be a share"),
        ({"labelled": "0.5", "unlabelled": "2"}, r"data\.unlabelled=2 must be a share"),
        ({"unlabelled": "0.5"}, r"data\.unlabelled=0\.5 has no clips to choose from, since all"),
        ({"labelled": "0"}, r"data\.labelled=0 leaves none of 40 training clips; set data\.unlab"),
        ({"labelled": "0.01"}, r"data\.labelled=0\.01 leaves none of 40 training clips"),
    ],
)
def test_a_setting_without_a_meaning_is_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(BenchError, match=words):
        Synthetic(small(**settings), INPUTS, seed=0)


def test_two_classes_at_once_have_no_single_label() -> None:
    with pytest.raises(BenchError, match=r"data\.sources=2 has two classes in a segment"):
        Synthetic(small(sources=2), replace(INPUTS, labels="segment"), seed=0)


@pytest.mark.parametrize("name", ["still", "events", "two"])
def test_three_annotators_are_scored_against_as_they_drew(opened: Opener, name: str) -> None:
    exact = opened(name)
    data = opened(name, {"annotators": True})

    assert data.folder == exact.folder
    assert fingerprint(data.settings) == fingerprint(exact.settings)
    for row, truth in enumerate(data.truth()):
        drawn = generated(data, row).annotators[data.target].reshape(3, -1, 4)
        assert [boxes.tolist() for boxes in truth.boxes] == drawn.tolist()
        assert truth.objects is not None
        assert truth.objects.tolist() == exact.truth()[row].objects.tolist()


def test_no_annotator_draws_a_source_that_is_off_the_screen(opened: Opener) -> None:
    truth = opened("offscreen", {"annotators": True}).truth()

    shapes = {sample.on_screen: [boxes.shape for boxes in sample.boxes] for sample in truth}
    assert shapes == {True: [(1, 4)] * 3, False: [(0, 4)] * 3}


def test_a_map_of_one_annotators_boxes_is_perfect_for_that_one_alone(opened: Opener) -> None:
    truth = opened("still", {"annotators": True}).truth()
    maps = np.stack([painted(each.boxes[1]) for each in truth])

    scores = score(Predictions([each.id for each in truth], maps), truth, "senocak")
    perfect = [bool((scores.values[f"annotator{k}_ciou"] == 1).all()) for k in (1, 2, 3)]
    assert perfect == [False, True, False]
    assert "iou@0.5" not in scores.metrics


def test_the_context_of_a_clip_is_its_strip_where_that_tells_the_sound(opened: Opener) -> None:
    for name in ("context", "some context"):
        data = opened(name)
        for row, truth in enumerate(data.truth()):
            clip = generated(data, row)
            tells = strip_tells(0, row, int(clip.labels[0]), knobs_of(data.settings), split="test")
            assert clip.strip is not None
            expected = [clip.strip.tolist()] if tells else None
            assert expected == (None if truth.context is None else truth.context.tolist())
    assert opened("still").truth()[0].context is None
