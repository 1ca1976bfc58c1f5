"""Random numbers as a function of an address: `(seed, index)` names a value, no generator carries a state.

So noise is the same for every batch size, worker, order and restart. The words come from Philox4x32-10
(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The normals come from Box-Muller
written with +, -, *, / and square root in float64 only, which IEEE 754 rounds alike on every machine; library
logarithms and cosines differ between processors in the last bit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor, from_numpy

from koopstep.core.errors import UsageError

Words = npt.NDArray[np.uint64]
Reals = npt.NDArray[np.float64]
Indices = Sequence[int] | range | npt.NDArray[np.integer] | Tensor

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_LOW, _HALF_WORD = np.uint64(0xFFFFFFFF), np.uint64(32)
_CHUNK = 1 << 13  # blocks worked on at a time: all their columns stay in the cache of one core
_GAUSSIAN, _INTEGERS, _PERMUTATION = 0, 1, 2  # second counter word: streams that never meet


def philox(counter: Sequence[Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Philox4x32-10: four 32-bit words for each counter, vectorised.

    Args:
        counter: four uint64 arrays of one shape, each value below 2**32.
        key: two integers below 2**32.

    Returns:
        Four uint64 arrays of that shape, values below 2**32.
    """
    a, b, c, d = counter
    key0, key1 = key
    for _ in range(10):
        low, high = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b = (high >> _HALF_WORD) ^ b ^ np.uint64(key0), high & _LOW
        c, d = (low >> _HALF_WORD) ^ d ^ np.uint64(key1), low & _LOW
        key0, key1 = (key0 + _KEY_STEPS[0]) & 0xFFFFFFFF, (key1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return a, b, c, d


def _index_array(indices: Indices) -> Words:
    array = np.asarray(indices)
    if array.size == 0:
        return np.zeros(0, dtype=np.uint64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UsageError(f"noise indices must be a list of integers, got {array.dtype} of shape {array.shape}")
    if int(array.min()) < 0:
        raise UsageError(f"noise indices must not be negative, got {int(array.min())}")
    return array.astype(np.uint64)


def _key(seed: int) -> tuple[int, int]:
    if not 0 <= seed < 1 << 64:
        raise UsageError(f"a seed is an integer from 0 to 2**64 - 1, got {seed}")
    return seed & 0xFFFFFFFF, seed >> 32


def _blocks(seed: int, purpose: int, index: Words, block: Words) -> tuple[Words, Words, Words, Words]:
    tag = np.full_like(index, purpose)
    return philox((block, tag, index & _LOW, index >> _HALF_WORD), _key(seed))


def _polynomial(x: Reals, coefficients: Sequence[float]) -> Reals:
    result = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result *= x
        result += coefficient
    return result


_LOG = tuple(2.0 / (2 * k + 1) for k in range(11))
_SIN = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(9))
_COS = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(9))


def _log(x: Reals) -> Reals:
    """Natural logarithm of x > 0: ln(m 2^e) with m in [sqrt(1/2), sqrt(2)) by the series of atanh."""
    mantissa, exponent = np.frexp(x)
    small = mantissa < math.sqrt(0.5)
    mantissa = np.where(small, mantissa * 2.0, mantissa)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return s * _polynomial(s * s, _LOG) + (exponent - small) * math.log(2.0)


def _box_muller(radius_word: Words, angle_word: Words) -> tuple[Reals, Reals]:
    """Two independent standard normals for each pair of 32-bit words (|z| < 6.8)."""
    radius = np.sqrt(-2.0 * _log((radius_word.astype(np.float64) + 0.5) * 2.0**-32))
    quadrant = angle_word >> np.uint64(30)
    fraction = (angle_word & np.uint64(0x3FFFFFFF)).astype(np.float64) * 2.0**-30 + 2.0**-31
    t = (fraction - 0.5) * (math.pi / 2)  # |t| <= pi/4; the angle is t + quadrant pi/2
    square = t * t
    sine, cosine = t * _polynomial(square, _SIN), _polynomial(square, _COS)
    odd = (quadrant & np.uint64(1)).astype(bool)
    x, y = np.where(odd, -sine, cosine), np.where(odd, cosine, sine)
    sign = np.where(quadrant >= 2, -radius, radius)
    return x * sign, y * sign


def gaussian(seed: int, indices: Indices, shape: tuple[int, ...]) -> Tensor:
    """Unit-variance Gaussian noise of the samples `indices`.

    A value depends on (seed, index of its sample, position in the sample) and on nothing else.

    Args:
        seed: 0 to 2**64 - 1.
        indices: sample indices, each >= 0; any order, repeats allowed.
        shape: shape of one sample.

    Returns:
        Float32, shape (len(indices), *shape), on the CPU.

    Raises:
        UsageError: a negative seed or index, or indices that are no integers.
    """
    index = _index_array(indices)
    size = math.prod(shape)
    per_sample = -(-size // 4)
    out = np.empty((len(index) * per_sample, 4), dtype=np.float32)
    for start in range(0, len(out), _CHUNK):
        place = np.arange(start, min(start + _CHUNK, len(out)), dtype=np.uint64)
        row, block = np.divmod(place, np.uint64(max(per_sample, 1)))
        words = _blocks(seed, _GAUSSIAN, index[row.astype(np.int64)], block)
        part = out[start : start + len(place)]
        part[:, 0], part[:, 1] = _box_muller(words[0], words[1])
        part[:, 2], part[:, 3] = _box_muller(words[2], words[3])
    rows = out.reshape(len(index), per_sample * 4)[:, :size]
    return from_numpy(np.ascontiguousarray(rows).reshape(len(index), *shape))


def integers(seed: int, indices: Indices, high: int) -> Tensor:
    """One uniform integer in [0, high) for each index, from a stream independent of the noise.

    64 random bits are multiplied by `high` and shifted down: the bias is below high / 2**64.

    Returns:
        Int64, shape (len(indices),).

    Raises:
        UsageError: `high` is not in 1 ... 2**31, or a bad seed or index.
    """
    if not 1 <= high <= 1 << 31:
        raise UsageError(f"the number of choices must be from 1 to 2**31, got {high}")
    index = _index_array(indices)
    words = _blocks(seed, _INTEGERS, index, np.zeros_like(index))
    factor = np.uint64(high)
    result = (words[1] * factor + ((words[0] * factor) >> _HALF_WORD)) >> _HALF_WORD
    return from_numpy(result.astype(np.int64))


def permutation(seed: int, count: int) -> npt.NDArray[np.int64]:
    """A random order of 0 ... count - 1, the same for one seed on every machine. Int64, shape (count,)."""
    index = np.arange(count, dtype=np.uint64)
    words = _blocks(seed, _PERMUTATION, index, np.zeros_like(index))
    return np.argsort((words[1] << _HALF_WORD) | words[0], kind="stable").astype(np.int64)


def stream_seed(*parts: int | str) -> int:
    """A 63-bit seed for the named stream: a digest of the parts, so that streams never overlap.

    `stream_seed("dropout", run_seed, step)` seeds a `torch.Generator`, or is a seed for the functions here.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
