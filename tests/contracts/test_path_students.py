"""What students of whole paths (HKD) promise: vectors and images, every choice of operator, level, label and observable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.levels import flow_times, karras_sigmas
from koopstep.core.records import Batch
from koopstep.losses.objective import ObjectiveConfig, build_objective
from koopstep.nets.adm import ADMConfig
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.unet import UNetConfig
from koopstep.operators.block import BlockConfig, BlockOperator
from koopstep.students.files import load_student, save_student
from koopstep.students.hkd import HKDConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student

MLP = MLPConfig(width=8, depth=2, fourier=1)
UNET = UNetConfig(model_channels=4, channel_mult=(1, 2), channel_mult_emb=1, num_blocks=1, attention_resolutions=())
PATCHED = UNET.model_copy(update={"patch": 2})
ADM = ADMConfig(dropout=0.0, model_channels=8, channel_mult=(1, 2), num_blocks=1, attention_resolutions=())
SIGMAS = tuple(karras_sigmas(4, 0.002, 80.0).tolist())
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
VECTOR = DataFacts(shape=(2,), noise_scale=80.0, data_scale=0.7, progress=STEPS, levels=SIGMAS)
IMAGE = DataFacts(shape=(2, 8, 8), noise_scale=80.0, data_scale=0.5, progress=STEPS, levels=SIGMAS)
FLOW = DataFacts(shape=(2, 8, 8), data_scale=0.5, progress=STEPS, levels=tuple(flow_times(4).tolist()))
CLASSES = {"num_classes": 3}
MEMBERS: dict[str, tuple[HKDConfig, DataFacts]] = {
    "vector": (HKDConfig(network=MLP, latent=6), VECTOR),
    "vector-carried-classes": (
        HKDConfig(network=MLP, latent=6, observables="carried", decoder_told="target"),
        VECTOR.model_copy(update=CLASSES),
    ),
    "vector-linear": (HKDConfig(network=MLP, latent=2, observables="linear"), VECTOR),
    "image": (HKDConfig(network=UNET), IMAGE),
    "image-classes-shared-final": (
        HKDConfig(network=UNET, operator=BlockConfig(sharing="channel"), decoder_told="final"),
        IMAGE.model_copy(update=CLASSES),
    ),
    "image-flow-low-rank-maps": (
        HKDConfig(network=UNET, operator=BlockConfig(sharing="low_rank", rank=3), maps=True),
        FLOW,
    ),
    "image-pooled-bottleneck": (
        HKDConfig(network=UNET, operator=BlockConfig(modulation="pooled"), levels="bottleneck"),
        IMAGE,
    ),
    "image-local-target": (
        HKDConfig(network=UNET, operator=BlockConfig(modulation="local"), decoder_told="target"),
        IMAGE,
    ),
    "image-normalised": (HKDConfig(network=UNET, observables="normalised"), IMAGE),
    "image-carried-patches": (
        HKDConfig(network=PATCHED.model_copy(update={"model_channels": 16}), observables="carried"),
        IMAGE,
    ),
    "image-no-operator": (HKDConfig(network=UNET, operator=BlockConfig(sharing="none")), IMAGE),
    "image-adm": (HKDConfig(network=ADM), IMAGE),
}


@dataclass(frozen=True)
class Made:
    """A member in float64 with weights that are not those of a fresh student."""

    config: HKDConfig
    facts: DataFacts
    student: KoopmanStudent

    def rows(self, count: int, seed: int = 0) -> Tensor:
        return torch.randn(count, *self.facts.shape, generator=torch.Generator().manual_seed(seed)).double()

    def labels(self, count: int) -> Tensor | None:
        return torch.arange(count) % self.facts.num_classes if self.facts.num_classes else None

    @property
    def static(self) -> bool:
        return self.config.operator.modulation == "none"


@pytest.fixture(params=sorted(MEMBERS))
def made(request: pytest.FixtureRequest) -> Made:
    config, facts = MEMBERS[request.param]
    torch.manual_seed(0)
    student = build_student(config, facts).double()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64))
    return Made(config, facts, student.eval())


def test_generating_is_encoding_evolving_decoding(made: Made) -> None:
    noise, labels = made.rows(3), made.labels(3)
    latent = made.student.encode(noise * made.facts.noise_scale, 0.0, labels)
    shapes = [operator.shape for operator in made.student.operators]
    assert [tuple(level.shape[1:]) for level in latent] == [s if len(made.facts.shape) == 3 else s[:1] for s in shapes]
    sample = made.student.generate(noise, labels)
    assert torch.equal(made.student.decode(made.student.evolve(latent, 1.0, labels), 1.0, labels), sample)
    assert sample.shape == noise.shape and bool((sample[0] != sample[1]).any())


def test_rows_have_their_own_progress(made: Made) -> None:
    rows, labels, u = made.rows(4), made.labels(4), torch.tensor([0.0, 0.3, 0.77, 1.0]).double()
    together = made.student.encode(rows, u, labels)
    moved = made.student.evolve(together, 1 - u, labels)
    read = made.student.decode(moved, u, labels)
    for i in range(4):
        label, at = None if labels is None else labels[[i]], float(u[i])
        alone = made.student.evolve(made.student.encode(rows[[i]], at, label), 1 - at, label)
        for level, other in zip(moved, alone, strict=True):
            torch.testing.assert_close(level[[i]], other, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(read[[i]], made.student.decode(alone, at, label), rtol=1e-6, atol=1e-7)


def test_the_flow_is_a_group_unless_it_looks_at_the_state(made: Made) -> None:
    latent = made.student.encode(made.rows(2), 0.4, made.labels(2))
    evolve = made.student.evolve
    split, whole, back = evolve(evolve(latent, 0.3), 0.5), evolve(latent, 0.8), evolve(evolve(latent, 0.8), -0.8)
    if made.static:
        for ours, theirs in ((split, whole), (back, latent)):
            for level, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(level, other, rtol=1e-11, atol=1e-11)
    else:
        assert any(bool((a - b).abs().max() > 1e-6) for a, b in zip(split, whole, strict=True))


def test_a_fresh_student_does_not_move_its_latent(made: Made) -> None:
    fresh = build_student(made.config, made.facts)
    latent = fresh.encode(made.rows(2).float(), 0.0, made.labels(2))
    for level, moved in zip(latent, fresh.evolve(latent, torch.tensor([1.0, 0.5])), strict=True):
        assert torch.equal(level, moved)  # bit for bit


def test_sampling_for_inference_is_that_of_training(made: Made) -> None:
    noise, labels = made.rows(3), made.labels(3)
    with torch.no_grad():
        kept = made.student.generate(noise, labels)
        assert torch.equal(kept, made.student.generate(noise, labels))
    torch.testing.assert_close(made.student.train().generate(noise, labels), kept, rtol=1e-10, atol=1e-10)


def test_spectra_tell_every_level(made: Made) -> None:
    spectra = made.student.spectrum()
    assert [spectrum.level for spectrum in spectra] == list(made.student.level_names)
    assert len({spectrum.level for spectrum in spectra}) == len(spectra)
    pinned = made.config.observables != "free"
    assert all((spectrum.gauge == "fixed", bool(spectrum.pinned_by)) == (pinned, pinned) for spectrum in spectra)
    for spectrum, operator in zip(spectra, made.student.operators, strict=True):
        assert isinstance(operator, BlockOperator)
        rates = operator.static_rates()
        assert len(spectrum.eigenvalues) == 2 * rates.alpha.numel()
        torch.testing.assert_close(spectrum.modulus()[::2], rates.alpha.detach().exp().flatten())


def test_every_parameter_learns(made: Made) -> None:
    labels, size = made.labels(6), made.facts.noise_scale
    states = torch.stack([made.rows(6, seed=k) * size ** (1 - k / 4) for k in range(5)])
    batch = Batch(made.rows(6), states, torch.tensor(STEPS).double(), labels)
    config = ObjectiveConfig(trajectory=1.0, intermediate=1.0, linearity=1.0, generator=1.0)
    objective = build_objective(config)
    draws = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    made.student.train()
    terms = objective.terms(objective.run(made.student, batch, seed=0, draws=draws))
    objective.total(terms).backward()
    for name, parameter in made.student.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool((parameter.grad != 0).any()), name


def test_parameter_counts(made: Made) -> None:
    everything, sampling = made.student.parameter_counts()
    assert everything == sampling == sum(p.numel() for p in made.student.parameters())
    assert len(made.student.controls) == 0  # its networks are told the class


def test_saved_and_loaded(made: Made, tmp_path: Path) -> None:
    save_student(tmp_path / "s", made.config, made.student, {"preset": "none"}, "# card")
    loaded, described = load_student(tmp_path / "s")
    assert (described.student, described.facts) == (made.config, made.facts)
    noise, labels = made.rows(3).float(), made.labels(3)
    with torch.no_grad():
        assert torch.equal(loaded.generate(noise, labels), made.student.float().generate(noise, labels))


@pytest.mark.parametrize(
    ("config", "facts", "words"),
    [
        (HKDConfig(), IMAGE, "student.network is missing"),
        (HKDConfig(network=MLP), IMAGE, "takes vectors, got shape"),
        (HKDConfig(network=UNET, observables="linear"), IMAGE, "linear observables are for vectors"),
        (HKDConfig(network=MLP, latent=5), VECTOR, "must be even, got 5"),
        (HKDConfig(network=MLP, latent=2, observables="carried"), VECTOR.model_copy(update={"shape": (3,)}), "needs 3"),
        (HKDConfig(network=MLP, latent=2), VECTOR.model_copy(update={"levels": (80.0, 0.0)}), "a level for each"),
    ],
)
def test_what_makes_no_student(config: HKDConfig, facts: DataFacts, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_student(config, facts)
