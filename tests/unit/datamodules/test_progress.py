"""The progress bar tells the rate."""

from rich.progress import Progress

from datamodules.progress import rate_column


def test_the_rate_is_that_of_the_last_steps() -> None:
    clock = iter(range(0, 100, 2))
    progress = Progress(get_time=lambda: float(next(clock)), disable=True)
    progress.add_task("work", total=20)
    (task,) = progress.tasks
    column = rate_column()

    before = column.render(task).plain
    for _ in range(4):
        progress.advance(task.id, 3)

    assert "" == before
    assert "1.5/s" == column.render(task).plain
