"""The data set of the tutorial, which readers copy, reads its lists with care."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from datamodules.base import ClipData, DataConfig
from datamodules.clip import Inputs
from metrics.errors import BenchError

EXAMPLE = Path(__file__).parents[3] / "examples" / "your_data" / "your_data.py"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("frames", "sounds"):
        (tmp_path / folder).mkdir()
    for clip_id in ("a", "b", "c"):
        Image.new("RGB", (8, 8)).save(tmp_path / "frames" / f"{clip_id}.jpg")
        soundfile.write(tmp_path / "sounds" / f"{clip_id}.wav", np.zeros(800), 8000)
    (tmp_path / "boxes.csv").write_text("id,xmin,ymin,xmax,ymax\nc,0,0,0.5,0.5\n")
    return tmp_path


def your_data(root: Path) -> ClipData:
    spec = spec_from_file_location("your_data", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    data: ClipData = module.YourData(DataConfig(root=str(root)), Inputs(), seed=0)
    return data


def test_blank_lines_of_a_list_are_no_clips(root: Path) -> None:
    (root / "train.txt").write_text("a\n\n b \n\n")

    report = your_data(root).report

    assert (report.splits["train"].ids, report.train_missing) == (("a", "b"), ())


def test_a_list_in_another_coding_is_refused_in_words(root: Path) -> None:
    (root / "train.txt").write_bytes("caf\u00e9\n".encode("latin-1"))

    with pytest.raises(BenchError, match=r"train\.txt is no text in UTF-8; save it as that"):
        _ = your_data(root).report
