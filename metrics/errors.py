"""The one error type that a user's mistake raises anywhere in the suite."""


class BenchError(Exception):
    """Something the user must change; the message names it and the remedy.

    ``benchmark.cli`` prints the message as one line and exits with code 2.
    Every other exception is a fault of ours and keeps its traceback.
    """
