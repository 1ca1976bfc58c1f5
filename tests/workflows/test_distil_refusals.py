"""What distil refuses, in words that can be followed, and with nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_distil import CHANGES, distil, light, teacher  # noqa: F401
from tiny_way import MEANS, SPREAD

import koopstep as ks
from koopstep.core.errors import DamagedError, KoopstepError, UsageError
from koopstep.workflows import find_source as finding

pytestmark = pytest.mark.usefixtures("light")


@pytest.mark.parametrize(
    ("change", "option"),
    [("training.steps=5", "--steps"), ("collect.count=50", "--count"), ("collect.hold_out=5", "--count")],
)
def test_what_the_plan_decides_is_no_setting(teacher: Path, tmp_path: Path, change: str, option: str) -> None:  # noqa: F811
    with pytest.raises(UsageError, match=f"is decided by {option}"):
        distil(teacher, tmp_path / "run", changes=[*CHANGES, change])
    assert not (tmp_path / "run").exists()


def test_too_few_paths_are_refused_and_the_fewest_are_enough(teacher: Path, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(UsageError, match="ask for 8 or more"):
        distil(teacher, tmp_path / "run", count=7, steps=1)
    assert not (tmp_path / "run").exists()
    assert distil(teacher, tmp_path / "run", count=8, steps=1)["metrics"]["pair_mse"] > 0


def test_a_run_without_its_plan(tmp_path: Path) -> None:
    made, out = ks.mixture_teacher(MEANS, SPREAD), tmp_path / "run"
    distil(made, out)
    (out / "plan.json").write_text("{}")
    with pytest.raises(DamagedError, match="put back a copy of it, or choose another --out"):
        distil(made, out)
    (out / "plan.json").unlink()
    with pytest.raises(
        UsageError, match=r"a run of distil without its plan\.json; put it back, or choose another --out"
    ):
        distil(made, out)


def test_what_is_no_teacher_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "picture.png").write_bytes(b"x")
    (tmp_path / "mine.py").write_text("")
    torch.save({"w": torch.zeros(2)}, tmp_path / "weights.pth")
    monkeypatch.setattr(finding, "source_sha256", lambda path: pytest.fail(f"{path} was read before it was recognised"))
    monkeypatch.chdir(tmp_path)
    for named, message in (
        ("big", "none of the formats"),
        ("mine", "mine is a Python module; .* as in mine:teacher"),
        ("mine.py", r"as in mine\.py:teacher"),
        ("weights.pth", r"beside it, as weights\.yaml or \.json"),
        ("nobody", "no teacher 'nobody'"),
    ):
        with pytest.raises(KoopstepError, match=message):
            distil(named, tmp_path / "run")
        assert not (tmp_path / "run").exists(), named
