"""`bench eval`: weights that others released, or that a run made, tested as they stand."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from benchmark.evaluate import Asked, evaluation
from benchmark.records import read_record
from datamodules.sample_data import write_sample
from methods.released import RELEASES

Bench = Callable[..., Any]
QUICK = ("method.image_size=32", "method.sample_rate_hz=4000")
RATE_OF_SSLALIGN = "method.sample_rate_hz=10400"  # the lowest at which its window is in ten seconds


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature of VGG-SS without any training clip's files, which no evaluation reads."""
    folder = tmp_path_factory.mktemp("miniature") / "vggss"
    write_sample("vggss", folder, clips=24)
    tested = {each["file"] for each in json.loads((folder / "vggss.json").read_text())}
    for clip_id in {*(folder / "train.txt").read_text().split()} - tested:
        for path in folder.glob(f"*/{clip_id}.*"):
            path.unlink()
    return folder


@pytest.fixture(scope="module")
def released_file(
    released_state: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """``released_file("lvs")``: a file in the container of its authors."""
    folder = tmp_path_factory.mktemp("downloads")

    def file(network: str) -> Path:
        names = {"lvs": "lvs_vggss.pth.tar", "sslalign": "ours_sup.pth.tar"}
        path = folder / names.get(network, f"{network}.pth")
        if not path.exists():
            key = "model" if network in ("ezvsl", "slavc") else "model_state_dict"
            torch.save({key: released_state(network)}, path)
        return path

    return file


@pytest.fixture(scope="module")
def tested(
    bench: Bench,
    root: Path,
    released_file: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., tuple[Path, str]]:
    """``tested("lvs", ...)``: folder of the run that tested that file, and what was printed.

    Settings are ``QUICK`` where no words are given.
    """
    runs = tmp_path_factory.mktemp("runs")

    def run(network: str, *words: object) -> tuple[Path, str]:
        done = bench("eval", "--checkpoint", released_file(network), "--data", "vggss",
                     f"data.root={root}", f"logging.runs={runs}", *(words or QUICK))  # fmt: skip
        assert done.code == 0, done.err
        (line,) = [line for line in done.out.splitlines() if line.startswith("Record:")]
        return Path(line.partition(":")[2].strip()).parent, done.out

    return run


def test_a_released_file_becomes_an_ordinary_record(
    tested: Callable[..., tuple[Path, str]], released_file: Callable[[str], Path]
) -> None:
    folder, printed = tested("lvs")
    record = read_record(folder / "record.json")

    assert (record.method, record.card.pretraining) == ("lvs", "released checkpoint")
    assert record.n == record.n_expected == 6
    assert (record.train.missing, set(record.splits)) == ((), {"test"})
    assert {"lvs", "ezvsl"} == set(record.protocols)
    assert record.checkpoint is not None
    assert (record.checkpoint.kind, record.checkpoint.network) == ("released", "lvs")
    assert record.checkpoint.facts == {
        "container": "model_state_dict", "tensors": 248, "data_parallel": True,
    }  # fmt: skip
    assert record.config["method"]["front_end"] == "own"  # type: ignore[index]
    assert record.config["method"]["segment_seconds"] == 10.0  # type: ignore[index]
    assert "released, lvs, sha256" in printed
    assert str(released_file("lvs").parent) not in (folder / "record.json").read_text()
    assert str(released_file("lvs").parent) not in printed


def test_leakage_is_not_known_where_the_training_list_is_not(
    tested: Callable[..., tuple[Path, str]],
) -> None:
    folder, printed = tested("lvs")
    record = read_record(folder / "record.json")

    assert record.checkpoint is not None
    assert record.checkpoint.trained_on is None
    assert "train" not in record.lists
    assert "not known: the training list is not; name it with --trained-on" in printed


def test_leakage_is_counted_in_the_list_that_the_weights_were_trained_on(
    tested: Callable[..., tuple[Path, str]], root: Path, tmp_path: Path
) -> None:
    test_ids = [each["file"] for each in json.loads((root / "vggss.json").read_text())]
    listed = [*test_ids[:2], "zzzzzzzzzzz_000010"]
    (tmp_path / "theirs.txt").write_text("\n".join(listed))

    folder, printed = tested("lvs", "--trained-on", tmp_path / "theirs.txt", *QUICK)
    record = read_record(folder / "record.json")

    assert record.checkpoint is not None
    assert record.checkpoint.trained_on == "theirs"
    assert (record.leakage.clips, record.leakage.trained_on) == (2, 2)
    assert (record.lists["train"].n, record.splits["train"].n) == (3, 3)
    assert "trained on 2 clips of 2 videos (theirs, 3 clips)" in printed


def test_a_file_is_known_again_by_its_content_wherever_it_lies(
    bench: Bench, tested: Callable[..., tuple[Path, str]], released_file: Callable[[str], Path],
    root: Path, tmp_path: Path,
) -> None:  # fmt: skip
    folder, _ = tested("lvs")
    moved = tmp_path / "any_name.bin"
    shutil.copy(released_file("lvs"), moved)

    done = bench("eval", "--checkpoint", moved, "--data", "vggss", f"data.root={root}",
                 f"logging.runs={folder.parent}", *QUICK)  # fmt: skip

    assert done.code == 0
    assert f"{folder / 'record.json'}" in done.out
    assert "was finished before" in done.out


def test_other_weights_are_another_run(
    bench: Bench, tested: Callable[..., tuple[Path, str]], released_state: Callable[..., Any],
    root: Path, tmp_path: Path,
) -> None:  # fmt: skip
    folder, _ = tested("lvs")
    torch.save({"model_state_dict": released_state("lvs", 1)}, tmp_path / "lvs_vggss.pth.tar")

    done = bench("eval", "--checkpoint", tmp_path / "lvs_vggss.pth.tar", "--data", "vggss", *QUICK,
                 "--json", f"data.root={root}", f"logging.runs={folder.parent}")  # fmt: skip
    other = json.loads(done.out)

    assert other["config_hash"] != read_record(folder / "record.json").config_hash
    assert other["scores_sha256"] != read_record(folder / "record.json").scores_sha256


def test_our_front_end_is_a_run_of_its_own(tested: Callable[..., tuple[Path, str]]) -> None:
    own, _ = tested("lvs")
    ours, printed = tested("lvs", "--front-end", "bench", *QUICK)
    record = read_record(ours / "record.json")
    maps = [np.load(folder / "predictions.npz")["heatmap"] for folder in (own, ours)]

    assert record.config["method"]["segment_seconds"] == 3.0  # type: ignore[index]
    assert "middle square" not in printed
    assert maps[0].shape == maps[1].shape
    assert np.abs(maps[0] - maps[1]).max() > 1e-4


def test_the_protocol_of_its_authors_is_recorded(
    tested: Callable[..., tuple[Path, str]],
) -> None:
    folder, printed = tested("sslalign", "method.image_size=32", RATE_OF_SSLALIGN)
    record = read_record(folder / "record.json")

    assert record.method == "sslalign"
    assert {"lvs", "ezvsl", "align"} == set(record.protocols)
    assert "center" in record.protocols["align"].floors
    assert "align ciou@0.5" in printed


def test_slavc_is_tested_by_its_slow_copies_or_by_what_they_follow(
    tested: Callable[..., tuple[Path, str]],
) -> None:
    ema, printed = tested("slavc", "--weights", "ema", *QUICK)
    online, _ = tested("slavc", "--weights", "online", *QUICK)
    maps = [np.load(folder / "predictions.npz")["heatmap"] for folder in (ema, online)]

    assert "slavc ciou@0.5" in printed
    assert np.abs(maps[0] - maps[1]).max() > 1e-4


def test_a_guided_row_is_another_run_that_says_so(
    bench: Bench, tested: Callable[..., tuple[Path, str]], root: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    clip_id = json.loads((root / "vggss.json").read_text())[0]["file"]
    (image,) = (root / "frames").glob(f"{clip_id}.*")

    plain, _ = tested("ezvsl", "--as", "ezvsl", *QUICK)
    guided, _ = tested("ezvsl", "--as", "ezvsl", "--guide", tmp_path / "resnet18.pth", *QUICK)
    shown = bench("predict", "--run", guided, "--image", image, "--out", tmp_path / "a.png",
                  "--sound", root / "audio" / f"{clip_id}.wav")  # fmt: skip

    cards = [read_record(folder / "record.json").card for folder in (plain, guided)]
    assert [card.object_guidance for card in cards] == [False, True]
    assert all("released checkpoint" in card.pretraining for card in cards)
    maps = [np.load(folder / "predictions.npz")["heatmap"] for folder in (plain, guided)]
    assert np.abs(maps[0] - maps[1]).max() > 1e-4
    assert shown.code == 0, shown.err


def test_a_picture_of_the_users_own_is_shown_to_released_weights(
    bench: Bench, tested: Callable[..., tuple[Path, str]], root: Path, tmp_path: Path
) -> None:
    folder, _ = tested("lvs")
    clip_id = json.loads((root / "vggss.json").read_text())[0]["file"]
    (image,) = (root / "frames").glob(f"{clip_id}.*")
    sound = root / "audio" / f"{clip_id}.wav"

    done = bench("predict", "--run", folder, "--image", image, "--sound", sound, "--json",
                 "--out", tmp_path / "a.png", "--npz", tmp_path / "a.npz")  # fmt: skip

    assert done.code == 0, done.err
    assert json.loads(done.out)["cropped"] is True
    kept = np.load(folder / "predictions.npz")
    row = kept["id"].tolist().index(clip_id)
    assert np.abs(np.load(tmp_path / "a.npz")["heatmap"][0] - kept["heatmap"][row]).max() < 1e-5


def test_a_released_run_may_be_tested_again_by_its_folder(
    bench: Bench, tested: Callable[..., tuple[Path, str]], root: Path, tmp_path: Path
) -> None:
    folder, _ = tested("lvs")

    done = bench("eval", "--checkpoint", folder, "--data", "vggss", f"data.root={root}",
                 f"logging.runs={tmp_path}", "--json")  # fmt: skip

    assert done.code == 0, done.err
    again = json.loads(done.out)
    assert again["scores_sha256"] == read_record(folder / "record.json").scores_sha256
    assert again["checkpoint"]["kind"] == "released"


# --- runs of this benchmark -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(
    bench: Bench, tiny: Callable[..., tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of a run of `lvs` on `synthetic`."""
    runs = tmp_path_factory.mktemp("own") / "runs"
    done = bench("run", "--method", "lvs", "--data", "synthetic", *tiny(), f"logging.runs={runs}")
    assert done.code == 0, done.err
    (folder,) = runs.glob("*-lvs-synthetic-*")
    return folder


@pytest.mark.parametrize("inside", ["", "training/weights.pt"])
def test_a_run_is_tested_again_with_its_own_settings(
    bench: Bench, finished: Path, inside: str, tmp_path: Path
) -> None:
    done = bench("eval", "--checkpoint", finished / inside, "--data", "synthetic", "--json",
                 f"logging.runs={tmp_path}")  # fmt: skip

    assert done.code == 0, done.err
    again, first = json.loads(done.out), read_record(finished / "record.json")
    assert again["scores_sha256"] == first.scores_sha256
    assert again["config_hash"] != first.config_hash
    assert (again["checkpoint"]["kind"], again["checkpoint"]["facts"]["run"]) == ("run", first.id)
    assert again["leakage"] == json.loads(json.dumps(first.to_dict()))["leakage"]
    assert again["lists"]["train"] == json.loads(json.dumps(first.to_dict()))["lists"]["train"]
    assert again["seconds"]["train"] == 0


def test_a_run_is_tested_on_other_data_whose_leakage_is_not_known(
    bench: Bench, finished: Path, root: Path, tmp_path: Path
) -> None:
    done = bench("eval", "--checkpoint", finished, "--data", "vggss", f"data.root={root}",
                 f"logging.runs={tmp_path}", "--json")  # fmt: skip

    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert (record["data"], record["n"]) == ("vggss", 6)
    assert record["checkpoint"]["trained_on"] is None
    assert record["checkpoint"]["facts"]["data"] == "synthetic"
    assert "train" not in record["splits"]


def test_leakage_of_a_run_is_counted_anew_against_another_test_list(
    bench: Bench, tmp_path: Path
) -> None:
    """The list that was trained on holds the clips of the second test list, not of the first."""
    root, runs = tmp_path / "root", tmp_path / "runs"
    write_sample("vggss", root, clips=24)
    tested = [each["file"] for each in json.loads((root / "vggss.json").read_text())]
    first, second = tested[:3], tested[3:]
    trained = [*(root / "train.txt").read_text().split(), *second]
    for name, ids in (("first", first), ("second", second), ("trained", trained)):
        (tmp_path / f"{name}.txt").write_text("\n".join(each for each in ids if each not in first or
                                                        name == "first"))  # fmt: skip
    done = bench("run", "--method", "lvs", "--data", "vggss", "--dry-run", f"data.root={root}",
                 f"data.train_list={tmp_path / 'trained.txt'}", "data.batch_size=4",
                 f"data.test_list={tmp_path / 'first.txt'}", *QUICK,
                 f"logging.runs={runs}", "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["leakage"]["clips"] == 0
    (folder,) = runs.glob("*-lvs-vggss-*")

    again = bench("eval", "--checkpoint", folder, "--data", "vggss", f"data.root={root}",
                  f"data.test_list={tmp_path / 'second.txt'}", f"logging.runs={runs}",
                  "--json")  # fmt: skip

    assert again.code == 0, again.err
    leakage = json.loads(again.out)["leakage"]
    assert (leakage["clips"], leakage["trained_on"]) == (len(second), len(second))


# --- what is refused ------------------------------------------------------------------------------


def refused(done: Any) -> str:
    """The line that a command with exit code 2 wrote."""
    (line,) = [line for line in done.err.splitlines() if line.startswith("bench: ")]
    assert done.code == 2
    assert "Traceback" not in done.err
    return str(line)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--as", "ezvsl"), "is a file of LVS or SSLalignment and cannot be read as ezvsl"),
        (("--weights", "ema"), "--weights ema: lvs has no such choice"),
        (("--guide", "resnet18.pth"), "--guide resnet18.pth: lvs has no such choice"),
        (("method.segment_seconds=3",), "set method.segment_seconds=10.0"),
        (("--trained-on", "nobody_knows"), "nobody_knows"),
        (("method.backbone=small",), "set method.backbone=resnet18"),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else None,
)
def test_an_option_that_does_not_go_with_the_file_is_refused_in_a_line(
    bench: Bench, released_file: Callable[[str], Path], root: Path, tmp_path: Path,
    words: tuple[str, ...], says: str,
) -> None:  # fmt: skip
    done = bench("eval", "--checkpoint", released_file("lvs"), "--data", "vggss",
                 f"data.root={root}", f"logging.runs={tmp_path}", *words)  # fmt: skip

    assert says in refused(done)
    assert not list(tmp_path.glob("*/record.json"))


def test_a_file_that_is_none_is_refused_in_a_line(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><title>Google Drive</title>")
    torch.save({"model": {"fc.weight": torch.ones(2)}}, tmp_path / "other.pth")
    torch.save({"model": {"img_proj.weight": torch.ones(1), "aud_proj.weight": torch.ones(1)}},
               tmp_path / "twin.pth")  # fmt: skip
    says = {"page.pth": "is a web page", "other.pth": "are of no network that is known here",
            "twin.pth": "add --as ezvsl or --as fnac", "none.pth": "no such file"}  # fmt: skip

    for name, words in says.items():
        done = bench("eval", "--checkpoint", tmp_path / name, "--data", "vggss")
        assert f"--checkpoint={tmp_path / name}: " in refused(done)
        assert words in refused(done)


def test_runs_without_weights_and_options_of_files_are_refused(
    bench: Bench, finished: Path, tiny: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    bench("run", "--method", "center", "--data", "synthetic", *tiny(), f"logging.runs={tmp_path}")
    (floor,) = tmp_path.glob("*-center-synthetic-*")

    of_floor = refused(bench("eval", "--checkpoint", floor, "--data", "synthetic"))
    of_option = refused(bench("eval", "--checkpoint", finished, "--data", "synthetic",
                              "--front-end", "own"))  # fmt: skip

    assert "is a run of center, a floor, which has no weights" in of_floor
    assert "--front-end: " in of_option
    assert "whose settings are kept" in of_option


def test_networks_without_training_code_name_the_command_that_tests_them(bench: Bench) -> None:
    done = bench("run", "--method", "sslalign", "--data", "vggss", "--dry-run")

    assert "cannot be trained here" in refused(done)
    assert "bench eval --checkpoint FILE" in refused(done)


def test_a_front_end_runs_at_the_usual_rate_of_the_data(
    released_file: Callable[[str], Path],
) -> None:
    rates = {
        data: evaluation(Asked(released_file("lvs"), data)).config.method.sample_rate_hz
        for data in ("vggss", "flickr", "flickr_extended", "is3")
    }

    assert rates == {"vggss": 16000, "flickr": 22050, "flickr_extended": 22050, "is3": 16000}


PAGE = (Path(__file__).parents[2] / "docs" / "released.md").read_text(encoding="utf-8")


def test_the_page_has_a_command_for_every_network() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| ")]
    commands = {row[2].strip(" `"): row[3] for row in rows if "bench eval" in row[3]}

    assert set(RELEASES) <= set(commands)
    for name, command in commands.items():
        options = {"--checkpoint", "--data", "--as", "--weights"}
        assert set(re.findall(r"--[\w-]+", command)) <= options, name


def test_the_page_names_the_settings_of_an_equal_run(
    bench: Bench, tested: Callable[..., tuple[Path, str]], released_file: Callable[[str], Path],
    root: Path,
) -> None:  # fmt: skip
    folder, _ = tested("lvs")
    (line,) = re.findall(r"`bench (run --method lvs [^`]*)`", PAGE)
    words = line.replace("FILE", str(released_file("lvs"))).split()

    done = bench(*words, f"data.root={root}", f"logging.runs={folder.parent}", *QUICK,
                 "data.batch_size=16", "--json")  # fmt: skip

    assert done.code == 0, done.err
    assert json.loads(done.out)["id"] == folder.name
