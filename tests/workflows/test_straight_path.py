"""What ``hkd+`` is for, on the checkerboard as docs/lab/results.md (E4) has it: a straight latent path that can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs import QUIET
from koopstep.data.collect import CollectSettings, collect
from koopstep.recipes.recipe import load_recipe
from koopstep.teachers.files import read_teacher_file
from koopstep.workflows.analyze import analyze_run
from koopstep.workflows.train import train_student


@pytest.mark.long
def test_hkd_plus_is_straight_and_gains_by_steps(tmp_path: Path) -> None:
    settings = CollectSettings(count=60_000, steps=12, keep=5, hold_out=5_000)
    for _ in collect(read_teacher_file("checkerboard-edm").teacher, tmp_path / "store", settings):
        pass
    recipe = load_recipe("checkerboard", "hkd+", ["training.steps=700"])
    train_student(recipe, tmp_path / "store", tmp_path / "run", resume=False, job=QUIET)

    def values(what: str) -> dict[str, Any]:
        found = analyze_run(tmp_path / "run", what, out=tmp_path / what, data=None, job=QUIET)
        read: dict[str, Any] = found.values
        return read

    straight = values("linearity")
    assert straight["latent_error_centred"] <= 0.1 < 0.5 < straight["latent_error_centred_without_evolution"]
    assert straight["read_error_over_endpoint_error"] <= 2
    steps = values("steps")
    for way in ("noise", "path"):
        assert steps[way]["4"]["in_cell"] > steps[way]["1"]["in_cell"]
    assert steps["path"]["1"]["pair_mse"] < 0.01
