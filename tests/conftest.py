"""Fixtures that several packages share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real annotation files, or a skip where it is absent."""
    folder = Path(os.environ.get("AVLOC_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "annotations").is_dir():
        pytest.skip(f"real annotation files not found in {folder}; set AVLOC_SHARED_DATA")
    return folder
