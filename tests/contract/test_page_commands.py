"""Every command in a code block of docs/ is run: miniatures, few clips, random weights."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
import torch
import torchvision
from PIL import Image
from torch import nn

from datamodules.sample_data import SAMPLES, write_sample
from methods.soundnet import SoundNet, shortest_input
from methods.vgg import vgg16_map_of_release, vgg19_pool5
from methods.vggish import VGGish

Bench = Callable[..., Any]
DOCS = Path(__file__).parents[2] / "docs"
RUN_BY_OTHERS = {
    "prepare": "test_prepare.py",
    "proposals": "test_proposals.py",
    "your_data": "test_plugin.py",
    "your_method": ".ci/walk",
}
PROGRAMS = ("uv run ", "bench ", "torchrun ", "srun ")
SMALL = ("data.batch_size=4", "data.num_workers=0", "data.proposals=grid", "method.image_size=32")
OF_RESNETS = {"hardpos", "lvs", "ezvsl", "slavc", "fnac"}
SHORT_SOUNDS = "method.sample_rate_hz=4000"
SYNTHETIC = ("data.train_clips=24", "data.val_clips=8", "data.test_clips=8", "data.image_size=32")
SUPERVISED = "method.supervision=supervised"
CPU = ("trainer.accelerator=cpu", "trainer.strategy=ddp")
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vgg16.pth": vgg16_map_of_release,
    "vgg19.pth": vgg19_pool5,
    "vggish.pth": VGGish,
    "soundnet.pth": lambda: SoundNet(shortest_input()).layers,
    "resnet18.pth": torchvision.models.resnet18,
}
SRUN = f"""#!{sys.executable}
import os, subprocess, sys
words = sys.argv[1:]
tasks = int(words[words.index("--nodes") + 1])
own = {{"NTASKS": tasks, "NTASKS_PER_NODE": 1, "NNODES": tasks, "JOB_NUM_NODES": tasks,
       "LOCALID": 0, "JOB_ID": 7, "JOB_NAME": "avloc", "NODELIST": "127.0.0.1"}}
started = [
    subprocess.Popen(
        [sys.executable, "-m", "benchmark.cli", *words[words.index("bench") + 1:]],
        env=os.environ | {{f"SLURM_{{name}}": str(value) for name, value in own.items()}}
        | {{"SLURM_PROCID": str(task), "SLURM_NODEID": str(task)}},
    )
    for task in range(tasks)
]
sys.exit(max(task.wait() for task in started))
"""


def shown() -> list[tuple[str, str]]:
    """Pages and the lines of their code blocks that call a program, without comments."""
    found = []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for block in re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL):
            lines = [" ".join(line.partition(" #")[0].split()) for line in block.splitlines()]
            found += [(page.stem, line) for line in lines if line.startswith(PROGRAMS)]
    return [(page, line) for page, line in found if page not in RUN_BY_OTHERS]


SHOWN = shown()


def commands(*programs: str, devices: bool = False) -> list[Any]:
    """Those that begin so, and ask for several devices or not."""
    return [
        pytest.param(line.removeprefix("uv run "), id=f"{page}-{line.removeprefix('uv run ')}"[:80])
        for page, line in SHOWN
        if line.removeprefix("uv run ").startswith(programs) and devices == ("devices=8" in line)
    ]


ALONE = commands("bench ")
TOGETHER = commands("bench run ", "torchrun ", "srun ", devices=True)
ON_SLURM = commands("bench launch ", devices=True)


def test_no_command_is_left_out() -> None:
    (watching,) = commands("tensorboard ")
    assert len(SHOWN) == len([*ALONE, *TOGETHER, *ON_SLURM, watching])
    assert len(SHOWN) > 60


class Shelf:
    """What pages leave to their readers: data sets, weights, finished runs; each made once."""

    def __init__(self, folder: Path, bench: Bench, released: dict[str, torch.Tensor]) -> None:
        self.folder = folder
        self.bench = bench
        self.released = released
        self.miniature = lru_cache(self._miniature)
        self.weights = lru_cache(self._weights)
        self.run = lru_cache(self._run)

    def _miniature(self, data: str) -> Path:
        root = self.folder / "data" / data
        write_sample(data, root, clips=12)
        listed = (root / "train.txt").read_text() if (root / "train.txt").exists() else ""
        if data == "vggss":
            for name in ("vggss_10k.txt", "vggss_144k.txt"):
                (root / name).write_text(listed)
            shutil.copy(root / "vggss_test.csv", root / "vggss_unheard_test.csv")
        if data == "flickr":
            (root / "flickr_10k.txt").write_text(listed)
            tested = [line.partition(",")[0] for line in (root / "flickr_test.csv").open()]
            rows = [f"{one},{tested[0]},non-sounding\n" for one in tested]
            (root / "flickr_test_plus_silent.csv").write_text("video,audio,label\n" + "".join(rows))
        if data == "ave":
            clips = [line for line in (root / "Annotations.txt").open() if "&" in line]
            (root / "features").mkdir()
            for name, shape in (("visual", (7, 7, 512)), ("audio", (128,))):
                with h5py.File(root / "features" / f"{name}_feature.h5", "w") as file:
                    file["avadataset"] = np.ones((len(clips), 10, *shape), dtype=np.float32)
        return root

    def _weights(self, name: str) -> Path:
        of_lvs = name == "lvs_vggss.pth.tar"
        state = self.released if of_lvs else NETWORKS[name]().state_dict()
        for key, tensor in state.items():
            if key.endswith("running_mean"):  # a SoundNet without batch statistics is refused
                tensor.fill_(0.1)
        torch.save({"model_state_dict": state} if of_lvs else state, self.folder / name)
        return self.folder / name

    def _run(self, method: str, data: str, *words: str) -> Path:
        """The folder of a finished dry run, alone in its folder of runs."""
        runs = self.folder / "-".join(("runs", method, data, *words))
        place: tuple[str, ...] = (
            SYNTHETIC if data == "synthetic" else (f"data.root={self.miniature(data)}",)
        )
        place += (SHORT_SOUNDS,) if method in OF_RESNETS and data != "synthetic" else ()
        done = self.bench("run", "--method", method, "--data", data, "--dry-run", *SMALL, *place,
                          *words, f"logging.runs={runs}")  # fmt: skip
        assert done.code == 0, done.err
        (record,) = runs.glob("*/record.json")
        return record.parent

    @cached_property
    def shards(self) -> Path:
        out = self.folder / "shards"
        assert (
            self.bench("shards", "vggss", "--root", self.miniature("vggss"), "--out", out).code == 0
        )
        return out


@pytest.fixture(scope="module")
def shelf(
    bench: Bench, released_state: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"), bench, released_state("lvs"))


def filled(line: str, shelf: Shelf) -> list[str]:
    """The words of a command, with what lies on the shelf in place of what is the reader's."""
    data = next((word for word in line.split() if word in SAMPLES), "vggss")
    places: dict[str, Callable[[], object]] = {
        "DIR": lambda: shelf.miniature(data),
        "F.npz": lambda: shelf.run("avfb", data, "data.batch_size=4") / "predictions.npz",
        "runs/<folder>": lambda: shelf.run("lvs", data if "--id" in line or "--root" in line
                                           else "synthetic"),
        "runs/<boxes>": lambda: shelf.run("proposal", "synthetic"),
        "runs/<supervised>": lambda: shelf.run("avfb", "synthetic", SUPERVISED),
        "runs/<unsupervised>": lambda: shelf.run("avfb", "synthetic"),
        "<clip>": lambda: np.load(shelf.run("lvs", "vggss") / "predictions.npz")["id"][0],
        "<data>": lambda: shelf.miniature("vggss"),
        "/data/other-runs": lambda: shelf.run("lvs", "vggss").parent,
        "s3://bucket/vggss": lambda: shelf.shards,
    }  # fmt: skip
    for place, there in places.items():
        if place in line:
            line = line.replace(place, str(there()))
    return shlex.split(line)


def lay_files(line: str, shelf: Shelf, made_video: Callable[..., Path]) -> None:
    """Puts the files that a command names into the folder in which it is called."""
    for name in re.findall(r"[\w.]+\.pth(?:\.tar)?", line):
        shutil.copy(shelf.weights(name), name)
    if "sample" in re.split(r"[ =]", line) and "sample-data" not in line:
        Path("sample").symlink_to(shelf.miniature("music_solo"))
    if line.startswith("bench report"):
        Path("runs").symlink_to(shelf.run("lvs", "synthetic").parent)
    if " predict " in line:
        rng = np.random.default_rng(0)
        Path("pictures").mkdir()
        for name in ("street.jpg", "pictures/street.jpg"):
            Image.fromarray(rng.integers(256, size=(48, 64, 3), dtype=np.uint8)).save(name)
        for name in ("dog.wav", "violin.wav", "pictures/street.wav"):
            soundfile.write(name, rng.normal(size=48000) / 8, 16000)
        made_video(Path("concert.mp4"), seconds=2, rate=4)


def made_small(words: list[str]) -> list[str]:
    """Adds to a command what makes it end in seconds."""
    added: tuple[str, ...] = ()
    if words[0] in ("run", "launch", "eval") and "--experiment" not in words:
        given = {word.partition("=")[0] for word in words}
        few = (*SMALL, *(SYNTHETIC if "synthetic" in words else ()))
        few += (SHORT_SOUNDS,) if OF_RESNETS & set(words) and "synthetic" not in words else ()
        added = tuple(word for word in few if word.partition("=")[0] not in given)
        added += () if words[0] == "eval" else ("--dry-run",)
    elif words[0] == "score":
        added = ("--no-floors",)
    elif words[0] == "report":
        Path("none").mkdir(exist_ok=True)  # no accepted record
        added = ("--results", "none")
    return [*words, *added]


@pytest.mark.parametrize("line", ALONE)
def test_a_command_goes_through(
    line: str, shelf: Shelf, bench: Bench, made_video: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    lay_files(line, shelf, made_video)

    done = bench(*made_small(filled(line.replace("--seeds 3", "--seeds 1"), shelf)[1:]))

    assert done.code == 0, done.err


@pytest.mark.parametrize("line", TOGETHER)
def test_a_command_for_several_devices_goes_through_on_two(
    line: str, shelf: Shelf, free_port: Callable[[], int], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    nodes = 2 if "num_nodes=2" in line else 1
    for eight in ("devices=8", "--nproc_per_node 8", "--ntasks-per-node 8"):
        line = line.replace(eight, f"{eight[:-1]}{2 // nodes}")
    program, *words = filled(line.replace("HOST:PORT", f"127.0.0.1:{free_port()}"), shelf)
    programs = {
        "bench": [sys.executable, "-m", "benchmark.cli"],
        "torchrun": [sys.executable, "-m", "torch.distributed.run"],
        "srun": ["srun"],
    }
    command = [*programs[program], *words, "--dry-run", *SMALL, SHORT_SOUNDS, *CPU]

    agents = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(nodes if program == "torchrun" else 1)
    ]
    told = [agent.communicate(timeout=300) for agent in agents]

    assert {0} == {agent.returncode for agent in agents}, told[0][1].decode()
    (record,) = tmp_path.glob("runs/*/record.json")
    assert '"processes": 2' in record.read_text()


@pytest.mark.parametrize("line", ON_SLURM)
def test_a_grid_goes_through_on_slurm(
    line: str, shelf: Shelf, slurm: Path, bench: Bench, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    line = line.replace("devices=8", "devices=1").replace("--seeds 3", "--seeds 2")

    done = bench(*made_small(filled(line, shelf)[1:]), "trainer.accelerator=cpu")

    assert done.code == 0, done.err
    assert "time=720" in slurm.read_text()


def test_the_command_that_shows_curves_starts(
    bench: Bench, free_port: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (line,) = commands("tensorboard ")
    words = ("run", "--method", "lvs_vanilla", "--data", "synthetic", "logging.tensorboard=true")
    assert bench(*made_small([*words])).code == 0
    address = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "tensorboard.main", *shlex.split(line.values[0])[1:]]
    with subprocess.Popen(
        [*command, "--port", address.rpartition(":")[2]], stderr=subprocess.PIPE
    ) as server:
        try:
            tags = ""
            for _ in range(120):
                try:
                    with urllib.request.urlopen(f"{address}/data/plugin/scalars/tags") as answer:
                        tags = answer.read().decode()
                except OSError:
                    pass
                if "train_loss" in tags:
                    break
                time.sleep(0.5)
        finally:
            server.terminate()

    assert "train_loss" in tags
