"""`bench predict` below the command line: clips of one's own files, and what is made of answers."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from benchmark.config import compose
from benchmark.output_files import check_outputs
from benchmark.predict import draw, predict, write_maps
from benchmark.predictions import read_predictions, write_predictions
from benchmark.recorded import Trained, extractor_for, load_trained
from benchmark.records import Distribution, Record, read_record, write_record
from datamodules.clip import Clip, Inputs, Localization, Resizing
from methods.base import Method, MethodConfig, OptimConfig
from methods.lvs_vanilla import LvsVanilla
from metrics.errors import BenchError

HISTORY = Path(__file__).parents[2] / "records_v1"
RATE_HZ = 100
TINY = ("method.image_size=32",)


class Listener(Method):
    """Keeps the clips it is asked about; its map is that of its ``answer``."""

    num_segments = 1
    resizing = Resizing()

    def __init__(self, **config: Any) -> None:
        super().__init__(MethodConfig(image_size=4, sample_rate_hz=RATE_HZ, **config),
                         OptimConfig(), seed=0)  # fmt: skip
        self.clips: list[Clip] = []
        self.answer = Localization(torch.eye(3)[None], torch.tensor([0.5]))

    @property
    def inputs(self) -> Inputs:
        return replace(super().inputs, num_segments=self.num_segments, resizing=self.resizing)

    def localize(self, clip: Clip) -> Localization:
        self.clips.append(clip)
        return self.answer


@pytest.fixture
def listener() -> Listener:
    return Listener(segment_seconds=0.5)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Left half red, right half blue, twice as wide as high."""
    pixels = np.zeros((160, 320, 3), np.uint8)
    pixels[:, :160, 0], pixels[:, 160:, 2] = 255, 255
    Image.fromarray(pixels).save(tmp_path / "two colours.png")
    return tmp_path / "two colours.png"


@pytest.fixture
def sound(tmp_path: Path) -> Callable[..., Path]:
    """``sound(samples, name)``: 16-bit integers as a WAV file."""

    def written(samples: np.ndarray, name: str = "x.wav", rate_hz: int = RATE_HZ) -> Path:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, samples.astype(np.int16), rate_hz, subtype="PCM_16")
        return tmp_path / name

    return written


def heard(clip: Clip) -> list[list[int]]:
    """Samples of each window as the integers of the file."""
    windows: list[list[int]] = (clip.waveform[0] * 32768).round().int().tolist()
    return windows


def naive_windows(samples: list[int], count: int, length: int, middle: float) -> list[list[int]]:
    """Windows side by side around a time in samples, moved into the sound step by step."""
    windows = []
    for segment in range(count):
        start = round(middle - count * length / 2) + segment * length
        while start < 0:
            start += 1
        while start + length > len(samples):
            start -= 1
        windows.append([samples[start + place] for place in range(length)])
    return windows


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_windows_lie_side_by_side_around_the_middle_of_the_sound(
    count: int, listener: Listener, image: Path, sound: Callable[..., Path]
) -> None:
    listener.num_segments = count
    samples = list(range(400))

    predict(listener, image, [sound(np.array(samples))])

    (clip,) = listener.clips
    assert naive_windows(samples, count, 50, 200) == heard(clip)
    assert [count // 2] == clip.target.tolist()


@pytest.mark.parametrize("seconds", [0.0, 1.0, 1.3, 2.9, 4.0])
@pytest.mark.parametrize("count", [1, 4])
def test_windows_lie_around_the_time_that_is_given(
    count: int, seconds: float, listener: Listener, image: Path, sound: Callable[..., Path]
) -> None:
    listener.num_segments = count
    samples = list(range(400))

    predict(listener, image, [sound(np.array(samples))], at_seconds=seconds)

    assert naive_windows(samples, count, 50, round(100 * seconds)) == heard(listener.clips[0])


def test_a_sound_shorter_than_a_window_is_repeated(
    listener: Listener, image: Path, sound: Callable[..., Path]
) -> None:
    listener.num_segments = 2

    predict(listener, image, [sound(np.arange(20))])

    assert [[*range(20), *range(20), *range(10)]] * 2 == heard(listener.clips[0])


def test_the_channels_of_a_sound_are_mixed_by_their_mean(
    listener: Listener, image: Path, sound: Callable[..., Path]
) -> None:
    left, right = np.arange(50) * 8, np.arange(50) * 2

    predict(listener, image, [sound(np.stack([left, right], 1))])

    assert [[5 * place for place in range(50)]] == heard(listener.clips[0])


def test_a_sound_of_another_rate_keeps_its_pitch(image: Path, sound: Callable[..., Path]) -> None:
    listener = Listener(segment_seconds=1.0)
    wave = 10000 * np.sin(2 * np.pi * 20 * np.arange(800) / 800)

    predict(listener, image, [sound(wave, rate_hz=800)])

    spectrum = np.abs(np.fft.rfft(listener.clips[0].waveform[0, 0].numpy()))
    assert 20 == int(spectrum.argmax())  # of 1 s: bins are Hz


def test_the_picture_is_squashed_and_stands_still(
    listener: Listener, image: Path, sound: Callable[..., Path]
) -> None:
    listener.num_segments = 3

    predict(listener, image, [sound(np.arange(400))])

    frames = listener.clips[0].frames
    assert (1, 3, 3, 4, 4) == tuple(frames.shape)
    assert frames[0, 0].equal(frames[0, 1])
    assert frames[0, 0].equal(frames[0, 2])
    assert [255, 0] == frames[0, 0, 0, 2, [0, 3]].tolist()
    assert [0, 255] == frames[0, 0, 2, 2, [0, 3]].tolist()


def test_of_a_method_that_crops_the_middle_square_is_seen_and_drawn(
    listener: Listener, image: Path, sound: Callable[..., Path], tmp_path: Path
) -> None:
    listener.resizing = Resizing(crop=True)

    found = predict(listener, image, [sound(np.arange(400))])
    draw(tmp_path / "crop.png", found, "a")
    draw(tmp_path / "whole.png", found._replace(cropped=False), "a")

    assert found.to_dict()["cropped"] is True
    shapes = [Image.open(tmp_path / name).size for name in ("crop.png", "whole.png")]
    assert shapes[0][0] / shapes[0][1] < shapes[1][0] / shapes[1][1]


def test_every_sound_is_answered_alone_and_in_order(
    listener: Listener, image: Path, sound: Callable[..., Path]
) -> None:
    files = [sound(np.full(100, level), f"{level}.wav") for level in (3, 1, 2)]

    found = predict(listener, image, files)

    assert [3, 1, 2] == [heard(clip)[0][0] for clip in listener.clips]
    assert ["3.wav", "1.wav", "2.wav"] == [answer.id for answer in found.answers]
    assert files == [answer.file for answer in found.answers]


def test_the_peak_is_the_middle_of_the_first_highest_cell(
    listener: Listener, image: Path, sound: Callable[..., Path]
) -> None:
    heatmap = torch.zeros(1, 2, 4)
    heatmap[0, 0, 3] = heatmap[0, 1, 0] = 1
    listener.answer = Localization(heatmap, torch.tensor([0.25]))

    (answer,) = predict(listener, image, [sound(np.arange(400))]).answers

    assert (3.5 / 4, 0.5 / 2) == answer.place.peak


def boxed() -> Localization:
    boxes = torch.tensor([[[0.0, 0.25, 0.5, 1.0], [0.5, 0.5, 0.75, 1.0], [torch.nan] * 4]])
    scores = torch.tensor([[0.75, 0.5, 0.0]])
    return Localization(torch.eye(3)[None], torch.tensor([0.5]), boxes, scores)


def test_plain_values_hold_the_confidence_the_peak_and_the_size_of_each_map(
    listener: Listener, image: Path, sound: Callable[..., Path]
) -> None:
    file = sound(np.arange(400))
    listener.answer = Localization(torch.eye(2, 3)[None], torch.tensor([0.5]))

    found = predict(listener, image, [file]).to_dict()

    peak = [0.5 / 3, 0.25]
    assert json.loads(json.dumps(found)) == {
        "image": str(image),
        "sounds": [{"id": "x.wav", "file": str(file), "confidence": 0.5, "peak": peak,
                    "map_size": {"height": 2, "width": 3}}],
    }  # fmt: skip


def test_plain_values_hold_what_the_method_decides(
    listener: Listener, image: Path, sound: Callable[..., Path]
) -> None:
    listener.answer = listener.answer._replace(on_screen=torch.tensor([False]))

    (answer,) = predict(listener, image, [sound(np.arange(400))]).answers

    assert answer.place.to_dict()["on_screen"] is False
    assert "confidence 0.5, peak at x 0.17, y 0.17, off screen" == str(answer.place)


def test_plain_values_hold_the_boxes_that_are_there(
    listener: Listener, image: Path, sound: Callable[..., Path]
) -> None:
    listener.answer = boxed()

    (found,) = predict(listener, image, [sound(np.arange(400))]).to_dict()["sounds"]

    assert [[0.0, 0.25, 0.5, 1.0], [0.5, 0.5, 0.75, 1.0]] == found["boxes"]
    assert [0.75, 0.5] == found["box_scores"]


def test_the_maps_are_written_as_predictions_with_a_row_per_sound(
    listener: Listener, image: Path, sound: Callable[..., Path], tmp_path: Path
) -> None:
    listener.answer = boxed()
    files = [sound(np.arange(400), "a/x.wav"), sound(np.arange(400), "b/x.wav")]

    answers = predict(listener, image, files).answers
    ids, places = [each.id for each in answers], [each.place for each in answers]
    write_maps(tmp_path / "maps.npz", ids, places)

    read = read_predictions(tmp_path / "maps.npz")
    assert ("x.wav", "x-2.wav") == read.ids
    assert read.heatmap is not None
    assert read.confidence is not None
    assert read.boxes is not None
    np.testing.assert_array_equal(np.stack([np.eye(3)] * 2), read.heatmap)
    np.testing.assert_array_equal([0.5, 0.5], read.confidence)
    np.testing.assert_array_equal(boxed().boxes[0].numpy(), read.boxes[1])  # type: ignore[index]


def test_the_picture_is_drawn_from_the_file_at_its_own_shape(
    listener: Listener, image: Path, sound: Callable[..., Path], tmp_path: Path
) -> None:
    draw(tmp_path / "out.png", predict(listener, image, [sound(np.arange(400))]), "a run")

    drawn = np.asarray(Image.open(tmp_path / "out.png"))
    red = (drawn == (255, 0, 0)).all(2)
    rows, columns = np.nonzero(red)
    assert (160, 160) == (np.ptp(rows) + 1, np.ptp(columns) + 1)  # the left half of 320 x 160


@pytest.mark.parametrize("seconds", [-0.5, 4.5, float("nan")])
def test_a_time_outside_a_sound_is_refused(
    seconds: float, listener: Listener, image: Path, sound: Callable[..., Path]
) -> None:
    with pytest.raises(BenchError, match=r"--at .* lies outside .*x\.wav, of 4\.00 s"):
        predict(listener, image, [sound(np.arange(400))], at_seconds=seconds)


def test_an_image_that_cannot_be_read_is_named(
    listener: Listener, sound: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")

    with pytest.raises(BenchError, match=r"--image .*text\.jpg cannot be read: .*JPEG or PNG"):
        predict(listener, tmp_path / "text.jpg", [sound(np.arange(400))])


@pytest.mark.parametrize("at_seconds", [None, 0.0])
def test_a_sound_that_cannot_be_read_is_named(
    at_seconds: float | None, listener: Listener, image: Path, tmp_path: Path
) -> None:
    with pytest.raises(BenchError, match=r"--sound .*none\.wav cannot be read: No such file"):
        predict(listener, image, [tmp_path / "none.wav"], at_seconds=at_seconds)


@pytest.mark.parametrize("part", ["heatmap", "confidence"])
def test_an_answer_that_is_not_finite_is_refused(
    part: str, listener: Listener, image: Path, sound: Callable[..., Path]
) -> None:
    broken = getattr(listener.answer, part) * torch.nan
    listener.answer = listener.answer._replace(**{part: broken})

    with pytest.raises(BenchError, match=r"values that are not finite to .*x\.wav"):
        predict(listener, image, [sound(np.arange(400))])


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[..., Path]:
    """``run_folder(...)``: a folder as a finished run of `lvs_vanilla` leaves it."""

    def written(**changes: Any) -> Path:
        folder = tmp_path / "run"
        (folder / "training").mkdir(parents=True)
        config = compose("lvs_vanilla", "synthetic", overrides=TINY, seed=3)
        method = LvsVanilla(config.method, config.optim, seed=99)  # type: ignore[arg-type]
        torch.save(method.state_dict(), folder / "training" / "weights.pt")
        record = read_record(HISTORY / "complete.json")
        facts = {"method": "lvs_vanilla", "config": config.tree(), **changes}
        write_record(folder, replace(record, **facts))
        return folder

    return written


def changed_config(**values: object) -> dict[str, Any]:
    """The resolved tree with other values in the group `method`; None takes a key out."""
    tree = compose("lvs_vanilla", "synthetic", overrides=TINY).tree()
    tree["method"] |= values
    tree["method"] = {key: value for key, value in tree["method"].items() if value is not ...}
    return tree


def test_a_run_gives_its_method_with_its_own_settings_and_weights(
    run_folder: Callable[..., Path],
) -> None:
    folder = run_folder()

    trained = load_trained(folder)

    saved = torch.load(folder / "training" / "weights.pt", weights_only=True)
    assert isinstance(trained.method, LvsVanilla)
    assert not trained.method.training
    assert (32, "small", 1.0) == tuple(
        asdict(trained.method.config)[key] for key in ("image_size", "backbone", "segment_seconds")
    )
    assert 3 == trained.method.seed
    assert all(value.equal(saved[key]) for key, value in trained.method.state_dict().items())


def test_a_silent_sound_is_answered(
    run_folder: Callable[..., Path], image: Path, sound: Callable[..., Path]
) -> None:
    method = load_trained(run_folder()).method

    (answer,) = predict(method, image, [sound(np.zeros(400))]).answers

    assert (4, 4) == answer.place.heatmap.shape
    assert np.isfinite(answer.place.heatmap).all()


def test_a_run_of_another_machine_s_data_set_and_device_needs_neither(
    run_folder: Callable[..., Path],
) -> None:
    tree = changed_config()
    tree["data"], tree["trainer"] = {"of_a_plugin": 1}, {"accelerator": "cuda", "devices": 8}

    trained = load_trained(run_folder(data="plugin_data", config=tree))

    assert "cpu" == trained.method.device.type


def test_a_setting_younger_than_the_run_has_its_default_and_is_named(
    run_folder: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = run_folder(config=changed_config(temperature=...))

    with caplog.at_level(logging.WARNING):
        trained = load_trained(folder)

    assert 0.07 == asdict(trained.method.config)["temperature"]
    assert "is older than method.temperature; the defaults are taken" in caplog.text


def test_a_setting_that_is_gone_is_named(run_folder: Callable[..., Path]) -> None:
    folder = run_folder(config=changed_config(mystery=1))

    with pytest.raises(BenchError, match=r"record\.json has the setting method\.mystery, which"):
        load_trained(folder)


def test_a_method_setting_may_be_given_anew(run_folder: Callable[..., Path]) -> None:
    trained = load_trained(run_folder(), ["method.image_size=64"])

    assert 64 == trained.method.inputs.image_size


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("optim.lr=1", "optim.lr: the settings that a trained run still takes are method.*"),
        ("method.image_sise=64", "unknown setting 'method.image_sise' (command line). Did you"),
        ("method.backbone=resnet18", "cannot be loaded (Error(s) in loading state_dict for "
         "LvsVanilla:); give the settings of the run"),
    ],
)  # fmt: skip
def test_another_setting_is_refused(word: str, words: str, run_folder: Callable[..., Path]) -> None:
    with pytest.raises(BenchError) as refused:
        load_trained(run_folder(), [word])

    assert words in str(refused.value)


def test_weights_that_are_missing_are_named(run_folder: Callable[..., Path]) -> None:
    folder = run_folder()
    (folder / "training" / "weights.pt").unlink()

    with pytest.raises(BenchError, match=r"weights\.pt does not exist; give --run a folder"):
        load_trained(folder)


def test_damaged_weights_are_named(run_folder: Callable[..., Path]) -> None:
    folder = run_folder()
    (folder / "training" / "weights.pt").write_bytes(b"damage")

    with pytest.raises(BenchError, match=r"weights\.pt cannot be loaded .* run it again"):
        load_trained(folder)


def test_an_unfinished_run_is_refused(run_folder: Callable[..., Path]) -> None:
    folder = run_folder()
    (folder / "record.json").unlink()

    with pytest.raises(BenchError, match=r"does not exist; a run without it was not finished"):
        load_trained(folder)


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"none is no folder; give --run the folder of a"):
        load_trained(tmp_path / "none")


def test_a_floor_is_refused(run_folder: Callable[..., Path]) -> None:
    card = read_record(HISTORY / "partial_floor.json").card
    folder = run_folder(method="center", card=card)

    with pytest.raises(BenchError, match=r"is a run of center, a floor, which knows truth"):
        load_trained(folder)


def test_a_method_of_a_package_that_is_absent_is_refused(run_folder: Callable[..., Path]) -> None:
    folder = run_folder(method="theirs", distribution=Distribution("their-package", "1.2"))

    with pytest.raises(BenchError, match=r"'theirs' of the package their-package 1\.2, which is"):
        load_trained(folder)


class Proposing(Listener):
    """Asks for proposals."""

    @property
    def inputs(self) -> Inputs:
        return replace(super().inputs, proposals=300)


@pytest.fixture
def proposing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """As of a run on data whose boxes are a grid."""
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    config = compose("lvs_vanilla", "synthetic", overrides=("data.proposals=grid",))
    record = replace(read_record(HISTORY / "complete.json"), config=config.tree())
    return Trained(tmp_path, record, Proposing(segment_seconds=0.5))


def test_proposals_are_found_in_the_whole_picture_for_every_segment(
    proposing: Trained, image: Path, sound: Callable[..., Path]
) -> None:
    method = proposing.method
    assert isinstance(method, Listener)
    method.num_segments = 2

    predict(method, image, [sound(np.arange(400))], extractor=extractor_for(proposing))

    proposals = method.clips[0].proposals
    assert proposals is not None
    assert (1, 2, 300, 4) == tuple(proposals.shape)
    there = ~proposals.isnan().any(-1)
    assert [[205, 205]] == there.sum(-1).tolist()  # boxes of the grid
    assert proposals[0, 0, :205].equal(proposals[0, 1, :205])
    assert {(0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 0.5)} <= set(
        map(tuple, proposals[0, 0, :205].round(decimals=4).tolist())
    )


def test_another_extractor_may_be_asked_for(proposing: Trained) -> None:
    found = extractor_for(proposing, ["data.proposals=selective_search", "data.proposal_width=64"])

    assert found is not None
    assert ("selective_search", 64) == (found.name, found.width)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("data.root=x", "data.root: of the data settings, files of your own take data.proposals, "),
        ("data.proposals=gird", "data.proposals='gird' is unknown; Did you mean grid?"),
        ("data.proposal_width=wide", "expected a whole number or null, got 'wide'"),
    ],
)
def test_another_setting_of_the_data_is_refused(word: str, words: str, proposing: Trained) -> None:
    with pytest.raises(BenchError) as refused:
        extractor_for(proposing, [word])

    assert words in str(refused.value)


def test_a_method_without_proposals_takes_no_setting_of_the_data(
    run_folder: Callable[..., Path],
) -> None:
    trained = load_trained(run_folder())

    assert extractor_for(trained) is None
    with pytest.raises(BenchError, match=r"=grid: lvs_vanilla asks for no proposals"):
        extractor_for(trained, ["data.proposals=grid"])


def test_outputs_that_are_new_or_older_ones_are_written(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "old.png")
    write_predictions(tmp_path / "old.npz", ["a"], np.zeros((1, 2, 2)))

    check_outputs(tmp_path / "new.PNG", tmp_path / "new.npz", [])
    check_outputs(tmp_path / "old.png", tmp_path / "old.npz", [])


def test_an_output_that_would_destroy_something_is_refused(tmp_path: Path) -> None:
    record: Record = read_record(HISTORY / "complete.json")
    (tmp_path / "run").mkdir()
    write_record(tmp_path / "run", record)
    np.savez(tmp_path / "run" / "predictions.npz", id=np.array(["a"]))
    Image.new("RGB", (2, 2)).save(tmp_path / "frame.png")
    Image.new("RGB", (2, 2)).save(tmp_path / "photo.jpg")
    (tmp_path / "photo.jpg").rename(tmp_path / "photo.png")
    (tmp_path / "folder.png").mkdir()
    np.savez(tmp_path / "mine.npz", id=np.array(["a"]))
    (tmp_path / "broken.npz").write_bytes((tmp_path / "mine.npz").read_bytes()[:-9])
    new, frame = tmp_path / "new.png", tmp_path / "frame.png"
    cases = [
        (tmp_path / "out.jpg", None, r"out\.jpg is not written \(its name does not end in \.png\)"),
        (new, new, r"new\.png is not written \(its name does not end in \.npz\); give --npz"),
        (tmp_path / "no" / "out.png", None, r"\(.*no is no folder\); give --out another FILE"),
        (frame, None, r"frame\.png is not written \(it is read\)"),
        (tmp_path / "photo.png", None, r"\(it is there and is another kind of file\)"),
        (tmp_path / "folder.png", None, r"\(it is there and is another kind of file\)"),
        (new, tmp_path / "mine.npz", r"mine\.npz is not written \(it is there and is another kind"),
        (new, tmp_path / "broken.npz", r"\(it is there and is another kind of file\); give --npz"),
        (new, tmp_path / "run" / "predictions.npz", r"\(it is a result of the run\); give --npz"),
    ]

    for picture, maps, words in cases:
        with pytest.raises(BenchError, match=words):
            check_outputs(picture, maps, [frame, tmp_path / "none.wav"])


def test_a_film_that_would_destroy_something_is_refused(
    made_video: Callable[..., Path], tmp_path: Path
) -> None:
    picture, video = tmp_path / "new.png", made_video(tmp_path / "video.mp4", seconds=1)
    (tmp_path / "text.mp4").write_text("no film")
    older = made_video(tmp_path / "older.mp4", seconds=1)
    beside = "give --out another FILE.png, beside which the film is written"

    check_outputs(picture, None, [video], film=older)
    check_outputs(picture, None, [video], film=tmp_path / "new.mp4")
    for film, words in (
        (video, rf"video\.mp4 is not written \(it is read\); {beside}"),
        (tmp_path / "text.mp4", r"\(it is there and is another kind of file\)"),
    ):
        with pytest.raises(BenchError, match=words):
            check_outputs(picture, None, [video], film=film)
