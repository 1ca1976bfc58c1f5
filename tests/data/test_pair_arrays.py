"""Pairs in arrays: of files, of FastGen's tars, given in Python; what is guessed is said, what is unclear is refused."""

from __future__ import annotations

import io
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.tensors import save_tensors
from koopstep.data.importers import import_source
from koopstep.data.store import Store
from koopstep.workflows.import_pairs import import_pairs

GENERATOR = torch.Generator().manual_seed(0)
NOISE = torch.randn(60, 3, 8, 8, generator=GENERATOR)
DATA = (2 * NOISE).tanh()
LABELS = torch.arange(60) % 10


def check(folder: Path, labels: bool = True) -> Store:
    store = Store.open(folder)
    batch = store.batch(np.arange(60))
    torch.testing.assert_close(batch.noise, NOISE)
    torch.testing.assert_close(batch.data, DATA)
    assert store.manifest.teacher.noise_scale == 1 and store.manifest.teacher.num_classes == (10 if labels else 0)
    if labels:
        assert batch.class_labels is not None and torch.equal(batch.class_labels, LABELS)
    return store


def write_tar(path: Path, rows: range, *suffixes: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for row in rows:
            for suffix in suffixes:
                stream = io.BytesIO()
                torch.save({"noise": NOISE, "latent": DATA}.get(suffix.split(".")[0], NOISE)[row].clone(), stream)
                info = tarfile.TarInfo(f"pairs/{row:05d}.{suffix}")
                info.size = stream.tell()
                stream.seek(0)
                archive.addfile(info, stream)


@pytest.mark.parametrize("form", ["npz", "safetensors", "pt"])
def test_files_with_noise_and_data(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"pairs.{form}"
    tensors = {"noise": NOISE, "data": DATA, "class_labels": LABELS}
    if form == "npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})
    elif form == "safetensors":
        save_tensors(path, tensors)
    else:
        torch.save(tensors, path)
    import_pairs(path, tmp_path / "store", hold_out=6, name="mine")
    teacher = check(tmp_path / "store").manifest.teacher
    assert teacher.name == "mine" and teacher.kind == "imported"
    before = (tmp_path / "store" / "complete.json").read_bytes()
    import_pairs(path, tmp_path / "store", hold_out=6, name="mine")
    assert (tmp_path / "store" / "complete.json").read_bytes() == before


@pytest.mark.parametrize(
    ("source", "labels"),
    [
        ((NOISE, DATA, LABELS), True),
        ((NOISE.numpy(), DATA, torch.nn.functional.one_hot(LABELS, 10)), True),
        ({"x_T": NOISE, "x_0": DATA.double(), "labels": LABELS.numpy()}, True),
        ((NOISE, DATA), False),
        (torch.stack([NOISE, DATA]), False),
        (np.stack([NOISE, DATA]), False),
    ],
)
def test_tensors_and_arrays(tmp_path: Path, source: Any, labels: bool) -> None:
    root = import_pairs(source, tmp_path / "store").root
    check(tmp_path / "store", labels)
    assert import_pairs(source, tmp_path / "again").root == root


def test_whole_paths_keep_their_states(tmp_path: Path) -> None:
    paths = torch.stack([NOISE, (NOISE + DATA) / 2, DATA])
    store = import_pairs(paths, tmp_path / "store")
    assert store.progress.tolist() == [0, 0.5, 1] and torch.equal(store.batch(np.arange(60)).states[1], paths[1])


def test_fastgen_tars_are_read_and_nothing_in_them_is_run(tmp_path: Path) -> None:
    write_tar(tmp_path / "tars" / "00.tar", range(40), "latent.pth", "noise.pth", "txt_emb.pth")
    write_tar(tmp_path / "tars" / "01.tar", range(40, 60), "noise.pth", "latent.pth")
    import_pairs(tmp_path / "tars", tmp_path / "store")
    assert check(tmp_path / "store", labels=False).manifest.teacher.name == "fastgen"
    write_tar(tmp_path / "one.tar", range(3), "latent.pth", "path.pth")
    with pytest.raises(UsageError, match=r"'pairs/00000' has no noise.pth; .*path.pth are not read"):
        import_source(tmp_path / "one.tar", tmp_path / "no")
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        content = b'cos\nsystem\n(S"touch ran"\ntR.'
        for name in ("a.noise.pth", "a.latent.pth"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    with pytest.raises((UsageError, DamagedError), match=r"evil.tar \(a.noise.pth\)"):
        import_source(tmp_path / "evil.tar", tmp_path / "no")
    assert not (tmp_path / "no").exists()


def said(source: Any, out: Path, **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import_source(source, out, **options)
    return [str(one.message) for one in caught]


def test_what_is_guessed_is_said(tmp_path: Path) -> None:
    def last(tensor: Tensor) -> Tensor:
        return tensor.movedim(1, -1)

    assert said((last(NOISE), last(DATA)), tmp_path / "a") == [
        "the pairs: (60, 8, 8, 3) is taken as (N, H, W, C), channels last"
    ]
    torch.testing.assert_close(Store.open(tmp_path / "a").batch(np.arange(60)).noise, NOISE)
    pictures = ((DATA + 1) * 127.5).round().byte()
    assert said((NOISE, pictures), tmp_path / "b", data_range=(0.0, 1.0)) == [
        "the pairs: the data are bytes; 0 to 255 become 0 to 1"
    ]
    data = Store.open(tmp_path / "b").batch(np.arange(60)).data
    torch.testing.assert_close(data, pictures / 255)
    assert "standard deviation 3" in said((3 * NOISE, DATA), tmp_path / "c")[0]
    assert said((80 * NOISE, DATA), tmp_path / "d") == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ((DATA, NOISE), "the last state looks like noise; swap them"),
        ((NOISE, NOISE), "are the same numbers"),
        ((NOISE, DATA[:50]), "noise and data must have one shape"),
        ((NOISE, DATA, LABELS[:5]), "class labels must be 60 whole numbers"),
        ((NOISE, DATA, torch.zeros(60, 10)), "must be one-hot"),
        ((NOISE, DATA, LABELS.float()), "class labels must be 60 whole numbers"),
        ((NOISE, DATA, LABELS, LABELS), "give pairs as"),
        ((NOISE, "x"), "give pairs as"),
        ((NOISE.byte(), DATA), "the noise must be floats"),
        ((NOISE, DATA.int()), "the data must be floats, or bytes"),
        ((NOISE, DATA / 0), "NaN or infinity"),
        ({"noise": NOISE, "target": DATA}, "found noise, target"),
        (NOISE[0, 0], "expected an array of shape"),
    ],
)
def test_what_is_unclear_is_refused(tmp_path: Path, source: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        import_source(source, tmp_path / "store")
    assert not (tmp_path / "store").exists()
