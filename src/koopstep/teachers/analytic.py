"""Teachers whose denoiser is known in closed form: a Gaussian (the flow is linear) and a Gaussian mixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from koopstep.core.arguments import Numbers, as_tensor, checked
from koopstep.core.config import Added, Config
from koopstep.core.errors import UsageError
from koopstep.core.levels import karras_sigmas
from koopstep.teachers.base import Teacher
from koopstep.teachers.gaussian_path import exponential_sigmas, gaussian_path
from koopstep.teachers.solved import DenoiserTeacher


class GaussianConfig(Config):
    """Data ``N(mean, covariance)`` in ``dimension`` dimensions; mean and covariance are the file's tensors.

    Attributes:
        solver: of the path; ``exact`` is its closed form.
        spacing: of the noise levels: ``edm``, or ``exponential``, on which the path has one or two Koopman modes (covariances
            of one or two different variances only; ``sigma_min`` and ``rho`` are then of no use).
    """

    kind: Literal["gaussian"] = "gaussian"
    dimension: int = Field(ge=1)
    sigma_min: float = Field(default=0.002, gt=0)
    sigma_max: float = Field(default=80.0, gt=0)
    rho: float = Field(default=7.0, gt=0)
    solver: Literal["heun", "euler", "exact"] = "heun"
    spacing: Annotated[Literal["edm", "exponential"], Added()] = "edm"

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min} must be below sigma_max {self.sigma_max}")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return (self.dimension,)

    @property
    def num_classes(self) -> int:
        """Closed forms know no classes."""
        return 0


class MixtureConfig(Config):
    """Data from ``components`` isotropic Gaussians of one common standard deviation ``spread``."""

    kind: Literal["mixture"] = "mixture"
    dimension: int = Field(ge=1)
    components: int = Field(ge=1)
    spread: float = Field(default=0.1, gt=0)
    sigma_min: float = Field(default=0.002, gt=0)
    sigma_max: float = Field(default=80.0, gt=0)
    rho: float = Field(default=7.0, gt=0)
    solver: Literal["heun", "euler"] = "heun"

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min} must be below sigma_max {self.sigma_max}")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return (self.dimension,)

    @property
    def num_classes(self) -> int:
        """Closed forms know no classes."""
        return 0


class GaussianDenoiser(nn.Module):
    """``E[data | x]`` for Gaussian data: ``mean + S (S + sigma^2)^-1 (x - mean)``."""

    mean: Tensor
    covariance: Tensor

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.to(torch.float64))
        self.register_buffer("covariance", covariance.to(torch.float64))

    def forward(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """(B, D), (B,) -> (B, D) float64."""
        variances, basis = torch.linalg.eigh(self.covariance)
        shrink = variances / (variances + sigma.to(torch.float64)[:, None] ** 2)
        shrunk: Tensor = ((x.to(torch.float64) - self.mean) @ basis * shrink) @ basis.T
        return self.mean + shrunk

    def mean_variance(self) -> float:
        """Variance of the data, the mean over dimensions."""
        return float(self.covariance.diagonal().mean())


class MixtureDenoiser(nn.Module):
    """``E[data | x]`` for a mixture of isotropic Gaussians, exact."""

    means: Tensor
    weights: Tensor

    def __init__(self, means: Tensor, weights: Tensor, spread: float) -> None:
        super().__init__()
        self.register_buffer("means", means.to(torch.float64))
        self.register_buffer("weights", weights.to(torch.float64) / weights.sum())
        self.spread = spread

    def forward(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """(B, D), (B,) -> (B, D) float64."""
        x = x.to(torch.float64)
        total = self.spread**2 + sigma.to(torch.float64)[:, None] ** 2
        distance = torch.cdist(x, self.means) ** 2
        responsibility = torch.softmax(self.weights.log() - distance / (2 * total), dim=1)
        share = self.spread**2 / total
        return share * x + (1 - share) * responsibility @ self.means

    def mean_variance(self) -> float:
        """Variance of the data, the mean over dimensions."""
        from_center = self.means - self.weights @ self.means
        return float((self.weights @ from_center**2).mean()) + self.spread**2


def build_gaussian(config: GaussianConfig) -> GaussianDenoiser:
    """A standard normal in place of the tensors to be loaded."""
    return GaussianDenoiser(torch.zeros(config.dimension), torch.eye(config.dimension))


def build_mixture(config: MixtureConfig) -> MixtureDenoiser:
    """Zeros in place of the tensors to be loaded."""
    return MixtureDenoiser(
        torch.zeros(config.components, config.dimension), torch.ones(config.components), config.spread
    )


class ExactGaussianTeacher(Teacher):
    """A Gaussian whose paths are their closed form, at any number of steps: no solver, no error."""

    kind = "gaussian"

    def __init__(
        self,
        config: GaussianConfig,
        denoiser: GaussianDenoiser,
        sigmas: Callable[[int], Tensor],
        levels_are: str,
        name: str,
        sha256: str,
    ) -> None:
        self.shape, self.num_classes = config.shape, config.num_classes
        self.noise_scale, self.data_scale = config.sigma_max, denoiser.mean_variance() ** 0.5
        self.name, self.sha256 = name, sha256
        self.solver = f"{config.solver} {levels_are}".rstrip()
        self.model = self._gaussian = denoiser
        self._sigmas = sigmas

    def levels(self, steps: int) -> tuple[float, ...]:
        return tuple(self._sigmas(steps).tolist())

    def evaluations(self, steps: int) -> int:
        """One a state."""
        return steps

    def states(self, noise: Tensor, class_labels: Tensor | None, steps: int) -> Iterator[Tensor]:
        levels = self._sigmas(steps).to(noise.device)
        start = noise.to(torch.float64) * self.noise_scale
        yield from gaussian_path(self._gaussian.mean, self._gaussian.covariance, levels, start)


def gaussian_of(config: GaussianConfig, denoiser: GaussianDenoiser, name: str, sha256: str) -> Teacher:
    """A Gaussian's denoiser as a teacher."""
    sigmas, levels_are = _edm(config), ""
    if config.spacing == "exponential":
        variances = torch.linalg.eigvalsh(denoiser.covariance.cpu())
        sigmas, levels_are = partial(exponential_sigmas, variances, config.sigma_max), "spacing=exponential"
    if config.solver == "exact":
        return ExactGaussianTeacher(config, denoiser, sigmas, levels_are, name, sha256)
    return _solved(config, denoiser, sigmas, levels_are, name, sha256)


def mixture_of(config: MixtureConfig, denoiser: MixtureDenoiser, name: str, sha256: str) -> DenoiserTeacher:
    """A mixture's denoiser as a teacher."""
    return _solved(config, denoiser, _edm(config), "", name, sha256)


def _edm(config: GaussianConfig | MixtureConfig) -> Callable[[int], Tensor]:
    return lambda steps: karras_sigmas(steps, config.sigma_min, config.sigma_max, config.rho)


def _solved(
    config: GaussianConfig | MixtureConfig,
    denoiser: GaussianDenoiser | MixtureDenoiser,
    sigmas: Callable[[int], Tensor],
    levels_are: str,
    name: str,
    sha256: str,
) -> DenoiserTeacher:
    """A closed-form denoiser as a teacher; its ``data_scale`` is the root of the mean variance."""
    return DenoiserTeacher(
        denoiser,
        (config.dimension,),
        sigmas=sigmas,
        levels_are=levels_are,
        data_scale=denoiser.mean_variance() ** 0.5,
        solver=config.solver,
        kind=config.kind,
        name=name,
        sha256=sha256,
    )


@checked
def gaussian_teacher(
    mean: Numbers,
    covariance: Numbers,
    *,
    sigma_max: float = 80.0,
    solver: Literal["heun", "euler", "exact"] = "heun",
    spacing: Literal["edm", "exponential"] = "edm",
) -> Teacher:
    """A Gaussian teacher from its moments.

    Args:
        mean: (D,).
        covariance: (D, D), symmetric and positive.
        sigma_max: level of the noise the path starts from.
        solver: ``heun``, ``euler``, or ``exact``: the closed form.
        spacing: of the noise levels: ``edm``, or ``exponential``, on which the path has finitely many Koopman modes, whose
            rates and pictures are known (covariances of one or two different variances only).

    Raises:
        UsageError: if the covariance is not a symmetric positive matrix of the mean's size, or has more variances than
            ``exponential`` takes.
    """
    mean, covariance = as_tensor(mean, "mean"), as_tensor(covariance, "covariance")
    if mean.ndim != 1:
        raise UsageError(f"mean must be a row of numbers, got shape {tuple(mean.shape)}")
    covariance = covariance.to(mean.dtype)
    square = covariance.shape == (len(mean), len(mean))
    if not square or not torch.allclose(covariance, covariance.T) or float(torch.linalg.eigvalsh(covariance)[0]) <= 0:
        raise UsageError(f"the covariance must be symmetric, positive and {len(mean)} x {len(mean)}")
    config = GaussianConfig(dimension=len(mean), sigma_max=sigma_max, solver=solver, spacing=spacing)
    return gaussian_of(config, GaussianDenoiser(mean, covariance), "gaussian", "")


@checked
def mixture_teacher(
    means: Numbers, spread: float, weights: Numbers | None = None, *, sigma_max: float = 80.0
) -> DenoiserTeacher:
    """A mixture teacher from component means (K, D), their common standard deviation and optional weights (K,)."""
    means = as_tensor(means, "means")
    if means.ndim != 2 or spread <= 0:
        raise UsageError("a mixture needs means of shape (components, dimension) and a positive spread")
    config = MixtureConfig(dimension=means.shape[1], components=len(means), spread=spread, sigma_max=sigma_max)
    weights = None if weights is None else as_tensor(weights, "weights")
    if weights is not None and (weights.shape != means.shape[:1] or not bool((weights > 0).all())):
        raise UsageError(f"the weights must be {len(means)} numbers above 0, got {weights.tolist()}")
    denoiser = MixtureDenoiser(means, torch.ones(len(means)) if weights is None else weights, spread)
    return mixture_of(config, denoiser, "mixture", "")
