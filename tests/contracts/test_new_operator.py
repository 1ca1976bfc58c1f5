"""An operator that nobody here has heard of: what it implements is enough for students, terms and analyses."""

from __future__ import annotations

import pytest
import torch
from student_members import MLP, VECTOR
from torch import Tensor

from koopstep.analysis.bands import band_effects
from koopstep.analysis.modes import has_rates, rates_of
from koopstep.core.records import Batch
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.objective import build_objective
from koopstep.operators.base import Operator
from koopstep.operators.block import BlockConfig
from koopstep.operators.rates import Rates, advance
from koopstep.students.kdm import KDMConfig
from koopstep.students.student import KoopmanStudent
from koopstep.students.table import build_student


class Wheel(Operator):
    """An operator of somebody's own: pair k turns by k + 1 times the same angle."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, continuous=True)
        self.angle = torch.nn.Parameter(torch.tensor(0.3))

    def rates(self, latent: Tensor | None = None) -> Rates:
        beta = self.angle * torch.arange(1.0, self.shape[0] // 2 + 1)[:, None, None]
        return Rates(torch.zeros_like(beta), beta)

    def matrix(self, du: float | Tensor = 1.0) -> Tensor:
        return self.evolve(torch.eye(self.dimension), du).T

    def _move(self, latent: Tensor, step: float | Tensor, condition: Tensor | None) -> Tensor:
        return advance(latent[:, :, None, None], self.rates(), torch.as_tensor(step))[:, :, 0, 0]


def test_a_new_operator_with_rates_gets_terms_and_analyses_for_nothing() -> None:
    codec = build_student(KDMConfig(encoder=MLP, decoder=MLP, operator=BlockConfig(), latent=6), VECTOR).codec
    student = KoopmanStudent(VECTOR, codec, [Wheel((6,))]).eval().requires_grad_(False)
    assert has_rates(student)
    (rates,) = rates_of(student)
    assert rates.beta.flatten().tolist() == pytest.approx([0.3, 0.6, 0.9])
    (spectrum,) = student.spectrum()
    assert sorted(spectrum.angle().tolist()) == pytest.approx([-0.9, -0.6, -0.3, 0.3, 0.6, 0.9], abs=1e-6)
    latent = student.evolve(student.encode(torch.randn(5, 2), 0.0), 1.0)
    _, found = band_effects(student, latent, None, ["frequency"])
    assert sum(band.energy for band in found) == pytest.approx(1.0, abs=1e-5)
    config = ObjectiveConfig(spectral=0.1, spectral_target="uniform", inverse_consistency=0.1)
    objective = build_objective(config)
    states = torch.randn(2, 5, 2)
    run = objective.run(student, Batch(states[0], states, torch.tensor([0.0, 1.0]), None), 0)
    assert bool(objective.total(objective.terms(run)).isfinite())
