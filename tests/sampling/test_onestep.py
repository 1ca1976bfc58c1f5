"""One-step samples are addressed by (seed, index): no batch size, count or neighbour changes one."""

from __future__ import annotations

import pytest
import torch

from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian
from koopstep.nets.mlp import MLPConfig
from koopstep.operators.dense import DenseConfig
from koopstep.sampling.onestep import generate, generate_in_batches, sampling_labels
from koopstep.students.kdm import KDMConfig, build_kdm
from koopstep.students.student import DataFacts, KoopmanStudent

MLP = MLPConfig(width=16, depth=2)


def small(num_classes: int = 0) -> KoopmanStudent:
    torch.manual_seed(0)
    facts = DataFacts(shape=(1, 2, 3), num_classes=num_classes, noise_scale=25.0)
    config = KDMConfig(encoder=MLP, decoder=MLP, operator=DenseConfig(init="default"), latent=8)
    student = build_kdm(config, facts).eval()
    for control in student.controls:
        torch.nn.init.normal_(control.weight)  # type: ignore[arg-type]
    return student


@pytest.mark.parametrize("num_classes", [0, 4])
def test_a_sample_depends_on_seed_and_index_only(num_classes: int) -> None:
    student = small(num_classes)
    many, labels = generate(student, 11, seed=3)
    assert (many.shape, many.dtype, many.requires_grad) == ((11, 1, 2, 3), torch.float32, False)
    for count, batch_size in ((11, 1), (11, 4), (5, 1024), (1, 3)):
        samples, classes = generate(student, count, seed=3, batch_size=batch_size)
        torch.testing.assert_close(samples, many[:count], rtol=1e-4, atol=1e-5)
        assert (classes is None) == (num_classes == 0)
        if classes is not None and labels is not None:
            assert torch.equal(classes, labels[:count])
    other, _ = generate(student, 11, seed=4)
    assert bool(((other - many).flatten(1).abs().amax(dim=1) > 1e-3).all())


def test_samples_are_the_student_s_own() -> None:
    student, noise = small(4), gaussian(7, range(6), (1, 2, 3))
    samples, labels = generate(student, 6, seed=7)
    with torch.no_grad():
        torch.testing.assert_close(samples, student.generate(noise, labels))


def test_batches_come_in_order_and_nothing_is_lost() -> None:
    student, noise = small(), torch.randn(7, 1, 2, 3)
    parts = list(generate_in_batches(student, noise, None, batch_size=3))
    assert [len(part) for part in parts] == [3, 3, 1]
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(parts), student.generate(noise), rtol=1e-4, atol=1e-5)


def test_classes_are_taken_in_turn_or_drawn_by_index() -> None:
    given = sampling_labels(5, 0, 7, [4, 0])
    assert given is not None
    assert given.tolist() == [4, 0, 4, 0, 4, 0, 4]
    assert given.dtype == torch.int64
    drawn, more = sampling_labels(5, 1, 1000, None), sampling_labels(5, 1, 2000, None)
    assert drawn is not None
    assert more is not None
    assert torch.equal(more[:1000], drawn)
    assert bool((torch.bincount(drawn, minlength=5) > 150).all())
    assert sampling_labels(0, 1, 10, None) is None


def test_wrong_requests_are_named() -> None:
    with pytest.raises(UsageError, match="knows no classes"):
        sampling_labels(0, 0, 3, [1])
    for wrong in (5, -1):
        with pytest.raises(UsageError, match=f"from 0 to 4, got {wrong}"):
            sampling_labels(5, 0, 3, [0, wrong])
    for count in (0, -3):
        with pytest.raises(UsageError, match="at least 1"):
            generate(small(), count, seed=0)
    with pytest.raises(UsageError, match="seed"):
        generate(small(), 2, seed=-1)
