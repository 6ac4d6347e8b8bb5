"""Which files `bench predict` may write: new ones and its own older ones, never what is read."""

import zipfile
from collections.abc import Iterable, Sequence
from os import W_OK, access
from pathlib import Path

from benchmark.predictions import OWN, SWAPPED
from datamodules.video_streams import MP4_HEAD
from metrics.errors import BenchError

PNG_START = b"\x89PNG\r\n\x1a\n"
FILES_OF_A_RUN = (OWN, SWAPPED, "samples.png")


def check_outputs(
    picture: Path, maps: Path | None, inputs: Sequence[Path], *, film: Path | None = None
) -> None:
    """Nothing, or an error before any work is done where a file should not be written.

    Args:
        picture: path of ``--out``; an older picture there is replaced.
        maps: path of ``--npz``; an older archive of maps there is replaced.
        inputs: files that are read.
        film: path beside ``--out``; an older film there is replaced.

    Raises:
        BenchError: the name has another ending, the folder is absent or read-only, or what is
            there is an input, a result of a run or another kind of file.
    """
    _check_output(picture, ".png", inputs, "give --out another FILE.png")
    if maps is not None:
        _check_output(maps, ".npz", inputs, "give --npz another FILE.npz")
    if film is not None:
        remedy = "give --out another FILE.png, beside which the film is written"
        _check_output(film, ".mp4", inputs, remedy)


def check_in_folder(out: Path, names: Iterable[str], inputs: Sequence[Path]) -> None:
    """Nothing, or an error where one of many answers should not be written into a folder.

    Args:
        out: folder of ``--out``, which is there.
        names: of the files, whose endings are those of :func:`check_outputs`.
        inputs: files that are read.

    Raises:
        BenchError: see :func:`check_outputs`.
    """
    for name in names:
        path = out / name
        _check_output(path, path.suffix, inputs, "give --out another folder")


def _check_output(path: Path, ending: str, inputs: Sequence[Path], remedy: str) -> None:
    def refuse(reason: str) -> BenchError:
        return BenchError(f"{path} is not written ({reason}); {remedy}")

    if path.suffix.lower() != ending:
        raise refuse(f"its name does not end in {ending}")
    if not path.parent.is_dir():
        raise refuse(f"{path.parent} is no folder")
    if not access(path.parent, W_OK):
        raise refuse(f"{path.parent} may not be written to")
    if not path.exists():
        return
    if path.name in FILES_OF_A_RUN and (path.parent / "record.json").exists():
        raise refuse("it is a result of the run")
    if any(given.exists() and path.samefile(given) for given in inputs):
        raise refuse("it is read")
    if not (path.is_file() and _is_of_kind(path, ending)):
        raise refuse("it is there and is another kind of file")


def _holds_maps(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return {"id.npy", "heatmap.npy"} <= set(archive.namelist())
    except zipfile.BadZipFile:
        return False


def _is_of_kind(path: Path, ending: str) -> bool:
    if ending == ".npz":
        return _holds_maps(path)
    with path.open("rb") as stream:
        start = stream.read(8)
    return start[4:] == MP4_HEAD if ending == ".mp4" else start == PNG_START
