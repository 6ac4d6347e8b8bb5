"""Second by second, where a trained run sees the source of the sound of a video."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmark.drawing import AnswerPicture
from benchmark.film import write_film
from benchmark.predict import Place, answer_of, found_proposals, place_in
from benchmark.recorded import Trained
from benchmark.sheets import SECOND_SIDE, seconds_sheet
from datamodules.clip import Clip
from datamodules.own_video import OwnVideo, blocks, read_own_video
from datamodules.progress import progress_bar
from datamodules.proposals import Extractor


class VideoStrip(NamedTuple):
    """A video and what a run answered for each of its seconds."""

    video: OwnVideo
    places: tuple[Place, ...]

    @property
    def ids(self) -> list[str]:
        """Names of the seconds, for files of predictions."""
        return [f"{self.video.path.stem}@{second}s" for second in range(len(self.places))]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        pairs = zip(self.video.times, self.places, strict=True)
        seconds = [{"time": time, **place.to_dict()} for time, place in pairs]
        return {"video": str(self.video.path), "seconds": seconds}

    def lines(self) -> list[str]:
        """What is said on a terminal: a line for each second."""
        pairs = zip(self.video.times, self.places, strict=True)
        return [f"{time:g} s: {place}" for time, place in pairs]


def video_strip(trained: Trained, path: Path, extractor: Extractor | None = None) -> VideoStrip:
    """The answers of a run to each second of a video.

    A method of one segment is asked about each second alone; one of T segments gets T consecutive
    seconds at once, see :func:`datamodules.own_video.blocks`.

    Args:
        trained: the run.
        path: of the video.
        extractor: of proposals, where the method asks for them.

    Raises:
        BenchError: the video cannot be taken, see :func:`datamodules.own_video.read_own_video`, or
            the method answers values that are not finite.
    """
    inputs = trained.method.inputs
    video = read_own_video(path, inputs, small_side=SECOND_SIDE, extractor=extractor)
    frames = torch.stack([picture.frame for picture in video.pictures])
    proposals = None
    if extractor is not None:
        proposals = _proposals(video, extractor, inputs.proposals)
    places: list[Place] = []
    with progress_bar("localising", len(frames)) as advance:
        for row, (seconds, targets) in enumerate(blocks(len(frames), inputs.num_segments)):
            rows = torch.tensor(seconds)
            clip = Clip(
                torch.tensor([row]),
                frames[rows][None],
                video.windows[rows][None],
                torch.tensor([0]),
                None if proposals is None else proposals[rows][None],
            )
            for target in targets:
                asked = clip._replace(target=torch.tensor([target]))
                places.append(place_in(trained.method, asked, f"{path}, second {len(places)}"))
                advance()
    return VideoStrip(video, tuple(places))


def _proposals(video: OwnVideo, extractor: Extractor, most: int) -> Tensor:
    """Those of every second, ``(N, P, 4)``."""
    pictures = {
        each.content: torch.from_numpy(each.searched).permute(2, 0, 1)
        for each in video.pictures
        if each.searched is not None
    }
    contents = [each.content for each in video.pictures]
    readers = {content: lambda found=found: found for content, found in pictures.items()}
    return found_proposals(contents, readers, extractor, most)


def draw_video(picture: Path, film: Path, strip: VideoStrip, trained: Trained) -> str | None:
    """Writes the film, and the sheet with a column for each second.

    Args:
        picture: of the PNG; written atomically.
        film: of the MP4; written atomically.
        strip: of :func:`video_strip`.
        trained: the run that answered.

    Returns:
        What is to be said of the film, if anything; see :func:`benchmark.film.write_film`.
    """
    answers = _pictures(strip, trained.num_boxes)
    note = write_film(film, strip.video, answers)
    frames = [each.small for each in strip.video.pictures]
    title = f"{strip.video.path.name}  ·  {trained.record.id}"
    seconds_sheet(picture, frames, answers, title)
    return note


def _pictures(strip: VideoStrip, num_boxes: int) -> list[AnswerPicture]:
    pairs = zip(strip.places, strip.video.times, strict=True)
    return [answer_of(place, f"{time:g} s", num_boxes) for place, time in pairs]
