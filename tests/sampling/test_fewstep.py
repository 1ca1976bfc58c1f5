"""Several steps: what one step is, what two are by noise and along the path, and who may take them."""

from __future__ import annotations

import pytest
import torch

from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian, stream_seed
from koopstep.nets.mlp import MLPConfig
from koopstep.operators.dense import DenseConfig
from koopstep.sampling.fewstep import Stepping, generate_in_steps, progress_within
from koopstep.sampling.onestep import generate
from koopstep.students.hkd import HKDConfig
from koopstep.students.kdm import KDMConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student

MLP = MLPConfig(width=8, depth=2)
FLOW = DataFacts(
    shape=(2,), noise_scale=2.0, data_scale=0.5, progress=(0.0, 0.25, 0.5, 1.0), levels=(0.0, 0.25, 0.5, 1.0)
)
SIGMA = DataFacts(shape=(2,), noise_scale=10.0, progress=(0.0, 0.5, 1.0), levels=(10.0, 1.0, 0.0))


def knower(facts: DataFacts = FLOW, told: str = "target") -> KoopmanStudent:
    torch.manual_seed(0)
    student = build_student(HKDConfig(network=MLP, latent=4, decoder_condition=told), facts)  # type: ignore[arg-type]
    torch.nn.init.normal_(student.operators[0].alpha)  # type: ignore[arg-type]
    return student.eval().requires_grad_(False)


def test_one_step_is_generating() -> None:
    noise = torch.randn(5, 2)
    assert torch.equal(generate_in_steps(knower(), noise), knower().generate(noise))


def test_two_steps_along_the_path_by_hand() -> None:
    student, noise = knower(), torch.randn(5, 2)
    middle = student.decode(student.evolve(student.encode(noise * 2, 0.0), 0.5), 0.5)
    end = student.decode(student.evolve(student.encode(middle, 0.5), 0.5), 1.0)
    assert torch.equal(generate_in_steps(student, noise, stepping=Stepping(2, "path")), end)


@pytest.mark.parametrize("facts", [FLOW, SIGMA], ids=["flow", "sigma"])
def test_two_steps_by_noise_by_hand(facts: DataFacts) -> None:
    student, noise = knower(facts, "noisiest"), torch.randn(5, 2)
    data, fresh = student.generate(noise), gaussian(stream_seed("step", 3, 1), range(5), (2,))
    middle = 0.5 * data + 0.5 * 2 * fresh if facts is FLOW else data + 1.0 * fresh
    end = student.decode(student.evolve(student.encode(middle, 0.5), 0.5), 1.0)
    made = generate_in_steps(student, noise, stepping=Stepping(2, "noise", seed=3))
    torch.testing.assert_close(made, end)


def test_a_sample_depends_on_its_number_and_not_on_its_batch() -> None:
    whole, _ = generate(knower(), 7, seed=3, stepping=Stepping(3, "noise", 3))
    parts, _ = generate(knower(), 7, seed=3, batch_size=2, stepping=Stepping(3, "noise", 3))
    torch.testing.assert_close(whole, parts)
    other, _ = generate(knower(), 7, seed=3, stepping=Stepping(3, "noise", 4))
    assert not torch.allclose(whole, other, atol=1e-3)


def test_steps_start_where_training_did() -> None:
    quarters = tuple(k / 4 for k in range(5))
    student = knower(FLOW.model_copy(update={"progress": quarters, "levels": quarters}))
    found = [progress_within(student, steps) for steps in (1, 2, 3, 4)]
    assert found == [[], [0.5], [0.25, 0.75], [0.25, 0.5, 0.75]]
    with pytest.raises(UsageError, match=r"at most 4 steps, not 5; .* a larger --keep"):
        progress_within(student, 5)


def test_who_may_take_them() -> None:
    noise = torch.randn(2, 2)
    with pytest.raises(UsageError, match=r"--method hkd\+.*--between noise"):
        generate_in_steps(knower(told="noisiest"), noise, stepping=Stepping(2, "path"))
    ends = build_student(KDMConfig(encoder=MLP, decoder=MLP, operator=DenseConfig(), latent=4), FLOW)
    for between in ("noise", "path"):
        with pytest.raises(UsageError, match="train one with --method hkd"):
            generate_in_steps(ends, noise, stepping=Stepping(2, between))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least 1, got 0"):
        Stepping(0)
