"""A look-alike of the published checkerboard student: classes of its names in a module of its name, written by torch.save.

Only what the facts say: two encoders and a decoder of linear layers with Swish, time as the last input, an affine operator.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import sys
import types
from collections.abc import Iterator

import torch
from torch import Tensor, nn

MODULE = "models.koopman_model_checkerboard"


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


def stack(sizes: list[int], last_swish: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), Swish()]
    return nn.Sequential(*(layers if last_swish else layers[:-1]))


class Encoder(nn.Module):
    def __init__(self, latent: int, layers: int = 5) -> None:
        super().__init__()
        self.main = stack([3, *[latent] * layers], last_swish=True)

    def forward(self, x: Tensor, t: float) -> Tensor:
        return self.main(torch.cat([x, torch.full((len(x), 1), t)], dim=1))


class Decoder(nn.Module):
    def __init__(self, latent: int, layers: int = 5) -> None:
        super().__init__()
        self.main = stack([latent + 1, *[latent] * (layers - 1), 2], last_swish=False)

    def forward(self, z: Tensor, t: float) -> Tensor:
        return self.main(torch.cat([z, torch.full((len(z), 1), t)], dim=1))


class KoopmanDistillModelCheckerBoard(nn.Module):
    def __init__(self, latent: int = 16) -> None:
        super().__init__()
        self.x0_observables_encoder = Encoder(latent)
        self.xT_observables_encoder = Encoder(latent)
        self.x0_observables_decoder = Decoder(latent)
        self.koopman_operator = nn.Linear(latent, latent)
        self.noisy_latent, self.rec_loss_type = 0.4, None

    @torch.no_grad()
    def generate(self, noise: Tensor) -> Tensor:
        return self.x0_observables_decoder(self.koopman_operator(self.xT_observables_encoder(noise, 1.0)), 0.0)

    @torch.no_grad()
    def reconstruct(self, data: Tensor) -> Tensor:
        return self.x0_observables_decoder(self.x0_observables_encoder(data, 0.0), 0.0)


@contextlib.contextmanager
def as_published() -> Iterator[None]:
    """The classes answer to their published names, so that pickles refer to those."""
    classes = (Swish, Encoder, Decoder, KoopmanDistillModelCheckerBoard)
    before = {kind: kind.__module__ for kind in classes}
    parent, module = types.ModuleType("models"), types.ModuleType(MODULE)
    for kind in classes:
        kind.__module__ = MODULE
        setattr(module, kind.__name__, kind)
    sys.modules |= {"models": parent, MODULE: module}
    try:
        yield
    finally:
        del sys.modules["models"], sys.modules[MODULE]
        for kind, name in before.items():
            kind.__module__ = name


def saved(module: nn.Module, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    with as_published():
        torch.save(module, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()
