"""Several steps: what one step is, what two are, and who may take them."""

from __future__ import annotations

import pytest
import torch

from koopstep.core.errors import UsageError
from koopstep.nets.mlp import MLPConfig
from koopstep.operators.dense import DenseConfig
from koopstep.sampling.fewstep import generate_in_steps
from koopstep.sampling.onestep import generate
from koopstep.students.hkd import HKDConfig
from koopstep.students.kdm import KDMConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student

MLP = MLPConfig(width=8, depth=2)
FACTS = DataFacts(shape=(2,), data_scale=0.5)


def reader() -> KoopmanStudent:
    torch.manual_seed(0)
    student = build_student(HKDConfig(network=MLP, latent=4, decoder_told="target"), FACTS)
    torch.nn.init.normal_(student.operators[0].alpha)  # type: ignore[arg-type]
    return student.eval().requires_grad_(False)


def test_one_step_is_generating() -> None:
    noise = torch.randn(5, 2)
    assert torch.equal(generate_in_steps(reader(), noise), reader().generate(noise))


def test_two_steps_by_hand() -> None:
    student, noise = reader(), torch.randn(5, 2)
    middle = student.decode(student.evolve(student.encode(noise, 0.0), 0.5), 0.5)
    end = student.decode(student.evolve(student.encode(middle, 0.5), 0.5), 1.0)
    assert torch.equal(generate_in_steps(student, noise, steps=2), end)
    samples, _ = generate(student, 7, seed=3, steps=2)
    assert samples.shape == (7, 2) and not torch.equal(samples, generate(student, 7, seed=3)[0])


@pytest.mark.parametrize(
    "config",
    [
        HKDConfig(network=MLP, latent=4),
        KDMConfig(encoder=MLP, decoder=MLP, operator=DenseConfig(), latent=4),
    ],
)
def test_who_reads_the_end_only_takes_one_step(config: HKDConfig | KDMConfig) -> None:
    student = build_student(config, FACTS)
    assert not student.codec.reads_path
    with pytest.raises(UsageError, match=r"--method hkd\+"):
        generate_in_steps(student, torch.randn(2, 2), steps=2)
    with pytest.raises(UsageError, match="at least 1, got 0"):
        generate_in_steps(student, torch.randn(2, 2), steps=0)
