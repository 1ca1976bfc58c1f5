"""Weights of a file and the network it describes, compared before memory is taken for the network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration

from koopstep.core.errors import DamagedError

_SLACK = 256  # buffers that are no weights, and parts that are registered twice


class _TooMany(Exception):
    """More parts than the file has tensors for."""


def empty_network(build: Callable[[], nn.Module], tensors: int, where: str) -> nn.Module:
    """The network that ``build`` makes, on the meta device: names and shapes, no memory for numbers.

    A file may ask for a million layers in a few bytes; the building stops where there are more parameters and buffers
    than the file can have weights for.

    Args:
        build: makes the network.
        tensors: how many the file holds.
        where: what messages call the file.

    Raises:
        DamagedError: far more parts than tensors, or sizes that no memory holds.
        UsageError: whatever ``build`` refuses.
    """
    try:
        with _at_most(2 * tensors + _SLACK), torch.device("meta"):
            return build()
    except _TooMany as error:
        raise DamagedError(
            f"{where}: the weights do not fit: the network it describes has far more parts than the file's {tensors}"
        ) from error
    except (RuntimeError, OverflowError, MemoryError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedError(f"{where}: the weights do not fit: no such network can be built ({reason})") from error


def network_to_fill(build: Callable[[], nn.Module]) -> nn.Module:
    """The network that ``build`` makes, for weights to be put in; the numbers it draws first are not the caller's."""
    with torch.random.fork_rng(devices=[]):
        return build()


@contextmanager
def _at_most(parts: int) -> Iterator[None]:
    """Stops this thread's building of modules at so many parameters and buffers."""
    thread, left = threading.get_ident(), [parts]

    def count(module: nn.Module, name: str, value: Tensor | None) -> None:
        if threading.get_ident() == thread:
            left[0] -= 1
            if left[0] < 0:
                raise _TooMany

    hooks = [
        registration.register_module_parameter_registration_hook(count),
        registration.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def check_fit(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Names and shapes must be exactly those of ``network`` (which may be empty).

    Raises:
        DamagedError: a tensor is missing, superfluous, or of another shape.
    """
    wanted = network.state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        words = [
            f"{len(names)} {kind} ({_few(names)})"
            for kind, names in (("missing", missing), ("too many", extra))
            if names
        ]
        raise DamagedError(
            f"{where}: the weights do not fit: they are not those of the network it describes: {'; '.join(words)}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise DamagedError(
                f"{where}: the weights do not fit: size mismatch: {name} has shape {tuple(tensor.shape)}, the network "
                f"it describes has {tuple(wanted[name].shape)}"
            )


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
