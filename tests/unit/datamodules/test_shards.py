"""Shards are the root once more: the same lists, exclusions and batches, from a disk or a store."""

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import torch.distributed as dist
import webdataset
from PIL import Image

from datamodules.clip import Batch, Inputs
from datamodules.flickr_extended import FlickrExtended
from datamodules.folder_clips import FolderConfig
from datamodules.inspection import inspected
from datamodules.shard_writer import plan_of, write_shards
from datamodules.vggss import VggSs
from metrics.errors import BenchError

TEST = [f"testvideo_{number}_000010" for number in range(4)]
TRAIN = [f"-rainvideo{number}_000020" for number in range(8)]
BOX = [[0.25, 0.25, 0.75, 0.5]]
INPUTS = Inputs(image_size=16, sample_rate_hz=8000, segment_seconds=0.5)
SMALL = 40_000  # bytes of a shard: about two clips


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Clips in several codings; one training clip lacks its sound and one test clip is broken."""
    return write_root(tmp_path / "root")


def write_root(root: Path) -> Path:
    for folder in ("frames", "audio"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for row, clip_id in enumerate([*TEST, *TRAIN]):
        pixels = rng.integers(256, size=(24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "frames" / f"{clip_id}.{'png' if row % 3 else 'jpg'}")
        sound = rng.uniform(-0.5, 0.5, (8000 + 100 * row, 1 + row % 2))
        suffix, coding = [("wav", "PCM_16"), ("wav", "PCM_24"), ("flac", "PCM_16")][row % 3]
        soundfile.write(root / "audio" / f"{clip_id}.{suffix}", sound, 16000, subtype=coding)
    (root / "audio" / f"{TRAIN[2]}.flac").unlink(missing_ok=True)
    (root / "audio" / f"{TRAIN[2]}.wav").unlink(missing_ok=True)
    broken = next((root / "frames").glob(f"{TEST[3]}.*"))
    broken.write_bytes(broken.read_bytes()[:-200])
    entries = [{"file": each, "class": f"of {each}", "bbox": BOX} for each in TEST]
    (root / "vggss.json").write_text(json.dumps(entries))
    (root / "train.txt").write_text("\n".join([*TRAIN, TEST[0]]))
    return root


def data_of(**settings: Any) -> VggSs:
    return VggSs(FolderConfig(**{"batch_size": 2, **settings}), INPUTS, seed=0)


def pack(root: Path, out: Path, shard_bytes: int = SMALL) -> Path:
    write_shards(plan_of(data_of(root=str(root)), root, shard_bytes=shard_bytes), out)
    return out


@pytest.fixture
def shards(root: Path, tmp_path: Path) -> Path:
    return pack(root, tmp_path / "shards")


def all_batches(data: VggSs, epoch: int = 1) -> list[Batch]:
    data.setup("fit")
    train = data.train_dataloader()
    train.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return [*train, *(batch for loader in data.test_dataloader() for batch in loader)]


def assert_same(expected: list[Batch], actual: list[Batch]) -> None:
    assert len(expected) == len(actual) > 0
    for one, other in zip(expected, actual, strict=True):
        assert torch.equal(one.clip.index, other.clip.index)
        assert torch.equal(one.clip.frames, other.clip.frames)
        assert torch.equal(one.clip.waveform, other.clip.waveform)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}  # fmt: skip


def test_batches_from_shards_are_those_from_files_to_the_last_byte(root: Path, shards: Path):
    assert_same(all_batches(data_of(root=str(root))), all_batches(data_of(shards=str(shards))))


def test_files_in_shards_are_not_inspected_again(shards: Path):
    with pytest.raises(BenchError, match=r"data\.shards=.*packed.*data\.root=DIR"):
        inspected("vggss", data_of(shards=str(shards)))


def test_the_report_from_shards_is_that_from_files(root: Path, shards: Path):
    expected = data_of(root=str(root)).report

    assert expected == data_of(shards=str(shards)).report
    assert (expected.leaked_clips, expected.train_missing) == (1, (TRAIN[2],))
    assert list(expected.unreadable) == [TEST[3]]


def test_contents_are_told_apart_alike_from_files_and_from_shards(root: Path, shards: Path):
    packed = data_of(shards=str(shards)).fingerprints("train")

    assert data_of(root=str(root)).fingerprints("train") == packed
    frame = next((root / "frames").glob(f"{TRAIN[1]}.*"))
    assert hashlib.sha256(frame.read_bytes()).hexdigest()[:32] == packed.frames[1].split()[0]
    assert len(set(packed.sounds)) == len(packed.sounds) == 7


def test_pictures_are_told_apart_and_read_alike_from_files_and_from_shards(
    root: Path, shards: Path
):
    files, packed = data_of(root=str(root)), data_of(shards=str(shards))

    for split in files.report.splits:
        assert files.picture_contents(split) == packed.picture_contents(split)
    assert torch.equal(files.whole_picture("test", 0, 0), packed.whole_picture("test", 0, 0))


def test_truth_and_full_lists_come_from_the_shards_too(root: Path, shards: Path):
    files = data_of(root=str(root), train_list="full", allow_leakage=True)
    packed = data_of(shards=str(shards), train_list="full", allow_leakage=True)

    assert files.report.splits == packed.report.splits
    assert len(files.report.splits["train"]) == 10
    assert [each.id for each in files.truth()] == [each.id for each in packed.truth()]


def test_webdataset_reads_the_shards_as_samples_in_list_order(root: Path, shards: Path):
    names = [str(path) for path in sorted(shards.glob("*.tar"))]
    samples = list(webdataset.WebDataset(names, shardshuffle=False))

    assert [*TRAIN, *TEST] == [sample["__key__"] for sample in samples]
    frame = next((root / "frames").glob(f"{TRAIN[0]}.*"))
    assert frame.read_bytes() == samples[0][f"frame{frame.suffix}"]
    assert len(names) > 3


def test_the_same_root_gives_the_same_bytes(root: Path, shards: Path, tmp_path: Path):
    again = pack(root, tmp_path / "again")

    assert contents(shards) == contents(again)


def test_each_clip_is_packed_once_though_several_samples_use_it(tmp_path: Path):
    root = tmp_path / "flickr"
    for folder in ("frames", "audio", "Annotations"):
        (root / folder).mkdir(parents=True)
    for number in ("1", "2"):
        Image.new("RGB", (32, 24)).save(root / "frames" / f"{number}.jpg")
        soundfile.write(root / "audio" / f"{number}.wav", np.full(8000, 0.1), 8000)
        box = "<id>0</id><x>0</x><y>0</y><x>64</x><y>64</y>"
        (root / "Annotations" / f"{number}.xml").write_text(f"<a><o><bbox>{box}</bbox></o></a>")
    (root / "flickr_test_plus_silent.csv").write_text("video,audio,label\n1,2,non-sounding\n")
    files = FlickrExtended(FolderConfig(root=str(root), batch_size=2), INPUTS, seed=0)
    out = tmp_path / "shards"

    write_shards(plan_of(files, root, shard_bytes=10**6), out)

    with tarfile.open(out / "clips-000000.tar") as shard:
        assert ["1.frame.jpg", "1.sound.wav", "2.sound.wav"] == shard.getnames()
    packed = FlickrExtended(FolderConfig(shards=str(out), batch_size=2), INPUTS, seed=0)
    assert files.report == packed.report
    assert_same(list(files.test_dataloader()[0]), list(packed.test_dataloader()[0]))


def test_any_number_of_workers_reads_the_same_batches(shards: Path):
    expected = all_batches(data_of(shards=str(shards)))

    assert_same(expected, all_batches(data_of(shards=str(shards), num_workers=2)))


class _Quiet(SimpleHTTPRequestHandler):
    """A server of one folder that counts what it is asked for."""

    asked: list[str]

    def log_message(self, *words: object) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path.rpartition("/")[2])
        super().do_GET()


class Served:
    """A folder behind a URL, and the names that were fetched."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        handler = type("Handler", (_Quiet,), {"asked": self.asked})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def served(shards: Path) -> Iterator[Served]:
    found = Served(shards)
    yield found
    found.server.shutdown()


def test_batches_from_a_web_server_are_those_from_files_and_each_shard_is_fetched_once(
    root: Path, served: Served
):
    expected = all_batches(data_of(root=str(root)))

    assert_same(expected, all_batches(data_of(shards=served.url)))
    assert_same(expected, all_batches(data_of(shards=served.url, num_workers=2)))
    fetched = [name for name in served.asked if name.endswith(".tar")]
    assert len(fetched) == len(set(fetched)) > 3


def test_fetched_shards_are_kept_up_to_the_room_that_is_given(
    root: Path, served: Served, cache: Path
):
    one = 0.05e-3  # GB: holds one shard, not two

    data = data_of(shards=served.url, shard_cache_gb=one)
    frames = [data.frames("test", row) for row in (0, 1, 2)]
    again = [data.frames("train", 0), *(data.frames("test", row) for row in (0, 1, 2))]

    assert all(torch.equal(a, b) for a, b in zip(frames, again[1:], strict=True))
    (folder,) = (cache / "shards").iterdir()
    assert 1 == len(list(folder.glob("*.tar")))
    assert [] == list((folder / "unfinished").iterdir())


def test_a_random_order_that_would_fetch_shards_again_and_again_is_refused(served: Served):
    with pytest.raises(BenchError, match=r"shards hold .* more than data.shard_cache_gb=0.0001, .* "
                       r"data.shuffle_block=\d+"):  # fmt: skip
        data_of(shards=served.url, shard_cache_gb=1e-4).setup("fit")
    with pytest.raises(BenchError, match=r"data.shuffle_block=4 goes through .* lower the one"):
        data_of(shards=served.url, shard_cache_gb=1e-4, shuffle_block=4).setup("fit")

    data_of(shards=served.url, shard_cache_gb=1e-4).setup("test")


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, r"clips-000001.tar in data.shards is missing, expected \d+ bytes; copy it"),
        (shorten, r"clips-000001.tar in data.shards has \d+ bytes, expected \d+ bytes"),
        (spoil, r"clips-000001.tar in data.shards is damaged: its sha256"),
    ],
)
@pytest.mark.parametrize("is_remote", [False, True])
def test_a_shard_that_is_not_whole_is_named(
    shards: Path, served: Served, damage: Callable[[Path], None], words: str, is_remote: bool
):
    damage(shards / "clips-000001.tar")
    data = data_of(shards=served.url if is_remote else str(shards))

    with pytest.raises(BenchError, match=words):
        all_batches(data)


def test_a_damaged_index_or_list_is_named(shards: Path):
    spoil(shards / "places.npy")
    with pytest.raises(BenchError, match=r"places.npy in data.shards is damaged"):
        assert data_of(shards=str(shards)).report
    shutil.copy(shards / "names.npy", shards / "places.npy")
    (shards / "root" / "train.txt").unlink()
    with pytest.raises(BenchError, match=r"is damaged"):
        assert data_of(shards=str(shards)).report


def edited(shards: Path, change: Callable[[dict[str, Any]], object]) -> VggSs:
    manifest = json.loads((shards / "manifest.json").read_text())
    change(manifest)
    (shards / "manifest.json").write_text(json.dumps(manifest))
    return data_of(shards=str(shards))


@pytest.mark.parametrize("name", ["../out.tar", "/etc/passwd", "a/../../b", "a/..", "..", "a\\b"])
def test_a_manifest_that_leads_out_of_its_folder_is_refused(shards: Path, name: str):
    with pytest.raises(BenchError, match=r"names '.*', which leads out of the folder"):
        assert edited(shards, lambda found: found["files"].update({name: {}})).report


def test_a_manifest_of_another_format_and_a_broken_one_are_refused(shards: Path):
    with pytest.raises(BenchError, match=r"has format 9, and this version reads 1"):
        assert edited(shards, lambda found: found.update(format=9)).report
    (shards / "manifest.json").write_text("{")
    with pytest.raises(BenchError, match=r"manifest.json in data.shards is damaged"):
        assert data_of(shards=str(shards)).report


def test_shards_judged_by_other_rules_are_read_with_a_warning(
    shards: Path, caplog: pytest.LogCaptureFixture
):
    assert edited(shards, lambda found: found.update(check=0)).report

    assert "verified by other rules" in caplog.text


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("nowhere", r"data.shards has no manifest.json; give the folder or URL"),
        ("s3://user:secret@bucket/a", r"data.shards holds a user name or password; leave it out"),
        ("abfs://user:secret@account/a", r"data.shards holds a user name or password"),
        ("s3://user:secret@[x/a", r"data.shards is no URL: correct what follows ://"),
        ("abfs://box@account.dfs.core.windows.net/a", r"data.shards cannot be opened: .*adlfs"),
        ("nope://bucket/a", r"data.shards cannot be opened: Protocol not known: nope"),
        ("http://127.0.0.1:1/a", r"data.shards cannot be read at manifest.json"),
    ],
)
def test_a_location_that_cannot_be_read_is_an_error_in_words(location: str, words: str):
    with pytest.raises(BenchError, match=words) as caught:
        assert data_of(shards=location).report

    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def killed(root: Path, out: Path, seconds: float) -> bool:
    """Whether a process that packs was still at it when it was killed."""
    plan = plan_of(data_of(root=str(root)), root, shard_bytes=SMALL)
    process = get_context("fork").Process(target=write_shards, args=(plan, out))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode != 0


def test_a_packing_killed_at_any_time_ends_with_the_files_of_one_never_killed(
    root: Path, shards: Path, tmp_path: Path
):
    out = tmp_path / "killed"
    rng = np.random.default_rng(0)
    kills = sum(killed(root, out, rng.uniform(0.0, 0.06)) for _ in range(8))

    pack(root, out)

    assert contents(shards) == contents(out)
    assert kills > 0


def test_whole_shards_of_a_killed_packing_are_taken_over(root: Path, shards: Path):
    (shards / "manifest.json").unlink()
    (shards / "clips-000002.tar").unlink()
    kept = {path.name: path.stat().st_ino for path in shards.glob("*.tar")}

    pack(root, shards)

    now = {path.name: path.stat().st_ino for path in shards.glob("*.tar")}
    assert kept == {name: now[name] for name in kept}
    assert {*kept, "clips-000002.tar"} == set(now)


@pytest.mark.parametrize("damage", [Path.unlink, shorten, spoil])
def test_the_same_command_again_mends_what_is_damaged(
    root: Path, shards: Path, damage: Callable[[Path], None]
):
    before = contents(shards)
    damage(shards / "clips-000001.tar")

    pack(root, shards)

    assert before == contents(shards)


def test_a_file_that_changed_is_packed_anew(root: Path, shards: Path, tmp_path: Path):
    (shards / "manifest.json").unlink()
    changed = next((root / "frames").glob(f"{TRAIN[0]}.*"))
    content = bytearray(changed.read_bytes())
    os.utime(changed, (10**9, 10**9))
    changed.write_bytes(content)
    os.utime(changed, (10**9 + 5, 10**9 + 5))

    pack(root, shards)

    assert contents(pack(root, tmp_path / "anew")) == contents(shards)


def test_a_folder_with_anything_else_is_refused(root: Path, shards: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(BenchError, match=r"holds thesis.tex; give --out a new folder"):
        pack(root, tmp_path / "mine")
    (root / "train.txt").write_text("\n".join(TRAIN[:3]))
    with pytest.raises(BenchError, match=r"holds .*; give --out a new folder"):
        pack(root, shards)


def test_a_disk_that_is_too_small_is_an_error_before_anything_is_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 10**5))
    with pytest.raises(BenchError, match=r"need 0.000\d+ GB more and .* has 0.0001 GB free"):
        pack(root, tmp_path / "out")

    assert [] == list((tmp_path / "out").glob("*.tar"))


def test_the_estimate_is_what_is_written(root: Path, shards: Path):
    plan = plan_of(data_of(root=str(root)), root, shard_bytes=SMALL)

    written = sum(path.stat().st_size for path in (*shards.glob("*.tar"), *shards.glob("*.npy")))
    assert plan.bytes == pytest.approx(written, abs=len(plan.shards) * 10240 + 1024)


def seen_by_this_rank() -> tuple[list[int], list[int]]:
    """Training rows of an epoch and test rows that this rank reads out of shards of its own."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVLOC_CACHE", f"{folder}/cache")
        root = write_root(Path(folder) / "root")
        data = data_of(shards=str(pack(root, Path(folder) / "shards")), shuffle_block=2)
        place = SimpleNamespace(global_rank=dist.get_rank(), world_size=dist.get_world_size())
        data.trainer = place  # type: ignore[assignment]
        data.setup("fit")
        own, *_ = data.test_dataloader()
        return ([row for batch in data.train_dataloader() for row in batch.clip.index.tolist()],
                [row for batch in own for row in batch.clip.index.tolist()])  # fmt: skip


def test_two_ranks_see_each_clip_of_the_shards_once(
    on_two_processes: Callable[[Callable[[], Any]], list[Any]],
):
    ranks = on_two_processes(seen_by_this_rank)

    train = [row for rows, _ in ranks for row in rows]
    test = [row for _, rows in ranks for row in rows]
    assert len(set(train)) == len(train) == 6, "7 clips, batches of 2: one clip is left out"
    assert [0, 1, 2] == sorted(test)
