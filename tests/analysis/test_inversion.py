"""Samples to their noise and back: exact where the student is exact, and noise told from what is none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from koopstep.analysis.inversion import Inverted, invert, noise_facts, recovered, summary
from koopstep.analysis.inversion_findings import inversion_sentence, noise_sentence
from koopstep.core.errors import UsageError
from koopstep.core.levels import karras_sigmas
from koopstep.nets.mlp import MLPConfig
from koopstep.students.hkd import HKDConfig
from koopstep.students.modes import ModesConfig
from koopstep.students.student import DataFacts
from koopstep.students.table import build_student

MLP = MLPConfig(width=8, depth=2, fourier=0)
FACTS = DataFacts(
    shape=(2,), noise_scale=10.0, progress=(0.0, 0.5, 1.0), levels=tuple(karras_sigmas(2, 0.002, 10.0).tolist())
)


def gaussian(rows: int, *shape: int) -> Tensor:
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0))


def test_a_gaussian_is_one() -> None:
    facts = noise_facts(gaussian(4000, 1, 4, 4))
    assert facts.norm == pytest.approx(1 - 1 / 64, abs=0.01) and facts.norm_spread == pytest.approx(
        1 / math.sqrt(32), rel=0.1
    )
    assert facts.mean == pytest.approx(1 / math.sqrt(4000), rel=0.4) and facts.variance == pytest.approx(1, abs=0.02)
    assert abs(facts.kurtosis) < 0.06 and facts.distance < 0.01
    assert facts.correlation == pytest.approx(1 / math.sqrt(4000), rel=0.2)
    assert facts.neighbours is not None and abs(facts.neighbours) < 0.02


def test_what_is_no_gaussian_shows() -> None:
    noise = gaussian(4000, 1, 4, 4)
    smooth = torch.nn.functional.avg_pool2d(noise, 2).repeat_interleave(2, 2).repeat_interleave(2, 3) * 2
    facts = noise_facts(smooth)
    assert facts.variance == pytest.approx(1, abs=0.05)
    assert facts.neighbours == pytest.approx(2 / 3, abs=0.05) and facts.correlation is not None
    assert facts.correlation > 0.4  # of 15 others 3 are the same
    coins = noise_facts(noise.sign())
    assert coins.kurtosis == pytest.approx(-2, abs=1e-3) and coins.distance > 0.3 and coins.norm == pytest.approx(1)
    moved = noise_facts(noise / 2 + 1)
    assert moved.mean == pytest.approx(1, abs=0.02) and moved.variance == pytest.approx(0.25, abs=0.01)
    assert noise_facts(gaussian(10, 2)).neighbours is None


def test_errors_are_over_the_variance_of_the_data() -> None:
    data = 3 + 2 * gaussian(2000, 5)
    nothing = Inverted(data, data, data.mean(dim=0).expand_as(data))
    assert nothing.unexplained_variance == pytest.approx(1, abs=1e-3) and nothing.mse == pytest.approx(4, rel=0.05)
    whole = summary(Inverted(data, gaussian(2000, 5), data), 2.0)
    assert whole["mse"] == whole["unexplained_variance"] == 0 and whole["psnr"] > 100
    assert Inverted(data, data, data + 0.2).psnr(2.0) == pytest.approx(20, abs=1e-3)


def test_true_noise_is_compared_row_by_row() -> None:
    noise = gaussian(1000, 8)
    assert recovered(noise, noise) == {"unexplained_variance": 0.0, "correlation": pytest.approx(1)}
    half = recovered(noise / 2, noise)
    assert half["unexplained_variance"] == pytest.approx(0.25, rel=0.01) and half["correlation"] == pytest.approx(1)
    assert abs(recovered(noise.flip(0), noise)["correlation"]) < 0.05


@pytest.mark.parametrize(
    "config", [ModesConfig(network=MLP), HKDConfig(network=MLP, latent=8, decoder_condition="target")]
)
def test_one_evaluation_each_way(config: ModesConfig | HKDConfig) -> None:
    torch.manual_seed(0)
    student, data = build_student(config, FACTS).requires_grad_(False), gaussian(300, 2)
    found = invert(student, data)
    torch.testing.assert_close(found.noise, student.invert(data))
    torch.testing.assert_close(found.again, student.generate(found.noise))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ModesConfig(network=MLP, within=False), "student.within=true"),
        (HKDConfig(network=MLP, latent=8), "--method modes"),
    ],
)
def test_students_that_cannot_say_so(config: ModesConfig | HKDConfig, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        invert(build_student(config, FACTS), gaussian(3, 2))


def test_sentences_tell_whose_samples_and_whether_it_is_noise() -> None:
    data = gaussian(2000, 1, 4, 4)
    good = summary(Inverted(data, data, data * 0.9), 2.0) | {
        "true_noise": {"unexplained_variance": 0.2, "correlation": 0.9}
    }
    values = {"teacher": good, "gaussian": vars(noise_facts(data))}
    assert "2,000 the teacher's held-out samples come back" in inversion_sentence(
        values
    ) or "of the teacher" in inversion_sentence(values)
    assert "close to a Gaussian's (in brackets)" in noise_sentence(values)
    small = summary(Inverted(data, data / 2, data), 2.0)
    assert "20 % of the variance of the true noise" in inversion_sentence(values | {"real": small})
    assert inversion_sentence(values | {"real": small}).startswith("2,000 real samples come back")
    assert "not a Gaussian's (in brackets): norm 0.49" in noise_sentence(values | {"real": small})


@pytest.mark.parametrize("numbers", [1, 2, 3])
def test_in_few_dimensions_the_norm_of_a_gaussian_is_below_one(numbers: int) -> None:
    noise = gaussian(2000, numbers)
    control = vars(noise_facts(noise))
    values = {"teacher": summary(Inverted(noise, noise.flip(0), noise), None), "gaussian": control}
    told = noise_sentence(values)
    assert control["norm"] < 0.95 and f"norm {control['norm']:.3f} ({control['norm']:.3f})" in told
    assert told.startswith("Their noise is close to")
    values["teacher"] = summary(
        Inverted(noise, noise / noise.norm(dim=1, keepdim=True) * math.sqrt(numbers), noise), None
    )
    assert noise_sentence(values).startswith("Their noise is not")


def test_errors_above_the_variance_are_told() -> None:
    data = gaussian(2000, 2)
    worse = summary(Inverted(data, data, -data), None) | {
        "true_noise": {"unexplained_variance": 2.5, "correlation": 0.0}
    }
    told = inversion_sentence({"teacher": worse})
    assert "400 % of their variance" in told and "250 % of the variance of the true noise" in told
