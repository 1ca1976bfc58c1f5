"""Noise is a function of (seed, index, position): known answers, goldens, partitions, statistics."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest
import torch

from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian, integers, permutation, philox, stream_seed

# Known-answer vectors of Random123 (kat_vectors, philox4x32 10): counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def _words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_known_answers(counter: str, key: str, result: str) -> None:
    columns = [np.array([word, word], dtype=np.uint64) for word in _words(counter)]
    low, high = _words(key)
    out = philox(columns, (low, high))
    assert [[int(v) for v in column] for column in out] == [[w, w] for w in _words(result)]


@pytest.mark.parametrize(
    ("shape", "digest"),
    [
        ((2,), "5ea8a9a1444be101c5e388b50b6f8a39c36e0c1b860c9be9a712996a8c2a1f2c"),
        ((3, 4, 4), "1eab99c33d928ef0321614988da74f6cd8b55dcb835ab9b18e22105fadf4e2f7"),
    ],
)
def test_golden_bits(shape: tuple[int, ...], digest: str) -> None:
    noise = gaussian(0, range(1000), shape)
    assert noise.dtype == torch.float32
    assert noise.shape == (1000, *shape)
    assert hashlib.sha256(noise.numpy().tobytes()).hexdigest() == digest


def test_agrees_with_library_functions() -> None:
    """Box-Muller in IEEE operations equals the textbook formula to float32 precision."""
    index = np.arange(5000, dtype=np.uint64)
    zero = np.zeros_like(index)
    words = philox((zero, zero, index, zero), (7, 0))
    u = [(w.astype(np.float64) + 0.5) * 2.0**-32 for w in words]
    expected = []
    for radius, angle in ((u[0], 2 * np.pi * u[1]), (u[2], 2 * np.pi * u[3])):
        turned = angle - np.pi / 4  # each quadrant is centred on an axis, which is a rotation
        expected += [
            np.sqrt(-2 * np.log(radius)) * np.cos(turned),
            np.sqrt(-2 * np.log(radius)) * np.sin(turned),
        ]
    got = gaussian(7, range(5000), (4,)).numpy()
    np.testing.assert_allclose(got, np.stack(expected, axis=1), atol=2e-6)


def test_bits_do_not_depend_on_partition_or_order() -> None:
    random = np.random.RandomState(1)
    whole = gaussian(5, range(3000), (3, 5))
    for _ in range(300):
        size = random.randint(1, 40)
        rows = random.randint(0, 3000, size)
        assert torch.equal(gaussian(5, rows, (3, 5)), whole[torch.from_numpy(rows)])
    assert torch.equal(gaussian(5, torch.arange(100), (3, 5)), whole[:100])
    assert torch.equal(gaussian(5, list(range(99, -1, -1)), (3, 5)), whole[:100].flip(0))
    # A longer sample starts with the same numbers as a shorter one: position addresses the value.
    assert torch.equal(gaussian(5, range(10), (15,)), gaussian(5, range(10), (31,))[:, :15])


def test_large_indices_and_seeds_are_distinct() -> None:
    far = [0, 1, 2**32, 2**32 + 1, 2**40, 2**62]
    rows = gaussian(3, far, (4,))
    assert len({tuple(row.tolist()) for row in rows}) == len(far)
    seeds = [0, 1, 2**32, 2**63, 2**64 - 1]
    assert len({tuple(gaussian(seed, [0], (4,))[0].tolist()) for seed in seeds}) == len(seeds)


def test_normality() -> None:
    z = gaussian(11, range(250_000), (4,)).double()
    n = z.numel()
    assert abs(z.mean()) < 4 / n**0.5
    assert abs(z.std() - 1) < 4 / (2 * n) ** 0.5
    assert abs((z**3).mean()) < 4 * (15 / n) ** 0.5
    assert abs((z**4).mean() - 3) < 4 * (96 / n) ** 0.5
    for k in range(4):  # neighbours in index, and values within a sample
        assert abs((z[:-1, k] * z[1:, k]).mean()) < 4 / 250_000**0.5
        assert abs((z[:, k] * z[:, (k + 1) % 4]).mean()) < 4 / 250_000**0.5
    ordered = np.sort(z.numpy().reshape(-1))
    normal = torch.special.ndtr(torch.from_numpy(ordered)).numpy()
    distance = np.abs(normal - (np.arange(n) + 0.5) / n).max()  # Kolmogorov-Smirnov
    assert distance < 2.0 / n**0.5
    assert len(torch.unique(z[:, 0])) > 0.99 * 250_000


def test_speed() -> None:
    gaussian(0, range(10), (3,))
    start = time.process_time()
    gaussian(0, range(333), (3, 32, 32))
    assert time.process_time() - start < 0.25


def test_integers_are_uniform_and_independent_of_the_noise() -> None:
    classes = integers(0, range(100_000), 10)
    counts = torch.bincount(classes, minlength=10)
    assert classes.dtype == torch.int64
    assert ((counts - 10_000).abs() < 5 * 95).all()
    noise = gaussian(0, range(100_000), (1,))[:, 0]
    assert abs((noise * (classes.float() - 4.5)).mean()) < 0.05
    assert torch.equal(integers(0, [5, 3], 10), classes[[5, 3]])
    assert integers(0, range(50), 1).unique().tolist() == [0]
    assert int(integers(0, range(1000), 2**31).max()) > 2**30


def test_permutation() -> None:
    order = permutation(4, 1000)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(1000))
    assert (order == permutation(4, 1000)).all()
    assert (order != permutation(5, 1000)).sum() > 900
    assert permutation(0, 0).shape == (0,)


def test_stream_seed() -> None:
    seeds = {
        stream_seed("a", 1),
        stream_seed("a", "1"),
        stream_seed("a1"),
        stream_seed("a", 1, 2),
        stream_seed("a", 12),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert stream_seed("dropout", 0, 7) == 1044599466122189763


def test_empty_and_bad_input() -> None:
    assert gaussian(0, [], (3, 4)).shape == (0, 3, 4)
    for call in (
        lambda: gaussian(-1, [0], (2,)),
        lambda: gaussian(0, [-1], (2,)),
        lambda: gaussian(0, np.array([0.5]), (2,)),
        lambda: gaussian(0, np.array([[1]]), (2,)),
        lambda: integers(0, [0], 0),
        lambda: integers(0, [0], 2**31 + 1),
    ):
        with pytest.raises(UsageError):
            call()
