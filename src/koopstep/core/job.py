"""What every workflow gets beside its task: where it runs, where it speaks, and when to stop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed

from koopstep.core.arguments import AnyDevice
from koopstep.core.console import Console, Quiet
from koopstep.core.devices import Place, flushes_denormals, prepare
from koopstep.core.errors import Interrupted
from koopstep.core.terminal import Screen

Stop = Callable[[], bool]


def never() -> bool:
    """Nobody asks to stop."""
    return False


@dataclass(frozen=True)
class Job:
    """One piece of work as it is carried out here.

    Attributes:
        place: the device, and which process of how many this is.
        console: where words and bars go.
        stop: asked between two units of work; True ends the work once what there is has been saved.
    """

    place: Place
    console: Console
    stop: Stop = never


@contextmanager
def working(job: Job | None = None, device: AnyDevice | None = None, quiet: bool = False) -> Iterator[Job]:
    """The job that a function works in: the caller's own, else one of the function's, which ends with it.

    Args:
        job: the caller's; ``device`` and ``quiet`` are then not looked at.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words and no progress bars on standard error.
    """
    if job is not None:
        yield job
        return
    with working_on(device) as place:
        # standard error as it is now: a notebook or a test may have put another stream there
        yield Job(place, Quiet() if quiet or not place.leads else Screen(sys.stderr))


@contextmanager
def working_on(device: AnyDevice | None) -> Iterator[Place]:
    """The device called ``device``, set up for numerical work.

    How the caller had set up this process, and its random state, are given back. Under ``torchrun`` there is also a process
    group; one that was begun here is closed after orderly work. After a failure it is left alone: closing it would wait for
    processes that may never come.
    """
    flushed, grouped = flushes_denormals(), _has_group()
    try:
        place = prepare(device)
        stopped: Interrupted | None = None
        try:
            with torch.random.fork_rng(devices=[place.device] if place.device.type == "cuda" else []):
                yield place
        except Interrupted as error:  # every process stops at the same step
            stopped = error
        if _has_group() and not grouped:
            torch.distributed.destroy_process_group()
        if stopped is not None:
            raise stopped
    finally:
        torch.set_flush_denormal(flushed)


def _has_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
