"""Networks this small are far slower on two threads than on one, and analyses take longer than all the rest of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from koopstep.runs import speed
from koopstep.workflows import report_figures


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def few_analyses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report makes no analysis that was not made before, and measures speed on a small batch."""
    monkeypatch.setattr(report_figures, "SECONDS", 0.0)
    monkeypatch.setattr(speed, "MOST_SECONDS", 0.1)
