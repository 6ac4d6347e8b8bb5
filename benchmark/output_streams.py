"""Standard output and errors that nobody may be reading, for a command whose verdict counts."""

import os
import sys
from typing import TextIO, cast

STREAMS = {"stdout": 1, "stderr": 2}  # by the number of their file


class Unminded:
    """A stream of text that says nothing more once its reader has gone.

    The command goes on, so that its exit code is the one it would have had.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Writes the text; its length."""
        try:
            return self.stream.write(text)
        except BrokenPipeError:
            self._silence()
            return len(text)

    def flush(self) -> None:
        """Hands on what is kept back."""
        try:
            self.stream.flush()
        except BrokenPipeError:
            self._silence()

    def _silence(self) -> None:
        """Lets what is kept back, and all that follows, go nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)


def need_no_reader() -> None:
    """Lets this process write to standard output and errors whether or not anybody reads them.

    Where one was closed before the process began, it leads nowhere.
    """
    for name, number in STREAMS.items():
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)  # takes the first free number
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            stream = open(number, "w", encoding="utf-8")  # noqa: SIM115  # as long as the process
        setattr(sys, name, cast("TextIO", Unminded(stream)))
