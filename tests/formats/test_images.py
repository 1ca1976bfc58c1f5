from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from koopstep.core.errors import DamagedError, UsageError
from koopstep.data.sources import load_source
from koopstep.formats import images

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_a_flat_folder(tmp_path: Path) -> None:
    for i, array in enumerate(COLOUR):
        write(tmp_path / f"{i}.png", array)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("not an image")
    (tmp_path / "empty").mkdir()
    loaded = images.load(tmp_path)
    assert loaded.labels is None
    torch.testing.assert_close(loaded.images, tensor(COLOUR).permute(0, 3, 1, 2))
    assert loaded.images.dtype == torch.uint8 and loaded.images.is_contiguous()


def test_sub_folders_are_classes_in_sorted_order(tmp_path: Path) -> None:
    write(tmp_path / "dog" / "a.png", COLOUR[0])
    write(tmp_path / "cat" / "deep" / "b.PNG", COLOUR[1])
    write(tmp_path / "cat" / "c.jpeg", COLOUR[2])
    loaded = images.load_folder(tmp_path)
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [0, 0, 1]
    torch.testing.assert_close(loaded.images[2], tensor(COLOUR[0]).permute(2, 0, 1))


def test_grey_stays_one_channel_unless_there_is_colour(tmp_path: Path) -> None:
    write(tmp_path / "a.png", COLOUR[0, :, :, 0])
    assert images.load(tmp_path).images.shape == (1, 1, 6, 4)
    write(tmp_path / "b.png", np.dstack([COLOUR[1], COLOUR[1, :, :, :1]]))  # with transparency
    both = images.load(tmp_path).images
    assert both.shape == (2, 3, 6, 4)
    assert torch.equal(both[0, 0], both[0, 2])
    torch.testing.assert_close(both[1], tensor(COLOUR[1]).permute(2, 0, 1))


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        images.load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no such folder"):
        images.load_folder(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no images found"):
        images.load(tmp_path)
    write(tmp_path / "a.png", COLOUR[0])
    write(tmp_path / "b.png", COLOUR[0, :3])
    with pytest.raises(UsageError, match=r"b\.png: is 4 x 3 pixels but a\.png is 4 x 6"):
        images.load(tmp_path)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(UsageError, match=r"b\.png: cannot be read"):
        images.load(tmp_path)
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"b\.png: cannot be read"):
        images.load(tmp_path)
    (tmp_path / "b.png").unlink()
    write(tmp_path / "b.png", COLOUR[0, :, :, 0].astype(np.uint16))
    with pytest.raises(UsageError, match="8-bit"):
        images.load(tmp_path)
    (tmp_path / "b.png").unlink()
    write(tmp_path / "cats" / "c.png", COLOUR[0])
    with pytest.raises(UsageError, match="side by side"):
        images.load(tmp_path)


@pytest.mark.parametrize("layout", ["nhwc", "nchw", "nhw"])
def test_npz(tmp_path: Path, layout: str) -> None:
    planar = COLOUR.transpose(0, 3, 1, 2)
    array = {"nhwc": COLOUR, "nchw": planar, "nhw": COLOUR[..., 0]}[layout]
    np.savez(tmp_path / "x.npz", images=array, labels=np.arange(5, dtype=np.uint8))
    loaded = images.load(tmp_path / "x.npz")
    torch.testing.assert_close(loaded.images, tensor(planar[:, :1] if layout == "nhw" else planar))
    assert loaded.images.is_contiguous()
    assert loaded.labels is not None and loaded.labels.dtype == torch.int64
    assert loaded.labels.tolist() == list(range(5))


def test_npz_without_labels(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", images=COLOUR)
    assert images.load(tmp_path / "x.npz").labels is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": COLOUR}, "no array 'images' inside \\(found x\\)"),
        ({"images": COLOUR.astype(np.float32)}, "must be uint8"),
        ({"images": COLOUR[0, 0]}, "must be uint8"),
        ({"images": COLOUR[:0]}, "must be uint8"),
        ({"images": np.zeros((2, 8, 8, 5), np.uint8)}, "must be uint8"),
        ({"images": np.zeros((2, 3, 3, 3), np.uint8)}, "channels first or last"),
        ({"images": np.array([{}], dtype=object)}, "object"),
        ({"images": COLOUR, "labels": np.arange(4)}, "'labels' must be 5"),
        ({"images": COLOUR, "labels": np.arange(5.0)}, "'labels' must be 5"),
        ({"images": COLOUR, "labels": np.arange(5) - 1}, "'labels' must be 5"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UsageError, match=message):
        images.load(tmp_path / "x.npz")


def test_damaged_npz(tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    with pytest.raises(UsageError, match="no such file"):
        images.load_npz(file)
    for content in (b"", b"PK\x03\x04 rubbish", b"\x80\x04garbage"):
        file.write_bytes(content)
        with pytest.raises(DamagedError, match=r"x\.npz is damaged or is no"):
            images.load(file)
    np.savez_compressed(file, images=COLOUR)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DamagedError, match="is damaged or is no"):
        images.load(file)
    np.save(tmp_path / "x.npy", COLOUR)
    with pytest.raises(UsageError, match="neither"):
        images.load(tmp_path / "x.npy")
    (tmp_path / "y.npz").write_bytes((tmp_path / "x.npy").read_bytes())
    with pytest.raises(DamagedError, match="is damaged or is no"):
        images.load(tmp_path / "y.npz")


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="png")
    return buffer.getvalue()


ZIPPED = {f"0000{i // 3}/img{i:08d}.png": png(array) for i, array in enumerate(COLOUR)}


def told(labels: object) -> dict[str, bytes]:
    return {"dataset.json": json.dumps({"labels": labels}).encode()}


def test_a_zip_of_edms_dataset_tool(tmp_path: Path) -> None:
    labels = [[name, i % 2] for i, name in enumerate(ZIPPED)]
    loaded = images.load(pack(tmp_path / "x.zip", {**ZIPPED, **told(labels), "__MACOSX/._a.png": b"no image"}))
    assert torch.equal(loaded.images, tensor(COLOUR).permute(0, 3, 1, 2))
    assert loaded.labels is not None and loaded.labels.tolist() == [0, 1, 0, 1, 0]
    for members in (ZIPPED, {**ZIPPED, **told(None)}):
        assert images.load(pack(tmp_path / "y.zip", members)).labels is None


def test_a_folder_with_dataset_json_is_read_as_its_zip(tmp_path: Path) -> None:
    for name, data in {**ZIPPED, **told([[name, 7] for name in ZIPPED])}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    loaded = images.load(tmp_path)
    assert torch.equal(loaded.images, tensor(COLOUR).permute(0, 3, 1, 2))
    assert loaded.labels is not None and loaded.labels.tolist() == [7] * 5


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a.txt": b"hello"}, "no images found"),
        ({**ZIPPED, **told([["00000/img00000000.png", 1]])}, "the class of 00000/img00000001.png is None"),
        ({**ZIPPED, **told([[name, 0.5] for name in ZIPPED])}, "is 0.5; wanted a whole number"),
        ({**ZIPPED, **told([1, 2])}, 'wanted {"labels"'),
        ({**ZIPPED, "dataset.json": b"{"}, 'wanted {"labels"'),
        ({**ZIPPED, "b.png": b"broken"}, "b.png: cannot be read as an image"),
        ({**ZIPPED, "b.png": png(COLOUR[0, :3])}, "b.png: is 4 x 3 pixels but .*img00000000.png is 4 x 6"),
    ],
)
def test_zips_that_cannot_be_used(tmp_path: Path, members: dict[str, bytes], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        images.load(pack(tmp_path / "x.zip", members))


def test_a_damaged_zip(tmp_path: Path) -> None:
    whole = pack(tmp_path / "x.zip", ZIPPED).read_bytes()
    for damaged in (whole[: len(whole) // 2], whole.replace(ZIPPED["00000/img00000000.png"][-40:-20], bytes(20))):
        (tmp_path / "x.zip").write_bytes(damaged)
        with pytest.raises(DamagedError, match=r"x\.zip is damaged or is no zip file"):
            images.load(tmp_path / "x.zip")


def test_data_is_found_below_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(tmp_path / "faces.zip", ZIPPED)
    monkeypatch.setenv("KOOPSTEP_DATA", str(tmp_path))
    source = load_source("faces.zip")
    assert source.shape == (3, 6, 4) and source.num_classes == 0
    data, _ = source.reference(2)
    torch.testing.assert_close(data, tensor(COLOUR[:2]).permute(0, 3, 1, 2) / 127.5 - 1)
    with pytest.raises(UsageError, match=r"nor a path here or below .*KOOPSTEP_DATA"):
        load_source("other.zip")
