"""Where in a picture of the user's own a trained run sees the source of each of several sounds."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.drawing import AnswerPicture, screen_words
from benchmark.predictions import write_predictions
from benchmark.sheets import answer_sheet
from datamodules.clip import Clip, Inputs, Localization
from datamodules.clip_folder import DIGEST_LENGTH
from datamodules.media import (
    UnreadableMediaError,
    middle_of,
    read_frame,
    read_picture,
    sound_seconds,
    still_windows,
)
from datamodules.proposal_store import Pictures, ProposalStore, make_proposals
from datamodules.proposals import Extractor
from methods.base import Method
from metrics.errors import BenchError


class Point(NamedTuple):
    """A place in the frame, as fractions of its width and its height."""

    x: float
    y: float


class Place(NamedTuple):
    """Where a method sees a source, and how sure it is."""

    heatmap: NDArray[np.float32]  # (h, w), higher = source
    confidence: float
    peak: Point  # centre of the first of the highest cells, in row order
    boxes: NDArray[np.float32] | None = None  # (K, 4) xyxy in [0, 1], best first; absent are NaN
    box_scores: NDArray[np.float32] | None = None  # (K,)
    on_screen: bool | None = None  # by the method's own rule, where it has one
    segment_logits: NDArray[np.float32] | None = None  # (T, C)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; boxes and the decision only where the method answers them."""
        height, width = self.heatmap.shape
        plain: dict[str, Any] = {
            "confidence": self.confidence,
            "peak": list(self.peak),
            "map_size": {"height": height, "width": width},
        }
        if self.boxes is not None:
            shown = ~np.isnan(self.boxes).any(1)
            plain["boxes"] = self.boxes[shown].tolist()
            if self.box_scores is not None:
                plain["box_scores"] = self.box_scores[shown].tolist()
        if self.on_screen is not None:
            plain["on_screen"] = self.on_screen
        return plain

    def __str__(self) -> str:
        x, y = self.peak
        words = f"confidence {self.confidence:.3g}, peak at x {x:.2f}, y {y:.2f}"
        return words if self.on_screen is None else f"{words}, {screen_words(self.on_screen)}"


class Answer(NamedTuple):
    """What a method answered to one sound."""

    id: str  # name of the file, made unique
    file: Path
    place: Place


class Prediction(NamedTuple):
    """The answers to several sounds beside one picture."""

    image: Path
    answers: tuple[Answer, ...]  # in the order of the sounds
    cropped: bool = False  # whether maps and places are of the middle square of the picture

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; boxes only where the method answers boxes."""
        sounds = [
            {"id": one.id, "file": str(one.file), **one.place.to_dict()} for one in self.answers
        ]
        cropped = {"cropped": True} if self.cropped else {}
        return {"image": str(self.image), "sounds": sounds, **cropped}


def predict(
    method: Method,
    image: Path,
    sounds: Sequence[Path],
    *,
    at_seconds: float | None = None,
    extractor: Extractor | None = None,
) -> Prediction:
    """The maps of several sounds on one picture.

    The picture becomes the method's square and stands still in all its T segments; of a method that
    sees the middle square alone the maps are of that. The T
    windows of a sound lie side by side around ``at_seconds`` or around the middle, as those of a
    data set do; segment T // 2 is localised. Each sound is answered alone, so its answer does not
    depend on the others.

    Args:
        method: trained, on the CPU, in evaluation mode.
        image: JPEG or PNG file.
        sounds: WAV, FLAC, Ogg or MP3 files.
        at_seconds: time in every sound.
        extractor: of proposals, where the method asks for them.

    Raises:
        BenchError: a file cannot be read, the time lies outside a sound, or the method answers
            values that are not finite; one line names the file.
    """
    frames = _frames(image, method.inputs)
    proposals = _proposals(image, method.inputs, extractor)
    ids = unique_names(sounds)
    answers = []
    for row, (sound_id, sound) in enumerate(zip(ids, sounds, strict=True)):
        waveform = _waveform(sound, method.inputs, at_seconds)
        target = torch.tensor([method.inputs.num_segments // 2])
        clip = Clip(torch.tensor([row]), frames, waveform[None], target, proposals)
        answers.append(Answer(sound_id, sound, place_in(method, clip, sound)))
    return Prediction(image, tuple(answers), method.inputs.resizing.crop)


def _frames(image: Path, inputs: Inputs) -> Tensor:
    """The picture in every segment, ``(1, T, 3, H, W)`` uint8."""
    try:
        frame = read_frame(image, inputs.image_size, inputs.resizing)
    except UnreadableMediaError as error:
        raise BenchError(f"--image {image} cannot be read: {error}; give a JPEG or PNG") from error
    return frame.expand(1, inputs.num_segments, *frame.shape)


def _waveform(sound: Path, inputs: Inputs, at_seconds: float | None) -> Tensor:
    """The windows of a sound, ``(T, S)`` float32."""
    try:
        if at_seconds is not None:
            seconds = sound_seconds(sound)
            if not 0 <= at_seconds <= seconds:
                raise BenchError(f"--at {at_seconds:g} lies outside {sound}, of {seconds:.2f} s")
        return still_windows(sound, inputs, at_seconds)
    except UnreadableMediaError as error:
        raise BenchError(
            f"--sound {sound} cannot be read: {error}; give a WAV, FLAC, Ogg or MP3 file"
        ) from error


def _proposals(image: Path, inputs: Inputs, extractor: Extractor | None) -> Tensor | None:
    """Those of the picture in every segment, ``(1, T, P, 4)``, kept as those of data sets are."""
    if extractor is None:
        return None
    content = hashlib.sha256(image.read_bytes()).hexdigest()[:DIGEST_LENGTH]
    pictures = {content: lambda: read_picture(image)}
    found = found_proposals([content], pictures, extractor, inputs.proposals)
    return found.expand(1, inputs.num_segments, -1, -1)


def found_proposals(
    contents: Sequence[str], pictures: Pictures, extractor: Extractor, most: int
) -> Tensor:
    """Proposals ``(N, P, 4)`` of N pictures; those that were never searched are searched first.

    Args:
        contents: hashes of the pictures, repeated or not.
        pictures: what reads each of them.
        extractor: what finds the boxes.
        most: P.

    Raises:
        BenchError: the cache cannot be written.
    """
    make_proposals(pictures, extractor)
    return ProposalStore(extractor.identity()).padded(contents, most)


def place_in(method: Method, clip: Clip, heard: object) -> Place:
    """The answer to one clip; arguments and errors as of :func:`place_of`."""
    with torch.no_grad():
        return place_of(method.localize(clip), heard)


def place_of(found: Localization, heard: object) -> Place:
    """The place in the answer to one clip.

    Args:
        found: of one clip.
        heard: name of the sound, for the message.

    Raises:
        BenchError: a value is not finite.
    """
    heatmap = found.heatmap[0].float().numpy()
    confidence = float(found.confidence[0])
    if not (np.isfinite(heatmap).all() and np.isfinite(confidence)):
        raise BenchError(
            f"the run answers values that are not finite to {heard}; its training went astray, "
            "give --run another run"
        )
    height, width = heatmap.shape
    row, column = divmod(int(heatmap.argmax()), width)
    return Place(
        heatmap,
        confidence,
        Point((column + 0.5) / width, (row + 0.5) / height),
        _first(found.boxes),
        _first(found.box_scores),
        None if found.on_screen is None else bool(found.on_screen[0]),
        _first(found.segment_logits),
    )


def _first(values: Tensor | None) -> NDArray[np.float32] | None:
    return None if values is None else values[0].float().numpy()


def unique_names(files: Sequence[Path]) -> list[str]:
    """Names of files, each once: a further one of a name gets a number.

    >>> unique_names([Path("a/x.wav"), Path("b/x.wav"), Path("y.wav")])
    ['x.wav', 'x-2.wav', 'y.wav']
    """
    names: list[str] = []
    for file in files:
        name, number = file.name, 1
        while name in names:
            number += 1
            name = f"{file.stem}-{number}{file.suffix}"
        names.append(name)
    return names


def draw(path: Path, prediction: Prediction, title: str, *, num_boxes: int = 1) -> None:
    """Writes a PNG: the picture, and beside it the map of each sound over it.

    Args:
        path: of the PNG; written atomically.
        prediction: of :func:`predict`.
        title: of the sheet, such as the run's id.
        num_boxes: how many of the best boxes are the answer, the others being pale.
    """
    whole = read_picture(prediction.image).permute(1, 2, 0)
    seen = middle_of(whole) if prediction.cropped else whole
    picture = seen.contiguous().numpy()
    answers = [answer_of(one.place, one.id, num_boxes) for one in prediction.answers]
    answer_sheet(path, picture, answers, title=title, image_name=prediction.image.name)


def answer_of(place: Place, title: str, num_boxes: int) -> AnswerPicture:
    """What is drawn of a place."""
    shown = place.heatmap, place.confidence, place.peak, place.boxes
    return AnswerPicture(title, *shown, num_boxes=num_boxes, on_screen=place.on_screen)


def write_maps(path: Path, ids: Sequence[str], places: Sequence[Place]) -> None:
    """Writes answers as a file of predictions, a row for each; see ``benchmark.predictions``."""
    write_predictions(
        path,
        list(ids),
        [place.heatmap for place in places],
        confidence=np.array([place.confidence for place in places], np.float32),
        boxes=_rows([place.boxes for place in places]),
        box_scores=_rows([place.box_scores for place in places]),
        segment_logits=_rows([place.segment_logits for place in places]),
    )


def _rows(values: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    there = [value for value in values if value is not None]
    return np.stack(there) if there else None
