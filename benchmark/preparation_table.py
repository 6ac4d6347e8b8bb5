"""What `bench prepare` has done, for people and for programs."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from datamodules.preparation import Report, in_words
from datamodules.preparation_manifest import MANIFEST
from datamodules.preparation_plan import Options, printable

NAMED_AT_MOST = 20


def preparation_table(options: Options, report: Report) -> RenderableType:
    """Counts, then the clips that could not be made with the reason of each."""
    title = f"bench prepare {options.data}" + (" --dry-run" if options.dry_run else "")
    counts = Table(title=title, title_justify="left", show_header=False)
    counts.add_column()
    counts.add_column(justify="right")
    for name, number in _counts(report).items():
        counts.add_row(name.replace("_", " "), f"{number:,}")
    parts: list[RenderableType] = [counts]
    if report.refused:
        parts.append(_refused_table(report))
    if report.prepared:
        rate = len(report.prepared) / report.seconds
        parts.append(Text(f"{in_words(report.seconds)}, {rate:.1f} clips/s, "
                          f"{report.bytes / 1e9:.3f} GB written"))  # fmt: skip
    if not options.dry_run:
        parts.append(Text(f"Every clip: {options.root / MANIFEST}", overflow="fold"))
    return Group(*parts)


def preparation_json(options: Options, report: Report) -> dict[str, object]:
    """The same for programs; bytes and seconds are numbers, ids are whole lists."""
    estimate = report.estimate
    return {
        "data": options.data,
        "root": str(options.root),
        "manifest": str(options.root / MANIFEST),
        "dry_run": options.dry_run,
        **_counts(report),
        "refused_clips": report.refused,
        "missing_clips": list(report.plan.missing),
        "unnamed_videos": [printable(name) for name in report.plan.unnamed],
        "bytes": report.bytes,
        "seconds": report.seconds,
        "estimate": None if estimate is None else estimate._asdict(),
    }


def _counts(report: Report) -> dict[str, int]:
    plan = report.plan
    return {
        "clips_with_a_video": plan.found,
        "clips_without_a_video": len(plan.missing),
        "videos_in_no_list": plan.unlisted,
        "videos_named_by_no_id": len(plan.unnamed),
        "asked_for": len(plan.jobs),
        "done_before": report.done_before,
        "prepared": len(report.prepared),
        "refused": len(report.refused),
    }


def _refused_table(report: Report) -> Table:
    table = Table(title="Refused", title_justify="left")
    table.add_column("clip", overflow="fold")
    table.add_column("reason", overflow="fold")
    for clip, reason in list(report.refused.items())[:NAMED_AT_MOST]:
        table.add_row(Text(clip), Text(reason))
    if len(report.refused) > NAMED_AT_MOST:
        table.add_row(f"{len(report.refused) - NAMED_AT_MOST:,} more", f"see {MANIFEST}")
    return table
