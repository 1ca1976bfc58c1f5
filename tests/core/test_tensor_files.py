"""Tensor files: every dtype, equal bytes, damage is seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import safetensors
import torch

from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import sha256_file
from koopstep.core.tensors import load_tensors, save_tensors, tensors_to_bytes

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {f"t{i}": (torch.arange(6).reshape(2, 3) - 2).to(dtype) for i, dtype in enumerate(DTYPES)}
    tensors["transposed"] = torch.randn(3, 4).T
    tensors["empty"] = torch.zeros(0, 3)
    tensors["scalar"] = torch.tensor(2.5, requires_grad=True)
    digest = save_tensors(path, tensors, {"b": "2", "a": "ü\n"})
    assert digest == sha256_file(path)
    loaded, metadata = load_tensors(path, digest)
    assert metadata == {"a": "ü\n", "b": "2"}
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor.detach())
    loaded["t1"] += 1  # writable, and independent of the file
    assert load_tensors(path, digest)[0]["t1"][0, 0] == -2
    with safetensors.safe_open(path, "pt") as other:  # other tools read it
        assert sorted(other.keys()) == sorted(tensors)


def test_shared_and_sliced_storage(tmp_path: Path) -> None:
    base = torch.arange(10.0)
    save_tensors(tmp_path / "a", {"x": base[:5], "y": base[2:7], "z": base})
    loaded, metadata = load_tensors(tmp_path / "a")
    assert metadata == {}
    assert torch.equal(loaded["y"], base[2:7])


def test_bytes_are_deterministic() -> None:
    tensors = {f"w{i}": torch.full((i + 1,), float(i)) for i in range(20)}
    metadata = {f"key{i}": str(i) for i in range(20)}
    first = tensors_to_bytes(tensors, metadata)
    backwards = dict(reversed(tensors.items())), dict(reversed(metadata.items()))
    assert tensors_to_bytes(*backwards) == first
    code = (
        "import torch, hashlib; from koopstep.core.tensors import tensors_to_bytes as f;"
        "print(hashlib.sha256(f({f'w{i}': torch.full((i + 1,), float(i)) for i in range(20)},"
        "{f'key{i}': str(i) for i in range(20)})).hexdigest())"
    )
    import hashlib

    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert other.stdout.strip() == hashlib.sha256(first).hexdigest()


def test_damage_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    digest = save_tensors(path, {"x": torch.randn(50)}, {"k": "v"})
    good = path.read_bytes()
    for position in range(0, len(good), 7):
        path.write_bytes(good[:position] + bytes([good[position] ^ 4]) + good[position + 1 :])
        with pytest.raises(DamagedError, match="SHA-256"):
            load_tensors(path, digest)
    for broken in (
        b"",
        good[:20],
        b"\xff" * 100,
        (2**62).to_bytes(8, "little") + good[8:],
        good[:-1],
        good + b"x",
    ):
        path.write_bytes(broken)
        with pytest.raises(DamagedError, match=r"a\.safetensors"):
            load_tensors(path)
    with pytest.raises(UsageError, match="missing"):
        load_tensors(tmp_path / "missing")


def test_mutations_raise_only_documented_errors(tmp_path: Path) -> None:
    good = tensors_to_bytes({"x": torch.randn(4), "y": torch.zeros(2, 2, dtype=torch.bfloat16)}, {"k": "v"})
    generator = torch.Generator().manual_seed(0)
    path, refused = tmp_path / "a", 0
    for _ in range(1000):
        place, value = (int(torch.randint(high, (1,), generator=generator)) for high in (len(good), 256))
        path.write_bytes(good[:place] + bytes([value]) + good[place + 1 :])
        try:
            load_tensors(path)
        except DamagedError:
            refused += 1
    assert refused > 500  # the rest hit a number's bytes or a name, which no format can see
