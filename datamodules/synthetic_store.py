"""Clips of ``synthetic`` on disk: made once, proved whole at every use, read by memory map."""

import json
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.lib.format import open_memmap

from datamodules.cache import FileEntry, build_folder, file_entries, file_sha256
from datamodules.progress import progress_bar
from datamodules.synthetic_generator import GENERATOR, SPLITS, SyntheticClip, generate_clip
from datamodules.synthetic_settings import (
    SyntheticConfig,
    identity,
    knobs_of,
    num_clips,
    spec_of,
)
from metrics.errors import BenchError


def clips_in(folder: Path, config: SyntheticConfig) -> dict[str, SyntheticClip]:
    """All fields of each split as memory maps, with the clips along a further first axis.

    Args:
        folder: made and filled where it is absent or empty.
        config: its settings must be those of the clips.

    Raises:
        BenchError: the folder cannot be written, or holds anything but these clips, byte for byte.
    """
    if not _is_filled(folder):
        _build(folder, config)
    _verify(folder, config)
    return {split: _stored_clips(folder / split) for split in SPLITS}


def _is_filled(folder: Path) -> bool:
    if folder.is_file():
        raise BenchError(f"data.root={folder} is a file; set data.root to a folder")
    return folder.is_dir() and any(folder.iterdir())


def _build(folder: Path, config: SyntheticConfig) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):
            if not _is_filled(folder):  # another process may have made them meanwhile
                build_folder(folder, partial(_write_all, config=config))
    except OSError as error:
        raise BenchError(
            f"cannot write synthetic clips to {folder} ({error.strerror or error}); "
            "set AVLOC_CACHE or data.root to a folder with space that you may write to"
        ) from error


def _write_all(folder: Path, *, config: SyntheticConfig) -> None:
    counts = num_clips(config)
    with progress_bar(f"making {GENERATOR}, once", sum(counts.values())) as advance:
        for split, count in counts.items():
            _write_split(folder / split, config, count, advance)
    description = {**identity(config), "files": file_entries(folder, "*/*.npy")}
    (folder / "spec.json").write_text(json.dumps(description, indent=1) + "\n")


def _write_split(
    folder: Path, config: SyntheticConfig, count: int, advance: Callable[[], None]
) -> None:
    """Makes clips one by one into arrays on disk; memory does not grow with their number."""
    folder.mkdir()
    clip_at = partial(
        generate_clip,
        config.generator_seed,
        spec=spec_of(config),
        knobs=knobs_of(config),
        split=folder.name,
    )
    arrays = {
        field: open_memmap(folder / f"{field}.npy", "w+", values.dtype, (count, *values.shape))
        for field, values in clip_at(0)._asdict().items()
        if values is not None
    }
    for row in range(count):
        clip = clip_at(row)
        for field, array in arrays.items():
            array[row] = getattr(clip, field)
        advance()
    for array in arrays.values():
        array.flush()


def _verify(folder: Path, config: SyntheticConfig) -> None:
    """Refuses a folder of other settings, and one in which any byte differs from its record."""
    path = folder / "spec.json"
    try:
        description = json.loads(path.read_text())
        files = dict(description.pop("files"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchError(
            f"{folder} is not empty and has no readable spec.json of {GENERATOR}; set data.root to "
            "an empty or absent folder"
        ) from error
    remedy = f"delete it (rm -r {shlex.quote(str(folder))}) or set data.root to another folder"
    if description != identity(config):
        raise BenchError(f"{path} describes clips of other data.* settings; {remedy}")
    wrong = first_difference(folder, files)
    if wrong is not None:
        raise BenchError(f"the synthetic clips in {folder} are damaged: {wrong}; {remedy}")


def first_difference(folder: Path, entries: dict[str, FileEntry]) -> str | None:
    """What is wrong with the first file that is not as its entry says; None if all are.

    Sizes are compared first, so a truncated file is found without reading any.
    """
    for name, entry in entries.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        size = path.stat().st_size
        if size != entry["bytes"]:
            return f"{name} has {size} bytes, expected {entry['bytes']}"
    for name, entry in entries.items():
        if file_sha256(folder / name) != entry["sha256"]:
            return f"{name} does not have the sha256 in spec.json"
    return None


def _stored_clips(folder: Path) -> SyntheticClip:
    """Memory maps of a split, as plain arrays: indexing those is several times faster."""
    files = {field: folder / f"{field}.npy" for field in SyntheticClip._fields}
    return SyntheticClip(
        **{
            field: np.asarray(np.load(path, mmap_mode="r"))
            for field, path in files.items()
            if path.is_file()
        }
    )
