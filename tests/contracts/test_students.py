"""What every student promises, whatever its kind: KDM with each operator, HKD of vectors and of images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from student_members import HKD, KDM, MODES, OBJECTIVES, Made, make

from koopstep.core.errors import UsageError
from koopstep.losses.objective import build_objective
from koopstep.operators.table import OPERATORS
from koopstep.students.files import load_student, save_student
from koopstep.students.table import STUDENTS

MEMBERS = {
    f"{config.kind}-{name}": (config, facts) for name, (config, facts) in [*KDM.items(), *HKD.items(), *MODES.items()]
}


@pytest.fixture(params=sorted(MEMBERS))
def made(request: pytest.FixtureRequest) -> Made:
    return make(MEMBERS[request.param])


def test_every_kind_is_a_member() -> None:
    for members in (KDM, HKD):
        assert {config.operator.kind for config, _ in members.values()} == set(OPERATORS)
    assert {config.operator.kind for config, _ in MODES.values()} == {"modes"}
    assert {config.kind for config, _ in MEMBERS.values()} == set(STUDENTS) == set(OBJECTIVES)


def test_generating_is_encoding_evolving_decoding(made: Made) -> None:
    student, noise, labels = made.student, made.rows(3), made.labels(3)
    latent = student.encode(noise * made.facts.noise_scale, 0.0, labels)
    evolved = student.evolve(latent, 1.0, labels)
    assert [level.shape for level in evolved] == [level.shape for level in latent]
    assert len(latent) == len(student.operators) == len(student.level_names)
    sample = student.generate(noise, labels)
    assert sample.shape == noise.shape and bool((sample[0] != sample[1]).any())
    assert torch.equal(student.decode(evolved, 1.0, labels), sample)
    assert torch.equal(student(noise, labels), sample)


def test_sampling_for_inference_is_that_of_training(made: Made) -> None:
    noise, labels = made.rows(3), made.labels(3)
    with torch.no_grad():
        folded = made.student.generate(noise, labels)
        assert torch.equal(folded, made.student.generate(noise, labels))
    torch.testing.assert_close(made.student.train().generate(noise, labels), folded, rtol=1e-10, atol=1e-10)


def test_rows_do_not_depend_on_the_batch(made: Made) -> None:
    noise, labels = made.rows(6), made.labels(6)
    alone = [made.student.generate(noise[[i]], None if labels is None else labels[[i]]) for i in range(6)]
    torch.testing.assert_close(torch.cat(alone), made.student.generate(noise, labels), rtol=1e-9, atol=1e-9)


def test_wrong_inputs_are_named(made: Made) -> None:
    student, noise = made.student, made.rows(4)
    with pytest.raises(UsageError, match="works on shape"):
        student.generate(torch.zeros(4, 9).double(), made.labels(4))
    if not made.facts.num_classes:
        with pytest.raises(UsageError, match="knows no classes"):
            student.generate(noise, torch.zeros(4, dtype=torch.int64))
        return
    with pytest.raises(UsageError, match=r"give class_labels \(0 to 2\)"):
        student.generate(noise)
    with pytest.raises(UsageError, match="one row of 4 numbers"):
        student.generate(noise, torch.zeros(3, dtype=torch.int64))
    for wrong in ([0, 1, 2, 3], [0, 1, 2, -1]):
        with pytest.raises(UsageError, match="from 0 to 2"):
            student.generate(noise, torch.tensor(wrong))


def test_classes_matter(made: Made) -> None:
    if made.facts.num_classes:
        noise = made.rows(3)
        samples = [made.student.generate(noise, torch.full((3,), label)) for label in range(3)]
        assert bool((samples[0] != samples[1]).any()) and bool((samples[1] != samples[2]).any())


def test_spectra(made: Made) -> None:
    spectra = made.student.spectrum()
    assert [spectrum.level for spectrum in spectra] == list(made.student.level_names)
    assert len(set(made.student.level_names)) == len(spectra)
    assert len({(spectrum.gauge, bool(spectrum.pinned_by)) for spectrum in spectra}) == 1
    assert all((spectrum.gauge == "fixed") == bool(made.student.codec.pinned_by) for spectrum in spectra)


def test_parameter_counts(made: Made) -> None:
    everything, sampling = made.student.parameter_counts()
    assert everything == sum(p.numel() for p in made.student.parameters())
    made.student.train()
    made.student.generate(made.rows(2), made.labels(2)).square().sum().backward()
    used = [p.numel() for p in made.student.parameters() if p.grad is not None]
    assert sum(used) == sampling  # exactly what a sample depends on


def test_every_parameter_learns(made: Made) -> None:
    objective = build_objective(made.objective)
    batch = made.batch(6)
    draws = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    made.student.train()
    size = sum(operator.dimension for operator in made.student.operators)
    jitter = torch.randn(2, 6, size, generator=torch.Generator().manual_seed(1)).double()
    run, still = (objective.run(made.student, batch, 0, given, draws=draws) for given in (jitter, None))
    added = [(moved - latent).flatten(1) for moved, latent in zip(run.noise_latent, still.noise_latent, strict=True)]
    torch.testing.assert_close(torch.cat(added, dim=1), 0.1 * jitter[0])  # every level gets its share
    objective.total(objective.terms(run)).backward()
    for name, parameter in made.student.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool((parameter.grad != 0).any()) or not parameter.numel(), name


def test_saved_and_loaded(made: Made, tmp_path: Path) -> None:
    save_student(tmp_path / "s", made.config, made.student, {"preset": "none"}, "# card")
    loaded, described = load_student(tmp_path / "s")
    assert (described.student, described.facts, described.provenance) == (made.config, made.facts, {"preset": "none"})
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    noise, labels = made.rows(3).float(), made.labels(3)
    with torch.no_grad():
        expected = made.student.float().generate(noise, labels)
    assert torch.equal(loaded.generate(noise, labels), expected)
    assert loaded.parameter_counts() == made.student.parameter_counts()


def test_a_float64_student_works_in_float64(made: Made) -> None:
    assert made.student.generate(made.rows(2), made.labels(2)).dtype == torch.float64
