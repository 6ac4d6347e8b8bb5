"""What a record says of a file of weights that was tested in place of a training."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmark.config import RunConfig
from benchmark.records import Checkpoint, Leakage, Record, SplitIdentity
from datamodules.base import ClipData
from datamodules.cache import file_sha256
from methods.base import Method
from methods.own_frontends import FRONT_ENDS

CROPPED = (
    "maps are of the middle square of the frame, all that the network sees, and are scored as if "
    "they were of the whole frame, as in its own code"
)


class KeptWeights(NamedTuple):
    """Weights of a finished run, to be tested in place of a training."""

    file: Path
    record: Record


def checkpoint_of(
    config: RunConfig, method: Method, data: ClipData, kept: KeptWeights | None
) -> Checkpoint | None:
    """What is to be recorded of the weights; None of a method that got none in a file.

    Args:
        config: of the run that tests them.
        method: built by it.
        data: what it is tested on, its lists loaded.
        kept: weights of another run; those that others released are the method's own.
    """
    if method.released is not None:
        return Checkpoint(
            kind="released",
            network=config.method_name,
            sha256=file_sha256(method.released.path),
            facts=method.released.to_dict(),
            trained_on=_stated_list(config, data),
            notes=_front_end_notes(config, method),
        )
    if kept is None:
        return None
    same = _has_same_lists(kept.record, config.data_name, data)
    return Checkpoint(
        kind="run",
        network=kept.record.method,
        sha256=file_sha256(kept.file),
        facts={"run": kept.record.id, "data": kept.record.data, "seed": kept.record.seed},
        trained_on=kept.record.lists["train"].name if same else _stated_list(config, data),
    )


def with_checkpoint(
    record: Record, checkpoint: Checkpoint, data: ClipData, kept: KeptWeights | None
) -> Record:
    """The record with what was tested, on which list that had been trained, and what leaked.

    Of weights that others trained nothing was left out of their list, so every test clip in it was
    trained on. Where the list is not known the record has none, and no count means anything. What
    a run counted holds for the test list that it had, and for no other.
    """
    record = replace(record, checkpoint=checkpoint)
    if checkpoint.trained_on is None:
        return record
    if kept is not None and _has_same_lists(kept.record, record.data, data):
        train = {"train": kept.record.splits["train"]} if "train" in kept.record.splits else {}
        lists = {"train": kept.record.lists["train"]}
        leakage = kept.record.leakage
    else:
        report = data.report
        listed = report.lists["train"]
        train = {"train": SplitIdentity("train", listed.n, listed.sha256)}
        lists = {"train": listed}
        clips, videos = report.leaked_clips, report.leaked_videos
        leakage = Leakage(clips, videos, 0, True, clips, videos)
    return replace(
        record,
        splits={**train, **record.splits},
        lists={**lists, **record.lists},
        leakage=leakage,
    )


def _has_same_lists(record: Record, data_name: str, data: ClipData) -> bool:
    """Whether a run knows its lists and was tested on this one, so that its leakage holds here."""
    if record.data != data_name or not {"train", "test"} <= record.lists.keys():
        return False
    return record.lists["test"].sha256 == data.report.lists["test"].sha256


def _stated_list(config: RunConfig, data: ClipData) -> str | None:
    """The list that the settings name, of the user or of the run; one that is found is not it."""
    if getattr(config.data, "train_list", None) is None:
        return None
    listed = data.report.lists.get("train")
    return None if listed is None else listed.name


def _front_end_notes(config: RunConfig, method: Method) -> tuple[str, ...]:
    own = getattr(config.method, "front_end", "bench") == "own"
    source = FRONT_ENDS[config.method_name].source if own else "this benchmark"
    cropped = (CROPPED,) if method.inputs.resizing.crop else ()
    return (f"front-end: {source}", *cropped)
