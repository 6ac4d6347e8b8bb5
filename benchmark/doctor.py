"""What `bench doctor` says of a data set: for people as tables, for machines as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from datamodules.inspection import FileState, Inspection
from datamodules.video_sets import SAME_CLIPS, VIDEO_SETS

SHOWN = 5  # ids named for each defect; --json has them all


def inspection_dict(found: Inspection) -> dict[str, object]:
    """The same as plain JSON values, with the verdict."""
    return {**asdict(found), "complete": found.is_complete}


def inspection_tables(found: Inspection) -> RenderableType:
    """Lists, leakage, annotations and files of a data set, and what to do."""
    parts: list[RenderableType] = [_lists(found)]
    if found.leakage:
        parts.append(_leakage(found))
    parts.append(_files(found))
    parts += [Text(line) for line in _lines(found)]
    return Group(*parts)


def _lists(found: Inspection) -> Table:
    table = Table(title=f"{found.data}: lists", title_justify="left")
    for column in ("list", "use", "ids", "repeated rows", "sha256"):
        number = column in ("ids", "repeated rows")
        table.add_column(column, justify="right" if number else "left")
    for each in found.lists:
        table.add_row(escape(each.name), each.use, f"{each.n:,}", str(each.repeated),
                      each.sha256[:16])  # fmt: skip
    return table


def _leakage(found: Inspection) -> Table:
    table = Table(title="test clips in training lists", title_justify="left")
    for column in ("training list", "test list", "clips", "videos"):
        table.add_column(column, justify="right" if column in ("clips", "videos") else "left")
    for each in found.leakage:
        table.add_row(escape(each.train), escape(each.test), f"{each.clips:,}", f"{each.videos:,}")
    return table


def _files(found: Inspection) -> Table:
    table = Table(title="files", title_justify="left")
    uses = [use for use, media in found.media.items() if media.expected]
    table.add_column("")
    for use in uses:
        table.add_column(use, justify="right")
    kinds = ("expected", "present", "missing", "unreadable", "silent", "wrong length", "duplicates")
    for kind in kinds:
        table.add_row(kind, *(_count(found.media[use], kind) for use in uses))
    return table


def _count(media: FileState, kind: str) -> str:
    value = getattr(media, kind.replace(" ", "_"))
    return f"{value if isinstance(value, int) else len(value):,}"


def _lines(found: Inspection) -> Iterator[str]:
    boxes = found.boxes
    if boxes.total:
        whole = "" if boxes.degenerate or boxes.without else ", each with extent inside the frame"
        yield f"boxes: {boxes.total:,}{whole}"  # what is wrong with others, a note tells
    for use, media in found.media.items():
        for word, ids in (
            ("missing", media.missing),
            ("silent", media.silent),
            ("of unusual length", [f"{i} ({s:g} s)" for i, s in media.wrong_length.items()]),
            ("equal bytes", [" = ".join(group) for group in media.duplicates]),
            ("unreadable", [f"{i} ({reason})" for i, reason in media.unreadable.items()]),
        ):
            if ids:
                yield f"{use}, {word}{_named(ids)}"
    yield from (f"note: {note}" for note in found.notes)
    if found.is_miniature:
        yield "a miniature made by bench sample-data: no run on it is ranked"
    test = found.media["test"]
    if found.is_complete:
        yield f"The test set is complete: {test.expected:,} samples."
    elif found.annotation_defect is not None:
        yield (
            "The test set is NOT complete: its annotations cannot be read, as the note says, and "
            f"every run is refused. {test.usable:,} of {test.expected:,} samples of "
            f"{found.lists[0].name} can be used."
        )
    else:
        yield (
            f"The test set is NOT complete: {test.usable:,} of {test.expected:,} samples can be "
            f"used. Every run says so and is not ranked.{_remedy(found)}"
        )


def _remedy(found: Inspection) -> str:
    """How to make what is missing, where it can be made of videos."""
    name = SAME_CLIPS.get(found.data, found.data)
    if name not in VIDEO_SETS:
        return ""
    command = f"bench prepare {name} --videos DIR --root {found.root or 'DIR'}"
    return f" Cut what is missing from the videos with: {command}"


def _named(ids: Sequence[str]) -> str:
    if not ids:
        return ""
    return f": {', '.join(ids[:SHOWN])}{', ...' if len(ids) > SHOWN else ''}"
