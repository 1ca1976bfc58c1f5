"""Every term of KDM's objective against its formula written out, and who gets its gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from koopstep.core.config import Config
from koopstep.core.records import Batch
from koopstep.losses.adversarial import ADVERSARIAL_LOSSES, discriminator_loss
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.distances import Distance, mse, pseudo_huber
from koopstep.losses.objective import build_objective
from koopstep.losses.passes import Pass
from koopstep.losses.terms import TERMS
from koopstep.nets.discriminators import build_discriminator
from koopstep.nets.mlp import MLPConfig
from koopstep.operators import penalties
from koopstep.operators.dense import DenseConfig
from koopstep.operators.factorised import FactorisedConfig
from koopstep.operators.spectral import SpectralConfig
from koopstep.students.kdm import KDMConfig, build_kdm
from koopstep.students.student import DataFacts, KoopmanStudent

MLP = MLPConfig(width=5, depth=1, fourier=0)
FACTS = DataFacts(shape=(2,), num_classes=3, noise_scale=4.0, data_scale=0.7)
ROWS, LATENT = 6, 3
CONFIG = ObjectiveConfig(latent_noise=1.0)
"""The jitter of these tests is scaled already."""


def tiny(operator: Config | None = None, tied: bool = False) -> KoopmanStudent:
    torch.manual_seed(0)
    chosen = operator or DenseConfig(affine=True, init="default")
    config = KDMConfig(encoder=MLP, decoder=MLP, operator=chosen, latent=LATENT, tied=tied)  # type: ignore[arg-type]
    student = build_kdm(config, FACTS).double()
    nn.init.normal_(student.controls[0].weight)  # type: ignore[arg-type]
    return student


def drawn_to(target: str) -> ObjectiveConfig:
    return ObjectiveConfig.parse({"spectral_target": target}, "objective")


def batch(rows: int = ROWS) -> Batch:
    generator = torch.Generator().manual_seed(1)
    noise, data = (torch.randn(rows, 2, generator=generator).double() for _ in range(2))
    states = torch.stack([noise * FACTS.noise_scale, 0.7 * data])
    return Batch(noise, states, torch.tensor([0.0, 1.0]).double(), torch.arange(rows) % 3)


def jitter(rows: int = ROWS) -> Tensor:
    return 0.4 * torch.randn(2, rows, LATENT, generator=torch.Generator().manual_seed(2)).double()


class ByHand:
    """The parts of the paper's Alg. 1, from the student's three networks and its matrix."""

    def __init__(self, student: KoopmanStudent, rows: Batch, noise: Tensor) -> None:
        operator, labels = student.operators[0], rows.class_labels
        self.z_noise = student.encode(rows.states[0], 0.0, labels)[0] + noise[0]
        self.z_data = student.encode(rows.states[-1], 1.0, labels)[0]
        control = student.controls[0].weight[labels]  # type: ignore[index]
        self.pushed = self.z_noise @ operator.weight.T + operator.offset + control  # type: ignore[operator, union-attr]
        self.reconstructed = student.decode((self.z_data + noise[1],), 1.0, labels)
        self.predicted = student.decode((self.pushed,), 1.0, labels)


@pytest.mark.parametrize("jittered", [False, True])
@pytest.mark.parametrize("distance", [mse, pseudo_huber])
def test_terms_are_their_equations(jittered: bool, distance: Distance) -> None:
    student, rows = tiny(), batch()
    discriminator = build_discriminator((2,), 3).double()
    noise = jitter() if jittered else torch.zeros(2, ROWS, LATENT).double()
    run = Pass(
        CONFIG, student, rows, distance=distance, jitter=noise if jittered else None, discriminator=discriminator
    )
    hand = ByHand(student, rows, noise)
    torch.testing.assert_close(TERMS["reconstruction"].value(run), distance(hand.reconstructed, rows.data, {}))  # Eq. 5
    torch.testing.assert_close(TERMS["latent"].value(run), (hand.z_data - hand.pushed).square().mean())  # Eq. 6
    torch.testing.assert_close(TERMS["prediction"].value(run), distance(hand.predicted, rows.data, {}))  # Eq. 7
    real_enough = -torch.sigmoid(discriminator(hand.predicted, rows.class_labels)).log().mean()  # CE(1, D(x))
    torch.testing.assert_close(TERMS["adversarial"].value(run), real_enough)
    if not jittered:
        torch.testing.assert_close(run.predicted, student.generate(rows.noise, rows.class_labels))


def test_the_discriminator_s_loss_is_its_cross_entropy() -> None:
    discriminator, labels = build_discriminator((2,), 3).double(), torch.arange(ROWS) % 3
    real, fake = batch().data, batch().noise
    on_real, on_fake = torch.sigmoid(discriminator(real, labels)), torch.sigmoid(discriminator(fake, labels))
    torch.testing.assert_close(
        discriminator_loss(discriminator, real, fake, labels), -(on_real.log() + (1 - on_fake).log()).mean()
    )


def test_spectral_terms_are_the_penalties_of_the_eigenvalues() -> None:
    student = tiny(SpectralConfig(stable=False, initial_rate=0.3))
    with torch.no_grad():
        for parameter in student.operators.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape).double())
    real, imaginary = (part.detach() for part in student.operators[0].controlled_eigenvalues())  # type: ignore[operator]
    modulus = torch.hypot(real, imaginary)
    expected = {
        "circle": (modulus - 1).square().mean(),
        "bound": (modulus - 1).clamp(min=0).square().mean(),
        "uniform": penalties.uniform_target_penalty(real, imaginary, 9),
    }
    assert float(expected["bound"]) > 0
    for target, value in expected.items():
        run = Pass(drawn_to(target), student, batch(), seed=9)
        torch.testing.assert_close(TERMS["spectral"].value(run), value)
    other = Pass(drawn_to("uniform"), student, batch(), seed=10)
    assert float(TERMS["spectral"].value(other).detach()) != pytest.approx(float(expected["uniform"]))


@pytest.mark.parametrize("operator", [FactorisedConfig(), SpectralConfig(stable=False, initial_rate=0.2)])
@pytest.mark.parametrize("target", ["uniform", "circle", "bound"])
def test_spectral_terms_need_no_eigendecomposition(
    operator: Config, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = tiny(operator)

    def refuse(*_: object) -> None:
        raise AssertionError("an eigendecomposition in the loop")

    for name in ("eig", "eigvals", "eigh", "eigvalsh", "svd", "svdvals"):
        monkeypatch.setattr(torch.linalg, name, refuse)
    TERMS["spectral"].value(Pass(drawn_to(target), student, batch())).backward()
    got = {
        name
        for name, p in student.operators.named_parameters()
        if p.grad is not None and bool((p.grad.abs() > 1e-9).any())
    }
    if isinstance(operator, FactorisedConfig):
        # |lambda| < 1 by its parametrisation: the bound has nothing to say
        assert got == {"uniform": {"0.nu", "0.theta"}, "circle": {"0.nu"}, "bound": set()}[target]
    else:
        assert got == {"0.rate_weight"} | ({"0.frequency"} if target == "uniform" else set())
    assert all(p.grad is None for p in student.codec.parameters())


def test_spectral_terms_pull_the_eigenvalues() -> None:
    student = tiny(FactorisedConfig(smallest_modulus=0.3, largest_modulus=0.5))
    optimizer = torch.optim.Adam(student.operators.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        TERMS["spectral"].value(Pass(drawn_to("circle"), student, batch())).backward()
        optimizer.step()
    real, imaginary = student.operators[0].controlled_eigenvalues()  # type: ignore[operator]
    assert bool((torch.hypot(real, imaginary) > 0.95).all())


def test_inverse_consistency_is_the_operator_s() -> None:
    student = tiny(FactorisedConfig())
    with torch.no_grad():
        student.operators[0].inverse_real.mul_(1.3)  # type: ignore[operator, union-attr]
    value = TERMS["inverse_consistency"].value(Pass(CONFIG, student, batch()))
    assert float(value.detach()) > 0
    torch.testing.assert_close(value, student.operators[0].inverse_consistency())  # type: ignore[operator]


@pytest.mark.parametrize("name", ["reconstruction", "latent", "prediction", "adversarial"])
@pytest.mark.parametrize("adversarial_loss", sorted(ADVERSARIAL_LOSSES))
def test_micro_batches_add_up(name: str, adversarial_loss: str) -> None:
    student, rows, noise, discriminator = tiny(), batch(), jitter(), build_discriminator((2,), 3).double()
    config = CONFIG.model_copy(update={"adversarial_loss": adversarial_loss})

    def value(part: slice) -> Tensor:
        run = Pass(
            config, student, rows[part], distance=pseudo_huber, jitter=noise[:, part], discriminator=discriminator
        )
        return TERMS[name].value(run)

    whole, halves = value(slice(0, 6)), [value(slice(0, 3)), value(slice(3, 6))]
    torch.testing.assert_close(torch.stack(halves).mean(), whole)


@pytest.mark.parametrize("adversarial_loss", ["nonsaturating", "hinge", "relativistic"])
@pytest.mark.parametrize("penalty", [0.0, 0.5])
def test_the_adversarial_losses_gradients_do_not_cross(adversarial_loss: Any, penalty: float) -> None:
    """As the loop takes them: each side's loss with respect to its own weights."""
    student, rows, discriminator = tiny(), batch(), build_discriminator((2,), 3).double()
    settings = ObjectiveConfig(adversarial=1.0, adversarial_loss=adversarial_loss, r1=penalty, r2=penalty)
    objective = build_objective(settings, discriminator)
    run = objective.run(student, rows, 0)
    student_s, discriminator_s = TERMS["adversarial"].value(run), objective.discriminator_loss(run)
    assert discriminator_s is not None
    torch.autograd.backward(student_s, inputs=list(student.parameters()), retain_graph=True)
    assert all(p.grad is None for p in discriminator.parameters())
    sampling = [*student.codec.sampling_modules(), student.operators, student.controls]
    assert all(p.grad is not None for module in sampling for p in module.parameters())
    before = [None if p.grad is None else p.grad.clone() for p in student.parameters()]
    discriminator_s.backward()  # to whatever it reaches
    # pairs are about differences, and so is the hinge until it lets go: the last bias, alone, is free
    silent = [
        name for name, p in discriminator.named_parameters() if p.grad is None or float(p.grad.abs().max()) < 1e-12
    ]
    assert silent == ([] if adversarial_loss == "nonsaturating" else ["last.bias"])
    for old, parameter in zip(before, student.parameters(), strict=True):
        assert (old is None and parameter.grad is None) or torch.equal(old, parameter.grad)  # type: ignore[arg-type]


def test_fooling_the_discriminator_lowers_the_student_s_term() -> None:
    student, rows = tiny(), batch()

    class Judge(nn.Module):
        def forward(self, x: Tensor, class_labels: Tensor | None = None) -> Tensor:
            return x[:, :1]  # what lies to the right is real

    run = Pass(CONFIG, student, rows, discriminator=Judge())
    before = run.predicted[:, 0].mean()
    TERMS["adversarial"].value(run).backward()
    with torch.no_grad():
        for parameter in student.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad
    assert float(Pass(CONFIG, student, rows).predicted[:, 0].mean().detach()) > float(before.detach())


@pytest.mark.parametrize("operator", [None, FactorisedConfig(), SpectralConfig()])
def test_gradients_of_the_total(operator: Config | None) -> None:
    student, rows, discriminator = tiny(operator), batch(3), build_discriminator((2,), 3).double()
    settings = ObjectiveConfig(
        reconstruction=0.7,
        latent=1.3,
        prediction=1.1,
        adversarial=0.2,
        spectral=0.5 if operator else 0.0,
        inverse_consistency=0.1,
        distance="pseudo-huber",
        spectral_target="circle",
        latent_noise=0.4,
    )
    objective, noise = build_objective(settings, discriminator), jitter(3)
    weights = {name: p.detach().clone().requires_grad_() for name, p in student.named_parameters()}
    chosen = [name for name in weights if "noise_encoder" not in name or "bias" in name]  # fewer, for speed

    def total(*values: Tensor) -> Tensor:
        originals = weights | dict(zip(chosen, values, strict=True))

        class Through(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.student = student

            def forward(self) -> Tensor:
                return objective.total(objective.terms(objective.run(self.student, rows, 0, noise)))

        named = {f"student.{name}": value for name, value in originals.items()}
        return torch.func.functional_call(Through(), named, ())

    assert torch.autograd.gradcheck(total, tuple(weights[name] for name in chosen), fast_mode=True)


def test_the_published_latent_noise_shakes_by_its_standard_deviation() -> None:
    student, rows = tiny(), batch(3000)
    normal = torch.randn(2, 3000, LATENT, generator=torch.Generator().manual_seed(0)).double()
    objective = build_objective(ObjectiveConfig(latent_noise=0.4))
    run, calm = objective.run(student, rows, 0, normal), objective.run(student, rows, 0)
    added = run.noise_latent[0] - calm.noise_latent[0]
    torch.testing.assert_close(added, 0.4 * normal[0])
    assert float(added.std().detach()) == pytest.approx(0.4, rel=0.05)
    assert math.isclose(float((run.clean_data_latent[0] - calm.clean_data_latent[0]).abs().max().detach()), 0.0)
    quiet = build_objective(ObjectiveConfig(latent_noise=0.0)).run(student, rows, 0, normal)
    assert torch.equal(quiet.noise_latent[0], calm.noise_latent[0])
