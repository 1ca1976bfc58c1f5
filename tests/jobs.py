"""Jobs for tests: on the CPU, without a word unless a console is given."""

from __future__ import annotations

import torch

from koopstep.core.console import Console, Quiet
from koopstep.core.devices import Place
from koopstep.core.job import Job, Stop, never

HERE = Place(torch.device("cpu"))


def quiet_job(stop: Stop = never, console: Console | None = None) -> Job:
    """A job that ends when `stop` says so."""
    return Job(HERE, console or Quiet(), stop)


QUIET = quiet_job()
