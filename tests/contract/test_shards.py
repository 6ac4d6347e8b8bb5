"""`bench shards` from the command line: what it writes trains as the root does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.registry import DATA_REGISTRY
from datamodules.clip import Inputs
from datamodules.folder_clips import FolderClips
from datamodules.sample_data import SAMPLES, write_sample

Bench = Callable[..., Any]
SETTINGS = ("--method", "lvs_vanilla", "--data", "vggss", "--preset", "small", "--fresh",
            "method.image_size=32", "data.batch_size=4", "trainer.max_epochs=1")  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("miniature") / "vggss"
    write_sample("vggss", folder, clips=16)
    return folder


@pytest.fixture(scope="module")
def shards(root: Path, bench: Bench) -> Path:
    out = root.parent / "shards"
    done = bench("shards", "vggss", "--root", root, "--out", out, "--size", 2)
    assert done.code == 0
    assert "16 clips: 0.007" in done.err
    assert f"data.shards={out}" in done.out
    return out


def scores_of(bench: Bench, runs: Path, *words: object) -> tuple[bytes, dict[str, Any]]:
    done = bench("run", *SETTINGS, f"logging.runs={runs}", *words)
    assert done.code == 0, done.err
    (record,) = runs.glob("*/record.json")
    return record.with_name("scores.csv").read_bytes(), json.loads(record.read_text())


def test_a_run_on_shards_scores_as_one_on_files_and_its_record_does_not_say_where_they_are(
    bench: Bench, root: Path, shards: Path, tmp_path: Path
) -> None:
    from_files, first = scores_of(bench, tmp_path / "a", f"data.root={root}")
    from_shards, second = scores_of(bench, tmp_path / "b", f"data.shards={shards}")

    assert from_files == from_shards
    assert first["config_hash"] == second["config_hash"]
    assert first["splits"] == second["splits"]
    assert str(shards) not in json.dumps(second)


def test_the_same_command_again_changes_nothing(bench: Bench, root: Path, shards: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in shards.glob("*.tar")}

    done = bench("shards", "vggss", "--root", root, "--out", shards, "--size", 2)

    assert done.code == 0
    assert before == {path: path.stat().st_mtime_ns for path in shards.glob("*.tar")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("synthetic", "--out", "out"), "data synthetic has no files under a root that shards"),
        (("vggs", "--out", "out"), "unknown data set 'vggs'. Did you mean vggss?"),
        (("vggss", "--out", "out", "--size", "0"), "--size must be at least 1 MB, got 0"),
        (("vggss", "--out", "out", "data.lst=x"), "unknown setting 'data.lst'"),
    ],
)
def test_a_mistake_is_one_line(
    bench: Bench, root: Path, words: tuple[str, ...], message: str
) -> None:
    done = bench("shards", *words, "--root", root)

    assert done.code == 2
    assert done.err.startswith(f"bench: {message}")
    assert done.err.count("\n") == 1


def test_shards_do_not_go_into_the_root_that_they_are_made_of(bench: Bench, root: Path) -> None:
    out = root / "shards"

    done = bench("shards", "vggss", "--root", root, "--out", out)

    assert done.code == 2
    assert f"--out {out} lies in the data root" in done.err
    assert not out.exists()


def test_a_shard_that_is_missing_ends_the_run_with_its_name(
    bench: Bench, root: Path, shards: Path, tmp_path: Path
) -> None:
    for path in shards.rglob("*"):
        copy = tmp_path / "shards" / path.relative_to(shards)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.name != "clips-000001.tar":
            copy.hardlink_to(path)

    done = bench("run", *SETTINGS, f"logging.runs={tmp_path}", f"data.shards={tmp_path}/shards")

    assert done.code == 2
    assert "clips-000001.tar in data.shards is missing" in done.err
    assert [] == list(tmp_path.glob("*/record.json"))


@pytest.fixture(scope="module", params=list(SAMPLES))
def in_both(
    request: pytest.FixtureRequest, bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FolderClips, FolderClips]:
    """A miniature of each data set that has files: out of its root, and out of shards."""
    name, folder = request.param, tmp_path_factory.mktemp("both")
    write_sample(name, folder / "root", clips=16)
    words = ("--root", folder / "root", "--out", folder / "shards", "--size", 1)
    done = bench("shards", name, *words)
    assert done.code == 0, done.err
    kind = DATA_REGISTRY.load(name, FolderClips)  # type: ignore[type-abstract]
    inputs = Inputs(image_size=16, num_segments=2, sample_rate_hz=8000, segment_seconds=0.5)
    files, packed = (
        kind(kind.Config(batch_size=4, **{setting: str(folder / setting)}), inputs, seed=0)
        for setting in ("root", "shards")
    )
    return files, packed


def test_every_data_set_of_files_is_the_same_in_shards(
    in_both: tuple[FolderClips, FolderClips],
) -> None:
    files, packed = in_both

    assert files.report == packed.report
    for split, listed in files.report.splits.items():
        assert files.fingerprints(split) == packed.fingerprints(split)
        for row in range(0, len(listed), 3):
            assert torch.equal(files.frames(split, row), packed.frames(split, row))
            assert torch.equal(files.waveform(split, row), packed.waveform(split, row))


def test_clips_that_cannot_be_told_apart_hold_the_same_content(
    in_both: tuple[FolderClips, FolderClips],
) -> None:
    files, _ = in_both
    seen: dict[str, bytes] = {}

    for split, listed in files.report.splits.items():
        prints = files.fingerprints(split)
        assert prints is not None
        for row in range(len(listed)):
            frames = files.frames(split, row).numpy().tobytes()
            sound = files.waveform(split, row).numpy().tobytes()
            assert frames == seen.setdefault(f"frames {prints.frames[row]}", frames)
            assert sound == seen.setdefault(f"sounds {prints.sounds[row]}", sound)


def test_the_rates_of_shards_are_measured_beside_those_of_files(bench: Bench) -> None:
    done = bench("speed", "shards", "--quick", "--check", "--json")

    assert done.code == 0, done.err
    found = json.loads(done.out)
    lines = {line["name"]: line for line in found["stages"]["shards"]}
    assert found["unequal"] == []
    assert lines["frame and 3 s of sound from shards"]["peer"] > 0
    assert 100 < lines["index of shards"]["ours"] < 200
