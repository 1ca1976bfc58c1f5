"""Looking at sets of images through feature networks: each set once, whatever number of metrics asks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from koopstep.core.console import Bar, Quiet
from koopstep.core.environment import cache_folder
from koopstep.core.errors import KoopstepError
from koopstep.core.files import sha256_bytes
from koopstep.core.tensors import load_tensors, save_tensors
from koopstep.features.lpips import LPIPS, find_lpips, has_lpips
from koopstep.features.networks import NETWORKS, FeatureNetwork, Features, has_weights, load_network

BATCH = 50
LPIPS_NAME = "lpips-squeeze"


Progress = Callable[[str, int, str], AbstractContextManager[Bar]]
"""``progress(title, total, unit)`` shows a bar while its context lasts."""


@dataclass
class Extractor:
    """The feature networks of one evaluation; they are loaded when first asked, and remember what they saw.

    Attributes:
        device: Where networks run.
        progress: Shows bars; nothing is said without.
        weights: Folder of the networks' weights; that of ``KOOPSTEP_WEIGHTS`` when None.
        known: (set of images, digest) of sets worth remembering on disk (the reference), found by identity.
    """

    device: torch.device
    progress: Progress = Quiet().bar
    weights: Path | None = None
    known: list[tuple[Tensor, str]] = field(default_factory=list)
    _networks: dict[str, FeatureNetwork] = field(default_factory=dict)
    _lpips: LPIPS | None = None
    _seen: list[tuple[str, Tensor, Features]] = field(default_factory=list)

    def look(self, name: str, images: Tensor) -> Features:
        """Features of images (N, 1 or 3, H, W) in [-1, 1] through the network ``name``, on the CPU.

        Raises:
            UsageError: The weights are not in the weights folder, or these are no images.
        """
        for seen_by, seen, features in self._seen:
            if seen_by == name and seen is images:
                return features
        features = self._remembered(name, images)
        self._seen.append((name, images, features))
        return features

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """LPIPS (SqueezeNet) of images row by row: (N,), clipped to [-1, 1] first."""
        network = self._lpips = self._lpips or find_lpips("squeeze", self.weights).to(self.device)
        parts = []
        with torch.no_grad(), self.progress("comparing images by LPIPS", len(a), "image") as bar:
            for start in range(0, len(a), BATCH):
                rows = slice(start, start + BATCH)
                pair = [images[rows].to(self.device, torch.float32).clamp(-1, 1) for images in (a, b)]
                parts.append(network(*pair).cpu())
                bar.update(min(start + BATCH, len(a)))
        return torch.cat(parts)

    def digests(self) -> dict[str, str]:
        """Name -> SHA-256 of the weights of every network that was used so far."""
        used = {name: network.sha256 for name, network in self._networks.items()}
        return used | ({LPIPS_NAME: self._lpips.sha256} if self._lpips is not None else {})

    def _network(self, name: str) -> FeatureNetwork:
        if name not in self._networks:
            self._networks[name] = load_network(name, self.device, self.weights)
        return self._networks[name]

    def _remembered(self, name: str, images: Tensor) -> Features:
        """From the cache on disk where the set is known there, else looked at (and put there)."""
        digest = next((digest for seen, digest in self.known if seen is images), None)
        network = self._network(name)
        if digest is None:
            return self._look(network, images)
        path = cache_folder() / "features" / f"{sha256_bytes(f'{name} {network.sha256} {digest}'.encode())}.safetensors"
        try:
            tensors, _ = load_tensors(path)
            if len(tensors["vectors"]) == len(images):
                return Features(tensors["vectors"], tensors.get("logits"))
        except (KoopstepError, KeyError):
            pass  # not there yet, or not whole: a cache is made again
        features = self._look(network, images)
        named = {"vectors": features.vectors, "logits": features.logits}
        save_tensors(path, {key: value for key, value in named.items() if value is not None})
        return features

    def _look(self, network: FeatureNetwork, images: Tensor) -> Features:
        vectors, logits = [], []
        with self.progress(f"looking at images through {network.name}", len(images), "image") as bar:
            for start in range(0, len(images), BATCH):
                seen = network(images[start : start + BATCH].to(self.device))
                vectors.append(seen.vectors.cpu())
                logits += [seen.logits.cpu()] if seen.logits is not None else []
                bar.update(min(start + BATCH, len(images)))
        return Features(torch.cat(vectors), torch.cat(logits) if logits else None)


def available(name: str, folder: Path | None = None) -> bool:
    """True when the weights of a network (or of LPIPS) are in the weights folder; True for no network."""
    if not name:
        return True
    return has_lpips("squeeze", folder) if name == LPIPS_NAME else has_weights(name, folder)


def preparation(name: str) -> str:
    """What is done to images before a network sees them."""
    return "clipped to [-1, 1], grey repeated, no resize" if name == LPIPS_NAME else NETWORKS[name].preparation
