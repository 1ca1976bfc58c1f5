"""What every student promises: every method's operator, vectors and images, flat and spatial networks, classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.losses.objective import ObjectiveConfig, build_objective
from koopstep.nets.linear import LinearConfig
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.unet import UNetConfig
from koopstep.operators.dense import DenseConfig
from koopstep.operators.factorised import FactorisedConfig
from koopstep.operators.identity import IdentityConfig
from koopstep.operators.spectral import SpectralConfig
from koopstep.operators.table import OPERATORS
from koopstep.students.files import load_student, save_student
from koopstep.students.kdm import KDMConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import STUDENTS, build_student

MLP = MLPConfig(width=8, depth=2, fourier=1)
UNET = UNetConfig(model_channels=4, channel_mult=(1, 2), channel_mult_emb=1, num_blocks=1, attention_resolutions=())
VECTOR = DataFacts(shape=(2,), noise_scale=10.0, data_scale=0.7)
IMAGE = DataFacts(shape=(2, 4, 4), noise_scale=80.0, data_scale=0.5)
CLASSES = {"num_classes": 3}
Member = tuple[KDMConfig, DataFacts]
MEMBERS: dict[str, Member] = {
    "dense": (KDMConfig(encoder=MLP, decoder=MLP, operator=DenseConfig(), latent=6), VECTOR),
    "dense-affine-carry": (
        KDMConfig(encoder=MLP, decoder=MLP, operator=DenseConfig(affine=True), latent=6, carry=1.0),
        VECTOR,
    ),
    "factorised": (KDMConfig(encoder=MLP, decoder=MLP, operator=FactorisedConfig(), latent=6), VECTOR),
    "spectral-classes": (
        KDMConfig(encoder=MLP, decoder=MLP, operator=SpectralConfig(), latent=5),
        VECTOR.model_copy(update=CLASSES),
    ),
    "identity-classes": (
        KDMConfig(encoder=MLP, data_encoder=LinearConfig(), decoder=MLP, operator=IdentityConfig(), latent=6),
        VECTOR.model_copy(update=CLASSES),
    ),
    "tied-linear": (
        KDMConfig(
            encoder=LinearConfig(),
            decoder=LinearConfig(),
            operator=SpectralConfig(real_modes=2),
            latent=2,
            tied=True,
        ),
        VECTOR,
    ),
    "image-in-planes": (
        KDMConfig(encoder=UNET, decoder=UNET, operator=DenseConfig(), latent=16),
        IMAGE.model_copy(update=CLASSES),
    ),
    "image-linear-module": (
        KDMConfig(
            encoder=UNET, data_encoder=MLP, decoder=UNET, operator=SpectralConfig(), latent=10, latent_channels=2
        ),
        IMAGE,
    ),
    "image-tied-mlp": (
        KDMConfig(encoder=MLP, decoder=UNET, operator=FactorisedConfig(), latent=16, tied=True),
        IMAGE.model_copy(update=CLASSES),
    ),
}


@dataclass(frozen=True)
class Made:
    """A member in float64 with weights that are not those of a fresh (nearly silent) student."""

    config: KDMConfig
    facts: DataFacts
    student: KoopmanStudent

    def rows(self, count: int, seed: int = 0) -> Tensor:
        return torch.randn(count, *self.facts.shape, generator=torch.Generator().manual_seed(seed)).double()

    def labels(self, count: int) -> Tensor | None:
        return torch.arange(count) % self.facts.num_classes if self.facts.num_classes else None


@pytest.fixture(params=sorted(MEMBERS))
def made(request: pytest.FixtureRequest) -> Made:
    config, facts = MEMBERS[request.param]
    torch.manual_seed(0)
    student = build_student(config, facts).double()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64))
    return Made(config, facts, student.eval())


def test_every_student_and_operator_is_a_member() -> None:
    assert {config.kind for config, _ in MEMBERS.values()} == set(STUDENTS) - {"hkd"}  # see test_path_students
    assert {config.operator.kind for config, _ in MEMBERS.values()} == set(OPERATORS)


def test_generating_is_encoding_evolving_decoding(made: Made) -> None:
    student, noise, labels = made.student, made.rows(3), made.labels(3)
    latent = student.encode(noise * made.facts.noise_scale, 0.0, labels)
    assert [level.shape for level in latent] == [(3, made.config.latent)]
    evolved = student.evolve(latent, 1.0, labels)
    assert [level.shape for level in evolved] == [(3, made.config.latent)]
    sample = student.generate(noise, labels)
    assert sample.shape == noise.shape
    assert torch.equal(student.decode(evolved, 1.0, labels), sample)
    assert torch.equal(student(noise, labels), sample)
    assert bool((sample[0] != sample[1]).any())


def test_sampling_for_inference_is_that_of_training(made: Made) -> None:
    noise, labels = made.rows(3), made.labels(3)
    with torch.no_grad():
        folded = made.student.generate(noise, labels)
    torch.testing.assert_close(made.student.train().generate(noise, labels), folded, rtol=1e-10, atol=1e-10)


def test_rows_do_not_depend_on_the_batch(made: Made) -> None:
    noise, labels = made.rows(6), made.labels(6)
    alone = [made.student.generate(noise[[i]], None if labels is None else labels[[i]]) for i in range(6)]
    torch.testing.assert_close(torch.cat(alone), made.student.generate(noise, labels), rtol=1e-9, atol=1e-9)


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
    expected = torch.linalg.eigvals(made.student.operators[0].matrix().detach())  # type: ignore[operator]
    torch.testing.assert_close(spectrum.eigenvalues.prod(), expected.prod())
    torch.testing.assert_close(spectrum.eigenvalues.sum(), expected.sum())


def test_parameter_counts(made: Made) -> None:
    everything, sampling = made.student.parameter_counts()
    assert everything == sum(p.numel() for p in made.student.parameters())
    used = {}
    made.student.train()
    made.student.generate(made.rows(2), made.labels(2)).square().sum().backward()
    for name, parameter in made.student.named_parameters():
        if parameter.grad is not None:
            used[name] = parameter.numel()
    assert sum(used.values()) == sampling  # exactly what a sample depends on
    assert (everything == sampling) == made.config.tied


def test_every_parameter_learns(made: Made) -> None:
    labels = made.labels(6)
    states = torch.stack([made.rows(6) * made.facts.noise_scale, made.rows(6, seed=1)])
    batch = Batch(made.rows(6), states, torch.tensor([0.0, 1.0]), labels)
    objective = build_objective(ObjectiveConfig())
    made.student.train()
    objective.total(objective.terms(objective.run(made.student, batch, seed=0))).backward()
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
