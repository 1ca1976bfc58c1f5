"""Writes pickles as EDM's training does, from weights of our own networks; no code of theirs is needed.

A module there is pickled as a call of ``torch_utils.persistence._reconstruct_persistent_obj`` on its program text, class name
and state; its tensors go through torch's own reductions. Both are so here, with an invented program text.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SOURCE = "raise SystemExit('this program text must never run')\n" + "# line\n" * 200


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> object:
    raise AssertionError(f"a real unpickler would now run the text of {meta['class_name']}")


def scalar(dtype: np.dtype[Any], data: bytes) -> object:
    return np.frombuffer(data, dtype)[0]


@contextlib.contextmanager
def as_if_defined(names: Mapping[str, object]) -> Iterator[None]:
    """``{"module.name": function}``: pickles refer to the functions by these names."""
    before = dict(sys.modules)
    for full, thing in names.items():
        module, _, name = full.rpartition(".")
        thing.__module__, thing.__qualname__, thing.__name__ = module, name, name  # type: ignore[attr-defined]
        sys.modules.setdefault(module.partition(".")[0], types.ModuleType(module.partition(".")[0]))
        sys.modules[module] = types.ModuleType(module)
        setattr(sys.modules[module], name, thing)
    try:
        yield
    finally:
        for module in {name.rpartition(".")[0] for name in names} | {name.partition(".")[0] for name in names}:
            sys.modules.pop(module)
            if module in before:
                sys.modules[module] = before[module]


class Persistent(nn.Module):
    """A module that is pickled as theirs are."""

    def __init__(self, class_name: str, arguments: dict[str, Any] | None = None, **facts: Any) -> None:
        super().__init__()
        self.__dict__["pickled_as"] = class_name
        self.__dict__["_init_args"] = ()
        self.__dict__["_init_kwargs"] = arguments or {}
        self.__dict__.update(facts)

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "pickled_as"}
        return _reconstruct_persistent_obj, (meta(self.pickled_as, state),)


class PersistentThing:
    """The same for what is no module (the loss, the augmentation)."""

    def __init__(self, class_name: str, **facts: Any) -> None:
        self.class_name, self.facts = class_name, facts

    def __reduce__(self) -> tuple[Any, ...]:
        return _reconstruct_persistent_obj, (meta(self.class_name, self.facts),)


class EasyDict(dict[str, Any]):
    """Their dict with attributes."""


class OldNumber:
    """A numpy number, by the name that numpy 1 gives its function."""

    def __init__(self, value: np.generic) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return scalar, (self.value.dtype, self.value.tobytes())


def meta(class_name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"type": "class", "version": 6, "module_src": SOURCE, "class_name": class_name, "state": state}


@dataclass(frozen=True)
class Written:
    """How a pickle is written."""

    old_numpy: bool = False
    snapshot: bool = False


def pickle_network(
    class_name: str,
    model_type: str,
    arguments: dict[str, Any],
    weights: Mapping[str, Tensor],
    how: Written = Written(),
    facts: Mapping[str, Any] | None = None,
) -> bytes:
    """A network pickle.

    Args:
        class_name: of the preconditioning, such as ``EDMPrecond``.
        model_type: of the network inside, such as ``SongUNet``.
        arguments: what the outer class was made with.
        weights: all tensors by the names their state dict has (``model.enc.16x16_conv.weight``), filters among them.
        how: variants of the writing.
        facts: attributes of the outer module beside its arguments.
    """
    number = np.float64(np.sqrt(0.5))
    skip_scale = OldNumber(number) if how.old_numpy else number
    network = Persistent(class_name, {**arguments, "model_type": model_type}, **(facts or {}))
    for name, value in weights.items():
        _place(network, name.split("."), value, model_type, skip_scale)
    network.eval().requires_grad_(False)
    value: Any = network
    if how.snapshot:
        value = {
            "ema": network,
            "loss_fn": PersistentThing("EDMLoss", P_mean=-1.2, P_std=1.2, sigma_data=0.5),
            "augment_pipe": PersistentThing("AugmentPipe", p=0.12, xflip=1e8, rotate_frac_max=1.0),
            "dataset_kwargs": EasyDict(
                class_name="training.dataset.ImageFolderDataset", path="data.zip", use_labels=False
            ),
        }
    names: dict[str, object] = {
        "torch_utils.persistence._reconstruct_persistent_obj": _reconstruct_persistent_obj,
        "dnnlib.util.EasyDict": EasyDict,
    }
    if how.old_numpy:
        names["numpy.core.multiarray.scalar"] = scalar
    with as_if_defined(names):
        return pickle.dumps(value, protocol=4)


def _place(module: nn.Module, path: list[str], value: Tensor, model_type: str, skip_scale: Any) -> None:
    """Put one tensor into the tree, making the modules on the way."""
    name, *rest = path
    if not rest:
        _set(module, name, value)
        return
    child = module._modules.get(name)
    if child is None:
        child = nn.ModuleDict() if name in ("enc", "dec") else _child(name, rest, value, model_type, skip_scale)
        module.add_module(name, child)
    _place(child, rest, value, model_type, skip_scale)


def _set(module: nn.Module, name: str, value: Tensor) -> None:
    if name in ("weight", "bias"):
        module.register_parameter(name, nn.Parameter(value))
    else:
        module.register_buffer(name, value)
    for absent in {"weight", "bias", "resample_filter"} - {*module._parameters, *module._buffers}:
        if absent == "resample_filter":
            module.register_buffer(absent, None)
        else:
            module.register_parameter(absent, None)


def _child(name: str, rest: list[str], value: Tensor, model_type: str, skip_scale: Any) -> nn.Module:
    if name == "model":
        return Persistent(model_type, {}, label_dropout=0)
    if len(rest) > 1:
        return Persistent("UNetBlock", {}, skip_scale=skip_scale, num_heads=0, dropout=0.1)
    if name == "map_noise":
        return Persistent("FourierEmbedding", {})
    kinds = {1: "GroupNorm", 2: "Linear", 4: "Conv2d"}
    return Persistent(kinds.get(value.ndim, "Module"), {}, eps=1e-6)


def with_filters(weights: Mapping[str, Tensor], taps: tuple[int, ...] = (1, 1)) -> dict[str, Tensor]:
    """The weights and, in the convolutions that change the resolution, the constant filter their files keep.

    The short cut around such a block has the filter even where it has no weights (ADM).
    """
    line = torch.tensor(taps, dtype=torch.float32)
    kernel = (torch.outer(line, line) / line.sum() ** 2)[None, None]
    complete = dict(weights)
    for name in weights:
        *above, block, layer, last = ["", "", *name.split(".")]
        if last == "bias" and block.endswith(("_down", "_up")) and layer == "conv0":
            for filtered in ("conv0", "skip"):
                complete[".".join([*above[2:], block, filtered, "resample_filter"])] = kernel.clone()
        if last == "bias" and layer.endswith("_aux_residual"):
            complete[".".join([*above[2:], block, layer, "resample_filter"])] = kernel.clone()
    return complete
