"""Paths as a user writes them."""

from pathlib import Path

from metrics.errors import BenchError


def expanded(path: str | Path) -> Path:
    """The path with a leading ``~`` or ``~user`` replaced by that user's own folder.

    Raises:
        BenchError: there is no such user on this machine.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise BenchError(
            f"{path}: there is no folder of {Path(path).parts[0]} on this machine; write the path "
            f"in full, or as ./{path}"
        ) from error
