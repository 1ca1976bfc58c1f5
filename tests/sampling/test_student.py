"""The student as people use it: its parts make its samples, and what cannot be is refused in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from koopstep.core.errors import UsageError
from koopstep.nets.mlp import MLPConfig
from koopstep.operators.spectral import SpectralConfig
from koopstep.sampling.onestep import generate
from koopstep.sampling.student import Student
from koopstep.students.files import save_student
from koopstep.students.kdm import KDMConfig
from koopstep.students.student import DataFacts
from koopstep.students.table import build_student

NETWORK = MLPConfig(width=8, depth=2)
CONFIG = KDMConfig(encoder=NETWORK, decoder=NETWORK, operator=SpectralConfig(), latent=6)


def made(num_classes: int = 0) -> Student:
    facts = DataFacts(shape=(2,), num_classes=num_classes, noise_scale=80.0)
    return Student(build_student(CONFIG, facts).eval())


def test_samples_are_those_of_the_network_and_are_put_together_from_the_parts() -> None:
    student = made()
    samples = student.sample(7, seed=3)
    assert samples.shape == (7, 2) and samples.dtype == torch.float32 and not samples.requires_grad
    assert torch.equal(samples, generate(student.model, 7, 3)[0])
    noise = student.noise(7, seed=3)
    assert torch.equal(student.generate(noise), samples)
    half = student.evolve(student.encode(noise), 0.5)
    parts = student.decode(student.evolve(half, 0.5))
    torch.testing.assert_close(parts, samples, rtol=1e-4, atol=1e-5)
    states = student.encode(state=noise * 80.0, u=0.0)
    assert torch.equal(states[0], student.encode(noise)[0])
    one_by_one = student.sample(np.int64(2), seed=np.int64(3), batch_size=1)
    torch.testing.assert_close(one_by_one, samples[:2], rtol=1e-4, atol=1e-5)


def test_classes() -> None:
    student = made(num_classes=3)
    drawn = student.class_labels(5, seed=1)
    assert drawn is not None
    assert torch.equal(student.sample(5, seed=1), student.sample(5, seed=1, class_labels=drawn))
    assert torch.equal(student.sample(4, class_labels=2), student.sample(4, class_labels=[2, 2, 2, 2]))
    assert torch.equal(student.sample(4, class_labels=[0, 1]), student.sample(4, class_labels=[0, 1, 0, 1]))
    noise = student.noise(4)
    assert torch.equal(student.generate(noise, 2), student.sample(4, class_labels=2))
    with pytest.raises(UsageError, match="conditional: give class_labels, 0 to 2"):
        student.generate(noise)
    with pytest.raises(UsageError, match="one for each of the 4 rows, got 3"):
        student.generate(noise, [0, 1, 2])
    for wrong in (3, [0, 3], torch.tensor([3])):
        with pytest.raises(UsageError, match="from 0 to 2, got 3"):
            student.sample(4, class_labels=wrong)


@pytest.mark.parametrize("seed", [-1, 1.0, True, "1", None, 1 << 63])
def test_odd_seeds_are_refused(seed: Any) -> None:
    for use in (made().sample, made().noise):
        with pytest.raises(UsageError, match="seed must be"):
            use(2, seed=seed)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count must be 1 or more"),
        ({"count": 2.5}, "count must be a whole number"),
        ({"steps": 0}, "steps must be 1 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"class_labels": 1}, "knows no classes"),
        ({"steps": 2}, "knows its two ends only"),
    ],
)
def test_what_sample_refuses(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        made().sample(**{"count": 2, **options})


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        (torch.zeros(3, 2, dtype=torch.float64), r"call \.float\(\)"),
        (np.zeros((3, 2), np.float32), "torch.from_numpy"),
        (torch.zeros(2), r"noise\[None\]"),
        (torch.zeros(3, 4), r"\(B, 2\), got shape \(3, 4\)"),
        (torch.full((1, 2), float("nan")), "NaN or infinity"),
        ([[0.0, 1.0]], "got list"),
    ],
)
def test_noise_that_is_none_is_refused(noise: Any, words: str) -> None:
    student = made()
    for use in (student.generate, student.encode):
        with pytest.raises(UsageError, match=words):
            use(noise)


def test_what_the_parts_refuse() -> None:
    student = made()
    noise = student.noise(2)
    for options in ({}, {"noise": noise, "u": 0.5}, {"state": noise}, {"noise": noise, "state": noise, "u": 0.0}):
        with pytest.raises(UsageError, match="encode takes noise alone"):
            student.encode(**options)
    with pytest.raises(UsageError, match=r"u is progress .* got 1\.5"):
        student.encode(state=noise, u=1.5)
    with pytest.raises(UsageError, match="tuple of 1 tensor"):
        student.evolve(noise)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="du is a difference of progress"):
        student.evolve(student.encode(noise), float("nan"))


def test_it_is_read_from_its_folder_or_its_runs(tmp_path: Path) -> None:
    student = made()
    save_student(tmp_path / "run" / "student", CONFIG, student.model, {"teacher": "t"}, "card")
    for folder in (tmp_path / "run", tmp_path / "run" / "student"):
        read = Student.load(folder, device="cpu")
        assert torch.equal(read.sample(3), student.sample(3))
        assert read.provenance == {"teacher": "t"} and read.folder == folder
        assert "kdm" in repr(read) and str(folder) in repr(read) and "\n" not in repr(read)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("")
    with pytest.raises(UsageError, match="not trained to its end yet"):
        Student.load(tmp_path / "other")
    with pytest.raises(UsageError, match=r"neither a run nor a student folder.*did you mean .*other"):
        Student.load(tmp_path)
