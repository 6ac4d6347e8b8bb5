"""A file that cannot be had is a line that names it and the option that chose it."""

import errno
import os
from pathlib import Path

import pytest

from benchmark.refused_files import refused_file


def refused(number: int, file: object, **options: object) -> str | None:
    return refused_file(OSError(number, os.strerror(number), str(file)), options)


@pytest.mark.parametrize(
    ("number", "words", "remedy"),
    [
        (errno.ENOSPC, "there is no room for", "make room"),
        (errno.EROFS, "you may not open or write", "allow it"),
        (errno.ENAMETOOLONG, "the name is too long of", "shorten it"),
        (errno.EEXIST, "a file stands in the way of the folder", "move that file away"),
        (errno.ENOTDIR, "a file stands in the way of the folder", "move that file away"),
        (errno.EISDIR, "a folder stands in the way of the file", "move it away"),
    ],
)
def test_each_refusal_has_its_words_and_its_remedy(number: int, words: str, remedy: str) -> None:
    assert refused(number, "a/page.md") == (
        f"{words} a/page.md ({os.strerror(number)}); {remedy}, or choose another place"
    )


@pytest.mark.parametrize("file", ["a", "a/b", "a/b/page.md", "a/b/page.md/below"])
def test_the_option_that_led_to_the_file_is_named(file: str) -> None:
    told = refused(errno.EACCES, file, page=Path("a/b/page.md"), seed=3, takes_settings=False)

    assert str(told).endswith("or choose another place by --page")


def test_settings_are_named_where_the_command_takes_some() -> None:
    told = refused(errno.EACCES, "runs/a", root=Path("elsewhere"), takes_settings=True)

    assert "another place by logging.runs=DIR for runs and AVLOC_CACHE for what" in str(told)


def test_the_first_of_several_refusals_is_told() -> None:
    try:
        try:
            raise PermissionError(errno.EACCES, "Permission denied", "first")
        except PermissionError:
            raise OSError(errno.ENOSPC, "No space left on device") from None
    except OSError as error:
        told = refused_file(error, {})

    assert str(told).startswith("you may not open or write first (Permission denied); allow it")


def test_another_error_is_not_refused() -> None:
    assert refused(errno.EIO, "a") is None
    assert refused_file(ValueError("a"), {}) is None
