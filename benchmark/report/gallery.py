"""Samples of a board with their frame, truth, sound, and the map of each method side by side."""

import io
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.config import data_alone
from benchmark.drawing import SheetSample, jpeg, map_picture, truth_picture
from benchmark.file_names import file_name
from benchmark.predictions import OWN, read_predictions
from benchmark.report.boards import Board
from benchmark.report.found import FoundRun
from benchmark.report.tables import Head
from benchmark.settings import as_words, flat
from datamodules.atomic_files import write_atomically
from datamodules.base import ClipData
from datamodules.clip import Inputs
from datamodules.progress import progress_bar
from metrics.errors import BenchError
from metrics.measurement import predicted_mask
from metrics.protocols import protocol_named
from metrics.truth import Truth

METHODS = 6  # maps side by side
EACH = 8  # samples of a group, unless the user says otherwise
GROUPS = {
    "disagree": ("Where methods disagree most",
                 "The largest gap between the highest and the lowest consensus IoU of one sample."),
    "worst": ("Worst", "The lowest consensus IoU, the mean over the methods shown."),
    "best": ("Best", "The highest consensus IoU, the mean over the methods shown."),
}  # fmt: skip


class MapOf(NamedTuple):
    """What one method answered to a sample."""

    method: str
    ciou: float
    is_hit: bool
    picture: str  # from the top of the site


class Sample(NamedTuple):
    """One sample of a gallery; files from the top of the site, None where they are left out."""

    id: str
    category: str | None
    frame: str | None
    truth: str | None
    sound: str | None
    maps: tuple[MapOf, ...]


class Group(NamedTuple):
    """Samples that were chosen by one rule."""

    title: str
    rule: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Gallery:
    """The pictures of a board.

    Attributes:
        methods: whose maps are shown, the best first, and the run of each.
        groups: of samples.
        num_scored: clips that the groups were chosen from.
        is_own: whether frames and sounds are somebody's, not of the generator.
    """

    methods: tuple[tuple[Head, str], ...]
    groups: tuple[Group, ...]
    num_scored: int
    is_own: bool


class Answers(NamedTuple):
    """Maps of one run and what they are worth, by id."""

    head: Head
    run_id: str
    maps: Mapping[str, NDArray[np.float32]]  # (h, w) each
    ciou: Mapping[str, float]
    thresholds: Mapping[str, float]


def chosen_samples(ciou: NDArray[np.float64], each: int) -> dict[str, list[int]]:
    """Samples that tell most, by group.

    Args:
        ciou: ``(M, N)`` consensus IoU of M methods; NaN (0/0) counts as 0, equal values go by row.
        each: samples of a group, fewer where there are under three times that.

    Returns:
        Rows of ``disagree`` (largest range, where there are several methods and any range),
        ``worst`` and ``best`` (by the mean). A row of the first may stand in another, too.

    Examples:
        >>> chosen_samples(np.array([[0.0, 0.9, 0.5], [0.1, 0.8, 0.9]]), each=1)
        {'disagree': [2], 'worst': [0], 'best': [1]}
    """
    ciou = np.nan_to_num(ciou)
    each = min(each, max(1, ciou.shape[1] // 3))
    means, ranges = ciou.mean(axis=0), np.ptp(ciou, axis=0)
    by_mean = np.argsort(means, kind="stable").tolist()
    best_first = np.argsort(-means, kind="stable").tolist()
    worst = by_mean[:each]
    groups = {}
    apart = [row for row in np.argsort(-ranges, kind="stable").tolist() if ranges[row] > 0][:each]
    if apart:
        groups["disagree"] = apart
    return groups | {"worst": worst, "best": [row for row in best_first if row not in worst][:each]}


def answers_of(board: Board, runs: Mapping[str, FoundRun]) -> list[Answers]:
    """Maps that lie on this disk: of each of the best rows, those of its first seed that has some.

    Raises:
        BenchError: a file of maps is damaged, or scores were changed.
    """
    found: list[Answers] = []
    for row in board.section.rows:
        if len(found) == METHODS:
            break
        at_hand = (one for record in row.records if (one := _maps(board, runs[record.id])))
        first = next(at_hand, None)
        if first is not None:
            found.append(first._replace(head=board.head(row, "../")))
    return found


def _maps(board: Board, run: FoundRun) -> Answers | None:
    if run.folder is None or not (run.folder / OWN).is_file() or run.samples is None:
        return None
    columns = run.samples.columns
    if "mean_iou" not in columns or "threshold" not in columns:
        return None
    predictions = read_predictions(run.folder / OWN)
    if predictions.heatmap is None:
        return None
    maps = dict(zip(predictions.ids, np.asarray(predictions.heatmap, np.float32), strict=True))
    hit = columns["ciou@0.5"]
    ids = [(row, each) for row, each in enumerate(run.samples.ids) if not np.isnan(hit[row])]
    return Answers(
        Head(run.record.method),
        run.record.id,
        maps,
        {each: float(columns["mean_iou"][row]) for row, each in ids if each in maps},
        {each: float(columns["threshold"][row]) for row, each in ids if each in maps},
    )


def data_of_run(run: FoundRun) -> ClipData:
    """The test data of a run folder, as large as pictures are shown and as long as it heard.

    Raises:
        BenchError: its configuration cannot be read, or the data are no longer where they were.
    """
    assert run.folder is not None, "a run folder"
    path = run.folder / "config.yaml"
    try:
        tree = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, OmegaConfBaseException) as error:
        raise BenchError(f"{path} cannot be read ({error}); run it again") from error
    settings = dict(flat(cast("Mapping[str, Any]", tree))) if isinstance(tree, Mapping) else {}
    of_data = {key: value for key, value in settings.items() if key.startswith("data.")}
    kind, config = data_alone(run.record.data, as_words(of_data))
    inputs = replace(
        Inputs(),
        num_segments=kind.segments_of(config),
        segment_seconds=float(settings.get("method.segment_seconds", Inputs.segment_seconds)),
    )
    data = kind(config, inputs, seed=run.record.seed)
    data.setup("test")
    return data


def make_gallery(
    board: Board, answers: Sequence[Answers], data: ClipData, top: Path, *, each: int, media: bool
) -> Gallery:
    """Chooses samples and writes their pictures and sounds.

    Args:
        board: of the runs.
        answers: of :func:`answers_of`, at least one.
        data: of the test clips.
        top: folder of the site.
        each: samples of a group.
        media: whether frames and sounds are written; maps always are.

    Raises:
        BenchError: no clip is scored by all methods, or a frame or sound cannot be read.
    """
    common = set.intersection(*(set(one.ciou) for one in answers))
    truth = {sample.id: sample for sample in data.truth() if sample.id in common}
    ids = sorted(truth)
    if not ids:
        raise BenchError(f"the runs of {board.title} scored no clip in common; show fewer of them")
    ciou = np.array([[one.ciou[each_id] for each_id in ids] for one in answers])
    groups = chosen_samples(ciou, each)
    wanted = sorted({row for rows in groups.values() for row in rows})
    made: dict[int, Sample] = {}
    writer = _Writer(board, answers, data, top, media)
    with progress_bar(f"gallery of {board.title}", len(wanted)) as advance:
        for row in wanted:
            made[row] = writer.sample(truth[ids[row]])
            advance()
    return Gallery(
        tuple((one.head, one.run_id) for one in answers),
        tuple(Group(*GROUPS[name], tuple(made[row] for row in rows))
              for name, rows in groups.items()),
        len(ids),
        type(data).has_files,
    )  # fmt: skip


class _Writer:
    """Writes the files of the samples of one gallery."""

    def __init__(
        self, board: Board, answers: Sequence[Answers], data: ClipData, top: Path, media: bool
    ) -> None:
        self.answers, self.data, self.top, self.media = answers, data, top, media
        self.protocol = protocol_named(board.section.first.protocol)
        self.folder = f"media/{board.slug}"
        (top / self.folder).mkdir(parents=True, exist_ok=True)
        test = data.report.splits["test"]
        self.row_of = {clip_id: row for row, clip_id in enumerate(test.ids)}

    def sample(self, truth: Truth) -> Sample:
        """The files of one sample."""
        row, name = self.row_of[truth.id], f"{self.folder}/{file_name(truth.id)}"
        middle = self.data.inputs.num_segments // 2
        frame = None
        if self.media:
            pictures = self.data.frames("test", row)
            frame = pictures[middle].permute(1, 2, 0).contiguous().numpy()
        frame_file = truth_file = sound_file = None
        if frame is not None:
            shown = self._sheet(truth, frame, self.answers[0])
            frame_file = self._write(f"{name}-frame.jpg", jpeg(_unmarked(shown)))
            truth_file = self._write(f"{name}-truth.jpg", jpeg(truth_picture(shown)))
            sound = self.data.waveform("test", row)[middle].numpy()
            content = wav(sound, self.data.inputs.sample_rate_hz)
            sound_file = self._write(f"{name}.wav", content)
        maps = []
        for place, one in enumerate(self.answers):
            ciou = one.ciou[truth.id]
            picture = map_picture(self._sheet(truth, frame, one), over_frame=frame is not None)
            file = self._write(f"{name}-map{place}.jpg", jpeg(picture))
            maps.append(MapOf(one.head.name, ciou, bool(ciou >= 0.5), file))
        return Sample(truth.id, truth.category, frame_file, truth_file, sound_file, tuple(maps))

    def _sheet(self, truth: Truth, frame: NDArray[np.uint8] | None, one: Answers) -> SheetSample:
        heatmap = one.maps[truth.id]
        mask = predicted_mask(heatmap, self.protocol, one.thresholds[truth.id])
        shown = np.zeros((*mask.shape, 3), np.uint8) if frame is None else frame
        return SheetSample(shown, truth, heatmap, mask, "", "")

    def _write(self, name: str, content: bytes) -> str:
        write_atomically(self.top / name, content)
        return name


def _unmarked(sample: SheetSample) -> NDArray[np.uint8]:
    return truth_picture(sample._replace(truth=sample.truth._replace(boxes=(), mask=None)))


def wav(sound: NDArray[np.float32], rate_hz: int) -> bytes:
    """A mono WAV of 16 bits, the same bytes for the same sound.

    Args:
        sound: ``(S,)`` float32 in [-1, 1].
        rate_hz: samples per second.
    """
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((np.clip(sound, -1, 1) * 32767).round().astype("<i2").tobytes())
    return stream.getvalue()
