"""One run from its configuration to its record, in the order it happens."""

import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

import benchmark
from benchmark.boxes import (
    ONSCREEN,
    BoxScores,
    box_columns,
    box_figures,
    box_scores,
    mean_with_interval,
    onscreen_correct,
)
from benchmark.checkpoint_facts import KeptWeights, checkpoint_of, with_checkpoint
from benchmark.compiling import require_compiler
from benchmark.config import RunConfig
from benchmark.drawing import SheetSample, contact_sheet, pick_samples
from benchmark.evaluator import (
    OWN_SOUND,
    SWAPPED_SOUND,
    AnswerCollector,
    Answers,
    SourceMaps,
    one_map_for_all,
)
from benchmark.floor_cache import cached_ceiling, cached_floor, cached_floors, truth_hash
from benchmark.predictions import write_predictions
from benchmark.ranks import from_first, is_first_rank, require_all_processes
from benchmark.records import (
    BOXES,
    Card,
    Difference,
    Distribution,
    Leakage,
    ProtocolFigures,
    Record,
    Seconds,
    SplitIdentity,
    TrainingGaps,
    drop_unfinished,
    environment,
    figures_of,
    git_state,
    read_record,
    run_folder_name,
    with_swapped,
    write_atomically,
    write_record,
    write_scores,
)
from benchmark.registry import DATA_REGISTRY, METHOD_REGISTRY
from benchmark.settings import PATHS, content_hash, nested
from benchmark.stages import StageRunner, lists_of, load_weights, locked
from datamodules.base import ClipData
from datamodules.features import cached_features, make_features, obstacle, streams_of
from methods.base import Method
from methods.chunks import MAPS
from methods.floors import Floor
from methods.global_norm import world_size
from methods.released import RELEASES
from metrics.bootstrap import paired_difference
from metrics.ceilings import skill
from metrics.errors import BenchError
from metrics.floors import best_floor
from metrics.measurement import num_annotators, predicted_mask
from metrics.predictions import Predictions
from metrics.protocols import protocol_named
from metrics.scoring import Scores, score
from metrics.truth import Truth, measured_truth

log = logging.getLogger(__name__)
LAUNCH = ".launch"  # names the process that a run was started by last
PROTOCOL = "bench-v1"
FIELD_PROTOCOLS = ("lvs", "ezvsl")  # in every record; bench score applies any other to its maps
CONSENSUS_PROTOCOL = "senocak"  # in records of data with several annotators, whom it lets vote
COSTLY_FLOORS = ("random",)  # 100 draws; beside bench-v1 only, or a short run would wait for them
WITHOUT_SWAP = re.compile(r"(threshold|confidence)$|annotator")  # columns of the own sounds alone
CLAIMED = ("ciou@0.5", "pixel_ap", "pointing", "auc", "segment_acc")
"""Metrics with paired differences, where a run has them."""
SWAPPED = (*CLAIMED, "context_pointing")  # metrics that are told with other sounds too


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
    data.trains = method.learns and kept is None
    data.setup("fit" if data.trains else "test")
    _check_trainer(config)
    if data.trains:
        method.check(data)
        _check_batches(config, data)
    checkpoint = checkpoint_of(config, method, data, kept)
    if config.trainer.compile:
        require_compiler(config.method_name, method.networks)
    lists = {name: split.sha256 for name, split in data.report.splits.items()}
    _check_measurable(config, method, data.truth())
    truth = _truth(method, data)
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
        tested = _floor_result(method, data) if isinstance(method, Floor) else _trained(
            method, data, stages, folder, kept
        )  # fmt: skip
        record = _record(config, config_hash, data, method, stages, tested, folder, dry_run)
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


def _check_trainer(config: RunConfig) -> None:
    require_all_processes(config.trainer.devices, config.trainer.num_nodes)
    if config.trainer.select not in ("last", "val_loss"):
        raise BenchError(
            f"trainer.select={config.trainer.select!r} is unknown; use last or val_loss"
        )
    if config.memory.maps not in MAPS:
        raise BenchError(
            f"memory.maps={config.memory.maps!r} is unknown; use auto, whole or chunked"
        )


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


@dataclass(frozen=True)
class Tested:
    """What a method answered on the test split, scored under every protocol."""

    scores: Mapping[str, Scores]  # protocol -> scores with own sounds
    swapped: Scores | None  # bench-v1, other sounds, the same thresholds
    own: Answers | None  # None for a floor, which is stored as a rule
    other: Answers | None
    seconds: float
    sources: SourceMaps | None = None  # of isolated sounds, where the data have them
    swapped_sources: SourceMaps | None = None  # of other sounds in their place
    boxes: BoxScores | None = None  # where they are an answer beside the map
    onscreen: Mapping[str, float] = field(default_factory=dict)  # share by id, see boxes.py


def recorded_protocols(truth: Sequence[Truth], further: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the protocols under which a run on that truth is recorded, the own one first."""
    consensus = (CONSENSUS_PROTOCOL,) if num_annotators(truth) else ()
    return tuple(dict.fromkeys((PROTOCOL, *FIELD_PROTOCOLS, *consensus, *further)))


def own_protocol(method_name: str) -> tuple[str, ...]:
    """The protocol by which the authors of a method's released weights scored them, if any."""
    release = RELEASES.get(method_name)
    return () if release is None or release.protocol is None else (release.protocol,)


def _floor_result(method: Floor, data: ClipData) -> Tested:
    started = time.monotonic()
    truth = _truth(method, data)
    scores = {
        protocol: cached_floor(method.rule, truth, protocol)
        for protocol in recorded_protocols(truth)
    }
    return Tested(scores, None, None, None, time.monotonic() - started)


def _trained(
    method: Method,
    data: ClipData,
    stages: StageRunner,
    folder: Path,
    kept: KeptWeights | None = None,
) -> Tested:
    if kept is None:
        method.prepare(stages, data)
    else:
        load_weights(method, kept.file, remedy="give the settings that the weights were made with")
    data.cached_features = cached_features(method.extractor(), data, stages.device)
    if kept is None:
        stages.train(method, folder / "training", title="training")
        _note_training(method, stages)
    else:
        stages.keep(method, folder / "training", title="training")
    return _tested(method, data, stages)


def _note_training(method: Method, stages: StageRunner) -> None:
    together, size = stages.config.trainer.accumulate, stages.config.data.batch_size
    if together > 1 and method.learns:  # told, for it is no batch of as many clips
        stages.note("clips_of_a_step", together * size)
        stages.note("clips_with_negatives_among_each_other", size)
    for name, figure in method.figures().items():
        stages.note(name, figure)


def _truth(method: Method, data: ClipData) -> tuple[Truth, ...]:
    """What a run is scored against, and its floors and ceiling with it."""
    by_source = _num_sources(data) > 0
    return measured_truth(data.truth(), localises=method.card.localises, by_source=by_source)


def _num_sources(data: ClipData) -> int:
    """The most isolated sounds of a test clip, each of which gets a map of its own."""
    test = data.report.splits["test"]
    return max((data.num_sources("test", row) for row in range(len(test))), default=0)


def _tested(method: Method, data: ClipData, stages: StageRunner) -> Tested:
    started = time.monotonic()
    collector = AnswerCollector()
    stages.tester(collector).test(method, datamodule=data, verbose=False)
    test = data.report.splits["test"]
    own = collector.answers(OWN_SOUND, len(test))
    other = collector.answers(SWAPPED_SOUND, len(test))
    sources = collector.source_maps(_num_sources(data), len(test))
    truth = _truth(method, data)
    map_range = method.card.map_range
    swapped_sources = None if sources is None else one_map_for_all(other, sources)
    answers = _predictions(own, test.ids, map_range, sources)
    names = recorded_protocols(truth, own_protocol(stages.config.method_name))
    protocols = {name: protocol_named(name, stages.config.data_name) for name in names}
    scores = {name: score(answers, truth, protocol) for name, protocol in protocols.items()}
    swapped = score(
        _predictions(other, test.ids, map_range, swapped_sources),
        truth,
        PROTOCOL,
        thresholds=scores[PROTOCOL].thresholds,
    )
    boxes = box_scores(own, other, test.ids, truth, PROTOCOL, method.card.boxes)
    onscreen = onscreen_correct(own, other, truth, test.ids)
    seconds = time.monotonic() - started
    return Tested(scores, swapped, own, other, seconds, sources, swapped_sources, boxes, onscreen)


def _predictions(
    answers: Answers,
    test_ids: Sequence[str],
    map_range: tuple[float, float] | None,
    sources: SourceMaps | None = None,
) -> Predictions:
    return Predictions(
        [test_ids[row] for row in answers.rows],
        heatmap=answers.heatmap if answers.heatmap.size else None,
        confidence=answers.confidence,
        segment_logits=answers.segment_logits,
        source_heatmap=None if sources is None else sources.heatmap[answers.rows],
        source_count=None if sources is None else sources.counts[answers.rows],
        map_range=map_range,
        on_screen=None if answers.on_screen is None else answers.on_screen > 0,
    )


def _record(
    config: RunConfig,
    config_hash: str,
    data: ClipData,
    method: Method,
    stages: StageRunner,
    tested: Tested,
    folder: Path,
    dry_run: bool,
) -> Record:
    report = data.report
    truth = _truth(method, data)
    scores = tested.scores[PROTOCOL]
    floors = cached_floors(truth, PROTOCOL)
    reasons = _reasons(config, data, scores, dry_run=dry_run)
    figures = with_swapped(scores, tested.swapped, SWAPPED)
    metrics, ci95 = figures.metrics, figures.ci95
    if tested.onscreen:
        metrics[ONSCREEN], ci95[ONSCREEN] = mean_with_interval(tested.onscreen.values())
    top = cached_ceiling(truth, PROTOCOL)
    is_floor = method.card.floor
    too_costly = [name for name in COSTLY_FLOORS if name != config.method_name]
    return Record(
        id=folder.name,
        status="dry-run" if dry_run else "partial" if reasons else "complete",
        reasons=reasons,
        method=config.method_name,
        distribution=_distribution(config.method_name),
        card=Card(**asdict(method.card)),
        data=config.data_name,
        splits={
            name: SplitIdentity(split.name, len(split), split.sha256)
            for name, split in report.splits.items()
            if data.trains or name == "test"
        },
        lists={k: listed for k, listed in report.lists.items() if data.trains or k == "test"},
        n=scores.n,
        n_expected=report.n_expected,
        missing=report.missing,
        unreadable=report.unreadable,
        excluded=scores.excluded,
        train=TrainingGaps(report.train_missing, report.train_unreadable)
        if data.trains
        else TrainingGaps(),
        leakage=_leakage(config, data, learns=data.trains),
        protocol=PROTOCOL,
        seed=config.seed,
        config=nested({k: v for k, v in config.values.items() if not PATHS.fullmatch(k)}),
        config_hash=config_hash,
        overrides=tuple(
            word for word in config.overrides if not PATHS.fullmatch(word.partition("=")[0])
        ),
        environment={**environment(), "processes": world_size()},
        git=git_state(Path(benchmark.__file__).parents[1]),
        seconds=Seconds(0.0, 0.0, 0.0),
        notes=stages.notes,
        data_notes=report.notes,
        metrics=metrics,
        ci95=ci95,
        floors={name: figures_of(floor) for name, floor in floors.items()},
        ceiling=top,
        skill={} if is_floor else _skill(metrics, floors, top),
        comparisons={}
        if is_floor
        else {**_comparisons(scores, tested.swapped, floors), **_box_comparisons(tested)},
        protocols={
            name: ProtocolFigures(
                metrics=dict(found.metrics),
                ci95=dict(found.ci95),
                floors={
                    floor: figures_of(bound)
                    for floor, bound in cached_floors(truth, rules, without=too_costly).items()
                },
                ceiling=cached_ceiling(truth, rules),
            )
            for name, found in tested.scores.items()
            if (rules := protocol_named(name, config.data_name)).name != PROTOCOL
        }
        | ({} if tested.boxes is None else {BOXES: box_figures(tested.boxes, SWAPPED)}),
        scores_sha256=_write_results(folder, config, data, tested, truth),
    )


def _reasons(
    config: RunConfig, data: ClipData, scores: Scores, *, dry_run: bool
) -> tuple[str, ...]:
    """Why a run may not be ranked; nothing where it may."""
    reasons = []
    if dry_run:
        reasons.append("--dry-run")
    if data.report.is_miniature:
        reasons.append("a miniature made by bench sample-data")
    if config.data.limit is not None and not dry_run:
        reasons.append(f"--limit {config.data.limit}")
    absent = len(data.report.missing) + len(data.report.unreadable)
    if absent:
        reasons.append(f"{absent} of {data.report.n_expected} test clips missing or unreadable")
    if scores.partial:
        reasons.append(f"{scores.n} scored samples are too few to cross-fit thresholds")
    return tuple(reasons)


def _distribution(method_name: str) -> Distribution:
    name = METHOD_REGISTRY.names()[method_name].distribution
    return Distribution(name, version(name))


def _leakage(config: RunConfig, data: ClipData, *, learns: bool) -> Leakage:
    report = data.report
    if not learns:  # no list was trained on here, whatever lies beside the data
        return Leakage(0, 0, 0, config.data.allow_leakage, 0, 0)
    train, test = report.splits.get("train"), report.splits["test"]
    ids = set(train.ids) & set(test.ids) if train is not None else set()
    videos = set(train.videos) & set(test.videos) if train is not None else set()
    return Leakage(
        clips=report.leaked_clips,
        videos=report.leaked_videos,
        removed=report.removed_for_leakage,
        allowed=config.data.allow_leakage,
        trained_on=len(ids),
        trained_on_videos=len(videos),
    )


def _skill(
    metrics: Mapping[str, float], floors: Mapping[str, Scores], top: Mapping[str, float]
) -> dict[str, float | None]:
    result = {}
    for key in (key for key in CLAIMED if key in metrics):
        name = best_floor(floors, key)
        floor = None if name is None else floors[name].metrics[key]
        result[key] = skill(metrics.get(key), floor, top.get(key))
    return result


def _comparisons(
    scores: Scores, swapped: Scores | None, floors: Mapping[str, Scores]
) -> dict[str, dict[str, Difference]]:
    """Paired differences from the best floor of each metric, other sounds and all objects."""
    comparisons: dict[str, dict[str, Difference]] = {"best_floor": {}}
    for key in (key for key in CLAIMED if key in scores.metrics):
        name = best_floor(floors, key)
        if name is not None:
            comparisons["best_floor"][key] = _difference(scores, floors[name], key, name)
        if "all_objects" in floors and key in floors["all_objects"].metrics:
            objects = comparisons.setdefault("all_objects", {})
            objects[key] = _difference(scores, floors["all_objects"], key, "all_objects")
    swap = {
        key: _difference(scores, swapped, key, "swapped sounds")
        for key in SWAPPED
        if swapped is not None and key in scores.metrics
    }
    return comparisons | ({"swap": swap} if swap else {})


def _box_comparisons(tested: Tested) -> dict[str, dict[str, Difference]]:
    """Paired differences of boxes from the best floor of boxes, other sounds and the map."""
    if tested.boxes is None:
        return {}
    own, swapped, floors, _ = tested.boxes
    found: dict[str, dict[str, Difference]] = {}
    for key in (key for key in CLAIMED if key in own.metrics):
        rivals = {"swap": (swapped, "swapped sounds"), "map": (tested.scores[PROTOCOL], "the map")}
        name = best_floor(floors, key)
        if name is not None:
            rivals["best_floor"] = (floors[name], name)
        for kind, (rival, against) in rivals.items():
            if key in rival.metrics:
                difference = _difference(own, rival, key, against)
                found.setdefault(f"{BOXES}_{kind}", {})[key] = difference
    return found


def _difference(scores: Scores, other: Scores, key: str, against: str) -> Difference:
    found = paired_difference(scores, other, key)
    return Difference(against, found.n, found.mean, found.low, found.high)


def _write_results(
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
