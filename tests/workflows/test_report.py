"""The page of any run: whole, valid, without a network, and saying nothing that was not measured."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from report_page import Page, read_page
from tiny_way import HERE, tiny_recipe, tiny_teacher, train_tiny

from koopstep.analysis.display import Display
from koopstep.cli import main
from koopstep.core.console import Quiet
from koopstep.core.errors import UsageError
from koopstep.core.job import Job
from koopstep.data.collect import CollectSettings, collect
from koopstep.students.student import DataFacts
from koopstep.teachers.files import read_teacher_file
from koopstep.teachers.functions import from_denoiser
from koopstep.workflows import report_figures
from koopstep.workflows.analyses import ANALYSES
from koopstep.workflows.report import report, tell

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "v0.1"
JOB = Job(HERE, Quiet())
MLP = "{kind: mlp, width: 16, depth: 2, fourier: 0}"


def _page(run: Path, **more: Path) -> Page:
    path = report(run, job=JOB, **more)
    assert path == run / "report" / "index.html"
    return read_page(path)


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    file = tiny_teacher(folder / "mixture.safetensors")
    for _ in collect(
        read_teacher_file(file).teacher, folder / "store", CollectSettings(count=120, steps=3, hold_out=20)
    ):
        pass
    train_tiny(tiny_recipe(f"teacher.file={file}"), folder / "store", folder / "run")
    return folder / "run"


def _copy(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to))


def test_points(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_figures, "SECONDS", 60.0)
    run = _copy(tiny_run, tmp_path / "run")
    page = _page(run)
    assert page.sections == 1 and len(page.pictures) >= 4
    (panels,) = page.data
    assert [len(panel["points"]) for panel in panels] == [40, 40, 40]  # 20 held-out rows
    measured = json.loads((run / "report" / "evaluation.json").read_text())
    assert f"{measured['metrics']['pair_mse']:.3g}" in page.text and "pair_mse_permuted" in page.text
    speed = json.loads((run / "report" / "speed.json").read_text())
    assert speed["teacher_from"] == "measured" and speed["teacher_evaluations"] == 5
    assert "5 → 1" in page.text and "From 5 network evaluations to one" in page.text
    for word in ("spectrum", "neighbours", "outliers", "vicinity"):
        assert (run / "report" / word / "captions.json").is_file()


def test_what_was_made_is_kept_and_what_is_of_another_student_is_not_shown(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_figures, "SECONDS", 60.0)
    monkeypatch.delitem(ANALYSES, "vicinity")
    monkeypatch.delitem(ANALYSES, "outliers")
    run = _copy(tiny_run, tmp_path / "run")
    (run / "seconds.json").write_text('{"collect": 12.5, "train": 100, "note": "x"}')
    page = _page(run)
    assert "12.5 s" in page.text and "1 min 40 s" in page.text
    speed = (run / "report" / "speed.json").read_bytes()
    monkeypatch.setattr(report_figures, "SECONDS", 0.0)
    again = _page(run)
    assert again.findings == page.findings and (run / "report" / "speed.json").read_bytes() == speed
    captions = run / "report" / "neighbours" / "captions.json"
    captions.write_text(captions.read_text().replace(json.loads(captions.read_text())["student_sha256"], "0" * 64))
    evaluation = run / "report" / "evaluation.json"
    evaluation.write_text(json.dumps(json.loads(evaluation.read_text()) | {"student_sha256": "other", "metrics": {}}))
    other = _page(run)
    assert len(other.findings) < len(page.findings) and "koopstep analyze" in other.text
    assert "pair_mse_permuted" in other.text  # measured again


def test_the_commands_on_the_page_make_another_run_like_it(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = _copy(tiny_run, tmp_path / "run")
    lines = [shlex.split(line) for line in tell(run, None, JOB).chapter.commands if line.startswith("koopstep")]
    assert [line[1] for line in lines] == ["report", "collect", "train", "evaluate", "report"]
    for line in lines:
        assert main.run(line[1:]) == 0, capsys.readouterr().err
    kept, again = (
        json.loads((folder / "report" / "evaluation.json").read_text())["metrics"]["pair_mse"]
        for folder in (run, tmp_path / "run-again")
    )
    assert again == pytest.approx(kept, rel=1e-3)


def test_the_store_is_gone(tiny_run: Path, tmp_path: Path) -> None:
    run = _copy(tiny_run, tmp_path / "run")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(tiny_run.parent / "store"), str(tmp_path / "nowhere")))
    page = _page(run)
    assert "learned from is gone" in page.text and "the student is shown alone" in page.text
    assert [panel["name"] for panel in page.data[0]] == ["noise x_T", "student"]
    back = read_page(report(run, data=tiny_run.parent / "store", out=tmp_path / "page.html", job=JOB))
    assert [panel["name"] for panel in back.data[0]] == ["noise x_T", "teacher", "student"]


def test_a_student_folder_by_itself(tiny_run: Path, tmp_path: Path) -> None:
    page = _page(_copy(tiny_run / "student", tmp_path / "student"))
    assert "without its run" in page.text and "the teacher was not timed" in page.text


def test_a_page_of_someone_else_is_left_alone(tiny_run: Path, tmp_path: Path) -> None:
    run, mine = _copy(tiny_run, tmp_path / "run"), tmp_path / "mine.html"
    mine.write_text("<p>mine</p>")
    with pytest.raises(UsageError, match="is no report"):
        report(run, mine, job=JOB)
    with pytest.raises(UsageError, match="is a folder"):
        report(run, tmp_path, job=JOB)
    assert mine.read_text() == "<p>mine</p>"


@pytest.mark.parametrize("shape", [(16,), (4, 8, 8), (3, 6, 6)], ids=str)
def test_vectors_latents_and_a_function_as_teacher(shape: tuple[int, ...], tmp_path: Path) -> None:
    # the data is one point each side of zero, so that noise decides
    teacher = from_denoiser(
        lambda x, sigma, labels: torch.tanh(x / (0.1 + sigma.view(-1, *[1] * len(shape)))),
        shape,
        data_scale=1.0,
        data_range=None if len(shape) == 3 and shape[0] == 4 else (-1.0, 1.0),
    )
    for _ in collect(teacher, tmp_path / "store", CollectSettings(count=40, steps=3, hold_out=10)):
        pass
    size = f"student.latent={2 * torch.Size(shape).numel()}"
    recipe = tiny_recipe(
        size, "teacher.model=null", "training.steps=2", "evaluation.metrics=[pair_mse, sliced_wasserstein]"
    )
    train_tiny(recipe, tmp_path / "store", tmp_path / "run")
    page = _page(tmp_path / "run")
    assert "was not timed" in page.text and "made by the function" in page.text
    assert "Not measured: sliced_wasserstein: needs real data; nothing says what data the teacher" in page.text
    assert page.text.count("Not measured") == 1
    if shape == (16,):
        timed = tell(tmp_path / "run", None, JOB, teacher=teacher).chapter.facts[1]
        assert "the teacher" in timed.label and timed.value.endswith("×")
        report(tmp_path / "run", tmp_path / "page.html", teacher=teacher, job=JOB)
        other = from_denoiser(lambda x, sigma, labels: 0.3 * x, shape, data_scale=1.0, name=teacher.name)
        with pytest.raises(UsageError, match="another function of the name"):
            report(tmp_path / "run", tmp_path / "page.html", teacher=other, job=JOB)
    if len(shape) == 3:
        assert page.data[0]["count"] == 10
        assert ("4 planes" in page.text) == (shape[0] == 4)
    else:
        assert "16 numbers each" in page.text and len(page.data[0][0]["points"]) == 20


def test_classes_and_a_student_without_an_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_figures, "SECONDS", 60.0)
    monkeypatch.delitem(ANALYSES, "vicinity")
    teacher = from_denoiser(
        lambda x, sigma, labels: torch.tanh(x / (0.1 + sigma.view(-1, 1, 1, 1)) + labels.view(-1, 1, 1, 1)),
        (1, 6, 6),
        num_classes=3,
        data_scale=0.8,
    )
    for _ in collect(teacher, tmp_path / "store", CollectSettings(count=60, steps=12, hold_out=30)):
        pass
    recipe = tiny_recipe(
        "method=direct",
        "student.operator={kind: identity}",
        "student.latent=36",
        "teacher.model=null",
        "training.steps=2",
        "evaluation.metrics=[pair_mse]",
    )
    train_tiny(recipe, tmp_path / "store", tmp_path / "run")
    page = _page(tmp_path / "run")
    names = page.data[0]["names"]
    assert names == sorted(names) and set(names) == {"0", "1", "2"}
    assert "the operator leaves the latent as it is" in page.text


def test_large_images_are_shown_smaller() -> None:
    facts, noise = DataFacts(shape=(1, 300, 200)), torch.zeros(2, 1, 300, 200)
    found = report_figures._image_links(
        Display("images", (-1.0, 1.0)), facts, noise, None, {"student": noise}, {"noise": "a", "student": "b"}, "It is."
    )
    assert {images.shape for images in found.panels.values()} == {(2, 100, 67, 3)}
    assert found.text.strip() == "Of 3 x 3 pixels one is shown."


@pytest.mark.parametrize("name", ["kdm", "hkd-board", "hkd-digits"])
def test_runs_of_version_0_1(name: str, tmp_path: Path) -> None:
    run = tmp_path / name
    for store in ("board-store", "digits-store"):
        shutil.copytree(FIXTURES / store, tmp_path / store)
    shutil.copytree(FIXTURES / name, run)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("STORES/", f"{tmp_path}/"))
    page = _page(run)
    assert "network evaluations a sample" in page.text and "pair_mse" in page.text
