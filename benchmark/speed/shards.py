"""Stage ``shards``: packing a data root, and reading it from folders, shards and a store.

The field keeps a file for each frame and each sound, so that is the peer. What grows with the
number of clips is measured at ``MANY`` clips, by names alone.
"""

import json
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread

import numpy as np
import torch
from torch import Tensor

from benchmark.speed.harness import Amount, Claim, Comparison, Measurable, Setting, own_cache
from datamodules.base import Split
from datamodules.cache import FileEntry, file_entry
from datamodules.clip import Inputs
from datamodules.clip_folder import CHECK_VERSION, ClipFiles, ClipFolder
from datamodules.folder_clips import FolderConfig
from datamodules.layouts import FLAT, IMAGES
from datamodules.media import frame_defect, sound_defect
from datamodules.sample_data import write_sample
from datamodules.sampling import Rows, shuffled_rows
from datamodules.shard_writer import ShardPlan, plan_of, plan_shards, write_shards
from datamodules.shards import (
    FORMAT,
    MANIFEST,
    NAMES,
    PLACE,
    PLACES,
    SHARD,
    ShardFolder,
    ShardManifest,
    Shards,
)
from datamodules.vggss import VggSs

SHARD_BYTES = 16 * 10**6
INPUTS = Inputs(image_size=224, sample_rate_hz=16000, segment_seconds=3.0)
MANY = 2_000_000
LOOKED_UP = 1000
EVERYTHING = 1e6  # GB


def comparisons(setting: Setting) -> Iterator[Measurable]:
    """Packing, reading, finding and ordering, on a miniature of VGG-SS and on names alone."""
    clips, names, many = (16, 50, 10_000) if setting.quick else (240, 5000, MANY)
    with tempfile.TemporaryDirectory() as place, own_cache(Path(place) / "cache"):
        folder = Path(place)
        write_sample("vggss", folder / "root", clips=clips)
        plan = plan_of(_of_root(folder / "root"), folder / "root", shard_bytes=SHARD_BYTES)
        write_shards(plan, folder / "shards")
        fresh = map(str, count())
        size = plan.bytes / plan.clips
        yield Comparison(
            name="verifying the files of a clip",
            item="clip",
            items=plan.clips,
            ours=partial(_defects, plan),
            note="decoding all of each image; of 16-bit sounds the header and the size",
        )
        yield Comparison(
            name=f"packing clips of {size / 1000:.0f} kB",
            item="clip",
            items=plan.clips,
            ours=lambda: write_shards(plan, folder / "packed" / next(fresh)),
            note=f"{plan.clips} clips, {plan.bytes / 1e6:.0f} MB",
        )
        yield _reading(folder, plan.clips)
        yield from _fetching(folder, plan.clips)
        yield from _listing(folder / "listed", names)
        yield from _ordering(many)
        yield _finding(folder / "found", many)


def _defects(plan: ShardPlan) -> int:
    paths = [each.path for shard in plan.shards for clip in shard for each in clip]
    found = (frame_defect(path) if path.suffix in IMAGES else sound_defect(path) for path in paths)
    return sum(reason is not None for reason in found)


def _of_root(root: Path) -> VggSs:
    return VggSs(FolderConfig(root=str(root), allow_leakage=True), INPUTS, seed=0)


def _of_shards(location: str) -> VggSs:
    config = FolderConfig(shards=location, allow_leakage=True, shard_cache_gb=EVERYTHING)
    return VggSs(config, INPUTS, seed=0)


def _items(data: VggSs) -> list[tuple[Tensor, Tensor]]:
    """Frame and 3 s of sound of every clip, as a method gets them."""
    rows = ((split, row) for split, listed in data.report.splits.items()
            for row in range(len(listed)))  # fmt: skip
    return [(data.frames(split, row), data.waveform(split, row)) for split, row in rows]


def _same(peer: list[tuple[Tensor, Tensor]], ours: list[tuple[Tensor, Tensor]]) -> Iterator[Claim]:
    equal = (torch.equal(a, b) for one, other in zip(peer, ours, strict=True)
             for a, b in zip(one, other, strict=True))  # fmt: skip
    yield Claim("frames and sounds equal", all(equal))


def _reading(folder: Path, clips: int) -> Measurable:
    files, packed = _of_root(folder / "root"), _of_shards(str(folder / "shards"))
    return Comparison(
        name="frame and 3 s of sound from shards",
        item="clip",
        items=len(_items(files)),
        peer=lambda: _items(files),
        ours=lambda: _items(packed),
        claims=_same,
        note=f"{clips} clips on the same disk, in memory after the first round",
    )


class _Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a line per request."""

    def log_message(self, *words: object) -> None:
        """Says nothing."""


def _fetching(folder: Path, clips: int) -> Iterator[Measurable]:
    """The store is a server in this process."""
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(_Quiet, directory=str(folder / "shards"))
    )
    Thread(target=server.serve_forever, daemon=True).start()
    shards = Shards(f"http://127.0.0.1:{server.server_address[1]}", EVERYTHING)

    def fetch() -> None:
        for name in shards.manifest["shards"]:
            shards.path(name).unlink()  # of the round before
            shards.path(name)

    yield Comparison(name="fetching shards over loopback", item="clip", items=clips, ours=fetch,
                     note="the server's part included; checked by sha256")  # fmt: skip
    server.shutdown()
    server.server_close()


def _listing(folder: Path, clips: int) -> Iterator[Measurable]:
    """Which of so many clips are here, looked up anew; the files hold a byte each."""
    ids = [f"{row:011d}_000010" for row in range(clips)]
    for name in ("frames", "audio"):
        (folder / "root" / name).mkdir(parents=True)
        suffix = ".jpg" if name == "frames" else ".wav"
        for each in ids:
            (folder / "root" / name / f"{each}{suffix}").write_bytes(b"x")
    (folder / "root" / "train.txt").write_text("\n".join(ids))
    files = [ClipFiles(i, {"frame": f"frames/{i}.jpg", "sound": f"audio/{i}.wav"}) for i in ids]
    write_shards(
        plan_shards(folder / "root", files, {}, shard_bytes=SHARD_BYTES), folder / "shards"
    )
    shards = Shards(str(folder / "shards"), EVERYTHING)

    def here(made: Callable[[], ClipFolder]) -> int:
        found = made()
        return sum(found.frame(i) is not None and found.sound(i) is not None for i in ids)

    yield Comparison(
        name="finding listed clips in shards",
        item="clip",
        items=clips,
        peer=partial(here, lambda: ClipFolder(folder / "root", (FLAT,), "")),
        ours=partial(here, lambda: ShardFolder(shards, (FLAT,), "")),
        claims=lambda peer, ours: [Claim("all are found", peer == ours == clips)],
        note=f"{clips} clips on a local disk; a folder is listed once",
    )
    index = sum((folder / "shards" / name).stat().st_size for name in (NAMES, PLACES))
    yield Amount(name="index of shards", unit="B/clip", ours=lambda: index / clips,
                 note="memory map, shared by all processes of a machine")  # fmt: skip
    yield Amount(name="ids and videos of a split", unit="B/clip", ours=partial(_of_names, clips),
                 note="Python text; workers of a loader share it while nothing writes")  # fmt: skip


def _of_names(clips: int) -> float:
    """Memory of a split per clip."""
    tracemalloc.start()
    ids = tuple(f"{row:011d}_000010" for row in range(clips))
    split = Split("train", ids, tuple(each[:11] for each in ids), (None,) * clips)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / len(split)


def _ordering(rows: int) -> Iterator[Measurable]:
    for block, words in ((None, "any order"), (1000, "data.shuffle_block=1000")):
        yield Comparison(
            name=f"order of an epoch, {words}",
            item="clip",
            items=rows,
            ours=partial(_order, rows, block),
            note=f"{rows} clips",
        )


def _order(rows: int, block: int | None) -> Rows:
    return shuffled_rows(np.random.default_rng(0), rows, block)


def _finding(folder: Path, clips: int) -> Measurable:
    """Look-ups in an index of very many clips; none of the shards is there."""
    rows = np.random.default_rng(0).integers(clips, size=LOOKED_UP)
    shards = Shards(str(_index_alone(folder, clips)), EVERYTHING)

    def find() -> int:
        return sum(f"frames/{row:011d}_000010.jpg" in shards for row in rows)

    assert find() == LOOKED_UP, "every name is in the index"
    return Comparison(name=f"a file among those of {clips} clips", item="file", items=LOOKED_UP,
                      ours=find, note="binary search in a memory map")  # fmt: skip


def _index_alone(folder: Path, clips: int) -> Path:
    folder.mkdir()
    names = [f"{path}/{row:011d}_000010{suffix}" for path, suffix in
             (("audio", ".wav"), ("frames", ".jpg")) for row in range(clips)]  # fmt: skip
    np.save(folder / NAMES, np.array(names, "S"))
    np.save(folder / PLACES, np.zeros(len(names), PLACE))
    shard = FileEntry(bytes=0, sha256="")
    manifest = ShardManifest(
        format=FORMAT,
        check=CHECK_VERSION,
        plan="",
        clips=clips,
        shards={SHARD.format(0): shard},
        files={name: file_entry(folder / name) for name in (NAMES, PLACES)},
        unreadable={},
    )
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder
