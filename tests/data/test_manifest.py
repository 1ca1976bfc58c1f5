"""Manifests through versions: stores of version 0.1 keep their digests, and what was added is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from linear_teacher import LinearTeacher

from koopstep.core.config import dump
from koopstep.data.collect import CollectSettings, collect, plan
from koopstep.data.commits import root_digest
from koopstep.data.manifest import Manifest, differing_teacher_field
from koopstep.data.store import Store
from koopstep.teachers.base import TrainingData

OF_0_1: dict[str, Any] = {
    "format": 1,
    "teacher": {
        "kind": "edm",
        "name": "digits-edm",
        "sha256": "ab" * 32,
        "solver": "heun",
        "num_function_evaluations": 23,
        "noise_scale": 20.0,
        "data_scale": 0.75,
        "num_classes": 0,
        "shape": [1, 8, 8],
    },
    "steps": 2,
    "kept": [0, 2],
    "levels": [20.0, 0.0],
    "shape": [1, 8, 8],
    "dtype": "float32",
    "count": 10,
    "seed": 0,
    "noise_scheme": "philox-boxmuller-1",
    "unit_size": 5,
    "micro_batch": 5,
    "autocast": "none",
    "hold_out": 1,
    "source": "collected from the teacher digits-edm",
}
DATA = TrainingData(name="points", sha256="cd" * 32, shape=(2,), num_classes=0)
SETTINGS = CollectSettings(count=12, steps=2, unit_size=4)


def test_a_manifest_of_version_0_1_keeps_its_digest() -> None:
    manifest = Manifest.parse(OF_0_1, "0.1")
    assert dump(manifest) == OF_0_1
    assert root_digest(manifest, ["11" * 32, "22" * 32]) == (
        "ebb2d50e77df87a0f555ad54050f2d4e1df0d776508189726adb59385aa19617"  # as version 0.1 made it
    )


def test_a_manifest_names_the_data_that_the_teacher_learned_from(tmp_path: Path) -> None:
    teacher = LinearTeacher()
    teacher.training_data = DATA
    list(collect(teacher, tmp_path, SETTINGS))
    assert Store.open(tmp_path).manifest.teacher.training_data == DATA
    written = json.loads((tmp_path / "manifest.json").read_text())
    assert written["teacher"]["training_data"] == {
        "name": "points",
        "sha256": "cd" * 32,
        "shape": [2],
        "num_classes": 0,
    }


def test_an_interrupted_store_of_version_0_1_is_finished_as_it_began(tmp_path: Path) -> None:
    whole, begun = tmp_path / "whole", tmp_path / "begun"
    for folder in (whole, begun):
        list(collect(LinearTeacher(), folder, SETTINGS))
    (begun / "complete.json").unlink()
    (begun / "shards" / "00001.json").unlink()
    knowing = LinearTeacher()
    knowing.training_data = DATA
    list(collect(knowing, begun, SETTINGS))
    assert Store.open(begun).root == Store.open(whole).root


def test_other_training_data_is_another_teacher() -> None:
    knowing, other, silent = LinearTeacher(), LinearTeacher(), LinearTeacher()
    knowing.training_data = DATA
    other.training_data = DATA.model_copy(update={"sha256": "ef" * 32})
    theirs, others = plan(knowing, SETTINGS), plan(other, SETTINGS)
    assert (theirs.differing_field(others) or "").startswith("teacher.training_data.sha256: cd")
    assert theirs.differing_field(plan(silent, SETTINGS)) is None is plan(silent, SETTINGS).differing_field(theirs)
    assert (differing_teacher_field(theirs.teacher, others.teacher) or "").startswith("training_data.sha256")


def test_data_matches_as_far_as_both_digests_go() -> None:
    shortened = DATA.model_copy(update={"sha256": "cd" * 8, "name": "other name", "num_classes": None})
    assert DATA.matches(shortened) and shortened.matches(DATA)
    assert not DATA.matches(DATA.model_copy(update={"shape": (1, 2)}))
    assert not shortened.matches(DATA.model_copy(update={"sha256": "cd" * 7 + "ce" + "cd" * 24}))
