"""A classifier of small images, trained where it is needed: it tells which digit a sample shows.

It measures class shares and class accuracy of generated images. On the built-in digits it takes 0.1 s to fit
and names 98.9 % of a held-out quarter correctly; the figure belongs beside every number it helps to measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.noise import permutation, stream_seed

HELD_OUT_SHARE = 0.25
_PENALTY = 3.0
_KERNEL_WIDTH = 2.56


class Classifier(Protocol):
    """What the metrics ask of a classifier."""

    @property
    def held_out_accuracy(self) -> float:
        """Share of real images named correctly that were not used in training, in [0, 1]."""
        ...

    def predict(self, images: Tensor) -> Tensor:
        """Classes int64 (N,) of images (N, *shape)."""
        ...


@final
@dataclass(frozen=True)
class SupportVectorClassifier:
    """A support vector machine on raw pixels, made by `fit`.

    Attributes:
        shape: Of one image.
        held_out_accuracy: Measured on a quarter of the real images, by a machine fitted on the other three.
        machine: The fitted scikit-learn estimator, of all images.
    """

    shape: tuple[int, ...]
    held_out_accuracy: float
    machine: Any

    def predict(self, images: Tensor) -> Tensor:
        """Classes int64 (N,) of images (N, *shape) in [-1, 1].

        Raises:
            UsageError: Images of another shape, or NaN or infinity among them.
        """
        if tuple(images.shape[1:]) != self.shape:
            raise UsageError(f"classifier: made for images {self.shape}, got {tuple(images.shape[1:])}")
        if not torch.isfinite(images).all():
            raise UsageError("classifier: the images hold NaN or infinity")
        if len(images) == 0:
            return torch.zeros(0, dtype=torch.int64)
        return torch.from_numpy(np.asarray(self.machine.predict(_flat(images)), dtype=np.int64))


def fit(images: Tensor, labels: Tensor, seed: int = 0) -> SupportVectorClassifier:
    """Fits a classifier to real images; deterministic. Meant for up to some thousand images.

    Args:
        images: (N, *shape) in [-1, 1].
        labels: int64 (N,), at least two classes.
        seed: Of the held-out quarter, drawn class by class.

    Returns:
        A classifier fitted to all images, with its accuracy on the held-out quarter.

    Raises:
        UsageError: Shapes that do not agree, fewer than two classes, a class with a single image, or no
            scikit-learn.
    """
    if len(images) != len(labels) or labels.ndim != 1:
        raise UsageError(f"classifier: {len(images)} images need as many labels, got {tuple(labels.shape)}")
    flat, classes = _flat(images), labels.cpu().numpy()
    names, counts = np.unique(classes, return_counts=True)
    if len(names) < 2 or counts.min() < 2:
        raise UsageError("classifier: two classes or more with two images or more each are needed")
    held = np.zeros(len(classes), dtype=bool)
    for name, count in zip(names.tolist(), counts.tolist(), strict=True):
        rows = np.flatnonzero(classes == name)
        order = permutation(stream_seed("classifier", seed, name), count)
        held[rows[order[: max(1, int(count * HELD_OUT_SHARE))]]] = True
    trial = _machine(flat.shape[1]).fit(flat[~held], classes[~held])
    accuracy = float(np.mean(trial.predict(flat[held]) == classes[held]))
    machine = _machine(flat.shape[1]).fit(flat, classes)
    return SupportVectorClassifier(tuple(images.shape[1:]), accuracy, machine)


def _flat(images: Tensor) -> np.ndarray:
    return images.detach().reshape(len(images), -1).cpu().to(torch.float64).numpy()


def _machine(dimensions: int) -> Any:
    """An unfitted machine; its kernel widens with the dimension, as distances between images do."""
    try:
        from sklearn.svm import SVC
    except ImportError as error:
        raise UsageError("the classifier needs scikit-learn: pip install koopstep[analysis]") from error
    # without a seed of its own it takes one from NumPy's global state, which is the caller's
    return SVC(C=_PENALTY, kernel="rbf", gamma=_KERNEL_WIDTH / dimensions, random_state=0)
