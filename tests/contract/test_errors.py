"""Every mistake of a user is one line on standard error and exit code 2, and leaves no record."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from datamodules.sample_data import write_sample

Bench = Callable[..., Any]
Tiny = Callable[..., tuple[str, ...]]
SYNTHETIC = ("--method", "hardpos", "--data", "synthetic")


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("miniature") / "vggss"
    write_sample("vggss", folder, clips=16)
    return folder


@pytest.fixture
def root(miniature: Path, tmp_path: Path) -> Path:
    """A copy of the miniature that a test may spoil; its files are links."""
    for path in miniature.rglob("*"):
        if path.is_file():
            copy = tmp_path / "vggss" / path.relative_to(miniature)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.hardlink_to(path)
    return tmp_path / "vggss"


def spoil(path: Path, content: bytes) -> None:
    """Replaces a linked file without touching what it is linked to."""
    path.unlink()
    path.write_bytes(content)


def annotated_ids(root: Path) -> list[str]:
    return [entry["file"] for entry in json.loads((root / "vggss.json").read_text())]


@pytest.fixture
def refused(bench: Bench, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """The message of a run that must be refused, without its prefix."""
    runs = tmp_path / "runs"

    def message(*words: object) -> str:
        given = any(str(word).startswith("logging.runs=") for word in words)
        done = bench("run", *words, *(() if given else (f"logging.runs={runs}",)))
        (line,) = [line for line in done.err.splitlines() if line.startswith("bench: ")]
        assert (done.code, done.out) == (2, "")
        assert "Traceback" not in done.err
        return line.removeprefix("bench: ")

    yield message
    assert [] == list(runs.glob("*/record.json"))


@pytest.fixture
def on_vggss(root: Path) -> tuple[str, ...]:
    sizes = ("method.image_size=32", "data.batch_size=4", "trainer.max_epochs=1")
    return ("--method", "lvs_vanilla", "--data", "vggss", "--preset", "small", f"data.root={root}",
            *sizes)  # fmt: skip


def test_an_unknown_method(refused: Callable[..., str]) -> None:
    assert refused("--method", "hardpss", "--data", "synthetic") == (
        "unknown method 'hardpss'. Did you mean hardpos? Run bench list methods."
    )


def test_an_unknown_data_set(refused: Callable[..., str]) -> None:
    assert refused("--method", "hardpos", "--data", "synthetc") == (
        "unknown data set 'synthetc'. Did you mean synthetic? Run bench list data."
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optim.lrr=1", "unknown setting 'optim.lrr' (command line). Did you mean optim.lr?"),
        ("optim.lr=fast", "optim.lr=fast (command line): expected a number, got 'fast'"),
        ("trainer.max_epochs=1.5", "expected a whole number, got '1.5'"),
        ("data.allow_leakage=yes", "expected true or false, got 'yes'"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0 (command line): must be at least 1"),
        ("method.backbone=vgg", "method.backbone='vgg' is unknown; use resnet18 or small"),
        ("optim.schedule=cosine", "optim.schedule='cosine' is unknown; use constant or one_cycle"),
        ("data.augmentation=mixup", "data.augmentation='mixup' is unknown; use one of none"),
        ("memory.maps=some", "memory.maps='some' is unknown; use auto, whole or chunked"),
        ("trainer.select=val_cio", "is unknown; Did you mean val_ciou? use last, val_loss or"),
        ("trainer.strategy=fast", "the trainer.* settings cannot be had on this machine"),
        ("trainer.accelerator=tpu", "the trainer.* settings cannot be had on this machine"),
        ("data.image_size=8", "data.image_size=8 is too small for the textures"),
        ("data.val_fraction=0.1", "data synthetic has validation clips of its own"),
        ("method.pretrained=w.pt", "method.pretrained has no meaning with method.backbone=small"),
    ],
)
def test_a_wrong_setting(
    override: str, words: str, refused: Callable[..., str], tiny: Tiny
) -> None:
    assert words in refused(*SYNTHETIC, *tiny(override))


@pytest.mark.parametrize("method", ["center", "lvs_vanilla"])
def test_where_nothing_is_trained_nobody_asks_for_a_trainer(
    method: str, bench: Bench, tiny: Tiny, tmp_path: Path
) -> None:
    words = ("run", "--method", method, "--data", "synthetic", "--json",
             *tiny("trainer.max_epochs=1"), f"logging.runs={tmp_path}")  # fmt: skip
    done = bench(*words) if method == "lvs_vanilla" else None  # a floor needs no trainer at all

    elsewhere = bench(*words, "trainer.accelerator=tpu")

    assert elsewhere.code == 0
    assert done is None or done.out == elsewhere.out


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method.k=24", "method.k=24 is too large for a training list of 48 clips: 2K must stay "
         "below n - 1; set method.k=23 or less, or use more clips"),
        ("method.k=0", "method.k must be at least 1, got 0"),
        ("data.batch_size=1", "at least 2 clips in the global batch; set data.batch_size to 2"),
        ("data.batch_size=49", "the training list has 48 clips, fewer than data.batch_size=49; "
         "set data.batch_size=48 or less"),
    ],
    ids=["k too large", "no k", "batch of 1", "batch too large"],
)  # fmt: skip
def test_a_number_that_the_list_cannot_fill(
    override: str, words: str, refused: Callable[..., str], tiny: Tiny
) -> None:
    assert words in refused(*SYNTHETIC, *tiny(override))


@pytest.mark.parametrize("method", ["lvs_vanilla", "lvs"])
def test_a_batch_of_one_for_every_contrastive_method(
    method: str, refused: Callable[..., str], tiny: Tiny
) -> None:
    words = ("--method", method, "--data", "synthetic", *tiny("data.batch_size=1"))

    assert "at least 2 clips in the global batch; set data.batch_size to 2" in refused(*words)


def test_a_folder_for_runs_that_cannot_be_made(
    refused: Callable[..., str], tiny: Tiny, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    words = (*tiny(), f"logging.runs={tmp_path / 'file'}")

    assert "set logging.runs to a folder that you may write to" in refused(*SYNTHETIC, *words)


def test_a_floor_without_meaning_on_the_data(refused: Callable[..., str], root: Path) -> None:
    message = refused("--method", "all_objects", "--data", "vggss", f"data.root={root}")

    assert message.startswith("no floor 'all_objects' on this test list; there are: full, center")


def test_a_root_that_is_not_set(refused: Callable[..., str]) -> None:
    message = refused("--method", "hardpos", "--data", "vggss")

    assert message.startswith("data.root is not set: ")
    for remedy in ("vggss.json", "data.root=DIR", "bench sample-data vggss", "--data synthetic"):
        assert remedy in message


def test_a_root_that_is_not_there(refused: Callable[..., str], tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"

    message = refused("--method", "hardpos", "--data", "vggss", f"data.root={missing}")

    assert message.startswith(f"{missing} is not a folder; set data.root to a folder that holds")


def test_a_root_without_annotations(
    refused: Callable[..., str], root: Path, on_vggss: tuple[str, ...]
) -> None:
    (root / "vggss.json").unlink()

    assert f"{root / 'vggss.json'} is missing; put vggss.json of" in refused(*on_vggss)


def test_annotations_that_are_no_json(
    refused: Callable[..., str], root: Path, on_vggss: tuple[str, ...]
) -> None:
    spoil(root / "vggss.json", b"{")

    assert f"{root / 'vggss.json'} is not readable JSON" in refused(*on_vggss)


def test_annotations_without_a_clip(
    refused: Callable[..., str], root: Path, on_vggss: tuple[str, ...]
) -> None:
    spoil(root / "vggss.json", b"[]")

    assert "expected a list of annotated clips; set data.annotations" in refused(*on_vggss)


@pytest.mark.parametrize("setting", ["data.train_list", "data.test_list"])
def test_an_empty_list(
    setting: str, refused: Callable[..., str], root: Path, on_vggss: tuple[str, ...]
) -> None:
    (root / "empty.txt").write_text("\n\n")

    message = refused(*on_vggss, f"{setting}=empty.txt")

    assert message.startswith(f"{root / 'empty.txt'} holds no id; expected one ")


@pytest.mark.parametrize(
    ("fraction", "words"),
    [
        ("0.0", "trainer.select=val_ciou needs validation clips and there are 0; set "
         "data.val_fraction, such as 0.02"),
        ("0.3", "of --data vggss has any; set trainer.select=val_loss, or choose data and "
         "data.labelled with boxes for training, such as --data flickr"),
    ],
    ids=["no clips", "no boxes"],
)  # fmt: skip
def test_an_epoch_to_be_chosen_by_boxes_that_are_not_there(
    fraction: str, words: str, refused: Callable[..., str], on_vggss: tuple[str, ...]
) -> None:
    asked = ("trainer.select=val_ciou", f"data.val_fraction={fraction}")

    assert words in refused(*on_vggss, *asked)


def test_a_list_that_is_not_there(refused: Callable[..., str], on_vggss: tuple[str, ...]) -> None:
    message = refused(*on_vggss, "data.train_list=vggss_10k")

    assert message.startswith("data.train_list=vggss_10k names no list file (tried ")


def test_no_training_list_at_all(
    refused: Callable[..., str], root: Path, on_vggss: tuple[str, ...]
) -> None:
    (root / "train.txt").unlink()

    assert refused(*on_vggss).startswith("the training list is empty after exclusions")


def test_a_root_without_any_test_clip(
    refused: Callable[..., str], root: Path, on_vggss: tuple[str, ...]
) -> None:
    ids = annotated_ids(root)
    for clip_id in ids:
        (root / "audio" / f"{clip_id}.wav").unlink()

    assert f"none of the {len(ids)} test clips of " in refused(*on_vggss)


def test_a_root_in_which_no_test_clip_can_be_read(
    refused: Callable[..., str], root: Path, on_vggss: tuple[str, ...]
) -> None:
    for clip_id in annotated_ids(root):
        spoil(root / "frames" / f"{clip_id}.jpg", b"no image")

    assert refused(*on_vggss).startswith("the test list is empty after exclusions")


def test_weights_that_are_not_there(
    refused: Callable[..., str], on_vggss: tuple[str, ...], tmp_path: Path
) -> None:
    words = ("method.backbone=resnet18", f"method.pretrained={tmp_path / 'weights.pt'}")

    assert "is no file of ResNet-18 weights" in refused(*on_vggss, *words)


@pytest.fixture(scope="module")
def annotated_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("annotated") / "flickr"
    write_sample("flickr", folder, clips=24)
    return folder


@pytest.fixture
def on_flickr(annotated_pairs: Path, tmp_path: Path) -> tuple[str, ...]:
    """The words of a small run, after a list was written that no pair is in."""
    (tmp_path / "nobody.txt").write_text("999999\n888888\n")
    return ("--method", "attention", "--data", "flickr", "--preset", "small", "data.batch_size=4",
            f"data.root={annotated_pairs}")  # fmt: skip


def test_a_pair_without_boxes_in_a_supervised_run(
    refused: Callable[..., str], on_flickr: tuple[str, ...]
) -> None:
    words = refused(*on_flickr, "method.supervision=supervised", "data.train_list=full")

    assert words.startswith("method.supervision=supervised: 9 of 18 training clips have no boxes, ")
    assert "such as 2" in words
    assert "set method.supervision=semi" in words


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("method.supervision=supervised",),
         "the training list is empty after exclusions; check data.root and data.labelled="),
        (("method.supervision=semi", "data.unlabelled=full"),
         "method.supervision=semi: none of the 18 training clips has boxes; check data.labelled="),
    ],
    ids=["supervised", "semi"],
)  # fmt: skip
def test_an_annotation_list_that_matches_no_clip(
    settings: tuple[str, ...],
    words: str,
    refused: Callable[..., str],
    on_flickr: tuple[str, ...],
    tmp_path: Path,
) -> None:
    nobody = f"data.labelled={tmp_path / 'nobody.txt'}"

    assert refused(*on_flickr, *settings, nobody).startswith(words)


def test_weights_of_another_network(
    refused: Callable[..., str], on_flickr: tuple[str, ...], tmp_path: Path
) -> None:
    weights = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), weights)
    published = ("method.backbone=vgg16_soundnet", "method.pretrained=null",
                 "method.sample_rate_hz=22050")  # fmt: skip

    for setting, network in (("pretrained_vision", "VGG-16"), ("pretrained_sound", "SoundNet")):
        words = refused(*on_flickr, *published, f"method.{setting}={weights}")
        assert f"method.{setting}='{weights}' is no file of {network} weights" in words


def test_sound_too_short_for_the_stack(
    refused: Callable[..., str], on_flickr: tuple[str, ...]
) -> None:
    published = ("method.backbone=vgg16_soundnet", "method.pretrained=null")

    words = refused(*on_flickr, *published, "method.sample_rate_hz=8000")

    assert words.startswith("SoundNet needs 209374 samples, 9.5 s at 22050 Hz, and hears 80000; ")


def test_a_corrupt_frame_and_a_truncated_sound_are_left_out_and_counted(
    bench: Bench, root: Path, on_vggss: tuple[str, ...], tmp_path: Path
) -> None:
    corrupt, truncated, *_ = annotated_ids(root)
    frame = root / "frames" / f"{corrupt}.jpg"
    sound = root / "audio" / f"{truncated}.wav"
    spoil(frame, frame.read_bytes()[:200])
    spoil(sound, sound.read_bytes()[:2000])

    done = bench("run", *on_vggss, f"logging.runs={tmp_path / 'runs'}", "--json")

    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert set(record["unreadable"]) == {corrupt, truncated}
    assert (record["n"], record["n_expected"], record["status"]) == (2, 4, "partial")
    assert "truncated: the header says" in record["unreadable"][truncated]
    assert "2 of 4 test clips missing or unreadable" in record["reasons"]


def test_a_file_that_breaks_after_it_was_verified_stops_the_run(
    refused: Callable[..., str], root: Path, on_vggss: tuple[str, ...]
) -> None:
    frame = root / "frames" / f"{annotated_ids(root)[0]}.jpg"
    spoil(frame, b"no image")

    message = refused(*on_vggss, "data.verify=false")

    assert message.startswith(f"{frame} cannot be read: ")
    assert message.endswith("or run with data.verify=true, which excludes and reports unreadable "
                            "clips")  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seeds", "2", "seed=5"), "the seed is given twice"),
        (("seed=3000000000",), "seed must be at most 2147483647, got 3000000000"),
        (("method.temperature=0",), "method.temperature=0 (command line): must be above 0"),
        (("method.segment_seconds=0.1",), "is too short for method.backbone=small"),
        (
            ("method.positives=random", "method.init_from_stage1=true"),
            "method.init_from_stage1=true has no meaning with method.positives=random",
        ),
    ],
    ids=["seed twice", "seed too large", "no temperature", "short sound", "no stage 1"],
)
def test_settings_that_contradict_or_cannot_work(
    words: tuple[str, ...], message: str, refused: Callable[..., str]
) -> None:
    assert message in refused(*SYNTHETIC, *words)


def test_a_file_that_breaks_in_a_process_of_the_loader(
    refused: Callable[..., str], on_vggss: tuple[str, ...], root: Path
) -> None:
    for path in (root / "audio").iterdir():
        spoil(path, b"RIFF")

    message = refused(*on_vggss, "data.verify=false", "data.num_workers=1")

    assert message.startswith(f"{root}/audio/")
    assert message.endswith("or run with data.verify=true, which excludes and reports unreadable "
                            "clips")  # fmt: skip
