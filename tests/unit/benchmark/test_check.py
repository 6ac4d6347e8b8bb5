"""Each rule of the contract finds the method that breaks it, and none blames a good one."""

import random
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark import check
from benchmark.check import Finding, finding_lines, subject_of, verdict
from datamodules.clip import Batch, Clip, Localization
from methods import METHODS
from methods.base import Method, MethodCard, MethodConfig, OptimConfig
from metrics.errors import BenchError


@dataclass
class SmallConfig(MethodConfig):
    image_size: int = 16
    segment_seconds: float = 0.1


class Sound(Method):
    """Every cell is as high as the sound is loud."""

    Config = SmallConfig
    card = MethodCard(paper="none", map_range=(0.0, 10.0))
    presets: ClassVar = {"small": {}}

    def __init__(self, config: MethodConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        self.gain = nn.Parameter(torch.rand(()))
        self.register_buffer("seen", torch.zeros(()))

    def level(self, clip: Clip) -> Tensor:
        return self.gain * clip.waveform[:, 0].square().mean(1)

    def loss(self, batch: Batch) -> Tensor:
        return (self.level(batch.clip) - 1).square().mean()

    def localize(self, clip: Clip) -> Localization:
        level = self.level(clip)
        return Localization(level[:, None, None].expand(-1, 2, 2), level)


class Undescribed(Sound):
    pass


Undescribed.__doc__ = None


class WithoutPaper(Sound):
    """Its card is not complete."""

    card = MethodCard(paper="", map_range=(0.0, 10.0))


class UpsideDown(Sound):
    """Its range goes from high to low."""

    card = MethodCard(map_range=(1.0, 0.0))


class Bare(Sound):
    """A setting without a default."""

    class Config(SmallConfig):
        pass


class ForOtherData(Sound):
    """A recipe for data that do not exist."""

    recipe: ClassVar = {"vgsss": {"optim.lr": 1.0}}


class Misspelt(Sound):
    """A preset with a setting that does not exist."""

    presets: ClassVar = {"small": {"optim.lrr": 1.0}}


class Unseeded(Sound):
    """Weights that nobody can draw again."""

    drawn: ClassVar = iter(range(1000))

    def __init__(self, config: MethodConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        with torch.no_grad():
            self.gain.fill_(1 + next(self.drawn))


class Global(Sound):
    """Draws from the generator of everybody."""

    def localize(self, clip: Clip) -> Localization:
        random.random()
        np.random.rand()
        return super().localize(clip)


class Flat(Sound):
    """A map for the batch and not for each clip."""

    def localize(self, clip: Clip) -> Localization:
        answer = super().localize(clip)
        return answer._replace(heatmap=answer.heatmap.mean(0))


class Whole(Sound):
    """Confidence in whole numbers."""

    def localize(self, clip: Clip) -> Localization:
        answer = super().localize(clip)
        return answer._replace(confidence=answer.confidence.round().long())


class Outside(Sound):
    """Maps below the range of the card."""

    def localize(self, clip: Clip) -> Localization:
        answer = super().localize(clip)
        return answer._replace(heatmap=answer.heatmap - 3)


class DividesBySound(Sound):
    """No answer to silence."""

    def localize(self, clip: Clip) -> Localization:
        answer = super().localize(clip)
        return answer._replace(heatmap=answer.heatmap / answer.heatmap)


class OfTheBatch(Sound):
    """Maps relative to the other clips."""

    def localize(self, clip: Clip) -> Localization:
        answer = super().localize(clip)
        return answer._replace(heatmap=answer.heatmap / (1 + answer.heatmap.sum()))


class ByRow(Sound):
    """Goes by the place of a clip in its list."""

    def localize(self, clip: Clip) -> Localization:
        answer = super().localize(clip)
        heatmap = answer.heatmap + clip.index[:, None, None] % 1000 // 500 + clip.index.max() // 999
        return answer._replace(heatmap=heatmap)


class Counting(Sound):
    """Changes itself while it answers."""

    seen: Tensor

    def localize(self, clip: Clip) -> Localization:
        self.seen += 1
        return super().localize(clip)


class Unused(Sound):
    """A weight that no loss sees."""

    def __init__(self, config: MethodConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        self.further = nn.Linear(2, 2)


class Infinite(Sound):
    """A gradient that is not finite, of a loss that is."""

    def loss(self, batch: Batch) -> Tensor:
        return super().loss(batch) + (0 * self.gain).sqrt()


class Changing(Sound):
    """Scores that change from run to run."""

    runs: ClassVar = iter(range(1000))

    def on_test_start(self) -> None:
        self.shift = next(self.runs)

    def localize(self, clip: Clip) -> Localization:
        answer = super().localize(clip)
        return answer._replace(confidence=answer.confidence + getattr(self, "shift", 0))


class Deaf(Sound):
    """Cannot hear."""

    def level(self, clip: Clip) -> Tensor:
        return self.gain + 0 * clip.waveform[:, 0].sum(1)


class Large(Sound):
    """No settings for two CPU cores."""

    presets: ClassVar = {}


class Raises(Sound):
    """Does not answer at all."""

    def localize(self, clip: Clip) -> Localization:
        raise ZeroDivisionError("no place")


FAULTS = [
    (Undescribed, "describes_itself", "write a docstring for Undescribed"),
    (WithoutPaper, "has_complete_card", 'the card has no paper; where there is none, write "none"'),
    (UpsideDown, "has_complete_card", r"low < high, or None; it is (1.0, 0.0)"),
    (ForOtherData, "composes_with_every_data_set", "the recipe is for vgsss, which is no"),
    (Unseeded, "has_weights_of_its_seed", "gain differ; build the modules after super()"),
    (Global, "leaves_global_generators_alone", "drew from the global generator of random or"),
    (Flat, "answers_in_shape", "heatmap must be (B, h, w), here with B = 3; it is (2, 2)"),
    (Whole, "answers_in_shape", "confidence must be of a float type; it is torch.int64"),
    (Outside, "keeps_to_its_map_range", "map_range is (0, 10), and a map of noise goes from -2"),
    (DividesBySound, "answers_silence", "the map of silence is not finite"),
    (OfTheBatch, "answers_each_clip_alone", "when it is alone; statistics over a batch"),
    (ByRow, "does_not_look_at_the_row", "its map changes with clip.index"),
    (Counting, "answering_changes_nothing", "localize changed seen"),
    (Unused, "learns_with_all_its_weights", "no gradient reaches further.weight, further.bias"),
    (Infinite, "learns_with_all_its_weights", "the gradient of gain is not finite"),
    (Changing, "repeats_its_scores", "they differ; draw only from generators"),
    (Deaf, "hears", "as they are with other sounds: it cannot hear"),
    (Large, "has_small_settings", "its settings on synthetic are those of its paper"),
]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The classes of this file by their names, and a cache of their own."""
    module = ModuleType("methods_to_check")
    for kind in (Sound, Bare, Misspelt, Raises, *(fault[0] for fault in FAULTS)):
        setattr(module, kind.__name__, kind)
        target = f"methods_to_check:{kind.__name__}"
        monkeypatch.setitem(METHODS, kind.__name__, (target, "of a test"))
    monkeypatch.setitem(sys.modules, "methods_to_check", module)
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path))


def faults(name: str) -> dict[str, str]:
    """What is found, by check."""
    found = verdict(subject_of(name))
    return {each.check: each.fault for each in found if each.fault is not None}


def first_fault(name: str) -> Finding:
    """The first fault that is found; nothing is checked after it."""
    return next(each for each in verdict(subject_of(name)) if each.fault is not None)


def test_a_method_that_keeps_the_contract_has_no_fault() -> None:
    assert {} == faults("Sound")


@pytest.mark.parametrize(
    ("kind", "rule", "words"), FAULTS, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_fault_is_found_first_by_its_own_rule(kind: type, rule: str, words: str) -> None:
    found = first_fault(kind.__name__)

    assert rule == found.check
    assert words in str(found.fault)


def test_a_setting_that_does_not_exist_is_told_with_its_data_and_preset() -> None:
    found = check.composes_with_every_data_set(subject_of("Misspelt"))

    assert found is not None
    assert found.startswith("with --data synthetic: unknown setting 'optim.lrr' (preset small)")


def test_what_a_method_raises_is_told_with_its_place_and_hides_no_other_rule() -> None:
    found = {each.check: each.fault for each in verdict(subject_of("Raises"))}

    line = Raises.localize.__code__.co_firstlineno + 1
    assert found["answers_in_shape"] == f"ZeroDivisionError: no place ({__file__}:{line})"
    assert found["has_complete_card"] is None


def test_a_config_that_is_no_dataclass_of_its_own_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Bare, "Config", dict)

    fault = check.has_default_settings(check.Subject("Bare", Bare))

    assert fault == "dict must be a @dataclass that inherits methods.base.MethodConfig"


def test_a_floor_has_nothing_to_check() -> None:
    with pytest.raises(BenchError, match="center is a floor, a rule of the metrics"):
        subject_of("center")


def test_a_setting_that_the_user_mistyped_is_no_fault_of_the_method() -> None:
    with pytest.raises(BenchError, match=r"unknown setting 'method\.foo'"):
        subject_of("Sound", ("method.foo=1",))


def test_a_finding_is_read_in_lines() -> None:
    kept = Finding("hears", "Another sound gives another answer.", None)
    broken = kept._replace(fault="word " * 30)

    assert finding_lines(kept) == ["ok    Another sound gives another answer."]
    assert [line[:7] for line in finding_lines(broken)] == ["NO    A", "      w", "      w"]
    assert finding_lines(broken._replace(advice=True))[0].startswith("note  ")
