"""One read-only configuration per run, and where each of its values comes from.

Precedence: defaults < recipe of (method, data) < preset < --config files < command line.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.named_files import named_files
from benchmark.records import Record
from benchmark.registry import DATA_REGISTRY, METHOD_REGISTRY
from benchmark.settings import NOT_IN_HASH, PATHS, flat, kind_name, nested, parsed
from benchmark.typed_yaml import content_of
from datamodules.base import ClipData, DataConfig, extractor_of
from datamodules.proposals import Extractor
from methods.base import MemoryConfig, Method, MethodConfig, OptimConfig
from methods.chunks import MAPS
from metrics.errors import BenchError, did_you_mean

log = logging.getLogger(__name__)
BUILT_OF = ("seed", "method.", "optim.")  # starts of the keys that a method is built of
FINDS_BOXES = ("data.proposals", "data.proposal_width", "data.proposal_model")
OVERRIDE = re.compile(r"^[A-Za-z_][\w.]*=")
DEFAULT_PRESETS = {"synthetic": "small"}
DRY_RUN_CLIPS = 32
LOWEST = {
    "seed": 0,
    "method.image_size": 16,
    "method.sample_rate_hz": 4000,
    "method.segment_seconds": 0.1,
    "data.batch_size": 1,
    "data.num_workers": 0,
    "data.limit": 1,
    "data.shuffle_block": 1,
    "optim.weight_decay": 0,
    "trainer.max_epochs": 1,
    "trainer.accumulate": 1,
    "trainer.devices": 1,
    "trainer.num_nodes": 1,
}
"""Smallest values that have a meaning; below, some library would fail in words of its own."""
BEST_OF = {"val_loss": "min", "val_ciou": "max"}
"""What may choose the epoch in place of the last one: figures of held-out clips."""
CHOICES = {"trainer.select": ("last", *BEST_OF), "memory.maps": MAPS}
ABOVE_ZERO = ("optim.lr", "method.temperature")
LARGEST_SEED = 2**31 - 1


@dataclass
class TrainerConfig:
    """Settings ``trainer.*``, handed to Lightning."""

    max_epochs: int = 20
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    compile: bool = False  # torch.compile of both streams; needs a C++ compiler
    select: str = "last"  # last | val_loss (the lowest) | val_ciou (the highest), of held-out clips
    accumulate: int = 1  # batches whose gradients make one step; each has its own negatives alone


@dataclass
class LoggingConfig:
    """Settings ``logging.*``; none of them changes a score."""

    runs: str = "runs"  # folder of the run folders
    wandb: bool = False  # offline without WANDB_API_KEY; the record never depends on it
    tensorboard: bool = False  # event files in the run folder
    validation: bool = False  # val_loss after every epoch, of data.val_fraction
    panel: int = 0  # clips whose maps are drawn after every epoch


@dataclass(frozen=True)
class RunConfig:
    """The composed configuration of one run."""

    method_name: str
    data_name: str
    preset: str | None
    seed: int
    method: MethodConfig
    data: DataConfig
    optim: OptimConfig
    trainer: TrainerConfig
    memory: MemoryConfig
    logging: LoggingConfig
    values: Mapping[str, Any]  # every dotted key
    layers: Mapping[str, str]  # dotted key -> layer its value comes from
    overrides: tuple[str, ...] = field(default=())

    def identity(self) -> dict[str, Any]:
        """What can change a score: names and values without devices, workers, logging, paths.

        Of files of weights the content is part of it.
        """
        kept = {key: self.values[key] for key in self.values if not NOT_IN_HASH.fullmatch(key)}
        files = named_files(kept)
        return {
            "method": self.method_name,
            "data": self.data_name,
            "values": kept,
            **({"files": files} if files else {}),
        }

    def tree(self) -> dict[str, Any]:
        """The values as a nested dict."""
        return nested(self.values)

    def with_seed(self, seed: int) -> "RunConfig":
        """The same with another seed, of which no other value depends."""
        return replace(self, seed=seed, values={**self.values, "seed": seed})

    def with_settings(self, settings: Mapping[str, object]) -> "RunConfig":
        """The same with other values of settings but ``method.*``, for a stage."""
        groups: dict[str, Any] = {
            name: replace(getattr(self, name), **changes)
            for name, changes in nested(settings).items()
        }
        return replace(self, values={**self.values, **settings}, **groups)


def compose(
    method_name: str,
    data_name: str,
    *,
    overrides: Sequence[str] = (),
    files: Sequence[Path] = (),
    preset: str | None = None,
    seed: int | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    of_checkpoint: Mapping[str, object] | None = None,
) -> RunConfig:
    """The configuration of one run.

    Args:
        method_name: registered method.
        data_name: registered data set.
        overrides: ``key=value`` of the command line, taken last.
        files: YAML files, later ones win.
        preset: named settings of the method; ``small`` by default on ``synthetic``.
        seed: of ``--seed``.
        limit: of ``--limit``; lowers a batch that so few clips cannot fill, as a layer.
        dry_run: of ``--dry-run``; one epoch, and at most ``DRY_RUN_CLIPS`` clips of each split.
        of_checkpoint: settings that go with a file of weights; no preset is then usual.

    Raises:
        BenchError: unknown name, preset or key, or a value of the wrong type.
    """
    method: type[Method] = METHOD_REGISTRY.load(method_name, Method)  # type: ignore[type-abstract]
    data: type[ClipData] = DATA_REGISTRY.load(data_name, ClipData)  # type: ignore[type-abstract]
    schema = OmegaConf.create(
        {
            "seed": 0,
            "method": OmegaConf.structured(method.Config),
            "data": OmegaConf.structured(data.Config),
            "optim": OmegaConf.structured(OptimConfig),
            "trainer": OmegaConf.structured(TrainerConfig),
            "memory": OmegaConf.structured(MemoryConfig),
            "logging": OmegaConf.structured(LoggingConfig),
        }
    )
    OmegaConf.set_struct(schema, True)
    kinds = {"seed": int, **_kinds(method, data)}
    layers = dict.fromkeys(kinds, "defaults")
    usual = DEFAULT_PRESETS.get(data_name) if of_checkpoint is None else None
    chosen = preset or (usual if usual in method.presets else None)

    def apply(layer: str, settings: Mapping[str, object]) -> None:
        for key, value in settings.items():
            _set(schema, kinds, key, value, layer, f"--method {method_name} --data {data_name}")
            layers[key] = layer

    apply("recipe", {**method.recipe.get("*", {}), **method.recipe.get(data_name, {})})
    if chosen is not None:
        apply(f"preset {chosen}", _preset(method, method_name, chosen))
    apply("checkpoint", of_checkpoint or {})
    for path in files:
        apply(str(path), read_settings(path))
    if dry_run:
        limit = min(limit or DRY_RUN_CLIPS, DRY_RUN_CLIPS)
        apply("--dry-run", {"trainer.max_epochs": 1})
    if limit is not None:
        if limit < 4:
            raise BenchError(f"--limit must be at least 4, got {limit}")
        apply("--limit", {"data.limit": limit})
    if seed is not None:
        apply("--seed", {"seed": seed})
    command_line = split_overrides(overrides)
    apply("command line", command_line)
    if limit is not None:
        batch_size = min(schema.data.batch_size, max(2, limit // 2))
        if "data.batch_size" not in command_line and batch_size != schema.data.batch_size:
            apply("--limit", {"data.batch_size": batch_size})
    if schema.seed > LARGEST_SEED:
        raise BenchError(f"seed must be at most {LARGEST_SEED}, got {schema.seed}")
    OmegaConf.set_readonly(schema, True)
    return _run_config(schema, method_name, data_name, chosen, kinds, layers, overrides)


def data_alone(name: str, overrides: Sequence[str] = ()) -> tuple[type[ClipData], DataConfig]:
    """The class and the settings of a data set for which no method is chosen.

    Args:
        name: of the data set.
        overrides: ``data.key=value``.

    Raises:
        BenchError: the data set or a setting is unknown, or a setting is none of the data.
    """
    foreign = next((word for word in overrides if not word.startswith("data.")), None)
    if foreign is not None:
        raise BenchError(
            f"{foreign} is no setting of the data; only data.* settings may be given here"
        )
    kind: type[ClipData] = DATA_REGISTRY.load(name, ClipData)  # type: ignore[type-abstract]
    return kind, compose("center", name, overrides=overrides).data


class MethodSettings(NamedTuple):
    """What a method is built of."""

    method: MethodConfig
    optim: OptimConfig
    seed: int


def recorded_settings(
    method: type[Method], record: Record, source: Path, overrides: Sequence[str] = ()
) -> MethodSettings:
    """The settings that a run built its method of, whatever its data set.

    A setting that is younger than the record has its default, and is named in a warning.

    Args:
        method: class of the method.
        record: of the run.
        source: file of the record, for messages.
        overrides: ``method.key=value`` of the command line, taken last.

    Raises:
        BenchError: a setting is not known any more, or has a value of another type.
    """
    every_kind = {"seed": int, **_kinds(method, ClipData)}  # type: ignore[type-abstract]
    kinds = {key: kind for key, kind in every_kind.items() if key.startswith(BUILT_OF)}
    recorded = {key: value for key, value in flat(record.config) if key.startswith(BUILT_OF)}
    _check_age(record, source, recorded, kinds)
    given = split_overrides(overrides)
    for key in given:
        if not key.startswith("method."):
            raise BenchError(f"{key}: the settings that a trained run still takes are method.*")
    schema = OmegaConf.create({"seed": 0, "method": OmegaConf.structured(method.Config),
                               "optim": OmegaConf.structured(OptimConfig)})  # fmt: skip
    names = f"--method {record.method} --data {record.data}"
    for layer, settings in ((str(source), recorded), ("command line", given)):
        for key, value in settings.items():
            _set(schema, kinds, key, value, layer, names)
    trees: dict[str, Any] = {
        name: OmegaConf.to_object(schema[name]) for name in ("method", "optim")
    }
    return MethodSettings(seed=schema.seed, **trees)


def recorded_extractor(record: Record, overrides: Sequence[str] = ()) -> Extractor:
    """What found the proposals of a run, for other pictures than those of its data set.

    Args:
        record: of the run; a setting that is younger has its default.
        overrides: ``data.key=value`` of the command line, taken last.

    Raises:
        BenchError: a setting is none of ``FINDS_BOXES``, or nothing finds boxes under them.
    """
    every_kind = _kinds(Method, ClipData)  # type: ignore[type-abstract]
    kinds = {key: every_kind[key] for key in FINDS_BOXES}
    recorded = {key: value for key, value in flat(record.config) if key in FINDS_BOXES}
    given = split_overrides(overrides)
    for key in given:
        if key not in FINDS_BOXES:
            raise BenchError(
                f"{key}: of the data settings, files of your own take {', '.join(FINDS_BOXES)}; "
                "leave it out"
            )
    schema = OmegaConf.create({"data": OmegaConf.structured(DataConfig)})
    for layer, settings in (("record.json", recorded), ("command line", given)):
        for key, value in settings.items():
            _set(schema, kinds, key, value, layer, f"--method {record.method} --data {record.data}")
    config: Any = OmegaConf.to_object(schema.data)
    return extractor_of(config)


def _check_age(
    record: Record, source: Path, recorded: Iterable[str], known: Collection[str]
) -> None:
    """Raises BenchError where a recorded setting is gone; warns where the record lacks one."""
    gone = sorted({*recorded} - {*known})
    if gone:
        raise BenchError(
            f"{source} has the setting {gone[0]}, which {record.method} does not have in this "
            "version; use the version of avloc-bench that wrote it, or run it again"
        )
    younger = sorted({*known} - {*recorded} - {key for key in known if PATHS.fullmatch(key)})
    if younger:
        log.warning("%s is older than %s; the defaults are taken", source, ", ".join(younger))


def _run_config(
    schema: Any,
    method_name: str,
    data_name: str,
    preset: str | None,
    kinds: Iterable[str],
    layers: Mapping[str, str],
    overrides: Sequence[str],
) -> RunConfig:
    trees: dict[str, Any] = {
        name: OmegaConf.to_object(schema[name])
        for name in ("method", "data", "optim", "trainer", "memory", "logging")
    }
    return RunConfig(
        method_name=method_name,
        data_name=data_name,
        preset=preset,
        seed=schema.seed,
        values={key: OmegaConf.select(schema, key) for key in kinds},
        layers=layers,
        overrides=tuple(overrides),
        **trees,
    )


def _kinds(method: type[Method], data: type[ClipData]) -> dict[str, Any]:
    """Type of every dotted key."""
    groups: dict[str, type] = {
        "method": method.Config,
        "data": data.Config,
        "optim": OptimConfig,
        "trainer": TrainerConfig,
        "memory": MemoryConfig,
        "logging": LoggingConfig,
    }
    kinds: dict[str, Any] = {}
    for group, schema in groups.items():
        hints = get_type_hints(schema)
        kinds |= {f"{group}.{item.name}": hints[item.name] for item in fields(schema)}
    return kinds


def _preset(method: type[Method], method_name: str, preset: str) -> Mapping[str, object]:
    if preset not in method.presets:
        known = ", ".join(method.presets) or "none"
        raise BenchError(
            f"method {method_name!r} has no preset {preset!r} (it has: {known});"
            f"{did_you_mean(preset, method.presets)} see bench show --method {method_name}"
        )
    return method.presets[preset]


def _set(
    schema: Any, kinds: Mapping[str, Any], key: str, value: object, layer: str, names: str
) -> None:
    if key not in kinds:
        raise BenchError(
            f"unknown setting {key!r} ({layer}).{did_you_mean(key, kinds)} "
            f"Run bench show {names} to see them all."
        )
    try:
        setting = parsed(value, kinds[key])
        OmegaConf.update(schema, key, setting)
    except (OmegaConfBaseException, ValueError) as error:
        raise BenchError(
            f"{key}={value} ({layer}): expected {kind_name(kinds[key])}, got {value!r}"
        ) from error
    known = CHOICES.get(key)
    if known is not None and setting not in known:
        raise BenchError(
            f"{key}={setting!r} is unknown;{did_you_mean(str(setting), known)} "
            f"use {', '.join(known[:-1])} or {known[-1]}"
        )
    if isinstance(setting, int | float) and setting < LOWEST.get(key, setting):
        raise BenchError(f"{key}={value} ({layer}): must be at least {LOWEST[key]}")
    if key in ABOVE_ZERO and not OmegaConf.select(schema, key) > 0:
        raise BenchError(f"{key}={value} ({layer}): must be above 0")


def split_overrides(overrides: Sequence[str]) -> dict[str, object]:
    """``key=value`` words as a dict.

    Raises:
        BenchError: a word is no override, or a key stands twice with different values.
    """
    settings: dict[str, object] = {}
    for word in overrides:
        if not OVERRIDE.match(word):
            raise BenchError(
                f"{word!r} is neither an option nor a setting; settings look like optim.lr=1e-4"
            )
        key, _, value = word.partition("=")
        if settings.get(key, value) != value:
            raise BenchError(f"{key} is given twice: {settings[key]} and {value}")
        settings[key] = value
    return settings


def read_settings(path: Path) -> dict[str, object]:
    """A YAML file as dotted keys with raw text, to be read by each field's type.

    Plain YAML rules would make ``1e-4`` text and ``0123_456`` a number, so scalars are not resolved
    here.

    Raises:
        BenchError: the file is missing, is no YAML mapping or has a key twice.
    """
    try:
        tree = content_of(path)
    except BenchError as error:
        raise BenchError(f"--config {error}") from error
    if not isinstance(tree, dict):
        raise BenchError(f"--config {path} must hold settings such as 'optim: {{lr: 1e-4}}'")
    settings: dict[str, object] = {}
    for key, value in flat(tree):
        if key in settings:
            raise BenchError(f"--config {path}: key {key!r} is given twice; keep one of them")
        settings[key] = value
    return settings
