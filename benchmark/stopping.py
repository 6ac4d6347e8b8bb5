"""How a command ends when it is told to, alone or as one of several processes."""

import _thread
import os
import signal
import sys
import time
from types import FrameType

DONE, STOPPED = 0, 75  # exit codes; after the second the same command goes on
STOPPED_LINE = (
    b"bench: stopped; give the same command again (a run goes on from its last whole epoch)\n"
)
STOP_SECONDS = 20.0  # SLURM kills 30 s after SIGTERM


class Stop:
    """Handler of SIGTERM and SIGINT: ends the command where it is, with exit code 75.

    All that is kept is written as a whole or not at all, so any place is a good one.
    """

    def __init__(self) -> None:
        self.asked = False
        self.process = os.getpid()
        self.code = DONE if is_further_process() else STOPPED  # the first one's code is the run's
        self.over = False  # the command has ended, and its process may live on

    def __call__(self, signal_number: int, frame: FrameType | None) -> None:
        """Raises SystemExit in the main thread, or ends a process of a loader."""
        if os.getpid() != self.process:  # of a loader, which ends with its parent
            if signal_number == signal.SIGTERM:
                os._exit(STOPPED)
            return
        if self.asked:
            return
        self.asked = True
        _thread.start_new_thread(self._end_late, ())  # without the locks of threading
        if not is_further_process():
            os.write(2, STOPPED_LINE)  # print may be what was interrupted
        raise SystemExit(self.code)

    def _end_late(self) -> None:
        """Ends what swallowed the exit, such as a destructor that ran when the signal came."""
        time.sleep(STOP_SECONDS)
        if not self.over:
            os._exit(self.code)


def is_further_process() -> bool:
    """Whether this is one of the processes that a run has beside its first."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def end_with_parent(parent: int) -> None:
    """Ends this process once its parent has ended, without whom it would wait for ever."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(STOPPED)


def leave_group(code: int) -> None:
    """Ends one of several processes at once; to part in order they would have to meet."""
    if "LOCAL_RANK" in os.environ:
        sys.stdout.flush()
        os._exit(code)
