"""`bench run` from a clip to a record: the same again, stopped and resumed, limited, re-used."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import torchvision
from torchvision.io import write_jpeg

from benchmark.registry import METHOD_REGISTRY
from datamodules.sample_data import write_sample

Bench = Callable[..., Any]
Tiny = Callable[..., tuple[str, ...]]
RESULTS = ("scores.csv", "predictions.npz", "predictions_swap.npz")
EPOCHS_TO_INTERRUPT = 30


@pytest.fixture(scope="module")
def hardpos(tiny: Tiny) -> tuple[str, ...]:
    """A command without the folder of the runs."""
    return ("run", "--method", "hardpos", "--data", "synthetic", *tiny("method.k=8"))


@pytest.fixture(scope="module")
def finished(
    bench: Bench, hardpos: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of a finished run of `hardpos`."""
    runs = tmp_path_factory.mktemp("finished") / "runs"
    return completed(bench, *hardpos, f"logging.runs={runs}")


def completed(bench: Bench, *words: object) -> Path:
    """Runs a command that must succeed; the folder it names."""
    done = bench(*words)
    assert done.code == 0, done.err
    (line,) = [line for line in done.out.splitlines() if line.startswith("Record:")]
    return Path(line.removeprefix("Record:").strip()).parent


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return record


def results_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


def modified(folder: Path) -> dict[str, int]:
    """Time of change of every weights file of the stages below a folder of runs."""
    return {
        path.parent.name: path.stat().st_mtime_ns for path in folder.glob("stages/*/weights.pt")
    }


def test_the_same_command_elsewhere_gives_the_same_bytes(
    bench: Bench, hardpos: tuple[str, ...], finished: Path, tmp_path: Path
) -> None:
    again = completed(bench, *hardpos, f"logging.runs={tmp_path}")

    assert results_of(finished) == results_of(again)


def test_a_fresh_run_is_another_folder_with_the_same_bytes(
    bench: Bench, hardpos: tuple[str, ...], finished: Path
) -> None:
    fresh = completed(bench, *hardpos, f"logging.runs={finished.parent}", "--fresh")

    assert fresh != finished
    assert results_of(finished) == results_of(fresh)
    shutil.rmtree(fresh)


@pytest.mark.parametrize("method", METHOD_REGISTRY.names())
def test_every_method_runs_on_synthetic(
    method: str, bench: Bench, tiny: Tiny, tmp_path: Path, released_state: Callable[..., Any]
) -> None:
    words = ("run", "--method", method, "--data", "synthetic", *tiny(), "--dry-run")
    weights = tmp_path / "weights.pth"
    if method == "saliency":  # it and two more names cannot do without weights
        torch.save(torchvision.models.resnet18().state_dict(), weights)
        words = (*words, f"method.pretrained={weights}")
    if method in ("sslalign", "ssltie"):
        torch.save(released_state(method), weights)
        words = (*words, f"method.checkpoint={weights}", "method.front_end=bench")

    record = record_of(completed(bench, *words, f"logging.runs={tmp_path}"))

    assert (record["method"], record["n"], record["n_expected"]) == (method, 16, 16)


def test_a_method_is_recorded_under_the_protocol_of_its_authors_too(
    bench: Bench, tiny: Tiny, tmp_path: Path
) -> None:
    words = ("run", "--method", "slavc", "--data", "synthetic", *tiny(), "--dry-run")

    record = record_of(completed(bench, *words, f"logging.runs={tmp_path}"))

    assert {"ezvsl", "lvs", "slavc"} == set(record["protocols"])
    assert record["protocols"]["slavc"]["ceiling"]["ciou@0.5"] < 1  # half of the pixels are kept


def test_another_seed_gives_other_scores(
    bench: Bench, hardpos: tuple[str, ...], finished: Path, tmp_path: Path
) -> None:
    other = completed(bench, *hardpos, f"logging.runs={tmp_path}", "--seed", 1)

    assert (finished / "predictions.npz").read_bytes() != (other / "predictions.npz").read_bytes()
    assert record_of(other)["config_hash"] != record_of(finished)["config_hash"]


def test_several_seeds_are_as_many_runs(bench: Bench, tiny: Tiny, tmp_path: Path) -> None:
    words = ("run", "--method", "lvs", "--data", "synthetic", *tiny(), f"logging.runs={tmp_path}")
    done = bench(*words, "--seed", 5, "--seeds", 2)

    assert done.code == 0, done.err
    assert {5, 6} == {record_of(path.parent)["seed"] for path in tmp_path.glob("*/record.json")}


def test_the_same_command_again_returns_the_finished_run(
    bench: Bench, hardpos: tuple[str, ...], finished: Path
) -> None:
    before = (finished / "record.json").stat().st_mtime_ns

    done = bench(*hardpos, f"logging.runs={finished.parent}")

    assert done.code == 0, done.err
    assert "This run was finished before; --fresh starts it anew." in done.out
    assert before == (finished / "record.json").stat().st_mtime_ns


def test_the_number_of_workers_does_not_make_another_run(
    bench: Bench, hardpos: tuple[str, ...], finished: Path
) -> None:
    done = bench(*hardpos, f"logging.runs={finished.parent}", "data.num_workers=1")

    assert "This run was finished before" in done.out


def test_a_run_folder_holds_what_others_may_read(finished: Path) -> None:
    expected = {"record.json", "config.yaml", "samples.png", *RESULTS}

    assert expected <= {path.name for path in finished.iterdir()}


def test_scores_have_one_row_per_test_clip(finished: Path) -> None:
    rows = list(csv.DictReader((finished / "scores.csv").read_text().splitlines()))

    assert [f"test-{row:06d}" for row in range(16)] == [row["id"] for row in rows]


def test_predictions_hold_one_finite_map_per_test_clip(finished: Path) -> None:
    with np.load(finished / "predictions.npz", allow_pickle=False) as arrays:
        assert arrays["id"].tolist() == [f"test-{row:06d}" for row in range(16)]
        assert (arrays["heatmap"].dtype, len(arrays["heatmap"])) == (np.float32, 16)
        assert np.isfinite(arrays["heatmap"]).all()


def test_checkpoints_hold_tensors_and_plain_values_only(finished: Path) -> None:
    for name in ("last.ckpt", "weights.pt"):
        assert torch.load(finished / "training" / name, weights_only=True)


def test_a_record_counts_the_purity_of_what_was_mined(finished: Path) -> None:
    notes = record_of(finished)["notes"]

    assert notes["k"] == 8
    assert 0 <= notes["mined_purity_by_sound"] <= 1
    assert 0 <= notes["mined_purity_by_image"] <= 1


def test_a_record_holds_floors_ceiling_and_intervals(finished: Path) -> None:
    record = record_of(finished)

    assert {"center", "full", "random", "mean_box", "all_objects"} == set(record["floors"])
    assert record["ceiling"]["ciou@0.5"] == 1.0
    assert {"ciou@0.5", "swap_ciou@0.5", "pixel_ap"} <= set(record["ci95"])
    assert {"best_floor", "swap", "all_objects"} == set(record["comparisons"])


def test_no_record_says_where_its_user_keeps_things(finished: Path) -> None:
    text = (finished / "record.json").read_text()

    assert str(finished.parent) not in text
    assert str(Path.home()) + "/" not in text


def test_neighbours_of_a_finished_run_are_mined_as_its_second_stage_does(
    finished: Path, tmp_path: Path, bench: Bench
) -> None:
    done = bench("mine", "--run", finished, "--out", tmp_path / "out", "--k", "3", "--json")

    by_sound, by_image = json.loads(done.out)
    assert done.code == 0
    for told, embedded in ((by_sound, "sound.npy"), (by_image, "image.npy")):
        vectors = np.load(tmp_path / "out" / embedded).astype(np.float64)
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -np.inf)
        rows = np.load(told["path"])
        found = np.sort(np.take_along_axis(scores, rows.astype(np.int64), 1), 1)
        np.testing.assert_allclose(found, np.sort(scores, 1)[:, -3:], atol=1e-6)
        assert (told["rows"], told["k"], told["made"]) == (len(vectors), 3, len(vectors))
        assert 0 <= told["purity"] <= 1


def test_a_k_that_a_list_cannot_have_is_refused_before_its_clips_are_embedded(
    finished: Path, tmp_path: Path, bench: Bench
) -> None:
    done = bench("mine", "--run", finished, "--out", tmp_path / "out", "--k", "100000")

    assert done.code == 2
    assert f"of the training list of {finished}, got 100000" in done.err
    assert not (tmp_path / "out").exists()


def test_another_k_takes_the_first_stage_as_it_is(
    bench: Bench, hardpos: tuple[str, ...], finished: Path
) -> None:
    before = modified(finished.parent)

    other = completed(bench, *hardpos[:-1], "method.k=4", f"logging.runs={finished.parent}")

    assert before == modified(finished.parent)
    assert record_of(other)["notes"]["k"] == 4


def test_another_learning_rate_trains_the_first_stage_again(
    bench: Bench, hardpos: tuple[str, ...], finished: Path
) -> None:
    before = modified(finished.parent)

    completed(bench, *hardpos, "optim.lr=1e-3", f"logging.runs={finished.parent}")

    after = modified(finished.parent)
    assert before.items() < after.items()
    assert len(after) == len(before) + 1


def test_the_random_control_mines_nothing(
    bench: Bench, hardpos: tuple[str, ...], tmp_path: Path
) -> None:
    folder = completed(bench, *hardpos, "method.positives=random", f"logging.runs={tmp_path}")

    assert "mined_purity_by_sound" not in record_of(folder)["notes"]
    assert not (tmp_path / "stages").exists()


@pytest.mark.parametrize(
    ("option", "status", "reason"),
    [(("--limit", "16"), "partial", "--limit 16"), (("--dry-run",), "dry-run", "--dry-run")],
    ids=["limit", "dry run"],
)
def test_a_limited_run_is_marked_and_never_added(
    option: tuple[str, ...], status: str, reason: str, bench: Bench, tiny: Tiny,
    tmp_path: Path,
) -> None:  # fmt: skip
    words = ("run", "--method", "lvs_vanilla", "--data", "synthetic", *tiny(), *option)
    folder = completed(bench, *words, f"logging.runs={tmp_path / 'runs'}")
    added = bench("add", folder, "--results", tmp_path / "results")

    record = record_of(folder)
    assert (record["status"], reason in record["reasons"]) == (status, True)
    assert (added.code, (tmp_path / "results").exists()) == (2, False)
    assert f"cannot be added: {status}: " in added.err


def test_a_complete_run_is_added_and_stands_on_the_leaderboard(
    bench: Bench, tmp_path: Path
) -> None:
    words = ("run", "--method", "center", "--data", "synthetic", "data.train_clips=1",
             "data.val_clips=1", "data.test_clips=60", "data.image_size=32")  # fmt: skip
    folder = completed(bench, *words, f"logging.runs={tmp_path / 'runs'}")

    page = ("--results", tmp_path / "results", "--page", tmp_path / "leaderboard.md")
    codes = [
        bench("add", folder, "--results", tmp_path / "results").code,
        bench("leaderboard", *page, "--check").code,
        bench("leaderboard", *page).code,
        bench("leaderboard", *page, "--check").code,
    ]

    assert codes == [0, 1, 0, 0]
    assert "*floor* center" in (tmp_path / "leaderboard.md").read_text()


def test_the_epoch_of_the_lowest_validation_loss_is_scored(
    bench: Bench, tiny: Tiny, tmp_path: Path
) -> None:
    folder = completed(
        bench, "run", "--method", "lvs_vanilla", "--data", "synthetic",
        *tiny("trainer.select=val_loss", "trainer.max_epochs=4", "optim.schedule=constant",
              "optim.lr=0.02"),
        f"logging.runs={tmp_path}",
    )  # fmt: skip

    training = folder / "training"
    (log,) = training.glob("logs/*/metrics.csv")
    rows = csv.DictReader(log.read_text().splitlines())
    losses = {int(row["epoch"]): float(row["val_loss"]) for row in rows if row["val_loss"]}
    best = torch.load(training / "best.ckpt", weights_only=True)
    weights = torch.load(training / "weights.pt", weights_only=True)
    assert len(losses) == 4
    assert best["epoch"] == min(losses, key=lambda epoch: losses[epoch])
    assert all(torch.equal(weights[name], value) for name, value in best["state_dict"].items())


class Interrupted:
    """A run in a process of its own that is stopped once an epoch is on disk."""

    def __init__(self, words: tuple[str, ...], runs: Path) -> None:
        self.runs = runs
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmark.cli", *words, f"logging.runs={runs}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop_with(self, number: signal.Signals) -> str:
        """Waits for the first checkpoint, sends the signal; standard error of the process."""
        while not list(self.runs.glob("*/training/last.ckpt")):
            assert self.process.poll() is None, self.process.communicate()[1]
            time.sleep(0.01)
        os.kill(self.process.pid, number)
        return self.process.communicate(timeout=60)[1]


@pytest.fixture(scope="module")
def long_run(tiny: Tiny) -> tuple[str, ...]:
    """A run with a draw of every kind: order, positives and augmentation, and one cycle."""
    settings = tiny(
        "method.positives=random",
        "data.augmentation=crop_flip_roll",
        f"trainer.max_epochs={EPOCHS_TO_INTERRUPT}",
    )
    return ("run", "--method", "hardpos", "--data", "synthetic", *settings)


@pytest.fixture(scope="module")
def undisturbed(
    bench: Bench, long_run: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    runs = tmp_path_factory.mktemp("undisturbed")
    return completed(bench, *long_run, f"logging.runs={runs}")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 75), (signal.SIGINT, 75)],
    ids=["killed", "stopped by a scheduler", "Ctrl-C"],
)
def test_a_run_that_was_stopped_is_finished_with_the_same_scores(
    number: signal.Signals,
    code: int,
    bench: Bench,
    long_run: tuple[str, ...],
    undisturbed: Path,
    tmp_path: Path,
) -> None:
    interrupted = Interrupted(long_run, tmp_path)
    words = interrupted.stop_with(number)
    records = list(tmp_path.glob("*/record.json"))
    (folder,) = tmp_path.glob("*-hardpos-synthetic-*")
    epochs_done = torch.load(folder / "training" / "last.ckpt", weights_only=True)["epoch"] + 1

    resumed = completed(bench, *long_run, f"logging.runs={tmp_path}")

    assert (interrupted.process.returncode, records) == (code, []), words
    assert ("Traceback" in words, "give the same command again" in words) == (False, code == 75)
    assert 1 <= epochs_done < EPOCHS_TO_INTERRUPT
    assert folder == resumed
    assert results_of(undisturbed) == results_of(resumed)


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that were told that folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_text().replace("\0", " "))
    return [line for line in lines if str(folder) in line]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc to look for processes in")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_all_processes_of_a_run_end_with_its_first(
    number: signal.Signals, code: int, long_run: tuple[str, ...], tmp_path: Path
) -> None:
    interrupted = Interrupted((*long_run, "trainer.devices=2", "trainer.accelerator=cpu"), tmp_path)
    words = interrupted.stop_with(number)
    until = time.monotonic() + 10
    while processes_of(tmp_path) and time.monotonic() < until:
        time.sleep(0.05)

    assert (interrupted.process.returncode, processes_of(tmp_path)) == (code, [])
    assert "Traceback" not in words
    assert words.count("bench: stopped") == (code == 75)


@pytest.fixture(scope="module")
def selecting(tiny: Tiny) -> tuple[str, ...]:
    """A short run that keeps checkpoints of every kind; without the folder of the runs."""
    settings = tiny("method.positives=random", "trainer.select=val_loss", "trainer.max_epochs=3")
    return ("run", "--method", "hardpos", "--data", "synthetic", *settings)


@pytest.fixture(scope="module")
def selected(
    bench: Bench, selecting: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of that run, finished."""
    runs = tmp_path_factory.mktemp("selected")
    return completed(bench, *selecting, f"logging.runs={runs}")


@pytest.fixture
def stopped_before_the_end(selected: Path, tmp_path: Path) -> Path:
    """A copy of its folder, as if it had been killed before its weights were written."""
    folder = tmp_path / selected.name
    shutil.copytree(selected, folder)
    for name in ("record.json", "training/done.json", "training/weights.pt"):
        (folder / name).unlink()
    return folder


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (("last.ckpt",), "going on from"),
        (("last.ckpt", "previous.ckpt"), "this training starts again"),
        (("best.ckpt",), "this training starts again"),
    ],
    ids=["last", "last and previous", "best"],
)
def test_damaged_checkpoints_are_told_and_change_no_score(
    damaged: tuple[str, ...],
    words: str,
    bench: Bench,
    selecting: tuple[str, ...],
    selected: Path,
    stopped_before_the_end: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = stopped_before_the_end
    for name in damaged:
        path = folder / "training" / name
        path.write_bytes(path.read_bytes()[:-100])

    resumed = completed(bench, *selecting, f"logging.runs={folder.parent}")

    (warning,) = [each for each in caplog.messages if "is damaged" in each]
    assert f"{folder / 'training' / damaged[0]} is damaged (" in warning
    assert words in warning
    assert resumed == folder
    assert results_of(selected) == results_of(resumed)


def test_damaged_weights_of_a_finished_training_are_made_again(
    bench: Bench, selecting: tuple[str, ...], selected: Path, tmp_path: Path
) -> None:
    folder = tmp_path / selected.name
    shutil.copytree(selected, folder)
    (folder / "record.json").unlink()
    (folder / "training" / "weights.pt").write_bytes(b"half")

    resumed = completed(bench, *selecting, f"logging.runs={tmp_path}")

    assert results_of(selected) == results_of(resumed)
    weights = torch.load(folder / "training" / "weights.pt", weights_only=True)
    expected = torch.load(selected / "training" / "weights.pt", weights_only=True)
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


def test_a_checkpoint_of_another_configuration_is_refused(
    bench: Bench, selecting: tuple[str, ...], stopped_before_the_end: Path
) -> None:
    folder = stopped_before_the_end
    runs = f"logging.runs={folder.parent}"
    other = completed(bench, *selecting, runs, "--seed", 1)
    shutil.copy(other / "training" / "last.ckpt", folder / "training" / "last.ckpt")

    done = bench(*selecting, runs)

    (line,) = done.err.splitlines()
    assert (done.code, (folder / "record.json").exists()) == (2, False)
    assert line.startswith(f"bench: {folder / 'training' / 'last.ckpt'} is a checkpoint of another")


@pytest.mark.parametrize("kilobytes", [4, 64, 2000])
def test_a_full_disk_is_told_in_a_line_and_loses_nothing(
    kilobytes: int, bench: Bench, selecting: tuple[str, ...], selected: Path, tmp_path: Path
) -> None:
    words = (*selecting, f"logging.runs={tmp_path}")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, before[1]))
    try:
        full = bench(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    line = full.err.splitlines()[-1]
    assert (full.code, "Traceback" in full.err) == (2, False)
    assert line.startswith(f"bench: there is no room for {tmp_path}")
    assert "logging.runs=DIR" in line
    assert [] == list(tmp_path.rglob("*.part"))
    assert results_of(selected) == results_of(completed(bench, *words))


@pytest.fixture(scope="module")
def vggss_settings() -> tuple[str, ...]:
    return ("--preset", "small", "method.image_size=32", "trainer.max_epochs=1",
            "data.batch_size=8")  # fmt: skip


def test_hardpos_runs_on_a_miniature_of_vggss(
    bench: Bench, vggss_settings: tuple[str, ...], tmp_path: Path
) -> None:
    root = tmp_path / "vggss"
    sample = bench("sample-data", "vggss", "--root", root, "--clips", 40)
    words = ("run", "--method", "hardpos", "--data", "vggss", *vggss_settings, f"data.root={root}")

    record = record_of(completed(bench, *words, f"logging.runs={tmp_path / 'runs'}"))

    assert sample.code == 0
    assert (record["n"], record["n_expected"], record["missing"]) == (10, 10, [])
    assert "a miniature made by bench sample-data" in record["reasons"]
    assert record["leakage"]["clips"] == 2
    assert (record["leakage"]["trained_on"], record["leakage"]["allowed"]) == (0, False)


def test_allowed_leakage_is_counted_in_the_record(
    bench: Bench, vggss_settings: tuple[str, ...], tmp_path: Path
) -> None:
    root = tmp_path / "vggss"
    write_sample("vggss", root, clips=40)
    words = ("run", "--method", "lvs", "--data", "vggss", *vggss_settings, f"data.root={root}")

    record = record_of(
        completed(bench, *words, "data.allow_leakage=true", f"logging.runs={tmp_path / 'runs'}")
    )

    assert record["leakage"]["trained_on"] == 2
    assert record["leakage"]["removed"] == 0


def test_accumulated_batches_are_told_by_record_and_table(
    bench: Bench, tiny: Tiny, tmp_path: Path
) -> None:
    words = ("run", "--method", "lvs_vanilla", "--data", "synthetic", *tiny(),
             f"logging.runs={tmp_path}")  # fmt: skip
    done = bench(*words, "trainer.accumulate=3")
    refused = bench(*words, "trainer.accumulate=4")

    (record,) = (record_of(path.parent) for path in tmp_path.glob("*/record.json"))
    assert record["notes"]["clips_of_a_step"] == 48
    assert record["notes"]["clips_with_negatives_among_each_other"] == 16
    assert "gradients of 3 batches averaged in a step; negatives of 16 clips alone" in done.out
    assert refused.code == 2
    assert "trainer.accumulate=4 needs as many batches in an epoch and there are 3" in refused.err


NUM_TEST, NUM_TRAIN = 20, 40


@pytest.fixture(scope="module")
def real_ids(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the published annotations and lists, and made-up files for some of their ids."""
    root = tmp_path_factory.mktemp("real") / "vggss"
    (root / "frames").mkdir(parents=True)
    (root / "audio").mkdir()
    for name in ("vggss.json", "vggss_10k.txt"):
        shutil.copy(shared_data / "annotations" / "vggss" / name, root / name)
    test = [entry["file"] for entry in json.loads((root / "vggss.json").read_text())]
    videos = {clip_id[:11] for clip_id in test}
    listed = (root / "vggss_10k.txt").read_text().split()
    train = [clip_id for clip_id in listed if clip_id[:11] not in videos]
    draws = np.random.default_rng(0)
    for clip_id in (*test[:NUM_TEST], *train[:NUM_TRAIN]):
        frame = torch.from_numpy(draws.integers(0, 256, (3, 24, 32), dtype=np.uint8))
        write_jpeg(frame, str(root / "frames" / f"{clip_id}.jpg"))
        soundfile.write(root / "audio" / f"{clip_id}.wav", draws.uniform(-1, 1, 8000), 8000)
    return root


def test_hardpos_runs_on_a_part_of_the_published_vggss(
    bench: Bench, real_ids: Path, vggss_settings: tuple[str, ...], tmp_path: Path
) -> None:
    words = ("run", "--method", "hardpos", "--data", "vggss", *vggss_settings)

    record = record_of(
        completed(bench, *words, f"data.root={real_ids}", f"logging.runs={tmp_path}")
    )

    assert (record["n"] + len(record["excluded"]), record["n_expected"]) == (NUM_TEST, 5158)
    assert len(record["missing"]) == 5158 - NUM_TEST
    assert record["status"] == "partial"
    assert "5138 of 5158 test clips missing or unreadable" in record["reasons"]
    assert record["leakage"]["clips"] == 238  # as datamodules.vggss says of vggss_10k.txt
    assert record["splits"]["train"]["n"] == NUM_TRAIN
