"""Which file a disk, its owner or its name refused, in words."""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast


class Refusal(NamedTuple):
    """What a file is refused for, before its name, and what its user may do."""

    words: str
    remedy: str


NO_ROOM = Refusal("there is no room for", "make room")
NO_RIGHT = Refusal("you may not open or write", "allow it")
IN_THE_WAY = Refusal("a file stands in the way of the folder", "move that file away")
A_FOLDER = Refusal("a folder stands in the way of the file", "move it away")
TOO_LONG = Refusal("the name is too long of", "shorten it")
REFUSALS = {
    errno.ENOSPC: NO_ROOM,
    errno.EDQUOT: NO_ROOM,
    errno.EFBIG: NO_ROOM,
    errno.EACCES: NO_RIGHT,
    errno.EPERM: NO_RIGHT,
    errno.EROFS: NO_RIGHT,
    errno.EEXIST: IN_THE_WAY,
    errno.ENOTDIR: IN_THE_WAY,
    errno.EISDIR: A_FOLDER,
    errno.ENAMETOOLONG: TOO_LONG,
}
OF_A_RUN = (
    "logging.runs=DIR for runs and AVLOC_CACHE for what is kept between them; the same command "
    "goes on from what is finished"
)


def refused_file(error: Exception, options: Mapping[str, object]) -> str | None:
    """In words, which file is refused, and why; None where it is another error.

    Args:
        error: that ended a command.
        options: of its line, by name; with ``takes_settings`` where it may set ``logging.runs``.
    """
    if not _is_refused(error):
        return None
    first: BaseException = error
    while error.__context__ is not None:  # while that was told, logs may have failed like it
        error = cast("Exception", error.__context__)
        first = error if _is_refused(error) and getattr(error, "filename", None) else first
    assert isinstance(first, OSError), "as is every refused one"
    words, remedy = REFUSALS[first.errno or 0]
    option = _option_of(str(first.filename), options)
    place = option or (OF_A_RUN if options.get("takes_settings") else None)
    return (
        f"{words} {first.filename or 'the output'} ({first.strerror}); {remedy}, or choose another "
        f"place{'' if place is None else f' by {place}'}"
    )


def _option_of(file: str, options: Mapping[str, object]) -> str | None:
    """The option whose path a file is, lies below or leads to; None where there is none."""
    path = Path(file)
    for name, value in options.items():
        if isinstance(value, Path) and (value in (path, *path.parents) or path in value.parents):
            return f"--{name.replace('_', '-')}"
    return None


def _is_refused(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in REFUSALS
