"""The table of metrics. To add one: a function of `Samples` and a line in `METRICS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch

from koopstep.core.arguments import checked
from koopstep.core.errors import NumericsError, UsageError
from koopstep.core.explain import nearest
from koopstep.core.registry import add, origin_of
from koopstep.core.user_code import guarded
from koopstep.evaluation import scores
from koopstep.evaluation.feature_metrics import FEATURE_METRICS
from koopstep.evaluation.frechet import frechet_distance
from koopstep.evaluation.moments import moments
from koopstep.evaluation.path import PATH_METRICS
from koopstep.evaluation.samples import NEEDS, Metric, Samples, given
from koopstep.features.extract import available

_BATCH = 1024


def pair_mse(samples: Samples) -> float:
    """`scores.pair_mse` of student and teacher."""
    return scores.pair_mse(samples.student, given(samples.target, "target"))


def pair_mse_permuted(samples: Samples) -> float:
    """`scores.pair_mse_permuted` of student and teacher."""
    return scores.pair_mse_permuted(samples.student, given(samples.target, "target"), samples.seed)


def in_cell(samples: Samples) -> float:
    """`scores.in_cell` of the student."""
    return scores.in_cell(samples.student, given(samples.cells, "cells"))


def sliced_wasserstein(samples: Samples) -> float:
    """`scores.sliced_wasserstein` of student and real data, 256 directions."""
    return scores.sliced_wasserstein(samples.student, given(samples.reference, "reference"), seed=samples.seed)


def mmd(samples: Samples) -> float:
    """`scores.mmd` of student and real data."""
    return scores.mmd(samples.student, given(samples.reference, "reference"), seed=samples.seed)


def frechet_pixel(samples: Samples) -> float:
    """Fréchet distance of student and real data in raw pixel space.

    Images are flattened as they are: neither clipped nor rounded, no feature network.

    Even a perfect generator does not reach 0, as both sides are finite samples. On the built-in digits
    (M = 1797), mean and standard deviation over 20 seeds by ``python tests/evaluation/test_floors.py``:

    - two random halves of the digits (898 and 899): 0.290 ± 0.031
    - N draws with replacement from the digits: N = 1797: 0.071 ± 0.007; 2000: 0.065 ± 0.007;
      5000: 0.026 ± 0.003; 10000: 0.013 ± 0.002; 20000: 0.0062 ± 0.0007

    For scale: the trace of the digits' covariance is 18.78.
    """
    reference = given(samples.reference, "reference")
    return frechet_distance(moments(torch.split(samples.student, _BATCH)), moments(torch.split(reference, _BATCH)))


def class_balance(samples: Samples) -> float:
    """`scores.class_balance` of what the classifier sees in the student's images and the real classes."""
    real = given(samples.reference_labels, "reference_labels")
    seen = given(samples.classifier, "classifier").predict(samples.student)
    return scores.class_balance(seen, real, int(max(seen.max(), real.max())) + 1)


def class_accuracy(samples: Samples) -> float:
    """`scores.class_accuracy` of the classes the classifier sees and those asked for."""
    asked = given(samples.class_labels, "class_labels")
    return scores.class_accuracy(given(samples.classifier, "classifier").predict(samples.student), asked)


METRICS: dict[str, Metric] = {
    "pair_mse": Metric(
        pair_mse,
        ("target",),
        "mean squared error against the teacher's sample for the same noise, over all elements",
        "lower",
        "squared data unit",
    ),
    "pair_mse_permuted": Metric(
        pair_mse_permuted,
        ("target",),
        "the same against wrong partners: what ignoring the noise would score",
        "control",
        "squared data unit",
    ),
    "in_cell": Metric(in_cell, ("cells",), "share of points in a filled cell of the checkerboard", "higher", "share"),
    "sliced_wasserstein": Metric(
        sliced_wasserstein,
        ("reference",),
        "distance to real data over 256 random directions",
        "lower",
        "data unit",
    ),
    "mmd": Metric(
        mmd,
        ("reference",),
        "unbiased squared kernel discrepancy to real data; 0 on average at best",
        "lower",
        "none",
    ),
    "frechet_pixel": Metric(
        frechet_pixel,
        ("reference",),
        "Fréchet distance to real data in raw pixel space, not clipped",
        "lower",
        "squared data unit",
    ),
    "class_balance": Metric(
        class_balance,
        ("reference_labels", "classifier"),
        "total variation between the class shares of samples (by classifier) and real data",
        "lower",
        "share",
    ),
    "class_accuracy": Metric(
        class_accuracy,
        ("class_labels", "classifier"),
        "share of samples that the classifier takes for the class asked for",
        "higher",
        "share",
    ),
    **FEATURE_METRICS,
    **PATH_METRICS,
}
"""Every metric by its name."""

_FRECHET_NUMBERS = {"frechet_pixel": None, "fid_768": 768, "fid": 2048, "frechet_resnet56": 64}
_ROWS_A_NUMBER = 100


def inflated(name: str, count: int, size: int) -> bool:
    """Whether a metric is a Fréchet distance of too few samples: it is then too large for student and teacher alike.

    Covariances of few rows differ even where the distributions do not. Of the packaged digits teacher (64 numbers) 1,000 rows
    are 0.130 from the real digits and 4,000 rows 0.053; the excess falls as one over their number.

    Args:
        name: of the metric.
        count: of the samples.
        size: numbers of a sample.
    """
    return name in _FRECHET_NUMBERS and count < _ROWS_A_NUMBER * (_FRECHET_NUMBERS[name] or size)


Made = TypeVar("Made", bound=Callable[[Samples], float])


@checked
def register_metric(
    name: str,
    *,
    needs: Sequence[str] = (),
    measures: str = "",
    direction: Literal["lower", "higher", "control"] = "lower",
    unit: str = "none",
) -> Callable[[Made], Made]:
    """Decorator: recipes and ``evaluate --metrics`` know a function of `Samples` as a metric.

    Args:
        name: small letters, digits, ``-`` and ``_``.
        needs: fields of `Samples` besides ``student`` that it looks at, such as ``target`` or ``reference``.
        measures: what the value says; the first line of the function's docstring when absent.
        direction: which values are better.
        unit: of the value.

    Raises:
        UsageError: the name is taken, or there is no such need.
    """
    for need in needs:
        if need not in NEEDS:
            raise UsageError(f"the metric {name!r} cannot need {need!r}; {nearest(need, NEEDS)}")

    def register(made: Made) -> Made:
        words = measures or (made.__doc__ or name).strip().splitlines()[0]
        add(
            "metric",
            METRICS,
            name,
            Metric(guarded(f"the metric {name!r}", made), tuple(needs), words, direction, unit),
            origin_of(made),
        )
        return made

    return register


def evaluate(samples: Samples, names: Sequence[str]) -> dict[str, float]:
    """Measures samples.

    Args:
        samples: What is measured.
        names: Names in `METRICS`.

    Returns:
        The values by name, in the order asked.

    Raises:
        UsageError: An unknown metric (the message lists those that exist), one whose needs are missing (it
            says which), or no samples; found before anything is measured.
        NumericsError: Samples with NaN or infinity.
    """
    for name in names:
        missing = _missing(samples, name)
        if missing:
            wanted = " and ".join(dict.fromkeys(NEEDS[need] for need in missing))
            raise UsageError(f"metric {name!r} needs {wanted}, which this evaluation was not given")
    if len(samples.student) == 0:
        raise UsageError("there are no samples to measure")
    broken = int((~torch.isfinite(samples.student.reshape(len(samples.student), -1))).any(dim=1).sum())
    if broken:
        raise NumericsError(f"{broken} of {len(samples.student)} samples hold NaN or infinity; nothing was measured")
    return {name: float(METRICS[name].function(samples)) for name in names}


def applicable(samples: Samples, names: Sequence[str]) -> tuple[str, ...]:
    """Those of `names`, in order, whose needs `samples` meets and whose network's weights are at hand.

    Raises:
        UsageError: An unknown metric.
    """
    return tuple(name for name in names if name not in inapplicable(samples, names))


def inapplicable(samples: Samples, names: Sequence[str]) -> dict[str, str]:
    """Those of `names` that `applicable` takes out, each with the reason.

    Raises:
        UsageError: An unknown metric.
    """
    reasons: dict[str, str] = {}
    for name in names:
        missing, network = _missing(samples, name), METRICS[name].network
        if missing:
            wanted = dict.fromkeys(NEEDS[need] for need in missing)
            reasons[name] = f"needs {' and '.join(wanted)}"
        elif not available(network, None if samples.extractor is None else samples.extractor.weights):
            reasons[name] = f"the weights of {network} are not at hand (--weights DIR or KOOPSTEP_WEIGHTS)"
    return reasons


def _missing(samples: Samples, name: str) -> list[str]:
    if name not in METRICS:
        raise UsageError(f"unknown metric {name!r}; there are: {', '.join(METRICS)}")
    return [need for need in METRICS[name].needs if getattr(samples, need) is None]
