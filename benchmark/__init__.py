"""The command line, the runner and what becomes of a run's results."""
