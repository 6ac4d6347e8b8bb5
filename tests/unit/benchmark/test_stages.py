import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from benchmark.config import RunConfig, compose
from benchmark.stages import DONE, WEIGHTS, StageRunner, load_weights, locked
from datamodules.atomic_files import write_json
from datamodules.base import ClipData
from datamodules.clip import Inputs
from datamodules.synthetic import Synthetic
from methods.base import OptimConfig
from methods.lvs_vanilla import ContrastiveConfig, LvsVanilla
from metrics.errors import BenchError

HOLD = """
import sys, time
from pathlib import Path
from typing import NamedTuple
from filelock import FileLock
lock = FileLock(Path(sys.argv[1]) / ".lock")
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


class Held(NamedTuple):
    """A folder and the process that holds its lock."""

    folder: Path
    process: subprocess.Popen[str]


@pytest.fixture
def held_by_another(tmp_path: Path) -> Iterator[Held]:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield Held(tmp_path, process)
        process.kill()


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return compose("lvs_vanilla", "synthetic", overrides=[f"logging.runs={tmp_path / 'runs'}"])


@pytest.fixture
def stages(config: RunConfig) -> Callable[[], StageRunner]:
    """A new run of one configuration each time."""
    data = Synthetic(config.data, Inputs(), seed=0)
    return lambda: StageRunner(config, data, lists={"train": "a hash"})


@pytest.fixture
def method() -> LvsVanilla:
    config = ContrastiveConfig(image_size=32, segment_seconds=1.0, backbone="small")
    return LvsVanilla(config, OptimConfig(), seed=0)


class Builder:
    """Writes its number of calls into the folder it is given."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "made").write_text(str(self.calls))


def test_a_second_run_in_a_folder_is_refused(held_by_another: Held) -> None:
    with (
        pytest.raises(
            BenchError,
            match=r"is in use by another run; wait for it, or start one elsewhere with "
            r"logging\.runs=DIR",
        ),
        locked(held_by_another.folder, wait=False),
    ):
        pass


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOLD.replace("time.sleep(60)", "sys.exit()"), str(tmp_path)]
    )

    assert done.returncode == 0
    with locked(tmp_path, wait=False):
        assert (tmp_path / ".lock").exists()


def test_a_shared_stage_is_waited_for(held_by_another: Held) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_enter, held_by_another.folder)
        time.sleep(0.3)
        waited = not waiting.done()
        held_by_another.process.kill()

        assert (waited, waiting.result(timeout=10)) == (True, "entered")


def _enter(folder: Path) -> str:
    with locked(folder, wait=True):
        return "entered"


def test_a_stage_is_built_once(stages: Callable[[], StageRunner]) -> None:
    build = Builder()

    first = stages().cached("mined", {"k": 3}, build)
    second = stages().cached("mined", {"k": 3}, build)

    assert (first, build.calls) == (second, 1)


def test_a_stage_is_built_again_when_its_key_changes(stages: Callable[[], StageRunner]) -> None:
    build = Builder()

    first = stages().cached("mined", {"k": 3}, build)
    second = stages().cached("mined", {"k": 4}, build)

    assert (first == second, build.calls) == (False, 2)


def test_a_stage_is_built_again_when_a_former_one_changes(
    stages: Callable[[], StageRunner],
) -> None:
    build = Builder()
    for width in (1, 2):
        runner = stages()
        runner.cached("features", {"width": width}, lambda folder: None)
        runner.cached("mined", {"k": 3}, build)

    assert build.calls == 2


def test_a_stage_is_built_again_for_other_lists(config: RunConfig) -> None:
    build = Builder()
    for digest in ("one", "two"):
        data = Synthetic(config.data, Inputs(), seed=0)
        StageRunner(config, data, {"train": digest}).cached("mined", {"k": 3}, build)

    assert build.calls == 2


def test_a_stage_that_failed_is_built_again(stages: Callable[[], StageRunner]) -> None:
    def fail(folder: Path) -> None:
        (folder / "made").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        stages().cached("mined", {"k": 3}, fail)
    folder = stages().cached("mined", {"k": 3}, Builder())

    assert (folder / "made").read_text() == "1"


def test_a_finished_stage_that_was_damaged_is_built_again(
    stages: Callable[[], StageRunner], caplog: pytest.LogCaptureFixture
) -> None:
    def is_whole(folder: Path) -> bool:
        return (folder / "made").is_file()

    build = Builder()
    folder = stages().cached("mined", {"k": 3}, build, is_whole=is_whole)
    (folder / "made").unlink()

    again = stages().cached("mined", {"k": 3}, build, is_whole=is_whole)

    assert (again, build.calls) == (folder, 2)
    assert f"{folder} is damaged and made again" in caplog.messages
    stages().cached("mined", {"k": 3}, build, is_whole=is_whole)
    assert build.calls == 2


def test_a_finished_training_is_loaded_and_not_repeated(
    stages: Callable[[], StageRunner], method: LvsVanilla, tmp_path: Path
) -> None:
    saved = {name: torch.full_like(value, 2) for name, value in method.state_dict().items()}
    torch.save(saved, tmp_path / WEIGHTS)
    write_json(tmp_path / DONE, {"seconds": 41.5})
    runner = stages()

    runner.train(method, tmp_path, title="training")

    assert all((value == 2).all() for value in method.state_dict().values())
    assert {"training": 41.5} == runner.seconds  # what it had taken


class Concluding(LvsVanilla):
    """Keeps what it finds on the training clips when training has ended."""

    found: torch.Tensor

    def __init__(self, config: ContrastiveConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        self.register_buffer("found", torch.zeros(2))

    def conclude(self, data: ClipData) -> None:
        weights = next(self.parameters())
        self.found += torch.tensor(
            [len(data.report.splits["train"]), float(weights.detach().sum())]
        )


def test_what_a_method_concludes_after_training_is_kept_with_its_weights(tmp_path: Path) -> None:
    words = "data.train_clips=8 data.val_clips=1 data.test_clips=2 data.batch_size=4 "
    words += "data.image_size=32 method.image_size=32 trainer.max_epochs=1 trainer.accelerator=cpu "
    words += f"logging.runs={tmp_path}/runs data.root={tmp_path}/clips"
    config = compose("lvs_vanilla", "synthetic", preset="small", overrides=words.split())
    method = Concluding(config.method, config.optim, seed=0)
    data = Synthetic(config.data, method.inputs, seed=0)
    runner = StageRunner(config, data, lists={})

    runner.train(method, tmp_path, title="training")
    again = Concluding(config.method, config.optim, seed=0)
    runner.train(again, tmp_path, title="training")

    trained = float(next(method.parameters()).detach().sum())
    assert method.found.tolist() == pytest.approx([8, trained])
    assert again.found.tolist() == method.found.tolist()


class Stepping(LvsVanilla):
    """Keeps the gradients of every step."""

    def __init__(self, config: ContrastiveConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        self.steps: list[list[torch.Tensor]] = []

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.steps.append([weights.grad.clone() for weights in self.parameters()
                           if weights.grad is not None])  # fmt: skip


def test_a_step_of_two_batches_has_the_mean_of_their_gradients(tmp_path: Path) -> None:
    words = "data.train_clips=20 data.val_clips=1 data.test_clips=2 data.batch_size=4 "
    words += "data.image_size=32 method.image_size=32 trainer.max_epochs=1 trainer.accelerator=cpu "
    words += f"trainer.accumulate=2 logging.runs={tmp_path}/runs data.root={tmp_path}/clips"
    config = compose("lvs_vanilla", "synthetic", preset="small", overrides=words.split())
    method, by_hand = (Stepping(config.method, config.optim, seed=0) for _ in range(2))
    data = Synthetic(config.data, method.inputs, seed=0)
    batches = list(data.train_dataloader())
    StageRunner(config, data, lists={}).train(method, tmp_path, title="training")

    sum(by_hand.loss(batch) / 2 for batch in batches[:2]).backward()
    expected = [weights.grad for weights in by_hand.parameters()]
    assert len(batches) == 5
    assert len(method.steps) == 2  # the fifth batch fills no step
    for found, mean in zip(method.steps[0], expected, strict=True):
        torch.testing.assert_close(found, mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"no weights"], ids=["empty", "garbage"])
def test_damaged_weights_are_the_users_to_delete(
    content: bytes, method: LvsVanilla, tmp_path: Path
) -> None:
    path = tmp_path / "stage" / WEIGHTS
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(BenchError) as caught:
        load_weights(method, path)

    assert str(caught.value).startswith(f"{path} cannot be loaded (")
    assert str(caught.value).endswith(f"delete {path.parent}")
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(method: LvsVanilla, tmp_path: Path) -> None:
    torch.save({"streams.other": torch.zeros(1)}, tmp_path / WEIGHTS)

    with pytest.raises(BenchError, match=r"cannot be loaded \(Error\(s\) in loading state_dict"):
        load_weights(method, tmp_path / WEIGHTS)


def test_several_processes_may_write_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "floor.json"

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(write_json, path, {"ciou": [0.5] * 999}) for _ in range(64)]:
            done.result()

    assert json.loads(path.read_text()) == {"ciou": [0.5] * 999}
    assert [path] == list(tmp_path.iterdir())


def test_notes_are_kept_for_the_record(stages: Callable[[], StageRunner]) -> None:
    runner = stages()

    runner.note("k", 3)

    assert runner.notes == {"k": 3}


class Trained(NamedTuple):
    """What one training run of a stage was given."""

    folder: Path
    max_epochs: int
    labelled: str | None
    inputs: Inputs
    optim: OptimConfig


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Trained]:
    """Notes what every stage would train on, and trains nothing."""
    seen = []

    def train(self: StageRunner, method: LvsVanilla, folder: Path, *, title: str) -> None:
        config = self.config
        seen.append(
            Trained(
                folder,
                config.trainer.max_epochs,
                config.data.labelled,
                self.data.inputs,
                method.optim,
            )
        )

    monkeypatch.setattr(StageRunner, "train", train)
    return seen


TINY = ("data.train_clips=6", "data.val_clips=2", "data.test_clips=2", "data.batch_size=2")
OWN = {"trainer.max_epochs": 3, "data.labelled": None, "optim.lr": 0.5}


def fit_apart(tmp_path: Path, *overrides: str, settings: dict[str, object] | None = None) -> None:
    words = [*TINY, *overrides, f"logging.runs={tmp_path / 'runs'}"]
    config = compose("lvs_vanilla", "synthetic", overrides=words)
    data = Synthetic(config.data, Inputs(), seed=0)
    stage = LvsVanilla(
        ContrastiveConfig(backbone="small", image_size=48, segment_seconds=0.5),
        OptimConfig(),
        seed=0,
    )
    StageRunner(config, data, lists={"train": "a hash"}).fit("base", stage, settings or OWN)


def test_a_stage_with_settings_of_its_own_has_its_own_data_and_optimiser(
    trained: list[Trained], tmp_path: Path
) -> None:
    fit_apart(tmp_path, "data.labelled=0.5", "trainer.max_epochs=9", "optim.weight_decay=0.1")

    (seen,) = trained
    inputs, optim = Inputs(image_size=48, segment_seconds=0.5), OptimConfig(0.5, 0.1, "one_cycle")
    assert seen[1:] == (3, None, inputs, optim)


def test_runs_that_differ_share_a_stage_with_settings_of_its_own(
    trained: list[Trained], tmp_path: Path
) -> None:
    fit_apart(tmp_path, "data.labelled=0.5")
    fit_apart(tmp_path, "data.labelled=0", "data.unlabelled=0.4", settings=OWN | {
        "data.unlabelled": None})  # fmt: skip
    fit_apart(tmp_path, "optim.lr=0.1", "trainer.max_epochs=9")
    fit_apart(tmp_path, "data.annotators=true")  # only what is tested against
    fit_apart(tmp_path, "data.generator_seed=1")

    first, second, third, annotated, other_clips = (each.folder for each in trained)
    assert first == second == third == annotated
    assert other_clips != first
