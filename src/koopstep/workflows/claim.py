"""A run's folder: one training in it at a time, and nothing of another run or of somebody else lost in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from koopstep.core.console import Console
from koopstep.core.devices import Place, barrier
from koopstep.core.errors import UsageError
from koopstep.core.files import make_folder, storage_error
from koopstep.core.lock import locked
from koopstep.training.checkpoint import checkpoints

CONFIG = "config.yaml"
_WRITTEN = (CONFIG, "metrics.jsonl", "student")
_OURS = (*_WRITTEN, "checkpoints", "report", "tensorboard")


@contextmanager
def claimed(
    out: Path, config: bytes, *, resume: bool, overwrite: bool, place: Place, console: Console
) -> Iterator[None]:
    """Hold the folder ``out`` (made if absent) while training runs in it; the first process holds it for all.

    Args:
        out: the folder.
        config: what ``config.yaml`` would be; a run that was begun with the same and never came to a checkpoint is no other.
        resume: whether a run in it may be gone on with.
        overwrite: whether a run in it, or anything else under the names of one, is deleted.
        place: this process.
        console: where a warning goes.

    Raises:
        UsageError: another process trains in it, or it holds what would be lost.
    """
    if place.leads:
        _check(out, config, resume, overwrite)
        make_folder(out)
        with locked(out, console.say, "trained"):
            _check(out, config, resume, overwrite)  # again: somebody may have begun in between
            if overwrite:
                _clear(out)
            barrier(place)
            yield
    else:
        barrier(place)
        yield


def _check(out: Path, config: bytes, resume: bool, overwrite: bool) -> None:
    if resume and overwrite:
        raise UsageError("--resume goes on with a run and --overwrite deletes it; give one of them")
    if overwrite:
        return
    if checkpoints(out / "checkpoints"):
        if not resume:
            raise UsageError(
                f"{out} already holds a run; add --resume to go on with it, choose another --out, or add --overwrite to "
                "delete it"
            )
        return
    there = [name for name in _WRITTEN if (out / name).exists()]
    begun = "student" not in there and (out / CONFIG).is_file() and (out / CONFIG).read_bytes() == config
    if there and not begun:
        raise UsageError(
            f"{out} holds {', '.join(there)} that this run has not written; choose another --out, or add --overwrite to "
            "delete them"
        )


def _clear(out: Path) -> None:
    for name in _OURS:
        path = out / name
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(path, error) from error
