"""Checkpoints: a folder of safetensors with a list of their digests, published by one rename.

A checkpoint holds everything a step changes; data order and random numbers are functions of the step, so training goes on
with the same bits as if it had never stopped.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from koopstep.core.errors import DamagedError, StorageError, UsageError
from koopstep.core.files import (
    publish_folder,
    read_json,
    remove_stale,
    sha256_bytes,
    temporary_beside,
    write_json,
)
from koopstep.core.renamed import SINCE, renamed_flat, renamed_path
from koopstep.core.tensors import load_tensors, save_tensors
from koopstep.training.loop import TrainingState
from koopstep.training.settings import may_change

NETWORK = "network "
"""Begins the names, in what a run depends on, of feature networks: their values are digests of their weights."""

_FORMAT = 2
_NAME = re.compile(r"step-(\d{8})")


def flat(settings: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Nested settings as dotted names with their values in JSON, so that a difference can be named."""
    result: dict[str, str] = {}
    for name, value in settings.items():
        result |= flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: json.dumps(value)}
    return result


def save_checkpoint(folder: Path, state: TrainingState, identity: dict[str, str], keep: int) -> Path:
    """Write ``state`` to ``folder/step-XXXXXXXX`` and drop all but the newest ``keep``.

    Args:
        folder: the run's ``checkpoints``.
        state: after a finished step.
        identity: what the run depends on, name -> value (settings, digest of the data); resuming compares them.
        keep: how many checkpoints stay.

    Raises:
        StorageError: if it cannot be written; older checkpoints are untouched.
    """
    final = folder / f"step-{state.step:08d}"
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(folder)
    temporary = temporary_beside(final)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"cannot write {temporary}: {error.strerror}; older checkpoints are untouched") from error
    try:
        digests = {name: save_tensors(temporary / f"{name}.safetensors", part) for name, part in _parts(state).items()}
        described = {"format": _FORMAT, "step": state.step, "files": digests, "identity": identity}
        if state.scaler.is_enabled():
            described["scaler"] = state.scaler.state_dict()
        write_json(temporary / "state.json", described | {"sha256": _digest(described)})
        # one that stands there already was found damaged: training would be beyond it otherwise
        publish_folder(temporary, final, replace=True)
    except StorageError:
        shutil.rmtree(temporary, ignore_errors=True)  # on a full disk every byte counts
        raise
    for _, old in checkpoints(folder)[:-keep]:
        _remove(old)
    return final


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of the published checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match)


def load_latest(
    folder: Path, state: TrainingState, identity: dict[str, str], earlier: Mapping[str, Collection[str]] | None = None
) -> str | None:
    """Bring ``state`` to the newest checkpoint that is whole; returns what to tell the user, None where there is none.

    A damaged checkpoint is skipped in favour of the one before it, and named in what is returned. ``earlier`` are values of
    ``identity`` that the checkpoint may have instead: what they named has become what ``identity`` names.

    Raises:
        DamagedError: if there are checkpoints, but none is whole.
        UsageError: if the run depends on something else than the checkpoint did, beyond what `may_change`; names what.
    """
    damaged: list[str] = []
    for step, path in reversed(checkpoints(folder)):
        try:
            files, described = _read(path)
        except (DamagedError, UsageError) as error:
            damaged.append(f"{path.name} ({error})")
            continue
        _compare(described, identity, earlier or {}, path)
        _restore(state, files, int(described["step"]))
        if state.scaler.is_enabled() and "scaler" in described:
            state.scaler.load_state_dict(described["scaler"])
        skipped = f"; damaged and skipped: {', '.join(damaged)}" if damaged else ""
        return f"going on from step {step}{skipped}"
    if damaged:
        raise DamagedError(f"no checkpoint in {folder} is whole: {'; '.join(damaged)}; begin again in another folder")
    return None


def _parts(state: TrainingState) -> dict[str, dict[str, Tensor]]:
    parts = {"student": state.model.state_dict(), "ema": state.average.model.state_dict()}
    if state.discriminator is not None:
        parts["discriminator"] = state.discriminator.state_dict()
    memory: dict[str, Tensor] = {}
    for name, optimizer in state.optimizers.items():
        for index, values in optimizer.state_dict()["state"].items():
            memory |= {f"{name}.{index}.{key}": torch.as_tensor(value) for key, value in values.items()}
    return parts | {"optimizer": memory}


def _read(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    described = read_json(path / "state.json")
    if not isinstance(described, dict) or described.pop("sha256", None) != _digest(described):
        raise DamagedError(f"{path / 'state.json'} is not what was written")
    names = described["files"].items()
    files = {renamed_path(name): load_tensors(path / f"{name}.safetensors", digest)[0] for name, digest in names}
    if "optimizer" in files:
        files["optimizer"] = {renamed_path(name): value for name, value in files["optimizer"].items()}
    return files, described


def _digest(described: dict[str, Any]) -> str:
    return sha256_bytes(json.dumps(described, sort_keys=True).encode())


def _compare(
    described: dict[str, Any], ours: dict[str, str], earlier: Mapping[str, Collection[str]], path: Path
) -> None:
    """Raise UsageError where a run was begun with something else. Format 1 (version 0.1) knew fewer settings than today."""
    theirs, ours = SINCE | renamed_flat(described["identity"]), SINCE | ours
    names = {*theirs} & {*ours} if described["format"] == 1 else {*theirs, *ours}
    if not any(name.startswith(NETWORK) for name in theirs):  # older ones do not say
        names = {name for name in names if not name.startswith(NETWORK)}
    different = [
        name
        for name in sorted(names)
        if theirs.get(name) not in (ours.get(name), *earlier.get(name, ()))
        and not (name in theirs and name in ours and may_change(name, theirs[name], ours[name]))
    ]
    if different:
        shown = "; ".join(f"{name} was {theirs.get(name)}, is now {ours.get(name)}" for name in different[:3])
        more = f"; and {len(different) - 3} more" if len(different) > 3 else ""
        raise UsageError(f"{path} cannot be resumed: {shown}{more}; use the same, or train into another folder")


def _restore(state: TrainingState, files: dict[str, dict[str, Tensor]], step: int) -> None:
    try:
        state.model.load_state_dict(files["student"])
        state.average.model.load_state_dict(files["ema"])
        if state.discriminator is not None:
            state.discriminator.load_state_dict(files["discriminator"])
        for name, optimizer in state.optimizers.items():
            _restore_optimizer(optimizer, name, files["optimizer"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise DamagedError(f"the checkpoint does not fit the model: {' '.join(str(error).split())[:300]}") from error
    state.step = step


def _restore_optimizer(optimizer: Optimizer, name: str, memory: dict[str, Tensor]) -> None:
    described = optimizer.state_dict()
    rows: dict[int, dict[str, Tensor]] = {}
    for key, value in memory.items():
        owner, index, field = key.split(".", 2)
        if owner == name:
            rows.setdefault(int(index), {})[field] = value
    optimizer.load_state_dict({"state": rows, "param_groups": described["param_groups"]})


def _remove(folder: Path) -> None:
    """Delete a checkpoint; its description goes first, so that a half-deleted one is never taken for whole."""
    (folder / "state.json").unlink(missing_ok=True)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
