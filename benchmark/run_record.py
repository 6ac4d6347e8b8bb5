"""The record of a run: figures beside floors and ceiling, differences, lists and provenance."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import benchmark
from benchmark.boxes import ONSCREEN, box_figures, mean_with_interval
from benchmark.config import RunConfig
from benchmark.floor_cache import cached_ceiling, cached_floors
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
    environment,
    figures_of,
    git_state,
    with_swapped,
)
from benchmark.registry import METHOD_REGISTRY
from benchmark.settings import PATHS, nested
from benchmark.stages import StageRunner
from benchmark.tested import PROTOCOL, Tested
from datamodules.base import ClipData
from methods.base import Method
from methods.global_norm import world_size
from metrics.bootstrap import paired_difference
from metrics.ceilings import skill
from metrics.floors import best_floor, best_floor_value
from metrics.protocols import protocol_named
from metrics.scoring import Scores
from metrics.truth import Truth

COSTLY_FLOORS = ("random",)  # 100 draws; beside bench-v1 only, or a short run would wait for them
COMPARED = ("ciou@0.5", "pixel_ap", "pointing", "auc", "segment_acc")
"""Metrics with paired differences, where a run has them."""
SWAPPED = (*COMPARED, "context_pointing")  # metrics that are told with other sounds too


def run_record(
    run_id: str,
    config: RunConfig,
    config_hash: str,
    data: ClipData,
    method: Method,
    stages: StageRunner,
    tested: Tested,
    truth: Sequence[Truth],
    scores_sha256: str,
    dry_run: bool,
) -> Record:
    """The record of a run; how long it took is told once it is written."""
    report = data.report
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
        id=run_id,
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
        scores_sha256=scores_sha256,
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
    for key in (key for key in COMPARED if key in metrics):
        result[key] = skill(metrics.get(key), best_floor_value(floors, key), top.get(key))
    return result


def _comparisons(
    scores: Scores, swapped: Scores | None, floors: Mapping[str, Scores]
) -> dict[str, dict[str, Difference]]:
    """Paired differences from the best floor of each metric, other sounds and all objects."""
    comparisons: dict[str, dict[str, Difference]] = {"best_floor": {}}
    for key in (key for key in COMPARED if key in scores.metrics):
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
    for key in (key for key in COMPARED if key in own.metrics):
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
