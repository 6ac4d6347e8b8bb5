"""Files of weights that others released: which network they are of, and how they are read.

Files are told by the names of their tensors, whatever they are called. Nothing is unpickled but
tensors, plain values and numbers of numpy, which the scores in these files are. Sources of names
and containers: ``torch.save`` in the training code of each repository at the commits that
:mod:`methods.own_frontends` names.
"""

import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.user_paths import expanded
from methods.weights import Published, fill
from metrics.errors import BenchError

CONTAINERS = ("model_state_dict", "state_dict", "model")
SETTING = "method.checkpoint"
PRETRAINING = "released checkpoint"
HEAD = 512  # bytes that tell a web page or a pointer
ZIP_START = b"PK\x03\x04"
LFS_START = b"version https://git-lfs.github.com/spec"
ANOTHER_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Release:
    """A network whose weights were released.

    Attributes:
        network: the method that has it.
        title: what its authors call it.
        files: the files that hold it, in words.
        protocol: by which its authors scored it; None where they released no code for that.
    """

    network: str
    title: str
    files: str
    protocol: str | None


@dataclass(frozen=True)
class ReleasedFile:
    """What a file holds: tensors by name without ``module.``, and what else can be told of it."""

    path: Path
    tensors: Mapping[str, Tensor]
    container: str | None  # the key that they stand under
    parallel: bool  # whether all names began with ``module.``
    weight_decay: float | None  # of the optimiser that the file holds
    facts: Mapping[str, object] = field(default_factory=dict)  # plain values beside the tensors

    def to_dict(self) -> dict[str, object]:
        """What a record says of it."""
        told: dict[str, object] = {
            "container": self.container,
            "tensors": len(self.tensors),
            "data_parallel": self.parallel,
        }
        if self.weight_decay is not None:
            told["optimizer_weight_decay"] = self.weight_decay
        return told | dict(self.facts)


RELEASES: Mapping[str, Release] = MappingProxyType(
    {
        release.network: release
        for release in (
            Release(
                "lvs",
                "LVS",
                "lvs_vggss.pth.tar or another file of Localizing-Visual-Sounds-the-Hard-Way",
                "lvs",
            ),
            Release("sslalign", "SSLalignment", "a file ours_*.pth.tar of SSLalignment", "align"),
            Release("ssltie", "SSL-TIE", "a file of SSL-TIE", "lvs"),
            Release("ezvsl", "EZ-VSL", "a file best.pth of EZ-VSL", "ezvsl"),
            Release("fnac", "FNAC", "a file best.pth of FNAC_AVL", "ezvsl"),
            Release("slavc", "SLAVC", "a file latest.pth or best.pth of SLAVC", "slavc"),
            Release(
                "attention_relu",
                "Attention (Senocak et al. 2018)",
                "the model of learning_to_localize_sound_source",
                None,
            ),
        )
    }
)
"""By the name of the method."""


def read_released(path: Path, *, setting: str = SETTING) -> ReleasedFile:
    """The tensors of a file, and what else it tells, read without running anything in it.

    Args:
        path: of the file, in either format of ``torch.save``.
        setting: what chose it, for messages.

    Raises:
        BenchError: there is no file, or it is empty, damaged, half a download, a pointer of Git
            LFS, a web page, no file of torch, holds code, or holds no state dict.
    """
    place = f"{setting}={path}"
    if not path.is_file():
        raise BenchError(f"{place}: there is no such file")
    fault = _head_fault(path)
    if fault is None:
        content, fault = _loaded(path)
    if fault is not None:
        raise BenchError(f"{place}: {fault}")
    container, state = _state_of(content)
    if isinstance(state, str):
        raise BenchError(f"{place}: {state}")
    parallel = all(name.startswith("module.") for name in state)
    tensors = {name.removeprefix("module.") if parallel else name: state[name] for name in state}
    outside = content if container is not None else {}
    return ReleasedFile(
        path, tensors, container, parallel, _weight_decay(outside), _plain_values(outside)
    )


def _head_fault(path: Path) -> str | None:
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    if not head:
        return "the file is empty; download it again"
    if head.startswith(LFS_START):
        return "it is a pointer of Git LFS, not the file; fetch that with git lfs pull"
    if head.lstrip().startswith(b"<"):
        return (
            "it is a web page, as hosts answer that ask for a confirmation first; open the link in "
            "a browser and download the file itself"
        )
    if head.startswith(ZIP_START):
        return _zip_fault(path)
    return None


def _zip_fault(path: Path) -> str | None:
    """What is wrong with the archive; torch compares no checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except DAMAGE:
        return "it ends too early, as half a download does; download it again"
    return None if broken is None else f"the checksum of {broken} is wrong; download it again"


def _loaded(path: Path) -> tuple[Any, str | None]:
    """The content of a file, or what is wrong with it."""
    try:
        with torch.serialization.safe_globals(NUMPY_NUMBERS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True), None
    except pickle.UnpicklingError as error:  # its text advises to unpickle all the same
        named = ANOTHER_GLOBAL.search(str(error))
        if named is None:
            return None, "it is no file of weights of torch, or is damaged; download it again"
        return None, _code_fault(named.group(1))
    except (*DAMAGE, KeyError, TypeError, AttributeError, IndexError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        return None, (
            f"it cannot be read as a file of torch ({reason}): half a download, or damaged; "
            "download it again"
        )


def _code_fault(name: str) -> str:
    if name.rpartition(".")[2] in ("att_Net", "TBMRF_Net") or name.startswith("models."):
        return (
            f"it is a whole module of {name}, as AVE-ECCV18 saves its networks; to open it would "
            "run code out of the file, so it is never unpickled; save its state_dict() with the "
            "authors' code and torch"
        )
    return (
        f"it asks for {name}, and to open it would run code out of the file, so it is never "
        "unpickled; give a file that holds tensors and plain values alone"
    )


class _NumberKind:
    """Stands for ``numpy.dtype`` in a file: of plain numbers, and of nothing else."""

    def __init__(self, code: str, *_: object) -> None:
        if code not in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "b1"):
            raise pickle.UnpicklingError(f"numpy.dtype of {code!r}")
        self.kind = np.dtype(f"<{code}")

    def __setstate__(self, state: Sequence[object]) -> None:
        if state[1] not in ("<", "|", "="):
            raise pickle.UnpicklingError(f"numpy.dtype of byte order {state[1]!r}")


def _number(kind: object, content: object) -> float:
    """Stands for what makes a number of numpy out of bytes: the same number as a plain one."""
    if not isinstance(kind, _NumberKind) or not isinstance(content, bytes):
        raise pickle.UnpicklingError("numpy.core.multiarray.scalar of no number")
    return float(np.frombuffer(content, kind.kind, count=1)[0])


NUMPY_NUMBERS: list[Any] = [
    (_number, "numpy.core.multiarray.scalar"),
    (_number, "numpy._core.multiarray.scalar"),
    (_NumberKind, "numpy.dtype"),
]
"""What a file may name beside what torch allows: a mean that numpy computed, as a best score is."""


def _state_of(content: Any) -> tuple[str | None, dict[str, Tensor] | str]:
    """The key that the tensors stand under, and the tensors or why there are none."""
    container = None
    for key in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            container, content = key, content[key]
            break
    if not isinstance(content, Mapping) or not content:
        return container, f"it holds {type(content).__name__}, not the tensors of a network"
    for name, tensor in content.items():
        if not isinstance(tensor, Tensor):
            return container, f"it holds {type(tensor).__name__} under {name!r}, not a tensor"
    return container, {str(name): tensor for name, tensor in content.items()}


def _weight_decay(content: Mapping[str, Any]) -> float | None:
    """That of the optimiser in a container; None where it holds none, or several that differ."""
    optimizer = content.get("optimizer")
    groups = optimizer.get("param_groups", ()) if isinstance(optimizer, Mapping) else ()
    decays = {group.get("weight_decay") for group in groups if isinstance(group, Mapping)}
    (decay,) = decays if len(decays) == 1 else (None,)
    return None if decay is None else float(decay)


def _plain_values(content: Mapping[str, Any]) -> dict[str, object]:
    found = {str(key): value for key, value in content.items()}
    return {
        key: value
        for key, value in found.items()
        if isinstance(value, bool | int | str) or (isinstance(value, float) and np.isfinite(value))
    }


def release_of(file: ReleasedFile, chosen: str | None = None, *, setting: str = SETTING) -> Release:
    """The network whose weights a file holds.

    Args:
        file: of :func:`read_released`.
        chosen: name of the network, which counts where several have such tensors.
        setting: what chose the file, for messages.

    Raises:
        BenchError: the file is of no network that is known here, of one that needs more than a
            frame and a sound, of several with equal tensors, or not of the chosen one.
    """
    place = f"{setting}={file.path}"
    if chosen is not None and chosen not in RELEASES:
        raise BenchError(f"{place}: no released network is called {chosen!r}; use one of "
                         f"{', '.join(RELEASES)}")  # fmt: skip
    told, fitting = _networks(file, place)
    titles = [RELEASES[name].title for name in fitting]
    if chosen is not None and chosen not in fitting:
        raise BenchError(
            f"{place}: by its tensors it is a file of {' or '.join(titles)} and cannot be read as "
            f"{chosen}; give {RELEASES[chosen].files}, or use {' or '.join(fitting)}"
        )
    if chosen is None and told is None:
        raise BenchError(
            f"{place}: the tensors of {' and '.join(titles)} have the same names and shapes, and "
            "the file holds no optimizer whose weight_decay would tell them apart; add --as "
            f"{' or --as '.join(fitting)}"
        )
    return RELEASES[chosen or told or ""]


class _Told(NamedTuple):
    """The network that a file is told to be of, if one is, and all that have such tensors."""

    network: str | None
    fitting: tuple[str, ...]


def _networks(file: ReleasedFile, place: str) -> _Told:
    tensors = file.tensors
    if any("flownet." in name for name in tensors):
        raise BenchError(
            f"{place}: it is a file of Hear-the-Flow, which needs optical flow beside the frame "
            "and the sound; no data set here has any"
        )
    if any(name.startswith("affine_audio.") for name in tensors):
        raise BenchError(
            f"{place}: it is a file of AVE-ECCV18, which answers classes of seconds on kept "
            "features and no map of a frame; there is nothing to score"
        )
    if "norm3.running_mean" in tensors:
        return _Told("ssltie", ("ssltie",))
    if "imgnet.conv1_a.weight" in tensors:  # LVS saved from DataParallel, SSLalignment did not
        return _Told("lvs" if file.parallel else "sslalign", ("lvs", "sslalign"))
    if "img_proj1.weight" in tensors:
        return _Told("slavc", ("slavc",))
    if "img_proj.weight" in tensors and "aud_proj.weight" in tensors:
        by_decay = {0.0: "ezvsl", 1e-4: "fnac"}  # the optimisers of their train.py
        known = None if file.weight_decay is None else by_decay.get(file.weight_decay)
        return _Told(known, ("ezvsl", "fnac"))
    if any(name.startswith("vision_embedding_model.") for name in tensors):
        return _Told("attention_relu", ("attention_relu",))
    if any(name.startswith("streams.") for name in tensors):
        raise BenchError(
            f"{place}: it holds the weights of a run of this benchmark; give the folder of the run"
        )
    raise BenchError(
        f"{place}: its tensors are of no network that is known here, the first is "
        f"{next(iter(tensors))}; known are "
        f"{', '.join(release.title for release in RELEASES.values())}"
    )


def require_alone(config: object, checkpoint: str | None, usual: Mapping[str, object]) -> None:
    """Raises BenchError where a setting would say otherwise what a released file says.

    Args:
        config: settings of a method.
        checkpoint: that of them; None lets the others be.
        usual: the values that go with a file, by setting.
    """
    for name, value in usual.items():
        if checkpoint is not None and getattr(config, name) != value:
            expected = "null" if value is None else value
            raise BenchError(
                f"method.{name}={getattr(config, name)} does not go with {SETTING}, whose file "
                f"says what the network is; set method.{name}={expected}"
            )


def load_released(
    method: nn.Module,
    parts: Mapping[str, nn.Module],
    path: str,
    network: str,
    names: Mapping[str, str | None],
) -> ReleasedFile:
    """Fills a network with a released file, all of it or nothing.

    Args:
        method: that the network belongs to; the ``weights.pt`` of a run that tested such a file
            will do as well.
        parts: modules by the first part of the names that ``names`` gives.
        path: of the file.
        network: name of the method.
        names: beginnings of stored names and what takes their place; None where a tensor is of no
            use here.

    Raises:
        BenchError: the file cannot be read, is of another network, or lacks a tensor, has one more
            or one of another shape; one line names the first of them.
    """
    file = read_released(expanded(path))
    own, tensors = method.state_dict(), file.tensors
    parts_of_own = {name.partition(".")[0] for name in own}
    of_network = {name for name in tensors if name.partition(".")[0] in parts_of_own}
    if of_network == own.keys() and all(tensors[name].shape == own[name].shape for name in own):
        method.load_state_dict({name: tensors[name] for name in own})
        return file
    release = release_of(file, network)
    published = Published(release.title, release.files, names)
    wrong = fill(nn.ModuleDict(parts), file.tensors, published, name_of=published.stored_name)
    if wrong is not None:
        raise BenchError(
            f"{SETTING}={path}: it is not {release.title} as released: {wrong}; give "
            f"{release.files}"
        )
    return file
