"""The same call again: what is refused changes nothing, another function is noticed, and what was damaged is mended."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from test_distil import Listening, distil, light, teacher  # noqa: F401
from tiny_way import HERE, MEANS, SPREAD, tiny_store, tiny_teacher

import koopstep as ks
from koopstep.core.console import Quiet
from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.job import Job
from koopstep.planning.making import read_plan
from koopstep.workflows.collect import repair_store

pytestmark = pytest.mark.usefixtures("light")


def everything(out: Path) -> dict[Path, bytes]:
    """Every file of a run."""
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def flip(file: Path) -> None:
    """Change one byte in the middle of a file."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("scale", [None, 3.0])
def test_a_refused_call_leaves_everything_as_it_was(tmp_path: Path, scale: float | None) -> None:
    made, other = ks.mixture_teacher(MEANS, SPREAD), ks.mixture_teacher(MEANS + 1, SPREAD)
    if scale is not None:  # the same function, with another fact about its data
        other = ks.mixture_teacher(MEANS, SPREAD)
        other.data_scale = scale
    other.name = made.name
    out, told = tmp_path / "run", Listening()
    said = distil(made, out)
    before = everything(out)
    for order in ({}, {"count": 200, "steps": 77}):  # finished, and to be longer
        with pytest.raises(UsageError, match=r"another (teacher's store|function)"):
            distil(other, out, console=told, **order)
        assert everything(out) == before and told.lines == []
    assert distil(made, out) == said


def test_a_namesake_is_refused_with_a_store_that_exists(tmp_path: Path) -> None:
    other = ks.mixture_teacher(MEANS + 1, SPREAD)
    with pytest.raises(UsageError, match=r"another (teacher's store|function)"):
        distil(other, tmp_path / "run", data=tiny_store(tmp_path / "pairs"), count=None)
    assert not (tmp_path / "run").exists()


def test_what_was_damaged_is_not_finished(tmp_path: Path) -> None:
    made, out = ks.mixture_teacher(MEANS, SPREAD), tmp_path / "run"
    said = distil(made, out)
    flip(out / "student" / "model.safetensors")
    assert distil(made, out)["metrics"] == said["metrics"]
    assert len(ks.Student.load(out).sample(3)) == 3
    settings = (out / "config.yaml").read_bytes()
    (out / "config.yaml").unlink()
    assert distil(made, out)["metrics"] == said["metrics"]
    assert (out / "config.yaml").read_bytes() == settings
    shard = out / "store" / "shards" / "00000.safetensors"
    flip(shard)
    with pytest.raises(DamagedError, match=r"SHA-256.*koopstep data repair"):
        distil(made, out)
    shard.unlink()
    with pytest.raises(DamagedError, match=r"missing.*koopstep data repair"):
        distil(made, out)
    repair_store(out / "store", made, job=Job(HERE, Quiet()))
    assert distil(made, out)["metrics"] == said["metrics"]


def test_weights_of_another_program_are_not_written_into_a_function_s_run(tmp_path: Path) -> None:
    made, out, weights = ks.mixture_teacher(MEANS, SPREAD), tmp_path / "run", tmp_path / "weights.pth"
    distil(made, out)
    tensors = ks.load_teacher(tiny_teacher(tmp_path / "t.safetensors")).model
    assert tensors is not None
    torch.save(tensors.state_dict(), weights)
    config = {"kind": "mixture", "dimension": 2, "components": 3, "spread": SPREAD}
    weights.with_suffix(".json").write_text(json.dumps(config))
    before = everything(out)
    with pytest.raises(UsageError, match="begun with the teacher"):
        distil(weights, out)
    assert everything(out) == before


def test_without_its_checkpoints_a_run_is_finished_and_cannot_go_on(tmp_path: Path) -> None:
    made, out = ks.mixture_teacher(MEANS, SPREAD), tmp_path / "run"
    said = distil(made, out)
    shutil.rmtree(out / "checkpoints")
    assert distil(made, out) == said
    before = everything(out)
    with pytest.raises(UsageError, match=r"no checkpoints.*put them back, or choose another --out"):
        distil(made, out, count=None, steps=20)
    assert everything(out) == before


def test_more_paths_want_steps_that_learn_from_them(tmp_path: Path) -> None:
    made, out = ks.mixture_teacher(MEANS, SPREAD), tmp_path / "run"
    distil(made, out)
    before = everything(out)
    with pytest.raises(UsageError, match="no step is left to learn from more paths"):
        distil(made, out, count=180, steps=12)
    assert everything(out) == before
    assert distil(made, out, count=121, steps=None)["plan"]["steps"] == 13  # one more, at least
    assert read_plan(out).count == 121  # type: ignore[union-attr]
