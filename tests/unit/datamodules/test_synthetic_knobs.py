import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datamodules.synthetic_generator import (
    SILENT,
    Scene,
    SyntheticClip,
    SyntheticSpec,
    generate_clip,
    generate_scene,
    strip_tells,
)
from datamodules.synthetic_knobs import OFF, SyntheticKnobs, check_knobs, timeline
from datamodules.synthetic_pictures import class_hue
from datamodules.synthetic_sounds import PITCHES_HZ
from metrics.errors import BenchError

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "synthetic_knobs.json").read_text())
SPEC = SyntheticSpec(seconds=0.5)
EVENTS = SyntheticKnobs(segments=10, event_share=0.75)
ONOFF = SyntheticKnobs(segments=10, motion="onoff", event_share=0.5)
PULSE = SyntheticKnobs(segments=10, motion="pulse")
OFF_SOUNDS = replace(EVENTS, off_sounds=True)
NOISY = SyntheticKnobs(snr_db=(0.0, 10.0))
TWO = SyntheticKnobs(sources=2)
OFFSCREEN = SyntheticKnobs(offscreen=0.3)
CONTEXT = SyntheticKnobs(context=0.7)
EVERYTHING = SyntheticKnobs(
    4, "pulse", 0.75, off_sounds=True, snr_db=(-20.0, -20.0), offscreen=0.3, context=0.7
)
KNOBS = {
    "events": EVENTS,
    "onoff": ONOFF,
    "pulse": PULSE,
    "off_sounds": OFF_SOUNDS,
    "noisy": NOISY,
    "two": TWO,
    "two over time": SyntheticKnobs(4, "onoff", 0.5, snr_db=(0.0, 10.0), sources=2),
    "offscreen": OFFSCREEN,
    "context": CONTEXT,
    "everything": EVERYTHING,
}


def clips_of(knobs: SyntheticKnobs, count: int) -> list[SyntheticClip]:
    return [generate_clip(0, index, SPEC, knobs, split="test") for index in range(count)]


@pytest.fixture(scope="module")
def strips() -> list[SyntheticClip]:
    return clips_of(CONTEXT, 400)


@pytest.fixture(scope="module")
def stills() -> list[SyntheticClip]:
    return clips_of(OFF, 24)


@pytest.fixture(scope="module")
def made() -> dict[str, list[SyntheticClip]]:
    """The first 24 test clips with each knob."""
    return {name: clips_of(knobs, 24) for name, knobs in KNOBS.items()}


def rms(sound: np.ndarray) -> np.ndarray:
    return np.sqrt((sound.astype(np.float64) ** 2).mean(-1))


def within(observed: float, expected: float, count: int, errors: float = 3.5) -> bool:
    """Whether a share of `count` draws is as near to its expectation as chance allows."""
    return abs(observed - expected) <= errors * np.sqrt(expected * (1 - expected) / count)


@pytest.mark.parametrize("name", KNOBS)
def test_clips_of_a_knob_have_their_frozen_bytes(
    made: dict[str, list[SyntheticClip]], name: str
) -> None:
    digest = hashlib.sha256()
    for clip in made[name][:6]:
        for values in clip:
            digest.update(b"" if values is None else np.ascontiguousarray(values).tobytes())

    assert digest.hexdigest() == GOLDEN["first_6_test_clips"][name]


def test_every_knob_changes_the_clips() -> None:
    assert len(set(GOLDEN["first_6_test_clips"].values())) == len(KNOBS)


@pytest.mark.parametrize("name", ["events", "onoff", "pulse", "off_sounds"])
def test_the_middle_frame_is_that_of_the_still(
    made: dict[str, list[SyntheticClip]], stills: list[SyntheticClip], name: str
) -> None:
    for clip, still in zip(made[name], stills, strict=True):
        assert np.array_equal(clip.frames[5], still.frames[0])
        assert np.array_equal(clip.boxes[5], still.boxes[0], equal_nan=True)
        assert np.array_equal(clip.annotators[5], still.annotators[0])
        assert clip.sounding[5].tolist() == still.sounding[0].tolist()


@pytest.mark.parametrize("name", ["off_sounds", "noisy"])
def test_what_is_heard_beside_the_source_changes_no_picture(
    made: dict[str, list[SyntheticClip]], stills: list[SyntheticClip], name: str
) -> None:
    for clip, still in zip(made[name], stills, strict=True):
        for frame in clip.frames:
            assert np.array_equal(frame, still.frames[0])


@pytest.mark.parametrize(("share", "segments"), [(0.75, 10), (0.5, 10), (0.4, 7), (1.0, 5)])
def test_a_source_sounds_in_its_share_of_the_segments(share: float, segments: int) -> None:
    knobs = SyntheticKnobs(segments, event_share=share)
    rngs = (np.random.default_rng(seed) for seed in range(2 * 500))

    on = np.concatenate(
        [timeline(3, knobs, next(rngs), next(rngs)).is_on.T for _ in range(500)]
    )  # (2000, T)
    counts = on.sum(axis=1)
    whole = np.floor(share * segments)
    assert set(counts) <= {whole, np.ceil(share * segments)}
    assert within((counts > whole).mean(), share * segments - whole, len(counts))
    assert on[:, segments // 2].all()
    others = np.delete(on, segments // 2, axis=1).mean(axis=0)
    for observed in others:  # all segments but the middle one are alike
        assert within(observed, (share * segments - 1) / (segments - 1), len(on), errors=4)


def test_objects_follow_patterns_of_their_own() -> None:
    rngs = (np.random.default_rng(seed) for seed in range(2 * 500))
    agreement = []
    for _ in range(500):
        line = timeline(3, ONOFF, next(rngs), next(rngs))
        free = np.delete(line.shown, 5, axis=0)
        agreement += [(free[:, a] == free[:, b]).mean() for a, b in ((0, 1), (0, 2), (1, 3))]

    # Two independent patterns with 4 of 9 segments on agree in (4 * 4 + 5 * 5) / 81 of them.
    standard_error = np.std(agreement) / np.sqrt(len(agreement))
    assert abs(np.mean(agreement) - 41 / 81) < 3.5 * standard_error


def test_an_object_that_is_off_is_not_in_the_picture(made: dict[str, list[SyntheticClip]]) -> None:
    hidden = 0
    for clip in made["onoff"]:
        for segment in range(10):
            for place in np.flatnonzero(clip.classes != SILENT):
                is_seen = bool((clip.object_map[segment] == place + 1).any())
                assert is_seen == (not np.isnan(clip.boxes[segment, place, 0]))
                hidden += not is_seen
    objects = sum(int((clip.classes != SILENT).sum()) for clip in made["onoff"])
    assert hidden == 5 * objects  # half of ten segments


def test_the_sound_comes_and_goes_with_the_source_alone(
    made: dict[str, list[SyntheticClip]],
) -> None:
    for clip in made["onoff"]:
        (source,) = np.flatnonzero(clip.sounding.any(axis=0))
        is_seen = ~np.isnan(clip.boxes[:, source, 0])

        assert clip.sounding[:, source].tolist() == is_seen.tolist()
        loudness = rms(clip.sound)
        assert loudness[is_seen].min() > 2 * loudness[~is_seen].max()


def test_objects_are_seen_while_they_keep_silent(
    made: dict[str, list[SyntheticClip]], stills: list[SyntheticClip]
) -> None:
    for clip, still in zip(made["events"], stills, strict=True):
        assert {7, 8} >= {int(clip.sounding.any(axis=1).sum())}
        for boxes in clip.boxes:
            assert np.array_equal(boxes, still.boxes[0], equal_nan=True)


def test_labels_are_those_of_the_source_and_silence(made: dict[str, list[SyntheticClip]]) -> None:
    for index, clip in enumerate(made["events"]):
        loudness = rms(clip.sound)
        heard = clip.labels != SILENT

        assert set(clip.labels[heard]) == {index % 16}
        assert clip.on_screen.tolist() == heard.tolist()
        assert loudness[heard].min() > 2 * loudness[~heard].max()


def test_loudness_follows_the_pulse_of_the_source_alone(
    made: dict[str, list[SyntheticClip]],
) -> None:
    own, others = [], []
    for clip in made["pulse"]:
        loudness = np.log(rms(clip.sound))
        for place in np.flatnonzero(clip.classes != SILENT):
            follows = np.corrcoef(seen_level(clip, place), loudness)[0, 1]
            (own if clip.sounding[0, place] else others).append(follows)

    assert min(own) > 0.8
    assert abs(np.mean(others)) < 3.5 * np.std(others) / np.sqrt(len(others))


def seen_level(clip: SyntheticClip, place: int) -> np.ndarray:
    """Height times mean brightness of an object in each segment; one of them stays as it is."""
    height = clip.boxes[:, place, 3] - clip.boxes[:, place, 1]
    brightness = [
        frame[seen == place + 1].mean()
        for frame, seen in zip(clip.frames, clip.object_map, strict=True)
    ]
    return np.log(height * brightness)


def test_about_half_of_the_objects_pulse_in_size_and_half_in_brightness() -> None:
    rngs = (np.random.default_rng(seed) for seed in range(2 * 300))
    lines = [timeline(3, PULSE, next(rngs), next(rngs)) for _ in range(300)]

    in_size = np.concatenate([(line.size != 1).any(axis=0) for line in lines])
    in_light = np.concatenate([(line.light != 1).any(axis=0) for line in lines])
    assert (in_size != in_light).all()
    assert within(in_size.mean(), 0.5, len(in_size))


@pytest.mark.parametrize("name", ["events", "off_sounds", "onoff"])
def test_a_segment_sounds_at_the_pitch_of_its_label(
    made: dict[str, list[SyntheticClip]], name: str
) -> None:
    for clip in made[name]:
        for label, sound in zip(clip.labels, clip.sound, strict=True):
            if label != SILENT:
                assert is_at_pitch(sound, label)


def is_at_pitch(sound: np.ndarray, label: int) -> bool:
    power = np.abs(np.fft.rfft(sound)) ** 2
    strongest_hz = np.fft.rfftfreq(len(sound), 1 / 16000)[power.argmax()]
    return bool(0.6 < strongest_hz / PITCHES_HZ[label % len(PITCHES_HZ)] < 1.5)


def test_off_sounds_are_of_a_class_that_is_not_in_the_frame(
    made: dict[str, list[SyntheticClip]],
) -> None:
    for clip in made["off_sounds"]:
        others = clip.labels[~clip.on_screen]

        assert 2 <= len(others) <= 3
        assert len(set(others)) == 1
        assert not set(others) & {SILENT, *clip.classes}
        assert rms(clip.sound[~clip.on_screen]).min() > 0.02 * 32768


def test_noise_lies_below_the_sound_by_the_decibels_asked_for() -> None:
    found = []
    for clip in clips_of(replace(NOISY, sources=2), 48):
        together = own_sounds(clip)[clip.sounding[0]].sum(axis=0)
        noise = clip.sound[0].astype(np.int64) - together
        found.append(20 * np.log10(rms(together) / rms(noise)))

    # Half a second of uniform noise has its power within 0.2 dB of the expected one.
    assert -0.2 < min(found) < 2
    assert 8 < max(found) < 10.2
    assert abs(np.mean(found) - 5) < 3.5 * np.std(found) / np.sqrt(len(found))


def own_sounds(clip: SyntheticClip) -> np.ndarray:
    """Isolated sounds of the first segment, ``(O, S)`` int64."""
    assert clip.isolated is not None
    return clip.isolated[0].astype(np.int64)


@pytest.mark.parametrize("name", KNOBS)
def test_no_mixture_is_clipped(made: dict[str, list[SyntheticClip]], name: str) -> None:
    for clip in made[name]:
        assert np.abs(clip.sound.astype(int)).max() <= 0.99 * 32767 + 2


def test_two_sources_of_three_objects_sound_and_the_mixture_is_their_sum(
    made: dict[str, list[SyntheticClip]],
) -> None:
    for clip in made["two"]:
        assert clip.sounding.sum() == 2
        assert len(set(clip.classes)) == 3
        assert own_sounds(clip)[clip.sounding[0]].sum(axis=0).tolist() == clip.sound[0].tolist()


def test_each_isolated_sound_is_at_the_pitch_of_its_object(
    made: dict[str, list[SyntheticClip]],
) -> None:
    for clip in made["two"]:
        for label, sound in zip(clip.classes, own_sounds(clip), strict=True):
            assert is_at_pitch(sound, label)
            assert rms(sound) > 0.02 * 32768


def test_each_annotator_draws_every_source(made: dict[str, list[SyntheticClip]]) -> None:
    for clip in made["two"]:
        boxes = clip.boxes[0, clip.sounding[0]]
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)

        assert clip.annotators.shape == (1, 3, 2, 4)
        assert (np.abs(clip.annotators[0] - boxes) <= 0.1 * sides + 1e-9).all()


def test_any_two_objects_sound_as_often_as_any_others() -> None:
    scenes = [generate_scene(0, index, TWO) for index in range(600)]

    pairs = [scene.sources for scene in scenes]
    for pair in ((0, 1), (0, 2), (1, 2)):
        assert within(pairs.count(pair) / 600, 1 / 3, 600)


def test_the_picture_is_the_same_whether_the_source_is_in_it_or_not(
    made: dict[str, list[SyntheticClip]], stills: list[SyntheticClip]
) -> None:
    for clip, still in zip(made["offscreen"], stills, strict=True):
        assert np.array_equal(clip.frames, still.frames)
        if clip.on_screen[0]:
            assert np.array_equal(clip.sound, still.sound)
            assert np.array_equal(clip.annotators, still.annotators)


def test_the_asked_for_share_of_clips_sounds_from_off_the_screen() -> None:
    scenes = [generate_scene(0, index, OFFSCREEN) for index in range(1000)]

    assert within(np.mean([not scene.sources for scene in scenes]), 0.3, 1000)


def test_training_alone_has_clips_of_background_beside_those_off_the_screen() -> None:
    knobs = replace(OFFSCREEN, background=0.4)
    scenes = {split: [generate_scene(0, index, knobs, split=split) for index in range(1000)]
              for split in ("train", "val", "test")}  # fmt: skip
    without = [generate_scene(0, index, OFFSCREEN, split="test") for index in range(1000)]

    shares = {split: np.mean([not scene.sources for scene in made])
              for split, made in scenes.items()}  # fmt: skip
    assert within(shares["train"], 0.7, 1000)
    assert within(shares["val"], 0.3, 1000)
    assert [scene.unseen for scene in scenes["test"]] == [scene.unseen for scene in without]


def test_a_sound_from_off_the_screen_is_of_a_class_that_is_not_in_it() -> None:
    away = [clip for clip in clips_of(OFFSCREEN, 48) if not clip.on_screen[0]]

    assert away
    for clip in away:
        assert clip.labels[0] not in [SILENT, *clip.classes]
        assert is_at_pitch(clip.sound[0], clip.labels[0])
        assert not clip.sounding.any()
        assert np.isnan(clip.annotators).all()


def test_a_sound_from_off_the_screen_follows_no_object_that_comes_and_goes() -> None:
    agreement = []
    for clip in clips_of(replace(ONOFF, offscreen=0.9), 64):
        if not clip.on_screen[5]:
            heard = np.delete(clip.labels != SILENT, 5)
            seen = np.delete(~np.isnan(clip.boxes[:, clip.classes != SILENT, 0]), 5, axis=0)
            agreement += (seen == heard[:, None]).mean(axis=0).tolist()

    assert abs(np.mean(agreement) - 41 / 81) < 3.5 * np.std(agreement) / np.sqrt(len(agreement))


def test_the_strip_lies_along_an_edge_and_no_object_is_in_it(
    made: dict[str, list[SyntheticClip]],
) -> None:
    for clip in made["context"]:
        assert clip.strip is not None
        sides = clip.strip[2:] - clip.strip[:2]
        assert sorted(sides.tolist()) == pytest.approx([0.24, 0.9])
        assert min(*clip.strip, *(1 - clip.strip)) == 0
        seen = clip.object_map[0][np.ix_(*pixels_of(clip.strip))]
        assert not seen.any()


def pixels_of(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns whose centres lie in a box, of 64."""
    centre = (np.arange(64) + 0.5) / 64
    rows = np.flatnonzero((box[1] <= centre) & (centre < box[3]))
    return rows, np.flatnonzero((box[0] <= centre) & (centre < box[2]))


HUES = np.array([class_hue(*divmod(label, 4), 0.5) for label in range(16)])


def nearest_class(colours: np.ndarray) -> int:
    """Class whose hue is nearest to that of the mean of ``(N, 3)`` colours."""
    red, green, blue = colours.astype(float).mean(axis=0)
    hue = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue) / (2 * np.pi)
    away = np.abs((hue - HUES + 0.5) % 1 - 0.5)
    return int(away.argmin())


def test_the_colour_of_the_strip_tells_the_class_in_the_asked_for_share(
    strips: list[SyntheticClip],
) -> None:
    told = [
        nearest_class(clip.frames[0][np.ix_(*pixels_of(clip.strip))].reshape(-1, 3))
        == clip.labels[0]
        for clip in strips
        if clip.strip is not None
    ]
    assert within(np.mean(told), 0.7 + 0.3 / 16, 400)


def test_a_strip_that_tells_is_known_by_its_colour(strips: list[SyntheticClip]) -> None:
    seen = []
    for clip in strips:
        assert clip.strip is not None
        colours = clip.frames[0][np.ix_(*pixels_of(clip.strip))].reshape(-1, 3)
        seen.append(nearest_class(colours) == clip.labels[0])

    told = [
        strip_tells(0, index, int(clip.labels[0]), CONTEXT, split="test")
        for index, clip in enumerate(strips)
    ]
    agreement = np.mean(np.array(told) == seen)  # noise moves the colour of some strips
    assert agreement > 0.98
    assert 0 < sum(told) < len(told)


def test_the_colour_of_an_object_tells_nothing_beside_a_strip(strips: list[SyntheticClip]) -> None:
    told = []
    for clip in strips:
        pixels = clip.frames[0][clip.source_mask[0]]
        bright = pixels[pixels.max(axis=1) >= 160]  # its texture apart
        told.append(nearest_class(bright) == clip.labels[0])
    assert within(np.mean(told), 1 / 16, 400)


def test_the_colour_of_an_object_tells_its_class_elsewhere(stills: list[SyntheticClip]) -> None:
    for clip in stills:
        pixels = clip.frames[0][clip.source_mask[0]]

        told = nearest_class(pixels[pixels.max(axis=1) >= 160])
        assert told == clip.labels[0]


@pytest.fixture(scope="module", params=[TWO, CONTEXT], ids=["two", "context"])
def scenes(request: pytest.FixtureRequest) -> list[Scene]:
    return [generate_scene(0, index, request.param, split="test") for index in range(500)]


@pytest.mark.parametrize("statistic", ["size", "distance from the middle", "slot"])
def test_the_layout_does_not_tell_which_object_sounds(scenes: list[Scene], statistic: str) -> None:
    differences = []
    for scene in scenes:
        value = {
            "size": scene.radius,
            "distance from the middle": np.abs(scene.centre - 0.5).max(axis=1),
            "slot": np.arange(len(scene.radius)),
        }[statistic]
        sounds = np.isin(np.arange(len(value)), scene.sources)
        differences.append(value[sounds].mean() - value[~sounds].mean())

    standard_error = np.std(differences) / np.sqrt(len(differences))
    assert abs(np.mean(differences)) < 3.5 * standard_error


@pytest.mark.parametrize("name", KNOBS)
def test_a_value_with_a_meaning_is_accepted(name: str) -> None:
    check_knobs(KNOBS[name])


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        (SyntheticKnobs(segments=0), r"data\.segments=0 must be at least 1"),
        (SyntheticKnobs(motion="pulsed"), r"'pulsed' is unknown; Did you mean pulse\? use one of"),
        (SyntheticKnobs(2, "pulse"), r"motion=pulse needs segments .* got data\.segments=2; set"),
        (SyntheticKnobs(4, event_share=0.0), r"event_share=0\.0 must be above 0 and at most 1"),
        (SyntheticKnobs(4, event_share=1.5), r"event_share=1\.5 must be above 0 and at most 1"),
        (SyntheticKnobs(event_share=0.5), r"event_share=0\.5 needs segments to be off in; set"),
        (SyntheticKnobs(4, event_share=0.2), r"=0\.2 of 4 segments is less .* use 0\.25 or more"),
        (SyntheticKnobs(4, "onoff"), r"onoff with data\.event_share=1\.0 shows all objects in the"),
        (SyntheticKnobs(4, "onoff", 0.25), r"same of 4 segments; use a share between 0\.25 and 1"),
        (SyntheticKnobs(off_sounds=True), r"off_sounds=true needs segments that are off; set"),
        (SyntheticKnobs(snr_db=(5, 0)), r"snr_db_low=5 and data\.snr_db_high=0 must be a range"),
        (SyntheticKnobs(snr_db=(0, 99)), r"snr_db_high=99 must be a range within -20 to 60 dB"),
        (SyntheticKnobs(sources=3), r"data\.sources=3 must be 1 or 2"),
        (SyntheticKnobs(offscreen=1.1), r"data\.offscreen=1\.1 must be a share of the clips"),
        (SyntheticKnobs(offscreen=1.0), r"data\.offscreen=1\.0 leaves no clip with a source"),
        (SyntheticKnobs(context=-0.1), r"data\.context=-0\.1 must be a share of the clips"),
        (SyntheticKnobs(background=1.0), r"background=1\.0 beside data\.offscreen=0\.0 leaves no"),
        (SyntheticKnobs(offscreen=0.5, background=0.5), r"leaves no training clip with a source"),
        (SyntheticKnobs(sources=2, background=0.5), r"data\.background=0\.5 is for one source"),
        (SyntheticKnobs(sources=2, context=0.5), r"data\.context=0\.5 is for one source; set"),
        (SyntheticKnobs(sources=2, offscreen=0.5), r"data\.offscreen=0\.5 is for one source"),
    ],
)
def test_a_value_without_a_meaning_is_named(knobs: SyntheticKnobs, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        check_knobs(knobs)


def test_only_the_knobs_that_are_on_are_said() -> None:
    assert OFF.changed() == {}
    assert NOISY.changed() == {"snr_db": [0.0, 10.0]}
    assert list(EVERYTHING.changed()) == [
        "segments", "motion", "event_share", "off_sounds", "snr_db", "offscreen", "context",
    ]  # fmt: skip
