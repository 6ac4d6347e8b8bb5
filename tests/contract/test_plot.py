"""`bench table NAME --plot FILE.png`: figures of shipped experiments out of accepted records."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

Bench = Callable[..., Any]


def test_a_shipped_figure_is_drawn_beside_its_table(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "figure2.png"

    done = bench("table", "hardpos_figure2", "--on", "synthetic", "--plot", path)

    assert done.code == 0, done.err
    assert "Vanilla-LVS" in done.out
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape[0] > 400


def test_a_table_without_a_figure_is_one_clear_line(bench: Bench, tmp_path: Path) -> None:
    done = bench("table", "hardpos_table1", "--on", "synthetic", "--plot", tmp_path / "a.png")

    assert done.code == 2
    assert done.out == ""
    assert "experiment hardpos_table1 has no figure; leave --plot out" in done.err
    assert len(done.err.strip().splitlines()) == 1
