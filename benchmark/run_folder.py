"""The folder of a run: which one it is, and the files of results in it."""

import json
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.boxes import ONSCREEN, box_columns
from benchmark.config import RunConfig
from benchmark.drawing import SheetSample
from benchmark.evaluator import Answers
from benchmark.predictions import write_predictions
from benchmark.ranks import from_first, is_first_rank
from benchmark.records import run_folder_name, write_scores
from benchmark.sheets import contact_sheet, pick_samples
from benchmark.tested import PROTOCOL, Tested
from datamodules.atomic_files import write_atomically
from datamodules.base import ClipData
from metrics.errors import BenchError
from metrics.measurement import predicted_mask
from metrics.protocols import protocol_named
from metrics.scoring import Scores
from metrics.truth import Truth

LAUNCH = ".launch"  # names the process that a run was started by last
WITHOUT_SWAP = re.compile(r"(threshold|confidence)$|annotator")  # columns of the own sounds alone


def run_folder(config: RunConfig, config_hash: str, *, fresh: bool) -> tuple[Path, bool]:
    """The folder of a run, made if there is none, and whether it is finished.

    The newest folder of that configuration is taken; ``fresh`` makes one. The first process
    chooses, and all take what it chose.

    Raises:
        BenchError: a new folder is asked for by nodes that could not tell which one it is.
    """
    if fresh and config.trainer.num_nodes > 1 and "NODE_RANK" in os.environ:
        raise BenchError(
            "--fresh: nodes that are each started with a NODE_RANK cannot tell a new folder from "
            "an older one of the same settings; move that away and leave --fresh out, or start all "
            "processes by torchrun or srun"
        )

    def chosen() -> list[str]:
        folder = _known_folder(config, config_hash, fresh=fresh) or _new_folder(config, config_hash)
        if is_first_rank():
            write_atomically(folder / LAUNCH, str(os.getpid()).encode())
        return [str(folder), *(["finished"] if (folder / "record.json").exists() else [])]

    place, *finished = from_first(chosen)
    return Path(place), bool(finished)


def _known_folder(config: RunConfig, config_hash: str, *, fresh: bool) -> Path | None:
    """The newest folder of a configuration; None where the first process has to make one.

    A process that Lightning started waits for the folder of the process that it is a child of.
    """
    name = f"*-{config.method_name}-{config.data_name}-{config_hash[:8]}"
    while not fresh or not is_first_rank():
        for folder in sorted(Path(config.logging.runs).glob(name), reverse=True):
            if folder.is_dir() and (is_first_rank() or _is_of_this_launch(folder)):
                return folder
        if is_first_rank():
            break
        time.sleep(0.2)
    return None


def _is_of_this_launch(folder: Path) -> bool:
    file = folder / LAUNCH
    if os.environ.get("NODE_RANK", "0") != "0":  # the process that chose it is on another node
        return file.exists()
    return file.exists() and file.read_text() == str(os.getppid())


def _new_folder(config: RunConfig, config_hash: str) -> Path:
    while True:
        folder = Path(config.logging.runs) / run_folder_name(
            datetime.now(UTC), config.method_name, config.data_name, config_hash
        )
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if not folder.is_dir():
                raise BenchError(f"{folder} is a file; remove it or set logging.runs") from None
            time.sleep(0.1)  # names have whole seconds
        except OSError as error:
            raise BenchError(
                f"{folder} cannot be made ({error.strerror}); set logging.runs to a folder that "
                "you may write to"
            ) from error


def write_results(
    folder: Path, config: RunConfig, data: ClipData, tested: Tested, truth: tuple[Truth, ...]
) -> str:
    """Per-sample scores, predictions and the contact sheet; the hash of the scores."""
    scores = tested.scores[PROTOCOL]
    columns: dict[str, NDArray[np.float64]] = dict(scores.values)
    if tested.own is not None and tested.other is not None and tested.swapped is not None:
        columns |= {f"swap_{name}": column for name, column in tested.swapped.values.items()
                    if not WITHOUT_SWAP.match(name)}  # fmt: skip
    if tested.boxes is not None:
        columns |= box_columns(tested.boxes, scores.ids)
    if tested.onscreen:
        columns[ONSCREEN] = np.array([tested.onscreen.get(each, np.nan) for each in scores.ids])
    if not is_first_rank():
        return ""
    digest = write_scores(folder / "scores.csv", scores.ids, columns)
    if tested.own is None or tested.other is None:
        rule = {"floor": config.method_name}
        write_atomically(folder / "predictions.json", (json.dumps(rule) + "\n").encode())
        return digest
    ids = data.report.splits["test"].ids
    stored = (
        ("predictions", tested.own, tested.sources),
        ("predictions_swap", tested.other, tested.swapped_sources),
    )
    for name, answers, sources in stored:
        write_predictions(
            folder / f"{name}.npz",
            [ids[row] for row in answers.rows],
            answers.heatmap if answers.heatmap.size else None,
            confidence=answers.confidence,
            boxes=answers.boxes,
            box_scores=answers.box_scores,
            segment_logits=answers.segment_logits,
            source_heatmap=None if sources is None else sources.heatmap[answers.rows],
            source_count=None if sources is None else sources.counts[answers.rows],
            on_screen=None if answers.on_screen is None else answers.on_screen > 0,
        )
    if any(sample.has_place for sample in truth):
        _draw(folder, data, tested.own, scores, truth)
    return digest


def _draw(
    folder: Path, data: ClipData, own: Answers, scores: Scores, truth: tuple[Truth, ...]
) -> None:
    protocol = protocol_named(PROTOCOL)
    row_of = {sample.id: row for row, sample in enumerate(truth)}
    map_of = dict(zip(own.rows.tolist(), own.heatmap, strict=True))
    sheet = []
    for group, places in pick_samples(scores.values["ciou"]).items():
        for place in places:
            row = row_of[scores.ids[place]]
            frame = data.frames("test", row)[data.inputs.num_segments // 2]
            sheet.append(
                SheetSample(
                    frame=frame.permute(1, 2, 0).contiguous().numpy(),
                    truth=truth[row],
                    heatmap=map_of[row],
                    prediction=predicted_mask(
                        map_of[row], protocol, float(scores.values["threshold"][place])
                    ),
                    title=f"cIoU {scores.values['ciou'][place]:.2f}",
                    group=group,
                )
            )
    if sheet:
        contact_sheet(folder / "samples.png", sheet, folder.name)
