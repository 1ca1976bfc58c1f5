"""The perceptual distance of KDM Eqs. 5 and 7: LPIPS in a frozen network, optionally with squared error of pixels."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.losses.distances import Distance, Known, mse


class PerceptualNetwork(Protocol):
    """What LPIPS (arXiv 1801.03924) is to a loss: features of an image, and how far two images' features are apart."""

    def features(self, x: Tensor) -> list[Tensor]:
        """Feature maps of images (B, 1 or 3, H, W) in [-1, 1], a tensor a layer."""

    def compare(self, features_a: list[Tensor], features_b: list[Tensor]) -> Tensor:
        """The distance of each row, (B,)."""

    def to(self, device: torch.device) -> Any:
        """The same network on ``device``, moved in place."""


def perceptual(network: PerceptualNetwork, pixel: float = 0.0) -> Distance:
    """``LPIPS + pixel * MSE``, at the images' own resolution; the target goes through the network once.

    Args:
        network: frozen, on the device of the batches. Its features may be computed under autocast; they are compared in
            float32, as squared differences of near features vanish in fewer digits.
        pixel: weight of the mean squared error over pixels; 0 as published.
    """

    def distance(prediction: Tensor, target: Tensor, known: Known) -> Tensor:
        if "features" not in known:
            with torch.no_grad():
                known["features"] = _full(network.features(target))
        features = network.features(prediction)
        with torch.autocast(prediction.device.type, enabled=False):
            value = network.compare(_full(features), known["features"]).mean()
            return value + pixel * mse(prediction.to(target.dtype), target) if pixel else value

    return distance


def check_images(network: PerceptualNetwork, shape: tuple[int, ...], device: torch.device, what: str) -> None:
    """Refuse data that the network cannot see.

    Raises:
        UsageError: if samples of ``shape`` are no images of one or three planes, or too small for its layers.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise UsageError(f"{what} is for images of one or three planes, this data has shape {shape}")
    try:
        with torch.no_grad():
            network.features(torch.zeros(1, *shape, device=device))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise UsageError(f"{what} cannot look at images of shape {shape}: {reason}") from error


def _full(features: list[Tensor]) -> list[Tensor]:
    return [part.to(torch.promote_types(part.dtype, torch.float32)) for part in features]
