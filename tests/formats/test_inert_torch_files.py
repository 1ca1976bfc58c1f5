"""State dicts of other programs: every dtype and layout as torch reads them, and clear words for everything else."""

from __future__ import annotations

import collections
import io
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from koopstep.core.errors import DamagedError, KoopstepError, UsageError
from koopstep.core.tensors import save_tensors
from koopstep.formats.torch_files import load_state_dict
from koopstep.teachers.foreign.edm import is_edm_pickle

DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)


def every_kind() -> dict[str, Tensor]:
    """All dtypes, strides that are not plain, empty and scalar tensors."""
    generator = torch.Generator().manual_seed(3)
    numbers = torch.randint(0, 2, (3, 4), generator=generator)
    tensors = {str(dtype): numbers.to(dtype) for dtype in DTYPES}
    plain = torch.randn(2, 3, 4, 5, generator=generator)
    tensors |= {
        "transposed": torch.randn(3, 5, generator=generator).T,
        "channels last": plain.to(memory_format=torch.channels_last),
        "part": plain[1, ::2, 1:3],
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": nn.Parameter(torch.randn(2, generator=generator)),
    }
    return tensors


def assert_equal(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert list(got) == list(wanted)
    for name, tensor in wanted.items():
        assert got[name].dtype == tensor.dtype, name
        assert torch.equal(got[name], tensor.detach()), name


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "first format"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_every_dtype_and_layout(tmp_path: Path, zipped: bool, protocol: int) -> None:
    tensors = every_kind()
    path = tmp_path / "a.pth"
    if not zipped:
        protocol = 2  # torch's first format around another protocol is not written by anybody
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    assert_equal(load_state_dict(path), tensors)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "first format"])
def test_shared_memory_stays_shared(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(12.0)
    path = tmp_path / "a.pt"
    torch.save({"whole": base, "part": base[4:8].view(2, 2)}, path, _use_new_zipfile_serialization=zipped)
    read = load_state_dict(path)
    read["whole"][4] = 100.0
    assert read["part"][0, 0] == 100.0


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "first format"])
def test_a_network_and_a_checkpoint_around_it(tmp_path: Path, zipped: bool) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    wanted = network.state_dict()  # with torch's _metadata, which is an attribute
    path = tmp_path / "a.bin"
    torch.save(wanted, path, _use_new_zipfile_serialization=zipped)
    assert_equal(load_state_dict(path), wanted)
    ahead = {f"module.{name}": value for name, value in wanted.items()}
    torch.save({"epoch": 3, "best": 0.5, "state_dict": ahead}, path, _use_new_zipfile_serialization=zipped)
    assert_equal(load_state_dict(path), ahead)


def test_numpy_and_safetensors(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2), "b": torch.arange(4), "c": torch.tensor(1.5)}
    for name, write in (("a.npz", np.savez), ("b.npz", np.savez_compressed)):
        write(tmp_path / name, **{key: value.numpy() for key, value in tensors.items()})
        assert_equal(load_state_dict(tmp_path / name), tensors)
    save_tensors(tmp_path / "c.safetensors", tensors)
    assert_equal(load_state_dict(tmp_path / "c.safetensors"), tensors)


def test_safetensors_with_headers_of_every_length(tmp_path: Path) -> None:
    """The first byte is the low byte of the header's length, so it may be the one that pickles begin with."""
    firsts = set()
    for length in range(0, 256, 8):
        path = tmp_path / f"{length}.safetensors"
        save_tensors(path, {"a": torch.ones(1)}, {"note": "x" * length})
        firsts.add(path.read_bytes()[0])
        assert_equal(load_state_dict(path), {"a": torch.ones(1)})
        assert not is_edm_pickle(path)
    assert 0x80 in firsts and len(firsts) == 32


def test_headers_of_safetensors_are_bounded(tmp_path: Path) -> None:
    one = b'"%06d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    many = b"{" + b",".join(one % index for index in range(50_000)) + b"}"
    long = b'{"__metadata__":{"a":"' + b"x" * (9 << 20) + b'"}}'
    for header in (many, long):
        (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
        with pytest.raises(DamagedError, match="header of"):
            load_state_dict(tmp_path / "a.safetensors")


def test_the_ordered_dict_of_python_2(tmp_path: Path) -> None:
    """There an ordered dict is called with a list of its pairs, and texts are SHORT_BINSTRING."""
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(3.0)}, buffer, _use_new_zipfile_serialization=False)
    data = buffer.getvalue()
    start = data.index(b"\x80\x02}q\x00X\x01\x00\x00\x00w")
    assert data[start:].startswith(b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01")
    end = data.index(b"s.", start)
    tensor = data[start + len(b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01") : end]
    pair = b"]q\x00(U\x01wq\x01" + tensor + b"e"
    body = b"\x80\x02ccollections\nOrderedDict\n]" + pair + b"a\x85R."
    path = tmp_path / "a.pth"
    path.write_bytes(data[:start] + body + data[end + 2 :])
    assert_equal(load_state_dict(path), {"w": torch.arange(3.0)})


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "first format"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear, which is not on the list"),
        ({"a": torch.zeros(2), "b": 3}, "'b' is int, not a tensor"),
        ({"model": {"a": torch.zeros(2)}}, "'model' is a group of values"),
        ({}, "no named tensors"),
        (torch.zeros(2), "no named tensors"),
        ({"a": np.float64(3)}, r"numpy\._core\.multiarray\.scalar, which is not on the list"),
        ({"a": types.SimpleNamespace(b=1)}, "types.SimpleNamespace, which is not on the list"),
        ({"a": torch.zeros(2).expand(1000, 2)}, "does not hold"),
    ],
)
def test_what_is_no_state_dict(tmp_path: Path, zipped: bool, content: object, words: str) -> None:
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(KoopstepError, match=words):
        load_state_dict(path)


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for data in (b"", b"text", b"\x89PNG\r\n", b"GIF89a" * 10):
        path.write_bytes(data)
        with pytest.raises(UsageError, match="no file of tensors"):
            load_state_dict(path)
    with pytest.raises(UsageError, match="cannot read"):
        load_state_dict(tmp_path / "missing.pth")
    with pytest.raises(UsageError, match="is no file"):
        load_state_dict(tmp_path)
    with pytest.raises(UsageError, match="is no file"):
        load_state_dict(Path("/dev/zero"))


def test_numbers_that_npz_cannot_bring(tmp_path: Path) -> None:
    np.savez(tmp_path / "o.npz", a=np.array([{}, 1], dtype=object))
    with pytest.raises(UsageError, match="Python objects"):
        load_state_dict(tmp_path / "o.npz")
    np.savez(tmp_path / "c.npz", a=np.zeros(2, dtype=np.complex64))
    with pytest.raises(UsageError, match="complex64"):
        load_state_dict(tmp_path / "c.npz")
    np.savez_compressed(tmp_path / "z.npz", a=np.zeros(30_000_000, dtype=np.float32))
    assert (tmp_path / "z.npz").stat().st_size < 200_000
    with pytest.raises(DamagedError, match="would unpack"):
        load_state_dict(tmp_path / "z.npz")


def test_a_truth_value_is_0_or_1(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.tensor([True, False, True])}, buffer, _use_new_zipfile_serialization=False)
    path = tmp_path / "a.pth"
    path.write_bytes(buffer.getvalue()[:-1] + b"\x07")
    with pytest.raises(DamagedError, match="truth value"):
        load_state_dict(path)


def test_few_bytes_cannot_stand_for_many(tmp_path: Path) -> None:
    base = torch.zeros(1_000_000)
    path = tmp_path / "a.pth"
    torch.save({f"w{index}": base for index in range(100)}, path)
    with pytest.raises(DamagedError, match="larger than the file"):
        load_state_dict(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "first format"])
def test_every_cut_and_many_flips_are_refused_or_harmless(tmp_path: Path, zipped: bool) -> None:
    """A zip's checksums see every change of its data; the first format has none, but its structure is checked."""
    buffer = io.BytesIO()
    wanted = collections.OrderedDict(a=torch.randn(5), b=torch.arange(3))
    torch.save(wanted, buffer, _use_new_zipfile_serialization=zipped)
    data = buffer.getvalue()
    path = tmp_path / "a.pth"
    for end in range(0, len(data), 11):
        path.write_bytes(data[:end])
        with pytest.raises(KoopstepError):
            load_state_dict(path)
    generator = np.random.default_rng(0)
    changed = 0
    for place in generator.integers(0, len(data), 400):
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << generator.integers(8))]) + data[place + 1 :])
        try:
            read = load_state_dict(path)
        except KoopstepError:
            continue
        same = list(read) == list(wanted) and all(torch.equal(read[name], wanted[name]) for name in wanted)
        changed += not same
    assert changed == 0 if zipped else changed < 100


@pytest.mark.shared
def test_real_files_read_as_torch_reads_them(shared_folder: Path) -> None:
    files = sorted([*shared_folder.glob("weights/*.pth"), *shared_folder.glob("weights/*.th")])
    assert len(files) >= 3
    for path in files:
        wanted = torch.load(path, weights_only=True, map_location="cpu")
        assert_equal(load_state_dict(path), dict(wanted.get("state_dict", wanted)))


@pytest.mark.shared
def test_a_real_npz(shared_folder: Path) -> None:
    path = next(shared_folder.glob("weights/*.npz"))
    with np.load(path) as wanted:
        read = load_state_dict(path)
        assert set(read) == set(wanted.files)
        for name in wanted.files:
            assert np.array_equal(read[name].numpy(), wanted[name])


def test_nothing_of_the_interpreter_needs_torch() -> None:
    """It is small enough to be run where there is little memory."""
    code = (
        "import sys; import koopstep.formats.inert.torch_files, koopstep.formats.inert.modules;"
        "print([name for name in ('torch', 'numpy', 'pickle', 'pickletools', 'importlib.util') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
