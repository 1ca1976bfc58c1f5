"""The table of teachers that have files. To add one: a file with its config and functions, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from koopstep.teachers.analytic import (
    GaussianConfig,
    MixtureConfig,
    build_gaussian,
    build_mixture,
    gaussian_of,
    mixture_of,
)
from koopstep.teachers.base import Teacher
from koopstep.teachers.diffusers.config import DiffusersConfig
from koopstep.teachers.diffusers.teacher import build_diffusers, diffusers_teacher
from koopstep.teachers.edm import EDMConfig, build_edm, edm_loss, edm_teacher, noisiest_label
from koopstep.teachers.flow import FlowConfig, build_flow, flow_loss, flow_teacher

TeacherConfig = Annotated[
    EDMConfig | FlowConfig | GaussianConfig | MixtureConfig | DiffusersConfig, Field(discriminator="kind")
]


@dataclass(frozen=True)
class Kind:
    """A line of :data:`TEACHERS`.

    Attributes:
        build: config -> model with fresh weights.
        teacher: (config, model, name, sha256) -> the model as a teacher.
        loss: (config, model, data, class_labels, draw, augment_labels=None) -> what training minimises; None for closed
            forms.
        noisiest_label: config -> the noise label its network sees at the start of a path; None without a network.
    """

    build: Callable[[Any], nn.Module]
    teacher: Callable[[Any, Any, str, str], Teacher]
    loss: Callable[..., Tensor] | None = None
    noisiest_label: Callable[[Any], float] | None = None


TEACHERS: dict[str, Kind] = {
    "edm": Kind(build_edm, edm_teacher, edm_loss, noisiest_label),
    "flow": Kind(build_flow, flow_teacher, flow_loss, lambda config: 0.0),
    "gaussian": Kind(build_gaussian, gaussian_of),
    "mixture": Kind(build_mixture, mixture_of),
    "diffusers": Kind(build_diffusers, diffusers_teacher),
}
