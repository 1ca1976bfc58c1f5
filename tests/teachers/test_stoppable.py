"""A slow teacher stops between two states of a path; a fast one finishes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from koopstep.core.errors import Interrupted
from koopstep.data.collect import CollectSettings, collect
from koopstep.teachers import stoppable as stopping
from koopstep.teachers.analytic import mixture_teacher

MEANS = torch.eye(2)


def test_only_a_slow_path_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, noise = mixture_teacher(MEANS, 0.2), torch.ones(3, 2)
    assert torch.equal(stopping.stoppable(teacher, lambda: True).path(noise, steps=4), teacher.path(noise, steps=4))
    monkeypatch.setattr(stopping, "_SOON", 0.0)
    with pytest.raises(Interrupted, match="run the same command again"):
        stopping.stoppable(teacher, lambda: True).path(noise, steps=4)
    assert torch.equal(stopping.stoppable(teacher, lambda: False).path(noise, steps=4), teacher.path(noise, steps=4))


def test_a_collection_stops_within_its_first_slow_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_SOON", 0.0)
    asked = iter([False, False, True])  # before the micro-batch, and within its path
    with pytest.raises(Interrupted, match="within a path"):
        list(
            collect(
                mixture_teacher(MEANS, 0.2),
                tmp_path,
                CollectSettings(count=9, steps=6),
                should_stop=lambda: next(asked),
            )
        )
    for report in collect(mixture_teacher(MEANS, 0.2), tmp_path, CollectSettings(count=9, steps=6)):
        last = report
    assert last.complete
