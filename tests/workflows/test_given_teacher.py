"""A teacher made in Python is given to what compares with it; another teacher than the run's is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from report_page import read_page
from tiny_way import MLP, tiny_recipe, tiny_teacher, train_tiny

from koopstep.core.errors import UsageError
from koopstep.data.collect import CollectSettings, collect
from koopstep.teachers.base import Teacher
from koopstep.teachers.files import read_teacher_file
from koopstep.teachers.functions import from_denoiser
from koopstep.workflows import analyze
from koopstep.workflows.distil import distil
from koopstep.workflows.run import Run

NOT_AT_HAND = "not at hand to compare with"


def either_side(name: str = "either side") -> Teacher:
    return from_denoiser(
        lambda x, sigma, labels: torch.tanh(x / (0.1 + sigma.view(-1, 1))), (5,), data_scale=1.0, name=name
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    small = {"student.encoder": MLP, "student.decoder": MLP, "student.latent": 16, "training.batch_size": 16}
    out = tmp_path_factory.mktemp("given") / "run"
    return distil(either_side(), out, count=200, steps=3, changes=small, quiet=True, device="cpu")


def test_the_page_of_distil_compares_with_the_teacher_it_was_given(run: Run) -> None:
    page = read_page(run.folder / "report" / "index.html")
    assert NOT_AT_HAND not in page.text and "the teacher's (" in page.text


def test_findings_without_the_teacher_are_made_again_with_it(run: Run) -> None:
    without = run.analyze.vicinity(quiet=True)
    assert NOT_AT_HAND in without.conclusion and "made by the function" in without.values["left_out"]["teacher"]
    assert NOT_AT_HAND in read_page(run.report(quiet=True)).text
    assert NOT_AT_HAND not in read_page(run.report(teacher=either_side(), quiet=True)).text
    with_it = run.analyze.vicinity(teacher=either_side(), quiet=True)
    assert with_it.values["teacher_at_hand"] and NOT_AT_HAND not in with_it.conclusion


def test_another_teacher_is_refused(run: Run) -> None:
    for wrong in (either_side("another"), from_denoiser(lambda x, sigma, labels: x, (4,), name="either side")):
        with pytest.raises(UsageError, match="learned from the teacher 'either side'"):
            run.report(teacher=wrong, quiet=True)
        with pytest.raises(UsageError, match="is another one"):
            run.analyze.vicinity(teacher=wrong, quiet=True)
    with pytest.raises(UsageError, match="spectrum does not look at the teacher"):
        analyze.analyze_run(run, "spectrum", teacher=either_side(), quiet=True)


def test_a_teacher_file_is_known_by_its_digest(tmp_path: Path) -> None:
    file = tiny_teacher(tmp_path / "mixture.safetensors")
    settings = CollectSettings(count=120, steps=3, hold_out=20)
    for _ in collect(read_teacher_file(file).teacher, tmp_path / "store", settings):
        pass
    train_tiny(tiny_recipe("training.steps=2", "teacher.file=gone"), tmp_path / "store", tmp_path / "run")
    run = Run.open(tmp_path / "run", device="cpu")
    assert NOT_AT_HAND in run.analyze.vicinity(quiet=True).conclusion
    assert NOT_AT_HAND not in run.analyze.vicinity(teacher=file, quiet=True).conclusion
    other = tiny_teacher(tmp_path / "other.safetensors", torch.zeros(3, 2))
    with pytest.raises(UsageError, match="is another one"):
        run.analyze.vicinity(teacher=other, quiet=True)
