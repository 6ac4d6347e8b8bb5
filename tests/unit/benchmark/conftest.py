"""What tests of several pages and tables build on."""

from pathlib import Path

import pytest


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An empty folder of accepted records."""
    folder = tmp_path / "results"
    folder.mkdir()
    return folder
