"""One run from its configuration to its record, in the order it happens."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import OmegaConf

from benchmark.checkpoint_facts import KeptWeights, checkpoint_of, with_checkpoint
from benchmark.compiling import require_compiler
from benchmark.config import RunConfig
from benchmark.floor_cache import truth_hash
from benchmark.ranks import is_first_rank, require_all_processes
from benchmark.records import (
    Record,
    Seconds,
    read_record,
    write_record,
)
from benchmark.registry import DATA_REGISTRY, METHOD_REGISTRY
from benchmark.run_folder import run_folder, write_results
from benchmark.run_record import run_record
from benchmark.settings import content_hash
from benchmark.stages import TRAINING, StageRunner, lists_of, load_weights, locked
from benchmark.tested import Tested, scored_truth, tested_floor, tested_method
from benchmark.validation import VAL_CIOU, validation_truth
from datamodules.atomic_files import drop_unfinished, write_atomically
from datamodules.base import ClipData
from datamodules.features import cached_features, make_features, obstacle, streams_of
from methods.base import Method
from methods.floors import Floor
from metrics.errors import BenchError
from metrics.truth import Truth


@dataclass(frozen=True)
class Finished:
    """Where a run's results are."""

    record: Record
    folder: Path
    reused: bool  # the run had been finished before


def run(
    config: RunConfig,
    *,
    dry_run: bool = False,
    fresh: bool = False,
    kept: KeptWeights | None = None,
) -> Finished:
    """Trains, tests, scores and records one run; finishes an unfinished one.

    A method that learns nothing is tested as it stands, as are weights that are given, and no
    training list is asked for. A file of weights counts by its content.

    A run is found again by the hash of its configuration and lists. A finished one is returned as
    it is.

    Args:
        config: of :func:`benchmark.config.compose`.
        dry_run: marks the record, which is then never ranked.
        fresh: starts a new folder whatever there is.
        kept: weights of another run with these settings of the method.

    Raises:
        BenchError: the user must change something; no record is written.
    """
    started = time.monotonic()
    method, data = _method_and_data(config)
    require_all_processes(config.trainer.devices, config.trainer.num_nodes)
    data.trains = method.learns and kept is None
    data.setup("fit" if data.trains else "test")
    if data.trains:
        method.check(data)
        _check_batches(config, data)
        if config.trainer.select == VAL_CIOU:
            validation_truth(method, data)  # says before any training what is missing
    checkpoint = checkpoint_of(config, method, data, kept)
    if config.trainer.compile:
        require_compiler(config.method_name, method.networks)
    lists = {name: split.sha256 for name, split in data.report.splits.items()}
    _check_measurable(config, method, data.truth())
    truth = scored_truth(method, data)
    identity = {
        **config.identity(),
        "lists": lists,
        "truth": truth_hash(truth),
        "categories": [sample.category for sample in truth],  # they choose the swapped sounds
        "dry_run": dry_run,
        **({} if checkpoint is None else {"checkpoint": checkpoint.sha256}),
    }
    config_hash = content_hash(identity)
    folder, finished = run_folder(config, config_hash, fresh=fresh)
    if finished:
        return Finished(read_record(folder / "record.json"), folder, reused=True)
    with locked(folder, wait=False):
        if is_first_rank():
            drop_unfinished(folder)
            text = OmegaConf.to_yaml(OmegaConf.create(config.tree()))
            write_atomically(folder / "config.yaml", text.encode())
        stages = StageRunner(config, data, lists_of(data))
        tested = tested_floor(method, truth) if isinstance(method, Floor) else _trained(
            method, data, stages, truth, folder, kept
        )  # fmt: skip
        digest = write_results(folder, config, data, tested, truth)
        record = run_record(
            folder.name, config, config_hash, data, method, stages, tested, truth, digest, dry_run
        )
        seconds = Seconds(
            train=sum(stages.seconds.values()),
            test=tested.seconds,
            total=time.monotonic() - started,
        )
        record = replace(record, seconds=seconds)
        if checkpoint is not None:
            record = with_checkpoint(record, checkpoint, data, kept)
        if is_first_rank():
            write_record(folder, record)
    return Finished(record, folder, reused=False)


def require_buildable(config: RunConfig) -> None:
    """Builds method and data of a configuration, without reading any clip, and drops them.

    Raises:
        BenchError: a value is none that they take, or their files of weights cannot be loaded.
    """
    _method_and_data(config)


def keep_features(config: RunConfig, say: Callable[[str], None]) -> int:
    """Makes the features of a method's frozen streams on a data set.

    Args:
        config: of :func:`benchmark.config.compose`.
        say: gets the estimate before anything is computed.

    Returns:
        How many features are kept now; 0 where the method has no frozen streams.

    Raises:
        BenchError: features cannot be kept of what the method gets, or do not fit.
    """
    method, data = _method_and_data(config)
    if method.extractor() is None:
        return 0
    reason = obstacle(method.extractor(), data)
    if reason is not None:
        raise BenchError(f"no features can be kept: {reason}")
    stages = StageRunner(config, data, lists_of(data))
    method.prepare(stages, data)  # the streams may come from a stage of their own
    extractor = method.extractor()
    assert extractor is not None, "as before"
    streams = streams_of(extractor, data)
    make_features(streams, data, stages.device(), say)
    return sum(len(set(each.contents.values())) for each in streams)


def _method_and_data(config: RunConfig) -> tuple[Method, ClipData]:
    method = _method(config)
    kind: type[ClipData] = DATA_REGISTRY.load(config.data_name, ClipData)  # type: ignore[type-abstract]
    return method, kind(config.data, method.inputs, seed=config.seed)


def _method(config: RunConfig) -> Method:
    method_class: type[Method] = METHOD_REGISTRY.load(config.method_name, Method)  # type: ignore[type-abstract]
    return method_class(config.method, config.optim, seed=config.seed)


def _check_batches(config: RunConfig, data: ClipData) -> None:
    batches = len(data.report.splits.get("train", ())) // config.data.batch_size
    if 1 < config.trainer.accumulate > batches:
        raise BenchError(
            f"trainer.accumulate={config.trainer.accumulate} needs as many batches in an epoch and "
            f"there are {batches}; lower it, or data.batch_size={config.data.batch_size}"
        )
    held_out = len(data.report.splits.get("val", ()))
    selects = config.trainer.select == "val_loss"
    asked = "trainer.select=val_loss" if selects else "logging.validation=true"
    if (selects or config.logging.validation) and held_out < config.data.batch_size:
        raise BenchError(
            f"{asked} needs at least one batch of {config.data.batch_size} validation clips and "
            f"there are {held_out}; set data.val_fraction, such as 0.02"
        )


def _check_measurable(config: RunConfig, method: Method, truth: Sequence[Truth]) -> None:
    measured = method.inputs.labels != "none" or method.card.tells_on_screen
    if not measured and all(sample.has_only_segments for sample in truth):
        raise BenchError(
            f"--data {config.data_name} has no boxes, only classes of segments, and "
            f"{config.method_name} answers no classes, so nothing of it could be measured; choose "
            "a method that learns classes, or data with boxes, such as --data vggss"
        )
    if not method.card.localises and any(sample.segments is None for sample in truth):
        raise BenchError(
            f"{config.method_name} with these settings has no map, only classes of segments, and "
            f"the test clips of --data {config.data_name} have no such classes, so nothing of it "
            "could be measured; choose settings that localise, or --data ave"
        )


def _trained(
    method: Method,
    data: ClipData,
    stages: StageRunner,
    truth: Sequence[Truth],
    folder: Path,
    kept: KeptWeights | None = None,
) -> Tested:
    if kept is None:
        method.prepare(stages, data)
    else:
        load_weights(method, kept.file, remedy="give the settings that the weights were made with")
    data.cached_features = cached_features(method.extractor(), data, stages.device)
    if kept is None:
        stages.train(method, folder / "training", title=TRAINING)
        _note_training(method, stages)
    else:
        stages.keep(method, folder / "training", title=TRAINING)
    return tested_method(method, data, stages, truth)


def _note_training(method: Method, stages: StageRunner) -> None:
    together, size = stages.config.trainer.accumulate, stages.config.data.batch_size
    if together > 1 and method.learns:  # told, for it is no batch of as many clips
        stages.note("clips_of_a_step", together * size)
        stages.note("clips_with_negatives_among_each_other", size)
    for name, figure in method.figures().items():
        stages.note(name, figure)
