"""`bench predict` gives a user's own files what the run's data set gave their like."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from benchmark.predictions import read_predictions
from benchmark.registry import METHOD_REGISTRY
from datamodules.sample_data import write_sample
from datamodules.sampling import swapped_sounds
from datamodules.video_frames import upright_picture
from methods.base import Method
from methods.released import PRETRAINING

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "predict.md").read_text(encoding="utf-8")
SMALL = ("--preset", "small", "method.image_size=32", "data.batch_size=4")
OVER_TIME = ("data.train_clips=12", "data.val_clips=4", "data.test_clips=8", "data.image_size=32",
             "data.segments=3", "method.num_segments=3", "data.motion=onoff",
             "data.event_share=0.7", "data.batch_size=4", "method.image_size=32", "method.mfb_p=4",
             "method.pretrained=null", "trainer.max_epochs=1")  # fmt: skip
SAME: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-6}
METHOD_CLASS: type = Method
CARDS = {name: METHOD_REGISTRY.load(name, METHOD_CLASS).card for name in METHOD_REGISTRY.names()}
TRAINED = [name for name, card in CARDS.items()
           if not card.floor and card.pretraining != PRETRAINING]  # fmt: skip
Bench = Callable[..., Any]
Finished = Callable[[str], Path]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("miniature") / "vggss"
    write_sample("vggss", folder, clips=24)
    return folder


@pytest.fixture(scope="module")
def finished(bench: Bench, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """``finished(method)``: folder of a finished run on the miniature, made once."""
    runs = tmp_path_factory.mktemp("runs")

    def folder(method: str) -> Path:
        made = sorted(runs.glob(f"*-{method}-vggss-*"))
        if made:
            return made[0]
        words = ("run", "--method", method, "--data", "vggss", "--dry-run", f"data.root={root}")
        done = bench(*words, *(SMALL if method in TRAINED else ()), f"logging.runs={runs}")
        assert done.code == 0, done.err
        (made_now,) = runs.glob(f"*-{method}-vggss-*")
        return made_now

    return folder


@pytest.fixture(scope="module")
def over_time(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``over_time(*settings)``: folder of a finished run of `avfb` on clips of three segments."""
    runs = tmp_path_factory.mktemp("over_time")
    made: dict[tuple[str, ...], Path] = {}

    def folder(*settings: str) -> Path:
        if settings not in made:
            place = runs / str(len(made))
            words = ("run", "--method", "avfb", "--data", "synthetic", *OVER_TIME, *settings)
            done = bench(*words, f"logging.runs={place}")
            assert done.code == 0, done.err
            (made[settings],) = (path.parent for path in place.glob("*/record.json"))
        return made[settings]

    return folder


def asked(run: Path, root: Path, frame: str, *sounds: str) -> tuple[object, ...]:
    files = [word for sound in sounds for word in ("--sound", root / "audio" / f"{sound}.wav")]
    return ("predict", "--run", run, "--image", root / "frames" / f"{frame}.jpg", *files)


@pytest.mark.parametrize("method", TRAINED)
def test_maps_are_those_of_the_run_for_its_own_and_for_swapped_sounds(
    method: str, bench: Bench, finished: Finished, root: Path, tmp_path: Path
) -> None:
    run = finished(method)
    own = read_predictions(run / "predictions.npz")
    swapped = read_predictions(run / "predictions_swap.npz")
    categories = {e["file"]: e["class"] for e in json.loads((root / "vggss.json").read_text())}
    sound_of = swapped_sounds(own.ids, [categories[each] for each in own.ids], 0)

    for row in (0, 3):
        frame, other = own.ids[row], own.ids[sound_of[row]]
        words = asked(run, root, frame, frame, other)
        done = bench(*words, "--npz", tmp_path / "maps.npz", "--out", tmp_path / "maps.png")

        assert done.code == 0, done.err
        found = read_predictions(tmp_path / "maps.npz")
        assert (f"{frame}.wav", f"{other}.wav") == found.ids
        for answer, expected in ((0, own), (1, swapped)):
            for name in ("heatmap", "confidence"):
                known, answered = getattr(expected, name)[row], getattr(found, name)[answer]
                np.testing.assert_allclose(answered, known, **SAME)
        assert found.heatmap is not None
        assert not np.allclose(*found.heatmap, **SAME)


def test_a_run_is_asked_after_its_data_set_is_gone(
    bench: Bench, finished: Finished, root: Path, tmp_path: Path
) -> None:
    frame = next((root / "frames").glob("*.jpg")).stem
    kept, run = tmp_path / "kept", finished("lvs_vanilla")
    for kind, ending in (("frames", "jpg"), ("audio", "wav")):
        (kept / kind).mkdir(parents=True)
        shutil.copy(root / kind / f"{frame}.{ending}", kept / kind)
    away = root.rename(root.with_name("away"))
    try:
        done = bench(*asked(run, kept, frame, frame))
    finally:
        away.rename(root)

    assert done.code == 0, done.err


def test_the_picture_lies_in_the_run_and_the_same_command_replaces_it(
    bench: Bench, finished: Finished, root: Path
) -> None:
    run, frame = finished("lvs_vanilla"), next((root / "frames").glob("*.jpg")).stem
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}

    done = [bench(*asked(run, root, frame, frame)) for _ in range(2)]

    picture = run / f"predict-{frame}.png"
    assert [0, 0] == [each.code for each in done]
    assert f"Picture: {picture}" in done[0].out.splitlines()
    assert done[0].out == done[1].out
    assert "PNG" == Image.open(picture).format
    after = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert before == {name: content for name, content in after.items() if name in before}


def test_json_is_one_object_that_agrees_with_the_maps(
    bench: Bench, finished: Finished, root: Path, tmp_path: Path
) -> None:
    run = finished("lvs_vanilla")
    one, two = sorted(path.stem for path in (root / "audio").glob("*.wav"))[:2]
    words = asked(run, root, one, one, two)

    done = bench(*words, "--json", "--npz", tmp_path / "m.npz", "--out", tmp_path / "p.png")

    found, maps = json.loads(done.out), read_predictions(tmp_path / "m.npz")
    assert {"run", "image", "sounds", "picture"} == found.keys()
    assert run.name == found["run"]
    assert list(maps.ids) == [each["id"] for each in found["sounds"]]
    assert maps.heatmap is not None
    for each, heatmap in zip(found["sounds"], maps.heatmap, strict=True):
        height, width = heatmap.shape
        assert {"height": height, "width": width} == each["map_size"]
        x, y = each["peak"]
        assert heatmap.max() == heatmap[int(y * height), int(x * width)]
        assert each["confidence"] == pytest.approx(float(heatmap.max()))


def test_mistakes_are_one_line_and_code_2(
    bench: Bench, finished: Finished, root: Path, tmp_path: Path
) -> None:
    run, frame = finished("lvs_vanilla"), next((root / "frames").glob("*.jpg")).stem
    good = asked(run, root, frame, frame)
    cases = [
        (asked(tmp_path, root, frame, frame), "a run without it was not finished"),
        (asked(finished("center"), root, frame, frame), "a floor, which knows truth"),
        (asked(run, root, "none", frame), "none.jpg cannot be read"),
        (asked(run, root, frame, "none"), "none.wav cannot be read"),
        ((*good, "--at", "1e9"), "--at 1e+09 lies outside"),
        ((*good, "--out", root / "vggss.json"), "its name does not end in .png"),
        ((*good, "--npz", run / "predictions.npz"), "it is a result of the run"),
        ((*good, "method.backbon=small"), "Did you mean method.backbone?"),
        (good[:3], "Give a video, a folder, --image F and --sound F, or --id ID"),
        ((*good, "--run", run), "several --run and --sound-of go with --id"),
        ((*good, f"--id={frame}"), "--image, --sound: not with --id"),
        ((*good[:3], "--id", "none", f"data.root={root}"), "has no clip 'none'"),
        ((*good[:3], f"--id={frame}"), "data.root"),
    ]

    for words, message in cases:
        done = bench(*words)

        (line,) = done.err.splitlines()
        assert (2, "", True) == (done.code, done.out, message in line)


def test_a_run_without_a_map_is_one_line_and_code_2(
    bench: Bench, over_time: Callable[..., Path], root: Path
) -> None:
    run, frame = over_time("method.modalities=audio", "method.supervision=weak"), "none"

    done = bench(*asked(run, root, frame, frame))

    (line,) = done.err.splitlines()
    assert (2, "") == (done.code, done.out)
    assert f"{run} is a run of avfb with settings that give no map, only classes" in line


def test_the_middle_of_a_strip_is_what_the_run_recorded(
    bench: Bench, over_time: Callable[..., Path], tmp_path: Path
) -> None:
    run, picture = over_time("method.supervision=supervised"), tmp_path / "strip.png"

    done = bench("predict", "--run", run, "--run", over_time(), "--id", "test-000003",
                 "--sound-of", "test-000005", "--out", picture, "--json")  # fmt: skip

    assert done.code == 0, done.err
    found, known = json.loads(done.out), read_predictions(run / "predictions.npz")
    assert (found["id"], found["picture"]) == ("test-000003", str(picture))
    assert [row["sound_of"] for row in found["rows"]] == ["test-000003", "test-000005"] * 2
    assert known.confidence is not None
    recorded = known.confidence[known.ids.index("test-000003")]
    assert found["rows"][0]["segments"][1]["confidence"] == pytest.approx(recorded, rel=1e-4)
    assert all("class" in segment for segment in found["rows"][0]["segments"])
    assert "class" not in found["rows"][2]["segments"][0]
    assert "PNG" == Image.open(picture).format


def test_a_video_gives_a_picture_a_film_and_an_object_of_its_seconds(
    bench: Bench, finished: Finished, made_video: Callable[..., Path], tmp_path: Path
) -> None:
    run, maps = finished("proposal"), tmp_path / "maps.npz"
    video = made_video(tmp_path / "two.mp4", seconds=2.2)

    done = bench("predict", "data.proposals=grid", "--run", run, "--npz", maps, video, "--json")

    assert done.code == 0, done.err
    found, read = json.loads(done.out), read_predictions(maps)
    picture, film = run / "predict-two.png", run / "predict-two.mp4"
    assert {"run", "video", "seconds", "picture", "film"} == found.keys()
    assert (found["picture"], found["film"]) == (str(picture), str(film))
    assert [second["time"] for second in found["seconds"]] == [0.5, 1.5]
    assert read.ids == ("two@0s", "two@1s")
    assert read.confidence is not None
    assert read.boxes is not None
    for row, second in enumerate(found["seconds"]):
        assert second["confidence"] == pytest.approx(read.confidence[row])
        assert second["confidence"] == pytest.approx(second["box_scores"][0])
        assert second["box_scores"] == sorted(second["box_scores"], reverse=True)
        np.testing.assert_allclose(second["boxes"], read.boxes[row][: len(second["boxes"])])
        assert isinstance(second["on_screen"], bool)
    assert "PNG" == Image.open(picture).format
    with av.open(str(film)) as container:
        assert 55 == sum(1 for _ in container.decode(video=0))
        assert ["aac"] == [each.codec_context.name for each in container.streams.audio]


def test_a_still_video_of_one_window_has_the_map_of_its_picture_and_sound(
    bench: Bench, finished: Finished, made_video: Callable[..., Path], tmp_path: Path
) -> None:
    run, noise = finished("lvs_vanilla"), np.random.default_rng(0).integers(-9000, 9000, 48000)
    sound = (noise / 32768).astype(np.float32)
    video = made_video(tmp_path / "a.mkv", seconds=3, video="ffv1", audio="pcm_s16le",
                       options={}, sound=sound[None])  # fmt: skip
    with av.open(str(video)) as container:
        frames = [upright_picture(frame) for frame in container.decode(video=0)]
    Image.fromarray(frames[37]).save(tmp_path / "a.png")
    soundfile.write(tmp_path / "a.wav", sound, 16000, subtype="PCM_16")

    of_video, of_files = (
        bench("predict", "--run", run, "--npz", tmp_path / f"{number}.npz", *words,
              "--out", tmp_path / "out.png")
        for number, words in enumerate(
            ([video], ["--image", tmp_path / "a.png", "--sound", tmp_path / "a.wav"])
        )
    )  # fmt: skip

    assert (of_video.code, of_files.code) == (0, 0), of_video.err + of_files.err
    seconds, files = (read_predictions(tmp_path / f"{number}.npz").heatmap for number in (0, 1))
    assert seconds is not None
    assert files is not None
    np.testing.assert_allclose(seconds[1], files[0], **SAME)  # frame 37 is shown at 1.5 s
    assert not np.allclose(seconds[0], files[0], **SAME)


def test_mistakes_with_a_video_are_one_line_and_code_2(
    bench: Bench, finished: Finished, made_video: Callable[..., Path], tmp_path: Path
) -> None:
    run = finished("lvs_vanilla")
    made = {
        name: made_video(tmp_path / f"{name}.mp4", **settings)
        for name, settings in {
            "good": {}, "silent": {"audio": None}, "dark": {"video": None},
            "short": {"seconds": 0.4}, "cut": {"seconds": 4},
        }.items()
    }  # fmt: skip
    made["cut"].write_bytes(made["cut"].read_bytes()[:-3000])
    good = ("predict", "--run", run, made["good"])
    cases = [
        (("predict", "--run", run, made["silent"]), "silent.mp4 cannot be read: no sound stream"),
        (("predict", "--run", run, made["dark"]), "dark.mp4 cannot be read: no video stream"),
        (("predict", "--run", run, made["short"]), "short.mp4 is 0.40 s long"),
        (("predict", "--run", run, made["cut"]), "cut.mp4 cannot be read: "),
        (("predict", "--run", run, tmp_path / "none.mp4"), "none.mp4 cannot be read: No such file"),
        ((*good, "--image", "x.jpg", "--at", 1), "--image, --at: not with a video ("),
        ((*good, "--id", "x"), "--id: not with a video ("),
        ((*good, "--sound-of", "x"), "--sound-of: not with a video ("),
        ((*good, "--run", run), "give one video and one --run, got "),
        ((*good, made["good"]), "give one video and one --run, got "),
        ((*good, "--out", tmp_path / "good.png"), "good.mp4 is not written (it is read)"),
        ((*good, "data.proposals=grid"), "lvs_vanilla asks for no proposals"),
        (("predict", "--run", finished("center"), made["good"]), "a floor, which knows truth"),
    ]
    before = sorted(tmp_path.iterdir())

    for words, message in cases:
        done = bench(*words)

        (line,) = done.err.splitlines()
        assert (2, "", True) == (done.code, done.out, message in line), line
    assert before == sorted(tmp_path.iterdir())


def test_a_strip_of_boxes_has_those_that_the_run_recorded(
    bench: Bench, finished: Finished, root: Path, tmp_path: Path
) -> None:
    run = finished("proposal")
    known = read_predictions(run / "predictions.npz")

    done = bench("predict", "--run", run, f"--id={known.ids[3]}", f"data.root={root}", "--json",
                 "--out", tmp_path / "strip.png")  # fmt: skip

    assert done.code == 0, done.err
    ((segment,),) = (row["segments"] for row in json.loads(done.out)["rows"])
    assert known.boxes is not None
    there = ~np.isnan(known.boxes[3]).any(-1)
    assert there.any()
    np.testing.assert_allclose(segment["boxes"], known.boxes[3][there], **SAME)
    assert isinstance(segment["on_screen"], bool)


def test_the_commands_of_the_page_go_through(
    bench: Bench, finished: Finished, over_time: Callable[..., Path], root: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, made_video: Callable[..., Path],
) -> None:  # fmt: skip
    blocks = re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    monkeypatch.chdir(tmp_path)
    frame, *sounds = sorted(path.stem for path in (root / "audio").glob("*.wav"))[:3]
    shutil.copy(root / "frames" / f"{frame}.jpg", "street.jpg")
    for name, sound in zip(("dog.wav", "violin.wav"), sounds, strict=True):
        shutil.copy(root / "audio" / f"{sound}.wav", name)
    names = {
        "runs/<folder>": str(finished("lvs_vanilla")),
        "runs/<supervised>": str(over_time("method.supervision=supervised")),
        "runs/<unsupervised>": str(over_time()),
        "--id=<clip>": f"--id={frame}",
        "data.root=<data>": f"data.root={root}",
        "runs/<boxes>": str(finished("proposal")),
    }
    made_video(tmp_path / "concert.mp4", seconds=2)
    (tmp_path / "pictures").mkdir()
    for name, own in (("street.jpg", "street.jpg"), ("dog.wav", "street.wav")):
        shutil.copy(name, tmp_path / "pictures" / own)

    assert lines
    for line in lines:
        words = shlex.split(line.removeprefix("uv run bench "))
        done = bench(*(names.get(word, word) for word in words))
        assert done.code == 0, done.err


def test_the_page_names_every_option(bench: Bench) -> None:
    options = set(re.findall(r"--[a-z-]+", bench("predict", "--help").out)) - {"--help"}

    assert [] == [option for option in options if not re.search(rf"`{option}`", PAGE)]
