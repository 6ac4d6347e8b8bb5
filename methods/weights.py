"""Weights of published networks out of files, all of them or none."""

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metrics.errors import BenchError

CONTAINERS = ("state_dict", "model_state_dict", "model")  # keys that training scripts wrap with


@dataclass(frozen=True)
class Published:
    """How the weights of a network are stored by those who published them.

    Attributes:
        network: its name in messages.
        files: the files that fit, in words.
        names: beginnings of stored names and what takes their place; None where the tensor is of no
            use here. Of several that fit, the longest counts; a name that none fits stays.
        hub: whether the name of a timm model will do in place of a file.
    """

    network: str
    files: str
    names: Mapping[str, str | None] = field(default_factory=dict)
    hub: bool = False

    def local_name(self, stored: str) -> str | None:
        """The network's own name of a stored tensor; None where it is of no use here."""
        fits = [start for start in self.names if stored.startswith(start)]
        if not fits:
            return stored
        start = max(fits, key=len)
        place = self.names[start]
        return None if place is None else place + stored[len(start) :]

    def stored_name(self, own: str) -> str:
        """The name under which a tensor of the network is stored, where it is renamed at all."""
        renamed = [(place, start) for start, place in self.names.items()
                   if place is not None and own.startswith(place)]  # fmt: skip
        if not renamed:
            return own
        place, start = max(renamed, key=lambda pair: len(pair[0]))
        return start + own[len(place) :]


def load_weights(
    module: nn.Module,
    source: str,
    published: Published,
    *,
    setting: str,
    without: str | None = "to train from random weights",
) -> None:
    """Fills a network from a file, or from a timm model where the network allows it.

    The file holds a state dict, bare or in one of ``CONTAINERS``, with or without ``module.`` in
    front of all names. Every tensor of the network must be there in its shape and nothing may be
    left over; only a last axis of length 1 may be missing, as in kernels of 1-D convolutions, and
    the counts of batches that old files lack. Nothing is unpickled but tensors.

    Args:
        module: the network, on any device.
        source: path of the file, or the name.
        published: how the file is laid out.
        setting: what chose it, for the message.
        without: what the setting is null for, for the message; None where it must be given.

    Raises:
        BenchError: ``source`` cannot be read or had, or is of another network.
    """
    try:
        stored = _stored(source, hub=published.hub)
    except Exception as error:  # torch, timm and the hub raise many types for one user mistake
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise _refusal(source, published, setting, without, reason) from error
    wrong = fill(module, stored, published)
    if wrong is not None:
        raise _refusal(source, published, setting, without, wrong)


def fill(
    module: nn.Module,
    stored: Mapping[str, Tensor],
    published: Published,
    *,
    name_of: Callable[[str], str] = str,
) -> str | None:
    """Fills a network with stored tensors, all of it or nothing.

    Args:
        module: the network, on any device.
        stored: tensors by their published names.
        published: what these are.
        name_of: how a tensor of the network is called in what is returned.

    Returns:
        What is missing, left over or of another shape; None where nothing is.
    """
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
    state, strange = {}, []
    for name, tensor in stored.items():
        own = published.local_name(name)
        if own in wanted:
            state[own] = tensor.unsqueeze(-1) if (*tensor.shape, 1) == wanted[own] else tensor
        elif own is not None:
            strange.append(name)
    wrong = ", ".join(_faults(wanted, state, strange, name_of))
    if not wrong:
        module.load_state_dict(state, strict=False)
    return wrong or None


def _stored(source: str, *, hub: bool) -> Mapping[str, Tensor]:
    if Path(source).exists():
        try:
            content = torch.load(source, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # its text advises to unpickle all the same
            raise TypeError(
                "it holds other things than tensors, which are never unpickled"
            ) from error
    elif hub:
        import timm  # 0.6 s, which all other runs are spared

        content = timm.create_model(source, pretrained=True).state_dict()
    else:
        raise FileNotFoundError("there is no such file")
    return _state_dict(content)


def _state_dict(content: Any) -> Mapping[str, Tensor]:
    for key in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise TypeError(f"it holds {type(content).__name__}, not a state dict")
    for name, tensor in content.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"it holds {type(tensor).__name__} under {name!r}, not a tensor")
    wrapped = all(str(name).startswith("module.") for name in content)
    return {str(name).removeprefix("module." if wrapped else ""): content[name] for name in content}


def _faults(
    wanted: Mapping[str, torch.Size],
    state: Mapping[str, Tensor],
    strange: list[str],
    name_of: Callable[[str], str],
) -> Iterator[str]:
    needed = [name for name in wanted if not name.endswith("num_batches_tracked")]
    missing = [name for name in needed if name not in state]
    if missing:
        first = name_of(missing[0])
        yield f"it lacks {len(missing)} of {len(needed)} tensors, the first is {first}"
    if strange:
        yield f"{len(strange)} in it are of another network, the first is {strange[0]}"
    other = [name for name in state if state[name].shape != wanted[name]]
    if other:
        came, expected = tuple(state[other[0]].shape), tuple(wanted[other[0]])
        first = f"{name_of(other[0])} {came}, not {expected}"
        yield f"{len(other)} are of another shape, the first is {first}"


def _refusal(
    source: str, published: Published, setting: str, without: str | None, reason: str
) -> BenchError:
    named = published.hub and not Path(source).exists()
    hub = " and no timm model that can be had here" if named else ""
    otherwise = "" if without is None else f", or {setting}=null {without}"
    return BenchError(
        f"{setting}={source!r} is no file of {published.network} weights{hub} ({reason}); give "
        f"{published.files}{otherwise}"
    )


def draw_weights(module: nn.Module) -> None:
    """Draws all convolutions and dense layers from N(0, 2 / inputs), with biases of 0.

    So the activations of a deep network without batch statistics keep their size (He et al. 2015).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
