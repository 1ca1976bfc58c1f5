"""A run's folder: one training in it at a time, and nothing of another run or of somebody else lost in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from koopstep.core.config import Config, dump
from koopstep.core.devices import barrier
from koopstep.core.errors import UsageError
from koopstep.core.files import make_folder, read_bytes, storage_error
from koopstep.core.job import Job
from koopstep.core.lock import locked
from koopstep.core.outputs import check_not_input
from koopstep.core.yaml_reader import parse_yaml
from koopstep.runs.folder import CONFIG, config_bytes
from koopstep.training.checkpoint import checkpoints, flat
from koopstep.training.settings import may_change

_WRITTEN = (CONFIG, "metrics.jsonl", "student")
_OURS = (*_WRITTEN, "checkpoints", "report", "tensorboard")


@contextmanager
def claimed(
    out: Path,
    config: Config | None,
    decides: tuple[str, ...],
    inputs: Iterable[Path],
    *,
    resume: bool,
    overwrite: bool,
    job: Job,
) -> Iterator[None]:
    """Hold the folder ``out`` (made if absent) while training runs in it; the first process holds it for all.

    Args:
        out: the folder.
        config: what ``config.yaml`` would be; None on a process that does not lead. A run that was begun with the same and
            never came to a checkpoint is no other; nor, if it is resumed, one that differs by what `may_change`.
        decides: the settings in it, dotted, that make it the same run when it is resumed.
        inputs: files and folders that are read; those of a run that goes on may be its own.
        resume: whether a run in it may be resumed.
        overwrite: whether a run in it, or anything else under the names of one, is deleted.
        job: where it runs, where it speaks and when it stops.

    Raises:
        UsageError: another process trains in it, or it holds what would be lost.
    """
    if config is not None:
        if not resume:
            _check_inputs(out, [*inputs])
        _check(out, config, decides, resume, overwrite)
        make_folder(out)
        with locked(out, job.console.say, "trained"):
            _check(out, config, decides, resume, overwrite)  # again: somebody may have begun in between
            if overwrite:
                _clear(out)
            barrier(job.place)
            yield
    else:
        barrier(job.place)
        yield


def _check_inputs(out: Path, inputs: list[Path]) -> None:
    """Refuse a run in an input, and an input in what a run writes or deletes."""
    check_not_input(out, inputs)
    for name in _OURS:
        check_not_input(out / name, [above for path in inputs for above in (path, *path.resolve().parents)])


def _check(out: Path, config: Config, decides: tuple[str, ...], resume: bool, overwrite: bool) -> None:
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
    begun = "student" not in there and (out / CONFIG).is_file() and _is_same(out / CONFIG, config, decides, resume)
    if there and not begun:
        raise UsageError(
            f"{out} holds {', '.join(there)} that this run has not written; choose another --out, or add --overwrite to "
            "delete them"
        )


def _is_same(path: Path, config: Config, decides: tuple[str, ...], resume: bool) -> bool:
    """Whether the run of a ``config.yaml`` is that of ``config``; one that is resumed may differ by what `may_change`."""
    written = read_bytes(path)
    if written == config_bytes(config) or not resume:
        return written == config_bytes(config)
    try:
        plain = parse_yaml(written.decode(errors="replace"), str(path))
        before, now = flat(dump(type(config).parse(plain, str(path)))), flat(dump(config))
    except UsageError:
        return False
    names = [name for name in before | now if f"{name}.".startswith(tuple(f"{part}." for part in decides))]
    return all(
        before.get(name) == now.get(name)
        or (name in before and name in now and may_change(name, before[name], now[name]))
        for name in names
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
