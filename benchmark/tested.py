"""A method on its test clips: what it answered, and what that scores under each protocol."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmark.boxes import BoxScores, box_scores, overlapping_pairs, own_rule_correct
from benchmark.evaluator import (
    OWN_SOUND,
    SWAPPED_SOUND,
    AnswerCollector,
    Answers,
    SourceMaps,
    one_map_for_all,
)
from benchmark.floor_cache import cached_floor
from benchmark.stages import StageRunner
from datamodules.base import ClipData
from methods.base import Method
from methods.floors import Floor
from methods.released import RELEASES
from metrics.measurement import num_annotators
from metrics.predictions import Predictions
from metrics.protocols import protocol_named
from metrics.scoring import Scores, score
from metrics.truth import Truth, measured_truth

PROTOCOL = "bench-v1"
FIELD_PROTOCOLS = ("lvs", "ezvsl")  # in every record; bench score applies any other to its maps
CONSENSUS_PROTOCOL = "senocak"  # in records of data with several annotators, whom it lets vote


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


def tested_floor(method: Floor, truth: Sequence[Truth]) -> Tested:
    """A floor, measured by its rule: it answers no maps."""
    started = time.monotonic()
    scores = {
        protocol: cached_floor(method.rule, truth, protocol)
        for protocol in recorded_protocols(truth)
    }
    return Tested(scores, None, None, None, time.monotonic() - started)


def scored_truth(method: Method, data: ClipData) -> tuple[Truth, ...]:
    """What a run is scored against, and its floors and ceiling with it."""
    by_source = _num_sources(data) > 0
    return measured_truth(data.truth(), localises=method.card.localises, by_source=by_source)


def _num_sources(data: ClipData) -> int:
    """The most isolated sounds of a test clip, each of which gets a map of its own."""
    test = data.report.splits["test"]
    return max((data.num_sources("test", row) for row in range(len(test))), default=0)


def tested_method(
    method: Method, data: ClipData, stages: StageRunner, truth: Sequence[Truth]
) -> Tested:
    """What a trained method answers to own, other and isolated sounds, under every protocol.

    Args:
        method: trained.
        data: of the run.
        stages: whose trainer tests.
        truth: of :func:`scored_truth`.
    """
    started = time.monotonic()
    collector = AnswerCollector()
    stages.tester(collector).test(method, datamodule=data, verbose=False)
    test = data.report.splits["test"]
    own = collector.answers(OWN_SOUND, len(test))
    other = collector.answers(SWAPPED_SOUND, len(test))
    sources = collector.source_maps(_num_sources(data), len(test))
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
        onscreen_thresholds=scores[PROTOCOL].onscreen_thresholds,
    )
    boxes = box_scores(own, other, test.ids, truth, PROTOCOL, method.card.boxes)
    if method.card.boxes == 2 and own.boxes is not None:
        stages.note("clips_whose_two_boxes_overlap", overlapping_pairs(own.boxes))
    onscreen = own_rule_correct(own, other, truth, test.ids)
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
