"""What training leaves to look at: ``metrics.jsonl`` always, TensorBoard's event files when asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TextIO

from koopstep.core.errors import UsageError
from koopstep.core.files import storage_error, write_atomic
from koopstep.recipes.recipe import Tracking
from koopstep.training.loop import StepReport

Log = Callable[[StepReport], None]


@contextmanager
def open_logs(out: Path, step: int, tracking: Tracking) -> Iterator[Log]:
    """Yield the function that records a step of the run ``out``, which goes on after ``step``.

    Raises:
        UsageError: if a package is missing.
        StorageError: if a file cannot be written.
    """
    with _TRACKERS[tracking](out, step) as track, _metrics(out / "metrics.jsonl", step) as write:

        def log(report: StepReport) -> None:
            write(report)
            track(report)

        yield log


@contextmanager
def _metrics(path: Path, step: int) -> Iterator[Log]:
    """Append to ``metrics.jsonl``; lines beyond ``step`` (written after the checkpoint, before a kill) are dropped."""
    # atomically: a kill while the file is being cleared would lose what earlier steps wrote
    write_atomic(path, "".join(line + "\n" for line in _lines(path) if _step_of(line) <= step).encode())
    try:
        stream = path.open("a", encoding="utf-8")
    except OSError as error:
        raise storage_error(path, error) from error
    with stream:
        yield lambda report: _append(stream, path, report)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def _step_of(line: str) -> float:
    """The step of a line; infinity where it is cut off or not ours."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _append(stream: TextIO, path: Path, report: StepReport) -> None:
    row = {
        "step": report.step,
        "total": report.total,
        **report.terms,
        "learning_rate": report.learning_rate,
        "seconds": round(report.seconds, 5),
    }
    try:
        stream.write(json.dumps(row) + "\n")
        stream.flush()
    except OSError as error:
        raise storage_error(path, error) from error


@contextmanager
def _nothing(out: Path, step: int) -> Iterator[Log]:
    yield lambda report: None


@contextmanager
def _tensorboard(out: Path, step: int) -> Iterator[Log]:
    """Scalars in ``out/tensorboard``; those beyond ``step`` are hidden by TensorBoard's own purge mark."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "tracking is 'tensorboard', but the package tensorboard is not installed: pip install 'koopstep[track]', "
            "or set tracking=none"
        ) from error
    with SummaryWriter(out / "tensorboard", purge_step=step + 1) as writer:

        def track(report: StepReport) -> None:
            values = {"total": report.total, **report.terms, "learning_rate": report.learning_rate}
            for name, value in values.items():
                writer.add_scalar(name, value, report.step)

        yield track


_TRACKERS: dict[str, Callable[[Path, int], AbstractContextManager[Log]]] = {
    "none": _nothing,
    "tensorboard": _tensorboard,
}
