"""A warning of the library is one line on standard error, as a failure is."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from koopstep.cli import main


def test_a_warning_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def command(*_: Any, **__: Any) -> int:
        warnings.warn("the teacher says\none thing", UserWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(main, "_run", command)
    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main.run(["collect"]) == 0
    assert warnings.showwarning is before
    assert capsys.readouterr().err == "koopstep: warning: the teacher says one thing\n"
