"""Weights that are there already, tested: a file that others released, or a run of this benchmark.

A released file is recognised, and is then a run of the network's method with ``method.checkpoint``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.checkpoint_facts import KeptWeights
from benchmark.config import BUILT_OF, FINDS_BOXES, RunConfig, compose
from benchmark.records import Record, read_record
from benchmark.registry import METHOD_REGISTRY
from benchmark.settings import NOT_IN_HASH, flat
from benchmark.stages import WEIGHTS
from methods.base import Method
from methods.own_frontends import FRONT_ENDS
from methods.released import read_released, release_of
from metrics.errors import BenchError

SETTING = "--checkpoint"
USUAL_RATE_HZ = {"flickr": 22050, "flickr_extended": 22050}
"""Of the sounds as they are published, in Hz; those of other data sets are at ``OTHER_RATE_HZ``."""
OTHER_RATE_HZ = 16000
TEST_BATCH = 16  # clips at once; no score depends on it, and ten seconds of sound take memory


class Asked(NamedTuple):
    """What a user asks to be tested."""

    checkpoint: Path
    data: str
    network: str | None = None  # of --as
    front_end: str | None = None  # own | bench
    weights: str | None = None  # ema | online, of SLAVC
    guide: Path | None = None
    trained_on: str | None = None
    overrides: Sequence[str] = ()
    limit: int | None = None


class Evaluation(NamedTuple):
    """A run that tests weights."""

    config: RunConfig
    kept: KeptWeights | None  # of a run; None where others released them


def evaluation(asked: Asked) -> Evaluation:
    """The run that tests the weights of a file or of a run's folder.

    Raises:
        BenchError: the file is none that is known here, an option does not go with it, or a
            setting is wrong; one line says what to do.
    """
    run = _run_folder(asked.checkpoint)
    if run is not None:
        return _of_run(asked, run)
    file = read_released(asked.checkpoint, setting=SETTING)
    network = release_of(file, asked.network, setting=SETTING).network
    method = METHOD_REGISTRY.load(network, Method)  # type: ignore[type-abstract]
    words = [*_option_settings(asked, method, network), *asked.overrides]
    settings = {
        "method.checkpoint": str(asked.checkpoint),
        "data.batch_size": TEST_BATCH,
        **own_settings(network, asked.data, asked.front_end or "own"),
    }
    config = compose(
        network, asked.data, overrides=words, limit=asked.limit, of_checkpoint=settings
    )
    return Evaluation(config, None)


def own_settings(network: str, data: str, front_end: str) -> Mapping[str, object]:
    """Settings under which a network sees and hears a data set as its code does, or as ours does.

    Args:
        network: name of its method.
        data: name of the data set, whose usual rate the network hears: nobody resamples.
        front_end: own | bench.
    """
    if front_end == "bench":
        return {"method.front_end": "bench"}
    own = FRONT_ENDS[network]
    settings: dict[str, object] = {
        "method.front_end": "own",
        "method.image_size": own.image_size,
        "method.sample_rate_hz": USUAL_RATE_HZ.get(data, OTHER_RATE_HZ),
    }
    if own.seconds is not None:
        settings["method.segment_seconds"] = own.seconds
    if network == "attention_relu":
        settings["method.sample_rate_hz"] = 22050  # SoundNet's, for which features were made
        settings["method.answer"] = "attention"  # what its code saves
    return settings


def _option_settings(asked: Asked, method: type[Method], network: str) -> list[str]:
    """The settings that options stand for; raises BenchError where the method has none of them."""
    named = {
        "weights": ("method.weights", asked.weights),
        "guide": ("method.object_guidance", asked.guide),
        "trained-on": ("data.train_list", asked.trained_on),
        "front-end": ("method.front_end", asked.front_end),
    }
    known = {f"method.{item.name}" for item in fields(method.Config)}
    words = []
    for option, (key, value) in named.items():
        if value is None:
            continue
        if key.startswith("method.") and key not in known:
            raise BenchError(f"--{option} {value}: {network} has no such choice; leave it out")
        words.append(f"{key}={value}")
    return words


def _run_folder(path: Path) -> Path | None:
    """The folder of the run that a path names, by itself or by its weights; None otherwise."""
    if path.is_dir():
        return path
    inside = path.name == WEIGHTS and path.parent.name == "training"
    folder = path.parent.parent
    return folder if inside and (folder / "record.json").is_file() else None


def _of_run(asked: Asked, run: Path) -> Evaluation:
    given = {"--as": asked.network, "--front-end": asked.front_end}
    foreign = [option for option, value in given.items() if value is not None]
    if foreign:
        raise BenchError(
            f"{', '.join(foreign)}: {run} is a run, whose settings are kept; leave it out, or give "
            "method.key=value"
        )
    record = read_record(run / "record.json")
    weights = run / "training" / WEIGHTS
    _require_weights(record, run, weights)
    method = METHOD_REGISTRY.load(record.method, Method)  # type: ignore[type-abstract]
    words = [*_option_settings(asked, method, record.method), *asked.overrides]
    settings: dict[str, object] = dict(_kept_settings(record, asked.data, run, method))
    is_released = record.checkpoint is not None and record.checkpoint.kind == "released"
    if is_released:
        settings["method.checkpoint"] = str(weights)
    config = compose(
        record.method, asked.data, overrides=words, limit=asked.limit, of_checkpoint=settings
    )
    return Evaluation(config, None if is_released else KeptWeights(weights, record))


def _require_weights(record: Record, run: Path, weights: Path) -> None:
    if record.card.floor and not weights.is_file():
        raise BenchError(
            f"{SETTING} {run} is a run of {record.method}, a floor, which has no weights; use "
            f"bench run --method {record.method}"
        )
    if not weights.is_file():
        raise BenchError(f"{weights} does not exist; give {SETTING} a run that has its weights")


def _kept_settings(record: Record, data: str, run: Path, method: type[Method]) -> Mapping[str, Any]:
    """What a run was made with, apart from where things are; of other data what chose clips."""
    kept = {}
    own = {f"method.{item.name}" for item in fields(method.Config)}
    for key, value in flat(record.config):
        if key.startswith("method.") and key not in own:
            raise BenchError(
                f"{run / 'record.json'} has the setting {key}, which {record.method} does not have "
                "in this version; use the version of avloc-bench that wrote it"
            )
        belongs = key.startswith(BUILT_OF) or key in (*FINDS_BOXES, "data.batch_size")
        same = data == record.data and key.startswith("data.")
        if (belongs or same or key == "trainer.precision") and not NOT_IN_HASH.fullmatch(key):
            kept[key] = value
    return kept
