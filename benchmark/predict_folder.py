"""Maps for a whole folder of one's own pictures, sounds and videos."""

from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.output_files import check_in_folder
from benchmark.predict import Place, draw, predict, write_maps
from benchmark.recorded import Trained
from benchmark.video_strips import draw_video, video_strip
from datamodules.atomic_files import write_json
from datamodules.layouts import IMAGES
from datamodules.progress import progress_bar
from datamodules.proposals import Extractor
from metrics.errors import BenchError

SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi")
MAPS, ANSWERS = "maps.npz", "answers.json"


class OwnFiles(NamedTuple):
    """What a folder holds: a picture goes with the sounds whose names begin like its own."""

    pictures: Mapping[Path, tuple[Path, ...]]  # with the sounds of each, at least one
    videos: tuple[Path, ...]
    alone: tuple[Path, ...]  # pictures without a sound and sounds without a picture

    @property
    def asked(self) -> list[Path]:
        """Pictures and videos in the order of their names."""
        return sorted([*self.pictures, *self.videos])


class FolderAnswers(NamedTuple):
    """What was answered, and what could not be."""

    answers: dict[str, dict[str, Any]]  # by the name of the picture or video
    refused: dict[str, str]  # name -> reason
    alone: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"answers": self.answers, "refused": self.refused, "alone": list(self.alone)}


def files_of(folder: Path) -> OwnFiles:
    """The pictures, sounds and videos that lie in a folder; files of other kinds are left out.

    ``street.jpg`` goes with ``street.wav`` and with ``street.dog.wav``; the latter goes with
    ``street.dog.jpg`` instead where there is one.

    Raises:
        BenchError: there is nothing to ask about, or two answers would have one name.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    sounds = [path for path in files if path.suffix.lower() in SOUNDS]
    images = [path for path in files if path.suffix.lower() in IMAGES]
    stems = {path.stem for path in images}
    stem_of = {sound: _longest_start(sound.name, stems) for sound in sounds}
    pictures = {
        path: tuple(sound for sound in sounds if stem_of[sound] == path.stem) for path in images
    }
    alone = [path for path, own in pictures.items() if not own]
    alone += [sound for sound in sounds if stem_of[sound] is None]
    found = OwnFiles(
        {path: own for path, own in pictures.items() if own},
        tuple(path for path in files if path.suffix.lower() in VIDEOS),
        tuple(sorted(alone)),
    )
    if not found.asked:
        raise BenchError(
            f"{folder} holds no video and no picture with a sound; put street.wav beside "
            "street.jpg, or give --image and --sound"
        )
    asked = [path.stem for path in found.asked]
    twice = next((path for path in found.asked if asked.count(path.stem) > 1), None)
    if twice is not None:
        raise BenchError(
            f"{folder} has several of the name {twice.stem}, whose answers would be one "
            f"{twice.stem}.png; rename all but one"
        )
    return found


def _longest_start(name: str, stems: Set[str]) -> str | None:
    """The longest of the stems that a name begins with, before a dot."""
    return max((stem for stem in stems if name.startswith(f"{stem}.")), key=len, default=None)


def predict_folder(
    trained: Trained, files: OwnFiles, out: Path, extractor: Extractor | None = None
) -> FolderAnswers:
    """Asks a run about all files, and draws each answer.

    A file that cannot be read, or answered, is named with its reason and hides no other.

    Args:
        trained: the run.
        files: of :func:`files_of`.
        out: folder of the pictures, the films, ``maps.npz`` and ``answers.json``; made if absent.
        extractor: of proposals, where the method asks for them.

    Raises:
        BenchError: none of the files could be answered, ``out`` cannot be made or is the folder of
            the files, or an answer would replace what is read or is no older answer; nothing is
            written then.
    """
    if any(path.parent.resolve() == out.resolve() for path in files.asked):
        raise BenchError(
            f"--out {out} is the folder that is asked about, where pictures of answers would be "
            "asked about next time; give --out another folder"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(
            f"{out} cannot be made ({error.strerror}); give --out a folder that you may write to"
        ) from error
    pictures = [f"{path.stem}.png" for path in files.asked]
    films = [f"{path.stem}.mp4" for path in files.videos]
    read = [*files.asked, *chain(*files.pictures.values()), *files.alone]
    check_in_folder(out, [*pictures, *films, MAPS], read)
    answers: dict[str, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    maps: list[tuple[str, Place]] = []
    with progress_bar("files", len(files.asked)) as advance:
        for path in files.asked:
            try:
                told, places = _answered(trained, path, files.pictures.get(path), out, extractor)
                answers[path.name] = told
                maps += places
            except BenchError as error:
                refused[path.name] = str(error)
            advance()
    if not answers:
        name, reason = next(iter(refused.items()))
        raise BenchError(f"none of {len(refused)} files could be answered; {name}: {reason}")
    write_maps(out / MAPS, [name for name, _ in maps], [place for _, place in maps])
    found = FolderAnswers(answers, refused, tuple(path.name for path in files.alone))
    write_json(out / ANSWERS, {"run": trained.record.id, **found.to_dict()})
    return found


def _answered(
    trained: Trained,
    path: Path,
    sounds: Sequence[Path] | None,
    out: Path,
    extractor: Extractor | None,
) -> tuple[dict[str, Any], Iterator[tuple[str, Place]]]:
    """What is told of a picture with its sounds, or of a video; and its maps by their ids."""
    picture = out / f"{path.stem}.png"
    if sounds is None:
        strip = video_strip(trained, path, extractor)
        film = picture.with_suffix(".mp4")
        note = draw_video(picture, film, strip, trained)
        told = {**strip.to_dict(), "picture": str(picture), "film": str(film), "note": note}
        return told, zip(strip.ids, strip.places, strict=True)
    found = predict(trained.method, path, sounds, extractor=extractor)
    draw(picture, found, trained.record.id, num_boxes=trained.num_boxes)
    places = ((answer.id, answer.place) for answer in found.answers)
    return {**found.to_dict(), "picture": str(picture)}, places
