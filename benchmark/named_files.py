"""Files of weights that settings name: a score depends on what is in them, not where they lie."""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from datamodules.cache import file_sha256
from methods.streams import weights_file

NAMES_FILE = re.compile(r"method\.(pretrained\w*|object_guidance)|data\.proposal_model")


def named_files(values: Mapping[str, object]) -> dict[str, str]:
    """sha256 of every file that a setting names, by setting; of a run's folder that of its weights.

    The name of a hub or of a stage has none, nor has a file that is not there: whoever loads it
    tells.

    Args:
        values: dotted settings.

    Raises:
        BenchError: a path begins with a ``~user`` that is nobody's.
    """
    files = {
        key: weights_file(str(value))
        for key, value in values.items()
        if value and NAMES_FILE.fullmatch(key)
    }
    return {key: _sha256(file, file.stat().st_mtime_ns) for key, file in files.items()
            if file.is_file()}  # fmt: skip


@lru_cache
def _sha256(file: Path, changed: int) -> str:
    """Of a file as it was when it was last changed; a grid of runs asks for it many times."""
    return file_sha256(file)
