"""Terms that a student of modes cannot learn from are refused before the first step."""

from __future__ import annotations

from pathlib import Path

import pytest

import koopstep as ks
from koopstep.core.errors import UsageError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ks.Store:
    folder = tmp_path_factory.mktemp("paths")
    return ks.collect("checkerboard-edm", folder / "s", count=64, steps=4, keep=3, hold_out=16, quiet=True)


def train(store: ks.Store, out: Path, *changes: str) -> ks.Run:
    few = ("training.steps=1", "training.batch_size=8", "student.network.width=8")
    return ks.train("checkerboard", store, out, method="modes", changes=[*few, *changes], quiet=True)


def test_modes_of_the_noise_alone(store: ks.Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"-o objective\.states_within=0 -o objective\.inversion=0"):
        train(store, tmp_path / "r", "student.within=false")
    train(store, tmp_path / "r", "student.within=false", "objective.states_within=0", "objective.inversion=0")


def test_fixed_rates_cannot_be_moved(store: ks.Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"student\.operator\.rates=free"):
        train(store, tmp_path / "r", "student.operator.rates=fixed", "objective.apart=0.1")


def test_too_few_states_to_leave_one_out(store: ks.Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["training.steps=1", "training.batch_size=8", "student.network.width=8"]
    ks.train("checkerboard", store, tmp_path / "r", method="modes", changes=changes)
    assert "none can be left out of the 1 states" in capsys.readouterr().err
