"""Properties of every metric in the table; one that joins it is tested here without a further line."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import fields, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from koopstep.core.errors import NumericsError, UsageError
from koopstep.core.noise import gaussian, integers, permutation
from koopstep.data import checkerboard, digits
from koopstep.evaluation.classifier import fit
from koopstep.evaluation.feature_metrics import FEATURE_METRICS
from koopstep.evaluation.metrics import METRICS, applicable, evaluate, inapplicable, inflated
from koopstep.evaluation.path import PATH_METRICS, share
from koopstep.evaluation.samples import NEEDS, PathErrors, Samples
from koopstep.features.extract import Extractor
from koopstep.features.networks import Features

SVC = pytest.importorskip("sklearn.svm").SVC
COUNT = 600
PLANE_ONLY = {"in_cell"}
U = (0.3, 0.6, 1.0)


@cache
def board() -> Samples:
    """A student close to its teacher, who is close to the data."""
    target = checkerboard.sample(1, COUNT)
    student = target + 0.02 * gaussian(2, range(COUNT), (2,))
    return Samples(student, target=target, reference=checkerboard.sample(3, COUNT), cells=checkerboard.CELLS)


class PixelExtractor(Extractor):
    """Sees pixels, and classes as a support vector machine does: the metrics need networks, their properties do not."""

    def look(self, name: str, images: Tensor) -> Features:
        seen = images.flatten(1)
        return Features(seen, torch.from_numpy(machine().decision_function(seen.double().numpy())))

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().flatten(1).mean(dim=1)


@cache
def machine() -> Any:
    real, labels = digits.load()
    return SVC(C=3, gamma=0.04).fit(real.flatten(1).double().numpy(), labels.numpy())


@cache
def images() -> Samples:
    real, labels = digits.load()
    order = torch.as_tensor(permutation(0, len(real)))
    shown, kept = order[:COUNT], order[COUNT:]
    return Samples(
        real[shown] + 0.02 * gaussian(4, range(COUNT), digits.SHAPE),
        target=real[shown],
        class_labels=labels[shown],
        reference=real[kept],
        reference_labels=labels[kept],
        classifier=fit(real, labels),
        extractor=PixelExtractor(torch.device("cpu"), lambda title, total, unit: nullcontext()),
    )


def on_the_way(samples: Samples) -> Samples:
    """With the errors of states between the reference and the samples, taken for noise and data."""
    assert samples.target is not None and samples.reference is not None
    noise, shares = samples.reference[:COUNT], []
    for u in U:
        state = (1 - u) * noise + u * samples.target
        shares.append(share((1 - u) * noise + u * samples.student - state, state))
    errors = PathErrors(torch.tensor(U), torch.stack(shares), torch.ones(len(U)), torch.tensor([False, True, False]))
    return replace(samples, path=errors)


def good(name: str) -> Samples:
    if name in PATH_METRICS:
        return on_the_way(images())
    return board() if name in PLANE_ONLY else images()


def collapsed(samples: Samples) -> Tensor:
    """Always the same sample, with a little noise."""
    return samples.student[:1] + 0.01 * gaussian(5, range(COUNT), tuple(samples.student.shape[1:]))


def shifted(samples: Samples) -> Tensor:
    """Off by 0.9 in every coordinate and noisy."""
    return samples.student + 0.9 + 0.9 * gaussian(6, range(COUNT), tuple(samples.student.shape[1:]))


def undecided(samples: Samples) -> Tensor:
    """Means of two unrelated samples: neither the one nor the other."""
    return (samples.student + samples.student[integers(7, range(COUNT), 40)]) / 2


BREAKS = {broken.__name__: broken for broken in (collapsed, shifted, undecided)}
# one point in a filled cell, or one picture among real ones, is as well placed however often it is repeated
BLIND = {("in_cell", "collapsed"), ("precision_768", "collapsed"), ("density_768", "collapsed")}


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        (name, broken)
        for name, metric in METRICS.items()
        for broken in BREAKS
        if metric.direction != "control" and (name, broken) not in BLIND
    ],
)
def test_worse_samples_have_a_worse_value(name: str, broken: str) -> None:
    samples = good(name)
    before = evaluate(samples, [name])[name]
    worse = replace(samples, student=BREAKS[broken](samples))
    after = evaluate(on_the_way(worse) if name in PATH_METRICS else worse, [name])[name]
    assert after > before if METRICS[name].direction == "lower" else after < before


@pytest.mark.parametrize("name", ["pair_mse_permuted"])
def test_controls_stay_far_from_a_good_student(name: str) -> None:
    assert METRICS[name].direction == "control"
    for samples in (board(), images()):
        values = evaluate(samples, ["pair_mse", name])
        assert values[name] > 100 * values["pair_mse"]


@pytest.mark.parametrize("name", METRICS)
def test_values_are_numbers_and_repeat(name: str) -> None:
    value = METRICS[name].function(good(name))
    assert isinstance(value, float)
    assert value == METRICS[name].function(replace(good(name), student=good(name).student.clone()))


@pytest.mark.parametrize("name", METRICS)
def test_what_a_metric_needs_is_what_it_says(name: str) -> None:
    samples, metric = good(name), METRICS[name]
    optional = {field.name for field in fields(Samples)} - {"student", "seed"}
    needs = {"path" if need == "unseen_path" else need for need in metric.needs}  # what it is part of
    assert needs <= optional
    bare = replace(samples, **dict.fromkeys(optional - needs))
    assert evaluate(bare, [name]) == evaluate(samples, [name])
    if "unseen_path" in metric.needs:
        path = samples.path
        assert path is not None
        seen = replace(samples, path=replace(path, unseen=torch.zeros_like(path.unseen)))
        with pytest.raises(UsageError, match=re.escape(NEEDS["unseen_path"])):
            evaluate(seen, [name])
        return
    for need in metric.needs:
        with pytest.raises(UsageError, match=f"{name}.*{re.escape(NEEDS[need])}"):
            evaluate(replace(samples, **{need: None}), [name])
        assert applicable(replace(samples, **{need: None}), [name]) == ()


def test_every_line_is_explained_and_nothing_is_called_by_another_measures_name() -> None:
    for name, metric in METRICS.items():
        assert metric.measures and metric.unit
        assert name in FEATURE_METRICS or (metric.function.__name__ == name and metric.function.__doc__)
        assert ("fid" in name) == (metric.network.startswith("inception") and "Fréchet" in metric.measures)
        assert name.endswith("_768") == (metric.network == "inception-768")


def test_what_does_not_apply_says_why() -> None:
    vectors = ("pair_mse", "in_cell", "mmd", "class_balance")
    assert applicable(board(), vectors) == ("pair_mse", "in_cell", "mmd")
    assert inapplicable(board(), vectors) == {"class_balance": "needs real data with classes"}
    assert applicable(Samples(board().student), vectors) == ()
    other_points = replace(board(), cells=None)  # real data in the plane that is not the checkerboard
    assert "checkerboard" in inapplicable(other_points, vectors)["in_cell"]


def test_refusals() -> None:
    with pytest.raises(UsageError, match="unknown metric 'fidd'; there are: pair_mse, "):
        evaluate(board(), ["fidd"])
    with pytest.raises(UsageError, match="unknown metric"):
        applicable(board(), ["fidd"])
    with pytest.raises(UsageError, match="no samples"):
        evaluate(Samples(torch.zeros(0, 2), cells=checkerboard.CELLS), ["in_cell"])
    student = board().student.clone()
    student[3, 1] = float("nan")
    with pytest.raises(NumericsError, match="1 of 600"):
        evaluate(replace(board(), student=student), ["in_cell"])
    with pytest.raises(UsageError, match=r"shape \(N, 2\)"):
        evaluate(replace(images(), cells=checkerboard.CELLS), ["in_cell"])


def test_frechet_distances_of_few_samples_are_called_too_large() -> None:
    assert inflated("frechet_pixel", 411, 64)
    assert not inflated("frechet_pixel", 10_000, 64)
    assert inflated("fid_768", 4000, 64)
    assert not inflated("pair_mse", 2, 64)
