"""What students of a path's two ends (KDM) promise beside the contract of all: one latent, one operator, a control a class."""

from __future__ import annotations

import pytest
import torch
from student_members import KDM, Made, make

from koopstep.core.errors import UsageError
from koopstep.operators.table import OPERATORS
from koopstep.students.table import build_student


@pytest.fixture(params=sorted(KDM))
def made(request: pytest.FixtureRequest) -> Made:
    return make(KDM[request.param])


def test_every_operator_is_a_member() -> None:
    assert {config.operator.kind for config, _ in KDM.values() if config.kind == "kdm"} == set(OPERATORS)


def test_the_latent_is_one_vector(made: Made) -> None:
    latent = made.student.encode(made.rows(3), 0.0, made.labels(3))
    assert [level.shape for level in latent] == [(3, made.config.latent)]


def test_ends_meet_in_one_latent(made: Made) -> None:
    noise, data = (made.student.encode(made.rows(3), u, made.labels(3))[0] for u in (0.0, 1.0))
    assert noise.shape == data.shape
    assert torch.equal(noise, data) == made.config.tied


def test_progress_between_the_ends_is_refused(made: Made) -> None:
    latent = made.student.encode(made.rows(2), 0.0, made.labels(2))
    for u in (0.5, -1.0, 2.0):
        with pytest.raises(UsageError, match=f"u = {u}"):
            made.student.encode(made.rows(2), u, made.labels(2))
        with pytest.raises(UsageError, match=f"u = {u}"):
            made.student.decode(latent, u, made.labels(2))
    with pytest.raises(UsageError, match=r"u = 0\.0"):
        made.student.decode(latent, 0.0, made.labels(2))


def test_the_control_moves_the_latent_by_class(made: Made) -> None:
    fresh = build_student(made.config, made.facts)
    assert len(fresh.controls) == bool(made.facts.num_classes)
    if not made.facts.num_classes:
        return
    latent = (torch.randn(3, made.config.latent),)
    labels = torch.tensor([0, 1, 1])
    assert torch.equal(fresh.evolve(latent, 1.0, labels)[0], fresh.evolve(latent, 1.0)[0])  # C_mu starts at zero
    torch.nn.init.normal_(fresh.controls[0].weight)  # type: ignore[arg-type]
    moved = fresh.evolve(latent, 1.0, labels)[0] - fresh.evolve(latent, 1.0)[0]
    torch.testing.assert_close(moved[1], moved[2], rtol=1e-4, atol=1e-5)  # the same wherever it starts
    assert bool((moved[0] - moved[1]).abs().max() > 1e-3)
    if not made.student.operators[0].continuous:
        torch.testing.assert_close(moved, fresh.controls[0](labels), rtol=1e-4, atol=1e-5)


def test_spectra(made: Made) -> None:
    (spectrum,) = made.student.spectrum()
    assert spectrum.eigenvalues.shape == (made.config.latent,)
    assert spectrum.level == "latent"
    pinned = made.config.tied and made.config.encoder.kind == "linear"
    assert (spectrum.gauge, bool(spectrum.pinned_by)) == (("fixed", True) if pinned else ("free", False))
    matrix = made.student.operators[0].matrix().detach().cdouble()  # type: ignore[operator]
    torch.testing.assert_close(spectrum.eigenvalues.prod(), matrix.det())
    torch.testing.assert_close(spectrum.eigenvalues.sum(), matrix.trace())


def test_a_tied_student_trains_nothing_that_sampling_does_not_need(made: Made) -> None:
    everything, sampling = made.student.parameter_counts()
    assert (everything == sampling) == made.config.tied
