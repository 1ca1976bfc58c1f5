"""Students that give the whole path from one evaluation: a network's outputs are the path's Koopman modes.

    x_u = c_0 + sum_k e^{alpha_k u} (cos(beta_k u) a_k + sin(beta_k u) b_k) + e^{alpha_r u} r,    r = x_T - c_0 - sum_k a_k

The Koopman mode decomposition with the state as observable (Mezic 2005; Rowley et al. 2009), its modes a function of the
noise. The path is linear in the latent by construction, and the state is read from it by a sum that is not learned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn

from koopstep.core.config import Config
from koopstep.core.errors import UsageError
from koopstep.core.schedule import Schedule
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.table import NetworkConfig, build_network, takes_images
from koopstep.operators.modes import ModesOperator, ModesOperatorConfig
from koopstep.students.codec import Codec, Latent
from koopstep.students.decomposition import ModeDecomposition
from koopstep.students.mode_starts import first_shares, gaussian_rates
from koopstep.students.student import DataFacts, KoopmanStudent

_OWN_RATES = 2.0  # the most that a class or a noise adds to a rate
_POOLED, _HEAD = 4, 64  # side of the picture that a noise's own rates are read from, and the width of what reads it
_SILENT = 1e-3  # size of the further outputs' weights beside a teacher's


class ModesConfig(Config):
    """A student of Koopman modes.

    Attributes:
        network: what gives the modes: one evaluation, with as many outputs as there are images. A recipe without it takes the
            teacher's.
        operator: how many modes there are, and their rates.
        lift: a network over all numbers of an image at once, whose result is added to the image before the network sees it.
            With ``output_scale: 0`` it starts silent.
        within: whether states within the path have modes, too: the network has one more output, the noise, and the objective
            should have ``states_within``. Several steps, inversion and edits of real data need it.
    """

    kind: Literal["modes"] = "modes"
    network: NetworkConfig | None = None
    operator: ModesOperatorConfig = ModesOperatorConfig()
    lift: MLPConfig | None = None
    within: bool = True

    def network_of_teacher(self) -> tuple[str, NetworkConfig | None]:
        """The setting that a teacher's network can start, and its value."""
        return "network", self.network

    def started_from(self, shape: tuple[int, ...], preconditioning: str, noisiest_label: float) -> Self:
        """The student that starts from such a teacher.

        Raises:
            UsageError: if the teacher's network has other labels than EDM's.
        """
        if preconditioning != "edm":
            raise UsageError(
                f"this student's network is conditioned on levels as EDM's is, this teacher's as {preconditioning!r} has it; "
                "set -o initialise=fresh"
            )
        return self


class ModesCodec(Codec):
    """Encoder: a network that draws the modes. Decoder: their sum.

    The network's outputs are corrections of a path that it knows from the start: straight from the noise to a guess at the
    data, ``x_u = c_0 + g(u) (x_T - c_0)`` with the schedule's ``g``, shared out among the modes. The guess is what the
    teacher's network would say, where its weights are the start, and the noise at the size of data, as on the paths of a
    Gaussian: at the noisiest level EDM's networks have no way past them for their input.
    """

    def __init__(self, config: ModesConfig, facts: DataFacts, operator: ModesOperator) -> None:
        super().__init__()
        if config.network is None:
            raise UsageError("student.network is missing: name a network, as the preset's teacher has")
        self.config, self.facts, self.path = config, facts, facts.schedule()
        self._operator = (operator,)  # of the student: as a child it would be saved twice
        self.flat = not takes_images(config.network)
        modes, turning = operator.config.modes, operator.config.turning
        self.outputs = 1 + modes + turning + config.within
        shape = (math.prod(facts.shape),) if self.flat else facts.shape
        self.network = build_network(
            config.network, shape, outputs=self.outputs * shape[0], num_classes=facts.num_classes
        )
        self.lift = None
        if config.lift is not None:
            if self.flat:
                raise UsageError("student.lift is for images: a vector's network sees all of it anyway")
            self.lift = build_network(config.lift, (math.prod(facts.shape),), num_classes=facts.num_classes)
        self.clean_share = nn.Parameter(torch.ones(()))
        self.shares = nn.Parameter(first_shares(operator, self.path))
        self.own_rates = _own_rates(operator, facts)

    @property
    def operator(self) -> ModesOperator:
        """What holds the rates."""
        return self._operator[0]

    @property
    def reads_path(self) -> bool:
        return True

    @property
    def pinned_by(self) -> str:
        return "the state as a fixed sum of the modes"

    @property
    def encodes(self) -> Literal["path", "ends", "start"]:
        return "path" if self.config.within else "start"

    def schedule(self) -> Schedule:
        return self.path

    def encode(self, x: Tensor, u: float | Tensor, class_labels: Tensor | None) -> Latent:
        """The modes of the path through ``x``, as they stand at ``u``; they add up to ``x``."""
        at_noise = not isinstance(u, Tensor) and u == 0.0
        if not (at_noise or self.config.within):
            raise UsageError(
                "this student has modes of noise only (u = 0), not of states within the path; "
                "train one with -o student.within=true"
            )
        at = torch.as_tensor(u, device=x.device, dtype=torch.promote_types(x.dtype, torch.float32)).reshape(-1)
        beside = (-1, *[1] * (x.ndim - 1))
        size: float | Tensor
        if isinstance(u, Tensor):
            size, label = self.path.size(at).view(beside).to(x.dtype), self.path.label(at).expand(len(x))
        else:
            size, known = self.path.at(float(u))
            label = at.new_full((len(x),), known)
        drawn = self._drawn(x / size, label, class_labels)
        left = (1 - at).view(beside).to(x.dtype)
        clean = (
            self.path.preconditioned(x, drawn[:, 0], at) + left * self.clean_share * self.facts.data_scale * x / size
        )
        noise = x
        if not at_noise:
            guess = x / size + at.view(beside).to(x.dtype) * drawn[:, -1]
            noise = guess * self.path.at(0.0)[0]
        latent = self._assembled(drawn, clean, noise - clean)
        if self.own_rates is not None:
            latent = self._with_own_rates(latent, x / size, class_labels)
        if at_noise:
            return (latent,)
        return (self._adding_up(self.operator.evolve(latent, at.expand(len(x))), x, at),)

    def decode(self, latent: Latent, u: float | Tensor, class_labels: Tensor | None) -> Tensor:
        """The sum of the images, whatever ``u``: the state where the latent stands."""
        return self.images(latent)[:, 0].sum(dim=1)

    def read(
        self,
        evolve: Callable[[Latent, float | Tensor], Latent],
        latent: Latent,
        start: float | Tensor,
        progress: Tensor,
        class_labels: Tensor | None,
    ) -> Tensor:
        du = progress[:, None] - start[None] if isinstance(start, Tensor) else progress - start
        return self.operator.read(latent[0], du).view(len(progress), -1, *self.facts.shape).to(latent[0].dtype)

    def images(self, latent: Latent) -> Tensor:
        """The modes as they stand in a latent: (B, 2, M, *shape), images and their partners; M counts constant and remainder.

        Image k of the path at progress u later is ``e^{alpha_k u} (cos(beta_k u) image + sin(beta_k u) partner)``.
        """
        pictures = self.operator.pictures(latent[0])
        return pictures.reshape(*pictures.shape[:3], *self.facts.shape)

    @property
    def has_modes(self) -> bool:
        return True

    def modes(self, latent: Latent) -> ModeDecomposition:
        images, partners = self.images(latent).unbind(dim=1)
        alpha, beta = (rate.expand(len(images), -1) for rate in self.operator.rates_of_rows(latent[0]))
        return ModeDecomposition(images, partners, alpha, beta)

    def scale_modes(self, latent: Latent, modes: Sequence[int], factor: Tensor) -> Latent:
        level = latent[0].clone()
        pictures = self.operator.pictures(level)
        for mode in modes:
            pictures[:, :, mode] *= factor.to(level)
        return (level,)

    def sampling_modules(self) -> list[nn.Module]:
        return [self]

    def decoder_network(self) -> nn.Module:
        return self.network

    def fit_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """A teacher's weights with further, nearly silent outputs."""
        fitted = {}
        for name, own in self.network.state_dict().items():
            if name in weights and own.shape != weights[name].shape and own.shape[1:] == weights[name].shape[1:]:
                more = torch.randn_like(own) * (_SILENT if own.ndim > 1 else 0)
                more[: len(weights[name])] = weights[name]
                fitted[name] = more
        return weights | fitted

    def _drawn(self, seen: Tensor, label: Tensor, class_labels: Tensor | None) -> Tensor:
        """The network's outputs (B, outputs, *shape), at unit size."""
        if self.lift is not None:
            seen = seen + self.lift(seen.flatten(1), label, class_labels).view_as(seen)
        drawn: Tensor = self.network(seen.flatten(1) if self.flat else seen, label, class_labels)
        return drawn.to(torch.promote_types(drawn.dtype, torch.float32)).view(-1, self.outputs, *self.facts.shape)

    def _assembled(self, drawn: Tensor, clean: Tensor, rest: Tensor) -> Tensor:
        """The level at the noise, of which ``rest`` is what the constant image leaves."""
        modes, turning = self.operator.config.modes, self.operator.config.turning
        own = drawn[:, 1 : 1 + modes + turning] * self.facts.data_scale
        share = self.shares.view(-1, *[1] * (rest.ndim - 1))
        moving = own + share * rest[:, None]
        images, partners = moving[:, :modes], moving[:, modes:]
        nothing = torch.zeros_like(clean)[:, None]
        still = nothing.expand(-1, modes - turning + 1, *[-1] * (clean.ndim - 1))
        remainder = (rest - images.sum(dim=1))[:, None]
        level = torch.cat([clean[:, None], images, remainder, nothing, partners, still], dim=1)
        return level.flatten(1, 2) if len(self.facts.shape) == 3 else level.flatten(1)

    def _with_own_rates(self, latent: Tensor, seen: Tensor, class_labels: Tensor | None) -> Tensor:
        """``latent`` with what class or noise adds to the rates, as the last channel of each image and partner."""
        given = class_labels if self.operator.config.shared_by == "class" else seen
        images = self.operator.config.images
        added = _OWN_RATES * self.own_rates(given).tanh() * self.operator.learned_rates()  # type: ignore[misc]
        level = latent.view(len(latent), 2 * images, -1, *latent.shape[2:])
        places = level.shape[3:]
        planes = added.to(level.dtype).view(len(latent), 2 * images, 1, *[1] * len(places))
        return torch.cat([level, planes.expand(-1, -1, -1, *places)], dim=2).flatten(1, 2)

    def _adding_up(self, latent: Tensor, x: Tensor, at: Tensor) -> Tensor:
        """``latent`` at ``at`` with what is missing to ``x`` put where it is smallest beside what is there.

        That is the constant image near the data, and the remainder near the noise: the remainder, taken back to the noise,
        grows by what it has decayed since.
        """
        missing = (x - self.decode((latent,), 0.0, None)).to(latent.dtype)
        beside = (-1, *[1] * (x.ndim - 1))
        left = self.facts.noise_scale * (self.operator.mode_rates()[0][-1] * at).exp().view(beside)
        to_constant = (self.facts.data_scale**2 / (self.facts.data_scale**2 + left**2)).to(latent.dtype)
        level = latent.clone()
        pictures = self.operator.pictures(level)
        for place, share in ((0, to_constant), (-1, 1 - to_constant)):
            pictures[:, 0, place] += (share * missing).view(pictures[:, 0, place].shape)
        return level


def build_modes(config: ModesConfig, facts: DataFacts, seed: int = 0) -> KoopmanStudent:
    """A fresh student of modes for data of ``facts``; ``seed`` is of the rates' start (networks use the global generator)."""
    rates = config.operator
    if rates.shared_by == "class" and not facts.num_classes:
        raise UsageError("student.operator.shared_by=class needs a teacher with classes; set it to all, or noise")
    if rates.growth_rates is None or rates.rotation_rates is None:
        found = gaussian_rates(
            facts.progress, facts.levels, facts.noise_scale, facts.data_scale, rates.modes, rates.real
        )
        given = {"growth_rates": rates.growth_rates or found[0], "rotation_rates": rates.rotation_rates or found[1]}
        rates = rates.model_copy(update=given)
    channels, *places = facts.shape if len(facts.shape) == 3 else (math.prod(facts.shape),)
    level = (2 * rates.images * (channels + (rates.shared_by != "all")), *places)
    operator = ModesOperator(rates, level, torch.Generator().manual_seed(seed))
    codec = ModesCodec(config, facts, operator)
    return KoopmanStudent(facts, codec, [operator], level_names=["modes"], controlled=False)


class _NoiseRates(nn.Module):
    """Reads a noise's own rates off a small picture of it; silent at the start."""

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.picture = len(shape) == 3
        size = shape[0] * _POOLED**2 if self.picture else math.prod(shape)
        self.first, self.last = nn.Linear(size, _HEAD), nn.Linear(_HEAD, outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B, outputs)."""
        small = nn.functional.adaptive_avg_pool2d(x, _POOLED) if self.picture else x
        return self.last(nn.functional.silu(self.first(small.flatten(1))))  # type: ignore[no-any-return]


def _own_rates(operator: ModesOperator, facts: DataFacts) -> nn.Module | None:
    outputs = 2 * operator.config.images
    if operator.config.shared_by == "class":
        table = nn.Embedding(facts.num_classes, outputs)
        nn.init.zeros_(table.weight)
        return table
    return _NoiseRates(facts.shape, outputs) if operator.config.shared_by == "noise" else None
