"""Weights without a description: a state dict, and a config of ours that says what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.tensors import load_tensors
from koopstep.formats.torch_files import load_state_dict
from koopstep.teachers.foreign.base import ForeignTeacher, check_tensors, empty_model
from koopstep.teachers.table import TeacherConfig

_SUFFIXES = {".safetensors", ".pth", ".pt", ".th", ".bin", ".npz"}
_PREFIXES = ("module.", "model.", "module.model.", "_orig_mod.", "ema.")


def is_state_dict(source: Path) -> bool:
    """Whether the name is that of a file of tensors."""
    return source.is_file() and source.suffix in _SUFFIXES


def read_state_dict(source: Path, config: TeacherConfig | None) -> ForeignTeacher:
    """Read tensors whose names are those of our model, or of the network inside it.

    A prefix that all names share and that ours lack (``module.`` of data-parallel training) is taken off.

    Raises:
        UsageError: without a config, or when the file holds no tensors.
        DamagedError: the tensors are not those of the config's model.
    """
    if source.suffix == ".safetensors" and "koopstep_teacher" in load_tensors(source)[1]:
        raise UsageError(f"{source} is a koopstep teacher already; `koopstep teacher info` shows it")
    if config is None:
        raise UsageError(
            f"{source} holds weights and says nothing of their network; put the teacher's config beside it, as "
            f"{source.with_suffix('.yaml')} or .json (`koopstep teacher convert` takes it with --config, too)"
        )
    found = load_state_dict(source)
    tensors, prefix = _renamed(found, set(empty_model(config, len(found), str(source)).state_dict()))
    check_tensors(config, tensors, str(source))
    return ForeignTeacher(config, tensors, (f"names read as {prefix}",) if prefix else ())


def _renamed(tensors: Mapping[str, Tensor], wanted: set[str]) -> tuple[dict[str, Tensor], str]:
    """The tensors by the names that fit, and in words what was done to them; unchanged where nothing fits."""
    if tensors.keys() == wanted:
        return dict(tensors), ""
    for prefix in ("", *_PREFIXES):
        cut = {name.removeprefix(prefix): value for name, value in tensors.items()}
        if len(cut) != len(tensors):
            continue
        if cut.keys() == wanted:
            return cut, f"{prefix!r} taken off"
        inner = {f"model.{name}": value for name, value in cut.items()}
        if inner.keys() == wanted:
            return inner, f"{prefix!r} taken off and 'model.' put on" if prefix else "'model.' put on"
    return dict(tensors), ""
