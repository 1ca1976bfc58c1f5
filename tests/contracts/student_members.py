"""Small students of every kind and make, which the contract tests try in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.core.levels import flow_times, karras_sigmas
from koopstep.core.records import Batch
from koopstep.losses.config import ObjectiveConfig
from koopstep.nets.adm import ADMConfig
from koopstep.nets.linear import LinearConfig
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.unet import UNetConfig
from koopstep.operators.block import BlockConfig
from koopstep.operators.dense import DenseConfig
from koopstep.operators.factorised import FactorisedConfig
from koopstep.operators.identity import IdentityConfig
from koopstep.operators.modes import ModesOperatorConfig
from koopstep.operators.spectral import SpectralConfig
from koopstep.students.hkd import HKDConfig
from koopstep.students.kdm import KDMConfig
from koopstep.students.modes import ModesConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import StudentConfig, build_student

Member = tuple[StudentConfig, DataFacts]
CLASSES = {"num_classes": 3}

MLP = MLPConfig(width=8, depth=2, fourier=1)
UNET = UNetConfig(model_channels=4, channel_mult=(1, 2), channel_mult_emb=1, num_blocks=1, attention_resolutions=())
PATCHED = UNET.model_copy(update={"patch": 2})
WIDE_PATCHED = PATCHED.model_copy(update={"model_channels": 16})
ADM = ADMConfig(dropout=0.0, model_channels=8, channel_mult=(1, 2), num_blocks=1, attention_resolutions=())
LINEAR = LinearConfig()

POINT = DataFacts(shape=(2,), noise_scale=10.0, data_scale=0.7)
POINT_OF_CLASS = POINT.model_copy(update=CLASSES)
PICTURE = DataFacts(shape=(2, 4, 4), noise_scale=80.0, data_scale=0.5)
PICTURE_OF_CLASS = PICTURE.model_copy(update=CLASSES)

KDM: dict[str, Member] = {
    "dense": (KDMConfig(encoder=MLP, decoder=MLP, operator=DenseConfig(), latent=6), POINT),
    "dense-affine-carry": (
        KDMConfig(encoder=MLP, decoder=MLP, operator=DenseConfig(affine=True), latent=6, carry=1.0),
        POINT,
    ),
    "factorised": (KDMConfig(encoder=MLP, decoder=MLP, operator=FactorisedConfig(), latent=6), POINT),
    "spectral-classes": (KDMConfig(encoder=MLP, decoder=MLP, operator=SpectralConfig(), latent=5), POINT_OF_CLASS),
    "block-classes": (KDMConfig(encoder=MLP, decoder=MLP, operator=BlockConfig(), latent=6), POINT_OF_CLASS),
    "block-local": (KDMConfig(encoder=MLP, decoder=MLP, operator=BlockConfig(modulation="local"), latent=6), POINT),
    "identity-classes": (
        KDMConfig(encoder=MLP, data_encoder=LINEAR, decoder=MLP, operator=IdentityConfig(), latent=6),
        POINT_OF_CLASS,
    ),
    "tied-linear": (
        KDMConfig(encoder=LINEAR, decoder=LINEAR, operator=SpectralConfig(real_modes=2), latent=2, tied=True),
        POINT,
    ),
    "modes": (KDMConfig(encoder=MLP, decoder=MLP, operator=ModesOperatorConfig(modes=1), latent=6), POINT),
    "image-in-planes": (KDMConfig(encoder=UNET, decoder=UNET, operator=DenseConfig(), latent=16), PICTURE_OF_CLASS),
    "image-linear-module": (
        KDMConfig(
            encoder=UNET, data_encoder=MLP, decoder=UNET, operator=SpectralConfig(), latent=10, latent_channels=2
        ),
        PICTURE,
    ),
    "image-tied-mlp": (
        KDMConfig(encoder=MLP, decoder=UNET, operator=FactorisedConfig(), latent=16, tied=True),
        PICTURE_OF_CLASS,
    ),
}

SIGMAS = tuple(karras_sigmas(4, 0.002, 80.0).tolist())
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
VECTOR = DataFacts(shape=(2,), noise_scale=80.0, data_scale=0.7, progress=STEPS, levels=SIGMAS)
IMAGE = DataFacts(shape=(2, 8, 8), noise_scale=80.0, data_scale=0.5, progress=STEPS, levels=SIGMAS)
FLOW = DataFacts(shape=(2, 8, 8), data_scale=0.5, progress=STEPS, levels=tuple(flow_times(4).tolist()))

HKD: dict[str, Member] = {
    "vector": (HKDConfig(network=MLP, latent=6), VECTOR),
    "vector-carried-classes": (
        HKDConfig(network=MLP, latent=6, observables="carried", decoder_condition="target"),
        VECTOR.model_copy(update=CLASSES),
    ),
    "vector-linear": (HKDConfig(network=MLP, latent=2, observables="linear"), VECTOR),
    "image": (HKDConfig(network=UNET), IMAGE),
    "image-classes-shared-final": (
        HKDConfig(network=UNET, operator=BlockConfig(sharing="channel"), decoder_condition="final"),
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
        HKDConfig(network=UNET, operator=BlockConfig(modulation="local"), decoder_condition="target"),
        IMAGE,
    ),
    "image-normalised": (HKDConfig(network=UNET, observables="normalised"), IMAGE),
    "image-carried-patches": (HKDConfig(network=WIDE_PATCHED, observables="carried"), IMAGE),
    "image-no-operator": (HKDConfig(network=UNET, operator=BlockConfig(sharing="none")), IMAGE),
    "image-adm": (HKDConfig(network=ADM), IMAGE),
    "image-spectral-bottleneck": (
        HKDConfig(network=UNET, operator=SpectralConfig(orthogonal=True), levels="bottleneck"),
        IMAGE,
    ),
    "image-identity": (HKDConfig(network=UNET, operator=IdentityConfig()), IMAGE),
    "vector-dense-flow": (HKDConfig(network=MLP, operator=DenseConfig(continuous=True), latent=5), VECTOR),
    "vector-dense": (HKDConfig(network=MLP, operator=DenseConfig(affine=True), latent=5), VECTOR),
    "vector-factorised": (HKDConfig(network=MLP, operator=FactorisedConfig(), latent=6), VECTOR),
    "vector-modes": (HKDConfig(network=MLP, operator=ModesOperatorConfig(modes=1), latent=6), VECTOR),
    "vector-spectral": (HKDConfig(network=MLP, operator=SpectralConfig(), latent=5), VECTOR),
}

MODES: dict[str, Member] = {
    "vector": (ModesConfig(network=MLP), VECTOR),
    "vector-of-class": (
        ModesConfig(network=MLP, operator=ModesOperatorConfig(modes=2, real=1, shared_by="class")),
        VECTOR.model_copy(update=CLASSES),
    ),
    "vector-of-noise": (ModesConfig(network=MLP, operator=ModesOperatorConfig(modes=1, shared_by="noise")), VECTOR),
    "image": (ModesConfig(network=UNET, lift=MLP), IMAGE),
    "image-classes-fixed": (
        ModesConfig(network=UNET, operator=ModesOperatorConfig(modes=2, rates="fixed")),
        IMAGE.model_copy(update=CLASSES),
    ),
    "image-flow-of-noise": (ModesConfig(network=ADM, operator=ModesOperatorConfig(modes=2, shared_by="noise")), FLOW),
    "image-real-flat": (ModesConfig(network=MLP, operator=ModesOperatorConfig(modes=3, real=3)), IMAGE),
}

ENDS = ObjectiveConfig(spectral=0.1, spectral_target="uniform", inverse_consistency=0.1, latent_noise=0.1)
PATHS = ENDS.model_copy(update={"trajectory": 1.0, "intermediate": 1.0, "linearity": 1.0, "generator": 1.0})
STATES = ObjectiveConfig(
    reconstruction=0,
    latent=0,
    states=1.0,
    states_within=1.0,
    sparsity=0.1,
    apart=0.1,
    states_held_out=1,
    latent_noise=0.1,
)
OBJECTIVES = {"kdm": ENDS, "hkd": PATHS, "modes": STATES}
"""Kind -> an objective that every parameter of such a student has a part in, if its operators are continuous."""


@dataclass(frozen=True)
class Made:
    """A member in float64 with weights that are not those of a fresh (nearly silent) student."""

    config: Any
    facts: DataFacts
    student: KoopmanStudent

    @property
    def continuous(self) -> bool:
        return all(operator.continuous for operator in self.student.operators)

    @property
    def objective(self) -> ObjectiveConfig:
        return OBJECTIVES[self.config.kind] if self.continuous else ENDS

    def rows(self, count: int, seed: int = 0) -> Tensor:
        return torch.randn(count, *self.facts.shape, generator=torch.Generator().manual_seed(seed)).double()

    def labels(self, count: int) -> Tensor | None:
        return torch.arange(count) % self.facts.num_classes if self.facts.num_classes else None

    def batch(self, count: int) -> Batch:
        """Paths from noise at the schedule's scale to data of about unit size."""
        states = [
            self.rows(count, seed=k) * self.facts.noise_scale ** (1 - u) for k, u in enumerate(self.facts.progress)
        ]
        return Batch(
            self.rows(count), torch.stack(states), torch.tensor(self.facts.progress).double(), self.labels(count)
        )


def make(member: Member) -> Made:
    """Build it; the same weights every time."""
    config, facts = member
    torch.manual_seed(0)
    student = build_student(config, facts).double()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64))
    return Made(config, facts, student.eval())
