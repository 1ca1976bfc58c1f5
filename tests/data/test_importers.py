"""Imports: every published layout; strangers' files are refused in one line and never run."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from linear_teacher import LinearTeacher

from koopstep.core.errors import DamagedError, KoopstepError, UsageError
from koopstep.data.importers import import_source
from koopstep.data.repair import repair
from koopstep.data.statistics import NumberStatistics
from koopstep.data.store import Store

SHAPE = (3, 4, 4)
LAYOUTS = {
    "kdm-cifar10": ("arr_0", True, 80.0),
    "kdm-cifar10-fm": ("arr1", False, 1.0),
    "kdm-cifar10-cond": ("endpoints", False, 80.0),
    "kdm-ffhq": ("arr_0", False, 80.0),
}


def _ends(count: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(0)
    noise = random.randn(count, *SHAPE) * scale
    return noise, np.tanh(2 * random.randn(count, *SHAPE))


def _pairs(folder: Path, layout: str, count: int = 30, states: int = 5, scale: float | None = None) -> None:
    key, noise_first, own_scale = LAYOUTS[layout]
    noise, data = _ends(count, scale or own_scale)
    folder.mkdir(exist_ok=True)
    for i in range(count):
        path = np.linspace(noise[i], data[i], states)
        arrays = {key: path if noise_first else path[::-1]}
        if layout == "kdm-cifar10-cond":
            arrays["label"] = np.eye(10, dtype=np.float32)[i % 10]
        np.savez_compressed(folder / f"{i:05d}.npz", **arrays)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(tmp_path: Path, layout: str, named: bool) -> None:
    _pairs(tmp_path / "in", layout)
    report = import_source(tmp_path / "in", tmp_path / "out", layout=layout if named else "auto")  # type: ignore[arg-type]
    scale = LAYOUTS[layout][2]
    assert (report.layout, report.count, report.noise_scale) == (layout, 30, scale)
    assert report.data_scale == pytest.approx(_ends(30, scale)[1].std(), rel=1e-6)
    store = Store.open(tmp_path / "out")
    assert report.root == store.root
    assert layout in store.manifest.source
    batch = store.batch(np.arange(30))
    noise, data = _ends(30, scale)
    torch.testing.assert_close(batch.states[0], torch.from_numpy(noise).float())
    torch.testing.assert_close(batch.noise, torch.from_numpy(noise / scale).float())
    torch.testing.assert_close(batch.data, torch.from_numpy(data).float())
    assert batch.progress.tolist() == [0.0, 1.0]
    if layout == "kdm-cifar10-cond":
        assert batch.class_labels is not None
        assert batch.class_labels.tolist() == [i % 10 for i in range(30)]
        assert store.manifest.teacher.num_classes == 10
    else:
        assert batch.class_labels is None
    assert len(store.held_out_rows()) == 3


def test_auto_with_unit_noise_and_batch_axis(tmp_path: Path) -> None:
    for name, layout in (("a", "kdm-cifar10"), ("b", "kdm-ffhq")):
        _pairs(tmp_path / name, layout, scale=1.0)
        assert import_source(tmp_path / name, tmp_path / f"{name}-out").layout == layout
    noise, data = _ends(20, 80.0)
    (tmp_path / "c").mkdir()
    for i in range(20):
        np.savez(tmp_path / "c" / f"{i}.npz", np.stack([noise[i : i + 1], data[i : i + 1]]))
    assert import_source(tmp_path / "c", tmp_path / "c-out", hold_out=0).layout == "kdm-cifar10"
    assert Store.open(tmp_path / "c-out").manifest.shape == SHAPE


def test_unclear_or_wrong_layout(tmp_path: Path) -> None:
    _pairs(tmp_path / "odd", "kdm-cifar10", scale=7.0)
    with pytest.raises(UsageError, match=r"cannot tell which end is the noise.* kdm-cifar10 or kdm-ffhq"):
        import_source(tmp_path / "odd", tmp_path / "out")
    with pytest.warns(UserWarning, match=r"not Gaussian of size 1 .* standard deviation 6.*, which is taken"):
        report = import_source(tmp_path / "odd", tmp_path / "out", layout="kdm-cifar10")
    assert report.noise_scale == pytest.approx(7, 0.05)
    _pairs(tmp_path / "in", "kdm-cifar10")
    with pytest.raises(UsageError, match="'kdm-ffhq' the data end looks like noise"):
        import_source(tmp_path / "in", tmp_path / "out2", layout="kdm-ffhq")
    with pytest.raises(UsageError, match="no array 'arr1' inside"):
        import_source(tmp_path / "in", tmp_path / "out2", layout="kdm-cifar10-fm")
    with pytest.raises(UsageError, match="unknown layout 'kdm'"):
        import_source(tmp_path / "in", tmp_path / "out2", layout="kdm")  # type: ignore[arg-type]
    assert not (tmp_path / "out2").exists()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fortran", [False, True])
def test_npy(tmp_path: Path, dtype: type[np.floating], fortran: bool) -> None:
    random = np.random.RandomState(0)
    noise = random.randn(500, 2)
    path = np.linspace(noise, np.tanh(2 * noise), 10).astype(dtype)
    np.save(tmp_path / "a.npy", np.asfortranarray(path) if fortran else path)
    report = import_source(tmp_path / "a.npy", tmp_path / "out", hold_out=50)
    assert (report.layout, report.count, report.noise_scale) == ("npy", 500, 1.0)
    store = Store.open(tmp_path / "out")
    batch = store.batch(np.arange(500))
    assert batch.states.shape == (10, 500, 2)
    torch.testing.assert_close(batch.states, torch.from_numpy(path).float())
    assert torch.equal(batch.noise, batch.states[0])
    torch.testing.assert_close(batch.progress, torch.linspace(0, 1, 10))
    assert len(store.held_out_rows()) == 50
    import_source(tmp_path / "a.npy", tmp_path / "out", hold_out=50)  # again: nothing to do
    path[5, 5] += 1
    np.save(tmp_path / "b.npy", path)
    with pytest.raises(UsageError, match=r"teacher\.sha256"):
        import_source(tmp_path / "b.npy", tmp_path / "out", hold_out=50)


def test_damaged_import_says_import_again(tmp_path: Path) -> None:
    _pairs(tmp_path / "in", "kdm-cifar10")
    import_source(tmp_path / "in", tmp_path / "out")
    shard = tmp_path / "out" / "shards" / "00000.safetensors"
    good = shard.read_bytes()
    shard.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(UsageError, match=r"damaged units: 0.*import it again"):
        list(repair(tmp_path / "out", LinearTeacher()))
    shard.unlink()
    import_source(tmp_path / "in", tmp_path / "out")
    assert shard.read_bytes() == good


def _refused(source: Path, out: Path, error: type[KoopstepError], pattern: str, **options: object) -> None:
    with pytest.raises(error, match=pattern) as caught:
        import_source(source, out, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code in (2, 3)
    assert not out.exists()


def test_bad_npy(tmp_path: Path) -> None:
    path, out = tmp_path / "a.npy", tmp_path / "out"
    random = np.random.RandomState(0)
    good = random.randn(4, 30, 2)
    for shape in ((30,), (4, 30), (1, 30, 2), (4, 0, 2), (4, 30, 0), ()):
        np.save(path, np.ones(shape))
        _refused(path, out, UsageError, "shape")
    for value in (np.nan, np.inf):
        broken = good.copy()
        broken[2, 3, 1] = value
        np.save(path, broken)
        _refused(path, out, UsageError, "NaN or infinity")
    for wrong in (good.astype(int), good.astype(complex), good > 0, good.astype(str)):
        np.save(path, wrong)
        _refused(path, out, UsageError, "expected float32 or float64")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    _refused(path, out, UsageError, "Python objects")
    np.save(path, np.zeros((3, 30, 2)))
    _refused(path, out, UsageError, "standard deviation 0")
    np.save(path, good * 1e200)
    _refused(path, out, UsageError, "standard deviation (inf|nan)")
    np.save(path, np.linspace(np.tanh(3 * random.randn(3000, 2)), random.randn(3000, 2), 4))
    _refused(path, out, UsageError, "reverse the first axis")
    np.save(path, good)
    for hold_out in (30, -1):
        _refused(path, out, UsageError, "hold_out", hold_out=hold_out)
    _refused(path, out, UsageError, "is for folders of .npz pairs; leave it away", layout="kdm-ffhq")


def test_garbage_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    random = np.random.RandomState(0)
    garbage = tmp_path / "a.npy"
    for size in (0, 1, 10, 4096):
        garbage.write_bytes(random.bytes(size))
        _refused(garbage, out, DamagedError, "is no .npy file")
    pickle_bytes = b'cos\nsystem\n(S"touch ran"\ntR.'
    garbage.write_bytes(pickle_bytes)
    _refused(garbage, out, DamagedError, "is no .npy file")
    stream = io.BytesIO()
    np.save(stream, random.randn(4, 30, 2))
    good = stream.getvalue()
    for broken in (good[:-1], good[:60], good[:6] + b"\x09" + good[7:], good.replace(b"30", b"-3", 1)):
        garbage.write_bytes(broken)
        _refused(garbage, out, DamagedError, "is no .npy file")
    header = good.replace(b"(4, 30, 2)", b"(9999999999999999, 99999)", 1)[: len(good)]
    garbage.write_bytes(header)
    _refused(garbage, out, DamagedError, "is no .npy file")
    for name, pattern in (
        ("a.pkl", "nothing that is read here"),
        ("a.csv", "nothing that is read here"),
    ):
        (tmp_path / name).write_bytes(pickle_bytes)
        _refused(tmp_path / name, out, UsageError, pattern)
    (tmp_path / "a.tar").write_bytes(pickle_bytes)
    _refused(tmp_path / "a.tar", out, DamagedError, "is no tar archive")
    _refused(tmp_path / "nowhere", out, UsageError, "does not exist")
    (tmp_path / "empty").mkdir()
    _refused(tmp_path / "empty", out, UsageError, "no .npz files")


def _npz(path: Path, **arrays: object) -> None:
    np.savez(path, **arrays)  # type: ignore[arg-type]


def test_bad_pairs(tmp_path: Path) -> None:
    out, folder = tmp_path / "out", tmp_path / "in"
    _pairs(folder, "kdm-cifar10", count=4)
    extra = folder / "99999.npz"
    good = np.ones((5, *SHAPE))
    nan = good.copy()
    nan[-1, 0, 0, 0] = np.nan
    for arrays, error, pattern in (
        ({"arr_0": np.ones((5, 3, 4, 5))}, UsageError, "differs from"),
        ({"arr_0": nan}, UsageError, "NaN or infinity"),
        ({"arr_0": np.ones((1, *SHAPE))}, UsageError, "at least 2 states"),
        ({"arr_0": np.ones(5)}, UsageError, "at least 2 states"),
        ({"arr_0": good.astype(int)}, UsageError, "floats"),
        ({"other": good}, UsageError, "no array 'arr_0' inside .found other"),
        ({"arr_0": np.array([1, None], dtype=object)}, UsageError, "Python objects"),
    ):
        _npz(extra, **arrays)
        _refused(folder, out, error, pattern)
    for content in (b"", b"PK\x03\x04" + b"\x00" * 50, np.random.RandomState(0).bytes(300)):
        extra.write_bytes(content)
        _refused(folder, out, DamagedError, "is no .npz file")
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**6)})
    with zipfile.ZipFile(extra, "w") as archive:
        archive.writestr("arr_0.npy", stream.getvalue() + b"\0" * 80)
    _refused(folder, out, DamagedError, "instead of")
    extra.unlink()
    first = folder / "00000.npz"
    _npz(first, zzz=good)
    _refused(folder, out, UsageError, "holds zzz; wanted one of arr1, arr_0, endpoints")


def test_bad_labels(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    _pairs(folder, "kdm-cifar10-cond", count=6)
    ends = np.ones((2, *SHAPE))
    for label in (np.zeros(10), np.ones(10), np.array(3), np.eye(10)[2] * 0.5, np.array(["a"] * 10)):
        _npz(folder / "99999.npz", endpoints=ends, label=label)
        _refused(folder, out, UsageError, "one-hot")
    _npz(folder / "99999.npz", endpoints=ends)
    _refused(folder, out, UsageError, "one-hot")
    _npz(folder / "99999.npz", endpoints=ends, label=np.eye(4)[1])
    _refused(folder, out, UsageError, "4 classes, but 10")


def test_moments() -> None:
    random = np.random.RandomState(0)
    values = random.standard_t(9, size=(50, 100)) * 3 + 1
    moments = NumberStatistics()
    for part in values:
        moments.add(part)
    assert moments.mean == pytest.approx(values.mean())
    assert moments.std == pytest.approx(values.std())
    centred = (values - values.mean()) / values.std()
    assert moments.kurtosis == pytest.approx((centred**4).mean())
    constant = NumberStatistics()
    constant.add(np.ones(10))
    assert (constant.std, constant.kurtosis, constant.looks_like_noise()) == (0.0, 0.0, False)
    uniform = NumberStatistics()
    uniform.add(random.uniform(-(3**0.5), 3**0.5, 5000))
    assert not uniform.looks_like_noise()


def test_the_range_of_imported_images(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(40, 1, 4, 4)).astype(np.float32)
    np.save(tmp_path / "paths.npy", np.stack([noise, (noise > 0).astype(np.float32)]))
    with pytest.warns(UserWarning, match=r"images are in \[-1, 1\], its samples go from 0 to 1"):
        import_source(tmp_path / "paths.npy", tmp_path / "usual")
    import_source(tmp_path / "paths.npy", tmp_path / "store", data_range=(0.0, 1.0))  # a warning would be an error here
    assert Store.open(tmp_path / "store").manifest.teacher.data_range == (0.0, 1.0)
    import_source(tmp_path / "paths.npy", tmp_path / "latents", data_range=None)
    assert Store.open(tmp_path / "latents").manifest.teacher.data_range is None
