"""Which clips of a data set can be made from a folder of videos, before any of them is opened."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from datamodules.clip_preparation import AS_IT_IS, Candidate, ClipJob, Form
from datamodules.id_lists import IdList, read_id_list
from datamodules.video_sets import VideoSet, listed_clips, video_set
from metrics.errors import BenchError

NOT_VIDEOS = {  # what lies beside downloaded videos, and downloads that were broken off
    ".jpg", ".jpeg", ".png", ".webp", ".gif", ".json", ".txt", ".csv", ".xml", ".md", ".vtt",
    ".srt", ".wav", ".part", ".ytdl",
}  # fmt: skip
NAMED_AT_MOST = 3


@dataclass(frozen=True)
class Options:
    """What the user asks for."""

    data: str
    videos: Path
    root: Path
    form: Form = AS_IT_IS
    clips: Path | None = None  # list of ids; None takes the lists in the root, or all videos
    limit: int | None = None
    workers: int | None = None  # None is one per core
    dry_run: bool = False


class Video(NamedTuple):
    """A file that may be a video."""

    name: str  # path below the folder of videos
    bytes: int


class Plan(NamedTuple):
    """What there is to do."""

    jobs: tuple[ClipJob, ...]  # clips with a video, up to the limit
    lists: tuple[IdList, ...]  # empty where every video counts
    found: int  # clips with a video
    missing: tuple[str, ...]  # listed clips without one
    unlisted: int  # videos that no list asks for
    unnamed: tuple[str, ...]  # videos whose name is no id


def planned(options: Options) -> Plan:
    """The clips to be made and their videos.

    Raises:
        BenchError: the data set is not made from videos, the folder of videos is missing, a list is
            malformed, or no clip has a video.
    """
    chosen = video_set(options.data)
    videos = found_videos(options.videos)
    cuts = _by_clip(chosen, videos)
    lists = _lists(options, chosen)
    wanted = list(dict.fromkeys(clip for listed in lists for clip in listed.ids))
    if not lists:
        wanted = list(cuts)
    candidates = {clip: _candidates(chosen, clip, cuts, videos) for clip in wanted}
    found = [clip for clip in wanted if candidates[clip]]
    if not found:
        raise BenchError(_nothing_found(options, chosen, len(wanted), len(videos)))
    used = {candidate.name for clip in found for candidate in candidates[clip]}
    needs = chosen.needs(options.root)
    jobs = [
        ClipJob(
            id=clip,
            candidates=candidates[clip],
            needs=needs(clip),
            form=options.form,
            videos=options.videos,
            root=options.root,
            writes=not options.dry_run,
        )
        for clip in found[: options.limit]
    ]
    named = {video.name for each in cuts.values() for video in each}
    names = [video.name for each in videos.values() for video in each if video.name not in used]
    return Plan(
        jobs=tuple(jobs),
        lists=lists,
        found=len(found),
        missing=tuple(clip for clip in wanted if not candidates[clip]),
        unlisted=sum(name in named for name in names),
        unnamed=tuple(name for name in names if name not in named),
    )


def found_videos(folder: Path) -> dict[str, list[Video]]:
    """Files that may be videos, by name without suffix, in order.

    Hidden and special files are left out, and those with a suffix of ``NOT_VIDEOS``. Links are
    followed, each folder once.

    Raises:
        BenchError: there is no such folder.
    """
    if not folder.is_dir():
        raise BenchError(f"{folder} is not a folder; give --videos the folder of the raw videos")
    videos: dict[str, list[Video]] = {}
    seen: set[tuple[int, int]] = set()
    for top, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(top)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            path = Path(top, name)
            if name.startswith(".") or suffix.lower() in NOT_VIDEOS:
                continue
            if path.is_file() or path.is_symlink():  # no pipe or device, whose end never comes
                video = Video(path.relative_to(folder).as_posix(), _size(path))
                videos.setdefault(stem, []).append(video)
    return videos


def plan_lines(options: Options, plan: Plan) -> Iterator[str]:
    """What the user is told of a plan."""
    found = f"{plan.found:,} clips of {options.data} have a video in {options.videos}"
    if plan.lists:
        names = ", ".join(listed.path.name for listed in plan.lists)
        yield f"{found}, {len(plan.missing):,} have none (listed in {names})"
    else:
        yield f"{found} (no list given or in {options.root}: every video with an id as its name)"
    if len(plan.jobs) < plan.found:
        yield f"--limit {options.limit}: the first {len(plan.jobs):,} of them"
    if plan.unlisted:
        yield f"{plan.unlisted:,} other videos are in no list"
    if plan.unnamed:
        named = ", ".join(printable(name) for name in plan.unnamed[:NAMED_AT_MOST])
        more = ", ..." if len(plan.unnamed) > NAMED_AT_MOST else ""
        files = f"{len(plan.unnamed):,} files have a name that is no id of {options.data}"
        yield f"{files}: {named}{more}"


def printable(name: str) -> str:
    """A file name in characters that every terminal and file takes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _lists(options: Options, chosen: VideoSet) -> tuple[IdList, ...]:
    if options.clips is None:
        return listed_clips(chosen, options.root)
    return (read_id_list(options.clips, chosen.form, id_of=chosen.id_of),)


def _by_clip(chosen: VideoSet, videos: Mapping[str, list[Video]]) -> dict[str, list[Video]]:
    """Videos by the clip that their name says they are."""
    clips: dict[str, list[Video]] = {}
    for stem, files in videos.items():
        clip = chosen.clip_of(stem)
        if chosen.form.pattern.fullmatch(clip):
            clips.setdefault(clip, []).extend(files)
    return clips


def _candidates(
    chosen: VideoSet,
    clip: str,
    cuts: Mapping[str, list[Video]],
    videos: Mapping[str, list[Video]],
) -> tuple[Candidate, ...]:
    """Files that hold a clip: those that are it, and then longer ones."""
    found = [Candidate(video.name, video.bytes, 0) for video in cuts.get(clip, ())]
    whole = chosen.whole(clip)
    if whole is not None:
        found += [
            Candidate(video.name, video.bytes, whole.start_seconds)
            for video in videos.get(whole.stem, ())
        ]
    return tuple(found)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a link into the void or into itself, which is refused when it is opened
        return 0


def _nothing_found(options: Options, chosen: VideoSet, wanted: int, videos: int) -> str:
    if wanted:
        what = f"none of the {wanted:,} listed clips has a video among the {videos:,} files"
    else:
        what = f"none of the {videos:,} files is named by an id of {options.data}"
    return f"{what} in {options.videos}; expected names such as {chosen.example}"
