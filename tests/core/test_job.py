"""Jobs: a function's own one ends with it and leaves the process as it was; a caller's is used as it is."""

from __future__ import annotations

import io
import sys

import pytest
import torch

from jobs import QUIET
from koopstep.core.devices import flushes_denormals
from koopstep.core.errors import Interrupted, UsageError
from koopstep.core.job import working


@pytest.mark.parametrize("before", [True, False])
def test_the_handling_of_denormals_is_given_back(before: bool) -> None:
    torch.set_flush_denormal(before)
    with working(device="cpu", quiet=True) as job:
        assert flushes_denormals()
        assert job.place.device == torch.device("cpu") and not job.stop()
    assert flushes_denormals() is before
    with pytest.raises(Interrupted), working(device="cpu", quiet=True):
        raise Interrupted("stopped")
    assert flushes_denormals() is before


def test_a_callers_job_is_used_as_it_is() -> None:
    with working(QUIET, "no device", quiet=False) as job:
        assert job is QUIET
        assert not flushes_denormals()


def test_a_device_that_is_not_there_is_refused_and_nothing_changed() -> None:
    with pytest.raises(UsageError, match="no device called 'gpu7'"), working(device="gpu7"):
        pass
    assert not flushes_denormals()


@pytest.mark.parametrize("quiet", [True, False])
def test_words_go_to_standard_error_as_it_is_now(quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with working(device="cpu", quiet=quiet) as job:
        job.console.say("hello")
    assert stream.getvalue() == ("" if quiet else "hello\n")
