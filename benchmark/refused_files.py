"""Which file a disk or its owner refused, in words."""

import errno
from typing import cast

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)


def refused_file(error: Exception) -> str | None:
    """In words, which file the disk or its owner refuses; None where it is another error."""
    if not _is_refused(error):
        return None
    first: BaseException = error
    while error.__context__ is not None:  # while that was told, logs may have failed like it
        error = cast("Exception", error.__context__)
        first = error if _is_refused(error) and getattr(error, "filename", None) else first
    assert isinstance(first, OSError), "as is every refused one"
    full = first.errno in NO_ROOM
    return (
        f"{'there is no room for' if full else 'you may not open or write'} "
        f"{first.filename or 'the output'} ({first.strerror}); "
        f"{'make room' if full else 'allow it'}, or choose another place by logging.runs=DIR for "
        "runs and AVLOC_CACHE for what is kept between them; the same command goes on from what is "
        "finished"
    )


def _is_refused(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (*NO_ROOM, *NO_RIGHT)
