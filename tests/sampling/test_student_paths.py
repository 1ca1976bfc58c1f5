"""The path of a student as people use it: read, inverted, and taken apart into modes."""

from __future__ import annotations

import pytest
import torch

from koopstep.core.errors import UsageError
from koopstep.nets.mlp import MLPConfig
from koopstep.operators.dense import DenseConfig
from koopstep.operators.modes import ModesOperatorConfig
from koopstep.sampling.student import Student
from koopstep.students.decomposition import ModeDecomposition
from koopstep.students.kdm import KDMConfig
from koopstep.students.modes import ModesConfig
from koopstep.students.student import DataFacts
from koopstep.students.table import build_student

NETWORK = MLPConfig(width=8, depth=2)
STEPS = (0.0, 0.5, 1.0)


def made(num_classes: int = 0, **settings: object) -> Student:
    config = ModesConfig(network=NETWORK, operator=ModesOperatorConfig(modes=2, real=1), **settings)  # type: ignore[arg-type]
    facts = DataFacts(shape=(2,), num_classes=num_classes, noise_scale=20.0, progress=STEPS, levels=(20.0, 1.0, 0.0))
    torch.manual_seed(0)
    return Student(build_student(config, facts).eval())


def test_a_path_begins_with_the_noise_and_ends_with_the_sample() -> None:
    student = made()
    noise = student.noise(5)
    states = student.path(noise, [0, 0.3, 1.0])
    assert states.shape == (3, 5, 2) and states.dtype == torch.float32 and not states.requires_grad
    torch.testing.assert_close(states[0], 20 * noise)
    torch.testing.assert_close(states[2], student.generate(noise))
    assert torch.equal(student.path(noise, 0.3)[0], states[1])
    assert torch.equal(student.path(noise, torch.tensor([1.0]))[0], states[2])


def test_modes_add_up_to_the_path() -> None:
    student = made()
    noise = student.noise(3)
    modes = student.modes(noise)
    assert isinstance(modes, ModeDecomposition)
    assert modes.names == ("constant", "mode 1", "mode 2", "remainder")
    assert modes.images.shape == modes.partners.shape == (3, 4, 2) and modes.growth_rates.shape == (3, 4)
    assert modes.rotation_rates[0].count_nonzero() == 1 and not modes.growth_rates[:, 0].any()
    at = torch.tensor([0.0, 0.4, 1.0])
    torch.testing.assert_close(modes.states(at), student.path(noise, at), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(modes.states([0.0, 0.4, 1.0]), modes.states(at))
    torch.testing.assert_close(modes.states(0.4), modes.states(at)[1:2])
    torch.testing.assert_close(modes.contributions(1), modes.contributions(at)[2:])
    for wrong in (1.5, [0.0, -0.1], "half", [[0.5]]):
        with pytest.raises(UsageError, match="u "):
            modes.states(wrong)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="u "):
            modes.contributions(wrong)  # type: ignore[arg-type]
    assert repr(modes) == "ModeDecomposition(3 paths of 4 modes of shape (2,))"
    turned = modes.contributions(at)[1, :, 1]
    growth, angle = modes.growth_rates[0, 1], modes.rotation_rates[0, 1]
    by_hand = (0.4 * growth).exp() * (
        (0.4 * angle).cos() * modes.images[:, 1] + (0.4 * angle).sin() * modes.partners[:, 1]
    )
    torch.testing.assert_close(turned, by_hand)


def test_a_path_is_inverted_from_its_state() -> None:
    """The noise that is read off a state is what the modes of that state add up to at u = 0."""
    student = made()
    data = student.noise(4, seed=5)
    noise = student.invert(data)
    latent = student.encode(state=data, u=1.0)
    expected = student.decode(student.evolve(latent, -1.0), 0.0) / 20
    assert noise.shape == data.shape and not noise.requires_grad
    torch.testing.assert_close(noise, expected)
    torch.testing.assert_close(student.invert(20 * data, 0.0), data)


def test_classes_and_rows_are_checked() -> None:
    student = made(num_classes=3)
    noise = student.noise(2)
    torch.testing.assert_close(student.path(noise, 1.0, 2)[0], student.generate(noise, 2))
    for call in (lambda: student.path(noise, 1.0), lambda: student.invert(noise), lambda: student.modes(noise)):
        with pytest.raises(UsageError, match="conditional: give class_labels, 0 to 2"):
            call()
    with pytest.raises(UsageError, match="u is progress along the path, numbers from 0"):
        made().path(noise, [0.5, 1.5])
    with pytest.raises(UsageError, match="u is progress along the path, a number from 0"):
        made().invert(noise, u=-0.5)
    with pytest.raises(UsageError, match="noise must be a float32 tensor of shape"):
        made().path(noise.double(), 1.0)


def test_students_without_a_path_or_modes_say_so() -> None:
    facts = DataFacts(shape=(2,), noise_scale=20.0)
    config = KDMConfig(encoder=NETWORK, decoder=NETWORK, operator=DenseConfig(), latent=4)
    student = Student(build_student(config, facts).eval())
    noise = student.noise(2)
    with pytest.raises(UsageError, match="reads the end of the path only"):
        student.path(noise, 0.5)
    with pytest.raises(UsageError, match="train with --method modes"):
        student.modes(noise)
    with pytest.raises(UsageError, match="modes of noise only"):
        made(within=False).invert(noise)
