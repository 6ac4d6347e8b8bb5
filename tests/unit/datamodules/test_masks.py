import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from datamodules.masks import mask_files, read_mask
from metrics.errors import BenchError

SHAPE = np.zeros((20, 30), dtype=bool)
SHAPE[5:15, 10:25] = True


def written(path: Path, mode: str = "L", shape: np.ndarray = SHAPE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "I;16":
        Image.fromarray(shape.astype(np.uint16) * 256).save(path)  # 0 in the low byte
    else:
        Image.fromarray(shape.astype(np.uint8) * 255).convert(mode).save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "LA", "RGBA", "I;16"])
def test_what_is_not_zero_sounds_in_every_coding(tmp_path: Path, mode: str) -> None:
    assert np.array_equal(SHAPE, read_mask(written(tmp_path / "a.png", mode)))


def test_one_colour_channel_is_enough(tmp_path: Path) -> None:
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    image[SHAPE, 2] = 1
    cv2.imwrite(str(tmp_path / "a.png"), image)

    assert np.array_equal(SHAPE, read_mask(tmp_path / "a.png"))


def test_ids_are_paths_below_the_folder(tmp_path: Path) -> None:
    paths = [written(tmp_path / name) for name in ("b.png", "a/c/1.png", "A.PNG")]
    (tmp_path / "._b.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no mask")

    files = mask_files(tmp_path)

    assert list(files.items()) == [("A", paths[2]), ("a/c/1", paths[1]), ("b", paths[0])]


def test_a_folder_without_masks_has_none(tmp_path: Path) -> None:
    (tmp_path / "1.xml").write_text("<annotation/>")

    assert mask_files(tmp_path) == {}


def test_two_masks_of_one_id_are_named(tmp_path: Path) -> None:
    written(tmp_path / "a.png")
    written(tmp_path / "a.PNG")

    with pytest.raises(BenchError, match=r"a\.(png|PNG) and .*a\.(png|PNG) are masks of one id"):
        mask_files(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_mask_is_named(tmp_path: Path, share: float) -> None:
    content = written(tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: int(share * len(content))])

    with pytest.raises(BenchError, match=r"mask .*a\.png cannot be read: it is (no PNG|truncated)"):
        read_mask(tmp_path / "a.png")


def test_a_damaged_mask_is_named(tmp_path: Path) -> None:
    content = bytearray(written(tmp_path / "a.png").read_bytes())
    start = content.index(b"IDAT") + 4
    content[start : start + 8] = bytes(8)
    (tmp_path / "a.png").write_bytes(content)

    with pytest.raises(BenchError, match=r"mask .*a\.png cannot be read: it is damaged; .*DIR"):
        read_mask(tmp_path / "a.png")


def test_a_mask_of_too_many_pixels_is_named(tmp_path: Path) -> None:
    content = bytearray(written(tmp_path / "a.png").read_bytes())
    start = content.index(b"IHDR")
    content[start + 4 : start + 12] = (100_000).to_bytes(4, "big") * 2
    content[start + 17 : start + 21] = zlib.crc32(content[start : start + 17]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)

    with pytest.raises(BenchError, match=r"a\.png cannot be read: it is damaged or too large; rep"):
        read_mask(tmp_path / "a.png")


def test_a_photograph_is_no_mask(tmp_path: Path) -> None:
    Image.fromarray(SHAPE).convert("L").save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "a.png")

    with pytest.raises(BenchError, match=r"a\.png cannot be read: it is no PNG"):
        read_mask(tmp_path / "a.png")


def test_a_missing_mask_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"a\.png cannot be read: No such file"):
        read_mask(tmp_path / "a.png")
