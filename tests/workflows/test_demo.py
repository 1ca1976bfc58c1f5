"""The demo goes the whole way, into one page that asks nothing of any network; repeated, it does nothing twice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from report_page import read_page
from tiny_way import HERE, MEANS, tiny_recipe, tiny_teacher

from koopstep.core.console import Quiet
from koopstep.core.errors import Interrupted, UsageError
from koopstep.core.job import Job
from koopstep.recipes.layers import preset_names
from koopstep.workflows import demo
from koopstep.workflows.demo import run_demo


@pytest.fixture
def tiny_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Every preset is the tiny one; holds which were asked for, and with what budget."""
    teacher, asked = tiny_teacher(tmp_path / "teacher.safetensors"), []

    def load(preset: str, method: str = "kdm", *, budget: str | None = None) -> Any:
        asked.append((preset, budget))
        return tiny_recipe(f"teacher.file={teacher}", f"preset={preset}", f"method={method}")

    monkeypatch.setattr(demo, "load_recipe", load)
    return asked


def _demo(preset: str | None, out: Path | None, method: str = "kdm", after: int = 10**9, **more: Any) -> dict[str, Any]:
    asked = iter(range(1, 10**9))
    return run_demo(preset, method, out, **more, job=Job(HERE, Quiet(), lambda: next(asked) >= after))


def _check_page(path: Path, runs: int) -> None:
    page = read_page(path)
    assert page.sections == runs and len(page.pictures) >= 2 * runs


def test_one_preset(tmp_path: Path, tiny_presets: list[tuple[str, str | None]]) -> None:
    out = tmp_path / "out"
    with pytest.raises(Interrupted, match="same command"):
        _demo("checkerboard", out, after=6)  # amid the training
    said = _demo("checkerboard", out)
    assert set(tiny_presets) == {("checkerboard", "demo")}
    assert said["teacher"]["nfe"] == 5 and said["student"]["nfe"] == 1
    assert {"pair_mse", "pair_mse_permuted"} <= set(said["metrics"])
    assert set(said["seconds"]) == {"plan", "collect", "train", "evaluate", "report"}
    assert all(Path(file).is_file() for file in said["files"]) and len(said["files"]) >= 3
    assert (out / "run" / "student" / "config.json").is_file()
    _check_page(Path(said["report"]), 1)
    weights = (out / "run" / "student" / "model.safetensors").read_bytes()
    again = _demo("checkerboard", out)
    for part in ("metrics", "seconds", "teacher"):  # seconds: what the first run took, not what it takes to look
        assert again[part] == said[part]
    text = Path(said["report"]).read_text(encoding="utf-8")
    assert "a moment ago" not in text
    assert (out / "run" / "student" / "model.safetensors").read_bytes() == weights


def test_without_a_preset_it_goes_twice(tmp_path: Path, tiny_presets: list[tuple[str, str | None]]) -> None:
    said = _demo(None, tmp_path / "out")
    assert set(tiny_presets) == {("checkerboard", "quick"), ("digits", "quick")}
    assert set(said["runs"]) == {"checkerboard", "digits"}
    for name, run in said["runs"].items():
        assert run["teacher"]["nfe"] == 5 and run["metrics"]["pair_mse"] > 0
        assert (tmp_path / "out" / name / "run" / "config.yaml").is_file()
        assert said["seconds"][name] == pytest.approx(sum(run["seconds"].values()), abs=0.1)
    _check_page(Path(said["report"]), 2)


def test_one_preset_after_another_into_the_default_folder(
    tmp_path: Path, tiny_presets: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [_demo(preset, None, quick=preset == "digits")["run"] for preset in ("checkerboard", "digits")]
    assert runs == ["runs/demo/checkerboard/run", "runs/demo/digits/run"]
    assert tiny_presets == [("checkerboard", "demo"), ("digits", "quick")]
    said = _demo(None, None)  # the same runs: they are there already
    assert [run["run"] for run in said["runs"].values()] == runs
    _check_page(Path("runs/demo/report/index.html"), 2)


def test_a_longer_one_extends_a_quick_one(
    tmp_path: Path, tiny_presets: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = _demo("checkerboard", tmp_path / "out")
    load = demo.load_recipe
    monkeypatch.setattr(demo, "load_recipe", lambda *names, budget: _longer(load(*names, budget=budget), 16))
    long = _demo("checkerboard", tmp_path / "out")
    assert (short["student"]["steps"], long["student"]["steps"]) == (12, 16)
    monkeypatch.setattr(demo, "load_recipe", load)
    assert _demo("checkerboard", tmp_path / "out")["student"]["steps"] == 16  # and none makes it shorter


def _longer(recipe: Any, steps: int) -> Any:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"steps": steps})})


def test_other_settings_than_it_was_started_with(tmp_path: Path, tiny_presets: list[tuple[str, str | None]]) -> None:
    _demo("checkerboard", tmp_path / "out")
    with pytest.raises(UsageError, match="--method kdm, not hkd"):
        _demo("checkerboard", tmp_path / "out", "hkd")
    tiny_teacher(tmp_path / "teacher.safetensors", MEANS + 1)
    with pytest.raises(UsageError, match="teacher"):
        _demo("checkerboard", tmp_path / "out")


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown preset"):
        _demo("chess", tmp_path / "out")
    with pytest.raises(UsageError, match="unknown method"):
        _demo("checkerboard", tmp_path / "out", method="magic")
    assert not (tmp_path / "out").exists()


def test_no_preset_promises_a_time() -> None:
    for name, about in preset_names().items():
        assert not re.search(r"minute|hour|second|fast", about), name


def test_a_stranger_s_folder_is_left_alone(tmp_path: Path, tiny_presets: list[tuple[str, str | None]]) -> None:
    page = tmp_path / "mine" / "report" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("mine")
    for preset in (None, "checkerboard"):
        with pytest.raises(UsageError, match="holds no demo"):
            _demo(preset, tmp_path / "mine")
    assert page.read_text() == "mine" and not (tmp_path / "mine" / "run").exists()
