"""The metrics that look through feature networks. To add one: a function of `Samples` and a line in `FEATURE_METRICS`.

Those of the truncated Inception carry its 768 features in their names: they are not the published FID, KID and so on,
which use 2,048, and no number of one can be held against the other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from koopstep.core.noise import permutation, stream_seed
from koopstep.evaluation import feature_scores
from koopstep.evaluation.frechet import frechet_distance
from koopstep.evaluation.moments import moments
from koopstep.evaluation.samples import Metric, Samples, given
from koopstep.features.extract import LPIPS_NAME

TRUNCATED, WHOLE, RESNET = "inception-768", "inception", "resnet56"


def _vectors(samples: Samples, network: str) -> tuple[Tensor, Tensor]:
    """Features of the real and of the generated images."""
    extractor, reference = given(samples.extractor, "extractor"), given(samples.reference, "reference")
    return extractor.look(network, reference).vectors, extractor.look(network, samples.student).vectors


def _frechet(network: str) -> Callable[[Samples], float]:
    def distance(samples: Samples) -> float:
        real, fake = _vectors(samples, network)
        return frechet_distance(moments([fake]), moments([real]))

    return distance


def _manifold(network: str, part: str, k: int) -> Callable[[Samples], float]:
    def score(samples: Samples) -> float:
        return float(getattr(feature_scores.manifold(*_vectors(samples, network), k), part))

    return score


def _kernel(samples: Samples) -> float:
    return feature_scores.kernel_distance(*_vectors(samples, TRUNCATED))


def _nearness(samples: Samples) -> float:
    real, fake = _vectors(samples, TRUNCATED)
    return feature_scores.nearness(fake, real)


def _inception_score(samples: Samples) -> float:
    logits = given(samples.extractor, "extractor").look(WHOLE, samples.student).logits
    return feature_scores.inception_score(given(logits, "logits"))


def _class_accuracy(samples: Samples) -> float:
    logits = given(given(samples.extractor, "extractor").look(RESNET, samples.student).logits, "logits")
    return float((logits.argmax(dim=1) == given(samples.class_labels, "class_labels").cpu()).double().mean())


def _lpips(samples: Samples) -> float:
    return float(
        given(samples.extractor, "extractor").distance(samples.student, given(samples.target, "target")).mean()
    )


def _lpips_permuted(samples: Samples) -> float:
    target = given(samples.target, "target")
    order = torch.from_numpy(permutation(stream_seed("lpips", samples.seed), len(target)).copy())
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)  # along one cycle: nobody is its own partner
    return float(given(samples.extractor, "extractor").distance(samples.student, target[partner]).mean())


_REAL = ("reference", "extractor")
_FD, _SHARE = "squared feature unit", "share"
FEATURE_METRICS: dict[str, Metric] = {
    "fid_768": Metric(
        _frechet(TRUNCATED),
        _REAL,
        "Fréchet distance to real images in 768 features of FID's Inception",
        "lower",
        _FD,
        TRUNCATED,
    ),
    "fid": Metric(
        _frechet(WHOLE), _REAL, "Fréchet inception distance (2,048 features) to real images", "lower", _FD, WHOLE
    ),
    "inception_score": Metric(
        _inception_score, ("extractor",), "how sure and how varied Inception's classes are", "higher", "none", WHOLE
    ),
    "kid_768": Metric(
        _kernel,
        _REAL,
        "kernel distance to real images in 768 features; 0 on average at best",
        "lower",
        "none",
        TRUNCATED,
    ),
    "precision_768": Metric(
        _manifold(TRUNCATED, "precision", 3),
        _REAL,
        "share of samples among real images (k = 3)",
        "higher",
        _SHARE,
        TRUNCATED,
    ),
    "recall_768": Metric(
        _manifold(TRUNCATED, "recall", 3),
        _REAL,
        "share of real images among samples (k = 3)",
        "higher",
        _SHARE,
        TRUNCATED,
    ),
    "density_768": Metric(
        _manifold(TRUNCATED, "density", 5),
        _REAL,
        "how densely real images lie around samples (k = 5)",
        "higher",
        "none",
        TRUNCATED,
    ),
    "coverage_768": Metric(
        _manifold(TRUNCATED, "coverage", 5),
        _REAL,
        "share of real images with a sample nearby (k = 5)",
        "higher",
        _SHARE,
        TRUNCATED,
    ),
    "nearness_768": Metric(
        _nearness,
        _REAL,
        "median distance to the nearest real image, over that among real images; far below 1: learned by heart",
        "control",
        "none",
        TRUNCATED,
    ),
    "frechet_resnet56": Metric(
        _frechet(RESNET),
        _REAL,
        "Fréchet distance to real images in 64 features of a CIFAR-10 classifier",
        "lower",
        _FD,
        RESNET,
    ),
    "class_accuracy_resnet56": Metric(
        _class_accuracy,
        ("class_labels", "extractor"),
        "share of samples that a CIFAR-10 classifier takes for the class asked for",
        "higher",
        _SHARE,
        RESNET,
    ),
    "lpips": Metric(
        _lpips,
        ("target", "extractor"),
        "perceptual distance to the teacher's image for the same noise",
        "lower",
        "none",
        LPIPS_NAME,
    ),
    "lpips_permuted": Metric(
        _lpips_permuted,
        ("target", "extractor"),
        "the same against wrong partners: what ignoring the noise would score",
        "control",
        "none",
        LPIPS_NAME,
    ),
}
