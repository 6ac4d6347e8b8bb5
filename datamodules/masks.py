"""Segmentation masks in place of boxes: one PNG file per sample, of any data set."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from metrics.errors import BenchError

START, END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def mask_files(folder: Path) -> dict[str, Path]:
    """Mask files of a folder by id, in the order of the ids.

    The id is the path below the folder without ``.png``, so that ids with slashes are sub-folders.
    Hidden files are not looked at. A folder without masks gives an empty dict.

    Raises:
        BenchError: two files differ in the case of their suffix alone.
    """
    files: dict[str, Path] = {}
    for path in folder.rglob("*.[pP][nN][gG]"):
        below = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in below.parts):
            sample_id = below.with_suffix("").as_posix()
            if sample_id in files:
                raise BenchError(f"{files[sample_id]} and {path} are masks of one id; keep one")
            files[sample_id] = path
    return dict(sorted(files.items()))


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Pixels that sound: those that are not zero in some colour channel.

    Grayscale of 1 to 16 bits, palette and colour images are read; transparency is dropped.

    Args:
        path: PNG file.

    Returns:
        ``(H, W)`` bool, at the size of the file.

    Raises:
        BenchError: the file is missing, damaged, too large or no PNG; the message names it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if not content.startswith(START):
        raise _unreadable(path, "it is no PNG")
    if END not in content:  # some versions of OpenCV fill up what is missing with zeros
        raise _unreadable(path, "it is truncated")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # its header asks for more pixels than OpenCV takes, 2**30
        raise _unreadable(path, "it is damaged or too large") from error
    if image is None:
        raise _unreadable(path, "it is damaged")
    colours = image[..., :3] if image.ndim == 3 else image[..., None]  # (H, W, C)
    sounding: NDArray[np.bool_] = (colours != 0).any(axis=-1)
    return sounding


def _unreadable(path: Path, reason: str) -> BenchError:
    return BenchError(
        f"mask {path} cannot be read: {reason}; replace it or give other --annotations DIR"
    )
