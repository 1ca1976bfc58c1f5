"""Flow-matching teachers on the straight path ``x_t = (1 - t) noise + t data``."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from koopstep.core.config import Added, Config, Shape
from koopstep.core.pixels import PLAIN, DataRange
from koopstep.nets.preconditioning import VelocityModel
from koopstep.nets.table import NetworkConfig, build_network
from koopstep.teachers.solved import VelocityTeacher


class FlowConfig(Config):
    """A flow-matching teacher.

    Attributes:
        shape: of one sample.
        num_classes: 0 without class labels.
        network: of the velocity.
        data_scale: standard deviation of the data.
        data_range: what black and white are, of images; None of data that are no images.
        solver: ``dopri5`` is adaptive (Dormand and Prince, by SciPy), the others take the steps they are given.
        rtol, atol: tolerances of ``dopri5``.
    """

    kind: Literal["flow"] = "flow"
    shape: Shape
    num_classes: int = Field(default=0, ge=0)
    network: NetworkConfig
    data_scale: float = Field(default=0.5, gt=0)
    data_range: Annotated[DataRange | None, Added()] = PLAIN
    solver: Literal["euler", "midpoint", "heun", "dopri5"] = "euler"
    rtol: float = Field(default=1e-5, gt=0)
    atol: float = Field(default=1e-5, gt=0)


def build_flow(config: FlowConfig) -> VelocityModel:
    """The velocity model with fresh weights."""
    return VelocityModel(build_network(config.network, config.shape, num_classes=config.num_classes), config.data_scale)


def flow_teacher(config: FlowConfig, model: VelocityModel, name: str, sha256: str) -> VelocityTeacher:
    """The velocity model as a teacher."""
    return VelocityTeacher(
        model,
        config.shape,
        num_classes=config.num_classes,
        data_scale=config.data_scale,
        data_range=config.data_range,
        solver=config.solver,
        rtol=config.rtol,
        atol=config.atol,
        kind="flow",
        name=name,
        sha256=sha256,
    )


def flow_loss(
    config: FlowConfig,
    model: VelocityModel,
    data: Tensor,
    labels: Tensor | None,
    draw: Tensor,
    augment_labels: Tensor | None = None,
) -> Tensor:
    """Conditional flow matching (Lipman et al., Eq. 23 with sigma_min = 0): squared error of ``data - noise``.

    ``draw`` is (B, 1 + prod(shape)) standard normal; the first number of each row becomes the uniform time. The error is
    divided by the target's mean square ``1 + data_scale^2`` so that its size does not depend on the data's units.
    ``augment_labels`` (B, A) say how each row of ``data`` was augmented; None when it was not.
    """
    t = torch.special.ndtr(draw[:, 0])
    noise = draw[:, 1:].reshape(data.shape)
    time = t.reshape(-1, *[1] * (data.ndim - 1))
    given = {} if augment_labels is None else {"augment_labels": augment_labels}
    predicted = model((1 - time) * noise + time * data, t, labels, **given)
    error: Tensor = ((predicted - (data - noise)) ** 2).mean()
    return error / (1 + config.data_scale**2)
